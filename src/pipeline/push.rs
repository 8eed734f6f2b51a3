//! `push_once`: send what is due until nothing is, or until asked to stop.
//!
//! Claims are committed before anything leaves; calls run as tasks; their outcomes are settled
//! together, many calls in one transaction, by a single settler. Packets go before steps, because
//! steps only become due when their packet is acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::claim::{Claimed, Job, calls_wanted, claim};
use super::orders::heed_orders;
use super::step_outcome::{StepPolicy, settle_steps};
use super::{Context, PortalLine, Stop, VerbError, problems};
use crate::domain::entry::{Outcome, Sent, settle};
use crate::domain::failure::{Disposition, Failure};
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::record::{
    CallRecord, ClaimedEntry, ClaimedSteps, SettleBatch, SettleCounts, SettledEntry, SettledSteps,
};
use crate::portal::{Call, PushVerdict, Tenure};
use crate::sabotage::{self, Defect};

/// Outcomes that are settled in one transaction at most.
const SETTLE_MAX: usize = 256;
/// How long and how often outcomes wait for a ledger that cannot be written: about a lease.
const SETTLE_RETRY: Duration = Duration::from_secs(1);
const SETTLE_TRIES_MAX: u32 = 120;
/// Urgent calls that may be out beside `push.concurrency`: calls that wait for the quota fill it.
const URGENT_BESIDE: usize = 4;

/// What one pass sent and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PushReport {
    /// Dossier packets claimed; one that is split or sent again counts each time.
    pub packets: u64,
    pub steps: u64,
    pub calls: u64,
    #[serde(flatten)]
    pub counts: SettleCounts,
    /// Dossiers that turned out to be unknown at the portal when their steps came.
    pub lost_dossiers: u64,
    /// Why sending ended although work is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_closed: Option<GateClosed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateClosed {
    pub until: Timestamp,
    pub failure: Failure,
}

/// A call that is over, with what it means.
struct Done {
    calls: Vec<CallRecord>,
    batch: SettleBatch,
}

/// Sends until nothing is due, the gate closes, or `stop` is cancelled. What is out when it ends is
/// settled before it returns. The caller owns the gate.
pub async fn push_once(
    context: &Context,
    line: &PortalLine,
    stop: &Stop,
) -> Result<PushReport, VerbError> {
    heed_orders(context, line).await?;
    let (outcomes, inbox) = mpsc::channel(SETTLE_MAX);
    let progress = Arc::new(Progress::default());
    let settler =
        tokio::spawn(settle_outcomes(context.clone(), line.clone(), inbox, Arc::clone(&progress)));
    let sent = send_due(context, line, stop, &outcomes, &progress).await;
    drop(outcomes);
    let (counts, lost_dossiers, calls) = settler.await??;
    let mut report = sent?;
    report.counts = counts;
    report.lost_dossiers = lost_dossiers;
    report.calls = calls;
    Ok(report)
}

/// What the sender must know of the settler.
#[derive(Debug, Default)]
struct Progress {
    /// Outcomes written so far.
    settled: AtomicU64,
    changed: Notify,
}

