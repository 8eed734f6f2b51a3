//! What a check found in a dossier: the rule, where, and what was expected. Values are never
//! quoted, only described.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Reported; the dossier is sent.
    Warning,
    /// The dossier is quarantined.
    Error,
}

/// A place in the source document; both counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

impl Display for Position {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable, e.g. `mapping.required`; `hoso explain CODE` tells more.
    pub rule: String,
    pub severity: Severity,
    /// Path of the source element, e.g. `HoSo/DanhSachTienDo/TienDo[2]/NguoiXuLy`.
    pub source_path: String,
    /// Where the element (or, if it is absent, its parent) begins in the dossier's own document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The portal's field, e.g. `NguoiXuLy`; empty for rules about the whole dossier.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// What the rule wanted, in words.
    pub expected: String,
    /// What kind of value was there, masked: `empty`, `11 digits`, `text of 1,204 characters`.
    pub found: String,
}

impl Display for Diagnostic {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}[{}] {}", self.rule, self.source_path)?;
        if let Some(position) = self.position {
            write!(f, " at {position}")?;
        }
        if !self.target.is_empty() {
            write!(f, " -> {}", self.target)?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}
