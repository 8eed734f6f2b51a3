//! Runs of the reconciliation, the dossiers that they compare, and what these add up to.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::super::LedgerError;
use super::super::body::Row;
use super::super::reconcile::{
    AskLine, BookRow, ComparedDossier, LineFilter, LookedUp, NewLine, Phase, PlacedLine,
    ReconcileLine, ReconcileRun, Reconciling, RollingScan, RowKind, RunOrder, RunSums,
};
use super::super::record::{AuditRecord, Books};
use super::audit::insert_audit;
use super::{SqliteLedger, column, envelope, failed, finish, json, json_one, run};
use crate::domain::cause::{Cause, CausedDifference};
use crate::domain::discrepancy::Bucket;
use crate::domain::time::Timestamp;

const OPEN: &str = "a reconciliation";
const DOING: &str = "read a reconciliation";

const RUN: &str = "
    SELECT r.id, r.orders, r.phase, r.cursor, r.from_day, r.to_day, r.wanted, r.chosen, r.asked, r.spent, r.calls,
           r.fruitless, r.widened, r.remark, r.books, r.started_at, r.ended_at,
           (SELECT coalesce(sum(b.at_source), 0) FROM reconcile_row AS b WHERE b.run = r.id AND b.kind = 'day') AS read
    FROM reconcile_run AS r WHERE r.id = ?1";

const OPEN_RUN: &str = "SELECT id FROM reconcile_run WHERE source = ?1 AND ended_at IS NULL";

const OPEN_RUNS: &str = "
    SELECT id FROM reconcile_run WHERE ended_at IS NULL ORDER BY id DESC LIMIT +?1";

const RUNS: &str = "SELECT id FROM reconcile_run ORDER BY id DESC LIMIT +?1";

const RUNS_OF_SOURCE: &str =
    "SELECT id FROM reconcile_run WHERE source = ?2 ORDER BY id DESC LIMIT +?1";

const BEGIN_RUN: &str = "
    INSERT INTO reconcile_run (source, orders, phase, from_day, to_day, started_at)
    VALUES (?1, ?2, 'reading', ?3, ?4, ?5) RETURNING id";

const GIVE_UP: &str = "
    UPDATE reconcile_run SET phase = 'ended', ended_at = ?2, remark = ?3 WHERE id = ?1 AND ended_at IS NULL";

const DROP_LINES: &str = "DELETE FROM reconcile_line WHERE run = ?1";

const ADD_LINES: &str = "
    INSERT INTO reconcile_line (run, ma_ho_so, dossier_id, day, agency, procedure, bucket, cause, detail, presumed,
                                suspected_since, draw, lot)
    SELECT ?1, value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8,
           value->>9, value->>10, iif(value->>10 >= 0, 1, NULL)
    FROM json_each(?2) WHERE true
    ON CONFLICT (run, ma_ho_so) DO NOTHING
    RETURNING day, agency, procedure, bucket";

const COUNT_ROWS: &str = "
    INSERT INTO reconcile_row (run, kind, name, at_source)
    SELECT ?1, value->>0, value->>1, value->>2 FROM json_each(?2) WHERE true
    ON CONFLICT (run, kind, name) DO UPDATE SET at_source = at_source + excluded.at_source";

const MOVE_ON: &str = "UPDATE reconcile_run SET cursor = ?2 WHERE id = ?1";

const BEGIN_ASKING: &str = "
    UPDATE reconcile_run SET phase = 'asking',
        wanted = min(coalesce(?2, 9223372036854775807),
                     (SELECT count(*) FROM reconcile_line WHERE run = ?1 AND draw IS NOT NULL))
    WHERE id = ?1 AND phase = 'reading'";

const STANDING: &str = "
    SELECT wanted, chosen, spent, orders->>'budget' AS budget FROM reconcile_run WHERE id = ?1 AND phase = 'asking'";

const BACKLOG: &str = "SELECT count(*) FROM reconcile_line WHERE run = ?1 AND turn IS NOT NULL";

/// What was drawn before a widening is a part of the sample; what is drawn after it is not.
const CHOOSE: &str = "
    UPDATE reconcile_line SET turn = 0, lot = iif(lot = 1 AND draw >= 0, 2, lot), draw = NULL
    WHERE run = ?1 AND ma_ho_so IN (
        SELECT ma_ho_so FROM reconcile_line WHERE run = ?1 AND draw IS NOT NULL ORDER BY draw LIMIT +?2)";

const TO_ASK: &str = "
    SELECT ma_ho_so, dossier_id, presumed, suspected_since, cause, detail FROM reconcile_line
    WHERE run = ?1 AND turn IS NOT NULL AND dossier_id IS NOT NULL ORDER BY turn, ma_ho_so LIMIT +?2";

const SPEND: &str =
    "UPDATE reconcile_run SET chosen = chosen + ?2, spent = spent + ?3 WHERE id = ?1";

/// The run hangs on the row of the answers, so that these drive the loop: with a plain `?1` SQLite
/// walks every line of the run, and all answers for each.
const PLACE: &str = "
    UPDATE reconcile_line SET turn = NULL, bucket = j.bucket, cause = j.cause, detail = j.detail,
        differences = j.differences, seen = j.seen
    FROM (SELECT iif(key >= 0, ?1, 0) AS run, value->>0 AS ma_ho_so, value->>1 AS bucket,
                 value->>2 AS cause, value->>3 AS detail, value->>4 AS differences,
                 value->>5 AS seen FROM json_each(?2)) AS j
    WHERE reconcile_line.run = j.run AND reconcile_line.ma_ho_so = j.ma_ho_so";

