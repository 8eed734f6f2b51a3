//! What dossiers fail of: a signature groups those with one cause, and says nothing of any of them.
//!
//! Pure. A signature is where it happened, the rule or the portal's code, the words with everything
//! taken out that belongs to one dossier, and the field. Two dossiers with the same cause share one, and
//! its name is short and stays the same for good, so that people can pass it on.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use super::diagnostic::{Diagnostic, Severity};
use super::failure::Failure;
use super::time::Timestamp;

/// Where in its way a dossier failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// What the source gave could not be read.
    Source,
    /// The mapping or a check of it.
    Map,
    /// What the portal says that it knows.
    Catalogue,
    /// The packet's way to the portal, and its answer.
    Push,
    /// A look at the portal, after an answer that got lost.
    ReadBack,
    /// The way of a dossier's steps.
    Steps,
}

impl Stage {
    pub const ALL: [Self; 6] =
        [Self::Source, Self::Map, Self::Catalogue, Self::Push, Self::ReadBack, Self::Steps];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Map => "map",
            Self::Catalogue => "catalogue",
            Self::Push => "push",
            Self::ReadBack => "read_back",
            Self::Steps => "steps",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The cause that a group of problems shares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Signature {
    pub stage: Stage,
    /// The stable code, with the portal's own behind a stroke where it gave one: `portal.refused/7`.
    pub code: String,
    /// Words, normalised.
    pub message: String,
    /// The portal's field, or the source's element where there is none; may be empty.
    pub field: String,
}

/// What a signature's name begins with.
const PREFIX: &str = "S-";
/// Hexadecimal digits of a name: among a million signatures two share one with a chance of one in two.
const NAME_DIGITS: usize = 10;
/// Characters of the words that tell signatures apart. Words from outside are cut somewhere, and
/// where depends on what they quote; the beginning does not.
const MESSAGE_LENGTH_MAX: usize = 160;
/// How the portal's own code stands in our sentences.
const PORTAL_CODE: &str = "error_code ";

impl Signature {
    pub fn new(stage: Stage, code: &str, message: &str, field: &str) -> Self {
        Self {
            stage,
            code: code.to_owned(),
            message: normalise(message),
            field: without_indices(field),
        }
    }

    /// Of a dossier that the mapping refused: its first error, because what comes after is often a
    /// consequence of it.
    pub fn of_findings(code: &str, findings: &[Diagnostic]) -> Self {
        let stage = if code.starts_with("catalogue.") { Stage::Catalogue } else { Stage::Map };
        let first = findings
            .iter()
            .find(|finding| finding.severity == Severity::Error)
            .or_else(|| findings.first());
        match first {
            Some(finding) => {
                let field =
                    if finding.target.is_empty() { &finding.source_path } else { &finding.target };
                Self::new(stage, code, &finding.expected, field)
            }
            None => Self::new(stage, code, "", ""),
        }
    }

    /// Of what was refused or did not succeed on its way.
    pub fn of_failure(stage: Stage, failure: &Failure) -> Self {
        let words = if failure.details.is_empty() {
            failure.message.clone()
        } else {
            format!("{}: {}", failure.message, failure.details)
        };
        let code = match portal_code(&failure.message) {
            Some(portal) => format!("{}/{portal}", failure.code),
            None => failure.code.clone(),
        };
        Self::new(stage, &code, &words, "")
    }

    /// `S-` and ten hexadecimal digits.
    pub fn name(&self) -> String {
        let text =
            format!("{}\n{}\n{}\n{}", self.stage.as_str(), self.code, self.field, self.message);
        let hash = blake3::hash(text.as_bytes()).to_hex();
        format!("{PREFIX}{}", &hash[..NAME_DIGITS])
    }
}

/// The part of a signature's code that `hoso explain` knows.
pub fn plain_code(code: &str) -> &str {
    code.split_once('/').map_or(code, |(plain, _)| plain)
}

/// Whether the text is the name of a signature, and not a dossier's or a rule's.
pub fn is_name(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|digits| {
        digits.len() == NAME_DIGITS
            && digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
    })
}

