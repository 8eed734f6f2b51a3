//! One canonical form for both laboratories, and the comparison of what was expected with what
//! arrived.
//!
//! The canonical form of a dossier or a step is its JSON with the keys in the order of the
//! contract; its digest is the first 16 bytes of BLAKE3. Two sides that hold the same values hold
//! the same digest, so a province of a million dossiers is compared without keeping their text.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use super::packet::{Packet, Step};

/// Stands for all values of one dossier packet or one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 16]);

impl Digest {
    pub fn of_packet(packet: &Packet<'_>) -> Self {
        Self::of_canonical(packet)
    }

    pub fn of_step(step: &Step<'_>) -> Self {
        Self::of_canonical(step)
    }

    fn of_canonical(value: &impl Serialize) -> Self {
        // Plain structs of text and lists: writing them to memory has nothing to fail on.
        let canonical = serde_json::to_vec(value).unwrap_or_default();
        Self::of_bytes(&canonical)
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
        Self(short)
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return Err("a digest has 32 hexadecimal digits");
        }
        for (byte, at) in bytes.iter_mut().zip((0..32).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16)
                .map_err(|_| "a digest has 32 hexadecimal digits")?;
        }
        Ok(Self(bytes))
    }
}

/// What the portal must end up with for one dossier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedDossier {
    pub code: String,
    pub digest: Digest,
    pub steps: Vec<Digest>,
}

/// What the portal holds of one dossier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalRecord {
    pub code: String,
    pub digest: Digest,
    pub steps: Vec<Digest>,
    /// Accepted packets after the first one.
    pub updates: u32,
}

/// The difference between the two. Codes are sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Comparison {
    pub matched: usize,
    /// Known to the portal with other values than expected.
    pub different: Vec<String>,
    /// Expected, and not at the portal.
    pub missing: Vec<String>,
    /// At the portal, and never expected there.
    pub unexpected: Vec<String>,
    pub steps_missing: usize,
    /// Second and later copies of an expected step.
    pub steps_duplicated: usize,
    /// Steps with values that nobody expected.
    pub steps_unexpected: usize,
}

impl Comparison {
    /// Nothing is missing, different, unexpected or twice.
    pub fn is_clean(&self) -> bool {
        *self == Self { matched: self.matched, ..Self::default() }
    }
}

/// How one dossier at the portal differs from what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub code: String,
    pub packet: PacketDifference,
    /// Steps that are expected, and not at the portal.
    pub steps_missing: usize,
    /// Second and later copies of expected steps.
    pub steps_twice: Vec<Digest>,
    /// Steps with values that nobody expected.
    pub steps_unexpected: usize,
}

/// What becomes of the packet itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketDifference {
    /// As expected; the steps may differ.
    Matched,
    Different,
    Missing,
    /// At the portal, and never expected there.
    Unexpected,
}

impl Difference {
    fn is_none(&self) -> bool {
        self.packet == PacketDifference::Matched
            && self.steps_missing == 0
            && self.steps_twice.is_empty()
            && self.steps_unexpected == 0
    }
}

/// What differs, dossier by dossier, in the order of codes; the order of the two lists does not
/// matter.
pub fn differences(expected: &[ExpectedDossier], records: &[PortalRecord]) -> Vec<Difference> {
    let mut found = walk(expected, records);
    found.retain(|difference| !difference.is_none());
    found
}

/// Compares by code and digest; the order of the two lists does not matter.
pub fn compare(expected: &[ExpectedDossier], records: &[PortalRecord]) -> Comparison {
    let mut result = Comparison::default();
    for one in walk(expected, records) {
        match one.packet {
            PacketDifference::Matched => result.matched += 1,
            PacketDifference::Different => result.different.push(one.code),
            PacketDifference::Missing => result.missing.push(one.code),
            PacketDifference::Unexpected => result.unexpected.push(one.code),
        }
        result.steps_missing += one.steps_missing;
        result.steps_duplicated += one.steps_twice.len();
        result.steps_unexpected += one.steps_unexpected;
    }
    result
}

