//! A dossier's situation in plain words: where it is, what it waits for, until when, who must act.
//!
//! Every state of an entry and of a step has an answer here; a new state does not compile without
//! one. The words themselves are in the catalogue of messages.

use std::fmt::{Display, Formatter};

use serde::Serialize;

use super::{explain, words};
use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::domain::discrepancy::DiscrepancyKind;
use crate::domain::entry::EntryState;
use crate::domain::failure::Failure;
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ledger::record::{PauseScope, SendingPause};
use crate::ledger::view::{DossierView, EntryView, Sending};
use crate::messages::{self, Language};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Situation {
    pub ma_ho_so: String,
    pub source: String,
    /// One sentence.
    pub standing: String,
    /// Each with its cause; empty when nothing is awaited.
    pub waits_for: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the program acts next by itself, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The last failure, findings, differences.
    pub facts: Vec<String>,
    /// What a person must or may do; never empty.
    pub person: Vec<String>,
    /// Why a person need not do anything; said only when that is the whole answer.
    #[serde(skip)]
    calm: Vec<String>,
    #[serde(skip)]
    now: Timestamp,
    #[serde(skip)]
    language: Language,
}

/// Explains a dossier as things stand: who sends, if anybody does, and what is paused.
pub(super) fn situation(
    view: &DossierView,
    sending: &Sending,
    now: Timestamp,
    language: Language,
) -> Situation {
    let gate_owner = sending.gate_owner.as_deref();
    let mut told = Situation {
        ma_ho_so: view.ma_ho_so.clone(),
        source: view.source.clone(),
        standing: String::new(),
        waits_for: Vec::new(),
        since: None,
        until: None,
        facts: Vec::new(),
        person: Vec::new(),
        calm: Vec::new(),
        now,
        language,
    };
    match view.newest_entry() {
        Some(entry) => told.entry(view, entry, gate_owner),
        None => told.standing = told.say("explain.nothing_owed", &[]),
    }
    told.steps(view, gate_owner);
    told.pauses(view, &sending.pauses);
    told.discrepancies(view);
    if told.person.is_empty() {
        told.person = std::mem::take(&mut told.calm);
    }
    if told.person.is_empty() {
        told.person.push(told.say("explain.nothing", &[]));
    }
    told
}

impl Situation {
    fn say(&self, key: &str, values: &[(&str, &dyn Display)]) -> String {
        messages::say(self.language, key, values)
    }

    fn awaits(&mut self, key: &str, values: &[(&str, &dyn Display)]) {
        self.waits_for.push(self.say(key, values));
    }

    /// A person must or may act.
    fn may(&mut self, key: &str, values: &[(&str, &dyn Display)]) {
        let line = self.say(key, values);
        if !self.person.contains(&line) {
            self.person.push(line);
        }
    }

    /// Nobody has to act.
    fn rests(&mut self, key: &str, values: &[(&str, &dyn Display)]) {
        let line = self.say(key, values);
        if !self.calm.contains(&line) {
            self.calm.push(line);
        }
    }

