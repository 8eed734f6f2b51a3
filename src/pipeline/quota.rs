//! The gate's memory, kept in the ledger: what was promised before a crash, and every call that was
//! made.
//!
//! A promise is written before it is used and says enough for the same quota. Under a changed quota
//! the calls themselves decide: they are replayed through the new windows, so that no window of the
//! new quota ever holds more than its limit, also not one that began under the old one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::domain::time::Timestamp;
use crate::ledger::record::GateNote;
use crate::ledger::{Ledger, LedgerError};
use crate::portal::gate::{Learned, MemoryFailure, QuotaMemory, Window};
use crate::sabotage::{self, Defect};

/// Calls of a long window are replayed by this part of it.
const REPLAY_PARTS: u64 = 1000;

/// Promised quota, durable before it is used.
#[derive(Debug)]
pub struct LedgerQuota {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    windows: Vec<Window>,
    headroom: f64,
    /// Every call that was ever admitted is in the ledger, so promises say nothing more.
    all_settled: bool,
}

impl LedgerQuota {
    /// For a process that starts: the last one may have ended with calls on their way, so its
    /// promises hold as well.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        windows: Vec<Window>,
        headroom: f64,
    ) -> Self {
        Self { ledger, clock, windows, headroom, all_settled: false }
    }

    /// For a gate that follows another one in the same process, after every call of it was settled.
    #[must_use]
    pub fn after_settling(self) -> Self {
        Self { all_settled: true, ..self }
    }

    /// Until when the window counts as used, by the calls that were made.
    async fn replayed(&self, window: &Window) -> Result<Timestamp, LedgerError> {
        let now = self.clock.now();
        let length = Duration::from_millis(window.window_ms);
        let part_ms = (window.window_ms / REPLAY_PARTS).max(1);
        let calls = self.ledger.calls_by_time(now - length, part_ms).await?;
        let pace = window.pace(self.headroom);
        let furthest = now + length + pace * window.burst.saturating_sub(1);
        let used = calls.into_iter().fold(Timestamp::default(), |used, (at, count)| {
            // Taken as late as it may have been; a call in the future was made before the clock was
            // set back.
            let at = (at + Duration::from_millis(part_ms)).min(now);
            used.max(at) + pace.saturating_mul(count)
        });
        Ok(used.min(furthest))
    }
}

#[async_trait]
impl QuotaMemory for LedgerQuota {
    async fn remember(&self, window: &str, until: Timestamp) -> Result<(), MemoryFailure> {
        self.ledger.remember_quota(window, until).await.map_err(failure)?;
        sabotage::point("push.promised");
        Ok(())
    }

    async fn recall(&self) -> Result<Vec<(String, Timestamp)>, MemoryFailure> {
        let mut used: BTreeMap<String, Timestamp> = BTreeMap::new();
        if sabotage::on(Defect::QuotaForgotten) {
            return Ok(Vec::new());
        }
        if !self.all_settled {
            used.extend(self.ledger.recall_quota().await.map_err(failure)?);
        }
        for window in self.windows.iter().filter(|window| window.is_remembered()) {
            let replayed = self.replayed(window).await.map_err(failure)?;
            let until = used.entry(window.name()).or_insert(replayed);
            *until = (*until).max(replayed);
        }
        Ok(used.into_iter().collect())
    }

    async fn keep(&self, learned: &Learned) -> Result<(), MemoryFailure> {
        // Unwrap safety: numbers and lists of them always serialise.
        let body = serde_json::to_string(learned).expect("what was learnt serialises");
        let now = self.clock.now();
        self.ledger.note_gate(now, GateNote::Learned, &body).await.map_err(failure)
    }

    /// What an older program kept in another form is learnt anew.
    async fn learned(&self) -> Result<Option<Learned>, MemoryFailure> {
        let noted = self.ledger.noted_gate(GateNote::Learned).await.map_err(failure)?;
        Ok(noted.and_then(|(_, body)| serde_json::from_str(&body).ok()))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err calls")]
fn failure(error: LedgerError) -> MemoryFailure {
    MemoryFailure(error.to_string())
}
