//! Versions of catalogues, and dossiers that wait for a code.

use std::collections::BTreeMap;

use hoso_gateway::domain::catalogue::{CatalogueItem, CatalogueKey, CatalogueKind, ItemKind};
use hoso_gateway::domain::diagnostic::{Diagnostic, Severity};
use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::domain::failure::{Disposition, Failure};
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::record::{
    CallRecord, CatalogueChange, CatalogueStanding, CatalogueWish, FetchOutcome, FetchedCatalogue,
    HeldScope, MapOutcome, MappedEntry,
};

use super::support::{TestLedger, audit, item, open_ledger, page, t};

const HELD: &str = "catalogue.unknown_procedure";
const KEEP: u32 = 3;

fn procedures(codes: &[(&str, &str)]) -> Vec<CatalogueItem> {
    codes
        .iter()
        .map(|(code, name)| CatalogueItem {
            kind: ItemKind::Procedure,
            code: (*code).to_owned(),
            name: (*name).to_owned(),
        })
        .collect()
}

fn list() -> CatalogueKey {
    CatalogueKey::list(CatalogueKind::Procedures)
}

fn call(service: &'static str, items: u32, at: Timestamp) -> CallRecord {
    CallRecord {
        service,
        priority: Priority::Audit,
        started_at: at,
        duration_ms: 1,
        items,
        sent_bytes: 1,
        answer_bytes: 1,
        http_status: Some(200),
        error_code: Some("0".into()),
        message: String::new(),
        correlation_id: None,
        outcome: "useful",
        body_hash: [0; 32],
        echoed: None,
    }
}

async fn record(
    ledger: &TestLedger,
    key: CatalogueKey,
    at: Timestamp,
    outcome: FetchOutcome,
) -> CatalogueChange {
    let calls = vec![call("LayDanhSachTTHC", 0, at)];
    let fetched = FetchedCatalogue { key, calls, outcome, keep: KEEP };
    ledger.record_catalogue(at, &fetched).await.unwrap()
}

async fn accept(ledger: &TestLedger, at: Timestamp, codes: &[(&str, &str)]) -> CatalogueChange {
    record(ledger, list(), at, FetchOutcome::Items(procedures(codes))).await
}

async fn standing(ledger: &TestLedger, key: &CatalogueKey) -> CatalogueStanding {
    let all = ledger.catalogues().await.unwrap();
    all.into_iter().find(|standing| standing.key == *key).expect("a row")
}

#[tokio::test]
async fn the_same_catalogue_is_confirmed_and_another_one_is_a_version() {
    let ledger = open_ledger().await;
    assert_eq!(ledger.newest_catalogue_version().await.unwrap(), 0);
    let first = accept(&ledger, t(0), &[("1.000001", "a"), ("1.000002", "b")]).await;
    assert!(first.is_new);
    assert_eq!((first.items, first.added), (2, 2));
    let again = accept(&ledger, t(60), &[("1.000001", "a"), ("1.000002", "b")]).await;
    assert_eq!((again.version, again.is_new), (first.version, false));
    let now = standing(&ledger, &list()).await;
    assert_eq!((now.accepted_at, now.confirmed_at), (Some(t(0)), Some(t(60))));
    let second = accept(&ledger, t(120), &[("1.000002", "B"), ("1.000003", "c")]).await;
    assert_eq!((second.added, second.removed, second.renamed), (1, 1, 1));
    assert_eq!(Some(ledger.newest_catalogue_version().await.unwrap()), second.version);
    let versions = [first.version.unwrap(), second.version.unwrap()];
    let items: BTreeMap<_, _> =
        ledger.catalogue_items(&versions).await.unwrap().into_iter().collect();
    assert_eq!(items[&versions[0]][0].code, "1.000001");
    assert_eq!(items[&versions[1]][0].name, "B");
}

#[tokio::test]
async fn a_failure_keeps_the_version_and_says_since_when() {
    let ledger = open_ledger().await;
    accept(&ledger, t(0), &[("1.000001", "a")]).await;
    let failure = Failure::new("catalogue.empty", Disposition::Data, "nothing in it");
    for at in [60, 120] {
        record(&ledger, list(), t(at), FetchOutcome::Failed(failure.clone())).await;
    }
    let failing = standing(&ledger, &list()).await;
    assert_eq!((failing.items, failing.confirmed_at), (1, Some(t(0))));
    assert_eq!((failing.failures, failing.failing_since), (2, Some(t(60))));
    assert_eq!(failing.tried_at, Some(t(120)));
    assert_eq!(failing.failure.as_ref(), Some(&failure));
    // A question that did not leave is no failure.
    record(&ledger, list(), t(180), FetchOutcome::NotSent).await;
    assert_eq!(standing(&ledger, &list()).await.tried_at, Some(t(120)));
    accept(&ledger, t(240), &[("1.000001", "a")]).await;
    let healthy = standing(&ledger, &list()).await;
    assert_eq!((healthy.failures, healthy.failing_since), (0, None));
    assert!(healthy.failure.is_none());
}

