//! `hoso dossier`: one dossier, as it stands, in plain words, and as it came to be.

use std::fmt::Write as _;

use clap::Subcommand;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::person::Person;
use super::situation::{Situation, situation};
use super::{Invocation, build, words};
use crate::clock::{Clock, SystemClock};
use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::ledger::record::{AuditRecord, HoldOutcome};
use crate::ledger::view::{AttemptView, DossierView, TrimmedView};

/// Look at one dossier: as it stands, in plain words, or its history
///
/// A code that several sources use is shown for each of them. Nothing personal is ever shown: the
/// ledger's views hold codes, times, states and answers only.
///
/// Example: hoso dossier explain H55.242-260126-0001
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    Show(ShowArguments),
    Explain(ExplainArguments),
    History(HistoryArguments),
    Hold(HoldArguments),
    Release(HoldArguments),
}

/// Show a dossier's state: revision, entry, steps, receipts, discrepancies
///
/// Example: hoso dossier show H55.242-260126-0001
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ShowArguments {
    /// The dossier's code (MaHoSo)
    code: String,
}

/// Say in plain words where a dossier is, what it waits for, until when, and who must act
///
/// Example: hoso dossier explain H55.242-260126-0001
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ExplainArguments {
    /// The dossier's code (MaHoSo)
    code: String,
}

/// List what happened to a dossier, oldest first: changes, attempts with their calls, people
///
/// Example: hoso dossier history H55.242-260126-0001 --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct HistoryArguments {
    /// The dossier's code (MaHoSo)
    code: String,
}

/// Place a legal hold on a dossier, or end it with `release`: nothing of a held one is ever deleted
///
/// Retention takes neither its documents nor its history until it is released. Both are kept in
/// the audit.
///
/// Example: hoso dossier hold H55.242-260126-0001 --reason "complaint 12/2026"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct HoldArguments {
    /// The dossier's code (MaHoSo)
    code: String,
    /// Only the dossier of this source, if several sources use the code
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    person: Person,
}

/// One line of a history.
#[derive(Debug, Serialize)]
struct Event {
    at: Timestamp,
    source: String,
    what: &'static str,
    text: String,
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    let done = match which {
        Which::Show(arguments) => {
            let views = views(ledger.as_ref(), &arguments.code).await?;
            invocation.output.result(&views, |views| each(views, |view| show(view, now)));
            Ok(())
        }
        Which::Explain(arguments) => {
            let views = views(ledger.as_ref(), &arguments.code).await?;
            let sending = ledger.sending(now).await?;
            let situations: Vec<Situation> =
                views.iter().map(|view| situation(view, &sending, now)).collect();
            invocation
                .output
                .result(&situations, |situations| each(situations, Situation::to_string));
            Ok(())
        }
        Which::History(arguments) => {
            let views = views(ledger.as_ref(), &arguments.code).await?;
            let events = history(&views);
            invocation.output.result(&events, |events| history_text(events));
            Ok(())
        }
        Which::Hold(arguments) => hold(invocation, ledger.as_ref(), now, arguments, true).await,
        Which::Release(arguments) => hold(invocation, ledger.as_ref(), now, arguments, false).await,
    };
    ledger.close().await;
    done
}

#[derive(Debug, Serialize)]
struct Held {
    ma_ho_so: String,
    outcome: HoldOutcome,
}

async fn hold(
    invocation: &Invocation,
    ledger: &dyn Ledger,
    now: Timestamp,
    arguments: HoldArguments,
    hold: bool,
) -> Result<(), Failure> {
    let action = if hold { "hold" } else { "release" };
    let (actor, reason) = (arguments.person.actor(), &arguments.person.reason);
    let audit = AuditRecord::new(&actor, action, &arguments.code, reason);
    let source = arguments.source.as_deref();
    let done = ledger.set_hold(now, source, &arguments.code, hold, &audit).await;
    if let Err(error) = &done {
        // Nothing of it was written; that it was tried is, if anything can be.
        ledger.note_act(now, &audit, &format!("failed: {error} ({})", error.code())).await.ok();
    }
    let outcome = done?;
    if outcome == HoldOutcome::UnknownDossier {
        return Err(unknown(&arguments.code));
    }
    invocation.output.result(&Held { ma_ho_so: arguments.code, outcome }, |held| {
        let what = match held.outcome {
            HoldOutcome::Placed => {
                "under a legal hold: nothing of it is deleted until it is released"
            }
            HoldOutcome::AlreadyHeld => "was under a legal hold already; the first one stands",
            HoldOutcome::Released => "released: retention treats it as any other",
            HoldOutcome::NotHeld => "was not under a legal hold",
            HoldOutcome::UnknownDossier => "not in the ledger",
        };
        format!("{}  {what}", held.ma_ho_so)
    });
    Ok(())
}

