//! Sees everything that passes a door, and knows the rules that must hold at that very moment.
//!
//! It believes nobody: what the province said comes from the province, what the portal answered from
//! the bytes that came back, and what the gateway believes from the verbs that it calls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hoso_gateway::clock::Clock as _;
use hoso_gateway::domain::entry::Settlement;
use hoso_gateway::domain::step::{StepIdentity, StepState};
use hoso_gateway::lab::digest::Digest;
use hoso_gateway::lab::packet::{Packet, Step};
use hoso_gateway::lab::province::Province;
use hoso_gateway::ledger::record::{
    ClaimedEntry, ClaimedSteps, PullCommit, SettleBatch, UnconfirmedEntry,
};

use super::call::{Answered, Called, What};
use super::time::WorldClock;

/// A rule that was broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) property: &'static str,
    pub(super) what: String,
}

/// One thing that the province said of a dossier.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    packet: Digest,
    steps: Vec<Digest>,
}

/// A push on its way.
#[derive(Debug, Clone, Copy)]
struct Flight {
    /// Until when an answer is waited for.
    until: Duration,
    number: u64,
    what: What,
}

/// What is known of a request for a supplement (status 5) that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supplement {
    /// It left, and nothing certain came back.
    Doubtful,
    Acknowledged,
}

#[derive(Debug)]
pub(super) struct Witness {
    world: WorldClock,
    /// Says every event as it happens (`HOSO_SIM_ALOUD=1`).
    aloud: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    log: blake3::Hasher,
    lines: VecDeque<String>,
    counters: BTreeMap<&'static str, u64>,
    violations: Vec<Violation>,
    /// What the province said of each dossier, in the order in which it said it.
    versions: BTreeMap<String, Vec<Version>>,
    /// Dossiers of which the province said two things at once.
    doubled: BTreeSet<String>,
    /// The newest version of each dossier that ever left.
    newest_sent: BTreeMap<String, usize>,
    packets_sent: BTreeMap<String, u64>,
    /// Pushes of which nothing came back yet.
    flights: BTreeMap<String, Flight>,
    flights_begun: u64,
    /// Dossiers of which a call arrived late.
    late: BTreeSet<String>,
    /// The process that owns the gate.
    owner: String,
    /// Dossiers whose last packet left and had no answer.
    doubtful: BTreeSet<String>,
    /// When calls left for the portal.
    departures: VecDeque<Duration>,
    /// At most so many calls in any span of this length.
    windows: Vec<(usize, Duration)>,
    /// Successes that were delivered and nobody has settled yet.
    successes: BTreeMap<(String, Digest), u64>,
    /// What the portal held of a dossier when it was asked.
    shown: BTreeSet<(String, Digest)>,
    supplements: BTreeMap<Digest, Supplement>,
    entries: BTreeMap<i64, (String, Digest)>,
    steps: BTreeMap<(i64, StepIdentity), (String, Digest)>,
    settled: BTreeSet<(i64, i64)>,
    /// What the ledger said that it has stored: dossier and fingerprint.
    taken: BTreeSet<(String, [u8; 32])>,
}

/// Lines of the event log that a report shows.
const LINES_MAX: usize = 4_000;

impl Witness {
    pub(super) fn new(world: WorldClock, windows: Vec<(usize, Duration)>) -> Self {
        let aloud = asked("HOSO_SIM_ALOUD").is_some();
        Self { world, aloud, seen: Mutex::new(Seen { windows, ..Seen::default() }) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line of the event log.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        let line = format!("{:>10} {}", self.world.millis(), line());
        if self.aloud {
            say(&line);
        }
        let mut seen = self.seen();
        seen.log.update(line.as_bytes());
        if seen.lines.len() >= LINES_MAX {
            seen.lines.pop_front();
        }
        seen.lines.push_back(line);
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.seen().counters.entry(what).or_default() += 1;
    }

    pub(super) fn violated(&self, property: &'static str, what: String) {
        self.note(|| format!("VIOLATED {property}: {what}"));
        self.seen().violations.push(Violation { property, what });
    }

    pub(super) fn first_violation(&self) -> Option<Violation> {
        self.seen().violations.first().cloned()
    }

    pub(super) fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.seen().counters.clone()
    }

