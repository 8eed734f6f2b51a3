//! `hoso status`: the whole ledger on one screen.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::failure::Failure;
use super::serve::{exposed, short};
use super::{Invocation, build, catalogue, check, run, words};
use crate::clock::{Clock, SystemClock};
use crate::domain::entry::EntryState;
use crate::domain::time::Timestamp;
use crate::ledger::audit::AuditHead;
use crate::ledger::record::Sizes;
use crate::ledger::view::{CallTotals, Standing};
use crate::ledger::watch::Watchdog;
use crate::messages::Language;
use crate::pipeline::{orders, watch};

/// Say where everything stands, the verdict first
///
/// Reads the ledger only, so it may be asked at any time, also while the service runs. Exit code 0
/// whenever the ledger could be read, whatever it says.
///
/// With --check it judges for a monitoring system, by the limits of the section `alarms`: one line
/// that begins with OK, WARNING or CRITICAL, and exit code 6 unless it is OK.
///
/// Example: hoso status --check
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// One line and an exit code, for monitoring
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    verdict: String,
    at: Timestamp,
    /// Dossiers, held steps and documents that wait for a person.
    problems: u64,
    /// What the portal's quota bought in the last 24 hours.
    calls: CallTotals,
    /// What the portal knows, and how old that knowledge is.
    catalogue: catalogue::Overview,
    /// Of the configuration file as it is now; that in force has its own.
    file_hash: String,
    /// The ledger's file, and when its room ends.
    room: Sizes,
    /// What is not as it should be with who may read and write the ledger.
    exposed: Vec<String>,
    /// Where the chain of the audit ends.
    audit: Option<AuditHead>,
    /// The promises of the gateway, as they were looked at last.
    watchdogs: Vec<Watchdog>,
    #[serde(flatten)]
    standing: Standing,
}

pub(super) async fn run(invocation: &Invocation, arguments: Arguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    if arguments.check {
        return check::run(invocation, &config).await;
    }
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    let standing = ledger.standing(now).await?;
    let calls = ledger.call_totals(now - Duration::from_hours(24)).await?;
    let catalogue = catalogue::Overview::of(ledger.catalogues().await?, &config.catalogue, now);
    let room = ledger.room(now).await?;
    let watchdogs = ledger.watchdogs().await?;
    let audit = ledger.audit_chain().await?.head;
    ledger.close().await;
    let full_in = full_soon(&room, config.ledger.size_warn_days);
    let status = Status {
        verdict: verdict(&standing, &watchdogs, Some(&catalogue), full_in, now),
        at: now,
        problems: problems(&standing, Some(&catalogue)),
        calls,
        catalogue,
        file_hash: config.hash(),
        room,
        exposed: exposed(&config.ledger.path),
        audit,
        watchdogs,
        standing,
    };
    invocation.output.result(&status, text);
    Ok(())
}

fn of(standing: &Standing, matching: fn(EntryState) -> bool) -> u64 {
    standing.dossiers.iter().filter(|(state, _)| matching(**state)).map(|(_, count)| *count).sum()
}

fn steps(standing: &Standing, states: &[&str]) -> u64 {
    states.iter().filter_map(|state| standing.steps.get(*state)).sum()
}

fn problems(standing: &Standing, catalogue: Option<&catalogue::Overview>) -> u64 {
    of(standing, EntryState::needs_a_person)
        + steps(standing, &["held"])
        + standing.refused_documents
        + catalogue.map_or(0, catalogue::Overview::failing)
}

