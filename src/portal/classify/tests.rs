//! Tables: every kind of answer, and what the gateway makes of it.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::http::CertificateFault;
use crate::portal::redact::Phrases;

const CODE: &str = "H55.242-260126-0001";

/// The verdict in one short text: kind, then failure code and disposition.
fn verdict(judgement: &Judgement) -> String {
    let failure = |kind: &str, failure: &Failure| {
        format!("{kind} {} {:?}", failure.code, failure.disposition)
    };
    match &judgement.meaning {
        Meaning::LoggedIn(_) => "logged in".to_owned(),
        Meaning::Accepted(_) => "accepted".to_owned(),
        Meaning::Exists(of) => failure("exists", of),
        Meaning::UnknownDossier(of) => failure("unknown", of),
        Meaning::TokenGiven { expires_in_s, .. } => format!("token for {expires_in_s:?}"),
        Meaning::TokenRefused(of) => failure("token", of),
        Meaning::SessionRefused(of) => failure("session", of),
        Meaning::Found(echoed) => format!("found {}", echoed.len()),
        Meaning::Missing => "missing".to_owned(),
        Meaning::Listed(listed) => {
            format!("listed {}, {} unreadable", listed.items.len(), listed.unreadable)
        }
        Meaning::Failed(of) => failure("failed", of),
    }
}

fn judge(
    service: Service,
    is_updating: bool,
    outcome: &Result<HttpAnswer, HttpFailure>,
) -> Judgement {
    judge_in(AnswerForm::Portal, service, is_updating, outcome)
}

fn judge_in(
    form: AnswerForm,
    service: Service,
    is_updating: bool,
    outcome: &Result<HttpAnswer, HttpFailure>,
) -> Judgement {
    classify(
        &Facts {
            service,
            form,
            is_updating,
            has_token: form == AnswerForm::Platform && service != Service::Token,
            asked: (service == Service::LookUp).then_some(CODE),
            outcome,
            now: Timestamp::from_iso("2026-01-26T01:00:00Z").unwrap(),
        },
        &AnswerPatterns::builtin(),
        &Redactions { secrets: Vec::new(), packets: &[], phrases: &Phrases::default() },
    )
}

#[expect(clippy::unnecessary_wraps, reason = "the shape that the HTTP door returns")]
fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Result<HttpAnswer, HttpFailure> {
    Ok(HttpAnswer {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    })
}

fn create(body: &str) -> String {
    verdict(&judge(Service::Dossiers, false, &answer(200, &[], body)))
}

fn update(body: &str) -> String {
    verdict(&judge(Service::Dossiers, true, &answer(200, &[], body)))
}

fn steps(body: &str) -> String {
    verdict(&judge(Service::Steps, false, &answer(200, &[], body)))
}

fn look_up(body: &str) -> String {
    verdict(&judge(Service::LookUp, false, &answer(200, &[], body)))
}

fn procedures(body: &str) -> String {
    verdict(&judge(Service::Procedures, false, &answer(200, &[], body)))
}

fn login(body: &str) -> String {
    verdict(&judge(Service::Login, false, &answer(200, &[], body)))
}

