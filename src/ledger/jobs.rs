//! Plans and jobs: which dossiers a selection means, frozen lists of them, and how far their sending
//! again has come.
//!
//! A plan is made once and never changed; a job is a plan at work. Every item of a job is a row that
//! names the obligation which carries it, so a job survives whatever process works on it, and what is
//! open already is joined and never opened twice.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Serialize;

use super::LedgerError;
use super::record::{AuditRecord, Hash};
use crate::domain::job::{ItemCounts, ItemState, JobState, Mode, Order, Pace};
use crate::domain::selection::Selection;
use crate::domain::time::Timestamp;

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct PlanOrder {
    pub selection: Selection,
    pub mode: Mode,
    /// Requests for a supplement (status 5) that the portal has are sent again, too.
    pub supplements: bool,
    pub actor: String,
    pub reason: String,
}

/// A frozen list.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub id: i64,
    pub made_at: Timestamp,
    pub sealed_at: Timestamp,
    pub actor: String,
    pub reason: String,
    pub selection: Selection,
    pub mode: Mode,
    pub supplements: bool,
    pub items: u64,
    /// Of selection, mode and list: 64 hex digits.
    pub hash: String,
    /// The job that works on it, or did.
    pub job: Option<i64>,
}

/// One dossier of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanLine {
    #[serde(skip)]
    pub dossier_id: i64,
    pub ma_ho_so: String,
    pub source: String,
    /// The newest revision when it was planned.
    pub revision: i64,
}

impl PlanLine {
    /// What of it is hashed; a line of a plan file hashes to the same.
    pub fn hashed(&self) -> String {
        format!("{} {} {}\n", self.source, self.ma_ho_so, self.revision)
    }
}

/// The beginning of what a plan's hash covers.
pub fn hashed_head(selection: &Selection, mode: Mode, supplements: bool) -> String {
    format!("{}\n{} {}\n", selection.canonical(), mode.as_str(), u8::from(supplements))
}

/// How a plan stands to the ledger now.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outlook {
    /// Its dossiers that have a newer revision than when it was made.
    pub changed: u64,
    pub changed_for_example: Vec<String>,
    /// Its dossiers that are never sent (deleted, re-coded, a ministry's).
    pub never_sent: u64,
    /// Its dossiers that are on their way already.
    pub open: u64,
    /// Dossiers that the selection means now and that are not in it.
    pub came_later: u64,
    /// Dossiers of it that wait in other jobs, by job.
    pub also_in: BTreeMap<i64, u64>,
}

/// How a job is to run.
#[derive(Debug, Clone, Copy)]
pub struct JobLimits {
    pub canary: u64,
    pub per_minute: u64,
    pub stop_after: u64,
}

/// A plan at work.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    pub id: i64,
    pub plan: Plan,
    pub actor: String,
    pub reason: String,
    pub state: JobState,
    /// Why it is paused or stopped, or what it waits for.
    pub note: Option<String>,
    pub canary: u64,
    pub canary_passed: bool,
    pub stop_after: u64,
    pub started_at: Timestamp,
    pub changed_at: Timestamp,
    pub progress_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub counts: ItemCounts,
    /// Failed items by code.
    pub failures: BTreeMap<String, u64>,
    #[serde(skip)]
    pub pace: Pace,
    #[serde(skip)]
    pub counting_from: Timestamp,
}

/// What became of the wish to set a plan to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    Job(i64),
    /// Somebody was first.
    Already {
        job: i64,
        actor: String,
        state: JobState,
    },
    UnknownPlan,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obeyed {
    Now {
        from: JobState,
        to: JobState,
        /// Items that wait again, or never will.
        items: u64,
    },
    /// It makes no sense in this state.
    Refused(JobState),
    UnknownJob,
}

/// What opening items did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OpenedItems {
    pub opened: u64,
    /// Of them, those that were on their way already.
    pub joined: u64,
    pub skipped: u64,
}

