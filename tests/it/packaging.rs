//! The files that install the service: what systemd itself says of them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Exposure above this is a hole that somebody has to explain; systemd calls up to 2.0 "OK".
const EXPOSURE_MAX: f64 = 2.0;

/// Runs a tool of systemd; `None`, and a word about it, where there is none.
fn systemd(tool: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(tool).args(arguments).env("SYSTEMD_COLORS", "0").output() {
        Ok(output) => Some(output),
        Err(error) => {
            let told =
                format!("skipped: {tool} cannot be run here ({error}); package systemd has it\n");
            // Straight to the terminal: a skipped check must be seen also when the test passes.
            drop(std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes()));
            None
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn unit() -> String {
    fs::read_to_string("packaging/hoso.service").expect("the unit")
}

/// The unit as it is installed, but for the program, which is the one under test.
fn installed(folder: &TempDir) -> String {
    let path = folder.path().join("hoso.service");
    let program = env!("CARGO_BIN_EXE_hoso");
    fs::write(&path, unit().replace("/usr/local/bin/hoso", program)).expect("a file");
    path.to_str().expect("a plain path").to_owned()
}

#[test]
fn systemd_finds_no_mistake_in_the_unit() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(output) = systemd("systemd-analyze", &["verify", "--man=no", &installed(&folder)])
    else {
        return;
    };
    let told = text(&output.stderr);
    assert!(output.status.success() && told.trim().is_empty(), "{told}");
}

#[test]
fn the_service_is_shut_in_as_far_as_its_work_allows() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["security", "--offline=true", "--no-pager", &installed(&folder)];
    let Some(output) = systemd("systemd-analyze", &arguments) else {
        return;
    };
    let told = text(&output.stdout);
    let exposure: f64 = told
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for hoso.service: "))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or_else(|| panic!("no exposure in:\n{told}\n{}", text(&output.stderr)))
        .parse()
        .expect("a number");
    assert!(exposure <= EXPOSURE_MAX, "{exposure}\n{told}");
}

#[test]
fn the_user_and_the_folders_are_written_as_systemd_reads_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = format!("--root={}", folder.path().display());
    fs::create_dir_all(folder.path().join("etc")).expect("a folder");
    fs::write(folder.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").expect("a file");
    fs::write(folder.path().join("etc/group"), "root:x:0:\n").expect("a file");
    let absolute = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
        path.to_str().expect("a plain path").to_owned()
    };
    if let Some(output) =
        systemd("systemd-sysusers", &[&root, "--dry-run", &absolute("hoso.sysusers")])
    {
        let told = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success() && told.contains("user 'hoso'"), "{told}");
    }
    fs::write(folder.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nhoso:x:900:900::/:/\n")
        .expect("a file");
    fs::write(folder.path().join("etc/group"), "root:x:0:\nhoso:x:900:\n").expect("a file");
    // Into the scratch root; owners cannot be set there by everybody, so only lines are judged.
    if let Some(output) =
        systemd("systemd-tmpfiles", &[&root, "--create", &absolute("hoso.tmpfiles")])
    {
        let told = text(&output.stderr);
        for complaint in ["Unknown", "Invalid", "Failed to parse", "not absolute"] {
            assert!(!told.contains(complaint), "{told}");
        }
        assert!(folder.path().join("var/lib/hoso").is_dir(), "{told}");
        assert!(folder.path().join("etc/hoso/credentials").is_dir(), "{told}");
    }
}

#[test]
fn the_unit_waits_longer_for_the_end_than_the_program_drains() {
    let unit = unit();
    let stop: u64 = unit
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec=")?.strip_suffix('s'))
        .expect("TimeoutStopSec")
        .parse()
        .expect("seconds");
    let defaults: toml::Table =
        toml::from_str(hoso_gateway::config::DEFAULT).expect("the defaults");
    let drain = defaults["serve"]["drain_ms"].as_integer().expect("a number");
    assert!(i64::try_from(stop).expect("small") * 1000 > drain, "{stop} s, {drain} ms");
    for promise in [
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=\n",
        "ProtectSystem=strict",
        "SystemCallFilter=@system-service",
        "LoadCredential=portal-password:",
        "StateDirectory=hoso",
        "WatchdogSec=",
        "Restart=on-failure",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ] {
        assert!(unit.contains(promise), "{promise}");
    }
}
