//! The verbs of [`Ledger`], each a transaction (or a few, where nothing depends on their being one).

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::super::adoption::{
    AdoptionBatch, AdoptionCounts, AdoptionOrder, AdoptionRun, AdoptionScope, AwaitingCounts,
    ToAdopt,
};
use super::super::audit::{AuditChain, AuditFilter, AuditRow};
use super::super::record::{
    AuditRecord, Books, CatalogueChange, CatalogueSpending, CatalogueStanding, CatalogueVersion,
    CatalogueWish, Claim, ClaimedEntry, ClaimedSteps, DiscrepancyRecord, FetchedCatalogue,
    GateNote, HeldScope, HoldOutcome, IndexStanding, MapCounts, MappedEntry, Orders, PauseScope,
    PullCommit, PullCounts, Resumed, ResyncOutcome, RetryScope, SettleBatch, SettleCounts, Sizes,
    SourcePosition, ToMap, UnconfirmedEntry, UpkeepCounts, UpkeepPolicy,
};
use super::super::view::{
    CallTotals, DossierView, Health, InForce, KeptBodies, Pause, Problem, ProblemFilter, Refusal,
    Sending, Standing, Waiting, WaitingWork,
};
use super::super::{Ledger, LedgerError};
use super::{
    SqliteLedger, adopt, audit, call, catalogue, cause, claim, finish, health, hold, kept, line,
    map, operate, pause, pull, reconcile, retention, settle, singleton, size, standing, upkeep,
    view,
};
use crate::domain::catalogue::{CatalogueItem, CatalogueKey};
use crate::domain::discrepancy::DiscrepancyKind;
use crate::domain::failure::Failure;
use crate::domain::lease::Lease;
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::sabotage;

/// Problems from before they were grouped by cause that one pass of upkeep signs.
const SIGNED_A_PASS: i64 = 2000;

#[async_trait]
impl Ledger for SqliteLedger {
    async fn source_position(
        &self,
        source: &str,
        overlap_ms: u64,
    ) -> Result<SourcePosition, LedgerError> {
        pull::source_position(&self.readers, source, overlap_ms).await
    }

    async fn commit_pull(&self, commit: &PullCommit) -> Result<PullCounts, LedgerError> {
        let mut tx = self.begin("store a page").await?;
        let counts = pull::commit_pull(&mut tx, &self.bodies, commit).await?;
        cause::sign(&mut tx, commit.at).await?;
        finish(tx, "store a page").await?;
        Ok(counts)
    }

    async fn knows_position(&self, source: &str, position: &str) -> Result<bool, LedgerError> {
        pull::knows_position(&self.readers, source, position).await
    }

