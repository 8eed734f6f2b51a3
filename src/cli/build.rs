//! The one place that wires real parts together, read from top to bottom.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::failure::{Exit, Failure};
use super::{certificates, way};
use crate::clock::{Clock, SystemClock};
use crate::config::{
    self, Config, ConfigErrors, Secret, SourceAuth, SourceConfig, SourceKind, Synchronous,
    UnknownStep,
};
use crate::daemon::{Daemon, LOOK, OpenPortal, Schedule};
use crate::domain::catalogue::CodePolicy;
use crate::domain::discrepancy::Bucket;
use crate::domain::retry::RetryPolicy;
use crate::http::Http;
use crate::ids::Chance;
use crate::ledger::Ledger;
use crate::ledger::key::BodyKey;
use crate::ledger::record::Retention;
use crate::ledger::sqlite::{SqliteLedger, SqliteSettings};
use crate::mapping::{self, Mapping, ProcedureTable};
use crate::pipeline::catalogue::known::CatalogueMemory;
use crate::pipeline::catalogue::{CatalogueSettings, CodePolicies};
use crate::pipeline::lifecycle::{self, Unusable};
use crate::pipeline::orders::heed_orders;
use crate::pipeline::ownership::Ownership;
use crate::pipeline::problems::SurgeSettings;
use crate::pipeline::pulse::{Beat, Pulse};
use crate::pipeline::quota::LedgerQuota;
use crate::pipeline::{Context, PortalLine, Settings, SourceLine};
use crate::portal::gate::{BreakerSettings, Gate, GateSettings, Window};
use crate::portal::{AnswerPatterns, Portal};
use crate::source::{Auth, Directory, DirectorySettings, Feed, FeedSettings};
use crate::xml;

/// Revisions mapped in one pass: a transaction of some ten milliseconds. A change that comes while a
/// million others are mapped waits for a pass, and everything else that is written waits for its end.
const MAP_LIMIT: u32 = 128;
/// Longer than any one step of a loop at the ledger takes, also on a slow and busy disk.
const LEDGER_PATIENCE: Duration = Duration::from_mins(2);
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Everything that all commands share: time, chance, ledger, numbers.
pub async fn context(config: &Config, migrate: bool) -> Result<Context, Failure> {
    Ok(with_ledger(config, open_ledger(config, migrate, true).await?))
}

fn with_ledger(config: &Config, ledger: Arc<dyn Ledger>) -> Context {
    Context {
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(Chance::from_system()),
        ledger,
        settings: Arc::new(settings(config)),
        catalogues: Arc::new(CatalogueMemory::default()),
        beat: Beat::default(),
    }
}

/// The same time, chance and ledger, with the numbers of another configuration.
pub fn next_context(config: &Config, context: &Context) -> Context {
    Context { settings: Arc::new(settings(config)), ..context.clone() }
}

/// Reading every page of a large ledger takes a while: the service does it when it starts, a person
/// who asks for the status should not wait for it.
async fn open_ledger(
    config: &Config,
    migrate: bool,
    check_pages: bool,
) -> Result<Arc<dyn Ledger>, Failure> {
    let path = &config.ledger.path;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        && !folder.is_dir()
    {
        return Err(Failure::new(
            Exit::Ledger,
            format!("the ledger's folder {} does not exist", folder.display()),
        )
        .code("ledger.unavailable")
        .hint("create it for the service's user, or name another file in `ledger.path`"));
    }
    let settings = ledger_settings(config, migrate)?;
    let check_up_to = settings.check_up_to.filter(|_| check_pages);
    let settings = SqliteSettings { migrate, check_up_to, ..settings };
    Ok(Arc::new(SqliteLedger::open(path, &settings).await?))
}

/// How the configuration wants the ledger's file opened. Who may migrate it may also put a new key
/// to use.
pub fn ledger_settings(config: &Config, adopt_key: bool) -> Result<SqliteSettings, Failure> {
    Ok(SqliteSettings {
        durable: config.ledger.synchronous == Synchronous::Full,
        busy_timeout_ms: config.ledger.busy_timeout_ms,
        key: body_key("ledger.key_file", &config.ledger.key)?,
        old_key: body_key("ledger.old_key_file", &config.ledger.old_key)?,
        adopt_key_at: adopt_key.then(|| SystemClock::new().now()),
        size_budget: Some(config.ledger.size_budget_bytes).filter(|bytes| *bytes > 0),
        ..SqliteSettings::default()
    })
}

