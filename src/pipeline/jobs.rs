//! Plans and jobs: `make_plan`, `start_job`, `order_job`, and `jobs_once`, one look at every job.
//!
//! A pass opens obligations for a bounded window of a job's items and looks what became of those that
//! are open; mapping, sending and reading back are the usual verbs' work. Everything that is decided is
//! decided by `domain::job` from rows, so a pass may die anywhere and the next one goes on.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;
use serde_json::Value;

use super::audit::{on_record, refused};
use super::pull::received;
use super::push::call_record;
use super::read_back::{Echo, compare_echo};
use super::{Context, PortalLine, SourceLine, Stop, VerbError};
use crate::domain::diagnostic::Severity;
use crate::domain::difference::{Difference, differences};
use crate::domain::failure::Disposition;
use crate::domain::job::{ItemState, JobState, Mode, Next, Order, Standing, next};
use crate::domain::priority::Priority;
use crate::ledger::jobs::{Job, JobLimits, Obeyed, Plan, PlanLine, PlanOrder, Started, ToVerify};
use crate::ledger::record::{AuditRecord, PullCommit, SettleBatch};
use crate::mapping::Mapping;
use crate::portal::gate::Readiness;
use crate::portal::{LookUpVerdict, Tenure};

/// The portal acknowledged one of the first few and does not show it.
const NOT_SHOWN: &str = "jobs.not_shown";
/// The portal acknowledged one of the first few and shows something else.
const SHOWN_DIFFERENT: &str = "jobs.shown_different";
/// The portal does not show it yet; it is asked again until the settle window is over.
const NOT_SHOWN_YET: &str = "the portal does not show one of the first few yet";

/// Table of this module's codes for `hoso explain`: code, meaning, what to do.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        NOT_SHOWN,
        "The portal acknowledged one of the first dossiers of a job and did not show it when it was looked up, so the job stopped before it sent the rest.",
        "Look at the dossier at the portal. `hoso job retry-failed JOB` tries the first few again.",
    ),
    (
        SHOWN_DIFFERENT,
        "The portal acknowledged one of the first dossiers of a job and shows other values than the packet had, so the job stopped before it sent the rest.",
        "Compare with `hoso dossier show CODE`. If the difference is the portal's way of writing, `hoso job retry-failed JOB` goes on.",
    ),
];

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JobsReport {
    /// Jobs that are at work or have something on its way.
    pub jobs: u64,
    pub opened: u64,
    /// Items of which something became known.
    pub followed: u64,
    /// Jobs that came to their end, or stopped.
    pub ended: u64,
    /// Something is still to be done without a person.
    pub open: bool,
}

/// Freezes what a selection means.
pub async fn make_plan(context: &Context, order: &PlanOrder) -> Result<Plan, VerbError> {
    Ok(context.ledger.make_plan(context.clock.now(), order).await?)
}

/// Sets a plan to work; whoever owns the gate works on it.
pub async fn start_job(
    context: &Context,
    plan: &Plan,
    limits: JobLimits,
    actor: &str,
    reason: &str,
) -> Result<Started, VerbError> {
    let audit = start_act(plan, actor, reason);
    let work = context.ledger.start_job(context.clock.now(), plan.id, limits, &audit);
    Ok(on_record(context, &audit, work).await?)
}

/// A plan was not set to work, and the audit says why.
pub async fn refuse_job(context: &Context, plan: &Plan, actor: &str, reason: &str, why: &str) {
    refused(context, &start_act(plan, actor, reason), why).await;
}

fn start_act(plan: &Plan, actor: &str, reason: &str) -> AuditRecord {
    AuditRecord::new(actor, "resync", &format!("plan {}", plan.id), reason)
        .selection(format!("{} dossiers: {}", plan.items, plan.selection))
        .plan_hash(&plan.hash)
}

/// Obeys an operator.
pub async fn order_job(
    context: &Context,
    job: i64,
    order: Order,
    actor: &str,
    reason: &str,
) -> Result<Obeyed, VerbError> {
    let audit = AuditRecord::new(actor, order.action(), &format!("job {job}"), reason);
    let work = context.ledger.order_job(context.clock.now(), job, order, &audit);
    Ok(on_record(context, &audit, work).await?)
}

