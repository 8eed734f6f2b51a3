//! The verbs of the portal: send dossiers, send steps, look one up, try the login.
//!
//! Every call takes the same way: a token and a session where the transport profile wants them, a
//! permit of the gate, one send, one judgement, one [`Call`] for the record. A refused token or
//! session is renewed once and the call repeated once; there is no other retry here, because when to
//! try again is decided where attempts are counted.

mod admission;

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::answers::AnswerPatterns;
use super::call::{Call, CatalogueVerdict, Exchange, LookUpVerdict, PushVerdict, Service};
use super::classify::{Facts, Judgement, Meaning, classify};
use super::codes;
use super::gate::{Closed, Gate, Permit, Signal};
use super::grant::{Grant, Grants, NoGrant};
use super::profile::{AnswerForm, Catalogue, Formed, Operation, Profile, Shown, TokenRequest};
use super::redact::{Phrases, Redactions};
use crate::clock::Clock;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::priority::Priority;
use crate::http::{Http, HttpRequest};

/// The longest name of a field, and the most of them, that are remembered of an answer.
const FIELD_NAME_MAX: usize = 40;
const FIELDS_MAX: usize = 100;

/// Where the portal is and who we are there.
#[derive(Debug, Clone)]
pub struct PortalSettings {
    /// The way there: addresses and envelopes.
    pub profile: Arc<dyn Profile>,
    /// Used only where the profile has sessions.
    pub username: String,
    pub password: SecretString,
    pub token: Token,
    /// From connecting to the last byte of an answer.
    pub timeout_ms: u64,
    /// A session older than this is renewed before it is used, and so is a token whose life is not
    /// told. A session's real life is not published; ten minutes is what known clients assume.
    pub session_max_age_ms: u64,
    /// Largest answer that is read.
    pub answer_bytes_max: usize,
}

/// What an integration platform wants to be shown with every call.
#[derive(Debug, Clone)]
pub enum Token {
    None,
    Fixed(SecretString),
    /// Asked for with client credentials, and anew this long before it ends.
    Fetched {
        request: TokenRequest,
        renew_before_ms: u64,
    },
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
    token: Token,
    timeout: Duration,
    session_max_age: Duration,
    answer_bytes_max: usize,
    profile: Arc<dyn Profile>,
    http: Arc<dyn Http>,
    clock: Arc<dyn Clock>,
    gate: Arc<Gate>,
    answers: AnswerPatterns,
    sessions: Grants,
    tokens: Grants,
    phrases: Phrases,
}

/// What a call was let in with; `None`: nothing was needed.
#[derive(Debug, Default, Clone)]
struct Held {
    session: Option<Arc<Grant>>,
    token: Option<Arc<Grant>>,
}

/// What [`Portal::send`] has to know about a request beside its bytes.
struct Sent<'a> {
    service: Service,
    form: AnswerForm,
    items: u32,
    packets: &'a [&'a str],
    is_updating: bool,
    asked: Option<&'a str>,
}

impl<'a> Sent<'a> {
    fn of(operation: &Operation<'a>, form: AnswerForm) -> Self {
        Self {
            service: operation.service(),
            form,
            items: operation.items(),
            packets: operation.packets(),
            is_updating: matches!(operation, Operation::Dossiers { is_updating: true, .. }),
            asked: match operation {
                Operation::LookUp { ma_ho_so } => Some(ma_ho_so),
                _ => None,
            },
        }
    }

