use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::domain::time::Timestamp;

const BOTH: [Language; 2] = [Language::Vietnamese, Language::English];

/// Key, English, Vietnamese, in the order of the files; every row must be one.
fn rows() -> Vec<(String, String, String)> {
    let mut rows = Vec::new();
    for (area, file) in AREAS {
        let mut reader = csv::Reader::from_reader(file.as_bytes());
        assert_eq!(reader.headers().unwrap(), &["key", "en", "vi"][..], "{area}.csv");
        for row in reader.records() {
            let row = row.unwrap_or_else(|error| panic!("{area}.csv: {error}"));
            let key = row[0].to_owned();
            assert!(key.starts_with(&format!("{area}.")), "{key} stands in {area}.csv");
            rows.push((key, row[1].to_owned(), row[2].to_owned()));
        }
    }
    rows
}

fn placeholders(text: &str) -> BTreeSet<&str> {
    text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect()
}

#[test]
fn both_languages_are_complete_and_take_the_same_values() {
    let mut seen = BTreeSet::new();
    for (key, en, vi) in rows() {
        assert!(seen.insert(key.clone()), "{key} stands twice");
        for text in [&en, &vi] {
            assert!(!text.trim().is_empty() && text.trim() == text, "{key}: {text:?}");
            assert_eq!(text.matches('{').count(), text.matches('}').count(), "{key}: {text}");
            for name in placeholders(text) {
                let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
                assert!(!name.is_empty() && name.chars().all(is_name), "{key}: {{{name}}}");
            }
        }
        assert_ne!(en, vi, "{key} is not translated");
        assert!(!vi.contains('|'), "{key}: Vietnamese has one form for every number");
        assert_eq!(placeholders(&en), placeholders(&vi), "{key} takes other values");
        for form in en.split('|') {
            assert!(en.matches('|').count() <= 1, "{key} has too many forms");
            if en.contains('|') {
                assert!(placeholders(form).contains("number"), "{key}: {form} has no number");
            }
        }
    }
}

/// A text in English is seldom free of the words of English, and never full of the marks of
/// Vietnamese.
#[test]
fn each_text_is_in_its_language() {
    let marks = "ăâđêôơưàảãáạằẳẵắặầẩẫấậèẻẽéẹềểễếệìỉĩíịòỏõóọồổỗốộờởỡớợùủũúụừửữứựỳỷỹýỵ";
    let is_marked = |text: &str| text.to_lowercase().chars().any(|c| marks.contains(c));
    for (key, en, vi) in rows() {
        assert!(!is_marked(&without_quotes(&en)), "{key}: {en}");
        // The portal's own words and names of commands may be all that a short text has.
        assert!(is_marked(&vi) || vi.chars().count() < 12, "{key} has no diacritics: {vi}");
    }
}

/// Without what stands in “quotes”, which may be in any language.
fn without_quotes(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('“') {
        out.push_str(before);
        rest = after.split_once('”').map_or("", |(_, behind)| behind);
    }
    out.push_str(rest);
    out
}

#[test]
fn every_key_that_code_names_exists_and_every_key_is_named() {
    let keys: BTreeSet<String> = rows().into_iter().map(|(key, ..)| key).collect();
    let areas: BTreeSet<&str> = AREAS.iter().map(|(area, _)| *area).collect();
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&root, &mut |path, text| {
        for (at, _) in text.match_indices('"') {
            let rest = &text[at + 1..];
            let Some((word, _)) = rest.split_once('"') else { continue };
            let is_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
            if let Some((area, name)) = word.split_once('.')
                && areas.contains(area)
                && !name.is_empty()
                && word.chars().all(is_key)
            {
                named.insert(word.to_owned(), path.display().to_string());
            }
        }
    });
    let codes: BTreeSet<&str> = crate::cli::codes().collect();
    let options = crate::config::DEFAULT;
    for (key, path) in &named {
        let (section, option) = key.split_once('.').unwrap();
        let is_option = options.contains(&format!("[{section}]"))
            && options.lines().any(|line| line.starts_with(&format!("{option} =")));
        let is_file = matches!(option, "csv" | "json" | "rs" | "toml" | "xml");
        assert!(
            keys.contains(key) || codes.contains(key.as_str()) || is_option || is_file,
            "{path} names {key}, which has no text"
        );
    }
    for key in &keys {
        assert!(named.contains_key(key), "{key} is not used");
    }
}

