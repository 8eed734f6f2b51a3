//! What is sent, what waits for a person, and what is none of our business.

use hoso_gateway::domain::diagnostic::Severity;
use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::Service;

use crate::support::gateway::Story;
use crate::support::paper::Paper;

const CODE: &str = "H55.242-260126-0001";

#[tokio::test]
async fn invalid_dossiers_wait_for_a_person_and_sound_ones_go_on() {
    let mut story = Story::of(120);
    story.province.population.invalid_share = 0.35;
    let gateway = story.start().await;
    gateway.settle().await;
    gateway.assert_delivered();
    let counts = gateway.province.state().counts;
    let invalid: usize = counts.invalid.values().sum();
    assert!(counts.invalid.len() > 15, "few kinds: {:?}", counts.invalid);
    assert_eq!(gateway.count(EntryState::Quarantined).await, invalid as u64);
    let filter = hoso_gateway::ledger::view::ProblemFilter { limit: 1000, ..Default::default() };
    for problem in gateway.context.ledger.problems(&filter).await.unwrap() {
        let dossier = gateway.dossier(&problem.ma_ho_so).await;
        let entry = dossier.newest_entry().unwrap();
        let errors =
            entry.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        assert!(errors.count() > 0, "{}", problem.ma_ho_so);
    }
    gateway.end().await;
}

#[tokio::test]
async fn a_quarantined_dossier_tells_all_that_is_wrong_with_it() {
    let paper = Paper::of(CODE)
        .with("TrangThaiHoSo", "77")
        .with("NgayTiepNhan", "20260230083000")
        .with("MaTTHC", "2.00815");
    let gateway = Story::of(0).start_with(&[paper]).await;
    assert_eq!(gateway.pull_and_map().await.counts.quarantined, 1);
    let entry = gateway.entry(CODE, 1).await;
    let told: Vec<&str> = entry.diagnostics.iter().map(|d| d.target.as_str()).collect();
    for field in ["TrangThaiHoSo", "NgayTiepNhan", "MaTTHC"] {
        assert!(told.iter().any(|target| target.contains(field)), "{field} is not among {told:?}");
    }
    gateway.end().await;
}

#[tokio::test]
async fn what_a_ministry_owns_is_mirrored_and_never_pushed() {
    let mut story = Story::of(60);
    story.province.population.ministry_share = 0.4;
    let gateway = story.start().await;
    gateway.settle().await;
    gateway.assert_delivered();
    let ministry = gateway.province.state().counts.ministry as u64;
    assert!(ministry > 5);
    assert_eq!(gateway.count(EntryState::NotOurs).await, ministry);
    gateway.end().await;
}

#[tokio::test]
async fn a_deletion_becomes_a_discrepancy_and_is_never_sent() {
    let gateway = Story::of(5).start().await;
    gateway.settle().await;
    let code = gateway.province.expected()[0].code.clone();
    let calls = gateway.portal.state().calls;
    gateway.province.delete(&code).unwrap();
    gateway.settle().await;
    assert_eq!(gateway.portal.state().calls, calls);
    let states = gateway.states(&code).await;
    assert_eq!(states, [EntryState::Accepted, EntryState::NotOurs]);
    let standing = gateway.standing().await;
    assert_eq!(standing.open_discrepancies.get("deleted_at_source"), Some(&1));
    gateway.end().await;
}

#[tokio::test]
async fn a_dossier_that_is_deleted_while_it_waits_is_not_sent_any_more() {
    let gateway = Story::of(5).start().await;
    gateway.pull_and_map().await;
    let code = gateway.province.expected()[0].code.clone();
    gateway.province.delete(&code).unwrap();
    gateway.settle().await;
    gateway.assert_delivered();
    assert!(gateway.portal.calls(Some(&code)).is_empty());
    gateway.end().await;
}

#[tokio::test]
async fn a_quarantined_newer_revision_never_kills_the_older_valid_one() {
    let first = Paper::of(CODE);
    let gateway = Story::of(0).start_with(std::slice::from_ref(&first)).await;
    gateway.pull_and_map().await;
    let spoilt = first.clone().version(2).with("TrangThaiHoSo", "77");
    gateway.put(&spoilt);
    gateway.pull_and_map().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Ready, EntryState::Quarantined]);
    gateway.push().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted, EntryState::Quarantined]);
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 1);
    gateway.end().await;
}

#[tokio::test]
async fn a_corrected_revision_takes_the_place_of_the_quarantined_one() {
    let spoilt = Paper::of(CODE).with("TrangThaiHoSo", "77");
    let gateway = Story::of(0).start_with(&[spoilt]).await;
    gateway.settle().await;
    assert!(gateway.calls(Service::Dossiers).is_empty());
    gateway.put(&Paper::of(CODE).version(2));
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::Superseded, EntryState::Accepted]);
    assert!(gateway.portal.record(CODE).is_some());
    gateway.end().await;
}
