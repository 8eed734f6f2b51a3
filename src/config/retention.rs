//! `[retention]`: how long each kind of record is kept.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub bodies_days: u32,
    pub attempts_days: u32,
    pub revisions_days: u32,
    pub audit_days: u32,
    pub books_days: u32,
    pub rows_max: u32,
}

/// A hundred years.
const DAYS_MAX: u32 = 36_500;

impl Retention {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        within("retention.bodies_days", self.bodies_days, 1, DAYS_MAX, problems);
        within("retention.attempts_days", self.attempts_days, 30, DAYS_MAX, problems);
        within("retention.revisions_days", self.revisions_days, 30, DAYS_MAX, problems);
        within("retention.books_days", self.books_days, 30, DAYS_MAX, problems);
        within("retention.rows_max", self.rows_max, 100, 100_000, problems);
        if !(365..=DAYS_MAX).contains(&self.audit_days) {
            problems.at(
                "retention.audit_days",
                format!("{} is not within 365 and {DAYS_MAX}", self.audit_days),
                "who did what is kept for twelve months at least",
            );
        }
        for (key, days) in [
            ("retention.bodies_days", self.bodies_days),
            ("retention.attempts_days", self.attempts_days),
        ] {
            if days > self.revisions_days {
                problems.at(
                    key,
                    format!(
                        "{days} days outlast what they belong to (retention.revisions_days = {})",
                        self.revisions_days
                    ),
                    "keep revisions at least as long",
                );
            }
        }
    }
}
