//! `[[sources]]`: the provincial systems.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::secrets::{Environment, Secret};
use super::values::{base_url, optional, optional_path, optional_time, within};
use crate::domain::time::Timestamp;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    pub name: String,
    pub kind: SourceKind,
    pub base_url: String,
    pub auth: SourceAuth,
    /// For [`SourceAuth::Basic`].
    #[serde(with = "optional")]
    pub user: Option<String>,
    #[serde(with = "optional_path")]
    pub token_file: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub password_file: Option<PathBuf>,
    pub poll_ms: u64,
    pub page_limit: u32,
    pub overlap_ms: u64,
    pub settle_lag_ms: u64,
    pub timeout_ms: u64,
    pub page_bytes_max: usize,
    pub item_bytes_max: usize,
    pub depth_max: usize,
    pub volatile_query_keys: Vec<String>,
    /// The cut-over from an older program.
    #[serde(with = "optional_time")]
    pub start_from: Option<Timestamp>,
    /// For [`SourceAuth::Bearer`].
    #[serde(skip)]
    pub token: Secret,
    /// For [`SourceAuth::Basic`].
    #[serde(skip)]
    pub password: Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    Feed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceAuth {
    None,
    Bearer,
    Basic,
}

pub(super) fn check(sources: &[SourceConfig], problems: &mut Problems<'_>) {
    for (at, source) in sources.iter().enumerate() {
        let key = format!("sources[{at}]");
        source.check(&key, problems);
        let twin = sources[..at].iter().find(|other| {
            other.variable_name() == source.variable_name() && !source.name.is_empty()
        });
        if let Some(twin) = twin {
            problems.at(
                &format!("{key}.name"),
                format!("another source is named {:?}", twin.name),
                "names differ by more than capitals and \"-\" or \"_\"",
            );
        }
    }
}

impl SourceConfig {
    fn check(&self, key: &str, problems: &mut Problems<'_>) {
        let option = |name: &str| format!("{key}.{name}");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || self.name.len() > 32 || !self.name.chars().all(is_plain) {
            problems.at(
                &option("name"),
                format!("{:?} is no name for a source", self.name),
                "1 to 32 letters, digits, \"-\" and \"_\", without marks",
            );
        }
        base_url(&option("base_url"), &self.base_url, problems);
        let wants = |wanted: SourceAuth| self.auth == wanted;
        for (name, is_set, used_by, auth) in [
            ("user", self.user.is_some(), SourceAuth::Basic, "basic"),
            ("password_file", self.password_file.is_some(), SourceAuth::Basic, "basic"),
            ("token_file", self.token_file.is_some(), SourceAuth::Bearer, "bearer"),
        ] {
            if is_set && !wants(used_by) {
                let hint = format!("set auth = \"{auth}\", or remove it");
                problems.at(&option(name), "this auth does not use it", hint);
            }
        }
        if wants(SourceAuth::Basic) && self.user.is_none() {
            problems.at(&option("user"), "auth = \"basic\" needs a user", "");
        }
        within(&option("poll_ms"), self.poll_ms, 100, 86_400_000, problems);
        within(&option("page_limit"), self.page_limit, 1, 100_000, problems);
        within(&option("overlap_ms"), self.overlap_ms, 0, 604_800_000, problems);
        within(&option("settle_lag_ms"), self.settle_lag_ms, 0, 86_400_000, problems);
        within(&option("timeout_ms"), self.timeout_ms, 100, 600_000, problems);
        within(&option("page_bytes_max"), self.page_bytes_max, 1024, 1 << 30, problems);
        within(&option("item_bytes_max"), self.item_bytes_max, 1024, 1 << 30, problems);
        within(&option("depth_max"), self.depth_max, 8, 1024, problems);
        if self.item_bytes_max > self.page_bytes_max {
            problems.at(
                &option("item_bytes_max"),
                "a dossier may be larger than its page",
                "raise page_bytes_max, or lower this one",
            );
        }
        if let Some(at) = self.volatile_query_keys.iter().position(String::is_empty) {
            problems.at(&option(&format!("volatile_query_keys[{at}]")), "the key is empty", "");
        }
    }

    pub(super) fn check_time(&self, key: &str, now: Timestamp, problems: &mut Problems<'_>) {
        if let Some(at) = self.start_from.filter(|at| *at > now) {
            problems.at(
                &format!("{key}.start_from"),
                format!("{at} is in the future"),
                "the older program still sends until then: start this gateway after the cut-over, \
                 with the time at which the older one stopped",
            );
        }
    }

    /// `mot-cua` → `MOT_CUA`, as it stands in names of variables.
    fn variable_name(&self) -> String {
        self.name.to_ascii_uppercase().replace('-', "_")
    }

    fn variable(&self, what: &str) -> String {
        format!("HOSO_SOURCE_{}_{what}", self.variable_name())
    }

    /// Only the secret that `auth` uses.
    pub(super) fn find_secrets(&mut self, env: &dyn Environment) {
        match self.auth {
            SourceAuth::None => {}
            SourceAuth::Bearer => {
                self.token = Secret::find(
                    &self.variable("TOKEN"),
                    self.token_file.as_deref(),
                    &format!("source-{}-token", self.name),
                    env,
                );
            }
            SourceAuth::Basic => {
                self.password = Secret::find(
                    &self.variable("PASSWORD"),
                    self.password_file.as_deref(),
                    &format!("source-{}-password", self.name),
                    env,
                );
            }
        }
    }

    pub(super) fn check_ready(&self, key: &str, problems: &mut Problems<'_>) {
        let (secret, option, variable) = match self.auth {
            SourceAuth::None => return,
            SourceAuth::Bearer => (&self.token, "token_file", self.variable("TOKEN")),
            SourceAuth::Basic => (&self.password, "password_file", self.variable("PASSWORD")),
        };
        if secret.get().is_none() {
            let message = format!("the secret of source {:?}: {secret}", self.name);
            let hint = format!("name a readable file here, or set {variable}");
            problems.at(&format!("{key}.{option}"), message, hint);
        }
    }
}
