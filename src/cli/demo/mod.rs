//! `hoso demo`: both laboratories and the gateway in one process, on a ledger of their own.

mod configuration;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;

use super::failure::{Exit, Failure};
use super::lab::Way;
use super::{Invocation, build, log, signals};
use crate::clock::Clock;
use crate::config::{Config, Environment, SystemEnvironment};
use crate::daemon::{Daemon, Schedule, with_two_stage_shutdown};
use crate::domain::entry::EntryState;
use crate::domain::time::Timestamp;
use crate::lab::certificates;
use crate::lab::digest::{Comparison, compare};
use crate::lab::population::PopulationOptions;
use crate::lab::portal::{Faults, LabPortal, PortalOptions, Quota, Window, WindowKind};
use crate::lab::province::{Province, ProvinceOptions};
use crate::ledger::record::Books;
use crate::ledger::view::{ProblemFilter, Standing};
use crate::pipeline::pulse::Pulse;
use crate::pipeline::reconcile::reconcile_once;
use crate::pipeline::{Context, PortalLine, SourceLine, Stop};

/// The lab portal's quota: calls a second.
const QUOTA_PER_SECOND: u32 = 250;
/// Longest run of `--once` before it is called unsettled.
const PATIENCE: Duration = Duration::from_mins(15);
/// Between two looks at whether everything has settled.
const LOOK: Duration = Duration::from_millis(200);
/// Between two frames of the live view.
const FRAME: Duration = Duration::from_millis(500);

/// Watch dossiers go from a simulated province to a simulated national portal
///
/// Starts both laboratories and the gateway on a temporary ledger and shows what happens until
/// Ctrl-C. With --once it runs until everything has settled, closes the books, compares the portal's
/// own records with what the province holds, and ends; exit code 0 only if all of it agrees.
///
/// Example: hoso demo --once --dossiers 2000 --faults some
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Run until everything has settled, reconcile, print the result, end
    #[arg(long)]
    once: bool,
    /// Dossiers in the simulated province; 2 % of them are deliberately invalid
    #[arg(long, default_value_t = 1000)]
    dossiers: u32,
    /// The same seed draws the same dossiers
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// What goes wrong at the simulated portal: none, some or many
    #[arg(long, default_value = "none")]
    faults: String,
    /// How requests travel: straight to the adapter, through a wrapper, or through a platform with tokens
    #[arg(long, value_enum, default_value = "adapter")]
    profile: Way,
    /// HTTPS on both sides, with a private authority and client certificates
    #[arg(long)]
    tls: bool,
    /// Keep the ledger and a configuration in this folder, for trying other commands on
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The one JSON object of `--once --json`.
#[derive(Debug, Serialize)]
struct Verdict {
    dossiers: DossierCounts,
    steps: StepCounts,
    portal: PortalCounts,
    reconciliation: BookCounts,
    seconds: f64,
    dossiers_per_second: f64,
}

/// By the state of each dossier's newest revision; `superseded` counts revisions.
#[derive(Debug, Serialize)]
struct DossierCounts {
    at_source: u64,
    accepted: u64,
    synchronised: u64,
    quarantined: u64,
    dead: u64,
    not_ours: u64,
    superseded: u64,
    open: u64,
}

/// Steps of dossiers that are neither quarantined nor not ours.
#[derive(Debug, Serialize)]
struct StepCounts {
    at_source: u64,
    accepted: u64,
    held: u64,
    open: u64,
}

#[derive(Debug, Serialize)]
struct PortalCounts {
    calls: u64,
    useful: u64,
    refused: u64,
    records: usize,
    steps: u64,
    quota_overshoots: u64,
}

#[derive(Debug, Serialize)]
struct BookCounts {
    matched: u64,
    different: u64,
    missing: u64,
    unverifiable: u64,
    extra: u64,
    closed: bool,
}

