//! What both laboratories share as servers: a socket, with TLS if wanted, a way to stop, and no silent
//! panics.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::serve::{Listener, ListenerExt};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::certificates::ServerTls;
use crate::clock::Clock;

/// Connections that have shaken hands and wait to be served.
const HANDSHAKES_WAITING_MAX: usize = 64;

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
    /// How handshakes are answered from now on; `None`: plain HTTP.
    tls: Option<Arc<Mutex<ServerTls>>>,
    lifetime: Lifetime,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl Serving {
    pub(super) async fn start(
        listen: SocketAddr,
        lifetime: Lifetime,
        routes: Router,
        tls: Option<ServerTls>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let stop = lifetime.stop.clone();
        let tls = tls.map(|tls| Arc::new(Mutex::new(tls)));
        let server = if let Some(tls) = &tls {
            let listener = TlsListener::start(listener, Arc::clone(tls), &lifetime);
            tokio::spawn(async move {
                axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
            })
        } else {
            tokio::spawn(async move {
                let listener = listener.tap_io(|socket| at_once(socket));
                axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
            })
        };
        Ok(Self { address, tls, lifetime, server: Some(server) })
    }

    /// Without a socket: its routes are called in process, and it has no address.
    pub(super) fn in_process(lifetime: Lifetime) -> Self {
        let address = (std::net::Ipv4Addr::UNSPECIFIED, 0).into();
        Self { address, tls: None, lifetime, server: None }
    }

    /// Base address, without a slash at the end.
    pub(super) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers handshakes this way from now on. Nothing changes for a laboratory without TLS.
    pub(super) fn set_tls(&self, tls: ServerTls) {
        if let Some(slot) = &self.tls {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = tls;
        }
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

/// Answers are small: waiting to fill a packet would only add latency. Where it cannot be switched
/// off, answers are slower and still right.
fn at_once(socket: &TcpStream) {
    socket.set_nodelay(true).unwrap_or_default();
}

/// Gives connections to the server after their handshake, so that a slow or failing one holds up
/// nobody.
#[derive(Debug)]
struct TlsListener {
    address: io::Result<SocketAddr>,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    fn start(listener: TcpListener, tls: Arc<Mutex<ServerTls>>, lifetime: &Lifetime) -> Self {
        let address = listener.local_addr();
        let (done, ready) = mpsc::channel(HANDSHAKES_WAITING_MAX);
        let stop = lifetime.stop.clone();
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.cancelled() => return,
                };
                // A connection that was lost before it was taken is its caller's business.
                let Ok((socket, from)) = accepted else { continue };
                at_once(&socket);
                let config = Arc::clone(&tls.lock().unwrap_or_else(PoisonError::into_inner).config);
                let (done, stop) = (done.clone(), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        stream = shake_hands(config, socket) => if let Some(stream) = stream {
                            // The server has stopped listening: nobody waits for this one.
                            done.send((stream, from)).await.unwrap_or_default();
                        },
                        () = stop.cancelled() => {}
                    }
                });
            }
        });
        Self { address, ready }
    }
}

/// `None` when the handshake failed and the caller was told why.
async fn shake_hands(
    config: Arc<tokio_rustls::rustls::ServerConfig>,
    socket: TcpStream,
) -> Option<TlsStream<TcpStream>> {
    match TlsAcceptor::from(config).accept(socket).into_fallible().await {
        Ok(stream) => Some(stream),
        Err((_, mut socket)) => {
            // Closed with unread bytes, the connection is reset and the alert is lost on its way.
            let mut unread = [0; 4096];
            while matches!(socket.read(&mut unread).await, Ok(length) if length > 0) {}
            None
        }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // Only at the end of the laboratory: the server stops by itself.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.address {
            Ok(address) => Ok(*address),
            Err(error) => Err(error.kind().into()),
        }
    }
}