/// A key that is named and cannot be had is refused: to go on without one would write bodies that
/// everybody can read.
fn body_key(option: &str, secret: &Secret) -> Result<Option<BodyKey>, Failure> {
    let refuse = |why: String| {
        Failure::new(Exit::Files, format!("{option}: {why}")).hint(
            "`hoso ledger new-key FILE` makes a key; the ledger's own key must come back as it was",
        )
    };
    match secret {
        Secret::Unset => Ok(None),
        Secret::Unreadable { why } => Err(refuse(why.clone())),
        Secret::Known { value, origin } => match BodyKey::from_text(value.expose_secret()) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(refuse(format!("{origin} holds no key: {error}"))),
        },
    }
}

/// The ledger as a file, for commands that copy, check or rewrite it.
pub async fn ledger_file(config: &Config, adopt_key: bool) -> Result<SqliteLedger, Failure> {
    ledger_exists(config)?;
    let settings =
        SqliteSettings { migrate: false, check_up_to: None, ..ledger_settings(config, adopt_key)? };
    Ok(SqliteLedger::open(&config.ledger.path, &settings).await?)
}

/// A ledger that is there: these commands must not create one where somebody mistyped a path, nor
/// migrate one under the feet of the service.
pub async fn existing_ledger(config: &Config) -> Result<Arc<dyn Ledger>, Failure> {
    ledger_exists(config)?;
    open_ledger(config, false, false).await
}

/// [`existing_ledger`], after a look at its pages.
pub async fn checked_ledger(config: &Config) -> Result<Arc<dyn Ledger>, Failure> {
    ledger_exists(config)?;
    open_ledger(config, false, true).await
}

/// [`context`] on a ledger that is there.
pub async fn existing_context(config: &Config) -> Result<Context, Failure> {
    Ok(with_ledger(config, existing_ledger(config).await?))
}

pub fn ledger_exists(config: &Config) -> Result<(), Failure> {
    let path = &config.ledger.path;
    if path.exists() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Ledger,
        format!("there is no ledger at {}", path.display()),
    )
    .code("ledger.unavailable")
    .hint("name the configuration that the service uses with `--config FILE`; `hoso serve` creates a new ledger"))
}

pub fn mapping(config: &Config) -> Result<Arc<Mapping>, Failure> {
    let settings = mapping_settings(config);
    let mapping = match &config.mapping.dir {
        Some(dir) => Mapping::load(dir, &settings),
        None => Mapping::builtin(&settings),
    };
    mapping.and_then(|mapping| Ok(Arc::new(mapping.with_procedures(procedures(config)?)))).map_err(
        |errors| {
            Failure::new(Exit::Files, errors.to_string())
                .hint("nothing was mapped with this file; `hoso mapping check` reads it again")
        },
    )
}

/// The mapping in force with its number: the one that was applied last, or (0) the configuration's.
pub async fn mapping_in_force(
    config: &Config,
    ledger: &dyn Ledger,
) -> Result<(i64, Arc<Mapping>), Failure> {
    let found = lifecycle::in_force(ledger, &mapping_settings(config)).await;
    match found.map_err(unusable_mapping)? {
        Some((number, mapping)) => Ok((number, Arc::new(mapping))),
        None => Ok((0, mapping(config)?)),
    }
}

pub fn unusable_mapping(unusable: Unusable) -> Failure {
    match unusable {
        Unusable::Ledger(error) => error.into(),
        other => Failure::new(Exit::Files, other.to_string())
            .code("mapping.unusable")
            .hint("put one in force that this program takes: hoso mapping apply DIR --reason TEXT"),
    }
}

/// The table of procedures that the configuration names.
pub fn procedures(config: &Config) -> Result<ProcedureTable, mapping::FileErrors> {
    match &config.mapping.procedures_file {
        Some(path) => ProcedureTable::load(path),
        None => ProcedureTable::builtin(),
    }
}

