//! Asking again, by code, for dossiers that could not be read.
//!
//! A source that mends its export need not call that a change of the dossier, so the feed may never
//! show it again: once the overlap has moved past it, only this brings it back.

use std::time::Duration;

use super::pull::received;
use super::{Context, SourceLine, VerbError};
use crate::domain::failure::Disposition;
use crate::domain::priority::Priority;
use crate::ledger::record::PullCommit;
use crate::sabotage;

/// Between two questions for one dossier: as long as people take to mend something.
const ASKED_EVERY: Duration = Duration::from_mins(10);
/// Questions a poll: a broken export of thousands must not become thousands of questions at once.
const ASKED_AT_ONCE_MAX: u32 = 20;

#[derive(Default)]
pub(super) struct Mended {
    /// Dossiers that can be read now.
    pub(super) read: u64,
    /// Of these, how many brought a revision.
    pub(super) new: u64,
}

/// What is still unreadable stays as it is; a source that does not answer is left for the next poll.
pub(super) async fn ask_again(
    context: &Context,
    line: &SourceLine,
    priority: Priority,
) -> Result<Mended, VerbError> {
    if !line.source.has_index() {
        return Ok(Mended::default());
    }
    let name = line.source.name();
    let now = context.clock.now();
    let codes =
        context.ledger.claim_unread(name, now, now - ASKED_EVERY, ASKED_AT_ONCE_MAX).await?;
    if !codes.is_empty() {
        sabotage::point("mended.asking");
    }
    let mut items = Vec::new();
    for code in codes {
        context.alive();
        match line.source.dossier(&code).await {
            Ok(Some(item)) if !line.is_young(context.clock.now(), item.changed_at) => {
                items.push(received(item));
            }
            Ok(_) => {}
            Err(failure) => {
                let is_about_it =
                    failure.evidence.is_some() || failure.failure.disposition == Disposition::Data;
                if !is_about_it {
                    break;
                }
            }
        }
    }
    if items.is_empty() {
        return Ok(Mended::default());
    }
    let read = items.len() as u64;
    let commit = PullCommit {
        source: name.to_owned(),
        at: context.clock.now(),
        priority,
        items,
        refused: Vec::new(),
        origin: None,
        cursor: None,
        etag: None,
        caught_up: false,
    };
    let counts = context.ledger.commit_pull(&commit).await?;
    Ok(Mended { read, new: counts.new })
}
