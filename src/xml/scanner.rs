//! One pass over a decoded document, element by element.

use std::borrow::Cow;

use quick_xml::errors::{Error, IllFormedError, SyntaxError};
use quick_xml::events::Event as RawEvent;
use quick_xml::reader::Reader;

use super::attributes::{Attributes, ampersand, control_character, local, resolve};
use super::{Limits, XmlFault};

/// What comes next in the document. All offsets are bytes of the decoded text.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A start tag; `name` is the local name, `offset` that of its `<`.
    Open { name: &'a str, attributes: Attributes<'a>, offset: usize },
    /// The whole text between two tags: unescaped, CDATA included, comments taken out, line ends
    /// as `\n`.
    Text { value: Cow<'a, str>, offset: usize },
    /// An end tag, or the end of a self-closing one; `end` is the offset behind it.
    Close { name: &'a str, end: usize },
    /// Only from a tolerant scanner: what follows has this fault, and the document is well formed
    /// around it.
    Flaw(XmlFault),
}

/// What quick-xml has just read; where it stands is known from the offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Start {
        name_length: usize,
    },
    Empty {
        name_length: usize,
    },
    End,
    Text,
    CData,
    Reference,
    /// Comments and processing instructions.
    Silent,
    Decl,
    DocType,
    Eof,
}

