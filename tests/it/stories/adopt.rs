//! Taking over from an older program that filled the portal before: nothing is sent twice, nothing
//! is lost, and what cannot be known is said.

use std::collections::BTreeSet;
use std::time::Duration;

use hoso_gateway::clock::{Clock, SystemClock};
use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::http::ReqwestHttp;
use hoso_gateway::lab::older_sync::{self, OlderSyncOptions, OlderSyncReport};
use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{
    CallEntry, Fault, FaultRate, Faults, LabPortal, Outcome, PortalOptions, ReadBack,
    ScriptedFault, Service,
};
use hoso_gateway::lab::province::ProvinceOptions;
use hoso_gateway::ledger::adoption::{AdoptionOrder, AdoptionRun};
use hoso_gateway::ledger::record::AuditRecord;
use hoso_gateway::pipeline::adopt::{adopt_pressing_once, check_index, work_on_run};

use crate::support::binary::Site;
use crate::support::clock::START;
use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;

const CODE: &str = "H55.242-260126-0001";

fn taking_over(dossiers: u32) -> Story {
    Story::of(dossiers).set("source", "start_from", &format!("\"{START}\""))
}

async fn older_program(
    province: &str,
    portal: &str,
    left_out: f64,
    stale: f64,
    clock: &dyn Clock,
) -> OlderSyncReport {
    let account = PortalOptions::default();
    let options = OlderSyncOptions {
        province: province.to_owned(),
        portal: portal.to_owned(),
        username: account.username,
        password: account.password,
        dstcode: account.dstcode.expect("an address"),
        left_out,
        stale,
        seed: 42,
    };
    let http = ReqwestHttp::new(Duration::from_secs(5), 4).expect("a client");
    older_sync::run(&options, &http, clock).await.expect("the older program works")
}

async fn fill(gateway: &TestGateway, left_out: f64, stale: f64) -> OlderSyncReport {
    let (province, portal) = (gateway.province.url(), gateway.portal.url());
    older_program(&province, &portal, left_out, stale, &gateway.clock).await
}

async fn adopt(gateway: &TestGateway, budget: u32) -> AdoptionRun {
    let audit = AuditRecord::new("thu-nghiem", "adopt", "all", "cut-over");
    let order = AdoptionOrder { source: None, budget };
    let ledger = &gateway.context.ledger;
    let run = ledger.open_adoption(gateway.clock.now(), &order, &audit).await.unwrap();
    work_on_run(&gateway.context, &gateway.line, run, &gateway.stop, |_| {}).await.unwrap();
    ledger.adoption_run(Some(run)).await.unwrap().unwrap()
}

/// The codes of which this service heard after the first `seen` calls.
fn sent_since(portal: &LabPortal, seen: usize, service: Service) -> BTreeSet<String> {
    since(portal, seen, service).flat_map(|call| call.codes).collect()
}

fn since(
    portal: &LabPortal,
    seen: usize,
    service: Service,
) -> impl Iterator<Item = CallEntry> + use<> {
    let calls = portal.calls(None).into_iter().skip(seen);
    calls.filter(move |call| call.service == service)
}

#[tokio::test]
async fn what_the_portal_has_is_not_sent_again_and_what_it_lacks_is() {
    let gateway =
        taking_over(80).set("push", "steps_on_unknown_status_5", "\"resend\"").start().await;
    let older = fill(&gateway, 0.2, 0.0).await;
    assert!(older.left_out.len() > 5 && older.sent.len() > 40, "{older:?}");
    let seen = gateway.portal.calls(None).len();
    gateway.advance(Duration::from_mins(1)).await;
    let mapped = gateway.pull_and_map().await;
    assert_eq!(mapped.counts.ready, 0, "nothing goes before the portal was asked");
    assert_eq!(gateway.push().await.packets, 0);
    let run = adopt(&gateway, 1000).await;
    assert_eq!(run.known + run.missing, u64::from(run.look_ups));
    assert_eq!(run.missing, older.left_out.len() as u64);
    assert_eq!(run.presumed_packets, older.sent.len() as u64);
    assert_eq!(run.presumed_steps, older.steps as u64);
    gateway.settle().await;
    gateway.assert_delivered();
    assert_eq!(sent_since(&gateway.portal, seen, Service::Dossiers), older.left_out);
    assert_eq!(sent_since(&gateway.portal, seen, Service::Steps), older.left_out);
    assert_eq!(gateway.portal.state().duplicated_steps, 0);
    // Believed is not acknowledged, and the books say so.
    let books = gateway.reconcile().await;
    assert_eq!(books.unverifiable, older.sent.len() as u64);
    assert_eq!(books.matched, older.left_out.len() as u64);
    assert!(books.closed);
    gateway.end().await;
}