const REPLACE: &str = "
    UPDATE reconcile_line SET bucket = j.bucket, cause = j.cause, detail = j.detail, differences = NULL
    FROM (SELECT iif(key >= 0, ?1, 0) AS run, value->>0 AS ma_ho_so, value->>1 AS bucket,
                 value->>2 AS cause, value->>3 AS detail FROM json_each(?2)) AS j
    WHERE reconcile_line.run = j.run AND reconcile_line.ma_ho_so = j.ma_ho_so";

const ASK_LATER: &str = "
    UPDATE reconcile_line SET turn = turn + 1
    WHERE run = ?1 AND ma_ho_so IN (SELECT value FROM json_each(?2)) AND turn IS NOT NULL";

const COUNT_ASKED: &str = "
    UPDATE reconcile_run SET asked = asked + ?2, calls = calls + ?3, spent = spent - ?4,
        fruitless = iif(?2 > 0, 0, fruitless + 1)
    WHERE id = ?1";

const SLICES: &str = "
    SELECT agency, count(*) AS asked, sum(bucket IN ('missing', 'different')) AS differing FROM reconcile_line
    WHERE run = ?1 AND turn IS NULL AND (seen > 0 OR bucket IN ('missing', 'different')) GROUP BY agency";

/// 2^54, so that these go before everything that is drawn, and behind suspects.
const WIDEN: &str = "
    UPDATE reconcile_line SET draw = draw - 18014398509481984, lot = NULL
    WHERE run = ?1 AND (?2 = '*' OR agency = ?2) AND draw >= 0";

/// The slice is no part of what the sample speaks of.
const LEAVE_SAMPLE: &str =
    "UPDATE reconcile_line SET lot = NULL WHERE run = ?1 AND agency = ?2 AND lot IS NOT NULL";

const WANT_MORE: &str = "
    UPDATE reconcile_run SET wanted = wanted + ?2, widened = json_insert(widened, '$[#]', ?3)
    WHERE id = ?1 AND phase = 'asking'";

const UNANSWERED: &str = "
    UPDATE reconcile_line SET turn = NULL, bucket = 'unverifiable', cause = 'no_answer'
    WHERE run = ?1 AND turn > 0";

const NOT_ASKED: &str =
    "UPDATE reconcile_line SET turn = NULL, lot = iif(lot = 2, 1, lot) WHERE run = ?1 AND turn = 0";

const BEGIN_CLOSING: &str = "
    UPDATE reconcile_run SET phase = 'closing',
        remark = iif(?2 = '', remark, iif(remark = '', ?2, remark || '; ' || ?2))
    WHERE id = ?1 AND phase IN ('reading', 'asking')";

const LINES: &str = "
    SELECT ma_ho_so, dossier_id, day, agency, procedure, bucket, cause, detail, differences, presumed, suspected_since
    FROM reconcile_line
    WHERE run = ?1 AND ma_ho_so > ?2 AND (bucket <> 'matched' OR cause IS NOT NULL)
      AND (?3 = '[]' OR bucket IN (SELECT value FROM json_each(?3)))
      AND (?4 = '[]' OR cause IN (SELECT value FROM json_each(?4)))
    ORDER BY ma_ho_so LIMIT +?5";

/// Without those that the source deleted, or goes on with under another code: they have a discrepancy
/// of their own.
const UNLISTED: &str = "
    SELECT d.ma_ho_so,
           d.first_seen_at <= ?4 AND (d.acked_entry_id IS NOT NULL OR d.adoption = 'known')
           AND NOT EXISTS (SELECT 1 FROM entry AS e WHERE e.id = d.newest_entry_id AND e.state = 'not_ours'
                           AND e.failure_code IN ('source.recoded', 'source.deleted'))
           AND NOT EXISTS (SELECT 1 FROM reconcile_line AS l WHERE l.run = ?1 AND l.ma_ho_so = d.ma_ho_so) AS unlisted
    FROM dossier AS d WHERE d.source = ?2 AND d.ma_ho_so > ?3 ORDER BY d.ma_ho_so LIMIT +?5";

/// Each kind ends by what contradicts it, seen in this run; silence contradicts nothing.
const RESOLVE: &str = "
    UPDATE discrepancy SET resolved_at = ?1, resolution = 'a later reconciliation no longer found it'
    WHERE source = ?2 AND resolved_at IS NULL
      AND kind IN ('not_received', 'behind', 'extra', 'missing', 'different')
      AND EXISTS (SELECT 1 FROM reconcile_line AS l WHERE l.run = ?3 AND l.ma_ho_so = discrepancy.ma_ho_so
                  AND CASE discrepancy.kind
                      WHEN 'not_received' THEN l.dossier_id IS NOT NULL
                      WHEN 'behind' THEN l.bucket = 'matched' OR l.presumed
                      WHEN 'extra' THEN l.bucket <> 'extra'
                      WHEN 'missing' THEN l.seen > 0
                      ELSE l.seen = 2 END)";

const RESOLVE_DELETED: &str = "
    UPDATE discrepancy SET resolved_at = ?1, resolution = 'the source deleted it, which is a discrepancy of its own'
    WHERE source = ?2 AND resolved_at IS NULL AND kind = 'extra'
      AND EXISTS (SELECT 1 FROM discrepancy AS x WHERE x.source = ?2 AND x.ma_ho_so = discrepancy.ma_ho_so
                  AND x.kind IN ('deleted_at_source', 'recoded') AND x.resolved_at IS NULL)";

