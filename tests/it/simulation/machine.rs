//! One machine: a service manager that starts the daemon, and starts it again when it dies.
//!
//! The daemon is the one that ships, with its loops, wired as the program wires it; only clock,
//! chance, ledger and network are behind a [`Door`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hoso_gateway::cli::build;
use hoso_gateway::config::{Config, Environment};
use hoso_gateway::daemon::{Change, Daemon, Schedule};
use hoso_gateway::http::Http;
use hoso_gateway::ids::Chance;
use hoso_gateway::mapping::Mapping;
use hoso_gateway::pipeline::pulse::{Beat, Pulse};
use hoso_gateway::pipeline::{Context, Stop};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::door::Door;
use super::ledger::{LedgerFaults, SimLedger};
use super::time::{MachineClock, WorldClock, sleep};
use super::wire::{Network, Side, SimHttp};
use super::witness::Witness;

/// How long the service manager waits before it starts the service again.
const RESTART: Duration = Duration::from_secs(3);
/// Between two looks of a loop that nothing wakes: what costs a look costs simulated time.
const LOOK: Duration = Duration::from_secs(30);

/// Everything that a machine is made of and shares with the other one.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) seed: u64,
    pub(super) world: WorldClock,
    pub(super) witness: Arc<Witness>,
    pub(super) network: Arc<Network>,
    pub(super) ledger: PathBuf,
    pub(super) faults: Arc<LedgerFaults>,
    pub(super) mapping: Arc<Mapping>,
}

/// The process that runs on a machine.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) door: Door,
    pub(super) ledger: Arc<SimLedger>,
    pub(super) context: Context,
    pub(super) pulse: Pulse,
    changes: mpsc::Sender<Arc<Config>>,
}

#[derive(Debug)]
pub(super) struct Machine {
    shared: Arc<Shared>,
    wanted: watch::Sender<bool>,
    manager: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    site: Site,
    config: Mutex<Arc<Config>>,
    wrong_by_ms: Arc<AtomicI64>,
    process: Mutex<Option<Process>>,
    started: Mutex<u64>,
}

impl Machine {
    /// Switched on at once, if `wanted`.
    pub(super) fn new(name: &'static str, site: Site, config: Arc<Config>, wanted: bool) -> Self {
        let shared = Arc::new(Shared {
            name,
            site,
            config: Mutex::new(config),
            wrong_by_ms: Arc::default(),
            process: Mutex::new(None),
            started: Mutex::new(0),
        });
        let (wanted, orders) = watch::channel(wanted);
        let manager = tokio::spawn(manage(Arc::clone(&shared), orders));
        Self { shared, wanted, manager }
    }

    /// The process that runs now, if one does.
    pub(super) fn process(&self) -> Option<Process> {
        self.shared.process().clone()
    }

    pub(super) fn is_wanted(&self) -> bool {
        *self.wanted.borrow()
    }

    pub(super) fn switch_on(&self) {
        self.wanted.send_replace(true);
    }

