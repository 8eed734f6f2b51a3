//! The report for paper: one file without anything from elsewhere, in Vietnamese.

use std::fmt::Write as _;

use super::super::words;
use super::csv::{HEADINGS, cells, day};
use super::{Entry, Facts};
use crate::domain::cause::Cause;
use crate::ledger::reconcile::{BookRow, RowKind, explained_percent};

const STYLE: &str = "
body { font: 14px/1.4 'Segoe UI', 'Noto Sans', Arial, sans-serif; margin: 2rem; color: #222; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border: 1px solid #bbb; padding: .25rem .5rem; vertical-align: top; text-align: left; }
th { background: #eef2f7; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.bad td { background: #fde8e8; }
tr.sum td { font-weight: bold; background: #f6f6f6; }
td.code { white-space: nowrap; }
.note { color: #555; }
.warn { color: #a30000; font-weight: bold; }
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  body { margin: 0; font-size: 10px; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  th, tr.sum td { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
";

pub(super) fn head(facts: &Facts) -> String {
    let books = &facts.books;
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _infallible = write!(
        text,
        "<!doctype html>\n<html lang=\"vi\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>Đối soát hồ sơ – {source} – lượt {run}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>Báo cáo đối soát hồ sơ với Cổng Dịch vụ công quốc gia</h1>\n\
         <p class=\"note\">Nguồn: {source} · Lượt đối soát: {run} · Hồ sơ tiếp nhận từ {from} đến {to}<br>\n\
         Bắt đầu {began} · Kết thúc {ended} · Lập báo cáo {made}{masked}</p>\n",
        source = escape(&facts.run.order.source),
        run = facts.run.id,
        from = day(&books.from_day),
        to = day(&books.to_day),
        began = books.started_at,
        ended = books.ended_at,
        made = facts.made_at,
        masked = if facts.unmasked {
            " · Có hiển thị họ tên"
        } else {
            " · Thông tin cá nhân đã che"
        },
    );
    let verdict = match (books.closed, books.without_index) {
        (true, _) => "<p>Sổ đối soát: <b>khớp</b>.</p>\n",
        (false, true) => {
            "<p>Nguồn không có danh mục hồ sơ, nên sổ chỉ gồm những gì nguồn đã cấp.</p>\n"
        }
        (false, false) => "<p class=\"warn\">Sổ đối soát KHÔNG KHỚP.</p>\n",
    };
    text.push_str(verdict);
    for line in conclusions(facts) {
        let _infallible = writeln!(text, "<p>{}</p>", escape(&line));
    }
    if !books.causes.is_empty() {
        text.push_str("<h2>Nguyên nhân</h2>\n<table>\n<thead><tr><th>Nguyên nhân</th><th>Số hồ sơ</th></tr></thead>\n<tbody>\n");
        for (name, number) in &books.causes {
            let cause = Cause::parse(name).map_or(name.as_str(), |cause| words::cause(cause).vi);
            let _infallible =
                writeln!(text, "<tr><td>{}</td><td class=\"n\">{number}</td></tr>", escape(cause));
        }
        text.push_str("</tbody>\n</table>\n");
    }
    for (kind, rows, sum) in &facts.rows {
        table(&mut text, *kind, rows, sum);
    }
    text.push_str("<h2>Hồ sơ cần chú ý</h2>\n<table>\n<thead><tr>");
    for heading in HEADINGS {
        let _infallible = write!(text, "<th>{heading}</th>");
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    text
}

/// What the books and the sample prove, in sentences.
pub(super) fn conclusions(facts: &Facts) -> Vec<String> {
    let books = &facts.books;
    let mut lines = Vec::new();
    if let Some(share) = explained_percent(books.unmatched(), books.explained) {
        lines.push(format!(
            "{} hồ sơ không khớp; {share} % trong số đó có nguyên nhân cụ thể.",
            books.unmatched()
        ));
    }
    if let Some(sample) = &books.sample {
        lines.push(if sample.asked == sample.population {
            format!("Đã tra cứu toàn bộ {} hồ sơ trên Cổng: {} hồ sơ sai khác.", sample.population, sample.differing)
        } else {
            format!(
                "Đã tra cứu ngẫu nhiên {} trong {} hồ sơ, {} hồ sơ sai khác: với độ tin cậy 95 %, có ít hơn {} hồ sơ sai khác.",
                sample.asked, sample.population, sample.differing, sample.fewer_than
            )
        });
        if books.compared == 0 {
            lines.push("Cổng chỉ cho biết hồ sơ có tồn tại, không cho xem nội dung.".to_owned());
        }
    }
    if books.extra > 0 {
        lines.push(format!(
            "{} hồ sơ có trên Cổng nhưng không còn trong danh mục của nguồn.",
            books.extra
        ));
    }
    lines
}

fn table(text: &mut String, kind: RowKind, rows: &[BookRow], sum: &BookRow) {
    let name = words::kind(kind).vi;
    let _infallible = write!(text, "<h2>Theo {}</h2>\n<table>\n<thead><tr>", name.to_lowercase());
    for heading in headings(kind) {
        let _infallible = write!(text, "<th>{heading}</th>");
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        let shown = if kind == RowKind::Day { day(&row.name) } else { row.name.clone() };
        let class = if row.is_closed() { "" } else { " class=\"bad\"" };
        line(text, class, &shown, row);
    }
    line(text, " class=\"sum\"", words::SUM.vi, sum);
    text.push_str("</tbody>\n</table>\n");
}

/// Column headings of the books in Vietnamese.
pub(super) fn headings(kind: RowKind) -> [&'static str; 12] {
    use crate::domain::discrepancy::Bucket as B;
    [
        words::kind(kind).vi,
        words::AT_SOURCE.vi,
        words::bucket(B::Matched).vi,
        words::bucket(B::Different).vi,
        words::bucket(B::Missing).vi,
        words::bucket(B::Unverifiable).vi,
        words::bucket(B::Quarantined).vi,
        words::bucket(B::Dead).vi,
        words::bucket(B::Open).vi,
        words::bucket(B::NotOurs).vi,
        words::EXPLAINED.vi,
        words::CLOSES.vi,
    ]
}

/// The numbers of a row, in the order of the headings.
pub(super) const fn numbers(row: &BookRow) -> [u64; 9] {
    [
        row.at_source,
        row.matched,
        row.different,
        row.missing,
        row.unverifiable,
        row.quarantined,
        row.dead,
        row.open,
        row.not_ours,
    ]
}

fn line(text: &mut String, class: &str, name: &str, row: &BookRow) {
    let _infallible = write!(text, "<tr{class}><td class=\"code\">{}</td>", escape(name));
    for number in numbers(row) {
        let _infallible = write!(text, "<td class=\"n\">{number}</td>");
    }
    let share =
        row.explained_percent().map_or_else(|| "–".to_owned(), |share| format!("{share} %"));
    let closes = if row.is_closed() { "Có" } else { "KHÔNG" };
    let _infallible = writeln!(text, "<td class=\"n\">{share}</td><td>{closes}</td></tr>");
}

pub(super) fn entry(entry: &Entry) -> String {
    let mut text = String::from("<tr>");
    for (at, cell) in cells(entry).iter().enumerate() {
        let class = if at < 4 { " class=\"code\"" } else { "" };
        let _infallible = write!(text, "<td{class}>{}</td>", escape(cell));
    }
    text.push_str("</tr>\n");
    text
}

pub(super) fn tail(facts: &Facts) -> String {
    let remark = &facts.books.remark;
    let mut text = String::from("</tbody>\n</table>\n");
    if !remark.is_empty() {
        let _infallible = writeln!(text, "<p class=\"note\">{}</p>", escape(remark));
    }
    text.push_str("</body>\n</html>\n");
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
