//! The dossiers of a report, one a line, as spreadsheets read them.

use super::super::words;
use super::{Entry, differences};

/// Excel takes a file for UTF-8 only when it begins so.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) const HEADINGS: [&str; 8] = [
    "Mã hồ sơ",
    "Ngày tiếp nhận",
    "Cơ quan",
    "Thủ tục",
    "Chủ hồ sơ",
    "Tình trạng",
    "Nguyên nhân",
    "Chi tiết",
];

pub(super) fn head() -> Vec<u8> {
    let mut bytes = BYTE_ORDER_MARK.to_vec();
    bytes.extend(line(&HEADINGS));
    bytes
}

pub(super) fn entry(entry: &Entry) -> Vec<u8> {
    let cells = cells(entry);
    line(&cells.each_ref().map(String::as_str))
}

pub(super) fn cells(entry: &Entry) -> [String; 8] {
    let of = &entry.line;
    [
        of.ma_ho_so.clone(),
        day(&of.day),
        of.agency.clone(),
        of.procedure.clone(),
        entry.owner.clone(),
        words::bucket(of.bucket).vi.to_owned(),
        of.cause.map_or("Chưa rõ nguyên nhân", |cause| words::cause(cause).vi).to_owned(),
        differences(of),
    ]
}

/// `20260126` as people in Vietnam write it.
pub(super) fn day(day: &str) -> String {
    match (day.get(..4), day.get(4..6), day.get(6..8)) {
        (Some(year), Some(month), Some(date)) => format!("{date}/{month}/{year}"),
        _ => day.to_owned(),
    }
}

fn line(cells: &[&str]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let safe: Vec<String> = cells.iter().map(|cell| harmless(cell)).collect();
    // Writing to memory cannot fail.
    let _infallible = writer.write_record(&safe);
    writer.into_inner().unwrap_or_default()
}

/// A cell that begins like a formula is one to a spreadsheet.
fn harmless(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}
