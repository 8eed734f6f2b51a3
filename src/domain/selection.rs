//! Which dossiers an operator means: a conjunction of what is known of each.
//!
//! Owns the criteria, their one canonical text (it is audited, hashed and written into plan files, and
//! reads back to the same selection) and the judgement whether a selection makes sense. Knows nothing
//! of where dossiers are kept; whoever keeps them walks them by it.

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter, Write as _};

use serde::{Serialize, Serializer};

use super::codes::{AgencyCode, ProcedureCode};
use super::discrepancy::{Bucket, DiscrepancyKind};
use super::status::Status;
use super::time::Timestamp;

/// Codes that one selection may list; a longer list is several selections.
pub const CODES_MAX: usize = 200_000;

/// Codes that [`Display`] lists before it only counts them.
const CODES_SHOWN: usize = 5;

/// Every given criterion must hold; of `codes` the dossier has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// `MaHoSo`.
    pub codes: BTreeSet<String>,
    /// Name of the source that gives it.
    pub source: Option<String>,
    /// `MaTTHC` of the newest mapped packet.
    pub procedure: Option<String>,
    /// The agency's code, as dossier codes begin with it.
    pub agency: Option<String>,
    /// `TrangThaiHoSo` of the newest mapped packet.
    pub status: Option<Status>,
    /// `KenhThucHien` of the newest mapped packet.
    pub channel: Option<String>,
    /// `NgayTiepNhan` at this time or later.
    pub received_from: Option<Timestamp>,
    /// `NgayTiepNhan` before this time.
    pub received_before: Option<Timestamp>,
    /// Failure code of what is refused, out of attempts or held.
    pub failure: Option<String>,
    /// An error rule that holds it in quarantine.
    pub rule: Option<String>,
    /// The signature of its failure.
    pub signature: Option<String>,
    /// A discrepancy of this kind is open.
    pub discrepancy: Option<DiscrepancyKind>,
    /// Where the books would put it now.
    pub bucket: Option<Bucket>,
    /// The source changed it at this time or later; where the source gives no time, it came then.
    pub changed_since: Option<Timestamp>,
}

/// Why a selection is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    #[error("the selection names nothing")]
    Empty,
    #[error("the selection lists {0} codes; at most {CODES_MAX} fit in one")]
    TooManyCodes(usize),
    #[error("no dossier can be received from {from} and before {before}")]
    EmptyRange { from: Timestamp, before: Timestamp },
    #[error("`{value}` is no {what}")]
    Value { what: &'static str, value: String },
    #[error("a selection knows no `{0}`")]
    Criterion(String),
    #[error("a selection has `{0}` twice")]
    Twice(String),
}

/// The criteria in the order of the canonical text, by the names that files and audits use.
const CRITERIA: [&str; 14] = [
    "agency",
    "bucket",
    "changed_since",
    "channel",
    "code",
    "discrepancy",
    "failure",
    "procedure",
    "received_before",
    "received_from",
    "rule",
    "signature",
    "source",
    "status",
];

impl Selection {
    /// The dossiers of these codes.
    pub fn of_codes(codes: impl IntoIterator<Item = String>) -> Self {
        Self { codes: codes.into_iter().collect(), ..Self::default() }
    }

    /// Nothing but codes (and perhaps their source).
    pub fn is_codes_only(&self) -> bool {
        let others = Self { codes: BTreeSet::new(), source: None, ..self.clone() };
        !self.codes.is_empty() && others == Self::default()
    }

    /// Refuses what cannot be meant.
    pub fn validate(&self) -> Result<(), SelectionError> {
        if *self == Self::default() {
            return Err(SelectionError::Empty);
        }
        if self.codes.len() > CODES_MAX {
            return Err(SelectionError::TooManyCodes(self.codes.len()));
        }
        if let (Some(from), Some(before)) = (self.received_from, self.received_before)
            && from >= before
        {
            return Err(SelectionError::EmptyRange { from, before });
        }
        let judge = |what, value: &str, is_good: bool| {
            if is_good {
                Ok(())
            } else {
                Err(SelectionError::Value { what, value: value.to_owned() })
            }
        };
        for code in &self.codes {
            judge("dossier code", code, is_word(code) && code.len() <= 50)?;
        }
        if let Some(agency) = &self.agency {
            judge("agency code", agency, AgencyCode::parse(agency).is_some())?;
        }
        if let Some(procedure) = &self.procedure {
            judge("procedure code", procedure, ProcedureCode::parse(procedure).is_some())?;
        }
        let words = [
            ("source", &self.source),
            ("channel", &self.channel),
            ("failure code", &self.failure),
            ("rule", &self.rule),
            ("signature", &self.signature),
        ];
        for (what, word) in words {
            if let Some(word) = word {
                judge(what, word, is_word(word))?;
            }
        }
        Ok(())
    }

