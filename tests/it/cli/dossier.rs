//! One dossier: as it was, what is kept of it, in either language.

use hoso_gateway::domain::time::Timestamp;

use super::{accepted, command, on_settled, quarantined};

/// RFC 3339 with milliseconds.
fn written(millis: i64) -> String {
    let text = Timestamp::from_millis(millis).to_string();
    let (second, zone) = (&text[..19], &text[19..]);
    format!("{}.{:03}{zone}", second.replacen(' ', "T", 1), millis.rem_euclid(1000))
}

#[test]
fn a_dossier_is_shown_as_it_was_before_between_and_after() {
    let code = accepted();
    let events = on_settled(&["dossier", "history", &code, "--json"]).json();
    let events = events.as_array().unwrap();
    let moments = |what: &str| -> Vec<i64> {
        let of_it = events.iter().filter(|event| event["what"] == what);
        of_it.map(|event| event["at"].as_i64().unwrap()).collect()
    };
    let as_of = |millis: i64| {
        let at = written(millis);
        let text = on_settled(&["dossier", "show", &code, "--as-of", &at]);
        let json = on_settled(&["dossier", "show", &code, "--as-of", &at, "--json"]);
        assert_eq!((text.code, json.code), (0, 0), "{}", text.err);
        (text.out, json.json()[0].clone())
    };
    let received = moments("received")[0];
    let (text, before) = as_of(received - 1);
    assert_eq!((&before["revisions"], &before["believed"]), (&0.into(), &serde_json::Value::Null));
    for part in ["nothing yet", "nothing was owed", "was not known yet at that time"] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    let (_, then) = as_of(received);
    assert_eq!(then["revisions"], 1);
    assert_eq!(then["portal"]["packet"], serde_json::Value::Null);
    let (text, after) = as_of(events.last().unwrap()["at"].as_i64().unwrap());
    for part in ["the portal acknowledged it", "the packet of entry", "made by mapping", "acked"] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(!text.contains("not known"), "{text}");
    assert_eq!(after["believed"]["state"], "accepted");
    assert_eq!(after["portal"]["packet"]["entry_id"], after["believed"]["entry_id"]);
    assert!(!moments("mapped").is_empty() && !moments("step").is_empty(), "{events:?}");
}

