//! `hoso job`: what is being sent again, and an operator's word about it.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::person::Person;
use super::words::{count, thousands};
use super::{Invocation, build};
use crate::domain::job::{ItemState, JobState, Order, SKIPPED};
use crate::domain::time::{Timestamp, span};
use crate::ledger::jobs::{Job, Obeyed};
use crate::pipeline::Context;
use crate::pipeline::jobs::order_job;

/// Jobs that `list` shows.
const LISTED: u32 = 50;
/// Items of each kind that `show` names.
const ITEMS_SHOWN: u32 = 10;
/// Between two looks of `--follow`.
const FOLLOW: Duration = Duration::from_secs(1);

/// Watch and steer the jobs that send many dossiers again
///
/// `hoso resync` makes them. What a job has opened already still arrives when it is paused or
/// cancelled; nothing that it did not open is sent.
///
/// Example: hoso job list && hoso job show 3
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    /// Every job, the newest first
    ///
    /// Example: hoso job list --json
    #[command(verbatim_doc_comment)]
    List,
    /// One job: how far it is, what failed, when it will be done
    ///
    /// Example: hoso job show 3 --follow
    #[command(verbatim_doc_comment)]
    Show {
        /// Number of the job
        job: i64,
        /// Look again every second until it is over or waits for a person
        #[arg(long)]
        follow: bool,
    },
    /// Open nothing more until it is resumed
    ///
    /// Example: hoso job pause 3 --reason "the portal is being maintained"
    #[command(verbatim_doc_comment)]
    Pause(Ordered),
    /// Go on with a paused or stopped job; failures from before do not stop it again
    ///
    /// Example: hoso job resume 3 --reason "the portal is back"
    #[command(verbatim_doc_comment)]
    Resume(Ordered),
    /// Send nothing more of it, for good
    ///
    /// Example: hoso job cancel 3 --reason "the wrong agency"
    #[command(verbatim_doc_comment)]
    Cancel(Ordered),
    /// Let what failed wait again
    ///
    /// Example: hoso job retry-failed 3 --reason "the code list is corrected"
    #[command(verbatim_doc_comment)]
    RetryFailed(Ordered),
}

#[derive(Debug, clap::Args)]
pub(super) struct Ordered {
    /// Number of the job
    job: i64,
    #[command(flatten)]
    person: Person,
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let done = match which {
        Which::List => list(invocation, &context).await,
        Which::Show { job, follow } => show(invocation, &context, job, follow).await,
        Which::Pause(ordered) => order(invocation, &context, Order::Pause, &ordered).await,
        Which::Resume(ordered) => order(invocation, &context, Order::Resume, &ordered).await,
        Which::Cancel(ordered) => order(invocation, &context, Order::Cancel, &ordered).await,
        Which::RetryFailed(ordered) => {
            order(invocation, &context, Order::RetryFailed, &ordered).await
        }
    };
    context.ledger.close().await;
    done
}

async fn list(invocation: &Invocation, context: &Context) -> Result<(), Failure> {
    let jobs = context.ledger.jobs(false, LISTED).await?;
    let now = context.clock.now();
    invocation.output.result(&jobs, |jobs| {
        if jobs.is_empty() {
            return "no job was ever started; `hoso resync` starts one".to_owned();
        }
        jobs.iter().map(|job| line(job, now)).collect::<Vec<_>>().join("\n")
    });
    Ok(())
}

/// One job in one line: `job 3: running, 1,204 of 4,000, by lan: …`.
pub(super) fn line(job: &Job, now: Timestamp) -> String {
    let mut text = format!(
        "job {}: {}, {} of {} done",
        job.id,
        job.state,
        thousands(job.counts.ended()),
        thousands(job.counts.all()),
    );
    if job.counts.failed > 0 {
        // Writing to a String cannot fail, here and below.
        let _infallible = write!(text, ", {} failed", thousands(job.counts.failed));
    }
    if let Some(left) = left(job, now) {
        let _infallible = write!(text, ", about {} left", span(left));
    }
    if let Some(note) = &job.note {
        let _infallible = write!(text, " ({note})");
    }
    let _infallible = write!(text, "; {}: {}", job.actor, job.reason);
    text
}

/// How long it will still take, by the pace since it began.
fn left(job: &Job, now: Timestamp) -> Option<Duration> {
    let done = job.counts.ended() - job.counts.cancelled;
    let open = job.counts.waiting + job.counts.on_their_way();
    if job.state != JobState::Running || done == 0 || open == 0 {
        return None;
    }
    let took = u64::try_from(now.since(job.started_at).as_millis()).unwrap_or(u64::MAX);
    Some(Duration::from_millis(took.saturating_mul(open) / done))
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    job: Job,
    left_ms: Option<u64>,
    failed: Vec<(String, Option<String>)>,
    skipped: Vec<(String, Option<String>)>,
}

