//! The one configuration file: what can be set, what it is when it is not, and what is wrong.
//!
//! Owns the options, their defaults (`default.toml`, compiled in, is the set of defaults and the
//! manual at once), their checks, and the way secrets come in. Every problem of a file is reported
//! in one go, with line, column and a hint. Refuses to know what the options do: the parts of the
//! gateway are built from them in one place, elsewhere.
//!
//! Start with `default.toml`, then [`Config`]. `read` lays the user's file over the defaults,
//! `problems` collects what is wrong, `secrets` is the only reader of the environment.

mod alarms;
mod catalogue;
mod gate;
mod language;
mod ledger;
mod log;
mod mapping;
mod portal;
mod problems;
mod province;
mod push;
mod read;
mod reconcile;
mod retention;
mod retry;
mod secrets;
mod serve;
mod sources;
#[cfg(test)]
mod tests;
mod tls;
mod upkeep;
mod values;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use alarms::Alarms;
pub use catalogue::{Catalogue, CodePolicy};
pub use gate::{Gate, Window};
pub use language::Language;
pub use ledger::{Ledger, Synchronous};
pub use log::{Log, LogFormat};
pub use mapping::Mapping;
pub use portal::{Bearer, Grant, Portal, Profile, TokenBody, Wrapper, WrapperAuth};
pub use problems::{ConfigErrors, Problem};
pub use province::Province;
pub use push::{Push, UnknownStep};
pub use reconcile::Reconcile;
pub use retention::Retention;
pub use retry::Retry;
pub use secrets::{Environment, Secret, SystemEnvironment};
pub use serve::Serve;
pub use sources::{SourceAuth, SourceConfig, SourceKind};
pub use tls::TlsFiles;
pub use upkeep::Upkeep;

use crate::domain::time::Timestamp;
use problems::Problems;
use read::Document;

/// Every option with its default and its reason, as TOML.
pub const DEFAULT: &str = include_str!("default.toml");

/// Table of this module's codes for `hoso explain`: code, meaning, what to do.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        "config.invalid",
        "The configuration cannot be used: a mistake in the file, or a secret that is not to be had. A running service keeps the one that it has.",
        "Mend what the message names; `hoso config check` reads the file as the service does.",
    ),
    (
        "config.unusable_file",
        "A file that the configuration names (mapping, answers, certificates) cannot be used. A running service keeps what it has.",
        "Mend what the message names; `hoso config check` reads the file as the service does.",
    ),
    (
        "config.needs_restart",
        "An option was changed that is read only when the process starts, so the reload was refused as a whole. The service goes on with the old configuration.",
        "Restart the service, or take that change back and reload again.",
    ),
];

/// Everything that can be set, complete and checked.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    pub language: Language,
    pub ledger: Ledger,
    pub retention: Retention,
    pub province: Province,
    /// In the order of the file; may be empty, see [`Config::ready_to_run`].
    pub sources: Vec<SourceConfig>,
    pub mapping: Mapping,
    pub catalogue: Catalogue,
    pub portal: Portal,
    pub gate: Gate,
    pub push: Push,
    pub retry: Retry,
    pub reconcile: Reconcile,
    pub upkeep: Upkeep,
    pub serve: Serve,
    pub alarms: Alarms,
    pub log: Log,
    /// Where it came from, for messages.
    #[serde(skip)]
    file_name: String,
}

/// Reads a configuration file; without a path, the defaults and what the environment says.
pub fn load(path: Option<&Path>, env: &dyn Environment) -> Result<Config, ConfigErrors> {
    let Some(path) = path else {
        return Config::from_toml("", "built-in defaults", env);
    };
    let file_name = path.display().to_string();
    match env.read(path) {
        Ok(text) => Config::from_toml(&text, &file_name, env),
        Err(error) => {
            let mut problems = Problems::new(&file_name, "");
            problems.whole(
                format!("the file cannot be read: {error}"),
                "name another one with --config",
            );
            Err(problems.into_errors())
        }
    }
}

impl Config {
    /// Lays `text` over the defaults and checks the whole. Relative paths begin at the folder of
    /// `file_name`.
    pub fn from_toml(
        text: &str,
        file_name: &str,
        env: &dyn Environment,
    ) -> Result<Self, ConfigErrors> {
        let mut problems = Problems::new(file_name, text);
        let Some(mut document) = Document::read(text, DEFAULT, &mut problems) else {
            return Err(problems.into_errors());
        };
        let mut config = Self {
            language: document.section("language", &mut problems),
            ledger: document.section("ledger", &mut problems),
            retention: document.section("retention", &mut problems),
            province: document.section("province", &mut problems),
            sources: document.sections("sources", &mut problems),
            mapping: document.section("mapping", &mut problems),
            catalogue: document.section("catalogue", &mut problems),
            portal: document.section("portal", &mut problems),
            gate: document.section("gate", &mut problems),
            push: document.section("push", &mut problems),
            retry: document.section("retry", &mut problems),
            reconcile: document.section("reconcile", &mut problems),
            upkeep: document.section("upkeep", &mut problems),
            serve: document.section("serve", &mut problems),
            alarms: document.section("alarms", &mut problems),
            log: document.section("log", &mut problems),
            file_name: file_name.to_owned(),
        };
        config.check(&mut problems);
        problems.none()?;
        if let Some(folder) = Path::new(file_name).parent() {
            config.root_paths_at(folder);
        }
        config.ledger.find_secrets(env);
        config.portal.find_secrets(env);
        for source in &mut config.sources {
            source.find_secrets(env);
        }
        Ok(config)
    }

