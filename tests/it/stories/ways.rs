//! The other ways to the portal: a wrapper in both shapes, and a platform with tokens. What is promised
//! does not depend on the way.

use std::time::Duration;

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::{Fault, Faults, Outcome, Profile, ScriptedFault, Service};

use crate::support::gateway::Story;
use crate::support::paper::Paper;

const CODE: &str = "H55.242-260126-0001";
const DOSSIERS: &str = "DongBoHoSoMC";
const STEPS: &str = "CapNhatTienDoHoSoMC";

/// Agency and flag in the query.
fn flagged_wrapper(dossiers: u32) -> Story {
    let mut story = Story::of(dossiers).set("portal", "profile", "\"wrapper\"");
    story.portal.profile = Profile::Wrapper;
    story.portal_path = "/api/SynsTTHCC";
    story
}

/// An address for each operation, double encoding, plain text, and a key of its own.
fn separate_wrapper(dossiers: u32) -> Story {
    let mut story = flagged_wrapper(dossiers)
        .set("portal.wrapper", "update", "\"CapNhatHoSoMC\"")
        .set("portal.wrapper", "agency_key", "\"\"")
        .set("portal.wrapper", "updating_key", "\"\"")
        .set("portal.wrapper", "auth", "\"header\"")
        .set("portal.wrapper", "auth_header", "\"X-Api-Key\"");
    story.portal.wrapper_secret = Some("khoa-thu-nghiem".to_owned());
    story.portal_path = "/KetNoiMotCuaQuocGia";
    story
}

fn platform(dossiers: u32) -> Story {
    let mut story = Story::of(dossiers).set("portal", "profile", "\"bearer\"").set(
        "portal.bearer",
        "client_id",
        "\"hoso-thu-nghiem\"",
    );
    story.portal.profile = Profile::Bearer;
    story
}

/// The platform passes the portal's own login on, and takes the request for a token as JSON.
fn platform_with_login(dossiers: u32) -> Story {
    let mut story = platform(dossiers).set("portal.bearer", "login", "\"ngsp/DVCQG/login\"").set(
        "portal.bearer",
        "token_body",
        "\"json\"",
    );
    story.portal.passes_login = true;
    story
}

const WAYS: [fn(u32) -> Story; 4] =
    [flagged_wrapper, separate_wrapper, platform, platform_with_login];

#[tokio::test]
async fn every_way_delivers_updates_repairs_and_closes_its_books() {
    for way in WAYS {
        let gateway = way(8).start().await;
        gateway.settle().await;
        gateway.assert_delivered();
        for _ in 0..5 {
            gateway.province.evolve_any();
        }
        gateway.settle().await;
        gateway.assert_delivered();
        let lost = gateway.province.expected()[0].code.clone();
        assert!(gateway.portal.forget(&lost));
        let books = gateway.reconcile().await;
        assert_eq!((books.missing, books.matched, books.closed), (1, 7, true));
        gateway.settle().await;
        gateway.assert_delivered();
        assert_eq!(gateway.reconcile().await.matched, 8);
        gateway.end().await;
    }
}

#[tokio::test]
async fn every_way_survives_many_faults_without_loss_or_invention() {
    for way in WAYS {
        let mut story = way(20).set("push", "dossiers_per_call", "5");
        story.portal.faults = Faults {
            rates: Faults::preset("many")
                .unwrap()
                .rates
                .into_iter()
                // Waits are for the stories that move the clock themselves.
                .filter(|rate| !matches!(rate.fault, Fault::Delay { .. } | Fault::SlowBody { .. }))
                .collect(),
            next: Vec::new(),
        };
        let gateway = story.start().await;
        for fault in [Fault::TokenExpired, Fault::SessionExpired, Fault::DoubleEncoded] {
            gateway.portal.inject(ScriptedFault::next(fault).of_service(DOSSIERS));
        }
        gateway.settle().await;
        let comparison = gateway.comparison();
        assert!(comparison.missing.is_empty() && comparison.different.is_empty());
        assert!(comparison.unexpected.is_empty());
        assert_eq!(comparison.steps_unexpected, 0);
        let held = gateway.standing().await.steps.get("held").copied();
        assert!(comparison.steps_missing as u64 <= held.unwrap_or(0));
        gateway.end().await;
    }
}

