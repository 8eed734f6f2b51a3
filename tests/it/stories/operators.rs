//! What people ask for, and the books they read.

use futures_util::future::join_all;
use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::{ReadBack, Service};
use hoso_gateway::ledger::record::ResyncOutcome;
use hoso_gateway::pipeline::resync::resync;

use crate::support::gateway::Story;
use crate::support::paper::Paper;

const CODE: &str = "H55.242-260126-0001";

#[tokio::test]
async fn a_hundred_resyncs_of_one_dossier_at_once_make_one_call_and_a_hundred_audit_rows() {
    let gateway = Story::of(0).start_with(&[Paper::of(CODE)]).await;
    gateway.settle().await;
    let codes = [CODE.to_owned()];
    let asked =
        (0..100).map(|_| resync(&gateway.context, None, &codes, "thu-nghiem", "the agency asked"));
    let mut opened = 0;
    for report in join_all(asked).await {
        for dossier in report.unwrap().dossiers {
            opened += u64::from(matches!(dossier.outcome, ResyncOutcome::Opened { .. }));
        }
    }
    assert_eq!(opened, 1);
    gateway.settle().await;
    // The portal has exactly this packet already; a person asked, so it is sent all the same.
    assert_eq!(gateway.calls(Service::Dossiers).len(), 2);
    assert_eq!(gateway.portal.record(CODE).unwrap().updates, 1);
    let dossier = gateway.dossier(CODE).await;
    assert_eq!(dossier.audit.len(), 100);
    assert!(dossier.audit.iter().all(|row| row.actor == "thu-nghiem"));
    gateway.end().await;
}

#[tokio::test]
async fn a_resync_that_opens_nothing_leaves_its_audit_row_too() {
    let gateway = Story::of(0).start_with(&[Paper::of(CODE)]).await;
    gateway.settle().await;
    let codes = [CODE.to_owned(), "H55.242-260126-0999".to_owned()];
    let report = resync(&gateway.context, None, &codes, "thu-nghiem", "by hand").await.unwrap();
    assert_eq!(report.dossiers[1].outcome, ResyncOutcome::UnknownDossier);
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted, EntryState::Accepted]);
    gateway.end().await;
}

#[tokio::test]
async fn closed_books_put_every_dossier_into_exactly_one_bucket() {
    let paper = |serial: u32| Paper::of(&format!("H55.242-260126-{serial:04}"));
    let mut story = Story::of(8).set("reconcile", "repair", "[]");
    story.portal.read_back = ReadBack::Echo;
    story.province.population.ministry_share = 0.3;
    let (different, missing, quarantined, dead, open) = (9001, 9002, 9003, 9004, 9005);
    let gateway = story
        .start_with(&[
            paper(different),
            paper(missing),
            paper(quarantined).with("TrangThaiHoSo", "77"),
            paper(dead),
        ])
        .await;
    let code = |serial: u32| format!("H55.242-260126-{serial:04}");
    gateway.portal.refuse(&code(dead), "thủ tục không còn hiệu lực");
    gateway.settle().await;
    let not_ours = gateway.count(EntryState::NotOurs).await;
    let matched = gateway.province.expected().len() as u64;
    assert!(not_ours > 0 && matched > 1);
    // Somebody restores an old copy of one record, loses another, and the source deletes a third.
    gateway.put(&paper(open));
    assert!(gateway.portal.forget(&code(missing)));
    tamper_with(&gateway, &code(different)).await;
    let extra = gateway.province.expected()[0].code.clone();
    gateway.province.delete(&extra).unwrap();
    let books = gateway.reconcile().await;
    assert!(books.closed, "{books:#?}");
    assert_eq!((books.matched, books.different, books.missing), (matched - 1, 1, 1));
    assert_eq!((books.quarantined, books.dead, books.open), (1, 1, 1));
    assert_eq!((books.not_ours, books.extra, books.unverifiable), (not_ours, 1, 0));
    let sum = books.matched
        + books.different
        + books.missing
        + books.unverifiable
        + books.quarantined
        + books.dead
        + books.open
        + books.not_ours;
    assert_eq!(sum, books.at_source);
    let standing = gateway.standing().await;
    for kind in ["missing", "different", "not_received", "extra"] {
        assert_eq!(standing.open_discrepancies.get(kind), Some(&1), "{kind}");
    }
    assert_eq!(standing.last_books, [books]);
    gateway.end().await;
}

