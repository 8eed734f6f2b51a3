//! Requests as bytes, and answers as bytes.
//!
//! Requests are read into borrowed text in one pass; only a request that cannot be read is read a
//! second time, to name the field.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::rules::{self, Refusal};
use super::state::{EchoedFields, Service};
use crate::lab::digest::Digest;
use crate::lab::packet::{Packet, Step};

/// A call of a data address, read and checked, before anything of the portal is asked.
#[derive(Debug)]
pub(super) struct Call {
    /// `None` where somebody in between keeps it.
    pub(super) session: Option<String>,
    pub(super) agency: String,
    pub(super) service: Service,
    pub(super) updating: Option<bool>,
    pub(super) ask: Ask,
}

#[derive(Debug)]
pub(super) enum Ask {
    Dossiers(Batch<CheckedDossier>),
    Steps(Batch<CheckedStep>),
    LookUp(String),
    /// The envelope or the list cannot be read, or this service does not exist.
    Unreadable(Refusal),
}

/// The items before the first refused one, and why that one was refused.
#[derive(Debug)]
pub(super) struct Batch<Item> {
    pub(super) items: Vec<Item>,
    pub(super) refusal: Option<Refusal>,
    /// Whether it is one item alone, so that an answer can name it.
    pub(super) alone: Option<String>,
}

#[derive(Debug)]
pub(super) struct CheckedDossier {
    pub(super) code: String,
    pub(super) digest: Digest,
    pub(super) filed_at_portal: bool,
    pub(super) fields: Box<EchoedFields>,
}

#[derive(Debug)]
pub(super) struct CheckedStep {
    pub(super) code: String,
    pub(super) digest: Digest,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    session: Cow<'a, str>,
    #[serde(borrow, default)]
    madonvi: Cow<'a, str>,
    #[serde(borrow)]
    service: Cow<'a, str>,
    #[serde(borrow, default, rename = "isUpdating")]
    is_updating: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    mahoso: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Ask {
    fn read(service: Service, updating: Option<bool>, data: &[u8], code: Option<&str>) -> Self {
        match service {
            Service::Dossiers if updating.is_none() => {
                Self::Unreadable(Refusal("isUpdating".to_owned()))
            }
            Service::Dossiers => match parse::<Vec<Packet<'_>>>(data) {
                Ok(packets) => Self::Dossiers(check_dossiers(&packets)),
                Err(refusal) => Self::Unreadable(refusal),
            },
            Service::Steps => match parse::<Vec<Step<'_>>>(data) {
                Ok(steps) => Self::Steps(check_steps(&steps)),
                Err(refusal) => Self::Unreadable(refusal),
            },
            Service::LookUp => match code {
                Some(code) if !code.is_empty() => Self::LookUp(code.to_owned()),
                _ => Self::Unreadable(Refusal("mahoso".to_owned())),
            },
            Service::Token | Service::Login | Service::Other => {
                Self::Unreadable(Refusal("service".to_owned()))
            }
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: String,
}

/// A request for a token, in JSON or as a form.
#[derive(Debug, Deserialize)]
pub(super) struct TokenAsk {
    #[serde(default)]
    pub(super) grant_type: String,
    pub(super) client_id: String,
    pub(super) client_secret: String,
}

impl TokenAsk {
    pub(super) fn read(kind: &str, body: &[u8]) -> Option<Self> {
        if kind.starts_with("application/json") {
            return parse(body).ok();
        }
        let mut ask = Self {
            grant_type: String::new(),
            client_id: String::new(),
            client_secret: String::new(),
        };
        for (name, value) in
            std::str::from_utf8(body).ok()?.split('&').filter_map(|field| field.split_once('='))
        {
            let field = match name {
                "grant_type" => &mut ask.grant_type,
                "client_id" => &mut ask.client_id,
                "client_secret" => &mut ask.client_secret,
                _ => continue,
            };
            *field = percent_decoded(value)?;
        }
        Some(ask)
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let code = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(code, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(if *first == b'+' { b' ' } else { *first });
        }
    }
    String::from_utf8(bytes).ok()
}

impl Call {
    /// The portal's own envelope.
    pub(super) fn read(body: &[u8]) -> Self {
        let envelope: Envelope<'_> = match parse(body) {
            Ok(envelope) => envelope,
            Err(Refusal(field)) => return Self::unreadable(&field),
        };
        let service = Service::named(&envelope.service);
        let updating = match envelope.is_updating.as_deref() {
            Some("True") => Some(true),
            Some("False") => Some(false),
            _ => None,
        };
        let data = envelope.data.map_or("null", RawValue::get).as_bytes();
        Self {
            ask: Ask::read(service, updating, data, envelope.mahoso.as_deref()),
            session: Some(envelope.session.into_owned()),
            agency: envelope.madonvi.into_owned(),
            service,
            updating,
        }
    }

