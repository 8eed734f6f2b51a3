//! A disk that is full, and a ledger that is not what it was.

use std::cell::RefCell;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;

use hoso_gateway::lab::portal::Faults;

use super::witness::Witness;
use super::{HASTY, portal, province};
use crate::support::binary::Site;

/// A small disk of its own at a folder; gone when dropped.
struct SmallDisk<'a> {
    folder: &'a Path,
}

impl<'a> SmallDisk<'a> {
    /// `None` where this user may not mount.
    fn mount(folder: &'a Path, kilobytes: u32) -> Option<Self> {
        std::fs::create_dir_all(folder).expect("a folder");
        Self::run(folder, &["-t", "tmpfs", "-o", &format!("size={kilobytes}k"), "tmpfs"])
            .then_some(Self { folder })
    }

    fn grow(&self, kilobytes: u32) {
        assert!(Self::run(self.folder, &["-o", &format!("remount,size={kilobytes}k")]));
    }

    fn run(folder: &Path, arguments: &[&str]) -> bool {
        let done = Command::new("mount").args(arguments).arg(folder).output();
        done.is_ok_and(|done| done.status.success())
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there must not keep it mounted.
        let ended = Command::new("umount").arg("-l").arg(self.folder).status();
        drop(ended);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stderr, reason = "a test that was skipped has to say so")]
async fn a_full_disk_stops_the_work_loses_nothing_and_is_survived() {
    let mut site = Site::open(province(60, 23), portal(23), HASTY).await;
    let folder = site.folder().join("disk");
    let Some(disk) = SmallDisk::mount(&folder, 700) else {
        eprintln!("skipped: this user may not mount a small disk");
        site.close().await;
        return;
    };
    site.rewrite("path = \"ledger.db\"", "path = \"disk/ledger.db\"");
    let mut witness = Witness::default();
    witness.note(&site);
    let mut process = site.serve();
    site.until("the disk is full", |_| process.log().contains("ledger.full")).await;
    witness.stir(&site, 3);
    // Killed on a full disk, and started on one.
    process.kill();
    process = site.serve();
    site.until("it is full still", |_| process.log().contains("ledger.full")).await;
    disk.grow(64 * 1024);
    site.portal.set_faults(Faults::default());
    // What could not begin on a full disk ends, perhaps only now; a service manager starts it again.
    let process = RefCell::new(process);
    loop {
        let has_ended = || process.borrow_mut().has_ended();
        site.until("it works or ends", |site| has_ended() || site.comparison().missing.is_empty())
            .await;
        if !has_ended() {
            break;
        }
        let next = site.serve();
        process.replace(next);
    }
    site.until_delivered().await;
    let mut process = process.into_inner();
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    witness.assert_whole(&mut site).await;
    site.close().await;
}

#[tokio::test]
async fn a_ledger_that_is_cut_or_changed_is_refused_at_the_start_with_advice_and_never_served() {
    let mut site = Site::open(province(20, 29), portal(29), HASTY).await;
    let mut process = site.serve();
    site.until("it sends", |site| site.portal.state().calls > 20).await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    let path = site.folder().join("ledger.db");
    let whole = std::fs::read(&path).expect("the ledger");
    let half = whole.len() / 2;
    let calls = site.portal.state().calls;
    let damages: [(&str, &dyn Fn()); 4] = [
        ("cut", &|| std::fs::write(&path, &whole[..half]).expect("a file")),
        ("empty", &|| std::fs::write(&path, b"").expect("a file")),
        ("changed", &|| {
            std::fs::write(&path, &whole).expect("a file");
            let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("a file");
            for page in (half / 4096..half / 4096 + 20).map(|page| page as u64) {
                file.seek(SeekFrom::Start(page * 4096)).expect("a place");
                file.write_all(&[0xa5; 64]).expect("a write");
            }
        }),
        ("another", &|| std::fs::write(&path, "no ledger\n".repeat(900)).expect("a file")),
    ];
    for (name, damage) in damages {
        damage();
        let before = std::fs::read(&path).expect("the file");
        let mut process = site.serve();
        assert_eq!(process.ended().await.code(), Some(4), "{name}: {}", process.log());
        let told = process.log();
        assert!(told.contains("ledger.damaged") && told.contains("hint:"), "{name}: {told}");
        let after = std::fs::read(&path).expect("the file");
        assert!(after == before, "{name}: it was written to");
    }
    assert_eq!(site.portal.state().calls, calls, "something was sent from a damaged ledger");
    site.close().await;
}
