//! `GET /metrics` on a loopback address of this machine, beside the running service.
//!
//! Owns the socket and the patience: however often it is asked, the ledger is read at most once in a few
//! seconds. Its end or failure is never the service's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::Reading;
use super::exposition::CONTENT_TYPE;
use crate::cli::failure::{Exit, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::ledger::Ledger;

/// Figures that are younger are told again.
const FRESH: Duration = Duration::from_secs(2);

/// A socket that listens already, so that an address in use is told at the start.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::new(Exit::Failed, format!("serve.metrics_address {address}: {error}"))
                .hint("name another port, or \"\" for none")
        })?;
        match listener.local_addr() {
            Ok(at) => tracing::info!("figures are told at http://{at}/metrics"),
            Err(error) => tracing::warn!(%error, "figures are told at an unknown address"),
        }
        Ok(Self { listener })
    }

    /// Answers for as long as it is polled.
    pub(crate) async fn answer(
        self,
        config: Config,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
    ) {
        let state = Arc::new(Figures { config, ledger, clock, last: Mutex::default() });
        let router = Router::new().route("/metrics", get(figures)).with_state(state);
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!(%error, "metrics are no longer served");
        }
        std::future::pending::<()>().await;
    }
}

struct Figures {
    config: Config,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    /// When they were read, and what they said. Whoever asks meanwhile waits for the same reading.
    last: Mutex<Option<(Duration, String)>>,
}

async fn figures(State(state): State<Arc<Figures>>) -> Response {
    let mut last = state.last.lock().await;
    let asked = state.clock.monotonic();
    if let Some((read, text)) = last.as_ref()
        && asked.saturating_sub(*read) < FRESH
    {
        return told(text.clone());
    }
    match Reading::take(&state.config, state.ledger.as_ref(), state.clock.now()).await {
        Ok(reading) => {
            let text = reading.text();
            *last = Some((asked, text.clone()));
            told(text)
        }
        Err(error) => {
            tracing::warn!(%error, "the figures cannot be read");
            (StatusCode::SERVICE_UNAVAILABLE, error.code()).into_response()
        }
    }
}

fn told(text: String) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}
