//! `hoso dossier raw`: what the source gave, what was mapped, what went over the wire, what came
//! back. Personal values are masked unless whoever asks has left a reason in the audit.

use std::fmt::{Display, Write as _};

use serde::Serialize;

use super::history::attempt_text;
use crate::cli::way;
use crate::config::Config;
use crate::domain::entry::PortalKnown;
use crate::domain::masked;
use crate::domain::time::Timestamp;
use crate::ledger::view::{AttemptView, DossierView, KeptBodies, KeptStep};
use crate::messages::{self, Language, say};
use crate::portal::profile::{Operation, Profile, Shown};
use crate::xml::{Event, Limits, Scanner};

/// Attributes of a dossier's element that are about its record and not about a citizen.
const SHOWN_ATTRIBUTES: [&str; 5] = ["phienBan", "capNhatLuc", "daXoa", "chuQuan", "maHoSoCu"];

/// Everything that is kept of one revision and its delivery.
#[derive(Debug, Serialize)]
pub(super) struct Raw {
    ma_ho_so: String,
    source: String,
    masked: bool,
    revision_id: i64,
    received_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mapping_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packet: Option<String>,
    steps: Vec<RawStep>,
    requests: Vec<Request>,
    answers: Vec<AttemptView>,
}

#[derive(Debug, Serialize)]
struct RawStep {
    identity: String,
    state: String,
    /// `None` past retention.
    body: Option<String>,
}

/// A request as it went over the wire, as far as it can be known.
#[derive(Debug, Serialize)]
struct Request {
    service: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
    origin: Origin,
    /// Of the call that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<u32>,
}

/// How sure it is that these bytes left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Origin {
    /// The hash is that of the call.
    Exact,
    /// The call carried more; this dossier's part of it.
    Part,
    /// What is kept today gives other bytes than those that left.
    Other,
    /// Nothing left yet.
    Planned,
}

/// `unmask` is for somebody whose reason is on record.
pub(super) fn raw(config: &Config, view: &DossierView, kept: KeptBodies, unmask: bool) -> Raw {
    let settings = way::portal_settings(config);
    let profile = settings.profile.as_ref();
    let requests = [packet_request(profile, view, &kept), steps_request(profile, view, &kept)];
    let shown = |text: &str| masked::json(text, unmask).unwrap_or_else(|| hidden(text));
    let document = kept.document.map(|text| if unmask { text } else { masked_xml(&text) });
    let entry_id = kept.entry_id;
    let answers = view
        .attempts
        .iter()
        .filter(|attempt| attempt.entry_id.is_none() || attempt.entry_id == entry_id)
        .cloned()
        .collect();
    Raw {
        ma_ho_so: view.ma_ho_so.clone(),
        source: view.source.clone(),
        masked: !unmask,
        revision_id: kept.revision_id,
        received_at: kept.received_at,
        document,
        entry_id,
        mapping_version: kept.mapping_version,
        packet: kept.packet.as_deref().map(shown),
        steps: kept
            .steps
            .iter()
            .map(|step| RawStep {
                identity: identity(step),
                state: step.state.clone(),
                body: step.body.as_deref().map(shown),
            })
            .collect(),
        requests: requests
            .into_iter()
            .flatten()
            .map(|request| Request { body: shown(&request.body), ..request })
            .collect(),
        answers,
    }
}

fn hidden(text: &str) -> String {
    format!("({} characters)", text.chars().count())
}

fn identity(step: &KeptStep) -> String {
    let more = if step.ordinal > 0 { format!("#{}", step.ordinal + 1) } else { String::new() };
    format!("{}/{}{more}", step.thoi_diem_xu_ly, step.trang_thai)
}

fn packet_request(profile: &dyn Profile, view: &DossierView, kept: &KeptBodies) -> Option<Request> {
    let packet = kept.packet.as_deref()?;
    let call = view
        .attempts
        .iter()
        .rfind(|attempt| attempt.kind == "packet" && attempt.entry_id == kept.entry_id);
    let packets = [packet];
    // The flag of the call is not kept, but its hash is: one of the two gives it, or neither does.
    let likely = view.portal_known == PortalKnown::Yes;
    let formed: Vec<Request> = [likely, !likely]
        .into_iter()
        .map(|is_updating| {
            let operation = Operation::Dossiers { is_updating, packets: &packets };
            request(profile, &operation, call)
        })
        .collect();
    let exact = formed.iter().position(|request| request.origin == Origin::Exact).unwrap_or(0);
    formed.into_iter().nth(exact)
}

