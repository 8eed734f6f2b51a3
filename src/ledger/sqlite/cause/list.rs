//! Lists of causes, and what belongs to one.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::super::super::LedgerError;
use super::super::super::cause::{Burst, Cause, CauseHold, Note, Trend};
use super::super::super::view::{AuditView, Problem, ProblemKind};
use super::super::view::{number, required_time, time};
use super::super::{column, failed, pause};
use crate::domain::signature::{Signature, Stage};
use crate::domain::time::Timestamp;

const DOING: &str = "read causes for a person";
const HOUR_MS: i64 = 3600 * 1000;

/// Of one, or of those of which anything is open or held.
const SIGNATURES: &str = "
    SELECT s.id, s.name, s.stage, s.code, s.message, s.field, s.refusal, s.first_seen, s.last_seen, s.total,
           s.burst_at, s.burst_scope, h.actor, h.reason, h.began_at, h.until,
           (SELECT count(*) FROM problem_note AS n WHERE n.target = s.name) AS notes
    FROM signature AS s LEFT JOIN signature_hold AS h ON h.signature_id = s.id AND h.ended_at IS NULL
    WHERE CASE WHEN ?1 IS NULL THEN h.id IS NOT NULL OR EXISTS (SELECT 1 FROM problem AS p WHERE p.signature_id = s.id)
               ELSE s.name = ?1 END";

/// From the index alone, in its order.
const GROUPS: &str = "
    SELECT signature_id, kind, ma_tthc, ma_don_vi, finished, count(*) AS n, min(appointed_at) AS nearest
    FROM problem INDEXED BY problem_by_cause
    WHERE signature_id >= ?1 AND signature_id <= ?2
    GROUP BY signature_id, kind, ma_tthc, ma_don_vi, finished";

const DOSSIERS: &str = "
    SELECT signature_id, count(DISTINCT dossier_id) AS n FROM problem INDEXED BY problem_of_dossiers
    WHERE signature_id >= ?1 AND signature_id <= ?2 GROUP BY signature_id";

const COUNTS: &str = "
    SELECT signature_id, sum(iif(began_at > ?1, n, 0)) AS last_hour,
           sum(iif(began_at <= ?1 AND began_at > ?2, n, 0)) AS hour_before,
           sum(iif(began_at > ?3, n, 0)) AS last_day, sum(iif(began_at <= ?3, n, 0)) AS day_before
    FROM signature_count WHERE signature_id >= ?4 AND signature_id <= ?5 GROUP BY signature_id";

