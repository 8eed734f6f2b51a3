//! Changes by hand: what they say, what they leave in the ledger.

use super::{accepted, copied, hoso, on, quarantined};

#[test]
fn resync_opens_once_says_who_sends_and_leaves_its_reason_in_the_history() {
    let code = accepted();
    let copy = copied();
    let resync = |reason| on(copy.path(), &["resync", "--code", &code, "--reason", reason]);
    let first = resync("nguoi dan khong thay ho so");
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.out.contains("will be mapped anew and sent"), "{}", first.out);
    assert!(first.out.contains("hoso run push"), "{}", first.out);
    let second = resync("lan thu hai");
    assert_eq!(second.code, 0);
    assert!(second.out.contains("already open (received)"), "{}", second.out);
    let history = on(copy.path(), &["dossier", "history", &code]);
    assert!(
        history.out.contains(&format!("resync by {}: nguoi dan khong thay ho so", account())),
        "{}",
        history.out
    );
    let explained = on(copy.path(), &["dossier", "explain", &code]);
    assert!(explained.out.contains("is not mapped yet"), "{}", explained.out);
    assert!(on(copy.path(), &["status"]).out.contains("1 dossier on its way"));
}

#[test]
fn some_known_and_some_unknown_codes_are_told_apart() {
    let code = accepted();
    let copy = copied();
    let ran =
        on(copy.path(), &["resync", "--code", &code, "KHONG-CO", "--reason", "thu", "--json"]);
    assert_eq!(ran.code, 6);
    let outcomes = ran.json();
    assert_eq!(outcomes["dossiers"][0]["outcome"], "opened");
    assert_eq!(outcomes["dossiers"][1]["outcome"], "unknown_dossier");
}

#[test]
fn retry_acts_on_what_was_named_and_says_how_many() {
    let code = quarantined();
    let copy = copied();
    let none = on(copy.path(), &["problems", "retry", "--kind", "dead", "--reason", "thu"]);
    assert_eq!(none.code, 5, "{}", none.out);
    let ran = on(copy.path(), &["problems", "retry", &code, "--reason", "da sua du lieu"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.starts_with("1 problem put back"), "{}", ran.out);
    let history = on(copy.path(), &["dossier", "history", &code]);
    assert!(
        history
            .out
            .contains(&format!("retry by {}: da sua du lieu (1 back on their way)", account())),
        "{}",
        history.out
    );
}

#[test]
fn a_dossier_of_a_page_is_explained_from_its_file() {
    let page = "fixtures/province/page.xml";
    let first = hoso(&["mapping", "explain", page, "MaHoSo", "--json"]).json();
    let code = first["fields"][0]["value"].as_str().unwrap().to_owned();
    let named = hoso(&["mapping", "explain", page, "MaHoSo", "--dossier", &code]);
    assert!(named.out.contains(&code), "{}", named.out);
    let absent = hoso(&["mapping", "explain", page, "--dossier", "KHONG-CO"]);
    assert_eq!(absent.code, 5);
    let field = hoso(&["mapping", "explain", page, "KhongCo"]);
    assert_eq!(field.code, 5);
}

/// The account that runs the tests, as the system knows it; `USER` says something else.
fn account() -> String {
    let who = hoso_gateway::machine::system_user();
    match who.logged_in {
        Some(login) => format!("{}, logged in as {login}", who.name),
        None => who.name,
    }
}

#[test]
fn a_cause_is_listed_shown_noted_held_released_and_retried_by_its_name() {
    let copy = copied();
    let causes = on(copy.path(), &["problems", "--json"]).json();
    let cause = causes
        .as_array()
        .unwrap()
        .iter()
        .find(|cause| cause["kinds"]["quarantined"].as_u64().is_some())
        .expect("a cause of the mapping");
    let name = cause["name"].as_str().unwrap().to_owned();
    let open = cause["open"].as_u64().unwrap();
    let listed = on(copy.path(), &["problems", "list"]);
    assert!(listed.out.contains(&name) && listed.out.contains("NEAREST DUE"), "{}", listed.out);
    let members = on(copy.path(), &["problems", "dossiers", &name, "--json"]).json();
    assert_eq!(members.as_array().unwrap().len() as u64, open);
    let chosen = ["resync", "--signature", &name, "--dry-run", "--reason", "thu", "--json"];
    assert_eq!(on(copy.path(), &chosen).json()["plan"]["items"].as_u64(), Some(open));
    let noted = on(
        copy.path(),
        &[
            "problems",
            "note",
            &name,
            "da hoi so tu phap",
            "--owner",
            "lan",
            "--deadline",
            "2030-01-30 17:00:00",
        ],
    );
    assert_eq!(noted.code, 0, "{}", noted.err);
    let held = on(copy.path(), &["problems", "hold", &name, "--reason", "cho so tra loi"]);
    assert!(held.out.contains("is held until `hoso problems release"), "{}{}", held.out, held.err);
    let refused = on(copy.path(), &["problems", "retry", &name, "--reason", "thu"]);
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.err.contains(&format!("is held by {}", account())), "{}", refused.err);
    let released = on(copy.path(), &["problems", "release", &name, "--reason", "da tra loi"]);
    assert_eq!(released.code, 0, "{}", released.err);
    let shown = on(copy.path(), &["problems", "show", &name]);
    for said in [
        "what to do",
        "lan sees to it until",
        "da hoi so tu phap",
        &format!("problems hold by {}: cho so tra loi", account()),
        &format!("refused: held by {}", account()),
    ] {
        assert!(shown.out.contains(said), "{said}: {}", shown.out);
    }
    let explained = on(copy.path(), &["explain", &name]);
    assert!(explained.out.contains("in the last hour"), "{}", explained.out);
    let status = on(copy.path(), &["status"]);
    assert!(status.out.contains("most harm: "), "{}", status.out);
    let back =
        on(copy.path(), &["problems", "retry", &name, "--reason", "da sua", "--json"]).json();
    assert_eq!(back["back_on_their_way"].as_u64(), Some(open));
    for act in ["show", "release", "retry", "hold"] {
        let mut words = vec!["problems", act, "S-0000000000"];
        if act != "show" {
            words.extend(["--reason", "thu"]);
        }
        assert_eq!(on(copy.path(), &words).code, 5, "{act}");
    }
    let marked = on(copy.path(), &["problems", "mark-sent", &name, "--reason", "thu"]);
    assert_eq!(marked.code, 5, "no step of it is held: {}", marked.out);
}
