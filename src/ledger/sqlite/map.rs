//! Storing what mapping found: entries change state, packets and steps appear.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::LedgerError;
use super::super::body::{Bodies, Row};
use super::super::record::{MapCounts, MapOutcome, MappedEntry, ToMap};
use super::plan::{
    CutOver, Former, FormerRow, KnownStep, KnownSteps, Lane, Plan, RECODED, outcome_unknown,
};
use super::reconcile::DiscrepancyRow;
use super::{column, envelope, failed, json, json_one, run, unreadable};
use crate::domain::step::{StepIdentity, StepState};
use crate::domain::time::Timestamp;

/// Most pressing first; revisions of one dossier in the order in which they came.
const TO_MAP: &str = "
    SELECT e.id, e.dossier_id, e.revision_id, d.ma_ho_so, r.deleted, r.ministry, r.recoded_from, o.body,
           -- A dossier that was found sound, and whose newest revision says that it was this one.
           (SELECT n.ma_ho_so FROM revision AS x JOIN dossier AS n ON n.id = x.dossier_id AND n.newest_revision_id = x.id
            WHERE x.recoded_from = d.ma_ho_so AND n.id <> d.id AND x.deleted = 0
              AND EXISTS (SELECT 1 FROM entry AS k JOIN revision AS y ON y.id = k.revision_id
                          WHERE k.dossier_id = n.id AND y.recoded_from = d.ma_ho_so
                            AND k.state IN ('ready', 'leased', 'unconfirmed', 'accepted', 'unchanged', 'dead',
                                            'awaiting', 'presumed'))
            LIMIT 1) AS recoded_to,
           (SELECT a.files FROM acked_files AS a WHERE a.dossier_id = d.id) AS acked_files,
           (SELECT p.files FROM entry AS k JOIN packet AS p ON p.entry_id = k.id
            WHERE k.dossier_id = d.id AND k.state IN ('leased', 'unconfirmed')) AS files_out
    FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id JOIN revision AS r ON r.id = e.revision_id
    LEFT JOIN document AS o ON o.revision_id = r.id
    WHERE e.state = 'received'
      AND NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = e.dossier_id AND o.state = 'received'
                      AND (o.revision_id, o.id) < (e.revision_id, e.id))
    ORDER BY e.priority, e.id LIMIT +?1";

/// Returns also the entries whose document cannot be read back; they must not stop the others.
pub(super) async fn to_map(
    readers: &SqlitePool,
    stored: &Bodies,
    limit: u32,
) -> Result<(Vec<ToMap>, Vec<i64>), LedgerError> {
    let rows = sqlx::query(TO_MAP)
        .bind(i64::from(limit))
        .fetch_all(readers)
        .await
        .map_err(|error| failed("read unmapped dossiers", error))?;
    let mut unmapped = Vec::with_capacity(rows.len());
    let mut unreadable = Vec::new();
    for row in &rows {
        let entry_id: i64 = column(row, "entry", "id", 0)?;
        let body: Option<Vec<u8>> = column(row, "document", "body", entry_id)?;
        let revision_id: i64 = column(row, "entry", "revision_id", entry_id)?;
        let place = Row::of("document", revision_id);
        let Some(document) = body.and_then(|body| stored.read(place, &body).ok()) else {
            unreadable.push(entry_id);
            continue;
        };
        unmapped.push(ToMap {
            entry_id,
            dossier_id: column(row, "entry", "dossier_id", entry_id)?,
            ma_ho_so: column(row, "dossier", "ma_ho_so", entry_id)?,
            deleted: column::<i64>(row, "revision", "deleted", entry_id)? != 0,
            ministry: column::<i64>(row, "revision", "ministry", entry_id)? != 0,
            recoded_from: column(row, "revision", "recoded_from", entry_id)?,
            recoded_to: column(row, "dossier", "recoded_to", entry_id)?,
            files_sent: files(row, entry_id)?.into_iter().collect(),
            document,
        });
    }
    Ok((unmapped, unreadable))
}

/// What the portal has, or may have, of a dossier's files.
fn files(row: &SqliteRow, id: i64) -> Result<BTreeSet<String>, LedgerError> {
    let mut files: BTreeSet<String> = BTreeSet::new();
    for (table, name) in [("acked_files", "acked_files"), ("packet", "files_out")] {
        let listed: Option<Vec<String>> =
            envelope(column(row, table, name, id)?, table, "files", id)?;
        files.extend(listed.unwrap_or_default());
    }
    Ok(files)
}

