//! The watchdogs: each promise is broken by a hand in the file, and its watchdog barks, alone.

use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::record::{AuditRecord, PauseScope};
use hoso_gateway::ledger::view::InForce;
use hoso_gateway::ledger::watch::{WatchBounds, Watchdog};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::support::{TestLedger, again, audit, item, open_ledger, settled, t};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";
const C: &str = "H55.242-260126-0003";

async fn damage(ledger: &TestLedger, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(ledger.path()).foreign_keys(false);
    let mut conn = options.connect().await.unwrap();
    sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

fn bounds(now: Timestamp, rows_max: u32) -> WatchBounds {
    WatchBounds {
        rows_max,
        leases_ended_by: now - std::time::Duration::from_mins(2),
        retries_max: 12,
        audited_since: t(-1_000_000),
    }
}

/// Looks at everything once and keeps it.
async fn look(ledger: &TestLedger, now: Timestamp, rows_max: u32) -> Vec<Watchdog> {
    let sights = ledger.look(&bounds(now, rows_max)).await.unwrap();
    ledger.keep_sights(now, &sights).await.unwrap();
    ledger.watchdogs().await.unwrap()
}

/// Codes and examples of what barks.
async fn barking(ledger: &TestLedger, now: Timestamp) -> Vec<(String, String)> {
    let watchdogs = look(ledger, now, 1_000).await;
    let broken = watchdogs.into_iter().filter(|watchdog| !watchdog.holds());
    broken.map(|one| (one.code, one.example.unwrap_or_default())).collect()
}

/// Sound work of every kind: A accepted twice with its steps, B quarantined, C ready after a failure.
async fn sound() -> TestLedger {
    let ledger = open_ledger().await;
    ledger
        .record_in_force(&InForce {
            holder: "a test".into(),
            hash: "0".into(),
            since: t(0),
            mapping_version: "test-1".into(),
            program_version: "0".into(),
        })
        .await
        .unwrap();
    ledger.deliver(t(0), item(A, 1, "one | 0800/2")).await;
    ledger.ack_steps(t(0)).await;
    ledger.deliver(t(1), item(A, 2, "two | 0800/2 0900/4")).await;
    ledger.ack_steps(t(1)).await;
    ledger.receive(t(2), item(B, 1, "!")).await;
    ledger.receive(t(3), item(C, 1, "one | 0800/2")).await;
    let claimed = ledger.claim_one(t(4), 9).await;
    ledger.settle_one(t(5), &claimed, 9, again(t(60), 1)).await;
    assert_eq!(barking(&ledger, t(6)).await, [], "nothing is wrong yet");
    ledger
}

async fn assert_barks(statement: &'static str, expected: &[(&str, &str)]) {
    let ledger = sound().await;
    damage(&ledger, statement).await;
    let found = barking(&ledger, t(7)).await;
    let found: Vec<(&str, &str)> = found.iter().map(|(code, ex)| (&**code, &**ex)).collect();
    assert_eq!(found, expected, "after: {statement}");
}

#[tokio::test]
async fn a_newest_change_without_its_obligation_is_not_conserved() {
    let lost = &[("watchdog.conservation", B)];
    assert_barks("UPDATE dossier SET newest_entry_id = 999 WHERE id = 2", lost).await;
    assert_barks("UPDATE dossier SET newest_revision_id = 1 WHERE id = 2", lost).await;
    assert_barks("UPDATE entry SET state = 'superseded' WHERE dossier_id = 2", lost).await;
    // The dossier that points to it, and the change itself.
    let both = &[("watchdog.conservation", B), ("watchdog.conservation", B)];
    assert_barks("DELETE FROM entry WHERE dossier_id = 2", both).await;
}

#[tokio::test]
async fn work_that_waits_for_a_person_without_a_reason_is_noticed() {
    let expected = &[("watchdog.no_reason", B)];
    assert_barks("UPDATE entry SET failure_code = NULL WHERE state = 'quarantined'", expected)
        .await;
}

#[tokio::test]
async fn a_step_that_is_not_counted_is_noticed() {
    let expected = &[("watchdog.step_sums", A)];
    assert_barks("UPDATE step SET state = 'pending' WHERE dossier_id = 1", expected).await;
}

#[tokio::test]
async fn a_success_without_the_portals_word_is_noticed() {
    let expected = &[("watchdog.false_success", A)];
    assert_barks("UPDATE entry SET receipt = NULL WHERE state = 'accepted'", expected).await;
    assert_barks("UPDATE entry SET attempt = 0 WHERE id = 1", expected).await;
    let expected = &[("watchdog.false_success", C)];
    assert_barks("UPDATE entry SET state = 'accepted' WHERE state = 'ready'", expected).await;
}

#[tokio::test]
async fn an_older_packet_acknowledged_after_a_newer_one_is_noticed() {
    let expected = &[("watchdog.regression", A)];
    assert_barks("UPDATE dossier SET acked_entry_id = 1 WHERE id = 1", expected).await;
}

#[tokio::test]
async fn a_lane_that_nothing_will_ever_free_is_noticed() {
    assert_barks("UPDATE dossier SET lane_token = 7 WHERE id = 1", &[("watchdog.lane", A)]).await;
}

#[tokio::test]
async fn steps_that_wait_behind_a_packet_that_will_never_be_are_noticed() {
    let statement = "UPDATE step SET state = 'pending' WHERE dossier_id = 1;
         UPDATE dossier SET packet_state = 'none', steps_pending = 2 WHERE id = 1";
    assert_barks(statement, &[("watchdog.stranded", A)]).await;
}

#[tokio::test]
async fn two_calls_about_one_dossier_at_once_are_noticed() {
    let ledger = sound().await;
    ledger.claim_one(t(70), 5).await;
    assert_eq!(barking(&ledger, t(71)).await, []);
    damage(
        &ledger,
        "DROP INDEX entry_one_out;
         INSERT INTO entry (dossier_id, revision_id, state, priority, created_at, changed_at, due_at)
         SELECT dossier_id, revision_id, 'unconfirmed', 1, 0, 0, 0 FROM entry WHERE state = 'leased'",
    )
    .await;
    let expected = [("watchdog.single_flight".to_owned(), C.to_owned())];
    assert_eq!(barking(&ledger, t(71)).await, expected);
    // One that is out without its lane: the next one would go beside it.
    let ledger = sound().await;
    ledger.claim_one(t(70), 5).await;
    damage(&ledger, "UPDATE dossier SET lane_token = NULL").await;
    assert_eq!(barking(&ledger, t(71)).await, expected);
}

#[tokio::test]
async fn a_lease_without_an_end_is_noticed() {
    let ledger = sound().await;
    ledger.claim_one(t(70), 5).await;
    let expected = [("watchdog.lease".to_owned(), C.to_owned())];
    // Upkeep stands still: the lease ended long ago.
    assert_eq!(barking(&ledger, t(70 + 60 + 120)).await, expected);
    ledger.keep_up(t(70 + 60 + 121)).await;
    assert_eq!(barking(&ledger, t(70 + 60 + 121)).await, []);

    let ledger = sound().await;
    ledger.claim_one(t(70), 5).await;
    damage(&ledger, "UPDATE entry SET lease_expires_at = NULL WHERE state = 'leased'").await;
    assert_eq!(barking(&ledger, t(71)).await, expected);
}

#[tokio::test]
async fn more_attempts_than_the_policy_allows_are_noticed() {
    let expected = &[("watchdog.attempts", C)];
    assert_barks("UPDATE entry SET retries = 13 WHERE state = 'ready'", expected).await;
    // What was settled before a smaller budget came into force was allowed then.
    assert_barks(
        "UPDATE entry SET retries = 13 WHERE state = 'ready'; UPDATE in_force SET since = since + 900000",
        &[],
    )
    .await;
}

#[tokio::test]
async fn what_an_operator_did_without_an_audit_row_is_noticed() {
    let ledger = sound().await;
    let order =
        |action: &str, target: &str| AuditRecord { action: action.to_owned(), ..audit(target) };
    let scope = PauseScope::Procedure("1.000105".to_owned());
    let target = scope.to_string();
    ledger.pause(t(7), &scope, None, &order("portal pause", &target)).await.unwrap();
    ledger.resume(t(8), &scope, &order("portal resume", &target)).await.unwrap();
    ledger.set_hold(t(9), None, A, true, &order("hold", A)).await.unwrap();
    ledger.set_hold(t(10), None, A, false, &order("release", A)).await.unwrap();
    ledger.resync(t(11), None, A, &order("resync", A)).await.unwrap();
    assert_eq!(barking(&ledger, t(12)).await, []);

    // Which the file itself refuses.
    let guards = "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted";
    damage(&ledger, guards).await;
    for (statement, example) in [
        ("UPDATE audit SET action = 'x' WHERE action = 'portal resume'", target.as_str()),
        ("DELETE FROM audit WHERE action = 'release'", A),
        ("DELETE FROM audit", A),
    ] {
        damage(&ledger, statement).await;
        let found = barking(&ledger, t(13)).await;
        assert!(found.iter().all(|(code, _)| code == "watchdog.audit"), "{found:?}");
        assert!(found.iter().any(|(_, found)| found == example), "{found:?} after {statement}");
    }
    assert_eq!(barking(&ledger, t(14)).await.len(), 3, "pauses, legal holds and what is urgent");
}

#[tokio::test]
async fn a_walk_goes_on_where_it_ended_and_what_it_found_stands_until_it_is_mended() {
    let ledger = sound().await;
    // New positions: the walks of `sound` ended with the last round.
    damage(&ledger, "UPDATE dossier SET lane_token = 7 WHERE ma_ho_so LIKE '%-0003'").await;
    let lane = |watchdogs: Vec<Watchdog>| {
        watchdogs.into_iter().find(|one| one.code == "watchdog.lane").unwrap()
    };
    let first = lane(look(&ledger, t(10), 1).await);
    assert!(first.holds(), "one dossier a look, and it is the third");
    look(&ledger, t(11), 1).await;
    let third = lane(look(&ledger, t(12), 1).await);
    assert_eq!((third.found, third.broken_since), (1, Some(t(12))));
    damage(&ledger, "UPDATE dossier SET lane_token = NULL").await;
    // The end of this round, and a whole one that finds nothing.
    for at in 13..16 {
        assert!(!lane(look(&ledger, t(at), 1).await).holds());
    }
    look(&ledger, t(16), 1).await;
    assert!(lane(look(&ledger, t(17), 1).await).holds());
}

#[tokio::test]
async fn work_on_its_way_breaks_no_promise_at_any_moment() {
    let ledger = open_ledger().await;
    let items = (1..6).map(|n| item(&format!("H55.242-260126-000{n}"), 1, "one | 0800/2 0900/5"));
    ledger.pull(t(0), items.collect()).await;
    assert_eq!(barking(&ledger, t(0)).await, []);
    ledger.map(t(0)).await;
    assert_eq!(barking(&ledger, t(0)).await, []);
    let claimed = ledger.claim(t(1), 1).await;
    assert_eq!(barking(&ledger, t(1)).await, []);
    let batch = hoso_gateway::ledger::record::SettleBatch {
        entries: vec![
            settled(&claimed[0], Some(1), super::support::accepted()),
            settled(&claimed[1], Some(1), super::support::in_doubt(t(5))),
            settled(&claimed[2], Some(1), super::support::dead()),
        ],
        ..Default::default()
    };
    ledger.settle(t(2), &batch).await.unwrap();
    assert_eq!(barking(&ledger, t(2)).await, []);
    ledger.claim_steps_of(t(3), 2).await;
    assert_eq!(barking(&ledger, t(3)).await, []);
    ledger.keep_up(t(100)).await;
    assert_eq!(barking(&ledger, t(100)).await, []);
    ledger.pull(t(101), vec![item("H55.242-260126-0001", 2, "deleted")]).await;
    assert_eq!(barking(&ledger, t(101)).await, []);
}
