//! Reading the source's index, and placing each of its dossiers where the ledger alone can tell.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Ends;
use crate::domain::cause::Cause;
use crate::domain::codes::DossierCode;
use crate::domain::discrepancy::Bucket;
use crate::domain::entry::EntryState;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::time::Timestamp;
use crate::ledger::reconcile::{NewLine, ReconcileRun};
use crate::ledger::record::IndexStanding;
use crate::pipeline::way::{STUCK_CURSOR, Way};
use crate::pipeline::{Context, Stop, VerbError};
use crate::source::{IndexItem, Owner};

/// Suspects go before everything that is drawn.
const SUSPECT: i64 = -(1 << 55);
/// Lots are drawn below this.
const LOTS: f64 = (1_u64 << 52) as f64;
/// Dossiers of a source without an index, a page.
const OWN_PAGE: u32 = 1000;

/// Reads to the end of the index, unless `stop` is cancelled.
pub(super) async fn step(
    context: &Context,
    ends: Ends<'_>,
    run: &ReconcileRun,
    stop: &Stop,
) -> Result<(), VerbError> {
    let whole = if ends.source.source.has_index() {
        match read_index(context, ends, run, stop).await {
            Ok(whole) => whole,
            Err(error) => {
                // What was read of an index that cannot be read to its end is no part of the truth
                // that can be named, so nothing is compared with it.
                let why = format!("given up: {error}");
                context.ledger.give_up_run(context.clock.now(), run.id, &why).await?;
                return Err(error);
            }
        }
    } else {
        read_own(context, run, stop).await?
    };
    if !whole {
        return Ok(());
    }
    if ends.portal.is_some() {
        context.ledger.begin_asking(run.id, run.order.sample).await?;
    } else {
        context.ledger.end_asking(run.id, "").await?;
    }
    Ok(())
}

/// What the source gave, in place of what it says that it has.
async fn read_own(context: &Context, run: &ReconcileRun, stop: &Stop) -> Result<bool, VerbError> {
    let back = Duration::from_secs(u64::from(context.settings.from_days) * 24 * 3600);
    let source = &run.order.source;
    let mut after = run.cursor.clone().unwrap_or_default();
    while !stop.is_cancelled() {
        context.alive();
        let from = run.started_at - back;
        let page = context.ledger.own_standings(source, &after, OWN_PAGE, from).await?;
        let Some(last) = page.last() else {
            return Ok(true);
        };
        after.clone_from(&last.ma_ho_so);
        let mut lines: Vec<NewLine> = page
            .iter()
            .map(|standing| {
                let (bucket, cause, detail) = own_place(standing);
                NewLine {
                    ma_ho_so: standing.ma_ho_so.clone(),
                    dossier_id: Some(standing.dossier_id),
                    day: standing.first_seen_at.vietnam_day(),
                    agency: standing.agency.clone().unwrap_or_else(|| agency(&standing.ma_ho_so)),
                    procedure: standing.procedure.clone().unwrap_or_default(),
                    presumed: bucket == Bucket::Unverifiable,
                    bucket,
                    cause,
                    detail,
                    suspected_since: None,
                    draw: None,
                }
            })
            .filter(|line| run.order.chosen.takes(&line.ma_ho_so, &line.agency, &line.procedure))
            .collect();
        draw(context, source, &mut lines).await?;
        context.ledger.add_lines(run.id, &lines, Some(&after)).await?;
    }
    Ok(false)
}

