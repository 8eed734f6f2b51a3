//! `hoso serve`: the background service.

use std::time::Duration;

use super::failure::Failure;
use super::{Invocation, build, person, signals, start_logging};
use crate::daemon::{Daemon, with_two_stage_shutdown};
use crate::ledger::record::PauseScope;
use crate::pipeline::{Stop, orders};

/// Run the gateway until it is told to stop
///
/// SIGTERM or Ctrl-C lets calls on their way finish (`serve.drain_ms`); a second one ends at once.
/// Nothing is lost either way: calls without an outcome are looked up at the next start.
///
/// Example: hoso serve --config /etc/hoso/hoso.toml
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Refuse to start while migrations of the ledger are pending, instead of applying them
    #[arg(long)]
    no_migrate: bool,
    /// Start with everything paused: pull and map, and send nothing before `hoso portal resume`
    #[arg(long)]
    hold: bool,
}

pub(super) async fn run(invocation: &Invocation, arguments: Arguments) -> Result<(), Failure> {
    let config = invocation.config_to_run()?;
    start_logging(&config)?;
    let mapping = build::mapping(&config)?;
    let requests = signals::stop_requests()?;
    let context = build::context(&config, !arguments.no_migrate).await?;
    if arguments.hold {
        let reason = "started with --hold";
        orders::pause(&context, &PauseScope::All, None, &person::user(), reason).await?;
        tracing::warn!("everything is paused; `hoso portal resume` lets sending begin");
    }
    let sources = build::sources(&config, &context.clock)?;
    let daemon = Daemon {
        open_portal: build::open_portal(&config, &context)?,
        context: context.clone(),
        sources,
        mapping: mapping.clone(),
        schedule: build::schedule(&config),
        holder: build::holder("serve"),
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        mapping = mapping.version(),
        ledger = %config.ledger.path.display(),
        sources = config.sources.len(),
        "hoso-gateway starts"
    );
    let stop = Stop::new();
    let drain = Duration::from_millis(config.serve.drain_ms);
    let clock = std::sync::Arc::clone(&context.clock);
    let ended =
        with_two_stage_shutdown(clock.as_ref(), drain, &stop, requests, daemon.run(&stop)).await;
    let result = match ended {
        Some(result) => result.map_err(Failure::from),
        None => Ok(()),
    };
    context.ledger.close().await;
    tracing::info!("hoso-gateway stopped");
    result
}
