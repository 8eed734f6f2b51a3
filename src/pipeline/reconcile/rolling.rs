//! The slow scan: page by page of the source's index, round after round, to prove that the cursor of
//! the change feed missed nothing.
//!
//! The daily books say the same once a day and all at once. This costs the source one small page a
//! minute, finds a gap within a round instead of a day after it, and pulls what the feed never gave
//! by its code. What it found stays on record, also after it was mended: a feed that skips is a
//! defect of the source, and its operators want evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use super::read::{is_behind, version_text};
use crate::domain::discrepancy::DiscrepancyKind;
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ledger::reconcile::RollingScan;
use crate::ledger::record::{DiscrepancyRecord, IndexStanding, PullCommit};
use crate::pipeline::pull::received;
use crate::pipeline::{Context, SourceLine, VerbError};
use crate::source::Owner;

/// Dossiers that are asked for by their code in one step; the rest is found again in the next round,
/// and by the books.
const PULLED_MAX: usize = 20;

/// What one step saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scanned {
    pub seen: u64,
    pub missed: u64,
    /// Of these, how many the source gave when it was asked for them.
    pub pulled: u64,
    /// The index has come to its end.
    pub round_ended: bool,
}

/// Looks at the next page of one source's index.
pub async fn scan_once(context: &Context, line: &SourceLine) -> Result<Scanned, VerbError> {
    let mut scanned = Scanned::default();
    if !line.source.has_index() {
        return Ok(scanned);
    }
    context.alive();
    let name = line.source.name();
    let now = context.clock.now();
    let position = context.ledger.source_position(name, line.overlap_ms).await?;
    // Before the feed was read to its end, everything is missing.
    let Some(read_until) = position.caught_up_at else {
        return Ok(scanned);
    };
    let known = context.ledger.rolling_scans().await?.into_iter().find(|scan| scan.source == name);
    let mut scan = known.unwrap_or_else(|| begin(context, name, 1, now));
    let limit = context.settings.rolling_page.min(line.page_limit);
    let (from, to) = (scan.from_day.clone(), scan.to_day.clone());
    let asked = line.source.index(&from, &to, scan.cursor.as_deref(), limit).await;
    let page = match asked {
        Ok(page) => page,
        Err(failure) => {
            // A position that the source does not know any more must not end the scan for good.
            if scan.cursor.take().is_some() {
                scan.seen = 0;
                scan.scanned_at = now;
                context.ledger.keep_rolling_scan(&scan).await?;
            }
            let failure = failure.failure;
            return Err(VerbError::Source { source_name: name.to_owned(), failure });
        }
    };
    let codes: Vec<String> = page
        .items
        .iter()
        .filter(|item| item.owner != Owner::Ministry)
        .map(|item| item.ma_ho_so.clone())
        .collect();
    let standings: BTreeMap<String, IndexStanding> = context
        .ledger
        .standings(name, &codes)
        .await?
        .into_iter()
        .map(|standing| (standing.ma_ho_so.clone(), standing))
        .collect();
    let settle = Duration::from_millis(context.settings.reconcile_settle_ms + line.settle_lag_ms);
    let mut found = Vec::new();
    for item in page.items.iter().filter(|item| item.owner != Owner::Ministry) {
        let standing = standings.get(&item.ma_ho_so);
        let is_missed = standing.is_none_or(|standing| is_behind(standing, item));
        // The feed had been read to its end after the change, and gave nothing. Without a time nobody
        // can say that; the books do.
        let is_due = item.changed_at.is_some_and(|at| at + settle <= read_until);
        if !is_missed || !is_due {
            continue;
        }
        let version = version_text(item.version);
        let at = item.changed_at.map_or_else(String::new, |at| at.to_string());
        found.push(DiscrepancyRecord {
            source: name.to_owned(),
            ma_ho_so: item.ma_ho_so.clone(),
            dossier_id: standing.map(|standing| standing.dossier_id),
            kind: match standing {
                None => DiscrepancyKind::NotReceived,
                Some(_) => DiscrepancyKind::Behind,
            },
            detail: format!(
                "rolling scan: {version}, changed {at}, and the feed had been read beyond"
            ),
        });
    }
    let read = page.items.len() + page.refused.len();
    scanned.seen = u64::try_from(read).unwrap_or(u64::MAX);
    scanned.missed = u64::try_from(found.len()).unwrap_or(u64::MAX);
    if !found.is_empty() {
        tracing::warn!(
            source = name,
            missed = scanned.missed,
            dossier = found[0].ma_ho_so,
            "the feed never gave what the index lists"
        );
        context.ledger.record_discrepancies(now, &found).await?;
        scanned.pulled = pull(context, line, &found).await?;
    }
    scan.seen += scanned.seen;
    scan.missed += scanned.missed;
    scan.missed_in_all += scanned.missed;
    scan.scanned_at = now;
    let goes_on = page.more && page.cursor.is_some() && page.cursor != scan.cursor;
    if goes_on {
        scan.cursor = page.cursor;
    } else {
        scanned.round_ended = true;
        let next = begin(context, name, scan.round + 1, now);
        scan = RollingScan {
            last_seen: Some(scan.seen),
            last_missed: Some(scan.missed),
            last_ended_at: Some(now),
            missed_in_all: scan.missed_in_all,
            ..next
        };
    }
    context.ledger.keep_rolling_scan(&scan).await?;
    Ok(scanned)
}

fn begin(context: &Context, source: &str, round: u64, now: Timestamp) -> RollingScan {
    let back = Duration::from_secs(u64::from(context.settings.from_days) * 24 * 3600);
    RollingScan {
        source: source.to_owned(),
        from_day: (now - back).vietnam_day(),
        to_day: (now + Duration::from_hours(24)).vietnam_day(),
        round,
        began_at: now,
        scanned_at: now,
        ..RollingScan::default()
    }
}

/// Asks for what was missed; what the source does not give stays a discrepancy.
async fn pull(
    context: &Context,
    line: &SourceLine,
    missed: &[DiscrepancyRecord],
) -> Result<u64, VerbError> {
    let mut items = Vec::new();
    for record in missed.iter().take(PULLED_MAX) {
        context.alive();
        match line.source.dossier(&record.ma_ho_so).await {
            Ok(Some(item)) => items.push(received(item)),
            Ok(None) => {}
            Err(failure) => {
                tracing::debug!(
                    dossier = record.ma_ho_so,
                    code = failure.failure.code,
                    "not given"
                );
            }
        }
    }
    if items.is_empty() {
        return Ok(0);
    }
    let commit = PullCommit {
        source: line.source.name().to_owned(),
        at: context.clock.now(),
        priority: Priority::Live,
        items,
        refused: Vec::new(),
        origin: None,
        cursor: None,
        etag: None,
        caught_up: false,
    };
    Ok(context.ledger.commit_pull(&commit).await?.new)
}
