//! Bytes to text to elements: whole documents only, within limits, the tolerant walk no blinder than
//! the strict one.

use std::path::Path;

use hoso_gateway::xml::{Event, Limits, Scanner, XmlFault, decode, decode_sound, position};

use super::files;

/// Small, so that they are met.
const LIMITS: Limits =
    Limits { depth_max: 8, attributes_max: 6, events_max: 1000, text_bytes_max: 2048 };

const CHARSETS: [&str; 6] = ["utf-8", "utf-16le", "windows-1258", "\"UTF-8\"", "shift_jis", "x"];

pub(super) fn seeds(root: &Path) -> Vec<Vec<u8>> {
    let mut seeds = files(&root.join("fixtures/province"));
    for case in files(&root.join("fixtures/hostile")) {
        if case.first() != Some(&b's') && case.len() < 8192 {
            seeds.push(case);
        }
    }
    seeds
}

pub(super) fn check(bytes: &[u8]) {
    // 0xF0 to 0xF5 in front name the transport's charset.
    let (charset, bytes) = match bytes.split_first() {
        Some((first @ 0xF0..=0xF5, rest)) => (Some(CHARSETS[usize::from(first - 0xF0)]), rest),
        _ => (None, bytes),
    };
    let text = match decode(bytes, charset) {
        Ok(text) => text,
        Err(fault) => {
            assert_eq!(fault.rule, "xml.encoding");
            assert!(fault.offset <= bytes.len(), "{fault}");
            if let Some(sound) = decode_sound(bytes, charset) {
                assert!(sound.text.is_char_boundary(sound.sound_bytes), "{sound:?}");
            }
            return;
        }
    };
    let strict = walk(Scanner::new(&text, &LIMITS), &text);
    let tolerant = walk(Scanner::new(&text, &LIMITS).tolerant(), &text);
    match (strict.end, tolerant.end) {
        (Ok(()), end) => {
            assert_eq!(end, Ok(()), "what the strict walk takes, the tolerant one takes");
            assert_eq!(tolerant.flaws, 0);
            assert_eq!(strict.seen, tolerant.seen);
        }
        // A flaw is a fault to the strict walk; the tolerant one forgives nothing else.
        (Err(_), Ok(())) => assert!(tolerant.flaws > 0, "forgiven without a word"),
        (Err(_), Err(_)) => {}
    }
}

struct Walked {
    seen: Vec<String>,
    flaws: usize,
    end: Result<(), XmlFault>,
}

fn walk(mut scanner: Scanner<'_>, text: &str) -> Walked {
    let mut walked = Walked { seen: Vec::new(), flaws: 0, end: Ok(()) };
    let mut open: Vec<&str> = Vec::new();
    let mut roots = 0;
    let mut reached = 0;
    loop {
        let event = match scanner.next() {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(fault) => {
                assert_eq!(scanner.next().expect_err("again"), fault);
                assert_fault(&fault, text);
                walked.end = Err(fault);
                return walked;
            }
        };
        assert!(walked.seen.len() + walked.flaws <= 2 * LIMITS.events_max + 2, "endless");
        match event {
            Event::Open { name, attributes, offset } => {
                roots += usize::from(open.is_empty());
                assert!(text[offset..].starts_with('<') && offset >= reached);
                reached = offset;
                open.push(name);
                assert!(open.len() <= LIMITS.depth_max, "depth");
                let attributes: Vec<_> = attributes.iter().collect();
                assert!(attributes.len() <= LIMITS.attributes_max, "attributes");
                walked.seen.push(format!("<{name} {attributes:?}"));
            }
            Event::Text { value, offset } => {
                assert!(text.is_char_boundary(offset) && offset >= reached);
                reached = offset;
                assert!(value.len() <= LIMITS.text_bytes_max, "text");
                let forbidden = |c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r');
                assert!(walked.flaws > 0 || !value.contains(forbidden), "{value:?}");
                walked.seen.push(value.into_owned());
            }
            Event::Close { name, end } => {
                assert_eq!(open.pop(), Some(name));
                assert!(text.is_char_boundary(end) && end >= reached);
                reached = end;
                walked.seen.push(format!("</{name}"));
            }
            Event::Flaw(fault) => {
                assert_fault(&fault, text);
                walked.flaws += 1;
            }
        }
    }
    assert!(open.is_empty() && roots == 1, "a document has one whole root");
    walked
}

fn assert_fault(fault: &XmlFault, text: &str) {
    assert!(fault.rule.starts_with("xml.") && !fault.expected.is_empty(), "{fault}");
    assert!(fault.offset <= text.len(), "{fault}");
    let place = position(text, fault.offset);
    assert!(place.line > 0 && place.column > 0);
}
