//! The gateway's figures for a monitoring system: what `hoso status` says, as numbers.
//!
//! Owns which figures there are and what they are called. Nothing in them names a dossier or a person,
//! and how many there are does not depend on how many dossiers there are: every label is a state, a
//! service, a source or a watchdog. Reads the ledger only; what it costs is what `status` costs.

mod exposition;
pub(super) mod server;

use std::time::Duration;

use self::exposition::{Exposition, Kind, seconds};
use super::{catalogue, observed, status};
use crate::config::Config;
use crate::domain::discrepancy::DiscrepancyKind;
use crate::domain::entry::EntryState;
use crate::domain::time::Timestamp;
use crate::ledger::record::{GateNote, Sizes};
use crate::ledger::view::{CallTotals, Health, Standing};
use crate::ledger::watch::Watchdog;
use crate::ledger::{Ledger, LedgerError};
use crate::machine::{DiskRoom, disk_room, resident_bytes};
use crate::portal::gate::GateStatus;

/// The lag is that of the dossiers that were synchronised in this time.
const LAG_OVER: Duration = Duration::from_hours(1);
/// The calls are those that began in this time.
const CALLS_OVER: Duration = Duration::from_hours(24);
/// States of the gate, of which it is in one.
const GATE_STATES: [&str; 4] = ["open", "probe", "closed", "paused"];
/// A note of the gate that is older than this says nothing of now.
const NOTE_FRESH: Duration = Duration::from_mins(1);

/// Everything that the figures are made from.
pub(super) struct Reading {
    at: Timestamp,
    standing: Standing,
    health: Health,
    calls: CallTotals,
    catalogue: catalogue::Overview,
    gate: Option<GateStatus>,
    portal_changes: u64,
    watchdogs: Vec<Watchdog>,
    room: Sizes,
    disk: Option<DiskRoom>,
    resident_bytes: Option<u64>,
}

