//! `[mapping]`: which rules turn the province's dossiers into the portal's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use super::values::{optional, optional_path};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Absent: the mapping that is compiled in.
    #[serde(with = "optional_path")]
    pub dir: Option<PathBuf>,
    /// Absent: the table that belongs to the mapping.
    #[serde(with = "optional_path")]
    pub succession_file: Option<PathBuf>,
    #[serde(with = "optional")]
    pub tax_identity_type: Option<String>,
    #[serde(with = "optional")]
    pub passport_identity_type: Option<String>,
}

impl Mapping {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        for (key, code) in [
            ("mapping.tax_identity_type", &self.tax_identity_type),
            ("mapping.passport_identity_type", &self.passport_identity_type),
        ] {
            match code.as_deref() {
                Some("1" | "2") => problems.at(
                    key,
                    "1 and 2 are the codes of identity cards",
                    "leave it \"\" until the portal's operator names the code",
                ),
                Some(code) if code.len() > 2 || !code.bytes().all(|byte| byte.is_ascii_digit()) => {
                    problems.at(key, format!("{code:?} is no LoaiDinhDanh"), "one or two digits");
                }
                _ => {}
            }
        }
    }
}
