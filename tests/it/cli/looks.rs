//! What operators see: on a screen, in a pipe, as JSON.

use std::io::Read;
use std::process::Stdio;

use super::{accepted, command, on_settled, quarantined};

#[test]
fn status_says_the_verdict_first() {
    let ran = on_settled(&["status"]);
    assert_eq!(ran.code, 0);
    let first = ran.out.lines().next().unwrap();
    assert!(first.ends_with("a person: hoso problems list"), "{first}");
    for part in ["synchronised", "gate owner      nobody", "last poll", "books closed", "due now"] {
        assert!(ran.out.contains(part), "{part} is missing:\n{}", ran.out);
    }
}

#[test]
fn a_quarantined_dossier_is_explained_with_place_expectation_and_advice() {
    let code = quarantined();
    let ran = on_settled(&["dossier", "explain", &code]);
    let place = ran.out.split(" at 1:").nth(1).unwrap();
    let column = place.split(' ').next().unwrap();
    assert!(column.parse::<u32>().is_ok(), "{}", ran.out);
    // Where it stands in the line depends on the day on which the demo draws its dossiers.
    let told = ran.all().replace(&format!(" at 1:{column} "), " at [PLACE] ");
    insta::assert_snapshot!(told.replace(&super::mask_line(&code), "[CODE]"));
}

#[test]
fn an_accepted_dossier_needs_nothing() {
    let code = accepted();
    let ran = on_settled(&["dossier", "explain", &code]);
    assert!(ran.out.contains("The portal acknowledged its newest packet."), "{}", ran.out);
    assert!(ran.out.contains("to do       nothing\n"), "{}", ran.out);
}

#[test]
fn a_dossier_shows_its_steps_and_its_history_in_the_order_of_time() {
    let code = accepted();
    let show = on_settled(&["dossier", "show", &code]);
    for part in ["revision", "state           accepted", "acknowledged", "steps", "acked"] {
        assert!(show.out.contains(part), "{part} is missing:\n{}", show.out);
    }
    let history = on_settled(&["dossier", "history", &code]);
    let times: Vec<&str> = history.out.lines().map(|line| &line[..19]).collect();
    assert!(times.len() >= 4 && times.is_sorted(), "{}", history.out);
    assert!(history.out.contains("DongBoHoSoMC"), "{}", history.out);
    assert!(history.out.lines().next().unwrap().contains("received"));
}

#[test]
fn problems_are_listed_and_shown_by_dossier_and_by_rule() {
    let list = on_settled(&["problems", "list"]);
    assert!(list.out.starts_with("DOSSIER "), "{}", list.out);
    let problem = &on_settled(&["problems", "list", "--json"]).json()[0];
    let rule = problem["code"].as_str().unwrap();
    let by_rule = on_settled(&["problems", "show", rule]);
    assert!(by_rule.out.contains("What to do: "), "{}", by_rule.out);
    assert!(by_rule.out.contains(problem["ma_ho_so"].as_str().unwrap()));
    let by_code = on_settled(&["problems", "show", problem["ma_ho_so"].as_str().unwrap()]);
    assert!(by_code.out.contains("The mapping refused it"), "{}", by_code.out);
    let none = on_settled(&["problems", "list", "--code", "portal.refused"]);
    assert_eq!(none.out, "nothing waits for a person\n");
}

#[test]
fn a_code_is_explained_and_a_slip_is_corrected() {
    insta::assert_snapshot!(on_settled(&["explain", "mapping.required"]).all());
    insta::assert_snapshot!(on_settled(&["explain", "mapping.requird"]).all());
}

#[test]
fn json_is_alone_on_stdout_and_text_holds_no_escape_sequences() {
    let code = accepted();
    let refused = quarantined();
    for arguments in [
        &["status"][..],
        &["dossier", "show", &code],
        &["dossier", "explain", &code],
        &["dossier", "history", &code],
        &["problems", "list"],
        &["problems", "show", &refused],
        &["mapping", "check"],
        &["mapping", "test"],
        &["mapping", "explain", &code],
        &["config", "show"],
        &["config", "check"],
        &["config", "default"],
        &["explain"],
        &["explain", "portal.refused"],
        &["migrate", "--check"],
    ] {
        let text = on_settled(arguments);
        assert_eq!(text.code, 0, "{arguments:?}: {}", text.err);
        assert!(!text.out.contains('\x1b') && !text.err.contains('\x1b'), "{arguments:?}");
        let mut with_json = arguments.to_vec();
        with_json.push("--json");
        let json = on_settled(&with_json);
        assert_eq!(json.code, 0, "{arguments:?}");
        json.json();
        assert_eq!(json.err, "", "{arguments:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child =
        command(&["explain"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Closed before a word is read.
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

#[test]
fn a_mapping_explanation_masks_what_is_personal() {
    let code = accepted();
    let all = on_settled(&["mapping", "explain", &code, "--json"]).json();
    let fields = all["fields"].as_array().unwrap();
    let value = |name: &str| {
        fields
            .iter()
            .find(|field| field["target"] == name)
            .and_then(|field| field["value"].as_str())
            .unwrap_or_else(|| panic!("no {name}"))
            .to_owned()
    };
    assert_eq!(value("MaHoSo"), code);
    let owner = value("ChuHoSo");
    assert!(owner.split(' ').all(|initial| initial.ends_with('.')), "a name was shown");
}
