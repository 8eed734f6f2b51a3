//! Legal holds: dossiers of which retention takes nothing.

use sqlx::sqlite::SqliteConnection;

use super::super::LedgerError;
use super::super::record::{AuditRecord, HoldOutcome};
use super::audit::insert_audit;
use super::{failed, json, run};
use crate::domain::time::Timestamp;

const DOSSIERS: &str = "
    SELECT d.id, EXISTS (SELECT 1 FROM legal_hold AS h WHERE h.dossier_id = d.id AND h.released_at IS NULL)
    FROM dossier AS d WHERE d.ma_ho_so = ?1 AND (?2 IS NULL OR d.source = ?2)";

const PLACE: &str = "
    INSERT INTO legal_hold (dossier_id, placed_at, placed_by, reason)
    SELECT value, ?1, ?2, ?3 FROM json_each(?4)";

const RELEASE: &str = "
    UPDATE legal_hold SET released_at = ?1, released_by = ?2, release_reason = ?3
    WHERE dossier_id IN (SELECT value FROM json_each(?4)) AND released_at IS NULL";

/// Holds (or, with `hold` false, lets go) the dossiers of this code, of one source or of all.
pub(super) async fn set_hold(
    conn: &mut SqliteConnection,
    now: Timestamp,
    source: Option<&str>,
    ma_ho_so: &str,
    hold: bool,
    audit: &AuditRecord,
) -> Result<HoldOutcome, LedgerError> {
    let doing = "set a legal hold";
    let found: Vec<(i64, bool)> = sqlx::query_as(DOSSIERS)
        .bind(ma_ho_so.to_owned())
        .bind(source.map(str::to_owned))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let concerned: Vec<i64> =
        found.iter().filter(|(_, held)| *held != hold).map(|(id, _)| *id).collect();
    let outcome = match (found.is_empty(), concerned.is_empty(), hold) {
        (true, ..) => HoldOutcome::UnknownDossier,
        (_, true, true) => HoldOutcome::AlreadyHeld,
        (_, true, false) => HoldOutcome::NotHeld,
        (_, false, true) => HoldOutcome::Placed,
        (_, false, false) => HoldOutcome::Released,
    };
    if !concerned.is_empty() {
        let query = sqlx::query(if hold { PLACE } else { RELEASE })
            .bind(now.millis())
            .bind(audit.actor.clone())
            .bind(audit.reason.clone())
            .bind(json(&concerned));
        run(conn, doing, query).await?;
    }
    let result = match outcome {
        HoldOutcome::Placed => "held",
        HoldOutcome::AlreadyHeld => "was held already",
        HoldOutcome::Released => "released",
        HoldOutcome::NotHeld => "was not held",
        HoldOutcome::UnknownDossier => "unknown dossier",
    };
    insert_audit(conn, now, audit, result).await?;
    Ok(outcome)
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[DOSSIERS, PLACE, RELEASE];
