//! How times are said.

use std::time::Duration;

use super::{Language, say};
use crate::domain::time::Timestamp;

/// `2026-01-26 08:30:00+07:00 (3 min ago)`.
pub fn when(language: Language, at: Timestamp, now: Timestamp) -> String {
    format!("{at} ({})", relative(language, at, now))
}

/// `3 min ago`, `in 12 s`, `now`.
pub fn relative(language: Language, at: Timestamp, now: Timestamp) -> String {
    let (past, future) = (now.since(at), at.since(now));
    if past.as_secs() > 0 {
        say(language, "time.ago", &[("span", &span(language, past))])
    } else if future.as_secs() > 0 {
        say(language, "time.in", &[("span", &span(language, future))])
    } else {
        say(language, "time.now", &[])
    }
}

/// The largest unit that says something: `12 s`, `3 min`, `5 h`, `2 days`.
pub fn span(language: Language, duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (key, number) = match seconds {
        0..120 => ("time.seconds", seconds),
        120..7200 => ("time.minutes", seconds / 60),
        7200..172_800 => ("time.hours", seconds / 3600),
        _ => ("time.days", seconds / 86_400),
    };
    say(language, key, &[("number", &number)])
}
