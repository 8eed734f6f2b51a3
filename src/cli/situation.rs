//! A dossier's situation in plain words: where it is, what it waits for, until when, who must act.
//!
//! Every state of an entry and of a step has an answer here; a new state does not compile without
//! one.

use std::fmt::{Display, Formatter};

use serde::Serialize;

use super::{explain, words};
use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::domain::entry::EntryState;
use crate::domain::failure::Failure;
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ledger::record::{PauseScope, SendingPause};
use crate::ledger::view::{DossierView, EntryView, Sending};
use crate::pipeline::orders;

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
    #[serde(skip)]
    now: Timestamp,
}

/// Explains a dossier as things stand: who sends, if anybody does, and what is paused.
pub(super) fn situation(view: &DossierView, sending: &Sending, now: Timestamp) -> Situation {
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
        now,
    };
    match view.newest_entry() {
        Some(entry) => told.entry(view, entry, gate_owner),
        None => {
            told.standing = String::from("It is known, but nothing is owed for it");
        }
    }
    told.steps(view, gate_owner);
    told.pauses(view, &sending.pauses);
    // What was believed has become owed again.
    let is_suspicion = view.newest_entry().is_some_and(|entry| {
        matches!(entry.state, EntryState::Accepted | EntryState::Unchanged | EntryState::Presumed)
    });
    for found in view.discrepancies.iter().filter(|found| found.resolved_at.is_none()) {
        told.facts.push(format!(
            "open discrepancy since {}: {}: {}",
            words::when(found.found_at, now),
            found.kind.replace('_', " "),
            found.detail
        ));
        told.person.push(match found.kind.as_str() {
            "not_received" | "behind" => {
                "wait for the next poll; if it stays, ask the operator of the source \
                    why its feed is behind its index"
                    .to_owned()
            }
            "missing" if is_suspicion => {
                "nothing; a portal that does not show a dossier is believed when a later \
                 reconciliation finds the same (`hoso run reconcile`)"
                    .to_owned()
            }
            "missing" | "different" => {
                format!("`hoso resync --code {} --reason TEXT` sends it again", view.ma_ho_so)
            }
            _ => "clear it with the agency: the portal cannot take anything back".to_owned(),
        });
    }
    // "Nothing" is an answer only when it is the whole answer.
    if told.person.iter().any(|act| !act.starts_with("nothing")) {
        told.person.retain(|act| !act.starts_with("nothing"));
    }
    if told.person.is_empty() {
        told.person.push("nothing".to_owned());
    }
    told
}

impl Situation {
    fn awaits(&mut self, what: impl Into<String>) {
        self.waits_for.push(what.into());
    }

    fn may(&mut self, what: impl Into<String>) {
        self.person.push(what.into());
    }

