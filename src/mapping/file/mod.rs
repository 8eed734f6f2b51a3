//! Reads `mapping.toml` and its code lists into a [`Plan`], and finds everything that is wrong
//! with them: unknown keys, fields that the contract does not have, rows that cannot meet.

mod tree;
mod values;

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use toml::de::{DeTable, DeValue};

use tree::is_element_name;
use values::in_file_order;

use crate::domain::dossier::Dossier;
use crate::domain::record::{FieldKind, FieldSpec};
use crate::domain::status::Status;
use crate::domain::step::Step;
use crate::xml;

use super::codelist::CodeList;
use super::error::{FileError, suggestion};
use super::plan::{
    Absent, Check, Converter, DOSSIER, Field, Node, NodeId, Pattern, Plan, ROOT, Record, RecordId,
    Slot, Unmapped,
};

/// Fields of one record; their marks while reading are bits of one number.
const FIELDS_MAX: usize = 64;

/// The list of submitted files, which the portal merges by `TepDinhKemId`.
const FILES: &str = "TaiLieuNop";

/// A code list by its name: the file it came from and its text.
pub(super) type CodeListSource<'s> =
    dyn FnMut(&str) -> Result<Option<(String, String)>, FileError> + 's;

type Key<'t> = &'t Spanned<std::borrow::Cow<'t, str>>;
type Row<'t> = &'t Spanned<DeValue<'t>>;

/// Reads a mapping. `code_list` is asked for each list that a row names.
pub(super) fn read(
    file: &str,
    text: &str,
    code_list: &mut CodeListSource<'_>,
) -> Result<Plan, Vec<FileError>> {
    let (document, faults) = DeTable::parse_recoverable(text);
    let mut builder = Builder {
        file,
        text,
        code_list,
        known_lists: BTreeMap::new(),
        rules: BTreeMap::new(),
        spans: Vec::new(),
        errors: Vec::new(),
        plan: Plan {
            nodes: vec![Node::default()],
            fields: Vec::new(),
            records: Vec::new(),
            code_lists: Vec::new(),
            checks: Vec::new(),
            removes_files: false,
            unused_on_purpose: std::collections::BTreeSet::new(),
            unmapped: Vec::new(),
        },
    };
    for fault in faults {
        let span = fault.span().unwrap_or(0..0);
        builder.error(&span, "mapping_file.syntax", fault.message().to_owned(), "");
    }
    // A table that was only recovered would give misleading errors of its own.
    if builder.errors.is_empty() {
        builder.document(document.get_ref());
    }
    builder.errors.sort_by_key(|error| (error.file.clone(), error.line, error.column));
    if builder.errors.is_empty() { Ok(builder.plan) } else { Err(builder.errors) }
}

struct Builder<'t, 's, 'e> {
    file: &'t str,
    text: &'t str,
    code_list: &'e mut CodeListSource<'s>,
    /// Lists that were asked for already; none when they could not be had.
    known_lists: BTreeMap<String, Option<usize>>,
    rules: BTreeMap<String, String>,
    /// Where each field of the plan was written, for errors that show later.
    spans: Vec<Range<usize>>,
    errors: Vec<FileError>,
    plan: Plan,
}

