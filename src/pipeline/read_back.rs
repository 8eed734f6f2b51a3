//! `read_back_once`: ask the portal about what was sent without an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;

use super::orders::heed_orders;
use super::push::call_record;
use super::{Context, PortalLine, Stop, VerbError};
use crate::domain::difference::{Difference, Shown, echo_differences};
use crate::domain::entry::{PortalKnown, ReadBack, Settlement, settle_read_back};
use crate::domain::receipt::Receipt;
use crate::ledger::record::{CallRecord, SettleBatch, SettledEntry, UnconfirmedEntry};
use crate::portal::gate::{Gate, Readiness};
use crate::portal::{LookUpVerdict, Portal, Tenure};
use crate::sabotage::{self, Defect};

/// What the looks at the portal decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReadBackReport {
    pub looked_at: u64,
    /// The portal's echo proves that the packet was taken.
    pub accepted: u64,
    /// To be sent again, with the flag now known.
    pub again: u64,
    pub dead: u64,
    /// The look itself failed; asked again later.
    pub undecided: u64,
}

/// Decides up to `settings.claim_limit` unconfirmed entries. The caller owns the gate.
pub async fn read_back_once(
    context: &Context,
    line: &PortalLine,
    stop: &Stop,
) -> Result<ReadBackReport, VerbError> {
    let mut report = ReadBackReport::default();
    heed_orders(context, line).await?;
    if stop.is_cancelled() || matches!(line.gate.readiness(), Readiness::Closed { .. }) {
        return Ok(report);
    }
    let portal = line.portal.during(Tenure::until(stop));
    let portal = &portal;
    let settings = &context.settings;
    let now = context.clock.now();
    let until = now + Duration::from_millis(settings.lease_ms);
    let claimed = context.ledger.claim_unconfirmed(now, until, settings.claim_limit).await?;
    if !claimed.is_empty() {
        sabotage::point("read_back.claimed");
    }
    let mut looks = stream::iter(claimed)
        .map(|entry| look(context, portal, &line.gate, entry))
        .buffer_unordered(settings.concurrency)
        .ready_chunks(settings.claim_limit.max(1) as usize);
    while let Some(done) = looks.next().await {
        let mut batch = SettleBatch {
            resend_supplements: settings.resend_unknown_supplement,
            ..SettleBatch::default()
        };
        for (calls, mut entry) in done {
            report.looked_at += 1;
            match &entry.settlement {
                Settlement::Accepted { .. } => report.accepted += 1,
                Settlement::Ready { .. } => report.again += 1,
                Settlement::Dead { .. } => report.dead += 1,
                Settlement::Unconfirmed { .. } => report.undecided += 1,
            }
            batch.calls.extend(calls);
            entry.call = batch.calls.len().checked_sub(1);
            batch.entries.push(entry);
        }
        sabotage::point("read_back.answered");
        context.ledger.settle(context.clock.now(), &batch).await?;
        sabotage::point("read_back.settled");
    }
    Ok(report)
}

async fn look(
    context: &Context,
    portal: &Portal,
    gate: &Gate,
    entry: UnconfirmedEntry,
) -> (Vec<CallRecord>, SettledEntry) {
    context.alive();
    let exchange = portal.look_up(crate::domain::priority::Priority::Urgent, &entry.ma_ho_so).await;
    let now = context.clock.now();
    let (read_back, outcome) = match exchange.verdict {
        LookUpVerdict::Missing => (ReadBack::Missing, "missing"),
        LookUpVerdict::Found { echoed } if proves(&echoed, &entry) => (
            ReadBack::Proven(Receipt {
                code: "0".to_owned(),
                message: "read back: every echoed field equals the packet".to_owned(),
            }),
            "proven",
        ),
        LookUpVerdict::Found { .. } if sabotage::on(Defect::ExistenceIsProof) => {
            let receipt = Receipt { code: "0".to_owned(), message: "it exists".to_owned() };
            (ReadBack::Proven(receipt), "proven")
        }
        LookUpVerdict::Found { .. } => (ReadBack::Found, "found"),
        LookUpVerdict::Failed(failure) => {
            // Nobody is answered, so it says nothing about this dossier.
            let until = match gate.readiness() {
                Readiness::Closed { until, .. } => Some(until),
                Readiness::Open | Readiness::Probe => None,
            };
            (ReadBack::Failed { failure, until }, "failed")
        }
        LookUpVerdict::NotSent { failure, until } => {
            (ReadBack::Failed { failure, until: Some(until) }, "not_sent")
        }
    };
    tracing::debug!(dossier = entry.ma_ho_so, attempt = entry.attempt, outcome, "looked up");
    let settlement = settle_read_back(
        entry.retries,
        read_back,
        &entry.failure,
        now,
        &context.settings.retry,
        context.chance.fraction(),
    );
    let settled = SettledEntry {
        entry_id: entry.entry_id,
        dossier_id: entry.dossier_id,
        lease_token: None,
        attempt: entry.attempt,
        settlement,
        call: None,
        outcome,
    };
    (exchange.calls.into_iter().map(call_record).collect(), settled)
}

