//! What both laboratories share as servers: a socket, a way to stop, and no silent panics.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;

/// Says when a laboratory stops, and remembers the panics of its request handlers.
#[derive(Debug, Clone, Default)]
pub(super) struct Lifetime {
    stop: CancellationToken,
    tasks: TaskTracker,
    panics: Arc<AtomicUsize>,
}

impl Lifetime {
    /// Waits on the clock, but never past the end of the laboratory. `false` when it ended first.
    pub(super) async fn pause(&self, clock: &dyn Clock, millis: u64) -> bool {
        tokio::select! {
            () = clock.sleep(Duration::from_millis(millis)) => true,
            () = self.stop.cancelled() => false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Runs beside the server; [`Serving::shutdown`] waits for it.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let witness = self.witness();
        self.tasks.spawn(async move {
            let _witness = witness;
            work.await;
        });
    }

    /// Kept while a request is answered, so that a panic is counted.
    pub(super) fn witness(&self) -> PanicWitness {
        PanicWitness(Arc::clone(&self.panics))
    }
}

pub(super) struct PanicWitness(Arc<AtomicUsize>);

impl Drop for PanicWitness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A laboratory's server. Dropping it stops the server without waiting.
#[derive(Debug)]
pub(super) struct Serving {
    address: SocketAddr,
    lifetime: Lifetime,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl Serving {
    pub(super) async fn start(
        listen: SocketAddr,
        lifetime: Lifetime,
        routes: Router,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let stop = lifetime.stop.clone();
        let server = tokio::spawn(async move {
            // Answers are small: waiting to fill a packet would only add latency. Where it cannot
            // be switched off, answers are slower and still right.
            let listener = listener.tap_io(|socket| socket.set_nodelay(true).unwrap_or_default());
            axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
        });
        Ok(Self { address, lifetime, server: Some(server) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops, and waits for every request and task to end.
    ///
    /// Panics when a request or a task panicked meanwhile: a broken laboratory proves nothing.
    pub(super) async fn shutdown(mut self) -> io::Result<()> {
        self.lifetime.stop.cancel();
        self.lifetime.tasks.close();
        self.lifetime.tasks.wait().await;
        let ended = match self.server.take() {
            Some(server) => server.await,
            None => Ok(Ok(())),
        };
        let panics = self.lifetime.panics.load(Ordering::Relaxed);
        assert!(panics == 0, "{panics} panics inside the laboratory");
        match ended {
            Ok(result) => result,
            Err(failure) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
            Err(failure) => Err(io::Error::other(failure)),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.lifetime.stop.cancel();
    }
}
