//! `reconcile_once`: close the books between the source's index, the ledger and the portal.
//!
//! Every dossier of the index falls into exactly one bucket, and the sum is checked. What changed
//! less than the settle window ago is still on its way and is not called a difference. A portal that
//! does not show a dossier is believed only when a later run, after the settle window, hears the same.
//!
//! A source without an index (files in a folder) gets books over what it gave. They show what became
//! of that and find what the portal lost, but they are never called closed: nobody can know what
//! should have been dropped and was not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use super::push::call_record;
use super::read_back::{Echo, compare_echo, shows_all};
use super::way::{STUCK_CURSOR, Way};
use super::{Context, PortalLine, SourceLine, Stop, VerbError};
use crate::domain::codes::DossierCode;
use crate::domain::discrepancy::{Bucket, DiscrepancyKind};
use crate::domain::entry::EntryState;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ledger::record::{AuditRecord, Books, DiscrepancyRecord, IndexStanding, SettleBatch};
use crate::portal::gate::Readiness;
use crate::portal::{LookUpVerdict, Portal, Tenure};
use crate::sabotage;
use crate::source::{IndexItem, Owner};

/// Calls whose records are written together.
const CALLS_MAX: usize = 256;
/// Rounds of look-ups without a single answer after which the rest is named unverifiable.
const FRUITLESS_ROUNDS_MAX: u32 = 5;
/// Longest wait for a closed gate between two rounds.
const LOOK_UP_PAUSE_MAX: Duration = Duration::from_secs(30);

/// One dossier of the index while the books are open.
struct Line {
    ma_ho_so: String,
    dossier_id: Option<i64>,
    bucket: Bucket,
    /// What the portal itself said of it in this run.
    seen: Seen,
    /// An older program is believed to have sent it; the portal never acknowledged it to us.
    presumed: bool,
    /// Since when earlier runs miss it at the portal.
    suspected_since: Option<Timestamp>,
}

impl Line {
    fn new(ma_ho_so: String, dossier_id: Option<i64>, bucket: Bucket) -> Self {
        Self {
            ma_ho_so,
            dossier_id,
            bucket,
            seen: Seen::No,
            // Of a dossier that the ledger knows, nothing else is unverifiable from the start.
            presumed: dossier_id.is_some() && bucket == Bucket::Unverifiable,
            suspected_since: None,
        }
    }