/// What a person wants to know first; the most pressing part leads.
fn verdict(
    standing: &Standing,
    watchdogs: &[Watchdog],
    catalogue: Option<&catalogue::Overview>,
    full_in: Option<u64>,
    now: Timestamp,
) -> String {
    let mut parts: Vec<String> = broken(watchdogs).map(broken_words).collect();
    if !standing.rereading.is_empty() {
        parts.push(format!(
            "restored from a backup: nothing of {} is sent before it has been read again",
            standing.rereading.join(", ")
        ));
    }
    if let Some(days) = full_in {
        parts.push(format!(
            "the ledger has no room in {}: hoso ledger size",
            words::count(days, "day")
        ));
    }
    let problems = problems(standing, catalogue);
    if problems > 0 {
        let verb = if problems == 1 { "needs" } else { "need" };
        parts.push(format!("{problems} {verb} a person: hoso problems list"));
    }
    for source in &standing.sources {
        if let Some(since) = source.failing_since {
            parts.push(format!("source {} fails since {}", source.name, words::when(since, now)));
        }
    }
    let lists = catalogue.map_or(&[][..], |catalogue| &catalogue.lists);
    for list in lists.iter().filter(|one| one.stale) {
        parts.push(format!("the portal's list of {} is stale", list.kind()));
    }
    let differences: u64 = standing.open_discrepancies.values().sum();
    match differences {
        0 => {}
        1 => parts.push("1 discrepancy is open".to_owned()),
        more => parts.push(format!("{} discrepancies are open", words::thousands(more))),
    }
    parts.extend(standing.sending_pauses.iter().map(orders::sentence));
    let open = of(standing, EntryState::is_open);
    let owed = steps(standing, &["pending", "leased"]);
    if open > 0 {
        let since = standing
            .oldest_open_at
            .map_or_else(String::new, |at| format!(", oldest since {}", words::when(at, now)));
        parts.push(format!("{} on {} way{since}", words::count(open, "dossier"), its(open)));
    } else if owed > 0 {
        parts.push(format!("{} on {} way", words::count(owed, "step"), its(owed)));
    }
    let awaiting = of(standing, |state| state == EntryState::Awaiting);
    if awaiting > 0 {
        let verb = if awaiting == 1 { "awaits" } else { "await" };
        parts.push(format!(
            "{} {verb} adoption from the older program: hoso adopt",
            words::count(awaiting, "dossier")
        ));
    }
    if !parts.is_empty() {
        parts.join("; ")
    } else if standing.dossiers.is_empty() {
        "no dossier has been received yet".to_owned()
    } else {
        match of(standing, |state| state == EntryState::Presumed) {
            0 => "everything is synchronised".to_owned(),
            presumed => format!(
                "everything is synchronised, {} of it presumed from the older program",
                words::count(presumed, "dossier")
            ),
        }
    }
}

/// Promises that do not hold.
pub(super) fn broken(watchdogs: &[Watchdog]) -> impl Iterator<Item = &Watchdog> {
    watchdogs.iter().filter(|watchdog| !watchdog.holds())
}

/// `BROKEN watchdog.lane (1, e.g. H55.1-260126-0001): hoso explain watchdog.lane`.
pub(super) fn broken_words(watchdog: &Watchdog) -> String {
    let Watchdog { code, part, found, example, .. } = watchdog;
    let part = if part.is_empty() { String::new() } else { format!(" {part}") };
    let example = example.as_ref().map_or_else(String::new, |one| format!(", e.g. {one}"));
    format!("BROKEN {code}{part} ({}{example}): hoso explain {code}", words::thousands(*found))
}

/// One line if all of them hold, a paragraph for each that does not.
fn watchdog_lines(watchdogs: &[Watchdog], now: Timestamp) -> String {
    let Some(last) = watchdogs.iter().map(|watchdog| watchdog.looked_at).max() else {
        return "watchdogs       have not looked yet; `hoso serve` or `hoso run upkeep` does\n"
            .to_owned();
    };
    let mut text = match broken(watchdogs).count() {
        0 => {
            format!("watchdogs       {} hold, looked {}\n", watchdogs.len(), words::when(last, now))
        }
        some => format!("watchdogs       {some} of {} BROKEN\n", watchdogs.len()),
    };
    for watchdog in broken(watchdogs) {
        let since = watchdog.broken_since.map_or_else(String::new, |at| words::when(at, now));
        let _infallible = writeln!(
            text,
            "  {}\n    since {since}: {}",
            broken_words(watchdog),
            watch::sentence(&watchdog.code)
        );
    }
    text
}

