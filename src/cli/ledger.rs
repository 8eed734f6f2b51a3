//! `hoso ledger`: the file itself. How large it is, whether it is sound, its copies and its keys.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::person::Person;
use super::{Invocation, build, person, words};
use crate::clock::{Clock, SystemClock};
use crate::config::SourceKind;
use crate::domain::time::Timestamp;
use crate::ledger::key::BodyKey;
use crate::ledger::record::{AuditRecord, Finding, Manifest, Resealed, Sizes};
use crate::ledger::sqlite::{self, Restoration};
use crate::ledger::{Ledger, LedgerError};
use crate::pipeline::VerbError;
use crate::pipeline::audit::note_in;

/// Keep the ledger for years: its size, its soundness, its backups, its keys
///
/// Example: hoso ledger backup /backup/hoso-$(date +%F).db
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    Size(SizeArguments),
    Check(CheckArguments),
    Backup(BackupArguments),
    Verify(VerifyArguments),
    Restore(RestoreArguments),
    Compact(CompactArguments),
    NewKey(NewKeyArguments),
    RotateKey(RotateKeyArguments),
}

/// Say how large each kind of record is, how fast it grows, and when the room ends
///
/// Reads every page of the file, beside a running service. The service keeps one measurement a day;
/// growth is told once there are two.
///
/// Example: hoso ledger size
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct SizeArguments {}

/// Read every page and every body, and say what is not as it should be
///
/// Changes nothing, and may run beside the service. Exit code 6 if something was found.
///
/// Example: hoso ledger check
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CheckArguments {}

/// Copy the ledger as it is at this moment, beside a running service, and verify the copy
///
/// A copy gets its name only after every page and body of it has been read. FILE.manifest holds what
/// is in it, on one line. Bodies stay sealed; without their key a backup is of no use.
///
/// Example: hoso ledger backup /backup/hoso-2026-11-23.db
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct BackupArguments {
    /// Where to; must not exist
    file: PathBuf,
}

/// Read a backup and say whether it could be restored
///
/// Compares it with its manifest, checks every page and, with the ledger's key, every body.
/// Exit code 6 if something was found.
///
/// Example: hoso ledger verify /backup/hoso-2026-11-23.db
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct VerifyArguments {
    /// The backup
    file: PathBuf,
}

/// Put a backup in the ledger's place, ready to go on without sending anything twice
///
/// The service must be stopped. The present ledger is kept beside the restored one. After the
/// start each source is read again before anything of it is sent; what was on its way is looked up
/// at the portal; requests for a supplement (status 5) since the backup wait for a person.
///
/// Example: hoso ledger restore /backup/hoso-2026-11-23.db --replace --reason "disk failure"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct RestoreArguments {
    /// The backup
    file: PathBuf,
    /// Put it in the place of a ledger that is there
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    person: Person,
}

/// Rewrite the file without holes; the service must be stopped
///
/// Ledgers made by version 0.1.0 cannot give room back to the disk until this was done once. Needs
/// as much free space as the ledger has data.
///
/// Example: hoso ledger compact
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CompactArguments {}

/// Make a key for the ledger's bodies
///
/// Writes it to FILE, which only its owner may read, or prints it. Keep a copy apart from the
/// ledger and its backups.
///
/// Example: hoso ledger new-key /etc/hoso/ledger.key
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct NewKeyArguments {
    /// Where to; must not exist. Without it the key goes to stdout
    file: Option<PathBuf>,
}

/// Put every body under the configured key
///
/// For a ledger that was not sealed, and for changing keys: name the new key in `ledger.key_file`
/// and the one before in `ledger.old_key_file`, start the service again, then run this beside it.
/// May be stopped and started again; every body can be read all the while.
///
/// Example: hoso ledger rotate-key
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct RotateKeyArguments {
    #[command(flatten)]
    person: Person,
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    match which {
        Which::Size(_) => size(invocation).await,
        Which::Check(_) => check(invocation).await,
        Which::Backup(arguments) => backup(invocation, &arguments.file).await,
        Which::Verify(arguments) => verify(invocation, &arguments.file).await,
        Which::Restore(arguments) => restore(invocation, arguments).await,
        Which::Compact(_) => compact(invocation).await,
        Which::NewKey(arguments) => new_key(invocation, arguments.file.as_deref()),
        Which::RotateKey(arguments) => rotate_key(invocation, &arguments.person).await,
    }
}

