//! What the portal knows: asked rarely, believed with care, and compared with what is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use hoso_gateway::domain::catalogue::{CatalogueKey, CatalogueKind};
use hoso_gateway::domain::diagnostic::Severity;
use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::{
    CatalogueOrder, Details, Fault, Item, List, ScriptedFault, Service,
};
use hoso_gateway::ledger::record::CatalogueStanding;
use hoso_gateway::ledger::view::{ProblemFilter, ProblemKind};

use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;

const CODE: &str = "H55.242-260126-0001";
const OTHER: &str = "H55.242-260126-0002";
/// In no list, until a story puts it there.
const NEW_PROCEDURE: &str = "3.999999";
const DAY: Duration = Duration::from_hours(24);
const CATALOGUES: [Service; 4] =
    [Service::Procedures, Service::Fields, Service::Agencies, Service::Procedure];

fn catalogue_calls(gateway: &TestGateway) -> usize {
    CATALOGUES.iter().map(|service| gateway.calls(*service).len()).sum()
}

async fn procedures(gateway: &TestGateway) -> CatalogueStanding {
    standing(gateway, &CatalogueKey::list(CatalogueKind::Procedures)).await
}

async fn standing(gateway: &TestGateway, key: &CatalogueKey) -> CatalogueStanding {
    let standings = gateway.context.ledger.catalogues().await.unwrap();
    standings.into_iter().find(|standing| standing.key == *key).expect("a row of the catalogue")
}

/// Time passes as in the service: a moment for renewal of the gate, then one long step.
async fn later(gateway: &TestGateway, by: Duration) {
    gateway.clock.manual.advance(by);
    gateway.advance(Duration::from_secs(1)).await;
}

/// The first fetch, and then a moment: what is judged at the very time of a version may have been
/// judged by the one before, and is looked at again.
async fn first_fetch(gateway: &TestGateway) {
    let report = gateway.refresh_catalogue().await;
    assert_eq!(report.fetched.len(), 3);
    gateway.advance(Duration::from_secs(1)).await;
}

/// Papers written by hand are no dossiers that the province expects, so the gateway's word counts.
async fn assert_accepted(gateway: &TestGateway, codes: &[&str]) {
    for code in codes {
        let dossier = gateway.dossier(code).await;
        let newest = dossier.newest_entry().expect("an entry");
        assert_eq!(newest.state, EntryState::Accepted, "{code}");
        assert!(gateway.portal.record(code).is_some(), "{code}");
    }
}

fn put(code: &str) -> CatalogueOrder {
    let item = Item { code: code.to_owned(), name: "Thủ tục mới".to_owned() };
    CatalogueOrder { put: vec![item], ..CatalogueOrder::default() }
}

fn fees_of(procedure: &str, fees: &[&str]) -> CatalogueOrder {
    let fees = fees.iter().map(|code| (*code).to_owned()).collect();
    CatalogueOrder {
        details: BTreeMap::from([(procedure.to_owned(), Details { fees, results: Vec::new() })]),
        ..CatalogueOrder::default()
    }
}

