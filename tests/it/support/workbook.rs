//! A spreadsheet file as a reader sees it: found by the archive's own list, read by the format's own
//! names, independent of the code that wrote it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::read::DeflateDecoder;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Text(String),
    Number(f64),
    /// A number that its style shows as a date.
    Date(f64),
}

impl Data {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            other => panic!("no text: {other:?}"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Opened {
    files: BTreeMap<String, String>,
    /// Name of the sheet and of its file, in order.
    sheets: Vec<(String, String)>,
    /// Styles that show a date.
    dates: Vec<bool>,
}

impl Opened {
    pub(crate) fn read(path: &Path) -> Self {
        let files = unpack(&std::fs::read(path).expect("a file"));
        let mut targets = BTreeMap::new();
        each_tag(&files["xl/_rels/workbook.xml.rels"], |tag| {
            if tag.name().as_ref() == "Relationship" {
                targets.insert(attribute(tag, "Id"), attribute(tag, "Target"));
            }
        });
        let mut sheets = Vec::new();
        each_tag(&files["xl/workbook.xml"], |tag| {
            if tag.name().as_ref() == "sheet" {
                let target = &targets[&attribute(tag, "r:id")];
                sheets.push((attribute(tag, "name"), format!("xl/{target}")));
            }
        });
        let (mut formats, mut dates, mut is_cell) = (BTreeMap::new(), Vec::new(), false);
        each_tag(&files["xl/styles.xml"], |tag| match tag.name().as_ref() {
            "numFmt" => {
                formats.insert(attribute(tag, "numFmtId"), attribute(tag, "formatCode"));
            }
            "cellXfs" => is_cell = true,
            "xf" if is_cell => {
                let format = formats.get(&attribute(tag, "numFmtId"));
                dates.push(format.is_some_and(|format| format.contains("yyyy")));
            }
            _ => {}
        });
        Self { files, sheets, dates }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.sheets.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Every sheet keeps its first row in sight.
    pub(crate) fn all_frozen(&self) -> bool {
        self.sheets.iter().all(|(_, file)| {
            let mut frozen = false;
            each_tag(&self.files[file], |tag| {
                frozen |= tag.name().as_ref() == "pane"
                    && attribute(tag, "state") == "frozen"
                    && attribute(tag, "ySplit") == "1";
            });
            frozen
        })
    }

    pub(crate) fn rows(&self, sheet: &str) -> Vec<Vec<Data>> {
        let (_, file) = self.sheets.iter().find(|(name, _)| name == sheet).expect("a sheet");
        let mut reader = Reader::from_str(&self.files[file]);
        let (mut rows, mut is_text, mut style, mut text) = (Vec::new(), false, 0, String::new());
        loop {
            match reader.read_event().expect("sound XML") {
                Event::Start(tag) => match tag.name().as_ref() {
                    "row" => rows.push(Vec::new()),
                    "c" => {
                        is_text = attribute(&tag, "t") == "inlineStr";
                        style = attribute(&tag, "s").parse().expect("a style");
                        text.clear();
                    }
                    _ => {}
                },
                Event::Text(part) => {
                    text.push_str(part.as_ref());
                }
                Event::GeneralRef(name) => text.push(match name.as_ref() {
                    "amp" => '&',
                    "lt" => '<',
                    "gt" => '>',
                    _ => '"',
                }),
                Event::End(tag) if tag.name().as_ref() == "c" => {
                    let row = rows.last_mut().expect("a row");
                    let number = || text.parse().expect("a number");
                    row.push(match (is_text, self.dates[style]) {
                        (true, _) => Data::Text(text.clone()),
                        (false, true) => Data::Date(number()),
                        (false, false) => Data::Number(number()),
                    });
                }
                Event::Eof => return rows,
                _ => {}
            }
        }
    }
}

fn each_tag(xml: &str, mut see: impl FnMut(&BytesStart<'_>)) {
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().expect("sound XML") {
            Event::Start(tag) | Event::Empty(tag) => see(&tag),
            Event::Eof => return,
            _ => {}
        }
    }
}

/// Empty when it is not there.
fn attribute(tag: &BytesStart<'_>, name: &str) -> String {
    let found = tag.attributes().map(|one| one.expect("an attribute"));
    let mut found = found.filter(|one| one.key.as_ref() == name);
    found.next().map_or_else(String::new, |one| one.value.into_owned())
}

fn unpack(bytes: &[u8]) -> BTreeMap<String, String> {
    let short = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let word = |at: usize| {
        let four: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(four) as usize
    };
    let end = bytes.len() - 22;
    assert_eq!(&bytes[end..end + 4], b"PK\x05\x06", "the archive's end");
    let (count, mut at) = (short(end + 10), word(end + 16));
    let mut files = BTreeMap::new();
    for _ in 0..count {
        assert_eq!(&bytes[at..at + 4], b"PK\x01\x02", "an entry of the list");
        let (crc, packed, size) = (word(at + 16), word(at + 20), word(at + 24));
        let (name_length, more) = (short(at + 28), short(at + 30) + short(at + 32));
        let name = String::from_utf8(bytes[at + 46..at + 46 + name_length].to_vec());
        let local = word(at + 42);
        assert_eq!(&bytes[local..local + 4], b"PK\x03\x04", "a file");
        let data = local + 30 + short(local + 26) + short(local + 28);
        let mut whole = Vec::new();
        let mut decoder = DeflateDecoder::new(&bytes[data..data + packed]);
        decoder.read_to_end(&mut whole).expect("sound data");
        let mut sum = flate2::Crc::new();
        sum.update(&whole);
        assert_eq!((whole.len(), sum.sum() as usize), (size, crc));
        files.insert(name.expect("UTF-8"), String::from_utf8(whole).expect("UTF-8"));
        at += 46 + name_length + more;
    }
    files
}
