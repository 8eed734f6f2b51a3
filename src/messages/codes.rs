//! What stable codes mean, in Vietnamese. The English words stand beside the codes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A row a code: `code,meaning,what_to_do`.
pub(super) const FILE: &str = include_str!("codes.csv");

/// The Vietnamese words of a code.
#[derive(Debug, PartialEq, Eq)]
pub struct CodeWords {
    pub meaning: String,
    pub what_to_do: String,
}

static CODES: LazyLock<BTreeMap<String, CodeWords>> = LazyLock::new(|| {
    let mut codes = BTreeMap::new();
    for row in csv::Reader::from_reader(FILE.as_bytes()).into_records().flatten() {
        if let (Some(code), Some(meaning), Some(todo)) = (row.get(0), row.get(1), row.get(2)) {
            let words = CodeWords { meaning: meaning.to_owned(), what_to_do: todo.to_owned() };
            codes.insert(code.to_owned(), words);
        }
    }
    codes
});

/// The Vietnamese words of a code; `None` for one that has none.
pub fn code(code: &str) -> Option<&'static CodeWords> {
    CODES.get(code)
}

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    CODES.keys().map(String::as_str)
}
