//! The operators' handbook stays true: every command of it is run on the ledger of a finished demo,
//! and what it shows is what they print.
//!
//! Blocks `console` are run in their order on one copy of the ledger: a line `$ hoso …` is a command,
//! what follows is its output, where `…` stands for lines that are left out. Times, numbers and codes
//! may be others. `$MA` is a dossier that the portal acknowledged, `$MA_LOI` one that the mapping
//! refused. Blocks `sh` (as root, or beside the service) are only read as a command line.
//!
//! `HOSO_HANDBOOK=write` writes the outputs anew; look at the difference.

use std::path::Path;

use super::{accepted, command, copied, quarantined};

const HANDBOOK: &str = "docs/van-hanh.md";
/// Lines of an output that the handbook shows when it is written anew.
const SHOWN_MAX: usize = 14;

/// A command of the handbook and the output that stands under it.
struct Shown {
    line: usize,
    command: String,
    output: Vec<String>,
    /// Run; otherwise only read.
    runs: bool,
}

fn handbook() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(HANDBOOK)).unwrap()
}

fn shown(text: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let mut block: Option<&str> = None;
    for (at, line) in text.lines().enumerate() {
        if let Some(kind) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(kind) };
            continue;
        }
        match (block, line.strip_prefix("$ ")) {
            (Some(kind @ ("console" | "sh")), Some(command)) => shown.push(Shown {
                line: at + 1,
                command: command.to_owned(),
                output: Vec::new(),
                runs: kind == "console",
            }),
            (Some("console"), None) => {
                let last = shown.last_mut().expect("a block begins with a command");
                last.output.push(line.to_owned());
            }
            (Some("sh"), None) => panic!("line {}: a block `sh` shows no output", at + 1),
            _ => {}
        }
    }
    shown
}

/// The words of a command line; quotes hold a word together.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A line without what differs from run to run: numbers, and how far away something is.
fn stable(line: &str) -> String {
    let mut out = String::new();
    let mut digits = false;
    for c in line.chars() {
        let is_part = c.is_ascii_digit() || (digits && ".,:-+".contains(c));
        if is_part && !digits {
            out.push('#');
        }
        digits = is_part;
        if !is_part {
            out.push(c);
        }
    }
    for unit in ["giây", "phút", "giờ", "ngày"] {
        out = out.replace(&format!("# {unit} trước"), "#");
    }
    let out = out.replace("(bây giờ)", "(#)");
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_command_of_the_handbook_runs_and_prints_what_stands_there() {
    let (good, refused) = (accepted(), quarantined());
    let copy = copied();
    let text = handbook();
    let mut written = text.clone();
    for shown in shown(&text).iter().filter(|shown| shown.runs) {
        let said = shown.command.replace("$MA_LOI", &refused).replace("$MA", &good);
        let words = words(&said);
        assert_eq!(words.first().map(String::as_str), Some("hoso"), "line {}", shown.line);
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let mut command = command(&["--config", "hoso.toml"]);
        command.args(&arguments).current_dir(copy.path()).env("LC_ALL", "vi_VN.UTF-8");
        let ran = command.output().unwrap();
        let (out, err) =
            (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
        let code = ran.status.code().unwrap();
        assert!(matches!(code, 0 | 6), "line {}: {said}: exit {code}\n{err}", shown.line);
        let printed: Vec<String> = out.lines().map(stable).collect();
        for line in shown.output.iter().filter(|line| *line != "…" && !line.trim().is_empty()) {
            let is_there = printed.iter().any(|printed| *printed == stable(line));
            assert!(
                is_there || writes(),
                "line {}: `{said}` does not print {line:?} but\n{out}{err}",
                shown.line
            );
        }
        if writes() {
            written = with_output(&written, shown, &out, &good, &refused);
        }
    }
    if writes() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(HANDBOOK), written).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "asks whether the handbook is to be written anew")]
fn writes() -> bool {
    std::env::var("HOSO_HANDBOOK").is_ok_and(|value| value == "write")
}

/// The handbook with another output under a command.
fn with_output(text: &str, shown: &Shown, out: &str, good: &str, refused: &str) -> String {
    let mut lines: Vec<String> = out
        .lines()
        .map(|line| line.trim_end().replace(refused, "$MA_LOI").replace(good, "$MA"))
        .take(SHOWN_MAX)
        .collect();
    if out.lines().count() > SHOWN_MAX {
        lines.push("…".to_owned());
    }
    let block = |lines: &[String]| match lines {
        [] => String::new(),
        lines => lines.join("\n") + "\n",
    };
    let (old, new) = (block(&shown.output), block(&lines));
    let head = format!("$ {}\n", shown.command);
    text.replacen(&format!("{head}{old}"), &format!("{head}{new}"), 1)
}

#[test]
fn every_other_command_of_the_handbook_is_one() {
    let mut read = 0;
    for shown in shown(&handbook()).iter().filter(|shown| !shown.runs) {
        let said = shown.command.replace("$MA_LOI", "H55.1-260126-0001");
        let words: Vec<String> =
            words(&said.replace("$MA", "H55.1-260126-0001")).into_iter().collect();
        let at = words.iter().take_while(|word| *word == "sudo").count();
        if words[at] != "hoso" {
            continue;
        }
        let wrong = hoso_gateway::cli::read(&words[at..]).err();
        let is_wrong = wrong.as_ref().is_some_and(clap_error_is_wrong);
        assert!(!is_wrong, "line {}: {}", shown.line, wrong.unwrap());
        read += 1;
    }
    assert!(read > 0, "the handbook tells of nothing beside the service");
}

/// Help that was asked for is no mistake.
fn clap_error_is_wrong(error: &clap::Error) -> bool {
    !matches!(
        error.kind(),
        clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
    )
}

#[test]
fn a_line_is_compared_without_what_differs_from_run_to_run() {
    assert_eq!(
        stable("từ 2026-11-30 14:05:00+07:00 (3 phút trước)  1.204 hồ sơ"),
        stable("từ 2026-12-01 08:00:59+07:00 (bây giờ) 7 hồ sơ")
    );
    assert_ne!(stable("từ 3 hồ sơ"), stable("đến 3 hồ sơ"));
    assert_eq!(words(r#"hoso a --reason "b c""#), ["hoso", "a", "--reason", "b c"]);
}
