//! One dossier as of a time: what its source had said, what was believed here, what the portal held.
//!
//! A pure reading of a [`DossierView`]: nothing is stored for it but the rows that are there anyway.
//! Where rows were removed by retention, or never said what a state was for a while, that is told as
//! a [`Gap`] instead of being guessed. "Believed" means what this ledger held true; the portal may
//! have done something else, and only an answer of its own says what it held.

use serde::Serialize;

use super::view::{AttemptView, DossierView, EntryView, PastState, RevisionView};
use crate::domain::entry::EntryState;
use crate::domain::time::Timestamp;

/// A dossier at a moment.
#[derive(Debug, Clone, Serialize)]
pub struct Past {
    pub at: Timestamp,
    /// The newest revision that had been received, if any is kept.
    pub revision: Option<RevisionView>,
    /// How many had been received, of those that are kept.
    pub revisions: usize,
    pub believed: Option<Believed>,
    pub steps: Vec<StepThen>,
    pub portal: Held,
    /// Discrepancies that stood open.
    pub discrepancies: Vec<String>,
    pub gaps: Vec<Gap>,
}

/// What was owed, and how it stood.
#[derive(Debug, Clone, Serialize)]
pub struct Believed {
    pub entry_id: i64,
    pub revision_id: i64,
    /// `None`: nobody wrote down whether it had been mapped yet.
    pub state: Option<EntryState>,
    /// Since when, as far as it is known.
    pub since: Timestamp,
    /// A row says so. Otherwise it follows from what came before and after; then `Ready` may also
    /// have been `Leased`.
    pub recorded: bool,
    /// Code of the failure or rule that it stood there with, if that is kept.
    pub rule: Option<String>,
    /// Calls that had ended.
    pub attempts: usize,
    pub last_attempt: Option<AttemptView>,
}

/// A step, as far as its row tells.
#[derive(Debug, Clone, Serialize)]
pub struct StepThen {
    pub thoi_diem_xu_ly: String,
    pub trang_thai: String,
    /// `None`: it has changed since, and may not have been known yet.
    pub state: Option<String>,
}

/// What the portal had said that it holds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Held {
    /// The packet that it had acknowledged last.
    pub packet: Option<HeldPacket>,
    /// Steps that it had acknowledged.
    pub steps: Vec<StepThen>,
    /// The last look at it: when, and what it said.
    pub looked: Option<(Timestamp, String)>,
}

#[derive(Debug, Clone, Serialize)]
pub struct HeldPacket {
    pub entry_id: i64,
    /// Unknown when the entry was removed by retention.
    pub revision_id: Option<i64>,
    pub at: Timestamp,
    /// As it was sent; absent when the entry was mapped again since.
    pub packet_hash: Option<String>,
    pub mapping_version: Option<String>,
}

/// What this answer cannot know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// The dossier was not known yet.
    BeforeFirstSeen,
    /// Retention removed rows; some may be from before that time.
    Trimmed,
    /// The state follows from rows around it.
    Derived,
    /// Nobody wrote down when it was mapped.
    MappingTimeUnknown,
    /// Steps have changed since, and their rows do not say what they were.
    StepsChanged,
    /// The acknowledged packet was mapped again since, so its hash is not the row's.
    PacketReplaced,
}

/// The dossier as of `at`.
pub fn past(view: &DossierView, at: Timestamp) -> Past {
    let mut gaps = Vec::new();
    if at < view.first_seen_at {
        gaps.push(Gap::BeforeFirstSeen);
    }
    if view.trimmed.is_some() {
        gaps.push(Gap::Trimmed);
    }
    let received = view.revisions.iter().filter(|revision| revision.received_at <= at);
    // The order in which the ledger took them; an outdated one that came late is not the newest.
    let revision = received.clone().max_by_key(|revision| order(revision)).cloned();
    let believed = owed(view, at).map(|entry| believed(view, entry, at, &mut gaps));
    let steps: Vec<StepThen> = view
        .steps
        .iter()
        .map(|step| StepThen {
            thoi_diem_xu_ly: step.thoi_diem_xu_ly.clone(),
            trang_thai: step.trang_thai.clone(),
            state: (step.changed_at <= at).then(|| step.state.clone()),
        })
        .collect();
    if steps.iter().any(|step| step.state.is_none()) && at >= view.first_seen_at {
        gaps.push(Gap::StepsChanged);
    }
    let portal = held(view, &steps, at, &mut gaps);
    let discrepancies = view
        .discrepancies
        .iter()
        .filter(|found| found.found_at <= at && found.resolved_at.is_none_or(|over| over > at))
        .map(|found| format!("{}: {}", found.kind, found.detail))
        .collect();
    Past { at, revision, revisions: received.count(), believed, steps, portal, discrepancies, gaps }
}

/// Versions decide, then the source's times, then arrival; what is missing counts as older.
fn order(revision: &RevisionView) -> (Option<i64>, Option<Timestamp>, i64) {
    (revision.version, revision.changed_at, revision.id)
}

/// What was owed for the newest revision then; of several obligations, the last opened.
fn owed(view: &DossierView, at: Timestamp) -> Option<&EntryView> {
    view.entries
        .iter()
        .filter(|entry| entry.created_at <= at)
        .max_by_key(|entry| (entry.revision_id, entry.id))
}

/// Something that says how an entry stood from a time on.
struct Evidence<'v> {
    at: Timestamp,
    state: Option<EntryState>,
    rule: Option<&'v String>,
    recorded: bool,
}

