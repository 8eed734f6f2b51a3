//! Taking over from an older sync: what awaits an answer of the portal, and what the answers mean.

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::LedgerError;
use super::super::adoption::{
    AdoptedDossier, AdoptionBatch, AdoptionCounts, AdoptionOrder, AdoptionRun, AdoptionScope,
    AwaitingCounts, AwaitingDossier, ToAdopt,
};
use super::super::body::{Bodies, Row};
use super::super::record::AuditRecord;
use super::attempt::AttemptRow;
use super::audit::insert_audit;
use super::plan::STEP_MAYBE_SENT;
use super::{attempt, call, column, failed, json, json_one, run};
use crate::domain::adoption::Adoption;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;

const SET_START_FROM: &str = "
    INSERT INTO source (name, start_from) VALUES (?1, ?2)
    ON CONFLICT (name) DO UPDATE SET start_from = excluded.start_from";

/// What was adopted stays as it was decided.
const MOVE_CUT_OVER: &str =
    "UPDATE dossier SET cut_over = ?2 WHERE source = ?1 AND adoption = 'awaiting'";

/// Nothing waits for the answer about a dossier as it was first seen, if that is from before the
/// cut-over. 1 is the rank of a live change, 3 that of a first fill.
const RANK_AWAITING: &str = "
    UPDATE entry SET priority = CASE
        WHEN (SELECT r.changed_at FROM revision AS r WHERE r.id = entry.revision_id) < ?2
             AND NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = entry.dossier_id AND o.id < entry.id
                             AND o.packet_hash IS NOT NULL) THEN 3 ELSE 1 END
    WHERE state = 'awaiting' AND forced = 0
      AND dossier_id IN (SELECT id FROM dossier WHERE source = ?1 AND adoption = 'awaiting')";

/// A cut-over that is taken away leaves those that wait waiting under the last one.
pub(super) async fn set_start_from(
    conn: &mut SqliteConnection,
    source: &str,
    start_from: Option<Timestamp>,
) -> Result<(), LedgerError> {
    let doing = "set the cut-over";
    let at = start_from.map(Timestamp::millis);
    run(conn, doing, sqlx::query(SET_START_FROM).bind(source.to_owned()).bind(at)).await?;
    if let Some(at) = at {
        for statement in [MOVE_CUT_OVER, RANK_AWAITING] {
            run(conn, doing, sqlx::query(statement).bind(source.to_owned()).bind(at)).await?;
        }
    }
    Ok(())
}

const END_OPEN_RUN: &str = "UPDATE adoption_run SET ended_at = ?1 WHERE ended_at IS NULL";

const OPEN_RUN: &str = "
    INSERT INTO adoption_run (source, budget, started_at) VALUES (?1, ?2, ?3) RETURNING id";

