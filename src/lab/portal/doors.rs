//! The ways in: the adapter of a security server, a province's wrapper in its two known shapes, and
//! an integration platform with tokens. A door knows its addresses, how a call is written there, and
//! how an answer is wrapped on its way back; what the portal says does not depend on it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State as Shares};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::{get, post};
use serde::Deserialize;

use super::state::Service;
use super::wire::{Answer, Call, Login, TokenAsk, json_text, parse};
use super::{Arrival, PortalOptions, Request, Shared, answer, respond};

/// Through which kind of doors callers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// The portal's envelope at the addresses of a security server.
    #[default]
    Adapter,
    /// Bare arrays; the wrapper keeps the session. Two shapes at once: flags in the query below
    /// `/api/SynsTTHCC`, and an address for each operation below `/KetNoiMotCuaQuocGia`.
    Wrapper,
    /// The portal's envelope with a token from `/token`, below `/ngsp/DVCQG`.
    Bearer,
}

impl Profile {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "adapter" => Some(Self::Adapter),
            "wrapper" => Some(Self::Wrapper),
            "bearer" => Some(Self::Bearer),
            _ => None,
        }
    }
}

/// One kind of address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Adapter,
    /// A wrapper with flags in the query: codes are texts.
    Flagged,
    /// A wrapper with an address for each operation: look-ups come as a text in `message`, and
    /// steps are answered in plain text.
    Separate,
    Platform,
}

/// Prefixes under which a province's security server forwards to the portal.
const FORWARDS: [&str; 3] =
    ["", "/XrdAdapter/RestService/forward", "/VXPAdapter/RestService/forward"];
const FLAGGED: &str = "/api/SynsTTHCC";
const SEPARATE: &str = "/KetNoiMotCuaQuocGia";
const PLATFORM: &str = "/ngsp/DVCQG";

pub(super) fn routes(options: &PortalOptions) -> Router<Arc<Shared>> {
    let mut routes = Router::new();
    match options.profile {
        Profile::Adapter => {
            for forward in FORWARDS {
                let at = |path: &str| format!("{forward}/{}", path.trim_start_matches('/'));
                routes = routes
                    .route(&at(&options.login_path), post(log_in))
                    .route(&at(&options.integration_path), post(call));
                if options.share_path != options.integration_path {
                    routes = routes.route(&at(&options.share_path), post(call));
                }
            }
            routes
        }
        Profile::Wrapper => routes
            .route(&format!("{FLAGGED}/DongBoHoSoMC"), post(flagged_dossiers))
            .route(&format!("{FLAGGED}/CapNhatTienDoHoSoMC"), post(flagged_steps))
            .route(&format!("{FLAGGED}/TraCuuHoSo"), get(flagged_look_up))
            .route(&format!("{SEPARATE}/DongBoHoSoMC"), post(create))
            .route(&format!("{SEPARATE}/CapNhatHoSoMC"), post(update))
            .route(&format!("{SEPARATE}/CapNhatTienDoHoSoMC"), post(steps))
            .route(&format!("{SEPARATE}/TraCuuHoSo"), get(look_up)),
        Profile::Bearer => routes
            .route("/token", post(token))
            .route(&format!("{PLATFORM}/login"), post(platform_log_in))
            .route(&format!("{PLATFORM}/DongBoHoSoMC"), post(platform_dossiers))
            .route(&format!("{PLATFORM}/CapNhatTienDoHoSoMC"), post(platform_steps))
            .route(&format!("{PLATFORM}/TraCuuHoSo"), post(platform_look_up)),
    }
}

/// The address of the called system may come here instead of in a header.
#[derive(Debug, Deserialize)]
pub(super) struct Addressing {
    dstcode: Option<String>,
}

/// What a wrapper reads in the query.
#[derive(Debug, Deserialize)]
pub(super) struct Flags {
    #[serde(rename = "MaDinhDanhDV", default)]
    agency: String,
    #[serde(rename = "isUpdating", default)]
    updating: String,
    #[serde(default)]
    mahoso: String,
}

fn arrival(door: Door, headers: &HeaderMap) -> Arrival {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    Arrival {
        door,
        shown: bearer.or_else(|| text("x-api-key")).unwrap_or_default().to_owned(),
        dstcode: text("dstcode").map(str::to_owned),
    }
}

fn adapter(addressing: Addressing, headers: &HeaderMap) -> Arrival {
    let arrival = arrival(Door::Adapter, headers);
    Arrival { dstcode: arrival.dstcode.clone().or(addressing.dstcode), ..arrival }
}

async fn log_in(
    Shares(shared): Shares<Arc<Shared>>,
    Query(addressing): Query<Addressing>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    answer(shared, adapter(addressing, &headers), Request::Login(parse(&body).ok())).await
}

async fn call(
    Shares(shared): Shares<Arc<Shared>>,
    Query(addressing): Query<Addressing>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    answer(shared, adapter(addressing, &headers), Request::Call(Call::read(&body))).await
}

async fn flagged_dossiers(
    Shares(shared): Shares<Arc<Shared>>,
    Query(flags): Query<Flags>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let updating = match flags.updating.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    };
    let call = Call::bare(Service::Dossiers, updating, &flags.agency, &body);
    answer(shared, arrival(Door::Flagged, &headers), Request::Call(call)).await
}

