//! Progress steps: what is owed, what travels together, what is never rewritten.

use hoso_gateway::domain::entry::{EntryState as S, PortalKnown};
use hoso_gateway::domain::failure::Disposition;
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::domain::step::StepState;
use hoso_gateway::ledger::LedgerError;
use hoso_gateway::ledger::record::{
    ClaimedSteps, PullCommit, RetryScope, SettleBatch, SettledSteps,
};

use super::support::{
    TestLedger, accepted, audit, claiming, dead, deleted, failure, item, open_ledger, page,
    settled_steps, t, upkeep_policy,
};

const A: &str = "H55.242-260126-0001";

fn names(lane: &ClaimedSteps) -> Vec<String> {
    let names = lane.steps.iter().map(|step| step.identity.to_string());
    names.map(|name| name[8..].to_owned()).collect()
}

/// A dossier whose packet is acknowledged and whose steps are owed.
async fn delivered(text: &str) -> TestLedger {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, text)).await;
    ledger
}

async fn claim_one(ledger: &TestLedger, at: i64, token: i64) -> ClaimedSteps {
    let mut claimed = ledger.claim_steps_of(t(at), token).await;
    assert_eq!(claimed.len(), 1, "{claimed:?}");
    claimed.remove(0)
}

/// The call's outcome is not known, and policy says to hold its steps.
fn held_in_doubt(lane: &ClaimedSteps, token: i64) -> SettledSteps {
    SettledSteps {
        failure: Some(failure("steps.outcome_unknown", Disposition::Ambiguous)),
        ..settled_steps(lane, token, t(5), StepState::Held)
    }
}

#[tokio::test]
async fn steps_wait_for_their_packet() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one | 0800/2 0900/4")).await;
    assert!(ledger.claim_steps_of(t(1), 1).await.is_empty());
    let claimed = ledger.claim_one(t(1), 2).await;
    assert!(ledger.claim_steps_of(t(1), 3).await.is_empty());
    ledger.settle_one(t(2), &claimed, 2, accepted()).await;
    let lane = claim_one(&ledger, 2, 4).await;
    assert_eq!(names(&lane), ["080000/2", "090000/4"]);
    assert_eq!(ledger.step_states(A).await, "0800/2=leased 0900/4=leased");
}

#[tokio::test]
async fn steps_of_a_dossier_whose_newest_packet_is_refused_wait() {
    let ledger = delivered("one | 0800/2").await;
    ledger.receive(t(2), item(A, 2, "two | 0800/2")).await;
    let claimed = ledger.claim_one(t(2), 1).await;
    ledger.settle_one(t(2), &claimed, 1, dead()).await;
    assert!(ledger.claim_steps_of(t(3), 2).await.is_empty());
}

#[tokio::test]
async fn a_call_carries_at_most_its_number_of_steps_in_time_order() {
    let text = "one | 1000/4 0800/2 0900/4 1100/4 1100/4#1";
    let ledger = delivered(text).await;
    let claimed = ledger.claim_steps(t(2), claiming(1, t(2), 10), 3).await.unwrap();
    assert_eq!(names(&claimed[0]), ["080000/2", "090000/4", "100000/4"]);
    let acked = settled_steps(&claimed[0], 1, t(2), StepState::Acked);
    let counts = ledger.settle_steps(t(2), vec![acked]).await;
    assert_eq!(counts.steps_acked, 3);
    let claimed = ledger.claim_steps(t(3), claiming(2, t(3), 10), 3).await.unwrap();
    assert_eq!(names(&claimed[0]), ["110000/4", "110000/4#2"]);
}

#[tokio::test]
async fn a_request_for_a_supplement_travels_alone() {
    let ledger = delivered("one | 0800/2 0900/4 1000/5 1100/5 1200/4").await;
    let mut calls = Vec::new();
    for token in 1..=4 {
        let lane = claim_one(&ledger, 2, token).await;
        calls.push(names(&lane).join(" "));
        let acked = settled_steps(&lane, token, t(2), StepState::Acked);
        ledger.settle_steps(t(2), vec![acked]).await;
    }
    assert_eq!(calls, ["080000/2 090000/4", "100000/5", "110000/5", "120000/4"]);
}

