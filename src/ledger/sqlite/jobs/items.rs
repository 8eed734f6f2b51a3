//! The dossiers of a job: opened, followed, brought to their end.
//!
//! An item is carried by an entry of its dossier like any other obligation, so single flight, order
//! and supersession are those of every entry. What is open already is joined.

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::super::body::{Bodies, Row};
use super::super::{column, failed, json, run};
use super::orders::{paced, progress};
use super::plans;
use crate::domain::entry::EntryState;
use crate::domain::job::{ItemState, JobState, Mode};
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::jobs::{Job, OpenedItems, PlanLine, ToVerify};

const NEXT: &str = "
    SELECT i.dossier_id, d.ma_ho_so, d.source, i.revision_id
    FROM job_item AS i INDEXED BY job_item_by_state CROSS JOIN dossier AS d ON d.id = i.dossier_id
    WHERE i.plan_id = ?1 AND i.state = 'waiting' ORDER BY i.dossier_id LIMIT ?2";

pub(super) async fn next(
    readers: &SqlitePool,
    job: &Job,
    limit: u64,
) -> Result<Vec<PlanLine>, LedgerError> {
    let rows = sqlx::query(NEXT)
        .bind(job.plan.id)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read items of a job", error))?;
    rows.iter().map(plans::line).collect()
}

const LISTED: &str = "
    SELECT d.ma_ho_so, i.outcome
    FROM job AS j CROSS JOIN job_item AS i INDEXED BY job_item_by_state ON i.plan_id = j.plan_id
    CROSS JOIN dossier AS d ON d.id = i.dossier_id
    WHERE j.id = ?1 AND i.state = ?2 ORDER BY i.dossier_id LIMIT ?3";

pub(super) async fn listed(
    readers: &SqlitePool,
    job: i64,
    state: ItemState,
    limit: u32,
) -> Result<Vec<(String, Option<String>)>, LedgerError> {
    let rows = sqlx::query(LISTED)
        .bind(job)
        .bind(state.as_str())
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read items of a job", error))?;
    rows.iter()
        .map(|row| {
            Ok((column(row, "dossier", "ma_ho_so", 0)?, column(row, "job_item", "outcome", 0)?))
        })
        .collect()
}

const JOB_STATE: &str = "SELECT state FROM job WHERE id = ?1";

/// What an item's dossier is at now. `acked` is the packet that the portal acknowledged last, `steps`
/// the steps that it has and whose bodies are kept.
const LANE: &str = "
    SELECT d.id, d.newest_revision_id, d.newest_entry_id, e.state, d.packet_state, d.steps_pending,
           d.lane_token IS NOT NULL AS busy,
           EXISTS (SELECT 1 FROM document AS o WHERE o.revision_id = d.newest_revision_id) AS body_kept,
           a.id AS acked_id, a.revision_id AS acked_revision, p.body AS acked_body, p.files AS acked_files,
           (SELECT max(o.id) FROM entry AS o WHERE o.dossier_id = d.id
            AND o.state IN ('received', 'ready', 'leased', 'unconfirmed', 'awaiting')) AS open_entry
    FROM job_item AS i CROSS JOIN dossier AS d ON d.id = i.dossier_id
    CROSS JOIN entry AS e ON e.id = d.newest_entry_id
    LEFT JOIN entry AS a ON a.id = d.acked_entry_id LEFT JOIN packet AS p ON p.entry_id = a.id
    WHERE i.plan_id = ?1 AND i.dossier_id = ?2 AND i.state = 'waiting'";

/// What is open stays in its class; it is sent although the portal may have it.
const JOIN: &str = "
    UPDATE entry SET forced = 1 WHERE id = ?1 AND state IN ('received', 'ready', 'awaiting')";

const OPEN: &str = "
    INSERT INTO entry (dossier_id, revision_id, state, priority, forced, created_at, changed_at, due_at)
    VALUES (?1, ?2, 'received', ?4, 1, ?3, ?3, ?3) RETURNING id";

const REOPEN: &str = "
    UPDATE entry SET state = 'received', forced = 1, changed_at = ?1, due_at = ?1, retries = 0, batch_max = NULL
    WHERE id = ?2 AND state IN ('quarantined', 'dead')";

