//! `hoso adopt`: take over from an older program, within a budget of look-ups.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::failure::{Exit, Failure};
use super::person::{actor, said};
use super::run::with_gate;
use super::{Invocation, Output, build, log, signals, words};
use crate::config::{Config, SystemEnvironment};
use crate::daemon::with_two_stage_shutdown;
use crate::domain::time::span;
use crate::ledger::adoption::{AdoptionOrder, AdoptionRun, AwaitingCounts};
use crate::ledger::record::AuditRecord;
use crate::pipeline::adopt::{IndexCheck, check_index, work_on_run};
use crate::pipeline::audit::on_record;
use crate::pipeline::{Context, PortalLine, SourceLine, Stop};

/// Between two looks at a run that another process works on.
const FOLLOW: Duration = Duration::from_millis(500);
/// Between two lines of progress.
const TELL: Duration = Duration::from_secs(2);
/// Codes that are shown of a long list.
const CODES_SHOWN: usize = 20;

/// Take over from an older program: ask the portal which dossiers it has
///
/// For sources with `start_from`. Each dossier from before that time is looked up once. If the portal
/// has it, its steps from before are presumed sent, and nothing is sent unless it changed since. If
/// not, it is owed with every step. Each answer is kept at once, so the command may be stopped and
/// repeated: it goes on with what still awaits. Beside a running service, the service asks.
///
/// Exit code 6 when something could not be known yet, because the budget was spent, look-ups failed,
/// the mapping refuses a dossier, or the feed never gave one of the source's index.
///
/// Example: hoso adopt --dry-run && hoso adopt --budget 5000
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Only count: what awaits, what it costs, how long it takes
    #[arg(long)]
    dry_run: bool,
    /// Look-ups this run may make; log-ins come on top. Without it: as many as await
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..))]
    budget: Option<u32>,
    /// Only dossiers of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Why; kept in the ledger for good
    #[arg(long, value_name = "TEXT", value_parser = said, default_value = "taking over from an older program")]
    reason: String,
    /// Who asks; the name of the logged-in user unless given
    #[arg(long, value_name = "NAME", value_parser = said)]
    actor: Option<String>,
}

/// What is known before the first look-up.
#[derive(Debug, Serialize)]
struct Plan {
    awaiting: Vec<AwaitingCounts>,
    /// Sources whose feed was not read to its end yet.
    feed_not_read: Vec<String>,
    index: Vec<IndexCheck>,
    /// Look-ups that asking about everything costs.
    look_ups: u64,
    /// How long they take, at the pace of the configured quota.
    at_least_ms: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<AdoptionRun>,
    took_ms: u64,
    /// Who asked, if it was another process.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_by: Option<String>,
    /// What still awaits.
    #[serde(flatten)]
    left: Plan,
}

impl Plan {
    fn askable(&self) -> u64 {
        self.awaiting.iter().map(AwaitingCounts::askable).sum()
    }

    /// Nothing of the older program's time is left open.
    fn is_done(&self) -> bool {
        self.awaiting.iter().all(|counts| counts.open() == 0)
            && self.feed_not_read.is_empty()
            && self.index.iter().all(|check| check.whole && check.not_given.is_empty())
    }
}

pub(super) async fn run(invocation: &Invocation, arguments: Arguments) -> Result<(), Failure> {
    let config = invocation.config_to_run()?;
    if let Some(name) = &arguments.source
        && !config.sources.iter().any(|source| source.name == *name)
    {
        return Err(Failure::new(Exit::NotFound, format!("no source is named {name:?}"))
            .hint("`hoso config show` names the sources"));
    }
    log::start(&config.log, &SystemEnvironment)?;
    build::ledger_exists(&config)?;
    let context = build::context(&config, true).await?;
    let stop = Stop::new();
    let requests = signals::stop_requests()?;
    let work = async {
        if arguments.dry_run {
            let plan = plan(invocation.output, &config, &context, &arguments, &stop).await?;
            invocation.output.result(&plan, plan_text);
            Ok(())
        } else {
            adopt(invocation, &config, &context, &arguments, &stop).await
        }
    };
    let drain = Duration::from_millis(config.serve.drain_ms);
    let clock = Arc::clone(&context.clock);
    let ended = with_two_stage_shutdown(clock.as_ref(), drain, &stop, requests, work).await;
    context.ledger.close().await;
    ended.unwrap_or_else(|| {
        Err(Failure::new(Exit::Failed, "stopped before its end")
            .hint("every answer so far is kept; `hoso adopt` goes on with what still awaits"))
    })
}

fn lines(
    config: &Config,
    context: &Context,
    arguments: &Arguments,
) -> Result<Vec<SourceLine>, Failure> {
    let mut lines = build::sources(config, &context.clock)?;
    lines.retain(|line| arguments.source.as_deref().is_none_or(|name| name == line.source.name()));
    Ok(lines)
}