    pub(super) fn log_hash(&self) -> String {
        self.seen().log.finalize().to_hex().to_string()
    }

    /// The last events, for people.
    pub(super) fn last_lines(&self, count: usize) -> String {
        let seen = self.seen();
        let skipped = seen.lines.len().saturating_sub(count);
        seen.lines.iter().skip(skipped).fold(String::new(), |mut text, line| {
            // Writing to a String cannot fail.
            writeln!(text, "{line}").unwrap_or_default();
            text
        })
    }

    // --- the province ---

    /// Remembers what the province says now.
    pub(super) fn province_says(&self, province: &Province) {
        let mut seen = self.seen();
        for expected in province.expected() {
            let version = Version { packet: expected.digest, steps: expected.steps };
            let versions = seen.versions.entry(expected.code).or_default();
            if versions.last() != Some(&version) {
                versions.push(version);
            }
        }
    }

    /// The province says two things of this dossier under one version.
    pub(super) fn doubled(&self, code: &str) {
        self.seen().doubled.insert(code.to_owned());
    }

    pub(super) fn codes(&self) -> Vec<String> {
        self.seen().versions.keys().cloned().collect()
    }

    // --- the wire ---

    /// A call leaves for the portal. Returns its number.
    pub(super) fn leaves(&self, called: &Called, timeout: Duration) -> u64 {
        let now = self.world.monotonic();
        let mut broken = Vec::new();
        let mut seen = self.seen();
        let seen = &mut *seen;
        seen.departures.push_back(now);
        let longest = seen.windows.iter().map(|(_, length)| *length).max().unwrap_or_default();
        while seen.departures.front().is_some_and(|at| *at + longest <= now) {
            seen.departures.pop_front();
        }
        for (limit, length) in &seen.windows {
            let within = seen.departures.iter().filter(|at| **at + *length > now).count();
            if within > *limit {
                broken
                    .push(("quota", format!("{within} calls in {length:?}, {limit} are allowed")));
            }
        }
        seen.flights_begun += 1;
        let number = seen.flights_begun;
        let asked = called.asked.as_ref().and_then(|code| seen.flights.get(code).copied());
        if let (Some(code), Some(flight)) = (&called.asked, asked)
            && flight.until <= now
        {
            seen.flights.remove(code);
        }
        if called.is_push() {
            let codes: BTreeSet<&String> = called.items.iter().map(|item| &item.code).collect();
            for code in codes {
                let flight = Flight { until: now + timeout, number, what: called.what };
                match seen.flights.insert(code.clone(), flight) {
                    Some(flight) if flight.until > now => {
                        broken.push(("single flight", format!("{code} has two calls out")));
                    }
                    // Whoever sent it has never heard of it again.
                    Some(flight) if flight.what == What::Packets => {
                        seen.doubtful.insert(code.clone());
                    }
                    _ => {}
                }
            }
        }
        if let Some(asked) = &called.asked {
            seen.doubtful.remove(asked);
        }
        for item in &called.items {
            if called.what == What::Packets && seen.doubtful.remove(&item.code) {
                let what = format!("{} goes again, and nobody has asked", item.code);
                broken.push(("unknown is looked up first", what));
            }
            let versions = seen.versions.get(&item.code).map_or(&[][..], Vec::as_slice);
            match called.what {
                What::Packets => {
                    *seen.packets_sent.entry(item.code.clone()).or_default() += 1;
                    let version = versions.iter().rposition(|known| known.packet == item.digest);
                    let newest = seen.newest_sent.entry(item.code.clone()).or_default();
                    match version {
                        Some(version) if version < *newest => broken.push((
                            "no regression",
                            format!(
                                "{}: version {version} leaves after version {newest}",
                                item.code
                            ),
                        )),
                        Some(version) => *newest = version,
                        None if seen.doubled.contains(&item.code) => {}
                        None => broken.push((
                            "no phantom",
                            format!("{}: the province never said this packet", item.code),
                        )),
                    }
                }
                What::Steps => {
                    let known = versions.iter().any(|known| known.steps.contains(&item.digest));
                    if !known && !seen.doubled.contains(&item.code) {
                        broken.push((
                            "no phantom",
                            format!("{}: the province never said this step", item.code),
                        ));
                    }
                    if item.is_supplement
                        && let Some(before) =
                            seen.supplements.insert(item.digest, Supplement::Doubtful)
                    {
                        broken.push((
                            "no second supplement",
                            format!("{}: sent again, it was {before:?}", item.code),
                        ));
                    }
                }
                What::Login | What::LookUp | What::Other => {}
            }
        }
        for (property, what) in broken {
            seen.violations.push(Violation { property, what });
        }
        number
    }

