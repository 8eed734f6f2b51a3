//! Versions of the portal's catalogues, and the dossiers that wait for a code in them.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::LedgerError;
use super::super::body::{Bodies, Row as Place};
use super::super::record::{
    AuditRecord, CatalogueChange, CatalogueStanding, CatalogueVersion, CatalogueWish, FetchOutcome,
    FetchedCatalogue, HeldScope,
};
use super::audit::insert_audit;
use super::{call, column, envelope, failed, json, json_one, run};
use crate::domain::catalogue::{CatalogueDiff, CatalogueItem, CatalogueKey, CatalogueKind};
use crate::domain::failure::Failure;
use crate::domain::time::Timestamp;

/// What the portal publishes is nobody's secret, so it is never sealed.
const PUBLIC: Bodies = Bodies::plain();

/// A row a list, and one a procedure that is used: some hundreds.
const CATALOGUES: &str = "
    SELECT c.kind, c.procedure, c.version_id, v.items, v.accepted_at, c.confirmed_at, c.tried_at, c.failures,
           c.failing_since, c.failure, c.asked_at, c.accept_shrunken, c.uses, c.used_at
    FROM catalogue AS c LEFT JOIN catalogue_version AS v ON v.id = c.version_id
    ORDER BY c.kind, c.procedure";

pub(super) async fn catalogues(
    readers: &SqlitePool,
) -> Result<Vec<CatalogueStanding>, LedgerError> {
    let rows = sqlx::query(CATALOGUES)
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read catalogues", error))?;
    rows.iter().map(standing).collect()
}

fn standing(row: &SqliteRow) -> Result<CatalogueStanding, LedgerError> {
    let kind: String = column(row, "catalogue", "kind", 0)?;
    Ok(CatalogueStanding {
        key: CatalogueKey {
            kind: CatalogueKind::parse(&kind).ok_or(LedgerError::Corrupt {
                table: "catalogue",
                column: "kind",
                row: 0,
            })?,
            procedure: column(row, "catalogue", "procedure", 0)?,
        },
        version: column(row, "catalogue", "version_id", 0)?,
        items: count(column::<Option<i64>>(row, "catalogue_version", "items", 0)?.unwrap_or(0)),
        accepted_at: time(row, "catalogue_version", "accepted_at")?,
        confirmed_at: time(row, "catalogue", "confirmed_at")?,
        tried_at: time(row, "catalogue", "tried_at")?,
        failures: column(row, "catalogue", "failures", 0)?,
        failing_since: time(row, "catalogue", "failing_since")?,
        failure: envelope(column(row, "catalogue", "failure", 0)?, "catalogue", "failure", 0)?,
        asked_at: time(row, "catalogue", "asked_at")?,
        accept_shrunken: column::<i64>(row, "catalogue", "accept_shrunken", 0)? != 0,
        uses: count(column(row, "catalogue", "uses", 0)?),
        used_at: time(row, "catalogue", "used_at")?,
    })
}

fn time(
    row: &SqliteRow,
    table: &'static str,
    name: &'static str,
) -> Result<Option<Timestamp>, LedgerError> {
    Ok(column::<Option<i64>>(row, table, name, 0)?.map(Timestamp::from_millis))
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

const NEWEST_VERSION: &str =
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'catalogue_version'), 0)";

pub(super) async fn newest_version(readers: &SqlitePool) -> Result<i64, LedgerError> {
    sqlx::query_scalar(NEWEST_VERSION)
        .fetch_one(readers)
        .await
        .map_err(|error| failed("read catalogues", error))
}

const IN_USE: &str = "
    SELECT v.id, v.hash, v.items, b.body
    FROM catalogue AS k JOIN catalogue_version AS v ON v.id = k.version_id
    LEFT JOIN catalogue_body AS b ON b.version_id = v.id
    WHERE k.kind = ?1 AND k.procedure = ?2";

const INSERT_VERSION: &str = "
    INSERT INTO catalogue_version (kind, procedure, hash, accepted_at, items, added, removed, renamed)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id";

const INSERT_BODY: &str = "INSERT INTO catalogue_body (version_id, body) VALUES (?1, ?2)";

const CONFIRM: &str = "
    INSERT INTO catalogue (kind, procedure, version_id, confirmed_at, tried_at) VALUES (?1, ?2, ?3, ?4, ?4)
    ON CONFLICT (kind, procedure) DO UPDATE SET version_id = excluded.version_id,
        confirmed_at = excluded.confirmed_at, tried_at = excluded.tried_at, failures = 0,
        failing_since = NULL, failure = NULL, asked_at = NULL, accept_shrunken = 0";

/// A wish ends with the fetch; that the catalogue may be small holds until one succeeds.
const FAIL: &str = "
    INSERT INTO catalogue (kind, procedure, tried_at, failures, failing_since, failure)
    VALUES (?1, ?2, ?3, 1, ?3, ?4)
    ON CONFLICT (kind, procedure) DO UPDATE SET tried_at = excluded.tried_at, failures = catalogue.failures + 1,
        failing_since = coalesce(catalogue.failing_since, excluded.failing_since), failure = excluded.failure,
        asked_at = NULL";

