//! `[ledger]`: the file that remembers everything.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    pub path: PathBuf,
    pub synchronous: Synchronous,
    pub body_retention_days: u32,
    pub busy_timeout_ms: u64,
}

/// What a power cut may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// Nothing.
    Full,
    /// The last moments, which are repeated.
    Normal,
}

impl Ledger {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        if self.path.as_os_str().is_empty() {
            problems.at("ledger.path", "the ledger needs a file", "");
        }
        within("ledger.body_retention_days", self.body_retention_days, 1, 36_500, problems);
        within("ledger.busy_timeout_ms", self.busy_timeout_ms, 100, 600_000, problems);
    }
}
