//! Sealed bodies: which key opens them, what is refused, and how keys are changed.

use hoso_gateway::domain::entry::EntryState as S;
use hoso_gateway::ledger::key::{BodyKey, KeyTrouble};
use hoso_gateway::ledger::record::PullCommit;
use hoso_gateway::ledger::record::RefusedRecord;
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};
use hoso_gateway::ledger::{Ledger, LedgerError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use super::support::{audit, item, mapped, page, t};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";

fn key(digit: char) -> BodyKey {
    BodyKey::from_text(&digit.to_string().repeat(64)).unwrap()
}

fn under(key: Option<BodyKey>, old_key: Option<BodyKey>) -> SqliteSettings {
    SqliteSettings { key, old_key, adopt_key_at: Some(t(0)), ..SqliteSettings::default() }
}

async fn open(folder: &TempDir, settings: &SqliteSettings) -> Result<SqliteLedger, LedgerError> {
    SqliteLedger::open(&folder.path().join("ledger.db"), settings).await
}

fn trouble(refusal: Result<SqliteLedger, LedgerError>) -> KeyTrouble {
    match refusal {
        Err(LedgerError::Key(trouble)) => trouble,
        other => panic!("{other:?}"),
    }
}

/// One dossier with a packet and a step, one unmapped, one piece of evidence.
async fn fill(ledger: &SqliteLedger) {
    let mut commit = page(t(0), vec![item(A, 1, "Trần Văn Mẫu | 0800/2")]);
    commit.refused.push(RefusedRecord {
        rule: "source.item".into(),
        reason: "no code".into(),
        ma_ho_so: None,
        evidence: "Nguyễn Thị Mẫu".into(),
    });
    ledger.commit_pull(&commit).await.unwrap();
    let unmapped = ledger.to_map(10).await.unwrap();
    let mapped: Vec<_> = unmapped.iter().map(mapped).collect();
    ledger.record_mapped(t(0), &mapped).await.unwrap();
    let more = PullCommit { ..page(t(1), vec![item(B, 1, "Lê Văn Mẫu")]) };
    ledger.commit_pull(&more).await.unwrap();
}

async fn readable(ledger: &SqliteLedger) {
    let dossier = ledger.dossier(A).await.unwrap().remove(0).dossier_id;
    let document = ledger.newest_document(dossier).await.unwrap().unwrap();
    assert!(document.starts_with("Trần Văn Mẫu"), "{document}");
    assert_eq!(ledger.check().await.unwrap(), []);
}

async fn run(folder: &TempDir, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(folder.path().join("ledger.db"));
    let mut conn = options.connect().await.unwrap();
    sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_refused_at_the_start_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder, &under(Some(key('a')), None)).await.unwrap();
    fill(&ledger).await;
    readable(&ledger).await;
    ledger.close().await;
    let id = key('a').id();
    assert_eq!(
        trouble(open(&folder, &under(None, None)).await),
        KeyTrouble::Missing { id: id.clone() }
    );
    let given = key('b').id();
    assert_eq!(
        trouble(open(&folder, &under(Some(key('b')), None)).await),
        KeyTrouble::Wrong { id, given }
    );
    readable(&open(&folder, &under(Some(key('a')), None)).await.unwrap()).await;
}

#[tokio::test]
async fn a_body_in_another_row_is_set_aside_and_never_sent_as_that_row() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder, &under(Some(key('a')), None)).await.unwrap();
    ledger.commit_pull(&page(t(0), vec![item(A, 1, "one"), item(B, 1, "two")])).await.unwrap();
    run(
        &folder,
        "UPDATE document SET body = (SELECT body FROM document WHERE revision_id = 2) WHERE revision_id = 1",
    )
    .await;
    let unmapped = ledger.to_map(10).await.unwrap();
    assert_eq!(unmapped.len(), 1);
    assert_eq!((&*unmapped[0].ma_ho_so, &*unmapped[0].document), (B, "two"));
    let set_aside = ledger.dossier(A).await.unwrap().remove(0);
    assert_eq!(set_aside.newest_entry().unwrap().state, S::Quarantined);
    assert_eq!(ledger.check().await.unwrap()[0].examples, ["document 1"]);
}

