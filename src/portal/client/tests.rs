//! The client against a scripted portal: lost answers, sessions, single logins, what leaves and what
//! stays secret.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::clock::ManualClock;
use crate::domain::time::Timestamp;
use crate::http::{HttpAnswer, HttpFailure};
use crate::ids::Chance;
use crate::portal::call::CallOutcome;
use crate::portal::gate::BreakerSettings;
use crate::portal::profile::{Adapter, Bearer, TokenBody};

const OK: &str = r#"{"error_code":0,"message":"Đồng bộ hồ sơ thành công"}"#;
const EXPIRED: &str = r#"{"error_code":"-1","message":"Phiên đăng nhập đã hết hạn"}"#;
const PACKET: &str =
    r#"{"MaHoSo":"H55.242-260126-0001","ChuHoSo":"Nguyễn Văn Thử","SoDienThoai":"0900000123"}"#;

/// Answers logins itself, with a new session each time, and everything else from a script.
#[derive(Default)]
struct ScriptedPortal {
    script: Mutex<VecDeque<Result<HttpAnswer, HttpFailure>>>,
    login: Mutex<Option<String>>,
    bodies: Mutex<Vec<String>>,
    logins: Mutex<u32>,
    token: Mutex<Option<Result<HttpAnswer, HttpFailure>>>,
    tokens: Mutex<u32>,
    /// `Authorization` of every call that had one.
    shown: Mutex<Vec<String>>,
}

impl std::fmt::Debug for ScriptedPortal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScriptedPortal")
    }
}

