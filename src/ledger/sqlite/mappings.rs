//! Mappings in force, stored revisions in order, and refused dossiers under another mapping.

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::super::LedgerError;
use super::super::body::Row;
use super::super::mappings::{
    AppliedMapping, Mappings, NewMapping, Refused, StoredRange, StoredRevision,
};
use super::super::record::{AuditRecord, ToMap};
use super::audit::insert_audit;
use super::{SqliteLedger, column, envelope, failed, finish, json, run};
use crate::domain::time::Timestamp;
use crate::sabotage;

const DOING: &str = "read the mapping in force";

const IN_FORCE: &str = "
    SELECT id, version, hash, files, applied_at, applied_by, reason FROM applied_mapping
    WHERE id = (SELECT max(id) FROM applied_mapping)";

const NUMBER: &str = "SELECT coalesce(max(id), 0) FROM applied_mapping";

const ALL: &str = "
    SELECT id, version, hash, files, applied_at, applied_by, reason FROM applied_mapping ORDER BY id DESC";

const INSERT: &str = "
    INSERT INTO applied_mapping (version, hash, files, applied_at, applied_by, reason)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id";

/// The count reads the index by age, and not the documents.
const RANGE: &str = "
    SELECT (SELECT min(revision_id) FROM document), (SELECT max(revision_id) FROM document),
           (SELECT count(*) FROM document), (SELECT count(*) FROM revision)";

const RANGE_SINCE: &str = "
    SELECT min(iif(o.revision_id IS NULL, NULL, r.id)), max(iif(o.revision_id IS NULL, NULL, r.id)),
           count(o.revision_id), count(*)
    FROM revision AS r LEFT JOIN document AS o ON o.revision_id = r.id WHERE r.received_at >= ?1";

const STORED: &str = "
    SELECT o.revision_id, d.ma_ho_so, d.newest_revision_id = o.revision_id AS newest,
           d.acked_packet_hash IS NOT NULL AS acknowledged, r.deleted <> 0 OR r.ministry <> 0 AS not_sent, o.body
    FROM document AS o CROSS JOIN revision AS r ON r.id = o.revision_id
    CROSS JOIN dossier AS d ON d.id = r.dossier_id
    WHERE o.revision_id > ?1 AND o.revision_id <= ?2 AND r.received_at >= ?3";

/// Only the newest of a dossier: what something newer has replaced stays where it is.
const REFUSED: &str = "
    SELECT e.id, e.dossier_id, e.revision_id, e.diagnostics, d.ma_ho_so, r.deleted, r.ministry, r.recoded_from, o.body
    FROM (SELECT id FROM entry INDEXED BY entry_quarantined_mapping
          WHERE state = 'quarantined' AND mapping_version < ?1
          UNION ALL
          SELECT id FROM entry INDEXED BY entry_quarantined_mapping
          WHERE state = 'quarantined' AND mapping_version > ?1) AS x
    CROSS JOIN entry AS e ON e.id = x.id
    CROSS JOIN dossier AS d ON d.id = e.dossier_id AND d.newest_entry_id = e.id
    CROSS JOIN revision AS r ON r.id = e.revision_id
    CROSS JOIN document AS o ON o.revision_id = r.id
    WHERE e.failure_code IS NOT 'ledger.corrupt'
    LIMIT ?2";

const RELEASE: &str = "
    UPDATE entry SET state = 'received', changed_at = ?1, due_at = ?1, retries = 0, batch_max = NULL
    WHERE id IN (SELECT value FROM json_each(?2)) AND state = 'quarantined'
      AND id = (SELECT newest_entry_id FROM dossier WHERE id = entry.dossier_id)";

const KEEP: &str = "
    UPDATE entry SET mapping_version = ?1 WHERE id IN (SELECT value FROM json_each(?2)) AND state = 'quarantined'";

#[async_trait]
impl Mappings for SqliteLedger {
    async fn mapping_in_force(&self) -> Result<Option<AppliedMapping>, LedgerError> {
        let row = sqlx::query(IN_FORCE)
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        row.as_ref().map(applied).transpose()
    }

    async fn mapping_number(&self) -> Result<i64, LedgerError> {
        sqlx::query_scalar(NUMBER)
            .fetch_one(&self.readers)
            .await
            .map_err(|error| failed(DOING, error))
    }

    async fn applied_mappings(&self) -> Result<Vec<AppliedMapping>, LedgerError> {
        let rows = sqlx::query(ALL)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        rows.iter().map(applied).collect()
    }

    async fn apply_mapping(
        &self,
        now: Timestamp,
        seen: i64,
        former: Option<&NewMapping>,
        next: &NewMapping,
        audit: &AuditRecord,
    ) -> Result<i64, LedgerError> {
        let doing = "put a mapping in force";
        let mut tx = self.begin(doing).await?;
        let number: i64 = sqlx::query_scalar(NUMBER)
            .fetch_one(&mut *tx)
            .await
            .map_err(|error| failed(doing, error))?;
        if number != seen {
            return Err(LedgerError::Conflict(
                "somebody else has put another mapping in force meanwhile".to_owned(),
            ));
        }
        if let Some(former) = former {
            let reason = "was in force by the configuration";
            insert(&mut tx, now, former, &audit.actor, reason).await?;
        }
        let id = insert(&mut tx, now, next, &audit.actor, &audit.reason).await?;
        let result = format!("{} is in force as number {id}", next.version);
        insert_audit(&mut tx, now, audit, &result).await?;
        sabotage::point("mapping.applying");
        finish(tx, doing).await?;
        sabotage::point("mapping.applied");
        Ok(id)
    }