async fn read_index(
    context: &Context,
    ends: Ends<'_>,
    run: &ReconcileRun,
    stop: &Stop,
) -> Result<bool, VerbError> {
    let source = &run.order.source;
    let mut after = run.cursor.clone();
    let mut way = Way::from(after.as_deref());
    loop {
        context.alive();
        let (from, to) = (&run.from_day, &run.to_day);
        let asked = ends.source.source.index(from, to, after.as_deref(), ends.source.page_limit);
        let page = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(false),
            page = asked => page,
        };
        let page = page.map_err(|failure| VerbError::Source {
            source_name: source.clone(),
            failure: failure.failure,
        })?;
        let is_empty = page.items.is_empty() && page.refused.is_empty();
        let mut lines = Vec::with_capacity(page.items.len());
        // A line that cannot be read is a dossier too: counted, and nothing can be said of it.
        if run.order.chosen.is_everything() {
            for (at, refused) in page.refused.iter().enumerate() {
                let place = format!("{} {at}", after.as_deref().unwrap_or_default());
                let code = refused.ma_ho_so.clone().unwrap_or_else(|| nameless(&place));
                lines.push(NewLine {
                    agency: agency(&code),
                    day: code_day(&code).unwrap_or_default(),
                    ma_ho_so: code,
                    dossier_id: None,
                    procedure: String::new(),
                    bucket: Bucket::Unverifiable,
                    cause: None,
                    detail: refused.rule.to_owned(),
                    presumed: false,
                    suspected_since: None,
                    draw: None,
                });
            }
        }
        let items: Vec<IndexItem> = page
            .items
            .into_iter()
            .filter(|item| run.order.chosen.takes(&item.ma_ho_so, &item.agency, &item.ma_tthc))
            .collect();
        let codes: Vec<String> = items.iter().map(|item| item.ma_ho_so.clone()).collect();
        let standings: BTreeMap<String, IndexStanding> = context
            .ledger
            .standings(source, &codes)
            .await?
            .into_iter()
            .map(|standing| (standing.ma_ho_so.clone(), standing))
            .collect();
        let settle = Duration::from_millis(context.settings.reconcile_settle_ms);
        let settled_before = run.started_at - settle;
        lines.extend(items.into_iter().map(|item| {
            let standing = standings.get(&item.ma_ho_so);
            place(item, standing, settled_before)
        }));
        draw(context, source, &mut lines).await?;
        context.ledger.add_lines(run.id, &lines, page.cursor.as_deref()).await?;
        if !page.more {
            return Ok(true);
        }
        if let Err(message) = way.goes_on(page.cursor.as_deref(), is_empty) {
            return Err(VerbError::Source {
                source_name: source.clone(),
                failure: Failure::new(STUCK_CURSOR, Disposition::Retryable, message),
            });
        }
        after = page.cursor;
    }
}

/// Gives those that the portal should have their lots. Those that earlier runs missed go first.
async fn draw(context: &Context, source: &str, lines: &mut [NewLine]) -> Result<(), VerbError> {
    let is_believed = |line: &NewLine| {
        line.dossier_id.is_some() && (line.bucket == Bucket::Matched || line.presumed)
    };
    let codes: Vec<String> =
        lines.iter().filter(|line| is_believed(line)).map(|line| line.ma_ho_so.clone()).collect();
    let since: BTreeMap<String, Timestamp> =
        context.ledger.suspected_missing(source, &codes).await?.into_iter().collect();
    for line in lines.iter_mut().filter(|line| is_believed(line)) {
        line.suspected_since = since.get(&line.ma_ho_so).copied();
        #[expect(clippy::cast_possible_truncation, reason = "a fraction of 2^52 is a whole number")]
        let lot = (context.chance.fraction() * LOTS) as i64;
        line.draw = Some(if line.suspected_since.is_some() { SUSPECT + lot } else { lot });
    }
    Ok(())
}

