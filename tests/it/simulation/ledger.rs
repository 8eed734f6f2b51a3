//! The real ledger behind a door: each verb is one instant of simulated time, before and after which
//! the process may die, the disk may be full, and the acknowledgement of a commit may get lost.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use async_trait::async_trait;
use hoso_gateway::domain::catalogue::{CatalogueItem, CatalogueKey};
use hoso_gateway::domain::discrepancy::DiscrepancyKind;
use hoso_gateway::domain::job::{ItemState, JobState, Order};
use hoso_gateway::domain::lease::Lease;
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::domain::selection::Selection;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::adoption::{
    AdoptionBatch, AdoptionCounts, AdoptionOrder, AdoptionRun, AdoptionScope, AwaitingCounts,
    ToAdopt,
};
use hoso_gateway::ledger::audit::{AuditChain, AuditFilter, AuditRow};
use hoso_gateway::ledger::cause::{
    Cause, CauseOutcome, Causes, FoundAtPortal, NewNote, Note, Surge,
};
use hoso_gateway::ledger::jobs::{
    Job, JobLimits, Jobs, Obeyed, OpenedItems, Outlook, Plan, PlanLine, PlanOrder, Started,
    ToVerify,
};
use hoso_gateway::ledger::mappings::{
    AppliedMapping, Mappings, NewMapping, Refused, StoredRange, StoredRevision,
};
use hoso_gateway::ledger::observed::{Learnt, Observed, ObservedChange, Observing};
use hoso_gateway::ledger::reconcile::{
    AskLine, BookRow, ComparedDossier, LineFilter, LookedUp, NewLine, PlacedLine, ReconcileLine,
    ReconcileRun, Reconciling, RollingScan, RowKind, RunOrder, RunSums,
};
use hoso_gateway::ledger::record::{
    AuditRecord, Books, CatalogueChange, CatalogueSpending, CatalogueStanding, CatalogueVersion,
    CatalogueWish, Claim, ClaimedEntry, ClaimedSteps, DiscrepancyRecord, FetchedCatalogue,
    GateNote, HeldScope, HoldOutcome, IndexStanding, MapCounts, MappedEntry, Orders, PauseScope,
    PullCommit, PullCounts, Resumed, ResyncOutcome, RetryScope, SettleBatch, SettleCounts, Sizes,
    SourcePosition, ToMap, UnconfirmedEntry, UpkeepCounts, UpkeepPolicy,
};
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};
use hoso_gateway::ledger::view::{
    AuditView, CallTotals, DossierView, Health, InForce, KeptBodies, Pause, Problem, ProblemFilter,
    Refusal, Sending, Standing, Waiting, WaitingWork,
};
use hoso_gateway::ledger::watch::{Sight, WatchBounds, WatchChange, Watchdog, Watching};
use hoso_gateway::ledger::{Ledger, LedgerError};
use tokio::runtime::{Handle, Runtime};

use super::door::Door;
use super::witness::Witness;

/// What happens to one verb of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LedgerFault {
    /// The disk does not answer; nothing is written.
    Busy,
    Full,
    /// Written, and reported as failed.
    LostAcknowledgement,
    /// The process dies before it.
    CrashBefore,
    /// The process dies when it is written.
    CrashAfter,
}

impl LedgerFault {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Busy => "ledger busy",
            Self::Full => "ledger full",
            Self::LostAcknowledgement => "ledger acknowledgement lost",
            Self::CrashBefore => "crash before a commit",
            Self::CrashAfter => "crash after a commit",
        }
    }
}

/// Faults that wait for their verb, shared by all processes on one machine.
#[derive(Debug, Default)]
pub(super) struct LedgerFaults {
    /// How many verbs are let through before each.
    waiting: Mutex<VecDeque<(u32, LedgerFault)>>,
    /// Who renewed the gate's lease last, and how often since without a trace in the file: with one
    /// machine nobody reads it, and it would be every third event.
    renewed: Mutex<(i64, u32)>,
    pub(super) two_machines: AtomicBool,
}