#[tokio::test]
async fn what_is_fetched_once_serves_thousands_of_dossiers_within_the_budget() {
    let mut story = Story::of(1_200);
    story.province.population.span_days = 5;
    let gateway = story.start().await;
    gateway.refresh_catalogue().await;
    gateway.settle().await;
    gateway.assert_delivered();
    let mut left = 0;
    for _ in 0..20 {
        later(&gateway, Duration::from_mins(1)).await;
        left = gateway.refresh_catalogue().await.details_left;
    }
    for list in [Service::Procedures, Service::Fields, Service::Agencies] {
        assert_eq!(gateway.calls(list).len(), 1, "{list:?}");
    }
    let mut asked: Vec<String> =
        gateway.calls(Service::Procedure).into_iter().flat_map(|call| call.codes).collect();
    let calls = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), calls, "details were fetched twice");
    // The portal's own count, not the gateway's.
    let accepted = gateway.portal.state().packets_accepted;
    let budget = usize::try_from(accepted / 20).unwrap();
    assert!(accepted >= 1_200);
    assert_eq!(catalogue_calls(&gateway), budget, "of {accepted} dossiers");
    assert!(left > 0, "the budget did not bind");
    // The procedures that most dossiers use come first.
    let uses = |key: &CatalogueStanding| (key.uses, key.version.is_some());
    let details: Vec<_> = gateway.context.ledger.catalogues().await.unwrap();
    let (with, without): (Vec<_>, Vec<_>) = details
        .iter()
        .filter(|standing| standing.key.kind == CatalogueKind::Details)
        .map(uses)
        .partition(|(_, fetched)| *fetched);
    let least = with.iter().map(|(uses, _)| *uses).min().unwrap();
    let most = without.iter().map(|(uses, _)| *uses).max().unwrap();
    assert!(least >= most, "{least} uses fetched, {most} uses not");
    gateway.end().await;
}

#[tokio::test]
async fn before_the_first_fetch_nothing_is_compared() {
    let story = Story::of(0).set("catalogue", "unknown_procedure", "\"hold\"");
    let gateway = story.start_with(&[Paper::of(CODE).with("MaTTHC", NEW_PROCEDURE)]).await;
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted]);
    assert!(gateway.entry(CODE, 1).await.diagnostics.is_empty());
    gateway.end().await;
}

#[tokio::test]
async fn a_dossier_of_an_unknown_procedure_is_sent_with_a_finding_unless_it_is_to_be_held() {
    let papers = [
        Paper::of(CODE).with("MaTTHC", &format!("{NEW_PROCEDURE}.000.00.00.H55")),
        Paper::of(OTHER).with("MaTTHC", "2.000815.H55").with("MaLinhVuc", "G99-XX99"),
    ];
    let gateway = Story::of(0).start_with(&papers).await;
    first_fetch(&gateway).await;
    gateway.settle().await;
    assert_accepted(&gateway, &[CODE, OTHER]).await;
    for (code, rule, target, found) in [
        (CODE, "catalogue.unknown_procedure", "MaTTHC", "3.999999.000.00.00.H55"),
        (OTHER, "catalogue.unknown_field", "MaLinhVuc", "G99-XX99"),
    ] {
        let entry = gateway.entry(code, 1).await;
        let [finding] = entry.diagnostics.as_slice() else { panic!("{:?}", entry.diagnostics) };
        assert_eq!(
            (&*finding.rule, &*finding.target, &*finding.found),
            (rule, target, found),
            "{code}"
        );
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.source_path, format!("HoSo/{target}"));
        assert!(finding.position.is_some());
    }
    gateway.end().await;
}

#[tokio::test]
async fn a_held_dossier_goes_by_itself_when_the_portal_knows_its_procedure() {
    let story = Story::of(0).set("catalogue", "unknown_procedure", "\"hold\"");
    let papers = [
        Paper::of(CODE).with("MaTTHC", &format!("{NEW_PROCEDURE}.H55")),
        // Known by its national part.
        Paper::of(OTHER).with("MaTTHC", "2.000815.000.00.00.H55"),
    ];
    let gateway = story.start_with(&papers).await;
    first_fetch(&gateway).await;
    gateway.settle().await;
    assert_eq!(gateway.states(OTHER).await, [EntryState::Accepted]);
    assert_eq!(gateway.states(CODE).await, [EntryState::Quarantined]);
    let problems = gateway.context.ledger.problems(&ProblemFilter::default()).await.unwrap();
    let told: Vec<_> = problems.iter().map(|one| (&*one.ma_ho_so, &*one.code)).collect();
    assert_eq!(told, [(CODE, "catalogue.unknown_procedure")]);

    // A day later the list is the same: the dossier keeps waiting, untouched.
    let since = gateway.entry(CODE, 1).await.changed_at;
    later(&gateway, DAY).await;
    let report = gateway.refresh_catalogue().await;
    assert_eq!((report.fetched.len(), report.released), (3, 0));
    assert_eq!(gateway.entry(CODE, 1).await.changed_at, since);

    gateway.portal.change_catalogue(put(NEW_PROCEDURE));
    later(&gateway, DAY).await;
    let report = gateway.refresh_catalogue().await;
    assert_eq!(report.fetched[0].change.added, 1);
    assert_eq!(report.released, 1);
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted]);
    assert_accepted(&gateway, &[CODE]).await;
    gateway.end().await;
}

