//! What may go after its time, class by class, a few rows at a time.
//!
//! Each class is walked in an order that its table already has, some rows a pass, and the place where
//! it stopped is remembered: no pass reads a whole table or holds the writer for long, and what may
//! never go (newest revisions and entries, what is not settled, what is under a legal hold) is passed
//! over once a round and not once a pass.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::LedgerError;
use super::super::record::Retention;
use super::{failed, json, json_one, run, unreadable};
use crate::domain::time::Timestamp;

const DOING: &str = "drop what is past retention";

/// One kind of rows that go together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    name: &'static str,
    /// Time and id of the next rows; parameters are the last time and id, and how many.
    window: &'static str,
    /// Of these ids the ones that may go, with their dossier; parameters are the ids and the cut.
    doomed: &'static str,
    /// Deletes these ids.
    delete: &'static str,
    age: fn(&Retention) -> u64,
    /// The window's order is that of time, so that the first one that is too young ends the round.
    by_age: bool,
    /// Counts what a dossier's history loses.
    note: Option<&'static str>,
    is_body: bool,
}

const PACKETS_WINDOW: &str = "
    SELECT stored_at AS at, entry_id AS id FROM packet WHERE (stored_at, entry_id) > (?1, ?2)
    ORDER BY stored_at, entry_id LIMIT +?3";

/// Packets of settled entries; those that wait for a person keep theirs.
const PACKETS_DOOMED: &str = "
    SELECT e.id, e.dossier_id FROM json_each(?1) AS j CROSS JOIN entry AS e ON e.id = j.value
    WHERE e.changed_at <= ?2 AND e.state IN ('accepted', 'superseded', 'unchanged', 'not_ours', 'presumed')
      AND NOT EXISTS (SELECT 1 FROM legal_hold AS h WHERE h.dossier_id = e.dossier_id AND h.released_at IS NULL)";

const PACKETS_DELETE: &str =
    "DELETE FROM packet WHERE entry_id IN (SELECT value FROM json_each(?1))";

const DOCUMENTS_WINDOW: &str = "
    SELECT stored_at AS at, revision_id AS id FROM document WHERE (stored_at, revision_id) > (?1, ?2)
    ORDER BY stored_at, revision_id LIMIT +?3";

const DOCUMENTS_DOOMED: &str = "
    SELECT r.id, r.dossier_id FROM json_each(?1) AS j CROSS JOIN revision AS r ON r.id = j.value
    WHERE NOT EXISTS (SELECT 1 FROM entry AS e WHERE e.dossier_id = r.dossier_id AND e.revision_id = r.id
                      AND (e.changed_at > ?2 OR e.state NOT IN ('accepted', 'superseded', 'unchanged', 'not_ours',
                                                                 'presumed')))
      AND NOT EXISTS (SELECT 1 FROM legal_hold AS h WHERE h.dossier_id = r.dossier_id AND h.released_at IS NULL)";

const DOCUMENTS_DELETE: &str =
    "DELETE FROM document WHERE revision_id IN (SELECT value FROM json_each(?1))";

const STEP_BODIES_WINDOW: &str = "
    SELECT stored_at AS at, id FROM step_body WHERE (stored_at, id) > (?1, ?2)
    ORDER BY stored_at, id LIMIT +?3";

const STEP_BODIES_DOOMED: &str = "
    SELECT b.id, b.dossier_id FROM json_each(?1) AS j CROSS JOIN step_body AS b ON b.id = j.value
    WHERE NOT EXISTS (SELECT 1 FROM step AS s WHERE s.dossier_id = b.dossier_id AND s.body_id = b.id
                      AND (s.changed_at > ?2 OR s.state NOT IN ('acked', 'presumed_sent', 'withdrawn')))
      AND NOT EXISTS (SELECT 1 FROM legal_hold AS h WHERE h.dossier_id = b.dossier_id AND h.released_at IS NULL)";

const STEP_BODIES_DELETE: &str =
    "DELETE FROM step_body WHERE id IN (SELECT value FROM json_each(?1))";

const EVIDENCE_WINDOW: &str = "
    SELECT at, id FROM refused_document WHERE body IS NOT NULL AND (at, id) > (?1, ?2)
    ORDER BY at, id LIMIT +?3";