/// Renewals of which one is written.
const RENEWALS: u32 = 3;

impl LedgerFaults {
    pub(super) fn order(&self, after: u32, fault: LedgerFault) {
        self.waiting().push_back((after, fault));
    }

    pub(super) fn clear(&self) {
        self.waiting().clear();
    }

    fn may_renew_for_free(&self, token: i64) -> bool {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.1 += 1;
        renewed.0 == token && renewed.1 < RENEWALS && !self.two_machines.load(Ordering::Relaxed)
    }

    fn was_renewed(&self, token: i64) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = (token, 0);
    }

    fn draw(&self) -> Option<LedgerFault> {
        let mut waiting = self.waiting();
        let (after, fault) = waiting.front_mut()?;
        if *after > 0 {
            *after -= 1;
            return None;
        }
        let fault = *fault;
        waiting.pop_front();
        Some(fault)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<(u32, LedgerFault)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SQLite's own runtime: real time, and no part of the simulation.
fn apart() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime")
        })
        .handle()
}

/// Waits for `work` while the simulated world stands still: to it, this is one instant.
pub(super) fn at_once<T>(work: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let _real_time = apart().enter();
    // The budget of the task that waits here is not renewed before it comes back.
    let mut work = std::pin::pin!(tokio::task::unconstrained(work));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[derive(Debug)]
pub(super) struct SimLedger {
    /// `None`: the process that had it open is gone.
    inner: Mutex<Option<Arc<SqliteLedger>>>,
    door: Door,
    faults: Arc<LedgerFaults>,
    witness: Arc<Witness>,
}

impl SimLedger {
    pub(super) fn open(
        path: &Path,
        door: Door,
        faults: Arc<LedgerFaults>,
        witness: Arc<Witness>,
    ) -> Result<Self, LedgerError> {
        let settings =
            SqliteSettings { durable: false, check_up_to: None, ..SqliteSettings::default() };
        let opened = at_once(SqliteLedger::open(path, &settings))?;
        Ok(Self { inner: Mutex::new(Some(Arc::new(opened))), door, faults, witness })
    }

    /// Closes the file, as the system does for a process that is gone.
    pub(super) fn shut(&self) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(inner) = inner {
            at_once(inner.close());
        }
    }

    /// The ledger itself, for looking at it.
    pub(super) fn inner(&self) -> Option<Arc<SqliteLedger>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn verb<T: Send>(
        &self,
        name: &'static str,
        work: impl FnOnce(&SqliteLedger) -> Result<T, LedgerError> + Send,
    ) -> Result<T, LedgerError> {
        self.door.pass().await;
        let fault = self.faults.draw();
        if let Some(fault) = fault {
            self.witness.count(fault.name());
            self.witness.note(|| format!("{} at {name}", fault.name()));
        }
        match fault {
            Some(LedgerFault::CrashBefore) => {
                self.door.kill();
                self.door.pass().await;
            }
            Some(LedgerFault::Busy) => return Err(busy(name)),
            Some(LedgerFault::Full) => return Err(LedgerError::Full),
            Some(LedgerFault::CrashAfter | LedgerFault::LostAcknowledgement) | None => {}
        }
        let Some(inner) = self.inner() else { return std::future::pending().await };
        let done = work(&inner);
        self.witness.note(|| format!("{name} {}", if done.is_ok() { "done" } else { "failed" }));
        match fault {
            Some(LedgerFault::CrashAfter) => {
                self.door.kill();
                self.door.pass().await;
            }
            Some(LedgerFault::LostAcknowledgement) => return Err(busy(name)),
            _ => {}
        }
        done
    }
}

fn busy(doing: &'static str) -> LedgerError {
    LedgerError::Unavailable { doing, source: "the simulated disk does not answer".into() }
}

