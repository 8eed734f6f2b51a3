//! Read-backs, standings against a source's index, discrepancies and closed books.

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::LedgerError;
use super::super::body::{Bodies, Row};
use super::super::record::{Books, DiscrepancyRecord, IndexStanding, UnconfirmedEntry};
use super::claim::give_up_unreadable;
use super::plan::STEP_MAYBE_SENT;
use super::{column, envelope, failed, json, json_one, run};
use crate::domain::discrepancy::DiscrepancyKind;
use crate::domain::entry::{EntryState, PortalKnown};
use crate::domain::failure::{Disposition, Failure};
use crate::domain::time::Timestamp;

const DUE_UNCONFIRMED: &str = "
    SELECT e.id, e.dossier_id, d.ma_ho_so, e.attempt, e.retries, e.failure, d.portal_known, p.body,
           EXISTS (SELECT 1 FROM restored AS r WHERE r.source = d.source AND r.restored_at >= e.created_at) AS restored
    FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id LEFT JOIN packet AS p ON p.entry_id = e.id
    WHERE e.state = 'unconfirmed' AND e.due_at <= ?1
      AND NOT EXISTS (SELECT 1 FROM restored AS x WHERE x.source = d.source AND x.over_at IS NULL)
    ORDER BY e.priority, e.due_at, e.id LIMIT +?2";

const DEFER_UNCONFIRMED: &str = "
    UPDATE entry SET due_at = ?1 WHERE id IN (SELECT value FROM json_each(?2)) AND state = 'unconfirmed'";

pub(super) async fn claim_unconfirmed(
    conn: &mut SqliteConnection,
    stored: &Bodies,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<UnconfirmedEntry>, LedgerError> {
    let doing = "claim read-backs";
    let rows = sqlx::query(DUE_UNCONFIRMED)
        .bind(now.millis())
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let mut claimed = Vec::with_capacity(rows.len());
    let mut poisoned = Vec::new();
    for row in &rows {
        let entry_id: i64 = column(row, "entry", "id", 0)?;
        let dossier_id: i64 = column(row, "entry", "dossier_id", entry_id)?;
        let body: Option<Vec<u8>> = column(row, "packet", "body", entry_id)?;
        let packet = body.and_then(|body| stored.read(Row::of("packet", entry_id), &body).ok());
        let known: String = column(row, "dossier", "portal_known", entry_id)?;
        let (Some(packet), Some(portal_known)) = (packet, PortalKnown::parse(&known)) else {
            poisoned.push((dossier_id, entry_id));
            continue;
        };
        // What went wrong before is only told; one that cannot be read must not stop the look.
        let text: Option<String> = column(row, "entry", "failure", entry_id)?;
        let failure: Option<Failure> =
            envelope(text, "entry", "failure", entry_id).unwrap_or_default();
        claimed.push(UnconfirmedEntry {
            entry_id,
            dossier_id,
            ma_ho_so: column(row, "dossier", "ma_ho_so", entry_id)?,
            packet,
            attempt: column(row, "entry", "attempt", entry_id)?,
            retries: column(row, "entry", "retries", entry_id)?,
            portal_known,
            restored: column(row, "entry", "restored", entry_id)?,
            failure: failure.unwrap_or_else(|| {
                Failure::new("push.lease_expired", Disposition::Ambiguous, "the outcome is unknown")
            }),
        });
    }
    if !poisoned.is_empty() {
        give_up_unreadable(conn, now, &poisoned).await?;
    }
    if !claimed.is_empty() {
        let ids: Vec<i64> = claimed.iter().map(|entry| entry.entry_id).collect();
        let query = sqlx::query(DEFER_UNCONFIRMED).bind(until.millis()).bind(json(&ids));
        run(conn, doing, query).await?;
    }
    Ok(claimed)
}

/// `CROSS`: for each code its dossier, never for each dossier all codes.
const STANDINGS: &str = "
    SELECT d.id, d.ma_ho_so, d.newest_version, d.newest_changed_at, d.acked_at, e.state
    FROM json_each(?2) AS j
    CROSS JOIN dossier AS d ON d.source = ?1 AND d.ma_ho_so = j.value
    JOIN entry AS e ON e.id = d.newest_entry_id";

pub(super) async fn standings(
    readers: &SqlitePool,
    source: &str,
    ma_ho_so: &[String],
) -> Result<Vec<IndexStanding>, LedgerError> {
    let rows = sqlx::query(STANDINGS)
        .bind(source.to_owned())
        .bind(json(ma_ho_so))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("compare with the index", error))?;
    rows.iter().map(index_standing).collect()
}