async fn send_due(
    context: &Context,
    line: &PortalLine,
    stop: &Stop,
    outcomes: &mpsc::Sender<Done>,
    progress: &Progress,
) -> Result<PushReport, VerbError> {
    let settings = &context.settings;
    let mut report = PushReport::default();
    let mut jobs: VecDeque<Claimed> = VecDeque::new();
    let mut out: JoinSet<Done> = JoinSet::new();
    let mut begun: u64 = 0;
    // Whether a claim could find something: at the start, after a full claim, after a settlement.
    let mut may_find = true;
    let mut seen_settled: u64 = 0;
    // A claim that failed ends the pass, but not before what is out has been settled.
    let mut failed: Option<LedgerError> = None;
    let mut urgent_waits = false;
    loop {
        context.alive();
        let ending = stop.is_cancelled() || report.gate_closed.is_some() || failed.is_some();
        let usual = may_find && jobs.len() < calls_wanted(settings, &line.gate);
        if !ending && (usual || urgent_waits) {
            match claim(context, line, !usual, &mut jobs, &mut report).await {
                Ok(more) if usual => may_find = more,
                Ok(_) => {}
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            }
        }
        urgent_waits = false;
        if stop.is_cancelled() {
            // What did not leave yet goes back; sending it all would outlast every drain limit.
            for claimed in jobs.drain(..) {
                begun += 1;
                let back = not_sent(context, &claimed.job, stopping());
                if outcomes.send(back).await.is_err() {
                    break;
                }
            }
        }
        while let Some(next) = jobs.front() {
            let beside = if next.job.is_urgent() { URGENT_BESIDE } else { 0 };
            if out.len() >= settings.concurrency + beside {
                break;
            }
            let Some(claimed) = jobs.pop_front() else { break };
            begun += 1;
            // Names one call in the log; the ledger names it by attempt and time.
            let call = format!("{:08x}-{begun}", claimed.job.token() & 0xffff_ffff);
            let span = tracing::info_span!("call", call);
            out.spawn(send(context.clone(), line.clone(), claimed, stop.clone()).instrument(span));
        }
        let settled = progress.settled.load(Ordering::Acquire);
        if settled != seen_settled {
            seen_settled = settled;
            may_find = true;
            if out.is_empty() && jobs.is_empty() && !ending {
                continue;
            }
        }
        if out.is_empty() && jobs.is_empty() && begun == settled && (ending || !may_find) {
            return failed.map_or(Ok(report), |error| Err(error.into()));
        }
        tokio::select! {
            biased;
            () = outcomes.closed() => {
                out.shutdown().await;
                return Ok(report);
            }
            () = line.orders.urgent(), if !ending => urgent_waits = true,
            Some(done) = out.join_next() => {
                let done = done?;
                if outcomes.send(done).await.is_err() {
                    // The settler ended with an error, which the caller reads from it.
                    out.shutdown().await;
                    return Ok(report);
                }
            }
            () = progress.changed.notified() => {}
        }
    }
}

async fn send(context: Context, line: PortalLine, claimed: Claimed, stop: Stop) -> Done {
    let Claimed { job, leave_by, probing } = claimed;
    let (clock, ownership) = (Arc::clone(&context.clock), Arc::clone(&line.ownership));
    let (orders, scopes) = (Arc::clone(&line.orders), job.scopes());
    let check = move || {
        let now = clock.now();
        // A process that was frozen may wake up with the gate in other hands.
        if !ownership.is_live(now) {
            return Err(gate_lost());
        }
        if now >= leave_by && !sabotage::on(Defect::LeavesLate) {
            return Err(Failure::new(
                "push.late",
                Disposition::Environment,
                "the quota's turn came too late for the lease",
            ));
        }
        // An operator may have stopped it while it waited for its turn.
        let stopped = scopes
            .iter()
            .find_map(|(tthc, don_vi)| orders.forbid(now, tthc.as_deref(), don_vi.as_deref()));
        if let Some(failure) = stopped {
            return Err(failure);
        }
        Ok(())
    };
    if let Err(failure) = check() {
        return not_sent(&context, &job, failure);
    }
    let tenure = Tenure { check: Arc::new(check), stop };
    let line = PortalLine { portal: Arc::new(line.portal.during(tenure)), ..line };
    if probing && let Some(ma_ho_so) = job.supplement() {
        let exchange = line.portal.look_up(Priority::Urgent, ma_ho_so).await;
        let failure = Failure::new(
            "push.probe_first",
            Disposition::Environment,
            "a look-up went first, to find out whether the portal works again",
        );
        let calls = exchange.calls.into_iter().map(call_record).collect();
        return Done { calls, ..not_sent(&context, &job, failure) };
    }
    match job {
        Job::Packets { entries, is_updating, token } => {
            send_packets(&context, &line, &entries, is_updating, token).await
        }
        Job::Steps { lanes, token } => send_steps(&context, &line, &lanes, token).await,
    }
}

pub(super) fn gate_lost() -> Failure {
    Failure::new(
        "push.gate_lost",
        Disposition::Environment,
        "this process does not own the gate any more",
    )
}

fn stopping() -> Failure {
    Failure::new("push.stopping", Disposition::Environment, "the process is stopping")
}

/// Claimed work goes back without having left.
fn not_sent(context: &Context, job: &Job, failure: Failure) -> Done {
    let outcome = Outcome::NotSent { failure, until: context.clock.now() };
    let batch = match job {
        Job::Packets { entries, is_updating, token } => SettleBatch {
            entries: settle_packets(context, entries, *is_updating, *token, &outcome, None, false),
            ..SettleBatch::default()
        },
        Job::Steps { lanes, token } => SettleBatch {
            steps: settle_lanes(context, lanes, *token, &outcome, None, false),
            ..SettleBatch::default()
        },
    };
    Done { calls: Vec::new(), batch }
}