/// One look at every job. The caller owns the gate.
pub async fn jobs_once(
    context: &Context,
    line: &PortalLine,
    sources: &[SourceLine],
    stop: &Stop,
) -> Result<JobsReport, VerbError> {
    let mut report = JobsReport::default();
    for job in context.ledger.jobs(true, JOBS_MAX).await? {
        if stop.is_cancelled() {
            break;
        }
        context.alive();
        report.jobs += 1;
        work(context, line, sources, &job, &mut report, stop).await?;
    }
    Ok(report)
}

/// Jobs that are looked at in one pass, the newest first.
const JOBS_MAX: u32 = 1000;

async fn work(
    context: &Context,
    line: &PortalLine,
    sources: &[SourceLine],
    job: &Job,
    report: &mut JobsReport,
    stop: &Stop,
) -> Result<(), VerbError> {
    let followed = context.ledger.follow_items(context.clock.now(), job).await?;
    let (verified, mut waits_for) = verify(context, line, job, stop).await?;
    report.followed += followed + verified;
    let Some(job) = context.ledger.job(job.id).await? else {
        return Ok(());
    };
    let now = context.clock.now();
    let standing = Standing {
        state: job.state,
        counts: job.counts,
        canary: job.canary.min(job.counts.all().saturating_sub(job.counts.skipped)),
        failures: &job.failures,
        stop_after: job.stop_after,
        window: context.settings.job_window,
        allowed: job.pace.allowed(now),
    };
    report.open |= job.counts.on_their_way() > 0 || (job.state.opens() && job.counts.waiting > 0);
    match next(&standing) {
        Next::Open(count) => match open(context, sources, &job, count).await? {
            Ok(opened) => report.opened += opened,
            Err(why) => waits_for = Some(why),
        },
        Next::Wait => {}
        Next::PassCanary => {
            if context.ledger.move_job(now, &job, JobState::Running, None).await? {
                tracing::info!(job = job.id, "the first few were found at the portal");
                report.followed += 1;
                report.open |= job.counts.waiting > 0;
            }
            return Ok(());
        }
        Next::Stop(why) => {
            if context.ledger.move_job(now, &job, JobState::Stopped, Some(&why)).await? {
                tracing::warn!(job = job.id, "a job stopped: {why}");
                report.ended += 1;
            }
            return Ok(());
        }
        Next::Done => {
            if context.ledger.move_job(now, &job, JobState::Done, None).await? {
                tracing::info!(job = job.id, "a job is done");
                report.ended += 1;
            }
            return Ok(());
        }
    }
    if let Readiness::Closed { failure, .. } = line.gate.readiness() {
        waits_for = Some(format!("nothing is sent now: {}", failure.message));
    }
    if job.state.opens() && waits_for != job.note {
        context.ledger.note_job(&job, waits_for.as_deref()).await?;
    }
    Ok(())
}

/// Opens the next items; how many, or why none.
async fn open(
    context: &Context,
    sources: &[SourceLine],
    job: &Job,
    count: u64,
) -> Result<Result<u64, String>, VerbError> {
    let mut lines = context.ledger.next_items(job, count).await?;
    if job.plan.mode == Mode::RePull
        && let Err(why) = fetch(context, sources, job, &mut lines).await?
    {
        return Ok(Err(why));
    }
    let dossiers: Vec<i64> = lines.iter().map(|line| line.dossier_id).collect();
    let opened = context.ledger.open_items(context.clock.now(), job, &dossiers).await?;
    Ok(Ok(opened.opened))
}