const OWN_STANDINGS: &str = "
    SELECT d.id, d.ma_ho_so, d.newest_version, d.newest_changed_at, d.acked_at, e.state
    FROM dossier AS d CROSS JOIN entry AS e ON e.id = d.newest_entry_id
    WHERE d.source = ?1 AND d.ma_ho_so > ?2 AND d.first_seen_at >= ?4 ORDER BY d.ma_ho_so LIMIT +?3";

pub(super) async fn own_standings(
    readers: &SqlitePool,
    source: &str,
    after: &str,
    limit: u32,
    first_seen_from: Timestamp,
) -> Result<Vec<IndexStanding>, LedgerError> {
    let rows = sqlx::query(OWN_STANDINGS)
        .bind(source.to_owned())
        .bind(after.to_owned())
        .bind(i64::from(limit))
        .bind(first_seen_from.millis())
        .fetch_all(readers)
        .await
        .map_err(|error| failed("compare with the portal", error))?;
    rows.iter().map(index_standing).collect()
}

fn index_standing(row: &SqliteRow) -> Result<IndexStanding, LedgerError> {
    let dossier_id: i64 = column(row, "dossier", "id", 0)?;
    let state: String = column(row, "entry", "state", dossier_id)?;
    // Upkeep sets such an entry aside; until then it counts as what it will be.
    let newest_state = EntryState::parse(&state).unwrap_or(EntryState::Quarantined);
    let time = |name| -> Result<Option<Timestamp>, LedgerError> {
        Ok(column::<Option<i64>>(row, "dossier", name, dossier_id)?.map(Timestamp::from_millis))
    };
    Ok(IndexStanding {
        ma_ho_so: column(row, "dossier", "ma_ho_so", dossier_id)?,
        dossier_id,
        newest_state,
        newest_version: column(row, "dossier", "newest_version", dossier_id)?,
        newest_changed_at: time("newest_changed_at")?,
        acknowledged: matches!(
            newest_state,
            EntryState::Accepted | EntryState::Unchanged | EntryState::Presumed
        ),
        acked_at: time("acked_at")?,
    })
}

const ACKED_PACKETS: &str = "
    SELECT d.id, p.entry_id, p.body FROM json_each(?1) AS j JOIN dossier AS d ON d.id = j.value
    JOIN packet AS p ON p.entry_id = coalesce(d.acked_entry_id, d.presumed_entry_id)";