#[tokio::test]
async fn after_a_refused_call_steps_go_one_by_one_until_settled_otherwise() {
    let ledger = delivered("one | 0800/2 0900/4").await;
    let lane = claim_one(&ledger, 2, 1).await;
    let refused = SettledSteps { alone: true, ..settled_steps(&lane, 1, t(5), StepState::Pending) };
    ledger.settle_steps(t(2), vec![refused]).await;
    assert!(ledger.claim_steps_of(t(4), 2).await.is_empty(), "not due");
    let lane = claim_one(&ledger, 5, 2).await;
    assert!(lane.alone);
    assert_eq!((names(&lane), lane.retries), (vec!["080000/2".into()], 1));
    let acked = settled_steps(&lane, 2, t(5), StepState::Acked);
    ledger.settle_steps(t(5), vec![acked]).await;
    let lane = claim_one(&ledger, 6, 3).await;
    assert_eq!(names(&lane), ["090000/4"]);
}

#[tokio::test]
async fn the_classes_share_a_claim_and_in_each_the_earliest_goes_first() {
    let ledger = open_ledger().await;
    let lanes = [("3", Priority::Live, 3), ("2", Priority::Backfill, 1), ("1", Priority::Live, 2)];
    for (code, priority, at) in lanes {
        let commit = PullCommit { priority, ..page(t(at), vec![item(code, 1, "packet | 0800/2")]) };
        ledger.commit_pull(&commit).await.unwrap();
        ledger.map(t(at)).await;
    }
    ledger.accept_all(t(5)).await;
    let first = ledger.claim_steps(t(5), claiming(1, t(5), 2), 10).await.unwrap();
    let codes: Vec<&str> = first.iter().map(|lane| &*lane.ma_ho_so).collect();
    assert_eq!(codes, ["1", "2"]);
    assert_eq!(claim_one(&ledger, 5, 2).await.ma_ho_so, "3");
}

#[tokio::test]
async fn a_step_that_vanishes_before_it_was_sent_is_never_sent() {
    let ledger = delivered("one | 0800/2 0900/4").await;
    let counts = ledger.receive(t(2), item(A, 2, "one | 0800/2 1000/9")).await;
    assert_eq!((counts.steps_new, counts.discrepancies), (1, 0));
    assert_eq!(ledger.step_states(A).await, "0800/2=pending 0900/4=withdrawn 1000/9=pending");
    assert_eq!(names(&claim_one(&ledger, 3, 1).await), ["080000/2", "100000/9"]);
}

#[tokio::test]
async fn a_step_that_comes_back_is_owed_again() {
    let ledger = delivered("one | 0800/2").await;
    ledger.receive(t(2), item(A, 2, "one")).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=withdrawn");
    ledger.receive(t(3), item(A, 3, "one | 0800/2:better")).await;
    let lane = claim_one(&ledger, 4, 1).await;
    assert!(lane.steps[0].body.contains("better"));
}

#[tokio::test]
async fn a_step_that_changes_before_it_was_sent_is_sent_as_it_is_now() {
    let ledger = delivered("one | 0800/2:draft").await;
    let counts = ledger.receive(t(2), item(A, 2, "one | 0800/2:final")).await;
    assert_eq!((counts.steps_new, counts.discrepancies), (0, 0));
    let lane = claim_one(&ledger, 3, 1).await;
    assert!(lane.steps[0].body.contains("final"));
}

#[tokio::test]
async fn an_acknowledged_step_that_changes_or_vanishes_is_a_discrepancy_never_a_rewrite() {
    let ledger = delivered("one | 0800/2 0900/4").await;
    ledger.ack_steps(t(2)).await;
    let counts = ledger.receive(t(3), item(A, 2, "one | 0800/2:other")).await;
    assert_eq!((counts.unchanged, counts.discrepancies), (1, 2));
    assert_eq!(ledger.step_states(A).await, "0800/2=acked 0900/4=acked");
    assert_eq!(
        ledger.open_discrepancies(A).await,
        ["step_changed 20260126080000/2", "step_vanished 20260126090000/4"]
    );
    assert!(ledger.claim_steps_of(t(4), 1).await.is_empty());
    // Seen again, not opened again.
    ledger.receive(t(5), item(A, 3, "one | 0800/2:third")).await;
    assert_eq!(ledger.open_discrepancies(A).await.len(), 2);
}