/// Fetches these dossiers from their sources; those that cannot be had are ended and left out.
async fn fetch(
    context: &Context,
    sources: &[SourceLine],
    job: &Job,
    lines: &mut Vec<PlanLine>,
) -> Result<Result<(), String>, VerbError> {
    let (mut failed, mut skipped) = (Vec::new(), Vec::new());
    let mut items: BTreeMap<String, Vec<_>> = BTreeMap::new();
    let mut silent = None;
    let mut fetched = Vec::new();
    for line in std::mem::take(lines) {
        context.alive();
        let source = sources.iter().find(|source| source.source.name() == line.source);
        let Some(source) = source.filter(|source| source.source.has_index()) else {
            skipped.push((line.dossier_id, "no_source".to_owned()));
            continue;
        };
        match source.source.dossier(&line.ma_ho_so).await {
            Ok(Some(item)) => {
                items.entry(line.source.clone()).or_default().push(received(item));
                fetched.push(line);
            }
            Ok(None) => skipped.push((line.dossier_id, "gone_at_source".to_owned())),
            Err(failure) => {
                let is_about_it =
                    failure.evidence.is_some() || failure.failure.disposition == Disposition::Data;
                if !is_about_it {
                    silent = Some(format!(
                        "source {} does not answer: {}",
                        line.source, failure.failure
                    ));
                    break;
                }
                failed.push((line.dossier_id, failure.failure.code));
            }
        }
    }
    let now = context.clock.now();
    for (state, ended) in [(ItemState::Skipped, &skipped), (ItemState::Failed, &failed)] {
        if !ended.is_empty() {
            context.ledger.end_items(now, job, state, ended).await?;
        }
    }
    for (source, items) in items {
        let commit = PullCommit {
            source,
            at: now,
            priority: Priority::Backfill,
            items,
            refused: Vec::new(),
            origin: None,
            cursor: None,
            etag: None,
            caught_up: false,
        };
        context.ledger.commit_pull(&commit).await?;
    }
    *lines = fetched;
    Ok(match silent {
        Some(why) if lines.is_empty() => Err(why),
        _ => Ok(()),
    })
}

/// Looks those of the first few up at the portal that it acknowledged; how many were decided, and
/// what the others wait for.
async fn verify(
    context: &Context,
    line: &PortalLine,
    job: &Job,
    stop: &Stop,
) -> Result<(u64, Option<String>), VerbError> {
    let asked = context.ledger.to_verify(job).await?;
    if asked.is_empty() || matches!(line.gate.readiness(), Readiness::Closed { .. }) {
        return Ok((0, None));
    }
    let ids: Vec<i64> = asked.iter().map(|item| item.dossier_id).collect();
    let packets: BTreeMap<i64, String> =
        context.ledger.acked_packets(&ids).await?.into_iter().collect();
    let portal = line.portal.during(Tenure::until(stop));
    let portal = &portal;
    let answers: Vec<_> = stream::iter(asked)
        .map(|item| async move {
            context.alive();
            let exchange = portal.look_up(Priority::Backfill, &item.ma_ho_so).await;
            (item, exchange)
        })
        .buffer_unordered(context.settings.concurrency)
        .collect()
        .await;
    let mut batch = SettleBatch::default();
    let (mut confirmed, mut failed, mut waits_for) = (Vec::new(), Vec::new(), None);
    for (item, exchange) in answers {
        batch.calls.extend(exchange.calls.into_iter().map(call_record));
        match judge(context, &item, exchange.verdict, packets.get(&item.dossier_id)) {
            Verified::Confirmed => confirmed.push((item.dossier_id, String::new())),
            Verified::Failed(code) => failed.push((item.dossier_id, code.to_owned())),
            Verified::NotYet(why) => waits_for = Some(why),
        }
    }
    let now = context.clock.now();
    context.ledger.settle(now, &batch).await?;
    // What changed while it was looked up is looked up again.
    let ids: Vec<i64> = failed.iter().map(|(dossier_id, _)| *dossier_id).collect();
    let still: BTreeMap<i64, String> =
        context.ledger.acked_packets(&ids).await?.into_iter().collect();
    failed.retain(|(dossier_id, _)| still.get(dossier_id) == packets.get(dossier_id));
    let mut decided = 0;
    for (state, ended) in [(ItemState::Confirmed, &confirmed), (ItemState::Failed, &failed)] {
        if !ended.is_empty() {
            decided += context.ledger.end_items(now, job, state, ended).await?;
        }
    }
    Ok((decided, waits_for))
}

