//! The real program, stopped, and started beside itself. How it dies: `kill`.

use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{Fault, FaultRate, Faults, PortalOptions, ScriptedFault, Service};
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

#[tokio::test]
async fn a_service_fetches_the_catalogue_by_itself_and_is_asked_by_a_command_beside_it() {
    let mut site = Site::open(province(0), PortalOptions::default(), "").await;
    let mut process = site.serve();
    site.until("the lists are fetched", |site| {
        site.portal.state().outcomes.contains_key(&Service::Agencies)
    })
    .await;
    let (done, out, err) = site.run(&["catalogue", "refresh", "fields", "--json"]).await;
    assert!(done, "{err}");
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON alone");
    assert_eq!(told["asked_for"], 1);
    assert!(told["handed_over_to"].as_str().is_some_and(|owner| owner.contains("serve")), "{out}");
    process.terminate();
    assert!(process.ended().await.success(), "{}", process.log());
    // Nobody owns the gate any more, so the command fetches what it asked for, and nothing else.
    let (done, out, err) = site.run(&["catalogue", "refresh", "fields"]).await;
    assert!(done, "{err}");
    assert_eq!(out, "fields: unchanged, 10 items\n");
    let (_, shown, _) = site.run(&["catalogue", "show", "fields", "--code", "G15-CT01"]).await;
    assert!(shown.contains("Chứng thực"), "{shown}");
    let (done, _, _) = site.run(&["catalogue", "show", "fields", "--code", "G99-XX99"]).await;
    assert!(!done);
    site.close().await;
}
