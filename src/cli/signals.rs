//! Requests to stop: SIGTERM (service manager) and SIGINT (Ctrl-C), each time they come.

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