fn failed_words(error: &LedgerError) -> String {
    format!("failed: {error} ({})", error.code())
}

fn act(action: &str, person: &Person) -> AuditRecord {
    AuditRecord::new(&person.actor(), action, "ledger", &person.reason)
}

fn now() -> Timestamp {
    SystemClock::new().now()
}

async fn size(invocation: &Invocation) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let sizes = ledger.sizes(now()).await;
    ledger.close().await;
    invocation.output.result(&sizes?, size_text);
    Ok(())
}

fn size_text(sizes: &Sizes) -> String {
    let grown = |growth: Option<i64>| match growth {
        None => "-".to_owned(),
        Some(bytes) => {
            let sign = if bytes < 0 { "-" } else { "+" };
            format!("{sign}{} a day", words::bytes(bytes.unsigned_abs()))
        }
    };
    let rows = sizes.classes.iter().map(|class| {
        vec![
            class.class.clone(),
            words::thousands(class.rows),
            words::bytes(class.bytes),
            grown(class.growth),
        ]
    });
    let mut text = words::table(&["CLASS", "ROWS", "SIZE", "GROWTH"], rows);
    text.push('\n');
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{name:<10}{value}");
    };
    line(
        "file",
        &format!(
            "{}, of which {} are holes that are filled first; journal {}",
            words::bytes(sizes.file_bytes),
            words::bytes(sizes.free_bytes),
            words::bytes(sizes.journal_bytes)
        ),
    );
    if let Some(free) = sizes.disk_free_bytes {
        line("disk", &format!("{} free", words::bytes(free)));
    }
    line("growth", &grown(sizes.growth));
    line("full in", &full_in(sizes));
    text
}

fn full_in(sizes: &Sizes) -> String {
    match (sizes.growth, sizes.days_left) {
        (None, _) => "not known yet: the service keeps one measurement a day".to_owned(),
        (Some(_), None) => "never, at this growth".to_owned(),
        (Some(_), Some(days)) => words::count(days, "day"),
    }
}

async fn check(invocation: &Invocation) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::ledger_file(&config, false).await?;
    let found = ledger.check().await;
    ledger.close().await;
    let found = found?;
    invocation.output.result(&found, |found| match found.as_slice() {
        [] => "sound: every page, reference and body was read".to_owned(),
        found => findings_text(found),
    });
    if found.is_empty() { Ok(()) } else { Err(Failure::findings()) }
}

fn findings_text(found: &[Finding]) -> String {
    let mut text = String::new();
    for finding in found {
        let _infallible = writeln!(
            text,
            "{}: {}{}",
            finding.what,
            words::thousands(finding.count),
            if finding.examples.is_empty() {
                String::new()
            } else {
                format!(" ({})", finding.examples.join(", "))
            }
        );
    }
    text.push_str(
        "\nwhat to do: a dossier with a body that cannot be read is set aside when it is needed; \
         damaged pages or many findings: `hoso ledger restore`\n",
    );
    text
}

async fn backup(invocation: &Invocation, file: &Path) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::ledger_file(&config, false).await?;
    let manifest = ledger.backup(file, now()).await;
    let audit = AuditRecord::new(
        &person::user(),
        "backup",
        &file.display().to_string(),
        "a copy of the ledger",
    );
    let result = match &manifest {
        Ok(manifest) => format!("{}, {}", words::bytes(manifest.bytes), manifest.hash),
        Err(error) => failed_words(error),
    };
    note_in(&ledger, now(), &audit, &result).await;
    ledger.close().await;
    invocation.output.result(&manifest?, |manifest| {
        format!(
            "{}: {}, verified\nwhat is in it: {}",
            file.display(),
            manifest_text(manifest),
            sqlite::manifest_of(file).display()
        )
    });
    Ok(())
}

