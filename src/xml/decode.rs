//! Bytes to text. The byte order mark decides, then the charset of the transport, then the XML
//! declaration, then UTF-8 (RFC 7303, section 3).

use std::borrow::Cow;

use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::XmlFault;

/// How far an XML declaration is looked for.
const SNIFFED_BYTES: usize = 256;

/// Decodes a document. UTF-8 is borrowed; malformed sequences are refused, never replaced; a byte
/// order mark is removed.
pub fn decode<'a>(bytes: &'a [u8], charset: Option<&str>) -> Result<Cow<'a, str>, XmlFault> {
    let (encoding, mark_bytes) = match Encoding::for_bom(bytes) {
        Some(found) => found,
        None => (named(charset, bytes)?, 0),
    };
    let content = &bytes[mark_bytes..];
    if encoding == UTF_8 {
        return match std::str::from_utf8(content) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(error) => Err(malformed(mark_bytes + error.valid_up_to())),
        };
    }
    match encoding.decode_without_bom_handling_and_without_replacement(content) {
        Some(text) => Ok(text),
        None => Err(malformed(mark_bytes + first_malformed(encoding, content))),
    }
}

/// A document with malformed sequences, as far as it can be made out.
#[derive(Debug)]
pub struct Sound {
    /// With a replacement character for each malformed sequence. To be looked at, never to be taken.
    pub text: String,
    /// How many bytes of `text` stand before the first malformed sequence.
    pub sound_bytes: usize,
}

/// What [`decode`] would have read of a document that it refused for malformed sequences; nothing
/// when the character set itself is unknown.
pub fn decode_sound(bytes: &[u8], charset: Option<&str>) -> Option<Sound> {
    let (encoding, mark_bytes) = match Encoding::for_bom(bytes) {
        Some(found) => found,
        None => (named(charset, bytes).ok()?, 0),
    };
    let content = &bytes[mark_bytes..];
    let first = first_malformed(encoding, content);
    let (sound, _) = encoding.decode_without_bom_handling(&content[..first]);
    let sound_bytes = sound.len();
    let (text, _) = encoding.decode_without_bom_handling(content);
    Some(Sound { text: text.into_owned(), sound_bytes })
}

fn named(charset: Option<&str>, bytes: &[u8]) -> Result<&'static Encoding, XmlFault> {
    let charset = charset.map(|name| name.trim().trim_matches('"'));
    if let Some(name) = charset.filter(|name| !name.is_empty()) {
        return by_label(name.as_bytes());
    }
    match bytes {
        [b'<', 0, ..] => return Ok(UTF_16LE),
        [0, b'<', ..] => return Ok(UTF_16BE),
        _ => {}
    }
    match declared(&bytes[..bytes.len().min(SNIFFED_BYTES)]) {
        // The declaration was readable byte by byte, so it cannot be UTF-16: some writers declare
        // the encoding of their string type and then save UTF-8.
        Some(label) => by_label(label).map(Encoding::output_encoding),
        None => Ok(UTF_8),
    }
}

fn by_label(label: &[u8]) -> Result<&'static Encoding, XmlFault> {
    Encoding::for_label_no_replacement(label).ok_or(XmlFault::new(
        "xml.encoding",
        0,
        "a known character set (utf-8, utf-16, windows-1258, …)",
    ))
}

/// The label in `<?xml … encoding="label"`, if the document begins with a declaration.
fn declared(head: &[u8]) -> Option<&[u8]> {
    let declaration = head.strip_prefix(b"<?xml")?;
    let end = declaration.windows(2).position(|pair| pair == b"?>")?;
    let declaration = &declaration[..end];
    let key = b"encoding";
    let at = declaration.windows(key.len()).position(|window| window == key)?;
    let value = declaration[at + key.len()..].trim_ascii_start();
    let value = value.strip_prefix(b"=")?.trim_ascii_start();
    let quote = *value.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
    value[1..].split(|byte| *byte == quote).next()
}

fn first_malformed(encoding: &'static Encoding, bytes: &[u8]) -> usize {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut sink = String::with_capacity(4096);
    let mut read = 0;
    loop {
        let (result, used) =
            decoder.decode_to_string_without_replacement(&bytes[read..], &mut sink, true);
        read += used;
        match result {
            DecoderResult::OutputFull => sink.clear(),
            DecoderResult::InputEmpty => return read,
            DecoderResult::Malformed(length, behind) => {
                return read.saturating_sub(usize::from(length) + usize::from(behind));
            }
        }
    }
}

const fn malformed(offset: usize) -> XmlFault {
    XmlFault::new("xml.encoding", offset, "bytes of the character set in use")
}
