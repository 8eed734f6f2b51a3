//! The gate as operators and the pusher see it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::failure::Failure;
use crate::domain::priority::Priority;
use crate::domain::share::Shares;
use crate::domain::time::Timestamp;

/// Whether it is worth claiming work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Open,
    /// One single call may try; claim as little as possible.
    Probe,
    Closed {
        until: Timestamp,
        failure: Failure,
    },
}

/// A snapshot for people; it travels to other processes as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateStatus {
    /// `open`, `probe`, `closed`, or `paused` by an operator.
    pub state: String,
    /// Why it is not open.
    pub reason: Option<Failure>,
    pub until: Option<Timestamp>,
    pub windows: Vec<WindowStatus>,
    pub pace: PaceStatus,
    pub shares: Shares,
    /// Calls waiting for the quota, by class; only classes that wait.
    pub waiting: Vec<(Priority, usize)>,
    /// Calls let through since the start.
    pub admitted: u64,
    pub services: BTreeMap<String, Tally>,
}

/// How fast the gate goes, and what refusals have taught.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaceStatus {
    /// Calls a second at most in the long run; none: without limit.
    pub calls_a_second: Option<f64>,
    /// What the configured windows carry; none: no window is known.
    pub windows_carry: Option<f64>,
    /// Calls a second at the last refusal.
    pub refused_at: Option<f64>,
    /// Episodes of refusals since the ledger began.
    pub episodes: u64,
    /// How the portal seems to count, with the evidence, in one sentence.
    pub counted: String,
}

/// The use of one quota window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowStatus {
    pub limit: u32,
    pub window_ms: u64,
    /// The limit less the headroom: what the gate allows itself.
    pub allowed: u32,
    /// Calls of this process in the window that ends now, to a sixtieth of the window.
    pub used: u32,
}

/// What became of the calls of one service since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub admitted: u64,
    pub success: u64,
    pub pressure: u64,
    pub throttled: u64,
    pub environment: u64,
    /// Ended without a lesson, or given up by the caller.
    pub other: u64,
}
