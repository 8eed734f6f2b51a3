//! `hoso audit`: who did what, whether the record of it is whole, and a copy of it for others.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::failure::{Exit, Failure};
use super::{Invocation, build, person, words};
use crate::clock::{Clock, SystemClock};
use crate::domain::time::Timestamp;
use crate::ledger::audit::{
    AuditFilter, AuditHead, AuditRow, AuditSegment, ChainCheck, ChainReport,
};
use crate::ledger::record::{AuditRecord, Finding, Manifest};
use crate::pipeline::audit::{AnchorVerdict, AuditVerdict, Export, note, verify as verify_chain};

/// See who did what, prove that the record of it is whole, and export it
///
/// Every act of a person has one row, also when it was refused or failed. The rows are a chain of
/// hashes: a row that was changed, removed, inserted or moved is found. That the newest rows were not
/// cut off can only be proved with a hash that was kept elsewhere.
///
/// Example: hoso audit list --since 2026-01-01
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    List(ListArguments),
    Verify(VerifyArguments),
    Export(ExportArguments),
}

/// List acts, the newest first
///
/// Example: hoso audit list --who anna --what resync --since "2026-01-26 08:00:00"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ListArguments {
    /// Only acts of people whose name contains this
    #[arg(long, value_name = "TEXT")]
    who: Option<String>,
    /// Only acts whose name contains this: resync, portal pause, restore, ...
    #[arg(long, value_name = "TEXT")]
    what: Option<String>,
    /// Only acts on exactly this: a dossier's code, a scope, a file
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// Only from this time on (Vietnam time unless an offset is given)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only up to this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
}

/// Look for changes, gaps, insertions and cut ends in the audit (exit code 6 if there are any)
///
/// Reads the whole chain. What it prints as the head (NUMBER:HASH) should be kept where nobody who can
/// write the ledger can: with --expect it proves later that nothing up to there is gone. The service
/// writes it into its log at the start and once a day, and `hoso ledger backup` into the manifest.
///
/// Example: hoso audit verify --against /backup/hoso-2026-11-23.db.manifest
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct VerifyArguments {
    /// A head that was kept elsewhere; it must be in the chain
    #[arg(long, value_name = "NUMBER:HASH", num_args = 1.., conflicts_with = "file")]
    expect: Vec<AuditHead>,
    /// An export or a backup's manifest, all of which must be in the chain
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    against: Option<PathBuf>,
    /// Verify an export by itself, without a ledger
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Write the audit into a file that can be verified without the ledger
///
/// JSON lines: first what the rows stand behind and end with, then a row each. The file is new and
/// only its owner may read it. The export itself is an act.
///
/// Example: hoso audit export audit-2026.jsonl --since 2026-01-01 --reason "for the inspection"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ExportArguments {
    /// Where to; must not exist
    file: PathBuf,
    /// Only from the first act of this time on
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Why
    #[arg(long, value_name = "TEXT", value_parser = person::said)]
    reason: Option<String>,
    /// Who asks; stands beside the system's user in the audit, not instead of it
    #[arg(long, value_name = "NAME", value_parser = person::said)]
    actor: Option<String>,
}

/// A point in time, or a day as its beginning.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::from_iso(text)
        .or_else(|| Timestamp::from_iso(&format!("{text}T00:00:00")))
        .ok_or_else(|| "write a day, or date and time, as 2026-01-27 06:00:00".to_owned())
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    match which {
        Which::List(arguments) => list(invocation, arguments).await,
        Which::Verify(VerifyArguments { file: Some(file), .. }) => verify_file(invocation, &file),
        Which::Verify(arguments) => verify(invocation, arguments).await,
        Which::Export(arguments) => export(invocation, arguments).await,
    }
}

async fn list(invocation: &Invocation, arguments: ListArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let filter = AuditFilter {
        who: arguments.who,
        what: arguments.what,
        target: arguments.target,
        since: arguments.since,
        until: arguments.until,
        // One more than asked for tells whether the list is whole.
        limit: arguments.limit.saturating_add(1),
    };
    let mut acts = ledger.acts(&filter).await?;
    ledger.close().await;
    let is_cut = acts.len() > arguments.limit as usize;
    acts.truncate(arguments.limit as usize);
    let now = SystemClock::new().now();
    invocation.output.result(&acts, |acts| {
        if acts.is_empty() { "no such act".to_owned() } else { listed(acts, now) }
    });
    if is_cut {
        invocation.output.talk("there are more; raise --limit");
    }
    Ok(())
}

fn listed(acts: &[AuditRow], now: Timestamp) -> String {
    words::table(
        &["NO", "WHEN", "WHO", "WHAT", "TARGET", "REASON", "RESULT"],
        acts.iter().map(|act| {
            let target = match &act.selection {
                Some(selection) => format!("{} ({selection})", act.target),
                None => act.target.clone(),
            };
            let result = match &act.plan_hash {
                Some(hash) => {
                    format!("{}; plan {}", act.result, hash.get(..12).unwrap_or(hash))
                }
                None => act.result.clone(),
            };
            vec![
                act.seq.to_string(),
                words::when(act.at, now),
                act.actor.clone(),
                act.action.clone(),
                target,
                act.reason.clone(),
                result,
            ]
        }),
    )
}

