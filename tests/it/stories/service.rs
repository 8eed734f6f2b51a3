//! The real program under a service manager: what it says, how it takes another configuration, what
//! monitoring is told.

use std::time::Duration;

use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{PortalOptions, Service};
use hoso_gateway::lab::province::ProvinceOptions;

use crate::support::binary::{Manager, Process, Site};

/// A watchdog that no machine is too slow for; the pings come three times as often.
const WATCHDOG: Duration = Duration::from_secs(3);

fn province(dossiers: u32) -> ProvinceOptions {
    ProvinceOptions {
        population: PopulationOptions {
            dossiers,
            invalid_share: 0.0,
            ministry_share: 0.0,
            ..PopulationOptions::default()
        },
        ..ProvinceOptions::default()
    }
}

async fn until_log(site: &Site, process: &Process, words: &str) {
    site.until(words, |_| process.log().contains(words)).await;
}

async fn until_heard(site: &Site, manager: &Manager, beginning: &str, times: usize) {
    site.until(beginning, |_| manager.count(beginning) >= times).await;
}

#[tokio::test]
async fn the_service_manager_hears_when_it_is_ready_that_it_lives_and_that_it_stops() {
    let mut site = Site::open(province(5), PortalOptions::default(), "").await;
    let (mut process, manager) = site.serve_managed(WATCHDOG);
    until_heard(&site, &manager, "READY=1", 1).await;
    assert!(process.log().contains("hoso-gateway starts"), "ready before it started");
    site.until_delivered().await;
    until_heard(&site, &manager, "WATCHDOG=1", 3).await;
    until_heard(&site, &manager, "STATUS=", 1).await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    let heard = manager.heard();
    let at = |beginning: &str| heard.iter().position(|words| words.starts_with(beginning));
    assert!(at("READY=1") < at("STOPPING=1"), "{heard:?}");
    assert!(at("STOPPING=1").is_some(), "{heard:?}");
    site.close().await;
}

#[tokio::test]
async fn what_cannot_start_is_never_ready() {
    let mut site = Site::open(province(1), PortalOptions::default(), "").await;
    site.rewrite("path = \"ledger.db\"", "path = \"nowhere/ledger.db\"");
    let (mut process, manager) = site.serve_managed(WATCHDOG);
    assert_eq!(process.ended().await.code(), Some(4), "{}", process.log());
    assert_eq!(manager.heard(), Vec::<String>::new());
    site.close().await;
}

#[tokio::test]
async fn a_bad_configuration_is_refused_whole_and_the_service_goes_on_with_the_old_one() {
    let mut site = Site::open(province(5), PortalOptions::default(), "").await;
    let (mut process, manager) = site.serve_managed(WATCHDOG);
    until_heard(&site, &manager, "READY=1", 1).await;
    site.until_delivered().await;
    let (_, before, _) = site.run(&["--json", "status"]).await;

    site.rewrite("limit = 400", "limit = 0");
    site.rewrite("poll_ms = 100", "pol_ms = 100");
    process.reload();
    until_log(&site, &process, "goes on with the configuration that it has").await;
    until_heard(&site, &manager, "READY=1", 2).await;
    let log = process.log();
    for told in ["gate.windows[0].limit", "sources[0].pol_ms", "did you mean poll_ms?"] {
        assert!(log.contains(told), "{told} is not in:\n{log}");
    }
    assert!(log.contains("config.invalid"), "{log}");

    // A sound file, and what it names is not sound: a mapping, a secret, and an option of the start.
    site.rewrite("limit = 0", "limit = 400");
    site.rewrite("pol_ms = 100", "poll_ms = 100");
    site.rewrite("path = \"ledger.db\"", "path = \"other.db\"");
    site.rewrite("[reconcile]", "[mapping]\ndir = \"no-such-folder\"\n\n[reconcile]");
    site.rewrite("password_file = \"password\"", "password_file = \"no-such-file\"");
    process.reload();
    until_heard(&site, &manager, "READY=1", 3).await;
    let log = process.log();
    for code in ["config.needs_restart", "config.unusable_file", "portal.password_file"] {
        assert!(log.contains(code), "{code} is not in:\n{log}");
    }
    assert!(log.contains("ledger.path was changed"), "{log}");
    assert_eq!(manager.count("RELOADING=1\nMONOTONIC_USEC="), 2);

    // The old one is in force, in the ledger and in fact.
    site.rewrite("path = \"other.db\"", "path = \"ledger.db\"");
    let (_, after, _) = site.run(&["--json", "status"]).await;
    assert_eq!(in_force(&before), in_force(&after));
    site.province.add(2);
    site.until_delivered().await;
    assert_eq!(site.portal.state().sessions_issued, 1, "nothing was begun anew");
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    site.close().await;
}

