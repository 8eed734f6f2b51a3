//! Converters: one source text to one portal value, or the reason why not. Nothing is guessed and
//! nothing has a default.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::domain::codes::{AgencyCode, DossierCode, ProcedureCode, is_result_code};
use crate::domain::record::Value;
use crate::domain::time::Timestamp;

use super::codelist::Row;
use super::plan::{Converter, Field, Pattern, Plan};

/// Times outside these years are what programs write when they have none (`0001-01-01`, `1900-01-01`).
const YEARS: std::ops::RangeInclusive<u16> = 1990..=2100;
const TIME: &str = "a date with time of day, yyyyMMddHHmmss or ISO 8601, from 1990 to 2100";
/// More digits than any fee in VND has.
const AMOUNT_DIGITS_MAX: usize = 15;

/// Why a value is refused, or doubtful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub rule: &'static str,
    pub expected: Cow<'static, str>,
    pub found: String,
}

#[derive(Debug)]
pub(super) struct Converted<'a> {
    pub value: Value<'a>,
    /// The value is sent all the same.
    pub warning: Option<Problem>,
    /// Rows of the code list of which one must hold on the dossier's day.
    pub dated: Option<&'a [Row]>,
}

/// What kind of value was there, without the value.
pub(super) fn describe(text: &str) -> String {
    if text.is_empty() {
        return "empty".to_owned();
    }
    let characters = text.chars().count();
    let plural = if characters == 1 { "" } else { "s" };
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("{} digit{plural}", thousands(characters))
    } else {
        format!("text of {} character{plural}", thousands(characters))
    }
}

/// Codes of up to three characters carry nothing personal and are shown.
pub(super) fn describe_code(text: &str) -> String {
    if text.chars().count() <= 3 && !text.is_empty() { format!("`{text}`") } else { describe(text) }
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Trimmed and composed; borrowed when it already was.
pub(super) fn clean(text: Cow<'_, str>) -> Cow<'_, str> {
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => match text.trim() {
            trimmed if trimmed.len() == text.len() => Cow::Owned(text),
            trimmed => Cow::Owned(trimmed.to_owned()),
        },
    };
    if is_composed(&text) { text } else { Cow::Owned(text.nfc().collect()) }
}

fn is_composed(text: &str) -> bool {
    is_composed_vietnamese(text.as_bytes()) || is_nfc_quick(text.chars()) == IsNormalized::Yes
}

/// The common case without tables: ASCII, and letters of U+0080–U+02FF and U+1E80–U+1EFF, none of
/// which is a combining mark or has another composed form.
fn is_composed_vietnamese(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return true,
            [0x00..=0x7F, rest @ ..]
            | [0xC2..=0xCB, _, rest @ ..]
            | [0xE1, 0xBA | 0xBB, _, rest @ ..] => rest,
            _ => return false,
        }
    }
}

/// Runs of white space as one space; of a trimmed text.
pub(super) fn one_line(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_plain = text.as_bytes().windows(2).all(|pair| match pair[0] {
        b' ' => pair[1] != b' ',
        // Line breaks and tabs, and where white space beyond ASCII begins (U+0085, U+00A0, U+2000
        // and on; U+1680 below).
        b'\t'..=b'\r' | 0xC2 | 0xE2 | 0xE3 => false,
        0xE1 => pair[1] != 0x9A,
        _ => true,
    });
    if is_plain { text } else { Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" ")) }
}

/// Converts a cleaned text that is not empty.
pub(super) fn convert<'a>(
    plan: &'a Plan,
    field: &Field,
    text: Cow<'a, str>,
) -> Result<Converted<'a>, Problem> {
    let value = match field.converter {
        Converter::Text => return free_text(field, text),
        Converter::Line => return free_text(field, one_line(text)),
        Converter::Time => time(text).map(Value::Text)?,
        Converter::WholeNumber => Value::Integer(whole_number(&text)?),
        Converter::Amount => Value::Text(amount(text)?),
        Converter::Flag => Value::Text(Cow::Borrowed(if yes(&text)? { "1" } else { "0" })),
        Converter::FlagWord => {
            Value::Text(Cow::Borrowed(if yes(&text)? { "True" } else { "False" }))
        }
        Converter::Truth => Value::Boolean(yes(&text)?),
        Converter::Link => Value::Text(link(text)?),
        Converter::Phone => {
            return doubtful(field, text, is_phone, "mapping.phone", "a telephone number");
        }
        Converter::Email => {
            return doubtful(field, text, is_email, "mapping.email", "an e-mail address");
        }
        Converter::Code | Converter::Status => return code(plan, field, &text),
    };
    if let Value::Text(text) = &value {
        within_length(field, text)?;
    }
    Ok(Converted { value, warning: None, dated: None })
}