fn found(finding: &Finding) -> String {
    let mut text = format!("  {}: {}", finding.what, finding.count);
    if !finding.examples.is_empty() {
        let _infallible = write!(text, " ({})", finding.examples.join(", "));
    }
    text
}

async fn verify(invocation: &Invocation, arguments: VerifyArguments) -> Result<(), Failure> {
    let mut anchors = arguments.expect;
    let mut of_file = None;
    if let Some(file) = &arguments.against {
        let (kept, report) = anchors_of(file)?;
        of_file = report;
        anchors.extend(kept);
    }
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let verdict = verify_chain(ledger.as_ref(), &anchors).await;
    ledger.close().await;
    let mut verdict = verdict?;
    // A file that is not sound itself proves nothing.
    if let Some(report) = of_file {
        verdict.chain.findings.extend(
            report.findings.into_iter().map(|finding| Finding {
                what: format!("in the file, {}", finding.what),
                ..finding
            }),
        );
    }
    // Of a whole export its first row that is not here says it all.
    if arguments.against.is_some() {
        let gone = verdict.anchors.iter().position(|(_, found)| *found != AnchorVerdict::Found);
        let told = gone.or(verdict.anchors.len().checked_sub(1));
        verdict.anchors = told.map(|at| verdict.anchors[at].clone()).into_iter().collect();
    }
    invocation.output.result(&verdict, |verdict| verified(verdict, SystemClock::new().now()));
    if verdict.is_sound() { Ok(()) } else { Err(Failure::findings()) }
}

fn verified(verdict: &AuditVerdict, now: Timestamp) -> String {
    let chain = &verdict.chain;
    let mut text = if chain.findings.is_empty() {
        format!("whole: {}", words::count(chain.rows, "row"))
    } else {
        format!("NOT AS WRITTEN: {}", words::count(chain.rows, "row"))
    };
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    match (chain.first_at, chain.last_at) {
        (Some(first), Some(last)) => {
            line(&format!(" from {} to {}", words::when(first, now), words::when(last, now)));
        }
        _ => line(""),
    }
    for finding in &chain.findings {
        line(&found(finding));
    }
    if verdict.archived_segments > 0 {
        line(&format!(
            "archived: {} in {}; their ends fit",
            words::count(u64::try_from(verdict.archived_rows).unwrap_or(0), "row"),
            words::count(verdict.archived_segments as u64, "segment")
        ));
    }
    if let Some((rows, since)) = verdict.sealed {
        line(&format!(
            "sealed: {} from before the chain, unchanged since {}",
            words::count(u64::try_from(rows).unwrap_or(0), "row"),
            words::when(since, now)
        ));
    }
    for restored_at in &verdict.restores {
        let when = words::when(*restored_at, now);
        line(&format!(
            "a backup was put in the ledger's place at {when}; its row names both heads"
        ));
    }
    for (anchor, found) in &verdict.anchors {
        let said = match found {
            AnchorVerdict::Found => "is in the chain: nothing up to there is gone".to_owned(),
            AnchorVerdict::CutOff => {
                "is NOT in the chain, which ends before it: the newest acts were cut off".to_owned()
            }
            AnchorVerdict::Another => {
                "is NOT in the chain: another row stands there, so the chain was written anew"
                    .to_owned()
            }
            AnchorVerdict::OlderThanKept => "is older than what is kept: nobody can say".to_owned(),
            AnchorVerdict::PutAside { restored_at } => format!(
                "is not in this chain: the backup that was put in place at {} did not have it; the ledger before it was kept",
                words::when(*restored_at, now)
            ),
        };
        line(&format!("expected {anchor} {said}"));
    }
    line(&format!("head {}", chain.head));
    if verdict.anchors.is_empty() {
        line("keep the head elsewhere: only with it can a cut end be found (--expect)");
    }
    text
}

/// The first line of an export.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    hoso_audit: u32,
    made_at: Timestamp,
    /// Of the row before the first one in the file.
    behind: AuditHead,
    /// Of the last one.
    ends_with: AuditHead,
    /// Where parts of the chain end whose rows are gone or older than the chain.
    segments: Vec<AuditSegment>,
}

/// What an export is, read back by itself.
#[derive(Debug, Serialize)]
struct FileVerdict {
    #[serde(flatten)]
    chain: ChainReport,
    made_at: Timestamp,
    behind: AuditHead,
}

