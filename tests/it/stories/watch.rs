//! The watchdogs that need to know quota, gate and time.

use std::time::Duration;

use hoso_gateway::clock::Clock;
use hoso_gateway::ledger::record::{GateNote, PauseScope};
use hoso_gateway::pipeline::orders::{self, heed_orders, report_gate};
use hoso_gateway::pipeline::watch::{WatchReport, watch_once};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::support::gateway::{Story, TestGateway};

async fn damage(gateway: &TestGateway, statement: String) {
    let options = SqliteConnectOptions::new().filename(gateway.ledger_path());
    let mut conn = options.connect().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

fn codes(report: &WatchReport) -> Vec<&str> {
    report.broken().map(|watchdog| watchdog.code.as_str()).collect()
}

/// Time goes by in a service that is alive: the gate is kept, its state written down, and the
/// watchdogs look.
async fn go_by(gateway: &TestGateway, seconds: u64) -> WatchReport {
    let mut report = WatchReport::default();
    for _ in 0..seconds / 10 {
        gateway.advance(Duration::from_secs(10)).await;
        report_gate(&gateway.context, &gateway.line).await.unwrap();
        report = watch_once(&gateway.context).await.unwrap();
    }
    report
}

#[tokio::test]
async fn more_calls_than_the_contract_allows_are_counted_from_the_ledger_and_stay_shown_for_a_day()
{
    let windows = "[{ limit = 5, window_ms = 1000 }]";
    let gateway = Story::of(0).set("gate", "windows", windows).start().await;
    go_by(&gateway, 20).await;
    let began = gateway.clock.now().millis() - 5_000;
    let calls = |first_ms: i64, count: i64| {
        let at = began + first_ms;
        format!(
            "INSERT INTO call (service, priority, started_at, duration_ms, items, sent_bytes, answer_bytes,
                               message, outcome, body_hash)
             WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {count} - 1)
             SELECT 'DongBoHoSoMC', 1, {at} + n * 10, 5, 1, 1, 1, '', 'useful', x'' FROM n"
        )
    };
    // Five, and five more in the next second: as the contract has it.
    damage(&gateway, calls(0, 5)).await;
    damage(&gateway, calls(1_000, 5)).await;
    assert_eq!(codes(&go_by(&gateway, 10).await), [""; 0]);
    damage(&gateway, calls(500, 2)).await;
    let report = go_by(&gateway, 10).await;
    assert_eq!(codes(&report), ["watchdog.quota"]);
    let quota = report.broken().next().unwrap();
    assert_eq!((quota.part.as_str(), quota.found), ("5 calls in 1 s", 2));
    assert_eq!(report.changes.len(), 1, "told once");

    let report = go_by(&gateway, 600).await;
    assert_eq!(codes(&report), ["watchdog.quota"]);
    assert_eq!(report.changes, [], "and not again");
    gateway.skip(Duration::from_hours(24)).await;
    assert_eq!(codes(&go_by(&gateway, 10).await), [""; 0]);
    gateway.end().await;
}

#[tokio::test]
async fn work_that_could_go_and_does_not_is_noticed_and_so_is_backlog_that_stands_still() {
    let gateway = Story::of(3).start().await;
    gateway.pull_and_map().await;
    assert_eq!(codes(&go_by(&gateway, 180).await), [""; 0], "within the bound");
    let report = go_by(&gateway, 240).await;
    assert_eq!(codes(&report), ["watchdog.bulk", "watchdog.oldest"]);
    gateway.settle().await;
    let report = go_by(&gateway, 10).await;
    assert_eq!(codes(&report), [""; 0]);
    assert_eq!(report.changes.len(), 2, "it is told that they hold again");
    gateway.end().await;
}

#[tokio::test]
async fn what_a_person_has_stopped_is_not_late() {
    let gateway = Story::of(3).start().await;
    gateway.pull_and_map().await;
    orders::pause(&gateway.context, &PauseScope::All, None, "thu-nghiem", "the portal asked")
        .await
        .unwrap();
    heed_orders(&gateway.context, &gateway.line).await.unwrap();
    assert_eq!(codes(&go_by(&gateway, 3_600).await), [""; 0]);
    orders::resume(&gateway.context, &PauseScope::All, "thu-nghiem", "it is over").await.unwrap();
    heed_orders(&gateway.context, &gateway.line).await.unwrap();
    // An hour old, and it could not go before now.
    assert_eq!(codes(&go_by(&gateway, 120).await), [""; 0]);
    gateway.settle().await;
    gateway.end().await;
}

#[tokio::test]
async fn a_gate_that_does_not_try_again_is_noticed() {
    let gateway = Story::of(1).start().await;
    gateway.pull_and_map().await;
    let closed = |until_s: i64| {
        let mut status = gateway.line.gate.status();
        let now = gateway.clock.now();
        status.state = "closed".to_owned();
        status.until = Some(hoso_gateway::domain::time::Timestamp::from_millis(
            now.millis() + until_s * 1_000,
        ));
        serde_json::to_string(&status).unwrap()
    };
    let noted = async |until_s: i64| {
        gateway.advance(Duration::from_secs(10)).await;
        let now = gateway.clock.now();
        gateway.context.ledger.note_gate(now, GateNote::Status, &closed(until_s)).await.unwrap();
        watch_once(&gateway.context).await.unwrap()
    };
    // Its cool-down is over again and again, and no probe goes.
    for _ in 0..20 {
        assert_eq!(codes(&noted(-1).await), [""; 0]);
    }
    let mut last = noted(-1).await;
    for _ in 0..20 {
        last = noted(-1).await;
    }
    assert_eq!(codes(&last), ["watchdog.breaker"]);
    assert_eq!(codes(&noted(30).await), [""; 0], "it says until when");
    // Longer than any cool-down that is configured.
    assert_eq!(codes(&noted(100_000).await), ["watchdog.breaker"]);
    gateway.settle().await;
    gateway.end().await;
}
