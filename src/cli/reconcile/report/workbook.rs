//! A spreadsheet file (XLSX, ECMA-376) that is written as it comes: rows are compressed on their way
//! to the file and never kept.
//!
//! Owns the little of the format that a report needs: sheets with a frozen heading, texts, whole
//! numbers, dates and times. Texts stand in their cells instead of a shared table, which would have to
//! be kept.

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Sheet rows that every reader takes; the format's limit is 1,048,576.
pub(super) const ROWS_MAX: u32 = 1_000_000;

/// How a cell looks; the number of its style in `STYLES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Plain = 0,
    Heading = 1,
    Day = 2,
    Time = 3,
    Number = 4,
    Bold = 5,
}

const STYLES: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">
<numFmts count="2"><numFmt numFmtId="164" formatCode="dd/mm/yyyy"/><numFmt numFmtId="165" formatCode="dd/mm/yyyy\ hh:mm:ss"/></numFmts>
<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/><name val="Calibri"/></font></fonts>
<fills count="3"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill><fill><patternFill patternType="solid"><fgColor rgb="FFDDE6F0"/><bgColor indexed="64"/></patternFill></fill></fills>
<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>
<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>
<cellXfs count="6">
<xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>
<xf numFmtId="0" fontId="1" fillId="2" borderId="0" xfId="0" applyFont="1" applyFill="1" applyAlignment="1"><alignment wrapText="1" vertical="top"/></xf>
<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>
<xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>
<xf numFmtId="3" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>
<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/>
</cellXfs>
</styleSheet>"#;

const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONS: &str = "http://schemas.openxmlformats.org/package/2006/relationships";
const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const TYPES: &str = "http://schemas.openxmlformats.org/package/2006/content-types";
const SPREADSHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";

/// What stands in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(String),
    Bold(String),
    Number(u64),
    /// Days since 1899-12-30, the spreadsheet's count.
    Day(i64),
    /// Seconds since then.
    Time(i64),
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A date of `yyyymmdd`; anything else as text.
    pub(super) fn day(day: &str) -> Self {
        seconds(&format!("{day}000000")).map_or_else(|| Self::text(day), |s| Self::Day(s / 86_400))
    }

    /// A time of `yyyymmddhhmmss`; anything else as text.
    pub(super) fn time(time: &str) -> Self {
        seconds(time).map_or_else(|| Self::text(time), Self::Time)
    }
}

/// Since 1899-12-30, of fourteen digits.
fn seconds(digits: &str) -> Option<i64> {
    // Both are Vietnam's time, so the difference is that of the calendar.
    let at = crate::domain::time::Timestamp::from_portal(digits)?;
    let zero = crate::domain::time::Timestamp::from_portal("18991230000000")?;
    Some((at.millis() - zero.millis()) / 1000)
}

/// A workbook on its way into a file.
pub(super) struct Workbook<W: Write> {
    zip: Zip<W>,
    names: Vec<String>,
}

impl<W: Write> Workbook<W> {
    pub(super) fn new(out: W) -> Self {
        Self { zip: Zip { out, at: 0, files: Vec::new() }, names: Vec::new() }
    }

    /// Begins a sheet with its headings, which stay in sight.
    pub(super) fn sheet(mut self, name: &str, columns: &[(&str, u32)]) -> io::Result<Sheet<W>> {
        self.names.push(name.to_owned());
        let mut file = self.zip.begin(&format!("xl/worksheets/sheet{}.xml", self.names.len()))?;
        write!(
            file,
            "{DECLARATION}<worksheet xmlns=\"{MAIN}\"><sheetViews><sheetView workbookViewId=\"0\">\
             <pane ySplit=\"1\" topLeftCell=\"A2\" activePane=\"bottomLeft\" state=\"frozen\"/>\
             </sheetView></sheetViews><cols>"
        )?;
        for (at, (_, width)) in columns.iter().enumerate() {
            let at = at + 1;
            write!(file, "<col min=\"{at}\" max=\"{at}\" width=\"{width}\" customWidth=\"1\"/>")?;
        }
        write!(file, "</cols><sheetData>")?;
        let mut sheet = Sheet { file, names: self.names, row: 0 };
        let headings: Vec<Cell> = columns.iter().map(|(name, _)| Cell::text(*name)).collect();
        sheet.write(&headings, Some(Look::Heading))?;
        Ok(sheet)
    }

