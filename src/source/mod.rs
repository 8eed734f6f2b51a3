//! The province's side: asks a provincial system what changed and hands dossiers over as they are.
//!
//! Owns the feed protocol (cursors, pages, the index), the same documents as files in a folder, the
//! reading of them, and the fingerprint that says whether a dossier really changed. Refuses to know what a dossier means:
//! fields are judged by the mapping, revisions are kept by the ledger, and cursors, overlap and
//! waiting are decided by the pipeline. Nothing here retries, sorts or drops: items come out in
//! the order in which the source gave them, and an item that cannot be taken comes out as a
//! [`RefusedItem`] beside its neighbours.
//!
//! Start with [`Source`]: a page of items and the position behind it, whether it comes over HTTP
//! ([`Feed`]) or in a file ([`Directory`]). `wire` reads documents and `item`
//! what is in them, `classify` decides what an answer
//! or a broken connection means and lists every code.

mod classify;
mod client;
mod directory;
mod encode;
mod fingerprint;
mod item;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt::Debug;

use async_trait::async_trait;

use crate::domain::diagnostic::Position;
use crate::domain::failure::Failure;
use crate::domain::time::Timestamp;

pub use classify::CODES;
pub use client::{Auth, Feed, FeedSettings};
pub use directory::{Directory, DirectorySettings};

/// One provincial system: pages of dossiers, and positions behind them. Every call is one request;
/// the caller decides when and how often.
#[async_trait]
pub trait Source: Debug + Send + Sync {
    /// The configured name; with `MaHoSo` it identifies a dossier.
    fn name(&self) -> &str;

    /// What changed after this cursor, oldest change first as far as the source keeps its promise.
    /// Without a cursor: from the beginning. `limit` is a wish; a page may hold more or fewer.
    async fn changes(
        &self,
        after: Option<&str>,
        limit: u32,
        etag: Option<&str>,
    ) -> Result<Changes, SourceFailure>;

    /// The page that ended at this position is stored for good, so what it came from may be put away.
    async fn committed(&self, _position: &str) -> Result<(), SourceFailure> {
        Ok(())
    }

    /// Whether [`Source::index`] and [`Source::dossier`] can be asked. Without an index nobody can
    /// know what the source should have given.
    fn has_index(&self) -> bool {
        true
    }

    /// One dossier as it stands now; `None` when the source does not know it.
    async fn dossier(&self, ma_ho_so: &str) -> Result<Option<Item>, SourceFailure>;

    /// Dossiers received between two Vietnam calendar days (`yyyyMMdd`, both included).
    async fn index(
        &self,
        from_day: &str,
        to_day: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<IndexPage, SourceFailure>;
}

/// The answer to "what changed?".
#[derive(Debug, Clone, PartialEq)]
pub enum Changes {
    /// Nothing, said the source (304).
    NotModified,
    Page(Box<Page>),
}

/// One page of changes, in the source's order. The same dossier may occur more than once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    pub items: Vec<Item>,
    /// Items that cannot become a revision; each needs a person. They do not stop the page.
    pub refused: Vec<RefusedItem>,
    /// What to send as `after` next. Absent only when the page is empty.
    pub cursor: Option<String>,
    /// `true`: ask again at once. `false`: caught up, as far as nothing is `waiting`.
    pub more: bool,
    /// Files that are there and not whole yet.
    pub waiting: u64,
    /// The file that the page came in, for people.
    pub origin: Option<String>,
    /// What was left lying and why, a line each; the same lines until it is mended.
    pub remarks: Vec<String>,
    /// What to send as `If-None-Match` when the same question is asked again.
    pub etag: Option<String>,
    /// The latest `capNhatLuc` of the items, for choosing where the overlap begins.
    pub newest_changed_at: Option<Timestamp>,
    /// `maDonVi` of the page: who exports.
    pub agency: Option<String>,
    /// Size of the page on the wire, after decompression.
    pub bytes: usize,
}

/// One dossier as the source gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The dossier's code: 1 to 50 UTF-16 units, no control characters. Its grammar is not judged.
    pub ma_ho_so: String,
    /// `phienBan`: grows with each change of this dossier.
    pub version: Option<i64>,
    /// `capNhatLuc`.
    pub changed_at: Option<Timestamp>,
    /// `daXoa`: gone at the source.
    pub deleted: bool,
    pub owner: Owner,
    /// `maHoSoCu`: the code under which the source kept the dossier before. Never this one's own.
    pub recoded_from: Option<String>,
    /// Equal for equal content, see `fingerprint.rs`.
    pub fingerprint: [u8; 32],
    /// The `<HoSo>` element's own text, unchanged but for its character encoding (UTF-8).
    pub document: Box<str>,
}

/// Whose system owns a dossier's status (`chuQuan`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Province,
    /// `bo`: a ministry's system reports this dossier itself; it is mirrored, never pushed.
    Ministry,
}

/// An item that cannot be taken, kept as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedItem {
    /// Stable, one of [`CODES`].
    pub rule: &'static str,
    /// Where the item begins in the page; where reading ended, if it spoilt its page.
    pub position: Position,
    /// One sentence for people; quotes nothing of the item.
    pub reason: String,
    /// If it could still be read.
    pub ma_ho_so: Option<String>,
    /// The item's text, cut at 64 KB. Personal data: never into a log.
    pub evidence: Box<str>,
}

/// One line of the source's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexItem {
    pub ma_ho_so: String,
    pub version: Option<i64>,
    /// `trangThai` as it is written.
    pub status: String,
    pub received_at: Option<Timestamp>,
    pub changed_at: Option<Timestamp>,
    pub ma_tthc: String,
    pub agency: String,
    pub owner: Owner,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPage {
    pub items: Vec<IndexItem>,
    /// Lines that cannot be read. They are dossiers too: a comparison must count them.
    pub refused: Vec<RefusedItem>,
    /// What to send as `after` next; always present when there is `more`.
    pub cursor: Option<String>,
    pub more: bool,
}

/// Why a question got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct SourceFailure {
    pub failure: Failure,
    /// The first 256 KB of a document that was refused. Personal data: never into a log.
    pub evidence: Option<Box<[u8]>>,
    /// Present when a page of the feed came and its dossiers are what cannot be read: asked for
    /// fewer of them, the source may give a page that can.
    pub spoilt: Option<Box<SpoiltPage>>,
}

/// A page of changes that cannot be read behind the tag of its root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoiltPage {
    /// `conNua` of the page, if its root could be read.
    pub more: Option<bool>,
    pub etag: Option<String>,
    /// The one dossier in it, when there is exactly one for certain.
    pub lone: Option<LoneItem>,
}

/// A dossier that stands alone in a page and spoils it, with what is needed to go on behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoneItem {
    /// `conTro` of the page.
    pub cursor: String,
    /// `conNua` of the page.
    pub more: bool,
    /// `capNhatLuc`, if the dossier's own tag could be read.
    pub changed_at: Option<Timestamp>,
    pub item: RefusedItem,
}
