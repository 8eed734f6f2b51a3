//! The world of one run: two laboratories, one or two machines, a file, and people.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hoso_gateway::cli::build;
use hoso_gateway::clock::Clock as _;
use hoso_gateway::config::Config;
use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{
    self, Faults, OnRefusal, PortalOptions, Quota, ReadBack, ScriptedFault, Window, WindowKind,
};
use hoso_gateway::lab::province::{self, MisbehaviourRule, ProvinceOptions};
use hoso_gateway::ledger::Ledger as _;
use hoso_gateway::ledger::record::{AuditRecord, PauseScope, RetryScope};
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings, put_back};
use hoso_gateway::mapping::Mapping;
use hoso_gateway::pipeline::resync::{resync, retry_problems};
use tempfile::TempDir;

use super::books::Reader;
use super::ledger::{LedgerFaults, at_once};
use super::machine::{Machine, Process, Secrets, Site};
use super::ops::{Op, Setup};
use super::time::{WorldClock, sleep};
use super::wire::Network;
use super::witness::Witness;
use hoso_gateway::lab::province::Misbehaviour;

/// The quota in force at most: calls, and the length of the window.
const WINDOWS: [(u32, u64); 2] = [(8, 1_000), (40, 60_000)];
/// How long a person waits for a command.
const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const OPERATOR: &str = "operator";
pub(super) const SOURCE: &str = "mot-cua";
/// The province said something of a dossier that no program can send, and may never correct it.
pub(super) const SPOILT: &str = "dossiers spoilt at the source";

pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) clock: WorldClock,
    pub(super) witness: Arc<Witness>,
    pub(super) network: Arc<Network>,
    pub(super) first: Machine,
    pub(super) second: Machine,
    pub(super) reader: Reader,
    folder: TempDir,
    /// What the portal refuses until a person changes its mind.
    pub(super) poisoned: Vec<String>,
    pub(super) deleted: Vec<String>,
    hidden: Vec<String>,
    faults: Arc<LedgerFaults>,
    backup: Option<PathBuf>,
    backups: u32,
    /// Audit rows that must be there, and that may be.
    pub(super) audited: (u64, u64),
}

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let clock = WorldClock::new();
        let windows =
            WINDOWS.map(|(limit, length)| (limit as usize, Duration::from_millis(length))).to_vec();
        let witness = Arc::new(Witness::new(clock, windows));
        let province = province::in_process(province_options(setup), Arc::new(clock));
        let portal = portal::in_process(portal_options(setup), Arc::new(clock));
        let network = Arc::new(Network::new(province, portal, Arc::clone(&witness), setup.seed));
        witness.province_says(&network.province);
        let folder = in_memory();
        let ledger = folder.path().join("ledger.db");
        std::fs::copy(empty_ledger(), &ledger).expect("a copy of the empty ledger");
        let reader = Reader::new(&ledger);
        let faults = Arc::new(LedgerFaults::default());
        let site = Site {
            seed: setup.seed,
            world: clock,
            witness: Arc::clone(&witness),
            network: Arc::clone(&network),
            ledger,
            faults: Arc::clone(&faults),
            mapping: mapping(),
        };
        let config = Arc::new(config(setup, 1));
        Self {
            setup: setup.clone(),
            clock,
            witness,
            network,
            first: Machine::new("the first machine", site.clone(), Arc::clone(&config), true),
            second: Machine::new("the second machine", site, config, false),
            reader,
            folder,
            poisoned: Vec::new(),
            deleted: Vec::new(),
            hidden: Vec::new(),
            faults,
            backup: None,
            backups: 0,
            audited: (0, 0),
        }
    }

    pub(super) fn ledger_path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    /// A process that runs, if one does.
    pub(super) fn process(&self) -> Option<Process> {
        self.first.process().or_else(|| self.second.process())
    }

    pub(super) async fn apply(&mut self, op: &Op) {
        self.witness.note(|| format!("op {op:?}"));
        self.witness.count(op.name());
        let (network, witness) = (Arc::clone(&self.network), Arc::clone(&self.witness));
        match op {
            Op::Pass { secs } => pass(*secs).await,
            Op::Evolve { which } => {
                if let Some(code) = self.dossier(*which) {
                    network.province.evolve(&code);
                }
            }
            Op::Add { count } => drop(network.province.add(*count)),
            Op::Delete { which } => {
                if let Some(code) = self.dossier(*which)
                    && network.province.delete(&code).is_some()
                {
                    self.deleted.push(code);
                }
            }
            Op::Misbehave { how, times, which } => self.misbehave(how, *times, *which),
            Op::ProvinceAway { secs } => {
                network.province_down(true);
                pass(*secs).await;
                network.province_down(false);
            }
            Op::Portal { fault, service, times } => {
                let mut order = ScriptedFault::next(fault.clone()).times(*times);
                if let Some(service) = service {
                    order = order.of_service(service);
                }
                network.portal.inject(order);
            }
            Op::Wire { fault, after } => network.order(*after, *fault),
            Op::Outage { how, secs } => {
                network.portal_down(Some(*how));
                pass(*secs).await;
                network.portal_down(None);
            }
            Op::Forget { which } => {
                // Of one that was filed there, the portal goes on as if nothing had happened: that its
                // steps are gone, nobody can find out.
                if let Some(code) = self.dossier(*which)
                    && !network.province.filed_at_portal().contains(&code)
                {
                    network.portal.forget(&code);
                }
            }
            Op::Refuse { which } => {
                if let Some(code) = self.dossier(*which) {
                    network.portal.refuse(&code, "thủ tục không còn hiệu lực");
                    self.poisoned.push(code);
                }
            }
            Op::AcceptAgain => {
                for code in self.poisoned.drain(..) {
                    network.portal.accept(&code);
                }
            }
            Op::Hide { which } => {
                if let Some(code) = self.dossier(*which) {
                    network.portal.hide(&code);
                    self.hidden.push(code);
                }
            }
            Op::Show => self.show_all(),
            Op::Crash => {
                self.first.crash();
            }
            Op::Ledger { fault, after } => self.faults.order(*after, *fault),
            Op::Freeze { secs } => {
                self.first.freeze(Duration::from_secs(u64::from(*secs)));
            }
            Op::Stop { secs } => {
                self.first.switch_off().await;
                pass(*secs).await;
                self.first.switch_on();
            }
            Op::WallClock { wrong_by_secs } => {
                self.first.set_wrong_by(i64::from(*wrong_by_secs) * 1_000);
            }
            Op::StandBy { on: true } => {
                self.faults.two_machines.store(true, Ordering::Relaxed);
                self.second.switch_on();
            }
            Op::StandBy { on: false } => {
                self.second.switch_off().await;
                self.faults.two_machines.store(false, Ordering::Relaxed);
            }
            Op::Backup => self.make_backup(),
            Op::Restore => self.restore().await,
            Op::Resync { which, twice } => {
                if let Some(code) = self.dossier(*which) {
                    self.resync(&code).await;
                    if *twice {
                        self.resync(&code).await;
                    }
                }
            }
            Op::RetryProblems => self.retry_problems().await,
            Op::Hold => self.hold(true).await,
            Op::Resume => self.hold(false).await,
            Op::Reload { quota_share } => {
                let config = config(&self.setup, *quota_share);
                self.first.configure(config.clone());
                self.second.configure(config);
            }
        }
        witness.province_says(&network.province);
    }

    /// Everything that was set to go wrong does not any more; what people decided stays.
    pub(super) async fn heal(&mut self) {
        self.witness.note(|| "all faults end".to_owned());
        self.network.clear();
        self.network.portal.set_faults(Faults::default());
        self.network.province.clear_misbehaviour();
        self.faults.clear();
        self.show_all();
        self.first.set_wrong_by(0);
        self.first.switch_on();
        self.hold(false).await;
    }

    fn dossier(&self, which: u32) -> Option<String> {
        let codes = self.witness.codes();
        let at = which as usize % codes.len().max(1);
        codes.get(at).cloned()
    }

    fn show_all(&mut self) {
        for code in self.hidden.drain(..) {
            self.network.portal.show(&code);
        }
    }

    fn misbehave(&self, how: &Misbehaviour, times: u32, which: u32) {
        if matches!(how, Misbehaviour::UnescapedAmpersand | Misbehaviour::ControlCharacter) {
            self.witness.count(SPOILT);
        }
        let mut rule = MisbehaviourRule::once(how.clone());
        rule.times = Some(times);
        if *how == Misbehaviour::DuplicateInPage {
            // It says two things of one dossier; which one, the witness must know.
            let Some(code) = self.dossier(which) else { return };
            self.witness.doubled(&code);
            rule = rule.of_dossier(&code);
        }
        self.network.province.misbehave(rule);
    }

    // --- people ---

    fn audit(action: &str, target: &str) -> AuditRecord {
        AuditRecord::new(OPERATOR, action, target, "a simulated reason")
    }

    /// A person gives a command and waits for its end, but not for ever.
    async fn command<T, E>(&mut self, command: impl Future<Output = Result<T, E>>) {
        self.audited.1 += 1;
        self.witness.count("commands");
        match tokio::time::timeout(PATIENCE, command).await {
            Ok(Ok(_)) => self.audited.0 += 1,
            Ok(Err(_)) | Err(_) => self.witness.count("commands that failed"),
        }
    }

    async fn resync(&mut self, code: &str) {
        let Some(process) = self.process() else { return };
        let codes = [code.to_owned()];
        self.command(resync(&process.context, None, &codes, OPERATOR, "a simulated reason")).await;
    }

    pub(super) async fn retry_problems(&mut self) {
        let Some(process) = self.process() else { return };
        let scope =
            RetryScope { quarantined: true, dead: true, held: true, ..RetryScope::default() };
        self.witness.supplements_released();
        self.command(retry_problems(&process.context, &scope, OPERATOR, "a simulated reason"))
            .await;
    }

    async fn hold(&mut self, hold: bool) {
        let Some(process) = self.process() else { return };
        let now = process.context.clock.now();
        let ledger = Arc::clone(&process.ledger);
        let scope = PauseScope::All;
        if hold {
            let audit = Self::audit("pause", "all");
            self.command(async { ledger.pause(now, &scope, None, &audit).await }).await;
        } else {
            let audit = Self::audit("resume", "all");
            self.command(async { ledger.resume(now, &scope, &audit).await }).await;
        }
    }

    fn make_backup(&mut self) {
        let Some(ledger) = self.process().and_then(|process| process.ledger.inner()) else {
            return;
        };
        self.backups += 1;
        let to = self.folder.path().join(format!("backup-{}.db", self.backups));
        let now = self.clock.now();
        let made = at_once(ledger.backup(&to, now));
        match made {
            Ok(_) => self.backup = Some(to),
            Err(error) => self.witness.violated("backup", format!("no backup: {error}")),
        }
    }

    async fn restore(&mut self) {
        let Some(backup) = self.backup.clone() else { return };
        let stands_by = self.second.is_wanted();
        self.first.switch_off().await;
        self.second.switch_off().await;
        // A process that died holds the gate until its lease ends.
        pass(15).await;
        self.reader.close();
        let (to, now) = (self.ledger_path(), self.clock.now());
        let settings = SqliteSettings { durable: false, ..SqliteSettings::default() };
        let audit = Self::audit("restore", "ledger");
        let sources = [SOURCE.to_owned()];
        let restored = at_once(put_back(&backup, &to, &settings, true, now, &sources, &audit));
        match restored {
            Ok(_) => {
                let books = self.reader.read();
                self.audited = (books.audit_rows, books.audit_rows);
                self.witness.ledger_was_replaced(books.revisions);
                self.witness.count("restored backups");
            }
            Err(error) => self.witness.violated("restore", format!("not restored: {error}")),
        }
        self.first.switch_on();
        if stands_by {
            self.second.switch_on();
        }
    }
}

