//! Claiming due work and writing what its calls meant.

use std::collections::BTreeSet;

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::super::LedgerError;
use super::super::body::decompress;
use super::super::record::{
    ClaimedEntry, ClaimedStep, ClaimedSteps, SettleBatch, SettleCounts, SettledEntry, SettledSteps,
};
use super::map::step_key;
use super::{column, failed, hex, json, json_one, run};
use crate::domain::entry::{PortalKnown, Settlement};
use crate::domain::lease::Lease;
use crate::domain::priority::Priority;
use crate::domain::status::Status;
use crate::domain::step::{StepIdentity, StepState};
use crate::domain::time::Timestamp;

const DUE_ENTRIES: &str = "
    SELECT e.id, e.dossier_id, d.ma_ho_so, e.priority, e.attempt, e.retries, e.batch_max, d.portal_known, p.body
    FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id JOIN packet AS p ON p.entry_id = e.id
    WHERE e.state = 'ready' AND e.due_at <= ?1 AND d.lane_token IS NULL AND p.body IS NOT NULL
    ORDER BY e.priority, e.due_at, e.id LIMIT ?2";

/// The attempt is counted here, before the first byte is sent.
const LEASE_ENTRIES: &str = "
    UPDATE entry SET state = 'leased', changed_at = ?1, attempt = attempt + 1, lease_token = ?2, lease_expires_at = ?3
    WHERE id IN (SELECT value FROM json_each(?4)) AND state = 'ready'";

const TAKE_LANES: &str = "
    UPDATE dossier SET lane_token = ?1
    WHERE id IN (SELECT value FROM json_each(?2)) AND lane_token IS NULL";

pub(super) async fn claim_entries(
    conn: &mut SqliteConnection,
    now: Timestamp,
    lease: Lease,
    limit: u32,
) -> Result<Vec<ClaimedEntry>, LedgerError> {
    let doing = "claim dossiers";
    let rows = sqlx::query(DUE_ENTRIES)
        .bind(now.millis())
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        let entry_id: i64 = column(row, "entry", "id", 0)?;
        let known: String = column(row, "dossier", "portal_known", entry_id)?;
        let corrupt = |column| LedgerError::Corrupt {
            table: "entry",
            column,
            row: entry_id,
        };
        claimed.push(ClaimedEntry {
            entry_id,
            dossier_id: column(row, "entry", "dossier_id", entry_id)?,
            ma_ho_so: column(row, "dossier", "ma_ho_so", entry_id)?,
            priority: Priority::from_rank(column(row, "entry", "priority", entry_id)?)
                .ok_or_else(|| corrupt("priority"))?,
            packet: decompress("packet", entry_id, column(row, "packet", "body", entry_id)?)?,
            attempt: column::<u32>(row, "entry", "attempt", entry_id)? + 1,
            retries: column(row, "entry", "retries", entry_id)?,
            batch_max: column(row, "entry", "batch_max", entry_id)?,
            portal_known: PortalKnown::parse(&known).ok_or_else(|| corrupt("portal_known"))?,
        });
    }
    if claimed.is_empty() {
        return Ok(claimed);
    }
    let ids: Vec<i64> = claimed.iter().map(|entry| entry.entry_id).collect();
    let query = sqlx::query(LEASE_ENTRIES)
        .bind(now.millis())
        .bind(lease.token)
        .bind(lease.expires_at.millis())
        .bind(json(&ids));
    let leased = run(conn, doing, query).await?;
    let dossiers: Vec<i64> = claimed.iter().map(|entry| entry.dossier_id).collect();
    let lanes = run(
        conn,
        doing,
        sqlx::query(TAKE_LANES)
            .bind(lease.token)
            .bind(json(&dossiers)),
    )
    .await?;
    if leased != ids.len() as u64 || lanes != leased {
        return Err(LedgerError::Conflict(
            "a due dossier was claimed twice".into(),
        ));
    }
    Ok(claimed)
}

const DUE_STEP_LANES: &str = "
    SELECT id, ma_ho_so, priority, steps_retries, steps_alone FROM dossier
    WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL AND steps_due_at <= ?1
    ORDER BY priority, steps_due_at LIMIT ?2";

