//! The embedded ledger: one SQLite file, WAL, one writer.
//!
//! Every write is one `BEGIN IMMEDIATE` transaction of a few set-wise statements: rows travel as one
//! JSON parameter (`json_each`), bodies as one blob cut by `substr`, because a statement a row costs
//! a hop to SQLite's thread each. Decisions are made in Rust from rows read in the same
//! transaction; SQL repeats the guard.

mod adopt;
mod attempt;
mod audit;
mod backup;
mod books;
mod call;
mod catalogue;
mod cause;
mod check;
mod claim;
mod closed;
mod file;
mod health;
mod hold;
mod jobs;
mod kept;
mod keys;
mod line;
mod map;
mod mappings;
mod observed;
mod operate;
mod pause;
mod plan;
mod probe;
mod pull;
mod reconcile;
mod restore;
mod retention;
mod rows;
mod settle;
mod singleton;
mod size;
mod standing;
mod upkeep;
mod verbs;
mod view;
mod watch;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

use super::body::Bodies;
use super::key::BodyKey;
use super::{Ledger as _, LedgerError};
use crate::domain::time::Timestamp;
use crate::machine;
pub use backup::{Restoration, made_at, manifest_of, put_back, verify};
use file::{at_start, create, known_schema, recognise};
use rows::{
    UNREADABLE, column, envelope, failed, finish, hex, json, json_one, primary_code, run, step_key,
    unreadable,
};

const READERS: u32 = 4;

/// A ledger of about 80,000 dossiers: read in a second.
const CHECKED_WHOLE: u64 = 512 << 20;

/// A deferred transaction that reads first fails at once when another process writes.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// How the file is opened.
#[derive(Debug, Clone)]
pub struct SqliteSettings {
    /// `true`: a commit is on the disk before it is reported (`synchronous=FULL`).
    pub durable: bool,
    pub busy_timeout_ms: u64,
    /// Whether pending migrations are applied, or refused with [`LedgerError::Older`].
    pub migrate: bool,
    /// Up to which size of the file every page is checked before the first row is served: some
    /// seconds a gigabyte. Of a larger one that is done for what steers the work, and for the rest
    /// by the first [`super::Ledger::measure`]. `None`: nothing is checked, for a short command beside a
    /// running service.
    pub check_up_to: Option<u64>,
    /// Under which new bodies are sealed; `None` for a ledger whose bodies are not.
    pub key: Option<BodyKey>,
    /// While keys are changed: the one before.
    pub old_key: Option<BodyKey>,
    /// When given, a key that is new to the ledger is put to use now, at this time.
    pub adopt_key_at: Option<Timestamp>,
    /// How large the file may become; for the forecast only.
    pub size_budget: Option<u64>,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self {
            durable: true,
            busy_timeout_ms: 5000,
            migrate: true,
            check_up_to: Some(CHECKED_WHOLE),
            key: None,
            old_key: None,
            adopt_key_at: None,
            size_budget: None,
        }
    }
}

/// A ledger in one SQLite file.
#[derive(Debug)]
pub struct SqliteLedger {
    /// One connection: SQLite has one writer, and waiting for it in a queue beats `SQLITE_BUSY`.
    writer: SqlitePool,
    readers: SqlitePool,
    bodies: Bodies,
    /// Id of the key that was in use when this process opened the ledger.
    key_in_use: Option<Vec<u8>>,
    locks: singleton::Locks,
    path: PathBuf,
    size_budget: Option<u64>,
    /// The start left pages unread.
    unread: AtomicBool,
}

impl SqliteLedger {
    /// Opens (and if need be creates and migrates) the ledger at `path`.
    ///
    /// Refuses a file that is no intact ledger, one with a newer schema, and one that cannot be
    /// written; such a file is left as it is and never served.
    pub async fn open(path: &Path, settings: &SqliteSettings) -> Result<Self, LedgerError> {
        let plain = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(Duration::from_millis(settings.busy_timeout_ms));
        if machine::exposure(path).contains(&machine::Exposure::WorldWritable) {
            return Err(LedgerError::Exposed { path: path.display().to_string() });
        }
        let is_new = match std::fs::metadata(path) {
            Ok(file) => recognise(path, file.len(), &plain).await?,
            Err(_) if !settings.migrate => {
                let known = known_schema();
                return Err(LedgerError::Older { found: 0, known });
            }
            Err(_) => {
                create(path).map_err(|error| at_start(path, sqlx::Error::Io(error)))?;
                true
            }
        };
        let options = plain
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(if settings.durable {
                SqliteSynchronous::Full
            } else {
                SqliteSynchronous::Normal
            })
            // What retention deletes is gone from the disk, not only from the tables.
            .pragma("secure_delete", "on")
            .pragma("cache_size", "-24576")
            .pragma("temp_store", "memory");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            // A file does not hang up; asking each time would cost a hop to SQLite's thread a verb.
            .test_before_acquire(false)
            // Decided when the file is made; an older one has it after `hoso ledger compact`. Said again,
            // it would be written again, before the pages are checked.
            .connect_with(if is_new {
                options.clone().auto_vacuum(SqliteAutoVacuum::Incremental)
            } else {
                options.clone()
            })
            .await
            .map_err(|error| at_start(path, error))?;
        let mut ledger = Self {
            readers: SqlitePoolOptions::new()
                .max_connections(READERS)
                .test_before_acquire(false)
                .connect_lazy_with(options.read_only(true).pragma("cache_size", "-4096")),
            writer,
            bodies: Bodies::plain(),
            key_in_use: None,
            locks: singleton::Locks::default(),
            path: path.to_owned(),
            size_budget: settings.size_budget,
            unread: AtomicBool::new(false),
        };
        let ready = async {
            ledger.make_ready(path, settings).await?;
            let bodies = keys::bodies(&ledger.writer, settings).await?;
            Ok((bodies, keys::in_use(&ledger.writer).await?))
        };
        match ready.await {
            Ok((bodies, key_in_use)) => {
                ledger.bodies = bodies;
                ledger.key_in_use = key_in_use;
                Ok(ledger)
            }
            Err(refusal) => {
                ledger.close().await;
                Err(refusal)
            }
        }
    }

    async fn begin(&self, doing: &'static str) -> Result<Transaction<'_, Sqlite>, LedgerError> {
        let begun = match self.writer.begin_with(BEGIN).await {
            // After a full disk SQLite has rolled back by itself, but the driver still counts the
            // transaction and would refuse every later one on this connection.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                let stuck = self.writer.acquire().await;
                stuck
                    .map_err(|error| failed(doing, error))?
                    .close()
                    .await
                    .map_err(|error| failed(doing, error))?;
                self.writer.begin_with(BEGIN).await
            }
            begun => begun,
        };
        let mut tx = begun.map_err(|error| failed(doing, error))?;
        keys::unchanged(&mut tx, self.key_in_use.as_ref()).await?;
        Ok(tx)
    }
}
