//! When to try again: a pure function of policy, number of the retry, and a jitter fraction.
//!
//! This is the only file that knows the crate `backoff`. That crate is unmaintained
//! (RUSTSEC-2025-0012), so it is used as a delay sequence only: its randomisation is off (it
//! applies jitter after the cap, so the cap would not hold) and its clock is never asked.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use super::failure::{Disposition, Failure};

/// How retries are spaced and when they end.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    pub initial_ms: u64,
    pub multiplier: f64,
    /// No delay is longer, jitter included.
    pub max_ms: u64,
    /// Retries after which a dossier is dead. Waiting for a throttle or for the environment does
    /// not count.
    pub attempts_max: u32,
    /// Share of the delay that chance may add or take away, `0.0..=1.0`.
    pub jitter: f64,
}

impl RetryPolicy {
    /// The delay before retry number `retry` (1 is the first). `chance` is a fraction in
    /// `0.0..1.0`.
    pub fn delay(&self, retry: u32, chance: f64) -> Duration {
        let mut sequence = ExponentialBackoff {
            current_interval: Duration::from_millis(self.initial_ms),
            initial_interval: Duration::from_millis(self.initial_ms),
            randomization_factor: 0.0,
            multiplier: self.multiplier,
            max_interval: Duration::from_millis(self.max_ms),
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        // Past this many doublings every policy has long reached its cap.
        let steps = retry.clamp(1, 64);
        let mut delay = Duration::from_millis(self.initial_ms);
        for _ in 0..steps {
            delay = sequence.next_backoff().unwrap_or(delay);
        }
        let factor = 1.0 + self.jitter.clamp(0.0, 1.0) * (2.0 * chance - 1.0);
        delay.mul_f64(factor.max(0.0)).min(Duration::from_millis(self.max_ms))
    }

    /// The failure of what was tried as often as the budget allows.
    pub fn exhausted(&self, code: &str, last: &Failure) -> Failure {
        let message = format!("gave up after {} retries", self.attempts_max);
        Failure::new(code, Disposition::Data, message).with_details(format!("last failure: {last}"))
    }

    /// Whether retry number `retry` is still inside the budget.
    pub const fn allows(&self, retry: u32) -> bool {
        retry <= self.attempts_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            initial_ms: 2000,
            multiplier: 2.0,
            max_ms: 900_000,
            attempts_max: 12,
            jitter: 0.2,
        }
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let seconds: Vec<u64> =
            (1..=11).map(|retry| policy().delay(retry, 0.5).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert!(policy().allows(12));
        assert!(!policy().allows(13));
    }

    proptest! {
        #[test]
        fn jitter_never_breaks_cap_or_floor(retry in 1u32..200, chance in 0.0f64..1.0) {
            let delay = policy().delay(retry, chance);
            prop_assert!(delay <= Duration::from_mins(15));
            prop_assert!(delay >= Duration::from_millis(1600));
        }
    }
}