pub(super) async fn acked_packets(
    readers: &SqlitePool,
    stored: &Bodies,
    dossiers: &[i64],
) -> Result<Vec<(i64, String)>, LedgerError> {
    let rows = sqlx::query(ACKED_PACKETS)
        .bind(json(dossiers))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read acknowledged packets", error))?;
    let mut packets = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: i64 = column(row, "dossier", "id", 0)?;
        let entry_id: i64 = column(row, "packet", "entry_id", id)?;
        match stored.read(Row::of("packet", entry_id), column(row, "packet", "body", id)?) {
            Ok(packet) => packets.push((id, packet)),
            // It cannot be compared, as one past retention cannot.
            Err(LedgerError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(packets)
}

/// Newest first: a file is looked for in the newest packet that has it.
const SENT_PACKETS: &str = "
    SELECT e.id, e.dossier_id, p.body FROM json_each(?1) AS j CROSS JOIN entry AS e ON e.dossier_id = j.value
    JOIN packet AS p ON p.entry_id = e.id
    WHERE e.state IN ('leased', 'unconfirmed', 'accepted') ORDER BY e.id DESC";

pub(super) async fn sent_packets(
    readers: &SqlitePool,
    stored: &Bodies,
    dossiers: &[i64],
) -> Result<Vec<(i64, String)>, LedgerError> {
    let rows = sqlx::query(SENT_PACKETS)
        .bind(json(dossiers))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read sent packets", error))?;
    let mut packets = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: i64 = column(row, "entry", "id", 0)?;
        let body: Vec<u8> = column(row, "packet", "body", id)?;
        // One that cannot be read back is as good as one past retention.
        if let Ok(packet) = stored.read(Row::of("packet", id), &body) {
            packets.push((column(row, "entry", "dossier_id", id)?, packet));
        }
    }
    Ok(packets)
}

/// Without those that the source goes on with under another code: they have a discrepancy of their
/// own.
const ACKNOWLEDGED_CODES: &str = "
    SELECT ma_ho_so FROM dossier
    WHERE source = ?1 AND ma_ho_so > ?2 AND (acked_entry_id IS NOT NULL OR adoption = 'known') AND first_seen_at <= ?4
      AND NOT EXISTS (SELECT 1 FROM entry AS e WHERE e.id = newest_entry_id AND e.state = 'not_ours'
                      AND e.failure_code = 'source.recoded')
    ORDER BY ma_ho_so LIMIT +?3";

pub(super) async fn acknowledged_codes(
    readers: &SqlitePool,
    source: &str,
    after: &str,
    limit: u32,
    first_seen_until: Timestamp,
) -> Result<Vec<String>, LedgerError> {
    sqlx::query_scalar(ACKNOWLEDGED_CODES)
        .bind(source.to_owned())
        .bind(after.to_owned())
        .bind(i64::from(limit))
        .bind(first_seen_until.millis())
        .fetch_all(readers)
        .await
        .map_err(|error| failed("compare with the index", error))
}

/// Steps of these dossiers were refused because the portal does not know the dossier, and there is
/// nothing left to send it again with.
const NOTE_LOST: &str = "
    INSERT INTO discrepancy (source, ma_ho_so, dossier_id, kind, detail, found_at, seen_at)
    SELECT d.source, d.ma_ho_so, d.id, 'missing', '', ?1, ?1
    FROM json_each(?2) AS j JOIN dossier AS d ON d.id = j.value WHERE d.packet_state = 'accepted'
    ON CONFLICT (source, ma_ho_so, kind, detail) WHERE resolved_at IS NULL
    DO UPDATE SET seen_at = excluded.seen_at";

/// Their steps wait until the source gives the dossier again.
const PARK_LOST: &str = "
    UPDATE dossier SET packet_state = 'dead'
    WHERE id IN (SELECT value FROM json_each(?1)) AND packet_state = 'accepted'";

/// What the portal turned out to have lost is owed again, or becomes a discrepancy.
pub(super) async fn repair_lost(
    conn: &mut SqliteConnection,
    now: Timestamp,
    dossiers: &[i64],
    resend_supplements: bool,
) -> Result<(), LedgerError> {
    let doing = "repair lost dossiers";
    let reopened = repair_missing(conn, now, dossiers, resend_supplements).await?;
    if reopened.len() < dossiers.len() {
        let ids = json(dossiers);
        let query = sqlx::query(NOTE_LOST).bind(now.millis()).bind(ids.clone());
        run(conn, doing, query).await?;
        run(conn, doing, sqlx::query(PARK_LOST).bind(ids)).await?;
    }
    Ok(())
}

const SUSPECTED: &str = "
    SELECT ma_ho_so, min(found_at) AS found_at FROM discrepancy
    WHERE source = ?1 AND kind = 'missing' AND resolved_at IS NULL
      AND ma_ho_so IN (SELECT value FROM json_each(?2))
    GROUP BY ma_ho_so";

pub(super) async fn suspected_missing(
    readers: &SqlitePool,
    source: &str,
    ma_ho_so: &[String],
) -> Result<Vec<(String, Timestamp)>, LedgerError> {
    let rows = sqlx::query(SUSPECTED)
        .bind(source.to_owned())
        .bind(json(ma_ho_so))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read suspicions", error))?;
    rows.iter()
        .map(|row| {
            let found_at = Timestamp::from_millis(column(row, "discrepancy", "found_at", 0)?);
            Ok((column(row, "discrepancy", "ma_ho_so", 0)?, found_at))
        })
        .collect()
}

/// source, code, dossier, kind, detail
pub(super) type DiscrepancyRow = (String, String, Option<i64>, &'static str, String);

const UPSERT_DISCREPANCIES: &str = "
    INSERT INTO discrepancy (source, ma_ho_so, dossier_id, kind, detail, found_at, seen_at)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, ?1, ?1 FROM json_each(?2) WHERE true
    ON CONFLICT (source, ma_ho_so, kind, detail) WHERE resolved_at IS NULL
    DO UPDATE SET seen_at = excluded.seen_at";

pub(super) async fn insert_discrepancies(
    conn: &mut SqliteConnection,
    now: Timestamp,
    rows: &[DiscrepancyRow],
) -> Result<u64, LedgerError> {
    let query = sqlx::query(UPSERT_DISCREPANCIES).bind(now.millis()).bind(json(rows));
    run(conn, "record discrepancies", query).await
}

pub(super) async fn record_discrepancies(
    conn: &mut SqliteConnection,
    now: Timestamp,
    found: &[DiscrepancyRecord],
) -> Result<u64, LedgerError> {
    if found.is_empty() {
        return Ok(0);
    }
    let rows: Vec<DiscrepancyRow> = found
        .iter()
        .map(|record| {
            (
                record.source.clone(),
                record.ma_ho_so.clone(),
                record.dossier_id,
                record.kind.as_str(),
                record.detail.clone(),
            )
        })
        .collect();
    insert_discrepancies(conn, now, &rows).await
}

const RESOLVE_DISCREPANCIES: &str = "
    UPDATE discrepancy SET resolved_at = ?1, resolution = ?2
    WHERE source = ?3 AND kind = ?4 AND resolved_at IS NULL
      AND ma_ho_so IN (SELECT value FROM json_each(?5))";

pub(super) async fn resolve_discrepancies(
    conn: &mut SqliteConnection,
    now: Timestamp,
    source: &str,
    kind: DiscrepancyKind,
    ma_ho_so: &[String],
    resolution: &str,
) -> Result<u64, LedgerError> {
    let query = sqlx::query(RESOLVE_DISCREPANCIES)
        .bind(now.millis())
        .bind(resolution.to_owned())
        .bind(source.to_owned())
        .bind(kind.as_str())
        .bind(json(ma_ho_so));
    run(conn, "resolve discrepancies", query).await
}

/// A new obligation on the newest revision that was acknowledged or presumed (or was found to be the same
/// packet), unless the source says that the dossier is not ours any more. Mapping makes the packet and the steps
/// anew, so nothing depends on bodies that retention may have taken from them.
const REOPEN_LOST: &str = "
    INSERT INTO entry (dossier_id, revision_id, state, priority, forced, created_at, changed_at, due_at)
    SELECT d.id, a.revision_id, 'received', d.priority, 1, ?1, ?1, ?1
    FROM json_each(?2) AS j JOIN dossier AS d ON d.id = j.value
    JOIN entry AS a ON a.id = (SELECT k.id FROM entry AS k
        WHERE k.dossier_id = d.id AND k.state IN ('accepted', 'unchanged', 'presumed')
        ORDER BY k.revision_id DESC, k.id DESC LIMIT 1)
    JOIN document AS o ON o.revision_id = a.revision_id JOIN entry AS newest ON newest.id = d.newest_entry_id
    WHERE d.lane_token IS NULL AND newest.state <> 'not_ours'
      AND NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = d.id
                      AND o.state IN ('received', 'ready', 'leased', 'unconfirmed'))
    RETURNING id, dossier_id, revision_id";

const FORGET_ACKNOWLEDGEMENT: &str = "
    UPDATE dossier SET portal_known = 'no', packet_state = 'open', acked_packet_hash = NULL, presumed_entry_id = NULL,
        steps_pending = 0,
        newest_entry_id = CASE WHEN j.revision_id = newest_revision_id THEN j.entry_id ELSE newest_entry_id END
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS entry_id, value->>2 AS revision_id
          FROM json_each(?1)) AS j
    WHERE dossier.id = j.dossier_id";

