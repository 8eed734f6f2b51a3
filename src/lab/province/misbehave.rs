//! What real provincial systems do wrong, on request.
//!
//! Most rules change one answer of the change feed; `late-commit`, `equal-timestamps`,
//! `clock-jump` and `page-changed-while-paged` change the dossiers themselves, so that what follows
//! is consistent with them.

use encoding_rs::WINDOWS_1258;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{compose, is_combining_mark};

/// One way to be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Misbehaviour {
    /// The items of a page in any order. The cursor is still that of the last in order.
    UnsortedItems,
    /// This many dossiers change, all in one millisecond.
    EqualTimestamps {
        dossiers: u32,
    },
    /// One dossier changes with a time this far behind the cursor that the page gives out.
    LateCommit {
        behind_ms: u64,
    },
    /// A dossier of the page changes after the page was given out, and so does one after it.
    PageChangedWhilePaged,
    /// The page gives back the cursor it was asked with, and says there is more.
    StuckCursor,
    /// No items, and always more to come.
    EndlessMore,
    /// Items without `conTro`.
    MissingCursor,
    /// The document ends in the middle of an item.
    TruncatedXml,
    Utf16,
    Windows1258,
    Utf8Bom,
    /// The bytes are windows-1258, the declaration says UTF-8.
    WrongDeclaration,
    /// All text with separate combining marks.
    Nfd,
    /// One item holds a bare `&`.
    UnescapedAmpersand,
    /// One item holds U+0001.
    ControlCharacter,
    /// A page for people, with status 200.
    HtmlPage,
    /// A document type with nested entities, and a reference to them.
    EntityBomb,
    /// The first item grows by this many bytes.
    OversizedItem {
        bytes: usize,
    },
    /// The first item twice; the first copy has another abstract.
    DuplicateInPage,
    /// This HTTP status and no document.
    Status {
        status: u16,
    },
    /// The answer waits this long.
    Slow {
        ms: u64,
    },
    /// One dossier changes an hour from now, by the source's clock.
    ClockJump,
}

/// A misbehaviour and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MisbehaviourRule {
    #[serde(flatten)]
    pub misbehaviour: Misbehaviour,
    /// Pages it spoils; absent means until it is cleared.
    #[serde(default)]
    pub times: Option<u32>,
}

impl MisbehaviourRule {
    pub fn once(misbehaviour: Misbehaviour) -> Self {
        Self { misbehaviour, times: Some(1) }
    }

    pub fn until_cleared(misbehaviour: Misbehaviour) -> Self {
        Self { misbehaviour, times: None }
    }
}

/// Takes one turn of every rule in force; used-up rules disappear.
pub(super) fn take_turn(rules: &mut Vec<MisbehaviourRule>) -> Vec<Misbehaviour> {
    let turn = rules.iter().map(|rule| rule.misbehaviour.clone()).collect();
    rules.retain_mut(|rule| match &mut rule.times {
        Some(times) => {
            *times = times.saturating_sub(1);
            *times > 0
        }
        None => true,
    });
    turn
}

pub(super) const HTML_PAGE: &str = "<!DOCTYPE html><html><head><title>Bảo trì</title></head>\
<body><h1>Hệ thống đang bảo trì</h1><p>Vui lòng quay lại sau</body></html>";

const ENTITIES: &str = "<!DOCTYPE DanhSachHoSo [<!ENTITY a \"aaaaaaaaaaaaaaaa\">\
<!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">\
<!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\"><!ENTITY e SYSTEM \"file:///etc/hostname\">]>";

/// Spoils the text of one item.
pub(super) fn spoil_item(rule: &Misbehaviour, xml: &str) -> String {
    let abstract_end = "</TrichYeuHoSo>";
    match rule {
        Misbehaviour::UnescapedAmpersand => {
            xml.replacen(abstract_end, &format!(" A & B{abstract_end}"), 1)
        }
        Misbehaviour::ControlCharacter => {
            xml.replacen(abstract_end, &format!("\u{1}{abstract_end}"), 1)
        }
        Misbehaviour::EntityBomb => xml.replacen(abstract_end, &format!("&d;&e;{abstract_end}"), 1),
        Misbehaviour::OversizedItem { bytes } => {
            xml.replacen("</HoSo>", &format!("<Rac>{}</Rac></HoSo>", "A".repeat(*bytes)), 1)
        }
        Misbehaviour::DuplicateInPage => {
            let copy = xml.replacen(abstract_end, &format!(" (bản trùng){abstract_end}"), 1);
            copy + xml
        }
        _ => xml.to_owned(),
    }
}

