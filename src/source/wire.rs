//! The feed's documents: one pass that splits a page into its dossiers and fingerprints them.
//!
//! A page is taken whole or not at all: only a document that ends as it should gives items. Inside
//! such a document one bad item never costs its neighbours. An item whose text has a flaw (an
//! unescaped `&`, a control character) is still an item: its document is unchanged, and the
//! mapping quarantines it with the flaw's position.

use super::classify::{self, Refusal};
use super::fingerprint::Canonical;
use super::{IndexItem, IndexPage, Item, Owner, Page, RefusedItem};
use crate::domain::diagnostic::Position;
use crate::domain::time::Timestamp;
use crate::xml::{self, Attributes, Event, Limits, Scanner, XmlFault};

const CHANGES_ROOT: &str = "DanhSachHoSo";
const INDEX_ROOT: &str = "DanhSachMa";
const DOSSIER: &str = "HoSo";
const INDEX_LINE: &str = "Ma";
const CODE: &str = "MaHoSo";

/// UTF-16 units, as the portal counts.
const CODE_LENGTH_MAX: usize = 50;
const CURSOR_BYTES_MAX: usize = 4096;
/// How much of a refused item is kept.
const EVIDENCE_BYTES_MAX: usize = 64 * 1024;

/// How documents are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'s> {
    pub(super) limits: &'s Limits,
    pub(super) item_bytes_max: usize,
    pub(super) volatile_query_keys: &'s [String],
}

/// Reads `<DanhSachHoSo>`. `etag` and `bytes` are left for the client to fill.
pub(super) fn page(text: &str, reading: &Reading<'_>) -> Result<Page, Refusal> {
    let mut document = Document::new(text, reading.limits);
    let root = Root::read(document.root(CHANGES_ROOT)?)?;
    let mut item = ItemReader::new(text, reading);
    let mut places = Places::new(text);
    let (mut items, mut refused) = (Vec::new(), Vec::new());
    let mut tag_flaw = false;
    while let Some(event) = document.next(item.code())? {
        match event {
            // The root's own level: dossiers, and white space between them.
            Event::Flaw(_) if !item.is_open() => tag_flaw = true,
            Event::Text { value, offset } if !item.is_open() => {
                tag_flaw = false;
                if !value.trim_ascii().is_empty() {
                    refused.push(RefusedItem {
                        rule: classify::STRAY_TEXT,
                        position: places.of(offset),
                        reason: "text stands between the dossiers".to_owned(),
                        ma_ho_so: None,
                        evidence: evidence(&value),
                    });
                }
            }
            Event::Open {
                name,
                attributes,
                offset,
            } if !item.is_open() => {
                item.begin(name, attributes, offset, std::mem::take(&mut tag_flaw));
            }
            Event::Close { .. } if !item.is_open() => {}
            event => {
                if let Some(end) = item.event(&event) {
                    match item.finish(end) {
                        Ok(item) => items.push(item),
                        Err(rejected) => refused.push(rejected.at(places.of(item.from))),
                    }
                }
            }
        }
    }
    if root.cursor.is_none() && (root.more || !items.is_empty() || !refused.is_empty()) {
        return Err(Refusal::new(
            classify::BROKEN_FEED,
            "the page has items, or promises more, and no conTro to go on from",
        ));
    }
    Ok(Page {
        newest_changed_at: items.iter().filter_map(|item| item.changed_at).max(),
        items,
        refused,
        cursor: root.cursor,
        more: root.more,
        etag: None,
        agency: root.agency,
        bytes: 0,
    })
}