#[test]
fn every_fixture_means_what_its_name_says() {
    use Service::{Dossiers, Login, LookUp, Procedure, Steps};
    let expected = [
        ("push_ok.json", Dossiers, false, "accepted"),
        ("push_ok.json", Dossiers, true, "accepted"),
        ("push_ok.json", Steps, false, "accepted"),
        ("push_ok_text_code.json", Dossiers, false, "accepted"),
        ("push_ok_wrapped.json", Dossiers, false, "accepted"),
        ("push_exists_text_code.json", Dossiers, false, "exists portal.exists Data"),
        ("push_exists_zero.json", Dossiers, false, "exists portal.exists Data"),
        ("push_refused.json", Dossiers, false, "failed portal.refused Data"),
        ("push_refused.json", Steps, false, "failed portal.refused Data"),
        ("push_unrecognised.json", Dossiers, false, "failed portal.unrecognised_answer Ambiguous"),
        ("push_denied_success.json", Dossiers, true, "failed portal.unrecognised_answer Ambiguous"),
        ("update_unknown.json", Dossiers, true, "unknown portal.unknown_dossier Data"),
        ("update_unknown.json", Steps, false, "unknown portal.unknown_dossier Data"),
        ("update_unknown.json", LookUp, false, "missing"),
        ("session_expired.json", Dossiers, false, "session portal.session Environment"),
        ("session_expired.json", Steps, false, "session portal.session Environment"),
        ("session_expired.json", LookUp, false, "session portal.session Environment"),
        ("look_up_hit_echo.json", LookUp, false, "found 4"),
        ("look_up_hit_existence.json", LookUp, false, "found 1"),
        ("look_up_miss.json", LookUp, false, "missing"),
        (
            "look_up_other_dossier.json",
            LookUp,
            false,
            "failed portal.unrecognised_answer Retryable",
        ),
        ("procedure.json", Procedure, false, "listed 6, 0 unreadable"),
        ("session_expired.json", Procedure, false, "session portal.session Environment"),
        ("login_ok.json", Login, false, "logged in"),
        ("login_refused.json", Login, false, "failed portal.credentials Environment"),
        ("login_without_session.json", Login, false, "failed portal.credentials Environment"),
        ("no_code.json", Dossiers, false, "failed portal.no_verdict Ambiguous"),
        ("no_code.json", LookUp, false, "failed portal.no_verdict Retryable"),
        ("no_code.json", Login, false, "failed portal.no_verdict Retryable"),
        ("truncated.txt", Dossiers, false, "failed portal.not_json Ambiguous"),
        ("truncated.txt", LookUp, false, "failed portal.not_json Retryable"),
        ("empty.txt", Steps, false, "failed portal.empty_answer Ambiguous"),
        ("page.html", Dossiers, false, "failed portal.html_answer Ambiguous"),
        ("soap_fault.xml", Dossiers, false, "failed portal.soap_fault Ambiguous"),
        ("soap_fault.xml", Login, false, "failed portal.soap_fault Retryable"),
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/portal");
    for (file, service, is_updating, verdict_expected) in &expected {
        let body = std::fs::read_to_string(folder.join(file)).unwrap();
        let judgement = judge(*service, *is_updating, &answer(200, &[], &body));
        assert_eq!(&verdict(&judgement), verdict_expected, "{file} as {service}");
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "README.md" || expected.iter().any(|(file, ..)| *file == name),
            "{name} has no expectation"
        );
    }
}