    /// One text for one selection, in one line: `agency=H55.242 status=4`.
    pub fn canonical(&self) -> String {
        self.written(usize::MAX)
    }

    /// Reads [`Self::canonical`] back; the order does not matter here.
    pub fn parse(text: &str) -> Result<Self, SelectionError> {
        let mut selection = Self::default();
        let mut seen = BTreeSet::new();
        for part in text.split(' ').filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| SelectionError::Criterion(part.to_owned()))?;
            if !seen.insert(name) {
                return Err(SelectionError::Twice(name.to_owned()));
            }
            selection.set(name, value)?;
        }
        Ok(selection)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SelectionError> {
        let wrong = |what| SelectionError::Value { what, value: value.to_owned() };
        let word = || unescaped(value).ok_or_else(|| wrong("word"));
        let time = || time_of(value).ok_or_else(|| wrong("time"));
        match name {
            "agency" => self.agency = Some(word()?),
            "bucket" => {
                let bucket = Bucket::ALL.into_iter().find(|bucket| bucket.as_str() == value);
                self.bucket = Some(bucket.ok_or_else(|| wrong("bucket"))?);
            }
            "changed_since" => self.changed_since = Some(time()?),
            "channel" => self.channel = Some(word()?),
            "code" => {
                for code in value.split(',') {
                    self.codes.insert(unescaped(code).ok_or_else(|| wrong("list of codes"))?);
                }
            }
            "discrepancy" => {
                let kind = DiscrepancyKind::parse(value);
                self.discrepancy = Some(kind.ok_or_else(|| wrong("kind of discrepancy"))?);
            }
            "failure" => self.failure = Some(word()?),
            "procedure" => self.procedure = Some(word()?),
            "received_before" => self.received_before = Some(time()?),
            "received_from" => self.received_from = Some(time()?),
            "rule" => self.rule = Some(word()?),
            "signature" => self.signature = Some(word()?),
            "source" => self.source = Some(word()?),
            "status" => self.status = Some(Status::parse(value).ok_or_else(|| wrong("status"))?),
            other => return Err(SelectionError::Criterion(other.to_owned())),
        }
        Ok(())
    }

    fn written(&self, codes_max: usize) -> String {
        let mut text = String::new();
        for name in CRITERIA {
            let word = |value: &Option<String>| value.as_deref().map(escaped);
            let value = match name {
                "agency" => word(&self.agency),
                "bucket" => self.bucket.map(|bucket| bucket.as_str().to_owned()),
                "changed_since" => self.changed_since.map(time_text),
                "channel" => word(&self.channel),
                "code" if self.codes.is_empty() => None,
                "code" if self.codes.len() > codes_max => {
                    let _infallible = write!(text, "({} codes) ", self.codes.len());
                    None
                }
                "code" => {
                    let codes: Vec<String> = self.codes.iter().map(|code| escaped(code)).collect();
                    Some(codes.join(","))
                }
                "discrepancy" => self.discrepancy.map(|kind| kind.as_str().to_owned()),
                "failure" => word(&self.failure),
                "procedure" => word(&self.procedure),
                "received_before" => self.received_before.map(time_text),
                "received_from" => self.received_from.map(time_text),
                "rule" => word(&self.rule),
                "signature" => word(&self.signature),
                "source" => word(&self.source),
                _ => self.status.map(|status| status.code().to_owned()),
            };
            if let Some(value) = value {
                let _infallible = write!(text, "{name}={value} ");
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// For people and for the audit: as the canonical text, but of many codes only their number.
impl Display for Selection {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.written(CODES_SHOWN))
    }
}

impl Serialize for Selection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.canonical())
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Everything but plain characters as `%` and two digits a byte, so that a value is one word.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_:+/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _infallible = write!(text, "%{byte:02x}");
        }
    }
    text
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            &tail[2..]
        } else {
            bytes.push(*first);
            tail
        };
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

