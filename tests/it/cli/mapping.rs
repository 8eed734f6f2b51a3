//! Another mapping: what it would change, and that a wrong one changes nothing.

use super::{copied, hoso, on};
use crate::support::mapping::{RELABELLED, STRICT, variant};

#[test]
fn a_comparison_counts_every_stored_revision_once_and_names_what_differs() {
    let demo = copied();
    let path = |[part, other]: [&str; 2], name| {
        variant(demo.path(), name, part, other).to_str().unwrap().to_owned()
    };
    let relabelled = path(RELABELLED, "relabelled");
    let compared = on(demo.path(), &["mapping", "compare", &relabelled, "--json"]);
    assert_eq!(compared.code, 0, "{}", compared.err);
    let told = compared.json();
    let count = |name: &str| told[name].as_u64().unwrap();
    assert!(count("changed") > 0, "{told}");
    let sum: u64 = ["unchanged", "changed", "newly_valid", "newly_invalid", "invalid", "not_sent"]
        .map(count)
        .iter()
        .sum();
    assert_eq!(sum, told["stored"]["kept"].as_u64().unwrap(), "{told}");
    assert_eq!((count("newly_valid"), count("newly_invalid")), (0, 0), "{told}");
    assert_eq!(told["by_field"], serde_json::json!({ "TenLinhVuc": count("changed") }));
    let sample = &told["samples"][0];
    assert_eq!(sample["change"], "changed");
    assert_eq!(sample["differences"][0]["path"], "TenLinhVuc", "{sample}");
    let text = on(demo.path(), &["mapping", "compare", &relabelled]);
    assert!(text.out.contains("to send all of it"), "{}", text.out);

    let strict = path(STRICT, "strict");
    let compared = on(demo.path(), &["mapping", "compare", &strict, "--json"]);
    assert_eq!(compared.code, 6, "{}", compared.err);
    let told = compared.json();
    assert_eq!(told["newly_invalid_by_rule"]["mapping.required"], told["newly_invalid"], "{told}");
    // The other way round, what was refused becomes valid.
    let back = on(demo.path(), &["mapping", "compare", &strict, &relabelled, "--json"]).json();
    assert_eq!(back["newly_valid"], told["newly_invalid"], "{back}");
    let none = on(demo.path(), &["mapping", "compare", &strict, "--since", "2099-01-01", "--json"]);
    assert_eq!((none.code, &none.json()["stored"]["kept"]), (0, &serde_json::json!(0)));
    assert_eq!(on(demo.path(), &["mapping", "compare", "nowhere"]).code, 5);
}

#[test]
fn a_wrong_mapping_is_refused_whole_and_each_refusal_has_its_row() {
    let demo = copied();
    let why = ["--reason", "quyet dinh 12", "--actor", "Nguyễn Văn Thử"];
    let apply = |folder: &std::path::Path, more: &[&str]| {
        let folder = folder.to_str().unwrap();
        on(demo.path(), &[&["mapping", "apply", folder][..], more, &why].concat())
    };
    let broken = variant(demo.path(), "broken", "root = \"HoSo\"", "root = 7");
    let relabelled = variant(demo.path(), "relabelled", RELABELLED[0], RELABELLED[1]);
    let refused = apply(&broken, &[]);
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert_eq!(apply(&relabelled, &["--confirm", "1"]).code, 2, "another number");
    std::fs::write(relabelled.join("cases/cut_off/expected.diagnostics.txt"), "x\n").unwrap();
    let refused = apply(&relabelled, &[]);
    assert_eq!(refused.code, 6, "{}", refused.err);
    assert!(refused.err.contains("mapping.cases_failed"), "{}", refused.err);
    let listed = on(demo.path(), &["mapping", "list"]);
    assert!(listed.out.contains("none was ever applied"), "{}", listed.out);
    let acts = on(demo.path(), &["audit", "list", "--what", "mapping apply", "--json"]).json();
    let acts = acts.as_array().unwrap();
    assert_eq!(acts.len(), 3, "{acts:?}");
    for act in acts {
        assert!(act["result"].as_str().unwrap().starts_with("refused: "), "{act}");
        assert!(act["actor"].as_str().unwrap().starts_with("Nguyễn Văn Thử (as "), "{act}");
    }
}

#[test]
fn the_table_for_reviewers_is_one_page_that_stands_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anh-xa.html");
    let made = hoso(&["mapping", "docs", "mappings/feed", "--output", file.to_str().unwrap()]);
    assert_eq!(made.code, 0, "{}", made.err);
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("QCVN 120:2019/BTTTT"));
    assert_eq!(
        hoso(&["mapping", "docs", "--output", file.to_str().unwrap()]).code,
        1,
        "never replaced"
    );
    let markdown = hoso(&["mapping", "docs", "--format", "markdown"]);
    assert!(markdown.out.contains("| MaHoSo | MaHoSo |"), "{}", markdown.out);
    assert!(markdown.out.contains("## Bảng mã / Code list: channels"), "{}", markdown.out);
}
