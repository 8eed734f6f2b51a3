//! Certificates towards one other side; the same three options in `[portal]` and each `[[sources]]`.
//! Only names of files are known here: what is in them is judged where they are used.

use std::path::PathBuf;

use super::problems::Problems;
use super::secrets::{Environment, Secret};

/// What one block says about certificates, and where its key may come from.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The block's name, e.g. `portal` or `sources[0]`.
    pub block: String,
    pub ca_file: Option<PathBuf>,
    pub client_certificate_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    pub(super) variable: String,
    pub(super) credential: String,
}

impl TlsFiles {
    /// The key of the client certificate as it stands now; unset without a certificate.
    pub fn client_key(&self, env: &dyn Environment) -> Secret {
        if self.client_certificate_file.is_none() {
            return Secret::Unset;
        }
        let file = self.client_key_file.as_deref();
        Secret::find_key(&self.variable, file, &self.credential, env)
    }

    /// `addresses`: options and values of everything that is called.
    pub(super) fn check(&self, addresses: &[(&str, &str)], problems: &mut Problems<'_>) {
        let set = [
            ("ca_file", self.ca_file.is_some()),
            ("client_certificate_file", self.client_certificate_file.is_some()),
            ("client_key_file", self.client_key_file.is_some()),
        ];
        let plain = addresses.iter().find(|(_, address)| address.starts_with("http://"));
        for (name, is_set) in set {
            if let (true, Some((address, _))) = (is_set, plain) {
                problems.at(
                    &format!("{}.{name}", self.block),
                    format!("certificates are used with https only, and {address} is http"),
                    "write that address with https://, or remove this option",
                );
            }
        }
        if self.client_key_file.is_some() && self.client_certificate_file.is_none() {
            problems.at(
                &format!("{}.client_key_file", self.block),
                "there is no certificate that this key belongs to",
                "name the certificate in client_certificate_file",
            );
        }
    }

    pub(super) fn check_ready(&self, key: &Secret, problems: &mut Problems<'_>) {
        if self.client_certificate_file.is_some() && key.get().is_none() {
            problems.at(
                &format!("{}.client_key_file", self.block),
                format!("the key of the client certificate: {key}"),
                format!("name a readable file here, or set {}", self.variable),
            );
        }
    }
}