    async fn stored_range(&self, since: Option<Timestamp>) -> Result<StoredRange, LedgerError> {
        let query = match since {
            None => sqlx::query_as(RANGE),
            Some(since) => sqlx::query_as(RANGE_SINCE).bind(since.millis()),
        };
        let (first, last, kept, all): (Option<i64>, Option<i64>, i64, i64) = query
            .fetch_one(&self.readers)
            .await
            .map_err(|error| failed("count stored revisions", error))?;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(StoredRange {
            first: first.unwrap_or(0),
            last: last.unwrap_or(0),
            kept: count(kept),
            gone: count(all - kept),
        })
    }

    async fn stored_revisions(
        &self,
        after: i64,
        until: i64,
        since: Option<Timestamp>,
    ) -> Result<Vec<StoredRevision>, LedgerError> {
        let rows = sqlx::query(STORED)
            .bind(after)
            .bind(until)
            .bind(since.map_or(i64::MIN, Timestamp::millis))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed("read stored revisions", error))?;
        rows.iter()
            .map(|row| {
                let id: i64 = column(row, "document", "revision_id", 0)?;
                let body: Vec<u8> = column(row, "document", "body", id)?;
                Ok(StoredRevision {
                    ma_ho_so: column(row, "dossier", "ma_ho_so", id)?,
                    newest: column::<i64>(row, "dossier", "newest", id)? != 0,
                    acknowledged: column::<i64>(row, "dossier", "acknowledged", id)? != 0,
                    not_sent: column::<i64>(row, "revision", "not_sent", id)? != 0,
                    document: self.bodies.read(Row::of("document", id), &body).ok(),
                })
            })
            .collect()
    }

    async fn refused_by_others(
        &self,
        version: &str,
        limit: u32,
    ) -> Result<Vec<Refused>, LedgerError> {
        let rows = sqlx::query(REFUSED)
            .bind(version.to_owned())
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed("read refused dossiers", error))?;
        let mut refused = Vec::with_capacity(rows.len());
        for row in &rows {
            let entry_id: i64 = column(row, "entry", "id", 0)?;
            let revision_id: i64 = column(row, "entry", "revision_id", entry_id)?;
            let body: Vec<u8> = column(row, "document", "body", entry_id)?;
            let diagnostics = envelope(
                column(row, "entry", "diagnostics", entry_id)?,
                "entry",
                "diagnostics",
                entry_id,
            );
            refused.push(Refused {
                diagnostics: diagnostics.unwrap_or_default().unwrap_or_default(),
                revision: ToMap {
                    entry_id,
                    dossier_id: column(row, "entry", "dossier_id", entry_id)?,
                    ma_ho_so: column(row, "dossier", "ma_ho_so", entry_id)?,
                    deleted: column::<i64>(row, "revision", "deleted", entry_id)? != 0,
                    ministry: column::<i64>(row, "revision", "ministry", entry_id)? != 0,
                    recoded_from: column(row, "revision", "recoded_from", entry_id)?,
                    recoded_to: None,
                    files_sent: Vec::new(),
                    // One that cannot be read back is refused by every mapping.
                    document: self
                        .bodies
                        .read(Row::of("document", revision_id), &body)
                        .unwrap_or_default(),
                },
            });
        }
        Ok(refused)
    }

    async fn reconsidered(
        &self,
        now: Timestamp,
        version: &str,
        released: &[i64],
        kept: &[i64],
    ) -> Result<u64, LedgerError> {
        let doing = "look at refused dossiers again";
        let mut tx = self.begin(doing).await?;
        let query = sqlx::query(RELEASE).bind(now.millis()).bind(json(released));
        let count = run(&mut tx, doing, query).await?;
        let query = sqlx::query(KEEP).bind(version.to_owned()).bind(json(kept));
        run(&mut tx, doing, query).await?;
        finish(tx, doing).await?;
        Ok(count)
    }
}

async fn insert(
    conn: &mut SqliteConnection,
    now: Timestamp,
    mapping: &NewMapping,
    by: &str,
    reason: &str,
) -> Result<i64, LedgerError> {
    sqlx::query_scalar(INSERT)
        .bind(mapping.version.clone())
        .bind(mapping.hash.clone())
        .bind(mapping.files.clone())
        .bind(now.millis())
        .bind(by.to_owned())
        .bind(reason.to_owned())
        .fetch_one(conn)
        .await
        .map_err(|error| failed("put a mapping in force", error))
}

fn applied(row: &SqliteRow) -> Result<AppliedMapping, LedgerError> {
    let table = "applied_mapping";
    let id: i64 = column(row, table, "id", 0)?;
    Ok(AppliedMapping {
        id,
        version: column(row, table, "version", id)?,
        hash: column(row, table, "hash", id)?,
        applied_at: Timestamp::from_millis(column(row, table, "applied_at", id)?),
        applied_by: column(row, table, "applied_by", id)?,
        reason: column(row, table, "reason", id)?,
        files: column(row, table, "files", id)?,
    })
}

/// Every statement of this file that runs beside the work; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[IN_FORCE, NUMBER, INSERT, STORED, REFUSED, RELEASE, KEEP];

/// Those of a comparison or a list, which a person waits for.
#[cfg(test)]
pub(super) const STATEMENTS_FOR_PEOPLE: &[&str] = &[ALL, RANGE, RANGE_SINCE];
