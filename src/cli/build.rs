//! The one place that wires real parts together, read from top to bottom.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::failure::{Exit, Failure};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigErrors, SourceAuth, SourceConfig, Synchronous, UnknownStep};
use crate::daemon::{OpenPortal, Schedule};
use crate::domain::discrepancy::Bucket;
use crate::domain::retry::RetryPolicy;
use crate::http::{Http, ReqwestHttp};
use crate::ids::Chance;
use crate::ledger::Ledger;
use crate::ledger::sqlite::{SqliteLedger, SqliteSettings};
use crate::mapping::{self, Mapping};
use crate::pipeline::orders::heed_orders;
use crate::pipeline::ownership::Ownership;
use crate::pipeline::quota::LedgerQuota;
use crate::pipeline::{Context, PortalLine, Settings, SourceLine};
use crate::portal::gate::{BreakerSettings, Gate, GateSettings, Window};
use crate::portal::{AnswerPatterns, Portal, PortalSettings};
use crate::source::{Auth, Feed, FeedSettings};
use crate::xml;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Revisions mapped in one pass: a transaction of some tens of milliseconds.
const MAP_LIMIT: u32 = 512;
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
    }
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
    let settings = SqliteSettings {
        durable: config.ledger.synchronous == Synchronous::Full,
        busy_timeout_ms: config.ledger.busy_timeout_ms,
        migrate,
        check_pages,
    };
    Ok(Arc::new(SqliteLedger::open(path, &settings).await?))
}

/// A ledger that is there: these commands must not create one where somebody mistyped a path, nor
/// migrate one under the feet of the service.
pub async fn existing_ledger(config: &Config) -> Result<Arc<dyn Ledger>, Failure> {
    ledger_exists(config)?;
    open_ledger(config, false, false).await
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
    mapping.map(Arc::new).map_err(|errors| {
        Failure::new(Exit::Files, errors.to_string())
            .hint("nothing was mapped with this file; `hoso mapping check` reads it again")
    })
}

pub fn mapping_settings(config: &Config) -> mapping::Settings {
    mapping::Settings {
        province_codes: config.province.codes.clone(),
        tax_identity_type: config.mapping.tax_identity_type.clone(),
        passport_identity_type: config.mapping.passport_identity_type.clone(),
    }
}

pub fn sources(config: &Config) -> Result<Vec<SourceLine>, Failure> {
    config
        .sources
        .iter()
        .map(|source| {
            let http = http(config)?;
            Ok(SourceLine {
                source: Arc::new(Feed::new(feed_settings(source), http)),
                page_limit: source.page_limit,
                overlap_ms: source.overlap_ms,
                settle_lag_ms: source.settle_lag_ms,
            })
        })
        .collect()
}

fn feed_settings(source: &SourceConfig) -> FeedSettings {
    // Unwrap safety: `Config::ready_to_run` refuses a source whose secret is not to be had.
    let secret = |secret: &crate::config::Secret| secret.get().cloned().unwrap_or_default();
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

/// Opens the portal for the gate's owner; the quota goes on where the last owner left it.
pub fn open_portal(config: &Config, context: &Context) -> Result<OpenPortal, Failure> {
    let answers = match &config.portal.answers_file {
        Some(path) => AnswerPatterns::load(path)
            .map_err(|error| Failure::new(Exit::Files, error.to_string()))?,
        None => AnswerPatterns::builtin(),
    };
    let http = http(config)?;
    let portal_settings = PortalSettings {
        base_url: config.portal.base_url.clone().unwrap_or_default(),
        auth_path: config.portal.auth_path.clone(),
        integration_path: config.portal.integration_path.clone(),
        share_path: config.portal.share_path.clone(),
        dstcode: config.portal.dstcode.clone(),
        madonvi: config.province.madonvi.clone(),
        username: config.portal.username.clone().unwrap_or_default(),
        password: config.portal.password.get().cloned().unwrap_or_default(),
        timeout_ms: config.portal.timeout_ms,
        session_max_age_ms: config.portal.session_max_age_ms,
        answer_bytes_max: config.portal.answer_bytes_max,
    };
    let gate_settings = gate_settings(config);
    let context = context.clone();
    Ok(Box::new(move |ownership: Arc<Ownership>| {
        let (context, http) = (context.clone(), Arc::clone(&http));
        let (portal_settings, gate_settings) = (portal_settings.clone(), gate_settings.clone());
        let answers = answers.clone();
        Box::pin(async move {
            let clock: Arc<dyn Clock> = Arc::clone(&context.clock);
            let memory = LedgerQuota::new(Arc::clone(&context.ledger), Arc::clone(&clock));
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

/// The gate's part of a configuration; also what [`Gate::reconfigure`] takes while it runs.
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
    Schedule {
        poll: config.sources.iter().map(|source| Duration::from_millis(source.poll_ms)).collect(),
        read_back: Duration::from_millis(config.reconcile.unconfirmed_every_ms),
        reconcile: Some(Duration::from_millis(config.reconcile.every_ms)),
        upkeep: Duration::from_millis(config.upkeep.every_ms),
    }
}

fn http(config: &Config) -> Result<Arc<dyn Http>, Failure> {
    let client = ReqwestHttp::new(CONNECT_TIMEOUT, config.portal.connections_max)
        .map_err(|error| Failure::new(Exit::Failed, format!("no HTTP client: {error}")))?;
    Ok(Arc::new(client))
}

fn settings(config: &Config) -> Settings {
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
        body_retention_ms: u64::from(config.ledger.body_retention_days) * DAY_MS,
        watchdog_ms: config.upkeep.watchdog_ms,
    }
}

/// Names this process in the ledger.
pub fn holder(verb: &str) -> String {
    format!("hoso {verb}, process {}", std::process::id())
}

/// Reads the configuration; `None` looks at the usual place.
pub fn config(path: Option<&Path>) -> Result<Config, Failure> {
    Ok(read_config(path)?)
}

/// [`config`] with its problems as they are.
pub fn read_config(path: Option<&Path>) -> Result<Config, ConfigErrors> {
    let usual = Path::new("/etc/hoso/hoso.toml");
    let path = path.or_else(|| usual.exists().then_some(usual));
    crate::config::load(path, &crate::config::SystemEnvironment)
}