fn free_text<'a>(field: &Field, text: Cow<'a, str>) -> Result<Converted<'a>, Problem> {
    if let Some(pattern) = field.pattern {
        follows(pattern, &text)?;
    }
    match within_length(field, &text) {
        Ok(()) => Ok(Converted { value: Value::Text(text), warning: None, dated: None }),
        Err(problem) if field.shorten => {
            let length_max = field.length_max.unwrap_or(usize::MAX);
            let warning = Problem { rule: "mapping.shortened", ..problem };
            let shortened = Cow::Owned(shorten(&text, length_max));
            Ok(Converted { value: Value::Text(shortened), warning: Some(warning), dated: None })
        }
        Err(problem) => Err(problem),
    }
}

fn within_length(field: &Field, text: &str) -> Result<(), Problem> {
    let Some(length_max) = field.length_max else {
        return Ok(());
    };
    // UTF-8 never has fewer bytes than UTF-16 has units.
    if text.len() <= length_max || text.encode_utf16().count() <= length_max {
        return Ok(());
    }
    Err(Problem {
        rule: "mapping.length",
        expected: format!("at most {} characters (UTF-16)", thousands(length_max)).into(),
        found: describe(text),
    })
}

/// Cut between characters so that with the ellipsis it has at most `length_max` UTF-16 units.
fn shorten(text: &str, length_max: usize) -> String {
    let mut units = 1;
    let end = text
        .char_indices()
        .find(|(_, c)| {
            units += c.len_utf16();
            units > length_max
        })
        .map_or(text.len(), |(at, _)| at);
    format!("{}…", text[..end].trim_end())
}

fn follows(pattern: Pattern, text: &str) -> Result<(), Problem> {
    let (fits, rule, expected) = match pattern {
        Pattern::Dossier => (
            DossierCode::parse(text).is_some(),
            "mapping.dossier_code",
            "a dossier code: agency, date of reception and serial (H55.242-260126-0001)",
        ),
        Pattern::Procedure => (
            ProcedureCode::parse(text).is_some(),
            "mapping.procedure_code",
            "a procedure code (2.000815 or 2.000815.000.00.00.H55)",
        ),
        Pattern::Result => {
            (is_result_code(text), "mapping.result_code", "a result code (KQ.G15.000031)")
        }
        Pattern::Agency => (
            AgencyCode::parse(text).is_some(),
            "mapping.agency_code",
            "an agency code (H55.242 or 000.00.28.H55)",
        ),
    };
    if fits { Ok(()) } else { Err(refused(rule, expected, text)) }
}

fn time(text: Cow<'_, str>) -> Result<Cow<'_, str>, Problem> {
    let portal = if text.len() == 14 && Timestamp::from_portal(&text).is_some() {
        text
    } else {
        Cow::Owned(
            Timestamp::from_iso(&text)
                .ok_or_else(|| refused("mapping.time", TIME, &text))?
                .to_portal(),
        )
    };
    let year = portal.get(..4).and_then(|year| year.parse().ok());
    if year.is_some_and(|year: u16| YEARS.contains(&year)) {
        Ok(portal)
    } else {
        Err(refused("mapping.time", TIME, &portal))
    }
}

fn whole_number(text: &str) -> Result<i64, Problem> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| refused("mapping.whole_number", "a whole number from 0", text))
}

fn amount(text: Cow<'_, str>) -> Result<Cow<'_, str>, Problem> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if digits && !leading_zero && text.len() <= AMOUNT_DIGITS_MAX {
        Ok(text)
    } else {
        Err(refused("mapping.amount", "whole VND in digits alone (4000)", &text))
    }
}

