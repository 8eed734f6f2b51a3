//! What counts as a change of a dossier, and what does not.

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::*;

fn of(item: &str) -> [u8; 32] {
    let page = one(item);
    assert_eq!(page.refused, [], "{item}");
    page.items[0].fingerprint
}

const BASE: &str = "<HoSo phienBan='1' capNhatLuc='20260126153000' x='1' y='2'><MaHoSo>a</MaHoSo>\
    <ChuHoSo loai='1' kieu='2'>Nguyễn Văn Thử</ChuHoSo><GhiChu></GhiChu>\
    <Tep>https://tep.example.invalid/a?id=7&amp;t=1</Tep></HoSo>";

#[test]
fn writing_the_same_differently_changes_nothing() {
    for (what, same) in [
        ("version", BASE.replace("phienBan='1'", "phienBan='2'")),
        ("time", BASE.replace(" capNhatLuc='20260126153000'", "")),
        ("attribute order", BASE.replace("x='1' y='2'", "y='2' x='1'")),
        ("attribute order", BASE.replace("loai='1' kieu='2'", "kieu=\"2\"\n loai=\"1\"")),
        ("line breaks", BASE.replace("><", ">\r\n\t<")),
        ("spaces in text", BASE.replace("Nguyễn Văn Thử", "\n Nguyễn \t Văn\r\nThử ")),
        ("decomposed text", BASE.nfd().collect()),
        ("self-closing", BASE.replace("<GhiChu></GhiChu>", "<GhiChu/>")),
        ("only white space", BASE.replace("<GhiChu></GhiChu>", "<GhiChu>\n  </GhiChu>")),
        ("CDATA", BASE.replace("Nguyễn Văn Thử", "Nguyễn <![CDATA[Văn]]> Thử")),
        ("references", BASE.replace("Thử", "Th&#x1EED;")),
        ("a comment", BASE.replace("Văn", "V<!-- x -->ăn")),
        ("a link's token", BASE.replace("t=1", "t=2")),
        ("a link's token gone", BASE.replace("&amp;t=1", "")),
        ("not deleted", BASE.replace(" x='1'", " x='1' daXoa='false'")),
        ("the province's own", BASE.replace(" x='1'", " x='1' chuQuan='tinh'")),
        (
            "the original record",
            BASE.replace(
                "<GhiChu>",
                "<DuLieuGoc he='e'><root>r<MaHoSo/></root></DuLieuGoc><GhiChu>",
            ),
        ),
    ] {
        assert_ne!(same, BASE, "{what}");
        assert_eq!(of(&same), of(BASE), "{what}");
    }
}

#[test]
fn saying_something_else_is_a_change() {
    let mut seen = vec![of(BASE)];
    for (what, other) in [
        ("text", BASE.replace("Thử", "Thư")),
        ("case", BASE.replace("Thử", "thử")),
        ("spaces taken away", BASE.replace("Văn Thử", "VănThử")),
        ("an attribute of the item", BASE.replace("x='1'", "x='2'")),
        ("an attribute below", BASE.replace("loai='1'", "loai='2'")),
        ("values swapped", BASE.replace("x='1' y='2'", "x='2' y='1'")),
        ("an attribute gone", BASE.replace(" kieu='2'", "")),
        ("an element gone", BASE.replace("<GhiChu></GhiChu>", "")),
        ("an element renamed", BASE.replace("GhiChu", "ThongTinKhac")),
        ("an element nested", BASE.replace("<GhiChu></GhiChu>", "<GhiChu><b/></GhiChu>")),
        (
            "an element moved",
            BASE.replace("<GhiChu></GhiChu>", "").replace("<MaHoSo>", "<GhiChu/><MaHoSo>"),
        ),
        ("a link", BASE.replace("id=7", "id=8")),
        ("a link's other key", BASE.replace("t=1", "tt=1")),
        ("deleted", BASE.replace("x='1'", "x='1' daXoa='true'")),
        ("a ministry's", BASE.replace("x='1'", "x='1' chuQuan='bo'")),
        ("another code", BASE.replace(">a<", ">b<")),
        // Only the dossier's own child is the copy of the original record.
        (
            "a record elsewhere",
            BASE.replace("<GhiChu></GhiChu>", "<GhiChu><DuLieuGoc>1</DuLieuGoc></GhiChu>"),
        ),
        ("a flaw", BASE.replace("Thử", "Th&ử")),
        ("another flaw", BASE.replace("Thử", "Th\u{1}ử")),
        ("a flaw further on", BASE.replace("Văn", "V\u{1}ăn")),
    ] {
        let fingerprint = of(&other);
        assert!(!seen.contains(&fingerprint), "{what}");
        seen.push(fingerprint);
    }
}

