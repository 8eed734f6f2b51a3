//! Jobs as a whole: started, ordered about, moved on.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::audit::insert_audit;
use super::super::{column, failed, run};
use super::plans;
use crate::domain::job::{ItemCounts, ItemState, JobState, Order, Pace, obeyed};
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::jobs::{Job, JobLimits, Obeyed, Started};
use crate::ledger::record::AuditRecord;

const TO_START: &str = "
    SELECT p.id, j.id AS job, j.actor, j.state FROM plan AS p LEFT JOIN job AS j ON j.plan_id = p.id
    WHERE p.id = ?1 AND p.sealed_at IS NOT NULL";

const START: &str = "
    INSERT INTO job (plan_id, actor, reason, state, canary, canary_passed, per_minute, stop_after, started_at,
                     changed_at, progress_at, counting_from, paced_from)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?9, ?9, ?9) RETURNING id";

pub(super) async fn start(
    conn: &mut SqliteConnection,
    now: Timestamp,
    plan: i64,
    limits: JobLimits,
    audit: &AuditRecord,
) -> Result<Started, LedgerError> {
    let doing = "start a job";
    let row = sqlx::query(TO_START)
        .bind(plan)
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let Some(row) = row else {
        insert_audit(conn, now, audit, "no such plan").await?;
        return Ok(Started::UnknownPlan);
    };
    if let Some(job) = column::<Option<i64>>(&row, "job", "job", plan)? {
        insert_audit(conn, now, audit, &format!("job {job} works on it already")).await?;
        let actor = column(&row, "job", "actor", job)?;
        return Ok(Started::Already { job, actor, state: state_of(&row, job)? });
    }
    let first = if limits.canary == 0 { JobState::Running } else { JobState::Canary };
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let job: i64 = sqlx::query_scalar(START)
        .bind(plan)
        .bind(audit.actor.clone())
        .bind(audit.reason.clone())
        .bind(first.as_str())
        .bind(number(limits.canary))
        .bind(i64::from(limits.canary == 0))
        .bind(number(limits.per_minute))
        .bind(number(limits.stop_after))
        .bind(now.millis())
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    insert_audit(conn, now, audit, &format!("started job {job}")).await?;
    Ok(Started::Job(job))
}

fn state_of(row: &SqliteRow, job: i64) -> Result<JobState, LedgerError> {
    let state: String = column(row, "job", "state", job)?;
    JobState::parse(&state).ok_or(LedgerError::Corrupt { table: "job", column: "state", row: job })
}

macro_rules! job_rows {
    () => {
        "SELECT id, plan_id, actor, reason, state, note, canary, canary_passed, per_minute, stop_after, started_at,
           changed_at, progress_at, counting_from, paced_from, paced, ended_at FROM job "
    };
}

const JOBS: &str = concat!(job_rows!(), "ORDER BY id DESC LIMIT ?1");
const JOBS_AT_WORK: &str = concat!(
    job_rows!(),
    "WHERE state IN ('canary', 'running', 'paused', 'stopped')
       OR EXISTS (SELECT 1 FROM job_item AS i WHERE i.plan_id = job.plan_id AND i.state IN ('opened', 'sent'))
     ORDER BY id DESC LIMIT ?1"
);
const JOB: &str = concat!(job_rows!(), "WHERE id = ?1");

const COUNTS: &str = "SELECT state, count(*) AS n FROM job_item WHERE plan_id = ?1 GROUP BY state";

const FAILURES: &str = "
    SELECT coalesce(outcome, '') AS code, count(*) AS n FROM job_item
    WHERE plan_id = ?1 AND state = 'failed' AND changed_at >= ?2 GROUP BY code";

pub(super) async fn jobs(
    readers: &SqlitePool,
    open: bool,
    limit: u32,
) -> Result<Vec<Job>, LedgerError> {
    let rows = sqlx::query(if open { JOBS_AT_WORK } else { JOBS })
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read jobs", error))?;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        jobs.push(whole(readers, row).await?);
    }
    Ok(jobs)
}

pub(super) async fn job(readers: &SqlitePool, id: i64) -> Result<Option<Job>, LedgerError> {
    let row = sqlx::query(JOB)
        .bind(id)
        .fetch_optional(readers)
        .await
        .map_err(|error| failed("read jobs", error))?;
    match row {
        Some(row) => Ok(Some(whole(readers, &row).await?)),
        None => Ok(None),
    }
}