    /// Stops the service in order and waits for its end.
    pub(super) async fn switch_off(&self) {
        self.wanted.send_replace(false);
        while self.process().is_some() {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// What `kill -9` does.
    pub(super) fn crash(&self) -> bool {
        self.process().inspect(|process| process.door.kill()).is_some()
    }

    pub(super) fn freeze(&self, duration: Duration) -> bool {
        self.process().inspect(|process| process.door.freeze(duration)).is_some()
    }

    /// How wrong the wall clock of this machine is.
    pub(super) fn set_wrong_by(&self, millis: i64) {
        self.shared.wrong_by_ms.store(millis, Ordering::Relaxed);
    }

    /// A configuration for the running process (as a reload) and for all later ones.
    pub(super) fn configure(&self, config: Config) {
        let config = Arc::new(config);
        *self.shared.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&config);
        if let Some(process) = self.process() {
            // One that is waiting already wins; the next start takes the newest all the same.
            process.changes.try_send(config).unwrap_or_default();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(process) = self.process() {
            process.door.kill();
            process.ledger.shut();
        }
        self.manager.abort();
    }
}

impl Shared {
    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn number(&self) -> u64 {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        *started += 1;
        *started
    }
}

async fn manage(shared: Arc<Shared>, mut orders: watch::Receiver<bool>) {
    loop {
        if orders.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        run_once(&shared, &mut orders).await;
        sleep(RESTART).await;
    }
}

/// One life of the service.
async fn run_once(shared: &Arc<Shared>, orders: &mut watch::Receiver<bool>) {
    let site = &shared.site;
    let witness = &site.witness;
    let door = Door::new(site.world);
    let opened =
        SimLedger::open(&site.ledger, door.clone(), Arc::clone(&site.faults), Arc::clone(witness));
    let ledger = match opened {
        Ok(ledger) => Arc::new(ledger),
        Err(error) => {
            witness.violated("starts", format!("the ledger does not open: {error}"));
            return;
        }
    };
    let number = shared.number();
    witness.note(|| format!("{} starts for the {number}. time", shared.name));
    witness.count("starts");
    let config = shared.config();
    let clock = MachineClock {
        world: site.world,
        wrong_by_ms: Arc::clone(&shared.wrong_by_ms),
        door: door.clone(),
    };
    let context = Context {
        clock: Arc::new(clock),
        chance: Arc::new(Chance::seeded(site.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))),
        ledger: Arc::<SimLedger>::clone(&ledger),
        settings: Arc::new(build::settings(&config)),
        catalogues: Arc::default(),
        beat: Beat::default(),
    };
    let pulse = Pulse::default();
    let holder = format!("{} {number}", shared.name);
    let stop = Stop::new();
    let (reloads, asked) = mpsc::channel(1);
    let process = Process {
        door: door.clone(),
        ledger: Arc::clone(&ledger),
        context: context.clone(),
        pulse: pulse.clone(),
        changes: reloads,
    };
    *shared.process() = Some(process);
    let begin = {
        let (site, door) = (site.clone(), door.clone());
        move |config: &Config, context: &Context| {
            daemon(&site, &door, config, context, &pulse, &holder)
        }
    };
    let mut running = tokio::spawn({
        let stop = stop.clone();
        async move {
            let first = begin(&config, &context);
            let (changes, next) = mpsc::channel(1);
            let reloading = tokio::spawn(reload(asked, changes, context, begin));
            let ended = first.run_and_change(&stop, oneshot::channel().0, next).await;
            reloading.abort();
            ended
        }
    });
    let ended = tokio::select! {
        biased;
        () = door.died() => None,
        ended = &mut running => Some(ended),
        () = unwanted(orders) => {
            stop.cancel();
            tokio::select! {
                biased;
                () = door.died() => None,
                ended = &mut running => Some(ended),
            }
        }
    };
    match ended {
        None => {
            running.abort();
            witness.count("crashes");
            witness.note(|| format!("{} dies", shared.name));
        }
        Some(Ok(Ok(()))) => witness.note(|| format!("{} stops", shared.name)),
        Some(Ok(Err(error))) => {
            witness.count("daemon gave up");
            witness.note(|| format!("{} gives up: {error:#}", shared.name));
        }
        Some(Err(panic)) => {
            witness.violated("no panic", format!("the daemon panicked: {panic}"));
        }
    }
    // Whatever of it still runs finds its doors closed.
    door.kill();
    ledger.shut();
    *shared.process() = None;
}

/// Comes back when the service is to stop.
async fn unwanted(orders: &mut watch::Receiver<bool>) {
    // Without a machine nobody wants it either.
    orders.wait_for(|wanted| !*wanted).await.map(drop).unwrap_or_default();
}

async fn reload(
    mut asked: mpsc::Receiver<Arc<Config>>,
    changes: mpsc::Sender<Change>,
    mut context: Context,
    begin: impl Fn(&Config, &Context) -> Daemon,
) {
    while let Some(config) = asked.recv().await {
        context = build::next_context(&config, &context);
        let (begun, begins) = oneshot::channel();
        if changes.send(Change { next: begin(&config, &context), begun }).await.is_err() {
            return;
        }
        // Dropped with a daemon that ends instead.
        begins.await.unwrap_or_default();
    }
}

fn daemon(
    site: &Site,
    door: &Door,
    config: &Config,
    context: &Context,
    pulse: &Pulse,
    holder: &str,
) -> Daemon {
    let http = |side| -> Arc<dyn Http> {
        Arc::new(SimHttp::new(Arc::clone(&site.network), side, door.clone()))
    };
    Daemon {
        open_portal: build::open_portal_over(config, context, http(Side::Portal))
            .expect("a portal"),
        sources: build::sources_over(config, &context.clock, |_, _| Ok(http(Side::Province)))
            .expect("sources"),
        context: context.clone(),
        mapping: Arc::clone(&site.mapping),
        schedule: Schedule { look: LOOK, ..build::schedule(config) },
        holder: holder.to_owned(),
        config_hash: config.hash(),
        pulse: pulse.clone(),
    }
}

/// Secrets of a simulated province and portal.
pub(super) struct Secrets;

impl Environment for Secrets {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "HOSO_PORTAL_PASSWORD").then(|| "mat-khau-thu-nghiem".to_owned())
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}
