//! The watchdogs' looks: slices of walks by id, and what small indexes hold.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::LedgerError;
use super::super::watch::{
    ATTEMPTS, AUDIT, CONSERVATION, FALSE_SUCCESS, LANE, LEASE, NO_REASON, REGRESSION,
    SINGLE_FLIGHT, STEP_SUMS, Seen, Sight, WatchBounds, WatchChange, Watchdog, Watching,
};
use super::{SqliteLedger, column, failed, finish, json, run};
use crate::domain::time::Timestamp;

const DOING: &str = "watch over the ledger";

/// A slice of dossiers, of each of which everything is asked that its row and its neighbours can
/// show. One row: how many, the last id, and for each question how many and an example.
///
/// conservation: the newest revision has its entry, nothing newer took its place, and what counts as
/// acknowledged was. regression: the last acknowledged packet is not older than one acknowledged
/// before. lane: it is taken though nothing is out, or by a lease without an end.
const DOSSIERS: &str = "
    SELECT count(*), max(id),
           sum(conservation), min(iif(conservation, ma_ho_so, NULL)),
           sum(step_sums), min(iif(step_sums, ma_ho_so, NULL)),
           sum(regression), min(iif(regression, ma_ho_so, NULL)),
           sum(single_flight), min(iif(single_flight, ma_ho_so, NULL)),
           sum(lane), min(iif(lane, ma_ho_so, NULL))
    FROM (SELECT slice.id, slice.ma_ho_so,
                 e.dossier_id IS NOT slice.id OR r.dossier_id IS NOT slice.id
                     OR e.revision_id IS NOT slice.newest_revision_id OR e.state = 'superseded'
                     OR (slice.acked_entry_id IS NOT NULL AND (a.dossier_id IS NOT slice.id OR a.state <> 'accepted'))
                     AS conservation,
                 slice.steps_pending <> (SELECT count(*) FROM step AS s
                                     WHERE s.dossier_id = slice.id AND s.state IN ('pending', 'leased')) AS step_sums,
                 EXISTS (SELECT 1 FROM entry AS n WHERE n.dossier_id = slice.id AND n.state = 'accepted'
                         AND n.revision_id > a.revision_id) AS regression,
                 slice.n > 1 OR (slice.n > 0 AND (slice.lane_token IS NULL OR slice.steps_lease_until IS NOT NULL))
                     AS single_flight,
                 slice.lane_token IS NOT NULL AND slice.n = 0 AND slice.steps_lease_until IS NULL AS lane
          FROM (SELECT x.*, (SELECT count(*) FROM entry AS y WHERE y.dossier_id = x.id
                             AND y.state IN ('leased', 'unconfirmed')) AS n
                FROM dossier AS x WHERE x.id > ?1 ORDER BY x.id LIMIT +?2) AS slice
          LEFT JOIN entry AS e ON e.id = slice.newest_entry_id
          LEFT JOIN revision AS r ON r.id = slice.newest_revision_id
          LEFT JOIN entry AS a ON a.id = slice.acked_entry_id)";

/// The questions of [`DOSSIERS`], in its order.
const OF_DOSSIERS: [&str; 5] = [CONSERVATION, STEP_SUMS, REGRESSION, SINGLE_FLIGHT, LANE];

/// The same of entries. attempts: sent more often than the budget allows (by the settlement under
/// the configuration in force), or out without having been counted. audit: only an operator makes
/// anything urgent.
const ENTRIES: &str = "
    SELECT count(*), max(id),
           sum(false_success), min(iif(false_success, ma_ho_so, NULL)),
           sum(no_reason), min(iif(no_reason, ma_ho_so, NULL)),
           sum(attempts), min(iif(attempts, ma_ho_so, NULL)),
           sum(audit), min(iif(audit, ma_ho_so, NULL))
    FROM (SELECT slice.id, d.ma_ho_so,
                 slice.state = 'accepted'
                     AND (slice.attempt < 1 OR slice.receipt IS NULL OR NOT json_valid(slice.receipt))
                     AS false_success,
                 slice.state IN ('quarantined', 'dead', 'not_ours') AND slice.failure_code IS NULL AS no_reason,
                 (slice.state = 'leased' AND slice.attempt < 1)
                     OR (slice.state = 'ready' AND slice.retries > ?3
                         AND slice.changed_at >= (SELECT since FROM in_force WHERE id = 1)) AS attempts,
                 slice.forced = 1 AND slice.priority = 0 AND slice.created_at >= ?4
                     AND NOT EXISTS (SELECT 1 FROM audit AS u WHERE u.target = d.ma_ho_so) AS audit
          FROM (SELECT x.id, x.dossier_id, x.state, x.attempt, x.receipt, x.failure_code, x.retries, x.changed_at,
                       x.forced, x.priority, x.created_at
                FROM entry AS x WHERE x.id > ?1 ORDER BY x.id LIMIT +?2) AS slice
          JOIN dossier AS d ON d.id = slice.dossier_id)";

