//! Bytes to and from the portal, whatever they mean: bodies by concatenation, answers read leniently.

use std::fmt::Write as _;
use std::ops::Range;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::profile::AnswerForm;

/// A request body with at most one secret in it. Packets are copied once and never re-serialised.
pub(super) struct Body {
    bytes: Vec<u8>,
    secret: Range<usize>,
    /// What stands for an empty secret.
    emptied: &'static [u8],
}

impl Body {
    /// Without a secret.
    pub(super) fn plain(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), secret: 0..0, emptied: b"" }
    }

    pub(super) fn login(username: &str, password: &SecretString) -> Self {
        let before = format!(r#"{{"username":{},"password":"#, json_text(username));
        let mut body = Self::with_secret(&before, password.expose_secret());
        body.push("}");
        body
    }

    /// `before`, then the secret as a JSON text.
    pub(super) fn with_secret(before: &str, secret: &str) -> Self {
        Self::with_written_secret(before, &json_text(secret), br#""""#)
    }

    /// `before`, then the secret as the value of a form's field.
    pub(super) fn with_form_secret(before: &str, secret: &str) -> Self {
        Self::with_written_secret(before, &form_text(secret), b"")
    }

    fn with_written_secret(before: &str, secret: &str, emptied: &'static [u8]) -> Self {
        let mut bytes = Vec::with_capacity(before.len() + secret.len() + 128);
        bytes.extend_from_slice(before.as_bytes());
        let start = bytes.len();
        bytes.extend_from_slice(secret.as_bytes());
        let secret = start..bytes.len();
        Self { bytes, secret, emptied }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(super) fn push_array(&mut self, items: &[&str]) {
        let length: usize = items.iter().map(|item| item.len() + 1).sum();
        self.bytes.reserve(length + 2);
        self.push("[");
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.push(",");
            }
            self.push(item);
        }
        self.push("]");
    }

    /// BLAKE3 of the body as it would be with an empty secret.
    pub(super) fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.bytes[..self.secret.start]);
        hasher.update(self.emptied);
        hasher.update(&self.bytes[self.secret.end..]);
        *hasher.finalize().as_bytes()
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }
}

/// A JSON string with its quotes.
pub(super) fn json_text(text: &str) -> String {
    Value::from(text).to_string()
}

/// A name or value of a form: everything but letters, digits and `-._~` is written as `%XX`.
pub(super) fn form_text(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    push_percent(&mut written, text, b"-._~");
    written
}

fn push_percent(to: &mut String, text: &str, as_it_is: &[u8]) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || as_it_is.contains(&byte) {
            to.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(to, "%{byte:02X}").unwrap_or_default();
        }
    }
}

/// Base and path with exactly one slash between them, and the query; a path that is a whole address
/// stands alone. Colons stay as they are: `dstcode` is full of them, and not every adapter decodes.
pub(super) fn join_url(base: &str, path: &str, query: &[(&str, &str)]) -> String {
    let mut url = if path.starts_with("https://") || path.starts_with("http://") {
        path.to_owned()
    } else {
        let mut url = base.trim_end_matches('/').to_owned();
        if !path.is_empty() {
            url.push('/');
            url.push_str(path.trim_start_matches('/'));
        }
        url
    };
    for (name, value) in query {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(name);
        url.push('=');
        push_percent(&mut url, value, b"-._~:");
    }
    url
}

/// What a body is, before anybody asks what it means.
pub(super) enum AnswerBody {
    Envelope(Envelope),
    /// A text, or a `message` that is a text, where a whole answer may be one.
    Text(String),
    Empty,
    Html,
    SoapFault,
    NotJson,
}

/// A body as it was read, and what the platform around the portal says by itself.
pub(super) struct Read {
    pub(super) body: AnswerBody,
    pub(super) platform: Option<Platform>,
}

/// The integration platform's part of an answer.
pub(super) struct Platform {
    /// HTTP-like; as the platform wrote it.
    pub(super) code: Option<String>,
    pub(super) status: String,
    /// Its name for this call, for questions to its operators.
    pub(super) correlation_id: Option<String>,
}

/// Longest name of a call that is kept.
const CORRELATION_LENGTH_MAX: usize = 64;

impl Platform {
    /// Takes the platform's keys out of an object that has one of them.
    fn take(outer: &mut Map<String, Value>) -> Option<Self> {
        let is_platform =
            ["code", "correlationId", "response"].iter().any(|key| outer.contains_key(*key));
        is_platform.then(|| Self {
            code: outer.get("code").and_then(answer_code).map(|code| code.text),
            status: outer.get("status").map(plain_text).unwrap_or_default(),
            correlation_id: outer.get("correlationId").map(plain_text).filter(|id| {
                // Anything else is no name of a call, and could be a text about somebody.
                (1..=CORRELATION_LENGTH_MAX).contains(&id.len())
                    && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b))
            }),
        })
    }
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A token as a platform gives it.
pub(super) struct TokenAnswer {
    pub(super) token: Option<SecretString>,
    pub(super) expires_in_s: Option<u64>,
    /// The platform's words, if it gave no token.
    pub(super) message: String,
}

