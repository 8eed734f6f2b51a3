//! Simulated time: the runtime's own, which jumps to the next timer as soon as nothing is left to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hoso_gateway::clock::{Clock, Sleep};
use hoso_gateway::domain::time::Timestamp;
use tokio::time::Instant;

use super::door::Door;

/// 26 January 2026, 08:00 in Vietnam.
const START: &str = "20260126080000";

/// What time it really is in the simulated world. The laboratories live by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorldClock {
    origin: Instant,
    start: Timestamp,
}

impl WorldClock {
    #[expect(clippy::disallowed_methods, reason = "the paused time of the simulation's runtime")]
    pub(super) fn new() -> Self {
        let start = Timestamp::from_portal(START).expect("a time");
        Self { origin: Instant::now(), start }
    }

    pub(super) fn millis(&self) -> u64 {
        u64::try_from(self.monotonic().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        self.start + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(sleep(duration))
    }
}

#[expect(clippy::disallowed_methods, reason = "the paused time of the simulation's runtime")]
pub(super) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// The clock of one machine: its wall clock may be wrong, and while the process is frozen nothing in
/// it notices that time passes.
#[derive(Debug, Clone)]
pub(super) struct MachineClock {
    pub(super) world: WorldClock,
    pub(super) wrong_by_ms: Arc<AtomicI64>,
    pub(super) door: Door,
}

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let wrong_by = self.wrong_by_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(self.world.now().millis() + wrong_by)
    }

    fn monotonic(&self) -> Duration {
        self.world.monotonic()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let door = self.door.clone();
        Box::pin(async move {
            sleep(duration).await;
            door.pass().await;
        })
    }
}