fn steps_request(profile: &dyn Profile, view: &DossierView, kept: &KeptBodies) -> Option<Request> {
    let call = view.attempts.iter().rfind(|attempt| attempt.kind == "steps");
    let named = call.and_then(|call| call.detail.as_deref());
    let bodies: Vec<&str> = kept
        .steps
        .iter()
        .filter(|step| match named {
            Some(detail) => {
                let identity = identity(step);
                detail.split([' ', ',']).any(|word| word == identity)
            }
            None => matches!(step.state.as_str(), "pending" | "leased"),
        })
        .filter_map(|step| step.body.as_deref())
        .collect();
    if bodies.is_empty() {
        return None;
    }
    Some(request(profile, &Operation::Steps { packets: &bodies }, call))
}

/// Formed as the portal's client forms it, but for session and token.
fn request(
    profile: &dyn Profile,
    operation: &Operation<'_>,
    call: Option<&AttemptView>,
) -> Request {
    let formed = profile.form(operation, Shown::default());
    let hash = blake3::Hash::from_bytes(formed.body_hash).to_hex();
    let origin = match call {
        None => Origin::Planned,
        Some(call) if call.body_hash.as_deref() == Some(hash.as_str()) => Origin::Exact,
        Some(call) if call.items.is_some_and(|items| items > operation.items()) => Origin::Part,
        Some(_) => Origin::Other,
    };
    Request {
        service: operation.service().as_str(),
        url: formed.url,
        headers: formed.headers,
        body: String::from_utf8_lossy(&formed.body).into_owned(),
        origin,
        at: call.map(|call| call.at),
        items: call.and_then(|call| call.items),
    }
}

