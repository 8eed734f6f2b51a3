//! Grammars of codes: agency, dossier, procedure, result. They parse and judge; they never repair.

use std::fmt::{Display, Formatter};

/// An agency code (mã định danh), as QĐ 20/2020/QĐ-TTg article 4 (`H55.242`) or as QCVN 102:2016
/// (`000.00.28.H55`) writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgencyCode<'a> {
    text: &'a str,
    level_one: &'a str,
}

impl<'a> AgencyCode<'a> {
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > 35 {
            return None;
        }
        let groups: Vec<&str> = text.split('.').collect();
        if is_level_one(groups[0]) && groups.len() <= 4 {
            return groups[1..]
                .iter()
                .all(|group| (1..=3).contains(&group.len()) && digits(group))
                .then_some(Self { text, level_one: groups[0] });
        }
        match groups.as_slice() {
            [a, b, c, last]
                if a.len() == 3
                    && b.len() == 2
                    && c.len() == 2
                    && [a, b, c].iter().all(|group| digits(group))
                    && is_level_one(last) =>
            {
                Some(Self { text, level_one: last })
            }
            _ => None,
        }
    }

    /// Letter and two digits: the province or ministry.
    pub fn level_one(&self) -> &'a str {
        self.level_one
    }

    pub fn as_str(&self) -> &'a str {
        self.text
    }
}

/// Which rule a dossier code follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeEra {
    /// NĐ 61/2018/NĐ-CP and TT 01/2018/TT-VPCP: `000.00.28.H55-240613-0001`.
    Small,
    /// After QĐ 20/2020/QĐ-TTg, TT 03/2025/TT-VPCP, TT 04/2025/TT-VPCP: `H55.242-260126-0001`.
    Large,
    /// Eight-digit date, seen from the 2026 connector: `G09.20-20260609-0092637`.
    LongDate,
}

/// A dossier code (mã số hồ sơ): agency, reception date, serial of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DossierCode<'a> {
    pub agency: AgencyCode<'a>,
    pub date: &'a str,
    pub serial: &'a str,
    pub era: CodeEra,
}

impl<'a> DossierCode<'a> {
    /// The exact stored text is the identity; this only says whether it is well formed.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > 50 {
            return None;
        }
        let mut parts = text.split('-');
        let (agency, date, serial) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !digits(serial) || !(4..=12).contains(&serial.len()) {
            return None;
        }
        let agency = AgencyCode::parse(agency)?;
        let era = match date.len() {
            8 => CodeEra::LongDate,
            6 if agency.as_str().starts_with(agency.level_one()) => CodeEra::Large,
            6 => CodeEra::Small,
            _ => return None,
        };
        is_calendar_date(date).then_some(Self { agency, date, serial, era })
    }
}

/// A procedure code (`MaTTHC`): national part, and for a province's own registration its suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcedureCode<'a> {
    /// `N.NNNNNN`; the part that the national catalogue knows.
    pub national: &'a str,
    /// The province of a local form (`2.000815.000.00.00.H55`, `2.000815.H55`).
    pub province: Option<&'a str>,
}

impl<'a> ProcedureCode<'a> {
    pub fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() < 8
            || !(b'1'..=b'9').contains(&bytes[0])
            || bytes[1] != b'.'
            || !bytes[2..8].iter().all(u8::is_ascii_digit)
        {
            return None;
        }
        let national = &text[..8];
        let rest = &text[8..];
        if rest.is_empty() {
            return Some(Self { national, province: None });
        }
        let suffix = rest.strip_prefix('.')?;
        let agency = AgencyCode::parse(suffix)?;
        // Only the bare province or the old four-group form; a longer new form is no registration.
        let bare = suffix == agency.level_one();
        let old = suffix.len() > agency.level_one().len() && suffix.ends_with(agency.level_one());
        (bare || old).then_some(Self { national, province: Some(agency.level_one()) })
    }
}