async fn flagged_steps(
    Shares(shared): Shares<Arc<Shared>>,
    Query(flags): Query<Flags>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let call = Call::bare(Service::Steps, None, &flags.agency, &body);
    answer(shared, arrival(Door::Flagged, &headers), Request::Call(call)).await
}

async fn flagged_look_up(
    Shares(shared): Shares<Arc<Shared>>,
    Query(flags): Query<Flags>,
    headers: HeaderMap,
) -> Response<Body> {
    let call = Call::question(&flags.agency, &flags.mahoso);
    answer(shared, arrival(Door::Flagged, &headers), Request::Call(call)).await
}

/// The wrapper with separate addresses knows whose it is.
const ITS_AGENCY: &str = "000.00.00.H55";

async fn create(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let call = Call::bare(Service::Dossiers, Some(false), ITS_AGENCY, &body);
    answer(shared, arrival(Door::Separate, &headers), Request::Call(call)).await
}

async fn update(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let call = Call::bare(Service::Dossiers, Some(true), ITS_AGENCY, &body);
    answer(shared, arrival(Door::Separate, &headers), Request::Call(call)).await
}

async fn steps(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let call = Call::bare(Service::Steps, None, ITS_AGENCY, &body);
    answer(shared, arrival(Door::Separate, &headers), Request::Call(call)).await
}

async fn look_up(
    Shares(shared): Shares<Arc<Shared>>,
    Query(flags): Query<Flags>,
    headers: HeaderMap,
) -> Response<Body> {
    let call = Call::question(ITS_AGENCY, &flags.mahoso);
    answer(shared, arrival(Door::Separate, &headers), Request::Call(call)).await
}

async fn token(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let ask = TokenAsk::read(kind.unwrap_or_default(), &body);
    answer(shared, arrival(Door::Platform, &headers), Request::Token(ask)).await
}

async fn platform_log_in(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let login: Option<Login> = parse(&body).ok();
    answer(shared, arrival(Door::Platform, &headers), Request::Login(login)).await
}

async fn platform_dossiers(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    platform_call(shared, &headers, Service::Dossiers, &body).await
}

async fn platform_steps(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    platform_call(shared, &headers, Service::Steps, &body).await
}

async fn platform_look_up(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    platform_call(shared, &headers, Service::LookUp, &body).await
}

/// The platform forwards what belongs to the address, with a session of its own unless it passes the
/// log-in on.
async fn platform_call(
    shared: Arc<Shared>,
    headers: &HeaderMap,
    service: Service,
    body: &[u8],
) -> Response<Body> {
    let mut call = Call::read(body);
    if call.service != service {
        call = Call::unreadable("service");
    }
    if !shared.passes_login {
        call.session = None;
    }
    answer(shared, arrival(Door::Platform, headers), Request::Call(call)).await
}

/// One answer as it leaves this door. `turn` alternates between what is equally right.
pub(super) fn dress(door: Door, service: Service, told: &Answer, turn: u64) -> Dressed {
    let is_odd = turn % 2 == 1;
    match door {
        Door::Adapter => Dressed::json(told.json(is_odd)),
        Door::Flagged => Dressed::json(told.json(true)),
        Door::Separate => match service {
            Service::LookUp => Dressed::json(inside_message(&told.json(is_odd))),
            Service::Steps if told.code == 0 => {
                Dressed { status: 200, kind: TEXT, body: told.message.clone().into_owned() }
            }
            _ => Dressed::json(told.json(true)),
        },
        Door::Platform if service == Service::Token => {
            let status = if told.code == 0 { 200 } else { 401 };
            Dressed { status, ..Dressed::json(told.bare_json()) }
        }
        Door::Platform => Dressed::json(platform_answer(told, turn, is_odd)),
    }
}

pub(super) fn inside_message(body: &str) -> String {
    format!("{{\"message\":{}}}", json_text(body))
}

/// The portal's answer inside the platform's, as an object or as a text.
pub(super) fn platform_answer(told: &Answer, turn: u64, as_text: bool) -> String {
    let response = told.json(turn % 3 == 1);
    let response = if as_text { json_text(&response) } else { response };
    format!(
        "{{\"code\":200,\"status\":\"SUCCESS\",\"correlationId\":\"lab-{turn:06}\",\"response\":{response}}}"
    )
}

/// The platform refuses the token by status, or inside a 200.
pub(super) fn no_token(turn: u64) -> Dressed {
    let status = if turn % 2 == 1 { 200 } else { 401 };
    let body = format!(
        "{{\"code\":401,\"status\":\"INVALID_TOKEN\",\"correlationId\":\"lab-{turn:06}\"}}"
    );
    Dressed { status, ..Dressed::json(body) }
}

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Status, kind and text of an answer.
#[derive(Debug)]
pub(super) struct Dressed {
    pub(super) status: u16,
    kind: &'static str,
    pub(super) body: String,
}

impl Dressed {
    pub(super) fn json(body: String) -> Self {
        Self { status: 200, kind: JSON, body }
    }

    pub(super) fn text(body: String) -> Self {
        Self { status: 200, kind: TEXT, body }
    }

    pub(super) fn response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        respond(status, self.kind, self.body)
    }
}
