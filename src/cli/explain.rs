//! `hoso explain`: what a stable code means and what to do.

use serde::Serialize;

use super::Invocation;
use super::failure::{Exit, Failure};
use super::words;
use crate::messages::{self, Language, say};

/// Say what a code means and what to do about it
///
/// Every failure, refusal and finding carries a stable code, in messages, logs and the ledger.
/// Without a code, all of them are listed.
///
/// Example: hoso explain portal.refused
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// As it stands in brackets in a message, e.g. mapping.required
    code: Option<String>,
}

/// One row of the tables of codes.
#[derive(Debug, Clone, Copy)]
pub struct CodeRow {
    pub code: &'static str,
    pub meaning: &'static str,
    pub what_to_do: &'static str,
}

/// A code in the reader's language.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CodeSaid {
    pub code: &'static str,
    pub meaning: String,
    pub what_to_do: String,
}

impl CodeSaid {
    /// Code, meaning, what to do: a paragraph each.
    pub(super) fn text(&self, language: Language) -> String {
        let todo = say(language, "code.what_to_do", &[("what", &self.what_to_do)]);
        format!("{}\n\n{}\n\n{todo}", self.code, self.meaning)
    }
}

pub(super) fn run(invocation: &Invocation, arguments: &Arguments) -> Result<(), Failure> {
    let language = invocation.language();
    let Some(code) = &arguments.code else {
        let all: Vec<CodeSaid> = all().map(|row| said(language, &row)).collect();
        let headings = ["code.heading", "code.meaning_heading"].map(|key| say(language, key, &[]));
        invocation.output.result(&all, |all| {
            words::table(
                &headings.each_ref().map(String::as_str),
                all.iter()
                    .map(|row| vec![row.code.to_owned(), first_sentence(&row.meaning).to_owned()]),
            )
        });
        return Ok(());
    };
    let code = code.trim_matches(['[', ']', '`']);
    match find(language, code) {
        Some(row) => {
            invocation.output.result(&row, |row| row.text(language));
            Ok(())
        }
        None => {
            Err(Failure::new(Exit::NotFound, format!("`{code}` is not a code of this program"))
                .hint(match nearest(code).as_slice() {
                    [] => "`hoso explain` lists them all".to_owned(),
                    near => format!("did you mean {}? `hoso explain` lists them all", or(near)),
                }))
        }
    }
}

/// What a code says.
pub(super) fn find(language: Language, code: &str) -> Option<CodeSaid> {
    all().find(|row| row.code == code).map(|row| said(language, &row))
}

/// What to do about a code; nothing for one that is not known, or where nothing is to be done.
pub(super) fn advice(language: Language, code: &str) -> Option<String> {
    let row = all().find(|row| row.code == code)?;
    (row.what_to_do != "Nothing.").then(|| said(language, &row).what_to_do)
}

/// A code without Vietnamese words (tests know of none) is told in English rather than not at all.
fn said(language: Language, row: &CodeRow) -> CodeSaid {
    let words = match language {
        Language::Vietnamese => messages::code(row.code),
        Language::English => None,
    };
    let (meaning, what_to_do) =
        words.map_or((row.meaning, row.what_to_do), |words| (&*words.meaning, &*words.what_to_do));
    CodeSaid { code: row.code, meaning: meaning.to_owned(), what_to_do: what_to_do.to_owned() }
}

pub(super) fn all() -> impl Iterator<Item = CodeRow> {
    [
        crate::source::CODES,
        crate::mapping::CODES,
        crate::portal::CODES,
        crate::pipeline::CODES,
        crate::pipeline::catalogue::CODES,
        crate::pipeline::watch::CODES,
        crate::ledger::CODES,
        crate::config::CODES,
        crate::daemon::CODES,
    ]
    .into_iter()
    .flatten()
    .map(|&(code, meaning, what_to_do)| CodeRow { code, meaning, what_to_do })
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first)
}

fn or(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(" or ")
}

/// Up to three codes that were probably meant, the most likely first: the same name in another
/// family, a part of the name, or few slips of the keyboard.
fn nearest(word: &str) -> Vec<&'static str> {
    let word = word.to_lowercase();
    let name = |code: &str| code.split_once('.').map_or("", |(_, name)| name).to_owned();
    let wanted = name(&word);
    let mut near: Vec<(usize, &'static str)> = all()
        .filter_map(|row| {
            let slips = slips(&word, row.code);
            let is_part = word.len() >= 4 && row.code.contains(&word);
            let is_namesake = !wanted.is_empty() && name(row.code) == wanted;
            (is_part || is_namesake || slips <= 1 + word.chars().count() / 5)
                .then_some((slips, row.code))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, code)| code).collect()
}

/// Levenshtein's distance.
fn slips(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, from) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, to) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_has_two_meanings() {
        let mut codes: Vec<&str> = all().map(|row| row.code).collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn a_slip_a_part_and_the_wrong_family_lead_to_the_code_that_was_meant() {
        assert_eq!(nearest("portal.refusd"), ["portal.refused"]);
        assert_eq!(nearest("lease_expired"), ["push.lease_expired"]);
        assert!(nearest("ledger.unreachable").contains(&"portal.unreachable"));
        assert!(nearest("zebra").is_empty());
    }
}
