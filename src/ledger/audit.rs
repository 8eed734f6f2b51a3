//! The audit as a chain: what a row's hash is made of, and what a look at a whole chain finds.
//!
//! Owns the canonical form of a row and the judgement over a chain, wherever its rows come from (the
//! ledger or an exported file). Knows no storage. A chain proves that nothing between two known hashes
//! was changed, taken out, put in or moved. It cannot prove that its tail was not cut off, or written
//! anew from some row on: for that somebody outside must remember a later hash, an *anchor*.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::record::{AuditRecord, Finding, Hash};
use crate::domain::time::Timestamp;

/// Sets these hashes apart from every other use of BLAKE3, and this form of a row from later ones.
const DOMAIN: &str = "hoso-gateway audit row v1";

/// Examples that a finding names.
const EXAMPLES: usize = 5;

/// What archiving is called in the audit itself.
pub const ARCHIVE: &str = "audit archive";
/// What sealing the rows from before there was a chain is called.
pub const SEAL: &str = "audit seal";
/// What putting a backup in the ledger's place is called.
pub const RESTORE: &str = "restore";
/// Who does both.
pub const BY_ITSELF: &str = "hoso-gateway";

/// What stands before the first row.
pub const GENESIS: Hash = [0; 32];

/// A place in the chain: a row's number and its hash. Written `12:0f3a…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    pub seq: i64,
    pub hash: Hash,
}

impl AuditHead {
    pub const BEGINNING: Self = Self { seq: 0, hash: GENESIS };
}

impl Display for AuditHead {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.hash))
    }
}

impl FromStr for AuditHead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "it is written NUMBER:HASH, as `hoso audit verify` prints the head".to_owned();
        let (seq, hash) = text.trim().split_once(':').ok_or_else(wrong)?;
        let seq = seq.parse().map_err(|_| wrong())?;
        Ok(Self { seq, hash: from_hex(hash).ok_or_else(wrong)? })
    }
}

impl Serialize for AuditHead {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditHead {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One act, with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    pub seq: i64,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub target: String,
    pub reason: String,
    pub result: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    /// `None`: the row has no place in the chain.
    #[serde(with = "hex_hash", default)]
    pub hash: Option<Hash>,
}

impl AuditRow {
    /// The row that `audit` and its result make behind `previous`.
    pub fn behind(previous: &AuditHead, at: Timestamp, audit: &AuditRecord, result: &str) -> Self {
        let row = Self {
            seq: previous.seq + 1,
            at,
            actor: audit.actor.clone(),
            action: audit.action.clone(),
            target: audit.target.clone(),
            reason: audit.reason.clone(),
            result: result.to_owned(),
            selection: audit.selection.clone(),
            plan_hash: audit.plan_hash.clone(),
            hash: None,
        };
        Self { hash: Some(row.chained_to(&previous.hash)), ..row }
    }

    /// The hash that this row has behind one with hash `previous`: every column, each with its
    /// length, so that no two rows have one form.
    pub fn chained_to(&self, previous: &Hash) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        hasher.update(previous);
        hasher.update(&self.seq.to_be_bytes());
        hasher.update(&self.at.millis().to_be_bytes());
        let texts = [&self.actor, &self.action, &self.target, &self.reason, &self.result];
        let optional = [self.selection.as_ref(), self.plan_hash.as_ref()];
        for text in texts.into_iter().map(Some).chain(optional) {
            match text {
                None => hasher.update(&[0]),
                Some(text) => {
                    hasher.update(&[1]);
                    hasher.update(&(text.len() as u64).to_be_bytes());
                    hasher.update(text.as_bytes())
                }
            };
        }
        *hasher.finalize().as_bytes()
    }

    pub fn head(&self) -> Option<AuditHead> {
        self.hash.map(|hash| AuditHead { seq: self.seq, hash })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// Rows from before there was a chain; they stay.
    Sealed,
    /// Rows that retention has taken.
    Archived,
}

/// A stretch of the chain with its ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditSegment {
    pub kind: SegmentKind,
    pub first_seq: i64,
    pub last_seq: i64,
    pub rows: i64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    #[serde(with = "hex_hash")]
    pub start_hash: Option<Hash>,
    #[serde(with = "hex_hash")]
    pub end_hash: Option<Hash>,
    pub made_at: Timestamp,
}

