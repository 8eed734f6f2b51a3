//! When not to call at all: the portal asks for less, cannot be reached, or something in the
//! environment is wrong. Pure: it is told the time and draws its jitter from the caller.

use std::time::Duration;

use crate::domain::failure::{Disposition, Failure};
use crate::portal::codes;

/// When the gate closes and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures on the way or at the server, in a row, that close the gate.
    pub failures: u32,
    /// First cool-down; doubles while the single probe fails.
    pub cool_down_ms: u64,
    pub cool_down_max_ms: u64,
    /// First pause when the portal asks for less and names no time; doubles until a success.
    pub throttle_ms: u64,
    pub throttle_max_ms: u64,
    /// First pause for wrong credentials, endpoints and the like; doubles while the probe fails.
    pub environment_retry_ms: u64,
    pub environment_retry_max_ms: u64,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures: 5,
            cool_down_ms: 5_000,
            cool_down_max_ms: 300_000,
            throttle_ms: 1_000,
            throttle_max_ms: 60_000,
            environment_retry_ms: 30_000,
            environment_retry_max_ms: 300_000,
        }
    }
}

/// What one finished call says about the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The portal answered; whether it liked the dossier does not matter here.
    Success,
    /// No connection, no answer in time, a broken answer, a failing server.
    Pressure(Failure),
    /// The portal asks for less; [`Failure::retry_after_ms`] when it named a time.
    Throttled(Failure),
    /// Every call would fail the same way until somebody repairs something.
    Environment(Failure),
    /// Nothing was learnt.
    Neutral,
}

/// Whether a call may be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    Open,
    /// The pause is over; one single call may try.
    ProbeDue(&'a Failure),
    /// Not before `until` (monotonic).
    Closed {
        until: Duration,
        failure: &'a Failure,
    },
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Grows whenever the gate closes. A call that was admitted before tells nothing new when it
    /// fails for the same reason afterwards.
    epoch: u64,
    failures_in_a_row: u32,
    throttle_step: u32,
    cool_down_step: u32,
    environment_step: u32,
}

#[derive(Debug)]
enum State {
    Open,
    Closed {
        /// Throttled destinations are healthy: they open by time alone.
        probe_first: bool,
        until: Duration,
        failure: Failure,
    },
    Probing {
        failure: Failure,
        since: Duration,
    },
}

/// While a probe is under way others are told to ask again after this.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