/// The demo's own world.
struct World {
    config: Config,
    province: Province,
    portal: LabPortal,
    context: Context,
    source: SourceLine,
    line: Arc<OnceLock<PortalLine>>,
    began: Duration,
    dossiers: u32,
}

pub(super) async fn run(invocation: &Invocation, arguments: Arguments) -> Result<(), Failure> {
    let Some(faults) = Faults::preset(&arguments.faults) else {
        return Err(Failure::new(
            Exit::Usage,
            format!("--faults {}: no such preset", arguments.faults),
        )
        .hint("use none, some or many"));
    };
    let folder = Folder::open(arguments.keep.clone())?;
    let requests = signals::stop_requests()?;
    let (mut world, daemon) = start(&arguments, faults, &folder.path).await?;
    log::start(&world.config.log, &SystemEnvironment)?;
    let stop = Stop::new();
    let clock = Arc::clone(&world.context.clock);
    let drain = Duration::from_millis(world.config.serve.drain_ms);
    let ended = {
        let watched = watch(invocation, &arguments, &mut world, &stop);
        let work = async {
            let served = daemon.run(&stop);
            let (served, verdict) = tokio::join!(served, watched);
            served.map_err(Failure::from).and(verdict)
        };
        with_two_stage_shutdown(clock.as_ref(), drain, &stop, requests, work).await
    };
    let result = match ended {
        Some(Ok(Some(verdict))) => conclude(invocation, &arguments, &world, verdict).await,
        Some(Ok(None)) | None => Ok(()),
        Some(Err(failure)) => Err(failure),
    };
    world.context.ledger.close().await;
    let stopped =
        |error: std::io::Error| Failure::new(Exit::Failed, format!("a laboratory: {error}"));
    world.province.shutdown().await.map_err(stopped)?;
    world.portal.shutdown().await.map_err(stopped)?;
    if arguments.keep.is_some() {
        invocation.output.talk(&format!(
            "the ledger stays in {0}; try: hoso --config {0}/hoso.toml status",
            folder.path.display()
        ));
    }
    result
}

/// A temporary folder, or the one to keep.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn open(keep: Option<PathBuf>) -> Result<Self, Failure> {
        let temporary = keep.is_none();
        let path = keep.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("hoso-demo-{}", std::process::id()))
        });
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failed, format!("{}: {error}", path.display()))
        };
        std::fs::create_dir_all(&path).map_err(failed)?;
        if path.join("ledger.db").exists() {
            return Err(Failure::new(
                Exit::Failed,
                format!("{} already holds a ledger", path.display()),
            )
            .hint("name an empty folder: a demo begins with a province nobody has seen before"));
        }
        Ok(Self { path, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, folder = %self.path.display(), "the demo's folder stays");
        }
    }
}

/// The secrets of the lab portal, where a service would read its own.
#[derive(Debug)]
struct DemoSecrets {
    password: String,
    client_secret: String,
}

impl Environment for DemoSecrets {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "HOSO_PORTAL_PASSWORD" => Some(self.password.clone()),
            "HOSO_PORTAL_CLIENT_SECRET" => Some(self.client_secret.clone()),
            _ => None,
        }
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

