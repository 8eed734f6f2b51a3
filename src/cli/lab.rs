//! `hoso lab`: the simulated province and portal as servers of their own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;

use super::failure::{Exit, Failure};
use super::{Invocation, signals, soak};
use crate::clock::{Clock, SystemClock};
use crate::http::ReqwestHttp;
use crate::lab::certificates::{self, ServerTls};
use crate::lab::older_sync::OlderSyncOptions;
use crate::lab::portal::{Faults, PortalOptions, Profile, ReadBack};
use crate::lab::province::ProvinceOptions;
use crate::lab::{self, population::PopulationOptions};

/// Run a simulated province or portal, for rehearsals and tests
///
/// Both listen on loopback unless told otherwise, hold synthetic data only, and have a small control
/// interface in JSON, listed in the help of each.
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    Province(ProvinceArguments),
    Portal(PortalArguments),
    OlderSync(OlderSyncArguments),
    Soak(soak::Arguments),
}

/// Simulate the provincial system: change feed and index of synthetic dossiers
///
/// Control:
///   GET  /lab/state       counts, changes left, requests served
///   GET  /lab/expected    what the portal must end up with: code, digest, digests of steps
///   GET  /lab/packets     the same in the portal's own form: packet, steps
///   POST /lab/dossiers    {"evolve": "CODE"}, {"evolve-any": N}, {"reopen": "CODE"},
///                         {"withdraw": "CODE"}, {"recode": "CODE"}, {"delete": "CODE"},
///                         {"add": N}, or a raw HoSo element as text
///   POST /lab/misbehave   {"clear": true, "rules": [{"kind": "truncated-xml", "times": 1},
///                         {"kind": "mismatched-tag", "code": "CODE", "on": "dossier"}]}
///   POST /lab/answer?on=changes&times=1    the body is given in place of an answer
///
/// A rule spoils the change feed, or the index or the look-up of a dossier with "on". One with a
/// code spoils that dossier, others the first one. An order of an unknown kind is answered with the
/// list of kinds; among them are unsorted-items, late-commit, stuck-cursor, endless-more,
/// truncated-xml, mismatched-tag, html-page and duplicate-in-page.
///
/// Example: hoso lab province --listen 127.0.0.1:8081 --dossiers 1000
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ProvinceArguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Dossiers in the population
    #[arg(long, default_value_t = 1000)]
    dossiers: u32,
    /// The same seed draws the same population
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Share of deliberately invalid dossiers
    #[arg(long, default_value_t = 0.02)]
    invalid_share: f64,
    /// Never pack answers, for measuring without the packing
    #[arg(long)]
    no_gzip: bool,
    /// Also write the same as files into this folder, and what changes every second (for a source
    /// of kind "directory")
    #[arg(long, value_name = "DIR")]
    drop: Option<PathBuf>,
    /// Changes of dossiers made each second
    #[arg(long, default_value_t = 0.0)]
    changes_per_second: f64,
    #[command(flatten)]
    tls: TlsArguments,
}

#[derive(Debug, clap::Args)]
struct TlsArguments {
    /// Serve HTTPS; a fresh authority, and a client certificate with its key, are written into this
    /// folder as ca.pem, client.pem and client-key.pem
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
    /// Let only that client certificate in
    #[arg(long, requires = "tls")]
    client_certificates: bool,
}

impl TlsArguments {
    fn server(&self) -> Result<Option<ServerTls>, Failure> {
        let Some(folder) = &self.tls else { return Ok(None) };
        certificates::write(folder, self.client_certificates).map(Some).map_err(|error| {
            Failure::new(Exit::Failed, format!("{}: {error}", folder.display()))
                .hint("name a folder that can be written")
        })
    }
}

/// How callers come to the simulated portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Way {
    Adapter,
    Wrapper,
    Bearer,
}

impl Way {
    pub(super) fn profile(self) -> Profile {
        match self {
            Self::Adapter => Profile::Adapter,
            Self::Wrapper => Profile::Wrapper,
            Self::Bearer => Profile::Bearer,
        }
    }
}