    fn entry(&mut self, view: &DossierView, entry: &EntryView, gate_owner: Option<&str>) {
        let code = &view.ma_ho_so;
        self.since = Some(entry.changed_at);
        let standing = match entry.state {
            EntryState::Received => {
                self.awaits("explain.waits_mapping", &[]);
                self.rests("explain.map_at_once", &[]);
                "explain.received"
            }
            EntryState::Quarantined => {
                self.awaits("explain.waits_better_data", &[]);
                self.may("explain.correct_at_source", &[]);
                "explain.quarantined"
            }
            EntryState::NotOurs => {
                let revision = view.revisions.last();
                if entry.rule.as_deref() == Some("source.recoded") {
                    "explain.recoded"
                } else if revision.is_some_and(|revision| revision.deleted) {
                    "explain.deleted"
                } else if revision.is_some_and(|revision| revision.ministry) {
                    "explain.ministry"
                } else {
                    "explain.not_ours"
                }
            }
            EntryState::Unchanged => "explain.unchanged",
            EntryState::Ready => {
                self.until = (entry.due_at > self.now).then_some(entry.due_at);
                match (self.until, &entry.failure) {
                    (Some(_), Some(failure)) => {
                        self.awaits("explain.waits_time_because", &[("failure", &failure.code)]);
                    }
                    (Some(_), None) => self.awaits("explain.waits_time", &[]),
                    (None, _) if view.lane_busy => self.awaits("explain.waits_lane", &[]),
                    (None, _) => self.awaits("explain.waits_turn", &[]),
                }
                self.sender(gate_owner);
                "explain.ready"
            }
            EntryState::Leased => {
                self.until = entry.lease_expires_at;
                self.awaits("explain.waits_answer", &[]);
                "explain.leased"
            }
            EntryState::Unconfirmed => {
                self.until = (entry.due_at > self.now).then_some(entry.due_at);
                self.awaits("explain.waits_look", &[]);
                self.sender(gate_owner);
                "explain.unconfirmed"
            }
            EntryState::Accepted => {
                self.since = view.acked_at.or(self.since);
                "explain.accepted"
            }
            EntryState::Dead => {
                let out_of_attempts = entry
                    .failure
                    .as_ref()
                    .is_some_and(|failure| failure.code == "push.out_of_attempts");
                self.awaits("explain.waits_person", &[]);
                self.may("explain.mend_and_retry", &[("code", code)]);
                if out_of_attempts { "explain.out_of_attempts" } else { "explain.refused" }
            }
            EntryState::Superseded => "explain.superseded",
            EntryState::Awaiting => {
                self.until = (entry.due_at > self.now).then_some(entry.due_at);
                match &view.cut_over {
                    Some(at) => self.awaits("explain.waits_look_older_before", &[("time", at)]),
                    None => self.awaits("explain.waits_look_older", &[]),
                }
                if entry.priority <= Priority::DeadlineNear {
                    self.sender(gate_owner);
                } else {
                    self.rests("explain.asked_when_changed", &[]);
                }
                "explain.awaiting"
            }
            EntryState::Presumed => {
                self.rests("explain.resync_if_other", &[("code", code)]);
                "explain.presumed"
            }
        };
        self.standing = self.say(standing, &[]);
        // What was found before it was put back is answered by mapping it anew.
        if entry.state == EntryState::Received {
            return;
        }
        if let Some(failure) = &entry.failure {
            self.failure("explain.last_failure", failure);
        }
        for diagnostic in &entry.diagnostics {
            self.finding(diagnostic);
        }
    }

    fn steps(&mut self, view: &DossierView, gate_owner: Option<&str>) {
        let language = self.language;
        let count =
            |state: &str| view.steps.iter().filter(|step| step.state == state).count() as u64;
        let (pending, leased, held) = (count("pending"), count("leased"), count("held"));
        let refused = view.newest_entry().is_some_and(|entry| {
            matches!(entry.state, EntryState::Quarantined | EntryState::NotOurs | EntryState::Dead)
        });
        if leased > 0 {
            self.waits_for.push(messages::count(language, leased, "explain.waits_steps_answer"));
        }
        let presumed = count("presumed_sent");
        if presumed > 0 {
            self.facts.push(messages::count(language, presumed, "explain.steps_presumed"));
        }
        if pending > 0 && !refused {
            let due = view.steps_due_at.filter(|at| *at > self.now);
            let what = messages::count(language, pending, "explain.waits_steps");
            let what = if view.packet_state == "accepted" {
                match (due, &view.steps_failure) {
                    (Some(_), Some(failure)) => {
                        self.say("explain.because", &[("what", &what), ("failure", &failure.code)])
                    }
                    _ => what,
                }
            } else {
                self.say("explain.after_dossier", &[("what", &what)])
            };
            self.waits_for.push(what);
            if view.newest_entry().is_none_or(|entry| !entry.state.is_open()) {
                self.until = self.until.max(due);
                self.sender(gate_owner);
            }
        }
        if let Some(failure) = view.steps_failure.as_ref().filter(|_| pending + leased > 0) {
            self.failure("explain.steps_failure", failure);
        }
        if held > 0 {
            self.waits_for.push(messages::count(language, held, "explain.waits_person_steps"));
            for step in view.steps.iter().filter(|step| step.state == "held") {
                let (time, status) = (&step.thoi_diem_xu_ly, &step.trang_thai);
                let named: [(&str, &dyn Display); 2] = [("time", time), ("status", status)];
                let fact = match &step.failure {
                    Some(failure) => self.say(
                        "explain.held_step_failure",
                        &[("time", time), ("status", status), ("failure", failure)],
                    ),
                    None => self.say("explain.held_step", &named),
                };
                self.facts.push(fact);
                if let Some(failure) = &step.failure {
                    self.advise(&failure.code);
                }
            }
            self.may("explain.look_held", &[("code", &view.ma_ho_so)]);
        }
    }