async fn start(
    arguments: &Arguments,
    faults: Faults,
    folder: &Path,
) -> Result<(World, Daemon), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock::new());
    let failed =
        |error: std::io::Error| Failure::new(Exit::Failed, format!("a laboratory: {error}"));
    let changes =
        if arguments.once { u64::from(arguments.dossiers / 10).max(20) } else { u64::MAX };
    // One folder a side, as two operators would hand them out.
    let tls = |side: &str| {
        arguments.tls.then(|| certificates::write(&folder.join(side), true)).transpose()
    };
    let province = crate::lab::province::start(
        ProvinceOptions {
            tls: tls("tls-province").map_err(failed)?,
            population: PopulationOptions {
                seed: arguments.seed,
                dossiers: arguments.dossiers,
                ..PopulationOptions::default()
            },
            changes_total: changes,
            changes_per_second: if arguments.once { (changes as f64 / 4.0).max(10.0) } else { 3.0 },
            ..ProvinceOptions::default()
        },
        Arc::clone(&clock),
    )
    .await
    .map_err(failed)?;
    let options = PortalOptions {
        tls: tls("tls-portal").map_err(failed)?,
        profile: arguments.profile.profile(),
        // Short enough that tokens end in mid-run.
        token_seconds: 5,
        seed: arguments.seed,
        faults,
        quota: Quota {
            windows: vec![Window {
                limit: QUOTA_PER_SECOND,
                window_ms: 1000,
                kind: WindowKind::SlidingAttempts,
            }],
            retry_after: true,
        },
        ..PortalOptions::default()
    };
    let secrets = DemoSecrets {
        password: options.password.clone(),
        client_secret: options.client_secret.clone(),
    };
    let accounts = (options.username.clone(), options.client_id.clone());
    let portal = crate::lab::portal::start(options, Arc::clone(&clock)).await.map_err(failed)?;

    let text = configuration::text(arguments, &province.url(), &portal.url(), &accounts);
    let file = folder.join("hoso.toml");
    let written = std::fs::write(&file, &text)
        .and_then(|()| std::fs::write(folder.join("portal-password"), &secrets.password))
        .and_then(|()| std::fs::write(folder.join("portal-client-secret"), &secrets.client_secret));
    written.map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", file.display())))?;
    let config = Config::from_toml(&text, &file.display().to_string(), &secrets)?;

    let mut context = build::context(&config, true).await?;
    context.clock = Arc::clone(&clock);
    let source = build::sources(&config, &context.clock)?
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new(Exit::Failed, "the demo's configuration has no source"))?;
    let line = Arc::new(OnceLock::new());
    let opened = Arc::clone(&line);
    let open = build::open_portal(&config, &context)?;
    let daemon = Daemon {
        context: context.clone(),
        sources: vec![source.clone()],
        mapping: build::mapping(&config)?,
        // The demo looks at the gate that the daemon opens.
        open_portal: Box::new(move |ownership| {
            let opening = open(ownership);
            let opened = Arc::clone(&opened);
            Box::pin(async move {
                let line = opening.await?;
                Ok(opened.get_or_init(|| line).clone())
            })
        }),
        schedule: Schedule { reconcile: None, ..build::schedule(&config) },
        holder: build::holder("demo"),
        config_hash: config.hash(),
        pulse: Pulse::default(),
    };
    let began = clock.monotonic();
    let world = World {
        config,
        province,
        portal,
        context,
        source,
        line,
        began,
        dossiers: arguments.dossiers,
    };
    Ok((world, daemon))
}

