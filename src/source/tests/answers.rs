//! Questions as they are asked, and what statuses and lost connections mean.

use std::time::Duration;

use super::*;
use crate::domain::failure::Disposition::{self, Data, Environment, Retryable, Throttled};

const PAGE: &str = include_str!("../../../fixtures/province/page.xml");
const DOSSIER: &str = include_str!("../../../fixtures/province/dossier.xml");
const INDEX: &str = include_str!("../../../fixtures/province/index.xml");

#[test]
fn the_first_question_has_no_cursor_and_the_next_one_has_it_escaped() {
    let (feed, province) = feed(settings(), [Ok(ok(PAGE)), Ok(ok(PAGE))]);
    now(feed.changes(None, 500, None)).unwrap();
    let first = province.asked();
    assert_eq!(first.url, "https://tinh.example.invalid/api/dossiers/changes?limit=500");
    assert_eq!(first.headers, [("accept".to_owned(), "application/xml".to_owned())]);
    assert_eq!(first.timeout, Duration::from_secs(30));
    assert_eq!(first.answer_bytes_max, 1 << 20);
    now(feed.changes(Some("a&b=c/đ"), 1, Some("\"e1\""))).unwrap();
    let second = province.asked();
    assert_eq!(
        second.url,
        "https://tinh.example.invalid/api/dossiers/changes?limit=1&after=a%26b%3Dc%2F%C4%91"
    );
    assert_eq!(second.headers[1], ("if-none-match".to_owned(), "\"e1\"".to_owned()));
}

#[test]
fn credentials_go_into_the_header_and_into_no_debug_output() {
    let secret = |text: &str| secrecy::SecretString::from(text.to_owned());
    for (auth, expected) in [
        (Auth::Bearer(secret("mật-khẩu")), "Bearer mật-khẩu"),
        (
            Auth::Basic { user: "Aladdin".to_owned(), password: secret("open sesame") },
            // The example of RFC 7617.
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
    ] {
        let (feed, province) = feed(FeedSettings { auth, ..settings() }, [Ok(ok(PAGE))]);
        now(feed.changes(None, 1, None)).unwrap();
        let asked = province.asked();
        assert_eq!(asked.headers[1], ("authorization".to_owned(), expected.to_owned()));
        let shown = format!("{:?}", feed.settings());
        assert!(!shown.contains("mật-khẩu") && !shown.contains("sesame"), "{shown}");
    }
}

#[test]
fn an_unchanged_feed_is_not_read() {
    let (feed, _) = feed(settings(), [Ok(status(304, &[]))]);
    assert_eq!(now(feed.changes(None, 500, Some("e1"))).unwrap(), Changes::NotModified);
}

#[test]
fn the_etag_and_the_size_come_with_the_page() {
    let mut answer = ok(PAGE);
    answer.headers.push(("etag".to_owned(), "W/\"7\"".to_owned()));
    let page = changes(answer).unwrap();
    assert_eq!(page.etag.as_deref(), Some("W/\"7\""));
    assert_eq!(page.bytes, PAGE.len());
}

#[test]
fn every_status_has_one_meaning() {
    let table: &[(u16, &str, Disposition)] = &[
        (204, "source.broken_feed", Environment),
        (206, "source.broken_feed", Environment),
        (301, "source.endpoint", Environment),
        (304, "source.broken_feed", Environment),
        (400, "source.endpoint", Environment),
        (401, "source.credentials", Environment),
        (403, "source.credentials", Environment),
        (404, "source.endpoint", Environment),
        (405, "source.endpoint", Environment),
        (408, "source.server_error", Retryable),
        (410, "source.endpoint", Environment),
        (429, "source.throttled", Throttled),
        (500, "source.server_error", Retryable),
        (502, "source.server_error", Retryable),
        (503, "source.throttled", Throttled),
        (504, "source.server_error", Retryable),
        (511, "source.server_error", Retryable),
        (600, "source.endpoint", Environment),
    ];
    for (code, expected, disposition) in table {
        // A body of such an answer is never read, however good it looks.
        let answer = HttpAnswer { body: Bytes::from_static(PAGE.as_bytes()), ..status(*code, &[]) };
        let (feed, _) = feed(settings(), [Ok(answer.clone()), Ok(answer)]);
        for failure in [
            now(feed.changes(None, 500, None)).unwrap_err().failure,
            now(feed.index("20260101", "20260131", None, 500)).unwrap_err().failure,
        ] {
            assert_eq!(
                (failure.code.as_str(), failure.disposition),
                (*expected, *disposition),
                "{code}"
            );
            assert!(failure.message.contains(&code.to_string()), "{failure}");
        }
    }
}

#[test]
fn a_retry_after_is_kept_in_both_its_forms_and_never_exceeds_a_day() {
    type Row<'a> = (&'a [(&'a str, &'a str)], Option<u64>);
    let date = ("date", "Mon, 26 Jan 2026 09:00:00 GMT");
    let table: &[Row<'_>] = &[
        (&[], None),
        (&[("retry-after", "7")], Some(7_000)),
        (&[("retry-after", " 0 ")], Some(0)),
        (&[("retry-after", "Mon, 26 Jan 2026 09:01:30 GMT"), date], Some(90_000)),
        (&[("retry-after", "Mon, 26 Jan 2026 08:59:00 GMT"), date], Some(0)),
        (&[("retry-after", "Mon, 26 Jan 2026 09:01:30 GMT")], None),
        (&[("retry-after", "99999999999999999")], Some(86_400_000)),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "-5")], None),
    ];
    for (headers, expected) in table {
        let failure = changes(status(503, headers)).unwrap_err().failure;
        assert_eq!(failure.retry_after_ms, *expected, "{headers:?}");
    }
}