#[tokio::test]
async fn a_step_in_a_call_that_is_out_is_not_rewritten_either() {
    let ledger = delivered("one | 0800/2 0900/4").await;
    let lane = claim_one(&ledger, 2, 1).await;
    let counts = ledger.receive(t(3), item(A, 2, "one | 0800/2:other 1000/9")).await;
    assert_eq!((counts.discrepancies, counts.steps_new), (2, 1));
    let acked = settled_steps(&lane, 1, t(4), StepState::Acked);
    ledger.settle_steps(t(4), vec![acked]).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=acked 0900/4=acked 1000/9=pending");
    assert_eq!(names(&claim_one(&ledger, 5, 2).await), ["100000/9"]);
}

#[tokio::test]
async fn a_held_step_of_unknown_outcome_is_never_replaced() {
    let ledger = delivered("one | 0800/5").await;
    let lane = claim_one(&ledger, 2, 1).await;
    let counts = ledger.settle_steps(t(2), vec![held_in_doubt(&lane, 1)]).await;
    assert_eq!(counts.steps_held, 1);
    let counts = ledger.receive(t(3), item(A, 2, "one | 0800/5:other")).await;
    assert_eq!(counts.discrepancies, 1);
    assert_eq!(ledger.step_states(A).await, "0800/5=held");
    assert!(ledger.claim_steps_of(t(9), 2).await.is_empty());
}

#[tokio::test]
async fn a_held_step_that_was_refused_is_replaced_by_corrected_content() {
    let ledger = delivered("one | 0800/2:wrong").await;
    let lane = claim_one(&ledger, 2, 1).await;
    let refused = settled_steps(&lane, 1, t(5), StepState::Held);
    ledger.settle_steps(t(2), vec![refused]).await;
    ledger.receive(t(3), item(A, 2, "one | 0800/2:wrong 0900/4")).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=held 0900/4=pending");
    let counts = ledger.receive(t(4), item(A, 3, "one | 0800/2:right 0900/4")).await;
    assert_eq!(counts.discrepancies, 0);
    assert_eq!(ledger.step_states(A).await, "0800/2=pending 0900/4=pending");
    let lane = claim_one(&ledger, 4, 2).await;
    assert!(lane.steps[0].body.contains("right"));
}

#[tokio::test]
async fn an_operator_may_send_a_held_step_again() {
    let ledger = delivered("one | 0800/5 0900/4").await;
    let lane = claim_one(&ledger, 2, 1).await;
    ledger.settle_steps(t(2), vec![held_in_doubt(&lane, 1)]).await;
    // Also while another call of the dossier is out.
    let other = claim_one(&ledger, 6, 2).await;
    let scope = RetryScope { held: true, ma_ho_so: vec![A.into()], ..RetryScope::default() };
    assert_eq!(ledger.retry(t(6), &scope, &audit(A)).await.unwrap(), 1);
    let acked = settled_steps(&other, 2, t(7), StepState::Acked);
    ledger.settle_steps(t(7), vec![acked]).await;
    assert_eq!(ledger.step_states(A).await, "0800/5=pending 0900/4=acked");
    assert_eq!(names(&claim_one(&ledger, 8, 3).await), ["080000/5"]);
}

#[tokio::test]
async fn a_settlement_of_steps_needs_their_lease() {
    let ledger = delivered("one | 0800/2").await;
    let lane = claim_one(&ledger, 2, 1).await;
    let forged = settled_steps(&lane, 99, t(2), StepState::Acked);
    let counts = ledger.settle_steps(t(2), vec![forged]).await;
    assert_eq!((counts.steps_acked, counts.lost_leases), (0, 1));
    let view = ledger.view(A).await;
    assert_eq!(view.steps[0].state, "leased");
    assert!(view.lane_busy);
    let detail = view.attempts.last().unwrap().detail.clone().unwrap();
    assert!(detail.contains("20260126080000/2"), "{detail}");
    assert!(detail.contains("lease"), "{detail}");
}

#[tokio::test]
async fn a_settlement_must_name_the_steps_of_its_call() {
    let ledger = delivered("one | 0800/2 0900/4").await;
    let lane = claim_one(&ledger, 2, 1).await;
    let mut partial = settled_steps(&lane, 1, t(2), StepState::Acked);
    partial.steps.pop();
    let batch = SettleBatch { steps: vec![partial], ..SettleBatch::default() };
    let refusal = ledger.settle(t(2), &batch).await.unwrap_err();
    assert!(matches!(refusal, LedgerError::Conflict(_)), "{refusal:?}");
    assert_eq!(ledger.step_states(A).await, "0800/2=leased 0900/4=leased");
}

