//! What operators and processes ask for: resync, retry, promised quota.

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::LedgerError;
use super::super::record::{AuditRecord, ResyncOutcome, RetryScope};
use super::audit::insert_audit;
use super::{column, failed, json, run};
use crate::domain::entry::EntryState;
use crate::domain::time::Timestamp;
use crate::sabotage::{self, Defect};

const NEWEST: &str = "
    SELECT d.id, d.newest_revision_id, e.id AS entry_id, e.state,
           EXISTS (SELECT 1 FROM document AS o WHERE o.revision_id = d.newest_revision_id) AS body_kept
    FROM dossier AS d JOIN entry AS e ON e.id = d.newest_entry_id
    WHERE d.ma_ho_so = ?1 AND (?2 IS NULL OR d.source = ?2) ORDER BY d.source LIMIT 1";

/// With all that must be mapped before it, or it would wait for them at their own priority.
const URGENT: &str = "
    UPDATE entry SET priority = 0, forced = CASE WHEN id = ?2 THEN 1 ELSE forced END,
        due_at = CASE WHEN id = ?2 AND state IN ('ready', 'awaiting') THEN ?1 ELSE due_at END
    WHERE dossier_id = ?3 AND (id = ?2 OR state = 'received') AND state IN ('received', 'ready', 'awaiting')";

/// Its steps follow at the same priority.
const URGENT_LANE: &str = "UPDATE dossier SET priority = 0, steps_line = 0 WHERE id = ?1";

const OPEN: &str = "
    INSERT INTO entry (dossier_id, revision_id, state, priority, forced, created_at, changed_at, due_at)
    VALUES (?1, ?2, 'received', 0, 1, ?3, ?3, ?3) RETURNING id";

const REOPEN: &str = "
    UPDATE entry SET state = 'received', priority = 0, forced = 1, changed_at = ?1, due_at = ?1, retries = 0,
        batch_max = NULL
    WHERE id = ?2 AND state IN ('quarantined', 'dead')";

/// Steps that wait for a retry go at once, too.
const POINT_TO: &str = "
    UPDATE dossier SET newest_entry_id = ?1, priority = 0, steps_due_at = ?2, steps_retries = 0 WHERE id = ?3";

pub(super) async fn resync(
    conn: &mut SqliteConnection,
    now: Timestamp,
    source: Option<&str>,
    ma_ho_so: &str,
    audit: &AuditRecord,
) -> Result<ResyncOutcome, LedgerError> {
    let outcome = open_intent(conn, now, source, ma_ho_so).await?;
    let result = match &outcome {
        ResyncOutcome::Opened { entry_id } => format!("opened entry {entry_id}"),
        ResyncOutcome::AlreadyOpen { entry_id, state } => {
            format!("entry {entry_id} was already {state}")
        }
        ResyncOutcome::UnknownDossier => "unknown dossier".to_owned(),
        ResyncOutcome::NotOurs => "never pushed".to_owned(),
        ResyncOutcome::DocumentGone => "document past retention".to_owned(),
    };
    let is_effect = matches!(outcome, ResyncOutcome::Opened { .. });
    if is_effect || !sabotage::on(Defect::AuditOnlyOfEffects) {
        insert_audit(conn, now, audit, &result).await?;
    }
    Ok(outcome)
}

async fn open_intent(
    conn: &mut SqliteConnection,
    now: Timestamp,
    source: Option<&str>,
    ma_ho_so: &str,
) -> Result<ResyncOutcome, LedgerError> {
    let doing = "open a resync";
    let row = sqlx::query(NEWEST)
        .bind(ma_ho_so.to_owned())
        .bind(source.map(str::to_owned))
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let Some(row) = row else {
        return Ok(ResyncOutcome::UnknownDossier);
    };
    let dossier_id: i64 = column(&row, "dossier", "id", 0)?;
    let entry_id: i64 = column(&row, "entry", "entry_id", dossier_id)?;
    let revision_id: i64 = column(&row, "dossier", "newest_revision_id", dossier_id)?;
    let state: String = column(&row, "entry", "state", entry_id)?;
    let state = EntryState::parse(&state).ok_or(LedgerError::Corrupt {
        table: "entry",
        column: "state",
        row: entry_id,
    })?;
    let at = now.millis();
    // What awaits adoption is asked about first; then it is sent, whatever the answer.
    if state.is_open() || state == EntryState::Awaiting {
        let query = sqlx::query(URGENT).bind(at).bind(entry_id).bind(dossier_id);
        run(conn, doing, query).await?;
        run(conn, doing, sqlx::query(URGENT_LANE).bind(dossier_id)).await?;
        return Ok(ResyncOutcome::AlreadyOpen { entry_id, state });
    }
    if state == EntryState::NotOurs {
        return Ok(ResyncOutcome::NotOurs);
    }
    if column::<i64>(&row, "document", "body_kept", revision_id)? == 0 {
        return Ok(ResyncOutcome::DocumentGone);
    }
    let opened = if state.needs_a_person() {
        run(conn, doing, sqlx::query(REOPEN).bind(at).bind(entry_id)).await?;
        entry_id
    } else {
        sqlx::query_scalar(OPEN)
            .bind(dossier_id)
            .bind(revision_id)
            .bind(at)
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?
    };
    let query = sqlx::query(URGENT).bind(at).bind(opened).bind(dossier_id);
    run(conn, doing, query).await?;
    let query = sqlx::query(POINT_TO).bind(opened).bind(at).bind(dossier_id);
    run(conn, doing, query).await?;
    Ok(ResyncOutcome::Opened { entry_id: opened })
}

