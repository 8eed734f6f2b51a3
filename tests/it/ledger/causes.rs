//! What is open, by its cause: groups, holds, notes, marks, surges.

use hoso_gateway::domain::entry::{EntryState as S, Settlement};
use hoso_gateway::domain::failure::{Disposition, Failure};
use hoso_gateway::domain::signature::Stage;
use hoso_gateway::domain::step::StepState;
use hoso_gateway::ledger::cause::{Cause, CauseOutcome, FoundAtPortal, NewNote};
use hoso_gateway::ledger::record::{
    AuditRecord, PauseScope, RetryScope, SettleBatch, SettledSteps,
};
use hoso_gateway::ledger::view::ProblemKind;

use super::support::{
    TestLedger, accepted, again, audit, claiming, dead, failure, item, open_ledger, settled,
    settled_steps, t,
};

fn code(serial: usize) -> String {
    format!("H55.242-260126-{serial:04}")
}

fn refused(words: &str) -> Settlement {
    let message = "the portal refused the call with error_code 7";
    let failure = Failure::new("portal.refused", Disposition::Data, message);
    Settlement::Dead { failure: failure.with_details(words) }
}

fn by(actor: &str, target: &str) -> AuditRecord {
    AuditRecord { actor: actor.into(), ..audit(target) }
}

async fn receive(ledger: &TestLedger, at: i64, serials: std::ops::Range<usize>) {
    let items = serials.map(|serial| item(&code(serial), 1, "one")).collect();
    ledger.pull(t(at), items).await;
    ledger.map(t(at)).await;
}

/// Settles everything that is due, each dossier as `meaning` says.
async fn send(ledger: &TestLedger, at: i64, meaning: impl Fn(&str) -> Settlement) -> usize {
    let claimed = ledger.claim_entries(t(at), claiming(at, t(at), 1000)).await.unwrap();
    let entries = claimed
        .iter()
        .map(|claimed| settled(claimed, Some(at), meaning(&claimed.ma_ho_so)))
        .collect();
    let batch = SettleBatch { entries, ..SettleBatch::default() };
    ledger.settle(t(at), &batch).await.unwrap();
    claimed.len()
}

async fn only_cause(ledger: &TestLedger, at: i64) -> Cause {
    let mut causes = ledger.causes(t(at)).await.unwrap();
    assert_eq!(causes.len(), 1, "{causes:#?}");
    causes.remove(0)
}

#[tokio::test]
async fn dossiers_with_one_cause_are_one_line_with_its_code_count_and_times() {
    let ledger = open_ledger().await;
    receive(&ledger, 1, 0..5).await;
    send(&ledger, 2, |who| refused(&format!("Hồ sơ {who}: thủ tục đã hết hiệu lực"))).await;
    ledger.receive(t(3), item("H55.242-260126-9000", 1, "! no code")).await;
    let causes = ledger.causes(t(4)).await.unwrap();
    assert_eq!(causes.len(), 2);
    let dead = &causes[0];
    assert_eq!((dead.signature.stage, &*dead.signature.code), (Stage::Push, "portal.refused/7"));
    assert!(dead.signature.message.contains("Hồ sơ # thủ tục"), "{}", dead.signature.message);
    assert_eq!((dead.open, dead.dossiers, dead.total), (5, 5, 5));
    assert_eq!((dead.procedures, dead.agencies), (1, 1));
    assert_eq!((dead.first_seen, dead.last_seen), (t(2), t(2)));
    assert_eq!((dead.trend.last_hour, dead.trend.hour_before), (5, 0));
    assert_eq!(dead.main_kind(), Some(ProblemKind::Dead));
    let mapping = &causes[1];
    assert_eq!(mapping.signature.stage, Stage::Map);
    assert_eq!(
        (&*mapping.signature.code, &*mapping.signature.field),
        ("mapping.required", "MaHoSo")
    );
    assert_eq!(ledger.members(&dead.name, 3).await.unwrap().len(), 3);
    let of_one = ledger.causes_of(&code(2)).await.unwrap();
    assert_eq!(of_one, std::slice::from_ref(&dead.name));
    // An hour later the trend has moved on.
    let later = &ledger.causes(t(5000)).await.unwrap()[0];
    assert_eq!((later.trend.last_hour, later.trend.hour_before), (0, 5));
}

