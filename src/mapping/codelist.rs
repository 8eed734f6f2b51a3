//! Code lists: what a source may write, what the portal takes for it, and from when to when.
//!
//! A CSV file with the columns `code,label,valid_from,valid_to,origin` and perhaps `source`, the
//! word that stands for the code in the source (empty: the code itself). Dates are `YYYY-MM-DD`,
//! both inclusive, empty for open.

use super::error::{FileError, suggestion};

const COLUMNS: [&str; 5] = ["code", "label", "valid_from", "valid_to", "origin"];

#[derive(Debug)]
pub(super) struct CodeList {
    pub name: String,
    /// Sorted by key, then by validity.
    rows: Vec<Row>,
}

#[derive(Debug)]
pub(super) struct Row {
    /// What the source writes.
    pub key: String,
    pub code: String,
    pub label: String,
    /// First day as `yyyyMMdd`; empty for always.
    pub valid_from: String,
    /// Last day as `yyyyMMdd`; empty for always.
    pub valid_to: String,
    /// The law, contract or decision that the row stands on.
    pub origin: String,
    /// Line of the file.
    pub line: u32,
}

impl Row {
    pub(super) fn is_always_valid(&self) -> bool {
        self.valid_from.is_empty() && self.valid_to.is_empty()
    }

    /// Whether the row holds on a day written `yyyyMMdd`.
    pub(super) fn is_valid_on(&self, day: &str) -> bool {
        self.valid_from.as_str() <= day
            && (self.valid_to.is_empty() || day <= self.valid_to.as_str())
    }
}

impl CodeList {
    /// All rows of a key; none when the list does not know it.
    pub(super) fn find(&self, key: &str) -> &[Row] {
        let from = self.rows.partition_point(|row| row.key.as_str() < key);
        let length = self.rows[from..].partition_point(|row| row.key == key);
        &self.rows[from..from + length]
    }

    /// The first row that gives a code.
    pub(super) fn by_code(&self, code: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.code == code)
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// `a code of dossier_status (1, 2, …)`.
    pub(super) fn expectation(&self) -> String {
        let mut keys: Vec<&str> = self.rows.iter().map(|row| row.key.as_str()).collect();
        keys.sort_by_key(|key| (key.len(), *key));
        keys.dedup();
        if keys.len() > 16 {
            format!("a code of the list {}", self.name)
        } else {
            format!("a code of the list {} ({})", self.name, keys.join(", "))
        }
    }

    pub(super) fn parse(name: &str, file: &str, text: &str) -> Result<Self, Vec<FileError>> {
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
                error(1, "code_list.malformed", cause.to_string(), String::new());
                return Err(errors);
            }
        };
        for column in &header {
            if !COLUMNS.contains(&column) && column != "source" {
                let hint = suggestion(column, COLUMNS.into_iter().chain(["source"]));
                let message = format!("`{column}` is no column of a code list");
                error(1, "code_list.unknown_column", message, hint);
            }
        }
        let place = |name: &str| header.iter().position(|column| column == name);
        for column in COLUMNS.into_iter().filter(|column| place(column).is_none()) {
            let message = format!("the column `{column}` is missing");
            error(1, "code_list.missing_column", message, String::new());
        }
        let mut rows: Vec<Row> = Vec::new();
        for record in reader.records() {
            let record = match record {
                Ok(record) => record,
                Err(cause) => {
                    let line = cause.position().map_or(0, csv::Position::line);
                    error(line, "code_list.malformed", cause.to_string(), String::new());
                    continue;
                }
            };
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |name: &str| place(name).and_then(|at| record.get(at)).unwrap_or_default();
            let mut day = |column: &str| {
                compact_day(cell(column)).unwrap_or_else(|| {
                    let message = format!("`{column}` is no date");
                    error(line, "code_list.date", message, "write YYYY-MM-DD or nothing".into());
                    String::new()
                })
            };
            let (valid_from, valid_to) = (day("valid_from"), day("valid_to"));
            let code = cell("code").to_owned();
            let source = cell("source");
            let row = Row {
                key: if source.is_empty() { code.clone() } else { source.to_owned() },
                code,
                label: cell("label").to_owned(),
                valid_from,
                valid_to,
                origin: cell("origin").to_owned(),
                line: u32::try_from(line).unwrap_or(u32::MAX),
            };
            if row.code.is_empty() {
                error(line, "code_list.empty_code", "a row without a code".into(), String::new());
            }
            if !row.valid_to.is_empty() && row.valid_to < row.valid_from {
                let message = "the row ends before it begins".into();
                error(line, "code_list.date", message, String::new());
            }
            let overlapping =
                rows.iter().find(|other| other.key == row.key && overlap(other, &row));
            if let Some(other) = overlapping {
                let message = format!("`{}` is already defined on line {}", row.key, other.line);
                let hint = "end the earlier row with valid_to, or remove one".into();
                error(line, "code_list.duplicate", message, hint);
            }
            rows.push(row);
        }
        if rows.is_empty() && errors.is_empty() {
            errors.push(FileError {
                file: file.to_owned(),
                line: 0,
                column: 0,
                rule: "code_list.empty",
                message: "the list has no rows".into(),
                hint: String::new(),
            });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        rows.sort_by(|a, b| (&a.key, &a.valid_from).cmp(&(&b.key, &b.valid_from)));
        Ok(Self { name: name.to_owned(), rows })
    }
}

