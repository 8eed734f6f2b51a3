//! `hoso reconcile run`: a run that somebody asks for, worked on here or by whoever owns the gate.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::super::failure::{Exit, Failure};
use super::super::person::{actor, said};
use super::super::run::{by_hand, with_gate};
use super::super::{Invocation, Output, build, words};
use super::text;
use crate::config::Config;
use crate::ledger::reconcile::{Chosen, Phase, ReconcileRun, RunOrder};
use crate::ledger::record::AuditRecord;
use crate::pipeline::reconcile::{Ends, open, work_on_run};
use crate::pipeline::{Context, PortalLine, Stop};

/// Between two looks at a run that another process works on.
const FOLLOW: Duration = Duration::from_millis(500);
/// Between two lines of progress.
const TELL: Duration = Duration::from_secs(2);

/// Compare all dossiers, a sample, or a part
///
/// Reads the source's index, looks dossiers up at the portal, and says of each that differs why: not
/// yet sent, lost, changed at the portal, mapping changed, and so on. The run is kept: stopped or
/// killed, the same command goes on with it. Beside a running service, the service asks.
///
/// Where more than one in twenty of an agency differs, all of it is looked up instead of a sample.
///
/// Example: hoso reconcile run --sample 500 --budget 600
/// Example: hoso reconcile run --full --agency H55.242 --from 20260101
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Arguments {
    /// Only this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Look every dossier up that the portal should have
    #[arg(long, conflicts_with = "sample")]
    full: bool,
    /// Look up so many, drawn by chance; `reconcile.look_ups_max` unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// Look-ups at most; log-ins come on top
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..))]
    budget: Option<u32>,
    /// Only these dossiers
    #[arg(long, value_name = "CODE", num_args = 1..)]
    code: Vec<String>,
    /// Only of these agencies, as the source's index names them
    #[arg(long, value_name = "CODE", num_args = 1..)]
    agency: Vec<String>,
    /// Only of these procedures, as the source's index names them
    #[arg(long, value_name = "CODE", num_args = 1..)]
    procedure: Vec<String>,
    /// Only received from this day on, yyyymmdd
    #[arg(long, value_name = "DAY", value_parser = day)]
    from: Option<String>,
    /// Only received until this day, yyyymmdd
    #[arg(long, value_name = "DAY", value_parser = day)]
    to: Option<String>,
    /// Why; kept in the ledger for good
    #[arg(long, value_name = "TEXT", value_parser = said, default_value = "asked for by hand")]
    reason: String,
    /// Who asks; the name of the logged-in user unless given
    #[arg(long, value_name = "NAME", value_parser = said)]
    actor: Option<String>,
}

fn day(text: &str) -> Result<String, String> {
    let digits = text.replace('-', "");
    match crate::domain::time::Timestamp::from_portal(&format!("{digits}000000")) {
        Some(_) => Ok(digits),
        None => Err("a day is written yyyymmdd".to_owned()),
    }
}

#[derive(Debug, Serialize)]
struct Report {
    runs: Vec<ReconcileRun>,
    /// Who asked, if it was another process.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_by: Option<String>,
}

pub(super) async fn run(invocation: &Invocation, arguments: Arguments) -> Result<(), Failure> {
    by_hand(invocation, async |config, context, stop| {
        if let Some(name) = &arguments.source
            && !config.sources.iter().any(|source| source.name == *name)
        {
            return Err(Failure::new(Exit::NotFound, format!("no source is named {name:?}"))
                .hint("`hoso config show` names the sources"));
        }
        let mut report = Report { runs: Vec::new(), asked_by: None };
        for line in build::sources(config, &context.clock)? {
            if arguments.source.as_deref().is_some_and(|name| name != line.source.name()) {
                continue;
            }
            let run = opened(config, context, &arguments, line.source.name()).await?;
            let asked_by = &mut report.asked_by;
            let ended = until_it_ends(invocation.output, config, context, run, stop, asked_by);
            let ended = ended.await?;
            report.runs.push(ended);
        }
        invocation.output.result(&report, |report| {
            report.runs.iter().map(text::run).collect::<Vec<_>>().join("\n")
        });
        let is_well = |run: &ReconcileRun| {
            run.books.as_ref().is_some_and(|books| books.closed || books.without_index)
        };
        if report.runs.iter().all(is_well) { Ok(()) } else { Err(Failure::findings()) }
    })
    .await
}

