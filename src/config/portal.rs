//! `[portal]`: the national portal's addresses, account and limits of one call.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::secrets::{Environment, Secret};
use super::values::{base_url, optional, optional_path, within};

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
    #[serde(skip)]
    pub password: Secret,
}

/// How requests are wrapped on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Straight to the adapter of the security server.
    Adapter,
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
        within("portal.timeout_ms", self.timeout_ms, 100, 600_000, problems);
        within("portal.session_max_age_ms", self.session_max_age_ms, 1_000, 86_400_000, problems);
        within("portal.answer_bytes_max", self.answer_bytes_max, 1024, 1 << 30, problems);
        within("portal.connections_max", self.connections_max, 1, 1024, problems);
    }

    pub(super) fn find_secrets(&mut self, env: &dyn Environment) {
        let file = self.password_file.as_deref();
        self.password = Secret::find(PASSWORD_VARIABLE, file, "portal-password", env);
    }

    pub(super) fn check_ready(&self, problems: &mut Problems<'_>) {
        if self.base_url.is_none() {
            problems.at(
                "portal.base_url",
                "there is no portal to push to",
                "http://<security server>:8080/XrdAdapter/RestService/forward",
            );
        }
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
}
