//! Rows of the audit: written behind one another, sealed, archived, and read.

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::LedgerError;
use super::super::audit::{
    ARCHIVE, AuditChain, AuditFilter, AuditHead, AuditRow, AuditSegment, BY_ITSELF, SEAL,
    SegmentKind,
};
use super::super::record::{AuditRecord, Hash, Retention};
use super::{column, failed, run};
use crate::domain::time::Timestamp;

const DOING: &str = "write the audit";

/// How long what is due waits for company, so that each segment is worth its row.
const GATHER_MS: i64 = 30 * 24 * 3600 * 1000;

/// Rows of one segment at most: they are deleted in one transaction.
const SEGMENT_MAX: i64 = 50_000;

const LAST: &str = "SELECT id, hash FROM audit WHERE id = (SELECT max(id) FROM audit)";

const LAST_END: &str = "
    SELECT last_seq, end_hash FROM audit_segment
    WHERE id = (SELECT max(id) FROM audit_segment WHERE kind = 'archived')";

const INSERT: &str = "
    INSERT INTO audit (id, at, actor, action, target, reason, result, selection, plan_hash, hash)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// Writes one row behind the last one.
pub(super) async fn insert_audit(
    conn: &mut SqliteConnection,
    now: Timestamp,
    audit: &AuditRecord,
    result: &str,
) -> Result<(), LedgerError> {
    let last = seal(conn, now).await?;
    insert_behind(conn, &last, now, audit, result).await.map(|_| ())
}

async fn insert_behind(
    conn: &mut SqliteConnection,
    last: &AuditHead,
    now: Timestamp,
    audit: &AuditRecord,
    result: &str,
) -> Result<AuditHead, LedgerError> {
    let row = AuditRow::behind(last, now, audit, result);
    let query = sqlx::query(INSERT)
        .bind(row.seq)
        .bind(row.at.millis())
        .bind(row.actor.clone())
        .bind(row.action.clone())
        .bind(row.target.clone())
        .bind(row.reason.clone())
        .bind(row.result.clone())
        .bind(row.selection.clone())
        .bind(row.plan_hash.clone())
        .bind(row.hash.map(Vec::from));
    run(conn, DOING, query).await?;
    Ok(row.head().unwrap_or(*last))
}

/// Where the chain ends.
pub(super) async fn head(conn: &mut SqliteConnection) -> Result<Option<AuditHead>, LedgerError> {
    let last: Option<(i64, Option<Vec<u8>>)> = sqlx::query_as(LAST)
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    if let Some((seq, hash)) = last {
        return Ok(hash
            .and_then(|hash| Hash::try_from(hash).ok())
            .map(|hash| AuditHead { seq, hash }));
    }
    archived_end(conn).await
}