#[tokio::test]
async fn tokens_that_end_in_mid_run_cost_no_dossier_an_attempt() {
    let gateway = platform(6).start().await;
    gateway.portal.inject(ScriptedFault::next(Fault::TokenExpired).of_service(DOSSIERS));
    gateway.portal.inject(ScriptedFault::next(Fault::TokenExpired).of_service(STEPS));
    gateway.settle().await;
    gateway.assert_delivered();
    let refused =
        gateway.outcomes(Service::Dossiers).iter().filter(|o| **o == Outcome::NoToken).count();
    assert!(refused >= 1, "no token was refused");
    for dossier in gateway.province.expected() {
        assert_eq!(gateway.entry(&dossier.code, 1).await.retries, 0);
    }
    // One token before its time, with nobody refused.
    let before = (gateway.portal.state().tokens_issued, refused);
    gateway.advance(Duration::from_mins(4)).await;
    gateway.province.evolve_any();
    gateway.settle().await;
    let refused =
        gateway.outcomes(Service::Dossiers).iter().filter(|o| **o == Outcome::NoToken).count();
    assert_eq!((gateway.portal.state().tokens_issued, refused), (before.0 + 1, before.1));
    gateway.end().await;
}

#[tokio::test]
async fn the_platforms_name_of_each_call_is_kept_with_what_it_brought() {
    let gateway = platform(0).start_with(&[Paper::of(CODE)]).await;
    gateway.portal.refuse(CODE, "thủ tục không còn hiệu lực");
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Dead]);
    let dossier = gateway.dossier(CODE).await;
    let id = dossier.attempts[0].correlation_id.clone().expect("a name");
    assert!(id.starts_with("lab-"), "{id}");
    let failure = dossier.entries[0].failure.clone().expect("a failure");
    assert!(failure.details.ends_with(&format!("; correlationId {id}")), "{}", failure.details);
    gateway.end().await;
}

#[tokio::test]
async fn an_account_that_the_platform_does_not_know_pauses_sending_and_spends_nothing() {
    let story = platform(0).set("portal.bearer", "client_id", "\"ai-do\"");
    let gateway = story.start_with(&[Paper::of(CODE)]).await;
    gateway.pull_and_map().await;
    gateway.push().await;
    let entry = gateway.entry(CODE, 1).await;
    assert_eq!((entry.state, entry.retries), (EntryState::Ready, 0));
    assert_eq!(entry.failure.expect("a failure").code, "portal.credentials");
    assert_eq!(gateway.line.gate.status().state, "closed");
    assert!(gateway.calls(Service::Dossiers).is_empty());
    let change = [("portal.bearer", "client_id", "\"hoso-thu-nghiem\"")];
    let gateway = gateway.restart("", "", &change).await;
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted]);
    gateway.end().await;
}

#[tokio::test]
async fn a_plain_text_that_nobody_has_listed_is_not_believed() {
    let gateway = separate_wrapper(0).start_with(&[Paper::of(CODE)]).await;
    let unlisted =
        |applied| Fault::PlainText { text: "Đã gửi thành công".to_owned(), applied };
    gateway.portal.inject(ScriptedFault::next(unlisted(true)).of_service(DOSSIERS));
    gateway.pull_and_map().await;
    gateway.push().await;
    let entry = gateway.entry(CODE, 1).await;
    assert_eq!(entry.state, EntryState::Unconfirmed);
    assert_eq!(entry.failure.expect("a failure").code, "portal.unknown_text");
    // The portal has it, says the look-up; only an answer to an update counts.
    gateway.portal.inject(ScriptedFault::next(unlisted(false)).of_service(STEPS));
    gateway.settle().await;
    assert_eq!(gateway.outcomes(Service::LookUp), [Outcome::Hit]);
    assert_eq!(gateway.outcomes(Service::Steps), [Outcome::NotApplied, Outcome::Accepted]);
    let record = gateway.portal.record(CODE).unwrap();
    assert_eq!((record.updates, record.steps.len()), (1, 1));
    gateway.end().await;
}

#[tokio::test]
async fn a_wrapper_that_refuses_the_key_pauses_sending() {
    let mut story = separate_wrapper(0);
    story.portal.wrapper_secret = Some("khoa-cu".to_owned());
    let gateway = story.start_with(&[Paper::of(CODE)]).await;
    let change = [("portal.wrapper", "auth_header", "\"X-Other\"")];
    let gateway = gateway.restart("", "", &change).await;
    gateway.pull_and_map().await;
    gateway.push().await;
    let entry = gateway.entry(CODE, 1).await;
    assert_eq!((entry.state, entry.retries), (EntryState::Ready, 0));
    assert_eq!(entry.failure.expect("a failure").code, "portal.token");
    gateway.end().await;
}