const QUARANTINE_UNREADABLE: &str = "
    UPDATE entry SET state = 'quarantined', failure = ?1, failure_code = ?2, diagnostics = NULL
    WHERE id IN (SELECT value FROM json_each(?3)) AND state = 'received'";

/// A stored document that cannot be read back needs a person (and the source's copy).
pub(super) async fn quarantine_unreadable(
    conn: &mut SqliteConnection,
    entries: &[i64],
) -> Result<(), LedgerError> {
    let failure = unreadable("the stored document cannot be read back");
    let query = sqlx::query(QUARANTINE_UNREADABLE)
        .bind(json_one(&failure))
        .bind(failure.code)
        .bind(json(entries));
    run(conn, "set unreadable rows aside", query).await.map(|_| ())
}

/// The lanes of the mapped entries that are still `Received`.
const LANES: &str = "
    SELECT e.id, e.forced, e.priority, x.over_at IS NULL AND x.restored_at IS NOT NULL AS rereading, x.restored_at,
           d.id AS dossier_id, d.source, d.ma_ho_so, d.acked_packet_hash,
           (SELECT packet_hash FROM entry WHERE id = d.presumed_entry_id) AS presumed_packet_hash,
           CASE d.adoption WHEN 'awaiting' THEN d.cut_over END AS cut_over, r.changed_at AS revised_at,
           NOT EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = d.id AND o.id <> e.id
                       AND o.packet_hash IS NOT NULL) AS first,
           d.portal_known = 'yes' AS known,
           EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = d.id
                   AND o.state IN ('leased', 'unconfirmed')) AS out,
           EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = d.id
                   AND (o.revision_id, o.id) < (e.revision_id, e.id)
                   AND o.state IN ('received', 'quarantined', 'ready', 'awaiting', 'dead')) AS waiting,
           (SELECT max(o.id) FROM entry AS o WHERE o.dossier_id = d.id AND o.revision_id > e.revision_id
            AND o.state IN ('ready', 'leased', 'unconfirmed', 'accepted', 'unchanged', 'awaiting', 'presumed'))
               AS overtaken_by,
           EXISTS (SELECT 1 FROM discrepancy AS x WHERE x.dossier_id = d.id AND x.resolved_at IS NULL
                   AND x.kind IN ('deleted_at_source', 'recoded')) AS mourned,
           (SELECT a.files FROM acked_files AS a WHERE a.dossier_id = d.id) AS acked_files,
           (SELECT p.files FROM entry AS k JOIN packet AS p ON p.entry_id = k.id
            WHERE k.dossier_id = d.id AND k.state IN ('leased', 'unconfirmed')) AS files_out
    FROM json_each(?1) AS j JOIN entry AS e ON e.id = j.value JOIN dossier AS d ON d.id = e.dossier_id
    JOIN revision AS r ON r.id = e.revision_id
    LEFT JOIN restored AS x ON x.source = d.source
    WHERE e.state = 'received'";

const KNOWN_STEPS: &str = "
    SELECT s.dossier_id, s.thoi_diem, s.trang_thai, s.ordinal, s.hash, s.state, s.failure, s.original
    FROM json_each(?1) AS j JOIN step AS s ON s.dossier_id = j.value";

/// Before the newer one becomes ready, so that at most one is ready at any time. Newer is the later
/// revision; of two entries of one revision (a resync, a repair) the later one.
const SUPERSEDE: &str = "
    UPDATE entry SET state = 'superseded', superseded_by = j.entry_id, changed_at = ?1
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS entry_id FROM json_each(?2)) AS j
    WHERE entry.dossier_id = j.dossier_id
      AND (entry.revision_id, entry.id) < ((SELECT revision_id FROM entry WHERE id = j.entry_id), j.entry_id)
      AND entry.state IN ('received', 'quarantined', 'ready', 'awaiting', 'dead')";

const UPDATE_ENTRIES: &str = "
    UPDATE entry SET state = j.state, changed_at = ?1, mapped_at = ?1, due_at = ?1, priority = j.priority,
           packet_hash = unhex(j.packet_hash), mapping_version = j.mapping_version, program_version = ?2,
           failure = NULL, failure_code = j.failure_code, diagnostics = j.diagnostics,
           superseded_by = j.superseded_by
    FROM (SELECT value->>0 AS id, value->>1 AS state, value->>2 AS packet_hash, value->>3 AS mapping_version,
                 value->>4 AS failure_code, value->>5 AS diagnostics, value->>6 AS priority,
                 value->>7 AS superseded_by
          FROM json_each(?3)) AS j
    WHERE entry.id = j.id AND entry.state = 'received'";

