//! Reading for people: one dossier, problems.

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::LedgerError;
use super::super::body::{Bodies, Row};
use super::super::view::{
    AttemptView, AuditView, DiscrepancyView, DossierView, EntryView, HoldView, PastState, Problem,
    ProblemFilter, ProblemKind, RevisionView, StepView, TrimmedView,
};
use super::attempt::OF_DOSSIER;
use super::{column, envelope, failed, unreadable};
use crate::domain::diagnostic::Diagnostic;
use crate::domain::entry::{EntryState, PortalKnown};
use crate::domain::failure::Failure;
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;

const DOING: &str = "read for a person";

const DOSSIER: &str = "
    SELECT dossier.id, source, ma_ho_so, first_seen_at, portal_known, packet_state, acked_at, acked_entry_id,
           lane_token IS NOT NULL AS busy, newest_entry_id, adoption, cut_over, ma_tthc, ma_don_vi, appointed_at,
           steps_pending, steps_due_at, steps_failure,
           h.placed_at, h.placed_by, h.reason, t.attempts, t.entries, t.revisions, t.at
    FROM dossier LEFT JOIN legal_hold AS h ON h.dossier_id = dossier.id AND h.released_at IS NULL
    LEFT JOIN trimmed AS t ON t.dossier_id = dossier.id WHERE ma_ho_so = ?1 ORDER BY source";

const REVISIONS: &str = "
    SELECT id, version, changed_at, received_at, deleted, ministry, recoded_from, lower(hex(fingerprint)) AS fingerprint,
           EXISTS (SELECT 1 FROM document WHERE revision_id = revision.id) AS body_kept
    FROM revision WHERE dossier_id = ?1 ORDER BY id";

const ENTRIES: &str = "
    SELECT id, revision_id, state, priority, forced, created_at, changed_at, due_at, attempt, retries,
           lease_expires_at, nullif(lower(hex(packet_hash)), '') AS packet_hash, mapping_version, failure, failure_code,
           diagnostics, superseded_by, mapped_at
    FROM entry WHERE dossier_id = ?1 ORDER BY id";

/// Of all its entries, oldest first.
const PAST: &str = "
    SELECT p.entry_id, p.state, p.since, p.until, p.failure, p.failure_code, p.diagnostics
    FROM entry AS e JOIN entry_past AS p ON p.entry_id = e.id WHERE e.dossier_id = ?1 ORDER BY p.id";

const STEPS: &str = "
    SELECT thoi_diem, trang_thai, ordinal, state, changed_at, attempts, failure
    FROM step WHERE dossier_id = ?1 ORDER BY thoi_diem, place, trang_thai, ordinal";

const DISCREPANCIES: &str = "
    SELECT kind, detail, found_at, resolved_at, resolution FROM discrepancy WHERE dossier_id = ?1 ORDER BY id";

const AUDIT: &str =
    "SELECT at, actor, action, reason, result FROM audit WHERE target = ?1 ORDER BY id";

pub(super) async fn dossier(
    readers: &SqlitePool,
    ma_ho_so: &str,
) -> Result<Vec<DossierView>, LedgerError> {
    let mut snapshot = readers.begin().await.map_err(|error| failed(DOING, error))?;
    let conn = &mut *snapshot;
    let found = sqlx::query(DOSSIER)
        .bind(ma_ho_so.to_owned())
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    let mut views = Vec::with_capacity(found.len());
    for row in &found {
        let id: i64 = column(row, "dossier", "id", 0)?;
        let known: String = column(row, "dossier", "portal_known", id)?;
        let steps_pending: i64 = column(row, "dossier", "steps_pending", id)?;
        views.push(DossierView {
            dossier_id: id,
            source: column(row, "dossier", "source", id)?,
            ma_ho_so: column(row, "dossier", "ma_ho_so", id)?,
            first_seen_at: required_time(row, "dossier", "first_seen_at", id)?,
            portal_known: PortalKnown::parse(&known).unwrap_or(PortalKnown::Unknown),
            packet_state: column(row, "dossier", "packet_state", id)?,
            acked_at: time(row, "dossier", "acked_at", id)?,
            acked_entry_id: column(row, "dossier", "acked_entry_id", id)?,
            adoption: column(row, "dossier", "adoption", id)?,
            cut_over: time(row, "dossier", "cut_over", id)?,
            lane_busy: column::<i64>(row, "dossier", "busy", id)? != 0,
            newest_entry_id: column(row, "dossier", "newest_entry_id", id)?,
            ma_tthc: column(row, "dossier", "ma_tthc", id)?,
            ma_don_vi: column(row, "dossier", "ma_don_vi", id)?,
            appointed_at: time(row, "dossier", "appointed_at", id)?
                .filter(|at| at.millis() != super::plan::NO_APPOINTMENT),
            hold: match time(row, "legal_hold", "placed_at", id)? {
                Some(since) => Some(HoldView {
                    since,
                    by: column(row, "legal_hold", "placed_by", id)?,
                    reason: column(row, "legal_hold", "reason", id)?,
                }),
                None => None,
            },
            trimmed: match time(row, "trimmed", "at", id)? {
                Some(at) => Some(TrimmedView {
                    attempts: number(row, "trimmed", "attempts", id)?,
                    entries: number(row, "trimmed", "entries", id)?,
                    revisions: number(row, "trimmed", "revisions", id)?,
                    at,
                }),
                None => None,
            },
            steps_due_at: time(row, "dossier", "steps_due_at", id)?.filter(|_| steps_pending > 0),
            steps_failure: failure(row, "dossier", "steps_failure", id)?,
            revisions: of(conn, REVISIONS, id, revision).await?,
            entries: entries(conn, id).await?,
            steps: of(conn, STEPS, id, step).await?,
            attempts: of(conn, OF_DOSSIER, id, attempt).await?,
            discrepancies: of(conn, DISCREPANCIES, id, discrepancy).await?,
            audit: audit(conn, ma_ho_so).await?,
        });
    }
    Ok(views)
}

