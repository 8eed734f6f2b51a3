//! Stored bodies: compressed, and sealed when the ledger has a key.
//!
//! A sealed body is `hoso`, a version, the key's id, a nonce and the ciphertext of the compressed
//! text. Its table and row are bound to it, so that a body put into another row is not opened.
//! Without a key a body is a plain zstd frame with a checksum. Either way a flipped bit is found
//! when the body is read, and is never another text.

use std::cell::RefCell;

use super::LedgerError;
use super::key::{BodyKey, ID_BYTES, KeyTrouble};

/// Level 1 costs about as much as hashing the same bytes and keeps a 5 KB dossier in about 1.5 KB.
const LEVEL: i32 = 1;
/// No stored body is larger; a row that claims more is corrupt.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// No zstd frame begins like this.
const SEALED: [u8; 5] = *b"hoso\x01";
/// What stands in front of the nonce.
pub(super) const HEADER_BYTES: usize = SEALED.len() + ID_BYTES;

thread_local! {
    // Contexts are costly to set up and cheap to reuse.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Which body of which table, for messages and for binding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    table: &'static str,
    id: i64,
    /// Of rows that get their number from SQLite: what else identifies them.
    hash: Option<&'a [u8]>,
}

impl<'a> Row<'a> {
    pub(super) const fn of(table: &'static str, row: i64) -> Self {
        Self { table, id: row, hash: None }
    }

    /// `row` is for messages only.
    pub(super) const fn hashed(table: &'static str, hash: &'a [u8], row: i64) -> Self {
        Self { table, id: row, hash: Some(hash) }
    }

    fn bound(self) -> Vec<u8> {
        let mut bytes = self.table.as_bytes().to_vec();
        bytes.push(0);
        match self.hash {
            Some(hash) => bytes.extend_from_slice(hash),
            None => bytes.extend_from_slice(&self.id.to_le_bytes()),
        }
        bytes
    }

    const fn corrupt(self) -> LedgerError {
        LedgerError::Corrupt { table: self.table, column: "body", row: self.id }
    }
}

/// How new bodies are written.
#[derive(Debug, Clone)]
pub(super) enum Writing {
    Plain,
    /// Under the first of the keys.
    Sealed,
    /// The configured key is not the one in use, and it was not asked to become it.
    Refused(KeyTrouble),
}

/// Writes and reads bodies under the keys of one ledger.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    pub(super) keys: Vec<BodyKey>,
    pub(super) writing: Writing,
    /// Every body is sealed, so a plain one was put there by somebody else.
    pub(super) only_sealed: bool,
}

impl Bodies {
    pub(super) const fn plain() -> Self {
        Self { keys: Vec::new(), writing: Writing::Plain, only_sealed: false }
    }

    pub(super) fn write(&self, row: Row<'_>, text: &[u8]) -> Result<Vec<u8>, LedgerError> {
        let compressed = compress(text)?;
        let key = match (&self.writing, self.keys.first()) {
            (Writing::Plain, _) => return Ok(compressed),
            (Writing::Refused(trouble), _) => return Err(LedgerError::Key(trouble.clone())),
            (Writing::Sealed, Some(key)) => key,
            (Writing::Sealed, None) => {
                return Err(LedgerError::Conflict("a sealed ledger without a key".into()));
            }
        };
        let mut body = Self::header(key).to_vec();
        body.extend(key.seal(&row.bound(), &compressed).map_err(unavailable)?);
        Ok(body)
    }

    pub(super) fn read(&self, row: Row<'_>, body: &[u8]) -> Result<String, LedgerError> {
        String::from_utf8(self.read_bytes(row, body)?).map_err(|_| row.corrupt())
    }

    /// Evidence of what a source gave is not always text.
    pub(super) fn read_bytes(&self, row: Row<'_>, body: &[u8]) -> Result<Vec<u8>, LedgerError> {
        let Some(sealed) = body.strip_prefix(&SEALED) else {
            if self.only_sealed {
                return Err(row.corrupt());
            }
            return decompress(row, body);
        };
        let (id, sealed) = sealed.split_first_chunk::<ID_BYTES>().ok_or_else(|| row.corrupt())?;
        let key = self.keys.iter().find(|key| key.id_bytes() == id).ok_or_else(|| row.corrupt())?;
        let compressed = key.open(&row.bound(), sealed).ok_or_else(|| row.corrupt())?;
        decompress(row, &compressed)
    }

    /// How every body under this key begins.
    pub(super) fn header(key: &BodyKey) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..SEALED.len()].copy_from_slice(&SEALED);
        header[SEALED.len()..].copy_from_slice(key.id_bytes());
        header
    }
}

