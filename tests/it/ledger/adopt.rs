//! Taking over from an older program: what awaits, what the portal's answers mean, what never goes.

use hoso_gateway::domain::adoption::Adoption;
use hoso_gateway::domain::entry::{EntryState as S, PortalKnown};
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::adoption::{
    AdoptedDossier, AdoptionBatch, AdoptionCounts, AdoptionOrder, AdoptionScope, AwaitingDossier,
};

use super::support::{
    SOURCE, TestLedger, accepted, audit, deleted, flipped, in_doubt, item, open_ledger, settled, t,
    unknown,
};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";
const C: &str = "H55.242-260126-0003";
/// 11:01:40 in Vietnam: steps of 08:00 lie before it, steps of 12:00 after it. A version below 100
/// is a change before it.
const CUT_OVER: Timestamp = t(100);

async fn taking_over() -> TestLedger {
    let ledger = open_ledger().await;
    ledger.set_start_from(SOURCE, Some(CUT_OVER)).await.unwrap();
    ledger
}

async fn open_run(ledger: &TestLedger, budget: u32) -> i64 {
    let order = AdoptionOrder { source: None, budget };
    ledger.open_adoption(t(200), &order, &audit("all")).await.unwrap()
}

fn answer(dossier: &AwaitingDossier, adoption: Adoption) -> AdoptedDossier {
    AdoptedDossier {
        entry_id: dossier.entry_id,
        dossier_id: dossier.dossier_id,
        cut_over: dossier.cut_over,
        filed_at_portal: dossier.filed_at_portal,
        asked: true,
        adoption,
        differs: Vec::new(),
        call: None,
        outcome: "test",
    }
}

/// The portal has (or does not have) everything that may be asked about.
async fn portal_says(ledger: &TestLedger, is_known: bool) -> AdoptionCounts {
    let run = open_run(ledger, 100).await;
    let chosen = ledger.claim_adoption(t(201), AdoptionScope::Run(run), 100).await.unwrap();
    let dossiers = chosen.dossiers.iter().map(|dossier| {
        let adoption = match (is_known, dossier.owed) {
            (true, false) => Adoption::Presumed,
            (true, true) => Adoption::Update,
            (false, _) => Adoption::Create,
        };
        answer(dossier, adoption)
    });
    let batch =
        AdoptionBatch { run: Some(run), dossiers: dossiers.collect(), ..AdoptionBatch::default() };
    let counts = ledger.settle_adoption(t(202), &batch).await.unwrap();
    ledger.end_adoption(t(203), run).await.unwrap();
    counts
}

async fn nothing_is_sent(ledger: &TestLedger) {
    assert!(ledger.claim(t(900), 9).await.is_empty());
    assert!(ledger.claim_steps_of(t(900), 9).await.is_empty());
}

#[tokio::test]
async fn a_dossier_from_before_the_cut_over_is_mapped_and_nothing_of_it_is_sent() {
    let ledger = taking_over().await;
    let counts = ledger.receive(t(150), item(A, 1, "one | 0800/2 0900/4")).await;
    assert_eq!((counts.awaiting, counts.ready, counts.steps_new), (1, 0, 2));
    assert_eq!(ledger.states(A).await, [S::Awaiting]);
    nothing_is_sent(&ledger).await;
    let standing = ledger.standing(t(150)).await.unwrap();
    assert_eq!(standing.dossiers.get(&S::Awaiting), Some(&1));
    assert_eq!(standing.steps.get("awaiting"), Some(&2));
    assert_eq!((standing.due_now, standing.oldest_open_at), (0, None));
    let awaiting = ledger.awaiting().await.unwrap();
    assert_eq!((awaiting[0].unchanged, awaiting[0].pressing), (1, 0));
    assert_eq!(ledger.keep_up(t(100_000)).await.stuck, 0, "nobody is late");
}

#[tokio::test]
async fn without_a_cut_over_nothing_awaits() {
    let ledger = open_ledger().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2")).await;
    assert_eq!(ledger.states(A).await, [S::Ready]);
    assert_eq!(ledger.view(A).await.adoption, None);
    // One that is set later is no concern of what was received before it.
    ledger.set_start_from(SOURCE, Some(CUT_OVER)).await.unwrap();
    ledger.receive(t(151), item(A, 2, "two | 0800/2")).await;
    assert_eq!(ledger.states(A).await, [S::Superseded, S::Ready]);
    assert!(ledger.awaiting().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dossier_born_after_the_cut_over_goes_at_once() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 101, "one | 1200/2")).await;
    assert_eq!(ledger.states(A).await, [S::Ready]);
    assert_eq!(ledger.view(A).await.adoption, None);
    // A step from before is enough to ask first.
    ledger.receive(t(150), item(B, 101, "one | 0800/2 1200/4")).await;
    assert_eq!(ledger.states(B).await, [S::Awaiting]);
    assert_eq!(ledger.awaiting().await.unwrap()[0].pressing, 1);
}

