//! Reading XML that other systems wrote: bytes to text, text to events, and nothing that could hurt.
//!
//! Owns the decoding of a document ([`decode()`]), the walk over its elements ([`Scanner`]) and what
//! it refuses ([`XmlFault`]). quick-xml underneath accepts documents that are cut off, have two
//! roots, no root, a DOCTYPE or control characters; a cut answer must never pass for a whole one,
//! so all of these are faults here. Entities other than the five of XML are never expanded.
//!
//! Knows nothing of dossiers: names of elements mean nothing here.

mod attributes;
mod decode;
mod scanner;
#[cfg(test)]
mod tests;

use std::fmt::{Display, Formatter};

pub use attributes::Attributes;
pub use decode::{Sound, decode, decode_sound};
pub use scanner::{Event, Scanner};

use crate::domain::diagnostic::Position;

/// How much a document may ask of us. Its size in bytes is bounded where it is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Elements inside one another.
    pub depth_max: usize,
    /// Attributes of one element, namespace declarations included.
    pub attributes_max: usize,
    /// Tags, texts, comments and references of the whole document.
    pub events_max: usize,
    /// Bytes of one text, unescaped.
    pub text_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth_max: 64,
            attributes_max: 64,
            events_max: 10_000_000,
            text_bytes_max: 8 * 1024 * 1024,
        }
    }
}

/// Why a document cannot be read. Says what was expected, never what was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XmlFault {
    /// Stable, one of the `xml.*` codes.
    pub rule: &'static str,
    /// Byte offset: in the received bytes for `xml.encoding`, otherwise in the decoded text.
    pub offset: usize,
    pub expected: &'static str,
}

impl XmlFault {
    const fn new(rule: &'static str, offset: usize, expected: &'static str) -> Self {
        Self { rule, offset, expected }
    }
}

impl Display for XmlFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: expected {} at byte {}", self.rule, self.expected, self.offset)
    }
}

impl std::error::Error for XmlFault {}

/// Line and column, in characters from 1, of a byte offset. An offset inside a character or behind
/// the end counts as the nearest character boundary before it.
pub fn position(text: &str, offset: usize) -> Position {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let lines = before.bytes().filter(|byte| *byte == b'\n').count();
    let columns = before[line_start..].chars().count();
    let from_one = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
    Position { line: from_one(lines), column: from_one(columns) }
}
