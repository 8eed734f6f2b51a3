//! Files that a province drops, with whatever names and contents: each is read once, put away under its
//! folder with its content, and nothing outside of the folder is touched.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arbitrary::Unstructured;
use hoso_gateway::clock::ManualClock;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::source::{Changes, Directory, DirectorySettings, Page, Source as _};
use tokio::runtime::Runtime;

use super::feed::{ITEM_BYTES_MAX, PAGE, assert_item, limits, refused};
use super::{CANARY, assert_sentence, edits, is_code, recipe};

const FILES_MAX: usize = 4;
const FILE_BYTES_MAX: usize = 8 * 1024;
/// Longer ones are refused by the disk itself.
const NAME_BYTES_MAX: usize = 200;
/// Looks at a folder of so few files before it must have come to rest.
const LOOKS_MAX: usize = 40;

/// Names that exporters, copying tools and enemies give.
const NAMES: [&str; 16] = [
    "hoso-20260126.xml",
    "hoso-20260126.XML",
    "hoso 26 tháng 1.xml",
    "hoso.xml.tmp",
    ".hoso.xml",
    "hoso.xml.filepart",
    "-rf.xml",
    "...xml",
    "done.xml",
    "hoso.reason.json",
    "hoso.xml.reason.json",
    "a\nb.xml",
    "$(id).xml",
    "%2e%2e%2fhoso.xml",
    "CON.xml",
    "~.xml",
];

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));

/// What lies outside and must stay as it is.
const NEIGHBOUR: &str = "somebody else's";

pub(super) fn seeds(root: &Path) -> Vec<Vec<u8>> {
    let documents = super::feed::seeds(root);
    let one = |document: Vec<u8>| [&[0xFE][..], &document].concat();
    let chosen =
        (0_u8..).take(NAMES.len()).map(|at| vec![0xFF, 2, at, 0, at.wrapping_add(1), 1, 7, 7]);
    documents.into_iter().take(40).map(one).chain(chosen).collect()
}

/// A recipe says which files there are; anything else is the content of one.
pub(super) fn check(bytes: &[u8]) {
    let files = match recipe(bytes) {
        Some(recipe) => drawn(&mut Unstructured::new(recipe)),
        None => BTreeMap::from([(OsString::from(NAMES[0]), bytes.to_vec())]),
    };
    RUNTIME.block_on(dropped(&files));
}

fn drawn(recipe: &mut Unstructured<'_>) -> BTreeMap<OsString, Vec<u8>> {
    let mut files = BTreeMap::new();
    let count = recipe.int_in_range(1..=FILES_MAX).unwrap_or(1);
    for _ in 0..count {
        let name = match recipe.int_in_range(0..=3_u8).unwrap_or(0) {
            0 => recipe.arbitrary::<&[u8]>().unwrap_or_default().to_vec(),
            _ => recipe.choose(&NAMES).unwrap_or(&NAMES[0]).as_bytes().to_vec(),
        };
        let content = match recipe.int_in_range(0..=2_u8).unwrap_or(0) {
            0 => recipe.arbitrary::<&[u8]>().unwrap_or_default().to_vec(),
            1 => PAGE.as_bytes().to_vec(),
            _ => edits::edited(PAGE, recipe).into_bytes(),
        };
        if is_possible(&name) {
            files.insert(OsString::from_vec(name), content);
        }
    }
    files
}

/// What a disk takes as the name of one file, and is not one of the folder's own.
fn is_possible(name: &[u8]) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
        && !matches!(name, b"." | b".." | b"done" | b"rejected")
}

async fn dropped(files: &BTreeMap<OsString, Vec<u8>>) {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("drop");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(home.path().join("neighbour.xml"), NEIGHBOUR).expect("a file");
    let mut given = Vec::new();
    for (name, content) in files {
        // A disk may know fewer names than we do.
        if std::fs::write(folder.join(name), content).is_ok() {
            given.push(content.clone());
        }
    }
    let clock = ManualClock::at(Timestamp::from_millis(1_769_400_000_000));
    let source = Directory::new(settings(&folder), Arc::new(clock.clone()));
    let mut position: Option<String> = None;
    let mut read = 0;
    let mut idle = 0;
    for look in 0.. {
        assert!(look < LOOKS_MAX, "the folder never comes to rest");
        match source.changes(position.as_deref(), 100, None).await {
            Ok(Changes::Page(page)) => {
                assert_page(&page);
                match &page.cursor {
                    Some(cursor) => {
                        read += 1;
                        assert!(read <= given.len(), "a file was read twice");
                        source.committed(cursor).await.expect("it can be put away");
                        position = Some(cursor.clone());
                        idle = 0;
                    }
                    None => idle += 1,
                }
            }
            Ok(Changes::NotModified) => panic!("nobody asked whether it was modified"),
            Err(failure) => {
                refused(&failure, &mut Vec::new());
                panic!("a folder that can be read and written is refused: {failure:?}");
            }
        }
        // Three looks with nothing to read, each after everybody's patience.
        if idle == 3 {
            break;
        }
        clock.advance(Duration::from_secs(10));
    }
    let neighbour = std::fs::read_to_string(home.path().join("neighbour.xml"));
    assert_eq!(neighbour.expect("it is there"), NEIGHBOUR);
    let outside = std::fs::read_dir(home.path()).expect("a folder").count();
    assert_eq!(outside, 2, "something was made outside of the folder");
    assert_kept(&folder, given);
}

fn assert_page(page: &Page) {
    page.items.iter().for_each(assert_item);
    for item in &page.refused {
        assert!(is_code(item.rule), "{}", item.rule);
        assert_sentence(&item.reason);
        assert!(!item.reason.contains(CANARY), "a name came out: {}", item.reason);
    }
    for remark in &page.remarks {
        assert_sentence(remark);
        assert!(!remark.contains(CANARY), "a name came out: {remark}");
    }
    assert!(page.items.is_empty() || page.cursor.is_some(), "no way to go on");
}

/// Every content that was given is still there, once; what was written beside it quotes nobody.
fn assert_kept(folder: &Path, mut given: Vec<Vec<u8>>) {
    for part in ["", "done", "rejected"] {
        let Ok(entries) = std::fs::read_dir(folder.join(part)) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if !path.is_file() {
                continue;
            }
            let content = std::fs::read(&path).expect("a file");
            if let Some(at) = given.iter().position(|one| *one == content) {
                given.swap_remove(at);
            } else if is_note(path.file_name().unwrap_or_default()) {
                let note = String::from_utf8_lossy(&content);
                assert!(!note.contains(CANARY), "a name came out: {note}");
            } else {
                // The lock of whoever reads.
                assert!(content.is_empty(), "a new file: {}", path.display());
            }
        }
    }
    assert!(given.is_empty(), "{} file(s) are gone", given.len());
}

fn is_note(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".reason.json")
}

fn settings(folder: &Path) -> DirectorySettings {
    DirectorySettings {
        name: "so-tu-phap".to_owned(),
        path: folder.to_owned(),
        settle_ms: 2_000,
        unfinished_ms: 4_000,
        file_bytes_max: FILE_BYTES_MAX,
        item_bytes_max: ITEM_BYTES_MAX,
        limits: limits(),
        volatile_query_keys: vec!["token".to_owned()],
    }
}