#[tokio::test]
async fn an_unchanged_dossier_that_the_portal_has_is_presumed_and_never_sent() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2 0900/5 1200/4")).await;
    let counts = portal_says(&ledger, true).await;
    assert_eq!((counts.known, counts.presumed_packets, counts.presumed_steps), (1, 1, 2));
    assert_eq!(ledger.states(A).await, [S::Presumed]);
    assert_eq!(
        ledger.step_states(A).await,
        "0800/2=presumed_sent 0900/5=presumed_sent 1200/4=pending"
    );
    let view = ledger.view(A).await;
    assert_eq!((view.portal_known, view.acked_at), (PortalKnown::Yes, None));
    assert_eq!(view.adoption.as_deref(), Some("known"));
    assert!(ledger.claim(t(900), 1).await.is_empty());
    // What comes after the cut-over is ours to send.
    ledger.ack_steps(t(900)).await;
    assert_eq!(
        ledger.step_states(A).await,
        "0800/2=presumed_sent 0900/5=presumed_sent 1200/4=acked"
    );
    let standing = ledger.standing(t(901)).await.unwrap();
    assert_eq!((standing.dossiers.get(&S::Presumed), standing.synchronised), (Some(&1), 0));
    assert!(ledger.awaiting().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_changes_after_adoption_takes_the_ordinary_way_as_an_update() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2")).await;
    portal_says(&ledger, true).await;
    // Only a step is new: the packet is still the one that is believed to be there.
    ledger.receive(t(300), item(A, 300, "one | 0800/2 1200/4")).await;
    assert_eq!(ledger.states(A).await, [S::Presumed, S::Presumed]);
    assert!(ledger.claim(t(300), 1).await.is_empty());
    ledger.ack_steps(t(301)).await;
    ledger.receive(t(400), item(A, 400, "two | 0800/2 1200/4")).await;
    let claimed = ledger.claim_one(t(400), 1).await;
    assert_eq!(claimed.portal_known, PortalKnown::Yes);
    ledger.settle_one(t(401), &claimed, 1, accepted()).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=presumed_sent 1200/4=acked");
    // Now the portal holds something else, so the old packet is news again.
    ledger.receive(t(500), item(A, 500, "one | 0800/2 1200/4")).await;
    assert_eq!(ledger.newest(A).await.state, S::Ready);
}

#[tokio::test]
async fn a_dossier_that_the_portal_does_not_have_is_owed_with_every_step() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2 0900/5 1200/4")).await;
    let counts = portal_says(&ledger, false).await;
    assert_eq!((counts.missing, counts.presumed_steps), (1, 0));
    let claimed = ledger.claim_one(t(300), 1).await;
    assert_eq!((claimed.portal_known, claimed.batch_max), (PortalKnown::No, Some(1)));
    ledger.settle_one(t(301), &claimed, 1, accepted()).await;
    ledger.ack_steps(t(302)).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=acked 0900/5=acked 1200/4=acked");
    assert_eq!(ledger.view(A).await.adoption.as_deref(), Some("unknown"));
}

#[tokio::test]
async fn a_change_since_the_cut_over_presses_and_is_sent_as_an_update() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2")).await;
    ledger.receive(t(150), item(B, 1, "one | 0800/2")).await;
    ledger.receive(t(160), item(A, 160, "two | 0800/2 1200/4")).await;
    assert_eq!(ledger.states(A).await, [S::Superseded, S::Awaiting]);
    let chosen = ledger.claim_adoption(t(161), AdoptionScope::Pressing, 10).await.unwrap();
    let codes: Vec<&str> = chosen.dossiers.iter().map(|dossier| &*dossier.ma_ho_so).collect();
    assert_eq!(codes, [A], "nothing waits for the other one");
    assert!(chosen.dossiers[0].owed);
    assert_eq!(ledger.keep_up(t(100_000)).await.stuck, 1, "a change waits for an answer");
    let batch = AdoptionBatch {
        dossiers: vec![answer(&chosen.dossiers[0], Adoption::Update)],
        ..AdoptionBatch::default()
    };
    ledger.settle_adoption(t(162), &batch).await.unwrap();
    let claimed = ledger.claim_one(t(162), 1).await;
    assert_eq!((claimed.portal_known, &*claimed.packet), (PortalKnown::Yes, "two"));
    ledger.settle_one(t(163), &claimed, 1, accepted()).await;
    ledger.ack_steps(t(164)).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=presumed_sent 1200/4=acked");
}

