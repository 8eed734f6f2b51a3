//! What a soak found, property by property, and whether it holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::gauge::Course;
use super::judge::Finding;
use super::settling::Settled;
use crate::cli::words;
use crate::domain::time::span;
use crate::ledger::record::Books;
use crate::ledger::view::Lag;

/// The one JSON object of the soak.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// Every property does.
    pub holds: bool,
    pub properties: Vec<Property>,
    /// Of traffic, without the time to settle.
    pub seconds: u64,
    pub settled_after_seconds: u64,
    /// What kept it from settling, at the last look.
    pub unmet: Vec<String>,
    pub faults: String,
    /// What happened at the province.
    pub happened: BTreeMap<&'static str, u64>,
    /// What struck at the portal.
    pub struck: BTreeMap<&'static str, u64>,
    pub finding: Finding,
    pub books: Option<Books>,
    pub lag: Lag,
    pub calls: u64,
    pub memory: Option<Course>,
    pub ledger: Option<Course>,
    /// Open problems by code; most are the flaws that the province was given.
    pub problems: BTreeMap<String, u64>,
    pub restarts: Restarts,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Restarts {
    /// By the soak, with kill -9.
    pub killed: u64,
    /// Ended by itself, which it never may.
    pub by_itself: u64,
}

/// One sentence that holds or does not.
#[derive(Debug, Serialize)]
pub(super) struct Property {
    pub name: &'static str,
    pub holds: bool,
    /// The figures behind it.
    pub words: String,
}

/// What the properties are judged by.
pub(super) struct Evidence<'a> {
    pub finding: &'a Finding,
    pub books: Option<&'a Books>,
    pub calls: u64,
    pub overshoots: u64,
    pub refused: u64,
    pub steps: u64,
    pub changes: u64,
    pub restarts: Restarts,
    pub watchdogs: usize,
    /// Those that barked, with what they saw.
    pub barked: &'a BTreeMap<String, String>,
    /// How the gateway ended when it was asked to.
    pub ended: &'a str,
    pub settled: &'a Settled,
    pub memory: Option<Course>,
    pub memory_max_bytes: u64,
}

pub(super) fn properties(evidence: &Evidence<'_>) -> Vec<Property> {
    let finding = evidence.finding;
    let property = |name, holds, words| Property { name, holds, words };
    let memory = evidence.memory.map_or(0, |course| course.highest_bytes);
    vec![
        property("conservation", conserves(evidence), conservation(evidence)),
        property("portal", finding.unexplained.is_empty(), portal(finding)),
        property(
            "no false success",
            finding.false_successes == 0,
            match finding.false_successes {
                0 => "nothing is called acknowledged that the portal does not have".to_owned(),
                some => {
                    format!("{} called acknowledged and not so", words::count(some, "dossier"))
                }
            },
        ),
        property(
            "no step twice",
            finding.doubled_steps == 0,
            format!(
                "{}; {} sent again after a lost answer, {} for no reason",
                words::count(evidence.steps, "step"),
                finding.repeated_steps,
                finding.doubled_steps
            ),
        ),
        property(
            "quota",
            evidence.overshoots == 0,
            format!(
                "{}, {} over the quota by the portal's count, {} refused by it",
                words::count(evidence.calls, "call"),
                evidence.overshoots,
                evidence.refused
            ),
        ),
        property(
            "watchdogs",
            evidence.watchdogs > 0 && evidence.barked.is_empty(),
            match evidence.barked.values().next() {
                None => format!("{} looked, none barked", evidence.watchdogs),
                Some(first) => format!("{} barked: {first}", evidence.barked.len()),
            },
        ),
        property(
            "memory",
            memory <= evidence.memory_max_bytes,
            format!(
                "at most {}, {} are allowed",
                words::bytes(memory),
                words::bytes(evidence.memory_max_bytes)
            ),
        ),
        property("process", process_is_sound(evidence), process(evidence)),
        // A soak in which nothing happened has shown nothing.
        property(
            "something happened",
            evidence.changes > 0 && finding.as_expected > 0,
            format!(
                "{} at the province, {} at the portal",
                words::count(evidence.changes, "change"),
                words::count(finding.as_expected, "dossier")
            ),
        ),
    ]
}

fn conserves(evidence: &Evidence<'_>) -> bool {
    let finding = evidence.finding;
    evidence.settled.after.is_some()
        && finding.lost.is_empty()
        && finding.invented == 0
        && finding.open == 0
        && evidence.books.is_some_and(|books| books.closed && books.at_source <= finding.at_source)
}

