//! Taking over from an older sync: ask the portal what it knows, before anything is sent.
//!
//! Two askers share one pass: the daemon asks about dossiers for which something waits, and a run
//! of `hoso adopt` about all of them, within its budget. Each answer is committed before it counts,
//! so what still awaits is where the next run goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;

use super::push::call_record;
use super::read_back::{Echo, compare_echo};
use super::way::Way;
use super::{Context, PortalLine, SourceLine, Stop, VerbError};
use crate::domain::adoption::{Look, Shown, Waiting, adopt};
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ledger::adoption::{
    AdoptedDossier, AdoptionBatch, AdoptionCounts, AdoptionRun, AdoptionScope, AwaitingDossier,
};
use crate::ledger::record::CallRecord;
use crate::portal::gate::Readiness;
use crate::portal::{LookUpVerdict, Portal, Tenure};
use crate::sabotage;
use crate::source::Owner;

/// Dossiers asked about between two looks at the budget.
const ASK_MAX: u32 = 64;
/// Passes of a run without a single answer after which it ends.
const FRUITLESS_MAX: u32 = 5;
/// Longest wait between two passes of a run.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What one pass asked.
#[derive(Debug, Clone, Copy, Default)]
struct Pass {
    asked: usize,
    counts: AdoptionCounts,
    next_due_at: Option<Timestamp>,
    spent: bool,
}

/// Asks about dossiers of which something waits to be sent; returns what the portal said. The
/// caller owns the gate.
pub async fn adopt_pressing_once(
    context: &Context,
    line: &PortalLine,
    stop: &Stop,
) -> Result<AdoptionCounts, VerbError> {
    if stop.is_cancelled() || matches!(line.gate.readiness(), Readiness::Closed { .. }) {
        return Ok(AdoptionCounts::default());
    }
    Ok(pass(context, line, AdoptionScope::Pressing, stop).await?.counts)
}

/// A run while somebody works on it.
#[derive(Debug, Clone, Copy)]
pub struct RunPace {
    run: i64,
    fruitless: u32,
}

/// How a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStep {
    /// There may be more to ask at once.
    More,
    /// Not before this has passed.
    Wait(Duration),
    /// Nothing is left to ask, the budget is spent, or nobody answers.
    Over,
}

impl RunPace {
    pub const fn of(run: i64) -> Self {
        Self { run, fruitless: 0 }
    }

    pub const fn run(self) -> i64 {
        self.run
    }

    /// Asks about some dossiers of the run. The caller owns the gate and ends the run.
    pub async fn step(
        &mut self,
        context: &Context,
        line: &PortalLine,
        stop: &Stop,
    ) -> Result<RunStep, VerbError> {
        let done = pass(context, line, AdoptionScope::Run(self.run), stop).await?;
        if done.spent || stop.is_cancelled() {
            return Ok(RunStep::Over);
        }
        if done.counts.answered() + done.counts.overtaken > 0 {
            self.fruitless = 0;
            return Ok(RunStep::More);
        }
        let now = context.clock.now();
        self.fruitless += 1;
        // What failed is due again later; nothing due and nothing later is the end.
        let next = match (done.asked, done.next_due_at, line.gate.readiness()) {
            (_, _, Readiness::Closed { until, .. }) => until.since(now),
            (0, None, _) => return Ok(RunStep::Over),
            (0, Some(due_at), _) => due_at.since(now),
            _ => Duration::ZERO,
        };
        if self.fruitless > FRUITLESS_MAX {
            return Ok(RunStep::Over);
        }
        Ok(RunStep::Wait(next.min(PAUSE_MAX)))
    }
}

/// Works on a run until it is over or `stop` is cancelled, and ends it. `progress` hears of every
/// pass.
pub async fn work_on_run(
    context: &Context,
    line: &PortalLine,
    run: i64,
    stop: &Stop,
    mut progress: impl FnMut(&AdoptionRun),
) -> Result<(), VerbError> {
    let mut pace = RunPace::of(run);
    loop {
        let step = pace.step(context, line, stop).await?;
        if let Some(found) = context.ledger.adoption_run(Some(run)).await? {
            progress(&found);
        }
        match step {
            RunStep::Over => break,
            RunStep::More => {}
            RunStep::Wait(wait) => {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = context.clock.sleep(wait) => {}
                }
            }
        }
    }
    sabotage::point("adopt.asked_all");
    Ok(context.ledger.end_adoption(context.clock.now(), run).await?)
}

