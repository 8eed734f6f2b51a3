//! `[retry]`: when and how often a dossier is tried again.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    pub initial_ms: u64,
    pub multiplier: f64,
    pub max_ms: u64,
    pub attempts_max: u32,
    pub jitter: f64,
}

impl Retry {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        within("retry.initial_ms", self.initial_ms, 1, 86_400_000, problems);
        within("retry.multiplier", self.multiplier, 1.0, 10.0, problems);
        within("retry.max_ms", self.max_ms, 1, 86_400_000, problems);
        within("retry.attempts_max", self.attempts_max, 1, 1000, problems);
        within("retry.jitter", self.jitter, 0.0, 0.9, problems);
        if self.max_ms < self.initial_ms {
            problems.at("retry.max_ms", "the longest wait is shorter than the first", "");
        }
    }
}