pub(super) async fn open_adoption(
    conn: &mut SqliteConnection,
    now: Timestamp,
    order: &AdoptionOrder,
    audit: &AuditRecord,
) -> Result<i64, LedgerError> {
    let doing = "open an adoption run";
    run(conn, doing, sqlx::query(END_OPEN_RUN).bind(now.millis())).await?;
    let id: i64 = sqlx::query_scalar(OPEN_RUN)
        .bind(order.source.clone())
        .bind(i64::from(order.budget))
        .bind(now.millis())
        .fetch_one(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let result = format!("run {id} may ask the portal about {} dossiers", order.budget);
    insert_audit(conn, now, audit, &result).await?;
    Ok(id)
}

const END_RUN: &str = "UPDATE adoption_run SET ended_at = ?1 WHERE id = ?2 AND ended_at IS NULL";

pub(super) async fn end_adoption(
    conn: &mut SqliteConnection,
    now: Timestamp,
    id: i64,
) -> Result<(), LedgerError> {
    let query = sqlx::query(END_RUN).bind(now.millis()).bind(id);
    run(conn, "end an adoption run", query).await.map(|_| ())
}

const RUN: &str = "
    SELECT id, source, budget, spent, calls, known, filed, different, missing, undecided, presumed_packets,
           presumed_steps, started_at, ended_at
    FROM adoption_run WHERE id = ?1";

const OPEN_RUN_ID: &str = "SELECT id FROM adoption_run WHERE ended_at IS NULL";

pub(super) async fn adoption_run(
    readers: &SqlitePool,
    id: Option<i64>,
) -> Result<Option<AdoptionRun>, LedgerError> {
    let doing = "read an adoption run";
    let id: Option<i64> = match id {
        Some(id) => Some(id),
        None => sqlx::query_scalar(OPEN_RUN_ID)
            .fetch_optional(readers)
            .await
            .map_err(|error| failed(doing, error))?,
    };
    let Some(id) = id else {
        return Ok(None);
    };
    let row = sqlx::query(RUN)
        .bind(id)
        .fetch_optional(readers)
        .await
        .map_err(|error| failed(doing, error))?;
    row.as_ref().map(read_run).transpose()
}

fn read_run(row: &SqliteRow) -> Result<AdoptionRun, LedgerError> {
    let id: i64 = column(row, "adoption_run", "id", 0)?;
    let count = |name| -> Result<u64, LedgerError> {
        Ok(u64::try_from(column::<i64>(row, "adoption_run", name, id)?).unwrap_or(0))
    };
    let ended_at: Option<i64> = column(row, "adoption_run", "ended_at", id)?;
    Ok(AdoptionRun {
        id,
        source: column(row, "adoption_run", "source", id)?,
        budget: column(row, "adoption_run", "budget", id)?,
        look_ups: column(row, "adoption_run", "spent", id)?,
        calls: count("calls")?,
        known: count("known")?,
        filed_at_portal: count("filed")?,
        different: count("different")?,
        missing: count("missing")?,
        undecided: count("undecided")?,
        presumed_packets: count("presumed_packets")?,
        presumed_steps: count("presumed_steps")?,
        started_at: Timestamp::from_millis(column(row, "adoption_run", "started_at", id)?),
        ended_at: ended_at.map(Timestamp::from_millis),
    })
}

/// The older program can have sent only the packet that the dossier had when it was first seen, and
/// only if that is from before the cut-over. A later revision with that packet brings only steps.
const TO_ADOPT: &str = "
    SELECT e.id, e.dossier_id, d.ma_ho_so, e.priority, e.retries, d.cut_over, d.portal_known = 'yes' AS filed, p.body,
           e.forced = 1 OR NOT EXISTS (
               SELECT 1 FROM entry AS o JOIN revision AS r ON r.id = o.revision_id
               WHERE o.id = (SELECT min(f.id) FROM entry AS f
                             WHERE f.dossier_id = e.dossier_id AND f.packet_hash IS NOT NULL)
                 AND o.packet_hash = e.packet_hash AND r.changed_at < d.cut_over) AS owed
    FROM entry AS e INDEXED BY entry_awaiting JOIN dossier AS d ON d.id = e.dossier_id
    LEFT JOIN packet AS p ON p.entry_id = e.id
    WHERE e.state = 'awaiting' AND e.priority = ?1 AND e.due_at <= ?2 AND (?3 IS NULL OR d.source = ?3)
    ORDER BY e.due_at, e.id LIMIT +?4";

const NEXT_DUE: &str = "
    SELECT min(e.due_at) FROM entry AS e INDEXED BY entry_awaiting JOIN dossier AS d ON d.id = e.dossier_id
    WHERE e.state = 'awaiting' AND e.priority <= ?1 AND e.due_at > ?2 AND (?3 IS NULL OR d.source = ?3)";

const SPEND: &str = "UPDATE adoption_run SET spent = spent + ?1 WHERE id = ?2";

pub(super) async fn claim_adoption(
    conn: &mut SqliteConnection,
    stored: &Bodies,
    now: Timestamp,
    scope: AdoptionScope,
    limit: u32,
) -> Result<ToAdopt, LedgerError> {
    let doing = "choose dossiers to ask about";
    let (source, limit, last) = match scope {
        AdoptionScope::Pressing => (None, limit, Priority::DeadlineNear),
        AdoptionScope::Run(id) => {
            let row = sqlx::query(RUN)
                .bind(id)
                .fetch_optional(&mut *conn)
                .await
                .map_err(|error| failed(doing, error))?;
            let run = row.as_ref().map(read_run).transpose()?;
            let left = run
                .as_ref()
                .filter(|run| run.ended_at.is_none())
                .map_or(0, |run| run.budget.saturating_sub(run.look_ups));
            if left == 0 {
                return Ok(ToAdopt { spent: true, ..ToAdopt::default() });
            }
            (run.and_then(|run| run.source), limit.min(left), Priority::Audit)
        }
    };
    let mut found = ToAdopt::default();
    for priority in Priority::ALL.into_iter().filter(|priority| *priority <= last) {
        let wanted = i64::from(limit) - i64::try_from(found.dossiers.len()).unwrap_or(i64::MAX);
        if wanted <= 0 {
            break;
        }
        let rows = sqlx::query(TO_ADOPT)
            .bind(priority.rank())
            .bind(now.millis())
            .bind(source.clone())
            .bind(wanted)
            .fetch_all(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?;
        for row in &rows {
            found.dossiers.push(awaiting_dossier(row, stored, priority)?);
        }
    }
    if found.dossiers.is_empty() {
        let next: Option<i64> = sqlx::query_scalar(NEXT_DUE)
            .bind(last.rank())
            .bind(now.millis())
            .bind(source)
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?;
        found.next_due_at = next.map(Timestamp::from_millis);
    } else if let AdoptionScope::Run(id) = scope {
        let count = i64::try_from(found.dossiers.len()).unwrap_or(i64::MAX);
        run(conn, doing, sqlx::query(SPEND).bind(count).bind(id)).await?;
    }
    Ok(found)
}

fn awaiting_dossier(
    row: &SqliteRow,
    stored: &Bodies,
    priority: Priority,
) -> Result<AwaitingDossier, LedgerError> {
    let entry_id: i64 = column(row, "entry", "id", 0)?;
    let body: Option<Vec<u8>> = column(row, "packet", "body", entry_id)?;
    Ok(AwaitingDossier {
        entry_id,
        dossier_id: column(row, "entry", "dossier_id", entry_id)?,
        ma_ho_so: column(row, "dossier", "ma_ho_so", entry_id)?,
        priority,
        packet: body.and_then(|body| stored.read(Row::of("packet", entry_id), &body).ok()),
        cut_over: Timestamp::from_millis(column(row, "dossier", "cut_over", entry_id)?),
        owed: column::<i64>(row, "entry", "owed", entry_id)? != 0,
        filed_at_portal: column::<i64>(row, "dossier", "filed", entry_id)? != 0,
        retries: column(row, "entry", "retries", entry_id)?,
    })
}

/// A create goes alone: only then does an answer "exists already" belong to this very dossier.
const ANSWER_ENTRIES: &str = "
    UPDATE entry SET state = j.state, due_at = coalesce(j.due_at, ?1), retries = coalesce(j.retries, 0),
        changed_at = CASE WHEN j.state = 'awaiting' THEN entry.changed_at ELSE ?1 END,
        batch_max = CASE WHEN j.alone = 1 THEN 1 ELSE entry.batch_max END,
        failure = j.failure, failure_code = j.failure_code
    FROM (SELECT value->>0 AS id, value->>1 AS state, value->>2 AS due_at, value->>3 AS retries,
                 value->>4 AS alone, value->>5 AS failure, value->>6 AS failure_code FROM json_each(?2)) AS j
    WHERE entry.id = j.id AND entry.state = 'awaiting' RETURNING entry.id";

/// What was filed at the portal is known there, whatever a look-up of the province's account says.
const ANSWER_LANES: &str = "
    UPDATE dossier SET adoption = j.adoption,
        portal_known = CASE WHEN j.adoption = 'known' OR dossier.portal_known = 'yes' THEN 'yes' ELSE 'no' END,
        packet_state = CASE WHEN j.presumed_entry IS NULL THEN 'open' ELSE 'accepted' END,
        presumed_entry_id = j.presumed_entry, steps_due_at = ?1
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS adoption, value->>2 AS presumed_entry
          FROM json_each(?2)) AS j
    WHERE dossier.id = j.dossier_id AND dossier.adoption = 'awaiting'";

/// Also what the source has taken back since: the older program had sent it before.
const PRESUME_STEPS: &str = "
    UPDATE step SET state = 'presumed_sent', changed_at = ?1, failure = NULL
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS before FROM json_each(?2)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.state IN ('pending', 'withdrawn') AND step.original = 1
      AND step.thoi_diem < j.before";

const RECOUNT: &str = "
    UPDATE dossier SET
        steps_pending = (SELECT count(*) FROM step WHERE dossier_id = dossier.id AND state IN ('pending', 'leased'))
    WHERE id IN (SELECT value FROM json_each(?1))";

/// What the portal never had cannot differ from what it has.
const RESOLVE_STEP_CHANGES: &str = "
    UPDATE discrepancy SET resolved_at = ?1, resolution = 'the portal did not have the dossier yet'
    WHERE dossier_id IN (SELECT value FROM json_each(?2)) AND kind IN ('step_changed', 'step_vanished')
      AND resolved_at IS NULL";

const NOTE_RUN: &str = "
    UPDATE adoption_run SET spent = max(0, spent - ?2), calls = calls + ?3, known = known + ?4, filed = filed + ?5,
        different = different + ?6, missing = missing + ?7, undecided = undecided + ?8,
        presumed_packets = presumed_packets + ?9, presumed_steps = presumed_steps + ?10
    WHERE id = ?1";

pub(super) async fn settle_adoption(
    conn: &mut SqliteConnection,
    now: Timestamp,
    batch: &AdoptionBatch,
) -> Result<AdoptionCounts, LedgerError> {
    let doing = "adopt dossiers";
    let first_call = call::insert(conn, &batch.calls).await?;
    let settled = answer_entries(conn, now, &batch.dossiers).await?;
    let mut counts = AdoptionCounts::default();
    let mut lanes: Vec<(i64, &str, Option<i64>)> = Vec::new();
    let mut presume: Vec<(i64, String)> = Vec::new();
    let mut created: Vec<i64> = Vec::new();
    let mut filed: Vec<i64> = Vec::new();
    let mut attempts: Vec<AttemptRow<'_>> = Vec::new();
    let mut not_asked: i64 = 0;
    for dossier in &batch.dossiers {
        let id = dossier.dossier_id;
        let live = settled.contains(&dossier.entry_id);
        not_asked += i64::from(!dossier.asked);
        let failure_code = match &dossier.adoption {
            Adoption::Later { failure, .. } => Some(failure.code.as_str()),
            _ => None,
        };
        let detail = match (live, dossier.differs.as_slice()) {
            (false, _) => {
                Some("something newer took its place; nothing else was written".to_owned())
            }
            (true, []) => None,
            (true, differs) => Some(format!("differs in {}", differs.join(" "))),
        };
        attempts.push((
            id,
            Some(dossier.entry_id),
            dossier.call.and_then(|at| i64::try_from(at).ok()).map(|at| first_call + at),
            "read_back",
            Some(0),
            dossier.outcome,
            failure_code,
            detail,
        ));
        if !live {
            counts.overtaken += 1;
            continue;
        }
        let known = match dossier.adoption {
            Adoption::Presumed => {
                counts.presumed_packets += 1;
                lanes.push((id, "known", Some(dossier.entry_id)));
                true
            }
            Adoption::Update => {
                lanes.push((id, "known", None));
                true
            }
            Adoption::Create => {
                counts.missing += 1;
                lanes.push((id, "unknown", None));
                created.push(id);
                if dossier.filed_at_portal {
                    filed.push(id);
                }
                false
            }
            Adoption::Later { .. } => {
                counts.undecided += u64::from(dossier.asked);
                false
            }
        };
        if known {
            counts.known += 1;
            counts.filed_at_portal += u64::from(dossier.filed_at_portal);
            counts.different += u64::from(!dossier.differs.is_empty());
            presume.push((id, dossier.cut_over.to_portal()));
        }
    }
    if !lanes.is_empty() {
        let query = sqlx::query(ANSWER_LANES).bind(now.millis()).bind(json(&lanes));
        run(conn, doing, query).await?;
    }
    counts.presumed_steps = presume_steps(conn, now, &presume).await?;
    if !created.is_empty() {
        let query = sqlx::query(RESOLVE_STEP_CHANGES).bind(now.millis()).bind(json(&created));
        run(conn, doing, query).await?;
    }
    // No refusal of a create can correct this look-up: what was filed there always exists there.
    if !batch.resend_supplements && !filed.is_empty() {
        doubted(conn, now, &filed).await?;
    }
    attempt::insert(conn, doing, now, &attempts).await?;
    if let Some(id) = batch.run {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let query = sqlx::query(NOTE_RUN)
            .bind(id)
            .bind(not_asked)
            .bind(number(batch.calls.len() as u64))
            .bind(number(counts.known))
            .bind(number(counts.filed_at_portal))
            .bind(number(counts.different))
            .bind(number(counts.missing))
            .bind(number(counts.undecided))
            .bind(number(counts.presumed_packets))
            .bind(number(counts.presumed_steps));
        run(conn, doing, query).await?;
    }
    Ok(counts)
}

/// Returns the entries that still awaited the answer.
async fn answer_entries(
    conn: &mut SqliteConnection,
    now: Timestamp,
    dossiers: &[AdoptedDossier],
) -> Result<Vec<i64>, LedgerError> {
    let rows: Vec<_> = dossiers
        .iter()
        .map(|dossier| {
            let id = dossier.entry_id;
            match &dossier.adoption {
                Adoption::Presumed => (id, "presumed", None, None, 0, None, None),
                Adoption::Update => (id, "ready", None, None, 0, None, None),
                Adoption::Create => (id, "ready", None, None, 1, None, None),
                Adoption::Later { due_at, retries, failure } => (
                    id,
                    "awaiting",
                    Some(*due_at),
                    Some(*retries),
                    0,
                    Some(json_one(failure)),
                    Some(failure.code.as_str()),
                ),
            }
        })
        .collect();
    sqlx::query_scalar(ANSWER_ENTRIES)
        .bind(now.millis())
        .bind(json(&rows))
        .fetch_all(conn)
        .await
        .map_err(|error| failed("adopt dossiers", error))
}

/// `dossiers`: each with the cut-over in the portal's form.
async fn presume_steps(
    conn: &mut SqliteConnection,
    now: Timestamp,
    dossiers: &[(i64, String)],
) -> Result<u64, LedgerError> {
    if dossiers.is_empty() {
        return Ok(0);
    }
    let doing = "adopt dossiers";
    let query = sqlx::query(PRESUME_STEPS).bind(now.millis()).bind(json(dossiers));
    let presumed = run(conn, doing, query).await?;
    let ids: Vec<i64> = dossiers.iter().map(|(id, _)| *id).collect();
    run(conn, doing, sqlx::query(RECOUNT).bind(json(&ids))).await?;
    Ok(presumed)
}

const CONTRADICTED: &str = "
    UPDATE dossier SET adoption = 'known'
    WHERE id IN (SELECT value FROM json_each(?1)) AND adoption = 'unknown' AND acked_entry_id IS NULL
    RETURNING id, cut_over";

/// The portal said that it does not have these dossiers, and then refused the first create of each
/// because it has them: the second answer is the one that cost it something.
pub(super) async fn contradicted(
    conn: &mut SqliteConnection,
    now: Timestamp,
    dossiers: &[i64],
) -> Result<(), LedgerError> {
    let rows = sqlx::query(CONTRADICTED)
        .bind(json(dossiers))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed("settle calls", error))?;
    let mut presume = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: i64 = column(row, "dossier", "id", 0)?;
        let cut_over = Timestamp::from_millis(column(row, "dossier", "cut_over", id)?);
        presume.push((id, cut_over.to_portal()));
    }
    presume_steps(conn, now, &presume).await.map(|_| ())
}

