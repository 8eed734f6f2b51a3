//! One dossier that spoils every page it stands in, and the others, which must not wait for it.

use std::time::Duration;

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::province::{Misbehaviour, MisbehaviourRule, Question, RawAnswer};
use hoso_gateway::ledger::view::{Problem, ProblemFilter, ProblemKind};

use crate::support::gateway::{Story, TestGateway, raw_page};
use crate::support::paper::Paper;

async fn problems(gateway: &TestGateway) -> Vec<Problem> {
    let filter = ProblemFilter { limit: 100, ..ProblemFilter::default() };
    gateway.context.ledger.problems(&filter).await.unwrap()
}

/// The dossier in the middle of the feed.
fn middle(gateway: &TestGateway) -> String {
    let expected = gateway.province.expected();
    expected[expected.len() / 2].code.clone()
}

#[tokio::test]
async fn of_ten_dossiers_nine_arrive_and_the_poisoned_one_waits_for_its_mending() {
    for (misbehaviour, rule) in [
        (Misbehaviour::MismatchedTag, "source.not_xml"),
        (Misbehaviour::StrayByte, "source.encoding"),
        // One text of it is longer than any text may be.
        (Misbehaviour::OversizedItem { bytes: 9_000_000 }, "source.limits"),
    ] {
        let gateway = Story::of(10).start().await;
        let poisoned = middle(&gateway);
        let poison = MisbehaviourRule::until_cleared(misbehaviour).of_dossier(&poisoned);
        gateway.province.misbehave(poison.clone());
        gateway.province.misbehave(poison.on(Question::Dossier));
        let report = gateway.pull().await.unwrap();
        assert_eq!((report.new, report.passed_over, report.caught_up), (9, 1, true), "{rule}");
        gateway.settle().await;
        assert_eq!(gateway.portal.records().len(), 9, "{rule}");
        assert_eq!(&gateway.comparison().missing, std::slice::from_ref(&poisoned));

        let standing = gateway.standing().await;
        assert!(standing.sources[0].failure.is_none(), "the source itself is well");
        let standing = problems(&gateway).await;
        assert_eq!(standing.len(), 1, "{standing:#?}");
        assert_eq!(standing[0].kind, ProblemKind::RefusedDocument);
        assert_eq!((standing[0].code.as_str(), &standing[0].ma_ho_so), (rule, &poisoned));

        // Asked for again, it is still what it was.
        gateway.advance(Duration::from_mins(10)).await;
        assert_eq!(gateway.pull().await.unwrap().mended, 0);
        assert_eq!(problems(&gateway).await.len(), 1);

        // The export is mended; to the source that is no change of the dossier.
        gateway.province.clear_misbehaviour();
        gateway.advance(Duration::from_mins(10)).await;
        assert_eq!(gateway.pull().await.unwrap().mended, 1);
        gateway.settle().await;
        gateway.assert_delivered();
        assert!(problems(&gateway).await.is_empty());
        gateway.end().await;
    }
}

#[tokio::test]
async fn a_mended_dossier_in_the_overlap_ends_its_problem_by_the_next_poll() {
    let gateway = Story::of(9).start().await;
    let code = gateway.province.evolve_any().unwrap();
    let poison = MisbehaviourRule::until_cleared(Misbehaviour::MismatchedTag);
    gateway.province.misbehave(poison.of_dossier(&code));
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.passed_over), (8, 1));
    gateway.province.clear_misbehaviour();
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.mended), (1, 0));
    assert!(problems(&gateway).await.is_empty());
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn several_poisoned_dossiers_side_by_side_and_at_both_ends_are_each_found() {
    let gateway = Story::of(40).set("source", "page_limit", "16").start().await;
    let page: Vec<String> = in_the_order_of_the_feed(&gateway);
    for at in [0, 1, 17, 18, 19, 39] {
        let rule = MisbehaviourRule::until_cleared(Misbehaviour::MismatchedTag);
        gateway.province.misbehave(rule.of_dossier(&page[at]));
    }
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.passed_over, report.caught_up), (34, 6, true));
    assert_eq!(problems(&gateway).await.len(), 6);
    gateway.province.clear_misbehaviour();
    gateway.advance(Duration::from_mins(10)).await;
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

fn in_the_order_of_the_feed(gateway: &TestGateway) -> Vec<String> {
    let mut codes: Vec<(String, String)> = gateway
        .province
        .expected()
        .into_iter()
        .map(|dossier| {
            let xml = gateway.province.dossier_xml(&dossier.code).unwrap();
            let (_, rest) = xml.split_once("capNhatLuc=\"").unwrap();
            (rest.split_once('"').unwrap().0.to_owned(), dossier.code)
        })
        .collect();
    codes.sort();
    codes.into_iter().map(|(_, code)| code).collect()
}

