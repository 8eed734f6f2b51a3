//! What operators and processes do: resync, retry, singletons, promised quota.

use std::time::Duration;

use hoso_gateway::domain::entry::EntryState as S;
use hoso_gateway::domain::lease::Lease;
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::ledger::Ledger as _;
use hoso_gateway::ledger::record::{PullCommit, ResyncOutcome, RetryScope};
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};

use super::support::{
    LEASE_SECONDS, TestLedger, accepted, again, audit, dead, deleted, in_doubt, item, lease,
    open_ledger, page, t,
};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";

async fn resync(ledger: &TestLedger, at: i64, code: &str) -> ResyncOutcome {
    ledger.resync(t(at), None, code, &audit(code)).await.unwrap()
}

#[tokio::test]
async fn a_hundred_resyncs_of_one_dossier_open_one_entry_and_leave_a_hundred_audit_rows() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one")).await;
    let target = audit(A);
    let calls = (0..100).map(|_| ledger.resync(t(2), None, A, &target));
    let mut opened = 0;
    for outcome in futures_util::future::join_all(calls).await {
        match outcome.unwrap() {
            ResyncOutcome::Opened { .. } => opened += 1,
            ResyncOutcome::AlreadyOpen { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(opened, 1);
    let view = ledger.view(A).await;
    assert_eq!(view.entries.len(), 2);
    assert_eq!(view.audit.len(), 100);
    let entry = view.newest_entry().unwrap();
    assert!(entry.forced);
    assert_eq!(entry.priority, Priority::Urgent);
}

#[tokio::test]
async fn a_refused_resync_says_why_and_is_on_record_too() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), deleted(A, 1)).await;
    assert_eq!(resync(&ledger, 2, A).await, ResyncOutcome::NotOurs);
    assert_eq!(ledger.view(A).await.audit[0].result, "never pushed");
    assert_eq!(resync(&ledger, 2, B).await, ResyncOutcome::UnknownDossier);
    // A dossier that comes later shows what was asked before.
    ledger.receive(t(3), item(B, 1, "one")).await;
    let view = ledger.view(B).await;
    assert_eq!(view.audit.len(), 1);
    assert_eq!(view.audit[0].result, "unknown dossier");
    assert_eq!(view.audit[0].actor, "operator");
}

#[tokio::test]
async fn a_resync_makes_what_is_open_urgent_and_due() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    ledger.settle_one(t(2), &claimed, 1, again(t(900), 3)).await;
    let outcome = resync(&ledger, 3, A).await;
    assert!(matches!(outcome, ResyncOutcome::AlreadyOpen { state: S::Ready, .. }), "{outcome:?}");
    let claimed = ledger.claim_one(t(3), 2).await;
    assert_eq!(claimed.priority, Priority::Urgent);
    // While the call is out there is nothing to hurry.
    let outcome = resync(&ledger, 4, A).await;
    assert!(matches!(outcome, ResyncOutcome::AlreadyOpen { state: S::Leased, .. }));
    ledger.settle_one(t(5), &claimed, 2, in_doubt(t(900))).await;
    resync(&ledger, 6, A).await;
    assert!(ledger.claim(t(6), 3).await.is_empty());
}

#[tokio::test]
async fn a_resync_overtakes_a_backlog_of_unmapped_dossiers() {
    let ledger = open_ledger().await;
    let backlog = (0..50).map(|n| item(&format!("{n}"), 1, "one"));
    let commit = PullCommit { priority: Priority::Backfill, ..page(t(1), backlog.collect()) };
    ledger.commit_pull(&commit).await.unwrap();
    // Its own older revision must not hold it back either.
    for version in [1, 2] {
        let commit = PullCommit {
            priority: Priority::Backfill,
            ..page(t(2), vec![item(A, version, &format!("v{version}"))])
        };
        ledger.commit_pull(&commit).await.unwrap();
    }
    resync(&ledger, 3, A).await;
    for expected in ["v1", "v2"] {
        let unmapped = ledger.to_map(1).await.unwrap();
        assert_eq!(unmapped[0].document, expected);
        let mapped = [super::support::mapped(&unmapped[0])];
        ledger.record_mapped(t(3), &mapped).await.unwrap();
    }
    assert_eq!(ledger.claim_one(t(3), 1).await.packet, "v2");
}

