//! What a mapping leaves out: contract fields without a row, and source elements that no row reads.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use serde::Serialize;

use crate::xml::{Event, Limits, Scanner, XmlFault};

use super::Mapping;
use super::plan::{NodeId, Plan, ROOT};
use super::read::skip;

/// How much of the contract and of some samples a mapping covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    pub version: String,
    pub mapped_fields: usize,
    /// Contract fields that the source does not have, with the reason that the mapping gives.
    pub unmapped: Vec<UnmappedField>,
    /// Reviewed rows of the table of procedures.
    pub procedures: usize,
    pub samples: usize,
    /// Samples that are no well-formed document of this mapping.
    pub unreadable_samples: usize,
    /// Elements and attributes of the samples that no row reads and that are not listed under
    /// `unused_on_purpose`.
    pub unused: Vec<UnusedElement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnmappedField {
    pub target: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnusedElement {
    /// Path below the root, without item numbers.
    pub path: String,
    /// How often it was seen in all samples.
    pub seen: usize,
}

impl Mapping {
    /// Looks for what is left out, in the contract and in whole sample documents.
    pub fn check(&self, samples: &[&str]) -> CheckReport {
        let mut unused = BTreeMap::new();
        let mut unreadable_samples = 0;
        for sample in samples {
            if !matches!(unused_in(&self.plan, sample, &mut unused), Ok(true)) {
                unreadable_samples += 1;
            }
        }
        let on_purpose = &self.plan.unused_on_purpose;
        CheckReport {
            version: self.version.clone(),
            procedures: self.procedures().len(),
            mapped_fields: self.plan.fields.len() + self.plan.records.len() - 1,
            unmapped: self
                .plan
                .unmapped
                .iter()
                .map(|field| UnmappedField {
                    target: field.target.clone(),
                    reason: field.reason.clone(),
                })
                .collect(),
            samples: samples.len(),
            unreadable_samples,
            unused: unused
                .into_iter()
                .filter(|(path, _)| !on_purpose.contains(path))
                .map(|(path, seen)| UnusedElement { path, seen })
                .collect(),
        }
    }
}

/// Counts unused elements; false when the root is another element.
fn unused_in(
    plan: &Plan,
    xml: &str,
    unused: &mut BTreeMap<String, usize>,
) -> Result<bool, XmlFault> {
    let mut scanner = Scanner::new(xml, &Limits::default());
    let mut open: Vec<NodeId> = Vec::new();
    while let Some(event) = scanner.next()? {
        match event {
            Event::Open { name, attributes, .. } => {
                let node = match open.last() {
                    None if name == plan.root() => ROOT,
                    None => {
                        while scanner.next()?.is_some() {}
                        return Ok(false);
                    }
                    Some(parent) => {
                        let mut children = plan.nodes[*parent].children.iter().copied();
                        let found = children.find(|child| plan.nodes[*child].name == name);
                        let Some(child) = found else {
                            *unused.entry(path(plan, &open, name)).or_default() += 1;
                            skip(&mut scanner)?;
                            continue;
                        };
                        child
                    }
                };
                open.push(node);
                for (attribute, _) in attributes.iter() {
                    if !plan.nodes[node].attributes.iter().any(|(known, _)| known == attribute) {
                        *unused.entry(path(plan, &open, &format!("@{attribute}"))).or_default() +=
                            1;
                    }
                }
            }
            Event::Close { .. } => drop(open.pop()),
            Event::Text { .. } | Event::Flaw(_) => {}
        }
    }
    Ok(true)
}

fn path(plan: &Plan, open: &[NodeId], last: &str) -> String {
    let names = open.iter().skip(1).map(|node| plan.nodes[*node].name.as_str());
    names.chain([last]).collect::<Vec<_>>().join("/")
}

impl Display for CheckReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "mapping {}: {} contract fields and lists are mapped",
            self.version, self.mapped_fields
        )?;
        writeln!(f, "table of procedures: {} reviewed rows", self.procedures)?;
        for field in &self.unmapped {
            writeln!(f, "  not sent: {} ({})", field.target, field.reason)?;
        }
        if self.samples > 0 {
            writeln!(
                f,
                "{} samples, {} of them unreadable",
                self.samples, self.unreadable_samples
            )?;
        }
        for element in &self.unused {
            writeln!(f, "  unused: {} (seen {} times)", element.path, element.seen)?;
        }
        Ok(())
    }
}
