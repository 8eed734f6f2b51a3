//! What the other side lends us for a while, a portal's session or a platform's token: cached, asked
//! for once for everybody, renewed before it ends, dropped when refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::MutexGuard as TurnGuard;

use super::gate::Closed;
use crate::domain::failure::Failure;
use crate::sabotage::{self, Defect};

/// A session or a token. Debug shows no secret.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) secret: SecretString,
    /// Distinguishes this grant from the ones before and after.
    pub(super) number: u64,
    /// Monotonic time from which on it is not used any more.
    good_until: Duration,
}

/// Why there is none.
#[derive(Debug, Clone)]
pub(super) enum NoGrant {
    Failed(Failure),
    Closed(Closed),
}

/// The grants of one account.
#[derive(Debug)]
pub(super) struct Grants {
    current: Mutex<Option<Arc<Grant>>>,
    /// Held by whoever asks for a new one; inside: why the last request failed, if it did.
    turn: tokio::sync::Mutex<Option<NoGrant>>,
    /// Requests that have ended, well or badly.
    ended: AtomicU64,
}

/// What somebody who needs a grant is told.
pub(super) enum Turn<'a> {
    Have(Arc<Grant>),
    /// The request that one waited for failed; trying again at once would fail the same way.
    Failed(NoGrant),
    /// Ask for one, for everybody who waits.
    Ask(Duty<'a>),
}

/// The duty to ask for a grant. If it is dropped the next one in line gets it.
pub(super) struct Duty<'a> {
    grants: &'a Grants,
    last: TurnGuard<'a, Option<NoGrant>>,
}

impl Grants {
    pub(super) fn new() -> Self {
        Self {
            current: Mutex::new(None),
            turn: tokio::sync::Mutex::new(None),
            ended: AtomicU64::new(0),
        }
    }

    /// The cached grant, unless it is too old.
    pub(super) fn current(&self, now: Duration) -> Option<Arc<Grant>> {
        self.slot().as_ref().filter(|grant| now < grant.good_until).cloned()
    }

    /// The cached grant, or the outcome of the request under way, or the duty to ask.
    pub(super) async fn take_turn(&self, now: impl Fn() -> Duration) -> Turn<'_> {
        if let Some(grant) = self.current(now()) {
            return Turn::Have(grant);
        }
        let ended_before = self.ended.load(Ordering::Acquire);
        let last = self.turn.lock().await;
        if let Some(grant) = self.current(now()) {
            return Turn::Have(grant);
        }
        if self.ended.load(Ordering::Acquire) > ended_before
            && let Some(why) = last.as_ref()
        {
            return Turn::Failed(why.clone());
        }
        Turn::Ask(Duty { grants: self, last })
    }

    /// The duty to ask, whatever is cached.
    pub(super) async fn insist(&self) -> Duty<'_> {
        Duty { grants: self, last: self.turn.lock().await }
    }

    /// The other side refused this grant. A newer one stays.
    pub(super) fn refused(&self, number: u64) {
        if sabotage::on(Defect::OldSession) {
            return;
        }
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|grant| grant.number == number) {
            *slot = None;
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Grant>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Duty<'_> {
    pub(super) fn succeeded(mut self, secret: SecretString, good_until: Duration) -> Arc<Grant> {
        let grant = Arc::new(Grant {
            secret,
            number: self.grants.ended.fetch_add(1, Ordering::AcqRel) + 1,
            good_until,
        });
        *self.grants.slot() = Some(Arc::clone(&grant));
        *self.last = None;
        grant
    }

    pub(super) fn failed(mut self, why: NoGrant) -> NoGrant {
        *self.last = Some(why.clone());
        self.grants.ended.fetch_add(1, Ordering::AcqRel);
        why
    }
}