impl AuditSegment {
    pub fn end(&self) -> AuditHead {
        AuditHead { seq: self.last_seq, hash: self.end_hash.unwrap_or(GENESIS) }
    }
}

/// What is known of the chain without reading its rows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AuditChain {
    /// Oldest first.
    pub segments: Vec<AuditSegment>,
    pub head: Option<AuditHead>,
    /// The file still refuses changes of the audit by itself.
    pub guarded: bool,
    /// Rows that wait to be sealed.
    pub unsealed: u64,
}

/// Which acts are wanted, newest first.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Parts of the texts, in any case of letters.
    pub who: Option<String>,
    pub what: Option<String>,
    pub target: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub limit: u32,
}

/// Reads a chain row by row and keeps what is wrong with it.
#[derive(Debug)]
pub struct ChainCheck {
    at: AuditHead,
    /// Numbers may be missing up to here: retention took rows before there was a chain.
    sealed_until: i64,
    /// The archived segment that its own row must tell of.
    told_of: Option<AuditHead>,
    rows: u64,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    findings: Vec<Finding>,
}

/// What a look at a chain came to.
#[derive(Debug, Clone, Serialize)]
pub struct ChainReport {
    pub rows: u64,
    pub first_at: Option<Timestamp>,
    pub last_at: Option<Timestamp>,
    /// Where the chain ends: to be remembered outside.
    pub head: AuditHead,
    pub findings: Vec<Finding>,
}

impl ChainCheck {
    /// A check of the whole chain of a ledger.
    pub fn of_ledger(chain: &AuditChain) -> Self {
        let mut check = Self::behind(AuditHead::BEGINNING);
        for segment in &chain.segments {
            if segment.kind == SegmentKind::Sealed {
                check.sealed_until = check.sealed_until.max(segment.last_seq);
                continue;
            }
            let joined = segment.start_hash == Some(check.at.hash)
                && (segment.first_seq == check.at.seq + 1
                    || segment.first_seq <= check.sealed_until);
            if !joined || segment.end_hash.is_none() {
                check.find("archived segments do not follow each other", segment.first_seq);
            }
            check.at = segment.end();
            check.told_of = Some(check.at);
        }
        if !chain.guarded {
            check.find("the file's own refusal of changes (its triggers) is gone", 0);
        }
        check
    }

    /// A check of rows behind `start`.
    pub const fn behind(start: AuditHead) -> Self {
        Self {
            at: start,
            sealed_until: 0,
            told_of: None,
            rows: 0,
            first_at: None,
            last_at: None,
            findings: Vec::new(),
        }
    }

    /// The next row, in the order of numbers.
    pub fn row(&mut self, row: &AuditRow) {
        let is_next = row.seq == self.at.seq + 1;
        if !is_next && row.seq > self.sealed_until {
            self.find("rows are missing before", row.seq);
        }
        match row.hash {
            None => self.find("rows have no place in the chain", row.seq),
            Some(hash) if hash != row.chained_to(&self.at.hash) => {
                // Behind a gap the hash before is not known, so nothing more is said of this row.
                if is_next || row.seq <= self.sealed_until {
                    self.find(
                        "rows are not what was written, or not where they were written",
                        row.seq,
                    );
                }
            }
            Some(_) => {}
        }
        if row.action == ARCHIVE
            && self.told_of.is_some_and(|end| row.result.contains(&end.to_string()))
        {
            self.told_of = None;
        }
        self.at = AuditHead { seq: row.seq, hash: row.hash.unwrap_or(GENESIS) };
        self.rows += 1;
        self.first_at.get_or_insert(row.at);
        self.last_at = Some(row.at);
    }

    pub const fn head(&self) -> AuditHead {
        self.at
    }

    pub fn find(&mut self, what: &str, seq: i64) {
        let example = (seq > 0).then(|| seq.to_string());
        if let Some(known) = self.findings.iter_mut().find(|known| known.what == what) {
            known.count += 1;
            if known.examples.len() < EXAMPLES {
                known.examples.extend(example);
            }
        } else {
            let examples = example.into_iter().collect();
            self.findings.push(Finding { what: what.to_owned(), count: 1, examples });
        }
    }

