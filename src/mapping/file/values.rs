//! Typed access to the values of a mapping file, and the words for what is wrong with them.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::domain::record::FieldSpec;
use crate::xml;

use super::{Builder, Key, Row};
use crate::mapping::error::{FileError, suggestion};

impl<'t> Builder<'t, '_, '_> {
    pub(super) fn error(
        &mut self,
        span: &Range<usize>,
        rule: &'static str,
        message: String,
        hint: &str,
    ) {
        let place = xml::position(self.text, span.start);
        self.errors.push(FileError {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            rule,
            message,
            hint: hint.to_owned(),
        });
    }

    pub(super) fn table(&mut self, value: Row<'t>, name: &str) -> Vec<(Key<'t>, Row<'t>)> {
        if let DeValue::Table(table) = value.get_ref() {
            return in_file_order(table);
        }
        self.wrong_type(value, &format!("a table for `{name}`"));
        Vec::new()
    }

    pub(super) fn string(&mut self, value: Row<'t>) -> Option<&'t str> {
        if value.get_ref().as_str().is_none() {
            self.wrong_type(value, "a text in quotes");
        }
        value.get_ref().as_str()
    }

    pub(super) fn strings(&mut self, value: Row<'t>) -> Vec<(Range<usize>, &'t str)> {
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(value, "a list of texts in [ ]");
            return Vec::new();
        };
        let mut words = Vec::new();
        for item in items {
            if let Some(word) = self.string(item) {
                words.push((item.span(), word));
            }
        }
        words
    }

    pub(super) fn wrong_type(&mut self, value: Row<'t>, expected: &str) {
        let message = format!("expected {expected}, found {}", value.get_ref().type_str());
        self.error(&value.span(), "mapping_file.type", message, "");
    }

    pub(super) fn missing(&mut self, span: &Range<usize>, key: &str, what: &str) {
        self.error(span, "mapping_file.missing_key", format!("`{key}` is missing: {what}"), "");
    }

    pub(super) fn unknown_key(&mut self, span: &Range<usize>, key: &str, known: &[&str]) {
        let hint = suggestion(key, known.iter().copied());
        self.error(span, "mapping_file.unknown_key", format!("unknown key `{key}`"), &hint);
    }

    pub(super) fn unknown(&mut self, span: &Range<usize>, what: &str, word: &str, known: &[&str]) {
        let hint = suggestion(word, known.iter().copied());
        self.error(span, "mapping_file.unknown", format!("unknown {what} `{word}`"), &hint);
    }

    pub(super) fn unknown_target(
        &mut self,
        span: &Range<usize>,
        target: &str,
        specs: &[FieldSpec],
    ) {
        let hint = suggestion(target, specs.iter().map(|spec| spec.name));
        let message = format!("the portal has no field `{target}` here");
        self.error(span, "mapping_file.unknown_target", message, &hint);
    }

    pub(super) fn bad_path(&mut self, span: &Range<usize>, path: &str) {
        let hint =
            "write element names with `/` between them, an attribute as the last part with `@`";
        self.error(span, "mapping_file.path", format!("`{path}` is no path"), hint);
    }
}

/// The parser keeps tables sorted by key; readers of errors and of documents expect the file's own
/// order.
pub(super) fn in_file_order<'t>(table: &'t DeTable<'t>) -> Vec<(Key<'t>, Row<'t>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}
