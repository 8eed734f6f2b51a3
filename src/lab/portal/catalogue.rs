//! What the portal says that it knows: procedures, fields of work, agencies, and the details of each
//! procedure. Keys are in capitals, as the portal writes them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::lab::population;

/// The lists, by code. Changed by the control interface.
#[derive(Debug)]
pub(super) struct Catalogue {
    procedures: BTreeMap<String, String>,
    fields: BTreeMap<String, String>,
    agencies: BTreeMap<String, String>,
    fees: Vec<String>,
    results: BTreeMap<String, String>,
    /// Of these procedures, instead of what all others have.
    details: BTreeMap<String, Details>,
}

/// Fees and results of one procedure.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Details {
    #[serde(default)]
    pub fees: Vec<String>,
    #[serde(default)]
    pub results: Vec<String>,
}

/// A change of the portal's catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueOrder {
    #[serde(default)]
    pub list: List,
    /// New items, or new names of known ones.
    #[serde(default)]
    pub put: Vec<Item>,
    /// Codes that disappear.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Fees and results of procedures, by national code.
    #[serde(default)]
    pub details: BTreeMap<String, Details>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub code: String,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum List {
    #[default]
    Procedures,
    Fields,
    Agencies,
}

impl Catalogue {
    /// All procedures of the public list, and what the province's dossiers are made of.
    pub(super) fn whole() -> Self {
        let owned = |(code, name): (&str, &str)| (code.to_owned(), name.to_owned());
        Self {
            procedures: population::published_procedures().collect(),
            fields: population::fields().map(owned).collect(),
            agencies: population::agencies().map(owned).collect(),
            fees: population::fee_codes().collect(),
            results: population::results().map(owned).collect(),
            details: BTreeMap::new(),
        }
    }

    pub(super) fn change(&mut self, order: CatalogueOrder) {
        let list = match order.list {
            List::Procedures => &mut self.procedures,
            List::Fields => &mut self.fields,
            List::Agencies => &mut self.agencies,
        };
        for code in &order.remove {
            list.remove(code);
        }
        list.extend(order.put.into_iter().map(|item| (item.code, item.name)));
        self.details.extend(order.details);
    }

    pub(super) fn list(&self, list: List) -> Vec<Value> {
        match list {
            List::Procedures => self
                .procedures
                .iter()
                .map(|(code, name)| json!({"MATTHC": code, "TENTTHC": name}))
                .collect(),
            List::Fields => self
                .fields
                .iter()
                .map(|(code, name)| {
                    let sector = code.split('-').next().unwrap_or_default();
                    json!({"MALINHVUC": code, "TENLINHVUC": name, "MANGANH": sector})
                })
                .collect(),
            List::Agencies => self
                .agencies
                .iter()
                .map(|(code, name)| {
                    json!({"MADONVI": code, "TENDONVI": name,
                           "CAPDONVI": code.split('.').count().to_string()})
                })
                .collect(),
        }
    }

    /// `LayThuTuc`: `None` for a procedure that the list does not have.
    pub(super) fn procedure(&self, code: &str) -> Option<Value> {
        let name = self.procedures.get(code)?;
        let own = self.details.get(code);
        let fees = own.map_or(&self.fees, |details| &details.fees);
        let fee =
            |code: &String| json!({"MAPHILEPHI": code, "SOTIEN": "2000", "MOTA": "", "URL": ""});
        let fees: Vec<Value> = fees.iter().map(fee).collect();
        let channel = |channel: &str| {
            json!({"KENH": channel, "THOIGIAN": [{"THOIGIANGIAIQUYET": "3",
                "DONVITINH": "Ngày làm việc", "MOTA": "", "PHILEPHI": fees}]})
        };
        let result = |code: &str, name: &str| json!({"MAKETQUA": code, "TENKETQUA": name});
        let results: Vec<Value> = match own {
            Some(details) => details.results.iter().map(|code| result(code, "Kết quả")).collect(),
            None => self.results.iter().map(|(code, name)| result(code, name)).collect(),
        };
        Some(json!({
            "ID": code, "MATTHC": code, "TENTTHC": name, "TRANGTHAI": "1",
            "LINHVUCTHUCHIEN": [], "CAPTHUCHIEN": [{"CAPTHUCHIEN": "3", "TENCAP": "Cấp xã"}],
            "CACHTHUCTHUCHIEN": [channel("1"), channel("2")],
            "THANHPHANHOSO": [{"TRUONGHOP": "", "GIAYTO": [
                {"MAGIAYTO": "000.00.00.G15-KQ000031", "TENGIAYTO": "Bản chính giấy tờ",
                 "MA_KQ_THAYTHE": "", "SOBANCHINH": "1", "SOBANSAO": "0"}]}],
            "KETQUATHUCHIEN": results,
        }))
    }
}
