//! Asking the portal: what a sample, or everything, looks like there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::Value;

use super::Ends;
use crate::domain::cause::{Cause, CausedDifference, DIFFERENCES_MAX, Newest, gravest, three_way};
use crate::domain::difference::Shown;
use crate::domain::discrepancy::Bucket;
use crate::domain::priority::Priority;
use crate::ledger::reconcile::{AskLine, ComparedDossier, LookedUp, PlacedLine, ReconcileRun};
use crate::mapping::Mapping;
use crate::pipeline::map::aside;
use crate::pipeline::orders::heed_orders;
use crate::pipeline::push::call_record;
use crate::pipeline::read_back::{Echo, compare_echo, shows_all};
use crate::pipeline::{Context, Stop, VerbError};
use crate::portal::gate::Readiness;
use crate::portal::{LookUpVerdict, Tenure};
use crate::sabotage;

/// Look-ups whose answers are written together.
const ROUND: u32 = 256;
/// Rounds of look-ups without a single answer after which the rest is named unverifiable.
const FRUITLESS_ROUNDS_MAX: u32 = 5;
/// Longest wait for a closed gate between two rounds.
const LOOK_UP_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A slice of which more than one in so many differs is asked about whole.
const MUCH: u64 = 20;
/// Fewer differences than this say nothing about a slice.
const MUCH_MIN: u64 = 3;
const EVERYTHING: &str = "*";

/// One round of look-ups, or the end of asking.
pub(super) async fn step(
    context: &Context,
    ends: Ends<'_>,
    run: &ReconcileRun,
    stop: &Stop,
) -> Result<(), VerbError> {
    let Some(line) = ends.portal else {
        let remark = "the portal was not asked: another process owns the gate";
        return Ok(context.ledger.end_asking(run.id, remark).await?);
    };
    heed_orders(context, line).await?;
    if run.fruitless >= FRUITLESS_ROUNDS_MAX {
        let remark = "the portal did not answer; what was asked without an answer is unverifiable";
        return Ok(context.ledger.end_asking(run.id, remark).await?);
    }
    if let Readiness::Closed { until, .. } = line.gate.readiness() {
        let wait = until.since(context.clock.now()).min(LOOK_UP_PAUSE_MAX);
        context.resting(wait);
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = context.clock.sleep(wait) => {}
        }
    }
    let asking = context.ledger.take_look_ups(run.id, ROUND).await?;
    if asking.is_empty() {
        let is_spent = run.order.budget.is_some_and(|budget| run.spent >= u64::from(budget));
        let remark = if is_spent && run.asked < run.wanted {
            format!(
                "the budget of {} look-ups was spent before all {} were asked about",
                run.spent, run.wanted
            )
        } else {
            String::new()
        };
        return Ok(context.ledger.end_asking(run.id, &remark).await?);
    }
    let looked_up = look_up(context, ends, asking, stop).await?;
    sabotage::point("reconcile.answered");
    context.ledger.settle_look_ups(context.clock.now(), run.id, &looked_up).await?;
    sabotage::point("reconcile.looked_up");
    switch_strategy(context, run).await
}

async fn look_up(
    context: &Context,
    ends: Ends<'_>,
    asking: Vec<AskLine>,
    stop: &Stop,
) -> Result<LookedUp, VerbError> {
    let Some(line) = ends.portal else { return Ok(LookedUp::default()) };
    let ids: Vec<i64> = asking.iter().map(|line| line.dossier_id).collect();
    let sides: BTreeMap<i64, ComparedDossier> = context
        .ledger
        .compared(&ids)
        .await?
        .into_iter()
        .map(|dossier| (dossier.dossier_id, dossier))
        .collect();
    let portal = line.portal.during(Tenure::until(stop));
    let portal = &portal;
    let exchanges: Vec<_> = stream::iter(asking)
        .map(|line| async move {
            context.alive();
            let exchange = portal.look_up(Priority::Audit, &line.ma_ho_so).await;
            (line, exchange)
        })
        .buffer_unordered(context.settings.concurrency)
        .collect()
        .await;
    let mut looked_up = LookedUp::default();
    let mut found = Vec::new();
    for (line, exchange) in exchanges {
        looked_up.calls.calls.extend(exchange.calls.into_iter().map(call_record));
        match exchange.verdict {
            LookUpVerdict::Missing => {
                tracing::debug!(dossier = line.ma_ho_so, found = "missing", "not as acknowledged");
                looked_up.placed.push(PlacedLine {
                    ma_ho_so: line.ma_ho_so,
                    bucket: Bucket::Missing,
                    cause: Some(Cause::Lost),
                    detail: String::new(),
                    differences: Vec::new(),
                    seen: 0,
                });
            }
            LookUpVerdict::Found { echoed } => found.push((line, echoed)),
            LookUpVerdict::Failed(_) => looked_up.unanswered.push(line.ma_ho_so),
            LookUpVerdict::NotSent { .. } => looked_up.not_sent.push(line.ma_ho_so),
        }
    }
    looked_up.placed.extend(compare(context, ends.mapping, found, sides).await?);
    Ok(looked_up)
}

type Found = (AskLine, BTreeMap<String, String>);