/// Never one that a newer revision has overtaken: that one is on its way, or was sent.
const RETRY_ENTRIES: &str = "
    UPDATE entry SET state = 'received', changed_at = ?1, due_at = ?1, retries = 0, batch_max = NULL,
        forced = CASE WHEN state = 'dead' THEN 1 ELSE forced END
    WHERE state IN ('quarantined', 'dead')
      AND ((state = 'quarantined' AND ?2 = 1) OR (state = 'dead' AND ?3 = 1))
      AND NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = entry.dossier_id
                      AND (o.revision_id, o.id) > (entry.revision_id, entry.id)
                      AND o.state IN ('ready', 'leased', 'unconfirmed', 'accepted', 'unchanged', 'not_ours', 'awaiting',
                                      'presumed'))
      AND (?4 IS NULL OR failure_code = ?4)
      AND (?5 = 0 OR dossier_id IN (SELECT id FROM dossier WHERE ma_ho_so IN (SELECT value FROM json_each(?6))))
      AND (?7 IS NULL OR EXISTS (SELECT 1 FROM problem AS p WHERE p.what = 'entry' AND p.of_row = entry.id
                                 AND p.part = '' AND p.signature_id = (SELECT id FROM signature WHERE name = ?7)))
      AND NOT EXISTS (SELECT 1 FROM signature_hold AS h CROSS JOIN problem AS x
                      ON x.what = 'entry' AND x.of_row = entry.id AND x.part = '' AND x.signature_id = h.signature_id
                      WHERE h.ended_at IS NULL)";

/// What fails and is tried again by itself anyway, of one cause: now, and with all its retries.
const RETRY_FAILING: &str = "
    UPDATE entry SET due_at = ?1, retries = 0, line = iif(state = 'ready', 0, line)
    WHERE state IN ('ready', 'unconfirmed')
      AND id IN (SELECT p.of_row FROM problem AS p JOIN signature AS s ON s.id = p.signature_id
                 WHERE s.name = ?2 AND p.what = 'entry' AND p.kind = 'failing')";

const RETRY_FAILING_STEPS: &str = "
    UPDATE dossier SET steps_due_at = ?1, steps_retries = 0, steps_line = 0
    WHERE lane_token IS NULL
      AND id IN (SELECT p.of_row FROM problem AS p JOIN signature AS s ON s.id = p.signature_id
                 WHERE s.name = ?2 AND p.what = 'steps')";

/// The source is asked for them again, by their codes, with its next poll.
const ASK_AGAIN: &str = "
    UPDATE refused_document SET asked_at = 0
    WHERE resolved_at IS NULL AND whole = 0 AND ma_ho_so IS NOT NULL
      AND id IN (SELECT p.of_row FROM problem AS p JOIN signature AS s ON s.id = p.signature_id
                 WHERE s.name = ?1 AND p.what = 'document')";

const HELD_LANES: &str = "
    SELECT DISTINCT s.dossier_id FROM step AS s INDEXED BY step_held JOIN dossier AS d ON d.id = s.dossier_id
    WHERE s.state = 'held'
      AND (?1 IS NULL OR json_extract(s.failure, '$.code') = ?1)
      AND (?2 = 0 OR d.ma_ho_so IN (SELECT value FROM json_each(?3)))
      AND (?4 IS NULL OR EXISTS (SELECT 1 FROM problem AS p JOIN signature AS x ON x.id = p.signature_id
                                 WHERE p.what = 'step' AND p.of_row = s.dossier_id AND x.name = ?4))";

const RELEASE_STEPS: &str = "
    UPDATE step SET state = 'pending', changed_at = ?1
    WHERE state = 'held'
      AND (?2 IS NULL OR json_extract(failure, '$.code') = ?2)
      AND dossier_id IN (SELECT value FROM json_each(?3))
      AND NOT EXISTS (SELECT 1 FROM problem AS p LEFT JOIN signature AS x ON x.id = p.signature_id
                      WHERE p.what = 'step' AND p.of_row = step.dossier_id
                        AND p.part = step.thoi_diem || '/' || step.trang_thai || '/' || step.ordinal
                        AND (x.name <> ?4
                             OR EXISTS (SELECT 1 FROM signature_hold AS h
                                        WHERE h.signature_id = p.signature_id AND h.ended_at IS NULL)))";