/// What the source has not mended yet waits for a person, who needs to see it.
const EVIDENCE_DOOMED: &str = "
    SELECT f.id, NULL AS dossier_id FROM json_each(?1) AS j CROSS JOIN refused_document AS f ON f.id = j.value
    WHERE f.resolved_at <= ?2
      AND NOT EXISTS (SELECT 1 FROM dossier AS d JOIN legal_hold AS h ON h.dossier_id = d.id AND h.released_at IS NULL
                      WHERE d.source = f.source AND d.ma_ho_so = f.ma_ho_so)";

const EVIDENCE_DELETE: &str =
    "UPDATE refused_document SET body = NULL WHERE id IN (SELECT value FROM json_each(?1))";

const REFUSED_WINDOW: &str =
    "SELECT at, id FROM refused_document WHERE id > ?2 AND ?1 IS NOT NULL ORDER BY id LIMIT +?3";

const REFUSED_DOOMED: &str = "
    SELECT f.id, NULL AS dossier_id FROM json_each(?1) AS j CROSS JOIN refused_document AS f ON f.id = j.value
    WHERE f.resolved_at <= ?2 AND f.body IS NULL";

const REFUSED_DELETE: &str =
    "DELETE FROM refused_document WHERE id IN (SELECT value FROM json_each(?1))";

const ATTEMPTS_WINDOW: &str =
    "SELECT at, id FROM attempt WHERE id > ?2 AND ?1 IS NOT NULL ORDER BY id LIMIT +?3";

/// Of dossiers that are settled as a whole; with one go all that are before it in its chain, so that no
/// chain is cut in its middle.
const ATTEMPTS_DOOMED: &str = "
    WITH RECURSIVE doomed (id, dossier_id, previous_id) AS (
    SELECT a.id, a.dossier_id, a.previous_id FROM json_each(?1) AS j CROSS JOIN attempt AS a ON a.id = j.value
    WHERE a.at <= ?2
      AND NOT EXISTS (SELECT 1 FROM legal_hold AS h WHERE h.dossier_id = a.dossier_id AND h.released_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = a.dossier_id AND o.state IN
                      ('received', 'quarantined', 'ready', 'leased', 'unconfirmed', 'dead'))
      AND NOT EXISTS (SELECT 1 FROM step AS s WHERE s.dossier_id = a.dossier_id
                      AND s.state IN ('pending', 'leased', 'held'))
    UNION
    SELECT a.id, a.dossier_id, a.previous_id FROM doomed AS c CROSS JOIN attempt AS a ON a.id = c.previous_id
    WHERE a.dossier_id = c.dossier_id AND a.id < c.id)
    SELECT id, dossier_id FROM doomed";

const ATTEMPTS_DELETE: &str = "DELETE FROM attempt WHERE id IN (SELECT value FROM json_each(?1))";

const CALLS_WINDOW: &str =
    "SELECT started_at AS at, id FROM call WHERE id > ?2 AND ?1 IS NOT NULL ORDER BY id LIMIT +?3";

/// A call belongs to every dossier that was in it: it stays while one of them keeps its attempts.
/// State by state, because each has its own small index.
const CALLS_DOOMED: &str = "
    WITH RECURSIVE kept (dossier_id) AS (
            SELECT dossier_id FROM legal_hold WHERE released_at IS NULL
            UNION SELECT dossier_id FROM entry WHERE state IN ('quarantined', 'dead') AND changed_at > 0
            UNION SELECT dossier_id FROM entry WHERE state = 'received' AND created_at <= ?2
            UNION SELECT dossier_id FROM entry WHERE state = 'ready' AND created_at <= ?2
            UNION SELECT dossier_id FROM entry WHERE state = 'awaiting' AND created_at <= ?2
            UNION SELECT dossier_id FROM entry WHERE state = 'leased' AND created_at <= ?2
            UNION SELECT dossier_id FROM entry WHERE state = 'unconfirmed' AND created_at <= ?2
            UNION SELECT dossier_id FROM step WHERE state = 'held' AND changed_at > 0),
    chain (id, previous_id, dossier_id, call_id) AS (
        SELECT a.id, a.previous_id, a.dossier_id, a.call_id FROM kept CROSS JOIN dossier AS d ON d.id = kept.dossier_id
        CROSS JOIN attempt AS a ON a.id = d.last_attempt_id WHERE a.dossier_id = d.id
        UNION ALL
        SELECT a.id, a.previous_id, a.dossier_id, a.call_id FROM chain AS c CROSS JOIN attempt AS a ON a.id = c.previous_id
        WHERE a.dossier_id = c.dossier_id AND a.id < c.id)
    SELECT c.id, NULL AS dossier_id FROM json_each(?1) AS j CROSS JOIN call AS c ON c.id = j.value
    WHERE c.started_at <= ?2
      AND c.id NOT IN (
        SELECT call_id FROM chain WHERE call_id IS NOT NULL
        UNION ALL
        SELECT a.call_id FROM kept CROSS JOIN attempt AS a ON a.dossier_id = kept.dossier_id AND a.previous_id IS NULL
        WHERE a.call_id IS NOT NULL AND a.at <= ?2)";