#[tokio::test]
async fn a_source_whose_every_dossier_spoils_its_page_is_not_emptied() {
    let gateway = Story::of(60).start().await;
    let rule = MisbehaviourRule::until_cleared(Misbehaviour::MismatchedTag);
    gateway.province.misbehave(rule);
    for _ in 0..3 {
        let failure = gateway.pull().await.unwrap_err();
        assert_eq!(failure.code, "source.unreadable");
        let standing = gateway.standing().await;
        assert!(standing.dossiers.is_empty());
        assert_eq!(standing.sources[0].failure.as_ref().unwrap().code, "source.unreadable");
        gateway.advance(Duration::from_hours(1)).await;
    }
    // Nothing was passed over, so everything is still in front of the reader.
    gateway.province.clear_misbehaviour();
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn where_nothing_can_be_read_nothing_is_passed_over_until_something_can() {
    let gateway = Story::of(0).start().await;
    let poisoned = Paper::of("H55.242-260126-0001").replace("</ChuHoSo>", "</ChuHoso>");
    gateway.put(&poisoned);
    assert_eq!(gateway.pull().await.unwrap_err().code, "source.not_xml");
    assert!(gateway.standing().await.sources[0].failing_since.is_some());
    assert_eq!(problems(&gateway).await.len(), 1, "the page is kept");
    gateway.put(&Paper::of("H55.242-260126-0002").version(2));
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.passed_over), (1, 1));
    assert!(gateway.standing().await.sources[0].failing_since.is_none());
    let standing = problems(&gateway).await;
    assert_eq!(standing.len(), 1, "the dossier is kept in the page's place");
    assert_eq!(standing[0].ma_ho_so, "H55.242-260126-0001");
    // Its correction is a newer version, and ends the problem.
    gateway.put(&Paper::of("H55.242-260126-0001").version(3));
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 2);
    assert!(problems(&gateway).await.is_empty());
    gateway.end().await;
}

#[tokio::test]
async fn a_page_that_stays_as_it_was_is_not_taken_apart_again() {
    let gateway = Story::of(9).start().await;
    let poisoned = Paper::of("H55.242-260126-0001").replace("</ChuHoSo>", "</ChuHoso>");
    gateway.put(&poisoned);
    gateway.pull().await.unwrap();
    // The next one begins where the overlap does, and is the one that counts.
    gateway.pull().await.unwrap();
    let before = gateway.province.state().requests_served;
    let again = gateway.pull().await.unwrap();
    assert_eq!((again.pages, again.caught_up), (0, true));
    assert_eq!(gateway.province.state().requests_served, before + 1);
    assert_eq!(problems(&gateway).await.len(), 1, "unchanged is not mended");
    gateway.province.add(1);
    assert_eq!(gateway.pull().await.unwrap().new, 1);
    gateway.end().await;
}

#[tokio::test]
async fn pages_that_are_too_large_are_asked_for_with_fewer_dossiers() {
    let gateway = Story::of(40)
        .set("source", "page_bytes_max", "65536")
        .set("source", "item_bytes_max", "65536")
        .start()
        .await;
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.refused, report.caught_up), (40, 0, true));
    assert!(report.narrowed > 0, "everything fitted into one page");
    gateway.end().await;
}

#[tokio::test]
async fn a_dossier_in_a_page_of_several_is_never_passed_over() {
    // A source that gives three, whatever it is asked for.
    let gateway = Story::of(0).start().await;
    let item = |number: u32| format!("<HoSo><MaHoSo>H55.242-260126-000{number}</MaHoSo></HoSo>");
    let body = format!(
        "<DanhSachHoSo conTro=\"1~a\" conNua=\"false\">{}{}{}</DanhSachHoSo>",
        item(1).replace("</MaHoSo>", "</MaHoso>"),
        item(2),
        item(3)
    );
    gateway.province.answer_with(raw_page(&body));
    let failure = gateway.pull().await.unwrap_err();
    assert_eq!(failure.code, "source.not_xml");
    assert_eq!(gateway.standing().await.refused_documents, 1);
    gateway.end().await;
}

#[tokio::test]
async fn a_cut_page_of_one_dossier_is_never_passed_over() {
    // Whatever stood behind the cut would be passed over with it.
    let gateway = Story::of(5).start().await;
    let rule = MisbehaviourRule::until_cleared(Misbehaviour::TruncatedXml);
    gateway.province.misbehave(rule);
    let failure = gateway.pull().await.unwrap_err();
    assert_eq!(failure.code, "source.truncated");
    gateway.province.clear_misbehaviour();
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn a_change_that_is_too_young_waits_also_when_it_is_poisoned() {
    let gateway = Story::of(0).set("source", "settle_lag_ms", "60000").start().await;
    let poisoned = Paper::of("H55.242-260126-0001")
        .replace("</ChuHoSo>", "</ChuHoso>")
        .replace("2026-01-26T15:01:00.000", "2026-01-26T15:59:30.000");
    gateway.put(&Paper::of("H55.242-260126-0002"));
    gateway.put(&poisoned);
    let young = gateway.pull().await.unwrap();
    assert_eq!((young.too_young, young.passed_over, young.caught_up), (1, 0, false));
    gateway.advance(Duration::from_secs(61)).await;
    let settled = gateway.pull().await.unwrap();
    assert_eq!((settled.passed_over, settled.caught_up), (1, true));
    gateway.end().await;
}

#[tokio::test]
async fn a_refused_page_is_no_problem_any_more_when_the_source_says_that_nothing_changed() {
    let gateway = Story::of(5).start().await;
    gateway.settle().await;
    let bomb = include_str!("../../../fixtures/hostile/entity_bomb.xml");
    gateway.province.answer_with(RawAnswer { times: Some(1), ..raw_page(bomb) });
    assert_eq!(gateway.pull().await.unwrap_err().code, "source.doctype");
    assert_eq!(problems(&gateway).await.len(), 1);
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.pages, report.caught_up), (0, true), "not modified");
    assert!(problems(&gateway).await.is_empty());
    gateway.end().await;
}