/// The portal may have lost a request for a supplement, or only say so; a second one can make the
/// dossier late.
const HOLD_SUPPLEMENTS: &str = "
    UPDATE step SET state = 'held', changed_at = ?1, failure = ?2
    WHERE dossier_id IN (SELECT value FROM json_each(?3)) AND trang_thai = '5'
      AND state IN ('acked', 'presumed_sent')";

const FORGET_FILES: &str =
    "DELETE FROM acked_files WHERE dossier_id IN (SELECT value FROM json_each(?1))";

/// What the portal lost with the dossier is owed again; mapping turns these into pending steps.
const FORGET_STEPS: &str = "
    UPDATE step SET state = 'withdrawn', changed_at = ?1, failure = ?2
    WHERE dossier_id IN (SELECT value FROM json_each(?3)) AND state <> 'leased'
      AND NOT (state = 'held' AND ?4 = 0 AND trang_thai = '5')";

/// Returns the dossiers that are owed again; the others have something open already, or their
/// document is past retention.
pub(super) async fn repair_missing(
    conn: &mut SqliteConnection,
    now: Timestamp,
    dossiers: &[i64],
    resend_supplements: bool,
) -> Result<Vec<i64>, LedgerError> {
    let doing = "repair lost dossiers";
    let rows = sqlx::query(REOPEN_LOST)
        .bind(now.millis())
        .bind(json(dossiers))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let reopened = reopened(&rows)?;
    run(conn, doing, sqlx::query(FORGET_ACKNOWLEDGEMENT).bind(json(&reopened))).await?;
    let ids: Vec<i64> = reopened.iter().map(|(dossier_id, ..)| *dossier_id).collect();
    forget_what_it_had(conn, now, &ids, resend_supplements).await?;
    Ok(ids)
}

