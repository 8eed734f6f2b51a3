use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

/// The events of a document in one line: `<a x=1> "text" </a>`.
fn walk(scanner: Scanner<'_>) -> Result<String, XmlFault> {
    let mut scanner = scanner;
    let mut words = Vec::new();
    while let Some(event) = scanner.next()? {
        words.push(match event {
            Event::Open { name, attributes, .. } => {
                let mut tag = format!("<{name}");
                for (name, value) in attributes.iter() {
                    tag.extend([" ", name, "=", &value]);
                }
                tag + ">"
            }
            Event::Text { value, .. } => format!("{value:?}"),
            Event::Close { name, .. } => format!("</{name}>"),
            Event::Flaw(fault) => format!("!{}", fault.rule),
        });
    }
    Ok(words.join(" "))
}

fn strict(text: &str) -> Result<String, XmlFault> {
    walk(Scanner::new(text, &Limits::default()))
}

fn tolerant(text: &str) -> Result<String, XmlFault> {
    walk(Scanner::new(text, &Limits::default()).tolerant())
}

fn rule(text: &str) -> &'static str {
    strict(text).unwrap_err().rule
}

#[test]
fn a_document_comes_as_opens_texts_and_closes_with_local_names() {
    let text = "\u{FEFF}<?xml version=\"1.0\"?>\n<!-- c --><n:a xmlns:n='u' n:x='1' y=\"&lt;2&#x1EA1;\">\
                <b/>đ &amp; e<!-- c --><![CDATA[<f>]]>\r\ng\r</n:a> <?pi x?>";
    assert_eq!(strict(text).unwrap(), "<a x=1 y=<2ạ> <b> </b> \"đ & e<f>\\ng\\n\" </a>");
}

#[test]
fn a_text_in_one_piece_is_borrowed() {
    let mut scanner = Scanner::new("<a>text</a>", &Limits::default());
    scanner.next().unwrap();
    let Some(Event::Text { value, offset }) = scanner.next().unwrap() else {
        panic!("text");
    };
    assert!(matches!(value, Cow::Borrowed("text")));
    assert_eq!(offset, 3);
}

#[test]
fn an_element_can_be_cut_out_by_its_offsets() {
    for text in ["<r> <i a='1'>x</i> </r>", "\u{FEFF}<r><i a='1'>x</i></r>", "<r><i a='1'/></r>"] {
        let mut scanner = Scanner::new(text, &Limits::default());
        let (mut from, mut to) = (0, 0);
        while let Some(event) = scanner.next().unwrap() {
            match event {
                Event::Open { name: "i", offset, .. } => from = offset,
                Event::Close { name: "i", end } => to = end,
                _ => {}
            }
        }
        assert!(text[from..to].starts_with("<i a='1'"), "{text}");
        assert!(text[from..to].ends_with('>'), "{text}");
        assert_eq!(text[from..to].matches('<').count(), if text.contains("x<") { 2 } else { 1 });
    }
}

#[test]
fn a_document_that_breaks_off_anywhere_is_truncated_or_empty() {
    let whole = "<?xml version='1.0'?><a x='1'><b>t&amp;u</b><!-- c --><![CDATA[d]]></a>";
    assert!(strict(whole).is_ok());
    for length in 0..whole.len() {
        let fault = strict(&whole[..length]).unwrap_err();
        assert!(
            matches!(fault.rule, "xml.truncated" | "xml.empty" | "xml.malformed" | "xml.ampersand"),
            "{length}: {fault}"
        );
        assert!(fault.offset <= length);
    }
    assert_eq!(rule("<a>"), "xml.truncated");
    assert_eq!(rule("<a><b></b>"), "xml.truncated");
    assert_eq!(rule("<a><b attribute='"), "xml.truncated");
}