fn in_force(status: &str) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(status).expect("JSON");
    assert!(status["in_force"]["hash"].is_string(), "{status}");
    status["in_force"].clone()
}

#[tokio::test]
async fn a_good_configuration_takes_over_in_the_same_process_and_loses_nothing() {
    let mut site =
        Site::open(province(40), PortalOptions::default(), "[log]\nlevel = \"info\"\n").await;
    let (mut process, manager) = site.serve_managed(WATCHDOG);
    site.until("it sends", |site| site.portal.state().records > 3).await;
    let (_, before, _) = site.run(&["--json", "status"]).await;

    // In the middle of its work: another quota, a loud log, another poll, another account's password.
    site.rewrite("limit = 400", "limit = 200");
    site.rewrite("level = \"info\"", "level = \"debug\"");
    site.rewrite("poll_ms = 100", "poll_ms = 150");
    process.reload();
    until_log(&site, &process, "the new configuration is in force").await;
    until_heard(&site, &manager, "READY=1", 2).await;
    site.province.add(5);
    site.until_delivered().await;
    assert!(site.comparison().is_clean(), "{:?}", site.comparison());
    assert_eq!(site.portal.state().duplicated_steps, 0);
    // The same process goes on, with a session of its new portal client.
    assert_eq!(site.portal.state().outcomes[&Service::Login].values().sum::<u64>(), 2);
    assert!(process.log().contains("DEBUG"), "the level was not taken:\n{}", process.log());

    let (_, after, _) = site.run(&["--json", "status"]).await;
    let (before, after_force) = (in_force(&before), in_force(&after));
    assert_ne!(before["hash"], after_force["hash"]);
    assert_eq!(before["holder"], after_force["holder"]);
    let status: serde_json::Value = serde_json::from_str(&after).expect("JSON");
    assert_eq!(status["file_hash"], after_force["hash"]);
    let (_, text, _) = site.run(&["status"]).await;
    assert!(text.contains("configuration   ") && !text.contains("another one now"), "{text}");
    site.rewrite("poll_ms = 150", "poll_ms = 100");
    let (_, text, _) = site.run(&["status"]).await;
    assert!(text.contains("the file is another one now"), "{text}");
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    site.close().await;
}

#[tokio::test]
async fn monitoring_gets_one_line_and_an_exit_code() {
    let alarms = "[alarms]\ndisk_free_min_percent = 0\ndisk_free_min_bytes = 0\n\
                  lag_p95_ms = 600000\nlag_p99_ms = 600000\n";
    let mut site = Site::open(province(5), PortalOptions::default(), alarms).await;
    let mut process = site.serve();
    site.until_delivered().await;
    let (success, line, told) = site.run(&["status", "--check"]).await;
    assert!(success, "{line}{told}");
    assert!(line.starts_with("OK: no books yet; ") && line.lines().count() == 1, "{line}");
    assert!(line.contains("gate open") && line.contains("nothing on its way"), "{line}");
    process.terminate();
    process.ended().await;
    let (success, line, _) = site.run(&["status", "--check"]).await;
    assert!(!success);
    assert!(line.starts_with("CRITICAL: nobody owns the gate"), "{line}");
    let (_, json, _) = site.run(&["--json", "status", "--check"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["level"], "CRITICAL");
    assert_eq!(json["alarms"][0]["about"], "gate_owner");
    site.close().await;
}
