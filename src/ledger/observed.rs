//! What the portal really does: a dated record that is learnt from our own calls and outlives them.
//!
//! Learning goes behind the calls, in its own passes, so that no call waits for it. Knows nothing of what
//! a good answer is: that was judged when it came, and nothing in here makes any answer count as success.

use async_trait::async_trait;
use serde::Serialize;

use super::LedgerError;
use crate::domain::time::Timestamp;

/// What one pass learnt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Learnt {
    /// Calls that were looked at.
    pub calls: u64,
    pub changes: Vec<ObservedChange>,
}

/// Everything that was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// Calls that it is made from.
    pub calls: u64,
    /// Up to which call's time.
    pub until: Option<Timestamp>,
    pub answers: Vec<ObservedAnswer>,
    pub hours: Vec<ObservedHour>,
    pub session: ObservedSession,
    pub fields: Vec<ObservedField>,
    /// The newest first.
    pub changes: Vec<ObservedChange>,
}

/// One way in which a service answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObservedAnswer {
    pub service: String,
    /// What it was taken for when it came, e.g. `useful`, `refused`, `throttled`, `unknown`.
    pub outcome: String,
    /// As the portal wrote it; empty where it wrote none.
    pub code: String,
    /// Its cleaned words, with `#` for each number; empty where there was no whole answer.
    pub message: String,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    pub calls: u64,
}

/// One service in one hour of the day, over all days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObservedHour {
    pub service: String,
    /// Of the day in Vietnam, 0 to 23.
    pub hour: u32,
    pub calls: u64,
    pub mean_ms: u64,
    pub slowest_ms: u64,
}

/// How long sessions lived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ObservedSession {
    pub logins: u64,
    /// The oldest session with which a call still succeeded.
    pub longest_good_ms: Option<u64>,
    /// Calls that were refused because of their session.
    pub refused: u64,
    /// The youngest session that was refused.
    pub shortest_refused_ms: Option<u64>,
}

/// A field in what look-ups show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObservedField {
    pub service: String,
    pub name: String,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// Look-ups that showed it, of all since the first that did.
    pub shown: u64,
    pub asked: u64,
    /// It was always shown and is not any more.
    pub is_gone: bool,
}

/// Something that the portal does otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObservedChange {
    pub at: Timestamp,
    pub kind: ChangeKind,
    pub service: String,
    /// The answer or the field that it is about.
    pub about: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A code or words that the service never answered before.
    NewAnswer,
    NewField,
    FieldGone,
    FieldBack,
}

impl ChangeKind {
    pub const ALL: [Self; 4] = [Self::NewAnswer, Self::NewField, Self::FieldGone, Self::FieldBack];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewAnswer => "new_answer",
            Self::NewField => "new_field",
            Self::FieldGone => "field_gone",
            Self::FieldBack => "field_back",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The part of the ledger that remembers how the portal behaves.
#[async_trait]
pub trait Observing {
    /// Learns from the next calls, at most so many.
    async fn observe(&self, rows_max: u32) -> Result<Learnt, LedgerError>;

    async fn observed(&self) -> Result<Observed, LedgerError>;

    /// The newest first.
    async fn observed_changes(&self, since: Timestamp) -> Result<Vec<ObservedChange>, LedgerError>;
}
