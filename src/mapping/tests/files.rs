//! Mistakes in mapping files, code lists and settings.

use super::*;

fn errors(change: impl Fn(&str) -> String) -> Vec<FileError> {
    altered(change, ("", "")).unwrap_err().0
}

fn only(change: impl Fn(&str) -> String) -> FileError {
    let mut errors = errors(change);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

const ROW: &str =
    "TenTTHC      = { from = \"TenTTHC\", as = \"line\", required = true, rule = \"packet\" }";

fn row(replacement: &str) -> impl Fn(&str) -> String {
    move |text| with(text, ROW, replacement)
}

#[test]
fn the_folder_and_the_program_hold_the_same_mapping() {
    let loaded = Mapping::load(&feed_folder(), &settings()).unwrap();
    assert_eq!(loaded.version(), feed().version());
    assert_eq!(loaded.version().len(), 12);
}

#[test]
fn the_version_changes_with_the_file_the_code_lists_and_the_settings() {
    let base = feed().version().to_owned();
    let comment = altered(|text| format!("{text}\n# one more"), ("", "")).unwrap();
    let list =
        altered(str::to_owned, ("channels", "code,label,valid_from,valid_to,origin\n2,x,,,x\n"))
            .unwrap();
    let mut with_tax = settings();
    with_tax.tax_identity_type = Some("4".into());
    let mut with_passport = settings();
    with_passport.passport_identity_type = Some("4".into());
    let mut versions = vec![
        base,
        comment.version().to_owned(),
        list.version().to_owned(),
        Mapping::builtin(&with_tax).unwrap().version().to_owned(),
        Mapping::builtin(&with_passport).unwrap().version().to_owned(),
    ];
    versions.sort();
    versions.dedup();
    assert_eq!(versions.len(), 5);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_a_suggestion() {
    let error = only(row("TenTTHC = { from = \"TenTTHC\", as = \"line\", requird = true }"));
    assert_eq!(error.rule, "mapping_file.unknown_key");
    assert_eq!(error.hint, "did you mean `required`?");
    let line = BUILTIN.lines().position(|line| line.starts_with("TenTTHC ")).unwrap() + 1;
    assert_eq!((error.line as usize, error.column), (line, 44));
}

#[test]
fn there_is_no_way_to_write_a_default() {
    for key in ["default", "value", "constant", "else"] {
        let error =
            only(row(&format!("TenTTHC = {{ from = \"TenTTHC\", as = \"line\", {key} = \"x\" }}")));
        assert_eq!(error.rule, "mapping_file.unknown_key");
    }
}

#[test]
fn every_kind_of_mistake_in_a_row_has_its_rule() {
    for (replacement, rule) in [
        ("TenTTHC = { from = \"TenTTHC\" }", "mapping_file.missing_key"),
        ("TenTTHC = { as = \"line\" }", "mapping_file.missing_key"),
        ("TenTTHC = { from = \"TenTTHC\", as = \"lien\" }", "mapping_file.unknown"),
        (
            "TenTTHC = { from = \"TenTTHC\", as = \"line\", rule = \"paket\" }",
            "mapping_file.unknown",
        ),
        (
            "TenTTHC = { from = \"TenTTHC\", as = \"line\", required = \"yes\" }",
            "mapping_file.type",
        ),
        ("TenTTHC = \"TenTTHC\"", "mapping_file.type"),
        ("TenTTHC = { from = \"Ten//TTHC\", as = \"line\" }", "mapping_file.path"),
        ("TenTTHC = { from = \"/TenTTHC\", as = \"line\" }", "mapping_file.path"),
        ("TenTTHC = { from = \"TenTTHC@a\", as = \"line\" }", "mapping_file.path"),
        ("TenTTHC = { from = \"TenTTHC\", as = \"truth\", required = true }", "mapping_file.kind"),
        (
            "TenTTHC = { from = \"TenTTHC\", as = \"line\", codes = \"channels\" }",
            "mapping_file.kind",
        ),
        ("TenTTHC = { from = \"TenTTHC\", as = \"code\" }", "mapping_file.missing_key"),
        (
            "TenTTHC = { from = \"TenTTHC\", as = \"code\", codes = \"chanels\" }",
            "mapping_file.unknown",
        ),
        (
            "TenTTHC = { from = \"TenTTHC\", as = \"status\", codes = \"result_forms\" }",
            "mapping_file.status",
        ),
        (
            "TenTTHC = { from = \"TenTTHC\", as = \"line\", too_long = \"shorten\" }",
            "mapping_file.kind",
        ),
        (
            "TenTTHC = { from = \"TenTTHC\", as = \"line\", too_long = \"cut\" }",
            "mapping_file.unknown",
        ),
        ("TenTTHC = { from = \"TenTTHC\", as = \"line\", max = 0 }", "mapping_file.type"),
        (
            "TenTTHC = { from = \"TenTTHC\", as = \"line\", pattern = \"dosier_code\" }",
            "mapping_file.unknown",
        ),
        (
            "TenTTHC = { from = \"TenTTHC\", as = \"time\", pattern = \"dossier_code\" }",
            "mapping_file.kind",
        ),
        (
            "TenTTHC = { from = \"DanhSachLePhi/LePhi/TenPhiLePhi\", as = \"line\" }",
            "mapping_file.conflict",
        ),
        ("TenTTHC = { from = \"DanhSachLePhi\", as = \"line\" }", "mapping_file.conflict"),
        ("TenTTHC = { from = \"MaHoSo/Ten\", as = \"line\" }", "mapping_file.conflict"),
        ("", "mapping_file.uncovered"),
        ("TenTHHC = { from = \"TenTTHC\", as = \"line\" }", "mapping_file.unknown_target"),
        (
            "TenTTHC = { from = \"TenTTHC\", as = \"line\" }\nTenTTHC = { from = \"Khac\", as = \"line\" }",
            "mapping_file.syntax",
        ),
        ("TenTTHC = {", "mapping_file.syntax"),
    ] {
        let found = errors(row(replacement));
        assert!(found.iter().any(|error| error.rule == rule), "{replacement}: {found:?}");
        assert!(found.iter().all(|error| error.line > 0 && error.column > 0), "{found:?}");
    }
}

#[test]
fn a_mapping_may_ask_for_less_than_the_contract_but_not_for_more() {
    let abstract_row = |max: usize| {
        move |text: &str| {
            with(
                text,
                "TrichYeuHoSo\", as = \"line\",",
                &format!("TrichYeuHoSo\", as = \"line\", max = {max},"),
            )
        }
    };
    assert_eq!(only(abstract_row(1001)).rule, "mapping_file.length");
    let mapping = altered(abstract_row(10), ("", "")).unwrap();
    let text = mapping.map(&case("normal")).dossier.unwrap().trich_yeu_ho_so;
    assert_eq!(text, "Chứng thự…");
}

#[test]
fn numbers_and_booleans_cannot_be_optional() {
    let error = only(|text| {
        with(
            text,
            "from = \"SoLuong\", as = \"whole_number\", required = true",
            "from = \"SoLuong\", as = \"whole_number\"",
        )
    });
    assert_eq!(error.rule, "mapping_file.kind");
}

#[test]
fn a_field_that_the_source_does_not_have_is_said_so_with_its_reason() {
    let gone = |text: &str| {
        let text = with(
            text,
            "Fax           = { from = \"Fax\", as = \"line\", rule = \"packet\" }\n",
            "",
        );
        with(
            &text,
            "[dossier.lists.TaiLieuNop]",
            "[dossier.unmapped]\nFax = \"the one-stop system has no such field\"\n\n[dossier.lists.TaiLieuNop]",
        )
    };
    let report = altered(gone, ("", "")).unwrap().check(&[]);
    assert_eq!(report.unmapped.len(), 1);
    assert!(report.to_string().contains("not sent: Fax (the one-stop system has no such field)"));
    let both = |text: &str| {
        with(
            text,
            "[dossier.lists.TaiLieuNop]",
            "[dossier.unmapped]\nFax = \"x\"\n[dossier.lists.TaiLieuNop]",
        )
    };
    assert_eq!(only(both).rule, "mapping_file.duplicate");
}

#[test]
fn all_mistakes_are_reported_at_once_and_in_order() {
    let change = |text: &str| {
        let text = with(text, "\"code_of_province\"", "\"code_of_provinces\"");
        let text = with(&text, "codes = \"channels\"", "codes = \"kenh\"");
        let text = with(&text, "absent = \"refuse\"", "absent = \"nothing\"");
        with(
            &text,
            "Gia          = { from = \"Gia\", as = \"amount\"",
            "Gia = { from = \"Gia\", as = \"money\"",
        )
    };
    let errors = altered(change, ("reuse", "code,label\n0,x\n")).unwrap_err();
    insta::assert_snapshot!(without_numbers_after("toml:", &errors.to_string()), @r"
    the mapping cannot be used: 7 errors
      mapping.toml:[n]:3: unknown check `code_of_provinces` [mapping_file.unknown]
        hint: did you mean `code_of_province`?
      mapping.toml:[n]:62: no code list `kenh` [mapping_file.unknown]
        hint: code lists are files in `codelists/`, named without .csv
      mapping.toml:[n]:10: unknown meaning of absence `nothing` [mapping_file.unknown]
        hint: known: refuse, empty
      mapping.toml:[n]:28: unknown converter `money` [mapping_file.unknown]
        hint: known: text, line, time, whole_number, amount, flag, flag_word, truth, link, phone, email, code, status
      reuse.csv:1: the column `valid_from` is missing [code_list.missing_column]
      reuse.csv:1: the column `valid_to` is missing [code_list.missing_column]
      reuse.csv:1: the column `origin` is missing [code_list.missing_column]
    ");
}

#[test]
fn settings_that_make_no_sense_are_refused_with_the_files() {
    let settings = Settings {
        province_codes: vec!["H55.242".into()],
        tax_identity_type: Some("1".into()),
        passport_identity_type: Some("1".into()),
        succession_file: None,
    };
    let errors = Mapping::builtin(&settings).unwrap_err();
    assert_eq!(errors.0.len(), 4);
    assert_eq!(Mapping::builtin(&Settings::default()).unwrap_err().0.len(), 1);
}

#[test]
fn a_folder_without_a_mapping_says_which_file_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let errors = Mapping::load(folder.path(), &settings()).unwrap_err();
    assert!(errors.to_string().contains("mapping.toml"));
    assert_eq!(errors.0[0].rule, "mapping_file.unreadable");
}

#[test]
fn a_code_list_cannot_be_asked_for_outside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("feed");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::create_dir_all(folder.path().join("codelists")).unwrap();
    std::fs::write(folder.path().join("secret.csv"), "code\n").unwrap();
    std::fs::write(dir.join("mapping.toml"), BUILTIN.replace("\"channels\"", "\"../secret\""))
        .unwrap();
    let errors = Mapping::load(&dir, &settings()).unwrap_err();
    assert!(errors.0.iter().any(|error| error.message == "no code list `../secret`"));
}

#[test]
fn only_submitted_files_can_be_taken_back_and_only_in_a_known_way() {
    assert!(!feed().removes_files());
    let word = |word: &'static str| {
        altered(|text| with(text, "removed = \"keep\"", &format!("removed = \"{word}\"")), ("", ""))
    };
    assert!(word("mark_deleted").unwrap().removes_files());
    let unknown = word("delete").unwrap_err().0;
    assert_eq!(unknown[0].rule, "mapping_file.unknown");
    let elsewhere = only(|text| {
        let list = "[dossier.lists.DanhSachLePhi]\n";
        with(text, list, &format!("{list}removed = \"mark_deleted\"\n"))
    });
    assert_eq!(elsewhere.rule, "mapping_file.kind");
}

#[test]
fn mistakes_of_the_table_of_successors_are_told_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("succession.csv");
    std::fs::write(&file, "old_code,new_code,from,basis\nH03,H55,2025-07-01,\n").unwrap();
    let own = Settings { succession_file: Some(file.clone()), ..settings() };
    let errors = Mapping::builtin(&own).unwrap_err();
    assert!(errors.to_string().contains("succession.csv:2: the row has no legal basis"));

    std::fs::write(&file, "old_code,new_code,from,basis\nH03,H55,2025-07-01,NQ\n").unwrap();
    let mapping = Mapping::builtin(&own).unwrap();
    assert_ne!(mapping.version(), feed().version());
    let missing = Settings { succession_file: Some(folder.path().join("no.csv")), ..settings() };
    assert_eq!(Mapping::builtin(&missing).unwrap_err().0[0].rule, "mapping_file.unreadable");
}
