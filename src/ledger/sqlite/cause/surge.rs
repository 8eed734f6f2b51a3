//! What comes in surges: counting, and holding a scope.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::super::LedgerError;
use super::super::super::cause::Surge;
use super::super::super::record::{AuditRecord, PauseScope};
use super::super::view::{number, time};
use super::super::{column, failed, pause, run};
use crate::domain::time::Timestamp;

const DOING: &str = "look for surges";

/// Only what waits for a person now; what only fails is tried again by itself.
const RECENT: &str = "
    SELECT s.id, s.name, s.code, s.refusal, s.burst_at, p.ma_tthc, p.ma_don_vi, count(DISTINCT p.dossier_id) AS n
    FROM problem AS p INDEXED BY problem_recent JOIN signature AS s ON s.id = p.signature_id
    WHERE p.since >= ?1 AND p.kind IN ('quarantined', 'dead', 'held') AND p.since >= s.burst_from
    GROUP BY s.id, p.ma_tthc, p.ma_don_vi";

pub(super) async fn surges(
    readers: &SqlitePool,
    since: Timestamp,
    least: u32,
) -> Result<Vec<Surge>, LedgerError> {
    let rows = sqlx::query(RECENT)
        .bind(since.millis())
        .fetch_all(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    let mut surges: BTreeMap<i64, Surge> = BTreeMap::new();
    for row in &rows {
        let id: i64 = column(row, "signature", "id", 0)?;
        let surge = match surges.entry(id) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(Surge {
                name: column(row, "signature", "name", id)?,
                code: column(row, "signature", "code", id)?,
                refusal: column::<i64>(row, "signature", "refusal", id)? != 0,
                told_at: time(row, "signature", "burst_at", id)?,
                hits: Vec::new(),
            }),
        };
        surge.hits.push((
            column(row, "problem", "ma_tthc", id)?,
            column(row, "problem", "ma_don_vi", id)?,
            number(row, "problem", "n", id)?,
        ));
    }
    Ok(surges.into_values().filter(|surge| surge.dossiers() >= u64::from(least)).collect())
}

/// The same moment is not counted twice.
const TOLD: &str = "
    UPDATE signature SET burst_at = ?1, burst_from = ?1 + 1, burst_scope = ?2 WHERE name = ?3";

pub(super) async fn hold(
    conn: &mut SqliteConnection,
    now: Timestamp,
    name: &str,
    scope: Option<&PauseScope>,
    until: Timestamp,
    audit: &AuditRecord,
) -> Result<bool, LedgerError> {
    let open = pause::open(conn).await?;
    let free = scope.filter(|scope| {
        !open.iter().any(|pause| pause.scope == **scope || pause.scope == PauseScope::All)
    });
    let query = sqlx::query(TOLD)
        .bind(now.millis())
        .bind(scope.map(ToString::to_string))
        .bind(name.to_owned());
    run(conn, DOING, query).await?;
    let Some(scope) = free else {
        return Ok(false);
    };
    pause::pause(conn, now, scope, Some(until), audit).await?;
    pause::because_of(conn, scope, name).await?;
    Ok(true)
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[RECENT, TOLD];
