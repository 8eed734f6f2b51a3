//! What is wrong with a configuration, all of it, where, and what to do.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use crate::domain::diagnostic::Position;

/// One thing that is wrong. Never quotes a value that could be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Absent when the option stands only in the defaults, or is about the whole file.
    pub position: Option<Position>,
    /// The option's full name, e.g. `sources[0].poll_ms`; empty for the whole file.
    pub key: String,
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

/// Every problem of one file, in the order of its lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors {
    pub file_name: String,
    pub problems: Vec<Problem>,
}

impl Display for ConfigErrors {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.file_name)?;
            if let Some(position) = problem.position {
                write!(f, ":{position}")?;
            }
            if !problem.key.is_empty() {
                write!(f, ": {}", problem.key)?;
            }
            write!(f, ": {}", problem.message)?;
            if !problem.hint.is_empty() {
                write!(f, "\n  hint: {}", problem.hint)?;
            }
        }
        Ok(())
    }
}

/// Collects problems while a file is read and checked.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    file_name: String,
    text: &'t str,
    /// Where the values of the user's options stand, by full name.
    places: BTreeMap<String, usize>,
    found: Vec<(Option<usize>, Problem)>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(file_name: &str, text: &'t str) -> Self {
        Self { file_name: file_name.to_owned(), text, places: BTreeMap::new(), found: Vec::new() }
    }

    /// Remembers where an option's value stands.
    pub(super) fn place(&mut self, key: &str, offset: usize) {
        self.places.insert(key.to_owned(), offset);
    }

    /// Whether the user's file has this option.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// About an option; its place, or that of the section around it, is looked up. Nothing is
    /// added about an option that is known to be wrong already: its value is a stand-in.
    pub(super) fn at(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let is_about = |problem: &Problem| {
            key.strip_prefix(problem.key.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        if self.found.iter().any(|(_, problem)| is_about(problem)) {
            return;
        }
        let mut around = key;
        let offset = loop {
            if let Some(offset) = self.places.get(around) {
                break Some(*offset);
            }
            match around.rfind(['.', '[']) {
                Some(end) => around = &around[..end],
                None => break None,
            }
        };
        self.push(offset, key, message.into(), hint.into());
    }

    /// About a place in the file.
    pub(super) fn in_text(
        &mut self,
        offset: usize,
        key: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(Some(offset), key, message.into(), hint.into());
    }

    /// About the whole file.
    pub(super) fn whole(&mut self, message: impl Into<String>, hint: impl Into<String>) {
        self.push(None, "", message.into(), hint.into());
    }

    pub(super) fn none(&mut self) -> Result<(), ConfigErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        let mut found = std::mem::take(&mut self.found);
        // Stable: problems of one place keep the order in which they were found.
        found.sort_by_key(|(offset, _)| offset.unwrap_or(usize::MAX));
        Err(ConfigErrors {
            file_name: self.file_name.clone(),
            problems: found.into_iter().map(|(_, problem)| problem).collect(),
        })
    }

    /// For a caller who knows that something is wrong.
    pub(super) fn into_errors(mut self) -> ConfigErrors {
        if self.found.is_empty() {
            self.whole("the file cannot be used", "");
        }
        match self.none() {
            Err(errors) => errors,
            Ok(()) => unreachable!("a problem was added above"),
        }
    }

    fn push(&mut self, offset: Option<usize>, key: &str, message: String, hint: String) {
        let problem = Problem {
            position: offset.map(|offset| position(self.text, offset)),
            key: key.to_owned(),
            message,
            hint,
        };
        self.found.push((offset, problem));
    }
}

fn position(text: &str, offset: usize) -> Position {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_from = before.rfind('\n').map_or(0, |newline| newline + 1);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
    Position {
        line: number(before.matches('\n').count()),
        column: number(before[line_from..].chars().count()),
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()) / 3 + 1)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance; swapping neighbours counts as one.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let width = other.len() + 1;
    let mut costs = vec![0; (one.len() + 1) * width];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            costs[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace =
                    costs[(i - 1) * width + j - 1] + usize::from(one[i - 1] != other[j - 1]);
                let drop = costs[(i - 1) * width + j] + 1;
                let add = costs[i * width + j - 1] + 1;
                let swapped =
                    i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
                let swap = if swapped { costs[(i - 2) * width + j - 2] + 1 } else { usize::MAX };
                replace.min(drop).min(add).min(swap)
            };
        }
    }
    costs[costs.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_found_and_no_other() {
        let known = ["poll_ms", "page_limit", "overlap_ms", "timeout_ms"];
        let table = [
            ("pol_ms", Some("poll_ms")),
            ("poll_sm", Some("poll_ms")),
            ("page-limit", Some("page_limit")),
            ("time_out_ms", Some("timeout_ms")),
            ("colour", None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, known.into_iter()), expected, "{word}");
        }
        assert_eq!((distance("", "abc"), distance("ab", "ba"), distance("a", "a")), (3, 1, 0));
    }
}
