//! Storing what a source said.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::LedgerError;
use super::super::body::{Bodies, Row};
use super::super::record::{Hash, PullCommit, PullCounts, ReceivedItem, SourcePosition};
use super::{column, failed, hex, json, json_one, restore, run};
use crate::domain::failure::Failure;
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::sabotage::{self, Defect};

/// The newest position whose page ended before the overlap began. The overlap is measured from the
/// newest change seen, so that a source that was silent for a day is not re-read for a day; but one
/// dossier that is dated tomorrow is seen today. Its position is none to begin from before tomorrow:
/// what changes until then stands before it.
const START: &str = "
    SELECT position FROM cursor
    WHERE source = ?1 AND newest_changed_at <= (
        SELECT max(min(newest_changed_at, recorded_at)) FROM (
            SELECT newest_changed_at, recorded_at FROM cursor
            WHERE source = ?1 ORDER BY newest_changed_at DESC LIMIT 64)) - ?2
    ORDER BY newest_changed_at DESC, id DESC LIMIT 1";

const SOURCE: &str =
    "SELECT etag, etag_cursor, caught_up_at, start_from FROM source WHERE name = ?1";

pub(super) async fn source_position(
    readers: &SqlitePool,
    source: &str,
    overlap_ms: u64,
) -> Result<SourcePosition, LedgerError> {
    let doing = "read a source's position";
    // One snapshot, so that the entity tag is never of another page than the position.
    let mut snapshot = readers.begin().await.map_err(|error| failed(doing, error))?;
    let start: Option<String> = sqlx::query_scalar(START)
        .bind(source.to_owned())
        .bind(i64::try_from(overlap_ms).unwrap_or(i64::MAX))
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(|error| failed(doing, error))?;
    let row = sqlx::query(SOURCE)
        .bind(source.to_owned())
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(|error| failed(doing, error))?;
    let Some(row) = row else {
        return Ok(SourcePosition { start, ..SourcePosition::default() });
    };
    let etag: Option<String> = column(&row, "source", "etag", 0)?;
    let etag_cursor: Option<String> = column(&row, "source", "etag_cursor", 0)?;
    let caught_up_at: Option<i64> = column(&row, "source", "caught_up_at", 0)?;
    let start_from: Option<i64> = column(&row, "source", "start_from", 0)?;
    Ok(SourcePosition {
        etag: etag.filter(|_| etag_cursor == start),
        start,
        caught_up: caught_up_at.is_some(),
        start_from: start_from.map(Timestamp::from_millis),
    })
}

/// What is stored of the dossiers of a page. `CROSS` makes the page the outer loop: the planner
/// would rather read all dossiers of the source.
const KNOWN: &str = "
    SELECT d.ma_ho_so, d.id, d.newest_version, d.newest_changed_at, d.newest_fingerprint, d.newest_entry_id,
           d.newest_revision_id
    FROM json_each(?2) AS j CROSS JOIN dossier AS d ON d.source = ?1 AND d.ma_ho_so = j.value";

/// Whether a revision that is not newer than the newest is stored already: for an older one its
/// content, for one of the same moment exactly itself.
const SEEN_BEFORE: &str = "
    SELECT EXISTS (SELECT 1 FROM revision WHERE dossier_id = ?1 AND fingerprint = ?2
                   AND (?3 = 1 OR (version IS ?4 AND changed_at IS ?5)))";

const LAST_IDS: &str = "
    SELECT (SELECT coalesce(max(id), 0) FROM dossier) AS dossier,
           (SELECT coalesce(max(id), 0) FROM revision) AS revision,
           (SELECT coalesce(max(id), 0) FROM entry) AS entry";

/// With a cut-over, whether an older program can have sent it is for mapping to say.
const INSERT_DOSSIERS: &str = "
    INSERT INTO dossier (id, source, ma_ho_so, first_seen_at, priority, adoption, cut_over)
    SELECT j.value->>0, ?1, j.value->>1, ?2, ?3, CASE WHEN s.start_from IS NULL THEN NULL ELSE 'awaiting' END,
           s.start_from
    FROM json_each(?4) AS j LEFT JOIN source AS s ON s.name = ?1";