/// Every source's dossier of this code; none is a failure with a hint.
pub(super) async fn views(ledger: &dyn Ledger, code: &str) -> Result<Vec<DossierView>, Failure> {
    let views = ledger.dossier(code).await?;
    if views.is_empty() {
        return Err(unknown(code));
    }
    Ok(views)
}

pub(super) fn unknown(code: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("the ledger has no dossier {code}")).hint(
        "compare the code letter by letter; a dossier that was not pulled yet is unknown too: \
         `hoso status` says when each source was last read",
    )
}

fn each<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join("\n")
}

fn show(view: &DossierView, now: Timestamp) -> String {
    let mut text = format!("{} from {}\n", view.ma_ho_so, view.source);
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail, here and below.
        let _infallible = writeln!(text, "  {name:<14}{value}");
    };
    line("first seen", &words::when(view.first_seen_at, now));
    if let Some(hold) = &view.hold {
        let since = words::when(hold.since, now);
        line("legal hold", &format!("since {since}, by {}: {}", hold.by, hold.reason));
    }
    if let Some(trimmed) = &view.trimmed {
        line("trimmed", &trimmed_text(trimmed));
    }
    if let Some(revision) = view.revisions.last() {
        if let Some(before) = &revision.recoded_from {
            line("before", &format!("{before}, says its source"));
        }
        let version = revision
            .version
            .map_or_else(|| "without version".to_owned(), |version| format!("version {version}"));
        let changed = revision.changed_at.map_or_else(String::new, |at| format!(", changed {at}"));
        line(
            "revision",
            &format!(
                "{} known, the newest: {version}{changed}, received {}{}{}{}",
                view.revisions.len(),
                words::when(revision.received_at, now),
                if revision.deleted { ", deleted at the source" } else { "" },
                if revision.ministry { ", owned by a ministry's system" } else { "" },
                if revision.body_kept { "" } else { ", document past retention" },
            ),
        );
    }
    if let Some(entry) = view.newest_entry() {
        line("state", &format!("{}: {}", entry.state, words::state(entry.state)));
        line("since", &words::when(entry.changed_at, now));
        line("attempts", &format!("{}, retries spent {}", entry.attempt, entry.retries));
        if entry.state.is_open() {
            line("due", &words::when(entry.due_at, now));
            line("priority", &format!("{:?}", entry.priority).to_lowercase());
        }
        if let Some(version) = &entry.mapping_version {
            line("mapping", version);
        }
        if let Some(failure) = &entry.failure {
            line("failure", &failure.to_string());
        }
        for diagnostic in &entry.diagnostics {
            line("finding", &diagnostic.to_string());
        }
    }
    line(
        "at the portal",
        match view.portal_known {
            crate::domain::entry::PortalKnown::Yes => "known",
            crate::domain::entry::PortalKnown::No => "not known",
            crate::domain::entry::PortalKnown::Unknown => "nobody has asked yet",
        },
    );
    if let (Some(adoption), Some(cut_over)) = (view.adoption.as_deref(), view.cut_over) {
        let answer = match adoption {
            "known" => "the portal had it",
            "unknown" => "the portal did not have it",
            _ => "the portal was not asked yet",
        };
        line("taken over", &format!("{answer}; cut-over {cut_over}"));
    }
    line(
        "acknowledged",
        &view.acked_at.map_or_else(|| "never".to_owned(), |at| words::when(at, now)),
    );
    if view.steps.is_empty() {
        line("steps", "none");
    } else {
        line("steps", &view.steps.len().to_string());
        let rows = view.steps.iter().map(|step| {
            vec![
                format!("    {}", step.thoi_diem_xu_ly),
                format!("status {}", step.trang_thai),
                step.state.replace('_', " "),
                words::when(step.changed_at, now),
                step.failure.as_ref().map_or_else(String::new, ToString::to_string),
            ]
        });
        text.push_str(&words::table(&["    TIME", "STEP", "STATE", "SINCE", ""], rows));
    }
    for found in &view.discrepancies {
        let end = match (&found.resolved_at, &found.resolution) {
            (Some(at), resolution) => format!(
                "settled {}{}",
                words::when(*at, now),
                resolution.as_deref().map_or_else(String::new, |how| format!(": {how}"))
            ),
            (None, _) => "OPEN".to_owned(),
        };
        let _infallible = writeln!(
            text,
            "  discrepancy   {} found {}: {}; {end}",
            found.kind.replace('_', " "),
            words::when(found.found_at, now),
            found.detail
        );
    }
    text
}