/// dossier, entry, revision
fn reopened(rows: &[SqliteRow]) -> Result<Vec<(i64, i64, i64)>, LedgerError> {
    rows.iter()
        .map(|row| {
            let id: i64 = column(row, "entry", "id", 0)?;
            let dossier = column(row, "entry", "dossier_id", id)?;
            Ok((dossier, id, column(row, "entry", "revision_id", id)?))
        })
        .collect()
}

/// Steps and files that the portal does not have any more.
async fn forget_what_it_had(
    conn: &mut SqliteConnection,
    now: Timestamp,
    dossiers: &[i64],
    resend_supplements: bool,
) -> Result<(), LedgerError> {
    let doing = "repair lost dossiers";
    let ids = json(dossiers);
    if !resend_supplements {
        let why = Failure::new(
            STEP_MAYBE_SENT,
            Disposition::Ambiguous,
            "the portal had this request for a supplement and does not show the dossier any more",
        );
        let query =
            sqlx::query(HOLD_SUPPLEMENTS).bind(now.millis()).bind(json_one(&why)).bind(ids.clone());
        run(conn, doing, query).await?;
    }
    let note =
        Failure::new("portal.lost", Disposition::Retryable, "the portal lost the dossier it had");
    let query = sqlx::query(FORGET_STEPS)
        .bind(now.millis())
        .bind(json_one(&note))
        .bind(ids.clone())
        .bind(i64::from(resend_supplements));
    run(conn, doing, query).await?;
    run(conn, doing, sqlx::query(FORGET_FILES).bind(ids)).await.map(drop)
}

