//! `hoso problems retry|hold|release|note|mark-sent`: what people do about a cause or a dossier.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::super::failure::{Exit, Failure};
use super::super::person::{Person, said, user};
use super::super::portal::{length, point_in_time};
use super::super::{Invocation, build, words};
use super::unknown_cause;
use crate::domain::signature::is_name;
use crate::domain::time::Timestamp;
use crate::ledger::cause::{CauseHold, CauseOutcome, FoundAtPortal, NewNote};
use crate::ledger::record::{AuditRecord, RetryScope};
use crate::pipeline::audit::refused;
use crate::pipeline::problems;
use crate::pipeline::resync::retry_problems;

/// Put problems back on their way: they are mapped and sent again
///
/// Acts on what was named and nothing else; without a cause, a dossier, --code or --kind it refuses
/// unless --all is given. Says how many were put back: those that are open at this moment, and what
/// comes later stays for another time. Of a cause also what is tried again by itself goes at once,
/// and what could not be read is asked for again by its code. What a person holds is left alone. Held
/// steps are sent again: look at the portal first.
///
/// What only another mapping takes comes back when that is applied. A dossier that waits because of a
/// policy does not come back by itself when only that was changed; this brings it back.
///
/// Example: hoso problems retry --code mapping.code_list --reason "code list completed"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct RetryArguments {
    /// Causes (S-…) and dossier codes (MaHoSo)
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

/// Stop trying again what fails of one cause
///
/// What is tried again by itself waits, and what waits for a new catalogue or a retry of all of its
/// kind is left alone, until `hoso problems release` or the end. Everything else goes on. Holding
/// again changes reason and end.
///
/// Example: hoso problems hold S-7c0a12f3b9 --reason "the portal's operators look into it" --for 2h
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct HoldArguments {
    /// The cause (S-…)
    cause: String,
    /// Release by itself at this time (Vietnam time unless an offset is given)
    #[arg(long, value_name = "TIME", value_parser = point_in_time, conflicts_with = "duration")]
    until: Option<Timestamp>,
    /// Release by itself after this long: 30s, 45m, 2h, 3d
    #[arg(long = "for", value_name = "DURATION", value_parser = length)]
    duration: Option<Duration>,
    #[command(flatten)]
    person: Person,
}

/// Let go on what was held of one cause
///
/// Also ends the pause that the gateway began by itself because of it.
///
/// Example: hoso problems release S-7c0a12f3b9 --reason "the portal took a test dossier"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ReleaseArguments {
    /// The cause (S-…)
    cause: String,
    #[command(flatten)]
    person: Person,
}

/// Keep a remark about a cause or a dossier: who sees to it, and until when
///
/// Example: hoso problems note S-7c0a12f3b9 "asked the office of justice" --owner lan --deadline "2026-01-30 17:00:00"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct NoteArguments {
    /// A cause (S-…) or a dossier's code (MaHoSo)
    target: String,
    /// The remark; no personal data, it is kept for good
    #[arg(value_parser = said)]
    text: String,
    /// Who sees to it
    #[arg(long, value_name = "NAME", value_parser = said)]
    owner: Option<String>,
    /// Until when (Vietnam time unless an offset is given)
    #[arg(long, value_name = "TIME", value_parser = point_in_time)]
    deadline: Option<Timestamp>,
    /// Who writes; the name of the logged-in user unless given
    #[arg(long, value_name = "NAME", value_parser = said)]
    actor: Option<String>,
}

/// Say that a person found held steps at the portal
///
/// They are not sent any more and count as presumed, never as acknowledged by the portal: the word is
/// that of the person who gave it, and stands in the dossier with name, time and reason.
///
/// Example: hoso problems mark-sent H55.242-260126-0001 --reason "seen at the portal, 26 January 14:05"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct MarkSentArguments {
    /// A cause (S-…) or a dossier's code (MaHoSo)
    target: String,
    /// Only this step of the dossier, as `hoso dossier show` names it: 20260126083000/5
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    #[command(flatten)]
    person: Person,
}

#[derive(Debug, Serialize)]
struct Retried {
    back_on_their_way: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate_owner: Option<String>,
}