const CALLS_DELETE: &str = "DELETE FROM call WHERE id IN (SELECT value FROM json_each(?1))";

const ENTRIES_WINDOW: &str =
    "SELECT changed_at AS at, id FROM entry WHERE id > ?2 AND ?1 IS NOT NULL ORDER BY id LIMIT +?3";

/// The newest entry and the acknowledged (or presumed) one stay, whatever their age: they are what the ledger
/// knows of the dossier.
const ENTRIES_DOOMED: &str = "
    SELECT e.id, e.dossier_id FROM json_each(?1) AS j CROSS JOIN entry AS e ON e.id = j.value
    CROSS JOIN dossier AS d ON d.id = e.dossier_id
    WHERE e.changed_at <= ?2 AND e.state IN ('accepted', 'superseded', 'unchanged', 'not_ours', 'presumed')
      AND e.id IS NOT d.newest_entry_id AND e.id IS NOT d.acked_entry_id AND e.id IS NOT d.presumed_entry_id
      AND NOT EXISTS (SELECT 1 FROM packet AS p WHERE p.entry_id = e.id)
      AND NOT EXISTS (SELECT 1 FROM legal_hold AS h WHERE h.dossier_id = e.dossier_id AND h.released_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = e.dossier_id AND o.state IN
                      ('received', 'quarantined', 'ready', 'awaiting', 'leased', 'unconfirmed', 'dead'))";

const ENTRIES_DELETE: &str = "DELETE FROM entry WHERE id IN (SELECT value FROM json_each(?1))";

const REVISIONS_WINDOW: &str = "SELECT received_at AS at, id FROM revision WHERE id > ?2 AND ?1 IS NOT NULL ORDER BY id LIMIT +?3";

const REVISIONS_DOOMED: &str = "
    SELECT r.id, r.dossier_id FROM json_each(?1) AS j CROSS JOIN revision AS r ON r.id = j.value
    CROSS JOIN dossier AS d ON d.id = r.dossier_id
    WHERE r.received_at <= ?2 AND r.id IS NOT d.newest_revision_id
      AND NOT EXISTS (SELECT 1 FROM entry AS e WHERE e.revision_id = r.id)
      AND NOT EXISTS (SELECT 1 FROM document AS o WHERE o.revision_id = r.id)
      AND NOT EXISTS (SELECT 1 FROM legal_hold AS h WHERE h.dossier_id = r.dossier_id AND h.released_at IS NULL)";

const REVISIONS_DELETE: &str = "DELETE FROM revision WHERE id IN (SELECT value FROM json_each(?1))";

const BOOKS_WINDOW: &str = "SELECT ended_at AS at, id FROM reconciliation WHERE id > ?2 AND ?1 IS NOT NULL ORDER BY id LIMIT +?3";

/// The last books of a source stay.
const BOOKS_DOOMED: &str = "
    SELECT b.id, NULL AS dossier_id FROM json_each(?1) AS j CROSS JOIN reconciliation AS b ON b.id = j.value
    WHERE b.ended_at <= ?2
      AND EXISTS (SELECT 1 FROM reconciliation AS n WHERE n.id > b.id AND n.source = b.source)";

const BOOKS_DELETE: &str =
    "DELETE FROM reconciliation WHERE id IN (SELECT value FROM json_each(?1))";

const DISCREPANCIES_WINDOW: &str = "SELECT found_at AS at, id FROM discrepancy WHERE id > ?2 AND ?1 IS NOT NULL ORDER BY id LIMIT +?3";

const DISCREPANCIES_DOOMED: &str = "
    SELECT x.id, NULL AS dossier_id FROM json_each(?1) AS j CROSS JOIN discrepancy AS x ON x.id = j.value
    WHERE x.resolved_at <= ?2
      AND NOT EXISTS (SELECT 1 FROM legal_hold AS h WHERE h.dossier_id = x.dossier_id AND h.released_at IS NULL)";

