//! The line before the gate, for people: what waits in each class, and what was refused.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::LedgerError;
use super::super::view::{Refusal, WaitingWork};
use super::{column, failed};
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;

const DOING: &str = "read for a person";

/// Class, kind of waiting, how many. What is due and was not let in yet counts as due.
const WAITING: &str = "
    SELECT priority, CASE WHEN line = 2 THEN 'set_aside' WHEN due_at <= ?1 THEN 'packets' ELSE 'later' END AS kind,
           count(*) AS n
    FROM entry WHERE state = 'ready' GROUP BY priority, kind
    UNION ALL
    SELECT priority, CASE WHEN steps_line = 2 THEN 'set_aside' WHEN steps_due_at <= ?1 THEN 'steps' ELSE 'later' END,
           count(*)
    FROM dossier WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL GROUP BY 1, 2";

const SET_ASIDE: &str = "
    SELECT (SELECT count(*) FROM entry WHERE state = 'ready' AND line = 2)
         + (SELECT count(*) FROM dossier WHERE steps_line = 2)";

const REFUSALS: &str = "
    SELECT started_at, service, http_status, message FROM call
    WHERE started_at >= ?1 AND outcome = 'throttled' ORDER BY started_at DESC LIMIT +?2";

pub(super) async fn waiting(
    readers: &SqlitePool,
    now: Timestamp,
) -> Result<BTreeMap<Priority, WaitingWork>, LedgerError> {
    let rows = sqlx::query(WAITING)
        .bind(now.millis())
        .fetch_all(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    let mut waiting: BTreeMap<Priority, WaitingWork> = BTreeMap::new();
    for row in &rows {
        let rank = column(row, "entry", "priority", 0)?;
        let class = Priority::from_rank(rank).ok_or(LedgerError::Corrupt {
            table: "entry",
            column: "priority",
            row: 0,
        })?;
        let work = waiting.entry(class).or_default();
        let n = u64::try_from(column::<i64>(row, "entry", "n", 0)?).unwrap_or(0);
        match column::<&str>(row, "entry", "kind", 0)? {
            "packets" => work.packets += n,
            "steps" => work.steps += n,
            "set_aside" => work.set_aside += n,
            _ => work.later += n,
        }
    }
    Ok(waiting)
}

pub(super) async fn set_aside(conn: &mut SqliteConnection) -> Result<u64, LedgerError> {
    let count: i64 = sqlx::query_scalar(SET_ASIDE)
        .fetch_one(conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(super) async fn refusals(
    readers: &SqlitePool,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<Refusal>, LedgerError> {
    let rows = sqlx::query(REFUSALS)
        .bind(since.millis())
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    rows.iter()
        .map(|row| {
            Ok(Refusal {
                at: Timestamp::from_millis(column(row, "call", "started_at", 0)?),
                service: column(row, "call", "service", 0)?,
                http_status: column(row, "call", "http_status", 0)?,
                message: column(row, "call", "message", 0)?,
            })
        })
        .collect()
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[WAITING, SET_ASIDE, REFUSALS];
