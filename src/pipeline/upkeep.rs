//! `upkeep_once`: expired leases, retention, the watchdog, and waits that a clock set back made longer
//! than any honest one.

use std::time::Duration;

use super::{Context, VerbError, audit, ownership, problems};
use crate::ledger::record::{UpkeepCounts, UpkeepPolicy};

/// Cursors are kept for twice the longest overlap that a source may have, and a day more.
const CURSOR_RETENTION: Duration = Duration::from_hours(48);

/// Between the moment when another task read the clock and this pass.
const CLOCKS_DIFFER_MS: u64 = 5_000;
/// Keeps the day's sizes of the ledger, once a day. Reads the whole file, so not within a pass.
pub async fn measure_once(context: &Context) -> Result<bool, VerbError> {
    context.alive();
    let measured = context.ledger.measure(context.clock.now()).await?;
    if measured {
        audit::tell_head(context).await?;
    }
    Ok(measured)
}

/// One pass. A lease that ran out means that nobody knows whether the call left.
pub async fn upkeep_once(context: &Context) -> Result<UpkeepCounts, VerbError> {
    context.alive();
    let settings = &context.settings;
    let policy = UpkeepPolicy {
        retention: settings.retention,
        cursor_retention_ms: u64::try_from(CURSOR_RETENTION.as_millis()).unwrap_or(u64::MAX),
        watchdog_ms: settings.watchdog_ms,
        resend_unknown_supplement: settings.resend_unknown_supplement,
        deadline_near_ms: settings.deadline_near_ms,
        wait_max_ms: settings.wait_max_ms,
        lease_max_ms: settings.lease_ms.saturating_add(CLOCKS_DIFFER_MS),
        owner_max_ms: u64::try_from(ownership::LEASE.as_millis()).unwrap_or(u64::MAX)
            + CLOCKS_DIFFER_MS,
    };
    let counts = context.ledger.upkeep(context.clock.now(), &policy).await?;
    problems::watch_surges(context).await?;
    Ok(counts)
}