const INSERT_REVISIONS: &str = "
    INSERT INTO revision (id, dossier_id, version, changed_at, fingerprint, received_at, deleted, ministry,
                          recoded_from, first_fill)
    SELECT value->>0, value->>1, value->>2, value->>3, unhex(value->>4), ?1, value->>5, value->>6, value->>7, ?3
    FROM json_each(?2)";

/// Bodies arrive as one blob; each row says where its own begins (from 1) and how long it is.
const INSERT_DOCUMENTS: &str = "
    INSERT INTO document (revision_id, stored_at, body)
    SELECT value->>0, ?1, substr(?2, value->>1, value->>2) FROM json_each(?3)";

const INSERT_ENTRIES: &str = "
    INSERT INTO entry (id, dossier_id, revision_id, state, priority, created_at, changed_at, due_at, superseded_by)
    SELECT value->>0, value->>1, value->>2, value->>3, ?1, ?2, ?2, ?2, value->>4 FROM json_each(?3)";

const UPDATE_NEWEST: &str = "
    UPDATE dossier SET newest_revision_id = j.revision_id, newest_entry_id = j.entry_id,
           newest_version = j.version, newest_changed_at = j.changed_at, newest_fingerprint = j.fingerprint
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS revision_id, value->>2 AS entry_id,
                 value->>3 AS version, value->>4 AS changed_at, unhex(value->>5) AS fingerprint
          FROM json_each(?1)) AS j
    WHERE dossier.id = j.dossier_id";

const INSERT_CURSOR: &str = "
    INSERT INTO cursor (source, position, newest_changed_at, recorded_at) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (source, position) DO NOTHING";

