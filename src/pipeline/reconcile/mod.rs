//! Reconciliation: close the books between the source's index, the ledger and the portal.
//!
//! A run is a row with its dossiers beside it, so that one of a million needs no memory and one that
//! was killed goes on where it was: the index is read page by page (`read`), the portal is asked
//! about some or all (`ask`), findings and books are written (`close`). Whoever owns the gate
//! works on open runs; a pass without the portal keeps its run to itself.
//!
//! Every dossier of the index falls into exactly one bucket, and the sums are checked. What changed
//! less than the settle window ago is still on its way and is not called a difference. A portal that
//! does not show a dossier is believed only when a later run, after the settle window, hears the same.
//!
//! A source without an index (files in a folder) gets books over what it gave. They show what became
//! of that and find what the portal lost, but they are never called closed: nobody can know what
//! should have been dropped and was not.

mod ask;
mod close;
mod read;
pub mod repair;
pub mod rolling;

use std::sync::Arc;
use std::time::Duration;

use super::{Context, PortalLine, SourceLine, Stop, VerbError};
use crate::domain::time::Timestamp;
use crate::ledger::reconcile::{Chosen, Phase, ReconcileRun, RunOrder};
use crate::ledger::record::{AuditRecord, Books};
use crate::mapping::Mapping;

/// An index that was read longer ago is no truth to close books with.
const STALE: Duration = Duration::from_hours(6);
/// A run that its own process works on has no other sign of life than its age.
const STALE_ALONE: Duration = Duration::from_mins(10);
const STOPPED: &str =
    "stopped before its end; nothing was recorded, and the next run goes on from here";

/// What a run compares.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    pub source: &'a SourceLine,
    /// Who holds it owns the gate. Without it nothing is read back.
    pub portal: Option<&'a PortalLine>,
    /// Without it, what today's mapping would make of a dossier is not compared.
    pub mapping: Option<&'a Arc<Mapping>>,
}

/// The plain pass: closes the books of one source, records them, and makes lost dossiers owed again
/// where policy says so. A pass that is stopped records no books.
pub async fn reconcile_once(
    context: &Context,
    source: &SourceLine,
    portal: Option<&PortalLine>,
    stop: &Stop,
) -> Result<Books, VerbError> {
    Box::pin(close_books(context, Ends { source, portal, mapping: None }, stop)).await
}

/// [`reconcile_once`], with today's mapping beside what was told.
pub async fn close_books(
    context: &Context,
    ends: Ends<'_>,
    stop: &Stop,
) -> Result<Books, VerbError> {
    let order = plain_order(context, ends);
    loop {
        let run = open(context, &order, None).await?;
        if run.order.alone != order.alone || (order.alone && run.order != order) {
            return Err(VerbError::UnderWay { source_name: order.source, run: run.id });
        }
        match work_on_run(context, ends, run.id, stop, |_| {}).await? {
            // What an operator asked for went first.
            Some(_) if !run.order.plain => {}
            Some(books) => return Ok(books),
            None => {
                return Ok(Books {
                    source: order.source,
                    started_at: run.started_at,
                    ended_at: context.clock.now(),
                    from_day: run.from_day,
                    to_day: run.to_day,
                    remark: STOPPED.to_owned(),
                    ..Books::default()
                });
            }
        }
    }
}

fn plain_order(context: &Context, ends: Ends<'_>) -> RunOrder {
    let look_ups_max = context.settings.look_ups_max;
    RunOrder {
        source: ends.source.source.name().to_owned(),
        plain: true,
        alone: ends.portal.is_none(),
        sample: Some(look_ups_max),
        // As many again, where much differs or is not answered at once.
        budget: Some(look_ups_max.saturating_mul(2)),
        chosen: Chosen::default(),
    }
}

/// Opens a run, or returns the one that is open already. One that nobody can end well any more is
/// given up first.
pub async fn open(
    context: &Context,
    order: &RunOrder,
    audit: Option<&AuditRecord>,
) -> Result<ReconcileRun, VerbError> {
    let now = context.clock.now();
    for run in context.ledger.reconcile_runs(Some(&order.source), true, OPEN_MAX).await? {
        let limit = if run.order.alone { STALE_ALONE } else { STALE };
        // An operator's run may wait for its turn as long as it must.
        let is_stale = (run.order.plain || run.phase == Phase::Reading)
            && (now.since(run.started_at) > limit || run.started_at > now + limit);
        if is_stale {
            context
                .ledger
                .give_up_run(now, run.id, "given up: its index was read too long ago")
                .await?;
        }
    }
    let days = days(context, order, now);
    let days = (days.0.as_str(), days.1.as_str());
    Ok(context.ledger.open_run(now, order, days, audit).await?)
}

/// Sources have one open run each; no province has more of them.
const OPEN_MAX: u32 = 1000;

fn days(context: &Context, order: &RunOrder, now: Timestamp) -> (String, String) {
    let back = Duration::from_secs(u64::from(context.settings.from_days) * 24 * 3600);
    let chosen = &order.chosen;
    (
        chosen.from_day.clone().unwrap_or_else(|| (now - back).vietnam_day()),
        // A day more: clocks differ, and a dossier received after midnight there is not lost here.
        chosen.to_day.clone().unwrap_or_else(|| (now + Duration::from_hours(24)).vietnam_day()),
    )
}

/// Works on a run until it has ended; `None` when `stop` was cancelled before. `progress` hears of
/// every page and every round of look-ups.
pub async fn work_on_run(
    context: &Context,
    ends: Ends<'_>,
    run: i64,
    stop: &Stop,
    mut progress: impl FnMut(&ReconcileRun),
) -> Result<Option<Books>, VerbError> {
    loop {
        context.alive();
        let Some(now) = context.ledger.reconcile_run(run).await? else {
            return Ok(None);
        };
        progress(&now);
        if stop.is_cancelled() {
            return Ok(None);
        }
        match now.phase {
            // On the heap: they are large, and are waited for from everywhere.
            Phase::Reading => Box::pin(read::step(context, ends, &now, stop)).await?,
            Phase::Asking => Box::pin(ask::step(context, ends, &now, stop)).await?,
            Phase::Closing => Box::pin(close::close(context, ends, &now)).await?,
            Phase::Ended => return Ok(now.books),
        }
    }
}

/// Runs that operators asked for, for the gate's owner: the oldest first.
pub async fn asked_for(context: &Context) -> Result<Option<ReconcileRun>, VerbError> {
    let open = context.ledger.reconcile_runs(None, true, OPEN_MAX).await?;
    Ok(open.into_iter().rev().find(|run| !run.order.plain && !run.order.alone))
}
