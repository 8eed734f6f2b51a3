//! From the province's XML to the portal's fields, as a table says.
//!
//! Owns `mappings/`: which source element fills which field, through which converter, from which
//! code list, and what is refused. A mapping is data that people other than programmers review, so
//! it says everything and defaults nothing: no row can make a value up.
//!
//! Start with `mappings/README.md` for the grammar, [`Mapping::map`] for the one thing that is
//! done a million times, and the private modules in the order in which they work: `file` (TOML to
//! plan), `plan` (the table as a tree of elements), `read` (one pass over a document), `convert`,
//! `checks`. Knows nothing of where documents come from or where dossiers go.

mod cases;
mod checks;
mod codelist;
mod codes;
mod convert;
mod coverage;
mod docs;
mod error;
mod explain;
mod file;
mod files;
mod finding;
mod plan;
mod procedures;
mod read;
mod succession;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::domain::codes::{AgencyCode, DossierCode};
use crate::domain::diagnostic::{Diagnostic, Position, Severity};
use crate::domain::dossier::Dossier;
use crate::domain::step::Step;
use crate::xml;

pub use cases::{CaseResult, CasesError, CasesReport, run_cases};
pub use codes::CODES;
pub use coverage::{CheckReport, UnmappedField, UnusedElement};
pub use docs::{Docs, DocsFormat};
pub use error::{FileError, FileErrors};
pub use explain::{Explanation, FieldExplanation};
pub use files::MappingFiles;
pub use procedures::ProcedureTable;

use finding::{Finding, Places};
use plan::{DOSSIER, Plan};
use read::Reading;
use succession::Succession;

const MAPPING_FILE: &str = "mapping.toml";
const CODE_LISTS: &str = "codelists";
const SUCCESSION: &str = "succession.csv";

/// The feed's mapping, compiled in.
const BUILTIN: &str = include_str!("../../mappings/feed/mapping.toml");

/// The table of successors, compiled in.
const BUILTIN_SUCCESSION: &str = include_str!("../../mappings/succession.csv");

macro_rules! builtin_code_lists {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../mappings/codelists/", $name, ".csv")))),+]
    };
}

const BUILTIN_CODE_LISTS: &[(&str, &str)] = builtin_code_lists![
    "channels",
    "dossier_status",
    "fee_collection",
    "fee_kinds",
    "filing_places",
    "online_payment",
    "result_forms",
    "reuse",
    "subject_types",
];

/// What the province's configuration adds to a mapping.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// First groups of the province's own agency codes, e.g. `H55`; a dossier of another is refused.
    pub province_codes: Vec<String>,
    /// `LoaiDinhDanh` of a tax number; unpublished, so unset leaves such identities out.
    pub tax_identity_type: Option<String>,
    /// `LoaiDinhDanh` of a passport; as above.
    pub passport_identity_type: Option<String>,
    /// Another table of successors than the mapping's own.
    pub succession_file: Option<PathBuf>,
}

/// A mapping that was found to be without mistakes. Cheap to use from many threads at once.
#[derive(Debug)]
pub struct Mapping {
    plan: Plan,
    settings: Settings,
    procedures: ProcedureTable,
    succession: Succession,
    version: String,
    files: MappingFiles,
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// None exactly when there is a diagnostic of severity error.
    pub dossier: Option<Dossier>,
    /// The dossier's whole history in the document's order; empty when `dossier` is none.
    pub steps: Vec<Step>,
    /// All of them, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
    /// The dossier code as far as it could be read, also of a refused dossier.
    pub ma_ho_so: Option<String>,
}

impl Mapping {
    /// The mapping of the provincial feed that is part of the program.
    pub fn builtin(settings: &Settings) -> Result<Self, FileErrors> {
        let mut lists = |name: &str| {
            let found = BUILTIN_CODE_LISTS.iter().find(|(known, _)| *known == name);
            Ok(found.map(|(name, text)| {
                (format!("mappings/{CODE_LISTS}/{name}.csv"), (*text).to_owned())
            }))
        };
        let table = Self::succession(None, settings)?;
        Self::parse("mappings/feed/mapping.toml", BUILTIN, &mut lists, table, settings)
    }

    /// A mapping whose files are texts already: `mapping.toml`, what stands in `codelists` by name, and
    /// the table of successors.
    pub fn from_texts(
        mapping: &str,
        code_lists: &std::collections::BTreeMap<&str, &str>,
        succession: &str,
        settings: &Settings,
    ) -> Result<Self, FileErrors> {
        let mut lists = |name: &str| {
            Ok(code_lists.get(name).map(|text| (format!("{name}.csv"), (*text).to_owned())))
        };
        let table = (SUCCESSION.to_owned(), succession.to_owned());
        Self::parse(MAPPING_FILE, mapping, &mut lists, table, settings)
    }

