//! `[serve]`: the daemon's end, and where it tells its figures.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::{optional, within};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serve {
    pub drain_ms: u64,
    #[serde(with = "optional")]
    pub metrics_address: Option<SocketAddr>,
}

impl Serve {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        within("serve.drain_ms", self.drain_ms, 0, 3_600_000, problems);
        if let Some(address) = self.metrics_address.filter(|address| !address.ip().is_loopback()) {
            problems.at(
                "serve.metrics_address",
                format!(
                    "{address} can be reached from other machines, and nobody is asked who he is"
                ),
                "name an address of this machine alone, as 127.0.0.1:9464",
            );
        }
    }
}