fn sources(folder: &Path, found: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("messages/tests.rs")
        {
            found(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_file_of_texts_belongs_to_an_area() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/messages");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(area) = name.strip_suffix(".csv") {
            let is_read = area == "codes" || AREAS.iter().any(|(known, _)| *known == area);
            assert!(is_read, "{name} is never read");
        }
    }
}

#[test]
fn values_are_filled_in_once_and_an_unknown_name_stays() {
    assert_eq!(fill("{a} and {b}, {a}", &[("a", &"{b}"), ("b", &7)]), "{b} and 7, {b}");
    assert_eq!(fill("{c} {", &[("a", &1)]), "{c} {");
    for language in BOTH {
        assert_eq!(say(language, "no.such.key", &[]), "no.such.key");
    }
}

#[test]
fn numbers_are_grouped_as_each_language_groups_them() {
    assert_eq!(thousands(Language::English, 1_234_567), "1,234,567");
    assert_eq!(thousands(Language::Vietnamese, 1_234_567), "1.234.567");
    assert_eq!(thousands(Language::Vietnamese, 123), "123");
}

#[test]
fn times_are_told_from_now_on_both_sides() {
    let now = Timestamp::from_millis(1_000_000_000);
    for (seconds, en, vi) in [
        (0, "now", "bây giờ"),
        (12, "in 12 s", "sau 12 giây"),
        (-12, "12 s ago", "12 giây trước"),
        (-180, "3 min ago", "3 phút trước"),
        (7200, "in 2 h", "sau 2 giờ"),
        (-172_800, "2 days ago", "2 ngày trước"),
    ] {
        let at = Timestamp::from_millis(1_000_000_000 + seconds * 1000);
        assert_eq!(relative(Language::English, at, now), en);
        assert_eq!(relative(Language::Vietnamese, at, now), vi);
    }
    // As the domain says it, so that logs and commands agree.
    for seconds in [0, 119, 120, 7199, 7200, 172_799, 172_800] {
        let duration = Duration::from_secs(seconds);
        assert_eq!(span(Language::English, duration), crate::domain::time::span(duration));
    }
}

#[test]
fn a_locale_names_a_language() {
    for locale in ["vi_VN.UTF-8", "vi", "vi_VN", "VI-vn", "vi@latin"] {
        assert_eq!(Language::of_locale(locale), Language::Vietnamese, "{locale}");
    }
    for locale in ["", "C", "C.UTF-8", "POSIX", "en_US.UTF-8", "vie", "vivid"] {
        assert_eq!(Language::of_locale(locale), Language::English, "{locale}");
    }
}

/// What is in `backticks`: commands and options, the same in each language.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_code_has_its_words_in_vietnamese_and_no_word_is_left_of_a_code_that_is_gone() {
    let mut reader = csv::Reader::from_reader(codes::FILE.as_bytes());
    assert_eq!(reader.headers().unwrap(), &["code", "meaning", "what_to_do"][..]);
    let rows = reader.records().map(Result::unwrap).count();
    assert_eq!(rows, codes::all().count(), "a code stands twice");
    let mut missing = Vec::new();
    for row in crate::cli::code_rows() {
        let Some(words) = code(row.code) else {
            missing.push(row.code);
            continue;
        };
        for (en, vi) in [(row.meaning, &words.meaning), (row.what_to_do, &words.what_to_do)] {
            assert!(!vi.trim().is_empty() && vi != en, "{}: {vi}", row.code);
            assert_eq!(quoted(en), quoted(vi), "{} names other commands", row.code);
        }
    }
    assert!(missing.is_empty(), "codes.csv has no words for {missing:?}");
    let known: BTreeSet<&str> = crate::cli::codes().collect();
    let stale: Vec<&str> = codes::all().filter(|code| !known.contains(code)).collect();
    assert!(stale.is_empty(), "codes.csv has words for codes that are gone: {stale:?}");
}
