//! The portal's answers, through the portal's own client and each way there: nothing is believed that
//! was not said, and nothing that was sent comes back in words.

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use hoso_gateway::clock::ManualClock;
use hoso_gateway::domain::failure::{Disposition, Failure};
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::http::{Http, HttpAnswer, HttpFailure, HttpRequest};
use hoso_gateway::ids::Chance;
use hoso_gateway::portal::profile::{Adapter, Bearer, SecretPlace, Wrapper};
use hoso_gateway::portal::{
    AnswerPatterns, BreakerSettings, Call, Catalogue, CatalogueVerdict, Gate, LookUpVerdict,
    Portal, PortalSettings, PushVerdict, Token,
};
use secrecy::SecretString;
use serde_json::Value;

use super::{assert_told, files};

const CODE: &str = "H55.242-260126-0001";
const PACKET: &str = r#"{"MaHoSo":"H55.242-260126-0001","ChuHoSo":"Nguyễn Văn Thử","SoDienThoai":"0900000123","Email":"thu@example.invalid","DanhSachDinhDanh":[{"SoDinhDanh":"999000000123"}]}"#;
/// Of a person, in the packet that was sent.
const PERSONAL: [&str; 4] = ["Nguyễn Văn Thử", "0900000123", "thu@example.invalid", "999000000123"];
const PASSWORD: &str = "mat-khau-kin";
const TOKEN: &str = "the-bai-kin";
const SESSION: &str = "phien-lam-viec-kin";

/// Read once: reading them takes longer than everything else here.
static PATTERNS: LazyLock<AnswerPatterns> = LazyLock::new(AnswerPatterns::builtin);

const STATUSES: [u16; 12] = [200, 200, 200, 201, 204, 302, 400, 401, 404, 429, 500, 503];
const QUESTIONS: u8 = 8;
const WAYS: u8 = 4;
/// Calls of one question at most: a login, the question, and both once more.
const CALLS_MAX: usize = 6;

pub(super) fn seeds(root: &Path) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for file in files(&root.join("fixtures/portal")) {
        for selector in 0..QUESTIONS * WAYS {
            seeds.push([&[b'0' + selector, b'0'], file.as_slice()].concat());
        }
    }
    seeds
}

/// Question and way, HTTP status, body.
pub(super) fn check(bytes: &[u8]) {
    let [selector, status, body @ ..] = bytes else { return };
    let selector = selector.wrapping_sub(b'0');
    let (question, way) = (selector % QUESTIONS, selector / QUESTIONS % WAYS);
    let status = STATUSES[usize::from(status.wrapping_sub(b'0')) % STATUSES.len()];
    let http = Arc::new(Canned {
        status,
        body: Bytes::copy_from_slice(body),
        login_is_sound: question != 6,
        sent: Mutex::default(),
    });
    let portal = portal(way, Arc::clone(&http) as Arc<dyn Http>);
    let class = Priority::Live;
    let secrets = secrets(question, way);
    let calls = match question {
        0..=2 => {
            let exchange = match question {
                0 => portal.send_dossiers(class, false, &[PACKET]).now_or_never(),
                1 => portal.send_dossiers(class, true, &[PACKET]).now_or_never(),
                _ => portal.send_steps(class, &[PACKET]).now_or_never(),
            }
            .expect("no waiting");
            match &exchange.verdict {
                PushVerdict::Accepted(receipt) => {
                    assert!((200..300).contains(&status), "accepted with HTTP {status}");
                    assert_success(&receipt.message, body);
                    assert!(way == 1 || says_zero(body), "accepted without code 0");
                    assert_words(&receipt.message, &secrets);
                }
                PushVerdict::Exists(failure) => {
                    assert_ne!(question, 2, "steps do not exist already");
                    assert_failure(failure, &secrets);
                }
                PushVerdict::UnknownDossier(failure)
                | PushVerdict::Failed(failure)
                | PushVerdict::NotSent { failure, .. } => assert_failure(failure, &secrets),
            }
            exchange.calls
        }
        3 => {
            let exchange = portal.look_up(class, CODE).now_or_never().expect("no waiting");
            match &exchange.verdict {
                LookUpVerdict::Found { echoed } => {
                    assert!(echoed.get("MaHoSo").is_none_or(|code| code == CODE), "{echoed:?}");
                }
                LookUpVerdict::Missing => {}
                LookUpVerdict::Failed(failure) | LookUpVerdict::NotSent { failure, .. } => {
                    // A look-up changes nothing.
                    assert_ne!(failure.disposition, Disposition::Ambiguous);
                    assert_failure(failure, &secrets);
                }
            }
            exchange.calls
        }
        4 | 5 => {
            let wanted = if question == 4 {
                Catalogue::Procedure { ma_tthc: "1.000105" }
            } else {
                Catalogue::Agencies
            };
            let exchange = portal.catalogue(class, wanted).now_or_never().expect("no waiting");
            match &exchange.verdict {
                CatalogueVerdict::Items { .. } | CatalogueVerdict::Missing => {}
                CatalogueVerdict::Failed(failure) | CatalogueVerdict::NotSent { failure, .. } => {
                    assert_ne!(failure.disposition, Disposition::Ambiguous);
                    assert_failure(failure, &secrets);
                }
            }
            exchange.calls
        }
        _ => {
            let exchange = portal.check_login().now_or_never().expect("no waiting");
            if let Err(failure) = &exchange.verdict {
                // Without a session nothing has left.
                assert_ne!(failure.disposition, Disposition::Ambiguous);
                assert_failure(failure, &secrets);
            }
            exchange.calls
        }
    };
    assert!(calls.len() <= CALLS_MAX && calls.len() == *http.sent.lock().expect("a count"));
    calls.iter().for_each(|call| assert_call(call, &secrets));
}

