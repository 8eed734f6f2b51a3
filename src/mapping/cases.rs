//! Runs a mapping's own cases: a folder each, with `input.xml` and what must become of it.
//!
//! `expected.json` holds `{"dossier": …, "steps": […]}`; `expected.diagnostics.txt` one diagnostic
//! a line. A dossier that is sent with warnings has both; no file means none.

use std::fmt::{Display, Formatter};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::Mapping;

/// What became of all cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CasesReport {
    pub mapping_version: String,
    pub cases: Vec<CaseResult>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    pub name: String,
    /// Empty when the case passed.
    pub differences: Vec<String>,
}

/// A case that could not be run.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    #[error("{path} cannot be read")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} is not JSON")]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error(
        "{path} holds no case: a folder with input.xml and expected.json or expected.diagnostics.txt"
    )]
    NoCases { path: PathBuf },
}

impl CasesReport {
    pub fn passed(&self) -> bool {
        self.cases.iter().all(|case| case.differences.is_empty())
    }
}

/// Runs every case of a folder, in the order of their names.
pub fn run_cases(mapping: &Mapping, cases_dir: &Path) -> Result<CasesReport, CasesError> {
    let unreadable = |source| CasesError::Unreadable { path: cases_dir.to_owned(), source };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(cases_dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    if folders.is_empty() {
        return Err(CasesError::NoCases { path: cases_dir.to_owned() });
    }
    let cases = folders.iter().map(|folder| run_case(mapping, folder)).collect::<Result<_, _>>()?;
    Ok(CasesReport { mapping_version: mapping.version().to_owned(), cases })
}

fn run_case(mapping: &Mapping, folder: &Path) -> Result<CaseResult, CasesError> {
    let input = folder.join("input.xml");
    let bytes =
        std::fs::read(&input).map_err(|source| CasesError::Unreadable { path: input, source })?;
    let mut differences = Vec::new();
    let expected_json = optional(&folder.join("expected.json"))?;
    let expected_lines = optional(&folder.join("expected.diagnostics.txt"))?;
    if expected_json.is_none() && expected_lines.is_none() {
        return Err(CasesError::NoCases { path: folder.to_owned() });
    }
    match crate::xml::decode(&bytes, None) {
        Err(fault) => differences.push(format!("input.xml cannot be decoded: {fault}")),
        Ok(xml) => {
            let mapped = mapping.map(&xml);
            let found = match mapped.dossier {
                Some(dossier) => serde_json::json!({ "dossier": dossier, "steps": mapped.steps }),
                None => Value::Null,
            };
            let expected = match &expected_json {
                Some((path, text)) => serde_json::from_str(text)
                    .map_err(|source| CasesError::NotJson { path: path.clone(), source })?,
                None => Value::Null,
            };
            compare("", &expected, &found, &mut differences);
            let expected = expected_lines.map(|(_, text)| text).unwrap_or_default();
            let mut expected: Vec<&str> =
                expected.lines().filter(|line| !line.trim().is_empty()).collect();
            for diagnostic in mapped.diagnostics {
                let line = diagnostic.to_string();
                match expected.iter().position(|known| *known == line) {
                    Some(at) => drop(expected.remove(at)),
                    None => differences.push(format!("unexpected: {line}")),
                }
            }
            differences.extend(expected.iter().map(|line| format!("did not come: {line}")));
        }
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(CaseResult { name, differences })
}

fn optional(path: &Path) -> Result<Option<(PathBuf, String)>, CasesError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CasesError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Cases are synthetic, so differences show the values.
fn compare(path: &str, expected: &Value, found: &Value, differences: &mut Vec<String>) {
    let at = |key: &str| {
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    };
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                compare(&at(key), value, found.get(key).unwrap_or(&Value::Null), differences);
            }
            for key in found.keys().filter(|key| !expected.contains_key(*key)) {
                differences.push(format!("{}: not expected at all", at(key)));
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (number, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(&format!("{path}[{}]", number + 1), expected, found, differences);
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            differences.push(format!(
                "{path}: expected {} items, found {}",
                expected.len(),
                found.len()
            ));
        }
        (Value::Null, found) if path.is_empty() && !found.is_null() => {
            differences.push("the dossier was mapped, expected it to be refused".to_owned());
        }
        (_, Value::Null) if path.is_empty() && !expected.is_null() => {
            differences.push("the dossier was refused, expected it to be mapped".to_owned());
        }
        (expected, found) if expected != found => {
            differences.push(format!("{path}: expected {expected}, found {found}"));
        }
        _ => {}
    }
}

impl Display for CasesReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        for case in &self.cases {
            if case.differences.is_empty() {
                writeln!(f, "ok      {}", case.name)?;
                continue;
            }
            writeln!(f, "FAILED  {}", case.name)?;
            for difference in &case.differences {
                writeln!(f, "          {difference}")?;
            }
        }
        let failed = self.cases.iter().filter(|case| !case.differences.is_empty()).count();
        writeln!(f, "{} cases, {failed} failed", self.cases.len())
    }
}
