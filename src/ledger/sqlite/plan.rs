//! What the outcome of mapping means for entries, steps and lanes: decided here from what is stored,
//! written by `map`.

use std::collections::{BTreeMap, BTreeSet};

use super::super::LedgerError;
use super::super::body::{Bodies, Row};
use super::super::record::{MapCounts, MapOutcome, MappedEntry, MappedStep, ValidPacket};
use super::reconcile::DiscrepancyRow;
use super::{UNREADABLE, hex, json_one};
use crate::domain::diagnostic::Severity;
use crate::domain::discrepancy::DiscrepancyKind;
use crate::domain::entry::EntryState;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::priority::Priority;
use crate::domain::step::{StepIdentity, StepState};
use crate::domain::time::Timestamp;
use crate::sabotage::{self, Defect};

/// The failure code of a step that is held because nobody knows whether the portal has it. Its
/// content must not be replaced: the portal may already hold the old one.
pub(super) const STEP_OUTCOME_UNKNOWN: &str = "steps.outcome_unknown";

/// The failure code of a status-5 step that the portal had, or may have from an older program: its
/// content must not be replaced either.
pub(super) const STEP_MAYBE_SENT: &str = "steps.maybe_sent";

/// The failure of such a step.
pub(super) fn outcome_unknown() -> Failure {
    Failure::new(
        STEP_OUTCOME_UNKNOWN,
        Disposition::Ambiguous,
        "nobody knows whether the portal has this step",
    )
}

/// The failure code of a supplement request that is held because it seems to be one that the portal
/// acknowledged at another time.
pub(super) const SUPPLEMENT_MOVED: &str = "steps.supplement_moved";

/// The status of a step that asks the citizen for a supplement.
const SUPPLEMENT: &str = "5";

/// The rule by which mapping says that the source deleted the dossier.
const DELETED: &str = "source.deleted";

/// The rule by which a dossier is closed that its source goes on with under another code.
pub(super) const RECODED: &str = "source.recoded";

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact that the statement reads of a lane"
)]
pub(super) struct Lane {
    pub(super) dossier_id: i64,
    pub(super) source: String,
    pub(super) ma_ho_so: String,
    pub(super) forced: bool,
    pub(super) priority: i64,
    pub(super) acked_packet_hash: Option<Vec<u8>>,
    /// Of the packet that an older program is believed to have sent.
    pub(super) presumed_packet_hash: Option<Vec<u8>>,
    /// An older program may have sent the dossier, and the portal was not asked yet.
    pub(super) awaiting: Option<CutOver>,
    /// A call about it is out, so what the portal holds is not known.
    pub(super) out: bool,
    /// The portal is believed to have the dossier.
    pub(super) known: bool,
    pub(super) waiting: bool,
    /// A newer revision is ready or was sent: this one is never sent.
    pub(super) overtaken_by: Option<i64>,
    /// The ledger was restored and the source has not been read again to its end.
    pub(super) rereading: bool,
    /// When it was restored, as steps write their time.
    pub(super) restored_at: Option<String>,
    /// A discrepancy says that the source deleted it, or goes on under another code.
    pub(super) mourned: bool,
    /// Files that the portal has, or may have.
    pub(super) files_sent: BTreeSet<String>,
}

/// The dossier that another one says it was before.
pub(super) struct Former {
    pub(super) dossier_id: i64,
    pub(super) source: String,
    pub(super) ma_ho_so: String,
    pub(super) newest_revision_id: i64,
    pub(super) priority: i64,
    /// Closed for this reason already.
    pub(super) closed: bool,
    /// The portal has it, or may have.
    pub(super) known: bool,
}

/// The cut-over from an older program, beside the revision that is mapped.
pub(super) struct CutOver {
    /// In the portal's form, as times of steps are.
    pub(super) at_text: String,
    /// The source changed it at or after the cut-over, or does not say when.
    pub(super) changed_since: bool,
    /// No revision of the dossier was mapped before.
    pub(super) first: bool,
}

pub(super) struct KnownStep {
    pub(super) hash: Vec<u8>,
    pub(super) state: StepState,
    pub(super) failure: Option<Failure>,
    /// The first mapped revision of an awaiting dossier had it.
    pub(super) original: bool,
}

/// The portal may hold a held step as it was: it is neither replaced nor sent without a person.
fn may_be_there(failure: &Failure) -> bool {
    failure.code == STEP_OUTCOME_UNKNOWN || failure.code == STEP_MAYBE_SENT
}

