//! `watch_once`: the promises of this gateway, looked at while it lives. Each that does not hold is said
//! loudly, with a code of its own; nothing is mended here.
//!
//! The ledger looks at its own rows (see [`crate::ledger::watch`]); what needs the quota, the gate or a
//! bound of time is judged here. A watchdog must not cry wolf: where sending is stopped on purpose (by a
//! person, a breaker, a restore), nothing is late.

use std::time::Duration;

use super::{Context, VerbError};
use crate::domain::failure::Disposition;
use crate::domain::time::{Timestamp, span};
use crate::ledger::record::{GateNote, PauseScope};
use crate::ledger::watch::{
    ATTEMPTS, AUDIT, CONSERVATION, FALSE_SUCCESS, LANE, LEASE, NO_REASON, REGRESSION,
    SINGLE_FLIGHT, STEP_SUMS, STRANDED, Seen, Sight, WatchBounds, WatchChange, Watchdog,
};
use crate::portal::gate::GateStatus;

/// No window of the contract ever held more calls than it may.
pub const QUOTA: &str = "watchdog.quota";
/// What could go goes before its bound.
pub const OLDEST: &str = "watchdog.oldest";
/// The gate is not closed for longer than its own probes allow.
pub const BREAKER: &str = "watchdog.breaker";
/// Backlog moves.
pub const BULK: &str = "watchdog.bulk";

/// Rows of each table that one pass looks at: some milliseconds, and a million dossiers in half an hour
/// at a pass in ten seconds.
const ROWS_MAX: u32 = 5_000;
/// Between a permit and the first byte a busy machine may do something else; a window of the contract
/// that is shorter by this must hold at the socket, too.
const SCHEDULING_MS: u64 = 100;
/// A window is looked at by parts.
const WINDOW_PARTS: u64 = 1_000;
/// A note of the gate is fresh for this long; its owner writes one every few seconds.
const NOTE_FRESH: Duration = Duration::from_mins(1);
/// Counting what is due ends there; more is judged as bulk alone.
const DUE_COUNTED: u64 = 10_000;
/// Where no quota is known: what the gate begins with.
const CALLS_A_SECOND_UNKNOWN: f64 = 1.0;
/// The smallest share of a class against all: of a hundred calls, these many at least.
const BULK_SHARE: f64 = 0.02;

/// What became of the watchdogs.
#[derive(Debug, Clone, Default)]
pub struct WatchReport {
    /// Began or ceased to be broken in this pass.
    pub changes: Vec<WatchChange>,
    /// Everything as it stands.
    pub watchdogs: Vec<Watchdog>,
}

impl WatchReport {
    pub fn broken(&self) -> impl Iterator<Item = &Watchdog> {
        self.watchdogs.iter().filter(|watchdog| !watchdog.holds())
    }
}

/// One pass: a look at everything, or at the next part of it.
pub async fn watch_once(context: &Context) -> Result<WatchReport, VerbError> {
    context.alive();
    let now = context.clock.now();
    let settings = &context.settings;
    let ledger = &context.ledger;
    let kept = ledger.watchdogs().await?;
    let bounds = WatchBounds {
        rows_max: ROWS_MAX,
        leases_ended_by: now - Duration::from_millis(settings.watchdog_ms),
        retries_max: settings.retry.attempts_max,
        audited_since: now - Duration::from_millis(settings.retention.audit_ms),
    };
    let mut sights = ledger.look(&bounds).await?;
    for (limit, window_ms) in &settings.quota {
        sights.push(quota(context, &kept, now, *limit, *window_ms).await?);
    }
    let gate = Gate::of(context, now).await?;
    sights.push(oldest(context, &kept, now, &gate).await?);
    sights.push(bulk(context, &kept, now, &gate).await?);
    sights.push(breaker(context, &kept, now, &gate));
    let changes = ledger.keep_sights(now, &sights).await?;
    Ok(WatchReport { changes, watchdogs: ledger.watchdogs().await? })
}

fn row<'a>(kept: &'a [Watchdog], code: &str, part: &str) -> Option<&'a Watchdog> {
    kept.iter().find(|row| row.code == code && row.part == part)
}