#[tokio::test]
async fn an_attempt_of_steps_names_them_and_counts() {
    let ledger = delivered("one | 0800/2 0900/4").await;
    for token in 1..=2 {
        let lane = claim_one(&ledger, token, token).await;
        let back = settled_steps(&lane, token, t(token), StepState::Pending);
        ledger.settle_steps(t(token), vec![back]).await;
    }
    let view = ledger.view(A).await;
    let attempts: Vec<(u32, &str)> = view
        .attempts
        .iter()
        .filter(|attempt| attempt.kind == "steps")
        .map(|attempt| (attempt.number, attempt.detail.as_deref().unwrap()))
        .collect();
    let both = "20260126080000/2 20260126090000/4";
    assert_eq!(attempts, [(1, both), (2, both)]);
    assert_eq!(view.steps_failure.unwrap().code, "portal.refused");
}

#[tokio::test]
async fn a_portal_that_lost_the_dossier_gets_the_packet_before_any_step() {
    let ledger = delivered("one | 0800/2 0900/4").await;
    ledger.ack_steps(t(2)).await;
    ledger.receive(t(3), item(A, 2, "one | 0800/2 0900/4 1000/9")).await;
    let lane = claim_one(&ledger, 4, 1).await;
    let lost = SettledSteps {
        portal_lost_dossier: true,
        ..settled_steps(&lane, 1, t(5), StepState::Pending)
    };
    ledger.settle_steps(t(4), vec![lost]).await;
    assert!(ledger.claim_steps_of(t(60), 2).await.is_empty());
    assert_eq!(ledger.states(A).await, [S::Accepted, S::Unchanged, S::Received]);
    ledger.map(t(6)).await;
    let claimed = ledger.claim_one(t(6), 3).await;
    assert_eq!(claimed.portal_known, PortalKnown::No);
    ledger.settle_one(t(7), &claimed, 3, accepted()).await;
    let lane = claim_one(&ledger, 8, 4).await;
    assert_eq!(names(&lane), ["080000/2", "090000/4", "100000/9"]);
}

#[tokio::test]
async fn a_step_lease_that_ran_out_holds_supplements_and_returns_the_rest() {
    // policy, states after a call with a status 4 and one with a status 5 ran out
    for (resend, expected) in [(false, "0800/4=pending"), (true, "0800/4=pending")] {
        let ledger = delivered("one | 0800/4").await;
        claim_one(&ledger, 2, 1).await;
        let policy = hoso_gateway::ledger::record::UpkeepPolicy {
            resend_unknown_supplement: resend,
            ..upkeep_policy()
        };
        let counts = ledger.upkeep(t(62), &policy).await.unwrap();
        assert_eq!((counts.step_leases_expired, counts.steps_held), (1, 0));
        assert_eq!(ledger.step_states(A).await, expected);
        let lane = claim_one(&ledger, 62, 2).await;
        assert_eq!(lane.retries, 1);
    }
    for (resend, expected, held) in [(false, "0800/5=held", 1), (true, "0800/5=pending", 0)] {
        let ledger = delivered("one | 0800/5").await;
        claim_one(&ledger, 2, 1).await;
        let policy = hoso_gateway::ledger::record::UpkeepPolicy {
            resend_unknown_supplement: resend,
            ..upkeep_policy()
        };
        let almost = ledger.upkeep(t(61), &policy).await.unwrap();
        assert_eq!(almost.step_leases_expired, 0);
        let counts = ledger.upkeep(t(62), &policy).await.unwrap();
        assert_eq!((counts.step_leases_expired, counts.steps_held), (1, held));
        let view = ledger.view(A).await;
        assert!(!view.lane_busy);
        assert_eq!(ledger.step_states(A).await, expected);
        assert_eq!(ledger.claim_steps_of(t(63), 2).await.len(), usize::from(resend));
        let attempt = view.attempts.last().unwrap();
        assert_eq!((&*attempt.kind, &*attempt.outcome), ("steps", "unknown"));
        assert_eq!(attempt.detail.as_deref(), Some("20260126080000/5"));
    }
}

#[tokio::test]
async fn steps_of_a_lease_that_ran_out_are_settled_by_nobody_else() {
    let ledger = delivered("one | 0800/4").await;
    let lane = claim_one(&ledger, 2, 1).await;
    ledger.keep_up(t(100)).await;
    let second = claim_one(&ledger, 101, 2).await;
    let late = settled_steps(&lane, 1, t(102), StepState::Acked);
    let counts = ledger.settle_steps(t(102), vec![late]).await;
    assert_eq!((counts.steps_acked, counts.lost_leases), (0, 1));
    let acked = settled_steps(&second, 2, t(103), StepState::Acked);
    let counts = ledger.settle_steps(t(103), vec![acked]).await;
    assert_eq!(counts.steps_acked, 1);
}