/// Everything that the configuration names beside itself (mapping, answers, certificates), read and
/// checked as the service does; every reason against it.
pub fn named(config: &Config) -> Result<(), Vec<Failure>> {
    let certificates = certificates::check(config).err().map(Failure::from);
    let found = [mapping(config).err(), answers(config).err(), certificates];
    let failures: Vec<Failure> = found
        .into_iter()
        .flatten()
        .map(|failure| match failure.code {
            Some(_) => failure,
            None => failure.code("config.unusable_file"),
        })
        .collect();
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// A generation of loops.
pub fn daemon(
    config: &Config,
    context: &Context,
    pulse: &Pulse,
    holder: &str,
    mapping: Arc<Mapping>,
) -> Result<Daemon, Failure> {
    Ok(Daemon {
        open_portal: open_portal(config, context)?,
        context: context.clone(),
        sources: sources(config, &context.clock)?,
        mapping,
        schedule: schedule(config),
        holder: holder.to_owned(),
        config_hash: config.hash(),
        pulse: pulse.clone(),
    })
}

pub fn mapping_settings(config: &Config) -> mapping::Settings {
    mapping::Settings {
        province_codes: config.province.codes.clone(),
        tax_identity_type: config.mapping.tax_identity_type.clone(),
        passport_identity_type: config.mapping.passport_identity_type.clone(),
        succession_file: config.mapping.succession_file.clone(),
    }
}

pub fn sources(config: &Config, clock: &Arc<dyn Clock>) -> Result<Vec<SourceLine>, Failure> {
    sources_over(config, clock, |at, source| {
        Ok(certificates::client(config, &source.tls(&format!("sources[{at}]")))?)
    })
}

/// The sources, each over the network that `http` gives it.
pub fn sources_over(
    config: &Config,
    clock: &Arc<dyn Clock>,
    http: impl Fn(usize, &SourceConfig) -> Result<Arc<dyn Http>, Failure>,
) -> Result<Vec<SourceLine>, Failure> {
    config
        .sources
        .iter()
        .enumerate()
        .map(|(at, source)| {
            Ok(match source.kind {
                SourceKind::Feed => SourceLine {
                    source: Arc::new(Feed::new(feed_settings(source), http(at, source)?)),
                    page_limit: source.page_limit,
                    overlap_ms: source.overlap_ms,
                    settle_lag_ms: source.settle_lag_ms,
                    start_from: source.start_from,
                },
                SourceKind::Directory => SourceLine {
                    source: Arc::new(directory(source, clock)),
                    page_limit: source.page_limit,
                    // A file is a page of its own; the position before it is the last one.
                    overlap_ms: 0,
                    settle_lag_ms: 0,
                    start_from: source.start_from,
                },
            })
        })
        .collect()
}

fn feed_settings(source: &SourceConfig) -> FeedSettings {
    FeedSettings {
        name: source.name.clone(),
        base_url: source.base_url.clone(),
        auth: match source.auth {
            SourceAuth::None => Auth::None,
            SourceAuth::Bearer => Auth::Bearer(secret(&source.token)),
            SourceAuth::Basic => Auth::Basic {
                user: source.user.clone().unwrap_or_default(),
                password: secret(&source.password),
            },
        },
        timeout_ms: source.timeout_ms,
        page_bytes_max: source.page_bytes_max,
        item_bytes_max: source.item_bytes_max,
        limits: xml::Limits { depth_max: source.depth_max, ..xml::Limits::default() },
        volatile_query_keys: source.volatile_query_keys.clone(),
    }
}

fn answers(config: &Config) -> Result<AnswerPatterns, Failure> {
    match &config.portal.answers_file {
        Some(path) => {
            AnswerPatterns::load(path).map_err(|error| Failure::new(Exit::Files, error.to_string()))
        }
        None => Ok(AnswerPatterns::builtin()),
    }
}

pub(super) fn directory(source: &SourceConfig, clock: &Arc<dyn Clock>) -> Directory {
    let settings = DirectorySettings {
        name: source.name.clone(),
        path: source.path.clone().unwrap_or_default(),
        settle_ms: source.settle_ms,
        unfinished_ms: source.unfinished_ms,
        file_bytes_max: source.page_bytes_max,
        item_bytes_max: source.item_bytes_max,
        limits: xml::Limits { depth_max: source.depth_max, ..xml::Limits::default() },
        volatile_query_keys: source.volatile_query_keys.clone(),
    };
    Directory::new(settings, Arc::clone(clock))
}

/// `Config::ready_to_run` refuses a configuration in which a secret that is used is not to be had.
pub(super) fn secret(secret: &config::Secret) -> SecretString {
    secret.get().cloned().unwrap_or_default()
}

/// Opens the portal for the gate's owner; the quota goes on where the last owner left it.
pub fn open_portal(config: &Config, context: &Context) -> Result<OpenPortal, Failure> {
    open_portal_over(config, context, certificates::client(config, &config.portal.tls())?)
}

/// [`open_portal`], over this network.
pub fn open_portal_over(
    config: &Config,
    context: &Context,
    http: Arc<dyn Http>,
) -> Result<OpenPortal, Failure> {
    let answers = answers(config)?;
    let portal_settings = way::portal_settings(config);
    let gate_settings = gate_settings(config);
    let context = context.clone();
    Ok(Box::new(move |ownership: Arc<Ownership>| {
        let (context, http) = (context.clone(), Arc::clone(&http));
        let (portal_settings, gate_settings) = (portal_settings.clone(), gate_settings.clone());
        let answers = answers.clone();
        Box::pin(async move {
            let clock: Arc<dyn Clock> = Arc::clone(&context.clock);
            let memory = LedgerQuota::new(
                Arc::clone(&context.ledger),
                Arc::clone(&clock),
                gate_settings.windows.clone(),
                gate_settings.headroom,
            );
            let memory =
                if ownership.opens_another_gate() { memory.after_settling() } else { memory };
            let chance = Arc::clone(&context.chance);
            let gate =
                Gate::open(gate_settings, Arc::clone(&clock), chance, Arc::new(memory)).await?;
            let gate = Arc::new(gate);
            let portal = Portal::new(portal_settings, http, clock, Arc::clone(&gate), answers);
            let line = PortalLine::new(portal, gate, ownership);
            heed_orders(&context, &line).await?;
            Ok(line)
        })
    }))
}

/// The gate's part of a configuration.
pub fn gate_settings(config: &Config) -> GateSettings {
    GateSettings {
        windows: config
            .gate
            .windows
            .iter()
            .map(|window| match window.burst {
                0 => Window::catching_up(window.limit, window.window_ms),
                burst => Window { limit: window.limit, window_ms: window.window_ms, burst },
            })
            .collect(),
        headroom: config.gate.headroom,
        shares: config.gate.shares,
        breaker: BreakerSettings {
            failures: config.gate.breaker_failures,
            cool_down_ms: config.gate.breaker_cool_down_ms,
            cool_down_max_ms: config.gate.breaker_cool_down_max_ms,
            environment_retry_ms: config.gate.environment_retry_ms,
            ..BreakerSettings::default()
        },
    }
}

pub fn schedule(config: &Config) -> Schedule {
    let call = Duration::from_millis(config.push.lease_ms + config.portal.timeout_ms);
    let pace = config
        .gate
        .windows
        .iter()
        .map(|window| Duration::from_millis(window.window_ms / u64::from(window.limit.max(1))))
        .max()
        .unwrap_or_default();
    let slowest_source = config.sources.iter().map(|source| source.timeout_ms).max().unwrap_or(0);
    Schedule {
        ledger_patience: LEDGER_PATIENCE,
        source_patience: LEDGER_PATIENCE + Duration::from_millis(slowest_source),
        // A call waits for its turn at the gate before it leaves, twice with a log-in.
        portal_patience: LEDGER_PATIENCE
            + call
            + pace.saturating_mul(4)
            + Duration::from_millis(slowest_source),
        poll: config.sources.iter().map(|source| Duration::from_millis(source.poll_ms)).collect(),
        read_back: Duration::from_millis(config.reconcile.unconfirmed_every_ms),
        reconcile: Some(Duration::from_millis(config.reconcile.every_ms)),
        upkeep: Duration::from_millis(config.upkeep.every_ms),
        look: LOOK,
    }
}

/// Numbers and policies of the verbs.
pub fn settings(config: &Config) -> Settings {
    let push = &config.push;
    Settings {
        retry: RetryPolicy {
            initial_ms: config.retry.initial_ms,
            multiplier: config.retry.multiplier,
            max_ms: config.retry.max_ms,
            attempts_max: config.retry.attempts_max,
            jitter: config.retry.jitter,
        },
        concurrency: push.concurrency as usize,
        claim_limit: push.claim_limit,
        dossiers_per_call: push.dossiers_per_call,
        steps_per_call: push.steps_per_call,
        dossiers_per_steps_call: push.dossiers_per_steps_call,
        resend_unknown_supplement: push.steps_on_unknown_status_5 == UnknownStep::Resend,
        lease_ms: push.lease_ms,
        call_timeout_ms: config.portal.timeout_ms,
        deadline_near_ms: push.deadline_near_ms,
        map_limit: MAP_LIMIT,
        reconcile_settle_ms: config.reconcile.settle_ms,
        look_ups_max: config.reconcile.look_ups_max,
        job_window: u64::from(config.resync.window),
        repair: config
            .reconcile
            .repair
            .iter()
            .filter_map(|name| match name.as_str() {
                "missing" => Some(Bucket::Missing),
                "different" => Some(Bucket::Different),
                _ => None,
            })
            .collect(),
        from_days: config.reconcile.from_days,
        rolling_every: (config.reconcile.rolling_every_ms > 0)
            .then(|| Duration::from_millis(config.reconcile.rolling_every_ms)),
        rolling_page: config.reconcile.rolling_page,
        retention: Retention {
            bodies_ms: u64::from(config.retention.bodies_days) * DAY_MS,
            attempts_ms: u64::from(config.retention.attempts_days) * DAY_MS,
            revisions_ms: u64::from(config.retention.revisions_days) * DAY_MS,
            audit_ms: u64::from(config.retention.audit_days) * DAY_MS,
            books_ms: u64::from(config.retention.books_days) * DAY_MS,
            rows_max: config.retention.rows_max,
        },
        watchdog_ms: config.upkeep.watchdog_ms,
        quota: config.gate.windows.iter().map(|window| (window.limit, window.window_ms)).collect(),
        wait_max_ms: longest_wait_ms(config),
        surges: SurgeSettings {
            least: config.problems.burst,
            within_ms: config.problems.burst_ms,
            hold_ms: config.problems.hold_ms,
        },
        catalogue: catalogue(&config.catalogue),
    }
}

fn catalogue(config: &config::Catalogue) -> CatalogueSettings {
    let policy = |policy| match policy {
        config::CodePolicy::Off => CodePolicy::Off,
        config::CodePolicy::Warn => CodePolicy::Warn,
        config::CodePolicy::Hold => CodePolicy::Hold,
    };
    CatalogueSettings {
        refresh_every_ms: (config.refresh_every_ms > 0).then_some(config.refresh_every_ms),
        details_max_age_ms: config.details_max_age_ms,
        details_per_pass: config.details_per_pass,
        calls_per_dossier: config.calls_per_dossier,
        shrink_share_min: config.shrink_share_min,
        versions_kept: config.versions_kept,
        policies: CodePolicies {
            procedures: policy(config.unknown_procedure),
            fields: policy(config.unknown_field),
            fees: policy(config.unknown_fee),
            results: policy(config.unknown_result),
        },
    }
}

/// A retry, its jitter included, or a pause of the gate: whatever is due later than this was written
/// by another clock.
fn longest_wait_ms(config: &Config) -> u64 {
    let retry = Duration::from_millis(config.retry.max_ms).mul_f64(1.0 + config.retry.jitter);
    let gate = config.gate.breaker_cool_down_max_ms.max(config.gate.environment_retry_ms);
    u64::try_from(retry.as_millis())
        .unwrap_or(u64::MAX)
        .max(gate)
        .max(config.push.lease_ms)
        .saturating_add(60_000)
}

/// Names this process in the ledger.
pub fn holder(verb: &str) -> String {
    format!("hoso {verb}, process {}", std::process::id())
}

/// Reads the configuration; `None` looks at the usual place.
pub fn config(path: Option<&Path>) -> Result<Config, Failure> {
    Ok(read_config(path)?)
}

/// [`config()`] with its problems as they are.
pub fn read_config(path: Option<&Path>) -> Result<Config, ConfigErrors> {
    let usual = Path::new("/etc/hoso/hoso.toml");
    let path = path.or_else(|| usual.exists().then_some(usual));
    let config = crate::config::load(path, &crate::config::SystemEnvironment)?;
    config.not_in_the_future(SystemClock::new().now())?;
    Ok(config)
}
