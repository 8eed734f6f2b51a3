//! What mapping may change, and what it must leave alone.

use hoso_gateway::domain::entry::{EntryState as S, PortalKnown};
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::ledger::record::{MapOutcome, PullCommit, ReceivedItem};
use hoso_gateway::ledger::view::ProblemFilter;

use super::support::{
    accepted, again, audit, dead, deleted, in_doubt, item, mapped, open_ledger, page, t,
};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";

#[tokio::test]
async fn a_refused_newer_revision_never_kills_a_valid_older_one() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "good")).await;
    ledger.receive(t(2), item(A, 2, "! bad")).await;
    assert_eq!(ledger.states(A).await, [S::Ready, S::Quarantined]);
    assert_eq!(ledger.claim_one(t(3), 1).await.packet, "good");
    let entry = ledger.newest(A).await;
    assert_eq!(entry.diagnostics.len(), 3, "all findings, not the first");
}

#[tokio::test]
async fn a_ready_revision_takes_the_place_of_everything_older_that_waits() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    ledger.settle_one(t(1), &claimed, 1, dead()).await;
    ledger.receive(t(2), item(A, 2, "! two")).await;
    ledger.pull(t(3), vec![item(A, 3, "three")]).await;
    assert_eq!(ledger.states(A).await, [S::Dead, S::Quarantined, S::Received]);
    let counts = ledger.map(t(3)).await;
    assert_eq!((counts.ready, counts.superseded), (1, 2));
    let counts = ledger.receive(t(4), item(A, 4, "four")).await;
    assert_eq!((counts.ready, counts.superseded), (1, 1));
    let view = ledger.view(A).await;
    let states: Vec<S> = view.entries.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [S::Superseded, S::Superseded, S::Superseded, S::Ready]);
    assert_eq!(view.entries[2].superseded_by, Some(view.entries[3].id));
    assert_eq!(ledger.claim_one(t(5), 1).await.packet, "four");
}

#[tokio::test]
async fn a_packet_that_the_portal_has_acknowledged_is_not_sent_again() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "same")).await;
    let counts = ledger.receive(t(2), item(A, 2, "same | 0800/2")).await;
    assert_eq!((counts.unchanged, counts.steps_new), (1, 1));
    assert_eq!(ledger.states(A).await, [S::Accepted, S::Unchanged]);
    assert!(ledger.claim(t(3), 1).await.is_empty());
    assert_eq!(ledger.claim_steps_of(t(3), 1).await.len(), 1);
}

#[tokio::test]
async fn nothing_is_called_unchanged_while_a_call_is_out() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one")).await;
    ledger.receive(t(2), item(A, 2, "two")).await;
    let claimed = ledger.claim_one(t(2), 7).await;
    // Back to what the portal has acknowledged; but who knows what it will hold in a moment.
    let counts = ledger.receive(t(3), item(A, 3, "one")).await;
    assert_eq!((counts.ready, counts.unchanged), (1, 0));
    ledger.settle_one(t(4), &claimed, 7, accepted()).await;
    assert_eq!(ledger.claim_one(t(5), 8).await.packet, "one");
}

#[tokio::test]
async fn nothing_is_called_unchanged_after_a_call_whose_outcome_was_never_learnt() {
    for ends_dead in [false, true] {
        let ledger = open_ledger().await;
        ledger.deliver(t(1), item(A, 1, "one")).await;
        ledger.receive(t(2), item(A, 2, "two")).await;
        let claimed = ledger.claim_one(t(2), 7).await;
        ledger.settle_one(t(3), &claimed, 7, in_doubt(t(3))).await;
        // The portal has the dossier; with which of the two packets, it does not say.
        let next = if ends_dead { dead() } else { again(t(100), 2) };
        ledger.read_back(t(4), next).await;
        let counts = ledger.receive(t(5), item(A, 3, "one")).await;
        assert_eq!((counts.ready, counts.unchanged), (1, 0), "{ends_dead}");
        assert_eq!(ledger.claim_one(t(6), 8).await.packet, "one");
    }
}

#[tokio::test]
async fn nothing_is_called_unchanged_after_a_lease_ran_out() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one")).await;
    ledger.receive(t(2), item(A, 2, "two")).await;
    ledger.claim_one(t(2), 7).await;
    ledger.keep_up(t(100)).await;
    ledger.read_back(t(101), again(t(500), 2)).await;
    let counts = ledger.receive(t(102), item(A, 3, "one")).await;
    assert_eq!((counts.ready, counts.unchanged), (1, 0));
}

#[tokio::test]
async fn a_resync_sends_what_is_unchanged() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "same")).await;
    ledger.resync(t(2), None, A, &audit(A)).await.unwrap();
    let counts = ledger.map(t(2)).await;
    assert_eq!((counts.ready, counts.unchanged), (1, 0));
    assert_eq!(ledger.claim_one(t(2), 1).await.portal_known, PortalKnown::Yes);
}

