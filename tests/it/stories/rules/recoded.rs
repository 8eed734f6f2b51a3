//! A dossier that its source goes on with under another code (`maHoSoCu`).

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::{Fault, ScriptedFault, Service};
use hoso_gateway::pipeline::resync::resync;

use super::story;
use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;

const OLD: &str = "H03.21-250512-0001";
const NEW: &str = "H55.8-250701-0001";

fn ours() -> Story {
    story().set("province", "codes", "[\"H55\"]")
}

fn recoded(version: u32) -> Paper {
    Paper::of(NEW).version(version).replace("<HoSo ", &format!("<HoSo maHoSoCu=\"{OLD}\" "))
}

async fn open(gateway: &TestGateway, kind: &str) -> u64 {
    gateway.standing().await.open_discrepancies.get(kind).copied().unwrap_or(0)
}

#[tokio::test]
async fn the_old_code_is_closed_and_the_new_one_is_a_dossier_of_its_own_with_its_whole_history() {
    let history = [("20260126083000", "4"), ("20260126100000", "5"), ("20260127090000", "4")];
    let gateway = ours().start_with(&[Paper::of(OLD).steps(&history[..2])]).await;
    gateway.settle().await;
    gateway.put(&recoded(2).steps(&history));
    gateway.settle().await;
    let (old, new) = (gateway.portal.record(OLD).unwrap(), gateway.portal.record(NEW).unwrap());
    assert_eq!((old.updates, new.updates), (0, 0));
    // Steps belong to the code under which the portal counts them: one request in each history.
    assert_eq!((old.steps.len(), new.steps.len()), (2, 3));
    assert_eq!(gateway.portal.state().duplicated_steps, 0);
    let states = gateway.states(OLD).await;
    assert_eq!(states, [EntryState::Accepted, EntryState::NotOurs]);
    assert_eq!(open(&gateway, "recoded").await, 1);
    let view = gateway.dossier(OLD).await;
    assert_eq!(view.discrepancies[0].detail, NEW);

    // The books know it, and nobody can send it by mistake.
    let books = gateway.reconcile().await;
    assert_eq!((books.matched, books.not_ours, books.extra), (1, 1, 0));
    let codes = [OLD.to_owned()];
    resync(&gateway.context, None, &codes, "thu-nghiem", "by mistake").await.unwrap();
    gateway.settle().await;
    assert_eq!(gateway.calls(Service::Dossiers).len(), 2);
    gateway.end().await;
}

#[tokio::test]
async fn what_still_waited_under_the_old_code_is_not_sent() {
    let gateway = ours().start_with(&[Paper::of(OLD)]).await;
    gateway.pull_and_map().await;
    gateway.put(&recoded(2));
    gateway.settle().await;
    assert!(gateway.portal.calls(Some(OLD)).is_empty());
    assert_eq!(gateway.states(OLD).await, [EntryState::Superseded, EntryState::NotOurs]);
    assert_eq!(gateway.step_states(OLD).await, ["withdrawn"]);
    assert_eq!(open(&gateway, "recoded").await, 0, "the portal never heard of the old code");
    gateway.end().await;
}

#[tokio::test]
async fn a_call_that_was_out_under_the_old_code_is_looked_at_and_not_repeated() {
    let gateway = ours().start_with(&[Paper::of(OLD)]).await;
    gateway.pull_and_map().await;
    gateway.portal.inject(ScriptedFault::next(Fault::DropRequest).of_service("DongBoHoSoMC"));
    gateway.push().await;
    assert_eq!(gateway.states(OLD).await, [EntryState::Unconfirmed]);
    gateway.put(&recoded(2));
    gateway.settle().await;
    assert_eq!(gateway.states(OLD).await, [EntryState::Superseded, EntryState::NotOurs]);
    assert!(gateway.portal.record(OLD).is_none());
    gateway.end().await;
}

#[tokio::test]
async fn a_new_code_that_cannot_be_sent_leaves_the_old_one_as_it_is() {
    let gateway = ours().start_with(&[Paper::of(OLD)]).await;
    gateway.settle().await;
    gateway.put(&recoded(2).with("TrangThaiHoSo", "77"));
    gateway.put(&Paper::of(OLD).version(2).with("GhiChu", "vẫn xử lý"));
    gateway.settle().await;
    assert_eq!(gateway.states(NEW).await, [EntryState::Quarantined]);
    assert_eq!(gateway.states(OLD).await, [EntryState::Accepted, EntryState::Accepted]);
    // Corrected, it takes the old one's place.
    gateway.put(&recoded(3));
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::NotOurs).await, 1);
    assert_eq!(open(&gateway, "recoded").await, 1);
    gateway.end().await;
}