#[async_trait]
impl Http for ScriptedPortal {
    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        // Somebody else may run while the answer is on its way.
        tokio::task::yield_now().await;
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        self.bodies.lock().unwrap().push(body);
        if request.url.ends_with("/token") {
            let mut tokens = self.tokens.lock().unwrap();
            *tokens += 1;
            let own = self.token.lock().unwrap().clone();
            return own.unwrap_or_else(|| {
                let body = format!(r#"{{"access_token":"token-{tokens}","expires_in":300}}"#);
                answered(200, &body)
            });
        }
        let shown = request.headers.iter().find(|(name, _)| name == "authorization");
        self.shown.lock().unwrap().extend(shown.map(|(_, value)| value.clone()));
        if request.url.contains("/login") {
            let mut logins = self.logins.lock().unwrap();
            *logins += 1;
            let own = self.login.lock().unwrap().clone();
            let body = own.unwrap_or_else(|| {
                format!(r#"{{"error_code":0,"session":"session-{logins}","message":"Thành công"}}"#)
            });
            return answered(200, &body);
        }
        self.script.lock().unwrap().pop_front().unwrap_or_else(|| answered(200, OK))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape that the HTTP door returns")]
fn answered(status: u16, body: &str) -> Result<HttpAnswer, HttpFailure> {
    Ok(HttpAnswer { status, headers: Vec::new(), body: Bytes::copy_from_slice(body.as_bytes()) })
}

struct Stage {
    portal: Portal,
    http: Arc<ScriptedPortal>,
    clock: ManualClock,
}

impl Stage {
    fn new() -> Self {
        let profile = Adapter {
            base_url: "http://adapter.example.invalid/forward".to_owned(),
            auth_path: "mapi/login".to_owned(),
            integration_path: "mapi/g".to_owned(),
            share_path: "mapi/p".to_owned(),
            dstcode: "VN:GOV:000.00.00.G22:vpcpdvcprovider".to_owned(),
            madonvi: "000.00.00.H55".to_owned(),
        };
        Self::with(Arc::new(profile), Token::None)
    }

    /// A platform that asks for tokens; with a login, the portal's session is used behind it.
    fn behind_a_platform(login: &str) -> Self {
        let base_url = "http://lgsp.example.invalid".to_owned();
        let profile = Bearer {
            base_url: base_url.clone(),
            dossiers: "ngsp/DongBoHoSoMC".to_owned(),
            steps: "ngsp/CapNhatTienDoHoSoMC".to_owned(),
            look_up: "ngsp/TraCuuHoSo".to_owned(),
            login: login.to_owned(),
            madonvi: "000.00.00.H55".to_owned(),
        };
        let request = TokenRequest {
            base_url,
            address: "token".to_owned(),
            body: TokenBody::Json,
            client_id_field: "client_id".to_owned(),
            client_id: "h55".to_owned(),
            client_secret_field: "client_secret".to_owned(),
            client_secret: SecretString::from("client sesame"),
            fields: Vec::new(),
        };
        Self::with(Arc::new(profile), Token::Fetched { request, renew_before_ms: 60_000 })
    }

    fn with(profile: Arc<dyn Profile>, token: Token) -> Self {
        let clock = ManualClock::at(Timestamp::from_millis(1_800_000_000_000));
        let http = Arc::new(ScriptedPortal::default());
        let gate = Gate::unlimited(
            BreakerSettings::default(),
            Arc::new(clock.clone()),
            Arc::new(Chance::seeded(42)),
        );
        let settings = PortalSettings {
            profile,
            username: "h55".to_owned(),
            password: SecretString::from("open sesame"),
            token,
            timeout_ms: 6_000,
            session_max_age_ms: 600_000,
            answer_bytes_max: 1 << 20,
        };
        let portal = Portal::new(
            settings,
            Arc::clone(&http) as Arc<dyn Http>,
            Arc::new(clock.clone()),
            Arc::new(gate),
            AnswerPatterns::builtin(),
        );
        Self { portal, http, clock }
    }

    fn next(&self, answer: Result<HttpAnswer, HttpFailure>) {
        self.http.script.lock().unwrap().push_back(answer);
    }

    fn logins(&self) -> u32 {
        *self.http.logins.lock().unwrap()
    }

    fn tokens(&self) -> u32 {
        *self.http.tokens.lock().unwrap()
    }

    fn bodies(&self) -> Vec<String> {
        self.http.bodies.lock().unwrap().clone()
    }

    async fn create(&self) -> Exchange<PushVerdict> {
        self.portal.send_dossiers(Priority::Live, false, &[PACKET]).await
    }
}

fn services(calls: &[Call]) -> Vec<&'static str> {
    calls.iter().map(|call| call.service).collect()
}

fn failed(verdict: &PushVerdict) -> &Failure {
    match verdict {
        PushVerdict::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_accepted_dossier_gives_a_receipt_and_a_record_of_every_call() {
    let stage = Stage::new();
    let exchange = stage.create().await;
    let PushVerdict::Accepted(receipt) = &exchange.verdict else {
        panic!("{exchange:?}");
    };
    assert_eq!(receipt.code, "0");
    assert_eq!(receipt.message, "Đồng bộ hồ sơ thành công");
    assert_eq!(services(&exchange.calls), ["login", "DongBoHoSoMC"]);
    let call = &exchange.calls[1];
    assert_eq!(call.items, 1);
    assert_eq!(call.http_status, Some(200));
    assert_eq!(call.error_code.as_deref(), Some("0"));
    assert_eq!(call.outcome, CallOutcome::Useful);
    assert_eq!(call.sent_bytes, stage.bodies()[1].len() as u64);
    assert_eq!(call.answer_bytes, OK.len() as u64);
    assert_eq!(
        stage.bodies()[1],
        format!(
            r#"{{"session":"session-1","madonvi":"000.00.00.H55","service":"DongBoHoSoMC","isUpdating":"False","data":[{PACKET}]}}"#
        )
    );
}

#[tokio::test]
async fn a_lost_answer_is_ambiguous_and_is_not_sent_again() {
    let stage = Stage::new();
    for (lost, code) in [
        (HttpFailure::TimedOut(Duration::from_secs(6)), codes::TIMEOUT),
        (HttpFailure::Interrupted("reset".to_owned()), codes::INTERRUPTED),
    ] {
        let before = stage.bodies().len();
        stage.next(Err(lost));
        let exchange = stage.create().await;
        let failure = failed(&exchange.verdict);
        assert_eq!(failure.code, code);
        assert_eq!(failure.disposition, Disposition::Ambiguous);
        assert_eq!(exchange.calls.last().unwrap().outcome, CallOutcome::Unknown);
        let pushes =
            stage.bodies()[before..].iter().filter(|body| body.contains("DongBoHoSoMC")).count();
        assert_eq!(pushes, 1);
    }
}

#[tokio::test]
async fn a_session_is_shared_until_it_is_too_old() {
    let stage = Stage::new();
    stage.create().await;
    stage.clock.advance(Duration::from_millis(599_999));
    stage.create().await;
    assert_eq!(stage.logins(), 1);
    stage.clock.advance(Duration::from_millis(1));
    let exchange = stage.create().await;
    assert_eq!(services(&exchange.calls), ["login", "DongBoHoSoMC"]);
    assert_eq!(stage.logins(), 2);
}

#[tokio::test]
async fn a_refused_session_is_renewed_and_the_call_repeated_exactly_once() {
    let stage = Stage::new();
    stage.create().await;
    stage.next(answered(200, EXPIRED));
    let exchange = stage.create().await;
    assert!(matches!(exchange.verdict, PushVerdict::Accepted(_)));
    assert_eq!(services(&exchange.calls), ["DongBoHoSoMC", "login", "DongBoHoSoMC"]);
    assert_eq!(exchange.calls[0].outcome, CallOutcome::SessionRefused);
    let bodies = stage.bodies();
    assert!(bodies[2].contains("session-1") && bodies[4].contains("session-2"));
    // The same packets: only the session differs.
    assert_eq!(exchange.calls[0].body_hash, exchange.calls[2].body_hash);
    assert_eq!(stage.logins(), 2);
}

#[tokio::test]
async fn a_session_refused_twice_holds_the_gate_and_blames_no_dossier() {
    let stage = Stage::new();
    for _ in 0..3 {
        stage.next(answered(200, EXPIRED));
    }
    let exchange = stage.create().await;
    let failure = failed(&exchange.verdict);
    assert_eq!(failure.code, codes::SESSION);
    assert_eq!(failure.disposition, Disposition::Environment);
    assert_eq!(
        services(&exchange.calls),
        ["login", "DongBoHoSoMC", "login", "DongBoHoSoMC", "TraCuuHoSo"]
    );
    let next = stage.create().await;
    assert!(matches!(next.verdict, PushVerdict::NotSent { .. }));
    assert_eq!(next.calls, []);
    assert_eq!(stage.bodies().len(), 5);
}

#[tokio::test]
async fn a_dossier_refused_in_words_about_a_session_holds_up_nobody_else() {
    let stage = Stage::new();
    let poison = r#"{"error_code":-3,"message":"TrichYeuHoSo: 'xin phiên dịch' không hợp lệ"}"#;
    stage.next(answered(200, poison));
    stage.next(answered(200, poison));
    stage.next(answered(200, r#"{"error_code":0,"message":"","result":[]}"#));
    let exchange = stage.create().await;
    let failure = failed(&exchange.verdict);
    assert_eq!(failure.code, codes::REFUSED);
    assert_eq!(failure.disposition, Disposition::Data);
    assert!(stage.bodies()[4].contains(r#""mahoso":"H55.242-260126-0001""#));
    let next = stage.create().await;
    assert!(matches!(next.verdict, PushVerdict::Accepted(_)));
    assert_eq!(stage.logins(), 2);
}

#[tokio::test]
async fn a_look_up_whose_session_is_refused_twice_holds_the_gate() {
    let stage = Stage::new();
    stage.next(answered(200, EXPIRED));
    stage.next(answered(200, EXPIRED));
    let exchange = stage.portal.look_up(Priority::Audit, "H55-1").await;
    let LookUpVerdict::Failed(failure) = exchange.verdict else {
        panic!("{exchange:?}");
    };
    assert_eq!(failure.code, codes::SESSION);
    assert!(matches!(stage.create().await.verdict, PushVerdict::NotSent { .. }));
}

#[tokio::test]
async fn a_hundred_callers_log_in_once() {
    let stage = Stage::new();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let portal = stage.portal.clone();
            tokio::spawn(async move {
                portal.send_dossiers(Priority::Live, true, &[PACKET]).await.verdict
            })
        })
        .collect();
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), PushVerdict::Accepted(_)));
    }
    assert_eq!(stage.logins(), 1);
    assert_eq!(stage.bodies().len(), 101);
}

#[tokio::test]
async fn a_hundred_callers_whose_session_ends_log_in_once_more() {
    let stage = Stage::new();
    stage.create().await;
    for _ in 0..100 {
        stage.next(answered(200, EXPIRED));
    }
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let portal = stage.portal.clone();
            tokio::spawn(async move { portal.send_steps(Priority::Live, &["{}"]).await.verdict })
        })
        .collect();
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), PushVerdict::Accepted(_)));
    }
    assert_eq!(stage.logins(), 2);
}

