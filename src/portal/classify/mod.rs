//! The one place that decides what an answer of the portal means.
//!
//! Reads leniently, judges strictly: success is code 0 *and* a success text of that very service;
//! whatever may have been carried out without saying so is ambiguous, never a success and never a
//! plain failure. A push can be ambiguous; a look-up, a login or a request for a token changes
//! nothing at the portal, so theirs can always be asked again.

mod between;

use std::collections::BTreeMap;

use between::{Told, text_judgement, token_judgement, told, unknown_platform_code};
use jiff::fmt::rfc2822;
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::answers::{AnswerClass, AnswerPatterns, Said};
use super::call::{CallOutcome, Service};
use super::catalogue::{self, Listed};
use super::codes;
use super::gate::Signal;
use super::profile::AnswerForm;
use super::redact::{MESSAGE_LENGTH_MAX, Redactions};
use super::wire::{AnswerBody, Envelope, read_answer};
use crate::domain::failure::{Disposition, Failure};
use crate::domain::masking;
use crate::domain::receipt::Receipt;
use crate::domain::time::Timestamp;
use crate::http::{HttpAnswer, HttpFailure};
use crate::sabotage::{self, Defect};

/// A longer `Retry-After` is a mistake of the other side's clock; it is cut to this.
const RETRY_AFTER_MS_MAX: u64 = 24 * 3600 * 1000;

/// Everything the decision depends on.
pub(super) struct Facts<'a> {
    pub(super) service: Service,
    pub(super) form: AnswerForm,
    pub(super) is_updating: bool,
    /// Whether the call showed a token.
    pub(super) has_token: bool,
    /// The code that a look-up asked for.
    pub(super) asked: Option<&'a str>,
    pub(super) outcome: &'a Result<HttpAnswer, HttpFailure>,
    /// Wall clock when the answer was there.
    pub(super) now: Timestamp,
}

/// What the answer means for the caller.
#[derive(Debug)]
pub(super) enum Meaning {
    LoggedIn(SecretString),
    TokenGiven {
        token: SecretString,
        /// As the platform says; `None` when it says nothing that can be used.
        expires_in_s: Option<u64>,
    },
    /// The call went no further than the platform, which does not take the token.
    TokenRefused(Failure),
    Accepted(Receipt),
    Exists(Failure),
    UnknownDossier(Failure),
    SessionRefused(Failure),
    Found(BTreeMap<String, String>),
    Missing,
    Listed(Listed),
    Failed(Failure),
}

/// The decision, and what it says about the destination and for the record.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) meaning: Meaning,
    pub(super) signal: Signal,
    pub(super) outcome: CallOutcome,
    pub(super) error_code: Option<String>,
    /// Masked and cut.
    pub(super) message: String,
    pub(super) correlation_id: Option<String>,
}

/// Decides. See the module.
pub(super) fn classify(
    facts: &Facts<'_>,
    patterns: &AnswerPatterns,
    redactions: &Redactions<'_>,
) -> Judgement {
    let mut judgement = judge(facts, patterns, redactions);
    if facts.service.is_catalogue() {
        judgement.signal = own_trouble(judgement.signal, judgement.outcome);
    }
    judgement
}

/// A catalogue that is slow, broken or not granted to the account says nothing about pushes, which
/// must not wait for it.
fn own_trouble(signal: Signal, outcome: CallOutcome) -> Signal {
    match signal {
        Signal::Pressure(_) if outcome != CallOutcome::NotConnected => Signal::Neutral,
        Signal::Environment(_) => Signal::Neutral,
        signal => signal,
    }
}

