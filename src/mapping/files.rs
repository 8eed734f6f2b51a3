//! A mapping as the texts that it was read from, so that it can be kept whole and compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::FileErrors;
use super::procedures::ProcedureTable;
use super::{MAPPING_FILE, Mapping, SUCCESSION, Settings};

const PROCEDURES: &str = "procedures.csv";

/// Everything that reviewers sign for. What the configuration adds (province codes, identity types)
/// is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingFiles {
    /// `mapping.toml`.
    pub mapping: String,
    /// The lists that its rows name.
    pub code_lists: BTreeMap<String, String>,
    /// `succession.csv`.
    pub succession: String,
    /// `procedures.csv`; empty where there is no such table.
    pub procedures: String,
}

impl MappingFiles {
    /// 64 hexadecimal digits over all of them.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("hoso-gateway mapping files v1");
        let mut part = |text: &str| {
            // A length before each part, so that no two sets of parts read alike.
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        part(&self.mapping);
        for (name, text) in &self.code_lists {
            part(name);
            part(text);
        }
        part(&self.succession);
        part(&self.procedures);
        hasher.finalize().to_hex().to_string()
    }
}

impl Mapping {
    /// The texts that it was read from.
    pub const fn files(&self) -> &MappingFiles {
        &self.files
    }

    /// The mapping that these texts are, under these settings.
    pub fn from_files(files: &MappingFiles, settings: &Settings) -> Result<Self, FileErrors> {
        let mut lists = |name: &str| {
            let text = files.code_lists.get(name);
            Ok(text.map(|text| (format!("codelists/{name}.csv"), text.clone())))
        };
        let succession = (SUCCESSION.to_owned(), files.succession.clone());
        let mapping = Self::parse(MAPPING_FILE, &files.mapping, &mut lists, succession, settings)?;
        let procedures = match files.procedures.as_str() {
            "" => ProcedureTable::default(),
            text => ProcedureTable::parse(PROCEDURES, text)?,
        };
        Ok(mapping.with_procedures(procedures))
    }
}
