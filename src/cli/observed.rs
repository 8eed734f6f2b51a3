//! `hoso portal observed`: what the portal really does, by our own calls.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::failure::Failure;
use super::{Invocation, build, words};
use crate::clock::{Clock, SystemClock};
use crate::domain::time::{Timestamp, span};
use crate::ledger::observed::{Observed, ObservedAnswer, ObservedChange, ObservedField};
use crate::ledger::record::GateNote;
use crate::pipeline::observe::sentence;
use crate::portal::gate::{GateStatus, PaceStatus};

/// A change is news for so long.
const NEWS: Duration = Duration::from_hours(7 * 24);
/// Changes that are shown without --json.
const CHANGES_SHOWN: usize = 20;
/// An hour is slow when its mean is so many times that of the whole day.
const SLOW_TIMES: u64 = 2;
/// Fewer calls say nothing of an hour.
const HOUR_CALLS_MIN: u64 = 20;

/// Show what the portal really does: its answers, sessions, limits, slow hours, and the fields it shows
///
/// Learnt from our own calls by every pass of upkeep, dated, and kept when the calls themselves are
/// deleted. Messages are cleaned, with # for each number. What is new, or no longer so, is in the log
/// (`portal.changed`) and in `hoso status` for a week. `unknown` and `refused` never count as success.
///
/// Example: hoso portal observed --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

#[derive(Debug, Serialize)]
struct Told {
    at: Timestamp,
    #[serde(flatten)]
    observed: Observed,
    /// The pace at which the portal refused, and what follows from it, as the gate's owner wrote it last.
    pace: Option<PaceStatus>,
}

pub(super) async fn run(invocation: &Invocation, _: Arguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let observed = ledger.observed().await;
    let noted = ledger.noted_gate(GateNote::Status).await;
    ledger.close().await;
    let status: Option<GateStatus> = noted?.and_then(|(_, body)| serde_json::from_str(&body).ok());
    let told = Told {
        at: SystemClock::new().now(),
        observed: observed?,
        pace: status.map(|status| status.pace),
    };
    invocation.output.result(&told, text);
    Ok(())
}

/// The line of `hoso status`; `None` when nothing has changed lately.
pub(super) fn news(changes: &[ObservedChange]) -> Option<String> {
    let newest = changes.first()?;
    let more = match changes.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!(
        "the portal has changed: {}{more}: hoso portal observed",
        shortened(&sentence(newest), 120)
    ))
}

/// From when on a change is news.
pub(super) fn news_since(now: Timestamp) -> Timestamp {
    now - NEWS
}

fn text(told: &Told) -> String {
    let (observed, now) = (&told.observed, told.at);
    let Some(until) = observed.until else {
        return "nothing is observed yet; `hoso serve` or `hoso run upkeep` learns from the calls"
            .to_owned();
    };
    let mut text = format!(
        "learnt from {}, the last of {}\n",
        words::count(observed.calls, "call"),
        words::when(until, now)
    );
    changes(&mut text, &observed.changes, now);
    answers(&mut text, &observed.answers, now);
    session(&mut text, observed);
    limits(&mut text, told);
    slow_hours(&mut text, observed);
    fields(&mut text, &observed.fields, now);
    text
}