async fn archived_end(conn: &mut SqliteConnection) -> Result<Option<AuditHead>, LedgerError> {
    let end: Option<(i64, Vec<u8>)> = sqlx::query_as(LAST_END)
        .fetch_optional(conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    Ok(end.and_then(|(seq, hash)| Some(AuditHead { seq, hash: Hash::try_from(hash).ok()? })))
}

const UNSEALED: &str = "
    SELECT id AS seq, at, actor, action, target, reason, result, selection, plan_hash, hash
    FROM audit WHERE hash IS NULL AND id > ?1 ORDER BY id LIMIT ?2";

const GIVE_HASH: &str = "UPDATE audit SET hash = ?2 WHERE id = ?1";

const INSERT_SEGMENT: &str = "
    INSERT INTO audit_segment (kind, first_seq, last_seq, rows, first_at, last_at, start_hash, end_hash, made_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// Gives rows from before there was a chain their place in it, once, with a row that says so; returns
/// where the chain ends. What it proves is that they have not changed since.
pub(super) async fn seal(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<AuditHead, LedgerError> {
    if let Some(head) = head(conn).await? {
        return Ok(head);
    }
    let mut at = AuditHead::BEGINNING;
    let mut sealed: Option<AuditSegment> = None;
    loop {
        // Behind whatever was sealed already: rows come without a hash from older programs only.
        let after = sealed.as_ref().map_or(0, |segment| segment.last_seq);
        let rows = page(conn, UNSEALED, after, 1000).await?;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            break;
        };
        let (first_seq, first_at, last_seq, last_at) = (first.seq, first.at, last.seq, last.at);
        let segment = sealed.get_or_insert(AuditSegment {
            kind: SegmentKind::Sealed,
            first_seq,
            last_seq,
            rows: 0,
            first_at,
            last_at,
            start_hash: Some(at.hash),
            end_hash: None,
            made_at: now,
        });
        for row in &rows {
            at = AuditHead { seq: row.seq, hash: row.chained_to(&at.hash) };
            let query = sqlx::query(GIVE_HASH).bind(row.seq).bind(at.hash.to_vec());
            run(conn, DOING, query).await?;
        }
        segment.rows += i64::try_from(rows.len()).unwrap_or(i64::MAX);
        (segment.last_seq, segment.last_at, segment.end_hash) = (last_seq, last_at, Some(at.hash));
    }
    let Some(segment) = sealed else {
        return Ok(at);
    };
    insert_segment(conn, &segment).await?;
    let audit = AuditRecord::new(
        BY_ITSELF,
        SEAL,
        "audit",
        "from here on the audit is a chain; the rows before it are part of it as they stood",
    );
    insert_behind(conn, &at, now, &audit, &told(&segment)).await
}

/// `12 rows, 1 to 12, ending with 12:0f3a…`: what the check looks for.
fn told(segment: &AuditSegment) -> String {
    let end = segment.end();
    format!("{} rows, {} to {}, ending with {end}", segment.rows, segment.first_seq, end.seq)
}

async fn insert_segment(
    conn: &mut SqliteConnection,
    segment: &AuditSegment,
) -> Result<(), LedgerError> {
    let kind = match segment.kind {
        SegmentKind::Sealed => "sealed",
        SegmentKind::Archived => "archived",
    };
    let query = sqlx::query(INSERT_SEGMENT)
        .bind(kind)
        .bind(segment.first_seq)
        .bind(segment.last_seq)
        .bind(segment.rows)
        .bind(segment.first_at.millis())
        .bind(segment.last_at.millis())
        .bind(segment.start_hash.map(Vec::from))
        .bind(segment.end_hash.map(Vec::from))
        .bind(segment.made_at.millis());
    run(conn, DOING, query).await.map(|_| ())
}

const OLDEST: &str = "SELECT at FROM audit WHERE id = (SELECT min(id) FROM audit)";

const ARCHIVED_LAST: &str = "SELECT max(made_at) FROM audit_segment WHERE kind = 'archived'";

const HELD: &str = "
    SELECT d.ma_ho_so FROM legal_hold AS h CROSS JOIN dossier AS d ON d.id = h.dossier_id WHERE h.released_at IS NULL";

const DELETE: &str = "DELETE FROM audit WHERE id <= ?1";

/// Whether the oldest rows are past retention and worth a segment.
pub(super) async fn is_due(
    readers: &SqlitePool,
    now: Timestamp,
    keep: &Retention,
) -> Result<bool, LedgerError> {
    let cut = now.millis().saturating_sub(i64::try_from(keep.audit_ms).unwrap_or(i64::MAX));
    let moment = |statement: &'static str| async move {
        let found: Option<Option<i64>> = sqlx::query_scalar(statement)
            .fetch_optional(readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        Ok::<_, LedgerError>(found.flatten())
    };
    if moment(OLDEST).await?.is_none_or(|oldest| oldest > cut) {
        return Ok(false);
    }
    let last = moment(ARCHIVED_LAST).await?;
    Ok(last.is_none_or(|last| now.millis().saturating_sub(last) >= GATHER_MS))
}

/// Takes what is past retention from the chain's old end; its ends are kept, and a row tells of it.
/// A dossier under a legal hold keeps everything from its oldest row on: a chain has no holes.
pub(super) async fn archive(
    conn: &mut SqliteConnection,
    now: Timestamp,
    keep: &Retention,
) -> Result<u64, LedgerError> {
    let cut = now.millis().saturating_sub(i64::try_from(keep.audit_ms).unwrap_or(i64::MAX));
    let last = seal(conn, now).await?;
    let held: Vec<String> = sqlx::query_scalar(HELD)
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    let start = archived_end(conn).await?.unwrap_or(AuditHead::BEGINNING);
    let mut segment: Option<AuditSegment> = None;
    'rows: loop {
        let after = segment.as_ref().map_or(0, |segment| segment.last_seq);
        let rows = page(conn, PAGE, after, keep.rows_max.max(1)).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let full = segment.as_ref().is_some_and(|segment| segment.rows >= SEGMENT_MAX);
            if full || row.at.millis() > cut || held.contains(&row.target) {
                break 'rows;
            }
            let segment = segment.get_or_insert(AuditSegment {
                kind: SegmentKind::Archived,
                first_seq: row.seq,
                last_seq: row.seq,
                rows: 0,
                first_at: row.at,
                last_at: row.at,
                start_hash: Some(start.hash),
                end_hash: row.hash,
                made_at: now,
            });
            segment.rows += 1;
            (segment.last_seq, segment.last_at, segment.end_hash) = (row.seq, row.at, row.hash);
        }
    }
    let Some(segment) = segment else {
        return Ok(0);
    };
    insert_segment(conn, &segment).await?;
    let gone = run(conn, DOING, sqlx::query(DELETE).bind(segment.last_seq)).await?;
    let audit = AuditRecord::new(BY_ITSELF, ARCHIVE, "audit", "past `retention.audit_days`");
    insert_behind(conn, &last, now, &audit, &told(&segment)).await?;
    Ok(gone)
}