fn manifest_text(manifest: &Manifest) -> String {
    let count = |table| manifest.rows.get(table).copied().unwrap_or(0);
    format!(
        "{} of {}, schema {}, {}, {}, {}",
        words::bytes(manifest.bytes),
        manifest.made_at,
        manifest.schema,
        words::count(count("dossier"), "dossier"),
        words::count(count("step"), "step"),
        manifest
            .key
            .as_ref()
            .map_or_else(|| "bodies not sealed".to_owned(), |id| format!("sealed under key {id}"))
    )
}

#[derive(Debug, Serialize)]
struct Verified {
    #[serde(flatten)]
    manifest: Manifest,
    findings: Vec<Finding>,
}

async fn verify(invocation: &Invocation, file: &Path) -> Result<(), Failure> {
    let config = invocation.config()?;
    is_there(file)?;
    let settings = build::ledger_settings(&config, false)?;
    let (manifest, findings) = sqlite::verify(file, &settings, now()).await?;
    let verified = Verified { manifest, findings };
    invocation.output.result(&verified, |verified| {
        let about = manifest_text(&verified.manifest);
        match verified.findings.as_slice() {
            [] => format!("{about}: it can be restored"),
            found => format!("{about}\n{}", findings_text(found)),
        }
    });
    if verified.findings.is_empty() { Ok(()) } else { Err(Failure::findings()) }
}

fn is_there(file: &Path) -> Result<(), Failure> {
    if file.exists() {
        return Ok(());
    }
    Err(Failure::new(Exit::NotFound, format!("there is no file {}", file.display())))
}

async fn restore(invocation: &Invocation, arguments: RestoreArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    is_there(&arguments.file)?;
    let now = now();
    let settings = build::ledger_settings(&config, false)?;
    let audit = act("restore", &arguments.person);
    // Who has taken a file does not offer it again by itself, as a feed does. Before the ledger is put
    // in place: a file that is read twice changes nothing, one that is never read is lost.
    let taken_since = sqlite::made_at(&arguments.file)? - BACKUP_TAKES;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut given_back = BTreeMap::new();
    for source in config.sources.iter().filter(|source| source.kind == SourceKind::Directory) {
        let given =
            build::directory(source, &clock).give_back(taken_since).await.map_err(|failed| {
                VerbError::Source { source_name: source.name.clone(), failure: failed.failure }
            })?;
        given_back.insert(source.name.clone(), given);
    }
    let done = sqlite::put_back(
        &arguments.file,
        &config.ledger.path,
        &settings,
        arguments.replace,
        now,
        &config.sources.iter().map(|source| source.name.clone()).collect::<Vec<_>>(),
        &audit,
    )
    .await;
    // Into the ledger that is still there, where somebody will look for it.
    if let Err(error) = &done
        && let Ok(present) = build::ledger_file(&config, false).await
    {
        note_in(&present, now, &audit, &failed_words(error)).await;
        present.close().await;
    }
    let done = done?;
    let restored = Restored { restoration: done, given_back };
    invocation.output.result(&restored, |done| restored_text(done, &config.ledger.path));
    Ok(())
}

/// Longer than a backup takes, and than two machines' clocks differ.
const BACKUP_TAKES: Duration = Duration::from_hours(1);

#[derive(Debug, Serialize)]
struct Restored {
    #[serde(flatten)]
    restoration: Restoration,
    /// Files that were put back to be read again, by source.
    given_back: BTreeMap<String, u64>,
}

fn restored_text(restored: &Restored, path: &Path) -> String {
    let done = &restored.restoration;
    let mut text = format!("{} is the backup of {}\n", path.display(), done.manifest.made_at);
    if let Some(kept) = &done.kept {
        let _infallible = writeln!(text, "the ledger before it: {}", kept.display());
    }
    for (source, files) in &restored.given_back {
        let files = words::count(*files, "file");
        let _infallible =
            writeln!(text, "{source}: {files} taken since then put back, to be read again");
    }
    let after = &done.aftermath;
    let _infallible = write!(
        text,
        "\nwhen the service runs again:\n\
         {} read again before anything of {} is sent\n\
         {} looked up at the portal first\n\
         {} with status 5 held for a person: hoso problems list\n\
         {} paused, because what they sent since is not known: hoso job list\n\
         legal holds and decisions of people since the backup are not in it: look at the ledger before it\n",
        words::count(after.sources, "source"),
        if after.sources == 1 { "it" } else { "them" },
        words::count(after.to_look_up, "dossier"),
        words::count(after.steps_held, "step"),
        words::count(after.jobs_paused, "job"),
    );
    text
}