    fn token() -> Self {
        Self {
            service: Service::Token,
            form: AnswerForm::Platform,
            items: 0,
            packets: &[],
            is_updating: false,
            asked: None,
        }
    }
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
    /// Reaches the portal the way that the settings' profile knows.
    pub fn new(
        settings: PortalSettings,
        http: Arc<dyn Http>,
        clock: Arc<dyn Clock>,
        gate: Arc<Gate>,
        answers: AnswerPatterns,
    ) -> Self {
        Self {
            tenure: None,
            inner: Arc::new(Inner {
                username: settings.username,
                password: settings.password,
                token: settings.token,
                timeout: Duration::from_millis(settings.timeout_ms),
                session_max_age: Duration::from_millis(settings.session_max_age_ms),
                answer_bytes_max: settings.answer_bytes_max,
                profile: settings.profile,
                http,
                clock,
                gate,
                answers,
                sessions: Grants::new(),
                tokens: Grants::new(),
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
                | Meaning::TokenRefused(failure)
                | Meaning::Exists(failure)
                | Meaning::UnknownDossier(failure),
            )
            | Err(Stopped::Failed(failure)) => LookUpVerdict::Failed(failure),
            Ok(
                Meaning::LoggedIn(_)
                | Meaning::TokenGiven { .. }
                | Meaning::Accepted(_)
                | Meaning::Listed(_),
            ) => LookUpVerdict::Failed(unrecognised(Disposition::Retryable)),
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
            Ok(
                Meaning::Failed(failure)
                | Meaning::SessionRefused(failure)
                | Meaning::TokenRefused(failure),
            )
            | Err(Stopped::Failed(failure)) => CatalogueVerdict::Failed(failure),
            Ok(
                Meaning::LoggedIn(_)
                | Meaning::TokenGiven { .. }
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

    /// Asks for a new token and logs in anew, whatever there is of both; says whether account and
    /// address are right. Where the profile needs neither there is nothing to try.
    pub async fn check_login(&self) -> Exchange<Result<(), Failure>> {
        let mut calls = Vec::new();
        let verdict = match self.renew_everything(&mut calls).await {
            Ok(()) => Ok(()),
            Err(NoGrant::Failed(failure) | NoGrant::Closed(Closed { failure, .. })) => Err(failure),
        };
        Exchange { verdict, calls }
    }

    async fn push(&self, class: Priority, operation: Operation<'_>) -> Exchange<PushVerdict> {
        let mut calls = Vec::new();
        let verdict = match self.run(class, operation, &mut calls).await {
            Ok(Meaning::Accepted(receipt)) => PushVerdict::Accepted(receipt),
            Ok(Meaning::Exists(failure)) => PushVerdict::Exists(failure),
            Ok(Meaning::UnknownDossier(failure)) => PushVerdict::UnknownDossier(failure),
            Ok(
                Meaning::Failed(failure)
                | Meaning::SessionRefused(failure)
                | Meaning::TokenRefused(failure),
            )
            | Err(Stopped::Failed(failure)) => PushVerdict::Failed(failure),
            // Not answers to a push; if one ever came, nobody would know what happened.
            Ok(
                Meaning::LoggedIn(_)
                | Meaning::TokenGiven { .. }
                | Meaning::Found(_)
                | Meaning::Missing
                | Meaning::Listed(_),
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
        let inner = &self.inner;
        let renews = inner.profile.has_sessions();
        let is_question = operation.packets().is_empty();
        let session = self.session(calls).await?;
        let is_last_word = is_question && !renews;
        let (mut judgement, mut used) =
            self.call(class, &operation, session, is_last_word, calls).await?;
        if renews && matches!(judgement.meaning, Meaning::SessionRefused(_)) {
            // Refused with the session, the packets were not looked at: sending them again is safe.
            inner.sessions.refused(number(used.session.as_ref()));
            let session = self.session(calls).await?;
            (judgement, used) = self.call(class, &operation, session, is_question, calls).await?;
        }
        match judgement.meaning {
            Meaning::SessionRefused(failure) if !is_question => {
                self.session_or_packets(class, &operation, used.session, failure, calls).await
            }
            meaning => Ok(meaning),
        }
    }

    /// Packets were refused in words that sound like a session's end, right after a login or where
    /// somebody else keeps the session. Either no session is good, or the words are about the packets
    /// ("… phiên …" in a quoted field). A look-up with the same session tells: one such dossier must
    /// not hold up all the others.
    async fn session_or_packets(
        &self,
        class: Priority,
        operation: &Operation<'_>,
        session: Option<Arc<Grant>>,
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
        let (judgement, used) = self.call(class, &look_up, session, true, calls).await?;
        if matches!(judgement.meaning, Meaning::SessionRefused(_)) {
            self.inner.sessions.refused(number(used.session.as_ref()));
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

    /// One call with session and token. A refused token stopped it at the platform, so it is renewed
    /// once and the call repeated. Returns what was used: newer ones may have come while this call
    /// waited for its turn.
    async fn call(
        &self,
        class: Priority,
        operation: &Operation<'_>,
        session: Option<Arc<Grant>>,
        is_last_word: bool,
        calls: &mut Vec<Call>,
    ) -> Result<(Judgement, Held), Stopped> {
        let inner = &self.inner;
        let mut renewed = false;
        loop {
            let token = self.token(calls).await?;
            let permit =
                self.admit(class, operation.service().as_str()).await.map_err(Stopped::NotSent)?;
            let now = inner.clock.monotonic();
            let held = Held {
                session: inner.sessions.current(now).or_else(|| session.clone()),
                token: inner.tokens.current(now).or(token),
            };
            let judgement = self.operate(class, operation, &held, calls).await;
            if !renewed && self.may_renew(&judgement, &held) {
                permit.done(Signal::Success);
                renewed = true;
                continue;
            }
            permit.done(match &judgement.meaning {
                // Refused right after a fresh login: every call would meet the same.
                Meaning::SessionRefused(failure)
                    if is_last_word && !operation.service().is_catalogue() =>
                {
                    Signal::Environment(failure.clone())
                }
                _ => judgement.signal.clone(),
            });
            return Ok((judgement, held));
        }
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

    /// Forms the operation and sends it once.
    async fn operate(
        &self,
        class: Priority,
        operation: &Operation<'_>,
        held: &Held,
        calls: &mut Vec<Call>,
    ) -> Judgement {
        let inner = &self.inner;
        let secret = |grant: &Option<Arc<Grant>>| grant.clone().map(|grant| grant.secret.clone());
        let session = secret(&held.session).unwrap_or_default();
        let token = match &inner.token {
            Token::Fixed(token) => token.clone(),
            Token::None | Token::Fetched { .. } => secret(&held.token).unwrap_or_default(),
        };
        let shown = Shown { session: session.expose_secret(), token: token.expose_secret() };
        let formed = inner.profile.form(operation, shown);
        let secrets = vec![shown.session, shown.token, inner.password.expose_secret()];
        let sent = Sent::of(operation, inner.profile.answers());
        self.send(class, &sent, formed, secrets, calls).await
    }

    /// Sends once, judges, records.
    async fn send(
        &self,
        class: Priority,
        sent: &Sent<'_>,
        formed: Formed,
        secrets: Vec<&str>,
        calls: &mut Vec<Call>,
    ) -> Judgement {
        let inner = &self.inner;
        let sent_bytes = formed.body.len() as u64;
        let started_at = inner.clock.now();
        let started = inner.clock.monotonic();
        let outcome = inner
            .http
            .send(HttpRequest {
                method: formed.method,
                url: formed.url,
                headers: formed.headers,
                body: formed.body,
                timeout: inner.timeout,
                answer_bytes_max: inner.answer_bytes_max,
            })
            .await;
        let duration = inner.clock.monotonic().saturating_sub(started);
        let facts = Facts {
            service: sent.service,
            form: sent.form,
            is_updating: sent.is_updating,
            has_token: sent.service != Service::Token && !matches!(inner.token, Token::None),
            asked: sent.asked,
            outcome: &outcome,
            now: inner.clock.now(),
        };
        let redactions = Redactions { secrets, packets: sent.packets, phrases: &inner.phrases };
        let judgement = classify(&facts, &inner.answers, &redactions);
        let call = Call {
            service: sent.service.as_str(),
            class,
            started_at,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            items: sent.items,
            sent_bytes,
            answer_bytes: outcome.as_ref().map_or(0, |answer| answer.body.len() as u64),
            http_status: outcome.as_ref().ok().map(|answer| answer.status),
            error_code: judgement.error_code.clone(),
            message: judgement.message.clone(),
            outcome: judgement.outcome,
            correlation_id: judgement.correlation_id.clone(),
            body_hash: formed.body_hash,
            echoed: match &judgement.meaning {
                Meaning::Found(echoed) => Some(names(echoed.keys())),
                _ => None,
            },
        };
        tracing::debug!(
            service = call.service,
            outcome = call.outcome.as_str(),
            http_status = call.http_status,
            correlation_id = call.correlation_id.as_deref(),
            duration_ms = call.duration_ms,
            "called"
        );
        calls.push(call);
        judgement
    }
}

fn number(grant: Option<&Arc<Grant>>) -> u64 {
    // Grants are counted from 1.
    grant.map_or(0, |grant| grant.number)
}

/// As far as they are names: what else stands in a name's place may be anything.
fn names<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<String> {
    let is_name = |key: &&String| {
        key.len() <= FIELD_NAME_MAX
            && key.starts_with(|first: char| first.is_ascii_alphabetic())
            && key.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    keys.filter(is_name).take(FIELDS_MAX).cloned().collect()
}

fn unrecognised(disposition: Disposition) -> Failure {
    Failure::new(codes::UNRECOGNISED_ANSWER, disposition, "the answer does not belong to this call")
}

#[cfg(test)]
mod tests;
