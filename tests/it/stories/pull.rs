//! Reading the feed of a source that keeps its promises, and of one that does not.

use std::time::Duration;

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::province::{Auth, Misbehaviour, MisbehaviourRule, ProvinceOptions};

use crate::support::gateway::Story;

#[tokio::test]
async fn pages_are_read_to_the_end_and_the_next_poll_goes_on_behind_them() {
    let gateway = Story::of(25).set("source", "page_limit", "10").start().await;
    let first = gateway.pull().await.unwrap();
    assert_eq!((first.pages, first.new, first.caught_up), (3, 25, true));
    gateway.province.evolve_any().unwrap();
    gateway.province.add(1);
    let second = gateway.pull().await.unwrap();
    assert_eq!((second.new, second.caught_up), (2, true));
    assert!(second.pages < 3, "the whole feed was read again");
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn a_change_committed_late_behind_the_cursor_is_caught_by_the_overlap() {
    let gateway = Story::of(30).start().await;
    let late = Misbehaviour::LateCommit { behind_ms: 60_000 };
    gateway.province.misbehave(MisbehaviourRule::once(late));
    assert_eq!(gateway.pull().await.unwrap().new, 30);
    assert_eq!(gateway.pull().await.unwrap().new, 1);
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn without_an_overlap_a_late_commit_is_missed_and_the_books_say_so() {
    let gateway = Story::of(30).set("source", "overlap_ms", "0").start().await;
    let late = Misbehaviour::LateCommit { behind_ms: 60_000 };
    gateway.province.misbehave(MisbehaviourRule::once(late));
    gateway.settle().await;
    let books = gateway.reconcile().await;
    assert_eq!((books.matched, books.open), (29, 1));
    let standing = gateway.standing().await;
    assert_eq!(standing.open_discrepancies.get("behind"), Some(&1));
    gateway.end().await;
}

#[tokio::test]
async fn an_unchanged_feed_answers_not_modified_and_counts_as_read() {
    let gateway = Story::of(5).start().await;
    assert_eq!(gateway.pull().await.unwrap().pages, 1);
    let again = gateway.pull().await.unwrap();
    assert_eq!((again.pages, again.unchanged, again.caught_up), (0, 0, true));
    gateway.province.evolve_any().unwrap();
    assert_eq!(gateway.pull().await.unwrap().new, 1);
    gateway.end().await;
}

#[tokio::test]
async fn a_plain_feed_and_a_packed_one_deliver_the_same() {
    for gzip in [true, false] {
        let mut story = Story::of(12);
        story.province.gzip = gzip;
        let gateway = story.start().await;
        gateway.settle().await;
        gateway.assert_delivered();
        gateway.end().await;
    }
}

#[tokio::test]
async fn of_a_dossier_that_stands_twice_in_a_page_the_last_one_counts() {
    let gateway = Story::of(8).start().await;
    let rule = MisbehaviourRule::once(Misbehaviour::DuplicateInPage);
    gateway.province.misbehave(rule);
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn a_page_in_any_order_encoding_or_form_delivers_the_same() {
    for misbehaviour in [
        Misbehaviour::UnsortedItems,
        Misbehaviour::Utf16,
        Misbehaviour::Windows1258,
        Misbehaviour::Utf8Bom,
        Misbehaviour::Nfd,
    ] {
        let gateway = Story::of(10).start().await;
        let rule = MisbehaviourRule::until_cleared(misbehaviour);
        gateway.province.misbehave(rule);
        gateway.settle().await;
        gateway.assert_delivered();
        gateway.end().await;
    }
}

#[tokio::test]
async fn a_spoilt_document_is_refused_whole_kept_as_evidence_and_read_later() {
    for (misbehaviour, code) in [
        (Misbehaviour::TruncatedXml, "source.truncated"),
        (Misbehaviour::HtmlPage, "source.html_page"),
        (Misbehaviour::EntityBomb, "source.doctype"),
        (Misbehaviour::WrongDeclaration, "source.encoding"),
    ] {
        let gateway = Story::of(10).start().await;
        let rule = MisbehaviourRule::until_cleared(misbehaviour);
        gateway.province.misbehave(rule);
        let refused = gateway.pull().await;
        assert!(refused.is_err(), "{code}: {refused:?}");
        assert_eq!(refused.unwrap_err().code, code);
        gateway.province.clear_misbehaviour();
        let standing = gateway.standing().await;
        assert!(standing.dossiers.is_empty(), "{code}: part of it was taken");
        assert_eq!(standing.refused_documents, 1, "{code}");
        let failure = standing.sources[0].failure.as_ref().unwrap();
        assert_eq!(failure.code, code);
        assert_eq!(gateway.pull().await.unwrap().new, 10, "{code}");
        assert!(gateway.standing().await.sources[0].failure.is_none());
        gateway.end().await;
    }
}

#[tokio::test]
async fn one_flawed_item_does_not_stop_its_page() {
    let gateway = Story::of(10).set("source", "item_bytes_max", "100000").start().await;
    let large = Misbehaviour::OversizedItem { bytes: 200_000 };
    gateway.province.misbehave(MisbehaviourRule::once(large));
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.refused, report.caught_up), (9, 1, true));
    assert_eq!(gateway.standing().await.refused_documents, 1);
    // The source shows it whole again, within the overlap.
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn an_item_with_broken_text_is_kept_for_a_person_and_its_neighbours_go_on() {
    for misbehaviour in [Misbehaviour::UnescapedAmpersand, Misbehaviour::ControlCharacter] {
        let gateway = Story::of(10).start().await;
        gateway.province.misbehave(MisbehaviourRule::once(misbehaviour));
        let counts = gateway.pull_and_map().await.counts;
        assert_eq!((counts.ready, counts.quarantined), (9, 1));
        gateway.push().await;
        assert_eq!(gateway.portal.records().len(), 9);
        // The next export is sound.
        gateway.settle().await;
        gateway.assert_delivered();
        gateway.end().await;
    }
}

#[tokio::test]
async fn a_feed_that_never_ends_is_given_up_with_a_name_and_read_on_later() {
    for misbehaviour in [Misbehaviour::StuckCursor, Misbehaviour::EndlessMore] {
        let gateway = Story::of(40)
            .set("source", "page_limit", "10")
            .set("source", "overlap_ms", "0")
            .start()
            .await;
        gateway.pull().await.unwrap();
        gateway.province.add(3);
        let before = gateway.province.state().requests_served;
        let rule = MisbehaviourRule::until_cleared(misbehaviour);
        gateway.province.misbehave(rule);
        let failure = gateway.pull().await.unwrap_err();
        assert_eq!(failure.code, "source.stuck_cursor");
        assert!(gateway.province.state().requests_served <= before + 2);
        gateway.province.clear_misbehaviour();
        gateway.settle().await;
        gateway.assert_delivered();
        gateway.end().await;
    }
}

#[tokio::test]
async fn a_page_of_items_without_a_cursor_is_not_taken() {
    let gateway = Story::of(10).start().await;
    let rule = MisbehaviourRule::once(Misbehaviour::MissingCursor);
    gateway.province.misbehave(rule);
    let failure = gateway.pull().await.unwrap_err();
    assert_eq!(failure.code, "source.broken_feed");
    assert!(gateway.standing().await.dossiers.is_empty());
    assert_eq!(gateway.pull().await.unwrap().new, 10);
    gateway.end().await;
}

#[tokio::test]
async fn wrong_credentials_are_named_and_mended_in_place() {
    let mut story = Story::of(6).set("source", "auth", "\"bearer\"");
    story.province.auth = Auth::Bearer("khoa-dung".to_owned());
    story.token = "khoa-sai".to_owned();
    let password = story.password.clone();
    let gateway = story.start().await;
    let failure = gateway.pull().await.unwrap_err();
    assert_eq!(failure.code, "source.credentials");
    let standing = gateway.standing().await;
    assert!(standing.sources[0].failing_since.is_some());
    let gateway = gateway.restart(&password, "khoa-dung", &[]).await;
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn changes_younger_than_the_settle_lag_are_left_for_the_next_poll() {
    let gateway = Story::of(10).set("source", "settle_lag_ms", "60000").start().await;
    gateway.advance(Duration::from_secs(90)).await;
    assert_eq!(gateway.pull().await.unwrap().new, 10);
    let code = gateway.province.evolve_any().unwrap();
    let young = gateway.pull().await.unwrap();
    assert_eq!((young.new, young.too_young, young.caught_up), (0, 1, false));
    gateway.advance(Duration::from_secs(61)).await;
    let settled = gateway.pull().await.unwrap();
    assert_eq!((settled.new, settled.caught_up), (1, true));
    assert_eq!(gateway.dossier(&code).await.revisions.len(), 2);
    gateway.end().await;
}

#[tokio::test]
async fn two_named_sources_share_a_ledger_and_one_that_fails_does_not_hold_up_the_other() {
    let clock = std::sync::Arc::new(crate::support::clock::StoryClock::new());
    let options = ProvinceOptions {
        population: PopulationOptions {
            seed: 7,
            dossiers: 9,
            invalid_share: 0.0,
            ministry_share: 0.0,
            ..PopulationOptions::default()
        },
        ..ProvinceOptions::default()
    };
    let second = hoso_gateway::lab::province::start(options, clock).await.unwrap();
    let gateway = Story::of(11)
        .set("second source", "name", "\"dat-dai\"")
        .set("second source", "base_url", &format!("\"{}\"", second.url()))
        .start()
        .await;
    let html = MisbehaviourRule::once(Misbehaviour::HtmlPage);
    second.misbehave(html);
    let names: Vec<&str> = gateway.sources.iter().map(|s| s.source.name()).collect();
    let other = names.iter().position(|name| *name == "dat-dai").unwrap();
    assert!(gateway.pull_from(other).await.is_err());
    assert_eq!(gateway.pull_from(1 - other).await.unwrap().new, 11);
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 20);
    let mut expected = gateway.province.expected();
    expected.extend(second.expected());
    let comparison = hoso_gateway::lab::digest::compare(&expected, &gateway.portal.records());
    assert!(comparison.is_clean(), "{comparison:#?}");
    second.shutdown().await.unwrap();
    gateway.end().await;
}