#[tokio::test]
async fn a_change_that_only_adds_a_step_sends_only_the_step() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2")).await;
    ledger.receive(t(160), item(A, 160, "one | 0800/2 1200/4")).await;
    let chosen = ledger.claim_adoption(t(161), AdoptionScope::Pressing, 10).await.unwrap();
    assert!(!chosen.dossiers[0].owed, "the packet is that of before the cut-over");
    portal_says(&ledger, true).await;
    assert!(ledger.claim(t(900), 1).await.is_empty());
    ledger.ack_steps(t(900)).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=presumed_sent 1200/4=acked");
}

#[tokio::test]
async fn a_step_that_the_source_adds_later_is_sent_even_when_it_is_dated_before_the_cut_over() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2")).await;
    ledger.receive(t(160), item(A, 160, "two | 0800/2 0900/4")).await;
    portal_says(&ledger, true).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=presumed_sent 0900/4=pending");
}

#[tokio::test]
async fn what_an_older_program_may_have_sent_of_a_step_that_changed_is_told() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2:old 0900/4")).await;
    ledger.receive(t(160), item(A, 160, "two | 0800/2:new")).await;
    let told = ledger.open_discrepancies(A).await;
    assert_eq!(told, ["step_changed 20260126080000/2", "step_vanished 20260126090000/4"]);
    let known = ledger.view(A).await.dossier_id;
    portal_says(&ledger, true).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=presumed_sent 0900/4=presumed_sent");
    assert_eq!(ledger.open_discrepancies(A).await.len(), 2, "dossier {known}");
    // Of a dossier that the portal never had, nothing differs.
    ledger.receive(t(150), item(B, 1, "one | 0800/2:old")).await;
    ledger.receive(t(160), item(B, 160, "two | 0800/2:new")).await;
    portal_says(&ledger, false).await;
    assert!(ledger.open_discrepancies(B).await.is_empty());
    // A presumed step is as fixed as an acknowledged one.
    ledger.receive(t(300), item(A, 300, "two | 0800/2:newest")).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=presumed_sent 0900/4=presumed_sent");
}

#[tokio::test]
async fn a_run_spends_its_budget_before_it_asks_and_the_next_goes_on_with_what_awaits() {
    let ledger = taking_over().await;
    for code in [A, B, C] {
        ledger.receive(t(150), item(code, 1, "one | 0800/2")).await;
    }
    let run = open_run(&ledger, 2).await;
    let scope = AdoptionScope::Run(run);
    let chosen = ledger.claim_adoption(t(201), scope, 10).await.unwrap();
    assert_eq!(chosen.dossiers.len(), 2);
    // The process dies here: the two look-ups count as made, and nothing was decided.
    assert!(ledger.claim_adoption(t(201), scope, 10).await.unwrap().spent);
    assert_eq!(ledger.adoption_run(Some(run)).await.unwrap().unwrap().look_ups, 2);
    assert_eq!(ledger.adoption_run(None).await.unwrap().unwrap().id, run);
    let counts = portal_says(&ledger, true).await;
    assert_eq!(counts.known, 3);
    let first = ledger.adoption_run(Some(run)).await.unwrap().unwrap();
    assert!(first.ended_at.is_some(), "a newer run ends the one that was open");
    assert!(ledger.adoption_run(None).await.unwrap().is_none());
    assert!(ledger.claim_adoption(t(300), scope, 10).await.unwrap().spent);
}

#[tokio::test]
async fn a_look_up_without_an_answer_leaves_everything_as_it_was_until_later() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2")).await;
    let run = open_run(&ledger, 5).await;
    let scope = AdoptionScope::Run(run);
    for (asked, left) in [(true, 1), (false, 1)] {
        let chosen = ledger.claim_adoption(t(1000), scope, 10).await.unwrap();
        let later = Adoption::Later { due_at: t(900), retries: 1, failure: unknown() };
        let dossiers = vec![AdoptedDossier { asked, ..answer(&chosen.dossiers[0], later) }];
        let batch = AdoptionBatch { run: Some(run), dossiers, ..AdoptionBatch::default() };
        ledger.settle_adoption(t(201), &batch).await.unwrap();
        assert_eq!(ledger.states(A).await, [S::Awaiting]);
        let spent = ledger.adoption_run(Some(run)).await.unwrap().unwrap().look_ups;
        assert_eq!(spent, left, "what did not leave is given back");
    }
    let early = ledger.claim_adoption(t(800), scope, 10).await.unwrap();
    assert!(early.dossiers.is_empty());
    assert_eq!(early.next_due_at, Some(t(900)));
    assert_eq!(ledger.newest(A).await.failure.unwrap().code, "portal.timeout");
    nothing_is_sent(&ledger).await;
}

