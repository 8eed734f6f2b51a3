//! Takes out of the portal's words what the gateway itself had put in: sessions, passwords, and the
//! personal values of the packets that were sent.

use serde_json::Value;

use crate::domain::masking;

/// Longest text of the portal's that is kept.
pub(super) const MESSAGE_LENGTH_MAX: usize = 300;

/// What must not come back in a text.
pub(super) struct Redactions<'a> {
    pub(super) secrets: Vec<&'a str>,
    pub(super) packets: &'a [&'a str],
}

impl Redactions<'_> {
    /// The text without secrets and personal values, masked and cut.
    pub(super) fn clean(&self, text: &str) -> String {
        if text.trim().is_empty() {
            return String::new();
        }
        let mut clean = text.to_owned();
        for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
            clean = clean.replace(secret, "***");
        }
        for (value, shown) in self.personal_values() {
            clean = clean.replace(&value, &shown);
        }
        masking::foreign_text(&clean, MESSAGE_LENGTH_MAX)
    }

    /// Personal values of the packets and how they are shown, longest first so that no part of one
    /// is left behind by another.
    fn personal_values(&self) -> Vec<(String, String)> {
        let mut values = Vec::new();
        for packet in self.packets {
            if let Ok(value) = serde_json::from_str(packet) {
                collect(&value, &mut values);
            }
        }
        values.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        values.dedup();
        values
    }
}

/// Shorter free texts ("Tiếp nhận hồ sơ") are phrases that the portal uses too.
const FREE_TEXT_MIN: usize = 30;

/// Free text and links are shown as their length or kind, in parentheses.
fn is_free_text(shown: &str) -> bool {
    shown.starts_with('(')
}

fn collect(value: &Value, values: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    // Shorter texts would blank out parts of ordinary words.
                    Value::String(text) if text.chars().count() >= 4 => {
                        if let Some(shown) = masking::field(name, text)
                            && (!is_free_text(&shown) || text.chars().count() >= FREE_TEXT_MIN)
                        {
                            values.push((text.clone(), shown));
                        }
                    }
                    other => collect(other, values),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, values)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_does_not_come_back() {
        let packet = r#"{"MaHoSo":"H55.242-260126-0001","ChuHoSo":"Nguyễn Văn Thử","TaiLieuNop":[{"TenTepDinhKem":"ban chinh giay khai sinh cua be.pdf","NoiDungXuLy":"Thụ lý"}]}"#;
        let redactions = Redactions {
            secrets: vec!["s3cret", ""],
            packets: &[packet, "not json"],
        };
        assert_eq!(
            redactions.clean(
                "Hồ sơ H55.242-260126-0001 của Nguyễn Văn Thử: ban chinh giay khai sinh cua be.pdf sai. Thụ lý, phiên s3cret"
            ),
            "Hồ sơ H55.242-260126-0001 của N. V. T.: (35 characters) sai. Thụ lý, phiên ***"
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let redactions = Redactions {
            secrets: Vec::new(),
            packets: &[],
        };
        let clean = redactions.clean(&"ă".repeat(1000));
        assert_eq!(clean.chars().count(), MESSAGE_LENGTH_MAX);
    }
}
