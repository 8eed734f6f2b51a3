//! Another mapping for a running service: taken without a restart, kept over one, and what it takes
//! that the one before refused comes back by itself.

use std::os::unix::process::ExitStatusExt as _;

use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::PortalOptions;
use hoso_gateway::lab::province::ProvinceOptions;

use crate::support::binary::Site;
use crate::support::mapping::{STRICT, variant};

const QUICK: &str = "[log]\nlevel = \"info\"\n\n[upkeep]\nevery_ms = 100\n";

async fn mapping_in_force(site: &Site) -> String {
    let (_, status, _) = site.run(&["--json", "status"]).await;
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    status["in_force"]["mapping_version"].as_str().expect("a version").to_owned()
}

async fn must(site: &Site, arguments: &[&str]) -> String {
    let (success, out, err) = site.run(arguments).await;
    assert!(success, "{arguments:?}: {out}\n{err}");
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_is_switched_beside_a_running_service_and_back_and_refused_dossiers_return() {
    let province = ProvinceOptions {
        population: PopulationOptions {
            dossiers: 6,
            invalid_share: 0.0,
            ministry_share: 0.0,
            ..PopulationOptions::default()
        },
        ..ProvinceOptions::default()
    };
    let mut site = Site::open(province, PortalOptions::default(), QUICK).await;
    let strict = variant(site.folder(), "strict", STRICT[0], STRICT[1]);
    let mut process = site.serve();
    site.until_delivered().await;
    let former = mapping_in_force(&site).await;
    let why = ["--reason", "quyet dinh 12"];
    let apply = |name: &str| {
        ["mapping", "apply", name].into_iter().chain(why).map(str::to_owned).collect::<Vec<_>>()
    };
    let run = async |site: &Site, arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        must(site, &arguments).await
    };
    // A command that dies before the switch leaves the old one whole, after it the new one.
    let command = apply(strict.to_str().expect("a plain path"));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let mut dying = site.serve_dying(&command, "mapping.applying");
    assert_eq!(dying.ended_or("the switch").await.signal(), Some(6), "{}", dying.log());
    assert!(must(&site, &["mapping", "list"]).await.contains("none was ever applied"));
    let mut dying = site.serve_dying(&command, "mapping.applied");
    assert_eq!(dying.ended_or("the switch").await.signal(), Some(6), "{}", dying.log());
    let listed: serde_json::Value =
        serde_json::from_str(&must(&site, &["mapping", "list", "--json"]).await).expect("JSON");
    assert_eq!(
        listed.as_array().map(Vec::len),
        Some(2),
        "the former one and the new one: {listed}"
    );
    let next = listed[0]["version"].as_str().expect("a version").to_owned();
    assert_eq!(listed[1]["version"], former.as_str());

    site.until("the service takes it", |_| process.log().contains(&next)).await;
    // The new loops say so before they do anything else.
    site.until_in_force(&next).await;
    // What comes now is judged by it, and nothing that was acknowledged is sent again.
    let sent = site.portal.state().calls;
    site.province.add(2);
    let codes = site.until_problems(2).await;
    assert_eq!(codes, ["mapping.required", "mapping.required"]);
    assert_eq!(site.portal.state().calls, sent, "{}", process.log());

    // Back to the one before, by its version: they return without anybody asking.
    run(&site, apply(&former)).await;
    site.until_delivered().await;
    site.until_in_force(&former).await;
    assert!(site.comparison().is_clean(), "{:?}", site.comparison());
    assert_eq!(site.portal.state().records, 8);
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());

    run(&site, apply(strict.to_str().expect("a plain path"))).await;
    let mut process = site.serve();
    site.until("a restart comes up with it", |_| process.log().contains(&next)).await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(must(&site, &["audit", "verify"]).await.starts_with("whole"));
    site.close().await;
}
