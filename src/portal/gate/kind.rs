//! What kind of window the portal counts by, as far as the timing of refusals can tell.
//!
//! Two things can be seen from outside without provoking refusals:
//!
//! - **When.** A window that begins with the clock's second (or minute) is full only towards its
//!   end, so first refusals gather at one phase of it. A sliding window refuses at any phase.
//! - **What follows.** When the pace was far too high (the portal grants less than before), calls
//!   that were already on their way at the first refusal show what a refused call costs. Where every
//!   attempt counts, the window stays full and they are refused too; where only accepted calls
//!   count, each moment frees a place and a part gets through.
//!
//! Just below the limit most refusals stand alone and say nothing of that. And a sliding window over
//! accepted calls and a token bucket look alike at an even pace: to tell them apart one would have
//! to send a burst on purpose, which the gate does not do.

use serde::{Deserialize, Serialize};

/// Fewer episodes than this say nothing.
const EPISODES_MIN: u64 = 10;
/// An episode in which fewer of the calls on their way were refused stands alone.
const RUN_MIN: u64 = 3;
/// Fewer calls on their way in such episodes say nothing.
const FOLLOWERS_MIN: u64 = 8;
/// Lengths at which a calendar window may begin, the longest first: what gathers in the minute
/// gathers in its seconds too.
const LENGTHS_MS: [i64; 3] = [60_000, 10_000, 1_000];
/// Phases are this much together (0: anywhere, 1: all the same); by chance ten are so in one of
/// six hundred cases.
const GATHERED: f64 = 0.8;
/// From this share of refused followers on every attempt counts; up to the other one, only accepted
/// calls do.
const NEARLY_ALL: f64 = 0.9;
const A_PART: f64 = 0.75;

/// What refusals have shown; sums, so that it can be kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    episodes: u64,
    /// Sums of cosines and sines of the phases of first refusals, by length.
    phases: [(f64, f64); LENGTHS_MS.len()],
    /// Calls that were on their way after the first refused one, and how many of them were refused
    /// too: in the present episode, and in all earlier ones with a run of refusals.
    present: (u64, u64),
    runs: (u64, u64),
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
    /// Not by the clock; no run of refusals showed what a refused call costs.
    NotCalendar,
    EveryAttempt,
    /// Accepted calls in a sliding window, or a token bucket.
    AcceptedOrBucket,
}

impl Evidence {
    /// An episode of refusals began.
    pub(super) fn episode(&mut self, wall_ms: i64) {
        self.episodes += 1;
        self.runs = self.in_runs();
        self.present = (0, 0);
        for (sums, length) in self.phases.iter_mut().zip(LENGTHS_MS) {
            let phase = wall_ms.rem_euclid(length) as f64 / length as f64;
            let (sine, cosine) = (phase * std::f64::consts::TAU).sin_cos();
            sums.0 += cosine;
            sums.1 += sine;
        }
    }

    /// A call ended that was on its way when the episode's first refused call had already left.
    pub(super) fn followed(&mut self, refused: bool) {
        self.present.0 += 1;
        self.present.1 += u64::from(refused);
    }

    pub fn kind(&self) -> Kind {
        let (followers, refused) = self.in_runs();
        let share = refused as f64 / followers.max(1) as f64;
        if self.episodes >= EPISODES_MIN
            && let Some(window_ms) = self.gathered()
        {
            Kind::Calendar { window_ms }
        } else if followers >= FOLLOWERS_MIN && share >= NEARLY_ALL {
            Kind::EveryAttempt
        } else if followers >= FOLLOWERS_MIN && share <= A_PART {
            Kind::AcceptedOrBucket
        } else if self.episodes >= EPISODES_MIN {
            Kind::NotCalendar
        } else {
            Kind::Unknown
        }
    }

    /// One sentence with the figures behind the judgement.
    pub fn words(&self) -> String {
        let (followers, refused) = self.in_runs();
        let episodes = self.episodes;
        let runs =
            format!("{refused} of {followers} calls that were on their way were refused too");
        match self.kind() {
            Kind::Unknown => format!(
                "not enough refusals to tell ({episodes} of {EPISODES_MIN} episodes needed; {runs})"
            ),
            Kind::Calendar { window_ms } => format!(
                "in windows that begin with the clock, every {window_ms} ms: the refusals of \
                 {episodes} episodes came at one phase of it"
            ),
            Kind::NotCalendar => format!(
                "in a sliding window or a token bucket: {episodes} refusals came at any time of the \
                 second and minute; they stood alone, so what a refused call costs is not known"
            ),
            Kind::EveryAttempt => format!("every attempt, refused ones too: {runs}"),
            Kind::AcceptedOrBucket => format!(
                "accepted calls only, or by a token bucket (at an even pace they look alike): {runs}"
            ),
        }
    }

    fn in_runs(&self) -> (u64, u64) {
        let (followers, refused) = self.present;
        if refused >= RUN_MIN {
            (self.runs.0 + followers, self.runs.1 + refused)
        } else {
            self.runs
        }
    }

    fn gathered(&self) -> Option<i64> {
        let episodes = self.episodes.max(1) as f64;
        LENGTHS_MS
            .into_iter()
            .zip(self.phases)
            .find(|(_, (cosines, sines))| cosines.hypot(*sines) / episodes >= GATHERED)
            .map(|(length, _)| length)
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
        assert!(evidence.words().starts_with("not enough refusals to tell (9 of 10 episodes needed"));
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

    #[test]
    fn runs_of_refusals_tell_what_a_refused_call_costs_and_single_ones_do_not() {
        let mut every = Evidence::default();
        let mut accepted = Evidence::default();
        let mut alone = Evidence::default();
        for at in 0..3 {
            every.episode(at * 17_351);
            accepted.episode(at * 17_351);
            alone.episode(at * 17_351);
            for call in 0..8 {
                every.followed(true);
                accepted.followed(call % 2 == 0);
                alone.followed(call == 0);
            }
        }
        assert_eq!(every.kind(), Kind::EveryAttempt);
        assert_eq!(accepted.kind(), Kind::AcceptedOrBucket);
        assert_eq!(alone.kind(), Kind::Unknown);
    }
}