const UPSERT_PACKETS: &str = "
    INSERT INTO packet (entry_id, stored_at, body, files)
    SELECT value->>0, ?1, substr(?2, value->>1, value->>2), value->>3 FROM json_each(?3) WHERE true
    ON CONFLICT (entry_id) DO UPDATE SET body = excluded.body, files = excluded.files";

const LAST_STEP_BODY: &str =
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'step_body'), 0)";

const INSERT_STEP_BODIES: &str = "
    INSERT INTO step_body (id, dossier_id, stored_at, body)
    SELECT value->>0, value->>1, ?1, substr(?2, value->>2, value->>3) FROM json_each(?3)";

const INSERT_STEPS: &str = "
    INSERT INTO step (dossier_id, thoi_diem, trang_thai, ordinal, hash, state, changed_at, body_id, body_line, place,
                      failure, original)
    SELECT value->>0, value->>1, value->>2, value->>3, unhex(value->>4), value->>8, ?1, value->>5, value->>6, value->>7,
           value->>9, value->>10
    FROM json_each(?2)";

/// The only rows of the tally that no trigger counts (see migration 12).
const TALLY_STEPS: &str = "UPDATE tally SET n = n + ?1 WHERE what = 'steps' AND name = 'all'";

const REPLACE_STEPS: &str = "
    UPDATE step SET hash = unhex(j.hash), state = j.state, changed_at = ?1, failure = j.failure,
           body_id = j.body_id, body_line = j.body_line
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS thoi_diem, value->>2 AS trang_thai,
                 value->>3 AS ordinal, value->>4 AS hash, value->>5 AS body_id,
                 value->>6 AS body_line, value->>8 AS state, value->>9 AS failure FROM json_each(?2)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.thoi_diem = j.thoi_diem
      AND step.trang_thai = j.trang_thai AND step.ordinal = j.ordinal
      AND step.state IN ('pending', 'held', 'withdrawn')";

/// A held step that is to stay held can be sent by a person's word only while its body is there; one
/// that an older program may have sent is sent, if ever, as the source has it now.
const REBODY_STEPS: &str = "
    UPDATE step SET body_id = j.body_id, body_line = j.body_line
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS thoi_diem, value->>2 AS trang_thai,
                 value->>3 AS ordinal, value->>5 AS body_id, value->>6 AS body_line
          FROM json_each(?1)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.thoi_diem = j.thoi_diem
      AND step.trang_thai = j.trang_thai AND step.ordinal = j.ordinal AND step.state IN ('held', 'pending')";

const WITHDRAW_STEPS: &str = "
    UPDATE step SET state = 'withdrawn', changed_at = ?1
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS thoi_diem, value->>2 AS trang_thai,
                 value->>3 AS ordinal FROM json_each(?2)) AS j
    WHERE step.dossier_id = j.dossier_id AND step.thoi_diem = j.thoi_diem
      AND step.trang_thai = j.trang_thai AND step.ordinal = j.ordinal AND step.state IN ('pending', 'held')";

/// What the source says is not ours to push takes its unsent steps with it.
const WITHDRAW_ALL_STEPS: &str = "
    UPDATE step SET state = 'withdrawn', changed_at = ?1
    WHERE dossier_id IN (SELECT value FROM json_each(?2)) AND state = 'pending'";

const CLOSE_LANES: &str = "
    UPDATE dossier SET packet_state = 'none',
        steps_pending = (SELECT count(*) FROM step WHERE dossier_id = dossier.id AND state = 'leased')
    WHERE id IN (SELECT value FROM json_each(?1))";

const RESOLVE_DELETED: &str = "
    UPDATE discrepancy SET resolved_at = ?1, resolution = 'the source has it again'
    WHERE dossier_id IN (SELECT value FROM json_each(?2)) AND kind IN ('deleted_at_source', 'recoded')
      AND resolved_at IS NULL";