    /// The portal should have it as we know it.
    fn is_believed(&self) -> bool {
        self.dossier_id.is_some() && (self.bucket == Bucket::Matched || self.presumed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Not asked, or no answer.
    No,
    /// It has the dossier.
    Exists,
    /// It has the dossier and echoes what it was sent.
    Equal,
}

/// Closes the books of one source, records them, and makes lost dossiers owed again where policy
/// says so. A run that is stopped records no books. The caller owns the gate; without `portal`, nothing is read back.
pub async fn reconcile_once(
    context: &Context,
    source: &SourceLine,
    portal: Option<&PortalLine>,
    stop: &Stop,
) -> Result<Books, VerbError> {
    let started_at = context.clock.now();
    let days = Duration::from_secs(u64::from(context.settings.from_days) * 24 * 3600);
    let mut books = Books {
        source: source.source.name().to_owned(),
        started_at,
        from_day: (started_at - days).vietnam_day(),
        // A day more: clocks differ, and a dossier received after midnight there is not lost here.
        to_day: (started_at + Duration::from_hours(24)).vietnam_day(),
        ..Books::default()
    };
    let mut found = Vec::new();
    books.without_index = !source.source.has_index();
    let (mut lines, whole) = if books.without_index {
        (read_own(context, &mut books, started_at - days).await?, true)
    } else {
        read_index(context, source, &mut books, &mut found, stop).await?
    };
    suspect(context, &books.source, &mut lines).await?;
    if let Some(portal) = portal {
        super::orders::heed_orders(context, portal).await?;
        verify(context, portal, &mut lines, &mut books, &mut found, stop).await?;
    }
    if stop.is_cancelled() {
        // What a process that ends did not ask is no finding, and half books would stand as the last
        // ones until tomorrow. The next run begins anew.
        "stopped before its end; nothing was recorded".clone_into(&mut books.remark);
        books.ended_at = context.clock.now();
        return Ok(books);
    }
    if whole && !books.without_index {
        find_extra(context, &lines, &mut books, &mut found).await?;
    }
    for line in &lines {
        let count = match line.bucket {
            Bucket::Matched => &mut books.matched,
            Bucket::Different => &mut books.different,
            Bucket::Missing => &mut books.missing,
            Bucket::Unverifiable => &mut books.unverifiable,
            Bucket::Quarantined => &mut books.quarantined,
            Bucket::Dead => &mut books.dead,
            Bucket::Open => &mut books.open,
            Bucket::NotOurs => &mut books.not_ours,
        };
        *count += 1;
    }
    let sum = books.matched
        + books.different
        + books.missing
        + books.unverifiable
        + books.quarantined
        + books.dead
        + books.open
        + books.not_ours;
    books.closed = whole && !books.without_index && sum == books.at_source;
    books.suspected = lines
        .iter()
        .filter(|line| line.bucket == Bucket::Missing && !confirmed(context, &books, line))
        .count() as u64;
    if books.without_index {
        "this source has no index: the books cover what it gave, by the day on which it came"
            .clone_into(&mut books.remark);
    } else if !whole {
        "the source's index was not read to its end".clone_into(&mut books.remark);
    }
    if books.suspected > 0 {
        let remark = std::mem::take(&mut books.remark);
        let before = if remark.is_empty() { remark } else { remark + "; " };
        books.remark = format!(
            "{before}{} missing, not believed yet: looked at again before anything is repaired",
            books.suspected
        );
    }
    books.ended_at = context.clock.now();
    write_findings(context, &books.source, &lines, &found).await?;
    sabotage::point("reconcile.resolved");
    repair(context, &books, &lines).await?;
    sabotage::point("reconcile.repaired");
    context.ledger.record_books(&books).await?;
    Ok(books)
}

/// What the source gave, in place of what it says that it has.
async fn read_own(
    context: &Context,
    books: &mut Books,
    first_seen_from: Timestamp,
) -> Result<Vec<Line>, VerbError> {
    let mut lines: Vec<Line> = Vec::new();
    loop {
        let after = lines.last().map_or(String::new(), |line| line.ma_ho_so.clone());
        let page =
            context.ledger.own_standings(&books.source, &after, 1000, first_seen_from).await?;
        if page.is_empty() {
            books.at_source = lines.len() as u64;
            return Ok(lines);
        }
        lines.extend(page.into_iter().map(|standing| {
            let bucket = bucket_of(standing.newest_state);
            Line::new(standing.ma_ho_so, Some(standing.dossier_id), bucket)
        }));
    }
}

/// Where the ledger alone puts a dossier.
const fn bucket_of(newest: EntryState) -> Bucket {
    match newest {
        EntryState::Quarantined => Bucket::Quarantined,
        EntryState::Dead => Bucket::Dead,
        EntryState::NotOurs => Bucket::NotOurs,
        EntryState::Accepted | EntryState::Unchanged => Bucket::Matched,
        // Believed, and never acknowledged.
        EntryState::Presumed => Bucket::Unverifiable,
        EntryState::Received
        | EntryState::Awaiting
        | EntryState::Ready
        | EntryState::Leased
        | EntryState::Unconfirmed
        | EntryState::Superseded => Bucket::Open,
    }
}

/// Puts each line of the index into the bucket that the ledger alone can tell.
async fn read_index(
    context: &Context,
    source: &SourceLine,
    books: &mut Books,
    found: &mut Vec<DiscrepancyRecord>,
    stop: &Stop,
) -> Result<(Vec<Line>, bool), VerbError> {
    let mut lines: Vec<Line> = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut after: Option<String> = None;
    let mut way = Way::from(None);
    loop {
        context.alive();
        let asked = source.source.index(
            &books.from_day,
            &books.to_day,
            after.as_deref(),
            source.page_limit,
        );
        let page = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok((lines, false)),
            page = asked => page,
        };
        let page = page.map_err(|failure| VerbError::Source {
            source_name: books.source.clone(),
            failure: failure.failure,
        })?;
        let is_empty = page.items.is_empty() && page.refused.is_empty();
        // A line that cannot be read is a dossier too: counted, and nothing can be said of it.
        for refused in &page.refused {
            books.at_source += 1;
            let code = refused.ma_ho_so.clone().unwrap_or_default();
            lines.push(Line::new(code, None, Bucket::Unverifiable));
        }
        // A page that moves while it is paged shows a dossier twice.
        let items: Vec<IndexItem> =
            page.items.into_iter().filter(|item| seen.insert(item.ma_ho_so.clone())).collect();
        books.at_source += items.len() as u64;
        let codes: Vec<String> = items.iter().map(|item| item.ma_ho_so.clone()).collect();
        let standings: BTreeMap<String, IndexStanding> = context
            .ledger
            .standings(&books.source, &codes)
            .await?
            .into_iter()
            .map(|standing| (standing.ma_ho_so.clone(), standing))
            .collect();
        for item in items {
            lines.push(place(context, books, item, &standings, found));
        }
        if !page.more {
            return Ok((lines, true));
        }
        // What was read of an index that leads nowhere is no part of the truth that can be named, so
        // nothing is compared with it.
        if let Err(message) = way.goes_on(page.cursor.as_deref(), is_empty) {
            return Err(VerbError::Source {
                source_name: books.source.clone(),
                failure: Failure::new(STUCK_CURSOR, Disposition::Retryable, message),
            });
        }
        after = page.cursor;
    }
}

fn place(
    context: &Context,
    books: &Books,
    item: IndexItem,
    standings: &BTreeMap<String, IndexStanding>,
    found: &mut Vec<DiscrepancyRecord>,
) -> Line {
    let settled_before =
        books.started_at - Duration::from_millis(context.settings.reconcile_settle_ms);
    let settled = item.changed_at.is_none_or(|at| at <= settled_before);
    let standing = standings.get(&item.ma_ho_so);
    let mut note = |kind, detail: String| {
        found.push(DiscrepancyRecord {
            source: books.source.clone(),
            ma_ho_so: item.ma_ho_so.clone(),
            dossier_id: standing.map(|standing| standing.dossier_id),
            kind,
            detail,
        });
    };
    let bucket = match standing {
        None if item.owner == Owner::Ministry => Bucket::NotOurs,
        None => {
            if settled {
                note(DiscrepancyKind::NotReceived, String::new());
            }
            Bucket::Open
        }
        Some(standing) => match bucket_of(standing.newest_state) {
            Bucket::Matched | Bucket::Unverifiable if is_behind(standing, &item) => {
                if settled {
                    note(DiscrepancyKind::Behind, version_text(item.version));
                }
                Bucket::Open
            }
            bucket => bucket,
        },
    };
    Line::new(item.ma_ho_so, standing.map(|standing| standing.dossier_id), bucket)
}

/// Which of the lines earlier runs missed at the portal.
async fn suspect(context: &Context, source: &str, lines: &mut [Line]) -> Result<(), VerbError> {
    let codes: Vec<String> =
        lines.iter().filter(|line| line.is_believed()).map(|line| line.ma_ho_so.clone()).collect();
    let mut since = BTreeMap::new();
    for part in codes.chunks(5000) {
        since.extend(context.ledger.suspected_missing(source, part).await?);
    }
    for line in lines.iter_mut().filter(|line| line.is_believed()) {
        line.suspected_since = since.get(&line.ma_ho_so).copied();
    }
    Ok(())
}

/// Missed by an earlier run, and long enough ago.
fn confirmed(context: &Context, books: &Books, line: &Line) -> bool {
    let settle = Duration::from_millis(context.settings.reconcile_settle_ms);
    line.suspected_since.is_some_and(|since| since + settle <= books.started_at)
}

/// The index names a later version than the feed gave.
fn is_behind(standing: &IndexStanding, item: &IndexItem) -> bool {
    match (standing.newest_version, item.version) {
        (Some(known), Some(listed)) => listed > known,
        _ => matches!((standing.newest_changed_at, item.changed_at), (Some(k), Some(l)) if l > k),
    }
}

fn version_text(version: Option<i64>) -> String {
    version.map_or_else(String::new, |version| format!("index has version {version}"))
}

/// Reads dossiers that the portal should have back from it, as many as the budget allows: those
/// that an earlier run missed first, the others drawn by chance.
async fn verify(
    context: &Context,
    portal: &PortalLine,
    lines: &mut [Line],
    books: &mut Books,
    found: &mut Vec<DiscrepancyRecord>,
    stop: &Stop,
) -> Result<(), VerbError> {
    let mut candidates: Vec<usize> =
        lines.iter().enumerate().filter(|(_, line)| line.is_believed()).map(|(at, _)| at).collect();
    let wanted = candidates.len().min(context.settings.look_ups_max as usize);
    candidates.sort_by_key(|at| lines[*at].suspected_since.is_none());
    let suspects = candidates.partition_point(|at| lines[*at].suspected_since.is_some());
    for chosen in suspects.min(wanted)..wanted {
        let rest = candidates.len() - chosen;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a fraction below one times a length is an index"
        )]
        let drawn = chosen + ((context.chance.fraction() * rest as f64) as usize).min(rest - 1);
        candidates.swap(chosen, drawn);
    }
    candidates.truncate(wanted);
    let settled_before =
        books.started_at - Duration::from_millis(context.settings.reconcile_settle_ms);
    // A look-up that did not succeed says nothing about the dossier, so it is asked again; what
    // still has no answer after some rounds without any is named unverifiable.
    let asked = portal.portal.during(Tenure::until(stop));
    let mut fruitless = 0;
    while !candidates.is_empty() && fruitless < FRUITLESS_ROUNDS_MAX && !stop.is_cancelled() {
        if let Readiness::Closed { until, .. } = portal.gate.readiness() {
            let wait = until.since(context.clock.now()).min(LOOK_UP_PAUSE_MAX);
            context.resting(wait);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = context.clock.sleep(wait) => {}
            }
        }
        let mut unanswered = Vec::new();
        for part in candidates.chunks(CALLS_MAX) {
            look_up(context, &asked, part, lines, books, found, &mut unanswered).await?;
        }
        fruitless = if unanswered.len() < candidates.len() { 0 } else { fruitless + 1 };
        candidates = unanswered;
    }
    for at in candidates {
        lines[at].bucket = Bucket::Unverifiable;
    }
    recheck(context, lines, books, settled_before).await
}