/// All of them, or one.
pub(super) async fn causes(
    readers: &SqlitePool,
    now: Timestamp,
    name: Option<&str>,
) -> Result<Vec<Cause>, LedgerError> {
    let mut snapshot = readers.begin().await.map_err(|error| failed(DOING, error))?;
    let conn = &mut *snapshot;
    let rows = sqlx::query(SIGNATURES)
        .bind(name.map(str::to_owned))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    let mut causes: BTreeMap<i64, Cause> = BTreeMap::new();
    for row in &rows {
        let id: i64 = column(row, "signature", "id", 0)?;
        causes.insert(id, cause(row, id)?);
    }
    let (Some((&first, _)), Some((&last, _))) = (causes.first_key_value(), causes.last_key_value())
    else {
        return Ok(Vec::new());
    };
    let groups = sqlx::query(GROUPS)
        .bind(first)
        .bind(last)
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    let mut procedures: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    let mut agencies: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for row in &groups {
        let id: i64 = column(row, "problem", "signature_id", 0)?;
        let Some(cause) = causes.get_mut(&id) else { continue };
        let count = number(row, "problem", "n", id)?;
        let kind: String = column(row, "problem", "kind", id)?;
        cause.open += count;
        *cause.kinds.entry(kind_of(&kind)).or_default() += count;
        if column::<i64>(row, "problem", "finished", id)? != 0 {
            cause.finished_unsent += count;
        }
        let nearest = time(row, "problem", "nearest", id)?;
        cause.nearest_due = [cause.nearest_due, nearest].into_iter().flatten().min();
        procedures
            .entry(id)
            .or_default()
            .extend(column::<Option<String>>(row, "problem", "ma_tthc", id)?);
        agencies.entry(id).or_default().extend(column::<Option<String>>(
            row,
            "problem",
            "ma_don_vi",
            id,
        )?);
    }
    let dossiers = sqlx::query(DOSSIERS)
        .bind(first)
        .bind(last)
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    for row in &dossiers {
        let id: i64 = column(row, "problem", "signature_id", 0)?;
        if let Some(cause) = causes.get_mut(&id) {
            cause.dossiers = number(row, "problem", "n", id)?;
        }
    }
    let at = now.millis();
    let counts = sqlx::query(COUNTS)
        .bind(at - HOUR_MS)
        .bind(at - 2 * HOUR_MS)
        .bind(at - 24 * HOUR_MS)
        .bind(first)
        .bind(last)
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    for row in &counts {
        let id: i64 = column(row, "signature_count", "signature_id", 0)?;
        if let Some(cause) = causes.get_mut(&id) {
            cause.trend = Trend {
                last_hour: number(row, "signature_count", "last_hour", id)?,
                hour_before: number(row, "signature_count", "hour_before", id)?,
                last_day: number(row, "signature_count", "last_day", id)?,
                day_before: number(row, "signature_count", "day_before", id)?,
            };
        }
    }
    let pauses = pause::open(conn).await?;
    let size =
        |of: &BTreeMap<i64, BTreeSet<String>>, id| of.get(&id).map_or(0, BTreeSet::len) as u64;
    let mut list: Vec<Cause> = causes
        .into_iter()
        .map(|(id, cause)| Cause {
            procedures: size(&procedures, id),
            agencies: size(&agencies, id),
            pause: pauses.iter().find(|pause| pause.cause.as_ref() == Some(&cause.name)).cloned(),
            ..cause
        })
        .collect();
    list.sort_by(|one, other| {
        one.harm().order(&other.harm()).then_with(|| one.name.cmp(&other.name))
    });
    Ok(list)
}

fn cause(row: &SqliteRow, id: i64) -> Result<Cause, LedgerError> {
    let stage: String = column(row, "signature", "stage", id)?;
    let corrupt = LedgerError::Corrupt { table: "signature", column: "stage", row: id };
    Ok(Cause {
        name: column(row, "signature", "name", id)?,
        signature: Signature {
            stage: Stage::parse(&stage).ok_or(corrupt)?,
            code: column(row, "signature", "code", id)?,
            message: column(row, "signature", "message", id)?,
            field: column(row, "signature", "field", id)?,
        },
        refusal: column::<i64>(row, "signature", "refusal", id)? != 0,
        first_seen: required_time(row, "signature", "first_seen", id)?,
        last_seen: required_time(row, "signature", "last_seen", id)?,
        total: number(row, "signature", "total", id)?,
        open: 0,
        kinds: BTreeMap::new(),
        dossiers: 0,
        procedures: 0,
        agencies: 0,
        finished_unsent: 0,
        nearest_due: None,
        trend: Trend::default(),
        hold: match time(row, "signature_hold", "began_at", id)? {
            Some(since) => Some(CauseHold {
                by: column(row, "signature_hold", "actor", id)?,
                reason: column(row, "signature_hold", "reason", id)?,
                since,
                until: time(row, "signature_hold", "until", id)?,
            }),
            None => None,
        },
        burst: match time(row, "signature", "burst_at", id)? {
            Some(at) => Some(Burst { at, scope: column(row, "signature", "burst_scope", id)? }),
            None => None,
        },
        pause: None,
        notes: number(row, "problem_note", "notes", id)?,
    })
}

fn kind_of(text: &str) -> ProblemKind {
    match text {
        "quarantined" => ProblemKind::Quarantined,
        "dead" => ProblemKind::Dead,
        "held" => ProblemKind::Held,
        "failing" => ProblemKind::Failing,
        "catalogue" => ProblemKind::Catalogue,
        _ => ProblemKind::RefusedDocument,
    }
}