const DISCREPANCIES_DELETE: &str =
    "DELETE FROM discrepancy WHERE id IN (SELECT value FROM json_each(?1))";

const NOTE_ATTEMPTS: &str = "
    INSERT INTO trimmed (dossier_id, attempts, at) SELECT value->>0, value->>1, ?1 FROM json_each(?2) WHERE true
    ON CONFLICT (dossier_id) DO UPDATE SET attempts = attempts + excluded.attempts, at = excluded.at";

const NOTE_ENTRIES: &str = "
    INSERT INTO trimmed (dossier_id, entries, at) SELECT value->>0, value->>1, ?1 FROM json_each(?2) WHERE true
    ON CONFLICT (dossier_id) DO UPDATE SET entries = entries + excluded.entries, at = excluded.at";

const NOTE_REVISIONS: &str = "
    INSERT INTO trimmed (dossier_id, revisions, at) SELECT value->>0, value->>1, ?1 FROM json_each(?2) WHERE true
    ON CONFLICT (dossier_id) DO UPDATE SET revisions = revisions + excluded.revisions, at = excluded.at";

/// In this order: bodies before the rows they hang on, attempts before their calls.
pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "packet",
        window: PACKETS_WINDOW,
        doomed: PACKETS_DOOMED,
        delete: PACKETS_DELETE,
        age: |keep| keep.bodies_ms,
        by_age: true,
        note: None,
        is_body: true,
    },
    Class {
        name: "document",
        window: DOCUMENTS_WINDOW,
        doomed: DOCUMENTS_DOOMED,
        delete: DOCUMENTS_DELETE,
        age: |keep| keep.bodies_ms,
        by_age: true,
        note: None,
        is_body: true,
    },
    Class {
        name: "step_body",
        window: STEP_BODIES_WINDOW,
        doomed: STEP_BODIES_DOOMED,
        delete: STEP_BODIES_DELETE,
        age: |keep| keep.bodies_ms,
        by_age: true,
        note: None,
        is_body: true,
    },
    Class {
        name: "evidence",
        window: EVIDENCE_WINDOW,
        doomed: EVIDENCE_DOOMED,
        delete: EVIDENCE_DELETE,
        age: |keep| keep.bodies_ms,
        by_age: true,
        note: None,
        is_body: true,
    },
    Class {
        name: "refused_document",
        window: REFUSED_WINDOW,
        doomed: REFUSED_DOOMED,
        delete: REFUSED_DELETE,
        age: |keep| keep.revisions_ms,
        by_age: false,
        note: None,
        is_body: false,
    },
    Class {
        name: "attempt",
        window: ATTEMPTS_WINDOW,
        doomed: ATTEMPTS_DOOMED,
        delete: ATTEMPTS_DELETE,
        age: |keep| keep.attempts_ms,
        by_age: true,
        note: Some(NOTE_ATTEMPTS),
        is_body: false,
    },
    Class {
        name: "call",
        window: CALLS_WINDOW,
        doomed: CALLS_DOOMED,
        delete: CALLS_DELETE,
        age: |keep| keep.attempts_ms,
        by_age: true,
        note: None,
        is_body: false,
    },
    Class {
        name: "entry",
        window: ENTRIES_WINDOW,
        doomed: ENTRIES_DOOMED,
        delete: ENTRIES_DELETE,
        age: |keep| keep.revisions_ms,
        by_age: false,
        note: Some(NOTE_ENTRIES),
        is_body: false,
    },
    Class {
        name: "revision",
        window: REVISIONS_WINDOW,
        doomed: REVISIONS_DOOMED,
        delete: REVISIONS_DELETE,
        age: |keep| keep.revisions_ms,
        by_age: true,
        note: Some(NOTE_REVISIONS),
        is_body: false,
    },
    Class {
        name: "reconciliation",
        window: BOOKS_WINDOW,
        doomed: BOOKS_DOOMED,
        delete: BOOKS_DELETE,
        age: |keep| keep.books_ms,
        by_age: true,
        note: None,
        is_body: false,
    },
    Class {
        name: "discrepancy",
        window: DISCREPANCIES_WINDOW,
        doomed: DISCREPANCIES_DOOMED,
        delete: DISCREPANCIES_DELETE,
        age: |keep| keep.books_ms,
        by_age: true,
        note: None,
        is_body: false,
    },
];

const POSITION: &str = "SELECT at, id FROM retention WHERE class = ?1";

