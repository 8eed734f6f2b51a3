//! `[push]`: how entries are taken and packed into calls.

use serde::{Deserialize, Serialize};

use super::portal::Portal;
use super::problems::Problems;
use super::values::within;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    pub concurrency: u32,
    pub claim_limit: u32,
    pub dossiers_per_call: u32,
    pub steps_per_call: u32,
    pub dossiers_per_steps_call: u32,
    pub steps_on_unknown_status_5: UnknownStep,
    pub lease_ms: u64,
    pub deadline_near_ms: u64,
}

/// What becomes of a step whose call may or may not have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownStep {
    /// A person decides.
    Hold,
    Resend,
}

impl Push {
    pub(super) fn check(&self, portal: &Portal, problems: &mut Problems<'_>) {
        within("push.concurrency", self.concurrency, 1, 1024, problems);
        within("push.claim_limit", self.claim_limit, 1, 100_000, problems);
        within("push.dossiers_per_call", self.dossiers_per_call, 1, 1000, problems);
        within("push.steps_per_call", self.steps_per_call, 1, 100, problems);
        within("push.dossiers_per_steps_call", self.dossiers_per_steps_call, 1, 1000, problems);
        within("push.lease_ms", self.lease_ms, 1_000, 3_600_000, problems);
        if self.dossiers_per_call > self.claim_limit {
            problems.at(
                "push.dossiers_per_call",
                "a call may hold more dossiers than are taken at a time",
                "raise push.claim_limit",
            );
        }
        if self.lease_ms <= portal.timeout_ms {
            problems.at(
                "push.lease_ms",
                format!(
                    "the lease may end while its call is on its way: it must exceed portal.timeout_ms ({})",
                    portal.timeout_ms
                ),
                "six times portal.timeout_ms leaves time to wait for the gate",
            );
        }
    }
}