const SUMS: &str = "
    SELECT bucket, cause, count(*) AS number,
           sum(bucket = 'missing' AND (suspected_since IS NULL OR suspected_since > ?2)) AS suspected,
           sum(seen > 0) AS found, sum(seen = 2 OR bucket = 'different') AS compared, count(lot) AS population,
           sum(lot = 2 AND (seen > 0 OR bucket IN ('missing', 'different'))) AS drawn,
           sum(lot = 2 AND bucket IN ('missing', 'different')) AS differing
    FROM reconcile_line WHERE run = ?1 GROUP BY bucket, cause";

const SUM_ROWS: &str = "
    INSERT INTO reconcile_row (run, kind, name, matched, different, missing, unverifiable, quarantined, dead, open,
                               not_ours, explained)
    SELECT ?1, ?2, CASE ?2 WHEN 'day' THEN day WHEN 'agency' THEN agency ELSE procedure END AS name,
           sum(bucket = 'matched'), sum(bucket = 'different'), sum(bucket = 'missing'), sum(bucket = 'unverifiable'),
           sum(bucket = 'quarantined'), sum(bucket = 'dead'), sum(bucket = 'open'), sum(bucket = 'not_ours'),
           sum(bucket <> 'matched' AND cause IS NOT NULL AND cause <> 'no_answer')
    FROM reconcile_line WHERE run = ?1 AND bucket <> 'extra' GROUP BY name
    ON CONFLICT (run, kind, name) DO UPDATE SET matched = excluded.matched, different = excluded.different,
        missing = excluded.missing, unverifiable = excluded.unverifiable, quarantined = excluded.quarantined,
        dead = excluded.dead, open = excluded.open, not_ours = excluded.not_ours, explained = excluded.explained";

const UNBALANCED: &str = "
    SELECT kind, name FROM reconcile_row
    WHERE run = ?1 AND at_source <>
          matched + different + missing + unverifiable + quarantined + dead + open + not_ours
    ORDER BY kind, name";

const END_RUN: &str = "
    UPDATE reconcile_run SET phase = 'ended', ended_at = ?2, books = ?3 WHERE id = ?1 AND ended_at IS NULL";

const IS_PLAIN: &str = "SELECT orders->>'plain' FROM reconcile_run WHERE id = ?1";

const END_OF_RANGE: &str = "
    SELECT max(ma_ho_so) FROM (SELECT ma_ho_so FROM reconcile_line WHERE run = ?1 AND ma_ho_so > ?2
                               ORDER BY ma_ho_so LIMIT +?3)";

const TRIM: &str = "
    DELETE FROM reconcile_line
    WHERE run = ?1 AND ma_ho_so > ?2 AND ma_ho_so <= ?3 AND bucket = 'matched' AND cause IS NULL";

const TRIM_EARLIER: &str = "
    DELETE FROM reconcile_line WHERE (run, ma_ho_so) IN (
        SELECT l.run, l.ma_ho_so FROM reconcile_run AS r CROSS JOIN reconcile_line AS l ON l.run = r.id
        WHERE r.source = ?1 AND r.id < ?2 AND r.ended_at IS NOT NULL
          AND (r.orders->>'plain') = (SELECT n.orders->>'plain' FROM reconcile_run AS n WHERE n.id = ?2) LIMIT +?3)";

const BOOK_ROWS: &str = "
    SELECT name, at_source, matched, different, missing, unverifiable, quarantined, dead, open, not_ours, explained,
           0 AS started_at
    FROM reconcile_row WHERE run = ?1 AND kind = ?2 ORDER BY name";

const ROW_OVER_TIME: &str = "
    SELECT b.name, b.at_source, b.matched, b.different, b.missing, b.unverifiable, b.quarantined, b.dead, b.open,
           b.not_ours, b.explained, r.started_at
    FROM reconcile_run AS r CROSS JOIN reconcile_row AS b ON b.run = r.id AND b.kind = ?2 AND b.name = ?3
    WHERE r.source = ?1 AND r.started_at >= ?4 AND r.books IS NOT NULL AND r.orders->>'plain' ORDER BY r.id";

const BOOKS_SINCE: &str = "
    SELECT id, books FROM reconcile_run WHERE source = ?1 AND started_at >= ?2 AND books IS NOT NULL
      AND orders->>'plain' ORDER BY id";

const COMPARED: &str = "
    SELECT d.id, p.entry_id, p.body AS packet, o.revision_id, o.body AS document, e.state, e.mapping_version
    FROM json_each(?1) AS j CROSS JOIN dossier AS d ON d.id = j.value
    LEFT JOIN packet AS p ON p.entry_id = coalesce(d.acked_entry_id, d.presumed_entry_id)
    LEFT JOIN document AS o ON o.revision_id = d.newest_revision_id
    LEFT JOIN entry AS e ON e.id = d.newest_entry_id";

const ROLLING: &str = "
    SELECT source, cursor, from_day, to_day, round, seen, missed, began_at, last_seen, last_missed, last_ended_at,
           missed_in_all, scanned_at
    FROM rolling_scan ORDER BY source";