/// Reads a single `<HoSo>`, which must be the one that was asked for.
pub(super) fn dossier(text: &str, asked: &str, reading: &Reading<'_>) -> Result<Item, Refusal> {
    let mut document = Document::new(text, reading.limits);
    let (attributes, from) = document.open(DOSSIER)?;
    let mut reader = ItemReader::new(text, reading);
    reader.begin(DOSSIER, attributes, from, document.flaw.is_some());
    let mut end = from;
    while let Some(event) = document.next(reader.code())? {
        end = reader.event(&event).unwrap_or(end);
    }
    let item = reader.finish(end).map_err(|rejected| {
        Refusal::new(rejected.rule, rejected.reason).at(xml::position(text, from))
    })?;
    if item.ma_ho_so == asked {
        Ok(item)
    } else {
        Err(Refusal::new(
            classify::WRONG_DOSSIER,
            format!("asked for dossier {asked}, the source gave {}", item.ma_ho_so),
        ))
    }
}

/// Reads `<DanhSachMa>`.
pub(super) fn index(text: &str, reading: &Reading<'_>) -> Result<IndexPage, Refusal> {
    let mut document = Document::new(text, reading.limits);
    let root = Root::read(document.root(INDEX_ROOT)?)?;
    let mut places = Places::new(text);
    let (mut items, mut refused) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    let mut tag_flaw = false;
    // A line that cannot be read, until its end is known.
    let mut rejected: Option<(usize, Rejected)> = None;
    while let Some(event) = document.next(None)? {
        match event {
            Event::Flaw(_) => tag_flaw = depth == 0,
            Event::Text { .. } => tag_flaw = false,
            Event::Open {
                name,
                attributes,
                offset,
            } => {
                if depth == 0 {
                    match index_line(name, attributes, std::mem::take(&mut tag_flaw)) {
                        Ok(item) => items.push(item),
                        Err(line) => rejected = Some((offset, line)),
                    }
                }
                depth += 1;
            }
            Event::Close { end, .. } => {
                depth = depth.saturating_sub(1);
                if depth == 0 && let Some((from, mut line)) = rejected.take() {
                    line.evidence = evidence(&text[from..end]);
                    refused.push(line.at(places.of(from)));
                }
            }
        }
    }
    if root.more && root.cursor.is_none() {
        return Err(Refusal::new(
            classify::BROKEN_FEED,
            "the index promises more and has no conTro to go on from",
        ));
    }
    Ok(IndexPage {
        items,
        refused,
        cursor: root.cursor,
        more: root.more,
    })
}

fn index_line(
    name: &str,
    attributes: Attributes<'_>,
    tag_flaw: bool,
) -> Result<IndexItem, Rejected> {
    if name != INDEX_LINE {
        return Err(Rejected::new(
            classify::ITEM_UNKNOWN,
            "the index holds an element that is no <Ma>",
        ));
    }
    let text = |name| {
        attributes
            .get(name)
            .map(|value| value.trim_ascii().to_owned())
            .unwrap_or_default()
    };
    let code = text("maHoSo");
    let sound = check_code(&code).map_err(|reason| Rejected::new(classify::ITEM_CODE, reason));
    let about = |mut rejected: Rejected| {
        rejected.ma_ho_so = sound.is_ok().then(|| code.clone());
        rejected
    };
    if tag_flaw {
        return Err(about(unreadable_tag()));
    }
    let tag = Tag::read(attributes).map_err(about)?;
    sound.clone()?;
    Ok(IndexItem {
        ma_ho_so: code.clone(),
        version: tag.version,
        status: text("trangThai"),
        received_at: Timestamp::from_source(&text("ngayTiepNhan")),
        changed_at: tag.changed_at,
        ma_tthc: text("maTTHC"),
        agency: text("maDonVi"),
        owner: tag.owner,
    })
}

/// A scanner that speaks in refusals.
struct Document<'a> {
    text: &'a str,
    scanner: Scanner<'a>,
    /// A flaw in the root's own tag.
    flaw: Option<XmlFault>,
}

impl<'a> Document<'a> {
    fn new(text: &'a str, limits: &Limits) -> Self {
        Self {
            text,
            scanner: Scanner::new(text, limits).tolerant(),
            flaw: None,
        }
    }

