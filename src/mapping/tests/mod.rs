//! Stories of the mapping as a whole; parts have their tests beside them.

mod files;
mod practices;
mod properties;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::*;
use crate::domain::diagnostic::Position;
use crate::domain::record::{FieldKind, FieldSpec};

pub(super) fn settings() -> Settings {
    Settings { province_codes: vec!["H55".into(), "H03".into()], ..Settings::default() }
}

pub(super) fn feed() -> &'static Mapping {
    static FEED: LazyLock<Mapping> =
        LazyLock::new(|| Mapping::builtin(&settings()).unwrap_or_else(|errors| panic!("{errors}")));
    &FEED
}

fn feed_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/feed")
}

/// The input of a case of the feed.
pub(super) fn case(name: &str) -> String {
    std::fs::read_to_string(feed_folder().join("cases").join(name).join("input.xml")).unwrap()
}

/// The builtin mapping with something else in its file or in a code list.
pub(super) fn altered(
    change: impl Fn(&str) -> String,
    list: (&str, &str),
) -> Result<Mapping, FileErrors> {
    let mut lists = |name: &str| {
        let found = BUILTIN_CODE_LISTS.iter().find(|(known, _)| *known == name);
        Ok(found.map(|(name, text)| {
            let text = if *name == list.0 { list.1 } else { text };
            (format!("{name}.csv"), text.to_owned())
        }))
    };
    let table = Mapping::succession(None, &settings())?;
    Mapping::parse("mapping.toml", &change(BUILTIN), &mut lists, table, &settings())
}

pub(super) fn rules(mapped: &Mapped) -> Vec<&str> {
    mapped.diagnostics.iter().map(|found| found.rule.as_str()).collect()
}

pub(super) fn with(xml: &str, from: &str, to: &str) -> String {
    assert!(xml.contains(from), "{from}");
    xml.replacen(from, to, 1)
}

/// Line numbers of the mapping file change with every comment in it.
pub(super) fn without_numbers_after(marker: &str, text: &str) -> String {
    let mut parts = text.split(marker);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.extend([marker, "[n]", part.trim_start_matches(|c: char| c.is_ascii_digit())]);
    }
    kept
}

#[test]
fn every_case_of_the_feed_passes() {
    let report = run_cases(feed(), &feed_folder().join("cases")).unwrap();
    assert!(report.passed(), "{report}");
    assert!(report.cases.len() >= 30, "{}", report.cases.len());
}

#[test]
fn a_case_that_differs_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let case_folder = folder.path().join("changed");
    std::fs::create_dir(&case_folder).unwrap();
    std::fs::write(case_folder.join("input.xml"), case("doubtful_phone_is_sent")).unwrap();
    let expected =
        std::fs::read_to_string(feed_folder().join("cases/doubtful_phone_is_sent/expected.json"))
            .unwrap();
    let expected = with(&expected, "\"HinhThuc\": \"0\"", "\"HinhThuc\": \"1\"");
    std::fs::write(case_folder.join("expected.json"), expected).unwrap();
    std::fs::write(case_folder.join("expected.diagnostics.txt"), "warning[mapping.other]\n")
        .unwrap();
    let report = run_cases(feed(), folder.path()).unwrap();
    assert!(!report.passed());
    insta::assert_snapshot!(report, @r#"
    FAILED  changed
              dossier.HinhThuc: expected "1", found "0"
              unexpected: warning[mapping.email] HoSo/Email at 12:3 -> Email: expected an e-mail address, found text of 8 characters
              unexpected: warning[mapping.phone] HoSo/SoDienThoai at 14:3 -> SoDienThoai: expected a telephone number, found text of 8 characters
              did not come: warning[mapping.other]
    1 cases, 1 failed
    "#);
}

#[test]
fn a_folder_without_cases_or_expectations_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(run_cases(feed(), folder.path()), Err(CasesError::NoCases { .. })));
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    assert!(run_cases(feed(), folder.path()).is_err());
    std::fs::write(folder.path().join("empty/input.xml"), case("normal")).unwrap();
    assert!(matches!(run_cases(feed(), folder.path()), Err(CasesError::NoCases { .. })));
}

