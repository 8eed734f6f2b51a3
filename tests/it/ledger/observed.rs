//! What the portal does, learnt from calls: dated, counted once, and kept when the calls are gone.

use hoso_gateway::domain::priority::Priority;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::observed::{ChangeKind, Observed, ObservedAnswer};
use hoso_gateway::ledger::record::{CallRecord, SettleBatch, UpkeepPolicy};

use super::support::{TestLedger, open_ledger, retention_of, t, upkeep_policy};

const DAY: i64 = 24 * 3600;

fn call(service: &'static str, at: Timestamp, outcome: &'static str, words: &str) -> CallRecord {
    CallRecord {
        service,
        priority: Priority::Live,
        started_at: at,
        duration_ms: 200,
        items: 1,
        sent_bytes: 900,
        answer_bytes: 60,
        http_status: Some(200),
        error_code: Some("0".into()),
        message: words.into(),
        outcome,
        correlation_id: None,
        body_hash: [7; 32],
        echoed: None,
    }
}

fn look_up(at: Timestamp, fields: &[&str]) -> CallRecord {
    let echoed = fields.iter().map(|name| (*name).to_owned()).collect();
    CallRecord { echoed: Some(echoed), ..call("TraCuuHoSo", at, "useful", "tìm thấy") }
}

async fn record(ledger: &TestLedger, calls: Vec<CallRecord>) {
    ledger.settle(t(0), &SettleBatch { calls, ..SettleBatch::default() }).await.unwrap();
}

/// Learns until nothing is left, and says what changed.
async fn learn(ledger: &TestLedger) -> Vec<(ChangeKind, String)> {
    let mut changes = Vec::new();
    loop {
        let learnt = ledger.observe(7).await.unwrap();
        if learnt.calls == 0 {
            return changes;
        }
        changes.extend(learnt.changes.into_iter().map(|change| (change.kind, change.about)));
    }
}

fn answer<'a>(observed: &'a Observed, words: &str) -> &'a ObservedAnswer {
    observed.answers.iter().find(|answer| answer.message == words).unwrap()
}

#[tokio::test]
async fn answers_are_counted_once_with_the_time_of_the_first_and_of_the_last() {
    let ledger = open_ledger().await;
    assert_eq!(ledger.observed().await.unwrap(), Observed::default());
    let service = "DongBoHoSoMC";
    record(&ledger, vec![call(service, t(5), "useful", "thành công"); 10]).await;
    assert_eq!(learn(&ledger).await, [], "a first day has no news");
    let late = call(service, t(50), "useful", "thành  công");
    let refused = call(service, t(60), "refused", "Lỗi 12 tại dòng 345");
    let other = call(service, t(70), "refused", "Lỗi 9 tại dòng 1");
    let lost = CallRecord {
        http_status: None,
        error_code: None,
        ..call(service, t(80), "unknown", "hết giờ")
    };
    record(&ledger, vec![late, refused, other, lost]).await;
    learn(&ledger).await;
    let observed = ledger.observed().await.unwrap();
    assert_eq!((observed.calls, observed.until), (14, Some(t(80))));
    let good = answer(&observed, "thành công");
    assert_eq!((good.calls, good.first_at, good.last_at), (11, t(5), t(50)));
    let bad = answer(&observed, "Lỗi # tại dòng #");
    assert_eq!(
        (bad.calls, bad.outcome.as_str(), bad.first_at, bad.last_at),
        (2, "refused", t(60), t(70))
    );
    assert_eq!(
        answer(&observed, "").outcome,
        "unknown",
        "words of the network are not the portal's"
    );
    assert_eq!(observed.hours.iter().map(|hour| hour.calls).sum::<u64>(), 14);
    assert!(observed.hours.iter().all(|hour| hour.mean_ms == 200 && hour.hour < 24));
    assert_eq!(ledger.observe(100).await.unwrap().calls, 0, "nothing is learnt twice");
}

#[tokio::test]
async fn words_that_are_new_after_the_first_day_are_a_change_and_said_once() {
    let ledger = open_ledger().await;
    let service = "DongBoHoSoMC";
    record(&ledger, vec![call(service, t(0), "useful", "thành công")]).await;
    record(&ledger, vec![call(service, t(DAY - 1), "unknown", "đã tiếp nhận")]).await;
    assert_eq!(learn(&ledger).await, []);
    let new = call(service, t(DAY), "unknown", "Hệ thống bảo trì lúc 22 giờ");
    record(&ledger, vec![new.clone(), new]).await;
    let said = "0 Hệ thống bảo trì lúc # giờ".to_owned();
    assert_eq!(learn(&ledger).await, [(ChangeKind::NewAnswer, said.clone())]);
    // Another outcome of the same words is another behaviour.
    record(&ledger, vec![call(service, t(DAY + 9), "refused", "Hệ thống bảo trì lúc 5 giờ")]).await;
    assert_eq!(learn(&ledger).await, [(ChangeKind::NewAnswer, said)]);
    // A service that is used for the first time has its own first day.
    record(&ledger, vec![call("LayThuTuc", t(2 * DAY), "useful", "ok")]).await;
    assert_eq!(learn(&ledger).await, []);
    let changes = ledger.observed_changes(t(DAY + 1)).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(ledger.observed().await.unwrap().changes.len(), 2);
}