/// What earlier revisions of these dossiers had against the portal's copy.
const OPEN_FINDINGS: &str = "
    SELECT x.id, x.dossier_id, x.kind, x.detail
    FROM json_each(?1) AS j CROSS JOIN discrepancy AS x ON x.dossier_id = j.value
    WHERE x.resolved_at IS NULL AND x.kind IN ('step_changed', 'step_vanished', 'file_vanished')";

const RESOLVE_FINDINGS: &str = "
    UPDATE discrepancy SET resolved_at = ?1, resolution = 'the source does not contradict the portal any more'
    WHERE id IN (SELECT value FROM json_each(?2))";

/// The dossiers that these entries say they were before, of whatever source: after a merger the old
/// code may have come from the old province's system.
const FORMER: &str = "
    SELECT j.value->>0 AS entry_id, d.id, d.source, d.ma_ho_so, d.newest_revision_id, d.priority,
           e.state = 'not_ours' AND e.failure_code = ?2 AS closed,
           d.portal_known = 'yes' OR EXISTS (SELECT 1 FROM entry AS o WHERE o.dossier_id = d.id
                   AND o.state IN ('leased', 'unconfirmed')) AS known
    FROM json_each(?1) AS j CROSS JOIN dossier AS d ON d.ma_ho_so = j.value->>2 AND d.id <> j.value->>1
    JOIN entry AS e ON e.id = d.newest_entry_id";

/// A closed obligation on top of whatever the former dossier still had.
const CLOSE_FORMER: &str = "
    INSERT INTO entry (dossier_id, revision_id, state, priority, created_at, changed_at, due_at, failure_code)
    SELECT value->>0, value->>1, 'not_ours', value->>2, ?1, ?1, ?1, ?2 FROM json_each(?3) WHERE true
    RETURNING id, dossier_id";

const POINT_TO_CLOSED: &str = "
    UPDATE dossier SET newest_entry_id = j.entry_id
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS entry_id FROM json_each(?1)) AS j
    WHERE dossier.id = j.dossier_id";

/// That the source dropped the old code is explained by the new one.
const RESOLVE_DROPPED: &str = "
    UPDATE discrepancy SET resolved_at = ?1, resolution = 'the source goes on under another code'
    WHERE dossier_id IN (SELECT value FROM json_each(?2)) AND kind IN ('deleted_at_source', 'extra')
      AND resolved_at IS NULL";

/// New steps are due at once; a dossier whose steps wait for a retry keeps waiting only if nothing
/// about them changed.
const UPDATE_LANES: &str = "
    UPDATE dossier SET packet_state = j.packet_state,
           portal_known = CASE WHEN j.known = 1 AND dossier.portal_known = 'unknown' THEN 'yes'
                               ELSE dossier.portal_known END,
           priority = j.priority, steps_pending = j.steps_pending, steps_line = 0,
           ma_tthc = j.ma_tthc, ma_don_vi = j.ma_don_vi, appointed_at = j.appointed_at, finished = j.finished,
           adoption = CASE WHEN j.released = 1 THEN NULL ELSE dossier.adoption END,
           steps_due_at = CASE WHEN j.steps_changed = 1 THEN ?1 ELSE dossier.steps_due_at END,
           steps_retries = CASE WHEN j.steps_changed = 1 THEN 0 ELSE dossier.steps_retries END,
           steps_failure = CASE WHEN j.steps_changed = 1 THEN NULL ELSE dossier.steps_failure END
    FROM (SELECT value->>0 AS dossier_id, value->>1 AS packet_state, value->>2 AS known,
                 value->>3 AS priority, value->>4 AS steps_pending, value->>5 AS steps_changed,
                 value->>6 AS released,
                 value->>7 AS ma_tthc, value->>8 AS ma_don_vi, value->>9 AS appointed_at, value->>10 AS finished
          FROM json_each(?2)) AS j
    WHERE dossier.id = j.dossier_id";

/// After the lanes: an entry stands in line by what its dossier says.
const APPOINT_ENTRIES: &str = "
    UPDATE entry SET appointed_at = d.appointed_at, finished = d.finished, line = 0
    FROM json_each(?1) AS j CROSS JOIN dossier AS d ON d.id = j.value
    WHERE entry.dossier_id = d.id AND entry.state = 'ready'";