const RECOUNT_LANES: &str = "
    UPDATE dossier SET steps_due_at = ?1, steps_retries = 0, steps_failure = NULL,
        steps_pending = (SELECT count(*) FROM step WHERE dossier_id = dossier.id AND state IN ('pending', 'leased'))
    WHERE id IN (SELECT value FROM json_each(?2))";

pub(super) async fn retry(
    conn: &mut SqliteConnection,
    now: Timestamp,
    scope: &RetryScope,
    audit: &AuditRecord,
) -> Result<u64, LedgerError> {
    let doing = "retry problems";
    let at = now.millis();
    let by_code = i64::from(!scope.ma_ho_so.is_empty());
    if let Some(cause) = &scope.cause
        && let Some(hold) = super::cause::held_by(conn, cause).await?
    {
        insert_audit(conn, now, audit, &format!("refused: held by {}", hold.by)).await?;
        return Ok(0);
    }
    let query = sqlx::query(RETRY_ENTRIES)
        .bind(at)
        .bind(i64::from(scope.quarantined))
        .bind(i64::from(scope.dead))
        .bind(scope.code.clone())
        .bind(by_code)
        .bind(json(&scope.ma_ho_so))
        .bind(scope.cause.clone());
    let mut count = run(conn, doing, query).await?;
    if scope.held {
        let lanes: Vec<i64> = sqlx::query_scalar(HELD_LANES)
            .bind(scope.code.clone())
            .bind(by_code)
            .bind(json(&scope.ma_ho_so))
            .bind(scope.cause.clone())
            .fetch_all(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?;
        let query = sqlx::query(RELEASE_STEPS)
            .bind(at)
            .bind(scope.code.clone())
            .bind(json(&lanes))
            .bind(scope.cause.clone());
        count += run(conn, doing, query).await?;
        run(conn, doing, sqlx::query(RECOUNT_LANES).bind(at).bind(json(&lanes))).await?;
        // The source has closed some of them; nothing of these is on its way.
        count -= super::closed::withdraw_what_came_back(conn, now, &lanes).await?.min(count);
    }
    if let Some(cause) = &scope.cause {
        for statement in [RETRY_FAILING, RETRY_FAILING_STEPS] {
            count += run(conn, doing, sqlx::query(statement).bind(at).bind(cause.clone())).await?;
        }
        count += run(conn, doing, sqlx::query(ASK_AGAIN).bind(cause.clone())).await?;
    }
    insert_audit(conn, now, audit, &format!("{count} back on their way")).await?;
    Ok(count)
}

const REMEMBER: &str = "
    INSERT INTO quota_promise (window, until) VALUES (?1, ?2)
    ON CONFLICT (window) DO UPDATE SET until = excluded.until";

pub(super) async fn remember_quota(
    conn: &mut SqliteConnection,
    window: &str,
    until: Timestamp,
) -> Result<(), LedgerError> {
    let query = sqlx::query(REMEMBER).bind(window.to_owned()).bind(until.millis());
    run(conn, "remember quota", query).await.map(|_| ())
}

const RECALL: &str = "SELECT window, until FROM quota_promise ORDER BY window";

pub(super) async fn recall_quota(
    readers: &SqlitePool,
) -> Result<Vec<(String, Timestamp)>, LedgerError> {
    let rows = sqlx::query(RECALL)
        .fetch_all(readers)
        .await
        .map_err(|error| failed("recall quota", error))?;
    rows.iter()
        .map(|row| {
            let until: i64 = column(row, "quota_promise", "until", 0)?;
            Ok((column(row, "quota_promise", "window", 0)?, Timestamp::from_millis(until)))
        })
        .collect()
}

const CALLS_BY_TIME: &str = "
    SELECT started_at / ?2 * ?2 AS part, count(*) AS n FROM call WHERE started_at >= ?1
    GROUP BY part ORDER BY part";

pub(super) async fn calls_by_time(
    readers: &SqlitePool,
    since: Timestamp,
    part_ms: u64,
) -> Result<Vec<(Timestamp, u32)>, LedgerError> {
    let rows = sqlx::query(CALLS_BY_TIME)
        .bind(since.millis())
        .bind(i64::try_from(part_ms).unwrap_or(i64::MAX))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read the use of the quota", error))?;
    rows.iter()
        .map(|row| {
            let part: i64 = column(row, "call", "part", 0)?;
            Ok((Timestamp::from_millis(part), column(row, "call", "n", 0)?))
        })
        .collect()
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    NEWEST,
    URGENT,
    URGENT_LANE,
    OPEN,
    REOPEN,
    POINT_TO,
    RETRY_ENTRIES,
    RETRY_FAILING,
    RETRY_FAILING_STEPS,
    ASK_AGAIN,
    HELD_LANES,
    CALLS_BY_TIME,
    RELEASE_STEPS,
    RECOUNT_LANES,
    REMEMBER,
    RECALL,
];

#[cfg(test)]
mod tests {
    use crate::domain::priority::Priority;

    #[test]
    fn the_rank_written_in_the_statements_is_urgent() {
        assert_eq!(Priority::Urgent.rank(), 0);
    }
}
