//! The report for spreadsheets: Vietnamese headings, frozen, with real dates and numbers.

use std::io::{self, Write};

use super::super::super::failure::Failure;
use super::super::words;
use super::csv::{HEADINGS, cells};
use super::html::{conclusions, headings, numbers};
use super::workbook::{Cell, ROWS_MAX, Workbook};
use super::{Entries, Facts};
use crate::domain::cause::Cause;
use crate::ledger::reconcile::{BookRow, RowKind};

const WIDTHS: [u32; 8] = [26, 14, 16, 18, 18, 18, 30, 60];

pub(super) async fn write<W: Write>(
    facts: &Facts,
    entries: &mut Entries<'_>,
    out: W,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<W, Failure> {
    let mut book = summary(Workbook::new(out), facts).map_err(&failed)?;
    for (kind, rows, sum) in &facts.rows {
        book = by_row(book, *kind, rows, sum).map_err(&failed)?;
    }
    let columns: Vec<(&str, u32)> = HEADINGS.into_iter().zip(WIDTHS).collect();
    let mut part = 1;
    let mut page = entries.next().await?;
    loop {
        let name = if part == 1 { "Hồ sơ".to_owned() } else { format!("Hồ sơ {part}") };
        let mut sheet = book.sheet(&name, &columns).map_err(&failed)?;
        while !page.is_empty() && sheet.rows() < ROWS_MAX {
            for entry in page {
                let mut row = cells(&entry).map(Cell::Text);
                row[1] = Cell::day(&entry.line.day);
                sheet.row(&row).map_err(&failed)?;
            }
            page = entries.next().await?;
        }
        book = sheet.end().map_err(&failed)?;
        if page.is_empty() {
            break;
        }
        part += 1;
    }
    book.finish().map_err(&failed)
}

fn summary<W: Write>(book: Workbook<W>, facts: &Facts) -> io::Result<Workbook<W>> {
    let books = &facts.books;
    let mut sheet = book.sheet("Tổng hợp", &[("Nội dung", 60), ("Giá trị", 26)])?;
    let mut line = |name: &str, value: Cell| sheet.row(&[Cell::text(name), value]);
    line("Nguồn", Cell::text(&facts.run.order.source))?;
    line("Lượt đối soát", Cell::Number(u64::try_from(facts.run.id).unwrap_or(0)))?;
    line("Bắt đầu", Cell::time(&books.started_at.to_portal()))?;
    line("Kết thúc", Cell::time(&books.ended_at.to_portal()))?;
    line("Lập báo cáo", Cell::time(&facts.made_at.to_portal()))?;
    line("Tiếp nhận từ ngày", Cell::day(&books.from_day))?;
    line("Đến ngày", Cell::day(&books.to_day))?;
    let verdict = match (books.closed, books.without_index) {
        (true, _) => "Có",
        (false, true) => "Nguồn không có danh mục",
        (false, false) => "KHÔNG",
    };
    line(words::CLOSES.vi, Cell::text(verdict))?;
    let masked = if facts.unmasked { "Không" } else { "Có" };
    line("Thông tin cá nhân đã che", Cell::text(masked))?;
    for (name, value) in headings(RowKind::Day)[1..10].iter().zip(numbers(&books.row())) {
        line(name, Cell::Number(value))?;
    }
    line("Thừa trên Cổng", Cell::Number(books.extra))?;
    line("Đã tra cứu trên Cổng", Cell::Number(books.read_back))?;
    for (name, value) in &books.causes {
        let cause = Cause::parse(name).map_or(name.as_str(), |cause| words::cause(cause).vi);
        line(&format!("Nguyên nhân: {cause}"), Cell::Number(*value))?;
    }
    for conclusion in conclusions(facts) {
        sheet.row(&[Cell::text(conclusion)])?;
    }
    sheet.end()
}

fn by_row<W: Write>(
    book: Workbook<W>,
    kind: RowKind,
    rows: &[BookRow],
    sum: &BookRow,
) -> io::Result<Workbook<W>> {
    let name = match kind {
        RowKind::Day => "Theo ngày",
        RowKind::Agency => "Theo cơ quan",
        RowKind::Procedure => "Theo thủ tục",
    };
    let columns: Vec<(&str, u32)> = headings(kind)
        .into_iter()
        .enumerate()
        .map(|(at, name)| (name, if at == 0 { 24 } else { 13 }))
        .collect();
    let mut sheet = book.sheet(name, &columns)?;
    for row in rows {
        let name = if kind == RowKind::Day { Cell::day(&row.name) } else { Cell::text(&row.name) };
        sheet.row(&line(name, row))?;
    }
    sheet.row(&line(Cell::Bold(words::SUM.vi.to_owned()), sum))?;
    sheet.end()
}

fn line(name: Cell, row: &BookRow) -> Vec<Cell> {
    let mut cells = vec![name];
    cells.extend(numbers(row).map(Cell::Number));
    cells.push(Cell::text(
        row.explained_percent().map_or_else(|| "–".to_owned(), |share| format!("{share} %")),
    ));
    cells.push(Cell::text(if row.is_closed() { "Có" } else { "KHÔNG" }));
    cells
}