#[test]
fn the_published_rows_of_codes_hold_for_their_service() {
    // 0 with "thành công": processed.
    assert_eq!(create(r#"{"error_code":0,"message":"thành công"}"#), "accepted");
    assert_eq!(steps(r#"{"error_code":"0","message":"Cập nhật tiến độ thành công"}"#), "accepted");
    // 0, 3 or -3 with "đã tồn tại": exists, when it was a create.
    for code in ["0", "3", "-3", "\"0\"", "\"3\"", "\"-3\"", "7"] {
        let body =
            format!(r#"{{"error_code":{code},"message":"Mã hồ sơ đã tồn tại trên hệ thống"}}"#);
        assert_eq!(create(&body), "exists portal.exists Data", "{code}");
    }
    // 3 or -3 without that text, and any other non-zero code: refused.
    for code in ["3", "-3", "\"3\"", "\"-3\"", "1", "-1", "99", "\"E7\""] {
        let body = format!(r#"{{"error_code":{code},"message":"Thiếu trường MaTTHC"}}"#);
        assert_eq!(create(&body), "failed portal.refused Data", "{code}");
        assert_eq!(update(&body), "failed portal.refused Data", "{code}");
        assert_eq!(steps(&body), "failed portal.refused Data", "{code}");
        assert_eq!(look_up(&body), "failed portal.look_up_refused Retryable", "{code}");
    }
    // A login needs code 0 and a session.
    assert_eq!(login(r#"{"error_code":"0","session":"s"}"#), "logged in");
    for body in [
        r#"{"error_code":0,"session":""}"#,
        r#"{"error_code":0,"session":null}"#,
        r#"{"error_code":1,"session":"s"}"#,
    ] {
        assert_eq!(login(body), "failed portal.credentials Environment", "{body}");
    }
}

#[test]
fn words_of_other_services_mean_nothing_here() {
    // Rows known from the interlinked service (DVC liên thông) and from judicial records (LLTP).
    for text in [
        "bị từ chối. không thể cập nhật trạng thái",
        "không tồn tại",
        "đã trả kết quả, không được cập nhật trạng thái",
        "đã có kết quả xử lý. không thể cập nhật trạng thái",
        "đã hoàn thành đăng ký, không được cập nhật trạng thái",
        "chưa cập nhật trạng thái",
        "chưa được gửi không thể cập nhật trạng thái",
        "có lỗi trong quá trình thêm mới",
        "client received soap fault",
        "server error",
        "logic xử lý không hợp lệ",
        "đã được tiếp nhận, không thể cập nhật thông tin",
        "yêu cầu bị gián đoạn. vui lòng thử lại.",
    ] {
        let body = format!(r#"{{"error_code":-3,"message":"{text}"}}"#);
        assert_eq!(update(&body), "failed portal.refused Data", "{text}");
        assert_eq!(steps(&body), "failed portal.refused Data", "{text}");
        let body = format!(r#"{{"error_code":0,"message":"{text}"}}"#);
        assert_eq!(update(&body), "failed portal.unrecognised_answer Ambiguous", "{text}");
    }
}

#[test]
fn code_and_words_must_agree() {
    let cases = [
        (
            r#"{"error_code":3,"message":"Đồng bộ thành công"}"#,
            "failed portal.unrecognised_answer Ambiguous",
        ),
        (r#"{"error_code":0,"message":""}"#, "failed portal.unrecognised_answer Ambiguous"),
        (r#"{"error_code":0}"#, "failed portal.unrecognised_answer Ambiguous"),
        (r#"{"error_code":0,"message":{"text":"thành công"}}"#, "accepted"),
        (
            r#"{"error_code":0,"message":"Thành công 49, 1 hồ sơ lỗi"}"#,
            "failed portal.unrecognised_answer Ambiguous",
        ),
        (
            r#"{"error_code":"00x","message":"thành công"}"#,
            "failed portal.unrecognised_answer Ambiguous",
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(update(body), expected, "{body}");
    }
    // "Exists" is an answer to a create only, "unknown" only to what needs an existing dossier.
    assert_eq!(
        update(r#"{"error_code":-3,"message":"Tệp đính kèm đã tồn tại"}"#),
        "failed portal.refused Data"
    );
    assert_eq!(
        create(r#"{"error_code":-3,"message":"Hồ sơ không tồn tại trong danh mục"}"#),
        "failed portal.refused Data"
    );
    // A procedure that does not exist is not a dossier that does not exist.
    assert_eq!(
        update(r#"{"error_code":-3,"message":"Mã thủ tục 2.000815 không tồn tại"}"#),
        "failed portal.refused Data"
    );
}

#[test]
fn http_statuses_fall_into_their_classes() {
    let push = |status, headers: &[(&str, &str)]| {
        verdict(&judge(Service::Dossiers, false, &answer(status, headers, "")))
    };
    let ambiguous = "failed portal.server_error Ambiguous";
    let endpoint = "failed portal.endpoint Environment";
    let bad = "failed portal.bad_request Data";
    for (status, expected) in [
        (204, "failed portal.empty_answer Ambiguous"),
        (301, endpoint),
        (302, endpoint),
        (400, bad),
        (401, "failed portal.credentials Environment"),
        (403, "failed portal.forbidden Environment"),
        (404, endpoint),
        (405, endpoint),
        (407, endpoint),
        (408, ambiguous),
        (409, bad),
        (413, "failed portal.body_too_large Data"),
        (415, endpoint),
        (422, bad),
        (429, "failed portal.throttled Throttled"),
        (500, ambiguous),
        (502, ambiguous),
        (503, ambiguous),
        (504, ambiguous),
        (599, ambiguous),
    ] {
        assert_eq!(push(status, &[]), expected, "{status}");
    }
    assert_eq!(push(503, &[("retry-after", "5")]), "failed portal.throttled Throttled");
    // Success words under a failing status are not a success.
    let body = r#"{"error_code":0,"message":"Đồng bộ thành công"}"#;
    for status in [302, 400, 500, 502] {
        let judgement = judge(Service::Dossiers, false, &answer(status, &[], body));
        assert!(verdict(&judgement).starts_with("failed"), "{status}");
    }
}

#[test]
fn look_ups_and_logins_are_never_ambiguous() {
    let mut outcomes: Vec<_> = [200, 204, 302, 400, 401, 404, 408, 413, 422, 429, 500, 502, 503]
        .into_iter()
        .flat_map(|status| {
            ["", "{}", "[]", "x", r#"{"error_code":0}"#, r#"{"error_code":0,"result":3}"#]
                .into_iter()
                .map(move |body| answer(status, &[], body))
        })
        .collect();
    outcomes.extend([
        Err(HttpFailure::NotSent("x".to_owned())),
        Err(HttpFailure::TimedOut(Duration::from_secs(6))),
        Err(HttpFailure::Interrupted("x".to_owned())),
        Err(HttpFailure::TooLarge(9)),
        Err(HttpFailure::Invalid("x".to_owned())),
    ]);
    for outcome in &outcomes {
        for service in [Service::LookUp, Service::Login, Service::Token] {
            if let Meaning::Failed(failure) = judge(service, false, outcome).meaning {
                assert_ne!(failure.disposition, Disposition::Ambiguous, "{outcome:?}");
                assert_ne!(failure.disposition, Disposition::Data, "{outcome:?}");
            }
        }
    }
}

#[test]
fn broken_connections_are_told_apart() {
    let cases = [
        (
            HttpFailure::NotSent("x".to_owned()),
            "failed portal.unreachable Environment",
            CallOutcome::NotConnected,
        ),
        (
            HttpFailure::TimedOut(Duration::from_secs(6)),
            "failed portal.timeout Ambiguous",
            CallOutcome::Unknown,
        ),
        (
            HttpFailure::Interrupted("x".to_owned()),
            "failed portal.interrupted Ambiguous",
            CallOutcome::Unknown,
        ),
        (
            HttpFailure::TooLarge(9),
            "failed portal.answer_too_large Ambiguous",
            CallOutcome::Unknown,
        ),
        (
            HttpFailure::Invalid("x".to_owned()),
            "failed portal.request_invalid Environment",
            CallOutcome::Environment,
        ),
        (
            HttpFailure::Certificate { fault: CertificateFault::Expired, text: "x".to_owned() },
            "failed portal.certificate Environment",
            CallOutcome::NotConnected,
        ),
        (
            HttpFailure::Certificate { fault: CertificateFault::OursMissing, text: "x".to_owned() },
            "failed portal.client_certificate Environment",
            CallOutcome::NotConnected,
        ),
    ];
    for (failure, expected, outcome) in cases {
        let judgement = judge(Service::Steps, false, &Err(failure));
        assert_eq!(verdict(&judgement), expected);
        assert_eq!(judgement.outcome, outcome);
    }
}

#[test]
fn the_destination_is_judged_apart_from_the_dossier() {
    let signal =
        |service, outcome: &Result<HttpAnswer, HttpFailure>| match judge(service, false, outcome)
            .signal
        {
            Signal::Success => "success",
            Signal::Pressure(_) => "pressure",
            Signal::Throttled(_) => "throttled",
            Signal::Environment(_) => "environment",
            Signal::Neutral => "neutral",
        };
    let push = |status, body| signal(Service::Dossiers, &answer(status, &[], body));
    assert_eq!(push(200, r#"{"error_code":-3,"message":"sai"}"#), "success");
    assert_eq!(push(200, r#"{"error_code":0,"message":"?"}"#), "success");
    assert_eq!(push(400, ""), "success");
    assert_eq!(push(200, ""), "pressure");
    assert_eq!(push(200, "<html>"), "pressure");
    assert_eq!(push(502, "<html>"), "pressure");
    assert_eq!(push(429, ""), "throttled");
    assert_eq!(push(404, ""), "environment");
    assert_eq!(signal(Service::Login, &answer(400, &[], "")), "environment");
    assert_eq!(signal(Service::Login, &answer(200, &[], r#"{"error_code":1}"#)), "environment");
    let lost = Err(HttpFailure::TimedOut(Duration::from_secs(6)));
    assert_eq!(signal(Service::LookUp, &lost), "pressure");
}

#[test]
fn a_session_that_ended_is_recognised_under_401_too() {
    let body = r#"{"error_code":"-1","message":"Phiên đăng nhập đã hết hạn"}"#;
    assert_eq!(
        verdict(&judge(Service::Steps, false, &answer(401, &[], body))),
        "session portal.session Environment"
    );
    assert_eq!(
        verdict(&judge(Service::Login, false, &answer(401, &[], body))),
        "failed portal.credentials Environment"
    );
}

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date() {
    let ms =
        |headers: &[(&str, &str)]| match judge(Service::Dossiers, false, &answer(429, headers, ""))
            .meaning
        {
            Meaning::Failed(failure) => failure.retry_after_ms,
            _ => None,
        };
    assert_eq!(ms(&[]), None);
    assert_eq!(ms(&[("retry-after", "7")]), Some(7_000));
    assert_eq!(ms(&[("retry-after", " 120 ")]), Some(120_000));
    assert_eq!(ms(&[("retry-after", "soon")]), None);
    assert_eq!(ms(&[("retry-after", "99999999999999")]), Some(RETRY_AFTER_MS_MAX));
    // Our clock says 01:00:00; the portal's own clock is ahead and counts.
    let date = ("retry-after", "Mon, 26 Jan 2026 01:01:30 GMT");
    assert_eq!(ms(&[date]), Some(90_000));
    assert_eq!(ms(&[date, ("date", "Mon, 26 Jan 2026 01:01:00 GMT")]), Some(30_000));
    let past = ("retry-after", "Mon, 26 Jan 2026 00:00:00 GMT");
    assert_eq!(ms(&[past]), Some(0));
}

#[test]
fn a_look_up_answers_about_the_dossier_that_was_asked_for() {
    let many = format!(
        r#"{{"error_code":0,"result":[{{"MAHOSO":"H55-1"}},{{"MaHoSo":"{CODE}","SoLan":2,"Xong":true,"X":null,"Y":[1]}}]}}"#
    );
    let judgement = judge(Service::LookUp, false, &answer(200, &[], &many));
    let Meaning::Found(echoed) = judgement.meaning else {
        panic!("{judgement:?}");
    };
    let echoed: Vec<(&str, &str)> =
        echoed.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(echoed, [("MaHoSo", CODE), ("SoLan", "2"), ("X", ""), ("Xong", "true")]);
    for (body, expected) in [
        (r#"{"error_code":0}"#, "missing"),
        (r#"{"error_code":0,"result":null}"#, "missing"),
        (r#"{"error_code":0,"result":{}}"#, "missing"),
        (r#"{"error_code":0,"result":{"data":[]}}"#, "missing"),
        (r#"{"error_code":0,"result":{"data":[{"TrangThaiHoSo":"9"}]}}"#, "found 1"),
        (r#"{"error_code":0,"result":{"TrangThaiHoSo":"9"}}"#, "found 1"),
        (r#"{"error_code":0,"result":["x"]}"#, "failed portal.unrecognised_answer Retryable"),
        (r#"{"error_code":0,"result":"x"}"#, "failed portal.unrecognised_answer Retryable"),
    ] {
        assert_eq!(look_up(body), expected, "{body}");
    }
}

#[test]
fn every_failure_code_is_one_that_can_be_explained() {
    let outcomes = [
        Err(HttpFailure::NotSent(String::new())),
        Err(HttpFailure::TimedOut(Duration::ZERO)),
        Err(HttpFailure::Interrupted(String::new())),
        Err(HttpFailure::TooLarge(1)),
        Err(HttpFailure::Invalid(String::new())),
    ];
    let answers = [200, 302, 400, 401, 403, 404, 413, 429, 500].into_iter().flat_map(|status| {
        ["", "<html>", "soap fault", "x", "{}", r#"{"error_code":0}"#, r#"{"error_code":1}"#]
            .into_iter()
            .map(move |body| answer(status, &[], body))
    });
    let forms = [AnswerForm::Portal, AnswerForm::PortalOrText, AnswerForm::Platform];
    for outcome in outcomes.into_iter().chain(answers) {
        for (service, form) in Service::ALL
            .into_iter()
            .flat_map(|service| forms.into_iter().map(move |form| (service, form)))
        {
            if let Meaning::Failed(failure) | Meaning::TokenRefused(failure) =
                judge_in(form, service, true, &outcome).meaning
            {
                assert!(
                    codes::CODES.iter().any(|(code, ..)| *code == failure.code),
                    "{}",
                    failure.code
                );
            }
        }
    }
}

#[test]
fn a_catalogue_is_listed_or_asked_for_again_and_is_never_a_dossiers_fault() {
    assert_eq!(
        procedures(r#"{"error_code":"0","result":[{"MATTHC":"2.000815","TENTTHC":"x"},{}]}"#),
        "listed 1, 1 unreadable"
    );
    assert_eq!(
        procedures(r#"{"error_code":0,"result":{"data":[{"MATTHC":"2.000815"}]}}"#),
        "listed 1, 0 unreadable"
    );
    // Whether an empty list can be true is decided where the last one is known.
    assert_eq!(procedures(r#"{"error_code":0,"result":[]}"#), "listed 0, 0 unreadable");
    assert_eq!(
        procedures(r#"{"error_code":0,"result":[{"MATTHC":"2.0008"#),
        "failed portal.not_json Retryable"
    );
    assert_eq!(
        procedures(r#"{"error_code":3,"message":"không có quyền"}"#),
        "failed portal.catalogue_refused Retryable"
    );
    assert_eq!(
        verdict(&judge(
            Service::Procedure,
            false,
            &answer(200, &[], r#"{"error_code":0,"result":[]}"#)
        )),
        "missing"
    );
}

#[test]
fn trouble_with_a_catalogue_does_not_hold_up_those_who_send() {
    let signal = |outcome: &Result<HttpAnswer, HttpFailure>| {
        judge(Service::Procedures, false, outcome).signal
    };
    for status in [302, 401, 403, 404, 500, 502] {
        let judged = signal(&answer(status, &[], "<html>"));
        assert!(matches!(judged, Signal::Neutral), "HTTP {status}: {judged:?}");
    }
    assert!(matches!(signal(&Err(HttpFailure::TimedOut(Duration::ZERO))), Signal::Neutral));
    assert!(matches!(signal(&answer(200, &[], "")), Signal::Neutral));
    // These two are everybody's.
    assert!(matches!(signal(&answer(429, &[], "")), Signal::Throttled(_)));
    assert!(matches!(signal(&Err(HttpFailure::NotSent(String::new()))), Signal::Pressure(_)));
}

#[test]
fn a_wrappers_text_is_a_success_only_if_the_file_lists_it_whole() {
    let judged = |service, body: &str| {
        verdict(&judge_in(AnswerForm::PortalOrText, service, false, &answer(200, &[], body)))
    };
    let ours = "Cập nhật tiến độ hồ sơ thành công";
    for body in [ours.to_owned(), format!("\"{ours}\""), format!(r#"{{"message":"{ours}."}}"#)] {
        assert_eq!(judged(Service::Steps, &body), "accepted", "{body}");
        assert_eq!(judged(Service::Dossiers, &body), "failed portal.unknown_text Ambiguous");
        assert_eq!(judged(Service::LookUp, &body), "failed portal.unknown_text Retryable");
        // Nobody else answers in plain text.
        let elsewhere = judge(Service::Steps, false, &answer(200, &[], &body));
        assert!(matches!(elsewhere.meaning, Meaning::Failed(_)), "{body}");
    }
    for body in ["OK", "thành công", "Cập nhật tiến độ hồ sơ thành công 1/2", "không thành công"]
    {
        assert_eq!(judged(Service::Steps, body), "failed portal.unknown_text Ambiguous", "{body}");
    }
    for (body, expected) in [
        (r#"{"error_code":"0","message":"Cập nhật thành công"}"#, "accepted"),
        (
            r#"{"message":"{\"error_code\":\"-3\",\"message\":\"Sai\"}"}"#,
            "failed portal.refused Data",
        ),
        ("<html><body>thành công</body></html>", "failed portal.html_answer Ambiguous"),
        (r#"{"error_code":0,"mess"#, "failed portal.not_json Ambiguous"),
        ("", "failed portal.empty_answer Ambiguous"),
    ] {
        assert_eq!(judged(Service::Steps, body), expected, "{body}");
    }
    let refused = answer(401, &[], ours);
    let refused = judge_in(AnswerForm::PortalOrText, Service::Steps, false, &refused);
    assert_eq!(verdict(&refused), "failed portal.credentials Environment");
}

#[test]
fn a_platforms_envelope_is_opened_before_the_portals_is_judged() {
    let judged = |body: &str| {
        judge_in(AnswerForm::Platform, Service::Dossiers, false, &answer(200, &[], body))
    };
    let ok = r#"{"error_code":0,"message":"Đồng bộ hồ sơ thành công"}"#;
    let as_text = serde_json::to_string(ok).unwrap();
    let cases = [
        (format!(r#"{{"code":200,"status":"SUCCESS","response":{ok}}}"#), "accepted"),
        (format!(r#"{{"code":"200","response":{as_text}}}"#), "accepted"),
        (format!(r#"{{"code":0,"response":{ok}}}"#), "accepted"),
        (format!(r#"{{"correlationId":"c","response":{ok}}}"#), "accepted"),
        // The portal's own answer, passed on as it is.
        (ok.to_owned(), "accepted"),
        (
            r#"{"code":200,"response":{"error_code":"3","message":"đã tồn tại"}}"#.to_owned(),
            "exists portal.exists Data",
        ),
        // A platform that calls itself successful says nothing about the portal.
        (r#"{"code":200,"status":"SUCCESS"}"#.to_owned(), "failed portal.no_verdict Ambiguous"),
        (
            r#"{"code":200,"status":"thành công","response":null}"#.to_owned(),
            "failed portal.no_verdict Ambiguous",
        ),
        (r#"{"code":200,"response":"thành công"}"#.to_owned(), "failed portal.not_json Ambiguous"),
        (
            format!(r#"{{"code":17,"response":{ok}}}"#),
            "failed portal.unrecognised_answer Ambiguous",
        ),
        (r#"{"code":401,"status":"x"}"#.to_owned(), "token portal.token Environment"),
        (r#"{"code":403}"#.to_owned(), "failed portal.forbidden Environment"),
        (r#"{"code":"404"}"#.to_owned(), "failed portal.endpoint Environment"),
        (r#"{"code":429}"#.to_owned(), "failed portal.throttled Throttled"),
        (r#"{"code":503}"#.to_owned(), "failed portal.server_error Ambiguous"),
    ];
    for (body, expected) in cases {
        assert_eq!(verdict(&judged(&body)), expected, "{body}");
    }
    for (status, expected) in [
        (401, "token portal.token Environment"),
        (403, "failed portal.forbidden Environment"),
        (404, "failed portal.endpoint Environment"),
        (429, "failed portal.throttled Throttled"),
    ] {
        let answer = answer(status, &[("retry-after", "7")], r#"{"code":200}"#);
        let judgement = judge_in(AnswerForm::Platform, Service::Steps, false, &answer);
        assert_eq!(verdict(&judgement), expected, "{status}");
    }
}

#[test]
fn the_platforms_name_of_a_call_is_kept_unless_it_is_no_name() {
    let judged = |id: &str| {
        let body = format!(
            r#"{{"code":200,"correlationId":{id},"response":{{"error_code":3,"message":"Sai"}}}}"#
        );
        judge_in(AnswerForm::Platform, Service::Dossiers, false, &answer(200, &[], &body))
    };
    let judgement = judged(r#""7f3a-0001""#);
    assert_eq!(judgement.correlation_id.as_deref(), Some("7f3a-0001"));
    let Meaning::Failed(failure) = judgement.meaning else { panic!("a refusal") };
    assert_eq!(failure.details, "Sai; correlationId 7f3a-0001");
    assert_eq!(judged("17").correlation_id.as_deref(), Some("17"));
    for id in [r#""""#, "null", r#""Nguyễn Văn Thử""#, r#""a b""#, &format!("{:?}", "x".repeat(65))]
    {
        assert_eq!(judged(id).correlation_id, None, "{id}");
    }
}

#[test]
fn a_token_comes_from_wherever_platforms_put_it() {
    let judged = |status, body: &str| {
        verdict(&judge_in(AnswerForm::Platform, Service::Token, false, &answer(status, &[], body)))
    };
    for (body, expected) in [
        (r#"{"access_token":"t","expires_in":300,"token_type":"Bearer"}"#, "token for Some(300)"),
        (r#"{"access_token":"t","expires_in":"300"}"#, "token for Some(300)"),
        (r#"{"access_token":"t"}"#, "token for None"),
        (r#"{"access_token":"t","expires_in":0}"#, "token for None"),
        (r#"{"access_token":"t","expires_in":-1}"#, "token for None"),
        (
            r#"{"code":0,"message":"ok","data":{"access_token":"t","expires_in":9}}"#,
            "token for Some(9)",
        ),
        (r#"{"code":0,"message":"sai AccessKey","data":null}"#, "failed portal.token Environment"),
        (r#"{"access_token":""}"#, "failed portal.token Environment"),
        (r#"{"access_token":"a\nb"}"#, "failed portal.token Environment"),
        ("", "failed portal.token Environment"),
        ("<html></html>", "failed portal.token Environment"),
    ] {
        assert_eq!(judged(200, body), expected, "{body}");
    }
    let refused = r#"{"error":"invalid_client"}"#;
    assert_eq!(judged(400, refused), "failed portal.bad_request Environment");
    assert_eq!(judged(401, refused), "failed portal.credentials Environment");
    assert_eq!(judged(404, ""), "failed portal.endpoint Environment");
    assert_eq!(judged(429, ""), "failed portal.throttled Throttled");
    assert_eq!(judged(500, ""), "failed portal.server_error Retryable");
}

#[test]
fn neither_a_code_nor_a_message_repeats_what_was_sent() {
    let packet = r#"{"ChuHoSo":"Nguyễn Văn Thử","SoDienThoai":"0900000123"}"#;
    let redactions =
        Redactions { secrets: Vec::new(), packets: &[packet], phrases: &Phrases::default() };
    let bodies = [
        (AnswerForm::Portal, 200, r#"{"error_code":"Nguyễn Văn Thử","message":"sai"}"#),
        (AnswerForm::Portal, 500, r#"{"error_code":"0900000123","message":"sai"}"#),
        (AnswerForm::Platform, 200, r#"{"code":"Nguyễn Văn Thử","response":{}}"#),
    ];
    for (form, status, body) in bodies {
        let outcome = answer(status, &[], body);
        let facts = Facts {
            service: Service::Dossiers,
            form,
            is_updating: false,
            has_token: false,
            asked: None,
            outcome: &outcome,
            now: Timestamp::default(),
        };
        let judgement = classify(&facts, &AnswerPatterns::builtin(), &redactions);
        let told = format!("{judgement:?}");
        assert!(!told.contains("Văn Thử") && !told.contains("0900000123"), "{told}");
    }
    let long = answer(502, &[], &format!(r#"{{"message":"{}"}}"#, "ă".repeat(1000)));
    let message = judge(Service::Dossiers, false, &long).message;
    assert_eq!(message.chars().count(), MESSAGE_LENGTH_MAX);
}
