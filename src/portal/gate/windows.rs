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
            if pacers
                .iter()
                .any(|other| other.window.window_ms == window.window_ms)
            {
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
            .map(|pacer| {
                (
                    pacer.window.clone(),
                    pacer.allowed,
                    pacer.meter.used(nanos(now)),
                )
            })
            .collect()
    }
}

impl Pacer {
    fn new(window: Window, headroom: f64, now: Duration) -> Result<Self, String> {
        if window.limit == 0 || window.burst == 0 {
            return Err("a window's limit and burst must be at least 1".to_owned());
        }
        if window.window_ms == 0 || window.window_ms > WINDOW_MS_MAX {
            return Err(format!(
                "a window must be between 1 ms and {WINDOW_MS_MAX} ms long"
            ));
        }
        if !(0.0..1.0).contains(&headroom) {
            return Err("the headroom must be at least 0 and below 1".to_owned());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the limit, which is a u32"
        )]
        // The small addition keeps 100 × (1 − 0.03) from becoming 96.
        let allowed = (f64::from(window.limit) * (1.0 - headroom) + 1e-6).floor() as u32;
        let allowed = allowed.max(1);
        let burst = window.burst.min(allowed);
        let window_ns = window.window_ms * 1_000_000;
        let interval_ns = window_ns.div_ceil(u64::from(allowed - burst + 1));
        let tolerance_ns = interval_ns
            .checked_mul(u64::from(burst - 1))
            .filter(|tolerance| *tolerance < u64::MAX / 4)
            .ok_or("this burst is too large for so long a window")?;
        let remembered = window.window_ms >= REMEMBERED_FROM_MS;
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

/// Counts calls by sixtieths of a window; only shown to people.
#[derive(Debug)]
struct Meter {
    slot_ns: u64,
    slots: [u32; Self::SLOTS],
    newest: u64,
}

impl Meter {
    const SLOTS: usize = 60;

    fn new(window_ns: u64) -> Self {
        Self {
            slot_ns: window_ns.div_ceil(Self::SLOTS as u64),
            slots: [0; Self::SLOTS],
            newest: 0,
        }
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

    fn used(&self, now_ns: u64) -> u32 {
        let slot = now_ns / self.slot_ns;
        (0..Self::SLOTS as u64)
            .filter_map(|back| self.newest.checked_sub(back))
            .filter(|counted| counted + Self::SLOTS as u64 > slot)
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(limit: u32, window_ms: u64, burst: u32) -> Window {
        Window {
            limit,
            window_ms,
            burst,
        }
    }

    fn wall(now: Duration) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000) + now
    }

    /// Takes with a memory that always works.
    fn take(windows: &mut Windows, now: Duration) -> Take {
        loop {
            match windows.take(now, || wall(now)) {
                Take::Promise => {
                    for (name, until) in windows.promises(now, wall(now)) {
                        windows.promised(&name, until);
                    }
                }
                other => return other,
            }
        }
    }

