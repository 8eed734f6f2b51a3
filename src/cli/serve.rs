//! `hoso serve`: the background service, and how it takes another configuration while it runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::failure::{Exit, Failure};
use super::log::LogLevel;
use super::metrics::server::Server;
use super::{Invocation, build, log, person, signals};
use crate::config::{Config, ConfigErrors, Environment, SystemEnvironment};
use crate::daemon::{Change, Herald, with_two_stage_shutdown};
use crate::ledger::record::PauseScope;
use crate::machine::{self, Exposure};
use crate::mapping::Mapping;
use crate::notify::Notifier;
use crate::pipeline::pulse::Pulse;
use crate::pipeline::{Context, Stop, audit, orders};

/// Run the gateway until it is told to stop
///
/// SIGTERM or Ctrl-C lets calls on their way finish (`serve.drain_ms`); a second one ends at once.
/// Nothing is lost either way: calls without an outcome are looked up at the next start.
///
/// SIGHUP reads the configuration again, with everything that it names. If anything is wrong, all of
/// it is logged and the service goes on as before; else calls on their way finish, and the service
/// goes on with the new one. Speaks sd_notify, with a watchdog that every loop must keep quiet.
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
    let env = SystemEnvironment;
    let config = invocation.config_to_run()?;
    let level = log::start(&config.log, &env)?;
    let requests = signals::stop_requests()?;
    let reloads = signals::reload_requests()?;
    let herald = herald(&env)?;
    // Everything that the configuration names is read before the ledger is touched.
    build::named(&config).map_err(first)?;
    let metrics = match config.serve.metrics_address {
        Some(address) => Some(Server::bind(address).await?),
        None => None,
    };
    let context = build::context(&config, !arguments.no_migrate).await?;
    if arguments.hold {
        let reason = "started with --hold";
        orders::pause(&context, &PauseScope::All, None, &person::user(), reason).await?;
        tracing::warn!("everything is paused; `hoso portal resume` lets sending begin");
    }
    let pulse = Pulse::default();
    let (number, mapping) = build::mapping_in_force(&config, context.ledger.as_ref()).await?;
    tell_other_mapping(&config, number, &mapping);
    let daemon = build::daemon(&config, &context, &pulse, &build::holder("serve"), mapping)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        configuration = short(&daemon.config_hash),
        mapping = daemon.mapping.version(),
        ledger = %config.ledger.path.display(),
        sources = config.sources.len(),
        "hoso-gateway starts"
    );
    for exposed in exposed(&config.ledger.path) {
        tracing::warn!(code = "ledger.exposed", "{exposed}");
    }
    audit::tell_head(&context).await?;
    let stop = Stop::new();
    let drain = Duration::from_millis(config.serve.drain_ms);
    let clock = Arc::clone(&context.clock);
    let (config_of_figures, ledger) = (config.clone(), Arc::clone(&context.ledger));
    let figures = async {
        if let Some(server) = metrics {
            server.answer(config_of_figures, ledger, Arc::clone(&context.clock)).await;
        }
    };
    let (begun, first_begun) = oneshot::channel();
    let (changes, taken) = mpsc::channel(1);
    let working = daemon.run_and_change(&stop, begun, taken);
    let working = with_two_stage_shutdown(clock.as_ref(), drain, &stop, requests, working);
    let beside = async {
        let reloading = Reloading {
            invocation,
            herald: &herald,
            level: &level,
            context: &context,
            pulse: &pulse,
            changes,
            mapping: number,
        };
        let reloading = async {
            if first_begun.await.is_ok() {
                herald.ready();
                reloading.on_request(config, reloads).await;
            }
            // Without loops there is nothing to reload; the end is told by the work itself.
            std::future::pending::<()>().await;
        };
        futures_util::future::join3(herald.speak(&context, &pulse, &stop), reloading, figures)
            .await;
    };
    let ended = tokio::select! {
        ended = working => ended,
        () = beside => None,
    };
    let result = match ended {
        Some(result) => result.map_err(Failure::from),
        None => Ok(()),
    };
    context.ledger.close().await;
    tracing::info!("hoso-gateway stopped");
    result
}

/// What is not as it should be with who may read and write the ledger, and what to do.
pub(super) fn exposed(ledger: &Path) -> Vec<String> {
    let path = ledger.display();
    let told = |found| match found {
        Exposure::WorldWritable => {
            format!("everybody may write the ledger: chmod o-w {path}")
        }
        Exposure::WorldReadable => {
            format!("everybody on this machine may read the ledger: chmod o-r {path}")
        }
        Exposure::OtherOwner(uid) => format!(
            "the ledger belongs to the account {uid}, which is not the one that runs this: {path}"
        ),
    };
    machine::exposure(ledger).into_iter().map(told).collect()
}

/// The service manager, as it named itself to this process.
fn herald(env: &dyn Environment) -> Result<Herald, Failure> {
    let notifier = Notifier::open(env.variable("NOTIFY_SOCKET").as_deref()).map_err(|error| {
        Failure::new(Exit::Failed, format!("NOTIFY_SOCKET names no socket: {error}"))
            .hint("the service manager sets it; unset it to run without one")
    })?;
    let mine = env.variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let watchdog = env
        .variable("WATCHDOG_USEC")
        .and_then(|us| us.parse::<u64>().ok())
        .filter(|us| mine && *us > 0)
        .map(Duration::from_micros);
    Ok(Herald::new(notifier, watchdog))
}

/// Between two looks for a mapping that was applied meanwhile.
const MAPPING_LOOK: Duration = Duration::from_secs(1);