const DOUBTED: &str = "
    SELECT d.id, d.cut_over FROM json_each(?1) AS j CROSS JOIN dossier AS d ON d.id = j.value
    WHERE d.adoption = 'unknown' AND d.acked_entry_id IS NULL";

const HOLD_DOUBTED: &str = "
    UPDATE step SET state = 'held', changed_at = ?1, failure = ?2
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS before FROM json_each(?3)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.state = 'pending' AND step.trang_thai = '5'
      AND step.original = 1 AND step.thoi_diem < j.before";

/// The portal said that it does not have these dossiers, and that cannot be taken for sure: they were
/// filed there, or a create of ours got no answer and now they are there, by our create or by the
/// older program after all. Requests for a supplement from before the cut-over wait for a person.
pub(super) async fn doubted(
    conn: &mut SqliteConnection,
    now: Timestamp,
    dossiers: &[i64],
) -> Result<(), LedgerError> {
    let doing = "settle calls";
    let rows = sqlx::query(DOUBTED)
        .bind(json(dossiers))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let mut hold = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: i64 = column(row, "dossier", "id", 0)?;
        let cut_over = Timestamp::from_millis(column(row, "dossier", "cut_over", id)?);
        hold.push((id, cut_over.to_portal()));
    }
    if hold.is_empty() {
        return Ok(());
    }
    let why = Failure::new(
        STEP_MAYBE_SENT,
        Disposition::Ambiguous,
        "the portal may have this request for a supplement from the older program",
    );
    let query = sqlx::query(HOLD_DOUBTED).bind(now.millis()).bind(json_one(&why)).bind(json(&hold));
    run(conn, doing, query).await?;
    let ids: Vec<i64> = hold.iter().map(|(id, _)| *id).collect();
    run(conn, doing, sqlx::query(RECOUNT).bind(json(&ids))).await.map(|_| ())
}

