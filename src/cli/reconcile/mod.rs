//! `hoso reconcile`: runs of the reconciliation, their books, reports and repairs.

mod report;
mod runs;
mod text;
mod words;

pub(super) use text::{more_of_books, rolling};

use clap::Subcommand;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::person::Person;
use super::{Invocation, Output, build};
use crate::domain::cause::Cause;
use crate::domain::discrepancy::Bucket;
use crate::ledger::Ledger;
use crate::ledger::reconcile::{BookRow, LineFilter, ReconcileRun, RowKind};
use crate::ledger::record::Books;
use crate::pipeline::reconcile::repair;

/// Compare source, ledger and portal; read the books; repair
///
/// The service closes the books once a day by itself (`reconcile.every_ms`). Here they are read, and
/// here somebody asks for more: all dossiers, a sample, or a part, within a budget of look-ups.
///
/// Example: hoso reconcile books --by agency
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    Run(runs::Arguments),
    /// Runs, the newest first
    ///
    /// Example: hoso reconcile list
    #[command(verbatim_doc_comment)]
    List {
        /// Only runs of this source
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// So many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// One run: how far it is, and what it found
    ///
    /// Example: hoso reconcile show 12
    #[command(verbatim_doc_comment)]
    Show {
        /// Number of the run; the newest unless given
        run: Option<i64>,
    },
    /// The books by day of reception, agency or procedure
    ///
    /// Every dossier of the source's index stands in exactly one bucket of one row. A row whose sum is
    /// not what the index had is marked, and the exit code is 6.
    ///
    /// Example: hoso reconcile books --by day
    #[command(verbatim_doc_comment)]
    Books {
        /// Number of the run; the newest with books unless given
        run: Option<i64>,
        /// What the rows are
        #[arg(long, value_enum, default_value_t = By::Day)]
        by: By,
        /// Only rows in which something is not matched
        #[arg(long)]
        unmatched: bool,
    },
    /// How the books went over the last days
    ///
    /// Example: hoso reconcile trend --days 30 --agency H55.242
    #[command(verbatim_doc_comment)]
    Trend {
        /// Only this source
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// So many days back
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3660))]
        days: u32,
        /// Of one day of reception, yyyymmdd
        #[arg(long, value_name = "DAY", conflicts_with_all = ["agency", "procedure"])]
        day: Option<String>,
        /// Of one agency
        #[arg(long, value_name = "CODE", conflicts_with = "procedure")]
        agency: Option<String>,
        /// Of one procedure
        #[arg(long, value_name = "CODE")]
        procedure: Option<String>,
    },
    Report(report::Arguments),
    /// Send dossiers of chosen buckets or causes again
    ///
    /// Takes what a run found, opens one obligation for each dossier, and leaves one audit row each.
    /// What is lost is owed with all its steps; anything else is mapped anew and sent. Asking twice
    /// opens nothing twice.
    ///
    /// Example: hoso reconcile repair different mapping_changed --reason "new fee codes"
    #[command(verbatim_doc_comment)]
    Repair {
        /// Buckets (missing, different, dead, quarantined) or causes (`hoso reconcile show`)
        #[arg(required = true, value_name = "BUCKET|CAUSE")]
        what: Vec<String>,
        /// Number of the run; the newest with books unless given
        #[arg(long, value_name = "RUN")]
        run: Option<i64>,
        /// Only count
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        person: Person,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum By {
    Day,
    Agency,
    Procedure,
}

impl By {
    const fn kind(self) -> RowKind {
        match self {
            Self::Day => RowKind::Day,
            Self::Agency => RowKind::Agency,
            Self::Procedure => RowKind::Procedure,
        }
    }
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    match which {
        Which::Run(arguments) => return runs::run(invocation, arguments).await,
        Which::Report(arguments) => return report::run(invocation, arguments).await,
        Which::Repair { what, run, dry_run, person } => {
            return repair(invocation, &what, run, dry_run, &person).await;
        }
        _ => {}
    }
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let done = read(invocation.output, ledger.as_ref(), which).await;
    ledger.close().await;
    done
}

async fn read(output: Output, ledger: &dyn Ledger, which: Which) -> Result<(), Failure> {
    match which {
        Which::List { source, limit } => {
            let runs = ledger.reconcile_runs(source.as_deref(), false, limit).await?;
            output.result(&runs, |runs| text::list(runs));
            Ok(())
        }
        Which::Show { run } => {
            let run = find(ledger, run, false).await?;
            let rolling = ledger.rolling_scans().await?;
            let rolling = rolling.into_iter().find(|scan| scan.source == run.order.source);
            output.result(&Shown { run, rolling }, text::shown);
            Ok(())
        }
        Which::Books { run, by, unmatched } => {
            let run = find(ledger, run, true).await?;
            let mut rows = ledger.book_rows(run.id, by.kind()).await?;
            let whole = sum(&rows);
            let is_closed = rows.iter().all(BookRow::is_closed);
            if unmatched {
                rows.retain(|row| row.matched < row.at_source || !row.is_closed());
            }
            let told = Told { run: run.id, source: run.order.source, by: by.kind(), rows, whole };
            output.result(&told, text::rows);
            if is_closed { Ok(()) } else { Err(Failure::findings()) }
        }
        Which::Trend { source, days, day, agency, procedure } => {
            let one =
                [(RowKind::Day, day), (RowKind::Agency, agency), (RowKind::Procedure, procedure)];
            let one = one.into_iter().find_map(|(kind, name)| Some((kind, name?)));
            trend(output, ledger, source, days, one).await
        }
        Which::Run(_) | Which::Report(_) | Which::Repair { .. } => Ok(()),
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    run: ReconcileRun,
    #[serde(skip_serializing_if = "Option::is_none")]
    rolling: Option<crate::ledger::reconcile::RollingScan>,
}

#[derive(Debug, Serialize)]
struct Told {
    run: i64,
    source: String,
    by: RowKind,
    rows: Vec<BookRow>,
    whole: BookRow,
}

/// All rows as one.
fn sum(rows: &[BookRow]) -> BookRow {
    rows.iter().fold(BookRow::default(), |sum, row| BookRow {
        name: String::new(),
        at_source: sum.at_source + row.at_source,
        matched: sum.matched + row.matched,
        different: sum.different + row.different,
        missing: sum.missing + row.missing,
        unverifiable: sum.unverifiable + row.unverifiable,
        quarantined: sum.quarantined + row.quarantined,
        dead: sum.dead + row.dead,
        open: sum.open + row.open,
        not_ours: sum.not_ours + row.not_ours,
        explained: sum.explained + row.explained,
    })
}

/// The run that is meant; `with_books`: it must have ended well.
async fn find(
    ledger: &dyn Ledger,
    run: Option<i64>,
    with_books: bool,
) -> Result<ReconcileRun, Failure> {
    let hint = "`hoso reconcile list` shows the runs; `hoso reconcile run` makes one";
    let found = match run {
        Some(id) => ledger.reconcile_run(id).await?,
        None => ledger
            .reconcile_runs(None, false, 100)
            .await?
            .into_iter()
            .find(|run| !with_books || run.books.is_some()),
    };
    match found {
        None => {
            let what = run.map_or_else(|| "no run".to_owned(), |id| format!("no run {id}"));
            Err(Failure::new(Exit::NotFound, format!("there is {what} of the reconciliation"))
                .hint(hint))
        }
        Some(run) if with_books && run.books.is_none() => {
            let why = match run.ended_at {
                Some(_) if !run.remark.is_empty() => run.remark.clone(),
                Some(_) => "it was given up".to_owned(),
                None => format!("it is still {}", run.phase.as_str()),
            };
            Err(Failure::new(Exit::NotFound, format!("run {} has no books: {why}", run.id))
                .hint(hint))
        }
        Some(run) => Ok(run),
    }
}

#[derive(Debug, Serialize)]
struct Trend {
    source: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    books: Vec<Books>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rows: Vec<TrendRow>,
}

#[derive(Debug, Serialize)]
struct TrendRow {
    at: crate::domain::time::Timestamp,
    #[serde(flatten)]
    row: BookRow,
}

async fn trend(
    output: Output,
    ledger: &dyn Ledger,
    source: Option<String>,
    days: u32,
    one: Option<(RowKind, String)>,
) -> Result<(), Failure> {
    let now = crate::clock::Clock::now(&crate::clock::SystemClock::new());
    let since = now - std::time::Duration::from_secs(u64::from(days) * 24 * 3600);
    let mut sources: Vec<String> = match source {
        Some(source) => vec![source],
        None => ledger.standing(now).await?.sources.into_iter().map(|source| source.name).collect(),
    };
    sources.sort();
    let mut trends = Vec::new();
    for source in sources {
        let mut trend = Trend { source, books: Vec::new(), rows: Vec::new() };
        match &one {
            Some((kind, name)) => {
                let rows = ledger.row_over_time(&trend.source, *kind, name, since).await?;
                trend.rows = rows.into_iter().map(|(at, row)| TrendRow { at, row }).collect();
            }
            None => trend.books = ledger.books_since(&trend.source, since).await?,
        }
        trends.push(trend);
    }
    output.result(&trends, |trends| text::trend(trends));
    Ok(())
}

/// What `--repair` names: buckets and causes.
fn filters(what: &[String]) -> Result<Vec<LineFilter>, Failure> {
    what.iter()
        .map(|name| {
            let name = name.replace('-', "_");
            if let Some(bucket) = Bucket::parse(&name).filter(|bucket| bucket.may_be_sent()) {
                return Ok(LineFilter { buckets: vec![bucket], causes: Vec::new() });
            }
            if let Some(cause) = Cause::parse(&name).filter(|cause| cause.may_be_sent()) {
                return Ok(LineFilter { buckets: Vec::new(), causes: vec![cause] });
            }
            let buckets =
                Bucket::ALL.iter().filter(|one| one.may_be_sent()).map(|one| one.as_str());
            let causes = Cause::ALL.iter().filter(|one| one.may_be_sent()).map(|one| one.as_str());
            let known: Vec<&str> = buckets.chain(causes).collect();
            Err(Failure::new(
                Exit::Usage,
                format!("{name:?} is no bucket or cause that sending again can mend"),
            )
            .hint(format!("one of {}", known.join(", "))))
        })
        .collect()
}

async fn repair(
    invocation: &Invocation,
    what: &[String],
    run: Option<i64>,
    dry_run: bool,
    person: &Person,
) -> Result<(), Failure> {
    let filters = filters(what)?;
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let run = find(context.ledger.as_ref(), run, true).await?;
    let reason = format!("{} (run {}: {})", person.reason, run.id, what.join(" "));
    let actor = person.actor();
    let told = repair::repair(&context, &run, &filters, dry_run, &actor, &reason).await;
    let told = told?;
    context.ledger.close().await;
    invocation.output.result(&told, text::repaired);
    Ok(())
}
