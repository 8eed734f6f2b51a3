//! Freezing a selection: a list in parts, its hash, its seal, and how it stands later.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::{column, failed, run};
use super::select::{bound, by_code, codes, meant, walked};
use crate::domain::job::Mode;
use crate::domain::selection::Selection;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::jobs::{Outlook, Plan, PlanLine, PlanOrder, hash_text, hashed_head};
use crate::ledger::record::Hash;

const DOING: &str = "make a plan";

/// Dossiers that one part of a walk looks at: some hundred milliseconds of the writer.
const PART: i64 = 50_000;
/// Lines that are hashed at a time.
const HASHED: i64 = 10_000;
/// A plan that was not sealed by then never will be.
const ABANDONED_MS: i64 = 3_600_000;
/// Rows of abandoned lists that one new plan clears away.
const CLEARED_MAX: i64 = 50_000;

pub(super) struct Draft {
    pub(super) id: i64,
    last_dossier_id: i64,
}

const BEGIN_PLAN: &str = "
    INSERT INTO plan (made_at, actor, reason, selection, mode, supplements, last_dossier_id)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce((SELECT max(id) FROM dossier), 0))
    RETURNING id, last_dossier_id";

const CLEAR_ITEMS: &str = "
    DELETE FROM job_item WHERE (plan_id, dossier_id) IN (
        SELECT i.plan_id, i.dossier_id FROM plan AS p CROSS JOIN job_item AS i ON i.plan_id = p.id
        WHERE p.sealed_at IS NULL AND p.made_at < ?1 LIMIT ?2)";

const CLEAR_PLANS: &str = "
    DELETE FROM plan WHERE sealed_at IS NULL AND made_at < ?1
      AND NOT EXISTS (SELECT 1 FROM job_item AS i WHERE i.plan_id = plan.id)";