/// Asks about one part of the candidates; those without an answer are handed back.
async fn look_up(
    context: &Context,
    portal: &Portal,
    part: &[usize],
    lines: &mut [Line],
    books: &mut Books,
    found: &mut Vec<DiscrepancyRecord>,
    unanswered: &mut Vec<usize>,
) -> Result<(), VerbError> {
    let ids: Vec<i64> = part.iter().filter_map(|at| lines[*at].dossier_id).collect();
    let packets: BTreeMap<i64, String> =
        context.ledger.acked_packets(&ids).await?.into_iter().collect();
    let codes: Vec<(usize, String)> =
        part.iter().map(|at| (*at, lines[*at].ma_ho_so.clone())).collect();
    let exchanges: Vec<_> = stream::iter(codes)
        .map(|(at, code)| async move {
            context.alive();
            (at, portal.look_up(Priority::Audit, &code).await)
        })
        .buffer_unordered(context.settings.concurrency)
        .collect()
        .await;
    let mut batch = SettleBatch::default();
    for (at, exchange) in exchanges {
        books.look_ups += exchange.calls.len() as u64;
        batch.calls.extend(exchange.calls.into_iter().map(call_record));
        let packet = lines[at].dossier_id.and_then(|id| packets.get(&id));
        if !judge(&mut lines[at], exchange.verdict, packet, books, found) {
            unanswered.push(at);
        }
    }
    sabotage::point("reconcile.answered");
    context.ledger.settle(context.clock.now(), &batch).await?;
    sabotage::point("reconcile.looked_up");
    Ok(())
}