/// An item that was acknowledged and is looked up at the portal.
#[derive(Debug, Clone)]
pub struct ToVerify {
    pub dossier_id: i64,
    pub ma_ho_so: String,
    /// When the portal's acknowledgement was met.
    pub since: Timestamp,
}

/// The verbs around selections, plans and jobs.
#[async_trait]
pub trait Jobs {
    /// Ids of up to `limit` dossiers that the selection means, behind the id `after` in their order;
    /// a page that is not full is the last one. Begin with 0.
    async fn select(
        &self,
        selection: &Selection,
        after: i64,
        limit: u32,
    ) -> Result<Vec<i64>, LedgerError>;

    /// Those of the codes that no dossier has (of this source, where one is given), at most `limit`.
    async fn unknown_codes(
        &self,
        selection: &Selection,
        limit: u32,
    ) -> Result<Vec<String>, LedgerError>;

    /// Freezes a selection. The list is written in parts, so that nobody waits long for the ledger,
    /// and counts only when it is sealed; what the ledger meets first after the beginning is not in it.
    async fn make_plan(&self, now: Timestamp, order: &PlanOrder) -> Result<Plan, LedgerError>;

    /// A sealed plan.
    async fn plan(&self, id: i64) -> Result<Option<Plan>, LedgerError>;

    /// Its dossiers behind `after`, in the order of their ids.
    async fn plan_lines(
        &self,
        plan: i64,
        after: i64,
        limit: u32,
    ) -> Result<Vec<PlanLine>, LedgerError>;

    async fn outlook(&self, plan: &Plan) -> Result<Outlook, LedgerError>;

    /// Sets a plan to work, once, with the audit row.
    async fn start_job(
        &self,
        now: Timestamp,
        plan: i64,
        limits: JobLimits,
        audit: &AuditRecord,
    ) -> Result<Started, LedgerError>;

    /// Jobs, the newest first; if `open`, only those at work, paused or stopped, and those of which
    /// something is still on its way.
    async fn jobs(&self, open: bool, limit: u32) -> Result<Vec<Job>, LedgerError>;

    async fn job(&self, id: i64) -> Result<Option<Job>, LedgerError>;

    /// Items of a job in a state, with what came of them.
    async fn job_items(
        &self,
        job: i64,
        state: ItemState,
        limit: u32,
    ) -> Result<Vec<(String, Option<String>)>, LedgerError>;

    /// Obeys an operator, with the audit row, also when the order makes no sense.
    async fn order_job(
        &self,
        now: Timestamp,
        job: i64,
        order: Order,
        audit: &AuditRecord,
    ) -> Result<Obeyed, LedgerError>;

    // --- for whoever works on jobs ---

    /// The next items that wait, with their codes and sources.
    async fn next_items(&self, job: &Job, limit: u64) -> Result<Vec<PlanLine>, LedgerError>;

    /// Opens an obligation for each of these dossiers, or joins the one that is open; does nothing
    /// if the job does not open items any more.
    async fn open_items(
        &self,
        now: Timestamp,
        job: &Job,
        dossiers: &[i64],
    ) -> Result<OpenedItems, LedgerError>;

    /// Items that cannot be opened, with the reason.
    async fn end_items(
        &self,
        now: Timestamp,
        job: &Job,
        state: ItemState,
        ended: &[(i64, String)],
    ) -> Result<u64, LedgerError>;

    /// Looks what became of what is on its way; returns how many items changed.
    async fn follow_items(&self, now: Timestamp, job: &Job) -> Result<u64, LedgerError>;

    /// Items of the first few that the portal acknowledged and that were not looked up yet.
    async fn to_verify(&self, job: &Job) -> Result<Vec<ToVerify>, LedgerError>;

    /// The job's next state, if it is still in the one that this was decided from.
    async fn move_job(
        &self,
        now: Timestamp,
        job: &Job,
        next: JobState,
        note: Option<&str>,
    ) -> Result<bool, LedgerError>;

    /// What the job waits for; `None` when it goes on.
    async fn note_job(&self, job: &Job, note: Option<&str>) -> Result<(), LedgerError>;
}

/// A hash as text.
pub fn hash_text(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}
