//! Holding back, and letting go: pauses, urgency, outages.

use std::time::Duration;

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::lab::portal::{Fault, Faults, Outcome, ScriptedFault, Service};
use hoso_gateway::ledger::record::PauseScope;
use hoso_gateway::pipeline::orders::{self, heed_orders, report_gate};
use hoso_gateway::pipeline::resync::resync;
use hoso_gateway::portal::gate::PaceStatus;

use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;

const ACTOR: &str = "thu-nghiem";
const DOSSIERS: &str = "DongBoHoSoMC";

fn code(serial: u32) -> String {
    format!("H55.242-260126-{serial:04}")
}

fn papers(count: u32) -> Vec<Paper> {
    (1..=count).map(|serial| Paper::of(&code(serial))).collect()
}

async fn pause(gateway: &TestGateway, scope: &PauseScope, for_s: Option<u64>) {
    let until = for_s.map(|seconds| gateway.context.clock.now() + Duration::from_secs(seconds));
    orders::pause(&gateway.context, scope, until, ACTOR, "its catalogue is mended").await.unwrap();
}

#[tokio::test]
async fn a_paused_procedure_waits_with_its_reason_and_delays_no_other() {
    let mut all = papers(3);
    all[1] = all[1].clone().with("MaTTHC", "2.000815");
    let gateway = Story::of(0).start_with(&all).await;
    gateway.pull_and_map().await;
    let scope = PauseScope::Procedure("2.000815".into());
    pause(&gateway, &scope, None).await;
    gateway.push().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 2);
    let standing = gateway.standing().await;
    assert_eq!((standing.due_now, standing.set_aside), (0, 1));
    assert_eq!(standing.sending_pauses[0].scope, scope);
    // What comes to it later waits too, however urgent.
    resync(&gateway.context, None, &[code(2)], ACTOR, "the citizen asks").await.unwrap();
    gateway.map().await;
    gateway.push().await;
    let entry = gateway.entry(&code(2), 1).await;
    assert_eq!((entry.state, entry.attempt), (EntryState::Ready, 0));
    // Nobody is alarmed by what a person has stopped.
    gateway.skip(Duration::from_mins(10)).await;
    assert_eq!(gateway.upkeep().await.stuck, 0);
    let resumed = orders::resume(&gateway.context, &scope, ACTOR, "mended").await.unwrap();
    assert!(resumed.ended && resumed.still.is_empty());
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 3);
    gateway.end().await;
}

#[tokio::test]
async fn a_pause_of_everything_stops_look_ups_too_and_ends_by_itself() {
    let gateway = Story::of(0).start_with(&papers(3)).await;
    let lost = ScriptedFault::next(Fault::ApplyThenDrop).of_service(DOSSIERS);
    gateway.portal.inject(lost.about(&code(1)));
    gateway.pull_and_map().await;
    gateway.push().await;
    assert_eq!(gateway.count(EntryState::Unconfirmed).await, 1);
    gateway.put(&Paper::of(&code(4)));
    gateway.pull_and_map().await;
    pause(&gateway, &PauseScope::All, Some(600)).await;
    let calls = gateway.portal.state().calls;
    gateway.push().await;
    gateway.read_back().await;
    gateway.advance(Duration::from_secs(599)).await;
    let closed = gateway.push().await.gate_closed.unwrap();
    assert_eq!(closed.failure.code, orders::PAUSED);
    assert!(closed.failure.message.contains("its catalogue is mended"));
    gateway.read_back().await;
    assert_eq!(gateway.portal.state().calls, calls);
    assert_eq!(gateway.standing().await.due_now, 0);
    gateway.advance(Duration::from_secs(1)).await;
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 4);
    assert_eq!(gateway.standing().await.sending_pauses, []);
    gateway.end().await;
}

