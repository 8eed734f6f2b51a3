//! Pages as real systems write them.

use super::*;
use crate::domain::failure::Disposition::{Environment, Retryable};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../fixtures/province/", $name)).as_slice()
    };
}

macro_rules! hostile {
    ($name:literal) => {
        include_bytes!(concat!("../../../fixtures/hostile/", $name)).as_slice()
    };
}

fn refusal(body: impl AsRef<[u8]>) -> SourceFailure {
    changes(ok(body)).expect_err("a refusal")
}

#[test]
fn a_page_keeps_the_order_and_the_text_of_its_dossiers() {
    let page = page(fixture!("page.xml"));
    let seen: Vec<_> = page
        .items
        .iter()
        .map(|item| (item.ma_ho_so.as_str(), item.version, item.deleted, item.owner))
        .collect();
    assert_eq!(
        seen,
        [
            ("H55.242-260126-0002", Some(4), false, Owner::Province),
            ("H55.242-260126-0001", Some(3), false, Owner::Province),
            ("H55.242-260125-0009", Some(7), true, Owner::Province),
            ("G15.12-260126-0003", None, false, Owner::Ministry),
        ]
    );
    assert_eq!(page.refused, []);
    assert_eq!(page.cursor.as_deref(), Some("c3"));
    assert!(page.more);
    assert_eq!(page.agency.as_deref(), Some("000.00.00.H55"));
    assert_eq!(page.newest_changed_at, Timestamp::from_portal("20260126153100"));
    assert_eq!(page.items[2].changed_at, Timestamp::from_portal("20260126152900"));
    let text = std::str::from_utf8(fixture!("page.xml")).unwrap();
    for item in &page.items {
        assert!(text.contains(&*item.document));
        assert!(item.document.starts_with("<HoSo") && item.document.ends_with("</HoSo>"));
    }
}

#[test]
fn an_empty_page_keeps_the_cursor() {
    let page = page(fixture!("page_empty.xml"));
    assert_eq!((page.items.len(), page.cursor.as_deref(), page.more), (0, Some("c3"), false));
    assert_eq!(super::page("<DanhSachHoSo/>").cursor, None);
}

#[test]
fn bad_items_cost_their_neighbours_nothing() {
    let page = page(fixture!("page_mixed.xml"));
    let taken: Vec<_> = page.items.iter().map(|item| item.ma_ho_so.as_str()).collect();
    assert_eq!(taken, ["H55.242-260126-0001", "H55.242-260126-0005", "H55.242-260126-0001"]);
    let refused: Vec<String> = page
        .refused
        .iter()
        .map(|item| {
            format!(
                "{} {} {}: {}",
                item.position,
                item.rule,
                item.ma_ho_so.as_deref().unwrap_or("-"),
                item.reason
            )
        })
        .collect();
    assert_eq!(
        refused,
        [
            "4:3 source.item_code -: the dossier has no MaHoSo",
            "5:3 source.item_code -: there is more than one MaHoSo",
            "7:3 source.item_attribute H55.242-260126-0006: phienBan is not a whole number",
            "8:3 source.item_attribute H55.242-260126-0007: daXoa is neither true nor false",
            "9:3 source.item_attribute H55.242-260126-0008: an attribute of the item's own tag cannot be read",
            "10:3 source.item_code -: MaHoSo is longer than 50 characters",
            "11:3 source.item_unknown H55.242-260126-0010: the page holds an element that is no <HoSo>",
            "12:3 source.stray_text -: text stands between the dossiers",
        ]
    );
    assert!(page.refused[3].evidence.starts_with("<HoSo daXoa="));
}

