//! Steps of a dossier that the source has closed (deleted, or gone on with under another code).
//!
//! Closing withdraws what still waits, but not what is out in a call: its outcome decides. A step that
//! comes back from there unsent, unanswered or refused has nowhere to wait: nothing of a closed
//! dossier is sent, so it would be pending for ever. It is withdrawn with its siblings, and keeps what
//! is known of its call. If the source has the dossier again, mapping makes it pending again.

use sqlx::sqlite::SqliteConnection;

use super::super::LedgerError;
use super::{json, run};
use crate::domain::time::Timestamp;

/// Only a closed dossier has no packet at all and steps: mapping gives it both in one transaction.
const WITHDRAW: &str = "
    UPDATE step SET state = 'withdrawn', changed_at = ?1
    WHERE state = 'pending'
      AND dossier_id IN (SELECT d.id FROM json_each(?2) AS j CROSS JOIN dossier AS d ON d.id = j.value
                         WHERE d.packet_state = 'none')";

const RECOUNT: &str = "
    UPDATE dossier SET steps_failure = NULL, steps_retries = 0,
        steps_pending = (SELECT count(*) FROM step WHERE dossier_id = dossier.id AND state = 'leased')
    WHERE id IN (SELECT value FROM json_each(?1)) AND packet_state = 'none'";

/// Whoever makes steps of these dossiers pending without mapping asks this afterwards, in the same
/// transaction. Returns how many were withdrawn.
pub(super) async fn withdraw_what_came_back(
    conn: &mut SqliteConnection,
    now: Timestamp,
    dossiers: &[i64],
) -> Result<u64, LedgerError> {
    if dossiers.is_empty() {
        return Ok(0);
    }
    let doing = "withdraw steps of closed dossiers";
    let ids = json(dossiers);
    let query = sqlx::query(WITHDRAW).bind(now.millis()).bind(ids.clone());
    let withdrawn = run(conn, doing, query).await?;
    if withdrawn > 0 {
        run(conn, doing, sqlx::query(RECOUNT).bind(ids)).await?;
    }
    Ok(withdrawn)
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[WITHDRAW, RECOUNT];
