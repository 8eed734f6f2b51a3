//! How the portal counts, as far as the timing of refusals can tell.
//!
//! A window that begins with the clock's second (or minute) is full only towards its end, so first
//! refusals gather at one phase of it. A sliding window and a token bucket refuse at any phase.
//!
//! More cannot be told from a pace that stays just below the limit. Whether refused calls count too
//! would show only in long runs of refusals: the first calls after a refusal are refused in every
//! kind of window that has just filled up, and we tried, in the model of `tests/it/gate`: a portal
//! that counts accepted calls only and one that counts every attempt refuse the very same calls.
//! And a token bucket shows itself only when a burst is sent on purpose. The gate provokes neither;
//! it keeps the reading that is safe for all: every call counts, in every span.

use serde::{Deserialize, Serialize};

/// Fewer episodes than this say nothing.
const EPISODES_MIN: u64 = 10;
/// Lengths at which a calendar window may begin, the longest first: what gathers in the minute
/// gathers in its seconds too.
const LENGTHS_MS: [i64; 3] = [60_000, 10_000, 1_000];
/// Phases are this much together (0: anywhere, 1: all the same); by chance ten are so in one of
/// six hundred cases.
const GATHERED: f64 = 0.8;

/// What refusals have shown; sums, so that it can be kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    episodes: u64,
    /// Sums of cosines and sines of the phases of first refusals, by length.
    phases: [(f64, f64); LENGTHS_MS.len()],
}

/// How the portal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not enough refusals to tell.
    Unknown,
    Calendar {
        window_ms: i64,
    },
    /// A sliding window, over every attempt or over accepted calls, or a token bucket.
    NotCalendar,
}

impl Evidence {
    /// An episode of refusals began.
    pub(super) fn episode(&mut self, wall_ms: i64) {
        self.episodes += 1;
        for (sums, length) in self.phases.iter_mut().zip(LENGTHS_MS) {
            let phase = wall_ms.rem_euclid(length) as f64 / length as f64;
            let (sine, cosine) = (phase * std::f64::consts::TAU).sin_cos();
            sums.0 += cosine;
            sums.1 += sine;
        }
    }

    pub fn kind(&self) -> Kind {
        if self.episodes < EPISODES_MIN {
            return Kind::Unknown;
        }
        let episodes = self.episodes as f64;
        LENGTHS_MS
            .into_iter()
            .zip(self.phases)
            .find(|(_, (cosines, sines))| cosines.hypot(*sines) / episodes >= GATHERED)
            .map_or(Kind::NotCalendar, |(window_ms, _)| Kind::Calendar { window_ms })
    }

    /// One sentence with the figures behind the judgement.
    pub fn words(&self) -> String {
        let episodes = self.episodes;
        match self.kind() {
            Kind::Unknown => format!(
                "not enough refusals to tell how the portal counts ({episodes} of {EPISODES_MIN} \
                 episodes needed)"
            ),
            Kind::Calendar { window_ms } => format!(
                "in windows that begin with the clock, every {window_ms} ms: the refusals of \
                 {episodes} episodes came at one phase of it"
            ),
            Kind::NotCalendar => format!(
                "in a sliding window or a token bucket: the refusals of {episodes} episodes came at \
                 any phase of second and minute (whether refused calls count too cannot be told \
                 without provoking more)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_refusals_say_nothing() {
        let mut evidence = Evidence::default();
        for at in 0..9 {
            evidence.episode(at * 1_000);
        }
        assert_eq!(evidence.kind(), Kind::Unknown);
        assert!(evidence.words().contains("(9 of 10 episodes needed)"));
    }

    #[test]
    fn refusals_at_one_phase_are_a_calendar_window_and_scattered_ones_are_not() {
        let mut second = Evidence::default();
        let mut minute = Evidence::default();
        let mut anywhere = Evidence::default();
        for at in 0..20 {
            second.episode(at * 17_000 + 900 + at * 5);
            minute.episode(at * 60_000 + 57_000 + at * 97);
            anywhere.episode(at * 17_351);
        }
        assert_eq!(second.kind(), Kind::Calendar { window_ms: 1_000 });
        assert_eq!(minute.kind(), Kind::Calendar { window_ms: 60_000 });
        assert_eq!(anywhere.kind(), Kind::NotCalendar);
    }
}
