//! Deliberate bugs and sudden deaths, for the tests that must be able to fail.
//!
//! Owns the two lists and the switches. A program that is shipped has neither: without the feature
//! `sabotage`, which only test builds have, [`on`] is the constant `false` and [`point`] is nothing.
//!
//! - A [`Defect`] is a mistake that somebody could make in this code. The simulation puts in one at
//!   a time and has to notice; a defect that nothing notices is a hole in the properties.
//! - A *point* stands between two durable effects. A test names one in the environment of the real
//!   program, which then dies there as it would from `kill -9`: nothing is flushed, nobody is told.

/// A mistake that can be switched on, for the thread that calls `commit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    /// The cursor is committed before the page that it stands behind.
    CursorBeforeCommit,
    /// The last item of each page is overlooked.
    LastItemDropped,
    /// Polls begin where the last one ended.
    NoOverlap,
    /// One dossier dated tomorrow moves the position past all that changes today.
    CursorFromTheFuture,
    /// Of what a page says twice, the first word counts.
    FirstWordCounts,
    /// An older revision that arrives late passes for the newest.
    OlderOvertakes,
    /// What a ministry owns is sent like the rest.
    MinistryIsPushed,
    /// A dossier that was acknowledged once is unchanged for ever.
    AlwaysUnchanged,
    /// The attempt is counted when its call is over.
    AttemptUncounted,
    /// An expired lease makes work ready again.
    ExpiredIsReady,
    /// Steps that were lost with their dossier stay acknowledged.
    LostStepsStayAcknowledged,
    /// A command that changed nothing leaves no trace.
    AuditOnlyOfEffects,
    /// An answer that did not come is taken for a yes.
    TimeoutIsSuccess,
    /// An answer that did not come is taken for a no.
    TimeoutIsFailure,
    /// A request for a supplement is repeated like any other step.
    SupplementRepeated,
    /// A 200 is a success, whatever it says.
    CodeUnread,
    /// "Exists already" is good enough.
    ExistsIsSuccess,
    /// That the portal has the dossier proves that it has this packet.
    ExistenceIsProof,
    /// After a restore an echo still proves a create.
    EchoBelievedAfterARestore,
    /// A session that was refused is used on.
    OldSession,
    /// One step fewer is sent than is acknowledged.
    StepOffByOne,
    /// A call leaves however late its turn came.
    LeavesLate,
    /// A process that lost the gate goes on sending.
    FrozenOwnerSends,
    /// The windows hold one call more.
    QuotaOffByOne,
    /// A new process begins with an empty window.
    QuotaForgotten,
    /// `Retry-After` is not read.
    RetryAfterIgnored,
    /// Every packet is a create.
    AlwaysCreate,
    /// A refused batch is refused whole.
    BatchNotSplit,
}

impl Defect {
    pub const ALL: [Self; 28] = [
        Self::CursorBeforeCommit,
        Self::LastItemDropped,
        Self::NoOverlap,
        Self::CursorFromTheFuture,
        Self::FirstWordCounts,
        Self::OlderOvertakes,
        Self::MinistryIsPushed,
        Self::AlwaysUnchanged,
        Self::AttemptUncounted,
        Self::ExpiredIsReady,
        Self::LostStepsStayAcknowledged,
        Self::AuditOnlyOfEffects,
        Self::TimeoutIsSuccess,
        Self::TimeoutIsFailure,
        Self::SupplementRepeated,
        Self::CodeUnread,
        Self::ExistsIsSuccess,
        Self::ExistenceIsProof,
        Self::EchoBelievedAfterARestore,
        Self::OldSession,
        Self::StepOffByOne,
        Self::LeavesLate,
        Self::FrozenOwnerSends,
        Self::QuotaOffByOne,
        Self::QuotaForgotten,
        Self::RetryAfterIgnored,
        Self::AlwaysCreate,
        Self::BatchNotSplit,
    ];
}

/// Whether this thread runs with the mistake.
#[cfg(not(feature = "sabotage"))]
#[inline]
pub const fn on(_: Defect) -> bool {
    false
}

