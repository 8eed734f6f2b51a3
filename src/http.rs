//! The only module that names the HTTP client.
//!
//! Owns timeouts, body limits and the difference that matters most to a sender: whether a request
//! certainly never left, or may have arrived. Also owns TLS: whom a client trusts, what it shows of
//! itself, and which certificate is at fault when a handshake fails. Knows nothing of what the bytes
//! mean. No retries, no redirects, no proxies from the environment: every attempt is decided,
//! counted and recorded by the caller.

use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rustls::{AlertDescription, CertificateError};
use secrecy::{ExposeSecret, SecretString};

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
    /// The TLS handshake failed over a certificate, so nothing of the request was read.
    #[error("{text}")]
    Certificate { fault: CertificateFault, text: String },
}

/// Whose certificate ended a handshake, and why. Shown, it goes on after "the other side: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    #[error("its certificate has expired")]
    Expired,
    #[error("its certificate is not valid yet")]
    NotValidYet,
    #[error("its certificate comes from an authority that is not trusted here")]
    UnknownAuthority,
    #[error("its certificate is for another name")]
    WrongName,
    #[error("its certificate cannot be accepted")]
    Unacceptable,
    /// Ours is at fault, here and below.
    #[error("it wants a client certificate and got none")]
    OursMissing,
    #[error("it refused our client certificate")]
    OursRefused,
}

impl CertificateFault {
    /// Whether the certificate is the one that we showed, or did not show.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::OursMissing | Self::OursRefused)
    }

    fn of(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(why) => Some(match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotValidYet
                }
                // A bad signature: an authority of the trusted one's name, with another key.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::UnknownAuthority
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
                _ => Self::Unacceptable,
            }),
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
                Some(Self::OursMissing)
            }
            // Sent by a server, within the handshake, about the certificate that it was shown.
            rustls::Error::AlertReceived(
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied,
            ) => Some(Self::OursRefused),
            _ => None,
        }
    }
}

/// Whom a client trusts and what it shows of itself, as PEM. By default: the machine's own
/// authorities, and nothing.
#[derive(Clone, Default)]
pub struct Tls {
    /// The only authorities from which the other side's certificate may come.
    pub authorities: Option<String>,
    /// Our certificate, followed by those between it and its authority, and its key.
    pub identity: Option<(String, SecretString)>,
}

impl Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("private_authorities", &self.authorities.is_some())
            .field("shows_a_certificate", &self.identity.is_some())
            .finish()
    }
}

/// The part of [`Tls`] that is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPart {
    Authorities,
    Certificate,
    Key,
    /// None of them by itself: the client as a whole.
    Client,
}

/// Why no client can be made. Quotes nothing of the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct TlsUnusable {
    pub part: TlsPart,
    pub why: String,
}

/// Reads the certificate files anew; `None` when they cannot be read.
pub type ReadTls = Arc<dyn Fn() -> Option<Tls> + Send + Sync>;

/// Sends one request, once.
#[async_trait]
pub trait Http: Debug + Send + Sync {
    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure>;
}

/// The real client. Cheap to clone; connections are pooled and kept alive.
#[derive(Debug, Clone)]
pub struct ReqwestHttp {
    shared: Arc<Shared>,
}

struct Shared {
    connect_timeout: Duration,
    connections_max: usize,
    client: RwLock<reqwest::Client>,
    /// What the client was made with, and how to read it anew.
    tls: Mutex<Tls>,
    reread: Option<ReadTls>,
}

impl Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl ReqwestHttp {
    /// `connections_max` bounds the idle connections kept for one host.
    pub fn new(connect_timeout: Duration, connections_max: usize) -> Result<Self, TlsUnusable> {
        Self::with_tls(connect_timeout, connections_max, Tls::default(), None)
    }

    /// With certificates of one's own. After a failed handshake the files are read anew, so that
    /// renewed ones are taken up by the next request without a restart.
    pub fn with_tls(
        connect_timeout: Duration,
        connections_max: usize,
        tls: Tls,
        reread: Option<ReadTls>,
    ) -> Result<Self, TlsUnusable> {
        let client = client(connect_timeout, connections_max, &tls)?;
        Ok(Self {
            shared: Arc::new(Shared {
                connect_timeout,
                connections_max,
                client: RwLock::new(client),
                tls: Mutex::new(tls),
                reread,
            }),
        })
    }
}

/// What a bare question to an address shows of the other side.
#[derive(Debug, Clone)]
pub struct Sighting {
    pub status: u16,
    /// Its `Date`, as it is written.
    pub date: Option<String>,
    /// The certificate that it showed, in DER form.
    pub certificate: Option<Vec<u8>>,
}

impl ReqwestHttp {
    /// Asks with an empty GET who is there. Any answer will do, and its body is not read.
    pub async fn look_at(&self, url: &str, timeout: Duration) -> Result<Sighting, HttpFailure> {
        let question = self.shared.client().get(url).timeout(timeout);
        let answer = question.send().await.map_err(|error| failure(error, timeout))?;
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        let tls = answer.extensions().get::<reqwest::tls::TlsInfo>();
        Ok(Sighting {
            status: answer.status().as_u16(),
            date: date.map(str::to_owned),
            certificate: tls.and_then(|tls| tls.peer_certificate()).map(<[u8]>::to_vec),
        })
    }
}

