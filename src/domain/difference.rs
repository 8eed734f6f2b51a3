//! What differs between two packets, field by field, with personal values masked.
//!
//! One comparison serves everybody: what the portal was told against what it echoes, yesterday's
//! mapping against today's, a plan's preview. It knows which differences are only a way of writing
//! (white space, composed letters, a date's or an amount's form), because a report that calls those
//! wrong is soon read by nobody. Codes are never compared loosely: `01` is not `1`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::dossier::Dossier;
use super::masking;
use super::record::{FieldKind, FieldSpec};
use super::time::Timestamp;

/// Fields that identify an item of a list. The first that all items of both sides have, each only
/// once, pairs them; where there is none, their places do.
const IDENTITIES: &[&[&str]] = &[
    &["ThoiDiemXuLy", "TrangThai"],
    &["TepDinhKemId"],
    &["HoSoBoSungId"],
    &["GiayToId"],
    &["MaPhiLePhi"],
    &["MaCSDL"],
];
/// Fields that hold an amount or a count, where separators mean nothing.
const AMOUNTS: &[&str] = &["Gia", "SoLuong"];
/// What a masked value begins with where both sides look the same once they are masked.
const OTHER: &str = "≠ ";
/// Shortest run of hexadecimal digits whose case means nothing.
const HEX_MIN: usize = 16;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `ChuHoSo`, `TaiLieuNop[TL-1].TenTepDinhKem`, `DanhSachLePhi[0].Gia`.
    pub path: String,
    /// `None` when the field is absent or empty there.
    pub before: Option<String>,
    pub after: Option<String>,
    /// Both say the same and write it differently.
    pub formatting_only: bool,
}

impl Difference {
    /// The contract's name of the field that differs.
    pub fn field(&self) -> &str {
        self.path.rsplit('.').next().map_or("", |last| last.split('[').next().unwrap_or(last))
    }
}

/// How values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Masked,
    /// For somebody whose reason for it is on record.
    Whole,
}

/// What differs between two packets, in the contract's order. Personal values are masked.
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    differences_shown(before, after, Shown::Masked)
}

pub fn differences_shown(before: &Value, after: &Value, shown: Shown) -> Vec<Difference> {
    let mut comparison = Comparison { shown, found: Vec::new() };
    comparison.values("", Some(Dossier::FIELDS), before, after);
    comparison.found
}

/// What the fields of an echo say otherwise than the packet; of what is not shown, nothing is said.
/// `None` when the echo shows no field of the packet beside its code.
pub fn echo_differences(
    packet: &Value,
    echoed: &BTreeMap<String, String>,
    shown: Shown,
) -> Option<Vec<Difference>> {
    let packet = packet.as_object()?;
    let mut comparison = Comparison { shown, found: Vec::new() };
    let mut compared = false;
    for (name, echo) in echoed {
        // The portal shows more than we sent; that says nothing about the packet.
        let Some(sent) = packet.get(name).filter(|sent| sent.is_string() || sent.is_null()) else {
            continue;
        };
        compared |= name != "MaHoSo";
        // An echo has no other way to write that nothing is there.
        if !(sent.is_null() && echo.is_empty()) {
            comparison.scalars(name, sent, &Value::String(echo.clone()));
        }
    }
    (compared || !comparison.found.is_empty()).then_some(comparison.found)
}

struct Comparison {
    shown: Shown,
    found: Vec<Difference>,
}

impl Comparison {
    fn values(
        &mut self,
        path: &str,
        fields: Option<&'static [FieldSpec]>,
        before: &Value,
        after: &Value,
    ) {
        if before == after {
            return;
        }
        match (before, after) {
            (Value::Object(_), Value::Object(_) | Value::Null)
            | (Value::Null, Value::Object(_)) => self.objects(path, fields, before, after),
            (Value::Array(before), Value::Array(after)) => self.lists(path, fields, before, after),
            (Value::Array(before), Value::Null) => self.lists(path, fields, before, &[]),
            (Value::Null, Value::Array(after)) => self.lists(path, fields, &[], after),
            _ => self.scalars(path, before, after),
        }
    }