pub(super) async fn record_mapped(
    conn: &mut SqliteConnection,
    stored: &Bodies,
    now: Timestamp,
    mapped: &[MappedEntry],
) -> Result<MapCounts, LedgerError> {
    let doing = "store mapped dossiers";
    let lanes = read_lanes(conn, mapped).await?;
    let known_steps = read_steps(conn, &lanes).await?;
    let former = read_former(conn, mapped, &lanes).await?;
    let mut plan = Plan {
        last_step_body: sqlx::query_scalar(LAST_STEP_BODY)
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| failed(doing, error))?,
        ..Plan::default()
    };
    let mut taken = BTreeSet::new();
    for entry in mapped {
        let Some(lane) = lanes.get(&entry.entry_id) else {
            continue;
        };
        // A second entry of the same dossier would be judged by what the first one changes.
        if taken.insert(lane.dossier_id) {
            let former = former.get(&entry.entry_id).map_or(&[][..], Vec::as_slice);
            plan.take(stored, entry, lane, known_steps.get(&lane.dossier_id), former)?;
        }
    }
    if plan.entries.is_empty() {
        return Ok(plan.counts);
    }

    let at = now.millis();
    if !plan.supersede.is_empty() {
        let query = sqlx::query(SUPERSEDE).bind(at).bind(json(&plan.supersede));
        plan.counts.superseded += run(conn, doing, query).await?;
    }
    let query = sqlx::query(UPDATE_ENTRIES)
        .bind(at)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(json(&plan.entries));
    let changed = run(conn, doing, query).await?;
    if changed != plan.entries.len() as u64 {
        return Err(LedgerError::Conflict("an entry left `received` while it was mapped".into()));
    }
    if !plan.packets.is_empty() {
        let query =
            sqlx::query(UPSERT_PACKETS).bind(at).bind(plan.bodies).bind(json(&plan.packets));
        run(conn, doing, query).await?;
    }
    if !plan.step_bodies.is_empty() {
        let query = sqlx::query(INSERT_STEP_BODIES)
            .bind(at)
            .bind(plan.step_blob)
            .bind(json(&plan.step_bodies));
        run(conn, doing, query).await?;
    }
    if !plan.insert.is_empty() {
        let query = sqlx::query(INSERT_STEPS).bind(at).bind(json(&plan.insert));
        let inserted = run(conn, doing, query).await?;
        let inserted = i64::try_from(inserted).unwrap_or(i64::MAX);
        run(conn, doing, sqlx::query(TALLY_STEPS).bind(inserted)).await?;
    }
    if !plan.replace.is_empty() {
        run(conn, doing, sqlx::query(REPLACE_STEPS).bind(at).bind(json(&plan.replace))).await?;
    }
    if !plan.rebody.is_empty() {
        run(conn, doing, sqlx::query(REBODY_STEPS).bind(json(&plan.rebody))).await?;
    }
    if !plan.withdraw.is_empty() {
        run(conn, doing, sqlx::query(WITHDRAW_STEPS).bind(at).bind(json(&plan.withdraw))).await?;
    }
    if !plan.lanes.is_empty() {
        run(conn, doing, sqlx::query(UPDATE_LANES).bind(at).bind(json(&plan.lanes))).await?;
        let dossiers: Vec<i64> = plan.lanes.iter().map(|lane| lane.0).collect();
        run(conn, doing, sqlx::query(APPOINT_ENTRIES).bind(json(&dossiers))).await?;
    }
    if !plan.not_ours.is_empty() {
        let query = sqlx::query(WITHDRAW_ALL_STEPS).bind(at).bind(json(&plan.not_ours));
        run(conn, doing, query).await?;
        let query = sqlx::query(CLOSE_LANES).bind(json(&plan.not_ours));
        run(conn, doing, query).await?;
    }
    if !plan.revived.is_empty() {
        let query = sqlx::query(RESOLVE_DELETED).bind(at).bind(json(&plan.revived));
        run(conn, doing, query).await?;
    }
    if !plan.former.is_empty() {
        close_former(conn, now, &plan.former).await?;
    }
    let answered = answered_findings(conn, &plan.judged, &plan.discrepancies).await?;
    if !answered.is_empty() {
        run(conn, doing, sqlx::query(RESOLVE_FINDINGS).bind(at).bind(json(&answered))).await?;
    }
    if !plan.discrepancies.is_empty() {
        plan.counts.discrepancies =
            super::reconcile::insert_discrepancies(conn, now, &plan.discrepancies).await?;
    }
    Ok(plan.counts)
}