const POINT_TO: &str = "UPDATE dossier SET newest_entry_id = ?1 WHERE id = ?2";

/// A packet as it was sent, without mapping; everything else about it is what it was.
const OPEN_AS_SENT: &str = "
    INSERT INTO entry (dossier_id, revision_id, state, priority, forced, created_at, changed_at, due_at, packet_hash,
                       mapping_version, program_version, appointed_at, finished)
    SELECT a.dossier_id, a.revision_id, 'ready', ?2, 1, ?3, ?3, ?3, a.packet_hash, a.mapping_version,
           a.program_version, d.appointed_at, d.finished
    FROM entry AS a JOIN dossier AS d ON d.id = a.dossier_id WHERE a.id = ?1 RETURNING id";

const KEEP_PACKET: &str =
    "INSERT INTO packet (entry_id, stored_at, body, files) VALUES (?1, ?2, ?3, ?4)";

const OPEN_LANE: &str = "
    UPDATE dossier SET packet_state = 'open',
        newest_entry_id = CASE WHEN newest_revision_id = ?3 THEN ?1 ELSE newest_entry_id END
    WHERE id = ?2";

/// 1: a step that would be sent again cannot be, because retention took what it says.
const STEPS_GONE: &str = "
    SELECT EXISTS (SELECT 1 FROM step AS s WHERE s.dossier_id = ?1 AND s.state = 'acked'
                   AND (s.trang_thai <> '5' OR ?2 = 1)
                   AND NOT EXISTS (SELECT 1 FROM step_body AS b WHERE b.id = s.body_id))";

/// A request for a supplement (status 5) only where that was asked for: a second one could make the
/// dossier late.
const OWE_STEPS: &str = "
    UPDATE step SET state = 'pending', changed_at = ?1, failure = NULL
    WHERE dossier_id = ?2 AND state = 'acked' AND (trang_thai <> '5' OR ?3 = 1)";

const OWE_LANE: &str = "
    UPDATE dossier SET steps_pending = steps_pending + ?2, steps_due_at = ?1, steps_retries = 0, steps_line = 0,
        priority = CASE WHEN steps_pending = 0 THEN ?4 ELSE priority END
    WHERE id = ?3";

const OPENED: &str = "
    UPDATE job_item SET state = 'opened', entry_id = ?1, changed_at = ?2
    WHERE plan_id = ?3 AND dossier_id = ?4 AND state = 'waiting'";

const SKIPPED: &str = "
    UPDATE job_item SET state = 'skipped', outcome = ?1, changed_at = ?2
    WHERE plan_id = ?3 AND dossier_id = ?4 AND state = 'waiting'";