    async fn claim_unread(
        &self,
        source: &str,
        now: Timestamp,
        asked_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<String>, LedgerError> {
        let mut tx = self.begin("choose unread dossiers").await?;
        let codes = pull::claim_unread(&mut tx, source, now, asked_until, limit).await?;
        finish(tx, "choose unread dossiers").await?;
        Ok(codes)
    }

    async fn record_poll_failure(
        &self,
        source: &str,
        at: Timestamp,
        failure: Option<&Failure>,
        evidence: Option<&[u8]>,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin("record a poll").await?;
        pull::record_poll_failure(&mut tx, &self.bodies, source, at, failure, evidence).await?;
        cause::sign(&mut tx, at).await?;
        finish(tx, "record a poll").await
    }

    async fn to_map(&self, limit: u32) -> Result<Vec<ToMap>, LedgerError> {
        let (unmapped, unreadable) = map::to_map(&self.readers, &self.bodies, limit).await?;
        if !unreadable.is_empty() {
            let mut tx = self.begin("set unreadable rows aside").await?;
            map::quarantine_unreadable(&mut tx, &unreadable).await?;
            finish(tx, "set unreadable rows aside").await?;
        }
        Ok(unmapped)
    }

    async fn record_mapped(
        &self,
        now: Timestamp,
        mapped: &[MappedEntry],
    ) -> Result<MapCounts, LedgerError> {
        let mut tx = self.begin("store mapped dossiers").await?;
        let counts = map::record_mapped(&mut tx, &self.bodies, now, mapped).await?;
        cause::sign(&mut tx, now).await?;
        finish(tx, "store mapped dossiers").await?;
        Ok(counts)
    }

    async fn claim_entries(
        &self,
        now: Timestamp,
        claim: Claim,
    ) -> Result<Vec<ClaimedEntry>, LedgerError> {
        let mut tx = self.begin("claim dossiers").await?;
        let claimed = claim::claim_entries(&mut tx, &self.bodies, now, claim).await?;
        finish(tx, "claim dossiers").await?;
        Ok(claimed)
    }

    async fn claim_steps(
        &self,
        now: Timestamp,
        claim: Claim,
        steps_max: u32,
    ) -> Result<Vec<ClaimedSteps>, LedgerError> {
        let mut tx = self.begin("claim steps").await?;
        let claimed = claim::claim_steps(&mut tx, &self.bodies, now, claim, steps_max).await?;
        finish(tx, "claim steps").await?;
        Ok(claimed)
    }

    async fn settle(
        &self,
        now: Timestamp,
        batch: &SettleBatch,
    ) -> Result<SettleCounts, LedgerError> {
        let mut tx = self.begin("settle calls").await?;
        let counts = settle::settle(&mut tx, now, batch).await?;
        // Also after a success: a packet that is accepted makes visible what its steps failed of before.
        cause::sign(&mut tx, now).await?;
        finish(tx, "settle calls").await?;
        Ok(counts)
    }

    async fn claim_unconfirmed(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<UnconfirmedEntry>, LedgerError> {
        let mut tx = self.begin("claim read-backs").await?;
        let claimed =
            reconcile::claim_unconfirmed(&mut tx, &self.bodies, now, until, limit).await?;
        finish(tx, "claim read-backs").await?;
        Ok(claimed)
    }

    async fn standings(
        &self,
        source: &str,
        ma_ho_so: &[String],
    ) -> Result<Vec<IndexStanding>, LedgerError> {
        reconcile::standings(&self.readers, source, ma_ho_so).await
    }

    async fn own_standings(
        &self,
        source: &str,
        after: &str,
        limit: u32,
        first_seen_from: Timestamp,
    ) -> Result<Vec<IndexStanding>, LedgerError> {
        reconcile::own_standings(&self.readers, source, after, limit, first_seen_from).await
    }

    async fn acked_packets(&self, dossiers: &[i64]) -> Result<Vec<(i64, String)>, LedgerError> {
        reconcile::acked_packets(&self.readers, &self.bodies, dossiers).await
    }

    async fn sent_packets(&self, dossiers: &[i64]) -> Result<Vec<(i64, String)>, LedgerError> {
        reconcile::sent_packets(&self.readers, &self.bodies, dossiers).await
    }

    async fn record_discrepancies(
        &self,
        now: Timestamp,
        found: &[DiscrepancyRecord],
    ) -> Result<u64, LedgerError> {
        let mut tx = self.begin("record discrepancies").await?;
        let opened = reconcile::record_discrepancies(&mut tx, now, found).await?;
        finish(tx, "record discrepancies").await?;
        Ok(opened)
    }

    async fn resolve_discrepancies(
        &self,
        now: Timestamp,
        source: &str,
        kind: DiscrepancyKind,
        ma_ho_so: &[String],
        resolution: &str,
    ) -> Result<u64, LedgerError> {
        let mut tx = self.begin("resolve discrepancies").await?;
        let closed =
            reconcile::resolve_discrepancies(&mut tx, now, source, kind, ma_ho_so, resolution)
                .await?;
        finish(tx, "resolve discrepancies").await?;
        Ok(closed)
    }

    async fn suspected_missing(
        &self,
        source: &str,
        ma_ho_so: &[String],
    ) -> Result<Vec<(String, Timestamp)>, LedgerError> {
        reconcile::suspected_missing(&self.readers, source, ma_ho_so).await
    }

    async fn repair_missing(
        &self,
        now: Timestamp,
        dossiers: &[i64],
        resend_supplements: bool,
    ) -> Result<u64, LedgerError> {
        let mut tx = self.begin("repair lost dossiers").await?;
        let repaired =
            reconcile::repair_missing(&mut tx, now, dossiers, resend_supplements).await?;
        cause::sign(&mut tx, now).await?;
        finish(tx, "repair lost dossiers").await?;
        Ok(repaired.len() as u64)
    }

    async fn record_books(&self, books: &Books) -> Result<(), LedgerError> {
        let mut tx = self.begin("store closed books").await?;
        reconcile::record_books(&mut tx, books).await?;
        finish(tx, "store closed books").await
    }

    async fn catalogues(&self) -> Result<Vec<CatalogueStanding>, LedgerError> {
        catalogue::catalogues(&self.readers).await
    }

    async fn newest_catalogue_version(&self) -> Result<i64, LedgerError> {
        catalogue::newest_version(&self.readers).await
    }

    async fn record_catalogue(
        &self,
        now: Timestamp,
        fetched: &FetchedCatalogue,
    ) -> Result<CatalogueChange, LedgerError> {
        let mut tx = self.begin("store a catalogue").await?;
        let change = catalogue::record(&mut tx, now, fetched).await?;
        cause::sign(&mut tx, now).await?;
        finish(tx, "store a catalogue").await?;
        Ok(change)
    }

    async fn catalogue_versions(
        &self,
        key: &CatalogueKey,
    ) -> Result<Vec<CatalogueVersion>, LedgerError> {
        catalogue::versions(&self.readers, key).await
    }

    async fn catalogue_items(
        &self,
        versions: &[i64],
    ) -> Result<Vec<(i64, Vec<CatalogueItem>)>, LedgerError> {
        catalogue::items(&self.readers, versions).await
    }

    async fn note_procedures(
        &self,
        now: Timestamp,
        used: &BTreeMap<String, u64>,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin("note used procedures").await?;
        catalogue::note_procedures(&mut tx, now, used).await?;
        finish(tx, "note used procedures").await
    }

    async fn ask_for_catalogues(
        &self,
        now: Timestamp,
        wish: &CatalogueWish,
        audit: &AuditRecord,
    ) -> Result<u64, LedgerError> {
        let mut tx = self.begin("ask for catalogues").await?;
        let count = catalogue::ask(&mut tx, now, wish, audit).await?;
        finish(tx, "ask for catalogues").await?;
        Ok(count)
    }

    async fn catalogue_spending(
        &self,
        since: Timestamp,
        services: &[&str],
        dossiers: &str,
    ) -> Result<CatalogueSpending, LedgerError> {
        call::spending(&self.readers, since, services, dossiers).await
    }

    async fn release_held(&self, now: Timestamp, scopes: &[HeldScope]) -> Result<u64, LedgerError> {
        let mut tx = self.begin("release held dossiers").await?;
        let count = catalogue::release_held(&mut tx, now, scopes).await?;
        finish(tx, "release held dossiers").await?;
        Ok(count)
    }

    async fn set_start_from(
        &self,
        source: &str,
        start_from: Option<Timestamp>,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin("set the cut-over").await?;
        adopt::set_start_from(&mut tx, source, start_from).await?;
        finish(tx, "set the cut-over").await
    }

    async fn open_adoption(
        &self,
        now: Timestamp,
        order: &AdoptionOrder,
        audit: &AuditRecord,
    ) -> Result<i64, LedgerError> {
        let mut tx = self.begin("open an adoption run").await?;
        let id = adopt::open_adoption(&mut tx, now, order, audit).await?;
        finish(tx, "open an adoption run").await?;
        Ok(id)
    }

    async fn end_adoption(&self, now: Timestamp, run: i64) -> Result<(), LedgerError> {
        let mut tx = self.begin("end an adoption run").await?;
        adopt::end_adoption(&mut tx, now, run).await?;
        finish(tx, "end an adoption run").await
    }

    async fn adoption_run(&self, run: Option<i64>) -> Result<Option<AdoptionRun>, LedgerError> {
        adopt::adoption_run(&self.readers, run).await
    }

    async fn claim_adoption(
        &self,
        now: Timestamp,
        scope: AdoptionScope,
        limit: u32,
    ) -> Result<ToAdopt, LedgerError> {
        let mut tx = self.begin("choose dossiers to ask about").await?;
        let chosen = adopt::claim_adoption(&mut tx, &self.bodies, now, scope, limit).await?;
        finish(tx, "choose dossiers to ask about").await?;
        Ok(chosen)
    }

    async fn settle_adoption(
        &self,
        now: Timestamp,
        batch: &AdoptionBatch,
    ) -> Result<AdoptionCounts, LedgerError> {
        let mut tx = self.begin("adopt dossiers").await?;
        let counts = adopt::settle_adoption(&mut tx, now, batch).await?;
        cause::sign(&mut tx, now).await?;
        finish(tx, "adopt dossiers").await?;
        Ok(counts)
    }

    async fn awaiting(&self) -> Result<Vec<AwaitingCounts>, LedgerError> {
        adopt::awaiting(&self.readers).await
    }

    async fn note_act(
        &self,
        now: Timestamp,
        audit: &AuditRecord,
        result: &str,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin("write the audit").await?;
        audit::insert_audit(&mut tx, now, audit, result).await?;
        finish(tx, "write the audit").await
    }

    async fn audit_rows(&self, after: i64, limit: u32) -> Result<Vec<AuditRow>, LedgerError> {
        audit::rows_after(&self.readers, after, limit).await
    }

    async fn acts(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, LedgerError> {
        audit::found(&self.readers, filter).await
    }

    async fn audit_chain(&self) -> Result<AuditChain, LedgerError> {
        audit::chain(&self.readers).await
    }

    async fn upkeep(
        &self,
        now: Timestamp,
        policy: &UpkeepPolicy,
    ) -> Result<UpkeepCounts, LedgerError> {
        let mut tx = self.begin("do upkeep").await?;
        let mut counts = upkeep::upkeep(&mut tx, now, policy).await?;
        cause::end_holds(&mut tx, now).await?;
        cause::sign_older(&mut tx, now, SIGNED_A_PASS).await?;
        finish(tx, "do upkeep").await?;
        sabotage::point("upkeep.leases");
        for class in retention::CLASSES {
            let window = class.look(&self.readers, now, &policy.retention).await?;
            if window.is_idle() {
                continue;
            }
            let mut tx = self.begin("drop what is past retention").await?;
            let dropped = class.drop(&mut tx, now, &window).await?;
            finish(tx, "drop what is past retention").await?;
            sabotage::point("upkeep.retention");
            if class.is_body() {
                counts.bodies_dropped += dropped;
            } else {
                counts.rows_dropped += dropped;
            }
        }
        if audit::is_due(&self.readers, now, &policy.retention).await? {
            let mut tx = self.begin("archive the audit").await?;
            counts.rows_dropped += audit::archive(&mut tx, now, &policy.retention).await?;
            finish(tx, "archive the audit").await?;
        }
        counts.pages_freed = retention::give_back(&self.writer).await?;
        counts.stuck = upkeep::stuck(&self.readers, now, policy).await?;
        Ok(counts)
    }

    async fn resync(
        &self,
        now: Timestamp,
        source: Option<&str>,
        ma_ho_so: &str,
        audit: &AuditRecord,
    ) -> Result<ResyncOutcome, LedgerError> {
        let mut tx = self.begin("open a resync").await?;
        let outcome = operate::resync(&mut tx, now, source, ma_ho_so, audit).await?;
        cause::sign(&mut tx, now).await?;
        finish(tx, "open a resync").await?;
        Ok(outcome)
    }

    async fn retry(
        &self,
        now: Timestamp,
        scope: &RetryScope,
        audit: &AuditRecord,
    ) -> Result<u64, LedgerError> {
        let mut tx = self.begin("retry problems").await?;
        let count = operate::retry(&mut tx, now, scope, audit).await?;
        cause::sign(&mut tx, now).await?;
        finish(tx, "retry problems").await?;
        Ok(count)
    }

    async fn pause(
        &self,
        now: Timestamp,
        scope: &PauseScope,
        until: Option<Timestamp>,
        audit: &AuditRecord,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin("pause sending").await?;
        pause::pause(&mut tx, now, scope, until, audit).await?;
        finish(tx, "pause sending").await
    }

    async fn resume(
        &self,
        now: Timestamp,
        scope: &PauseScope,
        audit: &AuditRecord,
    ) -> Result<Resumed, LedgerError> {
        let mut tx = self.begin("resume sending").await?;
        let resumed = pause::resume(&mut tx, now, scope, audit).await?;
        finish(tx, "resume sending").await?;
        Ok(resumed)
    }

    async fn orders(&self, now: Timestamp) -> Result<Orders, LedgerError> {
        pause::orders(&self.readers, now).await
    }

    async fn set_hold(
        &self,
        now: Timestamp,
        source: Option<&str>,
        ma_ho_so: &str,
        hold: bool,
        audit: &AuditRecord,
    ) -> Result<HoldOutcome, LedgerError> {
        let mut tx = self.begin("set a legal hold").await?;
        let outcome = hold::set_hold(&mut tx, now, source, ma_ho_so, hold, audit).await?;
        finish(tx, "set a legal hold").await?;
        Ok(outcome)
    }

    async fn sizes(&self, now: Timestamp) -> Result<Sizes, LedgerError> {
        size::sizes(&self.readers, &self.path, now, self.size_budget).await
    }

    async fn room(&self, now: Timestamp) -> Result<Sizes, LedgerError> {
        size::quick(&self.readers, &self.path, now, self.size_budget).await
    }

    async fn measure(&self, now: Timestamp) -> Result<bool, LedgerError> {
        self.read_the_rest().await?;
        if size::is_measured(&self.readers, now).await? {
            return Ok(false);
        }
        let sizes = self.sizes(now).await?;
        let mut tx = self.begin("measure the ledger").await?;
        size::record(&mut tx, now, &sizes).await?;
        finish(tx, "measure the ledger").await?;
        Ok(true)
    }

    async fn standing(&self, now: Timestamp) -> Result<Standing, LedgerError> {
        standing::standing(&self.readers, now).await
    }

    async fn sending(&self, now: Timestamp) -> Result<Sending, LedgerError> {
        standing::sending(&self.readers, now).await
    }

    async fn waiting_by_class(
        &self,
        now: Timestamp,
    ) -> Result<BTreeMap<Priority, WaitingWork>, LedgerError> {
        line::waiting(&self.readers, now).await
    }

    async fn refusals(&self, since: Timestamp, limit: u32) -> Result<Vec<Refusal>, LedgerError> {
        line::refusals(&self.readers, since, limit).await
    }

    async fn health(&self, now: Timestamp, lag_since: Timestamp) -> Result<Health, LedgerError> {
        health::health(&self.readers, now, lag_since).await
    }

    async fn waiting(&self, now: Timestamp) -> Result<Waiting, LedgerError> {
        health::waiting(&self.readers, now).await
    }

    async fn record_in_force(&self, in_force: &InForce) -> Result<(), LedgerError> {
        let mut tx = self.begin("record the configuration").await?;
        health::record_in_force(&mut tx, in_force).await?;
        finish(tx, "record the configuration").await
    }

    async fn record_pause(&self, pause: Option<&Pause>) -> Result<(), LedgerError> {
        let mut tx = self.begin("record a pause").await?;
        health::record_pause(&mut tx, pause).await?;
        finish(tx, "record a pause").await
    }

    async fn call_totals(&self, since: Timestamp) -> Result<CallTotals, LedgerError> {
        call::totals(&self.readers, since).await
    }

    async fn dossier(&self, ma_ho_so: &str) -> Result<Vec<DossierView>, LedgerError> {
        view::dossier(&self.readers, ma_ho_so).await
    }

    async fn problems(&self, filter: &ProblemFilter) -> Result<Vec<Problem>, LedgerError> {
        view::problems(&self.readers, filter).await
    }

    async fn kept(
        &self,
        dossier_id: i64,
        revision_id: Option<i64>,
        entry_id: Option<i64>,
    ) -> Result<Option<KeptBodies>, LedgerError> {
        kept::kept(&self.readers, &self.bodies, dossier_id, revision_id, entry_id).await
    }

    async fn newest_document(&self, dossier_id: i64) -> Result<Option<String>, LedgerError> {
        view::newest_document(&self.readers, &self.bodies, dossier_id).await
    }

    async fn hold_singleton(
        &self,
        now: Timestamp,
        name: &str,
        holder: &str,
        lease: Lease,
    ) -> Result<Option<String>, LedgerError> {
        if singleton::renew(&self.writer, &self.locks, name, lease).await? {
            return Ok(None);
        }
        let mut tx = self.begin("hold a singleton").await?;
        let place = (&self.locks, self.path.as_path());
        let other = singleton::hold_singleton(&mut tx, place, now, name, holder, lease).await?;
        finish(tx, "hold a singleton").await?;
        Ok(other)
    }

    async fn release_singleton(&self, name: &str, token: i64) -> Result<(), LedgerError> {
        let mut tx = self.begin("release a singleton").await?;
        singleton::release_singleton(&mut tx, &self.locks, name, token).await?;
        finish(tx, "release a singleton").await
    }

    async fn remember_quota(&self, window: &str, until: Timestamp) -> Result<(), LedgerError> {
        let mut tx = self.begin("remember quota").await?;
        operate::remember_quota(&mut tx, window, until).await?;
        finish(tx, "remember quota").await
    }

    async fn calls_by_time(
        &self,
        since: Timestamp,
        part_ms: u64,
    ) -> Result<Vec<(Timestamp, u32)>, LedgerError> {
        operate::calls_by_time(&self.readers, since, part_ms).await
    }

    async fn recall_quota(&self) -> Result<Vec<(String, Timestamp)>, LedgerError> {
        operate::recall_quota(&self.readers).await
    }

    async fn note_gate(
        &self,
        now: Timestamp,
        note: GateNote,
        body: &str,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin("note the gate's state").await?;
        pause::note(&mut tx, now, note, body).await?;
        finish(tx, "note the gate's state").await
    }

    async fn noted_gate(&self, note: GateNote) -> Result<Option<(Timestamp, String)>, LedgerError> {
        pause::noted(&self.readers, note).await
    }

    async fn close(&self) {
        self.locks.give_back_all();
        self.readers.close().await;
        self.writer.close().await;
    }
}
