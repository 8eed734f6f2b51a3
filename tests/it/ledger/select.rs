//! Selections: what the ledger walks is what a person who reads every dossier would pick.

use std::collections::BTreeSet;

use hoso_gateway::domain::discrepancy::{Bucket, DiscrepancyKind};
use hoso_gateway::domain::selection::Selection;
use hoso_gateway::domain::status::Status;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::LedgerError;
use hoso_gateway::ledger::record::{DiscrepancyRecord, PacketFacts};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::support::{SOURCE, TestLedger, item, open_ledger, t};

/// What is drawn of one dossier.
#[derive(Debug, Clone)]
struct Drawn {
    procedure: &'static str,
    agency: &'static str,
    status: Status,
    channel: &'static str,
    received: i64,
    changed: i64,
    life: Life,
    missing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Life {
    Quarantined,
    Ready,
    Accepted,
    Unmapped,
}

const PROCEDURES: [&str; 2] = ["1.000105", "2.000815"];
const AGENCIES: [&str; 2] = ["H55.242", "H55.243"];
const STATUSES: [Status; 2] = [Status::Processing, Status::Returned];
const BUCKETS: [Bucket; 4] = [Bucket::Matched, Bucket::Missing, Bucket::Quarantined, Bucket::Open];

prop_compose! {
    fn dossiers()(
        procedure in select(&PROCEDURES[..]), agency in select(&AGENCIES[..]),
        status in select(&STATUSES[..]), channel in select(&["1", "2"][..]),
        received in 0i64..5, changed in 1i64..6,
        life in select(&[Life::Quarantined, Life::Ready, Life::Accepted, Life::Accepted, Life::Unmapped][..]),
        missing in any::<bool>(),
    ) -> Drawn {
        Drawn { procedure, agency, status, channel, received, changed, life, missing }
    }
}

prop_compose! {
    fn selections()(
        codes in prop_oneof![3 => Just(BTreeSet::new()),
                             1 => proptest::collection::btree_set((0usize..30).prop_map(code), 1..12)],
        procedure in of(select(&PROCEDURES[..])), agency in of(select(&AGENCIES[..])),
        status in of(select(&STATUSES[..])), channel in of(select(&["1", "2"][..])),
        (received_from, received_before, changed_since) in (of(0i64..5), of(0i64..6), of(0i64..7)),
        rule in of(select(&["mapping.required", "mapping.code", "mapping.length"][..])),
        discrepancy in of(Just(DiscrepancyKind::Missing)),
        bucket in of(select(&BUCKETS[..])),
        source in of(select(&[SOURCE, "other"][..])),
    ) -> Selection {
        Selection {
            codes,
            source: source.map(str::to_owned),
            procedure: procedure.map(str::to_owned),
            agency: agency.map(str::to_owned),
            status,
            channel: channel.map(str::to_owned),
            received_from: received_from.map(t),
            received_before: received_before.map(t),
            rule: rule.map(str::to_owned),
            discrepancy,
            bucket,
            changed_since: changed_since.map(t),
            ..Selection::default()
        }
    }
}

fn code(number: usize) -> String {
    format!("H55.242-260126-{number:04}")
}

async fn fill(ledger: &TestLedger, drawn: &[Drawn]) {
    let items = |life: &dyn Fn(Life) -> bool| {
        drawn
            .iter()
            .enumerate()
            .filter(|(_, dossier)| life(dossier.life))
            .map(|(number, dossier)| {
                let text = if dossier.life == Life::Quarantined { "! refused" } else { "sound" };
                item(&code(number), dossier.changed, text)
            })
            .collect::<Vec<_>>()
    };
    let facts = |code: &str, packet: &mut hoso_gateway::ledger::record::ValidPacket| {
        let number: usize = code[code.len() - 4..].parse().unwrap();
        let dossier = &drawn[number];
        dossier.procedure.clone_into(&mut packet.ma_tthc);
        packet.ma_don_vi = Some(dossier.agency.to_owned());
        packet.facts = PacketFacts {
            status: Some(dossier.status.code().to_owned()),
            channel: Some(dossier.channel.to_owned()),
            received_at: Some(t(dossier.received)),
        };
    };
    ledger.pull(t(10), items(&|life| life == Life::Accepted)).await;
    ledger.map_with(t(11), facts).await;
    ledger.accept_all(t(12)).await;
    ledger.pull(t(13), items(&|life| matches!(life, Life::Quarantined | Life::Ready))).await;
    ledger.map_with(t(14), facts).await;
    ledger.pull(t(15), items(&|life| life == Life::Unmapped)).await;
    let mut missing = Vec::new();
    for (number, _) in
        drawn.iter().enumerate().filter(|(_, d)| d.missing && d.life == Life::Accepted)
    {
        missing.push(DiscrepancyRecord {
            source: SOURCE.to_owned(),
            ma_ho_so: code(number),
            dossier_id: Some(ledger.view(&code(number)).await.dossier_id),
            kind: DiscrepancyKind::Missing,
            detail: String::new(),
        });
    }
    ledger.record_discrepancies(t(16), &missing).await.unwrap();
}

/// By reading every dossier.
fn picked(drawn: &[Drawn], selection: &Selection) -> BTreeSet<String> {
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|w| w == value);
    let after = |wanted: Option<Timestamp>, at: i64| wanted.is_none_or(|from| t(at) >= from);
    drawn
        .iter()
        .enumerate()
        .filter(|(number, dossier)| {
            let mapped = matches!(dossier.life, Life::Ready | Life::Accepted);
            // Nothing is known of what was never mapped soundly.
            let of_packet = |given: bool, holds: bool| !given || (mapped && holds);
            let missing = dossier.missing && dossier.life == Life::Accepted;
            let bucket = match dossier.life {
                Life::Quarantined => Bucket::Quarantined,
                Life::Ready | Life::Unmapped => Bucket::Open,
                Life::Accepted if missing => Bucket::Missing,
                Life::Accepted => Bucket::Matched,
            };
            (selection.codes.is_empty() || selection.codes.contains(&code(*number)))
                && is(&selection.source, SOURCE)
                && of_packet(selection.procedure.is_some(), is(&selection.procedure, dossier.procedure))
                && of_packet(selection.agency.is_some(), is(&selection.agency, dossier.agency))
                && of_packet(
                    selection.status.is_some(),
                    selection.status.is_none_or(|status| status == dossier.status),
                )
                && of_packet(selection.channel.is_some(), is(&selection.channel, dossier.channel))
                && of_packet(
                    selection.received_from.is_some(),
                    after(selection.received_from, dossier.received),
                )
                && of_packet(
                    selection.received_before.is_some(),
                    selection.received_before.is_none_or(|before| t(dossier.received) < before),
                )
                // The stories' mapping refuses by these two, and warns by a third.
                && selection.rule.as_deref().is_none_or(|rule| {
                    dossier.life == Life::Quarantined && rule != "mapping.length"
                })
                && (selection.discrepancy.is_none() || missing)
                && selection.bucket.is_none_or(|wanted| wanted.as_str() == bucket.as_str())
                && after(selection.changed_since, dossier.changed)
        })
        .map(|(number, _)| code(number))
        .collect()
}

