//! Closing: findings, repairs, books. Each part may be done twice, so a run that died in the middle
//! of it begins here again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Ends;
use super::read::code_day;
use crate::domain::bound::SampleBound;
use crate::domain::cause::Cause;
use crate::domain::discrepancy::{Bucket, DiscrepancyKind};
use crate::domain::time::Timestamp;
use crate::ledger::reconcile::{
    LineFilter, NewLine, PlacedLine, ReconcileLine, ReconcileRun, RunSums, explained_percent,
};
use crate::ledger::record::{AuditRecord, Books, DiscrepancyRecord};
use crate::pipeline::{Context, VerbError};
use crate::sabotage;

/// Lines that are worked on together.
const PAGE: u32 = 1000;
/// Rows that are dropped together.
const TRIM: u32 = 10_000;
/// Rows that do not close, named one by one.
const UNBALANCED_SHOWN: usize = 5;

pub(super) async fn close(
    context: &Context,
    ends: Ends<'_>,
    run: &ReconcileRun,
) -> Result<(), VerbError> {
    let source = &run.order.source;
    let settle = Duration::from_millis(context.settings.reconcile_settle_ms);
    let settled_before = run.started_at - settle;
    let has_index = ends.source.source.has_index();
    recheck(context, run, settled_before).await?;
    if has_index && run.order.chosen.is_everything() {
        find_extra(context, run).await?;
    }
    write_findings(context, run).await?;
    sabotage::point("reconcile.found");
    context.ledger.resolve_by_lines(context.clock.now(), source, run.id).await?;
    sabotage::point("reconcile.resolved");
    // A run that looks at a part is for people; what it found, the next plain one finds too.
    if run.order.plain {
        repair(context, run, settled_before).await?;
    }
    sabotage::point("reconcile.repaired");
    let sums = context.ledger.sum_up(run.id, settled_before).await?;
    let books = books(run, &sums, has_index, context.clock.now());
    context.ledger.end_run(run.id, &books).await?;
    while context.ledger.trim_lines(source, run.id, TRIM).await? {
        context.alive();
    }
    Ok(())
}

/// Pages of a run's lines.
struct Pages<'a> {
    context: &'a Context,
    run: i64,
    filter: LineFilter,
    after: String,
}

impl<'a> Pages<'a> {
    fn of(context: &'a Context, run: i64, buckets: &[Bucket], causes: &[Cause]) -> Self {
        let filter = LineFilter { buckets: buckets.to_vec(), causes: causes.to_vec() };
        Self { context, run, filter, after: String::new() }
    }

    /// Empty at the end.
    async fn next(&mut self) -> Result<Vec<ReconcileLine>, VerbError> {
        self.context.alive();
        let page = self.context.ledger.lines(self.run, &self.filter, &self.after, PAGE).await?;
        if let Some(last) = page.last() {
            self.after.clone_from(&last.ma_ho_so);
        }
        Ok(page)
    }
}

/// What looked wrong may have changed while the portal was asked: a dossier that is on its way
/// again, or was acknowledged inside the settle window, is open, not wrong.
async fn recheck(
    context: &Context,
    run: &ReconcileRun,
    settled_before: Timestamp,
) -> Result<(), VerbError> {
    let mut pages = Pages::of(context, run.id, &[Bucket::Missing, Bucket::Different], &[]);
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            return Ok(());
        }
        let codes: Vec<String> = page.into_iter().map(|line| line.ma_ho_so).collect();
        let moving: Vec<PlacedLine> = context
            .ledger
            .standings(&run.order.source, &codes)
            .await?
            .into_iter()
            .filter(|standing| {
                !standing.acknowledged
                    || standing.acked_at.is_some_and(|acked_at| acked_at > settled_before)
            })
            .map(|standing| PlacedLine {
                ma_ho_so: standing.ma_ho_so,
                bucket: Bucket::Open,
                cause: Some(Cause::NotYetSent),
                detail: "moved while the portal was asked".to_owned(),
                differences: Vec::new(),
                seen: 0,
            })
            .collect();
        if !moving.is_empty() {
            context.ledger.place_lines(run.id, &moving).await?;
        }
    }
}

/// Acknowledged by the portal once and gone from the index, among dossiers of the compared days.
async fn find_extra(context: &Context, run: &ReconcileRun) -> Result<(), VerbError> {
    let mut after = String::new();
    loop {
        context.alive();
        // What arrived after the reading of the index began may not be in it.
        let found = context
            .ledger
            .unlisted(run.id, &run.order.source, &after, run.started_at, PAGE)
            .await?;
        let Some((last, codes)) = found else {
            return Ok(());
        };
        after = last;
        let extra: Vec<NewLine> = codes
            .into_iter()
            .filter_map(|code| {
                let day = code_day(&code)?;
                (run.from_day <= day && day <= run.to_day).then(|| NewLine {
                    agency: code.split('-').next().unwrap_or_default().to_owned(),
                    ma_ho_so: code,
                    dossier_id: None,
                    day,
                    procedure: String::new(),
                    bucket: Bucket::Extra,
                    cause: None,
                    detail: String::new(),
                    presumed: false,
                    suspected_since: None,
                    draw: None,
                })
            })
            .collect();
        if !extra.is_empty() {
            context.ledger.add_lines(run.id, &extra, None).await?;
        }
    }
}