    /// A bare array, as wrappers take it; they keep the session.
    pub(super) fn bare(
        service: Service,
        updating: Option<bool>,
        agency: &str,
        data: &[u8],
    ) -> Self {
        let ask = Ask::read(service, updating, data, None);
        Self { session: None, agency: agency.to_owned(), service, updating, ask }
    }

    /// A look-up through a wrapper.
    pub(super) fn question(agency: &str, code: &str) -> Self {
        let service = Service::LookUp;
        let ask = Ask::read(service, None, b"null", Some(code));
        Self { session: None, agency: agency.to_owned(), service, updating: None, ask }
    }

    pub(super) fn unreadable(field: &str) -> Self {
        Self {
            session: None,
            agency: String::new(),
            service: Service::Other,
            updating: None,
            ask: Ask::Unreadable(Refusal(field.to_owned())),
        }
    }

    /// The dossiers this call is about.
    pub(super) fn codes(&self) -> Vec<&str> {
        match &self.ask {
            Ask::Dossiers(batch) => batch.items.iter().map(|item| item.code.as_str()).collect(),
            Ask::Steps(batch) => {
                let mut codes: Vec<&str> =
                    batch.items.iter().map(|item| item.code.as_str()).collect();
                codes.dedup();
                codes
            }
            Ask::LookUp(code) => vec![code],
            Ask::Unreadable(_) => Vec::new(),
        }
    }

    pub(super) fn digests(&self) -> Vec<Digest> {
        match &self.ask {
            Ask::Dossiers(batch) => batch.items.iter().map(|item| item.digest).collect(),
            Ask::Steps(batch) => batch.items.iter().map(|item| item.digest).collect(),
            Ask::LookUp(_) | Ask::Unreadable(_) => Vec::new(),
        }
    }
}

fn check_dossiers(packets: &[Packet<'_>]) -> Batch<CheckedDossier> {
    let mut batch = Batch::of(packets, |packet| &packet.ma_ho_so);
    for packet in packets {
        if let Err(refusal) = rules::check_packet(packet) {
            batch.refusal = Some(refusal);
            break;
        }
        batch.items.push(CheckedDossier {
            code: packet.ma_ho_so.clone().into_owned(),
            digest: Digest::of_packet(packet),
            filed_at_portal: packet.noi_nop_ho_so == "1",
            fields: Box::new(EchoedFields::of(packet)),
        });
    }
    batch
}

fn check_steps(steps: &[Step<'_>]) -> Batch<CheckedStep> {
    let mut batch = Batch::of(steps, |step| &step.ma_ho_so);
    for step in steps {
        if let Err(refusal) = rules::check_step(step) {
            batch.refusal = Some(refusal);
            break;
        }
        batch.items.push(CheckedStep {
            code: step.ma_ho_so.clone().into_owned(),
            digest: Digest::of_step(step),
        });
    }
    batch
}

impl<Item> Batch<Item> {
    fn of<'a, Part>(parts: &'a [Part], code: impl Fn(&'a Part) -> &'a str) -> Self {
        Self {
            items: Vec::with_capacity(parts.len()),
            refusal: parts.is_empty().then(|| Refusal("data".to_owned())),
            alone: match parts {
                [part] => Some(code(part).to_owned()),
                _ => None,
            },
        }
    }
}

/// Reads JSON; when that fails, names the field.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let named = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        // Read well, so something follows the value.
        Ok(_) => "JSON".to_owned(),
        Err(error) => {
            let text = error.inner().to_string();
            // serde names the key of a missing, unknown or doubled field in its text only.
            match text.split_once(" field `") {
                Some((_, rest)) => {
                    let field = rest.split('`').next().unwrap_or_default();
                    match error.path().to_string().rsplit_once('.') {
                        Some((_, last)) if last == field => error.path().to_string(),
                        _ if error.path().iter().next().is_none() => field.to_owned(),
                        _ if error.path().to_string().ends_with(field) => error.path().to_string(),
                        _ => format!("{}.{field}", error.path()),
                    }
                }
                None if error.path().iter().next().is_none() => "JSON".to_owned(),
                None => error.path().to_string(),
            }
        }
    };
    Err(Refusal(named))
}

