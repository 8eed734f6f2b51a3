//! Which agency follows which: `succession.csv`.
//!
//! Provinces and communes merge, and codes of dossiers keep the old agency's name for good. A row
//! says that the dossiers of an agency that ended are its successor's from a day on. It changes no
//! code; it only answers whose a code is.
//!
//! A CSV file with the columns `old_code,new_code,from,basis`: two agency codes, the first day of
//! the successor as `YYYY-MM-DD`, and the legal basis, without which nobody could review the row.

use crate::domain::codes::{AgencyCode, DossierCode};

use super::codelist::compact_day;
use super::error::{FileError, suggestion};

const COLUMNS: [&str; 4] = ["old_code", "new_code", "from", "basis"];

#[derive(Debug, Default)]
pub(super) struct Succession {
    /// In the order of the file; a table of some hundred communes at most.
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    old: String,
    new: String,
    /// First day of the successor, as `yyyyMMdd`.
    from: String,
    line: u32,
}

impl Succession {
    /// The agency's successor and the day from which it is that: by the agency's own row, or that
    /// of the innermost agency above it which has one.
    fn heir(&self, agency: &str) -> Option<(&str, &str)> {
        let mut unit = agency;
        loop {
            if let Some(row) = self.rows.iter().find(|row| row.old == unit) {
                return Some((&row.new, &row.from));
            }
            match unit.rsplit_once('.') {
                // The older form has its province at the end: 000.00.28.H55.
                Some(_) if !agency.starts_with(char::is_alphabetic) => {
                    let province = AgencyCode::parse(agency)?.level_one();
                    let row = self.rows.iter().find(|row| row.old == province)?;
                    return Some((&row.new, &row.from));
                }
                Some((above, _)) => unit = above,
                None => return None,
            }
        }
    }

    /// Whether the agency is of one of these provinces, by itself or through its successors.
    pub(super) fn is_of(&self, agency: &AgencyCode<'_>, provinces: &[String]) -> bool {
        let of = |province: &str| provinces.iter().any(|own| own == province);
        if of(agency.level_one()) {
            return true;
        }
        let mut unit = agency.as_str();
        // A checked table has no cycle, so it ends after as many turns as it has rows.
        for _ in &self.rows {
            let Some((heir, _)) = self.heir(unit) else {
                return false;
            };
            if AgencyCode::parse(heir).is_some_and(|heir| of(heir.level_one())) {
                return true;
            }
            unit = heir;
        }
        false
    }

    /// The successor, when the code was issued on a day on which its agency was gone already.
    pub(super) fn heir_at_issue(&self, code: &DossierCode<'_>) -> Option<&str> {
        let (heir, from) = self.heir(code.agency.as_str())?;
        let issued = match code.date.len() {
            6 => format!("20{}", code.date),
            _ => code.date.to_owned(),
        };
        (issued.as_str() >= from).then_some(heir)
    }