/// Another party writes the dossier at the portal with another appointment.
async fn tamper_with(gateway: &crate::support::gateway::TestGateway, code: &str) {
    let packet = {
        let dossier = gateway.dossier(code).await;
        let packets = gateway.context.ledger.acked_packets(&[dossier.dossier_id]).await.unwrap();
        packets[0].1.clone()
    };
    let changed =
        packet.replace("\"NgayHenTra\":\"20260127170000\"", "\"NgayHenTra\":\"20260131170000\"");
    assert_ne!(changed, packet);
    let class = hoso_gateway::domain::priority::Priority::Urgent;
    let exchange = gateway.line.portal.send_dossiers(class, true, &[&changed]).await;
    assert!(
        matches!(exchange.verdict, hoso_gateway::portal::PushVerdict::Accepted(_)),
        "{:?}",
        exchange.verdict
    );
}

#[tokio::test]
async fn a_difference_is_repaired_where_policy_says_so() {
    let mut story = Story::of(0).set("reconcile", "repair", "[\"different\"]");
    story.portal.read_back = ReadBack::Echo;
    let gateway = story.start_with(&[Paper::of(CODE)]).await;
    gateway.settle().await;
    tamper_with(&gateway, CODE).await;
    assert_eq!(gateway.reconcile().await.different, 1);
    gateway.settle().await;
    let books = gateway.reconcile().await;
    assert_eq!((books.different, books.matched), (0, 1));
    let dossier = gateway.dossier(CODE).await;
    assert_eq!(dossier.audit.len(), 1);
    assert!(dossier.discrepancies.iter().all(|found| found.resolved_at.is_some()));
    gateway.end().await;
}

#[tokio::test]
async fn a_portal_that_cannot_be_asked_leaves_dossiers_unverifiable_not_matched() {
    let gateway =
        Story::of(0).set("gate", "breaker_failures", "1000").start_with(&[Paper::of(CODE)]).await;
    gateway.settle().await;
    let down = hoso_gateway::lab::portal::Fault::DropRequest;
    gateway.portal.inject(
        hoso_gateway::lab::portal::ScriptedFault::next(down)
            .of_service("TraCuuHoSo")
            .until_cleared(),
    );
    let books = gateway.reconcile().await;
    assert_eq!((books.unverifiable, books.matched, books.missing), (1, 0, 0));
    assert!(books.closed);
    gateway.end().await;
}

#[tokio::test]
async fn a_difference_stays_open_until_the_portal_was_seen_to_agree() {
    let mut story = Story::of(0).set("reconcile", "repair", "[]");
    story.portal.read_back = ReadBack::Echo;
    let gateway = story.start_with(&[Paper::of(CODE)]).await;
    gateway.settle().await;
    tamper_with(&gateway, CODE).await;
    gateway.reconcile().await;
    let open = async || gateway.standing().await.open_discrepancies.get("different").copied();
    assert_eq!(open().await, Some(1));

    // Books that are closed without asking the portal have seen nothing of it.
    let stop = hoso_gateway::pipeline::Stop::new();
    let source = &gateway.sources[0];
    hoso_gateway::pipeline::reconcile::reconcile_once(&gateway.context, source, None, &stop)
        .await
        .unwrap();
    assert_eq!(open().await, Some(1));

    resync(&gateway.context, None, &[CODE.to_owned()], "thu-nghiem", "mend it").await.unwrap();
    gateway.settle().await;
    gateway.reconcile().await;
    assert_eq!(open().await, None);
    gateway.end().await;
}
