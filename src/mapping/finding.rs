//! Findings on their way to diagnostics: places are looked up only when there is something to say.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::xml::{self, Event, Limits, Scanner};

use super::plan::{Plan, ROOT};

#[derive(Debug)]
pub(super) struct Finding {
    pub rule: &'static str,
    pub severity: Severity,
    pub path: String,
    /// In the document; none when only the path is known.
    pub offset: Option<usize>,
    pub target: &'static str,
    pub expected: Cow<'static, str>,
    pub found: String,
}

/// Diagnostics in the order of the document.
pub(super) fn diagnostics(plan: &Plan, xml: &str, findings: Vec<Finding>) -> Vec<Diagnostic> {
    if findings.is_empty() {
        return Vec::new();
    }
    let places = if findings.iter().any(|finding| finding.offset.is_none()) {
        Places::of(plan, xml)
    } else {
        Places::default()
    };
    let mut placed: Vec<(usize, Finding)> = findings
        .into_iter()
        .map(|finding| (finding.offset.unwrap_or_else(|| places.nearest(&finding.path)), finding))
        .collect();
    placed.sort_by_key(|(offset, _)| *offset);
    placed
        .into_iter()
        .map(|(offset, finding)| Diagnostic {
            rule: finding.rule.to_owned(),
            severity: finding.severity,
            source_path: finding.path,
            position: Some(xml::position(xml, offset)),
            target: finding.target.to_owned(),
            expected: finding.expected.into_owned(),
            found: finding.found,
        })
        .collect()
}

/// Where each known element of a document begins, by its path.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<String, usize>);

impl Places {
    /// As far as the document can be read.
    pub(super) fn of(plan: &Plan, xml: &str) -> Self {
        let mut places = BTreeMap::new();
        let mut scanner = Scanner::new(xml, &Limits::default());
        // Path of each open element, its node if it is known, and the items counted in it.
        let mut open: Vec<(String, Option<usize>, BTreeMap<usize, usize>)> = Vec::new();
        while let Ok(Some(event)) = scanner.next() {
            match event {
                Event::Open { name, attributes, offset } => {
                    let (path, node) = match open.last_mut() {
                        None => (name.to_owned(), Some(ROOT)),
                        Some((parent, node, counts)) => {
                            let children = node.map_or(&[][..], |node| &plan.nodes[node].children);
                            let node = children
                                .iter()
                                .copied()
                                .find(|child| plan.nodes[*child].name == name);
                            let number = node
                                .filter(|node| plan.nodes[*node].item_of.is_some())
                                .map(|node| {
                                    let count = counts.entry(node).or_default();
                                    *count += 1;
                                    format!("[{count}]")
                                });
                            (format!("{parent}/{name}{}", number.unwrap_or_default()), node)
                        }
                    };
                    for (attribute, _) in attributes.iter() {
                        places.entry(format!("{path}/@{attribute}")).or_insert(offset);
                    }
                    places.entry(path.clone()).or_insert(offset);
                    open.push((path, node, BTreeMap::new()));
                }
                Event::Close { .. } => drop(open.pop()),
                Event::Text { .. } | Event::Flaw(_) => {}
            }
        }
        Self(places)
    }

    /// Where an element or attribute begins; none when it is not there.
    pub(super) fn exact(&self, path: &str) -> Option<usize> {
        self.0.get(path).copied()
    }

    /// Where an element begins, or else the innermost of its parents that is there.
    pub(super) fn nearest(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(offset) = self.exact(path) {
                return offset;
            }
            match path.rsplit_once('/') {
                Some((parent, _)) => path = parent,
                None => return 0,
            }
        }
    }
}
