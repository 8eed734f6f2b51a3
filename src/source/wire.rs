//! The feed's documents: one pass that splits a page into its dossiers and fingerprints them.
//!
//! A page is taken whole or not at all: only a document that ends as it should gives items. Inside
//! such a document one bad item never costs its neighbours. An item whose text has a flaw (an
//! unescaped `&`, a control character) is still an item: its document is unchanged, and the
//! mapping quarantines it with the flaw's position.

use super::classify::{self, Refusal};
use super::item::{ItemReader, Rejected, Tag, check_code, evidence, flag, unreadable_tag};
use super::{IndexItem, IndexPage, Item, LoneItem, Page, RefusedItem, SpoiltPage};
use crate::domain::diagnostic::Position;
use crate::domain::time::Timestamp;
use crate::xml::{self, Attributes, Event, Limits, Scanner, Sound, XmlFault};

const CHANGES_ROOT: &str = "DanhSachHoSo";
const INDEX_ROOT: &str = "DanhSachMa";
const DOSSIER: &str = "HoSo";
const INDEX_LINE: &str = "Ma";

const CURSOR_BYTES_MAX: usize = 4096;

/// How documents are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'s> {
    pub(super) limits: &'s Limits,
    pub(super) item_bytes_max: usize,
    pub(super) volatile_query_keys: &'s [String],
}

/// Why a page of changes is not taken, and whether a smaller one may be.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) refusal: Refusal,
    pub(super) spoilt: Option<Box<SpoiltPage>>,
}

impl From<Refusal> for Unreadable {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, spoilt: None }
    }
}

/// Reads `<DanhSachHoSo>`. `etag` and `bytes` are left for the client to fill, here and in what is
/// told of a spoilt page.
pub(super) fn page(text: &str, reading: &Reading<'_>) -> Result<Page, Unreadable> {
    page_within(text, text, reading)
}

/// What can be told of a page of changes whose bytes are not all text.
pub(super) fn undecodable_page(
    fault: &XmlFault,
    sound: Option<Sound>,
    reading: &Reading<'_>,
) -> Unreadable {
    let refusal = classify::undecodable(fault);
    let spoilt = sound.and_then(|Sound { text, sound_bytes }| {
        let cut = page_within(&text[..sound_bytes], &text, reading).err()?;
        let mut spoilt = cut.spoilt?;
        if let Some(lone) = &mut spoilt.lone {
            lone.item.rule = refusal.code;
            lone.item.reason.clone_from(&refusal.message);
        }
        Some(spoilt)
    });
    Unreadable { refusal, spoilt }
}

/// Reads a page from `text`, the sound beginning of `whole`.
fn page_within(text: &str, whole: &str, reading: &Reading<'_>) -> Result<Page, Unreadable> {
    let mut document = Document::new(text, reading.limits);
    let root = Root::read(document.root(CHANGES_ROOT)?)?;
    let mut item = ItemReader::new(text, reading);
    let mut content = Content::default();
    if let Err(refusal) = content.read(&mut document, &mut item) {
        let spoilt = root.cursor.is_some().then(|| {
            Box::new(SpoiltPage {
                more: Some(root.more),
                etag: None,
                lone: lone_item(whole, root, &item, &refusal),
            })
        });
        return Err(Unreadable { refusal, spoilt });
    }
    let Content { items, refused } = content;
    if root.cursor.is_none() && (root.more || !items.is_empty() || !refused.is_empty()) {
        return Err(Refusal::new(
            classify::BROKEN_FEED,
            "the page has items, or promises more, and no conTro to go on from",
        )
        .into());
    }
    Ok(Page {
        newest_changed_at: items.iter().filter_map(|item| item.changed_at).max(),
        items,
        refused,
        cursor: root.cursor,
        more: root.more,
        agency: root.agency,
        ..Page::default()
    })
}

/// Reads a file: `<DanhSachHoSo>`, or one `<HoSo>`. What its root says of cursors is another
/// protocol's, and when a dossier changed says nothing of the next file.
pub(super) fn file(text: &str, reading: &Reading<'_>) -> Result<Page, Refusal> {
    let mut document = Document::new(text, reading.limits);
    let (name, attributes, from) = document.open(&[CHANGES_ROOT, DOSSIER])?;
    if name == CHANGES_ROOT {
        let agency = Root::read(attributes)?.agency;
        let mut content = Content::default();
        content.read(&mut document, &mut ItemReader::new(text, reading))?;
        let Content { items, refused } = content;
        return Ok(Page { items, refused, agency, ..Page::default() });
    }
    Ok(match document.only_item(attributes, from, reading)? {
        Ok(item) => Page { items: vec![item], ..Page::default() },
        Err(rejected) => {
            let refused = rejected.at(xml::position(text, from));
            Page { refused: vec![refused], ..Page::default() }
        }
    })
}

