//! Read-backs, the index, discrepancies, repairs and closed books.

use std::time::Duration;

use hoso_gateway::domain::cause::Cause;
use hoso_gateway::domain::discrepancy::{Bucket, DiscrepancyKind};
use hoso_gateway::domain::entry::{EntryState as S, PortalKnown};
use hoso_gateway::ledger::reconcile::{
    Chosen, LineFilter, LookedUp, NewLine, Phase, PlacedLine, RowKind, RunOrder,
};
use hoso_gateway::ledger::record::{
    Books, DiscrepancyRecord, RetryScope, SettleBatch, SettledEntry,
};

use super::support::{
    SOURCE, TestLedger, accepted, audit, dead, deleted, flipped, in_doubt, item, open_ledger, t,
    upkeep_policy,
};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";
const C: &str = "H55.242-260126-0003";

fn line(code: &str) -> NewLine {
    NewLine {
        ma_ho_so: code.to_owned(),
        dossier_id: Some(1),
        day: "20260126".to_owned(),
        agency: "H55.242".to_owned(),
        procedure: "1.000894".to_owned(),
        bucket: Bucket::Matched,
        cause: None,
        detail: String::new(),
        presumed: false,
        suspected_since: None,
        draw: Some(7),
    }
}

/// A dossier whose one call ended with no answer.
async fn doubtful() -> TestLedger {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    ledger.settle_one(t(2), &claimed, 1, in_doubt(t(10))).await;
    ledger
}

#[tokio::test]
async fn a_read_back_is_given_out_when_it_is_due_and_not_twice() {
    let ledger = doubtful().await;
    let claim = |now, until| ledger.claim_unconfirmed(now, until, 10);
    assert!(claim(t(9), t(40)).await.unwrap().is_empty());
    let found = claim(t(10), t(40)).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].packet, "one");
    assert_eq!(found[0].attempt, 1);
    assert_eq!(found[0].failure.code, "portal.timeout");
    assert!(claim(t(39), t(70)).await.unwrap().is_empty());
    assert_eq!(claim(t(40), t(70)).await.unwrap().len(), 1);
    assert!(ledger.claim(t(40), 2).await.is_empty(), "never sent blindly");
}

#[tokio::test]
async fn a_look_at_the_portal_decides_an_unknown_outcome() {
    let table = [
        (accepted(), S::Accepted, PortalKnown::Yes),
        (flipped(t(10), PortalKnown::Yes), S::Ready, PortalKnown::Yes),
        (flipped(t(10), PortalKnown::No), S::Ready, PortalKnown::No),
        (dead(), S::Dead, PortalKnown::Unknown),
    ];
    for (settlement, state, known) in table {
        let ledger = doubtful().await;
        ledger.read_back(t(10), settlement).await;
        let view = ledger.view(A).await;
        assert_eq!((view.entries[0].state, view.portal_known), (state, known));
        assert!(!view.lane_busy);
        assert_eq!(view.attempts[1].kind, "read_back");
    }
    let ledger = doubtful().await;
    let counts = ledger.read_back(t(10), in_doubt(t(90))).await;
    assert_eq!(counts.unconfirmed, 1);
    assert!(ledger.view(A).await.lane_busy);
    let next = ledger.claim_unconfirmed(t(89), t(99), 1).await.unwrap();
    assert!(next.is_empty(), "the failed look-up says when to look again");
}

#[tokio::test]
async fn a_look_that_took_too_long_does_not_decide_about_a_later_call() {
    let ledger = doubtful().await;
    let slow = ledger.claim_unconfirmed(t(10), t(20), 1).await.unwrap().remove(0);
    ledger.read_back(t(20), flipped(t(20), PortalKnown::No)).await;
    let claimed = ledger.claim_one(t(21), 5).await;
    ledger.settle_one(t(22), &claimed, 5, in_doubt(t(22))).await;
    let batch = SettleBatch {
        entries: vec![SettledEntry {
            entry_id: slow.entry_id,
            dossier_id: slow.dossier_id,
            lease_token: None,
            attempt: slow.attempt,
            settlement: accepted(),
            call: None,
            outcome: "read back",
        }],
        ..SettleBatch::default()
    };
    let counts = ledger.settle(t(23), &batch).await.unwrap();
    assert_eq!((counts.accepted, counts.lost_leases), (0, 1));
    assert_eq!(ledger.states(A).await, [S::Unconfirmed]);
}