/// What became of opening one.
enum Opening {
    Entry(i64),
    Joined(i64),
    /// Its steps carry it.
    Steps,
    Skip(&'static str),
}

pub(super) async fn open(
    conn: &mut SqliteConnection,
    stored: &Bodies,
    now: Timestamp,
    job: &Job,
    dossiers: &[i64],
) -> Result<OpenedItems, LedgerError> {
    let doing = "open items of a job";
    let mut done = OpenedItems::default();
    let state: Option<String> = sqlx::query_scalar(JOB_STATE)
        .bind(job.id)
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    // An operator's word may have come since this was decided.
    if !state.and_then(|state| JobState::parse(&state)).is_some_and(JobState::opens) {
        return Ok(done);
    }
    let at = now.millis();
    for dossier_id in dossiers {
        let row = sqlx::query(LANE)
            .bind(job.plan.id)
            .bind(*dossier_id)
            .fetch_optional(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?;
        let Some(row) = row else { continue };
        let opening = match job.plan.mode {
            Mode::StepsOnly => owe_steps(conn, now, job, &row, *dossier_id).await?,
            mode => open_one(conn, stored, now, mode, &row, *dossier_id).await?,
        };
        let query = match opening {
            Opening::Skip(why) => {
                done.skipped += 1;
                sqlx::query(SKIPPED).bind(why).bind(at)
            }
            Opening::Entry(entry) => sqlx::query(OPENED).bind(Some(entry)).bind(at),
            Opening::Joined(entry) => {
                done.joined += 1;
                sqlx::query(OPENED).bind(Some(entry)).bind(at)
            }
            Opening::Steps => sqlx::query(OPENED).bind(None::<i64>).bind(at),
        };
        if !matches!(opening, Opening::Skip(_)) {
            done.opened += 1;
        }
        run(conn, doing, query.bind(job.plan.id).bind(*dossier_id)).await?;
    }
    paced(conn, now, job.id, job.pace.after(now, done.opened)).await?;
    Ok(done)
}

async fn open_one(
    conn: &mut SqliteConnection,
    stored: &Bodies,
    now: Timestamp,
    mode: Mode,
    row: &SqliteRow,
    dossier_id: i64,
) -> Result<Opening, LedgerError> {
    let doing = "open items of a job";
    let at = now.millis();
    let rank = Priority::Backfill.rank();
    let newest_entry: i64 = column(row, "dossier", "newest_entry_id", dossier_id)?;
    let state: String = column(row, "entry", "state", newest_entry)?;
    let state = EntryState::parse(&state).ok_or(LedgerError::Corrupt {
        table: "entry",
        column: "state",
        row: newest_entry,
    })?;
    if state == EntryState::NotOurs {
        return Ok(Opening::Skip("never_sent"));
    }
    if let Some(open) = column::<Option<i64>>(row, "entry", "open_entry", dossier_id)? {
        run(conn, doing, sqlx::query(JOIN).bind(open)).await?;
        return Ok(Opening::Joined(open));
    }
    if mode == Mode::AsSent {
        let acked: Option<i64> = column(row, "dossier", "acked_id", dossier_id)?;
        let Some(acked) = acked else { return Ok(Opening::Skip("never_acknowledged")) };
        let body: Option<Vec<u8>> = column(row, "packet", "acked_body", acked)?;
        let packet = body.and_then(|body| stored.read_bytes(Row::of("packet", acked), &body).ok());
        let Some(packet) = packet else { return Ok(Opening::Skip("packet_past_retention")) };
        let opened: i64 = sqlx::query_scalar(OPEN_AS_SENT)
            .bind(acked)
            .bind(rank)
            .bind(at)
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?;
        let query = sqlx::query(KEEP_PACKET)
            .bind(opened)
            .bind(at)
            .bind(stored.write(Row::of("packet", opened), &packet)?)
            .bind(column::<Option<String>>(row, "packet", "acked_files", acked)?);
        run(conn, doing, query).await?;
        let revision: i64 = column(row, "entry", "acked_revision", acked)?;
        let query = sqlx::query(OPEN_LANE).bind(opened).bind(dossier_id).bind(revision);
        run(conn, doing, query).await?;
        return Ok(Opening::Entry(opened));
    }
    if column::<i64>(row, "document", "body_kept", dossier_id)? == 0 {
        return Ok(Opening::Skip("document_past_retention"));
    }
    if state.needs_a_person() {
        run(conn, doing, sqlx::query(REOPEN).bind(at).bind(newest_entry)).await?;
        return Ok(Opening::Entry(newest_entry));
    }
    let revision: i64 = column(row, "dossier", "newest_revision_id", dossier_id)?;
    let opened: i64 = sqlx::query_scalar(OPEN)
        .bind(dossier_id)
        .bind(revision)
        .bind(at)
        .bind(rank)
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    run(conn, doing, sqlx::query(POINT_TO).bind(opened).bind(dossier_id)).await?;
    Ok(Opening::Entry(opened))
}

async fn owe_steps(
    conn: &mut SqliteConnection,
    now: Timestamp,
    job: &Job,
    row: &SqliteRow,
    dossier_id: i64,
) -> Result<Opening, LedgerError> {
    let doing = "open items of a job";
    let packet_state: String = column(row, "dossier", "packet_state", dossier_id)?;
    let is_open = column::<Option<i64>>(row, "entry", "open_entry", dossier_id)?.is_some();
    let busy = column::<i64>(row, "dossier", "busy", dossier_id)? != 0;
    if packet_state != "accepted" || is_open || busy {
        // Steps of a dossier whose packet is on its way, or refused, are sent behind the next one.
        return Ok(Opening::Skip(if is_open || busy {
            "on_its_way"
        } else {
            "packet_not_accepted"
        }));
    }
    let supplements = i64::from(job.plan.supplements);
    let gone: i64 = sqlx::query_scalar(STEPS_GONE)
        .bind(dossier_id)
        .bind(supplements)
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    if gone != 0 {
        return Ok(Opening::Skip("steps_past_retention"));
    }
    let query = sqlx::query(OWE_STEPS).bind(now.millis()).bind(dossier_id).bind(supplements);
    let owed = run(conn, doing, query).await?;
    if owed == 0 && column::<i64>(row, "dossier", "steps_pending", dossier_id)? == 0 {
        return Ok(Opening::Skip("no_steps"));
    }
    let query = sqlx::query(OWE_LANE)
        .bind(now.millis())
        .bind(i64::try_from(owed).unwrap_or(i64::MAX))
        .bind(dossier_id)
        .bind(Priority::Backfill.rank());
    run(conn, doing, query).await?;
    Ok(Opening::Steps)
}

const END: &str = "
    UPDATE job_item SET state = ?1, outcome = nullif(j.outcome, ''), changed_at = ?2
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS outcome FROM json_each(?3)) AS j
    WHERE job_item.plan_id = ?4 AND job_item.dossier_id = j.dossier_id
      AND job_item.state IN ('waiting', 'opened', 'sent')";

pub(super) async fn end(
    conn: &mut SqliteConnection,
    now: Timestamp,
    job: &Job,
    state: ItemState,
    ended: &[(i64, String)],
) -> Result<u64, LedgerError> {
    let query = sqlx::query(END)
        .bind(state.as_str())
        .bind(now.millis())
        .bind(json(ended))
        .bind(job.plan.id);
    let count = run(conn, "end items of a job", query).await?;
    if count > 0 {
        progress(conn, now, job.id).await?;
    }
    Ok(count)
}

/// What became of the entries (or steps) of what is opened. One that a newer revision replaced is
/// carried by that one's entry.
const NEWS: &str = "
    SELECT i.dossier_id, i.entry_id, e.state, e.failure_code,
           coalesce(e.superseded_by, d.newest_entry_id) AS successor,
           d.steps_pending, (SELECT coalesce(min(s.failure->>'code'), 'steps.held') FROM step AS s
                             WHERE s.dossier_id = d.id AND s.state = 'held' AND s.changed_at >= i.changed_at) AS held,
           EXISTS (SELECT 1 FROM step AS s WHERE s.dossier_id = d.id AND s.state = 'held'
                   AND s.changed_at >= i.changed_at) AS is_held
    FROM job_item AS i INDEXED BY job_item_by_state CROSS JOIN dossier AS d ON d.id = i.dossier_id
    LEFT JOIN entry AS e ON e.id = i.entry_id
    WHERE i.plan_id = ?1 AND i.state = 'opened'
      AND ((i.entry_id IS NULL AND (d.steps_pending = 0 OR EXISTS (SELECT 1 FROM step AS s
                WHERE s.dossier_id = d.id AND s.state = 'held' AND s.changed_at >= i.changed_at)))
           OR (i.entry_id IS NOT NULL
               AND (e.state IS NULL OR e.state NOT IN ('received', 'ready', 'leased', 'unconfirmed', 'awaiting'))))";

/// dossier, its entry, next state, outcome
pub(super) type Followed = (i64, Option<i64>, &'static str, Option<String>);

pub(super) async fn news(readers: &SqlitePool, job: &Job) -> Result<Vec<Followed>, LedgerError> {
    let rows = sqlx::query(NEWS)
        .bind(job.plan.id)
        .fetch_all(readers)
        .await
        .map_err(|error| failed("follow items of a job", error))?;
    let arrived = if job.canary_passed { ItemState::Confirmed } else { ItemState::Sent };
    rows.iter()
        .map(|row| {
            let dossier_id: i64 = column(row, "job_item", "dossier_id", 0)?;
            let entry: Option<i64> = column(row, "job_item", "entry_id", dossier_id)?;
            let code: Option<String> = column(row, "entry", "failure_code", dossier_id)?;
            let state: Option<String> = column(row, "entry", "state", dossier_id)?;
            let state = state.as_deref().and_then(EntryState::parse);
            let (entry, next, outcome) = match (entry, state) {
                (None, _) if column::<i64>(row, "step", "is_held", dossier_id)? != 0 => {
                    (None, ItemState::Failed, column(row, "step", "held", dossier_id)?)
                }
                // Steps cannot be looked up: their acknowledgement is all there is.
                (None, _) => (None, ItemState::Confirmed, None),
                (entry, Some(EntryState::Accepted)) => (entry, arrived, None),
                (entry, Some(EntryState::Unchanged | EntryState::Presumed)) => {
                    (entry, arrived, None)
                }
                (entry, Some(EntryState::Quarantined | EntryState::Dead)) => {
                    (entry, ItemState::Failed, Some(code.unwrap_or_else(|| "unknown".to_owned())))
                }
                (entry, Some(EntryState::NotOurs)) => {
                    (entry, ItemState::Skipped, Some("never_sent".to_owned()))
                }
                _ => {
                    let successor = column(row, "entry", "successor", dossier_id)?;
                    (successor, ItemState::Opened, None)
                }
            };
            Ok((dossier_id, entry, next.as_str(), outcome))
        })
        .collect()
}

const FOLLOW: &str = "
    UPDATE job_item SET state = j.state, entry_id = j.entry_id, outcome = j.outcome, changed_at = ?1
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS entry_id, value->>2 AS state, value->>3 AS outcome
          FROM json_each(?2)) AS j
    WHERE job_item.plan_id = ?3 AND job_item.dossier_id = j.dossier_id AND job_item.state = 'opened'";

pub(super) async fn follow(
    conn: &mut SqliteConnection,
    now: Timestamp,
    job: &Job,
    found: &[Followed],
) -> Result<u64, LedgerError> {
    let query = sqlx::query(FOLLOW).bind(now.millis()).bind(json(found)).bind(job.plan.id);
    let count = run(conn, "follow items of a job", query).await?;
    progress(conn, now, job.id).await?;
    Ok(count)
}

const TO_VERIFY: &str = "
    SELECT i.dossier_id, d.ma_ho_so, i.changed_at FROM job_item AS i INDEXED BY job_item_by_state
    CROSS JOIN dossier AS d ON d.id = i.dossier_id
    WHERE i.plan_id = ?1 AND i.state = 'sent' ORDER BY i.dossier_id LIMIT 100";

pub(super) async fn to_verify(
    readers: &SqlitePool,
    job: &Job,
) -> Result<Vec<ToVerify>, LedgerError> {
    let rows = sqlx::query(TO_VERIFY)
        .bind(job.plan.id)
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read items of a job", error))?;
    rows.iter()
        .map(|row| {
            let dossier_id: i64 = column(row, "job_item", "dossier_id", 0)?;
            let ma_ho_so = column(row, "dossier", "ma_ho_so", dossier_id)?;
            let since = Timestamp::from_millis(column(row, "job_item", "changed_at", dossier_id)?);
            Ok(ToVerify { dossier_id, ma_ho_so, since })
        })
        .collect()
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    NEXT,
    LISTED,
    JOB_STATE,
    LANE,
    JOIN,
    OPEN,
    REOPEN,
    POINT_TO,
    OPEN_AS_SENT,
    KEEP_PACKET,
    OPEN_LANE,
    STEPS_GONE,
    OWE_STEPS,
    OWE_LANE,
    OPENED,
    SKIPPED,
    END,
    NEWS,
    FOLLOW,
    TO_VERIFY,
];

#[cfg(test)]
mod tests {
    #[test]
    fn each_outcome_of_an_item_is_explained() {
        let text = include_str!("items.rs").split("mod tests").next().unwrap_or_default();
        for part in text.split("Opening::Skip(").skip(1) {
            for code in part.split(')').next().unwrap_or_default().split('"').skip(1).step_by(2) {
                let known = crate::domain::job::SKIPPED.iter().any(|(known, _)| *known == code);
                assert!(known, "{code}");
            }
        }
    }
}