    /// Brute force: the most instants in any half-open span of this length.
    fn most_in_any_window(instants: &[Duration], window_ms: u64) -> usize {
        let length = Duration::from_millis(window_ms);
        instants
            .iter()
            .enumerate()
            .map(|(at, start)| {
                instants[at..]
                    .iter()
                    .take_while(|instant| **instant < *start + length)
                    .count()
            })
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn headroom_is_rounded_towards_caution_and_never_to_zero() {
        let allowed = |limit, headroom| {
            Windows::new(&[window(limit, 1000, 1)], headroom, Duration::ZERO)
                .unwrap()
                .pacers[0]
                .allowed
        };
        assert_eq!(allowed(100, 0.03), 97);
        assert_eq!(allowed(10, 0.03), 9);
        assert_eq!(allowed(1, 0.03), 1);
        assert_eq!(allowed(100, 0.0), 100);
    }

    #[test]
    fn windows_that_make_no_sense_are_refused() {
        for bad in [
            window(0, 1000, 1),
            window(1, 0, 1),
            window(1, 1000, 0),
            window(1, u64::MAX, 1),
            window(u32::MAX, WINDOW_MS_MAX, u32::MAX),
        ] {
            assert!(
                Windows::new(std::slice::from_ref(&bad), 0.0, Duration::ZERO).is_err(),
                "{bad:?}"
            );
        }
        let twice = [window(5, 1000, 1), window(9, 1000, 1)];
        assert!(Windows::new(&twice, 0.0, Duration::ZERO).is_err());
        assert!(Windows::new(&[window(5, 1000, 1)], 1.0, Duration::ZERO).is_err());
    }

    #[test]
    fn a_call_refused_by_one_window_is_not_taken_from_the_other() {
        let start = Duration::from_secs(100);
        let mut windows =
            Windows::new(&[window(10, 10_000, 1), window(2, 60_000, 2)], 0.0, start).unwrap();
        assert_eq!(take(&mut windows, start), Take::Admitted);
        let next = start + Duration::from_secs(1);
        assert_eq!(take(&mut windows, next), Take::Admitted);
        let before: Vec<u64> = windows.pacers.iter().map(|pacer| pacer.tat.get()).collect();
        let third = start + Duration::from_secs(2);
        assert!(matches!(take(&mut windows, third), Take::Wait(_)));
        let after: Vec<u64> = windows.pacers.iter().map(|pacer| pacer.tat.get()).collect();
        assert_eq!(before, after);
    }

    #[test]
    fn a_short_window_is_taken_as_used_up_at_the_start() {
        let start = Duration::from_secs(5);
        let mut windows = Windows::new(&[window(10, 1000, 3)], 0.0, start).unwrap();
        assert_eq!(
            take(&mut windows, start),
            Take::Wait(Duration::from_secs(1))
        );
        assert_eq!(
            take(&mut windows, start + Duration::from_secs(1)),
            Take::Admitted
        );
    }

    #[test]
    fn a_bound_beyond_any_honest_one_is_clamped_to_one_window() {
        let start = Duration::from_secs(5);
        let mut windows = Windows::new(&[window(10, 60_000, 1)], 0.0, start).unwrap();
        let far = wall(start) + Duration::from_hours(24);
        windows.restore(&[("60000ms".to_owned(), far)], start, wall(start));
        assert_eq!(
            take(&mut windows, start),
            Take::Wait(Duration::from_mins(1))
        );
    }

    #[test]
    fn a_wall_clock_set_forward_while_running_asks_for_a_new_promise() {
        let start = Duration::from_secs(5);
        let mut windows = Windows::new(&[window(600, 60_000, 1)], 0.0, start).unwrap();
        assert_eq!(take(&mut windows, start), Take::Admitted);
        let now = start + Duration::from_millis(100);
        assert_eq!(windows.take(now, || wall(now)), Take::Admitted);
        let now = start + Duration::from_millis(200);
        let jumped = wall(now) + Duration::from_mins(5);
        assert_eq!(windows.take(now, || jumped), Take::Promise);
    }

    #[test]
    fn the_shown_use_forgets_what_left_the_window() {
        let mut windows = Windows::new(&[window(60, 60_000, 60)], 0.0, Duration::ZERO).unwrap();
        for _ in 0..5 {
            assert_eq!(take(&mut windows, Duration::from_secs(3)), Take::Admitted);
        }
        assert_eq!(windows.usage(Duration::from_secs(30))[0].2, 5);
        assert_eq!(windows.usage(Duration::from_secs(62))[0].2, 5);
        assert_eq!(windows.usage(Duration::from_secs(63))[0].2, 0);
    }

    /// With endless work and a clock that is exact, at least 97 % is used and never more than all.
    #[test]
    fn a_backlog_uses_nearly_all_of_every_quota() {
        let cases: &[(&[Window], usize, u64)] = &[
            (&[window(100, 1000, 1)], 0, 20),
            (&[window(97, 1000, 2)], 0, 20),
            (&[window(600, 60_000, 1)], 0, 180),
            (&[window(1000, 60_000, 10)], 0, 180),
            (&[window(50, 1000, 1), window(1200, 60_000, 1)], 1, 180),
            (&[window(20, 1000, 1), window(6000, 60_000, 1)], 0, 60),
        ];
        for (windows, binding, seconds) in cases {
            let mut pacing = Windows::new(windows, 0.0, Duration::ZERO).unwrap();
            let mut now = Duration::from_secs(2);
            let end = now + Duration::from_secs(*seconds);
            let mut admitted = Vec::new();
            while now < end {
                match take(&mut pacing, now) {
                    Take::Admitted => admitted.push(now),
                    Take::Wait(wait) => now += wait,
                    Take::Promise => unreachable!(),
                }
            }
            for window in *windows {
                let most = most_in_any_window(&admitted, window.window_ms);
                assert!(most <= window.limit as usize, "{window:?}: {most}");
            }
            let binding = &windows[*binding];
            let full =
                f64::from(binding.limit) * (*seconds * 1000) as f64 / binding.window_ms as f64;
            let used = admitted.len() as f64 / full;
            assert!(used >= 0.97, "{windows:?}: only {:.1} %", used * 100.0);
        }
    }

    fn any_window() -> impl Strategy<Value = Window> {
        (1u32..40, 50u64..20_000, 1u32..40)
            .prop_map(|(limit, window_ms, burst)| window(limit, window_ms, burst))
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// That many calls are asked for now.
        Arrive(u8),
        Pass {
            micros: u64,
        },
        /// Killed without warning and started again after a pause.
        Restart {
            pause_micros: u64,
        },
        /// As a time server or an administrator does, in milliseconds.
        SetWallBack {
            by_ms: u32,
        },
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (1u8..20).prop_map(Step::Arrive),
            5 => (0u64..4_000_000).prop_map(|micros| Step::Pass { micros }),
            2 => (0u64..3_000_000).prop_map(|pause_micros| Step::Restart { pause_micros }),
            1 => (1u32..600_000).prop_map(|by_ms| Step::SetWallBack { by_ms }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// However calls arrive, however often the process is killed and started, and even when the
        /// wall clock is set back: no window is ever exceeded.
        #[test]
        fn no_window_is_ever_exceeded(
            first in any_window(),
            second in any_window(),
            headroom in prop_oneof![Just(0.0), Just(0.03), 0.0..0.5],
            steps in prop::collection::vec(any_step(), 1..120),
        ) {
            let mut set = vec![first];
            if set[0].window_ms != second.window_ms {
                set.push(second);
            }
            // `now` runs through restarts: what the portal's counter sees.
            let mut now = Duration::from_secs(1000);
            let mut wall_ms = 1_800_000_000_000i64;
            let mut disk: Vec<(String, Timestamp)> = Vec::new();
            let mut windows = Windows::new(&set, headroom, now).unwrap();
            let mut admitted = Vec::new();
            let pass = |now: &mut Duration, wall_ms: &mut i64, micros: u64| {
                let before = now.as_millis();
                *now += Duration::from_micros(micros);
                *wall_ms += i64::try_from(now.as_millis() - before).unwrap();
            };
            for step in steps {
                match step {
                    Step::Arrive(calls) => {
                        for _ in 0..calls {
                            let wall = Timestamp::from_millis(wall_ms);
                            let mut take = windows.take(now, || wall);
                            if take == Take::Promise {
                                for (name, until) in windows.promises(now, wall) {
                                    disk.retain(|(known, _)| *known != name);
                                    disk.push((name.clone(), until));
                                    windows.promised(&name, until);
                                }
                                take = windows.take(now, || wall);
                            }
                            prop_assert_ne!(&take, &Take::Promise);
                            if take == Take::Admitted {
                                admitted.push(now);
                            }
                        }
                    }
                    Step::Pass { micros } => pass(&mut now, &mut wall_ms, micros),
                    Step::Restart { pause_micros } => {
                        pass(&mut now, &mut wall_ms, pause_micros);
                        // A new process has a monotonic clock of its own; only differences matter,
                        // so keeping the same one is the same.
                        windows = Windows::new(&set, headroom, now).unwrap();
                        windows.restore(&disk, now, Timestamp::from_millis(wall_ms));
                    }
                    Step::SetWallBack { by_ms } => wall_ms -= i64::from(by_ms),
                }
            }
            for window in &set {
                let most = most_in_any_window(&admitted, window.window_ms);
                prop_assert!(most <= window.limit as usize, "{:?}: {}", window, most);
            }
        }
    }
}
