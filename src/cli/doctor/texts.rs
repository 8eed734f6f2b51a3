//! The doctor's words in both languages, from `doctor.csv` (`key,en,vi`).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::LazyLock;

use crate::config::{Environment as _, SystemEnvironment};

/// The language of what operators read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Vietnamese,
    English,
}

impl Language {
    /// Of the locale, in the order in which the C library looks.
    pub(super) fn of_environment() -> Self {
        let variables = ["LC_ALL", "LC_MESSAGES", "LANG"];
        let locale = variables.iter().find_map(|name| SystemEnvironment.variable(name));
        match locale.as_deref().and_then(|locale| locale.split(['_', '.', '@', '-']).next()) {
            Some(language) if language.eq_ignore_ascii_case("vi") => Self::Vietnamese,
            _ => Self::English,
        }
    }
}

const FILE: &str = include_str!("doctor.csv");

/// Key, English, Vietnamese.
static TEXTS: LazyLock<BTreeMap<String, (String, String)>> = LazyLock::new(|| {
    let rows = csv::Reader::from_reader(FILE.as_bytes()).into_records().flatten();
    let text = |row: &csv::StringRecord, at| row.get(at).unwrap_or_default().to_owned();
    rows.map(|row| (text(&row, 0), (text(&row, 1), text(&row, 2)))).collect()
});

/// The text of a key with its values filled in; the key itself where there is no such text.
pub(super) fn say(language: Language, key: &str, values: &[(&str, &dyn Display)]) -> String {
    let Some((english, vietnamese)) = TEXTS.get(key) else { return key.to_owned() };
    let text = if language == Language::Vietnamese { vietnamese } else { english };
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let value = after.split_once('}').and_then(|(name, behind)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value.to_string(), behind))
        });
        let (value, behind) = value.unwrap_or_else(|| ("{".to_owned(), after));
        filled.push_str(&value);
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn places(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect()
    }

    #[test]
    fn both_languages_are_complete_and_take_the_same_values() {
        assert!(TEXTS.len() > 50);
        for (key, (english, vietnamese)) in TEXTS.iter() {
            assert!(key.starts_with("doctor."), "{key}");
            assert!(!english.is_empty() && !vietnamese.is_empty(), "{key}");
            assert_eq!(places(english), places(vietnamese), "{key}");
        }
    }

    #[test]
    fn values_are_filled_in_and_a_brace_in_a_value_stays() {
        let said =
            say(Language::English, "doctor.not_reached", &[("name", &"{why}"), ("why", &"x")]);
        assert_eq!(said, "{why} cannot be reached: x");
        assert!(say(Language::Vietnamese, "doctor.offline", &[]).contains("Cổng DVCQG"));
        assert_eq!(say(Language::English, "doctor.nothing", &[]), "doctor.nothing");
    }
}