/// Days until the ledger's room ends, if that is soon.
pub(super) fn full_soon(room: &Sizes, warn_days: u64) -> Option<u64> {
    room.days_left.filter(|days| *days < warn_days)
}

const fn its(number: u64) -> &'static str {
    if number == 1 { "its" } else { "their" }
}

fn text(status: &Status) -> String {
    let (standing, now) = (&status.standing, status.at);
    let mut text = format!("{}\n\n", status.verdict);
    let mut line = |name: &str, number: u64, remark: &str| {
        // Writing to a String cannot fail, here and below.
        let _infallible = writeln!(
            text,
            "{}",
            format!("{name:<16}{:>9}  {remark}", words::thousands(number)).trim_end()
        );
    };
    line("dossiers", standing.dossiers.values().sum(), "");
    line("  synchronised", standing.synchronised, "packet and every step acknowledged");
    for (state, count) in &standing.dossiers {
        line(
            &format!("  {}", state.as_str().replace('_', " ")),
            *count,
            &words::state(Language::English, *state),
        );
    }
    line("steps", standing.steps.values().sum(), "");
    for (state, count) in &standing.steps {
        line(&format!("  {}", state.replace('_', " ")), *count, step_words(state));
    }
    let due = if standing.due_now_is_more { "or more; " } else { "" };
    line("due now", standing.due_now, &format!("{due}may be sent at this moment"));
    if standing.set_aside > 0 {
        line("paused", standing.set_aside, "set aside by a pause of their procedure or agency");
    }
    line("problems", status.problems, "wait for a person");
    if standing.refused_documents > 0 {
        line("  unreadable", standing.refused_documents, "documents or items kept as evidence");
    }
    line("discrepancies", standing.open_discrepancies.values().sum(), "open");
    for (kind, count) in &standing.open_discrepancies {
        line(&format!("  {}", kind.replace('_', " ")), *count, "");
    }
    let calls = &status.calls;
    line("portal calls", calls.calls, &format!("in 24 hours, {} useful", calls.useful));
    for (service, outcomes) in &calls.by_service {
        let shown: Vec<String> =
            outcomes.iter().map(|(name, n)| format!("{n} {}", name.replace('_', " "))).collect();
        line("", outcomes.values().sum(), &format!("{service}: {}", shown.join(", ")));
    }
    let owner = standing
        .gate_owner
        .as_deref()
        .unwrap_or("nobody; nothing is sent until `hoso serve` or `hoso run push` runs");
    let _infallible = write!(text, "\ngate owner      {owner}\n");
    if let Some(pause) = standing.pause.as_ref().filter(|_| standing.gate_owner.is_some()) {
        let since = words::when(pause.since, now);
        let _infallible = writeln!(text, "  not sending   since {since}, {}", pause.failure);
    }
    if let Some(in_force) = &standing.in_force {
        let _infallible = writeln!(
            text,
            "configuration   {} since {}{}",
            short(&in_force.hash),
            words::when(in_force.since, now),
            if in_force.hash == status.file_hash {
                ""
            } else {
                "; the file is another one now: `systemctl reload hoso`"
            }
        );
    }
    for exposed in &status.exposed {
        let _infallible = writeln!(text, "warning         {exposed}");
    }
    text.push_str(&watchdog_lines(&status.watchdogs, now));
    for source in &standing.sources {
        let told = |at: Option<Timestamp>| {
            at.map_or_else(|| "never".to_owned(), |at| words::when(at, now))
        };
        let _infallible = write!(
            text,
            "source          {}\n  last poll     {}\n  caught up     {}\n",
            source.name,
            told(source.polled_at),
            told(source.caught_up_at)
        );
        if let Some(since) = source.failing_since {
            let why =
                source.failure.as_ref().map_or_else(String::new, |failure| format!(", {failure}"));
            let _infallible = writeln!(text, "  failing since {}{why}", words::when(since, now));
        }
    }
    let _infallible = write!(text, "catalogue\n{}", status.catalogue.text(now));
    for books in &standing.last_books {
        let _infallible = write!(
            text,
            "\nlast books      {}\n{}\n",
            words::when(books.ended_at, now),
            run::books_text(books)
        );
    }
    text
}