async fn write_findings(context: &Context, run: &ReconcileRun) -> Result<(), VerbError> {
    let now = context.clock.now();
    let wanted: [(&[Bucket], &[Cause]); 2] = [
        (&[Bucket::Missing, Bucket::Different, Bucket::Extra], &[]),
        (&[Bucket::Open], &[Cause::NotReceived, Cause::Behind]),
    ];
    for (buckets, causes) in wanted {
        let mut pages = Pages::of(context, run.id, buckets, causes);
        loop {
            let page = pages.next().await?;
            if page.is_empty() {
                break;
            }
            let found: Vec<DiscrepancyRecord> = page
                .into_iter()
                .filter_map(|line| {
                    let kind = match (line.bucket, line.cause) {
                        (Bucket::Missing, _) => DiscrepancyKind::Missing,
                        (Bucket::Different, _) => DiscrepancyKind::Different,
                        (Bucket::Extra, _) => DiscrepancyKind::Extra,
                        (_, Some(Cause::NotReceived)) => DiscrepancyKind::NotReceived,
                        (_, Some(Cause::Behind)) => DiscrepancyKind::Behind,
                        _ => return None,
                    };
                    Some(DiscrepancyRecord {
                        source: run.order.source.clone(),
                        ma_ho_so: line.ma_ho_so,
                        dossier_id: line.dossier_id,
                        kind,
                        detail: line.detail,
                    })
                })
                .collect();
            context.ledger.record_discrepancies(now, &found).await?;
        }
    }
    Ok(())
}

async fn repair(
    context: &Context,
    run: &ReconcileRun,
    settled_before: Timestamp,
) -> Result<(), VerbError> {
    let wanted: BTreeSet<Bucket> = context.settings.repair.iter().copied().collect();
    let now = context.clock.now();
    if wanted.contains(&Bucket::Missing) {
        let mut pages = Pages::of(context, run.id, &[Bucket::Missing], &[]);
        loop {
            let page = pages.next().await?;
            if page.is_empty() {
                break;
            }
            // One look-up that says "missing" may be the portal's slip; what follows from believing it
            // is that steps are sent again.
            let missing: Vec<i64> = page
                .into_iter()
                .filter(|line| line.suspected_since.is_some_and(|since| since <= settled_before))
                .filter_map(|line| line.dossier_id)
                .collect();
            if !missing.is_empty() {
                let resend = context.settings.resend_unknown_supplement;
                context.ledger.repair_missing(now, &missing, resend).await?;
            }
        }
    }
    if wanted.contains(&Bucket::Different) {
        let mut pages = Pages::of(context, run.id, &[Bucket::Different], &[]);
        loop {
            let page = pages.next().await?;
            if page.is_empty() {
                break;
            }
            for line in page {
                context.alive();
                let reason = "the portal's echo differs from what it acknowledged";
                let audit = AuditRecord::new("hoso reconcile", "repair", &line.ma_ho_so, reason);
                let source = Some(run.order.source.as_str());
                context.ledger.resync(now, source, &line.ma_ho_so, &audit).await?;
            }
        }
    }
    Ok(())
}

fn books(run: &ReconcileRun, sums: &RunSums, has_index: bool, ended_at: Timestamp) -> Books {
    let of = |bucket| sums.buckets.get(&bucket).copied().unwrap_or(0);
    let sum: u64 = Bucket::ALL.into_iter().map(of).sum();
    let mut books = Books {
        source: run.order.source.clone(),
        started_at: run.started_at,
        ended_at,
        from_day: run.from_day.clone(),
        to_day: run.to_day.clone(),
        at_source: run.read,
        matched: of(Bucket::Matched),
        different: of(Bucket::Different),
        missing: of(Bucket::Missing),
        suspected: sums.suspected,
        unverifiable: of(Bucket::Unverifiable),
        quarantined: of(Bucket::Quarantined),
        dead: of(Bucket::Dead),
        open: of(Bucket::Open),
        not_ours: of(Bucket::NotOurs),
        extra: of(Bucket::Extra),
        read_back: sums.found,
        look_ups: run.calls,
        closed: has_index && sum == run.read && sums.unbalanced.is_empty(),
        without_index: !has_index,
        run: run.id,
        compared: sums.compared,
        explained: sums.explained,
        causes: sums.causes.iter().map(|(cause, n)| (cause.as_str().to_owned(), *n)).collect(),
        sample: SampleBound::of(sums.population, sums.drawn, sums.differing),
        unbalanced: sums.unbalanced.iter().take(UNBALANCED_SHOWN).cloned().collect(),
        remark: String::new(),
    };
    let mut remarks = Vec::new();
    if !run.remark.is_empty() {
        remarks.push(run.remark.clone());
    }
    if !has_index {
        remarks.push(
            "this source has no index: the books cover what it gave, by the day on which it came"
                .to_owned(),
        );
    }
    if !sums.unbalanced.is_empty() {
        let more = sums.unbalanced.len() - books.unbalanced.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        remarks.push(format!("does not close: {}{more}", books.unbalanced.join(", ")));
    }
    if books.suspected > 0 {
        remarks.push(format!(
            "{} missing, not believed yet: looked at again before anything is repaired",
            books.suspected
        ));
    }
    if explained_percent(sum - books.matched, books.explained).is_some_and(|share| share < 100) {
        remarks.push(format!(
            "{} not matched without a named cause",
            sum - books.matched - books.explained
        ));
    }
    books.remark = remarks.join("; ");
    books
}