    /// The root's attributes; its tag must be whole, because the cursor stands in it.
    fn root(&mut self, name: &str) -> Result<Attributes<'a>, Refusal> {
        let (attributes, _) = self.open(name)?;
        match self.flaw {
            None => Ok(attributes),
            Some(fault) => Err(classify::unreadable(&fault, self.text, None)),
        }
    }

    /// The root, under its expected name, and where it begins.
    fn open(&mut self, expected: &str) -> Result<(Attributes<'a>, usize), Refusal> {
        if classify::is_html(self.text) {
            return Err(Refusal::new(
                classify::HTML_PAGE,
                "the answer is a web page, not a document of the feed",
            ));
        }
        while let Some(event) = self.next(None)? {
            match event {
                Event::Flaw(fault) => self.flaw = Some(fault),
                Event::Open {
                    name,
                    attributes,
                    offset,
                } if name == expected => return Ok((attributes, offset)),
                _ => break,
            }
        }
        Err(Refusal::new(
            classify::WRONG_ROOT,
            format!("the document's root is not <{expected}>"),
        ))
    }

    /// `inside` names the dossier being read, for the refusal's sake.
    fn next(&mut self, inside: Option<&str>) -> Result<Option<Event<'a>>, Refusal> {
        self.scanner
            .next()
            .map_err(|fault| classify::unreadable(&fault, self.text, inside))
    }
}

/// What the root of a page says.
#[derive(Debug)]
struct Root {
    cursor: Option<String>,
    more: bool,
    agency: Option<String>,
}

impl Root {
    fn read(attributes: Attributes<'_>) -> Result<Self, Refusal> {
        let broken = |message: &str| Err(Refusal::new(classify::BROKEN_FEED, message));
        let cursor = attributes.get("conTro").filter(|cursor| !cursor.is_empty());
        if let Some(cursor) = &cursor
            && (cursor.len() > CURSOR_BYTES_MAX || cursor.chars().any(char::is_control))
        {
            return broken("conTro is too long or holds control characters");
        }
        let more = match attributes.get("conNua") {
            None => false,
            Some(value) => match flag(value.trim_ascii()) {
                Some(more) => more,
                None => return broken("conNua is neither true nor false"),
            },
        };
        Ok(Self {
            cursor: cursor.map(std::borrow::Cow::into_owned),
            more,
            agency: attributes
                .get("maDonVi")
                .map(|agency| agency.trim_ascii().to_owned())
                .filter(|agency| !agency.is_empty()),
        })
    }
}

/// The facts in an item's own tag.
#[derive(Debug, Clone, Copy)]
struct Tag {
    version: Option<i64>,
    changed_at: Option<Timestamp>,
    deleted: bool,
    owner: Owner,
}

impl Tag {
    const NAMES: [&'static str; 4] = ["phienBan", "capNhatLuc", "daXoa", "chuQuan"];

    fn read(attributes: Attributes<'_>) -> Result<Self, Rejected> {
        let mut tag = Self {
            version: None,
            changed_at: None,
            deleted: false,
            owner: Owner::Province,
        };
        let mut seen = [false; Self::NAMES.len()];
        for (name, value) in attributes.iter() {
            let Some(at) = Self::NAMES.iter().position(|known| *known == name) else {
                continue;
            };
            let value = value.trim_ascii();
            let wrong = |what: &str| {
                let reason = format!("{name} {what}");
                Err(Rejected::new(classify::ITEM_ATTRIBUTE, reason))
            };
            // Two attributes may share a local name under different prefixes.
            if std::mem::replace(&mut seen[at], true) {
                return wrong("is given twice");
            }
            if value.is_empty() {
                continue;
            }
            match name {
                "phienBan" => match value.parse() {
                    Ok(version) => tag.version = Some(version),
                    Err(_) => return wrong("is not a whole number"),
                },
                "capNhatLuc" => match Timestamp::from_source(value) {
                    Some(time) => tag.changed_at = Some(time),
                    None => return wrong("is not a time"),
                },
                "daXoa" => match flag(value) {
                    Some(deleted) => tag.deleted = deleted,
                    None => return wrong("is neither true nor false"),
                },
                _ => match value {
                    "tinh" => tag.owner = Owner::Province,
                    "bo" => tag.owner = Owner::Ministry,
                    _ => return wrong("is neither tinh nor bo"),
                },
            }
        }
        Ok(tag)
    }
}

/// Follows one `<HoSo>` from its start tag to its end tag.
struct ItemReader<'a, 's> {
    text: &'a str,
    item_bytes_max: usize,
    canonical: Canonical<'s>,
    /// Elements open inside the item, itself included; 0 between items.
    depth: usize,
    from: usize,
    /// Where the content behind the start tag begins, once seen.
    content_from: Option<usize>,
    tag: Result<Tag, Rejected>,
    code: Code,
    flawed: bool,
    too_large: bool,
}

#[derive(Debug)]
enum Code {
    Missing,
    Reading(String),
    Found(String),
    Bad(&'static str),
}

impl<'a, 's> ItemReader<'a, 's> {
    fn new(text: &'a str, reading: &Reading<'s>) -> Self {
        Self {
            text,
            item_bytes_max: reading.item_bytes_max,
            canonical: Canonical::new(reading.volatile_query_keys),
            depth: 0,
            from: 0,
            content_from: None,
            tag: Err(unreadable_tag()),
            code: Code::Missing,
            flawed: false,
            too_large: false,
        }
    }

