//! What a sample says about all: "with 95 % confidence fewer than so many differ".
//!
//! The bound is exact. Drawing without replacement from a known number of dossiers is the
//! hypergeometric distribution, so no approximation is needed, neither for small populations nor for
//! samples in which nothing differs (where it is the generalised rule of three).

use serde::{Deserialize, Serialize};

/// Of what a sample may be wrong about.
pub const CONFIDENCE: f64 = 0.95;

/// A sample and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleBound {
    /// Dossiers from which the sample was drawn by chance.
    pub population: u64,
    /// Drawn and answered.
    pub asked: u64,
    /// Of these: missing, or shown otherwise than sent.
    pub differing: u64,
    /// With 95 % confidence fewer than so many of the population differ.
    pub fewer_than: u64,
}

impl SampleBound {
    /// `None` when nothing was asked, and so nothing can be said.
    pub fn of(population: u64, asked: u64, differing: u64) -> Option<Self> {
        let fewer_than = differ_at_most(population, asked, differing, CONFIDENCE)? + 1;
        Some(Self { population, asked, differing, fewer_than })
    }
}

/// The largest number of differing dossiers in the population under which a sample with so few of
/// them is no rarer than `1 - confidence`. `None` for an impossible sample and for none at all.
pub fn differ_at_most(population: u64, asked: u64, differing: u64, confidence: f64) -> Option<u64> {
    if asked == 0 || asked > population || differing > asked {
        return None;
    }
    let doubt = 1.0 - confidence;
    // More differing in the population make a small number in the sample ever rarer.
    let (mut low, mut high) = (differing, population - (asked - differing));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if at_most(population, middle, asked, differing) >= doubt {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(low)
}

/// The probability that a sample of `asked` from `population`, of which `marked` are marked, holds
/// at most `found` marked ones.
fn at_most(population: u64, marked: u64, asked: u64, found: u64) -> f64 {
    let lowest = asked.saturating_sub(population - marked);
    let total = log_choose(population, asked);
    (lowest..=found.min(marked))
        .map(|k| (log_choose(marked, k) + log_choose(population - marked, asked - k) - total).exp())
        .sum()
}

fn log_choose(n: u64, k: u64) -> f64 {
    log_factorial(n) - log_factorial(k) - log_factorial(n - k)
}

/// Stirling's series: better than 1e-10 from 10 on; exact sums below.
fn log_factorial(n: u64) -> f64 {
    let x = n as f64;
    if n < 16 {
        return (2..=n).map(|factor| (factor as f64).ln()).sum();
    }
    let tail = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    x.mul_add(x.ln(), -x) + 0.5 * (2.0 * std::f64::consts::PI * x).ln() + tail
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values_come_out() {
        // By hand: of 10, 5 were asked and none differs. With 2 differing C(8,5)/C(10,5) = 0.222 of
        // samples show none, with 3 0.083, with 4 0.024.
        assert_eq!(differ_at_most(10, 5, 0, 0.95), Some(3));
        // Everything was asked.
        assert_eq!(differ_at_most(100, 100, 0, 0.95), Some(0));
        assert_eq!(differ_at_most(100, 100, 7, 0.95), Some(7));
        // Of very many: the exact one-sided bounds of Clopper and Pearson, 1 - 0.05^(1/n) for none.
        let share = |asked, differing| {
            differ_at_most(100_000_000, asked, differing, 0.95).unwrap() as f64 / 100_000_000.0
        };
        assert!((share(500, 0) - (1.0 - 0.05_f64.powf(1.0 / 500.0))).abs() < 1e-6);
        assert!((share(100, 0) - 0.029_513).abs() < 2e-5, "{}", share(100, 0));
        assert!((share(100, 1) - 0.046_56).abs() < 2e-5, "{}", share(100, 1));
        assert!((share(100, 5) - 0.102_25).abs() < 5e-5, "{}", share(100, 5));
        // The rule of three is its rough form, and a little more careful.
        assert!((share(1000, 0) - 3.0 / 1000.0).abs() < 1e-5);
    }

    #[test]
    fn nothing_is_said_of_no_sample_or_of_an_impossible_one() {
        assert_eq!(SampleBound::of(10, 0, 0), None);
        assert_eq!(SampleBound::of(10, 11, 0), None);
        assert_eq!(SampleBound::of(10, 3, 4), None);
        assert_eq!(SampleBound::of(10, 10, 2).unwrap().fewer_than, 3);
    }

    proptest! {
        #[test]
        fn asking_more_and_finding_fewer_never_widens_the_bound(
            population in 1_u64..3000, asked in 1_u64..300, differing in 0_u64..20,
        ) {
            prop_assume!(asked < population && differing < asked);
            let bound = |asked, differing| differ_at_most(population, asked, differing, 0.95).unwrap();
            let here = bound(asked, differing);
            prop_assert!((differing..=population).contains(&here));
            prop_assert!(bound(asked + 1, differing) <= here);
            prop_assert!(bound(asked, differing + 1) >= here);
        }

        /// What the words promise: whatever the truth, samples that bound it too low are rare.
        #[test]
        fn the_truth_lies_above_the_bound_in_at_most_one_sample_of_twenty(
            population in 20_u64..400, share in 0.0_f64..1.0, part in 0.05_f64..1.0,
        ) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
            let of = |share: f64| (population as f64 * share) as u64;
            let (marked, asked) = (of(share), of(part).max(1));
            let wrong: f64 = (0..=asked.min(marked))
                .filter(|found| asked - found <= population - marked)
                .filter(|found| differ_at_most(population, asked, *found, 0.95).unwrap() < marked)
                .map(|found| {
                    at_most(population, marked, asked, found)
                        - if found == 0 { 0.0 } else { at_most(population, marked, asked, found - 1) }
                })
                .sum();
            prop_assert!(wrong <= 0.05 + 1e-9, "{wrong}");
        }
    }
}
