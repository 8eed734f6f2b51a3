//! Claiming due work: leases, single flight, and what travels together.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::super::LedgerError;
use super::super::body::{Bodies, Row};
use super::super::record::{Claim, ClaimedEntry, ClaimedStep, ClaimedSteps, PauseScope};
use super::pause::in_force;
use super::{column, failed, json, json_one, run, step_key, unreadable};
use crate::domain::entry::PortalKnown;
use crate::domain::priority::Priority;
use crate::domain::status::Status;
use crate::domain::step::StepIdentity;
use crate::domain::time::Timestamp;
use crate::sabotage::{self, Defect};

/// Lets those of one class in whose time has come; what an operator has paused is set aside.
const LET_ENTRIES_IN: &str = "
    UPDATE entry SET line = CASE WHEN EXISTS (
            SELECT 1 FROM sending_pause AS p JOIN dossier AS d ON d.id = entry.dossier_id
            WHERE p.ended_at IS NULL
              AND ((p.scope = 'procedure' AND p.value = d.ma_tthc)
                   OR (p.scope = 'agency' AND p.value = d.ma_don_vi))) THEN 2 ELSE 1 END
    WHERE id IN (SELECT id FROM entry WHERE state = 'ready' AND line = 0 AND priority = ?1 AND due_at <= ?2
                 ORDER BY due_at LIMIT +?3)";

/// The head of one class's line. Those who came in and whose time was put off again are passed over.
const ENTRIES_IN_LINE: &str = "
    SELECT e.id FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
    WHERE e.state = 'ready' AND e.line = 1 AND e.priority = ?1 AND e.due_at <= ?2 AND d.lane_token IS NULL
      AND NOT EXISTS (SELECT 1 FROM restored AS x WHERE x.source = d.source AND x.over_at IS NULL)
    ORDER BY e.appointed_at, e.due_at, e.id LIMIT +?3";

const CHOSEN_ENTRIES: &str = "
    SELECT e.id, e.dossier_id, e.priority, d.ma_ho_so, d.ma_tthc, d.ma_don_vi, e.attempt, e.retries,
           e.batch_max, d.portal_known, p.body
    FROM json_each(?1) AS j CROSS JOIN entry AS e ON e.id = j.value JOIN dossier AS d ON d.id = e.dossier_id
    LEFT JOIN packet AS p ON p.entry_id = e.id ORDER BY j.key";

/// Rows that one claim lets in at most, so that the writer is never held for long.
const LET_IN_MAX: i64 = 4096;

/// The attempt is counted here, before the first byte is sent.
const LEASE_ENTRIES: &str = "
    UPDATE entry SET state = 'leased', line = 0, changed_at = ?1, attempt = attempt + 1, lease_token = ?2, lease_expires_at = ?3
    WHERE id IN (SELECT value FROM json_each(?4)) AND state = 'ready'";

/// Of a deliberate bug.
const UNCOUNT: &str =
    "UPDATE entry SET attempt = attempt - 1 WHERE id IN (SELECT value FROM json_each(?1))";

const TAKE_LANES: &str = "
    UPDATE dossier SET lane_token = ?1
    WHERE id IN (SELECT value FROM json_each(?2)) AND lane_token IS NULL";