#[tokio::test]
async fn an_answer_about_what_something_newer_replaced_is_only_put_on_record() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2")).await;
    let run = open_run(&ledger, 5).await;
    let chosen = ledger.claim_adoption(t(201), AdoptionScope::Run(run), 10).await.unwrap();
    ledger.receive(t(202), item(A, 202, "two | 0800/2")).await;
    let dossiers = vec![answer(&chosen.dossiers[0], Adoption::Presumed)];
    let batch = AdoptionBatch { run: Some(run), dossiers, ..AdoptionBatch::default() };
    let counts = ledger.settle_adoption(t(203), &batch).await.unwrap();
    assert_eq!((counts.overtaken, counts.known), (1, 0));
    assert_eq!(ledger.states(A).await, [S::Superseded, S::Awaiting]);
    assert_eq!(ledger.step_states(A).await, "0800/2=pending");
    assert_eq!(ledger.view(A).await.adoption.as_deref(), Some("awaiting"));
}

#[tokio::test]
async fn what_is_deleted_or_refused_is_not_asked_about_and_keeps_waiting() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "! bad")).await;
    ledger.receive(t(150), item(B, 1, "one | 0800/2")).await;
    ledger.receive(t(151), deleted(B, 2)).await;
    let awaiting = ledger.awaiting().await.unwrap().remove(0);
    assert_eq!((awaiting.askable(), awaiting.quarantined, awaiting.not_ours), (0, 1, 1));
    let run = open_run(&ledger, 5).await;
    let chosen = ledger.claim_adoption(t(201), AdoptionScope::Run(run), 10).await.unwrap();
    assert!(chosen.dossiers.is_empty());
    // Mended at the source after the cut-over, it is still from before it.
    ledger.receive(t(300), item(A, 300, "one | 0800/2")).await;
    assert_eq!(ledger.newest(A).await.state, S::Awaiting);
}

#[tokio::test]
async fn an_operator_who_asks_for_an_awaiting_dossier_is_served_after_the_look_at_the_portal() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/5")).await;
    ledger.resync(t(160), None, A, &audit(A)).await.unwrap();
    nothing_is_sent(&ledger).await;
    let chosen = ledger.claim_adoption(t(161), AdoptionScope::Pressing, 10).await.unwrap();
    assert!(chosen.dossiers[0].owed);
    portal_says(&ledger, true).await;
    assert_eq!(ledger.claim_one(t(300), 1).await.portal_known, PortalKnown::Yes);
    assert_eq!(ledger.step_states(A).await, "0800/5=presumed_sent");
}

#[tokio::test]
async fn moving_the_cut_over_concerns_only_what_was_not_asked_about_yet() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2 1200/4")).await;
    portal_says(&ledger, true).await;
    ledger.receive(t(150), item(B, 50, "one | 0800/2 1200/4")).await;
    ledger.set_start_from(SOURCE, Some(t(40))).await.unwrap();
    let awaiting = ledger.awaiting().await.unwrap().remove(0);
    assert_eq!((awaiting.pressing, awaiting.start_from), (1, Some(t(40))));
    assert_eq!(ledger.view(A).await.cut_over, Some(CUT_OVER));
    assert_eq!(ledger.view(B).await.cut_over, Some(t(40)));
    // Taken away, it stays for those that wait, and nobody new waits.
    ledger.set_start_from(SOURCE, None).await.unwrap();
    assert_eq!(ledger.view(B).await.cut_over, Some(t(40)));
    ledger.receive(t(160), item(C, 1, "one | 0800/2")).await;
    assert_eq!(ledger.states(C).await, [S::Ready]);
    assert_eq!(ledger.source_position(SOURCE, 0).await.unwrap().start_from, None);
}