#[test]
fn a_question_without_answer_may_be_asked_again() {
    let table = [
        (HttpFailure::NotSent("refused".to_owned()), "source.unreachable", Retryable),
        (HttpFailure::TimedOut(Duration::from_secs(30)), "source.timeout", Retryable),
        (HttpFailure::Interrupted("reset".to_owned()), "source.interrupted", Retryable),
        (HttpFailure::TooLarge(1 << 20), "source.too_large", Retryable),
        (HttpFailure::Invalid("bad address".to_owned()), "source.endpoint", Environment),
    ];
    for (lost, code, disposition) in table {
        let (feed, _) = feed(settings(), [Err(lost)]);
        let failure = now(feed.changes(None, 500, None)).unwrap_err();
        assert_eq!(
            (failure.failure.code.as_str(), failure.failure.disposition),
            (code, disposition)
        );
        assert_eq!(failure.evidence, None);
    }
}

#[test]
fn one_dossier_can_be_asked_for() {
    let (feed, province) = feed(settings(), [Ok(ok(DOSSIER)), Ok(status(404, &[]))]);
    let item = now(feed.dossier("H55.242-260126-0001")).unwrap().unwrap();
    assert_eq!(item.ma_ho_so, "H55.242-260126-0001");
    assert_eq!(item.version, Some(3));
    assert!(item.document.starts_with("<HoSo ") && item.document.ends_with("</HoSo>"));
    assert_eq!(now(feed.dossier("H55/../x")).unwrap(), None);
    assert_eq!(province.asked().url, "https://tinh.example.invalid/api/dossiers/H55%2F..%2Fx");
}

#[test]
fn the_same_dossier_has_the_same_fingerprint_alone_and_in_a_page() {
    let (feed, _) = feed(settings(), [Ok(ok(DOSSIER))]);
    let alone = now(feed.dossier("H55.242-260126-0001")).unwrap().unwrap();
    let in_page =
        page(PAGE).items.into_iter().find(|item| item.ma_ho_so == alone.ma_ho_so).unwrap();
    assert_eq!(alone.fingerprint, in_page.fingerprint);
}

#[test]
fn a_code_that_would_ask_something_else_is_not_asked() {
    let (feed, province) = feed(settings(), []);
    for code in ["", ".", "..", "index", "changes"] {
        let failure = now(feed.dossier(code)).unwrap_err().failure;
        assert_eq!((failure.code.as_str(), failure.disposition), ("source.item_code", Data));
    }
    assert!(province.asked.lock().unwrap().is_empty());
}

#[test]
fn another_dossier_than_the_one_asked_for_is_refused() {
    let (feed, _) = feed(settings(), [Ok(ok(DOSSIER)), Ok(ok(PAGE)), Ok(ok("<HoSo/>"))]);
    for expected in ["source.wrong_dossier", "source.wrong_root", "source.item_code"] {
        let failure = now(feed.dossier("H55.242-260126-0002")).unwrap_err();
        assert_eq!(failure.failure.code, expected);
        assert!(failure.evidence.is_some());
    }
}

#[test]
fn the_index_is_read_line_by_line() {
    let (feed, province) = feed(settings(), [Ok(ok(INDEX))]);
    let index = now(feed.index("20260101", "20260131", Some("c 1"), 2)).unwrap();
    assert_eq!(
        province.asked().url,
        "https://tinh.example.invalid/api/dossiers/index?from=20260101&to=20260131&limit=2&after=c%201"
    );
    assert_eq!(index.cursor.as_deref(), Some("H55.242-260126-0002"));
    assert!(index.more);
    assert_eq!(
        index.items[0],
        IndexItem {
            ma_ho_so: "H55.242-260126-0001".to_owned(),
            version: Some(3),
            status: "9".to_owned(),
            received_at: Timestamp::from_portal("20260126083000"),
            changed_at: Timestamp::from_portal("20260126153000"),
            ma_tthc: "2.000815.000.00.00.H55".to_owned(),
            agency: "H55.242".to_owned(),
            owner: Owner::Province,
        }
    );
    assert_eq!(index.items[1].owner, Owner::Ministry);
    assert_eq!(index.items.len(), 2);
    let refused = &index.refused[0];
    assert_eq!((refused.rule, refused.position.line), ("source.item_code", 4));
    assert_eq!(&*refused.evidence, "<Ma maHoSo=\"\" trangThai=\"9\"/>");
}

#[test]
fn an_index_that_promises_more_needs_a_cursor() {
    let (feed, _) = feed(
        settings(),
        [
            Ok(ok("<DanhSachMa conNua='true'/>")),
            Ok(ok("<DanhSachMa><Ma maHoSo='a'/></DanhSachMa>")),
        ],
    );
    let failure = now(feed.index("20260101", "20260131", None, 2)).unwrap_err().failure;
    assert_eq!((failure.code.as_str(), failure.disposition), ("source.broken_feed", Environment));
    assert_eq!(now(feed.index("20260101", "20260131", None, 2)).unwrap().items.len(), 1);
}

#[test]
fn the_codes_are_explained_once_each() {
    let mut codes: Vec<&str> = CODES.iter().map(|(code, _, _)| *code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), CODES.len());
    for (code, meaning, advice) in CODES {
        assert!(code.starts_with("source."));
        assert!(meaning.ends_with('.') && advice.ends_with('.'), "{code}");
    }
}