const OF_ENTRIES: [&str; 4] = [FALSE_SUCCESS, NO_REASON, ATTEMPTS, AUDIT];

/// Each change that the source gave is an obligation, as long as the ledger keeps it.
const REVISIONS: &str = "
    SELECT count(*), max(id), sum(lost), min(iif(lost, ma_ho_so, NULL))
    FROM (SELECT slice.id, d.ma_ho_so,
                 NOT EXISTS (SELECT 1 FROM entry AS e WHERE e.revision_id = slice.id) AS lost
          FROM (SELECT x.id, x.dossier_id FROM revision AS x WHERE x.id > ?1 ORDER BY x.id LIMIT +?2) AS slice
          JOIN dossier AS d ON d.id = slice.dossier_id)";

/// What operators did, against the rows that say who.
const PAUSES: &str = "
    SELECT count(*), max(id), sum(silent), min(iif(silent, target, NULL))
    FROM (SELECT slice.id, slice.target,
                 (slice.began_at >= ?3 AND NOT EXISTS (SELECT 1 FROM audit AS u
                      WHERE u.target = slice.target AND u.action = 'portal pause' AND u.at = slice.began_at))
                 OR (slice.ended_at >= ?3 AND NOT EXISTS (SELECT 1 FROM audit AS u
                      WHERE u.target = slice.target AND u.action = 'portal resume' AND u.at = slice.ended_at)) AS silent
          FROM (SELECT id, began_at, ended_at, iif(scope = 'all', 'everything', scope || ' ' || value) AS target
                FROM sending_pause WHERE id > ?1 ORDER BY id LIMIT +?2) AS slice)";

const HOLDS: &str = "
    SELECT count(*), max(id), sum(silent), min(iif(silent, ma_ho_so, NULL))
    FROM (SELECT slice.id, d.ma_ho_so,
                 (slice.placed_at >= ?3 AND NOT EXISTS (SELECT 1 FROM audit AS u
                      WHERE u.target = d.ma_ho_so AND u.at = slice.placed_at))
                 OR (slice.released_at >= ?3 AND NOT EXISTS (SELECT 1 FROM audit AS u
                      WHERE u.target = d.ma_ho_so AND u.at = slice.released_at)) AS silent
          FROM (SELECT * FROM legal_hold WHERE id > ?1 ORDER BY id LIMIT +?2) AS slice
          JOIN dossier AS d ON d.id = slice.dossier_id)";

/// Upkeep ends each lease that ran out; one that is still there has no end, or nobody looks.
const LEASES: &str = "
    SELECT count(*), min(ma_ho_so) FROM (
        SELECT d.ma_ho_so FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
        WHERE e.state = 'leased'
          AND (e.lease_token IS NULL OR e.lease_expires_at IS NULL OR e.lease_expires_at <= ?1)
        UNION ALL SELECT ma_ho_so FROM dossier WHERE steps_lease_until <= ?1)";

const ROWS: &str = "
    SELECT code, part, looked_at, position, carried, rounds, round_found, found, found_at, broken_since, example
    FROM watch ORDER BY code, part";

const KEEP: &str = "
    INSERT OR REPLACE INTO watch
        (code, part, looked_at, position, carried, rounds, round_found, found, found_at, broken_since, example)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8,
           value->>9, value->>10 FROM json_each(?1)";

const FORGET: &str = "
    DELETE FROM watch WHERE NOT EXISTS (
        SELECT 1 FROM json_each(?1) AS j WHERE j.value->>0 = watch.code AND j.value->>1 = watch.part)";

