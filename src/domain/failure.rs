//! A failure as it is stored: a stable code, a sentence for people, and what follows from it.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

/// What follows from a failure; the one word that decides whether and how to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// Did not happen; the same call may work later.
    Retryable,
    /// The other side asks for less; nothing is wrong with the dossier.
    Throttled,
    /// Credentials, endpoint or adapter: every dossier would fail. Spends no attempts.
    Environment,
    /// This dossier (or one of this batch) is refused as it stands.
    Data,
    /// Nobody knows whether it happened; look before sending again.
    Ambiguous,
}

/// Why something did not succeed. Never carries personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, e.g. `portal.refused`; `hoso explain CODE` tells more.
    pub code: String,
    /// One sentence without its cause.
    pub message: String,
    pub disposition: Disposition,
    /// The portal's or the source's own words, masked and shortened; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
    /// When the other side named a time to come back, in milliseconds from the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    pub fn new(code: &str, disposition: Disposition, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            disposition,
            details: String::new(),
            retry_after_ms: None,
        }
    }

    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    #[must_use]
    pub fn with_retry_after_ms(mut self, retry_after_ms: Option<u64>) -> Self {
        self.retry_after_ms = retry_after_ms;
        self
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, " ({})", self.details) }
    }
}
