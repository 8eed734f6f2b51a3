//! Writing what calls meant, guarded by the lease they were made under.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::SqliteConnection;

use super::super::LedgerError;
use super::super::record::{SettleBatch, SettleCounts, SettledEntry, SettledSteps};
use super::super::view::LATE;
use super::attempt::AttemptRow;
use super::{attempt, call, column, failed, json, json_one, run, step_key};
use crate::domain::entry::{PortalKnown, Settlement};
use crate::domain::failure::Failure;
use crate::domain::step::StepState;
use crate::domain::time::Timestamp;
use crate::sabotage::{self, Defect};

/// Settles the entry if its lease (or its unconfirmed state) still stands and no other attempt was
/// made since. What would have to be sent again, or waits for a person, gives way to a newer ready
/// revision, and to the source's word that the dossier is gone.
const SETTLE_ENTRIES: &str = "
    UPDATE entry SET
        state = CASE WHEN j.state IN ('ready', 'dead') AND j.newer IS NOT NULL THEN 'superseded' ELSE j.state END,
        superseded_by = CASE WHEN j.state IN ('ready', 'dead') THEN j.newer ELSE NULL END,
        changed_at = ?1, due_at = coalesce(j.due_at, entry.due_at), retries = coalesce(j.retries, entry.retries),
        batch_max = coalesce(j.batch_max, entry.batch_max), lease_token = NULL, lease_expires_at = NULL,
        failure = j.failure, failure_code = j.failure_code, receipt = j.receipt
    FROM (SELECT i.value->>0 AS id, i.value->>1 AS token, i.value->>2 AS state, i.value->>3 AS due_at,
                 i.value->>4 AS retries, i.value->>5 AS batch_max, i.value->>6 AS failure,
                 i.value->>7 AS failure_code, i.value->>8 AS receipt, i.value->>9 AS attempt,
                 (SELECT n.id FROM entry AS me JOIN entry AS n ON n.dossier_id = me.dossier_id
                  WHERE me.id = i.value->>0 AND n.state IN ('ready', 'not_ours')
                    AND (n.revision_id, n.id) > (me.revision_id, me.id)
                  ORDER BY n.revision_id DESC, n.id DESC LIMIT 1) AS newer
          FROM json_each(?2) AS i) AS j
    WHERE entry.id = j.id AND entry.attempt = j.attempt
      AND ((j.token IS NOT NULL AND entry.state = 'leased' AND entry.lease_token = j.token)
           OR (j.token IS NULL AND entry.state = 'unconfirmed'))
    RETURNING entry.id, entry.state, entry.attempt";

const SETTLE_LANES: &str = "
    UPDATE dossier SET
        lane_token = CASE WHEN j.state = 'unconfirmed' THEN lane_token ELSE NULL END,
        portal_known = CASE WHEN j.state = 'accepted' THEN 'yes' ELSE coalesce(j.known, portal_known) END,
        acked_entry_id = CASE WHEN j.state = 'accepted' THEN j.entry_id ELSE acked_entry_id END,
        -- After an unknown outcome nobody can say which of the two packets the portal holds.
        acked_packet_hash = CASE j.state
            WHEN 'accepted' THEN (SELECT packet_hash FROM entry WHERE id = j.entry_id)
            WHEN 'unconfirmed' THEN NULL ELSE acked_packet_hash END,
        presumed_entry_id = CASE WHEN j.state IN ('accepted', 'unconfirmed') THEN NULL ELSE presumed_entry_id END,
        acked_at = CASE WHEN j.state = 'accepted' THEN ?1 ELSE acked_at END,
        packet_state = CASE
            WHEN EXISTS (SELECT 1 FROM entry AS n WHERE n.dossier_id = j.dossier_id AND n.state = 'ready') THEN 'open'
            WHEN j.state = 'accepted' THEN 'accepted'
            WHEN j.state = 'dead' THEN 'dead'
            WHEN j.state = 'superseded' THEN 'none'
            ELSE 'open' END
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS entry_id, value->>2 AS state, value->>3 AS known
          FROM json_each(?2)) AS j
    WHERE dossier.id = j.dossier_id";

