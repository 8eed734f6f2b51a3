//! A simulated national portal: log-in, `DongBoHoSoMC`, `CapNhatTienDoHoSoMC`, `TraCuuHoSo`, and the
//! catalogues (`LayThuTuc`, `LayDanhSachTTHC`, `LayDanhMucLinhVuc`, `LayDanhMucCoQuan`).
//!
//! It checks what it is sent against the contract's tables, keeps digests of what it accepted,
//! counts every call against its quota, and fails on request in the ways real networks and portals
//! do. It knows nothing of the gateway and nothing of the province. Callers come through the doors of
//! one [`Profile`]: adapter, wrapper or platform (`doors`). A call then walks through
//! [`answer`](self): quota, address, fault, token, session, rules, records. Start reading there;
//! `wire` reads and writes, `rules` checks, `state` decides.
//!
//! What the public contract leaves open is decided by [`PortalOptions`]: what a read-back tells,
//! whether repeated steps are kept, what a refused batch leaves behind, which dossiers the portal
//! knows beforehand.
//!
//! # Control interface
//!
//! | Address | Effect |
//! |---|---|
//! | `GET /lab/state` | calls, useful ones, quota refusals and overshoots, records, steps, outcomes by service |
//! | `GET /lab/records` | one JSON line a record: `code`, `digest`, `steps`, `updates` |
//! | `GET /lab/records/{code}` | one record, with `fields` where they are kept |
//! | `GET /lab/calls?code=CODE` | the journal as JSON lines, oldest first |
//! | `POST /lab/faults` | any of `{"clear": true, "preset": "some", "rates": [{"kind": "drop-request", "share": 0.01}], "next": [{"kind": "delay", "ms": 7000, "service": "login", "code": "…", "times": 1}], "refuse": [{"code": "…", "message": "…"}], "accept": ["CODE"]}` |
//! | `POST /lab/change` | `{"code": "CODE", "fields": {"TrangThaiHoSo": "9"}}`: somebody changes its record; only fields that an echo shows |
//! | `POST /lab/forget` | `{"codes": ["CODE"]}`: the portal never heard of them |
//! | `POST /lab/quota` | `{"windows": [{"limit": 50, "window_ms": 1000, "kind": "sliding-attempts"}], "retry_after": true}` |
//! | `POST /lab/catalogue` | any of `{"list": "procedures", "put": [{"code": "…", "name": "…"}], "remove": ["CODE"], "details": {"2.000815": {"fees": ["PHI01"], "results": []}}}`; other lists are `fields` and `agencies` |

mod catalogue;
mod control;
mod doors;
mod faults;
mod quota;
pub(in crate::lab) mod rules;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{Response, StatusCode, header};
use futures_util::{StreamExt, stream};

pub use catalogue::{CatalogueOrder, Details, Item, List};
pub use doors::Profile;
pub use faults::{Fault, FaultRate, Faults, ScriptedFault};
pub use quota::{Quota, Window, WindowKind, WindowUse};
pub use state::{CallEntry, EchoedFields, Outcome, PortalState, Service};

use self::doors::{Door, Dressed, dress, inside_message, no_token, platform_answer};
use self::quota::OverQuota;
use self::state::State;
use self::wire::{Answer, Call, Login, TokenAsk};
use super::certificates::ServerTls;
use super::digest::PortalRecord;
use super::serving::{Lifetime, Serving};
use crate::clock::Clock;

const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What `TraCuuHoSo` tells about a known dossier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadBack {
    /// Its code only: an existence test.
    #[default]
    Existence,
    /// Some of the accepted fields.
    Echo,
}

/// What happens to a step that the dossier already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StepMode {
    #[default]
    Append,
    Dedupe,
}

/// What a refused batch leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRefusal {
    #[default]
    Atomic,
    /// The items before the refused one stay applied.
    PrefixApplied,
}

/// Dossiers the portal knows before anybody sends them, because they were filed there.
///
/// An update of such a dossier is accepted and a create is answered "đã tồn tại".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Preregistered {
    Nobody,
    /// Each dossier whose packet says `NoiNopHoSo` 1. A look-up cannot know it before its packet.
    #[default]
    ByFilingPlace,
    /// These codes; a look-up finds them at once.
    Listed(BTreeSet<String>),
}