    fn objects(
        &mut self,
        path: &str,
        fields: Option<&'static [FieldSpec]>,
        before: &Value,
        after: &Value,
    ) {
        let names = |value: &Value| -> Vec<String> {
            value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
        };
        let mut all: BTreeSet<String> = names(before).into_iter().chain(names(after)).collect();
        let known = fields.unwrap_or_default();
        let mut ordered: Vec<(String, Option<&'static [FieldSpec]>)> = Vec::new();
        for field in known {
            if all.remove(field.name) {
                let items = match field.kind {
                    FieldKind::List(items) => Some(items),
                    _ => None,
                };
                ordered.push((field.name.to_owned(), items));
            }
        }
        ordered.extend(all.into_iter().map(|name| (name, None)));
        for (name, items) in ordered {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let of = |value: &Value| value.get(&name).cloned().unwrap_or(Value::Null);
            self.values(&path, items, &of(before), &of(after));
        }
    }

    fn lists(
        &mut self,
        path: &str,
        fields: Option<&'static [FieldSpec]>,
        before: &[Value],
        after: &[Value],
    ) {
        let Some((old, new)) = identified(before, after) else {
            for at in 0..before.len().max(after.len()) {
                let nothing = Value::Null;
                let pair = (before.get(at).unwrap_or(&nothing), after.get(at).unwrap_or(&nothing));
                self.values(&format!("{path}[{at}]"), fields, pair.0, pair.1);
            }
            return;
        };
        let place = |keys: &[String]| -> BTreeMap<String, usize> {
            keys.iter().cloned().enumerate().map(|(at, key)| (key, at)).collect()
        };
        let (old_places, new_places) = (place(&old), place(&new));
        for (at, key) in old.iter().enumerate() {
            let other = new_places.get(key).map_or(&Value::Null, |at| &after[*at]);
            self.values(&format!("{path}[{key}]"), fields, &before[at], other);
        }
        for (at, key) in new.iter().enumerate() {
            if !old_places.contains_key(key) {
                self.values(&format!("{path}[{key}]"), fields, &Value::Null, &after[at]);
            }
        }
        let kept = |keys: &[String], others: &BTreeMap<String, usize>| -> Vec<String> {
            keys.iter().filter(|key| others.contains_key(*key)).cloned().collect()
        };
        let order = (kept(&old, &new_places), kept(&new, &old_places));
        if order.0 != order.1 {
            self.found.push(Difference {
                path: path.to_owned(),
                before: Some(order.0.join(", ")),
                after: Some(order.1.join(", ")),
                formatting_only: true,
            });
        }
    }

    fn scalars(&mut self, path: &str, before: &Value, after: &Value) {
        if before == after {
            return;
        }
        let mut difference = Difference {
            path: path.to_owned(),
            before: text_of(before),
            after: text_of(after),
            formatting_only: false,
        };
        let field = difference.field().to_owned();
        difference.formatting_only = same_meaning(
            &field,
            difference.before.as_deref().unwrap_or_default(),
            difference.after.as_deref().unwrap_or_default(),
        );
        if self.shown == Shown::Masked {
            let mask = |text: Option<String>| {
                text.map(|text| masking::field(&field, &text).unwrap_or(text))
            };
            let (before, after) = (mask(difference.before), mask(difference.after));
            difference.after = match (&before, after) {
                (Some(before), Some(after)) if *before == after => Some(format!("{OTHER}{after}")),
                (_, after) => after,
            };
            difference.before = before;
        }
        self.found.push(difference);
    }
}

/// What identifies the items of two lists: of the one and of the other.
fn identified(before: &[Value], after: &[Value]) -> Option<(Vec<String>, Vec<String>)> {
    let keys = |items: &[Value], fields: &[&str]| -> Option<Vec<String>> {
        let mut seen = BTreeSet::new();
        items
            .iter()
            .map(|item| {
                let parts: Option<Vec<String>> =
                    fields.iter().map(|field| item.get(field).and_then(text_of)).collect();
                parts.map(|parts| masking::cut(masking::plain(&parts.join("/")), 80))
            })
            .map(|key| key.filter(|key| seen.insert(key.clone())))
            .collect()
    };
    IDENTITIES.iter().find_map(|fields| Some((keys(before, fields)?, keys(after, fields)?)))
}

/// The text of a scalar; `None` for nothing. What is no scalar is shown as JSON.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Array(items) if items.is_empty() => None,
        other => Some(other.to_string()),
    }
}

/// Whether two texts of one field say the same. A number beside its text and nothing beside `""`
/// come here with equal texts.
fn same_meaning(field: &str, before: &str, after: &str) -> bool {
    if before == after || plain(before) == plain(after) {
        return true;
    }
    let (before, after) = (plain(before), plain(after));
    if AMOUNTS.contains(&field)
        && let (Some(before), Some(after)) = (amount(&before), amount(&after))
    {
        return before == after;
    }
    if (field.starts_with("Ngay") || field.starts_with("ThoiDiem"))
        && let (Some(before), Some(after)) = (instant(&before), instant(&after))
    {
        return before == after;
    }
    let truth = |text: &str| matches!(text, "true" | "false");
    let (low_before, low_after) = (before.to_lowercase(), after.to_lowercase());
    low_before == low_after && (truth(&low_before) || (is_hex(&before) && is_hex(&after)))
}

