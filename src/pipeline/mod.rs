//! The verbs: one pass of each is a plain function that returns a report.
//!
//! The only place where source, mapping, ledger and portal meet; data flows one way: source →
//! mapping → ledger → portal → ledger. Daemon, command line and tests call the same functions. No
//! loops over time here (see `daemon`), no SQL, no XML, no wire formats.

pub mod adopt;
pub mod ask;
pub mod audit;
pub mod catalogue;
mod claim;
pub mod compare;
mod files;
pub mod jobs;
pub mod lifecycle;
pub mod login;
pub mod map;
mod mended;
pub mod observe;
pub mod orders;
pub mod ownership;
pub mod problems;
pub mod pull;
pub mod pulse;
pub mod push;
pub mod quota;
pub mod read_back;
pub mod reconcile;
pub mod resync;
mod step_outcome;
pub mod upkeep;
pub mod watch;
mod way;

use std::sync::Arc;
use std::time::Duration;

use catalogue::CatalogueSettings;
use catalogue::known::CatalogueMemory;
use claim::ClaimTurns;
use orders::Orders;
use ownership::Ownership;
use pulse::{Beat, Pulse};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::discrepancy::Bucket;
use crate::domain::failure::Failure;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Timestamp;
use crate::ids::Chance;
use crate::ledger::record::Retention;
use crate::ledger::{Ledger, LedgerError};
use crate::portal::Portal;
use crate::portal::gate::Gate;
use crate::source::Source;

/// What every verb may reach. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<Chance>,
    pub ledger: Arc<dyn Ledger>,
    pub settings: Arc<Settings>,
    /// The portal's catalogues as they stand in the ledger, at hand.
    pub catalogues: Arc<CatalogueMemory>,
    /// Where a pass gives its signs of life; nobody listens unless a daemon runs it.
    pub beat: Beat,
}

impl Context {
    /// A sign of life: something has moved.
    pub fn alive(&self) {
        self.beat.strike(self.clock.monotonic());
    }

    /// Nothing will move for `wait`, on purpose.
    pub fn resting(&self, wait: Duration) {
        self.beat.rest(self.clock.monotonic(), wait);
    }

    /// The same, for a loop that owes a sign within `limit`.
    #[must_use]
    pub fn watched(&self, pulse: &Pulse, name: impl Into<String>, limit: Duration) -> Self {
        Self { beat: pulse.watch(name, limit, self.clock.monotonic()), ..self.clone() }
    }
}

/// A source with how it is read.
#[derive(Debug, Clone)]
pub struct SourceLine {
    pub source: Arc<dyn Source>,
    pub page_limit: u32,
    pub overlap_ms: u64,
    /// Changes younger than this are left for the next poll.
    pub settle_lag_ms: u64,
    /// When this gateway took over from an older program; dossiers from before await adoption.
    pub start_from: Option<Timestamp>,
}

impl SourceLine {
    /// Whether a change is left for the next poll, because its dossier may still be being written.
    fn is_young(&self, now: Timestamp, changed_at: Option<Timestamp>) -> bool {
        let settled_before = now - Duration::from_millis(self.settle_lag_ms);
        // A time in the future is a wrong clock, not a young change; waiting for it would stop
        // the source.
        self.settle_lag_ms > 0 && changed_at.is_some_and(|at| at > settled_before && at <= now)
    }
}

/// The portal with its gate; whoever holds this owns the gate (see [`ownership`]).
#[derive(Debug, Clone)]
pub struct PortalLine {
    pub portal: Arc<Portal>,
    pub gate: Arc<Gate>,
    pub ownership: Arc<Ownership>,
    pub orders: Arc<Orders>,
    /// How the classes share what is claimed.
    pub turns: Arc<ClaimTurns>,
}

impl PortalLine {
    pub fn new(portal: Portal, gate: Arc<Gate>, ownership: Arc<Ownership>) -> Self {
        let turns = Arc::new(ClaimTurns::new(gate.shares()));
        Self { portal: Arc::new(portal), gate, ownership, orders: Arc::default(), turns }
    }
}

