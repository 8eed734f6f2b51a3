//! Bytes to and from the portal, whatever they mean: bodies by concatenation, answers read leniently.

use std::fmt::Write as _;
use std::ops::Range;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

/// A request body with one secret in it. Packets are copied once and never re-serialised.
pub(super) struct Body {
    bytes: Vec<u8>,
    secret: Range<usize>,
}

impl Body {
    pub(super) fn login(username: &str, password: &SecretString) -> Self {
        let before = format!(r#"{{"username":{},"password":"#, json_text(username));
        let mut body = Self::with_secret(&before, password.expose_secret());
        body.push("}");
        body
    }

    /// `before`, then the secret as a JSON text.
    pub(super) fn with_secret(before: &str, secret: &str) -> Self {
        let secret = json_text(secret);
        let mut bytes = Vec::with_capacity(before.len() + secret.len() + 128);
        bytes.extend_from_slice(before.as_bytes());
        let start = bytes.len();
        bytes.extend_from_slice(secret.as_bytes());
        let secret = start..bytes.len();
        Self { bytes, secret }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(super) fn push_array(&mut self, key: &str, items: &[&str]) {
        let length: usize = items.iter().map(|item| item.len() + 1).sum();
        self.bytes.reserve(key.len() + length + 3);
        self.push(key);
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
        hasher.update(b"\"\"");
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

/// Base and path with exactly one slash between them, and the query. Colons stay as they are:
/// `dstcode` is full of them, and not every adapter decodes.
pub(super) fn join_url(base: &str, path: &str, query: &[(&str, &str)]) -> String {
    let mut url = base.trim_end_matches('/').to_owned();
    if !path.is_empty() {
        url.push('/');
        url.push_str(path.trim_start_matches('/'));
    }
    for (name, value) in query {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(name);
        url.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
                url.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                write!(url, "%{byte:02X}").unwrap_or_default();
            }
        }
    }
    url
}

/// What a body is, before anybody asks what it means.
pub(super) enum AnswerBody {
    Envelope(Envelope),
    Empty,
    Html,
    SoapFault,
    NotJson,
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
/// answer inside the `message` of a wrapper that has no code of its own.
pub(super) fn read_answer(body: &[u8]) -> AnswerBody {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\0');
    if text.is_empty() {
        return AnswerBody::Empty;
    }
    let value = match serde_json::from_str(text) {
        Ok(Value::String(inner)) => serde_json::from_str(&inner).ok(),
        Ok(value) => Some(value),
        Err(_) => None,
    };
    match value {
        Some(Value::Object(outer)) => AnswerBody::Envelope(Envelope::read(outer)),
        Some(_) => AnswerBody::NotJson,
        None => not_json(text),
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
        match read_answer(body.as_bytes()) {
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
        let kind = |body: &str| match read_answer(body.as_bytes()) {
            AnswerBody::Envelope(_) => "envelope",
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
