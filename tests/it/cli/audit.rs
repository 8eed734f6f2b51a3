//! The audit as an operator and an inspector use it.

use super::{accepted, copied, hoso, on};

#[test]
fn an_act_is_listed_exported_and_proved_and_a_cut_end_is_found_by_what_was_kept() {
    let demo = copied();
    let code = accepted();
    let why = ["--reason", "khiếu nại 12/2026", "--actor", "Nguyễn Văn Thử"];
    assert_eq!(on(demo.path(), &[&["dossier", "hold", &code][..], &why].concat()).code, 0);
    assert_eq!(on(demo.path(), &[&["dossier", "hold", "nobody"][..], &why].concat()).code, 5);
    let listed = on(demo.path(), &["audit", "list", "--what", "hold", "--json"]).json();
    let results: Vec<&str> =
        listed.as_array().unwrap().iter().map(|row| row["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["unknown dossier", "held"], "refused acts have their row, too");
    assert!(listed[0]["actor"].as_str().unwrap().starts_with("Nguyễn Văn Thử (as "), "{listed}");
    let text = on(demo.path(), &["audit", "list", "--target", &code]);
    assert!(text.out.contains("khiếu nại 12/2026"), "{}", text.out);

    let file = demo.path().join("audit.jsonl");
    let file = file.to_str().unwrap();
    let exported = on(demo.path(), &["audit", "export", file, "--reason", "thanh tra", "--json"]);
    assert_eq!(exported.code, 0, "{}", exported.err);
    let head = exported.json()["head"].as_str().unwrap().to_owned();
    assert_eq!(on(demo.path(), &["audit", "export", file]).code, 1, "never replaced");
    // An inspector has the file and no ledger.
    let alone = hoso(&["audit", "verify", "--file", file]);
    assert_eq!(alone.code, 0, "{}", alone.err);
    assert!(alone.out.contains(&head), "{}", alone.out);
    for arguments in [&["--expect", &head][..], &["--against", file], &[]] {
        let verified = on(demo.path(), &[&["audit", "verify"][..], arguments].concat());
        assert_eq!(verified.code, 0, "{arguments:?}: {}{}", verified.out, verified.err);
    }
    let forged = std::fs::read_to_string(file).unwrap().replace("khiếu nại", "yêu cầu");
    std::fs::write(file, forged).unwrap();
    assert_eq!(hoso(&["audit", "verify", "--file", file]).code, 6);
    assert_eq!(on(demo.path(), &["audit", "verify", "--against", file]).code, 6);

    let (seq, hash) = head.split_once(':').unwrap();
    let later = format!("{}:{hash}", seq.parse::<i64>().unwrap() + 9);
    let cut = on(demo.path(), &["audit", "verify", "--expect", &later]);
    assert_eq!(cut.code, 6);
    assert!(cut.out.contains("the newest acts were cut off"), "{}", cut.out);
    assert_eq!(on(demo.path(), &["audit", "verify", "--expect", "3"]).code, 2);
}

#[test]
fn a_backup_names_the_head_and_refusals_of_the_file_commands_have_their_rows() {
    let demo = copied();
    let backup = demo.path().join("backup.db");
    let file = backup.to_str().unwrap();
    let manifest = format!("{file}.manifest");
    assert_eq!(on(demo.path(), &["ledger", "backup", file]).code, 0);
    assert_eq!(on(demo.path(), &["ledger", "backup", file]).code, 4, "never replaced");
    let why = ["--reason", "the disk is lost"];
    assert_eq!(on(demo.path(), &[&["ledger", "restore", file][..], &why].concat()).code, 4);
    assert_eq!(on(demo.path(), &[&["ledger", "rotate-key"][..], &why].concat()).code, 4);
    let listed = on(demo.path(), &["audit", "list", "--json"]).json();
    let told: Vec<(&str, bool)> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["action"].as_str().unwrap(), row["result"].as_str().unwrap()))
        .map(|(action, result)| (action, result.starts_with("failed: ")))
        .collect();
    assert_eq!(
        told[..4],
        [("rotate-key", true), ("restore", true), ("backup", true), ("backup", false)],
        "{listed}"
    );
    let restore = [&["ledger", "restore", file, "--replace"][..], &why].concat();
    assert_eq!(on(demo.path(), &restore).code, 0);
    let verified = on(demo.path(), &["audit", "verify"]);
    assert_eq!(verified.code, 0, "{}", verified.out);
    assert!(verified.out.contains("a backup was put in the ledger's place"), "{}", verified.out);
    assert!(std::fs::read_to_string(manifest).unwrap().contains("\"audit\""));
}