/// Walks a document. After the last event of exactly one whole root it gives `None`; everything
/// else that can end a document is a fault, and after a fault it gives that fault again.
#[derive(Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    limits: Limits,
    tolerant: bool,
    /// quick-xml skips a byte order mark without counting it.
    mark_bytes: usize,
    /// Local names of the elements that are open.
    open: Vec<&'a str>,
    events: usize,
    root_seen: bool,
    has_carriage_returns: bool,
    /// Offset of the next character that XML forbids, `usize::MAX` when there is none.
    forbidden_at: usize,
    /// Held back behind a flaw.
    pending: Option<Event<'a>>,
    /// The other half of a self-closing element.
    pending_close: Option<Event<'a>>,
    fault: Option<XmlFault>,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str, limits: &Limits) -> Self {
        let mut reader = Reader::from_str(text);
        // A lone `&` then comes as text of its own, and becomes a fault or a flaw below.
        reader.config_mut().allow_dangling_amp = true;
        Self {
            text,
            reader,
            limits: *limits,
            tolerant: false,
            mark_bytes: if text.starts_with('\u{FEFF}') { 3 } else { 0 },
            open: Vec::with_capacity(16),
            events: 0,
            root_seen: false,
            has_carriage_returns: text.as_bytes().contains(&b'\r'),
            forbidden_at: forbidden_from(text, 0),
            pending: None,
            pending_close: None,
            fault: None,
        }
    }

    /// Faults inside a text or an attribute value become [`Event::Flaw`], and the walk goes on.
    #[must_use]
    pub fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }

    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would end at its first fault by convention only; here the caller must look"
    )]
    pub fn next(&mut self) -> Result<Option<Event<'a>>, XmlFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if let Some(event) = self.pending.take() {
            return Ok(Some(event));
        }
        if let Some(event) = self.pending_close.take() {
            return Ok(Some(event));
        }
        self.read().inspect_err(|fault| self.fault = Some(*fault))
    }

    fn read(&mut self) -> Result<Option<Event<'a>>, XmlFault> {
        loop {
            let start = self.offset();
            match self.read_kind(start)? {
                Kind::Start { name_length } => return self.open(start, name_length, 1).map(Some),
                Kind::Empty { name_length } => return self.open(start, name_length, 2).map(Some),
                Kind::End => {
                    let end = self.offset();
                    if self.forbidden_at < end {
                        return Err(control_character(self.forbidden_at));
                    }
                    // quick-xml has compared it with the start tag's name.
                    let name = self.open.pop().unwrap_or_default();
                    return Ok(Some(Event::Close { name, end }));
                }
                Kind::Eof if !self.open.is_empty() => return Err(truncated(start)),
                Kind::Eof if !self.root_seen => {
                    return Err(XmlFault::new("xml.empty", start, "an XML element"));
                }
                Kind::Eof => return Ok(None),
                Kind::DocType => return Err(doctype(start)),
                Kind::Decl if start > self.mark_bytes => return Err(late_declaration(start)),
                Kind::Decl | Kind::Silent => {
                    if let Some(flaw) = self.forbidden_before(self.offset())? {
                        return Ok(Some(Event::Flaw(flaw)));
                    }
                }
                _ if self.open.is_empty() => self.only_white_space(start)?,
                kind => return self.text(start, kind).map(Some),
            }
        }
    }

    #[inline]
    fn read_kind(&mut self, start: usize) -> Result<Kind, XmlFault> {
        self.events += 1;
        if self.events > self.limits.events_max {
            return Err(XmlFault::new("xml.too_large", start, "a document with fewer elements"));
        }
        match self.reader.read_event() {
            Ok(RawEvent::Text(_)) => Ok(Kind::Text),
            Ok(RawEvent::Start(tag)) => Ok(Kind::Start { name_length: tag.name().as_ref().len() }),
            Ok(RawEvent::End(_)) => Ok(Kind::End),
            Ok(RawEvent::Empty(tag)) => Ok(Kind::Empty { name_length: tag.name().as_ref().len() }),
            Ok(RawEvent::GeneralRef(_)) => Ok(Kind::Reference),
            Ok(RawEvent::CData(_)) => Ok(Kind::CData),
            Ok(RawEvent::Comment(_) | RawEvent::PI(_)) => Ok(Kind::Silent),
            Ok(RawEvent::Decl(_)) => Ok(Kind::Decl),
            Ok(RawEvent::DocType(_)) => Ok(Kind::DocType),
            Ok(RawEvent::Eof) => Ok(Kind::Eof),
            Err(error) => Err(explain(&error, start, self.open.len())),
        }
    }

    fn offset(&self) -> usize {
        // A slice's length is its offset's limit, so this cannot overflow.
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX) + self.mark_bytes
    }

    /// `closing` is the length of `>` or `/>`.
    fn open(
        &mut self,
        start: usize,
        name_length: usize,
        closing: usize,
    ) -> Result<Event<'a>, XmlFault> {
        let end = self.offset();
        if self.open.is_empty() && self.root_seen {
            return Err(XmlFault::new(
                "xml.two_roots",
                start,
                "nothing after the document's one root element",
            ));
        }
        if self.open.len() >= self.limits.depth_max {
            return Err(XmlFault::new("xml.depth", start, "fewer elements inside one another"));
        }
        self.root_seen = true;
        let name_end = start + 1 + name_length;
        let local = match local_name(&self.text[start + 1..name_end]) {
            Some(local) if self.forbidden_at >= name_end => local,
            _ => {
                return Err(XmlFault::new("xml.malformed", start, "an element name after `<`"));
            }
        };
        let attributes = Attributes::new(self.text[name_end..end - closing].trim_ascii());
        let mut flaw = self.forbidden_before(end)?;
        if name_end < end - closing {
            let found = attributes.check(start, &self.limits)?;
            if found.is_some() && !self.tolerant {
                return Err(found.unwrap_or(ampersand(start)));
            }
            flaw = flaw.or(found);
        }
        if closing == 1 {
            self.open.push(local);
        } else {
            self.pending_close = Some(Event::Close { name: local, end });
        }
        let open = Event::Open { name: local, attributes, offset: start };
        Ok(self.behind(flaw, open))
    }

    /// Gathers a text from its pieces; nearly always there is one piece, and it is borrowed.
    fn text(&mut self, start: usize, first: Kind) -> Result<Event<'a>, XmlFault> {
        let end = self.offset();
        let raw = &self.text[start..end];
        let is_plain = first == Kind::Text
            && !self.has_carriage_returns
            && self.forbidden_at >= end
            && raw.len() <= self.limits.text_bytes_max
            && !raw.starts_with('&');
        if is_plain && !self.text_goes_on() {
            return Ok(Event::Text { value: Cow::Borrowed(raw), offset: start });
        }
        self.gathered_text(start, first)
    }

    #[cold]
    fn gathered_text(&mut self, start: usize, first: Kind) -> Result<Event<'a>, XmlFault> {
        let mut flaw = None;
        let mut value = self.piece(start, first, &mut flaw)?;
        while self.text_goes_on() {
            let start = self.offset();
            let kind = self.read_kind(start)?;
            let piece = self.piece(start, kind, &mut flaw)?;
            if value.is_empty() {
                value = piece;
            } else if !piece.is_empty() {
                value.to_mut().push_str(&piece);
            }
            if value.len() > self.limits.text_bytes_max {
                break;
            }
        }
        if value.len() > self.limits.text_bytes_max {
            return Err(XmlFault::new("xml.too_large", start, "a shorter text"));
        }
        let text = Event::Text { value, offset: start };
        Ok(self.behind(flaw, text))
    }

    /// Whether no tag, and not the end, comes next.
    fn text_goes_on(&self) -> bool {
        match &self.text.as_bytes()[self.offset()..] {
            [b'<', next, ..] => matches!(next, b'!' | b'?'),
            rest => !rest.is_empty() && rest != b"<",
        }
    }

    fn piece(
        &mut self,
        start: usize,
        kind: Kind,
        flaw: &mut Option<XmlFault>,
    ) -> Result<Cow<'a, str>, XmlFault> {
        let end = self.offset();
        let mut found = self.forbidden_before(end)?;
        let raw = &self.text[start..end];
        let value = match kind {
            Kind::Text => {
                if raw.starts_with('&') {
                    found = found.or(Some(ampersand(start)));
                }
                self.with_line_ends(raw)
            }
            Kind::CData => self.with_line_ends(&raw["<![CDATA[".len()..raw.len() - "]]>".len()]),
            Kind::Reference => match resolve(&raw[1..raw.len() - 1], start) {
                Ok(character) => Cow::Owned(character.to_string()),
                Err(fault) => {
                    found = found.or(Some(fault));
                    Cow::Borrowed(raw)
                }
            },
            Kind::DocType => {
                return Err(doctype(start));
            }
            Kind::Decl => {
                return Err(late_declaration(start));
            }
            _ => Cow::Borrowed(""),
        };
        if let Some(fault) = found {
            if !self.tolerant {
                return Err(fault);
            }
            *flaw = flaw.or(found);
        }
        Ok(value)
    }

    fn with_line_ends(&self, raw: &'a str) -> Cow<'a, str> {
        if self.has_carriage_returns && raw.contains('\r') {
            Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n"))
        } else {
            Cow::Borrowed(raw)
        }
    }

    /// A forbidden character before `end`: a fault, or when tolerant a flaw.
    fn forbidden_before(&mut self, end: usize) -> Result<Option<XmlFault>, XmlFault> {
        if self.forbidden_at >= end {
            return Ok(None);
        }
        let fault = control_character(self.forbidden_at);
        if !self.tolerant {
            return Err(fault);
        }
        self.forbidden_at = forbidden_from(self.text, end);
        Ok(Some(fault))
    }

    fn only_white_space(&mut self, start: usize) -> Result<(), XmlFault> {
        let end = self.offset();
        if self.text[start..end].trim_ascii().is_empty() {
            Ok(())
        } else {
            Err(XmlFault::new("xml.text_outside_root", start, "no text outside the root element"))
        }
    }

    fn behind(&mut self, flaw: Option<XmlFault>, event: Event<'a>) -> Event<'a> {
        match flaw {
            Some(flaw) => {
                self.pending = Some(event);
                Event::Flaw(flaw)
            }
            None => event,
        }
    }
}

const fn truncated(offset: usize) -> XmlFault {
    XmlFault::new("xml.truncated", offset, "the rest of the document, which breaks off here")
}

const fn doctype(offset: usize) -> XmlFault {
    XmlFault::new("xml.doctype", offset, "a document without DOCTYPE (none is ever read)")
}

const fn late_declaration(offset: usize) -> XmlFault {
    XmlFault::new("xml.malformed", offset, "the XML declaration at the very beginning only")
}

fn explain(error: &Error, start: usize, depth: usize) -> XmlFault {
    match error {
        Error::Syntax(SyntaxError::InvalidBangMarkup) => {
            XmlFault::new("xml.malformed", start, "a comment or CDATA after `<!`")
        }
        Error::Syntax(SyntaxError::UnclosedDoctype)
        | Error::IllFormed(IllFormedError::MissingDoctypeName) => doctype(start),
        Error::Syntax(_) => truncated(start),
        Error::IllFormed(IllFormedError::UnmatchedEndTag(_)) if depth == 0 => {
            XmlFault::new("xml.malformed", start, "no end tag without its start tag")
        }
        Error::IllFormed(IllFormedError::MismatchedEndTag { .. }) => {
            XmlFault::new("xml.malformed", start, "the end tag of the element that was opened last")
        }
        _ => XmlFault::new("xml.malformed", start, "well-formed XML"),
    }
}

/// What a byte of a name is: 1 for what no name can hold, 2 for the end of a prefix. Not the whole
/// production of XML, but everything that could be mistaken for other markup.
const NAME_BYTES: [u8; 256] = {
    let mut kinds = [0; 256];
    let marks = b"<>&\"'=/!?";
    let mut at = 0;
    while at < marks.len() {
        kinds[marks[at] as usize] = 1;
        at += 1;
    }
    kinds[b':' as usize] = 2;
    kinds
};

/// What stands behind the prefix of an element name; none when it is no name.
fn local_name(name: &str) -> Option<&str> {
    let kinds = name.bytes().fold(0, |kinds, byte| kinds | NAME_BYTES[usize::from(byte)]);
    if kinds & 1 != 0 || !begins_a_name(name) {
        return None;
    }
    let local = if kinds & 2 == 0 { name } else { local(name) };
    begins_a_name(local).then_some(local)
}

fn begins_a_name(name: &str) -> bool {
    match name.as_bytes() {
        [] => false,
        [first, ..] => !first.is_ascii_digit() && !matches!(first, b'-' | b'.' | b':'),
    }
}

/// The first byte, from `start` on, that XML 1.0 forbids: a control character, U+FFFE or U+FFFF.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "without a branch the compiler makes vector instructions of each block"
)]
fn forbidden_from(text: &str, start: usize) -> usize {
    const BLOCK: usize = 128;
    let forbidden = |byte: u8| (byte < 0x20) & (byte != b'\t') & (byte != b'\n') & (byte != b'\r');
    let bytes = &text.as_bytes()[start.min(text.len())..];
    for (block, chunk) in bytes.chunks(BLOCK).enumerate() {
        let suspicious =
            chunk.iter().fold(false, |any, byte| any | forbidden(*byte) | (*byte == 0xEF));
        if suspicious {
            let at = start + block * BLOCK;
            let found = chunk.iter().enumerate().find(|(index, byte)| {
                let rest = &text.as_bytes()[at + index..];
                forbidden(**byte) || matches!(rest, [0xEF, 0xBF, 0xBE | 0xBF, ..])
            });
            if let Some((index, _)) = found {
                return at + index;
            }
        }
    }
    usize::MAX
}