#[tokio::test]
async fn the_standing_of_each_dossier_of_an_index_is_told() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one")).await;
    ledger.receive(t(2), item(A, 2, "one | 0800/2")).await;
    ledger.receive(t(3), item(B, 7, "! bad")).await;
    let codes = [A.into(), B.into(), C.into()];
    let standings = ledger.standings(SOURCE, &codes).await.unwrap();
    let told: Vec<(&str, S, bool, Option<i64>)> = standings
        .iter()
        .map(|one| (&*one.ma_ho_so, one.newest_state, one.acknowledged, one.newest_version))
        .collect();
    assert_eq!(
        told,
        [(A, S::Unchanged, true, Some(2)), (B, S::Quarantined, false, Some(7))],
        "one that never came is not invented"
    );
    assert_eq!(standings[0].acked_at, Some(t(1)));
    assert!(ledger.standings("other", &codes).await.unwrap().is_empty());
}

#[tokio::test]
async fn acknowledged_codes_that_a_run_does_not_list_come_page_by_page() {
    let ledger = open_ledger().await;
    for code in [C, A, B] {
        ledger.deliver(t(1), item(code, 1, "one")).await;
    }
    ledger.receive(t(1), item("never sent", 1, "one")).await;
    let order = RunOrder { source: SOURCE.to_owned(), ..RunOrder::default() };
    let run = ledger.open_run(t(2), &order, ("20260101", "20261231"), None).await.unwrap();
    ledger.add_lines(run.id, &[line(B)], Some("behind B")).await.unwrap();
    let page = async |after: &str, limit| {
        ledger.unlisted(run.id, SOURCE, after, t(1_000_000), limit).await.unwrap()
    };
    assert_eq!(page("", 2).await, Some((B.to_owned(), vec![A.to_owned()])));
    let rest = page(B, 2).await.expect("there are more");
    assert_eq!(rest.1, [C]);
    assert_eq!(page(&rest.0, 2).await, None);
}

#[tokio::test]
async fn a_discrepancy_is_opened_once_and_resolved_once() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let found = DiscrepancyRecord {
        source: SOURCE.into(),
        ma_ho_so: A.into(),
        dossier_id: Some(ledger.view(A).await.dossier_id),
        kind: DiscrepancyKind::Missing,
        detail: String::new(),
    };
    for at in [2, 3] {
        ledger.record_discrepancies(t(at), std::slice::from_ref(&found)).await.unwrap();
    }
    assert_eq!(ledger.open_discrepancies(A).await, ["missing"]);
    assert_eq!(ledger.view(A).await.discrepancies[0].found_at, t(2));
    let resolve = |kind, at| {
        let codes = [A.to_owned(), B.to_owned()];
        let ledger = &ledger;
        async move {
            ledger.resolve_discrepancies(at, SOURCE, kind, &codes, "found again").await.unwrap()
        }
    };
    assert_eq!(resolve(DiscrepancyKind::Different, t(4)).await, 0);
    assert_eq!(resolve(DiscrepancyKind::Missing, t(4)).await, 1);
    assert_eq!(resolve(DiscrepancyKind::Missing, t(5)).await, 0);
    let view = ledger.view(A).await;
    assert_eq!(view.discrepancies[0].resolved_at, Some(t(4)));
    // The same again later is a new one.
    ledger.record_discrepancies(t(6), &[found]).await.unwrap();
    assert_eq!(ledger.view(A).await.discrepancies.len(), 2);
}

