//! What is open, by its cause: signing rows (`sign`), lists (`list`), what people do (`act`), and what
//! comes in surges (`surge`).

mod act;
mod list;
mod sign;
mod surge;

use async_trait::async_trait;

use super::super::LedgerError;
use super::super::cause::{Cause, CauseOutcome, Causes, FoundAtPortal, NewNote, Note, Surge};
use super::super::record::{AuditRecord, PauseScope};
use super::super::view::{AuditView, Problem};
use super::{SqliteLedger, finish};
use crate::domain::time::Timestamp;
pub(super) use act::{end_holds, held_by};
pub(super) use sign::{sign, sign_older};

#[async_trait]
impl Causes for SqliteLedger {
    async fn causes(&self, now: Timestamp) -> Result<Vec<Cause>, LedgerError> {
        list::causes(&self.readers, now, None).await
    }

    async fn cause(&self, now: Timestamp, name: &str) -> Result<Option<Cause>, LedgerError> {
        Ok(list::causes(&self.readers, now, Some(name)).await?.into_iter().next())
    }

    async fn members(&self, name: &str, limit: u32) -> Result<Vec<Problem>, LedgerError> {
        list::members(&self.readers, name, limit).await
    }

    async fn causes_of(&self, ma_ho_so: &str) -> Result<Vec<String>, LedgerError> {
        list::causes_of(&self.readers, ma_ho_so).await
    }

    async fn done_so_far(&self, target: &str) -> Result<(Vec<Note>, Vec<AuditView>), LedgerError> {
        list::done_so_far(&self.readers, target).await
    }

    async fn note_problem(
        &self,
        now: Timestamp,
        note: &NewNote,
        audit: &AuditRecord,
    ) -> Result<CauseOutcome, LedgerError> {
        let mut tx = self.begin("keep a note").await?;
        let outcome = act::note(&mut tx, now, note, audit).await?;
        finish(tx, "keep a note").await?;
        Ok(outcome)
    }

    async fn hold_cause(
        &self,
        now: Timestamp,
        until: Option<Timestamp>,
        audit: &AuditRecord,
    ) -> Result<CauseOutcome, LedgerError> {
        let mut tx = self.begin("hold a cause").await?;
        let outcome = act::hold(&mut tx, now, until, audit).await?;
        finish(tx, "hold a cause").await?;
        Ok(outcome)
    }

    async fn release_cause(
        &self,
        now: Timestamp,
        audit: &AuditRecord,
    ) -> Result<CauseOutcome, LedgerError> {
        let mut tx = self.begin("release a cause").await?;
        let outcome = act::release(&mut tx, now, audit).await?;
        finish(tx, "release a cause").await?;
        Ok(outcome)
    }

    async fn mark_sent(
        &self,
        now: Timestamp,
        found: &FoundAtPortal,
        audit: &AuditRecord,
    ) -> Result<CauseOutcome, LedgerError> {
        let mut tx = self.begin("mark steps as sent").await?;
        let outcome = act::mark_sent(&mut tx, now, found, audit).await?;
        finish(tx, "mark steps as sent").await?;
        Ok(outcome)
    }

    async fn surges(&self, since: Timestamp, least: u32) -> Result<Vec<Surge>, LedgerError> {
        surge::surges(&self.readers, since, least).await
    }

    async fn hold_surge(
        &self,
        now: Timestamp,
        name: &str,
        scope: Option<&PauseScope>,
        until: Timestamp,
        audit: &AuditRecord,
    ) -> Result<bool, LedgerError> {
        let mut tx = self.begin("hold a surge").await?;
        let held = surge::hold(&mut tx, now, name, scope, until, audit).await?;
        finish(tx, "hold a surge").await?;
        Ok(held)
    }
}

/// Every statement of this folder; a test prepares them against the schema.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    [act::STATEMENTS, list::STATEMENTS, sign::STATEMENTS, surge::STATEMENTS].concat()
}

/// Those that the hot paths run.
#[cfg(test)]
pub(super) const HOT: &[&[&str]] = &[act::STATEMENTS, sign::STATEMENTS, surge::STATEMENTS];
