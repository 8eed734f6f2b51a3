//! Points in time, as milliseconds since 1970 (UTC), and Vietnam's way of writing them.
//!
//! The portal writes local Vietnam time in fourteen digits, `yyyyMMddHHmmss`. Vietnam has kept
//! UTC+7 without summer time since 1975, so a fixed offset is exact for every dossier.

use std::fmt::{Display, Formatter};
use std::ops::{Add, Sub};
use std::time::Duration;

use jiff::civil;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

const VIETNAM: Offset = Offset::constant(7);

/// Milliseconds since the epoch, UTC. The ledger stores exactly this number.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// Fourteen digits of Vietnam time, the portal's form.
    pub fn to_portal(self) -> String {
        let t = self.vietnam();
        format!(
            "{:04}{:02}{:02}{:02}{:02}{:02}",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second()
        )
    }

    /// Reads `yyyyMMddHHmmss` as Vietnam time. A date without time of day is refused.
    pub fn from_portal(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 14 || !bytes.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = |from: usize, to: usize| {
            bytes[from..to].iter().fold(0i16, |sum, digit| sum * 10 + i16::from(digit - b'0'))
        };
        let small = |from: usize| i8::try_from(number(from, from + 2)).ok();
        let time = civil::DateTime::new(
            number(0, 4),
            small(4)?,
            small(6)?,
            small(8)?,
            small(10)?,
            small(12)?,
            0,
        )
        .ok()?;
        Self::from_vietnam(time)
    }

    /// Reads ISO 8601 date and time; without an offset it is Vietnam time. A date alone is refused,
    /// and so is a year that four digits cannot write.
    pub fn from_iso(text: &str) -> Option<Self> {
        let time = if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            Self(instant.as_millisecond())
        } else if text.contains(['T', 't', ' ']) {
            Self::from_vietnam(text.parse::<civil::DateTime>().ok()?)?
        } else {
            return None;
        };
        (0..=9999).contains(&time.vietnam().year()).then_some(time)
    }

    /// Reads either form, as sources write them.
    pub fn from_source(text: &str) -> Option<Self> {
        Self::from_portal(text).or_else(|| Self::from_iso(text))
    }

    /// The Vietnam calendar day, as `yyyyMMdd`.
    pub fn vietnam_day(self) -> String {
        let t = self.vietnam();
        format!("{:04}{:02}{:02}", t.year(), t.month(), t.day())
    }

    /// The time of day, `04:00`; with the day in front when that is a day or more from `now`.
    pub fn short(self, now: Self) -> String {
        let t = self.vietnam();
        let day = Duration::from_hours(24);
        if now.since(self) < day && self.since(now) < day {
            format!("{:02}:{:02}", t.hour(), t.minute())
        } else {
            let (year, month) = (t.year(), t.month());
            format!("{year:04}-{month:02}-{:02} {:02}:{:02}", t.day(), t.hour(), t.minute())
        }
    }

    fn vietnam(self) -> civil::DateTime {
        VIETNAM.to_datetime(
            jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
        )
    }

    fn from_vietnam(time: civil::DateTime) -> Option<Self> {
        VIETNAM.to_timestamp(time).ok().map(|instant| Self(instant.as_millisecond()))
    }
}

/// The largest unit that says something: `12 s`, `3 min`, `5 h`, `2 days`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Display for Timestamp {
    /// Vietnam time with its offset, to the second, for people.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let zoned = jiff::Timestamp::from_millisecond(self.0)
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_zoned(TimeZone::fixed(VIETNAM));
        write!(f, "{}", zoned.strftime("%Y-%m-%d %H:%M:%S%:z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourteen_digits_are_vietnam_time() {
        let time = Timestamp::from_portal("20260126083000").unwrap();
        assert_eq!(time, Timestamp::from_iso("2026-01-26T08:30:00+07:00").unwrap());
        assert_eq!(time, Timestamp::from_iso("2026-01-26T01:30:00Z").unwrap());
        assert_eq!(time, Timestamp::from_iso("2026-01-26T08:30:00").unwrap());
        assert_eq!(time.to_portal(), "20260126083000");
        assert_eq!(time.to_string(), "2026-01-26 08:30:00+07:00");
        assert_eq!(time.vietnam_day(), "20260126");
    }

    #[test]
    fn a_year_that_four_digits_cannot_write_is_no_time() {
        for text in ["-009999-01-02T01:59:59Z", "-000001-12-31T00:00:00", "-000001-12-31 23:59:59"]
        {
            assert_eq!(Timestamp::from_iso(text), None, "{text}");
        }
        let last = Timestamp::from_iso("9999-12-30T22:00:00Z").unwrap();
        assert_eq!(last.to_portal().len(), 14);
    }

    #[test]
    fn impossible_or_incomplete_times_are_refused() {
        for text in
            ["20260230083000", "20260126", "2026-01-26", "2026012608300", "", "x", "20261326083000"]
        {
            assert_eq!(Timestamp::from_source(text), None, "{text}");
        }
    }
}
