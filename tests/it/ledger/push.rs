//! Claiming packets and settling their calls.

use std::collections::BTreeSet;
use std::time::Duration;

use hoso_gateway::domain::entry::{EntryState as S, PortalKnown, Settlement};
use hoso_gateway::domain::failure::Disposition;
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::ledger::Ledger as _;
use hoso_gateway::ledger::record::{CallRecord, PullCommit, SettleBatch, SettleCounts};
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};

use super::support::{
    LEASE_SECONDS, accepted, again, audit, claiming, dead, failure, flipped, in_doubt, item,
    open_ledger, page, settled, t, upkeep_policy,
};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";

fn call(outcome: &'static str) -> CallRecord {
    CallRecord {
        service: "DongBoHoSoMC",
        priority: Priority::Live,
        started_at: t(5),
        duration_ms: 120,
        items: 2,
        sent_bytes: 9000,
        answer_bytes: 60,
        http_status: Some(200),
        error_code: Some("0".into()),
        message: "thanh cong".into(),
        outcome,
        correlation_id: None,
        body_hash: [7; 32],
    }
}

#[tokio::test]
async fn the_attempt_is_counted_before_the_claim_returns() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    assert_eq!(claimed.attempt, 1);
    let entry = ledger.newest(A).await;
    assert_eq!((entry.attempt, entry.state), (1, S::Leased));
    assert_eq!(entry.lease_expires_at, Some(t(1 + LEASE_SECONDS)));
    ledger.settle_one(t(2), &claimed, 1, again(t(2), 1)).await;
    let claimed = ledger.claim_one(t(2), 2).await;
    assert_eq!((claimed.attempt, claimed.retries), (2, 1));
}

#[tokio::test]
async fn the_most_pressing_goes_first_then_the_earliest_due() {
    let ledger = open_ledger().await;
    let classes = [
        ("1", Priority::Backfill, 1),
        ("2", Priority::Live, 3),
        ("3", Priority::Live, 2),
        ("4", Priority::Audit, 1),
        ("5", Priority::DeadlineNear, 4),
    ];
    for (code, priority, at) in classes {
        let commit = PullCommit { priority, ..page(t(at), vec![item(code, 1, "packet")]) };
        ledger.commit_pull(&commit).await.unwrap();
        ledger.map(t(at)).await;
    }
    ledger.receive(t(9), item("6", 1, "packet")).await;
    ledger.resync(t(9), None, "6", &audit("6")).await.unwrap();
    let mut order = Vec::new();
    for token in 1..4 {
        let claimed = ledger.claim_entries(t(10), claiming(token, t(10), 2)).await.unwrap();
        assert_eq!(claimed.len(), 2);
        order.extend(claimed.into_iter().map(|entry| entry.ma_ho_so));
    }
    assert_eq!(order, ["6", "3", "2", "5", "1", "4"]);
    assert!(ledger.claim(t(10), 9).await.is_empty());
}

#[tokio::test]
async fn nothing_is_claimed_before_its_due_time_and_everything_at_it() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    ledger.settle_one(t(2), &claimed, 1, again(t(50), 1)).await;
    let before = t(50) - Duration::from_millis(1);
    assert!(ledger.claim(before, 2).await.is_empty());
    ledger.claim_one(t(50), 2).await;
}

#[tokio::test]
async fn a_dossier_has_one_call_out_whatever_it_carries() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one | 0800/2")).await;
    let first = ledger.claim_one(t(1), 1).await;
    ledger.receive(t(2), item(A, 2, "two | 0800/2")).await;
    assert!(ledger.claim(t(2), 2).await.is_empty(), "packet and packet");
    ledger.settle_one(t(3), &first, 1, accepted()).await;
    assert!(
        ledger.claim_steps_of(t(3), 2).await.is_empty(),
        "the newest packet goes before any step"
    );
    let second = ledger.claim_one(t(3), 3).await;
    ledger.settle_one(t(4), &second, 3, accepted()).await;
    assert_eq!(ledger.claim_steps_of(t(4), 4).await.len(), 1);
    ledger.receive(t(5), item(A, 3, "three | 0800/2")).await;
    assert!(ledger.claim(t(5), 5).await.is_empty(), "steps and packet");
}

