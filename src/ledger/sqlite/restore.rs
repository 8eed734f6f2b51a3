//! What a ledger must know about itself when it is an older copy of what was.
//!
//! Since the copy was made, the portal may have taken newer packets and further steps, and the source
//! may have changed. Nothing of a source leaves until its feed has been read to its end again and
//! everything read is mapped: then what was overtaken is superseded and the newest is known. What
//! was on its way is looked up first. Steps cannot be looked up, so requests for a supplement that
//! may have been sent are held. Jobs would open again what they opened since, so they wait for a person.

use sqlx::sqlite::SqliteConnection;

use super::super::LedgerError;
use super::super::record::Aftermath;
use super::plan::outcome_unknown;
use super::{failed, json, json_one, run};
use crate::domain::failure::{Disposition, Failure};
use crate::domain::time::Timestamp;

const DOING: &str = "prepare a restored ledger";

const MARK_SOURCES: &str = "
    INSERT INTO restored (source, backup_at, restored_at)
    SELECT name, ?1, ?2 FROM (SELECT name FROM source UNION SELECT value FROM json_each(?3)) WHERE true
    ON CONFLICT (source) DO UPDATE SET backup_at = excluded.backup_at, restored_at = excluded.restored_at,
        read_at = NULL, over_at = NULL";

/// What the source's answers were tagged with belongs to another time.
const FORGET_TAGS: &str = "UPDATE source SET etag = NULL, etag_cursor = NULL";

/// Leases of processes that are gone.
const FORGET_OWNERS: &str = "DELETE FROM singleton";

const RETURN_STEPS: &str = "
    UPDATE step SET state = 'pending', changed_at = ?1, failure = ?2 WHERE state = 'leased'";

const HOLD_SUPPLEMENTS: &str = "
    UPDATE step SET state = 'held', changed_at = ?1, failure = ?2 WHERE state = 'pending' AND trang_thai = '5'";

/// As [`super::closed`] does it, for all of them.
const WITHDRAW_OF_CLOSED: &str = "
    UPDATE step SET state = 'withdrawn', changed_at = ?1
    WHERE state = 'pending'
      AND dossier_id IN (SELECT id FROM dossier WHERE packet_state = 'none' AND steps_pending > 0)";

const FREE_STEP_LANES: &str = "
    UPDATE dossier SET lane_token = NULL, steps_lease_until = NULL WHERE steps_lease_until IS NOT NULL";

const RECOUNT: &str = "
    UPDATE dossier SET steps_pending = (SELECT count(*) FROM step AS s WHERE s.dossier_id = dossier.id
                                        AND s.state IN ('pending', 'leased'))
    WHERE steps_pending > 0";

/// At most one of a dossier may be out: a packet that was ready behind one that was out waits until
/// that one is known.
const DOUBT_LEASED: &str = "
    UPDATE entry SET state = 'unconfirmed', changed_at = ?1, due_at = ?1, lease_token = NULL,
        lease_expires_at = NULL, failure = ?2, failure_code = ?3
    WHERE state = 'leased'";

const DOUBT_READY: &str = "
    UPDATE entry SET state = 'unconfirmed', changed_at = ?1, due_at = ?1, failure = ?2, failure_code = ?3
    WHERE state = 'ready'
      AND NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = entry.dossier_id AND o.state = 'unconfirmed')";

const TAKE_LANES: &str = "
    UPDATE dossier SET acked_packet_hash = NULL, lane_token = coalesce(lane_token, id)
    WHERE id IN (SELECT dossier_id FROM entry WHERE state = 'unconfirmed')";

const PAUSE_JOBS: &str = "
    UPDATE job SET state = 'paused', changed_at = ?1, progress_at = ?1,
        note = 'the ledger was restored, and what this job sent since the backup is not in it; `hoso job resume '
            || id || '` sends that again, too'
    WHERE state IN ('canary', 'running')";

const PROMISE: &str = "
    INSERT INTO quota_promise (window, until) VALUES (?1, ?2)
    ON CONFLICT (window) DO UPDATE SET until = max(until, excluded.until)";