fn yes(text: &str) -> Result<bool, Problem> {
    match text {
        "1" => Ok(true),
        "0" => Ok(false),
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(Problem {
            rule: "mapping.flag",
            expected: "0, 1, true or false".into(),
            found: describe_code(text),
        }),
    }
}

fn link(text: Cow<'_, str>) -> Result<Cow<'_, str>, Problem> {
    let refuse = |expected| Err(refused("mapping.link", expected, &text));
    let scheme = ["https://", "http://"].into_iter().find(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else {
        return refuse("an absolute http or https link");
    };
    let rest = &text[scheme.len()..];
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return refuse("a link without user name and password in it");
    }
    let host_ends = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if host_ends.is_empty() || text.chars().any(|c| c.is_whitespace() || "<>\"\\".contains(c)) {
        return refuse("an absolute http or https link");
    }
    // Some systems write several links into one value, with `##` between them.
    if rest.contains("##")
        || rest.contains("://") && rest.matches("http").count() > 0 && !rest.contains('?')
    {
        return refuse("one link for one file");
    }
    Ok(text)
}

fn is_phone(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (8..=30).contains(&digits)
        && text.chars().all(|c| c.is_ascii_digit() || " +-.()/,;".contains(c))
}

fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else {
        return false;
    };
    !local.is_empty()
        && !host.contains('@')
        && !text.chars().any(char::is_whitespace)
        && host.split('.').count() > 1
        && host.split('.').all(|label| !label.is_empty())
}

fn doubtful<'a>(
    field: &Field,
    text: Cow<'a, str>,
    looks_right: fn(&str) -> bool,
    rule: &'static str,
    expected: &'static str,
) -> Result<Converted<'a>, Problem> {
    within_length(field, &text)?;
    let warning = (!looks_right(&text)).then(|| refused(rule, expected, &text));
    Ok(Converted { value: Value::Text(text), warning, dated: None })
}

fn code<'a>(plan: &'a Plan, field: &Field, text: &str) -> Result<Converted<'a>, Problem> {
    // The file reader gives every such field a list.
    let list = field.codes.and_then(|id| plan.code_lists.get(id));
    let rows = list.map(|list| list.find(text)).unwrap_or_default();
    let Some(first) = rows.first() else {
        return Err(Problem {
            rule: "mapping.code_list",
            expected: list.map(super::codelist::CodeList::expectation).unwrap_or_default().into(),
            found: describe_code(text),
        });
    };
    let dated = rows.iter().any(|row| !row.is_always_valid()).then_some(rows);
    Ok(Converted { value: Value::Text(Cow::Borrowed(&first.code)), warning: None, dated })
}