/// How the portal starts.
#[derive(Debug, Clone)]
pub struct PortalOptions {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// `None`: plain HTTP.
    pub tls: Option<ServerTls>,
    pub profile: Profile,
    pub seed: u64,
    pub username: String,
    pub password: String,
    /// The `madonvi` that must be in every call; `None` takes any that is not empty.
    pub agency: Option<String>,
    /// The `dstcode` that must be in header or query; `None` asks for none.
    pub dstcode: Option<String>,
    pub login_path: String,
    pub integration_path: String,
    pub share_path: String,
    pub session_minutes: u64,
    /// What the wrapper wants in `X-Api-Key` or as a bearer; `None` lets everybody in.
    pub wrapper_secret: Option<String>,
    /// The account at the platform, and how long its tokens last.
    pub client_id: String,
    pub client_secret: String,
    pub token_seconds: u64,
    /// The platform passes the portal's log-in on instead of keeping a session of its own.
    pub passes_login: bool,
    pub read_back: ReadBack,
    /// Keep the echoed fields for the control interface even when look-ups do not give them.
    pub keep_fields: bool,
    pub step_mode: StepMode,
    pub on_refused_dossiers: OnRefusal,
    pub on_refused_steps: OnRefusal,
    pub preregistered: Preregistered,
    pub quota: Quota,
    pub faults: Faults,
    /// Calls the journal holds; 0 keeps none.
    pub journal_limit: usize,
}

impl Default for PortalOptions {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: None,
            profile: Profile::default(),
            seed: 42,
            username: "tinh-thu-nghiem".to_owned(),
            password: "mat-khau-thu-nghiem".to_owned(),
            agency: None,
            dstcode: Some("VN:GOV:000.00.00.G22:vpcpdvcprovider".to_owned()),
            login_path: "/mapi/login".to_owned(),
            integration_path: "/mapi/g".to_owned(),
            share_path: "/mapi/p".to_owned(),
            session_minutes: 10,
            wrapper_secret: None,
            client_id: "hoso-thu-nghiem".to_owned(),
            client_secret: "bi-mat-thu-nghiem".to_owned(),
            token_seconds: 300,
            passes_login: false,
            read_back: ReadBack::default(),
            keep_fields: false,
            step_mode: StepMode::default(),
            on_refused_dossiers: OnRefusal::default(),
            on_refused_steps: OnRefusal::default(),
            preregistered: Preregistered::default(),
            quota: Quota::default(),
            faults: Faults::default(),
            journal_limit: 200_000,
        }
    }
}

/// A running portal. Dropping it stops it.
#[derive(Debug)]
pub struct LabPortal {
    shared: Arc<Shared>,
    serving: Serving,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    lifetime: Lifetime,
    dstcode: Option<String>,
    passes_login: bool,
    state: Mutex<State>,
    answers: std::sync::atomic::AtomicU64,
}

/// Serves until [`LabPortal::shutdown`].
pub async fn start(options: PortalOptions, clock: Arc<dyn Clock>) -> io::Result<LabPortal> {
    let (listen, tls) = (options.listen, options.tls.clone());
    let (shared, routes) = open(options, clock);
    let serving = Serving::start(listen, shared.lifetime.clone(), routes, tls).await?;
    Ok(LabPortal { shared, serving })
}

/// Without a socket: whoever calls the routes is answered.
pub fn in_process(options: PortalOptions, clock: Arc<dyn Clock>) -> (LabPortal, Router) {
    let (shared, routes) = open(options, clock);
    let serving = Serving::in_process(shared.lifetime.clone());
    (LabPortal { shared, serving }, routes)
}

fn open(options: PortalOptions, clock: Arc<dyn Clock>) -> (Arc<Shared>, Router) {
    let routes = control::routes().merge(doors::routes(&options));
    let shared = Arc::new(Shared {
        clock,
        lifetime: Lifetime::default(),
        dstcode: options.dstcode.clone(),
        passes_login: options.passes_login,
        state: Mutex::new(State::new(options)),
        answers: std::sync::atomic::AtomicU64::new(0),
    });
    let routes =
        routes.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(Arc::clone(&shared));
    (shared, routes)
}

impl LabPortal {
    /// Base address, without a slash at the end; the service paths follow it.
    pub fn url(&self) -> String {
        self.serving.url()
    }

    pub fn state(&self) -> PortalState {
        self.shared.state().view()
    }

    /// All records, by code.
    pub fn records(&self) -> Vec<PortalRecord> {
        self.shared.state().records_after(None, usize::MAX)
    }

    pub fn record(&self, code: &str) -> Option<PortalRecord> {
        self.shared.state().record(code).map(|(record, _)| record)
    }

    /// The accepted fields of a record, where they are kept.
    pub fn fields(&self, code: &str) -> Option<EchoedFields> {
        self.shared.state().record(code)?.1
    }

    /// The journal, oldest first; of one dossier or of all.
    pub fn calls(&self, code: Option<&str>) -> Vec<CallEntry> {
        self.shared.state().calls_about(code)
    }

    /// Orders a fault; orders are looked at in the sequence in which they came.
    pub fn inject(&self, fault: ScriptedFault) {
        self.shared.state().faults.next.push(fault);
    }

    /// Replaces everything that is set to go wrong by chance or by order.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// Refuses this dossier until [`LabPortal::accept`].
    pub fn refuse(&self, code: &str, why: &str) {
        self.shared.state().refused.insert(code.to_owned(), why.to_owned());
    }