/// Who edits the configuration's folder and forgets to apply it should hear of it.
fn tell_other_mapping(config: &Config, number: i64, in_force: &Mapping) {
    let named = if number > 0 { build::mapping(config).ok() } else { None };
    if let Some(named) = named.filter(|named| named.files() != in_force.files()) {
        tracing::warn!(
            in_force = in_force.version(),
            configured = named.version(),
            "the mapping that was applied is in force, and not the configuration's: `hoso mapping apply`"
        );
    }
}

/// What a reload needs of the running service.
struct Reloading<'a> {
    invocation: &'a Invocation,
    herald: &'a Herald,
    level: &'a LogLevel,
    context: &'a Context,
    pulse: &'a Pulse,
    changes: mpsc::Sender<Change>,
    /// The number of the mapping in force.
    mapping: i64,
}

/// Why the service goes on with something else.
enum Wish {
    /// The service manager asked for the configuration to be read again.
    Reload,
    /// A person has put another mapping in force.
    Mapping,
}

impl Reloading<'_> {
    async fn on_request(mut self, mut running: Config, mut requests: mpsc::Receiver<()>) {
        while let Some(wish) = self.wish(&mut requests).await {
            self.herald.reloading();
            let taken = match wish {
                Wish::Reload => self.take(&running).await,
                Wish::Mapping => self.take_mapping(&running).await,
            };
            match taken {
                Ok(next) => running = next,
                Err(refusals) => {
                    for refusal in &refusals {
                        tracing::error!(
                            code = refusal.code.as_deref().unwrap_or("config.invalid"),
                            "reload refused: {}",
                            refusal.message
                        );
                    }
                    tracing::warn!(
                        problems = refusals.len(),
                        configuration = short(&running.hash()),
                        "the service goes on with the configuration that it has"
                    );
                }
            }
            self.herald.ready();
        }
    }

    /// The next wish; a ledger that does not answer is asked again.
    async fn wish(&self, requests: &mut mpsc::Receiver<()>) -> Option<Wish> {
        loop {
            tokio::select! {
                biased;
                request = requests.recv() => return request.map(|()| Wish::Reload),
                () = self.context.clock.sleep(MAPPING_LOOK) => {
                    let number = self.context.ledger.mapping_number().await;
                    if number.is_ok_and(|number| number != self.mapping) {
                        return Some(Wish::Mapping);
                    }
                }
            }
        }
    }

    async fn take(&mut self, running: &Config) -> Result<Config, Vec<Failure>> {
        let config = self.read(running)?;
        self.go_on_with(config).await
    }

    /// The same configuration under the mapping that was applied.
    async fn take_mapping(&mut self, running: &Config) -> Result<Config, Vec<Failure>> {
        // One that cannot be used is told once, and not with every look.
        if let Ok(number) = self.context.ledger.mapping_number().await {
            self.mapping = number;
        }
        self.go_on_with(running.clone()).await
    }

    /// Nothing of the running service is touched before everything of the next one is built.
    async fn go_on_with(&mut self, config: Config) -> Result<Config, Vec<Failure>> {
        let context = build::next_context(&config, self.context);
        let (number, mapping) = build::mapping_in_force(&config, context.ledger.as_ref())
            .await
            .map_err(|failure| vec![failure])?;
        tell_other_mapping(&config, number, &mapping);
        let next = build::daemon(&config, &context, self.pulse, &build::holder("serve"), mapping)
            .map_err(|failure| vec![failure])?;
        self.mapping = number;
        let (hash, mapping) = (next.config_hash.clone(), next.mapping.version().to_owned());
        self.level.set(&config.log).map_err(|failure| vec![failure])?;
        tracing::info!(configuration = short(&hash), "reloading: settling what is out");
        let (begun, has_begun) = oneshot::channel();
        if self.changes.send(Change { next, begun }).await.is_err() || has_begun.await.is_err() {
            // Stopped meanwhile; the end is told elsewhere.
            std::future::pending::<()>().await;
        }
        tracing::info!(
            configuration = short(&hash),
            mapping,
            sources = config.sources.len(),
            "the new configuration is in force"
        );
        Ok(config)
    }

    /// The file and everything that it names; every reason against it.
    fn read(&self, running: &Config) -> Result<Config, Vec<Failure>> {
        let config =
            build::read_config(self.invocation.config_path.as_deref()).map_err(one_by_one)?;
        let mut refusals = config.ready_to_run().map_err(one_by_one).err().unwrap_or_default();
        refusals.extend(config.needs_restart(running).into_iter().map(|option| {
            Failure::new(
                Exit::Files,
                format!("{option} was changed, which only a restart of the service can do"),
            )
            .code("config.needs_restart")
        }));
        if let Err(more) = build::named(&config) {
            refusals.extend(more);
        }
        if refusals.is_empty() { Ok(config) } else { Err(refusals) }
    }
}

/// Each problem as a line of the log.
fn one_by_one(errors: ConfigErrors) -> Vec<Failure> {
    let file_name = errors.file_name;
    let told = |problem| {
        let one = ConfigErrors { file_name: file_name.clone(), problems: vec![problem] };
        Failure::new(Exit::Files, one.to_string().replace("\n  hint:", "; hint:"))
            .code("config.invalid")
    };
    errors.problems.into_iter().map(told).collect()
}

/// A configuration's name as people compare it.
pub(super) fn short(hash: &str) -> &str {
    &hash[..hash.len().min(12)]
}

/// All of them in one failure: a start is refused once.
fn first(failures: Vec<Failure>) -> Failure {
    let mut failures = failures.into_iter();
    let mut first = failures.next().unwrap_or_else(|| Failure::new(Exit::Files, ""));
    for other in failures {
        first.message.push('\n');
        first.message.push_str(&other.message);
    }
    first
}
