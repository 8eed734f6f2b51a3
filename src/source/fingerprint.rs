//! Whether a dossier really changed: a hash of what the source said, not of how it wrote it.
//!
//! The item becomes a canonical stream while it is scanned: local names, attributes sorted, text trimmed, runs of white space as one space, Unicode in NFC. Left out are the
//! source's own bookkeeping (`phienBan`, `capNhatLuc`), name space declarations, the copy of the
//! original record (`DuLieuGoc`), and query keys of links that differ on every export. What
//! remains is hashed, so an export that only reformats creates no revision, and any other
//! difference does.
//!
//! Stored fingerprints are compared across program versions: a change of the canonical form must
//! change [`FORM`], because after it every dossier looks changed once.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::Owner;

/// Version of the canonical form.
const FORM: char = '1';

// Separators are control characters that no well-formed XML text can hold.
const OPEN: char = '\u{1}';
const ATTRIBUTE: char = '\u{2}';
const VALUE: char = '\u{3}';
const TEXT: char = '\u{4}';
const CLOSE: char = '\u{5}';
const FLAW: char = '\u{6}';

/// Element directly under the dossier that repeats the original record for traceability.
const ORIGINAL_RECORD: &str = "DuLieuGoc";
const ELEMENT_DEPTH_OF_CHILDREN: usize = 1;

/// Builds one item's canonical stream; reused from item to item to keep its memory.
#[derive(Debug)]
pub(super) struct Canonical<'k> {
    volatile_query_keys: &'k [String],
    stream: String,
    /// Where the text in progress begins in `stream`.
    text_from: Option<usize>,
    space_pending: bool,
    depth: usize,
    /// The depth of the element that is left out, while inside it.
    left_out: Option<usize>,
}

impl<'k> Canonical<'k> {
    pub(super) fn new(volatile_query_keys: &'k [String]) -> Self {
        Self {
            volatile_query_keys,
            stream: String::new(),
            text_from: None,
            space_pending: false,
            depth: 0,
            left_out: None,
        }
    }

    /// Starts an item: the facts of its own tag, then whatever other attributes it has.
    pub(super) fn begin<'t>(
        &mut self,
        deleted: bool,
        owner: Owner,
        others: impl Iterator<Item = (&'t str, Cow<'t, str>)>,
    ) {
        self.stream.clear();
        self.text_from = None;
        self.space_pending = false;
        self.depth = 1;
        self.left_out = None;
        self.stream.push(FORM);
        self.stream.push(if deleted { 'x' } else { '-' });
        self.stream.push(match owner {
            Owner::Province => 'p',
            Owner::Ministry => 'm',
        });
        self.attributes(others);
    }

    pub(super) fn open<'t>(
        &mut self,
        name: &str,
        attributes: impl Iterator<Item = (&'t str, Cow<'t, str>)>,
    ) {
        self.end_text();
        self.depth += 1;
        if self.left_out.is_some() {
            return;
        }
        if self.depth == ELEMENT_DEPTH_OF_CHILDREN + 1 && name == ORIGINAL_RECORD {
            self.left_out = Some(self.depth);
            return;
        }
        self.stream.push(OPEN);
        self.stream.push_str(name);
        self.attributes(attributes);
    }

    /// A piece of text; neighbouring pieces (around comments, CDATA, references) are one text.
    pub(super) fn text(&mut self, piece: &str) {
        if self.left_out.is_some() {
            return;
        }
        let bytes = piece.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if is_white(bytes[at]) {
                self.space_pending = true;
                at += 1;
                continue;
            }
            let from = at;
            while at < bytes.len() && !is_white(bytes[at]) {
                at += 1;
            }
            if self.text_from.is_none() {
                self.stream.push(TEXT);
                self.text_from = Some(self.stream.len());
            } else if self.space_pending {
                self.stream.push(' ');
            }
            self.space_pending = false;
            self.stream.push_str(&piece[from..at]);
        }
    }

    pub(super) fn close(&mut self) {
        self.end_text();
        if self.left_out.is_none() {
            self.stream.push(CLOSE);
        } else if self.left_out == Some(self.depth) {
            self.left_out = None;
        }
        self.depth -= 1;
    }

    /// An item with a flaw has no sure canonical form: its raw content decides as well, so that
    /// no difference can hide behind what was skipped.
    pub(super) fn flawed(&mut self, raw: &str) {
        self.stream.push(FLAW);
        self.stream.push_str(raw);
    }

    pub(super) fn finish(&mut self) -> [u8; 32] {
        self.end_text();
        *blake3::hash(self.stream.as_bytes()).as_bytes()
    }

    fn attributes<'t>(&mut self, attributes: impl Iterator<Item = (&'t str, Cow<'t, str>)>) {
        let mut sorted: Vec<(&str, Cow<'_, str>)> = attributes.collect();
        sorted.sort_unstable();
        for (name, value) in sorted {
            self.stream.push(ATTRIBUTE);
            self.stream.push_str(name);
            self.stream.push(VALUE);
            self.text(&value);
            self.end_text();
        }
    }

    fn end_text(&mut self) {
        self.space_pending = false;
        let Some(from) = self.text_from.take() else {
            return;
        };
        let run = &self.stream[from..];
        if !is_surely_nfc(run) && is_nfc_quick(run.chars()) != IsNormalized::Yes {
            let normalised: String = run.nfc().collect();
            self.stream.truncate(from);
            self.stream.push_str(&normalised);
        }
        if let Some(lasting) = without_volatile_keys(&self.stream[from..], self.volatile_query_keys)
        {
            self.stream.truncate(from);
            self.stream.push_str(&lasting);
        }
    }
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Cheap proof for ordinary Vietnamese text: every character below U+0300 and in
/// U+1E00..=U+1EFF is a starter that never composes with its predecessor, and so is the general
/// punctuation of U+2010..=U+203F. `false` only means "look closer".
fn is_surely_nfc(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_ascii() {
        return true;
    }
    let mut at = 0;
    while at < bytes.len() {
        at += match bytes[at] {
            0x00..=0x7f => 1,
            0xc2..=0xcb => 2,
            0xe1 if matches!(bytes[at + 1], 0xb8..=0xbb) => 3,
            0xe2 if bytes[at + 1] == 0x80 && bytes[at + 2] >= 0x90 => 3,
            _ => return false,
        };
    }
    true
}