fn read_export(file: &Path) -> Result<(FileVerdict, Vec<AuditHead>), Failure> {
    let wrong = |line: usize, why: &str| {
        Failure::new(Exit::Files, format!("{}:{line}: {why}", file.display()))
            .hint("`hoso audit export` writes such files")
    };
    let opened = std::fs::File::open(file)
        .map_err(|error| Failure::new(Exit::NotFound, format!("{}: {error}", file.display())))?;
    let mut lines = BufReader::new(opened).lines();
    let mut next = |number: usize| match lines.next() {
        None => Ok(None),
        Some(Ok(line)) => Ok(Some(line)),
        Some(Err(error)) => Err(wrong(number, &error.to_string())),
    };
    let header = next(1)?.unwrap_or_default();
    let header: Header =
        serde_json::from_str(&header).map_err(|_| wrong(1, "this is no export of the audit"))?;
    let mut check = ChainCheck::behind(header.behind);
    let mut heads = Vec::new();
    let mut number = 1;
    while let Some(line) = next(number + 1)? {
        number += 1;
        let row: AuditRow = serde_json::from_str(&line)
            .map_err(|error| wrong(number, &format!("this is no row of the audit: {error}")))?;
        check.row(&row);
        heads.extend(row.head());
    }
    if check.head() != header.ends_with {
        check.find("the file does not end where it says", header.ends_with.seq);
    }
    let (made_at, behind) = (header.made_at, header.behind);
    Ok((FileVerdict { chain: check.report(), made_at, behind }, heads))
}

/// Heads that a file of ours names: an export's rows, or a backup's head.
fn anchors_of(file: &Path) -> Result<(Vec<AuditHead>, Option<ChainReport>), Failure> {
    let manifest = std::fs::read_to_string(file)
        .ok()
        .and_then(|text| serde_json::from_str::<Manifest>(&text).ok());
    if let Some(manifest) = manifest {
        return match manifest.audit {
            Some(head) => Ok((vec![head], None)),
            None => Err(Failure::new(
                Exit::Files,
                format!("{} names no head of the audit", file.display()),
            )
            .hint("the backup was made by a version before the audit was a chain")),
        };
    }
    let (verdict, heads) = read_export(file)?;
    Ok((heads, Some(verdict.chain)))
}

fn verify_file(invocation: &Invocation, file: &Path) -> Result<(), Failure> {
    let (verdict, _) = read_export(file)?;
    let now = SystemClock::new().now();
    invocation.output.result(&verdict, |verdict| {
        let chain = &verdict.chain;
        let rows = words::count(chain.rows, "row");
        let whole = if chain.findings.is_empty() { "whole" } else { "NOT AS WRITTEN" };
        let mut text = format!("{whole}: {rows}, exported {}\n", words::when(verdict.made_at, now));
        for finding in &chain.findings {
            // Writing to a String cannot fail, here and below.
            let _infallible = writeln!(text, "{}", found(finding));
        }
        let _infallible = writeln!(text, "behind {}\nhead {}", verdict.behind, chain.head);
        text.push_str("a file can be written anew as a whole: compare the head with the ledger's (--against)\n");
        text
    });
    if verdict.chain.findings.is_empty() { Ok(()) } else { Err(Failure::findings()) }
}

#[derive(Debug, Serialize)]
struct Exported {
    file: PathBuf,
    rows: u64,
    head: AuditHead,
}

async fn export(invocation: &Invocation, arguments: ExportArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let file = arguments.file;
    let audit = AuditRecord::new(
        &person::actor(arguments.actor.as_deref()),
        "audit export",
        &file.display().to_string(),
        arguments.reason.as_deref().unwrap_or_default(),
    );
    let audit = match arguments.since {
        Some(since) => audit.selection(format!("since {since}")),
        None => audit,
    };
    let now = context.clock.now();
    let written = write_export(&context.ledger, &file, arguments.since, now).await;
    let result = match &written {
        Ok(exported) => format!("{} up to {}", words::count(exported.rows, "row"), exported.head),
        Err(failure) => format!("failed: {}", failure.message),
    };
    note(&context, &audit, &result).await;
    context.ledger.close().await;
    invocation.output.result(&written?, |exported| {
        format!(
            "{}: {}\nhead {}\nverify it anywhere: hoso audit verify --file {}",
            exported.file.display(),
            words::count(exported.rows, "row"),
            exported.head,
            exported.file.display()
        )
    });
    Ok(())
}

async fn write_export(
    ledger: &std::sync::Arc<dyn crate::ledger::Ledger>,
    file: &Path,
    since: Option<Timestamp>,
    now: Timestamp,
) -> Result<Exported, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("{}: {error}", file.display()))
            .hint("name a file that does not exist, on a disk with room")
    };
    let mut export = Export::begin(ledger.as_ref(), since).await?;
    let opened = words::new_private_file(file).map_err(failed)?;
    let mut out = std::io::BufWriter::new(opened);
    let mut rows = 0;
    let mut page = export.next().await?;
    let header = Header {
        hoso_audit: 1,
        made_at: now,
        behind: page.as_ref().map_or(export.ends_with, |(behind, _)| *behind),
        ends_with: export.ends_with,
        segments: export.chain.segments.clone(),
    };
    line(&mut out, &header).map_err(failed)?;
    while let Some((_, found)) = page {
        for row in &found {
            line(&mut out, row).map_err(failed)?;
        }
        rows += found.len() as u64;
        page = export.next().await?;
    }
    let written = out.into_inner().map_err(std::io::IntoInnerError::into_error);
    written.and_then(|file| file.sync_all()).map_err(failed)?;
    Ok(Exported { file: file.to_owned(), rows, head: export.ends_with })
}

fn line(out: &mut impl std::io::Write, value: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