const UPSERT_SOURCE: &str = "
    INSERT INTO source (name, etag, etag_cursor, polled_at, caught_up_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (name) DO UPDATE SET etag = excluded.etag, etag_cursor = excluded.etag_cursor,
        polled_at = excluded.polled_at, caught_up_at = coalesce(excluded.caught_up_at, source.caught_up_at),
        failure = NULL, failing_since = NULL";

/// What is refused again stands again, with its evidence.
const INSERT_REFUSED: &str = "
    INSERT INTO refused_document (source, at, rule, reason, ma_ho_so, whole, hash, body, origin, asked_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?2)
    ON CONFLICT (source, hash) DO UPDATE SET at = excluded.at, body = excluded.body, origin = excluded.origin,
        resolved_at = NULL";

/// A page that could be read makes up for an unreadable answer, a readable item for an unreadable
/// one of the same dossier, a later file for an earlier one of its name.
const RESOLVE_REFUSED: &str = "
    UPDATE refused_document SET resolved_at = ?2
    WHERE source = ?1 AND resolved_at IS NULL
      AND (whole = 1 OR ma_ho_so IN (SELECT value FROM json_each(?3)) OR origin = ?4)";

const KNOWS_POSITION: &str =
    "SELECT EXISTS (SELECT 1 FROM cursor WHERE source = ?1 AND position = ?2)";

pub(super) async fn knows_position(
    readers: &SqlitePool,
    source: &str,
    position: &str,
) -> Result<bool, LedgerError> {
    sqlx::query_scalar(KNOWS_POSITION)
        .bind(source.to_owned())
        .bind(position.to_owned())
        .fetch_one(readers)
        .await
        .map_err(|error| failed("look for a position", error))
}

/// Those that were not asked for the longest come first.
const CLAIM_UNREAD: &str = "
    UPDATE refused_document SET asked_at = ?2
    WHERE id IN (SELECT id FROM refused_document
                 WHERE source = ?1 AND resolved_at IS NULL AND whole = 0 AND ma_ho_so IS NOT NULL
                   AND asked_at <= ?3
                 ORDER BY asked_at, id LIMIT +?4)
    RETURNING ma_ho_so";

pub(super) async fn claim_unread(
    conn: &mut SqliteConnection,
    source: &str,
    now: Timestamp,
    asked_until: Timestamp,
    limit: u32,
) -> Result<Vec<String>, LedgerError> {
    let mut codes: Vec<String> = sqlx::query_scalar(CLAIM_UNREAD)
        .bind(source.to_owned())
        .bind(now.millis())
        .bind(asked_until.millis())
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
        .map_err(|error| failed("choose unread dossiers", error))?;
    // Several documents may be kept of one dossier.
    codes.sort();
    codes.dedup();
    Ok(codes)
}

const UPSERT_FAILURE: &str = "
    INSERT INTO source (name, polled_at, failure, failing_since) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (name) DO UPDATE SET polled_at = excluded.polled_at, failure = excluded.failure,
        failing_since = CASE WHEN excluded.failure IS NULL THEN NULL
                             ELSE coalesce(source.failing_since, excluded.failing_since) END";

/// What is known of one dossier while a page is taken in.
#[derive(Clone)]
struct Known {
    id: i64,
    version: Option<i64>,
    changed_at: Option<Timestamp>,
    fingerprint: Option<Hash>,
    /// Of the newest revision.
    revision_id: Option<i64>,
    entry_id: Option<i64>,
    /// Stored before this page.
    stored: bool,
    /// This page changes what is known of the newest revision.
    touched: bool,
    /// The newest revision came with this page.
    spoken: bool,
}

impl Known {
    /// How an item stands to the newest revision: by version, then by time of change. `None` when
    /// the source says neither, so that only arrival counts.
    fn order_of(&self, item: &ReceivedItem) -> Option<Ordering> {
        let by_version = self.version.zip(item.version);
        let by_time = self.changed_at.zip(item.changed_at);
        let version = by_version.map(|(known, offered)| offered.cmp(&known));
        let time = by_time.map(|(known, offered)| offered.cmp(&known));
        match (version, time) {
            (Some(Ordering::Equal) | None, time) => time.or(version),
            (version, _) => version,
        }
    }
}

/// Fingerprint, version and time of change: exactly one revision of a dossier.
type RevisionKey = (i64, Hash, Option<i64>, Option<Timestamp>);

pub(super) async fn commit_pull(
    conn: &mut SqliteConnection,
    stored: &Bodies,
    commit: &PullCommit,
) -> Result<PullCounts, LedgerError> {
    let doing = "store a page";
    let at = commit.at.millis();
    let mut counts = PullCounts::default();
    let rereading =
        restore::state_of(conn, &commit.source).await?.is_some_and(|restored| restored.rereading);
    if !commit.items.is_empty() {
        store_items(conn, stored, commit, rereading, &mut counts).await?;
    }
    let codes: Vec<&str> = commit.items.iter().map(|item| item.ma_ho_so.as_str()).collect();
    let query = sqlx::query(RESOLVE_REFUSED)
        .bind(commit.source.clone())
        .bind(at)
        .bind(json(&codes))
        .bind(commit.origin.clone());
    run(conn, doing, query).await?;
    for refused in &commit.refused {
        counts.refused += 1;
        let hash = evidence_hash(commit.origin.as_deref(), &refused.evidence);
        let body = stored.write(refused_row(&hash), refused.evidence.as_bytes())?;
        let query = sqlx::query(INSERT_REFUSED)
            .bind(commit.source.clone())
            .bind(at)
            .bind(refused.rule.clone())
            .bind(refused.reason.clone())
            .bind(refused.ma_ho_so.clone())
            .bind(0i64)
            .bind(hash)
            .bind(body)
            .bind(commit.origin.clone());
        run(conn, doing, query).await?;
    }
    if let Some((position, newest_changed_at)) = &commit.cursor {
        let mut ended_at = newest_changed_at.map_or(at, Timestamp::millis);
        if sabotage::on(Defect::CursorFromTheFuture) {
            ended_at = ended_at.min(at);
        }
        let query = sqlx::query(INSERT_CURSOR)
            .bind(commit.source.clone())
            .bind(position.clone())
            .bind(ended_at)
            .bind(at);
        run(conn, doing, query).await?;
    }
    let (etag, etag_cursor) = commit.etag.clone().unzip();
    let query = sqlx::query(UPSERT_SOURCE)
        .bind(commit.source.clone())
        .bind(etag)
        .bind(etag_cursor.flatten())
        .bind(at)
        .bind(commit.caught_up.then_some(at));
    run(conn, doing, query).await?;
    if rereading && commit.caught_up {
        restore::read_to_its_end(conn, commit.at, &commit.source).await?;
    }
    Ok(counts)
}

/// Two empty files are two pieces of evidence.
fn evidence_hash(origin: Option<&str>, evidence: &str) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(origin.unwrap_or_default().as_bytes());
    hasher.update(evidence.as_bytes());
    hasher.finalize().as_bytes().to_vec()
}

