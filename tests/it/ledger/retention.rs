//! What goes after its time, what never does, and what that gives back to the disk.

use std::path::Path;

use hoso_gateway::domain::entry::EntryState as S;
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::Ledger;
use hoso_gateway::ledger::record::{
    Books, CallRecord, HoldOutcome, Retention, RetryScope, SettleBatch, UpkeepPolicy,
};
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::support::{
    SOURCE, TestLedger, accepted, audit, dead, item, open_ledger, settled, t, upkeep_policy,
};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";
const DAYS: i64 = 24 * 60 * 60;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Days that each class is kept.
fn keep(bodies: u64, attempts: u64, revisions: u64, audit: u64) -> UpkeepPolicy {
    UpkeepPolicy {
        retention: Retention {
            bodies_ms: bodies * DAY_MS,
            attempts_ms: attempts * DAY_MS,
            revisions_ms: revisions * DAY_MS,
            audit_ms: audit * DAY_MS,
            books_ms: revisions * DAY_MS,
            rows_max: 100,
        },
        ..upkeep_policy()
    }
}

async fn beside(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

async fn rows(ledger: &TestLedger, table: &str) -> i64 {
    let mut conn = beside(&ledger.path()).await;
    let query = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let count = sqlx::query_scalar(query).fetch_one(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    count
}

/// Received, mapped, and accepted in a call that is on record.
async fn deliver(ledger: &TestLedger, now: Timestamp, code: &str, version: i64, text: &str) {
    ledger.receive(now, item(code, version, text)).await;
    let entries: Vec<_> = ledger
        .claim(now, 1)
        .await
        .iter()
        .map(|claimed| {
            let mut entry = settled(claimed, Some(1), accepted());
            entry.call = Some(0);
            entry
        })
        .collect();
    let call = CallRecord {
        service: "DongBoHoSoMC",
        priority: Priority::Live,
        started_at: now,
        duration_ms: 5,
        items: 1,
        sent_bytes: 100,
        answer_bytes: 10,
        http_status: Some(200),
        error_code: Some("0".into()),
        message: "thanh cong".into(),
        outcome: "useful",
        body_hash: [7; 32],
        correlation_id: None,
    };
    let batch = SettleBatch { calls: vec![call], entries, ..SettleBatch::default() };
    ledger.settle(now, &batch).await.unwrap();
    ledger.ack_steps(now).await;
}

async fn keep_up(ledger: &TestLedger, day: i64, policy: &UpkeepPolicy) {
    // Each class needs a round, and entries go before the revisions that they point to.
    for _ in 0..4 {
        ledger.upkeep(t(day * DAYS), policy).await.unwrap();
    }
}

#[tokio::test]
async fn each_class_goes_at_its_own_time_and_what_the_ledger_knows_stays() {
    let ledger = open_ledger().await;
    for version in 1..=4 {
        deliver(&ledger, t(version * DAYS), A, version, &format!("v{version} | 0800/2 0900/4"))
            .await;
    }
    ledger.resync(t(5 * DAYS), None, A, &audit(A)).await.unwrap();
    ledger.map(t(5 * DAYS)).await;
    ledger.accept_all(t(5 * DAYS)).await;
    let policy = keep(10, 100, 200, 400);
    let counted = async || {
        let mut all = Vec::new();
        for table in
            ["document", "packet", "step_body", "attempt", "call", "entry", "revision", "audit"]
        {
            all.push(rows(&ledger, table).await);
        }
        all
    };
    keep_up(&ledger, 6, &policy).await;
    assert_eq!(counted().await, [4, 5, 1, 6, 4, 5, 4, 1]);
    keep_up(&ledger, 50, &policy).await;
    assert_eq!(counted().await, [0, 0, 0, 6, 4, 5, 4, 1], "bodies");
    keep_up(&ledger, 150, &policy).await;
    assert_eq!(counted().await, [0, 0, 0, 0, 0, 5, 4, 1], "attempts and calls");
    keep_up(&ledger, 300, &policy).await;
    // The newest entry, which is the acknowledged one, and the revision it stands on.
    assert_eq!(counted().await, [0, 0, 0, 0, 0, 1, 1, 1], "revisions and entries");
    keep_up(&ledger, 500, &policy).await;
    assert_eq!(
        counted().await,
        [0, 0, 0, 0, 0, 1, 1, 1],
        "of the audit, what tells of the archive"
    );
    let view = ledger.view(A).await;
    let trimmed = view.trimmed.unwrap();
    assert_eq!((trimmed.attempts, trimmed.entries, trimmed.revisions), (6, 4, 3));
    assert_eq!(ledger.step_states(A).await, "0800/2=acked 0900/4=acked");
    // What was acknowledged is still known: the same again is not sent again.
    ledger.receive(t(501 * DAYS), item(A, 9, "v4 | 0800/2 0900/4 ")).await;
    assert_eq!(ledger.newest(A).await.state, S::Unchanged);
    assert_eq!(ledger.step_states(A).await, "0800/2=acked 0900/4=acked");
}

#[tokio::test]
async fn nothing_of_a_dossier_under_a_legal_hold_goes_until_it_is_released() {
    let ledger = open_ledger().await;
    for code in [A, B] {
        for version in 1..=2 {
            deliver(&ledger, t(version * DAYS), code, version, &format!("v{version} | 0800/2"))
                .await;
        }
        ledger.resync(t(3 * DAYS), None, code, &audit(code)).await.unwrap();
        ledger.map(t(3 * DAYS)).await;
        ledger.accept_all(t(3 * DAYS)).await;
    }
    let hold = async |hold| ledger.set_hold(t(3 * DAYS), None, A, hold, &audit(A)).await.unwrap();
    assert_eq!(hold(true).await, HoldOutcome::Placed);
    assert_eq!(hold(true).await, HoldOutcome::AlreadyHeld);
    let view = ledger.view(A).await;
    assert_eq!(view.hold.as_ref().unwrap().reason, "asked by phone");
    let before = (view.attempts.len(), view.entries.len(), view.revisions.len(), view.audit.len());
    let policy = keep(10, 100, 200, 400);
    keep_up(&ledger, 900, &policy).await;
    let view = ledger.view(A).await;
    let after = (view.attempts.len(), view.entries.len(), view.revisions.len(), view.audit.len());
    assert_eq!(before, after);
    assert!(view.attempts.iter().any(|attempt| attempt.service.is_some()), "with their calls");
    assert!(view.trimmed.is_none());
    assert!(view.revisions.iter().all(|revision| revision.body_kept));
    let other = ledger.view(B).await;
    assert_eq!((other.attempts.len(), other.entries.len(), other.audit.len()), (0, 1, 1));
    assert_eq!(hold(false).await, HoldOutcome::Released);
    assert_eq!(hold(false).await, HoldOutcome::NotHeld);
    keep_up(&ledger, 900, &policy).await;
    assert_eq!(ledger.view(A).await.entries.len(), 1);
    let nobody = ledger.set_hold(t(1), None, "nobody", true, &audit("nobody")).await.unwrap();
    assert_eq!(nobody, HoldOutcome::UnknownDossier);
}

#[tokio::test]
async fn what_waits_for_a_person_keeps_its_history_for_ever() {
    let ledger = open_ledger().await;
    ledger.receive(t(0), item(A, 1, "one")).await;
    let claimed = ledger.claim_one(t(0), 1).await;
    ledger.settle_one(t(0), &claimed, 1, dead()).await;
    keep_up(&ledger, 3000, &keep(10, 100, 200, 400)).await;
    let view = ledger.view(A).await;
    assert_eq!((view.attempts.len(), view.entries[0].state), (1, S::Dead));
    let scope = RetryScope { dead: true, ..RetryScope::default() };
    assert_eq!(ledger.retry(t(3001 * DAYS), &scope, &audit(A)).await.unwrap(), 1);
    ledger.map(t(3001 * DAYS)).await;
    assert_eq!(ledger.claim(t(3001 * DAYS), 2).await.len(), 1);
}

/// How many attempts a dossier's history shows, and how many there are.
async fn shown_and_there(ledger: &TestLedger, code: &str) -> (i64, i64) {
    let view = ledger.view(code).await;
    let mut conn = beside(&ledger.path()).await;
    let there = sqlx::query_scalar("SELECT count(*) FROM attempt WHERE dossier_id = ?1")
        .bind(view.dossier_id)
        .fetch_one(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
    (i64::try_from(view.attempts.len()).unwrap(), there)
}

#[tokio::test]
async fn a_history_never_loses_its_middle() {
    let ledger = open_ledger().await;
    deliver(&ledger, t(DAYS), A, 1, "v1 | 0800/2").await;
    // Its second revision is refused, so nothing of it may go for a long time.
    ledger.receive(t(2 * DAYS), item(A, 2, "v2")).await;
    let claimed = ledger.claim_one(t(2 * DAYS), 1).await;
    ledger.settle_one(t(2 * DAYS), &claimed, 1, dead()).await;
    deliver(&ledger, t(3 * DAYS), B, 1, "v1 | 0800/2").await;
    let mut policy = keep(10, 100, 200, 400);
    policy.retention.rows_max = 2;
    for _ in 0..2 {
        ledger.upkeep(t(150 * DAYS), &policy).await.unwrap();
    }
    let kept = shown_and_there(&ledger, A).await;
    assert!(kept.0 >= 3 && kept.0 == kept.1, "{kept:?}");
    // Retention stands behind its first attempts when they are settled; the later ones come first.
    let scope = RetryScope { dead: true, ..RetryScope::default() };
    ledger.retry(t(151 * DAYS), &scope, &audit(A)).await.unwrap();
    ledger.map(t(151 * DAYS)).await;
    ledger.accept_all(t(151 * DAYS)).await;
    for pass in 0..8 {
        ledger.upkeep(t(400 * DAYS), &policy).await.unwrap();
        let (shown, there) = shown_and_there(&ledger, A).await;
        assert_eq!(shown, there, "pass {pass}");
    }
    assert_eq!(shown_and_there(&ledger, A).await, (0, 0));
    let trimmed = ledger.view(A).await.trimmed.unwrap();
    assert_eq!(trimmed.attempts, u64::try_from(kept.0).unwrap() + 1);
}

#[tokio::test]
async fn an_attempt_that_gets_the_number_of_a_deleted_one_stays_with_its_dossier() {
    let ledger = open_ledger().await;
    deliver(&ledger, t(DAYS), A, 1, "v1 | 0800/2").await;
    deliver(&ledger, t(2 * DAYS), B, 1, "v1 | 0800/2").await;
    keep_up(&ledger, 200, &keep(10, 100, 200, 400)).await;
    assert_eq!(rows(&ledger, "attempt").await, 0, "numbers begin anew");
    // The first of these gets the number that was another dossier's, then those of its own.
    deliver(&ledger, t(201 * DAYS), B, 2, "v2 | 0800/2 0900/4").await;
    assert_eq!(shown_and_there(&ledger, A).await, (0, 0));
    assert_eq!(shown_and_there(&ledger, B).await, (2, 2));
    deliver(&ledger, t(202 * DAYS), A, 2, "v2 | 0800/2 0900/4").await;
    for code in [A, B] {
        assert_eq!(shown_and_there(&ledger, code).await, (2, 2));
    }
}

#[tokio::test]
async fn the_last_books_of_a_source_stay() {
    let ledger = open_ledger().await;
    for day in 0..5 {
        for source in [SOURCE, "other"] {
            let ended_at = t(day * DAYS);
            let books = Books { source: source.into(), ended_at, ..Books::default() };
            ledger.record_books(&books).await.unwrap();
        }
    }
    keep_up(&ledger, 900, &keep(10, 100, 200, 400)).await;
    assert_eq!(rows(&ledger, "reconciliation").await, 2);
    assert_eq!(ledger.standing(t(0)).await.unwrap().last_books.len(), 2);
}

#[tokio::test]
async fn one_pass_looks_at_a_bounded_number_and_the_next_goes_on_behind_what_stays() {
    let ledger = open_ledger().await;
    // The oldest ones wait for a person: more of them than one pass looks at.
    for round in 0..2 {
        let items = (0..30).map(|n| item(&format!("{round}-{n}"), 1, "one")).collect();
        ledger.pull(t(round), items).await;
        ledger.map(t(round)).await;
        for claimed in ledger.claim(t(round), 1).await {
            let settlement = if round == 0 { dead() } else { accepted() };
            ledger.settle_one(t(round), &claimed, 1, settlement).await;
        }
    }
    let mut policy = keep(10, 100, 200, 400);
    policy.retention.rows_max = 20;
    let mut dropped = Vec::new();
    for _ in 0..5 {
        dropped.push(ledger.upkeep(t(50 * DAYS), &policy).await.unwrap().bodies_dropped);
    }
    // Packets and documents: 20 kept; 10 kept and 10 gone; 20 gone; then the kept ones again.
    assert_eq!(dropped, [0, 20, 40, 0, 0]);
    assert_eq!(rows(&ledger, "packet").await, 30);
}

#[tokio::test]
async fn the_file_shrinks_when_retention_has_taken_what_was_in_it() {
    let ledger = open_ledger().await;
    let text = |n: usize| -> String {
        (0..120).map(|k| blake3::hash(format!("{n} {k}").as_bytes()).to_string()).collect()
    };
    let items = (0..600).map(|n| item(&format!("{n}"), 1, &text(n))).collect();
    ledger.pull(t(0), items).await;
    ledger.map(t(0)).await;
    while ledger.accept_all(t(0)).await > 0 {}
    let file = async || {
        let mut conn = beside(&ledger.path()).await;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        std::fs::metadata(ledger.path()).unwrap().len()
    };
    let full = file().await;
    let mut policy = keep(10, 100, 200, 400);
    policy.retention.rows_max = 500;
    let mut freed = 0;
    for _ in 0..20 {
        freed += ledger.upkeep(t(50 * DAYS), &policy).await.unwrap().pages_freed;
    }
    assert_eq!(rows(&ledger, "document").await + rows(&ledger, "packet").await, 0);
    let left = file().await;
    // 1200 bodies of some 4 KB were there; what is kept is a spare of a megabyte and the rows.
    assert!(full > 4_500_000, "{full}");
    assert!(left < full * 2 / 5, "{full} bytes before, {left} after, {freed} pages freed");
}

#[tokio::test]
async fn a_ledger_that_cannot_give_back_its_holes_does_so_after_it_was_compacted() {
    let ledger = open_ledger().await;
    let text = |n: usize| -> String {
        (0..120).map(|k| blake3::hash(format!("{n} {k}").as_bytes()).to_string()).collect()
    };
    ledger.pull(t(0), (0..500).map(|n| item(&format!("{n}"), 1, &text(n))).collect()).await;
    ledger.close().await;
    // As the first version made it.
    let mut conn = beside(&ledger.path()).await;
    for statement in ["PRAGMA journal_mode = DELETE", "PRAGMA auto_vacuum = NONE", "VACUUM"] {
        sqlx::query(statement).execute(&mut conn).await.unwrap();
    }
    sqlx::query("DELETE FROM document").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let open = async || {
        let settings = SqliteSettings { check_up_to: None, ..SqliteSettings::default() };
        SqliteLedger::open(&ledger.path(), &settings).await.unwrap()
    };
    let old = open().await;
    let policy = keep(10, 100, 200, 400);
    assert_eq!(old.upkeep(t(0), &policy).await.unwrap().pages_freed, 0);
    let (before, after) = old.compact(t(0)).await.unwrap();
    assert!(after < before / 4, "{before} {after}");
    old.close().await;
    let mut conn = beside(&ledger.path()).await;
    let mode: i64 = sqlx::query_scalar("PRAGMA auto_vacuum").fetch_one(&mut conn).await.unwrap();
    assert_eq!(mode, 2);
    assert_eq!(open().await.dossier("7").await.unwrap().len(), 1);
}

#[tokio::test]
async fn years_of_small_traffic_keep_everything_but_the_dossiers_at_one_size() {
    let ledger = open_ledger().await;
    let policy = keep(10, 30, 60, 365);
    let counted = async || {
        let mut sum = 0;
        for table in [
            "document",
            "packet",
            "step_body",
            "attempt",
            "call",
            "cursor",
            "retention",
            "reconciliation",
            "discrepancy",
            "refused_document",
            "singleton",
            "size_sample",
        ] {
            sum += rows(&ledger, table).await;
        }
        sum
    };
    let mut seen = Vec::new();
    for day in 0..400 {
        let code = format!("{day}");
        deliver(&ledger, t(day * DAYS), &code, 1, "v1 | 0800/2").await;
        deliver(&ledger, t(day * DAYS + 1), &code, 2, "v2 | 0800/2 0900/4").await;
        let books = Books { source: SOURCE.into(), ended_at: t(day * DAYS), ..Books::default() };
        ledger.record_books(&books).await.unwrap();
        ledger.measure(t(day * DAYS)).await.unwrap();
        ledger.upkeep(t(day * DAYS), &policy).await.unwrap();
        if day % 100 == 99 {
            // One sample a day and class is kept for two years.
            seen.push(counted().await - rows(&ledger, "size_sample").await);
        }
    }
    assert!(seen[3] <= seen[0] + 5, "{seen:?}");
    // Of each older dossier one revision and one entry are left.
    assert!(rows(&ledger, "entry").await < 400 + 150);
    let sizes = ledger.sizes(t(400 * DAYS)).await.unwrap();
    assert!(sizes.growth.is_some() && sizes.disk_free_bytes.is_some());
    let dossiers = sizes.classes.iter().find(|class| class.class == "dossiers").unwrap();
    assert!(dossiers.rows >= 400 + 800, "{dossiers:?}");
}