async fn pass(
    context: &Context,
    line: &PortalLine,
    scope: AdoptionScope,
    stop: &Stop,
) -> Result<Pass, VerbError> {
    let mut done = Pass::default();
    let chosen = context.ledger.claim_adoption(context.clock.now(), scope, ASK_MAX).await?;
    done.asked = chosen.dossiers.len();
    done.next_due_at = chosen.next_due_at;
    done.spent = chosen.spent;
    if done.asked > 0 {
        sabotage::point("adopt.chosen");
    }
    let run = match scope {
        AdoptionScope::Run(id) => Some(id),
        AdoptionScope::Pressing => None,
    };
    let portal = line.portal.during(Tenure::until(stop));
    let portal = &portal;
    let mut looks = stream::iter(chosen.dossiers)
        .map(|dossier| ask(context, portal, scope, dossier))
        .buffer_unordered(context.settings.concurrency)
        .ready_chunks(ASK_MAX as usize);
    while let Some(answers) = looks.next().await {
        let mut batch = AdoptionBatch {
            run,
            resend_supplements: context.settings.resend_unknown_supplement,
            ..AdoptionBatch::default()
        };
        for (calls, mut dossier) in answers {
            let is_answered = !calls.is_empty();
            batch.calls.extend(calls);
            dossier.call = batch.calls.len().checked_sub(1).filter(|_| is_answered);
            batch.dossiers.push(dossier);
        }
        sabotage::point("adopt.answered");
        done.counts += context.ledger.settle_adoption(context.clock.now(), &batch).await?;
        sabotage::point("adopt.settled");
    }
    Ok(done)
}

async fn ask(
    context: &Context,
    portal: &Portal,
    scope: AdoptionScope,
    dossier: AwaitingDossier,
) -> (Vec<CallRecord>, AdoptedDossier) {
    // A run is no hurry; a change that waits has the priority of the change.
    let class = match scope {
        AdoptionScope::Pressing => dossier.priority,
        AdoptionScope::Run(_) => dossier.priority.max(Priority::Audit),
    };
    let exchange = portal.look_up(class, &dossier.ma_ho_so).await;
    let asked = !matches!(exchange.verdict, LookUpVerdict::NotSent { .. });
    let mut differs = Vec::new();
    let (look, outcome) = match exchange.verdict {
        LookUpVerdict::Missing => (Look::Missing, "not_known"),
        LookUpVerdict::Found { echoed } => {
            let echo = dossier
                .packet
                .as_ref()
                .map_or(Echo::ExistenceOnly, |packet| compare_echo(&echoed, packet));
            match echo {
                Echo::ExistenceOnly => (Look::Known(Shown::Existence), "known"),
                Echo::Equal => (Look::Known(Shown::Equal), "known_equal"),
                Echo::Formatting(found) | Echo::Different(found) => {
                    let fields: Vec<String> = found.into_iter().map(|one| one.path).collect();
                    differs.clone_from(&fields);
                    (Look::Known(Shown::Different(fields)), "known_different")
                }
            }
        }
        LookUpVerdict::Failed(failure) => (Look::Failed { failure, until: None }, "failed"),
        LookUpVerdict::NotSent { failure, until } => {
            (Look::Failed { failure, until: Some(until) }, "not_sent")
        }
    };
    let adoption = adopt(
        Waiting { owed: dossier.owed, retries: dossier.retries },
        look,
        context.clock.now(),
        &context.settings.retry,
        context.chance.fraction(),
    );
    let adopted = AdoptedDossier {
        entry_id: dossier.entry_id,
        dossier_id: dossier.dossier_id,
        cut_over: dossier.cut_over,
        filed_at_portal: dossier.filed_at_portal,
        adoption,
        differs,
        asked,
        call: None,
        outcome,
    };
    (exchange.calls.into_iter().map(call_record).collect(), adopted)
}

/// A source's index beside the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IndexCheck {
    pub source: String,
    pub at_source: u64,
    /// In the index, and never given by the feed: nobody can say whether the portal has them.
    pub not_given: Vec<String>,
    /// Whether the index was read to its end, if there is one.
    pub whole: bool,
    /// The source has none: nobody can say what it never gave.
    pub without_index: bool,
}

/// Reads the source's index and names the dossiers that the feed never gave.
pub async fn check_index(
    context: &Context,
    line: &SourceLine,
    stop: &Stop,
) -> Result<IndexCheck, VerbError> {
    let now = context.clock.now();
    let days = Duration::from_secs(u64::from(context.settings.from_days) * 24 * 3600);
    let (from, to) = ((now - days).vietnam_day(), (now + Duration::from_hours(24)).vietnam_day());
    let mut check = IndexCheck { source: line.source.name().to_owned(), ..IndexCheck::default() };
    if !line.source.has_index() {
        check.whole = true;
        check.without_index = true;
        return Ok(check);
    }
    let mut way = Way::from(None);
    let mut after: Option<String> = None;
    while !stop.is_cancelled() {
        let page = line.source.index(&from, &to, after.as_deref(), line.page_limit).await.map_err(
            |failure| VerbError::Source {
                source_name: check.source.clone(),
                failure: failure.failure,
            },
        )?;
        let codes: Vec<String> = page
            .items
            .iter()
            .filter(|item| item.owner != Owner::Ministry)
            .map(|item| item.ma_ho_so.clone())
            .collect();
        check.at_source += (page.items.len() + page.refused.len()) as u64;
        let standings = context.ledger.standings(&check.source, &codes).await?;
        let given: BTreeSet<String> =
            standings.into_iter().map(|standing| standing.ma_ho_so).collect();
        check.not_given.extend(codes.into_iter().filter(|code| !given.contains(code)));
        if !page.more {
            check.whole = true;
            break;
        }
        // One that leads nowhere is not read to its end, and the report says so.
        if way.goes_on(page.cursor.as_deref(), page.items.is_empty()).is_err() {
            break;
        }
        after = page.cursor;
    }
    Ok(check)
}
