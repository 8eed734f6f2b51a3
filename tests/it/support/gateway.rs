//! The whole gateway between the two laboratories, in one process, on a clock that stands still.
//!
//! Everything is wired as the program wires it, from the text of a configuration. A story calls the
//! verbs and looks at what the laboratories hold; nothing sleeps.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hoso_gateway::cli::build;
use hoso_gateway::clock::Clock;
use hoso_gateway::config::{Config, Environment};
use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::domain::failure::{Disposition, Failure};
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::ids::Chance;
use hoso_gateway::lab::digest::{Comparison, compare};
use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{CallEntry, LabPortal, Outcome, PortalOptions, Service};
use hoso_gateway::lab::province::{Province, ProvinceOptions, Question, RawAnswer};
use hoso_gateway::ledger::Ledger;
use hoso_gateway::ledger::record::{Books, UpkeepCounts};
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};
use hoso_gateway::ledger::view::{DossierView, EntryView, Standing};
use hoso_gateway::mapping::Mapping;
use hoso_gateway::pipeline::catalogue::{CatalogueReport, refresh_catalogue_once};
use hoso_gateway::pipeline::map::{MapReport, map_once};
use hoso_gateway::pipeline::ownership::{GATE, Ownership};
use hoso_gateway::pipeline::pull::{PullReport, pull_once};
use hoso_gateway::pipeline::push::{PushReport, push_once};
use hoso_gateway::pipeline::read_back::{ReadBackReport, read_back_once};
use hoso_gateway::pipeline::reconcile::reconcile_once;
use hoso_gateway::pipeline::upkeep::upkeep_once;
use hoso_gateway::pipeline::{Context, PortalLine, SourceLine, Stop, VerbError};
use tempfile::TempDir;

use super::clock::StoryClock;
use super::paper::Paper;

/// Rounds of all verbs after which a story that has not settled is called stuck.
const ROUNDS_MAX: u32 = 300;
/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// How often the machine is given a turn while a story waits for a state.
const TURNS_MAX: u32 = 200_000;

/// The beginning of a story: two laboratories and a configuration, before they start.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) province: ProvinceOptions,
    pub(crate) portal: PortalOptions,
    pub(crate) password: String,
    pub(crate) token: String,
    /// Follows the portal's address, where the way in does not begin there.
    pub(crate) portal_path: &'static str,
    settings: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
}

impl Story {
    /// Sound dossiers only, and a portal that does what it is asked.
    pub(crate) fn of(dossiers: u32) -> Self {
        let portal = PortalOptions::default();
        let mut story = Self {
            province: ProvinceOptions {
                population: PopulationOptions {
                    dossiers,
                    invalid_share: 0.0,
                    ministry_share: 0.0,
                    ..PopulationOptions::default()
                },
                ..ProvinceOptions::default()
            },
            password: portal.password.clone(),
            token: String::new(),
            portal_path: "",
            portal,
            settings: BTreeMap::new(),
        };
        story = story
            .set("ledger", "path", "\"ledger.db\"")
            .set("ledger", "synchronous", "\"normal\"")
            .set("portal", "username", "\"tinh-thu-nghiem\"")
            .set("gate", "headroom", "0.0")
            // As good as no limit, without a wait at the start.
            .set("gate", "windows", "[{ limit = 1000000, window_ms = 60000, burst = 500000 }]")
            .set("push", "concurrency", "4")
            .set("push", "claim_limit", "64")
            .set("retry", "initial_ms", "1000")
            .set("retry", "jitter", "0.0")
            .set("reconcile", "settle_ms", "0");
        story
    }

    /// One option of the configuration, as TOML. `source` is the section of the (first) source.
    pub(crate) fn set(mut self, section: &'static str, key: &'static str, toml: &str) -> Self {
        self.settings.entry(section).or_default().insert(key, toml.to_owned());
        self
    }

    /// With dossiers written by hand instead of drawn ones.
    pub(crate) async fn start_with(self, papers: &[Paper]) -> TestGateway {
        let gateway = self.start().await;
        for paper in papers {
            gateway.put(paper);
        }
        gateway
    }

