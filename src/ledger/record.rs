//! What goes into the ledger and what workers take out of it.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::domain::diagnostic::Diagnostic;
use crate::domain::discrepancy::DiscrepancyKind;
use crate::domain::entry::{EntryState, PortalKnown, Settlement};
use crate::domain::failure::Failure;
use crate::domain::lease::Lease;
use crate::domain::priority::Priority;
use crate::domain::share::Turns;
use crate::domain::step::{StepIdentity, StepState};
use crate::domain::time::Timestamp;

pub type Hash = [u8; 32];

/// Where reading a source goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourcePosition {
    /// The position that a poll starts from: older than the overlap. `None` is the beginning.
    pub start: Option<String>,
    /// Of the page that begins at `start`, if the last poll ended with it.
    pub etag: Option<String>,
    /// Whether the feed was ever read to its end; before that, work is a first fill.
    pub caught_up: bool,
}

/// One page of a feed, to be stored whole.
#[derive(Debug, Clone)]
pub struct PullCommit {
    pub source: String,
    pub at: Timestamp,
    pub priority: Priority,
    pub items: Vec<ReceivedItem>,
    pub refused: Vec<RefusedRecord>,
    /// The cursor after this page and the newest change in it.
    pub cursor: Option<(String, Option<Timestamp>)>,
    /// Entity tag of this page with the position it was asked with, when a poll began and ended
    /// with it.
    pub etag: Option<(String, Option<String>)>,
    pub caught_up: bool,
}

/// One dossier as the source gave it.
#[derive(Debug, Clone)]
pub struct ReceivedItem {
    pub ma_ho_so: String,
    pub version: Option<i64>,
    pub changed_at: Option<Timestamp>,
    pub deleted: bool,
    pub ministry: bool,
    pub fingerprint: Hash,
    pub document: Box<str>,
}