fn believed(view: &DossierView, entry: &EntryView, at: Timestamp, gaps: &mut Vec<Gap>) -> Believed {
    let attempts: Vec<&AttemptView> = view
        .attempts
        .iter()
        .filter(|attempt| attempt.entry_id == Some(entry.id) && attempt.at <= at)
        .collect();
    let found = evidence(view, entry, at);
    if found.state.is_none() {
        gaps.push(Gap::MappingTimeUnknown);
    } else if !found.recorded {
        gaps.push(Gap::Derived);
    }
    Believed {
        entry_id: entry.id,
        revision_id: entry.revision_id,
        state: found.state,
        since: found.at,
        recorded: found.recorded,
        rule: found.rule.cloned(),
        attempts: attempts.len(),
        last_attempt: attempts.last().map(|attempt| (*attempt).clone()),
    }
}

fn evidence<'v>(view: &'v DossierView, entry: &'v EntryView, at: Timestamp) -> Evidence<'v> {
    if entry.changed_at <= at {
        return Evidence {
            at: entry.changed_at,
            state: Some(entry.state),
            rule: entry.rule.as_ref(),
            recorded: true,
        };
    }
    let stood = |past: &&PastState| past.since <= at && at < past.until;
    if let Some(past) = entry.past.iter().rfind(stood) {
        return Evidence {
            at: past.since,
            state: Some(past.state),
            rule: past.rule.as_ref(),
            recorded: true,
        };
    }
    // Put back, mapped, answered: the last of these before the moment says how it stood.
    let mut last = Evidence {
        at: entry.created_at,
        state: Some(EntryState::Received),
        rule: None,
        recorded: false,
    };
    let mut mapped = false;
    for past in entry.past.iter().filter(|past| past.until <= at) {
        let state = if past.state == EntryState::Awaiting {
            mapped = true;
            EntryState::Ready
        } else {
            mapped = false;
            EntryState::Received
        };
        last = Evidence { at: past.until, state: Some(state), rule: None, recorded: false };
    }
    if let Some(mapped_at) = entry.mapped_at.filter(|mapped_at| (last.at..=at).contains(mapped_at))
    {
        mapped = true;
        last =
            Evidence { at: mapped_at, state: Some(EntryState::Ready), rule: None, recorded: false };
    }
    // It died and was put back within one millisecond: that call is no news of what came then.
    let short = |past: &&PastState| past.state == EntryState::Dead && past.since == past.until;
    let mut causes: Vec<Timestamp> = entry.past.iter().filter(short).map(|p| p.until).collect();
    for attempt in view.attempts.iter().filter(|attempt| attempt.entry_id == Some(entry.id)) {
        if let Some(cause) = causes.iter().position(|cause| *cause == attempt.at) {
            causes.swap_remove(cause);
            continue;
        }
        if attempt.at < last.at || attempt.at > at || attempt.is_late() {
            continue;
        }
        let state = after(attempt);
        mapped = true;
        last = Evidence {
            at: attempt.at,
            state: Some(state),
            rule: attempt.failure_code.as_ref(),
            recorded: false,
        };
    }
    if !mapped && !was_mapped_later(entry, at) {
        last.state = None;
    }
    last
}

/// Whether rows say that the mapping which followed came after the moment, so that before it the
/// entry was certainly not mapped.
fn was_mapped_later(entry: &EntryView, at: Timestamp) -> bool {
    let by_mapping = |state: EntryState| {
        matches!(
            state,
            EntryState::Quarantined
                | EntryState::NotOurs
                | EntryState::Unchanged
                | EntryState::Awaiting
        )
    };
    match (entry.past.iter().find(|past| past.since > at), entry.mapped_at) {
        (Some(past), _) => by_mapping(past.state),
        (None, Some(mapped_at)) => mapped_at > at,
        // From before the ledger kept that time.
        (None, None) => by_mapping(entry.state),
    }
}

/// What an attempt's outcome left behind, if nothing says otherwise.
fn after(attempt: &AttemptView) -> EntryState {
    match (attempt.kind.as_str(), attempt.outcome.as_str()) {
        ("packet", "accepted") | ("read_back", "proven") => EntryState::Accepted,
        ("packet", "unknown") | ("read_back", "failed" | "not_sent") => EntryState::Unconfirmed,
        _ => EntryState::Ready,
    }
}

fn held(view: &DossierView, steps: &[StepThen], at: Timestamp, gaps: &mut Vec<Gap>) -> Held {
    let packet = view
        .attempts
        .iter()
        .filter(|attempt| attempt.at <= at && !attempt.is_late())
        .filter(|attempt| after(attempt) == EntryState::Accepted)
        .filter_map(|attempt| Some((attempt.entry_id?, attempt.at)))
        .next_back()
        .map(|(entry_id, acked_at)| {
            let entry = view.entries.iter().find(|entry| entry.id == entry_id);
            // Mapped again since (a retry): the row's hash is that of another packet.
            let same = entry.filter(|entry| entry.mapped_at.is_none_or(|m| m <= acked_at));
            if entry.is_some() && same.is_none() {
                gaps.push(Gap::PacketReplaced);
            }
            HeldPacket {
                entry_id,
                revision_id: entry.map(|entry| entry.revision_id),
                at: acked_at,
                packet_hash: same.and_then(|entry| entry.packet_hash.clone()),
                mapping_version: same.and_then(|entry| entry.mapping_version.clone()),
            }
        });
    let looked = view
        .attempts
        .iter()
        .filter(|attempt| attempt.at <= at && attempt.kind == "read_back")
        .map(|attempt| (attempt.at, attempt.outcome.clone()))
        .next_back();
    let acked = |step: &&StepThen| step.state.as_deref() == Some("acked");
    Held { packet, steps: steps.iter().filter(acked).cloned().collect(), looked }
}
