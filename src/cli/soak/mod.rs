//! `hoso lab soak`: a province that lives on, the real gateway as a process of its own, faults, and a
//! verdict at the end.
//!
//! Owns the run: traffic, kills, samples, the end. `gateway` is the child process, `judge` compares
//! province, portal and ledger from outside, `verdict` says property by property what came of it.

mod gateway;
mod gauge;
mod judge;
mod settling;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use self::gateway::Gateway;
use self::gauge::Gauge;
use self::settling::{Settled, unmet};
use self::verdict::{Evidence, Restarts, Verdict};
use super::failure::{Exit, Failure};
use super::lab::Way;
use super::rehearsal::{self, Folder, Plan, World};
use super::status::{broken, broken_words};
use super::{Invocation, build, words};
use crate::clock::{Clock, SystemClock};
use crate::domain::entry::EntryState;
use crate::domain::time::{Timestamp, span};
use crate::lab::portal::Faults;
use crate::lab::traffic::{Traffic, TrafficOptions};
use crate::ledger::record::Books;
use crate::ledger::view::{ProblemFilter, Standing};
use crate::ledger::watch::Watchdog;
use crate::pipeline::reconcile::reconcile_once;
use crate::pipeline::watch::watch_once;
use crate::pipeline::{Context, SourceLine, Stop};

/// The portal's quota: a short window, and one that must be remembered over a kill.
const WINDOWS: [(u32, u64); 2] = [(60, 1_000), (2_400, 60_000)];
/// What the gateway leaves of it unused: laboratories on a busy machine hear calls late and bunched.
const HEADROOM: f64 = 0.1;
/// How often the world moves on.
const TICK: Duration = Duration::from_millis(200);
/// Between two samples of memory and ledger.
const SAMPLE: Duration = Duration::from_secs(2);
/// Between two looks at whether everything has settled.
const LOOK: Duration = Duration::from_secs(1);
/// Between two answers of the province that are spoilt, where faults are asked for.
const AILING_EVERY: Duration = Duration::from_secs(20);
/// Looks of the watchdogs after the end, before their walks count as without end.
const WATCH_PASSES_MAX: u32 = 1_000;
/// How the process ends when it was asked to and nothing is wrong.
const SOUND_END: &str = "exit status: 0";

/// Let a province live on for hours between faults and kills, and judge what came of it
///
/// Starts both laboratories, and the gateway as a process of its own. The province goes on: new
/// dossiers, progress, and some that are reopened, withdrawn, deleted or re-coded. At the end the
/// faults stop, everything is given time to settle, and province, portal and ledger are compared
/// dossier by dossier. Exit code 0 only if every property holds. Ctrl-C ends the traffic early.
///
/// Example: hoso lab soak --minutes 20 --kill-every 90
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// How long the traffic lasts; parts of an hour may be given
    #[arg(long, required_unless_present = "minutes", conflicts_with = "minutes")]
    hours: Option<f64>,
    /// The same in minutes
    #[arg(long)]
    minutes: Option<f64>,
    /// Dossiers in the province at the beginning; 2 % of them are deliberately invalid
    #[arg(long, default_value_t = 1000)]
    dossiers: u32,
    /// Changes that happen in the province each second
    #[arg(long, default_value_t = 3.0)]
    changes_per_second: f64,
    /// What goes wrong, at the portal and in the feed: none, some or many
    #[arg(long, default_value = "some")]
    faults: String,
    /// Kill the gateway with kill -9 every so many seconds, and start it again
    #[arg(long, value_name = "SECONDS")]
    kill_every: Option<u64>,
    /// The same seed draws the same dossiers and the same order of events
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Seconds that everything may take to settle after the end
    #[arg(long, default_value_t = 180)]
    settle_seconds: u64,
    /// Megabytes that the gateway may have in memory
    #[arg(long, default_value_t = 512)]
    memory_max: u64,
    /// Keep ledger, configuration and the gateway's log in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Arguments {
    fn lasting(&self) -> Result<Duration, Failure> {
        let minutes = self.minutes.or(self.hours.map(|hours| hours * 60.0)).unwrap_or_default();
        let lasting = Duration::try_from_secs_f64(minutes * 60.0).unwrap_or_default();
        if lasting < Duration::from_secs(1) {
            let message = "a soak lasts a second at least".to_owned();
            return Err(Failure::new(Exit::Usage, message).hint("e.g. --minutes 20"));
        }
        if !(0.0..=1_000.0).contains(&self.changes_per_second) {
            let message = "--changes-per-second is from 0 to 1000".to_owned();
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok(lasting)
    }
}