    fn entry(&mut self, view: &DossierView, entry: &EntryView, gate_owner: Option<&str>) {
        let code = &view.ma_ho_so;
        self.since = Some(entry.changed_at);
        let standing = match entry.state {
            EntryState::Received => {
                self.awaits(
                    "mapping, which follows within seconds while `hoso \
                    serve` runs",
                );
                self.may("nothing; `hoso run map` does it at once");
                "Its newest change was received and is not mapped yet"
            }
            EntryState::Quarantined => {
                self.awaits(
                    "better data from the source, which is pulled by \
                    itself, or a changed mapping",
                );
                self.person.push(format!(
                    "correct the dossier at its source; or, after a change of the \
                        mapping: hoso problems retry {code} --reason TEXT"
                ));
                "The mapping refused it; nothing is sent"
            }
            EntryState::NotOurs => {
                let revision = view.revisions.last();
                if entry.rule.as_deref() == Some("source.recoded") {
                    "Its source goes on with it under another code; nothing more is sent \
                        under this one"
                } else if revision.is_some_and(|revision| revision.deleted) {
                    "It was deleted at the source; deletions are never sent"
                } else if revision.is_some_and(|revision| revision.ministry) {
                    "A ministry's system owns its status; it is mirrored here and never sent"
                } else {
                    "It belongs to another province or is outside the gateway's task; \
                        it is never sent"
                }
            }
            EntryState::Unchanged => {
                "The portal has exactly this packet already; there \
                was nothing to send"
            }
            EntryState::Ready => {
                self.until = (entry.due_at > self.now).then_some(entry.due_at);
                match (self.until, &entry.failure) {
                    (Some(_), Some(failure)) => self.awaits(format!(
                        "its time, because of the last failure ({})",
                        failure.code
                    )),
                    (Some(_), None) => self.awaits("its time"),
                    (None, _) if view.lane_busy => {
                        self.awaits("an earlier call of the same dossier, which is on its way");
                    }
                    (None, _) => self.awaits("its turn within the portal's quota"),
                }
                self.sender(gate_owner);
                "It is mapped and waits to be sent"
            }
            EntryState::Leased => {
                self.until = entry.lease_expires_at;
                self.awaits(
                    "the portal's answer; without one, the portal is \
                    asked what it has",
                );
                "It is being sent"
            }
            EntryState::Unconfirmed => {
                self.until = (entry.due_at > self.now).then_some(entry.due_at);
                self.awaits(
                    "a look at the portal, because nobody knows whether \
                    the last call was taken",
                );
                self.sender(gate_owner);
                "It was sent, and the outcome is unknown; it is not sent again before \
                    the portal was asked"
            }
            EntryState::Accepted => {
                self.since = view.acked_at.or(self.since);
                "The portal acknowledged its newest packet"
            }
            EntryState::Dead => {
                let out_of_attempts = entry
                    .failure
                    .as_ref()
                    .is_some_and(|failure| failure.code == "push.out_of_attempts");
                self.awaits("a person");
                self.person.push(format!(
                    "mend the cause, then: hoso problems retry {code} \
                    --reason TEXT"
                ));
                if out_of_attempts {
                    "It was tried as often as allowed and is not sent any more"
                } else {
                    "The portal refused it for good; it is not sent again as it is"
                }
            }
            EntryState::Superseded => "A newer change took its place",
            EntryState::Awaiting => {
                self.until = (entry.due_at > self.now).then_some(entry.due_at);
                let cut_over = view.cut_over.map_or_else(String::new, |at| format!(" before {at}"));
                self.awaits(format!(
                    "a look at the portal, because an older program may have sent it{cut_over}"
                ));
                if entry.priority <= Priority::DeadlineNear {
                    self.sender(gate_owner);
                } else {
                    self.may("nothing; it is asked about when it changes, or by `hoso adopt`");
                }
                "It is mapped; nothing of it is sent before the portal was asked"
            }
            EntryState::Presumed => {
                self.may(format!(
                    "nothing; if the portal shows something else: hoso resync --code {code} \
                     --reason TEXT"
                ));
                "The portal has it, and an older program is believed to have sent this; the \
                 portal never acknowledged it here"
            }
        };
        standing.clone_into(&mut self.standing);
        // What was found before it was put back is answered by mapping it anew.
        if entry.state == EntryState::Received {
            return;
        }
        if let Some(failure) = &entry.failure {
            self.failure("last failure", failure);
        }
        for diagnostic in &entry.diagnostics {
            self.finding(diagnostic);
        }
    }

