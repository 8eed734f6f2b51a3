//! `hoso problems`: what waits for a person, by its cause, and putting it back on its way.

mod act;
mod dossiers;
mod list;
mod show;

use clap::Subcommand;

use super::Invocation;
use super::failure::{Exit, Failure};
use crate::ledger::view::ProblemKind;
pub(super) use list::{kind_words, pause_words, top_words};

/// See what waits for a person, by its cause, and put it back on its way
///
/// Without a subcommand: the list of causes, the most harmful first.
///
/// Example: hoso problems
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub(super) struct ProblemsArguments {
    #[command(subcommand)]
    which: Option<Which>,
    #[command(flatten)]
    list: list::ListArguments,
}

#[derive(Debug, Subcommand)]
enum Which {
    List(list::ListArguments),
    Dossiers(dossiers::DossiersArguments),
    Show(show::ShowArguments),
    Retry(act::RetryArguments),
    Hold(act::HoldArguments),
    Release(act::ReleaseArguments),
    Note(act::NoteArguments),
    MarkSent(act::MarkSentArguments),
}

pub(super) async fn run(
    invocation: &Invocation,
    arguments: ProblemsArguments,
) -> Result<(), Failure> {
    match arguments.which {
        None => list::run(invocation, arguments.list).await,
        Some(Which::List(arguments)) => list::run(invocation, arguments).await,
        Some(Which::Dossiers(arguments)) => dossiers::run(invocation, arguments).await,
        Some(Which::Show(arguments)) => show::run(invocation, arguments).await,
        Some(Which::Retry(arguments)) => act::retry(invocation, arguments).await,
        Some(Which::Hold(arguments)) => act::hold(invocation, arguments).await,
        Some(Which::Release(arguments)) => act::release(invocation, arguments).await,
        Some(Which::Note(arguments)) => act::note(invocation, arguments).await,
        Some(Which::MarkSent(arguments)) => act::mark_sent(invocation, arguments).await,
    }
}

/// What a cause is shown as by `hoso explain S-…`, too.
pub(super) async fn explain(invocation: &Invocation, name: &str) -> Result<(), Failure> {
    show::cause(invocation, name, show::EXAMPLES).await
}

fn unknown_cause(name: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no cause `{name}`"))
        .hint("`hoso problems` lists those of which anything is open")
}

/// Whether a kind is tried again without a person.
const fn goes_on_by_itself(kind: ProblemKind) -> bool {
    matches!(kind, ProblemKind::Failing | ProblemKind::RefusedDocument | ProblemKind::Catalogue)
}
