//! What goes into the ledger and what workers take out of it.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::reconcile::BookRow;
use crate::domain::bound::SampleBound;
use crate::domain::catalogue::{CatalogueItem, CatalogueKey, CatalogueKind};
use crate::domain::diagnostic::Diagnostic;
use crate::domain::discrepancy::DiscrepancyKind;
use crate::domain::entry::{EntryState, PortalKnown, Settlement};
use crate::domain::failure::Failure;
use crate::domain::lease::Lease;
use crate::domain::priority::Priority;
use crate::domain::share::Turns;
use crate::domain::step::{StepIdentity, StepState};
use crate::domain::time::Timestamp;

pub use super::orders::{GateNote, Orders, PauseScope, Resumed, SendingPause};

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
    /// When that was last.
    pub caught_up_at: Option<Timestamp>,
    /// The cut-over in force; see `Ledger::set_start_from`.
    pub start_from: Option<Timestamp>,
}

/// One page of a feed, to be stored whole.
#[derive(Debug, Clone)]
pub struct PullCommit {
    pub source: String,
    pub at: Timestamp,
    pub priority: Priority,
    pub items: Vec<ReceivedItem>,
    pub refused: Vec<RefusedRecord>,
    /// The file that the page came in, where a source gives files.
    pub origin: Option<String>,
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
    /// The code under which the source kept it before.
    pub recoded_from: Option<String>,
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
    /// The code under which the source kept it before.
    pub recoded_from: Option<String>,
    /// The code of a sound dossier that says it was this one before.
    pub recoded_to: Option<String>,
    /// Ids of the files that were sent with it and not taken back.
    pub files_sent: Vec<String>,
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
    Quarantined {
        diagnostics: Vec<Diagnostic>,
    },
    NotOurs {
        rule: &'static str,
        /// The code under which its source goes on, if that is why.
        recoded_to: Option<String>,
    },
    Valid(Box<ValidPacket>),
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
    pub facts: PacketFacts,
    /// The code under which the source kept it before; that dossier is closed with this one.
    pub recoded_from: Option<String>,
    pub files: PacketFiles,
}

/// What operators select dossiers by beside procedure and agency; `None` where the packet says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PacketFacts {
    /// `TrangThaiHoSo`.
    pub status: Option<String>,
    /// `KenhThucHien`.
    pub channel: Option<String>,
    /// `NgayTiepNhan`.
    pub received_at: Option<Timestamp>,
}

/// What a packet says about submitted files, by `TepDinhKemId`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PacketFiles {
    /// What the portal holds once the packet is acknowledged.
    pub held: Vec<String>,
    /// What the packet takes back.
    pub removed: Vec<String>,
    /// Those of `held` that the source does not have any more: a discrepancy each.
    pub vanished: Vec<String>,
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
    /// Valid, but the portal already acknowledged exactly this packet, or is believed to have it.
    pub unchanged: u64,
    /// An older program may have sent the dossier; the portal is asked first.
    pub awaiting: u64,
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
        self.awaiting += more.awaiting;
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
    /// The ledger is a backup that was restored since: the portal may hold a later packet.
    pub restored: bool,
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
    /// What a platform in between calls this call.
    pub correlation_id: Option<String>,
    pub body_hash: Hash,
    /// Names of the fields that a look-up's answer showed.
    pub echoed: Option<Vec<String>>,
}

/// What the calls of one stretch of work meant. Indices in `call` point into `calls`.
#[derive(Debug, Clone, Default)]
pub struct SettleBatch {
    pub calls: Vec<CallRecord>,
    pub entries: Vec<SettledEntry>,
    pub steps: Vec<SettledSteps>,
    /// Requests for a supplement (status 5) that the portal had and lost are sent again rather
    /// than held.
    pub resend_supplements: bool,
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
    /// The newest entry's packet is the acknowledged one, or is believed to be at the portal.
    pub acknowledged: bool,
    pub acked_at: Option<Timestamp>,
    pub first_seen_at: Timestamp,
    /// As it was mapped last.
    pub procedure: Option<String>,
    pub agency: Option<String>,
    /// Of the newest entry.
    pub failure_code: Option<String>,
    /// Steps wait, or are held, though the packet is acknowledged.
    pub steps_missing: bool,
    /// The portal acknowledged a step after a later one.
    pub steps_disordered: bool,
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
    /// Of the missing ones: missed for the first time, or too short a while ago to be believed.
    #[serde(default)]
    pub suspected: u64,
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
    /// The source has no index: `at_source` is what it gave, and nobody knows what it should have
    /// given. Such books are never closed.
    #[serde(default)]
    pub without_index: bool,
    /// The run that made them; 0 for books from before runs were kept.
    #[serde(default)]
    pub run: i64,
    /// Echoed with more than their code, so that their fields were compared.
    #[serde(default)]
    pub compared: u64,
    /// Of those not matched: with a cause that has a name.
    #[serde(default)]
    pub explained: u64,
    /// Dossiers by their cause, matched ones included.
    #[serde(default)]
    pub causes: BTreeMap<String, u64>,
    /// What the look-ups say of all.
    #[serde(default)]
    pub sample: Option<SampleBound>,
    /// Some of the days, agencies and procedures that do not close.
    #[serde(default)]
    pub unbalanced: Vec<String>,
    /// Why not, if not; or what else a reader must know.
    pub remark: String,
}

