//! What monitoring is told of deliveries: figures that a person could have counted by hand.

use std::time::Duration;

use hoso_gateway::lab::portal::{Fault, ScriptedFault};
use hoso_gateway::ledger::view::Health;

use crate::support::gateway::{Story, TestGateway};

async fn health(gateway: &TestGateway) -> Health {
    let now = gateway.context.clock.now();
    gateway.context.ledger.health(now, now - Duration::from_hours(1)).await.expect("figures")
}

#[tokio::test]
async fn lag_counts_from_the_change_at_the_source_to_the_last_step_and_a_first_fill_has_none() {
    let gateway = Story::of(20).start().await;
    gateway.settle().await;
    assert_eq!(health(&gateway).await.lag.dossiers, 0, "a first fill is no change");
    // A change whose last step takes three minutes longer than its packet.
    let late = gateway.province.add(1).remove(0);
    gateway.pull_and_map().await;
    gateway.portal.inject(
        ScriptedFault::next(Fault::DropRequest).of_service("CapNhatTienDoHoSoMC").times(100),
    );
    gateway.push().await;
    let open = health(&gateway).await;
    assert_eq!(open.lag.dossiers, 0, "its packet alone is not all of it");
    assert!(open.oldest_unsynchronised_at.is_some());
    gateway.advance(Duration::from_mins(3)).await;
    gateway.portal.set_faults(hoso_gateway::lab::portal::Faults::default());
    gateway.settle().await;
    let after = health(&gateway).await;
    assert_eq!(after.lag.dossiers, 1);
    let lag = after.lag.p95_ms.expect("a lag");
    assert!(lag >= 180_000, "{lag} ms of {late}");
    assert_eq!(after.lag.p99_ms, Some(lag));
    assert_eq!(after.oldest_unsynchronised_at, None);
    assert_eq!(after.problems, 0);
    // An hour later it is no longer said.
    gateway.advance(Duration::from_mins(61)).await;
    assert_eq!(health(&gateway).await.lag.dossiers, 0);
    gateway.end().await;
}

#[tokio::test]
async fn the_hundredths_are_those_of_the_nearest_rank() {
    let gateway = Story::of(1).start().await;
    gateway.settle().await;
    // A hundred changes, each a second later acknowledged than the one before.
    for _ in 0..10 {
        gateway.province.add(10);
        gateway.pull_and_map().await;
        gateway.advance(Duration::from_secs(10)).await;
        gateway.push().await;
    }
    gateway.settle().await;
    let lag = health(&gateway).await.lag;
    assert_eq!(lag.dossiers, 100);
    let (p95, p99) = (lag.p95_ms.unwrap(), lag.p99_ms.unwrap());
    assert!((10_000..=20_000).contains(&p95) && p95 <= p99, "{lag:?}");
    gateway.end().await;
}

#[tokio::test]
async fn what_waits_for_a_person_is_counted_and_is_not_called_late() {
    let gateway = Story::of(3).start().await;
    let code = gateway.province.expected()[0].code.clone();
    gateway.portal.refuse(&code, "Dữ liệu không hợp lệ");
    gateway.settle().await;
    let health = health(&gateway).await;
    assert_eq!(health.problems, 1);
    assert_eq!(health.oldest_unsynchronised_at, None, "{health:?}");
    gateway.end().await;
}