/// How many steps the ledger says are still to go.
async fn owed(ledger: &TestLedger, at: i64) -> u64 {
    let steps = ledger.standing(t(at)).await.unwrap().steps;
    ["pending", "leased"].iter().filter_map(|state| steps.get(*state)).sum()
}

#[tokio::test]
async fn steps_that_are_out_when_the_source_closes_their_dossier_wait_for_nothing_afterwards() {
    // What becomes of the call: an answer that sends them back, or a lease that runs out.
    for is_settled in [true, false] {
        let ledger = delivered("one | 0800/2 0900/4 1000/5 1100/4").await;
        let lane = claim_one(&ledger, 2, 1).await;
        assert_eq!(names(&lane), ["080000/2", "090000/4"]);
        ledger.receive(t(3), deleted(A, 2)).await;
        assert_eq!(owed(&ledger, 3).await, 2, "they are out");
        if is_settled {
            let back = settled_steps(&lane, 1, t(5), StepState::Pending);
            ledger.settle_steps(t(4), vec![back]).await;
        } else {
            ledger.keep_up(t(62)).await;
        }
        let all = "0800/2=withdrawn 0900/4=withdrawn 1000/5=withdrawn 1100/4=withdrawn";
        assert_eq!(ledger.step_states(A).await, all);
        assert_eq!(owed(&ledger, 63).await, 0);
        assert!(ledger.claim_steps_of(t(63), 2).await.is_empty());

        // The source has it again: they go, with the rest.
        ledger.receive(t(64), item(A, 3, "one | 0800/2 0900/4")).await;
        assert_eq!(owed(&ledger, 64).await, 2);
        ledger.accept_all(t(64)).await;
        assert_eq!(names(&claim_one(&ledger, 65, 3).await), ["080000/2", "090000/4"]);
    }
}

#[tokio::test]
async fn a_held_step_of_a_dossier_that_the_source_closed_is_not_owed_when_it_is_released() {
    let ledger = delivered("one | 0800/5 0900/4").await;
    let lane = claim_one(&ledger, 2, 1).await;
    ledger.settle_steps(t(2), vec![held_in_doubt(&lane, 1)]).await;
    ledger.receive(t(3), deleted(A, 2)).await;
    let scope = RetryScope { held: true, ma_ho_so: vec![A.into()], ..RetryScope::default() };
    assert_eq!(ledger.retry(t(6), &scope, &audit(A)).await.unwrap(), 0, "nothing is on its way");
    assert_eq!(ledger.step_states(A).await, "0800/5=withdrawn 0900/4=withdrawn");
    assert_eq!(owed(&ledger, 6).await, 0);
}

#[tokio::test]
async fn two_outcomes_of_one_dossiers_steps_in_one_batch_cost_no_other_dossier_its_outcome() {
    let ledger = delivered("one | 0800/4 0900/4").await;
    ledger.deliver(t(1), item("H55.242-260126-0002", 1, "two | 0800/2")).await;
    let first = ledger.claim_steps_of(t(2), 1).await;
    assert_eq!(first.len(), 2);
    // Nothing could be written for longer than the lease: the same steps go again, and are answered.
    ledger.keep_up(t(100)).await;
    let second = ledger.claim_steps_of(t(101), 2).await;
    let settled = |lanes: &[ClaimedSteps], token| -> Vec<SettledSteps> {
        let acked = |lane| settled_steps(lane, token, t(102), StepState::Acked);
        lanes.iter().map(acked).collect()
    };
    let both = [settled(&first, 1), settled(&second, 2)].concat();
    let counts = ledger.settle_steps(t(102), both).await;
    assert_eq!((counts.steps_acked, counts.lost_leases), (3, 2));
    assert_eq!(ledger.step_states(A).await, "0800/4=acked 0900/4=acked");
    let details = ledger.view(A).await.attempts.into_iter().filter_map(|attempt| attempt.detail);
    let late = details.filter(|detail| detail.contains("after its lease had run out")).count();
    assert_eq!(late, 1, "each call has its attempt, and one came late");
}
