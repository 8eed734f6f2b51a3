//! Expired leases, old cursors, and the watchdog's figures.

use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::LedgerError;
use super::super::record::{UpkeepCounts, UpkeepPolicy};
use super::attempt::AttemptRow;
use super::plan::outcome_unknown;
use super::{attempt, call, failed, json_one, run};
use crate::domain::failure::{Disposition, Failure};
use crate::domain::time::Timestamp;
use crate::sabotage::{self, Defect};

/// What a portal that may or may not have taken a packet holds is not known.
const DOUBT_PACKETS: &str = "
    UPDATE dossier SET acked_packet_hash = NULL, presumed_entry_id = NULL
    WHERE id IN (SELECT dossier_id FROM entry WHERE state = 'leased' AND lease_expires_at <= ?1)";

/// Rows that one pass raises to another class.
const RAISES_MAX: i64 = 4096;

/// Nobody knows whether the request left, so the portal is asked; never sent again blindly.
const EXPIRE_ENTRIES: &str = "
    UPDATE entry SET state = 'unconfirmed', changed_at = ?1, due_at = ?1, retries = retries + 1,
        lease_token = NULL, lease_expires_at = NULL, failure = ?2, failure_code = ?3
    WHERE state = 'leased' AND lease_expires_at <= ?1";

/// Of a deliberate bug, as is the next.
const FREE_LANES: &str = "
    UPDATE dossier SET lane_token = NULL
    WHERE id IN (SELECT dossier_id FROM entry WHERE state = 'unconfirmed' AND failure_code = 'push.lease_expired')";

const BELIEVE_THEM_UNSENT: &str = "UPDATE entry SET state = 'ready' WHERE state = 'unconfirmed' AND failure_code = 'push.lease_expired'";

const EXPIRED: &str = "
    SELECT dossier_id, id, attempt FROM entry WHERE state = 'leased' AND lease_expires_at <= ?1";

const HOLD_EXPIRED_SUPPLEMENTS: &str = "
    UPDATE step SET state = 'held', changed_at = ?1, failure = ?2
    WHERE state = 'leased' AND trang_thai = '5'
      AND dossier_id IN (SELECT id FROM dossier WHERE steps_lease_until <= ?1)";

const RETURN_EXPIRED_STEPS: &str = "
    UPDATE step SET state = 'pending', changed_at = ?1, failure = ?2
    WHERE state = 'leased' AND dossier_id IN (SELECT id FROM dossier WHERE steps_lease_until <= ?1)";

const EXPIRED_STEPS: &str = "
    SELECT d.id, max(s.attempts),
           group_concat(s.thoi_diem || '/' || s.trang_thai || iif(s.ordinal > 0, '#' || (s.ordinal + 1), ''), ' ')
    FROM dossier AS d INDEXED BY dossier_steps_leased JOIN step AS s ON s.dossier_id = d.id AND s.state = 'leased'
    WHERE d.steps_lease_until <= ?1 GROUP BY d.id";

const EXPIRE_STEP_LANES: &str = "
    UPDATE dossier SET lane_token = NULL, steps_lease_until = NULL, steps_retries = steps_retries + 1,
        steps_due_at = ?1, steps_failure = ?2,
        steps_pending = (SELECT count(*) FROM step WHERE dossier_id = dossier.id AND state = 'pending')
    WHERE steps_lease_until <= ?1";

/// A time further ahead than any honest one was written before the wall clock was set back; nothing
/// waits for the clock to come there again. `?1` is now, `?2` the furthest honest time.
const RECALL_ENTRIES: &str = "
    UPDATE entry SET due_at = ?1
    WHERE state = 'ready' AND priority IN (0, 1, 2, 3, 4) AND due_at > ?2";

const RECALL_UNCONFIRMED: &str = "
    UPDATE entry SET due_at = ?1
    WHERE state = 'unconfirmed' AND priority IN (0, 1, 2, 3, 4) AND due_at > ?2";

const RECALL_STEPS: &str = "
    UPDATE dossier SET steps_due_at = ?1
    WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL
      AND priority IN (0, 1, 2, 3, 4) AND steps_due_at > ?2";

/// A lease is not ended but cut to its full length: its call may be out.
const SHORTEN_LEASES: &str =
    "UPDATE entry SET lease_expires_at = ?1 WHERE state = 'leased' AND lease_expires_at > ?1";

const SHORTEN_STEP_LEASES: &str =
    "UPDATE dossier SET steps_lease_until = ?1 WHERE steps_lease_until > ?1";

const SHORTEN_OWNERSHIP: &str = "UPDATE singleton SET expires_at = ?1 WHERE expires_at > ?1";

