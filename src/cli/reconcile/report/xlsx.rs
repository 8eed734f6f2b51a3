//! The report for spreadsheets: Vietnamese headings, frozen, with real dates and numbers.

use std::path::Path;

use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, Worksheet, XlsxError};

use super::super::super::failure::Failure;
use super::super::words;
use super::csv::{HEADINGS, cells};
use super::html::{conclusions, headings, numbers};
use super::{Beside, Entries, Facts, unwritable};
use crate::domain::cause::Cause;
use crate::domain::time::Timestamp;
use crate::ledger::reconcile::{BookRow, RowKind};

/// A sheet holds 1,048,576 rows.
const ROWS_MAX: u32 = 1_000_000;

struct Formats {
    head: Format,
    day: Format,
    time: Format,
    number: Format,
    bold: Format,
}

pub(super) async fn write(
    facts: &Facts,
    entries: &mut Entries<'_>,
    beside: &Beside,
    path: &Path,
) -> Result<(), Failure> {
    let failed = |error: XlsxError| match error {
        XlsxError::IoError(error) => unwritable(path, &error),
        other => unwritable(path, &std::io::Error::other(other.to_string())),
    };
    let formats = Formats {
        head: Format::new().set_bold().set_background_color("#DDE6F0").set_text_wrap(),
        day: Format::new().set_num_format("dd/mm/yyyy"),
        time: Format::new().set_num_format("dd/mm/yyyy hh:mm:ss"),
        number: Format::new().set_num_format("#,##0"),
        bold: Format::new().set_bold(),
    };
    let mut book = Workbook::new();
    // Rows go to a file beside the report as they come, not into memory.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        book.set_tempdir(folder).map_err(failed)?;
    }
    summary(book.add_worksheet(), facts, &formats).map_err(failed)?;
    for (kind, rows, sum) in &facts.rows {
        by_row(book.add_worksheet(), *kind, rows, sum, &formats).map_err(failed)?;
    }
    let mut part = 1;
    let mut page = entries.next().await?;
    loop {
        let name = if part == 1 { "Hồ sơ".to_owned() } else { format!("Hồ sơ {part}") };
        let sheet = book.add_worksheet_with_constant_memory();
        begin(sheet, &name, &HEADINGS, &[26.0, 14.0, 16.0, 18.0, 18.0, 18.0, 30.0, 60.0], &formats)
            .map_err(failed)?;
        let mut at = 1;
        while !page.is_empty() && at < ROWS_MAX {
            for entry in page {
                let row = cells(&entry);
                for (column, cell) in (0_u16..).zip(&row) {
                    if column == 1
                        && let Some(day) = date(&entry.line.day)
                    {
                        sheet
                            .write_datetime_with_format(at, column, &day, &formats.day)
                            .map_err(failed)?;
                    } else {
                        sheet.write_string(at, column, cell).map_err(failed)?;
                    }
                }
                at += 1;
            }
            page = entries.next().await?;
        }
        if page.is_empty() {
            break;
        }
        part += 1;
    }
    book.save(&beside.path).map_err(failed)?;
    Ok(())
}

fn begin(
    sheet: &mut Worksheet,
    name: &str,
    headings: &[&str],
    widths: &[f64],
    formats: &Formats,
) -> Result<(), XlsxError> {
    sheet.set_name(name)?;
    for (column, width) in (0_u16..).zip(widths) {
        sheet.set_column_width(column, *width)?;
    }
    for (column, heading) in (0_u16..).zip(headings) {
        sheet.write_string_with_format(0, column, *heading, &formats.head)?;
    }
    sheet.set_freeze_panes(1, 0)?;
    Ok(())
}