fn refused(rule: &'static str, expected: &'static str, text: &str) -> Problem {
    Problem { rule, expected: expected.into(), found: describe(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> String {
        one_line(clean(Cow::Borrowed(text))).into_owned()
    }

    #[test]
    fn text_is_trimmed_composed_and_put_on_one_line() {
        assert_eq!(cleaned("  a \n\t b\u{A0}c  "), "a b c");
        assert_eq!(cleaned("Nguye\u{302}\u{303}n"), "Nguyễn");
        assert_eq!(cleaned("a\u{1680}b \u{2003}c\u{85}d"), "a b c d");
        assert!(matches!(clean(Cow::Borrowed(" Nguyễn ")), Cow::Borrowed("Nguyễn")));
    }

    #[test]
    fn times_become_fourteen_digits_and_placeholders_are_refused() {
        for (text, expected) in [
            ("20260126083000", "20260126083000"),
            ("2026-01-26T08:30:00+07:00", "20260126083000"),
            ("2026-01-26T01:30:00.123Z", "20260126083000"),
            ("2026-01-26T08:30:00", "20260126083000"),
            ("19900101000000", "19900101000000"),
        ] {
            assert_eq!(time(Cow::Borrowed(text)).unwrap(), expected, "{text}");
        }
        for text in [
            "20260126",
            "2026-01-26",
            "26/01/2026 08:30:00",
            "00010101000000",
            "19000101000000",
            "0001-01-01T00:00:00",
            "20260230083000",
            "20260126246000",
        ] {
            assert_eq!(time(Cow::Borrowed(text)).unwrap_err().rule, "mapping.time", "{text}");
        }
    }

    #[test]
    fn amounts_and_numbers_are_digits_alone() {
        for text in ["0", "4000", "999999999999999"] {
            assert!(amount(Cow::Borrowed(text)).is_ok(), "{text}");
        }
        for text in ["4.000", "4000.00", "-1", "04000", "1e3", "1000000000000000", "4000đ"] {
            assert!(amount(Cow::Borrowed(text)).is_err(), "{text}");
        }
        assert_eq!(whole_number("07"), Ok(7));
        for text in ["-1", "1.0", "99999999999999999999"] {
            assert!(whole_number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn yes_and_no_have_four_spellings() {
        for (text, expected) in [("1", true), ("0", false), ("True", true), ("FALSE", false)] {
            assert_eq!(yes(text), Ok(expected));
        }
        for text in ["2", "yes", "có", "01"] {
            assert!(yes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn links_are_absolute_single_and_without_credentials() {
        for text in [
            "https://tep.example.invalid/t/9f1c",
            "HTTP://10.0.0.1:8080/a?b=c#d",
            "https://tep.example.invalid/to?next=https://example.invalid/x",
        ] {
            assert!(link(Cow::Borrowed(text)).is_ok(), "{text}");
        }
        for text in [
            "/t/9f1c",
            "ftp://example.invalid/x",
            "https://",
            "https:///x",
            "https://:80/x",
            "https://an:secret@example.invalid/x",
            "https://a.example.invalid/x##https://a.example.invalid/y",
            "https://a.example.invalid/x,https://a.example.invalid/y",
            "https://example.invalid/a b",
        ] {
            assert_eq!(link(Cow::Borrowed(text)).unwrap_err().rule, "mapping.link", "{text}");
        }
    }

    #[test]
    fn phones_and_addresses_are_only_doubted() {
        for text in ["0900000123", "+84 (0)280.3123456", "0900000123 / 0900000124"] {
            assert!(is_phone(text), "{text}");
        }
        assert!(!is_phone("không có") && !is_phone("123"));
        assert!(is_email("an@example.invalid"));
        for text in [
            "an",
            "an@",
            "@example.invalid",
            "an@example",
            "a b@example.invalid",
            "a@b@example.invalid",
        ] {
            assert!(!is_email(text), "{text}");
        }
    }

    #[test]
    fn shortening_counts_utf_16_units_and_never_splits_a_character() {
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("ab cdef", 4), "ab…");
        // 𝒳 has two units.
        assert_eq!(shorten("a𝒳𝒳𝒳", 4), "a𝒳…");
        assert_eq!(shorten("a𝒳𝒳𝒳", 5), "a𝒳…");
        assert_eq!(shorten("ạạạạ", 3).encode_utf16().count(), 3);
    }

    #[test]
    fn values_are_described_and_never_quoted() {
        assert_eq!(describe(""), "empty");
        assert_eq!(describe("12345678901"), "11 digits");
        assert_eq!(describe(&"ạ".repeat(1204)), "text of 1,204 characters");
        assert_eq!(describe_code("11"), "`11`");
        assert_eq!(describe_code("THU_LY"), "text of 6 characters");
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_short_ways_agree_with_the_tables(text in "[a-z đạễÀ\u{A0}\u{85}\u{300}\u{323}\u{340}\u{1680}\u{2000}\u{212B}\u{2028}\u{3000}\u{1E9B}\t]{0,12}") {
            let nfc: String = text.trim().nfc().collect();
            prop_assert_eq!(clean(Cow::Borrowed(&text)), nfc.as_str());
            let words: Vec<&str> = text.split_whitespace().collect();
            prop_assert_eq!(one_line(Cow::Borrowed(text.trim())), words.join(" "));
        }

        #[test]
        fn only_composed_texts_pass_without_tables(text in "[\u{80}-\u{2FF}\u{1E80}-\u{1EFF}]{0,6}") {
            let nfc: String = text.nfc().collect();
            prop_assert_eq!(is_composed_vietnamese(text.as_bytes()), nfc == text);
        }
    }
}
