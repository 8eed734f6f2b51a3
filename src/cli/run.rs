//! `hoso run VERB`: one pass of one verb, then its report.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::reconcile::more_of_books;
use super::status::{broken, broken_words};
use super::{Invocation, build, log, signals};
use crate::config::{Config, SourceConfig, SourceKind, SystemEnvironment};
use crate::daemon::{LOOK, watch_orders, with_two_stage_shutdown};
use crate::ledger::jobs::Job;
use crate::ledger::observed::ObservedChange;
use crate::ledger::record::{Books, UpkeepCounts};
use crate::ledger::watch::Watchdog;
use crate::mapping::Mapping;
use crate::pipeline::jobs::jobs_once;
use crate::pipeline::lifecycle::reconsider_once;
use crate::pipeline::map::{MapReport, map_once};
use crate::pipeline::observe::{self, observe_once};
use crate::pipeline::orders::report_gate;
use crate::pipeline::ownership::{GATE, Ownership};
use crate::pipeline::pull::{PullReport, pull_once};
use crate::pipeline::push::{PushReport, push_once};
use crate::pipeline::read_back::{ReadBackReport, read_back_once};
use crate::pipeline::reconcile::{Ends, close_books as close};
use crate::pipeline::upkeep::upkeep_once;
use crate::pipeline::watch::watch_once;
use crate::pipeline::{Context, PortalLine, SourceLine, Stop, VerbError};

/// Run one pass of one verb by hand
///
/// Verbs that send need the portal's gate, which one process owns at a time. While a daemon runs,
/// `push` hands its work over: what is due is already in the ledger, and the daemon sends it.
///
/// Example: hoso run pull && hoso run map && hoso run push
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Verb {
    /// Read every source's changes into the ledger
    ///
    /// Example: hoso run pull --json
    #[command(verbatim_doc_comment)]
    Pull,
    /// Map what was received and not mapped yet
    ///
    /// Example: hoso run map
    #[command(verbatim_doc_comment)]
    Map,
    /// Send what is due
    ///
    /// Example: hoso run push
    #[command(verbatim_doc_comment)]
    Push,
    /// Work on the jobs of `hoso resync` until they are over or wait for a person
    ///
    /// Example: hoso run jobs
    #[command(verbatim_doc_comment)]
    Jobs,
    /// Settle unknown outcomes, then close the books between sources, ledger and portal
    ///
    /// Example: hoso run reconcile && hoso run map && hoso run push
    #[command(verbatim_doc_comment)]
    Reconcile,
    /// Look for expired leases, drop bodies past their retention, let the watchdogs look
    ///
    /// Example: hoso run upkeep
    #[command(verbatim_doc_comment)]
    Upkeep,
}

pub(super) async fn run(invocation: &Invocation, verb: Verb) -> Result<(), Failure> {
    by_hand(invocation, async |config, context, stop| match verb {
        Verb::Pull => pull(invocation, config, context, stop).await,
        Verb::Map => map(invocation, config, context, stop).await,
        Verb::Push => push(invocation, config, context, stop).await,
        Verb::Jobs => jobs(invocation, config, context, stop).await,
        Verb::Reconcile => reconcile(invocation, config, context, stop).await,
        Verb::Upkeep => upkeep(invocation, context).await,
    })
    .await
}

/// Runs one verb's work on the ledger, which a stop request asks to end.
pub(super) async fn by_hand(
    invocation: &Invocation,
    work: impl AsyncFnOnce(&Config, &Context, &Stop) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let config = invocation.config_to_run()?;
    log::start(&config.log, &SystemEnvironment)?;
    let context = build::context(&config, true).await?;
    let stop = Stop::new();
    let requests = signals::stop_requests()?;
    let work = work(&config, &context, &stop);
    let drain = Duration::from_millis(config.serve.drain_ms);
    let clock = Arc::clone(&context.clock);
    let ended = with_two_stage_shutdown(clock.as_ref(), drain, &stop, requests, work).await;
    context.ledger.close().await;
    ended.unwrap_or_else(|| {
        Err(Failure::new(Exit::Failed, "stopped before its end")
            .hint("nothing is lost: calls without an outcome are looked up by the next `hoso run reconcile`"))
    })
}