    pub(crate) async fn start(self) -> TestGateway {
        let clock = StoryClock::new();
        let time: Arc<dyn Clock> = Arc::new(clock.clone());
        let secrets = Secrets {
            password: self.password,
            token: self.token,
            client_secret: self.portal.client_secret.clone(),
            wrapper_secret: self.portal.wrapper_secret.clone().unwrap_or_default(),
        };
        let province = hoso_gateway::lab::province::start(self.province, Arc::clone(&time))
            .await
            .expect("a province");
        let portal = hoso_gateway::lab::portal::start(self.portal, Arc::clone(&time))
            .await
            .expect("a portal");
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = self.settings;
        let mut set = |section, key, value: &str| {
            settings
                .entry(section)
                .or_default()
                .entry(key)
                .or_insert_with(|| format!("\"{value}\""));
        };
        set("source", "name", "mot-cua");
        set("portal", "base_url", &format!("{}{}", portal.url(), self.portal_path));
        let is_feed = settings["source"].get("kind").is_none_or(|kind| kind == "\"feed\"");
        if is_feed {
            let url = format!("\"{}\"", province.url());
            settings.entry("source").or_default().entry("base_url").or_insert(url);
        }
        let config = config(&settings, folder.path(), &secrets);
        let mut gateway = TestGateway::wire(config, clock, province, portal, folder, secrets).await;
        gateway.settings = settings;
        gateway
    }
}

#[derive(Debug, Clone, Default)]
struct Secrets {
    password: String,
    token: String,
    client_secret: String,
    wrapper_secret: String,
}

impl Environment for Secrets {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "HOSO_PORTAL_PASSWORD" => Some(self.password.clone()),
            "HOSO_SOURCE_MOT_CUA_TOKEN" => Some(self.token.clone()),
            "HOSO_PORTAL_CLIENT_SECRET" => Some(self.client_secret.clone()),
            "HOSO_PORTAL_WRAPPER_SECRET" => Some(self.wrapper_secret.clone()),
            _ => None,
        }
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

fn config(
    settings: &BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    folder: &Path,
    secrets: &Secrets,
) -> Config {
    let mut text = String::new();
    for (section, options) in settings {
        let heading = match *section {
            "source" | "second source" => "[sources]",
            section => section,
        };
        // Writing to a String cannot fail.
        writeln!(text, "[{heading}]").unwrap_or_default();
        for (key, value) in options {
            writeln!(text, "{key} = {value}").unwrap_or_default();
        }
    }
    let file = folder.join("hoso.toml").display().to_string();
    Config::from_toml(&text, &file, secrets).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// A running gateway. Ends with [`TestGateway::end`].
#[derive(Debug)]
pub(crate) struct TestGateway {
    pub(crate) clock: StoryClock,
    pub(crate) province: Province,
    pub(crate) portal: LabPortal,
    pub(crate) context: Context,
    pub(crate) sources: Vec<SourceLine>,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) line: PortalLine,
    pub(crate) stop: Stop,
    /// Ends the renewal of the gate without the verbs hearing of it.
    stop_keeping: Stop,
    settings: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    secrets: Secrets,
    keeper: tokio::task::JoinHandle<()>,
    folder: TempDir,
}

impl TestGateway {
    async fn wire(
        config: Config,
        clock: StoryClock,
        province: Province,
        portal: LabPortal,
        folder: TempDir,
        secrets: Secrets,
    ) -> Self {
        let mut context = build::context(&config, true).await.expect("a context");
        context.clock = Arc::new(clock.clone());
        context.chance = Arc::new(Chance::seeded(42));
        let stop = Stop::new();
        let stop_keeping = Stop::new();
        let (line, keeper) = open(&config, &context, &clock, &stop_keeping).await;
        Self {
            sources: build::sources(&config, &context.clock).expect("sources"),
            mapping: build::mapping(&config).expect("a mapping"),
            line,
            keeper,
            settings: BTreeMap::new(),
            secrets,
            clock,
            province,
            portal,
            context,
            stop,
            stop_keeping,
            folder,
        }
    }

    /// Stops the gateway and starts it again on the same ledger with other settings and secrets.
    pub(crate) async fn restart(
        self,
        password: &str,
        token: &str,
        change: &[(&'static str, &'static str, &str)],
    ) -> Self {
        self.restart_after(password, token, change, async || {}).await
    }