/// Marks everything that the portal may know better. `sources` are those that are configured: one of
/// them may be younger than the backup. `promises` are those of the ledger that this
/// one replaces: the quota that was used since the backup.
pub(super) async fn after_restore(
    conn: &mut SqliteConnection,
    now: Timestamp,
    backup_at: Timestamp,
    sources: &[String],
    promises: &[(String, Timestamp)],
) -> Result<Aftermath, LedgerError> {
    let at = now.millis();
    let mut after = Aftermath::default();
    let query = sqlx::query(MARK_SOURCES).bind(backup_at.millis()).bind(at).bind(json(sources));
    after.sources = run(conn, DOING, query).await?;
    run(conn, DOING, sqlx::query(FORGET_TAGS)).await?;
    run(conn, DOING, sqlx::query(FORGET_OWNERS)).await?;
    let doubt = json_one(&outcome_unknown());
    run(conn, DOING, sqlx::query(RETURN_STEPS).bind(at).bind(doubt.clone())).await?;
    // Also where `push.steps_on_unknown_status_5` says otherwise: that is about one lost answer, this
    // about everything that was sent since the backup.
    let query = sqlx::query(HOLD_SUPPLEMENTS).bind(at).bind(doubt);
    after.steps_held = run(conn, DOING, query).await?;
    run(conn, DOING, sqlx::query(WITHDRAW_OF_CLOSED).bind(at)).await?;
    run(conn, DOING, sqlx::query(FREE_STEP_LANES)).await?;
    run(conn, DOING, sqlx::query(RECOUNT)).await?;
    let failure = Failure::new(
        "push.restored",
        Disposition::Ambiguous,
        "the ledger is a restored backup; this may have been sent since it was made",
    );
    for statement in [DOUBT_LEASED, DOUBT_READY] {
        let query =
            sqlx::query(statement).bind(at).bind(json_one(&failure)).bind(failure.code.clone());
        after.to_look_up += run(conn, DOING, query).await?;
    }
    run(conn, DOING, sqlx::query(TAKE_LANES)).await?;
    after.jobs_paused = run(conn, DOING, sqlx::query(PAUSE_JOBS).bind(at)).await?;
    for (window, until) in promises {
        let query = sqlx::query(PROMISE).bind(window.clone()).bind(until.millis());
        run(conn, DOING, query).await?;
    }
    Ok(after)
}

const READ_TO_ITS_END: &str =
    "UPDATE restored SET read_at = coalesce(read_at, ?1) WHERE source = ?2 AND over_at IS NULL";

/// The source has been read to its end again.
pub(super) async fn read_to_its_end(
    conn: &mut SqliteConnection,
    now: Timestamp,
    source: &str,
) -> Result<(), LedgerError> {
    let query = sqlx::query(READ_TO_ITS_END).bind(now.millis()).bind(source.to_owned());
    run(conn, DOING, query).await.map(|_| ())
}

const RESUME: &str = "
    UPDATE restored SET over_at = ?1
    WHERE over_at IS NULL AND read_at IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
                      WHERE e.state = 'received' AND d.source = restored.source)";

/// Sources of which everything that was read again is mapped: sending goes on. Returns how many.
pub(super) async fn resume(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<u64, LedgerError> {
    run(conn, DOING, sqlx::query(RESUME).bind(now.millis())).await
}

const STATE: &str = "SELECT over_at IS NULL, restored_at FROM restored WHERE source = ?1";

/// What a restore means for one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Restored {
    /// Its feed is being read again.
    pub(super) rereading: bool,
    pub(super) at: Timestamp,
}

pub(super) async fn state_of(
    conn: &mut SqliteConnection,
    source: &str,
) -> Result<Option<Restored>, LedgerError> {
    let row: Option<(bool, i64)> = sqlx::query_as(STATE)
        .bind(source.to_owned())
        .fetch_optional(conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    Ok(row.map(|(rereading, at)| Restored { rereading, at: Timestamp::from_millis(at) }))
}

/// Every statement of this file that runs in service; a test prepares them and looks at their plans.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[READ_TO_ITS_END, RESUME, STATE];

/// Once in the life of a restored file, before anybody works with it.
#[cfg(test)]
pub(super) const STATEMENTS_OF_THE_RESTORE: &[&str] = &[
    MARK_SOURCES,
    FORGET_TAGS,
    FORGET_OWNERS,
    RETURN_STEPS,
    HOLD_SUPPLEMENTS,
    WITHDRAW_OF_CLOSED,
    FREE_STEP_LANES,
    RECOUNT,
    DOUBT_LEASED,
    DOUBT_READY,
    TAKE_LANES,
    PAUSE_JOBS,
    PROMISE,
];
