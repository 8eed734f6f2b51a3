//! Calls whose answer never came: nothing is lost, nothing is sent blindly, nothing is believed.

use std::time::Duration;

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::{Fault, Outcome, ReadBack, ScriptedFault, Service};
use hoso_gateway::ledger::record::RetryScope;
use hoso_gateway::pipeline::resync::retry_problems;

use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;

const CODE: &str = "H55.242-260126-0001";
const DOSSIERS: &str = "DongBoHoSoMC";
const STEPS: &str = "CapNhatTienDoHoSoMC";
const LOOK_UP: &str = "TraCuuHoSo";

async fn one_dossier_with(fault: Fault, read_back: ReadBack) -> TestGateway {
    let mut story = Story::of(0);
    story.portal.read_back = read_back;
    let gateway = story.start_with(&[Paper::of(CODE)]).await;
    gateway.portal.inject(ScriptedFault::next(fault).of_service(DOSSIERS));
    gateway.pull_and_map().await;
    gateway.push().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Unconfirmed]);
    gateway
}

#[tokio::test]
async fn a_request_that_was_lost_is_looked_up_and_sent_once_more_as_new() {
    let gateway = one_dossier_with(Fault::DropRequest, ReadBack::Existence).await;
    gateway.settle().await;
    assert_eq!(gateway.outcomes(Service::LookUp), [Outcome::Miss]);
    let sent: Vec<_> = gateway
        .calls(Service::Dossiers)
        .into_iter()
        .map(|call| (call.updating, call.outcome))
        .collect();
    assert_eq!(sent, [(Some(false), Outcome::NotApplied), (Some(false), Outcome::Accepted)]);
    assert_eq!(gateway.portal.record(CODE).unwrap().updates, 0);
    gateway.end().await;
}

#[tokio::test]
async fn a_lost_answer_is_not_believed_the_dossier_is_found_and_updated() {
    for fault in [
        Fault::ApplyThenDrop,
        Fault::ResetMidBody,
        Fault::EmptyBody { applied: true },
        Fault::Status { status: 500, applied: true },
    ] {
        let gateway = one_dossier_with(fault.clone(), ReadBack::Existence).await;
        gateway.read_back().await;
        assert_eq!(gateway.states(CODE).await, [EntryState::Ready], "{fault:?}");
        gateway.settle().await;
        assert_eq!(gateway.states(CODE).await, [EntryState::Accepted]);
        assert_eq!(gateway.outcomes(Service::LookUp), [Outcome::Hit]);
        let last = gateway.calls(Service::Dossiers).pop().unwrap();
        assert_eq!((last.updating, last.answered), (Some(true), true));
        let record = gateway.portal.record(CODE).unwrap();
        assert_eq!((record.updates, record.steps.len()), (1, 1));
        gateway.end().await;
    }
}

#[tokio::test]
async fn an_echo_that_equals_the_packet_proves_a_create() {
    let gateway = one_dossier_with(Fault::ApplyThenDrop, ReadBack::Echo).await;
    let report = gateway.read_back().await;
    assert_eq!((report.accepted, report.again), (1, 0));
    gateway.settle().await;
    assert_eq!(gateway.calls(Service::Dossiers).len(), 1);
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 1);
    gateway.end().await;
}

#[tokio::test]
async fn an_echo_never_proves_an_update() {
    let mut story = Story::of(0);
    story.portal.read_back = ReadBack::Echo;
    let gateway = story.start_with(&[Paper::of(CODE)]).await;
    gateway.settle().await;
    // The new note is not among the fields that are echoed.
    gateway.put(&Paper::of(CODE).version(2).with("GhiChu", "Đã bổ sung"));
    gateway.portal.inject(ScriptedFault::next(Fault::DropRequest).of_service(DOSSIERS));
    gateway.settle().await;
    assert_eq!(gateway.portal.record(CODE).unwrap().updates, 1);
    gateway.end().await;
}

