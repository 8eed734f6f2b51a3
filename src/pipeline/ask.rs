//! One question to the portal about one dossier, for a person who wants to see what it shows. Decides
//! nothing and changes nothing but the record of its calls.

use super::push::call_record;
use super::{Context, PortalLine, Stop, VerbError};
use crate::domain::priority::Priority;
use crate::ledger::record::SettleBatch;
use crate::portal::{LookUpVerdict, Tenure};

/// Looks the dossier up, before everything else that waits. The caller owns the gate.
pub async fn ask_once(
    context: &Context,
    line: &PortalLine,
    ma_ho_so: &str,
    stop: &Stop,
) -> Result<LookUpVerdict, VerbError> {
    let portal = line.portal.during(Tenure::until(stop));
    let exchange = portal.look_up(Priority::Urgent, ma_ho_so).await;
    let calls = exchange.calls.into_iter().map(call_record).collect();
    let batch = SettleBatch { calls, ..SettleBatch::default() };
    context.ledger.settle(context.clock.now(), &batch).await?;
    Ok(exchange.verdict)
}
