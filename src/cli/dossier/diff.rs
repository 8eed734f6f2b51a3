//! `hoso dossier diff`: three accounts of one dossier beside one another: its source's newest, mapped
//! now; what the portal was told last; what the portal shows.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use serde::Serialize;
use serde_json::Value;

use crate::cli::words;
use crate::domain::difference::{Difference, Shown, differences, echo_differences};
use crate::domain::time::Timestamp;
use crate::ledger::view::{DossierView, KeptBodies};
use crate::mapping::Mapping;
use crate::messages::{self, Language, say};
use crate::portal::LookUpVerdict;

#[derive(Debug, Serialize)]
pub(super) struct Diff {
    ma_ho_so: String,
    source: String,
    now: Now,
    told: Told,
    echo: Echo,
    fields: Vec<Field>,
    /// Steps that the portal has not acknowledged.
    steps_open: u64,
}

/// The source's newest revision through the mapping of today.
#[derive(Debug, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum Now {
    Mapped { revision_id: i64, mapping_version: String },
    DocumentGone,
    Refused { findings: Vec<String> },
}

/// The packet that the portal acknowledged last.
#[derive(Debug, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum Told {
    Never,
    Packet { entry_id: i64, at: Option<Timestamp> },
    PacketGone { entry_id: i64, at: Option<Timestamp> },
}

/// What the portal shows when it is asked.
#[derive(Debug, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Echo {
    NotAsked,
    /// Somebody else owns the gate.
    NotOurs {
        owner: String,
    },
    Missing {
        at: Timestamp,
    },
    /// It has the dossier, and shows no field of it.
    Existence {
        at: Timestamp,
    },
    Shown {
        at: Timestamp,
        #[serde(skip)]
        echoed: BTreeMap<String, String>,
    },
    Failed {
        failure: String,
    },
}

impl Echo {
    pub(super) fn of(verdict: LookUpVerdict, at: Timestamp) -> Self {
        match verdict {
            LookUpVerdict::Missing => Self::Missing { at },
            LookUpVerdict::Found { echoed } if echoed.keys().all(|name| name == "MaHoSo") => {
                Self::Existence { at }
            }
            LookUpVerdict::Found { echoed } => Self::Shown { at, echoed },
            LookUpVerdict::Failed(failure) | LookUpVerdict::NotSent { failure, .. } => {
                Self::Failed { failure: failure.to_string() }
            }
        }
    }
}

/// One field that differs in one of the accounts; what is absent there is empty here.
#[derive(Debug, Default, Serialize)]
struct Field {
    path: String,
    told: Option<String>,
    now: Option<String>,
    echo: Option<String>,
    /// All that differs says the same.
    formatting_only: bool,
    #[serde(skip)]
    is_compared_with_echo: bool,
    #[serde(skip)]
    is_compared_with_now: bool,
}

/// `newest` is what is kept of the newest revision, `acked` of the acknowledged entry.
pub(super) fn diff(
    view: &DossierView,
    newest: Option<&KeptBodies>,
    acked: Option<&KeptBodies>,
    mapping: &Mapping,
    echo: Echo,
) -> Diff {
    let mut now_packet = None;
    let now = match newest.and_then(|kept| Some((kept.revision_id, kept.document.as_deref()?))) {
        None => Now::DocumentGone,
        Some((revision_id, document)) => {
            let mapped = mapping.map(document);
            match mapped.dossier {
                Some(dossier) => {
                    now_packet = serde_json::to_value(&dossier).ok();
                    let mapping_version = mapping.version().to_owned();
                    Now::Mapped { revision_id, mapping_version }
                }
                None => Now::Refused {
                    findings: mapped.diagnostics.iter().map(ToString::to_string).collect(),
                },
            }
        }
    };
    let told_packet: Option<Value> = acked
        .and_then(|kept| kept.packet.as_deref())
        .and_then(|packet| serde_json::from_str(packet).ok());
    let told = match (view.acked_entry_id, &told_packet) {
        (None, _) => Told::Never,
        (Some(entry_id), Some(_)) => Told::Packet { entry_id, at: view.acked_at },
        (Some(entry_id), None) => Told::PacketGone { entry_id, at: view.acked_at },
    };
    let mut fields: Vec<Field> = Vec::new();
    if let (Some(told), Some(now)) = (&told_packet, &now_packet) {
        for found in differences(told, now) {
            let Difference { path, before, after, formatting_only } = found;
            let is_compared_with_now = true;
            fields.push(Field {
                path,
                told: before,
                now: after,
                formatting_only,
                is_compared_with_now,
                ..Field::default()
            });
        }
    }
    // Without a packet that the portal was told, what it shows is compared with the source's.
    let compared = told_packet.as_ref().or(now_packet.as_ref());
    if let (Echo::Shown { echoed, .. }, Some(packet)) = (&echo, compared) {
        for found in echo_differences(packet, echoed, Shown::Masked).unwrap_or_default() {
            let Difference { path, before, after, formatting_only } = found;
            let at = fields.iter().position(|field| field.path == path);
            let at = at.unwrap_or_else(|| {
                let (told, now) =
                    if told_packet.is_some() { (before, None) } else { (None, before) };
                fields.push(Field { path, told, now, formatting_only, ..Field::default() });
                fields.len() - 1
            });
            let field = &mut fields[at];
            field.echo = after;
            field.is_compared_with_echo = true;
            field.formatting_only &= formatting_only;
        }
    }
    let open = |state: &str| matches!(state, "pending" | "leased" | "held");
    let steps_open = view.steps.iter().filter(|step| open(&step.state)).count() as u64;
    Diff {
        ma_ho_so: view.ma_ho_so.clone(),
        source: view.source.clone(),
        now,
        told,
        echo,
        fields,
        steps_open,
    }
}

