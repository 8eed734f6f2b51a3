//! `pull_once`: read a source's feed from before the overlap to its end, page by page.

use std::time::Duration;

use serde::Serialize;

use super::{Context, SourceLine, Stop, VerbError};
use crate::domain::failure::{Disposition, Failure};
use crate::domain::priority::Priority;
use crate::ledger::record::{PullCommit, ReceivedItem, RefusedRecord};
use crate::source::{Changes, Item, Owner, Page, RefusedItem};

/// What one poll of one source did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PullReport {
    pub source: String,
    pub pages: u64,
    pub new: u64,
    pub unchanged: u64,
    pub outdated: u64,
    pub refused: u64,
    /// Left for the next poll: dossiers younger than the settle lag, files that are not whole yet.
    pub too_young: u64,
    /// What the source left lying, and why.
    pub remarks: Vec<String>,
    /// The feed was read to its end.
    pub caught_up: bool,
}

/// One poll. Each page's revisions and its cursor are committed in one transaction, so a crash
/// repeats work and never skips it. A failure of the source is recorded and returned.
pub async fn pull_once(
    context: &Context,
    line: &SourceLine,
    stop: &Stop,
) -> Result<PullReport, VerbError> {
    let name = line.source.name().to_owned();
    let mut report = PullReport { source: name.clone(), ..PullReport::default() };
    let position = context.ledger.source_position(&name, line.overlap_ms).await?;
    if position.start_from != line.start_from {
        // Before the first page: what it brings must already be new under this cut-over.
        context.ledger.set_start_from(&name, line.start_from).await?;
    }
    let priority = if position.caught_up { Priority::Live } else { Priority::Backfill };
    let mut after = position.start.clone();
    let mut etag = position.etag.clone();
    loop {
        let changes =
            line.source.changes(after.as_deref(), line.page_limit, etag.take().as_deref()).await;
        let page = match changes {
            Ok(Changes::Page(page)) => *page,
            Ok(Changes::NotModified) => {
                report.caught_up = true;
                context.ledger.record_poll_failure(&name, context.clock.now(), None, None).await?;
                return Ok(report);
            }
            Err(failure) => {
                return Err(
                    fail(context, &name, failure.failure, failure.evidence.as_deref()).await
                );
            }
        };
        let stuck = page.stuck;
        let more = page.more;
        let next = page.cursor.clone();
        let asked = Asked { after: after.as_deref(), first: report.pages == 0 };
        let whole = commit(context, line, &name, priority, page, asked, &mut report).await?;
        if let Some(position) = next.as_deref().filter(|_| whole)
            && let Err(failure) = line.source.committed(position).await
        {
            return Err(fail(context, &name, failure.failure, failure.evidence.as_deref()).await);
        }
        if stuck {
            let failure = Failure::new(
                "source.stuck_cursor",
                Disposition::Retryable,
                "the feed says that there is more, but its cursor does not move",
            );
            return Err(fail(context, &name, failure, None).await);
        }
        if !whole {
            return Ok(report);
        }
        if !more {
            report.caught_up = report.too_young == 0;
            return Ok(report);
        }
        if stop.is_cancelled() {
            return Ok(report);
        }
        after = next;
    }
}

/// The question that a page answers.
#[derive(Clone, Copy)]
struct Asked<'a> {
    after: Option<&'a str>,
    /// The poll began with it.
    first: bool,
}

/// Stores a page; `false` when part of it is too young and reading must end before it.
async fn commit(
    context: &Context,
    line: &SourceLine,
    name: &str,
    priority: Priority,
    mut page: Page,
    asked: Asked<'_>,
    report: &mut PullReport,
) -> Result<bool, VerbError> {
    let now = context.clock.now();
    let settled_before = now - Duration::from_millis(line.settle_lag_ms);
    let (given, waiting) = (page.items.len(), page.waiting);
    let mut remarks = std::mem::take(&mut page.remarks);
    let items: Vec<ReceivedItem> = page
        .items
        .into_iter()
        .filter(|item| {
            // A time in the future is a wrong clock, not a young change; waiting for it would stop
            // the source.
            line.settle_lag_ms == 0
                || item.changed_at.is_none_or(|at| at <= settled_before || at > now)
        })
        .map(received)
        .collect();
    let whole = items.len() == given;
    let commit = PullCommit {
        source: name.to_owned(),
        at: now,
        priority,
        items,
        refused: page
            .refused
            .into_iter()
            .map(|item| refused(item, page.origin.as_deref()))
            .collect(),
        origin: page.origin,
        // Without the young ones the page is not done, so its cursor must not be remembered.
        cursor: page.cursor.filter(|_| whole).map(|cursor| (cursor, page.newest_changed_at)),
        etag: page
            .etag
            .filter(|_| whole && !page.more && asked.first)
            .map(|etag| (etag, asked.after.map(str::to_owned))),
        caught_up: whole && !page.more && page.waiting == 0,
    };
    let counts = context.ledger.commit_pull(&commit).await?;
    report.pages += u64::from(given > 0 || commit.cursor.is_some());
    report.new += counts.new;
    report.unchanged += counts.unchanged;
    report.outdated += counts.outdated;
    report.refused += counts.refused;
    report.too_young += (given - commit.items.len()) as u64 + waiting;
    report.remarks.append(&mut remarks);
    Ok(whole)
}

async fn fail(
    context: &Context,
    name: &str,
    failure: Failure,
    evidence: Option<&[u8]>,
) -> VerbError {
    let now = context.clock.now();
    match context.ledger.record_poll_failure(name, now, Some(&failure), evidence).await {
        Ok(()) => VerbError::Source { source_name: name.to_owned(), failure },
        Err(error) => error.into(),
    }
}

fn received(item: Item) -> ReceivedItem {
    ReceivedItem {
        ma_ho_so: item.ma_ho_so,
        version: item.version,
        changed_at: item.changed_at,
        deleted: item.deleted,
        ministry: item.owner == Owner::Ministry,
        recoded_from: item.recoded_from,
        fingerprint: item.fingerprint,
        document: item.document,
    }
}

fn refused(item: RefusedItem, origin: Option<&str>) -> RefusedRecord {
    let place = origin.unwrap_or("its page");
    RefusedRecord {
        rule: item.rule.to_owned(),
        reason: format!("{} (at {} of {place})", item.reason, item.position),
        ma_ho_so: item.ma_ho_so,
        evidence: item.evidence,
    }
}