#[tokio::test]
async fn later_words_about_the_old_code_do_not_open_it_while_the_new_one_claims_it() {
    let gateway = ours().start_with(&[Paper::of(OLD)]).await;
    gateway.settle().await;
    gateway.put(&recoded(2));
    gateway.settle().await;
    gateway.put(&Paper::of(OLD).version(3).with("GhiChu", "muộn"));
    gateway.settle().await;
    let tombstone = Paper::of(OLD).version(4).replace("<HoSo ", "<HoSo daXoa=\"true\" ");
    gateway.put(&tombstone);
    gateway.settle().await;
    assert_eq!(gateway.portal.record(OLD).unwrap().updates, 0);
    assert_eq!(
        (open(&gateway, "recoded").await, open(&gateway, "deleted_at_source").await),
        (1, 0)
    );

    // The source takes the link back: the old code lives again.
    gateway.put(&Paper::of(NEW).version(5));
    gateway.settle().await;
    gateway.put(&Paper::of(OLD).version(6).with("GhiChu", "khôi phục"));
    gateway.settle().await;
    assert_eq!(gateway.portal.record(OLD).unwrap().updates, 1);
    assert_eq!(open(&gateway, "recoded").await, 0);
    gateway.end().await;
}

#[tokio::test]
async fn an_old_code_that_was_dropped_before_the_new_one_came_is_explained_by_it() {
    let gateway = ours().start_with(&[Paper::of(OLD)]).await;
    gateway.settle().await;
    gateway.put(&Paper::of(OLD).version(2).replace("<HoSo ", "<HoSo daXoa=\"true\" "));
    gateway.settle().await;
    assert_eq!(open(&gateway, "deleted_at_source").await, 1);
    gateway.put(&recoded(3));
    gateway.settle().await;
    assert_eq!(
        (open(&gateway, "recoded").await, open(&gateway, "deleted_at_source").await),
        (1, 0)
    );
    gateway.end().await;
}

#[tokio::test]
async fn a_link_to_a_stranger_s_code_waits_for_a_person() {
    let stranger = Paper::of(NEW).replace("<HoSo ", "<HoSo maHoSoCu=\"H29.21-250512-0001\" ");
    let gateway = ours().start_with(&[stranger]).await;
    gateway.settle().await;
    let entry = gateway.entry(NEW, 1).await;
    assert_eq!(entry.diagnostics[0].rule, "mapping.recoded_from");
    assert!(gateway.portal.records().is_empty());
    // One that names itself cannot even be taken.
    let own = format!("<HoSo maHoSoCu=\"{NEW}\" ");
    gateway.put(&Paper::of(NEW).version(2).replace("<HoSo ", &own));
    assert_eq!(gateway.pull().await.unwrap().refused, 1);
    gateway.end().await;
}

#[tokio::test]
async fn the_old_code_may_have_come_from_the_old_province_s_own_system() {
    let clock = std::sync::Arc::new(crate::support::clock::StoryClock::new());
    let options = hoso_gateway::lab::province::ProvinceOptions {
        population: hoso_gateway::lab::population::PopulationOptions {
            dossiers: 0,
            ..Default::default()
        },
        ..Default::default()
    };
    let before = hoso_gateway::lab::province::start(options, clock).await.unwrap();
    before.put_raw(Paper::of(OLD).xml()).unwrap();
    let gateway = ours()
        .set("second source", "name", "\"cu_H03\"")
        .set("second source", "base_url", &format!("\"{}\"", before.url()))
        .start()
        .await;
    gateway.settle().await;
    assert!(gateway.portal.record(OLD).is_some());
    gateway.put(&recoded(2));
    gateway.settle().await;
    assert_eq!(gateway.states(OLD).await, [EntryState::Accepted, EntryState::NotOurs]);
    assert_eq!(open(&gateway, "recoded").await, 1);
    // The old system goes on talking.
    before.put_raw(Paper::of(OLD).version(3).with("GhiChu", "muộn").xml()).unwrap();
    gateway.settle().await;
    assert_eq!(gateway.portal.record(OLD).unwrap().updates, 0);
    before.shutdown().await.unwrap();
    gateway.end().await;
}