#[tokio::test]
async fn a_field_that_look_ups_show_no_longer_is_a_change_and_so_is_one_that_they_begin_to_show() {
    let ledger = open_ledger().await;
    let both = ["MaHoSo", "TrangThaiHoSo"];
    record(&ledger, (0..30).map(|at| look_up(t(at), &both)).collect()).await;
    assert_eq!(learn(&ledger).await, []);
    record(&ledger, (30..60).map(|at| look_up(t(at), &["MaHoSo"])).collect()).await;
    assert_eq!(learn(&ledger).await, [(ChangeKind::FieldGone, "TrangThaiHoSo".to_owned())]);
    record(&ledger, vec![look_up(t(2 * DAY), &["MaHoSo", "TrangThaiHoSo", "GhiChu"])]).await;
    assert_eq!(
        learn(&ledger).await,
        [
            (ChangeKind::NewField, "GhiChu".to_owned()),
            (ChangeKind::FieldBack, "TrangThaiHoSo".to_owned())
        ]
    );
    let fields = ledger.observed().await.unwrap().fields;
    let status = fields.iter().find(|field| field.name == "TrangThaiHoSo").unwrap();
    assert_eq!((status.shown, status.asked, status.is_gone), (31, 61, false));
}

#[tokio::test]
async fn the_life_of_sessions_is_observed() {
    let ledger = open_ledger().await;
    let push = |at, outcome| call("DongBoHoSoMC", t(at), outcome, "");
    record(
        &ledger,
        vec![
            push(-5, "useful"),
            CallRecord { duration_ms: 0, ..call("login", t(0), "useful", "") },
            push(100, "useful"),
            push(400, "refused"),
            push(600, "session_refused"),
            CallRecord { duration_ms: 0, ..call("login", t(601), "useful", "") },
            push(900, "session_refused"),
        ],
    )
    .await;
    learn(&ledger).await;
    let session = ledger.observed().await.unwrap().session;
    assert_eq!((session.logins, session.refused), (2, 2));
    assert_eq!(session.longest_good_ms, Some(400_000), "a refused packet had a good session");
    assert_eq!(session.shortest_refused_ms, Some(299_000));
}

#[tokio::test]
async fn what_was_learnt_is_kept_when_the_calls_are_deleted_and_learning_goes_on() {
    let ledger = open_ledger().await;
    let service = "DongBoHoSoMC";
    record(&ledger, vec![call(service, t(0), "useful", "thành công"); 20]).await;
    learn(&ledger).await;
    let mut policy = UpkeepPolicy { retention: retention_of(1), ..upkeep_policy() };
    policy.retention.attempts_ms = 1;
    for _ in 0..5 {
        ledger.upkeep(t(9 * DAY), &policy).await.unwrap();
    }
    let left = ledger.calls_by_time(t(-1), 1_000).await.unwrap();
    assert_eq!(left, [], "retention has taken them");
    record(&ledger, vec![call(service, t(9 * DAY), "useful", "thành công"); 3]).await;
    assert_eq!(learn(&ledger).await, []);
    let observed = ledger.observed().await.unwrap();
    let good = answer(&observed, "thành công");
    assert_eq!((good.calls, good.first_at, good.last_at), (23, t(0), t(9 * DAY)));
}

#[tokio::test]
async fn a_portal_that_never_says_the_same_twice_does_not_fill_the_ledger() {
    let ledger = open_ledger().await;
    let word = |at: i64| -> String {
        let letters = format!("{at:04}")
            .chars()
            .map(|digit| char::from(b'a' + digit as u8 - b'0'))
            .collect::<String>();
        format!("lỗi {letters}")
    };
    for page in 0..10 {
        let calls =
            (0..50).map(|at| call("login", t(page * DAY), "unknown", &word(page * 50 + at)));
        record(&ledger, calls.collect()).await;
    }
    let changes = learn(&ledger).await;
    let observed = ledger.observed().await.unwrap();
    assert_eq!(observed.answers.iter().map(|answer| answer.calls).sum::<u64>(), 500);
    assert!(observed.answers.len() <= 201, "{}", observed.answers.len());
    assert!(changes.len() < 200);
}