async fn store_items(
    conn: &mut SqliteConnection,
    stored: &Bodies,
    commit: &PullCommit,
    rereading: bool,
    counts: &mut PullCounts,
) -> Result<(), LedgerError> {
    let doing = "store a page";
    let mut known = read_known(conn, commit).await?;
    let ids =
        sqlx::query(LAST_IDS).fetch_one(&mut *conn).await.map_err(|error| failed(doing, error))?;
    let mut next_dossier: i64 = column(&ids, "dossier", "dossier", 0)?;
    let mut next_revision: i64 = column(&ids, "revision", "revision", 0)?;
    let mut next_entry: i64 = column(&ids, "entry", "entry", 0)?;

    let mut dossiers: Vec<DossierRow<'_>> = Vec::new();
    let mut revisions: Vec<RevisionRow<'_>> = Vec::new();
    let mut entries: Vec<EntryRow> = Vec::new();
    let mut documents: Vec<DocumentRow> = Vec::new();
    let mut bodies: Vec<u8> = Vec::new();
    let mut in_this_page: BTreeSet<RevisionKey> = BTreeSet::new();
    for item in &commit.items {
        let dossier = known.entry(item.ma_ho_so.as_str()).or_insert_with(|| {
            next_dossier += 1;
            dossiers.push((next_dossier, item.ma_ho_so.as_str()));
            Known {
                id: next_dossier,
                version: None,
                changed_at: None,
                fingerprint: None,
                revision_id: None,
                entry_id: None,
                stored: false,
                touched: false,
                spoken: false,
            }
        });
        let mut order = dossier.order_of(item);
        if sabotage::on(Defect::OlderOvertakes) && order == Some(Ordering::Less) {
            order = Some(Ordering::Greater);
        }
        // In a restored ledger the same content under a newer version is news: what the portal was
        // sent in between is not known any more.
        let is_news = rereading && matches!(order, Some(Ordering::Greater) | None);
        if dossier.fingerprint == Some(item.fingerprint) && !is_news {
            counts.unchanged += 1;
            if order == Some(Ordering::Greater) {
                // The same content under a newer version: what arrives late must not pass for
                // newer than this.
                dossier.version = item.version.or(dossier.version);
                dossier.changed_at = item.changed_at.or(dossier.changed_at);
                dossier.touched = true;
            }
            continue;
        }
        // Reading the overlap again brings back what lost to the newest, or came at the same time.
        let older = order == Some(Ordering::Less);
        let not_newer = older || order == Some(Ordering::Equal);
        let key = (dossier.id, item.fingerprint, item.version, item.changed_at);
        let same_content = (dossier.id, item.fingerprint, None, None);
        let in_page = if older {
            let next = in_this_page.range(same_content..).next();
            next.is_some_and(|(id, fingerprint, ..)| (*id, *fingerprint) == (key.0, key.1))
        } else {
            in_this_page.contains(&key)
        };
        in_this_page.insert(key);
        // Of what a page says twice of one moment, the last word counts, known before or not.
        let has_last_word = order == Some(Ordering::Equal)
            && dossier.spoken
            && !sabotage::on(Defect::FirstWordCounts);
        if not_newer && in_page && !has_last_word {
            counts.unchanged += 1;
            continue;
        }
        if dossier.stored && not_newer && !has_last_word {
            let seen: bool = sqlx::query_scalar(SEEN_BEFORE)
                .bind(dossier.id)
                .bind(item.fingerprint.to_vec())
                .bind(i64::from(older))
                .bind(item.version)
                .bind(item.changed_at.map(Timestamp::millis))
                .fetch_one(&mut *conn)
                .await
                .map_err(|error| failed(doing, error))?;
            if seen {
                counts.unchanged += 1;
                continue;
            }
        }
        next_revision += 1;
        next_entry += 1;
        let body = stored.write(Row::of("document", next_revision), item.document.as_bytes())?;
        revisions.push((
            next_revision,
            dossier.id,
            item.version,
            item.changed_at,
            hex(&item.fingerprint),
            i64::from(item.deleted),
            i64::from(item.ministry),
            item.recoded_from.as_deref(),
        ));
        documents.push((next_revision, bodies.len() + 1, body.len()));
        bodies.extend_from_slice(&body);
        if older {
            counts.outdated += 1;
            entries.push((next_entry, dossier.id, next_revision, "superseded", dossier.entry_id));
        } else {
            counts.new += 1;
            entries.push((next_entry, dossier.id, next_revision, "received", None));
            dossier.version = item.version;
            dossier.changed_at = item.changed_at;
            dossier.fingerprint = Some(item.fingerprint);
            dossier.revision_id = Some(next_revision);
            dossier.entry_id = Some(next_entry);
            dossier.touched = true;
            dossier.spoken = true;
        }
    }
    if !revisions.is_empty() {
        let page = NewRows { dossiers, revisions, documents, bodies, entries };
        insert_revisions(conn, commit, page).await?;
    }
    let newest: Vec<NewestRow> = known
        .values()
        .filter(|dossier| dossier.touched)
        .map(|dossier| {
            (
                dossier.id,
                dossier.revision_id,
                dossier.entry_id,
                dossier.version,
                dossier.changed_at,
                dossier.fingerprint.as_ref().map(hex),
            )
        })
        .collect();
    if !newest.is_empty() {
        run(conn, doing, sqlx::query(UPDATE_NEWEST).bind(json(&newest))).await?;
    }
    Ok(())
}

