//! `compare`: what another mapping would make of every stored revision.
//!
//! Each document that is kept goes through both mappings; nothing is written. Revisions are read in
//! stretches of their numbers and compared on every core, so memory does not grow with the ledger.
//! What only the pass after the mapping knows (the portal's catalogues, files that were sent) is the
//! same for both and left out.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::Serialize;
use tokio::task::JoinSet;

use super::map::aside;
use super::{Context, VerbError};
use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::domain::difference::{Difference, differences};
use crate::domain::dossier::Dossier;
use crate::domain::record::{Record, ValueRef};
use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::ledger::mappings::{StoredRange, StoredRevision};
use crate::mapping::Mapping;

/// Numbers of revisions that one stretch spans: some megabytes of documents.
const STRETCH: i64 = 1_000;
/// Samples of each kind of change.
const SAMPLES: usize = 5;
/// Fields that a sample shows.
const SAMPLE_FIELDS: usize = 8;

/// What becomes of a revision under the new mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The same packet, byte for byte.
    Unchanged,
    Changed,
    NewlyValid,
    NewlyInvalid,
    /// Refused by both.
    Invalid,
}

/// Revisions by what becomes of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub unchanged: u64,
    pub changed: u64,
    pub newly_valid: u64,
    pub newly_invalid: u64,
    pub invalid: u64,
    /// Valid in both, with other progress steps; beside the sum of the others.
    pub steps_changed: u64,
}

impl Changes {
    fn add(&mut self, change: Change, steps_changed: bool) {
        let count = match change {
            Change::Unchanged => &mut self.unchanged,
            Change::Changed => &mut self.changed,
            Change::NewlyValid => &mut self.newly_valid,
            Change::NewlyInvalid => &mut self.newly_invalid,
            Change::Invalid => &mut self.invalid,
        };
        *count += 1;
        self.steps_changed += u64::from(steps_changed);
    }
}

impl AddAssign for Changes {
    fn add_assign(&mut self, more: Self) {
        self.unchanged += more.unchanged;
        self.changed += more.changed;
        self.newly_valid += more.newly_valid;
        self.newly_invalid += more.newly_invalid;
        self.invalid += more.invalid;
        self.steps_changed += more.steps_changed;
    }
}

/// A dossier as an example of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    pub change: Change,
    pub ma_ho_so: String,
    /// Personal values are masked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// Rules that refuse it in one of the two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

/// What a comparison of two mappings found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Comparison {
    pub old: String,
    pub new: String,
    pub stored: StoredRange,
    /// Deleted at the source, or a ministry's: sent under no mapping.
    pub not_sent: u64,
    pub unreadable: u64,
    #[serde(flatten)]
    pub revisions: Changes,
    /// The same of the newest revision of each dossier: what is sent from here on.
    pub dossiers: Changes,
    /// Of those with another packet: which the portal has acknowledged.
    pub acknowledged_and_changed: u64,
    /// Changed packets by field; a field of a list as `TaiLieuNop.TenTepDinhKem`.
    pub by_field: BTreeMap<String, u64>,
    /// Newly refused revisions by rule, and newly accepted ones by the rule that refused them.
    pub newly_invalid_by_rule: BTreeMap<String, u64>,
    pub newly_valid_by_rule: BTreeMap<String, u64>,
    pub samples: Vec<Sample>,
    /// What sending everything that changes, and everything that becomes valid, costs at the
    /// portal's quota.
    pub calls: u64,
    pub calls_ms: u64,
}

impl Comparison {
    /// Dossiers that the switch concerns: the number that a careful switch repeats.
    pub const fn dossiers_concerned(&self) -> u64 {
        self.dossiers.changed + self.dossiers.newly_valid + self.dossiers.newly_invalid
    }
}