pub(super) fn text(diff: &Diff, language: Language) -> String {
    let said = |key: &str, values: &[(&str, &dyn Display)]| say(language, key, values);
    let from: [(&str, &dyn Display); 2] = [("code", &diff.ma_ho_so), ("source", &diff.source)];
    let mut out = said("explain.from", &from) + "\n\n";
    let mut side = |key: &str, what: String| {
        // Writing to a String cannot fail, here and below.
        let _infallible = writeln!(out, "  {:<26}{what}", said(key, &[]));
    };
    side("dossier.diff_told", told(&diff.told, language));
    side("dossier.diff_now", now(&diff.now, language));
    side("dossier.diff_echo", echo(&diff.echo, language));
    if let Now::Refused { findings } = &diff.now {
        for finding in findings {
            side("dossier.finding", finding.clone());
        }
    }
    if diff.steps_open > 0 {
        side("dossier.steps", messages::count(language, diff.steps_open, "dossier.diff_steps"));
    }
    out.push('\n');
    if diff.fields.is_empty() {
        let compared =
            !matches!(diff.told, Told::Packet { .. }) || !matches!(diff.now, Now::Mapped { .. });
        if !compared || matches!(diff.echo, Echo::Shown { .. }) {
            out.push_str(&said("dossier.diff_equal", &[]));
            out.push('\n');
        }
        return out;
    }
    let header = [
        "dossier.diff_column_field",
        "dossier.diff_column_told",
        "dossier.diff_column_now",
        "dossier.diff_column_echo",
        "dossier.diff_column_note",
    ]
    .map(|key| said(key, &[]));
    let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows = diff.fields.iter().map(|field| {
        let same = || "=".to_owned();
        vec![
            field.path.clone(),
            cell(&field.told),
            if field.is_compared_with_now { cell(&field.now) } else { same() },
            if field.is_compared_with_echo { cell(&field.echo) } else { same() },
            if field.formatting_only {
                said("dossier.diff_formatting", &[])
            } else {
                String::new()
            },
        ]
    });
    out.push_str(&words::table(&header.each_ref().map(String::as_str), rows));
    out
}

fn told(told: &Told, language: Language) -> String {
    let never = || say(language, "dossier.never", &[]);
    let at = |at: &Option<Timestamp>| at.map_or_else(never, |at| at.to_string());
    match told {
        Told::Never => say(language, "dossier.diff_never_told", &[]),
        Told::Packet { entry_id, at: acked } => {
            let values: [(&str, &dyn Display); 2] = [("id", entry_id), ("at", &at(acked))];
            say(language, "dossier.diff_side_entry", &values)
        }
        Told::PacketGone { entry_id, at: acked } => {
            let values: [(&str, &dyn Display); 2] = [("id", entry_id), ("at", &at(acked))];
            say(language, "dossier.diff_packet_gone", &values)
        }
    }
}

fn now(now: &Now, language: Language) -> String {
    match now {
        Now::Mapped { revision_id, mapping_version } => {
            let values: [(&str, &dyn Display); 2] =
                [("id", revision_id), ("version", mapping_version)];
            say(language, "dossier.diff_side_revision", &values)
        }
        Now::DocumentGone => say(language, "dossier.diff_document_gone", &[]),
        Now::Refused { .. } => say(language, "dossier.diff_not_mapped", &[]),
    }
}

fn echo(echo: &Echo, language: Language) -> String {
    match echo {
        Echo::NotAsked => say(language, "dossier.diff_not_asked", &[]),
        Echo::NotOurs { owner } => {
            say(language, "dossier.diff_not_ours_to_ask", &[("owner", owner)])
        }
        Echo::Missing { .. } => say(language, "dossier.diff_missing", &[]),
        Echo::Existence { .. } => say(language, "dossier.diff_existence", &[]),
        Echo::Shown { at, .. } => say(language, "dossier.diff_shown", &[("at", at)]),
        Echo::Failed { failure } => say(language, "dossier.diff_failed", &[("failure", failure)]),
    }
}
