//! `hoso dossier show`: a dossier as it stands.

use std::fmt::{Display, Write as _};

use crate::cli::words;
use crate::domain::entry::PortalKnown;
use crate::domain::time::Timestamp;
use crate::ledger::view::{DiscrepancyView, DossierView, RevisionView, TrimmedView};
use crate::messages::{self, Language, say, when};

/// Lines of a name and a value.
pub(super) struct Lines {
    pub text: String,
    pub language: Language,
}

impl Lines {
    /// `key` is that of the name.
    pub(super) fn add(&mut self, key: &str, value: &str) {
        let name = say(self.language, key, &[]);
        // Writing to a String cannot fail, here and below.
        let _infallible = writeln!(self.text, "  {name:<16}{value}");
    }
}

pub(super) fn show(view: &DossierView, now: Timestamp, language: Language) -> String {
    let said = |key: &str, values: &[(&str, &dyn Display)]| say(language, key, values);
    let from = [("code", &view.ma_ho_so as &dyn Display), ("source", &view.source)];
    let mut lines = Lines { text: said("explain.from", &from) + "\n", language };
    lines.add("dossier.first_seen", &when(language, view.first_seen_at, now));
    if let Some(hold) = &view.hold {
        let since = when(language, hold.since, now);
        let value = [("since", &since as &dyn Display), ("by", &hold.by), ("reason", &hold.reason)];
        lines.add("dossier.legal_hold", &said("dossier.legal_hold_since", &value));
    }
    if let Some(trimmed) = &view.trimmed {
        lines.add("dossier.trimmed", &trimmed_text(language, trimmed));
    }
    if let Some(revision) = view.revisions.last() {
        if let Some(before) = &revision.recoded_from {
            lines.add("dossier.before", &said("dossier.before_text", &[("code", before)]));
        }
        let text = said(
            "dossier.revision_text",
            &[
                ("count", &view.revisions.len()),
                ("version", &version(language, revision)),
                ("changed", &changed(language, revision)),
                ("received", &when(language, revision.received_at, now)),
                ("notes", &notes(language, revision)),
            ],
        );
        lines.add("dossier.revision", &text);
    }
    if let Some(entry) = view.newest_entry() {
        let state = format!("{}: {}", entry.state, words::state(language, entry.state));
        lines.add("dossier.state", &state);
        lines.add("dossier.since", &when(language, entry.changed_at, now));
        let spent = [("attempts", &entry.attempt as &dyn Display), ("retries", &entry.retries)];
        lines.add("dossier.attempts", &said("dossier.attempts_text", &spent));
        if entry.state.is_open() {
            lines.add("dossier.due", &when(language, entry.due_at, now));
            lines.add("dossier.priority", &format!("{:?}", entry.priority).to_lowercase());
        }
        if let Some(version) = &entry.mapping_version {
            lines.add("dossier.mapping", version);
        }
        if let Some(failure) = &entry.failure {
            lines.add("dossier.failure", &failure.to_string());
        }
        for diagnostic in &entry.diagnostics {
            lines.add("dossier.finding", &diagnostic.to_string());
        }
    }
    let known = match view.portal_known {
        PortalKnown::Yes => "dossier.portal_known",
        PortalKnown::No => "dossier.portal_not_known",
        PortalKnown::Unknown => "dossier.portal_not_asked",
    };
    lines.add("dossier.at_the_portal", &said(known, &[]));
    if let (Some(adoption), Some(cut_over)) = (view.adoption.as_deref(), view.cut_over) {
        let answer = match adoption {
            "known" => "dossier.taken_over_known",
            "unknown" => "dossier.taken_over_unknown",
            _ => "dossier.taken_over_not_asked",
        };
        let answer = said(answer, &[]);
        let values = [("answer", &answer as &dyn Display), ("at", &cut_over)];
        lines.add("dossier.taken_over", &said("dossier.taken_over_text", &values));
    }
    let acknowledged = match view.acked_at {
        Some(at) => when(language, at, now),
        None => said("dossier.never", &[]),
    };
    lines.add("dossier.acknowledged", &acknowledged);
    if view.steps.is_empty() {
        lines.add("dossier.steps", &said("dossier.none", &[]));
    } else {
        lines.add("dossier.steps", &view.steps.len().to_string());
        lines.text.push_str(&steps(view, now, language));
    }
    for found in &view.discrepancies {
        lines.add("dossier.discrepancy", &discrepancy(found, now, language));
    }
    lines.text
}

fn steps(view: &DossierView, now: Timestamp, language: Language) -> String {
    let said = |key: &str| say(language, key, &[]);
    let header = [
        format!("    {}", said("dossier.column_time")),
        said("dossier.column_step"),
        said("dossier.column_state"),
        said("dossier.column_since"),
        String::new(),
    ];
    let rows = view.steps.iter().map(|step| {
        vec![
            format!("    {}", step.thoi_diem_xu_ly),
            say(language, "dossier.step_status", &[("status", &step.trang_thai)]),
            words::step_state(language, &step.state),
            when(language, step.changed_at, now),
            step.failure.as_ref().map_or_else(String::new, ToString::to_string),
        ]
    });
    words::table(&header.each_ref().map(String::as_str), rows)
}

fn discrepancy(found: &DiscrepancyView, now: Timestamp, language: Language) -> String {
    let end = match (&found.resolved_at, &found.resolution) {
        (Some(at), Some(how)) => {
            let at = when(language, *at, now);
            say(language, "dossier.settled_how", &[("at", &at), ("how", how)])
        }
        (Some(at), None) => say(language, "dossier.settled", &[("at", &when(language, *at, now))]),
        (None, _) => say(language, "dossier.open", &[]),
    };
    say(
        language,
        "dossier.discrepancy_text",
        &[
            ("kind", &words::discrepancy(language, &found.kind)),
            ("found", &when(language, found.found_at, now)),
            ("detail", &found.detail),
            ("end", &end),
        ],
    )
}

/// `version 3`, or that it has none.
pub(super) fn version(language: Language, revision: &RevisionView) -> String {
    match revision.version {
        Some(version) => say(language, "dossier.with_version", &[("version", &version)]),
        None => say(language, "dossier.without_version", &[]),
    }
}

/// `, changed TIME`, by the source's clock.
pub(super) fn changed(language: Language, revision: &RevisionView) -> String {
    match revision.changed_at {
        Some(at) => say(language, "dossier.changed", &[("at", &at)]),
        None => String::new(),
    }
}

/// Deleted, a ministry's, past retention.
pub(super) fn notes(language: Language, revision: &RevisionView) -> String {
    let mut notes = String::new();
    for (is_so, key) in [
        (revision.deleted, "dossier.note_deleted"),
        (revision.ministry, "dossier.note_ministry"),
        (!revision.body_kept, "dossier.note_past_retention"),
    ] {
        if is_so {
            notes.push_str(&say(language, key, &[]));
        }
    }
    notes
}

pub(super) fn trimmed_text(language: Language, trimmed: &TrimmedView) -> String {
    let what: Vec<String> = [
        ("dossier.trimmed_revisions", trimmed.revisions),
        ("dossier.trimmed_entries", trimmed.entries),
        ("dossier.trimmed_attempts", trimmed.attempts),
    ]
    .into_iter()
    .filter(|(_, number)| *number > 0)
    .map(|(key, number)| say(language, key, &[("number", &messages::thousands(language, number))]))
    .collect();
    say(language, "dossier.trimmed_text", &[("what", &what.join(", ")), ("at", &trimmed.at)])
}
