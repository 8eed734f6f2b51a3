//! Failures by their cause: a surge holds its scope and nothing else, and people act on all of it.

use std::time::Duration;

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::{Fault, ScriptedFault, Service};
use hoso_gateway::ledger::cause::{Cause, CauseOutcome, FoundAtPortal};
use hoso_gateway::ledger::record::{PauseScope, RetryScope};
use hoso_gateway::pipeline::problems::{GATEWAY, mark_sent, release};
use hoso_gateway::pipeline::resync::retry_problems;

use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;

const POISONED: &str = "2.000815";
const ACTOR: &str = "thu-nghiem";

fn code(serial: u32) -> String {
    format!("H55.242-260126-{serial:04}")
}

async fn causes(gateway: &TestGateway) -> Vec<Cause> {
    gateway.context.ledger.causes(gateway.context.clock.now()).await.unwrap()
}

/// Twelve dossiers of a procedure that the portal refuses, and twelve of another one behind them.
async fn poisoned() -> TestGateway {
    let papers: Vec<Paper> = (1..=24)
        .map(|serial| {
            let paper = Paper::of(&code(serial));
            if serial <= 12 { paper.with("MaTTHC", POISONED) } else { paper }
        })
        .collect();
    let gateway = Story::of(0)
        .set("push", "dossiers_per_call", "1")
        .set("push", "concurrency", "1")
        .set("push", "claim_limit", "4")
        .set("problems", "burst", "5")
        .set("problems", "hold_ms", "600000")
        .start_with(&papers)
        .await;
    for serial in 1..=12 {
        gateway.portal.refuse(&code(serial), "thủ tục không còn hiệu lực");
    }
    gateway.pull_and_map().await;
    gateway.push().await;
    gateway
}

#[tokio::test]
async fn a_poisoned_procedure_is_held_after_a_few_refusals_and_delays_no_other() {
    let gateway = poisoned().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 12, "the other procedure");
    let dead = gateway.count(EntryState::Dead).await;
    assert!((5..=9).contains(&dead), "{dead} of 12 were refused before the hold");
    let standing = gateway.standing().await;
    assert_eq!(standing.set_aside, 12 - dead);
    let pause = &standing.sending_pauses[0];
    assert_eq!((&pause.scope, &*pause.actor), (&PauseScope::Procedure(POISONED.into()), GATEWAY));
    let [cause] = causes(&gateway).await.try_into().unwrap();
    assert_eq!((cause.open, cause.procedures), (dead, 1));
    assert_eq!(pause.cause.as_ref(), Some(&cause.name));
    assert!(pause.reason.contains(&cause.name), "{}", pause.reason);

    // The portal is mended. At the hold's end one dossier goes first, and the others follow.
    for serial in 1..=12 {
        gateway.portal.accept(&code(serial));
    }
    gateway.advance(Duration::from_mins(9)).await;
    gateway.push().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 12);
    gateway.advance(Duration::from_mins(2)).await;
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 24 - dead);
    assert!(gateway.standing().await.sending_pauses.is_empty());
    // What was refused for good waits for a person, who takes the whole cause.
    let scope = RetryScope {
        cause: Some(cause.name.clone()),
        quarantined: true,
        dead: true,
        held: true,
        ..RetryScope::default()
    };
    let back = retry_problems(&gateway.context, &scope, ACTOR, "the portal is mended").await;
    assert_eq!(back.unwrap(), dead);
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 24);
    assert!(causes(&gateway).await.is_empty());
    gateway.end().await;
}

#[tokio::test]
async fn a_person_ends_what_the_gateway_holds_by_the_name_of_its_cause() {
    let gateway = poisoned().await;
    let dead = gateway.count(EntryState::Dead).await;
    for serial in 1..=12 {
        gateway.portal.accept(&code(serial));
    }
    let [cause] = causes(&gateway).await.try_into().unwrap();
    let released = release(&gateway.context, &cause.name, ACTOR, "a test dossier went through");
    assert_eq!(released.await.unwrap(), CauseOutcome::Done { concerned: 1 });
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 24 - dead);
    gateway.end().await;
}

#[tokio::test]
async fn refusals_from_everywhere_hold_nothing() {
    let papers: Vec<Paper> = (1..=8)
        .map(|serial| {
            // Of two procedures and two agencies.
            let agency = if serial % 4 < 2 { "H55.242" } else { "H55.243" };
            let paper = Paper::of(&format!("{agency}-260126-{serial:04}"));
            if serial % 2 == 0 { paper.with("MaTTHC", POISONED) } else { paper }
        })
        .collect();
    let gateway = Story::of(0)
        .set("push", "dossiers_per_call", "1")
        .set("problems", "burst", "8")
        .start_with(&papers)
        .await;
    for paper in &papers {
        gateway.portal.refuse(&paper.code(), "dữ liệu không hợp lệ");
    }
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Dead).await, 8);
    assert!(gateway.standing().await.sending_pauses.is_empty());
    let [cause] = causes(&gateway).await.try_into().unwrap();
    assert!(cause.burst.is_some_and(|burst| burst.scope.is_none()), "it was told");
    gateway.end().await;
}

#[tokio::test]
async fn a_held_step_that_a_person_found_at_the_portal_is_not_sent_again() {
    let paper = Paper::of(&code(1)).with("TrangThaiHoSo", "5").steps(&[("20260126083000", "5")]);
    let gateway = Story::of(0).start_with(&[paper]).await;
    let lost = ScriptedFault::next(Fault::ApplyThenDrop).of_service("CapNhatTienDoHoSoMC");
    gateway.portal.inject(lost);
    gateway.settle().await;
    assert_eq!(gateway.step_states(&code(1)).await, ["held"]);
    let found = FoundAtPortal::Dossier { ma_ho_so: code(1), step: None };
    let marked = mark_sent(&gateway.context, &found, ACTOR, "seen at the portal").await.unwrap();
    assert_eq!(marked, CauseOutcome::Done { concerned: 1 });
    gateway.advance(Duration::from_hours(1)).await;
    gateway.settle().await;
    assert_eq!(gateway.step_states(&code(1)).await, ["presumed_sent"]);
    assert_eq!(gateway.calls(Service::Steps).len(), 1);
    let dossier = gateway.dossier(&code(1)).await;
    assert_eq!(dossier.steps[0].marked.as_ref().map(|mark| &*mark.by), Some(ACTOR));
    assert_eq!(dossier.audit.last().map(|act| &*act.action), Some("problems mark-sent"));
    gateway.end().await;
}