const AWAITING: &str = "
    SELECT d.source, s.start_from,
           sum(e.state = 'awaiting' AND e.priority <= 2) AS pressing,
           sum(e.state = 'awaiting' AND e.priority > 2) AS unchanged,
           sum(e.state = 'received') AS unmapped, sum(e.state = 'quarantined') AS quarantined,
           sum(e.state = 'not_ours') AS not_ours
    FROM dossier AS d INDEXED BY dossier_awaiting JOIN entry AS e ON e.id = d.newest_entry_id
    LEFT JOIN source AS s ON s.name = d.source
    WHERE d.adoption = 'awaiting' GROUP BY d.source ORDER BY d.source";

pub(super) async fn awaiting(readers: &SqlitePool) -> Result<Vec<AwaitingCounts>, LedgerError> {
    let rows = sqlx::query(AWAITING)
        .fetch_all(readers)
        .await
        .map_err(|error| failed("count what awaits adoption", error))?;
    rows.iter()
        .map(|row| {
            let count = |name| -> Result<u64, LedgerError> {
                Ok(u64::try_from(column::<i64>(row, "dossier", name, 0)?).unwrap_or(0))
            };
            let start_from: Option<i64> = column(row, "source", "start_from", 0)?;
            Ok(AwaitingCounts {
                source: column(row, "dossier", "source", 0)?,
                start_from: start_from.map(Timestamp::from_millis),
                pressing: count("pressing")?,
                unchanged: count("unchanged")?,
                unmapped: count("unmapped")?,
                quarantined: count("quarantined")?,
                not_ours: count("not_ours")?,
            })
        })
        .collect()
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    SET_START_FROM,
    MOVE_CUT_OVER,
    RANK_AWAITING,
    END_OPEN_RUN,
    OPEN_RUN,
    END_RUN,
    RUN,
    OPEN_RUN_ID,
    TO_ADOPT,
    NEXT_DUE,
    SPEND,
    ANSWER_ENTRIES,
    ANSWER_LANES,
    PRESUME_STEPS,
    RECOUNT,
    RESOLVE_STEP_CHANGES,
    NOTE_RUN,
    CONTRADICTED,
    DOUBTED,
    HOLD_DOUBTED,
    AWAITING,
];

#[cfg(test)]
mod tests {
    use crate::domain::priority::Priority;

    #[test]
    fn the_ranks_written_in_the_statements_are_those_of_live_deadline_and_backfill() {
        let ranks =
            [Priority::Live, Priority::DeadlineNear, Priority::Backfill].map(Priority::rank);
        assert_eq!(ranks, [1, 2, 3]);
    }
}
