//! Copies of the file: made beside a running service, verified, put back, and made smaller.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::super::audit::AuditHead;
use super::super::body::{Bodies, Writing};
use super::super::key::shown;
use super::super::record::{Aftermath, AuditRecord, Finding, Manifest};
use super::super::{Ledger as _, LedgerError};
use super::audit::{head as audit_head, insert_audit, seal};
use super::file::{APPLICATION_ID, IDENTITY, SCHEMA_VERSION, at_start, known_schema, recognise};
use super::{
    SqliteLedger, SqliteSettings, check, failed, finish, primary_code, restore, singleton,
};
use crate::domain::time::Timestamp;
use crate::sabotage;

const DOING: &str = "copy the ledger";

/// The schema from which on the audit is a chain.
const CHAINED_SINCE: i64 = 14;

const INTO: &str = "VACUUM INTO ?1";

const TABLES: &str = "
    SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";

const KEY_IN_USE: &str = "SELECT id FROM body_key WHERE current = 1";
const HAS_KEYS: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'body_key')";

/// Who owns the portal's gate, if anybody.
const OWNER: &str = "SELECT holder, locked FROM singleton WHERE name = 'gate' AND expires_at > ?1";

impl SqliteLedger {
    /// Copies the ledger as it is at this moment to `to`, which must not exist, and verifies the
    /// copy before it gets its name. The service may go on.
    pub async fn backup(&self, to: &Path, now: Timestamp) -> Result<Manifest, LedgerError> {
        if to.exists() {
            return Err(LedgerError::Refused {
                what: format!("{} is there already", to.display()),
                hint: "name a file that does not exist; a backup never replaces another one",
            });
        }
        let part = beside(to, "part");
        create_private(&part)?;
        let copied = self.copy_to(&part, now).await;
        if copied.is_err() {
            // The next attempt would find it; a half copy is worth nothing.
            drop(std::fs::remove_file(&part));
        }
        let manifest = copied?;
        sabotage::point("backup.copied");
        rename(&part, to)?;
        sabotage::point("backup.named");
        let line = serde_json::to_string(&manifest).map_err(|error| io(error.into()))?;
        std::fs::write(manifest_of(to), line + "\n").map_err(io)?;
        Ok(manifest)
    }

    async fn copy_to(&self, part: &Path, now: Timestamp) -> Result<Manifest, LedgerError> {
        let mut conn = self.readers.acquire().await.map_err(|error| failed(DOING, error))?;
        sqlx::query(INTO)
            .bind(part.display().to_string())
            .execute(&mut *conn)
            .await
            .map_err(|error| failed(DOING, error))?;
        drop(conn);
        std::fs::File::open(part).and_then(|file| file.sync_all()).map_err(io)?;
        let (manifest, findings) = read_copy(part, Some(&self.bodies), now).await?;
        match findings.first() {
            None => Ok(manifest),
            Some(first) => Err(LedgerError::Damaged {
                path: "the copy".to_owned(),
                finding: format!("{} ({})", first.what, first.examples.join(", ")),
            }),
        }
    }

