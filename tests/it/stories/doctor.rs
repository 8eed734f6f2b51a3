//! The doctor: a sound installation is well, each fault is found with what helps, and the portal is asked
//! only when nobody else counts its quota.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{PortalOptions, Service};
use hoso_gateway::lab::province::ProvinceOptions;
use serde_json::Value;

use crate::support::binary::Site;

/// The disk of the machine that runs the tests is not what is examined.
const SETTINGS: &str = "[alarms]\ndisk_free_min_percent = 0\ndisk_free_min_bytes = 0\n";

fn province() -> ProvinceOptions {
    ProvinceOptions {
        population: PopulationOptions {
            dossiers: 8,
            invalid_share: 0.0,
            ministry_share: 0.0,
            ..PopulationOptions::default()
        },
        ..ProvinceOptions::default()
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether nothing is an error, and each finding as `code severity`.
async fn examined(site: &Site, arguments: &[&str]) -> (bool, Vec<String>, String) {
    let all = [&["--json", "doctor"], arguments].concat();
    let (is_well, out, told) = site.run(&all).await;
    let examined: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{told}"));
    let findings = examined["findings"].as_array().unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let short = findings.iter().map(|finding| {
        assert!(!text(finding, "words").starts_with("doctor."), "it has words: {finding}");
        format!("{} {}", text(finding, "code"), text(finding, "severity"))
    });
    (is_well, short.collect(), out)
}

#[tokio::test]
async fn a_sound_installation_is_well_and_the_portal_takes_its_account() {
    let mut site = Site::open(province(), PortalOptions::default(), SETTINGS).await;
    let mut service = site.serve();
    site.until_delivered().await;
    service.terminate();
    service.ended().await;
    for verb in ["reconcile", "upkeep"] {
        let (is_done, _, told) = site.run(&["run", verb]).await;
        assert!(is_done, "{told}");
    }
    let (is_well, findings, told) = examined(&site, &[]).await;
    assert!(is_well, "{told}");
    for good in [
        "doctor.configuration ok",
        "doctor.secrets ok",
        "doctor.ledger_file ok",
        "doctor.ledger ok",
        "doctor.watchdogs ok",
        "doctor.leases ok",
        "doctor.books ok",
        "doctor.problems ok",
        "doctor.source ok",
        "doctor.portal ok",
        "doctor.login ok",
        "doctor.clock ok",
    ] {
        assert!(findings.iter().any(|found| found == good), "{good} is not in {told}");
    }

    // Files that are open, and an account that is wrong.
    set_mode(site.folder(), 0o755);
    set_mode(&site.folder().join("password"), 0o644);
    set_mode(&site.folder().join("ledger.db"), 0o644);
    std::fs::write(site.folder().join("password"), "wrong").unwrap();
    let (is_well, findings, told) = examined(&site, &[]).await;
    assert!(!is_well);
    for bad in ["doctor.secrets error", "doctor.ledger_file error", "doctor.login error"] {
        assert!(findings.iter().any(|found| found == bad), "{bad} is not in {told}");
    }
    assert!(told.contains("chmod o-rwx "), "it says what helps: {told}");

    // Nobody is asked.
    let logins = site.portal.state().calls;
    let (_, findings, _) = examined(&site, &["--offline"]).await;
    assert!(findings.contains(&"doctor.offline info".to_owned()));
    assert!(!findings.iter().any(|found| found.starts_with("doctor.login")));
    assert_eq!(site.portal.state().calls, logins);
    site.close().await;
}

#[tokio::test]
async fn while_a_service_owns_the_gate_the_portal_is_not_asked() {
    let mut site = Site::open(province(), PortalOptions::default(), SETTINGS).await;
    let service = site.serve();
    site.until_delivered().await;
    let logins = |site: &Site| {
        site.portal.calls(None).iter().filter(|call| call.service == Service::Login).count()
    };
    let before = logins(&site);
    let (_, findings, told) = examined(&site, &[]).await;
    assert!(findings.contains(&"doctor.portal info".to_owned()), "{told}");
    assert!(told.contains("hoso serve, process"), "it names who counts the quota: {told}");
    assert!(!findings.iter().any(|found| found.starts_with("doctor.login")), "{told}");
    assert_eq!(logins(&site), before);
    assert!(findings.contains(&"doctor.versions ok".to_owned()), "{told}");
    drop(service);
    site.close().await;
}

#[tokio::test]
async fn what_cannot_be_reached_or_read_is_found_and_the_rest_is_examined_all_the_same() {
    let site = Site::open(province(), PortalOptions::default(), SETTINGS).await;
    let address = site.province.url();
    site.rewrite(&format!("base_url = \"{address}\""), "base_url = \"http://127.0.0.1:1\"");
    let (is_well, findings, told) = examined(&site, &[]).await;
    assert!(!is_well);
    assert!(findings.contains(&"doctor.source error".to_owned()), "{told}");
    assert!(findings.contains(&"doctor.portal ok".to_owned()), "{told}");
    assert!(findings.contains(&"doctor.ledger warn".to_owned()), "there is none yet: {told}");

    // A file that is no ledger.
    std::fs::write(site.folder().join("ledger.db"), "no ledger").unwrap();
    let (is_well, findings, told) = examined(&site, &["--offline"]).await;
    assert!(!is_well && findings.contains(&"doctor.ledger error".to_owned()), "{told}");

    // A configuration that cannot be read ends the examination, with its reason.
    site.rewrite("poll_ms = 100", "pol_ms = 100");
    let (is_well, findings, told) = examined(&site, &[]).await;
    assert!(!is_well);
    assert_eq!(findings, ["doctor.configuration error"]);
    assert!(told.contains("did you mean poll_ms?"), "{told}");
    site.close().await;
}
