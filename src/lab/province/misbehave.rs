//! What real provincial systems do wrong, on request.
//!
//! Most rules change one answer: of the change feed, or where `on` says so of the index or of a
//! look-up of one dossier. `late-commit`, `equal-timestamps`, `clock-jump` and
//! `page-changed-while-paged` change the dossiers themselves, so that what follows is consistent
//! with them. A [`RawAnswer`] is given as it is, so that a document that once did harm can be
//! served again.

use std::borrow::Cow;

use axum::body::Bytes;
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
    /// No items, and always more to come, behind the cursor it was asked with.
    EndlessMore,
    /// No items, and always more to come, behind a cursor that moves each time.
    EndlessPages,
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
    /// One item holds an element that is closed under another name.
    MismatchedTag,
    /// One item holds a byte that is no character of any encoding in use.
    StrayByte,
    /// A page for people, with status 200.
    HtmlPage,
    /// A document type with nested entities, and a reference to them.
    EntityBomb,
    /// One item grows by this many bytes.
    OversizedItem {
        bytes: usize,
    },
    /// One item twice; the first copy has another abstract.
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
    /// Answers it spoils; absent means until it is cleared.
    #[serde(default)]
    pub times: Option<u32>,
    #[serde(default)]
    pub on: Question,
    /// The dossier that is spoilt, wherever it stands; absent means the first one of the answer.
    #[serde(default)]
    pub code: Option<String>,
}

/// What the province is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    #[default]
    Changes,
    Index,
    /// A look-up of one dossier by its code.
    Dossier,
}

impl MisbehaviourRule {
    pub fn once(misbehaviour: Misbehaviour) -> Self {
        Self { times: Some(1), ..Self::until_cleared(misbehaviour) }
    }

    pub fn until_cleared(misbehaviour: Misbehaviour) -> Self {
        Self { misbehaviour, times: None, on: Question::default(), code: None }
    }

    #[must_use]
    pub fn on(self, question: Question) -> Self {
        Self { on: question, ..self }
    }

    /// Spoils this dossier and no other.
    #[must_use]
    pub fn of_dossier(self, code: &str) -> Self {
        Self { code: Some(code.to_owned()), ..self }
    }
}

/// Bytes to be given as they are, in place of an answer.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    pub on: Question,
    /// Answers it takes the place of; absent means until it is cleared.
    pub times: Option<u32>,
    pub content_type: String,
    pub bytes: Bytes,
}

/// Takes one turn of every rule in force for this question; used-up rules disappear.
pub(super) fn take_turn(rules: &mut Vec<MisbehaviourRule>, question: Question) -> Turn {
    let turn = rules.iter().filter(|rule| rule.on == question).cloned().collect();
    rules.retain_mut(|rule| rule.on != question || is_left(&mut rule.times));
    Turn(turn)
}

/// Takes the first raw answer to this question.
pub(super) fn take_raw(answers: &mut Vec<RawAnswer>, question: Question) -> Option<RawAnswer> {
    let at = answers.iter().position(|answer| answer.on == question)?;
    let answer = answers[at].clone();
    if !is_left(&mut answers[at].times) {
        answers.remove(at);
    }
    Some(answer)
}

/// Uses one time up.
fn is_left(times: &mut Option<u32>) -> bool {
    match times {
        Some(times) => {
            *times = times.saturating_sub(1);
            *times > 0
        }
        None => true,
    }
}

/// The rules in force for one answer.
#[derive(Debug)]
pub(super) struct Turn(Vec<MisbehaviourRule>);

impl Turn {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, wanted: &Misbehaviour) -> bool {
        self.kinds().any(|kind| kind == wanted)
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &Misbehaviour> {
        self.0.iter().map(|rule| &rule.misbehaviour)
    }

    pub(super) fn is_without_items(&self) -> bool {
        self.has(&Misbehaviour::EndlessMore) || self.has(&Misbehaviour::EndlessPages)
    }

    /// Spoils where the next page begins. `after` is where this one began.
    pub(super) fn turn_cursor(&self, cursor: &mut String, more: &mut bool, after: Option<&str>) {
        if self.has(&Misbehaviour::EndlessMore) || self.has(&Misbehaviour::StuckCursor) {
            *more = true;
            after.unwrap_or("0~").clone_into(cursor);
        }
        if self.has(&Misbehaviour::EndlessPages) {
            *more = true;
            // Later than the last one, and earlier than any dossier behind it.
            *cursor = format!("{}!", after.unwrap_or("0~"));
        }
    }

    /// Spoils the text of the item at this place of the answer.
    pub(super) fn spoil<'x>(&self, place: usize, code: &str, xml: &'x str) -> Cow<'x, str> {
        let mut spoilt = Cow::Borrowed(xml);
        for rule in &self.0 {
            let is_meant = rule.code.as_ref().map_or(place == 0, |wanted| wanted == code);
            if is_meant {
                spoilt = Cow::Owned(spoil_item(&rule.misbehaviour, &spoilt));
            }
        }
        spoilt
    }
}