impl KnownStep {
    fn may_be_at_portal(&self) -> bool {
        match self.state {
            StepState::Acked | StepState::Leased | StepState::PresumedSent => true,
            StepState::Held => self.failure.as_ref().is_some_and(may_be_there),
            StepState::Pending | StepState::Withdrawn => false,
        }
    }

    fn is_held_for(&self, code: &str) -> bool {
        self.state == StepState::Held && self.failure.as_ref().is_some_and(|f| f.code == code)
    }
}

fn supplement_moved() -> Failure {
    Failure::new(
        SUPPLEMENT_MOVED,
        Disposition::Ambiguous,
        "the source moved a request for a supplement that the portal has; a second one could make the dossier late",
    )
}

pub(super) type KnownSteps = BTreeMap<i64, BTreeMap<StepIdentity, KnownStep>>;
/// dossier, time, status, ordinal, hash, body, line of the body, place in the source's list, state,
/// failure, 1 if original
pub(super) type StepRow<'a> =
    (i64, &'a str, &'a str, u32, String, i64, usize, usize, &'static str, Option<String>, u8);
/// To be closed: dossier, newest revision, priority
pub(super) type FormerRow = (i64, i64, i64);
/// entry, where its body begins in the blob (from 1), length, ids of files
pub(super) type PacketRow = (i64, usize, usize, Option<String>);
/// id, dossier, where its body begins in the blob (from 1), length
pub(super) type StepBodyRow = (i64, i64, usize, usize);
/// id, state, packet hash, mapping version, first error rule, diagnostics, priority, superseded by
pub(super) type EntryRow<'a> =
    (i64, &'static str, Option<String>, &'a str, Option<String>, Option<String>, i64, Option<i64>);
/// dossier, packet state, 1 if the portal knows it, priority, steps pending, 1 if steps changed, 1 if
/// no older program can have sent it, procedure, agency, appointed time, 1 if finished, status, channel,
/// time of reception
pub(super) type LaneRow<'a> = (
    i64,
    &'static str,
    u8,
    i64,
    usize,
    u8,
    u8,
    &'a str,
    Option<&'a str>,
    i64,
    u8,
    Option<&'a str>,
    Option<&'a str>,
    Option<Timestamp>,
);

/// The end of the year 9999: what has no appointed time goes last inside its class.
pub(super) const NO_APPOINTMENT: i64 = 253_402_300_799_000;

/// The writes of one batch, collected before the first statement.
#[derive(Default)]
pub(super) struct Plan<'a> {
    pub(super) supersede: Vec<(i64, i64)>,
    pub(super) entries: Vec<EntryRow<'a>>,
    pub(super) packets: Vec<PacketRow>,
    pub(super) bodies: Vec<u8>,
    pub(super) step_bodies: Vec<StepBodyRow>,
    pub(super) step_blob: Vec<u8>,
    pub(super) last_step_body: i64,
    pub(super) insert: Vec<StepRow<'a>>,
    pub(super) replace: Vec<StepRow<'a>>,
    /// Held steps whose body retention may have taken, and pending ones that stay what they were at
    /// the portal, if they are there.
    pub(super) rebody: Vec<StepRow<'a>>,
    pub(super) withdraw: Vec<(i64, String, String, u32)>,
    pub(super) lanes: Vec<LaneRow<'a>>,
    pub(super) not_ours: Vec<i64>,
    pub(super) revived: Vec<i64>,
    /// Dossiers whose steps and files were compared with what the portal has.
    pub(super) judged: Vec<i64>,
    pub(super) former: Vec<FormerRow>,
    pub(super) discrepancies: Vec<DiscrepancyRow>,
    pub(super) counts: MapCounts,
}