const DROP_BODIES: &str = "
    DELETE FROM catalogue_body WHERE version_id IN (
        SELECT id FROM catalogue_version WHERE kind = ?1 AND procedure = ?2
        ORDER BY id DESC LIMIT -1 OFFSET ?3)";

const DROP_VERSIONS: &str = "
    DELETE FROM catalogue_version WHERE id IN (
        SELECT id FROM catalogue_version WHERE kind = ?1 AND procedure = ?2
        ORDER BY id DESC LIMIT -1 OFFSET ?3)";

pub(super) async fn record(
    conn: &mut SqliteConnection,
    now: Timestamp,
    fetched: &FetchedCatalogue,
) -> Result<CatalogueChange, LedgerError> {
    call::insert(conn, &fetched.calls).await?;
    let change = match &fetched.outcome {
        FetchOutcome::NotSent => CatalogueChange::default(),
        FetchOutcome::Failed(failure) => {
            fail(conn, now, &fetched.key, failure).await?;
            CatalogueChange::default()
        }
        FetchOutcome::Items(items) => accept(conn, now, fetched, items).await?,
    };
    Ok(change)
}

async fn fail(
    conn: &mut SqliteConnection,
    now: Timestamp,
    key: &CatalogueKey,
    failure: &Failure,
) -> Result<(), LedgerError> {
    let query = sqlx::query(FAIL)
        .bind(key.kind.as_str())
        .bind(key.procedure.clone())
        .bind(now.millis())
        .bind(json_one(failure));
    run(conn, "store a catalogue", query).await.map(|_| ())
}

async fn accept(
    conn: &mut SqliteConnection,
    now: Timestamp,
    fetched: &FetchedCatalogue,
    items: &[CatalogueItem],
) -> Result<CatalogueChange, LedgerError> {
    let doing = "store a catalogue";
    let (kind, procedure) = (fetched.key.kind.as_str(), fetched.key.procedure.clone());
    let body = json(items);
    let hash = blake3::hash(body.as_bytes());
    let in_use = sqlx::query(IN_USE)
        .bind(kind)
        .bind(procedure.clone())
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let mut before = Vec::new();
    let mut unchanged = None;
    if let Some(row) = &in_use {
        let id: i64 = column(row, "catalogue_version", "id", 0)?;
        let body: Option<Vec<u8>> = column(row, "catalogue_body", "body", id)?;
        // One that cannot be read back is replaced, as if there had been none.
        if let Some(items) = body.and_then(|body| read(id, &body).ok()) {
            let same = column::<Vec<u8>>(row, "catalogue_version", "hash", id)? == hash.as_bytes();
            unchanged = same.then_some(id);
            before = items;
        }
    }
    let mut change = CatalogueChange { items: items.len() as u64, ..CatalogueChange::default() };
    let version = if let Some(id) = unchanged {
        id
    } else {
        let diff = CatalogueDiff::between(&before, items);
        change.is_new = true;
        change.added = diff.added.len() as u64;
        change.removed = diff.removed.len() as u64;
        change.renamed = diff.renamed.len() as u64;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let id: i64 = sqlx::query_scalar(INSERT_VERSION)
            .bind(kind)
            .bind(procedure.clone())
            .bind(hash.as_bytes().to_vec())
            .bind(now.millis())
            .bind(number(change.items))
            .bind(number(change.added))
            .bind(number(change.removed))
            .bind(number(change.renamed))
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?;
        let query = sqlx::query(INSERT_BODY)
            .bind(id)
            .bind(PUBLIC.write(Place::of("catalogue_body", id), body.as_bytes())?);
        run(conn, doing, query).await?;
        for statement in [DROP_BODIES, DROP_VERSIONS] {
            let query = sqlx::query(statement)
                .bind(kind)
                .bind(procedure.clone())
                .bind(i64::from(fetched.keep.max(1)));
            run(conn, doing, query).await?;
        }
        id
    };
    change.version = Some(version);
    let query = sqlx::query(CONFIRM).bind(kind).bind(procedure).bind(version).bind(now.millis());
    run(conn, doing, query).await?;
    Ok(change)
}

pub(super) fn read(version: i64, body: &[u8]) -> Result<Vec<CatalogueItem>, LedgerError> {
    let text = PUBLIC.read(Place::of("catalogue_body", version), body)?;
    serde_json::from_str(&text).map_err(|_| LedgerError::Corrupt {
        table: "catalogue_body",
        column: "body",
        row: version,
    })
}

const VERSIONS: &str = "
    SELECT id, accepted_at, items, added, removed, renamed FROM catalogue_version
    WHERE kind = ?1 AND procedure = ?2 ORDER BY id DESC";

