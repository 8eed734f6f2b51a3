//! The directions between modules, as the library's first page promises them.
//!
//! Reads the sources as text: what stands under `#[cfg(test)]` is left out, `crate::x` and `super::`
//! chains that leave a module count as uses of it, and some names belong to one door only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and what it may use beside itself.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("ids", &["domain"]),
    ("http", &["domain"]),
    ("machine", &[]),
    ("sabotage", &[]),
    ("notify", &[]),
    ("xml", &["domain"]),
    ("config", &["domain"]),
    ("messages", &["domain"]),
    ("source", &["domain", "http", "xml", "clock"]),
    ("mapping", &["domain", "xml"]),
    ("portal", &["domain", "http", "clock", "ids"]),
    ("ledger", &["domain", "ids", "machine"]),
    ("lab", &["clock", "ids", "domain", "http"]),
    (
        "pipeline",
        &["domain", "clock", "ids", "http", "xml", "source", "mapping", "portal", "ledger"],
    ),
    ("daemon", &["pipeline", "mapping", "domain", "clock", "ledger", "machine", "notify"]),
    (
        "cli",
        &[
            "domain", "clock", "ids", "http", "xml", "config", "source", "mapping", "portal",
            "ledger", "lab", "pipeline", "daemon", "machine", "notify", "messages",
        ],
    ),
];

/// A word of code, and the only files (or folders) in which it may stand.
const DOORS: &[(&str, &[&str])] = &[
    ("reqwest", &["src/http.rs"]),
    ("backoff", &["src/domain/retry.rs"]),
    ("governor", &["src/portal/gate/"]),
    ("sqlx", &["src/ledger/sqlite/"]),
    ("rustix", &["src/machine.rs"]),
    ("chacha20poly1305", &["src/ledger/key.rs"]),
    ("getrandom", &["src/ids.rs"]),
    ("println!", &[]),
    ("print!", &[]),
    ("eprintln!", &[]),
    ("eprint!", &[]),
    ("stdout()", &["src/cli/output.rs"]),
];

