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

/// Seeds of a usual test run.
const SEEDS: u64 = 300;

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
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
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
    if asked("HOSO_SIM_REPORT").is_some() {
        panic!("asked for a report\n{text}");
    }
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
    let list: String = fewest.iter().map(|op| format!("    Op::{op:?},\n")).collect();
    format!(
        "{all}\nseed {seed}, shortened, breaks \"{}\": {}\n\n{}\n{setup:?}\n[\n{list}]\n\n\
         again: HOSO_SIM_FIRST={seed} HOSO_SIM_SEEDS=1 cargo test --test it simulation::seeds\n",
        why.property, why.what, again.last_lines,
    )
}