#[derive(Debug, Serialize)]
struct Compacted {
    bytes_before: u64,
    bytes_after: u64,
}

async fn compact(invocation: &Invocation) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::ledger_file(&config, false).await?;
    let done = ledger.compact(now()).await;
    let audit = AuditRecord::new(&person::user(), "compact", "ledger", "room back to the disk");
    let result = match &done {
        Ok((before, after)) => {
            format!("{} before, {} now", words::bytes(*before), words::bytes(*after))
        }
        Err(error) => failed_words(error),
    };
    note_in(&ledger, now(), &audit, &result).await;
    ledger.close().await;
    let (bytes_before, bytes_after) = done?;
    invocation.output.result(&Compacted { bytes_before, bytes_after }, |done| {
        format!(
            "{} before, {} now; from here on room goes back to the disk by itself",
            words::bytes(done.bytes_before),
            words::bytes(done.bytes_after)
        )
    });
    Ok(())
}

#[derive(Debug, Serialize)]
struct NewKey {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

fn new_key(invocation: &Invocation, file: Option<&Path>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("no key: {error}"));
    let text = BodyKey::new_text().map_err(failed)?;
    let id = BodyKey::from_text(&text)
        .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?
        .id();
    if let Some(file) = file {
        write_private(file, &text).map_err(|error| {
            let hint = "name a file that does not exist, in a folder of the service's user";
            Failure::new(Exit::Failed, format!("{}: {error}", file.display())).hint(hint)
        })?;
    }
    let made = NewKey { id, file: file.map(Path::to_owned), key: file.is_none().then_some(text) };
    invocation.output.result(&made, |made| match (&made.key, &made.file) {
        (Some(key), _) => key.clone(),
        (None, Some(file)) => format!(
            "key {} is in {}\nname it in `ledger.key_file`, keep a copy elsewhere, start the service again, \
             then `hoso ledger rotate-key`",
            made.id,
            file.display()
        ),
        (None, None) => String::new(),
    });
    Ok(())
}

fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let mut file = words::new_private_file(file)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

async fn rotate_key(invocation: &Invocation, person: &Person) -> Result<(), Failure> {
    let config = invocation.config()?;
    // A key that is new to the ledger while a service runs: that service does not know it.
    let before = build::ledger_file(&config, false).await?;
    let (standing, pending) = (before.standing(now()).await, before.key_is_new());
    let standing = standing?;
    if standing.gate_owner.is_some() && pending {
        let why = "refused: the service does not use the configured key yet";
        note_in(&before, now(), &act("rotate-key", person), why).await;
    }
    before.close().await;
    if let (Some(owner), true) = (standing.gate_owner, pending) {
        return Err(Failure::new(
            Exit::Ledger,
            format!("{owner} does not use the configured key yet"),
        )
        .code("ledger.key_not_adopted")
        .hint("start the service again with this configuration, then repeat the command"));
    }
    let ledger = build::ledger_file(&config, true).await?;
    let now = now();
    let audit = act("rotate-key", person);
    let done = ledger.reseal(now, &audit).await;
    if let Err(error) = &done {
        note_in(&ledger, now, &audit, &failed_words(error)).await;
    }
    ledger.close().await;
    let done = done?;
    invocation.output.result(&done, resealed_text);
    if done.unreadable == 0 { Ok(()) } else { Err(Failure::findings()) }
}

fn resealed_text(done: &Resealed) -> String {
    let mut text = format!(
        "bodies put under the key: {}; all that can be read are under it now\n\
         `ledger.old_key_file` may go. Backups made before are still under what they were made with\n",
        words::thousands(done.resealed)
    );
    if done.unreadable > 0 {
        let _infallible = writeln!(
            text,
            "{} could not be read under any key and stay as they are: hoso ledger check",
            words::thousands(done.unreadable)
        );
    }
    text
}