fn judge(facts: &Facts<'_>, patterns: &AnswerPatterns, redactions: &Redactions<'_>) -> Judgement {
    let answer = match facts.outcome {
        Err(failure) => return no_answer(facts.service, failure, redactions),
        Ok(answer) => answer,
    };
    if facts.service == Service::Token && (200..=299).contains(&answer.status) {
        return token_judgement(answer, redactions);
    }
    let read = read_answer(&answer.body, facts.form);
    let platform = read.platform.as_ref();
    let mut judgement = match (answer.status, platform.map_or(Told::Nothing, told)) {
        // What the platform says inside a 200 is meant like a status of its own.
        (200..=299, Told::Refusal(status)) => {
            http_refusal(facts, status, answer, read.body, patterns, redactions)
        }
        (200..=299, Told::Unknown) => unknown_platform_code(facts.service, platform, redactions),
        (200..=299, Told::Nothing) => match read.body {
            AnswerBody::Envelope(envelope) => {
                envelope_judgement(facts, envelope, patterns, redactions)
            }
            AnswerBody::Text(text) => text_judgement(facts, &text, patterns, redactions),
            other => unreadable(facts.service, &other, &answer.body, redactions),
        },
        (status, _) => http_refusal(facts, status, answer, read.body, patterns, redactions),
    };
    if let Some(id) = read.platform.and_then(|platform| platform.correlation_id)
        && !redactions.would_change(&id)
    {
        judgement.carry(id);
    }
    judgement
}

fn no_answer(service: Service, failure: &HttpFailure, redactions: &Redactions<'_>) -> Judgement {
    let certificate;
    let (code, disposition, message) = match failure {
        HttpFailure::NotSent(_) => {
            // Nothing is wrong with any dossier, so none spends an attempt on it.
            (codes::UNREACHABLE, Disposition::Environment, "there was no connection to the portal")
        }
        HttpFailure::Certificate { fault, .. } => {
            certificate = format!("no secure connection to the portal: {fault}");
            let code = if fault.is_ours() { codes::CLIENT_CERTIFICATE } else { codes::CERTIFICATE };
            (code, Disposition::Environment, certificate.as_str())
        }
        HttpFailure::TimedOut(_) => {
            (codes::TIMEOUT, Disposition::Ambiguous, "the portal did not answer in time")
        }
        HttpFailure::Interrupted(_) => (
            codes::INTERRUPTED,
            Disposition::Ambiguous,
            "the connection broke before the answer was whole",
        ),
        HttpFailure::TooLarge(_) => (
            codes::ANSWER_TOO_LARGE,
            Disposition::Ambiguous,
            "the answer is larger than the gateway reads",
        ),
        HttpFailure::Invalid(_) => {
            (codes::REQUEST_INVALID, Disposition::Environment, "the request cannot be formed")
        }
    };
    let words = redactions.clean(&failure.to_string());
    let failure_seen = Failure::new(code, disposition, message).with_details(words.clone());
    let (signal, outcome) = match failure {
        HttpFailure::NotSent(_) => {
            (Signal::Pressure(failure_seen.clone()), CallOutcome::NotConnected)
        }
        HttpFailure::TimedOut(_) | HttpFailure::Interrupted(_) => {
            (Signal::Pressure(failure_seen.clone()), CallOutcome::Unknown)
        }
        HttpFailure::TooLarge(_) => (Signal::Neutral, CallOutcome::Unknown),
        HttpFailure::Invalid(_) => {
            (Signal::Environment(failure_seen.clone()), CallOutcome::Environment)
        }
        HttpFailure::Certificate { .. } => {
            (Signal::Environment(failure_seen.clone()), CallOutcome::NotConnected)
        }
    };
    let mut meaning = Meaning::Failed(for_service(failure_seen, service));
    if let HttpFailure::TimedOut(_) | HttpFailure::Interrupted(_) = failure
        && sabotage::on(Defect::TimeoutIsSuccess)
        && matches!(service, Service::Dossiers | Service::Steps)
    {
        meaning = Meaning::Accepted(Receipt { code: String::new(), message: words.clone() });
    }
    Judgement { meaning, signal, outcome, error_code: None, message: words, correlation_id: None }
}

