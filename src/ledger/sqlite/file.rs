//! The file itself: recognised before anything is written to it, checked, migrated, and tried.

use std::path::Path;
use std::sync::atomic::Ordering;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::super::LedgerError;
use super::{BEGIN, SqliteLedger, SqliteSettings, failed, primary_code};
use crate::sabotage;

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("./src/ledger/sqlite/migrations");

/// In the file's header (see the first migration): "hoso".
pub(super) const APPLICATION_ID: i64 = 0x686f_736f;

pub(super) const HAS_HISTORY: &str =
    "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations')";

pub(super) const SCHEMA_VERSION: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";

/// The migrations' own table comes before the first migration: a process may have ended between.
pub(super) const IDENTITY: &str = "
    SELECT (SELECT application_id FROM pragma_application_id),
           (SELECT count(*) FROM sqlite_schema WHERE tbl_name <> '_sqlx_migrations')";

/// Rolled back at once.
pub(super) const TRY_WRITING: &str =
    "INSERT OR REPLACE INTO quota_promise (window, until) VALUES ('', 0)";

/// Tables that grow with the years. Of a large ledger they are read behind the start.
const LARGE: [&str; 19] = [
    "acked_files",
    "attempt",
    "audit",
    "call",
    "call_tally",
    "catalogue_body",
    "discrepancy",
    "document",
    "dossier",
    "entry",
    "entry_past",
    "packet",
    "reconciliation",
    "refused_document",
    "revision",
    "size_sample",
    "step",
    "step_body",
    "trimmed",
];

const TABLES: &str =
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";

/// Pages that the file says it has, and their size.
const PAGES: &str =
    "SELECT (SELECT page_count FROM pragma_page_count), (SELECT page_size FROM pragma_page_size)";

pub(super) fn known_schema() -> i64 {
    let versions = MIGRATOR.iter().map(|migration| migration.version);
    versions.max().unwrap_or(0)
}

/// Refuses what is not a ledger before anything is written to it. `true`: nothing is in it yet.
pub(super) async fn recognise(
    path: &Path,
    bytes: u64,
    options: &SqliteConnectOptions,
) -> Result<bool, LedgerError> {
    let damaged = |finding: &str| LedgerError::Damaged {
        path: path.display().to_string(),
        finding: finding.to_owned(),
    };
    if bytes == 0 {
        // To begin anew in silence would send again every step that the lost file knew as sent.
        return Err(damaged("the file is empty; if a new ledger is wanted, remove it"));
    }
    let mut conn = options.connect().await.map_err(|error| at_start(path, error))?;
    let found: (i64, i64) = sqlx::query_as(IDENTITY)
        .fetch_one(&mut conn)
        .await
        .map_err(|error| at_start(path, error))?;
    conn.close().await.map_err(|error| at_start(path, error))?;
    match found {
        (APPLICATION_ID, tables) | (0, tables @ 0) => Ok(tables == 0),
        _ => Err(damaged("it is a SQLite database of another program")),
    }
}

