//! The reviewed table from a province's own procedure codes to the national ones.
//!
//! A declared mapping like any row of `mapping.toml`: somebody compared the two procedures and signed
//! for it. A code that is not in the table goes as it is.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{FileError, FileErrors};
use crate::domain::codes::ProcedureCode;

const COLUMNS: [&str; 5] =
    ["province_code", "national_code", "reviewed_by", "reviewed_at", "origin"];
const BUILTIN_FILE: &str = "mappings/procedures.csv";
const BUILTIN: &str = include_str!("../../mappings/procedures.csv");

/// Which national procedure a province's own procedure is.
#[derive(Debug, Clone, Default)]
pub struct ProcedureTable {
    file: String,
    rows: BTreeMap<String, Row>,
    hash: Option<blake3::Hash>,
    text: String,
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) national: String,
    reviewed_by: String,
    reviewed_at: String,
    line: u32,
}

impl ProcedureTable {
    /// The table that is part of the program.
    pub fn builtin() -> Result<Self, FileErrors> {
        Self::parse(BUILTIN_FILE, BUILTIN)
    }

    /// A file of the same form, which replaces the built-in one.
    pub fn load(path: &Path) -> Result<Self, FileErrors> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| FileErrors(vec![FileErrors::unreadable(path, &error)]))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// As it was read.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Codes of the province and the nation, who reviewed them, and when.
    pub(super) fn reviewed(&self) -> Vec<[String; 4]> {
        let row = |(code, row): (&String, &Row)| {
            [code.clone(), row.national.clone(), row.reviewed_by.clone(), row.reviewed_at.clone()]
        };
        self.rows.iter().map(row).collect()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn find(&self, code: &str) -> Option<&Row> {
        self.rows.get(code)
    }

    /// `procedures.csv line 7: 2.999001.H55 = 2.000815, reviewed 2026-01-20 by …`.
    pub(super) fn told(&self, code: &str, row: &Row) -> String {
        let file = Path::new(&self.file)
            .file_name()
            .map_or_else(|| self.file.clone(), |name| name.to_string_lossy().into_owned());
        format!(
            "{file} line {}: {code} = {}, reviewed {} by {}",
            row.line, row.national, row.reviewed_at, row.reviewed_by
        )
    }

    /// `None` for a table without rows, which changes nothing.
    pub(super) fn hash(&self) -> Option<&blake3::Hash> {
        self.hash.as_ref()
    }

    /// The text of such a file; `file` is its name in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, FileErrors> {
        let mut errors = Vec::new();
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        let mut error = |line: u64, rule: &'static str, message: String, hint: &str| {
            errors.push(FileError {
                file: file.to_owned(),
                line: u32::try_from(line).unwrap_or(u32::MAX),
                column: 0,
                rule,
                message,
                hint: hint.to_owned(),
            });
        };
        // A row is a line: no cell needs a line break, and every mistake has its true line.
        let mut lines = (1u64..)
            .zip(text.trim_start_matches('\u{FEFF}').lines())
            .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let header = lines.next();
        if header.is_none_or(|(_, header)| header.trim() != COLUMNS.join(",")) {
            // With another header every row would be wrong too; one mistake says it all.
            let message = "the columns are not those of a table of procedures".to_owned();
            let line = header.map_or(1, |(line, _)| line);
            error(line, "procedure_table.columns", message, &COLUMNS.join(","));
            return Err(FileErrors(errors));
        }
        for (line, text) in lines {
            let record = match cells(text) {
                Ok(record) => record,
                Err(message) => {
                    error(line, "procedure_table.malformed", message, "");
                    continue;
                }
            };
            let cell = |at: usize| record.get(at).unwrap_or_default().to_owned();
            let (province, national) = (cell(0), cell(1));
            let (reviewed_by, reviewed_at, origin) = (cell(2), cell(3), cell(4));
            if ProcedureCode::parse(&province).is_none() {
                let message = format!("`{province}` is no procedure code");
                error(
                    line,
                    "procedure_table.code",
                    message,
                    "as it stands in the dossiers, e.g. 2.999001.H55",
                );
            }
            if ProcedureCode::parse(&national).is_none_or(|code| code.province.is_some()) {
                let message = format!("`{national}` is no national procedure code");
                error(
                    line,
                    "procedure_table.code",
                    message,
                    "one digit, a point and six digits, e.g. 2.000815",
                );
            }
            if province == national {
                let message = format!("`{province}` is mapped to itself");
                error(
                    line,
                    "procedure_table.circle",
                    message,
                    "remove the row: the code goes as it is",
                );
            }
            if reviewed_by.is_empty() || origin.is_empty() {
                let message = "the row does not say who reviewed it, or by what".to_owned();
                error(
                    line,
                    "procedure_table.unreviewed",
                    message,
                    "fill in reviewed_by and origin",
                );
            }
            let is_date = reviewed_at
                .parse::<jiff::civil::Date>()
                .is_ok_and(|date| date.to_string() == reviewed_at);
            if !is_date {
                let message = format!("`{reviewed_at}` is no date");
                error(line, "procedure_table.unreviewed", message, "write YYYY-MM-DD");
            }
            if let Some(earlier) = rows.get(&province) {
                let message = format!("`{province}` stands on line {} already", earlier.line);
                error(line, "procedure_table.duplicate", message, "remove one of the rows");
                continue;
            }
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            rows.insert(province, Row { national, reviewed_by, reviewed_at, line });
        }
        for (province, row) in &rows {
            if row.national != *province
                && let Some(next) = rows.get(&row.national)
            {
                let message = format!("`{}` is mapped on, on line {}", row.national, next.line);
                error(
                    u64::from(row.line),
                    "procedure_table.circle",
                    message,
                    "name the last procedure of the chain, once",
                );
            }
        }
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.line);
            return Err(FileErrors(errors));
        }
        let hash = (!rows.is_empty()).then(|| blake3::hash(text.as_bytes()));
        Ok(Self { file: file.to_owned(), rows, hash, text: text.to_owned() })
    }
}

