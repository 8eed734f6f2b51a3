//! The pace beneath the windows, learnt from refusals. Pure: it is told the time.
//!
//! A quota that is not known, or is counted otherwise than we think, shows itself only when the
//! portal refuses. Each episode of refusals takes 3 % off the pace, and the place of as many calls
//! is left empty at once, so that the window which holds the present is already as empty as the new
//! pace would have left it. Calls that were on their way belong to the same episode. Then the pace
//! climbs with what is accepted, never with time alone: quickly to 1 % below the last rate that
//! drew a refusal, and from there so slowly that one episode in [`CALLS_BETWEEN_EPISODES`] calls is
//! all that staying near the limit costs. Trouble on the way (no connection, no answer, slowness) presses
//! the pace down to a tenth, says nothing about the limit, and is forgotten as calls go well.
//!
//! Never faster than the windows: their gate stands behind this one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::Evidence;

/// What one episode takes off.
const STEP: f64 = 0.03;
/// Up to this far below the last refused rate the pace climbs quickly: a step in so many calls.
const NEAR: f64 = 0.01;
const CALLS_A_STEP_BELOW: f64 = 300.0;
/// From there it takes so many accepted calls to climb the rest. An episode costs little more than
/// one refusal, so this holds refusals at some 0.3 in 1,000 calls.
const CALLS_BETWEEN_EPISODES: f64 = 4_000.0;
/// With no limit known: the first pace, and by how much a second of accepted calls raises it.
const CAUTIOUS: f64 = 2.0;
const DISCOVERY_A_SECOND: f64 = 0.05;
/// What trouble on the way takes off, how far it can press the pace, and what each call that goes
/// well gives back.
const PRESSED: f64 = 0.1;
const PRESSED_TO: f64 = 0.1;
const RELIEVED: f64 = 0.02;
/// Never slower than one call in ten seconds.
const SLOWEST: f64 = 0.1;
/// Calls whose places are left empty after a refusal.
const GAP_CALLS: f64 = 3.0;
/// A timer that fires late may be made up for to this extent.
const MADE_UP: Duration = Duration::from_millis(5);
/// Answers this much slower than usual press the pace.
const SLOW_FACTOR: f64 = 3.0;
const SLOW_BY_S: f64 = 0.5;
/// After slowness pressed the pace, this many answers pass before it does so again.
const SLOW_PATIENCE: u32 = 50;

/// What survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Calls a second; none: as fast as the windows allow.
    pub pace: Option<f64>,
    /// Calls a second at the last refusal.
    pub refused_at: Option<f64>,
    pub episodes: u64,
    pub evidence: Evidence,
}

/// A call's part in what is learnt; carried by its permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    episode: u64,
    /// It had to wait for the pace, so it says that the pace can be held.
    held_back: bool,
    left: Duration,
}

#[derive(Debug)]
pub(super) struct Pace {
    /// What the windows carry in the long run; infinite when they are not known.
    ceiling: f64,
    /// How far calls may run ahead of the pace: as the windows' bursts allow, and late timers need.
    slack: Duration,
    /// Calls a second; the ceiling or more: nothing to add to the windows.
    rate: f64,
    /// Part of the rate that trouble on the way leaves; 1: no trouble.
    eased: f64,
    refused_at: Option<f64>,
    /// When the next call may leave at the earliest, if no call had been late.
    next: Duration,
    held_back: bool,
    episode: u64,
    episodes: u64,
    /// An episode began, and nothing was accepted since.
    refusing: bool,
    /// When the last episode ended, and how long the gate was closed in the present one.
    open_since: Duration,
    closed: Duration,
    closed_to: Duration,
    slowness: Slowness,
    evidence: Evidence,
}

/// What a refusal means for the gate beside the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Belongs to an episode that was dealt with.
    Known,
    /// The pace was lowered; that may suffice.
    Lowered,
    /// Nothing was accepted since the pace was lowered.
    Again,
}

