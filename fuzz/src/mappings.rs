//! `mapping.toml` as somebody may write it: every mistake at its place, and what is taken maps
//! documents by the same rules as the built-in one.

use std::collections::BTreeMap;
use std::path::Path;

use arbitrary::Unstructured;
use hoso_gateway::mapping::{FileErrors, Mapping};

use super::{documents, edits, is_code, recipe, text};

const FEED: &str = include_str!("../../mappings/feed/mapping.toml");
const SAMPLES: [&str; 2] = [
    include_str!("../../mappings/feed/cases/normal/input.xml"),
    include_str!("../../mappings/feed/cases/supplement_rounds/input.xml"),
];

pub(super) const LISTS: [(&str, &str); 9] = [
    ("channels", include_str!("../../mappings/codelists/channels.csv")),
    ("dossier_status", include_str!("../../mappings/codelists/dossier_status.csv")),
    ("fee_collection", include_str!("../../mappings/codelists/fee_collection.csv")),
    ("fee_kinds", include_str!("../../mappings/codelists/fee_kinds.csv")),
    ("filing_places", include_str!("../../mappings/codelists/filing_places.csv")),
    ("online_payment", include_str!("../../mappings/codelists/online_payment.csv")),
    ("result_forms", include_str!("../../mappings/codelists/result_forms.csv")),
    ("reuse", include_str!("../../mappings/codelists/reuse.csv")),
    ("subject_types", include_str!("../../mappings/codelists/subject_types.csv")),
];
pub(super) const SUCCESSION: &str = include_str!("../../mappings/succession.csv");

pub(super) fn seeds(root: &Path) -> Vec<Vec<u8>> {
    let mapping = std::fs::read(root.join("mappings/feed/mapping.toml")).expect("the mapping");
    // A small one reaches further than the whole in the same time.
    let small = "root = \"HoSo\"\nchecks = []\n[rules]\nr = \"words\"\n\
                 [dossier.fields]\nMaHoSo = { from = \"MaHoSo\", required = true, rule = \"r\" }\n\
                 [dossier.unmapped]\nGhiChu = \"no source\"\n[steps]\nfrom = \"B/C\"\n";
    vec![mapping, small.as_bytes().to_vec()]
}

pub(super) fn check(bytes: &[u8]) {
    let mapping = match recipe(bytes) {
        Some(recipe) => edits::edited(FEED, &mut Unstructured::new(recipe)),
        None => text(bytes).into_owned(),
    };
    take(&mapping, &BTreeMap::from(LISTS), SUCCESSION);
}

/// Reads the files; a mapping that is taken has to map.
pub(super) fn take(mapping: &str, lists: &BTreeMap<&str, &str>, succession: &str) {
    match Mapping::from_texts(mapping, lists, succession, &documents::settings()) {
        Ok(read) => {
            assert_eq!(read.version().len(), 12);
            for sample in SAMPLES {
                documents::assert_mapped(&read, sample);
                let explanation = read.explain(sample, None);
                assert!(!explanation.to_string().is_empty());
            }
            assert!(!read.check(&SAMPLES).to_string().is_empty());
        }
        Err(errors) => assert_errors(&errors, &[mapping, succession]),
    }
}

/// Each mistake has a rule that `hoso explain` knows, a place in a file, and words.
pub(super) fn assert_errors(errors: &FileErrors, texts: &[&str]) {
    assert!(!errors.0.is_empty());
    let lines = texts.iter().map(|text| text.lines().count()).max().unwrap_or(0) + 1;
    for error in &errors.0 {
        assert!(is_code(error.rule), "{}", error.rule);
        assert!(!error.message.trim().is_empty());
        assert!(error.line as usize <= lines.max(100), "{error}");
    }
}
