//! The control interface of the province: JSON under `/lab/`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::misbehave::{MisbehaviourRule, Question, RawAnswer};
use super::store::ProvinceCounts;
use super::{PutRefused, Shared};
use crate::lab::json_lines;
use crate::lab::population::Event;

/// The largest document that may be given in place of an answer.
const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// The answer of `GET /lab/state`.
#[derive(Debug, Clone, Serialize)]
pub struct ProvinceState {
    #[serde(flatten)]
    pub counts: ProvinceCounts,
    /// Changes that the background still makes.
    pub changes_left: u64,
    /// Changes made since the start, by the background or on request.
    pub changes_made: u64,
    pub requests_served: u64,
    pub misbehaviour: Vec<MisbehaviourRule>,
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/lab/state", get(state))
        .route("/lab/expected", get(expected))
        .route("/lab/packets", get(packets))
        .route("/lab/misbehave", post(misbehave))
        .route("/lab/dossiers", post(dossiers))
        .route("/lab/answer", post(answer).layer(DefaultBodyLimit::max(ANSWER_BYTES_MAX)))
}

async fn state(State(shared): State<Arc<Shared>>) -> Json<ProvinceState> {
    let _witness = shared.lifetime.witness();
    Json(shared.state())
}

async fn expected(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let _witness = shared.lifetime.witness();
    json_lines(move |after: Option<&str>| {
        let page = shared.store().expected_after(after, 1_000);
        let last = page.last().map(|dossier| dossier.code.clone());
        (page, last)
    })
}

async fn packets(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let _witness = shared.lifetime.witness();
    json_lines(move |after: Option<&str>| {
        let page = shared.store().packets_after(after, 200);
        let last = page.last().map(|dossier| dossier.packet.ma_ho_so.clone().into_owned());
        (page, last)
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Misbehave {
    /// Forget every rule in force first.
    #[serde(default)]
    clear: bool,
    #[serde(default)]
    rules: Vec<MisbehaviourRule>,
}

async fn misbehave(State(shared): State<Arc<Shared>>, body: Bytes) -> Response<Body> {
    let _witness = shared.lifetime.witness();
    match serde_json::from_slice::<Misbehave>(&body) {
        Ok(order) => {
            if order.clear {
                shared.clear_misbehaviour();
            }
            for rule in order.rules {
                shared.misbehave(rule);
            }
            reply(StatusCode::OK, &json!({"ok": true}))
        }
        Err(error) => bad_request(&error.to_string()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    #[serde(default)]
    on: Question,
    times: Option<u32>,
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Query(order): Query<Answer>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response<Body> {
    let _witness = shared.lifetime.witness();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or("application/xml").to_owned();
    shared.answer_with(RawAnswer { on: order.on, times: order.times, content_type, bytes });
    reply(StatusCode::OK, &json!({"ok": true}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DossierOrder {
    Evolve(String),
    /// Evolves this many, drawn by chance.
    EvolveAny(u32),
    Reopen(String),
    Withdraw(String),
    Recode(String),
    Delete(String),
    Add(u32),
}

async fn dossiers(State(shared): State<Arc<Shared>>, body: Bytes) -> Response<Body> {
    let _witness = shared.lifetime.witness();
    let Ok(text) = std::str::from_utf8(&body) else {
        return bad_request("the body is not UTF-8");
    };
    if text.trim_start().starts_with('<') {
        return match shared.put_raw(text.trim()) {
            Ok(code) => reply(StatusCode::OK, &json!({"codes": [code]})),
            Err(PutRefused(why)) => bad_request(why),
        };
    }
    let happen = |code: &str, event| shared.happen(code, event).into_iter().collect();
    let codes: Vec<String> = match serde_json::from_str(text) {
        Ok(DossierOrder::Evolve(code)) => happen(&code, Event::Progress),
        Ok(DossierOrder::Reopen(code)) => happen(&code, Event::Reopen),
        Ok(DossierOrder::Withdraw(code)) => happen(&code, Event::Withdraw),
        Ok(DossierOrder::Recode(code)) => happen(&code, Event::Recode),
        Ok(DossierOrder::EvolveAny(count)) => {
            (0..count).filter_map(|_| shared.evolve_any()).collect()
        }
        Ok(DossierOrder::Delete(code)) => shared.delete(&code).into_iter().collect(),
        Ok(DossierOrder::Add(count)) => shared.add(count),
        Err(error) => return bad_request(&error.to_string()),
    };
    if codes.is_empty() {
        return reply(StatusCode::NOT_FOUND, &json!({"error": "no such dossier"}));
    }
    reply(StatusCode::OK, &json!({ "codes": codes }))
}

fn bad_request(why: &str) -> Response<Body> {
    reply(StatusCode::BAD_REQUEST, &json!({ "error": why }))
}

fn reply(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(value.to_string().into())
        .unwrap_or_default()
}