/// Composed letters, one space where there is white space, nothing that cannot be seen.
fn plain(text: &str) -> String {
    let composed: String =
        text.nfc().filter(|c| !matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}')).collect();
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn amount(text: &str) -> Option<u64> {
    let bare = text.trim_end_matches(['đ', '₫']).trim_end_matches("VND").trim();
    let groups: Vec<&str> = bare.split([',', '.', ' ']).collect();
    let (last, leading) = groups.split_last()?;
    let is_number = |group: &&str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit());
    if !groups.iter().all(is_number) {
        return None;
    }
    // `1.234` is a thousand and more, `1.0` is one.
    match leading {
        [] => last.parse().ok(),
        [whole] if last.len() < 3 && last.bytes().all(|b| b == b'0') => whole.parse().ok(),
        [first, rest @ ..] if first.len() <= 3 && rest.iter().all(|g| g.len() == 3) => {
            (last.len() == 3).then(|| groups.concat().parse().ok()).flatten()
        }
        _ => None,
    }
}

/// A time in the portal's form, ISO 8601, or `dd/MM/yyyy` with or without the time of day; a day
/// alone is its midnight.
fn instant(text: &str) -> Option<Timestamp> {
    if let Some(time) = Timestamp::from_source(text) {
        return Some(time);
    }
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if text.len() == 8 && digits(text) {
        return Timestamp::from_portal(&format!("{text}000000"));
    }
    if text.len() == 10 && text.as_bytes()[4] == b'-' {
        return Timestamp::from_iso(&format!("{text}T00:00:00"));
    }
    let (day, time) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let parts: Vec<&str> = day.split('/').collect();
    let [date, month, year] = parts[..] else {
        return None;
    };
    let hours = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    Timestamp::from_iso(&format!("{year}-{month:0>2}-{date:0>2}T{hours}"))
}