#[tokio::test]
async fn claimers_that_race_never_get_the_same_dossier() {
    let ledger = open_ledger().await;
    let items = (0..200).map(|n| item(&format!("{n}"), 1, "packet | 0800/2"));
    ledger.pull(t(1), items.collect()).await;
    ledger.map(t(1)).await;
    let claims = (1..=40).map(|token| ledger.claim_entries(t(1), claiming(token, t(1), 7)));
    let mut seen = BTreeSet::new();
    let mut total = 0;
    for claimed in futures_util::future::join_all(claims).await {
        for entry in claimed.unwrap() {
            seen.insert(entry.dossier_id);
            total += 1;
        }
    }
    assert_eq!((seen.len(), total), (200, 200));
}

#[tokio::test]
async fn acceptance_is_what_the_portal_knows_from_then_on() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    let counts = ledger.settle_one(t(2), &claimed, 1, accepted()).await;
    assert_eq!(counts, SettleCounts { accepted: 1, ..SettleCounts::default() });
    let view = ledger.view(A).await;
    assert_eq!(view.entries[0].state, S::Accepted);
    assert_eq!(view.portal_known, PortalKnown::Yes);
    assert_eq!(view.acked_at, Some(t(2)));
    assert_eq!(view.acked_entry_id, Some(claimed.entry_id));
    assert!(!view.lane_busy);
    let packets = ledger.acked_packets(&[claimed.dossier_id]).await.unwrap();
    assert_eq!(packets, [(claimed.dossier_id, "one".to_owned())]);
}

#[tokio::test]
async fn each_settlement_leaves_the_state_that_it_names() {
    let halved = Settlement::Ready {
        due_at: t(2),
        retries: 0,
        batch_max: Some(25),
        portal_known: None,
        failure: Some(failure("portal.refused", Disposition::Data)),
    };
    let table = [
        (again(t(9), 3), S::Ready, 3, false),
        (halved, S::Ready, 0, false),
        (in_doubt(t(9)), S::Unconfirmed, 1, true),
        (dead(), S::Dead, 0, false),
    ];
    for (settlement, state, retries, lane_busy) in table {
        let ledger = open_ledger().await;
        ledger.receive(t(1), item(A, 1, "one")).await;
        let claimed = ledger.claim_one(t(1), 1).await;
        ledger.settle_one(t(2), &claimed, 1, settlement.clone()).await;
        let view = ledger.view(A).await;
        let entry = &view.entries[0];
        assert_eq!(
            (entry.state, entry.retries, view.lane_busy),
            (state, retries, lane_busy),
            "{settlement:?}"
        );
        assert_eq!(entry.changed_at, t(2));
        assert!(entry.failure.is_some());
        assert_eq!(entry.lease_expires_at, None);
        if let Settlement::Ready { batch_max: Some(max), .. } = settlement {
            assert_eq!(ledger.claim_one(t(2), 2).await.batch_max, Some(max));
        }
    }
}

#[tokio::test]
async fn a_limit_of_the_batch_stays_until_another_is_set() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    let halved = Settlement::Ready {
        due_at: t(2),
        retries: 0,
        batch_max: Some(4),
        portal_known: None,
        failure: None,
    };
    ledger.settle_one(t(2), &claimed, 1, halved).await;
    let claimed = ledger.claim_one(t(2), 2).await;
    ledger.settle_one(t(3), &claimed, 2, again(t(3), 1)).await;
    assert_eq!(ledger.claim_one(t(3), 3).await.batch_max, Some(4));
}

#[tokio::test]
async fn the_flag_flips_with_the_settlement_that_says_so() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    for (token, known) in [(1, PortalKnown::Yes), (2, PortalKnown::No)] {
        let claimed = ledger.claim_one(t(token), token).await;
        ledger.settle_one(t(token), &claimed, token, flipped(t(token), known)).await;
        assert_eq!(ledger.view(A).await.portal_known, known);
    }
    let claimed = ledger.claim_one(t(3), 3).await;
    assert_eq!(claimed.portal_known, PortalKnown::No);
    ledger.settle_one(t(3), &claimed, 3, again(t(3), 1)).await;
    assert_eq!(ledger.view(A).await.portal_known, PortalKnown::No);
}

#[tokio::test]
async fn a_settlement_with_another_token_changes_nothing_but_is_on_record() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    let before = ledger.newest(A).await;
    let counts = ledger.settle_one(t(2), &claimed, 999, accepted()).await;
    assert_eq!((counts.accepted, counts.lost_leases), (0, 1));
    let view = ledger.view(A).await;
    let after = view.newest_entry().unwrap();
    assert_eq!((after.state, after.changed_at), (before.state, before.changed_at));
    assert!(view.lane_busy);
    assert_eq!(view.attempts.len(), 1);
    assert!(view.attempts[0].detail.as_ref().unwrap().contains("lease"));
}