pub(super) async fn claim_entries(
    conn: &mut SqliteConnection,
    stored: &Bodies,
    now: Timestamp,
    claim: Claim,
) -> Result<Vec<ClaimedEntry>, LedgerError> {
    let doing = "claim dossiers";
    let lease = claim.lease;
    let mut claimed = Vec::new();
    let mut poisoned = Vec::new();
    let chosen = next_in_line(conn, now, claim, LET_ENTRIES_IN, ENTRIES_IN_LINE).await?;
    let rows = sqlx::query(CHOSEN_ENTRIES)
        .bind(json(&chosen))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    for row in &rows {
        match due_entry(stored, row)? {
            Ok(entry) => claimed.push(entry),
            Err(lane) => poisoned.push(lane),
        }
    }
    if !poisoned.is_empty() {
        give_up_unreadable(conn, now, &poisoned).await?;
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
    if sabotage::on(Defect::AttemptUncounted) {
        run(conn, doing, sqlx::query(UNCOUNT).bind(json(&ids))).await?;
        for entry in &mut claimed {
            entry.attempt -= 1;
        }
    }
    let dossiers: Vec<i64> = claimed.iter().map(|entry| entry.dossier_id).collect();
    let lanes =
        run(conn, doing, sqlx::query(TAKE_LANES).bind(lease.token).bind(json(&dossiers))).await?;
    if leased != ids.len() as u64 || lanes != leased {
        return Err(LedgerError::Conflict("a due dossier was claimed twice".into()));
    }
    Ok(claimed)
}

/// Whose turn it is, in the order of the classes: what stands in line, shared out by turns.
async fn next_in_line(
    conn: &mut SqliteConnection,
    now: Timestamp,
    claim: Claim,
    let_in: &'static str,
    in_line: &'static str,
) -> Result<Vec<i64>, LedgerError> {
    let doing = "claim what is due";
    if in_force(conn, now).await?.iter().any(|pause| pause.scope == PauseScope::All) {
        return Ok(Vec::new());
    }
    let mut lines: [Vec<i64>; Priority::ALL.len()] = Default::default();
    for class in Priority::ALL {
        if claim.urgent_only && class != Priority::Urgent {
            break;
        }
        let query = sqlx::query(let_in).bind(class.rank()).bind(now.millis()).bind(LET_IN_MAX);
        run(conn, doing, query).await?;
        lines[class as usize] = sqlx::query_scalar(in_line)
            .bind(class.rank())
            .bind(now.millis())
            .bind(i64::from(claim.limit))
            .fetch_all(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?;
    }
    let mut turns = claim.turns;
    let dealt = turns.deal(claim.limit as usize, lines.each_ref().map(Vec::len));
    for (line, dealt) in lines.iter_mut().zip(dealt) {
        line.truncate(dealt);
    }
    Ok(lines.concat())
}

/// One due entry, or its dossier and its id if the stored packet cannot be read back.
fn due_entry(
    stored: &Bodies,
    row: &SqliteRow,
) -> Result<Result<ClaimedEntry, UnreadableLane>, LedgerError> {
    let entry_id: i64 = column(row, "entry", "id", 0)?;
    let dossier_id: i64 = column(row, "entry", "dossier_id", entry_id)?;
    let body: Option<Vec<u8>> = column(row, "packet", "body", entry_id)?;
    let packet = body.and_then(|body| stored.read(Row::of("packet", entry_id), &body).ok());
    let known: String = column(row, "dossier", "portal_known", entry_id)?;
    let (Some(packet), Some(portal_known)) = (packet, PortalKnown::parse(&known)) else {
        return Ok(Err((dossier_id, entry_id)));
    };
    Ok(Ok(ClaimedEntry {
        entry_id,
        dossier_id,
        ma_ho_so: column(row, "dossier", "ma_ho_so", entry_id)?,
        ma_tthc: column(row, "dossier", "ma_tthc", entry_id)?,
        ma_don_vi: column(row, "dossier", "ma_don_vi", entry_id)?,
        priority: class_of(row, "entry", entry_id)?,
        packet,
        attempt: column::<u32>(row, "entry", "attempt", entry_id)? + 1,
        retries: column(row, "entry", "retries", entry_id)?,
        batch_max: column(row, "entry", "batch_max", entry_id)?,
        portal_known,
    }))
}

/// dossier, entry
pub(super) type UnreadableLane = (i64, i64);

const KILL_UNREADABLE: &str = "
    UPDATE entry SET state = 'dead', changed_at = ?1, failure = ?2, failure_code = ?3,
        lease_token = NULL, lease_expires_at = NULL
    WHERE id IN (SELECT value->>1 FROM json_each(?4)) AND state IN ('ready', 'unconfirmed')";

const CLOSE_UNREADABLE_LANES: &str = "
    UPDATE dossier SET lane_token = NULL, packet_state = 'dead'
    WHERE id IN (SELECT value->>0 FROM json_each(?1))";

/// A packet that cannot be read back is never sent and must not stop the others. A retry maps it
/// anew from the source's document.
pub(super) async fn give_up_unreadable(
    conn: &mut SqliteConnection,
    now: Timestamp,
    lanes: &[UnreadableLane],
) -> Result<(), LedgerError> {
    let doing = "set unreadable rows aside";
    let failure = unreadable("the stored packet cannot be read back");
    let query = sqlx::query(KILL_UNREADABLE)
        .bind(now.millis())
        .bind(json_one(&failure))
        .bind(failure.code)
        .bind(json(lanes));
    run(conn, doing, query).await?;
    let query = sqlx::query(CLOSE_UNREADABLE_LANES).bind(json(lanes));
    run(conn, doing, query).await.map(|_| ())
}

/// As [`LET_ENTRIES_IN`], for the steps of acknowledged dossiers.
const LET_STEPS_IN: &str = "
    UPDATE dossier SET steps_line = CASE WHEN EXISTS (
            SELECT 1 FROM sending_pause AS p WHERE p.ended_at IS NULL
              AND ((p.scope = 'procedure' AND p.value = dossier.ma_tthc)
                   OR (p.scope = 'agency' AND p.value = dossier.ma_don_vi))) THEN 2 ELSE 1 END
    WHERE id IN (SELECT id FROM dossier WHERE steps_pending > 0 AND packet_state = 'accepted'
                   AND lane_token IS NULL AND steps_line = 0 AND priority = ?1 AND steps_due_at <= ?2
                 ORDER BY steps_due_at LIMIT +?3)";

const STEPS_IN_LINE: &str = "
    SELECT id FROM dossier
    WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL AND steps_line = 1
      AND priority = ?1 AND steps_due_at <= ?2
      AND NOT EXISTS (SELECT 1 FROM restored AS x WHERE x.source = dossier.source AND x.over_at IS NULL)
    ORDER BY appointed_at, steps_due_at, id LIMIT +?3";

const CHOSEN_LANES: &str = "
    SELECT d.id, d.ma_ho_so, d.ma_tthc, d.ma_don_vi, d.priority, d.steps_retries, d.steps_alone
    FROM json_each(?1) AS j CROSS JOIN dossier AS d ON d.id = j.value ORDER BY j.key";

const PENDING_STEPS: &str = "
    SELECT s.dossier_id, s.thoi_diem, s.trang_thai, s.ordinal, s.place, s.body_id, s.body_line, b.body
    FROM json_each(?1) AS j JOIN step AS s ON s.dossier_id = j.value JOIN step_body AS b ON b.id = s.body_id
    WHERE s.state = 'pending'
    ORDER BY s.dossier_id, s.thoi_diem, s.place, s.trang_thai, s.ordinal";

/// A call takes a dossier's pending steps from the first one on, so its last one says it all.
const LEASE_STEPS: &str = "
    UPDATE step SET state = 'leased', changed_at = ?1, attempts = attempts + 1
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS thoi_diem, value->>2 AS trang_thai,
                 value->>3 AS ordinal, value->>4 AS place FROM json_each(?2)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.state = 'pending'
      AND (step.thoi_diem, step.place, step.trang_thai, step.ordinal)
          <= (j.thoi_diem, j.place, j.trang_thai, j.ordinal)
      AND EXISTS (SELECT 1 FROM step_body AS b WHERE b.id = step.body_id)";

const TAKE_STEP_LANES: &str = "
    UPDATE dossier SET lane_token = ?1, steps_lease_until = ?2, steps_line = 0
    WHERE id IN (SELECT value FROM json_each(?3)) AND lane_token IS NULL";

pub(super) async fn claim_steps(
    conn: &mut SqliteConnection,
    stored: &Bodies,
    now: Timestamp,
    claim: Claim,
    steps_max: u32,
) -> Result<Vec<ClaimedSteps>, LedgerError> {
    let doing = "claim steps";
    let lease = claim.lease;
    let mut claimed = due_step_lanes(conn, now, claim).await?;
    if claimed.is_empty() {
        return Ok(claimed);
    }
    let ids: Vec<i64> = claimed.iter().map(|lane| lane.dossier_id).collect();
    let steps = sqlx::query(PENDING_STEPS)
        .bind(json(&ids))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let place: BTreeMap<i64, usize> = ids.iter().copied().zip(0..).collect();
    let mut closed = BTreeSet::new();
    let mut bodies = StepBodies::default();
    let mut unreadable_lanes = BTreeSet::new();
    // Of the last step taken of each dossier.
    let mut places: BTreeMap<i64, i64> = BTreeMap::new();
    for row in &steps {
        let dossier_id: i64 = column(row, "step", "dossier_id", 0)?;
        let Some(&at) = place.get(&dossier_id) else {
            continue;
        };
        let step = ClaimedStep {
            identity: StepIdentity {
                thoi_diem_xu_ly: column(row, "step", "thoi_diem", dossier_id)?,
                trang_thai: column(row, "step", "trang_thai", dossier_id)?,
                ordinal: column(row, "step", "ordinal", dossier_id)?,
            },
            body: match bodies.line(stored, row, dossier_id) {
                Ok(body) => body,
                Err(LedgerError::Corrupt { .. }) => {
                    unreadable_lanes.insert(dossier_id);
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        // Steps go in time order: one that does not fit closes the call for all later ones.
        if !closed.contains(&dossier_id) && fits(&claimed[at], &step, steps_max) {
            claimed[at].steps.push(step);
            places.insert(dossier_id, column::<i64>(row, "step", "place", dossier_id)?);
        } else {
            closed.insert(dossier_id);
        }
    }
    claimed.retain(|lane| !lane.steps.is_empty() && !unreadable_lanes.contains(&lane.dossier_id));
    if !unreadable_lanes.is_empty() {
        hold_unreadable(conn, now, &unreadable_lanes).await?;
    }
    let keys: Vec<_> = claimed
        .iter()
        .filter_map(|lane| {
            let last = lane.steps.last()?;
            let (dossier_id, time, status, ordinal) = step_key(lane.dossier_id, &last.identity);
            Some((dossier_id, time, status, ordinal, places.get(&dossier_id)?))
        })
        .collect();
    let steps: usize = claimed.iter().map(|lane| lane.steps.len()).sum();
    let leased =
        run(conn, doing, sqlx::query(LEASE_STEPS).bind(now.millis()).bind(json(&keys))).await?;
    let ids: Vec<i64> = claimed.iter().map(|lane| lane.dossier_id).collect();
    let query = sqlx::query(TAKE_STEP_LANES)
        .bind(lease.token)
        .bind(lease.expires_at.millis())
        .bind(json(&ids));
    let taken = run(conn, doing, query).await?;
    if leased != steps as u64 || taken != ids.len() as u64 {
        return Err(LedgerError::Conflict("a due step was claimed twice".into()));
    }
    Ok(claimed)
}

const HOLD_UNREADABLE: &str = "
    UPDATE step SET state = 'held', changed_at = ?1, failure = ?2
    WHERE dossier_id IN (SELECT value FROM json_each(?3)) AND state = 'pending'";

const RECOUNT_UNREADABLE: &str = "
    UPDATE dossier SET steps_pending = 0 WHERE id IN (SELECT value FROM json_each(?1))";

/// Steps that cannot be read back are never sent and must not stop those of other dossiers. A
/// resync maps them anew from the source's document.
async fn hold_unreadable(
    conn: &mut SqliteConnection,
    now: Timestamp,
    lanes: &BTreeSet<i64>,
) -> Result<(), LedgerError> {
    let doing = "set unreadable rows aside";
    let lanes: Vec<i64> = lanes.iter().copied().collect();
    let failure = unreadable("the stored steps cannot be read back");
    let query =
        sqlx::query(HOLD_UNREADABLE).bind(now.millis()).bind(json_one(&failure)).bind(json(&lanes));
    run(conn, doing, query).await?;
    run(conn, doing, sqlx::query(RECOUNT_UNREADABLE).bind(json(&lanes))).await.map(|_| ())
}

/// The lines of the body that was read last; steps of one dossier mostly share one.
#[derive(Default)]
struct StepBodies {
    id: i64,
    lines: Vec<String>,
}

impl StepBodies {
    fn line(
        &mut self,
        stored: &Bodies,
        row: &SqliteRow,
        dossier_id: i64,
    ) -> Result<String, LedgerError> {
        let id: i64 = column(row, "step", "body_id", dossier_id)?;
        if self.id != id || self.lines.is_empty() {
            let body: &[u8] = column(row, "step_body", "body", id)?;
            self.lines =
                stored.read(Row::of("step_body", id), body)?.lines().map(str::to_owned).collect();
            self.id = id;
        }
        let at: u32 = column(row, "step", "body_line", dossier_id)?;
        self.lines.get(at as usize).cloned().ok_or(LedgerError::Corrupt {
            table: "step",
            column: "body_line",
            row: dossier_id,
        })
    }
}

async fn due_step_lanes(
    conn: &mut SqliteConnection,
    now: Timestamp,
    claim: Claim,
) -> Result<Vec<ClaimedSteps>, LedgerError> {
    let chosen = next_in_line(conn, now, claim, LET_STEPS_IN, STEPS_IN_LINE).await?;
    let rows = sqlx::query(CHOSEN_LANES)
        .bind(json(&chosen))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed("claim steps", error))?;
    rows.iter()
        .map(|row| {
            let dossier_id: i64 = column(row, "dossier", "id", 0)?;
            Ok(ClaimedSteps {
                dossier_id,
                ma_ho_so: column(row, "dossier", "ma_ho_so", dossier_id)?,
                ma_tthc: column(row, "dossier", "ma_tthc", dossier_id)?,
                ma_don_vi: column(row, "dossier", "ma_don_vi", dossier_id)?,
                priority: class_of(row, "dossier", dossier_id)?,
                retries: column(row, "dossier", "steps_retries", dossier_id)?,
                alone: column::<i64>(row, "dossier", "steps_alone", dossier_id)? != 0,
                steps: Vec::new(),
            })
        })
        .collect()
}

fn class_of(row: &SqliteRow, table: &'static str, id: i64) -> Result<Priority, LedgerError> {
    let rank = column(row, table, "priority", id)?;
    Priority::from_rank(rank).ok_or(LedgerError::Corrupt { table, column: "priority", row: id })
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

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    LET_ENTRIES_IN,
    ENTRIES_IN_LINE,
    CHOSEN_ENTRIES,
    LEASE_ENTRIES,
    UNCOUNT,
    TAKE_LANES,
    KILL_UNREADABLE,
    CLOSE_UNREADABLE_LANES,
    LET_STEPS_IN,
    STEPS_IN_LINE,
    CHOSEN_LANES,
    PENDING_STEPS,
    LEASE_STEPS,
    TAKE_STEP_LANES,
    HOLD_UNREADABLE,
    RECOUNT_UNREADABLE,
];