/// Shows the run; with `--once`, returns the closed books when everything has settled.
async fn watch(
    invocation: &Invocation,
    arguments: &Arguments,
    world: &mut World,
    stop: &Stop,
) -> Result<Option<Books>, Failure> {
    let mut view = LiveView::new(invocation, arguments);
    let mut settled_looks = 0;
    let mut changes_ended_at: Option<Timestamp> = None;
    while !stop.is_cancelled() {
        let now = world.context.clock.now();
        let standing = world.context.ledger.standing(now).await?;
        view.draw(world, &standing).await?;
        if arguments.once {
            if changes_ended_at.is_none() && world.province.state().changes_left == 0 {
                changes_ended_at = Some(now);
            }
            // Read to its end after the last change, and nothing on its way.
            let pulled = standing.sources.iter().any(|source| {
                // A poll without news moves `polled_at` alone; the books find what it missed.
                source.caught_up_at.is_some()
                    && matches!((source.polled_at, changes_ended_at), (Some(at), Some(end)) if at > end)
            });
            let known: u64 = standing.dossiers.values().sum();
            if pulled && known >= u64::from(world.dossiers) && is_quiet(&standing) {
                settled_looks += 1;
            } else {
                settled_looks = 0;
            }
            if settled_looks >= 2
                && let Some(line) = world.line.get()
            {
                let books = reconcile_once(&world.context, &world.source, Some(line), stop).await?;
                let standing = world.context.ledger.standing(world.context.clock.now()).await?;
                // What the books found is being repaired, or somebody could not be asked.
                let agreed = books.closed && books.open + books.missing + books.unverifiable == 0;
                if agreed && is_quiet(&standing) {
                    stop.cancel();
                    return Ok(Some(books));
                }
                invocation.output.talk(&format!(
                    "books: {} matched, {} open, {} missing, {} unverifiable; going on",
                    books.matched, books.open, books.missing, books.unverifiable
                ));
                settled_looks = 0;
            }
            if world.context.clock.monotonic().saturating_sub(world.began) > PATIENCE {
                stop.cancel();
                return Err(Failure::new(
                    Exit::Findings,
                    format!("not settled after {} s", PATIENCE.as_secs()),
                )
                .hint("run it with --keep DIR and look at `hoso --config DIR/hoso.toml status`"));
            }
        }
        tokio::select! {
            () = world.context.clock.sleep(if arguments.once { LOOK } else { FRAME }) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(None)
}

fn is_quiet(standing: &Standing) -> bool {
    let open: u64 = standing
        .dossiers
        .iter()
        .filter(|(state, _)| state.is_open())
        .map(|(_, count)| *count)
        .sum();
    open == 0 && owed_steps(standing) == 0
}

fn owed_steps(standing: &Standing) -> u64 {
    ["pending", "leased"].iter().filter_map(|state| standing.steps.get(*state)).sum()
}

async fn conclude(
    invocation: &Invocation,
    arguments: &Arguments,
    world: &World,
    books: Books,
) -> Result<(), Failure> {
    let now = world.context.clock.now();
    let standing = world.context.ledger.standing(now).await?;
    let calls = world.context.ledger.call_totals(Timestamp::default()).await?;
    let lab = world.portal.state();
    let comparison = compare(&world.province.expected(), &world.portal.records());
    let seconds = (world.context.clock.monotonic().saturating_sub(world.began)).as_secs_f64();
    let of = |states: &[EntryState]| -> u64 {
        states.iter().filter_map(|state| standing.dossiers.get(state)).sum()
    };
    let steps = |state: &str| standing.steps.get(state).copied().unwrap_or(0);
    // Held, or behind a packet that the portal refused for good: a person decides.
    let waiting = steps("held") + steps("waiting");
    let accepted_steps = steps("acked") + steps("presumed_sent");
    let refused = calls
        .by_service
        .values()
        .flat_map(|outcomes| outcomes.iter())
        .filter(|(outcome, _)| matches!(outcome.as_str(), "refused" | "throttled"))
        .map(|(_, count)| count)
        .sum();
    let accepted = of(&[EntryState::Accepted, EntryState::Unchanged]);
    let verdict = Verdict {
        dossiers: DossierCounts {
            at_source: books.at_source,
            accepted,
            synchronised: standing.synchronised,
            quarantined: of(&[EntryState::Quarantined]),
            dead: of(&[EntryState::Dead]),
            not_ours: of(&[EntryState::NotOurs]),
            superseded: standing.superseded,
            open: of(&[
                EntryState::Received,
                EntryState::Ready,
                EntryState::Leased,
                EntryState::Unconfirmed,
            ]),
        },
        steps: StepCounts {
            at_source: world.province.state().counts.expected_steps as u64,
            accepted: accepted_steps,
            held: waiting,
            open: owed_steps(&standing),
        },
        portal: PortalCounts {
            calls: lab.calls,
            useful: calls.useful,
            refused,
            records: lab.records,
            steps: lab.steps,
            quota_overshoots: lab.overshoots,
        },
        reconciliation: BookCounts {
            matched: books.matched,
            different: books.different,
            missing: books.missing,
            unverifiable: books.unverifiable,
            extra: books.extra,
            closed: books.closed,
        },
        seconds,
        dossiers_per_second: accepted as f64 / seconds,
    };
    let faults = disagreements(&verdict, &comparison);
    if arguments.once {
        invocation.output.result(&verdict, |verdict| text(verdict, &books));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(Exit::Findings, faults.join("\n       ")))
    }
}

/// Everything that keeps the run from being called whole; empty when all of it agrees.
fn disagreements(verdict: &Verdict, comparison: &Comparison) -> Vec<String> {
    let mut found = Vec::new();
    let dossiers = &verdict.dossiers;
    if !verdict.reconciliation.closed {
        found.push("the books do not close".to_owned());
    }
    if dossiers.open + verdict.steps.open > 0 {
        found.push("something is still on its way".to_owned());
    }
    let sum = dossiers.accepted
        + dossiers.quarantined
        + dossiers.dead
        + dossiers.not_ours
        + dossiers.open;
    if sum != dossiers.at_source {
        found.push(format!(
            "the province lists {} dossiers, the ledger accounts for {sum}",
            dossiers.at_source
        ));
    }
    let steps = &verdict.steps;
    if steps.accepted + steps.held + steps.open != steps.at_source {
        found.push(format!(
            "the province holds {} steps, the ledger accounts for {}",
            steps.at_source,
            steps.accepted + steps.held + steps.open
        ));
    }
    for (what, codes) in [
        ("differ at the portal", &comparison.different),
        ("are missing at the portal", &comparison.missing),
        ("are at the portal and should not be", &comparison.unexpected),
    ] {
        if let Some(first) = codes.first() {
            found.push(format!("{} dossier(s) {what}, e.g. {first}", codes.len()));
        }
    }
    // A held step waits for a person; nobody knows whether the portal has it.
    if comparison.steps_missing as u64 > verdict.steps.held {
        found.push(format!("{} step(s) are missing at the portal", comparison.steps_missing));
    }
    if comparison.steps_unexpected > 0 {
        found.push(format!("{} step(s) were never at the source", comparison.steps_unexpected));
    }
    found
}

fn text(verdict: &Verdict, books: &Books) -> String {
    let dossiers = &verdict.dossiers;
    format!(
        "{}\n\n\
         dossiers   {} at the source: {} accepted ({} with every step), {} quarantined, {} dead, {} not ours, {} open\n\
         revisions  {} superseded before they were sent\n\
         steps      {} accepted, {} held, {} open\n\
         portal     {} calls, {} useful, {} refused, {} over the quota\n\
         time       {:.1} s, {:.0} dossiers/s (the quota is {QUOTA_PER_SECOND} calls/s)",
        super::run::books_text(books),
        dossiers.at_source,
        dossiers.accepted,
        dossiers.synchronised,
        dossiers.quarantined,
        dossiers.dead,
        dossiers.not_ours,
        dossiers.open,
        dossiers.superseded,
        verdict.steps.accepted,
        verdict.steps.held,
        verdict.steps.open,
        verdict.portal.calls,
        verdict.portal.useful,
        verdict.portal.refused,
        verdict.portal.quota_overshoots,
        verdict.seconds,
        verdict.dossiers_per_second,
    )
}

/// The view on stderr: redrawn in place for a person, a line now and then otherwise.
struct LiveView {
    output: super::Output,
    in_place: bool,
    drawn_lines: usize,
    frames: u64,
    accepted_before: Option<(Duration, u64)>,
}

impl LiveView {
    fn new(invocation: &Invocation, arguments: &Arguments) -> Self {
        let in_place = invocation.output.is_watched() && !arguments.once;
        if !arguments.once {
            invocation
                .output
                .talk("A simulated province, the gateway, a simulated portal. Ctrl-C ends it.\n");
        }
        Self {
            output: invocation.output,
            in_place,
            drawn_lines: 0,
            frames: 0,
            accepted_before: None,
        }
    }

    async fn draw(&mut self, world: &World, standing: &Standing) -> Result<(), Failure> {
        self.frames += 1;
        // Without a terminal, one line in a few seconds is enough.
        let every = if self.in_place { 1 } else { 10 };
        if !(self.frames - 1).is_multiple_of(every) {
            return Ok(());
        }
        let elapsed = world.context.clock.monotonic().saturating_sub(world.began);
        let of = |state| standing.dossiers.get(&state).copied().unwrap_or(0);
        let accepted = of(EntryState::Accepted) + of(EntryState::Unchanged);
        let rate = self.accepted_before.map_or(0.0, |(at, before)| {
            let seconds = elapsed.saturating_sub(at).as_secs_f64().max(0.001);
            accepted.saturating_sub(before) as f64 / seconds
        });
        self.accepted_before = Some((elapsed, accepted));
        let acked = standing.steps.get("acked").copied().unwrap_or(0);
        let open: u64 =
            standing.dossiers.iter().filter(|(s, _)| s.is_open()).map(|(_, count)| count).sum();
        if !self.in_place {
            self.output.talk(&format!(
                "{:>5.1} s  {accepted} accepted, {open} open, {} quarantined, {acked} steps, {rate:.0} dossiers/s",
                elapsed.as_secs_f64(),
                of(EntryState::Quarantined),
            ));
            return Ok(());
        }
        let lab = world.portal.state();
        let gate = world.line.get().map(|line| line.gate.status());
        let quota = gate.as_ref().and_then(|gate| gate.windows.first()).map_or_else(
            || "waiting for the gate".to_owned(),
            |window| format!("{} of {} calls in the last second", window.used, window.limit),
        );
        let problems = world
            .context
            .ledger
            .problems(&ProblemFilter { limit: 5, ..ProblemFilter::default() })
            .await?;
        let mut lines = vec![
            format!("  time         {:>8.1} s", elapsed.as_secs_f64()),
            format!("  accepted     {accepted:>8}      {rate:.0} dossiers/s"),
            format!(
                "  synchronised {:>8}      {acked} steps acknowledged, {} owed",
                standing.synchronised,
                owed_steps(standing)
            ),
            format!("  received     {:>8}", of(EntryState::Received)),
            format!("  ready        {:>8}", of(EntryState::Ready)),
            format!("  leased       {:>8}", of(EntryState::Leased)),
            format!("  unconfirmed  {:>8}", of(EntryState::Unconfirmed)),
            format!("  quarantined  {:>8}", of(EntryState::Quarantined)),
            format!("  dead         {:>8}", of(EntryState::Dead)),
            format!("  not ours     {:>8}", of(EntryState::NotOurs)),
            format!("  superseded   {:>8}      revisions", standing.superseded),
            format!(
                "  gate         {:>8}      {quota}",
                gate.map_or_else(|| "-".to_owned(), |gate| gate.state)
            ),
            format!(
                "  portal       {:>8}      calls, {} refused by its quota",
                lab.calls, lab.refused_by_quota
            ),
            String::new(),
            "  waiting for a person:".to_owned(),
        ];
        lines.extend(problems.iter().map(|problem| {
            format!("    {:?} {} {}", problem.kind, problem.ma_ho_so, problem.code)
        }));
        let up = if self.drawn_lines > 0 {
            format!("\x1b[{}A", self.drawn_lines)
        } else {
            String::new()
        };
        self.drawn_lines = lines.len();
        let body = lines.iter().fold(String::new(), |mut body, line| {
            // Writing to a String cannot fail.
            let _infallible = writeln!(body, "\x1b[2K{line}");
            body
        });
        self.output.talk(&format!("{up}{body}\x1b[J"));
        // `talk` ends the erase sequence with a line of its own.
        self.drawn_lines += 1;
        Ok(())
    }
}
