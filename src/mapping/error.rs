//! What is wrong with a mapping's own files: all of it at once, each with its place.

use std::fmt::{Display, Formatter};
use std::path::Path;

use serde::Serialize;

/// One mistake in a mapping file, a code list or the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileError {
    /// The file as it was named; `settings` for values that come from the configuration.
    pub file: String,
    /// From 1; 0 when the whole file is meant.
    pub line: u32,
    /// In characters, from 1; 0 when the whole line is meant.
    pub column: u32,
    /// Stable, e.g. `mapping_file.unknown_key`.
    pub rule: &'static str,
    pub message: String,
    /// What to do; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Display for FileError {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        write!(f, ": {} [{}]", self.message, self.rule)?;
        if !self.hint.is_empty() {
            write!(f, "\n    hint: {}", self.hint)?;
        }
        Ok(())
    }
}

/// Every mistake of a mapping; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FileErrors(pub Vec<FileError>);

impl Display for FileErrors {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "the mapping cannot be used: {} error{plural}", self.0.len())?;
        for error in &self.0 {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FileErrors {}

impl FileErrors {
    /// A file that could not be read at all.
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> FileError {
        FileError {
            file: file.display().to_string(),
            line: 0,
            column: 0,
            rule: "mapping_file.unreadable",
            message: format!("cannot be read: {error}"),
            hint: String::new(),
        }
    }
}

/// `did you mean …?` when one of the known words is close.
pub(super) fn suggestion<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= 1 + word.chars().count() / 4)
        .min();
    match near {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None if known.len() <= 20 => format!("known: {}", known.join(", ")),
        None => String::new(),
    }
}

/// Levenshtein distance in characters, letter case apart.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().collect();
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, from) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (other, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[other + 1];
            row[other + 1] = replaced.min(diagonal + 1).min(row[other] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_is_recognised_and_another_word_is_not() {
        let known = ["required", "from", "max"];
        assert_eq!(suggestion("requird", known), "did you mean `required`?");
        assert_eq!(suggestion("From", known), "did you mean `from`?");
        assert_eq!(suggestion("colour", known), "known: required, from, max");
    }
}