/// HTTP success, but no envelope: the adapter answered in the portal's place, or the answer is cut.
fn unreadable(
    service: Service,
    body: &AnswerBody,
    bytes: &[u8],
    redactions: &Redactions<'_>,
) -> Judgement {
    let (code, message) = match body {
        AnswerBody::Empty => (codes::EMPTY_ANSWER, "the answer is empty"),
        AnswerBody::Html => (codes::HTML_ANSWER, "a web page came back instead of an answer"),
        AnswerBody::SoapFault => (codes::SOAP_FAULT, "the adapter answered with a SOAP fault"),
        AnswerBody::NotJson | AnswerBody::Envelope(_) | AnswerBody::Text(_) => {
            (codes::NOT_JSON, "the answer cannot be read")
        }
    };
    // A page of HTML says nothing to an operator; a fault text does.
    let words = match body {
        AnswerBody::SoapFault | AnswerBody::NotJson => {
            redactions.clean(&without_tags(&String::from_utf8_lossy(bytes)))
        }
        _ => String::new(),
    };
    let failure = Failure::new(code, Disposition::Ambiguous, message).with_details(words.clone());
    Judgement {
        signal: Signal::Pressure(failure.clone()),
        meaning: Meaning::Failed(for_service(failure, service)),
        outcome: CallOutcome::Unknown,
        error_code: None,
        message: if words.is_empty() { message.to_owned() } else { words },
        correlation_id: None,
    }
}

fn http_refusal(
    facts: &Facts<'_>,
    status: u16,
    answer: &HttpAnswer,
    body: AnswerBody,
    patterns: &AnswerPatterns,
    redactions: &Redactions<'_>,
) -> Judgement {
    let retry_after_ms =
        retry_after_ms(answer, facts.now).filter(|_| !sabotage::on(Defect::RetryAfterIgnored));
    let (envelope, text) = match body {
        AnswerBody::Envelope(envelope) => (Some(envelope), String::new()),
        AnswerBody::Text(text) => (None, text),
        _ => (None, String::new()),
    };
    let error_code = envelope
        .as_ref()
        .and_then(|envelope| envelope.code.as_ref())
        .map(|code| redactions.clean(&code.text));
    let words = redactions.clean(envelope.as_ref().map_or(&text, |envelope| &envelope.message));
    // Some gateways use 401 for what is an expired session; only the portal's own words tell.
    if matches!(status, 401 | 403)
        && !matches!(facts.service, Service::Login | Service::Token)
        && let Some(envelope) = &envelope
        && envelope.code.as_ref().is_some_and(|code| !code.is_zero())
        && patterns.hear(facts.service, &envelope.message).says(AnswerClass::Session)
    {
        return Judgement {
            meaning: Meaning::SessionRefused(session_failure(&words)),
            signal: Signal::Success,
            outcome: CallOutcome::SessionRefused,
            error_code,
            message: words,
            correlation_id: None,
        };
    }
    let (code, disposition, message) = match status {
        429 => (codes::THROTTLED, Disposition::Throttled, "the portal asks for fewer calls"),
        503 if retry_after_ms.is_some() => {
            (codes::THROTTLED, Disposition::Throttled, "the portal asks to come back later")
        }
        413 => (
            codes::BODY_TOO_LARGE,
            Disposition::Data,
            "the request is larger than the other side takes",
        ),
        400 | 409 | 414 | 422 | 431 => {
            (codes::BAD_REQUEST, Disposition::Data, "the other side refused the request itself")
        }
        401 if facts.has_token => (
            codes::TOKEN,
            Disposition::Environment,
            "the integration platform does not accept the token",
        ),
        401 => (
            codes::CREDENTIALS,
            Disposition::Environment,
            "the other side does not accept the account",
        ),
        403 => (codes::FORBIDDEN, Disposition::Environment, "the account may not use this service"),
        // 408 and everything that is not a client's fault: it may have been processed.
        408 | 100..=199 | 500.. => (
            codes::SERVER_ERROR,
            Disposition::Ambiguous,
            "the other side failed while it had the request",
        ),
        // Redirects and the rest of 4xx would meet every call.
        _ => (
            codes::ENDPOINT,
            Disposition::Environment,
            "the address does not answer as the portal does",
        ),
    };
    let details =
        if words.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {words}") };
    let details = masking::cut(details, MESSAGE_LENGTH_MAX);
    let failure =
        Failure::new(code, disposition, message).with_details(details.clone()).with_retry_after_ms(
            if disposition == Disposition::Throttled { retry_after_ms } else { None },
        );
    let (signal, outcome) = match disposition {
        Disposition::Throttled => (Signal::Throttled(failure.clone()), CallOutcome::Throttled),
        Disposition::Environment => {
            (Signal::Environment(failure.clone()), CallOutcome::Environment)
        }
        Disposition::Ambiguous | Disposition::Retryable => {
            (Signal::Pressure(failure.clone()), CallOutcome::Unknown)
        }
        Disposition::Data => (Signal::Success, CallOutcome::Refused),
    };
    let failure = for_service(failure, facts.service);
    if failure.code == codes::TOKEN {
        return Judgement {
            meaning: Meaning::TokenRefused(failure),
            signal,
            outcome: CallOutcome::SessionRefused,
            error_code,
            message: details,
            correlation_id: None,
        };
    }
    Judgement {
        // A login that is refused as a request holds the gate like any other impossible login.
        signal: match (facts.service, &signal) {
            (Service::Login | Service::Token, Signal::Success) => {
                Signal::Environment(failure.clone())
            }
            _ => signal,
        },
        meaning: Meaning::Failed(failure),
        outcome,
        error_code,
        message: details,
        correlation_id: None,
    }
}