/// What the portal holds of their files now.
const KEEP_FILES: &str = "
    INSERT INTO acked_files (dossier_id, files)
    SELECT e.dossier_id, p.files FROM json_each(?1) AS j JOIN entry AS e ON e.id = j.value
    JOIN packet AS p ON p.entry_id = e.id WHERE p.files IS NOT NULL
    ON CONFLICT (dossier_id) DO UPDATE SET files = excluded.files";

/// Dossiers that the portal has just taken as new, and that had steps there: with the dossier it has
/// lost these too, and no look-up would ever show it.
const LOST_WITH_ITS_STEPS: &str = "
    SELECT d.id FROM json_each(?1) AS j JOIN entry AS e ON e.id = j.value JOIN dossier AS d ON d.id = e.dossier_id
    WHERE d.portal_known = 'no'
      AND EXISTS (SELECT 1 FROM step AS s WHERE s.dossier_id = d.id AND s.state IN ('acked', 'presumed_sent'))";

const SETTLE_STEPS: &str = "
    UPDATE step SET state = j.state, changed_at = ?1, failure = j.failure
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS thoi_diem, value->>2 AS trang_thai,
                 value->>3 AS ordinal, value->>4 AS state, value->>5 AS failure FROM json_each(?2)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.thoi_diem = j.thoi_diem
      AND step.trang_thai = j.trang_thai AND step.ordinal = j.ordinal AND step.state = 'leased'";

/// All steps of a call mostly share one fate; then one row says it for the dossier.
const SETTLE_STEPS_TOGETHER: &str = "
    UPDATE step SET state = j.state, changed_at = ?1, failure = j.failure
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS state, value->>2 AS failure FROM json_each(?2)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.state = 'leased'";

const LEASES: &str = "
    SELECT id, lane_token FROM dossier
    WHERE id IN (SELECT value FROM json_each(?1)) AND lane_token IS NOT NULL AND steps_lease_until IS NOT NULL";

const SETTLE_STEP_LANES: &str = "
    UPDATE dossier SET lane_token = NULL, steps_lease_until = NULL, steps_pending = steps_pending - j.done,
        steps_due_at = j.due_at, steps_retries = j.retries, steps_alone = j.alone, steps_failure = j.failure,
        portal_known = CASE WHEN j.lost = 1 THEN 'no' ELSE portal_known END
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS token, value->>2 AS done, value->>3 AS due_at,
                 value->>4 AS retries, value->>5 AS alone, value->>6 AS failure, value->>7 AS lost
          FROM json_each(?1)) AS j
    WHERE dossier.id = j.dossier_id AND dossier.lane_token = j.token AND dossier.steps_lease_until IS NOT NULL
    RETURNING dossier.id,
        (SELECT count(*) FROM step AS s WHERE s.dossier_id = dossier.id AND s.state = 'leased') AS leased";

/// Packet and every step of the newest change are acknowledged. The lag counts from the change at the
/// source; a first fill, and what was sent again on request, did not change there.
const MARK_SYNCHRONISED: &str = "
    UPDATE dossier SET synchronised_at = ?1, synchronised_lag_ms = (
        SELECT CASE WHEN a.forced = 0 AND r.first_fill = 0
                    THEN max(0, ?1 - coalesce(r.changed_at, r.received_at)) END
        FROM entry AS a JOIN revision AS r ON r.id = a.revision_id WHERE a.id = dossier.acked_entry_id)
    WHERE id IN (SELECT value FROM json_each(?2))
      AND packet_state = 'accepted' AND steps_pending = 0 AND lane_token IS NULL
      AND EXISTS (SELECT 1 FROM entry AS n WHERE n.id = dossier.newest_entry_id
                  AND n.state IN ('accepted', 'unchanged'))
      AND NOT EXISTS (SELECT 1 FROM step AS s WHERE s.dossier_id = dossier.id AND s.state = 'held')";