async fn send_packets(
    context: &Context,
    line: &PortalLine,
    entries: &[ClaimedEntry],
    is_updating: bool,
    token: i64,
) -> Done {
    let packets: Vec<&str> = entries.iter().map(|entry| entry.packet.as_str()).collect();
    let class = entries.first().map(|entry| entry.priority).unwrap_or_default();
    let is_updating = is_updating && !sabotage::on(Defect::AlwaysCreate);
    let exchange = line.portal.send_dossiers(class, is_updating, &packets).await;
    sabotage::point("push.answered_packets");
    let calls: Vec<CallRecord> = exchange.calls.into_iter().map(call_record).collect();
    let call = calls.len().checked_sub(1);
    let outcome = outcome(exchange.verdict);
    let down = line.gate.is_down();
    let entries = settle_packets(context, entries, is_updating, token, &outcome, call, down);
    Done { calls, batch: SettleBatch { entries, ..SettleBatch::default() } }
}

fn settle_packets(
    context: &Context,
    entries: &[ClaimedEntry],
    is_updating: bool,
    token: i64,
    outcome: &Outcome,
    call: Option<usize>,
    destination_down: bool,
) -> Vec<SettledEntry> {
    let now = context.clock.now();
    let batch_size = match entries.len() {
        _ if sabotage::on(Defect::BatchNotSplit) => 1,
        size => u32::try_from(size).unwrap_or(u32::MAX),
    };
    let policy = &context.settings.retry;
    entries
        .iter()
        .map(|entry| {
            let sent = Sent { retries: entry.retries, batch_size, is_updating, destination_down };
            tracing::debug!(
                dossier = entry.ma_ho_so,
                attempt = entry.attempt,
                outcome = name(outcome),
                code = failure_code(outcome),
                "packet"
            );
            SettledEntry {
                entry_id: entry.entry_id,
                dossier_id: entry.dossier_id,
                lease_token: Some(token),
                attempt: entry.attempt,
                settlement: settle(sent, outcome.clone(), now, policy, context.chance.fraction()),
                call,
                outcome: name(outcome),
            }
        })
        .collect()
}

async fn send_steps(
    context: &Context,
    line: &PortalLine,
    lanes: &[ClaimedSteps],
    token: i64,
) -> Done {
    let packets: Vec<&str> =
        lanes.iter().flat_map(|lane| lane.steps.iter().map(|step| step.body.as_str())).collect();
    let class = lanes.first().map(|lane| lane.priority).unwrap_or_default();
    let sent = match packets.as_slice() {
        [most @ .., _] if sabotage::on(Defect::StepOffByOne) && !most.is_empty() => most,
        all => all,
    };
    let exchange = line.portal.send_steps(class, sent).await;
    sabotage::point("push.answered_steps");
    let calls: Vec<CallRecord> = exchange.calls.into_iter().map(call_record).collect();
    let call = calls.len().checked_sub(1);
    let down = line.gate.is_down();
    let steps = settle_lanes(context, lanes, token, &outcome(exchange.verdict), call, down);
    Done { calls, batch: SettleBatch { steps, ..SettleBatch::default() } }
}

fn settle_lanes(
    context: &Context,
    lanes: &[ClaimedSteps],
    token: i64,
    outcome: &Outcome,
    call: Option<usize>,
    destination_down: bool,
) -> Vec<SettledSteps> {
    let now = context.clock.now();
    let policy = StepPolicy {
        retry: &context.settings.retry,
        resend_unknown_supplement: context.settings.resend_unknown_supplement
            || sabotage::on(Defect::SupplementRepeated),
        destination_down,
    };
    lanes
        .iter()
        .map(|lane| {
            let chance = context.chance.fraction();
            tracing::debug!(
                dossier = lane.ma_ho_so,
                steps = lane.steps.len(),
                outcome = name(outcome),
                code = failure_code(outcome),
                "steps"
            );
            let settled = settle_steps(lane, token, lanes.len(), outcome, now, policy, chance);
            SettledSteps { call, ..settled }
        })
        .collect()
}

