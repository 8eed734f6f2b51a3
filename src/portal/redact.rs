//! Takes out of the portal's words what the gateway itself had put in: sessions, passwords, and the
//! personal values of the packets that were sent.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use crate::domain::masking;

/// Longest text of the portal's that is kept.
pub(super) const MESSAGE_LENGTH_MAX: usize = 300;

/// Calls that must bring back the same text before it is taken for a phrase of the portal's.
const PHRASE_AFTER: u8 = 3;
/// Phrases that are remembered; a portal has a handful.
const PHRASES_MAX: usize = 256;

type Hash = [u8; 32];

/// Texts that came back word for word for several different calls. Such a text quotes none of
/// their packets, so the packets need not be parsed again to search it. Only hashes are kept: until
/// a text is known as a phrase it may name a person.
#[derive(Debug, Default)]
pub(super) struct Phrases {
    /// By hash of the text: how often it came back, and the hash of the last packets.
    seen: Mutex<BTreeMap<Hash, (u8, Hash)>>,
}

impl Phrases {
    /// Notes that this text came back for these packets; `true` once it is known as a phrase.
    fn is_phrase(&self, text: &str, packets: &[&str]) -> bool {
        let text = hash(&[text]);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((times, last)) = seen.get_mut(&text) {
            if *times >= PHRASE_AFTER {
                return true;
            }
            let packets = hash(packets);
            if *last != packets {
                *times += 1;
                *last = packets;
            }
        } else if seen.len() < PHRASES_MAX {
            seen.insert(text, (1, hash(packets)));
        }
        false
    }
}

fn hash(packets: &[&str]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for packet in packets {
        hasher.update(packet.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// What must not come back in a text.
pub(super) struct Redactions<'a> {
    pub(super) secrets: Vec<&'a str>,
    pub(super) packets: &'a [&'a str],
    pub(super) phrases: &'a Phrases,
}

impl Redactions<'_> {
    /// The text without secrets and personal values, masked and cut.
    pub(super) fn clean(&self, text: &str) -> String {
        if text.trim().is_empty() {
            return String::new();
        }
        // What was sent is composed; a portal that stores names decomposed quotes them so. And it may
        // quote them with other spaces, which are shown as one.
        let composed: String = text.nfc().collect();
        let mut clean = masking::plain(&composed);
        for secret in self.secrets.iter().filter(|secret| !secret.trim().is_empty()) {
            clean = clean.replace(&masking::plain(secret), "***");
        }
        if !self.phrases.is_phrase(text, self.packets) {
            for (value, shown) in self.personal_values() {
                clean = clean.replace(&masking::plain(&value), &shown);
            }
        }
        masking::foreign_text(&clean, MESSAGE_LENGTH_MAX)
    }

    /// Whether a text holds anything that had been sent and must not be shown.
    pub(super) fn would_change(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| !secret.is_empty() && text.contains(secret))
            || self.personal_values().iter().any(|(value, _)| text.contains(value.as_str()))
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
            phrases: &Phrases::default(),
        };
        assert_eq!(
            redactions.clean(
                "Hồ sơ H55.242-260126-0001 của Nguyễn Văn Thử: ban chinh giay khai sinh cua be.pdf sai. Thụ lý, phiên s3cret"
            ),
            "Hồ sơ H55.242-260126-0001 của N. V. T.: (35 characters) sai. Thụ lý, phiên ***"
        );
    }

    #[test]
    fn other_spaces_and_control_characters_hide_nothing() {
        let packet = r#"{"ChuHoSo":"Nguyễn Văn  Thử"}"#;
        let redactions = Redactions {
            secrets: vec!["hai  lời"],
            packets: &[packet],
            phrases: &Phrases::default(),
        };
        for name in ["Nguyễn\u{a0}Văn Thử", "Nguyễn Văn\n\tThử", "Nguyễn\u{1b}Văn Thử"]
        {
            let clean = redactions.clean(&format!("{name} sai, hai lời"));
            assert_eq!(clean, "N. V. T. sai, ***", "{name:?}");
        }
        assert_eq!(redactions.clean("\u{1b}[31mđỏ"), "[31mđỏ");
    }

    #[test]
    fn only_a_text_that_came_back_for_different_packets_is_a_phrase() {
        let phrases = Phrases::default();
        let clean = |name: &str, text: &str| {
            let packet = format!(r#"{{"ChuHoSo":"{name}"}}"#);
            let redactions =
                Redactions { secrets: Vec::new(), packets: &[&packet], phrases: &phrases };
            redactions.clean(text)
        };
        // The same dossier again and again proves nothing.
        for _ in 0..5 {
            assert_eq!(clean("Nguyễn Văn Thử", "Nguyễn Văn Thử bị từ chối"), "N. V. T. bị từ chối");
        }
        for name in ["Một Văn Thử", "Hai Văn Thử", "Ba Văn Thử", "Bốn Văn Thử"] {
            assert_eq!(clean(name, "Đồng bộ thành công"), "Đồng bộ thành công");
        }
        assert!(phrases.is_phrase("Đồng bộ thành công", &[]));
    }

    #[test]
    fn long_texts_are_cut() {
        let redactions =
            Redactions { secrets: Vec::new(), packets: &[], phrases: &Phrases::default() };
        let clean = redactions.clean(&"ă".repeat(1000));
        assert_eq!(clean.chars().count(), MESSAGE_LENGTH_MAX);
    }
}
