//! Taking due work for a push, and cutting it into calls.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::push::{GateClosed, PushReport, gate_lost};
use super::{Context, PortalLine, Settings};
use crate::domain::lease::Lease;
use crate::domain::priority::Priority;
use crate::domain::share::{Shares, Turns};
use crate::domain::status::Status;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::record::{Claim, ClaimedEntry, ClaimedSteps};
use crate::portal::gate::{Gate, Readiness};
use crate::sabotage;

/// Share of the lease that claimed work may wait for the quota before it leaves.
const WAIT_SHARE: u64 = 4;
/// No more calls are claimed than leave in about this time: a change that becomes known later is not
/// claimed before.
const CLAIM_AHEAD_MS: u64 = 500;
/// When to look again after this process found that it does not own the gate.
const GATE_LOST_PAUSE: Duration = Duration::from_secs(1);

/// Work that was claimed, and until when its call may leave: an answer must come before the lease
/// runs out, or somebody else decides about it.
pub(super) struct Claimed {
    pub(super) job: Job,
    pub(super) leave_by: Timestamp,
    /// Taken to find out whether the portal works again.
    pub(super) probing: bool,
}

/// How the classes share what is claimed, over all passes.
#[derive(Debug)]
pub struct ClaimTurns {
    packets: Mutex<Turns>,
    steps: Mutex<Turns>,
}

impl ClaimTurns {
    pub fn new(shares: Shares) -> Self {
        Self { packets: Mutex::new(Turns::new(shares)), steps: Mutex::new(Turns::new(shares)) }
    }

    fn of(turns: &Mutex<Turns>, shares: Shares) -> Turns {
        let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.reweigh(shares);
        *turns
    }

    fn took(turns: &Mutex<Turns>, classes: impl Iterator<Item = Priority>) {
        let mut turns = turns.lock().unwrap_or_else(PoisonError::into_inner);
        classes.for_each(|class| turns.took(class));
    }
}

/// One wire call to be made.
pub(super) enum Job {
    Packets { entries: Vec<ClaimedEntry>, is_updating: bool, token: i64 },
    Steps { lanes: Vec<ClaimedSteps>, token: i64 },
}

/// Takes due work; `true` if there may be more.
pub(super) async fn claim(
    context: &Context,
    line: &PortalLine,
    urgent_only: bool,
    jobs: &mut VecDeque<Claimed>,
    report: &mut PushReport,
) -> Result<bool, LedgerError> {
    let (settings, gate) = (&context.settings, &line.gate);
    let now = context.clock.now();
    // Claiming only to give everything back would go round and round until the gate is renewed.
    if !line.ownership.is_live(now) {
        report.gate_closed =
            Some(GateClosed { until: now + GATE_LOST_PAUSE, failure: gate_lost() });
        return Ok(false);
    }
    let (ahead, probing) = match gate.readiness() {
        Readiness::Open => (calls_ahead(settings, gate), false),
        // One single call may try.
        Readiness::Probe => (Some(1.0), true),
        Readiness::Closed { until, failure } => {
            report.gate_closed = Some(GateClosed { until, failure });
            return Ok(false);
        }
    };
    let lease = Lease {
        token: context.chance.token(),
        expires_at: now + Duration::from_millis(settings.lease_ms),
    };
    let shares = gate.shares();
    let (packets, steps) = (&line.turns.packets, &line.turns.steps);
    let turns = ClaimTurns::of(packets, shares);
    // Steps leave room for packets and packets for steps.
    let share = ahead.map(|calls| if probing { calls } else { calls / 2.0 });
    let limit = claim_limit(settings, share, settings.dossiers_per_call);
    let wanted = Claim { lease, limit, turns, urgent_only };
    let entries = context.ledger.claim_entries(now, wanted).await?;
    if !entries.is_empty() {
        sabotage::point("push.claimed_packets");
    }
    ClaimTurns::took(packets, entries.iter().map(|entry| entry.priority));
    let mut lanes = Vec::new();
    let mut full = entries.len() >= limit as usize;
    if !probing || entries.is_empty() {
        let limit = claim_limit(settings, share, settings.dossiers_per_steps_call);
        let wanted = Claim { limit, turns: ClaimTurns::of(steps, shares), ..wanted };
        lanes = context.ledger.claim_steps(now, wanted, settings.steps_per_call).await?;
        full |= lanes.len() >= limit as usize;
    }
    ClaimTurns::took(steps, lanes.iter().map(|lane| lane.priority));
    if !lanes.is_empty() {
        sabotage::point("push.claimed_steps");
    }
    report.packets += entries.len() as u64;
    report.steps += lanes.iter().map(|lane| lane.steps.len() as u64).sum::<u64>();
    let mut claimed = batch_packets(entries, settings.dossiers_per_call, lease.token);
    claimed.extend(batch_steps(lanes, settings.dossiers_per_steps_call, lease.token));
    let leave_by = lease.expires_at - Duration::from_millis(settings.call_timeout_ms);
    jobs.extend(claimed.into_iter().map(|job| Claimed { job, leave_by, probing }));
    // Stable: inside a turn they keep the order in which they were claimed. What goes last keeps its
    // share all the same, because nothing more is claimed until enough of it has left.
    jobs.make_contiguous().sort_by_key(|claimed| claimed.job.turn());
    Ok(full && !probing)
}

/// Calls that may wait claimed, at the pace that the quota allows: for at most a share of their lease,
/// so that none runs out while its call waits for a permit. `None`: no quota holds anything back.
fn calls_ahead(settings: &Settings, gate: &Gate) -> Option<f64> {
    let ahead_s = CLAIM_AHEAD_MS.min(settings.lease_ms / WAIT_SHARE) as f64 / 1000.0;
    gate.pace().map(|calls_a_second| calls_a_second * ahead_s)
}