async fn show(
    invocation: &Invocation,
    context: &Context,
    id: i64,
    follow: bool,
) -> Result<(), Failure> {
    loop {
        let Some(job) = context.ledger.job(id).await? else {
            return Err(no_job(id));
        };
        let now = context.clock.now();
        let waits = !job.state.opens() && job.counts.on_their_way() == 0;
        if follow && !waits {
            invocation.output.talk(&line(&job, now));
            context.clock.sleep(FOLLOW).await;
            continue;
        }
        let shown = Shown {
            left_ms: left(&job, now)
                .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            failed: context.ledger.job_items(id, ItemState::Failed, ITEMS_SHOWN).await?,
            skipped: context.ledger.job_items(id, ItemState::Skipped, ITEMS_SHOWN).await?,
            job,
        };
        invocation.output.result(&shown, |shown| text(shown, now));
        return Ok(());
    }
}

fn text(shown: &Shown, now: Timestamp) -> String {
    let job = &shown.job;
    let mut text = line(job, now);
    let _infallible = write!(
        text,
        "\n  plan {}, {}, {}\n  selection: {}\n  started {}, in this state since {}\n",
        job.plan.id,
        count(job.plan.items, "dossier"),
        job.plan.mode,
        job.plan.selection,
        job.started_at,
        job.changed_at,
    );
    let counts = &job.counts;
    for (name, number) in [
        ("waiting", counts.waiting),
        ("on their way", counts.opened),
        ("to be looked up", counts.sent),
        ("confirmed", counts.confirmed),
        ("failed", counts.failed),
        ("skipped", counts.skipped),
        ("cancelled", counts.cancelled),
    ] {
        if number > 0 {
            let _infallible = writeln!(text, "  {name:<16}{:>10}", thousands(number));
        }
    }
    for (code, why) in &shown.failed {
        let why = why.as_deref().unwrap_or("unknown");
        let _infallible = writeln!(text, "  failed   {code}  {why}");
    }
    for (code, why) in &shown.skipped {
        let why = why.as_deref().unwrap_or_default();
        let known = SKIPPED.iter().find(|(known, _)| *known == why);
        let _infallible =
            writeln!(text, "  skipped  {code}  {}", known.map_or(why, |(_, text)| text));
    }
    text.truncate(text.trim_end().len());
    text
}

fn no_job(id: i64) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no job {id}"))
        .hint("`hoso job list` shows every job")
}

#[derive(Debug, Serialize)]
struct Told {
    job: i64,
    from: JobState,
    to: JobState,
    /// Items that wait again, or never will be sent.
    items: u64,
    on_their_way: u64,
}

async fn order(
    invocation: &Invocation,
    context: &Context,
    order: Order,
    ordered: &Ordered,
) -> Result<(), Failure> {
    let person = &ordered.person;
    let obeyed = order_job(context, ordered.job, order, &person.actor(), &person.reason).await?;
    match obeyed {
        Obeyed::UnknownJob => Err(no_job(ordered.job)),
        Obeyed::Refused(state) => Err(Failure::new(
            Exit::Failed,
            format!("job {} is {state}; {} makes no sense now", ordered.job, order.action()),
        )
        .hint(format!("nothing was changed; `hoso job show {}` says how it stands", ordered.job))),
        Obeyed::Now { from, to, items } => {
            let job = context.ledger.job(ordered.job).await?;
            let on_their_way = job.map_or(0, |job| job.counts.on_their_way());
            let told = Told { job: ordered.job, from, to, items, on_their_way };
            invocation.output.result(&told, |told| {
                let mut text = format!("job {}: {from} -> {to}", told.job);
                match order {
                    Order::Cancel => {
                        let _infallible = write!(text, "; {} will not be sent", thousands(items));
                    }
                    Order::RetryFailed => {
                        let _infallible = write!(text, "; {} wait again", thousands(items));
                    }
                    Order::Pause | Order::Resume => {}
                }
                if matches!(order, Order::Pause | Order::Cancel) && told.on_their_way > 0 {
                    let _infallible = write!(
                        text,
                        "; {} on their way already and still arrive",
                        count(told.on_their_way, "dossier")
                    );
                }
                text
            });
            Ok(())
        }
    }
}