/// The link without its volatile query keys; `None` when there is nothing to take away.
fn without_volatile_keys(text: &str, keys: &[String]) -> Option<String> {
    let scheme = text.get(..8).or_else(|| text.get(..7))?;
    let is_link = scheme.eq_ignore_ascii_case("https://")
        || scheme.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    if !is_link || keys.is_empty() || text.contains(' ') {
        return None;
    }
    let (address, rest) = text.split_once('?')?;
    if address.contains('#') {
        return None;
    }
    let (query, fragment) = match rest.split_once('#') {
        Some((query, fragment)) => (query, Some(fragment)),
        None => (rest, None),
    };
    let is_volatile = |pair: &&str| {
        let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
        keys.iter().any(|volatile| volatile.eq_ignore_ascii_case(key))
    };
    if !query.split('&').any(|pair| is_volatile(&pair)) {
        return None;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_volatile(pair)).collect();
    let mut lasting = address.to_owned();
    if !kept.is_empty() {
        lasting.push('?');
        lasting.push_str(&kept.join("&"));
    }
    if let Some(fragment) = fragment {
        lasting.push('#');
        lasting.push_str(fragment);
    }
    Some(lasting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn volatile_keys_leave_links_and_nothing_else() {
        let keys = ["t", "token", "expires"].map(str::to_owned);
        let table = [
            ("https://tep.example.invalid/a?t=1", Some("https://tep.example.invalid/a")),
            (
                "HTTP://tep.example.invalid/a?id=7&Token=x&page=2#p",
                Some("HTTP://tep.example.invalid/a?id=7&page=2#p"),
            ),
            (
                "https://tep.example.invalid/a?expires&id=7",
                Some("https://tep.example.invalid/a?id=7"),
            ),
            ("https://tep.example.invalid/a?id=7", None),
            ("https://tep.example.invalid/a?title=1", None),
            ("https://tep.example.invalid/a#x?t=1", None),
            ("tep.example.invalid/a?t=1", None),
            ("xem https://tep.example.invalid/a?t=1", None),
            ("https://tep.example.invalid/a?t=1 (cũ)", None),
            ("https:/", None),
            ("ồồồồ", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(without_volatile_keys(text, &keys).as_deref(), expected, "{text}");
        }
        assert_eq!(without_volatile_keys("https://a.example.invalid/?t=1", &[]), None);
    }

    proptest! {
        #[test]
        fn the_cheap_proof_of_nfc_is_never_wrong(
            text in "[ -~À-ɏ\u{2b0}-\u{36f}Ḁ-ỿ\u{2000}-\u{2044}\u{1100}-\u{1200}가-각]{0,12}"
        ) {
            if is_surely_nfc(&text) {
                prop_assert_eq!(text.nfc().collect::<String>(), text);
            }
        }

        #[test]
        fn any_text_can_be_fingerprinted(pieces in proptest::collection::vec("\\PC{0,20}", 0..6)) {
            let keys = ["t".to_owned()];
            let mut canonical = Canonical::new(&keys);
            canonical.begin(false, Owner::Province, std::iter::empty());
            for piece in &pieces {
                canonical.text(piece);
            }
            let split = canonical.finish();
            canonical.begin(false, Owner::Province, std::iter::empty());
            canonical.text(&pieces.concat());
            prop_assert_eq!(canonical.finish(), split);
        }
    }
}