async fn plan(
    output: Output,
    config: &Config,
    context: &Context,
    arguments: &Arguments,
    stop: &Stop,
) -> Result<Plan, Failure> {
    let mut plan = Plan {
        awaiting: context.ledger.awaiting().await?,
        feed_not_read: Vec::new(),
        index: Vec::new(),
        look_ups: 0,
        at_least_ms: 0,
    };
    plan.awaiting
        .retain(|counts| arguments.source.as_deref().is_none_or(|name| name == counts.source));
    for line in lines(config, context, arguments)? {
        let awaits = plan.awaiting.iter().any(|counts| counts.source == line.source.name());
        if line.start_from.is_none() && !awaits {
            continue;
        }
        let name = line.source.name();
        if !context.ledger.source_position(name, line.overlap_ms).await?.caught_up {
            plan.feed_not_read.push(name.to_owned());
        }
        // A source that is silent keeps nobody from asking the portal.
        match check_index(context, &line, stop).await {
            Ok(check) => plan.index.push(check),
            Err(error) => {
                output.talk(&Failure::from(error).to_string());
                plan.index.push(IndexCheck { source: name.to_owned(), ..IndexCheck::default() });
            }
        }
    }
    plan.look_ups = plan.askable();
    plan.at_least_ms = pace_ms(config, plan.look_ups);
    Ok(plan)
}

/// The longest that any window of the quota makes this many calls take.
fn pace_ms(config: &Config, calls: u64) -> u64 {
    let each = config.gate.windows.iter().map(|window| {
        let usable = (f64::from(window.limit) * (1.0 - config.gate.headroom)).floor().max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an estimate in milliseconds of calls that fit a counter"
        )]
        let took = (calls as f64 * window.window_ms as f64 / usable) as u64;
        took
    });
    each.max().unwrap_or(0)
}

async fn adopt(
    invocation: &Invocation,
    config: &Config,
    context: &Context,
    arguments: &Arguments,
    stop: &Stop,
) -> Result<(), Failure> {
    let began = context.clock.monotonic();
    let took = || {
        let took = context.clock.monotonic().saturating_sub(began);
        u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
    };
    for line in lines(config, context, arguments)? {
        let name = line.source.name();
        let known = context.ledger.source_position(name, line.overlap_ms).await?.start_from;
        if line.start_from.is_some() && known != line.start_from {
            context.ledger.set_start_from(name, line.start_from).await?;
        }
    }
    let awaiting: u64 = context
        .ledger
        .awaiting()
        .await?
        .iter()
        .filter(|counts| arguments.source.as_deref().is_none_or(|name| name == counts.source))
        .map(AwaitingCounts::askable)
        .sum();
    let budget = arguments.budget.unwrap_or(u32::try_from(awaiting).unwrap_or(u32::MAX)).max(1);
    let order = AdoptionOrder { source: arguments.source.clone(), budget };
    let audit = AuditRecord::new(
        &actor(arguments.actor.as_deref()),
        "adopt",
        arguments.source.as_deref().unwrap_or("all"),
        &arguments.reason,
    )
    .selection(format!("{} awaiting, budget {budget}", words::count(awaiting, "dossier")));
    let work = context.ledger.open_adoption(context.clock.now(), &order, &audit);
    let run = on_record(context, &audit, work).await?;
    let mut asked_by = None;
    let mut teller = Teller { output: invocation.output, awaiting, told_at: None };
    loop {
        let clock = Arc::clone(&context.clock);
        let mut tell = |found: &AdoptionRun| teller.progress(clock.monotonic(), found);
        let verb = async |line: &PortalLine, stop: &Stop| {
            work_on_run(context, line, run, stop, &mut tell).await
        };
        match with_gate(config, context, stop, "adopt", verb).await? {
            Ok(done) => {
                done?;
                break;
            }
            Err(owner) => {
                if asked_by.as_ref() != Some(&owner) {
                    let words = format!("{owner} owns the portal's gate and asks instead");
                    invocation.output.talk(&words);
                    asked_by = Some(owner);
                }
                if follow(context, run, stop, &mut tell).await? {
                    break;
                }
            }
        }
    }
    let run = context.ledger.adoption_run(Some(run)).await?;
    let left = plan(invocation.output, config, context, arguments, stop).await?;
    let report = Report { run, took_ms: took(), asked_by, left };
    invocation.output.result(&report, report_text);
    if report.left.is_done() { Ok(()) } else { Err(Failure::findings()) }
}

/// One look at a run in other hands; `true` when it is over.
async fn follow(
    context: &Context,
    run: i64,
    stop: &Stop,
    mut tell: impl FnMut(&AdoptionRun),
) -> Result<bool, Failure> {
    tokio::select! {
        () = context.clock.sleep(FOLLOW) => {}
        () = stop.cancelled() => {
            context.ledger.end_adoption(context.clock.now(), run).await?;
            return Ok(true);
        }
    }
    let found = context.ledger.adoption_run(Some(run)).await?;
    if let Some(found) = &found {
        tell(found);
    }
    Ok(found.is_none_or(|found| found.ended_at.is_some()))
}

