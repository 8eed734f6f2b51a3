//! Sending: in order, in time, within the quota, and nothing that need not be sent.

use std::time::Duration;

use hoso_gateway::clock::Clock;
use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::{
    Fault, Faults, Outcome, Preregistered, Quota, ScriptedFault, Service, Window, WindowKind,
};
use hoso_gateway::pipeline::push::push_once;

use crate::support::gateway::Story;
use crate::support::paper::Paper;

const CODE: &str = "H55.242-260126-0001";
const DOSSIERS: &str = "DongBoHoSoMC";

fn papers(count: u32) -> Vec<Paper> {
    (1..=count).map(|serial| Paper::of(&format!("H55.242-260126-{serial:04}"))).collect()
}

#[tokio::test]
async fn a_province_is_delivered_whole_each_dossier_before_its_steps_and_steps_in_order() {
    let gateway = Story::of(80).start().await;
    gateway.settle().await;
    gateway.assert_delivered();
    for dossier in gateway.province.expected() {
        let calls = gateway.portal.calls(Some(&dossier.code));
        let first = calls.first().unwrap();
        assert_eq!(first.service, Service::Dossiers);
        let steps: Vec<_> = calls
            .iter()
            .filter(|call| call.service == Service::Steps)
            .flat_map(|call| call.digests.clone())
            .collect();
        let mut sorted = (steps.clone(), dossier.steps.clone());
        sorted.0.sort();
        sorted.1.sort();
        assert_eq!(sorted.0, sorted.1);
    }
    for call in gateway.calls(Service::Steps) {
        assert!(call.digests.len() <= 10);
        assert!(call.codes.iter().all(|code| *code == call.codes[0]));
    }
    gateway.end().await;
}

#[tokio::test]
async fn more_than_ten_steps_go_in_several_calls_in_the_order_of_their_times() {
    let times: Vec<String> = (10..35).map(|minute| format!("2026012608{minute}00")).collect();
    let mut steps: Vec<(&str, &str)> = times.iter().map(|time| (time.as_str(), "4")).collect();
    // The source lists them in any order.
    steps.swap(0, 20);
    let paper = Paper::of(CODE).steps(&steps);
    let gateway = Story::of(0).start_with(&[paper]).await;
    gateway.settle().await;
    let sizes: Vec<usize> =
        gateway.calls(Service::Steps).iter().map(|call| call.digests.len()).collect();
    assert_eq!(sizes, [10, 10, 5]);
    let dossier = gateway.dossier(CODE).await;
    let attempts: Vec<String> = dossier
        .attempts
        .into_iter()
        .filter(|attempt| attempt.kind == "steps")
        .filter_map(|attempt| attempt.detail)
        .collect();
    let sent: Vec<String> = attempts
        .join(" ")
        .split(' ')
        .map(|identity| identity.split('/').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(sent, times);
    gateway.end().await;
}

#[tokio::test]
async fn steps_of_one_second_go_in_the_order_of_the_source() {
    let paper = Paper::of(CODE).steps(&[
        ("20260126083000", "4"),
        ("20260126150000", "9"),
        ("20260126150000", "10"),
    ]);
    let gateway = Story::of(0).start_with(&[paper]).await;
    gateway.settle().await;
    let dossier = gateway.dossier(CODE).await;
    let sent: Vec<String> =
        dossier.attempts.into_iter().filter_map(|attempt| attempt.detail).collect();
    assert_eq!(sent, ["20260126083000/4 20260126150000/9 20260126150000/10"]);
    gateway.end().await;
}

#[tokio::test]
async fn a_request_for_a_supplement_travels_alone() {
    let paper = Paper::of(CODE).steps(&[
        ("20260126083000", "2"),
        ("20260126084000", "4"),
        ("20260126085000", "5"),
        ("20260126090000", "4"),
        ("20260126091000", "4"),
    ]);
    let gateway = Story::of(0).start_with(&[paper]).await;
    gateway.settle().await;
    let sizes: Vec<usize> =
        gateway.calls(Service::Steps).iter().map(|call| call.digests.len()).collect();
    assert_eq!(sizes, [2, 1, 2]);
    gateway.end().await;
}

#[tokio::test]
async fn in_a_batch_of_ten_one_refused_dossier_alone_is_dead() {
    let gateway = Story::of(0).set("push", "dossiers_per_call", "10").start_with(&papers(10)).await;
    let bad = "H55.242-260126-0007";
    gateway.portal.refuse(bad, "thủ tục không còn hiệu lực");
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 9);
    assert_eq!(gateway.states(bad).await, [EntryState::Dead]);
    assert_eq!(gateway.portal.records().len(), 9);
    let sizes: Vec<usize> =
        gateway.calls(Service::Dossiers).iter().map(|call| call.codes.len()).collect();
    assert_eq!(sizes[0], 10);
    assert!(sizes.len() <= 12, "too many calls: {sizes:?}");
    // The nine were sent, and accepted, once each.
    assert_eq!(gateway.portal.state().packets_accepted, 9);
    gateway.end().await;
}

