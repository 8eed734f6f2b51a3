//! Named ways in which source, ledger and portal disagree, and the buckets of closed books.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

/// Why two systems disagree about one dossier. Every difference has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscrepancyKind {
    /// In the source's index, but the change feed never gave it.
    NotReceived,
    /// The source's index names a newer version than the feed gave.
    Behind,
    /// Acknowledged by the portal once, unknown to it now.
    Missing,
    /// The portal's echo differs from the acknowledged packet.
    Different,
    /// Acknowledged by the portal, gone from the source's index.
    Extra,
    /// Deleted at the source while the portal has it; the portal has no delete service.
    DeletedAtSource,
    /// A step that the portal acknowledged reads differently at the source now.
    StepChanged,
    /// A step that the portal acknowledged is gone at the source.
    StepVanished,
    /// A file that the portal acknowledged is gone at the source, and was not taken back.
    FileVanished,
    /// The source goes on under another code; the portal still has this one.
    Recoded,
}

impl DiscrepancyKind {
    pub const ALL: [Self; 10] = [
        Self::NotReceived,
        Self::Behind,
        Self::Missing,
        Self::Different,
        Self::Extra,
        Self::DeletedAtSource,
        Self::StepChanged,
        Self::StepVanished,
        Self::FileVanished,
        Self::Recoded,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotReceived => "not_received",
            Self::Behind => "behind",
            Self::Missing => "missing",
            Self::Different => "different",
            Self::Extra => "extra",
            Self::DeletedAtSource => "deleted_at_source",
            Self::StepChanged => "step_changed",
            Self::StepVanished => "step_vanished",
            Self::FileVanished => "file_vanished",
            Self::Recoded => "recoded",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Display for DiscrepancyKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a dossier of the source's index stands when the books are closed: exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// Its newest packet is acknowledged and, if it was read back, the portal agrees.
    Matched,
    /// Acknowledged, but the portal echoes something else.
    Different,
    /// Acknowledged, but the portal does not know it.
    Missing,
    /// Acknowledged, but the read-back failed, so nothing can be said.
    Unverifiable,
    Quarantined,
    Dead,
    /// On its way: received, ready, leased, unconfirmed, or not received yet.
    Open,
    NotOurs,
    /// Acknowledged by the portal, gone from the index: beside the sum.
    Extra,
}

impl Bucket {
    /// Those that a dossier of the index can be in.
    pub const ALL: [Self; 8] = [
        Self::Matched,
        Self::Different,
        Self::Missing,
        Self::Unverifiable,
        Self::Quarantined,
        Self::Dead,
        Self::Open,
        Self::NotOurs,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Different => "different",
            Self::Missing => "missing",
            Self::Unverifiable => "unverifiable",
            Self::Quarantined => "quarantined",
            Self::Dead => "dead",
            Self::Open => "open",
            Self::NotOurs => "not_ours",
            Self::Extra => "extra",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::Extra]).find(|bucket| bucket.as_str() == text)
    }

    /// Whether sending its dossiers again can mend anything.
    pub const fn may_be_sent(self) -> bool {
        matches!(self, Self::Missing | Self::Different | Self::Quarantined | Self::Dead)
    }
}
