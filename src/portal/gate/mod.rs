//! The one gate through which every call to the portal passes, logins and look-ups included.
//!
//! Owns: the quota (`windows`, a hard ceiling at our own socket), who goes first (`queue`), and
//! when not to call at all (`breaker`). A permit is one call: it is spent when [`Gate::admit`]
//! returns, and the call leaves at once. Knows nothing of what is sent.
//!
//! One process owns the gate of a destination at a time (the caller's business); what must survive
//! its death is written through [`QuotaMemory`] before it is used.

mod breaker;
mod memory;
mod queue;
mod status;
mod windows;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

pub use breaker::{BreakerSettings, Signal};
pub use memory::{MemoryFailure, NoMemory, QuotaMemory};
pub use status::{GateStatus, Readiness, Tally, WindowStatus};
pub use windows::Window;

use crate::clock::Clock;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ids::Chance;
use breaker::{Breaker, Standing};
use queue::{Place, Queue};
use windows::{Take, Windows};

use super::codes;

/// After the quota's use could not be written down, callers come back after this.
const MEMORY_RETRY: Duration = Duration::from_secs(1);

/// How much may be sent, and when to hold back.
#[derive(Debug, Clone, PartialEq)]
pub struct GateSettings {
    /// All must admit; none: no limit.
    pub windows: Vec<Window>,
    /// The part of every limit that is left unused, because the network bunches calls after they
    /// leave; 0.0 to below 1.0.
    pub headroom: f64,
    pub breaker: BreakerSettings,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self { windows: Vec::new(), headroom: 0.03, breaker: BreakerSettings::default() }
    }
}

/// Why a gate cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    #[error("the quota cannot be kept as configured: {0}")]
    Settings(String),
    #[error("the earlier use of the quota cannot be read")]
    Memory(#[source] MemoryFailure),
}

/// The gate is closed: nothing may leave before `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub until: Timestamp,
    pub failure: Failure,
}

/// See the module.
#[derive(Debug)]
pub struct Gate {
    clock: Arc<dyn Clock>,
    chance: Arc<Chance>,
    memory: Arc<dyn QuotaMemory>,
    shared: Mutex<Shared>,
    /// One writer to the memory at a time, so that bounds arrive in order.
    promising: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    windows: Windows,
    breaker: Breaker,
    queue: Queue,
    admitted: u64,
    tallies: BTreeMap<&'static str, Tally>,
}

/// The right to make one call, already paid for. Say how it went with [`Permit::done`].
#[derive(Debug)]
#[must_use = "a permit that is dropped is a call that was paid for and not made"]
pub struct Permit<'a> {
    gate: &'a Gate,
    service: &'static str,
    epoch: u64,
    probe: bool,
    pending: bool,
}

enum Next {
    Admitted {
        epoch: u64,
        probe: bool,
    },
    Closed(Closed),
    /// Not first in the queue.
    Queued,
    Wait(Duration),
    Promise,
}

impl Gate {
    /// Continues where an earlier process was: windows of two seconds and more as far as the memory
    /// knows, shorter ones as if used up, so that the first call leaves after one such window.
    pub async fn open(
        settings: GateSettings,
        clock: Arc<dyn Clock>,
        chance: Arc<Chance>,
        memory: Arc<dyn QuotaMemory>,
    ) -> Result<Self, GateError> {
        let recalled = memory.recall().await.map_err(GateError::Memory)?;
        let now = clock.monotonic();
        let mut windows =
            Windows::new(&settings.windows, settings.headroom, now).map_err(GateError::Settings)?;
        windows.restore(&recalled, now, clock.now());
        Ok(Self::with(windows, settings.breaker, clock, chance, memory))
    }

    /// A gate without quota windows, which therefore has nothing to remember.
    pub fn unlimited(breaker: BreakerSettings, clock: Arc<dyn Clock>, chance: Arc<Chance>) -> Self {
        let windows = Windows::none();
        Self::with(windows, breaker, clock, chance, Arc::new(NoMemory))
    }

    fn with(
        windows: Windows,
        breaker: BreakerSettings,
        clock: Arc<dyn Clock>,
        chance: Arc<Chance>,
        memory: Arc<dyn QuotaMemory>,
    ) -> Self {
        Self {
            clock,
            chance,
            memory,
            shared: Mutex::new(Shared {
                windows,
                breaker: Breaker::new(breaker),
                queue: Queue::default(),
                admitted: 0,
                tallies: BTreeMap::new(),
            }),
            promising: tokio::sync::Mutex::new(()),
        }
    }

