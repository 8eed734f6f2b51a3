//! The network between a process and the two laboratories, in process and in simulated time.
//!
//! What the portal itself does wrong is ordered from its laboratory; here stands what goes wrong on
//! the way.

use std::collections::VecDeque;
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use fastrand::Rng;
use hoso_gateway::http::{Http, HttpAnswer, HttpFailure, HttpRequest, Method};
use hoso_gateway::lab::portal::LabPortal;
use hoso_gateway::lab::province::Province;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

use super::call::{Answered, Called, What, meaning};
use super::door::Door;
use super::time::sleep;
use super::witness::Witness;

/// What happens to one call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireFault {
    /// Nobody listens.
    NoConnection,
    /// The request is lost, and nobody says so.
    RequestLost,
    /// It arrives, and its answer is lost.
    AnswerLost,
    /// It arrives twice.
    Twice,
    /// It arrives, and the answer comes when nobody waits any more.
    AnswerLate,
    /// It arrives when nobody waits any more.
    RequestLate,
    /// The connection breaks in the middle of the answer.
    AnswerCut,
}

impl WireFault {
    pub(super) const ALL: [Self; 7] = [
        Self::NoConnection,
        Self::RequestLost,
        Self::AnswerLost,
        Self::Twice,
        Self::AnswerLate,
        Self::RequestLate,
        Self::AnswerCut,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NoConnection => "no connection",
            Self::RequestLost => "request lost",
            Self::AnswerLost => "answer lost",
            Self::Twice => "delivered twice",
            Self::AnswerLate => "answer late",
            Self::RequestLate => "request late",
            Self::AnswerCut => "answer cut",
        }
    }
}

/// The two laboratories and the ways to them, shared by all processes.
pub(super) struct Network {
    pub(super) province: Province,
    pub(super) portal: LabPortal,
    province_routes: Router,
    portal_routes: Router,
    witness: Arc<Witness>,
    weather: Mutex<Weather>,
}

struct Weather {
    rng: Rng,
    /// For the next calls to the portal, after so many that pass.
    waiting: VecDeque<(u32, WireFault)>,
    /// No call gets through to the portal.
    portal_is_down: Option<WireFault>,
    province_is_down: bool,
}

impl Debug for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

impl Network {
    pub(super) fn new(
        (province, province_routes): (Province, Router),
        (portal, portal_routes): (LabPortal, Router),
        witness: Arc<Witness>,
        seed: u64,
    ) -> Self {
        let rng = Rng::with_seed(seed);
        let weather = Weather {
            rng,
            waiting: VecDeque::new(),
            portal_is_down: None,
            province_is_down: false,
        };
        Self {
            province,
            portal,
            province_routes,
            portal_routes,
            witness,
            weather: Mutex::new(weather),
        }
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn order(&self, after: u32, fault: WireFault) {
        self.weather().waiting.push_back((after, fault));
    }

    pub(super) fn portal_down(&self, how: Option<WireFault>) {
        self.weather().portal_is_down = how;
    }

    pub(super) fn province_down(&self, down: bool) {
        self.weather().province_is_down = down;
    }

    pub(super) fn clear(&self) {
        let mut weather = self.weather();
        weather.waiting.clear();
        weather.portal_is_down = None;
        weather.province_is_down = false;
    }

    fn draw(&self) -> Option<WireFault> {
        let mut weather = self.weather();
        if weather.portal_is_down.is_some() {
            return weather.portal_is_down;
        }
        let (after, fault) = weather.waiting.front_mut()?;
        if *after > 0 {
            *after -= 1;
            return None;
        }
        let fault = *fault;
        weather.waiting.pop_front();
        Some(fault)
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.weather().rng.u64(3..60))
    }
}

/// Which laboratory is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Province,
    Portal,
}

/// The network as one process has it.
#[derive(Debug, Clone)]
pub(super) struct SimHttp {
    pub(super) network: Arc<Network>,
    pub(super) side: Side,
    pub(super) door: Door,
    /// What the portal asked this process for: from when, and until when, it wants to be left alone.
    quiet: Arc<Mutex<(Duration, Duration)>>,
}

/// A call that was let go in the same moment as the answer came is no disobedience.
const MOMENT: Duration = Duration::from_millis(50);

#[async_trait]
impl Http for SimHttp {
    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        self.door.pass().await;
        let answer = match self.side {
            Side::Province => self.ask_the_province(request).await,
            Side::Portal => self.call_the_portal(request).await,
        };
        self.door.pass().await;
        answer
    }
}

impl SimHttp {
    pub(super) fn new(network: Arc<Network>, side: Side, door: Door) -> Self {
        Self { network, side, door, quiet: Arc::default() }
    }

    /// "Retry-After is obeyed": nothing leaves while the portal wants to be left alone.
    fn obeys(&self, called: &Called) {
        let (from, until) = *self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.network.witness.now();
        if now > from + MOMENT && now + MOMENT < until {
            let what =
                format!("{} leaves {:?} too early", called.name(), until.saturating_sub(now));
            self.network.witness.violated("retry after", what);
        }
    }

    fn hears(&self, answer: &HttpAnswer) {
        let asked = answer.header("retry-after").and_then(|value| value.parse().ok());
        if let (429 | 503, Some(seconds)) = (answer.status, asked) {
            let now = self.network.witness.now();
            let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
            *quiet = (now, quiet.1.max(now + Duration::from_secs(seconds)));
        }
    }