impl Books {
    /// As a row among others.
    pub fn row(&self) -> BookRow {
        BookRow {
            name: String::new(),
            at_source: self.at_source,
            matched: self.matched,
            different: self.different,
            missing: self.missing,
            unverifiable: self.unverifiable,
            quarantined: self.quarantined,
            dead: self.dead,
            open: self.open,
            not_ours: self.not_ours,
            explained: self.explained,
        }
    }

    pub fn unmatched(&self) -> u64 {
        let row = self.row();
        row.sum() - row.matched
    }
}

/// How long each class of rows is kept, counted from when it was settled. What is not settled, what
/// is newest of its dossier, and what is under a legal hold stays without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Documents, packets, step bodies, and the evidence of what could not be read.
    pub bodies_ms: u64,
    /// Attempts and their calls.
    pub attempts_ms: u64,
    /// Revisions and entries that a newer one has replaced; refused documents that were mended.
    pub revisions_ms: u64,
    pub audit_ms: u64,
    /// Closed books and settled discrepancies.
    pub books_ms: u64,
    /// Rows of one class that one pass looks at.
    pub rows_max: u32,
}

#[derive(Debug, Clone)]
pub struct UpkeepPolicy {
    pub retention: Retention,
    /// Cursors that ended this long before the newest are dropped.
    pub cursor_retention_ms: u64,
    /// A runnable row that waits longer than this is an alarm.
    pub watchdog_ms: u64,
    /// Steps of status 5 whose outcome is unknown are sent again rather than held.
    pub resend_unknown_supplement: bool,
    /// Waiting work whose appointed time is nearer than this is raised to its class.
    pub deadline_near_ms: u64,
    /// No honest wait for another attempt is longer.
    pub wait_max_ms: u64,
    /// No honest lease is longer.
    pub lease_max_ms: u64,
    /// No honest ownership of a singleton is longer.
    pub owner_max_ms: u64,
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
    /// Other rows past retention.
    pub rows_dropped: u64,
    /// Pages that the file gave back to the disk.
    pub pages_freed: u64,
    /// Restored sources that have been read again and may be sent from.
    pub sources_resumed: u64,
    /// Runnable rows that nobody took in time.
    pub stuck: u64,
    /// Waits, leases and ownerships that ended further in the future than any honest one, because the
    /// wall clock was set back since; they were shortened.
    pub clock_set_back: u64,
}

/// An act of an operator (or of the gateway in place of one), for its row in the audit.
#[derive(Debug, Clone)]
pub struct AuditRecord {
    /// The system user; a name that somebody claims stands beside it, never instead of it.
    pub actor: String,
    /// The command, such as `portal pause`.
    pub action: String,
    /// What it was done to: a dossier's code, a scope, a file.
    pub target: String,
    pub reason: String,
    /// What was chosen, where the target alone does not say it.
    pub selection: Option<String>,
    /// Of the frozen list that was acted on, as hexadecimal digits.
    pub plan_hash: Option<String>,
}

impl AuditRecord {
    pub fn new(actor: &str, action: &str, target: &str, reason: &str) -> Self {
        Self {
            actor: actor.to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            reason: reason.to_owned(),
            selection: None,
            plan_hash: None,
        }
    }

    #[must_use]
    pub fn selection(self, selection: impl Into<String>) -> Self {
        Self { selection: Some(selection.into()), ..self }
    }

    #[must_use]
    pub fn plan_hash(self, hash: impl Into<String>) -> Self {
        Self { plan_hash: Some(hash.into()), ..self }
    }
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
    /// Name of a cause: everything that is open of it at this moment, what fails and what could not be
    /// read included. What a person holds is left alone whatever the scope.
    pub cause: Option<String>,
    pub quarantined: bool,
    pub dead: bool,
    pub held: bool,
}