pub(super) async fn settle(
    conn: &mut SqliteConnection,
    now: Timestamp,
    batch: &SettleBatch,
) -> Result<SettleCounts, LedgerError> {
    let mut counts = SettleCounts::default();
    let first_call = call::insert(conn, &batch.calls).await?;
    let call_id =
        |call: Option<usize>| call.and_then(|at| i64::try_from(at).ok()).map(|at| first_call + at);
    let mut attempts: Vec<AttemptRow<'_>> = Vec::new();
    let settled =
        settle_entries(conn, now, &batch.entries, batch.resend_supplements, &mut counts).await?;
    settle_adopted(conn, now, batch, &settled).await?;
    for entry in &batch.entries {
        attempts.push((
            entry.dossier_id,
            Some(entry.entry_id),
            call_id(entry.call),
            if entry.lease_token.is_some() { "packet" } else { "read_back" },
            Some(entry.attempt),
            entry.outcome,
            failure_of(&entry.settlement).map(|failure| failure.code.as_str()),
            (!settled.contains_key(&attempt_of(entry))).then(|| LATE.to_owned()),
        ));
    }
    let live = settle_steps(conn, now, batch, &mut counts).await?;
    for lane in &batch.steps {
        let mut names: Vec<String> =
            lane.steps.iter().map(|(identity, _)| identity.to_string()).collect();
        if !live.contains(&lease_of(lane)) {
            names.push(LATE.to_owned());
        }
        attempts.push((
            lane.dossier_id,
            None,
            call_id(lane.call),
            "steps",
            None,
            lane.outcome,
            lane.failure.as_ref().map(|failure| failure.code.as_str()),
            Some(names.join(" ")),
        ));
    }
    let touched: BTreeSet<i64> = batch
        .entries
        .iter()
        .filter(|entry| settled.get(&attempt_of(entry)).is_some_and(|state| state == "accepted"))
        .map(|entry| entry.dossier_id)
        .chain(live.iter().map(|(dossier_id, _)| *dossier_id))
        .collect();
    if !touched.is_empty() {
        let touched: Vec<i64> = touched.into_iter().collect();
        let query = sqlx::query(MARK_SYNCHRONISED).bind(now.millis()).bind(json(&touched));
        run(conn, "settle calls", query).await?;
    }
    attempt::insert(conn, "settle calls", now, &attempts).await?;
    Ok(counts)
}

/// Entry and attempt: of two outcomes of one entry in a batch, one came after its lease had run out.
type AttemptOf = (i64, u32);

fn attempt_of(entry: &SettledEntry) -> AttemptOf {
    (entry.entry_id, entry.attempt)
}

/// Dossier and lease, for the same reason.
type LeaseOf = (i64, i64);

fn lease_of(lane: &SettledSteps) -> LeaseOf {
    (lane.dossier_id, lane.lease_token)
}

/// A dossier that was not at the portal when it was adopted, and is there now: refused at its first
/// create because it exists, or found after a create without an answer.
async fn settle_adopted(
    conn: &mut SqliteConnection,
    now: Timestamp,
    batch: &SettleBatch,
    settled: &BTreeMap<AttemptOf, String>,
) -> Result<(), LedgerError> {
    let there = batch.entries.iter().filter(|entry| {
        settled.contains_key(&attempt_of(entry))
            && matches!(
                entry.settlement,
                Settlement::Ready { portal_known: Some(PortalKnown::Yes), .. }
            )
    });
    let (refused, found): (Vec<_>, Vec<_>) =
        there.partition(|entry| entry.lease_token.is_some() && entry.attempt == 1);
    let ids = |entries: Vec<&SettledEntry>| -> Vec<i64> {
        entries.into_iter().map(|entry| entry.dossier_id).collect()
    };
    if !refused.is_empty() {
        super::adopt::contradicted(conn, now, &ids(refused)).await?;
    }
    if !found.is_empty() && !batch.resend_supplements {
        super::adopt::doubted(conn, now, &ids(found)).await?;
    }
    Ok(())
}

