//! Between a process and the world: the clock, the ledger and the network are behind it.
//!
//! A process dies by its doors: none of them ever opens again, so whatever of it is still running
//! does nothing more that anybody could see, as after `kill -9`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::time::{WorldClock, sleep};
use hoso_gateway::clock::Clock as _;

#[derive(Debug, Clone)]
pub(super) struct Door {
    world: WorldClock,
    state: Arc<Mutex<State>>,
    died: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    FrozenUntil(Duration),
    Dead,
}

impl Door {
    pub(super) fn new(world: WorldClock) -> Self {
        Self { world, state: Arc::new(Mutex::new(State::Open)), died: Arc::default() }
    }

    /// Comes back when the process gets its turn; for a dead one never.
    pub(super) async fn pass(&self) {
        loop {
            let wait = match self.state() {
                State::Open => return,
                State::FrozenUntil(until) => until.saturating_sub(self.world.monotonic()),
                State::Dead => return std::future::pending().await,
            };
            if wait.is_zero() {
                self.set(State::Open);
                return;
            }
            sleep(wait).await;
        }
    }

    /// The process gets no turn for `duration`.
    pub(super) fn freeze(&self, duration: Duration) {
        if self.state() != State::Dead {
            self.set(State::FrozenUntil(self.world.monotonic() + duration));
        }
    }

    pub(super) fn kill(&self) {
        self.set(State::Dead);
        self.died.notify_waiters();
        self.died.notify_one();
    }

    pub(super) fn is_open(&self) -> bool {
        self.state() == State::Open
    }

    fn is_dead(&self) -> bool {
        self.state() == State::Dead
    }

    pub(super) async fn died(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