fn ms(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Counted by the calls in the ledger. A window that is new to the watchdog counts from now: what went
/// before was allowed by another contract.
async fn quota(
    context: &Context,
    kept: &[Watchdog],
    now: Timestamp,
    limit: u32,
    window_ms: u64,
) -> Result<Sight, VerbError> {
    let part = format!("{limit} calls in {}", span(Duration::from_millis(window_ms)));
    let sight = |seen| Sight { code: QUOTA, part: part.clone(), seen };
    let Some(row) = row(kept, QUOTA, &part) else {
        return Ok(sight(Seen::Event { found: 0, example: None, position: now.millis() }));
    };
    let since_last = u64::try_from(now.millis() - row.looked_at.millis()).unwrap_or(0);
    // The counts of a long window change slowly, and reading them costs as many rows as it has calls.
    if since_last < window_ms / 100 {
        return Ok(sight(Seen::Skipped));
    }
    // A call is written down when it has ended.
    let ending = context.settings.call_timeout_ms + context.settings.lease_ms;
    let back = window_ms.saturating_add(since_last).saturating_add(ending);
    let since = (now - Duration::from_millis(back)).max(Timestamp::from_millis(row.position));
    let part_ms = (window_ms / WINDOW_PARTS).max(1);
    let calls = context.ledger.calls_by_time(since, part_ms).await?;
    let shortened = window_ms - SCHEDULING_MS.min(window_ms / 10);
    let (at, most) = most_in_any(&calls, part_ms, shortened);
    let found = u64::from(most.saturating_sub(limit));
    let example = (found > 0).then(|| format!("{most} calls from {at}"));
    Ok(sight(Seen::Event { found, example, position: row.position }))
}

/// The most calls in any window of that length that begins and ends with a part, and where it begins.
fn most_in_any(calls: &[(Timestamp, u32)], part_ms: u64, window_ms: u64) -> (Timestamp, u32) {
    let (mut first, mut inside) = (0, 0);
    let mut most = (Timestamp::default(), 0);
    for (at, count) in calls {
        inside += count;
        let begins = at.millis() + ms(part_ms) - ms(window_ms);
        while calls[first].0.millis() < begins {
            inside -= calls[first].1;
            first += 1;
        }
        if inside > most.1 {
            most = (calls[first].0, inside);
        }
    }
    most
}

/// Whether work could be sent now, and how fast.
struct Gate {
    /// Somebody owns the gate, it is open, and no person has stopped everything.
    can_send: bool,
    due: u64,
    calls_a_second: f64,
    /// As its owner wrote it down, if that is fresh.
    status: Option<GateStatus>,
}

impl Gate {
    async fn of(context: &Context, now: Timestamp) -> Result<Self, VerbError> {
        let waiting = context.ledger.waiting(now).await?;
        let orders = context.ledger.orders(now).await?;
        let noted = context.ledger.noted_gate(GateNote::Status).await?;
        let status: Option<GateStatus> = noted
            .filter(|(at, _)| now.since(*at) < NOTE_FRESH)
            .and_then(|(_, body)| serde_json::from_str(&body).ok());
        let held = orders.pauses.iter().any(|pause| pause.scope == PauseScope::All);
        let is_open = status.as_ref().is_some_and(|status| status.state == "open");
        let pace = status.as_ref().and_then(|status| status.pace.calls_a_second);
        Ok(Self {
            can_send: waiting.gate_owner.is_some() && waiting.pause.is_none() && !held && is_open,
            due: waiting.due,
            calls_a_second: pace.unwrap_or(CALLS_A_SECOND_UNKNOWN).max(0.01),
            status,
        })
    }

    fn calls_take(&self, calls: u64) -> Duration {
        Duration::from_secs_f64((calls as f64 / self.calls_a_second).min(1e9))
    }
}

/// What is due goes within the watchdog's time and twice what the backlog takes, since sending was
/// last possible. The backlog counts as large as it was, less a quarter of what goes meanwhile, so that
/// the bound does not shrink faster than the line. `position`: since when sending is possible;
/// `carried`: that backlog.
async fn oldest(
    context: &Context,
    kept: &[Watchdog],
    now: Timestamp,
    gate: &Gate,
) -> Result<Sight, VerbError> {
    let row = row(kept, OLDEST, "");
    let (since, before) =
        row.map_or((now, 0), |row| (Timestamp::from_millis(row.position), row.carried));
    let passed = row.map_or(Duration::ZERO, |row| now.since(row.looked_at));
    let gone = passed.mul_f64((gate.calls_a_second / 4.0).min(1e6)).as_secs();
    let backlog = u64::try_from(before).unwrap_or(0).saturating_sub(gone).max(gate.due);
    let mut seen = (0, None);
    let since = if gate.can_send { since } else { now };
    let settings = &context.settings;
    let bound = Duration::from_millis(settings.watchdog_ms + settings.lease_ms)
        + gate.calls_take(backlog).saturating_mul(2);
    if gate.due < DUE_COUNTED && now.since(since) > bound {
        let late = context.ledger.overdue(now - bound).await?;
        seen = (late, (late > 0).then(|| format!("due for more than {}", span(bound))));
    }
    let (found, example) = seen;
    let (position, carried) = (since.millis(), ms(backlog));
    let seen = Seen::Whole { found, example, position, carried };
    Ok(Sight { code: OLDEST, part: String::new(), seen })
}

/// Backlog has its share of the quota, so some call of it goes now and then. `position`: since when it
/// could.
async fn bulk(
    context: &Context,
    kept: &[Watchdog],
    now: Timestamp,
    gate: &Gate,
) -> Result<Sight, VerbError> {
    let settings = &context.settings;
    let bound = Duration::from_millis(settings.watchdog_ms + settings.lease_ms)
        + Duration::from_secs_f64((1.0 / gate.calls_a_second / BULK_SHARE).min(1e9));
    let (is_due, newest) = context.ledger.bulk(now, now - bound).await?;
    let since = row(kept, BULK, "").map_or(now, |row| Timestamp::from_millis(row.position));
    let since = if gate.can_send && is_due && newest.is_none() { since } else { now };
    let stands = now.since(since);
    let found = u64::from(stands > bound);
    let example = (found > 0).then(|| format!("no call for {}", span(stands)));
    let seen = Seen::Whole { found, example, position: since.millis(), carried: 0 };
    Ok(Sight { code: BULK, part: String::new(), seen })
}

/// A closed gate says until when; then one probe decides. The portal's own word (`Retry-After`) may be
/// as long as it likes. `position`: since when a probe is due.
fn breaker(context: &Context, kept: &[Watchdog], now: Timestamp, gate: &Gate) -> Sight {
    let settings = &context.settings;
    let since = row(kept, BREAKER, "").map_or(now, |row| Timestamp::from_millis(row.position));
    let mut seen = (0, None, now);
    if let Some(status) = &gate.status {
        let asked =
            status.reason.as_ref().is_some_and(|why| why.disposition == Disposition::Throttled);
        let longest = Duration::from_millis(settings.wait_max_ms);
        match (status.state.as_str(), status.until) {
            ("closed", Some(until)) if until.since(now) > longest && !asked => {
                seen = (1, Some(format!("closed until {until}")), now);
            }
            ("probe" | "closed", until)
                if gate.due > 0 && until.is_none_or(|until| until <= now) =>
            {
                let bound = Duration::from_millis(
                    settings.watchdog_ms + settings.call_timeout_ms + settings.lease_ms,
                );
                let stands = now.since(since);
                let example = || format!("a probe is due for {}", span(stands));
                seen = (u64::from(stands > bound), (stands > bound).then(example), since);
            }
            _ => {}
        }
    }
    let (found, example, since) = seen;
    let seen = Seen::Whole { found, example, position: since.millis(), carried: 0 };
    Sight { code: BREAKER, part: String::new(), seen }
}

/// What a broken promise means, in a few words.
pub fn sentence(code: &str) -> &'static str {
    CODES
        .iter()
        .find(|(known, ..)| *known == code)
        .map_or("a promise is broken", |(_, meaning, _)| {
            meaning.split_once(". ").map_or(*meaning, |(first, _)| first)
        })
}