const PAGE: &str = "
    SELECT id AS seq, at, actor, action, target, reason, result, selection, plan_hash, hash
    FROM audit WHERE id > ?1 ORDER BY id LIMIT ?2";

/// The next rows behind `after`, oldest first.
pub(super) async fn rows_after(
    readers: &SqlitePool,
    after: i64,
    limit: u32,
) -> Result<Vec<AuditRow>, LedgerError> {
    let mut conn = readers.acquire().await.map_err(|error| failed("read the audit", error))?;
    page(&mut conn, PAGE, after, limit).await
}

async fn page(
    conn: &mut SqliteConnection,
    statement: &'static str,
    after: i64,
    limit: u32,
) -> Result<Vec<AuditRow>, LedgerError> {
    let rows = sqlx::query(statement)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
        .map_err(|error| failed("read the audit", error))?;
    rows.iter().map(row).collect()
}

/// Walks from the newest row back; letters are compared without their case as far as SQLite knows it.
const FOUND: &str = "
    SELECT id AS seq, at, actor, action, target, reason, result, selection, plan_hash, hash
    FROM audit
    WHERE (?1 IS NULL OR instr(lower(actor), lower(?1)) > 0)
      AND (?2 IS NULL OR instr(lower(action), lower(?2)) > 0)
      AND (?3 IS NULL OR target = ?3)
      AND at >= ?4 AND at <= ?5
    ORDER BY id DESC LIMIT ?6";

pub(super) async fn found(
    readers: &SqlitePool,
    filter: &AuditFilter,
) -> Result<Vec<AuditRow>, LedgerError> {
    let rows = sqlx::query(FOUND)
        .bind(filter.who.clone())
        .bind(filter.what.clone())
        .bind(filter.target.clone())
        .bind(filter.since.map_or(i64::MIN, Timestamp::millis))
        .bind(filter.until.map_or(i64::MAX, Timestamp::millis))
        .bind(i64::from(filter.limit))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read the audit", error))?;
    rows.iter().map(row).collect()
}