/// id, code
type DossierRow<'a> = (i64, &'a str);
/// id, dossier, version, changed at, fingerprint, deleted, ministry, code before
type RevisionRow<'a> =
    (i64, i64, Option<i64>, Option<Timestamp>, String, i64, i64, Option<&'a str>);
/// revision, where its body begins, its length
type DocumentRow = (i64, usize, usize);
/// id, dossier, revision, state, superseded by
type EntryRow = (i64, i64, i64, &'static str, Option<i64>);
/// dossier, revision, entry, version, changed at, fingerprint
type NewestRow = (i64, Option<i64>, Option<i64>, Option<i64>, Option<Timestamp>, Option<String>);

/// What a page adds.
struct NewRows<'a> {
    dossiers: Vec<DossierRow<'a>>,
    revisions: Vec<RevisionRow<'a>>,
    documents: Vec<DocumentRow>,
    bodies: Vec<u8>,
    entries: Vec<EntryRow>,
}

async fn insert_revisions(
    conn: &mut SqliteConnection,
    commit: &PullCommit,
    page: NewRows<'_>,
) -> Result<(), LedgerError> {
    let doing = "store a page";
    let at = commit.at.millis();
    let query = sqlx::query(INSERT_DOSSIERS)
        .bind(commit.source.clone())
        .bind(at)
        .bind(commit.priority.rank())
        .bind(json(&page.dossiers));
    run(conn, doing, query).await?;
    let query = sqlx::query(INSERT_REVISIONS)
        .bind(at)
        .bind(json(&page.revisions))
        .bind(commit.priority == Priority::Backfill);
    run(conn, doing, query).await?;
    let query =
        sqlx::query(INSERT_DOCUMENTS).bind(at).bind(page.bodies).bind(json(&page.documents));
    run(conn, doing, query).await?;
    let query =
        sqlx::query(INSERT_ENTRIES).bind(commit.priority.rank()).bind(at).bind(json(&page.entries));
    run(conn, doing, query).await.map(|_| ())
}

async fn read_known<'a>(
    conn: &mut SqliteConnection,
    commit: &'a PullCommit,
) -> Result<BTreeMap<&'a str, Known>, LedgerError> {
    let codes: Vec<&str> = commit.items.iter().map(|item| item.ma_ho_so.as_str()).collect();
    let rows = sqlx::query(KNOWN)
        .bind(commit.source.clone())
        .bind(json(&codes))
        .fetch_all(conn)
        .await
        .map_err(|error| failed("store a page", error))?;
    let mut stored = BTreeMap::new();
    for row in rows {
        let id: i64 = column(&row, "dossier", "id", 0)?;
        let fingerprint: Option<Vec<u8>> = column(&row, "dossier", "newest_fingerprint", id)?;
        let code: String = column(&row, "dossier", "ma_ho_so", id)?;
        let known = Known {
            id,
            version: column(&row, "dossier", "newest_version", id)?,
            changed_at: column::<Option<i64>>(&row, "dossier", "newest_changed_at", id)?
                .map(Timestamp::from_millis),
            fingerprint: fingerprint.and_then(|bytes| bytes.try_into().ok()),
            revision_id: column(&row, "dossier", "newest_revision_id", id)?,
            entry_id: column(&row, "dossier", "newest_entry_id", id)?,
            stored: true,
            touched: false,
            spoken: false,
        };
        stored.insert(code, known);
    }
    Ok(codes
        .into_iter()
        .filter_map(|code| stored.get(code).map(|known| (code, known.clone())))
        .collect())
}