impl Shared {
    fn client(&self) -> reqwest::Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes up certificate files that were replaced since.
    fn renew(&self) {
        let Some(renewed) = self.reread.as_ref().and_then(|reread| reread()) else { return };
        let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if tls.is_same(&renewed) {
            return;
        }
        match client(self.connect_timeout, self.connections_max, &renewed) {
            Ok(client) => {
                *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
                *tls = renewed;
                tracing::info!("certificate files have changed and are used from now on");
            }
            Err(error) => {
                tracing::warn!(%error, "certificate files have changed and cannot be used");
            }
        }
    }
}

impl Tls {
    fn is_same(&self, other: &Self) -> bool {
        let shown = |tls: &Self| {
            let identity = tls.identity.as_ref();
            identity.map(|(certificate, key)| (certificate.clone(), key.expose_secret().to_owned()))
        };
        self.authorities == other.authorities && shown(self) == shown(other)
    }

    /// Says whether a client can be made with this, and if not, which part is at fault.
    pub fn check(&self) -> Result<(), TlsUnusable> {
        client(Duration::from_secs(1), 1, self).map(drop)
    }

    fn applied_to(
        &self,
        mut builder: reqwest::ClientBuilder,
    ) -> Result<reqwest::ClientBuilder, TlsUnusable> {
        if let Some(pem) = &self.authorities {
            let authorities =
                certificates(pem).map_err(|why| TlsUnusable { part: TlsPart::Authorities, why })?;
            builder = builder.tls_certs_only(authorities);
        }
        if let Some((certificate, key)) = &self.identity {
            certificates(certificate)
                .map_err(|why| TlsUnusable { part: TlsPart::Certificate, why })?;
            let keys = key.expose_secret().matches("PRIVATE KEY-----").count();
            let wrong_key = |why: &str| TlsUnusable { part: TlsPart::Key, why: why.to_owned() };
            if key.expose_secret().contains("ENCRYPTED PRIVATE KEY") {
                return Err(wrong_key("the key is protected by a password; store it without one"));
            }
            if keys == 0 {
                return Err(wrong_key("there is no private key in PEM form in it"));
            }
            let both = [certificate.as_bytes(), b"\n", key.expose_secret().as_bytes()].concat();
            let identity = reqwest::Identity::from_pem(&both).map_err(|error| {
                wrong_key(&format!("the key cannot be read: {}", chain(&error)))
            })?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }
}

/// The certificates of a PEM text; at least one.
fn certificates(pem: &str) -> Result<Vec<reqwest::Certificate>, String> {
    let found = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
        .map_err(|error| format!("it is no sound PEM: {}", chain(&error)))?;
    if found.is_empty() {
        return Err("there is no certificate in PEM form in it".to_owned());
    }
    Ok(found)
}

fn client(
    connect_timeout: Duration,
    connections_max: usize,
    tls: &Tls,
) -> Result<reqwest::Client, TlsUnusable> {
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the network")]
    let builder = reqwest::Client::builder()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .gzip(true)
        // The other side's certificate beside its answers, for whoever wants to see until when it holds.
        .tls_info(true)
        .tcp_nodelay(true)
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        .connect_timeout(connect_timeout)
        .pool_max_idle_per_host(connections_max)
        .user_agent(concat!("hoso-gateway/", env!("CARGO_PKG_VERSION")));
    tls.applied_to(builder)?.build().map_err(|error| TlsUnusable {
        part: match rustls_error(&error) {
            Some(rustls::Error::InconsistentKeys(_)) => TlsPart::Key,
            // The key's own form is looked at last.
            Some(rustls::Error::General(_)) if tls.identity.is_some() => TlsPart::Key,
            Some(rustls::Error::InvalidCertificate(_)) if tls.identity.is_some() => {
                TlsPart::Certificate
            }
            _ if tls.identity.is_none() && tls.authorities.is_some() => TlsPart::Authorities,
            _ => TlsPart::Client,
        },
        why: match rustls_error(&error) {
            Some(rustls::Error::InconsistentKeys(_)) => {
                "the key does not belong to the certificate".to_owned()
            }
            _ => chain(&error),
        },
    })
}

#[async_trait]
impl Http for ReqwestHttp {
    async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        let timeout = request.timeout;
        let limit = request.answer_bytes_max;
        let client = self.shared.client();
        let builder = match request.method {
            Method::Get => client.get(&request.url),
            Method::Post => client.post(&request.url).body(request.body),
        };
        let builder = request
            .headers
            .iter()
            .fold(builder.timeout(timeout), |builder, (name, value)| builder.header(name, value));
        let mut response = match builder.send().await {
            Ok(response) => response,
            Err(error) => {
                let failure = failure(error, timeout);
                if matches!(failure, HttpFailure::Certificate { .. }) {
                    self.shared.renew();
                }
                return Err(failure);
            }
        };
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
    } else if let Some(fault) = rustls_error(&error).and_then(CertificateFault::of) {
        // With TLS 1.3 a server judges our certificate after the client thinks the handshake done
        // and has sent its request; what follows a failed handshake is thrown away unread.
        HttpFailure::Certificate { fault, text: chain(&error) }
    } else if error.is_connect() {
        HttpFailure::NotSent(chain(&error))
    } else if error.is_timeout() {
        HttpFailure::TimedOut(timeout)
    } else {
        HttpFailure::Interrupted(chain(&error))
    }
}

/// What TLS says beneath an error, if it does.
fn rustls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // Asked for its source, an io::Error passes over the error that it wraps.
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    None
}

/// The error and its causes in one line.
fn chain(error: &dyn Error) -> String {
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