/// The code that the portal gave, where our sentence names one. Short, or it is none.
fn portal_code(message: &str) -> Option<&str> {
    let (_, after) = message.split_once(PORTAL_CODE)?;
    // Some of the portal's services write the same code with a sign and some without.
    let code = after.split_whitespace().next()?.trim_start_matches('-');
    let is_code = (1..=12).contains(&code.len())
        && code.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    is_code.then_some(code)
}

/// `TaiLieuNop[2].TenGiayTo` → `TaiLieuNop.TenGiayTo`.
fn without_indices(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => text.push(c),
            _ => {}
        }
    }
    text
}

/// In the place of what belonged to one dossier.
const VALUE: &str = "#";
/// In the place of what was quoted.
const QUOTE: &str = "…";

/// Words without what differs from dossier to dossier: numbers, codes, dates and hashes, addresses,
/// what was quoted, and what was masked already. Applied twice it changes nothing more.
pub fn normalise(text: &str) -> String {
    let text = without_quotes(text);
    let mut words: Vec<&str> = Vec::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let word = if is_value(word) { VALUE } else { word };
        // Lists of values are of any length.
        if word.is_empty() || (word == VALUE && words.last() == Some(&VALUE)) {
            continue;
        }
        words.push(word);
    }
    let mut text = String::new();
    let mut length = 0;
    for word in words {
        // Whole words: half of one could be anything.
        length += word.chars().count() + 1;
        if length > MESSAGE_LENGTH_MAX {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    // What was cut away may have stood between two values.
    text.truncate(text.trim_end().len());
    text
}

/// A word that carries a value, however it is punctuated.
fn is_value(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
    let is_hash = bare.len() >= 8 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
    // What stands before a sign of equality or a colon names a value that stuck to it.
    let is_stuck =
        word.find(['=', ':']).is_some_and(|at| word[at + 1..].chars().any(char::is_alphanumeric));
    word.chars().any(|c| c.is_numeric() || matches!(c, '*' | '@' | '#'))
        || word.contains("://")
        || is_hash
        || is_stuck
}

/// Closing sign of an opening one.
const QUOTES: &[(char, char)] =
    &[('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('«', '»'), ('„', '“')];

/// A quotation that does not end takes the rest with it: it was cut.
fn without_quotes(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let opens = QUOTES.iter().find(|(open, _)| *open == chars[at]);
        let begins_word = at == 0 || !chars[at - 1].is_alphanumeric();
        let Some(&(_, close)) = opens.filter(|_| begins_word) else {
            out.push(chars[at]);
            at += 1;
            continue;
        };
        let ends = (at + 1..chars.len()).find(|&end| {
            chars[end] == close && chars.get(end + 1).is_none_or(|next| !next.is_alphanumeric())
        });
        out.push_str(QUOTE);
        at = ends.map_or(chars.len(), |end| end + 1);
    }
    out
}

/// What decides which cause comes first: whose dossiers are harmed most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Harm {
    /// The work has ended, and the portal does not know: it counts as late there every day.
    pub finished_unsent: u64,
    pub nearest_due: Option<Timestamp>,
    pub open: u64,
}

impl Harm {
    /// The worst first.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        let due = |harm: &Self| harm.nearest_due.unwrap_or(Timestamp::from_millis(i64::MAX));
        (other.finished_unsent > 0)
            .cmp(&(self.finished_unsent > 0))
            .then(due(self).cmp(&due(other)))
            .then(other.open.cmp(&self.open))
    }
}

/// What refusals that came together have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "scope", content = "value")]
pub enum Concentration {
    Procedure(String),
    Agency(String),
    /// Of everywhere: stopping a part of it would only look like doing something.
    Spread,
}

/// Of ten refusals, as many are in one procedure (or agency) that it is the cause.
const CONCENTRATED_OF_TEN: u64 = 9;

/// Procedure, agency, and how many refusals they had together.
type Hit = (Option<String>, Option<String>, u64);