/// Places what the portal has, by what it shows of it and by what today's mapping would send.
async fn compare(
    context: &Context,
    mapping: Option<&Arc<Mapping>>,
    found: Vec<Found>,
    sides: BTreeMap<i64, ComparedDossier>,
) -> Result<Vec<PlacedLine>, VerbError> {
    let differs = |(line, echoed): &Found| {
        let side = sides.get(&line.dossier_id);
        side.is_some_and(|side| {
            let told = side.told.as_deref();
            side.is_unsent
                || told.is_some_and(|told| matches!(compare_echo(echoed, told), Echo::Different(_)))
        })
    };
    let doubtful: Vec<i64> =
        found.iter().filter(|one| differs(one)).map(|(line, _)| line.dossier_id).collect();
    let mut before: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
    if !doubtful.is_empty() {
        for (dossier, packet) in context.ledger.sent_packets(&doubtful).await? {
            before.entry(dossier).or_default().extend(serde_json::from_str(&packet));
        }
    }
    let mapping = mapping.map(Arc::clone);
    let placed = aside(move || {
        let nothing = Vec::new();
        found
            .into_iter()
            .map(|(line, echoed)| {
                let side = sides.get(&line.dossier_id);
                let before = before.get(&line.dossier_id).unwrap_or(&nothing);
                place(line, &echoed, side, before, mapping.as_deref())
            })
            .collect()
    });
    Ok(placed.await?)
}

fn place(
    line: AskLine,
    echoed: &BTreeMap<String, String>,
    side: Option<&ComparedDossier>,
    before: &[Value],
    mapping: Option<&Mapping>,
) -> PlacedLine {
    let told = side.and_then(|side| side.told.as_deref());
    let echo = told.map_or(Echo::ExistenceOnly, |told| compare_echo(echoed, told));
    let mut differences =
        told.map_or_else(Vec::new, |told| name_differences(told, echoed, side, before, mapping));
    differences.truncate(DIFFERENCES_MAX);
    let named = gravest(&differences);
    let unremarkable = if line.presumed { Bucket::Unverifiable } else { Bucket::Matched };
    let (bucket, cause, seen) = match echo {
        Echo::Different(_) => (Bucket::Different, named, 1),
        // What nobody acknowledged to us is proven only by the whole packet.
        Echo::Equal if line.presumed && told.is_some_and(|told| shows_all(echoed, told)) => {
            (Bucket::Matched, named, 2)
        }
        Echo::Equal | Echo::Formatting(_) => (unremarkable, named.or(line.cause), 2),
        Echo::ExistenceOnly => (unremarkable, named.or(line.cause), 1),
    };
    let detail = if bucket == Bucket::Different {
        tracing::debug!(dossier = line.ma_ho_so, found = "different", "not as acknowledged");
        let fields: Vec<&str> = differences
            .iter()
            .filter(|one| one.shown.is_some() || one.mapped.is_none())
            .map(|one| &*one.path)
            .collect();
        fields.join(" ")
    } else {
        line.detail
    };
    PlacedLine { ma_ho_so: line.ma_ho_so, bucket, cause, detail, differences, seen }
}

fn name_differences(
    told: &str,
    echoed: &BTreeMap<String, String>,
    side: Option<&ComparedDossier>,
    before: &[Value],
    mapping: Option<&Mapping>,
) -> Vec<CausedDifference> {
    let Ok(told) = serde_json::from_str::<Value>(told) else {
        return Vec::new();
    };
    let mut mapped: Option<Value> = None;
    let (mut is_unsent, mut other_mapping, mut translated) = (false, false, BTreeSet::new());
    // Where the newest revision was found equal under today's mapping, it still is.
    if let (Some(side), Some(mapping)) = (side, mapping) {
        other_mapping = side.mapping_version.as_deref() != Some(mapping.version());
        is_unsent = side.is_unsent;
        if is_unsent || other_mapping {
            let dossier = side.document.as_deref().and_then(|xml| mapping.map(xml).dossier);
            mapped = dossier.and_then(|dossier| serde_json::to_value(dossier).ok());
            translated = mapping.translated();
        }
    }
    let newest = mapped.as_ref().map(|packet| Newest {
        packet,
        is_unsent,
        other_mapping,
        translated: &translated,
    });
    let before: Vec<Value> = before.iter().filter(|packet| **packet != told).cloned().collect();
    three_way(&told, Some(echoed), newest.as_ref(), &before, Shown::Masked)
}

/// Sampling is for what agrees. Where much differs, all of it is asked about instead, so that the
/// report names each dossier and not a share.
async fn switch_strategy(context: &Context, run: &ReconcileRun) -> Result<(), VerbError> {
    if run.order.sample.is_none() || run.widened.iter().any(|slice| slice == EVERYTHING) {
        return Ok(());
    }
    let slices = context.ledger.slices(run.id).await?;
    let much = |asked: u64, differing: u64| differing >= MUCH_MIN && differing * MUCH > asked;
    let sum = |of: fn(&(String, u64, u64)) -> u64| slices.iter().map(of).sum::<u64>();
    let affected = slices.iter().filter(|(_, asked, differing)| much(*asked, *differing)).count();
    let is_everywhere = affected > 1 && much(sum(|slice| slice.1), sum(|slice| slice.2));
    if is_everywhere {
        tracing::warn!(run = run.id, "much differs: everything is asked about");
        return Ok(context.ledger.widen(run.id, EVERYTHING).await?);
    }
    for (agency, asked, differing) in slices {
        if much(asked, differing) && !run.widened.contains(&agency) {
            tracing::warn!(
                run = run.id,
                agency,
                asked,
                differing,
                "much differs: all of this agency is asked about"
            );
            context.ledger.widen(run.id, &agency).await?;
        }
    }
    Ok(())
}
