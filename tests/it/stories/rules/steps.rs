//! Steps that the source changes after the portal acknowledged them: history is not rewritten.

use super::{CODE, story};
use crate::support::gateway::TestGateway;
use crate::support::paper::Paper;

const TWO: [(&str, &str); 2] = [("20260126083000", "4"), ("20260126093000", "4")];

async fn open(gateway: &TestGateway) -> Vec<String> {
    let found = gateway.dossier(CODE).await.discrepancies;
    let open = found.into_iter().filter(|found| found.resolved_at.is_none());
    open.map(|found| format!("{} {}", found.kind, found.detail)).collect()
}

#[tokio::test]
async fn a_step_that_reads_differently_is_a_discrepancy_until_the_source_takes_it_back() {
    let gateway = story().start_with(&[Paper::of(CODE).steps(&TWO)]).await;
    gateway.settle().await;
    gateway.put(&Paper::of(CODE).version(2).steps(&TWO).replace("Bước 1", "Bước khác"));
    gateway.settle().await;
    assert_eq!(open(&gateway).await, ["step_changed 20260126093000/4"]);
    assert_eq!(gateway.portal.state().steps, 2);

    gateway.put(&Paper::of(CODE).version(3).steps(&TWO));
    gateway.settle().await;
    assert_eq!(open(&gateway).await, [""; 0]);
    assert_eq!(gateway.portal.state().steps, 2);
    gateway.end().await;
}

#[tokio::test]
async fn a_step_that_is_gone_is_a_discrepancy_until_it_is_back() {
    let gateway = story().start_with(&[Paper::of(CODE).steps(&TWO)]).await;
    gateway.settle().await;
    gateway.put(&Paper::of(CODE).version(2).steps(&TWO[..1]));
    gateway.settle().await;
    assert_eq!(open(&gateway).await, ["step_vanished 20260126093000/4"]);
    // A refused revision says nothing about it.
    gateway.put(&Paper::of(CODE).version(3).steps(&TWO).with("TrangThaiHoSo", "77"));
    gateway.settle().await;
    assert_eq!(open(&gateway).await.len(), 1);
    gateway.put(&Paper::of(CODE).version(4).steps(&TWO));
    gateway.settle().await;
    assert_eq!(open(&gateway).await, [""; 0]);
    assert_eq!(gateway.portal.state().steps, 2);
    gateway.end().await;
}

#[tokio::test]
async fn a_step_that_was_taken_back_before_it_was_sent_is_never_sent() {
    let gateway = story().start_with(&[Paper::of(CODE).steps(&TWO)]).await;
    gateway.pull_and_map().await;
    gateway.put(&Paper::of(CODE).version(2).steps(&TWO[..1]));
    gateway.settle().await;
    assert_eq!(gateway.step_states(CODE).await, ["acked", "withdrawn"]);
    assert_eq!(open(&gateway).await, [""; 0]);
    gateway.end().await;
}

#[tokio::test]
async fn a_request_for_a_supplement_that_moved_in_time_is_not_asked_twice() {
    let asked = [("20260126083000", "4"), ("20260126100000", "5")];
    let moved = [("20260126083000", "4"), ("20260126103000", "5")];
    let gateway = story().start_with(&[Paper::of(CODE).steps(&asked)]).await;
    gateway.settle().await;
    gateway.put(&Paper::of(CODE).version(2).steps(&moved));
    gateway.settle().await;
    assert_eq!(open(&gateway).await, ["step_vanished 20260126100000/5"]);
    assert_eq!(gateway.step_states(CODE).await, ["acked", "acked", "held"]);
    let held = gateway.dossier(CODE).await.steps[2].failure.clone().unwrap();
    assert_eq!(held.code, "steps.supplement_moved");
    assert_eq!(gateway.portal.state().steps, 2);

    // Moved again it still waits; taken back, it is gone; beside the first one it is a second
    // request and goes.
    gateway.put(&Paper::of(CODE).version(3).steps(&[asked[0], ("20260126104500", "5")]));
    gateway.settle().await;
    assert_eq!(gateway.step_states(CODE).await, ["acked", "acked", "withdrawn", "held"]);
    gateway.put(&Paper::of(CODE).version(4).steps(&asked));
    gateway.settle().await;
    assert_eq!(gateway.step_states(CODE).await, ["acked", "acked", "withdrawn", "withdrawn"]);
    assert_eq!(open(&gateway).await, [""; 0]);
    gateway.put(&Paper::of(CODE).version(5).steps(&[asked[0], asked[1], moved[1]]));
    gateway.settle().await;
    assert_eq!(gateway.step_states(CODE).await, ["acked", "acked", "acked", "withdrawn"]);
    gateway.end().await;
}

#[tokio::test]
async fn a_moved_request_goes_when_a_person_says_that_it_is_a_second_one() {
    let gateway = story().start_with(&[Paper::of(CODE).steps(&[("20260126100000", "5")])]).await;
    gateway.settle().await;
    gateway.put(&Paper::of(CODE).version(2).steps(&[("20260126103000", "5")]));
    gateway.settle().await;
    let scope = hoso_gateway::ledger::record::RetryScope {
        ma_ho_so: vec![CODE.to_owned()],
        code: Some("steps.supplement_moved".to_owned()),
        held: true,
        ..Default::default()
    };
    let audit = hoso_gateway::ledger::record::AuditRecord::new(
        "thu-nghiem",
        "retry",
        CODE,
        "asked the office",
    );
    let now = gateway.context.clock.now();
    assert_eq!(gateway.context.ledger.retry(now, &scope, &audit).await.unwrap(), 1);
    gateway.settle().await;
    assert_eq!(gateway.step_states(CODE).await, ["acked", "acked"]);
    gateway.end().await;
}