#[tokio::test]
async fn a_refused_dossier_goes_on_when_the_source_corrects_it() {
    let gateway = Story::of(0).start_with(&papers(1)).await;
    gateway.portal.refuse(CODE, "thiếu thông tin");
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Dead]);
    gateway.portal.accept(CODE);
    gateway.put(&Paper::of(CODE).version(2).with("GhiChu", "Đã sửa"));
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Superseded, EntryState::Accepted]);
    gateway.end().await;
}

#[tokio::test]
async fn nothing_is_sent_when_nothing_that_the_portal_can_see_changed() {
    let gateway = Story::of(0).start_with(&papers(1)).await;
    gateway.settle().await;
    let calls = gateway.portal.state().calls;
    // Another export of the same: the link's signature differs, nothing else.
    let exported = Paper::of(CODE).version(2).replace("&amp;t=9f1c", "&amp;t=77aa");
    gateway.put(&exported);
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.unchanged), (0, 1));
    gateway.settle().await;
    assert_eq!(gateway.portal.state().calls, calls);
    gateway.end().await;
}

#[tokio::test]
async fn a_revision_that_only_adds_a_step_sends_only_the_step() {
    let gateway = Story::of(0).start_with(&papers(1)).await;
    gateway.settle().await;
    let more =
        Paper::of(CODE).version(2).steps(&[("20260126083000", "4"), ("20260126093000", "4")]);
    gateway.put(&more);
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted, EntryState::Unchanged]);
    assert_eq!(gateway.calls(Service::Dossiers).len(), 1);
    let steps = gateway.calls(Service::Steps);
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[1].digests.len(), 1);
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 2);
    gateway.end().await;
}

#[tokio::test]
async fn a_dossier_filed_at_the_portal_is_sent_as_an_update_at_once() {
    let gateway = Story::of(60).start().await;
    gateway.settle().await;
    let filed = gateway.province.filed_at_portal();
    assert!(filed.len() > 10 && filed.len() < 60);
    for call in gateway.calls(Service::Dossiers) {
        let at_portal = filed.contains(&call.codes[0]);
        assert_eq!(call.updating, Some(at_portal), "{:?}", call.codes);
        assert_eq!(call.outcome, Outcome::Accepted);
    }
    gateway.end().await;
}

#[tokio::test]
async fn a_create_of_a_dossier_that_exists_becomes_an_update() {
    let mut story = Story::of(0);
    story.portal.preregistered = Preregistered::Listed([CODE.to_owned()].into());
    let gateway = story.start_with(&papers(3)).await;
    gateway.settle().await;
    let about: Vec<_> = gateway
        .portal
        .calls(Some(CODE))
        .into_iter()
        .filter(|call| call.service == Service::Dossiers)
        .map(|call| (call.updating, call.outcome))
        .collect();
    assert_eq!(about, [(Some(false), Outcome::Exists), (Some(true), Outcome::Accepted)]);
    assert_eq!(gateway.count(EntryState::Accepted).await, 3);
    gateway.end().await;
}

#[tokio::test]
async fn a_newer_revision_takes_the_place_of_one_that_still_waits() {
    let gateway = Story::of(0).start_with(&papers(1)).await;
    gateway.pull_and_map().await;
    gateway.put(&Paper::of(CODE).version(2).with("GhiChu", "Mới hơn"));
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Superseded, EntryState::Accepted]);
    assert_eq!(gateway.calls(Service::Dossiers).len(), 1);
    gateway.end().await;
}