#[test]
fn a_code_may_have_fifty_characters_and_no_control_character() {
    let item = |code: &str| one(&format!("<HoSo><MaHoSo>{code}</MaHoSo></HoSo>"));
    assert_eq!(item(&"ạ".repeat(50)).items.len(), 1);
    assert_eq!(item("\n  H55  \n").items[0].ma_ho_so, "H55");
    for (code, reason) in [
        ("ạ".repeat(51), "MaHoSo is longer than 50 characters"),
        ("😀".repeat(26), "MaHoSo is longer than 50 characters"),
        (" ".to_owned(), "MaHoSo is empty"),
        (String::new(), "MaHoSo is empty"),
        ("a&#9;b".to_owned(), "MaHoSo holds control characters"),
        ("a\u{1}b".to_owned(), "MaHoSo cannot be read"),
        ("a&b".to_owned(), "MaHoSo cannot be read"),
        ("a<b/>".to_owned(), "MaHoSo holds other elements"),
    ] {
        let page = item(&code);
        assert_eq!(page.items, [], "{code}");
        assert_eq!(
            (page.refused[0].rule, page.refused[0].reason.as_str()),
            ("source.item_code", reason)
        );
    }
}

#[test]
fn attributes_are_read_or_the_item_is_refused() {
    let item = |attributes: &str| one(&format!("<HoSo {attributes}><MaHoSo>a</MaHoSo></HoSo>"));
    let good = &item(
        "phienBan=' 12 ' capNhatLuc='2026-01-26T15:30:00.123+07:00' daXoa='False' chuQuan='tinh'",
    )
    .items[0];
    assert_eq!(good.version, Some(12));
    assert_eq!(good.changed_at.map(Timestamp::millis), Some(1_769_416_200_123));
    assert_eq!((good.deleted, good.owner), (false, Owner::Province));
    let bare = &item("phienBan='' capNhatLuc='' daXoa='' chuQuan='' khac='1'").items[0];
    assert_eq!((bare.version, bare.changed_at, bare.deleted), (None, None, false));
    for attributes in [
        "phienBan='1.5'",
        "phienBan='9223372036854775808'",
        "capNhatLuc='26/01/2026'",
        "capNhatLuc='20260126'",
        "daXoa='x'",
        "chuQuan='Bộ'",
        "xmlns:a='u' a:phienBan='1' phienBan='2'",
        "daXoa='&true;'",
        "khac='\u{1}'",
    ] {
        let page = item(attributes);
        assert_eq!(page.items, [], "{attributes}");
        assert_eq!(page.refused[0].rule, "source.item_attribute", "{attributes}");
        assert_eq!(page.refused[0].ma_ho_so.as_deref(), Some("a"));
    }
}

#[test]
fn a_flaw_in_a_comment_before_an_item_is_not_the_items() {
    let page = one("<!-- \u{1} --><HoSo><MaHoSo>a</MaHoSo></HoSo>");
    assert_eq!((page.items.len(), page.refused.len()), (1, 0));
}

#[test]
fn a_flaw_in_a_text_leaves_the_item_for_the_mapping_to_judge() {
    let page = page(hostile!("control_characters.xml"));
    assert_eq!((page.items.len(), page.refused.len()), (1, 0));
    assert!(page.items[0].document.contains("V\u{1}n"));
}

#[test]
fn an_item_is_taken_at_its_size_limit_and_refused_one_byte_above() {
    let padded = |bytes: usize| {
        let frame = "<HoSo><MaHoSo>a</MaHoSo><GhiChu></GhiChu></HoSo>".len();
        let item = format!(
            "<HoSo><MaHoSo>a</MaHoSo><GhiChu>{}</GhiChu></HoSo>",
            "x".repeat(bytes - frame)
        );
        one(&format!("{item}<HoSo><MaHoSo>b</MaHoSo></HoSo>"))
    };
    let limit = settings().item_bytes_max;
    assert_eq!(padded(limit).items.len(), 2);
    let page = padded(limit + 1);
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.refused[0].rule, "source.item_too_large");
    assert_eq!(page.refused[0].ma_ho_so.as_deref(), Some("a"));
}

