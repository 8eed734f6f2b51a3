//! What a steps call means for the steps in it. Pure.

use std::time::Duration;

use crate::domain::entry::Outcome;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::retry::RetryPolicy;
use crate::domain::status::Status;
use crate::domain::step::{StepIdentity, StepState};
use crate::domain::time::Timestamp;
use crate::ledger::record::{ClaimedSteps, SettledSteps};

/// How a steps call is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepPolicy<'a> {
    pub retry: &'a RetryPolicy,
    /// Requests for a supplement are sent again after an unknown outcome rather than held.
    pub resend_unknown_supplement: bool,
    /// The portal answers nobody, so the failure says nothing about these steps.
    pub destination_down: bool,
}

/// The settlement of one dossier's steps in a call that carried `dossiers` dossiers.
///
/// There is no read-back for steps, and repeated ones are not known to be rejected. A repeated
/// request for a supplement can make a dossier count as late, so after an unknown outcome it waits
/// for a person; any other step is harmless twice and is sent again.
pub(super) fn settle_steps(
    lane: &ClaimedSteps,
    lease_token: i64,
    dossiers: usize,
    outcome: &Outcome,
    now: Timestamp,
    policy: StepPolicy<'_>,
    chance: f64,
) -> SettledSteps {
    let mut settled = SettledSteps {
        dossier_id: lane.dossier_id,
        lease_token,
        steps: Vec::new(),
        due_at: now,
        retries: lane.retries,
        alone: lane.alone,
        portal_lost_dossier: false,
        failure: None,
        call: None,
        outcome: "accepted",
    };
    let single = dossiers == 1 && lane.steps.len() == 1;
    let to = |state: StepState| move |_: &StepIdentity| state;
    let state_of: Box<dyn Fn(&StepIdentity) -> StepState> = match outcome {
        Outcome::Accepted(_) => {
            settled.retries = 0;
            Box::new(to(StepState::Acked))
        }
        Outcome::NotSent { failure, until } => {
            settled.outcome = "not_sent";
            settled.due_at = *until;
            settled.failure = Some(failure.clone());
            Box::new(to(StepState::Pending))
        }
        // The packet is owed again, and the steps after it. A portal that takes packets and never
        // knows them when their steps come must not be asked for ever.
        Outcome::UnknownDossier(failure) if dossiers == 1 => {
            settled.outcome = "unknown_dossier";
            settled.failure = Some(failure.clone());
            settled.retries += 1;
            settled.due_at = now + policy.retry.delay(settled.retries, chance);
            if policy.retry.allows(settled.retries) {
                settled.portal_lost_dossier = true;
                Box::new(to(StepState::Pending))
            } else {
                settled.retries = 0;
                settled.failure = Some(out_of_attempts(failure, policy.retry));
                Box::new(to(StepState::Held))
            }
        }
        // Somebody in the call is the cause: each step goes alone until it is found.
        Outcome::UnknownDossier(failure) | Outcome::Exists(failure) if !single => {
            settled.outcome = "refused";
            settled.alone = true;
            settled.failure = Some(failure.clone());
            Box::new(to(StepState::Pending))
        }
        Outcome::UnknownDossier(failure) | Outcome::Exists(failure) => {
            settled.outcome = "refused";
            settled.alone = false;
            settled.failure = Some(failure.clone());
            Box::new(to(StepState::Held))
        }
        Outcome::Failed(failure) => {
            settled.failure = Some(failure.clone());
            match failure.disposition {
                Disposition::Throttled | Disposition::Environment => {
                    settled.outcome = "deferred";
                    settled.due_at =
                        now + Duration::from_millis(failure.retry_after_ms.unwrap_or(0));
                    Box::new(to(StepState::Pending))
                }
                Disposition::Data if !single => {
                    settled.outcome = "refused";
                    settled.alone = true;
                    Box::new(to(StepState::Pending))
                }
                Disposition::Data => {
                    settled.outcome = "refused";
                    settled.alone = false;
                    Box::new(to(StepState::Held))
                }
                Disposition::Retryable | Disposition::Ambiguous => {
                    let ambiguous = failure.disposition == Disposition::Ambiguous;
                    settled.outcome = if ambiguous { "unknown" } else { "failed" };
                    settled.retries += u32::from(!policy.destination_down);
                    settled.due_at = now + policy.retry.delay(settled.retries, chance);
                    let exhausted = !policy.retry.allows(settled.retries);
                    if ambiguous && !policy.resend_unknown_supplement {
                        let holds = lane.steps.iter().any(|step| is_supplement(&step.identity));
                        if holds {
                            settled.failure = Some(
                                Failure::new(
                                    "steps.outcome_unknown",
                                    Disposition::Ambiguous,
                                    "nobody knows whether the portal has this step",
                                )
                                .with_details(failure.to_string()),
                            );
                        }
                        if exhausted && !holds {
                            settled.retries = 0;
                            settled.failure = Some(out_of_attempts(failure, policy.retry));
                        }
                        Box::new(move |identity| {
                            if exhausted || is_supplement(identity) {
                                StepState::Held
                            } else {
                                StepState::Pending
                            }
                        })
                    } else if exhausted {
                        settled.retries = 0;
                        settled.failure = Some(out_of_attempts(failure, policy.retry));
                        Box::new(to(StepState::Held))
                    } else {
                        Box::new(to(StepState::Pending))
                    }
                }
            }
        }
    };
    settled.steps =
        lane.steps.iter().map(|step| (step.identity.clone(), state_of(&step.identity))).collect();
    settled
}

