//! `hoso demo`: both laboratories and the gateway in one process, on a ledger of their own.
//!
//! `watch` waits until everything has settled, `live` is the view meanwhile, `verdict` says whether all
//! of it agrees.

mod live;
mod verdict;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::failure::{Exit, Failure};
use super::lab::Way;
use super::rehearsal::{self, Folder, Plan};
use super::{Invocation, build, log, signals};
use crate::clock::Clock;
use crate::config::SystemEnvironment;
use crate::daemon::{Daemon, Schedule, with_two_stage_shutdown};
use crate::lab::portal::Faults;
use crate::pipeline::pulse::Pulse;
use crate::pipeline::{Context, PortalLine, SourceLine, Stop};

/// The lab portal's quota: calls a second.
const QUOTA_PER_SECOND: u32 = 250;

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

/// The demo's own world.
struct World {
    labs: rehearsal::World,
    context: Context,
    source: SourceLine,
    line: Arc<OnceLock<PortalLine>>,
    began: Duration,
    dossiers: u32,
}

pub(super) async fn run(invocation: &Invocation, arguments: Arguments) -> Result<(), Failure> {
    let faults = rehearsal::faults(&arguments.faults)?;
    let folder = Folder::open(arguments.keep.clone(), "demo")?;
    let requests = signals::stop_requests()?;
    let (world, daemon) = start(&arguments, faults, &folder.path).await?;
    log::start(&world.labs.config.log, &SystemEnvironment)?;
    let stop = Stop::new();
    let clock = Arc::clone(&world.context.clock);
    let drain = Duration::from_millis(world.labs.config.serve.drain_ms);
    let ended = {
        let watched = watch::watch(invocation, &arguments, &world, &stop);
        let work = async {
            let served = daemon.run(&stop);
            let (served, verdict) = tokio::join!(served, watched);
            served.map_err(Failure::from).and(verdict)
        };
        with_two_stage_shutdown(clock.as_ref(), drain, &stop, requests, work).await
    };
    let result = match ended {
        Some(Ok(Some(books))) => verdict::conclude(invocation, &world, books).await,
        Some(Ok(None)) | None => Ok(()),
        Some(Err(failure)) => Err(failure),
    };
    world.context.ledger.close().await;
    world.labs.close().await?;
    if arguments.keep.is_some() {
        invocation.output.talk(&format!(
            "the ledger stays in {0}; try: hoso --config {0}/hoso.toml status",
            folder.path.display()
        ));
    }
    result
}

async fn start(
    arguments: &Arguments,
    faults: Faults,
    folder: &Path,
) -> Result<(World, Daemon), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock::new());
    let changes =
        if arguments.once { u64::from(arguments.dossiers / 10).max(20) } else { u64::MAX };
    let plan = Plan {
        dossiers: arguments.dossiers,
        seed: arguments.seed,
        changes_total: changes,
        changes_per_second: if arguments.once { (changes as f64 / 4.0).max(10.0) } else { 3.0 },
        faults,
        profile: arguments.profile,
        tls: arguments.tls,
        windows: vec![(QUOTA_PER_SECOND, 1000)],
        headroom: 0.01,
        look_ups_max: arguments.dossiers.saturating_mul(2).max(1000),
        log_level: "error",
    };
    let labs = rehearsal::World::open(&plan, folder, &clock).await?;
    let config = &labs.config;

    let mut context = build::context(config, true).await?;
    context.clock = Arc::clone(&clock);
    let source = build::sources(config, &context.clock)?
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new(Exit::Failed, "the demo's configuration has no source"))?;
    let line = Arc::new(OnceLock::new());
    let opened = Arc::clone(&line);
    let open = build::open_portal(config, &context)?;
    let daemon = Daemon {
        context: context.clone(),
        sources: vec![source.clone()],
        mapping: build::mapping(config)?,
        // The demo looks at the gate that the daemon opens.
        open_portal: Box::new(move |ownership| {
            let opening = open(ownership);
            let opened = Arc::clone(&opened);
            Box::pin(async move {
                let line = opening.await?;
                Ok(opened.get_or_init(|| line).clone())
            })
        }),
        schedule: Schedule { reconcile: None, ..build::schedule(config) },
        holder: build::holder("demo"),
        config_hash: config.hash(),
        pulse: Pulse::default(),
    };
    let began = clock.monotonic();
    let dossiers = arguments.dossiers;
    Ok((World { labs, context, source, line, began, dossiers }, daemon))
}
