//! `language`: what operators read.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// What the operator's locale says.
    Auto,
    Vi,
    En,
}

impl Language {
    /// The locale of messages: the first of these that is set decides, as everywhere on POSIX.
    pub fn locale(env: &dyn super::Environment) -> String {
        ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| env.variable(name))
            .unwrap_or_default()
    }
}
