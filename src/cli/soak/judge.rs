//! Is it all there, and is nothing there that should not be? Province, portal and ledger, compared
//! from outside.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Soak;
use crate::cli::failure::Failure;
use crate::domain::entry::EntryState;
use crate::lab::digest::{Difference, PacketDifference, differences};
use crate::ledger::view::DossierView;

/// Codes that one question to the ledger carries.
const CHUNK: usize = 500;

/// What was found about the dossiers.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Finding {
    /// Dossiers that the province keeps now.
    pub at_source: u64,
    /// The places in the ledger where they are, each in one.
    pub places: BTreeMap<EntryState, u64>,
    /// Codes that the province uses no more and the ledger knows.
    pub left_codes: u64,
    /// Of the province, and unknown to the ledger.
    pub lost: Vec<String>,
    /// In the ledger, and never at the province: how many.
    pub invented: u64,
    /// On their way, which after the end nothing may be.
    pub open: u64,
    /// Dossiers that stand at the portal as expected, with every step.
    pub as_expected: u64,
    /// Dossiers that do not, by the ledger's reason.
    pub explained: BTreeMap<String, u64>,
    /// Dossiers that do not, and the ledger gives no reason: code and what differs.
    pub unexplained: Vec<String>,
    /// Of those, the ones that the ledger calls acknowledged.
    pub false_successes: u64,
    /// Steps that the portal has twice because an answer was lost.
    pub repeated_steps: u64,
    /// Steps that it has twice for no reason, and requests for a supplement that it has twice.
    pub doubled_steps: u64,
}

impl Finding {
    /// What is wrong or on its way, in words; empty: nothing is.
    pub(super) fn unmet(&self) -> Vec<String> {
        let counts = [
            (self.open, "on their way"),
            (self.lost.len() as u64, "unknown to the ledger"),
            (self.invented, "that the province never had"),
            (self.unexplained.len() as u64, "unexplained at the portal"),
            (self.doubled_steps, "steps twice for no reason"),
        ];
        let some = counts.into_iter().filter(|(count, _)| *count > 0);
        some.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// Compares everything with everything.
pub(super) async fn judge(soak: &Soak) -> Result<Finding, Failure> {
    let mut finding = Finding::default();
    places(soak, &mut finding).await?;
    let expected = soak.world.province.expected();
    let records = soak.world.portal.records();
    let found = differences(&expected, &records);
    let differing: BTreeSet<&str> = found.iter().map(|found| found.code.as_str()).collect();
    finding.as_expected =
        expected.iter().filter(|dossier| !differing.contains(dossier.code.as_str())).count() as u64;
    for difference in found {
        let views = soak.context.ledger.dossier(&difference.code).await?;
        let supplements = soak.world.province.supplements(&difference.code);
        let supplement_twice =
            difference.steps_twice.iter().filter(|step| supplements.contains(step)).count() as u64;
        judge_one(&mut finding, &difference, views.first(), supplement_twice);
    }
    Ok(finding)
}

/// Conservation: each dossier of the province is in one place of the ledger, and the ledger has no
/// others.
async fn places(soak: &Soak, finding: &mut Finding) -> Result<(), Failure> {
    let codes = soak.world.province.codes();
    finding.at_source = codes.len() as u64;
    for chunk in codes.chunks(CHUNK) {
        let known = soak.context.ledger.standings(soak.source.source.name(), chunk).await?;
        let found: BTreeSet<&str> = known.iter().map(|one| one.ma_ho_so.as_str()).collect();
        let lost = chunk.iter().filter(|code| !found.contains(code.as_str()));
        finding.lost.extend(lost.cloned());
        for one in &known {
            *finding.places.entry(one.newest_state).or_default() += 1;
            finding.open += u64::from(one.newest_state.is_open());
        }
    }
    for chunk in soak.world.province.left_codes().chunks(CHUNK) {
        let known = soak.context.ledger.standings(soak.source.source.name(), chunk).await?;
        finding.left_codes += known.len() as u64;
    }
    let standing = soak.context.ledger.standing(soak.context.clock.now()).await?;
    let all: u64 = standing.dossiers.values().sum();
    let accounted = finding.places.values().sum::<u64>() + finding.left_codes;
    finding.invented = all.saturating_sub(accounted);
    Ok(())
}

fn judge_one(
    finding: &mut Finding,
    difference: &Difference,
    view: Option<&DossierView>,
    supplement_twice: u64,
) {
    let Some(view) = view else {
        finding.unexplained.push(format!("{}: unknown to the ledger", difference.code));
        return;
    };
    let twice = difference.steps_twice.len() as u64;
    let was_lost = |kind: &str| {
        view.attempts.iter().any(|attempt| attempt.kind == kind && attempt.outcome == "unknown")
    };
    if supplement_twice == 0 && (twice == 0 || was_lost("steps")) {
        finding.repeated_steps += twice;
    } else {
        finding.doubled_steps += twice;
    }
    // Steps that the portal has twice are judged above; is there anything else?
    let as_expected = difference.packet == PacketDifference::Matched
        && difference.steps_missing == 0
        && difference.steps_unexpected == 0;
    if as_expected {
        finding.as_expected += 1;
        return;
    }
    if let Some(reason) = reason(difference, view) {
        *finding.explained.entry(reason).or_default() += 1;
    } else {
        let is_called_sound = view.newest_entry().is_some_and(|entry| {
            matches!(entry.state, EntryState::Accepted | EntryState::Unchanged)
        });
        finding.false_successes += u64::from(is_called_sound);
        finding.unexplained.push(format!(
            "{}: {:?}, {} step(s) missing, {} unexpected, state {}",
            difference.code,
            difference.packet,
            difference.steps_missing,
            difference.steps_unexpected,
            view.newest_entry().map_or("none", |entry| entry.state.as_str()),
        ));
    }
}

/// Why a dossier stands otherwise at the portal, in the ledger's own words.
fn reason(difference: &Difference, view: &DossierView) -> Option<String> {
    if let Some(open) = view.discrepancies.iter().find(|found| found.resolved_at.is_none()) {
        return Some(open.kind.clone());
    }
    let held = view.steps.iter().filter(|step| step.state == "held");
    let held: Vec<_> = held.collect();
    if difference.packet == PacketDifference::Matched
        && difference.steps_unexpected == 0
        && !held.is_empty()
        && held.len() >= difference.steps_missing
    {
        let code = held[0].failure.as_ref().map_or("held", |failure| failure.code.as_str());
        return Some(code.to_owned());
    }
    let entry = view.newest_entry().filter(|entry| entry.state.needs_a_person())?;
    Some(entry.rule.clone().unwrap_or_else(|| entry.state.as_str().to_owned()))
}
