//! Reconciliation as rows: runs, the dossiers that they compare, their books, the slow scan.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::LedgerError;
use super::record::{AuditRecord, Books, SettleBatch};
use crate::domain::cause::{Cause, CausedDifference};
use crate::domain::discrepancy::Bucket;
use crate::domain::time::Timestamp;

/// What one run of the reconciliation is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOrder {
    pub source: String,
    /// The pass that runs by itself: its books stand for the source.
    pub plain: bool,
    /// Its own process works on it, without the portal; nobody else does.
    #[serde(default)]
    pub alone: bool,
    /// Matched dossiers that are drawn and looked up; `None`: all of them.
    pub sample: Option<u32>,
    /// Look-ups at most; log-ins come on top. `None`: as many as the sample needs.
    pub budget: Option<u32>,
    #[serde(default)]
    pub chosen: Chosen,
}

/// The part of the index that is compared; everything where nothing is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agencies: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub procedures: Vec<String>,
    /// Days of reception, `yyyymmdd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_day: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_day: Option<String>,
}

impl Chosen {
    /// The whole index of the configured days.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    pub fn takes(&self, ma_ho_so: &str, agency: &str, procedure: &str) -> bool {
        let takes = |wanted: &[String], value: &str| {
            wanted.is_empty() || wanted.iter().any(|one| one == value)
        };
        takes(&self.codes, ma_ho_so)
            && takes(&self.agencies, agency)
            && takes(&self.procedures, procedure)
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The source's index is read.
    Reading,
    /// The portal is asked.
    Asking,
    /// Findings, repairs and books are written.
    Closing,
    Ended,
}

impl Phase {
    pub const ALL: [Self; 4] = [Self::Reading, Self::Asking, Self::Closing, Self::Ended];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Asking => "asking",
            Self::Closing => "closing",
            Self::Ended => "ended",
        }
    }
}

/// A run, with how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileRun {
    pub id: i64,
    pub order: RunOrder,
    pub phase: Phase,
    #[serde(skip)]
    pub cursor: Option<String>,
    pub from_day: String,
    pub to_day: String,
    /// Dossiers of the index that were read.
    pub read: u64,
    /// Dossiers that are to be asked about, and those that were answered.
    pub wanted: u64,
    #[serde(skip)]
    pub chosen: u64,
    pub asked: u64,
    /// Look-ups and wire calls.
    pub spent: u64,
    pub calls: u64,
    #[serde(skip)]
    pub fruitless: u32,
    /// Agencies of which so much differed that they are asked about whole; `*`: everything.
    pub widened: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remark: String,
    pub books: Option<Books>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

/// One dossier of the index, as it is first placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    pub ma_ho_so: String,
    pub dossier_id: Option<i64>,
    pub day: String,
    pub agency: String,
    pub procedure: String,
    pub bucket: Bucket,
    pub cause: Option<Cause>,
    pub detail: String,
    pub presumed: bool,
    pub suspected_since: Option<Timestamp>,
    /// Its lot, if the portal should have it: smaller goes first; below 0 it is no part of a sample.
    pub draw: Option<i64>,
}

/// A dossier of which the portal is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskLine {
    pub ma_ho_so: String,
    pub dossier_id: i64,
    pub presumed: bool,
    pub suspected_since: Option<Timestamp>,
    /// As the ledger alone placed it.
    pub cause: Option<Cause>,
    pub detail: String,
}

/// Where a dossier is placed after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLine {
    pub ma_ho_so: String,
    pub bucket: Bucket,
    pub cause: Option<Cause>,
    pub detail: String,
    pub differences: Vec<CausedDifference>,
    /// 1: the portal has it, 2: and echoes what it was told.
    pub seen: u8,
}

/// What came of some look-ups. Those in neither list are asked again.
#[derive(Debug, Clone, Default)]
pub struct LookedUp {
    pub calls: SettleBatch,
    pub placed: Vec<PlacedLine>,
    /// Asked without an answer.
    pub unanswered: Vec<String>,
    /// The question did not leave; given back to the budget.
    pub not_sent: Vec<String>,
}