/// Where refusals are concentrated; each with its procedure, its agency, and how many there were.
///
/// Where both are one, the procedure is taken: what the portal refuses is far more often how one
/// procedure is filled in than where.
pub fn concentration(hits: &[Hit]) -> Concentration {
    let total: u64 = hits.iter().map(|(_, _, count)| count).sum();
    let most = |of: fn(&Hit) -> Option<&String>| {
        let mut sums: std::collections::BTreeMap<&String, u64> = std::collections::BTreeMap::new();
        for hit in hits {
            if let Some(value) = of(hit) {
                *sums.entry(value).or_default() += hit.2;
            }
        }
        sums.into_iter()
            .max_by_key(|(_, count)| *count)
            .filter(|(_, count)| count * 10 >= total * CONCENTRATED_OF_TEN)
            .map(|(value, _)| value.clone())
    };
    if let Some(procedure) = most(|hit| hit.0.as_ref()) {
        Concentration::Procedure(procedure)
    } else if let Some(agency) = most(|hit| hit.1.as_ref()) {
        Concentration::Agency(agency)
    } else {
        Concentration::Spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Disposition;
    use proptest::prelude::*;

    #[test]
    fn what_belongs_to_one_dossier_is_taken_out() {
        for (said, normal) in [
            ("Hồ sơ H55.242-260126-0001 đã tồn tại", "Hồ sơ # đã tồn tại"),
            ("CCCD ************ không hợp lệ.", "CCCD # không hợp lệ."),
            ("trường 'NgayHenTra' trước \"2026-01-26 08:30\"", "trường … trước …"),
            ("from 2026-01-26 08:30:00+07:00 until 3 May", "from # until # May"),
            ("mã deadbeefcafe sai", "mã # sai"),
            ("gửi ***@example.invalid nhé", "gửi # nhé"),
            ("xem http://portal.invalid/x", "xem #"),
            ("MaHoSo=ABC trùng", "# trùng"),
            ("it's the portal's word", "it's the portal's word"),
            ("giá trị 'bị cắt ngang và không", "giá trị …"),
            ("  hai   khoảng\ntrắng ", "hai khoảng trắng"),
            ("", ""),
        ] {
            assert_eq!(normalise(said), normal, "{said}");
        }
    }

    #[test]
    fn the_code_of_the_portal_is_kept_and_found_again() {
        let refused = |code: &str, who: &str| {
            let failure = Failure::new(
                "portal.refused",
                Disposition::Data,
                format!("the portal refused the call with error_code {code}"),
            );
            let words = format!("Hồ sơ {who}: mã thủ tục không hợp lệ");
            Signature::of_failure(Stage::Push, &failure.with_details(words))
        };
        let one = refused("7", "H55.242-260126-0001");
        assert_eq!(one.code, "portal.refused/7");
        assert_eq!(plain_code(&one.code), "portal.refused");
        assert_eq!(one, refused("7", "H55.243-260127-0999"));
        assert_eq!(one, refused("-7", "H55.242-260126-0001"), "with a sign and without");
        assert_ne!(one.name(), refused("8", "H55.242-260126-0001").name());
        assert!(is_name(&one.name()), "{}", one.name());
        assert!(!is_name("H55.242-260126-0001") && !is_name("S-12") && !is_name("S-123456789X"));
    }

    #[test]
    fn the_same_mistake_at_another_place_of_a_list_is_the_same_cause() {
        let finding = |place: u32, digits: u32| Diagnostic {
            rule: "mapping.required".into(),
            severity: Severity::Error,
            source_path: format!("HoSo/DanhSachTaiLieu/TaiLieu[{place}]/Ten"),
            position: None,
            target: format!("TaiLieuNop[{place}].TenTepDinhKem"),
            expected: format!("a text of at most {digits} characters"),
            found: "empty".into(),
        };
        let one = Signature::of_findings("mapping.required", &[finding(1, 250)]);
        assert_eq!(one, Signature::of_findings("mapping.required", &[finding(7, 99)]));
        assert_eq!(one.field, "TaiLieuNop.TenTepDinhKem");
        assert_eq!(one.stage, Stage::Map);
        let held = Signature::of_findings("catalogue.procedure", &[finding(1, 1)]);
        assert_eq!(held.stage, Stage::Catalogue);
    }

    #[test]
    fn who_is_harmed_most_comes_first() {
        let at = |seconds: i64| Some(Timestamp::from_millis(seconds * 1000));
        let harm = |finished_unsent, nearest_due, open| Harm { finished_unsent, nearest_due, open };
        let mut all = [
            harm(0, None, 900),
            harm(0, at(50), 3),
            harm(0, at(50), 4),
            harm(1, at(90), 1),
            harm(2, at(80), 1),
        ];
        all.sort_by(Harm::order);
        let order: Vec<u64> = all.iter().map(|harm| harm.open).collect();
        assert_eq!(order, [1, 1, 4, 3, 900]);
        assert_eq!(all[0].nearest_due, at(80));
    }

    #[test]
    fn a_scope_is_named_only_where_refusals_are_in_one() {
        let hit = |tthc: &str, don_vi: &str, count| {
            (Some(tthc.to_owned()), Some(don_vi.to_owned()), count)
        };
        let of_procedure = [hit("1.1", "a", 10), hit("1.1", "b", 9), hit("1.2", "a", 1)];
        assert_eq!(concentration(&of_procedure), Concentration::Procedure("1.1".into()));
        let of_agency = [hit("1.1", "a", 7), hit("1.2", "a", 7), hit("1.3", "a", 6)];
        assert_eq!(concentration(&of_agency), Concentration::Agency("a".into()));
        let both = [hit("1.1", "a", 20)];
        assert_eq!(concentration(&both), Concentration::Procedure("1.1".into()));
        let spread = [hit("1.1", "a", 10), hit("1.2", "b", 10)];
        assert_eq!(concentration(&spread), Concentration::Spread);
        assert_eq!(concentration(&[(None, None, 20)]), Concentration::Spread);
        assert_eq!(concentration(&[]), Concentration::Spread);
    }

    /// Something that names one dossier or one person.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9]{1,14}",
            "H[0-9]{2}\\.[0-9]{1,3}-[0-9]{6}-[0-9]{4}",
            "[0-9]{4}-[0-9]{2}-[0-9]{2}",
            "[a-f]{8,40}",
            "[a-z]{1,8}@example\\.invalid",
            "'[A-Za-z ]{0,20}'",
            "\"[A-Za-zăâđê ]{0,20}\"",
            "“[A-Za-z, ]{0,20}”",
            "\\*{7,12}",
        ]
    }

    proptest! {
        #[test]
        fn normalisation_changes_nothing_the_second_time(text in "\\PC{0,300}") {
            let once = normalise(&text);
            prop_assert_eq!(normalise(&once), once);
        }

        #[test]
        fn dossiers_with_one_cause_share_a_signature_whatever_the_words_quote(
            parts in prop::collection::vec("[A-Za-zăâđêôơư]{1,7}", 1..6),
            one in prop::collection::vec(value(), 6),
            other in prop::collection::vec(value(), 6),
        ) {
            // Values of one kind in one place: a quotation and a number are two ways to say it.
            let say = |values: &[String]| {
                let quoted = |value: &String| value.starts_with(['\'', '"', '“']);
                parts.iter().zip(values)
                    .filter(|(_, value)| !quoted(value))
                    .map(|(part, value)| format!("{part}, {value}."))
                    .collect::<Vec<_>>()
            };
            let (one, other) = (say(&one), say(&other));
            let both = one.len().min(other.len());
            let sign = |said: &[String]| Signature::new(Stage::Push, "x", &said.join(" "), "");
            let words = |said: &[String]| -> Vec<String> {
                said.iter().map(|part| part.split(',').next().unwrap_or_default().to_owned()).collect()
            };
            if words(&one[..both]) == words(&other[..both]) {
                prop_assert_eq!(sign(&one[..both]).name(), sign(&other[..both]).name());
            }
        }

        #[test]
        fn nothing_of_a_value_survives(
            before in "[A-Za-zăâđê]{1,7}",
            value in value(),
            after in "[g-zăâđê]{1,7}",
        ) {
            let normal = normalise(&format!("{before} {value} {after}"));
            let placeholder = if value.starts_with(['\'', '"', '“']) { "…" } else { "#" };
            prop_assert_eq!(normal, format!("{before} {placeholder} {after}"));
        }
    }
}