const PENDING_STEPS: &str = "
    SELECT s.dossier_id, s.thoi_diem, s.trang_thai, s.ordinal, s.body
    FROM json_each(?1) AS j JOIN step AS s ON s.dossier_id = j.value
    WHERE s.state = 'pending' AND s.body IS NOT NULL
    ORDER BY s.dossier_id, s.thoi_diem, s.trang_thai, s.ordinal";

const LEASE_STEPS: &str = "
    UPDATE step SET state = 'leased', changed_at = ?1, attempts = attempts + 1
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS thoi_diem, value->>2 AS trang_thai,
                 value->>3 AS ordinal FROM json_each(?2)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.thoi_diem = j.thoi_diem
      AND step.trang_thai = j.trang_thai AND step.ordinal = j.ordinal AND step.state = 'pending'";

const TAKE_STEP_LANES: &str = "
    UPDATE dossier SET lane_token = ?1, steps_lease_until = ?2
    WHERE id IN (SELECT value FROM json_each(?3)) AND lane_token IS NULL";

pub(super) async fn claim_steps(
    conn: &mut SqliteConnection,
    now: Timestamp,
    lease: Lease,
    limit: u32,
    steps_max: u32,
) -> Result<Vec<ClaimedSteps>, LedgerError> {
    let doing = "claim steps";
    let lanes = sqlx::query(DUE_STEP_LANES)
        .bind(now.millis())
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    if lanes.is_empty() {
        return Ok(Vec::new());
    }
    let mut claimed = Vec::with_capacity(lanes.len());
    for row in &lanes {
        let dossier_id: i64 = column(row, "dossier", "id", 0)?;
        claimed.push(ClaimedSteps {
            dossier_id,
            ma_ho_so: column(row, "dossier", "ma_ho_so", dossier_id)?,
            priority: Priority::from_rank(column(row, "dossier", "priority", dossier_id)?)
                .unwrap_or_default(),
            retries: column(row, "dossier", "steps_retries", dossier_id)?,
            alone: column::<i64>(row, "dossier", "steps_alone", dossier_id)? != 0,
            steps: Vec::new(),
        });
    }
    let ids: Vec<i64> = claimed.iter().map(|lane| lane.dossier_id).collect();
    let steps = sqlx::query(PENDING_STEPS)
        .bind(json(&ids))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    claimed.sort_by_key(|lane| lane.dossier_id);
    let mut closed = BTreeSet::new();
    for row in &steps {
        let dossier_id: i64 = column(row, "step", "dossier_id", 0)?;
        let Ok(at) = claimed.binary_search_by_key(&dossier_id, |lane| lane.dossier_id) else {
            continue;
        };
        let step = ClaimedStep {
            identity: StepIdentity {
                thoi_diem_xu_ly: column(row, "step", "thoi_diem", dossier_id)?,
                trang_thai: column(row, "step", "trang_thai", dossier_id)?,
                ordinal: column(row, "step", "ordinal", dossier_id)?,
            },
            body: column(row, "step", "body", dossier_id)?,
        };
        // Steps go in time order: one that does not fit closes the call for all later ones.
        if !closed.contains(&dossier_id) && fits(&claimed[at], &step, steps_max) {
            claimed[at].steps.push(step);
        } else {
            closed.insert(dossier_id);
        }
    }
    claimed.retain(|lane| !lane.steps.is_empty());
    claimed.sort_by_key(|lane| lane.priority);
    let keys: Vec<_> = claimed
        .iter()
        .flat_map(|lane| {
            lane.steps
                .iter()
                .map(|step| step_key(lane.dossier_id, &step.identity))
        })
        .collect();
    let leased = run(
        conn,
        doing,
        sqlx::query(LEASE_STEPS)
            .bind(now.millis())
            .bind(json(&keys)),
    )
    .await?;
    let ids: Vec<i64> = claimed.iter().map(|lane| lane.dossier_id).collect();
    let query = sqlx::query(TAKE_STEP_LANES)
        .bind(lease.token)
        .bind(lease.expires_at.millis())
        .bind(json(&ids));
    let taken = run(conn, doing, query).await?;
    if leased != keys.len() as u64 || taken != ids.len() as u64 {
        return Err(LedgerError::Conflict("a due step was claimed twice".into()));
    }
    Ok(claimed)
}