    fn is_open(&self) -> bool {
        self.depth > 0
    }

    /// The code of the item in progress, if it was read already.
    fn code(&self) -> Option<&str> {
        match &self.code {
            Code::Found(code) if self.is_open() => Some(code),
            _ => None,
        }
    }

    fn begin(&mut self, name: &str, attributes: Attributes<'a>, from: usize, tag_flaw: bool) {
        self.depth = 1;
        self.from = from;
        self.content_from = None;
        self.code = Code::Missing;
        self.flawed = false;
        self.too_large = false;
        self.tag = if name != DOSSIER {
            Err(Rejected::new(
                classify::ITEM_UNKNOWN,
                "the page holds an element that is no <HoSo>",
            ))
        } else if tag_flaw {
            Err(unreadable_tag())
        } else {
            Tag::read(attributes)
        };
        if let Ok(tag) = &self.tag {
            self.canonical.begin(
                tag.deleted,
                tag.owner,
                attributes
                    .iter()
                    .filter(|(name, _)| !Tag::NAMES.contains(name)),
            );
        }
    }

    /// Takes one event inside the item; gives the item's end when this was its end tag.
    fn event(&mut self, event: &Event<'_>) -> Option<usize> {
        match event {
            Event::Open {
                name,
                attributes,
                offset,
            } => {
                self.reached(*offset);
                self.depth += 1;
                match &self.code {
                    Code::Reading(_) => self.code = Code::Bad("MaHoSo holds other elements"),
                    Code::Missing if self.depth == 2 && *name == CODE => {
                        self.code = Code::Reading(String::new());
                    }
                    Code::Found(_) if self.depth == 2 && *name == CODE => {
                        self.code = Code::Bad("there is more than one MaHoSo");
                    }
                    _ => {}
                }
                if self.is_hashed() {
                    self.canonical.open(name, attributes.iter());
                }
            }
            Event::Text { value, offset } => {
                self.reached(*offset);
                if let Code::Reading(code) = &mut self.code {
                    code.push_str(value);
                }
                if self.is_hashed() {
                    self.canonical.text(value);
                }
            }
            Event::Close { end, .. } => {
                self.depth -= 1;
                if self.depth == 0 {
                    return Some(*end);
                }
                if self.depth == 1
                    && let Code::Reading(code) = &self.code
                {
                    let code = code.trim_ascii();
                    self.code = match check_code(code) {
                        Ok(()) => Code::Found(code.to_owned()),
                        Err(reason) => Code::Bad(reason),
                    };
                }
                self.reached(*end);
                if self.is_hashed() {
                    self.canonical.close();
                }
            }
            Event::Flaw(_) => {
                self.flawed = true;
                if matches!(self.code, Code::Reading(_)) {
                    self.code = Code::Bad("MaHoSo cannot be read");
                }
            }
        }
        None
    }