#[tokio::test]
async fn a_look_up_without_an_answer_is_asked_again() {
    let gateway = one_dossier_with(Fault::DropRequest, ReadBack::Existence).await;
    let lost = ScriptedFault::next(Fault::DropRequest).of_service(LOOK_UP);
    gateway.portal.inject(lost.times(2));
    gateway.read_back().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Unconfirmed]);
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted]);
    assert_eq!(gateway.calls(Service::LookUp).len(), 3);
    gateway.end().await;
}

#[tokio::test]
async fn a_call_that_is_applied_after_the_look_up_ends_in_one_record() {
    let gateway = one_dossier_with(Fault::ApplyLater { ms: 500 }, ReadBack::Existence).await;
    gateway.read_back().await;
    assert_eq!(gateway.outcomes(Service::LookUp), [Outcome::Miss]);
    gateway.advance(Duration::from_millis(600)).await;
    gateway.until("the late call is applied", || gateway.portal.record(CODE).is_some()).await;
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted]);
    assert!(gateway.outcomes(Service::Dossiers).contains(&Outcome::Exists));
    assert_eq!(gateway.portal.records().len(), 1);
    gateway.end().await;
}

#[tokio::test]
async fn steps_without_an_answer_are_sent_again_but_a_request_for_a_supplement_waits() {
    let paper = Paper::of(CODE).with("TrangThaiHoSo", "5").steps(&[
        ("20260126083000", "2"),
        ("20260126084000", "4"),
        ("20260126085000", "5"),
    ]);
    let gateway = Story::of(0).start_with(&[paper]).await;
    // The pair is lost, its repetition arrives, the request for a supplement is lost.
    for fault in [Fault::ApplyThenDrop, Fault::CodeAsString, Fault::ApplyThenDrop] {
        gateway.portal.inject(ScriptedFault::next(fault).of_service(STEPS));
    }
    gateway.settle().await;
    assert_eq!(gateway.step_states(CODE).await, ["acked", "acked", "held"]);
    assert_eq!(gateway.portal.state().duplicated_steps, 2);
    gateway.advance(Duration::from_hours(1)).await;
    gateway.settle().await;
    assert_eq!(gateway.calls(Service::Steps).len(), 3, "a person decides");
    gateway.end().await;
}

#[tokio::test]
async fn a_held_supplement_request_goes_out_when_a_person_says_so() {
    let paper = Paper::of(CODE).with("TrangThaiHoSo", "5").steps(&[("20260126083000", "5")]);
    let gateway = Story::of(0).start_with(&[paper]).await;
    gateway.portal.inject(ScriptedFault::next(Fault::DropRequest).of_service(STEPS));
    gateway.settle().await;
    assert_eq!(gateway.step_states(CODE).await, ["held"]);
    assert_eq!(gateway.calls(Service::Steps).len(), 1);
    let scope = RetryScope {
        ma_ho_so: vec![CODE.to_owned()],
        code: Some("steps.outcome_unknown".to_owned()),
        held: true,
        ..RetryScope::default()
    };
    let count = retry_problems(&gateway.context, &scope, "thu-nghiem", "looked at the portal")
        .await
        .unwrap();
    assert_eq!(count, 1);
    gateway.settle().await;
    assert_eq!(gateway.step_states(CODE).await, ["acked"]);
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 1);
    gateway.end().await;
}

#[tokio::test]
async fn a_dossier_that_the_portal_forgot_is_found_missing_and_repaired_with_all_its_steps() {
    let gateway =
        Story::of(12).set("push", "steps_on_unknown_status_5", "\"resend\"").start().await;
    gateway.settle().await;
    let lost: Vec<String> =
        gateway.province.expected().iter().take(3).map(|dossier| dossier.code.clone()).collect();
    for code in &lost {
        assert!(gateway.portal.forget(code));
    }
    let books = gateway.reconcile().await;
    assert_eq!((books.missing, books.matched, books.closed), (3, 9, true));
    assert_eq!(books.suspected, 3);
    let books = gateway.reconcile().await;
    assert_eq!((books.missing, books.suspected), (3, 0));
    gateway.settle().await;
    gateway.assert_delivered();
    let books = gateway.reconcile().await;
    assert_eq!((books.missing, books.matched), (0, 12));
    let standing = gateway.standing().await;
    assert_eq!(standing.open_discrepancies.get("missing"), None);
    gateway.end().await;
}