/// Walks the selection by small pages, and says which codes it met, each once.
async fn walked(ledger: &TestLedger, selection: &Selection, limit: u32) -> BTreeSet<String> {
    let mut ids: Vec<i64> = Vec::new();
    loop {
        let after = ids.last().copied().unwrap_or(0);
        let page = ledger.select(selection, after, limit).await.unwrap();
        let is_last = page.len() < limit as usize;
        ids.extend(page);
        assert!(ids.is_sorted() && ids.iter().collect::<BTreeSet<_>>().len() == ids.len());
        if is_last {
            break;
        }
    }
    let mut codes = BTreeSet::new();
    for number in 0..30 {
        for view in ledger.dossier(&code(number)).await.unwrap() {
            if ids.contains(&view.dossier_id) {
                codes.insert(code(number));
            }
        }
    }
    assert_eq!(codes.len(), ids.len());
    codes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn a_walk_finds_what_reading_every_dossier_would(
        drawn in proptest::collection::vec(dossiers(), 1..25),
        wanted in proptest::collection::vec(selections(), 12),
        limit in 1u32..9,
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let ledger = open_ledger().await;
            fill(&ledger, &drawn).await;
            for selection in &wanted {
                let found = walked(&ledger, selection, limit).await;
                assert_eq!(found, picked(&drawn, selection), "{selection}");
            }
        });
    }
}

#[tokio::test]
async fn what_the_ledger_keeps_nothing_of_is_refused_and_not_answered_with_nothing() {
    let ledger = open_ledger().await;
    let unverifiable = Selection { bucket: Some(Bucket::Unverifiable), ..Selection::default() };
    let refused = ledger.select(&unverifiable, 0, 10).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Refused { .. }), "{refused:?}");
}

#[tokio::test]
async fn codes_that_no_dossier_has_are_named() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(&code(1), 1, "one")).await;
    let mut selection = Selection::of_codes([code(1), code(2), code(3)]);
    assert_eq!(ledger.unknown_codes(&selection, 10).await.unwrap(), [code(2), code(3)]);
    selection.source = Some("other".into());
    assert_eq!(ledger.unknown_codes(&selection, 1).await.unwrap(), [code(1)]);
}