/// The run as it was asked for: a new one, or the same one that was stopped before.
async fn opened(
    config: &Config,
    context: &Context,
    arguments: &Arguments,
    source: &str,
) -> Result<ReconcileRun, Failure> {
    let order = RunOrder {
        source: source.to_owned(),
        plain: false,
        alone: false,
        sample: match (arguments.full, arguments.sample) {
            (true, _) => None,
            (false, Some(sample)) => Some(sample),
            // Few codes, or a part: what is asked for is meant.
            (false, None) if !arguments.code.is_empty() => None,
            (false, None) => Some(config.reconcile.look_ups_max),
        },
        budget: arguments.budget,
        chosen: Chosen {
            codes: arguments.code.clone(),
            agencies: arguments.agency.clone(),
            procedures: arguments.procedure.clone(),
            from_day: arguments.from.clone(),
            to_day: arguments.to.clone(),
        },
    };
    let actor = actor(arguments.actor.as_deref());
    let audit = AuditRecord {
        selection: (!order.chosen.is_everything())
            .then(|| serde_json::to_string(&order.chosen).unwrap_or_default()),
        ..AuditRecord::new(&actor, "reconcile", source, &arguments.reason)
    };
    let run = open(context, &order, Some(&audit)).await?;
    if run.order == order {
        return Ok(run);
    }
    Err(Failure::new(
        Exit::Failed,
        format!("run {} of {source} is under way and compares something else", run.id),
    )
    .code("reconcile.under_way")
    .hint(format!(
        "`hoso reconcile show {}` says how far it is; ask again when it has ended",
        run.id
    )))
}

async fn until_it_ends(
    output: Output,
    config: &Config,
    context: &Context,
    run: ReconcileRun,
    stop: &Stop,
    asked_by: &mut Option<String>,
) -> Result<ReconcileRun, Failure> {
    let id = run.id;
    let sources = build::sources(config, &context.clock)?;
    let Some(source) = sources.iter().find(|line| line.source.name() == run.order.source) else {
        return Ok(run);
    };
    let (_, mapping) = build::mapping_in_force(config, context.ledger.as_ref()).await?;
    let mut teller = Teller { output, told_at: None };
    loop {
        let clock = Arc::clone(&context.clock);
        let mut tell = |found: &ReconcileRun| teller.progress(clock.monotonic(), found);
        let verb = async |line: &PortalLine, stop: &Stop| {
            let ends = Ends { source, portal: Some(line), mapping: Some(&mapping) };
            work_on_run(context, ends, id, stop, &mut tell).await
        };
        match with_gate(config, context, stop, "reconcile", verb).await? {
            Ok(done) => {
                done?;
                break;
            }
            Err(owner) => {
                if asked_by.as_ref() != Some(&owner) {
                    output.talk(&format!("{owner} owns the portal's gate and asks instead"));
                    *asked_by = Some(owner);
                }
                tokio::select! {
                    () = context.clock.sleep(FOLLOW) => {}
                    () = stop.cancelled() => break,
                }
                let found = context.ledger.reconcile_run(id).await?;
                if let Some(found) = &found {
                    teller.progress(context.clock.monotonic(), found);
                }
                if found.is_none_or(|found| found.ended_at.is_some()) {
                    break;
                }
            }
        }
    }
    let Some(found) = context.ledger.reconcile_run(id).await? else { return Ok(run) };
    if found.ended_at.is_none() {
        output.talk(&format!("run {id} is not over; the same command goes on with it"));
    }
    Ok(found)
}

/// Tells progress, not more often than people read.
struct Teller {
    output: Output,
    told_at: Option<Duration>,
}

impl Teller {
    fn progress(&mut self, now: Duration, run: &ReconcileRun) {
        if self.told_at.is_some_and(|told_at| now.saturating_sub(told_at) < TELL) {
            return;
        }
        self.told_at = Some(now);
        let line = match run.phase {
            Phase::Reading => format!("read {} of the index", words::count(run.read, "dossier")),
            Phase::Asking => format!(
                "asked about {} of {}, {}",
                words::thousands(run.asked),
                words::thousands(run.wanted),
                words::count(run.spent, "look-up"),
            ),
            Phase::Closing => "writing findings and books".to_owned(),
            Phase::Ended => return,
        };
        self.output.talk(&format!("run {}: {line}", run.id));
    }
}
