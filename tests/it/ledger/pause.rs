//! Orders of operators, as rows.

use hoso_gateway::domain::entry::EntryState as S;
use hoso_gateway::ledger::record::PauseScope;

use super::support::{audit, item, open_ledger, t};

const A: &str = "H55.242-260126-0001";

fn procedure(code: &str) -> PauseScope {
    PauseScope::Procedure(code.to_owned())
}

#[tokio::test]
async fn a_pause_takes_its_scope_out_of_the_line_and_a_resumption_puts_it_back() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one | 0800/2")).await;
    let other = procedure("2.000815");
    let ours = procedure("1.000105");
    let agency = PauseScope::Agency("H55.242".into());
    ledger.pause(t(2), &other, None, &audit("x")).await.unwrap();
    assert_eq!(ledger.claim(t(2), 1).await.len(), 1, "another procedure");
    ledger.keep_up(t(1000)).await;
    ledger.receive(t(1001), item("H55.242-260126-0002", 1, "two")).await;
    for scope in [&ours, &agency] {
        ledger.pause(t(1002), scope, None, &audit("x")).await.unwrap();
    }
    assert!(ledger.claim(t(1003), 2).await.is_empty());
    let resumed = ledger.resume(t(1004), &ours, &audit("x")).await.unwrap();
    assert!(resumed.ended);
    assert_eq!(resumed.still.len(), 2);
    assert!(ledger.claim(t(1005), 3).await.is_empty(), "its agency is still paused");
    assert!(!ledger.resume(t(1006), &ours, &audit("x")).await.unwrap().ended);
    ledger.resume(t(1006), &agency, &audit("x")).await.unwrap();
    assert_eq!(ledger.claim(t(1007), 4).await.len(), 1);
    assert_eq!(ledger.newest("H55.242-260126-0002").await.state, S::Leased);
}

#[tokio::test]
async fn a_pause_whose_time_is_over_ends_by_itself_and_is_on_record() {
    let ledger = open_ledger().await;
    ledger.receive(t(1), item(A, 1, "one")).await;
    ledger.pause(t(2), &PauseScope::All, Some(t(10)), &audit("everything")).await.unwrap();
    assert_eq!(ledger.orders(t(9)).await.unwrap().pauses.len(), 1);
    assert!(ledger.claim(t(9), 1).await.is_empty());
    assert_eq!(ledger.orders(t(10)).await.unwrap().pauses, []);
    assert_eq!(ledger.claim(t(10), 2).await.len(), 1);
    assert_eq!(ledger.standing(t(10)).await.unwrap().sending_pauses, []);
    // The same scope can be paused again, and an open pause takes a new end.
    ledger.pause(t(11), &PauseScope::All, None, &audit("everything")).await.unwrap();
    ledger.pause(t(12), &PauseScope::All, Some(t(20)), &audit("everything")).await.unwrap();
    let pauses = ledger.orders(t(13)).await.unwrap().pauses;
    assert_eq!((pauses.len(), pauses[0].until), (1, Some(t(20))));
}
