//! What operators have paused, and what the gate's owner notes for others.

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::LedgerError;
use super::super::audit::BY_ITSELF;
use super::super::record::{AuditRecord, GateNote, Orders, PauseScope, Resumed, SendingPause};
use super::audit::insert_audit;
use super::probe::Probed;
use super::{column, failed, run};
use crate::domain::time::Timestamp;

const OPEN: &str = "
    SELECT p.id, p.scope, p.value, p.actor, p.reason, p.began_at, p.until,
           (SELECT s.name FROM signature AS s WHERE s.id = p.signature_id) AS cause
    FROM sending_pause AS p WHERE p.ended_at IS NULL ORDER BY p.scope, p.value";

const BEGIN: &str = "
    INSERT INTO sending_pause (scope, value, actor, reason, began_at, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (scope, value) WHERE ended_at IS NULL
    DO UPDATE SET actor = excluded.actor, reason = excluded.reason, until = excluded.until, signature_id = NULL,
                  probe_entry = NULL";

const END: &str = "
    UPDATE sending_pause SET ended_at = ?1 WHERE scope = ?2 AND value = ?3 AND ended_at IS NULL";

/// What stands in line already; what comes later is judged when it is let in.
const SET_ENTRIES_ASIDE: &str = "
    UPDATE entry SET line = 2 WHERE state = 'ready' AND line = 1
      AND EXISTS (SELECT 1 FROM dossier AS d WHERE d.id = entry.dossier_id
                  AND ((?1 = 'procedure' AND d.ma_tthc = ?2) OR (?1 = 'agency' AND d.ma_don_vi = ?2)))";

const SET_STEPS_ASIDE: &str = "
    UPDATE dossier SET steps_line = 2
    WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL AND steps_line = 1
      AND ((?1 = 'procedure' AND ma_tthc = ?2) OR (?1 = 'agency' AND ma_don_vi = ?2))";

/// All of them: what another pause still covers is set aside again when it is let in.
const LET_ENTRIES_BACK: &str = "UPDATE entry SET line = 0 WHERE state = 'ready' AND line = 2";

const LET_STEPS_BACK: &str = "UPDATE dossier SET steps_line = 0 WHERE steps_line = 2";

const URGENT_WAITS: &str = "
    SELECT EXISTS (SELECT 1 FROM entry WHERE state = 'ready' AND line = 1 AND priority = 0)
        OR EXISTS (SELECT 1 FROM entry WHERE state = 'ready' AND line = 0 AND due_at <= ?1 AND priority = 0)
        OR EXISTS (SELECT 1 FROM dossier WHERE steps_pending > 0 AND packet_state = 'accepted'
                   AND lane_token IS NULL AND steps_line = 1 AND priority = 0)";

pub(super) async fn pause(
    conn: &mut SqliteConnection,
    now: Timestamp,
    scope: &PauseScope,
    until: Option<Timestamp>,
    audit: &AuditRecord,
) -> Result<(), LedgerError> {
    let doing = "pause sending";
    let query = sqlx::query(BEGIN)
        .bind(scope.name())
        .bind(scope.value().to_owned())
        .bind(audit.actor.clone())
        .bind(audit.reason.clone())
        .bind(now.millis())
        .bind(until.map(Timestamp::millis));
    run(conn, doing, query).await?;
    for statement in [SET_ENTRIES_ASIDE, SET_STEPS_ASIDE] {
        let query = sqlx::query(statement).bind(scope.name()).bind(scope.value().to_owned());
        run(conn, doing, query).await?;
    }
    let result = until.map_or_else(
        || "paused until somebody resumes it".to_owned(),
        |until| format!("paused until {until}"),
    );
    insert_audit(conn, now, audit, &result).await
}

pub(super) async fn resume(
    conn: &mut SqliteConnection,
    now: Timestamp,
    scope: &PauseScope,
    audit: &AuditRecord,
) -> Result<Resumed, LedgerError> {
    let ended = end(conn, now, scope).await?;
    let result = if ended { "resumed" } else { "was not paused" };
    insert_audit(conn, now, audit, result).await?;
    Ok(Resumed { ended, still: open(conn).await? })
}

async fn end(
    conn: &mut SqliteConnection,
    now: Timestamp,
    scope: &PauseScope,
) -> Result<bool, LedgerError> {
    let doing = "resume sending";
    let query =
        sqlx::query(END).bind(now.millis()).bind(scope.name()).bind(scope.value().to_owned());
    let ended = run(conn, doing, query).await? > 0;
    if ended && *scope != PauseScope::All {
        let_back(conn).await?;
    }
    Ok(ended)
}

/// What was set aside comes to be judged anew.
pub(super) async fn let_back(conn: &mut SqliteConnection) -> Result<(), LedgerError> {
    for statement in [LET_ENTRIES_BACK, LET_STEPS_BACK] {
        run(conn, "resume sending", sqlx::query(statement)).await?;
    }
    Ok(())
}

const BECAUSE_OF: &str = "
    UPDATE sending_pause SET signature_id = (SELECT s.id FROM signature AS s WHERE s.name = ?3)
    WHERE scope = ?1 AND value = ?2 AND ended_at IS NULL";

/// Remembers the cause of a pause that the gateway began by itself.
pub(super) async fn because_of(
    conn: &mut SqliteConnection,
    scope: &PauseScope,
    cause: &str,
) -> Result<(), LedgerError> {
    let query = sqlx::query(BECAUSE_OF)
        .bind(scope.name())
        .bind(scope.value().to_owned())
        .bind(cause.to_owned());
    run(conn, "pause sending", query).await.map(|_| ())
}

/// Ends the pauses that the gateway began because of this cause, by somebody's word.
pub(super) async fn resume_of(
    conn: &mut SqliteConnection,
    now: Timestamp,
    cause: &str,
    audit: &AuditRecord,
) -> Result<Vec<PauseScope>, LedgerError> {
    let mut resumed = Vec::new();
    for pause in open(conn).await? {
        if pause.cause.as_deref() == Some(cause) {
            end(conn, now, &pause.scope).await?;
            let audit = AuditRecord {
                action: "portal resume".to_owned(),
                target: pause.scope.to_string(),
                ..audit.clone()
            };
            insert_audit(conn, now, &audit, "resumed").await?;
            resumed.push(pause.scope);
        }
    }
    Ok(resumed)
}

/// The pauses that hold now, after those whose time is over were ended, each with an audit row.
pub(super) async fn in_force(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<SendingPause>, LedgerError> {
    let pauses = open(conn).await?;
    let (over, mut holding): (Vec<SendingPause>, Vec<SendingPause>) =
        pauses.into_iter().partition(|pause| pause.until.is_some_and(|until| until <= now));
    for pause in over {
        let why = if pause.cause.is_some() {
            match super::probe::probe(conn, now, &pause).await? {
                Probed::Over(why) => why,
                Probed::Holds => {
                    holding.push(pause);
                    continue;
                }
            }
        } else {
            "the time of the pause is over"
        };
        end(conn, now, &pause.scope).await?;
        let audit = AuditRecord::new(BY_ITSELF, "portal resume", &pause.scope.to_string(), why);
        insert_audit(conn, now, &audit, "resumed").await?;
    }
    Ok(holding)
}

/// Reads only; a pause whose time is over is left out, whoever ends it.
pub(super) async fn orders(readers: &SqlitePool, now: Timestamp) -> Result<Orders, LedgerError> {
    let doing = "read what operators want";
    let mut conn = readers.acquire().await.map_err(|error| failed(doing, error))?;
    let mut pauses = open(&mut conn).await?;
    pauses.retain(|pause| pause.until.is_none_or(|until| until > now));
    let urgent_waits: bool = sqlx::query_scalar(URGENT_WAITS)
        .bind(now.millis())
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let jobs_wait = super::jobs::wait(&mut conn).await?;
    Ok(Orders { pauses, urgent_waits, jobs_wait })
}

pub(super) async fn open(conn: &mut SqliteConnection) -> Result<Vec<SendingPause>, LedgerError> {
    let rows = sqlx::query(OPEN)
        .fetch_all(conn)
        .await
        .map_err(|error| failed("read what operators want", error))?;
    rows.iter().map(pause_row).collect()
}

fn pause_row(row: &SqliteRow) -> Result<SendingPause, LedgerError> {
    let id: i64 = column(row, "sending_pause", "id", 0)?;
    let scope: String = column(row, "sending_pause", "scope", id)?;
    let value: String = column(row, "sending_pause", "value", id)?;
    Ok(SendingPause {
        scope: PauseScope::parse(&scope, value).ok_or(LedgerError::Corrupt {
            table: "sending_pause",
            column: "scope",
            row: id,
        })?,
        actor: column(row, "sending_pause", "actor", id)?,
        reason: column(row, "sending_pause", "reason", id)?,
        began_at: Timestamp::from_millis(column(row, "sending_pause", "began_at", id)?),
        until: column::<Option<i64>>(row, "sending_pause", "until", id)?
            .map(Timestamp::from_millis),
        cause: column(row, "sending_pause", "cause", id)?,
    })
}

const NOTE: &str = "
    INSERT INTO gate_note (name, at, body) VALUES (?1, ?2, ?3)
    ON CONFLICT (name) DO UPDATE SET at = excluded.at, body = excluded.body";

const NOTED: &str = "SELECT at, body FROM gate_note WHERE name = ?1";

pub(super) async fn note(
    conn: &mut SqliteConnection,
    now: Timestamp,
    note: GateNote,
    body: &str,
) -> Result<(), LedgerError> {
    let query = sqlx::query(NOTE).bind(note.name()).bind(now.millis()).bind(body.to_owned());
    run(conn, "note the gate's state", query).await.map(|_| ())
}

pub(super) async fn noted(
    readers: &SqlitePool,
    note: GateNote,
) -> Result<Option<(Timestamp, String)>, LedgerError> {
    let row = sqlx::query(NOTED)
        .bind(note.name())
        .fetch_optional(readers)
        .await
        .map_err(|error| failed("read the gate's state", error))?;
    row.map(|row| {
        let at: i64 = column(&row, "gate_note", "at", 0)?;
        Ok((Timestamp::from_millis(at), column(&row, "gate_note", "body", 0)?))
    })
    .transpose()
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    OPEN,
    BEGIN,
    END,
    SET_ENTRIES_ASIDE,
    SET_STEPS_ASIDE,
    LET_ENTRIES_BACK,
    LET_STEPS_BACK,
    URGENT_WAITS,
    BECAUSE_OF,
    NOTE,
    NOTED,
];