#[tokio::test]
async fn a_newer_revision_waits_while_a_call_about_its_dossier_is_out() {
    let gateway = Story::of(0).start_with(&papers(1)).await;
    let slow = ScriptedFault::next(Fault::Delay { ms: 2_000 }).of_service(DOSSIERS);
    gateway.portal.inject(slow);
    gateway.pull_and_map().await;
    let (context, line, stop) =
        (gateway.context.clone(), gateway.line.clone(), gateway.stop.clone());
    let out = tokio::spawn(async move { push_once(&context, &line, &stop).await });
    let about = || gateway.portal.calls(Some(CODE)).len();
    gateway.until("the call is out", || about() == 1).await;
    gateway.put(&Paper::of(CODE).version(2).with("GhiChu", "Mới hơn"));
    assert_eq!(gateway.pull_and_map().await.counts.ready, 1);
    assert_eq!(gateway.states(CODE).await, [EntryState::Leased, EntryState::Ready]);
    // A second sender finds nothing that it may take.
    assert_eq!(gateway.push().await.packets, 0);
    assert_eq!(about(), 1);
    gateway.advance(Duration::from_secs(2)).await;
    out.await.unwrap().unwrap();
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted, EntryState::Accepted]);
    let flags: Vec<_> = gateway.calls(Service::Dossiers).iter().map(|call| call.updating).collect();
    assert_eq!(flags, [Some(false), Some(true)]);
    gateway.end().await;
}

#[tokio::test]
async fn a_time_that_the_portal_names_is_waited_for() {
    let gateway = Story::of(0).start_with(&papers(4)).await;
    let wait = Fault::TooManyRequests { retry_after_s: Some(30) };
    gateway.portal.inject(ScriptedFault::next(wait).of_service(DOSSIERS));
    gateway.pull_and_map().await;
    let asked_at = gateway.clock.now();
    let closed = gateway.push().await.gate_closed.unwrap();
    assert!(closed.until >= asked_at + Duration::from_secs(30));
    let calls = gateway.portal.state().calls;
    gateway.advance(Duration::from_millis(29_900)).await;
    gateway.push().await;
    gateway.read_back().await;
    assert_eq!(gateway.portal.state().calls, calls, "asked too early");
    gateway.advance(Duration::from_millis(200)).await;
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 4);
    for serial in 1..=4 {
        let entry = gateway.entry(&format!("H55.242-260126-{serial:04}"), 1).await;
        assert_eq!(entry.retries, 0);
    }
    gateway.end().await;
}

#[tokio::test]
async fn a_wrong_password_spends_no_attempts_and_sending_goes_on_when_it_is_mended() {
    let mut story = Story::of(0);
    let right = std::mem::replace(&mut story.password, "sai-mat-khau".to_owned());
    let gateway = story.start_with(&papers(3)).await;
    gateway.pull_and_map().await;
    for _ in 0..5 {
        gateway.push().await;
        gateway.advance(Duration::from_secs(31)).await;
    }
    let closed = gateway.push().await.gate_closed;
    assert!(closed.is_some_and(|closed| closed.failure.code == "portal.credentials"));
    let logins = gateway.outcomes(Service::Login);
    assert!(logins.iter().all(|outcome| *outcome == Outcome::WrongPassword));
    assert!(logins.len() <= 5, "the account is hammered: {}", logins.len());
    assert_eq!(gateway.count(EntryState::Ready).await, 3);
    assert_eq!(gateway.entry(CODE, 1).await.retries, 0);
    let gateway = gateway.restart(&right, "", &[]).await;
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 3);
    gateway.end().await;
}

#[tokio::test]
async fn a_session_that_ends_in_mid_run_is_renewed_and_the_call_repeated_once() {
    let gateway = Story::of(0).set("push", "concurrency", "1").start_with(&papers(5)).await;
    let about = ScriptedFault::next(Fault::SessionExpired).of_service(DOSSIERS);
    gateway.portal.inject(about.about("H55.242-260126-0003"));
    gateway.settle().await;
    assert_eq!(gateway.portal.state().sessions_issued, 2);
    let refused = gateway
        .outcomes(Service::Dossiers)
        .into_iter()
        .filter(|outcome| *outcome == Outcome::NoSession)
        .count();
    assert_eq!(refused, 1);
    let entry = gateway.entry("H55.242-260126-0003", 1).await;
    assert_eq!((entry.attempt, entry.retries), (1, 0));
    gateway.end().await;
}

#[tokio::test]
async fn a_session_older_than_the_portal_keeps_it_costs_one_call_not_a_dossier() {
    let mut story = Story::of(0);
    story.portal.session_minutes = 1;
    let gateway = story.start_with(&papers(1)).await;
    gateway.settle().await;
    gateway.advance(Duration::from_mins(2)).await;
    gateway.put(&Paper::of("H55.242-260126-0002"));
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 2);
    assert_eq!(gateway.portal.state().sessions_issued, 2);
    gateway.end().await;
}