fn assert_call(call: &Call, secrets: &[&str]) {
    assert_words(&call.message, secrets);
    assert!(call.message.chars().count() <= 300);
    for words in call.correlation_id.iter().chain(&call.error_code) {
        assert!(words.len() <= 80 && !words.chars().any(char::is_control), "{words:?}");
        assert_words(words, secrets);
    }
}

fn assert_failure(failure: &Failure, secrets: &[&str]) {
    assert_told(failure);
    assert_words(&failure.message, secrets);
    assert_words(&failure.details, secrets);
    // The portal's words, and perhaps the platform's name for the call.
    assert!(failure.details.chars().count() <= 400, "{failure:?}");
}

fn assert_words(words: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!words.contains(secret), "{secret} in {words}");
    }
}

/// What this question shows or sends, and nobody may repeat.
fn secrets(question: u8, way: u8) -> Vec<&'static str> {
    let mut secrets = vec![PASSWORD];
    if question <= 2 {
        secrets.extend(PERSONAL);
    }
    if question <= 5 && matches!(way, 0 | 2) {
        secrets.push(SESSION);
    }
    if question <= 5 && way != 0 {
        secrets.push(TOKEN);
    }
    secrets
}

/// The receipt's words are the portal's, hold a success and nothing that takes it back.
fn assert_success(message: &str, body: &[u8]) {
    let words = message.to_lowercase();
    assert!(
        words.contains("thành công") || words.contains("***") || words.ends_with('…'),
        "{words}"
    );
    for denied in ["không thành công", "chưa thành công", "thất bại"] {
        assert!(!words.contains(denied), "{words} of {}", String::from_utf8_lossy(body));
    }
}

/// Whether the body, or a text in it that is a body itself, has an `error_code` that is zero.
fn says_zero(body: &[u8]) -> bool {
    fn zero(text: &str, depth: u8) -> bool {
        let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\0'));
        depth > 0 && serde_json::from_str(text).is_ok_and(|value: Value| within(&value, depth))
    }
    fn within(value: &Value, depth: u8) -> bool {
        match value {
            Value::String(text) => zero(text, depth - 1),
            Value::Object(fields) => fields.iter().any(|(name, value)| {
                let is_zero = match value {
                    Value::Number(number) => number.as_f64() == Some(0.0),
                    Value::String(text) => text.trim().parse() == Ok(0_i64),
                    _ => false,
                };
                (name == "error_code" && is_zero) || within(value, depth)
            }),
            _ => false,
        }
    }
    zero(&String::from_utf8_lossy(body), 4)
}

#[derive(Debug)]
struct Canned {
    status: u16,
    body: Bytes,
    login_is_sound: bool,
    sent: Mutex<usize>,
}

#[async_trait]
impl Http for Canned {
    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        *self.sent.lock().expect("a count") += 1;
        if self.login_is_sound && request.url.contains("login") {
            let body =
                format!(r#"{{"error_code":0,"session":"{SESSION}","message":"Thành công"}}"#);
            return Ok(HttpAnswer { status: 200, headers: Vec::new(), body: body.into() });
        }
        let headers = vec![("retry-after".to_owned(), "120".to_owned())];
        Ok(HttpAnswer { status: self.status, headers, body: self.body.clone() })
    }
}

fn portal(way: u8, http: Arc<dyn Http>) -> Portal {
    let base_url = "http://portal.example.invalid".to_owned();
    let madonvi = "000.00.00.H55".to_owned();
    let login = if way == 2 { "login" } else { "" };
    let (profile, token): (Arc<dyn hoso_gateway::portal::profile::Profile>, Token) = match way {
        0 => {
            let adapter = Adapter {
                base_url,
                auth_path: "mapi/login".to_owned(),
                integration_path: "mapi/g".to_owned(),
                share_path: "mapi/p".to_owned(),
                dstcode: "VN:GOV:x".to_owned(),
                madonvi,
            };
            (Arc::new(adapter), Token::None)
        }
        1 => {
            let wrapper = Wrapper {
                base_url,
                create: "a".to_owned(),
                update: "b".to_owned(),
                steps: "c".to_owned(),
                look_up: "d".to_owned(),
                agency_key: "MaDinhDanhDV".to_owned(),
                updating_key: "isUpdating".to_owned(),
                look_up_key: "MaHoSo".to_owned(),
                madonvi,
                secret_place: SecretPlace::Bearer,
            };
            (Arc::new(wrapper), Token::Fixed(SecretString::from(TOKEN)))
        }
        _ => {
            let bearer = Bearer {
                base_url,
                dossiers: "ngsp/DongBoHoSoMC".to_owned(),
                steps: "ngsp/CapNhatTienDoHoSoMC".to_owned(),
                look_up: "ngsp/TraCuuHoSo".to_owned(),
                login: login.to_owned(),
                madonvi,
            };
            (Arc::new(bearer), Token::Fixed(SecretString::from(TOKEN)))
        }
    };
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)));
    let breaker = BreakerSettings::default();
    let gate = Gate::unlimited(breaker, clock.clone(), Arc::new(Chance::seeded(42)));
    let settings = PortalSettings {
        profile,
        username: "h55".to_owned(),
        password: SecretString::from(PASSWORD),
        token,
        timeout_ms: 6_000,
        session_max_age_ms: 600_000,
        answer_bytes_max: 1 << 20,
    };
    Portal::new(settings, http, clock, Arc::new(gate), PATTERNS.clone())
}
