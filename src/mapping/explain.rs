//! Where each value of a mapped dossier came from. Personal values are masked.

use std::fmt::{Display, Formatter};

use serde::Serialize;

use crate::domain::diagnostic::{Diagnostic, Position};
use crate::domain::masking;
use crate::domain::record::ValueRef;
use crate::domain::{record, step::Step};
use crate::xml;

use super::Mapping;
use super::finding::Places;
use super::plan::{DOSSIER, Field, RecordId, Slot};
use super::read::{self, Reading};

/// The lineage of one dossier's fields, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub mapping_version: String,
    pub fields: Vec<FieldExplanation>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Where one portal field came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldExplanation {
    /// `TrangThaiHoSo`, `DanhSachLePhi[1].Gia`, `steps[2].NguoiXuLy`.
    pub target: String,
    pub source_path: String,
    /// None when the document has no such element.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    pub converter: &'static str,
    /// `dossier_status line 10: 9 = Đã xử lý xong`, for fields with a code list; the row of the
    /// table of procedures, for a procedure that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_list_row: Option<String>,
    /// The law, contract or office rule behind the row.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub rule: String,
    /// Line of the mapping file.
    pub mapping_line: u32,
    /// As it is sent, personal data masked; none when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl Mapping {
    /// Explains a document: all fields, or those whose name or full target is `field`. What the
    /// checks leave out or complete is told by the diagnostics.
    pub fn explain(&self, xml: &str, field: Option<&str>) -> Explanation {
        let reading = read::read(&self.plan, xml);
        let mut tour = Tour {
            mapping: self,
            xml,
            places: Places::of(&self.plan, xml),
            wanted: field,
            fields: Vec::new(),
        };
        tour.record(DOSSIER, &reading.dossier, self.plan.root(), "", &reading);
        Explanation {
            mapping_version: self.version.clone(),
            fields: tour.fields,
            diagnostics: self.map(xml).diagnostics,
        }
    }
}

struct Tour<'m> {
    mapping: &'m Mapping,
    xml: &'m str,
    places: Places,
    wanted: Option<&'m str>,
    fields: Vec<FieldExplanation>,
}

impl Tour<'_> {
    fn record(
        &mut self,
        id: RecordId,
        record: &dyn record::Record,
        path: &str,
        prefix: &str,
        reading: &Reading,
    ) {
        let plan = &self.mapping.plan;
        for field in &plan.fields[plan.records[id].fields.clone()] {
            let target = format!("{prefix}{}", field.target);
            if self.wanted.is_none_or(|wanted| wanted == field.target || wanted == target) {
                self.field(
                    field,
                    record.get(field.position),
                    target,
                    format!("{path}/{}", field.source),
                );
            }
        }
        for list in &plan.records[id].lists {
            let target = plan.records[*list].target;
            let items: Vec<&dyn record::Record> = match plan.records[*list].slot {
                Slot::Dossier => Vec::new(),
                Slot::Steps => {
                    reading.steps.iter().map(|step: &Step| step as &dyn record::Record).collect()
                }
                Slot::List(position) => (0..).map_while(|at| record.item(position, at)).collect(),
            };
            for (at, item) in items.into_iter().enumerate() {
                let path = plan.item_path(path, *list, at + 1);
                self.record(*list, item, &path, &format!("{prefix}{target}[{}].", at + 1), reading);
            }
        }
    }

    fn field(&mut self, field: &Field, value: ValueRef<'_>, target: String, source_path: String) {
        let plan = &self.mapping.plan;
        let offset = self.places.exact(&source_path);
        let is_there = offset.is_some();
        let value = match value {
            ValueRef::Text("") if !is_there => None,
            ValueRef::Text(text) => {
                Some(masking::field(field.target, text).unwrap_or_else(|| text.to_owned()))
            }
            ValueRef::Null => is_there.then(|| "null".to_owned()),
            ValueRef::Integer(number) => is_there.then(|| number.to_string()),
            ValueRef::Boolean(truth) => is_there.then(|| truth.to_string()),
            ValueRef::List(_) => None,
        };
        let translated = match &value {
            Some(code) if field.target == "MaTTHC" && field.record == DOSSIER => {
                let row = self.mapping.procedures.find(code);
                row.map(|row| (row.national.clone(), self.mapping.procedures.told(code, row)))
            }
            _ => None,
        };
        let (value, procedure_row) = match translated {
            Some((national, row)) => (Some(national), Some(row)),
            None => (value, None),
        };
        let code_list_row = field.codes.and_then(|id| {
            let list = &plan.code_lists[id];
            let row = list.by_code(value.as_deref()?)?;
            Some(format!("{} line {}: {} = {}", list.name, row.line, row.key, row.label))
        });
        self.fields.push(FieldExplanation {
            target,
            source_path,
            position: offset.map(|offset| xml::position(self.xml, offset)),
            converter: field.converter.word(),
            code_list_row: procedure_row.or(code_list_row),
            // A row without a reason of its own stands for that of its list.
            rule: match field.rule.as_str() {
                "" => plan.records[field.record].rule.clone(),
                rule => rule.to_owned(),
            },
            mapping_line: field.line,
            value,
        });
    }
}

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "mapping {}", self.mapping_version)?;
        for field in &self.fields {
            write!(f, "{field}")?;
        }
        if self.fields.is_empty() {
            writeln!(f, "no such field in this dossier")?;
        }
        for diagnostic in &self.diagnostics {
            writeln!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl Display for FieldExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => writeln!(f, "{} = {value:?}", self.target)?,
            None => writeln!(f, "{} is not sent", self.target)?,
        }
        match self.position {
            Some(position) => writeln!(f, "    from {} at {position}", self.source_path)?,
            None => writeln!(f, "    from {}, which the document does not have", self.source_path)?,
        }
        write!(f, "    as {}, mapping.toml line {}", self.converter, self.mapping_line)?;
        if let Some(row) = &self.code_list_row {
            write!(f, ", {row}")?;
        }
        if !self.rule.is_empty() {
            write!(f, "\n    because of {}", self.rule)?;
        }
        writeln!(f)
    }
}
