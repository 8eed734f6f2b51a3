//! Until everything has settled, or somebody ends it.

use std::time::Duration;

use super::live::LiveView;
use super::{Arguments, World};
use crate::cli::Invocation;
use crate::cli::failure::{Exit, Failure};
use crate::cli::rehearsal::is_quiet;
use crate::domain::time::Timestamp;
use crate::ledger::record::Books;
use crate::pipeline::Stop;
use crate::pipeline::reconcile::reconcile_once;

/// Longest run of `--once` before it is called unsettled.
const PATIENCE: Duration = Duration::from_mins(15);
/// Between two looks at whether everything has settled.
const LOOK: Duration = Duration::from_millis(200);
/// Between two frames of the live view.
const FRAME: Duration = Duration::from_millis(500);

/// Shows the run; with `--once`, returns the closed books when everything has settled.
pub(super) async fn watch(
    invocation: &Invocation,
    arguments: &Arguments,
    world: &World,
    stop: &Stop,
) -> Result<Option<Books>, Failure> {
    let mut view = LiveView::new(invocation, arguments);
    let mut settled_looks = 0;
    let mut changes_ended_at: Option<Timestamp> = None;
    while !stop.is_cancelled() {
        let now = world.context.clock.now();
        let standing = world.context.ledger.standing(now).await?;
        view.draw(world, &standing).await?;
        if arguments.once {
            if changes_ended_at.is_none() && world.labs.province.state().changes_left == 0 {
                changes_ended_at = Some(now);
            }
            // Read to its end after the last change, and nothing on its way.
            let pulled = standing.sources.iter().any(|source| {
                // A poll without news moves `polled_at` alone; the books find what it missed.
                source.caught_up_at.is_some()
                    && matches!((source.polled_at, changes_ended_at), (Some(at), Some(end)) if at > end)
            });
            let known: u64 = standing.dossiers.values().sum();
            if pulled && known >= u64::from(world.dossiers) && is_quiet(&standing) {
                settled_looks += 1;
            } else {
                settled_looks = 0;
            }
            if settled_looks >= 2
                && let Some(line) = world.line.get()
            {
                let books = reconcile_once(&world.context, &world.source, Some(line), stop).await?;
                let standing = world.context.ledger.standing(world.context.clock.now()).await?;
                // What the books found is being repaired, or somebody could not be asked.
                let agreed = books.closed && books.open + books.missing + books.unverifiable == 0;
                if agreed && is_quiet(&standing) {
                    stop.cancel();
                    return Ok(Some(books));
                }
                invocation.output.talk(&format!(
                    "books: {} matched, {} open, {} missing, {} unverifiable; going on",
                    books.matched, books.open, books.missing, books.unverifiable
                ));
                settled_looks = 0;
            }
            if world.context.clock.monotonic().saturating_sub(world.began) > PATIENCE {
                stop.cancel();
                return Err(Failure::new(
                    Exit::Findings,
                    format!("not settled after {} s", PATIENCE.as_secs()),
                )
                .hint("run it with --keep DIR and look at `hoso --config DIR/hoso.toml status`"));
            }
        }
        tokio::select! {
            () = world.context.clock.sleep(if arguments.once { LOOK } else { FRAME }) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(None)
}