/// An echo proves a *create* when it shows more than the code and every shown field equals the
/// packet. For an update it proves nothing: the fields shown may have been equal before. Nor does it
/// after a restore, when what was a create may have been followed by updates that nobody remembers.
/// Either is simply sent again; it carries the whole dossier, so twice is harmless.
fn proves(echoed: &BTreeMap<String, String>, entry: &UnconfirmedEntry) -> bool {
    entry.portal_known != PortalKnown::Yes
        && (!entry.restored || sabotage::on(Defect::EchoBelievedAfterARestore))
        && matches!(compare_echo(echoed, &entry.packet), Echo::Equal)
}

/// What an echo says about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Echo {
    /// Only existence: no field beside the code was shown.
    ExistenceOnly,
    Equal,
    /// Nothing differs but the way of writing. It is no proof, and no disagreement either.
    Formatting(Vec<Difference>),
    Different(Vec<Difference>),
}

pub(super) fn compare_echo(echoed: &BTreeMap<String, String>, packet: &str) -> Echo {
    let found = serde_json::from_str(packet)
        .ok()
        .and_then(|packet| echo_differences(&packet, echoed, Shown::Masked));
    match found {
        None => Echo::ExistenceOnly,
        Some(found) if found.is_empty() => Echo::Equal,
        Some(found) if found.iter().all(|difference| difference.formatting_only) => {
            Echo::Formatting(found)
        }
        Some(found) => Echo::Different(found),
    }
}

/// Whether an echo shows every field of the packet that holds something. One that is a list cannot
/// be shown.
pub(super) fn shows_all(echoed: &BTreeMap<String, String>, packet: &str) -> bool {
    let packet = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(packet);
    packet.is_ok_and(|packet| {
        packet.iter().all(|(name, value)| match value {
            serde_json::Value::Null => true,
            serde_json::Value::String(text) => text.is_empty() || echoed.contains_key(name),
            serde_json::Value::Array(list) => list.is_empty(),
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_echo_is_compared_field_by_field_and_the_code_alone_is_only_existence() {
        let packet = r#"{"MaHoSo":"H55-1","TrangThaiHoSo":"9","MaDoiTuong":null,"TaiLieuNop":[]}"#;
        assert_eq!(compare_echo(&echo(&[("MaHoSo", "H55-1")]), packet), Echo::ExistenceOnly);
        assert_eq!(
            compare_echo(&echo(&[("MaHoSo", "H55-1"), ("TrangThaiHoSo", "9")]), packet),
            Echo::Equal
        );
        assert_eq!(
            compare_echo(&echo(&[("TrangThaiHoSo", "4"), ("MaDoiTuong", "")]), packet),
            Echo::Different(vec![Difference {
                path: "TrangThaiHoSo".to_owned(),
                before: Some("9".to_owned()),
                after: Some("4".to_owned()),
                formatting_only: false,
            }])
        );
        let spaced = compare_echo(&echo(&[("TrangThaiHoSo", "9 ")]), packet);
        assert!(matches!(spaced, Echo::Formatting(_)));
        assert_eq!(compare_echo(&echo(&[("SomethingElse", "x")]), packet), Echo::ExistenceOnly);
        assert!(shows_all(&echo(&[("MaHoSo", "H55-1"), ("TrangThaiHoSo", "9")]), packet));
        assert!(!shows_all(&echo(&[("MaHoSo", "H55-1")]), packet));
        assert!(!shows_all(
            &echo(&[("TaiLieuNop", "")]),
            r#"{"TaiLieuNop":[{"TenTepDinhKem":"a"}]}"#
        ));
    }
}
