//! A job: a frozen list of dossiers on its way to the portal again. Its state machine, its pace and
//! the reasons for which it stops by itself; every decision is a pure function.
//!
//! ```text
//! Canary ──(all of the first were found at the portal)──> Running ──(nothing is left)──> Done
//!    │                                                       │
//!    ├──(one of the first fails)──> Stopped <──(N failures with one code)
//!    └──────────────<──resume── Paused <──pause───────────────┤
//! anything open ──cancel──> Cancelled          Done | Stopped | Cancelled ──retry-failed──> Running
//! ```

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// How the dossiers of a plan are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The stored revision through today's mapping.
    ReMap,
    /// The bytes that the portal acknowledged last.
    AsSent,
    /// Fetched from the source first, then as `ReMap`.
    RePull,
    /// No packet; the progress steps that the portal acknowledged are owed again.
    StepsOnly,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::ReMap, Self::AsSent, Self::RePull, Self::StepsOnly];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReMap => "re_map",
            Self::AsSent => "as_sent",
            Self::RePull => "re_pull",
            Self::StepsOnly => "steps_only",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

impl Display for Mode {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ReMap => "re-map",
            Self::AsSent => "as-sent",
            Self::RePull => "re-pull",
            Self::StepsOnly => "steps-only",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// The first few are sent and looked up at the portal; nothing else leaves.
    Canary,
    Running,
    /// By an operator. What was opened before still arrives.
    Paused,
    Done,
    /// By an operator, for good.
    Cancelled,
    /// By itself; its note says why.
    Stopped,
}

impl JobState {
    pub const ALL: [Self; 6] =
        [Self::Canary, Self::Running, Self::Paused, Self::Done, Self::Cancelled, Self::Stopped];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// It opens items.
    pub const fn opens(self) -> bool {
        matches!(self, Self::Canary | Self::Running)
    }

    /// Nothing happens to it any more without an operator's new word.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }

    /// Whether the machine allows this step.
    pub const fn may_become(self, next: Self) -> bool {
        use JobState as S;
        match self {
            S::Canary => !matches!(next, S::Canary),
            S::Running => !matches!(next, S::Running | S::Canary),
            S::Paused => matches!(next, S::Canary | S::Running | S::Cancelled),
            S::Stopped => matches!(next, S::Canary | S::Running | S::Cancelled),
            S::Done | S::Cancelled => matches!(next, S::Canary | S::Running),
        }
    }
}

impl Display for JobState {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where one dossier of a plan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    Waiting,
    /// An obligation to send it is open.
    Opened,
    /// The portal acknowledged it; of the first few it is still looked up.
    Sent,
    Confirmed,
    /// Its outcome is the failure's code.
    Failed,
    /// Nothing was to be sent; its outcome says why.
    Skipped,
    Cancelled,
}

impl ItemState {
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Opened,
        Self::Sent,
        Self::Confirmed,
        Self::Failed,
        Self::Skipped,
        Self::Cancelled,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Opened => "opened",
            Self::Sent => "sent",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Why an item is skipped, in words.
pub const SKIPPED: &[(&str, &str)] = &[
    ("never_sent", "deleted, re-coded, a ministry's, or not the province's"),
    ("never_acknowledged", "the portal never acknowledged a packet that could be sent as it was"),
    ("packet_past_retention", "the bytes that were sent are past retention; re-map sends it"),
    ("document_past_retention", "its document is past retention; re-pull fetches it again"),
    ("on_its_way", "its packet is on its way, and its steps behind it"),
    ("packet_not_accepted", "the portal has no packet of it, so it takes no steps"),
    ("steps_past_retention", "what its steps say is past retention"),
    ("no_steps", "it has no step that may be sent again"),
    ("gone_at_source", "the source does not know it any more"),
    ("no_source", "its source is not configured, or cannot be asked by code"),
];

/// How many items stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ItemCounts {
    pub waiting: u64,
    pub opened: u64,
    pub sent: u64,
    pub confirmed: u64,
    pub failed: u64,
    pub skipped: u64,
    pub cancelled: u64,
}

