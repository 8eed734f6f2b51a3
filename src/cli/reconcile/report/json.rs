//! The report for machines: one object, its dossiers last.

use serde::Serialize;
use serde_json::Value;

use super::{Entry, Facts};
use crate::ledger::reconcile::ReconcileLine;

pub(super) fn head(facts: &Facts) -> Vec<u8> {
    let mut whole = serde_json::json!({
        "run": facts.run,
        "made_at": facts.made_at,
        "unmasked": facts.unmasked,
    });
    for (kind, rows, _) in &facts.rows {
        whole[format!("by_{}", kind.as_str())] = serde_json::to_value(rows).unwrap_or(Value::Null);
    }
    let mut text = whole.to_string();
    // The object goes on behind its last member.
    text.truncate(text.len() - 1);
    text.push_str(",\"dossiers\":[");
    text.into_bytes()
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    line: &'a ReconcileLine,
    #[serde(skip_serializing_if = "str::is_empty")]
    owner: &'a str,
}

pub(super) fn entry(entry: &Entry, is_first: bool) -> Vec<u8> {
    let mut text = if is_first { String::from("\n") } else { String::from(",\n") };
    let whole = Whole { line: &entry.line, owner: &entry.owner };
    // A line holds only texts and numbers.
    text.push_str(&serde_json::to_string(&whole).unwrap_or_default());
    text.into_bytes()
}

pub(super) fn tail() -> Vec<u8> {
    b"\n]}\n".to_vec()
}
