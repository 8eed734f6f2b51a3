//! `hoso problems`: causes, the most harmful first.

use super::super::failure::Failure;
use super::super::{Invocation, build, words};
use crate::clock::{Clock, SystemClock};
use crate::domain::time::Timestamp;
use crate::ledger::cause::{Cause, Trend};
use crate::ledger::view::ProblemKind;

/// List the causes of which anything is open, the most harmful first
///
/// First those that keep a finished dossier from the portal, then by the nearest appointed time, then
/// by how many there are. A cause is a stage, a code, words without values, and a field; its name
/// (S-…) stays the same for good.
///
/// Example: hoso problems list
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ListArguments {
    /// At most this many
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

pub(super) async fn run(invocation: &Invocation, arguments: ListArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    let mut causes = ledger.causes(now).await?;
    ledger.close().await;
    let all = causes.len();
    causes.truncate(arguments.limit as usize);
    invocation.output.result(&causes, |causes| {
        if causes.is_empty() {
            "nothing waits for a person, and nothing fails".to_owned()
        } else {
            listed(causes, now)
        }
    });
    if causes.len() < all {
        invocation.output.talk("there are more; raise --limit");
    }
    if !causes.is_empty() && !invocation.output.wants_json() {
        invocation.output.talk(
            "`hoso problems show S-…` says what to do; `hoso problems dossiers` lists single dossiers",
        );
    }
    Ok(())
}

fn listed(causes: &[Cause], now: Timestamp) -> String {
    words::table(
        &[
            "CAUSE",
            "KIND",
            "CODE",
            "FIELD",
            "OPEN",
            "DOSSIERS",
            "PROCEDURES",
            "AGENCIES",
            "NEAREST DUE",
            "FIRST SEEN",
            "LAST SEEN",
            "TREND",
            "",
        ],
        causes.iter().map(|cause| {
            let count = |number| words::thousands(number);
            vec![
                cause.name.clone(),
                cause.main_kind().map_or("-", kind_words).to_owned(),
                cause.signature.code.clone(),
                if cause.signature.field.is_empty() {
                    "-".into()
                } else {
                    cause.signature.field.clone()
                },
                count(cause.open),
                count(cause.dossiers),
                count(cause.procedures),
                count(cause.agencies),
                cause.nearest_due.map_or_else(|| "-".to_owned(), |at| words::relative(at, now)),
                words::relative(cause.first_seen, now),
                words::relative(cause.last_seen, now),
                trend_words(cause.trend),
                remarks(cause),
            ]
        }),
    )
}

/// `+12/h (3)`: new ones in the last hour, and in the one before.
fn trend_words(trend: Trend) -> String {
    let Trend { last_hour, hour_before, last_day, day_before } = trend;
    if last_hour + hour_before > 0 {
        format!(
            "+{} this hour, {} before",
            words::thousands(last_hour),
            words::thousands(hour_before)
        )
    } else {
        format!("+{} in a day, {} before", words::thousands(last_day), words::thousands(day_before))
    }
}

fn remarks(cause: &Cause) -> String {
    let mut remarks = Vec::new();
    if cause.finished_unsent > 0 {
        remarks.push(format!(
            "{} finished, not at the portal",
            words::thousands(cause.finished_unsent)
        ));
    }
    if let Some(hold) = &cause.hold {
        remarks.push(format!("held by {}", hold.by));
    }
    if let Some(pause) = &cause.pause {
        remarks.push(format!("sending of {} held by {}", pause.scope, pause.actor));
    }
    if cause.notes > 0 {
        remarks.push(words::count(cause.notes, "note"));
    }
    remarks.join("; ")
}

pub(in super::super) fn kind_words(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Quarantined => "quarantined",
        ProblemKind::Dead => "dead",
        ProblemKind::Held => "held",
        ProblemKind::Failing => "failing",
        ProblemKind::RefusedDocument => "unreadable",
        ProblemKind::Catalogue => "catalogue",
    }
}

/// The cause that harms most, for one line.
pub(in super::super) fn top_words(cause: &Cause) -> String {
    format!(
        "most harm: {} {} ({}{}): hoso problems show {}",
        words::thousands(cause.open),
        cause.main_kind().map_or("open", kind_words),
        cause.signature.code,
        if cause.signature.field.is_empty() {
            String::new()
        } else {
            format!(", {}", cause.signature.field)
        },
        cause.name
    )
}

/// Sending that the gateway holds by itself, for one line.
pub(in super::super) fn pause_words(cause: &Cause, now: Timestamp) -> Option<String> {
    let pause = cause.pause.as_ref()?;
    let until = pause.until.map_or_else(String::new, |at| {
        format!("; one dossier goes first {}", words::relative(at, now))
    });
    Some(format!(
        "the gateway holds sending of {} ({}){until}: hoso problems release {}",
        pause.scope, cause.name, cause.name
    ))
}
