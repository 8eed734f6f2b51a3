//! What operators want of a process that sends, and what it tells them: `heed_orders`, `report_gate`.
//!
//! Orders are rows in the ledger, so that they reach every process and survive all of them. The
//! process that owns the gate looks there twice a second and before each pass; what it does not
//! send is judged again by the claim and, for what was claimed already, after the permit and before
//! the first byte.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::audit::on_record;
use super::{Context, PortalLine, VerbError};
use crate::domain::failure::{Disposition, Failure};
use crate::domain::time::Timestamp;
use crate::ledger::record::{AuditRecord, GateNote, PauseScope, Resumed, SendingPause};

/// The code of work that an operator has stopped.
pub const PAUSED: &str = "portal.paused";

/// The orders that were read last; shared by all that send in this process.
#[derive(Debug, Default)]
pub struct Orders {
    pauses: Mutex<Vec<SendingPause>>,
    urgent: Notify,
    jobs: AtomicBool,
}

impl Orders {
    /// Why work of this procedure and agency may not leave now.
    pub fn forbid(
        &self,
        now: Timestamp,
        ma_tthc: Option<&str>,
        ma_don_vi: Option<&str>,
    ) -> Option<Failure> {
        self.pauses()
            .iter()
            .filter(|pause| pause.until.is_none_or(|until| until > now))
            .find(|pause| pause.scope.covers(ma_tthc, ma_don_vi))
            .map(paused)
    }

    /// Whether jobs were to be worked on when the orders were read last.
    pub fn jobs_wait(&self) -> bool {
        self.jobs.load(Ordering::Relaxed)
    }

    /// Ends when something urgent waits to be claimed.
    pub(super) async fn urgent(&self) {
        self.urgent.notified().await;
    }

    fn pauses(&self) -> MutexGuard<'_, Vec<SendingPause>> {
        // A panic elsewhere leaves a list, which stays readable.
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn paused(pause: &SendingPause) -> Failure {
    Failure::new(PAUSED, Disposition::Environment, sentence(pause))
}

/// `sending of procedure X is paused by NAME because …, until …`.
pub fn sentence(pause: &SendingPause) -> String {
    let until = pause
        .until
        .map_or_else(|| "until somebody resumes it".to_owned(), |until| format!("until {until}"));
    format!(
        "sending of {} is paused by {} because: {}; {until}",
        pause.scope, pause.actor, pause.reason
    )
}

/// Reads the orders and follows them: holds or frees the gate, and wakes whoever sends when
/// something urgent waits.
pub async fn heed_orders(context: &Context, line: &PortalLine) -> Result<(), VerbError> {
    let orders = context.ledger.orders(context.clock.now()).await?;
    let everything = orders.pauses.iter().find(|pause| pause.scope == PauseScope::All);
    line.gate.hold(everything.map(|pause| (pause.until, paused(pause))));
    *line.orders.pauses() = orders.pauses;
    line.orders.jobs.store(orders.jobs_wait, Ordering::Relaxed);
    if orders.urgent_waits {
        line.orders.urgent.notify_one();
    }
    Ok(())
}

/// Writes down how the gate stands, for other processes, and what it learnt, for its successor.
pub async fn report_gate(context: &Context, line: &PortalLine) -> Result<(), VerbError> {
    // Unwrap safety: numbers, texts and lists of them always serialise.
    let status = serde_json::to_string(&line.gate.status()).expect("a status serialises");
    context.ledger.note_gate(context.clock.now(), GateNote::Status, &status).await?;
    if let Err(error) = line.gate.keep_learned().await {
        tracing::warn!(%error, "what the gate learnt was not written down");
    }
    Ok(())
}

/// An operator stops sending.
pub async fn pause(
    context: &Context,
    scope: &PauseScope,
    until: Option<Timestamp>,
    actor: &str,
    reason: &str,
) -> Result<(), VerbError> {
    let audit = audit("portal pause", scope, actor, reason);
    let work = context.ledger.pause(context.clock.now(), scope, until, &audit);
    Ok(on_record(context, &audit, work).await?)
}

/// An operator lets sending go on.
pub async fn resume(
    context: &Context,
    scope: &PauseScope,
    actor: &str,
    reason: &str,
) -> Result<Resumed, VerbError> {
    let audit = audit("portal resume", scope, actor, reason);
    let work = context.ledger.resume(context.clock.now(), scope, &audit);
    Ok(on_record(context, &audit, work).await?)
}

fn audit(action: &str, scope: &PauseScope, actor: &str, reason: &str) -> AuditRecord {
    AuditRecord::new(actor, action, &scope.to_string(), reason)
}