/// Tells progress, not more often than people read.
struct Teller {
    output: Output,
    awaiting: u64,
    told_at: Option<Duration>,
}

impl Teller {
    fn progress(&mut self, now: Duration, run: &AdoptionRun) {
        if run.look_ups == 0 {
            return;
        }
        if self.told_at.is_some_and(|told_at| now.saturating_sub(told_at) < TELL) {
            return;
        }
        self.told_at = Some(now);
        self.output.talk(&format!(
            "asked about {} of {}: {} known, {} not known, {} without an answer",
            words::thousands(u64::from(run.look_ups)),
            words::thousands(self.awaiting),
            words::thousands(run.known),
            words::thousands(run.missing),
            words::thousands(run.undecided),
        ));
    }
}

fn plan_text(plan: &Plan) -> String {
    let mut text = left_text(plan);
    if plan.awaiting.is_empty() {
        text.push_str("nothing awaits adoption\n");
        return text;
    }
    // Writing to a String cannot fail, here and below.
    let _infallible = writeln!(
        text,
        "asking costs {}, at least {} at the configured quota",
        words::count(plan.look_ups, "look-up"),
        span(Duration::from_millis(plan.at_least_ms)),
    );
    text
}

fn report_text(report: &Report) -> String {
    let mut text = String::new();
    let asked = report.run.as_ref().filter(|run| run.look_ups > 0);
    if asked.is_none() {
        text.push_str("nothing could be asked about\n");
    }
    if let Some(run) = asked {
        let took = span(Duration::from_millis(report.took_ms));
        let _infallible = writeln!(
            text,
            "{} of a budget of {}, {} in all, in {took}",
            words::count(u64::from(run.look_ups), "look-up"),
            words::thousands(u64::from(run.budget)),
            words::count(run.calls, "call"),
        );
        let mut line = |name: &str, count: u64, remark: &str| {
            let _infallible =
                writeln!(text, "  {name:<17}{:>9}  {remark}", words::thousands(count));
        };
        line("known", run.known, "the portal has them");
        line("  presumed", run.presumed_packets, "unchanged since the cut-over, nothing is sent");
        line(
            "  update",
            run.known - run.presumed_packets,
            "changed since, or differ: sent as updates",
        );
        line("not known", run.missing, "owed with every step");
        line("no answer", run.undecided, "cannot be known yet");
        line("presumed steps", run.presumed_steps, "from before the cut-over, never sent again");
        if run.different > 0 {
            line("different", run.different, "the portal shows something else than the province");
        }
        if run.filed_at_portal > 0 {
            line(
                "filed there",
                run.filed_at_portal,
                "of the known: filed at the portal itself, so that it would know them anyway",
            );
        }
    }
    text.push_str(&left_text(&report.left));
    if report.left.is_done() {
        text.push_str("everything from before the cut-over is adopted\n");
    }
    text
}

/// What is not known yet, and why.
fn left_text(plan: &Plan) -> String {
    let mut text = String::new();
    for counts in &plan.awaiting {
        let cut_over = counts.start_from.map_or_else(String::new, |at| format!(", cut-over {at}"));
        let _infallible = writeln!(text, "{}{cut_over}", counts.source);
        let mut line = |name: &str, count: u64, remark: &str| {
            if count > 0 {
                let _infallible =
                    writeln!(text, "  {name:<17}{:>9}  {remark}", words::thousands(count));
            }
        };
        line("awaiting", counts.unchanged, "unchanged since the cut-over");
        line("awaiting, changed", counts.pressing, "the service asks about these by itself");
        line("not mapped yet", counts.unmapped, "`hoso run map` or the service maps them");
        line("quarantined", counts.quarantined, "asked about when they can be mapped");
        line(
            "not ours",
            counts.not_ours,
            "deleted or a ministry's: never sent, so never asked about",
        );
    }
    for source in &plan.feed_not_read {
        let _infallible = writeln!(
            text,
            "{source}: the feed was not read to its end yet, more may come: `hoso run pull`"
        );
    }
    for check in &plan.index {
        if check.without_index {
            let _infallible = writeln!(
                text,
                "{}: this source has no index, so nobody can say what it never gave",
                check.source
            );
        } else if !check.whole {
            let _infallible = writeln!(text, "{}: the index was not read to its end", check.source);
        }
        if !check.not_given.is_empty() {
            let shown: Vec<&str> =
                check.not_given.iter().take(CODES_SHOWN).map(String::as_str).collect();
            let more = check.not_given.len() - shown.len();
            let _infallible = writeln!(
                text,
                "{}: {} of its index never came through the feed: {}{}",
                check.source,
                words::count(check.not_given.len() as u64, "dossier"),
                shown.join(" "),
                if more > 0 { format!(" and {more} more") } else { String::new() },
            );
        }
    }
    text
}