#[tokio::test]
async fn a_dossier_that_the_portal_lost_is_owed_again_packet_and_all_steps() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one | 0800/2 0900/5")).await;
    ledger.ack_steps(t(2)).await;
    let dossier = ledger.view(A).await.dossier_id;
    assert_eq!(ledger.repair_missing(t(3), &[dossier], true).await.unwrap(), 1);
    assert_eq!(ledger.repair_missing(t(3), &[dossier], true).await.unwrap(), 0, "it is on its way");
    ledger.map(t(4)).await;
    assert_eq!(ledger.states(A).await, [S::Accepted, S::Ready]);
    assert!(ledger.claim_steps_of(t(4), 1).await.is_empty());
    let claimed = ledger.claim_one(t(4), 2).await;
    assert_eq!(claimed.portal_known, PortalKnown::No);
    ledger.settle_one(t(5), &claimed, 2, accepted()).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=pending 0900/5=pending");
    ledger.ack_steps(t(6)).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=acked 0900/5=acked");
}

#[tokio::test]
async fn a_repair_holds_the_supplement_requests_that_the_portal_had_and_no_others() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one | 0800/2 0900/5")).await;
    ledger.ack_steps(t(2)).await;
    ledger.receive(t(2), item(A, 2, "one | 0800/2 0900/5 1000/5")).await;
    let dossier = ledger.view(A).await.dossier_id;
    assert_eq!(ledger.repair_missing(t(3), &[dossier], false).await.unwrap(), 1);
    ledger.map(t(4)).await;
    assert_eq!(ledger.accept_all(t(5)).await, 1);
    assert_eq!(ledger.step_states(A).await, "0800/2=pending 0900/5=held 1000/5=pending");
    let held = ledger.view(A).await.steps[1].failure.clone().unwrap();
    assert_eq!(held.code, "steps.maybe_sent");
    // Mapping it again, even with other words, is no reason to send it.
    ledger.receive(t(6), item(A, 3, "one | 0800/2 0900/5:other 1000/5")).await;
    assert!(ledger.step_states(A).await.contains("0900/5=held"));
    assert_eq!(ledger.open_discrepancies(A).await, ["step_changed 20260126090000/5"]);
}

#[tokio::test]
async fn a_held_supplement_request_can_be_sent_after_a_repair_though_its_body_was_past_retention() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one | 0900/5")).await;
    ledger.ack_steps(t(2)).await;
    let dossier = ledger.view(A).await.dossier_id;
    let mut policy = upkeep_policy();
    policy.retention.bodies_ms = 0;
    // The document is dropped with the bodies, so the repair needs the source's copy again.
    ledger.receive(t(3), item(A, 2, "two | 0900/5")).await;
    ledger.accept_all(t(3)).await;
    ledger.repair_missing(t(4), &[dossier], false).await.unwrap();
    ledger.upkeep(t(5), &policy).await.unwrap();
    ledger.map(t(6)).await;
    ledger.accept_all(t(7)).await;
    let scope = RetryScope { ma_ho_so: vec![A.into()], held: true, ..RetryScope::default() };
    assert_eq!(ledger.retry(t(8), &scope, &audit(A)).await.unwrap(), 1);
    ledger.ack_steps(t(9)).await;
    assert_eq!(ledger.step_states(A).await, "0900/5=acked");
}

#[tokio::test]
async fn a_suspicion_is_told_with_its_beginning_until_it_is_resolved() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let found = DiscrepancyRecord {
        source: SOURCE.into(),
        ma_ho_so: A.into(),
        dossier_id: Some(ledger.view(A).await.dossier_id),
        kind: DiscrepancyKind::Missing,
        detail: String::new(),
    };
    let codes = [A.to_owned(), B.to_owned()];
    assert!(ledger.suspected_missing(SOURCE, &codes).await.unwrap().is_empty());
    for at in [2, 3] {
        ledger.record_discrepancies(t(at), std::slice::from_ref(&found)).await.unwrap();
    }
    let suspected = ledger.suspected_missing(SOURCE, &codes).await.unwrap();
    assert_eq!(suspected, [(A.to_owned(), t(2))]);
    let kind = DiscrepancyKind::Missing;
    ledger.resolve_discrepancies(t(4), SOURCE, kind, &codes, "seen").await.unwrap();
    assert!(ledger.suspected_missing(SOURCE, &codes).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_repair_sends_the_newest_acknowledged_revision_and_keeps_a_newer_quarantine() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one | 0800/2")).await;
    ledger.receive(t(2), item(A, 2, "one | 0800/2 0900/4")).await;
    ledger.receive(t(3), item(A, 3, "! bad")).await;
    let dossier = ledger.view(A).await.dossier_id;
    assert_eq!(ledger.repair_missing(t(4), &[dossier], true).await.unwrap(), 1);
    ledger.map(t(4)).await;
    let view = ledger.view(A).await;
    let states: Vec<S> = view.entries.iter().map(|entry| entry.state).collect();
    assert_eq!(
        states,
        [S::Accepted, S::Unchanged, S::Quarantined, S::Ready],
        "the newer change still waits for its person"
    );
    assert_eq!(view.entries[3].revision_id, view.entries[1].revision_id);
    let newest = ledger.standings(SOURCE, &[A.into()]).await.unwrap();
    assert_eq!(newest[0].newest_state, S::Quarantined);
    assert_eq!(ledger.accept_all(t(5)).await, 1);
    assert_eq!(ledger.step_states(A).await, "0800/2=pending 0900/4=pending");
    // The corrected revision then takes its way as any other.
    ledger.deliver(t(6), item(A, 4, "four | 0800/2 0900/4")).await;
}

