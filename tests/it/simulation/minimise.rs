//! A failing list of operations, made as short as it goes (delta debugging).

use super::ops::{Op, Setup};
use super::run::run;
use hoso_gateway::sabotage::Defect;

/// Runs that looking for a shorter list may cost.
const RUNS_MAX: u32 = 80;

/// A part of `ops` that breaks the same property, without a piece that could be left out.
pub(super) fn minimise(
    setup: &Setup,
    ops: &[Op],
    property: &str,
    defect: Option<Defect>,
) -> Vec<Op> {
    let mut runs = 0;
    let mut fails = |part: &[Op]| {
        runs += 1;
        runs <= RUNS_MAX
            && run(setup, part, defect)
                .violation
                .is_some_and(|violation| violation.property == property)
    };
    let mut ops = ops.to_vec();
    let mut piece = ops.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < ops.len() {
            let end = (at + piece).min(ops.len());
            let shorter: Vec<Op> = [&ops[..at], &ops[end..]].concat();
            if fails(&shorter) {
                ops = shorter;
            } else {
                at = end;
            }
        }
        piece /= 2;
    }
    ops
}
