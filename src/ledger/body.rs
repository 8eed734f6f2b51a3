//! Compression of stored bodies.

use std::cell::RefCell;

use super::LedgerError;

/// Level 1 costs about as much as hashing the same bytes and keeps a 5 KB dossier in about 1.5 KB.
const LEVEL: i32 = 1;
/// No stored body is larger; a row that claims more is corrupt.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

thread_local! {
    // Contexts are costly to set up and cheap to reuse.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

pub(super) fn compress(body: &[u8]) -> Result<Vec<u8>, LedgerError> {
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

pub(super) fn decompress(
    table: &'static str,
    row: i64,
    body: &[u8],
) -> Result<String, LedgerError> {
    let corrupt = || LedgerError::Corrupt { table, column: "body", row };
    let size = zstd::zstd_safe::get_frame_content_size(body)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size <= BODY_BYTES_MAX)
        .ok_or_else(corrupt)?;
    let bytes = DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new().map_err(unavailable)?),
        };
        decompressor.decompress(body, size).map_err(|_| corrupt())
    })?;
    String::from_utf8(bytes).map_err(|_| corrupt())
}

fn unavailable(error: std::io::Error) -> LedgerError {
    LedgerError::Unavailable { doing: "compress a body", source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_back_as_it_was() {
        for text in ["", "x", &"Hồ sơ ".repeat(5000)] {
            let body = compress(text.as_bytes()).unwrap();
            assert_eq!(decompress("revision", 1, &body).unwrap(), text);
        }
    }

    #[test]
    fn any_flipped_bit_of_a_body_is_corruption_and_never_another_text() {
        let text = "<HoSo><MaHoSo>H55.242-260126-0001</MaHoSo></HoSo>".repeat(4);
        let body = compress(text.as_bytes()).unwrap();
        for at in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            match decompress("revision", 7, &flipped) {
                Err(LedgerError::Corrupt { row: 7, .. }) => {}
                Ok(same) => assert_eq!(same, text, "bit {at}"),
                Err(other) => panic!("bit {at}: {other}"),
            }
        }
    }
}
