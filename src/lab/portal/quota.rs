//! Quota windows as a portal may count them.
//!
//! Every call counts, log-ins and look-ups included; all windows must admit. The kinds differ in
//! what a refused call costs, which decides how a sender has to pace itself.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// At most `limit` calls in `window_ms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub limit: u32,
    pub window_ms: u64,
    #[serde(flatten)]
    pub kind: WindowKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WindowKind {
    /// Half-open sliding window over every attempt: a refused call counts too.
    SlidingAttempts,
    /// Half-open sliding window over admitted calls.
    SlidingAccepted,
    /// Windows that begin at whole multiples of their length on the wall clock.
    Calendar,
    /// Refills at `limit` per `window_ms` up to `burst`.
    TokenBucket { burst: u32 },
}

/// The portal's quota.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Whether a refusal says `Retry-After`, in whole seconds.
    #[serde(default)]
    pub retry_after: bool,
}

/// How full one window ever was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WindowUse {
    #[serde(flatten)]
    pub window: Window,
    /// Most attempts that ever arrived within one half-open window, refused ones included.
    pub busiest: usize,
    /// Attempts that arrived when the window already held `limit` attempts.
    pub overshoots: u64,
}

/// Counts calls against the quota.
#[derive(Debug, Default)]
pub(super) struct Meter {
    retry_after: bool,
    gauges: Vec<Gauge>,
}

#[derive(Debug)]
struct Gauge {
    usage: WindowUse,
    /// Arrivals within the last window, refused or not.
    arrivals: VecDeque<Duration>,
    counted: Counted,
}

#[derive(Debug)]
enum Counted {
    /// The arrivals themselves are what counts.
    Arrivals,
    Admitted(VecDeque<Duration>),
    Slot {
        slot: i64,
        calls: u32,
    },
    /// In parts of a call: one call costs the window's nanoseconds, each nanosecond refills `limit`.
    Bucket {
        credit: u128,
        filled_at: Duration,
    },
}

/// A refused call; how long until one may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OverQuota {
    /// Whole seconds, when the quota says so.
    pub(super) retry_after_s: Option<u64>,
}

impl Meter {
    pub(super) fn new(quota: Quota) -> Self {
        Self {
            retry_after: quota.retry_after,
            gauges: quota.windows.into_iter().map(Gauge::new).collect(),
        }
    }

    /// Counts one arrival. `monotonic` never goes back; `wall` cuts the calendar windows.
    pub(super) fn admit(&mut self, monotonic: Duration, wall: Timestamp) -> Result<(), OverQuota> {
        let mut wait = None;
        for gauge in &mut self.gauges {
            gauge.arrive(monotonic, wall);
            wait = wait.max(gauge.wait(monotonic, wall));
        }
        if let Some(wait) = wait {
            let seconds = u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
            return Err(OverQuota { retry_after_s: self.retry_after.then_some(seconds.max(1)) });
        }
        for gauge in &mut self.gauges {
            gauge.admit(monotonic);
        }
        Ok(())
    }

    pub(super) fn usage(&self) -> Vec<WindowUse> {
        self.gauges.iter().map(|gauge| gauge.usage.clone()).collect()
    }
}

impl Gauge {
    fn new(window: Window) -> Self {
        let counted = match window.kind {
            WindowKind::SlidingAttempts => Counted::Arrivals,
            WindowKind::SlidingAccepted => Counted::Admitted(VecDeque::new()),
            WindowKind::Calendar => Counted::Slot { slot: i64::MIN, calls: 0 },
            WindowKind::TokenBucket { burst } => Counted::Bucket {
                credit: u128::from(burst) * cost(&window),
                filled_at: Duration::ZERO,
            },
        };
        Self {
            usage: WindowUse { window, busiest: 0, overshoots: 0 },
            arrivals: VecDeque::new(),
            counted,
        }
    }

    fn length(&self) -> Duration {
        Duration::from_millis(self.usage.window.window_ms)
    }

    fn limit(&self) -> usize {
        usize::try_from(self.usage.window.limit).unwrap_or(usize::MAX)
    }