/// One line a dossier and kind. What has no appointed time comes last.
const MEMBERS: &str = "
    SELECT p.kind, coalesce(d.source, r.source, 'portal') AS source, coalesce(d.ma_ho_so, r.ma_ho_so, '') AS ma_ho_so,
           min(p.since) AS since, s.code, s.message, s.field, count(*) AS n
    FROM signature AS s JOIN problem AS p ON p.signature_id = s.id
    LEFT JOIN dossier AS d ON d.id = p.dossier_id
    LEFT JOIN refused_document AS r ON p.what = 'document' AND r.id = p.of_row
    WHERE s.name = ?1
    GROUP BY p.kind, p.dossier_id, r.id, iif(p.what = 'catalogue', p.part, '')
    ORDER BY min(coalesce(p.appointed_at, 253402300799000)), min(p.since), ma_ho_so LIMIT ?2";

pub(super) async fn members(
    readers: &SqlitePool,
    name: &str,
    limit: u32,
) -> Result<Vec<Problem>, LedgerError> {
    let rows = sqlx::query(MEMBERS)
        .bind(name.to_owned())
        .bind(if limit == 0 { -1 } else { i64::from(limit) })
        .fetch_all(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    rows.iter()
        .map(|row| {
            let kind: String = column(row, "problem", "kind", 0)?;
            let field: String = column(row, "signature", "field", 0)?;
            let message: String = column(row, "signature", "message", 0)?;
            let steps = number(row, "problem", "n", 0)?;
            let summary = match (field.as_str(), steps) {
                ("", 1) => message,
                ("", steps) => format!("{steps} steps: {message}"),
                (field, _) => format!("{field}: {message}"),
            };
            Ok(Problem {
                kind: kind_of(&kind),
                source: column(row, "dossier", "source", 0)?,
                ma_ho_so: column(row, "dossier", "ma_ho_so", 0)?,
                since: required_time(row, "problem", "since", 0)?,
                code: column(row, "signature", "code", 0)?,
                summary,
            })
        })
        .collect()
}

const CAUSES_OF: &str = "
    SELECT DISTINCT s.name FROM dossier AS d JOIN problem AS p ON p.dossier_id = d.id
    JOIN signature AS s ON s.id = p.signature_id WHERE d.ma_ho_so = ?1 ORDER BY s.name";

pub(super) async fn causes_of(
    readers: &SqlitePool,
    ma_ho_so: &str,
) -> Result<Vec<String>, LedgerError> {
    sqlx::query_scalar(CAUSES_OF)
        .bind(ma_ho_so.to_owned())
        .fetch_all(readers)
        .await
        .map_err(|error| failed(DOING, error))
}

const NOTES: &str = "
    SELECT at, author, owner, deadline, note FROM problem_note WHERE target = ?1 ORDER BY id";

const ACTS: &str =
    "SELECT at, actor, action, reason, result FROM audit WHERE target = ?1 ORDER BY id";

pub(super) async fn done_so_far(
    readers: &SqlitePool,
    target: &str,
) -> Result<(Vec<Note>, Vec<AuditView>), LedgerError> {
    let notes = sqlx::query(NOTES)
        .bind(target.to_owned())
        .fetch_all(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    let acts = sqlx::query(ACTS)
        .bind(target.to_owned())
        .fetch_all(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    let notes = notes
        .iter()
        .map(|row| {
            Ok(Note {
                at: required_time(row, "problem_note", "at", 0)?,
                author: column(row, "problem_note", "author", 0)?,
                owner: column(row, "problem_note", "owner", 0)?,
                deadline: time(row, "problem_note", "deadline", 0)?,
                note: column(row, "problem_note", "note", 0)?,
            })
        })
        .collect::<Result<_, LedgerError>>()?;
    let acts = acts.iter().map(super::super::view::act).collect::<Result<_, LedgerError>>()?;
    Ok((notes, acts))
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] =
    &[SIGNATURES, GROUPS, DOSSIERS, COUNTS, MEMBERS, CAUSES_OF, NOTES, ACTS];
