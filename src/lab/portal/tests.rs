//! The portal over HTTP.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::domain::time::Timestamp;
use crate::http::{Http, HttpAnswer, HttpFailure, HttpRequest, Method, ReqwestHttp};
use crate::lab::digest::{ExpectedDossier, compare};
use crate::lab::population::{LabDossier, Population, PopulationOptions};

struct Desk {
    portal: LabPortal,
    clock: ManualClock,
    http: ReqwestHttp,
    session: String,
}

impl Desk {
    async fn open(options: PortalOptions) -> Self {
        let clock = ManualClock::at(Timestamp::from_portal("20260126160000").unwrap());
        let portal = start(options, Arc::new(clock.clone())).await.unwrap();
        let mut desk = Self {
            portal,
            clock,
            http: ReqwestHttp::new(Duration::from_secs(5), 4).unwrap(),
            session: String::new(),
        };
        desk.log_in().await;
        desk
    }

    async fn log_in(&mut self) {
        let defaults = PortalOptions::default();
        let answer = self
            .post(
                "/mapi/login",
                &json!({"username": defaults.username, "password": defaults.password}),
            )
            .await;
        self.session = answer["session"].as_str().unwrap_or_default().to_owned();
    }

    async fn try_send(&self, path: &str, body: &Value) -> Result<HttpAnswer, HttpFailure> {
        self.http
            .send(HttpRequest {
                method: Method::Post,
                url: format!("{}{path}", self.portal.url()),
                headers: vec![(
                    "dstcode".to_owned(),
                    "VN:GOV:000.00.00.G22:vpcpdvcprovider".to_owned(),
                )],
                body: body.to_string().into(),
                timeout: Duration::from_secs(20),
                answer_bytes_max: 10_000_000,
            })
            .await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.try_send(path, body).await.unwrap();
        assert_eq!(answer.status, 200);
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn envelope(&self, service: &str, rest: &Value) -> Value {
        let mut body = json!({
            "session": self.session, "madonvi": "000.00.00.H55", "service": service,
        });
        for (key, value) in rest.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    fn dossier_body(&self, dossiers: &[&LabDossier], updating: &str) -> Value {
        let data: Vec<_> = dossiers.iter().map(|dossier| &dossier.packet).collect();
        self.envelope("DongBoHoSoMC", &json!({"isUpdating": updating, "data": data}))
    }

    async fn push(&self, dossiers: &[&LabDossier], updating: &str) -> Value {
        let body = self.dossier_body(dossiers, updating);
        self.post("/mapi/g", &body).await
    }

    async fn push_steps(&self, dossier: &LabDossier) -> Value {
        let body = self.envelope("CapNhatTienDoHoSoMC", &json!({"data": dossier.steps}));
        self.post("/mapi/g", &body).await
    }

    async fn look_up(&self, code: &str) -> Value {
        let body = self.envelope("TraCuuHoSo", &json!({"mahoso": code}));
        self.post("/mapi/g", &body).await
    }

    async fn close(self) {
        self.portal.shutdown().await.unwrap();
    }
}

fn code_of(answer: &Value) -> i64 {
    match &answer["error_code"] {
        Value::String(text) => text.parse().unwrap(),
        number => number.as_i64().unwrap(),
    }
}

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap()
}

/// Sound dossiers, all filed at the province.
fn dossiers(count: usize) -> Vec<LabDossier> {
    let population = population();
    (0..)
        .map(|index| population.grow(index))
        .filter(|dossier| dossier.packet.noi_nop_ho_so == "2")
        .take(count)
        .collect()
}

fn filed_at_portal() -> LabDossier {
    let population = population();
    (0..100)
        .map(|index| population.grow(index))
        .find(|dossier| dossier.packet.noi_nop_ho_so == "1")
        .unwrap()
}

fn population() -> Population {
    let options = PopulationOptions {
        invalid_share: 0.0,
        ministry_share: 0.0,
        ..PopulationOptions::default()
    };
    Population::new(options, Timestamp::from_portal("20260126160000").unwrap())
}

fn code(dossier: &LabDossier) -> String {
    dossier.packet.ma_ho_so.clone().into_owned()
}

#[tokio::test]
async fn what_is_delivered_whole_compares_clean() {
    let desk = Desk::open(PortalOptions::default()).await;
    let dossiers = dossiers(5);
    for dossier in &dossiers {
        let answer = desk.push(&[dossier], "False").await;
        assert_eq!(code_of(&answer), 0);
        assert_eq!(message(&answer), "Đồng bộ hồ sơ thành công");
        assert_eq!(code_of(&desk.push_steps(dossier).await), 0);
    }
    let expected: Vec<ExpectedDossier> =
        dossiers.iter().map(|dossier| dossier.expected().unwrap()).collect();
    let result = compare(&expected, &desk.portal.records());
    assert!(result.is_clean(), "{result:?}");
    assert_eq!(desk.portal.state().useful, 10);
    desk.close().await;
}

#[tokio::test]
async fn a_second_create_exists_and_an_update_of_a_stranger_does_not() {
    let desk = Desk::open(PortalOptions::default()).await;
    let list = dossiers(2);
    desk.push(&[&list[0]], "False").await;
    let mut codes = BTreeSet::new();
    for _ in 0..3 {
        let answer = desk.push(&[&list[0]], "False").await;
        assert!(message(&answer).ends_with("đã tồn tại"));
        assert!(message(&answer).contains(&code(&list[0])));
        codes.insert(code_of(&answer));
    }
    assert_eq!(codes, BTreeSet::from([-3, 0, 3]));
    let stranger = desk.push(&[&list[1]], "True").await;
    assert_ne!(code_of(&stranger), 0);
    assert!(message(&stranger).ends_with("chưa tồn tại trên hệ thống"));
    let early = desk.push_steps(&list[1]).await;
    assert_ne!(code_of(&early), 0);
    assert!(message(&early).contains("chưa tồn tại"));
    assert_eq!(desk.portal.state().records, 1);
    desk.close().await;
}

#[tokio::test]
async fn the_portal_knows_what_was_filed_there() {
    let dossier = filed_at_portal();
    let desk = Desk::open(PortalOptions::default()).await;
    assert!(message(&desk.push(&[&dossier], "False").await).contains("đã tồn tại"));
    assert_eq!(code_of(&desk.push(&[&dossier], "True").await), 0);
    desk.close().await;

    let desk = Desk::open(PortalOptions {
        preregistered: Preregistered::Listed(BTreeSet::from([code(&dossier)])),
        ..PortalOptions::default()
    })
    .await;
    assert_eq!(desk.look_up(&code(&dossier)).await["result"][0]["MaHoSo"], code(&dossier));
    assert!(desk.portal.records().is_empty());
    desk.close().await;

    let desk = Desk::open(PortalOptions {
        preregistered: Preregistered::Nobody,
        ..PortalOptions::default()
    })
    .await;
    assert_ne!(code_of(&desk.push(&[&dossier], "True").await), 0);
    desk.close().await;
}

#[tokio::test]
async fn refusals_name_the_field_and_the_dossier_when_it_is_alone() {
    let desk = Desk::open(PortalOptions::default()).await;
    let mut list = dossiers(2);
    list[1].packet.trang_thai_ho_so = "77".into();
    let alone = desk.push(&[&list[1]], "False").await;
    assert!(matches!(code_of(&alone), 3 | -3));
    assert_eq!(
        message(&alone),
        format!("Dữ liệu không hợp lệ: TrangThaiHoSo (MaHoSo {})", code(&list[1]))
    );
    let batch = desk.push(&[&list[0], &list[1]], "False").await;
    assert_eq!(message(&batch), "Dữ liệu không hợp lệ: TrangThaiHoSo");
    assert_eq!(desk.portal.state().records, 0, "a batch is all or nothing");
    let mut body = desk.dossier_body(&[&list[0]], "False");
    body["data"][0]["KhongCo"] = json!("");
    assert!(message(&desk.post("/mapi/g", &body).await).contains("KhongCo"));
    let mut body = desk.dossier_body(&[&list[0]], "False");
    body["data"][0]["LoaiDoiTuong"] = json!(1);
    assert!(message(&desk.post("/mapi/g", &body).await).contains("LoaiDoiTuong"));
    let mut body = desk.dossier_body(&[&list[0]], "False");
    body["data"][0].as_object_mut().unwrap().remove("Fax");
    assert!(message(&desk.post("/mapi/g", &body).await).contains("Fax"));
    let mut body = desk.dossier_body(&[&list[0]], "False");
    body["isUpdating"] = json!(false);
    assert!(message(&desk.post("/mapi/g", &body).await).contains("isUpdating"));
    desk.close().await;
}

#[tokio::test]
async fn a_refused_batch_can_leave_its_beginning_behind() {
    let desk = Desk::open(PortalOptions {
        on_refused_steps: OnRefusal::PrefixApplied,
        ..PortalOptions::default()
    })
    .await;
    let mut dossier = dossiers(1).remove(0);
    desk.push(&[&dossier], "False").await;
    let whole = dossier.steps.len();
    assert!(whole > 1);
    dossier.steps[whole - 1].nguoi_xu_ly = "".into();
    let answer = desk.push_steps(&dossier).await;
    assert_ne!(code_of(&answer), 0);
    assert_eq!(desk.portal.records()[0].steps.len(), whole - 1);
    desk.close().await;
}

#[tokio::test]
async fn repeated_steps_are_kept_or_dropped_and_always_counted() {
    for (step_mode, copies) in [(StepMode::Append, 2), (StepMode::Dedupe, 1)] {
        let desk = Desk::open(PortalOptions { step_mode, ..PortalOptions::default() }).await;
        let dossier = dossiers(1).remove(0);
        desk.push(&[&dossier], "False").await;
        desk.push_steps(&dossier).await;
        desk.push_steps(&dossier).await;
        let steps = dossier.steps.len();
        assert_eq!(desk.portal.records()[0].steps.len(), copies * steps);
        let duplicated = desk.portal.state().duplicated_steps;
        assert_eq!(duplicated, u64::try_from(steps).unwrap());
        desk.close().await;
    }
}

#[tokio::test]
async fn a_session_lasts_its_minutes_on_the_clock() {
    let mut desk = Desk::open(PortalOptions::default()).await;
    desk.clock.advance(Duration::from_secs(599));
    assert_eq!(code_of(&desk.look_up("H55-260126-00001").await), 0);
    desk.clock.advance(Duration::from_secs(1));
    let late = desk.look_up("H55-260126-00001").await;
    assert_eq!(code_of(&late), -1);
    assert_eq!(message(&late), "Phiên đăng nhập không hợp lệ hoặc đã hết hạn");
    desk.log_in().await;
    assert_eq!(code_of(&desk.look_up("H55-260126-00001").await), 0);
    assert_eq!(desk.portal.state().sessions_issued, 2);

    let wrong = desk.post("/mapi/login", &json!({"username": "x", "password": "y"})).await;
    assert_eq!(code_of(&wrong), 1);
    assert!(wrong.get("session").is_none());
    desk.close().await;
}

#[tokio::test]
async fn a_read_back_tells_existence_or_echoes() {
    let dossier = dossiers(1).remove(0);
    for (read_back, echoes) in [(ReadBack::Existence, false), (ReadBack::Echo, true)] {
        let desk = Desk::open(PortalOptions { read_back, ..PortalOptions::default() }).await;
        assert_eq!(desk.look_up(&code(&dossier)).await["result"], json!([]));
        desk.push(&[&dossier], "False").await;
        let found = desk.look_up(&code(&dossier)).await;
        let item = &found["result"][0];
        assert_eq!(item["MaHoSo"], code(&dossier));
        let status = item.get("TrangThaiHoSo").and_then(Value::as_str);
        assert_eq!(status, echoes.then_some(&*dossier.packet.trang_thai_ho_so));
        desk.close().await;
    }
}

#[tokio::test]
async fn codes_take_turns_between_number_and_text() {
    let desk = Desk::open(PortalOptions::default()).await;
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(desk.look_up("H55-260126-00001").await["error_code"].is_string());
    }
    assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]));
    desk.portal.inject(ScriptedFault::next(Fault::CodeAsString).times(2));
    for _ in 0..2 {
        assert!(desk.look_up("H55-260126-00001").await["error_code"].is_string());
    }
    desk.close().await;
}