fn row(row: &SqliteRow) -> Result<AuditRow, LedgerError> {
    let seq: i64 = column(row, "audit", "seq", 0)?;
    let hash: Option<Vec<u8>> = column(row, "audit", "hash", seq)?;
    Ok(AuditRow {
        seq,
        at: Timestamp::from_millis(column(row, "audit", "at", seq)?),
        actor: column(row, "audit", "actor", seq)?,
        action: column(row, "audit", "action", seq)?,
        target: column(row, "audit", "target", seq)?,
        reason: column(row, "audit", "reason", seq)?,
        result: column(row, "audit", "result", seq)?,
        selection: column(row, "audit", "selection", seq)?,
        plan_hash: column(row, "audit", "plan_hash", seq)?,
        // One that is no hash is a row without a place.
        hash: hash.and_then(|hash| Hash::try_from(hash).ok()),
    })
}

const SEGMENTS: &str = "
    SELECT id, kind, first_seq, last_seq, rows, first_at, last_at, start_hash, end_hash, made_at
    FROM audit_segment ORDER BY id";

const GUARDS: &str = "
    SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'
      AND name IN ('audit_is_chained', 'audit_is_not_changed', 'audit_is_not_deleted',
                   'audit_segment_is_not_changed', 'audit_segment_is_not_deleted')";

const COUNT_UNSEALED: &str = "SELECT count(*) FROM audit WHERE hash IS NULL";

/// What is known of the chain without reading its rows.
pub(super) async fn chain(readers: &SqlitePool) -> Result<AuditChain, LedgerError> {
    let doing = "read the audit";
    let mut conn = readers.acquire().await.map_err(|error| failed(doing, error))?;
    let rows =
        sqlx::query(SEGMENTS).fetch_all(&mut *conn).await.map_err(|error| failed(doing, error))?;
    let mut count = async |statement: &'static str| {
        let count: i64 = sqlx::query_scalar(statement)
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?;
        Ok::<_, LedgerError>(u64::try_from(count).unwrap_or(0))
    };
    let guarded = count(GUARDS).await? == 5;
    let unsealed = count(COUNT_UNSEALED).await?;
    Ok(AuditChain {
        segments: rows.iter().map(segment).collect::<Result<_, _>>()?,
        head: head(&mut conn).await?,
        guarded,
        unsealed,
    })
}

fn segment(row: &SqliteRow) -> Result<AuditSegment, LedgerError> {
    let table = "audit_segment";
    let id: i64 = column(row, table, "id", 0)?;
    let moment = |name| Ok::<_, LedgerError>(Timestamp::from_millis(column(row, table, name, id)?));
    let hash =
        |name| Ok::<_, LedgerError>(Hash::try_from(column::<Vec<u8>>(row, table, name, id)?).ok());
    let kind: String = column(row, table, "kind", id)?;
    Ok(AuditSegment {
        kind: if kind == "sealed" { SegmentKind::Sealed } else { SegmentKind::Archived },
        first_seq: column(row, table, "first_seq", id)?,
        last_seq: column(row, table, "last_seq", id)?,
        rows: column(row, table, "rows", id)?,
        first_at: moment("first_at")?,
        last_at: moment("last_at")?,
        start_hash: hash("start_hash")?,
        end_hash: hash("end_hash")?,
        made_at: moment("made_at")?,
    })
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    LAST,
    LAST_END,
    INSERT,
    UNSEALED,
    GIVE_HASH,
    INSERT_SEGMENT,
    OLDEST,
    ARCHIVED_LAST,
    HELD,
    DELETE,
    PAGE,
    FOUND,
    SEGMENTS,
    GUARDS,
    COUNT_UNSEALED,
];
