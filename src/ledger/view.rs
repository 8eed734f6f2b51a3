//! What people read from the ledger.

use std::collections::BTreeMap;

use serde::Serialize;

use super::record::{Books, SendingPause};
use crate::domain::diagnostic::Diagnostic;
use crate::domain::entry::{EntryState, PortalKnown};
use crate::domain::failure::Failure;
use crate::domain::time::Timestamp;

/// The whole ledger in numbers.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Standing {
    /// Dossiers by the state of their newest entry.
    pub dossiers: BTreeMap<EntryState, u64>,
    /// Dossiers whose packet and every step are acknowledged.
    pub synchronised: u64,
    /// Entries (not dossiers) that a newer revision replaced.
    pub superseded: u64,
    /// Steps by state; `waiting` are pending ones behind a packet that the portal refused for good,
    /// `awaiting` those of dossiers that await adoption.
    pub steps: BTreeMap<String, u64>,
    pub refused_documents: u64,
    pub open_discrepancies: BTreeMap<String, u64>,
    /// When the oldest change that is not yet acknowledged was received.
    pub oldest_open_at: Option<Timestamp>,
    /// Runnable now and not leased; counting ends at a thousand of each kind.
    pub due_now: u64,
    /// There is more of it than was counted.
    pub due_now_is_more: bool,
    pub sources: Vec<SourceStanding>,
    pub last_books: Vec<Books>,
    /// Who owns the portal's gate, if anybody.
    pub gate_owner: Option<String>,
    /// Sources of a restored backup of which nothing is sent before they have been read again.
    pub rereading: Vec<String>,
    /// Sending that operators have stopped.
    pub sending_pauses: Vec<SendingPause>,
    /// Dossiers set aside by a pause of their procedure or agency.
    pub set_aside: u64,
    pub in_force: Option<InForce>,
    pub pause: Option<Pause>,
}

/// Who sends, and what operators have stopped.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sending {
    pub gate_owner: Option<String>,
    pub pauses: Vec<SendingPause>,
}

/// What one class of work waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WaitingWork {
    /// Dossiers whose packet could go now.
    pub packets: u64,
    /// Dossiers whose steps could go now.
    pub steps: u64,
    /// Dossiers that wait for their time.
    pub later: u64,
    /// Dossiers set aside by a pause.
    pub set_aside: u64,
}

/// A call that the portal refused because of its quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    pub at: Timestamp,
    pub service: String,
    pub http_status: Option<u16>,
    pub message: String,
}

/// What monitoring asks for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Health {
    pub lag: Lag,
    /// Since when the oldest change (or step) is on its way; what waits for a person is not.
    pub oldest_unsynchronised_at: Option<Timestamp>,
    /// Dossiers, held steps and documents that wait for a person.
    pub problems: u64,
    pub sources: Vec<SourceStanding>,
    /// The last books of each source.
    pub books: Vec<BooksStanding>,
    pub gate_owner: Option<String>,
    pub in_force: Option<InForce>,
    pub pause: Option<Pause>,
}

/// From a change at the source until the portal had acknowledged packet and every step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// How many dossiers the figures are about.
    pub dossiers: u64,
    /// Absent when there are none.
    pub p50_ms: Option<u64>,
    pub p95_ms: Option<u64>,
    pub p99_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BooksStanding {
    pub source: String,
    pub ended_at: Timestamp,
    pub closed: bool,
}

/// The configuration that the gate's owner runs with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InForce {
    pub holder: String,
    /// Of every option, defaults included and secrets left out; 64 hexadecimal digits.
    pub hash: String,
    pub since: Timestamp,
    pub mapping_version: String,
    pub program_version: String,
}

/// Why nothing is sent although work is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    pub since: Timestamp,
    pub failure: Failure,
}

/// What is on its way, for one line about a running service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Packets and step lanes that could go at this moment; counting ends at ten thousand of each.
    pub due: u64,
    pub oldest_at: Option<Timestamp>,
    pub books: Vec<BooksStanding>,
    pub gate_owner: Option<String>,
    pub pause: Option<Pause>,
}

#[derive(Debug, Clone, Serialize)]
pub struct SourceStanding {
    pub name: String,
    pub polled_at: Option<Timestamp>,
    pub caught_up_at: Option<Timestamp>,
    pub failing_since: Option<Timestamp>,
    pub failure: Option<Failure>,
}

/// What the portal's quota bought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CallTotals {
    pub calls: u64,
    pub useful: u64,
    pub by_service: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Everything about one dossier.
#[derive(Debug, Clone, Serialize)]
pub struct DossierView {
    pub dossier_id: i64,
    pub source: String,
    pub ma_ho_so: String,
    pub first_seen_at: Timestamp,
    pub portal_known: PortalKnown,
    pub packet_state: String,
    pub acked_at: Option<Timestamp>,
    pub acked_entry_id: Option<i64>,
    /// `awaiting`, `known` or `unknown`, if an older program may have sent it.
    pub adoption: Option<String>,
    /// The cut-over that it waits under, or was adopted under.
    pub cut_over: Option<Timestamp>,
    pub lane_busy: bool,
    /// Of the newest revision; a repair of an older one comes later and is not it.
    pub newest_entry_id: Option<i64>,
    /// Procedure, agency and appointed time, once mapped.
    pub ma_tthc: Option<String>,
    pub ma_don_vi: Option<String>,
    pub appointed_at: Option<Timestamp>,
    pub hold: Option<HoldView>,
    pub trimmed: Option<TrimmedView>,
    pub steps_due_at: Option<Timestamp>,
    pub steps_failure: Option<Failure>,
    pub revisions: Vec<RevisionView>,
    pub entries: Vec<EntryView>,
    pub steps: Vec<StepView>,
    pub attempts: Vec<AttemptView>,
    pub discrepancies: Vec<DiscrepancyView>,
    pub audit: Vec<AuditView>,
}