#[tokio::test]
async fn an_echo_finds_what_the_older_program_sent_wrongly() {
    let mut story = taking_over(60).set("push", "steps_on_unknown_status_5", "\"resend\"");
    story.portal.read_back = ReadBack::Echo;
    let gateway = story.start().await;
    let older = fill(&gateway, 0.1, 0.2).await;
    assert!(older.stale.len() > 5, "{older:?}");
    let seen = gateway.portal.calls(None).len();
    gateway.pull_and_map().await;
    let run = adopt(&gateway, 1000).await;
    assert_eq!(run.different, older.stale.len() as u64);
    gateway.settle().await;
    gateway.assert_delivered();
    let updated: BTreeSet<String> = since(&gateway.portal, seen, Service::Dossiers)
        .filter(|call| call.updating == Some(true))
        .flat_map(|call| call.codes)
        .collect();
    assert!(updated.is_superset(&older.stale));
    let steps = sent_since(&gateway.portal, seen, Service::Steps);
    assert!(steps.is_disjoint(&older.stale), "their steps were there");
    gateway.end().await;
}

#[tokio::test]
async fn a_change_while_it_awaits_costs_one_look_up_and_goes_out_by_itself() {
    let gateway = taking_over(30).start().await;
    let older = fill(&gateway, 0.2, 0.0).await;
    gateway.pull_and_map().await;
    let seen = gateway.portal.calls(None).len();
    gateway.advance(Duration::from_mins(1)).await;
    let known = older.sent.iter().next().unwrap().clone();
    let unknown = older.left_out.iter().next().unwrap().clone();
    for code in [&known, &unknown] {
        gateway.province.evolve(code).unwrap();
    }
    gateway.province.add(1);
    gateway.pull_and_map().await;
    let counts = adopt_pressing_once(&gateway.context, &gateway.line, &gateway.stop).await.unwrap();
    assert!(counts.known >= 1 && counts.missing >= 1, "{counts:?}");
    gateway.push().await;
    let looked = sent_since(&gateway.portal, seen, Service::LookUp);
    assert!(looked.contains(&known) && looked.contains(&unknown) && looked.len() <= 3);
    for code in [&known, &unknown] {
        let expected = gateway.province.expected();
        let expected = expected.iter().find(|dossier| dossier.code == *code).unwrap();
        let record = gateway.portal.record(code).unwrap();
        assert_eq!((record.digest, record.steps.len()), (expected.digest, expected.steps.len()));
    }
    assert_eq!(gateway.portal.state().duplicated_steps, 0);
    assert!(gateway.count(EntryState::Awaiting).await > 20, "the others still wait");
    gateway.end().await;
}

#[tokio::test]
async fn a_small_budget_is_kept_and_the_next_run_goes_on() {
    let gateway = taking_over(30).start().await;
    let older = fill(&gateway, 0.1, 0.0).await;
    gateway.pull_and_map().await;
    let mut asked = 0;
    let mut runs = 0;
    while gateway.count(EntryState::Awaiting).await > 0 {
        let run = adopt(&gateway, 7).await;
        assert!(run.look_ups <= 7);
        asked += run.look_ups as usize;
        runs += 1;
        assert!(runs < 10, "never ends");
    }
    assert_eq!(asked, older.sent.len() + older.left_out.len(), "each once");
    assert_eq!(gateway.calls(Service::LookUp).len(), asked);
    gateway.end().await;
}

#[tokio::test]
async fn look_ups_that_fail_leave_the_dossier_waiting_and_are_told() {
    let gateway = taking_over(0).start_with(&[Paper::of(CODE)]).await;
    gateway.pull_and_map().await;
    let lost = ScriptedFault::next(Fault::DropRequest).of_service("TraCuuHoSo");
    gateway.portal.inject(lost.until_cleared());
    let run = gateway.while_time_passes(adopt(&gateway, 100)).await;
    assert!(run.undecided > 1 && run.known + run.missing == 0, "{run:?}");
    assert_eq!(gateway.states(CODE).await, [EntryState::Awaiting]);
    assert_eq!(gateway.push().await.packets, 0);
    gateway.portal.set_faults(Faults::default());
    gateway.advance(Duration::from_hours(1)).await;
    let run = adopt(&gateway, 100).await;
    assert_eq!((run.missing, run.undecided), (1, 0));
    gateway.settle().await;
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 1);
    gateway.end().await;
}

#[tokio::test]
async fn a_look_up_that_is_wrong_is_corrected_by_the_refusal_of_the_create() {
    let gateway = taking_over(20).start().await;
    let older = fill(&gateway, 0.0, 0.0).await;
    let filed = gateway.province.filed_at_portal();
    let code = older.sent.difference(&filed).next().unwrap().clone();
    // The portal's search does not find it for a while.
    let record = gateway.portal.record(&code).unwrap();
    gateway.pull_and_map().await;
    gateway.portal.hide(&code);
    let run = adopt(&gateway, 100).await;
    assert_eq!(run.missing, 1);
    gateway.portal.show(&code);
    gateway.settle().await;
    let after = gateway.portal.record(&code).unwrap();
    assert_eq!(after.steps, record.steps, "no step twice");
    assert_eq!(gateway.portal.state().duplicated_steps, 0);
    gateway.end().await;
}

