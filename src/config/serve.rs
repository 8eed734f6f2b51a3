//! `[serve]`: the daemon's end.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::within;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    pub drain_ms: u64,
}

impl Serve {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        within("serve.drain_ms", self.drain_ms, 0, 3_600_000, problems);
    }
}