/// A result code, `KQ.<agency>.NNNNNN`.
pub fn is_result_code(text: &str) -> bool {
    let Some((agency, number)) = text.strip_prefix("KQ.").and_then(|rest| rest.rsplit_once('.'))
    else {
        return false;
    };
    number.len() == 6
        && digits(number)
        && AgencyCode::parse(agency).is_some_and(|code| agency.starts_with(code.level_one()))
}

impl Display for DossierCode<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.agency.as_str(), self.date, self.serial)
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_level_one(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 3 && (b'A'..=b'Y').contains(&bytes[0]) && digits(&text[1..])
}

fn is_calendar_date(text: &str) -> bool {
    let number = |slice: &str| slice.parse::<i16>().ok();
    let split = text.len() - 4;
    if !digits(text) {
        return false;
    }
    let year = number(&text[..split]).map(|year| if split == 2 { 2000 + year } else { year });
    let (Some(year), Some(month), Some(day)) =
        (year, number(&text[split..split + 2]), number(&text[split + 2..]))
    else {
        return false;
    };
    let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else {
        return false;
    };
    jiff::civil::Date::new(year, month, day).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dossier_codes_of_all_three_eras_parse() {
        let table = [
            ("000.00.28.H55-240613-0001", CodeEra::Small, "H55"),
            ("H55.28-240613-0001", CodeEra::Large, "H55"),
            ("H55.242-260126-0001", CodeEra::Large, "H55"),
            ("H55.242.00-260126-150001", CodeEra::Large, "H55"),
            ("H03-200229-0001", CodeEra::Large, "H03"),
            ("G09.20-20260609-0092637", CodeEra::LongDate, "G09"),
        ];
        for (text, era, province) in table {
            let code = DossierCode::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((code.era, code.agency.level_one()), (era, province), "{text}");
            assert_eq!(code.to_string(), text);
        }
    }

    #[test]
    fn malformed_dossier_codes_are_refused_not_repaired() {
        for text in [
            "",
            "H55.242-260126-001",
            "H55.242-260231-0001",
            "H55.242-2601-0001",
            "H55.242-260126-0001-1",
            " H55.242-260126-0001",
            "H55.242-260126-0001 ",
            "h55.242-260126-0001",
            "Z55.242-260126-0001",
            "H55.2424-260126-0001",
            "00.00.28.H55-240613-0001",
            "H55.242-260126-1234567890123",
            "H55.242-26012a-0001",
            "H55.242–260126–0001",
        ] {
            assert_eq!(DossierCode::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn procedure_codes_have_a_national_part_and_perhaps_a_province() {
        let table = [
            ("2.000815", "2.000815", None),
            ("2.000815.000.00.00.H55", "2.000815", Some("H55")),
            ("3.000527.H61", "3.000527", Some("H61")),
        ];
        for (text, national, province) in table {
            assert_eq!(ProcedureCode::parse(text), Some(ProcedureCode { national, province }));
        }
        for text in [
            "0.000815",
            "2.00081",
            "2.0008155",
            "2.000815.",
            "2.000815.H55.242",
            "2.000815.H5",
            "2,000815",
        ] {
            assert_eq!(ProcedureCode::parse(text), None, "{text}");
        }
    }

    #[test]
    fn result_codes_name_an_agency_and_six_digits() {
        for text in ["KQ.G15.000031", "KQ.H55.242.000122"] {
            assert!(is_result_code(text), "{text}");
        }
        for text in
            ["KQ.G15.00031", "G15.000031", "KQ.000031", "kq.G15.000031", "KQ.000.00.28.H55.000031"]
        {
            assert!(!is_result_code(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_is_the_same_text_again(text in "[A-Z0-9.]{3,14}-[0-9]{6,8}-[0-9]{3,13}") {
            if let Some(code) = DossierCode::parse(&text) {
                prop_assert_eq!(code.to_string(), text);
            }
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,40}") {
            let _unused = (DossierCode::parse(&text), ProcedureCode::parse(&text), is_result_code(&text));
        }
    }
}