macro_rules! verbs {
    ($part:ident: $( $name:ident ( $( $arg:ident : [ $($ty:tt)* ] ),* ) -> [ $($out:tt)* ]; )* { $($rest:item)* }) => {
        #[async_trait]
        impl $part for SimLedger {
            $(
                async fn $name(&self $(, $arg: $($ty)*)*) -> Result<$($out)*, LedgerError> {
                    self.verb(stringify!($name), |ledger| at_once(ledger.$name($($arg),*)))
                        .await
                }
            )*
            $($rest)*
        }
    };
}

verbs! { Observing:
    observe(rows_max: [u32]) -> [Learnt];
    observed() -> [Observed];
    observed_changes(since: [Timestamp]) -> [Vec<ObservedChange>];
{}
}

verbs! { Watching:
    look(bounds: [&WatchBounds]) -> [Vec<Sight>];
    keep_sights(now: [Timestamp], sights: [&[Sight]]) -> [Vec<WatchChange>];
    watchdogs() -> [Vec<Watchdog>];
    overdue(before: [Timestamp]) -> [u64];
    bulk(now: [Timestamp], since: [Timestamp]) -> [(bool, Option<Timestamp>)];
{}
}

verbs! { Reconciling:
    open_run(now: [Timestamp], order: [&RunOrder], days: [(&str, &str)], audit: [Option<&AuditRecord>]) -> [ReconcileRun];
    reconcile_run(run: [i64]) -> [Option<ReconcileRun>];
    reconcile_runs(source: [Option<&str>], only_open: [bool], limit: [u32]) -> [Vec<ReconcileRun>];
    give_up_run(now: [Timestamp], run: [i64], remark: [&str]) -> [()];
    add_lines(run: [i64], lines: [&[NewLine]], cursor: [Option<&str>]) -> [()];
    begin_asking(run: [i64], sample: [Option<u32>]) -> [()];
    take_look_ups(run: [i64], limit: [u32]) -> [Vec<AskLine>];
    settle_look_ups(now: [Timestamp], run: [i64], looked_up: [&LookedUp]) -> [()];
    slices(run: [i64]) -> [Vec<(String, u64, u64)>];
    widen(run: [i64], agency: [&str]) -> [()];
    end_asking(run: [i64], remark: [&str]) -> [()];
    lines(run: [i64], filter: [&LineFilter], after: [&str], limit: [u32]) -> [Vec<ReconcileLine>];
    place_lines(run: [i64], placed: [&[PlacedLine]]) -> [()];
    unlisted(run: [i64], source: [&str], after: [&str], first_seen_until: [Timestamp], limit: [u32]) -> [Option<(String, Vec<String>)>];
    resolve_by_lines(now: [Timestamp], source: [&str], run: [i64]) -> [u64];
    sum_up(run: [i64], suspected_before: [Timestamp]) -> [RunSums];
    end_run(run: [i64], books: [&Books]) -> [()];
    trim_lines(source: [&str], run: [i64], limit: [u32]) -> [bool];
    book_rows(run: [i64], kind: [RowKind]) -> [Vec<BookRow>];
    row_over_time(source: [&str], kind: [RowKind], name: [&str], since: [Timestamp]) -> [Vec<(Timestamp, BookRow)>];
    books_since(source: [&str], since: [Timestamp]) -> [Vec<Books>];
    compared(dossiers: [&[i64]]) -> [Vec<ComparedDossier>];
    rolling_scans() -> [Vec<RollingScan>];
    keep_rolling_scan(scan: [&RollingScan]) -> [()];
{}
}

