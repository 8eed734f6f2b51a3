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
}

pub(super) fn compress(body: &[u8]) -> Result<Vec<u8>, LedgerError> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(zstd::bulk::Compressor::new(LEVEL).map_err(unavailable)?),
        };
        compressor.compress(body).map_err(unavailable)
    })
}

pub(super) fn decompress(
    table: &'static str,
    row: i64,
    body: &[u8],
) -> Result<String, LedgerError> {
    let corrupt = || LedgerError::Corrupt {
        table,
        column: "body",
        row,
    };
    let size = zstd::zstd_safe::get_frame_content_size(body)
        .ok()
        .flatten()
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size <= BODY_BYTES_MAX)
        .ok_or_else(corrupt)?;
    let bytes = zstd::bulk::decompress(body, size).map_err(|_| corrupt())?;
    String::from_utf8(bytes).map_err(|_| corrupt())
}

fn unavailable(error: std::io::Error) -> LedgerError {
    LedgerError::Unavailable {
        doing: "compress a body",
        source: error.into(),
    }
}
