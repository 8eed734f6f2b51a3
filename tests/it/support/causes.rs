//! Causes against the list of single problems, which is computed anew, at the end of a story.

use std::collections::BTreeSet;

use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::Ledger;
use hoso_gateway::ledger::cause::Causes;
use hoso_gateway::ledger::sqlite::SqliteLedger;
use hoso_gateway::ledger::view::{ProblemFilter, ProblemKind};

/// Whatever waits for a person is in exactly the groups that say so, and nothing else is.
pub(crate) async fn assert_every_problem_has_its_cause(ledger: &SqliteLedger, now: Timestamp) {
    let all = ledger.problems(&ProblemFilter::default()).await.expect("problems");
    let single: BTreeSet<(ProblemKind, String)> =
        all.iter().map(|problem| (problem.kind, problem.ma_ho_so.clone())).collect();
    let mut grouped = BTreeSet::new();
    for cause in ledger.causes(now).await.expect("causes") {
        let members = ledger.members(&cause.name, 0).await.expect("members");
        let open: u64 = cause.kinds.values().sum();
        assert_eq!(open, cause.open, "{cause:?}");
        assert!(members.len() as u64 <= open, "{cause:?}");
        grouped.extend(
            members
                .into_iter()
                .filter(|member| member.kind != ProblemKind::Failing)
                .map(|member| (member.kind, member.ma_ho_so)),
        );
    }
    assert_eq!(grouped, single);
}