#[test]
fn a_time_that_is_none_or_not_over_yet_is_refused() {
    let code = accepted();
    let ran = on_settled(&["dossier", "show", &code, "--as-of", "yesterday"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("2026-01-27 14:05"), "{}", ran.err);
    let ran = on_settled(&["dossier", "show", &code, "--as-of", "2999-01-01 08:00"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("is not over yet"), "{}", ran.err);
}

#[test]
fn what_is_kept_is_shown_masked_and_the_request_is_proven_by_its_hash() {
    let code = accepted();
    let raw = on_settled(&["dossier", "raw", &code, "--json"]).json();
    let raw = &raw[0];
    assert_eq!(raw["masked"], true);
    let document = raw["document"].as_str().unwrap();
    assert!(document.contains(&format!("<MaHoSo>{code}</MaHoSo>")), "{document}");
    let owner = document.split("<ChuHoSo>").nth(1).unwrap().split('<').next().unwrap();
    assert!(owner.split(' ').all(|initial| initial.ends_with('.')), "a name was shown: {owner}");
    let packet: serde_json::Value = serde_json::from_str(raw["packet"].as_str().unwrap()).unwrap();
    assert_eq!(packet["ChuHoSo"], owner);
    for request in raw["requests"].as_array().unwrap() {
        let origin = request["origin"].as_str().unwrap();
        let alone = request["items"] == 1;
        assert!(origin == "exact" || (origin == "part" && !alone), "{request:#}");
        assert!(!request["body"].as_str().unwrap().contains("password"));
    }
    let text = on_settled(&["dossier", "raw", &code]);
    for part in ["SOURCE DOCUMENT", "MAPPED PACKET", "STEPS", "WIRE REQUEST", "ANSWER"] {
        assert!(text.out.contains(part), "{part} is missing:\n{}", text.out);
    }
    let none = on_settled(&["dossier", "raw", &code, "--revision", "999999"]);
    assert_eq!(none.code, 5);
}

#[test]
fn the_same_dossier_is_explained_in_vietnamese_by_option_and_by_locale() {
    let code = quarantined();
    let asked = on_settled(&["dossier", "explain", &code, "--language", "vi"]);
    assert!(asked.out.contains("Ánh xạ từ chối hồ sơ; không gửi gì."), "{}", asked.out);
    assert!(asked.out.contains("cần làm"), "{}", asked.out);
    let config = super::settled().join("hoso.toml");
    let config = config.to_str().unwrap();
    let by = |name: &str, locale: &str, more: &[&str]| {
        let mut command = command(&["--config", config, "dossier", "explain", &code]);
        command.args(more).env_remove("LC_ALL").env_remove("LC_MESSAGES").env_remove("LANG");
        let output = command.env(name, locale).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let spoken = |text: &str| if text.contains("cần làm") { "vi" } else { "en" };
    assert_eq!(spoken(&by("LANG", "vi_VN.UTF-8", &[])), "vi");
    assert_eq!(spoken(&by("LC_ALL", "en_US.UTF-8", &[])), "en");
    assert_eq!(spoken(&by("LANG", "vi_VN.UTF-8", &["--language", "en"])), "en");
    for arguments in [
        &["dossier", "show", &code][..],
        &["dossier", "history", &code],
        &["dossier", "raw", &code],
        &["dossier", "show", &code, "--as-of", "2020-01-01 08:00"],
    ] {
        let mut with_language = arguments.to_vec();
        with_language.extend(["--language", "vi"]);
        let (en, vi) = (on_settled(arguments), on_settled(&with_language));
        assert_eq!((en.code, vi.code), (0, 0), "{arguments:?}: {}", vi.err);
        assert_ne!(en.out, vi.out, "{arguments:?}");
    }
    let code = on_settled(&["explain", "mapping.required", "--language", "vi"]);
    assert!(code.out.contains("Cần làm: Nhập giá trị tại nguồn"), "{}", code.out);
}

#[test]
fn the_manual_and_the_completions_are_made_by_the_program_itself() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    let ran = super::hoso(&["man", dir.to_str().unwrap(), "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let pages = ran.json()["pages"].as_array().unwrap().len();
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), pages);
    let page = std::fs::read_to_string(dir.join("hoso-dossier-explain.1")).unwrap();
    assert!(page.contains("Example: hoso dossier explain"), "{page}");
    for (shell, part) in
        [("bash", "complete -F"), ("zsh", "#compdef hoso"), ("fish", "complete -c hoso")]
    {
        let ran = super::hoso(&["completions", shell]);
        assert!(ran.out.contains(part), "{shell}");
    }
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let ran = super::hoso(&["man", file.join("inside").to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("hint: name a folder"), "{}", ran.err);
}

#[test]
fn three_accounts_of_a_dossier_stand_side_by_side() {
    let code = accepted();
    let same = on_settled(&["dossier", "diff", &code]);
    assert_eq!(same.code, 0, "{}", same.err);
    for part in ["portal was told", "source now (mapped)", "not asked; --ask", "no field differs"] {
        assert!(same.out.contains(part), "{part} is missing:\n{}", same.out);
    }
    let json = on_settled(&["dossier", "diff", &code, "--json"]).json();
    assert_eq!(
        (&json[0]["told"]["is"], &json[0]["now"]["is"]),
        (&"packet".into(), &"mapped".into())
    );
    let refused = on_settled(&["dossier", "diff", &quarantined()]);
    assert!(refused.out.contains("the mapping refuses it"), "{}", refused.out);
    assert!(refused.out.contains("error[mapping."), "{}", refused.out);
    let unknown = on_settled(&["dossier", "diff", "H55.242-260126-9999"]);
    assert_eq!(unknown.code, 5, "{}", unknown.err);
}