    /// The file that holds the ledger.
    pub(crate) fn ledger_path(&self) -> std::path::PathBuf {
        self.folder.path().join("ledger.db")
    }

    /// [`TestGateway::restart`], with something done to the ledger's file while nobody has it open.
    pub(crate) async fn restart_after(
        mut self,
        password: &str,
        token: &str,
        change: &[(&'static str, &'static str, &str)],
        between: impl AsyncFnOnce(),
    ) -> Self {
        self.stop.cancel();
        self.stop_keeping.cancel();
        self.keeper.await.expect("the gate was kept");
        self.line.ownership.release(&self.context).await.expect("the gate is given back");
        self.context.ledger.close().await;
        between().await;
        for (section, key, value) in change {
            self.settings.entry(section).or_default().insert(key, (*value).to_owned());
        }
        let secrets =
            Secrets { password: password.to_owned(), token: token.to_owned(), ..self.secrets };
        let config = config(&self.settings, self.folder.path(), &secrets);
        let settings = self.settings;
        let mut again =
            Self::wire(config, self.clock, self.province, self.portal, self.folder, secrets).await;
        again.settings = settings;
        again
    }

    /// Takes other settings as a running service does: what is out was settled, the gate stays ours.
    pub(crate) async fn reload(&mut self, change: &[(&'static str, &'static str, &str)]) {
        for (section, key, value) in change {
            self.settings.entry(section).or_default().insert(key, (*value).to_owned());
        }
        let config = config(&self.settings, self.folder.path(), &self.secrets);
        self.context = build::next_context(&config, &self.context);
        let ownership = Arc::clone(&self.line.ownership);
        let open = build::open_portal(&config, &self.context).expect("a portal");
        self.line = open(ownership).await.expect("an open gate");
    }

    /// Ends a story that has told enough while work is left.
    pub(crate) async fn end_rough(self) {
        self.stop.cancel();
        self.stop_keeping.cancel();
        self.keeper.await.expect("the gate was kept");
        self.context.ledger.close().await;
        self.province.shutdown().await.expect("a sound province");
        self.portal.shutdown().await.expect("a sound portal");
    }

    /// Nothing is left half-done: no lease, no panic in a laboratory.
    pub(crate) async fn end(self) {
        let standing = self.standing().await;
        let leased = standing.dossiers.get(&EntryState::Leased).copied();
        let (path, now) = (self.ledger_path(), self.clock.now());
        assert_eq!(leased.unwrap_or(0), 0, "a lease is left");
        self.stop.cancel();
        self.stop_keeping.cancel();
        self.keeper.await.expect("the gate was kept");
        self.context.ledger.close().await;
        // Whatever happened in the story: the ledger keeps its own rules.
        if let Ok(ledger) = SqliteLedger::open(&path, &SqliteSettings::default()).await {
            assert_eq!(ledger.check().await.expect("a readable ledger"), []);
            super::watch::assert_no_watchdog_barks(&ledger, now).await;
            super::causes::assert_every_problem_has_its_cause(&ledger, now).await;
            ledger.close().await;
        }
        self.province.shutdown().await.expect("a sound province");
        self.portal.shutdown().await.expect("a sound portal");
    }

    // --- time ---

    /// Moves time forward. The gate's ownership is renewed as in the daemon.
    pub(crate) async fn advance(&self, by: Duration) {
        let mut left = by;
        // Never further at once than ownership lasts: the process was awake all the time.
        while !left.is_zero() {
            let part = left.min(Duration::from_secs(3));
            self.clock.manual.advance(part);
            left -= part;
            self.until("the gate is ours", || {
                let soon = self.clock.now() + Duration::from_secs(6);
                self.line.ownership.is_live(soon)
            })
            .await;
        }
    }

    /// Time passes at once, for stories of days. Ownership runs out meanwhile and is taken again.
    pub(crate) async fn skip(&self, by: Duration) {
        self.clock.manual.advance(by);
        self.until("the gate is ours again", || {
            self.line.ownership.is_live(self.clock.now() + Duration::from_secs(6))
        })
        .await;
    }

    /// Time passes while this process gets no turn: whatever it held has run out when it wakes up.
    pub(crate) async fn freeze(&self) {
        self.stop_keeping.cancel();
        self.until("nothing is renewed", || self.keeper.is_finished()).await;
        self.clock.manual.advance(Duration::from_mins(1));
    }

