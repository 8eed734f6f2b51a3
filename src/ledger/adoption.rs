//! What taking over from an older sync puts into the ledger and takes out of it.

use std::ops::AddAssign;

use serde::Serialize;

use super::record::CallRecord;
use crate::domain::adoption::Adoption;
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;

/// What an operator allows one run to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptionOrder {
    /// `None`: dossiers of every source.
    pub source: Option<String>,
    /// Look-ups at most; log-ins come on top.
    pub budget: u32,
}

/// A run of `hoso adopt`, with what it has found so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AdoptionRun {
    pub id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub budget: u32,
    /// Look-ups, counted before they left.
    pub look_ups: u32,
    /// Wire calls, log-ins included.
    pub calls: u64,
    pub known: u64,
    /// Of the known: filed at the portal itself, so that being known proves less.
    pub filed_at_portal: u64,
    /// Of the known: the portal shows something else than our packet.
    pub different: u64,
    /// Not at the portal, and therefore owed with every step.
    pub missing: u64,
    /// Look-ups without an answer.
    pub undecided: u64,
    pub presumed_packets: u64,
    pub presumed_steps: u64,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

/// Which of the awaiting dossiers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptionScope {
    /// Those for which something waits: a change since the cut-over, or an operator's wish.
    Pressing,
    /// Those of an open run, within its budget.
    Run(i64),
}

/// Dossiers to ask the portal about.
#[derive(Debug, Clone, Default)]
pub struct ToAdopt {
    pub dossiers: Vec<AwaitingDossier>,
    /// When the next one of the scope may be asked about, if some wait after a failed look-up.
    pub next_due_at: Option<Timestamp>,
    /// The run is over its budget, or is not open any more.
    pub spent: bool,
}

#[derive(Debug, Clone)]
pub struct AwaitingDossier {
    pub entry_id: i64,
    pub dossier_id: i64,
    pub ma_ho_so: String,
    pub priority: Priority,
    /// `None` when it cannot be read back; then no echo is compared.
    pub packet: Option<String>,
    pub cut_over: Timestamp,
    /// Its packet is newer than the cut-over, or an operator wants it sent.
    pub owed: bool,
    /// Filed at the portal itself.
    pub filed_at_portal: bool,
    pub retries: u32,
}

/// Answers about awaiting dossiers. Indices in `call` point into `calls`.
#[derive(Debug, Clone, Default)]
pub struct AdoptionBatch {
    pub run: Option<i64>,
    pub calls: Vec<CallRecord>,
    pub dossiers: Vec<AdoptedDossier>,
    /// Requests for a supplement that an older program may have sent are sent rather than held.
    pub resend_supplements: bool,
}

#[derive(Debug, Clone)]
pub struct AdoptedDossier {
    pub entry_id: i64,
    pub dossier_id: i64,
    pub cut_over: Timestamp,
    pub filed_at_portal: bool,
    pub adoption: Adoption,
    /// Names of fields that the portal shows otherwise than our packet.
    pub differs: Vec<String>,
    /// The look-up left this machine; what did not leave is given back to the budget.
    pub asked: bool,
    pub call: Option<usize>,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct AdoptionCounts {
    pub known: u64,
    pub filed_at_portal: u64,
    pub different: u64,
    pub missing: u64,
    pub undecided: u64,
    pub presumed_packets: u64,
    pub presumed_steps: u64,
    /// Answers about entries that something newer has replaced meanwhile; nothing was written.
    pub overtaken: u64,
}

impl AdoptionCounts {
    /// Dossiers about which the portal said something.
    pub const fn answered(&self) -> u64 {
        self.known + self.missing
    }
}

impl AddAssign for AdoptionCounts {
    fn add_assign(&mut self, more: Self) {
        self.known += more.known;
        self.filed_at_portal += more.filed_at_portal;
        self.different += more.different;
        self.missing += more.missing;
        self.undecided += more.undecided;
        self.presumed_packets += more.presumed_packets;
        self.presumed_steps += more.presumed_steps;
        self.overtaken += more.overtaken;
    }
}

/// How many dossiers of a source await adoption, by what they wait for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AwaitingCounts {
    pub source: String,
    /// The cut-over in force; `None` when it was taken out of the configuration.
    pub start_from: Option<Timestamp>,
    /// Something waits for the answer; the service asks by itself.
    pub pressing: u64,
    /// Nothing changed since the cut-over.
    pub unchanged: u64,
    /// Received and not mapped yet.
    pub unmapped: u64,
    /// Refused by the mapping: nobody can say which steps it has.
    pub quarantined: u64,
    /// Deleted at the source, or a ministry's: never sent, so not asked about.
    pub not_ours: u64,
}

impl AwaitingCounts {
    /// Dossiers that can be asked about now.
    pub const fn askable(&self) -> u64 {
        self.pressing + self.unchanged
    }

    /// Dossiers that may be at the portal, and of which that is not known.
    pub const fn open(&self) -> u64 {
        self.askable() + self.unmapped + self.quarantined
    }
}