enum Verified {
    Confirmed,
    Failed(&'static str),
    NotYet(String),
}

fn judge(
    context: &Context,
    item: &ToVerify,
    verdict: LookUpVerdict,
    packet: Option<&String>,
) -> Verified {
    match verdict {
        LookUpVerdict::Found { echoed } => {
            let echo = packet.map_or(Echo::ExistenceOnly, |packet| compare_echo(&echoed, packet));
            match echo {
                Echo::Different(_) => Verified::Failed(SHOWN_DIFFERENT),
                Echo::Equal | Echo::ExistenceOnly | Echo::Formatting(_) => Verified::Confirmed,
            }
        }
        // A search index may be a moment behind.
        LookUpVerdict::Missing => {
            let waited = context.clock.now().since(item.since).as_millis();
            if waited >= u128::from(context.settings.reconcile_settle_ms) {
                Verified::Failed(NOT_SHOWN)
            } else {
                Verified::NotYet(NOT_SHOWN_YET.to_owned())
            }
        }
        LookUpVerdict::Failed(failure) | LookUpVerdict::NotSent { failure, .. } => {
            Verified::NotYet(format!(
                "one of the first few could not be looked up: {}",
                failure.code
            ))
        }
    }
}

/// What a plan would change of a dossier, against what the portal was told last.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    pub ma_ho_so: String,
    #[serde(flatten)]
    pub change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// The portal acknowledged no packet that is still kept.
    Unknown,
    Same,
    /// Personal values are masked.
    Fields {
        fields: Vec<Difference>,
    },
    /// Steps only: its packet is not sent.
    Steps,
    NotSent {
        why: String,
    },
}

/// Maps the stored documents of a plan's first dossiers as they would be mapped today. What a source
/// that is asked again gives is not known before.
pub async fn forecast(
    context: &Context,
    mapping: &Mapping,
    plan: &Plan,
    limit: u32,
) -> Result<Vec<Forecast>, VerbError> {
    let lines = context.ledger.plan_lines(plan.id, 0, limit).await?;
    let ids: Vec<i64> = lines.iter().map(|line| line.dossier_id).collect();
    let told: BTreeMap<i64, String> =
        context.ledger.acked_packets(&ids).await?.into_iter().collect();
    let mut forecasts = Vec::with_capacity(lines.len());
    for line in lines {
        let told = told.get(&line.dossier_id).and_then(|packet| serde_json::from_str(packet).ok());
        let change = match (plan.mode, told) {
            (Mode::StepsOnly, _) => Change::Steps,
            (Mode::AsSent, Some(_)) => Change::Same,
            (Mode::AsSent, None) => not_sent("the portal acknowledged no packet that is kept"),
            (Mode::ReMap | Mode::RePull, told) => {
                match context.ledger.newest_document(line.dossier_id).await? {
                    None => not_sent("its document is past retention"),
                    Some(document) => remapped(mapping, &document, told.as_ref()),
                }
            }
        };
        forecasts.push(Forecast { ma_ho_so: line.ma_ho_so, change });
    }
    Ok(forecasts)
}

fn not_sent(why: &str) -> Change {
    Change::NotSent { why: why.to_owned() }
}

fn remapped(mapping: &Mapping, document: &str, told: Option<&Value>) -> Change {
    let mapped = mapping.map(document);
    let Some(dossier) = mapped.dossier else {
        let refusing = mapped.diagnostics.iter().find(|found| found.severity == Severity::Error);
        let rule = refusing.map_or("the mapping", |found| found.rule.as_str());
        return not_sent(&format!("it would be quarantined: {rule}"));
    };
    let Some(told) = told else {
        return Change::Unknown;
    };
    let fields = differences(told, &serde_json::to_value(&dossier).unwrap_or_default());
    if fields.is_empty() { Change::Same } else { Change::Fields { fields } }
}