#[tokio::test]
async fn an_answer_that_comes_after_its_lease_ran_out_changes_nothing_but_is_on_record() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    let expired = t(1 + LEASE_SECONDS);
    assert_eq!(ledger.keep_up(expired).await.leases_expired, 1);
    let counts = ledger.settle_one(expired, &claimed, 1, accepted()).await;
    assert_eq!((counts.accepted, counts.lost_leases), (0, 1));
    let view = ledger.view(A).await;
    assert_eq!(view.entries[0].state, S::Unconfirmed);
    assert_eq!(view.acked_at, None);
    assert!(view.lane_busy);
    let outcomes: Vec<&str> = view.attempts.iter().map(|one| &*one.outcome).collect();
    assert_eq!(outcomes, ["unknown", "test"]);
}

#[tokio::test]
async fn a_lease_that_ran_out_unnoticed_still_settles() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    let counts = ledger.settle_one(t(9999), &claimed, 1, accepted()).await;
    assert_eq!(counts.accepted, 1, "nobody else has looked at it meanwhile");
}

#[tokio::test]
async fn what_would_be_sent_again_gives_way_to_a_newer_ready_revision() {
    for settlement in [again(t(3), 1), dead()] {
        let ledger = open_ledger().await;
        ledger.receive(t(1), item(A, 1, "one")).await;
        let claimed = ledger.claim_one(t(1), 1).await;
        let counts = ledger.receive(t(2), item(A, 2, "two")).await;
        assert_eq!(counts.superseded, 0, "what is out settles first");
        let counts = ledger.settle_one(t(3), &claimed, 1, settlement).await;
        assert_eq!(counts.superseded, 1);
        let view = ledger.view(A).await;
        assert_eq!(view.entries[0].state, S::Superseded);
        assert_eq!(view.entries[0].superseded_by, Some(view.entries[1].id));
        assert_eq!(ledger.claim_one(t(3), 2).await.packet, "two");
    }
}

#[tokio::test]
async fn an_unknown_outcome_keeps_the_newer_revision_waiting_until_it_is_decided() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    ledger.settle_one(t(2), &claimed, 1, in_doubt(t(2))).await;
    ledger.receive(t(3), item(A, 2, "two")).await;
    assert_eq!(ledger.states(A).await, [S::Unconfirmed, S::Ready]);
    assert!(ledger.claim(t(4), 2).await.is_empty());
    let counts = ledger.read_back(t(5), flipped(t(5), PortalKnown::Yes)).await;
    assert_eq!(counts.superseded, 1);
    let claimed = ledger.claim_one(t(5), 3).await;
    assert_eq!(claimed.packet, "two");
    assert_eq!(claimed.portal_known, PortalKnown::Yes);
}

#[tokio::test]
async fn calls_and_what_they_meant_are_on_record() {
    let ledger = open_ledger().await;
    ledger.pull(t(1), vec![item(A, 1, "one"), item(B, 1, "one")]).await;
    ledger.map(t(1)).await;
    let claimed = ledger.claim(t(5), 1).await;
    let mut first = settled(&claimed[0], Some(1), accepted());
    let mut second = settled(&claimed[1], Some(1), again(t(60), 1));
    (first.call, first.outcome) = (Some(1), "accepted");
    (second.call, second.outcome) = (Some(0), "refused");
    let batch = SettleBatch {
        calls: vec![call("refused"), call("useful")],
        entries: vec![first, second],
        ..SettleBatch::default()
    };
    ledger.settle(t(6), &batch).await.unwrap();
    ledger
        .settle(t(7), &SettleBatch { calls: vec![call("useful")], ..SettleBatch::default() })
        .await
        .unwrap();

    let attempt = &ledger.view(A).await.attempts[0];
    assert_eq!((&*attempt.kind, attempt.number), ("packet", 1));
    assert_eq!(attempt.outcome, "accepted");
    assert_eq!(attempt.service.as_deref(), Some("DongBoHoSoMC"));
    assert_eq!(
        (attempt.duration_ms, attempt.items, attempt.http_status),
        (Some(120), Some(2), Some(200))
    );
    let attempt = &ledger.view(B).await.attempts[0];
    assert_eq!(attempt.failure_code.as_deref(), Some("portal.busy"));

    let totals = ledger.call_totals(t(0)).await.unwrap();
    assert_eq!((totals.calls, totals.useful), (3, 2));
    assert_eq!(totals.by_service["DongBoHoSoMC"]["refused"], 1);
    assert_eq!(ledger.call_totals(t(6)).await.unwrap().calls, 0);
}

