//! `[portal]`: the national portal's addresses, account and limits of one call. What only one
//! transport profile uses stands in a section of its own: [`Wrapper`], [`Bearer`].

mod bearer;
mod wrapper;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::secrets::{Environment, Secret};
use super::tls::TlsFiles;
use super::values::{base_url, optional, optional_path, within};
pub use bearer::{Bearer, Grant, TokenBody};
pub use wrapper::{Wrapper, WrapperAuth};

const PASSWORD_VARIABLE: &str = "HOSO_PORTAL_PASSWORD";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Portal {
    pub profile: Profile,
    /// Absent only where nothing is sent, see [`super::Config::ready_to_run`].
    #[serde(with = "optional")]
    pub base_url: Option<String>,
    pub auth_path: String,
    pub integration_path: String,
    pub share_path: String,
    pub dstcode: String,
    #[serde(with = "optional")]
    pub username: Option<String>,
    #[serde(with = "optional_path")]
    pub password_file: Option<PathBuf>,
    pub timeout_ms: u64,
    pub session_max_age_ms: u64,
    pub answer_bytes_max: usize,
    pub connections_max: usize,
    /// Absent: the patterns that are compiled in.
    #[serde(with = "optional_path")]
    pub answers_file: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub ca_file: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub client_certificate_file: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub client_key_file: Option<PathBuf>,
    pub wrapper: Wrapper,
    pub bearer: Bearer,
    #[serde(skip)]
    pub password: Secret,
    /// The key of the client certificate.
    #[serde(skip)]
    pub client_key: Secret,
}

/// How requests are wrapped on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Straight to the adapter of the security server.
    Adapter,
    /// Through a province's wrapper that takes bare arrays and keeps the session.
    Wrapper,
    /// Through an integration platform that wants a bearer token.
    Bearer,
}