fn conservation(evidence: &Evidence<'_>) -> String {
    let finding = evidence.finding;
    let places: Vec<String> = finding
        .places
        .iter()
        .map(|(state, count)| {
            format!("{} {}", words::thousands(*count), state.as_str().replace('_', " "))
        })
        .collect();
    let mut text = format!(
        "{} of the province, each in one place: {}",
        words::count(finding.at_source, "dossier"),
        places.join(", ")
    );
    if finding.left_codes > 0 {
        let _infallible =
            write!(text, "; and {} closed", words::count(finding.left_codes, "old code"));
    }
    if let Some(first) = finding.lost.first() {
        let _infallible = write!(text, "; {} LOST, e.g. {first}", finding.lost.len());
    }
    if finding.invented > 0 {
        let _infallible = write!(text, "; {} that the province never had", finding.invented);
    }
    if finding.open > 0 {
        let _infallible = write!(text, "; {} still on their way", finding.open);
    }
    if evidence.settled.after.is_none() {
        let unmet = &evidence.settled.unmet;
        let why = if unmet.is_empty() { "ended early".to_owned() } else { unmet.join(", ") };
        let _infallible = write!(text, "; not settled in time: {why}");
    }
    text.push_str(match evidence.books {
        Some(books) if books.closed => "; the books close",
        Some(_) => "; the books DO NOT CLOSE",
        None => "; no books could be made",
    });
    text
}

fn portal(finding: &Finding) -> String {
    let mut text = format!("{} as expected", words::count(finding.as_expected, "dossier"));
    if !finding.explained.is_empty() {
        let reasons: Vec<String> =
            finding.explained.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let _infallible =
            write!(text, "; otherwise, and the ledger says why: {}", reasons.join(", "));
    }
    if !finding.unexplained.is_empty() {
        let _infallible = write!(text, "; {} UNEXPLAINED", finding.unexplained.len());
    }
    text
}

fn process_is_sound(evidence: &Evidence<'_>) -> bool {
    evidence.restarts.by_itself == 0 && evidence.ended == super::SOUND_END
}

fn process(evidence: &Evidence<'_>) -> String {
    format!(
        "{} times killed, {} times ended by itself; asked to end: {}",
        evidence.restarts.killed, evidence.restarts.by_itself, evidence.ended
    )
}

impl Verdict {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let mut line = |name: &str, words: &str| {
            let _infallible = writeln!(text, "{name:<19}{words}");
        };
        line(
            "time",
            &format!(
                "{} of traffic, settled {} later; faults: {}",
                span(Duration::from_secs(self.seconds)),
                span(Duration::from_secs(self.settled_after_seconds)),
                self.faults
            ),
        );
        line("at the province", &counted(&self.happened));
        line("struck by", &counted(&self.struck));
        let ms = |ms: Option<u64>| {
            ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1000.0))
        };
        line(
            "lag",
            &format!(
                "p50 {}, p95 {}, p99 {} from the change to the portal's word, {}",
                ms(self.lag.p50_ms),
                ms(self.lag.p95_ms),
                ms(self.lag.p99_ms),
                words::count(self.lag.dossiers, "dossier")
            ),
        );
        line("memory", &course(self.memory));
        line("ledger", &course(self.ledger));
        let problems: u64 = self.problems.values().sum();
        line("problems", &format!("{problems} open: {}", counted(&self.problems)));
        text.push('\n');
        for property in &self.properties {
            let verdict = if property.holds { "holds" } else { "BROKEN" };
            let _infallible =
                writeln!(text, "{:<19}{verdict:<7} {}", property.name, property.words);
        }
        for unexplained in self.finding.unexplained.iter().take(10) {
            let _infallible = writeln!(text, "  {unexplained}");
        }
        let verdict = if self.holds { "everything holds" } else { "NOT everything holds" };
        let _infallible = write!(text, "\n{verdict}");
        text
    }
}

fn counted<Name: AsRef<str>>(counts: &BTreeMap<Name, u64>) -> String {
    if counts.is_empty() {
        return "nothing".to_owned();
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{} {}", words::thousands(*count), name.as_ref()))
        .collect();
    parts.join(", ")
}

fn course(course: Option<Course>) -> String {
    let Some(course) = course else { return "not known here".to_owned() };
    let slope = course.slope_bytes_per_hour.map_or_else(
        || "too short for a slope".to_owned(),
        |slope| {
            let sign = if slope < 0 { '-' } else { '+' };
            format!(
                "{sign}{} an hour over {}",
                words::bytes(slope.unsigned_abs()),
                span(Duration::from_secs(course.slope_over_seconds))
            )
        },
    );
    format!(
        "{} at first, {} at most, {} at last; {slope}",
        words::bytes(course.first_bytes),
        words::bytes(course.highest_bytes),
        words::bytes(course.last_bytes)
    )
}