fn is_supplement(identity: &StepIdentity) -> bool {
    identity.trang_thai == Status::SupplementRequested.code()
}

fn out_of_attempts(last: &Failure, policy: &RetryPolicy) -> Failure {
    policy.exhausted("steps.out_of_attempts", last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::priority::Priority;
    use crate::ledger::record::ClaimedStep;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn lane(statuses: &[&str]) -> ClaimedSteps {
        ClaimedSteps {
            dossier_id: 1,
            ma_tthc: None,
            ma_don_vi: None,
            ma_ho_so: "H55.242-260126-0001".into(),
            priority: Priority::Live,
            retries: 0,
            alone: false,
            steps: statuses
                .iter()
                .enumerate()
                .map(|(at, status)| ClaimedStep {
                    identity: StepIdentity {
                        thoi_diem_xu_ly: format!("2026012608300{at}"),
                        trang_thai: (*status).to_owned(),
                        ordinal: 0,
                    },
                    body: "{}".into(),
                })
                .collect(),
        }
    }

    fn states(
        lane: &ClaimedSteps,
        dossiers: usize,
        disposition: Disposition,
    ) -> (Vec<StepState>, bool) {
        let retry = RetryPolicy {
            initial_ms: 1000,
            multiplier: 2.0,
            max_ms: 60_000,
            attempts_max: 3,
            jitter: 0.0,
        };
        let policy =
            StepPolicy { retry: &retry, resend_unknown_supplement: false, destination_down: false };
        let outcome = Outcome::Failed(Failure::new("test.failure", disposition, "a failure"));
        let settled = settle_steps(lane, 7, dossiers, &outcome, NOW, policy, 0.5);
        (settled.steps.into_iter().map(|(_, state)| state).collect(), settled.alone)
    }

    #[test]
    fn a_lost_answer_holds_a_supplement_request_and_resends_other_steps() {
        assert_eq!(states(&lane(&["5"]), 1, Disposition::Ambiguous).0, [StepState::Held]);
        assert_eq!(
            states(&lane(&["2", "4"]), 1, Disposition::Ambiguous).0,
            [StepState::Pending, StepState::Pending]
        );
    }

    #[test]
    fn a_refused_call_sends_its_steps_one_by_one_and_a_refused_step_waits_for_a_person() {
        let (both, alone) = states(&lane(&["2", "4"]), 1, Disposition::Data);
        assert_eq!((both, alone), (vec![StepState::Pending, StepState::Pending], true));
        assert_eq!(states(&lane(&["4"]), 1, Disposition::Data).0, [StepState::Held]);
        assert_eq!(states(&lane(&["4"]), 3, Disposition::Data).0, [StepState::Pending]);
    }

    #[test]
    fn steps_that_fail_as_often_as_allowed_wait_for_a_person() {
        let mut tired = lane(&["4"]);
        tired.retries = 3;
        assert_eq!(states(&tired, 1, Disposition::Retryable).0, [StepState::Held]);
        assert_eq!(states(&tired, 1, Disposition::Environment).0, [StepState::Pending]);
    }
}