/// The next step goes into the same call only if the call has room and no request for a supplement
/// is involved: such a step travels alone, so that an unknown outcome of a call never leaves others
/// in doubt with it (a second one can make a dossier late).
fn fits(lane: &ClaimedSteps, step: &ClaimedStep, steps_max: u32) -> bool {
    let supplement = Status::SupplementRequested.code();
    lane.steps.last().is_none_or(|last| {
        !lane.alone
            && lane.steps.len() < steps_max as usize
            && last.identity.trang_thai != supplement
            && step.identity.trang_thai != supplement
    })
}

/// Settles the entry if its lease (or its unconfirmed state) still stands. A newer ready revision
/// takes the place of one that would have to be sent again.
const SETTLE_ENTRIES: &str = "
    UPDATE entry SET
        state = CASE WHEN j.state = 'ready' AND j.newer IS NOT NULL THEN 'superseded' ELSE j.state END,
        superseded_by = CASE WHEN j.state = 'ready' THEN j.newer ELSE NULL END,
        changed_at = ?1, due_at = coalesce(j.due_at, entry.due_at), retries = coalesce(j.retries, entry.retries),
        batch_max = coalesce(j.batch_max, entry.batch_max), lease_token = NULL, lease_expires_at = NULL,
        failure = j.failure, failure_code = j.failure_code, receipt = j.receipt
    FROM (SELECT i.value->>0 AS id, i.value->>1 AS token, i.value->>2 AS state, i.value->>3 AS due_at,
                 i.value->>4 AS retries, i.value->>5 AS batch_max, i.value->>6 AS failure,
                 i.value->>7 AS failure_code, i.value->>8 AS receipt,
                 (SELECT n.id FROM entry AS n WHERE n.dossier_id = i.value->>9 AND n.id > i.value->>0
                     AND n.state = 'ready') AS newer
          FROM json_each(?2) AS i) AS j
    WHERE entry.id = j.id
      AND ((j.token IS NOT NULL AND entry.state = 'leased' AND entry.lease_token = j.token)
           OR (j.token IS NULL AND entry.state = 'unconfirmed'))
    RETURNING entry.id, entry.state";

const SETTLE_LANES: &str = "
    UPDATE dossier SET
        lane_token = CASE WHEN j.state = 'unconfirmed' THEN lane_token ELSE NULL END,
        portal_known = CASE WHEN j.state = 'accepted' THEN 'yes' ELSE coalesce(j.known, portal_known) END,
        acked_entry_id = CASE WHEN j.state = 'accepted' THEN j.entry_id ELSE acked_entry_id END,
        acked_packet_hash = CASE WHEN j.state = 'accepted'
            THEN (SELECT packet_hash FROM entry WHERE id = j.entry_id) ELSE acked_packet_hash END,
        acked_at = CASE WHEN j.state = 'accepted' THEN ?1 ELSE acked_at END,
        packet_state = CASE
            WHEN EXISTS (SELECT 1 FROM entry AS n WHERE n.dossier_id = j.dossier_id AND n.state = 'ready') THEN 'open'
            WHEN j.state = 'accepted' THEN 'accepted'
            WHEN j.state = 'dead' THEN 'dead'
            ELSE 'open' END
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS entry_id, value->>2 AS state, value->>3 AS known
          FROM json_each(?2)) AS j
    WHERE dossier.id = j.dossier_id";

const SETTLE_STEPS: &str = "
    UPDATE step SET state = j.state, changed_at = ?1, failure = j.failure
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS thoi_diem, value->>2 AS trang_thai,
                 value->>3 AS ordinal, value->>4 AS state, value->>5 AS failure FROM json_each(?2)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.thoi_diem = j.thoi_diem
      AND step.trang_thai = j.trang_thai AND step.ordinal = j.ordinal AND step.state = 'leased'";