const KEEP_ROLLING: &str = "
    INSERT INTO rolling_scan (source, cursor, from_day, to_day, round, seen, missed, began_at, last_seen, last_missed,
                              last_ended_at, missed_in_all, scanned_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (source) DO UPDATE SET cursor = excluded.cursor, from_day = excluded.from_day,
        to_day = excluded.to_day, round = excluded.round, seen = excluded.seen, missed = excluded.missed,
        began_at = excluded.began_at, last_seen = excluded.last_seen, last_missed = excluded.last_missed,
        last_ended_at = excluded.last_ended_at, missed_in_all = excluded.missed_in_all,
        scanned_at = excluded.scanned_at";

#[async_trait]
impl Reconciling for SqliteLedger {
    async fn open_run(
        &self,
        now: Timestamp,
        order: &RunOrder,
        (from_day, to_day): (&str, &str),
        audit: Option<&AuditRecord>,
    ) -> Result<ReconcileRun, LedgerError> {
        let doing = "open a reconciliation";
        let mut tx = self.begin(doing).await?;
        let open: Option<i64> = sqlx::query_scalar(OPEN_RUN)
            .bind(order.source.clone())
            .fetch_optional(&mut *tx)
            .await
            .map_err(|error| failed(doing, error))?;
        let (id, result) = if let Some(id) = open {
            (id, format!("run {id} is open already"))
        } else {
            let id: i64 = sqlx::query_scalar(BEGIN_RUN)
                .bind(order.source.clone())
                .bind(json_one(order))
                .bind(from_day.to_owned())
                .bind(to_day.to_owned())
                .bind(now.millis())
                .fetch_one(&mut *tx)
                .await
                .map_err(|error| failed(doing, error))?;
            (id, format!("run {id} was opened"))
        };
        if let Some(audit) = audit {
            insert_audit(&mut tx, now, audit, &result).await?;
        }
        let opened = read_run(&mut tx, id).await?.ok_or(LedgerError::Conflict(OPEN.to_owned()))?;
        finish(tx, doing).await?;
        Ok(opened)
    }

    async fn reconcile_run(&self, run: i64) -> Result<Option<ReconcileRun>, LedgerError> {
        let mut conn = self.readers.acquire().await.map_err(|error| failed(DOING, error))?;
        read_run(&mut conn, run).await
    }

    async fn reconcile_runs(
        &self,
        source: Option<&str>,
        only_open: bool,
        limit: u32,
    ) -> Result<Vec<ReconcileRun>, LedgerError> {
        let mut conn = self.readers.acquire().await.map_err(|error| failed(DOING, error))?;
        let statement = match (only_open, source) {
            (true, _) => OPEN_RUNS,
            (false, Some(_)) => RUNS_OF_SOURCE,
            (false, None) => RUNS,
        };
        let mut query = sqlx::query_scalar(statement).bind(i64::from(limit));
        if let (false, Some(source)) = (only_open, source) {
            query = query.bind(source.to_owned());
        }
        let ids: Vec<i64> =
            query.fetch_all(&mut *conn).await.map_err(|error| failed(DOING, error))?;
        let mut runs = Vec::with_capacity(ids.len());
        for id in ids {
            let found = read_run(&mut conn, id).await?;
            runs.extend(found.filter(|run| source.is_none_or(|name| name == run.order.source)));
        }
        Ok(runs)
    }

    async fn give_up_run(&self, now: Timestamp, id: i64, remark: &str) -> Result<(), LedgerError> {
        let doing = "give a reconciliation up";
        let mut tx = self.begin(doing).await?;
        let query = sqlx::query(GIVE_UP).bind(id).bind(now.millis()).bind(remark.to_owned());
        run(&mut tx, doing, query).await?;
        run(&mut tx, doing, sqlx::query(DROP_LINES).bind(id)).await?;
        finish(tx, doing).await
    }

    async fn add_lines(
        &self,
        id: i64,
        lines: &[NewLine],
        cursor: Option<&str>,
    ) -> Result<(), LedgerError> {
        let doing = "list dossiers of an index";
        let rows: Vec<_> = lines
            .iter()
            .map(|line| {
                (
                    &line.ma_ho_so,
                    line.dossier_id,
                    &line.day,
                    &line.agency,
                    &line.procedure,
                    line.bucket.as_str(),
                    line.cause.map(Cause::as_str),
                    &line.detail,
                    i64::from(line.presumed),
                    line.suspected_since.map(Timestamp::millis),
                    line.draw,
                )
            })
            .collect();
        let mut tx = self.begin(doing).await?;
        let added: Vec<(String, String, String, String)> = sqlx::query_as(ADD_LINES)
            .bind(id)
            .bind(json(&rows))
            .fetch_all(&mut *tx)
            .await
            .map_err(|error| failed(doing, error))?;
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (day, agency, procedure, _) in
            added.iter().filter(|(.., bucket)| bucket != Bucket::Extra.as_str())
        {
            for (kind, name) in [("day", day), ("agency", agency), ("procedure", procedure)] {
                *counts.entry((kind, name.as_str())).or_default() += 1;
            }
        }
        let counts: Vec<(&str, &str, u64)> =
            counts.into_iter().map(|((kind, name), count)| (kind, name, count)).collect();
        run(&mut tx, doing, sqlx::query(COUNT_ROWS).bind(id).bind(json(&counts))).await?;
        if let Some(cursor) = cursor {
            run(&mut tx, doing, sqlx::query(MOVE_ON).bind(id).bind(cursor.to_owned())).await?;
        }
        finish(tx, doing).await
    }

    async fn begin_asking(&self, id: i64, sample: Option<u32>) -> Result<(), LedgerError> {
        let doing = "begin to ask the portal";
        let mut tx = self.begin(doing).await?;
        let query = sqlx::query(BEGIN_ASKING).bind(id).bind(sample.map(i64::from));
        run(&mut tx, doing, query).await?;
        finish(tx, doing).await
    }

    async fn take_look_ups(&self, id: i64, limit: u32) -> Result<Vec<AskLine>, LedgerError> {
        let doing = "choose dossiers to look up";
        let mut tx = self.begin(doing).await?;
        let standing: Option<(i64, i64, i64, Option<i64>)> = sqlx::query_as(STANDING)
            .bind(id)
            .fetch_optional(&mut *tx)
            .await
            .map_err(|error| failed(doing, error))?;
        let Some((wanted, chosen, spent, budget)) = standing else {
            return Ok(Vec::new());
        };
        let affordable = budget.map_or(i64::MAX, |budget| budget - spent);
        let limit = i64::from(limit).min(affordable).max(0);
        // Who is still without an answer goes before anybody new.
        let waiting: i64 = sqlx::query_scalar(BACKLOG)
            .bind(id)
            .fetch_one(&mut *tx)
            .await
            .map_err(|error| failed(doing, error))?;
        let more = (limit - waiting).min(wanted - chosen).max(0);
        let newly = run(&mut tx, doing, sqlx::query(CHOOSE).bind(id).bind(more)).await?;
        let rows = sqlx::query(TO_ASK)
            .bind(id)
            .bind(limit)
            .fetch_all(&mut *tx)
            .await
            .map_err(|error| failed(doing, error))?;
        let lines = rows
            .iter()
            .map(|row| {
                Ok(AskLine {
                    ma_ho_so: column(row, "reconcile_line", "ma_ho_so", id)?,
                    dossier_id: column(row, "reconcile_line", "dossier_id", id)?,
                    presumed: column::<i64>(row, "reconcile_line", "presumed", id)? != 0,
                    suspected_since: time(row, "suspected_since", id)?,
                    cause: read_cause(row, id)?,
                    detail: column(row, "reconcile_line", "detail", id)?,
                })
            })
            .collect::<Result<Vec<_>, LedgerError>>()?;
        let query = sqlx::query(SPEND)
            .bind(id)
            .bind(i64::try_from(newly).unwrap_or(i64::MAX))
            .bind(i64::try_from(lines.len()).unwrap_or(i64::MAX));
        run(&mut tx, doing, query).await?;
        finish(tx, doing).await?;
        Ok(lines)
    }

    async fn settle_look_ups(
        &self,
        now: Timestamp,
        id: i64,
        looked_up: &LookedUp,
    ) -> Result<(), LedgerError> {
        let doing = "place what was looked up";
        let LookedUp { calls, placed, unanswered, not_sent } = looked_up;
        let mut tx = self.begin(doing).await?;
        super::settle::settle(&mut tx, now, calls).await?;
        run(&mut tx, doing, sqlx::query(PLACE).bind(id).bind(placed_rows(placed))).await?;
        let later: Vec<&String> = unanswered.iter().chain(not_sent).collect();
        run(&mut tx, doing, sqlx::query(ASK_LATER).bind(id).bind(json(&later))).await?;
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let query = sqlx::query(COUNT_ASKED)
            .bind(id)
            .bind(count(placed.len()))
            .bind(count(calls.calls.len()))
            .bind(count(not_sent.len()));
        run(&mut tx, doing, query).await?;
        finish(tx, doing).await
    }

    async fn slices(&self, id: i64) -> Result<Vec<(String, u64, u64)>, LedgerError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(SLICES)
            .bind(id)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(rows
            .into_iter()
            .map(|(agency, asked, differing)| (agency, count(asked), count(differing)))
            .collect())
    }

    async fn widen(&self, id: i64, agency: &str) -> Result<(), LedgerError> {
        let doing = "ask about a whole slice";
        let mut tx = self.begin(doing).await?;
        let query = sqlx::query(WIDEN).bind(id).bind(agency.to_owned());
        let moved = run(&mut tx, doing, query).await?;
        if agency != "*" {
            let query = sqlx::query(LEAVE_SAMPLE).bind(id).bind(agency.to_owned());
            run(&mut tx, doing, query).await?;
        }
        let query = sqlx::query(WANT_MORE)
            .bind(id)
            .bind(i64::try_from(moved).unwrap_or(i64::MAX))
            .bind(agency.to_owned());
        run(&mut tx, doing, query).await?;
        finish(tx, doing).await
    }

    async fn end_asking(&self, id: i64, remark: &str) -> Result<(), LedgerError> {
        let doing = "end asking the portal";
        let mut tx = self.begin(doing).await?;
        for statement in [UNANSWERED, NOT_ASKED] {
            run(&mut tx, doing, sqlx::query(statement).bind(id)).await?;
        }
        let query = sqlx::query(BEGIN_CLOSING).bind(id).bind(remark.to_owned());
        run(&mut tx, doing, query).await?;
        finish(tx, doing).await
    }

    async fn lines(
        &self,
        id: i64,
        filter: &LineFilter,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ReconcileLine>, LedgerError> {
        let buckets: Vec<&str> = filter.buckets.iter().map(|one| one.as_str()).collect();
        let causes: Vec<&str> = filter.causes.iter().map(|one| one.as_str()).collect();
        let rows = sqlx::query(LINES)
            .bind(id)
            .bind(after.to_owned())
            .bind(json(&buckets))
            .bind(json(&causes))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        rows.iter().map(|row| read_line(row, id)).collect()
    }

    async fn place_lines(&self, id: i64, placed: &[PlacedLine]) -> Result<(), LedgerError> {
        let doing = "place dossiers anew";
        let mut tx = self.begin(doing).await?;
        run(&mut tx, doing, sqlx::query(REPLACE).bind(id).bind(placed_rows(placed))).await?;
        finish(tx, doing).await
    }

    async fn unlisted(
        &self,
        id: i64,
        source: &str,
        after: &str,
        first_seen_until: Timestamp,
        limit: u32,
    ) -> Result<Option<(String, Vec<String>)>, LedgerError> {
        let rows: Vec<(String, bool)> = sqlx::query_as(UNLISTED)
            .bind(id)
            .bind(source.to_owned())
            .bind(after.to_owned())
            .bind(first_seen_until.millis())
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed("compare with the index", error))?;
        let Some((last, _)) = rows.last().cloned() else {
            return Ok(None);
        };
        let unlisted =
            rows.into_iter().filter_map(|(code, unlisted)| unlisted.then_some(code)).collect();
        Ok(Some((last, unlisted)))
    }

    async fn resolve_by_lines(
        &self,
        now: Timestamp,
        source: &str,
        id: i64,
    ) -> Result<u64, LedgerError> {
        let doing = "resolve discrepancies";
        let mut tx = self.begin(doing).await?;
        let query = sqlx::query(RESOLVE).bind(now.millis()).bind(source.to_owned()).bind(id);
        let mut resolved = run(&mut tx, doing, query).await?;
        let query = sqlx::query(RESOLVE_DELETED).bind(now.millis()).bind(source.to_owned());
        resolved += run(&mut tx, doing, query).await?;
        finish(tx, doing).await?;
        Ok(resolved)
    }

    async fn sum_up(&self, id: i64, suspected_before: Timestamp) -> Result<RunSums, LedgerError> {
        let doing = "add the books up";
        let mut tx = self.begin(doing).await?;
        let mut sums = RunSums::default();
        let rows = sqlx::query(SUMS)
            .bind(id)
            .bind(suspected_before.millis())
            .fetch_all(&mut *tx)
            .await
            .map_err(|error| failed(doing, error))?;
        for row in &rows {
            let count = |name| -> Result<u64, LedgerError> {
                Ok(u64::try_from(column::<i64>(row, "reconcile_line", name, id)?).unwrap_or(0))
            };
            let bucket = read_bucket(row, id)?;
            let cause = read_cause(row, id)?;
            let number = count("number")?;
            *sums.buckets.entry(bucket).or_default() += number;
            if let Some(cause) = cause {
                *sums.causes.entry(cause).or_default() += number;
                if cause.explains() && !matches!(bucket, Bucket::Matched | Bucket::Extra) {
                    sums.explained += number;
                }
            }
            sums.suspected += count("suspected")?;
            sums.found += count("found")?;
            sums.compared += count("compared")?;
            sums.population += count("population")?;
            sums.drawn += count("drawn")?;
            sums.differing += count("differing")?;
        }
        for kind in RowKind::ALL {
            let query = sqlx::query(SUM_ROWS).bind(id).bind(kind.as_str());
            run(&mut tx, doing, query).await?;
        }
        let open: Vec<(String, String)> = sqlx::query_as(UNBALANCED)
            .bind(id)
            .fetch_all(&mut *tx)
            .await
            .map_err(|error| failed(doing, error))?;
        sums.unbalanced = open.into_iter().map(|(kind, name)| format!("{kind} {name}")).collect();
        finish(tx, doing).await?;
        Ok(sums)
    }

    async fn end_run(&self, id: i64, books: &Books) -> Result<(), LedgerError> {
        let doing = "store closed books";
        let mut tx = self.begin(doing).await?;
        let plain: Option<bool> = sqlx::query_scalar(IS_PLAIN)
            .bind(id)
            .fetch_one(&mut *tx)
            .await
            .map_err(|error| failed(doing, error))?;
        let query =
            sqlx::query(END_RUN).bind(id).bind(books.ended_at.millis()).bind(json_one(books));
        let ended = run(&mut tx, doing, query).await?;
        if ended > 0 && plain == Some(true) {
            super::reconcile::record_books(&mut tx, books).await?;
        }
        finish(tx, doing).await
    }

    async fn trim_lines(&self, source: &str, id: i64, limit: u32) -> Result<bool, LedgerError> {
        let doing = "drop matched dossiers";
        let limit = i64::from(limit);
        let mut after = String::new();
        // Each part its own transaction: nobody waits behind a million rows.
        loop {
            let mut tx = self.begin(doing).await?;
            let until: Option<String> = sqlx::query_scalar(END_OF_RANGE)
                .bind(id)
                .bind(after.clone())
                .bind(limit)
                .fetch_one(&mut *tx)
                .await
                .map_err(|error| failed(doing, error))?;
            let Some(until) = until else { break };
            let query = sqlx::query(TRIM).bind(id).bind(after).bind(until.clone());
            run(&mut tx, doing, query).await?;
            finish(tx, doing).await?;
            after = until;
        }
        let mut tx = self.begin(doing).await?;
        let query = sqlx::query(TRIM_EARLIER).bind(source.to_owned()).bind(id).bind(limit);
        let earlier = run(&mut tx, doing, query).await?;
        finish(tx, doing).await?;
        Ok(earlier > 0)
    }

    async fn book_rows(&self, id: i64, kind: RowKind) -> Result<Vec<BookRow>, LedgerError> {
        let rows = sqlx::query(BOOK_ROWS)
            .bind(id)
            .bind(kind.as_str())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        rows.iter().map(|row| Ok(book_row(row, id)?.1)).collect()
    }

    async fn row_over_time(
        &self,
        source: &str,
        kind: RowKind,
        name: &str,
        since: Timestamp,
    ) -> Result<Vec<(Timestamp, BookRow)>, LedgerError> {
        let rows = sqlx::query(ROW_OVER_TIME)
            .bind(source.to_owned())
            .bind(kind.as_str())
            .bind(name.to_owned())
            .bind(since.millis())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        rows.iter().map(|row| book_row(row, 0)).collect()
    }

    async fn books_since(&self, source: &str, since: Timestamp) -> Result<Vec<Books>, LedgerError> {
        let rows: Vec<(i64, String)> = sqlx::query_as(BOOKS_SINCE)
            .bind(source.to_owned())
            .bind(since.millis())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        let mut books = Vec::with_capacity(rows.len());
        for (id, text) in rows {
            books.extend(envelope::<Books>(Some(text), "reconcile_run", "books", id)?);
        }
        Ok(books)
    }

    async fn compared(&self, dossiers: &[i64]) -> Result<Vec<ComparedDossier>, LedgerError> {
        let rows = sqlx::query(COMPARED)
            .bind(json(dossiers))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed("read the sides of dossiers", error))?;
        rows.iter()
            .map(|row| {
                let id: i64 = column(row, "dossier", "id", 0)?;
                let body = |table, key, name| -> Result<Option<String>, LedgerError> {
                    let at: Option<i64> = column(row, table, key, id)?;
                    let body: Option<Vec<u8>> = column(row, table, name, id)?;
                    let (Some(at), Some(body)) = (at, body) else { return Ok(None) };
                    // One that cannot be read back cannot be compared, as one past retention cannot.
                    Ok(self.bodies.read(Row::of(table, at), &body).ok())
                };
                let state: Option<String> = column(row, "entry", "state", id)?;
                Ok(ComparedDossier {
                    dossier_id: id,
                    told: body("packet", "entry_id", "packet")?,
                    document: body("document", "revision_id", "document")?,
                    mapping_version: column(row, "entry", "mapping_version", id)?,
                    is_unsent: !matches!(
                        state.as_deref(),
                        Some("accepted" | "unchanged" | "presumed")
                    ),
                })
            })
            .collect()
    }

    async fn rolling_scans(&self) -> Result<Vec<RollingScan>, LedgerError> {
        let rows = sqlx::query(ROLLING)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed("read the rolling scan", error))?;
        rows.iter()
            .map(|row| {
                let table = "rolling_scan";
                let count = |name| -> Result<Option<u64>, LedgerError> {
                    let number: Option<i64> = column(row, table, name, 0)?;
                    Ok(number.map(|number| u64::try_from(number).unwrap_or(0)))
                };
                Ok(RollingScan {
                    source: column(row, table, "source", 0)?,
                    cursor: column(row, table, "cursor", 0)?,
                    from_day: column(row, table, "from_day", 0)?,
                    to_day: column(row, table, "to_day", 0)?,
                    round: count("round")?.unwrap_or(0),
                    seen: count("seen")?.unwrap_or(0),
                    missed: count("missed")?.unwrap_or(0),
                    began_at: time(row, "began_at", 0)?.unwrap_or_default(),
                    last_seen: count("last_seen")?,
                    last_missed: count("last_missed")?,
                    last_ended_at: time(row, "last_ended_at", 0)?,
                    missed_in_all: count("missed_in_all")?.unwrap_or(0),
                    scanned_at: time(row, "scanned_at", 0)?.unwrap_or_default(),
                })
            })
            .collect()
    }

    async fn keep_rolling_scan(&self, scan: &RollingScan) -> Result<(), LedgerError> {
        let doing = "keep the rolling scan";
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let mut tx = self.begin(doing).await?;
        let query = sqlx::query(KEEP_ROLLING)
            .bind(scan.source.clone())
            .bind(scan.cursor.clone())
            .bind(scan.from_day.clone())
            .bind(scan.to_day.clone())
            .bind(number(scan.round))
            .bind(number(scan.seen))
            .bind(number(scan.missed))
            .bind(scan.began_at.millis())
            .bind(scan.last_seen.map(number))
            .bind(scan.last_missed.map(number))
            .bind(scan.last_ended_at.map(Timestamp::millis))
            .bind(number(scan.missed_in_all))
            .bind(scan.scanned_at.millis());
        run(&mut tx, doing, query).await?;
        finish(tx, doing).await
    }
}

