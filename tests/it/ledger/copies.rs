//! Backups: made beside a running service, verified, restored; what is refused.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hoso_gateway::domain::entry::EntryState as S;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::record::AuditRecord;
use hoso_gateway::ledger::sqlite::{
    Restoration, SqliteLedger, SqliteSettings, manifest_of, put_back, verify,
};
use hoso_gateway::ledger::{Ledger, LedgerError};

use super::support::{
    TestLedger, audit, claiming, item, lease, open_ledger, page, t, upkeep_policy,
};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";
const C: &str = "H55.242-260126-0003";

fn settings() -> SqliteSettings {
    SqliteSettings { durable: false, ..SqliteSettings::default() }
}

async fn open(path: &Path) -> SqliteLedger {
    SqliteLedger::open(path, &settings()).await.unwrap()
}

/// A backup of a ledger that somebody else has open.
async fn backed_up(ledger: &TestLedger, now: Timestamp) -> PathBuf {
    let file = ledger.path().with_file_name("backup.db");
    let beside = open(&ledger.path()).await;
    beside.backup(&file, now).await.unwrap();
    beside.close().await;
    file
}

async fn restored(backup: &Path, to: &Path, replace: bool) -> Result<Restoration, LedgerError> {
    let who = AuditRecord { action: "restore".into(), ..audit("ledger") };
    put_back(backup, to, &settings(), replace, t(100), &[], &who).await
}