/// Reads `{access_token, expires_in}`, at the top or one level down in `data` or `response`.
pub(super) fn read_token(body: &[u8]) -> Option<TokenAnswer> {
    let Ok(Value::Object(outer)) = serde_json::from_str(trimmed(&String::from_utf8_lossy(body)))
    else {
        return None;
    };
    let inner = ["data", "response"].iter().find_map(|key| match outer.get(*key) {
        Some(Value::Object(inner)) if inner.contains_key("access_token") => Some(inner),
        _ => None,
    });
    let fields = inner.unwrap_or(&outer);
    let token = fields.get("access_token").and_then(Value::as_str).map(str::trim);
    Some(TokenAnswer {
        // Control characters cannot stand in a header.
        token: token
            .filter(|token| !token.is_empty() && !token.chars().any(char::is_control))
            .map(SecretString::from),
        expires_in_s: fields.get("expires_in").and_then(|value| match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }),
        message: ["error_description", "message", "error", "status"]
            .iter()
            .find_map(|key| outer.get(*key).map(plain_text).filter(|text| !text.is_empty()))
            .unwrap_or_default(),
    })
}

/// The portal's answer envelope: `{error_code, message, session, result}`, all optional.
pub(super) struct Envelope {
    pub(super) code: Option<AnswerCode>,
    pub(super) message: String,
    pub(super) session: Option<SecretString>,
    pub(super) result: Option<Value>,
}

/// `error_code`: a number or a text, negative or not.
pub(super) struct AnswerCode {
    pub(super) text: String,
    number: Option<i64>,
}

impl AnswerCode {
    pub(super) fn is_zero(&self) -> bool {
        self.number == Some(0)
    }
}