/// The repair's entry is younger than the entry of the newest revision, and is not it.
#[tokio::test]
async fn after_a_repair_of_an_older_revision_a_person_still_sees_what_the_newest_one_came_to() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 4, "four")).await;
    ledger.receive(t(2), item(A, 7, "seven")).await;
    let claimed = ledger.claim_one(t(2), 1).await;
    ledger.settle_one(t(2), &claimed, 1, dead()).await;
    let dossier = ledger.view(A).await.dossier_id;
    assert_eq!(ledger.repair_missing(t(3), &[dossier], true).await.unwrap(), 1);
    ledger.map(t(3)).await;
    assert_eq!(ledger.accept_all(t(3)).await, 1);
    assert_eq!(ledger.newest(A).await.state, S::Dead, "the newer change still waits");

    let scope = RetryScope { dead: true, ..RetryScope::default() };
    assert_eq!(ledger.retry(t(4), &scope, &audit("*")).await.unwrap(), 1);
    ledger.map(t(4)).await;
    assert_eq!(ledger.accept_all(t(4)).await, 1);
    let newest = ledger.newest(A).await;
    let seven = blake3::hash(b"seven").to_hex().to_string();
    assert_eq!((newest.state, newest.packet_hash), (S::Accepted, Some(seven)));
}

#[tokio::test]
async fn a_version_that_comes_late_is_not_what_a_person_sees_of_the_dossier() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 2, "two")).await;
    assert_eq!(ledger.pull(t(2), vec![item(A, 1, "one")]).await.outdated, 1);
    assert_eq!(ledger.newest(A).await.state, S::Ready);
}

#[tokio::test]
async fn nothing_is_repaired_that_is_deleted_on_its_way_or_never_was_there() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one")).await;
    ledger.receive(t(2), deleted(A, 2)).await;
    ledger.deliver(t(1), item(B, 1, "one")).await;
    ledger.resync(t(2), None, B, &audit(B)).await.unwrap();
    ledger.receive(t(1), item(C, 1, "! bad")).await;
    let mut dossiers = vec![999_999];
    for code in [A, B, C] {
        dossiers.push(ledger.view(code).await.dossier_id);
    }
    assert_eq!(ledger.repair_missing(t(3), &dossiers, true).await.unwrap(), 0);
    assert_eq!(ledger.view(B).await.portal_known, PortalKnown::Yes);
}

#[tokio::test]
async fn the_last_books_of_each_source_are_shown() {
    let ledger = open_ledger().await;
    for (source, matched) in [(SOURCE, 1), ("neighbour", 2), (SOURCE, 3)] {
        let books = Books {
            source: source.into(),
            started_at: t(1),
            ended_at: t(1) + Duration::from_secs(5),
            at_source: matched,
            matched,
            closed: true,
            ..Books::default()
        };
        ledger.record_books(&books).await.unwrap();
    }
    let shown = ledger.standing(t(9)).await.unwrap().last_books;
    let shown: Vec<(&str, u64)> = shown.iter().map(|one| (&*one.source, one.matched)).collect();
    assert_eq!(shown, [("neighbour", 2), (SOURCE, 3)]);
}

