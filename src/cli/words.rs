//! How numbers, times and states are said. Plain text, understandable without colour.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use crate::domain::entry::EntryState;
use crate::domain::time::{Timestamp, span};

/// `2026-01-26 08:30:00+07:00 (3 min ago)`.
pub(super) fn when(at: Timestamp, now: Timestamp) -> String {
    format!("{at} ({})", relative(at, now))
}

/// `3 min ago`, `in 12 s`, `now`.
pub(super) fn relative(at: Timestamp, now: Timestamp) -> String {
    let (past, future) = (now.since(at), at.since(now));
    if past.as_secs() > 0 {
        format!("{} ago", span(past))
    } else if future.as_secs() > 0 {
        format!("in {}", span(future))
    } else {
        "now".to_owned()
    }
}

/// `1 dossier`, `1,204 dossiers`.
pub(super) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(number))
}

pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `512 B`, `1.4 MB`, `23.5 GB`; a kilobyte is a thousand bytes, as on the label of a disk.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = number as f64;
    let mut name = "B";
    for unit in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        name = unit;
    }
    if name == "B" { format!("{number} B") } else { format!("{value:.1} {name}") }
}

/// A state in the words of somebody who has never read the program.
pub(super) const fn state(state: EntryState) -> &'static str {
    match state {
        EntryState::Received => "received, waits to be mapped",
        EntryState::Quarantined => "refused by the mapping, needs a person or better data",
        EntryState::NotOurs => "never sent: deleted, re-coded, a ministry's, or another province's",
        EntryState::Unchanged => "nothing to send, the portal has exactly this",
        EntryState::Ready => "waits to be sent",
        EntryState::Leased => "is being sent",
        EntryState::Unconfirmed => "sent, outcome unknown; the portal is asked first",
        EntryState::Accepted => "the portal acknowledged it",
        EntryState::Dead => "refused for good or out of attempts, needs a person",
        EntryState::Superseded => "a newer change took its place",
        EntryState::Awaiting => "an older program may have sent it; the portal is asked first",
        EntryState::Presumed => "at the portal by an older program, never acknowledged here",
    }
}

/// Columns without lines; nothing is cut, so that `grep` and `cut` find everything.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        // The preset pads both sides of a cell.
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{}", line.strip_prefix(' ').unwrap_or(line).trim_end());
    }
    text
}

/// A new file; one that is there is never replaced.
pub(super) fn new_file(file: &std::path::Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().write(true).create_new(true).open(file)
}

/// A new file that only its owner may read.
pub(super) fn new_private_file(file: &std::path::Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now_on_both_sides() {
        let now = Timestamp::from_millis(1_000_000_000);
        let at = |seconds: i64| Timestamp::from_millis(1_000_000_000 + seconds * 1000);
        for (seconds, words) in [
            (0, "now"),
            (12, "in 12 s"),
            (-12, "12 s ago"),
            (-180, "3 min ago"),
            (7200, "in 2 h"),
            (-172_800, "2 days ago"),
        ] {
            assert_eq!(relative(at(seconds), now), words);
        }
    }

    #[test]
    fn large_numbers_are_grouped_and_one_is_singular() {
        assert_eq!(count(1, "dossier"), "1 dossier");
        assert_eq!(count(0, "dossier"), "0 dossiers");
        assert_eq!(count(1_234_567, "dossier"), "1,234,567 dossiers");
        assert_eq!(thousands(123), "123");
    }
}
