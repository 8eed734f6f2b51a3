//! `[[sources]]`: the provincial systems.

use std::path::PathBuf;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::problems::Problems;
use super::secrets::{Environment, Secret};
use super::tls::TlsFiles;
use super::values::{base_url, optional, optional_path, optional_time, within};
use crate::domain::time::Timestamp;

/// Options of the other kind of source are refused, and not shown; they stand at their defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    pub name: String,
    pub kind: SourceKind,
    /// For [`SourceKind::Feed`], as all up to `settle_lag_ms`.
    pub base_url: String,
    pub auth: SourceAuth,
    /// For [`SourceAuth::Basic`].
    #[serde(with = "optional")]
    pub user: Option<String>,
    #[serde(with = "optional_path")]
    pub token_file: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub password_file: Option<PathBuf>,
    pub page_limit: u32,
    pub overlap_ms: u64,
    pub settle_lag_ms: u64,
    pub timeout_ms: u64,
    /// For [`SourceKind::Directory`], with the two after it.
    #[serde(with = "optional_path")]
    pub path: Option<PathBuf>,
    pub settle_ms: u64,
    pub unfinished_ms: u64,
    pub poll_ms: u64,
    pub page_bytes_max: usize,
    pub item_bytes_max: usize,
    pub depth_max: usize,
    pub volatile_query_keys: Vec<String>,
    /// The cut-over from an older program.
    #[serde(deserialize_with = "optional_time")]
    pub start_from: Option<Timestamp>,
    #[serde(with = "optional_path")]
    pub ca_file: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub client_certificate_file: Option<PathBuf>,
    #[serde(with = "optional_path")]
    pub client_key_file: Option<PathBuf>,
    /// For [`SourceAuth::Bearer`].
    #[serde(skip)]
    pub token: Secret,
    /// For [`SourceAuth::Basic`].
    #[serde(skip)]
    pub password: Secret,
    /// The key of the client certificate.
    #[serde(skip)]
    pub client_key: Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    Feed,
    Directory,
}

impl SourceKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Feed => "feed",
            Self::Directory => "directory",
        }
    }
}

/// Options that only one kind of source has.
const OF_FEED: [&str; 12] = [
    "base_url",
    "auth",
    "user",
    "token_file",
    "password_file",
    "page_limit",
    "overlap_ms",
    "settle_lag_ms",
    "timeout_ms",
    "ca_file",
    "client_certificate_file",
    "client_key_file",
];
const OF_DIRECTORY: [&str; 3] = ["path", "settle_ms", "unfinished_ms"];

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
        let (foreign, kind): (&[&str], _) = match self.kind {
            SourceKind::Feed => (&OF_DIRECTORY, SourceKind::Directory),
            SourceKind::Directory => (&OF_FEED, SourceKind::Feed),
        };
        for name in foreign {
            if !problems.is_written(&option(name)) {
                continue;
            }
            let message = format!("a source of kind \"{}\" has no such option", self.kind.word());
            let hint = format!("remove it, or set kind = \"{}\"", kind.word());
            problems.at(&option(name), message, hint);
        }
        match self.kind {
            SourceKind::Feed if self.base_url.is_empty() => {
                let message = "this block needs it and has no default for it";
                problems.at(&option("base_url"), message, "");
            }
            SourceKind::Feed => base_url(&option("base_url"), &self.base_url, problems),
            SourceKind::Directory if self.path.is_none() => {
                let hint = "the folder into which the files are dropped";
                problems.at(&option("path"), "kind = \"directory\" needs a path", hint);
            }
            SourceKind::Directory => {}
        }
        within(&option("settle_ms"), self.settle_ms, 100, 86_400_000, problems);
        within(&option("unfinished_ms"), self.unfinished_ms, 100, 2_592_000_000, problems);
        if self.unfinished_ms < self.settle_ms {
            problems.at(
                &option("unfinished_ms"),
                "a file would be rejected before it has settled",
                "raise it above settle_ms",
            );
        }
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
        let address = option("base_url");
        self.tls(key).check(&[(&address, &self.base_url)], problems);
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

    /// Certificates towards this source, whose block has this name.
    pub fn tls(&self, block: &str) -> TlsFiles {
        TlsFiles {
            block: block.to_owned(),
            ca_file: self.ca_file.clone(),
            client_certificate_file: self.client_certificate_file.clone(),
            client_key_file: self.client_key_file.clone(),
            variable: self.variable("CLIENT_KEY"),
            credential: format!("source-{}-client-key", self.name),
        }
    }

    /// Only the secrets that are used.
    pub(super) fn find_secrets(&mut self, env: &dyn Environment) {
        self.client_key = self.tls("").client_key(env);
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
        self.tls(key).check_ready(&self.client_key, problems);
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

impl Serialize for SourceConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let path = |path: &Option<PathBuf>| {
            path.as_ref().map_or(String::new(), |p| p.display().to_string())
        };
        let mut shown = serializer.serialize_map(None)?;
        shown.serialize_entry("name", &self.name)?;
        shown.serialize_entry("kind", &self.kind)?;
        match self.kind {
            SourceKind::Feed => {
                shown.serialize_entry("base_url", &self.base_url)?;
                shown.serialize_entry("auth", &self.auth)?;
                shown.serialize_entry("user", &text(&self.user))?;
                shown.serialize_entry("token_file", &path(&self.token_file))?;
                shown.serialize_entry("password_file", &path(&self.password_file))?;
                shown.serialize_entry("page_limit", &self.page_limit)?;
                shown.serialize_entry("overlap_ms", &self.overlap_ms)?;
                shown.serialize_entry("settle_lag_ms", &self.settle_lag_ms)?;
                shown.serialize_entry("timeout_ms", &self.timeout_ms)?;
                shown.serialize_entry("ca_file", &path(&self.ca_file))?;
                let certificate = path(&self.client_certificate_file);
                shown.serialize_entry("client_certificate_file", &certificate)?;
                shown.serialize_entry("client_key_file", &path(&self.client_key_file))?;
            }
            SourceKind::Directory => {
                shown.serialize_entry("path", &path(&self.path))?;
                shown.serialize_entry("settle_ms", &self.settle_ms)?;
                shown.serialize_entry("unfinished_ms", &self.unfinished_ms)?;
            }
        }
        shown.serialize_entry("poll_ms", &self.poll_ms)?;
        shown.serialize_entry("page_bytes_max", &self.page_bytes_max)?;
        shown.serialize_entry("item_bytes_max", &self.item_bytes_max)?;
        shown.serialize_entry("depth_max", &self.depth_max)?;
        shown.serialize_entry("volatile_query_keys", &self.volatile_query_keys)?;
        // With its zone, as it is read back.
        let start_from = self.start_from.map_or(String::new(), |at| at.to_string());
        shown.serialize_entry("start_from", &start_from)?;
        shown.end()
    }
}