#[tokio::test]
async fn a_supplement_request_of_a_dossier_filed_at_the_portal_waits_when_its_look_up_says_missing()
{
    let paper = Paper::of(CODE)
        .with("NoiNopHoSo", "1")
        .with("TrangThaiHoSo", "5")
        .steps(&[("20260126083000", "2"), ("20260126084000", "5")]);
    let gateway = taking_over(0).start_with(&[paper]).await;
    gateway.pull_and_map().await;
    assert_eq!(adopt(&gateway, 10).await.missing, 1);
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted]);
    assert_eq!(gateway.step_states(CODE).await, ["acked", "held"]);
    gateway.end().await;
}

#[tokio::test]
async fn the_index_names_what_the_feed_never_gave() {
    let gateway = taking_over(10).start().await;
    let check = check_index(&gateway.context, &gateway.sources[0], &gateway.stop).await.unwrap();
    assert_eq!((check.at_source, check.not_given.len(), check.whole), (10, 10, true));
    gateway.pull_and_map().await;
    let added = gateway.province.add(1);
    let check = check_index(&gateway.context, &gateway.sources[0], &gateway.stop).await.unwrap();
    assert_eq!(check.not_given, added);
    gateway.end().await;
}

/// The rehearsal of a cut-over with the real program: an older one filled the portal, with gaps; the
/// province goes on working; `hoso adopt` runs with small budgets, is killed, and runs again beside
/// the service. The portal's own record is the judge.
#[tokio::test]
async fn the_rehearsal_of_a_cut_over_sends_nothing_twice_and_loses_nothing() {
    let province = ProvinceOptions {
        population: PopulationOptions {
            dossiers: 120,
            invalid_share: 0.05,
            ..PopulationOptions::default()
        },
        ..ProvinceOptions::default()
    };
    let mut site = Site::open(
        province,
        PortalOptions::default(),
        "[push]\nconcurrency = 4\nlease_ms = 6000\n[upkeep]\nevery_ms = 200\n",
    )
    .await;
    let clock = SystemClock::new();
    let (from, to) = (site.province.url(), site.portal.url());
    let older = older_program(&from, &to, 0.15, 0.0, &clock).await;
    let seen = site.portal.calls(None).len();
    site.set_source(&format!("start_from = \"{}\"", older.until));

    let (success, told, _) = site.run(&["run", "pull"]).await;
    assert!(success, "{told}");
    let (success, told, _) = site.run(&["run", "map"]).await;
    assert!(success && told.contains("await adoption"), "{told}");
    let (success, told, _) = site.run(&["adopt", "--dry-run"]).await;
    assert!(success && told.contains("asking costs"), "{told}");
    assert_eq!(site.portal.calls(None).len(), seen, "counting costs no call");

    // Each look-up takes a moment, so that the kill finds some on their way.
    let slow = FaultRate { share: 1.0, fault: Fault::Delay { ms: 40 } };
    site.portal.set_faults(Faults { rates: vec![slow], next: Vec::new() });
    let process = site.spawn(&["adopt", "--budget", "60"]);
    site.until("some were asked about", |site| site.portal.calls(None).len() > seen + 15).await;
    process.kill();
    site.portal.set_faults(Faults::default());
    // The province goes on working.
    let mut changed: BTreeSet<String> = BTreeSet::new();
    changed.extend((0..10).filter_map(|_| site.province.evolve_any()));
    let (success, told, progress) = site.run(&["--json", "adopt", "--budget", "30"]).await;
    // The dead process still owns the gate for some seconds; the command waits for it.
    assert!(!success, "the budget was too small: {told} {progress}");
    let report: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(report["run"]["look_ups"], 30);

    let service = site.serve();
    changed.extend((0..10).filter_map(|_| site.province.evolve_any()));
    changed.extend(site.province.add(3));
    site.until("the service owns the gate", |site| {
        site.portal.state().sessions_issued > 3 || service.log().contains("starts")
    })
    .await;
    let (_, told, progress) = site.run(&["--json", "adopt", "--budget", "1000"]).await;
    let report: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert!(report["run"]["ended_at"].is_number(), "{told} {progress}");
    changed.extend((0..10).filter_map(|_| site.province.evolve_any()));
    site.until_delivered().await;
    drop(service);

    let comparison = site.comparison();
    assert!(comparison.unexpected.is_empty(), "{comparison:?}");
    assert_eq!((comparison.steps_duplicated, comparison.steps_unexpected), (0, 0));
    assert_eq!(site.portal.state().duplicated_steps, 0, "no step twice");
    let sent = sent_since(&site.portal, seen, Service::Dossiers);
    let needless: Vec<&String> =
        sent.iter().filter(|code| older.sent.contains(*code) && !changed.contains(*code)).collect();
    assert_eq!(needless, [""; 0], "sent although known and unchanged");
    assert!(sent.is_superset(&older.left_out), "never sent before");
    let refused = since(&site.portal, seen, Service::Dossiers)
        .filter(|call| call.outcome == Outcome::Exists)
        .count();
    assert_eq!(refused, 0, "no create of what the portal has");
    let standing = site.standing().await.unwrap();
    assert_eq!(standing.dossiers.get(&EntryState::Awaiting), None, "{standing:?}");
    assert_eq!(site.portal.state().overshoots, 0);
    site.close().await;
}
