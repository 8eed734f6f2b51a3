//! Sending again what a run found, where a person says so.

use serde::Serialize;

use crate::domain::discrepancy::Bucket;
use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::ledger::reconcile::{LineFilter, ReconcileRun};
use crate::ledger::record::AuditRecord;
use crate::ledger::record::ResyncOutcome;
use crate::pipeline::resync::resync;
use crate::pipeline::{Context, VerbError};

/// Dossiers that are read, and opened again, together.
const PAGE: u32 = 1000;

/// What became of the dossiers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Repaired {
    pub run: i64,
    pub dossiers: u64,
    pub opened: u64,
    pub already_open: u64,
    /// Not in the ledger, never sent, or past retention.
    pub not_possible: u64,
    pub dry_run: bool,
}

/// Opens one obligation for each dossier of a run that `filters` take, with one audit row each.
pub async fn repair(
    context: &Context,
    run: &ReconcileRun,
    filters: &[LineFilter],
    dry_run: bool,
    actor: &str,
    reason: &str,
) -> Result<Repaired, VerbError> {
    let mut told = Repaired { run: run.id, dry_run, ..Repaired::default() };
    for filter in filters {
        let mut after = String::new();
        loop {
            let page = context.ledger.lines(run.id, filter, &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.ma_ho_so);
            told.dossiers += page.len() as u64;
            if dry_run {
                continue;
            }
            let lost: Vec<i64> = page
                .iter()
                .filter(|line| line.bucket == Bucket::Missing)
                .filter_map(|line| line.dossier_id)
                .collect();
            if !lost.is_empty() {
                // What is lost is owed with its steps; the resync finds it open and puts it first.
                let resend = context.settings.resend_unknown_supplement;
                context.ledger.repair_missing(context.clock.now(), &lost, resend).await?;
            }
            let codes: Vec<String> = page.into_iter().map(|line| line.ma_ho_so).collect();
            let source = Some(run.order.source.as_str());
            for dossier in resync(context, source, &codes, actor, reason).await?.dossiers {
                match dossier.outcome {
                    ResyncOutcome::Opened { .. } => told.opened += 1,
                    ResyncOutcome::AlreadyOpen { .. } => told.already_open += 1,
                    _ => told.not_possible += 1,
                }
            }
        }
    }
    Ok(told)
}

/// Somebody wants to see names in a report. Without this row nothing is shown.
pub async fn note_unmasking(
    ledger: &dyn Ledger,
    now: Timestamp,
    audit: &AuditRecord,
) -> Result<(), VerbError> {
    Ok(ledger.note_act(now, audit, "a report with names").await?)
}