impl Pace {
    /// `ceiling` is what the windows carry, `None` when none are known.
    pub(super) fn new(
        ceiling: Option<f64>,
        slack: Duration,
        learned: &Learned,
        now: Duration,
    ) -> Self {
        let ceiling = ceiling.unwrap_or(f64::INFINITY);
        let first = if ceiling.is_finite() { ceiling } else { CAUTIOUS };
        Self {
            ceiling,
            slack: slack.max(MADE_UP),
            rate: learned.pace.unwrap_or(first).clamp(SLOWEST, ceiling.max(SLOWEST)),
            eased: 1.0,
            refused_at: learned.refused_at,
            next: now,
            held_back: false,
            episode: 0,
            episodes: learned.episodes,
            refusing: false,
            open_since: now,
            closed: Duration::ZERO,
            closed_to: Duration::ZERO,
            slowness: Slowness::default(),
            evidence: learned.evidence.clone(),
        }
    }

    /// A gate that neither knows nor learns a limit.
    pub(super) fn off() -> Self {
        Self {
            rate: f64::INFINITY,
            ..Self::new(None, Duration::ZERO, &Learned::default(), Duration::ZERO)
        }
    }

    /// How long until the pace lets the next call leave.
    pub(super) fn wait(&mut self, now: Duration) -> Option<Duration> {
        if !self.binds() {
            return None;
        }
        let wait = self.next.saturating_sub(self.slack).saturating_sub(now);
        self.held_back |= !wait.is_zero();
        (!wait.is_zero()).then_some(wait)
    }

    /// A call leaves now.
    pub(super) fn leave(&mut self, now: Duration) -> Mark {
        if self.binds() {
            self.next = self.next.max(now) + Duration::from_secs_f64(1.0 / self.now_at());
        }
        Mark { episode: self.episode, held_back: std::mem::take(&mut self.held_back), left: now }
    }

    /// The portal took the call.
    pub(super) fn accepted(&mut self, mark: Mark, now: Duration) {
        if mark.episode != self.episode {
            // From before the last refusal.
            return;
        }
        if std::mem::take(&mut self.refusing) {
            self.end_episode(now);
        }
        let slow = self.slowness.is_slow(now.saturating_sub(mark.left));
        if slow {
            if self.slowness.may_press() {
                self.press();
            }
        } else if self.eased < 1.0 {
            self.eased = (self.eased * (1.0 + RELIEVED)).min(1.0);
        } else if mark.held_back {
            self.climb();
        }
    }

    /// The portal refused the call. `wall_ms` is when it said so.
    pub(super) fn refused(&mut self, mark: Mark, now: Duration, wall_ms: i64) -> Refusal {
        if mark.episode != self.episode {
            return Refusal::Known;
        }
        self.episode += 1;
        if self.refusing {
            return Refusal::Again;
        }
        self.refusing = true;
        self.episodes += 1;
        self.evidence.episode(wall_ms);
        if self.rate.is_finite() {
            self.refused_at = Some(self.rate);
            self.rate = (self.rate * (1.0 - STEP)).max(SLOWEST);
            self.next = self.next.max(now) + Duration::from_secs_f64(GAP_CALLS / self.now_at());
        }
        Refusal::Lowered
    }

    /// The gate is closed until then because of refusals.
    pub(super) fn closed_until(&mut self, until: Duration, now: Duration) {
        self.closed += until.saturating_sub(self.closed_to.max(now));
        self.closed_to = self.closed_to.max(until);
    }

    /// No connection, no answer, a failing server.
    pub(super) fn pressed(&mut self, mark: Mark) {
        if mark.episode == self.episode {
            self.episode += 1;
            self.press();
        }
    }

    pub(super) fn learned(&self) -> Learned {
        Learned {
            pace: (self.rate < self.ceiling && self.rate.is_finite()).then_some(self.rate),
            refused_at: self.refused_at,
            episodes: self.episodes,
            evidence: self.evidence.clone(),
        }
    }

    /// Calls a second that leave at most in the long run; none: nothing is known.
    pub(super) fn rate(&self) -> Option<f64> {
        let rate = self.now_at();
        rate.is_finite().then_some(rate)
    }

    fn binds(&self) -> bool {
        self.now_at() < self.ceiling && self.rate.is_finite()
    }

    /// Calls a second at this moment.
    fn now_at(&self) -> f64 {
        (self.rate.min(self.ceiling) * self.eased).max(SLOWEST)
    }

