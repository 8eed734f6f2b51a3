//! `observe_once`: learns from the calls that were made how the portal behaves, and says what it does
//! otherwise than before.
//!
//! Nothing follows from it by itself: an answer that nobody knows counts as success no more for having
//! come often.

use super::{Context, VerbError};
use crate::ledger::observed::{ChangeKind, Learnt, ObservedChange};

/// Calls that one pass learns from: some milliseconds of reading.
const CALLS_MAX: u32 = 5_000;

/// The portal does something otherwise than before.
pub const CHANGED: &str = "portal.changed";

/// One pass over the next calls.
pub async fn observe_once(context: &Context) -> Result<Learnt, VerbError> {
    context.alive();
    Ok(context.ledger.observe(CALLS_MAX).await?)
}

/// What changed, in a few words.
pub fn sentence(change: &ObservedChange) -> String {
    let ObservedChange { kind, service, about, .. } = change;
    match kind {
        ChangeKind::NewAnswer => format!("{service} gives an answer that is new: {about}"),
        ChangeKind::NewField => format!("{service} shows the field {about}, which is new"),
        ChangeKind::FieldGone => format!("{service} shows the field {about} no longer"),
        ChangeKind::FieldBack => format!("{service} shows the field {about} again"),
    }
}

/// Table of this module's codes for `hoso explain`: code, meaning, what to do.
pub const CODES: &[(&str, &str, &str)] = &[(
    CHANGED,
    "The portal did something that it never did before: a new code or new words, a field that its look-ups show no longer, or again. Nothing is lost by it: what is not known as success does not count as success.",
    "`hoso portal observed` shows what is new and since when. If a new text means success, add it to the answers file (`portal.answers_file`); if a field is gone, read-backs prove less than before. Ask the portal's operators if it was announced nowhere.",
)];
