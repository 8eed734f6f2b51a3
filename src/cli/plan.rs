//! Plans of `hoso resync`: freeze a selection, show what it costs and changes, and set it to work, or
//! write it into a file for review and run it from there.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::failure::{Exit, Failure};
use super::words::{count, new_private_file, thousands};
use super::{Invocation, build};
use crate::config::Config;
use crate::domain::job::Mode;
use crate::domain::selection::Selection;
use crate::domain::time::{Timestamp, span};
use crate::ledger::jobs::{JobLimits, Outlook, Plan, PlanLine, PlanOrder, Started, hashed_head};
use crate::pipeline::Context;
use crate::pipeline::jobs::{Change, Forecast, forecast, make_plan, refuse_job, start_job};

/// What the first line of a plan file says it is.
const FORMAT: &str = "hoso plan 1";
/// Dossiers of a plan that are named, with what would change of them.
const SAMPLE: u32 = 5;
/// Fields of one of them that are named.
const FIELDS_SHOWN: usize = 3;
/// Lines of a plan that are read or written at a time.
const PAGE: u32 = 10_000;

/// How a plan is to be run.
pub(super) struct Wish<'a> {
    pub(super) confirm: Option<u64>,
    pub(super) per_minute: Option<u32>,
    pub(super) actor: String,
    pub(super) reason: String,
    /// Show (and write), and do not run.
    pub(super) dry_run: bool,
    pub(super) file: Option<&'a Path>,
}

/// What is known of a plan before it runs.
#[derive(Debug, Serialize)]
struct Told {
    plan: Plan,
    outlook: Outlook,
    unknown_codes: Vec<String>,
    /// Calls to the portal at least: packets (or steps) and the look-ups of the first few.
    calls: u64,
    /// At the configured quota, beside what was sent in the last hour.
    takes_ms: u64,
    sample: Vec<Forecast>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate_owner: Option<String>,
}

/// The first line of a plan file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    plan: i64,
    hash: String,
    selection: String,
    mode: Mode,
    supplements: bool,
    items: u64,
    made_at: String,
    actor: String,
    reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLine {
    ma_ho_so: String,
    source: String,
    revision: i64,
}

/// Plans a selection and, unless it is only to be shown, runs it.
pub(super) async fn plan_and_run(
    invocation: &Invocation,
    config: &Config,
    order: PlanOrder,
    wish: &Wish<'_>,
) -> Result<(), Failure> {
    let context = build::existing_context(config).await?;
    let done = async {
        let unknown = context.ledger.unknown_codes(&order.selection, 1000).await?;
        let plan = make_plan(&context, &order).await?;
        if plan.items == 0 {
            return Err(Failure::new(
                Exit::NotFound,
                format!("no dossier is meant by: {}", order.selection),
            )
            .hint("nothing was sent; what was mapped before status, channel and reception were kept is met again after the next mapping"));
        }
        if let Some(file) = wish.file {
            write_file(&context, &plan, file).await?;
        }
        go_on(invocation, config, &context, plan, unknown, wish).await
    }
    .await;
    context.ledger.close().await;
    done
}

/// Runs a plan that was reviewed.
pub(super) async fn run_from_file(
    invocation: &Invocation,
    config: &Config,
    file: &Path,
    wish: &Wish<'_>,
) -> Result<(), Failure> {
    let (head, hash) = read_file(file)?;
    let context = build::existing_context(config).await?;
    let done = async {
        let plan = context.ledger.plan(head.plan).await?;
        let plan = plan.filter(|plan| plan.hash == head.hash).ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("{}: this ledger has no plan {} with that hash", file.display(), head.plan),
            )
            .hint("nothing was sent; a plan runs on the ledger that it was made from")
        })?;
        if hash != plan.hash {
            let failure = Failure::new(
                Exit::Failed,
                format!("{}: the file was changed after it was written", file.display()),
            )
            .hint("nothing was sent; make a new plan with the selection that is meant");
            return Err(refuse(&context, &plan, wish, failure).await);
        }
        let age = context.clock.now().since(plan.sealed_at);
        if age.as_millis() > u128::from(config.resync.plan_valid_ms) {
            let failure = Failure::new(
                Exit::Failed,
                format!(
                    "plan {} is {} old; plans are valid for {}",
                    plan.id,
                    span(age),
                    span(std::time::Duration::from_millis(config.resync.plan_valid_ms))
                ),
            )
            .hint("nothing was sent; make a new plan, or raise `resync.plan_valid_ms`");
            return Err(refuse(&context, &plan, wish, failure).await);
        }
        go_on(invocation, config, &context, plan, Vec::new(), wish).await
    }
    .await;
    context.ledger.close().await;
    done
}

