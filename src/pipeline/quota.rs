//! The gate's memory, kept in the ledger.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::portal::gate::{MemoryFailure, QuotaMemory};

/// Promised quota, durable before it is used.
#[derive(Debug)]
pub struct LedgerQuota {
    ledger: Arc<dyn Ledger>,
}

impl LedgerQuota {
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger }
    }
}

#[async_trait]
impl QuotaMemory for LedgerQuota {
    async fn remember(&self, window: &str, until: Timestamp) -> Result<(), MemoryFailure> {
        self.ledger
            .remember_quota(window, until)
            .await
            .map_err(|error| MemoryFailure(error.to_string()))
    }

    async fn recall(&self) -> Result<Vec<(String, Timestamp)>, MemoryFailure> {
        self.ledger.recall_quota().await.map_err(|error| MemoryFailure(error.to_string()))
    }
}
