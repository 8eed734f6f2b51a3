//! `hoso dossier show --as-of`: a dossier as it was.

use std::fmt::Display;

use super::history::attempt_text;
use super::show::{Lines, changed, notes, version};
use crate::cli::words;
use crate::ledger::past::{Believed, Gap, Past};
use crate::ledger::view::DossierView;
use crate::messages::{self, Language, say};

pub(super) fn as_of(view: &DossierView, past: &Past, language: Language) -> String {
    let said = |key: &str, values: &[(&str, &dyn Display)]| say(language, key, values);
    let heading: [(&str, &dyn Display); 3] =
        [("code", &view.ma_ho_so), ("source", &view.source), ("at", &past.at)];
    let mut lines = Lines { text: said("dossier.as_of_heading", &heading) + "\n", language };
    let source = match &past.revision {
        None => said("dossier.as_of_nothing_received", &[]),
        Some(revision) => said(
            "dossier.as_of_revision",
            &[
                ("id", &revision.id),
                ("version", &version(language, revision)),
                ("changed", &changed(language, revision)),
                ("received", &revision.received_at),
                ("count", &past.revisions),
                ("notes", &notes(language, revision)),
            ],
        ),
    };
    lines.add("dossier.as_of_source", &source);
    match &past.believed {
        None => lines.add("dossier.as_of_believed", &said("dossier.as_of_nothing_owed", &[])),
        Some(believed) => self::believed(&mut lines, believed),
    }
    portal(&mut lines, past);
    for found in &past.discrepancies {
        lines.add("dossier.as_of_discrepancy", found);
    }
    for gap in &past.gaps {
        let key = match gap {
            Gap::BeforeFirstSeen => "dossier.gap_before_first_seen",
            Gap::Trimmed => "dossier.gap_trimmed",
            Gap::Derived => "dossier.gap_derived",
            Gap::MappingTimeUnknown => "dossier.gap_mapping",
            Gap::StepsChanged => "dossier.gap_steps",
            Gap::PacketReplaced => "dossier.gap_packet",
        };
        lines.add("dossier.as_of_unsure", &said(key, &[]));
    }
    lines.text
}

fn believed(lines: &mut Lines, believed: &Believed) {
    let language = lines.language;
    let (entry, revision, since) = (&believed.entry_id, &believed.revision_id, &believed.since);
    let values: [(&str, &dyn Display); 3] =
        [("id", entry), ("revision", revision), ("since", since)];
    let mut text = match believed.state {
        None => say(language, "dossier.as_of_unmapped_or_ready", &values),
        Some(state) => {
            let state = words::state(language, state);
            let [id, revision, since] = values;
            let values = [id, revision, since, ("state", &state as &dyn Display)];
            say(language, "dossier.as_of_state", &values)
        }
    };
    if let Some(rule) = &believed.rule {
        text.push_str(", ");
        text.push_str(&say(language, "dossier.as_of_because", &[("rule", rule)]));
    }
    lines.add("dossier.as_of_believed", &text);
    if let Some(last) = &believed.last_attempt {
        let ended = believed.attempts as u64;
        let mut text = messages::count(language, ended, "dossier.as_of_attempts");
        let outcome = attempt_text(language, last);
        text.push_str("; ");
        text.push_str(&say(
            language,
            "dossier.as_of_last_attempt",
            &[("at", &last.at), ("outcome", &outcome)],
        ));
        lines.add("dossier.attempts", &text);
    }
}

fn portal(lines: &mut Lines, past: &Past) {
    let language = lines.language;
    let held = match &past.portal.packet {
        None => say(language, "dossier.as_of_portal_nothing", &[]),
        Some(packet) => {
            let mut text = match &packet.revision_id {
                Some(revision) => say(
                    language,
                    "dossier.as_of_portal_packet",
                    &[("id", &packet.entry_id), ("revision", revision), ("at", &packet.at)],
                ),
                None => say(
                    language,
                    "dossier.as_of_portal_packet_trimmed",
                    &[("id", &packet.entry_id), ("at", &packet.at)],
                ),
            };
            if let (Some(version), Some(hash)) = (&packet.mapping_version, &packet.packet_hash) {
                let hash = hash.get(..12).unwrap_or(hash);
                text.push_str("; ");
                text.push_str(&say(
                    language,
                    "dossier.as_of_portal_mapping",
                    &[("version", version), ("hash", &hash)],
                ));
            }
            text
        }
    };
    lines.add("dossier.as_of_portal", &held);
    if !past.steps.is_empty() {
        let counts: [(&str, &dyn Display); 2] =
            [("acked", &past.portal.steps.len()), ("all", &past.steps.len())];
        lines.add("dossier.steps", &say(language, "dossier.as_of_portal_steps", &counts));
        let rows = past.steps.iter().map(|step| {
            let state = match &step.state {
                Some(state) => words::step_state(language, state),
                None => say(language, "dossier.step_changed_since", &[]),
            };
            vec![format!("    {}/{}", step.thoi_diem_xu_ly, step.trang_thai), state]
        });
        let header = [
            format!("    {}", say(language, "dossier.column_step", &[])),
            say(language, "dossier.column_state", &[]),
        ];
        lines.text.push_str(&words::table(&header.each_ref().map(String::as_str), rows));
    }
    if let Some((at, outcome)) = &past.portal.looked {
        let outcome = outcome.replace('_', " ");
        let values: [(&str, &dyn Display); 2] = [("at", at), ("outcome", &outcome)];
        lines.add("dossier.as_of_portal", &say(language, "dossier.as_of_portal_looked", &values));
    }
}