pub(super) async fn retry(
    invocation: &Invocation,
    arguments: RetryArguments,
) -> Result<(), Failure> {
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
            "name causes, dossiers, --code RULE or --kind KIND; --all takes every problem there is",
        ));
    }
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let now = context.clock.now();
    let actor = arguments.person.actor();
    let scope = RetryScope {
        ma_ho_so: Vec::new(),
        code: arguments.code,
        cause: None,
        quarantined: matches!(kind, Kind::Quarantined | Kind::All),
        dead: matches!(kind, Kind::Dead | Kind::All),
        held: matches!(kind, Kind::Held | Kind::All),
    };
    let mut scopes = Vec::new();
    if arguments.codes.is_empty() {
        scopes.push(scope.clone());
    }
    // One by one, so that each one's own history says who asked, and why.
    for code in &arguments.codes {
        scopes.push(if is_name(code) {
            RetryScope { cause: Some(code.clone()), ..scope.clone() }
        } else {
            RetryScope { ma_ho_so: vec![code.clone()], ..scope.clone() }
        });
    }
    let mut back_on_their_way = 0;
    let mut held = None;
    for scope in &scopes {
        if let Some(name) = &scope.cause {
            let Some(cause) = context.ledger.cause(now, name).await? else {
                // Tried all the same, so that the audit has it.
                retry_problems(&context, scope, &actor, &arguments.person.reason).await?;
                context.ledger.close().await;
                return Err(unknown_cause(name));
            };
            held = held.or(cause.hold.map(|hold| (name.clone(), hold)));
        }
        back_on_their_way +=
            retry_problems(&context, scope, &actor, &arguments.person.reason).await?;
    }
    let gate_owner = context.ledger.sending(context.clock.now()).await?.gate_owner;
    context.ledger.close().await;
    if let Some((name, hold)) = held {
        return Err(is_held(&name, &hold));
    }
    if back_on_their_way == 0 {
        return Err(Failure::new(Exit::NotFound, "no problem matches, nothing was put back")
            .hint("`hoso problems` shows what there is; unreadable documents are read again with the next poll"));
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

fn is_held(name: &str, hold: &CauseHold) -> Failure {
    Failure::new(
        Exit::Failed,
        format!(
            "{name} is held by {} because: {}; nothing of it was put back",
            hold.by, hold.reason
        ),
    )
    .hint(format!("`hoso problems release {name} --reason TEXT` lets it go on"))
}

/// Tells what became of an act.
fn tell(
    invocation: &Invocation,
    target: &str,
    outcome: &CauseOutcome,
    done: impl FnOnce(u64) -> String,
) -> Result<(), Failure> {
    match outcome {
        CauseOutcome::Unknown if is_name(target) => Err(unknown_cause(target)),
        CauseOutcome::Unknown => {
            Err(Failure::new(Exit::NotFound, format!("nothing of `{target}` is here to act on"))
                .hint("`hoso problems dossiers` lists what waits for a person"))
        }
        CauseOutcome::Held(hold) => Err(is_held(target, hold)),
        CauseOutcome::AlreadySo => {
            invocation.output.result(outcome, |_| "nothing was held of it".to_owned());
            Ok(())
        }
        CauseOutcome::Done { concerned } => {
            let concerned = *concerned;
            invocation.output.result(outcome, |_| done(concerned));
            Ok(())
        }
    }
}

pub(super) async fn hold(invocation: &Invocation, arguments: HoldArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let now = context.clock.now();
    let until = arguments.until.or(arguments.duration.map(|duration| now + duration));
    if until.is_some_and(|until| until <= now) {
        context.ledger.close().await;
        return Err(Failure::new(Exit::Usage, "--until lies in the past")
            .hint("without an offset it is Vietnam time; --for 2h counts from now"));
    }
    let (actor, reason) = (arguments.person.actor(), &arguments.person.reason);
    let outcome = problems::hold(&context, &arguments.cause, until, &actor, reason).await?;
    context.ledger.close().await;
    tell(invocation, &arguments.cause, &outcome, |open| {
        let until = until.map_or_else(
            || format!("until `hoso problems release {}`", arguments.cause),
            |at| format!("until {at}"),
        );
        format!(
            "{} is held {until}: {} open now, and what comes later, {} not tried again",
            arguments.cause,
            words::thousands(open),
            if open == 1 { "is" } else { "are" }
        )
    })
}

pub(super) async fn release(
    invocation: &Invocation,
    arguments: ReleaseArguments,
) -> Result<(), Failure> {
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let (actor, reason) = (arguments.person.actor(), &arguments.person.reason);
    let outcome = problems::release(&context, &arguments.cause, &actor, reason).await?;
    context.ledger.close().await;
    tell(invocation, &arguments.cause, &outcome, |_| {
        format!(
            "{0} is released; what was refused for good waits for `hoso problems retry {0}`",
            arguments.cause
        )
    })
}

pub(super) async fn note(invocation: &Invocation, arguments: NoteArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let actor = arguments.actor.unwrap_or_else(user);
    let note = NewNote { owner: arguments.owner, deadline: arguments.deadline };
    let outcome =
        problems::note(&context, &arguments.target, &note, &actor, &arguments.text).await?;
    context.ledger.close().await;
    tell(invocation, &arguments.target, &outcome, |_| format!("noted at {}", arguments.target))
}

pub(super) async fn mark_sent(
    invocation: &Invocation,
    arguments: MarkSentArguments,
) -> Result<(), Failure> {
    if is_name(&arguments.target) && arguments.step.is_some() {
        return Err(Failure::new(Exit::Usage, "--step belongs to a dossier, not to a cause")
            .hint("name the dossier's code"));
    }
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let found = if is_name(&arguments.target) {
        FoundAtPortal::Cause(arguments.target.clone())
    } else {
        FoundAtPortal::Dossier { ma_ho_so: arguments.target.clone(), step: arguments.step }
    };
    let (actor, reason) = (arguments.person.actor(), &arguments.person.reason);
    let outcome = problems::mark_sent(&context, &found, &actor, reason).await?;
    context.ledger.close().await;
    tell(invocation, &arguments.target, &outcome, |steps| {
        format!(
            "{} marked as sent by the word of {actor}; the portal has not acknowledged {}",
            words::count(steps, "held step"),
            if steps == 1 { "it" } else { "them" }
        )
    })
}
