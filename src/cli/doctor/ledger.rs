//! The ledger: sound pages, versions, watchdogs, leases, books, catalogue, room, problems.

use std::time::Duration;

use super::{Findings, Values, codes};
use crate::cli::failure::Failure;
use crate::cli::status::{broken, broken_words, full_soon, waiting};
use crate::cli::{build, catalogue};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::time::{Timestamp, span};
use crate::ledger::view::{InForce, Standing};
use crate::ledger::watch::{LEASE, Seen, WatchBounds};
use crate::ledger::{Ledger, LedgerError};

/// Who owns the gate, if anybody does.
pub(super) async fn examine(
    config: &Config,
    findings: &mut Findings,
) -> Result<Option<String>, Failure> {
    if build::ledger_exists(config).is_err() {
        let path = config.ledger.path.display();
        findings.warn(codes::LEDGER, "doctor.ledger_none", &[("file", &path)], "hoso serve");
        return Ok(None);
    }
    let ledger = match build::checked_ledger(config).await {
        Ok(ledger) => ledger,
        Err(failure) => {
            let why = &failure.message;
            let help = match failure.code.as_deref() {
                Some("ledger.older") => "hoso migrate",
                Some("ledger.newer") => "hoso --version",
                _ => "hoso explain doctor.ledger",
            };
            findings.error(codes::LEDGER, "doctor.ledger_bad", &[("why", why)], help);
            return Ok(None);
        }
    };
    findings.ok(codes::LEDGER, "doctor.ledger_good", &[]);
    let now = SystemClock::new().now();
    let standing = ledger.standing(now).await;
    let examined = match standing {
        Ok(standing) => {
            let owner = standing.gate_owner.clone();
            read(config, ledger.as_ref(), &standing, now, findings).await.map(|()| owner)
        }
        Err(error) => Err(error),
    };
    ledger.close().await;
    examined.or_else(|error| {
        let failure = Failure::from(error);
        let help = "hoso ledger check";
        findings.error(codes::LEDGER, "doctor.ledger_bad", &[("why", &failure.message)], help);
        Ok(None)
    })
}

async fn read(
    config: &Config,
    ledger: &dyn Ledger,
    standing: &Standing,
    now: Timestamp,
    findings: &mut Findings,
) -> Result<(), LedgerError> {
    let room = ledger.room(now).await?;
    if let Some(days) = full_soon(&room, config.ledger.size_warn_days) {
        findings.warn(codes::DISK, "doctor.room_ends", &[("days", &days)], "hoso ledger size");
    } else if let Some(days) = room.days_left {
        findings.ok(codes::DISK, "doctor.room_lasts", &[("days", &days)]);
    } else {
        findings.info(codes::DISK, "doctor.room_unknown", &[]);
    }
    versions(config, ledger, standing, findings).await;
    watchdogs(ledger, now, findings).await?;
    leases(config, ledger, now, findings).await?;
    books(config, standing, now, findings);
    let overview = catalogue::Overview::of(ledger.catalogues().await?, &config.catalogue, now);
    catalogues(config, &overview, findings);
    match waiting(standing, Some(&overview)) {
        0 => findings.ok(codes::PROBLEMS, "doctor.problems_none", &[]),
        some => {
            let help = "hoso problems list";
            findings.warn(codes::PROBLEMS, "doctor.problems_some", &[("number", &some)], help);
        }
    }
    Ok(())
}

async fn versions(
    config: &Config,
    ledger: &dyn Ledger,
    standing: &Standing,
    findings: &mut Findings,
) {
    let own = env!("CARGO_PKG_VERSION");
    let running = standing.in_force.as_ref().filter(|_| standing.gate_owner.is_some());
    let Some(InForce { program_version, mapping_version, hash, .. }) = running else {
        findings.info(codes::VERSIONS, "doctor.versions_nobody", &[("own", &own)]);
        return;
    };
    let mut is_same = true;
    if program_version != own {
        let values: Values<'_> = &[("own", &own), ("running", program_version)];
        findings.warn(codes::VERSIONS, "doctor.versions_program", values, "systemctl restart hoso");
        is_same = false;
    }
    if *hash != config.hash() {
        let help = "systemctl reload hoso";
        findings.warn(codes::VERSIONS, "doctor.versions_configuration", &[], help);
        is_same = false;
    }
    if let Ok((_, mapping)) = build::mapping_in_force(config, ledger).await
        && mapping.version() != mapping_version
    {
        let help = "systemctl reload hoso";
        findings.warn(codes::VERSIONS, "doctor.versions_mapping", &[], help);
        is_same = false;
    }
    if is_same {
        findings.ok(codes::VERSIONS, "doctor.versions_good", &[("own", &own)]);
    }
}

