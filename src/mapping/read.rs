//! One pass over a document: each element meets its row, or is stepped over.

use std::borrow::Cow;

use crate::domain::diagnostic::Severity;
use crate::domain::dossier::Dossier;
use crate::domain::record::{self, Value};
use crate::domain::step::Step;
use crate::xml::{Attributes, Event, Limits, Scanner, XmlFault};

use super::codelist::Row;
use super::convert::{self, Problem};
use super::finding::Finding;
use super::plan::{Absent, DOSSIER, Field, NodeId, Plan, ROOT, RecordId, Slot};

/// What a document holds, as far as its rows could be applied.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub dossier: Dossier,
    pub steps: Vec<Step>,
    pub findings: Vec<Finding>,
    /// The document itself could not be read to its end; nothing in it may be judged.
    pub is_broken: bool,
}

/// Reads one document.
pub(super) fn read(plan: &Plan, xml: &str) -> Reading {
    let mut scanner = Scanner::new(xml, &Limits::default());
    let mut walk = Walk {
        plan,
        reading: Reading::default(),
        frames: Vec::with_capacity(8),
        open: Vec::with_capacity(4),
        counters: vec![0; plan.records.len()],
        leaf: None,
        dated: Vec::new(),
    };
    if let Err(fault) = walk.document(&mut scanner) {
        let path = walk.path(walk.leaf, None);
        walk.reading.is_broken = true;
        walk.reading.findings = vec![Finding {
            rule: fault.rule,
            severity: Severity::Error,
            path: if path.is_empty() { plan.root().to_owned() } else { path },
            offset: Some(fault.offset),
            target: "",
            expected: fault.expected.into(),
            found: "XML that breaks this rule".to_owned(),
        }];
        return walk.reading;
    }
    walk.codes_held_on_their_day();
    walk.reading
}

/// An element that is open and known.
struct Frame {
    node: NodeId,
    /// Where among the children the next one is expected.
    hint: usize,
    /// The number of an item, from 1; 0 for other elements.
    number: u32,
    offset: usize,
    items: u32,
    strangers: bool,
}

/// A record that is being filled.
struct OpenRecord {
    id: RecordId,
    offset: usize,
    /// One bit a field that was met.
    fields_seen: u64,
    /// One bit a list (by its place in the record's lists) that was met.
    lists_seen: u64,
}

/// A code whose row has a beginning or an end: judged when the dossier's day is known.
struct Dated<'p> {
    field: &'p Field,
    rows: &'p [Row],
    path: String,
    offset: usize,
}

struct Walk<'p> {
    plan: &'p Plan,
    reading: Reading,
    frames: Vec<Frame>,
    open: Vec<OpenRecord>,
    /// Items so far, for each record.
    counters: Vec<u32>,
    /// The element whose text is being read, for the path of a fault in it.
    leaf: Option<NodeId>,
    dated: Vec<Dated<'p>>,
}