    /// Counts the arrival and lets what is over leave the windows.
    fn arrive(&mut self, now: Duration, wall: Timestamp) {
        let length = self.length();
        leave(&mut self.arrivals, now, length);
        self.arrivals.push_back(now);
        self.usage.busiest = self.usage.busiest.max(self.arrivals.len());
        self.usage.overshoots += u64::from(self.arrivals.len() > self.limit());
        let refill = u128::from(self.usage.window.limit);
        let cost = cost(&self.usage.window);
        match &mut self.counted {
            Counted::Arrivals => {}
            Counted::Admitted(admitted) => leave(admitted, now, length),
            Counted::Slot { slot, calls } => {
                let current = slot_of(wall, length);
                if *slot != current {
                    (*slot, *calls) = (current, 0);
                }
            }
            Counted::Bucket { credit, filled_at } => {
                let full = match self.usage.window.kind {
                    WindowKind::TokenBucket { burst } => u128::from(burst) * cost,
                    _ => 0,
                };
                let elapsed = now.saturating_sub(*filled_at).as_nanos();
                *credit = (*credit + elapsed * refill).min(full);
                *filled_at = now;
            }
        }
    }

    /// `None` when the call may pass, else how long until one may.
    fn wait(&self, now: Duration, wall: Timestamp) -> Option<Duration> {
        let length = self.length();
        let until_left = |times: &VecDeque<Duration>, over: usize| {
            times.get(over).map_or(length, |oldest| (*oldest + length).saturating_sub(now))
        };
        match &self.counted {
            Counted::Arrivals => (self.arrivals.len() > self.limit())
                .then(|| until_left(&self.arrivals, self.arrivals.len() - self.limit())),
            Counted::Admitted(admitted) => {
                (admitted.len() >= self.limit()).then(|| until_left(admitted, 0))
            }
            Counted::Slot { slot, calls } => (*calls >= self.usage.window.limit).then(|| {
                let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
                let next = slot.saturating_add(1).saturating_mul(length_ms);
                Timestamp::from_millis(next).since(wall)
            }),
            Counted::Bucket { credit, .. } => {
                let cost = cost(&self.usage.window);
                (*credit < cost).then(|| {
                    let refill = u128::from(self.usage.window.limit).max(1);
                    let nanos = (cost - credit).div_ceil(refill);
                    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
                })
            }
        }
    }

    fn admit(&mut self, now: Duration) {
        let cost = cost(&self.usage.window);
        match &mut self.counted {
            Counted::Arrivals => {}
            Counted::Admitted(admitted) => admitted.push_back(now),
            Counted::Slot { calls, .. } => *calls += 1,
            Counted::Bucket { credit, .. } => *credit = credit.saturating_sub(cost),
        }
    }
}

/// A call that came exactly one window ago is no longer in it.
fn leave(times: &mut VecDeque<Duration>, now: Duration, length: Duration) {
    while times.front().is_some_and(|first| *first + length <= now) {
        times.pop_front();
    }
}

fn slot_of(wall: Timestamp, length: Duration) -> i64 {
    let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
    wall.millis().div_euclid(length_ms)
}