async fn pull(
    invocation: &Invocation,
    config: &Config,
    context: &Context,
    stop: &Stop,
) -> Result<(), Failure> {
    let mut reports: Vec<PullReport> = Vec::new();
    let mut failures = Vec::new();
    for (line, source) in build::sources(config, &context.clock)?.iter().zip(&config.sources) {
        match pull_settled(context, line, source, stop).await {
            Ok(report) => reports.push(report),
            // One source that fails does not keep the others from being read.
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    invocation.output.result(&reports, |reports| {
        reports
            .iter()
            .map(|report| {
                let mut text = format!(
                    "{}: {} new, {} unchanged, {} outdated, {} refused, in {} page(s){}",
                    report.source,
                    report.new,
                    report.unchanged,
                    report.outdated,
                    report.refused,
                    report.pages,
                    match (report.caught_up, report.too_young) {
                        (true, _) => String::new(),
                        (false, 0) => "; not at the end yet".to_owned(),
                        (false, young) => {
                            format!("; not at the end yet, {young} too young or not whole")
                        }
                    }
                );
                if report.passed_over > 0 {
                    // Writing to a String cannot fail.
                    let _infallible =
                        write!(text, "; {} passed over, unreadable even alone", report.passed_over);
                }
                for remark in &report.remarks {
                    // Writing to a String cannot fail.
                    let _infallible = write!(text, "\n  {remark}");
                }
                text
            })
            .collect::<Vec<_>>()
            .join("\n")
    });
    all_told(invocation, failures)
}

/// One poll; of files, a second one when those that are there have had time to settle.
async fn pull_settled(
    context: &Context,
    line: &SourceLine,
    source: &SourceConfig,
    stop: &Stop,
) -> Result<PullReport, VerbError> {
    let first = pull_once(context, line, stop).await?;
    if source.kind != SourceKind::Directory || first.too_young == 0 {
        return Ok(first);
    }
    tokio::select! {
        () = context.clock.sleep(Duration::from_millis(source.settle_ms)) => {}
        () = stop.cancelled() => return Ok(first),
    }
    let second = pull_once(context, line, stop).await?;
    Ok(PullReport {
        pages: first.pages + second.pages,
        new: first.new + second.new,
        unchanged: first.unchanged + second.unchanged,
        outdated: first.outdated + second.outdated,
        refused: first.refused + second.refused,
        ..second
    })
}

/// Several failures of one command: each is told, the last one decides the exit code.
fn all_told(invocation: &Invocation, mut failures: Vec<Failure>) -> Result<(), Failure> {
    let last = failures.pop();
    for failure in failures {
        invocation.output.talk(&failure.to_string());
    }
    last.map_or(Ok(()), Err)
}

async fn map(
    invocation: &Invocation,
    config: &Config,
    context: &Context,
    stop: &Stop,
) -> Result<(), Failure> {
    let (_, mapping) = build::mapping_in_force(config, context.ledger.as_ref()).await?;
    while !stop.is_cancelled() && reconsider_once(context, &mapping).await?.looked_at > 0 {}
    let mut total = MapReport::default();
    while !stop.is_cancelled() {
        let report = map_once(context, &mapping).await?;
        if report.mapped == 0 {
            break;
        }
        total.mapped += report.mapped;
        total.counts += report.counts;
    }
    invocation.output.result(&total, |report| {
        let counts = &report.counts;
        let awaiting = match counts.awaiting {
            0 => String::new(),
            count => format!(", {count} await adoption"),
        };
        format!(
            "{} mapped: {} ready, {} unchanged, {} quarantined, {} not ours{awaiting}; {} new step(s)",
            report.mapped,
            counts.ready,
            counts.unchanged,
            counts.quarantined,
            counts.not_ours,
            counts.steps_new
        )
    });
    Ok(())
}

/// What `run push` did, or who does it instead.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Pushed {
    Sent(PushReport),
    HandedOver { handed_over_to: String, due_now: u64, due_now_is_more: bool },
}

async fn push(
    invocation: &Invocation,
    config: &Config,
    context: &Context,
    stop: &Stop,
) -> Result<(), Failure> {
    let verb = async |line: &PortalLine, stop: &Stop| push_once(context, line, stop).await;
    let pushed = match with_gate(config, context, stop, "run push", verb).await? {
        Ok(report) => Pushed::Sent(report?),
        Err(owner) => {
            let standing = context.ledger.standing(context.clock.now()).await?;
            let (due_now, due_now_is_more) = (standing.due_now, standing.due_now_is_more);
            Pushed::HandedOver { handed_over_to: owner, due_now, due_now_is_more }
        }
    };
    invocation.output.result(&pushed, |pushed| match pushed {
        Pushed::Sent(report) => {
            let counts = &report.counts;
            let closed = report.gate_closed.as_ref().map_or_else(String::new, |closed| {
                format!("\nsending ended early, until {}: {}", closed.until, closed.failure)
            });
            format!(
                "{} call(s): {} dossier(s) accepted, {} again later, {} unconfirmed, {} dead; {} step(s) acknowledged, {} held{closed}",
                report.calls,
                counts.accepted,
                counts.again,
                counts.unconfirmed,
                counts.dead,
                counts.steps_acked,
                counts.steps_held
            )
        }
        Pushed::HandedOver { handed_over_to, due_now, due_now_is_more } => {
            let more = if *due_now_is_more { "or more " } else { "" };
            format!(
                "{handed_over_to} owns the portal's gate and sends what is due ({due_now} {more}now)"
            )
        }
    });
    Ok(())
}

/// What `run jobs` did, or who does it instead.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Worked {
    Done { opened: u64, followed: u64, jobs: Vec<Job> },
    HandedOver { handed_over_to: String },
}

