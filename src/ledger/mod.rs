//! The ledger: what the source said, what is owed, what was sent, what came back.
//!
//! Owns durability and atomicity: each verb of [`Ledger`] is one transaction, and the guards of the
//! state machines are repeated in it. Knows nothing of HTTP, XML or waiting; time always comes in as
//! an argument. Start with the trait, then [`record`] for what goes in and [`view`] for what people
//! read.

pub mod adoption;
pub mod audit;
mod body;
pub mod cause;
pub mod jobs;
pub mod key;
pub mod mappings;
pub mod observed;
mod orders;
pub mod past;
pub mod reconcile;
pub mod record;
pub mod sqlite;
pub mod view;
pub mod watch;

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::catalogue::{CatalogueItem, CatalogueKey};
use crate::domain::discrepancy::DiscrepancyKind;
use crate::domain::lease::Lease;
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use adoption::{
    AdoptionBatch, AdoptionCounts, AdoptionOrder, AdoptionRun, AdoptionScope, AwaitingCounts,
    ToAdopt,
};
use audit::{AuditChain, AuditFilter, AuditRow};
use record::{
    AuditRecord, Books, CatalogueChange, CatalogueSpending, CatalogueStanding, CatalogueVersion,
    CatalogueWish, Claim, ClaimedEntry, ClaimedSteps, DiscrepancyRecord, FetchedCatalogue,
    GateNote, HeldScope, HoldOutcome, IndexStanding, MapCounts, MappedEntry, Orders, PauseScope,
    PullCommit, PullCounts, Resumed, ResyncOutcome, RetryScope, SettleBatch, SettleCounts, Sizes,
    SourcePosition, ToMap, UnconfirmedEntry, UpkeepCounts, UpkeepPolicy,
};
use view::{
    CallTotals, DossierView, Health, InForce, KeptBodies, Pause, Problem, ProblemFilter, Refusal,
    Sending, Standing, Waiting, WaitingWork,
};

/// Why a verb of the ledger failed. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file or the disk does not answer as it should; the same verb may work later.
    #[error("the ledger cannot {doing}")]
    Unavailable { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// No space is left; nothing was written.
    #[error("the ledger's disk is full")]
    Full,
    #[error("the ledger cannot be written: {path}")]
    ReadOnly { path: String },
    /// A stored value cannot be read back.
    #[error("the ledger holds an unreadable value in {table}.{column}, row {row}")]
    Corrupt { table: &'static str, column: &'static str, row: i64 },
    /// The file is not a ledger, or its pages are damaged.
    #[error("{path} is not an intact ledger: {finding}")]
    Damaged { path: String, finding: String },
    /// A newer program has migrated this ledger.
    #[error("the ledger has schema {found}, this program knows {known}")]
    Newer { found: i64, known: i64 },
    /// Migrations are pending and were not wanted.
    #[error("the ledger has schema {found}, this program needs {known}")]
    Older { found: i64, known: i64 },
    /// The bodies are sealed, and not under the key that is configured.
    #[error(transparent)]
    Key(#[from] key::KeyTrouble),
    /// A file operation (backup, restore, compaction) cannot be done as things are.
    #[error("{what}")]
    Refused { what: String, hint: &'static str },
    /// Everybody on the machine may write the file: nothing in it would prove anything.
    #[error("everybody may write the ledger {path}")]
    Exposed { path: String },
    /// The ledger changed under a verb in a way that its guards exclude.
    #[error("the ledger refused a transition: {0}")]
    Conflict(String),
}

impl LedgerError {
    /// Stable code for `hoso explain`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "ledger.unavailable",
            Self::Full => "ledger.full",
            Self::ReadOnly { .. } => "ledger.read_only",
            Self::Corrupt { .. } => "ledger.corrupt",
            Self::Damaged { .. } => "ledger.damaged",
            Self::Newer { .. } => "ledger.newer",
            Self::Older { .. } => "ledger.older",
            Self::Key(trouble) => trouble.code(),
            Self::Refused { .. } => "ledger.refused",
            Self::Exposed { .. } => "ledger.exposed",
            Self::Conflict(_) => "ledger.conflict",
        }
    }

    /// What a person can do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => {
                "check that the ledger's folder exists and that the disk works; the verb is repeated by itself"
            }
            Self::Full => {
                "free space on the ledger's disk; work goes on by itself, nothing was lost"
            }
            Self::ReadOnly { .. } => {
                "give the service's user write access to the ledger file and its folder"
            }
            Self::Corrupt { .. } | Self::Damaged { .. } => {
                "stop the service and restore the last backup with `hoso ledger restore`, which keeps \
                 the damaged file; what came since then is read from its sources again"
            }
            Self::Newer { .. } => {
                "run the newer program, or restore the backup made before its upgrade"
            }
            Self::Older { .. } => "run `hoso migrate`, or start without --no-migrate",
            Self::Key(trouble) => trouble.hint(),
            Self::Refused { hint, .. } => hint,
            Self::Exposed { .. } => {
                "take the right away: chmod o-w FILE; then look at the audit: hoso audit verify"
            }
            Self::Conflict(_) => "repeat the command; if it stays, please report it with the log",
        }
    }
}

