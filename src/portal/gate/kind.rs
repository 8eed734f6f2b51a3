//! What kind of window the portal counts by, as far as the timing of refusals can tell.
//!
//! Two things can be seen from outside without provoking refusals:
//!
//! - **When.** A window that begins with the clock's second (or minute) is full only towards its
//!   end, so first refusals gather at one phase of it. A sliding window refuses at any phase.
//! - **What follows.** Calls that were already on their way when the first refusal came show what
//!   a refused call costs. Where every attempt counts, the window stays full and most of them are
//!   refused too; where only accepted calls count, each moment frees a place and most get through.
//!
//! A sliding window over accepted calls and a token bucket look alike at an even pace. To tell them
//! apart one would have to send a burst on purpose, which the gate does not do.

use serde::{Deserialize, Serialize};

/// Fewer episodes than this say nothing.
const EPISODES_MIN: u64 = 10;
/// Fewer calls on their way at a refusal say nothing.
const FOLLOWERS_MIN: u64 = 20;
/// Lengths at which a calendar window may begin.
const LENGTHS_MS: [i64; 3] = [1_000, 10_000, 60_000];
/// Phases are this much together (0: anywhere, 1: all the same); by chance ten are so in one of
/// six hundred cases.
const GATHERED: f64 = 0.8;
/// More than this share of the followers is refused where every attempt counts.
const MOST: f64 = 0.5;

/// What refusals have shown; sums, so that it can be kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub episodes: u64,
    /// Sums of cosines and sines of the phases of first refusals, by length.
    phases: [(f64, f64); LENGTHS_MS.len()],
    /// Calls that were on their way after the first refused one, and how many were refused too.
    pub followers: u64,
    pub followers_refused: u64,
}

/// How the portal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Not enough refusals to tell.
    Unknown,
    Calendar {
        window_ms: i64,
    },
    EveryAttempt,
    /// Accepted calls in a sliding window, or a token bucket.
    AcceptedOrBucket,
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

    /// A call that was on its way ended.
    pub(super) fn in_flight(&mut self, follows: bool, refused: bool) {
        self.followers += u64::from(follows);
        self.followers_refused += u64::from(follows && refused);
    }

    pub fn kind(&self) -> Kind {
        if self.episodes < EPISODES_MIN {
            return Kind::Unknown;
        }
        for (length, gathered) in self.gathered() {
            if gathered >= GATHERED {
                return Kind::Calendar { window_ms: length };
            }
        }
        if self.followers < FOLLOWERS_MIN {
            return Kind::Unknown;
        }
        if self.share_refused() > MOST { Kind::EveryAttempt } else { Kind::AcceptedOrBucket }
    }

    /// One sentence with the figures behind the judgement.
    pub fn words(&self) -> String {
        let seen = format!("{} episodes of refusals", self.episodes);
        let followers = format!(
            "{} of {} calls that were on their way were refused too",
            self.followers_refused, self.followers
        );
        match self.kind() {
            Kind::Unknown => format!(
                "not enough refusals to tell ({seen} of {EPISODES_MIN} needed, {} of {FOLLOWERS_MIN} \
                 calls on their way at one)",
                self.followers
            ),
            Kind::Calendar { window_ms } => format!(
                "a window that begins with the clock, every {window_ms} ms: {seen} came at one \
                 phase of it"
            ),
            Kind::EveryAttempt => {
                format!("every attempt counts, refused ones too: in {seen} {followers}")
            }
            Kind::AcceptedOrBucket => format!(
                "only accepted calls count, or a token bucket (at an even pace they look alike): \
                 in {seen} {followers}"
            ),
        }
    }

    fn gathered(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        let episodes = self.episodes.max(1) as f64;
        LENGTHS_MS
            .into_iter()
            .zip(&self.phases)
            .map(move |(length, (cosines, sines))| (length, cosines.hypot(*sines) / episodes))
    }

    fn share_refused(&self) -> f64 {
        self.followers_refused as f64 / self.followers.max(1) as f64
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
        assert!(evidence.words().starts_with("not enough refusals to tell (9 episodes"));
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
        assert_eq!(anywhere.kind(), Kind::Unknown);
    }

    #[test]
    fn what_follows_a_refusal_tells_what_a_refused_call_costs() {
        let mut every = Evidence::default();
        let mut accepted = Evidence::default();
        for at in 0..20 {
            every.episode(at * 17_351);
            accepted.episode(at * 17_351);
            for call in 0..5 {
                every.in_flight(true, call < 4);
                accepted.in_flight(true, call == 0);
                accepted.in_flight(false, true);
            }
        }
        assert_eq!(every.kind(), Kind::EveryAttempt);
        assert_eq!(accepted.kind(), Kind::AcceptedOrBucket);
        assert_eq!(accepted.followers, 100);
    }
}