/// The newest cursor before the cut stays: it is where the overlap begins.
const DROP_CURSORS: &str = "
    DELETE FROM cursor WHERE newest_changed_at < (
        SELECT max(older.newest_changed_at) FROM cursor AS older
        WHERE older.source = cursor.source AND older.newest_changed_at
              <= (SELECT max(min(newest_changed_at, recorded_at)) FROM (
                      SELECT newest.newest_changed_at, newest.recorded_at FROM cursor AS newest
                      WHERE newest.source = cursor.source ORDER BY newest.newest_changed_at DESC LIMIT 64)) - ?1)";

/// Runnable rows that nobody took in time; what a person has paused is not runnable. Read beside the
/// writer; counting ends at ten thousand of each kind, because it is done with every pass.
const STUCK: &str = "
    SELECT (SELECT count(*) FROM (SELECT 1 FROM entry WHERE state = 'received' AND changed_at <= ?1 LIMIT 10000))
         + CASE WHEN EXISTS (SELECT 1 FROM sending_pause WHERE ended_at IS NULL AND scope = 'all') THEN 0 ELSE
           (SELECT count(*) FROM (SELECT 1 FROM entry JOIN dossier ON dossier.id = entry.dossier_id
            WHERE entry.state = 'ready' AND entry.line = 0 AND entry.priority IN (0, 1, 2, 3, 4)
              AND entry.due_at <= ?1 AND dossier.lane_token IS NULL
              AND NOT EXISTS (SELECT 1 FROM restored AS x WHERE x.source = dossier.source AND x.over_at IS NULL)
            LIMIT 10000))
         + (SELECT count(*) FROM (SELECT 1 FROM entry JOIN dossier ON dossier.id = entry.dossier_id
            WHERE entry.state = 'ready' AND entry.line = 1 AND entry.priority IN (0, 1, 2, 3, 4)
              AND entry.due_at <= ?1 AND dossier.lane_token IS NULL
              AND NOT EXISTS (SELECT 1 FROM restored AS x WHERE x.source = dossier.source AND x.over_at IS NULL)
            LIMIT 10000))
         + (SELECT count(*) FROM (SELECT 1 FROM entry JOIN dossier ON dossier.id = entry.dossier_id
            WHERE entry.state = 'unconfirmed' AND entry.due_at <= ?1
              AND NOT EXISTS (SELECT 1 FROM restored AS x WHERE x.source = dossier.source AND x.over_at IS NULL)
            LIMIT 10000))
         + (SELECT count(*) FROM (SELECT 1 FROM entry WHERE state = 'awaiting' AND priority <= 2 AND due_at <= ?1
            LIMIT 10000))
         + (SELECT count(*) FROM (SELECT 1 FROM dossier
            WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL
              AND steps_line = 0 AND priority IN (0, 1, 2, 3, 4) AND steps_due_at <= ?1 AND steps_due_at > 0
              AND NOT EXISTS (SELECT 1 FROM restored AS x WHERE x.source = dossier.source AND x.over_at IS NULL)
            LIMIT 10000))
         + (SELECT count(*) FROM (SELECT 1 FROM dossier
            WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL
              AND steps_line = 1 AND priority IN (0, 1, 2, 3, 4) AND steps_due_at <= ?1 AND steps_due_at > 0
              AND NOT EXISTS (SELECT 1 FROM restored AS x WHERE x.source = dossier.source AND x.over_at IS NULL)
            LIMIT 10000)) END";

/// What waits and whose appointed time has come near goes with those who are near already.
const RAISE_ENTRIES: &str = "
    UPDATE entry SET priority = 2 WHERE id IN (
        SELECT id FROM entry WHERE state = 'ready' AND priority > 2 AND finished = 0 AND appointed_at <= ?1
        ORDER BY appointed_at LIMIT +?2)";

const RAISE_STEPS: &str = "
    UPDATE dossier SET priority = 2 WHERE id IN (
        SELECT id FROM dossier WHERE steps_pending > 0 AND packet_state = 'accepted' AND priority > 2
          AND finished = 0 AND appointed_at <= ?1
        ORDER BY appointed_at LIMIT +?2)";