fn placed_rows(placed: &[PlacedLine]) -> String {
    let rows: Vec<_> = placed
        .iter()
        .map(|line| {
            let differences = (!line.differences.is_empty()).then(|| json(&line.differences));
            let cause = line.cause.map(Cause::as_str);
            (&line.ma_ho_so, line.bucket.as_str(), cause, &line.detail, differences, line.seen)
        })
        .collect();
    json(&rows)
}

fn time(row: &SqliteRow, name: &'static str, id: i64) -> Result<Option<Timestamp>, LedgerError> {
    Ok(column::<Option<i64>>(row, "reconcile_run", name, id)?.map(Timestamp::from_millis))
}

fn read_bucket(row: &SqliteRow, id: i64) -> Result<Bucket, LedgerError> {
    let text: String = column(row, "reconcile_line", "bucket", id)?;
    Bucket::parse(&text).ok_or(LedgerError::Corrupt {
        table: "reconcile_line",
        column: "bucket",
        row: id,
    })
}

fn read_cause(row: &SqliteRow, id: i64) -> Result<Option<Cause>, LedgerError> {
    let text: Option<String> = column(row, "reconcile_line", "cause", id)?;
    Ok(text.as_deref().and_then(Cause::parse))
}

fn read_line(row: &SqliteRow, id: i64) -> Result<ReconcileLine, LedgerError> {
    let differences: Option<String> = column(row, "reconcile_line", "differences", id)?;
    let differences: Option<Vec<CausedDifference>> =
        envelope(differences, "reconcile_line", "differences", id)?;
    Ok(ReconcileLine {
        ma_ho_so: column(row, "reconcile_line", "ma_ho_so", id)?,
        dossier_id: column(row, "reconcile_line", "dossier_id", id)?,
        day: column(row, "reconcile_line", "day", id)?,
        agency: column(row, "reconcile_line", "agency", id)?,
        procedure: column(row, "reconcile_line", "procedure", id)?,
        bucket: read_bucket(row, id)?,
        cause: read_cause(row, id)?,
        detail: column(row, "reconcile_line", "detail", id)?,
        differences: differences.unwrap_or_default(),
        presumed: column::<i64>(row, "reconcile_line", "presumed", id)? != 0,
        suspected_since: time(row, "suspected_since", id)?,
    })
}