#[tokio::test]
async fn calls_of_any_stretch_of_time_are_counted_to_the_last_one() {
    let ledger = open_ledger().await;
    // Around the borders of a slice, out of order, and some in one transaction.
    let seconds = [0, 299, 300, 301, 4000, 86_399, 86_400, 100_000, 250, 86_401];
    for pair in seconds.chunks(2) {
        let calls =
            pair.iter().map(|at| CallRecord { started_at: t(*at), ..call("useful") }).collect();
        let batch = SettleBatch { calls, ..SettleBatch::default() };
        ledger.settle(t(100_001), &batch).await.unwrap();
    }
    let counted_rightly = async || {
        for since in [-1000, 0, 1, 250, 299, 300, 301, 600, 3600, 86_400, 86_402, 100_000, 100_001]
        {
            let expected = seconds.iter().filter(|at| **at >= since).count() as u64;
            let totals = ledger.call_totals(t(since)).await.unwrap();
            assert_eq!((totals.calls, totals.useful), (expected, expected), "since {since}");
        }
    };
    counted_rightly().await;
    let beside = SqliteLedger::open(&ledger.path(), &SqliteSettings::default()).await.unwrap();
    assert_eq!(beside.check().await.unwrap(), []);
    beside.close().await;
    // The tally of what is long ago goes; the calls are still there.
    ledger.upkeep(t(200 * 86_400), &upkeep_policy()).await.unwrap();
    counted_rightly().await;
    let late = SettleBatch { calls: vec![call("useful")], ..SettleBatch::default() };
    ledger.settle(t(200 * 86_400), &late).await.unwrap();
    assert_eq!(ledger.call_totals(t(-1000)).await.unwrap().calls, seconds.len() as u64 + 1);
}

#[tokio::test]
async fn an_empty_batch_and_an_empty_claim_are_nothing() {
    let ledger = open_ledger().await;
    let counts = ledger.settle(t(1), &SettleBatch::default()).await.unwrap();
    assert_eq!(counts, SettleCounts::default());
    assert!(ledger.claim(t(1), 1).await.is_empty());
    ledger.receive(t(1), item(A, 1, "one")).await;
    assert!(ledger.claim_entries(t(1), claiming(1, t(1), 0)).await.unwrap().is_empty());
    assert_eq!(ledger.newest(A).await.attempt, 0);
}

/// Brute force over drawn appointments: inside a class the claim follows the citizens' dates, and
/// what has none goes last.
#[tokio::test]
async fn inside_a_class_the_earliest_appointed_time_goes_first() {
    let ledger = open_ledger().await;
    let days = [9_i64, 2, 0, 7, 2, 5, 0, 1];
    for (serial, day) in days.into_iter().enumerate() {
        let code = format!("{serial}");
        ledger.pull(t(1), vec![item(&code, 1, "packet")]).await;
        let appointed_at = (day > 0).then(|| t(day * 86_400));
        ledger.map_appointed(t(1), appointed_at).await;
    }
    let mut order = Vec::new();
    for token in 1..=8 {
        order.push(ledger.claim_entries(t(2), claiming(token, t(2), 1)).await.unwrap());
    }
    let order: Vec<String> = order.into_iter().flatten().map(|entry| entry.ma_ho_so).collect();
    assert_eq!(order, ["7", "1", "4", "5", "3", "0", "2", "6"]);
}

#[tokio::test]
async fn what_waits_for_its_time_is_not_in_line_and_a_retry_comes_back_into_it() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    ledger.receive(t(2), item(B, 1, "two")).await;
    let first = ledger.claim_entries(t(2), claiming(1, t(2), 1)).await.unwrap().remove(0);
    ledger.settle_one(t(3), &first, 1, again(t(50), 1)).await;
    assert_eq!(ledger.claim(t(4), 2).await.len(), 1);
    assert!(ledger.claim(t(49), 3).await.is_empty());
    assert_eq!(ledger.claim(t(50), 4).await.len(), 1);
}
