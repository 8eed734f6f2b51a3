//! What only a look at one directory shows: who may read it, and how many files it keeps in mind.

use std::time::Duration;

use super::*;
use crate::clock::ManualClock;

fn directory(path: &std::path::Path, clock: &ManualClock) -> Directory {
    let settings = DirectorySettings {
        name: "dat-dai".to_owned(),
        path: path.to_owned(),
        settle_ms: 1000,
        unfinished_ms: 60_000,
        file_bytes_max: 1 << 20,
        item_bytes_max: 1 << 20,
        limits: xml::Limits::default(),
        volatile_query_keys: Vec::new(),
    };
    Directory::new(settings, Arc::new(clock.clone()))
}

async fn page(directory: &Directory) -> Result<Page, SourceFailure> {
    match directory.changes(None, 1, None).await? {
        Changes::Page(page) => Ok(*page),
        Changes::NotModified => panic!("a folder has no such answer"),
    }
}

fn drop_files(path: &std::path::Path, numbers: std::ops::Range<usize>) {
    for number in numbers {
        std::fs::write(path.join(format!("{number:06}.xml")), "<DanhSachHoSo/>").unwrap();
    }
}

#[tokio::test]
async fn one_process_at_a_time_reads_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_millis(0));
    let (first, second) = (directory(folder.path(), &clock), directory(folder.path(), &clock));
    drop_files(folder.path(), 0..1);
    page(&first).await.unwrap();
    page(&second).await.unwrap();
    clock.advance(Duration::from_secs(2));
    let given = page(&first).await.unwrap();
    let busy = page(&second).await.unwrap_err();
    assert_eq!(busy.failure.code, "source.folder_busy");
    first.committed(given.cursor.as_deref().unwrap()).await.unwrap();
    assert!(page(&first).await.unwrap().cursor.is_none());
    assert!(page(&second).await.unwrap().cursor.is_none());
    assert!(folder.path().join("done/000000.xml").exists());
}

#[tokio::test]
async fn a_page_that_was_not_stored_is_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_millis(0));
    let directory = directory(folder.path(), &clock);
    drop_files(folder.path(), 0..2);
    page(&directory).await.unwrap();
    clock.advance(Duration::from_secs(2));
    let given = page(&directory).await.unwrap();
    assert_eq!(page(&directory).await.unwrap().cursor, given.cursor);
    assert!(folder.path().join("000000.xml").exists());
}

#[tokio::test]
async fn a_file_that_was_replaced_while_it_was_stored_stays_to_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_millis(0));
    let directory = directory(folder.path(), &clock);
    drop_files(folder.path(), 0..1);
    page(&directory).await.unwrap();
    clock.advance(Duration::from_secs(2));
    let given = page(&directory).await.unwrap();
    let part = folder.path().join("part");
    std::fs::write(&part, "<DanhSachHoSo maDonVi=\"H55\"/>").unwrap();
    std::fs::rename(&part, folder.path().join("000000.xml")).unwrap();
    directory.committed(given.cursor.as_deref().unwrap()).await.unwrap();
    assert!(folder.path().join("000000.xml").exists());
    page(&directory).await.unwrap();
    clock.advance(Duration::from_secs(2));
    let second = page(&directory).await.unwrap();
    assert_ne!(second.cursor, given.cursor);
    assert_eq!(second.agency.as_deref(), Some("H55"));
}

#[tokio::test]
async fn thousands_of_files_are_watched_a_part_at_a_time_and_all_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_millis(0));
    let directory = directory(folder.path(), &clock);
    let files = WATCHED_MAX + 50;
    drop_files(folder.path(), 0..files);
    let mut read = Vec::new();
    while read.len() < files {
        let given = page(&directory).await.unwrap();
        if let Some(position) = given.cursor {
            directory.committed(&position).await.unwrap();
            read.push(given.origin.unwrap());
        } else {
            assert!(given.waiting > 0);
            assert!(directory.inner.state().watched.len() <= WATCHED_MAX);
            clock.advance(Duration::from_secs(2));
        }
    }
    assert!(read.is_sorted());
    assert_eq!(page(&directory).await.unwrap().waiting, 0);
}

#[tokio::test]
async fn what_was_taken_since_a_backup_comes_back_beside_a_newer_file_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_millis(0));
    let directory = directory(folder.path(), &clock);
    let at = |name: &str| folder.path().join(name);
    for sub in ["done", "rejected"] {
        std::fs::create_dir(at(sub)).unwrap();
    }
    std::fs::write(at("done/1.xml"), "old").unwrap();
    std::fs::write(at("rejected/2.xml"), "bad").unwrap();
    std::fs::write(at("rejected/2.xml.reason.json"), "{}").unwrap();
    std::fs::write(at("1.xml"), "new").unwrap();
    let hour = Duration::from_hours(1);
    let now = crate::clock::Clock::now(&crate::clock::SystemClock::new());
    assert_eq!(directory.give_back(now + hour).await.unwrap(), 0);
    assert_eq!(directory.give_back(now - hour).await.unwrap(), 2);
    let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    assert_eq!(
        (read("1.xml"), read("1.again.xml"), read("2.xml")),
        ("new".into(), "old".into(), "bad".into())
    );
    assert!(at("rejected/2.xml.reason.json").exists() && !at("done/1.xml").exists());
}