impl ItemCounts {
    pub const fn of_mut(&mut self, state: ItemState) -> &mut u64 {
        match state {
            ItemState::Waiting => &mut self.waiting,
            ItemState::Opened => &mut self.opened,
            ItemState::Sent => &mut self.sent,
            ItemState::Confirmed => &mut self.confirmed,
            ItemState::Failed => &mut self.failed,
            ItemState::Skipped => &mut self.skipped,
            ItemState::Cancelled => &mut self.cancelled,
        }
    }

    pub const fn all(&self) -> u64 {
        self.waiting + self.on_their_way() + self.ended()
    }

    /// Opened, and not at their end.
    pub const fn on_their_way(&self) -> u64 {
        self.opened + self.sent
    }

    pub const fn ended(&self) -> u64 {
        self.confirmed + self.failed + self.skipped + self.cancelled
    }
}

/// What an operator does to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    Pause,
    Resume,
    Cancel,
    /// What failed waits again.
    RetryFailed,
}

impl Order {
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Cancel, Self::RetryFailed];

    /// As the command is called, also in the audit.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Pause => "job pause",
            Self::Resume => "job resume",
            Self::Cancel => "job cancel",
            Self::RetryFailed => "job retry-failed",
        }
    }
}

/// Which state an order leads to; `None` when it makes no sense now. Work that begins (again) begins
/// with the first few until they have passed once.
pub const fn obeyed(state: JobState, canary_passed: bool, order: Order) -> Option<JobState> {
    use JobState as S;
    let working = if canary_passed { S::Running } else { S::Canary };
    match (order, state) {
        (Order::Pause, S::Canary | S::Running) => Some(S::Paused),
        (Order::Resume, S::Paused | S::Stopped)
        | (Order::RetryFailed, S::Done | S::Stopped | S::Cancelled) => Some(working),
        (Order::Cancel, S::Canary | S::Running | S::Paused | S::Stopped) => Some(S::Cancelled),
        // It goes on as it is; what failed simply waits again.
        (Order::RetryFailed, S::Running | S::Paused) => Some(state),
        _ => None,
    }
}

/// What a job at work may do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Open up to so many items.
    Open(u64),
    /// Nothing to open: what is on its way must come to its end, or the pace allows none now.
    Wait,
    /// The first few have passed.
    PassCanary,
    Stop(String),
    Done,
}

/// What is decided from.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    pub state: JobState,
    pub counts: ItemCounts,
    /// How many go first.
    pub canary: u64,
    /// Failures by code, of those that count.
    pub failures: &'a BTreeMap<String, u64>,
    pub stop_after: u64,
    /// How many may be on their way at once.
    pub window: u64,
    /// How many the pace allows now.
    pub allowed: u64,
}

/// What follows for a job. Asked again and again while it is at work; it remembers nothing.
pub fn next(standing: &Standing<'_>) -> Next {
    let Standing { state, counts, canary, failures, .. } = standing;
    if !state.opens() {
        return Next::Wait;
    }
    let worst = failures.iter().max_by_key(|(_, count)| **count);
    if *state == JobState::Canary
        && let Some((code, count)) = worst
    {
        return Next::Stop(format!("{count} of the first failed: {code}"));
    }
    if let Some((code, count)) = worst.filter(|(_, count)| **count >= standing.stop_after) {
        return Next::Stop(format!("{count} failed with {code}"));
    }
    let on_their_way = counts.on_their_way();
    if counts.waiting == 0 && on_their_way == 0 {
        return Next::Done;
    }
    let room = if *state == JobState::Canary {
        // Those that were skipped proved nothing, so the next ones go first in their place.
        let proven = counts.confirmed;
        if proven >= *canary && on_their_way == 0 {
            return Next::PassCanary;
        }
        canary.saturating_sub(proven + on_their_way)
    } else {
        standing.window.saturating_sub(on_their_way)
    };
    match room.min(standing.allowed).min(counts.waiting) {
        0 => Next::Wait,
        open => Next::Open(open),
    }
}

