//! `map_once`: stored revisions become packets and steps, or say why not.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Context, VerbError};
use crate::domain::codes::DossierCode;
use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::domain::dossier::Dossier;
use crate::domain::priority::Priority;
use crate::domain::status::Status;
use crate::domain::step::{Step, identify};
use crate::domain::time::Timestamp;
use crate::ledger::record::{MapCounts, MapOutcome, MappedEntry, MappedStep, ToMap, ValidPacket};
use crate::mapping::Mapping;

/// What one pass mapped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MapReport {
    pub mapped: u64,
    #[serde(flatten)]
    pub counts: MapCounts,
}

/// Maps up to `settings.map_limit` received revisions, the oldest of each dossier first.
pub async fn map_once(context: &Context, mapping: &Arc<Mapping>) -> Result<MapReport, VerbError> {
    let waiting = context.ledger.to_map(context.settings.map_limit).await?;
    if waiting.is_empty() {
        return Ok(MapReport::default());
    }
    let now = context.clock.now();
    let near = now + Duration::from_millis(context.settings.deadline_near_ms);
    let count = waiting.len() as u64;
    let mapping = Arc::clone(mapping);
    // Pure computation of some milliseconds: not on a thread that drives sockets.
    let mapped = tokio::task::spawn_blocking(move || {
        waiting.iter().map(|revision| map_revision(&mapping, revision, near)).collect::<Vec<_>>()
    })
    .await?;
    let counts = context.ledger.record_mapped(now, &mapped).await?;
    Ok(MapReport { mapped: count, counts })
}

/// What mapping says of one stored revision.
pub fn map_revision(mapping: &Mapping, revision: &ToMap, near: Timestamp) -> MappedEntry {
    let outcome = if revision.deleted {
        MapOutcome::NotOurs { rule: "source.deleted" }
    } else if revision.ministry {
        MapOutcome::NotOurs { rule: "source.ministry" }
    } else {
        map_document(mapping, revision, near)
    };
    MappedEntry {
        entry_id: revision.entry_id,
        dossier_id: revision.dossier_id,
        mapping_version: mapping.version().to_owned(),
        outcome,
    }
}

fn map_document(mapping: &Mapping, revision: &ToMap, near: Timestamp) -> MapOutcome {
    let mapped = mapping.map(&revision.document);
    let Some(dossier) = mapped.dossier else {
        return MapOutcome::Quarantined { diagnostics: mapped.diagnostics };
    };
    if dossier.ma_ho_so != revision.ma_ho_so {
        let mut diagnostics = mapped.diagnostics;
        diagnostics.push(Diagnostic {
            rule: "mapping.other_dossier".to_owned(),
            severity: Severity::Error,
            source_path: "HoSo".to_owned(),
            position: None,
            target: "MaHoSo".to_owned(),
            expected: "the code under which the source gave the dossier".to_owned(),
            found: "another code".to_owned(),
        });
        return MapOutcome::Quarantined { diagnostics };
    }
    let packet = canonical(&dossier);
    MapOutcome::Valid(ValidPacket {
        packet_hash: *blake3::hash(packet.as_bytes()).as_bytes(),
        packet,
        filed_at_portal: dossier.noi_nop_ho_so == "1",
        priority: is_near(&dossier, near).then_some(Priority::DeadlineNear),
        appointed_at: Timestamp::from_portal(&dossier.ngay_hen_tra),
        finished: !is_open(&dossier),
        ma_don_vi: DossierCode::parse(&dossier.ma_ho_so)
            .map(|code| code.agency.as_str().to_owned()),
        ma_tthc: dossier.ma_tthc,
        steps: identify(mapped.steps).into_iter().map(mapped_step).collect(),
        warnings: mapped.diagnostics,
    })
}

/// The bytes that are sent, hashed and kept: JSON with the fields in the contract's order.
fn canonical(record: &impl Serialize) -> String {
    // Unwrap safety: records hold only strings, numbers, booleans and lists of them.
    serde_json::to_string(record).expect("a contract record serialises")
}

fn mapped_step((identity, step): (crate::domain::step::StepIdentity, Step)) -> MappedStep {
    let body = canonical(&step);
    MappedStep { identity, hash: *blake3::hash(body.as_bytes()).as_bytes(), body }
}

/// Still being worked on, and its appointed time is close or past.
fn is_near(dossier: &Dossier, near: Timestamp) -> bool {
    is_open(dossier) && Timestamp::from_portal(&dossier.ngay_hen_tra).is_some_and(|due| due <= near)
}

fn is_open(dossier: &Dossier) -> bool {
    Status::parse(&dossier.trang_thai_ho_so).is_some_and(|status| !status.is_terminal())
}