#[tokio::test]
async fn the_nearest_appointed_time_decides_which_cause_comes_first() {
    let ledger = open_ledger().await;
    for (serial, due) in [(1, Some(t(9000))), (2, None), (3, Some(t(5000)))] {
        ledger.pull(t(1), vec![item(&code(serial), 1, "one")]).await;
        ledger.map_appointed(t(1), due).await;
    }
    let words = ["không", "hai", "năm", "ba"];
    send(&ledger, 2, |who| {
        let serial: usize = who[who.len() - 1..].parse().unwrap();
        refused(&format!("lý do {}", words[serial]))
    })
    .await;
    let causes = ledger.causes(t(3)).await.unwrap();
    let due: Vec<_> = causes.iter().map(|cause| cause.nearest_due).collect();
    assert_eq!(due, [Some(t(5000)), Some(t(9000)), None]);
}

#[tokio::test]
async fn what_is_tried_again_is_open_until_it_succeeds_and_keeps_the_name_of_its_cause() {
    let ledger = open_ledger().await;
    receive(&ledger, 1, 0..3).await;
    send(&ledger, 2, |_| again(t(10), 1)).await;
    let failing = only_cause(&ledger, 3).await;
    assert_eq!(failing.main_kind(), Some(ProblemKind::Failing));
    assert_eq!(failing.open, 3);
    send(&ledger, 10, |_| again(t(20), 2)).await;
    let still = only_cause(&ledger, 11).await;
    assert_eq!((still.name.as_str(), still.total), (failing.name.as_str(), 3), "no new failures");
    assert_eq!(still.last_seen, t(10));
    send(&ledger, 20, |_| accepted()).await;
    assert!(ledger.causes(t(21)).await.unwrap().is_empty());
    let over = ledger.cause(t(21), &failing.name).await.unwrap().unwrap();
    assert_eq!((over.open, over.total), (0, 3), "a cause is remembered");
}

#[tokio::test]
async fn a_held_cause_is_not_tried_again_and_delays_no_other_dossier() {
    let ledger = open_ledger().await;
    receive(&ledger, 1, 0..2).await;
    send(&ledger, 2, |_| again(t(10), 1)).await;
    let name = only_cause(&ledger, 3).await.name;
    let held = ledger.hold_cause(t(4), Some(t(100)), &by("lan", &name)).await.unwrap();
    assert_eq!(held, CauseOutcome::Done { concerned: 2 });
    receive(&ledger, 11, 2..3).await;
    let sent = send(&ledger, 12, |who| {
        assert_eq!(who, code(2), "only the other one");
        accepted()
    });
    assert_eq!(sent.await, 1);
    let retry = RetryScope { cause: Some(name.clone()), dead: true, ..RetryScope::default() };
    assert_eq!(ledger.retry(t(13), &retry, &by("an", &name)).await.unwrap(), 0);
    let hold = only_cause(&ledger, 14).await.hold.unwrap();
    assert_eq!((hold.by.as_str(), hold.until), ("lan", Some(t(100))));
    // By itself at its end; and on record.
    assert_eq!(send(&ledger, 99, |_| accepted()).await, 0);
    ledger.keep_up(t(100)).await;
    assert_eq!(send(&ledger, 100, |_| accepted()).await, 2);
    let (_, acts) = ledger.done_so_far(&name).await.unwrap();
    let told: Vec<(&str, &str)> = acts.iter().map(|act| (&*act.actor, &*act.result)).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].1.starts_with("2 held until"), "{told:?}");
    assert_eq!(told[1], ("an", "refused: held by lan"));
    assert_eq!(told[2], ("hoso-gateway", "released"));
}

