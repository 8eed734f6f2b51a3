//! The province over HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::ManualClock;
use crate::http::{Http, HttpAnswer, HttpRequest, Method, ReqwestHttp};

struct Reader {
    http: ReqwestHttp,
    url: String,
    headers: Vec<(String, String)>,
}

impl Reader {
    fn of(province: &Province) -> Self {
        Self {
            http: ReqwestHttp::new(Duration::from_secs(5), 4).unwrap(),
            url: province.url(),
            headers: Vec::new(),
        }
    }

    fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    async fn get(&self, path: &str) -> HttpAnswer {
        self.send(Method::Get, path, "").await
    }

    async fn post(&self, path: &str, body: &str) -> HttpAnswer {
        self.send(Method::Post, path, body).await
    }

    async fn send(&self, method: Method, path: &str, body: &str) -> HttpAnswer {
        self.http
            .send(HttpRequest {
                method,
                url: format!("{}{path}", self.url),
                headers: self.headers.clone(),
                body: Bytes::copy_from_slice(body.as_bytes()),
                timeout: Duration::from_secs(20),
                answer_bytes_max: 100_000_000,
            })
            .await
            .unwrap()
    }

    async fn page(&self, after: Option<&str>, limit: usize) -> Page {
        let after = after.map_or_else(String::new, |after| format!("&after={after}"));
        let answer = self.get(&format!("/dossiers/changes?limit={limit}{after}")).await;
        assert_eq!(answer.status, 200);
        Page::read(std::str::from_utf8(&answer.body).unwrap())
    }

    /// Pages until the feed says that it is caught up.
    async fn read_all(&self, mut after: Option<String>, limit: usize) -> (Vec<String>, String) {
        let mut codes = Vec::new();
        for _ in 0..1_000 {
            let page = self.page(after.as_deref(), limit).await;
            codes.extend(page.codes);
            after = page.cursor;
            if !page.more {
                return (codes, after.unwrap());
            }
        }
        panic!("the feed never ends");
    }
}

struct Page {
    codes: Vec<String>,
    times: Vec<String>,
    cursor: Option<String>,
    more: bool,
}

impl Page {
    fn read(text: &str) -> Self {
        let start = text.find("<DanhSachHoSo").unwrap();
        let items: Vec<&str> = text.split("<HoSo ").skip(1).collect();
        Self {
            codes: items
                .iter()
                .map(|item| store::element(item, "MaHoSo").unwrap().to_owned())
                .collect(),
            times: items
                .iter()
                .map(|item| {
                    store::attribute(&format!("<HoSo {item}"), "capNhatLuc").unwrap().to_owned()
                })
                .collect(),
            cursor: store::attribute(&text[start..], "conTro").map(str::to_owned),
            more: store::attribute(&text[start..], "conNua") == Some("true"),
        }
    }
}

fn clock() -> ManualClock {
    ManualClock::at(Timestamp::from_portal("20260126160000").unwrap())
}

fn options(dossiers: u32) -> ProvinceOptions {
    ProvinceOptions {
        population: PopulationOptions { dossiers, ..PopulationOptions::default() },
        ..ProvinceOptions::default()
    }
}

async fn province(dossiers: u32) -> (Province, ManualClock) {
    let clock = clock();
    let province = start(options(dossiers), Arc::new(clock.clone())).await.unwrap();
    (province, clock)
}

fn all_codes(province: &Province) -> BTreeSet<String> {
    let (items, _) = province.shared.store().page(None, usize::MAX);
    items.iter().map(|item| item.code.as_ref().to_owned()).collect()
}