fn book_row(row: &SqliteRow, id: i64) -> Result<(Timestamp, BookRow), LedgerError> {
    let count = |name| -> Result<u64, LedgerError> {
        Ok(u64::try_from(column::<i64>(row, "reconcile_row", name, id)?).unwrap_or(0))
    };
    let at = time(row, "started_at", id)?.unwrap_or_default();
    Ok((
        at,
        BookRow {
            name: column(row, "reconcile_row", "name", id)?,
            at_source: count("at_source")?,
            matched: count("matched")?,
            different: count("different")?,
            missing: count("missing")?,
            unverifiable: count("unverifiable")?,
            quarantined: count("quarantined")?,
            dead: count("dead")?,
            open: count("open")?,
            not_ours: count("not_ours")?,
            explained: count("explained")?,
        },
    ))
}

async fn read_run(
    conn: &mut SqliteConnection,
    id: i64,
) -> Result<Option<ReconcileRun>, LedgerError> {
    let row = sqlx::query(RUN)
        .bind(id)
        .fetch_optional(conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    let Some(row) = &row else { return Ok(None) };
    let table = "reconcile_run";
    let corrupt = |column| LedgerError::Corrupt { table, column, row: id };
    let count = |name| -> Result<u64, LedgerError> {
        Ok(u64::try_from(column::<i64>(row, table, name, id)?).unwrap_or(0))
    };
    let text = |name| -> Result<Option<String>, LedgerError> { column(row, table, name, id) };
    let phase: String = column(row, table, "phase", id)?;
    Ok(Some(ReconcileRun {
        id,
        order: envelope(text("orders")?, table, "orders", id)?.ok_or_else(|| corrupt("orders"))?,
        phase: Phase::ALL
            .into_iter()
            .find(|one| one.as_str() == phase)
            .ok_or_else(|| corrupt("phase"))?,
        cursor: column(row, table, "cursor", id)?,
        from_day: column(row, table, "from_day", id)?,
        to_day: column(row, table, "to_day", id)?,
        read: count("read")?,
        wanted: count("wanted")?,
        chosen: count("chosen")?,
        asked: count("asked")?,
        spent: count("spent")?,
        calls: count("calls")?,
        fruitless: column(row, table, "fruitless", id)?,
        widened: envelope(text("widened")?, table, "widened", id)?.unwrap_or_default(),
        remark: column(row, table, "remark", id)?,
        books: envelope(text("books")?, table, "books", id)?,
        started_at: time(row, "started_at", id)?.unwrap_or_default(),
        ended_at: time(row, "ended_at", id)?,
    }))
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    RUN,
    OPEN_RUN,
    OPEN_RUNS,
    RUNS,
    RUNS_OF_SOURCE,
    BEGIN_RUN,
    GIVE_UP,
    DROP_LINES,
    ADD_LINES,
    COUNT_ROWS,
    MOVE_ON,
    BEGIN_ASKING,
    STANDING,
    BACKLOG,
    CHOOSE,
    TO_ASK,
    SPEND,
    PLACE,
    REPLACE,
    ASK_LATER,
    COUNT_ASKED,
    SLICES,
    WIDEN,
    LEAVE_SAMPLE,
    WANT_MORE,
    UNANSWERED,
    NOT_ASKED,
    BEGIN_CLOSING,
    LINES,
    UNLISTED,
    RESOLVE,
    RESOLVE_DELETED,
    SUMS,
    SUM_ROWS,
    UNBALANCED,
    END_RUN,
    IS_PLAIN,
    END_OF_RANGE,
    TRIM,
    TRIM_EARLIER,
    BOOK_ROWS,
    ROW_OVER_TIME,
    BOOKS_SINCE,
    COMPARED,
    ROLLING,
    KEEP_ROLLING,
];