impl<'p> Walk<'p> {
    fn document<'x: 'p>(&mut self, scanner: &mut Scanner<'x>) -> Result<(), XmlFault> {
        // A scanner's first event is always the root element.
        if let Some(Event::Open { name, attributes, offset }) = scanner.next()? {
            if name != self.plan.root() {
                self.finding(
                    "mapping.root",
                    name.to_owned(),
                    offset,
                    "",
                    format!("the element {}", self.plan.root()).into(),
                    "another element".to_owned(),
                );
                self.reading.is_broken = true;
                while scanner.next()?.is_some() {}
                return Ok(());
            }
            self.enter_record(DOSSIER, ROOT, 0, offset);
            self.attributes(ROOT, attributes, offset, None);
        }
        while let Some(event) = scanner.next()? {
            match event {
                Event::Open { name, attributes, offset } => match self.child(name) {
                    Some(node) => self.element(node, attributes, offset, scanner)?,
                    None => skip(scanner)?,
                },
                Event::Text { value, offset } => {
                    if !value.trim_ascii().is_empty() {
                        self.stray_text(&value, offset);
                    }
                }
                Event::Close { .. } => self.leave(),
                // A strict scanner has none.
                Event::Flaw(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// The known child with this name, looked for from the one that is expected next.
    fn child(&mut self, name: &str) -> Option<NodeId> {
        let plan = self.plan;
        let frame = self.frames.last_mut()?;
        let children = &plan.nodes[frame.node].children;
        let named = |at: &usize| plan.nodes[children[*at]].name == name;
        let found =
            (frame.hint..children.len()).find(named).or_else(|| (0..frame.hint).find(named));
        let Some(at) = found else {
            frame.strangers = true;
            return None;
        };
        let node = children[at];
        // Items repeat; anything else is followed by its neighbour.
        let repeats = plan.nodes[node].item_of.is_some();
        frame.hint = if repeats { at } else { (at + 1) % children.len() };
        Some(node)
    }

    fn element<'x: 'p>(
        &mut self,
        id: NodeId,
        attributes: Attributes<'x>,
        offset: usize,
        scanner: &mut Scanner<'x>,
    ) -> Result<(), XmlFault> {
        let plan = self.plan;
        let node = &plan.nodes[id];
        if !node.fields.is_empty() {
            self.attributes(id, attributes, offset, Some(id));
            self.leaf = Some(id);
            let text = self.text(id, offset, scanner)?;
            self.leaf = None;
            let last = node.fields.len() - 1;
            for field in &node.fields[..last] {
                self.apply(&plan.fields[*field], text.clone(), offset, Some(id), None);
            }
            self.apply(&plan.fields[node.fields[last]], text, offset, Some(id), None);
            return Ok(());
        }
        for record in &node.wraps {
            if self.mark_list(*record) {
                let path = self.path(Some(id), None);
                let target = plan.records[*record].target;
                self.finding(
                    "mapping.duplicate",
                    path,
                    offset,
                    target,
                    "this element once".into(),
                    "it again".into(),
                );
            }
        }
        if let Some(record) = node.item_of {
            self.mark_list(record);
            if let Some(frame) = self.frames.last_mut() {
                frame.items += 1;
            }
            self.counters[record] += 1;
            let number = self.counters[record];
            self.enter_record(record, id, number, offset);
        } else {
            self.frames.push(Frame {
                node: id,
                hint: 0,
                number: 0,
                offset,
                items: 0,
                strangers: false,
            });
        }
        self.attributes(id, attributes, offset, None);
        Ok(())
    }

    /// Whether the list was met before in the record that is being filled.
    fn mark_list(&mut self, record: RecordId) -> bool {
        let Some(open) = self.open.last_mut() else {
            return false;
        };
        let lists = &self.plan.records[open.id].lists;
        let bit = lists.iter().position(|list| *list == record).map_or(0, |at| 1 << at);
        let before = open.lists_seen & bit != 0;
        open.lists_seen |= bit;
        before
    }

    /// The text of an element that must have nothing else.
    fn text<'x>(
        &mut self,
        id: NodeId,
        offset: usize,
        scanner: &mut Scanner<'x>,
    ) -> Result<Cow<'x, str>, XmlFault> {
        let mut text = Cow::Borrowed("");
        let mut nested = false;
        loop {
            match scanner.next()? {
                Some(Event::Text { value, .. }) => text = value,
                Some(Event::Open { .. }) => {
                    nested = true;
                    skip(scanner)?;
                }
                Some(Event::Flaw(fault)) => return Err(fault),
                Some(Event::Close { .. }) | None => break,
            }
        }
        if nested {
            let path = self.path(Some(id), None);
            let target = self.plan.nodes[id]
                .fields
                .first()
                .map_or("", |field| self.plan.fields[*field].target);
            self.finding(
                "mapping.nested",
                path,
                offset,
                target,
                "text alone".into(),
                "other elements inside".into(),
            );
        }
        Ok(text)
    }

    fn attributes<'x: 'p>(
        &mut self,
        id: NodeId,
        attributes: Attributes<'x>,
        offset: usize,
        leaf: Option<NodeId>,
    ) {
        let plan = self.plan;
        for (name, field) in &plan.nodes[id].attributes {
            if let Some(value) = attributes.get(name) {
                self.apply(&plan.fields[*field], value, offset, leaf, Some(name));
            }
        }
    }

    /// Puts a text where its row says. `leaf` is the element when it is not itself a frame.
    fn apply(
        &mut self,
        field: &'p Field,
        text: Cow<'p, str>,
        offset: usize,
        leaf: Option<NodeId>,
        attribute: Option<&str>,
    ) {
        let Some(open) = self.open.last_mut() else {
            return;
        };
        let bit = 1 << field.bit;
        if open.fields_seen & bit != 0 {
            let path = self.path(leaf, attribute);
            return self.finding(
                "mapping.duplicate",
                path,
                offset,
                field.target,
                "this element once".into(),
                "it again".into(),
            );
        }
        open.fields_seen |= bit;
        let text = convert::clean(text);
        if text.is_empty() {
            if field.required {
                let path = self.path(leaf, attribute);
                self.finding(
                    "mapping.required",
                    path,
                    offset,
                    field.target,
                    "a value".into(),
                    "empty".into(),
                );
            }
            return;
        }
        match convert::convert(self.plan, field, text) {
            Ok(converted) => {
                if let Some(warning) = converted.warning {
                    self.problem(Severity::Warning, field, warning, offset, leaf, attribute);
                }
                if let Some(rows) = converted.dated {
                    let path = self.path(leaf, attribute);
                    self.dated.push(Dated { field, rows, path, offset });
                }
                self.set(field, converted.value);
            }
            Err(problem) => self.problem(Severity::Error, field, problem, offset, leaf, attribute),
        }
    }

    fn set(&mut self, field: &Field, value: Value<'_>) {
        let target = field.target;
        let done =
            self.record_mut().is_some_and(|record| record.set(field.position, value).is_ok());
        // The file reader compares kinds, so this is a defect of ours; refusing is still right.
        if !done {
            let path = self.path(None, None);
            self.finding(
                "mapping.internal",
                path,
                0,
                target,
                "a value of the field's kind".into(),
                "another kind".into(),
            );
        }
    }

    /// The record that is being filled.
    fn record_mut(&mut self) -> Option<&mut dyn record::Record> {
        let mut steps = Some(&mut self.reading.steps);
        let mut record: &mut dyn record::Record = &mut self.reading.dossier;
        for open in self.open.iter().skip(1) {
            record = match self.plan.records[open.id].slot {
                Slot::Dossier => record,
                Slot::Steps => steps.take()?.last_mut()?,
                Slot::List(position) => record.last(position)?,
            };
        }
        Some(record)
    }

    fn enter_record(&mut self, id: RecordId, node: NodeId, number: u32, offset: usize) {
        match self.plan.records[id].slot {
            Slot::Dossier => {}
            Slot::Steps => self.reading.steps.push(Step::default()),
            Slot::List(position) => {
                if let Some(parent) = self.record_mut() {
                    let appended = parent.append(position).is_ok();
                    debug_assert!(appended, "the plan takes its lists from the contract");
                }
            }
        }
        for list in &self.plan.records[id].lists {
            self.counters[*list] = 0;
        }
        self.frames.push(Frame { node, hint: 0, number, offset, items: 0, strangers: false });
        self.open.push(OpenRecord { id, offset, fields_seen: 0, lists_seen: 0 });
    }

    fn leave(&mut self) {
        let Some(frame) = self.frames.last() else {
            return;
        };
        let (node, offset) = (&self.plan.nodes[frame.node], frame.offset);
        if let Some(record) = node.wraps.first().filter(|_| frame.strangers && frame.items == 0) {
            // Otherwise misnamed items would silently become an empty list.
            let path = self.path(None, None);
            let item = self.plan.records[*record].source.rsplit('/').next().unwrap_or_default();
            let target = self.plan.records[*record].target;
            self.finding(
                "mapping.list_items",
                path,
                offset,
                target,
                format!("items named {item}").into(),
                "other elements alone".into(),
            );
        }
        if node.item_of.is_some() || self.frames.len() == 1 {
            self.close_record();
        }
        self.frames.pop();
    }

    fn close_record(&mut self) {
        let Some(open) = self.open.pop() else {
            return;
        };
        let plan = self.plan;
        let record = &plan.records[open.id];
        let mut missing = record.required & !open.fields_seen;
        while missing != 0 {
            let field = &plan.fields[record.fields.start + missing.trailing_zeros() as usize];
            missing &= missing - 1;
            let path = format!("{}/{}", self.path(None, None), field.source);
            self.finding(
                "mapping.required",
                path,
                open.offset,
                field.target,
                "a value".into(),
                "no element".into(),
            );
        }
        for (at, list) in record.lists.iter().enumerate() {
            let list = &plan.records[*list];
            if open.lists_seen & (1 << at) == 0 && list.absent == Absent::Refuse {
                let wrapper = list
                    .source
                    .rsplit_once('/')
                    .map_or(list.source.as_str(), |(wrapper, _)| wrapper);
                let path = format!("{}/{wrapper}", self.path(None, None));
                let expected = "the list, empty if there is nothing in it".into();
                self.finding(
                    "mapping.list_absent",
                    path,
                    open.offset,
                    list.target_name(),
                    expected,
                    "no element".into(),
                );
            }
        }
    }

    fn stray_text(&mut self, text: &str, offset: usize) {
        let path = self.path(None, None);
        self.finding(
            "mapping.stray_text",
            path,
            offset,
            "",
            "elements alone".into(),
            convert::describe(text.trim()),
        );
    }

    /// Code-list rows with a validity, against the day on which the dossier was received.
    fn codes_held_on_their_day(&mut self) {
        let dossier = &self.reading.dossier;
        let received = [&dossier.ngay_tiep_nhan, &dossier.ngay_nop_ho_so];
        let Some(day) = received.iter().find_map(|time| time.get(..8)).map(str::to_owned) else {
            return;
        };
        for dated in std::mem::take(&mut self.dated) {
            if !dated.rows.iter().any(|row| row.is_valid_on(&day)) {
                let expected = "a code that was valid when the dossier was received".into();
                let found = "a code of another time".to_owned();
                self.finding(
                    "mapping.code_validity",
                    dated.path,
                    dated.offset,
                    dated.field.target,
                    expected,
                    found,
                );
            }
        }
    }

    fn problem(
        &mut self,
        severity: Severity,
        field: &Field,
        problem: Problem,
        offset: usize,
        leaf: Option<NodeId>,
        attribute: Option<&str>,
    ) {
        let path = self.path(leaf, attribute);
        self.reading.findings.push(Finding {
            rule: problem.rule,
            severity,
            path,
            offset: Some(offset),
            target: field.target,
            expected: problem.expected,
            found: problem.found,
        });
    }

    fn finding(
        &mut self,
        rule: &'static str,
        path: String,
        offset: usize,
        target: &'static str,
        expected: Cow<'static, str>,
        found: String,
    ) {
        self.reading.findings.push(Finding {
            rule,
            severity: Severity::Error,
            path,
            offset: Some(offset),
            target,
            expected,
            found,
        });
    }

    /// The path of the innermost frame, of an element in it, or of an attribute.
    fn path(&self, leaf: Option<NodeId>, attribute: Option<&str>) -> String {
        let mut path = String::new();
        let names = self.frames.iter().map(|frame| (frame.node, frame.number));
        for (node, number) in names.chain(leaf.map(|node| (node, 0))) {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(&self.plan.nodes[node].name);
            if number > 0 {
                path.extend(["[", &number.to_string(), "]"]);
            }
        }
        if let Some(attribute) = attribute {
            path.push_str("/@");
            path.push_str(attribute);
        }
        path
    }
}

/// Steps over the rest of an element that was just opened; it must still be well formed.
pub(super) fn skip(scanner: &mut Scanner<'_>) -> Result<(), XmlFault> {
    let mut depth = 1;
    while depth > 0 {
        match scanner.next()? {
            Some(Event::Open { .. }) => depth += 1,
            Some(Event::Close { .. }) => depth -= 1,
            Some(Event::Text { .. } | Event::Flaw(_)) => {}
            None => break,
        }
    }
    Ok(())
}
