//! `[log]`: what the gateway tells while it runs.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::problems::Problems;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level, or directives by module.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// `journald` when stderr is the journal, else `text`.
    Auto,
    Text,
    Json,
    Journald,
}

impl Log {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        // A bare word that is no level would be read as the name of a module and silence the rest.
        let is_word = self.level.chars().all(char::is_alphanumeric);
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        let is_level = levels.contains(&self.level.to_ascii_lowercase().as_str());
        if EnvFilter::try_new(&self.level).is_err() || (is_word && !is_level) {
            problems.at(
                "log.level",
                format!("{:?} is no level", self.level),
                "error, warn, info, debug or trace",
            );
        }
    }
}