/// An item that could not be read at all.
#[derive(Debug, Clone)]
pub struct RefusedRecord {
    pub rule: String,
    pub reason: String,
    pub ma_ho_so: Option<String>,
    pub evidence: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PullCounts {
    /// Revisions that were not known before.
    pub new: u64,
    /// Items whose newest revision is already stored.
    pub unchanged: u64,
    /// Revisions older than the newest known one: stored, never sent.
    pub outdated: u64,
    /// Items and documents that could not be read; kept as evidence.
    pub refused: u64,
}

/// An unmapped revision.
#[derive(Debug, Clone)]
pub struct ToMap {
    pub entry_id: i64,
    pub dossier_id: i64,
    pub ma_ho_so: String,
    pub deleted: bool,
    pub ministry: bool,
    pub document: String,
}

#[derive(Debug, Clone)]
pub struct MappedEntry {
    pub entry_id: i64,
    pub dossier_id: i64,
    pub mapping_version: String,
    pub outcome: MapOutcome,
}

#[derive(Debug, Clone)]
pub enum MapOutcome {
    Quarantined { diagnostics: Vec<Diagnostic> },
    NotOurs { rule: &'static str },
    Valid(ValidPacket),
}

/// A dossier that passed every check, in the form in which it is sent.
#[derive(Debug, Clone)]
pub struct ValidPacket {
    /// Canonical JSON of the packet.
    pub packet: String,
    pub packet_hash: Hash,
    pub steps: Vec<MappedStep>,
    pub warnings: Vec<Diagnostic>,
    /// Filed at the national portal, which therefore knows it.
    pub filed_at_portal: bool,
    /// Raised when its appointed time is close; `None` keeps the entry's own.
    pub priority: Option<Priority>,
    /// The citizen's appointed time; the earliest goes first inside a class.
    pub appointed_at: Option<Timestamp>,
    /// The work on it has ended, so its appointed time does not come near any more.
    pub finished: bool,
    /// Procedure and agency, by which operators pause sending.
    pub ma_tthc: String,
    pub ma_don_vi: Option<String>,
}

#[derive(Debug, Clone)]
pub struct MappedStep {
    pub identity: StepIdentity,
    pub hash: Hash,
    pub body: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MapCounts {
    pub ready: u64,
    /// Valid, but the portal already acknowledged exactly this packet.
    pub unchanged: u64,
    pub quarantined: u64,
    pub not_ours: u64,
    /// Older entries whose place a newer revision took.
    pub superseded: u64,
    pub steps_new: u64,
    pub discrepancies: u64,
}

impl AddAssign for MapCounts {
    fn add_assign(&mut self, more: Self) {
        self.ready += more.ready;
        self.unchanged += more.unchanged;
        self.quarantined += more.quarantined;
        self.not_ours += more.not_ours;
        self.superseded += more.superseded;
        self.steps_new += more.steps_new;
        self.discrepancies += more.discrepancies;
    }
}

/// Which work is taken, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    pub lease: Lease,
    /// Dossiers at most.
    pub limit: u32,
    /// How the classes share the limit.
    pub turns: Turns,
    /// Only what somebody waits for.
    pub urgent_only: bool,
}

#[derive(Debug, Clone)]
pub struct ClaimedEntry {
    pub entry_id: i64,
    pub dossier_id: i64,
    pub ma_ho_so: String,
    pub ma_tthc: Option<String>,
    pub ma_don_vi: Option<String>,
    pub priority: Priority,
    pub packet: String,
    /// The number of this attempt, already committed.
    pub attempt: u32,
    pub retries: u32,
    pub batch_max: Option<u32>,
    pub portal_known: PortalKnown,
}

#[derive(Debug, Clone)]
pub struct ClaimedSteps {
    pub dossier_id: i64,
    pub ma_ho_so: String,
    pub ma_tthc: Option<String>,
    pub ma_don_vi: Option<String>,
    pub priority: Priority,
    pub retries: u32,
    pub alone: bool,
    pub steps: Vec<ClaimedStep>,
}

#[derive(Debug, Clone)]
pub struct ClaimedStep {
    pub identity: StepIdentity,
    pub body: String,
}

#[derive(Debug, Clone)]
pub struct UnconfirmedEntry {
    pub entry_id: i64,
    pub dossier_id: i64,
    pub ma_ho_so: String,
    pub packet: String,
    pub attempt: u32,
    pub retries: u32,
    pub portal_known: PortalKnown,
    pub failure: Failure,
}

/// One wire call, whatever it bought.
#[derive(Debug, Clone)]
pub struct CallRecord {
    pub service: &'static str,
    pub priority: Priority,
    pub started_at: Timestamp,
    pub duration_ms: u64,
    pub items: u32,
    pub sent_bytes: u64,
    pub answer_bytes: u64,
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    /// Masked by the caller.
    pub message: String,
    pub outcome: &'static str,
    pub body_hash: Hash,
}

/// What the calls of one stretch of work meant. Indices in `call` point into `calls`.
#[derive(Debug, Clone, Default)]
pub struct SettleBatch {
    pub calls: Vec<CallRecord>,
    pub entries: Vec<SettledEntry>,
    pub steps: Vec<SettledSteps>,
}

#[derive(Debug, Clone)]
pub struct SettledEntry {
    pub entry_id: i64,
    pub dossier_id: i64,
    /// The lease it was claimed with; `None` for a read-back of an unconfirmed entry.
    pub lease_token: Option<i64>,
    pub attempt: u32,
    pub settlement: Settlement,
    pub call: Option<usize>,
    pub outcome: &'static str,
}

#[derive(Debug, Clone)]
pub struct SettledSteps {
    pub dossier_id: i64,
    pub lease_token: i64,
    /// The new state of each leased step.
    pub steps: Vec<(StepIdentity, StepState)>,
    pub due_at: Timestamp,
    pub retries: u32,
    pub alone: bool,
    /// The portal does not know the dossier after all: the packet goes first again.
    pub portal_lost_dossier: bool,
    pub failure: Option<Failure>,
    pub call: Option<usize>,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SettleCounts {
    pub accepted: u64,
    pub again: u64,
    pub unconfirmed: u64,
    pub dead: u64,
    pub superseded: u64,
    pub steps_acked: u64,
    pub steps_held: u64,
    /// Settlements whose lease was gone: recorded as attempts, nothing else.
    pub lost_leases: u64,
}

impl AddAssign for SettleCounts {
    fn add_assign(&mut self, more: Self) {
        self.accepted += more.accepted;
        self.again += more.again;
        self.unconfirmed += more.unconfirmed;
        self.dead += more.dead;
        self.superseded += more.superseded;
        self.steps_acked += more.steps_acked;
        self.steps_held += more.steps_held;
        self.lost_leases += more.lost_leases;
    }
}

/// How the ledger stands to one dossier of a source's index.
#[derive(Debug, Clone)]
pub struct IndexStanding {
    pub ma_ho_so: String,
    pub dossier_id: i64,
    pub newest_state: EntryState,
    pub newest_version: Option<i64>,
    pub newest_changed_at: Option<Timestamp>,
    /// The newest entry's packet is the acknowledged one.
    pub acknowledged: bool,
    pub acked_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub struct DiscrepancyRecord {
    pub source: String,
    pub ma_ho_so: String,
    pub dossier_id: Option<i64>,
    pub kind: DiscrepancyKind,
    /// Names of fields, versions, step identities; never values of personal data.
    pub detail: String,
}

/// Closed books of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Books {
    pub source: String,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub from_day: String,
    pub to_day: String,
    pub at_source: u64,
    pub matched: u64,
    pub different: u64,
    pub missing: u64,
    pub unverifiable: u64,
    pub quarantined: u64,
    pub dead: u64,
    pub open: u64,
    pub not_ours: u64,
    /// Acknowledged by the portal, gone from the index; beside the sum.
    pub extra: u64,
    /// Of the matched ones: read back from the portal in this run.
    pub read_back: u64,
    /// Read-back calls made.
    pub look_ups: u64,
    /// The sum of the buckets equals `at_source`, and the whole index was read.
    pub closed: bool,
    /// Why not, if not.
    pub remark: String,
}

#[derive(Debug, Clone)]
pub struct UpkeepPolicy {
    /// Bodies of settled work older than this are dropped.
    pub body_retention_ms: u64,
    /// Cursors that ended this long before the newest are dropped.
    pub cursor_retention_ms: u64,
    /// A runnable row that waits longer than this is an alarm.
    pub watchdog_ms: u64,
    /// Steps of status 5 whose outcome is unknown are sent again rather than held.
    pub resend_unknown_supplement: bool,
    /// Waiting work whose appointed time is nearer than this is raised to its class.
    pub deadline_near_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct UpkeepCounts {
    /// Leases that ran out: their outcome is unknown, so they are read back.
    pub leases_expired: u64,
    pub step_leases_expired: u64,
    pub steps_held: u64,
    pub bodies_dropped: u64,
    /// Waiting work whose appointed time has come near.
    pub raised: u64,
    /// Runnable rows that nobody took in time.
    pub stuck: u64,
}

/// What an operator stops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "scope", content = "value")]
pub enum PauseScope {
    All,
    /// By `MaTTHC`.
    Procedure(String),
    /// By the agency's code, as dossier codes begin with it.
    Agency(String),
}

impl PauseScope {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Procedure(_) => "procedure",
            Self::Agency(_) => "agency",
        }
    }