/// What stands in line behind a packet that was just taken is mapped anew, too: its own steps are all
/// that it would bring.
const REOPEN_FOR_STEPS: &str = "
    INSERT INTO entry (dossier_id, revision_id, state, priority, forced, created_at, changed_at, due_at)
    SELECT d.id, a.revision_id, 'received', d.priority, 1, ?1, ?1, ?1
    FROM json_each(?2) AS j JOIN dossier AS d ON d.id = j.value
    JOIN entry AS a ON a.id = (SELECT k.id FROM entry AS k
        WHERE k.dossier_id = d.id AND k.state IN ('accepted', 'unchanged', 'ready')
        ORDER BY k.revision_id DESC, k.id DESC LIMIT 1)
    JOIN document AS o ON o.revision_id = a.revision_id JOIN entry AS newest ON newest.id = d.newest_entry_id
    WHERE newest.state <> 'not_ours'
      AND NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = d.id AND o.state = 'received')
    RETURNING id, dossier_id, revision_id";

const OPEN_FOR_STEPS: &str = "
    UPDATE dossier SET packet_state = 'open', acked_packet_hash = NULL,
        newest_entry_id = CASE WHEN j.revision_id = newest_revision_id THEN j.entry_id ELSE newest_entry_id END
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS entry_id, value->>2 AS revision_id
          FROM json_each(?1)) AS j
    WHERE dossier.id = j.dossier_id";

const NO_STEPS_PENDING: &str =
    "UPDATE dossier SET steps_pending = 0 WHERE id IN (SELECT value FROM json_each(?1))";

/// The portal had lost these dossiers and has taken their packets as new. Their steps, which no
/// look-up shows, are owed again; mapping makes them, with one more packet.
pub(super) async fn owe_steps_again(
    conn: &mut SqliteConnection,
    now: Timestamp,
    dossiers: &[i64],
    resend_supplements: bool,
) -> Result<(), LedgerError> {
    let doing = "repair lost dossiers";
    let rows = sqlx::query(REOPEN_FOR_STEPS)
        .bind(now.millis())
        .bind(json(dossiers))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let reopened = reopened(&rows)?;
    run(conn, doing, sqlx::query(OPEN_FOR_STEPS).bind(json(&reopened))).await?;
    run(conn, doing, sqlx::query(NO_STEPS_PENDING).bind(json(dossiers))).await?;
    forget_what_it_had(conn, now, dossiers, resend_supplements).await
}

const INSERT_BOOKS: &str = "
    INSERT INTO reconciliation (source, started_at, ended_at, from_day, to_day, books, closed)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

pub(super) async fn record_books(
    conn: &mut SqliteConnection,
    books: &Books,
) -> Result<(), LedgerError> {
    let query = sqlx::query(INSERT_BOOKS)
        .bind(books.source.clone())
        .bind(books.started_at.millis())
        .bind(books.ended_at.millis())
        .bind(books.from_day.clone())
        .bind(books.to_day.clone())
        .bind(json_one(books))
        .bind(i64::from(books.closed));
    run(conn, "store closed books", query).await.map(|_| ())
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    DUE_UNCONFIRMED,
    DEFER_UNCONFIRMED,
    STANDINGS,
    OWN_STANDINGS,
    ACKED_PACKETS,
    SENT_PACKETS,
    ACKNOWLEDGED_CODES,
    NOTE_LOST,
    PARK_LOST,
    UPSERT_DISCREPANCIES,
    RESOLVE_DISCREPANCIES,
    REOPEN_LOST,
    FORGET_ACKNOWLEDGEMENT,
    HOLD_SUPPLEMENTS,
    FORGET_STEPS,
    REOPEN_FOR_STEPS,
    OPEN_FOR_STEPS,
    NO_STEPS_PENDING,
    SUSPECTED,
    FORGET_FILES,
    INSERT_BOOKS,
];
