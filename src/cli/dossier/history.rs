//! `hoso dossier history`: everything that happened to a dossier, in the order of time.

use std::fmt::{Display, Write as _};

use serde::Serialize;

use super::show::trimmed_text;
use crate::cli::words;
use crate::domain::diagnostic::Diagnostic;
use crate::domain::failure::Failure;
use crate::domain::time::Timestamp;
use crate::ledger::view::{AttemptView, DossierView, EntryView, RevisionView};
use crate::messages::{self, Language, say};

/// One line of a history.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    at: Timestamp,
    source: String,
    what: What,
    text: String,
}

/// In the order in which things of one moment are told: causes before effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    /// First of all: what stood before it is not all that there was.
    Trimmed,
    Received,
    Person,
    Owed,
    Mapped,
    Attempt,
    LookUp,
    State,
    Step,
    Differs,
    Agrees,
}

impl What {
    const fn key(self) -> &'static str {
        match self {
            Self::Trimmed => "dossier.what_trimmed",
            Self::Received => "dossier.what_received",
            Self::Person => "dossier.what_person",
            Self::Owed => "dossier.what_owed",
            Self::Mapped => "dossier.what_mapped",
            Self::Attempt => "dossier.what_attempt",
            Self::LookUp => "dossier.what_look",
            Self::State => "dossier.what_state",
            Self::Step => "dossier.what_step",
            Self::Differs => "dossier.what_differs",
            Self::Agrees => "dossier.what_agrees",
        }
    }
}

pub(super) fn history(views: &[DossierView], language: Language) -> Vec<Event> {
    let mut events = Vec::new();
    for view in views {
        let mut add = |at, what, text| {
            events.push(Event { at, source: view.source.clone(), what, text });
        };
        if let Some(trimmed) = &view.trimmed {
            add(view.first_seen_at, What::Trimmed, trimmed_text(language, trimmed));
        }
        for revision in &view.revisions {
            add(revision.received_at, What::Received, revision_text(language, revision));
        }
        for audit in &view.audit {
            let values: [(&str, &dyn Display); 4] = [
                ("action", &audit.action),
                ("actor", &audit.actor),
                ("reason", &audit.reason),
                ("result", &audit.result),
            ];
            add(audit.at, What::Person, say(language, "dossier.history_audit", &values));
        }
        for attempt in &view.attempts {
            let what = if attempt.kind == "read_back" { What::LookUp } else { What::Attempt };
            add(attempt.at, what, attempt_text(language, attempt));
        }
        for entry in &view.entries {
            entry_events(language, entry, &mut add);
        }
        for step in &view.steps {
            let why = why(language, step.failure.as_ref(), &[]);
            let values: [(&str, &dyn Display); 4] = [
                ("time", &step.thoi_diem_xu_ly),
                ("status", &step.trang_thai),
                ("state", &words::step_state(language, &step.state)),
                ("why", &why),
            ];
            add(step.changed_at, What::Step, say(language, "dossier.history_step", &values));
        }
        for found in &view.discrepancies {
            let kind = words::discrepancy(language, &found.kind);
            add(found.found_at, What::Differs, format!("{kind}: {}", found.detail));
            if let Some(at) = found.resolved_at {
                let how = found.resolution.as_deref().unwrap_or("settled");
                add(at, What::Agrees, format!("{kind}: {how}"));
            }
        }
    }
    events.sort_by_key(|event| (event.at, event.what));
    events
}

fn revision_text(language: Language, revision: &RevisionView) -> String {
    let version = match revision.version {
        Some(version) => {
            format!(" {}", say(language, "dossier.history_version", &[("version", &version)]))
        }
        None => String::new(),
    };
    let mut notes = String::new();
    for (is_so, key) in
        [(revision.deleted, "dossier.note_deleted"), (revision.ministry, "dossier.note_ministry")]
    {
        if is_so {
            notes.push_str(&say(language, key, &[]));
        }
    }
    let print = revision.fingerprint.get(..12).unwrap_or(&revision.fingerprint);
    say(
        language,
        "dossier.history_revision",
        &[("id", &revision.id), ("version", &version), ("print", &print), ("notes", &notes)],
    )
}

fn entry_events(
    language: Language,
    entry: &EntryView,
    add: &mut impl FnMut(Timestamp, What, String),
) {
    let opened =
        if entry.forced { "dossier.history_opened_forced" } else { "dossier.history_opened" };
    let values: [(&str, &dyn Display); 2] = [("id", &entry.id), ("revision", &entry.revision_id)];
    add(entry.created_at, What::Owed, say(language, opened, &values));
    for past in &entry.past {
        let values: [(&str, &dyn Display); 4] = [
            ("id", &entry.id),
            ("state", &past.state),
            ("until", &past.until),
            ("why", &why(language, past.failure.as_ref(), &past.diagnostics)),
        ];
        add(past.since, What::State, say(language, "dossier.history_put_back", &values));
    }
    if let (Some(at), Some(version)) = (entry.mapped_at, &entry.mapping_version) {
        let values: [(&str, &dyn Display); 2] = [("id", &entry.id), ("version", version)];
        add(at, What::Mapped, say(language, "dossier.history_mapped", &values));
    }
    let values: [(&str, &dyn Display); 3] = [
        ("id", &entry.id),
        ("state", &entry.state),
        ("why", &why(language, entry.failure.as_ref(), &entry.diagnostics)),
    ];
    add(entry.changed_at, What::State, say(language, "dossier.history_state", &values));
}

fn why(language: Language, failure: Option<&Failure>, findings: &[Diagnostic]) -> String {
    let failure = failure.map_or_else(String::new, |failure| format!("; {failure}"));
    match findings.len() as u64 {
        0 => failure,
        number => {
            format!("{failure}; {}", messages::count(language, number, "dossier.findings"))
        }
    }
}

/// Names of outcomes, services and codes are the ledger's own, in every language.
pub(super) fn attempt_text(language: Language, attempt: &AttemptView) -> String {
    let mut text = match (attempt.kind.as_str(), attempt.number) {
        // Nothing of ours was sent that could be read back.
        ("read_back", 0) => {
            let outcome = attempt.outcome.replace('_', " ");
            say(language, "dossier.asked_before_sending", &[("outcome", &outcome)])
        }
        (kind, number) => format!("{kind} {number}: {}", attempt.outcome),
    };
    // Writing to a String cannot fail, here and below.
    if let Some(service) = &attempt.service {
        let _infallible = write!(text, ", {service}");
    }
    if let Some(items) = attempt.items {
        let items = messages::count(language, u64::from(items), "dossier.items");
        let _infallible = write!(text, ", {items}");
    }
    if let Some(ms) = attempt.duration_ms {
        let _infallible = write!(text, ", {ms} ms");
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

pub(super) fn history_text(events: &[Event], language: Language) -> String {
    let several = events.iter().any(|event| event.source != events[0].source);
    let mut text = String::new();
    for event in events {
        let source = if several { format!("{}: ", event.source) } else { String::new() };
        let what = say(language, event.what.key(), &[]);
        let _infallible = writeln!(text, "{}  {what:<9} {source}{}", event.at, event.text);
    }
    text
}