    /// Waits for the turn of this class and for every quota window; then the call must leave at
    /// once. Returns early, also for those who already wait, when the gate closes. May be dropped
    /// while waiting.
    pub async fn admit(
        &self,
        class: Priority,
        service: &'static str,
    ) -> Result<Permit<'_>, Closed> {
        let mut ticket: Option<Ticket<'_>> = None;
        loop {
            let (next, joined) = self.attempt(class, service, ticket.as_ref());
            if let Some((place, wake)) = joined {
                ticket = Some(Ticket { gate: self, place, wake });
            }
            match (next, &ticket) {
                (Next::Admitted { epoch, probe }, _) => {
                    return Ok(Permit { gate: self, service, epoch, probe, pending: true });
                }
                (Next::Closed(closed), _) => return Err(closed),
                (Next::Promise, _) => {
                    if let Err(error) = self.promise().await {
                        return Err(Closed {
                            until: self.clock.now() + MEMORY_RETRY,
                            failure: Failure::new(
                                codes::QUOTA_MEMORY,
                                Disposition::Environment,
                                "the use of the quota could not be written down",
                            )
                            .with_details(error.to_string()),
                        });
                    }
                }
                (Next::Wait(wait), Some(ticket)) => {
                    tokio::select! {
                        biased;
                        () = ticket.wake.notified() => {}
                        () = self.clock.sleep(wait) => {}
                    }
                }
                (Next::Queued, Some(ticket)) => ticket.wake.notified().await,
                // Whoever has to wait has just joined.
                (Next::Wait(_) | Next::Queued, None) => {}
            }
        }
    }

    /// Whether it is worth claiming work now.
    pub fn readiness(&self) -> Readiness {
        let now = self.clock.monotonic();
        match self.shared().breaker.standing(now) {
            Standing::Open => Readiness::Open,
            Standing::ProbeDue(_) => Readiness::Probe,
            Standing::Closed { until, failure } => {
                Readiness::Closed { until: self.wall_at(until, now), failure: failure.clone() }
            }
        }
    }

    /// Everything an operator may want to know.
    pub fn status(&self) -> GateStatus {
        let now = self.clock.monotonic();
        let mut shared = self.shared();
        let shared = &mut *shared;
        let (state, reason, until) = match shared.breaker.standing(now) {
            Standing::Open => ("open", None, None),
            Standing::ProbeDue(failure) => ("probe", Some(failure.clone()), None),
            Standing::Closed { until, failure } => {
                ("closed", Some(failure.clone()), Some(self.wall_at(until, now)))
            }
        };
        GateStatus {
            state,
            reason,
            until,
            windows: shared
                .windows
                .usage(now)
                .into_iter()
                .map(|(window, allowed, used)| WindowStatus {
                    limit: window.limit,
                    window_ms: window.window_ms,
                    allowed,
                    used,
                })
                .collect(),
            waiting: Priority::ALL
                .into_iter()
                .map(|class| (class, shared.queue.count(class)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            admitted: shared.admitted,
            services: shared.tallies.clone(),
        }
    }

    /// One decision under one lock: breaker, turn, all windows. Whoever has to wait joins the queue
    /// in the same breath.
    fn attempt(
        &self,
        class: Priority,
        service: &'static str,
        ticket: Option<&Ticket<'_>>,
    ) -> (Next, Option<(Place, Arc<Notify>)>) {
        let mut shared = self.shared();
        let shared = &mut *shared;
        // Read under the lock: instants must reach the windows in order.
        let now = self.clock.monotonic();
        let probe = match shared.breaker.standing(now) {
            Standing::Open => false,
            Standing::ProbeDue(_) => true,
            Standing::Closed { until, failure } => {
                let closed = Closed { until: self.wall_at(until, now), failure: failure.clone() };
                return (Next::Closed(closed), None);
            }
        };
        let next = if shared.queue.is_next(class, ticket.map(|ticket| ticket.place)) {
            match shared.windows.take(now, || self.clock.now()) {
                Take::Admitted => {
                    if probe {
                        shared.breaker.start_probe(now);
                        // The others find the gate closed until the probe is back.
                        shared.queue.wake_all();
                    }
                    shared.admitted += 1;
                    shared.tallies.entry(service).or_default().admitted += 1;
                    let epoch = shared.breaker.epoch();
                    return (Next::Admitted { epoch, probe }, None);
                }
                Take::Wait(wait) => Next::Wait(wait),
                Take::Promise => Next::Promise,
            }
        } else {
            Next::Queued
        };
        let joined = ticket.is_none().then(|| shared.queue.join(class));
        (next, joined)
    }

    /// Writes down how far the quota will be used, before it is.
    async fn promise(&self) -> Result<(), MemoryFailure> {
        let _turn = self.promising.lock().await;
        let needed = {
            let shared = self.shared();
            shared.windows.promises(self.clock.monotonic(), self.clock.now())
        };
        for (window, until) in needed {
            self.memory.remember(&window, until).await?;
            self.shared().windows.promised(&window, until);
        }
        Ok(())
    }

    fn settle(&self, service: &'static str, epoch: u64, probe: bool, signal: Signal) {
        let jitter = match signal {
            Signal::Pressure(_) | Signal::Throttled(_) => self.chance.fraction(),
            _ => 0.0,
        };
        let now = self.clock.monotonic();
        let mut shared = self.shared();
        let tally = shared.tallies.entry(service).or_default();
        match signal {
            Signal::Success => tally.success += 1,
            Signal::Pressure(_) => tally.pressure += 1,
            Signal::Throttled(_) => tally.throttled += 1,
            Signal::Environment(_) => tally.environment += 1,
            Signal::Neutral => tally.other += 1,
        }
        if shared.breaker.learn(signal, epoch, probe, now, jitter) {
            shared.queue.wake_all();
        }
    }

    /// Rounded up, so that whoever comes back at this time is not a fraction early.
    fn wall_at(&self, instant: Duration, now: Duration) -> Timestamp {
        let ahead_ms = instant.saturating_sub(now).as_nanos().div_ceil(1_000_000);
        self.clock.now() + Duration::from_millis(u64::try_from(ahead_ms).unwrap_or(u64::MAX))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // A panic elsewhere leaves plain numbers, which stay usable.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// What the call taught about the destination.
    pub fn done(mut self, signal: Signal) {
        self.pending = false;
        self.gate.settle(self.service, self.epoch, self.probe, signal);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.pending {
            self.gate.settle(self.service, self.epoch, self.probe, Signal::Neutral);
        }
    }
}

/// A place in the queue; given up, and the next one woken, when dropped.
#[derive(Debug)]
struct Ticket<'a> {
    gate: &'a Gate,
    place: Place,
    wake: Arc<Notify>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.gate.shared().queue.leave(self.place);
    }
}

#[cfg(test)]
mod tests;
