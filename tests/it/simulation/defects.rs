//! A checker that cannot fail proves nothing: each deliberate bug of [`Defect`] has to be noticed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hoso_gateway::sabotage::Defect;

use super::ops::draw;
use super::run::run;
use super::seeds::workers;
use super::witness::{asked, say};

/// Seeds within which each deliberate bug must be noticed.
const SEEDS_MAX: u64 = 60;

#[test]
#[ignore = "some minutes; run it after a change of the rules: cargo test --test it defects -- --ignored"]
fn each_deliberate_bug_is_noticed() {
    let next = AtomicUsize::new(0);
    let caught: Mutex<BTreeMap<Defect, Option<(u64, &'static str)>>> = Mutex::default();
    let seeds = asked("HOSO_SIM_SEEDS").unwrap_or(SEEDS_MAX);
    workers(|| {
        while let Some(defect) = Defect::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = (0..seeds).find_map(|seed| {
                let (setup, ops) = draw(seed);
                let violation = run(&setup, &ops, Some(*defect)).violation?;
                Some((seed + 1, violation.property))
            });
            if asked("HOSO_SIM_REPORT").is_some() {
                say(&format!("{defect:?} {found:?}"));
            }
            caught.lock().expect("a table").insert(*defect, found);
        }
    });
    let caught = caught.into_inner().expect("a table");
    let table: Vec<String> = caught
        .iter()
        .map(|(defect, found)| match found {
            Some((seeds, property)) => format!("{defect:?}: \"{property}\" after {seeds} seeds"),
            None => format!("{defect:?}: NOT NOTICED"),
        })
        .collect();
    let all = caught.values().all(Option::is_some) && asked("HOSO_SIM_REPORT").is_none();
    assert!(all, "{}", table.join("\n"));
}