#[test]
fn the_canonical_form_is_pinned() {
    // A different value here makes every stored dossier look changed once: see FORM.
    assert_eq!(
        blake3::Hash::from_bytes(of(BASE)).to_hex().as_str(),
        "65dcf391131be5625052790c279e429b13d72fb18f54c0bd9f605da23b52ed56"
    );
}

#[test]
fn markup_cannot_be_imitated_by_text() {
    let first = of("<HoSo><MaHoSo>a</MaHoSo><b>1</b><b>2</b></HoSo>");
    for other in [
        "<HoSo><MaHoSo>a</MaHoSo><b>1 2</b></HoSo>",
        "<HoSo><MaHoSo>a</MaHoSo><b>1</b>2</HoSo>",
        "<HoSo><MaHoSo>a</MaHoSo><b>1<b>2</b></b></HoSo>",
        "<HoSo><MaHoSo>a</MaHoSo><b>12</b><b/></HoSo>",
        "<HoSo><MaHoSo>a</MaHoSo><b>1\u{5}\u{1}b\u{4}2</b></HoSo>",
    ] {
        assert_ne!(of(other), first, "{other}");
    }
}

/// A dossier as a list of fields, written in the one way or the other.
fn written(fields: &[(String, String, String)], loose: bool) -> String {
    let field = |(at, (name, attribute, value)): (usize, &(String, String, String))| {
        let value = value.replace('&', "&amp;").replace('<', "&lt;");
        if loose {
            let value: String = value.nfd().collect();
            let value = value.replace(' ', "\n \t ");
            format!("\n  <{name}  n='{at}'\n m='{attribute}'>\n{value}\t</{name}>")
        } else {
            format!("<{name} m='{attribute}' n='{at}'>{value}</{name}>")
        }
    };
    let fields: String = fields.iter().enumerate().map(field).collect();
    format!("<HoSo><MaHoSo>a</MaHoSo>{fields}</HoSo>")
}

fn fields() -> impl Strategy<Value = Vec<(String, String, String)>> {
    // Without `%?:` no value is a link.
    proptest::collection::vec(
        ("[A-Za-z]{1,8}", "[a-z0-9]{0,4}", "[ -$&-9;-~àảãáạăằđêếộơữỹ]{0,24}"),
        1..6,
    )
    .prop_map(|fields| {
        fields
            .into_iter()
            .map(|(name, attribute, value)| (format!("e{name}"), attribute, value))
            .collect()
    })
}

fn normal(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

proptest! {
    #[test]
    fn the_way_of_writing_never_matters(fields in fields()) {
        prop_assert_eq!(of(&written(&fields, true)), of(&written(&fields, false)));
    }

    #[test]
    fn a_changed_value_always_matters(fields in fields(), at in any::<prop::sample::Index>(), value in "[ -$&-9;-~àảãáạăằđêếộơữỹ]{0,24}") {
        let mut changed = fields.clone();
        let at = at.index(fields.len());
        changed[at].2 = value;
        let same = normal(&changed[at].2) == normal(&fields[at].2);
        prop_assert_eq!(of(&written(&changed, false)) == of(&written(&fields, true)), same);
    }

    #[test]
    fn no_page_makes_the_reader_panic(text in "(<DanhSachHoSo conTro='c'>|</DanhSachHoSo>|<HoSo phienBan='1'>|<HoSo daXoa='&x;'>|</HoSo>|<MaHoSo>|</MaHoSo>|<Tep/>|x|&|\u{1}|ạ|<!-- -->| ){0,14}") {
        if let Ok(page) = changes(ok(&text)) {
            for item in page.items {
                prop_assert!(text.contains(&*item.document));
            }
        }
    }
}
