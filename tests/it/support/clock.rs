//! A clock that moves when a story says so, and knows who waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hoso_gateway::clock::{Clock, ManualClock, Sleep};
use hoso_gateway::domain::time::Timestamp;

/// 26 January 2026, 16:00 in Vietnam.
pub(crate) const START: &str = "20260126160000";

#[derive(Debug, Clone)]
pub(crate) struct StoryClock {
    /// The same time without the book-keeping of who waits.
    pub(crate) manual: ManualClock,
    waits: Arc<Mutex<Waits>>,
}

#[derive(Debug, Default)]
struct Waits {
    next: u64,
    until: BTreeMap<u64, Duration>,
}

impl StoryClock {
    pub(crate) fn new() -> Self {
        Self {
            manual: ManualClock::at(Timestamp::from_portal(START).expect("a time")),
            waits: Arc::default(),
        }
    }

    /// Time until the first wait is over; `None` when nobody waits.
    pub(crate) fn next_wait(&self) -> Option<Duration> {
        let now = self.manual.monotonic();
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waits.until.values().min()?;
        Some(first.saturating_sub(now))
    }
}

impl Clock for StoryClock {
    fn now(&self) -> Timestamp {
        self.manual.now()
    }

    fn monotonic(&self) -> Duration {
        self.manual.monotonic()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let waiting = Waiting::begin(&self.waits, self.manual.monotonic() + duration);
        let sleep = self.manual.sleep(duration);
        Box::pin(async move {
            sleep.await;
            drop(waiting);
        })
    }
}

/// One who waits, until dropped.
struct Waiting {
    number: u64,
    waits: Arc<Mutex<Waits>>,
}

impl Waiting {
    fn begin(waits: &Arc<Mutex<Waits>>, until: Duration) -> Self {
        let mut all = waits.lock().unwrap_or_else(PoisonError::into_inner);
        all.next += 1;
        let number = all.next;
        all.until.insert(number, until);
        Self { number, waits: Arc::clone(waits) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut all = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        all.until.remove(&self.number);
    }
}