fn is_hex(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    digits >= HEX_MIN
        && text.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b'-' | b'{' | b'}'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn found(before: &Value, after: &Value) -> Vec<(String, bool)> {
        differences(before, after).into_iter().map(|d| (d.path, d.formatting_only)).collect()
    }

    #[test]
    fn what_differs_comes_in_the_contracts_order_with_personal_values_masked() {
        let before = json!({"ChuHoSo": "Nguyễn Văn Thử", "MaHoSo": "H55-260126-0001",
            "TrangThaiHoSo": "1", "SoDienThoai": "0900000123"});
        let after = json!({"ChuHoSo": "Nông Văn Thử", "MaHoSo": "H55-260126-0001",
            "TrangThaiHoSo": "4", "SoDienThoai": ""});
        let shown = differences(&before, &after);
        let lines: Vec<String> = shown
            .iter()
            .map(|d| format!("{}: {:?} {:?} {}", d.path, d.before, d.after, d.formatting_only))
            .collect();
        assert_eq!(
            lines,
            [
                r#"ChuHoSo: Some("N. V. T.") Some("≠ N. V. T.") false"#,
                r#"SoDienThoai: Some("*******123") None false"#,
                r#"TrangThaiHoSo: Some("1") Some("4") false"#,
            ]
        );
        let whole = differences_shown(&before, &after, Shown::Whole);
        assert_eq!(whole[0].after.as_deref(), Some("Nông Văn Thử"));
    }

    #[test]
    fn ways_of_writing_are_no_change_of_meaning_and_codes_are_never_compared_loosely() {
        let same = [
            ("ChuHoSo", "Nguyễn  Văn Thử", " Nguye\u{302}\u{303}n Văn\u{a0}Thử"),
            ("NgayTiepNhan", "20260126083000", "2026-01-26T08:30:00+07:00"),
            ("NgayTiepNhan", "20260126083000", "26/01/2026 08:30"),
            ("NgayHenTra", "20260126000000", "26/1/2026"),
            ("Gia", "1500000", "1.500.000 đ"),
            ("Gia", "15000", "15000.0"),
            (
                "TepDinhKemId",
                "6F9619FF-8B86-D011-B42D-00C04FC964FF",
                "6f9619ff-8b86-d011-b42d-00c04fc964ff",
            ),
            ("IsDeleted", "True", "true"),
        ];
        for (field, a, b) in same {
            assert_eq!(found(&json!({field: a}), &json!({field: b})), [(field.to_owned(), true)]);
        }
        let other = [
            ("TrangThaiHoSo", "09", "9"),
            ("MaTTHC", "1.000894", "1000894"),
            ("ChuHoSo", "nguyễn văn thử", "Nguyễn Văn Thử"),
            ("NgayTiepNhan", "20260126083000", "20260126083001"),
            ("Gia", "15000", "1500"),
            ("Gia", "1.5", "15"),
            ("SoDienThoai", "0900000123", "900000123"),
            ("MaDoiTuong", "ABCDEF01", "abcdef01"),
        ];
        for (field, a, b) in other {
            assert_eq!(found(&json!({field: a}), &json!({field: b})), [(field.to_owned(), false)]);
        }
    }

    #[test]
    fn nothing_and_the_empty_text_are_written_differently_and_mean_the_same() {
        assert_eq!(
            found(&json!({"MaDoiTuong": null, "TaiLieuNop": []}), &json!({"MaDoiTuong": ""})),
            [("MaDoiTuong".to_owned(), true)]
        );
    }

    #[test]
    fn items_of_lists_are_paired_by_what_identifies_them_and_else_by_place() {
        let before = json!({"TaiLieuNop": [
            {"TepDinhKemId": "T1", "DuocSoHoa": "0"}, {"TepDinhKemId": "T2", "DuocSoHoa": "1"}]});
        let after = json!({"TaiLieuNop": [
            {"TepDinhKemId": "T2", "DuocSoHoa": "1"}, {"TepDinhKemId": "T3", "DuocSoHoa": "1"},
            {"TepDinhKemId": "T1", "DuocSoHoa": "1"}]});
        assert_eq!(
            found(&before, &after),
            [
                ("TaiLieuNop[T1].DuocSoHoa".to_owned(), false),
                ("TaiLieuNop[T3].TepDinhKemId".to_owned(), false),
                ("TaiLieuNop[T3].DuocSoHoa".to_owned(), false),
                ("TaiLieuNop".to_owned(), true),
            ]
        );
        let papers =
            |count: i64| json!({"DanhSachTepDinhKemKhac": [{"TenGiayTo": "A", "SoLuong": count}]});
        assert_eq!(
            found(&papers(1), &papers(2)),
            [("DanhSachTepDinhKemKhac[0].SoLuong".to_owned(), false)]
        );
        let steps = |text: &str| json!([{"ThoiDiemXuLy": "20260126083000", "TrangThai": "2", "NoiDungXuLy": text}]);
        assert_eq!(
            found(&steps("a"), &steps("b")),
            [("[20260126083000/2].NoiDungXuLy".to_owned(), false)]
        );
    }

    #[test]
    fn an_echo_is_compared_where_it_shows_something_and_the_code_alone_says_nothing() {
        let packet = json!({"MaHoSo": "H55-1", "TrangThaiHoSo": "9", "MaDoiTuong": null,
            "TenTTHC": "Cấp  bản sao", "TaiLieuNop": []});
        let echo = |pairs: &[(&str, &str)]| {
            let echoed = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            echo_differences(&packet, &echoed, Shown::Masked).map(|found| {
                found.into_iter().map(|d| (d.path, d.formatting_only)).collect::<Vec<_>>()
            })
        };
        assert_eq!(echo(&[("MaHoSo", "H55-1"), ("Other", "x")]), None);
        assert_eq!(echo(&[("TrangThaiHoSo", "9"), ("MaDoiTuong", "")]), Some(vec![]));
        assert_eq!(
            echo(&[("TrangThaiHoSo", "4"), ("TenTTHC", "Cấp bản sao")]),
            Some(vec![("TenTTHC".to_owned(), true), ("TrangThaiHoSo".to_owned(), false)])
        );
        assert_eq!(echo(&[("MaHoSo", "H55-2")]), Some(vec![("MaHoSo".to_owned(), false)]));
    }

    proptest! {
        #[test]
        fn equal_packets_do_not_differ_and_a_difference_is_seen_from_both_sides(
            names in prop::collection::vec("[A-Z][a-z]{1,6}", 1..6),
            texts in prop::collection::vec("[a-z 0-9/.-]{0,12}", 12),
        ) {
            let packet = |offset: usize| {
                Value::Object(names.iter().enumerate().map(|(at, name)| {
                    (name.clone(), Value::String(texts[(at + offset) % texts.len()].clone()))
                }).collect())
            };
            let (a, b) = (packet(0), packet(1));
            prop_assert!(differences(&a, &a).is_empty());
            prop_assert_eq!(found(&a, &b), found(&b, &a));
            prop_assert_eq!(differences(&a, &b).is_empty(), a == b);
        }
    }
}
