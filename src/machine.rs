//! The only door to what the operating system says of itself: space on a disk, whose stream stderr
//! is, the clock that the service manager compares with, who runs this process, who may read a file, and
//! other processes.
//!
//! Owns no policy: how little space is too little, and what a log looks like, is decided elsewhere.

use std::io;
use std::path::Path;
use std::time::Duration;

/// Space of the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskRoom {
    /// For programs without privileges.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

impl DiskRoom {
    /// Rounded down; a disk of no size is full.
    pub fn free_percent(self) -> u64 {
        self.free_bytes.saturating_mul(100) / self.total_bytes.max(1)
    }
}

/// How much room is left where `path` lies.
pub fn disk_room(path: &Path) -> io::Result<DiskRoom> {
    let found = rustix::fs::statvfs(path)?;
    Ok(DiskRoom {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// Who may do what with a file or folder: the nine bits of owner, group and others.
pub fn mode(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

/// Whether stderr is the very stream that `JOURNAL_STREAM` names (`device:inode`, systemd.exec(5)).
/// The variable alone proves nothing: a shell inherits it and redirects stderr.
pub fn stderr_is_stream(journal_stream: &str) -> bool {
    let Ok(stderr) = rustix::fs::fstat(std::io::stderr()) else {
        return false;
    };
    journal_stream == format!("{}:{}", stderr.st_dev, stderr.st_ino)
}

/// Time since boot by `CLOCK_MONOTONIC`, the clock of every process of the machine.
pub fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Neither part of this clock is ever negative.
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Memory of a process that is in the machine's memory now. `None` when there is no such process, or
/// where the system does not tell (it is asked through `/proc`).
pub fn resident_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Who runs this process, as the system knows it: nothing here comes from the environment, which anybody
/// can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemUser {
    pub uid: u32,
    /// The account's name; `uid 1001` when the system has none for it.
    pub name: String,
    /// Who logged in, where that is somebody else (`sudo`, `su`) and the system keeps it.
    pub logged_in: Option<String>,
}

pub fn system_user() -> SystemUser {
    let uid = rustix::process::getuid().as_raw();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    // Kept by the kernel since the login; only privileged programs set it, once.
    let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    let login: Option<u32> = login.trim().parse().ok().filter(|login| *login != u32::MAX);
    SystemUser {
        uid,
        name: account(&accounts, uid),
        logged_in: login.filter(|login| *login != uid).map(|login| account(&accounts, login)),
    }
}

/// The name of an account in the form of passwd(5).
fn account(accounts: &str, uid: u32) -> String {
    let uid = uid.to_string();
    let named = accounts.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next().filter(|name| !name.is_empty())?;
        (parts.nth(1) == Some(uid.as_str())).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid {uid}"))
}

/// What is not as it should be with who may read and write a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    WorldWritable,
    WorldReadable,
    /// It belongs to this account, and not to the one that runs this process.
    OtherOwner(u32),
}

/// Looks at a file's permissions and owner; what does not exist is not exposed.
pub fn exposure(path: &Path) -> Vec<Exposure> {
    let Ok(found) = rustix::fs::stat(path) else {
        return Vec::new();
    };
    let has = |bit| found.st_mode & bit != 0;
    let me = rustix::process::geteuid().as_raw();
    let mut all = Vec::new();
    if has(0o002) {
        all.push(Exposure::WorldWritable);
    }
    if has(0o004) {
        all.push(Exposure::WorldReadable);
    }
    // An administrator looks after files of others.
    if found.st_uid != me && me != 0 {
        all.push(Exposure::OtherOwner(found.st_uid));
    }
    all
}

/// Asks a process to end, as a service manager does (SIGTERM).
pub fn ask_to_end(process: u32) -> io::Result<()> {
    let id = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    let id = id.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process(id, rustix::process::Signal::TERM)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_of_a_folder_has_no_more_free_than_it_has() {
        let room = disk_room(Path::new(".")).unwrap();
        assert!(room.total_bytes > 0 && room.free_bytes <= room.total_bytes);
        assert!(room.free_percent() <= 100);
        assert!(disk_room(Path::new("/nowhere/at/all")).is_err());
        assert_eq!(DiskRoom { free_bytes: 0, total_bytes: 0 }.free_percent(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_a_process_that_cannot_be_has_none() {
        assert!(resident_bytes(std::process::id()).unwrap() > 1_000_000);
        assert_eq!(resident_bytes(u32::MAX), None);
        assert!(ask_to_end(u32::MAX).is_err());
    }

    #[test]
    fn an_account_has_the_name_that_the_system_gives_it() {
        let accounts =
            "root:x:0:0:root:/root:/bin/bash\nhoso:x:998:998::/var/lib/hoso:/bin/false\n";
        assert_eq!(account(accounts, 0), "root");
        assert_eq!(account(accounts, 998), "hoso");
        assert_eq!(account(accounts, 99), "uid 99");
        assert_eq!(account("", 0), "uid 0");
        assert!(!system_user().name.is_empty());
    }

    #[test]
    fn a_file_that_everybody_may_write_is_exposed_and_one_that_is_ours_alone_is_not() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        let mode = |mode| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            exposure(file.path())
        };
        assert_eq!(mode(0o600), []);
        assert_eq!(mode(0o660), []);
        assert_eq!(mode(0o644), [Exposure::WorldReadable]);
        assert_eq!(mode(0o666), [Exposure::WorldWritable, Exposure::WorldReadable]);
        assert_eq!(exposure(Path::new("/nowhere/at/all")), []);
    }

    #[test]
    fn the_bits_of_a_file_are_those_that_were_set() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(mode(file.path()).unwrap(), 0o640);
        assert!(mode(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn a_stream_of_somebody_else_is_not_ours() {
        assert!(!stderr_is_stream("1:1"));
        assert!(!stderr_is_stream(""));
    }
}