#[test]
fn every_way_to_be_no_document_has_its_rule() {
    for (text, expected) in [
        ("", "xml.empty"),
        (" \n<!-- nothing -->", "xml.empty"),
        ("no markup", "xml.text_outside_root"),
        ("<a/>x", "xml.text_outside_root"),
        ("<a/>&amp;", "xml.text_outside_root"),
        ("<![CDATA[x]]><a/>", "xml.text_outside_root"),
        ("<a/><b/>", "xml.two_roots"),
        ("<a></a><a></a>", "xml.two_roots"),
        ("<!DOCTYPE a><a/>", "xml.doctype"),
        ("<!DOCTYPE html><html><br></html>", "xml.doctype"),
        ("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "xml.doctype"),
        ("<a><!DOCTYPE b></a>", "xml.doctype"),
        ("<a>t<!DOCTYPE b></a>", "xml.doctype"),
        ("<a>&b;</a>", "xml.entity"),
        ("<a>&nbsp;</a>", "xml.entity"),
        ("<a>&#xZZ;</a>", "xml.entity"),
        ("<a b='&nbsp;'/>", "xml.entity"),
        ("<a>b & c</a>", "xml.ampersand"),
        ("<a>b & c; d</a>", "xml.ampersand"),
        ("<a>b&</a>", "xml.ampersand"),
        ("<a b='c & d'/>", "xml.ampersand"),
        ("<a>\u{1}</a>", "xml.control_character"),
        ("<a>\u{FFFF}</a>", "xml.control_character"),
        ("<a>&#1;</a>", "xml.control_character"),
        ("<a b='\u{1}'/>", "xml.control_character"),
        ("<a></a\u{1}>", "xml.malformed"),
        ("<!-- \u{0} --><a/>", "xml.control_character"),
        ("<a></b>", "xml.malformed"),
        ("</a>", "xml.malformed"),
        ("<a b=c/>", "xml.malformed"),
        ("<a b='1' b='2'/>", "xml.malformed"),
        ("<a b='<'/>", "xml.malformed"),
        ("<a<b></a<b>", "xml.malformed"),
        ("<1/>", "xml.malformed"),
        ("< a/>", "xml.malformed"),
        ("<n:/>", "xml.malformed"),
        ("<a><!x></a>", "xml.malformed"),
        (" <?xml version='1.0'?><a/>", "xml.malformed"),
        ("<a>t<?xml version='1.0'?></a>", "xml.malformed"),
    ] {
        assert_eq!(rule(text), expected, "{text:?}");
    }
}

#[test]
fn limits_are_refused_one_behind_and_accepted_at_the_limit() {
    let limits = Limits { depth_max: 3, attributes_max: 2, events_max: 8, text_bytes_max: 4 };
    let run = |text: &str| walk(Scanner::new(text, &limits)).map_err(|fault| fault.rule);
    assert!(run("<a><b><c/></b></a>").is_ok());
    assert_eq!(run("<a><b><c><d/></c></b></a>"), Err("xml.depth"));
    assert!(run("<a x='1' y='2'/>").is_ok());
    assert_eq!(run("<a x='1' y='2' z='3'/>"), Err("xml.attributes"));
    assert!(run("<a>1234</a>").is_ok());
    assert_eq!(run("<a>12345</a>"), Err("xml.too_large"));
    assert_eq!(run("<a>123<![CDATA[45]]></a>"), Err("xml.too_large"));
    assert!(run("<a><b/><b/><b/><b/><b/></a>").is_ok());
    assert_eq!(run("<a><b/><b/><b/><b/><b/><b/></a>"), Err("xml.too_large"));
}

#[test]
fn a_tolerant_scanner_reports_flaws_and_walks_on() {
    assert_eq!(
        tolerant("<a><b>x & y</b><b>&nbsp;\u{2}</b><b c='&d;'/><b>\u{3}</b><b>ok</b></a>").unwrap(),
        "<a> <b> !xml.ampersand \"x & y\" </b> <b> !xml.entity \"&nbsp;\\u{2}\" </b> \
         !xml.entity <b c=&d;> </b> <b> !xml.control_character \"\\u{3}\" </b> <b> \"ok\" </b> </a>"
    );
    // What breaks the structure stays a fault.
    for text in ["<a>", "<a/><b/>", "<a></b>", "<!DOCTYPE a><a/>", "<a b='1' b='2'/>"] {
        assert!(tolerant(text).is_err(), "{text}");
    }
}

#[test]
fn a_fault_is_given_again() {
    let mut scanner = Scanner::new("<a></b>", &Limits::default());
    scanner.next().unwrap();
    let fault = scanner.next().unwrap_err();
    assert_eq!(scanner.next().unwrap_err(), fault);
}

#[test]
fn positions_count_lines_and_characters_from_one() {
    let text = "<a>\n  đăng <b/>\n</a>";
    let at = |offset| {
        let found = position(text, offset);
        (found.line, found.column)
    };
    assert_eq!(at(0), (1, 1));
    assert_eq!(at(text.find("<b").unwrap()), (2, 8));
    assert_eq!(at(text.find('đ').unwrap() + 1), (2, 3));
    assert_eq!(at(usize::MAX), (3, 5));
}

#[test]
fn utf_8_is_borrowed_with_or_without_its_mark() {
    for bytes in ["<a>ạ</a>".as_bytes(), "\u{FEFF}<a>ạ</a>".as_bytes()] {
        assert!(matches!(decode(bytes, None), Ok(Cow::Borrowed("<a>ạ</a>"))));
    }
}

#[test]
fn the_mark_beats_the_charset_and_the_charset_beats_the_declaration() {
    let utf_16: Vec<u8> = "<a>ạ</a>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [&[0xFF, 0xFE], utf_16.as_slice()].concat();
    assert_eq!(decode(&marked, Some("utf-8")).unwrap(), "<a>ạ</a>");
    assert_eq!(decode(&utf_16, None).unwrap(), "<a>ạ</a>");
    let big: Vec<u8> = "<a>ạ</a>".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(decode(&big, None).unwrap(), "<a>ạ</a>");

    let declared = b"<?xml version=\"1.0\" encoding='windows-1258'?><a>\xD0</a>";
    assert!(decode(declared, None).unwrap().ends_with("<a>Đ</a>"));
    assert_eq!(decode(declared, Some("utf-8")).unwrap_err().rule, "xml.encoding");
    assert!(decode(b"<a>\xD0</a>", Some("\"windows-1258\"")).unwrap().contains('Đ'));
}

#[test]
fn windows_1258_combining_marks_come_as_they_are() {
    // a + combining dot below (0xF2), as the code page writes it; NFC is the mapping's work.
    assert_eq!(decode(b"a\xF2", Some("windows-1258")).unwrap(), "a\u{323}");
}

#[test]
fn a_declaration_of_utf_16_in_a_document_that_is_not_means_utf_8() {
    let bytes = "<?xml version=\"1.0\" encoding=\"utf-16\"?><a>ạ</a>".as_bytes();
    assert!(decode(bytes, None).unwrap().contains('ạ'));
}

#[test]
fn malformed_bytes_and_unknown_character_sets_are_refused() {
    let fault = decode(b"<a>\xFF</a>", None).unwrap_err();
    assert_eq!((fault.rule, fault.offset), ("xml.encoding", 3));
    let lone = [0xFF, 0xFE, b'<', 0, 0x00, 0xD8, b'a', 0];
    let fault = decode(&lone, None).unwrap_err();
    assert_eq!((fault.rule, fault.offset), ("xml.encoding", 4));
    for charset in ["tcvn-5712", "iso-2022-kr", "utf-7"] {
        assert_eq!(decode(b"<a/>", Some(charset)).unwrap_err().rule, "xml.encoding");
    }
    assert!(decode(b"<a/>", Some(" ")).is_ok());
}

#[test]
fn a_long_declaration_in_ascii_is_no_trap() {
    let text = format!(
        "<?xml version=\"1.0\" {} encoding=\"utf-8\" standalone=\"yes\"?><a/>",
        " ".repeat(100)
    );
    assert_eq!(decode(text.as_bytes(), None).unwrap(), text);
}

proptest! {
    #[test]
    fn no_text_makes_the_scanner_panic(text in "[<>/a!?&;#x\"'= \\[\\]\\-C\u{1}\u{FEFF}ạ\r\n]{0,60}") {
        let _unused = (strict(&text), tolerant(&text));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        for charset in [None, Some("utf-16"), Some("windows-1258"), Some("utf-8")] {
            let _unused = decode(&bytes, charset);
        }
    }

    #[test]
    fn what_a_strict_scanner_accepts_a_tolerant_one_reads_alike(text in "(<a>|<b>|</b>|</a>|x|&amp;|&|<c d='1'/>){0,12}") {
        if let Ok(events) = strict(&text) {
            prop_assert_eq!(tolerant(&text).unwrap(), events);
        }
    }
}