/// Where the ledger alone puts a dossier, and why it is not simply matched.
fn own_place(standing: &IndexStanding) -> (Bucket, Option<Cause>, String) {
    let code = || standing.failure_code.clone().unwrap_or_default();
    match standing.newest_state {
        EntryState::Quarantined => (Bucket::Quarantined, Some(Cause::RefusedHere), code()),
        EntryState::Dead => (Bucket::Dead, Some(Cause::RefusedByPortal), code()),
        EntryState::NotOurs => (Bucket::NotOurs, Some(Cause::NotOurs), code()),
        EntryState::Accepted | EntryState::Unchanged => {
            let cause = if standing.steps_missing {
                Some(Cause::StepMissing)
            } else {
                standing.steps_disordered.then_some(Cause::StepOrder)
            };
            (Bucket::Matched, cause, String::new())
        }
        // Believed, and never acknowledged.
        EntryState::Presumed => (Bucket::Unverifiable, Some(Cause::Presumed), String::new()),
        EntryState::Received
        | EntryState::Awaiting
        | EntryState::Ready
        | EntryState::Leased
        | EntryState::Unconfirmed
        | EntryState::Superseded => {
            (Bucket::Open, Some(Cause::NotYetSent), standing.newest_state.as_str().to_owned())
        }
    }
}

fn place(item: IndexItem, standing: Option<&IndexStanding>, settled_before: Timestamp) -> NewLine {
    let settled = item.changed_at.is_none_or(|at| at <= settled_before);
    let young = || (Bucket::Open, Some(Cause::NotYetSent), "inside the settle window".to_owned());
    let (bucket, cause, detail) = match standing {
        None if item.owner == Owner::Ministry => {
            (Bucket::NotOurs, Some(Cause::NotOurs), "source.ministry".to_owned())
        }
        None if settled => (Bucket::Open, Some(Cause::NotReceived), String::new()),
        None => young(),
        Some(standing) => {
            let (bucket, cause, detail) = own_place(standing);
            let is_believed = matches!(bucket, Bucket::Matched | Bucket::Unverifiable);
            if is_believed && is_behind(standing, &item) {
                if settled {
                    (Bucket::Open, Some(Cause::Behind), version_text(item.version))
                } else {
                    young()
                }
            } else if bucket == Bucket::Matched && went_back(standing, &item) {
                (bucket, Some(Cause::SourceWentBack), version_text(item.version))
            } else {
                (bucket, cause, detail)
            }
        }
    };
    let dossier_id = standing.map(|standing| standing.dossier_id);
    NewLine {
        day: item
            .received_at
            .map(Timestamp::vietnam_day)
            .or_else(|| code_day(&item.ma_ho_so))
            .unwrap_or_default(),
        agency: if item.agency.is_empty() { agency(&item.ma_ho_so) } else { item.agency },
        procedure: item.ma_tthc,
        // Of a dossier that the ledger knows, nothing else is unverifiable from the start.
        presumed: dossier_id.is_some() && bucket == Bucket::Unverifiable,
        ma_ho_so: item.ma_ho_so,
        dossier_id,
        bucket,
        cause,
        detail,
        suspected_since: None,
        draw: None,
    }
}

/// The index names a later version than the feed gave.
pub(super) fn is_behind(standing: &IndexStanding, item: &IndexItem) -> bool {
    match (standing.newest_version, item.version) {
        (Some(known), Some(listed)) => listed > known,
        _ => matches!((standing.newest_changed_at, item.changed_at), (Some(k), Some(l)) if l > k),
    }
}

/// The index names an older version than the feed gave, as a restored source does.
fn went_back(standing: &IndexStanding, item: &IndexItem) -> bool {
    matches!((standing.newest_version, item.version), (Some(known), Some(listed)) if listed < known)
}

pub(super) fn version_text(version: Option<i64>) -> String {
    version.map_or_else(String::new, |version| format!("index has version {version}"))
}

/// The day in a code, `yyyymmdd`.
pub(super) fn code_day(ma_ho_so: &str) -> Option<String> {
    let code = DossierCode::parse(ma_ho_so)?;
    Some(if code.date.len() == 6 { format!("20{}", code.date) } else { code.date.to_owned() })
}

fn agency(ma_ho_so: &str) -> String {
    DossierCode::parse(ma_ho_so).map_or_else(String::new, |code| code.agency.as_str().to_owned())
}

/// A line without a code still has its own place in the books.
fn nameless(place: &str) -> String {
    format!("?{}", &blake3::hash(place.as_bytes()).to_hex()[..12])
}