    fn finish(&mut self, end: usize) -> Result<Item, Rejected> {
        self.depth = 0;
        self.reached(end);
        let document = &self.text[self.from..end];
        let code = match std::mem::replace(&mut self.code, Code::Missing) {
            Code::Found(code) => Ok(code),
            Code::Bad(reason) => Err(reason),
            Code::Missing | Code::Reading(_) => Err("the dossier has no MaHoSo"),
        };
        let outcome = match (&self.tag, &code) {
            (Err(rejected), _) => Err(rejected.clone()),
            (_, Err(reason)) => Err(Rejected::new(classify::ITEM_CODE, *reason)),
            _ if self.too_large => Err(Rejected::new(
                classify::ITEM_TOO_LARGE,
                format!(
                    "the dossier has {} bytes, more than {}",
                    document.len(),
                    self.item_bytes_max
                ),
            )),
            (Ok(tag), Ok(code)) => Ok((*tag, code.clone())),
        };
        let (tag, ma_ho_so) = outcome.map_err(|rejected| Rejected {
            ma_ho_so: code.ok(),
            evidence: evidence(document),
            ..rejected
        })?;
        if self.flawed {
            let content = self.content_from.unwrap_or(end);
            self.canonical.flawed(&self.text[content..end]);
        }
        Ok(Item {
            ma_ho_so,
            version: tag.version,
            changed_at: tag.changed_at,
            deleted: tag.deleted,
            owner: tag.owner,
            fingerprint: self.canonical.finish(),
            document: document.into(),
        })
    }

    fn is_hashed(&self) -> bool {
        self.tag.is_ok() && !self.too_large
    }

    fn reached(&mut self, offset: usize) {
        self.content_from.get_or_insert(offset);
        self.too_large |= offset - self.from > self.item_bytes_max;
    }
}

/// A [`RefusedItem`] before its place is known.
#[derive(Debug, Clone)]
struct Rejected {
    rule: &'static str,
    reason: String,
    ma_ho_so: Option<String>,
    evidence: Box<str>,
}

impl Rejected {
    fn new(rule: &'static str, reason: impl Into<String>) -> Self {
        Self {
            rule,
            reason: reason.into(),
            ma_ho_so: None,
            evidence: Box::default(),
        }
    }

    fn at(self, position: Position) -> RefusedItem {
        RefusedItem {
            rule: self.rule,
            position,
            reason: self.reason,
            ma_ho_so: self.ma_ho_so,
            evidence: self.evidence,
        }
    }
}

fn unreadable_tag() -> Rejected {
    Rejected::new(
        classify::ITEM_ATTRIBUTE,
        "an attribute of the item's own tag cannot be read",
    )
}

/// Whether this can be the code of a dossier at all; its grammar is the mapping's affair.
fn check_code(code: &str) -> Result<(), &'static str> {
    if code.is_empty() {
        Err("MaHoSo is empty")
    } else if code.encode_utf16().nth(CODE_LENGTH_MAX).is_some() {
        Err("MaHoSo is longer than 50 characters")
    } else if code.chars().any(char::is_control) {
        Err("MaHoSo holds control characters")
    } else {
        Ok(())
    }
}

fn flag(text: &str) -> Option<bool> {
    if text == "1" || text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text == "0" || text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn evidence(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(EVIDENCE_BYTES_MAX)].into()
}

/// Positions of ascending offsets in one walk: a page full of bad items costs no more than one.
struct Places<'a> {
    text: &'a str,
    offset: usize,
    position: Position,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            offset: 0,
            position: Position { line: 1, column: 1 },
        }
    }

    fn of(&mut self, offset: usize) -> Position {
        for character in self.text[self.offset..offset].chars() {
            if character == '\n' {
                self.position.line = self.position.line.saturating_add(1);
                self.position.column = 1;
            } else {
                self.position.column = self.position.column.saturating_add(1);
            }
        }
        self.offset = offset;
        self.position
    }
}
