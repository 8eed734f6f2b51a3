use std::path::Path;

use super::*;

fn settings() -> Settings {
    Settings {
        province_codes: vec!["H55".into(), "H03".into()],
        ..Settings::default()
    }
}

fn feed() -> Mapping {
    Mapping::builtin(&settings()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn case(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("mappings/feed/cases")
        .join(name);
    std::fs::read_to_string(path.join("input.xml")).unwrap()
}

#[test]
fn every_case_of_the_feed_passes() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/feed/cases");
    let report = run_cases(&feed(), &cases).unwrap();
    assert!(report.passed(), "{report}");
    assert!(report.cases.len() >= 20, "{}", report.cases.len());
}

#[test]
fn the_normal_case_maps() {
    let mapped = feed().map(&case("normal"));
    assert_eq!(mapped.diagnostics, []);
}
