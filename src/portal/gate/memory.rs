//! What must survive a crash so that a quota is not exceeded by starting again.

use std::fmt::Debug;

use async_trait::async_trait;

use super::learned::Learned;
use crate::domain::time::Timestamp;

/// The quota's use could not be written down or read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MemoryFailure(pub String);

/// Remembers, for each long quota window, until when it must be taken as used up.
///
/// The gate writes a bound *before* it admits a call that would pass the last one, so that the
/// stored bound is never behind what was sent, whenever the process dies. One write covers at least
/// one second of pace.
#[async_trait]
pub trait QuotaMemory: Debug + Send + Sync {
    /// Durable when it returns. The last bound given for a window replaces the earlier ones; the
    /// gate never has two writes under way.
    async fn remember(&self, window: &str, until: Timestamp) -> Result<(), MemoryFailure>;

    /// The last bound of every window that was ever remembered; unknown windows are ignored.
    async fn recall(&self) -> Result<Vec<(String, Timestamp)>, MemoryFailure>;

    /// What refusals taught; replaces what was kept before. Losing it costs a few refusals, so it
    /// is kept now and then and not before each call.
    async fn keep(&self, learned: &Learned) -> Result<(), MemoryFailure>;

    /// What was kept last, if anything was.
    async fn learned(&self) -> Result<Option<Learned>, MemoryFailure>;
}

/// Forgets everything: for a gate without long windows, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMemory;

#[async_trait]
impl QuotaMemory for NoMemory {
    async fn remember(&self, _window: &str, _until: Timestamp) -> Result<(), MemoryFailure> {
        Ok(())
    }

    async fn recall(&self) -> Result<Vec<(String, Timestamp)>, MemoryFailure> {
        Ok(Vec::new())
    }

    async fn keep(&self, _learned: &Learned) -> Result<(), MemoryFailure> {
        Ok(())
    }

    async fn learned(&self) -> Result<Option<Learned>, MemoryFailure> {
        Ok(None)
    }
}