/// The lines of the classes that are worked off in bulk.
const BULK_DUE: &str = "
    SELECT EXISTS (SELECT 1 FROM entry WHERE state = 'ready' AND line = 1 AND priority IN (3, 4))
        OR EXISTS (SELECT 1 FROM entry WHERE state = 'ready' AND line = 0 AND priority IN (3, 4) AND due_at <= ?1)
        OR EXISTS (SELECT 1 FROM dossier WHERE steps_pending > 0 AND packet_state = 'accepted'
                   AND lane_token IS NULL AND steps_line = 1 AND priority IN (3, 4))
        OR EXISTS (SELECT 1 FROM dossier WHERE steps_pending > 0 AND packet_state = 'accepted'
                   AND lane_token IS NULL AND steps_line = 0 AND priority IN (3, 4) AND steps_due_at <= ?1)";

/// The newest call of them; a stretch of time holds no more calls than the quota lets through.
const BULK_CALL: &str =
    "SELECT max(started_at) FROM call WHERE started_at >= ?1 AND priority IN (3, 4)";

#[async_trait]
impl Watching for SqliteLedger {
    async fn look(&self, bounds: &WatchBounds) -> Result<Vec<Sight>, LedgerError> {
        let kept = rows(&self.readers).await?;
        let mut sights = Vec::new();
        let since = bounds.audited_since.millis();
        let retries = i64::from(bounds.retries_max);
        let walks: [Walk<'_>; 5] = [
            Walk { statement: DOSSIERS, more: &[], codes: &OF_DOSSIERS, part: "" },
            Walk { statement: ENTRIES, more: &[retries, since], codes: &OF_ENTRIES, part: "" },
            Walk { statement: REVISIONS, more: &[], codes: &[CONSERVATION], part: "revisions" },
            Walk { statement: PAUSES, more: &[since], codes: &[AUDIT], part: "pauses" },
            Walk { statement: HOLDS, more: &[since], codes: &[AUDIT], part: "legal holds" },
        ];
        for walk in walks {
            sights.extend(walk.go_on(&self.readers, &kept, bounds.rows_max).await?);
        }
        let (found, example): (i64, Option<String>) = sqlx::query_as(LEASES)
            .bind(bounds.leases_ended_by.millis())
            .fetch_one(&self.readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        let found = u64::try_from(found).unwrap_or(0);
        let seen = Seen::Whole { found, example, position: 0, carried: 0 };
        sights.push(Sight { code: LEASE, part: String::new(), seen });
        Ok(sights)
    }

    async fn keep_sights(
        &self,
        now: Timestamp,
        sights: &[Sight],
    ) -> Result<Vec<WatchChange>, LedgerError> {
        let mut tx = self.begin(DOING).await?;
        let changes = keep(&mut tx, now, sights).await?;
        finish(tx, DOING).await?;
        Ok(changes)
    }

    async fn watchdogs(&self) -> Result<Vec<Watchdog>, LedgerError> {
        rows(&self.readers).await
    }

    async fn overdue(&self, before: Timestamp) -> Result<u64, LedgerError> {
        super::upkeep::overdue(&self.readers, before).await
    }

    async fn bulk(
        &self,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<(bool, Option<Timestamp>), LedgerError> {
        let mut conn = self.readers.acquire().await.map_err(|error| failed(DOING, error))?;
        let is_due: bool = sqlx::query_scalar(BULK_DUE)
            .bind(now.millis())
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| failed(DOING, error))?;
        let newest: Option<i64> = sqlx::query_scalar(BULK_CALL)
            .bind(since.millis())
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| failed(DOING, error))?;
        Ok((is_due, newest.map(Timestamp::from_millis)))
    }
}

/// A walk over one table, which answers several questions at once.
struct Walk<'a> {
    statement: &'static str,
    /// Arguments behind the position and the number of rows.
    more: &'a [i64],
    codes: &'a [&'static str],
    part: &'static str,
}