/// One dossier as a report shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileLine {
    pub ma_ho_so: String,
    #[serde(skip)]
    pub dossier_id: Option<i64>,
    pub day: String,
    pub agency: String,
    pub procedure: String,
    pub bucket: Bucket,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<CausedDifference>,
    #[serde(skip)]
    pub presumed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspected_since: Option<Timestamp>,
}

/// Which lines of a run are wanted; an empty list wants all that are not matched or have a cause.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineFilter {
    pub buckets: Vec<Bucket>,
    pub causes: Vec<Cause>,
}

/// What a run's lines add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSums {
    pub buckets: BTreeMap<Bucket, u64>,
    pub causes: BTreeMap<Cause, u64>,
    /// Not matched, and with a cause that explains it.
    pub explained: u64,
    /// Missing, and first missed too short a while ago (or never before) to be believed.
    pub suspected: u64,
    /// The portal has them.
    pub found: u64,
    /// Echoed with more than their code.
    pub compared: u64,
    /// Dossiers from which the sample was drawn; of it answered, and of these differing.
    pub population: u64,
    pub drawn: u64,
    pub differing: u64,
    /// Names of the rows that do not close, by kind.
    pub unbalanced: Vec<String>,
}

/// What the books are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    Day,
    Agency,
    Procedure,
}

impl RowKind {
    pub const ALL: [Self; 3] = [Self::Day, Self::Agency, Self::Procedure];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Agency => "agency",
            Self::Procedure => "procedure",
        }
    }
}

/// The books of one day, agency or procedure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BookRow {
    pub name: String,
    pub at_source: u64,
    pub matched: u64,
    pub different: u64,
    pub missing: u64,
    pub unverifiable: u64,
    pub quarantined: u64,
    pub dead: u64,
    pub open: u64,
    pub not_ours: u64,
    /// Of those not matched: with a named cause.
    pub explained: u64,
}

impl BookRow {
    pub const fn sum(&self) -> u64 {
        self.matched
            + self.different
            + self.missing
            + self.unverifiable
            + self.quarantined
            + self.dead
            + self.open
            + self.not_ours
    }

    pub const fn is_closed(&self) -> bool {
        self.sum() == self.at_source
    }

    /// In percent of those not matched; `None` when all are.
    pub fn explained_percent(&self) -> Option<u64> {
        explained_percent(self.sum() - self.matched, self.explained)
    }
}

/// Rounded down, so that 100 means all.
pub fn explained_percent(unmatched: u64, explained: u64) -> Option<u64> {
    (explained * 100).checked_div(unmatched)
}

/// The sides of one dossier that the ledger has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedDossier {
    pub dossier_id: i64,
    /// What the portal was told last; `None` past retention.
    pub told: Option<String>,
    /// The newest revision's document; as above.
    pub document: Option<String>,
    /// The mapping under which the newest revision was found equal to what was told.
    pub mapping_version: Option<String>,
    /// The newest revision was not found equal to what was told.
    pub is_unsent: bool,
}

/// The slow scan of one source's index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RollingScan {
    pub source: String,
    #[serde(skip)]
    pub cursor: Option<String>,
    pub from_day: String,
    pub to_day: String,
    /// From 1.
    pub round: u64,
    pub seen: u64,
    pub missed: u64,
    pub began_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_missed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ended_at: Option<Timestamp>,
    pub missed_in_all: u64,
    pub scanned_at: Timestamp,
}

/// The part of the ledger that reconciles.
#[async_trait]
pub trait Reconciling {
    /// Opens a run, unless one of the source is open: then that one. `days` bound the index.
    async fn open_run(
        &self,
        now: Timestamp,
        order: &RunOrder,
        days: (&str, &str),
        audit: Option<&AuditRecord>,
    ) -> Result<ReconcileRun, LedgerError>;

    async fn reconcile_run(&self, run: i64) -> Result<Option<ReconcileRun>, LedgerError>;

