//! `[province]`: whose dossiers are ours.

use serde::{Deserialize, Serialize};

use super::problems::Problems;
use crate::domain::codes::AgencyCode;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Province {
    /// First-level codes, e.g. `H55`.
    pub codes: Vec<String>,
    /// The connected agency, e.g. `000.00.00.H55`.
    pub madonvi: String,
}

impl Province {
    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        if self.codes.is_empty() {
            problems.at(
                "province.codes",
                "without a code no dossier is ours",
                "write the province's first-level code, e.g. [\"H55\"]",
            );
        }
        for (at, code) in self.codes.iter().enumerate() {
            let key = format!("province.codes[{at}]");
            if AgencyCode::parse(code).is_none_or(|parsed| parsed.level_one() != code) {
                let hint = "a capital letter and two digits, as in QĐ 20/2020/QĐ-TTg, e.g. \"H55\"";
                problems.at(&key, format!("{code:?} is no first-level code"), hint);
            } else if self.codes[..at].contains(code) {
                problems.at(&key, format!("{code:?} stands here twice"), "");
            }
        }
        match AgencyCode::parse(&self.madonvi) {
            None => problems.at(
                "province.madonvi",
                format!("{:?} is no agency code", self.madonvi),
                "the connected agency's code, e.g. \"000.00.00.H55\"",
            ),
            Some(agency)
                if !self.codes.is_empty()
                    && !self.codes.iter().any(|code| code == agency.level_one()) =>
            {
                problems.at(
                    "province.madonvi",
                    format!("its province {} is not in province.codes", agency.level_one()),
                    "",
                );
            }
            Some(_) => {}
        }
    }
}
