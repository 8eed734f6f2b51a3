//! A short soak with the real program: the long ones are the same with more patience.

use std::process::Command;

use serde_json::Value;

#[tokio::test]
async fn a_province_lives_on_between_faults_and_kills_and_everything_holds() {
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("soak");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoso"));
    command.args(["--json", "lab", "soak", "--minutes", "0.33", "--dossiers", "40"]);
    command.args(["--changes-per-second", "4", "--faults", "many", "--kill-every", "8"]);
    command.args(["--seed", "7", "--settle-seconds", "240", "--keep"]).arg(&keep);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let verdict: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert!(output.status.success(), "{verdict:#}\n{told}");
    assert_eq!(verdict["holds"], true);
    assert!(verdict["restarts"]["killed"].as_u64().unwrap() >= 1);
    assert!(verdict["happened"]["new"].as_u64().unwrap() > 0);
    assert!(verdict["lag"]["p50_ms"].as_u64().is_some());
    assert!(told.contains("synchronised"), "it tells how it goes: {told}");

    // What it says is in the ledger that it leaves, for everybody to see.
    let mut status = Command::new(env!("CARGO_BIN_EXE_hoso"));
    status.arg("--config").arg(keep.join("hoso.toml")).args(["--json", "status"]);
    let output = tokio::task::spawn_blocking(move || status.output()).await.unwrap().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let watchdogs = status["watchdogs"].as_array().unwrap();
    assert!(watchdogs.len() > 14, "{watchdogs:?}");
    assert!(watchdogs.iter().all(|watchdog| watchdog["found"] == 0), "{watchdogs:?}");
}
