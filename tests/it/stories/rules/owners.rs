//! Whose dossier it is: the province's, a ministry's, an agency's that ended, a stranger's.

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::Service;

use super::{CODE, story};
use crate::support::paper::Paper;

fn of_ministry(version: u32) -> Paper {
    Paper::of(CODE).version(version).replace("<HoSo ", "<HoSo chuQuan=\"bo\" ")
}

#[tokio::test]
async fn what_goes_over_to_a_ministry_is_not_sent_any_more_and_comes_back_whole() {
    let two = [("20260126083000", "4"), ("20260127083000", "4")];
    let gateway = story().start_with(&[Paper::of(CODE)]).await;
    gateway.settle().await;
    // Two changes wait; then the ministry takes over.
    gateway.put(&Paper::of(CODE).version(2).with("GhiChu", "sửa").steps(&two));
    gateway.pull_and_map().await;
    gateway.put(&of_ministry(3));
    gateway.settle().await;
    let states = gateway.states(CODE).await;
    assert_eq!(states, [EntryState::Accepted, EntryState::Superseded, EntryState::NotOurs]);
    assert_eq!(gateway.step_states(CODE).await, ["acked", "withdrawn"]);
    assert_eq!(gateway.calls(Service::Dossiers).len(), 1);
    assert!(gateway.standing().await.open_discrepancies.is_empty());
    assert_eq!(gateway.reconcile().await.extra, 0);

    gateway.put(&Paper::of(CODE).version(4).with("GhiChu", "trả lại tỉnh").steps(&two));
    gateway.settle().await;
    assert_eq!(gateway.calls(Service::Dossiers).len(), 2);
    assert_eq!(gateway.step_states(CODE).await, ["acked", "acked"]);
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 2);
    gateway.end().await;
}

#[tokio::test]
async fn what_a_ministry_hands_over_is_sent_with_its_history() {
    let gateway = story().start_with(&[of_ministry(1)]).await;
    gateway.settle().await;
    assert!(gateway.portal.calls(Some(CODE)).is_empty());
    gateway.put(&Paper::of(CODE).version(2));
    gateway.settle().await;
    assert_eq!(gateway.states(CODE).await, [EntryState::NotOurs, EntryState::Accepted]);
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 1);
    gateway.end().await;
}

/// What became of a dossier under this code: its state, and the rules it was sent or refused with.
async fn judged(codes: &str, table: Option<&str>, code: &str) -> (EntryState, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("succession.csv");
    let mut story = story().set("province", "codes", codes);
    if let Some(rows) = table {
        std::fs::write(&file, format!("old_code,new_code,from,basis\n{rows}")).unwrap();
        story =
            story.set("mapping", "succession_file", &format!("{:?}", file.display().to_string()));
    }
    let gateway = story.start_with(&[Paper::of(code)]).await;
    gateway.settle().await;
    let entry = gateway.entry(code, 1).await;
    let sent = gateway.portal.record(code).is_some();
    assert_eq!(sent, entry.state == EntryState::Accepted);
    gateway.end().await;
    (entry.state, entry.diagnostics.into_iter().map(|found| found.rule).collect())
}

#[tokio::test]
async fn dossiers_of_an_agency_that_was_merged_into_ours_are_ours_under_their_own_codes() {
    use EntryState::{Accepted, Quarantined};
    let old = "H03.21-250512-0001";
    let province = Some("H03,H55,2025-07-01,NQ 202/2025/QH15\n");
    let commune = Some("H03.21,H55.8,2025-07-01,NQ 202/2025/QH15\n");
    let nothing: &[&str] = &[];
    for (table, code, state, rules) in [
        (None, old, Accepted, nothing),
        (province, old, Accepted, nothing),
        (commune, old, Accepted, nothing),
        (commune, "H03.22-250512-0001", Quarantined, &["mapping.province"]),
        (Some(""), old, Quarantined, &["mapping.province"]),
        // Issued when the agency was gone: doubtful, and still never changed.
        (province, "H03.21-260126-0001", Accepted, &["mapping.ended_agency"]),
        (province, "000.00.21.H03-250512-0001", Accepted, nothing),
        (province, "H29.21-250512-0001", Quarantined, &["mapping.province"]),
    ] {
        let found = judged("[\"H55\"]", table, code).await;
        assert_eq!(
            found,
            (state, rules.iter().map(ToString::to_string).collect()),
            "{code} {table:?}"
        );
    }
}