#[test]
fn the_feed_maps_every_field_of_the_contract() {
    fn count(specs: &[FieldSpec]) -> usize {
        let items = specs.iter().map(|spec| match spec.kind {
            FieldKind::List(items) => count(items),
            _ => 0,
        });
        specs.len() + items.sum::<usize>()
    }
    let report = feed().check(&[]);
    assert_eq!(report.unmapped, []);
    // The steps are one more list.
    assert_eq!(report.mapped_fields, count(Dossier::FIELDS) + count(Step::FIELDS) + 1);
}

#[test]
fn the_whole_sample_is_used_and_what_is_new_in_it_is_reported() {
    let normal = case("normal");
    assert_eq!(feed().check(&[&normal]).unused, []);
    let more = with(&normal, "<MaTTHC>", "<SoBienNhan nguon='x'>7</SoBienNhan><MaTTHC cu='1'>");
    let report = feed().check(&[&more, &more, "<HoSo>", "<Khac/>"]);
    let unused: Vec<_> =
        report.unused.iter().map(|element| (element.path.as_str(), element.seen)).collect();
    assert_eq!(unused, [("MaTTHC/@cu", 2), ("SoBienNhan", 2)]);
    assert_eq!((report.samples, report.unreadable_samples), (4, 2));
    assert!(report.to_string().contains("unused: SoBienNhan (seen 2 times)"));
}

#[test]
fn the_identity_of_a_refused_dossier_is_still_known() {
    let mapped = feed().map(&case("missing_fields"));
    assert_eq!(mapped.dossier, None);
    assert!(mapped.steps.is_empty());
    assert_eq!(mapped.ma_ho_so.as_deref(), Some("H55.242-260126-0001"));
    assert_eq!(feed().map("").ma_ho_so, None);
}

#[test]
fn a_document_without_any_dossier_has_one_error_and_never_a_dossier() {
    for text in ["", "<HoSo>", "<HoSo></HoSo><HoSo/>", "<html><body>500</body></html>", "{}"] {
        let mapped = feed().map(text);
        assert_eq!(mapped.diagnostics.len(), 1, "{text}: {:?}", mapped.diagnostics);
        assert_eq!(mapped.dossier, None, "{text}");
    }
}

#[test]
fn a_list_element_twice_text_among_elements_and_elements_in_text_are_refused() {
    let normal = case("normal");
    for (from, to, rule) in [
        ("<DanhSachLePhi>", "<DanhSachLePhi/><DanhSachLePhi>", "mapping.duplicate"),
        ("<DanhSachTepDinhKemKhac>", "<DanhSachTepDinhKemKhac>không", "mapping.stray_text"),
        ("<LePhi>", "<LePhi>4000", "mapping.stray_text"),
        ("<Gia>4000", "<Gia>4000<b/>", "mapping.nested"),
    ] {
        assert_eq!(rules(&feed().map(&with(&normal, from, to))), [rule], "{to}");
    }
}

#[test]
fn an_attribute_can_fill_a_field() {
    let change = |text: &str| {
        let row = "ThongTinKhac  = { from = \"ThongTinKhac\", as = \"text\", rule = \"packet\" }";
        with(
            text,
            row,
            "ThongTinKhac = { from = \"DonViXuLy/@maDonVi\", as = \"text\", pattern = \"agency_code\" }",
        )
    };
    let mapping = altered(change, ("", "")).unwrap();
    let normal = case("normal");
    let given = with(&normal, "<DonViXuLy>", "<DonViXuLy maDonVi='H55.242'>");
    assert_eq!(mapping.map(&given).dossier.unwrap().thong_tin_khac, "H55.242");
    let wrong = mapping.map(&given.replace("'H55.242'", "'H55/242'"));
    assert_eq!(rules(&wrong), ["mapping.agency_code"]);
    assert_eq!(wrong.diagnostics[0].source_path, "HoSo/DonViXuLy/@maDonVi");
}

#[test]
fn a_code_must_have_been_valid_on_the_day_of_reception() {
    let list = "code,label,valid_from,valid_to,origin\n2,Trực tuyến,2021-01-01,2026-01-26,x\n";
    let mapping = altered(str::to_owned, ("channels", list)).unwrap();
    let normal = case("normal");
    assert_eq!(rules(&mapping.map(&normal)), Vec::<&str>::new());
    let list = list.replace("2026-01-26", "2026-01-25");
    let mapping = altered(str::to_owned, ("channels", &list)).unwrap();
    let mapped = mapping.map(&normal);
    assert_eq!(rules(&mapped), ["mapping.code_validity"]);
    assert_eq!(mapped.diagnostics[0].position, Some(Position { line: 7, column: 3 }));
}

