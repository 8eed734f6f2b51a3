//! The attributes of one element, and references in text.

use std::borrow::Cow;

use quick_xml::events::BytesRef;
use quick_xml::events::attributes::{AttrError, Attributes as RawAttributes};

use super::{Limits, XmlFault};

/// Attributes of an element whose form was already checked. Namespace declarations are not among
/// them.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    raw: &'a str,
}

impl<'a> Attributes<'a> {
    pub(super) const fn new(raw: &'a str) -> Self {
        Self { raw }
    }

    /// Local names and unescaped values, as written. A value with a flaw (tolerant scanning only)
    /// comes as it stands in the document.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> + use<'a> {
        let raw = self.raw;
        let mut attributes = RawAttributes::new(raw, 0);
        attributes.with_checks(false);
        attributes.filter_map(Result::ok).filter_map(|attribute| {
            let name = attribute.key.into_inner();
            let value = match attribute.value {
                Cow::Borrowed(value) => unescape(value),
                // quick-xml hands out slices of `raw`; an owned value would be its own copy.
                Cow::Owned(value) => Cow::Owned(unescape(&value).into_owned()),
            };
            (!is_namespace(name)).then(|| (local(name), value))
        })
    }

    /// The value of an attribute by its local name.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        if self.raw.is_empty() {
            return None;
        }
        self.iter().find_map(|(local, value)| (local == name).then_some(value))
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// `Err` where the tag itself is broken; a flaw inside a value is returned for the caller to
    /// judge.
    pub(super) fn check(
        self,
        offset: usize,
        limits: &Limits,
    ) -> Result<Option<XmlFault>, XmlFault> {
        let mut flaw = None;
        let mut count = 0;
        for attribute in RawAttributes::new(self.raw, 0) {
            count += 1;
            if count > limits.attributes_max {
                return Err(XmlFault::new(
                    "xml.attributes",
                    offset,
                    "fewer attributes on one element",
                ));
            }
            let attribute = attribute.map_err(|error| broken(&error, offset))?;
            if attribute.value.contains('<') {
                return Err(XmlFault::new(
                    "xml.malformed",
                    offset,
                    "no `<` inside an attribute value",
                ));
            }
            flaw = flaw.or_else(|| first_flaw(&attribute.value, offset));
        }
        Ok(flaw)
    }
}

fn broken(error: &AttrError, offset: usize) -> XmlFault {
    let expected = match error {
        AttrError::Duplicated(..) => "each attribute once on an element",
        _ => "attributes written as name=\"value\"",
    };
    XmlFault::new("xml.malformed", offset, expected)
}

/// What stands behind `prefix:`.
pub(super) fn local(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, local)| local)
}

fn is_namespace(name: &str) -> bool {
    name == "xmlns" || name.starts_with("xmlns:")
}

fn first_flaw(value: &str, offset: usize) -> Option<XmlFault> {
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        match rest[at + 1..].split_once(';') {
            Some((name, behind)) => {
                if let Err(fault) = resolve(name, offset) {
                    return Some(fault);
                }
                rest = behind;
            }
            None => return Some(ampersand(offset)),
        }
    }
    None
}

/// An attribute value as XML defines it: white space becomes spaces, references are resolved. A
/// reference that cannot be resolved stays as it is.
fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains(['&', '\t', '\n', '\r']) {
        return Cow::Borrowed(value);
    }
    let mut unescaped = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find(['&', '\t', '\n', '\r']) {
        unescaped.push_str(&rest[..at]);
        let found = &rest[at..];
        let (character, length) = match found.strip_prefix('&') {
            Some(reference) => reference
                .split_once(';')
                .and_then(|(name, _)| Some((resolve(name, 0).ok()?, name.len() + 2)))
                .unwrap_or(('&', 1)),
            None if found.starts_with("\r\n") => (' ', 2),
            None => (' ', 1),
        };
        unescaped.push(character);
        rest = &found[length..];
    }
    unescaped.push_str(rest);
    Cow::Owned(unescaped)
}

/// The character that `&name;` stands for.
pub(super) fn resolve(name: &str, offset: usize) -> Result<char, XmlFault> {
    match name {
        "amp" => return Ok('&'),
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => {}
    }
    if name.starts_with('#') {
        return match BytesRef::new(name).resolve_char_ref() {
            Ok(Some(character)) if is_allowed(character) => Ok(character),
            Ok(Some(_)) => Err(control_character(offset)),
            _ => Err(XmlFault::new("xml.entity", offset, "a character reference such as &#10;")),
        };
    }
    let is_name = name.chars().enumerate().all(|(at, c)| {
        c.is_alphabetic() || c == '_' || (at > 0 && (c.is_numeric() || ".-:".contains(c)))
    });
    if is_name && !name.is_empty() {
        Err(XmlFault::new("xml.entity", offset, "only the entities amp, lt, gt, quot and apos"))
    } else {
        Err(ampersand(offset))
    }
}

pub(super) const fn ampersand(offset: usize) -> XmlFault {
    XmlFault::new("xml.ampersand", offset, "`&` written as `&amp;`")
}

pub(super) const fn control_character(offset: usize) -> XmlFault {
    XmlFault::new("xml.control_character", offset, "only characters that XML 1.0 allows")
}

/// XML 1.0, production 2 (Char).
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..)
}