#[tokio::test]
async fn a_deletion_takes_what_waits_with_it_and_is_a_discrepancy_if_the_portal_has_the_dossier() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one | 0800/2 0900/4")).await;
    ledger.receive(t(2), item(A, 2, "two | 0800/2 0900/4")).await;
    let counts = ledger.receive(t(3), deleted(A, 3)).await;
    assert_eq!((counts.not_ours, counts.superseded, counts.discrepancies), (1, 1, 1));
    assert_eq!(ledger.states(A).await, [S::Accepted, S::Superseded, S::NotOurs]);
    assert_eq!(ledger.open_discrepancies(A).await, ["deleted_at_source"]);
    assert_eq!(ledger.step_states(A).await, "0800/2=withdrawn 0900/4=withdrawn");
    assert!(ledger.claim(t(4), 1).await.is_empty());
    assert!(ledger.claim_steps_of(t(4), 1).await.is_empty());

    // The source takes it back.
    ledger.deliver(t(5), item(A, 4, "two | 0800/2 0900/4")).await;
    assert_eq!(ledger.open_discrepancies(A).await, [""; 0]);
    assert_eq!(ledger.step_states(A).await, "0800/2=pending 0900/4=pending");
}

#[tokio::test]
async fn a_deletion_before_anything_was_sent_is_no_discrepancy() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let counts = ledger.receive(t(2), deleted(A, 2)).await;
    assert_eq!((counts.superseded, counts.discrepancies), (1, 0));
    let counts = ledger.receive(t(2), item(B, 1, "filed there @portal")).await;
    assert_eq!(counts.ready, 1);
    let counts = ledger.receive(t(3), deleted(B, 2)).await;
    assert_eq!(counts.discrepancies, 1, "the portal knows it without us");
}

#[tokio::test]
async fn a_call_that_was_out_when_the_deletion_came_is_not_repeated() {
    for settlement in [again(t(4), 1), dead()] {
        let ledger = open_ledger().await;
        ledger.receive(t(1), item(A, 1, "one")).await;
        let claimed = ledger.claim_one(t(1), 7).await;
        let counts = ledger.receive(t(2), deleted(A, 2)).await;
        assert_eq!((counts.superseded, counts.discrepancies), (0, 1));
        ledger.settle_one(t(3), &claimed, 7, settlement).await;
        assert_eq!(ledger.states(A).await, [S::Superseded, S::NotOurs]);
        assert!(!ledger.view(A).await.lane_busy);
    }
}

#[tokio::test]
async fn what_became_a_ministry_s_is_not_sent_either() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let ministry = ReceivedItem { ministry: true, ..item(A, 2, "two") };
    let counts = ledger.receive(t(2), ministry).await;
    assert_eq!((counts.superseded, counts.discrepancies), (1, 0));
    assert_eq!(ledger.states(A).await, [S::Superseded, S::NotOurs]);
}

#[tokio::test]
async fn an_entry_that_left_received_meanwhile_is_left_alone() {
    let ledger = open_ledger().await;
    ledger.pull(t(1), vec![item(A, 1, "one")]).await;
    let unmapped = ledger.to_map(1).await.unwrap();
    ledger.map(t(1)).await;
    let late = [mapped(&unmapped[0])];
    let counts = ledger.record_mapped(t(2), &late).await.unwrap();
    assert_eq!(counts.ready, 0);
    assert_eq!(ledger.newest(A).await.changed_at, t(1));
}

#[tokio::test]
async fn a_filing_at_the_portal_makes_the_first_call_an_update() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one @portal")).await;
    ledger.receive(t(1), item(B, 1, "one")).await;
    let claimed = ledger.claim(t(1), 1).await;
    let known: Vec<PortalKnown> = claimed.iter().map(|entry| entry.portal_known).collect();
    assert_eq!(known, [PortalKnown::Yes, PortalKnown::Unknown]);
}

#[tokio::test]
async fn mapping_raises_a_priority_but_never_lowers_it() {
    let ledger = open_ledger().await;
    let backfill =
        PullCommit { priority: Priority::Backfill, ..page(t(1), vec![item(A, 1, "one")]) };
    ledger.commit_pull(&backfill).await.unwrap();
    ledger.pull(t(1), vec![item(B, 1, "one")]).await;
    let unmapped = ledger.to_map(10).await.unwrap();
    let codes: Vec<&str> = unmapped.iter().map(|entry| &*entry.ma_ho_so).collect();
    assert_eq!(codes, [B, A], "the live change is mapped before the backfill");
    let mut near = Vec::new();
    for entry in &unmapped {
        let mut entry = mapped(entry);
        if let MapOutcome::Valid(packet) = &mut entry.outcome {
            packet.priority = Some(Priority::DeadlineNear);
        }
        near.push(entry);
    }
    ledger.record_mapped(t(1), &near).await.unwrap();
    assert_eq!(ledger.newest(A).await.priority, Priority::DeadlineNear);
    assert_eq!(ledger.newest(B).await.priority, Priority::Live);
}

#[tokio::test]
async fn the_first_error_names_a_quarantine_not_the_first_warning() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "! bad")).await;
    let problems = ledger.problems(&ProblemFilter::default()).await.unwrap();
    assert_eq!(problems[0].code, "mapping.required");
}

#[tokio::test]
async fn one_batch_may_name_a_dossier_twice_and_the_second_waits() {
    let ledger = open_ledger().await;
    ledger.pull(t(1), vec![item(A, 1, "one")]).await;
    let first = ledger.to_map(1).await.unwrap();
    ledger.map(t(1)).await;
    ledger.resync(t(2), None, A, &audit(A)).await.unwrap();
    ledger.pull(t(2), vec![item(A, 2, "two")]).await;
    let second = ledger.to_map(1).await.unwrap();
    let twice = [mapped(&first[0]), mapped(&second[0]), mapped(&second[0])];
    let counts = ledger.record_mapped(t(3), &twice).await.unwrap();
    assert_eq!((counts.ready, counts.superseded), (1, 1));
    assert_eq!(ledger.claim_one(t(3), 1).await.packet, "two");
}