/// Items opened since a time, against what a minute allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub per_minute: u64,
    pub from: Timestamp,
    pub opened: u64,
}

/// What is not opened in time is not saved up for longer than this.
const SAVED_UP_MS: u64 = 10_000;

impl Pace {
    /// How many may be opened now: in any minute at most `per_minute`, and ten seconds' worth more.
    pub fn allowed(&self, now: Timestamp) -> u64 {
        let earned = self.earned(now) + self.burst();
        earned.saturating_sub(self.opened)
    }

    /// After `opened` more at `now`; forgets what was saved up for too long.
    #[must_use]
    pub fn after(self, now: Timestamp, opened: u64) -> Self {
        let total = self.opened + opened;
        if self.earned(now) >= total {
            Self { from: now, opened: 0, ..self }
        } else {
            Self { opened: total, ..self }
        }
    }

    fn earned(&self, now: Timestamp) -> u64 {
        let elapsed = u64::try_from(now.since(self.from).as_millis()).unwrap_or(u64::MAX);
        elapsed.saturating_mul(self.per_minute) / 60_000
    }

    fn burst(&self) -> u64 {
        (self.per_minute.saturating_mul(SAVED_UP_MS) / 60_000).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What happens to a job in a drawn life.
    #[derive(Debug, Clone)]
    enum Event {
        Look,
        /// One that is on its way ends: 0 confirmed, 1 skipped, else failed with one of two codes.
        End(u8),
        Ask(usize),
        Wait(u32),
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => Just(Event::Look),
            6 => (0u8..6).prop_map(Event::End),
            1 => (0usize..4).prop_map(Event::Ask),
            2 => (0u32..20_000).prop_map(Event::Wait),
        ]
    }

    /// A job without ledger or portal.
    struct Life {
        state: JobState,
        passed: bool,
        counts: ItemCounts,
        failures: BTreeMap<String, u64>,
        pace: Pace,
        now: Timestamp,
        opened: Vec<Timestamp>,
    }

    const CANARY: u64 = 3;
    const STOP_AFTER: u64 = 4;
    const WINDOW: u64 = 7;
    const PER_MINUTE: u64 = 60;

    impl Life {
        fn of(items: u64) -> Self {
            let now = Timestamp::from_millis(1_000_000);
            Self {
                state: JobState::Canary,
                passed: false,
                counts: ItemCounts { waiting: items, ..ItemCounts::default() },
                failures: BTreeMap::new(),
                pace: Pace { per_minute: PER_MINUTE, from: now, opened: 0 },
                now,
                opened: Vec::new(),
            }
        }

        fn go(&mut self, next: JobState) {
            assert!(self.state == next || self.state.may_become(next), "{} {next}", self.state);
            self.state = next;
        }

        fn look(&mut self) {
            let next = next(&Standing {
                state: self.state,
                counts: self.counts,
                canary: CANARY,
                failures: &self.failures,
                stop_after: STOP_AFTER,
                window: WINDOW,
                allowed: self.pace.allowed(self.now),
            });
            match next {
                Next::Open(open) => {
                    assert!(self.state.opens() && open > 0 && open <= self.counts.waiting);
                    self.counts.waiting -= open;
                    self.counts.opened += open;
                    self.pace = self.pace.after(self.now, open);
                    self.opened.extend((0..open).map(|_| self.now));
                    let most = if self.state == JobState::Canary { CANARY } else { WINDOW };
                    assert!(self.counts.on_their_way() <= most);
                }
                Next::Wait => {}
                Next::PassCanary => {
                    assert!(self.failures.is_empty() && self.counts.confirmed >= CANARY);
                    self.passed = true;
                    self.go(JobState::Running);
                }
                Next::Stop(_) => self.go(JobState::Stopped),
                Next::Done => {
                    assert_eq!(self.counts.ended(), self.counts.all());
                    self.go(JobState::Done);
                }
            }
        }

