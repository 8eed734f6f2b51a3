//! How numbers, times and states are said. Plain text, understandable without colour.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use crate::domain::discrepancy::DiscrepancyKind;
use crate::domain::entry::EntryState;
use crate::domain::step::StepState;
use crate::domain::time::{Timestamp, span};
use crate::messages::{Language, say};

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
pub(super) fn state(language: Language, state: EntryState) -> String {
    let key = match state {
        EntryState::Received => "state.received",
        EntryState::Quarantined => "state.quarantined",
        EntryState::NotOurs => "state.not_ours",
        EntryState::Unchanged => "state.unchanged",
        EntryState::Ready => "state.ready",
        EntryState::Leased => "state.leased",
        EntryState::Unconfirmed => "state.unconfirmed",
        EntryState::Accepted => "state.accepted",
        EntryState::Dead => "state.dead",
        EntryState::Superseded => "state.superseded",
        EntryState::Awaiting => "state.awaiting",
        EntryState::Presumed => "state.presumed",
    };
    say(language, key, &[])
}

/// A step's state; one that is not known as it is stored.
pub(super) fn step_state(language: Language, state: &str) -> String {
    let key = match StepState::parse(state) {
        Some(StepState::Pending) => "state.step_pending",
        Some(StepState::Leased) => "state.step_leased",
        Some(StepState::Acked) => "state.step_acked",
        Some(StepState::Held) => "state.step_held",
        Some(StepState::Withdrawn) => "state.step_withdrawn",
        Some(StepState::PresumedSent) => "state.step_presumed_sent",
        None => state,
    };
    say(language, key, &[])
}

/// A kind of discrepancy; one that is not known as it is stored.
pub(super) fn discrepancy(language: Language, kind: &str) -> String {
    let key = match DiscrepancyKind::parse(kind) {
        Some(DiscrepancyKind::NotReceived) => "state.discrepancy_not_received",
        Some(DiscrepancyKind::Behind) => "state.discrepancy_behind",
        Some(DiscrepancyKind::Missing) => "state.discrepancy_missing",
        Some(DiscrepancyKind::Different) => "state.discrepancy_different",
        Some(DiscrepancyKind::Extra) => "state.discrepancy_extra",
        Some(DiscrepancyKind::DeletedAtSource) => "state.discrepancy_deleted_at_source",
        Some(DiscrepancyKind::StepChanged) => "state.discrepancy_step_changed",
        Some(DiscrepancyKind::StepVanished) => "state.discrepancy_step_vanished",
        Some(DiscrepancyKind::FileVanished) => "state.discrepancy_file_vanished",
        Some(DiscrepancyKind::Recoded) => "state.discrepancy_recoded",
        None => kind,
    };
    say(language, key, &[])
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