impl Breaker {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            state: State::Open,
            epoch: 0,
            failures_in_a_row: 0,
            throttle_step: 0,
            cool_down_step: 0,
            environment_step: 0,
        }
    }

    pub(super) fn standing(&mut self, now: Duration) -> Standing<'_> {
        if let State::Closed { probe_first: false, until, .. } = &self.state
            && now >= *until
        {
            self.state = State::Open;
        }
        match &self.state {
            State::Open => Standing::Open,
            State::Closed { until, failure, .. } if now >= *until => Standing::ProbeDue(failure),
            State::Closed { until, failure, .. } => Standing::Closed { until: *until, failure },
            State::Probing { failure, since } => Standing::Closed {
                until: (*since + PROBE_PATIENCE).max(now + PROBE_PATIENCE / 4),
                failure,
            },
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The single probe leaves now.
    pub(super) fn start_probe(&mut self, now: Duration) {
        let old = std::mem::replace(&mut self.state, State::Open);
        if let State::Closed { failure, .. } | State::Probing { failure, .. } = old {
            self.state = State::Probing { failure, since: now };
        }
    }

    /// The probe ended without an outcome (its caller went away): the next call may probe.
    pub(super) fn probe_abandoned(&mut self, now: Duration) {
        let old = std::mem::replace(&mut self.state, State::Open);
        self.state = match old {
            State::Probing { failure, .. } => {
                State::Closed { probe_first: true, until: now, failure }
            }
            other => other,
        };
    }

    /// What a finished call says. Returns whether the gate closed (or stayed closed for longer).
    pub(super) fn learn(
        &mut self,
        signal: Signal,
        admitted_in: u64,
        probe: bool,
        now: Duration,
        jitter: f64,
    ) -> bool {
        let current = admitted_in == self.epoch;
        match signal {
            Signal::Success => {
                let opens = match self.state {
                    State::Open => current,
                    State::Probing { .. } => probe,
                    State::Closed { .. } => false,
                };
                if opens {
                    self.state = State::Open;
                    self.failures_in_a_row = 0;
                    self.throttle_step = 0;
                    self.cool_down_step = 0;
                    self.environment_step = 0;
                }
                false
            }
            Signal::Pressure(failure) => {
                if !(probe || current) {
                    return false;
                }
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                if !probe && self.failures_in_a_row < self.settings.failures {
                    return false;
                }
                let pause = pause(
                    self.settings.cool_down_ms,
                    self.settings.cool_down_max_ms,
                    self.cool_down_step,
                    jitter,
                );
                self.cool_down_step += 1;
                let message = if probe {
                    "the single call that was let through failed too".to_owned()
                } else {
                    format!("{} calls in a row failed", self.failures_in_a_row)
                };
                let failure = Failure::new(codes::BREAKER_OPEN, Disposition::Retryable, message)
                    .with_details(failure.to_string());
                self.close(true, now + pause, failure);
                true
            }
            Signal::Throttled(failure) => {
                let named = failure.retry_after_ms.filter(|ms| *ms > 0);
                if let Some(ms) = named {
                    // What the portal says now holds, whenever the call was admitted.
                    self.close(false, now + Duration::from_millis(ms), failure);
                } else if probe || current {
                    let pause = pause(
                        self.settings.throttle_ms,
                        self.settings.throttle_max_ms,
                        self.throttle_step,
                        jitter,
                    );
                    self.throttle_step += 1;
                    self.close(false, now + pause, failure);
                } else {
                    return false;
                }
                self.failures_in_a_row = 0;
                true
            }
            Signal::Environment(failure) => {
                if !(probe || current) {
                    return false;
                }
                let pause = pause(
                    self.settings.environment_retry_ms,
                    self.settings.environment_retry_max_ms,
                    self.environment_step,
                    jitter,
                );
                self.environment_step += 1;
                self.close(true, now + pause, failure);
                true
            }
            Signal::Neutral => {
                if probe {
                    self.probe_abandoned(now);
                }
                false
            }
        }
    }

    /// A later end and the need for a probe survive a second reason to be closed.
    fn close(&mut self, probe_first: bool, until: Duration, failure: Failure) {
        let (probe_before, until_before) = match &self.state {
            State::Closed { probe_first, until, .. } => (*probe_first, *until),
            State::Probing { .. } => (true, Duration::ZERO),
            State::Open => (false, Duration::ZERO),
        };
        self.state = State::Closed {
            probe_first: probe_first || probe_before,
            until: until.max(until_before),
            failure,
        };
        self.epoch += 1;
    }
}

