//! Catalogue items out of the portal's answers.
//!
//! Keys are written in capitals there (`MATTHC`), unlike anywhere else; they are compared without
//! case, because the spelling of the portal's keys varies by service. An item without a code names
//! nothing and is counted.

use serde_json::{Map, Value};

use super::call::Service;
use crate::domain::catalogue::{CatalogueItem, ItemKind, in_order};

/// A whole catalogue as the portal gave it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) items: Vec<CatalogueItem>,
    pub(super) unreadable: usize,
}

impl Listed {
    fn take(&mut self, kind: ItemKind, item: &Value, code: &str, name: &str) {
        let code = text(item, code);
        if code.is_empty() {
            self.unreadable += 1;
        } else {
            self.items.push(CatalogueItem { kind, code, name: text(item, name) });
        }
    }
}

/// Reads the result of a catalogue's service.
pub(super) fn read(service: Service, result: &[Value]) -> Listed {
    let mut listed = Listed::default();
    match service {
        Service::Procedures => {
            for item in result {
                listed.take(ItemKind::Procedure, item, "MATTHC", "TENTTHC");
            }
        }
        Service::Fields => {
            for item in result {
                listed.take(ItemKind::Field, item, "MALINHVUC", "TENLINHVUC");
            }
        }
        Service::Agencies => {
            for item in result {
                listed.take(ItemKind::Agency, item, "MADONVI", "TENDONVI");
            }
        }
        // One procedure is asked for; a second item would be another one.
        _ => {
            if let Some(procedure) = result.first() {
                details(&mut listed, procedure);
            }
        }
    }
    listed.items = in_order(listed.items);
    listed
}

fn details(listed: &mut Listed, procedure: &Value) {
    listed.take(ItemKind::Procedure, procedure, "MATTHC", "TENTTHC");
    for field in list(procedure, "LINHVUCTHUCHIEN") {
        listed.take(ItemKind::Field, field, "MALINHVUC", "TENLINHVUC");
    }
    for channel in list(procedure, "CACHTHUCTHUCHIEN") {
        for time in list(channel, "THOIGIAN") {
            for fee in list(time, "PHILEPHI") {
                listed.take(ItemKind::Fee, fee, "MAPHILEPHI", "MOTA");
            }
        }
    }
    for case in list(procedure, "THANHPHANHOSO") {
        for paper in list(case, "GIAYTO") {
            listed.take(ItemKind::Component, paper, "MAGIAYTO", "TENGIAYTO");
        }
    }
    for result in list(procedure, "KETQUATHUCHIEN") {
        listed.take(ItemKind::Result, result, "MAKETQUA", "TENKETQUA");
    }
}

fn value<'v>(item: &'v Value, key: &str) -> Option<&'v Value> {
    let map: &Map<String, Value> = item.as_object()?;
    map.get(key).or_else(|| {
        map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    })
}

fn text(item: &Value, key: &str) -> String {
    match value(item, key) {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn list<'v>(item: &'v Value, key: &str) -> &'v [Value] {
    value(item, key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_procedure_brings_its_fees_results_and_papers_each_once() {
        let answer: Value =
            serde_json::from_str(include_str!("../../fixtures/portal/procedure.json")).unwrap();
        let listed = read(Service::Procedure, answer["result"].as_array().unwrap());
        let codes: Vec<_> =
            listed.items.iter().map(|item| (item.kind.as_str(), item.code.as_str())).collect();
        assert_eq!(
            codes,
            [
                ("procedure", "2.000815"),
                ("field", "G15-CT01"),
                ("fee", "PHI01"),
                ("fee", "PHI02"),
                ("result", "KQ.G15.000031"),
                ("component", "000.00.00.G15-KQ000031"),
            ]
        );
        assert_eq!(listed.unreadable, 0);
    }

    #[test]
    fn an_item_without_a_code_is_counted_and_keys_may_be_written_in_any_case() {
        let items = serde_json::json!([
            {"MATTHC": " 2.000815 ", "TENTTHC": "Chứng thực"},
            {"MaTTHC": "1.000028", "TenTTHC": "x"},
            {"TENTTHC": "no code"}, {"MATTHC": ""}, "text"
        ]);
        let listed = read(Service::Procedures, items.as_array().unwrap());
        let codes: Vec<_> = listed.items.iter().map(|item| item.code.as_str()).collect();
        assert_eq!((codes, listed.unreadable), (vec!["1.000028", "2.000815"], 3));
    }
}