#[test]
fn a_source_word_is_translated_by_the_code_list() {
    let list = "code,label,valid_from,valid_to,origin,source\n9,x,,,x,CHO_TRA\n2,x,,,x,MOI\n4,x,,,x,\n9,x,,,x,\n2,x,,,x,\n";
    let mapping = altered(str::to_owned, ("dossier_status", list)).unwrap();
    let xml = with(&case("normal"), "<TrangThaiHoSo>9", "<TrangThaiHoSo>CHO_TRA");
    assert_eq!(mapping.map(&xml).dossier.unwrap().trang_thai_ho_so, "9");
}

#[test]
fn lengths_hold_at_their_limit_in_utf_16_units() {
    let small = case("unusual_transition");
    let name = |units: usize| "𝒳".repeat(units / 2) + &"ạ".repeat(units % 2);
    let mapped = |units| {
        feed().map(&with(&small, "<NguoiXuLy>Trần Thị Mẫu", &format!("<NguoiXuLy>{}", name(units))))
    };
    assert!(mapped(50).dossier.is_some());
    assert!(mapped(49).dossier.is_some());
    assert!(rules(&mapped(51)).contains(&"mapping.length"));

    let abstract_of =
        |units| feed().map(&with(&small, "Chứng thực bản sao 02 trang", &name(units)));
    assert_eq!(rules(&abstract_of(1000)), ["mapping.transition"]);
    let shortened = abstract_of(1001);
    assert_eq!(rules(&shortened), ["mapping.shortened", "mapping.transition"]);
    let text = shortened.dossier.unwrap().trich_yeu_ho_so;
    assert!(text.encode_utf16().count() <= 1000 && text.ends_with('…'));
}

#[test]
fn explaining_a_status_names_its_element_its_row_and_its_rule() {
    let explanation = feed().explain(&case("normal"), Some("TrangThaiHoSo"));
    assert_eq!(explanation.fields.len(), 1);
    let lines = explanation.to_string();
    let body = lines.split_once('\n').unwrap().1;
    insta::assert_snapshot!(without_numbers_after("mapping.toml line ", body), @r#"
    TrangThaiHoSo = "9"
        from HoSo/TrangThaiHoSo at 18:3
        as status, mapping.toml line [n], dossier_status line 10: 9 = Đã xử lý xong
        because of QCVN 120:2019/BTTTT, the ten statuses; a status is sent as the source has it, also 5, 6 and 8
    "#);
}

#[test]
fn an_explanation_covers_every_item_and_shows_no_personal_value() {
    let explanation = feed().explain(&case("normal"), None);
    let targets: Vec<&str> = explanation.fields.iter().map(|field| field.target.as_str()).collect();
    assert!(
        targets.contains(&"steps[3].NguoiXuLy") && targets.contains(&"DinhDanhCHS[1].SoDinhDanh")
    );
    let text = format!("{explanation}{}", serde_json::to_string(&explanation).unwrap());
    for personal in ["Nguyễn Văn Thử", "999000000001", "0900000000", "Trần Thị Mẫu", "/t/9f1c"]
    {
        assert!(!text.contains(personal), "{personal}");
    }
    let absent = feed().explain(&case("missing_fields"), Some("TenTTHC"));
    assert_eq!((absent.fields[0].position, absent.fields[0].value.as_deref()), (None, None));
    assert!(feed().explain("<HoSo", Some("Khong")).to_string().contains("no such field"));
}

#[test]
fn diagnostics_never_quote_what_they_found() {
    let secret = "999000000777";
    let normal = case("normal");
    let fields = Dossier::FIELDS.iter().chain(Step::FIELDS).map(|spec| spec.name);
    for name in
        fields.chain(["LoaiDinhDanh", "Gia", "DuongDanTaiTepTin", "MaGiayToKetQua", "IsDeleted"])
    {
        let Some(at) = normal.find(&format!("<{name}>")) else {
            continue;
        };
        let at = at + name.len() + 2;
        let end = at + normal[at..].find('<').unwrap();
        let mapped = feed().map(&format!("{}{secret} {secret}{}", &normal[..at], &normal[end..]));
        for found in &mapped.diagnostics {
            assert!(!found.to_string().contains(secret), "{found}");
        }
    }
}
