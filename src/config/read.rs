//! Lays the user's file over the defaults. The default document is the schema: a key that it does
//! not have is unknown, and its value shows the type.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::problems::{Problems, nearest};

/// Blocks of the default document that only show the form of the user's blocks.
const TEMPLATES: [&str; 1] = ["sources"];

/// Keys that every block of a list must write itself.
const REQUIRED: [(&str, &[&str]); 2] =
    [("sources", &["name"]), ("gate.windows", &["limit", "window_ms"])];

/// Options of earlier versions, and where they are now. To go on with a default in silence could
/// delete what somebody meant to keep.
const MOVED: [(&str, &str); 1] = [("ledger.body_retention_days", "retention.bodies_days")];

/// The user's options over the defaults, not yet typed.
#[derive(Debug)]
pub(super) struct Document {
    merged: Table,
    default: Table,
}

impl Document {
    /// `None` when `text` is no TOML at all; everything else is reported and the walk goes on, a
    /// bad value counting as its default.
    pub(super) fn read(text: &str, default: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let (spanned, errors) = DeTable::parse_recoverable(text);
        let mut line_from = None;
        for error in &errors {
            let offset = error.span().map_or(0, |span| span.start);
            // A slip confuses the rest of its line; what follows from it helps nobody.
            let line = text[..text.floor_char_boundary(offset)].rfind('\n');
            if line_from.replace(line) != Some(line) {
                problems.in_text(offset, "", error.message(), "");
            }
        }
        if !errors.is_empty() {
            return None;
        }
        let values: Table = match toml::from_str(text) {
            Ok(values) => values,
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                problems.in_text(offset, "", error.message(), "");
                return None;
            }
        };
        let default: Table = match toml::from_str(default) {
            Ok(default) => default,
            Err(error) => {
                problems.whole(format!("the built-in defaults are broken: {error}"), "");
                return None;
            }
        };
        let mut walk = Walk { default: &default, problems };
        let mut merged = walk.table("", spanned.get_ref(), &values, &default);
        for name in TEMPLATES {
            if !values.contains_key(name) {
                merged.insert(name.to_owned(), Value::Array(Vec::new()));
            }
        }
        Some(Self { merged, default })
    }

    /// A section in its own type. What does not fit is reported, once for each option.
    pub(super) fn section<T: DeserializeOwned>(
        &mut self,
        name: &str,
        problems: &mut Problems<'_>,
    ) -> T {
        let merged = self.merged.remove(name).unwrap_or(Value::Boolean(false));
        typed(name, merged, &self.default[name], problems)
    }

    /// A list of sections.
    pub(super) fn sections<T: DeserializeOwned>(
        &mut self,
        name: &str,
        problems: &mut Problems<'_>,
    ) -> Vec<T> {
        let Some(Value::Array(blocks)) = self.merged.remove(name) else {
            return Vec::new();
        };
        let template = &self.default[name][0];
        blocks
            .into_iter()
            .enumerate()
            .map(|(at, block)| typed(&format!("{name}[{at}]"), block, template, problems))
            .collect()
    }
}

fn typed<T: DeserializeOwned>(
    name: &str,
    mut merged: Value,
    default: &Value,
    problems: &mut Problems<'_>,
) -> T {
    loop {
        let error = match serde_path_to_error::deserialize(merged.clone()) {
            Ok(section) => return section,
            Err(error) => error,
        };
        let segments: Vec<Segment> = error.path().iter().cloned().collect();
        let key = segments.iter().fold(name.to_owned(), |key, segment| match segment {
            Segment::Seq { index } => format!("{key}[{index}]"),
            Segment::Map { key: field } => format!("{key}.{field}"),
            Segment::Enum { .. } | Segment::Unknown => key,
        });
        problems.at(&key, error.into_inner().message().trim_end(), "");
        // With its default back in place the next error is another one. The defaults themselves
        // always fit: a test reads them.
        restore(&mut merged, default, &segments);
    }
}

fn restore(merged: &mut Value, default: &Value, path: &[Segment]) {
    match (path.first(), merged) {
        (Some(Segment::Map { key }), Value::Table(merged))
            if merged.contains_key(key) && default.get(key).is_some() =>
        {
            restore(&mut merged[key], &default[key.as_str()], &path[1..]);
        }
        (Some(Segment::Seq { index }), Value::Array(merged))
            if *index < merged.len() && default.get(0).is_some() =>
        {
            restore(&mut merged[*index], &default[0], &path[1..]);
        }
        (_, merged) => *merged = default.clone(),
    }
}

/// One walk over the user's file beside the schema.
struct Walk<'d, 'p, 't> {
    default: &'d Table,
    problems: &'p mut Problems<'t>,
}