/// Puts the dossier where the portal's answer says; `false` when there is no answer.
fn judge(
    line: &mut Line,
    verdict: LookUpVerdict,
    packet: Option<&String>,
    books: &mut Books,
    found: &mut Vec<DiscrepancyRecord>,
) -> bool {
    let mut note = |kind: DiscrepancyKind, detail: String| {
        tracing::debug!(dossier = line.ma_ho_so, found = ?kind, "not as acknowledged");
        found.push(DiscrepancyRecord {
            source: books.source.clone(),
            ma_ho_so: line.ma_ho_so.clone(),
            dossier_id: line.dossier_id,
            kind,
            detail,
        });
    };
    match verdict {
        LookUpVerdict::Missing => {
            note(DiscrepancyKind::Missing, String::new());
            line.bucket = Bucket::Missing;
        }
        LookUpVerdict::Found { echoed } => {
            books.read_back += 1;
            let echo = packet.map_or(Echo::ExistenceOnly, |packet| compare_echo(&echoed, packet));
            let is_whole = packet.is_some_and(|packet| shows_all(&echoed, packet));
            line.seen = Seen::Exists;
            match echo {
                Echo::Different(found) => {
                    let fields: Vec<String> = found.into_iter().map(|one| one.path).collect();
                    note(DiscrepancyKind::Different, fields.join(" "));
                    line.bucket = Bucket::Different;
                }
                Echo::Equal => {
                    line.seen = Seen::Equal;
                    // What nobody acknowledged to us is proven only by the whole packet.
                    if line.presumed && is_whole {
                        line.bucket = Bucket::Matched;
                    }
                }
                Echo::ExistenceOnly | Echo::Formatting(_) => {}
            }
        }
        LookUpVerdict::Failed(_) | LookUpVerdict::NotSent { .. } => return false,
    }
    true
}