/// What stands in a page.
#[derive(Default)]
struct Content {
    items: Vec<Item>,
    refused: Vec<RefusedItem>,
}

impl Content {
    fn read<'a>(
        &mut self,
        document: &mut Document<'a>,
        item: &mut ItemReader<'a, '_>,
    ) -> Result<(), Refusal> {
        let text = document.text;
        let mut places = Places::new(text);
        let mut flaw_at = None;
        while let Some(event) = document.next(item.code())? {
            match event {
                // The root's own level: dossiers, and white space between them.
                Event::Flaw(fault) if !item.is_open() => flaw_at = Some(fault.offset),
                Event::Text { value, offset } if !item.is_open() => {
                    let stray = value.trim_ascii();
                    if !stray.is_empty() {
                        let white = text[offset..].len() - text[offset..].trim_ascii_start().len();
                        self.refused.push(RefusedItem {
                            rule: classify::STRAY_TEXT,
                            position: places.of(offset + white),
                            reason: "text stands between the dossiers".to_owned(),
                            ma_ho_so: None,
                            evidence: evidence(stray),
                        });
                    }
                }
                Event::Open { name, attributes, offset } if !item.is_open() => {
                    item.begin(name, attributes, offset, is_in_tag(flaw_at, offset));
                }
                Event::Close { .. } if !item.is_open() => {}
                event => {
                    if let Some(end) = item.event(&event) {
                        match item.finish(end) {
                            Ok(item) => self.items.push(item),
                            Err(rejected) => {
                                self.refused.push(rejected.at(places.of(item.from)));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The dossier that spoils a page, if nothing else can stand in it: the page has arrived to the end
/// tag of its root, and exactly one start tag of a dossier is in it. Both are looked for in the mere
/// text, where a comment or CDATA can only make the count too high; going on behind a page of two
/// would lose the other one.
fn lone_item(
    whole: &str,
    root: Root,
    reader: &ItemReader<'_, '_>,
    refusal: &Refusal,
) -> Option<LoneItem> {
    let cursor = root.cursor?;
    let root_end = whole.trim_end().strip_suffix('>')?;
    let (_, name) = root_end.rsplit_once("</")?;
    let name = name.trim_end();
    if name.rsplit_once(':').map_or(name, |(_, local)| local) != CHANGES_ROOT {
        return None;
    }
    let mut tags = dossier_tags(whole);
    let from = tags.next()?;
    if tags.next().is_some() {
        return None;
    }
    let document = &whole[from..root_end.rfind("</")?];
    Some(LoneItem {
        cursor,
        more: root.more,
        changed_at: reader.changed_at(),
        item: RefusedItem {
            rule: refusal.code,
            position: refusal.position.unwrap_or_else(|| xml::position(whole, from)),
            reason: refusal.message.clone(),
            ma_ho_so: reader.code().map(str::to_owned).or_else(|| sole_code(document)),
            evidence: evidence(document.trim_end()),
        },
    })
}

/// Where start tags of dossiers begin, in any part of the text.
fn dossier_tags(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.match_indices(DOSSIER).filter_map(|(at, name)| {
        let is_name_end = text[at + name.len()..]
            .starts_with(|next: char| next.is_ascii_whitespace() || next == '>' || next == '/');
        let before = &text[..at];
        let prefix = before.strip_suffix(':').map_or(before, |before| {
            before.trim_end_matches(|c: char| c.is_alphanumeric() || "_-.".contains(c))
        });
        (is_name_end && prefix.ends_with('<')).then(|| prefix.len() - 1)
    })
}

/// The code in a dossier that cannot be read, if every `<MaHoSo>` in it says the same. A name for
/// the evidence; nothing is delivered under it.
fn sole_code(document: &str) -> Option<String> {
    let mut codes = document
        .split("<MaHoSo>")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap_or_default().trim_ascii());
    let code = codes.next()?;
    let is_sound = check_code(code).is_ok() && !code.contains(['&', '\u{FFFD}']);
    (is_sound && codes.all(|other| other == code)).then(|| code.to_owned())
}

/// Reads a single `<HoSo>`, which must be the one that was asked for.
pub(super) fn dossier(text: &str, asked: &str, reading: &Reading<'_>) -> Result<Item, Refusal> {
    let mut document = Document::new(text, reading.limits);
    let (_, attributes, from) = document.open(&[DOSSIER])?;
    let item = document.only_item(attributes, from, reading)?.map_err(|rejected| {
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
    let mut flaw_at = None;
    // A line that cannot be read, until its end is known.
    let mut rejected: Option<(usize, Rejected)> = None;
    while let Some(event) = document.next(None)? {
        match event {
            Event::Flaw(fault) => flaw_at = Some(fault.offset),
            Event::Text { .. } => {}
            Event::Open { name, attributes, offset } => {
                if depth == 0 {
                    match index_line(name, attributes, is_in_tag(flaw_at, offset)) {
                        Ok(item) => items.push(item),
                        Err(line) => rejected = Some((offset, line)),
                    }
                }
                depth += 1;
            }
            Event::Close { end, .. } => {
                depth = depth.saturating_sub(1);
                if depth == 0
                    && let Some((from, mut line)) = rejected.take()
                {
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
    Ok(IndexPage { items, refused, cursor: root.cursor, more: root.more })
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
    let text =
        |name| attributes.get(name).map(|value| value.trim_ascii().to_owned()).unwrap_or_default();
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
    /// The last flaw before or in the root's own tag.
    flaw: Option<XmlFault>,
}

impl<'a> Document<'a> {
    fn new(text: &'a str, limits: &Limits) -> Self {
        Self { text, scanner: Scanner::new(text, limits).tolerant(), flaw: None }
    }

    /// The root's attributes; its tag must be whole, because the cursor stands in it.
    fn root(&mut self, name: &str) -> Result<Attributes<'a>, Refusal> {
        let (_, attributes, offset) = self.open(&[name])?;
        match self.flaw {
            Some(fault) if is_in_tag(Some(fault.offset), offset) => {
                Err(classify::unreadable(&fault, self.text, None))
            }
            _ => Ok(attributes),
        }
    }

    /// The root, under one of its expected names, and where it begins.
    fn open(&mut self, expected: &[&str]) -> Result<(&'a str, Attributes<'a>, usize), Refusal> {
        if classify::is_html(self.text) {
            return Err(Refusal::new(
                classify::HTML_PAGE,
                "the answer is a web page, not a document of the feed",
            ));
        }
        while let Some(event) = self.next(None)? {
            match event {
                Event::Flaw(fault) => self.flaw = Some(fault),
                Event::Open { name, attributes, offset } if expected.contains(&name) => {
                    return Ok((name, attributes, offset));
                }
                _ => break,
            }
        }
        let expected = expected.join("> or <");
        Err(Refusal::new(classify::WRONG_ROOT, format!("the document's root is not <{expected}>")))
    }

    /// The rest of a document whose root, opened already, is the dossier itself.
    fn only_item(
        &mut self,
        attributes: Attributes<'a>,
        from: usize,
        reading: &Reading<'_>,
    ) -> Result<Result<Item, Rejected>, Refusal> {
        let mut reader = ItemReader::new(self.text, reading);
        let flaw_at = self.flaw.map(|fault| fault.offset);
        reader.begin(DOSSIER, attributes, from, is_in_tag(flaw_at, from));
        let mut end = from;
        while let Some(event) = self.next(reader.code())? {
            end = reader.event(&event).unwrap_or(end);
        }
        Ok(reader.finish(end))
    }

    /// `inside` names the dossier being read, for the refusal's sake.
    fn next(&mut self, inside: Option<&str>) -> Result<Option<Event<'a>>, Refusal> {
        self.scanner.next().map_err(|fault| classify::unreadable(&fault, self.text, inside))
    }
}

/// Whether the last flaw lies in the tag that begins here, and not in a comment before it.
fn is_in_tag(flaw_at: Option<usize>, tag_from: usize) -> bool {
    flaw_at.is_some_and(|at| at >= tag_from)
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

/// Positions of ascending offsets in one walk: a page full of bad items costs no more than one.
struct Places<'a> {
    text: &'a str,
    offset: usize,
    position: Position,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, offset: 0, position: Position { line: 1, column: 1 } }
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