#[tokio::test]
async fn a_call_without_its_address_is_answered_by_the_adapter() {
    let desk = Desk::open(PortalOptions::default()).await;
    let send = async |path: &str| {
        let answer = desk
            .http
            .send(HttpRequest {
                method: Method::Post,
                url: format!("{}{path}", desk.portal.url()),
                headers: Vec::new(),
                body: "{}".into(),
                timeout: Duration::from_secs(20),
                answer_bytes_max: 10_000,
            })
            .await
            .unwrap();
        String::from_utf8(answer.body.to_vec()).unwrap()
    };
    assert!(send("/mapi/g").await.contains("SOAP Fault"));
    assert!(send("/mapi/g?dstcode=another").await.contains("SOAP Fault"));
    let forwarded = "/XrdAdapter/RestService/forward/mapi/p\
        ?dstcode=VN%3AGOV%3A000.00.00.G22%3Avpcpdvcprovider";
    assert!(send(forwarded).await.contains("error_code"));
    desk.close().await;
}

#[tokio::test]
async fn every_call_counts_against_the_quota() {
    let mut desk = Desk::open(PortalOptions::default()).await;
    desk.portal.set_quota(Quota {
        windows: vec![Window { limit: 3, window_ms: 1_000, kind: WindowKind::SlidingAccepted }],
        retry_after: true,
    });
    desk.log_in().await;
    desk.look_up("H55-260126-00001").await;
    desk.look_up("H55-260126-00001").await;
    let body = desk.envelope("TraCuuHoSo", &json!({"mahoso": "x"}));
    let refused = desk.try_send("/mapi/g", &body).await.unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    desk.clock.advance(Duration::from_secs(1));
    desk.look_up("H55-260126-00001").await;
    let state = desk.portal.state();
    assert_eq!((state.refused_by_quota, state.overshoots), (1, 1));
    assert_eq!(state.windows[0].busiest, 4);
    desk.close().await;
}