/// A soak under way.
struct Soak {
    world: World,
    context: Context,
    source: SourceLine,
    gateway: Gateway,
    traffic: Traffic,
    began: Duration,
    began_at: Timestamp,
    /// A life each.
    memory: Vec<Gauge>,
    ledger: Gauge,
    restarts: Restarts,
    /// Watchdogs that were ever found broken, with what they saw.
    barked: BTreeMap<String, String>,
}

/// `requests`: to end early.
pub(super) async fn run(
    invocation: &Invocation,
    arguments: Arguments,
    mut requests: mpsc::Receiver<()>,
) -> Result<(), Failure> {
    let lasting = arguments.lasting()?;
    let faults = rehearsal::faults(&arguments.faults)?;
    let mut folder = Folder::open(arguments.keep.clone(), "soak")?;
    let mut soak = start(&arguments, faults, &folder).await?;
    soak.live(invocation, &arguments, lasting, &mut requests).await?;
    let lived = soak.lived();
    let settled = soak.settle(invocation, &arguments, &mut requests).await?;
    let drain = Duration::from_millis(soak.world.config.serve.drain_ms) + LOOK;
    let ended = soak.gateway.end(soak.context.clock.as_ref(), drain).await;
    let verdict = soak.verdict(&arguments, lived, &settled, &ended).await?;
    soak.context.ledger.close().await;
    let log = soak.gateway.log().to_owned();
    soak.world.close().await?;
    let holds = verdict.holds;
    invocation.output.result(&verdict, Verdict::text);
    if holds {
        return Ok(());
    }
    // What it was is in the ledger and in the log.
    folder.keep();
    invocation.output.talk(&format!(
        "ledger and log stay: {}, {}; try: hoso --config {1}/hoso.toml status",
        log.display(),
        folder.path.display()
    ));
    Err(Failure::findings())
}

async fn start(arguments: &Arguments, faults: Faults, folder: &Folder) -> Result<Soak, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ailing_every = (!faults.rates.is_empty()).then_some(AILING_EVERY);
    let plan = Plan {
        dossiers: arguments.dossiers,
        seed: arguments.seed,
        changes_total: 0,
        changes_per_second: 0.0,
        faults,
        profile: Way::Adapter,
        tls: false,
        windows: WINDOWS.to_vec(),
        headroom: HEADROOM,
        look_ups_max: arguments.dossiers.max(1000),
        log_level: "warn",
    };
    let world = World::open(&plan, &folder.path, &clock).await?;
    let mut context = build::context(&world.config, true).await?;
    context.clock = Arc::clone(&clock);
    let source = build::sources(&world.config, &clock)?
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new(Exit::Failed, "the soak's configuration has no source"))?;
    Ok(Soak {
        gateway: Gateway::start(&world.file, &folder.path)?,
        world,
        context,
        source,
        traffic: Traffic::new(TrafficOptions {
            seed: arguments.seed,
            changes_per_second: arguments.changes_per_second,
            ailing_every,
        }),
        began: clock.monotonic(),
        began_at: clock.now(),
        memory: vec![Gauge::default()],
        ledger: Gauge::default(),
        restarts: Restarts::default(),
        barked: BTreeMap::new(),
    })
}