#[tokio::test]
async fn wrong_credentials_fail_everybody_with_one_login_and_hold_the_gate() {
    let stage = Stage::new();
    *stage.http.login.lock().unwrap() =
        Some(r#"{"error_code":1,"message":"Sai mật khẩu open sesame"}"#.to_owned());
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let portal = stage.portal.clone();
            tokio::spawn(async move { portal.send_steps(Priority::Live, &["{}"]).await })
        })
        .collect();
    for caller in callers {
        let exchange = caller.await.unwrap();
        let (PushVerdict::Failed(failure) | PushVerdict::NotSent { failure, .. }) =
            exchange.verdict
        else {
            panic!("sent without a session");
        };
        assert_eq!(failure.code, codes::CREDENTIALS);
        assert_eq!(failure.disposition, Disposition::Environment);
        assert_eq!(failure.details, "Sai mật khẩu ***");
    }
    assert_eq!(stage.logins(), 1);
    stage.clock.advance(Duration::from_secs(29));
    stage.create().await;
    assert_eq!(stage.logins(), 1);
    *stage.http.login.lock().unwrap() = None;
    // The pause has up to a quarter of chance in it.
    stage.clock.advance(Duration::from_secs(9));
    let exchange = stage.create().await;
    assert!(matches!(exchange.verdict, PushVerdict::Accepted(_)));
}