const MOVE: &str = "
    INSERT INTO retention (class, at, id) VALUES (?1, ?2, ?3)
    ON CONFLICT (class) DO UPDATE SET at = excluded.at, id = excluded.id";

/// The next rows of one class, read beside the writer.
#[derive(Debug)]
pub(super) struct Window {
    ids: Vec<i64>,
    cut: i64,
    from: (i64, i64),
    /// Where the next pass goes on.
    next: (i64, i64),
}

impl Window {
    /// Nothing to look at and nothing to remember.
    pub(super) fn is_idle(&self) -> bool {
        self.ids.is_empty() && self.next == self.from
    }
}

impl Class {
    pub(super) const fn is_body(&self) -> bool {
        self.is_body
    }

    /// Reads where the class stands and what comes next.
    pub(super) async fn look(
        &self,
        readers: &SqlitePool,
        now: Timestamp,
        keep: &Retention,
    ) -> Result<Window, LedgerError> {
        let age = i64::try_from((self.age)(keep)).unwrap_or(i64::MAX);
        let cut = now.millis().saturating_sub(age);
        let from: (i64, i64) = sqlx::query_as(POSITION)
            .bind(self.name)
            .fetch_optional(readers)
            .await
            .map_err(|error| failed(DOING, error))?
            .unwrap_or((i64::MIN, i64::MIN));
        let rows: Vec<(i64, i64)> = sqlx::query_as(self.window)
            .bind(from.0)
            .bind(from.1)
            .bind(i64::from(keep.rows_max))
            .fetch_all(readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        let full = rows.len() == keep.rows_max as usize;
        let young = rows.iter().position(|(at, _)| *at > cut).filter(|_| self.by_age);
        let looked_at = &rows[..young.unwrap_or(rows.len())];
        let start = (i64::MIN, i64::MIN);
        let next = match looked_at.last() {
            Some(last) if full && young.is_none() => *last,
            _ => start,
        };
        Ok(Window { ids: looked_at.iter().map(|(_, id)| *id).collect(), cut, from, next })
    }

    /// Deletes what may go of a window; the conditions are asked here, under the writer.
    pub(super) async fn drop(
        &self,
        conn: &mut SqliteConnection,
        now: Timestamp,
        window: &Window,
    ) -> Result<u64, LedgerError> {
        let rows = sqlx::query(self.doomed)
            .bind(json(&window.ids))
            .bind(window.cut)
            .fetch_all(&mut *conn)
            .await
            .map_err(|error| failed(DOING, error))?;
        let mut ids: Vec<i64> = Vec::with_capacity(rows.len());
        let mut by_dossier: std::collections::BTreeMap<i64, u64> =
            std::collections::BTreeMap::new();
        for row in &rows {
            ids.push(row.get(0));
            if let Some(dossier_id) = row.get::<Option<i64>, _>(1) {
                *by_dossier.entry(dossier_id).or_default() += 1;
            }
        }
        let mut dropped = 0;
        if !ids.is_empty() {
            dropped = run(conn, DOING, sqlx::query(self.delete).bind(json(&ids))).await?;
            if let Some(note) = self.note {
                let losses: Vec<(i64, u64)> = by_dossier.into_iter().collect();
                let query = sqlx::query(note).bind(now.millis()).bind(json(&losses));
                run(conn, DOING, query).await?;
            }
        }
        if self.name == "entry" {
            set_aside_unreadable(conn, now, window).await?;
        }
        if window.next != window.from {
            let query = sqlx::query(MOVE).bind(self.name).bind(window.next.0).bind(window.next.1);
            run(conn, DOING, query).await?;
        }
        Ok(dropped)
    }
}

/// Nothing claims an entry whose state is none of the machine's; without this nobody would hear of
/// it either.
const SET_ASIDE_STATES: &str = "
    UPDATE entry SET state = 'quarantined', changed_at = ?1, failure = ?2, failure_code = ?3, diagnostics = NULL,
        lease_token = NULL, lease_expires_at = NULL
    WHERE id IN (SELECT value FROM json_each(?4))
      AND state NOT IN ('received', 'quarantined', 'not_ours', 'unchanged', 'ready', 'leased', 'unconfirmed',
                        'accepted', 'dead', 'superseded', 'awaiting', 'presumed')
    RETURNING dossier_id, id";

const FREE_LANES: &str = "
    UPDATE dossier SET lane_token = NULL, packet_state = 'dead'
    WHERE id IN (SELECT value->>0 FROM json_each(?1))
      AND NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = dossier.id AND o.state IN ('leased', 'unconfirmed'))
      AND newest_entry_id IN (SELECT value->>1 FROM json_each(?1))";

