//! The disk: what lies in the folder, reading one file, putting it away.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::SourceFailure;
use super::super::classify;
use super::{failed, failed_because};
use crate::sabotage;

const DONE: &str = "done";
const REJECTED: &str = "rejected";
const NOTE: &str = ".reason.json";
/// Stands in the name of a file that comes back and finds its name taken.
const AGAIN: &str = "again";
/// Longest name that file systems take, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// What a name grows by at most while its note is written: `.` + name + `.reason.json.tmp`.
const NOTE_ROOM: usize = 1 + NOTE.len() + 4;
const EXTENSION: &[u8] = b".xml";

/// What a file looks like from outside. As long as this stays, the file counts as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) bytes: u64,
    /// Time of change, in nanoseconds.
    pub(super) changed_ns: i128,
    /// Which file it is, whatever its name.
    device: u64,
    number: u64,
}

impl Look {
    fn of(file: &Metadata) -> Self {
        Self {
            bytes: file.size(),
            changed_ns: i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec()),
            device: file.dev(),
            number: file.ino(),
        }
    }
}

/// Where a file goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Put {
    Done { hash: String, note: Option<Vec<u8>> },
    Rejected { hash: String, note: Vec<u8> },
}

impl Put {
    pub(super) const fn subfolder(&self) -> &'static str {
        match self {
            Self::Done { .. } => DONE,
            Self::Rejected { .. } => REJECTED,
        }
    }

    fn note(&self) -> Option<&[u8]> {
        match self {
            Self::Done { note, .. } => note.as_deref(),
            Self::Rejected { note, .. } => Some(note),
        }
    }

    fn hash(&self) -> &str {
        match self {
            Self::Done { hash, .. } | Self::Rejected { hash, .. } => hash,
        }
    }
}

