//! The program that a gateway takes over from: it fills a portal, carelessly, and stops.
//!
//! It reads what the simulated province would have it send (`GET /lab/packets`) and makes ordinary
//! calls to the portal's services, as any other program. On purpose it forgets some dossiers and
//! sends an older text of others, so that whoever takes over has something to find. It keeps no
//! memory: run it once.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::domain::time::Timestamp;
use crate::http::{Http, HttpRequest, Method};

const DOSSIERS_PER_CALL: usize = 20;
const STEPS_PER_CALL: usize = 10;
const TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// What it works with, and how badly.
#[derive(Debug, Clone)]
pub struct OlderSyncOptions {
    /// Base addresses of the laboratories.
    pub province: String,
    pub portal: String,
    pub username: String,
    pub password: String,
    pub dstcode: String,
    /// Share of dossiers that it never sent.
    pub left_out: f64,
    /// Share of dossiers of which it sent an older text.
    pub stale: f64,
    pub seed: u64,
}

/// What it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OlderSyncReport {
    /// It sent every step from before this time, and none after it.
    pub until: Timestamp,
    pub sent: BTreeSet<String>,
    pub left_out: BTreeSet<String>,
    /// Of the sent ones: with an older text.
    pub stale: BTreeSet<String>,
    pub steps: usize,
}

/// Fills the portal once. The cut-over is the second in which it begins.
pub async fn run(
    options: &OlderSyncOptions,
    http: &dyn Http,
    clock: &dyn Clock,
) -> Result<OlderSyncReport, String> {
    let now = clock.now();
    let until = Timestamp::from_portal(&now.to_portal()).unwrap_or(now);
    let mut desk = Desk { options, http, session: Value::Null };
    desk.log_in().await?;
    let mut report = OlderSyncReport {
        until,
        sent: BTreeSet::new(),
        left_out: BTreeSet::new(),
        stale: BTreeSet::new(),
        steps: 0,
    };
    let before = until.to_portal();
    let text = desk.get(&format!("{}/lab/packets", options.province)).await?;
    let mut rng = Rng::with_seed(options.seed);
    let mut packets: Vec<Value> = Vec::new();
    let mut steps: Vec<Vec<Value>> = Vec::new();
    for line in text.lines() {
        let mut dossier: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let code = dossier["packet"]["MaHoSo"].as_str().unwrap_or_default().to_owned();
        if rng.f64() < options.left_out {
            report.left_out.insert(code);
            continue;
        }
        let mut packet = dossier["packet"].take();
        if rng.f64() < options.stale {
            packet["TrichYeuHoSo"] = "Nội dung cũ trước khi đính chính".into();
            report.stale.insert(code.clone());
        }
        packets.push(packet);
        let Value::Array(all) = dossier["steps"].take() else {
            return Err("the province gave no list of steps".to_owned());
        };
        let told: Vec<Value> = all
            .into_iter()
            .filter(|step| step["ThoiDiemXuLy"].as_str().is_some_and(|at| at < before.as_str()))
            .collect();
        report.steps += told.len();
        steps.extend(told.chunks(STEPS_PER_CALL).map(<[Value]>::to_vec));
        report.sent.insert(code);
    }
    for part in packets.chunks(DOSSIERS_PER_CALL) {
        desk.send_dossiers(part).await?;
    }
    for part in steps {
        desk.call("CapNhatTienDoHoSoMC", "False", &part).await?;
    }
    Ok(report)
}

struct Desk<'a> {
    options: &'a OlderSyncOptions,
    http: &'a dyn Http,
    session: Value,
}

impl Desk<'_> {
    async fn log_in(&mut self) -> Result<(), String> {
        let OlderSyncOptions { username, password, .. } = self.options;
        let login = json!({"username": username, "password": password});
        let mut answer = self.post("mapi/login", &login).await?;
        self.session = answer["session"].take();
        if self.session.is_string() { Ok(()) } else { Err(format!("no session: {answer}")) }
    }

    /// Dossiers filed at the portal are known there: those are updates.
    async fn send_dossiers(&self, packets: &[Value]) -> Result<(), String> {
        let (filed, new): (Vec<Value>, Vec<Value>) =
            packets.iter().cloned().partition(|packet| packet["NoiNopHoSo"] == "1");
        for (part, updating) in [(new, "False"), (filed, "True")] {
            if !part.is_empty() {
                self.call("DongBoHoSoMC", updating, &part).await?;
            }
        }
        Ok(())
    }

    async fn call(&self, service: &str, updating: &str, data: &[Value]) -> Result<(), String> {
        let body = json!({
            "session": self.session, "madonvi": "000.00.00.H55", "service": service,
            "isUpdating": updating, "data": data,
        });
        let answer = self.post("mapi/g", &body).await?;
        let message = answer["message"].as_str().unwrap_or_default();
        if message.contains("thành công") {
            Ok(())
        } else {
            Err(format!("{service} was refused: {message}"))
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let url = format!("{}/{path}", self.options.portal);
        let text = self.send(Method::Post, url, body.to_string()).await?;
        serde_json::from_str(&text).map_err(|error| format!("no answer of a portal: {error}"))
    }

    async fn get(&self, url: &str) -> Result<String, String> {
        self.send(Method::Get, url.to_owned(), String::new()).await
    }

    async fn send(&self, method: Method, url: String, body: String) -> Result<String, String> {
        let request = HttpRequest {
            method,
            url,
            headers: vec![("dstcode".to_owned(), self.options.dstcode.clone())],
            body: body.into(),
            timeout: TIMEOUT,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let answer = self.http.send(request).await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("HTTP {}", answer.status));
        }
        String::from_utf8(answer.body.to_vec()).map_err(|error| error.to_string())
    }
}