pub(super) async fn upkeep(
    conn: &mut SqliteConnection,
    now: Timestamp,
    policy: &UpkeepPolicy,
) -> Result<UpkeepCounts, LedgerError> {
    let doing = "do upkeep";
    let at = now.millis();
    let mut counts = UpkeepCounts::default();

    let ahead = |ms: u64| at.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
    for statement in [RECALL_ENTRIES, RECALL_UNCONFIRMED, RECALL_STEPS] {
        let query = sqlx::query(statement).bind(at).bind(ahead(policy.wait_max_ms));
        counts.clock_set_back += run(conn, doing, query).await?;
    }
    for (statement, most_ms) in [
        (SHORTEN_LEASES, policy.lease_max_ms),
        (SHORTEN_STEP_LEASES, policy.lease_max_ms),
        (SHORTEN_OWNERSHIP, policy.owner_max_ms),
    ] {
        let query = sqlx::query(statement).bind(ahead(most_ms));
        counts.clock_set_back += run(conn, doing, query).await?;
    }

    let unknown = Failure::new(
        "push.lease_expired",
        Disposition::Ambiguous,
        "the call's outcome was never written: its process stopped or was too slow",
    );
    note_expired(conn, now, &unknown).await?;
    run(conn, doing, sqlx::query(DOUBT_PACKETS).bind(at)).await?;
    let query =
        sqlx::query(EXPIRE_ENTRIES).bind(at).bind(json_one(&unknown)).bind(unknown.code.clone());
    counts.leases_expired = run(conn, doing, query).await?;
    if sabotage::on(Defect::ExpiredIsReady) {
        run(conn, doing, sqlx::query(FREE_LANES)).await?;
        run(conn, doing, sqlx::query(BELIEVE_THEM_UNSENT)).await?;
    }

    let step_unknown = outcome_unknown();
    note_expired_steps(conn, now, &step_unknown).await?;
    if !policy.resend_unknown_supplement {
        let query = sqlx::query(HOLD_EXPIRED_SUPPLEMENTS).bind(at).bind(json_one(&step_unknown));
        counts.steps_held = run(conn, doing, query).await?;
    }
    let query = sqlx::query(RETURN_EXPIRED_STEPS).bind(at).bind(json_one(&step_unknown));
    run(conn, doing, query).await?;
    let query = sqlx::query(EXPIRE_STEP_LANES).bind(at).bind(json_one(&step_unknown));
    counts.step_leases_expired = run(conn, doing, query).await?;

    let near = (now + Duration::from_millis(policy.deadline_near_ms)).millis();
    for statement in [RAISE_ENTRIES, RAISE_STEPS] {
        let query = sqlx::query(statement).bind(near).bind(RAISES_MAX);
        counts.raised += run(conn, doing, query).await?;
    }

    let keep = i64::try_from(policy.cursor_retention_ms).unwrap_or(i64::MAX);
    run(conn, doing, sqlx::query(DROP_CURSORS).bind(keep)).await?;
    call::drop_slices(conn, now).await?;
    counts.sources_resumed = super::restore::resume(conn, now).await?;
    Ok(counts)
}

async fn note_expired(
    conn: &mut SqliteConnection,
    now: Timestamp,
    unknown: &Failure,
) -> Result<(), LedgerError> {
    let doing = "do upkeep";
    let expired: Vec<(i64, i64, u32)> = sqlx::query_as(EXPIRED)
        .bind(now.millis())
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let code = Some(unknown.code.as_str());
    let attempts: Vec<AttemptRow<'_>> = expired
        .into_iter()
        .map(|(dossier_id, entry_id, number)| {
            (dossier_id, Some(entry_id), None, "packet", Some(number), "unknown", code, None)
        })
        .collect();
    attempt::insert(conn, doing, now, &attempts).await
}

async fn note_expired_steps(
    conn: &mut SqliteConnection,
    now: Timestamp,
    unknown: &Failure,
) -> Result<(), LedgerError> {
    let doing = "do upkeep";
    let expired: Vec<(i64, u32, Option<String>)> = sqlx::query_as(EXPIRED_STEPS)
        .bind(now.millis())
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let code = Some(unknown.code.as_str());
    let attempts: Vec<AttemptRow<'_>> = expired
        .into_iter()
        .map(|(dossier_id, number, steps)| {
            (dossier_id, None, None, "steps", Some(number), "unknown", code, steps)
        })
        .collect();
    attempt::insert(conn, doing, now, &attempts).await
}

pub(super) async fn stuck(
    readers: &SqlitePool,
    now: Timestamp,
    policy: &UpkeepPolicy,
) -> Result<u64, LedgerError> {
    overdue(readers, now - Duration::from_millis(policy.watchdog_ms)).await
}

/// What could have gone at `before` and has not been taken yet.
pub(super) async fn overdue(readers: &SqlitePool, before: Timestamp) -> Result<u64, LedgerError> {
    let stuck: i64 = sqlx::query_scalar(STUCK)
        .bind(before.millis())
        .fetch_one(readers)
        .await
        .map_err(|error| failed("watch over waiting work", error))?;
    Ok(u64::try_from(stuck).unwrap_or(0))
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    RECALL_ENTRIES,
    RECALL_UNCONFIRMED,
    RECALL_STEPS,
    SHORTEN_LEASES,
    SHORTEN_STEP_LEASES,
    SHORTEN_OWNERSHIP,
    DOUBT_PACKETS,
    EXPIRE_ENTRIES,
    FREE_LANES,
    BELIEVE_THEM_UNSENT,
    EXPIRED,
    HOLD_EXPIRED_SUPPLEMENTS,
    RETURN_EXPIRED_STEPS,
    EXPIRED_STEPS,
    EXPIRE_STEP_LANES,
    DROP_CURSORS,
    STUCK,
    RAISE_ENTRIES,
    RAISE_STEPS,
];
