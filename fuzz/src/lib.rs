//! What must hold for any bytes: one plain function a target, for the fuzzer and for `cargo test`.
//!
//! A property panics when it does not hold. Inputs that begin with the byte 0xFF are recipes: the
//! rest says how a sound sample is changed (`edits`), because bytes drawn by chance rarely get past
//! a parser. All others are what the parser is given.

mod answers;
mod cli;
mod config;
mod documents;
mod edits;
mod feed;
mod folder;
mod mappings;
mod tables;
mod words;
mod xml;

use std::borrow::Cow;
use std::path::Path;

use hoso_gateway::domain::failure::Failure;

/// Panics when the property does not hold for these bytes.
pub type Property = fn(&[u8]);

/// Sound inputs, and ones that once were trouble, read from the repository at this path.
pub type Seeds = fn(&Path) -> Vec<Vec<u8>>;

/// Every target, under the name of its corpus.
pub const TARGETS: &[(&str, Property, Seeds)] = &[
    ("answers", answers::check, answers::seeds),
    ("cli", cli::check, cli::seeds),
    ("config", config::check, config::seeds),
    ("documents", documents::check, documents::seeds),
    ("feed", feed::check, feed::seeds),
    ("folder", folder::check, folder::seeds),
    ("mappings", mappings::check, mappings::seeds),
    ("tables", tables::check, tables::seeds),
    ("words", words::check, words::seeds),
    ("xml", xml::check, xml::seeds),
];

/// The property of this name.
pub fn property(name: &str) -> Property {
    let found = TARGETS.iter().find(|(known, _, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target {name}")).1
}

/// Stands for a person's name where something personal must not come out.
const CANARY: &str = "Zq9 Khong Duoc Lo";

/// The rest of a recipe.
fn recipe(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(b"\xFF")
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The files of a folder, those of its folders included, by name.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    names.sort();
    names
        .into_iter()
        .flat_map(|path| {
            if path.is_dir() { files(&path) } else { vec![std::fs::read(path).expect("a file")] }
        })
        .collect()
}

/// Whether `hoso explain` knows it.
fn is_code(code: &str) -> bool {
    [
        hoso_gateway::source::CODES,
        hoso_gateway::mapping::CODES,
        hoso_gateway::portal::CODES,
        hoso_gateway::pipeline::CODES,
    ]
    .into_iter()
    .flatten()
    .any(|(known, _, _)| *known == code)
}

/// A sentence: something is said, on one line.
fn assert_sentence(words: &str) {
    assert!(!words.trim().is_empty(), "nothing is said");
    assert!(!words.chars().any(char::is_control), "more than a line: {words:?}");
}

/// What is refused has a code that `hoso explain` knows, and a sentence.
fn assert_told(failure: &Failure) {
    assert!(is_code(&failure.code), "{failure:?}");
    assert_sentence(&failure.message);
    assert!(!failure.details.chars().any(char::is_control), "{failure:?}");
}