    /// Accepted again. A window longer than the episode keeps the gate closed for long: what was
    /// really accepted is the share of the time in which it was open.
    fn end_episode(&mut self, now: Duration) {
        let closed = std::mem::take(&mut self.closed);
        let whole = now.saturating_sub(std::mem::replace(&mut self.open_since, now));
        if let Some(refused_at) = self.refused_at
            && !whole.is_zero()
        {
            let open = 1.0 - closed.as_secs_f64() / whole.as_secs_f64();
            self.rate = self.rate.min((refused_at * open.clamp(0.5, 1.0)).max(SLOWEST));
        }
    }

    fn climb(&mut self) {
        // "Just below" is relative to what was refused; without a refusal, the windows.
        let near = match self.refused_at {
            Some(refused_at) => (refused_at * (1.0 - NEAR)).min(self.ceiling),
            None => self.ceiling,
        };
        if self.rate < near && near.is_finite() {
            self.rate = (self.rate * (1.0 + STEP / CALLS_A_STEP_BELOW)).min(near);
        } else if self.refused_at.is_some() {
            self.rate *= 1.0 + NEAR / CALLS_BETWEEN_EPISODES;
        } else {
            self.rate += DISCOVERY_A_SECOND;
        }
        self.rate = self.rate.min(self.ceiling);
    }

    fn press(&mut self) {
        self.eased = (self.eased * (1.0 - PRESSED)).max(PRESSED_TO);
    }
}

/// Whether answers take much longer than they usually do.
#[derive(Debug, Default)]
struct Slowness {
    usual_s: f64,
    recent_s: f64,
    answers: u32,
    patience: u32,
}

impl Slowness {
    /// Takes one more answer into account.
    fn is_slow(&mut self, latency: Duration) -> bool {
        let latency = latency.as_secs_f64();
        self.answers = self.answers.saturating_add(1);
        // The first answers are the whole experience; later ones weigh less and less.
        let part = |most: f64| 1.0 / f64::from(self.answers).min(most);
        self.usual_s += (latency - self.usual_s) * part(2_000.0);
        self.recent_s += (latency - self.recent_s) * part(20.0);
        self.patience = self.patience.saturating_sub(1);
        self.recent_s > self.usual_s * SLOW_FACTOR && self.recent_s > self.usual_s + SLOW_BY_S
    }