/// Table of this module's codes for `hoso explain`: code, meaning, what to do.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "ledger.unavailable",
        "The ledger file could not be read or written. Nothing was half-written; the verb is repeated.",
        "Check the folder, the disk and the permissions of `ledger.path`.",
    ),
    (
        "ledger.full",
        "The ledger's disk is full. Nothing was half-written.",
        "Free space; work resumes by itself.",
    ),
    (
        "ledger.read_only",
        "The ledger file or its folder cannot be written.",
        "Give the service's user write access to both: SQLite keeps its journal beside the file.",
    ),
    (
        "ledger.corrupt",
        "One stored value cannot be read back. Rows around it are served; this one is not.",
        "`hoso ledger check` names every such value. The dossier is set aside as a problem: `hoso problems retry` or `hoso resync` makes it anew from the source's document. If many are damaged, restore the last backup.",
    ),
    (
        "ledger.damaged",
        "The file is not a SQLite database, or its pages fail the check at start. It is never served.",
        "Stop the service and restore the last backup with `hoso ledger restore`; it keeps the damaged file. What came since then is read from its sources again.",
    ),
    (
        "ledger.newer",
        "A newer hoso-gateway has migrated this ledger; an older one would misread it.",
        "Run the newer program, or restore the backup made before the upgrade.",
    ),
    ("ledger.older", "Migrations are pending and were not wanted.", "Run `hoso migrate`."),
    (
        "ledger.key_missing",
        "The bodies in this ledger are sealed, and no key is configured. Nothing was read or written.",
        "Name the key's file in `ledger.key_file`, set HOSO_LEDGER_KEY, or pass the systemd credential ledger-key. There is no way around a lost key: restore a backup whose key you have, or let the bodies go.",
    ),
    (
        "ledger.key_wrong",
        "The configured key is not the one that this ledger's bodies are sealed under. Nothing was read or written.",
        "Configure the key with the id that the message names. To change keys, name the old one in `ledger.old_key_file` and run `hoso ledger rotate-key`.",
    ),
    (
        "ledger.key_older_missing",
        "Keys are being changed and some bodies are still under the older one, which is not configured.",
        "Name it in `ledger.old_key_file` until `hoso ledger rotate-key` has come to its end.",
    ),
    (
        "ledger.key_not_adopted",
        "The configured key is new to this ledger, and only the service and `hoso ledger rotate-key` put a new key to use.",
        "Start the service with this configuration, or run `hoso ledger rotate-key`.",
    ),
    (
        "ledger.key_changed",
        "Another process has put the ledger under a new key. This one would go on writing under the old key, so it writes nothing more.",
        "Start it again with the configuration that names the new key.",
    ),
    (
        "ledger.refused",
        "A backup, a restore or a compaction cannot be done as things are. Nothing was changed.",
        "Do what the message says.",
    ),
    (
        "ledger.exposed",
        "Every account of the machine may write the ledger's file, so nothing in it would prove anything. It was not opened.",
        "`chmod o-w` on the file and its folder, then `hoso audit verify --expect` with a head from the log or the last backup's manifest.",
    ),
    (
        "ledger.conflict",
        "Another process changed the same row first; nothing was written.",
        "Repeat the command.",
    ),
];

