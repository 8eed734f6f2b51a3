//! What people read, over a ledger in which everything happens at once.

use std::collections::BTreeMap;

use hoso_gateway::domain::entry::EntryState as S;
use hoso_gateway::domain::failure::Disposition;
use hoso_gateway::domain::step::StepState;
use hoso_gateway::ledger::record::SettledSteps;
use hoso_gateway::ledger::view::{Problem, ProblemFilter, ProblemKind};

use super::support::{
    SOURCE, TestLedger, accepted, again, dead, deleted, failure, in_doubt, item, open_ledger,
    settled_steps, t,
};

/// One dossier in each situation, named by it.
async fn mixed() -> TestLedger {
    let ledger = open_ledger().await;
    let texts = [
        ("synchronised", "one | 0800/2"),
        ("steps owed", "one | 0800/2 0900/4"),
        ("step held", "one | 0800/5"),
        ("dead", "one"),
        ("later", "one"),
        ("in doubt", "one"),
        ("refused", "! bad | 0800/2"),
    ];
    for (code, text) in texts {
        ledger.receive(t(1), item(code, 1, text)).await;
    }
    ledger.receive(t(1), deleted("deleted", 1)).await;
    for claimed in ledger.claim(t(2), 1).await {
        let settlement = match &*claimed.ma_ho_so {
            "dead" => dead(),
            "later" => again(t(500), 1),
            "in doubt" => in_doubt(t(3)),
            _ => accepted(),
        };
        ledger.settle_one(t(2), &claimed, 1, settlement).await;
    }
    for lane in ledger.claim_steps_of(t(3), 2).await {
        let settled = match &*lane.ma_ho_so {
            "synchronised" => settled_steps(&lane, 2, t(3), StepState::Acked),
            "step held" => SettledSteps {
                failure: Some(failure("steps.outcome_unknown", Disposition::Ambiguous)),
                ..settled_steps(&lane, 2, t(3), StepState::Held)
            },
            _ => settled_steps(&lane, 2, t(4), StepState::Pending),
        };
        ledger.settle_steps(t(3), vec![settled]).await;
    }
    ledger.receive(t(4), item("overtaken", 1, "one")).await;
    let claimed = ledger.claim_one(t(4), 3).await;
    ledger.receive(t(4), item("overtaken", 2, "two")).await;
    ledger.settle_one(t(4), &claimed, 3, again(t(5), 1)).await;
    ledger.pull(t(4), vec![item("unmapped", 1, "one")]).await;
    ledger
}

fn shown(problems: &[Problem]) -> Vec<(ProblemKind, &str, &str)> {
    problems.iter().map(|one| (one.kind, &*one.ma_ho_so, &*one.code)).collect()
}

#[tokio::test]
async fn the_standing_counts_every_dossier_once_by_its_newest_entry() {
    let ledger = mixed().await;
    let standing = ledger.standing(t(5)).await.unwrap();
    let expected = BTreeMap::from([
        (S::Accepted, 3),
        (S::Dead, 1),
        (S::Ready, 2),
        (S::Unconfirmed, 1),
        (S::Quarantined, 1),
        (S::NotOurs, 1),
        (S::Received, 1),
    ]);
    assert_eq!(standing.dossiers, expected);
    assert_eq!(standing.synchronised, 1);
    assert_eq!(standing.superseded, 1);
    let steps = BTreeMap::from([
        ("acked".to_owned(), 1),
        ("pending".to_owned(), 2),
        ("held".to_owned(), 1),
    ]);
    assert_eq!(standing.steps, steps);
    assert_eq!(standing.oldest_open_at, Some(t(1)));
    assert_eq!(standing.due_now, 2, "a packet and a lane of steps");
    assert_eq!(ledger.standing(t(500)).await.unwrap().due_now, 3);
    assert_eq!(standing.sources[0].name, SOURCE);
}

#[tokio::test]
async fn an_empty_ledger_has_an_empty_standing() {
    let ledger = open_ledger().await;
    let standing = ledger.standing(t(1)).await.unwrap();
    assert!(standing.dossiers.is_empty());
    assert_eq!((standing.due_now, standing.oldest_open_at), (0, None));
    assert!(ledger.dossier("unknown").await.unwrap().is_empty());
    assert_eq!(ledger.newest_document(1).await.unwrap(), None);
}

#[tokio::test]
async fn problems_are_everything_that_needs_a_person_oldest_first() {
    let ledger = mixed().await;
    let problems = ledger.problems(&ProblemFilter::default()).await.unwrap();
    assert_eq!(
        shown(&problems),
        [
            (ProblemKind::Quarantined, "refused", "mapping.required"),
            (ProblemKind::Dead, "dead", "portal.refused"),
            (ProblemKind::Held, "step held", "steps.outcome_unknown"),
        ]
    );
    assert_eq!(problems[0].since, t(1));
    assert!(problems[0].summary.contains(": expected "), "{}", problems[0].summary);
    assert!(problems[2].summary.starts_with("1 step(s)"));
    assert_eq!(problems[1].source, SOURCE);
}

#[tokio::test]
async fn problems_are_found_by_code_and_by_dossier() {
    let ledger = mixed().await;
    let filters = [
        (Some("dead"), None, 0, 1),
        (Some("later"), None, 0, 0),
        (None, Some("steps.outcome_unknown"), 0, 1),
        (Some("dead"), Some("steps.outcome_unknown"), 0, 0),
        (None, None, 2, 2),
    ];
    for (code, failure, limit, expected) in filters {
        let filter = ProblemFilter {
            ma_ho_so: code.map(str::to_owned),
            code: failure.map(str::to_owned),
            limit,
        };
        let problems = ledger.problems(&filter).await.unwrap();
        assert_eq!(problems.len(), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn a_dossier_tells_its_whole_life() {
    let ledger = open_ledger().await;
    ledger.deliver(t(1), item("1", 1, "one | 0800/2")).await;
    ledger.ack_steps(t(2)).await;
    ledger.receive(t(3), item("1", 2, "! bad")).await;
    let view = ledger.view("1").await;
    assert_eq!(view.source, SOURCE);
    assert_eq!(view.first_seen_at, t(1));
    assert_eq!(view.packet_state, "accepted");
    assert_eq!((view.steps_due_at, view.steps_failure.is_some()), (None, false));
    assert_eq!(view.revisions.len(), 2);
    assert_eq!(view.revisions[1].version, Some(2));
    assert_eq!(view.revisions[1].fingerprint.len(), 64);
    assert!(view.revisions[1].body_kept);
    assert_eq!(view.newest_entry().unwrap().state, S::Quarantined);
    assert_eq!(view.entries[0].mapping_version.as_deref(), Some("test-1"));
    assert_eq!(view.entries[0].packet_hash.as_ref().unwrap().len(), 64);
    assert_eq!(view.steps[0].attempts, 1);
    let kinds: Vec<&str> = view.attempts.iter().map(|one| &*one.kind).collect();
    assert_eq!(kinds, ["packet", "steps"]);
    let document = ledger.newest_document(view.dossier_id).await.unwrap();
    assert_eq!(document.as_deref(), Some("! bad"));
}
