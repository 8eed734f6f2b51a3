//! What the rest of the gateway may rely on, told through a scripted province.

mod answers;
mod fingerprints;
mod pages;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::http::{Http, HttpAnswer, HttpFailure, HttpRequest};
use crate::xml::Limits;

/// Gives the scripted answers in order and keeps what was asked.
#[derive(Debug, Default)]
struct Province {
    answers: Mutex<VecDeque<Result<HttpAnswer, HttpFailure>>>,
    asked: Mutex<Vec<HttpRequest>>,
}

#[async_trait]
impl Http for Province {
    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        self.asked.lock().unwrap().push(request);
        self.answers.lock().unwrap().pop_front().expect("one question more than answers")
    }
}

impl Province {
    fn asked(&self) -> HttpRequest {
        self.asked.lock().unwrap().pop().expect("a question")
    }
}

fn settings() -> FeedSettings {
    FeedSettings {
        name: "mot-cua".to_owned(),
        base_url: "https://tinh.example.invalid/api/".to_owned(),
        auth: Auth::None,
        timeout_ms: 30_000,
        page_bytes_max: 1 << 20,
        item_bytes_max: 16 * 1024,
        limits: Limits::default(),
        volatile_query_keys: ["t", "token", "expires"].map(str::to_owned).to_vec(),
    }
}

fn feed(
    settings: FeedSettings,
    answers: impl IntoIterator<Item = Result<HttpAnswer, HttpFailure>>,
) -> (Feed, Arc<Province>) {
    let province = Arc::new(Province {
        answers: Mutex::new(answers.into_iter().collect()),
        asked: Mutex::default(),
    });
    (Feed::new(settings, province.clone()), province)
}

fn status(status: u16, headers: &[(&str, &str)]) -> HttpAnswer {
    HttpAnswer {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: Bytes::new(),
    }
}

fn ok(body: impl AsRef<[u8]>) -> HttpAnswer {
    HttpAnswer {
        body: Bytes::copy_from_slice(body.as_ref()),
        ..status(200, &[("content-type", "application/xml")])
    }
}

/// The scripted province answers at once, so one poll must do.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("waited for something that is not scripted"),
    }
}

fn changes(answer: HttpAnswer) -> Result<Page, SourceFailure> {
    match now(feed(settings(), [Ok(answer)]).0.changes(None, 500, None))? {
        Changes::Page(page) => Ok(*page),
        Changes::NotModified => panic!("not modified"),
    }
}

fn page(body: impl AsRef<[u8]>) -> Page {
    changes(ok(body)).expect("a page")
}

/// A page of one item.
fn one(item: &str) -> Page {
    page(format!("<DanhSachHoSo conTro='c1' conNua='false'>{item}</DanhSachHoSo>"))
}

/// `cargo test --release --lib source::tests::speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, not a promise"]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures, for people")]
fn speed() {
    const COUNT: usize = 500;
    let dossier = include_str!("../../../fixtures/province/dossier.xml")
        .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
        .unwrap();
    let text = format!("<DanhSachHoSo conTro='c'>{}</DanhSachHoSo>", dossier.repeat(COUNT));
    let settings = settings();
    let reading = wire::Reading {
        limits: &settings.limits,
        item_bytes_max: settings.item_bytes_max,
        volatile_query_keys: &settings.volatile_query_keys,
    };
    let best = |work: &dyn Fn()| {
        (0..40)
            .map(|_| {
                let from = std::time::Instant::now();
                work();
                from.elapsed()
            })
            .min()
            .unwrap()
    };
    let bare = best(&|| {
        let mut scanner = crate::xml::Scanner::new(&text, &settings.limits).tolerant();
        while let Some(event) = scanner.next().unwrap() {
            std::hint::black_box(&event);
        }
    });
    let whole = best(&|| {
        assert_eq!(wire::page(&text, &reading).unwrap().items.len(), COUNT);
    });
    let rate = |time: std::time::Duration| COUNT as f64 / time.as_secs_f64();
    println!(
        "{} bytes an item: bare scan {:.0}/s, page {:.0}/s",
        dossier.len(),
        rate(bare),
        rate(whole)
    );
}
