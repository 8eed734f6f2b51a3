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
        let clock = ManualClock::at(Timestamp::from_millis(1_800_000_000_000));
        let http = Arc::new(ScriptedPortal::default());
        let gate = Gate::unlimited(
            BreakerSettings::default(),
            Arc::new(clock.clone()),
            Arc::new(Chance::seeded(42)),
        );
        let settings = PortalSettings {
            base_url: "http://adapter.example.invalid/forward".to_owned(),
            auth_path: "mapi/login".to_owned(),
            integration_path: "mapi/g".to_owned(),
            share_path: "mapi/p".to_owned(),
            dstcode: "VN:GOV:000.00.00.G22:vpcpdvcprovider".to_owned(),
            madonvi: "000.00.00.H55".to_owned(),
            username: "h55".to_owned(),
            password: SecretString::from("open sesame"),
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
