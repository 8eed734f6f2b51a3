//! `hoso reconcile report`: a run's books and dossiers as a file, masked unless somebody says why not.
//!
//! Dossiers are read and written page by page, so a report of a million needs no memory. A file is
//! written under another name beside its place and renamed when it is whole: a full disk leaves
//! either the old report or none, never a half one.

mod csv;
mod html;
mod json;
mod workbook;
mod xlsx;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::super::failure::{Exit, Failure};
use super::super::person::{actor, said};
use super::super::{Invocation, build};
use super::{find, sum, text};
use crate::clock::{Clock, SystemClock};
use crate::domain::masking;
use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::ledger::reconcile::{BookRow, LineFilter, ReconcileLine, ReconcileRun, RowKind};
use crate::ledger::record::{AuditRecord, Books};
use crate::pipeline::reconcile::repair::note_unmasking;

/// Dossiers that are read together.
const PAGE: u32 = 1000;
/// Dossiers that a terminal shows.
const SHOWN: usize = 40;

/// A run's books and every dossier that is not simply matched, as a file
///
/// Terminal, JSON, CSV, XLSX (Vietnamese headings; sheets: summary, by day, by agency, by procedure,
/// dossiers) or HTML that prints well. Names and other personal values are masked; --unmask shows the
/// owner's name, needs a reason, and is written down in the audit.
///
/// Example: hoso reconcile report --format xlsx --out doi-soat.xlsx
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Arguments {
    /// Number of the run; the newest with books unless given
    run: Option<i64>,
    /// What to write; the ending of --out decides unless given
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to this file; stdout without it (not for xlsx)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show names whole; needs --reason
    #[arg(long, requires = "reason")]
    unmask: bool,
    /// Why the names are needed; kept in the ledger for good
    #[arg(long, value_name = "TEXT", value_parser = said)]
    reason: Option<String>,
    /// Who asks; the name of the logged-in user unless given
    #[arg(long, value_name = "NAME", value_parser = said)]
    actor: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
    Csv,
    Xlsx,
    Html,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "txt" => Some(Self::Text),
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "xlsx" => Some(Self::Xlsx),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}

/// Everything of a report but its dossiers.
struct Facts {
    run: ReconcileRun,
    books: Books,
    /// By day, agency, procedure.
    rows: Vec<(RowKind, Vec<BookRow>, BookRow)>,
    made_at: Timestamp,
    unmasked: bool,
}

/// A dossier as a report shows it.
struct Entry {
    line: ReconcileLine,
    /// `ChuHoSo` of what the portal was told.
    owner: String,
}

pub(super) async fn run(invocation: &Invocation, arguments: Arguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let format = match (arguments.format, &arguments.out) {
        (Some(format), _) => format,
        (None, Some(path)) => Format::of(path).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("{} does not end in a known way", path.display()))
                .hint("name the format: --format text, json, csv, xlsx or html")
        })?,
        (None, None) if invocation.output.wants_json() => Format::Json,
        (None, None) => Format::Text,
    };
    if format == Format::Xlsx && arguments.out.is_none() {
        return Err(Failure::new(Exit::Usage, "an XLSX file is nothing for a terminal")
            .hint("name a file: --out doi-soat.xlsx"));
    }
    let ledger = build::existing_ledger(&config).await?;
    let done = write(invocation, ledger.as_ref(), &arguments, format).await;
    ledger.close().await;
    done
}

async fn write(
    invocation: &Invocation,
    ledger: &dyn Ledger,
    arguments: &Arguments,
    format: Format,
) -> Result<(), Failure> {
    let run = find(ledger, arguments.run, true).await?;
    let made_at = SystemClock::new().now();
    // Before anything is shown: who is not on record sees nothing.
    if arguments.unmask {
        let actor = actor(arguments.actor.as_deref());
        let reason = arguments.reason.clone().unwrap_or_default();
        let target = format!("reconciliation run {}", run.id);
        let audit = AuditRecord::new(&actor, "reconcile report --unmask", &target, &reason);
        note_unmasking(ledger, made_at, &audit).await?;
    }
    let mut rows = Vec::new();
    for kind in RowKind::ALL {
        let of_kind = ledger.book_rows(run.id, kind).await?;
        let whole = sum(&of_kind);
        rows.push((kind, of_kind, whole));
    }
    let books = run.books.clone().unwrap_or_default();
    let facts = Facts { run, books, rows, made_at, unmasked: arguments.unmask };
    let mut entries = Entries { ledger, facts: &facts, after: String::new() };
    if format == Format::Text && arguments.out.is_none() {
        invocation.output.data(&terminal(&facts, &mut entries).await?);
        return Ok(());
    }
    let Some(path) = &arguments.out else {
        // To a pipe: whole pages, as they come.
        let mut buffer = Vec::new();
        stream(&facts, &mut entries, format, &mut buffer).await?;
        invocation.output.data(&String::from_utf8_lossy(&buffer));
        return Ok(());
    };
    let unwritable = |error: std::io::Error| unwritable(path, &error);
    let beside = Beside::of(path).map_err(unwritable)?;
    let mut file = BufWriter::new(beside.create().map_err(unwritable)?);
    match format {
        Format::Xlsx => file = xlsx::write(&facts, &mut entries, file, unwritable).await?,
        Format::Text => {
            let whole = terminal(&facts, &mut entries).await?;
            file.write_all(whole.as_bytes()).map_err(unwritable)?;
        }
        Format::Json | Format::Csv | Format::Html => {
            stream_to(&facts, &mut entries, format, &mut file, path).await?;
        }
    }
    file.into_inner()
        .map_err(|error| unwritable(error.into_error()))?
        .sync_all()
        .map_err(unwritable)?;
    beside.put_in_place(path).map_err(unwritable)?;
    invocation.output.talk(&format!("written: {}", path.display()));
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the report cannot be written to {}: {error}", path.display()),
    )
    .hint("nothing was left half-written; make room or name another place with --out")
}