    /// Writes what names the sheets, and gives the file back.
    pub(super) fn finish(self) -> io::Result<W> {
        let Self { zip, names } = self;
        let (mut sheets, mut links, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for (at, name) in names.iter().enumerate() {
            let (id, name) = (at + 1, escape(name));
            write!(sheets, "<sheet name=\"{name}\" sheetId=\"{id}\" r:id=\"rId{id}\"/>")?;
            write!(
                links,
                "<Relationship Id=\"rId{id}\" Type=\"{OFFICE}/worksheet\" Target=\"worksheets/sheet{id}.xml\"/>"
            )?;
            write!(
                parts,
                "<Override PartName=\"/xl/worksheets/sheet{id}.xml\" ContentType=\"{SPREADSHEET}.worksheet+xml\"/>"
            )?;
        }
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let (sheets, links, parts) = (text(&sheets), text(&links), text(&parts));
        let styles = names.len() + 1;
        let files = [
            (
                "xl/workbook.xml",
                format!(
                    "<workbook xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\"><sheets>{sheets}</sheets></workbook>"
                ),
            ),
            (
                "xl/_rels/workbook.xml.rels",
                format!(
                    "<Relationships xmlns=\"{RELATIONS}\">{links}<Relationship Id=\"rId{styles}\" \
                     Type=\"{OFFICE}/styles\" Target=\"styles.xml\"/></Relationships>"
                ),
            ),
            (
                "_rels/.rels",
                format!(
                    "<Relationships xmlns=\"{RELATIONS}\"><Relationship Id=\"rId1\" \
                     Type=\"{OFFICE}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
                ),
            ),
            (
                "[Content_Types].xml",
                format!(
                    "<Types xmlns=\"{TYPES}\"><Default Extension=\"rels\" \
                     ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
                     <Default Extension=\"xml\" ContentType=\"application/xml\"/>\
                     <Override PartName=\"/xl/workbook.xml\" ContentType=\"{SPREADSHEET}.sheet.main+xml\"/>\
                     <Override PartName=\"/xl/styles.xml\" ContentType=\"{SPREADSHEET}.styles+xml\"/>{parts}</Types>"
                ),
            ),
        ];
        let mut zip = zip;
        for (name, text) in files {
            let mut file = zip.begin(name)?;
            file.write_all(DECLARATION.as_bytes())?;
            file.write_all(text.as_bytes())?;
            zip = file.end()?;
        }
        let mut file = zip.begin("xl/styles.xml")?;
        file.write_all(STYLES.as_bytes())?;
        file.end()?.finish()
    }
}

/// A sheet on its way.
pub(super) struct Sheet<W: Write> {
    file: Packed<W>,
    names: Vec<String>,
    row: u32,
}

impl<W: Write> Sheet<W> {
    pub(super) fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        self.write(cells, None)
    }

    /// Rows so far, the headings included.
    pub(super) const fn rows(&self) -> u32 {
        self.row
    }

    pub(super) fn end(mut self) -> io::Result<Workbook<W>> {
        self.file.write_all(b"</sheetData></worksheet>")?;
        Ok(Workbook { zip: self.file.end()?, names: self.names })
    }

    fn write(&mut self, cells: &[Cell], look: Option<Look>) -> io::Result<()> {
        self.row += 1;
        let row = self.row;
        write!(self.file, "<row r=\"{row}\">")?;
        for (at, cell) in cells.iter().enumerate() {
            let place = format!("{}{row}", column(at));
            let text = |look: Look, text: &str| {
                let (style, text) = (look as u8, escape(text));
                format!(
                    "<c r=\"{place}\" s=\"{style}\" t=\"inlineStr\"><is><t xml:space=\"preserve\">{text}</t></is></c>"
                )
            };
            let number = |look: Look, value: String| {
                format!("<c r=\"{place}\" s=\"{}\"><v>{value}</v></c>", look as u8)
            };
            let xml = match cell {
                Cell::Text(words) => text(look.unwrap_or(Look::Plain), words),
                Cell::Bold(words) => text(Look::Bold, words),
                Cell::Number(value) => number(Look::Number, value.to_string()),
                Cell::Day(days) => number(Look::Day, days.to_string()),
                Cell::Time(seconds) => {
                    let day = *seconds as f64 / 86_400.0;
                    number(Look::Time, format!("{day:.8}"))
                }
            };
            self.file.write_all(xml.as_bytes())?;
        }
        self.file.write_all(b"</row>")
    }
}

/// `A`, `B`, … of a column from 0; a report has fewer than 26.
fn column(at: usize) -> char {
    char::from(b'A' + u8::try_from(at % 26).unwrap_or(0))
}

/// XML has no place for control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// An archive (ZIP) whose sizes follow behind the data, so that nothing must be written twice.
struct Zip<W: Write> {
    out: W,
    at: u64,
    files: Vec<Filed>,
}

struct Filed {
    name: String,
    at: u64,
    crc: u32,
    packed: u64,
    size: u64,
}

/// UTF-8 names, and sizes behind the data.
const FLAGS: u16 = 0x0808;
const DEFLATED: u16 = 8;
const VERSION: u16 = 20;
/// 1980-01-01: the earliest that the format knows.
const DATE: u16 = 0x21;

