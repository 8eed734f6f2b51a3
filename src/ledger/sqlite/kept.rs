//! Bodies of one dossier as they are kept: what the source gave, what was mapped, what steps say.

use sqlx::sqlite::SqlitePool;

use super::super::LedgerError;
use super::super::body::{Bodies, Row};
use super::super::view::{KeptBodies, KeptStep};
use super::view::{required_time, time};
use super::{column, failed};

const DOING: &str = "read what is kept of a dossier";

/// The revision asked for, or the newest; its last entry, and what is left of their bodies.
const KEPT: &str = "
    SELECT r.id AS revision_id, r.received_at, o.body AS document, e.id AS entry_id, e.mapped_at, e.mapping_version,
           p.stored_at, p.body AS packet, d.acked_entry_id
    FROM dossier AS d JOIN revision AS r ON r.dossier_id = d.id
    LEFT JOIN document AS o ON o.revision_id = r.id
    LEFT JOIN entry AS e ON e.id = (SELECT max(k.id) FROM entry AS k WHERE k.dossier_id = d.id AND k.revision_id = r.id
                                    AND (?3 IS NULL OR k.id = ?3))
    LEFT JOIN packet AS p ON p.entry_id = e.id
    WHERE d.id = ?1 AND r.id = coalesce(?2, d.newest_revision_id)";

const STEPS: &str = "
    SELECT s.thoi_diem, s.trang_thai, s.ordinal, s.state, s.body_id, s.body_line, b.body
    FROM step AS s LEFT JOIN step_body AS b ON b.id = s.body_id
    WHERE s.dossier_id = ?1 ORDER BY s.thoi_diem, s.place, s.trang_thai, s.ordinal";

pub(super) async fn kept(
    readers: &SqlitePool,
    stored: &Bodies,
    dossier_id: i64,
    revision_id: Option<i64>,
    entry_id: Option<i64>,
) -> Result<Option<KeptBodies>, LedgerError> {
    let mut snapshot = readers.begin().await.map_err(|error| failed(DOING, error))?;
    let row = sqlx::query(KEPT)
        .bind(dossier_id)
        .bind(revision_id)
        .bind(entry_id)
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(|error| failed(DOING, error))?;
    let Some(row) = row else { return Ok(None) };
    let revision_id: i64 = column(&row, "revision", "revision_id", dossier_id)?;
    let entry_id: Option<i64> = column(&row, "entry", "entry_id", dossier_id)?;
    let document: Option<Vec<u8>> = column(&row, "document", "document", revision_id)?;
    let packet: Option<Vec<u8>> = column(&row, "packet", "packet", revision_id)?;
    let mut kept = KeptBodies {
        revision_id,
        received_at: required_time(&row, "revision", "received_at", revision_id)?,
        document: document
            .map(|body| stored.read(Row::of("document", revision_id), &body))
            .transpose()?,
        entry_id,
        mapped_at: time(&row, "entry", "mapped_at", revision_id)?,
        mapping_version: column(&row, "entry", "mapping_version", revision_id)?,
        packet: match (packet, entry_id) {
            (Some(body), Some(id)) => Some(stored.read(Row::of("packet", id), &body)?),
            _ => None,
        },
        packet_stored_at: time(&row, "packet", "stored_at", revision_id)?,
        acked_entry_id: column(&row, "dossier", "acked_entry_id", dossier_id)?,
        steps: Vec::new(),
    };
    let rows = sqlx::query(STEPS)
        .bind(dossier_id)
        .fetch_all(&mut *snapshot)
        .await
        .map_err(|error| failed(DOING, error))?;
    let mut opened: Option<(i64, Vec<String>)> = None;
    for row in &rows {
        let id: i64 = column(row, "step", "body_id", dossier_id)?;
        let body: Option<Vec<u8>> = column(row, "step_body", "body", id)?;
        let body = match body {
            None => None,
            Some(sealed) => {
                if opened.as_ref().is_none_or(|(known, _)| *known != id) {
                    let text = stored.read(Row::of("step_body", id), &sealed)?;
                    opened = Some((id, text.lines().map(str::to_owned).collect()));
                }
                let line: u32 = column(row, "step", "body_line", dossier_id)?;
                opened.as_ref().and_then(|(_, lines)| lines.get(line as usize).cloned())
            }
        };
        kept.steps.push(KeptStep {
            thoi_diem_xu_ly: column(row, "step", "thoi_diem", 0)?,
            trang_thai: column(row, "step", "trang_thai", 0)?,
            ordinal: column(row, "step", "ordinal", 0)?,
            state: column(row, "step", "state", 0)?,
            body,
        });
    }
    Ok(Some(kept))
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[KEPT, STEPS];
