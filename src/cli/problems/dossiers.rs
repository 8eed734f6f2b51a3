//! `hoso problems dossiers`: one line a dossier.

use super::super::failure::Failure;
use super::super::{Invocation, build, words};
use super::{kind_words, unknown_cause};
use crate::clock::{Clock, SystemClock};
use crate::domain::signature::is_name;
use crate::domain::time::Timestamp;
use crate::ledger::view::{Problem, ProblemFilter};

/// List single dossiers that wait for a person, the oldest first; of one cause, the most pressing first
///
/// Dossiers that the mapping or the portal refused, steps that must not be repeated blindly, and
/// documents that could not be read. Of a cause also those that are tried again by themselves.
///
/// Example: hoso problems dossiers --code mapping.required
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct DossiersArguments {
    /// Only those of this cause (S-…)
    cause: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Only problems of this failure or rule code
    #[arg(long, value_name = "RULE", conflicts_with = "cause")]
    code: Option<String>,
}

pub(super) async fn run(
    invocation: &Invocation,
    arguments: DossiersArguments,
) -> Result<(), Failure> {
    if let Some(name) = arguments.cause.as_deref().filter(|name| !is_name(name)) {
        return Err(unknown_cause(name));
    }
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    // One more than asked for tells whether the list is whole.
    let limit = arguments.limit.saturating_add(1);
    let mut problems = match &arguments.cause {
        Some(name) => ledger.members(name, limit).await?,
        None => {
            ledger.problems(&ProblemFilter { ma_ho_so: None, code: arguments.code, limit }).await?
        }
    };
    let known = match &arguments.cause {
        Some(name) if problems.is_empty() => ledger.cause(now, name).await?.is_some(),
        _ => true,
    };
    ledger.close().await;
    if let Some(name) = arguments.cause.filter(|_| !known) {
        return Err(unknown_cause(&name));
    }
    let is_cut = problems.len() > arguments.limit as usize;
    problems.truncate(arguments.limit as usize);
    invocation.output.result(&problems, |problems| {
        if problems.is_empty() {
            "nothing waits for a person".to_owned()
        } else {
            listed(problems, now)
        }
    });
    if is_cut {
        invocation.output.talk("there are more; raise --limit");
    }
    if !problems.is_empty() && !invocation.output.wants_json() {
        invocation
            .output
            .talk("`hoso problems show CODE` says what to do, for a dossier, a rule or a cause");
    }
    Ok(())
}

pub(super) fn listed(problems: &[Problem], now: Timestamp) -> String {
    words::table(
        &["DOSSIER", "SOURCE", "KIND", "CODE", "SINCE", "SUMMARY"],
        problems.iter().map(|problem| {
            vec![
                match problem.ma_ho_so.as_str() {
                    "" => "-".to_owned(),
                    code => code.to_owned(),
                },
                problem.source.clone(),
                kind_words(problem.kind).to_owned(),
                problem.code.clone(),
                words::when(problem.since, now),
                problem.summary.clone(),
            ]
        }),
    )
}
