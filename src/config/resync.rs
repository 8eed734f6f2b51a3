//! `[resync]`: how many dossiers are sent again.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resync {
    /// Codes that one command sends at once and before everything else.
    pub by_hand_max: u32,
    /// Plans of more dossiers need their number repeated.
    pub confirm_above: u64,
    pub canary: u32,
    pub per_minute: u32,
    pub window: u32,
    pub stop_after: u32,
    pub plan_valid_ms: u64,
}

impl Resync {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        within("resync.by_hand_max", self.by_hand_max, 1, 1000, problems);
        within("resync.canary", self.canary, 0, 1000, problems);
        within("resync.per_minute", self.per_minute, 1, 1_000_000, problems);
        within("resync.window", self.window, 1, 10_000, problems);
        within("resync.stop_after", self.stop_after, 1, 1_000_000, problems);
        within("resync.plan_valid_ms", self.plan_valid_ms, 60_000, 86_400_000 * 366, problems);
    }
}
