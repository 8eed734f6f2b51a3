//! The gate is taken once and kept over all generations of loops, and given back when the last one
//! has settled what was out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{pause, survive};
use crate::pipeline::ownership::{GATE, Ownership};
use crate::pipeline::{Context, Stop};
use crate::sabotage;

/// How long to wait before the gate is asked for again while another process owns it.
const OWNER_RETRY: Duration = Duration::from_secs(1);

/// Waits for the gate, shows it through `owner`, and renews it until `settled`. Asks everybody to
/// `stop` when it is lost.
pub(super) async fn keep(
    context: &Context,
    holder: &str,
    owner: &watch::Sender<Option<Arc<Ownership>>>,
    stop: &Stop,
    settled: &Stop,
) -> anyhow::Result<()> {
    let ownership = match take(context, holder, stop).await {
        Ok(Some(ownership)) => Arc::new(ownership),
        Ok(None) => return Ok(()),
        Err(error) => {
            stop.cancel();
            return Err(error);
        }
    };
    sabotage::point("gate.taken");
    owner.send_replace(Some(Arc::clone(&ownership)));
    let lost = Stop::new();
    let kept = tokio::select! {
        biased;
        () = ownership.keep(context, &lost) => {
            stop.cancel();
            settled.cancelled().await;
            // A service manager must see this as a failure and start the service again.
            Err(anyhow::anyhow!("another process took the portal's gate"))
        }
        () = settled.cancelled() => Ok(()),
    };
    sabotage::point("gate.settled");
    ownership.release(context).await?;
    kept
}

async fn take(context: &Context, holder: &str, stop: &Stop) -> anyhow::Result<Option<Ownership>> {
    let mut told = false;
    while !stop.is_cancelled() {
        match Ownership::take(context, GATE, holder).await {
            Ok(Ok(ownership)) => return Ok(Some(ownership)),
            Ok(Err(other)) => {
                if !told {
                    tracing::info!(owner = other.holder, "another process owns the gate; waiting");
                    told = true;
                }
                pause(context, OWNER_RETRY, None, stop).await;
            }
            Err(error) => {
                let wait = survive(error.into())?;
                pause(context, wait, None, stop).await;
            }
        }
    }
    Ok(None)
}