impl DossierView {
    /// What is owed for the newest revision. Entries for older ones may have been opened after it.
    pub fn newest_entry(&self) -> Option<&EntryView> {
        let newest = self.newest_entry_id?;
        self.entries.iter().find(|entry| entry.id == newest)
    }
}

/// A legal hold that stands.
#[derive(Debug, Clone, Serialize)]
pub struct HoldView {
    pub since: Timestamp,
    pub by: String,
    pub reason: String,
}

/// What retention took from a dossier's history.
#[derive(Debug, Clone, Serialize)]
pub struct TrimmedView {
    pub attempts: u64,
    pub entries: u64,
    pub revisions: u64,
    /// When it last took something.
    pub at: Timestamp,
}

#[derive(Debug, Clone, Serialize)]
pub struct RevisionView {
    pub id: i64,
    pub version: Option<i64>,
    pub changed_at: Option<Timestamp>,
    pub received_at: Timestamp,
    pub deleted: bool,
    pub ministry: bool,
    /// The code under which its source kept it before.
    pub recoded_from: Option<String>,
    pub fingerprint: String,
    pub body_kept: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct EntryView {
    pub id: i64,
    pub revision_id: i64,
    pub state: EntryState,
    pub priority: crate::domain::priority::Priority,
    pub forced: bool,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    pub due_at: Timestamp,
    pub attempt: u32,
    pub retries: u32,
    pub lease_expires_at: Option<Timestamp>,
    pub packet_hash: Option<String>,
    pub mapping_version: Option<String>,
    pub failure: Option<Failure>,
    /// Code of the failure, or the rule by which it is refused or not ours.
    pub rule: Option<String>,
    pub diagnostics: Vec<Diagnostic>,
    pub superseded_by: Option<i64>,
    /// The last time; absent if it never was, or before the ledger kept it.
    pub mapped_at: Option<Timestamp>,
    /// What it was before something put it back on its way, oldest first.
    pub past: Vec<PastState>,
}

/// Where an entry stood for a while, and why.
#[derive(Debug, Clone, Serialize)]
pub struct PastState {
    pub entry_id: i64,
    pub state: EntryState,
    pub since: Timestamp,
    pub until: Timestamp,
    pub failure: Option<Failure>,
    pub rule: Option<String>,
    pub diagnostics: Vec<Diagnostic>,
}

/// What is left of one revision's bodies, and of the dossier's steps. Personal data: whoever shows
/// it masks it.
#[derive(Debug, Clone)]
pub struct KeptBodies {
    pub revision_id: i64,
    pub received_at: Timestamp,
    /// `None` past retention.
    pub document: Option<String>,
    /// The last obligation that came of the revision.
    pub entry_id: Option<i64>,
    pub mapped_at: Option<Timestamp>,
    pub mapping_version: Option<String>,
    /// `None` past retention, or when nothing could be mapped.
    pub packet: Option<String>,
    pub packet_stored_at: Option<Timestamp>,
    pub acked_entry_id: Option<i64>,
    pub steps: Vec<KeptStep>,
}

#[derive(Debug, Clone)]
pub struct KeptStep {
    pub thoi_diem_xu_ly: String,
    pub trang_thai: String,
    pub ordinal: u32,
    pub state: String,
    /// `None` past retention.
    pub body: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct StepView {
    pub thoi_diem_xu_ly: String,
    pub trang_thai: String,
    pub ordinal: u32,
    pub state: String,
    pub changed_at: Timestamp,
    pub attempts: u32,
    pub failure: Option<Failure>,
}

/// What the attempt of a call says whose lease had run out before its settlement came.
pub const LATE: &str = "came after its lease had run out; nothing else was written";

#[derive(Debug, Clone, Serialize)]
pub struct AttemptView {
    /// Absent for steps.
    pub entry_id: Option<i64>,
    pub kind: String,
    pub number: u32,
    pub at: Timestamp,
    pub outcome: String,
    pub failure_code: Option<String>,
    pub detail: Option<String>,
    pub service: Option<String>,
    pub duration_ms: Option<u64>,
    pub items: Option<u32>,
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    pub message: Option<String>,
    /// What a platform in between calls the call.
    pub correlation_id: Option<String>,
    /// BLAKE3 of the request's body with its secrets emptied, as hexadecimal digits.
    pub body_hash: Option<String>,
}

impl AttemptView {
    /// Its outcome came too late to change anything.
    pub fn is_late(&self) -> bool {
        self.detail.as_deref().is_some_and(|detail| detail.ends_with(LATE))
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct DiscrepancyView {
    pub kind: String,
    pub detail: String,
    pub found_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    pub resolution: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct AuditView {
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub reason: String,
    pub result: String,
}

/// Work that waits for a person.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    pub source: String,
    pub ma_ho_so: String,
    pub since: Timestamp,
    /// Failure code or first error rule.
    pub code: String,
    pub summary: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// Refused by mapping or checks.
    Quarantined,
    /// Refused by the portal for good, or out of attempts.
    Dead,
    /// A step whose repetition could do harm.
    Held,
    /// A document or item of the feed that could not be read.
    RefusedDocument,
    /// A list of the portal's catalogue that could not be fetched; the version before stays in use.
    Catalogue,
}

#[derive(Debug, Clone, Default)]
pub struct ProblemFilter {
    pub ma_ho_so: Option<String>,
    pub code: Option<String>,
    /// 0: all of them.
    pub limit: u32,
}