async fn of<T>(
    conn: &mut SqliteConnection,
    statement: &'static str,
    dossier_id: i64,
    read: fn(&SqliteRow) -> Result<T, LedgerError>,
) -> Result<Vec<T>, LedgerError> {
    let rows = sqlx::query(statement)
        .bind(dossier_id)
        .fetch_all(conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    rows.iter().map(read).collect()
}

fn revision(row: &SqliteRow) -> Result<RevisionView, LedgerError> {
    let id: i64 = column(row, "revision", "id", 0)?;
    Ok(RevisionView {
        id,
        version: column(row, "revision", "version", id)?,
        changed_at: time(row, "revision", "changed_at", id)?,
        received_at: required_time(row, "revision", "received_at", id)?,
        deleted: column::<i64>(row, "revision", "deleted", id)? != 0,
        ministry: column::<i64>(row, "revision", "ministry", id)? != 0,
        recoded_from: column(row, "revision", "recoded_from", id)?,
        fingerprint: column(row, "revision", "fingerprint", id)?,
        body_kept: column::<i64>(row, "revision", "body_kept", id)? != 0,
    })
}

async fn entries(
    conn: &mut SqliteConnection,
    dossier_id: i64,
) -> Result<Vec<EntryView>, LedgerError> {
    let mut entries = of(conn, ENTRIES, dossier_id, entry).await?;
    for state in of(conn, PAST, dossier_id, past).await? {
        if let Some(entry) = entries.iter_mut().find(|entry| entry.id == state.entry_id) {
            entry.past.push(state);
        }
    }
    Ok(entries)
}

fn past(row: &SqliteRow) -> Result<PastState, LedgerError> {
    let id: i64 = column(row, "entry_past", "entry_id", 0)?;
    let state: String = column(row, "entry_past", "state", id)?;
    Ok(PastState {
        entry_id: id,
        state: EntryState::parse(&state).unwrap_or(EntryState::Quarantined),
        since: required_time(row, "entry_past", "since", id)?,
        until: required_time(row, "entry_past", "until", id)?,
        failure: failure(row, "entry_past", "failure", id)?,
        rule: column(row, "entry_past", "failure_code", id)?,
        diagnostics: diagnostics(row, "entry_past", id)?,
    })
}

fn diagnostics(
    row: &SqliteRow,
    table: &'static str,
    id: i64,
) -> Result<Vec<Diagnostic>, LedgerError> {
    Ok(envelope(column(row, table, "diagnostics", id)?, table, "diagnostics", id)
        .unwrap_or_default()
        .unwrap_or_default())
}

fn entry(row: &SqliteRow) -> Result<EntryView, LedgerError> {
    let id: i64 = column(row, "entry", "id", 0)?;
    let corrupt = |column| LedgerError::Corrupt { table: "entry", column, row: id };
    let state: String = column(row, "entry", "state", id)?;
    Ok(EntryView {
        id,
        revision_id: column(row, "entry", "revision_id", id)?,
        // Upkeep sets such an entry aside; it is shown as what it will be.
        state: EntryState::parse(&state).unwrap_or(EntryState::Quarantined),
        priority: Priority::from_rank(column(row, "entry", "priority", id)?)
            .ok_or_else(|| corrupt("priority"))?,
        forced: column::<i64>(row, "entry", "forced", id)? != 0,
        created_at: required_time(row, "entry", "created_at", id)?,
        changed_at: required_time(row, "entry", "changed_at", id)?,
        due_at: required_time(row, "entry", "due_at", id)?,
        attempt: column(row, "entry", "attempt", id)?,
        retries: column(row, "entry", "retries", id)?,
        lease_expires_at: time(row, "entry", "lease_expires_at", id)?,
        packet_hash: column(row, "entry", "packet_hash", id)?,
        mapping_version: column(row, "entry", "mapping_version", id)?,
        failure: failure(row, "entry", "failure", id)?,
        rule: column(row, "entry", "failure_code", id)?,
        diagnostics: diagnostics(row, "entry", id)?,
        superseded_by: column(row, "entry", "superseded_by", id)?,
        mapped_at: time(row, "entry", "mapped_at", id)?,
        past: Vec::new(),
    })
}

/// A failure as it is stored; one that cannot be read back says so, and hides nothing else.
fn failure(
    row: &SqliteRow,
    table: &'static str,
    name: &'static str,
    id: i64,
) -> Result<Option<Failure>, LedgerError> {
    Ok(envelope(column(row, table, name, id)?, table, name, id)
        .unwrap_or_else(|_| Some(unreadable("the stored failure cannot be read back"))))
}

fn step(row: &SqliteRow) -> Result<StepView, LedgerError> {
    Ok(StepView {
        thoi_diem_xu_ly: column(row, "step", "thoi_diem", 0)?,
        trang_thai: column(row, "step", "trang_thai", 0)?,
        ordinal: column(row, "step", "ordinal", 0)?,
        state: column(row, "step", "state", 0)?,
        changed_at: required_time(row, "step", "changed_at", 0)?,
        attempts: column(row, "step", "attempts", 0)?,
        failure: failure(row, "step", "failure", 0)?,
    })
}

fn attempt(row: &SqliteRow) -> Result<AttemptView, LedgerError> {
    Ok(AttemptView {
        entry_id: column(row, "attempt", "entry_id", 0)?,
        kind: column(row, "attempt", "kind", 0)?,
        number: column(row, "attempt", "number", 0)?,
        at: required_time(row, "attempt", "at", 0)?,
        outcome: column(row, "attempt", "outcome", 0)?,
        failure_code: column(row, "attempt", "failure_code", 0)?,
        detail: column(row, "attempt", "detail", 0)?,
        service: column(row, "call", "service", 0)?,
        duration_ms: column::<Option<i64>>(row, "call", "duration_ms", 0)?
            .and_then(|ms| u64::try_from(ms).ok()),
        items: column(row, "call", "items", 0)?,
        http_status: column(row, "call", "http_status", 0)?,
        error_code: column(row, "call", "error_code", 0)?,
        message: column(row, "call", "message", 0)?,
        correlation_id: column(row, "call", "correlation_id", 0)?,
        body_hash: column(row, "call", "body_hash", 0)?,
    })
}

fn discrepancy(row: &SqliteRow) -> Result<DiscrepancyView, LedgerError> {
    Ok(DiscrepancyView {
        kind: column(row, "discrepancy", "kind", 0)?,
        detail: column(row, "discrepancy", "detail", 0)?,
        found_at: required_time(row, "discrepancy", "found_at", 0)?,
        resolved_at: time(row, "discrepancy", "resolved_at", 0)?,
        resolution: column(row, "discrepancy", "resolution", 0)?,
    })
}

async fn audit(conn: &mut SqliteConnection, target: &str) -> Result<Vec<AuditView>, LedgerError> {
    let rows = sqlx::query(AUDIT)
        .bind(target.to_owned())
        .fetch_all(conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    rows.iter()
        .map(|row| {
            Ok(AuditView {
                at: required_time(row, "audit", "at", 0)?,
                actor: column(row, "audit", "actor", 0)?,
                action: column(row, "audit", "action", 0)?,
                reason: column(row, "audit", "reason", 0)?,
                result: column(row, "audit", "result", 0)?,
            })
        })
        .collect()
}

const PROBLEMS: &str = "
    SELECT * FROM (
        SELECT CASE e.state WHEN 'quarantined' THEN 'quarantined' ELSE 'dead' END AS kind, d.source, d.ma_ho_so,
               e.changed_at AS since, coalesce(e.failure_code, '') AS code,
               coalesce(json_extract(e.failure, '$.message'),
                        (SELECT f.value->>'target' || ': expected ' || (f.value->>'expected')
                                || ', found ' || (f.value->>'found')
                         FROM json_each(e.diagnostics) AS f WHERE f.value->>'severity' = 'error' LIMIT 1),
                        '') AS summary
        FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id AND d.newest_entry_id = e.id
        WHERE e.state IN ('quarantined', 'dead')
        UNION ALL
        SELECT 'held', d.source, d.ma_ho_so, min(s.changed_at),
               coalesce(json_extract(s.failure, '$.code'), ''),
               count(*) || ' step(s): ' || coalesce(json_extract(s.failure, '$.message'), '')
        FROM step AS s JOIN dossier AS d ON d.id = s.dossier_id WHERE s.state = 'held'
        GROUP BY d.id
        UNION ALL
        SELECT 'refused_document', source, coalesce(ma_ho_so, ''), at, rule, reason FROM refused_document
        WHERE resolved_at IS NULL
        UNION ALL
        SELECT 'catalogue', 'portal', '', failing_since, json_extract(failure, '$.code'),
               kind || ': ' || json_extract(failure, '$.message') FROM catalogue
        WHERE failing_since IS NOT NULL AND kind <> 'details')
    WHERE (?1 IS NULL OR ma_ho_so = ?1) AND (?2 IS NULL OR code = ?2)
    ORDER BY since, ma_ho_so LIMIT +?3";

pub(super) async fn problems(
    readers: &SqlitePool,
    filter: &ProblemFilter,
) -> Result<Vec<Problem>, LedgerError> {
    let rows = sqlx::query(PROBLEMS)
        .bind(filter.ma_ho_so.clone())
        .bind(filter.code.clone())
        // SQLite takes a negative limit for none.
        .bind(if filter.limit == 0 { -1 } else { i64::from(filter.limit) })
        .fetch_all(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    rows.iter()
        .map(|row| {
            let kind: String = column(row, "entry", "kind", 0)?;
            Ok(Problem {
                kind: match kind.as_str() {
                    "quarantined" => ProblemKind::Quarantined,
                    "dead" => ProblemKind::Dead,
                    "held" => ProblemKind::Held,
                    "catalogue" => ProblemKind::Catalogue,
                    _ => ProblemKind::RefusedDocument,
                },
                source: column(row, "dossier", "source", 0)?,
                ma_ho_so: column(row, "dossier", "ma_ho_so", 0)?,
                since: required_time(row, "entry", "since", 0)?,
                code: column(row, "entry", "code", 0)?,
                summary: column(row, "entry", "summary", 0)?,
            })
        })
        .collect()
}

const NEWEST_DOCUMENT: &str = "
    SELECT o.revision_id, o.body FROM dossier AS d JOIN document AS o ON o.revision_id = d.newest_revision_id WHERE d.id = ?1";

pub(super) async fn newest_document(
    readers: &SqlitePool,
    stored: &Bodies,
    dossier_id: i64,
) -> Result<Option<String>, LedgerError> {
    let row = sqlx::query(NEWEST_DOCUMENT)
        .bind(dossier_id)
        .fetch_optional(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    row.map(|row| {
        let revision_id: i64 = column(&row, "document", "revision_id", dossier_id)?;
        stored
            .read(Row::of("document", revision_id), column(&row, "document", "body", revision_id)?)
    })
    .transpose()
}

pub(super) fn time(
    row: &SqliteRow,
    table: &'static str,
    name: &'static str,
    id: i64,
) -> Result<Option<Timestamp>, LedgerError> {
    Ok(column::<Option<i64>>(row, table, name, id)?.map(Timestamp::from_millis))
}

pub(super) fn number(
    row: &SqliteRow,
    table: &'static str,
    name: &'static str,
    id: i64,
) -> Result<u64, LedgerError> {
    Ok(u64::try_from(column::<i64>(row, table, name, id)?).unwrap_or(0))
}

pub(super) fn required_time(
    row: &SqliteRow,
    table: &'static str,
    name: &'static str,
    id: i64,
) -> Result<Timestamp, LedgerError> {
    Ok(Timestamp::from_millis(column(row, table, name, id)?))
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] =
    &[DOSSIER, REVISIONS, ENTRIES, PAST, STEPS, DISCREPANCIES, AUDIT, PROBLEMS, NEWEST_DOCUMENT];
