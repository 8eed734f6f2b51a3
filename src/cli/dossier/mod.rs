//! `hoso dossier`: one dossier, as it stands, in plain words, and as it came to be.

mod as_of;
mod diff;
mod history;
mod raw;
mod show;

use clap::Subcommand;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::person::{Person, actor, said};
use super::run::{by_hand, with_gate};
use super::situation::{Situation, situation};
use super::{Invocation, build};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::ledger::past::{Past, past};
use crate::ledger::record::{AuditRecord, HoldOutcome};
use crate::ledger::view::DossierView;
use crate::pipeline::ask::ask_once;

/// Look at one dossier: as it stands or stood, in plain words, its history, its documents
///
/// A code that several sources use is shown for each of them. Nothing personal is shown: the
/// ledger's views hold codes, times, states and answers only, and documents are masked.
///
/// Example: hoso dossier explain H55.242-260126-0001
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    Show(ShowArguments),
    Explain(ExplainArguments),
    History(HistoryArguments),
    Diff(DiffArguments),
    Raw(RawArguments),
    Hold(HoldArguments),
    Release(HoldArguments),
}

/// Show a dossier's state: revision, entry, steps, receipts, discrepancies; now, or as it was
///
/// With --as-of: what its source had said by then, what was believed here, and what the portal had
/// said that it holds. It is read from the rows that are kept, and says what they do not tell.
///
/// Example: hoso dossier show H55.242-260126-0001 --as-of "2026-01-27 14:05"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ShowArguments {
    /// The dossier's code (MaHoSo)
    code: String,
    /// As it was at this time: 2026-01-27 14:05 in Vietnam, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<Timestamp>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::from_iso(text).ok_or_else(|| {
        "write a time as 2026-01-27 14:05 (Vietnam) or 2026-01-27T14:05:00+07:00".to_owned()
    })
}

/// Say in plain words where a dossier is, what it waits for, until when, and who must act
///
/// Example: hoso dossier explain H55.242-260126-0001
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ExplainArguments {
    /// The dossier's code (MaHoSo)
    code: String,
}

/// List what happened to a dossier, oldest first: changes, attempts with their calls, people
///
/// Example: hoso dossier history H55.242-260126-0001 --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct HistoryArguments {
    /// The dossier's code (MaHoSo)
    code: String,
}

/// Compare what the portal was told with the source's newest, and with what the portal shows
///
/// The source's newest revision is mapped anew; the portal's side is the packet that it acknowledged
/// last, and with --ask what it shows now. Only fields that differ are listed, personal values masked.
///
/// Example: hoso dossier diff H55.242-260126-0001 --ask
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct DiffArguments {
    /// The dossier's code (MaHoSo)
    code: String,
    /// Look it up at the portal: one call, by whoever owns the gate
    #[arg(long)]
    ask: bool,
}

/// Show what is kept of a dossier's documents: source, mapped packet, steps, wire request, answers
///
/// Personal values are masked; --unmask with --reason shows them, and writes who saw what, and why,
/// into the audit before it does. The wire request is formed from what is kept, as the portal's client
/// forms it, and compared with the hash of the call that left: it says whether these are the bytes.
///
/// Example: hoso dossier raw H55.242-260126-0001 --revision 12
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct RawArguments {
    /// The dossier's code (MaHoSo)
    code: String,
    /// Only the dossier of this source, if several sources use the code
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Another revision than the newest, by its number in the ledger (`hoso dossier history`)
    #[arg(long, value_name = "NUMBER")]
    revision: Option<i64>,
    /// Show personal values; needs --reason, and is audited, also when it is refused
    #[arg(long)]
    unmask: bool,
    /// Why personal values must be seen; kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = said)]
    reason: Option<String>,
    /// Who asks; stands beside the system's user in the audit, not instead of it
    #[arg(long, value_name = "NAME", value_parser = said)]
    actor: Option<String>,
}