/// Domain verbs over durable state. Object-safe: chosen once, held as `Arc<dyn Ledger>`.
#[async_trait]
pub trait Ledger:
    watch::Watching
    + reconcile::Reconciling
    + cause::Causes
    + jobs::Jobs
    + mappings::Mappings
    + observed::Observing
    + Debug
    + Send
    + Sync
{
    // --- pull ---

    /// Where reading `source` goes on: the newest position whose page ended at least `overlap_ms`
    /// before the newest change seen; the beginning of the feed when there is none.
    async fn source_position(
        &self,
        source: &str,
        overlap_ms: u64,
    ) -> Result<SourcePosition, LedgerError>;

    /// Stores the page's new revisions and its cursor together, or nothing.
    async fn commit_pull(&self, commit: &PullCommit) -> Result<PullCounts, LedgerError>;

    /// Remembers that a poll failed, and keeps the refused document as evidence; or, with `None`,
    /// that the source answers again, so that what it answered before is no problem any more.
    async fn record_poll_failure(
        &self,
        source: &str,
        at: Timestamp,
        failure: Option<&crate::domain::failure::Failure>,
        evidence: Option<&[u8]>,
    ) -> Result<(), LedgerError>;

    /// Whether a page of this source that ended at `position` was stored.
    async fn knows_position(&self, source: &str, position: &str) -> Result<bool, LedgerError>;

    /// Codes of up to `limit` dossiers that stand as unreadable and were asked for at `asked_until`
    /// or before; they count as asked for now.
    async fn claim_unread(
        &self,
        source: &str,
        now: Timestamp,
        asked_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<String>, LedgerError>;

    // --- map ---

    /// The oldest unmapped revision of each of up to `limit` dossiers, most pressing first. One
    /// whose stored document cannot be read back is quarantined and left out.
    async fn to_map(&self, limit: u32) -> Result<Vec<ToMap>, LedgerError>;

    /// Writes what mapping found; entries that are no longer `Received` are left alone. Of several
    /// entries of one dossier the first is taken, the others stay to be mapped, and so does one whose
    /// packet says nothing of a file that was sent meanwhile. What is not ours takes everything of
    /// the dossier that still waits with it, and a sound dossier the one that it was before. Open
    /// findings about steps and files that a sound revision does not repeat are closed.
    async fn record_mapped(
        &self,
        now: Timestamp,
        mapped: &[MappedEntry],
    ) -> Result<MapCounts, LedgerError>;

    /// Packets of these dossiers that were acknowledged or are out, newest first, as far as they are
    /// kept: where a file that the source lacks now is found again.
    async fn sent_packets(&self, dossiers: &[i64]) -> Result<Vec<(i64, String)>, LedgerError>;

    // --- push ---

    /// Leases up to `claim.limit` due packets, one per dossier, and counts the attempt before it
    /// returns. The classes share the limit by turns; inside a class the earliest appointed time
    /// goes first. What an operator has paused is left out. One whose stored packet cannot be read
    /// back becomes dead and is left out.
    async fn claim_entries(
        &self,
        now: Timestamp,
        claim: Claim,
    ) -> Result<Vec<ClaimedEntry>, LedgerError>;

    /// Leases the next steps of up to `claim.limit` dossiers whose packet is acknowledged, in the
    /// same order: at most `steps_max` a dossier, a supplement request (status 5) always alone.
    async fn claim_steps(
        &self,
        now: Timestamp,
        claim: Claim,
        steps_max: u32,
    ) -> Result<Vec<ClaimedSteps>, LedgerError>;

    /// Writes what calls meant, guarded by lease (for read-backs by `Unconfirmed`) and by the number
    /// of the attempt; what comes too late is only put on record. Each settlement of steps names
    /// every step of its call, as acknowledged, held, or pending again. A dossier that the portal
    /// turns out to have lost is owed again with all its steps.
    async fn settle(
        &self,
        now: Timestamp,
        batch: &SettleBatch,
    ) -> Result<SettleCounts, LedgerError>;

    // --- reconcile ---

    /// Unconfirmed entries that are due for a look at the portal; not given out again before
    /// `until`.
    async fn claim_unconfirmed(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<UnconfirmedEntry>, LedgerError>;

    /// How the ledger stands to each of these dossiers of a source's index.
    async fn standings(
        &self,
        source: &str,
        ma_ho_so: &[String],
    ) -> Result<Vec<IndexStanding>, LedgerError>;

    /// How the ledger stands to what a source gave since `first_seen_from`, behind `after` in the
    /// order of codes; in place of an index where there is none.
    async fn own_standings(
        &self,
        source: &str,
        after: &str,
        limit: u32,
        first_seen_from: Timestamp,
    ) -> Result<Vec<IndexStanding>, LedgerError>;

    /// The acknowledged packets of these dossiers, for comparing with an echo; those past
    /// retention are left out.
    async fn acked_packets(&self, dossiers: &[i64]) -> Result<Vec<(i64, String)>, LedgerError>;

    /// Opens (or sees again) discrepancies.
    async fn record_discrepancies(
        &self,
        now: Timestamp,
        found: &[DiscrepancyRecord],
    ) -> Result<u64, LedgerError>;

    /// Closes open discrepancies of this kind whose dossier is among `ma_ho_so`.
    async fn resolve_discrepancies(
        &self,
        now: Timestamp,
        source: &str,
        kind: DiscrepancyKind,
        ma_ho_so: &[String],
        resolution: &str,
    ) -> Result<u64, LedgerError>;

    /// Which of these codes an earlier reconciliation already missed at the portal, and since when.
    async fn suspected_missing(
        &self,
        source: &str,
        ma_ho_so: &[String],
    ) -> Result<Vec<(String, Timestamp)>, LedgerError>;

    /// Makes acknowledged (or presumed) dossiers that the portal lost owed again: packet and all
    /// steps. Requests for a supplement that it had are held for a person, unless
    /// `resend_supplements`. Dossiers that have something open already are left alone.
    async fn repair_missing(
        &self,
        now: Timestamp,
        dossiers: &[i64],
        resend_supplements: bool,
    ) -> Result<u64, LedgerError>;

    async fn record_books(&self, books: &Books) -> Result<(), LedgerError>;

    // --- catalogue ---

    /// How every catalogue stands, by kind and procedure; also those that were never fetched.
    async fn catalogues(&self) -> Result<Vec<CatalogueStanding>, LedgerError>;

    /// The number of the newest version of any catalogue; 0 when there is none. It only grows.
    async fn newest_catalogue_version(&self) -> Result<i64, LedgerError>;

    /// Writes what a fetch brought, with its calls. Items become a new version only if they differ
    /// from the one in use; without items the one in use stays.
    async fn record_catalogue(
        &self,
        now: Timestamp,
        fetched: &FetchedCatalogue,
    ) -> Result<CatalogueChange, LedgerError>;

    /// The kept versions of a catalogue, newest first.
    async fn catalogue_versions(
        &self,
        key: &CatalogueKey,
    ) -> Result<Vec<CatalogueVersion>, LedgerError>;

    /// The items of these versions; those that retention has taken, or that cannot be read back, are
    /// left out.
    async fn catalogue_items(
        &self,
        versions: &[i64],
    ) -> Result<Vec<(i64, Vec<CatalogueItem>)>, LedgerError>;

    /// Counts dossiers by the national code of their procedure, so that details are fetched of those
    /// that are used.
    async fn note_procedures(
        &self,
        now: Timestamp,
        used: &BTreeMap<String, u64>,
    ) -> Result<(), LedgerError>;

    /// Remembers that a person wants catalogues fetched, with the audit row. Returns how many.
    async fn ask_for_catalogues(
        &self,
        now: Timestamp,
        wish: &CatalogueWish,
        audit: &AuditRecord,
    ) -> Result<u64, LedgerError>;

    /// Calls of `services` and dossiers accepted by `dossiers` since then.
    async fn catalogue_spending(
        &self,
        since: Timestamp,
        services: &[&str],
        dossiers: &str,
    ) -> Result<CatalogueSpending, LedgerError>;

    /// Puts dossiers that wait for a code back on their way, to be judged anew.
    async fn release_held(&self, now: Timestamp, scopes: &[HeldScope]) -> Result<u64, LedgerError>;

    // --- taking over from an older sync ---

    /// The cut-over of a source: dossiers of it that are new to the ledger from now on await
    /// adoption. Moves the cut-over of those that await it already; `None` leaves them as they are.
    async fn set_start_from(
        &self,
        source: &str,
        start_from: Option<Timestamp>,
    ) -> Result<(), LedgerError>;

    /// Opens a run of `hoso adopt` with its audit row, and ends the one that was open. Whoever owns
    /// the portal's gate works on it.
    async fn open_adoption(
        &self,
        now: Timestamp,
        order: &AdoptionOrder,
        audit: &AuditRecord,
    ) -> Result<i64, LedgerError>;

    async fn end_adoption(&self, now: Timestamp, run: i64) -> Result<(), LedgerError>;

    /// The run of this id; with `None` the one that is open.
    async fn adoption_run(&self, run: Option<i64>) -> Result<Option<AdoptionRun>, LedgerError>;

    /// Up to `limit` dossiers to ask the portal about, pressing ones first; those of a run are
    /// taken from its budget before this returns.
    async fn claim_adoption(
        &self,
        now: Timestamp,
        scope: AdoptionScope,
        limit: u32,
    ) -> Result<ToAdopt, LedgerError>;

    /// Writes what the portal said of awaiting dossiers, each with its entry, its steps and its
    /// lane. An answer about an entry that something newer has replaced is only put on record.
    async fn settle_adoption(
        &self,
        now: Timestamp,
        batch: &AdoptionBatch,
    ) -> Result<AdoptionCounts, LedgerError>;

    /// What awaits adoption, by source; sources without any are left out.
    async fn awaiting(&self) -> Result<Vec<AwaitingCounts>, LedgerError>;

    // --- upkeep ---

    /// Expired leases, retention, watchdog figures.
    async fn upkeep(
        &self,
        now: Timestamp,
        policy: &UpkeepPolicy,
    ) -> Result<UpkeepCounts, LedgerError>;

    // --- operators ---

    /// Opens one send intent for the dossier (or returns the one that is open), with its audit row.
    async fn resync(
        &self,
        now: Timestamp,
        source: Option<&str>,
        ma_ho_so: &str,
        audit: &AuditRecord,
    ) -> Result<ResyncOutcome, LedgerError>;

    /// Puts work that waited for a person back on its way, with its audit row.
    async fn retry(
        &self,
        now: Timestamp,
        scope: &RetryScope,
        audit: &AuditRecord,
    ) -> Result<u64, LedgerError>;

    /// Stops sending of this scope, with its audit row; a pause that is open takes the new reason
    /// and end.
    async fn pause(
        &self,
        now: Timestamp,
        scope: &PauseScope,
        until: Option<Timestamp>,
        audit: &AuditRecord,
    ) -> Result<(), LedgerError>;

    /// Ends the pause of exactly this scope, with its audit row.
    async fn resume(
        &self,
        now: Timestamp,
        scope: &PauseScope,
        audit: &AuditRecord,
    ) -> Result<Resumed, LedgerError>;

    // --- the audit ---

    /// Writes the row of an act without another effect: one that was refused or failed, or that only
    /// showed something.
    async fn note_act(
        &self,
        now: Timestamp,
        audit: &AuditRecord,
        result: &str,
    ) -> Result<(), LedgerError>;

    /// Rows of the audit behind number `after`, oldest first: for looking at the whole chain.
    async fn audit_rows(&self, after: i64, limit: u32) -> Result<Vec<AuditRow>, LedgerError>;

    /// The newest acts that match, newest first.
    async fn acts(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, LedgerError>;

    /// Where the chain ends and what was archived of it: a few rows.
    async fn audit_chain(&self) -> Result<AuditChain, LedgerError>;

    /// What operators want of a process that sends. Reads only, and is asked often.
    async fn orders(&self, now: Timestamp) -> Result<Orders, LedgerError>;
    /// Places a legal hold on the dossiers of this code (of one source, or of all), or ends it, with
    /// its audit row. Retention takes nothing of a held dossier.
    async fn set_hold(
        &self,
        now: Timestamp,
        source: Option<&str>,
        ma_ho_so: &str,
        hold: bool,
        audit: &AuditRecord,
    ) -> Result<HoldOutcome, LedgerError>;

    /// How large everything is. Reads every page of the file, beside the writer.
    async fn sizes(&self, now: Timestamp) -> Result<Sizes, LedgerError>;
    /// The same without the classes: a few numbers of the file and its samples.
    async fn room(&self, now: Timestamp) -> Result<Sizes, LedgerError>;
    /// Keeps the day's sizes, once a day; `false` when the day has them. Reads before that what the
    /// start left unread, if it did; damage in it is refused as at the start.
    async fn measure(&self, now: Timestamp) -> Result<bool, LedgerError>;

    async fn standing(&self, now: Timestamp) -> Result<Standing, LedgerError>;
    /// Who sends and what is stopped, without the numbers.
    async fn sending(&self, now: Timestamp) -> Result<Sending, LedgerError>;
    /// What waits to be sent, by class.
    async fn waiting_by_class(
        &self,
        now: Timestamp,
    ) -> Result<BTreeMap<Priority, WaitingWork>, LedgerError>;
    /// The newest calls that the portal refused because of its quota, newest first.
    async fn refusals(&self, since: Timestamp, limit: u32) -> Result<Vec<Refusal>, LedgerError>;
    /// What monitoring asks for: answered from small indexes, however large the ledger is. Lags are
    /// those of dossiers that were synchronised since `lag_since`.
    async fn health(&self, now: Timestamp, lag_since: Timestamp) -> Result<Health, LedgerError>;
    /// What waits to be sent, for one line about a running service.
    async fn waiting(&self, now: Timestamp) -> Result<Waiting, LedgerError>;
    /// Remembers which configuration the owner of the gate runs with.
    async fn record_in_force(&self, in_force: &InForce) -> Result<(), LedgerError>;
    /// Remembers since when and why nothing is sent although work is due; `None`: it goes on.
    async fn record_pause(&self, pause: Option<&Pause>) -> Result<(), LedgerError>;
    async fn call_totals(&self, since: Timestamp) -> Result<CallTotals, LedgerError>;
    async fn dossier(&self, ma_ho_so: &str) -> Result<Vec<DossierView>, LedgerError>;
    async fn problems(&self, filter: &ProblemFilter) -> Result<Vec<Problem>, LedgerError>;
    /// What is left of a revision's bodies (the newest one's, unless one is named) and of the
    /// dossier's steps; of an entry of it, unless its last one is meant.
    async fn kept(
        &self,
        dossier_id: i64,
        revision_id: Option<i64>,
        entry_id: Option<i64>,
    ) -> Result<Option<KeptBodies>, LedgerError>;
    /// The stored `<HoSo>` document of the newest revision, if retention has not taken it.
    async fn newest_document(&self, dossier_id: i64) -> Result<Option<String>, LedgerError>;

    // --- one owner at a time ---

    /// Takes or renews a named singleton; `Ok(None)` means taken, `Ok(Some(holder))` held by
    /// somebody else whose lease is live.
    async fn hold_singleton(
        &self,
        now: Timestamp,
        name: &str,
        holder: &str,
        lease: Lease,
    ) -> Result<Option<String>, LedgerError>;
    async fn release_singleton(&self, name: &str, token: i64) -> Result<(), LedgerError>;

    async fn remember_quota(&self, window: &str, until: Timestamp) -> Result<(), LedgerError>;
    /// How many calls began since `since`, by parts of `part_ms`, each named by its beginning, oldest
    /// first; parts without calls are left out.
    async fn calls_by_time(
        &self,
        since: Timestamp,
        part_ms: u64,
    ) -> Result<Vec<(Timestamp, u32)>, LedgerError>;
    async fn recall_quota(&self) -> Result<Vec<(String, Timestamp)>, LedgerError>;

    /// What the gate's owner leaves for its successor and for other processes; the last one stays.
    async fn note_gate(
        &self,
        now: Timestamp,
        note: GateNote,
        body: &str,
    ) -> Result<(), LedgerError>;
    async fn noted_gate(&self, note: GateNote) -> Result<Option<(Timestamp, String)>, LedgerError>;

    /// Writes what is still buffered and closes the files.
    async fn close(&self);
}
