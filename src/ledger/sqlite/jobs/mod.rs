//! Selections, plans and jobs: how a selection is asked for, and the rows of what it became.

mod items;
mod orders;
mod plans;
pub(super) mod select;

use async_trait::async_trait;

use super::{SqliteLedger, finish};
use crate::domain::job::{ItemState, JobState, Order};
use crate::domain::selection::Selection;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::jobs::{
    Job, JobLimits, Jobs, Obeyed, OpenedItems, Outlook, Plan, PlanLine, PlanOrder, Started,
    ToVerify,
};
use crate::ledger::record::AuditRecord;

pub(super) async fn wait(conn: &mut sqlx::SqliteConnection) -> Result<bool, LedgerError> {
    orders::wait(conn).await
}

#[async_trait]
impl Jobs for SqliteLedger {
    async fn select(
        &self,
        selection: &Selection,
        after: i64,
        limit: u32,
    ) -> Result<Vec<i64>, LedgerError> {
        select::select(&self.readers, selection, after, limit).await
    }

    async fn unknown_codes(
        &self,
        selection: &Selection,
        limit: u32,
    ) -> Result<Vec<String>, LedgerError> {
        select::unknown_codes(&self.readers, selection, limit).await
    }

    async fn make_plan(&self, now: Timestamp, order: &PlanOrder) -> Result<Plan, LedgerError> {
        select::answerable(&order.selection)?;
        let mut tx = self.begin("make a plan").await?;
        let draft = plans::begin(&mut tx, now, order).await?;
        finish(tx, "make a plan").await?;
        let mut after = 0;
        loop {
            let mut tx = self.begin("make a plan").await?;
            let last = plans::fill(&mut tx, now, &draft, &order.selection, after).await?;
            finish(tx, "make a plan").await?;
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        let (items, hash) = plans::hashed(&self.readers, &draft, order).await?;
        let mut tx = self.begin("make a plan").await?;
        plans::seal(&mut tx, now, draft.id, items, &hash).await?;
        finish(tx, "make a plan").await?;
        let sealed = plans::plan(&self.readers, draft.id).await?;
        sealed.ok_or_else(|| LedgerError::Conflict("a plan vanished while it was made".into()))
    }

    async fn plan(&self, id: i64) -> Result<Option<Plan>, LedgerError> {
        plans::plan(&self.readers, id).await
    }

    async fn plan_lines(
        &self,
        plan: i64,
        after: i64,
        limit: u32,
    ) -> Result<Vec<PlanLine>, LedgerError> {
        plans::lines(&self.readers, plan, after, limit).await
    }

    async fn outlook(&self, plan: &Plan) -> Result<Outlook, LedgerError> {
        plans::outlook(&self.readers, plan).await
    }

    async fn start_job(
        &self,
        now: Timestamp,
        plan: i64,
        limits: JobLimits,
        audit: &AuditRecord,
    ) -> Result<Started, LedgerError> {
        let mut tx = self.begin("start a job").await?;
        let started = orders::start(&mut tx, now, plan, limits, audit).await?;
        finish(tx, "start a job").await?;
        Ok(started)
    }

    async fn jobs(&self, open: bool, limit: u32) -> Result<Vec<Job>, LedgerError> {
        orders::jobs(&self.readers, open, limit).await
    }

    async fn job(&self, id: i64) -> Result<Option<Job>, LedgerError> {
        orders::job(&self.readers, id).await
    }

    async fn job_items(
        &self,
        job: i64,
        state: ItemState,
        limit: u32,
    ) -> Result<Vec<(String, Option<String>)>, LedgerError> {
        items::listed(&self.readers, job, state, limit).await
    }

    async fn order_job(
        &self,
        now: Timestamp,
        job: i64,
        order: Order,
        audit: &AuditRecord,
    ) -> Result<Obeyed, LedgerError> {
        let mut tx = self.begin("order a job").await?;
        let obeyed = orders::order(&mut tx, now, job, order, audit).await?;
        finish(tx, "order a job").await?;
        Ok(obeyed)
    }

    async fn next_items(&self, job: &Job, limit: u64) -> Result<Vec<PlanLine>, LedgerError> {
        items::next(&self.readers, job, limit).await
    }

    async fn open_items(
        &self,
        now: Timestamp,
        job: &Job,
        dossiers: &[i64],
    ) -> Result<OpenedItems, LedgerError> {
        let mut tx = self.begin("open items of a job").await?;
        let opened = items::open(&mut tx, &self.bodies, now, job, dossiers).await?;
        finish(tx, "open items of a job").await?;
        Ok(opened)
    }

    async fn end_items(
        &self,
        now: Timestamp,
        job: &Job,
        state: ItemState,
        ended: &[(i64, String)],
    ) -> Result<u64, LedgerError> {
        let mut tx = self.begin("end items of a job").await?;
        let count = items::end(&mut tx, now, job, state, ended).await?;
        finish(tx, "end items of a job").await?;
        Ok(count)
    }

    async fn follow_items(&self, now: Timestamp, job: &Job) -> Result<u64, LedgerError> {
        let found = items::news(&self.readers, job).await?;
        if found.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin("follow items of a job").await?;
        let count = items::follow(&mut tx, now, job, &found).await?;
        finish(tx, "follow items of a job").await?;
        Ok(count)
    }

    async fn to_verify(&self, job: &Job) -> Result<Vec<ToVerify>, LedgerError> {
        items::to_verify(&self.readers, job).await
    }

    async fn move_job(
        &self,
        now: Timestamp,
        job: &Job,
        next: JobState,
        note: Option<&str>,
    ) -> Result<bool, LedgerError> {
        let mut tx = self.begin("move a job").await?;
        let moved = orders::change(&mut tx, now, job, next, note).await?;
        finish(tx, "move a job").await?;
        Ok(moved)
    }

    async fn note_job(&self, job: &Job, note: Option<&str>) -> Result<(), LedgerError> {
        let mut tx = self.begin("note about a job").await?;
        orders::note(&mut tx, job, note).await?;
        finish(tx, "note about a job").await
    }
}

/// Every statement of these files; a test prepares them against the schema.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    [select::STATEMENTS, plans::STATEMENTS, orders::STATEMENTS, items::STATEMENTS].concat()
}