    /// Not again at every answer.
    fn may_press(&mut self) -> bool {
        let may = self.patience == 0;
        if may {
            self.patience = SLOW_PATIENCE;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn known(ceiling: f64) -> Pace {
        Pace::new(Some(ceiling), Duration::ZERO, &Learned::default(), Duration::ZERO)
    }

    fn near(rate: Option<f64>, expected: f64) -> bool {
        rate.is_some_and(|rate| (rate / expected - 1.0).abs() < 1e-9)
    }

    #[test]
    fn a_refusal_takes_three_percent_once_however_many_calls_it_meets() {
        let mut pace = known(100.0);
        let marks: Vec<Mark> = (0..10).map(|_| pace.leave(SECOND)).collect();
        assert_eq!(pace.wait(SECOND), None, "the windows alone decide");
        assert_eq!(pace.refused(marks[3], SECOND, 0), Refusal::Lowered);
        for mark in [0, 1, 5, 9] {
            assert_eq!(pace.refused(marks[mark], SECOND, 0), Refusal::Known);
        }
        assert!(near(pace.rate(), 97.0));
        assert!(pace.wait(SECOND).is_some(), "the places of some calls stay empty");
        let later = pace.leave(2 * SECOND);
        assert_eq!(pace.refused(later, 2 * SECOND, 0), Refusal::Again);
        assert!(near(pace.rate(), 97.0), "the window is still full; the pause grows instead");
        let accepted = pace.leave(4 * SECOND);
        pace.accepted(accepted, 4 * SECOND);
        let refused = pace.leave(5 * SECOND);
        assert_eq!(pace.refused(refused, 5 * SECOND, 0), Refusal::Lowered);
        assert!(near(pace.rate(), 97.0 * 0.97));
    }

    #[test]
    fn it_climbs_quickly_to_just_below_the_last_refused_rate_and_slowly_from_there() {
        let mut pace = known(100.0);
        let mark = pace.leave(SECOND);
        pace.refused(mark, SECOND, 0);
        let ok = Mark { episode: pace.episode, held_back: true, ..mark };
        pace.accepted(ok, SECOND);
        for _ in 0..10 {
            pace.pressed(Mark { episode: pace.episode, ..mark });
        }
        let pressed = pace.rate().unwrap();
        assert!((30.0..40.0).contains(&pressed), "{pressed}");
        for _ in 0..60 {
            pace.accepted(Mark { episode: pace.episode, ..ok }, SECOND);
        }
        assert!((97.0..97.1).contains(&pace.rate().unwrap()), "trouble is forgotten");
        let climb = |pace: &mut Pace, calls: u32| {
            for _ in 0..calls {
                pace.accepted(Mark { episode: pace.episode, ..ok }, SECOND);
            }
            pace.rate().unwrap()
        };
        let quickly = climb(&mut pace, 250);
        assert!((98.9..99.1).contains(&quickly), "{quickly}");
        let slowly = climb(&mut pace, 2_000);
        assert!((99.3..99.8).contains(&slowly), "{slowly}");
        climb(&mut pace, 100_000);
        assert!(near(pace.rate(), 100.0), "never above the windows");
    }

    #[test]
    fn work_that_does_not_press_against_the_pace_raises_nothing() {
        let mut pace = Pace::new(None, MADE_UP, &Learned::default(), Duration::ZERO);
        let mut now = Duration::ZERO;
        for _ in 0..1_000 {
            now += SECOND;
            assert_eq!(pace.wait(now), None);
            let mark = pace.leave(now);
            pace.accepted(mark, now);
        }
        assert!(near(pace.rate(), CAUTIOUS));
    }

    #[test]
    fn slow_answers_lower_the_pace_and_never_raise_it() {
        let mut pace = known(50.0);
        let answer = |pace: &mut Pace, latency: Duration| {
            let mark = pace.leave(SECOND);
            pace.accepted(mark, SECOND + latency);
        };
        for _ in 0..500 {
            answer(&mut pace, Duration::from_millis(80));
        }
        assert!(near(pace.rate(), 50.0));
        for _ in 0..120 {
            answer(&mut pace, 4 * SECOND);
        }
        let slowed = pace.rate().unwrap();
        assert!(slowed < 46.0, "{slowed}");
        for _ in 0..20_000 {
            answer(&mut pace, 4 * SECOND);
        }
        assert!(pace.rate().unwrap() >= 5.0, "pressed at most to a tenth");
    }

    #[test]
    fn an_outage_of_days_is_forgotten_within_some_hundred_calls() {
        let mut pace = known(50.0);
        for _ in 0..1_000 {
            let mark = pace.leave(SECOND);
            pace.pressed(mark);
        }
        assert!(near(pace.rate(), 5.0));
        for _ in 0..120 {
            let mark = pace.leave(SECOND);
            pace.accepted(mark, SECOND);
        }
        assert!(near(pace.rate(), 50.0));
        assert_eq!(pace.learned().pace, None, "nothing was learnt about the limit");
    }

    #[test]
    fn a_long_window_that_is_not_known_is_found_by_how_long_it_kept_closed() {
        let mut pace = Pace::new(
            None,
            MADE_UP,
            &Learned { pace: Some(30.0), ..Learned::default() },
            Duration::ZERO,
        );
        let mark = pace.leave(20 * SECOND);
        pace.refused(mark, 20 * SECOND, 0);
        pace.closed_until(60 * SECOND, 20 * SECOND);
        pace.closed_until(60 * SECOND, 25 * SECOND);
        let mark = pace.leave(60 * SECOND);
        pace.accepted(mark, 60 * SECOND);
        assert!(near(pace.rate(), 15.0), "a third of the time, but never less than half at once");
    }

    #[test]
    fn what_is_learnt_survives_and_other_windows_bound_it() {
        let mut pace = known(100.0);
        let mark = pace.leave(SECOND);
        pace.refused(mark, SECOND, 0);
        let learned = pace.learned();
        let again = Pace::new(Some(100.0), MADE_UP, &learned, SECOND);
        assert!(near(again.rate(), 97.0));
        let lower = Pace::new(Some(50.0), MADE_UP, &learned, SECOND);
        assert!(near(lower.rate(), 50.0));
        let higher = Pace::new(Some(200.0), MADE_UP, &learned, SECOND);
        assert!(near(higher.rate(), 97.0), "what was learnt stays");
    }
}