/// The advice that fits all of them.
const DEFECT: &str = "This is a defect of the program, or somebody has changed the ledger by hand. Keep a copy (`hoso ledger backup`), look at the named dossier with `hoso dossier history`, run `hoso ledger check`, and report it.";

/// Table of this module's codes for `hoso explain`: code, meaning, what to do.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        CONSERVATION,
        "A change that the source gave has no obligation in the ledger, or two. Every newest change must be in exactly one place: accepted, on its way, held with a reason, or refused.",
        DEFECT,
    ),
    (
        NO_REASON,
        "A dossier is quarantined, dead or not ours, and nothing says why. Nobody can decide about it.",
        DEFECT,
    ),
    (
        STEP_SUMS,
        "A dossier counts another number of open steps than it has. A step that is not counted is never sent.",
        DEFECT,
    ),
    (
        FALSE_SUCCESS,
        "A packet counts as accepted without an answer of the portal that says so. The portal may not have it.",
        "Ask the portal about the named dossier (`hoso run reconcile` looks dossiers up), send it again with `hoso resync --code`, and report it: this is a defect, or the ledger was changed by hand.",
    ),
    (
        REGRESSION,
        "The portal acknowledged an older packet of a dossier after a newer one. It may show an older state than the province has.",
        "Send the newest again with `hoso resync --code`, and report it.",
    ),
    (
        SINGLE_FLIGHT,
        "Two calls about one dossier are out at once, or one is out without its lane. The portal may get them in the wrong order.",
        DEFECT,
    ),
    (
        LANE,
        "The lane of a dossier is taken though nothing of it is out. Nothing of this dossier will be sent any more.",
        DEFECT,
    ),
    (
        STRANDED,
        "Steps wait behind a packet that will never be: the source closed the dossier, and they should have been withdrawn with it. They count as owed for ever.",
        DEFECT,
    ),
    (
        LEASE,
        "A lease has no end, or ended long ago, and upkeep did not find it. What it holds stands still.",
        "If `hoso serve` runs and upkeep fails, its log says why. Otherwise this is a defect: keep a copy (`hoso ledger backup`) and report it.",
    ),
    (
        ATTEMPTS,
        "A packet is to be sent again although its retry budget is spent, or is out without having been counted.",
        DEFECT,
    ),
    (
        AUDIT,
        "Something that only an operator can do was done, and no row of the audit says by whom.",
        "Find out who can write to the ledger's file: every command of this program writes its row in the same transaction. `hoso dossier history` shows what is known.",
    ),
    (
        QUOTA,
        "More calls left than the contract with the portal allows in one of its windows. Counted by the calls in the ledger; it stays shown for a day.",
        "Look whether two gateways send for one account, or whether the machine's clock was set back (then calls of different times look like one). Otherwise report it.",
    ),
    (
        OLDEST,
        "Work that could go waits for longer than the quota and the backlog explain. Either nobody takes it, or it is taken and never leaves.",
        "`hoso portal status` shows what waits and how the gate stands; `hoso dossier explain` says what one dossier waits for. Restarting the service does no harm.",
    ),
    (
        BREAKER,
        "The gate is closed for longer than its own probes allow. It should have tried the portal again by now.",
        "`hoso portal status` says why it closed. Restarting the service opens it with a probe; please report it.",
    ),
    (
        BULK,
        "Backlog is due, the gate is open, and no call of it has gone for longer than its share explains.",
        "`hoso portal status` shows the shares (`gate.shares`) and what waits. Restarting the service does no harm; please report it.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(at: &[(i64, u32)]) -> Vec<(Timestamp, u32)> {
        at.iter().map(|(at, count)| (Timestamp::from_millis(*at), *count)).collect()
    }

    #[test]
    fn the_fullest_window_is_found_and_is_half_open() {
        let seen = calls(&[(0, 2), (400, 1), (999, 1), (1_000, 5), (5_000, 3)]);
        assert_eq!(most_in_any(&seen, 1, 1_000), (Timestamp::from_millis(400), 7));
        assert_eq!(most_in_any(&seen, 1, 601), (Timestamp::from_millis(400), 7));
        assert_eq!(most_in_any(&seen, 1, 600), (Timestamp::from_millis(999), 6));
        assert_eq!(most_in_any(&[], 1, 1_000).1, 0);
    }

    #[test]
    fn parts_are_counted_only_where_they_lie_inside_whole() {
        // Two parts of 100 ms, 1,000 ms from the beginning of one to the end of the other.
        let seen = calls(&[(0, 4), (900, 4)]);
        assert_eq!(most_in_any(&seen, 100, 1_000).1, 8);
        assert_eq!(most_in_any(&seen, 100, 999).1, 4);
    }

    #[test]
    fn every_code_has_its_sentence() {
        for (code, ..) in CODES {
            assert!(code.starts_with("watchdog."));
            assert_ne!(sentence(code), "a promise is broken");
        }
    }
}
