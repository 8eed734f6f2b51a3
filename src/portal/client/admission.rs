//! What a call is let in with: the portal's session and the platform's token, asked for, renewed, and
//! dropped when refused.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{Held, Portal, Sent, Stopped, Token, unrecognised};
use crate::domain::failure::Disposition;
use crate::domain::priority::Priority;
use crate::portal::call::{Call, Service};
use crate::portal::classify::{Judgement, Meaning};
use crate::portal::gate::Signal;
use crate::portal::grant::{Duty, Grant, NoGrant, Turn};
use crate::portal::profile::{Operation, TokenRequest};

impl Portal {
    pub(super) async fn renew_everything(&self, calls: &mut Vec<Call>) -> Result<(), NoGrant> {
        let inner = &self.inner;
        if let Token::Fetched { request, renew_before_ms } = &inner.token {
            let duty = inner.tokens.insist().await;
            self.fetch_token(duty, request, *renew_before_ms, calls).await?;
        }
        if inner.profile.has_sessions() {
            let duty = inner.sessions.insist().await;
            self.log_in(duty, calls).await?;
        }
        Ok(())
    }

    /// The session to show; `None` where none is needed.
    pub(super) async fn session(
        &self,
        calls: &mut Vec<Call>,
    ) -> Result<Option<Arc<Grant>>, Stopped> {
        let inner = &self.inner;
        if !inner.profile.has_sessions() {
            return Ok(None);
        }
        Ok(Some(match inner.sessions.take_turn(|| inner.clock.monotonic()).await {
            Turn::Have(session) => session,
            Turn::Failed(why) => return Err(why.into()),
            Turn::Ask(duty) => self.log_in(duty, calls).await?,
        }))
    }

    pub(super) async fn log_in(
        &self,
        duty: Duty<'_>,
        calls: &mut Vec<Call>,
    ) -> Result<Arc<Grant>, NoGrant> {
        let inner = &self.inner;
        let operation = Operation::Login { username: &inner.username, password: &inner.password };
        let mut renewed = false;
        loop {
            let token = match self.token(calls).await {
                Ok(token) => token,
                Err(why) => return Err(duty.failed(why)),
            };
            // Everybody waits for a login, so it goes first.
            let permit = match inner.gate.admit(Priority::Urgent, Service::Login.as_str()).await {
                Ok(permit) => permit,
                Err(closed) => return Err(duty.failed(NoGrant::Closed(closed))),
            };
            let since = inner.clock.monotonic();
            let held = Held { session: None, token };
            let judgement = self.operate(Priority::Urgent, &operation, &held, calls).await;
            if !renewed && self.may_renew(&judgement, &held) {
                permit.done(Signal::Success);
                renewed = true;
                continue;
            }
            permit.done(judgement.signal);
            return match judgement.meaning {
                Meaning::LoggedIn(secret) => {
                    Ok(duty.succeeded(secret, since + inner.session_max_age))
                }
                Meaning::Failed(failure)
                | Meaning::SessionRefused(failure)
                | Meaning::TokenRefused(failure) => Err(duty.failed(NoGrant::Failed(failure))),
                _ => Err(duty.failed(NoGrant::Failed(unrecognised(Disposition::Retryable)))),
            };
        }
    }

    /// The token to show; `None` where none is fetched.
    pub(super) async fn token(&self, calls: &mut Vec<Call>) -> Result<Option<Arc<Grant>>, NoGrant> {
        let inner = &self.inner;
        let Token::Fetched { request, renew_before_ms } = &inner.token else { return Ok(None) };
        match inner.tokens.take_turn(|| inner.clock.monotonic()).await {
            Turn::Have(token) => Ok(Some(token)),
            Turn::Failed(why) => Err(why),
            Turn::Ask(duty) => {
                self.fetch_token(duty, request, *renew_before_ms, calls).await.map(Some)
            }
        }
    }

    pub(super) async fn fetch_token(
        &self,
        duty: Duty<'_>,
        request: &TokenRequest,
        renew_before_ms: u64,
        calls: &mut Vec<Call>,
    ) -> Result<Arc<Grant>, NoGrant> {
        let inner = &self.inner;
        let permit = match inner.gate.admit(Priority::Urgent, Service::Token.as_str()).await {
            Ok(permit) => permit,
            Err(closed) => return Err(duty.failed(NoGrant::Closed(closed))),
        };
        // The platform cannot have counted from earlier.
        let since = inner.clock.monotonic();
        let secrets = vec![request.client_secret.expose_secret()];
        let judgement =
            self.send(Priority::Urgent, &Sent::token(), request.form(), secrets, calls).await;
        permit.done(judgement.signal);
        match judgement.meaning {
            Meaning::TokenGiven { token, expires_in_s } => {
                let life = match expires_in_s {
                    Some(seconds) => used_life(Duration::from_secs(seconds), renew_before_ms),
                    None => inner.session_max_age,
                };
                Ok(duty.succeeded(token, since.saturating_add(life)))
            }
            Meaning::Failed(failure)
            | Meaning::SessionRefused(failure)
            | Meaning::TokenRefused(failure) => Err(duty.failed(NoGrant::Failed(failure))),
            _ => Err(duty.failed(NoGrant::Failed(unrecognised(Disposition::Retryable)))),
        }
    }

    /// Drops a token that was refused; `true` when another one may be asked for.
    pub(super) fn may_renew(&self, judgement: &Judgement, held: &Held) -> bool {
        match (&judgement.meaning, &held.token) {
            (Meaning::TokenRefused(_), Some(token)) => {
                self.inner.tokens.refused(token.number);
                true
            }
            _ => false,
        }
    }
}

impl From<NoGrant> for Stopped {
    fn from(why: NoGrant) -> Self {
        match why {
            NoGrant::Failed(failure) => Self::Failed(failure),
            NoGrant::Closed(closed) => Self::NotSent(closed),
        }
    }
}

/// How long a token is used: until the margin before its end, or half of a life that is shorter than
/// twice the margin, so that a short-lived token is not asked for with every call.
pub(super) fn used_life(life: Duration, renew_before_ms: u64) -> Duration {
    life.saturating_sub(Duration::from_millis(renew_before_ms)).max(life / 2)
}