impl Soak {
    fn lived(&self) -> Duration {
        self.context.clock.monotonic().saturating_sub(self.began)
    }

    /// The traffic, until its time is over or somebody ends it.
    async fn live(
        &mut self,
        invocation: &Invocation,
        arguments: &Arguments,
        lasting: Duration,
        requests: &mut mpsc::Receiver<()>,
    ) -> Result<(), Failure> {
        let tell_every = (lasting / 6).clamp(Duration::from_secs(2), Duration::from_secs(30));
        let kill_every = arguments.kill_every.map(Duration::from_secs);
        let (mut moved, mut told, mut killed) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let mut sampled = Duration::ZERO;
        while self.lived() < lasting {
            tokio::select! {
                () = self.context.clock.sleep(TICK) => {}
                _ = requests.recv() => {
                    invocation.output.talk("the traffic ends; what is on its way may settle");
                    return Ok(());
                }
            }
            let now = self.lived();
            self.traffic.go_on(&self.world.province, now.saturating_sub(moved));
            moved = now;
            self.watch_the_process(invocation)?;
            if let Some(every) = kill_every
                && now.saturating_sub(killed) >= every
            {
                killed = now;
                self.gateway.kill_and_start()?;
                self.restarts.killed += 1;
                self.memory.push(Gauge::default());
            }
            if now.saturating_sub(sampled) >= SAMPLE {
                sampled = now;
                self.sample().await?;
            }
            if now.saturating_sub(told) >= tell_every {
                told = now;
                self.tell(invocation).await?;
            }
        }
        Ok(())
    }

    /// One that ended by itself is started again, so that the rest can be judged, too.
    fn watch_the_process(&mut self, invocation: &Invocation) -> Result<(), Failure> {
        if let Some(how) = self.gateway.has_ended() {
            invocation.output.talk(&format!(
                "the gateway ended by itself: {how}; its log: {}",
                self.gateway.log().display()
            ));
            self.restarts.by_itself += 1;
            self.memory.push(Gauge::default());
            self.gateway.kill_and_start()?;
        }
        Ok(())
    }

    async fn sample(&mut self) -> Result<(), Failure> {
        let at = self.lived();
        if let (Some(bytes), Some(life)) = (self.gateway.resident_bytes(), self.memory.last_mut()) {
            life.note(at, bytes);
        }
        let room = self.context.ledger.room(self.context.clock.now()).await?;
        self.ledger.note(at, room.file_bytes + room.journal_bytes);
        let watchdogs = self.context.ledger.watchdogs().await?;
        self.hear(&watchdogs);
        Ok(())
    }

    /// One that is quiet again at the end has barked all the same.
    fn hear(&mut self, watchdogs: &[Watchdog]) {
        for watchdog in broken(watchdogs) {
            self.barked.entry(watchdog.code.clone()).or_insert_with(|| broken_words(watchdog));
        }
    }

    /// Whole rounds of every walk, after everything has settled; how many watchdogs there are.
    async fn watch_everything(&mut self) -> Result<usize, Failure> {
        let mut watchdogs = self.context.ledger.watchdogs().await?;
        let rounds: u64 = watchdogs.iter().map(|watchdog| watchdog.rounds).max().unwrap_or(0);
        for _ in 0..WATCH_PASSES_MAX {
            watchdogs = watch_once(&self.context).await?.watchdogs;
            self.hear(&watchdogs);
            if watchdogs.iter().all(|walk| walk.rounds == 0 || walk.rounds > rounds) {
                break;
            }
        }
        Ok(watchdogs.len())
    }

    async fn standing(&self) -> Result<Standing, Failure> {
        Ok(self.context.ledger.standing(self.context.clock.now()).await?)
    }

    fn changes(&self) -> u64 {
        self.world.province.state().changes_made
    }