/// Place a legal hold on a dossier, or end it with `release`: nothing of a held one is ever deleted
///
/// Retention takes neither its documents nor its history until it is released. Both are kept in
/// the audit.
///
/// Example: hoso dossier hold H55.242-260126-0001 --reason "complaint 12/2026"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct HoldArguments {
    /// The dossier's code (MaHoSo)
    code: String,
    /// Only the dossier of this source, if several sources use the code
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    person: Person,
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    let language = invocation.language();
    let done = match which {
        Which::Show(arguments) => {
            let views = views(ledger.as_ref(), &arguments.code).await?;
            match arguments.as_of {
                None => {
                    let text = |view: &DossierView| show::show(view, now, language);
                    invocation.output.result(&views, |views| each(views, text));
                }
                Some(at) => show_as_of(invocation, &views, at, now)?,
            }
            Ok(())
        }
        Which::Explain(arguments) => {
            let views = views(ledger.as_ref(), &arguments.code).await?;
            let sending = ledger.sending(now).await?;
            let situations: Vec<Situation> =
                views.iter().map(|view| situation(view, &sending, now, language)).collect();
            invocation
                .output
                .result(&situations, |situations| each(situations, Situation::to_string));
            Ok(())
        }
        Which::History(arguments) => {
            let views = views(ledger.as_ref(), &arguments.code).await?;
            let events = history::history(&views, language);
            invocation.output.result(&events, |events| history::history_text(events, language));
            Ok(())
        }
        Which::Diff(arguments) => {
            let echo = if arguments.ask {
                ask(invocation, &arguments.code).await?
            } else {
                diff::Echo::NotAsked
            };
            compare(invocation, &config, ledger.as_ref(), &arguments.code, echo).await
        }
        Which::Raw(arguments) if arguments.unmask => {
            unmasked(invocation, &config, ledger.as_ref(), &arguments).await
        }
        Which::Raw(arguments) => {
            let shown = raw(&config, ledger.as_ref(), &arguments).await;
            shown.map(|shown| tell_raw(invocation, &shown))
        }
        Which::Hold(arguments) => hold(invocation, ledger.as_ref(), now, arguments, true).await,
        Which::Release(arguments) => hold(invocation, ledger.as_ref(), now, arguments, false).await,
    };
    ledger.close().await;
    done
}

#[derive(Debug, Serialize)]
struct Then<'v> {
    ma_ho_so: &'v str,
    source: &'v str,
    #[serde(flatten)]
    past: Past,
}

fn show_as_of(
    invocation: &Invocation,
    views: &[DossierView],
    at: Timestamp,
    now: Timestamp,
) -> Result<(), Failure> {
    if at > now {
        return Err(Failure::new(Exit::Usage, format!("{at} is not over yet"))
            .hint("`hoso dossier explain` says what a dossier waits for, and until when"));
    }
    let language = invocation.language();
    let then: Vec<Then<'_>> = views
        .iter()
        .map(|view| Then { ma_ho_so: &view.ma_ho_so, source: &view.source, past: past(view, at) })
        .collect();
    invocation.output.result(&then, |then| {
        let texts = views.iter().zip(then);
        let texts: Vec<String> =
            texts.map(|(view, then)| as_of::as_of(view, &then.past, language)).collect();
        texts.join("\n")
    });
    Ok(())
}

/// What the portal shows of a dossier, if the gate is ours to ask it.
async fn ask(invocation: &Invocation, code: &str) -> Result<diff::Echo, Failure> {
    let mut echo = diff::Echo::NotAsked;
    let found = &mut echo;
    by_hand(invocation, async |config, context, stop| {
        views(context.ledger.as_ref(), code).await?;
        let asked = with_gate(config, context, stop, "dossier diff", async |line, stop| {
            ask_once(context, line, code, stop).await
        });
        *found = match asked.await? {
            Ok(verdict) => diff::Echo::of(verdict?, context.clock.now()),
            Err(owner) => diff::Echo::NotOurs { owner },
        };
        Ok(())
    })
    .await?;
    Ok(echo)
}

async fn compare(
    invocation: &Invocation,
    config: &Config,
    ledger: &dyn Ledger,
    code: &str,
    mut echo: diff::Echo,
) -> Result<(), Failure> {
    let (_, mapping) = build::mapping_in_force(config, ledger).await?;
    let mut diffs = Vec::new();
    for view in views(ledger, code).await? {
        let newest = ledger.kept(view.dossier_id, None, None).await?;
        let acked = view.entries.iter().find(|entry| Some(entry.id) == view.acked_entry_id);
        let acked = match acked {
            Some(entry) => {
                ledger.kept(view.dossier_id, Some(entry.revision_id), Some(entry.id)).await?
            }
            None => None,
        };
        // One code is one dossier at the portal, whoever gave it.
        let echo = std::mem::replace(&mut echo, diff::Echo::NotAsked);
        diffs.push(diff::diff(&view, newest.as_ref(), acked.as_ref(), &mapping, echo));
    }
    let language = invocation.language();
    invocation.output.result(&diffs, |diffs| each(diffs, |diff| diff::text(diff, language)));
    Ok(())
}

