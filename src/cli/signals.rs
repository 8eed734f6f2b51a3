//! Requests to stop: SIGTERM (service manager) and SIGINT (Ctrl-C), each time they come; and to read the
//! configuration again: SIGHUP.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::failure::{Exit, Failure};

/// One message for each request, from now on.
pub(super) fn stop_requests() -> Result<mpsc::Receiver<()>, Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("signals cannot be watched: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// One message for each request to reload, from now on; several that come before the first is done are
/// one.
pub(super) fn reload_requests() -> Result<mpsc::Receiver<()>, Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("signals cannot be watched: {error}"));
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