/// Reads a body leniently: byte order mark, white space, a whole answer inside a JSON text, or an
/// answer inside the `message` of a wrapper that has no code of its own; in the forms that know
/// them, a bare text, or an answer inside a platform's `response`, which may be an object or a text.
pub(super) fn read_answer(body: &[u8], form: AnswerForm) -> Read {
    let text = String::from_utf8_lossy(body);
    let text = trimmed(&text);
    let bare = |body| Read { body, platform: None };
    if text.is_empty() {
        return bare(AnswerBody::Empty);
    }
    let value = match serde_json::from_str(text) {
        Ok(Value::String(inner)) => match serde_json::from_str(&inner) {
            Ok(value) => Some(value),
            Err(_) if form == AnswerForm::PortalOrText => return bare(text_answer(&inner)),
            Err(_) => None,
        },
        Ok(value) => Some(value),
        Err(_) => None,
    };
    match value {
        Some(Value::Object(mut outer)) if form == AnswerForm::Platform => {
            let platform = Platform::take(&mut outer);
            let Some(told) = &platform else {
                return bare(AnswerBody::Envelope(Envelope::read(outer)));
            };
            let body = match outer.remove("response") {
                Some(Value::Object(inner)) => AnswerBody::Envelope(Envelope::read(inner)),
                Some(Value::String(inner)) if !inner.trim().is_empty() => {
                    read_answer(inner.as_bytes(), AnswerForm::Portal).body
                }
                // Some platforms leave the portal's own keys beside theirs.
                _ if outer.contains_key("error_code") => {
                    AnswerBody::Envelope(Envelope::read(outer))
                }
                _ => AnswerBody::Envelope(Envelope {
                    code: None,
                    message: match outer.get("message").map(plain_text) {
                        Some(message) if !message.is_empty() => message,
                        _ => told.status.clone(),
                    },
                    session: None,
                    result: None,
                }),
            };
            Read { body, platform }
        }
        Some(Value::Object(outer)) => {
            let envelope = Envelope::read(outer);
            let is_text = form == AnswerForm::PortalOrText
                && envelope.code.is_none()
                && envelope.result.is_none()
                && !envelope.message.trim().is_empty();
            bare(if is_text {
                AnswerBody::Text(envelope.message)
            } else {
                AnswerBody::Envelope(envelope)
            })
        }
        Some(_) => bare(AnswerBody::NotJson),
        None if form == AnswerForm::PortalOrText => bare(text_answer(text)),
        None => bare(not_json(text)),
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\0')
}

/// A text of a wrapper's, unless it is a web page, a fault of the adapter's or half of an answer.
fn text_answer(text: &str) -> AnswerBody {
    match not_json(text) {
        AnswerBody::NotJson if !text.starts_with(['{', '[', '<']) => {
            AnswerBody::Text(text.to_owned())
        }
        other => other,
    }
}

fn not_json(text: &str) -> AnswerBody {
    let start: String = text.chars().take(2_000).collect::<String>().to_lowercase();
    if start.contains("soap fault")
        || start.contains("faultstring")
        || (start.contains("envelope") && start.contains("fault"))
    {
        AnswerBody::SoapFault
    } else if start.contains("<html") || start.contains("<!doctype html") {
        AnswerBody::Html
    } else {
        AnswerBody::NotJson
    }
}

impl Envelope {
    fn read(outer: Map<String, Value>) -> Self {
        let code = outer.get("error_code").and_then(answer_code);
        if code.is_none()
            && let Some(Value::String(message)) = outer.get("message")
            && let Ok(Value::Object(inner)) = serde_json::from_str(message)
        {
            return Self::fields(inner);
        }
        Self::fields(outer)
    }

    fn fields(mut map: Map<String, Value>) -> Self {
        Self {
            code: map.get("error_code").and_then(answer_code),
            message: match map.remove("message") {
                Some(Value::String(text)) => text,
                None | Some(Value::Null) => String::new(),
                Some(other) => other.to_string(),
            },
            session: match map.remove("session") {
                Some(Value::String(text)) if !text.trim().is_empty() => Some(text.into()),
                _ => None,
            },
            result: map.remove("result"),
        }
    }
}

fn answer_code(value: &Value) -> Option<AnswerCode> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => return None,
    };
    let number = text.parse().ok();
    Some(AnswerCode { text: text.chars().take(20).collect(), number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(body: &str) -> Envelope {
        match read_answer(body.as_bytes(), AnswerForm::Portal).body {
            AnswerBody::Envelope(envelope) => envelope,
            _ => panic!("not an envelope: {body}"),
        }
    }

    #[test]
    fn a_code_may_be_a_number_or_a_text() {
        for (body, text, zero) in [
            (r#"{"error_code":0}"#, "0", true),
            (r#"{"error_code":"0"}"#, "0", true),
            (r#"{"error_code":" 0 "}"#, "0", true),
            (r#"{"error_code":"-3"}"#, "-3", false),
            (r#"{"error_code":-3}"#, "-3", false),
            (r#"{"error_code":"E01"}"#, "E01", false),
        ] {
            let code = envelope(body).code.unwrap();
            assert_eq!((code.text.as_str(), code.is_zero()), (text, zero), "{body}");
        }
        for body in [
            r#"{"message":"x"}"#,
            r#"{"error_code":null}"#,
            r#"{"error_code":""}"#,
            r#"{"error_code":{}}"#,
        ] {
            assert!(envelope(body).code.is_none(), "{body}");
        }
    }

    #[test]
    fn an_answer_inside_a_wrapper_is_found() {
        for body in [
            r#"{"message":"{\"error_code\":\"-3\",\"message\":\"x\"}"}"#,
            r#""{\"error_code\":\"-3\",\"message\":\"x\"}""#,
            "\u{feff} \r\n{\"error_code\":-3,\"message\":\"x\"}\n",
        ] {
            let found = envelope(body);
            assert_eq!(found.code.unwrap().text, "-3", "{body}");
            assert_eq!(found.message, "x");
        }
        // A code of its own makes the outer one the answer.
        let outer = envelope(r#"{"error_code":1,"message":"{\"error_code\":0}"}"#);
        assert_eq!(outer.code.unwrap().text, "1");
    }

    #[test]
    fn bodies_without_a_verdict_are_told_apart() {
        let kind = |body: &str| match read_answer(body.as_bytes(), AnswerForm::Portal).body {
            AnswerBody::Envelope(_) => "envelope",
            AnswerBody::Text(_) => "text",
            AnswerBody::Empty => "empty",
            AnswerBody::Html => "html",
            AnswerBody::SoapFault => "soap",
            AnswerBody::NotJson => "not json",
        };
        assert_eq!(kind(" \u{feff}\n"), "empty");
        assert_eq!(kind("<!DOCTYPE html><html></html>"), "html");
        assert_eq!(
            kind(
                "<soapenv:Envelope><soapenv:Body><soapenv:Fault/></soapenv:Body></soapenv:Envelope>"
            ),
            "soap"
        );
        assert_eq!(kind("Client received SOAP Fault from server"), "soap");
        assert_eq!(kind(r#"{"error_code":0,"message":"Đồng bộ thành cô"#), "not json");
        assert_eq!(kind("[]"), "not json");
        assert_eq!(kind("true"), "not json");
    }

    #[test]
    fn addresses_have_one_slash_and_an_encoded_query() {
        assert_eq!(
            join_url("http://a.invalid/x/", "/y", &[("q", "a b&c:d")]),
            "http://a.invalid/x/y?q=a%20b%26c:d"
        );
        assert_eq!(
            join_url("http://a.invalid", "y?k=1", &[("q", "z")]),
            "http://a.invalid/y?k=1&q=z"
        );
    }
}
