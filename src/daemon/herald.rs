//! Tells the service manager how the daemon is, and keeps its watchdog quiet only while every loop
//! moves.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::domain::time::{Timestamp, span};
use crate::ledger::view::Waiting;
use crate::notify::Notifier;
use crate::pipeline::pulse::{Pulse, Silent};
use crate::pipeline::{Context, Stop};

/// Between two lines of `systemctl status`.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// Pings in one watchdog period; one that comes late is then no restart.
const PINGS: u32 = 3;

/// What the daemon is doing as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Starting,
    Running,
    Reloading,
}

/// Speaks for the daemon.
#[derive(Debug)]
pub struct Herald {
    notifier: Notifier,
    /// The manager restarts the service when it hears nothing for so long.
    watchdog: Option<Duration>,
    phase: Mutex<Phase>,
}

impl Herald {
    pub fn new(notifier: Notifier, watchdog: Option<Duration>) -> Self {
        Self { notifier, watchdog, phase: Mutex::default() }
    }

    /// The loops run, with a new configuration or again with the old one.
    pub fn ready(&self) {
        self.set(Phase::Running);
        self.notifier.ready("running");
    }

    pub fn reloading(&self) {
        self.set(Phase::Reloading);
        self.notifier.reloading(
            crate::machine::since_boot(),
            "reloading: reading the configuration, settling what is out",
        );
    }

    /// Speaks until it is dropped: signs of life as long as no loop is silent, a status line, and that
    /// the daemon stops.
    pub async fn speak(&self, context: &Context, pulse: &Pulse, stop: &Stop) {
        let every = self.watchdog.map_or(STATUS_EVERY, |period| {
            (period / PINGS).clamp(Duration::from_millis(10), STATUS_EVERY)
        });
        let mut told: Vec<String> = Vec::new();
        let mut stopping = false;
        let mut status_at: Option<Duration> = None;
        loop {
            let now = context.clock.monotonic();
            let silent = pulse.silent(now);
            self.sign(&silent, &mut told);
            if stop.is_cancelled() && !stopping {
                stopping = true;
                self.notifier.stopping("stopping: settling what is out");
            }
            let due = status_at.is_none_or(|at| now.saturating_sub(at) >= STATUS_EVERY);
            if due && !stopping && self.phase() == Phase::Running {
                status_at = Some(now);
                self.notifier.status(&self.status(context, &silent).await);
            }
            tokio::select! {
                () = context.clock.sleep(every) => {}
                () = stop.cancelled(), if !stopping => {}
            }
        }
    }

    fn sign(&self, silent: &[Silent], told: &mut Vec<String>) {
        for wedged in silent {
            if !told.contains(&wedged.name) {
                tracing::error!(
                    code = "daemon.wedged",
                    of = wedged.name,
                    overdue_s = wedged.overdue.as_secs(),
                    "a loop gives no sign of life; the service manager is not told that all is well"
                );
            }
        }
        *told = silent.iter().map(|wedged| wedged.name.clone()).collect();
        if silent.is_empty() && self.watchdog.is_some() {
            self.notifier.alive();
        }
    }

    async fn status(&self, context: &Context, silent: &[Silent]) -> String {
        if let Some(first) = silent.first() {
            return format!("no sign of life from {} for {}", first.name, span(first.overdue));
        }
        let now = context.clock.now();
        match context.ledger.waiting(now).await {
            Ok(waiting) => words(&waiting, now),
            Err(error) => format!("{}: {error}", error.code()),
        }
    }

    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

/// `sending; 12 due, oldest 3 s; books closed 04:00`.
fn words(waiting: &Waiting, now: Timestamp) -> String {
    let mut parts = vec![match (&waiting.gate_owner, &waiting.pause) {
        (None, _) => "waiting for the gate".to_owned(),
        (Some(_), Some(pause)) => {
            format!("not sending for {}: {}", span(now.since(pause.since)), pause.failure.code)
        }
        (Some(_), None) => "sending".to_owned(),
    }];
    parts.push(match waiting.oldest_at {
        Some(at) => format!("{} due, oldest {}", waiting.due, span(now.since(at))),
        None => format!("{} due", waiting.due),
    });
    let last = waiting.books.iter().map(|books| books.ended_at).min();
    parts.push(match last {
        None => "no books yet".to_owned(),
        Some(at) => {
            let closed = waiting.books.iter().all(|books| books.closed);
            let said = if closed { "closed" } else { "open" };
            format!("books {said} {}", at.short(now))
        }
    });
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::{Disposition, Failure};
    use crate::ledger::view::{BooksStanding, Pause};

    #[test]
    fn one_line_says_what_the_service_is_about() {
        let now = Timestamp::from_iso("2026-01-26T09:00:00").unwrap();
        let mut waiting = Waiting { due: 12, ..Waiting::default() };
        assert_eq!(words(&waiting, now), "waiting for the gate; 12 due; no books yet");
        waiting.gate_owner = Some("hoso serve, process 1".to_owned());
        waiting.oldest_at = Some(now - Duration::from_secs(3));
        let ended_at = Timestamp::from_iso("2026-01-26T04:00:00").unwrap();
        let unbalanced = Vec::new();
        let books = BooksStanding { source: "mot-cua".into(), ended_at, closed: true, unbalanced };
        waiting.books = vec![books];
        assert_eq!(words(&waiting, now), "sending; 12 due, oldest 3 s; books closed 04:00");
        waiting.books[0].closed = false;
        waiting.books[0].ended_at = ended_at - Duration::from_hours(48);
        let failure = Failure::new("portal.credentials", Disposition::Environment, "refused");
        waiting.pause = Some(Pause { since: now - Duration::from_mins(5), failure });
        assert_eq!(
            words(&waiting, now),
            "not sending for 5 min: portal.credentials; 12 due, oldest 3 s; books open 2026-01-24 04:00"
        );
    }
}