/// Everything that happened, in the order of time; of equal times, causes before effects.
fn history(views: &[DossierView]) -> Vec<Event> {
    let mut events = Vec::new();
    for view in views {
        let mut add = |at, what, text| {
            events.push(Event { at, source: view.source.clone(), what, text });
        };
        if let Some(trimmed) = &view.trimmed {
            // First of all: what stood before it is not all that there was.
            add(view.first_seen_at, "trimmed", trimmed_text(trimmed));
        }
        for revision in &view.revisions {
            let version =
                revision.version.map_or_else(String::new, |version| format!(" version {version}"));
            let kind = if revision.deleted {
                ", deleted at the source"
            } else if revision.ministry {
                ", owned by a ministry's system"
            } else {
                ""
            };
            let print = revision.fingerprint.get(..12).unwrap_or(&revision.fingerprint);
            add(
                revision.received_at,
                "received",
                format!("revision{version}, fingerprint {print}{kind}"),
            );
        }
        for audit in &view.audit {
            add(
                audit.at,
                "person",
                format!("{} by {}: {} ({})", audit.action, audit.actor, audit.reason, audit.result),
            );
        }
        for attempt in &view.attempts {
            add(attempt.at, "attempt", attempt_text(attempt));
        }
        for entry in &view.entries {
            let forced = if entry.forced { ", asked for by a person" } else { "" };
            add(entry.created_at, "owed", format!("entry {} opened{forced}", entry.id));
            let failure =
                entry.failure.as_ref().map_or_else(String::new, |failure| format!("; {failure}"));
            let findings = match entry.diagnostics.as_slice() {
                [] => String::new(),
                found => format!("; {}", words::count(found.len() as u64, "finding")),
            };
            add(
                entry.changed_at,
                "state",
                format!("entry {} {}{failure}{findings}", entry.id, entry.state),
            );
        }
        for found in &view.discrepancies {
            let kind = found.kind.replace('_', " ");
            add(found.found_at, "differs", format!("{kind}: {}", found.detail));
            if let Some(at) = found.resolved_at {
                let how = found.resolution.as_deref().unwrap_or("settled");
                add(at, "agrees", format!("{kind}: {how}"));
            }
        }
    }
    events.sort_by_key(|event| {
        let rank = match event.what {
            "trimmed" => -1,
            "received" => 0,
            "person" => 1,
            "owed" => 2,
            "attempt" => 3,
            _ => 4,
        };
        (event.at, rank)
    });
    events
}

fn trimmed_text(trimmed: &TrimmedView) -> String {
    let lost: Vec<String> = [
        ("revisions", trimmed.revisions),
        ("entries", trimmed.entries),
        ("attempts", trimmed.attempts),
    ]
    .into_iter()
    .filter(|(_, number)| *number > 0)
    .map(|(name, number)| format!("older {name} ({})", words::thousands(number)))
    .collect();
    format!("{} were removed by retention, the last on {}", lost.join(", "), trimmed.at)
}

fn attempt_text(attempt: &AttemptView) -> String {
    let mut text = match (attempt.kind.as_str(), attempt.number) {
        // Nothing of ours was sent that could be read back.
        ("read_back", 0) => format!("asked before sending: {}", attempt.outcome.replace('_', " ")),
        (kind, number) => format!("{kind} {number}: {}", attempt.outcome),
    };
    // Writing to a String cannot fail, here and below.
    if let Some(service) = &attempt.service {
        let _infallible = write!(text, ", {service}");
    }
    if let Some(items) = attempt.items {
        let _infallible = write!(text, " with {}", words::count(u64::from(items), "item"));
    }
    if let Some(ms) = attempt.duration_ms {
        let _infallible = write!(text, " in {ms} ms");
    }
    if let Some(status) = attempt.http_status {
        let _infallible = write!(text, ", HTTP {status}");
    }
    if let Some(code) = &attempt.error_code {
        let _infallible = write!(text, ", error_code {code}");
    }
    if let Some(id) = &attempt.correlation_id {
        let _infallible = write!(text, ", correlationId {id}");
    }
    if let Some(message) = attempt.message.as_deref().filter(|words| !words.is_empty()) {
        let _infallible = write!(text, " \"{message}\"");
    }
    if let Some(code) = &attempt.failure_code {
        let _infallible = write!(text, " [{code}]");
    }
    if let Some(detail) = attempt.detail.as_deref().filter(|words| !words.is_empty()) {
        let _infallible = write!(text, " ({detail})");
    }
    text
}

fn history_text(events: &[Event]) -> String {
    let several = events.iter().any(|event| event.source != events[0].source);
    let mut text = String::new();
    for event in events {
        let source = if several { format!("{}: ", event.source) } else { String::new() };
        let _infallible = writeln!(text, "{}  {:<9} {source}{}", event.at, event.what, event.text);
    }
    text
}
