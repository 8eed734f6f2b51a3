//! The real binary, run as an operator runs it, against the ledger of a finished demo.

mod audit;
mod dossier;
mod exits;
mod handbook;
mod help;
mod ledger;
mod looks;
mod mapping;
mod verbs;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// What a run printed, and how it ended.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// Both streams and the exit code, as a snapshot holds them.
    fn all(&self) -> String {
        masked(&format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err))
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("not JSON alone: {error}\n{}", self.out))
    }
}

fn hoso(arguments: &[&str]) -> Ran {
    hoso_at(Path::new(env!("CARGO_MANIFEST_DIR")), arguments)
}

fn hoso_at(folder: &Path, arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } =
        command(arguments).current_dir(folder).output().unwrap();
    Ran {
        code: status.code().expect("ended by itself"),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoso"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("HOSO_PORTAL_PASSWORD")
        // What anybody can set names nobody in the audit.
        .env("USER", "can-bo-thu-nghiem")
        .env("LC_ALL", "C")
        .env_remove("SUDO_USER")
        .env("COLUMNS", "100");
    command
}

/// A demo of sixty dossiers that has settled, made once.
struct Demo {
    _folder: tempfile::TempDir,
    /// Where tests read, several at once.
    read: PathBuf,
    /// Where nobody works, so that a copy of it is whole: who reads a ledger makes and removes files
    /// beside it.
    untouched: PathBuf,
}

fn demo() -> &'static Demo {
    static DEMO: OnceLock<Demo> = OnceLock::new();
    DEMO.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (read, untouched) = (folder.path().join("demo"), folder.path().join("untouched"));
        let ran = hoso(&["demo", "--once", "--dossiers", "60", "--keep", read.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        std::fs::create_dir(&untouched).unwrap();
        copy(&read, &untouched);
        Demo { _folder: folder, read, untouched }
    })
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The folder of the settled demo, only read by tests.
fn settled() -> &'static Path {
    &demo().read
}

/// `hoso --config DEMO …` on the shared ledger.
fn on_settled(arguments: &[&str]) -> Ran {
    on(settled(), arguments)
}

fn on(folder: &Path, arguments: &[&str]) -> Ran {
    let config = folder.join("hoso.toml");
    let mut all = vec!["--config", config.to_str().unwrap()];
    all.extend(arguments);
    hoso(&all)
}

/// A copy of the settled demo that a test may change.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&demo().untouched, folder.path());
    folder
}

/// The oldest problem of the settled demo, a dossier that the mapping refused.
fn quarantined() -> String {
    let problems = on_settled(&["problems", "dossiers", "--json"]).json();
    assert_eq!(problems[0]["kind"], "quarantined");
    problems[0]["ma_ho_so"].as_str().unwrap().to_owned()
}

/// A dossier of the settled demo that the portal has acknowledged and that has no problem.
fn accepted() -> String {
    let problems = on_settled(&["problems", "dossiers", "--json"]).json();
    let troubled: Vec<&str> = problems
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|problem| problem["ma_ho_so"].as_str())
        .collect();
    acknowledged()
        .into_iter()
        .find(|code| !troubled.contains(&code.as_str()))
        .expect("a dossier without problems")
}

/// Codes of acknowledged dossiers, from the ledger file itself.
fn acknowledged() -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use hoso_gateway::ledger::Ledger;
        use hoso_gateway::ledger::reconcile::Reconciling;
        use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};
        let ledger = SqliteLedger::open(&settled().join("ledger.db"), &SqliteSettings::default())
            .await
            .unwrap();
        let codes = ledger
            .unlisted(
                0,
                "mot-cua",
                "",
                hoso_gateway::domain::time::Timestamp::from_millis(i64::MAX),
                1000,
            )
            .await
            .unwrap()
            .map_or_else(Vec::new, |(_, codes)| codes);
        ledger.close().await;
        codes
    })
}

/// Replaces what differs from run to run, so that snapshots hold everywhere.
fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for line in text.lines() {
        masked.push_str(&mask_line(line));
        masked.push('\n');
    }
    masked
}

/// Times, spans and durations.
fn mask_line(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    'next: while let Some(first) = rest.chars().next() {
        for (shape, name) in [
            ("####-##-## ##:##:##+07:00", "[TIME]"),
            ("##############", "[TIME]"),
            ("########", "[DAY]"),
        ] {
            if let Some(after) = strip_shape(rest, shape) {
                out.push_str(name);
                rest = after;
                continue 'next;
            }
        }
        if let Some((word, after)) = number_before(rest, &[" s ago", " min ago", " h ago"]) {
            out.push_str(word);
            rest = after;
            continue;
        }
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    out.replace("(now)", "([AGO])").trim_end().to_owned()
}

fn strip_shape<'t>(text: &'t str, shape: &str) -> Option<&'t str> {
    let head = text.get(..shape.len())?;
    let fits = head
        .bytes()
        .zip(shape.bytes())
        .all(|(byte, wanted)| if wanted == b'#' { byte.is_ascii_digit() } else { byte == wanted });
    fits.then(|| &text[shape.len()..])
}

fn number_before<'t>(text: &'t str, units: &[&str]) -> Option<(&'static str, &'t str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    units.iter().find_map(|unit| text[digits..].strip_prefix(unit)).map(|after| ("[AGO]", after))
}
