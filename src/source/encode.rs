//! The two encodings that a feed request needs.

use std::fmt::Write as _;

/// Percent-encodes everything but RFC 3986's unreserved characters, for one path segment or one
/// query value.
pub(super) fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Base64 with padding (RFC 4648), for `Authorization: Basic`.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .enumerate()
            .fold(0_usize, |group, (at, byte)| group | usize::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let symbol = ALPHABET[(group >> (18 - 6 * at)) & 63];
            encoded.push(if at <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_follows_the_vectors_of_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\u{ff}?>~", "w78/Pn4="),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded, "{plain}");
        }
    }

    #[test]
    fn nothing_of_a_code_can_leave_its_path_segment() {
        assert_eq!(percent("H55.242-260126-0001"), "H55.242-260126-0001");
        assert_eq!(percent("a/b?c#d%e f&g"), "a%2Fb%3Fc%23d%25e%20f%26g");
        assert_eq!(percent("hồ"), "h%E1%BB%93");
    }
}
