//! `[catalogue]`: what the portal knows, how often it is asked, and what an unknown code means.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// 0: never.
    pub refresh_every_ms: u64,
    pub details_max_age_ms: u64,
    pub details_per_pass: u32,
    pub calls_per_dossier: f64,
    pub stale_after_ms: u64,
    pub shrink_share_min: f64,
    pub versions_kept: u32,
    pub unknown_procedure: CodePolicy,
    pub unknown_field: CodePolicy,
    pub unknown_fee: CodePolicy,
    pub unknown_result: CodePolicy,
}

/// What is made of a code that the portal does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodePolicy {
    Off,
    Warn,
    Hold,
}

impl Catalogue {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        const MONTH_MS: u64 = 86_400_000 * 31;
        if self.refresh_every_ms > 0 {
            within("catalogue.refresh_every_ms", self.refresh_every_ms, 60_000, MONTH_MS, problems);
            if self.stale_after_ms < self.refresh_every_ms {
                problems.at(
                    "catalogue.stale_after_ms",
                    "a list would count as stale before it is fetched again",
                    "make it some times catalogue.refresh_every_ms",
                );
            }
        }
        within(
            "catalogue.details_max_age_ms",
            self.details_max_age_ms,
            3_600_000,
            MONTH_MS * 12,
            problems,
        );
        within("catalogue.details_per_pass", self.details_per_pass, 0, 1000, problems);
        within("catalogue.calls_per_dossier", self.calls_per_dossier, 0.0, 1.0, problems);
        within("catalogue.shrink_share_min", self.shrink_share_min, 0.0, 1.0, problems);
        within("catalogue.versions_kept", self.versions_kept, 2, 1000, problems);
    }
}
