//! The rules, as code. What can be seen at a door is in [`Witness`](super::witness::Witness); here is
//! what can be seen in the ledger's file, at the portal and in the loops.

use std::collections::BTreeSet;

use hoso_gateway::clock::Clock as _;
use hoso_gateway::lab::digest::{Comparison, compare};
use hoso_gateway::lab::portal::{Outcome, Service};

use super::books::Books;
use super::world::{SPOILT, World};

/// The usual budget of `retry.attempts_max`; the configuration does not change it.
const RETRIES_MAX: u64 = 12;

/// After every operation.
pub(super) fn check(world: &World) {
    let books = world.reader.read();
    nothing_stored_disappears(world, &books);
    attempts_are_counted_before_they_are_made(world, &books);
    what_is_superseded_has_a_newer_one(world, &books);
    what_is_acknowledged_has_a_proof(world, &books);
    every_command_has_one_audit_row(world, &books);
    every_loop_is_alive(world);
}

/// Conservation, the ledger's half: what was stored once is there.
fn nothing_stored_disappears(world: &World, books: &Books) {
    for (code, _) in world.witness.taken().difference(&books.revisions) {
        world.witness.violated("conservation", format!("{code}: a stored revision is gone"));
    }
}

/// Attempts are counted before they are made, and never above the budget.
fn attempts_are_counted_before_they_are_made(world: &World, books: &Books) {
    let sent = world.witness.packets_sent();
    for (code, sent) in sent {
        let entries = books.entries.iter().filter(|entry| entry.ma_ho_so == code);
        let counted: u64 = entries.map(|entry| entry.attempt).sum();
        if counted < sent {
            let what = format!("{code}: {sent} packets left, {counted} attempts are counted");
            world.witness.violated("attempt budget", what);
        }
    }
    for entry in books.entries.iter().filter(|entry| entry.retries > RETRIES_MAX) {
        let what = format!("{}: {} retries", entry.ma_ho_so, entry.retries);
        world.witness.violated("attempt budget", what);
    }
}

/// An obligation is only taken over by a newer one.
fn what_is_superseded_has_a_newer_one(world: &World, books: &Books) {
    for entry in books.entries.iter().filter(|entry| entry.state == "superseded") {
        let by = entry.superseded_by;
        let newer = books.entries.iter().find(|other| Some(other.id) == by);
        if newer.is_none() {
            let what = format!("{}: superseded by {by:?}", entry.ma_ho_so);
            world.witness.violated("conservation", what);
        }
    }
}

/// Accepted means that a stored, parsed answer or a read-back says so.
fn what_is_acknowledged_has_a_proof(world: &World, books: &Books) {
    for entry in books.entries.iter().filter(|entry| entry.state == "accepted") {
        if !entry.is_proven {
            let what = format!("{}: accepted without an attempt that says so", entry.ma_ho_so);
            world.witness.violated("no false success", what);
        }
    }
}

/// Every effect of an operator has exactly one audit row.
fn every_command_has_one_audit_row(world: &World, books: &Books) {
    let (least, most) = world.audited;
    if books.audit_rows < least || books.audit_rows > most {
        let what = format!("{} rows, {least} to {most} commands", books.audit_rows);
        world.witness.violated("audit", what);
    }
}

/// No loop is silent for longer than its work can take.
fn every_loop_is_alive(world: &World) {
    for machine in [&world.first, &world.second] {
        let Some(process) = machine.process() else { continue };
        if process.door.is_open() {
            for silent in process.pulse.silent(world.clock.monotonic()) {
                let what = format!("{} is silent since {:?}", silent.name, silent.overdue);
                world.witness.violated("signs of life", what);
            }
        }
    }
}

/// What is still owed; `None` when everything is where it belongs.
pub(super) fn owed(world: &World, since: i64) -> Option<String> {
    let books = world.reader.read();
    if let Some(entry) = books.open().next() {
        return Some(format!("{}: its entry is {}", entry.ma_ho_so, entry.state));
    }
    let busy = books.dossiers.iter().find(|(_, row)| row.is_busy);
    if let Some((code, _)) = busy {
        return Some(format!("{code}: its lane is held"));
    }
    if books.closed_books_at.is_none_or(|at| at < since) {
        return Some(format!("the books are not closed: {}", books.last_closed_text));
    }
    let mut different = different(world);
    // What arrives after a newer packet takes its place, and nothing that the portal offers shows it
    // but an echo; so this is a limit, and no mistake.
    different
        .retain(|(code, comparison)| comparison.different.is_empty() || !came_late(world, code));
    if world.witness.counters().contains_key(SPOILT) {
        different.retain(|(code, _)| !books.is_quarantined(code));
    }
    if let Some((code, comparison)) = different.first() {
        return Some(format!("{code}: {comparison:?}\n  {}", books.of(code)));
    }
    let unsent: Vec<&str> = books
        .steps
        .iter()
        .filter(|((code, state), _)| {
            matches!(state.as_str(), "pending" | "leased")
                && books.dossiers.get(code).is_some_and(|row| row.packet_state == "accepted")
        })
        .map(|((code, _), _)| code.as_str())
        .filter(|code| !world.deleted.iter().any(|deleted| deleted == code))
        .filter(|code| !world.poisoned.iter().any(|poisoned| poisoned == code))
        .collect();
    if !unsent.is_empty() {
        return Some(format!("steps are owed of {unsent:?}"));
    }
    let stranded = books.steps.iter().find(|((code, state), _)| {
        state == "pending" && books.dossiers.get(code).is_some_and(|row| row.packet_state == "none")
    });
    if let Some(((code, _), _)) = stranded {
        return Some(format!("{code}: its steps wait behind a packet that will never be"));
    }
    None
}

/// Whether the portal's last word about a packet of this dossier was to a call that it got late.
fn came_late(world: &World, code: &str) -> bool {
    let calls = world.network.portal.calls(Some(code));
    let last = calls
        .iter()
        .rfind(|call| call.service == Service::Dossiers && call.outcome == Outcome::Accepted);
    world.witness.is_late(code) || last.is_some_and(|call| call.fault == Some("apply-later"))
}

/// Dossiers of which the portal holds something else than the province expects, without those that
/// a person stopped.
fn different(world: &World) -> Vec<(String, Comparison)> {
    let left_out: BTreeSet<&String> = world.poisoned.iter().chain(&world.deleted).collect();
    let expected = world.network.province.expected();
    let records = world.network.portal.records();
    let codes: BTreeSet<&String> = (expected.iter().map(|dossier| &dossier.code))
        .chain(records.iter().map(|record| &record.code))
        .collect();
    let of = |code: &str| {
        let mut expected = expected.clone();
        let mut records = records.clone();
        expected.retain(|dossier| dossier.code == code);
        records.retain(|record| record.code == code);
        compare(&expected, &records)
    };
    codes
        .into_iter()
        .filter(|code| !left_out.contains(code))
        .map(|code| (code.clone(), of(code)))
        .filter(|(_, comparison)| !is_explained(comparison))
        .collect()
}

/// A harmless step may go twice after an answer that was lost; nothing else may differ.
fn is_explained(comparison: &Comparison) -> bool {
    Comparison { steps_duplicated: 0, ..comparison.clone() }.is_clean()
}