/// A backlog of a hundred waits at five calls a second, and the pusher has claimed ahead.
#[tokio::test]
async fn an_urgent_resync_starts_within_two_seconds_however_much_is_claimed_ahead() {
    let gateway = Story::of(0)
        .set("gate", "windows", "[{ limit = 5, window_ms = 1000, burst = 1 }]")
        .set("gate", "headroom", "0.0")
        .start_with(&papers(100))
        .await;
    gateway.pull_and_map().await;
    let last = code(100);
    // One call's time passes, and that call leaves, however slow the machine.
    let next_call = async || {
        let before = gateway.portal.state().calls;
        gateway.advance(Duration::from_millis(200)).await;
        gateway.until("a call leaves", || gateway.portal.state().calls > before).await;
    };
    let operator = async {
        // What an earlier process may have sent in the last second counts.
        gateway.advance(Duration::from_millis(800)).await;
        for _ in 0..20 {
            next_call().await;
        }
        resync(&gateway.context, None, std::slice::from_ref(&last), ACTOR, "the citizen waits")
            .await
            .unwrap();
        let asked_at = gateway.context.clock.now();
        let mut looked_at = asked_at;
        while gateway.portal.calls(Some(&last)).is_empty() {
            next_call().await;
            // As the daemon does: twice a second.
            if gateway.context.clock.now().since(looked_at) >= Duration::from_millis(500) {
                looked_at = gateway.context.clock.now();
                heed_orders(&gateway.context, &gateway.line).await.unwrap();
                gateway
                    .until("the urgent one waits for its permit", || {
                        let mut waiting = gateway.line.gate.status().waiting.into_iter();
                        waiting.any(|(class, _)| class == Priority::Urgent)
                            || !gateway.portal.calls(Some(&last)).is_empty()
                    })
                    .await;
            }
        }
        let waited = gateway.context.clock.now().since(asked_at);
        gateway.stop.cancel();
        waited
    };
    let (_, waited) = tokio::join!(gateway.push(), operator);
    assert!(waited <= Duration::from_secs(2), "{waited:?}");
    assert!(gateway.portal.calls(None).len() < 60, "the backlog was not there any more");
    gateway.end().await;
}

#[tokio::test]
async fn a_first_fill_whose_appointed_dates_come_near_goes_before_the_rest_of_it() {
    let mut all = papers(4);
    // 26 January 2026, 16:00 is now; one is due in three days.
    all[2] = all[2].clone().with("NgayHenTra", "20260129160000");
    for at in [0, 1, 3] {
        all[at] = all[at].clone().with("NgayHenTra", &format!("2026050{}160000", 9 - at));
    }
    let gateway = Story::of(0).set("push", "concurrency", "1").start_with(&all).await;
    gateway.pull_and_map().await;
    let class = |serial| {
        let gateway = &gateway;
        async move { gateway.entry(&code(serial), 1).await.priority }
    };
    assert_eq!(class(3).await, Priority::Backfill);
    gateway.skip(Duration::from_hours(49)).await;
    assert_eq!(gateway.upkeep().await.raised, 1);
    assert_eq!((class(3).await, class(1).await), (Priority::DeadlineNear, Priority::Backfill));
    gateway.push().await;
    let order: Vec<String> =
        gateway.calls(Service::Dossiers).into_iter().flat_map(|call| call.codes).collect();
    assert_eq!(order, [3, 4, 2, 1].map(code));
    gateway.end().await;
}