impl<'t> Builder<'t, '_, '_> {
    fn document(&mut self, document: &'t DeTable<'t>) {
        const KEYS: [&str; 6] =
            ["root", "rules", "checks", "unused_on_purpose", "dossier", "steps"];
        let entries = in_file_order(document);
        // Names first, so that rows may use them wherever they stand.
        if let Some((_, rules)) = entries.iter().find(|(key, _)| key.get_ref() == "rules") {
            for (key, value) in self.table(rules, "rules") {
                if let Some(words) = self.string(value) {
                    self.rules.insert(key.get_ref().to_string(), words.to_owned());
                }
            }
        }
        let mut tables = (None, None);
        for (key, value) in entries {
            match key.get_ref().as_ref() {
                "root" => {
                    if let Some(name) = self.string(value).map(str::to_owned) {
                        if !is_element_name(&name) {
                            self.bad_path(&value.span(), &name);
                        }
                        self.plan.nodes[ROOT].name = name;
                    }
                }
                "rules" => {}
                "checks" => {
                    for (span, word) in self.strings(value) {
                        match Check::parse(word) {
                            Some(check) => self.plan.checks.push(check),
                            None => self.unknown(&span, "check", word, Check::WORDS),
                        }
                    }
                }
                "unused_on_purpose" => {
                    for (_, path) in self.strings(value) {
                        self.plan.unused_on_purpose.insert(path.to_owned());
                    }
                }
                "dossier" => tables.0 = Some((key, value)),
                "steps" => tables.1 = Some((key, value)),
                other => self.unknown_key(&key.span(), other, &KEYS),
            }
        }
        if self.plan.root().is_empty() {
            self.missing(&(0..0), "root", "the name of the element that holds one dossier");
        }
        match tables.0 {
            Some((key, value)) => self.dossier(&key.span(), value),
            None => self.missing(&(0..0), "dossier", "the fields of the dossier packet"),
        }
        match tables.1 {
            Some((key, value)) => {
                self.list("steps", Slot::Steps, Step::FIELDS, DOSSIER, ROOT, &key.span(), value);
            }
            None => self.missing(&(0..0), "steps", "the progress steps"),
        }
        self.no_mixed_elements();
    }

    fn dossier(&mut self, span: &Range<usize>, value: Row<'t>) {
        self.plan.records.push(Record {
            target: "",
            slot: Slot::Dossier,
            parent: DOSSIER,
            source: String::new(),
            specs: Dossier::FIELDS,
            fields: 0..0,
            required: 0,
            lists: Vec::new(),
            absent: Absent::Refuse,
            rule: String::new(),
        });
        let entries = self.table(value, "dossier");
        for (key, _) in &entries {
            if !matches!(key.get_ref().as_ref(), "fields" | "lists" | "unmapped") {
                let (span, word) = (key.span(), key.get_ref().to_string());
                self.unknown_key(&span, &word, &["fields", "lists", "unmapped"]);
            }
        }
        self.record(DOSSIER, ROOT, span, &entries);
    }

