//! The watchdogs, asked at the end of a story.

use std::time::Duration;

use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::sqlite::SqliteLedger;
use hoso_gateway::ledger::watch::{WatchBounds, Watching};

/// What a live service looks at all the time holds at the end of every story.
pub(crate) async fn assert_no_watchdog_barks(ledger: &SqliteLedger, now: Timestamp) {
    let bounds = WatchBounds {
        rows_max: 100_000,
        leases_ended_by: now,
        retries_max: u32::MAX,
        audited_since: now - Duration::from_hours(24),
    };
    let sights = ledger.look(&bounds).await.expect("a look");
    ledger.keep_sights(now, &sights).await.expect("kept");
    let watchdogs = ledger.watchdogs().await.expect("watchdogs");
    let broken: Vec<_> = watchdogs.iter().filter(|watchdog| !watchdog.holds()).collect();
    assert!(broken.is_empty(), "{broken:?}");
}
