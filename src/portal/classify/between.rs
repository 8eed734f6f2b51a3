//! What those between us and the portal say by themselves: a platform's codes and tokens, a wrapper's
//! plain texts.

use super::{Facts, Judgement, Meaning, for_service};
use crate::domain::failure::{Disposition, Failure};
use crate::domain::receipt::Receipt;
use crate::http::HttpAnswer;
use crate::portal::answers::AnswerPatterns;
use crate::portal::call::{CallOutcome, Service};
use crate::portal::codes;
use crate::portal::gate::Signal;
use crate::portal::redact::Redactions;
use crate::portal::wire::{Platform, read_token};

/// What the platform's own code says about whether the portal was reached.
pub(super) enum Told {
    /// It was, or nothing is said: the answer inside decides.
    Nothing,
    Refusal(u16),
    Unknown,
}

pub(super) fn told(platform: &Platform) -> Told {
    let Some(code) = &platform.code else { return Told::Nothing };
    match code.parse::<u16>() {
        Ok(0 | 200..=299) => Told::Nothing,
        Ok(status @ 400..=599) => Told::Refusal(status),
        _ => Told::Unknown,
    }
}

impl Judgement {
    /// Names the call in everything that people will read about its failure.
    pub(super) fn carry(&mut self, correlation_id: String) {
        let named = |failure: &mut Failure| {
            let separator = if failure.details.is_empty() { "" } else { "; " };
            failure.details =
                format!("{}{separator}correlationId {correlation_id}", failure.details);
        };
        match &mut self.meaning {
            Meaning::Exists(failure)
            | Meaning::UnknownDossier(failure)
            | Meaning::SessionRefused(failure)
            | Meaning::TokenRefused(failure)
            | Meaning::Failed(failure) => named(failure),
            Meaning::LoggedIn(_)
            | Meaning::TokenGiven { .. }
            | Meaning::Accepted(_)
            | Meaning::Found(_)
            | Meaning::Missing
            | Meaning::Listed(_) => {}
        }
        if let Signal::Pressure(failure)
        | Signal::Throttled(failure)
        | Signal::Environment(failure) = &mut self.signal
        {
            named(failure);
        }
        self.correlation_id = Some(correlation_id);
    }
}

/// HTTP success with a code of the platform's that nobody has listed: it may have been passed on.
pub(super) fn unknown_platform_code(
    service: Service,
    platform: Option<&Platform>,
    redactions: &Redactions<'_>,
) -> Judgement {
    let code = platform.and_then(|platform| platform.code.as_deref()).unwrap_or_default();
    let code = redactions.clean(code);
    let words = redactions.clean(platform.map_or("", |platform| platform.status.as_str()));
    let message = format!("the integration platform answered with the unknown code {code}");
    let failure = Failure::new(codes::UNRECOGNISED_ANSWER, Disposition::Ambiguous, message)
        .with_details(words.clone());
    Judgement {
        meaning: Meaning::Failed(for_service(failure, service)),
        signal: Signal::Success,
        outcome: CallOutcome::Unknown,
        error_code: None,
        message: words,
        correlation_id: None,
    }
}

/// A text without a code: a success only if the file knows it, whole, for this service.
pub(super) fn text_judgement(
    facts: &Facts<'_>,
    text: &str,
    patterns: &AnswerPatterns,
    redactions: &Redactions<'_>,
) -> Judgement {
    let words = redactions.clean(text);
    let is_push = matches!(facts.service, Service::Dossiers | Service::Steps);
    let (meaning, outcome) = if is_push && patterns.is_plain_success(facts.service, text) {
        let receipt = Receipt { code: String::new(), message: words.clone() };
        (Meaning::Accepted(receipt), CallOutcome::Useful)
    } else {
        let failure = Failure::new(
            codes::UNKNOWN_TEXT,
            Disposition::Ambiguous,
            "the answer is a text without a code, and not a known one",
        )
        .with_details(words.clone());
        (Meaning::Failed(for_service(failure, facts.service)), CallOutcome::Unknown)
    };
    Judgement {
        meaning,
        signal: Signal::Success,
        outcome,
        error_code: None,
        message: words,
        correlation_id: None,
    }
}

pub(super) fn token_judgement(answer: &HttpAnswer, redactions: &Redactions<'_>) -> Judgement {
    let read = read_token(&answer.body);
    let (expires_in_s, message, token) = match read {
        Some(read) => (read.expires_in_s, read.message, read.token),
        None => (None, String::new(), None),
    };
    if let Some(token) = token {
        return Judgement {
            // A lifetime of nothing is meant as "not told" by those who write it.
            meaning: Meaning::TokenGiven { token, expires_in_s: expires_in_s.filter(|s| *s > 0) },
            signal: Signal::Success,
            outcome: CallOutcome::Useful,
            error_code: None,
            // What stands beside a token is of no use, and could be a second one.
            message: String::new(),
            correlation_id: None,
        };
    }
    let words = redactions.clean(&message);
    let failure = Failure::new(
        codes::TOKEN,
        Disposition::Environment,
        "the integration platform's answer holds no access_token",
    )
    .with_details(words.clone());
    Judgement {
        meaning: Meaning::Failed(failure.clone()),
        signal: Signal::Environment(failure),
        outcome: CallOutcome::Environment,
        error_code: None,
        message: words,
        correlation_id: None,
    }
}
