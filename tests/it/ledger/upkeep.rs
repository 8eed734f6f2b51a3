//! Expired leases, retention, pruned cursors, the watchdog.

use hoso_gateway::domain::entry::EntryState as S;
use hoso_gateway::ledger::record::{PullCommit, ResyncOutcome, UpkeepPolicy};

use super::support::{
    LEASE_SECONDS, SOURCE, TestLedger, accepted, again, audit, dead, item, open_ledger, page,
    retention_of, t, upkeep_policy,
};

const A: &str = "H55.242-260126-0001";
const DAYS: i64 = 24 * 60 * 60;

fn days(days: u64) -> UpkeepPolicy {
    UpkeepPolicy { retention: retention_of(days), ..upkeep_policy() }
}

/// Whether the newest document, and how many acknowledged packets, are still there.
async fn bodies(ledger: &TestLedger, code: &str) -> (bool, usize) {
    let dossier = ledger.view(code).await.dossier_id;
    let document = ledger.newest_document(dossier).await.unwrap();
    let packets = ledger.acked_packets(&[dossier]).await.unwrap();
    (document.is_some(), packets.len())
}

#[tokio::test]
async fn a_lease_that_ran_out_leaves_the_outcome_unknown_and_is_never_sent_blindly() {
    let ledger = open_ledger().await;
    ledger.receive(t(0), item(A, 1, "one")).await;
    ledger.claim_one(t(0), 1).await;
    let last = t(LEASE_SECONDS - 1);
    assert_eq!(ledger.keep_up(last).await.leases_expired, 0);
    let over = t(LEASE_SECONDS);
    assert_eq!(ledger.keep_up(over).await.leases_expired, 1);
    assert_eq!(ledger.keep_up(over).await.leases_expired, 0);
    let view = ledger.view(A).await;
    let entry = &view.entries[0];
    assert_eq!((entry.state, entry.retries), (S::Unconfirmed, 1));
    assert_eq!(entry.failure.as_ref().unwrap().code, "push.lease_expired");
    assert!(view.lane_busy);
    let attempt = &view.attempts[0];
    assert_eq!((&*attempt.kind, attempt.number), ("packet", 1));
    assert_eq!(attempt.outcome, "unknown");
    assert!(ledger.claim(t(999), 2).await.is_empty());
    ledger.read_back(over, accepted()).await;
}

#[tokio::test]
async fn bodies_of_settled_work_are_dropped_at_the_end_of_their_time() {
    let ledger = open_ledger().await;
    ledger.deliver(t(0), item(A, 1, "one | 0800/2")).await;
    ledger.ack_steps(t(0)).await;
    assert_eq!(bodies(&ledger, A).await, (true, 1));
    let counts = ledger.upkeep(t(2 * DAYS - 1), &days(2)).await.unwrap();
    assert_eq!(counts.bodies_dropped, 0);
    let counts = ledger.upkeep(t(2 * DAYS), &days(2)).await.unwrap();
    assert_eq!(counts.bodies_dropped, 3, "document, packet and step");
    assert_eq!(bodies(&ledger, A).await, (false, 0));
    let counts = ledger.upkeep(t(3 * DAYS), &days(2)).await.unwrap();
    assert_eq!(counts.bodies_dropped, 0);
    // What happened is still told, and that the document is gone is said.
    assert_eq!(ledger.view(A).await.attempts.len(), 2);
    let gone = ledger.resync(t(3 * DAYS), None, A, &audit(A)).await.unwrap();
    assert_eq!(gone, ResyncOutcome::DocumentGone);
}

