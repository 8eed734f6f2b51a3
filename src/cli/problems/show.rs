//! `hoso problems show`: a cause, a dossier, or a code, with advice and what was done so far.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::failure::Failure;
use super::super::situation::{Situation, situation};
use super::super::{Invocation, build, dossier, explain, words};
use super::dossiers::listed;
use super::{goes_on_by_itself, kind_words, pause_words, unknown_cause};
use crate::clock::{Clock, SystemClock};
use crate::domain::signature::{is_name, plain_code};
use crate::domain::time::Timestamp;
use crate::ledger::cause::{Cause, Note};
use crate::ledger::view::{AuditView, Problem, ProblemFilter, ProblemKind};
use crate::messages::Language;

/// Dossiers of a cause that are shown with it.
pub(super) const EXAMPLES: u32 = 5;

/// Show a cause with examples and advice, every detail of a dossier's problems, or a code and the dossiers that have it
///
/// Example: hoso problems show H55.242-260126-0001
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ShowArguments {
    /// A cause (S-…), a dossier's code (MaHoSo), or a failure or rule code
    code: String,
    /// At most this many dossiers of a rule, or examples of a cause (5)
    #[arg(long)]
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Shown {
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<explain::CodeSaid>,
    /// Names of the causes that the dossier fails of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    dossiers: Vec<Situation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Note>,
}

#[derive(Debug, Serialize)]
struct ShownCause {
    #[serde(flatten)]
    cause: Cause,
    advice: Option<explain::CodeSaid>,
    examples: Vec<Problem>,
    notes_kept: Vec<Note>,
    done: Vec<AuditView>,
}

pub(super) async fn run(invocation: &Invocation, arguments: ShowArguments) -> Result<(), Failure> {
    if is_name(&arguments.code) {
        return cause(invocation, &arguments.code, arguments.limit.unwrap_or(EXAMPLES)).await;
    }
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    let language = invocation.language();
    let meaning = explain::find(language, &arguments.code);
    let (ma_ho_so, code) = match meaning {
        Some(_) => (None, Some(arguments.code.clone())),
        None => (Some(arguments.code.clone()), None),
    };
    let limit = arguments.limit.unwrap_or(50);
    let problems = ledger.problems(&ProblemFilter { ma_ho_so, code, limit }).await?;
    let mut dossiers = Vec::new();
    let (mut causes, mut notes) = (Vec::new(), Vec::new());
    if meaning.is_none() {
        let sending = ledger.sending(now).await?;
        let views = ledger.dossier(&arguments.code).await?;
        if views.is_empty() && problems.is_empty() {
            ledger.close().await;
            return Err(dossier::unknown(&arguments.code));
        }
        dossiers.extend(views.iter().map(|view| situation(view, &sending, now, language)));
        causes = ledger.causes_of(&arguments.code).await?;
        notes = ledger.done_so_far(&arguments.code).await?.0;
    }
    ledger.close().await;
    let shown = Shown { problems, code: meaning, causes, dossiers, notes };
    invocation.output.result(&shown, |shown| text(shown, now, language));
    Ok(())
}

fn text(shown: &Shown, now: Timestamp, language: Language) -> String {
    let mut text = String::new();
    if let Some(meaning) = &shown.code {
        // Writing to a String cannot fail, here and below.
        let _infallible = write!(text, "{}\n\n", meaning.text(language));
    }
    if shown.problems.is_empty() {
        text.push_str("no problem\n");
    } else {
        text.push_str(&listed(&shown.problems, now));
    }
    for name in &shown.causes {
        let _infallible = writeln!(text, "\ncause        {name}: hoso problems show {name}");
    }
    for situation in &shown.dossiers {
        let _infallible = write!(text, "\n{situation}");
    }
    for problem in &shown.problems {
        if problem.kind == ProblemKind::RefusedDocument
            && shown.code.is_none()
            && let Some(advice) = explain::advice(language, &problem.code)
        {
            let _infallible = writeln!(text, "\n[{}] {advice}", problem.code);
        }
    }
    text.push_str(&note_lines(&shown.notes, now));
    text
}

/// One cause, for `hoso explain` as well.
pub(super) async fn cause(
    invocation: &Invocation,
    name: &str,
    examples: u32,
) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    let Some(cause) = ledger.cause(now, name).await? else {
        ledger.close().await;
        return Err(unknown_cause(name));
    };
    let examples = if examples == 0 { Vec::new() } else { ledger.members(name, examples).await? };
    let (notes_kept, done) = ledger.done_so_far(name).await?;
    ledger.close().await;
    let advice = explain::find(invocation.language(), plain_code(&cause.signature.code));
    let shown = ShownCause { cause, advice, examples, notes_kept, done };
    invocation.output.result(&shown, |shown| cause_text(shown, now));
    Ok(())
}