#[tokio::test]
async fn paging_covers_every_dossier_once_and_in_order() {
    let (province, _) = province(503).await;
    let reader = Reader::of(&province);
    for limit in [1, 7, 100, 503, 5_000] {
        let (codes, _) = reader.read_all(None, limit).await;
        assert_eq!(codes.len(), 503, "limit {limit}");
        assert_eq!(BTreeSet::from_iter(codes), all_codes(&province));
    }
    let page = reader.page(None, 503).await;
    let mut sorted: Vec<_> = page.times.iter().zip(&page.codes).collect();
    sorted.sort();
    assert!(page.times.iter().zip(&page.codes).eq(sorted));
    province.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_change_appears_after_the_last_cursor_and_nothing_else_does() {
    let (province, clock) = province(50).await;
    let reader = Reader::of(&province);
    let (_, cursor) = reader.read_all(None, 20).await;
    let idle = reader.page(Some(&cursor), 20).await;
    assert!(idle.codes.is_empty() && !idle.more);
    assert_eq!(idle.cursor.as_deref(), Some(cursor.as_str()));

    clock.advance(Duration::from_mins(1));
    let code = province.expected()[0].code.clone();
    let before = province.expected()[0].clone();
    province.evolve(&code).unwrap();
    let added = province.add(2);
    let after = reader.page(Some(&cursor), 20).await;
    let mut wanted = vec![code.clone()];
    wanted.extend(added);
    wanted.sort();
    let mut found = after.codes;
    found.sort();
    assert_eq!(found, wanted);
    assert_ne!(province.expected()[0].digest, before.digest);
    assert!(province.expected()[0].steps.starts_with(&before.steps));
    province.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_unchanged_page_is_304_and_a_changed_one_is_not() {
    let (province, clock) = province(20).await;
    let reader = Reader::of(&province);
    let first = reader.get("/dossiers/changes?limit=50").await;
    let tag = first.header("etag").unwrap().to_owned();
    let again = Reader::of(&province).with_header("if-none-match", &tag);
    clock.advance(Duration::from_secs(1));
    let unchanged = again.get("/dossiers/changes?limit=50").await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    province.evolve_any().unwrap();
    assert_eq!(again.get("/dossiers/changes?limit=50").await.status, 200);
    province.shutdown().await.unwrap();
}

#[tokio::test]
async fn credentials_are_asked_for_where_configured() {
    for (auth, right) in [
        (Auth::Bearer("bi-mat".to_owned()), "Bearer bi-mat"),
        (
            Auth::Basic { user: "nguoi".to_owned(), password: "mat khau".to_owned() },
            "Basic bmd1b2k6bWF0IGtoYXU=",
        ),
    ] {
        let options = ProvinceOptions { auth, ..options(1) };
        let province = start(options, Arc::new(clock())).await.unwrap();
        for path in ["/dossiers/changes", "/dossiers/index", "/dossiers/x"] {
            let reader = Reader::of(&province);
            assert_eq!(reader.get(path).await.status, 401);
            let reader = reader.with_header("authorization", right);
            assert_ne!(reader.get(path).await.status, 401);
        }
        province.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn the_index_lists_living_dossiers_of_its_days() {
    let (province, _) = province(300).await;
    let reader = Reader::of(&province);
    let deleted = province.expected()[3].code.clone();
    province.delete(&deleted).unwrap();
    let mut after = String::new();
    let mut codes = BTreeSet::new();
    loop {
        let answer = reader.get(&format!("/dossiers/index?limit=37&after={after}")).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        for entry in text.split("<Ma ").skip(1) {
            let tag = format!("<Ma {entry}");
            let code = store::attribute(&tag, "maHoSo").unwrap();
            assert!(codes.insert(code.to_owned()));
        }
        let root = &text[text.find("<DanhSachMa").unwrap()..];
        after = store::attribute(root, "conTro").unwrap().to_owned();
        if store::attribute(root, "conNua") == Some("false") {
            break;
        }
    }
    let mut wanted = all_codes(&province);
    assert!(wanted.remove(&deleted));
    assert_eq!(codes, wanted);
    let none = reader.get("/dossiers/index?from=20200101&to=20200131").await;
    assert!(!String::from_utf8_lossy(&none.body).contains("<Ma "));
    assert_eq!(reader.get("/dossiers/index?from=2020").await.status, 400);
    province.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_dossier_is_found_by_its_code_and_a_deleted_one_is_a_tombstone() {
    let (province, clock) = province(10).await;
    let reader = Reader::of(&province);
    let code = province.expected()[0].code.clone();
    let whole = reader.get(&format!("/dossiers/{code}")).await;
    let text = String::from_utf8(whole.body.to_vec()).unwrap();
    assert!(text.contains(&format!("<MaHoSo>{code}</MaHoSo>")));
    assert!(text.contains("<DanhSachTienDo>"));
    assert_eq!(reader.get("/dossiers/H55-260126-9999").await.status, 404);

    clock.advance(Duration::from_secs(1));
    province.delete(&code).unwrap();
    let text = province.dossier_xml(&code).unwrap();
    assert!(text.contains("daXoa=\"true\"") && !text.contains("ChuHoSo"));
    assert!(province.expected().iter().all(|dossier| dossier.code != code));
    assert_eq!(province.state().counts.deleted, 1);
    province.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_raw_document_is_shown_as_it_is_and_nothing_is_expected_of_it() {
    let (province, _) = province(3).await;
    let reader = Reader::of(&province);
    let expected = province.expected();
    let raw = "<HoSo phienBan=\"7\" capNhatLuc=\"2026-01-26T15:00:00.000+07:00\">\
        <MaHoSo>H55.242-260126-7777</MaHoSo><Sai>&</HoSo>";
    assert_eq!(reader.post("/lab/dossiers", raw).await.status, 200);
    assert_eq!(province.dossier_xml("H55.242-260126-7777").unwrap(), raw);
    assert_eq!(province.expected(), expected);
    assert_eq!(reader.post("/lab/dossiers", "<HoSo/>").await.status, 400);
    let answer = reader.post("/lab/dossiers", r#"{"add":2}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(province.state().counts.dossiers, 6);
    let nobody = reader.post("/lab/dossiers", r#"{"evolve":"x"}"#).await;
    assert_eq!(nobody.status, 404);
    province.shutdown().await.unwrap();
}

#[tokio::test]
async fn state_and_expectations_agree_over_http() {
    let (province, _) = province(2_500).await;
    let reader = Reader::of(&province);
    let lines = reader.get("/lab/expected").await;
    let expected: Vec<ExpectedDossier> = String::from_utf8(lines.body.to_vec())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(expected, province.expected());
    let counts = province.state().counts;
    assert_eq!(counts.expected, expected.len());
    let invalid: usize = counts.invalid.values().sum();
    assert!((25..=80).contains(&invalid), "{invalid}");
    assert!(counts.expected + invalid + counts.ministry >= counts.dossiers);
    let state = reader.get("/lab/state").await;
    assert!(String::from_utf8_lossy(&state.body).contains("\"dossiers\":2500"));
    province.shutdown().await.unwrap();
}

#[tokio::test]
async fn background_changes_spend_their_budget_on_the_clock() {
    let clock = clock();
    let options = ProvinceOptions { changes_total: 25, changes_per_second: 100.0, ..options(30) };
    let province = start(options, Arc::new(clock.clone())).await.unwrap();
    for _ in 0..500 {
        if province.state().changes_left == 0 {
            break;
        }
        clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    assert_eq!(province.state().changes_left, 0);
    assert_eq!(province.state().changes_made, 25);
    province.shutdown().await.unwrap();
}

#[tokio::test]
async fn shutdown_ends_background_changes_and_slow_answers() {
    let clock = clock();
    let options = ProvinceOptions {
        changes_total: 1_000,
        changes_per_second: 1.0,
        misbehaviour: vec![MisbehaviourRule::once(Misbehaviour::Slow { ms: 60_000 })],
        ..options(3)
    };
    let province = start(options, Arc::new(clock)).await.unwrap();
    let reader = Reader::of(&province);
    let slow = tokio::spawn(async move { reader.get("/dossiers/changes").await.status });
    while province.state().requests_served == 0 {
        tokio::task::yield_now().await;
    }
    province.shutdown().await.unwrap();
    assert_eq!(slow.await.unwrap(), 200);
}

async fn spoilt(misbehaviour: Misbehaviour) -> (HttpAnswer, Vec<String>) {
    let (province, _) = province(30).await;
    let reader = Reader::of(&province);
    let (codes, _) = reader.read_all(None, 100).await;
    province.misbehave(MisbehaviourRule::once(misbehaviour));
    let answer = reader.get("/dossiers/changes?limit=100").await;
    let healed = reader.get("/dossiers/changes?limit=100").await;
    assert!(healed.header("etag").is_some(), "once means once");
    province.shutdown().await.unwrap();
    (answer, codes)
}

fn text(answer: &HttpAnswer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[tokio::test]
async fn documents_can_be_broken_in_every_way_on_the_list() {
    let (answer, _) = spoilt(Misbehaviour::TruncatedXml).await;
    assert!(!text(&answer).contains("</DanhSachHoSo>"));
    let (answer, _) = spoilt(Misbehaviour::MissingCursor).await;
    assert!(!text(&answer).contains("conTro"));
    let (answer, _) = spoilt(Misbehaviour::UnescapedAmpersand).await;
    assert!(text(&answer).contains(" A & B<"));
    let (answer, _) = spoilt(Misbehaviour::ControlCharacter).await;
    assert!(text(&answer).contains('\u{1}'));
    let (answer, _) = spoilt(Misbehaviour::HtmlPage).await;
    assert!(answer.status == 200 && text(&answer).starts_with("<!DOCTYPE html>"));
    let (answer, _) = spoilt(Misbehaviour::EntityBomb).await;
    assert!(text(&answer).contains("<!ENTITY") && text(&answer).contains("&d;"));
    let (answer, _) = spoilt(Misbehaviour::OversizedItem { bytes: 3_000_000 }).await;
    assert!(answer.body.len() > 3_000_000);
    let (answer, _) = spoilt(Misbehaviour::Status { status: 500 }).await;
    assert_eq!(answer.status, 500);
    let (answer, codes) = spoilt(Misbehaviour::DuplicateInPage).await;
    let page = Page::read(&text(&answer));
    assert_eq!(page.codes.len(), codes.len() + 1);
    assert_eq!(page.codes[0], page.codes[1]);
    let (answer, codes) = spoilt(Misbehaviour::UnsortedItems).await;
    let mut page = Page::read(&text(&answer)).codes;
    assert_ne!(page, codes);
    page.sort();
    let mut codes = codes;
    codes.sort();
    assert_eq!(page, codes);
}

#[tokio::test]
async fn every_encoding_carries_the_same_dossiers() {
    let (plain, codes) = spoilt(Misbehaviour::Utf8Bom).await;
    assert!(plain.body.starts_with(&[0xEF, 0xBB, 0xBF]));
    assert_eq!(Page::read(&text(&plain)).codes, codes);
    let (answer, _) = spoilt(Misbehaviour::Utf16).await;
    let (decoded, encoding, broken) = encoding_rs::UTF_8.decode(&answer.body);
    assert_eq!((encoding, broken), (encoding_rs::UTF_16LE, false));
    assert_eq!(Page::read(&decoded).codes, codes);
    assert!(decoded.contains("encoding=\"UTF-16\""));
    let (answer, _) = spoilt(Misbehaviour::Windows1258).await;
    let (decoded, _, broken) = encoding_rs::WINDOWS_1258.decode(&answer.body);
    assert!(!broken && decoded.contains("encoding=\"windows-1258\""));
    assert_eq!(Page::read(&decoded).codes, codes);
    let (answer, _) = spoilt(Misbehaviour::WrongDeclaration).await;
    assert!(String::from_utf8(answer.body.to_vec()).is_err());
    let (answer, _) = spoilt(Misbehaviour::Nfd).await;
    assert!(text(&answer).contains('\u{323}'));
}

#[tokio::test]
async fn cursors_can_stop_and_pages_can_be_empty_for_ever() {
    let (province, _) = province(30).await;
    let reader = Reader::of(&province);
    let first = reader.page(None, 10).await;
    let cursor = first.cursor.unwrap();
    province.misbehave(MisbehaviourRule::until_cleared(Misbehaviour::StuckCursor));
    for _ in 0..3 {
        let page = reader.page(Some(&cursor), 10).await;
        assert_eq!(page.cursor.as_deref(), Some(cursor.as_str()));
        assert!(page.more && page.codes.len() == 10);
    }
    province.clear_misbehaviour();
    province.misbehave(MisbehaviourRule::until_cleared(Misbehaviour::EndlessMore));
    let page = reader.page(Some(&cursor), 10).await;
    assert!(page.more && page.codes.is_empty());
    let cleared = reader.post("/lab/misbehave", r#"{"clear":true}"#).await;
    assert_eq!(cleared.status, 200);
    let (rest, _) = reader.read_all(Some(cursor), 10).await;
    assert_eq!(rest.len(), 20);
    province.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_late_commit_lands_behind_the_cursor_that_was_given_out() {
    let (province, _) = province(30).await;
    let reader = Reader::of(&province);
    province.misbehave(MisbehaviourRule::once(Misbehaviour::LateCommit { behind_ms: 5_000 }));
    let (_, cursor) = reader.read_all(None, 100).await;
    assert_eq!(province.state().changes_made, 1);
    let next = reader.page(Some(&cursor), 100).await;
    assert!(next.codes.is_empty(), "only a look back finds it");
    province.shutdown().await.unwrap();
}

#[tokio::test]
async fn times_can_be_equal_ahead_or_move_while_paging() {
    let (province, clock) = province(60).await;
    let reader = Reader::of(&province);
    let (_, cursor) = reader.read_all(None, 100).await;
    clock.advance(Duration::from_secs(1));
    province.misbehave(MisbehaviourRule::once(Misbehaviour::EqualTimestamps { dossiers: 10 }));
    let page = reader.page(Some(&cursor), 100).await;
    assert!(page.codes.len() > 5);
    assert!(page.times.windows(2).all(|pair| pair[0] == pair[1]));

    province.misbehave(MisbehaviourRule::once(Misbehaviour::ClockJump));
    let page = reader.page(page.cursor.as_deref(), 100).await;
    assert!(page.times[0].starts_with("2026-01-26T17:00:01"), "{:?}", page.times);

    province.misbehave(MisbehaviourRule::once(Misbehaviour::PageChangedWhilePaged));
    let before = reader.page(None, 5).await;
    let now = reader.page(None, 5).await;
    assert_ne!(before.codes[0], now.codes[0]);
    province.shutdown().await.unwrap();
}