#[tokio::test]
async fn a_login_whose_answer_is_lost_leaves_no_doubt_about_the_dossier() {
    let stage = Stage::new();
    *stage.http.login.lock().unwrap() = Some("<html>".to_owned());
    let exchange = stage.create().await;
    let failure = failed(&exchange.verdict);
    assert_eq!(failure.code, codes::HTML_ANSWER);
    assert_eq!(failure.disposition, Disposition::Retryable);
    assert_eq!(services(&exchange.calls), ["login"]);
}

#[tokio::test]
async fn those_who_wait_for_a_login_share_its_failure() {
    let stage = Stage::new();
    *stage.http.login.lock().unwrap() = Some("<html>".to_owned());
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let portal = stage.portal.clone();
            tokio::spawn(async move { portal.send_steps(Priority::Live, &["{}"]).await.verdict })
        })
        .collect();
    for caller in callers {
        assert_eq!(failed(&caller.await.unwrap()).code, codes::HTML_ANSWER);
    }
    assert_eq!(stage.logins(), 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_its_login_leaves_it_to_the_next() {
    let stage = Stage::new();
    let mut impatient = Box::pin(stage.create());
    assert!(futures_util::poll!(&mut impatient).is_pending());
    drop(impatient);
    assert!(matches!(stage.create().await.verdict, PushVerdict::Accepted(_)));
}

#[tokio::test]
async fn throttling_closes_the_gate_for_everybody() {
    let stage = Stage::new();
    stage.create().await;
    let mut answer = answered(429, "").unwrap();
    answer.headers.push(("retry-after".to_owned(), "12".to_owned()));
    stage.next(Ok(answer));
    let exchange = stage.create().await;
    assert_eq!(failed(&exchange.verdict).retry_after_ms, Some(12_000));
    let closed_at = stage.clock.now();
    let next = stage.portal.look_up(Priority::Urgent, "H55-1").await;
    let LookUpVerdict::NotSent { until, failure } = next.verdict else {
        panic!("{next:?}");
    };
    assert_eq!(until, closed_at + Duration::from_secs(12));
    assert_eq!(failure.code, codes::THROTTLED);
    stage.clock.advance(Duration::from_secs(12));
    assert!(matches!(stage.create().await.verdict, PushVerdict::Accepted(_)));
}

#[tokio::test]
async fn look_ups_tell_found_from_missing() {
    let stage = Stage::new();
    stage.next(answered(
        200,
        r#"{"error_code":0,"result":[{"MaHoSo":"H55-1","TrangThaiHoSo":"9"}]}"#,
    ));
    stage.next(answered(200, r#"{"error_code":"0","result":[]}"#));
    stage.next(Err(HttpFailure::TimedOut(Duration::from_secs(6))));
    let found = stage.portal.look_up(Priority::Live, "H55-1").await;
    let LookUpVerdict::Found { echoed } = found.verdict else {
        panic!("{found:?}");
    };
    assert_eq!(echoed["TrangThaiHoSo"], "9");
    let missing = stage.portal.look_up(Priority::Live, "H55-1").await;
    assert_eq!(missing.verdict, LookUpVerdict::Missing);
    let lost = stage.portal.look_up(Priority::Live, "H55-1").await;
    let LookUpVerdict::Failed(failure) = lost.verdict else {
        panic!("{lost:?}");
    };
    assert_eq!(failure.disposition, Disposition::Retryable);
}

#[tokio::test]
async fn checking_the_login_always_logs_in() {
    let stage = Stage::new();
    stage.create().await;
    assert_eq!(stage.portal.check_login().await.verdict, Ok(()));
    assert_eq!(stage.logins(), 2);
    *stage.http.login.lock().unwrap() = Some(r#"{"error_code":1}"#.to_owned());
    let failure = stage.portal.check_login().await.verdict.unwrap_err();
    assert_eq!(failure.code, codes::CREDENTIALS);
}

#[tokio::test]
async fn nothing_secret_or_personal_is_shown() {
    let stage = Stage::new();
    stage.next(answered(
        200,
        r#"{"error_code":-3,"message":"Nguyễn Văn Thử (0900000123) sai, session-1, open sesame"}"#,
    ));
    let exchange = stage.create().await;
    let sessions = &stage.portal.inner.sessions;
    let shown = format!("{exchange:?} {sessions:?} {:?}", stage.portal);
    // The words are kept, without what was sent.
    assert!(shown.contains("N. V. T."), "{shown}");
    for secret in ["Nguyễn", "0900000123", "open sesame", "session-1"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn five_failures_on_the_way_close_the_gate() {
    let stage = Stage::new();
    stage.create().await;
    for _ in 0..5 {
        stage.next(Err(HttpFailure::NotSent("refused".to_owned())));
        let exchange = stage.create().await;
        let failure = failed(&exchange.verdict);
        assert_eq!(failure.code, codes::UNREACHABLE);
        assert_eq!(failure.disposition, Disposition::Environment);
    }
    let before = stage.bodies().len();
    let exchange = stage.create().await;
    let PushVerdict::NotSent { failure, .. } = &exchange.verdict else {
        panic!("{exchange:?}");
    };
    assert_eq!(failure.code, codes::BREAKER_OPEN);
    assert_eq!(stage.bodies().len(), before);
}

#[tokio::test]
async fn a_call_whose_tenure_ended_while_it_waited_does_not_leave() {
    let stage = Stage::new();
    stage.create().await;
    let before = stage.bodies().len();

    let late = Tenure {
        check: Arc::new(|| {
            Err(Failure::new("push.late", Disposition::Environment, "the lease is over"))
        }),
        stop: CancellationToken::new(),
    };
    let portal = stage.portal.during(late);
    let exchange = portal.send_dossiers(Priority::Live, false, &[PACKET]).await;
    let PushVerdict::NotSent { failure, .. } = exchange.verdict else { panic!("it left") };
    assert_eq!(failure.code, "push.late");

    let stop = CancellationToken::new();
    stop.cancel();
    let portal = stage.portal.during(Tenure::until(&stop));
    let exchange = portal.look_up(Priority::Audit, "H55.242-260126-0001").await;
    let LookUpVerdict::NotSent { failure, .. } = exchange.verdict else { panic!("it left") };
    assert_eq!(failure.code, codes::STOPPING);

    assert_eq!(stage.bodies().len(), before);
    // Nobody else is kept from sending.
    assert!(matches!(stage.create().await.verdict, PushVerdict::Accepted(_)));
}

const NO_TOKEN: &str = r#"{"code":401,"status":"INVALID_TOKEN","correlationId":"c-401"}"#;

#[tokio::test]
async fn one_token_serves_everybody_and_is_renewed_before_it_ends() {
    let stage = Stage::behind_a_platform("");
    let (one, other) = tokio::join!(stage.create(), stage.create());
    assert!(matches!(one.verdict, PushVerdict::Accepted(_)), "{one:?}");
    assert!(matches!(other.verdict, PushVerdict::Accepted(_)), "{other:?}");
    assert_eq!((stage.tokens(), stage.logins()), (1, 0));
    // 300 s of life less the margin of 60.
    stage.clock.advance(Duration::from_secs(239));
    stage.create().await;
    assert_eq!(stage.tokens(), 1);
    stage.clock.advance(Duration::from_secs(1));
    let exchange = stage.create().await;
    assert_eq!(services(&exchange.calls), ["token", "DongBoHoSoMC"]);
    let shown = stage.http.shown.lock().unwrap().clone();
    assert_eq!(shown.last().unwrap(), "Bearer token-2");
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_call_repeated() {
    for refusal in [answered(401, "expired"), answered(200, NO_TOKEN)] {
        let stage = Stage::behind_a_platform("");
        stage.next(refusal);
        let exchange = stage.create().await;
        assert!(matches!(exchange.verdict, PushVerdict::Accepted(_)), "{exchange:?}");
        assert_eq!(services(&exchange.calls), ["token", "DongBoHoSoMC", "token", "DongBoHoSoMC"]);
    }
}

#[tokio::test]
async fn a_token_that_is_refused_twice_pauses_everything_and_is_nobodys_fault() {
    let stage = Stage::behind_a_platform("");
    for _ in 0..2 {
        stage.next(answered(200, NO_TOKEN));
    }
    let exchange = stage.create().await;
    let failure = failed(&exchange.verdict);
    assert_eq!(
        (failure.code.as_str(), failure.disposition),
        (codes::TOKEN, Disposition::Environment)
    );
    assert!(failure.details.ends_with("correlationId c-401"), "{}", failure.details);
    assert_eq!(exchange.calls[1].correlation_id.as_deref(), Some("c-401"));
    assert_eq!(stage.portal.gate().status().state, "closed");
    let exchange = stage.create().await;
    assert!(matches!(exchange.verdict, PushVerdict::NotSent { .. }), "{exchange:?}");
}

#[tokio::test]
async fn a_token_that_is_not_given_is_told_to_everybody_who_waited_for_it() {
    let stage = Stage::behind_a_platform("");
    *stage.http.token.lock().unwrap() =
        Some(answered(400, r#"{"error":"invalid_client","error_description":"client sesame"}"#));
    let (one, other) = tokio::join!(stage.create(), stage.create());
    for exchange in [&one, &other] {
        match &exchange.verdict {
            PushVerdict::Failed(failure) | PushVerdict::NotSent { failure, .. } => {
                assert_eq!(failure.disposition, Disposition::Environment);
            }
            verdict => panic!("{verdict:?}"),
        }
        assert!(!format!("{exchange:?}").contains("sesame"), "{exchange:?}");
    }
    assert_eq!(stage.tokens(), 1);
}

#[tokio::test]
async fn behind_a_platform_the_portals_own_session_is_used_where_it_is_passed_on() {
    let stage = Stage::behind_a_platform("ngsp/login");
    stage.next(answered(200, &format!(r#"{{"code":200,"response":{EXPIRED}}}"#)));
    let exchange = stage.create().await;
    assert!(matches!(exchange.verdict, PushVerdict::Accepted(_)), "{exchange:?}");
    assert_eq!(
        services(&exchange.calls),
        ["token", "login", "DongBoHoSoMC", "login", "DongBoHoSoMC"]
    );
    let last = stage.bodies().pop().unwrap();
    assert!(last.starts_with(r#"{"session":"session-2","madonvi""#), "{last}");
    assert!(stage.http.shown.lock().unwrap().iter().all(|shown| shown == "Bearer token-1"));
    let tried = stage.portal.check_login().await;
    assert_eq!((tried.verdict, services(&tried.calls)), (Ok(()), vec!["token", "login"]));
}

#[tokio::test]
async fn a_session_that_somebody_else_keeps_is_asked_about_before_the_packets_are_blamed() {
    // The look-up works: the words were about the packets.
    let stage = Stage::behind_a_platform("");
    stage.next(answered(200, EXPIRED));
    stage.next(answered(200, r#"{"error_code":0,"message":"","result":[]}"#));
    let exchange = stage.create().await;
    assert_eq!(failed(&exchange.verdict).disposition, Disposition::Data);
    // It does not: everybody would meet the same.
    let stage = Stage::behind_a_platform("");
    stage.next(answered(200, EXPIRED));
    stage.next(answered(200, EXPIRED));
    let exchange = stage.create().await;
    let failure = failed(&exchange.verdict);
    assert_eq!(
        (failure.code.as_str(), failure.disposition),
        (codes::SESSION, Disposition::Environment)
    );
    assert_eq!(stage.portal.gate().status().state, "closed");
}

#[test]
fn a_short_lived_token_is_used_for_half_of_its_life() {
    let used = |seconds, margin_ms| admission::used_life(Duration::from_secs(seconds), margin_ms);
    assert_eq!(used(300, 60_000), Duration::from_mins(4));
    assert_eq!(used(60, 60_000), Duration::from_secs(30));
    assert_eq!(used(1, 60_000), Duration::from_millis(500));
    assert_eq!(used(300, 0), Duration::from_mins(5));
}