impl Walk<'_, '_, '_> {
    /// The schema's table with the user's values in it.
    fn table(
        &mut self,
        path: &str,
        spanned: &DeTable<'_>,
        values: &Table,
        schema: &Table,
    ) -> Table {
        let mut merged = schema.clone();
        for (name, value) in spanned {
            let key = join(path, name.get_ref());
            let (Some(form), Some(plain)) =
                (schema.get(&**name.get_ref()), values.get(&**name.get_ref()))
            else {
                self.unknown(&key, path, name, schema);
                continue;
            };
            self.problems.place(&key, value.span().start);
            if let Some(value) = self.value(&key, value, plain, form) {
                merged.insert(name.get_ref().to_string(), value);
            }
        }
        merged
    }

    fn value(
        &mut self,
        key: &str,
        spanned: &Spanned<DeValue<'_>>,
        plain: &Value,
        form: &Value,
    ) -> Option<Value> {
        match (form, plain, spanned.get_ref()) {
            (Value::Table(form), Value::Table(plain), DeValue::Table(spanned)) => {
                Some(Value::Table(self.table(key, spanned, plain, form)))
            }
            (Value::Array(form), Value::Array(plain), DeValue::Array(spanned)) => {
                let form = form.first().unwrap_or(&Value::Boolean(false));
                let elements = spanned.iter().zip(plain).enumerate();
                let merged = elements.filter_map(|(at, (spanned, plain))| {
                    self.element(key, at, spanned, plain, form)
                });
                Some(Value::Array(merged.collect()))
            }
            (Value::Integer(_), Value::Integer(number), _) if *number < 0 => {
                let offset = spanned.span().start;
                self.problems.in_text(offset, key, "the number is below 0", "");
                None
            }
            (Value::Float(_), Value::Integer(number), _) => Some(Value::Float(*number as f64)),
            _ if form.same_type(plain) => Some(plain.clone()),
            _ => {
                self.mismatch(key, spanned.span().start, form, plain);
                None
            }
        }
    }

    fn element(
        &mut self,
        list: &str,
        at: usize,
        spanned: &Spanned<DeValue<'_>>,
        plain: &Value,
        form: &Value,
    ) -> Option<Value> {
        let key = format!("{list}[{at}]");
        self.problems.place(&key, spanned.span().start);
        let required = REQUIRED.iter().find(|(name, _)| *name == list);
        if let (Some((_, names)), Value::Table(plain)) = (required, plain) {
            for name in names.iter().filter(|name| !plain.contains_key(**name)) {
                let message = "this block needs it and has no default for it";
                self.problems.at(&join(&key, name), message, "");
            }
        }
        self.value(&key, spanned, plain, form)
    }

    fn unknown(
        &mut self,
        key: &str,
        path: &str,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        schema: &Table,
    ) {
        let offset = name.span().start;
        let name = name.get_ref();
        let is_secret = ["password", "token", "secret"]
            .iter()
            .any(|word| name.to_ascii_lowercase().contains(word));
        if is_secret && !schema.contains_key(&**name) && !name.ends_with("_file") {
            let hint = format!(
                "put it into a file that only the gateway can read, and name that file in {name}_file"
            );
            let message = "a secret may not stand in the configuration file";
            self.problems.in_text(offset, key, message, hint);
            return;
        }
        if let Some((_, now)) = MOVED.iter().find(|(before, _)| *before == key) {
            let hint = format!("it is {now} now; move the value there");
            self.problems.in_text(offset, key, "this option has moved", hint);
            return;
        }
        let home = self
            .default
            .iter()
            .find(|(_, section)| {
                let first = section.get(0).unwrap_or(section);
                first.get(&**name).is_some()
            })
            .map(
                |(home, section)| {
                    if section.is_array() { format!("[[{home}]]") } else { format!("[{home}]") }
                },
            );
        let hint = match (nearest(name, schema.keys().map(String::as_str)), home) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, Some(home)) => format!("it belongs to {home}"),
            (None, None) if path.is_empty() => {
                let known: Vec<&str> = schema.keys().map(String::as_str).collect();
                format!("the sections are {}", known.join(", "))
            }
            (None, None) => "`hoso config default` shows every option".to_owned(),
        };
        self.problems.in_text(offset, key, "unknown key", hint);
    }

    fn mismatch(&mut self, key: &str, offset: usize, form: &Value, plain: &Value) {
        let hint = match (form, plain) {
            (Value::Integer(_) | Value::Float(_) | Value::Boolean(_), Value::String(_)) => {
                "write it without quotes"
            }
            (Value::String(_), Value::Array(_) | Value::Table(_)) => "",
            (Value::String(_), _) => "write it in quotes",
            (Value::Array(form), Value::Table(_)) if form.first().is_some_and(Value::is_table) => {
                "write the section's name in double brackets: each block is one of a list"
            }
            (Value::Array(_), Value::String(_)) => "write it in square brackets",
            (Value::Table(_), Value::Array(_)) => "write the section's name in single brackets",
            _ => "",
        };
        let message = format!("expected {}, found {}", kind(form), kind(plain));
        self.problems.in_text(offset, key, message, hint);
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}