/// One answer of the portal.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) message: Cow<'static, str>,
    /// Further keys as JSON text, with a leading comma.
    pub(super) rest: String,
}

impl Answer {
    pub(super) fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), rest: String::new() }
    }

    pub(super) fn with(mut self, rest: String) -> Self {
        self.rest = rest;
        self
    }

    /// Without code and message: a token's answer.
    pub(super) fn bare_json(&self) -> String {
        format!("{{{}}}", self.rest.trim_start_matches(','))
    }

    /// The code as a number or, as some services have it, as text.
    pub(super) fn json(&self, code_as_text: bool) -> String {
        let quote = if code_as_text { "\"" } else { "" };
        format!(
            "{{\"error_code\":{quote}{}{quote},\"message\":{}{}}}",
            self.code,
            json_text(&self.message),
            self.rest
        )
    }
}

/// A JSON string with its quotes.
pub(super) fn json_text(text: &str) -> String {
    // Text always has a JSON form.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        match Call::read(body.as_bytes()).ask {
            Ask::Unreadable(Refusal(field)) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert_eq!(refusal("not json"), "JSON");
        assert_eq!(refusal("{}"), "service");
        assert_eq!(
            refusal(r#"{"service":"DongBoHoSoMC","isUpdating":true,"data":[]}"#),
            "isUpdating"
        );
        assert_eq!(
            refusal(r#"{"service":"DongBoHoSoMC","isUpdating":"true","data":[]}"#),
            "isUpdating"
        );
        let step = r#"{"MaHoSo":"H55.242-260126-0001","NguoiXuLy":"A","ChucDanh":"",
            "ThoiDiemXuLy":"20260126083000","PhongBanXuLy":"","NoiDungXuLy":"x","TrangThai":"2",
            "NgayBatDau":"","NgayKetThucTheoQuyDinh":""}"#;
        let steps = |step: &str| format!(r#"{{"service":"CapNhatTienDoHoSoMC","data":[{step}]}}"#);
        assert!(matches!(Call::read(steps(step).as_bytes()).ask, Ask::Steps(_)));
        let number = step.replace("\"TrangThai\":\"2\"", "\"TrangThai\":2");
        assert_eq!(refusal(&steps(&number)), "[0].TrangThai");
        let missing = step.replace("\"NgayBatDau\":\"\",", "");
        assert_eq!(refusal(&steps(&missing)), "[0].NgayBatDau");
        let unknown = step.replace("\"TrangThai\":\"2\"", "\"TrangThai\":\"2\",\"Khac\":\"\"");
        assert_eq!(refusal(&steps(&unknown)), "[0].Khac");
    }

    #[test]
    fn an_answer_carries_its_code_either_way() {
        let answer = Answer::new(-3, "\"x\"").with(",\"result\":[]".to_owned());
        assert_eq!(answer.json(true), r#"{"error_code":"-3","message":"\"x\"","result":[]}"#);
        assert_eq!(answer.json(false), r#"{"error_code":-3,"message":"\"x\"","result":[]}"#);
    }
}