    /// A mapping folder: `mapping.toml` in it, and beside it the code lists in `codelists` and perhaps
    /// `succession.csv`.
    pub fn load(dir: &Path, settings: &Settings) -> Result<Self, FileErrors> {
        let file = dir.join(MAPPING_FILE);
        let text = std::fs::read_to_string(&file)
            .map_err(|error| FileErrors(vec![FileErrors::unreadable(&file, &error)]))?;
        let lists = dir.join("..").join(CODE_LISTS);
        let mut code_list = |name: &str| {
            let plain = name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            let path = lists.join(format!("{name}.csv"));
            if !plain || !path.is_file() {
                return Ok(None);
            }
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Some((path.display().to_string(), text))),
                Err(error) => Err(FileErrors::unreadable(&path, &error)),
            }
        };
        let table = Self::succession(Some(dir.join("..").join(SUCCESSION)), settings)?;
        Self::parse(&file.display().to_string(), &text, &mut code_list, table, settings)
    }

    /// The table of successors with the name of its file: the configured one, or else the one beside
    /// the mapping, or else the one that is part of the program.
    fn succession(
        beside: Option<PathBuf>,
        settings: &Settings,
    ) -> Result<(String, String), FileErrors> {
        let configured = settings.succession_file.clone();
        let Some(file) = configured.or_else(|| beside.filter(|file| file.is_file())) else {
            return Ok((format!("mappings/{SUCCESSION}"), BUILTIN_SUCCESSION.to_owned()));
        };
        match std::fs::read_to_string(&file) {
            Ok(text) => Ok((file.display().to_string(), text)),
            Err(error) => Err(FileErrors(vec![FileErrors::unreadable(&file, &error)])),
        }
    }

    fn parse(
        file: &str,
        text: &str,
        code_list: &mut file::CodeListSource<'_>,
        (succession_file, succession_text): (String, String),
        settings: &Settings,
    ) -> Result<Self, FileErrors> {
        let lists = RefCell::new(std::collections::BTreeMap::new());
        let mut kept = |name: &str| {
            let found = code_list(name)?;
            if let Some((_, text)) = &found {
                lists.borrow_mut().insert(name.to_owned(), text.clone());
            }
            Ok(found)
        };
        let mut errors = settings.errors();
        let plan = file::read(file, text, &mut kept).map_err(|more| errors.extend(more)).ok();
        let succession = Succession::parse(&succession_file, &succession_text)
            .map_err(|more| errors.extend(more))
            .ok();
        let (Some(plan), Some(succession), true) = (plan, succession, errors.is_empty()) else {
            return Err(FileErrors(errors));
        };
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            // A length before each part, so that no two sets of parts read alike.
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(text.as_bytes());
        for (name, text) in lists.borrow().iter() {
            part(name.as_bytes());
            part(blake3::hash(text.as_bytes()).as_bytes());
        }
        part(succession_text.as_bytes());
        for code in &settings.province_codes {
            part(code.as_bytes());
        }
        for code in [&settings.tax_identity_type, &settings.passport_identity_type] {
            part(code.as_deref().unwrap_or_default().as_bytes());
        }
        let version = hasher.finalize().to_hex()[..12].to_owned();
        let mapping = Self {
            plan,
            settings: settings.clone(),
            procedures: ProcedureTable::default(),
            succession,
            version,
            files: MappingFiles {
                mapping: text.to_owned(),
                code_lists: lists.take(),
                succession: succession_text,
                procedures: String::new(),
            },
        };
        Ok(mapping.with_procedures(ProcedureTable::builtin()?))
    }

    /// The same mapping with another table of procedures; its version differs if it has rows.
    #[must_use]
    pub fn with_procedures(mut self, procedures: ProcedureTable) -> Self {
        if let Some(hash) = procedures.hash() {
            let mut hasher = blake3::Hasher::new();
            hasher.update(self.version.as_bytes());
            hasher.update(hash.as_bytes());
            hasher.finalize().to_hex()[..12].clone_into(&mut self.version);
        }
        procedures.text().clone_into(&mut self.files.procedures);
        self.procedures = procedures;
        self
    }

    pub fn procedures(&self) -> &ProcedureTable {
        &self.procedures
    }

    /// Twelve hexadecimal digits over the mapping file, its code lists, the table of successors and
    /// the settings: equal versions map equally, by the same program.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether this is a dossier code of an agency of ours, or of one that an agency of ours followed.
    pub fn is_ours(&self, ma_ho_so: &str) -> bool {
        DossierCode::parse(ma_ho_so)
            .is_some_and(|code| self.succession.is_of(&code.agency, &self.settings.province_codes))
    }

    /// Whether a submitted file that was sent, and that the source lacks now, is sent once more as
    /// removed.
    pub fn removes_files(&self) -> bool {
        self.plan.removes_files
    }

    /// Contract names of fields that a code list translates.
    pub fn translated(&self) -> BTreeSet<String> {
        let fields = self.plan.fields.iter().filter(|field| field.codes.is_some());
        fields.map(|field| field.target.to_owned()).collect()
    }

    /// Maps one document, whose root is the element of one dossier.
    pub fn map(&self, xml: &str) -> Mapped {
        let mut reading = read::read(&self.plan, xml);
        if !reading.is_broken {
            checks::run(&self.plan, &self.settings, &self.succession, &mut reading);
            self.translate_procedure(&mut reading);
        }
        let Reading { dossier, steps, findings, .. } = reading;
        let diagnostics = finding::diagnostics(&self.plan, xml, findings);
        let ma_ho_so = (!dossier.ma_ho_so.is_empty()).then(|| dossier.ma_ho_so.clone());
        let refused = diagnostics.iter().any(|found| found.severity == Severity::Error);
        Mapped {
            dossier: (!refused).then_some(dossier),
            steps: if refused { Vec::new() } else { steps },
            diagnostics,
            ma_ho_so,
        }
    }
}

