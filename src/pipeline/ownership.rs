//! One process at a time owns the portal's gate: its quota is counted in that process alone.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::{Context, Stop};
use crate::domain::lease::Lease;
use crate::domain::time::Timestamp;
use crate::ledger::LedgerError;
use crate::sabotage::{self, Defect};

/// The singleton that the gate's owner holds.
pub const GATE: &str = "gate";

/// How long ownership lasts without renewal; a frozen owner is followed after this, a dead one at
/// once where the ledger can tell.
pub(super) const LEASE: Duration = Duration::from_secs(12);

/// Held while this process may send. Renewed by [`Ownership::keep`].
#[derive(Debug)]
pub struct Ownership {
    name: &'static str,
    holder: String,
    token: i64,
    /// End of the last renewal, in epoch milliseconds. A process that was frozen past it finds
    /// here that it may not send any more, before it hears so from the ledger.
    expires_at: AtomicI64,
    /// Whether a gate was opened under this ownership.
    opened: AtomicBool,
}

/// Somebody else owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedBy {
    pub holder: String,
}

impl Ownership {
    /// Takes the gate, or says who has it.
    pub async fn take(
        context: &Context,
        name: &'static str,
        holder: &str,
    ) -> Result<Result<Self, OwnedBy>, LedgerError> {
        let ownership = Self {
            name,
            holder: holder.to_owned(),
            token: context.chance.token(),
            expires_at: AtomicI64::new(0),
            opened: AtomicBool::new(false),
        };
        Ok(match ownership.renew(context).await? {
            None => Ok(ownership),
            Some(holder) => Err(OwnedBy { holder }),
        })
    }

    async fn renew(&self, context: &Context) -> Result<Option<String>, LedgerError> {
        let now = context.clock.now();
        let lease = Lease { token: self.token, expires_at: now + LEASE };
        let other = context.ledger.hold_singleton(now, self.name, &self.holder, lease).await?;
        if other.is_none() {
            self.expires_at.store(lease.expires_at.millis(), Ordering::Release);
        }
        Ok(other)
    }

    /// Whether this process may still send.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < Timestamp::from_millis(self.expires_at.load(Ordering::Acquire))
            || sabotage::on(Defect::FrozenOwnerSends)
    }

    /// Called when a gate opens. `true`: an earlier gate of this ownership has settled all its calls,
    /// so the calls on record say everything about the use of the quota.
    pub fn opens_another_gate(&self) -> bool {
        self.opened.swap(true, Ordering::AcqRel)
    }

    /// Renews until `stop`; returns early, after asking everybody to stop, when ownership is lost.
    /// Giving it up is left to [`Ownership::release`], when what is out has been settled.
    pub async fn keep(&self, context: &Context, stop: &Stop) {
        loop {
            context.resting(LEASE / 4);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = context.clock.sleep(LEASE / 4) => {}
            }
            match self.renew(context).await {
                Ok(None) => {}
                Ok(Some(holder)) => {
                    tracing::error!(holder, "another process took the gate; sending stops here");
                    stop.cancel();
                    return;
                }
                // The lease still runs; the next renewal may work.
                Err(error) => {
                    tracing::warn!(code = error.code(), %error, "the gate was not renewed");
                }
            }
        }
    }

    pub async fn release(&self, context: &Context) -> Result<(), LedgerError> {
        context.ledger.release_singleton(self.name, self.token).await
    }
}