fn cells(line: &str) -> Result<csv::StringRecord, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_reader(line.as_bytes());
    let mut record = csv::StringRecord::new();
    reader.read_record(&mut record).map_err(|cause| cause.to_string())?;
    if record.len() == COLUMNS.len() {
        Ok(record)
    } else {
        Err(format!("{} columns instead of {}", record.len(), COLUMNS.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "province_code,national_code,reviewed_by,reviewed_at,origin\n";

    fn parse(rows: &str) -> Result<ProcedureTable, Vec<(u32, &'static str)>> {
        ProcedureTable::parse("procedures.csv", &format!("{HEADER}{rows}"))
            .map_err(|errors| errors.0.into_iter().map(|error| (error.line, error.rule)).collect())
    }

    #[test]
    fn the_built_in_table_has_no_mistakes_and_no_rows() {
        assert!(ProcedureTable::builtin().unwrap().is_empty());
    }

    #[test]
    fn a_reviewed_row_names_the_national_procedure() {
        let table =
            parse("# why\n2.999001.H55,2.000815,Trần Thị Mẫu,2026-01-20,QĐ 12/QĐ-UBND\n").unwrap();
        let row = table.find("2.999001.H55").unwrap();
        assert_eq!(row.national, "2.000815");
        assert_eq!(
            table.told("2.999001.H55", row),
            "procedures.csv line 3: 2.999001.H55 = 2.000815, reviewed 2026-01-20 by Trần Thị Mẫu"
        );
        assert!(table.find("2.999001").is_none());
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let rows = "2.999001.H55,2.000815,a,2026-01-20,b\n\
                    2.999001.H55,2.000816,a,2026-01-20,b\n\
                    2.99,2.000815.H55,a,2026-01-20,b\n\
                    2.000001,2.000001,a,2026-01-20,b\n\
                    2.000002,2.000003,,20/01/2026,b\n\
                    2.000003,2.000002,a,2026-01-20,b\n\
                    2.000004,2.000005\n";
        assert_eq!(
            parse(rows).unwrap_err(),
            [
                (3, "procedure_table.duplicate"),
                (4, "procedure_table.code"),
                (4, "procedure_table.code"),
                (5, "procedure_table.circle"),
                (6, "procedure_table.unreviewed"),
                (6, "procedure_table.unreviewed"),
                (6, "procedure_table.circle"),
                (7, "procedure_table.circle"),
                (8, "procedure_table.malformed"),
            ]
        );
        let other = ProcedureTable::parse("x.csv", "code,name\n1,2\n").unwrap_err();
        assert_eq!(other.0[0].rule, "procedure_table.columns");
    }
}