#[test]
fn modules_use_each_other_only_in_the_promised_directions() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(module) = module_of(&path) else {
            continue;
        };
        let (_, allowed) = DIRECTIONS
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{path}: module {module} has no promised direction"));
        for used in modules_used(&path, &text) {
            // Deliberate bugs may stand anywhere; nothing of them is shipped.
            if used != module && used != "sabotage" && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{path} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_laboratories_know_nothing_of_the_domain_but_its_way_of_writing_time() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| path.starts_with("src/lab/"))
        .flat_map(|(path, text)| {
            let code = without_tests(&text);
            words_after(&code, "crate::domain::")
                .into_iter()
                .filter(|word| word != "time")
                .map(|word| format!("{path} uses domain::{word}"))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_door_stands_in_one_place() {
    let mut wrong = Vec::new();
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for (path, text) in sources() {
        let code = without_tests(&text);
        for (word, doors) in DOORS {
            if !has_word(&code, word) {
                continue;
            }
            if doors.iter().any(|door| path.starts_with(door)) {
                found.insert(word);
            } else {
                wrong.push(format!("{path} names {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A door that nobody uses any more is a line of this table that checks nothing.
    for (word, doors) in DOORS {
        assert!(doors.is_empty() || found.contains(word), "{word} is unused");
    }
}

#[test]
fn the_table_names_every_module_of_the_library() {
    let library = fs::read_to_string("src/lib.rs").expect("the library");
    let named: BTreeSet<&str> = DIRECTIONS.iter().map(|(name, _)| *name).collect();
    let declared: BTreeSet<&str> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(named, declared);
}

/// Path from the repository's root, and text, of every source file.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join("src"), &mut found);
    let files: BTreeMap<String, String> = found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).expect("below the root");
            let name = name.to_str().expect("plain names").to_owned();
            let text = fs::read_to_string(&path).expect("a readable source");
            (name, text)
        })
        .filter(|(name, _)| !is_test_file(name))
        .collect();
    assert!(files.len() > 80, "only {} sources found", files.len());
    files
}

/// Files that are modules of tests as a whole.
fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// The first-level module of a file; `None` for the two roots.
fn module_of(path: &str) -> Option<String> {
    let inside = path.strip_prefix("src/")?;
    let module = inside.split('/').next()?.trim_end_matches(".rs");
    (!matches!(module, "lib" | "main")).then(|| module.to_owned())
}

/// How many modules lie above the items of this file: 1 for `src/clock.rs` and `src/lab/mod.rs`.
fn depth_of(path: &str) -> usize {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    inside.trim_end_matches("/mod").split('/').count()
}

/// First-level modules that the code of this file names.
fn modules_used(path: &str, text: &str) -> BTreeSet<String> {
    let code = without_tests(text);
    let mut used: BTreeSet<String> = words_after(&code, "crate::").into_iter().collect();
    // As many steps up as there are modules above lead to the root; inline modules go deeper, which
    // can only make a chain look longer than it is.
    let up = "super::".repeat(depth_of(path));
    used.extend(words_after(&code, &up));
    used.retain(|word| DIRECTIONS.iter().any(|(name, _)| name == word));
    used
}

/// The word after each occurrence of `lead`; each first word of a group in braces.
fn words_after(code: &str, lead: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut words = Vec::new();
    for (at, _) in code.match_indices(lead) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + lead.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            words.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (place, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                c if c.is_whitespace() => {}
                _ if begins && depth == 0 => {
                    words.push(word(&group[place..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    words
}

/// The code without comments, text in quotes, and whatever stands under `#[cfg(test)]`.
fn without_tests(text: &str) -> String {
    let code = without_comments_and_texts(text);
    let mut out = String::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        rest = skip_item(&rest[at..]);
    }
    out.push_str(rest);
    out
}

/// What follows the item at the beginning of `code`: after its block, or after its semicolon.
fn skip_item(code: &str) -> &str {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return &code[at + 1..];
                }
            }
            ';' if depth == 0 => return &code[at + 1..],
            _ => {}
        }
    }
    ""
}

fn without_comments_and_texts(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if let Some(raw) = raw_text(rest) {
            out.push_str("\"\"");
            rest = &rest[raw..];
        } else if c == '"' {
            out.push_str("\"\"");
            rest = &rest[plain_text(rest)..];
        } else if let Some(length) = character(rest) {
            out.push_str("' '");
            rest = &rest[length..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Length of the text in double quotes at the beginning.
fn plain_text(code: &str) -> usize {
    let mut escaped = false;
    for (at, c) in code.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Length of the raw text (`r#"…"#`) at the beginning, if there is one.
fn raw_text(code: &str) -> Option<usize> {
    let after = code.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end)?;
    Some(1 + hashes + 1 + length + end.len())
}

/// Length of the character in single quotes at the beginning; a lifetime is none.
fn character(code: &str) -> Option<usize> {
    let body = code.strip_prefix('\'')?;
    let first = body.chars().next()?;
    if first == '\\' {
        let end = body[2..].find('\'')?;
        return Some(1 + 2 + end + 1);
    }
    body[first.len_utf8()..].starts_with('\'').then(|| 1 + first.len_utf8() + 1)
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let after = &code[at + word.len()..];
        let ends = !word.ends_with(is_part) || !after.starts_with(is_part);
        ends && !code[..at].ends_with(is_part)
    })
}

#[test]
fn the_reader_finds_every_way_to_name_a_module() {
    let used =
        |path: &str, text: &str| -> Vec<String> { modules_used(path, text).into_iter().collect() };
    assert_eq!(used("src/domain/a.rs", "use crate::ledger::X;"), ["ledger"]);
    assert_eq!(
        used("src/domain/a.rs", "use crate::{portal::{self, Gate}, xml};"),
        ["portal", "xml"]
    );
    assert_eq!(used("src/mapping/file/mod.rs", "use super::super::source::Item;"), ["source"]);
    assert_eq!(used("src/mapping/mod.rs", "use super::lab;"), ["lab"]);
    assert_eq!(used("src/clock.rs", "fn f() -> crate::http::Method { todo() }"), ["http"]);
    // A sibling inside the module has the same name as another module.
    assert!(used("src/mapping/file/mod.rs", "use super::source::Item;").is_empty());
}

#[test]
fn the_reader_leaves_out_tests_comments_and_texts() {
    let text = r##"
        //! `crate::lab` is told of here.
        use crate::xml; // not crate::portal
        const BRACE: char = '{';
        fn f<'a>(x: &'a str) -> &'a str { "crate::source" }
        const RAW: &str = r#"use crate::ledger; " } "#;
        #[cfg(test)]
        mod tests { use crate::lab; fn g() { let x = '}'; if true {} } }
        #[cfg(test)]
        use crate::http::Http;
        use crate::ids::Chance;
    "##;
    let used: Vec<String> = modules_used("src/portal/a.rs", text).into_iter().collect();
    assert_eq!(used, ["ids", "xml"]);
}

#[test]
fn the_reader_tells_words_from_parts_of_words() {
    assert!(has_word("reqwest::get()", "reqwest"));
    assert!(has_word("println!()", "println!"));
    assert!(!has_word("eprintln!()", "println!"));
    assert!(!has_word("struct ReqwestHttp; my_reqwest", "reqwest"));
    assert!(has_word("std::io::stdout().lock()", "stdout()"));
}