/// The adapter answers with its own pages for two days while the source goes on. Each dossier then
/// arrives once, in its newest state, and nobody's attempts were spent but those of the few calls
/// that showed that the portal was gone.
#[tokio::test]
async fn days_without_a_portal_cost_nothing_and_the_newest_state_arrives_once() {
    const HOURS: u32 = 48;
    let gateway = Story::of(0).set("push", "concurrency", "2").start_with(&papers(12)).await;
    gateway.pull_and_map().await;
    for hour in 1..=HOURS {
        let fault = match hour % 2 {
            0 => Fault::SoapFault { applied: false },
            _ => Fault::Status { status: 502, applied: false },
        };
        gateway.portal.set_faults(Faults::default());
        gateway.portal.inject(ScriptedFault::next(fault).until_cleared());
        for serial in 1..=12 {
            if (hour + serial) % 6 == 0 {
                let note = format!("Giờ thứ {hour}");
                gateway.put(&Paper::of(&code(serial)).version(hour + 1).with("GhiChu", &note));
            }
        }
        gateway.pull_and_map().await;
        for _ in 0..6 {
            gateway.upkeep().await;
            gateway.push().await;
            gateway.read_back().await;
            gateway.skip(Duration::from_mins(10)).await;
        }
    }
    let outage = gateway.portal.state().calls;
    assert!(outage <= u64::from(HOURS) * 12, "{outage} calls");
    assert_eq!(gateway.count(EntryState::Dead).await, 0);
    let mut spent = 0;
    for serial in 1..=12 {
        let dossier = gateway.dossier(&code(serial)).await;
        spent += dossier.entries.iter().map(|entry| entry.retries).sum::<u32>();
    }
    assert!(spent <= 8, "{spent} retries were spent");
    gateway.portal.set_faults(Faults::default());
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 12);
    for serial in 1..=12 {
        let calls = gateway.portal.calls(Some(&code(serial)));
        let taken = |service, outcome| {
            calls.iter().filter(|call| call.service == service && call.outcome == outcome).count()
        };
        assert_eq!(taken(Service::Dossiers, Outcome::Accepted), 1, "dossier {serial}");
        assert_eq!(taken(Service::Steps, Outcome::Accepted), 1, "steps of dossier {serial}");
        let dossier = gateway.dossier(&code(serial)).await;
        assert_eq!(dossier.acked_entry_id, dossier.newest_entry().map(|entry| entry.id));
        assert_eq!(dossier.revisions.len(), 9);
    }
    gateway.end().await;
}

/// The account is refused, or the address is wrong, in the middle of a run.
#[tokio::test]
async fn a_wrong_address_in_mid_run_spends_nothing_and_is_asked_once_a_pause() {
    let gateway = Story::of(0).start_with(&papers(4)).await;
    gateway.settle().await;
    gateway
        .portal
        .inject(ScriptedFault::next(Fault::Status { status: 404, applied: false }).until_cleared());
    for serial in 5..=40 {
        gateway.put(&Paper::of(&code(serial)));
    }
    let before = gateway.portal.state().calls;
    for _ in 0..12 {
        gateway.pull_and_map().await;
        gateway.push().await;
        gateway.read_back().await;
        gateway.skip(Duration::from_mins(5)).await;
    }
    // At first as many as were out together; then one a pause.
    let asked = gateway.portal.state().calls - before;
    assert!(asked <= 4 + 12, "{asked} calls");
    for serial in 5..=40 {
        let entry = gateway.entry(&code(serial), 1).await;
        assert_eq!((entry.state, entry.retries), (EntryState::Ready, 0));
    }
    gateway.portal.set_faults(Faults::default());
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 40);
    gateway.end().await;
}

#[tokio::test]
async fn what_the_gate_learnt_and_how_it_stands_is_in_the_ledger() {
    let gateway = Story::of(0).set("gate", "windows", "[]").start_with(&papers(2)).await;
    let refused = ScriptedFault::next(Fault::TooManyRequests { retry_after_s: None });
    gateway.portal.inject(refused.of_service(DOSSIERS));
    gateway.pull_and_map().await;
    gateway.while_time_passes(gateway.push()).await;
    report_gate(&gateway.context, &gateway.line).await.unwrap();
    let before = gateway.line.gate.status();
    assert_eq!(before.pace.episodes, 1);
    let refusals = gateway
        .context
        .ledger
        .refusals(hoso_gateway::domain::time::Timestamp::from_millis(0), 5)
        .await;
    assert_eq!(refusals.unwrap().len(), 1);
    let gateway = gateway.restart("mat-khau-thu-nghiem", "", &[]).await;
    let after = gateway.line.gate.status().pace;
    assert_eq!((after.episodes, after.refused_at), (1, before.pace.refused_at));
    // The last digit of a number may get lost in JSON.
    let pace = |status: PaceStatus| status.calls_a_second.expect("a pace");
    assert!((pace(after) - pace(before.pace)).abs() < 1e-9);
    gateway.stop.cancel();
    gateway.end().await;
}
