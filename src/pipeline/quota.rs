//! The gate's memory, kept in the ledger.

use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::Clock;
use crate::domain::time::Timestamp;
use crate::ledger::record::GateNote;
use crate::ledger::{Ledger, LedgerError};
use crate::portal::gate::{Learned, MemoryFailure, QuotaMemory};

/// Promised quota, durable before it is used.
#[derive(Debug)]
pub struct LedgerQuota {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
}

impl LedgerQuota {
    pub fn new(ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>) -> Self {
        Self { ledger, clock }
    }
}

fn failure(error: &LedgerError) -> MemoryFailure {
    MemoryFailure(error.to_string())
}

#[async_trait]
impl QuotaMemory for LedgerQuota {
    async fn remember(&self, window: &str, until: Timestamp) -> Result<(), MemoryFailure> {
        self.ledger.remember_quota(window, until).await.map_err(|error| failure(&error))
    }

    async fn recall(&self) -> Result<Vec<(String, Timestamp)>, MemoryFailure> {
        self.ledger.recall_quota().await.map_err(|error| failure(&error))
    }

    async fn keep(&self, learned: &Learned) -> Result<(), MemoryFailure> {
        // Unwrap safety: numbers and lists of them always serialise.
        let body = serde_json::to_string(learned).expect("what was learnt serialises");
        let now = self.clock.now();
        let noted = self.ledger.note_gate(now, GateNote::Learned, &body).await;
        noted.map_err(|error| failure(&error))
    }

    /// What an older program kept in another form is learnt anew.
    async fn learned(&self) -> Result<Option<Learned>, MemoryFailure> {
        let noted = self.ledger.noted_gate(GateNote::Learned).await;
        let noted = noted.map_err(|error| failure(&error))?;
        Ok(noted.and_then(|(_, body)| serde_json::from_str(&body).ok()))
    }
}