#[test]
fn evidence_is_cut_at_a_character() {
    let page = one(&format!("{}<HoSo><GhiChu>{}</GhiChu></HoSo>", "", "ạ".repeat(40_000)));
    let kept = page.refused[0].evidence.len();
    assert!((64 * 1024 - 2..=64 * 1024).contains(&kept), "{kept}");
}

#[test]
fn the_same_page_reads_alike_in_every_encoding() {
    let expected = page(hostile!("utf_8_with_mark.xml")).items;
    assert_eq!(expected[0].ma_ho_so, "H55.242-260126-0001");
    assert_eq!(page(hostile!("utf_16_le_with_mark.xml")).items, expected);
    // Tone marks come as combining characters, so the text differs and the fingerprint does not.
    let other = page(hostile!("windows_1258.xml")).items;
    assert_ne!(other[0].document, expected[0].document);
    assert_eq!(other[0].fingerprint, expected[0].fingerprint);
    // The transport's charset beats the document's own word.
    let mut answer = ok(hostile!("declared_utf_8_is_windows_1258.xml"));
    answer.headers =
        vec![("content-type".to_owned(), "application/xml; Charset=\"windows-1258\"".to_owned())];
    assert_eq!(changes(answer).unwrap().items[0].fingerprint, expected[0].fingerprint);
}

#[test]
fn a_document_that_cannot_be_read_is_kept_and_asked_for_again() {
    let deep = format!(
        "<DanhSachHoSo conTro='c'><HoSo>{}{}</HoSo></DanhSachHoSo>",
        "<a>".repeat(64),
        "</a>".repeat(64)
    );
    let table: &[(&[u8], &str)] = &[
        (b"", "source.truncated"),
        (b" \n ", "source.truncated"),
        (b"<", "source.truncated"),
        (b"{\"error\": 1}", "source.not_xml"),
        (hostile!("error_page.html"), "source.html_page"),
        (b"\n<HTML><br></HTML>", "source.html_page"),
        (hostile!("entity_bomb.xml"), "source.doctype"),
        (hostile!("two_roots.xml"), "source.not_xml"),
        (hostile!("truncated.xml"), "source.truncated"),
        (hostile!("mismatched_tag.xml"), "source.not_xml"),
        (hostile!("duplicate_attribute.xml"), "source.not_xml"),
        (hostile!("declared_utf_8_is_windows_1258.xml"), "source.encoding"),
        (hostile!("soap_fault.xml"), "source.wrong_root"),
        (fixture!("index.xml"), "source.wrong_root"),
        (fixture!("dossier.xml"), "source.wrong_root"),
        (deep.as_bytes(), "source.limits"),
        (b"<DanhSachHoSo conTro='a&b'/>", "source.not_xml"),
    ];
    for (body, code) in table {
        let failure = refusal(body);
        assert_eq!(failure.failure.code, *code, "{failure}");
        assert_eq!(failure.failure.disposition, Retryable);
        assert_eq!(failure.evidence.as_deref(), Some(*body));
    }
}

#[test]
fn a_refused_document_names_the_place_and_the_dossier_but_no_value() {
    assert_eq!(
        refusal(hostile!("mismatched_tag.xml")).to_string(),
        "source.not_xml: the document is not well-formed XML inside dossier H55.242-260126-0002: \
         expected the end tag of the element that was opened last (at line 3:68)"
    );
    assert_eq!(
        refusal(hostile!("entity_bomb.xml")).to_string(),
        "source.doctype: the document holds a document type declaration: expected a document \
         without DOCTYPE (none is ever read) (at line 2:1)"
    );
}

#[test]
fn the_evidence_of_a_refused_document_is_bounded() {
    let evidence = refusal("x".repeat(300 * 1024)).evidence.unwrap();
    assert_eq!(evidence.len(), 256 * 1024);
}