#[tokio::test]
async fn a_dropped_request_changes_nothing_and_a_dropped_answer_everything() {
    let desk = Desk::open(PortalOptions::default()).await;
    let list = dossiers(4);
    for (dossier, fault, applied) in [
        (&list[0], Fault::DropRequest, false),
        (&list[1], Fault::ApplyThenDrop, true),
        (&list[2], Fault::ResetMidBody, true),
    ] {
        desk.portal.inject(ScriptedFault::next(fault.clone()));
        let body = desk.dossier_body(&[dossier], "False");
        let failure = desk.try_send("/mapi/g", &body).await.unwrap_err();
        assert!(matches!(failure, HttpFailure::Interrupted(_)), "{fault:?}: {failure:?}");
        let entry = desk.portal.calls(None).pop().unwrap();
        assert_eq!(entry.fault, Some(fault.name()));
        assert!(!entry.answered);
        let known = desk.portal.record(&code(dossier)).is_some();
        assert_eq!(known, applied, "{fault:?}");
    }
    let entry = &desk.portal.calls(Some(&code(&list[1])))[0];
    assert_eq!(entry.outcome, Outcome::Accepted);
    assert_eq!(entry.digests, [list[1].expected().unwrap().digest]);
    desk.close().await;
}

#[tokio::test]
async fn answers_can_be_anything_but_the_answer() {
    let desk = Desk::open(PortalOptions::default()).await;
    let list = dossiers(12);
    let mut next = list.iter();
    let mut strike = async |fault: Fault| {
        let dossier = next.next().unwrap();
        desk.portal.inject(ScriptedFault::next(fault).about(&code(dossier)));
        let body = desk.dossier_body(&[dossier], "False");
        let answer = desk.try_send("/mapi/g", &body).await.unwrap();
        let applied = desk.portal.record(&code(dossier)).is_some();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        (answer.status, text, applied)
    };
    let (status, _, applied) = strike(Fault::TooManyRequests { retry_after_s: Some(9) }).await;
    assert_eq!((status, applied), (429, false));
    for applies in [false, true] {
        let (status, text, applied) = strike(Fault::Status { status: 502, applied: applies }).await;
        assert!(status == 502 && text.starts_with("<html>"));
        assert_eq!(applied, applies);
        let (status, text, applied) = strike(Fault::Html { applied: applies }).await;
        assert!(status == 200 && text.starts_with("<html>"));
        assert_eq!(applied, applies);
        let (status, text, applied) = strike(Fault::SoapFault { applied: applies }).await;
        assert!(status == 200 && text.contains("SOAP Fault"));
        assert_eq!(applied, applies);
        let (status, text, applied) = strike(Fault::EmptyBody { applied: applies }).await;
        assert!(status == 200 && text.is_empty());
        assert_eq!(applied, applies);
    }
    let (_, text, applied) = strike(Fault::DoubleEncoded).await;
    assert!(text.starts_with("{\"message\":\"{\\\"error_code\\\"") && applied);
    desk.close().await;
}

