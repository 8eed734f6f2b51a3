//! Quota windows: half-open and sliding, several at once, never above any of them.
//!
//! Each window is paced by GCRA (crate `governor`) on our own clock and our own state, so that all
//! windows are tested and taken together and the state can be written down.
//!
//! Why the pace is `window / (allowed - burst + 1)`: GCRA with emission interval `t` and burst `B`
//! admits at most `B - 1 + ceil(W / t)` calls in any half-open window of length `W`. With
//! `t = ceil(W / (N - B + 1))` that is at most `N`. The usual `t = W / N` with a burst of `N` lets
//! nearly `2 N` through in the first window.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, RateLimiter, StateStore};

use crate::domain::time::Timestamp;
use crate::sabotage::{self, Defect};

/// Shorter windows are not written down: a write per second would be needed, and a start that waits
/// for one whole window costs less.
const REMEMBERED_FROM_MS: u64 = 2_000;
/// How far ahead of the pace a written bound reaches: one write per second of sending.
const PROMISE_AHEAD: Duration = Duration::from_secs(1);
/// Longer windows than a leap year are a mistake, and would overflow the arithmetic.
const WINDOW_MS_MAX: u64 = 366 * 24 * 3600 * 1000;

/// At most `limit` calls in any half-open span of `window_ms` milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub limit: u32,
    pub window_ms: u64,
    /// Calls that may leave back to back after a pause. 1 spaces all calls evenly. A larger burst
    /// makes the pace a little slower (`window / (limit - burst + 1)`) and lets the gate catch up
    /// when a timer fires late.
    pub burst: u32,
}

impl Window {
    /// A window with the burst that lets the gate make up for timers, which fire a millisecond or two
    /// late: 100 calls a second paced one by one reach 90 % of the quota, with a burst of 2 they reach
    /// 99 %. Where calls are 40 ms apart or more it would cost more than it brings.
    pub fn catching_up(limit: u32, window_ms: u64) -> Self {
        const TIMERS_MATTER_BELOW_US: u64 = 40_000;
        const MADE_UP_US: u64 = 5_000;
        let apart_us = window_ms.saturating_mul(1000) / u64::from(limit.max(1));
        let burst = if apart_us >= TIMERS_MATTER_BELOW_US {
            1
        } else {
            1 + MADE_UP_US.div_ceil(apart_us.max(1))
        };
        Self {
            limit,
            window_ms,
            burst: u32::try_from(burst).unwrap_or(limit).clamp(1, limit.max(1)),
        }
    }

    /// Time between two calls when the window is used to its end, with this headroom.
    pub fn pace(&self, headroom: f64) -> Duration {
        let allowed = self.allowed(headroom);
        let burst = self.burst.clamp(1, allowed);
        Duration::from_nanos((self.window_ms * 1_000_000).div_ceil(u64::from(allowed - burst + 1)))
    }

    /// Calls allowed in any window: the limit less the headroom, and never none.
    fn allowed(&self, headroom: f64) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the limit, which is a u32"
        )]
        // The small addition keeps 100 × (1 − 0.03) from becoming 96.
        let allowed = (f64::from(self.limit) * (1.0 - headroom) + 1e-6).floor() as u32;
        let allowed = allowed + u32::from(sabotage::on(Defect::QuotaOffByOne));
        allowed.max(1)
    }

    /// Whether its use outlives a process; shorter windows start as used up instead.
    pub fn is_remembered(&self) -> bool {
        self.window_ms >= REMEMBERED_FROM_MS
    }

    /// The name under which its use is remembered: its length, so that a changed limit still
    /// honours what was sent under the old one.
    pub fn name(&self) -> String {
        format!("{}ms", self.window_ms)
    }
}

/// What asking for one call came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Take {
    Admitted,
    /// Not before this much time has passed.
    Wait(Duration),
    /// A bound must be written down first.
    Promise,
}

/// All windows of one destination.
#[derive(Debug)]
pub(super) struct Windows {
    pacers: Vec<Pacer>,
}

type Limiter = RateLimiter<NotKeyed, Tat, Reading, NoOpMiddleware<Nanos>>;

#[derive(Debug)]
struct Pacer {
    window: Window,
    /// Calls allowed in any window: the limit less the headroom.
    allowed: u32,
    interval_ns: u64,
    tolerance_ns: u64,
    window_ns: u64,
    tat: Tat,
    reading: Reading,
    limiter: Limiter,
    /// State before the call that is being decided, to take it back.
    tat_before: u64,
    remembered: bool,
    /// Wall clock: the bound that is safely written down.
    promised: Timestamp,
    meter: Meter,
}

