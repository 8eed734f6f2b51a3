//! A JSON document as it is shown: in its own order, indented, with personal values masked.
//!
//! What the contract calls personal is masked by `masking`; a text under a name that the contract
//! does not have is hidden whole, because nobody knows what it holds.

use std::fmt::{Formatter, Write as _};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::dossier::Dossier;
use super::masking;
use super::record::{FieldKind, FieldSpec};
use super::step::Step;

/// Names around the packets that say nothing about a citizen.
const ENVELOPE: [&str; 6] = ["session", "madonvi", "service", "isUpdating", "mahoso", "maTTHC"];

/// The document indented; `None` if it is not JSON. With `whole`, nothing is masked.
pub fn json(text: &str, whole: bool) -> Option<String> {
    let node: Node = serde_json::from_str(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    node.write(&mut out, "", 0, whole);
    Some(out)
}

/// How the text of a field or element is shown when it is masked.
pub fn text(name: &str, value: &str) -> String {
    if value.trim().is_empty() || ENVELOPE.contains(&name) {
        return value.to_owned();
    }
    if is_of_the_contract(name) {
        return masking::field(name, value).unwrap_or_else(|| value.to_owned());
    }
    format!("({} characters)", value.chars().count())
}

fn is_of_the_contract(name: &str) -> bool {
    fn among(fields: &[FieldSpec], name: &str) -> bool {
        fields.iter().any(|field| {
            field.name == name || matches!(field.kind, FieldKind::List(items) if among(items, name))
        })
    }
    among(Dossier::FIELDS, name) || among(Step::FIELDS, name)
}

/// A value that keeps the order of its names.
enum Node {
    /// Nothing, a truth or a number: as it is written.
    Plain(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn write(&self, out: &mut String, name: &str, depth: usize, whole: bool) {
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Text(value) => {
                let shown = if whole { value.clone() } else { text(name, value) };
                // Writing to a String cannot fail.
                let _infallible = write!(out, "{}", serde_json::Value::from(shown));
            }
            Self::List(items) if items.is_empty() => out.push_str("[]"),
            Self::Object(members) if members.is_empty() => out.push_str("{}"),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    begin(out, at, depth + 1);
                    item.write(out, name, depth + 1, whole);
                }
                end(out, depth);
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, member)) in members.iter().enumerate() {
                    begin(out, at, depth + 1);
                    let _infallible = write!(out, "{}: ", serde_json::Value::from(name.as_str()));
                    member.write(out, name, depth + 1, whole);
                }
                end(out, depth);
                out.push('}');
            }
        }
    }
}

fn begin(out: &mut String, at: usize, depth: usize) {
    if at > 0 {
        out.push(',');
    }
    end(out, depth);
}

fn end(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Plain("null".to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = r#"{"session":"","data":[{"MaHoSo":"H55-1","ChuHoSo":"Nguyễn Văn Thử","Tuoi":7,"GhiChuKhac":"abc"}],"service":"DongBoHoSoMC","a":{},"b":[],"c":null}"#;

    #[test]
    fn what_is_personal_or_unknown_is_hidden_and_the_order_stays() {
        let shown = json(SENT, false).unwrap();
        assert_eq!(
            shown,
            r#"{
  "session": "",
  "data": [
    {
      "MaHoSo": "H55-1",
      "ChuHoSo": "N. V. T.",
      "Tuoi": 7,
      "GhiChuKhac": "(3 characters)"
    }
  ],
  "service": "DongBoHoSoMC",
  "a": {},
  "b": [],
  "c": null
}"#
        );
        assert_eq!(json("not json", false), None);
    }

    #[test]
    fn whole_it_says_what_it_said() {
        let whole: serde_json::Value = serde_json::from_str(&json(SENT, true).unwrap()).unwrap();
        assert_eq!(whole, serde_json::from_str::<serde_json::Value>(SENT).unwrap());
    }
}