/// Its number is SQLite's to give, so its hash identifies it.
pub(super) const fn refused_row(hash: &[u8]) -> Row<'_> {
    Row::hashed("refused_document", hash, 0)
}

pub(super) async fn record_poll_failure(
    conn: &mut SqliteConnection,
    stored: &Bodies,
    source: &str,
    at: Timestamp,
    failure: Option<&Failure>,
    evidence: Option<&[u8]>,
) -> Result<(), LedgerError> {
    let doing = "record a poll";
    let query = sqlx::query(UPSERT_FAILURE)
        .bind(source.to_owned())
        .bind(at.millis())
        .bind(failure.map(json_one))
        .bind(failure.map(|_| at.millis()));
    run(conn, doing, query).await?;
    if failure.is_none() {
        // What it says is unchanged was readable: no item of it, but the answer.
        let query = sqlx::query(RESOLVE_REFUSED)
            .bind(source.to_owned())
            .bind(at.millis())
            .bind("[]")
            .bind(None::<String>);
        run(conn, doing, query).await?;
    }
    if let (Some(failure), Some(evidence)) = (failure, evidence) {
        let hash = *blake3::hash(evidence).as_bytes();
        let body = stored.write(refused_row(&hash), evidence)?;
        let query = sqlx::query(INSERT_REFUSED)
            .bind(source.to_owned())
            .bind(at.millis())
            .bind(failure.code.clone())
            .bind(failure.message.clone())
            .bind(None::<String>)
            .bind(1i64)
            .bind(hash.to_vec())
            .bind(body)
            .bind(None::<String>);
        run(conn, doing, query).await?;
    }
    Ok(())
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    START,
    SOURCE,
    KNOWN,
    SEEN_BEFORE,
    LAST_IDS,
    INSERT_DOSSIERS,
    INSERT_REVISIONS,
    INSERT_DOCUMENTS,
    INSERT_ENTRIES,
    UPDATE_NEWEST,
    INSERT_CURSOR,
    UPSERT_SOURCE,
    INSERT_REFUSED,
    RESOLVE_REFUSED,
    KNOWS_POSITION,
    CLAIM_UNREAD,
    UPSERT_FAILURE,
];