/// A file that is not whole yet, beside the place where it will be.
struct Beside {
    path: PathBuf,
    is_placed: bool,
}

impl Beside {
    fn of(path: &Path) -> std::io::Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| std::io::Error::other("it names no file"))?
            .to_string_lossy();
        let name = format!(".{name}.{}.part", std::process::id());
        Ok(Self { path: path.with_file_name(name), is_placed: false })
    }

    fn create(&self) -> std::io::Result<File> {
        File::create(&self.path)
    }

    fn put_in_place(mut self, path: &Path) -> std::io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.is_placed = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_placed {
            // It may never have been made; there is nobody to tell.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// The dossiers of a run, page by page.
struct Entries<'a> {
    ledger: &'a dyn Ledger,
    facts: &'a Facts,
    after: String,
}

impl Entries<'_> {
    /// Empty at the end.
    async fn next(&mut self) -> Result<Vec<Entry>, Failure> {
        let run = self.facts.run.id;
        let page = self.ledger.lines(run, &LineFilter::default(), &self.after, PAGE).await?;
        if let Some(last) = page.last() {
            self.after.clone_from(&last.ma_ho_so);
        }
        let ids: Vec<i64> = page.iter().filter_map(|line| line.dossier_id).collect();
        let owners: std::collections::BTreeMap<i64, String> = self
            .ledger
            .compared(&ids)
            .await?
            .into_iter()
            .filter_map(|dossier| {
                let told: serde_json::Value = serde_json::from_str(&dossier.told?).ok()?;
                let name = told.get("ChuHoSo")?.as_str()?.to_owned();
                Some((dossier.dossier_id, name))
            })
            .collect();
        Ok(page
            .into_iter()
            .map(|line| {
                let owner = line.dossier_id.and_then(|id| owners.get(&id)).cloned();
                let owner = owner.unwrap_or_default();
                let owner = if self.facts.unmasked { owner } else { masking::name(&owner) };
                Entry { line, owner }
            })
            .collect())
    }
}

async fn stream(
    facts: &Facts,
    entries: &mut Entries<'_>,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    stream_to(facts, entries, format, out, Path::new("stdout")).await
}

async fn stream_to(
    facts: &Facts,
    entries: &mut Entries<'_>,
    format: Format,
    out: &mut (dyn Write + Send),
    path: &Path,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| unwritable(path, &error);
    let (head, tail): (Vec<u8>, Vec<u8>) = match format {
        Format::Json => (json::head(facts), json::tail()),
        Format::Csv => (csv::head(), Vec::new()),
        Format::Html => (html::head(facts).into_bytes(), html::tail(facts).into_bytes()),
        Format::Text | Format::Xlsx => return Ok(()),
    };
    out.write_all(&head).map_err(failed)?;
    let mut is_first = true;
    loop {
        let page = entries.next().await?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            let piece = match format {
                Format::Json => json::entry(&entry, is_first),
                Format::Csv => csv::entry(&entry),
                _ => html::entry(&entry).into_bytes(),
            };
            is_first = false;
            out.write_all(&piece).map_err(failed)?;
        }
    }
    out.write_all(&tail).and_then(|()| out.flush()).map_err(failed)
}

/// What a terminal shows: the books, where something is not matched, and some dossiers.
async fn terminal(facts: &Facts, entries: &mut Entries<'_>) -> Result<String, Failure> {
    let mut whole = text::run(&facts.run);
    for (kind, rows, sum) in &facts.rows {
        let rows: Vec<BookRow> = rows
            .iter()
            .filter(|row| row.matched < row.at_source || !row.is_closed())
            .cloned()
            .collect();
        let told = super::Told {
            run: facts.run.id,
            source: facts.run.order.source.clone(),
            by: *kind,
            rows,
            whole: sum.clone(),
        };
        whole.push('\n');
        whole.push_str(&text::rows(&told));
    }
    let page = entries.next().await?;
    if !page.is_empty() {
        whole.push('\n');
        let rows = page.iter().take(SHOWN).map(|entry| {
            vec![
                entry.line.ma_ho_so.clone(),
                super::words::bucket(entry.line.bucket).en.to_owned(),
                entry
                    .line
                    .cause
                    .map_or("no named cause", |cause| super::words::cause(cause).en)
                    .to_owned(),
                differences(&entry.line),
            ]
        });
        whole
            .push_str(&super::super::words::table(&["dossier", "stands", "because", "what"], rows));
        if page.len() > SHOWN {
            whole.push_str(
                "there are more: `hoso reconcile report --format csv --out FILE` has all\n",
            );
        }
    }
    Ok(whole)
}

/// What differs, on one line: `TrangThaiHoSo: 4 -> 2`.
fn differences(line: &ReconcileLine) -> String {
    if line.differences.is_empty() {
        return line.detail.clone();
    }
    let nothing = || "(nothing)".to_owned();
    let each: Vec<String> = line
        .differences
        .iter()
        .map(|one| {
            let told = one.told.clone().unwrap_or_else(nothing);
            let other = match (&one.shown, &one.mapped) {
                (Some(shown), _) => shown.clone(),
                (None, Some(mapped)) => format!("now {mapped}"),
                (None, None) => nothing(),
            };
            format!("{}: {told} -> {other}", one.path)
        })
        .collect();
    each.join("; ")
}