pub(super) async fn versions(
    readers: &SqlitePool,
    key: &CatalogueKey,
) -> Result<Vec<CatalogueVersion>, LedgerError> {
    let rows = sqlx::query(VERSIONS)
        .bind(key.kind.as_str())
        .bind(key.procedure.clone())
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read catalogues", error))?;
    rows.iter()
        .map(|row| {
            let id: i64 = column(row, "catalogue_version", "id", 0)?;
            let number = |name| column(row, "catalogue_version", name, id).map(count);
            Ok(CatalogueVersion {
                id,
                accepted_at: Timestamp::from_millis(column(
                    row,
                    "catalogue_version",
                    "accepted_at",
                    id,
                )?),
                items: number("items")?,
                added: number("added")?,
                removed: number("removed")?,
                renamed: number("renamed")?,
            })
        })
        .collect()
}

const ITEMS: &str = "
    SELECT b.version_id, b.body FROM json_each(?1) AS j JOIN catalogue_body AS b ON b.version_id = j.value";

pub(super) async fn items(
    readers: &SqlitePool,
    versions: &[i64],
) -> Result<Vec<(i64, Vec<CatalogueItem>)>, LedgerError> {
    let rows = sqlx::query(ITEMS)
        .bind(json(versions))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read catalogues", error))?;
    let mut read_back = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: i64 = column(row, "catalogue_body", "version_id", 0)?;
        let body: Vec<u8> = column(row, "catalogue_body", "body", id)?;
        // A damaged list must not keep dossiers from being mapped; the next fetch replaces it.
        read_back.extend(read(id, &body).ok().map(|items| (id, items)));
    }
    Ok(read_back)
}

const NOTE_PROCEDURES: &str = "
    INSERT INTO catalogue (kind, procedure, uses, used_at)
    SELECT 'details', value->>0, value->>1, ?1 FROM json_each(?2) WHERE true
    ON CONFLICT (kind, procedure) DO UPDATE SET uses = catalogue.uses + excluded.uses, used_at = excluded.used_at";

pub(super) async fn note_procedures(
    conn: &mut SqliteConnection,
    now: Timestamp,
    used: &BTreeMap<String, u64>,
) -> Result<(), LedgerError> {
    let rows: Vec<(&String, &u64)> = used.iter().collect();
    let query = sqlx::query(NOTE_PROCEDURES).bind(now.millis()).bind(json(&rows));
    run(conn, "note used procedures", query).await.map(|_| ())
}

const ASK_FOR_LISTS: &str = "
    INSERT INTO catalogue (kind, procedure, asked_at, accept_shrunken)
    SELECT value, '', ?1, ?2 FROM json_each(?3) WHERE true
    ON CONFLICT (kind, procedure) DO UPDATE SET asked_at = excluded.asked_at,
        accept_shrunken = excluded.accept_shrunken";

const ASK_FOR_DETAILS: &str = "UPDATE catalogue AS c SET asked_at = ?1 WHERE kind = 'details'";

pub(super) async fn ask(
    conn: &mut SqliteConnection,
    now: Timestamp,
    wish: &CatalogueWish,
    audit: &AuditRecord,
) -> Result<u64, LedgerError> {
    let doing = "ask for catalogues";
    let lists: Vec<&str> = wish
        .kinds
        .iter()
        .filter(|kind| **kind != CatalogueKind::Details)
        .map(|kind| kind.as_str())
        .collect();
    let query = sqlx::query(ASK_FOR_LISTS)
        .bind(now.millis())
        .bind(i64::from(wish.accept_shrunken))
        .bind(json(&lists));
    let mut asked = run(conn, doing, query).await?;
    if wish.kinds.contains(&CatalogueKind::Details) {
        asked += run(conn, doing, sqlx::query(ASK_FOR_DETAILS).bind(now.millis())).await?;
    }
    insert_audit(conn, now, audit, &format!("{asked} to be fetched")).await?;
    Ok(asked)
}

/// Never one that a newer revision has overtaken: that one is on its way, or was sent. Both states are
/// named for the index over what waits for a person.
const RELEASE_HELD: &str = "
    UPDATE entry SET state = 'received', changed_at = ?1, due_at = ?1
    WHERE state IN ('quarantined', 'dead') AND state = 'quarantined' AND failure_code IN (SELECT value FROM json_each(?2)) AND changed_at <= ?3
      AND NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = entry.dossier_id
                      AND (o.revision_id, o.id) > (entry.revision_id, entry.id)
                      AND o.state IN ('ready', 'leased', 'unconfirmed', 'accepted', 'unchanged', 'not_ours', 'awaiting',
                                      'presumed'))";

pub(super) async fn release_held(
    conn: &mut SqliteConnection,
    now: Timestamp,
    scopes: &[HeldScope],
) -> Result<u64, LedgerError> {
    let mut released = 0;
    for scope in scopes {
        let query = sqlx::query(RELEASE_HELD)
            .bind(now.millis())
            .bind(json(scope.codes))
            .bind(scope.judged_until.millis());
        released += run(conn, "release held dossiers", query).await?;
    }
    Ok(released)
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    CATALOGUES,
    NEWEST_VERSION,
    IN_USE,
    INSERT_VERSION,
    INSERT_BODY,
    CONFIRM,
    FAIL,
    DROP_BODIES,
    DROP_VERSIONS,
    VERSIONS,
    ITEMS,
    NOTE_PROCEDURES,
    ASK_FOR_LISTS,
    ASK_FOR_DETAILS,
    RELEASE_HELD,
];