#[tokio::test]
async fn a_resync_reopens_what_waits_for_a_person() {
    for text in ["one", "! bad"] {
        let ledger = open_ledger().await;
        ledger.receive(t(1), item(A, 1, text)).await;
        for claimed in ledger.claim(t(1), 1).await {
            ledger.settle_one(t(1), &claimed, 1, dead()).await;
        }
        let outcome = resync(&ledger, 2, A).await;
        assert!(matches!(outcome, ResyncOutcome::Opened { .. }), "{outcome:?}");
        let view = ledger.view(A).await;
        assert_eq!(view.entries.len(), 1, "the same obligation, reopened");
        assert_eq!(view.entries[0].state, S::Received);
    }
}

#[tokio::test]
async fn a_resync_names_its_source_when_two_have_the_code() {
    let ledger = open_ledger().await;
    for source in ["east", "west"] {
        let commit = PullCommit { source: source.into(), ..page(t(1), vec![item(A, 1, source)]) };
        ledger.commit_pull(&commit).await.unwrap();
    }
    ledger.map(t(1)).await;
    ledger.accept_all(t(1)).await;
    ledger.resync(t(2), Some("west"), A, &audit(A)).await.unwrap();
    ledger.map(t(2)).await;
    assert_eq!(ledger.claim_one(t(2), 2).await.packet, "west");
}

#[tokio::test]
async fn a_retry_takes_exactly_its_scope() {
    let dead_scope = RetryScope { dead: true, ..RetryScope::default() };
    let quarantined = RetryScope { quarantined: true, ..RetryScope::default() };
    let scopes = [
        (RetryScope::default(), ["dead", "dead", "quarantined"]),
        (dead_scope.clone(), ["received", "received", "quarantined"]),
        (quarantined.clone(), ["dead", "dead", "received"]),
        (
            RetryScope { ma_ho_so: vec![B.into(), "unknown".into()], ..dead_scope.clone() },
            ["dead", "received", "quarantined"],
        ),
        (
            RetryScope { code: Some("portal.refused".into()), quarantined: true, ..dead_scope },
            ["received", "received", "quarantined"],
        ),
        (
            RetryScope { code: Some("mapping.required".into()), ..quarantined },
            ["dead", "dead", "received"],
        ),
    ];
    for (scope, expected) in scopes {
        let ledger = open_ledger().await;
        for (code, text) in [(A, "one"), (B, "one"), ("3", "! bad")] {
            ledger.receive(t(1), item(code, 1, text)).await;
        }
        for claimed in ledger.claim(t(1), 1).await {
            ledger.settle_one(t(1), &claimed, 1, dead()).await;
        }
        let count = ledger.retry(t(2), &scope, &audit(A)).await.unwrap();
        let mut states = Vec::new();
        for code in [A, B, "3"] {
            states.push(ledger.newest(code).await.state.as_str());
        }
        assert_eq!(states, expected, "{scope:?}");
        let moved = states.iter().filter(|state| **state == "received").count();
        assert_eq!(count, moved as u64);
        let audit = &ledger.view(A).await.audit;
        assert_eq!(audit.len(), 1);
        assert!(audit[0].result.starts_with(&count.to_string()));
    }
}

#[tokio::test]
async fn a_retried_dossier_is_sent_again_with_a_fresh_budget_and_its_attempts_go_on() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    ledger.settle_one(t(1), &claimed, 1, again(t(2), 5)).await;
    let claimed = ledger.claim_one(t(2), 2).await;
    ledger.settle_one(t(2), &claimed, 2, dead()).await;
    let scope = RetryScope { dead: true, ..RetryScope::default() };
    ledger.retry(t(3), &scope, &audit(A)).await.unwrap();
    ledger.map(t(3)).await;
    let claimed = ledger.claim_one(t(3), 3).await;
    assert_eq!((claimed.attempt, claimed.retries), (3, 0));
}

