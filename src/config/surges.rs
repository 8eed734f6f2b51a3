//! `[problems]`: when one cause comes so often at once that its scope is held.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surges {
    pub burst: u32,
    pub burst_ms: u64,
    pub hold_ms: u64,
}

impl Surges {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        within("problems.burst", self.burst, 0, 100_000, problems);
        within("problems.burst_ms", self.burst_ms, 1_000, 86_400_000, problems);
        within("problems.hold_ms", self.hold_ms, 1_000, 86_400_000, problems);
    }
}
