//! `[upkeep]`: the gateway's housekeeping.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upkeep {
    pub every_ms: u64,
    pub watchdog_ms: u64,
}

impl Upkeep {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        within("upkeep.every_ms", self.every_ms, 100, 3_600_000, problems);
        within("upkeep.watchdog_ms", self.watchdog_ms, 1_000, 86_400_000, problems);
    }
}
