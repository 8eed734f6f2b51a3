//! `pull_once`: read a source's feed from before the overlap to its end, page by page.

use serde::Serialize;

use super::way::{STUCK_CURSOR, Way};
use super::{Context, SourceLine, Stop, VerbError, mended};
use crate::domain::failure::{Disposition, Failure};
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ledger::record::{PullCommit, ReceivedItem, RefusedRecord};
use crate::sabotage::{self, Defect};
use crate::source::{Changes, Item, LoneItem, Owner, Page, RefusedItem, SourceFailure};

/// Dossiers in a row that spoil their page before the source itself is called unreadable. Passing
/// over more than a bad day's work could empty a feed whose every export is broken.
const PASSED_IN_A_ROW_MAX: usize = 50;

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
    /// How often a page could not be read and was asked for again with fewer dossiers.
    pub narrowed: u64,
    /// Of the refused: dossiers that spoil every page they stand in, and were passed over alone.
    pub passed_over: u64,
    /// Dossiers that could not be read before, and came when they were asked for by their code.
    pub mended: u64,
    /// The feed was read to its end.
    pub caught_up: bool,
}

/// One poll. Each page's revisions and its cursor are committed in one transaction, so a crash
/// repeats work and never skips it. A failure of the source is recorded and returned.
///
/// A page whose dossiers spoil it is asked for again with half as many, until the dossier that does
/// it stands alone. That one is kept as evidence and passed over, so that it stops no other, and asked
/// for by its code from time to time.
pub async fn pull_once(
    context: &Context,
    line: &SourceLine,
    stop: &Stop,
) -> Result<PullReport, VerbError> {
    let name = line.source.name().to_owned();
    let overlap_ms = if sabotage::on(Defect::NoOverlap) { 0 } else { line.overlap_ms };
    let position = context.ledger.source_position(&name, overlap_ms).await?;
    if position.start_from != line.start_from {
        // Before the first page: what it brings must already be new under this cut-over.
        context.ledger.set_start_from(&name, line.start_from).await?;
        sabotage::point("pull.cut_over");
    }
    let mut poll = Poll {
        context,
        line,
        priority: if position.caught_up { Priority::Live } else { Priority::Backfill },
        stride: Stride::new(line.page_limit),
        // A folder is empty once its files are moved, so it cannot be walked in a circle; and a file
        // that was not moved in time is given out again at its old position.
        way: line.source.has_index().then(|| Way::from(position.start.as_deref())),
        after: position.start,
        passed: Vec::new(),
        is_readable: false,
        spoilt_tag: None,
        newest: None,
        report: PullReport { source: name.clone(), ..PullReport::default() },
        name,
    };
    let mut etag = position.etag;
    loop {
        context.alive();
        let (asked, etag) = (poll.stride.now, etag.take());
        // A question that nobody waits for any more changes nothing on either side.
        let changes = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(poll.report),
            changes = line.source.changes(poll.after.as_deref(), asked, etag.as_deref()) => changes,
        };
        let onward = match changes {
            Ok(Changes::Page(page)) => poll.take(*page).await?,
            Ok(Changes::NotModified) => {
                poll.report.caught_up = true;
                let now = context.clock.now();
                context.ledger.record_poll_failure(&poll.name, now, None, None).await?;
                Onward::No
            }
            Err(failure) => poll.give_way(failure).await?,
        };
        if stop.is_cancelled() {
            return Ok(poll.report);
        }
        if onward == Onward::No {
            let mended = mended::ask_again(context, line, poll.priority).await?;
            poll.report.new += mended.new;
            poll.report.mended = mended.read;
            return Ok(poll.report);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Onward {
    Yes,
    No,
}

/// One poll on its way through the feed.
struct Poll<'p> {
    context: &'p Context,
    line: &'p SourceLine,
    name: String,
    priority: Priority,
    stride: Stride,
    way: Option<Way>,
    after: Option<String>,
    /// Dossiers passed over since the last page that could be read; stored with the next one, so
    /// that nothing is passed for good before something behind it can be read.
    passed: Vec<LoneItem>,
    /// This poll has read a dossier.
    is_readable: bool,
    /// Entity tag of the one page that holds all this poll reads, when it could not be read whole:
    /// as long as that page stays, there is nothing new to find in its parts.
    spoilt_tag: Option<(String, Option<String>)>,
    /// The newest change in the pages of this poll.
    newest: Option<Timestamp>,
    report: PullReport,
}

impl Poll<'_> {
    /// Stores a page, and what was passed over before it.
    async fn take(&mut self, page: Page) -> Result<Onward, VerbError> {
        let (more, next) = (page.more, page.cursor.clone());
        let is_empty = page.items.is_empty() && page.refused.is_empty();
        self.newest = self.newest.max(page.newest_changed_at);
        self.is_readable |= !page.items.is_empty();
        let whole = self.commit(page).await?;
        sabotage::point("pull.stored");
        self.stride.was_read();
        if !whole {
            return Ok(Onward::No);
        }
        if let Some(position) = next.as_deref()
            && let Err(failure) = self.line.source.committed(position).await
        {
            return Err(self.fail(failure.failure, failure.evidence.as_deref()).await);
        }
        sabotage::point("pull.put_away");
        if !more {
            self.report.caught_up = self.report.too_young == 0;
            return Ok(Onward::No);
        }
        if let Err(message) = self.goes_on(next.as_deref(), is_empty) {
            let failure = Failure::new(STUCK_CURSOR, Disposition::Retryable, message);
            return Err(self.fail(failure, None).await);
        }
        self.after = next;
        Ok(Onward::Yes)
    }

    /// After a page that could not be read: a smaller one, the dossier behind, or the end.
    async fn give_way(&mut self, failure: SourceFailure) -> Result<Onward, VerbError> {
        let SourceFailure { failure, evidence, spoilt } = failure;
        let Some(spoilt) = spoilt else {
            return Err(self.fail(failure, evidence.as_deref()).await);
        };
        if self.is_first() && spoilt.more == Some(false) {
            self.spoilt_tag = spoilt.etag.map(|etag| (etag, self.after.clone()));
        }
        if self.stride.narrow() {
            self.report.narrowed += 1;
            tracing::debug!(
                source = self.name,
                code = failure.code,
                limit = self.stride.now,
                "the page cannot be read; asking for fewer dossiers: {failure}"
            );
            return Ok(Onward::Yes);
        }
        let Some(lone) = spoilt.lone else {
            return Err(self.fail(failure, evidence.as_deref()).await);
        };
        if lone.more && self.goes_on(Some(&lone.cursor), false).is_err() {
            return Err(self.fail(failure, evidence.as_deref()).await);
        }
        if self.passed.len() >= PASSED_IN_A_ROW_MAX {
            let message = format!(
                "{} dossiers in a row spoil their page; nothing was passed over",
                PASSED_IN_A_ROW_MAX + 1
            );
            let failure = Failure::new("source.unreadable", Disposition::Retryable, message)
                .with_details(failure.to_string());
            return Err(self.fail(failure, evidence.as_deref()).await);
        }
        if self.line.is_young(self.context.clock.now(), lone.changed_at) {
            self.report.too_young += 1;
            return Ok(Onward::No);
        }
        // Where no dossier can be read, the export is more likely wrong than each of them; unless
        // this is the end of an overlap that holds only what was passed over before.
        if !lone.more
            && !self.is_readable
            && !self.context.ledger.knows_position(&self.name, &lone.cursor).await?
        {
            return Err(self.fail(failure, evidence.as_deref()).await);
        }
        tracing::debug!(
            source = self.name,
            code = failure.code,
            dossier = lone.item.ma_ho_so,
            "passing over a dossier that cannot be read: {failure}"
        );
        self.newest = self.newest.max(lone.changed_at);
        self.after = Some(lone.cursor.clone());
        let more = lone.more;
        self.passed.push(lone);
        if more {
            return Ok(Onward::Yes);
        }
        let nothing = Page {
            cursor: self.after.clone(),
            // Where it says none itself, the time of what is before it: ours would move the overlap
            // past changes of a source whose clock is slow.
            newest_changed_at: self.newest,
            ..Page::default()
        };
        self.take(nothing).await
    }

    fn goes_on(&mut self, cursor: Option<&str>, is_empty: bool) -> Result<(), &'static str> {
        self.way.as_mut().map_or(Ok(()), |way| way.goes_on(cursor, is_empty))
    }

    /// Whether the question is the one that a poll begins with.
    fn is_first(&self) -> bool {
        self.report.pages == 0 && self.stride.is_full() && self.passed.is_empty()
    }

    /// Stores a page; `false` when part of it is too young and reading must end before it.
    async fn commit(&mut self, mut page: Page) -> Result<bool, VerbError> {
        let now = self.context.clock.now();
        let (given, waiting) = (page.items.len(), page.waiting);
        self.report.remarks.append(&mut page.remarks);
        let items: Vec<ReceivedItem> = page
            .items
            .into_iter()
            .filter(|item| !self.line.is_young(now, item.changed_at))
            .map(received)
            .collect();
        let whole = items.len() == given;
        let mut items = items;
        if sabotage::on(Defect::LastItemDropped) && items.len() > 1 {
            items.pop();
        }
        for item in &items {
            tracing::trace!(dossier = item.ma_ho_so, version = item.version, "given by the source");
        }
        for item in &page.refused {
            tracing::debug!(dossier = item.ma_ho_so, code = item.rule, "item refused");
        }
        let is_first = self.is_first();
        let passed = std::mem::take(&mut self.passed);
        self.report.passed_over += passed.len() as u64;
        let commit = PullCommit {
            source: self.name.clone(),
            at: now,
            priority: self.priority,
            items,
            refused: passed
                .into_iter()
                .map(|lone| lone.item)
                .chain(page.refused)
                .map(|item| refused(item, page.origin.as_deref()))
                .collect(),
            origin: page.origin,
            // Without the young ones the page is not done, so its cursor must not be remembered.
            cursor: page.cursor.filter(|_| whole).map(|cursor| (cursor, page.newest_changed_at)),
            etag: match page.etag.filter(|_| is_first) {
                Some(etag) => Some((etag, self.after.clone())),
                None => self.spoilt_tag.clone(),
            }
            .filter(|_| whole && !page.more),
            caught_up: whole && !page.more && page.waiting == 0,
        };
        if sabotage::on(Defect::CursorBeforeCommit) {
            let ahead = PullCommit { items: Vec::new(), refused: Vec::new(), ..commit.clone() };
            self.context.ledger.commit_pull(&ahead).await?;
        }
        let counts = self.context.ledger.commit_pull(&commit).await?;
        self.report.pages += u64::from(given > 0 || commit.cursor.is_some());
        self.report.new += counts.new;
        self.report.unchanged += counts.unchanged;
        self.report.outdated += counts.outdated;
        self.report.refused += counts.refused;
        self.report.too_young += (given - commit.items.len()) as u64 + waiting;
        Ok(whole)
    }

    async fn fail(&self, failure: Failure, evidence: Option<&[u8]>) -> VerbError {
        fail(self.context, &self.name, failure, evidence).await
    }
}