fn cost(window: &Window) -> u128 {
    u128::from(window.window_ms) * 1_000_000
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    const LIMIT: u32 = 7;
    const WINDOW_MS: u64 = 100;

    fn meter(kind: WindowKind) -> Meter {
        Meter::new(Quota {
            windows: vec![Window { limit: LIMIT, window_ms: WINDOW_MS, kind }],
            retry_after: true,
        })
    }

    /// Arrivals in milliseconds, several in one where the draw says so.
    fn arrivals(seed: u64) -> Vec<u64> {
        let mut rng = Rng::with_seed(seed);
        let mut at = 0;
        (0..400)
            .map(|_| {
                at += *[0, 1, 3, 9, 20, 60].get(rng.usize(..6)).unwrap();
                at
            })
            .collect()
    }

    fn verdicts(kind: WindowKind, arrivals: &[u64]) -> Vec<bool> {
        let mut meter = meter(kind);
        arrivals
            .iter()
            .map(|at| {
                let wall = Timestamp::from_millis(i64::try_from(*at).unwrap());
                meter.admit(Duration::from_millis(*at), wall).is_ok()
            })
            .collect()
    }

    fn within(earlier: u64, now: u64) -> bool {
        now - earlier < WINDOW_MS
    }

    #[test]
    fn every_kind_agrees_with_counting_by_hand() {
        for seed in 0..20 {
            let arrivals = arrivals(seed);
            let limit = usize::try_from(LIMIT).unwrap();

            let attempts = verdicts(WindowKind::SlidingAttempts, &arrivals);
            let accepted = verdicts(WindowKind::SlidingAccepted, &arrivals);
            let calendar = verdicts(WindowKind::Calendar, &arrivals);
            let bucket = verdicts(WindowKind::TokenBucket { burst: 3 }, &arrivals);
            let mut tokens = 3 * WINDOW_MS;
            let mut filled_at = 0;
            for (place, now) in arrivals.iter().enumerate() {
                let before = &arrivals[..place];
                let count = |counts: &dyn Fn(usize, u64) -> bool| {
                    before.iter().enumerate().filter(|(earlier, at)| counts(*earlier, **at)).count()
                };
                assert_eq!(
                    attempts[place],
                    count(&|_, at| within(at, *now)) < limit,
                    "attempts, seed {seed}, call {place}"
                );
                assert_eq!(
                    accepted[place],
                    count(&|earlier, at| within(at, *now) && accepted[earlier]) < limit,
                    "accepted, seed {seed}, call {place}"
                );
                assert_eq!(
                    calendar[place],
                    count(&|earlier, at| at / WINDOW_MS == now / WINDOW_MS && calendar[earlier])
                        < limit,
                    "calendar, seed {seed}, call {place}"
                );
                tokens = (tokens + (now - filled_at) * u64::from(LIMIT)).min(3 * WINDOW_MS);
                filled_at = *now;
                let passes = tokens >= WINDOW_MS;
                assert_eq!(bucket[place], passes, "bucket, seed {seed}, call {place}");
                if passes {
                    tokens -= WINDOW_MS;
                }
            }
        }
    }

    #[test]
    fn refused_calls_keep_a_window_of_attempts_full() {
        let steady: Vec<u64> = (0..100).map(|call| call * 10).collect();
        let passed = |kind| verdicts(kind, &steady).into_iter().filter(|passes| *passes).count();
        assert_eq!(passed(WindowKind::SlidingAttempts), 7);
        assert_eq!(passed(WindowKind::SlidingAccepted), 70);
    }

    #[test]
    fn all_windows_must_admit_and_a_refusal_costs_the_others_nothing() {
        let mut meter = Meter::new(Quota {
            windows: vec![
                Window { limit: 1, window_ms: 10, kind: WindowKind::SlidingAccepted },
                Window { limit: 2, window_ms: 1_000, kind: WindowKind::SlidingAccepted },
            ],
            retry_after: true,
        });
        let mut at = |ms: u64| {
            let wall = Timestamp::from_millis(i64::try_from(ms).unwrap());
            meter.admit(Duration::from_millis(ms), wall)
        };
        assert!(at(0).is_ok());
        assert!(at(1).is_err());
        assert!(at(10).is_ok());
        let refused = at(20).unwrap_err();
        assert_eq!(refused.retry_after_s, Some(1));
        assert!(at(1_000).is_ok());
        assert_eq!(meter.usage()[0].busiest, 2);
        assert_eq!(meter.usage()[0].overshoots, 2);
    }

    #[test]
    fn a_quota_is_read_from_json() {
        let quota: Quota = serde_json::from_str(
            r#"{"windows":[{"limit":50,"window_ms":1000,"kind":"token-bucket","burst":5}]}"#,
        )
        .unwrap();
        assert_eq!(quota.windows[0].kind, WindowKind::TokenBucket { burst: 5 });
        assert!(!quota.retry_after);
    }
}