const SETTLE_STEP_LANES: &str = "
    UPDATE dossier SET lane_token = NULL, steps_lease_until = NULL, steps_pending = steps_pending - j.done,
        steps_due_at = j.due_at, steps_retries = j.retries, steps_alone = j.alone, steps_failure = j.failure,
        portal_known = CASE WHEN j.lost = 1 THEN 'no' ELSE portal_known END
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS token, value->>2 AS done, value->>3 AS due_at,
                 value->>4 AS retries, value->>5 AS alone, value->>6 AS failure, value->>7 AS lost
          FROM json_each(?1)) AS j
    WHERE dossier.id = j.dossier_id AND dossier.lane_token = j.token
    RETURNING dossier.id";

const LAST_CALL: &str = "SELECT coalesce(max(id), 0) FROM call";

const INSERT_CALLS: &str = "
    INSERT INTO call (id, service, priority, started_at, duration_ms, items, sent_bytes, answer_bytes,
                      http_status, error_code, message, outcome, body_hash)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7,
           value->>8, value->>9, value->>10, value->>11, unhex(value->>12) FROM json_each(?1)";

const INSERT_ATTEMPTS: &str = "
    INSERT INTO attempt (dossier_id, entry_id, call_id, kind, number, at, outcome, failure_code, detail)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, ?1, value->>5, value->>6, value->>7
    FROM json_each(?2)";

type AttemptRow<'a> = (
    i64,
    Option<i64>,
    Option<i64>,
    &'static str,
    u32,
    &'static str,
    Option<&'a str>,
    Option<String>,
);

pub(super) async fn settle(
    conn: &mut SqliteConnection,
    now: Timestamp,
    batch: &SettleBatch,
) -> Result<SettleCounts, LedgerError> {
    let mut counts = SettleCounts::default();
    let first_call = insert_calls(conn, batch).await?;
    let call_id = |call: Option<usize>| {
        call.and_then(|at| i64::try_from(at).ok())
            .map(|at| first_call + at)
    };
    let mut attempts: Vec<AttemptRow<'_>> = Vec::new();
    settle_entries(conn, now, &batch.entries, &mut counts).await?;
    for entry in &batch.entries {
        attempts.push((
            entry.dossier_id,
            Some(entry.entry_id),
            call_id(entry.call),
            if entry.lease_token.is_some() {
                "packet"
            } else {
                "read_back"
            },
            entry.attempt,
            entry.outcome,
            failure_of(&entry.settlement).map(|failure| failure.code.as_str()),
            None,
        ));
    }
    settle_steps(conn, now, &batch.steps, &mut counts).await?;
    for lane in &batch.steps {
        let names: Vec<String> = lane
            .steps
            .iter()
            .map(|(identity, _)| identity.to_string())
            .collect();
        attempts.push((
            lane.dossier_id,
            None,
            call_id(lane.call),
            "steps",
            lane.retries + 1,
            lane.outcome,
            lane.failure.as_ref().map(|failure| failure.code.as_str()),
            Some(names.join(" ")),
        ));
    }
    if !attempts.is_empty() {
        let query = sqlx::query(INSERT_ATTEMPTS)
            .bind(now.millis())
            .bind(json(&attempts));
        run(conn, "settle calls", query).await?;
    }
    Ok(counts)
}

/// Returns the id that the first call of the batch got.
async fn insert_calls(
    conn: &mut SqliteConnection,
    batch: &SettleBatch,
) -> Result<i64, LedgerError> {
    let doing = "settle calls";
    let last: i64 = sqlx::query_scalar(LAST_CALL)
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let rows: Vec<_> = (last + 1..)
        .zip(&batch.calls)
        .map(|(id, call)| {
            (
                id,
                call.service,
                call.priority.rank(),
                call.started_at,
                call.duration_ms,
                call.items,
                call.sent_bytes,
                call.answer_bytes,
                call.http_status,
                call.error_code.as_deref(),
                call.message.as_str(),
                call.outcome,
                hex(&call.body_hash),
            )
        })
        .collect();
    if !rows.is_empty() {
        run(conn, doing, sqlx::query(INSERT_CALLS).bind(json(&rows))).await?;
    }
    Ok(last + 1)
}