/// Every dossier of both sides, by code.
fn walk(expected: &[ExpectedDossier], records: &[PortalRecord]) -> Vec<Difference> {
    let mut both: BTreeMap<&str, (Option<&ExpectedDossier>, Option<&PortalRecord>)> =
        BTreeMap::new();
    for dossier in expected {
        both.entry(&dossier.code).or_default().0 = Some(dossier);
    }
    for record in records {
        both.entry(&record.code).or_default().1 = Some(record);
    }
    both.into_iter().map(|(code, (wanted, found))| difference(code, wanted, found)).collect()
}

fn difference(
    code: &str,
    wanted: Option<&ExpectedDossier>,
    found: Option<&PortalRecord>,
) -> Difference {
    let mut result = Difference {
        code: code.to_owned(),
        packet: match (wanted, found) {
            (Some(wanted), Some(found)) if wanted.digest == found.digest => {
                PacketDifference::Matched
            }
            (Some(_), Some(_)) => PacketDifference::Different,
            (_, None) => PacketDifference::Missing,
            (None, Some(_)) => PacketDifference::Unexpected,
        },
        steps_missing: 0,
        steps_twice: Vec::new(),
        steps_unexpected: 0,
    };
    let mut counts: BTreeMap<Digest, (usize, usize)> = BTreeMap::new();
    for step in wanted.map_or(&[][..], |wanted| &wanted.steps) {
        counts.entry(*step).or_default().0 += 1;
    }
    for step in found.map_or(&[][..], |found| &found.steps) {
        counts.entry(*step).or_default().1 += 1;
    }
    for (step, (wanted, found)) in counts {
        result.steps_missing += wanted.saturating_sub(found);
        if wanted == 0 {
            result.steps_unexpected += found;
        } else {
            result.steps_twice.extend(std::iter::repeat_n(step, found.saturating_sub(wanted)));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(seed: u8) -> Digest {
        Digest::of_bytes(&[seed])
    }

    fn expected(code: &str, packet: u8, steps: &[u8]) -> ExpectedDossier {
        ExpectedDossier {
            code: code.to_owned(),
            digest: digest(packet),
            steps: steps.iter().map(|step| digest(*step)).collect(),
        }
    }

    fn record(code: &str, packet: u8, steps: &[u8]) -> PortalRecord {
        PortalRecord {
            code: code.to_owned(),
            digest: digest(packet),
            steps: steps.iter().map(|step| digest(*step)).collect(),
            updates: 0,
        }
    }

    #[test]
    fn equal_sides_are_clean_in_any_order() {
        let wanted = [expected("a", 1, &[1, 2]), expected("b", 2, &[])];
        let found = [record("b", 2, &[]), record("a", 1, &[2, 1])];
        let result = compare(&wanted, &found);
        assert!(result.is_clean());
        assert_eq!(result.matched, 2);
    }

    #[test]
    fn every_kind_of_difference_has_its_own_number() {
        let wanted = [expected("changed", 1, &[1, 2, 3]), expected("absent", 2, &[4])];
        let found = [record("changed", 9, &[1, 1, 1, 7]), record("extra", 3, &[8])];
        assert_eq!(
            compare(&wanted, &found),
            Comparison {
                matched: 0,
                different: vec!["changed".into()],
                missing: vec!["absent".into()],
                unexpected: vec!["extra".into()],
                steps_missing: 3,
                steps_duplicated: 2,
                steps_unexpected: 2,
            }
        );
    }

    #[test]
    fn each_dossier_that_differs_is_named_with_the_steps_that_are_there_twice() {
        let wanted = [expected("sound", 1, &[1]), expected("twice", 2, &[1, 2])];
        let found = [record("sound", 1, &[1]), record("twice", 2, &[1, 2, 2])];
        let [twice] = &differences(&wanted, &found)[..] else { panic!("one differs") };
        assert_eq!((twice.code.as_str(), twice.packet), ("twice", PacketDifference::Matched));
        assert_eq!(twice.steps_twice, [digest(2)]);
    }

    #[test]
    fn a_digest_survives_its_text_form() {
        let text = serde_json::to_string(&digest(5)).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest(5));
        assert!(serde_json::from_str::<Digest>("\"zz\"").is_err());
    }
}