fn envelope_judgement(
    facts: &Facts<'_>,
    envelope: Envelope,
    patterns: &AnswerPatterns,
    redactions: &Redactions<'_>,
) -> Judgement {
    let said = patterns.hear(facts.service, &envelope.message);
    let words = redactions.clean(&envelope.message);
    let error_code = envelope.code.as_ref().map(|code| redactions.clean(&code.text));
    let zero = envelope.code.as_ref().map(super::wire::AnswerCode::is_zero);
    let code_text = error_code.as_deref().unwrap_or_default();
    let meaning = match (facts.service, zero) {
        (_, None) => Meaning::Failed(for_service(
            Failure::new(codes::NO_VERDICT, Disposition::Ambiguous, "the answer has no error_code")
                .with_details(words.clone()),
            facts.service,
        )),
        // Tokens are judged before anybody looks for the portal's envelope.
        (Service::Token, Some(_)) => Meaning::Failed(for_service(
            Failure::new(codes::TOKEN, Disposition::Environment, "this is no answer with a token"),
            facts.service,
        )),
        (Service::Login, Some(zero)) => login_meaning(zero, envelope, &said, code_text, &words),
        (_, Some(false)) if said.says(AnswerClass::Session) => {
            Meaning::SessionRefused(session_failure(&words))
        }
        (Service::LookUp, Some(zero)) => {
            look_up_meaning(facts.asked, zero, &envelope, &said, code_text, &words)
        }
        (Service::Dossiers | Service::Steps, Some(zero)) => {
            push_meaning(facts, zero, &said, code_text, &words)
        }
        (
            Service::Procedure | Service::Procedures | Service::Fields | Service::Agencies,
            Some(zero),
        ) => catalogue_meaning(facts.service, zero, &envelope, &said, code_text, &words),
    };
    let (signal, outcome) = match &meaning {
        Meaning::LoggedIn(_)
        | Meaning::TokenGiven { .. }
        | Meaning::Accepted(_)
        | Meaning::Found(_)
        | Meaning::Missing
        | Meaning::Listed(_) => (Signal::Success, CallOutcome::Useful),
        Meaning::Exists(_) | Meaning::UnknownDossier(_) => (Signal::Success, CallOutcome::Refused),
        Meaning::SessionRefused(_) | Meaning::TokenRefused(_) => {
            (Signal::Success, CallOutcome::SessionRefused)
        }
        Meaning::Failed(failure) => match failure.disposition {
            Disposition::Environment => {
                (Signal::Environment(failure.clone()), CallOutcome::Environment)
            }
            Disposition::Ambiguous => (Signal::Success, CallOutcome::Unknown),
            _ if zero.is_none() || zero == Some(true) => (Signal::Success, CallOutcome::Unknown),
            _ => (Signal::Success, CallOutcome::Refused),
        },
    };
    Judgement { meaning, signal, outcome, error_code, message: words, correlation_id: None }
}