#[tokio::test]
async fn a_held_dossier_whose_procedure_stays_unknown_is_held_again() {
    let story = Story::of(0).set("catalogue", "unknown_procedure", "\"hold\"");
    let gateway = story.start_with(&[Paper::of(CODE).with("MaTTHC", NEW_PROCEDURE)]).await;
    first_fetch(&gateway).await;
    gateway.pull_and_map().await;
    gateway.portal.change_catalogue(put("3.999998"));
    later(&gateway, DAY).await;
    assert_eq!(gateway.refresh_catalogue().await.released, 1);
    gateway.advance(Duration::from_secs(1)).await;
    assert_eq!(gateway.map().await.counts.quarantined, 1);
    later(&gateway, Duration::from_mins(1)).await;
    assert_eq!(gateway.refresh_catalogue().await.released, 0);
    assert_eq!(gateway.calls(Service::Dossiers).len(), 0);
    gateway.end().await;
}

#[tokio::test]
async fn a_fee_is_compared_with_those_of_its_procedure_and_no_others() {
    let story = Story::of(0)
        .set("catalogue", "unknown_fee", "\"hold\"")
        // The budget of a handful of dossiers.
        .set("catalogue", "calls_per_dossier", "1.0");
    let papers: Vec<Paper> =
        (1..=6).map(|number| Paper::of(&format!("H55.242-260126-000{number}"))).collect();
    let gateway = story.start_with(&papers).await;
    gateway.portal.change_catalogue(fees_of("2.000815", &["PHI01"]));
    first_fetch(&gateway).await;
    gateway.settle().await;
    // Nothing was known of its fees yet, so all went; now somebody uses it and it is fetched.
    assert_accepted(&gateway, &[CODE]).await;
    let report = gateway.refresh_catalogue().await;
    let asked: Vec<_> = report.fetched.iter().map(|one| one.key.to_string()).collect();
    assert_eq!(asked, ["details of 2.000815"]);

    gateway.put(&papers[0].clone().version(2).with("MaPhiLePhi", "PHI77"));
    gateway.put(&papers[1].clone().version(2).with("TrichYeuHoSo", "Chứng thực 3 bản"));
    gateway.settle().await;
    let held = gateway.entry(CODE, 2).await;
    assert_eq!(held.state, EntryState::Quarantined);
    let finding = &held.diagnostics[0];
    assert_eq!(finding.rule, "catalogue.unknown_fee");
    assert_eq!(finding.target, "DanhSachLePhi[1].MaPhiLePhi");
    assert_eq!(finding.source_path, "HoSo/DanhSachLePhi/LePhi[1]/MaPhiLePhi");
    assert_eq!(gateway.entry(OTHER, 2).await.state, EntryState::Accepted);

    gateway.portal.change_catalogue(fees_of("2.000815", &["PHI01", "PHI77"]));
    later(&gateway, Duration::from_hours(24 * 7 - 1)).await;
    // The budget is that of the last week, so somebody must have been served in it.
    gateway.refresh_catalogue().await;
    later(&gateway, Duration::from_hours(2)).await;
    for (number, paper) in (3..).zip(&papers[2..]) {
        let about = format!("Chứng thực {number} bản");
        gateway.put(&paper.clone().version(2).with("TrichYeuHoSo", &about));
    }
    gateway.settle().await;
    for _ in 0..3 {
        later(&gateway, Duration::from_mins(1)).await;
        gateway.refresh_catalogue().await;
    }
    gateway.settle().await;
    assert_eq!(gateway.entry(CODE, 2).await.state, EntryState::Accepted);
    assert_accepted(&gateway, &[CODE]).await;
    gateway.end().await;
}