/// Writes outcomes as they come, all that have arrived in one transaction.
async fn settle_outcomes(
    context: Context,
    line: PortalLine,
    mut inbox: mpsc::Receiver<Done>,
    progress: Arc<Progress>,
) -> Result<(SettleCounts, u64, u64), LedgerError> {
    let mut counts = SettleCounts::default();
    let mut lost_dossiers = 0;
    let mut calls = 0;
    let mut arrived = Vec::with_capacity(SETTLE_MAX);
    while inbox.recv_many(&mut arrived, SETTLE_MAX).await > 0 {
        let written = arrived.len() as u64;
        let mut batch = SettleBatch {
            resend_supplements: context.settings.resend_unknown_supplement,
            ..SettleBatch::default()
        };
        for mut done in arrived.drain(..) {
            let offset = batch.calls.len();
            batch.calls.append(&mut done.calls);
            for mut entry in done.batch.entries {
                entry.call = entry.call.map(|call| call + offset);
                batch.entries.push(entry);
            }
            for mut lane in done.batch.steps {
                lane.call = lane.call.map(|call| call + offset);
                batch.steps.push(lane);
            }
        }
        calls += batch.calls.len() as u64;
        let settled = settle_surely(&context, &batch).await?;
        counts += settled;
        sabotage::point("push.settled");
        if settled.dead + settled.steps_held > 0
            && let Err(error) = heed_surges(&context, &line).await
        {
            // Upkeep looks again; what was settled is settled.
            tracing::warn!(%error, "surges were not looked for");
        }
        // The ledger has made these owed again, packet and steps, in the same transaction.
        lost_dossiers += batch.steps.iter().filter(|lane| lane.portal_lost_dossier).count() as u64;
        progress.settled.fetch_add(written, Ordering::Release);
        progress.changed.notify_one();
    }
    Ok((counts, lost_dossiers, calls))
}

/// What is held because of a surge does not leave any more, also where it was claimed before.
async fn heed_surges(context: &Context, line: &PortalLine) -> Result<(), VerbError> {
    let told = problems::watch_surges(context).await?;
    if told.iter().any(|told| told.held.is_some()) {
        heed_orders(context, line).await?;
    }
    Ok(())
}

/// What the portal answered must not be lost to a disk that is full or busy for a moment.
async fn settle_surely(
    context: &Context,
    batch: &SettleBatch,
) -> Result<SettleCounts, LedgerError> {
    let mut tries = 0;
    loop {
        match context.ledger.settle(context.clock.now(), batch).await {
            Err(error @ (LedgerError::Unavailable { .. } | LedgerError::Full))
                if tries < SETTLE_TRIES_MAX =>
            {
                if tries == 0 {
                    tracing::error!(code = error.code(), %error, "outcomes wait to be written");
                }
                tries += 1;
                // It waits, and says so; a restart would lose what it holds.
                context.alive();
                context.clock.sleep(SETTLE_RETRY).await;
            }
            settled => return settled,
        }
    }
}

fn outcome(verdict: PushVerdict) -> Outcome {
    match verdict {
        PushVerdict::Failed(failure)
            if sabotage::on(Defect::TimeoutIsFailure)
                && failure.disposition == Disposition::Ambiguous =>
        {
            Outcome::Failed(Failure { disposition: Disposition::Retryable, ..failure })
        }
        PushVerdict::Accepted(receipt) => Outcome::Accepted(receipt),
        PushVerdict::Exists(failure) => Outcome::Exists(failure),
        PushVerdict::UnknownDossier(failure) => Outcome::UnknownDossier(failure),
        PushVerdict::Failed(failure) => Outcome::Failed(failure),
        PushVerdict::NotSent { failure, until } => Outcome::NotSent { failure, until },
    }
}

/// For the log; `None` where nothing failed.
fn failure_code(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Accepted(_) => None,
        Outcome::Exists(failure)
        | Outcome::UnknownDossier(failure)
        | Outcome::Failed(failure)
        | Outcome::NotSent { failure, .. } => Some(&failure.code),
    }
}

/// One word for the attempt's row.
fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted(_) => "accepted",
        Outcome::Exists(_) => "exists",
        Outcome::UnknownDossier(_) => "unknown_dossier",
        Outcome::NotSent { .. } => "not_sent",
        Outcome::Failed(failure) => match failure.disposition {
            Disposition::Retryable => "failed",
            Disposition::Throttled | Disposition::Environment => "deferred",
            Disposition::Data => "refused",
            Disposition::Ambiguous => "unknown",
        },
    }
}

pub(super) fn call_record(call: Call) -> CallRecord {
    CallRecord {
        service: call.service,
        priority: call.class,
        started_at: call.started_at,
        duration_ms: call.duration_ms,
        items: call.items,
        sent_bytes: call.sent_bytes,
        answer_bytes: call.answer_bytes,
        http_status: call.http_status,
        error_code: call.error_code,
        message: call.message,
        outcome: call.outcome.as_str(),
        correlation_id: call.correlation_id,
        body_hash: call.body_hash,
        echoed: call.echoed,
    }
}
