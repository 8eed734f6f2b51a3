//! One run: a seed's operations, the rules after each, and at the end the proof that everything
//! comes right again.

use std::collections::BTreeMap;
use std::time::Duration;

use hoso_gateway::clock::Clock as _;
use hoso_gateway::lab::portal::Service;
use hoso_gateway::ledger::Ledger as _;
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};
use hoso_gateway::sabotage::{self, Defect};

use super::ledger::at_once;
use super::ops::{Op, Setup};
use super::properties;
use super::time::sleep;
use super::witness::Violation;
use super::world::World;

/// After the last fault, everything is where it belongs within this time: the longest pauses of gate
/// and retries, a lease, and two reconciliations.
const SETTLES_WITHIN: Duration = Duration::from_mins(80);
/// How often a person looks at what waits for one.
const OPERATOR_LOOKS: u32 = 10;

/// What a run came to.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) violation: Option<Violation>,
    /// Operations that were done before the violation.
    pub(super) done: usize,
    pub(super) log_hash: String,
    pub(super) counters: BTreeMap<&'static str, u64>,
    pub(super) simulated: Duration,
    pub(super) last_lines: String,
}

/// Runs these operations in a world of this setup. The same arguments have the same outcome.
pub(super) fn run(setup: &Setup, ops: &[Op], defect: Option<Defect>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    sabotage::commit(defect);
    let outcome = runtime.block_on(live(setup, ops));
    sabotage::commit(None);
    outcome
}

async fn live(setup: &Setup, ops: &[Op]) -> Outcome {
    let mut world = World::new(setup);
    let mut done = 0;
    for op in ops {
        world.apply(op).await;
        done += 1;
        properties::check(&world);
        if world.witness.first_violation().is_some() {
            break;
        }
    }
    if world.witness.first_violation().is_none() {
        comes_right(&mut world).await;
    }
    if world.witness.first_violation().is_none() {
        keeps_its_own_rules(&world).await;
    }
    end(&world, done)
}

/// Liveness: when faults stop, every obligation settles within a bound, and a fresh dossier passes.
async fn comes_right(world: &mut World) {
    world.heal().await;
    let fresh = world.network.province.add(1);
    world.witness.province_says(&world.network.province);
    let (since, began) = (world.clock.now().millis(), world.clock.monotonic());
    let mut owed = String::new();
    for minute in 1.. {
        sleep(Duration::from_mins(1)).await;
        properties::check(world);
        if world.witness.first_violation().is_some() {
            return;
        }
        match properties::owed(world, since) {
            None => {
                world.witness.note(|| format!("everything is right after {minute} minutes"));
                return;
            }
            Some(what) => owed = what,
        }
        if world.clock.monotonic() > began + SETTLES_WITHIN {
            break;
        }
        if minute % OPERATOR_LOOKS == 0 {
            world.retry_problems().await;
        }
    }
    world.witness.violated("liveness", format!("{owed}; the fresh dossier is {fresh:?}"));
}

/// The ledger's own check, of every row.
async fn keeps_its_own_rules(world: &World) {
    world.first.switch_off().await;
    world.second.switch_off().await;
    let path = world.ledger_path();
    let findings = at_once(async {
        let ledger = SqliteLedger::open(&path, &SqliteSettings::default()).await?;
        let findings = ledger.check().await;
        ledger.close().await;
        findings
    });
    match findings {
        Ok(findings) if findings.is_empty() => {}
        Ok(findings) => world.witness.violated("the ledger's own rules", format!("{findings:?}")),
        Err(error) => world.witness.violated("the ledger's own rules", error.to_string()),
    }
}

fn end(world: &World, done: usize) -> Outcome {
    let mut counters = world.witness.counters();
    let state = world.network.portal.state();
    for (fault, times) in &state.faults {
        *counters.entry(fault).or_default() += times;
    }
    let books = world.reader.read();
    let superseded = books.entries.iter().filter(|entry| entry.state == "superseded").count();
    counters.insert("superseded", superseded as u64);
    counters.insert("calls", state.calls);
    counters.insert("packets accepted by the portal", state.packets_accepted);
    let logins = state.outcomes.get(&Service::Login);
    counters.insert("logins", logins.map_or(0, |outcomes| outcomes.values().sum()));
    Outcome {
        violation: world.witness.first_violation(),
        done,
        log_hash: world.witness.log_hash(),
        counters,
        simulated: world.clock.monotonic(),
        last_lines: world.witness.last_lines(60),
    }
}