    pub fn report(mut self) -> ChainReport {
        if let Some(end) = self.told_of {
            self.find("no row of the audit tells of the archived segment that ends with", end.seq);
        }
        ChainReport {
            rows: self.rows,
            first_at: self.first_at,
            last_at: self.last_at,
            head: self.at,
            findings: self.findings,
        }
    }
}

pub fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

pub fn from_hex(text: &str) -> Option<Hash> {
    blake3::Hash::from_hex(text.trim()).ok().map(|hash| *hash.as_bytes())
}

mod hex_hash {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Hash;

    #[expect(clippy::ref_option, reason = "the form that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        hash: &Option<Hash>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        hash.as_ref().map(super::hex).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Hash>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| {
                super::from_hex(&text)
                    .ok_or_else(|| serde::de::Error::custom("64 hexadecimal digits are expected"))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(count: i64) -> Vec<AuditRow> {
        let mut head = AuditHead::BEGINNING;
        (1..=count)
            .map(|number| {
                let audit = AuditRecord::new("operator", "resync", &number.to_string(), "asked");
                let at = Timestamp::from_millis(number * 1000);
                let row = AuditRow::behind(&head, at, &audit, "opened");
                head = row.head().unwrap();
                row
            })
            .collect()
    }

    fn found(rows: &[AuditRow]) -> Vec<String> {
        let mut check = ChainCheck::behind(AuditHead::BEGINNING);
        for row in rows {
            check.row(row);
        }
        let findings = check.report().findings;
        findings.iter().map(|one| format!("{} {}", one.what, one.examples.join(","))).collect()
    }

    const CHANGED: &str = "rows are not what was written, or not where they were written";

    #[test]
    fn an_untouched_chain_is_sound_and_every_changed_column_is_found() {
        let rows = chain(5);
        assert!(found(&rows).is_empty());
        let changes: [fn(&mut AuditRow); 9] = [
            |row| row.at = Timestamp::from_millis(1),
            |row| row.actor.push('x'),
            |row| row.action.push('x'),
            |row| row.target.clear(),
            |row| row.reason = "another".to_owned(),
            |row| row.result = "nothing".to_owned(),
            |row| row.selection = Some(String::new()),
            |row| row.plan_hash = Some("00".to_owned()),
            |row| std::mem::swap(&mut row.actor, &mut row.action),
        ];
        for change in changes {
            let mut rows = chain(5);
            change(&mut rows[2]);
            assert_eq!(found(&rows), [format!("{CHANGED} 3")]);
        }
    }

    #[test]
    fn text_that_moves_from_one_column_to_the_next_is_another_row() {
        let of = |actor: &str, action: &str| {
            let audit = AuditRecord::new(actor, action, "", "");
            let at = Timestamp::from_millis(0);
            AuditRow::behind(&AuditHead::BEGINNING, at, &audit, "").hash
        };
        assert_ne!(of("ab", "c"), of("a", "bc"));
    }

    #[test]
    fn rows_that_go_come_or_change_places_are_found_and_a_cut_tail_is_not() {
        let mut rows = chain(5);
        rows.remove(2);
        assert_eq!(found(&rows), ["rows are missing before 4"]);

        let mut rows = chain(5);
        rows.swap(1, 2);
        (rows[1].seq, rows[2].seq) = (2, 3);
        assert_eq!(found(&rows), [format!("{CHANGED} 2,3,4")]);

        let mut rows = chain(5);
        let inserted = AuditRow { seq: 6, hash: None, ..rows[1].clone() };
        rows.push(inserted);
        assert_eq!(found(&rows), ["rows have no place in the chain 6"]);

        // What an anchor is for.
        assert!(found(&chain(5)[..3]).is_empty());
    }

    #[test]
    fn a_head_is_written_and_read_back() {
        let head = chain(3)[2].head().unwrap();
        assert_eq!(head.to_string().parse::<AuditHead>().unwrap(), head);
        for wrong in ["", "3", "3:", "x:00", "3:00"] {
            assert!(wrong.parse::<AuditHead>().is_err(), "{wrong}");
        }
    }
}
