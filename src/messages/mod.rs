//! What operators read, in Vietnamese and in English: one catalogue.
//!
//! Owns the texts and how numbers and times are said in each language. Refuses to know who says
//! them, when, and which language was asked for. Help texts, logs and the keys of JSON are English
//! and not in here.
//!
//! A text stands in `AREA.csv` as a row `key,en,vi`: the key begins with the area's name
//! (`dossier.waits_mapping`), `{name}` is filled in, and `one|many` is for numbers. A new area is a
//! file and a row of `AREAS`. Tests hold that both languages are complete, that they take the same
//! values, that each key which code names exists and that none is left over; so a key is always
//! written whole, never put together.
//!
//! What stable codes mean stands beside the code (`CODES` tables) in English; `codes.csv` has the
//! Vietnamese words.

mod codes;
#[cfg(test)]
mod tests;
mod time;

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::LazyLock;

pub use codes::{CodeWords, code};
pub use time::{relative, span, when};

/// The language of what operators read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    Vietnamese,
    English,
}

/// Area, and its texts.
const AREAS: &[(&str, &str)] = &[
    ("code", include_str!("code.csv")),
    ("doctor", include_str!("doctor.csv")),
    ("dossier", include_str!("dossier.csv")),
    ("explain", include_str!("explain.csv")),
    ("state", include_str!("state.csv")),
    ("time", include_str!("time.csv")),
];

/// One text in both languages.
#[derive(Debug)]
struct Text {
    en: String,
    vi: String,
}

/// Every text by its key. Rows that are no rows are left out; tests find them.
static TEXTS: LazyLock<BTreeMap<String, Text>> = LazyLock::new(|| {
    let mut texts = BTreeMap::new();
    for (_, file) in AREAS {
        for row in csv::Reader::from_reader(file.as_bytes()).into_records().flatten() {
            if let (Some(key), Some(en), Some(vi)) = (row.get(0), row.get(1), row.get(2)) {
                texts.insert(key.to_owned(), Text { en: en.to_owned(), vi: vi.to_owned() });
            }
        }
    }
    texts
});

impl Language {
    /// `vi_VN.UTF-8` and `vi` are Vietnamese; everything else is English.
    pub fn of_locale(locale: &str) -> Self {
        let language = locale.split(['_', '.', '@', '-']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("vi") { Self::Vietnamese } else { Self::English }
    }
}

/// The text of a key with its values filled in; the key itself where there is no such text.
pub fn say(language: Language, key: &str, values: &[(&str, &dyn Display)]) -> String {
    fill(text(language, key), values)
}

/// The text of a key for a number of things: `one|many` in English, one form in Vietnamese. The
/// number is `{number}`.
pub fn count(language: Language, number: u64, key: &str) -> String {
    let forms = text(language, key);
    let form = match forms.split_once('|') {
        Some((one, _)) if number == 1 => one,
        Some((_, many)) => many,
        None => forms,
    };
    fill(form, &[("number", &thousands(language, number))])
}

/// `1,204` in English, `1.204` in Vietnamese.
pub fn thousands(language: Language, number: u64) -> String {
    let separator = match language {
        Language::Vietnamese => '.',
        Language::English => ',',
    };
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

fn text(language: Language, key: &str) -> &str {
    match (TEXTS.get(key), language) {
        (Some(text), Language::Vietnamese) => &text.vi,
        (Some(text), Language::English) => &text.en,
        (None, _) => key,
    }
}

/// One pass, so that a value with braces in it stays as it is.
fn fill(text: &str, values: &[(&str, &dyn Display)]) -> String {
    let mut filled = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let value = after.split_once('}').and_then(|(name, behind)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, behind))
        });
        if let Some((value, behind)) = value {
            // Writing to a String cannot fail.
            let _infallible = write!(filled, "{value}");
            rest = behind;
        } else {
            filled.push('{');
            rest = after;
        }
    }
    filled.push_str(rest);
    filled
}