fn cause_text(shown: &ShownCause, now: Timestamp) -> String {
    let ShownCause { cause, advice, examples, notes_kept, done } = shown;
    let mut text = String::new();
    let mut line = |name: &str, said: &str| {
        let _infallible = writeln!(text, "{name:<13}{said}");
    };
    line("cause", &cause.name);
    line("stage", cause.signature.stage.as_str());
    line("code", &cause.signature.code);
    if !cause.signature.field.is_empty() {
        line("field", &cause.signature.field);
    }
    if !cause.signature.message.is_empty() {
        line("says", &cause.signature.message);
    }
    let kinds: Vec<String> = cause
        .kinds
        .iter()
        .map(|(kind, count)| format!("{} {}", words::thousands(*count), kind_words(*kind)))
        .collect();
    line("open", &if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") });
    line(
        "touches",
        &format!(
            "{}, {} of procedures, {} of agencies",
            words::count(cause.dossiers, "dossier"),
            words::thousands(cause.procedures),
            words::thousands(cause.agencies)
        ),
    );
    if cause.finished_unsent > 0 {
        line(
            "harm",
            &format!(
                "{} of it finished at the source and not so at the portal",
                words::thousands(cause.finished_unsent)
            ),
        );
    }
    if let Some(at) = cause.nearest_due {
        line("nearest due", &words::when(at, now));
    }
    line("first seen", &words::when(cause.first_seen, now));
    line("last seen", &words::when(cause.last_seen, now));
    let trend = &cause.trend;
    line(
        "trend",
        &format!(
            "{} in the last hour, {} in the hour before; {} in a day, {} in the day before; {} in all",
            words::thousands(trend.last_hour),
            words::thousands(trend.hour_before),
            words::thousands(trend.last_day),
            words::thousands(trend.day_before),
            words::thousands(cause.total)
        ),
    );
    if let Some(hold) = &cause.hold {
        let until = hold.until.map_or_else(
            || "until somebody releases it".to_owned(),
            |at| format!("until {}", words::when(at, now)),
        );
        line(
            "held",
            &format!(
                "by {} since {}, {until}: {}",
                hold.by,
                words::when(hold.since, now),
                hold.reason
            ),
        );
    }
    if let Some(said) = pause_words(cause, now) {
        line("scope", &said);
    } else if let Some(burst) = &cause.burst {
        let scope = burst.scope.as_ref().map_or_else(
            || "nothing was held, because they are in many places or were never sent".to_owned(),
            |scope| format!("sending of {scope} was held"),
        );
        line("surge", &format!("{}; {scope}", words::when(burst.at, now)));
    }
    if let Some(advice) = advice {
        line("means", &advice.meaning);
        line("what to do", &advice.what_to_do);
    }
    line("then", &next(cause));
    if !examples.is_empty() {
        let _infallible = write!(text, "\n{}", listed(examples, now));
    }
    text.push_str(&note_lines(notes_kept, now));
    if !done.is_empty() {
        text.push_str("\ndone so far\n");
        for act in done {
            let _infallible = writeln!(
                text,
                "  {}  {} by {}: {} ({})",
                words::when(act.at, now),
                act.action,
                act.actor,
                act.reason,
                act.result
            );
        }
    }
    text
}

/// The commands that help.
fn next(cause: &Cause) -> String {
    let name = &cause.name;
    if cause.hold.is_some() {
        return format!("hoso problems release {name} --reason TEXT");
    }
    match cause.main_kind() {
        None => "nothing; it is kept to compare with".to_owned(),
        Some(ProblemKind::Held) => format!(
            "look at the portal; what is there: hoso problems mark-sent {name} --reason TEXT; what is not: hoso problems retry {name} --reason TEXT"
        ),
        Some(ProblemKind::Quarantined) => format!(
            "a correction at the source comes by itself, and so does another mapping once it is applied (hoso mapping apply); otherwise: hoso problems retry {name} --reason TEXT"
        ),
        Some(kind) if goes_on_by_itself(kind) => format!(
            "it is tried again by itself; at once: hoso problems retry {name} --reason TEXT; not any more: hoso problems hold {name} --reason TEXT"
        ),
        Some(_) => format!("mend the cause, then: hoso problems retry {name} --reason TEXT"),
    }
}

fn note_lines(notes: &[Note], now: Timestamp) -> String {
    let mut text = String::new();
    if notes.is_empty() {
        return text;
    }
    text.push_str("\nnotes\n");
    for note in notes {
        let owner =
            note.owner.as_ref().map_or_else(String::new, |owner| format!(", {owner} sees to it"));
        let deadline =
            note.deadline.map_or_else(String::new, |at| format!(" until {}", words::when(at, now)));
        let _infallible = writeln!(
            text,
            "  {}  {}{owner}{deadline}: {}",
            words::when(note.at, now),
            note.author,
            note.note
        );
    }
    text
}
