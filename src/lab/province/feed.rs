//! The three addresses of the feed: changes, one dossier, the index.

use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;

use super::Shared;
use super::misbehave::{self, Misbehaviour, Question, RawAnswer, Turn};
use super::store::{Cursor, Item};
use crate::lab::population::{change_time, escape};

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 5_000;
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/dossiers/changes", get(changes))
        .route("/dossiers/index", get(index))
        .route("/dossiers/{code}", get(dossier))
}

#[derive(Debug, Deserialize)]
struct Page {
    after: Option<String>,
    limit: Option<usize>,
    from: Option<String>,
    to: Option<String>,
}

impl Page {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }
}

async fn changes(
    State(shared): State<Arc<Shared>>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Response<Body> {
    let _witness = shared.lifetime.witness();
    if let Err(refusal) = shared.admit(&headers) {
        return refusal;
    }
    let after = match page.after.as_deref().map(Cursor::read) {
        Some(None) => return plain(StatusCode::BAD_REQUEST, "con trỏ không hợp lệ"),
        Some(cursor) => cursor,
        None => None,
    };
    if let Some(answer) = shared.raw_answer(Question::Changes) {
        return raw(answer);
    }
    let rules = shared.take_turn(Question::Changes);
    if let Some(answer) = instead_of_a_document(&shared, &rules).await {
        return answer;
    }
    shared.disturb_before(&rules);
    let (mut items, more) = shared.store().page(after.as_ref(), page.limit());
    let last = items.last().map(|item| Cursor::of(item));
    shared.disturb_after(&rules, &items, last.as_ref());

    let tag = tag(&items, &page, more);
    let plain_page = rules.is_empty();
    let unchanged = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|known| known == tag);
    if plain_page && unchanged {
        return answer(StatusCode::NOT_MODIFIED)
            .header(header::ETAG, tag)
            .body(Body::empty())
            .unwrap_or_default();
    }
    if rules.has(&Misbehaviour::UnsortedItems) {
        shared.store().shuffle(&mut items);
    }
    let head = PageHead {
        cursor: last
            .or_else(|| after.clone())
            .map_or_else(|| "0~".to_owned(), |cursor| cursor.text()),
        more,
    };
    let document = write_page(&shared, &rules, head, after.as_ref(), &items);
    let (bytes, charset) = misbehave::encode(&rules, document);
    xml(&shared, &headers, bytes, charset, plain_page.then_some(tag))
}

/// What comes where no document does, after the wait that the rules ask for.
async fn instead_of_a_document(shared: &Shared, rules: &Turn) -> Option<Response<Body>> {
    for rule in rules.kinds() {
        match rule {
            Misbehaviour::Slow { ms } => {
                shared.lifetime.pause(shared.clock.as_ref(), *ms).await;
            }
            Misbehaviour::Status { status } => {
                let status =
                    StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return Some(plain(status, "lỗi hệ thống"));
            }
            Misbehaviour::HtmlPage => return Some(html()),
            _ => {}
        }
    }
    None
}

struct PageHead {
    cursor: String,
    more: bool,
}

fn write_page(
    shared: &Shared,
    rules: &Turn,
    mut head: PageHead,
    after: Option<&Cursor>,
    items: &[Arc<Item>],
) -> String {
    let items = if rules.is_without_items() { &[] } else { items };
    let after = after.map(Cursor::text);
    rules.turn_cursor(&mut head.cursor, &mut head.more, after.as_deref());
    let length: usize = items.iter().map(|item| item.xml.len() + 1).sum();
    let mut out = String::with_capacity(length + 300);
    out.push_str(DECLARATION);
    out.push_str("<DanhSachHoSo maDonVi=\"");
    escape(&mut out, &shared.agency);
    out.push_str("\" thoiDiemXuat=\"");
    out.push_str(&shared.clock.now().to_portal());
    out.push('"');
    write_cursor(&mut out, rules, &head);
    for (place, item) in items.iter().enumerate() {
        out.push_str(&rules.spoil(place, &item.code, &item.xml));
        out.push('\n');
    }
    out.push_str("</DanhSachHoSo>\n");
    out
}

/// The rest of a root's tag.
fn write_cursor(out: &mut String, rules: &Turn, head: &PageHead) {
    if !rules.has(&Misbehaviour::MissingCursor) {
        out.push_str(" conTro=\"");
        escape(out, &head.cursor);
        out.push('"');
    }
    out.push_str(if head.more { " conNua=\"true\">\n" } else { " conNua=\"false\">\n" });
}

/// The page as a file: without the protocol's cursor.
pub(super) fn file(shared: &Shared, items: &[Arc<Item>]) -> String {
    let length: usize = items.iter().map(|item| item.xml.len() + 1).sum();
    let mut out = String::with_capacity(length + 300);
    out.push_str(DECLARATION);
    out.push_str("<DanhSachHoSo maDonVi=\"");
    escape(&mut out, &shared.agency);
    out.push_str("\" thoiDiemXuat=\"");
    out.push_str(&shared.clock.now().to_portal());
    out.push_str("\">\n");
    for item in items {
        out.push_str(&item.xml);
        out.push('\n');
    }
    out.push_str("</DanhSachHoSo>\n");
    out
}