fn step_words(state: &str) -> &'static str {
    match state {
        "pending" => "wait to be sent",
        "leased" => "are being sent",
        "acked" => "the portal acknowledged them",
        "held" => "wait for a person",
        "awaiting" => "wait until their dossier is adopted",
        "presumed_sent" => "believed sent by an older system",
        "withdrawn" => "taken back by the source before they were sent",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::view::SourceStanding;

    fn standing(dossiers: &[(EntryState, u64)]) -> Standing {
        Standing { dossiers: dossiers.iter().copied().collect(), ..Standing::default() }
    }

    #[test]
    fn the_verdict_names_what_presses_most_and_hides_nothing() {
        let now = Timestamp::from_millis(1_000_000);
        let said = |standing: &Standing| verdict(standing, &[], None, None, now);
        assert_eq!(said(&standing(&[])), "no dossier has been received yet");
        assert_eq!(
            said(&standing(&[(EntryState::Accepted, 3), (EntryState::NotOurs, 1)])),
            "everything is synchronised"
        );
        assert_eq!(
            said(&standing(&[(EntryState::Dead, 1), (EntryState::Ready, 2)])),
            "1 needs a person: hoso problems list; 2 dossiers on their way"
        );
        let mut owed = standing(&[(EntryState::Accepted, 3)]);
        owed.steps.insert("pending".to_owned(), 2);
        assert_eq!(said(&owed), "2 steps on their way");
        assert_eq!(
            said(&standing(&[(EntryState::Awaiting, 2), (EntryState::Accepted, 1)])),
            "2 dossiers await adoption from the older program: hoso adopt"
        );
        assert_eq!(
            said(&standing(&[(EntryState::Presumed, 1)])),
            "everything is synchronised, 1 dossier of it presumed from the older program"
        );
        let mut failing = standing(&[(EntryState::Accepted, 3)]);
        failing.sources.push(SourceStanding {
            name: "mot-cua".to_owned(),
            polled_at: None,
            caught_up_at: None,
            failing_since: Some(now),
            failure: None,
        });
        assert!(said(&failing).starts_with("source mot-cua fails since 1970-01-01"));
    }

    #[test]
    fn a_broken_promise_leads() {
        let now = Timestamp::from_millis(1_000_000);
        let holds = Watchdog { code: watch::BULK.to_owned(), ..Watchdog::default() };
        let lane = Watchdog {
            code: "watchdog.lane".to_owned(),
            found: 1,
            broken_since: Some(now),
            example: Some("H55.1-260126-0001".to_owned()),
            ..Watchdog::default()
        };
        let both = [holds, lane];
        let said = verdict(&standing(&[(EntryState::Dead, 1)]), &both, None, None, now);
        assert_eq!(
            said,
            "BROKEN watchdog.lane (1, e.g. H55.1-260126-0001): hoso explain watchdog.lane; \
             1 needs a person: hoso problems list"
        );
        let lines = watchdog_lines(&both, now);
        assert!(lines.contains("1 of 2 BROKEN"), "{lines}");
        assert!(lines.contains("The lane of a dossier is taken though nothing of it is out"));
        assert!(watchdog_lines(&both[..1], now).contains("1 hold"));
        assert!(watchdog_lines(&[], now).contains("have not looked yet"));
    }
}