/// Every point, and between which two effects it stands. A test dies at each of them, and fails for
/// one that is never reached and for one in the code that is missing here.
#[cfg(feature = "sabotage")]
pub const POINTS: &[(&str, &str)] = &[
    ("migrate.begun", "an empty file, the first table"),
    ("migrate.done", "the newest schema, the first row"),
    ("gate.taken", "the gate is ours, the portal is opened"),
    ("gate.settled", "everything out is settled, the gate is given back"),
    ("pull.cut_over", "the cut-over is known, the first page is asked for"),
    ("pull.stored", "a page is stored, its file is put away"),
    ("drop.noted", "a file's note is written, the file moves"),
    ("pull.put_away", "a page's file is put away, the next page is asked for"),
    ("mended.asking", "the question for an unreadable dossier is noted, it is asked"),
    ("map.mapped", "unreadable rows are set aside, packets are stored"),
    ("map.stored", "packets are stored, their procedures are noted as used"),
    ("push.claimed_packets", "packets are claimed, steps are claimed"),
    ("push.claimed_steps", "steps are claimed, the first call leaves"),
    ("push.promised", "the quota is promised, the call leaves"),
    ("push.answered_packets", "the portal has packets, the ledger hears of it"),
    ("push.answered_steps", "the portal has steps, the ledger hears of it"),
    ("push.settled", "an outcome is written, the next claim"),
    ("read_back.claimed", "a look-up is claimed, it leaves"),
    ("read_back.answered", "the portal has answered, the ledger hears of it"),
    ("read_back.settled", "what was found is written, the next look-up"),
    ("adopt.chosen", "dossiers of a run are chosen, the portal is asked"),
    ("adopt.answered", "the portal has answered, the ledger hears of it"),
    ("adopt.settled", "what it said is written, the next question"),
    ("adopt.asked_all", "all are asked about, the run ends"),
    ("reconcile.answered", "the portal has answered, the calls are written"),
    ("reconcile.looked_up", "the calls are written, the findings are"),
    ("reconcile.found", "discrepancies are opened, others are closed"),
    ("reconcile.resolved", "discrepancies are closed, lost dossiers are owed again"),
    ("reconcile.repaired", "lost dossiers are owed again, the books are stored"),
    ("catalogue.answered", "a list has come, it is stored"),
    ("catalogue.stored", "a list is stored, what waited for it is released"),
    ("upkeep.leases", "expired leases are ended, retention begins"),
    ("upkeep.retention", "one class of rows is done, the next"),
    ("resync.opened", "one dossier is owed again, the next"),
    ("backup.copied", "a copy is whole, it gets its name"),
    ("backup.named", "a copy has its name, its manifest is written"),
    ("restore.copied", "a backup is copied beside the ledger, it is marked"),
    ("restore.marking", "the copy's journal knows that it is one, the file does"),
    ("restore.marked", "the copy knows that it is one, the ledger is kept"),
    ("restore.kept", "the ledger has a second name, the copy takes its place"),
    ("keys.adopted", "a key is put to use, the first body is put under it"),
    ("keys.resealed_part", "some bodies are under the key, the next ones"),
    ("keys.resealed", "all bodies are under the key, the older one is forgotten"),
    ("keys.complete", "the older key is forgotten, the journal is emptied"),
    ("mapping.applying", "a mapping is written, it is in force"),
    ("mapping.applied", "a mapping is in force, the command says so"),
    ("compact.part", "one statement of compacting, the next"),
];

/// Dies here, when the environment says so.
#[cfg(not(feature = "sabotage"))]
#[inline]
pub const fn point(_: &'static str) {}

#[cfg(feature = "sabotage")]
pub use switched::{commit, on, point};

#[cfg(feature = "sabotage")]
mod switched {
    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Defect;

    thread_local! {
        // Not global: simulations with different defects run beside one another.
        static DEFECT: Cell<Option<Defect>> = const { Cell::new(None) };
    }

    /// Switches one mistake on for this thread, and the one before off; `None` mends it.
    pub fn commit(defect: Option<Defect>) {
        DEFECT.set(defect);
    }

    /// Whether this thread runs with the mistake.
    pub fn on(defect: Defect) -> bool {
        DEFECT.get() == Some(defect)
    }

    /// Dies here, when `HOSO_DIE_AT` is `name` or `name:n` (the n-th time, from 1).
    pub fn point(name: &'static str) {
        static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
        static PASSED: AtomicU32 = AtomicU32::new(0);
        let wanted = WANTED.get_or_init(|| {
            #[expect(clippy::disallowed_methods, reason = "test builds only; no configuration")]
            let text = std::env::var("HOSO_DIE_AT").ok()?;
            let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
            Some((name.to_owned(), times.parse().unwrap_or(1)))
        });
        if let Some((wanted, times)) = wanted
            && wanted == name
            && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *times
        {
            // No destructor and no buffer is run, as when the machine loses its power.
            std::process::abort();
        }
    }
}
