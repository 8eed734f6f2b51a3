//! `[alarms]`: when `hoso status --check` says that something is not as it should be.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;
use crate::domain::time::Timestamp;
use crate::domain::working_time::{DayHours, WorkingTime};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarms {
    pub lag_p95_ms: u64,
    pub lag_p99_ms: u64,
    /// Of working time.
    pub oldest_working_ms: u64,
    pub working_days: Vec<String>,
    pub working_hours: String,
    /// `MMdd` or `yyyyMMdd`.
    pub holidays: Vec<String>,
    pub problems_max: u64,
    pub pause_max_ms: u64,
    pub source_failing_max_ms: u64,
    pub books_age_max_ms: u64,
    pub disk_free_min_percent: u64,
    pub disk_free_min_bytes: u64,
}

impl Alarms {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        const MONTH_MS: u64 = 86_400_000 * 31;
        within("alarms.lag_p95_ms", self.lag_p95_ms, 1_000, MONTH_MS, problems);
        within("alarms.lag_p99_ms", self.lag_p99_ms, 1_000, MONTH_MS, problems);
        within("alarms.oldest_working_ms", self.oldest_working_ms, 60_000, MONTH_MS, problems);
        within("alarms.pause_max_ms", self.pause_max_ms, 0, MONTH_MS, problems);
        within("alarms.source_failing_max_ms", self.source_failing_max_ms, 0, MONTH_MS, problems);
        within("alarms.books_age_max_ms", self.books_age_max_ms, 60_000, MONTH_MS, problems);
        within("alarms.disk_free_min_percent", self.disk_free_min_percent, 0, 99, problems);
        if self.working_days.is_empty() {
            problems.at(
                "alarms.working_days",
                "without a working day nothing is ever late",
                "e.g. [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"]",
            );
        }
        for (at, day) in self.working_days.iter().enumerate() {
            if !DAYS.contains(&day.as_str()) {
                problems.at(
                    &format!("alarms.working_days[{at}]"),
                    format!("{day:?} is no day"),
                    format!("one of {}", DAYS.join(", ")),
                );
            }
        }
        if let Err(why) = self.working_hours.parse::<DayHours>() {
            problems.at("alarms.working_hours", why, "e.g. \"07:30-17:00\"");
        }
        for (at, day) in self.holidays.iter().enumerate() {
            // A leap year has every day of every year.
            let whole = if day.len() == 4 { format!("2024{day}") } else { day.clone() };
            if Timestamp::from_portal(&format!("{whole}000000")).is_none() {
                problems.at(
                    &format!("alarms.holidays[{at}]"),
                    format!("{day:?} is no day of the calendar"),
                    "each year \"0902\", or once \"20260902\"",
                );
            }
        }
    }

    /// When people work.
    pub fn working_time(&self) -> WorkingTime {
        WorkingTime {
            days: DAYS.map(|day| self.working_days.iter().any(|named| named == day)),
            // Unwrap safety: checked when the configuration was read.
            hours: self.working_hours.parse().expect("checked hours"),
            holidays: self.holidays.iter().cloned().collect(),
        }
    }
}
