//! `[reconcile]`: how source, ledger and portal are compared.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;

/// Buckets that the gateway may mend without a person: sending again is harmless for these alone.
const REPAIRABLE: [&str; 2] = ["missing", "different"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    pub every_ms: u64,
    pub settle_ms: u64,
    /// A run.
    pub look_ups_max: u32,
    /// Names of buckets.
    pub repair: Vec<String>,
    pub unconfirmed_every_ms: u64,
    pub from_days: u32,
    /// 0 switches it off.
    pub rolling_every_ms: u64,
    pub rolling_page: u32,
}

impl Reconcile {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        within("reconcile.every_ms", self.every_ms, 60_000, 86_400_000 * 31, problems);
        within("reconcile.settle_ms", self.settle_ms, 0, 86_400_000, problems);
        within(
            "reconcile.unconfirmed_every_ms",
            self.unconfirmed_every_ms,
            100,
            3_600_000,
            problems,
        );
        if self.rolling_every_ms > 0 {
            within("reconcile.rolling_every_ms", self.rolling_every_ms, 100, 86_400_000, problems);
        }
        within("reconcile.rolling_page", self.rolling_page, 1, 1000, problems);
        within("reconcile.from_days", self.from_days, 1, 3660, problems);
        for (at, bucket) in self.repair.iter().enumerate() {
            if !REPAIRABLE.contains(&bucket.as_str()) {
                problems.at(
                    &format!("reconcile.repair[{at}]"),
                    format!("{bucket:?} is no bucket that can be repaired"),
                    format!("one of {}", REPAIRABLE.join(", ")),
                );
            }
        }
    }
}