#[tokio::test]
async fn the_breaker_opens_after_failures_in_a_row_and_one_probe_closes_it() {
    let gateway = Story::of(0)
        .set("push", "concurrency", "1")
        .set("gate", "breaker_failures", "3")
        .set("gate", "breaker_cool_down_ms", "10000")
        .start_with(&papers(10))
        .await;
    let down = Fault::Status { status: 500, applied: false };
    gateway.portal.inject(ScriptedFault::next(down).of_service(DOSSIERS).until_cleared());
    gateway.pull_and_map().await;
    let closed = gateway.push().await.gate_closed.unwrap();
    assert_eq!(closed.failure.code, "portal.breaker_open");
    let sent = || gateway.calls(Service::Dossiers).len() + gateway.calls(Service::LookUp).len();
    assert_eq!(sent(), 3);
    gateway.advance(Duration::from_secs(5)).await;
    gateway.push().await;
    gateway.read_back().await;
    assert_eq!(sent(), 3, "the gate was open too early");
    gateway.advance(Duration::from_secs(10)).await;
    gateway.push().await;
    assert_eq!(sent(), 4, "one probe");
    gateway.portal.set_faults(Faults::default());
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 10);
    gateway.end().await;
}

#[tokio::test]
async fn a_process_that_lost_the_gate_ends_its_pass_and_sends_nothing() {
    let gateway = Story::of(0).start_with(&papers(3)).await;
    gateway.pull_and_map().await;
    // Frozen past the end of its ownership: nothing was renewed meanwhile.
    gateway.freeze().await;
    let report = gateway.push().await;
    let closed = report.gate_closed.unwrap();
    assert_eq!(closed.failure.code, "push.gate_lost");
    assert_eq!(gateway.portal.state().calls, 0);
    for serial in 1..=3 {
        let entry = gateway.entry(&format!("H55.242-260126-{serial:04}"), 1).await;
        assert_eq!((entry.state, entry.attempt), (EntryState::Ready, 0));
    }
    gateway.end().await;
}

#[tokio::test]
async fn the_quota_of_two_windows_is_used_well_and_never_exceeded() {
    let windows = [(20, 1_000), (100, 10_000)];
    let mut story = Story::of(60).set("push", "concurrency", "1").set(
        "gate",
        "windows",
        "[{ limit = 20, window_ms = 1000 }, { limit = 100, window_ms = 10000 }]",
    );
    story.portal.quota = Quota {
        windows: windows
            .iter()
            .map(|(limit, window_ms)| Window {
                limit: *limit,
                window_ms: *window_ms,
                kind: WindowKind::SlidingAttempts,
            })
            .collect(),
        retry_after: true,
    };
    let gateway = story.start().await;
    gateway.pull_and_map().await;
    let began = gateway.clock.now();
    gateway.while_time_passes(gateway.settle()).await;
    let state = gateway.portal.state();
    assert_eq!((state.overshoots, state.refused_by_quota), (0, 0));
    gateway.assert_delivered();
    // One call at a time takes no time on this clock, so only the gate sets the pace.
    let seconds = gateway.clock.now().since(began).as_secs_f64();
    let allowed = seconds * 10.0;
    assert!(state.calls as f64 > allowed * 0.9, "{} calls in {seconds} s", state.calls);
    gateway.end().await;
}

#[tokio::test]
async fn a_crashed_owners_quota_is_honoured_by_the_next_one() {
    let mut story = Story::of(30).set("push", "concurrency", "1").set(
        "gate",
        "windows",
        "[{ limit = 30, window_ms = 60000, burst = 25 }]",
    );
    story.portal.quota = Quota {
        windows: vec![Window { limit: 30, window_ms: 60_000, kind: WindowKind::SlidingAttempts }],
        retry_after: true,
    };
    let gateway = story.start().await;
    gateway.pull_and_map().await;
    // Time stands still, so only the burst can leave; then the owner is cut off.
    let calls = || gateway.portal.state().calls;
    let (context, line, stop) =
        (gateway.context.clone(), gateway.line.clone(), gateway.stop.clone());
    let cut_off = tokio::spawn(async move { push_once(&context, &line, &stop).await });
    gateway.until("the burst is out", || calls() >= 25).await;
    cut_off.abort();
    assert!(cut_off.await.is_err());
    let gateway = gateway.restart("mat-khau-thu-nghiem", "", &[]).await;
    gateway.while_time_passes(gateway.settle()).await;
    assert_eq!(gateway.portal.state().overshoots, 0);
    gateway.assert_delivered();
    gateway.end().await;
}
