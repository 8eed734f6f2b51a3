//! The verbs of the portal: send dossiers, send steps, look one up, try the login.
//!
//! Every call takes the same way: a session, a permit of the gate, one send, one judgement, one
//! [`Call`] for the record. A refused session is renewed once and the call repeated once; there is no
//! other retry here, because when to try again is decided where attempts are counted.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::answers::AnswerPatterns;
use super::call::{Call, CatalogueVerdict, Exchange, LookUpVerdict, PushVerdict};
use super::classify::{Facts, Judgement, Meaning, classify};
use super::codes;
use super::gate::{Closed, Gate, Permit, Signal};
use super::profile::{Adapter, Catalogue, Operation, Profile};
use super::redact::{Phrases, Redactions};
use super::session::{LogIn, NoSession, Session, Sessions, Turn};
use crate::clock::Clock;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::priority::Priority;
use crate::http::{Http, HttpRequest, Method};

/// Where the portal is and who we are there.
#[derive(Debug, Clone)]
pub struct PortalSettings {
    /// E.g. `http://<adapter>:8080/XrdAdapter/RestService/forward/`.
    pub base_url: String,
    pub auth_path: String,
    pub integration_path: String,
    pub share_path: String,
    /// Sent as header and in the query; empty for none.
    pub dstcode: String,
    /// Code of the connected unit, e.g. `000.00.00.H55`.
    pub madonvi: String,
    pub username: String,
    pub password: SecretString,
    /// From connecting to the last byte of an answer.
    pub timeout_ms: u64,
    /// A session older than this is renewed before it is used. Its real life is not published; ten
    /// minutes is what known clients assume.
    pub session_max_age_ms: u64,
    /// Largest answer that is read.
    pub answer_bytes_max: usize,
}

/// The portal. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Portal {
    inner: Arc<Inner>,
    tenure: Option<Tenure>,
}

/// Until when calls may still leave. Asked after every permit, because waiting for one may outlast
/// the right to send.
#[derive(Clone)]
pub struct Tenure {
    /// Says why nothing may leave any more.
    pub check: Arc<dyn Fn() -> Result<(), Failure> + Send + Sync>,
    /// Ends the wait for a permit.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Tenure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tenure")
    }
}

impl Tenure {
    /// Ends with `stop` only.
    pub fn until(stop: &CancellationToken) -> Self {
        Self { check: Arc::new(|| Ok(())), stop: stop.clone() }
    }
}

#[derive(Debug)]
struct Inner {
    username: String,
    password: SecretString,
    timeout: Duration,
    answer_bytes_max: usize,
    profile: Box<dyn Profile>,
    http: Arc<dyn Http>,
    clock: Arc<dyn Clock>,
    gate: Arc<Gate>,
    answers: AnswerPatterns,
    sessions: Sessions,
    phrases: Phrases,
}

/// The only thing the client ever reads in a packet.
#[derive(Deserialize)]
struct Identified {
    #[serde(rename = "MaHoSo")]
    ma_ho_so: String,
}

/// Why an operation has no judgement.
enum Stopped {
    Failed(Failure),
    NotSent(Closed),
}

impl Portal {
    /// Reaches the portal directly through the adapter.
    pub fn new(
        settings: PortalSettings,
        http: Arc<dyn Http>,
        clock: Arc<dyn Clock>,
        gate: Arc<Gate>,
        answers: AnswerPatterns,
    ) -> Self {
        let profile = Adapter {
            base_url: settings.base_url,
            auth_path: settings.auth_path,
            integration_path: settings.integration_path,
            share_path: settings.share_path,
            dstcode: settings.dstcode,
            madonvi: settings.madonvi,
        };
        Self {
            tenure: None,
            inner: Arc::new(Inner {
                username: settings.username,
                password: settings.password,
                timeout: Duration::from_millis(settings.timeout_ms),
                answer_bytes_max: settings.answer_bytes_max,
                profile: Box::new(profile),
                http,
                clock,
                gate,
                answers,
                sessions: Sessions::new(Duration::from_millis(settings.session_max_age_ms)),
                phrases: Phrases::default(),
            }),
        }
    }

    /// The same portal, whose calls leave only while `tenure` lasts. A call that may not leave any
    /// more is answered [`PushVerdict::NotSent`].
    #[must_use]
    pub fn during(&self, tenure: Tenure) -> Self {
        Self { inner: Arc::clone(&self.inner), tenure: Some(tenure) }
    }

