//! The feed's documents as files in a folder, as an SFTP drop leaves them.
//!
//! One file is one page, and its place is its name, its time of change and its content's hash. A
//! file is read when it has kept size and time of change for the settle time by our clock, is
//! committed like any page, and moves to `done/` or `rejected/` in one rename. A crash before the
//! rename repeats the file, whose fingerprints are known by then. Nothing is read behind a file
//! that cannot be moved, so the repeat cannot put old words after newer ones.
//!
//! Files are taken in the order of their names' bytes: exporters number or date their names, while
//! the time of change is what a copying tool left, the same second for many. A file that still
//! grows holds up nobody; versions and times of change order what comes late.
//!
//! Nothing is followed and nothing is overwritten. `folder` touches the disk.

mod folder;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::classify::{self, Refusal};
use super::wire::{self, Reading};
use super::{Changes, IndexPage, Item, Page, RefusedItem, Source, SourceFailure};
use crate::clock::Clock;
use crate::domain::diagnostic::Position;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::time::Timestamp;
use crate::xml;
use folder::{Folder, Look, Put, shown};

/// Files that are watched at a time; the others follow when these are done. Bounds the memory that a
/// folder with a hundred thousand files takes.
const WATCHED_MAX: usize = 4096;
/// Remarks of one look.
const REMARKS_MAX: usize = 20;
/// How much of a refused file is kept as evidence.
const EVIDENCE_BYTES_MAX: usize = 64 * 1024;

/// Everything a directory needs to know about its source.
#[derive(Debug, Clone)]
pub struct DirectorySettings {
    pub name: String,
    pub path: PathBuf,
    /// A file is whole when it has not changed for this long.
    pub settle_ms: u64,
    /// A file that cannot be read is rejected when it has not changed for this long.
    pub unfinished_ms: u64,
    /// Largest file.
    pub file_bytes_max: usize,
    /// Largest dossier within a file.
    pub item_bytes_max: usize,
    pub limits: xml::Limits,
    /// Query keys of links that differ on every export; they do not count as a change.
    pub volatile_query_keys: Vec<String>,
}

/// A province that drops files.
#[derive(Debug, Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: DirectorySettings,
    folder: Folder,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    watched: BTreeMap<OsString, Watched>,
    /// Settled files of the last look, next first.
    due: VecDeque<OsString>,
    /// The file whose page was given out last, until it has moved.
    taken: Option<Taken>,
    /// Held while files are read and moved: another process must not move what this one reads.
    lock: Option<File>,
    /// Of the last look.
    remarks: Vec<String>,
    /// The last look found more files than are watched.
    more_unseen: bool,
}

impl State {
    /// Files that are not whole yet, or not looked at; `read` of the watched ones are done.
    fn waiting(&self, read: usize) -> u64 {
        (self.watched.len() - read.min(self.watched.len())) as u64 + u64::from(self.more_unseen)
    }
}

#[derive(Debug, Clone)]
struct Watched {
    look: Look,
    /// Since when it looks like this, on the monotonic clock.
    since: Duration,
    /// It could not be read as it is; looked at again when its patience is over.
    unfinished: bool,
}

#[derive(Debug)]
struct Taken {
    name: OsString,
    look: Look,
    position: String,
    committed: bool,
    put: Put,
}

/// What stands in the `.reason.json` beside a file. No personal data: rules, places, codes.
#[derive(Debug, Serialize)]
struct Note {
    /// `rejected`, or `done` for a file of which part was taken.
    verdict: &'static str,
    /// The program's own name of the content.
    blake3: String,
    dossiers_taken: usize,
    refused: Vec<NoteItem>,
}

#[derive(Debug, Serialize)]
struct NoteItem {
    rule: &'static str,
    reason: String,
    line: u32,
    column: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ma_ho_so: Option<String>,
}

impl Directory {
    pub fn new(settings: DirectorySettings, clock: Arc<dyn Clock>) -> Self {
        let folder = Folder::new(settings.path.clone());
        let state = Mutex::default();
        Self { inner: Arc::new(Inner { settings, folder, clock, state }) }
    }

    /// Puts files that were taken at this time or later back into the folder, from `done/` and from
    /// `rejected/`, so that they are read again; how many. For a ledger that does not know of them.
    pub async fn give_back(&self, taken_since: Timestamp) -> Result<u64, SourceFailure> {
        let inner = Arc::clone(&self.inner);
        off_thread(move || {
            let _lock = inner.folder.lock()?;
            inner.folder.give_back(taken_since.millis() / 1000).map_err(|cause| {
                let message = "files that were read cannot be put back to be read again";
                failed_because(classify::FOLDER_MOVE, message, &cause)
            })
        })
        .await
    }
}

#[async_trait]
impl Source for Directory {
    fn name(&self) -> &str {
        &self.inner.settings.name
    }

    fn has_index(&self) -> bool {
        false
    }