fn compress(body: &[u8]) -> Result<Vec<u8>, LedgerError> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = if let Some(compressor) = slot {
            compressor
        } else {
            let mut compressor = zstd::bulk::Compressor::new(LEVEL).map_err(unavailable)?;
            // SQLite's own check looks at the structure of pages, not at their content; with a
            // checksum a flipped bit in a body is found when the body is read.
            compressor.include_checksum(true).map_err(unavailable)?;
            slot.insert(compressor)
        };
        compressor.compress(body).map_err(unavailable)
    })
}

fn decompress(row: Row<'_>, body: &[u8]) -> Result<Vec<u8>, LedgerError> {
    let size = zstd::zstd_safe::get_frame_content_size(body)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size <= BODY_BYTES_MAX)
        .ok_or_else(|| row.corrupt())?;
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new().map_err(unavailable)?),
        };
        decompressor.decompress(body, size).map_err(|_| row.corrupt())
    })
}

fn unavailable(error: std::io::Error) -> LedgerError {
    LedgerError::Unavailable { doing: "write a body", source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: char) -> BodyKey {
        BodyKey::from_text(&digit.to_string().repeat(64)).unwrap()
    }

    fn sealed(keys: &[char]) -> Bodies {
        let keys = keys.iter().copied().map(key).collect();
        Bodies { keys, writing: Writing::Sealed, only_sealed: false }
    }

    #[test]
    fn a_body_comes_back_as_it_was() {
        let row = Row::of("document", 1);
        for bodies in [Bodies::plain(), sealed(&['a'])] {
            for text in ["", "x", &"Hồ sơ ".repeat(5000)] {
                let body = bodies.write(row, text.as_bytes()).unwrap();
                assert_eq!(bodies.read(row, &body).unwrap(), text);
            }
        }
    }

    #[test]
    fn evidence_that_is_no_text_comes_back_byte_by_byte() {
        let row = Row::hashed("refused_document", &[7; 32], 1);
        for bodies in [Bodies::plain(), sealed(&['a'])] {
            let body = bodies.write(row, &[0xff, 0xfe, 0x00]).unwrap();
            assert_eq!(bodies.read_bytes(row, &body).unwrap(), [0xff, 0xfe, 0x00]);
            assert!(bodies.read(row, &body).is_err());
        }
    }

    #[test]
    fn any_flipped_bit_of_a_body_is_corruption_and_never_another_text() {
        let text = "<HoSo><MaHoSo>H55.242-260126-0001</MaHoSo></HoSo>".repeat(4);
        let row = Row::of("document", 7);
        for bodies in [Bodies::plain(), sealed(&['a'])] {
            let body = bodies.write(row, text.as_bytes()).unwrap();
            for at in 0..body.len() * 8 {
                let mut flipped = body.clone();
                flipped[at / 8] ^= 1 << (at % 8);
                match bodies.read(row, &flipped) {
                    Err(LedgerError::Corrupt { row: 7, .. }) => {}
                    Ok(same) => assert_eq!(same, text, "bit {at}"),
                    Err(other) => panic!("bit {at}: {other}"),
                }
            }
        }
    }

    #[test]
    fn a_sealed_body_opens_only_in_its_row_under_its_key() {
        let ours = sealed(&['a']);
        let body = ours.write(Row::of("packet", 1), b"one").unwrap();
        assert!(ours.read(Row::of("packet", 2), &body).is_err());
        assert!(ours.read(Row::of("document", 1), &body).is_err());
        assert!(sealed(&['b']).read(Row::of("packet", 1), &body).is_err());
        assert!(Bodies::plain().read(Row::of("packet", 1), &body).is_err());
        // While keys change, both are known.
        assert_eq!(sealed(&['b', 'a']).read(Row::of("packet", 1), &body).unwrap(), "one");
        // The same text twice is not the same body.
        assert_ne!(ours.write(Row::of("packet", 1), b"one").unwrap(), body);
    }

    #[test]
    fn once_everything_is_sealed_a_plain_body_is_not_believed() {
        let plain = Bodies::plain().write(Row::of("packet", 1), b"planted").unwrap();
        let mut bodies = sealed(&['a']);
        assert_eq!(bodies.read(Row::of("packet", 1), &plain).unwrap(), "planted");
        bodies.only_sealed = true;
        assert!(bodies.read(Row::of("packet", 1), &plain).is_err());
    }

    #[test]
    fn a_new_key_is_a_key_and_never_the_last_one() {
        let (one, other) = (BodyKey::new_text().unwrap(), BodyKey::new_text().unwrap());
        assert_ne!(one, other);
        let key = BodyKey::from_text(&one).unwrap();
        assert_eq!(key.id().len(), 16);
        assert!(!format!("{key:?}").contains(&one[..16]));
        for no_key in ["", "abc", &"g".repeat(64), &one[1..], &"đ".repeat(32)] {
            assert!(BodyKey::from_text(no_key).is_err(), "{no_key}");
        }
    }
}