    pub fn value(&self) -> &str {
        match self {
            Self::All => "",
            Self::Procedure(value) | Self::Agency(value) => value,
        }
    }

    pub fn parse(name: &str, value: String) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "procedure" => Some(Self::Procedure(value)),
            "agency" => Some(Self::Agency(value)),
            _ => None,
        }
    }

    /// Whether work of this procedure and agency is meant.
    pub fn covers(&self, ma_tthc: Option<&str>, ma_don_vi: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Procedure(value) => ma_tthc == Some(value.as_str()),
            Self::Agency(value) => ma_don_vi == Some(value.as_str()),
        }
    }
}

impl std::fmt::Display for PauseScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Procedure(value) => write!(f, "procedure {value}"),
            Self::Agency(value) => write!(f, "agency {value}"),
        }
    }
}

/// Sending that an operator has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    #[serde(flatten)]
    pub scope: PauseScope,
    pub actor: String,
    pub reason: String,
    pub began_at: Timestamp,
    /// Ends by itself then; `None`: until somebody resumes it.
    pub until: Option<Timestamp>,
}

/// What operators want of a process that sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    pub pauses: Vec<Pause>,
    /// Something urgent could be claimed.
    pub urgent_waits: bool,
}

/// What became of a resumption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// `false`: there was no such pause.
    pub ended: bool,
    /// Pauses that still hold.
    pub still: Vec<Pause>,
}

/// What the gate's owner notes for its successor and for other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateNote {
    Learned,
    Status,
}

impl GateNote {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Status => "status",
        }
    }
}

#[derive(Debug, Clone)]
pub struct AuditRecord {
    pub actor: String,
    pub action: String,
    pub target: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum ResyncOutcome {
    /// A new intent was opened.
    Opened {
        entry_id: i64,
    },
    /// One was open already; it is now urgent and forced.
    AlreadyOpen {
        entry_id: i64,
        state: EntryState,
    },
    UnknownDossier,
    /// Never pushed: deleted, a ministry's, or not the province's.
    NotOurs,
    /// The stored document is past retention; it must come from the source again.
    DocumentGone,
}

/// Which problems to put back on their way.
#[derive(Debug, Clone, Default)]
pub struct RetryScope {
    pub ma_ho_so: Vec<String>,
    /// Failure code or rule.
    pub code: Option<String>,
    pub quarantined: bool,
    pub dead: bool,
    pub held: bool,
}
