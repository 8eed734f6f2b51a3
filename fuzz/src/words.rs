//! Short texts: codes, times, hours, statuses, cursors. What parses says the same again; what is
//! masked hides.

use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use hoso_gateway::domain::catalogue::CatalogueKind;
use hoso_gateway::domain::codes::{AgencyCode, DossierCode, ProcedureCode, is_result_code};
use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::domain::masking;
use hoso_gateway::domain::status::Status;
use hoso_gateway::domain::step::StepState;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::domain::working_time::DayHours;
use hoso_gateway::http::{Http, HttpAnswer, HttpFailure, HttpRequest};
use hoso_gateway::source::Source as _;

use super::{feed, text};

pub(super) fn seeds(_: &Path) -> Vec<Vec<u8>> {
    [
        "H55.242-260126-0001",
        "000.00.28.H55-240613-0001",
        "G09.20-20260609-0092637",
        "2.000815.000.00.00.H55",
        "KQ.H55.242.000122",
        "20260126083000",
        "2026-01-26T08:30:00+07:00",
        "2026-01-26 08:30:00",
        "-009999-01-02T01:59:59Z",
        "07:30-17:00",
        "dossiers\u{1F5C2}?a=b&c=%20+ \u{301}",
        "Hồ sơ H55.242-260126-0001 của a@example.invalid, CCCD 999000000123.",
        "presumed_sent",
    ]
    .map(|word| word.as_bytes().to_vec())
    .into()
}

pub(super) fn check(bytes: &[u8]) {
    let text = &*text(bytes);
    codes(text);
    times(text);
    masks(text);
    questions(text);
    assert!(
        text.parse::<DayHours>().is_err() || text.parse::<DayHours>().unwrap().to_string() == text
    );
    assert!(EntryState::parse(text).is_none_or(|state| state.as_str() == text));
    assert!(StepState::parse(text).is_none_or(|state| state.as_str() == text));
    assert!(CatalogueKind::parse(text).is_none_or(|kind| kind.as_str() == text));
    assert!(Status::parse(text).is_none_or(|status| status.code() == text));
}

fn codes(text: &str) {
    if let Some(code) = DossierCode::parse(text) {
        assert_eq!(code.to_string(), text);
        assert!(text.len() <= 50 && text.is_ascii());
        assert_eq!(AgencyCode::parse(code.agency.as_str()), Some(code.agency));
    }
    if let Some(code) = AgencyCode::parse(text) {
        assert_eq!(code.as_str(), text);
        assert!(text.contains(code.level_one()));
    }
    if let Some(code) = ProcedureCode::parse(text) {
        assert!(text.starts_with(code.national));
        assert_eq!(ProcedureCode::parse(code.national).map(|code| code.province), Some(None));
    }
    assert!(!is_result_code(text) || text.starts_with("KQ."));
}

fn times(text: &str) {
    if let Some(time) = Timestamp::from_portal(text) {
        assert_eq!(time.to_portal(), text);
        assert_eq!(Timestamp::from_source(text), Some(time));
    }
    if let Some(time) = Timestamp::from_iso(text) {
        let day = time.vietnam_day();
        assert!(time.to_portal().starts_with(&day));
        let shown = time.to_string();
        let again = Timestamp::from_iso(&shown).unwrap_or_else(|| panic!("{shown}"));
        assert!(time.millis().abs_diff(again.millis()) < 1000, "{shown}");
        let epoch = Timestamp::from_millis(0);
        assert!(time.since(epoch).is_zero() || epoch.since(time).is_zero());
        assert!(!time.short(epoch).is_empty() && !epoch.short(time).is_empty());
    }
}

fn masks(text: &str) {
    let shown = masking::foreign_text(text, 80);
    assert!(shown.chars().count() <= 80);
    for word in shown.split(' ') {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let digits = word.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
        let is_cut = word.ends_with('…');
        assert!(digits < 7 || is_cut || DossierCode::parse(bare).is_some(), "{word:?} of {text:?}");
        assert!(!word.contains('@') || is_cut || DossierCode::parse(bare).is_some(), "{word:?}");
    }
    // What is shown is never all of it; a text that is a mask itself stays one.
    let is_long = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).count() >= 8;
    if text.contains('*') || !text.split(char::is_whitespace).any(is_long) {
        return;
    }
    for name in ["ChuHoSo", "SoDinhDanh", "SoDienThoai", "Email", "MaDoiTuong"] {
        let shown = masking::field(name, text);
        assert_ne!(shown.as_deref(), Some(text), "{name} is shown");
    }
}

/// A cursor and a code arrive at the source as they are, whatever stands in them.
fn questions(text: &str) {
    let asked = Arc::new(Asked::default());
    let feed = feed::with(Arc::clone(&asked) as Arc<dyn Http>);
    let told = feed.changes(Some(text), 7, None).now_or_never().expect("no waiting");
    assert_eq!(told.expect_err("not answered").failure.code, "source.endpoint");
    let url = asked.url();
    let after = url.split_once("&after=").expect("a cursor").1;
    assert_eq!(decoded(after), text.as_bytes());
    if feed.dossier(text).now_or_never().expect("no waiting").is_ok() {
        let url = asked.url();
        let code = url.rsplit_once('/').expect("a path").1;
        assert_eq!(decoded(code), text.as_bytes());
    }
}

fn decoded(part: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = part;
    while let Some(first) = rest.chars().next() {
        assert!(first.is_ascii_alphanumeric() || "-._~%".contains(first), "{part}");
        if first == '%' {
            bytes.push(u8::from_str_radix(&rest[1..3], 16).expect("two digits"));
            rest = &rest[3..];
        } else {
            bytes.push(u8::try_from(first).expect("ASCII"));
            rest = &rest[1..];
        }
    }
    bytes
}

#[derive(Debug, Default)]
struct Asked(Mutex<String>);

impl Asked {
    fn url(&self) -> String {
        self.0.lock().expect("a URL").clone()
    }
}

#[async_trait]
impl Http for Asked {
    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        *self.0.lock().expect("a URL") = request.url;
        Ok(HttpAnswer { status: 404, headers: Vec::new(), body: Bytes::new() })
    }
}
