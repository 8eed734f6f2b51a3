//! Reading for monitoring, and what the gate's owner tells it: from small indexes only.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::LedgerError;
use super::super::view::{BooksStanding, Health, InForce, Lag, Pause, Waiting};
use super::standing::{GATE_OWNER, REFUSED_DOCUMENTS, count, rows, sources};
use super::view::required_time;
use super::{column, envelope, failed, json_one, run, unreadable};
use crate::domain::time::Timestamp;

const DOING: &str = "read for monitoring";

/// How many, and the lags of the nearest ranks. Sorted once: a temporary table keeps the order in which
/// it was filled.
const LAG: &str = "
    WITH recent AS MATERIALIZED (
        SELECT synchronised_lag_ms AS lag FROM dossier
        WHERE synchronised_lag_ms IS NOT NULL AND synchronised_at >= ?1 ORDER BY synchronised_lag_ms)
    SELECT (SELECT count(*) FROM recent) AS n,
           (SELECT lag FROM recent
            LIMIT 1 OFFSET (SELECT max(0, (count(*) * 50 + 99) / 100 - 1) FROM recent)) AS p50,
           (SELECT lag FROM recent
            LIMIT 1 OFFSET (SELECT max(0, (count(*) * 95 + 99) / 100 - 1) FROM recent)) AS p95,
           (SELECT lag FROM recent
            LIMIT 1 OFFSET (SELECT max(0, (count(*) * 99 + 99) / 100 - 1) FROM recent)) AS p99";

/// What is on its way, not what waits for a person; of what awaits adoption, the changes that wait
/// for its answer.
pub(super) const OLDEST_OPEN: &str = "
    SELECT min(oldest) FROM (
        SELECT min(created_at) AS oldest FROM entry
        WHERE state IN ('received', 'ready', 'leased', 'unconfirmed')
        UNION ALL SELECT min(created_at) FROM entry WHERE state = 'awaiting' AND priority <= 2)";

const OLDEST_OWING: &str =
    "SELECT min(acked_at) FROM dossier WHERE steps_pending > 0 AND packet_state = 'accepted'";

const NEED_A_PERSON: &str = "
    SELECT (SELECT count(*) FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id AND d.newest_entry_id = e.id
            WHERE e.state IN ('quarantined', 'dead'))
         + (SELECT count(*) FROM step WHERE state = 'held')";

const BOOKS: &str = "
    SELECT source, ended_at, closed, books->>'unbalanced' AS unbalanced FROM reconciliation
    WHERE id IN (SELECT max(id) FROM reconciliation GROUP BY source) ORDER BY source";

const IN_FORCE: &str =
    "SELECT holder, hash, since, mapping_version, program_version FROM in_force WHERE id = 1";

const PAUSE: &str = "SELECT since, failure FROM pause WHERE id = 1";

/// A count that nobody reads to the last digit ends early.
const DUE: &str = "
    SELECT (SELECT count(*) FROM (SELECT 1 FROM entry WHERE state = 'ready' AND line = 0
                AND priority IN (0, 1, 2, 3, 4) AND due_at <= ?1 LIMIT 10000))
         + (SELECT count(*) FROM (SELECT 1 FROM entry WHERE state = 'ready' AND line = 1
                AND priority IN (0, 1, 2, 3, 4) LIMIT 10000))
         + (SELECT count(*) FROM (SELECT 1 FROM dossier WHERE steps_pending > 0 AND packet_state = 'accepted'
                AND lane_token IS NULL AND steps_line = 0
                AND priority IN (0, 1, 2, 3, 4) AND steps_due_at <= ?1 LIMIT 10000))
         + (SELECT count(*) FROM (SELECT 1 FROM dossier WHERE steps_pending > 0 AND packet_state = 'accepted'
                AND lane_token IS NULL AND steps_line = 1 AND priority IN (0, 1, 2, 3, 4) LIMIT 10000))";

const RECORD_IN_FORCE: &str = "
    INSERT OR REPLACE INTO in_force (id, holder, hash, since, mapping_version, program_version)
    VALUES (1, ?1, ?2, ?3, ?4, ?5)";

const RECORD_PAUSE: &str = "INSERT OR REPLACE INTO pause (id, since, failure) VALUES (1, ?1, ?2)";

const END_PAUSE: &str = "DELETE FROM pause";

pub(super) async fn health(
    readers: &SqlitePool,
    now: Timestamp,
    lag_since: Timestamp,
) -> Result<Health, LedgerError> {
    // One snapshot, so that the parts agree with one another.
    let mut snapshot = readers.begin().await.map_err(|error| failed(DOING, error))?;
    let conn = &mut *snapshot;
    let lag = sqlx::query(LAG)
        .bind(lag_since.millis())
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    let hundredth = |name| -> Result<Option<u64>, LedgerError> {
        let ms: Option<i64> = column(&lag, "dossier", name, 0)?;
        Ok(ms.map(|ms| u64::try_from(ms).unwrap_or(0)))
    };
    let count_of_lag: i64 = column(&lag, "dossier", "n", 0)?;
    Ok(Health {
        lag: Lag {
            dossiers: u64::try_from(count_of_lag).unwrap_or(0),
            p50_ms: hundredth("p50")?,
            p95_ms: hundredth("p95")?,
            p99_ms: hundredth("p99")?,
        },
        oldest_unsynchronised_at: oldest(conn).await?,
        problems: count(conn, NEED_A_PERSON).await? + count(conn, REFUSED_DOCUMENTS).await?,
        sources: sources(conn).await?,
        books: books(conn).await?,
        gate_owner: gate_owner(conn, now).await?,
        in_force: in_force(conn).await?,
        pause: pause(conn).await?,
    })
}