    /// What a daemon needs beyond a sound file: somewhere to pull from, somewhere to push to, and
    /// every secret. Commands that only read the ledger do without.
    pub fn ready_to_run(&self) -> Result<(), ConfigErrors> {
        let mut problems = Problems::new(&self.file_name, "");
        if self.sources.is_empty() {
            problems.at(
                "sources",
                "there is no source to pull from",
                "add a [[sources]] block with name and base_url, or name, kind and path",
            );
        }
        for (at, source) in self.sources.iter().enumerate() {
            source.check_ready(&format!("sources[{at}]"), &mut problems);
        }
        self.portal.check_ready(&mut problems);
        problems.none()
    }

    /// A cut-over lies in the past: until it, another program sends.
    pub fn not_in_the_future(&self, now: Timestamp) -> Result<(), ConfigErrors> {
        let mut problems = Problems::new(&self.file_name, "");
        for (at, source) in self.sources.iter().enumerate() {
            source.check_time(&format!("sources[{at}]"), now, &mut problems);
        }
        problems.none()
    }

    /// Problems that show only when the files are read that options name: option, message, hint.
    pub fn with_problems(
        &self,
        found: impl IntoIterator<Item = (String, String, String)>,
    ) -> Result<(), ConfigErrors> {
        let mut problems = Problems::new(&self.file_name, "");
        for (key, message, hint) in found {
            problems.at(&key, message, hint);
        }
        problems.none()
    }

    /// What is in force, as TOML that reads back as the same configuration. Secrets are named by
    /// where they come from, in comments.
    pub fn effective_toml(&self) -> String {
        let mut text = format!("# In force, from {} and the defaults.\n", self.file_name);
        let mut secret = |key: &str, secret: &Secret| {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "# {key}: {secret}");
        };
        secret("ledger.key", &self.ledger.key);
        for (key, used) in self.portal.secrets() {
            secret(key, used);
        }
        for source in self.sources.iter().filter(|source| source.kind == SourceKind::Feed) {
            match source.auth {
                SourceAuth::None => {}
                SourceAuth::Bearer => secret(&format!("{}.token", source.name), &source.token),
                SourceAuth::Basic => secret(&format!("{}.password", source.name), &source.password),
            }
            if source.client_certificate_file.is_some() {
                secret(&format!("{}.client_key", source.name), &source.client_key);
            }
        }
        text.push('\n');
        match toml::to_string_pretty(self) {
            Ok(options) => text.push_str(&options),
            // No map with odd keys and no number outside TOML's range occurs in these types; should
            // one ever, the reader is told instead of shown half.
            Err(error) => text = format!("# the configuration cannot be shown: {error}\n"),
        }
        text
    }

    /// Names what is in force: 64 hexadecimal digits of every option, defaults included. Secrets are
    /// left out, so another password is not another configuration.
    pub fn hash(&self) -> String {
        // See `effective_toml` on why this does not fail; should it ever, all such files look alike.
        let options = toml::to_string_pretty(self).unwrap_or_default();
        blake3::hash(options.as_bytes()).to_hex().to_string()
    }

    /// Options that differ from those of `running` and are read only when the process starts.
    pub fn needs_restart(&self, running: &Self) -> Vec<&'static str> {
        let (ledger, old) = (&self.ledger, &running.ledger);
        [
            ("ledger.path", ledger.path != old.path),
            ("ledger.synchronous", ledger.synchronous != old.synchronous),
            ("ledger.busy_timeout_ms", ledger.busy_timeout_ms != old.busy_timeout_ms),
            ("ledger.key_file", ledger.key_file != old.key_file),
            ("ledger.old_key_file", ledger.old_key_file != old.old_key_file),
            ("ledger.size_budget_bytes", ledger.size_budget_bytes != old.size_budget_bytes),
            ("serve.drain_ms", self.serve.drain_ms != running.serve.drain_ms),
            ("log.format", self.log.format != running.log.format),
        ]
        .into_iter()
        .filter_map(|(option, differs)| differs.then_some(option))
        .collect()
    }

    fn check(&self, problems: &mut Problems) {
        self.ledger.check(problems);
        self.retention.check(problems);
        self.province.check(problems);
        sources::check(&self.sources, problems);
        self.mapping.check(problems);
        self.catalogue.check(problems);
        self.portal.check(problems);
        self.gate.check(problems);
        self.push.check(&self.portal, problems);
        self.retry.check(problems);
        self.reconcile.check(problems);
        self.upkeep.check(problems);
        self.serve.check(problems);
        self.alarms.check(problems);
        self.log.check(problems);
    }

    fn root_paths_at(&mut self, folder: &Path) {
        let root = |path: &mut PathBuf| *path = folder.join(&*path);
        root(&mut self.ledger.path);
        let portal = &mut self.portal;
        let optional = [
            &mut self.ledger.key_file,
            &mut self.ledger.old_key_file,
            &mut self.mapping.dir,
            &mut self.mapping.procedures_file,
            &mut self.mapping.succession_file,
            &mut portal.password_file,
            &mut portal.answers_file,
            &mut portal.ca_file,
            &mut portal.client_certificate_file,
            &mut portal.client_key_file,
            &mut portal.wrapper.secret_file,
            &mut portal.bearer.token_file,
            &mut portal.bearer.client_secret_file,
        ];
        let of_sources = self.sources.iter_mut().flat_map(|source| {
            [
                &mut source.token_file,
                &mut source.password_file,
                &mut source.ca_file,
                &mut source.client_certificate_file,
                &mut source.client_key_file,
                &mut source.path,
            ]
        });
        optional.into_iter().chain(of_sources).filter_map(Option::as_mut).for_each(root);
    }
}