    pub(super) fn now(&self) -> Duration {
        self.world.monotonic()
    }

    /// What came back to the caller.
    pub(super) fn came_back(&self, number: u64, called: &Called, answered: Answered) {
        let mut seen = self.seen();
        seen.flights.retain(|_, flight| flight.number != number);
        for item in &called.items {
            match answered {
                Answered::Success if called.is_push() => {
                    *seen.successes.entry((item.code.clone(), item.digest)).or_default() += 1;
                    if item.is_supplement {
                        seen.supplements.insert(item.digest, Supplement::Acknowledged);
                    }
                }
                Answered::Refused | Answered::LoggedOut if item.is_supplement => {
                    seen.supplements.remove(&item.digest);
                }
                Answered::Nothing if called.what == What::Packets => {
                    seen.doubtful.insert(item.code.clone());
                }
                // One attempt has two calls then.
                Answered::LoggedOut if called.what == What::Packets => {
                    if let Some(sent) = seen.packets_sent.get_mut(&item.code) {
                        *sent = sent.saturating_sub(1);
                    }
                }
                _ => {}
            }
        }
    }

    /// The portal was asked about a dossier, and this is what it holds.
    pub(super) fn shown(&self, code: &str, digest: Digest) {
        self.seen().shown.insert((code.to_owned(), digest));
    }

    /// A person has looked, and wants held steps sent after all.
    pub(super) fn supplements_released(&self) {
        self.seen().supplements.clear();
    }

    /// A call will arrive when newer ones may have.
    pub(super) fn arrives_late(&self, called: &Called) {
        let mut seen = self.seen();
        seen.late.extend(called.items.iter().map(|item| item.code.clone()));
    }

    pub(super) fn is_late(&self, code: &str) -> bool {
        self.seen().late.contains(code)
    }

    // --- the ledger ---

    /// A process owns the gate; another machine than before took it over.
    pub(super) fn owns_the_gate(&self, holder: &str) {
        let mut seen = self.seen();
        let machine = |holder: &str| holder.rsplit_once(' ').map(|(name, _)| name.to_owned());
        if !seen.owner.is_empty() && machine(&seen.owner) != machine(holder) {
            *seen.counters.entry("failovers").or_default() += 1;
        }
        holder.clone_into(&mut seen.owner);
    }

    pub(super) fn took(&self, commit: &PullCommit) {
        let mut seen = self.seen();
        for item in &commit.items {
            seen.taken.insert((item.ma_ho_so.clone(), item.fingerprint));
        }
    }

    pub(super) fn taken(&self) -> BTreeSet<(String, [u8; 32])> {
        self.seen().taken.clone()
    }

    pub(super) fn packets_sent(&self) -> BTreeMap<String, u64> {
        self.seen().packets_sent.clone()
    }

    pub(super) fn claimed_entries(&self, claimed: &[ClaimedEntry]) {
        for entry in claimed {
            self.knows_entry(entry.entry_id, &entry.packet);
        }
    }

    pub(super) fn claimed_unconfirmed(&self, claimed: &[UnconfirmedEntry]) {
        for entry in claimed {
            self.knows_entry(entry.entry_id, &entry.packet);
        }
    }