fn push_meaning(
    facts: &Facts<'_>,
    zero: bool,
    said: &Said<'_>,
    code: &str,
    words: &str,
) -> Meaning {
    let refusal = |code: &str, disposition, message: String| {
        Failure::new(code, disposition, message).with_details(words)
    };
    let creating = facts.service == Service::Dossiers && !facts.is_updating;
    if creating && said.says(AnswerClass::Exists) && sabotage::on(Defect::ExistsIsSuccess) {
        return Meaning::Accepted(Receipt { code: code.to_owned(), message: words.to_owned() });
    }
    if creating && said.says(AnswerClass::Exists) {
        return Meaning::Exists(refusal(
            codes::EXISTS,
            Disposition::Data,
            "the portal already has the dossier".to_owned(),
        ));
    }
    if !creating && said.says(AnswerClass::Unknown) {
        return Meaning::UnknownDossier(refusal(
            codes::UNKNOWN_DOSSIER,
            Disposition::Data,
            "the portal does not have the dossier".to_owned(),
        ));
    }
    match (zero, said.says_success()) {
        _ if sabotage::on(Defect::CodeUnread) => {
            Meaning::Accepted(Receipt { code: code.to_owned(), message: words.to_owned() })
        }
        (true, true) => {
            Meaning::Accepted(Receipt { code: code.to_owned(), message: words.to_owned() })
        }
        // Code and words contradict each other, or nobody knows the words: not a success, and not a
        // refusal either.
        (true, false) | (false, true) => Meaning::Failed(refusal(
            codes::UNRECOGNISED_ANSWER,
            Disposition::Ambiguous,
            format!("error_code {code} with these words is not a known answer"),
        )),
        (false, false) if said.says(AnswerClass::Retry) => Meaning::Failed(refusal(
            codes::TRY_AGAIN,
            Disposition::Retryable,
            "the portal could not do it now".to_owned(),
        )),
        (false, false) => Meaning::Failed(refusal(
            codes::REFUSED,
            Disposition::Data,
            format!("the portal refused the call with error_code {code}"),
        )),
    }
}

fn look_up_meaning(
    asked: Option<&str>,
    zero: bool,
    envelope: &Envelope,
    said: &Said<'_>,
    code: &str,
    words: &str,
) -> Meaning {
    if !zero {
        if said.says(AnswerClass::Unknown) {
            return Meaning::Missing;
        }
        return Meaning::Failed(
            Failure::new(
                codes::LOOK_UP_REFUSED,
                Disposition::Retryable,
                format!("the portal refused the look-up with error_code {code}"),
            )
            .with_details(words),
        );
    }
    let unrecognised = |what: &str| {
        Meaning::Failed(
            Failure::new(codes::UNRECOGNISED_ANSWER, Disposition::Retryable, what)
                .with_details(words),
        )
    };
    let items: Vec<&Value> = match &envelope.result {
        None | Some(Value::Null) => return Meaning::Missing,
        Some(Value::Array(items)) => items.iter().collect(),
        // One service is known to nest its list one level deeper.
        Some(Value::Object(map)) => match map.get("data") {
            Some(Value::Array(items)) => items.iter().collect(),
            _ if map.is_empty() => Vec::new(),
            _ => envelope.result.iter().collect(),
        },
        Some(_) => return unrecognised("the look-up's result is neither a list nor an object"),
    };
    if items.is_empty() {
        return Meaning::Missing;
    }
    let items: Vec<&Map<String, Value>> =
        items.iter().filter_map(|item| item.as_object()).collect();
    let the_one = items
        .iter()
        .find(|item| asked.is_some() && code_of(item) == asked)
        // An item without a code is still an answer to the question that was asked.
        .or_else(|| items.first().filter(|item| code_of(item).is_none()));
    match the_one {
        Some(item) => Meaning::Found(scalars(item)),
        None => unrecognised("the look-up's result is about another dossier"),
    }
}

