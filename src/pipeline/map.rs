//! `map_once`: stored revisions become packets and steps, or say why not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::catalogue::judge::Judge;
use super::{Context, VerbError, files};
use crate::domain::codes::{DossierCode, ProcedureCode};
use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::domain::dossier::Dossier;
use crate::domain::priority::Priority;
use crate::domain::status::Status;
use crate::domain::step::{Step, StepIdentity, identify};
use crate::domain::time::Timestamp;
use crate::ledger::record::{
    MapCounts, MapOutcome, MappedEntry, MappedStep, PacketFacts, ToMap, ValidPacket,
};
use crate::mapping::{Mapped, Mapping};
use crate::sabotage::{self, Defect};

/// What one pass mapped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MapReport {
    pub mapped: u64,
    #[serde(flatten)]
    pub counts: MapCounts,
}

/// Maps up to `settings.map_limit` received revisions, the oldest of each dossier first.
pub async fn map_once(context: &Context, mapping: &Arc<Mapping>) -> Result<MapReport, VerbError> {
    context.alive();
    let waiting = context.ledger.to_map(context.settings.map_limit).await?;
    if waiting.is_empty() {
        return Ok(MapReport::default());
    }
    // Before the catalogue is read: what this pass holds was judged no later than that, so a newer
    // version finds it.
    let now = context.clock.now();
    let catalogue = catalogue_judge(context).await?;
    let near = now + Duration::from_millis(context.settings.deadline_near_ms);
    let count = waiting.len() as u64;
    let judging = Arc::clone(mapping);
    // Pure computation of some milliseconds: not on a thread that drives sockets. So is the second
    // part, below.
    let span = tracing::Span::current();
    let pass = span.clone();
    let judged = aside(move || {
        let _pass = pass.entered();
        waiting
            .into_iter()
            .map(|revision| judge(&judging, &catalogue, revision))
            .collect::<Vec<_>>()
    })
    .await?;
    let lacking: Vec<i64> = judged
        .iter()
        .filter(|_| mapping.removes_files())
        .filter(|judged| matches!(&judged.verdict, Verdict::Sound(sound) if !sound.gone.is_empty()))
        .map(|judged| judged.dossier_id)
        .collect();
    let sent = match lacking.as_slice() {
        [] => Vec::new(),
        lacking => context.ledger.sent_packets(lacking).await?,
    };
    let used = procedures_used(&judged);
    let version = mapping.version().to_owned();
    let mapped = aside(move || {
        let _pass = span.entered();
        let mut packets: BTreeMap<i64, Vec<Dossier>> = BTreeMap::new();
        for (dossier_id, packet) in sent {
            // One of an older program may hold other fields; it is as good as one past retention.
            packets.entry(dossier_id).or_default().extend(serde_json::from_str(&packet));
        }
        judged
            .into_iter()
            .map(|judged| {
                let sent = packets.get(&judged.dossier_id).map_or(&[][..], Vec::as_slice);
                compose(judged, sent, &version, near)
            })
            .collect::<Vec<_>>()
    })
    .await?;
    sabotage::point("map.mapped");
    let counts = context.ledger.record_mapped(now, &mapped).await?;
    sabotage::point("map.stored");
    let settings = &context.settings.catalogue;
    if settings.refresh_every_ms.is_some() && settings.policies.need_details() {
        context.catalogues.used(context.ledger.as_ref(), now, &used).await?;
    }
    Ok(MapReport { mapped: count, counts })
}

/// Runs `work` where it holds up no socket; on a runtime of one thread there is no such place.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    match tokio::runtime::Handle::current().runtime_flavor() {
        tokio::runtime::RuntimeFlavor::CurrentThread => Ok(work()),
        _ => tokio::task::spawn_blocking(work).await,
    }
}