pub(super) const HTML_PAGE: &str = "<!DOCTYPE html><html><head><title>Bảo trì</title></head>\
<body><h1>Hệ thống đang bảo trì</h1><p>Vui lòng quay lại sau</body></html>";

/// Stands for a stray byte while a page is text: a character of the private use area.
const STRAY_MARK: char = '\u{E000}';

const ENTITIES: &str = "<!DOCTYPE DanhSachHoSo [<!ENTITY a \"aaaaaaaaaaaaaaaa\">\
<!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">\
<!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\"><!ENTITY e SYSTEM \"file:///etc/hostname\">]>";

/// Spoils the text of one item.
fn spoil_item(rule: &Misbehaviour, xml: &str) -> String {
    let abstract_end = "</TrichYeuHoSo>";
    match rule {
        Misbehaviour::UnescapedAmpersand => {
            xml.replacen(abstract_end, &format!(" A & B{abstract_end}"), 1)
        }
        Misbehaviour::ControlCharacter => {
            xml.replacen(abstract_end, &format!("\u{1}{abstract_end}"), 1)
        }
        // A line of the index is a tag that closes itself.
        Misbehaviour::MismatchedTag if xml.ends_with("/>") => {
            format!("{}></Mã>", xml.trim_end_matches("/>"))
        }
        Misbehaviour::MismatchedTag => xml.replacen(abstract_end, "</TrichYeu>", 1),
        Misbehaviour::StrayByte => {
            xml.replacen(abstract_end, &format!("{STRAY_MARK}{abstract_end}"), 1)
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
pub(super) fn encode(turn: &Turn, mut document: String) -> (Vec<u8>, &'static str) {
    let has = |rule: &Misbehaviour| turn.has(rule);
    if has(&Misbehaviour::EntityBomb)
        && let Some((declaration, rest)) = document.split_once("?>")
    {
        document = format!("{declaration}?>{ENTITIES}{rest}");
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
    let bytes = document.into_bytes();
    if has(&Misbehaviour::StrayByte) {
        return (with_stray_bytes(&bytes), "utf-8");
    }
    (bytes, "utf-8")
}

/// Puts 0xFF, which UTF-8 never holds, where the mark stands.
fn with_stray_bytes(bytes: &[u8]) -> Vec<u8> {
    let mark = STRAY_MARK.to_string();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(mark.len()).position(|window| window == mark.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.push(0xFF);
        rest = &rest[at + mark.len()..];
    }
    out.extend_from_slice(rest);
    out
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
            MisbehaviourRule::once(Misbehaviour::Nfd).on(Question::Index),
        ];
        let mut kinds = |question| -> Vec<Misbehaviour> {
            take_turn(&mut rules, question).kinds().cloned().collect()
        };
        assert_eq!(kinds(Question::Changes).len(), 2);
        assert_eq!(kinds(Question::Changes), [Misbehaviour::StuckCursor]);
        assert_eq!(kinds(Question::Dossier), []);
        // Asking something else used nothing up.
        assert_eq!(kinds(Question::Index), [Misbehaviour::Nfd]);
        assert_eq!(kinds(Question::Index), []);
        assert_eq!(kinds(Question::Changes), [Misbehaviour::StuckCursor]);
    }

    #[test]
    fn rules_are_read_from_json() {
        let rule: MisbehaviourRule =
            serde_json::from_str(r#"{"kind":"oversized-item","bytes":9,"times":2}"#).unwrap();
        assert_eq!(rule.misbehaviour, Misbehaviour::OversizedItem { bytes: 9 });
        assert_eq!((rule.times, rule.on, rule.code), (Some(2), Question::Changes, None));
        let rule: MisbehaviourRule =
            serde_json::from_str(r#"{"kind":"mismatched-tag","on":"index","code":"A"}"#).unwrap();
        let expected = MisbehaviourRule::until_cleared(Misbehaviour::MismatchedTag);
        assert_eq!(rule, expected.on(Question::Index).of_dossier("A"));
    }

    #[test]
    fn a_rule_for_a_dossier_spoils_that_one_wherever_it_stands() {
        let rule = MisbehaviourRule::once(Misbehaviour::MismatchedTag);
        let xml = "<HoSo><TrichYeuHoSo>a</TrichYeuHoSo></HoSo>";
        let first = Turn(vec![rule.clone()]);
        assert_ne!(first.spoil(0, "A", xml), xml);
        assert_eq!(first.spoil(1, "B", xml), xml);
        let named = Turn(vec![rule.of_dossier("B")]);
        assert_eq!(named.spoil(0, "A", xml), xml);
        assert_ne!(named.spoil(1, "B", xml), xml);
    }
}
