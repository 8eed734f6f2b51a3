//! A call to the portal as the simulation reads it: by the contract, and with none of the gateway's code.

use hoso_gateway::http::HttpAnswer;
use hoso_gateway::lab::digest::Digest;
use hoso_gateway::lab::packet::{Packet, Step};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Login,
    Packets,
    Steps,
    LookUp,
    Other,
}

/// What one call carries.
#[derive(Debug, Clone)]
pub(super) struct Called {
    pub(super) what: What,
    pub(super) items: Vec<Carried>,
    /// The dossier that a look-up asks about.
    pub(super) asked: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) code: String,
    pub(super) digest: Digest,
    /// A step with status 5.
    pub(super) is_supplement: bool,
}

/// What came back means to somebody who can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Success,
    /// It certainly did nothing.
    Refused,
    /// The session is over; the same call goes once more with a new one.
    LoggedOut,
    /// An answer that does not say whether it did anything.
    Unclear,
    /// No answer.
    Nothing,
}

impl Called {
    /// Reads the adapter's envelope.
    pub(super) fn read(url: &str, body: &[u8]) -> Self {
        let nothing = |what| Self { what, items: Vec::new(), asked: None };
        if url.ends_with("/mapi/login") {
            return nothing(What::Login);
        }
        let Ok(envelope) = serde_json::from_slice::<Value>(body) else {
            return nothing(What::Other);
        };
        let data = envelope["data"].as_array().cloned().unwrap_or_default();
        match envelope["service"].as_str() {
            Some("DongBoHoSoMC") => {
                Self { items: data.iter().map(packet).collect(), ..nothing(What::Packets) }
            }
            Some("CapNhatTienDoHoSoMC") => {
                Self { items: data.iter().map(step).collect(), ..nothing(What::Steps) }
            }
            Some("TraCuuHoSo") => Self {
                asked: envelope["mahoso"].as_str().map(str::to_owned),
                ..nothing(What::LookUp)
            },
            _ => nothing(What::Other),
        }
    }

    pub(super) fn is_push(&self) -> bool {
        matches!(self.what, What::Packets | What::Steps)
    }

    pub(super) fn name(&self) -> String {
        let codes: Vec<&str> = self.items.iter().map(|item| item.code.as_str()).collect();
        format!("{:?} {}", self.what, codes.join(","))
    }
}

fn packet(value: &Value) -> Carried {
    let text = value.to_string();
    let packet: Packet<'_> = serde_json::from_str(&text).expect("a packet of the contract");
    Carried {
        code: packet.ma_ho_so.clone().into_owned(),
        digest: Digest::of_packet(&packet),
        is_supplement: false,
    }
}

fn step(value: &Value) -> Carried {
    let text = value.to_string();
    let step: Step<'_> = serde_json::from_str(&text).expect("a step of the contract");
    Carried {
        code: step.ma_ho_so.clone().into_owned(),
        digest: Digest::of_step(&step),
        is_supplement: step.trang_thai == "5",
    }
}

/// What a whole answer says.
pub(super) fn meaning(answer: &HttpAnswer) -> Answered {
    if answer.status == 429 || answer.status == 503 && answer.header("retry-after").is_some() {
        return Answered::Refused;
    }
    let said = (answer.status == 200).then(|| envelope(&answer.body)).flatten();
    let Some((code, message)) = said else { return Answered::Unclear };
    match code.as_str() {
        "-1" if message.contains("phiên") => Answered::LoggedOut,
        "0" if message.contains("thành công") => Answered::Success,
        "0" if !message.contains("đã tồn tại") => Answered::Unclear,
        _ => Answered::Refused,
    }
}

/// Code and message, the latter in lower case.
fn envelope(body: &[u8]) -> Option<(String, String)> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    // A wrapper's answer: the portal's, as text.
    if body.get("error_code").is_none() {
        body = serde_json::from_str(body.get("message")?.as_str()?).ok()?;
    }
    let code = match &body["error_code"] {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    Some((code, body["message"].as_str().unwrap_or_default().to_lowercase()))
}
