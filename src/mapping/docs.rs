//! A mapping as a table that people review who do not write programs.
//!
//! One row a field of the contract: where it comes from, what is done to it, what is refused, and by
//! which law, contract or decision. The words are Vietnamese with English below, because those who
//! sign are the province's officers and those who change the table may not be.

use std::fmt::Write as _;

use serde::Serialize;

use super::Mapping;
use super::plan::{Absent, Converter, Field, Pattern, Record, Slot};

/// The form in which the table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocsFormat {
    /// One page that needs nothing else and prints well.
    Html,
    Markdown,
}

/// A text in two languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Words {
    pub vi: &'static str,
    pub en: &'static str,
}

const fn words(vi: &'static str, en: &'static str) -> Words {
    Words { vi, en }
}

/// What a reviewer reads of a mapping.
#[derive(Debug, Clone, Serialize)]
pub struct Docs {
    pub version: String,
    pub hash: String,
    pub records: Vec<RecordDocs>,
    /// Contract fields that the source does not have, and why.
    pub unmapped: Vec<(String, String)>,
    pub checks: Vec<&'static str>,
    pub code_lists: Vec<CodeListDocs>,
    pub procedures: Vec<[String; 4]>,
}

#[derive(Debug, Clone, Serialize)]
pub struct RecordDocs {
    /// The portal's name of the list; empty for the dossier itself.
    pub target: String,
    pub source: String,
    pub origin: String,
    pub rows: Vec<RowDocs>,
}

#[derive(Debug, Clone, Serialize)]
pub struct RowDocs {
    pub target: String,
    pub source: String,
    pub converter: &'static str,
    pub meaning: Words,
    pub code_list: Option<String>,
    pub required: bool,
    pub limits: Vec<(Words, String)>,
    pub origin: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct CodeListDocs {
    pub name: String,
    /// What the source writes, the portal's code, its label, since, until, by what.
    pub rows: Vec<[String; 6]>,
}

impl Converter {
    const fn meaning(self) -> Words {
        match self {
            Self::Text => words("nguyên văn", "text as it is"),
            Self::Line => words("văn bản trên một dòng", "text on one line"),
            Self::Time => words(
                "ngày giờ, 14 chữ số, giờ Việt Nam",
                "date and time, 14 digits of Vietnam time",
            ),
            Self::WholeNumber => words("số nguyên", "whole number"),
            Self::Amount => words("số tiền (đồng)", "amount in VND"),
            Self::Flag => words("có hoặc không: 1 hoặc 0", "yes or no: 1 or 0"),
            Self::FlagWord => words("có hoặc không: True hoặc False", "yes or no: True or False"),
            Self::Truth => words("đúng hoặc sai", "true or false"),
            Self::Link => words("đường dẫn http(s)", "http(s) link"),
            Self::Phone => words(
                "số điện thoại; nếu nghi ngờ thì cảnh báo",
                "telephone number; a doubtful one with a warning",
            ),
            Self::Email => words(
                "thư điện tử; nếu nghi ngờ thì cảnh báo",
                "e-mail address; a doubtful one with a warning",
            ),
            Self::Code => words("đổi theo bảng mã", "by code list"),
            Self::Status => words("trạng thái theo bảng mã", "status by code list"),
        }
    }
}

impl Pattern {
    const fn meaning(self) -> Words {
        match self {
            Self::Dossier => words("dạng mã hồ sơ", "form of a dossier code"),
            Self::Procedure => words("dạng mã thủ tục", "form of a procedure code"),
            Self::Result => words("dạng mã kết quả", "form of a result code"),
            Self::Agency => words("dạng mã cơ quan", "form of an agency code"),
        }
    }
}

impl Mapping {
    /// The table for reviewers.
    pub fn docs(&self) -> Docs {
        let plan = &self.plan;
        let record = |record: &Record| RecordDocs {
            target: match record.slot {
                Slot::Dossier => String::new(),
                Slot::Steps => "DanhSachTienDoXuLy".to_owned(),
                Slot::List(_) if record.parent == super::plan::DOSSIER => record.target.to_owned(),
                Slot::List(_) => {
                    format!("{}.{}", plan.records[record.parent].target, record.target)
                }
            },
            source: match record.absent {
                _ if record.source.is_empty() => plan.root().to_owned(),
                Absent::Refuse | Absent::Empty => record.source.clone(),
            },
            origin: record.rule.clone(),
            rows: plan.fields[record.fields.clone()].iter().map(|field| self.row(field)).collect(),
        };
        let mut code_lists: Vec<CodeListDocs> = plan
            .code_lists
            .iter()
            .map(|list| CodeListDocs {
                name: list.name.clone(),
                rows: list
                    .rows()
                    .iter()
                    .map(|row| {
                        [
                            row.key.clone(),
                            row.code.clone(),
                            row.label.clone(),
                            row.valid_from.clone(),
                            row.valid_to.clone(),
                            row.origin.clone(),
                        ]
                    })
                    .collect(),
            })
            .collect();
        code_lists.sort_by(|a, b| a.name.cmp(&b.name));
        Docs {
            version: self.version().to_owned(),
            hash: self.files().hash(),
            records: plan.records.iter().map(record).collect(),
            unmapped: plan
                .unmapped
                .iter()
                .map(|field| (field.target.clone(), field.reason.clone()))
                .collect(),
            checks: plan
                .checks
                .iter()
                .map(|check| super::plan::Check::WORDS[*check as usize])
                .collect(),
            code_lists,
            procedures: self.procedures.reviewed(),
        }
    }