/// Doubles with each step and adds up to a quarter of chance; never above the maximum.
fn pause(first_ms: u64, max_ms: u64, step: u32, jitter: f64) -> Duration {
    let doubled = first_ms.saturating_mul(1u64.checked_shl(step).unwrap_or(u64::MAX));
    let capped = Duration::from_millis(doubled.min(max_ms));
    (capped + capped.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)).min(Duration::from_millis(max_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fault(code: &str) -> Failure {
        Failure::new(code, Disposition::Retryable, "test")
    }

    fn throttled(retry_after_ms: Option<u64>) -> Signal {
        Signal::Throttled(
            Failure::new("portal.throttled", Disposition::Throttled, "test")
                .with_retry_after_ms(retry_after_ms),
        )
    }

    fn closed_until(breaker: &mut Breaker, now: Duration) -> Option<Duration> {
        match breaker.standing(now) {
            Standing::Closed { until, .. } => Some(until),
            _ => None,
        }
    }

    fn learn(breaker: &mut Breaker, signal: Signal, now: Duration) -> bool {
        let epoch = breaker.epoch();
        breaker.learn(signal, epoch, false, now, 0.0)
    }

    fn probe(breaker: &mut Breaker, signal: Signal, now: Duration) {
        assert!(matches!(breaker.standing(now), Standing::ProbeDue(_)));
        breaker.start_probe(now);
        assert!(matches!(breaker.standing(now), Standing::Closed { .. }));
        let epoch = breaker.epoch();
        breaker.learn(signal, epoch, true, now, 0.0);
    }

    #[test]
    fn five_failures_in_a_row_close_the_gate_and_a_success_between_them_does_not() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        let now = SECOND;
        for _ in 0..4 {
            assert!(!learn(&mut breaker, Signal::Pressure(fault("x")), now));
        }
        learn(&mut breaker, Signal::Success, now);
        for _ in 0..4 {
            assert!(!learn(&mut breaker, Signal::Pressure(fault("x")), now));
        }
        assert_eq!(breaker.standing(now), Standing::Open);
        assert!(learn(&mut breaker, Signal::Pressure(fault("x")), now));
        assert_eq!(closed_until(&mut breaker, now), Some(now + 5 * SECOND));
    }

    #[test]
    fn a_failed_probe_doubles_the_cool_down_up_to_its_limit_and_a_success_opens() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        let mut now = SECOND;
        for _ in 0..5 {
            learn(&mut breaker, Signal::Pressure(fault("x")), now);
        }
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            now = closed_until(&mut breaker, now).unwrap();
            probe(&mut breaker, Signal::Pressure(fault("x")), now);
            assert_eq!(closed_until(&mut breaker, now), Some(now + expected * SECOND));
        }
        now = closed_until(&mut breaker, now).unwrap();
        probe(&mut breaker, Signal::Success, now);
        assert_eq!(breaker.standing(now), Standing::Open);
        for _ in 0..5 {
            learn(&mut breaker, Signal::Pressure(fault("x")), now);
        }
        assert_eq!(closed_until(&mut breaker, now), Some(now + 5 * SECOND));
    }

    #[test]
    fn a_named_time_is_kept_exactly_and_opens_without_a_probe() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        learn(&mut breaker, throttled(Some(7_300)), SECOND);
        let until = SECOND + Duration::from_millis(7_300);
        assert_eq!(closed_until(&mut breaker, SECOND), Some(until));
        let just_before = SECOND + Duration::from_nanos(7_299_999_999);
        assert_eq!(closed_until(&mut breaker, just_before), Some(until));
        assert_eq!(breaker.standing(until), Standing::Open);
    }

    #[test]
    fn without_a_named_time_the_pause_doubles_to_a_minute_and_a_success_resets_it() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        let mut now = SECOND;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            learn(&mut breaker, throttled(None), now);
            let until = closed_until(&mut breaker, now).unwrap();
            assert_eq!(until, now + expected * SECOND);
            now = until;
            assert_eq!(breaker.standing(now), Standing::Open);
        }
        learn(&mut breaker, Signal::Success, now);
        learn(&mut breaker, throttled(None), now);
        assert_eq!(closed_until(&mut breaker, now), Some(now + SECOND));
    }

    #[test]
    fn fifty_calls_refused_together_count_once() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        let epoch = breaker.epoch();
        for _ in 0..50 {
            breaker.learn(throttled(None), epoch, false, SECOND, 0.0);
        }
        assert_eq!(closed_until(&mut breaker, SECOND), Some(2 * SECOND));
    }

    #[test]
    fn a_straggler_cannot_open_a_closed_gate_nor_close_it_for_an_old_reason() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        let old = breaker.epoch();
        learn(&mut breaker, Signal::Environment(fault("portal.credentials")), SECOND);
        breaker.learn(Signal::Success, old, false, SECOND, 0.0);
        let until = closed_until(&mut breaker, SECOND).unwrap();
        assert_eq!(until, 31 * SECOND);
        probe(&mut breaker, Signal::Success, until);
        breaker.learn(Signal::Environment(fault("portal.credentials")), old, false, until, 0.0);
        assert_eq!(breaker.standing(until), Standing::Open);
    }

    #[test]
    fn an_environment_failure_holds_the_gate_for_longer_each_time() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        let mut now = SECOND;
        learn(&mut breaker, Signal::Environment(fault("portal.endpoint")), now);
        for expected in [60, 120, 240, 300, 300] {
            now = closed_until(&mut breaker, now).unwrap();
            probe(&mut breaker, Signal::Environment(fault("portal.endpoint")), now);
            assert_eq!(closed_until(&mut breaker, now), Some(now + expected * SECOND));
        }
    }

    #[test]
    fn an_abandoned_probe_lets_the_next_one_try() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        learn(&mut breaker, Signal::Environment(fault("portal.endpoint")), SECOND);
        let now = closed_until(&mut breaker, SECOND).unwrap();
        breaker.start_probe(now);
        breaker.probe_abandoned(now);
        assert!(matches!(breaker.standing(now), Standing::ProbeDue(_)));
    }

    #[test]
    fn chance_lengthens_a_pause_by_at_most_a_quarter_and_never_beyond_the_maximum() {
        assert_eq!(pause(1000, 60_000, 0, 0.0), SECOND);
        assert_eq!(pause(1000, 60_000, 0, 1.0), Duration::from_millis(1250));
        assert_eq!(pause(1000, 60_000, 6, 1.0), 60 * SECOND);
        assert_eq!(pause(1000, 60_000, 200, 0.5), 60 * SECOND);
    }
}