async fn whole(readers: &SqlitePool, row: &SqliteRow) -> Result<Job, LedgerError> {
    let doing = "read jobs";
    let id: i64 = column(row, "job", "id", 0)?;
    let plan_id: i64 = column(row, "job", "plan_id", id)?;
    let at = |name| column::<i64>(row, "job", name, id).map(Timestamp::from_millis);
    let number = |name| {
        Ok::<_, LedgerError>(u64::try_from(column::<i64>(row, "job", name, id)?).unwrap_or(0))
    };
    let plan = plans::plan(readers, plan_id).await?;
    let plan = plan.ok_or(LedgerError::Corrupt { table: "job", column: "plan_id", row: id })?;
    let counting_from = at("counting_from")?;
    let mut counts = ItemCounts::default();
    let rows = sqlx::query(COUNTS)
        .bind(plan_id)
        .fetch_all(readers)
        .await
        .map_err(|error| failed(doing, error))?;
    for row in &rows {
        let state: String = column(row, "job_item", "state", plan_id)?;
        let count: i64 = column(row, "job_item", "n", plan_id)?;
        if let Some(state) = ItemState::parse(&state) {
            *counts.of_mut(state) = u64::try_from(count).unwrap_or(0);
        }
    }
    let mut failures = BTreeMap::new();
    if counts.failed > 0 {
        let rows = sqlx::query(FAILURES)
            .bind(plan_id)
            .bind(counting_from.millis())
            .fetch_all(readers)
            .await
            .map_err(|error| failed(doing, error))?;
        for row in &rows {
            let count: i64 = column(row, "job_item", "n", plan_id)?;
            let code: String = column(row, "job_item", "code", plan_id)?;
            failures.insert(code, u64::try_from(count).unwrap_or(0));
        }
    }
    Ok(Job {
        id,
        plan,
        actor: column(row, "job", "actor", id)?,
        reason: column(row, "job", "reason", id)?,
        state: state_of(row, id)?,
        note: column(row, "job", "note", id)?,
        canary: number("canary")?,
        canary_passed: number("canary_passed")? != 0,
        stop_after: number("stop_after")?,
        started_at: at("started_at")?,
        changed_at: at("changed_at")?,
        progress_at: at("progress_at")?,
        ended_at: column::<Option<i64>>(row, "job", "ended_at", id)?.map(Timestamp::from_millis),
        counts,
        failures,
        pace: Pace {
            per_minute: number("per_minute")?,
            from: at("paced_from")?,
            opened: number("paced")?,
        },
        counting_from,
    })
}

const ORDERED: &str = "SELECT plan_id, state, canary_passed FROM job WHERE id = ?1";

const OBEY: &str = "
    UPDATE job SET state = ?2, note = ?3, changed_at = ?1, progress_at = ?1,
        counting_from = CASE WHEN ?4 = 1 THEN ?1 ELSE counting_from END,
        ended_at = CASE WHEN ?2 IN ('done', 'cancelled') THEN ?1 END
    WHERE id = ?5";

/// What was not opened yet never will be.
const CANCEL_ITEMS: &str = "
    UPDATE job_item SET state = 'cancelled', changed_at = ?1 WHERE plan_id = ?2 AND state = 'waiting'";

const RETRY_ITEMS: &str = "
    UPDATE job_item SET state = 'waiting', changed_at = ?1, entry_id = NULL, outcome = NULL
    WHERE plan_id = ?2 AND state = 'failed'";

pub(super) async fn order(
    conn: &mut SqliteConnection,
    now: Timestamp,
    job: i64,
    order: Order,
    audit: &AuditRecord,
) -> Result<Obeyed, LedgerError> {
    let doing = "order a job";
    let row = sqlx::query(ORDERED)
        .bind(job)
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let Some(row) = row else {
        insert_audit(conn, now, audit, "no such job").await?;
        return Ok(Obeyed::UnknownJob);
    };
    let from = state_of(&row, job)?;
    let plan: i64 = column(&row, "job", "plan_id", job)?;
    let passed = column::<i64>(&row, "job", "canary_passed", job)? != 0;
    let Some(to) = obeyed(from, passed, order) else {
        insert_audit(conn, now, audit, &format!("refused: the job is {from}")).await?;
        return Ok(Obeyed::Refused(from));
    };
    let at = now.millis();
    let items = match order {
        Order::Cancel => run(conn, doing, sqlx::query(CANCEL_ITEMS).bind(at).bind(plan)).await?,
        Order::RetryFailed => {
            run(conn, doing, sqlx::query(RETRY_ITEMS).bind(at).bind(plan)).await?
        }
        Order::Pause | Order::Resume => 0,
    };
    let note = match order {
        Order::Pause => Some(format!("by {}: {}", audit.actor, audit.reason)),
        Order::Cancel => Some(format!("cancelled by {}: {}", audit.actor, audit.reason)),
        Order::Resume | Order::RetryFailed => None,
    };
    let starts_over = matches!(order, Order::Resume | Order::RetryFailed);
    let query = sqlx::query(OBEY)
        .bind(at)
        .bind(to.as_str())
        .bind(note)
        .bind(i64::from(starts_over))
        .bind(job);
    run(conn, doing, query).await?;
    let result = match order {
        Order::Cancel => format!("{from} -> {to}; {items} will not be sent"),
        Order::RetryFailed => format!("{from} -> {to}; {items} wait again"),
        Order::Pause | Order::Resume => format!("{from} -> {to}"),
    };
    insert_audit(conn, now, audit, &result).await?;
    Ok(Obeyed::Now { from, to, items })
}