#[test]
fn a_feed_that_breaks_its_protocol_is_stopped() {
    let long = format!("<DanhSachHoSo conTro='{}'/>", "c".repeat(4097));
    for body in [
        std::str::from_utf8(hostile!("no_cursor.xml")).unwrap(),
        "<DanhSachHoSo conTro='' conNua='false'><HoSo><MaHoSo>a</MaHoSo></HoSo></DanhSachHoSo>",
        // Its only item is refused, but it is an item.
        "<DanhSachHoSo><HoSo/></DanhSachHoSo>",
        "<DanhSachHoSo conNua='true'/>",
        "<DanhSachHoSo conTro='a&#10;b'/>",
        "<DanhSachHoSo conTro='c' conNua='yes'/>",
        &long,
    ] {
        let failure = refusal(body).failure;
        assert_eq!(
            (failure.code.as_str(), failure.disposition),
            ("source.broken_feed", Environment),
            "{body}"
        );
    }
}

/// The dossier that a spoilt page can be passed over for.
fn lone(body: impl AsRef<[u8]>) -> Option<LoneItem> {
    refusal(body).spoilt.expect("a spoilt page").lone
}

#[test]
fn a_dossier_alone_in_a_spoilt_page_is_told_with_what_leads_on_behind_it() {
    let lone = lone(
        "<DanhSachHoSo conTro='c7' conNua='true'>\n<HoSo phienBan='2' capNhatLuc='20260126153000'>\
         <MaHoSo>a</MaHoSo><GhiChu></HoSo>\n</DanhSachHoSo>\n",
    )
    .expect("one dossier");
    assert_eq!((lone.cursor.as_str(), lone.more), ("c7", true));
    assert_eq!(lone.changed_at, Timestamp::from_portal("20260126153000"));
    assert_eq!(lone.item.rule, "source.not_xml");
    assert_eq!(lone.item.ma_ho_so.as_deref(), Some("a"));
    assert!(
        lone.item.evidence.starts_with("<HoSo phienBan") && lone.item.evidence.ends_with("</HoSo>")
    );
    assert_eq!(lone.item.position.line, 2);
}

#[test]
fn only_a_dossier_that_is_certainly_alone_and_whole_can_be_passed_over() {
    let page = |inside: &str| format!("<DanhSachHoSo conTro='c'>{inside}</DanhSachHoSo>");
    let bad = "<HoSo><MaHoSo>a</MaHoSo><b></HoSo>";
    assert!(lone(page(bad)).is_some());
    for (several, why) in [
        (page(&format!("{bad}<HoSo/>")), "another behind it"),
        (page(&format!("<HoSo><MaHoSo>b</MaHoSo></HoSo>{bad}")), "another before it"),
        (page(&format!("{bad}<n:HoSo>")), "another under a prefix"),
        (page(&format!("<!-- <HoSo> -->{bad}")), "perhaps another, in a comment"),
        (page("<b></c>"), "none"),
        (page(bad).replace("</DanhSachHoSo>", ""), "cut behind it"),
        (page(bad).replace("</HoSo></DanhSachHoSo>", ""), "cut in it"),
        (format!("{} 0.3 s", page(bad)), "something behind the root"),
    ] {
        assert!(lone(several).is_none(), "{why}");
    }
    let prefixed = page(bad).replace("DanhSachHoSo", "n:DanhSachHoSo").replace("<HoSo", "<n:HoSo");
    assert!(lone(prefixed).is_some());
    // Its elements have names that begin alike.
    assert!(lone(page(&bad.replace("<b>", "<HoSoCoThanhPhanSoHoa>"))).is_some());
}