#[tokio::test]
async fn bodies_of_work_that_is_open_or_waits_for_a_person_are_kept() {
    let ledger = open_ledger().await;
    for (code, text) in
        [("dead", "one"), ("later", "one"), ("refused", "! bad"), ("steps", "one | 0800/2")]
    {
        ledger.receive(t(0), item(code, 1, text)).await;
    }
    ledger.pull(t(0), vec![item("unmapped", 1, "one")]).await;
    for claimed in ledger.claim(t(0), 1).await {
        let settlement = match &*claimed.ma_ho_so {
            "dead" => dead(),
            "later" => again(t(99 * DAYS), 1),
            _ => accepted(),
        };
        ledger.settle_one(t(0), &claimed, 1, settlement).await;
    }
    ledger.upkeep(t(50 * DAYS), &days(2)).await.unwrap();
    for code in ["dead", "later", "refused", "unmapped"] {
        assert!(bodies(&ledger, code).await.0, "{code}");
    }
    assert_eq!(ledger.claim_steps_of(t(50 * DAYS), 2).await.len(), 1);
    ledger.map(t(51 * DAYS)).await;
    let claimed = ledger.claim(t(99 * DAYS), 3).await;
    assert_eq!(claimed.len(), 2, "the one that waited and the unmapped one");
}

#[tokio::test]
async fn a_source_item_of_a_dossier_that_still_moves_keeps_its_document() {
    let ledger = open_ledger().await;
    ledger.deliver(t(0), item(A, 1, "one")).await;
    ledger.resync(t(10 * DAYS), None, A, &audit(A)).await.unwrap();
    ledger.map(t(10 * DAYS)).await;
    ledger.accept_all(t(10 * DAYS)).await;
    ledger.upkeep(t(11 * DAYS), &days(2)).await.unwrap();
    assert_eq!(bodies(&ledger, A).await, (true, 1));
    ledger.upkeep(t(13 * DAYS), &days(2)).await.unwrap();
    assert_eq!(bodies(&ledger, A).await, (false, 0));
}

#[tokio::test]
async fn cursors_are_pruned_but_for_the_one_where_the_overlap_begins() {
    let ledger = open_ledger().await;
    for day in 0..10 {
        for source in [SOURCE, "slow"] {
            let newest = if source == SOURCE { day } else { 0 };
            let commit = PullCommit {
                source: source.into(),
                cursor: Some((format!("c{day}"), Some(t(newest * DAYS)))),
                ..page(t(20 * DAYS), Vec::new())
            };
            ledger.commit_pull(&commit).await.unwrap();
        }
    }
    let policy =
        UpkeepPolicy { cursor_retention_ms: 3 * 24 * 60 * 60 * 1000 + 1, ..upkeep_policy() };
    ledger.upkeep(t(20 * DAYS), &policy).await.unwrap();
    let start = |overlap_days: u64| {
        let ledger = &ledger;
        async move {
            let overlap = overlap_days * 24 * 60 * 60 * 1000;
            let position = ledger.source_position(SOURCE, overlap).await.unwrap();
            position.start
        }
    };
    assert_eq!(start(3).await.as_deref(), Some("c6"));
    assert_eq!(start(4).await.as_deref(), Some("c5"));
    assert_eq!(start(5).await, None, "older ones are gone");
    let slow = ledger.source_position("slow", 0).await.unwrap();
    assert_eq!(slow.start.as_deref(), Some("c9"), "another source's cursors");
}

#[tokio::test]
async fn the_watchdog_counts_what_could_run_and_did_not() {
    let ledger = open_ledger().await;
    ledger.receive(t(0), item("ready", 1, "one")).await;
    ledger.receive(t(0), item("later", 1, "one")).await;
    ledger.receive(t(0), item("leased", 1, "one")).await;
    ledger.receive(t(0), item("steps", 1, "one | 0800/2")).await;
    ledger.receive(t(0), item("refused", 1, "! bad")).await;
    for claimed in ledger.claim(t(0), 1).await {
        let settlement = match &*claimed.ma_ho_so {
            "ready" => again(t(0), 1),
            "later" => again(t(1000), 1),
            "steps" => accepted(),
            _ => continue,
        };
        ledger.settle_one(t(0), &claimed, 1, settlement).await;
    }
    ledger.pull(t(0), vec![item("unmapped", 1, "one")]).await;
    // Watched for a minute; the lease is kept alive by not asking after its end.
    assert_eq!(ledger.keep_up(t(59)).await.stuck, 0);
    let policy = UpkeepPolicy { watchdog_ms: 59_000, ..upkeep_policy() };
    let counts = ledger.upkeep(t(59), &policy).await.unwrap();
    assert_eq!(counts.stuck, 3, "ready, steps, unmapped");
}
