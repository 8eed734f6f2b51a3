//! `try_login`: whether the portal takes our account, by trying.

use super::push::call_record;
use super::{Context, PortalLine, VerbError};
use crate::domain::failure::Failure;
use crate::ledger::record::SettleBatch;

/// Asks for a token and logs in anew, through the gate; the calls are recorded as all others are.
/// `None` where the way to the portal needs neither.
pub async fn try_login(
    context: &Context,
    line: &PortalLine,
) -> Result<Option<Result<(), Failure>>, VerbError> {
    let exchange = line.portal.check_login().await;
    if exchange.calls.is_empty() && exchange.verdict.is_ok() {
        return Ok(None);
    }
    let calls = exchange.calls.into_iter().map(call_record).collect();
    let batch = SettleBatch { calls, ..SettleBatch::default() };
    context.ledger.settle(context.clock.now(), &batch).await?;
    Ok(Some(exchange.verdict))
}
