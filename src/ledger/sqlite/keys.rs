//! Which keys a ledger's bodies are under, and putting them under another one.

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::LedgerError;
use super::super::body::{Bodies, HEADER_BYTES, Row, Writing};
use super::super::key::{BodyKey, KeyTrouble, shown};
use super::super::record::{AuditRecord, Resealed};
use super::audit::insert_audit;
use super::pull::refused_row;
use super::{SqliteLedger, SqliteSettings, failed, finish, run};
use crate::domain::time::Timestamp;
use crate::sabotage;

const KEYS: &str = "SELECT id, check_value, current, complete_at IS NOT NULL FROM body_key";

/// Read before each write: a process that does not know the key in use must not write another.
pub(super) const IN_USE: &str = "SELECT id FROM body_key WHERE current = 1";

const ANY_BODY: &str = "
    SELECT EXISTS (SELECT 1 FROM document) OR EXISTS (SELECT 1 FROM packet)
        OR EXISTS (SELECT 1 FROM step_body) OR EXISTS (SELECT 1 FROM refused_document)";

const STEP_DOWN: &str = "UPDATE body_key SET current = 0 WHERE current = 1";

const ADOPT: &str = "
    INSERT INTO body_key (id, check_value, adopted_at, current, complete_at) VALUES (?1, ?2, ?3, 1, ?4)";

type KeyRow = (Vec<u8>, Vec<u8>, bool, bool);

/// The configured keys against those that the ledger names.
pub(super) async fn bodies(
    writer: &SqlitePool,
    settings: &SqliteSettings,
) -> Result<Bodies, LedgerError> {
    let doing = "read the ledger's keys";
    let mut tx = writer.begin_with(super::BEGIN).await.map_err(|error| failed(doing, error))?;
    let rows: Vec<KeyRow> =
        sqlx::query_as(KEYS).fetch_all(&mut *tx).await.map_err(|error| failed(doing, error))?;
    let only_sealed = rows.iter().any(|(_, _, _, complete)| *complete);
    let current = rows.iter().find(|(_, _, current, _)| *current);
    let is = |row: &KeyRow, key: &BodyKey| row.0 == key.id_bytes() && row.1 == key.check_value();
    let (keys, writing, adopts) = match (current, &settings.key) {
        (None, None) => return Ok(Bodies::plain()),
        (Some(row), None) => return Err(KeyTrouble::Missing { id: shown(&row.0) }.into()),
        (None, Some(key)) => (vec![key.clone()], "no key", true),
        (Some(row), Some(key)) if is(row, key) => {
            let mut keys = vec![key.clone()];
            for older in rows.iter().filter(|(_, _, current, _)| !current) {
                match settings.old_key.as_ref().filter(|key| is(older, key)) {
                    Some(key) => keys.push(key.clone()),
                    None => return Err(KeyTrouble::OlderMissing { id: shown(&older.0) }.into()),
                }
            }
            (keys, "", false)
        }
        (Some(row), Some(key)) => {
            let Some(old) = settings.old_key.as_ref().filter(|old| is(row, old)) else {
                let trouble = KeyTrouble::Wrong { id: shown(&row.0), given: key.id() };
                return Err(trouble.into());
            };
            if let Some(older) = rows.iter().find(|(_, _, current, _)| !current) {
                // One change of keys at a time: the last one has not come to its end.
                return Err(KeyTrouble::OlderMissing { id: shown(&older.0) }.into());
            }
            (vec![key.clone(), old.clone()], "the older key", true)
        }
    };
    let writing = match (adopts, settings.adopt_key_at) {
        (false, _) => Writing::Sealed,
        (true, None) => Writing::Refused(KeyTrouble::NotAdopted {
            given: keys[0].id(),
            in_use: writing.to_owned(),
        }),
        (true, Some(now)) => {
            adopt(&mut tx, &keys[0], now).await?;
            finish(tx, doing).await?;
            sabotage::point("keys.adopted");
            // A ledger without a body begins whole.
            return Box::pin(bodies(
                writer,
                &SqliteSettings { adopt_key_at: None, ..settings.clone() },
            ))
            .await;
        }
    };
    Ok(Bodies { keys, writing, only_sealed })
}

async fn adopt(
    conn: &mut SqliteConnection,
    key: &BodyKey,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let doing = "adopt a key";
    let any: bool = sqlx::query_scalar(ANY_BODY)
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    run(conn, doing, sqlx::query(STEP_DOWN)).await?;
    let query = sqlx::query(ADOPT)
        .bind(key.id_bytes().to_vec())
        .bind(key.check_value().to_vec())
        .bind(now.millis())
        .bind((!any).then_some(now.millis()));
    run(conn, doing, query).await.map(|_| ())
}

/// Whether the key in use is still the one that this process knows.
pub(super) async fn unchanged(
    conn: &mut SqliteConnection,
    known: Option<&Vec<u8>>,
) -> Result<(), LedgerError> {
    let in_use: Option<Vec<u8>> = sqlx::query_scalar(IN_USE)
        .fetch_optional(conn)
        .await
        .map_err(|error| failed("read the ledger's keys", error))?;
    if in_use.as_ref() == known {
        return Ok(());
    }
    let id = in_use.as_deref().map_or_else(|| "none".to_owned(), shown);
    Err(KeyTrouble::Changed { id }.into())
}

pub(super) async fn in_use(writer: &SqlitePool) -> Result<Option<Vec<u8>>, LedgerError> {
    sqlx::query_scalar(IN_USE)
        .fetch_optional(writer)
        .await
        .map_err(|error| failed("read the ledger's keys", error))
}

/// A table of bodies: ids of rows that do not begin with the header of the key in use; one of them;
/// and its new body.
struct Table {
    name: &'static str,
    others: &'static str,
    one: &'static str,
    replace: &'static str,
}

