//! `hoso problems`: what waits for a person, and putting it back on its way.

use std::fmt::Write as _;

use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::person::Person;
use super::situation::{Situation, situation};
use super::{Invocation, build, dossier, explain, words};
use crate::clock::{Clock, SystemClock};
use crate::domain::time::Timestamp;
use crate::ledger::record::{AuditRecord, RetryScope};
use crate::ledger::view::{Problem, ProblemFilter, ProblemKind};
use crate::pipeline::audit::refused;
use crate::pipeline::resync::retry_problems;

/// See what waits for a person, and put it back on its way
///
/// Example: hoso problems list
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    List(ListArguments),
    Show(ShowArguments),
    Retry(RetryArguments),
}

/// List what waits for a person, the oldest first
///
/// Dossiers that the mapping or the portal refused, steps that must not be repeated blindly, and
/// documents that could not be read.
///
/// Example: hoso problems list --code mapping.required
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ListArguments {
    /// At most this many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Only problems of this failure or rule code
    #[arg(long, value_name = "RULE")]
    code: Option<String>,
}

/// Show every detail of a dossier's problems, or of a code and the dossiers that have it
///
/// Example: hoso problems show H55.242-260126-0001
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ShowArguments {
    /// A dossier's code (MaHoSo), or a failure or rule code
    code: String,
    /// At most this many dossiers of a rule
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// Put problems back on their way: they are mapped and sent again
///
/// Acts on what was named and nothing else; without a dossier, --code or --kind it refuses unless
/// --all is given. Says how many were put back. Held steps are sent again: look at the portal first.
///
/// Example: hoso problems retry --code mapping.code_list --reason "code list completed"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct RetryArguments {
    /// Dossier codes (MaHoSo)
    codes: Vec<String>,
    /// Only problems of this failure or rule code
    #[arg(long, value_name = "RULE")]
    code: Option<String>,
    /// Only problems of this kind
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Every problem there is
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    person: Person,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Refused by the mapping
    Quarantined,
    /// Refused by the portal, or out of attempts
    Dead,
    /// Steps whose repetition could do harm
    Held,
    /// Any of these
    All,
}

#[derive(Debug, Serialize)]
struct Shown {
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<explain::CodeSaid>,
    dossiers: Vec<Situation>,
}

#[derive(Debug, Serialize)]
struct Retried {
    back_on_their_way: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate_owner: Option<String>,
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    match which {
        Which::List(arguments) => list(invocation, arguments).await,
        Which::Show(arguments) => show(invocation, arguments).await,
        Which::Retry(arguments) => retry(invocation, arguments).await,
    }
}

async fn list(invocation: &Invocation, arguments: ListArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    // One more than asked for tells whether the list is whole.
    let mut problems = ledger
        .problems(&ProblemFilter {
            ma_ho_so: None,
            code: arguments.code,
            limit: arguments.limit.saturating_add(1),
        })
        .await?;
    ledger.close().await;
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
            .talk("`hoso problems show CODE` says what to do, for a dossier or a rule");
    }
    Ok(())
}

fn listed(problems: &[Problem], now: Timestamp) -> String {
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

fn kind_words(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Quarantined => "quarantined",
        ProblemKind::Dead => "dead",
        ProblemKind::Held => "held",
        ProblemKind::RefusedDocument => "unreadable",
        ProblemKind::Catalogue => "catalogue",
    }
}

async fn show(invocation: &Invocation, arguments: ShowArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    let language = invocation.language();
    let meaning = explain::find(language, &arguments.code);
    let (ma_ho_so, code) = match meaning {
        Some(_) => (None, Some(arguments.code.clone())),
        None => (Some(arguments.code.clone()), None),
    };
    let problems =
        ledger.problems(&ProblemFilter { ma_ho_so, code, limit: arguments.limit }).await?;
    let mut dossiers = Vec::new();
    if meaning.is_none() {
        let sending = ledger.sending(now).await?;
        let views = ledger.dossier(&arguments.code).await?;
        if views.is_empty() && problems.is_empty() {
            return Err(dossier::unknown(&arguments.code));
        }
        dossiers.extend(views.iter().map(|view| situation(view, &sending, now, language)));
    }
    ledger.close().await;
    let shown = Shown { problems, code: meaning, dossiers };
    invocation.output.result(&shown, |shown| {
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
        text
    });
    Ok(())
}

async fn retry(invocation: &Invocation, arguments: RetryArguments) -> Result<(), Failure> {
    let named = !arguments.codes.is_empty() || arguments.code.is_some();
    let kind = arguments.kind.unwrap_or(Kind::All);
    if !named && kind == Kind::All && !arguments.all {
        if let Ok(context) = build::existing_context(&invocation.config()?).await {
            let (actor, reason) = (arguments.person.actor(), &arguments.person.reason);
            let audit = AuditRecord::new(&actor, "retry", "all", reason);
            refused(&context, &audit, "nothing was named, and not all was asked for").await;
            context.ledger.close().await;
        }
        return Err(Failure::new(Exit::Usage, "nothing was named to retry").hint(
            "name dossiers, --code RULE or --kind KIND; --all takes every problem there is",
        ));
    }
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let actor = arguments.person.actor();
    let scope = RetryScope {
        ma_ho_so: Vec::new(),
        code: arguments.code,
        quarantined: matches!(kind, Kind::Quarantined | Kind::All),
        dead: matches!(kind, Kind::Dead | Kind::All),
        held: matches!(kind, Kind::Held | Kind::All),
    };
    let mut back_on_their_way = 0;
    if arguments.codes.is_empty() {
        back_on_their_way =
            retry_problems(&context, &scope, &actor, &arguments.person.reason).await?;
    }
    // One by one, so that each dossier's own history says who asked, and why.
    for code in &arguments.codes {
        let scope = RetryScope { ma_ho_so: vec![code.clone()], ..scope.clone() };
        back_on_their_way +=
            retry_problems(&context, &scope, &actor, &arguments.person.reason).await?;
    }
    let gate_owner = context.ledger.sending(context.clock.now()).await?.gate_owner;
    context.ledger.close().await;
    if back_on_their_way == 0 {
        return Err(Failure::new(Exit::NotFound, "no problem matches, nothing was put back")
            .hint("`hoso problems list` shows what there is; unreadable documents are read again with the next poll"));
    }
    let retried = Retried { back_on_their_way, gate_owner };
    invocation.output.result(&retried, |retried| {
        format!(
            "{} put back; {}",
            words::count(retried.back_on_their_way, "problem"),
            match &retried.gate_owner {
                Some(owner) => format!("{owner} sends what passes"),
                None =>
                    "now run `hoso run map` and `hoso run push`, or start the service".to_owned(),
            }
        )
    });
    Ok(())
}