/// One look at the folder.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The first of them by name.
    pub(super) files: BTreeMap<OsString, Look>,
    /// What has the name of a document and is none, a line each.
    pub(super) strangers: Vec<String>,
    /// There are more documents than these.
    pub(super) more: bool,
}

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The folder for this process alone, until the handle is dropped. `None` where the file system
    /// has no locks; then nothing is lost, but two processes may get in each other's way.
    pub(super) fn lock(&self) -> Result<Option<File>, SourceFailure> {
        let folder = File::open(&self.path).map_err(|cause| self.unreadable(&cause))?;
        match folder.try_lock() {
            Ok(()) => Ok(Some(folder)),
            Err(TryLockError::WouldBlock) => Err(failed(
                classify::FOLDER_BUSY,
                format!("another process reads the folder {}", self.path.display()),
            )),
            Err(TryLockError::Error(_)) => Ok(None),
        }
    }

    /// Made before the first file is read: what cannot be put away is not read.
    pub(super) fn make_ready(&self) -> Result<(), SourceFailure> {
        for name in [DONE, REJECTED] {
            let folder = self.path.join(name);
            match fs::symlink_metadata(&folder) {
                Ok(found) if found.is_dir() => continue,
                Ok(_) => {
                    let message = format!("{} is no folder", folder.display());
                    return Err(failed(classify::FOLDER, message));
                }
                Err(_) => {}
            }
            match fs::create_dir(&folder) {
                Err(cause) if cause.kind() != ErrorKind::AlreadyExists => {
                    let message = format!("the folder {} cannot be made", folder.display());
                    return Err(failed_because(classify::FOLDER, message, &cause));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The first `files_max` documents by name, as they look now.
    pub(super) fn look(&self, files_max: usize) -> Result<Seen, SourceFailure> {
        let mut seen = Seen::default();
        for entry in fs::read_dir(&self.path).map_err(|cause| self.unreadable(&cause))? {
            let entry = entry.map_err(|cause| self.unreadable(&cause))?;
            let name = entry.file_name();
            if !is_document(&name) {
                continue;
            }
            // Of the link itself, if it is one.
            let Ok(file) = entry.metadata() else {
                continue;
            };
            if !file.is_file() {
                let what = if file.is_symlink() {
                    "is a symbolic link and is not followed"
                } else if file.is_dir() {
                    "is a folder and is not entered"
                } else {
                    "is no plain file and is not opened"
                };
                seen.strangers.push(format!("{} {what}", shown(&name)));
                continue;
            }
            seen.files.insert(name, Look::of(&file));
            if seen.files.len() > files_max {
                seen.files.pop_last();
                seen.more = true;
            }
        }
        Ok(seen)
    }

    /// The file's bytes; `None` when it is not (or no more) the one that was looked at.
    pub(super) fn read(&self, name: &OsStr, look: &Look) -> io::Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        // Opening a pipe would wait for its writer.
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && Look::of(&found) == *look => {}
            Ok(_) => return Ok(None),
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause),
        }
        let mut file = File::open(&path)?;
        let is_same = |file: &File| -> io::Result<bool> {
            let found = file.metadata()?;
            Ok(found.is_file() && Look::of(&found) == *look)
        };
        if !is_same(&file)? {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        (&mut file).take(look.bytes + 1).read_to_end(&mut bytes)?;
        let is_whole = bytes.len() as u64 == look.bytes && is_same(&file)?;
        Ok(is_whole.then_some(bytes))
    }

    /// The beginning of a file that was looked at; nothing when it cannot be read.
    pub(super) fn start(&self, name: &OsStr, bytes_max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = File::open(self.path.join(name))
            .and_then(|file| file.take(bytes_max as u64).read_to_end(&mut bytes));
        if read.is_err() {
            bytes.clear();
        }
        bytes
    }

    /// Moves the file in one rename, its note first. What is not there any more, or has been
    /// replaced by another file of its name, is left alone.
    pub(super) fn put_away(&self, name: &OsStr, look: &Look, put: &Put) -> io::Result<()> {
        let from = self.path.join(name);
        match fs::symlink_metadata(&from) {
            Ok(found) if Look::of(&found) == *look => {}
            Ok(_) => return Ok(()),
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
            Err(cause) => return Err(cause),
        }
        let target = self.path.join(put.subfolder());
        let room = if put.note().is_some() { NOTE_ROOM } else { 0 };
        let free = free_name(&target, name, put.hash(), room)?;
        if let Some(note) = put.note() {
            write_note(&target, &free, note)?;
            sabotage::point("drop.noted");
        }
        fs::rename(&from, target.join(&free))
    }

    /// Moves back what was put away at this time or later, so that it is read again; how many files.
    /// Nothing is overwritten. A rename changes `ctime`, so that is when a file was put away.
    pub(super) fn give_back(&self, since_s: i64) -> io::Result<u64> {
        let mut given = 0;
        for subfolder in [DONE, REJECTED] {
            let from = self.path.join(subfolder);
            let entries = match fs::read_dir(&from) {
                Ok(entries) => entries,
                Err(cause) if cause.kind() == ErrorKind::NotFound => continue,
                Err(cause) => return Err(cause),
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let file = entry.metadata()?;
                if !is_document(&name) || !file.is_file() || file.ctime() < since_s {
                    continue;
                }
                let free = free_name(&self.path, &name, AGAIN, 0)?;
                fs::rename(entry.path(), self.path.join(free))?;
                given += 1;
            }
        }
        Ok(given)
    }

    fn unreadable(&self, cause: &io::Error) -> SourceFailure {
        let message = format!("the folder {} cannot be read", self.path.display());
        failed_because(classify::FOLDER, message, cause)
    }
}

/// `*.xml`, in capitals too, that is not hidden. Names of unfinished transfers (`.part`, `.tmp`, a
/// leading dot) are not among them.
fn is_document(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let stem = name.len().saturating_sub(EXTENSION.len());
    stem > 0 && name[0] != b'.' && name[stem..].eq_ignore_ascii_case(EXTENSION)
}

/// A name that nothing has there: the file's own, or with the first letters of `mark` in it.
fn free_name(target: &Path, name: &OsStr, mark: &str, room: usize) -> io::Result<OsString> {
    for number in 0_u32.. {
        let candidate = candidate(name, mark, number, room);
        match fs::symlink_metadata(target.join(&candidate)) {
            Ok(_) => {}
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(candidate),
            Err(cause) => return Err(cause),
        }
    }
    Err(io::Error::other("every name is taken"))
}

fn candidate(name: &OsStr, mark: &str, number: u32, room: usize) -> OsString {
    let bytes = name.as_bytes();
    if number == 0 && bytes.len() + room <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let (stem, extension) = bytes.split_at(bytes.len() - EXTENSION.len());
    let mut mark = format!(".{}", &mark[..mark.len().min(8)]);
    if number > 1 {
        // Writing to a String cannot fail.
        let _infallible = write!(mark, "-{number}");
    }
    let mut kept = stem.len().min(NAME_BYTES_MAX - room - mark.len() - extension.len());
    // Not in the middle of a character.
    while kept < stem.len() && kept > 0 && stem[kept] & 0xc0 == 0x80 {
        kept -= 1;
    }
    OsString::from_vec([&stem[..kept], mark.as_bytes(), extension].concat())
}

/// Whole or not at all.
fn write_note(target: &Path, name: &OsStr, note: &[u8]) -> io::Result<()> {
    let named = |before: &str, after: &str| {
        let parts = [before.as_bytes(), name.as_bytes(), NOTE.as_bytes(), after.as_bytes()];
        target.join(OsString::from_vec(parts.concat()))
    };
    let unfinished = named(".", ".tmp");
    let written = File::create(&unfinished)
        .and_then(|mut file| file.write_all(note))
        .and_then(|()| fs::rename(&unfinished, named("", "")));
    if written.is_err() {
        // A full disk keeps the empty file otherwise; that it is gone already is no trouble.
        drop(fs::remove_file(&unfinished));
    }
    written
}

/// A name for people: without control characters, with other bytes as `\xNN`, and not endless.
pub(super) fn shown(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || matches!(character, '\\' | '|') {
                text.extend(character.escape_unicode());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "\\x{byte:02x}");
        }
    }
    text
}
