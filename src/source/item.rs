//! One item of a document: its own tag, its code, its fingerprint, and why it may be refused.

use super::classify;
use super::fingerprint::Canonical;
use super::wire::Reading;
use super::{Item, Owner, RefusedItem};
use crate::domain::diagnostic::Position;
use crate::domain::time::Timestamp;
use crate::xml::{Attributes, Event};

const DOSSIER: &str = "HoSo";
const CODE: &str = "MaHoSo";
/// The code under which the source kept the dossier before.
const RECODED_FROM: &str = "maHoSoCu";

/// UTF-16 units, as the portal counts.
const CODE_LENGTH_MAX: usize = 50;
/// How much of a refused item is kept.
const EVIDENCE_BYTES_MAX: usize = 64 * 1024;

/// The facts in an item's own tag.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    pub(super) version: Option<i64>,
    pub(super) changed_at: Option<Timestamp>,
    pub(super) deleted: bool,
    pub(super) owner: Owner,
    pub(super) recoded_from: Option<String>,
}

impl Tag {
    const NAMES: [&'static str; 5] = ["phienBan", "capNhatLuc", "daXoa", "chuQuan", RECODED_FROM];

    /// Whether the canonical form has the attribute among the others: all that is said of the
    /// dossier beyond the source's own bookkeeping.
    fn is_content(name: &str) -> bool {
        name == RECODED_FROM || !Self::NAMES.contains(&name)
    }

    pub(super) fn read(attributes: Attributes<'_>) -> Result<Self, Rejected> {
        let mut tag = Self {
            version: None,
            changed_at: None,
            deleted: false,
            owner: Owner::Province,
            recoded_from: None,
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
                RECODED_FROM => match check_code(value) {
                    Ok(()) => tag.recoded_from = Some(value.to_owned()),
                    Err(_) => return wrong("cannot be the code of a dossier"),
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
pub(super) struct ItemReader<'a, 's> {
    text: &'a str,
    item_bytes_max: usize,
    canonical: Canonical<'s>,
    /// Elements open inside the item, itself included; 0 between items.
    depth: usize,
    /// Where the item in progress begins.
    pub(super) from: usize,
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
    pub(super) fn new(text: &'a str, reading: &Reading<'s>) -> Self {
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

    pub(super) fn is_open(&self) -> bool {
        self.depth > 0
    }

    /// The code of the item in progress, if it was read already.
    pub(super) fn code(&self) -> Option<&str> {
        match &self.code {
            Code::Found(code) if self.is_open() => Some(code),
            _ => None,
        }
    }

    /// `capNhatLuc` of the item in progress, if its tag could be read.
    pub(super) fn changed_at(&self) -> Option<Timestamp> {
        let tag = self.tag.as_ref().ok().filter(|_| self.is_open())?;
        tag.changed_at
    }

    pub(super) fn begin(
        &mut self,
        name: &str,
        attributes: Attributes<'a>,
        from: usize,
        tag_flaw: bool,
    ) {
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
                attributes.iter().filter(|(name, _)| Tag::is_content(name)),
            );
        }
    }

    /// Takes one event inside the item; gives the item's end when this was its end tag.
    pub(super) fn event(&mut self, event: &Event<'_>) -> Option<usize> {
        match event {
            Event::Open { name, attributes, offset } => {
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

    pub(super) fn finish(&mut self, end: usize) -> Result<Item, Rejected> {
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
            (Ok(tag), Ok(code)) if tag.recoded_from.as_ref() == Some(code) => {
                Err(Rejected::new(classify::ITEM_ATTRIBUTE, "maHoSoCu names the dossier itself"))
            }
            (Ok(tag), Ok(code)) => Ok((tag.clone(), code.clone())),
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
            recoded_from: tag.recoded_from,
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
pub(super) struct Rejected {
    pub(super) rule: &'static str,
    pub(super) reason: String,
    pub(super) ma_ho_so: Option<String>,
    pub(super) evidence: Box<str>,
}

impl Rejected {
    pub(super) fn new(rule: &'static str, reason: impl Into<String>) -> Self {
        Self { rule, reason: reason.into(), ma_ho_so: None, evidence: Box::default() }
    }

    pub(super) fn at(self, position: Position) -> RefusedItem {
        RefusedItem {
            rule: self.rule,
            position,
            reason: self.reason,
            ma_ho_so: self.ma_ho_so,
            evidence: self.evidence,
        }
    }
}

pub(super) fn unreadable_tag() -> Rejected {
    Rejected::new(classify::ITEM_ATTRIBUTE, "an attribute of the item's own tag cannot be read")
}

/// Whether this can be the code of a dossier at all; its grammar is the mapping's affair.
pub(super) fn check_code(code: &str) -> Result<(), &'static str> {
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

pub(super) fn flag(text: &str) -> Option<bool> {
    if text == "1" || text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text == "0" || text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

pub(super) fn evidence(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(EVIDENCE_BYTES_MAX)].into()
}
