//! Calls: what each unit of the quota bought, and how many there were.
//!
//! At fifty calls a second a day has four million. So they are tallied by slices of five minutes in
//! the transaction that writes them, and whoever counts reads calls for the broken slice at the
//! beginning of its time only.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::LedgerError;
use super::super::record::{CallRecord, CatalogueSpending};
use super::super::view::CallTotals;
use super::{column, failed, hex, json, run};
use crate::domain::time::Timestamp;

const LAST: &str = "SELECT coalesce(max(id), 0) FROM call";

const INSERT: &str = "
    INSERT INTO call (id, service, priority, started_at, duration_ms, items, sent_bytes, answer_bytes,
                      http_status, error_code, message, outcome, body_hash, correlation_id)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7,
           value->>8, value->>9, value->>10, value->>11, unhex(value->>12), value->>13
    FROM json_each(?1)";

/// Length of a slice, as in migration 21.
const SLICE_MS: i64 = 300_000;

const TALLY: &str = "
    INSERT INTO call_tally (slice, service, outcome, calls, items)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each(?1) WHERE true
    ON CONFLICT (slice, service, outcome) DO UPDATE SET calls = calls + excluded.calls, items = items + excluded.items";

/// Slices are kept for as long as anybody asks for: what catalogues may cost is counted over a quarter.
const KEPT_MS: i64 = 100 * 24 * 3600 * 1000;
/// They go a day at a time.
const DAY_MS: i64 = 24 * 3600 * 1000;

const KEEP_FROM: &str = "UPDATE call_tally_since SET at = ?1 WHERE at <= ?1 - ?2";

const DROP_SLICES: &str = "DELETE FROM call_tally WHERE slice < ?1";

/// Since `?1`; `?2` is the first whole slice behind it.
const TOTALS: &str = "
    SELECT service, outcome, sum(n) AS n, sum(m) AS items FROM (
        SELECT service, outcome, count(*) AS n, sum(items) AS m FROM call
        WHERE started_at >= ?1 AND started_at < max(?2, (SELECT at FROM call_tally_since)) GROUP BY service, outcome
        UNION ALL
        SELECT service, outcome, calls, items FROM call_tally
        WHERE slice >= max(?2, (SELECT at FROM call_tally_since)))
    GROUP BY service, outcome";

/// Returns the id that the first of them got.
pub(super) async fn insert(
    conn: &mut SqliteConnection,
    calls: &[CallRecord],
) -> Result<i64, LedgerError> {
    let doing = "settle calls";
    let last: i64 = sqlx::query_scalar(LAST)
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    if calls.is_empty() {
        return Ok(last + 1);
    }
    let rows: Vec<_> = (last + 1..)
        .zip(calls)
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
                call.correlation_id.as_deref(),
            )
        })
        .collect();
    run(conn, doing, sqlx::query(INSERT).bind(json(&rows))).await?;
    let mut tally: BTreeMap<(i64, &str, &str), (u64, u64)> = BTreeMap::new();
    for call in calls {
        let slice = call.started_at.millis().div_euclid(SLICE_MS) * SLICE_MS;
        let (calls, items) = tally.entry((slice, call.service, call.outcome)).or_default();
        *calls += 1;
        *items += u64::from(call.items);
    }
    let tally: Vec<_> = tally
        .into_iter()
        .map(|((slice, service, outcome), (calls, items))| (slice, service, outcome, calls, items))
        .collect();
    run(conn, doing, sqlx::query(TALLY).bind(json(&tally))).await?;
    Ok(last + 1)
}

pub(super) async fn drop_slices(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let doing = "do upkeep";
    let from = (now.millis() - KEPT_MS).div_euclid(SLICE_MS) * SLICE_MS;
    if run(conn, doing, sqlx::query(KEEP_FROM).bind(from).bind(DAY_MS)).await? > 0 {
        run(conn, doing, sqlx::query(DROP_SLICES).bind(from)).await?;
    }
    Ok(())
}

/// Service, outcome, calls, items.
async fn counted(
    readers: &SqlitePool,
    since: Timestamp,
) -> Result<Vec<(String, String, u64, u64)>, LedgerError> {
    let whole = since.millis().saturating_add(SLICE_MS - 1).div_euclid(SLICE_MS) * SLICE_MS;
    let rows = sqlx::query(TOTALS)
        .bind(since.millis())
        .bind(whole)
        .fetch_all(readers)
        .await
        .map_err(|error| failed("count calls", error))?;
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    rows.iter()
        .map(|row| {
            Ok((
                column(row, "call", "service", 0)?,
                column(row, "call", "outcome", 0)?,
                unsigned(column(row, "call", "n", 0)?),
                unsigned(column(row, "call", "items", 0)?),
            ))
        })
        .collect()
}

pub(super) async fn totals(
    readers: &SqlitePool,
    since: Timestamp,
) -> Result<CallTotals, LedgerError> {
    let mut totals = CallTotals::default();
    for (service, outcome, calls, _) in counted(readers, since).await? {
        totals.calls += calls;
        if outcome == "useful" {
            totals.useful += calls;
        }
        totals.by_service.entry(service).or_default().insert(outcome, calls);
    }
    Ok(totals)
}

/// What `services` cost, and how many dossiers `dossiers` has brought there.
pub(super) async fn spending(
    readers: &SqlitePool,
    since: Timestamp,
    services: &[&str],
    dossiers: &str,
) -> Result<CatalogueSpending, LedgerError> {
    let mut spending = CatalogueSpending::default();
    for (service, outcome, calls, items) in counted(readers, since).await? {
        if services.contains(&service.as_str()) {
            spending.calls += calls;
        }
        if service == dossiers && outcome == "useful" {
            spending.dossiers += items;
        }
    }
    Ok(spending)
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[LAST, INSERT, TALLY, KEEP_FROM, DROP_SLICES, TOTALS];
