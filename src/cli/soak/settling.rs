//! Whether a world has come to rest after its faults have ended, and if not, what of it has not.

use std::time::Duration;

use crate::cli::rehearsal::owed_steps;
use crate::domain::time::Timestamp;
use crate::ledger::view::Standing;

/// What became of the waiting.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled {
    /// Absent if it did not settle.
    pub after: Option<Duration>,
    /// What was still awaited at the last look.
    pub unmet: Vec<String>,
}

/// What is not at rest by the ledger's numbers: each source has been read since `began_at` and nothing
/// is on its way, neither packets nor steps.
pub(super) fn unmet(standing: &Standing, began_at: Timestamp) -> Vec<String> {
    let mut unmet = Vec::new();
    for source in &standing.sources {
        if source.failing_since.is_some() {
            unmet.push(format!("source {} fails", source.name));
        } else if source.polled_at.is_none_or(|at| at <= began_at) {
            unmet.push(format!("source {} has not been read since", source.name));
        }
    }
    for (state, count) in standing.dossiers.iter().filter(|(state, _)| state.is_open()) {
        unmet.push(format!("{count} {}", state.as_str().replace('_', " ")));
    }
    match owed_steps(standing) {
        0 => {}
        1 => unmet.push("1 step is yet to go".to_owned()),
        more => unmet.push(format!("{more} steps are yet to go")),
    }
    unmet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entry::EntryState;
    use crate::ledger::view::SourceStanding;

    #[test]
    fn what_keeps_a_world_from_rest_is_named() {
        let at = Timestamp::from_millis;
        let source = SourceStanding {
            name: "mot-cua".to_owned(),
            polled_at: Some(at(11)),
            caught_up_at: None,
            failing_since: None,
            failure: None,
        };
        let mut standing = Standing { sources: vec![source], ..Standing::default() };
        standing.dossiers.insert(EntryState::Accepted, 3);
        assert_eq!(unmet(&standing, at(10)), Vec::<String>::new());
        assert_eq!(unmet(&standing, at(11)), ["source mot-cua has not been read since"]);
        standing.sources[0].failing_since = Some(at(12));
        standing.dossiers.insert(EntryState::Unconfirmed, 2);
        standing.steps.insert("pending".to_owned(), 4);
        standing.steps.insert("leased".to_owned(), 2);
        assert_eq!(
            unmet(&standing, at(10)),
            ["source mot-cua fails", "2 unconfirmed", "6 steps are yet to go"]
        );
    }
}