fn summary(sheet: &mut Worksheet, facts: &Facts, formats: &Formats) -> Result<(), XlsxError> {
    begin(sheet, "Tổng hợp", &["Nội dung", "Giá trị"], &[46.0, 26.0], formats)?;
    let books = &facts.books;
    let mut row = 1;
    let text = |sheet: &mut Worksheet, row: &mut u32, name: &str, value: &str| {
        sheet.write_string(*row, 0, name)?;
        sheet.write_string(*row, 1, value)?;
        *row += 1;
        Ok::<_, XlsxError>(())
    };
    text(sheet, &mut row, "Nguồn", &facts.run.order.source)?;
    sheet.write_string(row, 0, "Lượt đối soát")?;
    sheet.write_number(row, 1, number(u64::try_from(facts.run.id).unwrap_or(0)))?;
    row += 1;
    for (name, at) in [
        ("Bắt đầu", books.started_at),
        ("Kết thúc", books.ended_at),
        ("Lập báo cáo", facts.made_at),
    ] {
        sheet.write_string(row, 0, name)?;
        if let Some(time) = instant(at) {
            sheet.write_datetime_with_format(row, 1, &time, &formats.time)?;
        }
        row += 1;
    }
    for (name, day) in [("Tiếp nhận từ ngày", &books.from_day), ("Đến ngày", &books.to_day)]
    {
        sheet.write_string(row, 0, name)?;
        if let Some(day) = date(day) {
            sheet.write_datetime_with_format(row, 1, &day, &formats.day)?;
        }
        row += 1;
    }
    let verdict = match (books.closed, books.without_index) {
        (true, _) => "Có",
        (false, true) => "Nguồn không có danh mục",
        (false, false) => "KHÔNG",
    };
    text(sheet, &mut row, words::CLOSES.vi, verdict)?;
    let masked = if facts.unmasked { "Không" } else { "Có" };
    text(sheet, &mut row, "Thông tin cá nhân đã che", masked)?;
    let sum = books.row();
    for (name, value) in headings(RowKind::Day)[1..10].iter().zip(numbers(&sum)) {
        sheet.write_string_with_format(row, 0, *name, &formats.bold)?;
        sheet.write_number_with_format(row, 1, number(value), &formats.number)?;
        row += 1;
    }
    for (name, value) in
        [("Thừa trên Cổng", books.extra), ("Đã tra cứu trên Cổng", books.read_back)]
    {
        sheet.write_string(row, 0, name)?;
        sheet.write_number_with_format(row, 1, number(value), &formats.number)?;
        row += 1;
    }
    row += 1;
    for (name, value) in &books.causes {
        let cause = Cause::parse(name).map_or(name.as_str(), |cause| words::cause(cause).vi);
        sheet.write_string(row, 0, format!("Nguyên nhân: {cause}"))?;
        sheet.write_number_with_format(row, 1, number(*value), &formats.number)?;
        row += 1;
    }
    row += 1;
    for line in conclusions(facts) {
        sheet.write_string(row, 0, line)?;
        row += 1;
    }
    Ok(())
}

fn by_row(
    sheet: &mut Worksheet,
    kind: RowKind,
    rows: &[BookRow],
    sum: &BookRow,
    formats: &Formats,
) -> Result<(), XlsxError> {
    let name = match kind {
        RowKind::Day => "Theo ngày",
        RowKind::Agency => "Theo cơ quan",
        RowKind::Procedure => "Theo thủ tục",
    };
    let mut widths = [13.0; 12];
    widths[0] = 24.0;
    begin(sheet, name, &headings(kind), &widths, formats)?;
    let total = BookRow { name: words::SUM.vi.to_owned(), ..sum.clone() };
    for (at, row) in (1_u32..).zip(rows.iter().chain([&total])) {
        match date(&row.name).filter(|_| kind == RowKind::Day) {
            Some(day) => sheet.write_datetime_with_format(at, 0, &day, &formats.day)?,
            None => sheet.write_string(at, 0, &row.name)?,
        };
        for (column, value) in (1_u16..).zip(numbers(row)) {
            sheet.write_number_with_format(at, column, number(value), &formats.number)?;
        }
        let share = row.explained_percent().map_or_else(|| "–".to_owned(), |n| format!("{n} %"));
        sheet.write_string(at, 10, share)?;
        sheet.write_string(at, 11, if row.is_closed() { "Có" } else { "KHÔNG" })?;
    }
    Ok(())
}

fn number(value: u64) -> f64 {
    value as f64
}

/// `yyyymmdd` as a spreadsheet's date.
fn date(day: &str) -> Option<ExcelDateTime> {
    let part = |from: usize, to: usize| day.get(from..to)?.parse::<u16>().ok();
    let (year, month, date) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let small = |number: u16| u8::try_from(number).ok();
    ExcelDateTime::from_ymd(year, small(month)?, small(date)?).ok()
}

fn instant(at: Timestamp) -> Option<ExcelDateTime> {
    let text = at.to_portal();
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u16>().ok();
    let small = |from: usize| u8::try_from(part(from, from + 2)?).ok();
    date(&text)?.and_hms(part(8, 10)?, small(10)?, f64::from(small(12)?)).ok()
}
