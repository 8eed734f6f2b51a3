//! The only reader of time.
//!
//! Everything else asks the [`Clock`] in its context, so a test or a simulation decides what time
//! it is and how long a wait lasts.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::time::Timestamp;

/// A future that completes when a wait is over.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What time it is, and how to wait.
pub trait Clock: Debug + Send + Sync {
    /// Wall-clock time, for records and for deadlines that outlive the process. May jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary origin that never goes back, for pacing and durations.
    fn monotonic(&self) -> Duration;

    /// Completes after `duration` of [`Clock::monotonic`] time.
    fn sleep(&self, duration: Duration) -> Sleep;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the machine's clock")]
    pub fn new() -> Self {
        Self { origin: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the machine's clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one door to the machine's timers")]
    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is advanced. Waits end when it is advanced past them.
#[derive(Debug, Clone)]
pub struct ManualClock {
    state: Arc<Mutex<ManualState>>,
    moved: Arc<tokio::sync::Notify>,
}

#[derive(Debug)]
struct ManualState {
    wall: Timestamp,
    monotonic: Duration,
}

impl ManualClock {
    pub fn at(wall: Timestamp) -> Self {
        Self {
            state: Arc::new(Mutex::new(ManualState { wall, monotonic: Duration::ZERO })),
            moved: Arc::new(tokio::sync::Notify::new()),
        }
    }

    /// Moves both clocks forward and wakes everybody whose wait is over.
    pub fn advance(&self, by: Duration) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.monotonic += by;
            state.wall = state.wall + by;
        }
        self.moved.notify_waiters();
    }

    /// Moves the wall clock only, as an administrator or a time server does.
    pub fn step_wall(&self, to: Timestamp) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).wall = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).wall
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).monotonic
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let clock = self.clone();
        let until = clock.monotonic() + duration;
        Box::pin(async move {
            loop {
                let moved = clock.moved.notified();
                tokio::pin!(moved);
                // Registered before the check, so an advance in between is not missed.
                moved.as_mut().enable();
                if clock.monotonic() >= until {
                    return;
                }
                moved.await;
            }
        })
    }
}