/// Simulate the national portal: strict checks, sessions, quota windows, faults on request
///
/// The account is tinh-thu-nghiem with the password mat-khau-thu-nghiem. --profile bearer gives tokens
/// at /token to hoso-thu-nghiem with the secret bi-mat-thu-nghiem and takes calls below /ngsp/DVCQG;
/// --profile wrapper takes them below /api/SynsTTHCC (flags in the query) and below
/// /KetNoiMotCuaQuocGia (an address for each operation, CapNhatHoSoMC for updates).
///
/// Control:
///   GET  /lab/state            calls, refusals, overshoots, records, steps
///   GET  /lab/records[/CODE]   what the portal holds
///   GET  /lab/calls?code=CODE  the calls about a dossier, as they arrived
///   POST /lab/faults           {"clear": true, "preset": "some", "rates": [...], "next": [...],
///                              "refuse": [{"code": "CODE", "message": "..."}], "accept": ["CODE", ...]}
///   POST /lab/change           {"code": "CODE", "fields": {"TrangThaiHoSo": "9"}}
///   POST /lab/forget           {"codes": ["CODE", ...]}
///   POST /lab/quota            {"windows": [{"limit": 50, "window_ms": 1000,
///                              "kind": "sliding-attempts"}], "retry_after": true}
///   POST /lab/catalogue        {"list": "procedures", "put": [{"code": "CODE", "name": "..."}],
///                              "remove": ["CODE", ...], "details": {"CODE": {"fees": [...]}}}
///
/// Kinds of faults: delay, drop-request, apply-then-drop, apply-later, too-many-requests, status,
/// html, soap-fault, empty-body, plain-text, code-as-string, double-encoded, session-expired,
/// token-expired, forget, slow-body, reset-mid-body, cut-list. Kinds of windows:
/// sliding-attempts, sliding-accepted, calendar, token-bucket.
///
/// Example: hoso lab portal --listen 127.0.0.1:8082 --faults some
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct PortalArguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8082")]
    listen: SocketAddr,
    /// The way in: the adapter's addresses, a wrapper's, or a platform's with tokens
    #[arg(long, value_enum, default_value = "adapter")]
    profile: Way,
    /// Faults to begin with: none, some or many
    #[arg(long, default_value = "none")]
    faults: String,
    /// Seed of the faults
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Look-ups echo fields of the record instead of its existence only
    #[arg(long)]
    echo: bool,
    /// Keep no journal of calls, for long or fast runs
    #[arg(long)]
    no_journal: bool,
    /// Minutes after which a session ends
    #[arg(long, default_value_t = 10)]
    session_minutes: u64,
    /// Seconds after which a token ends
    #[arg(long, default_value_t = 300)]
    token_seconds: u64,
    /// Behind the platform, the portal's own log-in is needed too, at /ngsp/DVCQG/login
    #[arg(long)]
    platform_login: bool,
    #[command(flatten)]
    tls: TlsArguments,
}

