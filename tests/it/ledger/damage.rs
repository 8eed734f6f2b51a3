//! One row that cannot be read back costs its dossier, and nobody else.

use hoso_gateway::domain::entry::EntryState as S;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::support::{TestLedger, in_doubt, item, open_ledger, settled, t, upkeep_policy};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";

/// As a failing disk or a careless hand changes values, past every check.
async fn damage(ledger: &TestLedger, statement: &'static str) {
    let mut conn = SqliteConnectOptions::new().filename(ledger.path()).connect().await.unwrap();
    sqlx::raw_sql("PRAGMA ignore_check_constraints = ON").execute(&mut conn).await.unwrap();
    sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

async fn both(text: &str) -> TestLedger {
    let ledger = open_ledger().await;
    ledger.pull(t(0), vec![item(A, 1, text), item(B, 1, text)]).await;
    ledger.map(t(0)).await;
    ledger
}

#[tokio::test]
async fn a_state_that_does_not_exist_becomes_a_problem_and_the_others_go_on() {
    let ledger = both("one").await;
    damage(&ledger, "UPDATE entry SET state = 'raedy' WHERE id = 1").await;
    assert_eq!(ledger.claim_one(t(1), 1).await.ma_ho_so, B);
    assert_eq!(ledger.standing(t(1)).await.unwrap().dossiers[&S::Quarantined], 1);
    ledger.upkeep(t(2), &upkeep_policy()).await.unwrap();
    let entry = ledger.newest(A).await;
    assert_eq!(
        (entry.state, entry.failure.unwrap().code.as_str()),
        (S::Quarantined, "ledger.corrupt")
    );
}

#[tokio::test]
async fn details_that_are_no_json_any_more_do_not_hide_the_dossier() {
    let ledger = both("one").await;
    damage(&ledger, "UPDATE entry SET failure = '{\"co', diagnostics = 'x' WHERE id = 1").await;
    ledger.upkeep(t(2), &upkeep_policy()).await.unwrap();
    let entry = ledger.newest(A).await;
    assert_eq!((entry.state, entry.failure.unwrap().code.as_str()), (S::Ready, "ledger.corrupt"));
    assert_eq!(ledger.accept_all(t(3)).await, 2);
}

#[tokio::test]
async fn a_look_up_whose_history_is_damaged_is_made_all_the_same() {
    let ledger = both("one").await;
    for claimed in ledger.claim(t(1), 1).await {
        let batch = hoso_gateway::ledger::record::SettleBatch {
            entries: vec![settled(&claimed, Some(1), in_doubt(t(2)))],
            ..Default::default()
        };
        ledger.settle(t(1), &batch).await.unwrap();
    }
    damage(&ledger, "UPDATE entry SET failure = 'x' WHERE id = 1").await;
    assert_eq!(ledger.claim_unconfirmed(t(3), t(9), 10).await.unwrap().len(), 2);
    // One of which nobody knows any more what the portal has.
    damage(&ledger, "UPDATE dossier SET portal_known = 'maybe' WHERE id = 2").await;
    let found = ledger.claim_unconfirmed(t(10), t(19), 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(ledger.states(A).await, [S::Unconfirmed]);
}

#[tokio::test]
async fn a_step_that_cannot_be_read_is_never_repeated_and_stops_no_mapping() {
    let ledger = both("one | 0800/2").await;
    ledger.accept_all(t(1)).await;
    damage(&ledger, "UPDATE step SET failure = '{', state = 'ackde' WHERE dossier_id = 1").await;
    ledger
        .pull(t(2), vec![item(A, 2, "two | 0800/2 0900/4"), item(B, 2, "two | 0800/2 0900/4")])
        .await;
    let counts = ledger.map(t(2)).await;
    assert_eq!((counts.ready, counts.steps_new), (2, 2));
    ledger.accept_all(t(3)).await;
    ledger.ack_steps(t(3)).await;
    assert_eq!(ledger.step_states(A).await, "0800/2=ackde 0900/4=acked");
    assert_eq!(ledger.step_states(B).await, "0800/2=acked 0900/4=acked");
}

#[tokio::test]
async fn an_acknowledged_packet_that_cannot_be_read_is_not_compared() {
    let ledger = both("one").await;
    ledger.accept_all(t(1)).await;
    damage(&ledger, "UPDATE packet SET body = x'00' WHERE entry_id = 1").await;
    let packets = ledger.acked_packets(&[1, 2]).await.unwrap();
    assert_eq!(packets.len(), 1);
    assert_eq!(packets[0].0, 2);
}