async fn dossier(
    State(shared): State<Arc<Shared>>,
    Path(code): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let _witness = shared.lifetime.witness();
    if let Err(refusal) = shared.admit(&headers) {
        return refusal;
    }
    if let Some(answer) = shared.raw_answer(Question::Dossier) {
        return raw(answer);
    }
    let rules = shared.take_turn(Question::Dossier);
    if let Some(answer) = instead_of_a_document(&shared, &rules).await {
        return answer;
    }
    let Some(item) = shared.store().get(&code) else {
        return plain(StatusCode::NOT_FOUND, "không có hồ sơ này");
    };
    let document = format!("{DECLARATION}{}\n", rules.spoil(0, &item.code, &item.xml));
    let (bytes, charset) = misbehave::encode(&rules, document);
    xml(&shared, &headers, bytes, charset, None)
}

async fn index(
    State(shared): State<Arc<Shared>>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Response<Body> {
    let _witness = shared.lifetime.witness();
    if let Err(refusal) = shared.admit(&headers) {
        return refusal;
    }
    let from = page.from.as_deref().unwrap_or("00000000");
    let to = page.to.as_deref().unwrap_or("99999999");
    if [from, to]
        .iter()
        .any(|day| day.len() != 8 || !day.bytes().all(|digit| digit.is_ascii_digit()))
    {
        return plain(StatusCode::BAD_REQUEST, "ngày phải có dạng yyyyMMdd");
    }
    if let Some(answer) = shared.raw_answer(Question::Index) {
        return raw(answer);
    }
    let rules = shared.take_turn(Question::Index);
    if let Some(answer) = instead_of_a_document(&shared, &rules).await {
        return answer;
    }
    // An empty cursor is what an index without dossiers gives out.
    let after = page.after.as_deref().filter(|after| !after.is_empty());
    let (mut items, more) = shared.store().index(from, to, after, page.limit());
    let cursor = items.last().map_or(after.unwrap_or(""), |item| item.code.as_ref()).to_owned();
    let mut head = PageHead { cursor, more };
    rules.turn_cursor(&mut head.cursor, &mut head.more, after);
    if rules.is_without_items() {
        items.clear();
    }
    if rules.has(&Misbehaviour::UnsortedItems) {
        shared.store().shuffle(&mut items);
    }
    let mut out = String::with_capacity(items.len() * 200 + 200);
    out.push_str(DECLARATION);
    out.push_str("<DanhSachMa");
    write_cursor(&mut out, &rules, &head);
    for (place, item) in items.iter().enumerate() {
        let mut line = String::with_capacity(200);
        write_index_entry(&mut line, item);
        out.push_str("  ");
        out.push_str(&rules.spoil(place, &item.code, &line));
        out.push('\n');
    }
    out.push_str("</DanhSachMa>\n");
    let (bytes, charset) = misbehave::encode(&rules, out);
    xml(&shared, &headers, bytes, charset, None)
}

fn write_index_entry(out: &mut String, item: &Item) {
    let version = item.version.to_string();
    let changed = change_time(item.changed_at);
    out.push_str("<Ma");
    for (name, value) in [
        ("maHoSo", item.code.as_ref()),
        ("phienBan", &version),
        ("trangThai", &item.status),
        ("ngayTiepNhan", &item.received_at),
        ("capNhatLuc", &changed),
        ("maTTHC", &item.procedure),
        ("maDonVi", item.agency),
    ] {
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        escape(out, value);
        out.push('"');
    }
    if item.ministry {
        out.push_str(" chuQuan=\"bo\"");
    }
    out.push_str("/>");
}

/// Weak: it stands for the dossiers of a page, not for the bytes, which hold the time of export.
fn tag(items: &[Arc<Item>], page: &Page, more: bool) -> String {
    let mut hasher = blake3::Hasher::new();
    for item in items {
        hasher.update(item.code.as_bytes());
        hasher.update(&item.version.to_le_bytes());
        hasher.update(&item.changed_at.millis().to_le_bytes());
    }
    hasher.update(page.after.as_deref().unwrap_or("").as_bytes());
    hasher.update(&[u8::from(more)]);
    let hash = hasher.finalize().to_hex();
    format!("W/\"{}\"", &hash.as_str()[..24])
}

fn xml(
    shared: &Shared,
    headers: &HeaderMap,
    bytes: Vec<u8>,
    charset: &str,
    tag: Option<String>,
) -> Response<Body> {
    let mut response = answer(StatusCode::OK)
        .header(header::CONTENT_TYPE, format!("application/xml; charset={charset}"));
    if let Some(tag) = tag {
        response = response.header(header::ETAG, tag);
    }
    let gzip_wanted = shared.gzip
        && headers
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|accepted| accepted.contains("gzip"));
    if gzip_wanted {
        // Writing to memory cannot fail.
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
        encoder.write_all(&bytes).unwrap_or_default();
        let packed = encoder.finish().unwrap_or_default();
        return response
            .header(header::CONTENT_ENCODING, "gzip")
            .body(packed.into())
            .unwrap_or_default();
    }
    response.body(bytes.into()).unwrap_or_default()
}

fn raw(answer: RawAnswer) -> Response<Body> {
    self::answer(StatusCode::OK)
        .header(header::CONTENT_TYPE, answer.content_type)
        .body(answer.bytes.into())
        .unwrap_or_default()
}

fn html() -> Response<Body> {
    answer(StatusCode::OK)
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        .body(misbehave::HTML_PAGE.into())
        .unwrap_or_default()
}

pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    answer(status)
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(text.into())
        .unwrap_or_default()
}

fn answer(status: StatusCode) -> axum::http::response::Builder {
    Response::builder().status(status)
}