    async fn changes(
        &self,
        after: Option<&str>,
        _limit: u32,
        _etag: Option<&str>,
    ) -> Result<Changes, SourceFailure> {
        let (inner, after) = (Arc::clone(&self.inner), after.map(str::to_owned));
        off_thread(move || inner.next(after.as_deref())).await.map(Box::new).map(Changes::Page)
    }

    async fn committed(&self, position: &str) -> Result<(), SourceFailure> {
        let (inner, position) = (Arc::clone(&self.inner), position.to_owned());
        off_thread(move || inner.committed(&position)).await
    }

    async fn dossier(&self, _ma_ho_so: &str) -> Result<Option<Item>, SourceFailure> {
        Err(no_question())
    }

    async fn index(
        &self,
        _from_day: &str,
        _to_day: &str,
        _after: Option<&str>,
        _limit: u32,
    ) -> Result<IndexPage, SourceFailure> {
        Err(no_question())
    }
}

/// Disks may take their time; threads that drive sockets may not.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceFailure> + Send + 'static,
) -> Result<T, SourceFailure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(broken) if broken.is_panic() => std::panic::resume_unwind(broken.into_panic()),
        Err(_) => Err(failed(classify::FOLDER, "the folder was not read: the program is ending")),
    }
}

fn no_question() -> SourceFailure {
    failed(
        classify::NO_QUESTION,
        "a folder of files cannot be asked about a dossier or for an index",
    )
}

fn failed(code: &'static str, message: impl Into<String>) -> SourceFailure {
    let failure = Failure::new(code, Disposition::Environment, message);
    SourceFailure { failure, evidence: None, spoilt: None }
}

fn failed_because(
    code: &'static str,
    message: impl Into<String>,
    cause: &std::io::Error,
) -> SourceFailure {
    let failed = failed(code, message);
    SourceFailure { failure: failed.failure.with_details(cause.to_string()), ..failed }
}

/// What one file turned out to be.
enum Content {
    Page(Box<Page>, Put, String),
    /// It cannot be read as a whole.
    Refused(Refusal, Vec<u8>),
    /// It changed, or went away, while it was looked at.
    Moving,
    /// It could not be opened; the reason.
    Closed(String),
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page of the next settled file; an empty one when there is none.
    fn next(&self, after: Option<&str>) -> Result<Page, SourceFailure> {
        let mut state = self.state();
        let page = self.next_of(&mut state, after);
        // Whoever waits for the folder gets it between two polls.
        if !matches!(&page, Ok(page) if page.cursor.is_some()) {
            state.lock = None;
        }
        page
    }

    fn next_of(&self, state: &mut State, after: Option<&str>) -> Result<Page, SourceFailure> {
        if state.lock.is_none() {
            state.lock = self.folder.lock()?;
        }
        self.folder.make_ready()?;
        match state.taken.take() {
            Some(taken) if taken.committed => self.put_away(state, taken)?,
            // It was not stored, so it is read again.
            Some(taken) => state.due.push_front(taken.name),
            None => {}
        }
        if state.due.is_empty() {
            self.look(state)?;
        }
        while let Some(name) = state.due.pop_front() {
            let Some(watched) = state.watched.get(&name).cloned() else {
                continue;
            };
            let (page, put, position) = match self.read(&name, &watched.look) {
                Content::Page(page, put, position) => (*page, put, position),
                Content::Refused(refusal, start) => {
                    if self.has_kept(&watched, self.settings.unfinished_ms) {
                        rejected(&name, &watched.look, refusal, &start)
                    } else {
                        // Perhaps its writer only rests.
                        state.watched.entry(name).and_modify(|watched| watched.unfinished = true);
                        continue;
                    }
                }
                // The next look begins its time anew.
                Content::Moving => {
                    state.watched.remove(&name);
                    continue;
                }
                Content::Closed(why) => {
                    state.watched.remove(&name);
                    remark(&mut state.remarks, format!("{} cannot be read: {why}", shown(&name)));
                    continue;
                }
            };
            let page = Page {
                // Committed by a process that ended before the file was moved.
                items: if after == Some(&*position) { Vec::new() } else { page.items },
                origin: Some(shown(&name)),
                cursor: Some(position.clone()),
                more: !state.due.is_empty(),
                waiting: if state.due.is_empty() { state.waiting(1) } else { 0 },
                remarks: std::mem::take(&mut state.remarks),
                ..page
            };
            state.taken = Some(Taken { name, look: watched.look, position, committed: false, put });
            return Ok(page);
        }
        Ok(Page {
            waiting: state.waiting(0),
            remarks: std::mem::take(&mut state.remarks),
            ..Page::default()
        })
    }

    fn committed(&self, position: &str) -> Result<(), SourceFailure> {
        let mut state = self.state();
        match state.taken.take() {
            Some(taken) if taken.position == position => {
                self.put_away(&mut state, Taken { committed: true, ..taken })
            }
            other => {
                state.taken = other;
                Ok(())
            }
        }
    }

