//! SQLite's file: what is refused, what survives, what retention gives back.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use hoso_gateway::domain::entry::EntryState as S;
use hoso_gateway::ledger::record::{Retention, RetryScope, UpkeepPolicy};
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};
use hoso_gateway::ledger::{Ledger, LedgerError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::support::{TestLedger, audit, item, open_ledger, page, t, upkeep_policy};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";

async fn open(path: &Path) -> Result<SqliteLedger, LedgerError> {
    SqliteLedger::open(path, &SqliteSettings::default()).await
}

/// A second connection, as an administrator's tool opens one.
async fn beside(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

async fn run(path: &Path, statement: &'static str) {
    let mut conn = beside(path).await;
    sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

fn damaged(refusal: Result<SqliteLedger, LedgerError>) -> String {
    match refusal {
        Err(LedgerError::Damaged { finding, .. }) => finding,
        other => panic!("{other:?}"),
    }
}

/// A closed ledger of some hundred dossiers.
async fn filled() -> TestLedger {
    let ledger = open_ledger().await;
    let items = (0..300).map(|n| item(&format!("{n}"), 1, &"text ".repeat(200)));
    ledger.pull(t(1), items.collect()).await;
    ledger.map(t(1)).await;
    ledger.close().await;
    ledger
}

#[tokio::test]
async fn what_was_reported_is_there_after_a_crash() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item(A, 1, "one | 0800/2")).await;
    ledger.receive(t(2), item(B, 1, "one")).await;
    let claimed = ledger.claim_one(t(2), 1).await;
    // The process is gone without closing anything: the file and its journal as they are now.
    let folder = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(ledger.path().with_file_name(name), folder.path().join(name)).unwrap();
    }
    let again = open(&folder.path().join("ledger.db")).await.unwrap();
    let view = again.dossier(A).await.unwrap().remove(0);
    assert_eq!(view.entries[0].state, S::Accepted);
    let view = again.dossier(B).await.unwrap().remove(0);
    assert_eq!(view.entries[0].state, S::Leased);
    assert_eq!(view.entries[0].attempt, 1);
    let counts = again.upkeep(t(100), &upkeep_policy()).await.unwrap();
    assert_eq!(counts.leases_expired, 1);
    let unknown = again.claim_unconfirmed(t(100), t(200), 10).await.unwrap();
    assert_eq!(unknown[0].entry_id, claimed.entry_id);
}

#[tokio::test]
async fn a_second_process_sees_and_changes_the_same_ledger() {
    let daemon = open_ledger().await;
    daemon.deliver(t(1), item(A, 1, "one")).await;
    let command = open(&daemon.path()).await.unwrap();
    let target = audit(A);
    let mut calls = Vec::new();
    for n in 0..20i64 {
        calls.push(command.resync(t(n), None, A, &target));
        calls.push(daemon.resync(t(n), None, A, &target));
    }
    for outcome in futures_util::future::join_all(calls).await {
        outcome.unwrap();
    }
    assert_eq!(daemon.view(A).await.entries.len(), 2);
    assert_eq!(daemon.view(A).await.audit.len(), 40);
}

/// Overwrites a page that holds rows of this table, as a dying disk does.
async fn spoil(path: &Path, table: &'static str) {
    let mut conn = beside(path).await;
    let (page, size): (i64, i64) = sqlx::query_as(
        "SELECT pageno, pgsize FROM dbstat WHERE name = ?1 AND pagetype = 'leaf' LIMIT 1",
    )
    .bind(table)
    .fetch_one(&mut conn)
    .await
    .unwrap();
    conn.close().await.unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let start = (page - 1).unsigned_abs() * size.unsigned_abs();
    file.seek(SeekFrom::Start(start)).unwrap();
    file.write_all(&[0xff; 256]).unwrap();
}

/// Too large to be read whole at the start.
fn large() -> SqliteSettings {
    SqliteSettings { check_up_to: Some(0), ..SqliteSettings::default() }
}

