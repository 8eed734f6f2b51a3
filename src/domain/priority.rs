//! Which work goes first when the portal's quota does not suffice for all of it.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

/// Classes of work, most pressing first; inside a class the earliest due goes first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// An operator waits for it.
    Urgent,
    /// A change that has just happened at the source.
    #[default]
    Live,
    /// Its appointed return time is close.
    DeadlineNear,
    /// A mass resync or a first fill.
    Backfill,
    /// Reading back to prove what is believed.
    Audit,
}

impl Priority {
    pub const ALL: [Self; 5] =
        [Self::Urgent, Self::Live, Self::DeadlineNear, Self::Backfill, Self::Audit];

    /// 0 is the most pressing; the number the ledger sorts by.
    pub const fn rank(self) -> i64 {
        match self {
            Self::Urgent => 0,
            Self::Live => 1,
            Self::DeadlineNear => 2,
            Self::Backfill => 3,
            Self::Audit => 4,
        }
    }

    pub fn from_rank(rank: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.rank() == rank)
    }
}

impl Display for Priority {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Urgent => "urgent",
            Self::Live => "live",
            Self::DeadlineNear => "deadline-near",
            Self::Backfill => "backfill",
            Self::Audit => "audit",
        })
    }
}