    pub fn accept(&self, code: &str) {
        self.shared.state().refused.remove(code);
    }

    /// The portal has never heard of this dossier. `false` when that was so already.
    pub fn forget(&self, code: &str) -> bool {
        self.shared.state().forget(code)
    }

    /// Somebody changes fields of a record at the portal; only those that an echo shows.
    pub fn change(&self, code: &str, fields: &[(&str, &str)]) -> bool {
        let fields = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.shared.state().change(code, &fields)
    }

    /// Changes what the portal says that it knows.
    pub fn change_catalogue(&self, order: CatalogueOrder) {
        self.shared.state().catalogue.change(order);
    }

    /// Look-ups do not find this dossier until [`LabPortal::show`]; everything else does.
    pub fn hide(&self, code: &str) {
        self.shared.state().hidden.insert(code.to_owned());
    }

    pub fn show(&self, code: &str) {
        self.shared.state().hidden.remove(code);
    }

    /// Replaces the quota; counting starts anew.
    pub fn set_quota(&self, quota: Quota) {
        self.shared.state().set_quota(quota);
    }

    /// Answers handshakes this way from now on, if it has TLS at all.
    pub fn set_tls(&self, tls: ServerTls) {
        self.serving.set_tls(tls);
    }

    /// Stops and waits. Panics when something inside panicked.
    pub async fn shutdown(self) -> io::Result<()> {
        self.serving.shutdown().await
    }
}

/// How a call came in.
#[derive(Debug)]
struct Arrival {
    door: Door,
    /// The token or secret that was shown; empty for none.
    shown: String,
    dstcode: Option<String>,
}

/// What a caller asks, as bytes read.
#[derive(Debug)]
enum Request {
    Token(Option<TokenAsk>),
    Login(Option<Login>),
    Call(Call),
}

impl Request {
    fn service(&self) -> Service {
        match self {
            Self::Token(_) => Service::Token,
            Self::Login(_) => Service::Login,
            Self::Call(call) => call.service,
        }
    }

    fn codes(&self) -> Vec<&str> {
        match self {
            Self::Token(_) | Self::Login(_) => Vec::new(),
            Self::Call(call) => call.codes(),
        }
    }
}

/// One call, from its arrival to the bytes that go back.
async fn answer(shared: Arc<Shared>, arrival: Arrival, request: Request) -> Response<Body> {
    let _witness = shared.lifetime.witness();
    let admitted = shared.state().admit(shared.clock.monotonic(), shared.clock.now());
    if let Err(OverQuota { retry_after_s }) = admitted {
        shared.write_down(&request, Outcome::OverQuota, None);
        return too_many_requests(retry_after_s);
    }
    if !shared.is_addressed(&arrival) {
        shared.write_down(&request, Outcome::Misaddressed, None);
        return soap_fault();
    }
    let fault = shared.state().strike(request.service(), &request.codes());
    if let Some(fault) = &fault
        && !fault.is_applied()
    {
        shared.write_down(&request, Outcome::NotApplied, Some(fault));
        return not_applied(&shared, request, fault);
    }
    let turn = shared.answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    if !shared.is_let_in(&arrival, request.service()) {
        shared.write_down(&request, Outcome::NoToken, fault.as_ref());
        return no_token(turn).response();
    }
    let (answer, outcome) = shared.decide(&request);
    shared.write_down(&request, outcome, fault.as_ref());
    let dressed = match (&fault, arrival.door) {
        (Some(Fault::PlainText { text, .. }), _) => Dressed::text(text.clone()),
        (Some(Fault::CodeAsString), Door::Adapter) => Dressed::json(answer.json(true)),
        (Some(Fault::DoubleEncoded), Door::Platform) => {
            Dressed::json(platform_answer(&answer, turn, true))
        }
        (Some(Fault::DoubleEncoded), _) => Dressed::json(inside_message(&answer.json(true))),
        (_, door) => dress(door, request.service(), &answer, turn),
    };
    deliver(shared, dressed, fault).await
}

/// The answer to a call that a fault kept from the portal, at least for now.
fn not_applied(shared: &Arc<Shared>, request: Request, fault: &Fault) -> Response<Body> {
    if let Fault::ApplyLater { ms } = *fault {
        let later = Arc::clone(shared);
        shared.lifetime.spawn(async move {
            if later.lifetime.pause(later.clock.as_ref(), ms).await {
                let (_, outcome) = later.decide(&request);
                later.write_down(&request, outcome, Some(&Fault::ApplyLater { ms }));
            }
        });
        return cut();
    }
    spoilt(fault).unwrap_or_else(cut)
}