    fn steps(&mut self, view: &DossierView, gate_owner: Option<&str>) {
        let count =
            |state: &str| view.steps.iter().filter(|step| step.state == state).count() as u64;
        let (pending, leased, held) = (count("pending"), count("leased"), count("held"));
        let refused = view.newest_entry().is_some_and(|entry| {
            matches!(entry.state, EntryState::Quarantined | EntryState::NotOurs | EntryState::Dead)
        });
        if leased > 0 {
            self.waits_for
                .push(format!("the portal's answer about {}", words::count(leased, "step")));
        }
        let presumed = count("presumed_sent");
        if presumed > 0 {
            self.facts.push(format!(
                "{} believed to be sent by the older program before the cut-over",
                words::count(presumed, "step")
            ));
        }
        if pending > 0 && !refused {
            let due = view.steps_due_at.filter(|at| *at > self.now);
            let why = if view.packet_state == "accepted" {
                match (due, &view.steps_failure) {
                    (Some(_), Some(failure)) => format!(", because of {}", failure.code),
                    _ => String::new(),
                }
            } else {
                ", which follow when the dossier itself is acknowledged".to_owned()
            };
            self.waits_for.push(format!("{} to be sent{why}", words::count(pending, "step")));
            if view.newest_entry().is_none_or(|entry| !entry.state.is_open()) {
                self.until = self.until.max(due);
                self.sender(gate_owner);
            }
        }
        if let Some(failure) = view.steps_failure.as_ref().filter(|_| pending + leased > 0) {
            self.failure("last failure of its steps", failure);
        }
        if held > 0 {
            self.waits_for.push(format!(
                "a person, for {} that must not be repeated blindly",
                words::count(held, "step")
            ));
            for step in view.steps.iter().filter(|step| step.state == "held") {
                let named = format!("held step {}/{}", step.thoi_diem_xu_ly, step.trang_thai);
                match &step.failure {
                    Some(failure) => self.failure(&named, failure),
                    None => self.facts.push(named),
                }
            }
            self.person.push(format!(
                "look at the portal whether the held step is there; if it is not: hoso \
                    problems retry {} --kind held --reason TEXT",
                view.ma_ho_so
            ));
        }
    }

    /// What waits to be sent and may not: said first, because it holds back all the rest.
    fn pauses(&mut self, view: &DossierView, pauses: &[SendingPause]) {
        let (tthc, don_vi) = (view.ma_tthc.as_deref(), view.ma_don_vi.as_deref());
        let sendable = [EntryState::Ready, EntryState::Unconfirmed];
        let waits = view.newest_entry().is_some_and(|entry| sendable.contains(&entry.state))
            || (view.packet_state == "accepted" && view.steps_due_at.is_some());
        for pause in pauses.iter().filter(|pause| waits && pause.scope.covers(tthc, don_vi)) {
            self.waits_for.insert(0, orders::sentence(pause));
            let scope = match &pause.scope {
                PauseScope::All => String::new(),
                PauseScope::Procedure(code) => format!(" --procedure {code}"),
                PauseScope::Agency(code) => format!(" --agency {code}"),
            };
            self.person.retain(|line| !line.starts_with("nothing"));
            self.person.push(format!("when it may go on: hoso portal resume{scope} --reason TEXT"));
        }
    }

    /// Something is due: does anybody send?
    fn sender(&mut self, gate_owner: Option<&str>) {
        let line = match gate_owner {
            Some(owner) => format!("nothing; {owner} sends it"),
            None => "start the service (`hoso serve`) or run `hoso run push`: nobody \
                sends at the moment"
                .to_owned(),
        };
        if !self.person.contains(&line) {
            self.person.push(line);
        }
    }

    fn failure(&mut self, what: &str, failure: &Failure) {
        self.facts.push(format!("{what}: {failure}"));
        self.advise(&failure.code);
    }

    fn finding(&mut self, diagnostic: &Diagnostic) {
        self.facts.push(diagnostic.to_string());
        if diagnostic.severity == Severity::Error {
            self.advise(&diagnostic.rule);
        }
    }

    fn advise(&mut self, code: &str) {
        let line = match explain::advice(code) {
            Some("Nothing.") | None => return,
            Some(advice) => format!("[{code}] {advice}"),
        };
        if !self.person.contains(&line) {
            self.person.push(line);
        }
    }
}

impl Display for Situation {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} from {}", self.ma_ho_so, self.source)?;
        writeln!(f, "\n{}.\n", self.standing)?;
        if let Some(since) = self.since {
            writeln!(f, "since       {}", words::when(since, self.now))?;
        }
        list(f, "waits for", &self.waits_for)?;
        if let Some(until) = self.until {
            writeln!(f, "until       {}", words::when(until, self.now))?;
        }
        list(f, "found", &self.facts)?;
        list(f, "to do", &self.person)
    }
}

fn list(f: &mut Formatter<'_>, name: &str, items: &[String]) -> std::fmt::Result {
    for (at, item) in items.iter().enumerate() {
        let name = if at == 0 { name } else { "" };
        writeln!(f, "{name:<12}{item}")?;
    }
    Ok(())
}
