//! The control interface of the portal: JSON under `/lab/`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State as Shares};
use axum::http::{Response, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Shared;
use super::catalogue::CatalogueOrder;
use super::faults::{FaultRate, Faults, ScriptedFault};
use super::quota::Quota;
use super::state::{EchoedFields, PortalState};
use crate::lab::digest::PortalRecord;
use crate::lab::json_lines;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/lab/state", get(state))
        .route("/lab/records", get(records))
        .route("/lab/records/{code}", get(record))
        .route("/lab/calls", get(calls))
        .route("/lab/faults", post(faults))
        .route("/lab/forget", post(forget))
        .route("/lab/change", post(change))
        .route("/lab/quota", post(quota))
        .route("/lab/catalogue", post(catalogue))
}

async fn state(Shares(shared): Shares<Arc<Shared>>) -> Json<PortalState> {
    Json(shared.state().view())
}

async fn records(Shares(shared): Shares<Arc<Shared>>) -> Response<Body> {
    json_lines(move |after: Option<&str>| {
        let page = shared.state().records_after(after, 1_000);
        let last = page.last().map(|record| record.code.clone());
        (page, last)
    })
}

#[derive(Debug, Serialize)]
struct WholeRecord {
    #[serde(flatten)]
    record: PortalRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<EchoedFields>,
}

async fn record(Shares(shared): Shares<Arc<Shared>>, Path(code): Path<String>) -> Response<Body> {
    let found = shared.state().record(&code);
    match found {
        Some((record, fields)) => reply(StatusCode::OK, &WholeRecord { record, fields }),
        None => reply(StatusCode::NOT_FOUND, &json!({"error": "no record of this code"})),
    }
}

#[derive(Debug, Deserialize)]
struct About {
    code: Option<String>,
}

async fn calls(Shares(shared): Shares<Arc<Shared>>, Query(about): Query<About>) -> Response<Body> {
    let mut rest = Some(shared.state().calls_about(about.code.as_deref()));
    json_lines(move |_: Option<&str>| match rest.take() {
        Some(calls) => (calls, Some(String::new())),
        None => (Vec::new(), None),
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultOrder {
    /// Forget everything that was set before.
    #[serde(default)]
    clear: bool,
    preset: Option<String>,
    rates: Option<Vec<FaultRate>>,
    #[serde(default)]
    next: Vec<ScriptedFault>,
    #[serde(default)]
    refuse: Vec<Refuse>,
    #[serde(default)]
    accept: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refuse {
    code: String,
    #[serde(default = "default_reason")]
    message: String,
}

fn default_reason() -> String {
    "thủ tục không còn hiệu lực".to_owned()
}

async fn faults(Shares(shared): Shares<Arc<Shared>>, body: Bytes) -> Response<Body> {
    let order: FaultOrder = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => return bad_request(&error.to_string()),
    };
    let preset = match order.preset.as_deref().map(Faults::preset) {
        Some(None) => return bad_request("the presets are none, some and many"),
        Some(preset) => preset,
        None => None,
    };
    let mut state = shared.state();
    if order.clear {
        state.faults = Faults::default();
        state.refused.clear();
    }
    if let Some(preset) = preset {
        state.faults.rates = preset.rates;
    }
    if let Some(rates) = order.rates {
        state.faults.rates = rates;
    }
    state.faults.next.extend(order.next);
    for refuse in order.refuse {
        state.refused.insert(refuse.code, refuse.message);
    }
    for code in order.accept {
        state.refused.remove(&code);
    }
    reply(StatusCode::OK, &state.faults)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forget {
    codes: Vec<String>,
}

async fn forget(Shares(shared): Shares<Arc<Shared>>, body: Bytes) -> Response<Body> {
    match serde_json::from_slice::<Forget>(&body) {
        Ok(order) => {
            let mut state = shared.state();
            let forgotten = order.codes.iter().filter(|code| state.forget(code)).count();
            reply(StatusCode::OK, &json!({ "forgotten": forgotten }))
        }
        Err(error) => bad_request(&error.to_string()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    code: String,
    /// Fields that a read-back in echo mode gives.
    fields: std::collections::BTreeMap<String, String>,
}

async fn change(Shares(shared): Shares<Arc<Shared>>, body: Bytes) -> Response<Body> {
    match serde_json::from_slice::<Change>(&body) {
        Ok(order) if shared.state().change(&order.code, &order.fields) => {
            reply(StatusCode::OK, &json!({ "changed": order.code }))
        }
        Ok(_) => reply(
            StatusCode::NOT_FOUND,
            &json!({"error": "no record of this code, or none that keeps such fields"}),
        ),
        Err(error) => bad_request(&error.to_string()),
    }
}

async fn quota(Shares(shared): Shares<Arc<Shared>>, body: Bytes) -> Response<Body> {
    match serde_json::from_slice::<Quota>(&body) {
        Ok(quota) => {
            let answer = reply(StatusCode::OK, &quota);
            shared.state().set_quota(quota);
            answer
        }
        Err(error) => bad_request(&error.to_string()),
    }
}

async fn catalogue(Shares(shared): Shares<Arc<Shared>>, body: Bytes) -> Response<Body> {
    match serde_json::from_slice::<CatalogueOrder>(&body) {
        Ok(order) => {
            let mut state = shared.state();
            let list = order.list;
            state.catalogue.change(order);
            reply(StatusCode::OK, &json!({ "items": state.catalogue.list(list).len() }))
        }
        Err(error) => bad_request(&error.to_string()),
    }
}

fn bad_request(why: &str) -> Response<Body> {
    reply(StatusCode::BAD_REQUEST, &json!({ "error": why }))
}

fn reply(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(value).unwrap_or_default().into())
        .unwrap_or_default()
}