#[tokio::test]
async fn a_ledger_that_was_not_sealed_is_sealed_by_the_same_way_as_keys_are_changed() {
    let folder = tempfile::tempdir().unwrap();
    let plain = open(&folder, &under(None, None)).await.unwrap();
    fill(&plain).await;
    plain.close().await;
    // With the first key: new bodies are sealed, the ones before stay readable.
    let first = open(&folder, &under(Some(key('a')), None)).await.unwrap();
    readable(&first).await;
    let done = first.reseal(t(2), &audit("ledger")).await.unwrap();
    assert_eq!((done.resealed, done.unreadable), (5, 0));
    assert_eq!(first.reseal(t(2), &audit("ledger")).await.unwrap().resealed, 0);
    readable(&first).await;
    first.close().await;
    // From here on a body that is not sealed was put there by somebody else.
    let plain = zstd::bulk::compress("gia mao".as_bytes(), 1).unwrap();
    let path = folder.path().join("ledger.db");
    let mut conn = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let swap = "UPDATE document SET body = ?1 WHERE revision_id = 2";
    sqlx::query(swap).bind(plain).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let first = open(&folder, &under(Some(key('a')), None)).await.unwrap();
    assert!(first.to_map(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn keys_change_while_every_body_stays_readable_and_the_old_key_is_needed_until_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let service = open(&folder, &under(Some(key('a')), None)).await.unwrap();
    fill(&service).await;
    // Who only looks does not put the new key to use, and can read meanwhile.
    let only_looks = SqliteSettings { adopt_key_at: None, ..under(Some(key('b')), Some(key('a'))) };
    let reader = open(&folder, &only_looks).await.unwrap();
    assert!(reader.key_is_new());
    readable(&reader).await;
    let refused = reader.commit_pull(&page(t(3), vec![item("new", 1, "x")])).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Key(KeyTrouble::NotAdopted { .. })), "{refused:?}");

    let next = open(&folder, &under(Some(key('b')), Some(key('a')))).await.unwrap();
    readable(&next).await;
    // The process that knows only the old key writes nothing more.
    let refused = service.commit_pull(&page(t(3), vec![item("new", 1, "x")])).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Key(KeyTrouble::Changed { .. })), "{refused:?}");
    assert_eq!(
        trouble(open(&folder, &under(Some(key('b')), None)).await),
        KeyTrouble::OlderMissing { id: key('a').id() }
    );
    assert_eq!(
        trouble(open(&folder, &under(Some(key('c')), Some(key('b')))).await),
        KeyTrouble::OlderMissing { id: key('a').id() },
        "one change at a time"
    );
    assert_eq!(next.reseal(t(4), &audit("ledger")).await.unwrap().resealed, 5);
    readable(&open(&folder, &under(Some(key('b')), None)).await.unwrap()).await;
    assert!(matches!(
        trouble(open(&folder, &under(Some(key('a')), None)).await),
        KeyTrouble::Wrong { .. }
    ));
}

#[tokio::test]
async fn a_change_of_keys_that_was_cut_short_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let plain = open(&folder, &under(Some(key('a')), None)).await.unwrap();
    let items = (0..500).map(|n| item(&format!("{n}"), 1, &format!("text {n}"))).collect();
    plain.commit_pull(&page(t(0), items)).await.unwrap();
    plain.close().await;
    let cut = open(&folder, &under(Some(key('b')), Some(key('a')))).await.unwrap();
    // Dropped after its first batches, as a stopped command is.
    let target = audit("ledger");
    let mut work = Box::pin(cut.reseal(t(1), &target));
    let under_b = async || -> i64 {
        let options = SqliteConnectOptions::new().filename(folder.path().join("ledger.db"));
        let mut conn = options.connect().await.unwrap();
        let id = key('b').id();
        sqlx::query_scalar(
            "SELECT count(*) FROM document WHERE lower(hex(substr(body, 6, 8))) = ?1",
        )
        .bind(id)
        .fetch_one(&mut conn)
        .await
        .unwrap()
    };
    while under_b().await == 0 {
        assert!(futures_util::poll!(work.as_mut()).is_pending(), "all at once");
    }
    drop(work);
    let done = under_b().await;
    assert!(done < 500, "{done}");
    cut.close().await;
    let again = open(&folder, &under(Some(key('b')), Some(key('a')))).await.unwrap();
    assert_eq!(again.check().await.unwrap(), []);
    let rest = again.reseal(t(2), &audit("ledger")).await.unwrap().resealed;
    assert_eq!(i64::try_from(rest).unwrap() + done, 500);
}