    async fn ask_the_province(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        let network = &self.network;
        if network.weather().province_is_down {
            network.witness.count("province not reached");
            return Err(HttpFailure::NotSent("the simulated province is away".to_owned()));
        }
        let timeout = request.timeout;
        let limit = request.answer_bytes_max;
        let answer = deliver(network, network.province_routes.clone(), request);
        let answer = within(timeout, answer).await?;
        network.witness.province_says(&network.province);
        sleep(network.latency()).await;
        let answer = answer.map_err(interrupted)?;
        network.witness.note(|| format!("province answers {}", answer.body.len()));
        if answer.body.len() > limit { Err(HttpFailure::TooLarge(limit)) } else { Ok(answer) }
    }

    async fn call_the_portal(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        let network = &self.network;
        let witness = &network.witness;
        let fault = network.draw();
        if let Some(fault) = fault {
            witness.count(fault.name());
        }
        if fault == Some(WireFault::NoConnection) {
            return Err(HttpFailure::NotSent("the simulated portal is away".to_owned()));
        }
        let called = Called::read(&request.url, &request.body);
        let timeout = request.timeout;
        self.obeys(&called);
        let number = witness.leaves(&called, timeout);
        witness.note(|| {
            let how = fault.map_or("", WireFault::name);
            format!("call {number} leaves: {} {how}", called.name())
        });
        let mut landing = Landing { witness, called: &called, number, answered: None };
        let answer = within(timeout, self.exchange(request, &called, fault)).await;
        let answer = match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(cut)) => Err(interrupted(cut)),
            Err(late) => Err(late),
        };
        // A dead process hears nothing any more; to everybody else its call is still out.
        self.door.pass().await;
        landing.answered = Some(match &answer {
            Ok(answer) => meaning(answer),
            Err(_) => Answered::Nothing,
        });
        if let Ok(answer) = &answer {
            self.hears(answer);
        }
        drop(landing);
        witness.note(|| match &answer {
            Ok(answer) => format!("call {number} answered {}", answer.status),
            Err(failure) => format!("call {number} failed: {failure}"),
        });
        answer
    }

    async fn exchange(
        &self,
        request: HttpRequest,
        called: &Called,
        fault: Option<WireFault>,
    ) -> Result<HttpAnswer, &'static str> {
        let network = &self.network;
        let timeout = request.timeout;
        sleep(network.latency()).await;
        match fault {
            Some(WireFault::RequestLost) => return std::future::pending().await,
            Some(WireFault::RequestLate) => {
                let (network, late) = (Arc::clone(network), timeout + Duration::from_mins(1));
                network.witness.arrives_late(called);
                tokio::spawn(async move {
                    sleep(late).await;
                    drop(deliver(&network, network.portal_routes.clone(), request).await);
                });
                return std::future::pending().await;
            }
            Some(WireFault::Twice) => {
                drop(deliver(network, network.portal_routes.clone(), request.clone()).await);
            }
            _ => {}
        }
        let asked = (called.what == What::LookUp).then(|| called.asked.clone()).flatten();
        let answer = deliver(network, network.portal_routes.clone(), request).await?;
        if let Some(record) = asked.and_then(|code| network.portal.record(&code)) {
            network.witness.shown(&record.code, record.digest);
        }
        sleep(network.latency()).await;
        match fault {
            Some(WireFault::AnswerLost) => Err("the connection was reset"),
            Some(WireFault::AnswerLate) => std::future::pending().await,
            Some(WireFault::AnswerCut) => Err("the connection broke in the middle"),
            _ => Ok(answer),
        }
    }
}

/// Tells the witness what became of a call, unless the process that made it is no more.
struct Landing<'w> {
    witness: &'w Witness,
    called: &'w Called,
    number: u64,
    answered: Option<Answered>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        if let Some(answered) = self.answered {
            self.witness.came_back(self.number, self.called, answered);
        }
    }
}

fn interrupted(why: &'static str) -> HttpFailure {
    HttpFailure::Interrupted(why.to_owned())
}

async fn within<T>(timeout: Duration, work: impl Future<Output = T>) -> Result<T, HttpFailure> {
    tokio::time::timeout(timeout, work).await.map_err(|_| HttpFailure::TimedOut(timeout))
}

/// Brings a request to its laboratory. Nobody there notices when its caller goes away.
async fn deliver(
    network: &Network,
    routes: Router,
    request: HttpRequest,
) -> Result<HttpAnswer, &'static str> {
    let (done, answer) = oneshot::channel();
    let _ = network;
    tokio::spawn(async move {
        // Whoever asked may have gone.
        done.send(serve(routes, request).await).unwrap_or_default();
    });
    answer.await.map_err(|_| "the laboratory failed")?
}

async fn serve(routes: Router, request: HttpRequest) -> Result<HttpAnswer, &'static str> {
    let method = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let mut asked = Request::builder().method(method).uri(&request.url);
    for (name, value) in &request.headers {
        asked = asked.header(name, value);
    }
    let asked = asked.body(Body::from(request.body)).expect("a request that was formed");
    let response = routes.oneshot(asked).await.unwrap_or_else(|never| match never {});
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let body = to_bytes(response.into_body(), usize::MAX)
        .await
        .map_err(|_| "the connection broke in the middle")?;
    Ok(HttpAnswer { status, headers, body })
}