pub(super) async fn begin(
    conn: &mut SqliteConnection,
    now: Timestamp,
    order: &PlanOrder,
) -> Result<Draft, LedgerError> {
    let abandoned = now.millis() - ABANDONED_MS;
    run(conn, DOING, sqlx::query(CLEAR_ITEMS).bind(abandoned).bind(CLEARED_MAX)).await?;
    run(conn, DOING, sqlx::query(CLEAR_PLANS).bind(abandoned)).await?;
    let row = sqlx::query(BEGIN_PLAN)
        .bind(now.millis())
        .bind(order.actor.clone())
        .bind(order.reason.clone())
        .bind(order.selection.canonical())
        .bind(order.mode.as_str())
        .bind(i64::from(order.supplements))
        .fetch_one(conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    Ok(Draft {
        id: column(&row, "plan", "id", 0)?,
        last_dossier_id: column(&row, "plan", "last_dossier_id", 0)?,
    })
}

/// The dossiers behind ?14 up to ?15, of the plan ?17 at ?18. What is never sent is in the list, and
/// says so.
macro_rules! insert_items {
    () => {
        "INSERT INTO job_item (plan_id, dossier_id, revision_id, state, changed_at, outcome)
    SELECT ?17, d.id, d.newest_revision_id, CASE e.state WHEN 'not_ours' THEN 'skipped' ELSE 'waiting' END, ?18,
           CASE e.state WHEN 'not_ours' THEN 'never_sent' END
    FROM "
    };
}

const FILL: &str = concat!(
    insert_items!(),
    walked!(),
    " WHERE d.id > ?14 AND d.id <= ?15 AND ?16 IS NULL AND ",
    meant!(),
    " ORDER BY d.id"
);

const FILL_CODES: &str = concat!(
    insert_items!(),
    by_code!(),
    " WHERE d.id > ?14 AND d.id <= ?15 AND ",
    meant!(),
    " ORDER BY d.id"
);

/// Writes one part of the list; returns where the next one begins, or `None` behind the last.
pub(super) async fn fill(
    conn: &mut SqliteConnection,
    now: Timestamp,
    draft: &Draft,
    selection: &Selection,
    after: i64,
) -> Result<Option<i64>, LedgerError> {
    let by_codes = !selection.codes.is_empty();
    // Codes are found by their index, all at once.
    let until = if by_codes {
        draft.last_dossier_id
    } else {
        after.saturating_add(PART).min(draft.last_dossier_id)
    };
    let query = bound(if by_codes { FILL_CODES } else { FILL }, selection)
        .bind(after)
        .bind(until)
        .bind(by_codes.then(|| codes(selection)))
        .bind(draft.id)
        .bind(now.millis());
    run(conn, DOING, query).await?;
    Ok((until < draft.last_dossier_id).then_some(until))
}

/// A page of lines as they are hashed, with how many and the last one's dossier.
const HASHED_LINES: &str = "
    SELECT group_concat(line, '') AS lines, count(*) AS n, max(dossier_id) AS last
    FROM (SELECT d.source || ' ' || d.ma_ho_so || ' ' || i.revision_id || char(10) AS line, i.dossier_id
          FROM job_item AS i CROSS JOIN dossier AS d ON d.id = i.dossier_id
          WHERE i.plan_id = ?1 AND i.dossier_id > ?2 ORDER BY i.dossier_id LIMIT ?3)";

/// How many items the list has, and its hash. Reads it by pages.
pub(super) async fn hashed(
    readers: &SqlitePool,
    draft: &Draft,
    order: &PlanOrder,
) -> Result<(u64, Hash), LedgerError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(hashed_head(&order.selection, order.mode, order.supplements).as_bytes());
    let (mut items, mut after) = (0, 0);
    loop {
        let row = sqlx::query(HASHED_LINES)
            .bind(draft.id)
            .bind(after)
            .bind(HASHED)
            .fetch_one(readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        let count: i64 = column(&row, "job_item", "n", draft.id)?;
        if count > 0 {
            hasher.update(column::<String>(&row, "job_item", "lines", draft.id)?.as_bytes());
            after = column(&row, "job_item", "last", draft.id)?;
            items += u64::try_from(count).unwrap_or(0);
        }
        if count < HASHED {
            return Ok((items, *hasher.finalize().as_bytes()));
        }
    }
}

const SEAL: &str = "
    UPDATE plan SET sealed_at = ?1, items = ?2, hash = ?3 WHERE id = ?4 AND sealed_at IS NULL";

pub(super) async fn seal(
    conn: &mut SqliteConnection,
    now: Timestamp,
    plan: i64,
    items: u64,
    hash: &Hash,
) -> Result<(), LedgerError> {
    let query = sqlx::query(SEAL)
        .bind(now.millis())
        .bind(i64::try_from(items).unwrap_or(i64::MAX))
        .bind(hash.to_vec())
        .bind(plan);
    run(conn, DOING, query).await.map(|_| ())
}

const PLAN: &str = "
    SELECT p.id, p.made_at, p.sealed_at, p.actor, p.reason, p.selection, p.mode, p.supplements, p.items, p.hash,
           (SELECT j.id FROM job AS j WHERE j.plan_id = p.id) AS job
    FROM plan AS p WHERE p.id = ?1 AND p.sealed_at IS NOT NULL";

pub(super) async fn plan(readers: &SqlitePool, id: i64) -> Result<Option<Plan>, LedgerError> {
    let row = sqlx::query(PLAN)
        .bind(id)
        .fetch_optional(readers)
        .await
        .map_err(|error| failed("read a plan", error))?;
    row.as_ref().map(read).transpose()
}

fn read(row: &SqliteRow) -> Result<Plan, LedgerError> {
    let id: i64 = column(row, "plan", "id", 0)?;
    let corrupt = |column| LedgerError::Corrupt { table: "plan", column, row: id };
    let at = |name| column::<i64>(row, "plan", name, id).map(Timestamp::from_millis);
    let selection: String = column(row, "plan", "selection", id)?;
    let mode: String = column(row, "plan", "mode", id)?;
    let hash: Vec<u8> = column(row, "plan", "hash", id)?;
    let hash: Hash = hash.try_into().map_err(|_| corrupt("hash"))?;
    Ok(Plan {
        id,
        made_at: at("made_at")?,
        sealed_at: at("sealed_at")?,
        actor: column(row, "plan", "actor", id)?,
        reason: column(row, "plan", "reason", id)?,
        selection: Selection::parse(&selection).map_err(|_| corrupt("selection"))?,
        mode: Mode::parse(&mode).ok_or_else(|| corrupt("mode"))?,
        supplements: column::<i64>(row, "plan", "supplements", id)? != 0,
        items: u64::try_from(column::<i64>(row, "plan", "items", id)?).unwrap_or(0),
        hash: hash_text(&hash),
        job: column(row, "plan", "job", id)?,
    })
}

const LINES: &str = "
    SELECT i.dossier_id, d.ma_ho_so, d.source, i.revision_id
    FROM job_item AS i CROSS JOIN dossier AS d ON d.id = i.dossier_id
    WHERE i.plan_id = ?1 AND i.dossier_id > ?2 ORDER BY i.dossier_id LIMIT ?3";

pub(super) async fn lines(
    readers: &SqlitePool,
    plan: i64,
    after: i64,
    limit: u32,
) -> Result<Vec<PlanLine>, LedgerError> {
    let rows = sqlx::query(LINES)
        .bind(plan)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read a plan", error))?;
    rows.iter().map(line).collect()
}

pub(super) fn line(row: &SqliteRow) -> Result<PlanLine, LedgerError> {
    let dossier_id: i64 = column(row, "job_item", "dossier_id", 0)?;
    Ok(PlanLine {
        dossier_id,
        ma_ho_so: column(row, "dossier", "ma_ho_so", dossier_id)?,
        source: column(row, "dossier", "source", dossier_id)?,
        revision: column(row, "job_item", "revision_id", dossier_id)?,
    })
}

const OUTLOOK: &str = "
    SELECT coalesce(sum(d.newest_revision_id <> i.revision_id), 0) AS changed,
           coalesce(sum(e.state = 'not_ours'), 0) AS never_sent,
           coalesce(sum(e.state IN ('received', 'ready', 'leased', 'unconfirmed', 'awaiting')), 0) AS open
    FROM job_item AS i CROSS JOIN dossier AS d ON d.id = i.dossier_id
    CROSS JOIN entry AS e ON e.id = d.newest_entry_id WHERE i.plan_id = ?1";

const CHANGED: &str = "
    SELECT d.ma_ho_so FROM job_item AS i CROSS JOIN dossier AS d ON d.id = i.dossier_id
    WHERE i.plan_id = ?1 AND d.newest_revision_id <> i.revision_id ORDER BY i.dossier_id LIMIT 5";

const ALSO_IN: &str = "
    SELECT j.id, count(*) AS n FROM job AS j CROSS JOIN job_item AS o ON o.plan_id = j.plan_id
    WHERE j.state IN ('canary', 'running', 'paused', 'stopped') AND j.plan_id <> ?1
      AND o.state IN ('waiting', 'opened')
      AND EXISTS (SELECT 1 FROM job_item AS i WHERE i.plan_id = ?1 AND i.dossier_id = o.dossier_id)
    GROUP BY j.id ORDER BY j.id";

macro_rules! later {
    () => {
        " WHERE NOT EXISTS (SELECT 1 FROM job_item AS i WHERE i.plan_id = ?14 AND i.dossier_id = d.id) AND "
    };
}

const LATER: &str = concat!("SELECT count(*) FROM ", walked!(), later!(), meant!());
const LATER_CODES: &str = concat!("SELECT count(*) FROM ", by_code!(), later!(), meant!());

pub(super) async fn outlook(readers: &SqlitePool, plan: &Plan) -> Result<Outlook, LedgerError> {
    let doing = "compare a plan with the ledger";
    let count = |row: &SqliteRow, name| -> Result<u64, LedgerError> {
        Ok(u64::try_from(column::<i64>(row, "job_item", name, plan.id)?).unwrap_or(0))
    };
    let row = sqlx::query(OUTLOOK)
        .bind(plan.id)
        .fetch_one(readers)
        .await
        .map_err(|error| failed(doing, error))?;
    let mut outlook = Outlook {
        changed: count(&row, "changed")?,
        never_sent: count(&row, "never_sent")?,
        open: count(&row, "open")?,
        ..Outlook::default()
    };
    if outlook.changed > 0 {
        outlook.changed_for_example = sqlx::query_scalar(CHANGED)
            .bind(plan.id)
            .fetch_all(readers)
            .await
            .map_err(|error| failed(doing, error))?;
    }
    let rows = sqlx::query(ALSO_IN)
        .bind(plan.id)
        .fetch_all(readers)
        .await
        .map_err(|error| failed(doing, error))?;
    for row in &rows {
        outlook.also_in.insert(column(row, "job", "id", 0)?, count(row, "n")?);
    }
    let by_codes = !plan.selection.codes.is_empty();
    let query = bound(if by_codes { LATER_CODES } else { LATER }, &plan.selection).bind(plan.id);
    // ?15 is nobody's here.
    let query = if by_codes { query.bind(None::<i64>).bind(codes(&plan.selection)) } else { query };
    let row = query.fetch_one(readers).await.map_err(|error| failed(doing, error))?;
    let later: i64 = row.try_get(0).map_err(|error| failed(doing, error))?;
    outlook.came_later = u64::try_from(later).unwrap_or(0);
    Ok(outlook)
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    BEGIN_PLAN,
    CLEAR_ITEMS,
    CLEAR_PLANS,
    FILL,
    FILL_CODES,
    HASHED_LINES,
    SEAL,
    PLAN,
    LINES,
    OUTLOOK,
    CHANGED,
    ALSO_IN,
    LATER,
    LATER_CODES,
];