#[tokio::test]
async fn a_retry_never_revives_what_a_newer_revision_has_overtaken() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    ledger.receive(t(2), item(A, 2, "! two")).await;
    ledger.settle_one(t(3), &claimed, 1, dead()).await;
    assert_eq!(ledger.states(A).await, [S::Dead, S::Quarantined]);
    ledger.deliver(t(4), item(A, 3, "three")).await;
    let scope = RetryScope { dead: true, quarantined: true, ..RetryScope::default() };
    assert_eq!(ledger.retry(t(5), &scope, &audit(A)).await.unwrap(), 0);
    assert!(ledger.to_map(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_process_at_a_time_holds_a_singleton() {
    let ledger = open_ledger().await;
    let hold = |holder: &'static str, token, now| {
        let ledger = &ledger;
        async move {
            let lease = lease(token, now);
            ledger.hold_singleton(now, "gate", holder, lease).await.unwrap()
        }
    };
    assert_eq!(hold("first", 1, t(0)).await, None);
    assert_eq!(hold("second", 2, t(1)).await.as_deref(), Some("first"));
    assert_eq!(hold("first", 1, t(30)).await, None, "renewed");
    assert_eq!(hold("second", 2, t(89)).await.as_deref(), Some("first"));
    assert_eq!(ledger.standing(t(89)).await.unwrap().gate_owner.as_deref(), Some("first"));
    assert_eq!(ledger.standing(t(90)).await.unwrap().gate_owner, None);
    assert_eq!(hold("second", 2, t(90)).await, None, "its lease was over");
    assert_eq!(hold("first", 1, t(91)).await.as_deref(), Some("second"));

    ledger.release_singleton("gate", 1).await.unwrap();
    assert_eq!(hold("third", 3, t(92)).await.as_deref(), Some("second"));
    ledger.release_singleton("gate", 2).await.unwrap();
    assert_eq!(hold("third", 3, t(92)).await, None);
    let elsewhere = Lease { token: 4, expires_at: t(99) };
    let other = ledger.hold_singleton(t(92), "feed", "fourth", elsewhere);
    assert_eq!(other.await.unwrap(), None, "another name, another singleton");
}

#[tokio::test]
async fn an_owner_that_died_is_followed_at_once_and_one_that_lives_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let settings = SqliteSettings::default();
    let open = || SqliteLedger::open(&path, &settings);
    let first = open().await.unwrap();
    let second = open().await.unwrap();
    assert_eq!(first.hold_singleton(t(0), "gate", "first", lease(1, t(0))).await.unwrap(), None);
    let refused = second.hold_singleton(t(1), "gate", "second", lease(2, t(1))).await.unwrap();
    assert_eq!(refused.as_deref(), Some("first"), "it lives");
    // What a process leaves behind when it is killed: its row, and no lock.
    drop(first);
    let taken = second.hold_singleton(t(2), "gate", "second", lease(2, t(2))).await.unwrap();
    assert_eq!(taken, None, "long before the lease ends");

    // A frozen process still has its lock: only its lease decides, and its follower has no lock.
    let third = open().await.unwrap();
    assert!(third.hold_singleton(t(61), "gate", "third", lease(3, t(61))).await.unwrap().is_some());
    let late = t(2 + LEASE_SECONDS);
    assert_eq!(third.hold_singleton(late, "gate", "third", lease(3, late)).await.unwrap(), None);
    drop(second);
    let fourth = open().await.unwrap();
    let refused = fourth.hold_singleton(late, "gate", "fourth", lease(4, late)).await.unwrap();
    assert_eq!(
        refused.as_deref(),
        Some("third"),
        "a free lock says nothing about who never had it"
    );
    // It gets the lock when it renews.
    assert_eq!(third.hold_singleton(late, "gate", "third", lease(3, late)).await.unwrap(), None);
    drop(third);
    assert_eq!(fourth.hold_singleton(late, "gate", "fourth", lease(4, late)).await.unwrap(), None);
}

#[tokio::test]
async fn promised_quota_is_remembered_by_window() {
    let ledger = open_ledger().await;
    assert!(ledger.recall_quota().await.unwrap().is_empty());
    for (window, until) in [("day", 100), ("minute", 10), ("day", 200)] {
        ledger.remember_quota(window, t(until)).await.unwrap();
    }
    assert_eq!(
        ledger.recall_quota().await.unwrap(),
        [("day".to_owned(), t(200)), ("minute".to_owned(), t(10))]
    );
}

#[tokio::test]
async fn a_resync_while_an_older_call_is_in_doubt_waits_its_turn() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(1), 1).await;
    ledger.settle_one(t(2), &claimed, 1, in_doubt(t(2))).await;
    ledger.receive(t(3), item(A, 2, "! two")).await;
    resync(&ledger, 4, A).await;
    ledger.map(t(4)).await;
    assert_eq!(ledger.states(A).await, [S::Unconfirmed, S::Quarantined]);
    let soon = t(5) + Duration::from_secs(1);
    ledger.read_back(soon, accepted()).await;
    assert_eq!(ledger.states(A).await, [S::Accepted, S::Quarantined]);
}
