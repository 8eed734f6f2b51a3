//! Mappings that were put in force, and stored revisions that are looked at under another one.

use async_trait::async_trait;
use serde::Serialize;

use super::LedgerError;
use super::record::{AuditRecord, ToMap};
use crate::domain::diagnostic::Diagnostic;
use crate::domain::time::Timestamp;

/// A mapping on its way into the ledger.
#[derive(Debug, Clone)]
pub struct NewMapping {
    pub version: String,
    pub hash: String,
    /// All its texts, as JSON; the ledger does not read them.
    pub files: String,
}

/// A mapping that was put in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppliedMapping {
    pub id: i64,
    pub version: String,
    pub hash: String,
    pub applied_at: Timestamp,
    pub applied_by: String,
    pub reason: String,
    #[serde(skip)]
    pub files: String,
}

/// Stored revisions, by the numbers of their first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StoredRange {
    pub first: i64,
    pub last: i64,
    /// Whose documents are kept.
    pub kept: u64,
    /// Whose documents retention has taken; the source can be asked for them again.
    pub gone: u64,
}

/// One stored revision.
#[derive(Debug, Clone)]
pub struct StoredRevision {
    pub ma_ho_so: String,
    /// The newest of its dossier.
    pub newest: bool,
    /// The portal has acknowledged a packet of the dossier.
    pub acknowledged: bool,
    /// Deleted at the source, or a ministry's: never sent, whatever the mapping.
    pub not_sent: bool,
    /// `None`: it cannot be read back.
    pub document: Option<String>,
}

/// A dossier that a mapping of another version refused.
#[derive(Debug, Clone)]
pub struct Refused {
    pub revision: ToMap,
    pub diagnostics: Vec<Diagnostic>,
}

#[async_trait]
pub trait Mappings {
    /// The mapping that was applied last, whole; `None`: that of the configuration is in force.
    async fn mapping_in_force(&self) -> Result<Option<AppliedMapping>, LedgerError>;

    /// The number of the mapping that was applied last, 0 when none was. Asked often.
    async fn mapping_number(&self) -> Result<i64, LedgerError>;

    /// All of them, the newest first.
    async fn applied_mappings(&self) -> Result<Vec<AppliedMapping>, LedgerError>;

    /// Puts `next` in force, with its audit row, if the mapping in force is still number `seen`.
    /// `former` is kept before it: what was in force by the configuration, so that it can be compared
    /// and come back.
    async fn apply_mapping(
        &self,
        now: Timestamp,
        seen: i64,
        former: Option<&NewMapping>,
        next: &NewMapping,
        audit: &AuditRecord,
    ) -> Result<i64, LedgerError>;

    /// How many revisions there are since then, and between which numbers.
    async fn stored_range(&self, since: Option<Timestamp>) -> Result<StoredRange, LedgerError>;

    /// Those with numbers above `after` and up to `until`.
    async fn stored_revisions(
        &self,
        after: i64,
        until: i64,
        since: Option<Timestamp>,
    ) -> Result<Vec<StoredRevision>, LedgerError>;

    /// Up to `limit` dossiers whose newest revision a mapping of another version refused.
    async fn refused_by_others(
        &self,
        version: &str,
        limit: u32,
    ) -> Result<Vec<Refused>, LedgerError>;

    /// `released` go back on their way; `kept` are refused by this version for the same reasons, so
    /// nothing of them changes but that it is known.
    async fn reconsidered(
        &self,
        now: Timestamp,
        version: &str,
        released: &[i64],
        kept: &[i64],
    ) -> Result<u64, LedgerError>;
}