/// Fourteen digits of Vietnam time, and milliseconds where there are some.
fn time_text(time: Timestamp) -> String {
    match time.millis().rem_euclid(1000) {
        0 => time.to_portal(),
        millis => format!("{}.{millis:03}", time.to_portal()),
    }
}

fn time_of(text: &str) -> Option<Timestamp> {
    let (seconds, millis) = text.split_once('.').unwrap_or((text, "0"));
    let time = Timestamp::from_portal(seconds)?;
    let millis: i64 = millis.parse().ok().filter(|millis| (0..1000).contains(millis))?;
    Some(Timestamp::from_millis(time.millis() + millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::option::of;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn times() -> impl Strategy<Value = Timestamp> {
        (0i64..4_000_000_000_000).prop_map(Timestamp::from_millis)
    }

    fn words() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9ăĐ%=,._-]{1,12}"
    }

    prop_compose! {
        fn selections()(
            codes in proptest::collection::btree_set(words(), 0..8),
            (source, channel, failure, rule, signature) in
                (of(words()), of(words()), of(words()), of(words()), of(words())),
            procedure in of(Just("1.000105".to_owned())),
            agency in of(Just("H55.242".to_owned())),
            status in of(select(&Status::ALL[..])),
            discrepancy in of(select(&DiscrepancyKind::ALL[..])),
            bucket in of(select(&Bucket::ALL[..])),
            (changed_since, received_from, received_before) in
                (of(times()), of(times()), of(times())),
        ) -> Selection {
            Selection {
                codes, source, procedure, agency, status, channel, received_from, received_before,
                failure, rule, signature, discrepancy, bucket, changed_since,
            }
        }
    }

    proptest! {
        #[test]
        fn the_canonical_text_reads_back_to_the_same_selection(selection in selections()) {
            let text = selection.canonical();
            prop_assert!(!text.contains('\n') && text == text.trim());
            prop_assert_eq!(Selection::parse(&text), Ok(selection));
        }

        #[test]
        fn the_order_of_the_criteria_does_not_matter(selection in selections()) {
            let text = selection.canonical();
            let mut parts: Vec<&str> = text.split(' ').collect();
            parts.reverse();
            prop_assert_eq!(Selection::parse(&parts.join(" ")).unwrap().canonical(), text);
        }

        #[test]
        fn no_text_makes_reading_panic(text in "\\PC{0,60}") {
            let _either = Selection::parse(&text);
        }
    }

    #[test]
    fn a_selection_reads_like_its_criteria() {
        let selection = Selection {
            agency: Some("H55.242".into()),
            status: Some(Status::Processing),
            changed_since: Timestamp::from_portal("20260126083000"),
            ..Selection::default()
        };
        let text = "agency=H55.242 changed_since=20260126083000 status=4";
        assert_eq!(selection.canonical(), text);
        assert_eq!(selection.to_string(), text);
        assert_eq!(selection.validate(), Ok(()));
    }

    #[test]
    fn people_read_how_many_codes_and_not_all_of_them() {
        let codes = (0..40).map(|n| format!("H55.242-260126-{n:04}"));
        let selection = Selection::of_codes(codes);
        assert_eq!(selection.to_string(), "(40 codes)");
        assert!(selection.canonical().contains("H55.242-260126-0039"));
        assert!(selection.is_codes_only());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let none = Selection::default();
        assert_eq!(none.validate(), Err(SelectionError::Empty));
        let at = Timestamp::from_millis;
        let turned = Selection {
            received_from: Some(at(2000)),
            received_before: Some(at(1000)),
            ..Selection::default()
        };
        assert_eq!(
            turned.validate(),
            Err(SelectionError::EmptyRange { from: at(2000), before: at(1000) })
        );
        let agency = Selection { agency: Some("nowhere".into()), ..Selection::default() };
        assert!(matches!(
            agency.validate(),
            Err(SelectionError::Value { what: "agency code", .. })
        ));
        let code = Selection::of_codes(["two words".to_owned()]);
        assert!(matches!(code.validate(), Err(SelectionError::Value { what: "dossier code", .. })));
        assert_eq!(Selection::parse("colour=red"), Err(SelectionError::Criterion("colour".into())));
        assert_eq!(
            Selection::parse("status=4 status=5"),
            Err(SelectionError::Twice("status".into()))
        );
        assert!(matches!(Selection::parse("status=11"), Err(SelectionError::Value { .. })));
    }
}