#[tokio::test]
async fn of_a_large_ledger_damage_in_what_steers_the_work_is_refused_at_the_start() {
    let ledger = filled().await;
    spoil(&ledger.path(), "tally").await;
    damaged(SqliteLedger::open(&ledger.path(), &large()).await);

    let ledger = filled().await;
    let bytes = std::fs::metadata(ledger.path()).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(ledger.path()).unwrap();
    file.set_len(bytes / 2).unwrap();
    damaged(SqliteLedger::open(&ledger.path(), &large()).await);
}

#[tokio::test]
async fn damage_in_the_rest_of_a_large_ledger_is_found_behind_the_start() {
    let ledger = filled().await;
    spoil(&ledger.path(), "document").await;
    damaged(open(&ledger.path()).await);
    let opened = SqliteLedger::open(&ledger.path(), &large()).await.unwrap();
    match opened.measure(t(2)).await {
        Err(LedgerError::Damaged { .. }) => {}
        other => panic!("{other:?}"),
    }
    opened.close().await;

    let whole = filled().await;
    let opened = SqliteLedger::open(&whole.path(), &large()).await.unwrap();
    assert!(opened.measure(t(2)).await.unwrap(), "sound, so the day gets its sizes");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let text = "not a database\n".repeat(400);
    std::fs::write(&path, &text).unwrap();
    damaged(open(&path).await);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn an_empty_file_is_refused_because_a_ledger_may_have_been_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    std::fs::write(&path, "").unwrap();
    assert!(damaged(open(&path).await).contains("remove it"));
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_as_it_is() {
    let foreign = [
        "CREATE TABLE bookmark (id INTEGER PRIMARY KEY)",
        "PRAGMA application_id = 7; CREATE TABLE dossier (id INTEGER PRIMARY KEY)",
        // One that uses the same migration tool.
        "CREATE TABLE _sqlx_migrations (version INTEGER); INSERT INTO _sqlx_migrations VALUES (20260101);
         CREATE TABLE bookmark (id INTEGER PRIMARY KEY)",
    ];
    for statement in foreign {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        run(&path, statement).await;
        let before = std::fs::read(&path).unwrap();
        assert!(damaged(open(&path).await).contains("another program"));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn a_ledger_whose_first_start_was_cut_short_is_made_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    run(
        &path,
        "PRAGMA journal_mode = wal;
         CREATE TABLE _sqlx_migrations (
             version BIGINT PRIMARY KEY, description TEXT NOT NULL,
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
             checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
    )
    .await;
    let ledger = open(&path).await.unwrap();
    assert!(ledger.standing(t(1)).await.unwrap().dossiers.is_empty());
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let ledger = filled().await;
    let file = std::fs::OpenOptions::new().write(true).open(ledger.path()).unwrap();
    let bytes = file.metadata().unwrap().len();
    for kept in [bytes - 4096, bytes / 2, 100] {
        file.set_len(kept).unwrap();
        damaged(open(&ledger.path()).await);
    }
}

#[tokio::test]
async fn flipped_bytes_in_the_pages_are_refused() {
    let ledger = filled().await;
    let pages = std::fs::metadata(ledger.path()).unwrap().len() / 4096;
    let mut file = std::fs::OpenOptions::new().write(true).open(ledger.path()).unwrap();
    // Headers of b-tree pages in the middle of the file.
    for page in pages / 3..pages / 3 + 20 {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0xa5; 64]).unwrap();
    }
    drop(file);
    damaged(open(&ledger.path()).await);
}

#[tokio::test]
async fn a_flipped_bit_in_a_body_sets_that_dossier_aside_and_no_other() {
    let ledger = open_ledger().await;
    ledger.pull(t(1), vec![item(A, 1, "one"), item(B, 1, "one")]).await;
    run(&ledger.path(), "UPDATE document SET body = zeroblob(length(body)) WHERE revision_id = 1")
        .await;
    let unmapped = ledger.to_map(10).await.unwrap();
    assert_eq!(unmapped.len(), 1);
    assert_eq!(unmapped[0].ma_ho_so, B);
    let entry = ledger.newest(A).await;
    assert_eq!(entry.state, S::Quarantined);
    assert_eq!(entry.failure.unwrap().code, "ledger.corrupt");
}

#[tokio::test]
async fn a_damaged_packet_is_never_sent_and_can_be_made_anew() {
    let ledger = open_ledger().await;
    ledger.pull(t(1), vec![item(A, 1, "one"), item(B, 1, "one")]).await;
    ledger.map(t(1)).await;
    run(&ledger.path(), "UPDATE packet SET body = zeroblob(length(body)) WHERE entry_id = 1").await;
    assert_eq!(ledger.claim_one(t(2), 1).await.ma_ho_so, B);
    let entry = ledger.newest(A).await;
    assert_eq!(entry.state, S::Dead);
    assert_eq!(entry.failure.unwrap().code, "ledger.corrupt");
    let scope =
        RetryScope { dead: true, code: Some("ledger.corrupt".into()), ..RetryScope::default() };
    ledger.retry(t(3), &scope, &audit(A)).await.unwrap();
    ledger.map(t(3)).await;
    assert_eq!(ledger.claim_one(t(3), 2).await.packet, "one");
}

#[tokio::test]
async fn a_ledger_of_a_newer_program_is_refused() {
    let ledger = filled().await;
    run(
        &ledger.path(),
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .await;
    let refusal = open(&ledger.path()).await.unwrap_err();
    assert!(
        matches!(refusal, LedgerError::Newer { found: 9999, known } if known < 9999),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn migrations_that_were_not_wanted_are_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let settings = SqliteSettings { migrate: false, ..SqliteSettings::default() };
    let refusal = SqliteLedger::open(&path, &settings).await.unwrap_err();
    assert!(matches!(refusal, LedgerError::Older { found: 0, .. }), "{refusal:?}");
    assert!(!path.exists(), "nothing is created");
    open(&path).await.unwrap().close().await;
    SqliteLedger::open(&path, &settings).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("ledger.db");
    let refusal = open(&path).await.unwrap_err();
    assert!(matches!(refusal, LedgerError::Unavailable { .. }), "{refusal:?}");
}

/// Where the tests run as a user whom permissions do not bind, they cannot show anything.
#[cfg(unix)]
fn forbid_writing(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o555 } else { 0o444 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let probe = path.join("probe");
    if path.is_dir() {
        std::fs::File::create(probe).is_err()
    } else {
        std::fs::OpenOptions::new().write(true).open(path).is_err()
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_or_folder_that_may_not_be_written_is_said_so_at_start() {
    for forbid_folder in [false, true] {
        let ledger = filled().await;
        let path = ledger.path();
        let target = if forbid_folder { path.parent().unwrap() } else { &path };
        if !forbid_writing(target) {
            return;
        }
        let refusal = open(&path).await.unwrap_err();
        assert!(
            matches!(refusal, LedgerError::ReadOnly { .. }),
            "folder {forbid_folder}: {refusal:?}"
        );
    }
}

#[tokio::test]
async fn what_retention_drops_the_file_uses_again() {
    let ledger = open_ledger().await;
    let text = |n: usize, round: usize| -> String {
        (0..40).map(|k| blake3::hash(format!("{n} {round} {k}").as_bytes()).to_string()).collect()
    };
    let mut pages = Vec::new();
    for round in 0..4usize {
        let at = 100 * i64::try_from(round).unwrap();
        let version = 1 + i64::try_from(round).unwrap();
        let items = (0..200).map(|n| item(&format!("{n}"), version, &text(n, round)));
        ledger.commit_pull(&page(t(at), items.collect())).await.unwrap();
        ledger.map(t(at)).await;
        while ledger.accept_all(t(at)).await > 0 {}
        let policy = UpkeepPolicy {
            retention: Retention { bodies_ms: 1000, ..upkeep_policy().retention },
            ..upkeep_policy()
        };
        let counts = ledger.upkeep(t(at + 50), &policy).await.unwrap();
        assert_eq!(counts.bodies_dropped, 400, "documents and packets");
        let mut conn = beside(&ledger.path()).await;
        let count: i64 =
            sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut conn).await.unwrap();
        pages.push(count);
    }
    let growth = pages[3] - pages[0];
    assert!(growth < pages[0] / 2, "three more rounds took as much room as the first: {pages:?}");
}