/// What dossiers of this pass are compared with.
pub(super) async fn catalogue_judge(context: &Context) -> Result<Judge, VerbError> {
    let settings = &context.settings.catalogue;
    if settings.refresh_every_ms.is_none() {
        return Ok(Judge::default());
    }
    let codes = context.catalogues.codes(context.ledger.as_ref()).await?;
    Ok(Judge { codes, policies: settings.policies })
}

/// Dossiers by the national code of their procedure.
fn procedures_used(judged: &[Judged]) -> BTreeMap<String, u64> {
    let mut used = BTreeMap::new();
    for procedure in judged.iter().filter_map(|judged| judged.procedure.as_ref()) {
        *used.entry(procedure.clone()).or_default() += 1;
    }
    used
}

/// What mapping says of one stored revision.
struct Judged {
    ma_ho_so: String,
    entry_id: i64,
    dossier_id: i64,
    /// The national code of its procedure, if that could be read.
    procedure: Option<String>,
    verdict: Verdict,
}

enum Verdict {
    NotSent(MapOutcome),
    Sound(Box<Sound>),
}

struct Sound {
    dossier: Dossier,
    steps: Vec<Step>,
    warnings: Vec<Diagnostic>,
    recoded_from: Option<String>,
    /// Files that were sent and that it says nothing of.
    gone: Vec<String>,
}

fn judge(mapping: &Mapping, catalogue: &Judge, revision: ToMap) -> Judged {
    let (entry_id, dossier_id) = (revision.entry_id, revision.dossier_id);
    let mut procedure = None;
    let ma_ho_so = revision.ma_ho_so.clone();
    let not_ours = |rule, recoded_to| Verdict::NotSent(MapOutcome::NotOurs { rule, recoded_to });
    let verdict = if revision.recoded_to.is_some() {
        // Also a deletion of the old code: the new one is its reason.
        not_ours("source.recoded", revision.recoded_to)
    } else if revision.deleted {
        not_ours("source.deleted", None)
    } else if revision.ministry && !sabotage::on(Defect::MinistryIsPushed) {
        not_ours("source.ministry", None)
    } else {
        judge_document(mapping, catalogue, revision, &mut procedure)
    };
    Judged { ma_ho_so, entry_id, dossier_id, procedure, verdict }
}

/// The findings with which a mapping (or the portal's catalogue) refuses a revision; `None` when it
/// does not, or when the revision is not for the portal anyway.
pub(super) fn refuses(
    mapping: &Mapping,
    catalogue: &Judge,
    revision: ToMap,
) -> Option<Vec<Diagnostic>> {
    match judge(mapping, catalogue, revision).verdict {
        Verdict::NotSent(MapOutcome::Quarantined { diagnostics }) => Some(diagnostics),
        Verdict::NotSent(_) | Verdict::Sound(_) => None,
    }
}

fn judge_document(
    mapping: &Mapping,
    catalogue: &Judge,
    revision: ToMap,
    procedure: &mut Option<String>,
) -> Verdict {
    let Mapped { dossier, steps, mut diagnostics, .. } = mapping.map(&revision.document);
    let Some(dossier) = dossier else {
        return Verdict::NotSent(MapOutcome::Quarantined { diagnostics });
    };
    let mut refuse = |rule: &str, source_path: &str, expected: &str, found: &str| {
        diagnostics.push(Diagnostic {
            rule: rule.to_owned(),
            severity: Severity::Error,
            source_path: source_path.to_owned(),
            position: None,
            target: "MaHoSo".to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        });
    };
    let other = dossier.ma_ho_so != revision.ma_ho_so;
    if other {
        let expected = "the code under which the source gave the dossier";
        refuse("mapping.other_dossier", "HoSo", expected, "another code");
    }
    let foreign = revision.recoded_from.as_deref().is_some_and(|code| !mapping.is_ours(code));
    if foreign {
        let expected = "a dossier code of the province, or of an agency that it followed";
        refuse("mapping.recoded_from", "HoSo/@maHoSoCu", expected, "another code");
    }
    if other || foreign {
        return Verdict::NotSent(MapOutcome::Quarantined { diagnostics });
    }
    *procedure = ProcedureCode::parse(&dossier.ma_tthc).map(|code| code.national.to_owned());
    let findings = catalogue.findings(mapping, &revision.document, &dossier);
    let is_held = findings.iter().any(|finding| finding.severity == Severity::Error);
    diagnostics.extend(findings);
    if is_held {
        return Verdict::NotSent(MapOutcome::Quarantined { diagnostics });
    }
    Verdict::Sound(Box::new(Sound {
        gone: files::gone(&dossier, &revision.files_sent),
        dossier,
        steps,
        warnings: diagnostics,
        recoded_from: revision.recoded_from,
    }))
}