#[tokio::test]
async fn one_look_up_that_says_missing_repairs_nothing_and_a_second_one_after_the_settle_time_does()
{
    let gateway = Story::of(0)
        .set("reconcile", "settle_ms", "300000")
        .start_with(&[Paper::of(CODE)
            .with("TrangThaiHoSo", "5")
            .steps(&[("20260126083000", "2"), ("20260126085000", "5")])])
        .await;
    gateway.settle().await;
    assert_eq!(gateway.step_states(CODE).await, ["acked", "acked"]);
    gateway.advance(Duration::from_mins(6)).await;
    // A search that fails for a moment is forgiven.
    gateway.portal.hide(CODE);
    let books = gateway.reconcile().await;
    assert_eq!((books.missing, books.suspected), (1, 1));
    assert_eq!(gateway.standing().await.open_discrepancies.get("missing"), Some(&1));
    gateway.portal.show(CODE);
    gateway.advance(Duration::from_mins(6)).await;
    assert_eq!(gateway.reconcile().await.matched, 1);
    assert_eq!(gateway.standing().await.open_discrepancies.get("missing"), None);
    assert_eq!(gateway.map().await.mapped, 0, "nothing was repaired");
    // Lost for good: the second look comes too early, the third one is believed.
    assert!(gateway.portal.forget(CODE));
    for (wait, suspected) in [(0, 1), (1, 1), (6, 0)] {
        gateway.advance(Duration::from_mins(wait)).await;
        let books = gateway.reconcile().await;
        assert_eq!((books.missing, books.suspected), (1, suspected));
        assert_eq!(gateway.states(CODE).await.len(), 1 + usize::from(suspected == 0));
    }
    gateway.settle().await;
    assert_eq!(gateway.step_states(CODE).await, ["acked", "held"]);
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 1);
    let held = gateway.dossier(CODE).await.steps.pop().unwrap();
    assert_eq!(held.failure.unwrap().code, "steps.maybe_sent");
    let scope = RetryScope { ma_ho_so: vec![CODE.to_owned()], held: true, ..RetryScope::default() };
    retry_problems(&gateway.context, &scope, "thu-nghiem", "the portal has it not").await.unwrap();
    gateway.settle().await;
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 2);
    gateway.end().await;
}

#[tokio::test]
async fn a_dossier_forgotten_before_its_steps_came_goes_first_again() {
    let gateway = Story::of(0).start_with(&[Paper::of(CODE)]).await;
    gateway.portal.inject(ScriptedFault::next(Fault::Forget).of_service(STEPS));
    gateway.settle().await;
    assert_eq!(gateway.outcomes(Service::Steps), [Outcome::UnknownDossier, Outcome::Accepted]);
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 1);
    gateway.end().await;
}

#[tokio::test]
async fn many_faults_at_once_lose_nothing_and_invent_nothing() {
    let mut story = Story::of(60).set("push", "dossiers_per_call", "5");
    story.portal.faults = hoso_gateway::lab::portal::Faults {
        rates: hoso_gateway::lab::portal::Faults::preset("many")
            .unwrap()
            .rates
            .into_iter()
            // Waits are for the stories that move the clock themselves.
            .filter(|rate| !matches!(rate.fault, Fault::Delay { .. } | Fault::SlowBody { .. }))
            .collect(),
        next: Vec::new(),
    };
    let gateway = story.start().await;
    gateway.settle().await;
    for _ in 0..20 {
        gateway.province.evolve_any();
    }
    gateway.settle().await;
    let comparison = gateway.comparison();
    assert!(comparison.missing.is_empty() && comparison.different.is_empty());
    assert!(comparison.unexpected.is_empty());
    assert_eq!(comparison.steps_unexpected, 0);
    let held = gateway.standing().await.steps.get("held").copied();
    assert!(comparison.steps_missing as u64 <= held.unwrap_or(0));
    let struck: u64 = gateway.portal.state().faults.values().sum();
    assert!(struck > 12, "few faults struck: {struck}");
    gateway.end().await;
}