/// Numbers and policies of the verbs, from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub retry: RetryPolicy,
    pub concurrency: usize,
    pub claim_limit: u32,
    pub dossiers_per_call: u32,
    pub steps_per_call: u32,
    /// Dossiers whose steps may share a call; 1 unless configured.
    pub dossiers_per_steps_call: u32,
    pub resend_unknown_supplement: bool,
    pub lease_ms: u64,
    /// The longest that one call may take; a call leaves only if its lease outlasts it.
    pub call_timeout_ms: u64,
    pub deadline_near_ms: u64,
    pub map_limit: u32,
    pub reconcile_settle_ms: u64,
    pub look_ups_max: u32,
    /// Dossiers of one job that may be on their way at once.
    pub job_window: u64,
    pub repair: Vec<Bucket>,
    pub from_days: u32,
    /// Between two pages of the slow scan; `None`: there is none.
    pub rolling_every: Option<Duration>,
    /// Dossiers of such a page.
    pub rolling_page: u32,
    pub retention: Retention,
    pub watchdog_ms: u64,
    pub catalogue: CatalogueSettings,
    /// The contract with the portal: calls at most, in any so many milliseconds.
    pub quota: Vec<(u32, u64)>,
    /// No honest wait for another attempt is longer; see [`upkeep`].
    pub wait_max_ms: u64,
    /// When one cause comes too often at once.
    pub surges: problems::SurgeSettings,
}

/// Why a verb stopped before its end. What was committed before it stays.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The source's answer; that of a poll is recorded in the ledger already.
    #[error("source `{source_name}`: {failure}")]
    Source { source_name: String, failure: Failure },
    /// Something else of the same kind is being done, and one at a time is possible.
    #[error("another reconciliation of `{source_name}` is under way (run {run})")]
    UnderWay { source_name: String, run: i64 },
    /// A part of the program stopped in a way that is a defect.
    #[error("a task ended unexpectedly: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Asks running verbs to come to an end: nothing new is begun, what is out is settled.
pub type Stop = CancellationToken;