#[tokio::test]
async fn a_list_that_is_cut_or_empty_is_not_believed_and_the_old_one_stays() {
    let gateway = Story::of(0).start().await;
    gateway.refresh_catalogue().await;
    let before = procedures(&gateway).await;
    assert_eq!(before.items, 1_659);
    let service = Service::Procedures.name();
    for (fault, code) in [
        (Fault::CutList { keep: 829 }, "catalogue.shrunken"),
        (Fault::CutList { keep: 0 }, "catalogue.empty"),
        (Fault::ResetMidBody, "portal.interrupted"),
        (Fault::Html { applied: true }, "portal.html_answer"),
        (Fault::EmptyBody { applied: true }, "portal.empty_answer"),
    ] {
        gateway.portal.inject(ScriptedFault::next(fault).of_service(service));
        later(&gateway, DAY).await;
        let report = gateway.refresh_catalogue().await;
        let procedures_report = &report.fetched[0];
        let failure = procedures_report.failure.as_ref().expect("a refusal");
        assert_eq!(failure.code, code);
        let now = procedures(&gateway).await;
        assert_eq!((now.version, now.items), (before.version, before.items), "{code}");
        assert_eq!(now.confirmed_at, before.confirmed_at);
        // The others are fetched all the same.
        assert!(report.fetched[1..].iter().all(|one| one.failure.is_none()));
    }
    let failing = procedures(&gateway).await;
    assert_eq!(failing.failures, 5);
    let problems = gateway.context.ledger.problems(&ProblemFilter::default()).await.unwrap();
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!(problem.kind, ProblemKind::Catalogue);
    assert_eq!(Some(problem.since), failing.failing_since);
    assert_eq!(problem.code, "portal.empty_answer");

    // A whole list ends the trouble by itself.
    later(&gateway, DAY).await;
    gateway.refresh_catalogue().await;
    let healthy = procedures(&gateway).await;
    assert_eq!((healthy.version, healthy.failures), (before.version, 0));
    assert!(healthy.failure.is_none() && healthy.confirmed_at > before.confirmed_at);
    let problems = gateway.context.ledger.problems(&ProblemFilter::default()).await.unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    gateway.end().await;
}

#[tokio::test]
async fn a_portal_without_catalogues_is_asked_less_and_less_and_holds_up_nobody() {
    let gateway = Story::of(0).start_with(&[Paper::of(CODE)]).await;
    for service in [Service::Procedures, Service::Fields, Service::Agencies] {
        let fault = Fault::Status { status: 403, applied: false };
        gateway
            .portal
            .inject(ScriptedFault::next(fault).of_service(service.name()).until_cleared());
    }
    for _ in 0..60 {
        gateway.refresh_catalogue().await;
        later(&gateway, Duration::from_mins(1)).await;
    }
    // After 0, 1, 3, 7, 15 and 31 minutes.
    assert_eq!(gateway.calls(Service::Procedures).len(), 6);
    let standing = procedures(&gateway).await;
    assert_eq!((standing.version, standing.failures), (None, 6));
    gateway.settle().await;
    assert_accepted(&gateway, &[CODE]).await;
    gateway.end().await;
}