const TABLES: [Table; 4] = [
    Table {
        name: "document",
        others: "SELECT revision_id FROM document WHERE revision_id > ?1 AND substr(body, 1, ?2) <> ?3
                 ORDER BY revision_id LIMIT +?4",
        one: "SELECT body, x'' FROM document WHERE revision_id = ?1",
        replace: "UPDATE document SET body = ?2 WHERE revision_id = ?1",
    },
    Table {
        name: "packet",
        others: "SELECT entry_id FROM packet WHERE entry_id > ?1 AND substr(body, 1, ?2) <> ?3
                 ORDER BY entry_id LIMIT +?4",
        one: "SELECT body, x'' FROM packet WHERE entry_id = ?1",
        replace: "UPDATE packet SET body = ?2 WHERE entry_id = ?1",
    },
    Table {
        name: "step_body",
        others: "SELECT id FROM step_body WHERE id > ?1 AND substr(body, 1, ?2) <> ?3 ORDER BY id LIMIT +?4",
        one: "SELECT body, x'' FROM step_body WHERE id = ?1",
        replace: "UPDATE step_body SET body = ?2 WHERE id = ?1",
    },
    Table {
        name: "refused_document",
        others: "SELECT id FROM refused_document WHERE id > ?1 AND body IS NOT NULL AND substr(body, 1, ?2) <> ?3
                 ORDER BY id LIMIT +?4",
        one: "SELECT body, hash FROM refused_document WHERE id = ?1 AND body IS NOT NULL",
        replace: "UPDATE refused_document SET body = ?2 WHERE id = ?1",
    },
];

const COMPLETE: &str =
    "UPDATE body_key SET complete_at = coalesce(complete_at, ?1) WHERE current = 1";

const FORGET_OLDER: &str = "DELETE FROM body_key WHERE current = 0";

/// Bodies that one transaction puts under the key.
const BATCH: i64 = 200;

impl SqliteLedger {
    /// The configured key is not in use yet.
    pub fn key_is_new(&self) -> bool {
        matches!(self.bodies.writing, Writing::Refused(_))
    }

    /// Puts every body under the configured key, a few at a time, beside a running service that
    /// knows both keys. What was done stays done, so it may be stopped and started again.
    pub async fn reseal(
        &self,
        now: Timestamp,
        audit: &AuditRecord,
    ) -> Result<Resealed, LedgerError> {
        let doing = "put bodies under the key";
        let mut done = Resealed::default();
        match &self.bodies.writing {
            Writing::Sealed => {}
            Writing::Refused(trouble) => return Err(trouble.clone().into()),
            Writing::Plain => {
                return Err(LedgerError::Refused {
                    what: "there is no key to put the bodies under".to_owned(),
                    hint: "`hoso ledger new-key FILE` makes one; name the file in `ledger.key_file`",
                });
            }
        }
        let header = Bodies::header(&self.bodies.keys[0]);
        for table in TABLES {
            let mut after = i64::MIN;
            loop {
                let ids: Vec<i64> = sqlx::query_scalar(table.others)
                    .bind(after)
                    .bind(i64::try_from(HEADER_BYTES).unwrap_or(i64::MAX))
                    .bind(header.to_vec())
                    .bind(BATCH)
                    .fetch_all(&self.readers)
                    .await
                    .map_err(|error| failed(doing, error))?;
                let Some(last) = ids.last() else {
                    break;
                };
                after = *last;
                let mut tx = self.begin(doing).await?;
                for id in ids {
                    self.reseal_one(&mut tx, &table, id, &mut done).await?;
                }
                finish(tx, doing).await?;
                sabotage::point("keys.resealed_part");
            }
        }
        sabotage::point("keys.resealed");
        let mut tx = self.begin(doing).await?;
        run(&mut tx, doing, sqlx::query(COMPLETE).bind(now.millis())).await?;
        run(&mut tx, doing, sqlx::query(FORGET_OLDER)).await?;
        let result = format!("{} put under the key, {} unreadable", done.resealed, done.unreadable);
        insert_audit(&mut tx, now, audit, &result).await?;
        finish(tx, doing).await?;
        sabotage::point("keys.complete");
        // The journal still holds the bodies as they were.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&self.writer)
            .await
            .map_err(|error| failed(doing, error))?;
        Ok(done)
    }

    async fn reseal_one(
        &self,
        conn: &mut SqliteConnection,
        table: &Table,
        id: i64,
        done: &mut Resealed,
    ) -> Result<(), LedgerError> {
        let doing = "put bodies under the key";
        let found: Option<(Vec<u8>, Vec<u8>)> = sqlx::query_as(table.one)
            .bind(id)
            .fetch_optional(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?;
        let Some((body, hash)) = found else {
            return Ok(());
        };
        let row = if hash.is_empty() { Row::of(table.name, id) } else { refused_row(&hash) };
        let text = match self.bodies.read_bytes(row, &body) {
            Ok(text) => text,
            Err(LedgerError::Corrupt { .. }) => {
                done.unreadable += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let sealed = self.bodies.write(row, &text)?;
        done.resealed += run(conn, doing, sqlx::query(table.replace).bind(id).bind(sealed)).await?;
        Ok(())
    }
}

/// Every statement of this file; a test prepares them against the schema. Those of changing keys
/// read whole tables, once in years.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] =
    &[KEYS, IN_USE, ANY_BODY, STEP_DOWN, ADOPT, COMPLETE, FORGET_OLDER];

#[cfg(test)]
pub(super) fn statements_of_tables() -> Vec<&'static str> {
    TABLES.iter().flat_map(|table| [table.others, table.one, table.replace]).collect()
}
