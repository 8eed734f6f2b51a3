//! Pages, cursors and the order of revisions.

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::domain::failure::Disposition;
use hoso_gateway::ledger::record::{PullCommit, PullCounts, ReceivedItem, RefusedRecord};
use hoso_gateway::ledger::view::ProblemFilter;

use super::support::{SOURCE, failure, item, open_ledger, page, t};

const A: &str = "H55.242-260126-0001";
const B: &str = "H55.242-260126-0002";

fn counts(new: u64, unchanged: u64, outdated: u64) -> PullCounts {
    PullCounts { new, unchanged, outdated, refused: 0 }
}

fn page_to(position: &str, at: i64, newest: i64) -> PullCommit {
    PullCommit { cursor: Some((position.to_owned(), Some(t(newest)))), ..page(t(at), Vec::new()) }
}

#[tokio::test]
async fn a_page_and_its_cursor_are_stored_together() {
    let ledger = open_ledger().await;
    let commit = PullCommit {
        cursor: Some(("c1".into(), Some(t(1)))),
        ..page(t(1), vec![item(A, 1, "a"), item(B, 1, "b")])
    };
    assert_eq!(ledger.commit_pull(&commit).await.unwrap(), counts(2, 0, 0));
    let position = ledger.source_position(SOURCE, 0).await.unwrap();
    assert_eq!(position.start.as_deref(), Some("c1"));
    assert_eq!(ledger.to_map(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_page_that_is_stored_twice_changes_nothing() {
    let ledger = open_ledger().await;
    let items = || vec![item(A, 1, "a"), item(B, 1, "b")];
    assert_eq!(ledger.pull(t(1), items()).await, counts(2, 0, 0));
    assert_eq!(ledger.pull(t(2), items()).await, counts(0, 2, 0));
    assert_eq!(ledger.view(A).await.entries.len(), 1);
}

#[tokio::test]
async fn the_same_dossier_twice_in_a_page_is_taken_in_order_of_versions() {
    let ledger = open_ledger().await;
    let items = vec![
        item(A, 2, "second"),
        item(A, 1, "first"),
        item(A, 2, "second"),
        item(A, 1, "first"),
        item(A, 3, "third"),
    ];
    assert_eq!(ledger.pull(t(1), items).await, counts(2, 2, 1));
    assert_eq!(
        ledger.states(A).await,
        [EntryState::Received, EntryState::Superseded, EntryState::Received]
    );
    let unmapped = ledger.to_map(10).await.unwrap();
    assert_eq!(unmapped.len(), 1, "one revision of a dossier at a time");
    assert_eq!(unmapped[0].document, "second");
}

#[tokio::test]
async fn an_older_revision_that_comes_late_is_stored_but_never_sent() {
    let ledger = open_ledger().await;
    ledger.pull(t(1), vec![item(A, 5, "new")]).await;
    assert_eq!(ledger.pull(t(2), vec![item(A, 4, "old")]).await, counts(0, 0, 1));
    let view = ledger.view(A).await;
    assert_eq!(view.revisions.len(), 2);
    assert_eq!(view.entries[1].state, EntryState::Superseded);
    assert_eq!(view.entries[1].superseded_by, Some(view.entries[0].id));
    ledger.map(t(3)).await;
    assert_eq!(ledger.claim_one(t(3), 1).await.packet, "new");

    // The overlap brings both again.
    let again = vec![item(A, 4, "old"), item(A, 5, "new")];
    assert_eq!(ledger.pull(t(4), again).await, counts(0, 2, 0));
}

#[tokio::test]
async fn revisions_are_ordered_by_version_then_time_then_arrival() {
    let timed = |version: Option<i64>, changed: Option<i64>, text| ReceivedItem {
        version,
        changed_at: changed.map(t),
        ..item(A, 1, text)
    };
    // stored, offered, whether the offered one is newer
    let table = [
        ((Some(2), Some(10)), (Some(1), Some(20)), false),
        ((Some(1), Some(20)), (Some(2), Some(10)), true),
        ((Some(1), Some(20)), (Some(1), Some(10)), false),
        ((Some(1), Some(20)), (Some(1), Some(20)), true),
        ((Some(1), Some(20)), (None, Some(10)), false),
        ((None, Some(20)), (Some(9), Some(10)), false),
        ((None, Some(10)), (None, Some(20)), true),
        ((None, None), (None, None), true),
        ((None, Some(20)), (None, None), true),
    ];
    for (stored, offered, newer) in table {
        let ledger = open_ledger().await;
        ledger.pull(t(1), vec![timed(stored.0, stored.1, "stored")]).await;
        let found = ledger.pull(t(2), vec![timed(offered.0, offered.1, "offered")]).await;
        let expected = if newer { counts(1, 0, 0) } else { counts(0, 0, 1) };
        assert_eq!(found, expected, "{stored:?} then {offered:?}");
    }
}

#[tokio::test]
async fn the_same_content_under_a_newer_version_is_no_revision_but_counts_in_the_order() {
    let ledger = open_ledger().await;
    ledger.pull(t(1), vec![item(A, 1, "a")]).await;
    assert_eq!(ledger.pull(t(2), vec![item(A, 3, "a")]).await, counts(0, 1, 0));
    let standing = ledger.standings(SOURCE, &[A.into()]).await.unwrap();
    assert_eq!(standing[0].newest_version, Some(3));
    assert_eq!(standing[0].newest_changed_at, Some(t(3)));
    assert_eq!(ledger.pull(t(3), vec![item(A, 2, "in between")]).await, counts(0, 0, 1));
}

#[tokio::test]
async fn a_dossier_that_goes_back_to_earlier_content_is_a_new_revision() {
    let ledger = open_ledger().await;
    for (version, text) in [(1, "a"), (2, "b"), (3, "a")] {
        assert_eq!(ledger.pull(t(version), vec![item(A, version, text)]).await.new, 1);
    }
    assert_eq!(ledger.view(A).await.revisions.len(), 3);
}

#[tokio::test]
async fn revisions_of_one_moment_do_not_chase_each_other_when_the_overlap_is_read_again() {
    let ledger = open_ledger().await;
    let both = || {
        vec![
            ReceivedItem { version: None, ..item(A, 7, "first") },
            ReceivedItem { version: None, ..item(A, 7, "second") },
        ]
    };
    assert_eq!(ledger.pull(t(8), both()).await, counts(2, 0, 0));
    assert_eq!(ledger.pull(t(9), both()).await, counts(0, 2, 0));
    assert_eq!(ledger.pull(t(10), both()).await, counts(0, 2, 0));
}

#[tokio::test]
async fn two_sources_may_use_the_same_code() {
    let ledger = open_ledger().await;
    ledger.pull(t(1), vec![item(A, 1, "a")]).await;
    let other = PullCommit { source: "neighbour".into(), ..page(t(1), vec![item(A, 1, "a")]) };
    assert_eq!(ledger.commit_pull(&other).await.unwrap(), counts(1, 0, 0));
    assert_eq!(ledger.dossier(A).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_poll_starts_before_the_overlap_measured_from_the_newest_change() {
    let ledger = open_ledger().await;
    let nothing = ledger.source_position(SOURCE, 0).await.unwrap();
    assert_eq!((nothing.start, nothing.caught_up), (None, false));
    for (position, newest) in [("c1", 100), ("c2", 200), ("c3", 300)] {
        let commit = page_to(position, 10_000, newest);
        ledger.commit_pull(&commit).await.unwrap();
    }
    // overlap in seconds, expected start; the limits are inclusive
    let table = [
        (0, Some("c3")),
        (99, Some("c2")),
        (100, Some("c2")),
        (101, Some("c1")),
        (200, Some("c1")),
        (201, None),
    ];
    for (overlap, expected) in table {
        let position = ledger.source_position(SOURCE, overlap * 1000).await.unwrap();
        assert_eq!(position.start.as_deref(), expected, "overlap {overlap} s");
    }
    // Much later, a source that was silent is still read from the same place.
    ledger.record_poll_failure(SOURCE, t(1_000_000), None, None).await.unwrap();
    let position = ledger.source_position(SOURCE, 100_000).await.unwrap();
    assert_eq!(position.start.as_deref(), Some("c2"));
}

#[tokio::test]
async fn a_source_whose_clock_runs_ahead_cannot_carry_the_overlap_into_the_future() {
    let ledger = open_ledger().await;
    ledger.commit_pull(&page_to("c1", 100, 100)).await.unwrap();
    ledger.commit_pull(&page_to("c2", 110, 999_999_999)).await.unwrap();
    ledger.commit_pull(&page_to("c3", 400, 390)).await.unwrap();
    let position = ledger.source_position(SOURCE, 60_000).await.unwrap();
    // Nor is the position behind that change a beginning: what changes until then stands before it.
    assert_eq!(position.start.as_deref(), Some("c1"));
}

#[tokio::test]
async fn a_page_without_any_time_counts_as_of_its_arrival() {
    let ledger = open_ledger().await;
    let commit = PullCommit { cursor: Some(("c1".into(), None)), ..page(t(50), Vec::new()) };
    ledger.commit_pull(&commit).await.unwrap();
    ledger.commit_pull(&page_to("c2", 100, 90)).await.unwrap();
    let position = ledger.source_position(SOURCE, 40_000).await.unwrap();
    assert_eq!(position.start.as_deref(), Some("c1"));
}

#[tokio::test]
async fn an_entity_tag_is_only_given_with_the_position_it_was_asked_with() {
    let ledger = open_ledger().await;
    let first = PullCommit {
        etag: Some(("tag-of-the-beginning".into(), None)),
        caught_up: true,
        ..page(t(1), Vec::new())
    };
    ledger.commit_pull(&first).await.unwrap();
    let position = ledger.source_position(SOURCE, 0).await.unwrap();
    assert_eq!(position.etag.as_deref(), Some("tag-of-the-beginning"));
    assert!(position.caught_up);

    // The position moves on, so the old tag would answer for another page.
    ledger
        .commit_pull(&PullCommit {
            etag: Some(("tag-of-the-beginning".into(), None)),
            ..page_to("c1", 2, 2)
        })
        .await
        .unwrap();
    let position = ledger.source_position(SOURCE, 0).await.unwrap();
    assert_eq!((position.start.as_deref(), position.etag), (Some("c1"), None));
    assert!(position.caught_up, "once read to its end, always so");

    let tagged = PullCommit {
        etag: Some(("tag-of-c1".into(), Some("c1".into()))),
        ..page(t(3), Vec::new())
    };
    ledger.commit_pull(&tagged).await.unwrap();
    let position = ledger.source_position(SOURCE, 0).await.unwrap();
    assert_eq!(position.etag.as_deref(), Some("tag-of-c1"));
    let position = ledger.source_position(SOURCE, 60_000).await.unwrap();
    assert_eq!(position.etag, None, "another overlap, another position");
}

#[tokio::test]
async fn a_failing_source_is_remembered_since_its_first_failure_until_it_answers() {
    let ledger = open_ledger().await;
    let broken = failure("source.truncated", Disposition::Retryable);
    for at in [10, 20] {
        ledger
            .record_poll_failure(SOURCE, t(at), Some(&broken), Some(b"<HoSo><MaHo"))
            .await
            .unwrap();
    }
    let standing = ledger.standing(t(30)).await.unwrap();
    assert_eq!(standing.sources[0].failing_since, Some(t(10)));
    assert_eq!(standing.sources[0].polled_at, Some(t(20)));
    assert_eq!(standing.refused_documents, 1, "the same bytes are kept once");

    ledger.pull(t(40), vec![]).await;
    let standing = ledger.standing(t(50)).await.unwrap();
    assert_eq!(standing.sources[0].failing_since, None);
    assert_eq!(standing.refused_documents, 0, "a readable page makes up for it");
}

#[tokio::test]
async fn an_unreadable_item_stands_until_its_dossier_can_be_read() {
    let ledger = open_ledger().await;
    let refused = |code: Option<&str>, evidence: &str| RefusedRecord {
        rule: "source.item".into(),
        reason: "the item has no code".into(),
        ma_ho_so: code.map(str::to_owned),
        evidence: evidence.into(),
    };
    let commit = PullCommit {
        refused: vec![refused(Some(A), "<HoSo a/>"), refused(None, "<HoSo/>")],
        ..page(t(1), vec![item(B, 1, "b")])
    };
    for _ in 0..2 {
        assert_eq!(ledger.commit_pull(&commit).await.unwrap().refused, 2);
        assert_eq!(ledger.standing(t(1)).await.unwrap().refused_documents, 2);
    }
    ledger.pull(t(3), vec![item(A, 2, "a")]).await;
    let problems = ledger.problems(&ProblemFilter::default()).await.unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].ma_ho_so, "");
}

#[tokio::test]
async fn unread_dossiers_are_asked_for_in_turn_and_no_more_once_they_can_be_read() {
    let ledger = open_ledger().await;
    let unread = |code: Option<&str>, evidence: &str| RefusedRecord {
        rule: "source.not_xml".into(),
        reason: "a wrong end tag".into(),
        ma_ho_so: code.map(str::to_owned),
        evidence: evidence.into(),
    };
    let refused = vec![
        unread(Some(A), "a"),
        unread(Some(A), "a again"),
        unread(Some(B), "b"),
        unread(None, "?"),
    ];
    let commit = PullCommit { refused, ..page(t(10), Vec::new()) };
    ledger.commit_pull(&commit).await.unwrap();
    let claim = async |at: i64, until: i64, limit: u32| {
        ledger.claim_unread(SOURCE, t(at), t(until), limit).await.unwrap()
    };
    assert!(claim(11, 9, 10).await.is_empty(), "they came just now");
    assert!(ledger.claim_unread("another", t(20), t(10), 10).await.unwrap().is_empty());
    // Two documents of A, then the one of B.
    assert_eq!(claim(20, 10, 2).await, [A]);
    assert_eq!(claim(21, 10, 2).await, [B]);
    assert!(claim(22, 10, 2).await.is_empty(), "all were asked for");
    // The feed shows B again as it was: that is no new turn.
    let again = PullCommit { refused: vec![unread(Some(B), "b")], ..page(t(23), Vec::new()) };
    ledger.commit_pull(&again).await.unwrap();
    assert_eq!(claim(30, 20, 10).await, [A]);
    ledger.pull(t(31), vec![item(A, 1, "a")]).await;
    assert_eq!(claim(40, 39, 10).await, [B]);
}

#[tokio::test]
async fn a_position_is_known_once_its_page_is_stored() {
    let ledger = open_ledger().await;
    ledger.commit_pull(&page_to("c1", 1, 1)).await.unwrap();
    assert!(ledger.knows_position(SOURCE, "c1").await.unwrap());
    assert!(!ledger.knows_position(SOURCE, "c2").await.unwrap());
    assert!(!ledger.knows_position("another", "c1").await.unwrap());
}