    /// Rewrites the file without holes, and so that later holes can be given back to the disk.
    /// Nobody else may have it open.
    pub async fn compact(&self, now: Timestamp) -> Result<(u64, u64), LedgerError> {
        let doing = "compact the ledger";
        let owner: Option<String> = sqlx::query_scalar(OWNER)
            .bind(now.millis())
            .fetch_optional(&self.writer)
            .await
            .map_err(|error| failed(doing, error))?;
        if let Some(owner) = owner {
            return Err(in_use(&owner));
        }
        let before = std::fs::metadata(&self.path).map_err(io)?.len();
        // Readers of ours would keep the file from being cut.
        self.readers.close().await;
        for statement in
            ["PRAGMA auto_vacuum = INCREMENTAL", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"]
        {
            sqlx::query(statement)
                .execute(&self.writer)
                .await
                .map_err(|error| failed(doing, error))?;
            sabotage::point("compact.part");
        }
        let after = std::fs::metadata(&self.path).map_err(io)?.len();
        Ok((before, after))
    }
}

/// What stands in a copy, and what is wrong with it. Bodies are read if `settings` has their key.
pub async fn verify(
    path: &Path,
    settings: &SqliteSettings,
    now: Timestamp,
) -> Result<(Manifest, Vec<Finding>), LedgerError> {
    let keys: Vec<_> = settings.key.iter().chain(&settings.old_key).cloned().collect();
    let bodies = Bodies { keys, writing: Writing::Plain, only_sealed: false };
    let (found, mut findings) = read_copy(path, Some(&bodies), now).await?;
    let Ok(line) = std::fs::read_to_string(manifest_of(path)) else {
        return Ok((Manifest { made_at: made_at(path)?, ..found }, findings));
    };
    let mut add = |what: &str, examples: Vec<String>| {
        findings.push(Finding { what: what.to_owned(), count: 1, examples });
    };
    match serde_json::from_str::<Manifest>(&line) {
        Err(_) => add("the manifest beside it cannot be read", Vec::new()),
        Ok(manifest) => {
            if manifest.hash != found.hash {
                let is = |manifest: &Manifest| manifest.hash.chars().take(12).collect::<String>();
                add(
                    "the file is not the one that its manifest describes",
                    vec![format!("{} instead of {}", is(&found), is(&manifest))],
                );
            }
            return Ok((Manifest { made_at: manifest.made_at, ..found }, findings));
        }
    }
    Ok((found, findings))
}

/// When a copy was made: what its manifest says, or when it was written last.
pub fn made_at(path: &Path) -> Result<Timestamp, LedgerError> {
    let said = std::fs::read_to_string(manifest_of(path)).ok();
    if let Some(manifest) = said.and_then(|line| serde_json::from_str::<Manifest>(&line).ok()) {
        return Ok(manifest.made_at);
    }
    let written = std::fs::metadata(path).and_then(|file| file.modified()).map_err(io)?;
    let since = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

async fn read_copy(
    path: &Path,
    bodies: Option<&Bodies>,
    now: Timestamp,
) -> Result<(Manifest, Vec<Finding>), LedgerError> {
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    recognise(path, bytes, &options).await?;
    let mut conn = options.connect().await.map_err(|error| at_start(path, error))?;
    let read = manifest(&mut conn, path, bodies, now).await;
    conn.close().await.map_err(|error| at_start(path, error))?;
    let (manifest, findings) = read?;
    let hash = hash_of(path).await?;
    Ok((Manifest { bytes, hash, ..manifest }, findings))
}

async fn manifest(
    conn: &mut SqliteConnection,
    path: &Path,
    bodies: Option<&Bodies>,
    now: Timestamp,
) -> Result<(Manifest, Vec<Finding>), LedgerError> {
    let fail = |error| at_start(path, error);
    let (id, _): (i64, i64) = sqlx::query_as(IDENTITY).fetch_one(&mut *conn).await.map_err(fail)?;
    if id != APPLICATION_ID {
        return Err(LedgerError::Damaged {
            path: path.display().to_string(),
            finding: "it holds no ledger".to_owned(),
        });
    }
    let schema: i64 =
        sqlx::query_scalar(SCHEMA_VERSION).fetch_one(&mut *conn).await.map_err(fail)?;
    let known = known_schema();
    if schema > known {
        return Err(LedgerError::Newer { found: schema, known });
    }
    let has_keys: bool = sqlx::query_scalar(HAS_KEYS).fetch_one(&mut *conn).await.map_err(fail)?;
    let key: Option<Vec<u8>> = if has_keys {
        sqlx::query_scalar(KEY_IN_USE).fetch_optional(&mut *conn).await.map_err(fail)?
    } else {
        None
    };
    // Without the key their content is not known to be wrong.
    let readable = bodies.filter(|bodies| {
        key.as_ref().is_none_or(|id| bodies.keys.iter().any(|key| key.id_bytes()[..] == **id))
    });
    // An older copy lacks tables that the checks read; it is migrated before it serves.
    let findings =
        if schema == known { check::findings(conn, readable).await? } else { Vec::new() };
    let tables: Vec<String> =
        sqlx::query_scalar(TABLES).fetch_all(&mut *conn).await.map_err(fail)?;
    let mut rows = std::collections::BTreeMap::new();
    for table in tables {
        let count = AssertSqlSafe(format!("SELECT count(*) FROM \"{table}\""));
        let count: i64 = sqlx::query_scalar(count).fetch_one(&mut *conn).await.map_err(fail)?;
        rows.insert(table, u64::try_from(count).unwrap_or(0));
    }
    let manifest = Manifest {
        made_at: now,
        schema,
        bytes: 0,
        hash: String::new(),
        key: key.as_deref().map(shown),
        rows,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        audit: if schema >= CHAINED_SINCE { audit_head(conn).await? } else { None },
    };
    Ok((manifest, findings))
}

/// What a restore did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Restoration {
    pub manifest: Manifest,
    pub aftermath: Aftermath,
    /// The ledger that was there before, kept under this name.
    pub kept: Option<PathBuf>,
}

/// Puts a verified copy in the ledger's place. What was there is kept beside it; at every moment one
/// of the two is the ledger, so that no service ever begins a new one. `sources` are those that are
/// configured.
pub async fn put_back(
    from: &Path,
    to: &Path,
    settings: &SqliteSettings,
    replace: bool,
    now: Timestamp,
    sources: &[String],
    audit: &AuditRecord,
) -> Result<Restoration, LedgerError> {
    let (manifest, findings) = verify(from, settings, now).await?;
    if let Some(first) = findings.first() {
        return Err(LedgerError::Damaged {
            path: from.display().to_string(),
            finding: format!("{} ({})", first.what, first.examples.join(", ")),
        });
    }
    let mut before = Before::default();
    if to.exists() {
        if !replace {
            return Err(LedgerError::Refused {
                what: format!("there is a ledger at {}", to.display()),
                hint: "add --replace to put the backup in its place; the present one is kept beside it",
            });
        }
        before = let_go(to, now).await?;
    }
    let part = beside(to, "restoring");
    // Of a restore that died; its journal would be played into this copy.
    for left in [part.clone(), beside_journal(&part, "-wal"), beside_journal(&part, "-shm")] {
        drop(std::fs::remove_file(left));
    }
    create_private(&part)?;
    std::fs::copy(from, &part).map_err(io)?;
    sabotage::point("restore.copied");
    let settings = SqliteSettings { migrate: true, check_up_to: None, ..settings.clone() };
    let ledger = SqliteLedger::open(&part, &settings).await?;
    let marked = ledger.mark_restored(now, manifest.made_at, sources, &before, audit).await;
    sabotage::point("restore.marking");
    ledger.close().await;
    let aftermath = marked?;
    sabotage::point("restore.marked");
    for journal in [beside_journal(&part, "-wal"), beside_journal(&part, "-shm")] {
        drop(std::fs::remove_file(journal));
    }
    std::fs::File::open(&part).and_then(|file| file.sync_all()).map_err(io)?;
    give_to_the_service(&part, to)?;
    let kept = if to.exists() { Some(keep(to, now)?) } else { None };
    sabotage::point("restore.kept");
    rename(&part, to)?;
    Ok(Restoration { manifest, aftermath, kept })
}

impl SqliteLedger {
    async fn mark_restored(
        &self,
        now: Timestamp,
        backup_at: Timestamp,
        sources: &[String],
        before: &Before,
        audit: &AuditRecord,
    ) -> Result<Aftermath, LedgerError> {
        let doing = "prepare a restored ledger";
        let mut tx = self.begin(doing).await?;
        let after =
            restore::after_restore(&mut tx, now, backup_at, sources, &before.promises).await?;
        let result = format!(
            "backup of {backup_at}; {} to look up, {} steps held, {} jobs paused",
            after.to_look_up, after.steps_held, after.jobs_paused
        );
        // Here the chain forks: it goes on from the backup's end, and what the ledger before had behind
        // it is in that ledger only.
        let end = seal(&mut tx, now).await?;
        let replaced = match &before.audit {
            Some(head) => format!("; the ledger before ended with {head}"),
            None => String::new(),
        };
        let audit = audit.clone().selection(format!("the backup ends with {end}{replaced}"));
        insert_audit(&mut tx, now, &audit, &result).await?;
        finish(tx, doing).await?;
        Ok(after)
    }
}

/// What a ledger that is put aside leaves to the one in its place.
#[derive(Debug, Default)]
struct Before {
    promises: Vec<(String, Timestamp)>,
    /// Where the chain of its audit ended.
    audit: Option<AuditHead>,
}

/// Makes sure that nobody works with the ledger, and empties its journal into it. What a damaged one
/// cannot say is not asked: then its promises of quota are lost.
async fn let_go(path: &Path, now: Timestamp) -> Result<Before, LedgerError> {
    let options = SqliteConnectOptions::new().filename(path);
    let Ok(mut conn) = options.connect().await else {
        return Ok(Before::default());
    };
    let owner: Option<(String, bool)> = sqlx::query_as(OWNER)
        .bind(now.millis())
        .fetch_optional(&mut conn)
        .await
        .unwrap_or_default();
    // A service that was killed does not have to be waited for.
    if let Some((owner, locked)) = owner
        && !(locked && singleton::lock_is_free(path, "gate"))
    {
        return Err(in_use(&owner));
    }
    let promises: Vec<(String, i64)> = sqlx::query_as("SELECT window, until FROM quota_promise")
        .fetch_all(&mut conn)
        .await
        .unwrap_or_default();
    let audit = audit_head(&mut conn).await.unwrap_or_default();
    // Only the last connection may leave the journal.
    let left = sqlx::query("PRAGMA journal_mode = DELETE").fetch_all(&mut conn).await;
    drop(conn.close().await);
    match left {
        Err(error) if matches!(primary_code(&error), Some(5 | 6)) => Err(in_use("another process")),
        _ => Ok(Before {
            promises: promises
                .into_iter()
                .map(|(window, until)| (window, Timestamp::from_millis(until)))
                .collect(),
            audit,
        }),
    }
}

/// Restores are typed by administrators: the file must belong to whom the one before belonged to (or
/// to whom its folder belongs), or the service could not open it.
#[cfg(unix)]
fn give_to_the_service(file: &Path, like: &Path) -> Result<(), LedgerError> {
    use std::os::unix::fs::MetadataExt as _;
    let folder = like.parent().filter(|folder| !folder.as_os_str().is_empty());
    let model = match std::fs::metadata(like) {
        Ok(before) => {
            std::fs::set_permissions(file, before.permissions()).map_err(io)?;
            before
        }
        Err(_) => std::fs::metadata(folder.unwrap_or(Path::new("."))).map_err(io)?,
    };
    let own = std::fs::metadata(file).map_err(io)?;
    if (own.uid(), own.gid()) == (model.uid(), model.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(file, Some(model.uid()), Some(model.gid())).map_err(io)
}

#[cfg(not(unix))]
fn give_to_the_service(_: &Path, _: &Path) -> Result<(), LedgerError> {
    Ok(())
}

fn in_use(owner: &str) -> LedgerError {
    LedgerError::Refused {
        what: format!("{owner} works with the ledger"),
        hint: "stop the service first (systemctl stop hoso), then repeat the command",
    }
}

/// A second name for the present file, so that it can be replaced in one step.
fn keep(path: &Path, now: Timestamp) -> Result<PathBuf, LedgerError> {
    let name = format!("replaced-{}", now.to_portal());
    // A copy over a name that is taken would empty what is kept there, or the ledger itself where a
    // restore died behind the next lines and both names are one file.
    let mut kept = beside(path, &name);
    for number in 2.. {
        if !kept.exists() {
            break;
        }
        kept = beside(path, &format!("{name}-{number}"));
    }
    for journal in ["-wal", "-shm"] {
        let from = beside_journal(path, journal);
        if from.exists() {
            rename(&from, &beside_journal(&kept, journal))?;
        }
    }
    std::fs::hard_link(path, &kept)
        .or_else(|_| std::fs::copy(path, &kept).map(drop))
        .map_err(io)?;
    Ok(kept)
}

/// `ledger.db` and `part` make `ledger.db.part`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    beside_journal(path, &format!(".{ending}"))
}

fn beside_journal(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(ending);
    path.with_file_name(name)
}

/// Where the manifest of a copy lies.
pub fn manifest_of(path: &Path) -> PathBuf {
    beside(path, "manifest")
}

/// An empty file that only its owner may read: a ledger holds personal data.
fn create_private(path: &Path) -> Result<(), LedgerError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(LedgerError::Refused {
                what: format!("{} is left from a copy that was cut short", path.display()),
                hint: "if no other copy is being made, remove that file",
            })
        }
        Err(error) => Err(io(error)),
    }
}

/// In one step, and on the disk before it is reported.
fn rename(from: &Path, to: &Path) -> Result<(), LedgerError> {
    std::fs::rename(from, to).map_err(io)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(io)
}

async fn hash_of(path: &Path) -> Result<String, LedgerError> {
    let path = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(hasher.finalize().to_hex().to_string());
            }
            hasher.update(&buffer[..read]);
        }
    });
    hashed.await.map_err(|error| io(error.into()))?.map_err(io)
}

fn io(error: std::io::Error) -> LedgerError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return LedgerError::Full;
    }
    LedgerError::Unavailable { doing: DOING, source: error.into() }
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[TABLES, KEY_IN_USE, HAS_KEYS, OWNER];
