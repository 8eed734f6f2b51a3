//! Causes: what the ledger knows of signatures, and what people do about them.
//!
//! What is open of each cause is kept in the transactions that change it, so a list of causes reads
//! indexes and never the dossiers. Knows nothing of the gate or of how often is too often; those are
//! arguments.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Serialize;

use super::LedgerError;
use super::record::{AuditRecord, PauseScope, SendingPause};
use super::view::{AuditView, Problem, ProblemKind};
use crate::domain::signature::{Concentration, Harm, Signature, concentration};
use crate::domain::time::Timestamp;

/// A cause with what is open of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    pub name: String,
    #[serde(flatten)]
    pub signature: Signature,
    /// The portal refuses the data itself.
    pub refusal: bool,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// How often a dossier came to fail of it, whatever became of that.
    pub total: u64,
    /// What is open: packets, steps, documents.
    pub open: u64,
    pub kinds: BTreeMap<ProblemKind, u64>,
    pub dossiers: u64,
    pub procedures: u64,
    pub agencies: u64,
    /// Dossiers whose work has ended and that the portal does not know so.
    pub finished_unsent: u64,
    pub nearest_due: Option<Timestamp>,
    pub trend: Trend,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<CauseHold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
    /// The pause that the gateway began by itself because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<SendingPause>,
    /// What is noted about it.
    pub notes: u64,
}

impl Cause {
    pub fn harm(&self) -> Harm {
        Harm {
            finished_unsent: self.finished_unsent,
            nearest_due: self.nearest_due,
            open: self.open,
        }
    }

    /// The kind that most of it is.
    pub fn main_kind(&self) -> Option<ProblemKind> {
        self.kinds.iter().max_by_key(|(_, count)| **count).map(|(kind, _)| *kind)
    }
}

/// How many came to fail, in parts of five minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Trend {
    pub last_hour: u64,
    pub hour_before: u64,
    pub last_day: u64,
    pub day_before: u64,
}

/// What a person stopped of a cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CauseHold {
    pub by: String,
    pub reason: String,
    pub since: Timestamp,
    pub until: Option<Timestamp>,
}

/// So many came at once that somebody was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Burst {
    pub at: Timestamp,
    /// What was held; `None`: nothing.
    pub scope: Option<String>,
}

/// What somebody noted about a cause or a dossier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    pub at: Timestamp,
    pub author: String,
    /// Who sees to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    pub note: String,
}

/// A note to be written; who and what stand in the audit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewNote {
    pub owner: Option<String>,
    pub deadline: Option<Timestamp>,
}

/// Refusals that came at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surge {
    pub name: String,
    pub code: String,
    /// The portal refused the data; else the mapping did, or steps are held.
    pub refusal: bool,
    /// When somebody was told of it last.
    pub told_at: Option<Timestamp>,
    /// By procedure and agency.
    pub hits: Vec<(Option<String>, Option<String>, u64)>,
}

impl Surge {
    pub fn dossiers(&self) -> u64 {
        self.hits.iter().map(|(_, _, count)| count).sum()
    }

    /// What may be stopped because of it, without stopping anything else: only where the portal
    /// refuses data, and only where it is in one place.
    pub fn scope(&self) -> Option<PauseScope> {
        if !self.refusal {
            return None;
        }
        match concentration(&self.hits) {
            Concentration::Procedure(code) => Some(PauseScope::Procedure(code)),
            Concentration::Agency(code) => Some(PauseScope::Agency(code)),
            Concentration::Spread => None,
        }
    }
}

/// What became of an act on a cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum CauseOutcome {
    /// So many are concerned now; what comes later is not.
    Done {
        concerned: u64,
    },
    /// It was so already; nothing was changed.
    AlreadySo,
    /// A person holds the cause; nothing was done.
    Held(CauseHold),
    Unknown,
}

/// Which held steps a person found at the portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundAtPortal {
    Cause(String),
    /// Of a dossier; of all its held steps, or of one (`20260126083000/5`).
    Dossier {
        ma_ho_so: String,
        step: Option<String>,
    },
}

/// The part of the ledger that groups what is open by its cause.
#[async_trait]
pub trait Causes {
    /// Causes of which anything is open, or that a person holds, the most harmful first.
    async fn causes(&self, now: Timestamp) -> Result<Vec<Cause>, LedgerError>;

    /// One cause, also when nothing of it is open.
    async fn cause(&self, now: Timestamp, name: &str) -> Result<Option<Cause>, LedgerError>;

    /// What is open of one cause, the nearest due date first.
    async fn members(&self, name: &str, limit: u32) -> Result<Vec<Problem>, LedgerError>;

    /// Names of the causes that a dossier fails of now.
    async fn causes_of(&self, ma_ho_so: &str) -> Result<Vec<String>, LedgerError>;

    /// What was noted about a cause or a dossier, and what was done, oldest first.
    async fn done_so_far(&self, target: &str) -> Result<(Vec<Note>, Vec<AuditView>), LedgerError>;

    /// Keeps a note (the audit row's reason), with its audit row. `Unknown`: no such cause, no such
    /// dossier.
    async fn note_problem(
        &self,
        now: Timestamp,
        note: &NewNote,
        audit: &AuditRecord,
    ) -> Result<CauseOutcome, LedgerError>;

    /// Stops retries of the cause that is the audit row's target, with that row; a hold that stands
    /// takes the new reason and end.
    async fn hold_cause(
        &self,
        now: Timestamp,
        until: Option<Timestamp>,
        audit: &AuditRecord,
    ) -> Result<CauseOutcome, LedgerError>;

    /// Ends the hold of a cause, and the pause that the gateway began because of it.
    async fn release_cause(
        &self,
        now: Timestamp,
        audit: &AuditRecord,
    ) -> Result<CauseOutcome, LedgerError>;

    /// Held steps that a person found at the portal: they are not sent, and say whose word that is.
    async fn mark_sent(
        &self,
        now: Timestamp,
        found: &FoundAtPortal,
        audit: &AuditRecord,
    ) -> Result<CauseOutcome, LedgerError>;

    /// Causes that at least `least` dossiers came to fail of since `since`, and since the last time
    /// that this was told.
    async fn surges(&self, since: Timestamp, least: u32) -> Result<Vec<Surge>, LedgerError>;

    /// Remembers that a surge was told, and holds its scope, with the audit row, unless something
    /// holds it already. Returns whether it is held by this.
    async fn hold_surge(
        &self,
        now: Timestamp,
        name: &str,
        scope: Option<&PauseScope>,
        until: Timestamp,
        audit: &AuditRecord,
    ) -> Result<bool, LedgerError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surge(refusal: bool, hits: &[(&str, &str, u64)]) -> Surge {
        Surge {
            name: "S-0123456789".into(),
            code: "portal.refused/7".into(),
            refusal,
            told_at: None,
            hits: hits
                .iter()
                .map(|(tthc, don_vi, count)| {
                    (Some((*tthc).to_owned()), Some((*don_vi).to_owned()), *count)
                })
                .collect(),
        }
    }

    #[test]
    fn only_refusals_by_the_portal_in_one_place_stop_anything() {
        let one_place = [("1.1", "a", 12), ("1.1", "b", 8)];
        assert_eq!(surge(true, &one_place).scope(), Some(PauseScope::Procedure("1.1".to_owned())));
        assert_eq!(surge(false, &one_place).scope(), None, "nothing of these would be sent anyway");
        assert_eq!(surge(true, &[("1.1", "a", 10), ("1.2", "b", 10)]).scope(), None);
        assert_eq!(surge(true, &one_place).dossiers(), 20);
    }
}