/// The theoretical arrival time, all the state that GCRA has, in nanoseconds of the monotonic
/// clock. Guarded by the gate's lock; atomic only because the limiter owns its handle.
#[derive(Debug, Clone, Default)]
struct Tat(Arc<AtomicU64>);

impl Tat {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::Relaxed);
    }
}

impl StateStore for Tat {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &Self::Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(Nanos::new(self.get())))?;
        self.set(next.as_u64());
        Ok(outcome)
    }
}

/// The instant that all windows are asked about; one reading of the clock for all of them.
#[derive(Debug, Clone, Default)]
struct Reading(Arc<AtomicU64>);

impl GovernorClock for Reading {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

impl Windows {
    /// Windows that nobody has used yet, except that short ones are taken as used up until one
    /// whole window has passed: an earlier process may have used them a moment ago.
    pub(super) fn new(windows: &[Window], headroom: f64, now: Duration) -> Result<Self, String> {
        let mut pacers: Vec<Pacer> = Vec::with_capacity(windows.len());
        for window in windows {
            if pacers.iter().any(|other| other.window.window_ms == window.window_ms) {
                return Err(format!("two windows of {} ms", window.window_ms));
            }
            pacers.push(Pacer::new(window.clone(), headroom, now)?);
        }
        Ok(Self { pacers })
    }

    /// No limit at all.
    pub(super) fn none() -> Self {
        Self { pacers: Vec::new() }
    }

    /// Calls a second that the windows carry in the long run; none without windows.
    pub(super) fn rate(&self) -> Option<f64> {
        let slowest = self.pacers.iter().map(|pacer| pacer.interval_ns).max()?;
        Some(1e9 / slowest as f64)
    }

    /// How far calls may run ahead of an even pace: the configured bursts.
    pub(super) fn slack(&self) -> Duration {
        let least = self.pacers.iter().map(|pacer| pacer.tolerance_ns).min();
        Duration::from_nanos(least.unwrap_or(0))
    }

    /// Continues where an earlier process was, as far as it wrote down. A bound further away than
    /// any honest one (the wall clock was set back) counts as the furthest honest one. A wall clock
    /// that was set *forward* while no process ran cannot be noticed.
    pub(super) fn restore(
        &mut self,
        recalled: &[(String, Timestamp)],
        now: Duration,
        wall: Timestamp,
    ) {
        for pacer in self.pacers.iter_mut().filter(|pacer| pacer.remembered) {
            let name = pacer.window.name();
            let Some((_, until)) = recalled.iter().find(|(of, _)| *of == name) else {
                continue;
            };
            let until = (*until).min(wall + pacer.furthest());
            pacer.promised = until;
            pacer.tat.set(nanos(now + until.since(wall)));
        }
    }

    /// Takes one call from every window, or from none.
    pub(super) fn take(&mut self, now: Duration, wall: impl FnOnce() -> Timestamp) -> Take {
        if self.pacers.is_empty() {
            return Take::Admitted;
        }
        let now_ns = nanos(now);
        let mut wait = Duration::ZERO;
        for pacer in &mut self.pacers {
            pacer.tat_before = pacer.tat.get();
            pacer.reading.0.store(now_ns, Ordering::Relaxed);
            if let Err(not_until) = pacer.limiter.check() {
                // Never zero: a refused call lies strictly before its time.
                wait = wait.max(not_until.wait_time_from(Nanos::new(now_ns)));
            }
        }
        if !wait.is_zero() {
            self.take_back();
            return Take::Wait(wait);
        }
        if self.pacers.iter().any(|pacer| pacer.remembered) {
            let wall = wall();
            let broken = |pacer: &Pacer| {
                pacer.remembered && wall_of(pacer.tat.get(), now_ns, wall) > pacer.promised
            };
            if self.pacers.iter().any(broken) {
                self.take_back();
                return Take::Promise;
            }
        }
        for pacer in &mut self.pacers {
            pacer.meter.count(now_ns);
        }
        Take::Admitted
    }

    fn take_back(&self) {
        for pacer in &self.pacers {
            pacer.tat.set(pacer.tat_before);
        }
    }

    /// The bounds that must be written down before the next call.
    pub(super) fn promises(&self, now: Duration, wall: Timestamp) -> Vec<(String, Timestamp)> {
        let now_ns = nanos(now);
        self.pacers
            .iter()
            .filter(|pacer| pacer.remembered)
            .filter_map(|pacer| {
                let next_tat = pacer.tat.get().max(now_ns) + pacer.interval_ns;
                let needed = wall_of(next_tat, now_ns, wall);
                let bound = (needed + PROMISE_AHEAD).min(wall + pacer.furthest());
                (needed > pacer.promised).then(|| (pacer.window.name(), bound.max(needed)))
            })
            .collect()
    }