    pub(super) fn parse(file: &str, text: &str) -> Result<Self, Vec<FileError>> {
        let mut errors = Vec::new();
        let mut error = |line: u64, rule: &'static str, message: String, hint: String| {
            errors.push(FileError {
                file: file.to_owned(),
                line: u32::try_from(line).unwrap_or(u32::MAX),
                column: 0,
                rule,
                message,
                hint,
            });
        };
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(text.trim_start_matches('\u{FEFF}').as_bytes());
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(cause) => {
                error(1, "succession.malformed", cause.to_string(), String::new());
                return Err(errors);
            }
        };
        for column in header.iter().filter(|column| !COLUMNS.contains(column)) {
            let hint = suggestion(column, COLUMNS);
            let message = format!("`{column}` is no column of the table of successors");
            error(1, "succession.columns", message, hint);
        }
        let place = |name: &str| header.iter().position(|column| column == name);
        for column in COLUMNS.into_iter().filter(|column| place(column).is_none()) {
            let message = format!("the column `{column}` is missing");
            error(1, "succession.columns", message, String::new());
        }
        let mut rows: Vec<Row> = Vec::new();
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(cause) => {
                    let line = cause.position().map_or(0, csv::Position::line);
                    error(line, "succession.malformed", cause.to_string(), String::new());
                    continue;
                }
            };
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |name: &str| place(name).and_then(|at| record.get(at)).unwrap_or_default();
            let (old, new) = (cell("old_code"), cell("new_code"));
            for code in [old, new] {
                if AgencyCode::parse(code).is_none() {
                    let message = format!("`{code}` is no agency code");
                    let hint = "as in H55, H55.242 or 000.00.28.H55".to_owned();
                    error(line, "succession.agency_code", message, hint);
                }
            }
            let from = compact_day(cell("from")).filter(|day| !day.is_empty());
            if from.is_none() {
                let hint = "write YYYY-MM-DD, the successor's first day".to_owned();
                error(line, "succession.date", "`from` is no date".to_owned(), hint);
            }
            if cell("basis").is_empty() {
                let message = "the row has no legal basis".to_owned();
                let hint = "name the decision, e.g. NQ 202/2025/QH15".to_owned();
                error(line, "succession.basis", message, hint);
            }
            if let Some(earlier) = rows.iter().find(|row| row.old == old) {
                let message = format!("`{old}` has a successor already, on line {}", earlier.line);
                let hint =
                    "an agency has one; where it was divided, write a row for each of its parts"
                        .to_owned();
                error(line, "succession.duplicate", message, hint);
            }
            rows.push(Row {
                old: old.to_owned(),
                new: new.to_owned(),
                from: from.unwrap_or_default(),
                line: u32::try_from(line).unwrap_or(u32::MAX),
            });
        }
        let succession = Self { rows };
        if errors.is_empty() {
            errors = succession.contradictions(file);
        }
        if errors.is_empty() { Ok(succession) } else { Err(errors) }
    }

    /// Rows that each make sense and do not together.
    fn contradictions(&self, file: &str) -> Vec<FileError> {
        let mut errors = Vec::new();
        for row in &self.rows {
            let mut error = |rule, message: String, hint: &str| {
                errors.push(FileError {
                    file: file.to_owned(),
                    line: row.line,
                    column: 0,
                    rule,
                    message,
                    hint: hint.to_owned(),
                });
            };
            let mut unit = row.new.as_str();
            let mut turns = 0;
            while let Some((heir, _)) = self.heir(unit).filter(|_| turns <= self.rows.len()) {
                unit = heir;
                turns += 1;
            }
            if turns > self.rows.len() || row.new == row.old {
                let message = format!("the successors of `{}` lead back to it", row.old);
                error("succession.cycle", message, "one of these agencies must be the last");
                continue;
            }
            let next = self.heir(&row.new).filter(|(_, from)| *from < row.from.as_str());
            if let Some((heir, _)) = next {
                let message = format!(
                    "`{}` had gone over to `{heir}` before it followed `{}`",
                    row.new, row.old
                );
                error("succession.order", message, "name the agency that was there on that day");
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "old_code,new_code,from,basis\n";

    fn table(rows: &str) -> Succession {
        Succession::parse("succession.csv", &format!("{HEADER}{rows}")).unwrap()
    }

    fn wrong(rows: &str) -> String {
        let errors = Succession::parse("s.csv", &format!("{HEADER}{rows}")).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_code_is_its_agency_s_its_successor_s_and_that_one_s() {
        let table = table(
            "H03,H55,2025-07-01,NQ 1\nH02,H03,2020-01-01,NQ 0\nH55.242,H55.300,2025-07-01,NQ 2\n\
             H10.7,H55.8,2025-07-01,NQ 3\n",
        );
        let ours = ["H55".to_owned()];
        for (agency, expected) in [
            ("H55", true),
            ("H55.999.1", true),
            ("H03", true),
            ("H03.21.4", true),
            ("000.00.21.H03", true),
            ("H02.1", true),
            ("000.21.21.H02", true),
            ("H10.7.2", true),
            ("H10.70", false),
            ("H10", false),
            ("H29.3", false),
        ] {
            let agency = AgencyCode::parse(agency).unwrap();
            assert_eq!(table.is_of(&agency, &ours), expected, "{}", agency.as_str());
        }
        assert!(!Succession::default().is_of(&AgencyCode::parse("H03").unwrap(), &ours));
    }

    #[test]
    fn a_code_issued_after_its_agency_ended_names_the_heir() {
        let table = table("H03,H55,2025-07-01,NQ 1\n");
        for (code, heir) in [
            ("H03.21-250630-0001", None),
            ("H03.21-250701-0001", Some("H55")),
            ("H03.21-20250701-000001", Some("H55")),
            ("000.00.21.H03-260102-0001", Some("H55")),
            ("H55.21-260102-0001", None),
        ] {
            let code = DossierCode::parse(code).unwrap();
            assert_eq!(table.heir_at_issue(&code), heir, "{code}");
        }
    }

    #[test]
    fn every_row_that_nobody_could_apply_is_named() {
        let told = wrong(
            "H3,H55,2025-07-01,NQ\nH03,H55,1/7/2025,NQ\nH04,H55,2025-07-01,\nH04,H56,2025-07-01,NQ\n",
        );
        for (line, rule) in [
            ("s.csv:2:", "succession.agency_code"),
            ("s.csv:3:", "succession.date"),
            ("s.csv:4:", "succession.basis"),
            ("s.csv:5:", "succession.duplicate"),
        ] {
            let named = told.lines().any(|told| told.starts_with(line) && told.contains(rule));
            assert!(named, "{rule}: {told}");
        }
        assert!(wrong("H03,H03,2025-07-01,NQ\n").contains("succession.cycle"));
        assert!(
            wrong("H03,H55,2025-07-01,NQ\nH55.1,H03.2,2025-07-02,NQ\nH55,H03,2025-07-01,NQ\n")
                .contains("succession.cycle")
        );
        assert!(
            wrong("H03,H55,2025-07-01,NQ\nH55,H56,2024-01-01,NQ\n").contains("succession.order")
        );
        let errors =
            Succession::parse("s.csv", "old_code,new,from\nH03,H55,2025-07-01\n").unwrap_err();
        let rules: Vec<&str> = errors.iter().map(|error| error.rule).collect();
        assert_eq!(rules[..3], ["succession.columns"; 3]);
    }
}
