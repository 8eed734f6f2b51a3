//! Pages of the feed, lines of the index and single dossiers, through the feed's own client: what is
//! taken is taken whole and can be read again; what is refused has a code and quotes nobody.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use arbitrary::Unstructured;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use hoso_gateway::http::{Http, HttpAnswer, HttpFailure, HttpRequest};
use hoso_gateway::source::{
    Auth, Changes, Feed, FeedSettings, Item, RefusedItem, Source as _, SourceFailure,
};
use hoso_gateway::xml::Limits;

use super::{CANARY, assert_sentence, assert_told, edits, files, is_code, recipe};

pub(super) const ITEM_BYTES_MAX: usize = 4096;
const TYPES: [&str; 4] = [
    "application/xml; charset=windows-1258",
    "text/xml;charset=\"utf-8\"",
    "application/xml; charset=utf-16",
    "text/html; charset=klingon",
];

/// A dossier as sources write it, with a name in it that must not come out.
pub(super) const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DanhSachHoSo maDonVi="000.00.00.H55" conTro="c9" conNua="true">
<HoSo phienBan="7" capNhatLuc="2026-01-26T08:30:00+07:00" daXoa="false" chuQuan="tinh"><MaHoSo>H55.242-260126-0001</MaHoSo><ChuHoSo>Zq9 Khong Duoc Lo</ChuHoSo><NgayTiepNhan>20260126083000</NgayTiepNhan></HoSo>
<HoSo phienBan="2" maHoSoCu="H03.242-250126-0002"><MaHoSo>H55.242-260126-0002</MaHoSo><TrichYeuHoSo>Zq9 Khong Duoc Lo &amp; con</TrichYeuHoSo><DuongDan>https://x.example.invalid/a?token=1&amp;b=2</DuongDan></HoSo>
</DanhSachHoSo>"#;

pub(super) fn seeds(root: &Path) -> Vec<Vec<u8>> {
    super::xml::seeds(root)
        .into_iter()
        .chain(
            files(&root.join("mappings/feed/cases"))
                .into_iter()
                .filter(|file| file.starts_with(b"<")),
        )
        .collect()
}

pub(super) fn check(bytes: &[u8]) {
    if let Some(recipe) = recipe(bytes) {
        let page = edits::edited(PAGE, &mut Unstructured::new(recipe));
        for words in read(&page.into_bytes(), None) {
            assert!(!words.contains(CANARY), "a name came out: {words}");
        }
        return;
    }
    let (content_type, bytes) = match bytes.split_first() {
        Some((first @ 0xF0..=0xF3, rest)) => (Some(TYPES[usize::from(first - 0xF0)]), rest),
        _ => (None, bytes),
    };
    read(bytes, content_type);
}

/// Reads the bytes as each of the three documents; what was said to people.
fn read(bytes: &[u8], content_type: Option<&str>) -> Vec<String> {
    let feed = feed(bytes, content_type);
    let mut said = Vec::new();
    match feed.changes(None, 100, None).now_or_never().expect("no waiting") {
        Ok(Changes::Page(page)) => {
            let is_empty = page.items.is_empty() && page.refused.is_empty();
            assert!(page.cursor.is_some() || (is_empty && !page.more), "no way to go on");
            page.items.iter().for_each(assert_item);
            refusals(&page.refused, &mut said);
        }
        Ok(Changes::NotModified) => panic!("nobody asked whether it was modified"),
        Err(failure) => refused(&failure, &mut said),
    }
    match feed.index("20260101", "20260131", None, 100).now_or_never().expect("no waiting") {
        Ok(page) => {
            assert!(page.cursor.is_some() || !page.more, "no way to go on");
            page.items.iter().for_each(|line| assert_code(&line.ma_ho_so));
            refusals(&page.refused, &mut said);
        }
        Err(failure) => refused(&failure, &mut said),
    }
    match feed.dossier("H55.242-260126-0001").now_or_never().expect("no waiting") {
        Ok(Some(item)) => {
            assert_eq!(item.ma_ho_so, "H55.242-260126-0001", "another one than was asked for");
            assert_item(&item);
        }
        Ok(None) => panic!("the answer was 200"),
        Err(failure) => refused(&failure, &mut said),
    }
    said
}

fn refusals(items: &[RefusedItem], said: &mut Vec<String>) {
    for item in items {
        assert!(is_code(item.rule), "{}", item.rule);
        assert_sentence(&item.reason);
        assert!(item.evidence.len() <= 64 * 1024, "evidence is cut");
        said.push(item.reason.clone());
    }
}

pub(super) fn refused(failure: &SourceFailure, said: &mut Vec<String>) {
    assert_told(&failure.failure);
    said.push(failure.to_string());
    if let Some(lone) = failure.spoilt.as_ref().and_then(|spoilt| spoilt.lone.as_ref()) {
        assert!(!lone.cursor.is_empty());
        refusals(std::slice::from_ref(&lone.item), said);
    }
}

/// A dossier can be read again from its own text, alone and in another page, and is the same.
pub(super) fn assert_item(item: &Item) {
    assert_code(&item.ma_ho_so);
    assert_ne!(item.recoded_from.as_ref(), Some(&item.ma_ho_so), "its own former code");
    assert!(item.document.len() <= ITEM_BYTES_MAX);
    let mut page = r#"<DanhSachHoSo conTro="x">"#.to_owned();
    // Writing to a String cannot fail.
    let _infallible = write!(page, "{}</DanhSachHoSo>", item.document);
    match feed(page.as_bytes(), None).changes(None, 1, None).now_or_never().expect("no waiting") {
        Ok(Changes::Page(page)) => assert_eq!(page.items, std::slice::from_ref(item)),
        other => panic!("it cannot be read again: {other:?}"),
    }
    if !matches!(item.ma_ho_so.as_str(), "." | ".." | "changes" | "index") {
        let feed = feed(item.document.as_bytes(), None);
        let alone = feed.dossier(&item.ma_ho_so).now_or_never().expect("no waiting");
        assert_eq!(alone.expect("alone").as_ref(), Some(item));
    }
}

fn assert_code(code: &str) {
    assert!((1..=50).contains(&code.encode_utf16().count()), "{code:?}");
    assert!(!code.chars().any(char::is_control), "{code:?}");
}

#[derive(Debug)]
struct Canned(HttpAnswer);

#[async_trait]
impl Http for Canned {
    async fn send(&self, _: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        Ok(self.0.clone())
    }
}

fn feed(bytes: &[u8], content_type: Option<&str>) -> Feed {
    let headers = content_type
        .map(|value| ("content-type".to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let answer = HttpAnswer { status: 200, headers, body: Bytes::copy_from_slice(bytes) };
    with(Arc::new(Canned(answer)))
}

pub(super) fn limits() -> Limits {
    Limits { depth_max: 16, attributes_max: 16, events_max: 5000, text_bytes_max: 4096 }
}

pub(super) fn with(http: Arc<dyn Http>) -> Feed {
    let settings = FeedSettings {
        name: "mot-cua".to_owned(),
        base_url: "http://feed.example.invalid".to_owned(),
        auth: Auth::None,
        timeout_ms: 1000,
        page_bytes_max: 1 << 20,
        item_bytes_max: ITEM_BYTES_MAX,
        limits: limits(),
        volatile_query_keys: vec!["token".to_owned()],
    };
    Feed::new(settings, http)
}