/// What came to nothing stands in the audit, too.
async fn refuse(context: &Context, plan: &Plan, wish: &Wish<'_>, failure: Failure) -> Failure {
    refuse_job(context, plan, &wish.actor, &wish.reason, &failure.message).await;
    failure
}

async fn go_on(
    invocation: &Invocation,
    config: &Config,
    context: &Context,
    plan: Plan,
    unknown_codes: Vec<String>,
    wish: &Wish<'_>,
) -> Result<(), Failure> {
    let outlook = context.ledger.outlook(&plan).await?;
    let (_, mapping) = build::mapping_in_force(config, context.ledger.as_ref()).await?;
    let sample = forecast(context, &mapping, &plan, SAMPLE).await?;
    let per_minute = wish.per_minute.unwrap_or(config.resync.per_minute);
    let calls = calls(config, &plan, &outlook);
    let takes_ms = takes_ms(config, context, &plan, calls, per_minute).await?;
    let mut told =
        Told { outlook, unknown_codes, calls, takes_ms, sample, job: None, gate_owner: None, plan };
    if wish.dry_run {
        invocation.output.result(&told, |told| text(told, wish));
        return Ok(());
    }
    let items = told.plan.items;
    let needs_confirmation = items > config.resync.confirm_above;
    if wish.confirm.is_some_and(|said| said != items)
        || (needs_confirmation && wish.confirm.is_none())
    {
        invocation.output.talk(&text(&told, wish));
        let failure = Failure::new(
            Exit::Failed,
            format!("{} are meant; nothing was sent", count(items, "dossier")),
        )
        .hint(format!("if that is right, repeat the command with `--confirm {items}`"));
        return Err(refuse(context, &told.plan, wish, failure).await);
    }
    let limits = JobLimits {
        canary: u64::from(config.resync.canary),
        per_minute: u64::from(per_minute),
        stop_after: u64::from(config.resync.stop_after),
    };
    match start_job(context, &told.plan, limits, &wish.actor, &wish.reason).await? {
        Started::Job(job) => told.job = Some(job),
        Started::Already { job, actor, state } => {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "plan {} was started by {actor} already: job {job} is {state}",
                    told.plan.id
                ),
            )
            .hint(format!("nothing was started twice; `hoso job show {job}` says how far it is")));
        }
        Started::UnknownPlan => {
            return Err(Failure::new(Exit::NotFound, format!("there is no plan {}", told.plan.id)));
        }
    }
    told.gate_owner = context.ledger.sending(context.clock.now()).await?.gate_owner;
    invocation.output.result(&told, |told| text(told, wish));
    Ok(())
}

/// Calls to the portal: what goes together is one.
fn calls(config: &Config, plan: &Plan, outlook: &Outlook) -> u64 {
    let items = plan.items.saturating_sub(outlook.never_sent);
    let (together, look_ups) = match plan.mode {
        Mode::StepsOnly => (config.push.dossiers_per_steps_call, 0),
        _ => (config.push.dossiers_per_call, u64::from(config.resync.canary).min(items)),
    };
    items.div_ceil(u64::from(together.max(1))) + look_ups
}