async fn read_lanes(
    conn: &mut SqliteConnection,
    mapped: &[MappedEntry],
) -> Result<BTreeMap<i64, Lane>, LedgerError> {
    let ids: Vec<i64> = mapped.iter().map(|entry| entry.entry_id).collect();
    let rows = sqlx::query(LANES)
        .bind(json(&ids))
        .fetch_all(conn)
        .await
        .map_err(|error| failed("store mapped dossiers", error))?;
    rows.iter()
        .map(|row| {
            let id: i64 = column(row, "entry", "id", 0)?;
            let cut_over: Option<i64> = column(row, "dossier", "cut_over", id)?;
            let revised_at: Option<i64> = column(row, "revision", "revised_at", id)?;
            let first = column::<i64>(row, "entry", "first", id)? != 0;
            let awaiting = cut_over.map(|at| CutOver {
                at_text: Timestamp::from_millis(at).to_portal(),
                changed_since: revised_at.is_none_or(|revised_at| revised_at >= at),
                first,
            });
            Ok((
                id,
                Lane {
                    dossier_id: column(row, "entry", "dossier_id", id)?,
                    source: column(row, "dossier", "source", id)?,
                    ma_ho_so: column(row, "dossier", "ma_ho_so", id)?,
                    forced: column::<i64>(row, "entry", "forced", id)? != 0,
                    priority: column(row, "entry", "priority", id)?,
                    acked_packet_hash: column(row, "dossier", "acked_packet_hash", id)?,
                    presumed_packet_hash: column(row, "entry", "presumed_packet_hash", id)?,
                    awaiting,
                    out: column::<i64>(row, "entry", "out", id)? != 0,
                    known: column::<i64>(row, "dossier", "known", id)? != 0,
                    waiting: column::<i64>(row, "entry", "waiting", id)? != 0,
                    overtaken_by: column(row, "entry", "overtaken_by", id)?,
                    rereading: column::<i64>(row, "restored", "rereading", id)? != 0,
                    restored_at: column::<Option<i64>>(row, "restored", "restored_at", id)?
                        .map(|at| Timestamp::from_millis(at).to_portal()),
                    mourned: column::<i64>(row, "dossier", "mourned", id)? != 0,
                    files_sent: files(row, id)?,
                },
            ))
        })
        .collect()
}

/// By the entry that names it.
async fn read_former(
    conn: &mut SqliteConnection,
    mapped: &[MappedEntry],
    lanes: &BTreeMap<i64, Lane>,
) -> Result<BTreeMap<i64, Vec<Former>>, LedgerError> {
    let named: Vec<(i64, i64, &str)> = mapped
        .iter()
        .filter_map(|entry| match &entry.outcome {
            MapOutcome::Valid(packet) => {
                let lane = lanes.get(&entry.entry_id)?;
                Some((entry.entry_id, lane.dossier_id, packet.recoded_from.as_deref()?))
            }
            _ => None,
        })
        .collect();
    if named.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(FORMER)
        .bind(json(&named))
        .bind(RECODED)
        .fetch_all(conn)
        .await
        .map_err(|error| failed("store mapped dossiers", error))?;
    let mut former: BTreeMap<i64, Vec<Former>> = BTreeMap::new();
    for row in &rows {
        let id: i64 = column(row, "dossier", "id", 0)?;
        let named_by: i64 = column(row, "entry", "entry_id", id)?;
        former.entry(named_by).or_default().push(Former {
            dossier_id: id,
            source: column(row, "dossier", "source", id)?,
            ma_ho_so: column(row, "dossier", "ma_ho_so", id)?,
            newest_revision_id: column(row, "dossier", "newest_revision_id", id)?,
            priority: column(row, "dossier", "priority", id)?,
            closed: column::<i64>(row, "entry", "closed", id)? != 0,
            known: column::<i64>(row, "dossier", "known", id)? != 0,
        });
    }
    Ok(former)
}