async fn books(conn: &mut SqliteConnection) -> Result<Vec<BooksStanding>, LedgerError> {
    let mut books = Vec::new();
    for row in rows(conn, BOOKS).await? {
        books.push(BooksStanding {
            source: column(&row, "reconciliation", "source", 0)?,
            ended_at: required_time(&row, "reconciliation", "ended_at", 0)?,
            closed: column::<i64>(&row, "reconciliation", "closed", 0)? != 0,
            unbalanced: column::<Option<String>>(&row, "reconciliation", "unbalanced", 0)?
                .and_then(|names| serde_json::from_str(&names).ok())
                .unwrap_or_default(),
        });
    }
    Ok(books)
}

async fn gate_owner(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Option<String>, LedgerError> {
    sqlx::query_scalar(GATE_OWNER)
        .bind(now.millis())
        .fetch_optional(conn)
        .await
        .map_err(|error| failed(DOING, error))
}

async fn oldest(conn: &mut SqliteConnection) -> Result<Option<Timestamp>, LedgerError> {
    let mut oldest: Option<i64> = None;
    for statement in [OLDEST_OPEN, OLDEST_OWING] {
        let found: Option<i64> = sqlx::query_scalar(statement)
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| failed(DOING, error))?;
        oldest = [oldest, found].into_iter().flatten().min();
    }
    Ok(oldest.map(Timestamp::from_millis))
}

pub(super) async fn in_force(conn: &mut SqliteConnection) -> Result<Option<InForce>, LedgerError> {
    let row =
        sqlx::query(IN_FORCE).fetch_optional(conn).await.map_err(|error| failed(DOING, error))?;
    row.map(|row| {
        Ok(InForce {
            holder: column(&row, "in_force", "holder", 1)?,
            hash: column(&row, "in_force", "hash", 1)?,
            since: required_time(&row, "in_force", "since", 1)?,
            mapping_version: column(&row, "in_force", "mapping_version", 1)?,
            program_version: column(&row, "in_force", "program_version", 1)?,
        })
    })
    .transpose()
}

pub(super) async fn pause(conn: &mut SqliteConnection) -> Result<Option<Pause>, LedgerError> {
    let row =
        sqlx::query(PAUSE).fetch_optional(conn).await.map_err(|error| failed(DOING, error))?;
    let Some(row) = row else {
        return Ok(None);
    };
    let since = required_time(&row, "pause", "since", 1)?;
    // That nothing is sent must be known even if the reason cannot be read back.
    let failure = envelope(column(&row, "pause", "failure", 1)?, "pause", "failure", 1)
        .ok()
        .flatten()
        .unwrap_or_else(|| unreadable("the stored failure cannot be read back"));
    Ok(Some(Pause { since, failure }))
}

pub(super) async fn waiting(readers: &SqlitePool, now: Timestamp) -> Result<Waiting, LedgerError> {
    let mut snapshot = readers.begin().await.map_err(|error| failed(DOING, error))?;
    let conn = &mut *snapshot;
    let due = sqlx::query(DUE)
        .bind(now.millis())
        .fetch_one(&mut *conn)
        .await
        .and_then(|row| row.try_get::<i64, _>(0))
        .map_err(|error| failed(DOING, error))?;
    Ok(Waiting {
        due: u64::try_from(due).unwrap_or(0),
        oldest_at: oldest(conn).await?,
        books: books(conn).await?,
        gate_owner: gate_owner(conn, now).await?,
        pause: pause(conn).await?,
    })
}

pub(super) async fn record_in_force(
    conn: &mut SqliteConnection,
    in_force: &InForce,
) -> Result<(), LedgerError> {
    let query = sqlx::query(RECORD_IN_FORCE)
        .bind(in_force.holder.clone())
        .bind(in_force.hash.clone())
        .bind(in_force.since.millis())
        .bind(in_force.mapping_version.clone())
        .bind(in_force.program_version.clone());
    run(conn, "record the configuration", query).await.map(|_| ())
}

pub(super) async fn record_pause(
    conn: &mut SqliteConnection,
    pause: Option<&Pause>,
) -> Result<(), LedgerError> {
    let query = match pause {
        Some(pause) => {
            sqlx::query(RECORD_PAUSE).bind(pause.since.millis()).bind(json_one(&pause.failure))
        }
        None => sqlx::query(END_PAUSE),
    };
    run(conn, "record a pause", query).await.map(|_| ())
}

/// Every statement of this file; a test prepares them against the schema, and finds that none reads
/// a whole table.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    LAG,
    OLDEST_OPEN,
    OLDEST_OWING,
    NEED_A_PERSON,
    BOOKS,
    IN_FORCE,
    PAUSE,
    DUE,
    RECORD_IN_FORCE,
    RECORD_PAUSE,
    END_PAUSE,
];