impl Mapping {
    /// Puts the national code in the place of the province's own, where the table has it.
    fn translate_procedure(&self, reading: &mut Reading) {
        let Some(row) = self.procedures.find(&reading.dossier.ma_tthc) else { return };
        reading.findings.push(Finding {
            rule: "mapping.national_procedure",
            severity: Severity::Warning,
            path: self.plan.dossier_path("MaTTHC"),
            offset: None,
            target: "MaTTHC",
            expected: format!("the national code, {}", row.national).into(),
            found: format!("the province's code {}", reading.dossier.ma_tthc),
        });
        reading.dossier.ma_tthc.clone_from(&row.national);
    }

    /// Where the document says what stands in a field of the mapped dossier: for findings that are
    /// made of the dossier later. `lists` leads to the item: lists and numbers from 1.
    pub fn place_of(
        &self,
        xml: &str,
        lists: &[(&str, usize)],
        target: &str,
    ) -> (String, Option<Position>) {
        let plan = &self.plan;
        let (mut record, mut path) = (DOSSIER, plan.root().to_owned());
        for (list, number) in lists {
            let inner = plan.records[record].lists.iter().copied();
            let Some(next) = inner.into_iter().find(|id| plan.records[*id].target == *list) else {
                break;
            };
            path = plan.item_path(&path, next, *number);
            record = next;
        }
        let path = plan.path_in(&path, record, target);
        let offset = Places::of(plan, xml).exact(&path);
        (path, offset.map(|offset| xml::position(xml, offset)))
    }
}

impl Settings {
    fn errors(&self) -> Vec<FileError> {
        let mut errors = Vec::new();
        let mut error = |message: String, hint: &str| {
            errors.push(FileError {
                file: "settings".to_owned(),
                line: 0,
                column: 0,
                rule: "mapping_file.settings",
                message,
                hint: hint.to_owned(),
            });
        };
        if self.province_codes.is_empty() {
            error(
                "no province code is configured".into(),
                "for Thái Nguyên: province.codes = [\"H55\", \"H03\"]",
            );
        }
        for code in &self.province_codes {
            if AgencyCode::parse(code).is_none_or(|agency| agency.level_one() != code) {
                error(format!("`{code}` is no province code"), "a letter and two digits, e.g. H55");
            }
        }
        let types = [("tax", &self.tax_identity_type), ("passport", &self.passport_identity_type)];
        for (what, code) in types {
            let Some(code) = code else { continue };
            if code.is_empty() || code.len() > 2 || matches!(code.as_str(), "1" | "2") {
                let message = format!("`{code}` cannot be the identity type of a {what} number");
                error(message, "one or two characters, and not 1 or 2, which have their meaning");
            }
        }
        if self.tax_identity_type.is_some() && self.tax_identity_type == self.passport_identity_type
        {
            error("tax numbers and passports have the same identity type".into(), "");
        }
        errors
    }
}
