//! What came of `hoso demo --once`, and whether all of it agrees.

use serde::Serialize;

use super::{QUOTA_PER_SECOND, World};
use crate::cli::Invocation;
use crate::cli::failure::{Exit, Failure};
use crate::cli::rehearsal::owed_steps;
use crate::domain::entry::EntryState;
use crate::domain::time::Timestamp;
use crate::lab::digest::{Comparison, compare};
use crate::ledger::record::Books;

/// The one JSON object of `--once --json`.
#[derive(Debug, Serialize)]
struct Verdict {
    dossiers: DossierCounts,
    steps: StepCounts,
    portal: PortalCounts,
    reconciliation: BookCounts,
    seconds: f64,
    dossiers_per_second: f64,
}

/// By the state of each dossier's newest revision; `superseded` counts revisions.
#[derive(Debug, Serialize)]
struct DossierCounts {
    at_source: u64,
    accepted: u64,
    synchronised: u64,
    quarantined: u64,
    dead: u64,
    not_ours: u64,
    superseded: u64,
    open: u64,
}

/// Steps of dossiers that are neither quarantined nor not ours.
#[derive(Debug, Serialize)]
struct StepCounts {
    at_source: u64,
    accepted: u64,
    held: u64,
    open: u64,
}

#[derive(Debug, Serialize)]
struct PortalCounts {
    calls: u64,
    useful: u64,
    refused: u64,
    records: usize,
    steps: u64,
    quota_overshoots: u64,
}

#[derive(Debug, Serialize)]
struct BookCounts {
    matched: u64,
    different: u64,
    missing: u64,
    unverifiable: u64,
    extra: u64,
    closed: bool,
}

pub(super) async fn conclude(
    invocation: &Invocation,
    world: &World,
    books: Books,
) -> Result<(), Failure> {
    let now = world.context.clock.now();
    let standing = world.context.ledger.standing(now).await?;
    let calls = world.context.ledger.call_totals(Timestamp::default()).await?;
    let lab = world.labs.portal.state();
    let comparison = compare(&world.labs.province.expected(), &world.labs.portal.records());
    let seconds = (world.context.clock.monotonic().saturating_sub(world.began)).as_secs_f64();
    let of = |states: &[EntryState]| -> u64 {
        states.iter().filter_map(|state| standing.dossiers.get(state)).sum()
    };
    let steps = |state: &str| standing.steps.get(state).copied().unwrap_or(0);
    // Held, or behind a packet that the portal refused for good: a person decides.
    let waiting = steps("held") + steps("waiting");
    let accepted_steps = steps("acked") + steps("presumed_sent");
    let refused = calls
        .by_service
        .values()
        .flat_map(|outcomes| outcomes.iter())
        .filter(|(outcome, _)| matches!(outcome.as_str(), "refused" | "throttled"))
        .map(|(_, count)| count)
        .sum();
    let accepted = of(&[EntryState::Accepted, EntryState::Unchanged]);
    let verdict = Verdict {
        dossiers: DossierCounts {
            at_source: books.at_source,
            accepted,
            synchronised: standing.synchronised,
            quarantined: of(&[EntryState::Quarantined]),
            dead: of(&[EntryState::Dead]),
            not_ours: of(&[EntryState::NotOurs]),
            superseded: standing.superseded,
            open: of(&[
                EntryState::Received,
                EntryState::Ready,
                EntryState::Leased,
                EntryState::Unconfirmed,
            ]),
        },
        steps: StepCounts {
            at_source: world.labs.province.state().counts.expected_steps as u64,
            accepted: accepted_steps,
            held: waiting,
            open: owed_steps(&standing),
        },
        portal: PortalCounts {
            calls: lab.calls,
            useful: calls.useful,
            refused,
            records: lab.records,
            steps: lab.steps,
            quota_overshoots: lab.overshoots,
        },
        reconciliation: BookCounts {
            matched: books.matched,
            different: books.different,
            missing: books.missing,
            unverifiable: books.unverifiable,
            extra: books.extra,
            closed: books.closed,
        },
        seconds,
        dossiers_per_second: accepted as f64 / seconds,
    };
    let faults = disagreements(&verdict, &comparison);
    invocation.output.result(&verdict, |verdict| text(verdict, &books));
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(Exit::Findings, faults.join("\n       ")))
    }
}

/// Everything that keeps the run from being called whole; empty when all of it agrees.
fn disagreements(verdict: &Verdict, comparison: &Comparison) -> Vec<String> {
    let mut found = Vec::new();
    let dossiers = &verdict.dossiers;
    if !verdict.reconciliation.closed {
        found.push("the books do not close".to_owned());
    }
    if dossiers.open + verdict.steps.open > 0 {
        found.push("something is still on its way".to_owned());
    }
    let sum = dossiers.accepted
        + dossiers.quarantined
        + dossiers.dead
        + dossiers.not_ours
        + dossiers.open;
    if sum != dossiers.at_source {
        found.push(format!(
            "the province lists {} dossiers, the ledger accounts for {sum}",
            dossiers.at_source
        ));
    }
    let steps = &verdict.steps;
    if steps.accepted + steps.held + steps.open != steps.at_source {
        found.push(format!(
            "the province holds {} steps, the ledger accounts for {}",
            steps.at_source,
            steps.accepted + steps.held + steps.open
        ));
    }
    for (what, codes) in [
        ("differ at the portal", &comparison.different),
        ("are missing at the portal", &comparison.missing),
        ("are at the portal and should not be", &comparison.unexpected),
    ] {
        if let Some(first) = codes.first() {
            found.push(format!("{} dossier(s) {what}, e.g. {first}", codes.len()));
        }
    }
    // A held step waits for a person; nobody knows whether the portal has it.
    if comparison.steps_missing as u64 > verdict.steps.held {
        found.push(format!("{} step(s) are missing at the portal", comparison.steps_missing));
    }
    if comparison.steps_unexpected > 0 {
        found.push(format!("{} step(s) were never at the source", comparison.steps_unexpected));
    }
    found
}

fn text(verdict: &Verdict, books: &Books) -> String {
    let dossiers = &verdict.dossiers;
    format!(
        "{}\n\n\
         dossiers   {} at the source: {} accepted ({} with every step), {} quarantined, {} dead, {} not ours, {} open\n\
         revisions  {} superseded before they were sent\n\
         steps      {} accepted, {} held, {} open\n\
         portal     {} calls, {} useful, {} refused, {} over the quota\n\
         time       {:.1} s, {:.0} dossiers/s (the quota is {QUOTA_PER_SECOND} calls/s)",
        crate::cli::run::books_text(books),
        dossiers.at_source,
        dossiers.accepted,
        dossiers.synchronised,
        dossiers.quarantined,
        dossiers.dead,
        dossiers.not_ours,
        dossiers.open,
        dossiers.superseded,
        verdict.steps.accepted,
        verdict.steps.held,
        verdict.steps.open,
        verdict.portal.calls,
        verdict.portal.useful,
        verdict.portal.refused,
        verdict.portal.quota_overshoots,
        verdict.seconds,
        verdict.dossiers_per_second,
    )
}