#[tokio::test]
async fn a_portal_that_contradicts_its_own_look_up_gets_no_step_twice() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2 0900/5 1200/4")).await;
    portal_says(&ledger, false).await;
    // The first create is refused, because the dossier exists.
    let claimed = ledger.claim_one(t(300), 1).await;
    ledger.settle_one(t(301), &claimed, 1, flipped(t(301), PortalKnown::Yes)).await;
    assert_eq!(
        ledger.step_states(A).await,
        "0800/2=presumed_sent 0900/5=presumed_sent 1200/4=pending"
    );
    assert_eq!(ledger.view(A).await.adoption.as_deref(), Some("known"));
    let claimed = ledger.claim_one(t(302), 2).await;
    assert_eq!(claimed.portal_known, PortalKnown::Yes);
    ledger.settle_one(t(303), &claimed, 2, accepted()).await;
    ledger.ack_steps(t(304)).await;
    assert!(ledger.step_states(A).await.ends_with("1200/4=acked"));
}

#[tokio::test]
async fn a_create_without_an_answer_leaves_a_supplement_request_of_the_older_time_to_a_person() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2 0900/5 1200/4")).await;
    portal_says(&ledger, false).await;
    let claimed = ledger.claim_one(t(300), 1).await;
    ledger.settle_one(t(301), &claimed, 1, in_doubt(t(301))).await;
    ledger.read_back(t(302), flipped(t(302), PortalKnown::Yes)).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=pending 0900/5=held 1200/4=pending");
    let held = &ledger.view(A).await.steps[1];
    assert_eq!(held.failure.as_ref().unwrap().code, "steps.maybe_sent");
}

#[tokio::test]
async fn a_presumed_dossier_that_the_portal_lost_is_owed_again() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2 0900/5")).await;
    portal_says(&ledger, true).await;
    let id = ledger.view(A).await.dossier_id;
    assert_eq!(ledger.acked_packets(&[id]).await.unwrap(), [(id, "one".to_owned())]);
    assert_eq!(ledger.repair_missing(t(300), &[id], false).await.unwrap(), 1);
    ledger.map(t(301)).await;
    let claimed = ledger.claim_one(t(302), 1).await;
    assert_eq!(claimed.portal_known, PortalKnown::No);
    ledger.settle_one(t(303), &claimed, 1, accepted()).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=pending 0900/5=held");
}

#[tokio::test]
async fn every_run_has_one_row_in_the_audit() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one")).await;
    let order = AdoptionOrder { source: Some(SOURCE.into()), budget: 7 };
    ledger.open_adoption(t(200), &order, &audit(A)).await.unwrap();
    let rows = ledger.view(A).await.audit;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].result, "run 1 may ask the portal about 7 dossiers");
    let elsewhere = AdoptionOrder { source: Some("neighbour".into()), budget: 7 };
    let run = ledger.open_adoption(t(200), &elsewhere, &audit(B)).await.unwrap();
    let chosen = ledger.claim_adoption(t(201), AdoptionScope::Run(run), 10).await.unwrap();
    assert!(chosen.dossiers.is_empty(), "another source's run");
}

#[tokio::test]
async fn the_packet_that_is_sent_after_adoption_is_the_one_that_was_mapped_before() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2@portal")).await;
    let run = open_run(&ledger, 5).await;
    let chosen = ledger.claim_adoption(t(201), AdoptionScope::Run(run), 10).await.unwrap();
    assert!(chosen.dossiers[0].filed_at_portal);
    assert_eq!(chosen.dossiers[0].packet.as_deref(), Some("one"));
    let dossiers = vec![answer(&chosen.dossiers[0], Adoption::Create)];
    let batch = AdoptionBatch { run: Some(run), dossiers, ..AdoptionBatch::default() };
    ledger.settle_adoption(t(202), &batch).await.unwrap();
    let claimed = ledger.claim_one(t(203), 1).await;
    assert_eq!(claimed.portal_known, PortalKnown::Yes, "it was filed there");
    let again = settled(&claimed, Some(1), flipped(t(204), PortalKnown::No));
    assert_eq!(again.attempt, 1);
}

#[tokio::test]
async fn a_change_that_comes_late_is_owed_though_it_is_dated_before_the_cut_over() {
    let ledger = taking_over().await;
    ledger.receive(t(150), item(A, 1, "one | 0800/2")).await;
    // Committed late at the source: nobody knows whether the older program saw it.
    ledger.receive(t(160), item(A, 99, "two | 0800/2")).await;
    let chosen = ledger.claim_adoption(t(161), AdoptionScope::Pressing, 10).await.unwrap();
    assert!(chosen.dossiers[0].owed);
    portal_says(&ledger, true).await;
    assert_eq!(ledger.claim_one(t(300), 1).await.packet, "two");
}
