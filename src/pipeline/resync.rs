//! `resync`: an operator wants dossiers sent (again), and says why.

use serde::Serialize;

use super::audit::on_record;
use super::{Context, VerbError};
use crate::ledger::record::{AuditRecord, ResyncOutcome, RetryScope};
use crate::sabotage;

/// What became of each code.
#[derive(Debug, Clone, Serialize)]
pub struct ResyncReport {
    pub dossiers: Vec<ResyncedDossier>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ResyncedDossier {
    pub ma_ho_so: String,
    #[serde(flatten)]
    pub outcome: ResyncOutcome,
}

/// Opens one send intent per dossier and leaves one audit row each, also when nothing was opened.
/// Whoever owns the gate sends them, before everything else.
pub async fn resync(
    context: &Context,
    source: Option<&str>,
    ma_ho_so: &[String],
    actor: &str,
    reason: &str,
) -> Result<ResyncReport, VerbError> {
    let mut dossiers = Vec::with_capacity(ma_ho_so.len());
    for code in ma_ho_so {
        let audit = AuditRecord::new(actor, "resync", code, reason);
        let audit = match source {
            Some(source) => audit.selection(format!("source {source}")),
            None => audit,
        };
        let work = context.ledger.resync(context.clock.now(), source, code, &audit);
        let outcome = on_record(context, &audit, work).await?;
        sabotage::point("resync.opened");
        dossiers.push(ResyncedDossier { ma_ho_so: code.clone(), outcome });
    }
    Ok(ResyncReport { dossiers })
}

/// Puts problems back on their way; returns how many.
pub async fn retry_problems(
    context: &Context,
    scope: &RetryScope,
    actor: &str,
    reason: &str,
) -> Result<u64, VerbError> {
    let target = match (scope.ma_ho_so.as_slice(), scope.cause.as_ref().or(scope.code.as_ref())) {
        ([], Some(name)) => name.clone(),
        ([], None) => "all".to_owned(),
        ([one], _) => one.clone(),
        (many, _) => format!("{} dossiers", many.len()),
    };
    let audit = AuditRecord::new(actor, "retry", &target, reason).selection(chosen(scope));
    let work = context.ledger.retry(context.clock.now(), scope, &audit);
    Ok(on_record(context, &audit, work).await?)
}

/// What a retry takes, in words: `quarantined, dead; code mapping.required; 2 dossiers`.
fn chosen(scope: &RetryScope) -> String {
    let kinds = [("quarantined", scope.quarantined), ("dead", scope.dead), ("held", scope.held)];
    let kinds: Vec<&str> =
        kinds.iter().filter(|(_, wanted)| *wanted).map(|(kind, _)| *kind).collect();
    let mut words = vec![kinds.join(", ")];
    words.extend(scope.code.as_ref().map(|code| format!("code {code}")));
    if !scope.ma_ho_so.is_empty() {
        words.push(scope.ma_ho_so.join(" "));
    }
    words.join("; ")
}