/// Table of this module's codes for `hoso explain`: code, meaning, what to do.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "push.out_of_attempts",
        "The retry budget of this dossier is spent. Nothing more is sent until a person decides.",
        "Look at the last failure with `hoso dossier explain CODE`, mend its cause, then `hoso problems retry`.",
    ),
    (
        orders::PAUSED,
        "An operator has stopped sending: of everything, of one procedure, or of one agency. What waits keeps its place and spends no attempt.",
        "`hoso portal status` says who stopped it, why and until when; `hoso portal resume` lets it go on.",
    ),
    (
        problems::SURGE,
        "Many dossiers failed of one cause within a short time. Where the portal refuses the data of one procedure or of one agency, sending of that is held, until a person releases it or one dossier that goes first is taken; everything else goes on.",
        "`hoso problems show S-…` says of what; mend the cause, then `hoso problems release S-…` and `hoso problems retry S-…`. How often is too often stands in the section `problems`.",
    ),
    (
        "mapping.not_confirmed",
        "The switch to another mapping concerns more dossiers than may change without a second thought. Nothing was switched.",
        "Read the comparison; if it is what you want, repeat the command with `--confirm` and the number that it names.",
    ),
    (
        "mapping.cases_failed",
        "The mapping does not make of its own cases what they expect. Nothing was switched.",
        "`hoso mapping test DIR` shows each difference: correct the mapping, or the case if it is what was wrong.",
    ),
    (
        "mapping.unusable",
        "The mapping that was applied last cannot be used by this version of the program, or under these settings.",
        "Correct it and put it in force: `hoso mapping apply DIR --reason TEXT`; or go back to the settings or the program of before.",
    ),
    (
        "push.late",
        "The portal's quota gave its turn so late that the answer could have come after the lease. The call did not leave; what it carried is due again and spent no attempt.",
        "Nothing; if it happens often, the quota is too small for what is due, or `push.lease_ms` too short.",
    ),
    (
        "push.probe_first",
        "The portal had failed for everybody, and only a request for a supplement (status 5) was due. Such a step must not get lost, so a look-up went first; the step spent no attempt.",
        "Nothing; it is sent as soon as the portal answers.",
    ),
    (
        "push.stopping",
        "The process was asked to stop before this call left. What it carried is due again and spent no attempt.",
        "Nothing; it is sent when the service runs again.",
    ),
    (
        "push.lease_expired",
        "A call's outcome was never written, because its process stopped or was too slow. The portal is asked before anything is sent again.",
        "Nothing; if it happens often, raise `push.lease_ms`.",
    ),
    (
        "push.restored",
        "The ledger is a restored backup, and this packet may have been sent since the backup was made. The portal is asked before anything is sent, after the source has been read again.",
        "Nothing. `hoso status` says which source is still being read.",
    ),
    (
        "push.gate_lost",
        "This process was frozen or cut off from its ledger for longer than it owned the portal's gate, so it sends nothing. Nothing was lost: what it had taken is due again.",
        "Nothing, if it is rare: the process takes the gate again or ends. If it repeats, look for a disk or a virtual machine that stands still for seconds.",
    ),
    (
        "portal.lost",
        "The portal had acknowledged the dossier and does not know it any more: a step was refused for it, or two reconciliations in a row missed it. Packet and steps are owed again, but a request for a supplement that the portal had is held.",
        "Nothing, if `reconcile.repair` asked for it. Ask the portal's operators why it lost the dossier.",
    ),
    (
        "steps.outcome_unknown",
        "A call with a request for a supplement (status 5) got no answer. A second such step can make the citizen's dossier count as late, so it is held.",
        "Look at the portal whether the step is there. If not: `hoso problems retry --code steps.outcome_unknown DOSSIER`.",
    ),
    (
        "steps.maybe_sent",
        "The portal had this request for a supplement (status 5), or may have it from an older program, and a look at the portal said otherwise. A second such step can make the citizen's dossier count as late, so it is held.",
        "Look at the portal whether the step is there. If not: `hoso problems retry --code steps.maybe_sent DOSSIER`.",
    ),
    (
        "steps.out_of_attempts",
        "Steps of this dossier were tried as often as the retry budget allows.",
        "Mend the cause shown in `hoso dossier explain`, then `hoso problems retry`.",
    ),
    (
        "reconcile.under_way",
        "A source has one reconciliation at a time, and another one that compares something else is not over yet.",
        "`hoso reconcile list` shows it; ask again when it has ended. One that was stopped goes on when the same is asked for again.",
    ),
    (
        way::STUCK_CURSOR,
        "The source says that there is more, but its cursor does not move, comes back to where it was, or leads from one empty page to the next. Reading stopped, so that it does not run for ever; nothing was skipped. An index that does so gives no books.",
        "Tell the operator of the provincial system; polling goes on by itself.",
    ),
    (
        "source.unreadable",
        "Dossier after dossier spoils its page, each asked for alone. That is no dossier's fault but the export's, so none of them is passed over and reading waits before the first one.",
        "Report it to the maker of the feed with the kept document. Reading goes on by itself once the export is sound.",
    ),
    (
        "source.deleted",
        "The source deleted the dossier (`daXoa`). A deletion is never sent to the portal, which has no service for it.",
        "If the portal already has it, an open discrepancy says so; clear it with the agency.",
    ),
    (
        "source.ministry",
        "A ministry's system owns the status of this dossier (`chuQuan=\"bo\"`). It is mirrored, never pushed.",
        "Nothing.",
    ),
    (
        "source.recoded",
        "The source goes on with this dossier under another code (`maHoSoCu` on the new one), so nothing more is sent under this one. Its own code was never changed, and the portal has no service to close it.",
        "If the portal has the old code, an open discrepancy names the new one; ask the portal's operators to end the old record.",
    ),
    (
        "mapping.recoded_from",
        "The dossier says that it had another code before (`maHoSoCu`), and that one is no code of ours: neither of the province nor of an agency that it followed.",
        "Correct the link at the source; or, if the agency was merged into yours, add its row to `mappings/succession.csv`.",
    ),
    (
        "steps.supplement_moved",
        "The source changed the time of a request for a supplement (status 5) that the portal has. Sent as well, the portal would count two requests, and the dossier could be late.",
        "If it really is a second request: `hoso problems retry --code steps.supplement_moved DOSSIER`. If not, leave it, or let the source take it back.",
    ),
    (
        "mapping.other_dossier",
        "The mapped code differs from the code under which the source gave the dossier.",
        "Compare the source document with the mapping: `hoso mapping explain CODE MaHoSo`.",
    ),
];