impl<'a> Plan<'a> {
    pub(super) fn take(
        &mut self,
        stored: &Bodies,
        entry: &'a MappedEntry,
        lane: &Lane,
        known_steps: Option<&BTreeMap<StepIdentity, KnownStep>>,
        former: &[Former],
    ) -> Result<(), LedgerError> {
        let version = entry.mapping_version.as_str();
        match &entry.outcome {
            MapOutcome::Quarantined { diagnostics } => {
                self.counts.quarantined += 1;
                let code = diagnostics
                    .iter()
                    .find(|diagnostic| diagnostic.severity == Severity::Error)
                    .or(diagnostics.first())
                    .map(|diagnostic| diagnostic.rule.clone());
                self.entries.push((
                    entry.entry_id,
                    EntryState::Quarantined.as_str(),
                    None,
                    version,
                    code,
                    Some(json_one(diagnostics)),
                    lane.priority,
                    None,
                ));
            }
            MapOutcome::NotOurs { rule, recoded_to } => {
                self.counts.not_ours += 1;
                self.entries.push((
                    entry.entry_id,
                    EntryState::NotOurs.as_str(),
                    None,
                    version,
                    Some((*rule).to_owned()),
                    None,
                    lane.priority,
                    None,
                ));
                if lane.overtaken_by.is_none() {
                    // The newest word of the source is that the dossier is gone, or another's, so
                    // nothing that still waits may be sent.
                    self.supersede.push((lane.dossier_id, entry.entry_id));
                    self.not_ours.push(lane.dossier_id);
                    let kind = match *rule {
                        DELETED => Some(DiscrepancyKind::DeletedAtSource),
                        RECODED => Some(DiscrepancyKind::Recoded),
                        _ => None,
                    };
                    if let Some(kind) = kind.filter(|_| lane.known || lane.out) {
                        self.differ(lane, kind, recoded_to.clone().unwrap_or_default());
                    }
                }
            }
            MapOutcome::Valid(packet) => {
                self.take_valid(stored, entry, packet, lane, known_steps, former)?;
            }
        }
        Ok(())
    }

    fn take_valid(
        &mut self,
        stored: &Bodies,
        entry: &'a MappedEntry,
        packet: &'a ValidPacket,
        lane: &Lane,
        known_steps: Option<&BTreeMap<StepIdentity, KnownStep>>,
        former: &[Former],
    ) -> Result<(), LedgerError> {
        if lane.overtaken_by.is_some() {
            self.counts.superseded += 1;
            self.entries.push((
                entry.entry_id,
                EntryState::Superseded.as_str(),
                None,
                entry.mapping_version.as_str(),
                None,
                None,
                lane.priority,
                lane.overtaken_by,
            ));
            return Ok(());
        }
        // A file was sent since this packet was made, and it says nothing of it: made anew, it will.
        let says =
            |id: &String| packet.files.held.contains(id) || packet.files.removed.contains(id);
        if !lane.files_sent.iter().all(says) {
            return Ok(());
        }
        for former in former {
            self.take_former(lane, former);
        }
        self.judged.push(lane.dossier_id);
        for id in &packet.files.vanished {
            self.differ(lane, DiscrepancyKind::FileVanished, id.clone());
        }
        // While a call is out, the last acknowledged packet says nothing about what the portal
        // will hold; and an operator's resync sends what is already there.
        let is = |hash: &Option<Vec<u8>>| hash.as_deref() == Some(packet.packet_hash.as_slice());
        let awaits = lane.awaiting.as_ref().filter(|cut_over| {
            // With nothing from before the cut-over there is nothing an older program can have
            // sent and we must not send again.
            !(cut_over.first
                && cut_over.changed_since
                && packet
                    .steps
                    .iter()
                    .all(|step| step.identity.thoi_diem_xu_ly >= cut_over.at_text))
        });
        let state = if awaits.is_some() {
            EntryState::Awaiting
        } else if lane.forced || lane.out || lane.rereading {
            EntryState::Ready
        } else if is(&lane.acked_packet_hash)
            || sabotage::on(Defect::AlwaysUnchanged) && lane.acked_packet_hash.is_some()
        {
            EntryState::Unchanged
        } else if is(&lane.presumed_packet_hash) {
            EntryState::Presumed
        } else {
            EntryState::Ready
        };
        let unchanged = matches!(state, EntryState::Unchanged | EntryState::Presumed);
        // Only ever raised: what an operator made urgent stays so.
        let raised =
            packet.priority.map_or(lane.priority, |raised| raised.rank().min(lane.priority));
        let priority = match awaits {
            Some(_) if lane.forced => raised,
            Some(cut_over) if cut_over.changed_since || !cut_over.first => {
                raised.min(Priority::Live.rank())
            }
            // Nothing waits for the answer; a near deadline does not make it news.
            Some(_) => Priority::Backfill.rank(),
            None => raised,
        };
        if lane.waiting {
            self.supersede.push((lane.dossier_id, entry.entry_id));
        }
        self.entries.push((
            entry.entry_id,
            state.as_str(),
            Some(hex(&packet.packet_hash)),
            entry.mapping_version.as_str(),
            None,
            (!packet.warnings.is_empty()).then(|| json_one(&packet.warnings)),
            priority,
            None,
        ));
        if lane.mourned {
            self.revived.push(lane.dossier_id);
        }
        if unchanged {
            self.counts.unchanged += 1;
        } else {
            match awaits {
                Some(_) => self.counts.awaiting += 1,
                None => self.counts.ready += 1,
            }
            let row = Row::of("packet", entry.entry_id);
            let body = stored.write(row, packet.packet.as_bytes())?;
            // Nothing is kept of a dossier that never had a file.
            let files = (!packet.files.held.is_empty() || !packet.files.removed.is_empty())
                .then(|| json_one(&packet.files.held));
            self.packets.push((entry.entry_id, self.bodies.len() + 1, body.len(), files));
            self.bodies.extend_from_slice(&body);
        }
        let (pending, changed) = self.take_steps(stored, lane, &packet.steps, known_steps)?;
        self.lanes.push((
            lane.dossier_id,
            if unchanged { "accepted" } else { "open" },
            u8::from(packet.filed_at_portal),
            priority,
            pending,
            u8::from(changed),
            u8::from(lane.awaiting.is_some() && awaits.is_none()),
            packet.ma_tthc.as_str(),
            packet.ma_don_vi.as_deref(),
            packet.appointed_at.map_or(NO_APPOINTMENT, Timestamp::millis),
            u8::from(packet.finished),
            packet.facts.status.as_deref(),
            packet.facts.channel.as_deref(),
            packet.facts.received_at,
        ));
        Ok(())
    }