/// Fill a simulated portal as an older program would have done, once, with mistakes
///
/// Reads what the simulated province has now, sends most of it by ordinary calls, and prints the
/// `start_from` with which a gateway takes over. What it left out or sent with an older text is
/// listed with --json.
///
/// Example: hoso lab older-sync --left-out 0.05 --stale 0.05
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct OlderSyncArguments {
    /// Base address of the simulated province
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    province: String,
    /// Base address of the simulated portal
    #[arg(long, default_value = "http://127.0.0.1:8082")]
    portal: String,
    /// Share of dossiers that are never sent
    #[arg(long, default_value_t = 0.05)]
    left_out: f64,
    /// Share of dossiers that are sent with an older text
    #[arg(long, default_value_t = 0.0)]
    stale: f64,
    /// The same seed makes the same mistakes
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

async fn older_sync(
    invocation: &Invocation,
    arguments: OlderSyncArguments,
    clock: &SystemClock,
) -> Result<(), Failure> {
    let account = PortalOptions::default();
    let options = OlderSyncOptions {
        province: arguments.province,
        portal: arguments.portal,
        username: account.username,
        password: account.password,
        dstcode: account.dstcode.unwrap_or_default(),
        left_out: arguments.left_out,
        stale: arguments.stale,
        seed: arguments.seed,
    };
    let failed = |why: String| {
        Failure::new(Exit::Failed, format!("the older program stopped: {why}"))
            .hint("it needs `hoso lab province` and a `hoso lab portal` that holds nothing yet")
    };
    let http =
        ReqwestHttp::new(Duration::from_secs(10), 4).map_err(|error| failed(error.to_string()))?;
    let report = lab::older_sync::run(&options, &http, clock).await.map_err(failed)?;
    invocation.output.result(&report, |report| {
        format!(
            "{} dossiers and {} steps sent, {} left out, {} with an older text\nstart_from = \"{}\"",
            report.sent.len(),
            report.steps,
            report.left_out.len(),
            report.stale.len(),
            report.until
        )
    });
    Ok(())
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    let mut requests = signals::stop_requests()?;
    let clock = Arc::new(SystemClock::new());
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("the laboratory cannot run: {error}"))
            .hint("is another program listening on that address? choose one with --listen")
    };
    match which {
        Which::Province(arguments) => {
            let options = ProvinceOptions {
                listen: arguments.listen,
                tls: arguments.tls.server()?,
                population: PopulationOptions {
                    seed: arguments.seed,
                    dossiers: arguments.dossiers,
                    invalid_share: arguments.invalid_share,
                    ..PopulationOptions::default()
                },
                gzip: !arguments.no_gzip,
                changes_total: if arguments.changes_per_second > 0.0 { u64::MAX } else { 0 },
                changes_per_second: arguments.changes_per_second,
                ..ProvinceOptions::default()
            };
            let province = lab::province::start(options, Arc::<SystemClock>::clone(&clock))
                .await
                .map_err(failed)?;
            invocation.output.data(&format!("listening on {}", province.url()));
            let dropping = async {
                let Some(folder) = &arguments.drop else {
                    return std::future::pending().await;
                };
                loop {
                    if let Err(error) = province.drop_files(folder).await {
                        break error;
                    }
                    clock.sleep(Duration::from_secs(1)).await;
                }
            };
            let broken = tokio::select! {
                _ = requests.recv() => None,
                error = dropping => Some(error),
            };
            province.shutdown().await.map_err(failed)?;
            broken.map_or(Ok(()), |error| {
                let message = format!("the files cannot be dropped: {error}");
                Err(Failure::new(Exit::Failed, message).hint("name a folder that can be written"))
            })
        }
        Which::OlderSync(arguments) => older_sync(invocation, arguments, &clock).await,
        // A whole program: on the heap, or every other laboratory would carry room for it.
        Which::Soak(arguments) => Box::pin(soak::run(invocation, arguments, requests)).await,
        Which::Portal(arguments) => {
            let Some(faults) = Faults::preset(&arguments.faults) else {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("--faults {}: no such preset", arguments.faults),
                )
                .hint("use none, some or many"));
            };
            let options = PortalOptions {
                listen: arguments.listen,
                tls: arguments.tls.server()?,
                profile: arguments.profile.profile(),
                seed: arguments.seed,
                session_minutes: arguments.session_minutes,
                token_seconds: arguments.token_seconds,
                passes_login: arguments.platform_login,
                read_back: if arguments.echo { ReadBack::Echo } else { ReadBack::Existence },
                faults,
                journal_limit: if arguments.no_journal { 0 } else { 200_000 },
                ..PortalOptions::default()
            };
            let portal = lab::portal::start(options, clock).await.map_err(failed)?;
            invocation.output.data(&format!("listening on {}", portal.url()));
            requests.recv().await;
            portal.shutdown().await.map_err(failed)
        }
    }
}