/// Spoils the whole document and chooses its bytes. Returns them with the `charset` to announce.
pub(super) fn encode(rules: &[Misbehaviour], mut document: String) -> (Vec<u8>, &'static str) {
    let has = |rule: &Misbehaviour| rules.contains(rule);
    if has(&Misbehaviour::EntityBomb) {
        document = document.replacen("<DanhSachHoSo", &format!("{ENTITIES}<DanhSachHoSo"), 1);
    }
    if has(&Misbehaviour::Nfd) {
        document = document.nfd().collect();
    }
    if has(&Misbehaviour::TruncatedXml) {
        let mut end = document.len() * 2 / 3;
        while !document.is_char_boundary(end) {
            end -= 1;
        }
        document.truncate(end);
    }
    if has(&Misbehaviour::Utf16) {
        let declared = document.replacen("UTF-8", "UTF-16", 1);
        let bytes = std::iter::once(0xFEFF)
            .chain(declared.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        return (bytes, "utf-16");
    }
    if has(&Misbehaviour::Windows1258) {
        let declared = document.replacen("UTF-8", "windows-1258", 1);
        return (to_windows_1258(&declared), "windows-1258");
    }
    if has(&Misbehaviour::WrongDeclaration) {
        return (to_windows_1258(&document), "utf-8");
    }
    if has(&Misbehaviour::Utf8Bom) {
        document.insert(0, '\u{FEFF}');
    }
    (document.into_bytes(), "utf-8")
}

/// This code page has vowels with their shape and, apart from them, the five tones.
fn to_windows_1258(text: &str) -> Vec<u8> {
    let mut split = String::with_capacity(text.len());
    for whole in text.nfc() {
        if whole.is_ascii() || !WINDOWS_1258.encode(whole.encode_utf8(&mut [0; 4])).2 {
            split.push(whole);
            continue;
        }
        let mut shaped = '\0';
        let mut tones = String::new();
        for part in std::iter::once(whole).nfd() {
            let is_shape = matches!(part, '\u{302}' | '\u{306}' | '\u{31B}');
            if !is_combining_mark(part) {
                shaped = part;
            } else if is_shape {
                shaped = compose(shaped, part).unwrap_or(shaped);
            } else {
                tones.push(part);
            }
        }
        split.push(shaped);
        split.push_str(&tones);
    }
    WINDOWS_1258.encode(&split).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_1258_reads_back_as_the_same_vietnamese() {
        let text = "Chứng thực bản sao, Nguyễn Thị Mẫu, Đường số 5, ờ ợ ủy quyền Ệ";
        let bytes = to_windows_1258(text);
        let back: String = WINDOWS_1258.decode(&bytes).0.nfc().collect();
        assert_eq!(back, text);
    }

    #[test]
    fn a_rule_with_a_count_is_used_up_and_one_without_stays() {
        let mut rules = vec![
            MisbehaviourRule::once(Misbehaviour::HtmlPage),
            MisbehaviourRule::until_cleared(Misbehaviour::StuckCursor),
        ];
        assert_eq!(take_turn(&mut rules).len(), 2);
        assert_eq!(take_turn(&mut rules), [Misbehaviour::StuckCursor]);
        assert_eq!(take_turn(&mut rules), [Misbehaviour::StuckCursor]);
    }

    #[test]
    fn rules_are_read_from_json() {
        let rule: MisbehaviourRule =
            serde_json::from_str(r#"{"kind":"oversized-item","bytes":9,"times":2}"#).unwrap();
        assert_eq!(rule.misbehaviour, Misbehaviour::OversizedItem { bytes: 9 });
        assert_eq!(rule.times, Some(2));
    }
}