    /// Closes the dossier under its former code, unless it is closed for this reason already.
    fn take_former(&mut self, lane: &Lane, former: &Former) {
        if !former.closed && !self.not_ours.contains(&former.dossier_id) {
            self.former.push((former.dossier_id, former.newest_revision_id, former.priority));
        }
        if former.known {
            self.discrepancies.push((
                former.source.clone(),
                former.ma_ho_so.clone(),
                Some(former.dossier_id),
                DiscrepancyKind::Recoded.as_str(),
                lane.ma_ho_so.clone(),
            ));
        }
    }

    fn differ(&mut self, lane: &Lane, kind: DiscrepancyKind, detail: String) {
        self.discrepancies.push((
            lane.source.clone(),
            lane.ma_ho_so.clone(),
            Some(lane.dossier_id),
            kind.as_str(),
            detail,
        ));
    }

    /// Compares the source's steps with the stored ones. A step that the portal acknowledged (or
    /// may have) is never rewritten: a change of it is a discrepancy.
    fn take_steps(
        &mut self,
        seal: &Bodies,
        lane: &Lane,
        steps: &'a [MappedStep],
        known: Option<&BTreeMap<StepIdentity, KnownStep>>,
    ) -> Result<(usize, bool), LedgerError> {
        let mut pending = 0;
        let mut changed = false;
        let body_id = self.last_step_body + 1;
        let mut lines = Vec::new();
        let mut found: Vec<(DiscrepancyKind, String)> = Vec::new();
        let mut discrepancy =
            |kind, identity: &StepIdentity| found.push((kind, identity.to_string()));
        let is_listed = |id: &StepIdentity| steps.iter().any(|step| step.identity == *id);
        // What the older program sent of a step was sent as it was then.
        let maybe_sent = |id: &StepIdentity, stored: &KnownStep| {
            let cut_over = lane.awaiting.as_ref();
            stored.original
                && cut_over.is_some_and(|cut_over| id.thoi_diem_xu_ly < cut_over.at_text)
        };
        // Requests for a supplement that the portal has and the source does not list any more. As
        // many new ones may be the same requests at a corrected time: counted twice, they could make
        // the dossier late, so a person decides.
        let mut moved = known
            .into_iter()
            .flatten()
            .filter(|(id, stored)| {
                id.trang_thai == SUPPLEMENT
                    && (stored.may_be_at_portal() || maybe_sent(id, stored))
                    && !is_listed(id)
            })
            .count();
        let mut take_moved = |step: &MappedStep| {
            let is_one = step.identity.trang_thai == SUPPLEMENT && moved > 0;
            moved -= usize::from(is_one);
            is_one
        };
        for (place, step) in steps.iter().enumerate() {
            let id = &step.identity;
            // May have been sent between the backup and its restore.
            let is_new = known.is_none_or(|known| !known.contains_key(id));
            let is_dated_before =
                lane.restored_at.as_ref().is_some_and(|at| *at >= id.thoi_diem_xu_ly);
            let in_doubt = (id.trang_thai == SUPPLEMENT
                && (lane.rereading || (is_new && is_dated_before)))
                .then(outcome_unknown);
            let is_pending = usize::from(in_doubt.is_none());
            let mut row = |held: Option<Failure>| -> StepRow<'a> {
                lines.push(step.body.as_str());
                (
                    lane.dossier_id,
                    step.identity.thoi_diem_xu_ly.as_str(),
                    step.identity.trang_thai.as_str(),
                    step.identity.ordinal,
                    hex(&step.hash),
                    body_id,
                    lines.len() - 1,
                    place,
                    if held.is_some() { StepState::Held } else { StepState::Pending }.as_str(),
                    held.as_ref().map(json_one),
                    u8::from(lane.awaiting.as_ref().is_some_and(|cut_over| cut_over.first)),
                )
            };
            match known.and_then(|known| known.get(id)) {
                None => {
                    let held = take_moved(step).then(supplement_moved).or(in_doubt);
                    let is_held = held.is_some();
                    self.insert.push(row(held));
                    self.counts.steps_new += 1;
                    pending += usize::from(!is_held);
                    changed = true;
                }
                Some(stored) => {
                    let same = stored.hash == step.hash;
                    match stored.state {
                        StepState::Pending | StepState::Leased if same => pending += 1,
                        // Owed again as it was, after the portal lost the dossier: when it is due
                        // was decided with the loss.
                        StepState::Withdrawn if same => {
                            self.replace.push(row(in_doubt));
                            pending += is_pending;
                        }
                        // The hash stays that of what may be at the portal, so that the difference
                        // lasts as long as it is one.
                        StepState::Pending if maybe_sent(id, stored) => {
                            discrepancy(DiscrepancyKind::StepChanged, id);
                            self.rebody.push(row(None));
                            pending += 1;
                            changed = true;
                        }
                        StepState::Pending | StepState::Withdrawn => {
                            self.replace.push(row(in_doubt));
                            pending += is_pending;
                            changed = true;
                        }
                        StepState::Held if stored.is_held_for(SUPPLEMENT_MOVED) => {
                            let moved = take_moved(step);
                            if !moved || !same {
                                let held = moved.then(supplement_moved).or(in_doubt);
                                pending += usize::from(held.is_none());
                                self.replace.push(row(held));
                                changed = true;
                            }
                        }
                        // Refused and mended at the source, or never readable here.
                        StepState::Held
                            if stored.failure.as_ref().is_some_and(|f| {
                                f.code == UNREADABLE || (!same && !may_be_there(f))
                            }) =>
                        {
                            self.replace.push(row(in_doubt));
                            pending += is_pending;
                            changed = true;
                        }
                        StepState::Held
                            if same && stored.failure.as_ref().is_some_and(may_be_there) =>
                        {
                            self.rebody.push(row(None));
                        }
                        StepState::Leased => {
                            discrepancy(DiscrepancyKind::StepChanged, id);
                            pending += 1;
                        }
                        StepState::Acked | StepState::Held | StepState::PresumedSent if !same => {
                            discrepancy(DiscrepancyKind::StepChanged, id);
                        }
                        StepState::Acked | StepState::Held | StepState::PresumedSent => {}
                    }
                }
            }
        }
        for (id, stored) in known.into_iter().flatten() {
            if is_listed(id) {
                continue;
            }
            match stored.state {
                // Held for that reason, it never left.
                StepState::Held | StepState::Pending
                    if stored.state == StepState::Pending
                        || stored.is_held_for(SUPPLEMENT_MOVED) =>
                {
                    if stored.state == StepState::Pending && maybe_sent(id, stored) {
                        discrepancy(DiscrepancyKind::StepVanished, id);
                    }
                    self.withdraw.push((
                        lane.dossier_id,
                        id.thoi_diem_xu_ly.clone(),
                        id.trang_thai.clone(),
                        id.ordinal,
                    ));
                }
                StepState::Leased => {
                    pending += 1;
                    discrepancy(DiscrepancyKind::StepVanished, id);
                }
                StepState::Acked | StepState::Held | StepState::PresumedSent => {
                    discrepancy(DiscrepancyKind::StepVanished, id);
                }
                StepState::Withdrawn if maybe_sent(id, stored) => {
                    discrepancy(DiscrepancyKind::StepVanished, id);
                }
                StepState::Pending | StepState::Withdrawn => {}
            }
        }
        for (kind, detail) in found {
            self.differ(lane, kind, detail);
        }
        if !lines.is_empty() {
            let body = seal.write(Row::of("step_body", body_id), lines.join("\n").as_bytes())?;
            self.last_step_body = body_id;
            self.step_bodies.push((body_id, lane.dossier_id, self.step_blob.len() + 1, body.len()));
            self.step_blob.extend_from_slice(&body);
        }
        Ok((pending, changed))
    }
}