#[tokio::test]
async fn a_reviewed_row_sends_the_national_code_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("procedures.csv");
    let rows = "province_code,national_code,reviewed_by,reviewed_at,origin\n\
                2.999001.H55,2.000815,Trần Thị Mẫu,2026-01-20,QĐ 12/QĐ-UBND\n";
    std::fs::write(&table, rows).unwrap();
    let mut story = Story::of(0)
        .set("mapping", "procedures_file", &format!("{:?}", table.display().to_string()))
        .set("catalogue", "unknown_procedure", "\"hold\"");
    story.portal.keep_fields = true;
    let papers = [
        Paper::of(CODE).with("MaTTHC", "2.999001.H55"),
        // The table is compared letter by letter.
        Paper::of(OTHER).with("MaTTHC", "2.999001"),
    ];
    let gateway = story.start_with(&papers).await;
    first_fetch(&gateway).await;
    gateway.settle().await;
    assert_eq!(gateway.portal.fields(CODE).unwrap().ma_tthc, "2.000815");
    let entry = gateway.entry(CODE, 1).await;
    let rules: Vec<_> = entry.diagnostics.iter().map(|one| &*one.rule).collect();
    assert_eq!(rules, ["mapping.national_procedure"]);
    assert_eq!(gateway.states(OTHER).await, [EntryState::Quarantined]);
    let document = gateway.dossier(CODE).await.dossier_id;
    let document = gateway.context.ledger.newest_document(document).await.unwrap().unwrap();
    let explained = gateway.mapping.explain(&document, Some("MaTTHC"));
    assert_eq!(explained.fields[0].value.as_deref(), Some("2.000815"));
    assert_eq!(
        explained.fields[0].code_list_row.as_deref(),
        Some("procedures.csv line 2: 2.999001.H55 = 2.000815, reviewed 2026-01-20 by Trần Thị Mẫu")
    );
    gateway.end().await;
}

#[tokio::test]
async fn a_change_of_the_portal_is_a_version_with_its_differences() {
    let gateway = Story::of(0).start().await;
    gateway.refresh_catalogue().await;
    gateway.portal.change_catalogue(CatalogueOrder {
        list: List::Fields,
        put: vec![
            Item { code: "G15-CT01".to_owned(), name: "Chứng thực, sao y".to_owned() },
            Item { code: "G99-ZZ01".to_owned(), name: "Lĩnh vực mới".to_owned() },
        ],
        remove: vec!["G03-GD10".to_owned()],
        ..CatalogueOrder::default()
    });
    later(&gateway, DAY).await;
    let report = gateway.refresh_catalogue().await;
    let fields = report.fetched.iter().find(|one| one.key.kind == CatalogueKind::Fields).unwrap();
    let change = fields.change;
    assert!(change.is_new);
    assert_eq!((change.added, change.removed, change.renamed), (1, 1, 1));
    let key = CatalogueKey::list(CatalogueKind::Fields);
    let versions = gateway.context.ledger.catalogue_versions(&key).await.unwrap();
    assert_eq!(versions.len(), 2);
    assert_eq!(Some(versions[0].id), change.version);
    gateway.end().await;
}

#[tokio::test]
async fn a_service_that_is_not_granted_is_not_asked_again_for_every_procedure() {
    let gateway = Story::of(300).set("catalogue", "calls_per_dossier", "1.0").start().await;
    gateway.refresh_catalogue().await;
    gateway.settle().await;
    let fault = Fault::Status { status: 403, applied: false };
    let service = Service::Procedure.name();
    gateway.portal.inject(ScriptedFault::next(fault).of_service(service).until_cleared());
    let report = gateway.refresh_catalogue().await;
    assert_eq!(report.fetched.len(), 1);
    assert!(report.details_left > 10);
    assert_eq!(gateway.calls(Service::Procedure).len(), 1);
    // What the portal does not have is about one procedure alone.
    gateway.portal.set_faults(hoso_gateway::lab::portal::Faults::default());
    let codes = report.fetched.iter().map(|one| one.key.procedure.clone()).collect();
    gateway.portal.change_catalogue(CatalogueOrder { remove: codes, ..Default::default() });
    later(&gateway, Duration::from_mins(1)).await;
    let report = gateway.refresh_catalogue().await;
    assert_eq!(report.fetched.len(), 20);
    let missing: Vec<_> = report.fetched.iter().filter_map(|one| one.failure.as_ref()).collect();
    let codes: Vec<_> = missing.iter().map(|failure| failure.code.as_str()).collect();
    assert_eq!(codes, ["catalogue.no_such_procedure"]);
    gateway.end().await;
}