impl Portal {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        if let Some(url) = &self.base_url {
            base_url("portal.base_url", url, problems);
        }
        for (key, path) in [
            ("portal.auth_path", &self.auth_path),
            ("portal.integration_path", &self.integration_path),
            ("portal.share_path", &self.share_path),
        ] {
            if path.trim_matches('/').is_empty() {
                problems.at(key, "the path is empty", "");
            } else if path.contains("://") || !path.chars().all(|c| c.is_ascii_graphic()) {
                problems.at(key, "this is no path below portal.base_url", "e.g. \"mapi/login\"");
            }
        }
        if self.dstcode.is_empty() || !self.dstcode.chars().all(|c| c.is_ascii_graphic()) {
            problems.at(
                "portal.dstcode",
                "this cannot be sent as a header",
                "VN:GOV:<agency>:<service>",
            );
        }
        self.wrapper.check(problems);
        self.bearer.check(problems);
        self.tls().check(&self.addresses(), problems);
        within("portal.timeout_ms", self.timeout_ms, 100, 600_000, problems);
        within("portal.session_max_age_ms", self.session_max_age_ms, 1_000, 86_400_000, problems);
        within("portal.answer_bytes_max", self.answer_bytes_max, 1024, 1 << 30, problems);
        within("portal.connections_max", self.connections_max, 1, 1024, problems);
    }

    /// Certificates towards the portal.
    pub fn tls(&self) -> TlsFiles {
        TlsFiles {
            block: "portal".to_owned(),
            ca_file: self.ca_file.clone(),
            client_certificate_file: self.client_certificate_file.clone(),
            client_key_file: self.client_key_file.clone(),
            variable: "HOSO_PORTAL_CLIENT_KEY".to_owned(),
            credential: "portal-client-key".to_owned(),
        }
    }

    /// Everything that is called in this profile and may be a whole address: option and value.
    fn addresses(&self) -> Vec<(&'static str, &str)> {
        let base = self.base_url.as_deref().map(|url| ("portal.base_url", url));
        let own: &[(&str, &String)] = match self.profile {
            Profile::Adapter => &[],
            Profile::Wrapper => &self.wrapper.addresses(),
            Profile::Bearer => &self.bearer.addresses(),
        };
        base.into_iter().chain(own.iter().map(|(key, value)| (*key, value.as_str()))).collect()
    }

    /// Whether somebody logs in at the portal itself.
    fn logs_in(&self) -> bool {
        match self.profile {
            Profile::Adapter => true,
            Profile::Wrapper => false,
            Profile::Bearer => self.bearer.login.is_some(),
        }
    }

    /// Only the secrets that the profile uses.
    pub(super) fn find_secrets(&mut self, env: &dyn Environment) {
        if self.logs_in() {
            let file = self.password_file.as_deref();
            self.password = Secret::find(PASSWORD_VARIABLE, file, "portal-password", env);
        }
        match self.profile {
            Profile::Adapter => {}
            Profile::Wrapper => self.wrapper.find_secrets(env),
            Profile::Bearer => self.bearer.find_secrets(env),
        }
        self.client_key = self.tls().client_key(env);
    }

    /// Name and place of each secret that the profile uses.
    pub(super) fn secrets(&self) -> Vec<(&'static str, &Secret)> {
        let mut used = Vec::new();
        if self.logs_in() {
            used.push(("portal.password", &self.password));
        }
        match self.profile {
            Profile::Adapter => {}
            Profile::Wrapper => used.extend(self.wrapper.secret()),
            Profile::Bearer => used.push(self.bearer.secret()),
        }
        if self.client_certificate_file.is_some() {
            used.push(("portal.client_key", &self.client_key));
        }
        used
    }

    pub(super) fn check_ready(&self, problems: &mut Problems<'_>) {
        if self.base_url.is_none() {
            problems.at(
                "portal.base_url",
                "there is no portal to push to",
                match self.profile {
                    Profile::Adapter => {
                        "http://<security server>:8080/XrdAdapter/RestService/forward"
                    }
                    Profile::Wrapper => "the wrapper's address, up to the names of its services",
                    Profile::Bearer => "the integration platform's address",
                },
            );
        }
        if self.logs_in() {
            if self.username.is_none() {
                problems.at("portal.username", "the portal needs an account", "");
            }
            if self.password.get().is_none() {
                problems.at(
                    "portal.password_file",
                    format!("the password of the portal: {}", self.password),
                    format!("name a readable file here, or set {PASSWORD_VARIABLE}"),
                );
            }
        }
        match self.profile {
            Profile::Adapter => {}
            Profile::Wrapper => self.wrapper.check_ready(problems),
            Profile::Bearer => self.bearer.check_ready(problems),
        }
        self.tls().check_ready(&self.client_key, problems);
    }
}

/// A path below `portal.base_url`, or a whole address.
fn check_address(key: &str, address: &str, problems: &mut Problems<'_>) {
    if address.starts_with("http://") || address.starts_with("https://") {
        base_url(key, address, problems);
    } else if address.trim_matches('/').is_empty() {
        problems.at(key, "the address is empty", "");
    } else if address.contains("://")
        || address.contains('#')
        || !address.chars().all(|c| c.is_ascii_graphic())
    {
        let hint = "a path below portal.base_url, or a whole address with https:// or http://";
        problems.at(key, "this is no address", hint);
    }
}

/// The key of a query or the name of a form's field.
fn check_name(key: &str, name: &str, problems: &mut Problems<'_>) {
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        problems.at(key, "this cannot be the name of a parameter", "letters, digits, -, _ and .");
    }
}

/// A secret that is needed and not there.
fn missing_secret(
    key: &str,
    what: &str,
    secret: &Secret,
    variable: &str,
    problems: &mut Problems<'_>,
) {
    if secret.get().is_none() {
        let hint = format!("name a readable file here, or set {variable}");
        problems.at(key, format!("{what}: {secret}"), hint);
    }
}