fn refused(result: Result<Restoration, LedgerError>) -> String {
    match result {
        Err(LedgerError::Refused { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_backup_beside_a_working_ledger_is_whole_verified_and_private() {
    let ledger = open_ledger().await;
    ledger.deliver(t(0), item(A, 1, "one | 0800/2")).await;
    let backup = backed_up(&ledger, t(1)).await;
    // Work goes on.
    ledger.deliver(t(2), item(B, 1, "one")).await;
    let (manifest, findings) = verify(&backup, &settings(), t(3)).await.unwrap();
    assert_eq!(findings, []);
    assert_eq!((manifest.made_at, manifest.rows["dossier"], manifest.rows["step"]), (t(1), 1, 1));
    assert_eq!(std::fs::metadata(&backup).unwrap().len(), manifest.bytes);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let beside = open(&ledger.path()).await;
    let again = beside.backup(&backup, t(4)).await.unwrap_err();
    assert!(matches!(again, LedgerError::Refused { .. }), "{again:?}");
}

#[tokio::test]
async fn a_backup_with_a_changed_byte_is_found_out() {
    let ledger = open_ledger().await;
    let items = (0..50).map(|n| item(&format!("{n}"), 1, &"text ".repeat(300))).collect();
    ledger.pull(t(0), items).await;
    let backup = backed_up(&ledger, t(1)).await;
    let bytes = std::fs::metadata(&backup).unwrap().len();
    let mut file = std::fs::OpenOptions::new().write(true).open(&backup).unwrap();
    file.seek(SeekFrom::Start(bytes / 2)).unwrap();
    file.write_all(&[0xa5; 8]).unwrap();
    let found = verify(&backup, &settings(), t(2)).await;
    let said = match &found {
        Ok((_, findings)) => format!("{findings:?}"),
        Err(error) => error.to_string(),
    };
    assert!(said.contains("manifest") || said.contains("intact"), "{said}");
    ledger.close().await;
    assert!(restored(&backup, &ledger.path(), true).await.is_err());
    // Nothing was touched.
    assert_eq!(open(&ledger.path()).await.dossier("7").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_restore_keeps_what_was_there_and_refuses_a_ledger_in_use() {
    let ledger = open_ledger().await;
    ledger.deliver(t(0), item(A, 1, "one")).await;
    let backup = backed_up(&ledger, t(1)).await;
    ledger.deliver(t(2), item(B, 1, "one")).await;
    assert!(refused(restored(&backup, &ledger.path(), false).await).contains("there is a ledger"));
    // Open in another process; then owned by a service.
    assert!(refused(restored(&backup, &ledger.path(), true).await).contains("works with"));
    ledger.hold_singleton(t(90), "gate", "hoso serve", lease(1, t(90))).await.unwrap();
    assert!(refused(restored(&backup, &ledger.path(), true).await).contains("hoso serve"));
    ledger.release_singleton("gate", 1).await.unwrap();
    ledger.remember_quota("day", t(5000)).await.unwrap();
    ledger.close().await;
    let done = restored(&backup, &ledger.path(), true).await.unwrap();
    let now = open(&ledger.path()).await;
    assert!(now.dossier(B).await.unwrap().is_empty());
    let audit = now.dossier(A).await.unwrap();
    assert_eq!(audit.len(), 1);
    // The quota that was used since the backup counts.
    assert_eq!(now.recall_quota().await.unwrap(), [("day".to_owned(), t(5000))]);
    let kept = open(&done.kept.unwrap()).await;
    assert_eq!(kept.dossier(B).await.unwrap().len(), 1);
    // Without a ledger there is nothing to replace.
    let elsewhere = ledger.path().with_file_name("elsewhere.db");
    assert_eq!(restored(&backup, &elsewhere, false).await.unwrap().kept, None);
    assert!(elsewhere.exists() && manifest_of(&backup).exists());
}

#[tokio::test]
async fn a_ledger_that_is_replaced_twice_in_a_second_is_kept_twice() {
    let ledger = open_ledger().await;
    ledger.deliver(t(0), item(A, 1, "one")).await;
    let backup = backed_up(&ledger, t(1)).await;
    ledger.deliver(t(2), item(B, 1, "one")).await;
    ledger.close().await;
    let first = restored(&backup, &ledger.path(), true).await.unwrap().kept.unwrap();
    let second = restored(&backup, &ledger.path(), true).await.unwrap().kept.unwrap();
    assert_ne!(first, second);
    assert_eq!(open(&first).await.dossier(B).await.unwrap().len(), 1, "the first one is gone");
    assert!(open(&second).await.dossier(B).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_restore_that_died_just_before_its_end_may_be_repeated_at_once() {
    let ledger = open_ledger().await;
    ledger.deliver(t(0), item(A, 1, "one")).await;
    let backup = backed_up(&ledger, t(1)).await;
    ledger.deliver(t(2), item(B, 1, "one")).await;
    ledger.close().await;
    // The second name was given already; both are one file.
    let name = format!("ledger.db.replaced-{}", t(100).to_portal());
    std::fs::hard_link(ledger.path(), ledger.path().with_file_name(name)).unwrap();
    let kept = restored(&backup, &ledger.path(), true).await.unwrap().kept.unwrap();
    assert_eq!(open(&kept).await.dossier(B).await.unwrap().len(), 1, "what was kept is empty");
}

#[tokio::test]
async fn the_journal_of_a_restore_that_died_belongs_to_no_other_backup() {
    let ledger = open_ledger().await;
    ledger.deliver(t(0), item(A, 1, "one")).await;
    let older = backed_up(&ledger, t(1)).await;
    let other = ledger.path().with_file_name("other.db");
    let items = (0..40).map(|n| item(&format!("{n}"), 1, &"text ".repeat(100))).collect();
    ledger.pull(t(2), items).await;
    let beside = open(&ledger.path()).await;
    beside.backup(&other, t(3)).await.unwrap();
    beside.close().await;
    ledger.close().await;
    // It died while the copy of the other backup was being marked: its journal lies there.
    let part = ledger.path().with_file_name("ledger.db.restoring");
    std::fs::copy(&other, &part).unwrap();
    let dying = open(&part).await;
    dying.commit_pull(&page(t(4), vec![item(C, 1, "three")])).await.unwrap();
    let journal = part.with_file_name("ledger.db.restoring-wal");
    let left = std::fs::read(&journal).unwrap();
    dying.close().await;
    std::fs::copy(&other, &part).unwrap();
    std::fs::write(&journal, left).unwrap();
    let done = restored(&older, &ledger.path(), true).await.unwrap();
    let again = open(&ledger.path()).await;
    assert_eq!(again.check().await.unwrap(), [], "{done:?}");
    assert!(again.dossier(C).await.unwrap().is_empty(), "of the other one");
    assert_eq!(again.dossier(A).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_damaged_ledger_can_be_replaced() {
    let ledger = open_ledger().await;
    ledger.deliver(t(0), item(A, 1, "one")).await;
    let backup = backed_up(&ledger, t(1)).await;
    ledger.close().await;
    std::fs::write(ledger.path(), "not a database\n".repeat(400)).unwrap();
    let done = restored(&backup, &ledger.path(), true).await.unwrap();
    assert!(std::fs::read_to_string(done.kept.unwrap()).unwrap().starts_with("not a database"));
    assert_eq!(open(&ledger.path()).await.dossier(A).await.unwrap().len(), 1);
}

#[tokio::test]
async fn after_a_restore_nothing_leaves_before_the_source_was_read_again() {
    let ledger = open_ledger().await;
    ledger.deliver(t(0), item(A, 1, "one | 0800/2 0900/5")).await;
    ledger.receive(t(1), item(B, 1, "one")).await;
    ledger.receive(t(1), item(C, 1, "one")).await;
    let leased = ledger.claim_entries(t(1), claiming(1, t(1), 1)).await.unwrap();
    assert_eq!(leased.len(), 1);
    let backup = backed_up(&ledger, t(2)).await;
    ledger.close().await;
    let done = restored(&backup, &ledger.path(), true).await.unwrap();
    assert_eq!((done.aftermath.to_look_up, done.aftermath.steps_held), (2, 1));
    let again = open(&ledger.path()).await;
    assert_eq!(again.check().await.unwrap(), []);
    let state = async |code: &str| {
        again.dossier(code).await.unwrap().remove(0).newest_entry().unwrap().state
    };
    assert_eq!((state(B).await, state(C).await), (S::Unconfirmed, S::Unconfirmed));
    let claimable = async |now| {
        let packets = again.claim_entries(now, claiming(9, now, 10)).await.unwrap().len();
        let looks = again.claim_unconfirmed(now, now, 10).await.unwrap().len();
        let steps = again.claim_steps(now, claiming(9, now, 10), 10).await.unwrap().len();
        (packets, looks, steps)
    };
    assert_eq!(claimable(t(101)).await, (0, 0, 0));
    assert_eq!(again.standing(t(101)).await.unwrap().rereading, ["province"]);
    // Half the feed is not the feed; and what was read must be mapped.
    again.commit_pull(&page(t(102), vec![item(B, 2, "two | 0800/5")])).await.unwrap();
    again.upkeep(t(103), &upkeep_policy()).await.unwrap();
    assert_eq!(claimable(t(103)).await, (0, 0, 0));
    let mut last = page(t(104), Vec::new());
    last.caught_up = true;
    again.commit_pull(&last).await.unwrap();
    again.upkeep(t(105), &upkeep_policy()).await.unwrap();
    assert_eq!(claimable(t(105)).await, (0, 0, 0), "unmapped");
    let unmapped = again.to_map(10).await.unwrap();
    let mapped: Vec<_> = unmapped.iter().map(super::support::mapped).collect();
    again.record_mapped(t(106), &mapped).await.unwrap();
    assert_eq!(again.upkeep(t(107), &upkeep_policy()).await.unwrap().sources_resumed, 1);
    // B waits behind its older packet, whose fate is looked up; A's harmless step goes.
    assert_eq!(claimable(t(108)).await, (0, 2, 1));
    let steps: Vec<String> =
        again.dossier(B).await.unwrap().remove(0).steps.iter().map(|s| s.state.clone()).collect();
    assert_eq!(steps, ["held"], "a request for a supplement that may have been sent");
}
