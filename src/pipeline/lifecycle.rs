//! The mapping in force: found at the start, switched by a person, and what a switch brings back.

use std::sync::Arc;

use serde::Serialize;

use super::map::{aside, catalogue_judge, refuses};
use super::{Context, VerbError};
use crate::ledger::mappings::{AppliedMapping, NewMapping};
use crate::ledger::record::AuditRecord;
use crate::ledger::{Ledger, LedgerError};
use crate::mapping::{FileErrors, Mapping, MappingFiles, Settings};

/// Refused dossiers that one pass looks at again.
const SLICE: u32 = 512;

/// Why an applied mapping cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It was sound when it was applied, by another version of the program or under other settings.
    #[error("the mapping in force (number {number}, {version}) cannot be used any more: {errors}")]
    Files { number: i64, version: String, errors: FileErrors },
    #[error("the mapping in force (number {number}) cannot be read back")]
    Unreadable { number: i64 },
}

/// The mapping that was applied last, with its number.
pub async fn in_force(
    ledger: &dyn Ledger,
    settings: &Settings,
) -> Result<Option<(i64, Mapping)>, Unusable> {
    let applied = ledger.mapping_in_force().await?;
    applied.map(|applied| Ok((applied.id, read_back(&applied, settings)?))).transpose()
}

/// An applied mapping, from its texts.
pub fn read_back(applied: &AppliedMapping, settings: &Settings) -> Result<Mapping, Unusable> {
    let number = applied.id;
    let files: MappingFiles =
        serde_json::from_str(&applied.files).map_err(|_| Unusable::Unreadable { number })?;
    Mapping::from_files(&files, settings).map_err(|errors| Unusable::Files {
        number,
        version: applied.version.clone(),
        errors,
    })
}

/// Puts a mapping in force, if number `seen` still is: one insertion, so that a crash leaves the old one
/// or the new one. `former` is what was in force by the configuration, if that was so.
pub async fn apply(
    context: &Context,
    seen: i64,
    former: Option<&Mapping>,
    next: &Mapping,
    audit: &AuditRecord,
) -> Result<i64, VerbError> {
    let (former, next, now) = (former.map(texts), texts(next), context.clock.now());
    let work = context.ledger.apply_mapping(now, seen, former.as_ref(), &next, audit);
    Ok(super::audit::on_record(context, audit, work).await?)
}

fn texts(mapping: &Mapping) -> NewMapping {
    NewMapping {
        version: mapping.version().to_owned(),
        hash: mapping.files().hash(),
        // Unwrap safety: texts always serialise.
        files: serde_json::to_string(mapping.files()).expect("texts serialise"),
    }
}

/// What became of refused dossiers under another mapping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reconsidered {
    pub looked_at: u64,
    pub released: u64,
}

/// Looks at a slice of the dossiers that a mapping of another version refused. Those that this one
/// takes, or refuses for other reasons, go back on their way; the others stay where they are,
/// untouched, and are not looked at again.
pub async fn reconsider_once(
    context: &Context,
    mapping: &Arc<Mapping>,
) -> Result<Reconsidered, VerbError> {
    context.alive();
    let refused = context.ledger.refused_by_others(mapping.version(), SLICE).await?;
    if refused.is_empty() {
        return Ok(Reconsidered::default());
    }
    let now = context.clock.now();
    let catalogue = catalogue_judge(context).await?;
    let looked_at = refused.len() as u64;
    let judging = Arc::clone(mapping);
    let (kept, released) = aside(move || {
        let (mut kept, mut released) = (Vec::new(), Vec::new());
        for one in refused {
            let entry_id = one.revision.entry_id;
            if refuses(&judging, &catalogue, one.revision)
                .is_some_and(|found| found == one.diagnostics)
            {
                kept.push(entry_id);
            } else {
                released.push(entry_id);
            }
        }
        (kept, released)
    })
    .await?;
    let released = context.ledger.reconsidered(now, mapping.version(), &released, &kept).await?;
    if released > 0 {
        tracing::info!(
            released,
            looked_at,
            "refused dossiers go back on their way: the mapping is another one"
        );
    }
    Ok(Reconsidered { looked_at, released })
}