#[tokio::test]
async fn slow_answers_wait_on_the_clock_after_the_call_was_applied() {
    for fault in [Fault::Delay { ms: 7_000 }, Fault::SlowBody { ms: 7_000 }] {
        let desk = Desk::open(PortalOptions::default()).await;
        let dossier = dossiers(1).remove(0);
        desk.portal.inject(ScriptedFault::next(fault));
        let list = [&dossier];
        let answer = {
            let push = desk.push(&list, "False");
            tokio::pin!(push);
            while desk.portal.state().records == 0 {
                tokio::select! {
                    answer = &mut push => panic!("too early: {answer}"),
                    () = tokio::task::yield_now() => {}
                }
            }
            loop {
                desk.clock.advance(Duration::from_secs(1));
                tokio::select! {
                    answer = &mut push => break answer,
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        assert_eq!(code_of(&answer), 0);
        desk.close().await;
    }
}

#[tokio::test]
async fn a_call_can_be_applied_long_after_its_connection_is_gone() {
    let desk = Desk::open(PortalOptions::default()).await;
    let dossier = dossiers(1).remove(0);
    desk.portal.inject(ScriptedFault::next(Fault::ApplyLater { ms: 60_000 }));
    let body = desk.dossier_body(&[&dossier], "False");
    assert!(desk.try_send("/mapi/g", &body).await.is_err());
    assert_eq!(desk.portal.state().records, 0);
    while desk.portal.state().records == 0 {
        desk.clock.advance(Duration::from_mins(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(desk.portal.calls(Some(&code(&dossier))).len(), 2);
    desk.close().await;
}

#[tokio::test]
async fn sessions_can_end_and_records_can_be_forgotten_at_any_time() {
    let mut desk = Desk::open(PortalOptions::default()).await;
    let dossier = dossiers(1).remove(0);
    desk.push(&[&dossier], "False").await;
    desk.portal.inject(ScriptedFault::next(Fault::SessionExpired));
    assert_eq!(code_of(&desk.push(&[&dossier], "True").await), -1);
    desk.log_in().await;
    desk.portal.inject(ScriptedFault::next(Fault::Forget));
    let answer = desk.push(&[&dossier], "True").await;
    assert!(message(&answer).contains("chưa tồn tại"));
    desk.push(&[&dossier], "False").await;
    assert!(desk.portal.forget(&code(&dossier)));
    assert!(!desk.portal.forget(&code(&dossier)));
    assert_eq!(desk.look_up(&code(&dossier)).await["result"], json!([]));
    desk.close().await;
}

#[tokio::test]
async fn a_dossier_can_be_refused_until_it_is_accepted() {
    let desk = Desk::open(PortalOptions::default()).await;
    let list = dossiers(2);
    desk.portal.refuse(&code(&list[1]), "thủ tục không còn hiệu lực");
    for _ in 0..2 {
        let answer = desk.push(&[&list[0], &list[1]], "False").await;
        assert_eq!(message(&answer), "Hồ sơ bị từ chối: thủ tục không còn hiệu lực");
    }
    assert_eq!(desk.portal.state().records, 0);
    desk.portal.accept(&code(&list[1]));
    assert_eq!(code_of(&desk.push(&[&list[0], &list[1]], "False").await), 0);
    assert_eq!(desk.portal.state().records, 2);
    desk.close().await;
}

#[tokio::test]
async fn everything_can_be_asked_and_ordered_over_http() {
    let desk = Desk::open(PortalOptions { keep_fields: true, ..PortalOptions::default() }).await;
    let dossier = dossiers(1).remove(0);
    desk.push(&[&dossier], "False").await;
    let get = async |path: &str| {
        let answer = desk
            .http
            .send(HttpRequest {
                method: Method::Get,
                url: format!("{}{path}", desk.portal.url()),
                headers: Vec::new(),
                body: Bytes::new(),
                timeout: Duration::from_secs(20),
                answer_bytes_max: 1_000_000,
            })
            .await
            .unwrap();
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    };
    let (_, state) = get("/lab/state").await;
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["outcomes"]["DongBoHoSoMC"]["accepted"], 1);
    let (_, records) = get("/lab/records").await;
    let record: PortalRecord = serde_json::from_str(records.trim()).unwrap();
    assert_eq!(vec![record], desk.portal.records());
    let (_, one) = get(&format!("/lab/records/{}", code(&dossier))).await;
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["fields"]["MaTTHC"], *dossier.packet.ma_tthc);
    assert_eq!(get("/lab/records/none").await.0, 404);
    let (_, calls) = get(&format!("/lab/calls?code={}", code(&dossier))).await;
    assert_eq!(calls.lines().count(), 1);

    let order = json!({"preset": "many", "next": [{"kind": "html"}], "refuse": [{"code": "x"}]});
    let faults = desk.post("/lab/faults", &order).await;
    assert!(faults["rates"].as_array().unwrap().len() > 5);
    assert_eq!(faults["next"][0]["kind"], "html");
    let cleared = desk.post("/lab/faults", &json!({"clear": true})).await;
    assert_eq!(cleared, json!({"rates": [], "next": []}));
    let unknown = desk.try_send("/lab/faults", &json!({"preset": "most"})).await;
    assert_eq!(unknown.unwrap().status, 400);
    let forgotten = desk.post("/lab/forget", &json!({"codes": [code(&dossier), "x"]})).await;
    assert_eq!(forgotten["forgotten"], 1);
    let quota = json!({"windows": [{"limit": 0, "window_ms": 1000, "kind": "calendar"}]});
    desk.post("/lab/quota", &quota).await;
    let body = desk.envelope("TraCuuHoSo", &json!({"mahoso": "x"}));
    assert_eq!(desk.try_send("/mapi/g", &body).await.unwrap().status, 429);
    desk.close().await;
}