    /// `fields`, `lists` and `unmapped` of a record whose element is `node`.
    fn record(
        &mut self,
        id: RecordId,
        node: NodeId,
        span: &Range<usize>,
        entries: &[(Key<'t>, Row<'t>)],
    ) {
        let part = |name: &str| entries.iter().find(|(key, _)| key.get_ref() == name);
        let specs = self.plan.records[id].specs;
        let mut covered: Vec<&str> = Vec::new();

        // Lists first: their items are then known when a field's path would pass through one.
        let lists = part("lists").map(|(_, value)| self.table(value, "lists"));
        for (key, value) in lists.unwrap_or_default() {
            let target = key.get_ref().as_ref();
            match specs.iter().enumerate().find(|(_, spec)| spec.name == target) {
                Some((position, FieldSpec { name, kind: FieldKind::List(items), .. })) => {
                    covered.push(name);
                    self.list(name, Slot::List(position), items, id, node, &key.span(), value);
                }
                Some(_) => {
                    let message = format!("`{target}` is not a list");
                    self.error(&key.span(), "mapping_file.kind", message, "move it to `fields`");
                }
                None => self.unknown_target(&key.span(), target, specs),
            }
        }

        let from = self.plan.fields.len();
        let fields = part("fields").map(|(_, value)| self.table(value, "fields"));
        for (key, value) in fields.unwrap_or_default() {
            let target = key.get_ref().as_ref();
            match specs.iter().position(|spec| spec.name == target) {
                Some(position) if matches!(specs[position].kind, FieldKind::List(_)) => {
                    let message = format!("`{target}` is a list");
                    self.error(
                        &key.span(),
                        "mapping_file.kind",
                        message,
                        "describe it under `lists`",
                    );
                    covered.push(specs[position].name);
                }
                Some(position) => {
                    covered.push(specs[position].name);
                    self.field(id, node, position, &key.span(), value);
                }
                None => self.unknown_target(&key.span(), target, specs),
            }
        }
        let fields = from..self.plan.fields.len();
        if fields.len() > FIELDS_MAX {
            let message = format!("more than {FIELDS_MAX} fields in one record");
            self.error(span, "mapping_file.too_many", message, "");
        }
        let mut required = 0;
        for (bit, field) in self.plan.fields[fields.clone()].iter_mut().take(FIELDS_MAX).enumerate()
        {
            field.bit = bit;
            required |= u64::from(field.required) << bit;
        }
        self.plan.records[id].fields = fields;
        self.plan.records[id].required = required;

        let unmapped = part("unmapped").map(|(_, value)| self.table(value, "unmapped"));
        for (key, value) in unmapped.unwrap_or_default() {
            let target = key.get_ref().as_ref();
            let Some(reason) = self.string(value).map(str::to_owned) else {
                continue;
            };
            match specs.iter().find(|spec| spec.name == target) {
                None => self.unknown_target(&key.span(), target, specs),
                Some(spec) if covered.contains(&spec.name) => {
                    let message = format!("`{target}` is mapped and called unmapped");
                    self.error(
                        &key.span(),
                        "mapping_file.duplicate",
                        message,
                        "remove one of the two",
                    );
                }
                Some(spec) => {
                    covered.push(spec.name);
                    let target = self.full_target(id, spec.name);
                    self.plan.unmapped.push(Unmapped { target, reason });
                }
            }
        }
        for spec in specs.iter().filter(|spec| !covered.contains(&spec.name)) {
            let message =
                format!("no row for the contract field `{}`", self.full_target(id, spec.name));
            let hint = "map it, or say under `unmapped` why the source does not have it";
            self.error(span, "mapping_file.uncovered", message, hint);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a list is: target, place, parent and row")]
    fn list(
        &mut self,
        target: &'static str,
        slot: Slot,
        specs: &'static [FieldSpec],
        parent: RecordId,
        parent_node: NodeId,
        span: &Range<usize>,
        value: Row<'t>,
    ) {
        const KEYS: [&str; 7] =
            ["from", "absent", "removed", "rule", "fields", "lists", "unmapped"];
        let entries = self.table(value, target);
        let (mut from, mut absent, mut rule) = (None, Absent::Refuse, String::new());
        for (key, value) in &entries {
            match key.get_ref().as_ref() {
                "from" => from = self.string(value).map(|path| (value.span(), path)),
                "absent" => match self.string(value) {
                    Some("refuse") | None => {}
                    Some("empty") => absent = Absent::Empty,
                    Some(other) => self.unknown(
                        &value.span(),
                        "meaning of absence",
                        other,
                        &["refuse", "empty"],
                    ),
                },
                "removed" => match self.string(value) {
                    Some(_) if target != FILES || parent != DOSSIER => {
                        let message =
                            format!("`{target}` has nothing that could be sent as removed");
                        let hint = format!("only {FILES} has `IsDeleted` by file id");
                        self.error(&value.span(), "mapping_file.kind", message, &hint);
                    }
                    Some("mark_deleted") => self.plan.removes_files = true,
                    Some("keep") | None => {}
                    Some(other) => self.unknown(
                        &value.span(),
                        "meaning of removal",
                        other,
                        &["keep", "mark_deleted"],
                    ),
                },
                "rule" => rule = self.rule(value),
                "fields" | "lists" | "unmapped" => {}
                other => self.unknown_key(&key.span(), other, &KEYS),
            }
        }
        let Some((path_span, path)) = from else {
            return self.missing(span, "from", "the path of one item");
        };
        let id = self.plan.records.len();
        self.plan.records.push(Record {
            target,
            slot,
            parent,
            source: path.to_owned(),
            specs,
            fields: 0..0,
            required: 0,
            lists: Vec::new(),
            absent,
            rule,
        });
        self.plan.records[parent].lists.push(id);
        if !path.split('/').all(is_element_name) {
            return self.bad_path(&path_span, path);
        }
        let Some(item) = self.reach(parent_node, path, &path_span) else {
            return;
        };
        if self.plan.nodes[item].item_of.is_some() || item == parent_node {
            let message = format!("two lists take the items `{path}`");
            return self.error(&path_span, "mapping_file.conflict", message, "");
        }
        self.plan.nodes[item].item_of = Some(id);
        let wrapper = match path.rsplit_once('/') {
            Some((wrapper, _)) => self.reach(parent_node, wrapper, &path_span),
            None => None,
        };
        if let Some(wrapper) = wrapper {
            self.plan.nodes[wrapper].wraps.push(id);
        }
        self.record(id, item, span, &entries);
    }

    fn field(
        &mut self,
        record: RecordId,
        node: NodeId,
        position: usize,
        span: &Range<usize>,
        value: Row<'t>,
    ) {
        const KEYS: [&str; 8] =
            ["from", "as", "codes", "required", "max", "too_long", "pattern", "rule"];
        let spec = self.plan.records[record].specs[position];
        let mut field = Field {
            target: spec.name,
            position,
            record,
            bit: 0,
            source: String::new(),
            converter: Converter::Line,
            required: false,
            length_max: spec.length_max,
            shorten: false,
            pattern: None,
            codes: None,
            rule: String::new(),
            line: xml::position(self.text, span.start).line,
        };
        let (mut from, mut converter, mut codes) = (None, None, None);
        let mut named = false;
        for (key, value) in self.table(value, spec.name) {
            match key.get_ref().as_ref() {
                "from" => from = self.string(value).map(|path| (value.span(), path)),
                "as" => {
                    named = true;
                    if let Some(word) = self.string(value) {
                        converter = Converter::parse(word);
                        match converter {
                            Some(known) => field.converter = known,
                            None => {
                                self.unknown(&value.span(), "converter", word, Converter::WORDS);
                            }
                        }
                    }
                }
                "codes" => codes = self.string(value).map(|name| (value.span(), name)),
                "required" => match value.get_ref().as_bool() {
                    Some(required) => field.required = required,
                    None => self.wrong_type(value, "true or false"),
                },
                "max" => field.length_max = self.length_max(value, &spec).or(field.length_max),
                "too_long" => match self.string(value) {
                    Some("shorten") => field.shorten = true,
                    Some("refuse") | None => {}
                    Some(other) => {
                        self.unknown(&value.span(), "policy", other, &["refuse", "shorten"]);
                    }
                },
                "pattern" => {
                    if let Some(word) = self.string(value) {
                        field.pattern = Pattern::parse(word);
                        if field.pattern.is_none() {
                            self.unknown(&value.span(), "pattern", word, Pattern::WORDS);
                        }
                    }
                }
                "rule" => field.rule = self.rule(value),
                other => self.unknown_key(&key.span(), other, &KEYS),
            }
        }
        let Some((path_span, path)) = from else {
            return self.missing(span, "from", "the path of the source element");
        };
        path.clone_into(&mut field.source);
        if converter.is_some() {
            self.kinds_agree(&field, &spec, span);
        } else if !named {
            self.missing(span, "as", "the name of a converter");
        }
        let takes_codes = matches!(field.converter, Converter::Code | Converter::Status);
        match codes {
            Some((span, name)) if takes_codes => {
                field.codes = self.codes(&span, name, field.converter);
            }
            Some((span, _)) => {
                let message = format!("`{}` uses no code list", field.converter.word());
                self.error(&span, "mapping_file.kind", message, "write as = \"code\"");
            }
            None if takes_codes && converter.is_some() => {
                self.missing(span, "codes", "the name of a code list");
            }
            None => {}
        }
        self.place(node, field, &path_span, span);
    }

    fn codes(&mut self, span: &Range<usize>, name: &str, converter: Converter) -> Option<usize> {
        let id = if let Some(known) = self.known_lists.get(name) {
            (*known)?
        } else {
            let id = self.load_codes(span, name);
            self.known_lists.insert(name.to_owned(), id);
            id?
        };
        if converter == Converter::Status {
            let rows = self.plan.code_lists[id].rows();
            let foreign = rows.iter().find(|row| Status::parse(&row.code).is_none());
            let foreign = foreign.map(|row| {
                format!("`{}` on line {} of {name} is no status of the portal", row.code, row.line)
            });
            if let Some(message) = foreign {
                self.error(
                    span,
                    "mapping_file.status",
                    message,
                    "the portal's statuses are 1 to 10",
                );
            }
        }
        Some(id)
    }

    fn load_codes(&mut self, span: &Range<usize>, name: &str) -> Option<usize> {
        match (self.code_list)(name) {
            Ok(Some((file, text))) => match CodeList::parse(name, &file, &text) {
                Ok(list) => {
                    self.plan.code_lists.push(list);
                    return Some(self.plan.code_lists.len() - 1);
                }
                Err(errors) => self.errors.extend(errors),
            },
            Ok(None) => {
                let hint = "code lists are files in `codelists/`, named without .csv";
                self.error(span, "mapping_file.unknown", format!("no code list `{name}`"), hint);
            }
            Err(error) => self.errors.push(error),
        }
        None
    }

    fn kinds_agree(&mut self, field: &Field, spec: &FieldSpec, span: &Range<usize>) {
        use Converter as C;
        let agree = match spec.kind {
            FieldKind::Text => !matches!(field.converter, C::WholeNumber | C::Truth),
            FieldKind::NullableText => matches!(field.converter, C::Text | C::Line),
            FieldKind::Integer => field.converter == C::WholeNumber,
            FieldKind::Boolean => field.converter == C::Truth,
            FieldKind::List(_) => false,
        };
        if !agree {
            let wanted = match spec.kind {
                FieldKind::Integer => "use as = \"whole_number\"",
                FieldKind::Boolean => "use as = \"truth\"",
                _ => "the field takes text",
            };
            let message =
                format!("`{}` does not give what `{}` takes", field.converter.word(), spec.name);
            self.error(span, "mapping_file.kind", message, wanted);
        }
        if matches!(spec.kind, FieldKind::Integer | FieldKind::Boolean) && !field.required {
            let message = format!("`{}` has no empty value, so it cannot be optional", spec.name);
            self.error(span, "mapping_file.kind", message, "write required = true");
        }
        let is_text = matches!(field.converter, C::Text | C::Line);
        if field.pattern.is_some() && !is_text {
            let message = "only `text` and `line` take a pattern".to_owned();
            self.error(span, "mapping_file.kind", message, "");
        }
        if field.shorten && (!is_text || field.length_max.is_none() || field.pattern.is_some()) {
            let message = format!("`{}` cannot be shortened", spec.name);
            let hint = "only free text with a longest length can";
            self.error(span, "mapping_file.kind", message, hint);
        }
    }

    fn length_max(&mut self, value: Row<'t>, spec: &FieldSpec) -> Option<usize> {
        let number = value.get_ref().as_integer().filter(|number| number.radix() == 10);
        let number = number.and_then(|number| number.as_str().parse::<usize>().ok());
        match (number, spec.length_max) {
            (None | Some(0), _) => self.wrong_type(value, "a number of characters"),
            (Some(max), Some(contract)) if max > contract => {
                let message =
                    format!("the portal takes at most {contract} characters of `{}`", spec.name);
                self.error(
                    &value.span(),
                    "mapping_file.length",
                    message,
                    "a mapping can only ask for less",
                );
            }
            (number, _) => return number,
        }
        None
    }

    /// The words behind a name of `[rules]`.
    fn rule(&mut self, value: Row<'t>) -> String {
        let Some(name) = self.string(value) else {
            return String::new();
        };
        if let Some(words) = self.rules.get(name) {
            return words.clone();
        }
        let hint = suggestion(name, self.rules.keys().map(String::as_str));
        let message = format!("`{name}` is not defined under [rules]");
        self.error(&value.span(), "mapping_file.unknown", message, &hint);
        String::new()
    }

    fn full_target(&self, record: RecordId, name: &str) -> String {
        let mut target = name.to_owned();
        let mut id = record;
        while id != DOSSIER {
            target = format!("{}.{target}", self.plan.records[id].target);
            id = self.plan.records[id].parent;
        }
        target
    }
}