async fn pass(secs: u32) {
    sleep(Duration::from_secs(u64::from(secs))).await;
}

/// A folder that needs no disk, where the system has one.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// The mapping that ships; compiled once for all runs.
fn mapping() -> Arc<Mapping> {
    static MAPPING: OnceLock<Arc<Mapping>> = OnceLock::new();
    Arc::clone(MAPPING.get_or_init(|| {
        let (setup, _) = super::ops::draw(0);
        build::mapping(&config(&setup, 1)).expect("the mapping that ships")
    }))
}

/// An empty ledger of the present schema, made once.
fn empty_ledger() -> PathBuf {
    static EMPTY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = EMPTY.get_or_init(|| {
        let folder = in_memory();
        let path = folder.path().join("empty.db");
        at_once(async {
            let opened = SqliteLedger::open(&path, &SqliteSettings::default()).await;
            opened.expect("a new ledger").close().await;
        });
        (folder, path)
    });
    path.clone()
}

fn config(setup: &Setup, quota_share: u32) -> Config {
    let windows = WINDOWS.map(|(limit, length)| {
        format!("{{ limit = {}, window_ms = {length} }}", limit / quota_share)
    });
    let text = format!(
        "[[sources]]\n\
         name = \"{SOURCE}\"\n\
         base_url = \"http://province.simulated\"\n\
         page_limit = {page_limit}\n\
         poll_ms = 60000\n\
         [portal]\n\
         base_url = \"http://portal.simulated\"\n\
         username = \"tinh-thu-nghiem\"\n\
         [problems]\n\
         burst = 0\n\
         [gate]\n\
         headroom = 0.0\n\
         windows = [{windows}]\n\
         [push]\n\
         concurrency = {concurrency}\n\
         dossiers_per_call = {per_call}\n\
         [retry]\n\
         max_ms = 120000\n\
         [reconcile]\n\
         every_ms = 600000\n\
         rolling_every_ms = 3600000\n\
         settle_ms = 60000\n\
         unconfirmed_every_ms = 20000\n\
         [upkeep]\n\
         every_ms = 60000\n\
         [catalogue]\n\
         refresh_every_ms = 0\n",
        page_limit = setup.page_limit,
        windows = windows.join(", "),
        concurrency = setup.concurrency,
        per_call = setup.dossiers_per_call,
    );
    Config::from_toml(&text, "simulated.toml", &Secrets)
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn province_options(setup: &Setup) -> ProvinceOptions {
    ProvinceOptions {
        population: PopulationOptions {
            seed: setup.seed,
            dossiers: setup.dossiers,
            invalid_share: setup.invalid_share,
            ministry_share: 0.05,
            deleted_share: 0.0,
            span_days: 10,
        },
        ..ProvinceOptions::default()
    }
}

fn portal_options(setup: &Setup) -> PortalOptions {
    let refusal = if setup.prefix_applied { OnRefusal::PrefixApplied } else { OnRefusal::Atomic };
    let window = |limit| Window { limit, window_ms: 1_000, kind: WindowKind::SlidingAttempts };
    PortalOptions {
        seed: setup.seed,
        read_back: if setup.echoes { ReadBack::Echo } else { ReadBack::Existence },
        on_refused_dossiers: refusal,
        on_refused_steps: refusal,
        quota: Quota {
            windows: setup.portal_limit.map(window).into_iter().collect(),
            retry_after: setup.seed.is_multiple_of(2),
        },
        ..PortalOptions::default()
    }
}