    fn knows_entry(&self, entry: i64, packet: &str) {
        let packet: Packet<'_> = serde_json::from_str(packet).expect("a packet of the contract");
        let known = (packet.ma_ho_so.clone().into_owned(), Digest::of_packet(&packet));
        self.seen().entries.insert(entry, known);
    }

    pub(super) fn claimed_steps(&self, claimed: &[ClaimedSteps]) {
        let mut seen = self.seen();
        for lane in claimed {
            for step in &lane.steps {
                let parsed: Step<'_> =
                    serde_json::from_str(&step.body).expect("a step of the contract");
                let known = (lane.ma_ho_so.clone(), Digest::of_step(&parsed));
                seen.steps.insert((lane.dossier_id, step.identity.clone()), known);
            }
        }
    }

    /// "No false success": what the ledger calls accepted was answered with a success.
    pub(super) fn settled(&self, batch: &SettleBatch) {
        let mut broken = Vec::new();
        let mut seen = self.seen();
        let seen = &mut *seen;
        for entry in &batch.entries {
            let outcome = match entry.outcome {
                "found" => "unknown outcome: the portal has it",
                "missing" => "unknown outcome: the portal does not have it",
                "proven" => "unknown outcome: proven by an echo",
                "unknown" => "unknown outcome",
                "exists" => "create of a known dossier",
                "unknown_dossier" => "update of an unknown dossier",
                "refused" => "refused",
                "deferred" => "deferred",
                "accepted" => "accepted",
                _ => "other outcome",
            };
            *seen.counters.entry(outcome).or_default() += 1;
            if let Settlement::Ready { batch_max: Some(_), .. } = entry.settlement {
                *seen.counters.entry("split").or_default() += 1;
            }
            if !matches!(entry.settlement, Settlement::Accepted { .. })
                || !seen.settled.insert((entry.entry_id, i64::from(entry.attempt)))
            {
                continue;
            }
            let Some(key) = seen.entries.get(&entry.entry_id) else {
                broken.push(format!("entry {} was never claimed", entry.entry_id));
                continue;
            };
            let is_true = match entry.lease_token {
                Some(_) => take(&mut seen.successes, key),
                None => seen.shown.contains(key),
            };
            if !is_true {
                broken.push(format!("{}: accepted, and the portal never said so", key.0));
            }
        }
        for lane in &batch.steps {
            for (identity, state) in &lane.steps {
                if *state != StepState::Acked {
                    continue;
                }
                let Some(key) = seen.steps.get(&(lane.dossier_id, identity.clone())) else {
                    broken.push(format!("step {identity} was never claimed"));
                    continue;
                };
                if seen.settled.contains(&(lane.lease_token, lane.dossier_id)) {
                    continue;
                }
                *seen.counters.entry("steps acknowledged").or_default() += 1;
                if !take(&mut seen.successes, key) {
                    broken.push(format!(
                        "{}: step {identity} acknowledged, and the portal never said so",
                        key.0
                    ));
                }
            }
            seen.settled.insert((lane.lease_token, lane.dossier_id));
        }
        for what in broken {
            seen.violations.push(Violation { property: "no false success", what });
        }
    }

    /// The ledger's file is another one now, and holds these revisions.
    pub(super) fn ledger_was_replaced(&self, taken: BTreeSet<(String, [u8; 32])>) {
        let mut seen = self.seen();
        seen.taken = taken;
        seen.entries.clear();
        seen.steps.clear();
        seen.settled.clear();
        // The attempts that were counted since the backup are forgotten.
        seen.packets_sent.clear();
        seen.doubtful.clear();
        seen.flights.clear();
    }
}

fn take(successes: &mut BTreeMap<(String, Digest), u64>, key: &(String, Digest)) -> bool {
    match successes.get_mut(key) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

#[expect(clippy::print_stderr, reason = "somebody asked to hear it")]
pub(super) fn say(line: &str) {
    eprintln!("{line}");
}

/// What somebody who runs the tests wants of them.
#[expect(clippy::disallowed_methods, reason = "it is asked for from outside")]
pub(super) fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