/// A list may be empty here: whether that can be believed is decided where the last one is known.
fn catalogue_meaning(
    service: Service,
    zero: bool,
    envelope: &Envelope,
    said: &Said<'_>,
    code: &str,
    words: &str,
) -> Meaning {
    if !zero {
        if service == Service::Procedure && said.says(AnswerClass::Unknown) {
            return Meaning::Missing;
        }
        return Meaning::Failed(
            Failure::new(
                codes::CATALOGUE_REFUSED,
                Disposition::Retryable,
                format!("the portal refused {service} with error_code {code}"),
            )
            .with_details(words),
        );
    }
    let items = match &envelope.result {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(items)) => items.as_slice(),
        // One service is known to nest its list one level deeper.
        Some(Value::Object(map)) => match map.get("data") {
            Some(Value::Array(items)) => items.as_slice(),
            _ if map.is_empty() => &[],
            _ => envelope.result.as_slice(),
        },
        Some(_) => {
            return Meaning::Failed(
                Failure::new(
                    codes::UNRECOGNISED_ANSWER,
                    Disposition::Retryable,
                    "the catalogue is neither a list nor an object",
                )
                .with_details(words),
            );
        }
    };
    if service == Service::Procedure && items.is_empty() {
        return Meaning::Missing;
    }
    Meaning::Listed(catalogue::read(service, items))
}

/// The dossier code in a result item; the portal's spelling of keys varies by service.
fn code_of(item: &Map<String, Value>) -> Option<&str> {
    item.iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("MaHoSo"))
        .and_then(|(_, value)| value.as_str())
        .map(str::trim)
}

fn scalars(item: &Map<String, Value>) -> BTreeMap<String, String> {
    item.iter()
        .filter_map(|(key, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                Value::Null => String::new(),
                Value::Array(_) | Value::Object(_) => return None,
            };
            Some((key.clone(), text))
        })
        .collect()
}

fn login_meaning(
    zero: bool,
    envelope: Envelope,
    said: &Said<'_>,
    code: &str,
    words: &str,
) -> Meaning {
    match (zero, envelope.session) {
        (true, Some(session)) => Meaning::LoggedIn(session),
        (false, _) if said.says(AnswerClass::Retry) => Meaning::Failed(
            Failure::new(
                codes::TRY_AGAIN,
                Disposition::Retryable,
                "the portal could not log in now",
            )
            .with_details(words),
        ),
        (zero, _) => Meaning::Failed(
            Failure::new(
                codes::CREDENTIALS,
                Disposition::Environment,
                if zero {
                    "the login was answered without a session".to_owned()
                } else {
                    format!("the login was refused with error_code {code}")
                },
            )
            .with_details(words),
        ),
    }
}

fn session_failure(words: &str) -> Failure {
    Failure::new(codes::SESSION, Disposition::Environment, "the portal refused the session")
        .with_details(words)
}

/// Look-ups, catalogues, logins and tokens change nothing at the portal: what is ambiguous for a push
/// may simply be asked again, and nothing in them is a dossier's fault.
fn for_service(mut failure: Failure, service: Service) -> Failure {
    let asks = service == Service::LookUp || service.is_catalogue();
    let lets_in = matches!(service, Service::Token | Service::Login);
    failure.disposition = match failure.disposition {
        Disposition::Ambiguous if asks || lets_in => Disposition::Retryable,
        Disposition::Data if asks => Disposition::Retryable,
        Disposition::Data if lets_in => Disposition::Environment,
        disposition => disposition,
    };
    failure
}

/// `Retry-After` as seconds or as a date; a date counts from the answer's own `Date`, so that
/// differing clocks do not matter.
fn retry_after_ms(answer: &HttpAnswer, now: Timestamp) -> Option<u64> {
    let text = answer.header("retry-after")?.trim();
    let ms = if let Ok(seconds) = text.parse::<u64>() {
        seconds.saturating_mul(1000)
    } else {
        let until = http_date_ms(text)?;
        let from = answer.header("date").and_then(http_date_ms).unwrap_or(now.millis());
        u64::try_from(until.saturating_sub(from)).unwrap_or(0)
    };
    Some(ms.min(RETRY_AFTER_MS_MAX))
}

fn http_date_ms(text: &str) -> Option<i64> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(jiff::Timestamp::as_millisecond)
}

fn without_tags(text: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    for c in text.chars().take(4_000) {
        match c {
            '<' => {
                inside = true;
                plain.push(' ');
            }
            '>' if inside => inside = false,
            _ if !inside => plain.push(c),
            _ => {}
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