/// Ends what the dossiers under their former codes still had.
async fn close_former(
    conn: &mut SqliteConnection,
    now: Timestamp,
    former: &[FormerRow],
) -> Result<(), LedgerError> {
    let doing = "store mapped dossiers";
    let at = now.millis();
    let rows = sqlx::query(CLOSE_FORMER)
        .bind(at)
        .bind(RECODED)
        .bind(json(former))
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let mut closed: Vec<(i64, i64)> = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: i64 = column(row, "entry", "id", 0)?;
        closed.push((column(row, "entry", "dossier_id", id)?, id));
    }
    run(conn, doing, sqlx::query(SUPERSEDE).bind(at).bind(json(&closed))).await?;
    run(conn, doing, sqlx::query(POINT_TO_CLOSED).bind(json(&closed))).await?;
    let dossiers: Vec<i64> = closed.iter().map(|(dossier_id, _)| *dossier_id).collect();
    run(conn, doing, sqlx::query(WITHDRAW_ALL_STEPS).bind(at).bind(json(&dossiers))).await?;
    run(conn, doing, sqlx::query(CLOSE_LANES).bind(json(&dossiers))).await?;
    run(conn, doing, sqlx::query(RESOLVE_DROPPED).bind(at).bind(json(&dossiers))).await.map(|_| ())
}

/// Open findings about the steps and files of the dossiers judged now that were not made again.
async fn answered_findings(
    conn: &mut SqliteConnection,
    judged: &[i64],
    discrepancies: &[DiscrepancyRow],
) -> Result<Vec<i64>, LedgerError> {
    let rows = sqlx::query(OPEN_FINDINGS)
        .bind(json(judged))
        .fetch_all(conn)
        .await
        .map_err(|error| failed("store mapped dossiers", error))?;
    let found: BTreeSet<(i64, &str, &str)> = discrepancies
        .iter()
        .filter_map(|(_, _, dossier_id, kind, detail)| {
            Some(((*dossier_id)?, *kind, detail.as_str()))
        })
        .collect();
    let mut answered = Vec::new();
    for row in &rows {
        let id: i64 = column(row, "discrepancy", "id", 0)?;
        let dossier_id: i64 = column(row, "discrepancy", "dossier_id", id)?;
        let kind: String = column(row, "discrepancy", "kind", id)?;
        let detail: String = column(row, "discrepancy", "detail", id)?;
        if !found.contains(&(dossier_id, kind.as_str(), detail.as_str())) {
            answered.push(id);
        }
    }
    Ok(answered)
}

async fn read_steps(
    conn: &mut SqliteConnection,
    lanes: &BTreeMap<i64, Lane>,
) -> Result<KnownSteps, LedgerError> {
    let ids: BTreeSet<i64> = lanes.values().map(|lane| lane.dossier_id).collect();
    let ids: Vec<i64> = ids.into_iter().collect();
    let rows = sqlx::query(KNOWN_STEPS)
        .bind(json(&ids))
        .fetch_all(conn)
        .await
        .map_err(|error| failed("store mapped dossiers", error))?;
    let mut known = KnownSteps::new();
    for row in &rows {
        let dossier_id: i64 = column(row, "step", "dossier_id", 0)?;
        let state: String = column(row, "step", "state", dossier_id)?;
        let identity = StepIdentity {
            thoi_diem_xu_ly: column(row, "step", "thoi_diem", dossier_id)?,
            trang_thai: column(row, "step", "trang_thai", dossier_id)?,
            ordinal: column(row, "step", "ordinal", dossier_id)?,
        };
        let step = KnownStep {
            hash: column(row, "step", "hash", dossier_id)?,
            // What cannot be read back is taken for what must not be repeated; a batch of many
            // dossiers does not fail for it.
            state: StepState::parse(&state).unwrap_or(StepState::Held),
            original: column::<i64>(row, "step", "original", dossier_id)? != 0,
            failure: envelope(
                column(row, "step", "failure", dossier_id)?,
                "step",
                "failure",
                dossier_id,
            )
            .unwrap_or_else(|_| Some(outcome_unknown())),
        };
        known.entry(dossier_id).or_default().insert(identity, step);
    }
    Ok(known)
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    TO_MAP,
    QUARANTINE_UNREADABLE,
    LANES,
    KNOWN_STEPS,
    SUPERSEDE,
    UPDATE_ENTRIES,
    UPSERT_PACKETS,
    LAST_STEP_BODY,
    INSERT_STEP_BODIES,
    INSERT_STEPS,
    TALLY_STEPS,
    REPLACE_STEPS,
    REBODY_STEPS,
    WITHDRAW_STEPS,
    WITHDRAW_ALL_STEPS,
    CLOSE_LANES,
    RESOLVE_DELETED,
    OPEN_FINDINGS,
    RESOLVE_FINDINGS,
    FORMER,
    CLOSE_FORMER,
    POINT_TO_CLOSED,
    RESOLVE_DROPPED,
    UPDATE_LANES,
    APPOINT_ENTRIES,
];