#[test]
fn a_smaller_page_is_worth_asking_for_only_behind_a_root_that_can_be_read() {
    for (body, is_worth) in [
        ("<DanhSachHoSo conTro='c'><HoSo><b></HoSo></DanhSachHoSo>", true),
        ("<DanhSachHoSo conTro='c'><HoSo>", true),
        ("<DanhSachHoSo conTro='c'><HoSo><!DOCTYPE html></HoSo></DanhSachHoSo>", true),
        ("<DanhSachHoSo><HoSo><b></HoSo></DanhSachHoSo>", false),
        ("<DanhSachHoSo conTro='a&b'><HoSo><b></HoSo></DanhSachHoSo>", false),
        ("<!DOCTYPE x><DanhSachHoSo conTro='c'/>", false),
        ("<html></html>", false),
        ("", false),
    ] {
        assert_eq!(refusal(body).spoilt.is_some(), is_worth, "{body}");
    }
}

#[test]
fn a_byte_that_is_no_text_is_blamed_on_the_one_dossier_with_it() {
    let page = |inside: &[u8]| {
        [
            b"<DanhSachHoSo conTro='c'><HoSo><MaHoSo>a</MaHoSo><GhiChu>",
            inside,
            b"</GhiChu></HoSo></DanhSachHoSo>",
        ]
        .concat()
    };
    let found = lone(page(b"Th\xFF")).expect("one dossier");
    assert_eq!((found.item.rule, found.item.ma_ho_so.as_deref()), ("source.encoding", Some("a")));
    assert!(found.item.evidence.contains("Th\u{FFFD}"));
    // In the root's own tag, nothing behind it can be trusted.
    let root =
        [b"<DanhSachHoSo maDonVi='\xFF' conTro='c'><HoSo/></DanhSachHoSo>".as_slice()].concat();
    assert!(refusal(root).spoilt.is_none());
    // A character set that nobody knows says nothing.
    let unknown = b"<?xml version='1.0' encoding='x-unknown'?><DanhSachHoSo conTro='c'/>";
    assert!(refusal(unknown).spoilt.is_none());
}

#[test]
fn the_code_of_a_spoilt_dossier_is_told_when_it_cannot_be_mistaken() {
    let code = |inside: &str| {
        lone(format!("<DanhSachHoSo conTro='c'><HoSo>{inside}</HoSo></DanhSachHoSo>"))
            .expect("one dossier")
            .item
            .ma_ho_so
    };
    assert_eq!(code("<b></c><MaHoSo> a </MaHoSo>").as_deref(), Some("a"), "behind the fault");
    assert_eq!(code("<b></c><MaHoSo>a</MaHoSo><MaHoSo>a</MaHoSo>").as_deref(), Some("a"));
    assert_eq!(code("<b></c><MaHoSo>a</MaHoSo><MaHoSo>b</MaHoSo>"), None);
    assert_eq!(code("<b></c><MaHoSo>a&amp;b</MaHoSo>"), None);
    assert_eq!(code("<b></c>"), None);
}

#[test]
fn prefixes_mean_nothing() {
    let prefixed = page(
        "<n:DanhSachHoSo xmlns:n='urn:x' n:conTro='c1'><n:HoSo n:phienBan='2'><n:MaHoSo>a</n:MaHoSo></n:HoSo></n:DanhSachHoSo>",
    );
    let plain = page(
        "<DanhSachHoSo conTro='c1'><HoSo phienBan='2'><MaHoSo>a</MaHoSo></HoSo></DanhSachHoSo>",
    );
    assert_eq!(prefixed.items[0].fingerprint, plain.items[0].fingerprint);
    assert_eq!(prefixed.items[0].version, Some(2));
    assert_eq!(prefixed.cursor, plain.cursor);
}

#[test]
fn a_page_cut_at_any_byte_is_no_page() {
    let whole = fixture!("page.xml").trim_ascii_end();
    // The long middle is like its beginning; both ends are cut at every byte.
    let cuts = (0..1200)
        .chain((1200..whole.len() - 1200).step_by(37))
        .chain(whole.len() - 1200..whole.len());
    for length in cuts {
        let failure = refusal(&whole[..length]);
        assert_eq!(failure.failure.disposition, Retryable, "{length}");
    }
    assert_eq!(page(whole).items.len(), 4);
}