/// How many dossiers are asked for at once. Halving finds the one that spoils a page of 500 in some
/// eighteen questions, where asking for each alone takes up to 500; and where pages are cut or
/// refused for their size, it ends at one that passes.
struct Stride {
    now: u32,
    full: u32,
    /// Behind a dossier that was passed over, pages grow again.
    grows: bool,
}

impl Stride {
    fn new(full: u32) -> Self {
        Self { now: full, full, grows: false }
    }

    /// `false` when there is nothing smaller to ask for.
    fn narrow(&mut self) -> bool {
        if self.now <= 1 {
            self.grows = true;
            return false;
        }
        self.now /= 2;
        self.grows = false;
        true
    }

    fn was_read(&mut self) {
        if self.grows {
            self.now = self.now.saturating_mul(2).min(self.full);
        }
    }

    fn is_full(&self) -> bool {
        self.now == self.full
    }
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

pub(super) fn received(item: Item) -> ReceivedItem {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Questions until the spoilt dossier of a full page stands alone, and until pages are full again.
    #[test]
    fn a_spoilt_dossier_is_found_by_halving_and_pages_grow_again_behind_it() {
        for spoilt in [0_u32, 1, 249, 250, 300, 499] {
            let mut stride = Stride::new(500);
            let (mut before, mut questions) = (0, 0);
            loop {
                questions += 1;
                if before + stride.now > spoilt {
                    if !stride.narrow() {
                        break;
                    }
                } else {
                    before += stride.now;
                    stride.was_read();
                }
            }
            assert_eq!(before, spoilt);
            assert!(questions <= 18, "{questions} questions for dossier {spoilt}");
            let sizes: Vec<u32> = (0..10)
                .map(|_| {
                    stride.was_read();
                    stride.now
                })
                .collect();
            assert_eq!(sizes, [2, 4, 8, 16, 32, 64, 128, 256, 500, 500]);
        }
    }
}