impl<W: Write> Zip<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn begin(mut self, name: &str) -> io::Result<Packed<W>> {
        let at = self.at;
        let mut head = Vec::new();
        head.extend(0x0403_4b50_u32.to_le_bytes());
        for field in [VERSION, FLAGS, DEFLATED, 0, DATE] {
            head.extend(field.to_le_bytes());
        }
        head.extend([0; 12]);
        head.extend(short(name.len())?.to_le_bytes());
        head.extend([0; 2]);
        head.extend(name.as_bytes());
        self.put(&head)?;
        let counted = Counted { out: self.out, count: 0 };
        let encoder = DeflateEncoder::new(counted, Compression::fast());
        let name = name.to_owned();
        Ok(Packed {
            encoder,
            crc: Crc::new(),
            size: 0,
            at,
            name,
            begun: self.at,
            files: self.files,
        })
    }

    fn finish(mut self) -> io::Result<W> {
        let begun = self.at;
        let mut list = Vec::new();
        for file in &self.files {
            list.extend(0x0201_4b50_u32.to_le_bytes());
            for field in [VERSION, VERSION, FLAGS, DEFLATED, 0, DATE] {
                list.extend(field.to_le_bytes());
            }
            list.extend(file.crc.to_le_bytes());
            list.extend(word(file.packed)?.to_le_bytes());
            list.extend(word(file.size)?.to_le_bytes());
            list.extend(short(file.name.len())?.to_le_bytes());
            list.extend([0; 12]);
            list.extend(word(file.at)?.to_le_bytes());
            list.extend(file.name.as_bytes());
        }
        let count = short(self.files.len())?;
        let length = word(list.len() as u64)?;
        list.extend(0x0605_4b50_u32.to_le_bytes());
        list.extend([0; 4]);
        list.extend(count.to_le_bytes());
        list.extend(count.to_le_bytes());
        list.extend(length.to_le_bytes());
        list.extend(word(begun)?.to_le_bytes());
        list.extend([0; 2]);
        self.put(&list)?;
        Ok(self.out)
    }
}

/// A file of the archive on its way.
struct Packed<W: Write> {
    encoder: DeflateEncoder<Counted<W>>,
    crc: Crc,
    size: u64,
    at: u64,
    begun: u64,
    name: String,
    files: Vec<Filed>,
}

impl<W: Write> Packed<W> {
    fn end(self) -> io::Result<Zip<W>> {
        let Counted { out, count } = self.encoder.finish()?;
        let (crc, size) = (self.crc.sum(), self.size);
        let mut zip = Zip { out, at: self.begun + count, files: self.files };
        let mut tail = Vec::new();
        tail.extend(0x0807_4b50_u32.to_le_bytes());
        tail.extend(crc.to_le_bytes());
        tail.extend(word(count)?.to_le_bytes());
        tail.extend(word(size)?.to_le_bytes());
        zip.put(&tail)?;
        zip.files.push(Filed { name: self.name, at: self.at, crc, packed: count, size });
        Ok(zip)
    }
}

impl<W: Write> Write for Packed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.encoder.write(bytes)?;
        self.crc.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

struct Counted<W: Write> {
    out: W,
    count: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn too_large<E>(_: E) -> io::Error {
    io::Error::other("the workbook is larger than its format allows")
}

fn short(number: usize) -> io::Result<u16> {
    u16::try_from(number).map_err(too_large)
}

fn word(number: u64) -> io::Result<u32> {
    u32::try_from(number).map_err(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_counted_as_spreadsheets_count_them() {
        assert_eq!(Cell::day("19000301"), Cell::Day(61));
        assert_eq!(Cell::day("20260126"), Cell::Day(46_048));
        assert_eq!(Cell::time("20260126120000"), Cell::Time(46_048 * 86_400 + 43_200));
        assert_eq!(Cell::day("unknown"), Cell::text("unknown"));
    }

    #[test]
    fn a_workbook_holds_its_files_with_their_sizes_and_sums() {
        let mut sheet = Workbook::new(Vec::new()).sheet("Hồ sơ", &[("Mã", 12)]).unwrap();
        sheet.row(&[Cell::text("a & b <c>")]).unwrap();
        assert_eq!(sheet.rows(), 2);
        let bytes = sheet.end().unwrap().finish().unwrap();
        assert_eq!(bytes[..4], 0x0403_4b50_u32.to_le_bytes());
        let end = bytes.len() - 22;
        assert_eq!(bytes[end..end + 4], 0x0605_4b50_u32.to_le_bytes());
        assert_eq!(u16::from_le_bytes([bytes[end + 10], bytes[end + 11]]), 6);
        let list = u32::from_le_bytes(bytes[end + 16..end + 20].try_into().unwrap()) as usize;
        assert_eq!(bytes[list..list + 4], 0x0201_4b50_u32.to_le_bytes());
    }
}