    /// `until` is safely written down.
    pub(super) fn promised(&mut self, name: &str, until: Timestamp) {
        for pacer in &mut self.pacers {
            if pacer.window.name() == name {
                pacer.promised = until;
            }
        }
    }

    /// Window, calls allowed in it, calls counted in it (rounded down to a sixtieth of the window).
    pub(super) fn usage(&self, now: Duration) -> Vec<(Window, u32, u32)> {
        self.pacers
            .iter()
            .map(|pacer| (pacer.window.clone(), pacer.allowed, pacer.meter.used(nanos(now))))
            .collect()
    }
}

impl Pacer {
    fn new(window: Window, headroom: f64, now: Duration) -> Result<Self, String> {
        if window.limit == 0 || window.burst == 0 {
            return Err("a window's limit and burst must be at least 1".to_owned());
        }
        if window.window_ms == 0 || window.window_ms > WINDOW_MS_MAX {
            return Err(format!("a window must be between 1 ms and {WINDOW_MS_MAX} ms long"));
        }
        if !(0.0..1.0).contains(&headroom) {
            return Err("the headroom must be at least 0 and below 1".to_owned());
        }
        let allowed = window.allowed(headroom);
        let burst = window.burst.min(allowed);
        let window_ns = window.window_ms * 1_000_000;
        let interval_ns = nanos(window.pace(headroom));
        let tolerance_ns = interval_ns
            .checked_mul(u64::from(burst - 1))
            .filter(|tolerance| *tolerance < u64::MAX / 4)
            .ok_or("this burst is too large for so long a window")?;
        let remembered = window.is_remembered();
        let tat = Tat::default();
        if !remembered {
            tat.set(nanos(now) + window_ns + tolerance_ns);
        }
        // Cannot fail: interval and burst are at least 1.
        let quota = governor::Quota::with_period(Duration::from_nanos(interval_ns))
            .zip(std::num::NonZeroU32::new(burst))
            .map(|(quota, burst)| quota.allow_burst(burst))
            .ok_or("a window's pace must not be zero")?;
        // The limiter's own origin is this first reading: zero, so its state is our clock's time.
        let reading = Reading::default();
        Ok(Self {
            limiter: RateLimiter::new(quota, tat.clone(), reading.clone()),
            window,
            allowed,
            interval_ns,
            tolerance_ns,
            window_ns,
            tat,
            reading,
            tat_before: 0,
            remembered,
            promised: Timestamp::from_millis(i64::MIN / 2),
            meter: Meter::new(window_ns),
        })
    }

    /// From a bound this far ahead, the first call leaves one whole window later. No honest bound
    /// lies further.
    fn furthest(&self) -> Duration {
        Duration::from_nanos(self.window_ns + self.tolerance_ns)
    }
}

/// Counts calls by sixtieths of a window, to be shown.
#[derive(Debug, Clone)]
struct Meter {
    slot_ns: u64,
    slots: [u32; Self::SLOTS],
    newest: u64,
}

impl Meter {
    const SLOTS: usize = 60;

    fn new(window_ns: u64) -> Self {
        Self { slot_ns: window_ns.div_ceil(Self::SLOTS as u64), slots: [0; Self::SLOTS], newest: 0 }
    }

    fn count(&mut self, now_ns: u64) {
        let slot = now_ns / self.slot_ns;
        let passed = slot.saturating_sub(self.newest).min(Self::SLOTS as u64);
        for back in 0..passed {
            self.slots[Self::index(slot - back)] = 0;
        }
        self.newest = self.newest.max(slot);
        self.slots[Self::index(self.newest)] += 1;
    }

    /// Calls in the window that ends now, rounded down to a sixtieth of it.
    fn used(&self, now_ns: u64) -> u32 {
        let slots = Self::SLOTS as u64;
        let slot = now_ns / self.slot_ns;
        (0..slots)
            .filter_map(|back| self.newest.checked_sub(back))
            .filter(|counted| counted + slots > slot)
            .map(|counted| self.slots[Self::index(counted)])
            .sum()
    }

    fn index(slot: u64) -> usize {
        // Cannot truncate: the remainder is below 60.
        usize::try_from(slot % Self::SLOTS as u64).unwrap_or(0)
    }
}

/// The wall-clock time of a monotonic instant, rounded up so that a bound is never early.
fn wall_of(instant_ns: u64, now_ns: u64, wall: Timestamp) -> Timestamp {
    let ahead_ms = instant_ns.saturating_sub(now_ns).div_ceil(1_000_000);
    wall + Duration::from_millis(ahead_ms + 1)
}

fn nanos(duration: Duration) -> u64 {
    // Five hundred years of uptime fit.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests;
