//! Causes: what people do about them, and what the gateway does by itself when one comes in a surge.
//!
//! A surge holds a scope and not the gateway: where the portal refuses the data of one procedure or of
//! one agency, sending of that is paused, with an end at which one dossier goes first. Where refusals
//! come from everywhere, and where nothing was sent at all, nothing is held, and somebody is told.

use std::time::Duration;

use super::{Context, VerbError};
use crate::domain::time::{Timestamp, span};
use crate::ledger::LedgerError;
use crate::ledger::cause::{CauseOutcome, FoundAtPortal, NewNote, Surge};
use crate::ledger::record::AuditRecord;

/// Who holds a scope because of a surge.
pub const GATEWAY: &str = "gateway";

/// The code of the warning.
pub const SURGE: &str = "problems.surge";

/// How often is too often.
#[derive(Debug, Clone, Copy)]
pub struct SurgeSettings {
    /// Dossiers of one cause; 0: surges are not looked for.
    pub least: u32,
    pub within_ms: u64,
    /// How long a scope is held before one dossier goes first.
    pub hold_ms: u64,
}

/// A surge that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub name: String,
    /// What is held because of it.
    pub held: Option<String>,
}

/// Looks for surges; cheap while there is none. After each settlement that left something to people,
/// and with each upkeep.
pub async fn watch_surges(context: &Context) -> Result<Vec<Told>, LedgerError> {
    let settings = context.settings.surges;
    if settings.least == 0 {
        return Ok(Vec::new());
    }
    let now = context.clock.now();
    let within = Duration::from_millis(settings.within_ms);
    let surges = context.ledger.surges(now - within, settings.least).await?;
    let mut told = Vec::new();
    for surge in surges {
        let scope = surge.scope();
        // What is not held comes on and on; said again with each settlement, nobody would read it.
        if scope.is_none() && surge.told_at.is_some_and(|at| now.since(at) < within) {
            continue;
        }
        let target = scope.as_ref().map_or_else(|| surge.name.clone(), ToString::to_string);
        let audit = AuditRecord::new(GATEWAY, "portal pause", &target, &reason(&surge, within));
        let until = now + Duration::from_millis(settings.hold_ms);
        let name = &surge.name;
        let held = context.ledger.hold_surge(now, name, scope.as_ref(), until, &audit).await?;
        if !held && let Some(scope) = &scope {
            tracing::warn!(code = SURGE, cause = name, "{}; {scope} is held already", audit.reason);
            continue;
        }
        let held = scope.filter(|_| held).map(|scope| scope.to_string());
        if let Some(scope) = &held {
            tracing::error!(
                code = SURGE,
                cause = name,
                scope,
                until = %until,
                "{}; sending of it is held, everything else goes on",
                audit.reason
            );
        } else {
            tracing::warn!(
                code = SURGE,
                cause = name,
                "{}; nothing is held, please look: hoso problems show {name}",
                audit.reason
            );
        }
        told.push(Told { name: name.clone(), held });
    }
    Ok(told)
}

fn reason(surge: &Surge, within: Duration) -> String {
    let Surge { name, code, .. } = surge;
    format!(
        "{} dossiers failed of one cause within {}: {code} ({name})",
        surge.dossiers(),
        span(within)
    )
}

/// Keeps a remark about a cause or a dossier.
pub async fn note(
    context: &Context,
    target: &str,
    note: &NewNote,
    actor: &str,
    text: &str,
) -> Result<CauseOutcome, VerbError> {
    let audit = audit("problems note", target, actor, text);
    Ok(context.ledger.note_problem(context.clock.now(), note, &audit).await?)
}

/// Stops what is tried again of a cause.
pub async fn hold(
    context: &Context,
    cause: &str,
    until: Option<Timestamp>,
    actor: &str,
    reason: &str,
) -> Result<CauseOutcome, VerbError> {
    let audit = audit("problems hold", cause, actor, reason);
    Ok(context.ledger.hold_cause(context.clock.now(), until, &audit).await?)
}

/// Lets it go on, and with it what the gateway holds because of the cause.
pub async fn release(
    context: &Context,
    cause: &str,
    actor: &str,
    reason: &str,
) -> Result<CauseOutcome, VerbError> {
    let audit = audit("problems release", cause, actor, reason);
    Ok(context.ledger.release_cause(context.clock.now(), &audit).await?)
}

/// A person found held steps at the portal.
pub async fn mark_sent(
    context: &Context,
    found: &FoundAtPortal,
    actor: &str,
    reason: &str,
) -> Result<CauseOutcome, VerbError> {
    let target = match found {
        FoundAtPortal::Cause(name) => name,
        FoundAtPortal::Dossier { ma_ho_so, .. } => ma_ho_so,
    };
    let audit = audit("problems mark-sent", target, actor, reason);
    Ok(context.ledger.mark_sent(context.clock.now(), found, &audit).await?)
}

fn audit(action: &str, target: &str, actor: &str, reason: &str) -> AuditRecord {
    AuditRecord::new(actor, action, target, reason)
}