/// Sends the answer the way the fault wants it.
async fn deliver(shared: Arc<Shared>, dressed: Dressed, fault: Option<Fault>) -> Response<Body> {
    let Some(fault) = fault else {
        return dressed.response();
    };
    if let Some(spoilt) = spoilt(&fault) {
        return spoilt;
    }
    match fault {
        Fault::Delay { ms } => {
            shared.lifetime.pause(shared.clock.as_ref(), ms).await;
            dressed.response()
        }
        Fault::SlowBody { ms } => slow_body(shared, dressed.body, ms),
        Fault::ResetMidBody => reset_mid_body(dressed.body),
        Fault::ApplyThenDrop => cut(),
        _ => dressed.response(),
    }
}

/// Answers that hide what the portal decided.
fn spoilt(fault: &Fault) -> Option<Response<Body>> {
    match fault {
        Fault::TooManyRequests { retry_after_s } => Some(too_many_requests(*retry_after_s)),
        Fault::Status { status, .. } => {
            Some(html(StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)))
        }
        Fault::Html { .. } => Some(html(StatusCode::OK)),
        Fault::SoapFault { .. } => Some(soap_fault()),
        Fault::EmptyBody { .. } => Some(Response::new(Body::empty())),
        Fault::PlainText { text, applied: false } => Some(Dressed::text(text.clone()).response()),
        _ => None,
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_addressed(&self, arrival: &Arrival) -> bool {
        arrival.door != Door::Adapter || self.dstcode.is_none() || arrival.dstcode == self.dstcode
    }

    fn is_let_in(&self, arrival: &Arrival, service: Service) -> bool {
        let now = self.clock.monotonic();
        match arrival.door {
            Door::Adapter => true,
            Door::Flagged | Door::Separate => self.state().has_wrapper_secret(&arrival.shown),
            Door::Platform => {
                service == Service::Token || self.state().has_token(&arrival.shown, now)
            }
        }
    }

    fn decide(&self, request: &Request) -> (Answer, Outcome) {
        let now = self.clock.monotonic();
        match request {
            Request::Token(ask) => self.state().give_token(ask.as_ref(), now),
            Request::Login(login) => self.state().log_in(login.as_ref(), now),
            Request::Call(call) => self.state().decide(call, now),
        }
    }

    fn write_down(&self, request: &Request, outcome: Outcome, fault: Option<&Fault>) {
        let mut state = self.state();
        let detailed = state.keeps_journal();
        let (updating, codes, digests) = match request {
            Request::Call(call) if detailed => (
                call.updating,
                call.codes().into_iter().map(str::to_owned).collect(),
                call.digests(),
            ),
            _ => (None, Vec::new(), Vec::new()),
        };
        state.write_down(CallEntry {
            at_ms: self.clock.now().millis(),
            service: request.service(),
            updating,
            codes,
            digests,
            outcome,
            fault: fault.map(Fault::name),
            answered: fault.is_none_or(Fault::lets_the_answer_through),
        });
    }
}

fn html(status: StatusCode) -> Response<Body> {
    let page =
        format!("<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>");
    respond(status, "text/html", page)
}

fn soap_fault() -> Response<Body> {
    respond(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        "Client received SOAP Fault from server: Server.ServerProxy.ServiceFailed: \
         Unknown service or security server not reachable"
            .to_owned(),
    )
}

fn too_many_requests(retry_after_s: Option<u64>) -> Response<Body> {
    let mut response = respond(
        StatusCode::TOO_MANY_REQUESTS,
        "text/plain; charset=utf-8",
        "Too Many Requests".to_owned(),
    );
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, axum::http::HeaderValue::from_static(kind));
    response
}

/// No answer: the connection closes. A body that fails before its first byte takes it down.
fn cut() -> Response<Body> {
    let broken: io::Error = io::ErrorKind::ConnectionAborted.into();
    Response::new(Body::from_stream(stream::iter([Err::<Bytes, _>(broken)])))
}

fn slow_body(shared: Arc<Shared>, body: String, ms: u64) -> Response<Body> {
    let mut first = Bytes::from(body);
    let second = first.split_off(first.len() / 2);
    let wait = stream::once(async move {
        shared.lifetime.pause(shared.clock.as_ref(), ms).await;
        Ok::<_, Infallible>(second)
    });
    let pieces = stream::iter([Ok(first)]).chain(wait);
    let mut response = respond(StatusCode::OK, "application/json; charset=utf-8", String::new());
    *response.body_mut() = Body::from_stream(pieces);
    response
}

fn reset_mid_body(body: String) -> Response<Body> {
    let mut first = Bytes::from(body);
    first.truncate(first.len() / 2);
    let broken: io::Error = io::ErrorKind::ConnectionReset.into();
    let pieces = stream::iter([Ok(first), Err(broken)]);
    let mut response = respond(StatusCode::OK, "application/json; charset=utf-8", String::new());
    *response.body_mut() = Body::from_stream(pieces);
    response
}
