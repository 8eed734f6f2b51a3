//! Attempts: what each call meant for one dossier.
//!
//! The attempts of a dossier are a chain: each names the one before it, and the dossier names the
//! last. New ones are so written at the end of their table, whatever dossiers they are about, and
//! fifty million kept ones cost a call nothing. Those from before migration 21 name none and are
//! found by an index.
//!
//! A chain ends where retention took the rest, and every walk asks that the one before is older and
//! of the same dossier: an id may be given again after the newest attempts of all were deleted.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::SqliteConnection;

use super::super::LedgerError;
use super::{failed, json, run};
use crate::domain::time::Timestamp;

const LAST: &str = "SELECT coalesce(max(id), 0) FROM attempt";

const LAST_OF_EACH: &str = "
    SELECT d.id, d.last_attempt_id FROM json_each(?1) AS j CROSS JOIN dossier AS d ON d.id = j.value";

const INSERT: &str = "
    INSERT INTO attempt (id, previous_id, dossier_id, entry_id, call_id, kind, number, at, outcome, failure_code, detail,
                         mapping_version)
    SELECT value->>0, value->>1, value->>'$[2][0]', value->>'$[2][1]', value->>'$[2][2]', value->>'$[2][3]',
           coalesce(value->>'$[2][4]', (SELECT max(attempts) FROM step WHERE dossier_id = value->>'$[2][0]'), 0),
           ?1, value->>'$[2][5]', value->>'$[2][6]', value->>'$[2][7]',
           (SELECT e.mapping_version FROM entry AS e
            WHERE e.id = coalesce(value->>'$[2][1]',
                                  (SELECT d.newest_entry_id FROM dossier AS d WHERE d.id = value->>'$[2][0]')))
    FROM json_each(?2)";

const POINT_TO_LAST: &str = "
    UPDATE dossier SET last_attempt_id = j.last
    FROM (SELECT value->>0 AS id, value->>1 AS last FROM json_each(?1)) AS j WHERE dossier.id = j.id";

/// All of one dossier, in their order.
pub(super) const OF_DOSSIER: &str = "
    WITH RECURSIVE chain (id, previous_id) AS (
        SELECT a.id, a.previous_id FROM dossier AS d CROSS JOIN attempt AS a ON a.id = d.last_attempt_id
        WHERE d.id = ?1 AND a.dossier_id = ?1
        UNION ALL
        SELECT a.id, a.previous_id FROM chain AS c CROSS JOIN attempt AS a ON a.id = c.previous_id
        WHERE a.dossier_id = ?1 AND a.id < c.id),
    known (id) AS (
        SELECT id FROM chain UNION SELECT id FROM attempt WHERE dossier_id = ?1 AND previous_id IS NULL)
    SELECT a.entry_id, a.kind, a.number, a.at, a.outcome, a.failure_code, a.detail, c.service, c.duration_ms, c.items,
           c.http_status, c.error_code, c.message, c.correlation_id, lower(hex(c.body_hash)) AS body_hash
    FROM known AS k CROSS JOIN attempt AS a ON a.id = k.id LEFT JOIN call AS c ON c.id = a.call_id ORDER BY a.id";

/// dossier, entry, call, kind, number (`None` for steps: of the step that was sent most often),
/// outcome, failure code, detail
pub(super) type AttemptRow<'a> = (
    i64,
    Option<i64>,
    Option<i64>,
    &'static str,
    Option<u32>,
    &'static str,
    Option<&'a str>,
    Option<String>,
);

pub(super) async fn insert(
    conn: &mut SqliteConnection,
    doing: &'static str,
    now: Timestamp,
    attempts: &[AttemptRow<'_>],
) -> Result<(), LedgerError> {
    if attempts.is_empty() {
        return Ok(());
    }
    let dossiers: BTreeSet<i64> = attempts.iter().map(|attempt| attempt.0).collect();
    let dossiers: Vec<i64> = dossiers.into_iter().collect();
    let last: i64 = sqlx::query_scalar(LAST)
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let last_of_each: Vec<(i64, i64)> = sqlx::query_as(LAST_OF_EACH)
        .bind(json(&dossiers))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let mut last_of_each: BTreeMap<i64, i64> = last_of_each.into_iter().collect();
    let rows: Vec<(i64, i64, &AttemptRow<'_>)> = (last + 1..)
        .zip(attempts)
        .map(|(id, attempt)| {
            let before = last_of_each.insert(attempt.0, id).filter(|before| *before < id);
            (id, before.unwrap_or(0), attempt)
        })
        .collect();
    run(conn, doing, sqlx::query(INSERT).bind(now.millis()).bind(json(&rows))).await?;
    let last_of_each: Vec<(i64, i64)> = last_of_each.into_iter().collect();
    run(conn, doing, sqlx::query(POINT_TO_LAST).bind(json(&last_of_each))).await.map(|_| ())
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[LAST, LAST_OF_EACH, INSERT, POINT_TO_LAST, OF_DOSSIER];