/// What looked wrong may have changed while the portal was asked: a dossier that is on its way
/// again, or was acknowledged inside the settle window, is open, not wrong.
async fn recheck(
    context: &Context,
    lines: &mut [Line],
    books: &Books,
    settled_before: Timestamp,
) -> Result<(), VerbError> {
    let suspects: Vec<String> = lines
        .iter()
        .filter(|line| matches!(line.bucket, Bucket::Missing | Bucket::Different))
        .map(|line| line.ma_ho_so.clone())
        .collect();
    for part in suspects.chunks(CALLS_MAX) {
        context.alive();
        let moving: BTreeSet<String> = context
            .ledger
            .standings(&books.source, part)
            .await?
            .into_iter()
            .filter(|standing| {
                !standing.acknowledged
                    || standing.acked_at.is_some_and(|acked_at| acked_at > settled_before)
            })
            .map(|standing| standing.ma_ho_so)
            .collect();
        for line in lines.iter_mut().filter(|line| moving.contains(&line.ma_ho_so)) {
            if matches!(line.bucket, Bucket::Missing | Bucket::Different) {
                line.bucket = Bucket::Open;
            }
        }
    }
    Ok(())
}

/// Acknowledged by the portal once and gone from the index, among dossiers of the compared days.
async fn find_extra(
    context: &Context,
    lines: &[Line],
    books: &mut Books,
    found: &mut Vec<DiscrepancyRecord>,
) -> Result<(), VerbError> {
    let listed: BTreeSet<&str> = lines.iter().map(|line| line.ma_ho_so.as_str()).collect();
    let mut after = String::new();
    // What arrived after the reading of the index began may not be in it.
    let before = books.started_at;
    loop {
        context.alive();
        let codes = context.ledger.acknowledged_codes(&books.source, &after, 1000, before).await?;
        let Some(last) = codes.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for code in codes {
            let in_range = DossierCode::parse(&code).is_some_and(|parsed| {
                let day = if parsed.date.len() == 6 {
                    format!("20{}", parsed.date)
                } else {
                    parsed.date.to_owned()
                };
                books.from_day <= day && day <= books.to_day
            });
            if in_range && !listed.contains(code.as_str()) {
                books.extra += 1;
                found.push(DiscrepancyRecord {
                    source: books.source.clone(),
                    ma_ho_so: code,
                    dossier_id: None,
                    kind: DiscrepancyKind::Extra,
                    detail: String::new(),
                });
            }
        }
    }
}

