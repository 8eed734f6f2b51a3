//! Until when a certificate holds: the two times in it, and nothing else.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::domain::time::Timestamp;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// The version, which old certificates leave out.
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// Of the first certificate of a PEM text.
pub(super) fn of_pem(pem: &str) -> Option<Validity> {
    of_der(&CertificateDer::from_pem_slice(pem.as_bytes()).ok()?)
}

/// RFC 5280: `SEQUENCE { tbs SEQUENCE { version?, serial, algorithm, issuer, validity, … } … }`.
pub(super) fn of_der(der: &[u8]) -> Option<Validity> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (mut rest, _) = expect(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        rest = expect(rest, tag)?.1;
    }
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (tag, from, after) = element(validity)?;
    let (until_tag, until, _) = element(after)?;
    Some(Validity { from: time(tag, from)?, until: time(until_tag, until)? })
}

/// Content of the first element, if it has this tag, and what follows it.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, bytes) = bytes.split_first()?;
    let (&first, mut bytes) = bytes.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7F);
        if count == 0 || count > 4 || bytes.len() < count {
            return None;
        }
        let (digits, rest) = bytes.split_at(count);
        length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        bytes = rest;
    }
    (bytes.len() >= length).then(|| (tag, &bytes[..length], &bytes[length..]))
}

fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let full = match tag {
        // RFC 5280: 50 and above are of the last century.
        UTC_TIME if text.len() == 12 => format!("{}{text}", if text < "5" { "20" } else { "19" }),
        GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    if !full.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| &full[from..to];
    Timestamp::from_iso(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::certificates;

    #[test]
    fn the_times_of_a_certificate_are_read_and_rubbish_has_none() {
        let folder = tempfile::tempdir().unwrap();
        certificates::write(folder.path(), true).unwrap();
        let file = folder.path().join(certificates::CLIENT_CERTIFICATE_FILE);
        let pem = std::fs::read_to_string(file).unwrap();
        let validity = of_pem(&pem).unwrap();
        assert!(validity.from < validity.until, "{validity:?}");
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        for cut in 0..40 {
            assert_eq!(of_der(&der[..cut]), None, "cut at {cut}");
        }
        assert_eq!(of_pem("no certificate"), None);
        assert_eq!(of_der(&[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]), None);
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let at = |text| Timestamp::from_iso(text);
        assert_eq!(time(UTC_TIME, b"261130093000Z"), at("2026-11-30T09:30:00Z"));
        assert_eq!(time(UTC_TIME, b"991231235959Z"), at("1999-12-31T23:59:59Z"));
        assert_eq!(time(GENERALIZED_TIME, b"20501130093000Z"), at("2050-11-30T09:30:00Z"));
        assert_eq!(time(UTC_TIME, b"26113009300Z"), None);
        assert_eq!(time(GENERALIZED_TIME, b"2050113009300xZ"), None);
    }
}