#[tokio::test]
async fn a_source_has_one_open_run_and_asking_again_finds_it_where_it_was() {
    let ledger = open_ledger().await;
    let order = RunOrder { source: SOURCE.to_owned(), budget: Some(3), ..RunOrder::default() };
    let days = ("20260101", "20261231");
    let asked = audit("a full comparison");
    let run = ledger.open_run(t(1), &order, days, Some(&asked)).await.unwrap();
    ledger.add_lines(run.id, &[line(A), line(B)], Some("behind B")).await.unwrap();
    // A page that moves while it is paged shows a dossier twice; it is counted once.
    ledger.add_lines(run.id, &[line(B), line(C)], Some("behind C")).await.unwrap();
    let other = RunOrder {
        chosen: Chosen { codes: vec![A.to_owned()], ..Chosen::default() },
        ..order.clone()
    };
    let again = ledger.open_run(t(2), &other, days, None).await.unwrap();
    assert_eq!((again.id, &again.order, again.phase), (run.id, &order, Phase::Reading));
    assert_eq!((again.cursor.as_deref(), again.read), (Some("behind C"), 3));
    ledger.give_up_run(t(3), run.id, "no reason").await.unwrap();
    let next = ledger.open_run(t(4), &other, days, None).await.unwrap();
    assert_ne!(next.id, run.id);
    let runs = ledger.reconcile_runs(None, false, 10).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [next.id, run.id]);
    assert_eq!(runs[1].remark, "no reason");
}

#[tokio::test]
async fn look_ups_are_spent_before_they_leave_and_given_back_when_they_did_not() {
    let ledger = open_ledger().await;
    for code in [A, B, C] {
        ledger.deliver(t(1), item(code, 1, "one")).await;
    }
    let order = RunOrder { source: SOURCE.to_owned(), budget: Some(2), ..RunOrder::default() };
    let run = ledger.open_run(t(2), &order, ("20260101", "20261231"), None).await.unwrap().id;
    let lots = [(A, 30), (B, 10), (C, 20)];
    let lines = lots.map(|(code, draw)| NewLine { draw: Some(draw), ..line(code) });
    ledger.add_lines(run, &lines, None).await.unwrap();
    ledger.begin_asking(run, None).await.unwrap();
    let taken = async || -> Vec<String> {
        let lines = ledger.take_look_ups(run, 10).await.unwrap();
        lines.into_iter().map(|line| line.ma_ho_so).collect()
    };
    assert_eq!(taken().await, [B, C], "the smallest lots, as many as the budget allows");
    assert!(taken().await.is_empty(), "a process that died with them has spent them");
    let looked_up = LookedUp {
        placed: vec![PlacedLine {
            ma_ho_so: B.to_owned(),
            bucket: Bucket::Missing,
            cause: Some(Cause::Lost),
            detail: String::new(),
            differences: Vec::new(),
            seen: 0,
        }],
        not_sent: vec![C.to_owned()],
        ..LookedUp::default()
    };
    ledger.settle_look_ups(t(3), run, &looked_up).await.unwrap();
    assert_eq!(taken().await, [C]);
    ledger.end_asking(run, "").await.unwrap();
    let sums = ledger.sum_up(run, t(2)).await.unwrap();
    assert_eq!((sums.population, sums.drawn, sums.differing), (3, 1, 1));
    assert_eq!(sums.buckets[&Bucket::Unverifiable], 1, "asked without an answer");
    assert!(sums.unbalanced.is_empty());
    for kind in RowKind::ALL {
        let rows = ledger.book_rows(run, kind).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].at_source, rows[0].sum(), rows[0].missing), (3, 3, 1));
        assert_eq!(rows[0].explained_percent(), Some(50), "no answer explains nothing");
    }
    let found = ledger.lines(run, &LineFilter::default(), "", 10).await.unwrap();
    assert_eq!(found.iter().map(|line| &*line.ma_ho_so).collect::<Vec<_>>(), [B, C]);
}