#[tokio::test]
async fn what_a_person_holds_stays_aside_when_all_of_its_kind_is_retried() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(&code(1), 1, "! no code")).await;
    let name = only_cause(&ledger, 2).await.name;
    ledger.hold_cause(t(3), None, &by("lan", &name)).await.unwrap();
    let all = RetryScope { quarantined: true, dead: true, held: true, ..RetryScope::default() };
    assert_eq!(ledger.retry(t(4), &all, &audit("all")).await.unwrap(), 0);
    let released = ledger.release_cause(t(5), &by("lan", &name)).await.unwrap();
    assert_eq!(released, CauseOutcome::Done { concerned: 1 });
    let again = ledger.release_cause(t(5), &by("lan", &name)).await.unwrap();
    assert_eq!(again, CauseOutcome::AlreadySo);
    let cause = RetryScope { cause: Some(name.clone()), ..all };
    assert_eq!(ledger.retry(t(6), &cause, &audit(&name)).await.unwrap(), 1);
    assert_eq!(ledger.newest(&code(1)).await.state, S::Received);
    assert!(ledger.causes(t(7)).await.unwrap().is_empty(), "it is on its way");
    // Refused again, it is a new failure of the same cause.
    ledger.map(t(8)).await;
    assert_eq!(only_cause(&ledger, 9).await.total, 2);
}

#[tokio::test]
async fn notes_name_author_owner_and_deadline_and_an_unknown_target_is_refused_on_record() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(&code(1), 1, "! no code")).await;
    let name = only_cause(&ledger, 2).await.name;
    let note = NewNote { owner: Some("minh".into()), deadline: Some(t(900)) };
    for target in [&name, &code(1)] {
        let kept = ledger.note_problem(t(3), &note, &by("lan", target)).await.unwrap();
        assert_eq!(kept, CauseOutcome::Done { concerned: 1 });
        let (notes, acts) = ledger.done_so_far(target).await.unwrap();
        assert_eq!((&*notes[0].author, notes[0].owner.as_deref()), ("lan", Some("minh")));
        assert_eq!((notes[0].deadline, acts.len()), (Some(t(900)), 1));
    }
    let refused = ledger.note_problem(t(4), &note, &by("lan", "S-0000000000")).await.unwrap();
    assert_eq!(refused, CauseOutcome::Unknown);
    let (notes, acts) = ledger.done_so_far("S-0000000000").await.unwrap();
    assert_eq!((notes.len(), &*acts[0].result), (0, "refused: unknown cause or dossier"));
}

#[tokio::test]
async fn a_step_that_a_person_found_at_the_portal_is_presumed_and_says_whose_word_it_is() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(&code(1), 1, "one | 0800/5")).await;
    send(&ledger, 2, |_| accepted()).await;
    let lane = ledger.claim_steps_of(t(3), 2).await.remove(0);
    let held = SettledSteps {
        failure: Some(failure("steps.outcome_unknown", Disposition::Ambiguous)),
        ..settled_steps(&lane, 2, t(3), StepState::Held)
    };
    ledger.settle_steps(t(3), vec![held]).await;
    let cause = only_cause(&ledger, 4).await;
    assert_eq!((cause.signature.stage, cause.open), (Stage::Steps, 1));
    let other =
        FoundAtPortal::Dossier { ma_ho_so: code(1), step: Some("20260126090000/4".to_owned()) };
    let refused = ledger.mark_sent(t(5), &other, &by("lan", &code(1))).await.unwrap();
    assert_eq!(refused, CauseOutcome::Unknown, "that one is not held");
    let found = FoundAtPortal::Cause(cause.name.clone());
    let marked = ledger.mark_sent(t(6), &found, &by("lan", &cause.name)).await.unwrap();
    assert_eq!(marked, CauseOutcome::Done { concerned: 1 });
    let view = ledger.dossier(&code(1)).await.unwrap().remove(0);
    let step = &view.steps[0];
    assert_eq!(step.state, "presumed_sent");
    let mark = step.marked.as_ref().unwrap();
    assert_eq!((&*mark.by, mark.at), ("lan", t(6)));
    assert_eq!(step.failure.as_ref().unwrap().code, "steps.outcome_unknown", "why nobody knew");
    assert!(ledger.causes(t(7)).await.unwrap().is_empty());
    let standing = ledger.standing(t(7)).await.unwrap();
    assert_eq!(standing.steps.get("acked"), None, "the portal has said nothing");
    assert_eq!(standing.steps.get("presumed_sent"), Some(&1));
}

