//! Many seeds, and what they must have shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::minimise::minimise;
use super::ops::draw;
use super::run::run;
use super::witness::{Violation, asked};

/// Seeds of a usual test run: four minutes on two cores. HOSO_SIM_SEEDS asks for more.
const SEEDS: u64 = 40;

const LEAST_ASKED: u64 = 3;

/// What 300 seeds must have shown, and how often, and fewer seeds by their share: a simulation in
/// which nothing happens proves nothing. What fewer seeds may miss by chance, because their share is
/// below three, is asked of longer runs only.
const MUST_HAVE_HAPPENED: &[(&str, u64)] = &[
    ("accepted", 3_000),
    ("steps acknowledged", 5_000),
    ("unknown outcome", 200),
    ("unknown outcome: the portal has it", 50),
    ("unknown outcome: the portal does not have it", 50),
    ("unknown outcome: proven by an echo", 10),
    ("create of a known dossier", 20),
    ("update of an unknown dossier", 20),
    ("refused", 20),
    ("deferred", 50),
    ("split", 10),
    ("superseded", 50),
    ("crashes", 200),
    ("crash before a commit", 30),
    ("crash after a commit", 30),
    ("ledger busy", 30),
    ("ledger full", 30),
    ("ledger acknowledgement lost", 30),
    ("restored backups", 30),
    ("breaker closed", 50),
    ("failovers", 5),
    ("commands", 200),
    // Of the network.
    ("no connection", 30),
    ("request lost", 30),
    ("answer lost", 30),
    ("delivered twice", 20),
    ("answer late", 20),
    ("request late", 20),
    ("answer cut", 20),
    // Of the portal.
    ("delay", 10),
    ("drop-request", 5),
    ("apply-then-drop", 5),
    ("apply-later", 5),
    ("too-many-requests", 5),
    ("status", 5),
    ("html", 5),
    ("soap-fault", 5),
    ("empty-body", 5),
    ("code-as-string", 5),
    ("double-encoded", 5),
    ("session-expired", 10),
    ("slow-body", 5),
    ("reset-mid-body", 5),
];

#[test]
fn a_seed_repeats_exactly() {
    for seed in 0..6 {
        let (setup, ops) = draw(seed);
        let (first, again) = (run(&setup, &ops, None), run(&setup, &ops, None));
        assert_eq!(
            first.log_hash, again.log_hash,
            "seed {seed}\n{}\n--\n{}",
            first.last_lines, again.last_lines
        );
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_wrong() {
    let first = asked("HOSO_SIM_FIRST").unwrap_or(0);
    let seeds = asked("HOSO_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let total: Mutex<(BTreeMap<&'static str, u64>, Duration)> = Mutex::default();
    let failed: Mutex<BTreeMap<u64, Violation>> = Mutex::default();
    workers(|| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            let (setup, ops) = draw(seed);
            let outcome = run(&setup, &ops, None);
            if let Some(violation) = outcome.violation {
                failed.lock().expect("a list").insert(seed, violation);
                continue;
            }
            let mut total = total.lock().expect("counters");
            *total.0.entry("operations").or_default() += ops.len() as u64;
            for (what, times) in outcome.counters {
                *total.0.entry(what).or_default() += times;
            }
            total.1 += outcome.simulated;
        }
    });
    let failed = failed.into_inner().expect("a list");
    let (counters, simulated) = total.into_inner().expect("counters");
    let mut text = format!("{seeds} seeds, {} simulated hours\n", simulated.as_secs() / 3_600);
    for (what, times) in &counters {
        // Writing to a String cannot fail.
        writeln!(text, "{times:>9} {what}").unwrap_or_default();
    }
    assert!(failed.is_empty(), "{}", report(&failed));
    if seeds >= SEEDS {
        let missing: Vec<String> = MUST_HAVE_HAPPENED
            .iter()
            .map(|(what, least)| {
                (what, least * seeds / 300, counters.get(what).copied().unwrap_or(0))
            })
            .filter(|(_, least, found)| *least >= LEAST_ASKED && found < least)
            .map(|(what, least, found)| format!("{what}: {found}, not {least}"))
            .collect();
        assert!(missing.is_empty(), "too little happened:\n{}\n\n{text}", missing.join("\n"));
    }
    assert!(asked("HOSO_SIM_REPORT").is_none(), "asked for a report\n{text}");
}

/// Runs `work` on every processor; each run is serial in itself.
pub(super) fn workers(work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(&work);
        }
    });
}

/// What failed, as short as it goes, and how to run it again.
fn report(failed: &BTreeMap<u64, Violation>) -> String {
    let all = failed.iter().fold(String::new(), |mut text, (seed, violation)| {
        // Writing to a String cannot fail.
        writeln!(text, "seed {seed} breaks \"{}\": {}", violation.property, violation.what)
            .unwrap_or_default();
        text
    });
    let Some((seed, _)) = failed.first_key_value() else { return all };
    let (setup, ops) = draw(*seed);
    let outcome = run(&setup, &ops, None);
    let Some(violation) = outcome.violation else {
        return format!("{all}\nseed {seed} does not repeat");
    };
    if asked("HOSO_SIM_BRIEF").is_some() {
        return all;
    }
    let fewest = minimise(&setup, &ops[..outcome.done], violation.property, None);
    let again = run(&setup, &fewest, None);
    let why = again.violation.unwrap_or(violation);
    let list = fewest.iter().fold(String::new(), |mut text, op| {
        // Writing to a String cannot fail.
        writeln!(text, "    Op::{op:?},").unwrap_or_default();
        text
    });
    format!(
        "{all}\nseed {seed}, shortened, breaks \"{}\": {}\n\n{}\n{setup:?}\n[\n{list}]\n\n\
         again: HOSO_SIM_FIRST={seed} HOSO_SIM_SEEDS=1 cargo test --test it simulation::seeds\n",
        why.property, why.what, again.last_lines,
    )
}