    /// What waits to be sent and may not: said first, because it holds back all the rest.
    fn pauses(&mut self, view: &DossierView, pauses: &[SendingPause]) {
        let (tthc, don_vi) = (view.ma_tthc.as_deref(), view.ma_don_vi.as_deref());
        let sendable = [EntryState::Ready, EntryState::Unconfirmed];
        let waits = view.newest_entry().is_some_and(|entry| sendable.contains(&entry.state))
            || (view.packet_state == "accepted" && view.steps_due_at.is_some());
        for pause in pauses.iter().filter(|pause| waits && pause.scope.covers(tthc, don_vi)) {
            let until = match &pause.until {
                Some(until) => self.say("explain.until_time", &[("time", until)]),
                None => self.say("explain.until_resumed", &[]),
            };
            let (actor, reason) = (&pause.actor, &pause.reason);
            let (why, scope) = match &pause.scope {
                PauseScope::All => ("explain.paused_all", String::new()),
                PauseScope::Procedure(code) => {
                    ("explain.paused_procedure", format!(" --procedure {code}"))
                }
                PauseScope::Agency(code) => ("explain.paused_agency", format!(" --agency {code}")),
            };
            let why = self.say(
                why,
                &[
                    ("value", &pause.scope.value()),
                    ("actor", actor),
                    ("reason", reason),
                    ("until", &until),
                ],
            );
            self.waits_for.insert(0, why);
            self.may("explain.resume", &[("scope", &scope)]);
        }
    }

    fn discrepancies(&mut self, view: &DossierView) {
        // What was believed has become owed again.
        let is_suspicion = view.newest_entry().is_some_and(|entry| {
            matches!(
                entry.state,
                EntryState::Accepted | EntryState::Unchanged | EntryState::Presumed
            )
        });
        for found in view.discrepancies.iter().filter(|found| found.resolved_at.is_none()) {
            let since = messages::when(self.language, found.found_at, self.now);
            let kind = words::discrepancy(self.language, &found.kind);
            let fact = self.say(
                "explain.open_discrepancy",
                &[("since", &since), ("kind", &kind), ("detail", &found.detail)],
            );
            self.facts.push(fact);
            match DiscrepancyKind::parse(&found.kind) {
                Some(DiscrepancyKind::NotReceived | DiscrepancyKind::Behind) => {
                    self.may("explain.wait_poll", &[]);
                }
                Some(DiscrepancyKind::Missing) if is_suspicion => {
                    self.rests("explain.missing_once", &[]);
                }
                Some(DiscrepancyKind::Missing | DiscrepancyKind::Different) => {
                    self.may("explain.resync", &[("code", &view.ma_ho_so)]);
                }
                _ => self.may("explain.clear_with_agency", &[]),
            }
        }
    }

    /// Something is due: does anybody send?
    fn sender(&mut self, gate_owner: Option<&str>) {
        match &gate_owner {
            Some(owner) => self.rests("explain.someone_sends", &[("owner", owner)]),
            None => self.may("explain.nobody_sends", &[]),
        }
    }

    fn failure(&mut self, key: &str, failure: &Failure) {
        self.facts.push(self.say(key, &[("failure", failure)]));
        self.advise(&failure.code);
    }

    fn finding(&mut self, diagnostic: &Diagnostic) {
        self.facts.push(diagnostic.to_string());
        if diagnostic.severity == Severity::Error {
            self.advise(&diagnostic.rule);
        }
    }

    fn advise(&mut self, code: &str) {
        let Some(advice) = explain::advice(self.language, code) else { return };
        let line = format!("[{code}] {advice}");
        if !self.person.contains(&line) {
            self.person.push(line);
        }
    }
}

impl Display for Situation {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let heading = |key: &str| self.say(key, &[]);
        let from = [("code", &self.ma_ho_so as &dyn Display), ("source", &self.source)];
        writeln!(f, "{}", self.say("explain.from", &from))?;
        writeln!(f, "\n{}.\n", self.standing)?;
        let when = |at| vec![messages::when(self.language, at, self.now)];
        if let Some(since) = self.since {
            list(f, &heading("explain.since"), &when(since))?;
        }
        list(f, &heading("explain.waits_for"), &self.waits_for)?;
        if let Some(until) = self.until {
            list(f, &heading("explain.until"), &when(until))?;
        }
        list(f, &heading("explain.found"), &self.facts)?;
        list(f, &heading("explain.to_do"), &self.person)
    }
}

fn list(f: &mut Formatter<'_>, name: &str, items: &[String]) -> std::fmt::Result {
    for (at, item) in items.iter().enumerate() {
        let name = if at == 0 { name } else { "" };
        writeln!(f, "{name:<12}{item}")?;
    }
    Ok(())
}