#[tokio::test]
async fn old_versions_go_and_the_one_in_use_stays() {
    let ledger = open_ledger().await;
    let details = CatalogueKey::details("2.000815");
    let kept = FetchOutcome::Items(procedures(&[("2.000815", "x")]));
    let other = record(&ledger, details.clone(), t(0), kept).await.version.unwrap();
    for version in 0..6 {
        accept(&ledger, t(version), &[("1.000001", &format!("name {version}"))]).await;
    }
    let versions = ledger.catalogue_versions(&list()).await.unwrap();
    assert_eq!(versions.len(), KEEP as usize);
    assert_eq!(Some(versions[0].id), standing(&ledger, &list()).await.version);
    let gone = versions[2].id - 1;
    assert!(ledger.catalogue_items(&[gone]).await.unwrap().is_empty());
    // Versions of others are none of its business.
    assert_eq!(ledger.catalogue_items(&[other]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_wish_is_remembered_until_the_fetch_with_who_asked() {
    let ledger = open_ledger().await;
    accept(&ledger, t(0), &[("1.000001", "a")]).await;
    ledger.note_procedures(t(1), &BTreeMap::from([("2.000815".to_owned(), 3)])).await.unwrap();
    ledger.note_procedures(t(2), &BTreeMap::from([("2.000815".to_owned(), 2)])).await.unwrap();
    let wish = CatalogueWish { kinds: CatalogueKind::ALL.to_vec(), accept_shrunken: true };
    assert_eq!(ledger.ask_for_catalogues(t(5), &wish, &audit("lists")).await.unwrap(), 4);
    let details = standing(&ledger, &CatalogueKey::details("2.000815")).await;
    assert_eq!((details.uses, details.used_at, details.version), (5, Some(t(2)), None));
    assert_eq!(details.asked_at, Some(t(5)));
    let fields = standing(&ledger, &CatalogueKey::list(CatalogueKind::Fields)).await;
    assert_eq!((fields.asked_at, fields.accept_shrunken), (Some(t(5)), true));
    accept(&ledger, t(6), &[("1.000001", "a")]).await;
    let done = standing(&ledger, &list()).await;
    assert_eq!((done.asked_at, done.accept_shrunken), (None, false));
}

#[tokio::test]
async fn calls_are_counted_by_service_and_dossiers_by_what_was_accepted() {
    let ledger = open_ledger().await;
    let calls = vec![
        call("LayThuTuc", 0, t(10)),
        call("LayDanhSachTTHC", 0, t(20)),
        call("DongBoHoSoMC", 5, t(20)),
        CallRecord { outcome: "refused", ..call("DongBoHoSoMC", 7, t(20)) },
        call("TraCuuHoSo", 1, t(20)),
    ];
    let outcome = FetchOutcome::NotSent;
    let fetched = FetchedCatalogue { key: list(), calls, outcome, keep: KEEP };
    ledger.record_catalogue(t(30), &fetched).await.unwrap();
    let services = ["LayThuTuc", "LayDanhSachTTHC"];
    let spent = |since| ledger.catalogue_spending(since, &services, "DongBoHoSoMC");
    let all = spent(t(0)).await.unwrap();
    assert_eq!((all.calls, all.dossiers), (2, 5));
    let later = spent(t(15)).await.unwrap();
    assert_eq!((later.calls, later.dossiers), (1, 5));
}

/// Pulls a dossier and holds it at this time.
async fn hold(ledger: &TestLedger, code: &str, version: i64, at: Timestamp, rule: &str) {
    ledger.commit_pull(&page(at, vec![item(code, version, &format!("v{version}"))])).await.unwrap();
    let waiting = ledger.to_map(10).await.unwrap();
    let mapped: Vec<MappedEntry> = waiting
        .iter()
        .map(|revision| MappedEntry {
            entry_id: revision.entry_id,
            dossier_id: revision.dossier_id,
            mapping_version: "m".into(),
            outcome: MapOutcome::Quarantined {
                diagnostics: vec![Diagnostic {
                    rule: rule.to_owned(),
                    severity: Severity::Error,
                    source_path: "HoSo/MaTTHC".into(),
                    position: None,
                    target: "MaTTHC".into(),
                    expected: "a procedure of the portal's list".into(),
                    found: "3.999999".into(),
                }],
            },
        })
        .collect();
    ledger.record_mapped(at, &mapped).await.unwrap();
}

async fn state(ledger: &TestLedger, code: &str) -> EntryState {
    ledger.dossier(code).await.unwrap()[0].newest_entry().unwrap().state
}

#[tokio::test]
async fn what_was_held_by_an_older_version_is_judged_anew_and_nothing_else() {
    let ledger = open_ledger().await;
    hold(&ledger, "H55.242-260126-0001", 1, t(100), HELD).await;
    hold(&ledger, "H55.242-260126-0002", 1, t(100), "mapping.required").await;
    hold(&ledger, "H55.242-260126-0003", 1, t(300), HELD).await;
    // Judged by the version of that time or a later one: it knows no more than that one did.
    let release = |until| {
        let scopes = [HeldScope { codes: &[HELD], judged_until: t(until) }];
        let ledger = &ledger;
        async move { ledger.release_held(t(400), &scopes).await.unwrap() }
    };
    assert_eq!(release(99).await, 0);
    assert_eq!(release(200).await, 1);
    assert_eq!(state(&ledger, "H55.242-260126-0001").await, EntryState::Received);
    assert_eq!(state(&ledger, "H55.242-260126-0002").await, EntryState::Quarantined);
    assert_eq!(state(&ledger, "H55.242-260126-0003").await, EntryState::Quarantined);
    // Once is enough.
    assert_eq!(release(200).await, 0);
}