    /// Lets time pass while `work` waits for the gate. For a story with one call at a time: when its
    /// only sender waits, nothing is on its way, so no call arrives at another time than it left.
    pub(crate) async fn while_time_passes<T>(&self, work: impl Future<Output = T>) -> T {
        let time = async {
            for turn in 0_u32.. {
                if let Some(wait) = self.clock.next_wait() {
                    self.advance(wait).await;
                }
                breathe(turn).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = time => unreachable!("time never ends"),
        }
    }

    /// Gives the machine turns until `reached`.
    pub(crate) async fn until(&self, what: &str, reached: impl Fn() -> bool) {
        for turn in 0..TURNS_MAX {
            if reached() {
                return;
            }
            breathe(turn).await;
        }
        panic!("never happened: {what}");
    }

    // --- the source's side ---

    /// The folder of the configuration, where relative paths begin.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn put(&self, paper: &Paper) {
        self.province.put_raw(paper.xml()).expect("a dossier");
    }

    // --- verbs ---

    pub(crate) async fn pull(&self) -> Result<PullReport, Failure> {
        self.pull_from(0).await
    }

    pub(crate) async fn pull_from(&self, source: usize) -> Result<PullReport, Failure> {
        match pull_once(&self.context, &self.sources[source], &self.stop).await {
            Ok(report) => Ok(report),
            Err(VerbError::Source { failure, .. }) => Err(failure),
            Err(error @ VerbError::UnderWay { .. }) => {
                Err(Failure::new("reconcile.under_way", Disposition::Retryable, error.to_string()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Maps everything that waits.
    pub(crate) async fn map(&self) -> MapReport {
        let mut total = MapReport::default();
        loop {
            let report = map_once(&self.context, &self.mapping).await.expect("a map pass");
            if report.mapped == 0 {
                return total;
            }
            total.mapped += report.mapped;
            total.counts.ready += report.counts.ready;
            total.counts.unchanged += report.counts.unchanged;
            total.counts.quarantined += report.counts.quarantined;
            total.counts.not_ours += report.counts.not_ours;
            total.counts.superseded += report.counts.superseded;
            total.counts.steps_new += report.counts.steps_new;
        }
    }

    pub(crate) async fn pull_and_map(&self) -> MapReport {
        self.pull().await.expect("a page");
        self.map().await
    }

    pub(crate) async fn push(&self) -> PushReport {
        push_once(&self.context, &self.line, &self.stop).await.expect("a push pass")
    }

    pub(crate) async fn read_back(&self) -> ReadBackReport {
        read_back_once(&self.context, &self.line, &self.stop).await.expect("a read-back pass")
    }

    pub(crate) async fn reconcile(&self) -> Books {
        reconcile_once(&self.context, &self.sources[0], Some(&self.line), &self.stop)
            .await
            .expect("books")
    }

    pub(crate) async fn refresh_catalogue(&self) -> CatalogueReport {
        refresh_catalogue_once(&self.context, &self.line, Priority::Audit, &self.stop)
            .await
            .expect("a catalogue pass")
    }

    /// [`Self::reconcile`], from a source that may fail.
    pub(crate) async fn try_reconcile(&self) -> Result<Books, Failure> {
        let line = &self.sources[0];
        match reconcile_once(&self.context, line, Some(&self.line), &self.stop).await {
            Ok(books) => Ok(books),
            Err(VerbError::Source { failure, .. }) => Err(failure),
            Err(error @ VerbError::UnderWay { .. }) => {
                let code = "reconcile.under_way";
                Err(Failure::new(code, Disposition::Retryable, error.to_string()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn upkeep(&self) -> UpkeepCounts {
        upkeep_once(&self.context).await.expect("an upkeep pass")
    }

    /// Runs all verbs, and lets time pass between rounds, until nothing is on its way.
    pub(crate) async fn settle(&self) {
        for _ in 0..ROUNDS_MAX {
            self.upkeep().await;
            let mut read = true;
            for source in 0..self.sources.len() {
                // A source that fails is asked again in the next round.
                read &= self.pull_from(source).await.is_ok_and(|report| report.caught_up);
            }
            self.map().await;
            self.push().await;
            self.read_back().await;
            if read && self.is_quiet().await {
                return;
            }
            self.advance(ROUND).await;
        }
        panic!("never settled: {:#?}", self.standing().await);
    }

    // --- what is so ---

    pub(crate) async fn standing(&self) -> Standing {
        self.context.ledger.standing(self.context.clock.now()).await.expect("a standing")
    }

    /// Nothing is on its way. Steps behind a dead packet wait for the same person as the packet.
    async fn is_quiet(&self) -> bool {
        is_quiet(&self.standing().await)
    }

    pub(crate) async fn count(&self, state: EntryState) -> u64 {
        let standing = self.standing().await;
        standing.dossiers.get(&state).copied().unwrap_or(0)
    }

    pub(crate) async fn dossier(&self, code: &str) -> DossierView {
        let mut views = self.context.ledger.dossier(code).await.expect("a view");
        assert_eq!(views.len(), 1, "{code}");
        views.remove(0)
    }

    /// The dossier's entry of this revision, counted from 1.
    pub(crate) async fn entry(&self, code: &str, number: usize) -> EntryView {
        self.dossier(code).await.entries.swap_remove(number - 1)
    }

    pub(crate) async fn states(&self, code: &str) -> Vec<EntryState> {
        let dossier = self.dossier(code).await;
        dossier.entries.iter().map(|entry| entry.state).collect()
    }

    pub(crate) async fn step_states(&self, code: &str) -> Vec<String> {
        let dossier = self.dossier(code).await;
        dossier.steps.into_iter().map(|step| step.state).collect()
    }

    /// What the portal must hold against what it holds.
    pub(crate) fn comparison(&self) -> Comparison {
        compare(&self.province.expected(), &self.portal.records())
    }

    /// The portal holds exactly what the province expects, each step once.
    pub(crate) fn assert_delivered(&self) {
        let comparison = self.comparison();
        assert!(comparison.is_clean(), "{comparison:#?}");
        assert!(comparison.matched > 0, "nothing was expected");
    }

    /// Calls of one service that reached the portal, oldest first.
    pub(crate) fn calls(&self, service: Service) -> Vec<CallEntry> {
        let mut calls = self.portal.calls(None);
        calls.retain(|call| call.service == service);
        calls
    }

    pub(crate) fn outcomes(&self, service: Service) -> Vec<Outcome> {
        let calls = self.calls(service);
        calls.into_iter().map(|call| call.outcome).collect()
    }
}

/// A document that the province gives in place of every page.
pub(crate) fn raw_page(body: &str) -> RawAnswer {
    RawAnswer {
        on: Question::Changes,
        times: None,
        content_type: "application/xml; charset=utf-8".to_owned(),
        bytes: body.to_owned().into(),
    }
}

/// Lets others work: at once at first, then with a short rest of the real machine.
pub(crate) async fn breathe(turn: u32) {
    if turn % 64 == 63 {
        let rest = Duration::from_micros(200);
        tokio::task::spawn_blocking(move || std::thread::sleep(rest)).await.expect("a rest");
    } else {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn is_quiet(standing: &Standing) -> bool {
    let open: u64 = standing
        .dossiers
        .iter()
        .filter(|(state, _)| state.is_open())
        .map(|(_, count)| *count)
        .sum();
    let owed: u64 =
        ["pending", "leased"].iter().filter_map(|state| standing.steps.get(*state)).sum();
    open + owed == 0
}

async fn open(
    config: &Config,
    context: &Context,
    clock: &StoryClock,
    stop: &Stop,
) -> (PortalLine, tokio::task::JoinHandle<()>) {
    let ownership = Ownership::take(context, GATE, "a story")
        .await
        .expect("a ledger")
        .expect("nobody else owns the gate");
    let ownership = Arc::new(ownership);
    // Renewing must not count as somebody's wait.
    let keeping = Context { clock: Arc::new(clock.manual.clone()), ..context.clone() };
    let (kept, ended) = (Arc::clone(&ownership), stop.clone());
    let keeper = tokio::spawn(async move { kept.keep(&keeping, &ended).await });
    let line = build::open_portal(config, context).expect("a portal")(ownership)
        .await
        .expect("an open gate");
    (line, keeper)
}
