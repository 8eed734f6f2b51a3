//! `[ledger]`: the file that remembers everything.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::secrets::{Environment, Secret};
use super::values::{optional_path, within};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    pub path: PathBuf,
    pub synchronous: Synchronous,
    pub busy_timeout_ms: u64,
    #[serde(with = "optional_path")]
    pub key_file: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub old_key_file: Option<PathBuf>,
    pub size_budget_bytes: u64,
    pub size_warn_days: u64,
    #[serde(skip)]
    pub key: Secret,
    #[serde(skip)]
    pub old_key: Secret,
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
        within("ledger.busy_timeout_ms", self.busy_timeout_ms, 100, 600_000, problems);
        within("ledger.size_warn_days", self.size_warn_days, 0, 3_650, problems);
        if self.size_budget_bytes != 0 && self.size_budget_bytes < 1 << 20 {
            problems.at(
                "ledger.size_budget_bytes",
                format!("{} bytes hold no ledger", self.size_budget_bytes),
                "0 means no budget",
            );
        }
        if self.old_key_file.is_some() && self.key_file.is_none() {
            problems.at(
                "ledger.old_key_file",
                "an older key without a present one",
                "name the key in use in ledger.key_file",
            );
        }
    }

    pub(super) fn find_secrets(&mut self, env: &dyn Environment) {
        self.key = Secret::find("HOSO_LEDGER_KEY", self.key_file.as_deref(), "ledger-key", env);
        self.old_key = Secret::find(
            "HOSO_LEDGER_OLD_KEY",
            self.old_key_file.as_deref(),
            "ledger-old-key",
            env,
        );
    }
}