impl Reading {
    pub(super) async fn take(
        config: &Config,
        ledger: &dyn Ledger,
        now: Timestamp,
    ) -> Result<Self, LedgerError> {
        let standing = ledger.standing(now).await?;
        let noted = ledger.noted_gate(GateNote::Status).await?;
        Ok(Self {
            at: now,
            health: ledger.health(now, now - LAG_OVER).await?,
            calls: ledger.call_totals(now - CALLS_OVER).await?,
            catalogue: catalogue::Overview::of(ledger.catalogues().await?, &config.catalogue, now),
            // Of another version: not shown rather than misread.
            gate: noted
                .filter(|(at, _)| now.since(*at) < NOTE_FRESH)
                .and_then(|(_, body)| serde_json::from_str(&body).ok()),
            watchdogs: ledger.watchdogs().await?,
            portal_changes: ledger.observed_changes(observed::news_since(now)).await?.len() as u64,
            room: ledger.room(now).await?,
            disk: disk_room(&config.ledger.path).ok(),
            resident_bytes: standing
                .gate_owner
                .as_deref()
                .and_then(process)
                .and_then(resident_bytes),
            standing,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = Exposition::default();
        text.family("hoso_info", Kind::Gauge, "The program that wrote this; always 1.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.dossiers(&mut text);
        self.delivery(&mut text);
        self.sources(&mut text);
        self.gate(&mut text);
        self.calls(&mut text);
        self.watchdogs(&mut text);
        self.machine(&mut text);
        text.into_text()
    }

    fn dossiers(&self, text: &mut Exposition) {
        let standing = &self.standing;
        let mut dossiers = text.family(
            "hoso_dossiers",
            Kind::Gauge,
            "Dossiers by the state of their newest change.",
        );
        for state in EntryState::ALL {
            let count = standing.dossiers.get(&state).copied().unwrap_or(0);
            dossiers.sample(&[("state", state.as_str())], count);
        }
        text.gauge(
            "hoso_dossiers_synchronised",
            "Dossiers whose packet and every step the portal acknowledged.",
            standing.synchronised,
        );
        let mut steps = text.family("hoso_steps", Kind::Gauge, "Progress steps by state.");
        for state in STEP_STATES {
            let count = standing.steps.get(state).copied().unwrap_or(0);
            steps.sample(&[("state", state)], count);
        }
        text.gauge(
            "hoso_due",
            "Packets and lanes of steps that may be sent now; counting ends at a thousand of each kind.",
            standing.due_now,
        );
        text.gauge("hoso_set_aside", "Dossiers set aside by a pause.", standing.set_aside);
        text.gauge(
            "hoso_problems",
            "Dossiers, held steps, documents and catalogues that wait for a person.",
            status::waiting(standing, Some(&self.catalogue)),
        );
        let mut open =
            text.family("hoso_discrepancies_open", Kind::Gauge, "Open discrepancies by kind.");
        for kind in DiscrepancyKind::ALL {
            let count = standing.open_discrepancies.get(kind.as_str()).copied().unwrap_or(0);
            open.sample(&[("kind", kind.as_str())], count);
        }
    }

    fn delivery(&self, text: &mut Exposition) {
        let (lag, now) = (self.health.lag, self.at);
        let mut lags = text.family(
            "hoso_lag_seconds",
            Kind::Gauge,
            "From a change at the source to the portal's last word about it, of the last hour.",
        );
        for (quantile, ms) in [("0.5", lag.p50_ms), ("0.95", lag.p95_ms), ("0.99", lag.p99_ms)] {
            if let Some(ms) = ms {
                lags.sample(&[("quantile", quantile)], seconds(ms));
            }
        }
        text.gauge("hoso_lag_dossiers", "How many dossiers the lag is about.", lag.dossiers);
        text.gauge(
            "hoso_oldest_unsynchronised_seconds",
            "Age of the oldest change or step on its way; 0 if there is none.",
            self.health.oldest_unsynchronised_at.map_or(0.0, |at| age(at, now)),
        );
    }

    fn sources(&self, text: &mut Exposition) {
        let (sources, now) = (&self.standing.sources, self.at);
        let mut polled = text.family(
            "hoso_source_polled_age_seconds",
            Kind::Gauge,
            "Since the source was asked last.",
        );
        for source in sources {
            if let Some(at) = source.polled_at {
                polled.sample(&[("source", &source.name)], age(at, now));
            }
        }
        let mut caught_up = text.family(
            "hoso_source_caught_up_age_seconds",
            Kind::Gauge,
            "Since the source had been read to its end.",
        );
        for source in sources {
            if let Some(at) = source.caught_up_at {
                caught_up.sample(&[("source", &source.name)], age(at, now));
            }
        }
        let mut failing = text.family(
            "hoso_source_failing_seconds",
            Kind::Gauge,
            "Since when the source fails; 0 if it does not.",
        );
        for source in sources {
            let since = source.failing_since.map_or(0.0, |at| age(at, now));
            failing.sample(&[("source", &source.name)], since);
        }
        let mut closed = text.family(
            "hoso_books_closed",
            Kind::Gauge,
            "Whether the last books of the source closed.",
        );
        for books in &self.health.books {
            closed.sample(&[("source", &books.source)], u8::from(books.closed));
        }
        let mut books = text.family("hoso_books_age_seconds", Kind::Gauge, "Since the last books.");
        for one in &self.health.books {
            books.sample(&[("source", &one.source)], age(one.ended_at, now));
        }
        let stale = self.catalogue.lists.iter().filter(|list| list.stale).count();
        text.gauge(
            "hoso_catalogue_stale",
            "Lists of the portal's catalogue that are stale.",
            stale,
        );
    }

    fn gate(&self, text: &mut Exposition) {
        text.gauge(
            "hoso_gate_owned",
            "Whether a process owns the portal's gate; without one nothing is sent.",
            u8::from(self.standing.gate_owner.is_some()),
        );
        text.gauge(
            "hoso_not_sending_seconds",
            "Since when nothing is sent although work is due; 0 if it is sent.",
            self.standing.pause.as_ref().map_or(0.0, |pause| age(pause.since, self.at)),
        );
        text.gauge(
            "hoso_pauses",
            "Pauses that operators have put on sending.",
            self.standing.sending_pauses.len(),
        );
        let mut states =
            text.family("hoso_gate_state", Kind::Gauge, "1 for the state of the gate, if known.");
        let Some(gate) = &self.gate else { return };
        for state in GATE_STATES {
            states.sample(&[("state", state)], u8::from(gate.state == state));
        }
        let mut used = text.family(
            "hoso_quota_used",
            Kind::Gauge,
            "Calls of the gate's owner in the window that ends now.",
        );
        for window in &gate.windows {
            used.sample(&[("window_ms", &window.window_ms.to_string())], window.used);
        }
        let mut allowed =
            text.family("hoso_quota_allowed", Kind::Gauge, "Calls that the window may hold.");
        for window in &gate.windows {
            allowed.sample(&[("window_ms", &window.window_ms.to_string())], window.allowed);
        }
        if let Some(pace) = gate.pace.calls_a_second {
            text.gauge("hoso_gate_calls_per_second", "The fastest pace of the gate now.", pace);
        }
        let mut calls = text.family(
            "hoso_gate_calls_total",
            Kind::Counter,
            "Calls since the gate's owner began, by what they taught the gate.",
        );
        for (service, tally) in &gate.services {
            for (lesson, count) in [
                ("success", tally.success),
                ("pressure", tally.pressure),
                ("throttled", tally.throttled),
                ("environment", tally.environment),
                ("other", tally.other),
            ] {
                calls.sample(&[("service", service), ("lesson", lesson)], count);
            }
        }
    }

    fn calls(&self, text: &mut Exposition) {
        let mut calls = text.family(
            "hoso_portal_calls_24h",
            Kind::Gauge,
            "Calls of the last 24 hours by service and what the quota bought with them.",
        );
        for (service, outcomes) in &self.calls.by_service {
            for (outcome, count) in outcomes {
                calls.sample(&[("service", service), ("outcome", outcome)], count);
            }
        }
    }

    fn watchdogs(&self, text: &mut Exposition) {
        text.gauge(
            "hoso_portal_changes_7d",
            "What the portal did otherwise than before, within a week: `hoso portal observed`.",
            self.portal_changes,
        );
        let mut found = text.family(
            "hoso_watchdog_found",
            Kind::Gauge,
            "How often the promise is broken; 0: it holds. `hoso explain CODE` says what it is.",
        );
        for watchdog in &self.watchdogs {
            found.sample(&[("code", &watchdog.code), ("part", &watchdog.part)], watchdog.found);
        }
        let looked_at = self.watchdogs.iter().map(|watchdog| watchdog.looked_at).min();
        if let Some(at) = looked_at {
            let help = "Since the watchdog looked that has not looked for the longest time.";
            text.gauge("hoso_watchdog_looked_age_seconds", help, age(at, self.at));
        }
    }

    fn machine(&self, text: &mut Exposition) {
        let room = &self.room;
        text.gauge("hoso_ledger_bytes", "The ledger's file.", room.file_bytes);
        text.gauge("hoso_ledger_journal_bytes", "Its journal.", room.journal_bytes);
        text.gauge("hoso_ledger_free_bytes", "Holes in the file.", room.free_bytes);
        if let Some(days) = room.days_left {
            let help = "Days until the ledger's room ends, at its present growth.";
            text.gauge("hoso_ledger_days_left", help, days);
        }
        if let Some(disk) = self.disk {
            text.gauge("hoso_disk_free_bytes", "Left on the ledger's disk.", disk.free_bytes);
            text.gauge("hoso_disk_bytes", "Size of the ledger's disk.", disk.total_bytes);
        }
        if let Some(bytes) = self.resident_bytes {
            let help = "Memory of the process that owns the gate.";
            text.gauge("hoso_resident_memory_bytes", help, bytes);
        }
        text.gauge(
            "hoso_read_timestamp_seconds",
            "When these figures were read, in seconds since 1970.",
            self.at.millis() / 1000,
        );
    }
}

/// As the ledger's standing names them.
const STEP_STATES: [&str; 8] =
    ["pending", "waiting", "awaiting", "leased", "held", "withdrawn", "presumed_sent", "acked"];

fn age(at: Timestamp, now: Timestamp) -> f64 {
    now.since(at).as_millis() as f64 / 1000.0
}

/// The process in a holder's name, e.g. `hoso serve, process 4711`.
fn process(holder: &str) -> Option<u32> {
    holder.rsplit_once("process ")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_names_its_process() {
        assert_eq!(process("hoso serve, process 4711"), Some(4711));
        assert_eq!(process("somebody"), None);
    }
}