/// What one fetch of a catalogue brought.
#[derive(Debug, Clone)]
pub struct FetchedCatalogue {
    pub key: CatalogueKey,
    pub calls: Vec<CallRecord>,
    pub outcome: FetchOutcome,
    /// Versions that are kept, the one in use included; at least one.
    pub keep: u32,
}

#[derive(Debug, Clone)]
pub enum FetchOutcome {
    /// To be used from now on; in canonical order.
    Items(Vec<CatalogueItem>),
    /// The version in use stays.
    Failed(Failure),
    /// The question did not leave.
    NotSent,
}

/// What storing a fetch changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CatalogueChange {
    /// The version in use; `None` while there is none.
    pub version: Option<i64>,
    pub is_new: bool,
    pub items: u64,
    pub added: u64,
    pub removed: u64,
    pub renamed: u64,
}

/// How one catalogue stands.
#[derive(Debug, Clone, Serialize)]
pub struct CatalogueStanding {
    #[serde(flatten)]
    pub key: CatalogueKey,
    /// `None`: never fetched.
    pub version: Option<i64>,
    pub items: u64,
    /// Since when the version is in use.
    pub accepted_at: Option<Timestamp>,
    /// When the portal last gave exactly this version.
    pub confirmed_at: Option<Timestamp>,
    pub tried_at: Option<Timestamp>,
    /// Fetches in a row that brought nothing.
    pub failures: u32,
    pub failing_since: Option<Timestamp>,
    pub failure: Option<Failure>,
    /// Since when a person waits for it.
    pub asked_at: Option<Timestamp>,
    pub accept_shrunken: bool,
    /// Dossiers that were mapped with this procedure.
    pub uses: u64,
    pub used_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize)]
pub struct CatalogueVersion {
    pub id: i64,
    pub accepted_at: Timestamp,
    pub items: u64,
    /// Against the version before.
    pub added: u64,
    pub removed: u64,
    pub renamed: u64,
}

/// A person wants catalogues fetched now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueWish {
    pub kinds: Vec<CatalogueKind>,
    /// Also one that has become suspiciously small.
    pub accept_shrunken: bool,
}

/// Calls of some services, and packets that were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CatalogueSpending {
    pub calls: u64,
    pub dossiers: u64,
}

/// Codes of findings, and the moment before which a dossier that waits with one of them may have
/// been judged by an older version of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldScope {
    pub codes: &'static [&'static str],
    pub judged_until: Timestamp,
}

/// What a legal hold or its end came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldOutcome {
    Placed,
    /// Somebody held it before; the first hold stands.
    AlreadyHeld,
    Released,
    NotHeld,
    UnknownDossier,
}

/// What putting every body under one key came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Resealed {
    pub resealed: u64,
    /// Bodies that cannot be read under any known key; they stay as they are.
    pub unreadable: u64,
}

/// What a restored ledger was marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Aftermath {
    /// Sources of which nothing is sent before they have been read to their end again.
    pub sources: u64,
    /// Packets that may have been sent since the backup: the portal is asked first.
    pub to_look_up: u64,
    /// Requests for a supplement that may have been sent since the backup.
    pub steps_held: u64,
    /// Jobs that were at work when the backup was made. What they sent since is not known here.
    pub jobs_paused: u64,
}

/// What stands in a backup, as it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub made_at: Timestamp,
    pub schema: i64,
    pub bytes: u64,
    /// BLAKE3 of the file, as hexadecimal digits.
    pub hash: String,
    /// The key that its bodies are under; not the key itself.
    pub key: Option<String>,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    pub program: String,
    /// Where the chain of the audit ends: an anchor for `hoso audit verify --against`.
    #[serde(default)]
    pub audit: Option<super::audit::AuditHead>,
}

/// Something in a ledger that should not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is broken, in a few words.
    pub what: String,
    /// How often.
    pub count: u64,
    /// Some of the rows, or dossier codes.
    pub examples: Vec<String>,
}

/// How large a class of tables is, and how fast it grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassSize {
    pub class: String,
    pub rows: u64,
    pub bytes: u64,
    /// Bytes a day over the samples that are kept; absent before there are two.
    pub growth: Option<i64>,
}

/// How large the ledger is, and when its room ends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Sizes {
    pub classes: Vec<ClassSize>,
    /// The file, with its holes.
    pub file_bytes: u64,
    /// Holes in the file: used before it grows.
    pub free_bytes: u64,
    pub journal_bytes: u64,
    /// What the disk still has.
    pub disk_free_bytes: Option<u64>,
    pub growth: Option<i64>,
    /// Whole days until the disk or the budget is full, at this growth.
    pub days_left: Option<u64>,
}