fn ours() -> PauseScope {
    PauseScope::Procedure("1.000105".into())
}

/// Twenty refusals within a minute, and the scope held until 600.
async fn surged(ledger: &TestLedger) -> String {
    receive(ledger, 1, 0..20).await;
    send(ledger, 2, |_| dead()).await;
    assert!(ledger.surges(t(0), 21).await.unwrap().is_empty());
    let surges = ledger.surges(t(0), 20).await.unwrap();
    assert_eq!((surges.len(), surges[0].dossiers(), surges[0].refusal), (1, 20, true));
    assert_eq!(surges[0].scope(), Some(ours()));
    let name = surges[0].name.clone();
    let who = AuditRecord { action: "portal pause".into(), ..by("gateway", &ours().to_string()) };
    assert!(ledger.hold_surge(t(3), &name, Some(&ours()), t(600), &who).await.unwrap());
    assert!(ledger.surges(t(0), 1).await.unwrap().is_empty(), "each refusal counts once");
    let cause = only_cause(ledger, 4).await;
    assert_eq!(cause.pause.as_ref().map(|pause| &*pause.actor), Some("gateway"));
    receive(ledger, 5, 100..104).await;
    assert_eq!(send(ledger, 599, |_| accepted()).await, 0, "its scope is held");
    name
}

#[tokio::test]
async fn at_the_end_of_a_surges_hold_one_dossier_goes_first_and_the_others_follow_it() {
    let ledger = open_ledger().await;
    let name = surged(&ledger).await;
    assert_eq!(send(&ledger, 600, |_| accepted()).await, 1, "one probe");
    assert_eq!(send(&ledger, 601, |_| accepted()).await, 3);
    assert!(only_cause(&ledger, 602).await.pause.is_none());
    assert!(ledger.cause(t(602), &name).await.unwrap().unwrap().burst.is_some());
    let resumed = ledger.dossier(&code(100)).await.unwrap().remove(0);
    assert_eq!(resumed.packet_state, "accepted");
}

#[tokio::test]
async fn a_probe_that_is_refused_prolongs_the_hold_and_a_person_may_end_it() {
    let ledger = open_ledger().await;
    let name = surged(&ledger).await;
    assert_eq!(send(&ledger, 600, |_| dead()).await, 1);
    assert_eq!(send(&ledger, 601, |_| accepted()).await, 0);
    let pause = only_cause(&ledger, 602).await.pause.unwrap();
    assert!(pause.until.unwrap() > t(601 + 1000), "{pause:?}");
    let released = ledger.release_cause(t(603), &by("lan", &name)).await.unwrap();
    assert_eq!(released, CauseOutcome::Done { concerned: 1 });
    assert_eq!(send(&ledger, 604, |_| accepted()).await, 3);
}

#[tokio::test]
async fn a_surge_takes_nothing_from_a_person_who_paused_the_same_scope_before() {
    let ledger = open_ledger().await;
    receive(&ledger, 1, 0..20).await;
    send(&ledger, 2, |_| dead()).await;
    ledger.pause(t(3), &ours(), None, &by("lan", "procedure 1.000105")).await.unwrap();
    let name = only_cause(&ledger, 3).await.name;
    let who = by("gateway", &ours().to_string());
    assert!(!ledger.hold_surge(t(4), &name, Some(&ours()), t(600), &who).await.unwrap());
    let pauses = ledger.orders(t(5)).await.unwrap().pauses;
    assert_eq!((&*pauses[0].actor, pauses[0].until), ("lan", None));
}