/// Whoever sees personal values has left a reason first: a ledger that cannot write it shows nothing.
async fn unmasked(
    invocation: &Invocation,
    config: &Config,
    ledger: &dyn Ledger,
    arguments: &RawArguments,
) -> Result<(), Failure> {
    let reason = arguments.reason.as_deref().unwrap_or_default();
    let actor = actor(arguments.actor.as_deref());
    let act = AuditRecord::new(&actor, "dossier raw --unmask", &arguments.code, reason);
    let note = async |result: &str| ledger.note_act(SystemClock::new().now(), &act, result).await;
    if arguments.reason.is_none() {
        note("refused: no reason was given").await?;
        return Err(Failure::new(Exit::Usage, "--unmask needs --reason TEXT")
            .hint("without --unmask, everything but personal values is shown"));
    }
    match raw(config, ledger, arguments).await {
        Ok(shown) => {
            let revisions: Vec<String> =
                shown.iter().map(|raw| raw.revision_id.to_string()).collect();
            note(&format!("shown: revision {}", revisions.join(", "))).await?;
            tell_raw(invocation, &shown);
            Ok(())
        }
        Err(failure) => {
            note(&format!("refused: {}", failure.message)).await?;
            Err(failure)
        }
    }
}

async fn raw(
    config: &Config,
    ledger: &dyn Ledger,
    arguments: &RawArguments,
) -> Result<Vec<raw::Raw>, Failure> {
    let mut shown = Vec::new();
    for view in views(ledger, &arguments.code).await? {
        if arguments.source.as_ref().is_some_and(|source| *source != view.source) {
            continue;
        }
        // A revision's number belongs to one dossier.
        if let Some(kept) = ledger.kept(view.dossier_id, arguments.revision, None).await? {
            shown.push(raw::raw(config, &view, kept, arguments.unmask));
        }
    }
    if shown.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{} has no such revision or source", arguments.code),
        )
        .hint("`hoso dossier history` lists every revision that is kept, with its number"));
    }
    Ok(shown)
}

fn tell_raw(invocation: &Invocation, shown: &[raw::Raw]) {
    let language = invocation.language();
    invocation.output.result(&shown, |shown| each(shown, |raw| raw::text(raw, language)));
}

#[derive(Debug, Serialize)]
struct Held {
    ma_ho_so: String,
    outcome: HoldOutcome,
}

async fn hold(
    invocation: &Invocation,
    ledger: &dyn Ledger,
    now: Timestamp,
    arguments: HoldArguments,
    hold: bool,
) -> Result<(), Failure> {
    let action = if hold { "hold" } else { "release" };
    let (actor, reason) = (arguments.person.actor(), &arguments.person.reason);
    let audit = AuditRecord::new(&actor, action, &arguments.code, reason);
    let source = arguments.source.as_deref();
    let done = ledger.set_hold(now, source, &arguments.code, hold, &audit).await;
    if let Err(error) = &done {
        // Nothing of it was written; that it was tried is, if anything can be.
        ledger.note_act(now, &audit, &format!("failed: {error} ({})", error.code())).await.ok();
    }
    let outcome = done?;
    if outcome == HoldOutcome::UnknownDossier {
        return Err(unknown(&arguments.code));
    }
    invocation.output.result(&Held { ma_ho_so: arguments.code, outcome }, |held| {
        let what = match held.outcome {
            HoldOutcome::Placed => {
                "under a legal hold: nothing of it is deleted until it is released"
            }
            HoldOutcome::AlreadyHeld => "was under a legal hold already; the first one stands",
            HoldOutcome::Released => "released: retention treats it as any other",
            HoldOutcome::NotHeld => "was not under a legal hold",
            HoldOutcome::UnknownDossier => "not in the ledger",
        };
        format!("{}  {what}", held.ma_ho_so)
    });
    Ok(())
}

/// Every source's dossier of this code; none is a failure with a hint.
pub(super) async fn views(ledger: &dyn Ledger, code: &str) -> Result<Vec<DossierView>, Failure> {
    let views = ledger.dossier(code).await?;
    if views.is_empty() {
        return Err(unknown(code));
    }
    Ok(views)
}

pub(super) fn unknown(code: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("the ledger has no dossier {code}")).hint(
        "compare the code letter by letter; a dossier that was not pulled yet is unknown too: \
         `hoso status` says when each source was last read",
    )
}

fn each<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join("\n")
}
