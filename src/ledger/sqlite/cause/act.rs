//! What people do about a cause. Every act has its audit row, also one that changed nothing.

use sqlx::sqlite::SqliteConnection;

use super::super::super::LedgerError;
use super::super::super::audit::BY_ITSELF;
use super::super::super::cause::{CauseHold, CauseOutcome, FoundAtPortal, NewNote};
use super::super::super::record::AuditRecord;
use super::super::super::view::StepMark;
use super::super::audit::insert_audit;
use super::super::{column, failed, json, json_one, pause, run};
use crate::domain::time::Timestamp;

const DOING: &str = "act on a cause";

const FIND: &str = "SELECT id FROM signature WHERE name = ?1";

const IS_KNOWN: &str = "
    SELECT EXISTS (SELECT 1 FROM signature WHERE name = ?1) OR EXISTS (SELECT 1 FROM dossier WHERE ma_ho_so = ?1)
        OR EXISTS (SELECT 1 FROM problem AS p INDEXED BY problem_by_cause JOIN refused_document AS r ON r.id = p.of_row
                   WHERE p.kind = 'unreadable' AND p.signature_id IS NOT NULL AND r.ma_ho_so = ?1)";

const NOTE: &str = "
    INSERT INTO problem_note (target, at, author, owner, deadline, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

async fn find(conn: &mut SqliteConnection, name: &str) -> Result<Option<i64>, LedgerError> {
    sqlx::query_scalar(FIND)
        .bind(name.to_owned())
        .fetch_optional(conn)
        .await
        .map_err(|error| failed(DOING, error))
}

pub(super) async fn note(
    conn: &mut SqliteConnection,
    now: Timestamp,
    note: &NewNote,
    audit: &AuditRecord,
) -> Result<CauseOutcome, LedgerError> {
    let known: bool = sqlx::query_scalar(IS_KNOWN)
        .bind(audit.target.clone())
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    if !known {
        insert_audit(conn, now, audit, "refused: unknown cause or dossier").await?;
        return Ok(CauseOutcome::Unknown);
    }
    let query = sqlx::query(NOTE)
        .bind(audit.target.clone())
        .bind(now.millis())
        .bind(audit.actor.clone())
        .bind(note.owner.clone())
        .bind(note.deadline.map(Timestamp::millis))
        .bind(audit.reason.clone());
    run(conn, DOING, query).await?;
    insert_audit(conn, now, audit, "noted").await?;
    Ok(CauseOutcome::Done { concerned: 1 })
}

const BEGIN_HOLD: &str = "
    INSERT INTO signature_hold (signature_id, actor, reason, began_at, until) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (signature_id) WHERE ended_at IS NULL
    DO UPDATE SET actor = excluded.actor, reason = excluded.reason, until = excluded.until";

/// What stands in line already; what comes later is judged when it is let in.
const SET_ENTRIES_ASIDE: &str = "
    UPDATE entry SET line = 2 WHERE state = 'ready' AND line = 1
      AND id IN (SELECT p.of_row FROM problem AS p WHERE p.signature_id = ?1 AND p.what = 'entry')";

const SET_STEPS_ASIDE: &str = "
    UPDATE dossier SET steps_line = 2
    WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL AND steps_line = 1
      AND id IN (SELECT p.of_row FROM problem AS p WHERE p.signature_id = ?1 AND p.what = 'steps')";

const OPEN_OF: &str = "SELECT count(*) FROM problem WHERE signature_id = ?1";

pub(super) async fn hold(
    conn: &mut SqliteConnection,
    now: Timestamp,
    until: Option<Timestamp>,
    audit: &AuditRecord,
) -> Result<CauseOutcome, LedgerError> {
    let Some(id) = find(conn, &audit.target).await? else {
        insert_audit(conn, now, audit, "refused: unknown cause").await?;
        return Ok(CauseOutcome::Unknown);
    };
    let query = sqlx::query(BEGIN_HOLD)
        .bind(id)
        .bind(audit.actor.clone())
        .bind(audit.reason.clone())
        .bind(now.millis())
        .bind(until.map(Timestamp::millis));
    run(conn, DOING, query).await?;
    for statement in [SET_ENTRIES_ASIDE, SET_STEPS_ASIDE] {
        run(conn, DOING, sqlx::query(statement).bind(id)).await?;
    }
    let open: i64 = sqlx::query_scalar(OPEN_OF)
        .bind(id)
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    let concerned = u64::try_from(open).unwrap_or(0);
    let until = until
        .map_or_else(|| "until somebody releases it".to_owned(), |until| format!("until {until}"));
    insert_audit(conn, now, audit, &format!("{concerned} held {until}")).await?;
    Ok(CauseOutcome::Done { concerned })
}

const HOLD: &str = "
    SELECT h.actor, h.reason, h.began_at, h.until FROM signature AS s
    JOIN signature_hold AS h ON h.signature_id = s.id AND h.ended_at IS NULL WHERE s.name = ?1";

/// Who holds a cause.
pub(in super::super) async fn held_by(
    conn: &mut SqliteConnection,
    name: &str,
) -> Result<Option<CauseHold>, LedgerError> {
    let row = sqlx::query(HOLD)
        .bind(name.to_owned())
        .fetch_optional(conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    row.map(|row| {
        Ok(CauseHold {
            by: column(&row, "signature_hold", "actor", 0)?,
            reason: column(&row, "signature_hold", "reason", 0)?,
            since: Timestamp::from_millis(column(&row, "signature_hold", "began_at", 0)?),
            until: column::<Option<i64>>(&row, "signature_hold", "until", 0)?
                .map(Timestamp::from_millis),
        })
    })
    .transpose()
}

const END_HOLD: &str =
    "UPDATE signature_hold SET ended_at = ?1 WHERE signature_id = ?2 AND ended_at IS NULL";

pub(super) async fn release(
    conn: &mut SqliteConnection,
    now: Timestamp,
    audit: &AuditRecord,
) -> Result<CauseOutcome, LedgerError> {
    let Some(id) = find(conn, &audit.target).await? else {
        insert_audit(conn, now, audit, "refused: unknown cause").await?;
        return Ok(CauseOutcome::Unknown);
    };
    let ended = run(conn, DOING, sqlx::query(END_HOLD).bind(now.millis()).bind(id)).await?;
    if ended > 0 {
        pause::let_back(conn).await?;
    }
    let resumed = pause::resume_of(conn, now, &audit.target, audit).await?;
    if ended == 0 && resumed.is_empty() {
        insert_audit(conn, now, audit, "was not held").await?;
        return Ok(CauseOutcome::AlreadySo);
    }
    let parts: Vec<String> = std::iter::once("released".to_owned())
        .chain(resumed.iter().map(|scope| format!("sending of {scope} goes on")))
        .collect();
    let result = parts.join("; ");
    insert_audit(conn, now, audit, &result).await?;
    Ok(CauseOutcome::Done { concerned: ended + resumed.len() as u64 })
}

const OVER: &str = "
    SELECT h.signature_id, s.name FROM signature_hold AS h JOIN signature AS s ON s.id = h.signature_id
    WHERE h.ended_at IS NULL AND h.until <= ?1";

/// Ends holds whose time is over, each with an audit row.
pub(in super::super) async fn end_holds(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let over: Vec<(i64, String)> = sqlx::query_as(OVER)
        .bind(now.millis())
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    for (id, name) in over {
        run(conn, DOING, sqlx::query(END_HOLD).bind(now.millis()).bind(id)).await?;
        pause::let_back(conn).await?;
        let reason = "the time of the hold is over";
        let audit = AuditRecord::new(BY_ITSELF, "problems release", &name, reason);
        insert_audit(conn, now, &audit, "released").await?;
    }
    Ok(())
}

const STEPS_OF_CAUSE: &str = "
    SELECT p.of_row, p.part FROM problem AS p JOIN signature AS s ON s.id = p.signature_id
    WHERE s.name = ?1 AND p.what = 'step'";

const STEPS_OF_DOSSIER: &str = "
    SELECT p.of_row, p.part FROM dossier AS d JOIN problem AS p ON p.dossier_id = d.id
    WHERE d.ma_ho_so = ?1 AND p.what = 'step' AND (?2 IS NULL OR p.part = ?2)";

/// The failure stays: it says why nobody but a person can know.
const MARK: &str = "
    UPDATE step SET state = 'presumed_sent', changed_at = ?1, marked = ?2
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS part FROM json_each(?3)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.state = 'held'
      AND step.thoi_diem || '/' || step.trang_thai || '/' || step.ordinal = j.part";

pub(super) async fn mark_sent(
    conn: &mut SqliteConnection,
    now: Timestamp,
    found: &FoundAtPortal,
    audit: &AuditRecord,
) -> Result<CauseOutcome, LedgerError> {
    let query = match found {
        FoundAtPortal::Cause(name) => sqlx::query_as(STEPS_OF_CAUSE).bind(name.clone()),
        FoundAtPortal::Dossier { ma_ho_so, step } => {
            sqlx::query_as(STEPS_OF_DOSSIER).bind(ma_ho_so.clone()).bind(step.as_deref().map(part))
        }
    };
    let steps: Vec<(i64, String)> =
        query.fetch_all(&mut *conn).await.map_err(|error| failed(DOING, error))?;
    if steps.is_empty() {
        insert_audit(conn, now, audit, "refused: no such held step").await?;
        return Ok(CauseOutcome::Unknown);
    }
    let word = StepMark { by: audit.actor.clone(), at: now, reason: audit.reason.clone() };
    let query = sqlx::query(MARK).bind(now.millis()).bind(json_one(&word)).bind(json(&steps));
    let concerned = run(conn, DOING, query).await?;
    let result = format!("{concerned} held steps marked as sent by a person's word");
    insert_audit(conn, now, audit, &result).await?;
    Ok(CauseOutcome::Done { concerned })
}

/// As people see a step, `20260126083000/5#2`, to how the table names it.
fn part(step: &str) -> String {
    match step.split_once('#') {
        Some((step, place)) => {
            let ordinal = place.parse::<u32>().map_or(0, |place| place.saturating_sub(1));
            format!("{step}/{ordinal}")
        }
        None => format!("{step}/0"),
    }
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    FIND,
    IS_KNOWN,
    NOTE,
    BEGIN_HOLD,
    SET_ENTRIES_ASIDE,
    SET_STEPS_ASIDE,
    OPEN_OF,
    HOLD,
    END_HOLD,
    OVER,
    STEPS_OF_CAUSE,
    STEPS_OF_DOSSIER,
    MARK,
];
