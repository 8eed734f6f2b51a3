//! Proof that the portal took something: built only from a parsed answer.

use serde::{Deserialize, Serialize};

/// What the portal said when it accepted. Only `portal::classify` and a read-back that echoes every
/// field make one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The answer's `error_code`, as text.
    pub code: String,
    /// The answer's message, masked and shortened.
    pub message: String,
}