const MOVE: &str = "
    UPDATE job SET state = ?2, note = ?3, changed_at = ?1, progress_at = ?1,
        canary_passed = CASE WHEN ?2 = 'running' THEN 1 ELSE canary_passed END,
        ended_at = CASE WHEN ?2 IN ('done', 'cancelled') THEN ?1 END
    WHERE id = ?4 AND state = ?5";

pub(super) async fn change(
    conn: &mut SqliteConnection,
    now: Timestamp,
    job: &Job,
    next: JobState,
    note: Option<&str>,
) -> Result<bool, LedgerError> {
    if !job.state.may_become(next) {
        let what = format!("job {} cannot become {next} from {}", job.id, job.state);
        return Err(LedgerError::Conflict(what));
    }
    let query = sqlx::query(MOVE)
        .bind(now.millis())
        .bind(next.as_str())
        .bind(note.map(str::to_owned))
        .bind(job.id)
        .bind(job.state.as_str());
    Ok(run(conn, "move a job", query).await? == 1)
}

const NOTE: &str = "UPDATE job SET note = ?1 WHERE id = ?2 AND state IN ('canary', 'running')";

pub(super) async fn note(
    conn: &mut SqliteConnection,
    job: &Job,
    note: Option<&str>,
) -> Result<(), LedgerError> {
    let query = sqlx::query(NOTE).bind(note.map(str::to_owned)).bind(job.id);
    run(conn, "note about a job", query).await.map(|_| ())
}

const PROGRESS: &str = "UPDATE job SET progress_at = ?1 WHERE id = ?2";

pub(super) async fn progress(
    conn: &mut SqliteConnection,
    now: Timestamp,
    job: i64,
) -> Result<(), LedgerError> {
    run(conn, "follow a job", sqlx::query(PROGRESS).bind(now.millis()).bind(job)).await.map(|_| ())
}

const PACED: &str = "
    UPDATE job SET paced_from = ?1, paced = ?2, progress_at = ?3 WHERE id = ?4";

pub(super) async fn paced(
    conn: &mut SqliteConnection,
    now: Timestamp,
    job: i64,
    pace: Pace,
) -> Result<(), LedgerError> {
    let query = sqlx::query(PACED)
        .bind(pace.from.millis())
        .bind(i64::try_from(pace.opened).unwrap_or(i64::MAX))
        .bind(now.millis())
        .bind(job);
    run(conn, "open items of a job", query).await.map(|_| ())
}

/// Jobs are few, and most of them are over.
const JOBS_WAIT: &str = "
    SELECT EXISTS (SELECT 1 FROM job WHERE state IN ('canary', 'running'))
        OR EXISTS (SELECT 1 FROM job AS j WHERE EXISTS (SELECT 1 FROM job_item AS i
                   WHERE i.plan_id = j.plan_id AND i.state IN ('opened', 'sent')))";

/// Whether a job is at work or has something on its way.
pub(super) async fn wait(conn: &mut SqliteConnection) -> Result<bool, LedgerError> {
    sqlx::query_scalar(JOBS_WAIT)
        .fetch_one(conn)
        .await
        .map_err(|error| failed("read what operators want", error))
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    TO_START,
    START,
    JOBS,
    JOBS_AT_WORK,
    JOB,
    COUNTS,
    FAILURES,
    ORDERED,
    OBEY,
    CANCEL_ITEMS,
    RETRY_ITEMS,
    MOVE,
    NOTE,
    PROGRESS,
    PACED,
    JOBS_WAIT,
];