/// A new ledger holds personal data and the audit: others than its owner and the owner's group have no
/// business in it. SQLite gives its journals the same permissions.
pub(super) fn create(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o640);
    }
    match options.open(path) {
        // Another process was first.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

impl SqliteLedger {
    pub(super) async fn make_ready(
        &self,
        path: &Path,
        settings: &SqliteSettings,
    ) -> Result<(), LedgerError> {
        if let Some(whole_up_to) = settings.check_up_to {
            self.check_pages(path, whole_up_to).await?;
        }
        self.migrate(path, settings.migrate).await?;
        self.try_writing(path).await
    }

    /// Damaged pages are found before the first row is served; of a ledger too large for that, damage
    /// in what steers the work (and a file that is cut, which SQLite refuses itself). What is left is read by [`SqliteLedger::read_the_rest`].
    async fn check_pages(&self, path: &Path, whole_up_to: u64) -> Result<(), LedgerError> {
        let fail = |error| at_start(path, error);
        let damaged = |finding| LedgerError::Damaged { path: path.display().to_string(), finding };
        let (pages, size): (i64, i64) =
            sqlx::query_as(PAGES).fetch_one(&self.writer).await.map_err(fail)?;
        let bytes = u64::try_from(pages.saturating_mul(size)).unwrap_or(0);
        if bytes <= whole_up_to {
            let finding: String = sqlx::query_scalar("PRAGMA quick_check(1)")
                .fetch_one(&self.writer)
                .await
                .map_err(fail)?;
            return if finding == "ok" { Ok(()) } else { Err(damaged(finding)) };
        }
        self.unread.store(true, Ordering::Relaxed);
        let tables: Vec<String> =
            sqlx::query_scalar(TABLES).fetch_all(&self.writer).await.map_err(fail)?;
        for table in tables.iter().filter(|table| !LARGE.contains(&table.as_str())) {
            let finding = quick_check(&self.writer, table).await.map_err(fail)?;
            if finding != "ok" {
                return Err(damaged(finding));
            }
        }
        Ok(())
    }

    /// Reads the tables that were too large for the start, beside the writer, once. Damage in them
    /// ends the service as it would have at its start.
    pub(super) async fn read_the_rest(&self) -> Result<(), LedgerError> {
        let doing = "read the whole file";
        if !self.unread.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let tables: Vec<String> = sqlx::query_scalar(TABLES)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(doing, error))?;
        for table in tables.iter().filter(|table| LARGE.contains(&table.as_str())) {
            let finding =
                quick_check(&self.readers, table).await.map_err(|error| failed(doing, error))?;
            if finding != "ok" {
                return Err(LedgerError::Damaged {
                    path: self.path.display().to_string(),
                    finding,
                });
            }
        }
        Ok(())
    }

    async fn migrate(&self, path: &Path, wanted: bool) -> Result<(), LedgerError> {
        let known = known_schema();
        let found = self.schema_version(path).await?;
        if found > known {
            return Err(LedgerError::Newer { found, known });
        }
        if found == known {
            return Ok(());
        }
        if !wanted {
            return Err(LedgerError::Older { found, known });
        }
        sabotage::point("migrate.begun");
        let Err(error) = MIGRATOR.run(&self.writer).await else {
            sabotage::point("migrate.done");
            return Ok(());
        };
        // Another process may have been first.
        if self.schema_version(path).await? == known {
            return Ok(());
        }
        Err(match error {
            sqlx::migrate::MigrateError::Execute(error) => at_start(path, error),
            other => LedgerError::Unavailable { doing: "migrate", source: other.into() },
        })
    }

    async fn schema_version(&self, path: &Path) -> Result<i64, LedgerError> {
        let has_history: bool = sqlx::query_scalar(HAS_HISTORY)
            .fetch_one(&self.writer)
            .await
            .map_err(|error| at_start(path, error))?;
        if !has_history {
            return Ok(0);
        }
        sqlx::query_scalar(SCHEMA_VERSION)
            .fetch_one(&self.writer)
            .await
            .map_err(|error| at_start(path, error))
    }

    /// SQLite opens what it may not write without a word; better to hear of it now.
    async fn try_writing(&self, path: &Path) -> Result<(), LedgerError> {
        // Before the keys are known, so not through the door that asks after them.
        let begun = self.writer.begin_with(BEGIN).await;
        let mut tx = begun.map_err(|error| at_start(path, error))?;
        sqlx::query(TRY_WRITING).execute(&mut *tx).await.map_err(|error| at_start(path, error))?;
        tx.rollback().await.map_err(|error| at_start(path, error))
    }
}

/// What SQLite finds wrong with the pages and rows of a table and its indexes first, or `ok`.
async fn quick_check(pool: &SqlitePool, table: &str) -> Result<String, sqlx::Error> {
    // The name comes from the schema; a pragma takes no parameter.
    let check = AssertSqlSafe(format!("PRAGMA quick_check(\"{table}\")"));
    let findings: Vec<String> = sqlx::query_scalar(check).fetch_all(pool).await?;
    Ok(findings.into_iter().next().unwrap_or_else(|| "ok".to_owned()))
}

pub(super) fn at_start(path: &Path, error: sqlx::Error) -> LedgerError {
    let shown = path.display().to_string();
    match primary_code(&error) {
        Some(13) => LedgerError::Full,
        Some(8) => LedgerError::ReadOnly { path: shown },
        // SQLite cannot make its journal there, though the folder exists.
        Some(14) if path.parent().is_some_and(Path::is_dir) => {
            LedgerError::ReadOnly { path: shown }
        }
        Some(11 | 26) => LedgerError::Damaged { path: shown, finding: error.to_string() },
        _ => LedgerError::Unavailable { doing: "open", source: error.into() },
    }
}