    fn row(&self, field: &Field) -> RowDocs {
        let mut limits = Vec::new();
        if let Some(max) = field.length_max {
            let what = if field.shorten {
                words("dài hơn thì cắt, có cảnh báo", "longer is cut, with a warning")
            } else {
                words("dài hơn thì từ chối", "longer is refused")
            };
            limits.push((what, max.to_string()));
        }
        if let Some(pattern) = field.pattern {
            limits.push((pattern.meaning(), String::new()));
        }
        RowDocs {
            target: field.target.to_owned(),
            source: field.source.clone(),
            converter: field.converter.word(),
            meaning: field.converter.meaning(),
            code_list: field.codes.map(|list| self.plan.code_lists[list].name.clone()),
            required: field.required,
            limits,
            origin: field.rule.clone(),
        }
    }
}

const TITLE: Words = words("Bảng ánh xạ hồ sơ", "Mapping of dossiers");
const DOSSIER_HEADING: Words = words("Hồ sơ", "The dossier");
const UNMAPPED_HEADING: Words = words("Trường không có nguồn", "Fields without a source");
const CHECKS_HEADING: Words = words("Kiểm tra giữa các trường", "Checks over several fields");
const LIST_HEADING: Words = words("Bảng mã", "Code list");
const PROCEDURES_HEADING: Words =
    words("Thủ tục của tỉnh và của quốc gia", "Procedures of the province and national ones");
const COLUMNS: [Words; 7] = [
    words("Trường của Cổng", "Portal's field"),
    words("Nguồn", "Source"),
    words("Quy tắc", "Rule"),
    words("Bảng mã", "Code list"),
    words("Bắt buộc", "Required"),
    words("Giới hạn", "Limits"),
    words("Căn cứ", "Origin"),
];
const LIST_COLUMNS: [Words; 6] = [
    words("Nguồn ghi", "Source writes"),
    words("Mã gửi đi", "Code sent"),
    words("Tên", "Label"),
    words("Từ ngày", "From"),
    words("Đến ngày", "To"),
    words("Căn cứ", "Origin"),
];
const PROCEDURE_COLUMNS: [Words; 4] = [
    words("Mã của tỉnh", "Province's code"),
    words("Mã quốc gia", "National code"),
    words("Người duyệt", "Reviewed by"),
    words("Ngày duyệt", "Reviewed at"),
];
const PAIR: [Words; 2] = [words("Trường", "Field"), words("Lý do", "Reason")];

impl Docs {
    /// The table as a page.
    pub fn page(&self, format: DocsFormat) -> String {
        let mut page = Page { html: format == DocsFormat::Html, text: String::new() };
        page.begin(&self.version, &self.hash);
        for record in &self.records {
            let heading = match record.target.as_str() {
                "" => page.both(DOSSIER_HEADING),
                target => page.escaped(target),
            };
            page.heading(&heading, &format!("{} — {}", record.source, record.origin));
            let rows = record.rows.iter().map(|row| row_cells(&page, row)).collect();
            page.table(&COLUMNS, rows);
        }
        let pairs = |page: &Page, pairs: &[(String, String)]| {
            pairs.iter().map(|(a, b)| vec![page.escaped(a), page.escaped(b)]).collect::<Vec<_>>()
        };
        if !self.unmapped.is_empty() {
            let heading = page.both(UNMAPPED_HEADING);
            page.heading(&heading, "");
            let rows = pairs(&page, &self.unmapped);
            page.table(&PAIR, rows);
        }
        if !self.checks.is_empty() {
            let heading = page.both(CHECKS_HEADING);
            page.heading(&heading, &self.checks.join(", "));
        }
        for list in &self.code_lists {
            let heading = format!("{}: {}", page.both(LIST_HEADING), page.escaped(&list.name));
            page.heading(&heading, "");
            let cells = |row: &[String; 6]| row.iter().map(|cell| page.escaped(cell)).collect();
            let rows = list.rows.iter().map(cells).collect();
            page.table(&LIST_COLUMNS, rows);
        }
        if !self.procedures.is_empty() {
            let heading = page.both(PROCEDURES_HEADING);
            page.heading(&heading, "");
            let cells = |row: &[String; 4]| row.iter().map(|cell| page.escaped(cell)).collect();
            let rows = self.procedures.iter().map(cells).collect();
            page.table(&PROCEDURE_COLUMNS, rows);
        }
        page.end()
    }
}

fn row_cells(page: &Page, row: &RowDocs) -> Vec<String> {
    let required = if row.required { page.both(words("có", "yes")) } else { String::new() };
    let limits: Vec<String> = row
        .limits
        .iter()
        .map(|(what, number)| {
            format!("{}{}{}", number, if number.is_empty() { "" } else { ": " }, page.both(*what))
        })
        .collect();
    vec![
        page.escaped(&row.target),
        page.escaped(&row.source),
        page.both(row.meaning),
        page.escaped(row.code_list.as_deref().unwrap_or_default()),
        required,
        limits.join(page.line_break()),
        page.escaped(&row.origin),
    ]
}

/// A page that grows.
struct Page {
    html: bool,
    text: String,
}

const STYLE: &str = "\
body{font:14px/1.4 'Be Vietnam Pro','Segoe UI',system-ui,sans-serif;margin:2rem;color:#111}\
table{border-collapse:collapse;width:100%;margin:0 0 1.5rem;page-break-inside:auto}\
th,td{border:1px solid #999;padding:.25rem .4rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
thead{display:table-header-group;background:#eee}tr{page-break-inside:avoid}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin:1.5rem 0 .4rem;page-break-after:avoid}\
small{color:#555;font-weight:normal;display:block}p{margin:.2rem 0 .6rem;color:#333}\
@page{size:A4 landscape;margin:12mm}@media print{body{margin:0;font-size:10px}}";

impl Page {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn line_break(&self) -> &'static str {
        if self.html { "<br>" } else { "; " }
    }

    fn both(&self, words: Words) -> String {
        if self.html {
            format!("{}<small>{}</small>", escape_html(words.vi), escape_html(words.en))
        } else {
            format!("{} / {}", words.vi, words.en)
        }
    }

    fn escaped(&self, text: &str) -> String {
        if self.html {
            escape_html(text)
        } else {
            // What would end a cell, begin a tag or a link.
            let mut out = String::with_capacity(text.len());
            for letter in text.chars() {
                match letter {
                    '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '<' => {
                        out.push('\\');
                        out.push(letter);
                    }
                    '\n' | '\r' => out.push(' '),
                    letter => out.push(letter),
                }
            }
            out
        }
    }

    fn begin(&mut self, version: &str, hash: &str) {
        let title = self.both(TITLE);
        if self.html {
            let head = format!(
                "<!doctype html>\n<html lang=\"vi\"><head><meta charset=\"utf-8\"><title>{} {version}</title>\
                 <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p>Phiên bản / version {version}<br>BLAKE3 {hash}</p>\n",
                escape_html(TITLE.vi)
            );
            self.put(&head);
        } else {
            self.put(&format!("# {title}\n\nPhiên bản / version {version}\nBLAKE3 {hash}\n"));
        }
    }

    /// `heading` is escaped, `below` is not.
    fn heading(&mut self, heading: &str, below: &str) {
        let below = self.escaped(below);
        // Writing to a String cannot fail, here and below.
        let _infallible = if self.html {
            write!(self.text, "<h2>{heading}</h2>\n<p>{below}</p>\n")
        } else {
            write!(self.text, "\n## {heading}\n\n{below}\n")
        };
    }

    /// Cells are escaped.
    fn table(&mut self, columns: &[Words], rows: Vec<Vec<String>>) {
        let header: Vec<String> = columns.iter().map(|column| self.both(*column)).collect();
        if self.html {
            self.put("<table><thead><tr>");
            for cell in header {
                let _infallible = write!(self.text, "<th>{cell}</th>");
            }
            self.put("</tr></thead><tbody>\n");
            for row in rows {
                self.put("<tr>");
                for cell in row {
                    let _infallible = write!(self.text, "<td>{cell}</td>");
                }
                self.put("</tr>\n");
            }
            self.put("</tbody></table>\n");
        } else {
            let _infallible = write!(self.text, "\n| {} |\n|", header.join(" | "));
            self.put(&" --- |".repeat(columns.len()));
            self.put("\n");
            for row in rows {
                let _infallible = writeln!(self.text, "| {} |", row.join(" | "));
            }
        }
    }

    fn end(mut self) -> String {
        if self.html {
            self.put("</body></html>\n");
        }
        self.text
    }
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Settings;

    fn builtin() -> Mapping {
        let settings = Settings { province_codes: vec!["H55".into()], ..Settings::default() };
        Mapping::builtin(&settings).unwrap()
    }

    #[test]
    fn every_field_and_every_code_list_stands_in_both_forms_with_its_origin() {
        let mapping = builtin();
        let docs = mapping.docs();
        let (html, markdown) = (docs.page(DocsFormat::Html), docs.page(DocsFormat::Markdown));
        let fields: usize = docs.records.iter().map(|record| record.rows.len()).sum();
        assert_eq!(fields, mapping.plan.fields.len());
        for row in docs.records.iter().flat_map(|record| &record.rows) {
            assert!(!row.origin.is_empty(), "{} has no origin", row.target);
            assert!(html.contains(&format!("<td>{}</td>", row.target)), "{}", row.target);
            assert!(markdown.contains(&format!("| {} |", row.target)), "{}", row.target);
        }
        for list in &docs.code_lists {
            assert!(html.contains(&list.name));
            assert!(list.rows.iter().all(|row| !row[5].is_empty()), "{}", list.name);
        }
        assert!(
            html.contains("Căn cứ<small>Origin</small>") && markdown.contains("Căn cứ / Origin")
        );
        for outside in ["http-equiv", "src=", "href=", "@import", "<script"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn what_a_table_says_ends_no_cell_and_begins_no_tag() {
        let page = |html| Page { html, text: String::new() };
        assert_eq!(page(true).escaped("a<b>&\"c\""), "a&lt;b&gt;&amp;&quot;c&quot;");
        assert_eq!(page(false).escaped("a|b\nc_d<x"), "a\\|b c\\_d\\<x");
    }

    #[test]
    fn a_mapping_read_from_its_own_texts_is_the_same_mapping() {
        let mapping = builtin();
        let settings = Settings { province_codes: vec!["H55".into()], ..Settings::default() };
        let again = Mapping::from_files(mapping.files(), &settings).unwrap();
        assert_eq!(again.version(), mapping.version());
        assert_eq!(again.files(), mapping.files());
        let mut other = mapping.files().clone();
        other.mapping.push_str("\n# a remark\n");
        assert_ne!(other.hash(), mapping.files().hash());
    }
}