async fn jobs(
    invocation: &Invocation,
    config: &Config,
    context: &Context,
    stop: &Stop,
) -> Result<(), Failure> {
    let sources = build::sources(config, &context.clock)?;
    let (_, mapping) = build::mapping_in_force(config, context.ledger.as_ref()).await?;
    let verb = async |line: &PortalLine, stop: &Stop| {
        let (mut opened, mut followed) = (0, 0);
        // Unconfirmed work is looked up as often as a service would.
        let rest = Duration::from_millis(config.reconcile.unconfirmed_every_ms).min(LOOK);
        while !stop.is_cancelled() {
            let report = jobs_once(context, line, &sources, stop).await?;
            opened += report.opened;
            followed += report.followed;
            if !report.open && report.ended == 0 && report.opened == 0 && report.followed == 0 {
                break;
            }
            while map_once(context, &mapping).await?.mapped > 0 {}
            let sent = push_once(context, line, stop).await?;
            read_back_once(context, line, stop).await?;
            if report.opened + report.followed + report.ended + sent.calls == 0 {
                tokio::select! {
                    () = context.clock.sleep(rest) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
        Ok::<_, VerbError>((opened, followed))
    };
    let worked = match with_gate(config, context, stop, "run jobs", verb).await? {
        Ok(done) => {
            let (opened, followed) = done?;
            Worked::Done { opened, followed, jobs: context.ledger.jobs(false, 10).await? }
        }
        Err(owner) => Worked::HandedOver { handed_over_to: owner },
    };
    let now = context.clock.now();
    invocation.output.result(&worked, |worked| match worked {
        Worked::Done { jobs, .. } if jobs.is_empty() => "there is no job".to_owned(),
        Worked::Done { jobs, .. } => {
            jobs.iter().map(|job| super::job::line(job, now)).collect::<Vec<_>>().join("\n")
        }
        Worked::HandedOver { handed_over_to } => {
            format!("{handed_over_to} owns the portal's gate and works on the jobs")
        }
    });
    Ok(())
}

#[derive(Debug, Serialize)]
struct Reconciled {
    read_back: Option<ReadBackReport>,
    /// Why nothing was read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    gate_owner: Option<String>,
    books: Vec<Books>,
}

async fn reconcile(
    invocation: &Invocation,
    config: &Config,
    context: &Context,
    stop: &Stop,
) -> Result<(), Failure> {
    let sources = build::sources(config, &context.clock)?;
    let (_, mapping) = build::mapping_in_force(config, context.ledger.as_ref()).await?;
    let verb = async |line: &PortalLine, stop: &Stop| {
        let read_back = read_back_once(context, line, stop).await?;
        let (books, failures) = close_books(context, &sources, Some(line), &mapping, stop).await;
        Ok::<_, crate::pipeline::VerbError>((read_back, books, failures))
    };
    let failures;
    let reconciled = match with_gate(config, context, stop, "run reconcile", verb).await? {
        Ok(done) => {
            let (read_back, books, failed) = done?;
            failures = failed;
            Reconciled { read_back: Some(read_back), gate_owner: None, books }
        }
        Err(owner) => {
            // Books can be closed against the ledger alone; only the look-ups need the gate.
            let (books, failed) = close_books(context, &sources, None, &mapping, stop).await;
            failures = failed;
            Reconciled { read_back: None, gate_owner: Some(owner), books }
        }
    };
    invocation.output.result(&reconciled, |reconciled| {
        let mut lines: Vec<String> = reconciled.books.iter().map(books_text).collect();
        if let Some(owner) = &reconciled.gate_owner {
            lines.push(format!(
                "nothing was read back from the portal, because {owner} owns the gate"
            ));
        }
        lines.join("\n")
    });
    if !failures.is_empty() {
        all_told(invocation, failures)
    } else if reconciled.books.iter().all(|books| books.closed || books.without_index) {
        Ok(())
    } else {
        Err(Failure::findings())
    }
}

/// Closes the books of every source; one that fails does not keep the others open.
async fn close_books(
    context: &Context,
    sources: &[SourceLine],
    portal: Option<&PortalLine>,
    mapping: &Arc<Mapping>,
    stop: &Stop,
) -> (Vec<Books>, Vec<Failure>) {
    let (mut books, mut failures) = (Vec::new(), Vec::new());
    for source in sources {
        match close(context, Ends { source, portal, mapping: Some(mapping) }, stop).await {
            Ok(closed) => books.push(closed),
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    (books, failures)
}

/// Closed books as people read them.
pub(super) fn books_text(books: &Books) -> String {
    let mut text = format!(
        "{}: books {}, received {} to {}\n",
        books.source,
        match (books.closed, books.without_index) {
            (true, _) => "closed",
            (false, true) => "of what was dropped",
            (false, false) => "NOT closed",
        },
        books.from_day,
        books.to_day
    );
    for (name, count) in [
        ("at source", books.at_source),
        ("matched", books.matched),
        ("different", books.different),
        ("missing", books.missing),
        ("unverifiable", books.unverifiable),
        ("quarantined", books.quarantined),
        ("dead", books.dead),
        ("open", books.open),
        ("not ours", books.not_ours),
        ("extra", books.extra),
        ("read back", books.read_back),
    ] {
        // Writing to a String cannot fail, here and below.
        let _infallible = writeln!(text, "  {name:<13}{count:>10}");
    }
    text.push_str(&more_of_books(books));
    if !books.remark.is_empty() {
        let _infallible = writeln!(text, "  {}", books.remark);
    }
    text.truncate(text.trim_end().len());
    text
}

async fn upkeep(invocation: &Invocation, context: &Context) -> Result<(), Failure> {
    let counts: UpkeepCounts = upkeep_once(context).await?;
    let watched = watch_once(context).await?;
    let learnt = observe_once(context).await?;
    let kept = Kept { counts, watchdogs: watched.watchdogs, portal_changes: learnt.changes };
    invocation.output.result(&kept, |Kept { counts, watchdogs, portal_changes }| {
        let mut text = format!(
            "{} lease(s) ran out, {} step(s) held, {} bodies dropped, {} stuck",
            counts.leases_expired + counts.step_leases_expired,
            counts.steps_held,
            counts.bodies_dropped,
            counts.stuck
        );
        for watchdog in broken(watchdogs) {
            let _infallible = write!(text, "\n{}", broken_words(watchdog));
        }
        for change in portal_changes {
            let _infallible = write!(text, "\n{}", observe::sentence(change));
        }
        text
    });
    if broken(&kept.watchdogs).next().is_none() { Ok(()) } else { Err(Failure::findings()) }
}

#[derive(Debug, Serialize)]
struct Kept {
    #[serde(flatten)]
    counts: UpkeepCounts,
    watchdogs: Vec<Watchdog>,
    /// What the portal does otherwise than before, by the calls since the last look.
    portal_changes: Vec<ObservedChange>,
}

/// Runs `verb` as the gate's owner; `Ok(Err(owner))` when another process has it.
pub(super) async fn with_gate<T>(
    config: &Config,
    context: &Context,
    stop: &Stop,
    name: &str,
    verb: impl AsyncFnOnce(&PortalLine, &Stop) -> T,
) -> Result<Result<T, String>, Failure> {
    let ownership = match Ownership::take(context, GATE, &build::holder(name)).await? {
        Ok(ownership) => Arc::new(ownership),
        Err(other) => return Ok(Err(other.holder)),
    };
    let opened = build::open_portal(config, context)?(Arc::clone(&ownership)).await;
    let line = match opened {
        Ok(line) => line,
        Err(error) => {
            ownership.release(context).await?;
            return Err(Failure::new(Exit::Failed, format!("{error:#}")));
        }
    };
    let done = {
        let work = verb(&line, stop);
        let keep = async {
            let watched = watch_orders(context, &line, LOOK, stop);
            let (watched, ()) = tokio::join!(watched, ownership.keep(context, stop));
            if let Err(error) = watched {
                tracing::error!(error = format!("{error:#}"), "orders are not read any more");
                stop.cancel();
            }
            // Asked to stop: the verb settles what is out and ends by itself.
            std::future::pending::<()>().await;
        };
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => done,
            () = keep => unreachable!("renewing never ends by itself"),
        }
    };
    report_gate(context, &line).await?;
    ownership.release(context).await?;
    Ok(Ok(done))
}