verbs! { Causes:
    causes(now: [Timestamp]) -> [Vec<Cause>];
    cause(now: [Timestamp], name: [&str]) -> [Option<Cause>];
    members(name: [&str], limit: [u32]) -> [Vec<Problem>];
    causes_of(ma_ho_so: [&str]) -> [Vec<String>];
    done_so_far(target: [&str]) -> [(Vec<Note>, Vec<AuditView>)];
    note_problem(now: [Timestamp], note: [&NewNote], audit: [&AuditRecord]) -> [CauseOutcome];
    hold_cause(now: [Timestamp], until: [Option<Timestamp>], audit: [&AuditRecord]) -> [CauseOutcome];
    release_cause(now: [Timestamp], audit: [&AuditRecord]) -> [CauseOutcome];
    mark_sent(now: [Timestamp], found: [&FoundAtPortal], audit: [&AuditRecord]) -> [CauseOutcome];
    surges(since: [Timestamp], least: [u32]) -> [Vec<Surge>];
    hold_surge(now: [Timestamp], name: [&str], scope: [Option<&PauseScope>], until: [Timestamp], audit: [&AuditRecord]) -> [bool];
{}
}

verbs! { Jobs:
    select(selection: [&Selection], after: [i64], limit: [u32]) -> [Vec<i64>];
    unknown_codes(selection: [&Selection], limit: [u32]) -> [Vec<String>];
    make_plan(now: [Timestamp], order: [&PlanOrder]) -> [Plan];
    plan(id: [i64]) -> [Option<Plan>];
    plan_lines(plan: [i64], after: [i64], limit: [u32]) -> [Vec<PlanLine>];
    outlook(plan: [&Plan]) -> [Outlook];
    start_job(now: [Timestamp], plan: [i64], limits: [JobLimits], audit: [&AuditRecord]) -> [Started];
    jobs(open: [bool], limit: [u32]) -> [Vec<Job>];
    job(id: [i64]) -> [Option<Job>];
    job_items(job: [i64], state: [ItemState], limit: [u32]) -> [Vec<(String, Option<String>)>];
    order_job(now: [Timestamp], job: [i64], order: [Order], audit: [&AuditRecord]) -> [Obeyed];
    next_items(job: [&Job], limit: [u64]) -> [Vec<PlanLine>];
    open_items(now: [Timestamp], job: [&Job], dossiers: [&[i64]]) -> [OpenedItems];
    end_items(now: [Timestamp], job: [&Job], state: [ItemState], ended: [&[(i64, String)]]) -> [u64];
    follow_items(now: [Timestamp], job: [&Job]) -> [u64];
    to_verify(job: [&Job]) -> [Vec<ToVerify>];
    move_job(now: [Timestamp], job: [&Job], next: [JobState], note: [Option<&str>]) -> [bool];
    note_job(job: [&Job], note: [Option<&str>]) -> [()];
{}
}

verbs! { Mappings:
    mapping_in_force() -> [Option<AppliedMapping>];
    mapping_number() -> [i64];
    applied_mappings() -> [Vec<AppliedMapping>];
    apply_mapping(now: [Timestamp], seen: [i64], former: [Option<&NewMapping>], next: [&NewMapping], audit: [&AuditRecord]) -> [i64];
    stored_range(since: [Option<Timestamp>]) -> [StoredRange];
    stored_revisions(after: [i64], until: [i64], since: [Option<Timestamp>]) -> [Vec<StoredRevision>];
    refused_by_others(version: [&str], limit: [u32]) -> [Vec<Refused>];
    reconsidered(now: [Timestamp], version: [&str], released: [&[i64]], kept: [&[i64]]) -> [u64];
{}
}