async fn settle_entries(
    conn: &mut SqliteConnection,
    now: Timestamp,
    entries: &[SettledEntry],
    resend_supplements: bool,
    counts: &mut SettleCounts,
) -> Result<BTreeMap<AttemptOf, String>, LedgerError> {
    if entries.is_empty() {
        return Ok(BTreeMap::new());
    }
    let doing = "settle calls";
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let (due_at, retries, batch_max, receipt) = match &entry.settlement {
                Settlement::Accepted { receipt } => (None, None, None, Some(json_one(receipt))),
                Settlement::Ready { due_at, retries, batch_max, .. }
                | Settlement::Unconfirmed { due_at, retries, batch_max, .. } => {
                    (Some(*due_at), Some(*retries), *batch_max, None)
                }
                Settlement::Dead { .. } => (None, None, None, None),
            };
            let failure = failure_of(&entry.settlement);
            (
                entry.entry_id,
                entry.lease_token,
                entry.settlement.state().as_str(),
                due_at,
                retries,
                batch_max,
                failure.map(json_one),
                failure.map(|failure| failure.code.as_str()),
                receipt,
                entry.attempt,
            )
        })
        .collect();
    let settled = sqlx::query(SETTLE_ENTRIES)
        .bind(now.millis())
        .bind(json(&rows))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let mut done = BTreeMap::new();
    for row in &settled {
        let id: i64 = column(row, "entry", "id", 0)?;
        let state: String = column(row, "entry", "state", id)?;
        match state.as_str() {
            "accepted" => counts.accepted += 1,
            "ready" => counts.again += 1,
            "unconfirmed" => counts.unconfirmed += 1,
            "dead" => counts.dead += 1,
            _ => counts.superseded += 1,
        }
        done.insert((id, column(row, "entry", "attempt", id)?), state);
    }
    counts.lost_leases += (entries.len() - done.len()) as u64;
    let accepted: Vec<i64> =
        done.iter().filter(|(_, state)| *state == "accepted").map(|((id, _), _)| *id).collect();
    // Asked before the lanes forget that these were creates.
    let lost = lost_with_its_steps(conn, &accepted).await?;
    let lanes: Vec<_> = entries
        .iter()
        .filter_map(|entry| {
            let state = done.get(&attempt_of(entry))?.as_str();
            let known = match &entry.settlement {
                Settlement::Ready { portal_known, .. } => portal_known.map(PortalKnown::as_str),
                _ => None,
            };
            Some((entry.dossier_id, entry.entry_id, state, known))
        })
        .collect();
    run(conn, doing, sqlx::query(SETTLE_LANES).bind(now.millis()).bind(json(&lanes))).await?;
    if !accepted.is_empty() {
        run(conn, doing, sqlx::query(KEEP_FILES).bind(json(&accepted))).await?;
    }
    if !lost.is_empty() {
        super::reconcile::owe_steps_again(conn, now, &lost, resend_supplements).await?;
    }
    Ok(done)
}

