//! What a selection means in SQL. Whoever walks a selection, plans it or counts it uses this one
//! condition, so that all mean the same.

use sqlx::Sqlite;
use sqlx::sqlite::{SqliteArguments, SqlitePool};

use super::super::{failed, json};
use crate::domain::discrepancy::{Bucket, DiscrepancyKind};
use crate::domain::selection::Selection;
use crate::domain::status::Status;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;

/// From `dossier AS d`, its newest entry `e` and newest revision `r`, over parameters ?1 to ?13; ?16
/// are the codes. Written so that a criterion that is not given costs a comparison.
macro_rules! meant {
    () => {
        "(?1 IS NULL OR d.source = ?1)
      AND (?2 IS NULL OR d.ma_tthc = ?2)
      AND (?3 IS NULL OR d.ma_don_vi = ?3)
      AND (?4 IS NULL OR d.trang_thai = ?4)
      AND (?5 IS NULL OR d.kenh_thuc_hien = ?5)
      AND (?6 IS NULL OR d.tiep_nhan_at >= ?6)
      AND (?7 IS NULL OR d.tiep_nhan_at < ?7)
      AND (?8 IS NULL OR (e.failure_code = ?8 AND e.state <> 'quarantined')
           OR EXISTS (SELECT 1 FROM step AS s WHERE s.dossier_id = d.id AND s.state = 'held'
                      AND s.failure->>'code' = ?8))
      AND (?9 IS NULL OR (e.state = 'quarantined' AND (e.failure_code = ?9
           OR EXISTS (SELECT 1 FROM json_each(e.diagnostics) AS g
                      WHERE g.value->>'rule' = ?9 AND g.value->>'severity' = 'error'))))
      AND (?10 IS NULL OR EXISTS (SELECT 1 FROM discrepancy AS x WHERE x.dossier_id = d.id
                                  AND x.resolved_at IS NULL AND x.kind = ?10))
      AND (?11 IS NULL OR ?11 = CASE
           WHEN e.state IN ('quarantined', 'dead', 'not_ours') THEN e.state
           WHEN e.state NOT IN ('accepted', 'unchanged', 'presumed') THEN 'open'
           ELSE coalesce((SELECT min(x.kind) FROM discrepancy AS x WHERE x.dossier_id = d.id
                          AND x.resolved_at IS NULL AND x.kind IN ('different', 'missing')), 'matched') END)
      AND (?12 IS NULL OR coalesce(d.newest_changed_at, r.received_at) >= ?12)
      AND (?13 IS NULL OR d.id IN (SELECT p.dossier_id FROM signature AS s
                                   CROSS JOIN problem AS p ON p.signature_id = s.id WHERE s.name = ?13))"
    };
}

/// The tables of [`meant`], walked in the order of ids.
macro_rules! walked {
    () => {
        "dossier AS d CROSS JOIN entry AS e ON e.id = d.newest_entry_id
    CROSS JOIN revision AS r ON r.id = d.newest_revision_id"
    };
}

/// The same, found by their codes.
macro_rules! by_code {
    () => {
        "(SELECT DISTINCT value FROM json_each(?16)) AS j CROSS JOIN dossier AS d ON d.ma_ho_so = j.value
    CROSS JOIN entry AS e ON e.id = d.newest_entry_id
    CROSS JOIN revision AS r ON r.id = d.newest_revision_id"
    };
}

pub(super) use {by_code, meant, walked};

const WALK: &str = concat!(
    "SELECT d.id FROM ",
    walked!(),
    " WHERE d.id > ?14 AND ",
    meant!(),
    " ORDER BY d.id LIMIT ?15"
);

const WALK_CODES: &str = concat!(
    "SELECT d.id FROM ",
    by_code!(),
    " WHERE d.id > ?14 AND ",
    meant!(),
    " ORDER BY d.id LIMIT ?15"
);

/// Binds ?1 to ?13. The statement goes on with what is its own from ?14 to ?15, and ?16 is the codes.
pub(super) fn bound<'q>(
    statement: &'static str,
    selection: &Selection,
) -> sqlx::query::Query<'q, Sqlite, SqliteArguments> {
    sqlx::query(statement)
        .bind(selection.source.clone())
        .bind(selection.procedure.clone())
        .bind(selection.agency.clone())
        .bind(selection.status.map(Status::code))
        .bind(selection.channel.clone())
        .bind(selection.received_from.map(Timestamp::millis))
        .bind(selection.received_before.map(Timestamp::millis))
        .bind(selection.failure.clone())
        .bind(selection.rule.clone())
        .bind(selection.discrepancy.map(DiscrepancyKind::as_str))
        .bind(selection.bucket.map(Bucket::as_str))
        .bind(selection.changed_since.map(Timestamp::millis))
        .bind(selection.signature.clone())
}

/// Refuses criteria that this ledger keeps nothing of.
pub(super) fn answerable(selection: &Selection) -> Result<(), LedgerError> {
    if selection.bucket == Some(Bucket::Unverifiable) {
        return Err(LedgerError::Refused {
            what: "which dossiers could not be verified is not kept".to_owned(),
            hint: "select by agency, procedure or reception, and let them be looked up again",
        });
    }
    Ok(())
}

pub(super) async fn select(
    readers: &SqlitePool,
    selection: &Selection,
    after: i64,
    limit: u32,
) -> Result<Vec<i64>, LedgerError> {
    answerable(selection)?;
    let statement = if selection.codes.is_empty() { WALK } else { WALK_CODES };
    let query = bound(statement, selection).bind(after).bind(i64::from(limit));
    let query = if selection.codes.is_empty() { query } else { query.bind(codes(selection)) };
    let rows = query.fetch_all(readers).await.map_err(|error| failed("select dossiers", error))?;
    rows.iter().map(|row| super::super::column(row, "dossier", "id", 0)).collect()
}

pub(super) fn codes(selection: &Selection) -> String {
    json(&selection.codes.iter().collect::<Vec<_>>())
}

const UNKNOWN: &str = "
    SELECT j.value FROM json_each(?1) AS j
    WHERE NOT EXISTS (SELECT 1 FROM dossier AS d WHERE d.ma_ho_so = j.value AND (?2 IS NULL OR d.source = ?2))
    ORDER BY j.value LIMIT ?3";

pub(super) async fn unknown_codes(
    readers: &SqlitePool,
    selection: &Selection,
    limit: u32,
) -> Result<Vec<String>, LedgerError> {
    sqlx::query_scalar(UNKNOWN)
        .bind(codes(selection))
        .bind(selection.source.clone())
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("look for unknown codes", error))
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[WALK, WALK_CODES, UNKNOWN];