async fn settle_entries(
    conn: &mut SqliteConnection,
    now: Timestamp,
    entries: &[SettledEntry],
    counts: &mut SettleCounts,
) -> Result<(), LedgerError> {
    if entries.is_empty() {
        return Ok(());
    }
    let doing = "settle calls";
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let (due_at, retries, batch_max, receipt) = match &entry.settlement {
                Settlement::Accepted { receipt } => (None, None, None, Some(json_one(receipt))),
                Settlement::Ready {
                    due_at,
                    retries,
                    batch_max,
                    ..
                }
                | Settlement::Unconfirmed {
                    due_at,
                    retries,
                    batch_max,
                    ..
                } => (Some(*due_at), Some(*retries), *batch_max, None),
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
                entry.dossier_id,
            )
        })
        .collect();
    let settled = sqlx::query(SETTLE_ENTRIES)
        .bind(now.millis())
        .bind(json(&rows))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let mut done = std::collections::BTreeMap::new();
    for row in &settled {
        let id: i64 = column(row, "entry", "id", 0)?;
        let state: String = row.try_get("state").map_err(|error| failed(doing, error))?;
        match state.as_str() {
            "accepted" => counts.accepted += 1,
            "ready" => counts.again += 1,
            "unconfirmed" => counts.unconfirmed += 1,
            "dead" => counts.dead += 1,
            _ => counts.superseded += 1,
        }
        done.insert(id, state);
    }
    counts.lost_leases += (entries.len() - done.len()) as u64;
    let lanes: Vec<_> = entries
        .iter()
        .filter_map(|entry| {
            let state = done.get(&entry.entry_id)?.as_str();
            let known = match &entry.settlement {
                Settlement::Ready { portal_known, .. } => portal_known.map(PortalKnown::as_str),
                _ => None,
            };
            Some((entry.dossier_id, entry.entry_id, state, known))
        })
        .collect();
    run(
        conn,
        doing,
        sqlx::query(SETTLE_LANES)
            .bind(now.millis())
            .bind(json(&lanes)),
    )
    .await?;
    Ok(())
}

async fn settle_steps(
    conn: &mut SqliteConnection,
    now: Timestamp,
    lanes: &[SettledSteps],
    counts: &mut SettleCounts,
) -> Result<(), LedgerError> {
    if lanes.is_empty() {
        return Ok(());
    }
    let doing = "settle calls";
    let rows: Vec<_> = lanes
        .iter()
        .map(|lane| {
            let done = lane
                .steps
                .iter()
                .filter(|(_, state)| *state != StepState::Pending)
                .count();
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
    let live: BTreeSet<i64> = settled
        .iter()
        .map(|row| column(row, "dossier", "id", 0))
        .collect::<Result<_, LedgerError>>()?;
    counts.lost_leases += (lanes.len() - live.len()) as u64;
    let mut steps = Vec::new();
    for lane in lanes.iter().filter(|lane| live.contains(&lane.dossier_id)) {
        let failure = lane.failure.as_ref().map(json_one);
        for (identity, state) in &lane.steps {
            let (dossier_id, time, status, ordinal) = step_key(lane.dossier_id, identity);
            match state {
                StepState::Acked => counts.steps_acked += 1,
                StepState::Held => counts.steps_held += 1,
                _ => {}
            }
            let failure = failure.clone().filter(|_| *state != StepState::Acked);
            steps.push((dossier_id, time, status, ordinal, state.as_str(), failure));
        }
    }
    run(
        conn,
        doing,
        sqlx::query(SETTLE_STEPS)
            .bind(now.millis())
            .bind(json(&steps)),
    )
    .await?;
    Ok(())
}

fn failure_of(settlement: &Settlement) -> Option<&crate::domain::failure::Failure> {
    match settlement {
        Settlement::Accepted { .. } => None,
        Settlement::Ready { failure, .. } => failure.as_ref(),
        Settlement::Unconfirmed { failure, .. } | Settlement::Dead { failure } => Some(failure),
    }
}