async fn lost_with_its_steps(
    conn: &mut SqliteConnection,
    accepted: &[i64],
) -> Result<Vec<i64>, LedgerError> {
    if accepted.is_empty() || sabotage::on(Defect::LostStepsStayAcknowledged) {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(LOST_WITH_ITS_STEPS)
        .bind(json(accepted))
        .fetch_all(conn)
        .await
        .map_err(|error| failed("settle calls", error))
}

async fn settle_steps(
    conn: &mut SqliteConnection,
    now: Timestamp,
    batch: &SettleBatch,
    counts: &mut SettleCounts,
) -> Result<BTreeSet<LeaseOf>, LedgerError> {
    if batch.steps.is_empty() {
        return Ok(BTreeSet::new());
    }
    let doing = "settle calls";
    let lanes = one_of_each(conn, &batch.steps).await?;
    let rows: Vec<_> = lanes
        .iter()
        .map(|lane| {
            let done = lane.steps.iter().filter(|(_, state)| *state != StepState::Pending).count();
            (
                lane.dossier_id,
                lane.lease_token,
                done,
                lane.due_at,
                lane.retries,
                u8::from(lane.alone),
                lane.failure.as_ref().map(json_one),
                u8::from(lane.portal_lost_dossier),
            )
        })
        .collect();
    let settled = sqlx::query(SETTLE_STEP_LANES)
        .bind(json(&rows))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let mut found: BTreeSet<i64> = BTreeSet::new();
    let mut leased = 0;
    for row in &settled {
        found.insert(column(row, "dossier", "id", 0)?);
        leased += column::<i64>(row, "step", "leased", 0)?;
    }
    let lanes: Vec<_> = lanes.into_iter().filter(|lane| found.contains(&lane.dossier_id)).collect();
    let live: BTreeSet<LeaseOf> = lanes.iter().map(|lane| lease_of(lane)).collect();
    counts.lost_leases += (batch.steps.len() - live.len()) as u64;
    let mut steps = Vec::new();
    let mut together = Vec::new();
    let mut named = 0;
    for lane in &lanes {
        let failure = lane.failure.as_ref().map(json_one);
        let failure_of = |state| failure.clone().filter(|_| state != StepState::Acked);
        named += lane.steps.len() as u64;
        for (_, state) in &lane.steps {
            match state {
                StepState::Acked => counts.steps_acked += 1,
                StepState::Held => counts.steps_held += 1,
                _ => {}
            }
        }
        match lane.steps.as_slice() {
            [(_, first), rest @ ..] if rest.iter().all(|(_, state)| state == first) => {
                together.push((lane.dossier_id, first.as_str(), failure_of(*first)));
            }
            mixed => steps.extend(mixed.iter().map(|(identity, state)| {
                let (dossier_id, time, status, ordinal) = step_key(lane.dossier_id, identity);
                (dossier_id, time, status, ordinal, state.as_str(), failure_of(*state))
            })),
        }
    }
    let at = now.millis();
    let mut written = 0;
    if !together.is_empty() {
        let query = sqlx::query(SETTLE_STEPS_TOGETHER).bind(at).bind(json(&together));
        written += run(conn, doing, query).await?;
    }
    if !steps.is_empty() {
        let query = sqlx::query(SETTLE_STEPS).bind(at).bind(json(&steps));
        written += run(conn, doing, query).await?;
    }
    // A step that stays leased while its lane is free would never be sent again.
    if written != named || i64::try_from(written) != Ok(leased) {
        return Err(LedgerError::Conflict(
            "a settlement names other steps than its call carried".into(),
        ));
    }
    let lost: Vec<i64> =
        lanes.iter().filter(|lane| lane.portal_lost_dossier).map(|lane| lane.dossier_id).collect();
    if !lost.is_empty() {
        super::reconcile::repair_lost(conn, now, &lost, batch.resend_supplements).await?;
    }
    let back: Vec<i64> = lanes
        .iter()
        .filter(|lane| lane.steps.iter().any(|(_, state)| *state == StepState::Pending))
        .map(|lane| lane.dossier_id)
        .collect();
    super::closed::withdraw_what_came_back(conn, now, &back).await?;
    Ok(live)
}

/// Of two outcomes of one dossier's steps, the one whose lease still stands. While nothing could be
/// written for longer than a lease lasts, a second call may have been made and answered, too.
async fn one_of_each<'a>(
    conn: &mut SqliteConnection,
    lanes: &'a [SettledSteps],
) -> Result<Vec<&'a SettledSteps>, LedgerError> {
    let mut once = BTreeSet::new();
    let twice: BTreeSet<i64> =
        lanes.iter().map(|lane| lane.dossier_id).filter(|id| !once.insert(*id)).collect();
    if twice.is_empty() {
        return Ok(lanes.iter().collect());
    }
    let ids: Vec<i64> = twice.iter().copied().collect();
    let rows: Vec<LeaseOf> = sqlx::query_as(LEASES)
        .bind(json(&ids))
        .fetch_all(conn)
        .await
        .map_err(|error| failed("settle calls", error))?;
    let stands =
        |lane: &&SettledSteps| !twice.contains(&lane.dossier_id) || rows.contains(&lease_of(lane));
    Ok(lanes.iter().filter(stands).collect())
}

fn failure_of(settlement: &Settlement) -> Option<&Failure> {
    match settlement {
        Settlement::Accepted { .. } => None,
        Settlement::Ready { failure, .. } => failure.as_ref(),
        Settlement::Unconfirmed { failure, .. } | Settlement::Dead { failure } => Some(failure),
    }
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    SETTLE_ENTRIES,
    SETTLE_LANES,
    KEEP_FILES,
    LOST_WITH_ITS_STEPS,
    SETTLE_STEPS,
    SETTLE_STEPS_TOGETHER,
    LEASES,
    SETTLE_STEP_LANES,
    MARK_SYNCHRONISED,
];