/// The bytes that are sent. `sent` are the packets in which files that are gone may be found; none
/// when the mapping keeps them.
fn compose(judged: Judged, sent: &[Dossier], version: &str, near: Timestamp) -> MappedEntry {
    let outcome = match judged.verdict {
        Verdict::NotSent(outcome) => outcome,
        Verdict::Sound(sound) => {
            let Sound { mut dossier, steps, warnings, recoded_from, gone } = *sound;
            let files = files::settle(&mut dossier, gone, sent);
            let packet = canonical(&dossier);
            MapOutcome::Valid(Box::new(ValidPacket {
                packet_hash: *blake3::hash(packet.as_bytes()).as_bytes(),
                packet,
                filed_at_portal: dossier.noi_nop_ho_so == "1",
                priority: is_near(&dossier, near).then_some(Priority::DeadlineNear),
                steps: identify(steps).into_iter().map(mapped_step).collect(),
                warnings,
                appointed_at: Timestamp::from_portal(&dossier.ngay_hen_tra),
                finished: !is_open(&dossier),
                ma_don_vi: DossierCode::parse(&dossier.ma_ho_so)
                    .map(|code| code.agency.as_str().to_owned()),
                facts: facts(&dossier),
                ma_tthc: dossier.ma_tthc,
                recoded_from,
                files,
            }))
        }
    };
    let (became, code) = match &outcome {
        MapOutcome::Valid(_) => ("valid", None),
        MapOutcome::NotOurs { rule, .. } => ("not ours", Some(*rule)),
        MapOutcome::Quarantined { diagnostics } => {
            let first = diagnostics.iter().find(|found| found.severity == Severity::Error);
            ("quarantined", first.map(|found| found.rule.as_str()))
        }
    };
    tracing::debug!(dossier = judged.ma_ho_so, entry = judged.entry_id, code, "mapped: {became}");
    MappedEntry {
        entry_id: judged.entry_id,
        dossier_id: judged.dossier_id,
        mapping_version: version.to_owned(),
        outcome,
    }
}

/// The bytes that are sent, hashed and kept: JSON with the fields in the contract's order.
fn canonical(record: &impl Serialize) -> String {
    // Unwrap safety: records hold only strings, numbers, booleans and lists of them.
    serde_json::to_string(record).expect("a contract record serialises")
}

fn mapped_step((identity, step): (StepIdentity, Step)) -> MappedStep {
    let body = canonical(&step);
    MappedStep { identity, hash: *blake3::hash(body.as_bytes()).as_bytes(), body }
}

fn facts(dossier: &Dossier) -> PacketFacts {
    let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    PacketFacts {
        status: said(&dossier.trang_thai_ho_so),
        channel: said(&dossier.kenh_thuc_hien),
        received_at: Timestamp::from_portal(&dossier.ngay_tiep_nhan),
    }
}

/// Still being worked on, and its appointed time is close or past.
fn is_near(dossier: &Dossier, near: Timestamp) -> bool {
    is_open(dossier) && Timestamp::from_portal(&dossier.ngay_hen_tra).is_some_and(|due| due <= near)
}

fn is_open(dossier: &Dossier) -> bool {
    Status::parse(&dossier.trang_thai_ho_so).is_some_and(|status| !status.is_terminal())
}
