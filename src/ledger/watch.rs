//! What must hold in a live ledger, and what was seen of it: the watchdogs' memory.
//!
//! A look is cheap however large the ledger is: what is small is read whole, what is large is walked
//! in slices, each look going on where the last one ended. So what a walk finds stands until a whole
//! round has found nothing. Knows nothing of quota, gate or time limits; those are arguments, or
//! judged by whoever looks.

use async_trait::async_trait;
use serde::Serialize;

use super::LedgerError;
use crate::domain::time::Timestamp;

/// Stable codes of the properties that the ledger itself can show.
pub const CONSERVATION: &str = "watchdog.conservation";
pub const NO_REASON: &str = "watchdog.no_reason";
pub const STEP_SUMS: &str = "watchdog.step_sums";
pub const FALSE_SUCCESS: &str = "watchdog.false_success";
pub const REGRESSION: &str = "watchdog.regression";
pub const SINGLE_FLIGHT: &str = "watchdog.single_flight";
pub const LANE: &str = "watchdog.lane";
pub const STRANDED: &str = "watchdog.stranded";
pub const LEASE: &str = "watchdog.lease";
pub const ATTEMPTS: &str = "watchdog.attempts";
pub const AUDIT: &str = "watchdog.audit";

/// What a look needs to know.
#[derive(Debug, Clone, Copy)]
pub struct WatchBounds {
    /// Rows of a table that one look walks over.
    pub rows_max: u32,
    /// A lease that ended before this should have been found by upkeep.
    pub leases_ended_by: Timestamp,
    /// The retry budget.
    pub retries_max: u32,
    /// Retention may have taken audit rows from before this.
    pub audited_since: Timestamp,
}

/// What one look saw of one property, or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    pub code: &'static str,
    /// `""` where there is one part only.
    pub part: String,
    pub seen: Seen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// All of it was looked at.
    Whole { found: u64, example: Option<String>, position: i64, carried: i64 },
    /// What was found happened, and is over: it stands for a while, so that somebody sees it.
    Event { found: u64, example: Option<String>, position: i64 },
    /// A slice of a walk.
    Slice { found: u64, example: Option<String>, position: i64, is_end: bool },
    /// It was not looked at this time.
    Skipped,
}

/// How long an event stands that is over: a day, so that whoever looks once a day sees it.
pub const EVENT_STANDS_MS: i64 = 24 * 3600 * 1000;

/// One property (or a part of it) as it was seen last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Watchdog {
    pub code: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub part: String,
    pub looked_at: Timestamp,
    /// Whole rounds of a walk; absent where each look sees all of it.
    pub rounds: u64,
    /// 0: it holds.
    pub found: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_since: Option<Timestamp>,
    /// A dossier's code, or what was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    #[serde(skip)]
    pub position: i64,
    #[serde(skip)]
    pub carried: i64,
    #[serde(skip)]
    pub round_found: u64,
    #[serde(skip)]
    pub found_at: Option<Timestamp>,
}

impl Watchdog {
    pub fn holds(&self) -> bool {
        self.found == 0
    }

    /// What stands after this look.
    #[must_use]
    pub fn after(mut self, seen: &Seen, now: Timestamp) -> Self {
        let (newly, example) = match seen {
            Seen::Skipped => return self,
            Seen::Whole { found, example, position, carried } => {
                (self.position, self.carried, self.found) = (*position, *carried, *found);
                (*found, example)
            }
            Seen::Event { found, example, position } => {
                self.position = *position;
                let stands = self
                    .found_at
                    .is_some_and(|at| now.millis().saturating_sub(at.millis()) < EVENT_STANDS_MS);
                if *found > 0 || !stands {
                    self.found = *found;
                }
                (*found, example)
            }
            Seen::Slice { found, example, position, is_end } => {
                self.round_found += found;
                if *is_end {
                    self.found = self.round_found;
                    (self.rounds, self.round_found, self.position) = (self.rounds + 1, 0, 0);
                } else {
                    self.found = self.found.max(self.round_found);
                    self.position = *position;
                }
                (*found, example)
            }
        };
        self.looked_at = now;
        if newly > 0 {
            self.found_at = Some(now);
            self.example.clone_from(example);
        }
        if self.holds() {
            (self.broken_since, self.example) = (None, None);
        } else {
            self.broken_since.get_or_insert(now);
        }
        self
    }
}

/// A property that began or ceased to be broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchChange {
    pub now: Watchdog,
    pub was_broken: bool,
}

/// The part of the ledger that watches.
#[async_trait]
pub trait Watching {
    /// Looks at everything that the ledger itself can show. Reads only.
    async fn look(&self, bounds: &WatchBounds) -> Result<Vec<Sight>, LedgerError>;

    /// Keeps what was seen, and forgets parts that nobody looks at any more. Returns what changed.
    async fn keep_sights(
        &self,
        now: Timestamp,
        sights: &[Sight],
    ) -> Result<Vec<WatchChange>, LedgerError>;

    /// Everything as it was seen last, by code and part.
    async fn watchdogs(&self) -> Result<Vec<Watchdog>, LedgerError>;

    /// Work that could have gone at `before` and that nobody has taken yet.
    async fn overdue(&self, before: Timestamp) -> Result<u64, LedgerError>;

    /// Whether backlog (first fills, look-ups of reconciliations) is due, and when a call of it began
    /// last, since `since`.
    async fn bulk(
        &self,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<(bool, Option<Timestamp>), LedgerError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_000_000);

    fn later(ms: i64) -> Timestamp {
        Timestamp::from_millis(AT.millis() + ms)
    }

    fn slice(found: u64, is_end: bool) -> Seen {
        let example = (found > 0).then(|| format!("dossier {found}"));
        Seen::Slice { found, example, position: 7, is_end }
    }

    #[test]
    fn what_a_walk_found_stands_until_a_whole_round_found_nothing() {
        let first = Watchdog::default().after(&slice(2, false), AT);
        assert_eq!((first.found, first.broken_since, first.position), (2, Some(AT), 7));
        let end = first.after(&slice(0, true), later(1));
        assert_eq!((end.found, end.rounds, end.position), (2, 1, 0));
        let half = end.after(&slice(0, false), later(2));
        assert_eq!(half.found, 2, "the row may still stand ahead");
        let over = half.after(&slice(0, true), later(3));
        assert!(over.holds() && over.broken_since.is_none() && over.example.is_none());
        assert_eq!(over.rounds, 2);
    }

    #[test]
    fn an_event_stands_for_a_day_and_a_state_only_while_it_lasts() {
        let event = |found| Seen::Event { found, example: None, position: 0 };
        let struck = Watchdog::default().after(&event(3), AT);
        let next = struck.after(&event(0), later(EVENT_STANDS_MS - 1));
        assert_eq!((next.found, next.broken_since), (3, Some(AT)));
        assert!(next.after(&event(0), later(EVENT_STANDS_MS)).holds());

        let state = |found| Seen::Whole { found, example: None, position: 0, carried: 0 };
        assert!(Watchdog::default().after(&state(1), AT).after(&state(0), later(1)).holds());
        let before = Watchdog { found: 1, ..Watchdog::default() };
        assert_eq!(before.clone().after(&Seen::Skipped, AT), before);
    }
}
