//! Working time: what of a span lay inside office hours, by Vietnam's clock.

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use super::time::Timestamp;

const DAY_MS: i64 = 24 * 3600 * 1000;
const VIETNAM_MS: i64 = 7 * 3600 * 1000;
/// Longer spans count as endless; no alarm is that patient.
const DAYS_MAX: i64 = 3660;

/// From one minute of the day to another, written `07:30-17:00`; the end is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayHours {
    from_minute: u16,
    to_minute: u16,
}

/// When people work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkingTime {
    /// Monday first.
    pub days: [bool; 7],
    pub hours: DayHours,
    /// Vietnam calendar days on which nobody works: `yyyyMMdd`, or `MMdd` for each year.
    pub holidays: BTreeSet<String>,
}

impl FromStr for DayHours {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let minute = |text: &str| -> Option<u16> {
            let (hour, minute) = text.split_once(':')?;
            let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            if !digits(hour) || !digits(minute) {
                return None;
            }
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            let whole = hour * 60 + minute;
            (minute < 60 && whole <= 24 * 60).then_some(whole)
        };
        let hours = text
            .split_once('-')
            .and_then(|(from, to)| {
                Some(Self { from_minute: minute(from)?, to_minute: minute(to)? })
            })
            .ok_or("these are no hours of a day")?;
        if hours.from_minute < hours.to_minute {
            Ok(hours)
        } else {
            Err("the day ends before it begins")
        }
    }
}

impl Display for DayHours {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { from_minute: from, to_minute: to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl WorkingTime {
    /// How much of the span from `since` until `now` was working time; zero when `since` is later.
    pub fn between(&self, since: Timestamp, now: Timestamp) -> Duration {
        // Vietnam has no summer time, so its days are 24 hours that begin at 17:00 UTC.
        let (from, to) = (since.millis() + VIETNAM_MS, now.millis() + VIETNAM_MS);
        if to <= from {
            return Duration::ZERO;
        }
        let (first, last) = (from.div_euclid(DAY_MS), to.div_euclid(DAY_MS));
        if last - first > DAYS_MAX {
            return Duration::MAX;
        }
        let worked: i64 = (first..=last)
            .filter(|day| self.is_working_day(*day))
            .map(|day| {
                let at = |minute: u16| day * DAY_MS + i64::from(minute) * 60_000;
                let begins = at(self.hours.from_minute).max(from);
                (at(self.hours.to_minute).min(to) - begins).max(0)
            })
            .sum();
        Duration::from_millis(u64::try_from(worked).unwrap_or(0))
    }

    /// `day` counts from 1 January 1970, a Thursday.
    fn is_working_day(&self, day: i64) -> bool {
        let weekday = usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0);
        let date = Timestamp::from_millis(day * DAY_MS - VIETNAM_MS).vietnam_day();
        self.days[weekday]
            && !self.holidays.contains(&date)
            && !date.get(4..).is_some_and(|each_year| self.holidays.contains(each_year))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office() -> WorkingTime {
        WorkingTime {
            days: [true, true, true, true, true, false, false],
            hours: "07:30-17:00".parse().unwrap(),
            holidays: BTreeSet::new(),
        }
    }

    fn minutes(office: &WorkingTime, since: &str, now: &str) -> u64 {
        let at = |text| Timestamp::from_iso(text).unwrap();
        office.between(at(since), at(now)).as_secs() / 60
    }

    #[test]
    fn only_office_hours_count() {
        let office = office();
        // 26 January 2026 is a Monday.
        let table = [
            ("2026-01-26T08:00:00", "2026-01-26T09:00:00", 60),
            ("2026-01-26T06:00:00", "2026-01-26T08:00:00", 30),
            ("2026-01-26T16:30:00", "2026-01-27T08:00:00", 60),
            ("2026-01-26T17:00:00", "2026-01-27T07:30:00", 0),
            // Friday evening to Monday morning.
            ("2026-01-23T16:59:00", "2026-01-26T07:31:00", 2),
            ("2026-01-24T00:00:00", "2026-01-25T23:59:00", 0),
            ("2026-01-19T00:00:00", "2026-01-26T00:00:00", 5 * 570),
            ("2026-01-26T09:00:00", "2026-01-26T08:00:00", 0),
        ];
        for (since, now, expected) in table {
            assert_eq!(minutes(&office, since, now), expected, "{since} {now}");
        }
        let long_ago = Timestamp::from_iso("1990-01-01T00:00:00").unwrap();
        let now = Timestamp::from_iso("2026-01-26T00:00:00").unwrap();
        assert_eq!(office.between(long_ago, now), Duration::MAX);
    }

    #[test]
    fn nobody_works_on_a_holiday() {
        let holidays = ["20260126".to_owned()].into();
        let office = WorkingTime { holidays, ..office() };
        assert_eq!(minutes(&office, "2026-01-26T08:00:00", "2026-01-27T08:30:00"), 60);
        let office = WorkingTime { holidays: ["0902".to_owned()].into(), ..office };
        // A Wednesday in 2026, a Thursday in 2027.
        assert_eq!(minutes(&office, "2026-09-02T08:00:00", "2026-09-02T16:00:00"), 0);
        assert_eq!(minutes(&office, "2027-09-02T08:00:00", "2027-09-03T08:00:00"), 30);
    }

    #[test]
    fn hours_are_written_in_one_way() {
        for text in ["00:00-24:00", "07:30-17:00"] {
            assert_eq!(text.parse::<DayHours>().unwrap().to_string(), text);
        }
        for text in
            ["7:30-17:00", "07:30", "07:60-17:00", "17:00-07:30", "07:30-24:01", "ab:cd-17:00"]
        {
            assert!(text.parse::<DayHours>().is_err(), "{text}");
        }
    }
}
