//! Dossiers through the built-in mapping: a packet exactly when nothing is wrong, within the
//! contract's lengths, and diagnostics that describe values and quote nobody.

use std::path::Path;
use std::sync::LazyLock;

use arbitrary::Unstructured;
use hoso_gateway::domain::diagnostic::Severity;
use hoso_gateway::domain::dossier::Dossier;
use hoso_gateway::domain::record::{Record, ValueRef};
use hoso_gateway::domain::step::identify;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::mapping::{Mapped, Mapping, Settings};

use super::{CANARY, assert_sentence, edits, files, is_code, recipe, text};

const SAMPLES: [&str; 4] = [
    include_str!("../../mappings/feed/cases/normal/input.xml"),
    include_str!("../../mappings/feed/cases/supplement_rounds/input.xml"),
    include_str!("../../mappings/feed/cases/firm_with_tax_number/input.xml"),
    include_str!("../../mappings/feed/cases/several_files_are_all_sent/input.xml"),
];

/// What they hold belongs to a person.
const PERSONAL: [&str; 8] = [
    "ChuHoSo",
    "SoDinhDanh",
    "SoDienThoai",
    "Email",
    "TrichYeuHoSo",
    "NguoiXuLy",
    "GhiChu",
    "NoiDungXuLy",
];

static FEED: LazyLock<Mapping> =
    LazyLock::new(|| Mapping::builtin(&settings()).unwrap_or_else(|errors| panic!("{errors}")));

pub(super) fn settings() -> Settings {
    Settings {
        province_codes: vec!["H55".to_owned(), "H03".to_owned()],
        tax_identity_type: Some("5".to_owned()),
        passport_identity_type: Some("3".to_owned()),
        ..Settings::default()
    }
}

pub(super) fn seeds(root: &Path) -> Vec<Vec<u8>> {
    let cases = files(&root.join("mappings/feed/cases"));
    cases.into_iter().filter(|file| file.starts_with(b"<")).collect()
}

pub(super) fn check(bytes: &[u8]) {
    let Some(recipe) = recipe(bytes) else {
        assert_mapped(&FEED, &text(bytes));
        return;
    };
    let mut recipe = Unstructured::new(recipe);
    let sample = *recipe.choose(&SAMPLES).unwrap_or(&SAMPLES[0]);
    let Ok(Some(secret)) = recipe.arbitrary::<Option<&str>>() else {
        assert_mapped(&FEED, &edits::edited(sample, &mut recipe));
        return;
    };
    let name = *recipe.choose(&PERSONAL).unwrap_or(&PERSONAL[0]);
    let secret = format!("{CANARY}{}", secret.replace('&', "&amp;").replace('<', "&lt;"));
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut xml = String::new();
    let mut rest = sample;
    while let Some((before, inside)) = rest.split_once(&start) {
        let (_, after) = inside.split_once(&end).expect("an end tag");
        xml.extend([before, &start, &secret, &end]);
        rest = after;
    }
    xml.push_str(rest);
    let mapped = assert_mapped(&FEED, &xml);
    for found in &mapped.diagnostics {
        assert!(!found.to_string().contains(CANARY), "{found}");
    }
}

/// What holds of any mapping and any document.
pub(super) fn assert_mapped(mapping: &Mapping, xml: &str) -> Mapped {
    let mapped = mapping.map(xml);
    let refused = mapped.diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(mapped.dossier.is_none(), refused, "{:?}", mapped.diagnostics);
    assert!(!refused || mapped.steps.is_empty());
    for found in &mapped.diagnostics {
        assert!(is_code(&found.rule), "{}", found.rule);
        assert_sentence(&found.expected);
        assert_sentence(&found.found);
    }
    let Some(dossier) = &mapped.dossier else { return mapped };
    assert_record(dossier);
    let json = serde_json::to_string(dossier).expect("a packet");
    assert_eq!(&serde_json::from_str::<Dossier>(&json).expect("the packet again"), dossier);
    assert!(Timestamp::from_portal(&dossier.ngay_tiep_nhan).is_some());
    assert_eq!(mapped.ma_ho_so.as_deref(), Some(dossier.ma_ho_so.as_str()));
    mapped.steps.iter().for_each(|step| assert_record(step));
    let mut names: Vec<String> =
        identify(mapped.steps.clone()).iter().map(|(name, _)| name.to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), mapped.steps.len(), "two steps of one name");
    mapped
}

/// No value is longer than the contract allows.
fn assert_record(record: &dyn Record) {
    for (at, field) in record.fields().iter().enumerate() {
        match record.get(at) {
            ValueRef::Text(value) => {
                let length = value.encode_utf16().count();
                assert!(
                    field.length_max.is_none_or(|max| length <= max),
                    "{} {length}",
                    field.name
                );
            }
            ValueRef::List(count) => {
                for item in 0..count {
                    assert_record(record.item(at, item).expect("an item"));
                }
            }
            _ => {}
        }
    }
}
