//! The only module that names the HTTP client.
//!
//! Owns timeouts, body limits and the difference that matters most to a sender: whether a request
//! certainly never left, or may have arrived. Knows nothing of what the bytes mean. No retries, no
//! redirects, no proxies from the environment: every attempt is decided, counted and recorded by
//! the caller.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// One request as it goes to the socket. Its `Debug` shows neither headers nor body: both hold
/// secrets and personal data.
#[derive(Clone)]
pub struct HttpRequest {
    pub method: Method,
    pub url: String,
    /// Name and value; values are sent as they are.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// From the first connect to the last byte of the answer.
    pub timeout: Duration,
    /// Largest answer read, in bytes after decompression.
    pub answer_bytes_max: usize,
}

impl Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("body_bytes", &self.body.len())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

/// A whole answer. Header names are in lower case.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl HttpAnswer {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Why there is no whole answer. Texts carry no body, no query and no personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpFailure {
    /// The request cannot have reached the other side.
    #[error("no connection: {0}")]
    NotSent(String),
    /// It may have arrived; nobody knows.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It may have arrived; the connection broke before the answer was whole.
    #[error("connection lost before the answer was whole: {0}")]
    Interrupted(String),
    /// It arrived; the answer is larger than we read.
    #[error("answer larger than {0} bytes")]
    TooLarge(usize),
    /// The request could not even be formed (bad URL or header).
    #[error("the request cannot be formed: {0}")]
    Invalid(String),
}

/// Sends one request, once.
#[async_trait]
pub trait Http: Debug + Send + Sync {
    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure>;
}

/// The real client. Cheap to clone; connections are pooled and kept alive.
#[derive(Debug, Clone)]
pub struct ReqwestHttp {
    client: reqwest::Client,
}

impl ReqwestHttp {
    /// `connections_max` bounds the idle connections kept for one host.
    pub fn new(connect_timeout: Duration, connections_max: usize) -> Result<Self, HttpFailure> {
        #[expect(clippy::disallowed_methods, reason = "this is the one door to the network")]
        let client = reqwest::Client::builder()
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .gzip(true)
            .tcp_nodelay(true)
            .connect_timeout(connect_timeout)
            .pool_max_idle_per_host(connections_max)
            .user_agent(concat!("hoso-gateway/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| HttpFailure::Invalid(chain(&error)))?;
        Ok(Self { client })
    }
}

#[async_trait]
impl Http for ReqwestHttp {
    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        let timeout = request.timeout;
        let limit = request.answer_bytes_max;
        let builder = match request.method {
            Method::Get => self.client.get(&request.url),
            Method::Post => self.client.post(&request.url).body(request.body),
        };
        let builder = request
            .headers
            .iter()
            .fold(builder.timeout(timeout), |builder, (name, value)| builder.header(name, value));
        let mut response = builder.send().await.map_err(|error| failure(error, timeout))?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        // Counted while streaming: behind gzip the announced length says nothing.
        let mut body = bytes::BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(error, timeout))? {
            if body.len() + chunk.len() > limit {
                return Err(HttpFailure::TooLarge(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpAnswer { status, headers, body: body.freeze() })
    }
}

fn failure(error: reqwest::Error, timeout: Duration) -> HttpFailure {
    // URLs may carry dossier codes in paths; they are logged by the caller, never from here.
    let error = error.without_url();
    if error.is_builder() {
        HttpFailure::Invalid(chain(&error))
    } else if error.is_connect() {
        HttpFailure::NotSent(chain(&error))
    } else if error.is_timeout() {
        HttpFailure::TimedOut(timeout)
    } else {
        HttpFailure::Interrupted(chain(&error))
    }
}

/// The error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