/// More is claimed when fewer calls than this wait to be begun.
pub(super) fn calls_wanted(settings: &Settings, gate: &Gate) -> usize {
    let Some(calls) = calls_ahead(settings, gate) else { return settings.concurrency };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a pace is positive, and a cast ends at the largest number"
    )]
    let calls = calls as usize;
    calls.clamp(1, settings.concurrency.max(1))
}

/// How many dossiers these calls carry.
fn claim_limit(settings: &Settings, calls: Option<f64>, per_call: u32) -> u32 {
    let most = settings.claim_limit.max(1);
    let Some(calls) = calls else { return most };
    let dossiers = calls * f64::from(per_call.max(1));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and the configured most, which is a u32"
    )]
    let limit = dossiers.clamp(1.0, f64::from(most)) as u32;
    limit
}

impl Job {
    pub(super) fn token(&self) -> i64 {
        match self {
            Self::Packets { token, .. } | Self::Steps { token, .. } => *token,
        }
    }

    fn priority(&self) -> Priority {
        match self {
            Self::Packets { entries, .. } => entries.first().map(|entry| entry.priority),
            Self::Steps { lanes, .. } => lanes.first().map(|lane| lane.priority),
        }
        .unwrap_or_default()
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.priority() == Priority::Urgent
    }

    /// Of what is claimed, what somebody waits for leaves before what is worked off in bulk.
    fn turn(&self) -> u8 {
        match self.priority() {
            Priority::Urgent => 0,
            Priority::Live => 1,
            Priority::DeadlineNear | Priority::Backfill | Priority::Audit => 2,
        }
    }

    /// Procedure and agency of everything in it.
    pub(super) fn scopes(&self) -> Vec<(Option<String>, Option<String>)> {
        match self {
            Self::Packets { entries, .. } => entries
                .iter()
                .map(|entry| (entry.ma_tthc.clone(), entry.ma_don_vi.clone()))
                .collect(),
            Self::Steps { lanes, .. } => {
                lanes.iter().map(|lane| (lane.ma_tthc.clone(), lane.ma_don_vi.clone())).collect()
            }
        }
    }

    /// The dossier of a request for a supplement, which must not leave while nobody can say whether
    /// answers come back.
    pub(super) fn supplement(&self) -> Option<&str> {
        let Self::Steps { lanes, .. } = self else { return None };
        let supplement = Status::SupplementRequested.code();
        lanes
            .iter()
            .find(|lane| lane.steps.iter().any(|step| step.identity.trang_thai == supplement))
            .map(|lane| lane.ma_ho_so.as_str())
    }
}

/// Batches are alike in flag, priority, and in how far they were split before.
fn batch_packets(entries: Vec<ClaimedEntry>, per_call: u32, token: i64) -> Vec<Job> {
    let mut groups: BTreeMap<(Priority, bool, u32), Vec<ClaimedEntry>> = BTreeMap::new();
    for entry in entries {
        let size = entry.batch_max.unwrap_or(per_call).clamp(1, per_call.max(1));
        groups
            .entry((entry.priority, entry.portal_known.is_updating(), size))
            .or_default()
            .push(entry);
    }
    let mut jobs = Vec::new();
    for ((_, is_updating, size), mut group) in groups {
        while !group.is_empty() {
            let rest = group.split_off(group.len().min(size as usize));
            jobs.push(Job::Packets { entries: group, is_updating, token });
            group = rest;
        }
    }
    jobs
}

/// Dossiers share a steps call only when configured, and never one that is being split or holds a
/// request for a supplement.
fn batch_steps(lanes: Vec<ClaimedSteps>, per_call: u32, token: i64) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut shared: Vec<ClaimedSteps> = Vec::new();
    for lane in lanes {
        let supplement = Status::SupplementRequested.code();
        let alone = per_call <= 1
            || lane.alone
            || lane.steps.iter().any(|step| step.identity.trang_thai == supplement);
        if alone {
            jobs.push(Job::Steps { lanes: vec![lane], token });
            continue;
        }
        if shared.first().is_some_and(|first| first.priority != lane.priority)
            || shared.len() >= per_call as usize
        {
            jobs.push(Job::Steps { lanes: std::mem::take(&mut shared), token });
        }
        shared.push(lane);
    }
    if !shared.is_empty() {
        jobs.push(Job::Steps { lanes: shared, token });
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entry::PortalKnown;

    fn entry(id: i64, known: PortalKnown, batch_max: Option<u32>) -> ClaimedEntry {
        ClaimedEntry {
            entry_id: id,
            dossier_id: id,
            ma_ho_so: format!("H55.242-260126-{id:04}"),
            ma_tthc: None,
            ma_don_vi: None,
            priority: Priority::Live,
            packet: "{}".into(),
            attempt: 1,
            retries: 0,
            batch_max,
            portal_known: known,
        }
    }

    #[test]
    fn batches_are_alike_in_flag_and_respect_earlier_splits() {
        let mut entries: Vec<ClaimedEntry> =
            (1..=7).map(|id| entry(id, PortalKnown::Unknown, None)).collect();
        entries.extend((8..=9).map(|id| entry(id, PortalKnown::Yes, None)));
        entries.extend((10..=14).map(|id| entry(id, PortalKnown::Unknown, Some(2))));
        let mut sizes: Vec<(bool, usize)> = batch_packets(entries, 5, 1)
            .into_iter()
            .map(|job| match job {
                Job::Packets { entries, is_updating, .. } => (is_updating, entries.len()),
                Job::Steps { .. } => panic!("no steps were given"),
            })
            .collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [(false, 1), (false, 2), (false, 2), (false, 2), (false, 5), (true, 2)]);
    }
}