async fn watchdogs(
    ledger: &dyn Ledger,
    now: Timestamp,
    findings: &mut Findings,
) -> Result<(), LedgerError> {
    let watchdogs = ledger.watchdogs().await?;
    for watchdog in broken(&watchdogs) {
        let what = broken_words(watchdog);
        let help = format!("hoso explain {}", watchdog.code);
        findings.error(codes::WATCHDOGS, "doctor.watchdog_barks", &[("what", &what)], &help);
    }
    match watchdogs.iter().map(|watchdog| watchdog.looked_at).max() {
        None => {
            findings.warn(codes::WATCHDOGS, "doctor.watchdogs_never", &[], "hoso run upkeep");
        }
        Some(at) if broken(&watchdogs).next().is_none() => {
            let (number, ago) = (watchdogs.len(), span(now.since(at)));
            let values: Values<'_> = &[("number", &number), ("ago", &ago)];
            findings.ok(codes::WATCHDOGS, "doctor.watchdogs_good", values);
        }
        Some(_) => {}
    }
    Ok(())
}

/// Looked at now, not when upkeep last did.
async fn leases(
    config: &Config,
    ledger: &dyn Ledger,
    now: Timestamp,
    findings: &mut Findings,
) -> Result<(), LedgerError> {
    let bounds = WatchBounds {
        rows_max: 1,
        leases_ended_by: now - Duration::from_millis(config.upkeep.watchdog_ms),
        retries_max: config.retry.attempts_max,
        audited_since: now,
    };
    let sights = ledger.look(&bounds).await?;
    let found =
        sights.iter().find(|sight| sight.code == LEASE).map_or(0, |sight| match sight.seen {
            Seen::Whole { found, .. } => found,
            _ => 0,
        });
    if found == 0 {
        findings.ok(codes::LEASES, "doctor.leases_good", &[]);
    } else {
        let help = "hoso run upkeep";
        findings.error(codes::LEASES, "doctor.leases_stuck", &[("number", &found)], help);
    }
    Ok(())
}

fn books(config: &Config, standing: &Standing, now: Timestamp, findings: &mut Findings) {
    for source in &config.sources {
        let name = &source.name;
        let help = "hoso run reconcile";
        let Some(books) = standing.last_books.iter().find(|books| books.source == *name) else {
            findings.warn(codes::BOOKS, "doctor.books_never", &[("source", name)], help);
            continue;
        };
        let age = now.since(books.ended_at);
        let ago = span(age);
        let values: Values<'_> = &[("source", name), ("ago", &ago)];
        // Without an index nobody can know what should be in them.
        if !books.closed && !books.without_index {
            findings.error(codes::BOOKS, "doctor.books_open", values, help);
        } else if age > Duration::from_millis(config.alarms.books_age_max_ms) {
            findings.warn(codes::BOOKS, "doctor.books_old", values, help);
        } else {
            findings.ok(codes::BOOKS, "doctor.books_good", values);
        }
    }
}

fn catalogues(config: &Config, overview: &catalogue::Overview, findings: &mut Findings) {
    let stale = overview.lists.iter().filter(|list| list.stale).count();
    let failing = overview.failing();
    let help = "hoso catalogue refresh";
    if config.catalogue.refresh_every_ms == 0 {
        findings.info(codes::CATALOGUE, "doctor.catalogue_off", &[]);
    } else if overview.lists.is_empty() {
        findings.info(codes::CATALOGUE, "doctor.catalogue_none", &[]);
    } else if stale > 0 || failing > 0 {
        let values: Values<'_> = &[("stale", &stale), ("failing", &failing)];
        findings.warn(codes::CATALOGUE, "doctor.catalogue_stale", values, help);
    } else {
        let lists = overview.lists.len();
        findings.ok(codes::CATALOGUE, "doctor.catalogue_good", &[("lists", &lists)]);
    }
}
