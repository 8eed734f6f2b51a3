//! `[gate]`: how much the portal is asked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;
use crate::domain::share::Shares;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Part of each window that is left unused.
    pub headroom: f64,
    pub breaker_failures: u32,
    pub breaker_cool_down_ms: u64,
    pub breaker_cool_down_max_ms: u64,
    pub environment_retry_ms: u64,
    /// How the classes of work share the quota when it does not suffice for all.
    pub shares: Shares,
    /// Every call must fit into all of them. Empty: not known, and learnt.
    pub windows: Vec<Window>,
}

/// At most `limit` calls in any `window_ms`, at most `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub limit: u32,
    pub window_ms: u64,
    /// 0: chosen by the pace.
    pub burst: u32,
}

impl Gate {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        within("gate.headroom", self.headroom, 0.0, 0.9, problems);
        within("gate.breaker_failures", self.breaker_failures, 1, 1000, problems);
        within("gate.breaker_cool_down_ms", self.breaker_cool_down_ms, 100, 3_600_000, problems);
        within("gate.environment_retry_ms", self.environment_retry_ms, 1_000, 86_400_000, problems);
        if self.breaker_cool_down_max_ms < self.breaker_cool_down_ms {
            problems.at(
                "gate.breaker_cool_down_max_ms",
                "the longest cool-down is shorter than the first",
                "",
            );
        }
        for (class, weight) in [
            ("urgent", self.shares.urgent),
            ("live", self.shares.live),
            ("deadline_near", self.shares.deadline_near),
            ("backfill", self.shares.backfill),
            ("audit", self.shares.audit),
        ] {
            // 0 would be a class that never moves.
            within(&format!("gate.shares.{class}"), weight, 1, 1000, problems);
        }
        let mut lengths = BTreeSet::new();
        for (at, window) in self.windows.iter().enumerate() {
            let option = |name: &str| format!("gate.windows[{at}].{name}");
            within(&option("limit"), window.limit, 1, 1_000_000, problems);
            within(&option("window_ms"), window.window_ms, 1, 86_400_000 * 31, problems);
            if window.burst > window.limit {
                problems.at(
                    &option("burst"),
                    format!("{} is more than this window's limit", window.burst),
                    "1 spaces the calls evenly, 0 chooses by the pace",
                );
            }
            let left = f64::from(window.limit) * (1.0 - self.headroom);
            if left < 1.0 && window.limit > 0 && self.headroom <= 0.9 {
                problems.at(
                    &option("limit"),
                    "gate.headroom leaves less than one call of it",
                    "lower gate.headroom",
                );
            }
            if !lengths.insert(window.window_ms) {
                problems.at(&option("window_ms"), "another window has this length", "");
            }
        }
    }
}