/// Whether a dossier's line contradicts an open discrepancy.
type Ended = fn(&Line) -> bool;

async fn write_findings(
    context: &Context,
    source: &str,
    lines: &[Line],
    found: &[DiscrepancyRecord],
) -> Result<(), VerbError> {
    let now = context.clock.now();
    let open: BTreeSet<&str> = lines
        .iter()
        .filter(|line| line.bucket == Bucket::Open)
        .map(|line| line.ma_ho_so.as_str())
        .collect();
    let found: Vec<DiscrepancyRecord> = found
        .iter()
        .filter(|record| {
            !matches!(record.kind, DiscrepancyKind::Missing | DiscrepancyKind::Different)
                || !open.contains(record.ma_ho_so.as_str())
        })
        .cloned()
        .collect();
    for part in found.chunks(1000) {
        context.alive();
        context.ledger.record_discrepancies(now, part).await?;
    }
    sabotage::point("reconcile.found");
    // Each kind ends by what contradicts it, seen in this run; silence contradicts nothing.
    let no_longer: [(DiscrepancyKind, Ended); 5] = [
        (DiscrepancyKind::NotReceived, |line| line.dossier_id.is_some()),
        (DiscrepancyKind::Behind, |line| line.bucket == Bucket::Matched || line.presumed),
        (DiscrepancyKind::Extra, |_| true),
        (DiscrepancyKind::Missing, |line| line.seen != Seen::No),
        (DiscrepancyKind::Different, |line| line.seen == Seen::Equal),
    ];
    for (kind, ended) in no_longer {
        let codes: Vec<String> =
            lines.iter().filter(|line| ended(line)).map(|line| line.ma_ho_so.clone()).collect();
        for part in codes.chunks(5000) {
            context.alive();
            let resolution = "a later reconciliation no longer found it";
            context.ledger.resolve_discrepancies(now, source, kind, part, resolution).await?;
        }
    }
    Ok(())
}

async fn repair(context: &Context, books: &Books, lines: &[Line]) -> Result<(), VerbError> {
    let of = |bucket: Bucket| {
        let wanted = context.settings.repair.contains(&bucket);
        lines.iter().filter(move |line| wanted && line.bucket == bucket)
    };
    let now = context.clock.now();
    // One look-up that says "missing" may be the portal's slip; what follows from believing it is
    // that steps are sent again.
    let missing: Vec<i64> = of(Bucket::Missing)
        .filter(|line| confirmed(context, books, line))
        .filter_map(|line| line.dossier_id)
        .collect();
    if !missing.is_empty() {
        let resend = context.settings.resend_unknown_supplement;
        context.ledger.repair_missing(now, &missing, resend).await?;
    }
    for line in of(Bucket::Different) {
        context.alive();
        let reason = "the portal's echo differs from what it acknowledged";
        let audit = AuditRecord::new("hoso reconcile", "repair", &line.ma_ho_so, reason);
        context.ledger.resync(now, None, &line.ma_ho_so, &audit).await?;
    }
    Ok(())
}
