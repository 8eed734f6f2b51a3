//! The portal as it is observed: its own words, learnt from our calls, and never taken for more than they
//! are.

use std::time::Duration;

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::{Fault, PortalOptions, ReadBack, ScriptedFault};
use hoso_gateway::ledger::observed::ChangeKind;
use hoso_gateway::pipeline::observe::{observe_once, sentence};

use crate::support::gateway::Story;

#[tokio::test]
async fn a_portal_with_new_words_is_noticed_and_its_words_are_no_success() {
    let gateway = Story::of(6).start().await;
    gateway.settle().await;
    let learnt = observe_once(&gateway.context).await.unwrap();
    assert!(learnt.calls > 0 && learnt.changes.is_empty(), "{learnt:?}");

    gateway.advance(Duration::from_hours(25)).await;
    let code = gateway.province.add(1).remove(0);
    gateway.pull_and_map().await;
    let text = "Đã ghi nhận yêu cầu số 4711, xin cảm ơn";
    let words = Fault::PlainText { text: text.to_owned(), applied: false };
    gateway.portal.inject(ScriptedFault::next(words).of_service("DongBoHoSoMC"));
    gateway.push().await;
    assert_eq!(
        gateway.states(&code).await,
        [EntryState::Unconfirmed],
        "it is looked up, not believed"
    );
    let learnt = observe_once(&gateway.context).await.unwrap();
    let change = learnt.changes.iter().find(|change| change.kind == ChangeKind::NewAnswer);
    let change = change.unwrap_or_else(|| panic!("nothing is new: {learnt:?}"));
    assert_eq!(change.service, "DongBoHoSoMC");
    assert!(sentence(change).contains("số #, xin cảm ơn"), "{}", sentence(change));

    gateway.settle().await;
    observe_once(&gateway.context).await.unwrap();
    let observed = gateway.context.ledger.observed().await.unwrap();
    let new = observed.answers.iter().find(|answer| answer.message.contains("xin cảm ơn")).unwrap();
    assert_eq!((new.calls, new.outcome.as_str()), (1, "unknown"));
    assert!(observed.session.logins > 0);
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn the_fields_that_look_ups_show_are_known_by_name_and_never_by_content() {
    let mut story = Story::of(5);
    story.portal = PortalOptions { read_back: ReadBack::Echo, ..story.portal };
    let gateway = story.start().await;
    gateway.settle().await;
    gateway.reconcile().await;
    observe_once(&gateway.context).await.unwrap();
    let observed = gateway.context.ledger.observed().await.unwrap();
    let names: Vec<&str> = observed.fields.iter().map(|field| field.name.as_str()).collect();
    assert!(names.contains(&"MaHoSo") && names.contains(&"TrangThaiHoSo"), "{names:?}");
    assert!(observed.fields.iter().all(|field| field.service == "TraCuuHoSo"));
    let said = format!("{observed:?}");
    for dossier in gateway.province.expected() {
        assert!(!said.contains(&dossier.code), "{said}");
    }
    gateway.end().await;
}