    /// The newest first.
    async fn reconcile_runs(
        &self,
        source: Option<&str>,
        only_open: bool,
        limit: u32,
    ) -> Result<Vec<ReconcileRun>, LedgerError>;

    /// Ends a run without books, and says why.
    async fn give_up_run(&self, now: Timestamp, run: i64, remark: &str) -> Result<(), LedgerError>;

    /// Stores a page of the index with the position behind it; what is listed already is left out.
    async fn add_lines(
        &self,
        run: i64,
        lines: &[NewLine],
        cursor: Option<&str>,
    ) -> Result<(), LedgerError>;

    /// The index is read: so many (of `sample`, or all) are to be asked about.
    async fn begin_asking(&self, run: i64, sample: Option<u32>) -> Result<(), LedgerError>;

    /// The next dossiers to ask about, their look-ups counted as spent.
    async fn take_look_ups(&self, run: i64, limit: u32) -> Result<Vec<AskLine>, LedgerError>;

    async fn settle_look_ups(
        &self,
        now: Timestamp,
        run: i64,
        looked_up: &LookedUp,
    ) -> Result<(), LedgerError>;

    /// Answered and differing look-ups by agency.
    async fn slices(&self, run: i64) -> Result<Vec<(String, u64, u64)>, LedgerError>;

    /// All of an agency (`*`: of everything) is asked about, and is no part of the sample any more.
    async fn widen(&self, run: i64, agency: &str) -> Result<(), LedgerError>;

    /// Nobody is asked any more; who has no answer is unverifiable.
    async fn end_asking(&self, run: i64, remark: &str) -> Result<(), LedgerError>;

    /// Lines in the order of their codes, behind `after`.
    async fn lines(
        &self,
        run: i64,
        filter: &LineFilter,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ReconcileLine>, LedgerError>;

    /// Places lines elsewhere, without a look.
    async fn place_lines(&self, run: i64, placed: &[PlacedLine]) -> Result<(), LedgerError>;

    /// Codes that the portal acknowledged and that no line of the run has, behind `after`; with the
    /// last code that was looked at. `None`: there are no more.
    async fn unlisted(
        &self,
        run: i64,
        source: &str,
        after: &str,
        first_seen_until: Timestamp,
        limit: u32,
    ) -> Result<Option<(String, Vec<String>)>, LedgerError>;

    /// Closes open discrepancies that the run's lines contradict.
    async fn resolve_by_lines(
        &self,
        now: Timestamp,
        source: &str,
        run: i64,
    ) -> Result<u64, LedgerError>;

    /// Adds the lines up, into the rows of the books too.
    async fn sum_up(&self, run: i64, suspected_before: Timestamp) -> Result<RunSums, LedgerError>;

    /// Stores the books and ends the run; those of a plain run stand for the source.
    async fn end_run(&self, run: i64, books: &Books) -> Result<(), LedgerError>;

    /// Drops some lines that nobody needs: matched ones, and those of earlier runs of its kind (by
    /// itself, or asked for). `false`: no more.
    async fn trim_lines(&self, source: &str, run: i64, limit: u32) -> Result<bool, LedgerError>;

    async fn book_rows(&self, run: i64, kind: RowKind) -> Result<Vec<BookRow>, LedgerError>;

    /// The books of one day, agency or procedure over the plain runs since `since`.
    async fn row_over_time(
        &self,
        source: &str,
        kind: RowKind,
        name: &str,
        since: Timestamp,
    ) -> Result<Vec<(Timestamp, BookRow)>, LedgerError>;

    /// Books of a source since `since`, the oldest first.
    async fn books_since(&self, source: &str, since: Timestamp) -> Result<Vec<Books>, LedgerError>;

    async fn compared(&self, dossiers: &[i64]) -> Result<Vec<ComparedDossier>, LedgerError>;

    async fn rolling_scans(&self) -> Result<Vec<RollingScan>, LedgerError>;

    async fn keep_rolling_scan(&self, scan: &RollingScan) -> Result<(), LedgerError>;
}