fn overlap(a: &Row, b: &Row) -> bool {
    let starts_before_end = |x: &Row, y: &Row| y.valid_to.is_empty() || x.valid_from <= y.valid_to;
    starts_before_end(a, b) && starts_before_end(b, a)
}

/// `2026-01-25` → `20260125`; empty stays empty; anything else is none.
pub(super) fn compact_day(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    let date = text.parse::<jiff::civil::Date>().ok()?;
    (date.to_string() == text).then(|| text.replace('-', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CodeList, Vec<&'static str>> {
        CodeList::parse("list", "list.csv", text)
            .map_err(|errors| errors.into_iter().map(|error| error.rule).collect())
    }

    #[test]
    fn a_source_word_leads_to_the_code_and_a_code_to_itself() {
        let list = parse(
            "code,label,valid_from,valid_to,origin,source\n4,Đang xử lý,,,x,THU_LY\n2,b,,,x,\n",
        );
        let list = list.unwrap();
        assert_eq!(list.find("THU_LY")[0].code, "4");
        assert_eq!(list.find("2")[0].code, "2");
        assert!(list.find("4").is_empty() && list.find("").is_empty());
    }

    #[test]
    fn a_code_may_be_redefined_after_its_end_but_not_before() {
        let text = "code,label,valid_from,valid_to,origin\n1,a,,2025-06-30,x\n1,b,2025-07-01,,x\n";
        let list = parse(text).unwrap();
        let on = |day: &str| {
            let row = list.find("1").iter().find(|row| row.is_valid_on(day));
            row.map(|row| row.label.clone())
        };
        assert_eq!(on("20250630").as_deref(), Some("a"));
        assert_eq!(on("20250701").as_deref(), Some("b"));
        let overlapping = text.replace("2025-07-01", "2025-06-30");
        assert_eq!(parse(&overlapping).unwrap_err(), ["code_list.duplicate"]);
    }

    #[test]
    fn all_mistakes_of_a_list_are_found_at_once() {
        let text = "code,lable,valid_from,valid_to,origin\n,a,2025-1-1,,x\n2,b,,,x\n2,c,,,x\n3,d,2026-01-02,2026-01-01,x\n";
        assert_eq!(
            parse(text).unwrap_err(),
            [
                "code_list.unknown_column",
                "code_list.missing_column",
                "code_list.date",
                "code_list.empty_code",
                "code_list.duplicate",
                "code_list.date"
            ]
        );
        assert_eq!(
            parse("code,label,valid_from,valid_to,origin\n").unwrap_err(),
            ["code_list.empty"]
        );
    }
}
