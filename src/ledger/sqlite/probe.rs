//! The end of a pause that the gateway began by itself: one dossier goes first, and what becomes of it
//! decides for the others.

use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::super::LedgerError;
use super::super::record::{AuditRecord, SendingPause};
use super::audit::insert_audit;
use super::{column, failed, run};
use crate::domain::time::Timestamp;

const DOING: &str = "probe a held scope";
/// A scope that stays refused is probed once a day.
const LONGEST_MS: i64 = 24 * 3600 * 1000;

/// What a probe says.
pub(super) enum Probed {
    /// The pause ends, because of this.
    Over(&'static str),
    Holds,
}

const PROBE: &str = "
    SELECT e.id, e.state, e.line, d.ma_ho_so FROM sending_pause AS p JOIN entry AS e ON e.id = p.probe_entry
    JOIN dossier AS d ON d.id = e.dossier_id
    WHERE p.scope = ?1 AND p.value = ?2 AND p.ended_at IS NULL";

/// The citizen who waits for it soonest.
const NEXT: &str = "
    SELECT e.id FROM entry AS e INDEXED BY entry_set_aside JOIN dossier AS d ON d.id = e.dossier_id
    WHERE e.state = 'ready' AND e.line = 2 AND d.lane_token IS NULL
      AND ((?1 = 'procedure' AND d.ma_tthc = ?2) OR (?1 = 'agency' AND d.ma_don_vi = ?2))
    ORDER BY e.appointed_at, e.id LIMIT 1";

const CHOOSE: &str = "
    UPDATE sending_pause SET probe_entry = ?3 WHERE scope = ?1 AND value = ?2 AND ended_at IS NULL";

const LET_IN: &str = "UPDATE entry SET line = 1 WHERE id = ?1 AND state = 'ready'";

const PROLONG: &str = "
    UPDATE sending_pause SET until = ?3, probe_entry = NULL WHERE scope = ?1 AND value = ?2 AND ended_at IS NULL";

/// One look at a pause whose time is over. While its probe is under way everything else stays aside.
pub(super) async fn probe(
    conn: &mut SqliteConnection,
    now: Timestamp,
    pause: &SendingPause,
) -> Result<Probed, LedgerError> {
    let row = sqlx::query(PROBE)
        .bind(pause.scope.name())
        .bind(pause.scope.value().to_owned())
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    if let Some(row) = &row {
        let entry: i64 = column(row, "entry", "id", 0)?;
        let state: String = column(row, "entry", "state", entry)?;
        match state.as_str() {
            "accepted" | "unchanged" | "presumed" => {
                return Ok(Probed::Over("one dossier went first, and the portal took it"));
            }
            "dead" => {
                prolong(conn, now, pause, row).await?;
                return Ok(Probed::Holds);
            }
            "leased" | "unconfirmed" => return Ok(Probed::Holds),
            "ready" => {
                if column::<i64>(row, "entry", "line", entry)? != 1 {
                    run(conn, DOING, sqlx::query(LET_IN).bind(entry)).await?;
                }
                return Ok(Probed::Holds);
            }
            // Mapped anew or overtaken: another one goes.
            _ => {}
        }
    }
    let next: Option<i64> = sqlx::query_scalar(NEXT)
        .bind(pause.scope.name())
        .bind(pause.scope.value().to_owned())
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    let Some(next) = next else {
        return Ok(Probed::Over("the time of the pause is over, and nothing waits behind it"));
    };
    let query = sqlx::query(CHOOSE)
        .bind(pause.scope.name())
        .bind(pause.scope.value().to_owned())
        .bind(next);
    run(conn, DOING, query).await?;
    run(conn, DOING, sqlx::query(LET_IN).bind(next)).await?;
    Ok(Probed::Holds)
}

/// Twice as long as it has been so far.
async fn prolong(
    conn: &mut SqliteConnection,
    now: Timestamp,
    pause: &SendingPause,
    probe: &SqliteRow,
) -> Result<(), LedgerError> {
    let so_far = now.millis() - pause.began_at.millis();
    let until = Timestamp::from_millis(now.millis() + (so_far * 2).clamp(1, LONGEST_MS));
    let query = sqlx::query(PROLONG)
        .bind(pause.scope.name())
        .bind(pause.scope.value().to_owned())
        .bind(until.millis());
    run(conn, DOING, query).await?;
    let ma_ho_so: String = column(probe, "dossier", "ma_ho_so", 0)?;
    let reason = format!("{ma_ho_so} went first, and the portal refused it");
    let audit = AuditRecord::new(&pause.actor, "portal pause", &pause.scope.to_string(), &reason);
    insert_audit(conn, now, &audit, &format!("paused until {until}")).await
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[PROBE, NEXT, CHOOSE, LET_IN, PROLONG];