    /// Moves a committed file. One that cannot be moved stays the next thing to do.
    fn put_away(&self, state: &mut State, taken: Taken) -> Result<(), SourceFailure> {
        match self.folder.put_away(&taken.name, &taken.look, &taken.put) {
            Ok(()) => {
                state.watched.remove(&taken.name);
                Ok(())
            }
            Err(cause) => {
                let message = format!(
                    "the file {} was read and cannot be moved to {}/",
                    shown(&taken.name),
                    taken.put.subfolder()
                );
                state.taken = Some(taken);
                state.lock = None;
                Err(failed_because(classify::FOLDER_MOVE, message, &cause))
            }
        }
    }

    /// One look at the folder: what is new, what has changed, what has settled.
    fn look(&self, state: &mut State) -> Result<(), SourceFailure> {
        let now = self.clock.monotonic();
        let seen = self.folder.look(WATCHED_MAX)?;
        state.remarks.clear();
        state.more_unseen = seen.more;
        for line in seen.strangers {
            remark(&mut state.remarks, line);
        }
        let before = std::mem::take(&mut state.watched);
        for (name, look) in seen.files {
            let known = before.get(&name).filter(|known| known.look == look).cloned();
            let watched = known.unwrap_or(Watched { look, since: now, unfinished: false });
            let patience = if watched.unfinished {
                self.settings.unfinished_ms
            } else {
                self.settings.settle_ms
            };
            if self.has_kept(&watched, patience) {
                state.due.push_back(name.clone());
            }
            state.watched.insert(name, watched);
        }
        Ok(())
    }

    fn has_kept(&self, watched: &Watched, for_ms: u64) -> bool {
        self.clock.monotonic().saturating_sub(watched.since) >= Duration::from_millis(for_ms)
    }

    fn read(&self, name: &OsStr, look: &Look) -> Content {
        let limit = self.settings.file_bytes_max;
        if look.bytes > limit as u64 {
            let message = format!("the file has {} bytes, more than {limit}", look.bytes);
            let start = self.folder.start(name, EVIDENCE_BYTES_MAX);
            return Content::Refused(Refusal::new(classify::TOO_LARGE, message), start);
        }
        let bytes = match self.folder.read(name, look) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Content::Moving,
            Err(cause) => return Content::Closed(cause.to_string()),
        };
        let reading = Reading {
            limits: &self.settings.limits,
            item_bytes_max: self.settings.item_bytes_max,
            volatile_query_keys: &self.settings.volatile_query_keys,
        };
        let page = xml::decode(&bytes, None)
            .map_err(|fault| classify::undecodable(&fault))
            .and_then(|text| wire::file(&text, &reading));
        match page {
            Ok(page) => {
                let hash = blake3::hash(&bytes).to_hex().to_string();
                let put = verdict(&page, &hash);
                let position = position(name, look, &hash);
                Content::Page(Box::new(Page { bytes: bytes.len(), ..page }), put, position)
            }
            Err(refusal) => {
                let mut start = bytes;
                start.truncate(EVIDENCE_BYTES_MAX);
                Content::Refused(refusal, start)
            }
        }
    }
}

/// A page without dossiers, whose one refused item is the file.
fn rejected(name: &OsStr, look: &Look, refusal: Refusal, start: &[u8]) -> (Page, Put, String) {
    let item = RefusedItem {
        rule: refusal.code,
        position: refusal.position.unwrap_or(Position { line: 1, column: 1 }),
        reason: refusal.message,
        ma_ho_so: None,
        evidence: String::from_utf8_lossy(start).into(),
    };
    let page = Page { refused: vec![item], ..Page::default() };
    // Its start stands for a file that is too large to be read.
    let hash = blake3::hash(start).to_hex().to_string();
    let put = verdict(&page, &hash);
    let position = position(name, look, &hash);
    (page, put, position)
}

/// Where a file goes once it is committed. A bad dossier does not take its neighbours with it, and
/// a file of which nothing could be taken is not done.
fn verdict(page: &Page, hash: &str) -> Put {
    if page.refused.is_empty() {
        return Put::Done { hash: hash.to_owned(), note: None };
    }
    let is_rejected = page.items.is_empty();
    let note = Note {
        verdict: if is_rejected { "rejected" } else { "done" },
        blake3: hash.to_owned(),
        dossiers_taken: page.items.len(),
        refused: page
            .refused
            .iter()
            .map(|item| NoteItem {
                rule: item.rule,
                reason: item.reason.clone(),
                line: item.position.line,
                column: item.position.column,
                ma_ho_so: item.ma_ho_so.clone(),
            })
            .collect(),
    };
    // Plain data, which has nothing to fail on.
    let note = serde_json::to_vec_pretty(&note).unwrap_or_default();
    if is_rejected {
        Put::Rejected { hash: hash.to_owned(), note }
    } else {
        Put::Done { hash: hash.to_owned(), note: Some(note) }
    }
}

/// What the ledger remembers of a file.
fn position(name: &OsStr, look: &Look, hash: &str) -> String {
    format!("{}|{}|{hash}", shown(name), look.changed_ns)
}

fn remark(remarks: &mut Vec<String>, line: String) {
    if remarks.len() < REMARKS_MAX {
        remarks.push(line);
    }
}