/// Compares what two mappings make of every stored revision (since then).
pub async fn compare(
    context: &Context,
    old: &Arc<Mapping>,
    new: &Arc<Mapping>,
    since: Option<Timestamp>,
) -> Result<Comparison, VerbError> {
    let stored = context.ledger.stored_range(since).await?;
    let next = Arc::new(AtomicI64::new(stored.first - 1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut workers = JoinSet::new();
    // One more than cores: while one waits for the file, the others compute.
    for _ in 0..=cores.min(16) {
        let work = Work {
            ledger: Arc::clone(&context.ledger),
            mappings: (Arc::clone(old), Arc::clone(new)),
            next: Arc::clone(&next),
            last: stored.last,
            since,
        };
        workers.spawn(work.run());
    }
    let mut sum = Tally::default();
    while let Some(done) = workers.join_next().await {
        context.alive();
        sum += done??;
    }
    let sent = sum.dossiers.changed + sum.dossiers.newly_valid;
    let calls = sent.div_ceil(u64::from(context.settings.dossiers_per_call.max(1)));
    let took = |(limit, window_ms): &(u32, u64)| {
        calls.saturating_mul(*window_ms) / u64::from((*limit).max(1))
    };
    let named = |(list, field): (&str, &str)| match list {
        "" => field.to_owned(),
        list => format!("{list}.{field}"),
    };
    Ok(Comparison {
        old: old.version().to_owned(),
        new: new.version().to_owned(),
        stored,
        not_sent: sum.not_sent,
        unreadable: sum.unreadable,
        revisions: sum.revisions,
        dossiers: sum.dossiers,
        acknowledged_and_changed: sum.acknowledged_and_changed,
        by_field: sum.by_field.into_iter().map(|(name, count)| (named(name), count)).collect(),
        newly_invalid_by_rule: sum.newly_invalid_by_rule,
        newly_valid_by_rule: sum.newly_valid_by_rule,
        samples: sum.samples.into_values().collect(),
        calls,
        calls_ms: context.settings.quota.iter().map(took).max().unwrap_or(0),
    })
}

struct Work {
    ledger: Arc<dyn Ledger>,
    mappings: (Arc<Mapping>, Arc<Mapping>),
    next: Arc<AtomicI64>,
    last: i64,
    since: Option<Timestamp>,
}

impl Work {
    async fn run(self) -> Result<Tally, VerbError> {
        let mut sum = Tally::default();
        loop {
            let after = self.next.fetch_add(STRETCH, Ordering::Relaxed);
            if after >= self.last {
                return Ok(sum);
            }
            let until = (after + STRETCH).min(self.last);
            let page = self.ledger.stored_revisions(after, until, self.since).await?;
            let (old, new) = self.mappings.clone();
            sum = aside(move || {
                for revision in &page {
                    sum.see(&old, &new, revision);
                }
                sum
            })
            .await?;
        }
    }
}

/// What one worker has seen.
#[derive(Debug, Default)]
struct Tally {
    not_sent: u64,
    unreadable: u64,
    revisions: Changes,
    dossiers: Changes,
    acknowledged_and_changed: u64,
    by_field: BTreeMap<(&'static str, &'static str), u64>,
    newly_invalid_by_rule: BTreeMap<String, u64>,
    newly_valid_by_rule: BTreeMap<String, u64>,
    /// The first of each kind in the order of codes, whoever saw them.
    samples: BTreeMap<(Change, String), Sample>,
}

impl Tally {
    fn see(&mut self, old: &Mapping, new: &Mapping, revision: &StoredRevision) {
        if revision.not_sent {
            self.not_sent += 1;
            return;
        }
        let Some(document) = &revision.document else {
            self.unreadable += 1;
            return;
        };
        let (before, after) = (old.map(document), new.map(document));
        let mut steps_changed = false;
        let change = match (&before.dossier, &after.dossier) {
            (Some(one), Some(other)) => {
                steps_changed = before.steps != after.steps;
                if one == other {
                    Change::Unchanged
                } else {
                    differing_fields(one, other, "", &mut |name| {
                        *self.by_field.entry(name).or_default() += 1;
                    });
                    Change::Changed
                }
            }
            (None, Some(_)) => Change::NewlyValid,
            (Some(_), None) => Change::NewlyInvalid,
            (None, None) => Change::Invalid,
        };
        let refusing = match change {
            Change::NewlyValid => count_rules(&mut self.newly_valid_by_rule, &before.diagnostics),
            Change::NewlyInvalid => {
                count_rules(&mut self.newly_invalid_by_rule, &after.diagnostics)
            }
            _ => Vec::new(),
        };
        self.revisions.add(change, steps_changed);
        if revision.newest {
            self.dossiers.add(change, steps_changed);
            self.acknowledged_and_changed +=
                u64::from(change == Change::Changed && revision.acknowledged);
        }
        if !matches!(change, Change::Unchanged | Change::Invalid) {
            let differences = || match (&before.dossier, &after.dossier) {
                (Some(one), Some(other)) => shown_differences(one, other),
                _ => Vec::new(),
            };
            self.keep_sample(change, &revision.ma_ho_so, refusing, differences);
        }
    }

    fn keep_sample(
        &mut self,
        change: Change,
        ma_ho_so: &str,
        rules: Vec<String>,
        differences: impl FnOnce() -> Vec<Difference>,
    ) {
        let of_kind = (change, String::new())..=(change, "\u{10FFFF}".to_owned());
        let kept = self.samples.range(of_kind.clone()).count();
        if kept >= SAMPLES {
            let last = self.samples.range(of_kind).next_back().map(|(key, _)| key.clone());
            match last {
                Some(last) if ma_ho_so < last.1.as_str() => {
                    self.samples.remove(&last);
                }
                _ => return,
            }
        }
        let sample =
            Sample { change, ma_ho_so: ma_ho_so.to_owned(), differences: differences(), rules };
        self.samples.insert((change, ma_ho_so.to_owned()), sample);
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.not_sent += more.not_sent;
        self.unreadable += more.unreadable;
        self.revisions += more.revisions;
        self.dossiers += more.dossiers;
        self.acknowledged_and_changed += more.acknowledged_and_changed;
        for (field, count) in more.by_field {
            *self.by_field.entry(field).or_default() += count;
        }
        let rules = [
            (&mut self.newly_invalid_by_rule, more.newly_invalid_by_rule),
            (&mut self.newly_valid_by_rule, more.newly_valid_by_rule),
        ];
        for (mine, theirs) in rules {
            for (rule, count) in theirs {
                *mine.entry(rule).or_default() += count;
            }
        }
        for (_, sample) in more.samples {
            let Sample { change, ma_ho_so, differences, rules } = sample;
            self.keep_sample(change, &ma_ho_so, rules, || differences);
        }
    }
}

/// Counts each refusing rule once a revision.
fn count_rules(counts: &mut BTreeMap<String, u64>, diagnostics: &[Diagnostic]) -> Vec<String> {
    let mut rules: Vec<String> = diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .map(|found| found.rule.clone())
        .collect();
    rules.sort();
    rules.dedup();
    for rule in &rules {
        *counts.entry(rule.clone()).or_default() += 1;
    }
    rules
}

/// Names the fields in which two packets differ, each once.
fn differing_fields(
    one: &dyn Record,
    other: &dyn Record,
    list: &'static str,
    found: &mut impl FnMut((&'static str, &'static str)),
) {
    for (place, field) in one.fields().iter().enumerate() {
        let differs = match (one.get(place), other.get(place)) {
            (ValueRef::List(length), ValueRef::List(others)) if length == others => {
                let mut inner = std::collections::BTreeSet::new();
                for index in 0..length {
                    if let (Some(a), Some(b)) = (one.item(place, index), other.item(place, index)) {
                        differing_fields_of_item(a, b, &mut inner);
                    }
                }
                for name in inner {
                    found((field.name, name));
                }
                false
            }
            (value, others) => value != others,
        };
        if differs {
            found((list, field.name));
        }
    }
}

fn differing_fields_of_item(
    one: &dyn Record,
    other: &dyn Record,
    found: &mut std::collections::BTreeSet<&'static str>,
) {
    for (place, field) in one.fields().iter().enumerate() {
        let differs = match (one.get(place), other.get(place)) {
            (ValueRef::List(length), ValueRef::List(others)) if length == others => (0..length)
                .any(|index| {
                    let mut inner = std::collections::BTreeSet::new();
                    if let (Some(a), Some(b)) = (one.item(place, index), other.item(place, index)) {
                        differing_fields_of_item(a, b, &mut inner);
                    }
                    !inner.is_empty()
                }),
            (value, others) => value != others,
        };
        if differs {
            found.insert(field.name);
        }
    }
}

fn shown_differences(one: &Dossier, other: &Dossier) -> Vec<Difference> {
    let value = |dossier: &Dossier| serde_json::to_value(dossier).unwrap_or_default();
    let mut found = differences(&value(one), &value(other));
    found.truncate(SAMPLE_FIELDS);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Settings;

    const NORMAL: &str = include_str!("../../mappings/feed/cases/normal/input.xml");

    fn mapping(change: [&str; 2]) -> Mapping {
        let settings = Settings { province_codes: vec!["H55".into()], ..Settings::default() };
        let builtin = Mapping::builtin(&settings).unwrap();
        let mut files = builtin.files().clone();
        assert!(files.mapping.contains(change[0]));
        files.mapping = files.mapping.replace(change[0], change[1]);
        Mapping::from_files(&files, &settings).unwrap()
    }

    fn seen(old: [&str; 2], new: [&str; 2], documents: &[&str]) -> Tally {
        let (old, new) = (mapping(old), mapping(new));
        let mut tally = Tally::default();
        for (number, document) in documents.iter().enumerate() {
            let revision = StoredRevision {
                ma_ho_so: format!("D{number:03}"),
                newest: number % 2 == 0,
                acknowledged: true,
                not_sent: false,
                document: Some((*document).to_owned()),
            };
            tally.see(&old, &new, &revision);
        }
        tally
    }

    const SAME: [&str; 2] = ["root", "root"];
    const STRICT: [&str; 2] =
        [r#"{ from = "Fax", as = "line","#, r#"{ from = "Fax", as = "line", required = true,"#];
    const OTHER_SOURCE: [&str; 2] =
        [r#"TenLinhVuc   = { from = "TenLinhVuc""#, r#"TenLinhVuc   = { from = "TenTTHC""#];

    #[test]
    fn each_revision_is_counted_once_by_what_becomes_of_it() {
        let all = [NORMAL; 4];
        let none = seen(SAME, SAME, &all);
        assert_eq!(none.revisions, Changes { unchanged: 4, ..Changes::default() });
        assert!(none.samples.is_empty() && none.by_field.is_empty());

        let other = seen(SAME, OTHER_SOURCE, &all);
        assert_eq!(other.revisions, Changes { changed: 4, ..Changes::default() });
        assert_eq!(other.dossiers, Changes { changed: 2, ..Changes::default() });
        assert_eq!(other.acknowledged_and_changed, 2);
        assert_eq!(other.by_field, BTreeMap::from([(("", "TenLinhVuc"), 4)]));

        let refused = seen(SAME, STRICT, &all);
        assert_eq!(refused.revisions, Changes { newly_invalid: 4, ..Changes::default() });
        let rule = BTreeMap::from([("mapping.required".to_owned(), 4)]);
        assert_eq!(refused.newly_invalid_by_rule, rule);
        let accepted = seen(STRICT, SAME, &all);
        assert_eq!(accepted.revisions, Changes { newly_valid: 4, ..Changes::default() });
        assert_eq!(accepted.newly_valid_by_rule, rule);
        assert_eq!(seen(STRICT, STRICT, &all).revisions.invalid, 4);
    }

    #[test]
    fn the_samples_are_the_first_codes_whoever_saw_them() {
        let all = [NORMAL; 9];
        let whole = seen(SAME, OTHER_SOURCE, &all);
        let mut parts = seen(SAME, OTHER_SOURCE, &all[..0]);
        parts += seen(SAME, OTHER_SOURCE, &all);
        parts += seen(SAME, OTHER_SOURCE, &all[..6]);
        let codes =
            |tally: &Tally| tally.samples.keys().map(|(_, code)| code.clone()).collect::<Vec<_>>();
        assert_eq!(codes(&whole), ["D000", "D001", "D002", "D003", "D004"]);
        assert_eq!(codes(&parts), codes(&whole));
        assert_eq!(parts.revisions.changed, 15);
    }
}
