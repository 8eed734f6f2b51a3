//! Certificates that last one run: an authority made up on the spot, what it signs for a laboratory
//! and for its callers, and the server's side of a handshake.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// An authority that nobody trusts by itself.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM form.
#[derive(Debug, Clone)]
pub struct Certified {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// When a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Good,
    /// Ended years ago.
    Expired,
}

/// How a laboratory answers handshakes.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
}

/// What [`write`] puts into a folder, for a gateway to use.
pub const CA_FILE: &str = "ca.pem";
pub const CLIENT_CERTIFICATE_FILE: &str = "client.pem";
pub const CLIENT_KEY_FILE: &str = "client-key.pem";

impl Authority {
    pub fn new(name: &str) -> io::Result<Self> {
        let mut parameters = parameters(name, Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(parameters, key).map_err(io::Error::other)?;
        Ok(Self { issuer })
    }

    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    /// For a server that is called by these names or addresses.
    pub fn server(&self, names: &[&str], validity: Validity) -> io::Result<Certified> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign("a laboratory", names, validity, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// For a caller.
    pub fn client(&self, name: &str, validity: Validity) -> io::Result<Certified> {
        self.sign(name, Vec::new(), validity, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        name: &str,
        names: Vec<String>,
        validity: Validity,
        usage: ExtendedKeyUsagePurpose,
    ) -> io::Result<Certified> {
        let mut parameters = parameters(name, names)?;
        parameters.extended_key_usages = vec![usage];
        if validity == Validity::Expired {
            parameters.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        Ok(Certified { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn parameters(name: &str, names: Vec<String>) -> io::Result<CertificateParams> {
    let mut parameters = CertificateParams::new(names).map_err(io::Error::other)?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2060, 1, 1);
    Ok(parameters)
}

impl ServerTls {
    /// `clients`: only callers with a certificate of this authority are let in.
    pub fn new(server: &Certified, clients: Option<&Authority>) -> io::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).map_err(io::Error::other)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(io::Error::other)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = CertificateDer::pem_slice_iter(server.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(io::Error::other)?;
        let key =
            PrivateKeyDer::from_pem_slice(server.key_pem.as_bytes()).map_err(io::Error::other)?;
        let config = builder.with_single_cert(chain, key).map_err(io::Error::other)?;
        Ok(Self { config: Arc::new(config) })
    }
}

/// A fresh authority with a server certificate for this machine, and a client certificate; the files
/// that a gateway needs are written into the folder. `required`: only that client is let in.
pub fn write(folder: &Path, required: bool) -> io::Result<ServerTls> {
    let authority = Authority::new("hoso laboratory")?;
    let server = authority.server(&["localhost", "127.0.0.1", "::1"], Validity::Good)?;
    let client = authority.client("gateway", Validity::Good)?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(CA_FILE), authority.certificate_pem())?;
    std::fs::write(folder.join(CLIENT_CERTIFICATE_FILE), &client.certificate_pem)?;
    std::fs::write(folder.join(CLIENT_KEY_FILE), &client.key_pem)?;
    ServerTls::new(&server, required.then_some(&authority))
}