fn shortened(text: &str, letters_max: usize) -> String {
    match text.char_indices().nth(letters_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn changes(text: &mut String, changes: &[ObservedChange], now: Timestamp) {
    // Writing to a String cannot fail, here and below.
    if changes.is_empty() {
        text.push_str("\nnothing has changed since it is known\n");
        return;
    }
    text.push_str("\nchanges\n");
    for change in changes.iter().take(CHANGES_SHOWN) {
        let _infallible = writeln!(text, "  {}  {}", words::when(change.at, now), sentence(change));
    }
}

fn answers(text: &mut String, answers: &[ObservedAnswer], now: Timestamp) {
    let rows = answers.iter().map(|answer| {
        let said = if answer.message.is_empty() { "(no whole answer)" } else { &answer.message };
        vec![
            answer.service.clone(),
            answer.outcome.replace('_', " "),
            answer.code.clone(),
            words::thousands(answer.calls),
            words::when(answer.first_at, now),
            words::when(answer.last_at, now),
            shortened(said, 60),
        ]
    });
    let header = ["answers of", "taken as", "code", "calls", "first", "last", "words"];
    let _infallible = write!(text, "\n{}", words::table(&header, rows));
}

fn session(text: &mut String, observed: &Observed) {
    let session = observed.session;
    if session.logins == 0 {
        return;
    }
    let ms = |ms: u64| span(Duration::from_millis(ms));
    let good = session.longest_good_ms.map_or_else(
        || "none was used yet".to_owned(),
        |longest| format!("one was still good after {}", ms(longest)),
    );
    let refused = match session.shortest_refused_ms {
        Some(youngest) => format!(
            "{} refused, the youngest after {}",
            words::thousands(session.refused),
            ms(youngest)
        ),
        None => format!("{} refused", words::thousands(session.refused)),
    };
    let logins = words::count(session.logins, "login");
    let _infallible = writeln!(text, "\nsessions      {logins}; {good}; {refused}");
}

fn limits(text: &mut String, told: &Told) {
    let throttled = told.observed.answers.iter().filter(|answer| answer.outcome == "throttled");
    let refusals: u64 = throttled.map(|answer| answer.calls).sum();
    let pace = told.pace.as_ref().and_then(|pace| pace.refused_at);
    let at = pace.map_or_else(String::new, |at| format!("; the last at {at:.2} calls/s"));
    let _infallible =
        writeln!(text, "limits        {} for the quota{at}", words::count(refusals, "refusal"));
}

fn slow_hours(text: &mut String, observed: &Observed) {
    let mut whole: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for hour in &observed.hours {
        let sum = whole.entry(&hour.service).or_default();
        *sum = (sum.0 + hour.calls, sum.1 + hour.calls * hour.mean_ms);
    }
    let slow: Vec<String> = observed
        .hours
        .iter()
        .filter(|hour| {
            let (calls, total) = whole[hour.service.as_str()];
            hour.calls >= HOUR_CALLS_MIN && hour.mean_ms * calls > SLOW_TIMES * total
        })
        .map(|hour| format!("{} at {} h ({} ms on average)", hour.service, hour.hour, hour.mean_ms))
        .collect();
    let said = if slow.is_empty() { "none".to_owned() } else { slow.join(", ") };
    let _infallible = writeln!(text, "slow hours    {said}");
}

fn fields(text: &mut String, fields: &[ObservedField], now: Timestamp) {
    if fields.is_empty() {
        text.push_str("fields        no look-up has found a dossier yet\n");
        return;
    }
    let rows = fields.iter().map(|field| {
        vec![
            field.service.clone(),
            field.name.clone(),
            format!("{} of {}", words::thousands(field.shown), words::thousands(field.asked)),
            words::when(field.last_at, now),
            if field.is_gone { "no longer shown".to_owned() } else { String::new() },
        ]
    });
    let header = ["look-up", "field", "shown", "last", ""];
    let _infallible = write!(text, "\n{}", words::table(&header, rows));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::observed::{ChangeKind, ObservedHour, ObservedSession};

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn change(about: &str) -> ObservedChange {
        ObservedChange {
            at: at(5_000),
            kind: ChangeKind::NewAnswer,
            service: "DongBoHoSoMC".to_owned(),
            about: about.to_owned(),
        }
    }

    #[test]
    fn news_are_one_line_with_the_newest_first() {
        assert_eq!(news(&[]), None);
        assert_eq!(
            news(&[change("7 Bảo trì"), change("8 Khác")]).unwrap(),
            "the portal has changed: DongBoHoSoMC gives an answer that is new: 7 Bảo trì (and 1 more): \
             hoso portal observed"
        );
    }

    #[test]
    fn slow_hours_limits_sessions_and_lost_fields_are_told() {
        let hour = |hour, mean_ms| ObservedHour {
            service: "DongBoHoSoMC".to_owned(),
            hour,
            calls: 100,
            mean_ms,
            slowest_ms: mean_ms,
        };
        let answer = |outcome: &str, calls| ObservedAnswer {
            service: "DongBoHoSoMC".to_owned(),
            outcome: outcome.to_owned(),
            code: "0".to_owned(),
            message: "thành công".to_owned(),
            first_at: at(0),
            last_at: at(1_000),
            calls,
        };
        let told = Told {
            at: at(10_000),
            observed: Observed {
                calls: 300,
                until: Some(at(1_000)),
                answers: vec![answer("useful", 298), answer("throttled", 2)],
                hours: vec![hour(8, 100), hour(9, 100), hour(10, 100), hour(17, 900)],
                session: ObservedSession {
                    logins: 3,
                    longest_good_ms: Some(60_000),
                    refused: 1,
                    shortest_refused_ms: Some(120_000),
                },
                fields: vec![ObservedField {
                    service: "TraCuuHoSo".to_owned(),
                    name: "TrangThaiHoSo".to_owned(),
                    first_at: at(0),
                    last_at: at(1_000),
                    shown: 25,
                    asked: 45,
                    is_gone: true,
                }],
                changes: vec![change("7 Bảo trì")],
            },
            pace: None,
        };
        let text = text(&told);
        for said in [
            "learnt from 300 calls",
            "DongBoHoSoMC gives an answer that is new: 7 Bảo trì",
            "3 logins; one was still good after 60 s; 1 refused, the youngest after 2 min",
            "2 refusals for the quota",
            "slow hours    DongBoHoSoMC at 17 h (900 ms on average)\n",
            "25 of 45",
            "no longer shown",
        ] {
            assert!(text.contains(said), "{said} is not in:\n{text}");
        }
    }
}