/// By the narrowest window of the quota, less what the last hour used, and by the job's own pace.
async fn takes_ms(
    config: &Config,
    context: &Context,
    plan: &Plan,
    calls: u64,
    per_minute: u32,
) -> Result<u64, Failure> {
    let hour = std::time::Duration::from_hours(1);
    let since = context.clock.now() - hour;
    let used: u64 = context
        .ledger
        .calls_by_time(since, 60_000)
        .await?
        .iter()
        .map(|(_, count)| u64::from(*count))
        .sum();
    let quota = config.gate.windows.iter().map(|window| {
        let an_hour = u64::from(window.limit).saturating_mul(3_600_000) / window.window_ms.max(1);
        // At least the share that its class has beside the others.
        let free = an_hour.saturating_sub(used).max(an_hour / 20).max(1);
        calls.saturating_mul(3_600_000) / free
    });
    let paced = plan.items.saturating_mul(60_000) / u64::from(per_minute.max(1));
    Ok(quota.max().unwrap_or(0).max(paced))
}

fn text(told: &Told, wish: &Wish<'_>) -> String {
    let Told { plan, outlook, .. } = told;
    let mut text = format!(
        "plan {}: {}, {}, frozen at {}\n  selection: {}\n  {} to the portal at least, about {} beside what is sent now\n",
        plan.id,
        count(plan.items, "dossier"),
        plan.mode,
        plan.sealed_at,
        plan.selection,
        count(told.calls, "call"),
        span(std::time::Duration::from_millis(told.takes_ms)),
    );
    // Writing to a String cannot fail, here and below.
    text.push_str("  the first of them, against what the portal was told last:\n");
    for one in &told.sample {
        let _infallible = writeln!(text, "    {}  {}", one.ma_ho_so, change_words(&one.change));
    }
    if outlook.never_sent > 0 {
        let _infallible = writeln!(
            text,
            "  {} of them are never sent (deleted, re-coded, a ministry's) and are skipped",
            thousands(outlook.never_sent)
        );
    }
    if outlook.open > 0 {
        let _infallible = writeln!(
            text,
            "  {} of them are on their way already and go once",
            thousands(outlook.open)
        );
    }
    for (job, number) in &outlook.also_in {
        let _infallible = writeln!(text, "  {} of them also wait in job {job}", thousands(*number));
    }
    if outlook.changed > 0 {
        let what = match plan.mode {
            Mode::AsSent => "what was acknowledged last is sent",
            Mode::StepsOnly => "their steps as they are now are sent",
            Mode::ReMap | Mode::RePull => "their newest content is sent",
        };
        let _infallible = writeln!(
            text,
            "  {} changed since the plan was made ({}); {what}",
            thousands(outlook.changed),
            outlook.changed_for_example.join(", ")
        );
    }
    if outlook.came_later > 0 {
        let _infallible = writeln!(
            text,
            "  {} match only since then and are not in it",
            thousands(outlook.came_later)
        );
    }
    if plan.mode == Mode::StepsOnly && !plan.supplements {
        text.push_str("  requests for a supplement (status 5) are not sent again; --supplements sends them, too\n");
    }
    if !told.unknown_codes.is_empty() {
        let shown: Vec<&str> =
            told.unknown_codes.iter().take(SAMPLE as usize).map(String::as_str).collect();
        let _infallible = writeln!(
            text,
            "  not in the ledger: {} ({})",
            thousands(told.unknown_codes.len() as u64),
            shown.join(", ")
        );
    }
    if let Some(file) = wish.file {
        let _infallible = writeln!(
            text,
            "written to {file}; run it with `hoso resync --from-plan {file} --reason …`",
            file = file.display()
        );
    } else if told.job.is_none() && wish.dry_run {
        text.push_str("nothing was sent\n");
    }
    if let Some(job) = told.job {
        match &told.gate_owner {
            Some(owner) => {
                let _infallible = writeln!(
                    text,
                    "job {job} began: {owner} sends it; `hoso job show {job}` says how far it is"
                );
            }
            None => {
                let _infallible = writeln!(
                    text,
                    "job {job} waits for the service, which is not running; `hoso run jobs` works on it now"
                );
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}

fn change_words(change: &Change) -> String {
    match change {
        Change::Unknown => "it was told nothing that is still kept".to_owned(),
        Change::Same => "the same again".to_owned(),
        Change::Steps => "its steps, and no packet".to_owned(),
        Change::NotSent { why } => format!("not sent: {why}"),
        Change::Fields { fields } => {
            let value =
                |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
            let mut shown: Vec<String> = fields
                .iter()
                .take(FIELDS_SHOWN)
                .map(|field| {
                    format!("{} {} -> {}", field.path, value(&field.before), value(&field.after))
                })
                .collect();
            if fields.len() > FIELDS_SHOWN {
                shown.push(format!(
                    "and {} more",
                    count((fields.len() - FIELDS_SHOWN) as u64, "field")
                ));
            }
            shown.join(", ")
        }
    }
}

fn cannot(file: &Path, doing: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{} cannot be {doing}: {error}", file.display()))
        .hint("nothing was sent")
}

/// A line about the plan, then one for each dossier. A file that is there is never replaced, and one
/// that could not be written whole does not stay.
async fn write_file(context: &Context, plan: &Plan, file: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| cannot(file, "written", &error);
    let out = BufWriter::new(new_private_file(file).map_err(failed)?);
    let written = write_lines(context, plan, file, out).await;
    if written.is_err() {
        // What cannot be removed either is refused when it is read: its hash is another one.
        drop(std::fs::remove_file(file));
    }
    written
}

async fn write_lines(
    context: &Context,
    plan: &Plan,
    file: &Path,
    mut out: BufWriter<std::fs::File>,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| cannot(file, "written", &error);
    let head = Head {
        format: FORMAT.to_owned(),
        plan: plan.id,
        hash: plan.hash.clone(),
        selection: plan.selection.canonical(),
        mode: plan.mode,
        supplements: plan.supplements,
        items: plan.items,
        made_at: plan.sealed_at.to_string(),
        actor: plan.actor.clone(),
        reason: plan.reason.clone(),
    };
    let json = |error: serde_json::Error| cannot(file, "written", &error.into());
    writeln!(out, "{}", serde_json::to_string(&head).map_err(json)?).map_err(failed)?;
    let mut after = 0;
    loop {
        let lines = context.ledger.plan_lines(plan.id, after, PAGE).await?;
        let Some(last) = lines.last() else { break };
        after = last.dossier_id;
        for line in &lines {
            writeln!(out, "{}", serde_json::to_string(line).map_err(json)?).map_err(failed)?;
        }
    }
    out.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)
}

/// What a plan file says, and the hash of it.
fn read_file(file: &Path) -> Result<(Head, String), Failure> {
    let failed = |error: std::io::Error| cannot(file, "read", &error);
    let broken = |what: &str| {
        Failure::new(Exit::Failed, format!("{} is no plan of hoso: {what}", file.display()))
            .hint("nothing was sent; `hoso resync … --plan FILE` writes one")
    };
    let mut lines = BufReader::new(std::fs::File::open(file).map_err(failed)?).lines();
    let first = lines.next().ok_or_else(|| broken("it is empty"))?.map_err(failed)?;
    let head: Head = serde_json::from_str(&first).map_err(|_| broken("its first line"))?;
    if head.format != FORMAT {
        return Err(broken("it has another format"));
    }
    let selection = Selection::parse(&head.selection).map_err(|_| broken("its selection"))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(hashed_head(&selection, head.mode, head.supplements).as_bytes());
    for line in lines {
        let line: FileLine =
            serde_json::from_str(&line.map_err(failed)?).map_err(|_| broken("one of its lines"))?;
        let FileLine { ma_ho_so, source, revision } = line;
        let line = PlanLine { dossier_id: 0, ma_ho_so, source, revision };
        hasher.update(line.hashed().as_bytes());
    }
    Ok((head, hasher.finalize().to_hex().to_string()))
}

/// A day in Vietnam (`2026-01-26`) or a time; of a day its beginning, or the next one's.
pub(super) fn time(text: &str, next_day: bool) -> Option<Timestamp> {
    Timestamp::from_source(text).or_else(|| {
        let day = Timestamp::from_iso(&format!("{text}T00:00:00"))?;
        Some(if next_day { day + std::time::Duration::from_hours(24) } else { day })
    })
}