    /// The gate that all calls pass.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.inner.gate
    }

    /// Sends dossiers, all new or all known. `packets` are serialised JSON objects and go to the
    /// wire byte for byte; at least one.
    pub async fn send_dossiers(
        &self,
        class: Priority,
        is_updating: bool,
        packets: &[&str],
    ) -> Exchange<PushVerdict> {
        self.push(class, Operation::Dossiers { is_updating, packets }).await
    }

    /// Sends progress steps; at least one.
    pub async fn send_steps(&self, class: Priority, steps: &[&str]) -> Exchange<PushVerdict> {
        self.push(class, Operation::Steps { packets: steps }).await
    }

    /// Asks whether the portal has a dossier.
    pub async fn look_up(&self, class: Priority, ma_ho_so: &str) -> Exchange<LookUpVerdict> {
        let mut calls = Vec::new();
        let verdict = match self.run(class, Operation::LookUp { ma_ho_so }, &mut calls).await {
            Ok(Meaning::Found(echoed)) => LookUpVerdict::Found { echoed },
            Ok(Meaning::Missing) => LookUpVerdict::Missing,
            Ok(
                Meaning::Failed(failure)
                | Meaning::SessionRefused(failure)
                | Meaning::Exists(failure)
                | Meaning::UnknownDossier(failure),
            )
            | Err(Stopped::Failed(failure)) => LookUpVerdict::Failed(failure),
            Ok(Meaning::LoggedIn(_) | Meaning::Accepted(_) | Meaning::Listed(_)) => {
                LookUpVerdict::Failed(unrecognised(Disposition::Retryable))
            }
            Err(Stopped::NotSent(Closed { until, failure })) => {
                LookUpVerdict::NotSent { failure, until }
            }
        };
        Exchange { verdict, calls }
    }

    /// Asks for a catalogue. Its failures are its own: they never close the gate for those who send
    /// dossiers, unless there was no connection or the portal asks for fewer calls.
    pub async fn catalogue(
        &self,
        class: Priority,
        catalogue: Catalogue<'_>,
    ) -> Exchange<CatalogueVerdict> {
        let mut calls = Vec::new();
        let verdict = match self.run(class, Operation::Catalogue(catalogue), &mut calls).await {
            Ok(Meaning::Listed(listed)) => {
                CatalogueVerdict::Items { items: listed.items, unreadable: listed.unreadable }
            }
            Ok(Meaning::Missing) => CatalogueVerdict::Missing,
            Ok(Meaning::Failed(failure) | Meaning::SessionRefused(failure))
            | Err(Stopped::Failed(failure)) => CatalogueVerdict::Failed(failure),
            Ok(
                Meaning::LoggedIn(_)
                | Meaning::Accepted(_)
                | Meaning::Found(_)
                | Meaning::Exists(_)
                | Meaning::UnknownDossier(_),
            ) => CatalogueVerdict::Failed(unrecognised(Disposition::Retryable)),
            Err(Stopped::NotSent(Closed { until, failure })) => {
                CatalogueVerdict::NotSent { failure, until }
            }
        };
        Exchange { verdict, calls }
    }

    /// Logs in anew, whatever session there is; says whether account and address are right.
    pub async fn check_login(&self) -> Exchange<Result<(), Failure>> {
        let mut calls = Vec::new();
        let duty = self.inner.sessions.insist().await;
        let verdict = match self.log_in(duty, &mut calls).await {
            Ok(_) => Ok(()),
            Err(NoSession::Failed(failure) | NoSession::Closed(Closed { failure, .. })) => {
                Err(failure)
            }
        };
        Exchange { verdict, calls }
    }

    async fn push(&self, class: Priority, operation: Operation<'_>) -> Exchange<PushVerdict> {
        let mut calls = Vec::new();
        let verdict = match self.run(class, operation, &mut calls).await {
            Ok(Meaning::Accepted(receipt)) => PushVerdict::Accepted(receipt),
            Ok(Meaning::Exists(failure)) => PushVerdict::Exists(failure),
            Ok(Meaning::UnknownDossier(failure)) => PushVerdict::UnknownDossier(failure),
            Ok(Meaning::Failed(failure) | Meaning::SessionRefused(failure))
            | Err(Stopped::Failed(failure)) => PushVerdict::Failed(failure),
            // Not answers to a push; if one ever came, nobody would know what happened.
            Ok(
                Meaning::LoggedIn(_) | Meaning::Found(_) | Meaning::Missing | Meaning::Listed(_),
            ) => PushVerdict::Failed(unrecognised(Disposition::Ambiguous)),
            Err(Stopped::NotSent(Closed { until, failure })) => {
                PushVerdict::NotSent { failure, until }
            }
        };
        Exchange { verdict, calls }
    }

    /// The operation with a good session: at most one fresh login, at most one repetition.
    async fn run(
        &self,
        class: Priority,
        operation: Operation<'_>,
        calls: &mut Vec<Call>,
    ) -> Result<Meaning, Stopped> {
        let session = self.session(calls).await?;
        let (judgement, used) =
            self.call(class, &operation, session, false, calls).await.map_err(Stopped::NotSent)?;
        if !matches!(judgement.meaning, Meaning::SessionRefused(_)) {
            return Ok(judgement.meaning);
        }
        // Refused with the session, the packets were not looked at: sending them again is safe.
        self.inner.sessions.refused(used.number);
        let session = self.session(calls).await?;
        let is_last_word = operation.packets().is_empty();
        let (judgement, used) = self
            .call(class, &operation, session, is_last_word, calls)
            .await
            .map_err(Stopped::NotSent)?;
        match judgement.meaning {
            Meaning::SessionRefused(failure) if !is_last_word => {
                self.session_or_packets(class, &operation, used, failure, calls).await
            }
            meaning => Ok(meaning),
        }
    }

    /// Packets were refused twice, the second time right after a login, in words that sound like a
    /// session's end. Either no session is good, or the words are about the packets ("… phiên …" in
    /// a quoted field). A look-up with the same session tells: one such dossier must not hold up all
    /// the others.
    async fn session_or_packets(
        &self,
        class: Priority,
        operation: &Operation<'_>,
        session: Arc<Session>,
        failure: Failure,
        calls: &mut Vec<Call>,
    ) -> Result<Meaning, Stopped> {
        let ma_ho_so = operation
            .packets()
            .first()
            .and_then(|packet| serde_json::from_str::<Identified>(packet).ok())
            .map(|packet| packet.ma_ho_so)
            .unwrap_or_default();
        let look_up = Operation::LookUp { ma_ho_so: &ma_ho_so };
        let (judgement, used) =
            self.call(class, &look_up, session, true, calls).await.map_err(Stopped::NotSent)?;
        if matches!(judgement.meaning, Meaning::SessionRefused(_)) {
            self.inner.sessions.refused(used.number);
        }
        Ok(Meaning::Failed(match judgement.meaning {
            // Any answer with a code to another question: the session is good.
            Meaning::Found(_) | Meaning::Missing | Meaning::Failed(_)
                if judgement.error_code.is_some() =>
            {
                Failure::new(
                    codes::REFUSED,
                    Disposition::Data,
                    "the portal refused the call in words about a session, but the session is good",
                )
                .with_details(failure.details)
            }
            _ => failure,
        }))
    }

    async fn session(&self, calls: &mut Vec<Call>) -> Result<Arc<Session>, Stopped> {
        let inner = &self.inner;
        let outcome = match inner.sessions.take_turn(|| inner.clock.monotonic()).await {
            Turn::Have(session) => Ok(session),
            Turn::Failed(why) => Err(why),
            Turn::LogIn(duty) => self.log_in(duty, calls).await,
        };
        outcome.map_err(|why| match why {
            NoSession::Failed(failure) => Stopped::Failed(failure),
            NoSession::Closed(closed) => Stopped::NotSent(closed),
        })
    }

    async fn log_in(
        &self,
        duty: LogIn<'_>,
        calls: &mut Vec<Call>,
    ) -> Result<Arc<Session>, NoSession> {
        let inner = &self.inner;
        let operation = Operation::Login { username: &inner.username, password: &inner.password };
        let service = operation.service().as_str();
        // Everybody waits for a login, so it goes first.
        let permit = match inner.gate.admit(Priority::Urgent, service).await {
            Ok(permit) => permit,
            Err(closed) => return Err(duty.failed(NoSession::Closed(closed))),
        };
        let since = inner.clock.monotonic();
        let judgement = self.send(Priority::Urgent, &operation, "", calls).await;
        permit.done(judgement.signal);
        match judgement.meaning {
            Meaning::LoggedIn(secret) => Ok(duty.succeeded(secret, since)),
            Meaning::Failed(failure) | Meaning::SessionRefused(failure) => {
                Err(duty.failed(NoSession::Failed(failure)))
            }
            _ => Err(duty.failed(NoSession::Failed(unrecognised(Disposition::Retryable)))),
        }
    }

    /// One call with a session. Returns the session that was used: a newer one may have come while
    /// this call waited for its turn.
    async fn call(
        &self,
        class: Priority,
        operation: &Operation<'_>,
        session: Arc<Session>,
        repeated: bool,
        calls: &mut Vec<Call>,
    ) -> Result<(Judgement, Arc<Session>), Closed> {
        let inner = &self.inner;
        let permit = self.admit(class, operation.service().as_str()).await?;
        let session = inner.sessions.current(inner.clock.monotonic()).unwrap_or(session);
        let judgement = self.send(class, operation, session.secret.expose_secret(), calls).await;
        permit.done(match &judgement.meaning {
            // Refused right after a fresh login: every call would meet the same.
            Meaning::SessionRefused(failure) if repeated && !operation.service().is_catalogue() => {
                Signal::Environment(failure.clone())
            }
            _ => judgement.signal.clone(),
        });
        Ok((judgement, session))
    }

    /// A permit that is still worth having when it comes.
    async fn admit(&self, class: Priority, service: &'static str) -> Result<Permit<'_>, Closed> {
        let gate = &self.inner.gate;
        let Some(tenure) = &self.tenure else { return gate.admit(class, service).await };
        let until = || self.inner.clock.now();
        let permit = tokio::select! {
            biased;
            () = tenure.stop.cancelled() => {
                let failure =
                    Failure::new(codes::STOPPING, Disposition::Environment, "the process is stopping");
                return Err(Closed { until: until(), failure });
            }
            permit = gate.admit(class, service) => permit?,
        };
        match (tenure.check)() {
            Ok(()) => Ok(permit),
            Err(failure) => {
                permit.done(Signal::Neutral);
                Err(Closed { until: until(), failure })
            }
        }
    }

    /// Forms, sends once, judges, records.
    async fn send(
        &self,
        class: Priority,
        operation: &Operation<'_>,
        session: &str,
        calls: &mut Vec<Call>,
    ) -> Judgement {
        let inner = &self.inner;
        let formed = inner.profile.form(operation, session);
        let sent_bytes = formed.body.len() as u64;
        let started_at = inner.clock.now();
        let started = inner.clock.monotonic();
        let outcome = inner
            .http
            .send(HttpRequest {
                method: Method::Post,
                url: formed.url,
                headers: formed.headers,
                body: formed.body,
                timeout: inner.timeout,
                answer_bytes_max: inner.answer_bytes_max,
            })
            .await;
        let duration = inner.clock.monotonic().saturating_sub(started);
        let facts = Facts {
            service: operation.service(),
            is_updating: matches!(operation, Operation::Dossiers { is_updating: true, .. }),
            asked: match operation {
                Operation::LookUp { ma_ho_so } => Some(ma_ho_so),
                _ => None,
            },
            outcome: &outcome,
            now: inner.clock.now(),
        };
        let redactions = Redactions {
            secrets: vec![session, inner.password.expose_secret()],
            packets: operation.packets(),
            phrases: &inner.phrases,
        };
        let judgement = classify(&facts, &inner.answers, &redactions);
        calls.push(Call {
            service: operation.service().as_str(),
            class,
            started_at,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            items: operation.items(),
            sent_bytes,
            answer_bytes: outcome.as_ref().map_or(0, |answer| answer.body.len() as u64),
            http_status: outcome.as_ref().ok().map(|answer| answer.status),
            error_code: judgement.error_code.clone(),
            message: judgement.message.clone(),
            outcome: judgement.outcome,
            body_hash: formed.body_hash,
        });
        judgement
    }
}

fn unrecognised(disposition: Disposition) -> Failure {
    Failure::new(codes::UNRECOGNISED_ANSWER, disposition, "the answer does not belong to this call")
}

#[cfg(test)]
mod tests;