        fn take(&mut self, event: &Event) {
            match event {
                Event::Look => self.look(),
                Event::Wait(millis) => {
                    self.now = self.now + std::time::Duration::from_millis(u64::from(*millis));
                }
                Event::End(how) if self.counts.opened > 0 => {
                    self.counts.opened -= 1;
                    match how {
                        0..=2 => self.counts.confirmed += 1,
                        3 => self.counts.skipped += 1,
                        other => {
                            self.counts.failed += 1;
                            *self.failures.entry(format!("code.{other}")).or_default() += 1;
                        }
                    }
                }
                Event::End(_) => {}
                Event::Ask(which) => {
                    let order = Order::ALL[*which];
                    let Some(next) = obeyed(self.state, self.passed, order) else { return };
                    match order {
                        Order::Resume => self.failures.clear(),
                        Order::RetryFailed => {
                            self.counts.waiting += self.counts.failed;
                            self.counts.failed = 0;
                            self.failures.clear();
                        }
                        Order::Cancel => {
                            self.counts.cancelled += self.counts.waiting;
                            self.counts.waiting = 0;
                        }
                        Order::Pause => {}
                    }
                    self.go(next);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_life_of_a_job_loses_an_item_or_leaves_its_machine(
            items in 0u64..40, life in proptest::collection::vec(events(), 0..200),
        ) {
            let mut job = Life::of(items);
            for event in &life {
                job.take(event);
                prop_assert_eq!(job.counts.all(), items);
                // Until the first few were found at the portal, nothing else has left.
                if !job.passed && job.state == JobState::Canary {
                    prop_assert!(job.counts.on_their_way() <= CANARY);
                }
            }
            // Without faults and operators it comes to its end.
            for _ in 0..20 * (items + 5) {
                if job.state == JobState::Stopped || job.state == JobState::Paused {
                    job.take(&Event::Ask(1));
                }
                job.take(&Event::Wait(2000));
                job.look();
                job.failures.clear();
                job.take(&Event::End(0));
            }
            prop_assert!(job.state.is_over(), "{}", job.state);
        }

        #[test]
        fn no_minute_opens_more_than_its_pace_and_ten_seconds_worth(
            life in proptest::collection::vec(prop_oneof![Just(Event::Look), Just(Event::End(0)),
                                                          (0u32..5000).prop_map(Event::Wait)], 0..400),
        ) {
            let mut job = Life::of(10_000);
            job.passed = true;
            job.state = JobState::Running;
            for event in &life {
                job.take(event);
            }
            for (at, from) in job.opened.iter().enumerate() {
                let minute = job.opened[at..]
                    .iter()
                    .filter(|opened| opened.since(*from).as_millis() < 60_000)
                    .count() as u64;
                prop_assert!(minute <= PER_MINUTE + PER_MINUTE / 6 + 1, "{minute}");
            }
        }

        #[test]
        fn an_order_leads_only_where_the_machine_allows(
            state in proptest::sample::select(&JobState::ALL[..]), passed: bool, which in 0usize..4,
        ) {
            if let Some(next) = obeyed(state, passed, Order::ALL[which]) {
                prop_assert!(next == state || state.may_become(next));
            }
        }
    }

    #[test]
    fn a_job_stops_at_the_first_failure_of_its_first_few_and_later_at_many_of_one_code() {
        let failures = BTreeMap::from([("portal.refused".to_owned(), 1)]);
        let canary = Standing {
            state: JobState::Canary,
            counts: ItemCounts { waiting: 10, confirmed: 2, failed: 1, ..ItemCounts::default() },
            canary: 5,
            failures: &failures,
            stop_after: 20,
            window: 100,
            allowed: 100,
        };
        let said = "1 of the first failed: portal.refused".to_owned();
        assert_eq!(next(&canary), Next::Stop(said));
        let running = Standing { state: JobState::Running, ..canary.clone() };
        assert_eq!(next(&running), Next::Open(10));
        let many = BTreeMap::from([("portal.refused".to_owned(), 20)]);
        let running = Standing { failures: &many, ..running };
        assert_eq!(next(&running), Next::Stop("20 failed with portal.refused".to_owned()));
    }
}
