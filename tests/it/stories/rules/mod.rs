//! Rules that must stay true over a dossier's life: what may be sent, again, or never, and what is
//! said when source and portal disagree.

mod files;
mod lives;
mod owners;
mod recoded;
mod steps;

use crate::support::gateway::Story;

const CODE: &str = "H55.242-260126-0001";

/// No dossiers but those written by hand, and a portal that shows the fields it holds.
fn story() -> Story {
    let mut story = Story::of(0);
    story.portal.keep_fields = true;
    story
}