/// An element a line; texts of elements that the contract does not have are hidden.
fn masked_xml(text: &str) -> String {
    let mut scanner = Scanner::new(text, &Limits::default()).tolerant();
    let mut out = String::new();
    let mut open: Vec<&str> = Vec::new();
    // Whether the last thing written was an opening tag, so that its text stays on its line.
    let mut leaf = false;
    loop {
        match scanner.next() {
            Ok(Some(Event::Open { name, attributes, .. })) => {
                if !out.is_empty() {
                    out.push('\n');
                }
                out.extend(std::iter::repeat_n("  ", open.len()));
                let _infallible = write!(out, "<{name}");
                for (attribute, value) in attributes.iter() {
                    let shown = open.is_empty() && SHOWN_ATTRIBUTES.contains(&attribute);
                    let value = if shown { value.into_owned() } else { hidden(&value) };
                    let _infallible = write!(out, " {attribute}=\"{}\"", escaped(&value));
                }
                out.push('>');
                open.push(name);
                leaf = true;
            }
            Ok(Some(Event::Text { value, .. })) => {
                let name = open.last().copied().unwrap_or_default();
                if !value.trim().is_empty() {
                    out.push_str(&escaped(&masked::text(name, value.trim())));
                }
            }
            Ok(Some(Event::Close { name, .. })) => {
                open.pop();
                if !leaf {
                    out.push('\n');
                    out.extend(std::iter::repeat_n("  ", open.len()));
                }
                let _infallible = write!(out, "</{name}>");
                leaf = false;
            }
            Ok(Some(Event::Flaw(_))) => {}
            Ok(None) => return out,
            // It was stored, so it could be read once; what cannot be read is not shown.
            Err(_) => return hidden(text),
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

pub(super) fn text(raw: &Raw, language: Language) -> String {
    let said = |key: &str, values: &[(&str, &dyn Display)]| say(language, key, values);
    let mut out =
        format!("{}\n", said("explain.from", &[("code", &raw.ma_ho_so), ("source", &raw.source)]));
    if raw.masked {
        let _infallible = writeln!(out, "{}", said("dossier.raw_masked", &[]));
    }
    let mut part = |key: &str, about: String, body: Option<String>| {
        let _infallible = writeln!(out, "\n{}: {about}", said(key, &[]));
        if let Some(body) = body {
            let _infallible = writeln!(out, "{body}");
        }
    };
    let gone = || said("dossier.raw_gone", &[]);
    let revision =
        said("dossier.raw_revision", &[("id", &raw.revision_id), ("at", &raw.received_at)]);
    match &raw.document {
        Some(document) => part("dossier.raw_document", revision, Some(document.clone())),
        None => part("dossier.raw_document", format!("{revision}; {}", gone()), None),
    }
    match (&raw.packet, &raw.entry_id, &raw.mapping_version) {
        (Some(packet), Some(id), Some(version)) => {
            let about = said("dossier.raw_entry", &[("id", id), ("version", version)]);
            part("dossier.raw_packet", about, Some(packet.clone()));
        }
        (None, Some(_), Some(_)) => part("dossier.raw_packet", gone(), None),
        _ => part("dossier.raw_packet", said("dossier.raw_none", &[]), None),
    }
    if raw.steps.is_empty() {
        part("dossier.raw_steps", said("dossier.raw_none", &[]), None);
    }
    for step in &raw.steps {
        let state = crate::cli::words::step_state(language, &step.state);
        let about = format!("{}, {state}", step.identity);
        let about = if step.body.is_some() { about } else { format!("{about}; {}", gone()) };
        part("dossier.raw_steps", about, step.body.clone());
    }
    if raw.requests.is_empty() {
        part("dossier.raw_request", said("dossier.raw_never_sent", &[]), None);
    }
    for request in &raw.requests {
        let at = request.at.unwrap_or_default();
        let items = u64::from(request.items.unwrap_or_default());
        let items = messages::count(language, items, "dossier.items");
        let about = match request.origin {
            Origin::Exact => said("dossier.raw_exact", &[("at", &at)]),
            Origin::Part => said("dossier.raw_rebuilt", &[("at", &at), ("items", &items)]),
            Origin::Other => said("dossier.raw_other", &[("at", &at)]),
            Origin::Planned => said("dossier.raw_as_it_would_be", &[]),
        };
        let about = format!("{}; {about}; {}", request.service, said("dossier.raw_session", &[]));
        let mut body = format!("POST {}\n", request.url);
        for (name, value) in &request.headers {
            let _infallible = writeln!(body, "{name}: {value}");
        }
        let _infallible = write!(body, "\n{}", request.body);
        part("dossier.raw_request", about, Some(body));
    }
    let answers: Vec<String> = raw
        .answers
        .iter()
        .map(|attempt| format!("{}  {}", attempt.at, attempt_text(language, attempt)))
        .collect();
    let about = if answers.is_empty() { "dossier.raw_none" } else { "dossier.raw_answer_kept" };
    part(
        "dossier.raw_answer",
        said(about, &[]),
        Some(answers.join("\n")).filter(|t| !t.is_empty()),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_document_keeps_its_shape_and_hides_people() {
        let xml = r#"<HoSo phienBan="3" nguoi="Trần Thị Mẫu"><MaHoSo>H55-1</MaHoSo>
            <ChuHoSo>Nguyễn Văn Thử</ChuHoSo><GhiChu></GhiChu>
            <DuLieuGoc><ten>Nguyễn Văn Thử</ten></DuLieuGoc></HoSo>"#;
        assert_eq!(
            masked_xml(xml),
            "<HoSo phienBan=\"3\" nguoi=\"(12 characters)\">\n  <MaHoSo>H55-1</MaHoSo>\n  \
             <ChuHoSo>N. V. T.</ChuHoSo>\n  <GhiChu></GhiChu>\n  <DuLieuGoc>\n    \
             <ten>(14 characters)</ten>\n  </DuLieuGoc>\n</HoSo>"
        );
        assert_eq!(masked_xml("<HoSo><Ten>Nguyễn"), "(17 characters)");
    }
}