    async fn tell(&self, invocation: &Invocation) -> Result<(), Failure> {
        let standing = self.standing().await?;
        let of = |matching: fn(EntryState) -> bool| -> u64 {
            let states = standing.dossiers.iter().filter(|(state, _)| matching(**state));
            states.map(|(_, count)| *count).sum()
        };
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), words::bytes);
        invocation.output.talk(&format!(
            "{:>7}  {} changes; {} synchronised, {} on their way, {} for a person; memory {}, ledger {}; {}",
            span(self.lived()),
            words::thousands(self.changes()),
            words::thousands(standing.synchronised),
            of(EntryState::is_open),
            of(EntryState::needs_a_person),
            size(self.memory.last().and_then(Gauge::last)),
            size(self.ledger.last()),
            words::count(self.restarts.killed + self.restarts.by_itself, "restart"),
        ));
        Ok(())
    }

    /// Without faults, until everything that is owed has been delivered or its time is over.
    async fn settle(
        &mut self,
        invocation: &Invocation,
        arguments: &Arguments,
        requests: &mut mpsc::Receiver<()>,
    ) -> Result<Settled, Failure> {
        self.world.portal.set_faults(Faults::default());
        self.world.province.clear_misbehaviour();
        let (began, began_at) = (self.lived(), self.context.clock.now());
        let patience = Duration::from_secs(arguments.settle_seconds);
        let mut settled = Settled::default();
        while self.lived().saturating_sub(began) < patience {
            tokio::select! {
                () = self.context.clock.sleep(LOOK) => {}
                _ = requests.recv() => return Ok(settled),
            }
            self.watch_the_process(invocation)?;
            self.sample().await?;
            let standing = self.standing().await?;
            settled.unmet = unmet(&standing, began_at);
            // Comparing everything with everything waits until the numbers agree.
            if settled.unmet.is_empty() {
                settled.unmet = judge::judge(self).await?.unmet();
            }
            if settled.unmet.is_empty() {
                settled.after = Some(self.lived().saturating_sub(began));
                break;
            }
        }
        Ok(settled)
    }

    async fn verdict(
        &mut self,
        arguments: &Arguments,
        lived: Duration,
        settled: &Settled,
        ended: &str,
    ) -> Result<Verdict, Failure> {
        let finding = judge::judge(self).await?;
        let watchdogs = self.watch_everything().await?;
        let books = self.books().await;
        let now = self.context.clock.now();
        let lag = self.context.ledger.health(now, self.began_at).await?.lag;
        let portal = self.world.portal.state();
        let memory = Gauge::course_of_lives(&self.memory);
        let properties = verdict::properties(&Evidence {
            finding: &finding,
            books: books.as_ref(),
            calls: portal.calls,
            overshoots: portal.overshoots,
            refused: portal.refused_by_quota,
            steps: portal.steps,
            changes: self.changes(),
            restarts: self.restarts,
            watchdogs,
            barked: &self.barked,
            ended,
            settled,
            memory,
            memory_max_bytes: arguments.memory_max * 1_000_000,
        });
        Ok(Verdict {
            holds: properties.iter().all(|property| property.holds),
            properties,
            seconds: lived.as_secs(),
            settled_after_seconds: settled.after.unwrap_or_default().as_secs(),
            unmet: settled.unmet.clone(),
            faults: arguments.faults.clone(),
            happened: self.traffic.happened().clone(),
            struck: portal.faults,
            lag,
            calls: portal.calls,
            memory,
            ledger: self.ledger.course(),
            problems: self.problems().await?,
            restarts: self.restarts,
            finding,
            books,
        })
    }

    /// Against the province's own index; `None` when it could not be read.
    async fn books(&self) -> Option<Books> {
        reconcile_once(&self.context, &self.source, None, &Stop::new()).await.ok()
    }

    async fn problems(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let mut by_code = BTreeMap::new();
        for problem in self.context.ledger.problems(&ProblemFilter::default()).await? {
            *by_code.entry(problem.code).or_default() += 1;
        }
        Ok(by_code)
    }
}
