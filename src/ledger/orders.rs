//! What operators want of whoever sends, and what the gate's owner notes for others.

use serde::Serialize;

use crate::domain::time::Timestamp;

/// What an operator stops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "scope", content = "value")]
pub enum PauseScope {
    All,
    /// By `MaTTHC`.
    Procedure(String),
    /// By the agency's code, as dossier codes begin with it.
    Agency(String),
}

impl PauseScope {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Procedure(_) => "procedure",
            Self::Agency(_) => "agency",
        }
    }

    pub fn value(&self) -> &str {
        match self {
            Self::All => "",
            Self::Procedure(value) | Self::Agency(value) => value,
        }
    }

    pub fn parse(name: &str, value: String) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "procedure" => Some(Self::Procedure(value)),
            "agency" => Some(Self::Agency(value)),
            _ => None,
        }
    }

    /// Whether work of this procedure and agency is meant.
    pub fn covers(&self, ma_tthc: Option<&str>, ma_don_vi: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Procedure(value) => ma_tthc == Some(value.as_str()),
            Self::Agency(value) => ma_don_vi == Some(value.as_str()),
        }
    }
}

impl std::fmt::Display for PauseScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("everything"),
            Self::Procedure(value) => write!(f, "procedure {value}"),
            Self::Agency(value) => write!(f, "agency {value}"),
        }
    }
}

/// Sending that an operator has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SendingPause {
    #[serde(flatten)]
    pub scope: PauseScope,
    pub actor: String,
    pub reason: String,
    pub began_at: Timestamp,
    /// Ends by itself then; `None`: until somebody resumes it.
    pub until: Option<Timestamp>,
    /// The cause because of which the gateway began it by itself; at its end one dossier goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// What operators want of a process that sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    pub pauses: Vec<SendingPause>,
    /// Something urgent could be claimed.
    pub urgent_waits: bool,
    /// A job is at work, or has something on its way.
    pub jobs_wait: bool,
}

/// What became of a resumption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// `false`: there was no such pause.
    pub ended: bool,
    /// Pauses that still hold.
    pub still: Vec<SendingPause>,
}

/// What the gate's owner notes for its successor and for other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateNote {
    Learned,
    Status,
}

impl GateNote {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Status => "status",
        }
    }
}