/// Envelopes are only shown; one that is no JSON any more would hide the whole dossier.
const REPLACE_ENVELOPES: &str = "
    UPDATE entry SET failure = ?1, diagnostics = NULL
    WHERE id IN (SELECT value FROM json_each(?2)) AND (NOT json_valid(failure) OR NOT json_valid(diagnostics))";

async fn set_aside_unreadable(
    conn: &mut SqliteConnection,
    now: Timestamp,
    window: &Window,
) -> Result<(), LedgerError> {
    let ids = json(&window.ids);
    let failure = unreadable("the stored state cannot be read back");
    let lanes: Vec<(i64, i64)> = sqlx::query_as(SET_ASIDE_STATES)
        .bind(now.millis())
        .bind(json_one(&failure))
        .bind(failure.code)
        .bind(ids.clone())
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    if !lanes.is_empty() {
        tracing::error!(entries = lanes.len(), "unreadable entries were set aside as problems");
        run(conn, DOING, sqlx::query(FREE_LANES).bind(json(&lanes))).await?;
    }
    let failure = unreadable("the stored details cannot be read back");
    let query = sqlx::query(REPLACE_ENVELOPES).bind(json_one(&failure)).bind(ids);
    run(conn, DOING, query).await.map(|_| ())
}

const FREE_PAGES: &str = "
    SELECT (SELECT auto_vacuum FROM pragma_auto_vacuum), (SELECT freelist_count FROM pragma_freelist_count),
           (SELECT page_count FROM pragma_page_count)";

/// Moves pages from the end of the file into holes and cuts the file; a few megabytes a pass.
const GIVE_BACK: &str = "PRAGMA incremental_vacuum(1000)";

/// Holes that are kept for what comes next: a file that shrinks tonight and grows tomorrow moves
/// pages for nothing.
const fn spare(pages: i64) -> i64 {
    256 + pages / 20
}

/// Gives room back to the disk. A ledger from before this could be done keeps its holes and fills
/// them again, until `hoso ledger compact`.
pub(super) async fn give_back(writer: &SqlitePool) -> Result<u64, LedgerError> {
    let pages = |row: Result<(i64, i64, i64), _>| row.map_err(|error| failed(DOING, error));
    let (mode, free, all) = pages(sqlx::query_as(FREE_PAGES).fetch_one(writer).await)?;
    if mode != 2 || free <= spare(all) {
        return Ok(0);
    }
    sqlx::query(GIVE_BACK).execute(writer).await.map_err(|error| failed(DOING, error))?;
    let (_, _, left) = pages(sqlx::query_as(FREE_PAGES).fetch_one(writer).await)?;
    Ok(u64::try_from(all - left).unwrap_or(0))
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    PACKETS_WINDOW,
    PACKETS_DOOMED,
    PACKETS_DELETE,
    DOCUMENTS_WINDOW,
    DOCUMENTS_DOOMED,
    DOCUMENTS_DELETE,
    STEP_BODIES_WINDOW,
    STEP_BODIES_DOOMED,
    STEP_BODIES_DELETE,
    EVIDENCE_WINDOW,
    EVIDENCE_DOOMED,
    EVIDENCE_DELETE,
    REFUSED_WINDOW,
    REFUSED_DOOMED,
    REFUSED_DELETE,
    ATTEMPTS_WINDOW,
    ATTEMPTS_DOOMED,
    ATTEMPTS_DELETE,
    CALLS_WINDOW,
    CALLS_DOOMED,
    CALLS_DELETE,
    ENTRIES_WINDOW,
    ENTRIES_DOOMED,
    ENTRIES_DELETE,
    REVISIONS_WINDOW,
    REVISIONS_DOOMED,
    REVISIONS_DELETE,
    BOOKS_WINDOW,
    BOOKS_DOOMED,
    BOOKS_DELETE,
    DISCREPANCIES_WINDOW,
    DISCREPANCIES_DOOMED,
    DISCREPANCIES_DELETE,
    NOTE_ATTEMPTS,
    NOTE_ENTRIES,
    NOTE_REVISIONS,
    POSITION,
    MOVE,
    SET_ASIDE_STATES,
    FREE_LANES,
    REPLACE_ENVELOPES,
];
