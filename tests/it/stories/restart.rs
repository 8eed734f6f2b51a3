//! The real program, killed, stopped and started beside itself.

use fastrand::Rng;
use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{Fault, FaultRate, Faults, PortalOptions, ScriptedFault};
use hoso_gateway::lab::province::ProvinceOptions;

use crate::support::binary::Site;

fn province(dossiers: u32) -> ProvinceOptions {
    ProvinceOptions {
        population: PopulationOptions {
            dossiers,
            invalid_share: 0.1,
            ..PopulationOptions::default()
        },
        ..ProvinceOptions::default()
    }
}

/// Every call takes a moment, so that a kill finds some on their way.
fn slow_portal() -> PortalOptions {
    PortalOptions {
        faults: Faults {
            rates: vec![FaultRate { share: 1.0, fault: Fault::Delay { ms: 40 } }],
            next: Vec::new(),
        },
        ..PortalOptions::default()
    }
}

/// Leases end soon after a kill, and a request for a supplement is sent again rather than held, so
/// that everything can be delivered without a person.
const HASTY: &str = r#"
[push]
concurrency = 8
lease_ms = 6000
steps_on_unknown_status_5 = "resend"

[upkeep]
every_ms = 200
"#;

#[tokio::test]
async fn a_gateway_that_is_killed_again_and_again_loses_nothing_and_invents_nothing() {
    const KILLS: u64 = 8;
    let mut site = Site::open(province(150), slow_portal(), HASTY).await;
    let mut rng = Rng::with_seed(42);
    for kill in 0..KILLS {
        let process = site.serve();
        // Every other time it dies before a dead owner's gate is free: while it reads and maps.
        let calls = if kill % 2 == 0 { site.portal.state().calls + rng.u64(1..25) } else { 0 };
        let pulled = site.province.state().requests_served + rng.u64(1..4);
        site.until("it did some work", |site| {
            site.portal.state().calls >= calls && site.province.state().requests_served >= pulled
        })
        .await;
        process.kill();
        site.province.evolve_any();
    }
    let process = site.serve();
    site.until_delivered().await;
    process.kill();
    let comparison = site.comparison();
    assert!(comparison.unexpected.is_empty(), "{comparison:?}");
    assert_eq!(comparison.steps_unexpected, 0);
    let standing = site.standing().await.unwrap();
    let counts = site.province.state().counts;
    let invalid: usize = counts.invalid.values().sum();
    let known: u64 = standing.dossiers.values().sum();
    assert_eq!(known, counts.dossiers as u64, "{standing:?}");
    assert!(invalid > 5);
    assert_eq!(site.portal.state().overshoots, 0);
    site.close().await;
}

#[tokio::test]
async fn a_request_to_stop_lets_calls_on_their_way_finish() {
    let mut site = Site::open(province(60), slow_portal(), HASTY).await;
    let mut process = site.serve();
    site.until("calls are out", |site| site.portal.state().calls > 10).await;
    process.terminate();
    let status = process.ended().await;
    assert_eq!(status.code(), Some(0), "{}", process.log());
    let standing = site.standing().await.unwrap();
    let leased = hoso_gateway::domain::entry::EntryState::Leased;
    assert_eq!(standing.dossiers.get(&leased), None, "{standing:?}");
    assert_eq!(standing.steps.get("leased"), None, "{standing:?}");
    assert_eq!(standing.gate_owner, None);
    // Every answer that was given was heard.
    let mut process = site.serve();
    site.until_delivered().await;
    assert!(site.comparison().is_clean());
    process.terminate();
    process.ended().await;
    site.close().await;
}

#[tokio::test]
async fn a_second_request_to_stop_ends_it_at_once_and_the_next_start_looks_up_what_was_out() {
    let mut site = Site::open(province(5), PortalOptions::default(), HASTY).await;
    let never = Fault::Delay { ms: 600_000 };
    site.portal.inject(ScriptedFault::next(never).of_service("DongBoHoSoMC").until_cleared());
    let mut process = site.serve();
    site.until("calls are out", |site| site.portal.state().records > 0).await;
    process.terminate();
    site.until("it is stopping", |_| process.log().contains("stopping")).await;
    process.terminate();
    let status = process.ended().await;
    assert_eq!(status.code(), Some(0), "{}", process.log());
    assert!(process.log().contains("stopped at once"));
    site.portal.set_faults(Faults::default());
    let process = site.serve();
    site.until_delivered().await;
    assert!(site.comparison().is_clean(), "{:?}", site.comparison());
    drop(process);
    site.close().await;
}

#[tokio::test]
async fn beside_a_running_daemon_nobody_else_owns_the_gate() {
    let mut site = Site::open(province(20), PortalOptions::default(), HASTY).await;
    let mut first = site.serve();
    site.until("the daemon sends", |site| site.portal.state().calls > 0).await;
    let (success, pushed, _) = site.run(&["--json", "run", "push"]).await;
    assert!(success);
    assert!(pushed.contains("handed_over_to"), "{pushed}");
    let mut second = site.serve();
    site.until("the second one waits", |_| second.log().contains("another process owns the gate"))
        .await;
    site.until_delivered().await;
    assert_eq!(site.portal.state().sessions_issued, 1, "one owner logged in");
    first.terminate();
    first.ended().await;
    // The gate goes on in other hands.
    site.province.add(3);
    site.until_delivered().await;
    assert_eq!(site.portal.state().sessions_issued, 2);
    second.terminate();
    assert_eq!(second.ended().await.code(), Some(0));
    site.close().await;
}
