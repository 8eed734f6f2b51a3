//! The session of the one account: cached, logged in once for everybody, dropped when refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::MutexGuard as TurnGuard;

use super::gate::Closed;
use crate::domain::failure::Failure;

/// A session that the portal gave. Debug shows no secret.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) secret: SecretString,
    /// Distinguishes this session from the ones before and after.
    pub(super) number: u64,
    /// Monotonic time just before the login was sent: the portal cannot have counted from earlier.
    since: Duration,
}

/// Why there is no session.
#[derive(Debug, Clone)]
pub(super) enum NoSession {
    Failed(Failure),
    Closed(Closed),
}

/// The sessions of one account.
#[derive(Debug)]
pub(super) struct Sessions {
    max_age: Duration,
    current: Mutex<Option<Arc<Session>>>,
    /// Held by whoever logs in; inside: why the last login failed, if it did.
    turn: tokio::sync::Mutex<Option<NoSession>>,
    /// Logins that have ended, well or badly.
    ended: AtomicU64,
}

/// What somebody who needs a session is told.
pub(super) enum Turn<'a> {
    Have(Arc<Session>),
    /// The login that one waited for failed; trying again at once would fail the same way.
    Failed(NoSession),
    /// Log in, for everybody who waits.
    LogIn(LogIn<'a>),
}

/// The duty to log in. If it is dropped the next one in line gets it.
pub(super) struct LogIn<'a> {
    sessions: &'a Sessions,
    last: TurnGuard<'a, Option<NoSession>>,
}

impl Sessions {
    pub(super) fn new(max_age: Duration) -> Self {
        Self {
            max_age,
            current: Mutex::new(None),
            turn: tokio::sync::Mutex::new(None),
            ended: AtomicU64::new(0),
        }
    }

    /// The cached session, unless it is too old.
    pub(super) fn current(&self, now: Duration) -> Option<Arc<Session>> {
        self.slot()
            .as_ref()
            .filter(|session| now.saturating_sub(session.since) < self.max_age)
            .cloned()
    }

    /// The cached session, or the outcome of the login under way, or the duty to log in.
    pub(super) async fn take_turn(&self, now: impl Fn() -> Duration) -> Turn<'_> {
        if let Some(session) = self.current(now()) {
            return Turn::Have(session);
        }
        let ended_before = self.ended.load(Ordering::Acquire);
        let last = self.turn.lock().await;
        if let Some(session) = self.current(now()) {
            return Turn::Have(session);
        }
        if self.ended.load(Ordering::Acquire) > ended_before
            && let Some(why) = last.as_ref()
        {
            return Turn::Failed(why.clone());
        }
        Turn::LogIn(LogIn { sessions: self, last })
    }

    /// The duty to log in, whatever is cached.
    pub(super) async fn insist(&self) -> LogIn<'_> {
        LogIn { sessions: self, last: self.turn.lock().await }
    }

    /// The portal refused this session. A newer one stays.
    pub(super) fn refused(&self, number: u64) {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|session| session.number == number) {
            *slot = None;
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogIn<'_> {
    pub(super) fn succeeded(mut self, secret: SecretString, since: Duration) -> Arc<Session> {
        let session = Arc::new(Session {
            secret,
            number: self.sessions.ended.fetch_add(1, Ordering::AcqRel) + 1,
            since,
        });
        *self.sessions.slot() = Some(Arc::clone(&session));
        *self.last = None;
        session
    }

    pub(super) fn failed(mut self, why: NoSession) -> NoSession {
        *self.last = Some(why.clone());
        self.sessions.ended.fetch_add(1, Ordering::AcqRel);
        why
    }
}