impl Walk<'_> {
    async fn go_on(
        &self,
        readers: &SqlitePool,
        kept: &[Watchdog],
        rows_max: u32,
    ) -> Result<Vec<Sight>, LedgerError> {
        // The questions of one walk are always at the same place; after an upgrade that adds one, all
        // begin anew.
        let at = |code: &&str| {
            let own = kept.iter().find(|row| row.code == **code && row.part == self.part);
            own.map_or(0, |row| row.position)
        };
        let position = self.codes.iter().map(at).min().unwrap_or(0);
        let mut query = sqlx::query(self.statement).bind(position).bind(i64::from(rows_max));
        for argument in self.more {
            query = query.bind(*argument);
        }
        let row = query.fetch_one(readers).await.map_err(|error| failed(DOING, error))?;
        let number = |place: usize| -> Result<i64, LedgerError> {
            let number = row.try_get::<Option<i64>, _>(place);
            number.map(Option::unwrap_or_default).map_err(|error| failed(DOING, error))
        };
        let (looked_at, last) = (number(0)?, number(1)?);
        let is_end = looked_at < i64::from(rows_max);
        let mut sights = Vec::with_capacity(self.codes.len());
        for (place, code) in self.codes.iter().enumerate() {
            let found = u64::try_from(number(2 + 2 * place)?).unwrap_or(0);
            let example = row
                .try_get::<Option<String>, _>(3 + 2 * place)
                .map_err(|error| failed(DOING, error))?;
            let seen = Seen::Slice { found, example, position: last, is_end };
            sights.push(Sight { code, part: self.part.to_owned(), seen });
        }
        Ok(sights)
    }
}

async fn keep(
    conn: &mut SqliteConnection,
    now: Timestamp,
    sights: &[Sight],
) -> Result<Vec<WatchChange>, LedgerError> {
    let mut before: BTreeMap<(String, String), Watchdog> = rows(&mut *conn)
        .await?
        .into_iter()
        .map(|row| ((row.code.clone(), row.part.clone()), row))
        .collect();
    let (mut kept, mut changes) = (Vec::new(), Vec::new());
    for sight in sights {
        let name = (sight.code.to_owned(), sight.part.clone());
        let row = before.remove(&name).unwrap_or_else(|| Watchdog {
            code: name.0,
            part: name.1,
            looked_at: now,
            ..Watchdog::default()
        });
        let was_broken = !row.holds();
        let row = row.after(&sight.seen, now);
        if was_broken == row.holds() {
            changes.push(WatchChange { now: row.clone(), was_broken });
        }
        kept.push((
            row.code,
            row.part,
            row.looked_at,
            row.position,
            row.carried,
            row.rounds,
            row.round_found,
            row.found,
            row.found_at,
            row.broken_since,
            row.example,
        ));
    }
    let kept = json(&kept);
    run(conn, DOING, sqlx::query(KEEP).bind(kept.clone())).await?;
    run(conn, DOING, sqlx::query(FORGET).bind(kept)).await?;
    Ok(changes)
}

async fn rows<'e>(executor: impl sqlx::SqliteExecutor<'e>) -> Result<Vec<Watchdog>, LedgerError> {
    let rows = sqlx::query(ROWS).fetch_all(executor).await.map_err(|error| failed(DOING, error))?;
    rows.iter().map(watchdog).collect()
}

fn watchdog(row: &SqliteRow) -> Result<Watchdog, LedgerError> {
    let count = |name| -> Result<u64, LedgerError> {
        Ok(u64::try_from(column::<i64>(row, "watch", name, 0)?).unwrap_or(0))
    };
    let time = |name| -> Result<Option<Timestamp>, LedgerError> {
        Ok(column::<Option<i64>>(row, "watch", name, 0)?.map(Timestamp::from_millis))
    };
    Ok(Watchdog {
        code: column(row, "watch", "code", 0)?,
        part: column(row, "watch", "part", 0)?,
        looked_at: time("looked_at")?.unwrap_or_default(),
        rounds: count("rounds")?,
        found: count("found")?,
        broken_since: time("broken_since")?,
        example: column(row, "watch", "example", 0)?,
        position: column(row, "watch", "position", 0)?,
        carried: column(row, "watch", "carried", 0)?,
        round_found: count("round_found")?,
        found_at: time("found_at")?,
    })
}

/// Every statement of this file; a test prepares them against the schema, and finds that none reads a
/// whole table.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] =
    &[DOSSIERS, ENTRIES, REVISIONS, PAUSES, HOLDS, LEASES, ROWS, KEEP, FORGET, BULK_DUE, BULK_CALL];