verbs! { Ledger:
    source_position(source: [&str], overlap_ms: [u64]) -> [SourcePosition];
    record_poll_failure(source: [&str], at: [Timestamp], failure: [Option<&hoso_gateway::domain::failure::Failure>], evidence: [Option<&[u8]>]) -> [()];
    knows_position(source: [&str], position: [&str]) -> [bool];
    claim_unread(source: [&str], now: [Timestamp], asked_until: [Timestamp], limit: [u32]) -> [Vec<String>];
    to_map(limit: [u32]) -> [Vec<ToMap>];
    record_mapped(now: [Timestamp], mapped: [&[MappedEntry]]) -> [MapCounts];
    sent_packets(dossiers: [&[i64]]) -> [Vec<(i64, String)>];
    standings(source: [&str], ma_ho_so: [&[String]]) -> [Vec<IndexStanding>];
    own_standings(source: [&str], after: [&str], limit: [u32], first_seen_from: [Timestamp]) -> [Vec<IndexStanding>];
    acked_packets(dossiers: [&[i64]]) -> [Vec<(i64, String)>];
    record_discrepancies(now: [Timestamp], found: [&[DiscrepancyRecord]]) -> [u64];
    resolve_discrepancies(now: [Timestamp], source: [&str], kind: [DiscrepancyKind], ma_ho_so: [&[String]], resolution: [&str]) -> [u64];
    suspected_missing(source: [&str], ma_ho_so: [&[String]]) -> [Vec<(String, Timestamp)>];
    repair_missing(now: [Timestamp], dossiers: [&[i64]], resend_supplements: [bool]) -> [u64];
    record_books(books: [&Books]) -> [()];
    catalogues() -> [Vec<CatalogueStanding>];
    newest_catalogue_version() -> [i64];
    record_catalogue(now: [Timestamp], fetched: [&FetchedCatalogue]) -> [CatalogueChange];
    catalogue_versions(key: [&CatalogueKey]) -> [Vec<CatalogueVersion>];
    catalogue_items(versions: [&[i64]]) -> [Vec<(i64, Vec<CatalogueItem>)>];
    note_procedures(now: [Timestamp], used: [&BTreeMap<String, u64>]) -> [()];
    ask_for_catalogues(now: [Timestamp], wish: [&CatalogueWish], audit: [&AuditRecord]) -> [u64];
    catalogue_spending(since: [Timestamp], services: [&[&str]], dossiers: [&str]) -> [CatalogueSpending];
    release_held(now: [Timestamp], scopes: [&[HeldScope]]) -> [u64];
    set_start_from(source: [&str], start_from: [Option<Timestamp>]) -> [()];
    open_adoption(now: [Timestamp], order: [&AdoptionOrder], audit: [&AuditRecord]) -> [i64];
    end_adoption(now: [Timestamp], run: [i64]) -> [()];
    adoption_run(run: [Option<i64>]) -> [Option<AdoptionRun>];
    claim_adoption(now: [Timestamp], scope: [AdoptionScope], limit: [u32]) -> [ToAdopt];
    settle_adoption(now: [Timestamp], batch: [&AdoptionBatch]) -> [AdoptionCounts];
    awaiting() -> [Vec<AwaitingCounts>];
    upkeep(now: [Timestamp], policy: [&UpkeepPolicy]) -> [UpkeepCounts];
    note_act(now: [Timestamp], audit: [&AuditRecord], result: [&str]) -> [()];
    audit_rows(after: [i64], limit: [u32]) -> [Vec<AuditRow>];
    acts(filter: [&AuditFilter]) -> [Vec<AuditRow>];
    audit_chain() -> [AuditChain];
    resync(now: [Timestamp], source: [Option<&str>], ma_ho_so: [&str], audit: [&AuditRecord]) -> [ResyncOutcome];
    retry(now: [Timestamp], scope: [&RetryScope], audit: [&AuditRecord]) -> [u64];
    pause(now: [Timestamp], scope: [&PauseScope], until: [Option<Timestamp>], audit: [&AuditRecord]) -> [()];
    resume(now: [Timestamp], scope: [&PauseScope], audit: [&AuditRecord]) -> [Resumed];
    orders(now: [Timestamp]) -> [Orders];
    set_hold(now: [Timestamp], source: [Option<&str>], ma_ho_so: [&str], hold: [bool], audit: [&AuditRecord]) -> [HoldOutcome];
    sizes(now: [Timestamp]) -> [Sizes];
    room(now: [Timestamp]) -> [Sizes];
    measure(now: [Timestamp]) -> [bool];
    standing(now: [Timestamp]) -> [Standing];
    sending(now: [Timestamp]) -> [Sending];
    waiting_by_class(now: [Timestamp]) -> [BTreeMap<Priority, WaitingWork>];
    refusals(since: [Timestamp], limit: [u32]) -> [Vec<Refusal>];
    health(now: [Timestamp], lag_since: [Timestamp]) -> [Health];
    waiting(now: [Timestamp]) -> [Waiting];
    record_in_force(in_force: [&InForce]) -> [()];
    call_totals(since: [Timestamp]) -> [CallTotals];
    dossier(ma_ho_so: [&str]) -> [Vec<DossierView>];
    problems(filter: [&ProblemFilter]) -> [Vec<Problem>];
    kept(dossier_id: [i64], revision_id: [Option<i64>], entry_id: [Option<i64>]) -> [Option<KeptBodies>];
    newest_document(dossier_id: [i64]) -> [Option<String>];
    release_singleton(name: [&str], token: [i64]) -> [()];
    remember_quota(window: [&str], until: [Timestamp]) -> [()];
    calls_by_time(since: [Timestamp], part_ms: [u64]) -> [Vec<(Timestamp, u32)>];
    recall_quota() -> [Vec<(String, Timestamp)>];
    note_gate(now: [Timestamp], note: [GateNote], body: [&str]) -> [()];
    noted_gate(note: [GateNote]) -> [Option<(Timestamp, String)>];
{
    async fn commit_pull(&self, commit: &PullCommit) -> Result<PullCounts, LedgerError> {
        self.verb("commit_pull", |ledger| {
            let done = at_once(ledger.commit_pull(commit));
            if done.is_ok() {
                self.witness.took(commit);
            }
            done
        })
        .await
    }

    async fn claim_entries(
        &self,
        now: Timestamp,
        claim: Claim,
    ) -> Result<Vec<ClaimedEntry>, LedgerError> {
        self.verb("claim_entries", |ledger| {
            let done = at_once(ledger.claim_entries(now, claim));
            if let Ok(claimed) = &done {
                self.witness.claimed_entries(claimed);
            }
            done
        })
        .await
    }

    async fn claim_steps(
        &self,
        now: Timestamp,
        claim: Claim,
        steps_max: u32,
    ) -> Result<Vec<ClaimedSteps>, LedgerError> {
        self.verb("claim_steps", |ledger| {
            let done = at_once(ledger.claim_steps(now, claim, steps_max));
            if let Ok(claimed) = &done {
                self.witness.claimed_steps(claimed);
            }
            done
        })
        .await
    }

    async fn claim_unconfirmed(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<UnconfirmedEntry>, LedgerError> {
        self.verb("claim_unconfirmed", |ledger| {
            let done = at_once(ledger.claim_unconfirmed(now, until, limit));
            if let Ok(claimed) = &done {
                self.witness.claimed_unconfirmed(claimed);
            }
            done
        })
        .await
    }

    async fn settle(
        &self,
        now: Timestamp,
        batch: &SettleBatch,
    ) -> Result<SettleCounts, LedgerError> {
        self.verb("settle", |ledger| {
            let done = at_once(ledger.settle(now, batch));
            if done.is_ok() {
                self.witness.settled(batch);
            }
            done
        })
        .await
    }

    async fn record_pause(&self, pause: Option<&Pause>) -> Result<(), LedgerError> {
        if pause.is_some() {
            self.witness.count("breaker closed");
        }
        self.verb("record_pause", |ledger| at_once(ledger.record_pause(pause))).await
    }

    async fn hold_singleton(
        &self,
        now: Timestamp,
        name: &str,
        holder: &str,
        lease: Lease,
    ) -> Result<Option<String>, LedgerError> {
        if self.faults.may_renew_for_free(lease.token) {
            self.door.pass().await;
            return Ok(None);
        }
        self.verb("hold_singleton", |ledger| {
            let done = at_once(ledger.hold_singleton(now, name, holder, lease));
            if let (Ok(None), "gate") = (&done, name) {
                self.witness.owns_the_gate(holder);
                self.faults.was_renewed(lease.token);
            }
            done
        })
        .await
    }

    async fn close(&self) {}
}
}
