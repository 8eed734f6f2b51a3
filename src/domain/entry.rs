//! An entry is the obligation that one revision of a dossier creates: bring it to the portal, or
//! say why not. This file is its state machine; every transition is a pure function.
//!
//! ```text
//! Received ─┬─> Quarantined ──(mapping or data changed)──> Received
//!           ├─> NotOurs | Unchanged | Presumed
//!           ├─> Awaiting ──(the portal was asked)──> Ready | Presumed
//!           └─> Ready ─> Leased ─┬─> Accepted
//!                 ^              ├─> Ready         (later, or split, or flag flipped)
//!                 │              ├─> Unconfirmed ──read-back──> Ready | Accepted
//!                 │              └─> Dead ──(operator)──> Received
//! waiting ─> Superseded          when a newer revision of the dossier has become Ready
//! ```

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use super::failure::{Disposition, Failure};
use super::receipt::Receipt;
use super::retry::RetryPolicy;
use super::time::Timestamp;

/// The name of an entry's state; what a state carries beside its name is in the ledger's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// The revision is stored and waits to be mapped.
    Received,
    /// Mapping or checks refused it; needs a person or better data.
    Quarantined,
    /// Deleted at the source, owned by a ministry's system, or outside the province.
    NotOurs,
    /// The portal already acknowledged exactly this packet; nothing to send.
    Unchanged,
    /// Waits to be sent.
    Ready,
    /// Being sent; ends by settlement or when the lease expires.
    Leased,
    /// Sent, outcome unknown; waits for a read-back.
    Unconfirmed,
    /// The portal acknowledged the packet.
    Accepted,
    /// Refused for good, or out of attempts; needs a person.
    Dead,
    /// A newer revision took its place before it was sent.
    Superseded,
    /// An older program may have sent the dossier; nothing leaves before the portal was asked.
    Awaiting,
    /// The portal has the dossier, and an older program is believed to have sent this packet; it
    /// was never acknowledged to us.
    Presumed,
}

impl EntryState {
    pub const ALL: [Self; 12] = [
        Self::Received,
        Self::Quarantined,
        Self::NotOurs,
        Self::Unchanged,
        Self::Ready,
        Self::Leased,
        Self::Unconfirmed,
        Self::Accepted,
        Self::Dead,
        Self::Superseded,
        Self::Awaiting,
        Self::Presumed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Quarantined => "quarantined",
            Self::NotOurs => "not_ours",
            Self::Unchanged => "unchanged",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Unconfirmed => "unconfirmed",
            Self::Accepted => "accepted",
            Self::Dead => "dead",
            Self::Superseded => "superseded",
            Self::Awaiting => "awaiting",
            Self::Presumed => "presumed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether the machine allows this step. The ledger repeats it as a guard in SQL.
    pub fn may_become(self, next: Self) -> bool {
        use EntryState as S;
        match self {
            S::Received => {
                matches!(
                    next,
                    S::Quarantined
                        | S::NotOurs
                        | S::Unchanged
                        | S::Ready
                        | S::Superseded
                        | S::Awaiting
                        | S::Presumed
                )
            }
            S::Quarantined | S::Dead => matches!(next, S::Received | S::Superseded),
            S::Awaiting => {
                matches!(next, S::Awaiting | S::Ready | S::Presumed | S::Superseded)
            }
            S::Ready => matches!(next, S::Leased | S::Superseded),
            S::Leased => {
                matches!(next, S::Accepted | S::Ready | S::Unconfirmed | S::Dead | S::Superseded)
            }
            S::Unconfirmed => {
                matches!(next, S::Unconfirmed | S::Accepted | S::Ready | S::Dead | S::Superseded)
            }
            S::NotOurs | S::Unchanged | S::Accepted | S::Superseded | S::Presumed => false,
        }
    }

    /// Something of ours is still to happen without a person.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Received | Self::Ready | Self::Leased | Self::Unconfirmed)
    }

    pub const fn needs_a_person(self) -> bool {
        matches!(self, Self::Quarantined | Self::Dead)
    }
}

impl Display for EntryState {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What we believe the portal knows of a dossier; decides `isUpdating`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortalKnown {
    Unknown,
    No,
    Yes,
}

impl PortalKnown {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::No => "no",
            Self::Yes => "yes",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Unknown, Self::No, Self::Yes].into_iter().find(|known| known.as_str() == text)
    }

    /// The flag to send with. What is not known is tried as a create: it changes nothing at the
    /// portal if the dossier exists, and the answer says so.
    pub const fn is_updating(self) -> bool {
        matches!(self, Self::Yes)
    }
}

/// How one call travelled, as far as one of its entries is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Retries spent before this call.
    pub retries: u32,
    /// Dossiers in the call.
    pub batch_size: u32,
    pub is_updating: bool,
    /// The portal answers nobody, so a failure on the way says nothing about what was sent.
    pub destination_down: bool,
}

/// What a call's answer means for each entry in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Accepted(Receipt),
    /// The portal has (one of) the dossiers already.
    Exists(Failure),
    /// The portal does not know (one of) the dossiers.
    UnknownDossier(Failure),
    Failed(Failure),
    /// The gate was closed; nothing left the socket.
    NotSent {
        failure: Failure,
        until: Timestamp,
    },
}

/// What a read-back says about an unconfirmed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadBack {
    /// The portal has it, and what it echoes proves that this packet was taken.
    Proven(Receipt),
    /// The portal has the dossier; whether with this packet is not known.
    Found,
    Missing,
    /// The look-up itself did not succeed.
    Failed {
        failure: Failure,
        until: Option<Timestamp>,
    },
}

/// The next state of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    Accepted {
        receipt: Receipt,
    },
    /// Send (again) at `due_at`, in a batch of at most `batch_max` if given.
    Ready {
        due_at: Timestamp,
        retries: u32,
        batch_max: Option<u32>,
        portal_known: Option<PortalKnown>,
        failure: Option<Failure>,
    },
    /// Look at the portal at `due_at`.
    Unconfirmed {
        due_at: Timestamp,
        retries: u32,
        batch_max: Option<u32>,
        failure: Failure,
    },
    Dead {
        failure: Failure,
    },
}

impl Settlement {
    pub const fn state(&self) -> EntryState {
        match self {
            Self::Accepted { .. } => EntryState::Accepted,
            Self::Ready { .. } => EntryState::Ready,
            Self::Unconfirmed { .. } => EntryState::Unconfirmed,
            Self::Dead { .. } => EntryState::Dead,
        }
    }
}

/// What follows for a leased entry from the answer of its call. `chance` is a fraction in
/// `0.0..1.0` for jitter.
pub fn settle(
    sent: Sent,
    outcome: Outcome,
    now: Timestamp,
    policy: &RetryPolicy,
    chance: f64,
) -> Settlement {
    match outcome {
        Outcome::Accepted(receipt) => Settlement::Accepted { receipt },
        Outcome::NotSent { failure, until } => Settlement::Ready {
            due_at: until,
            retries: sent.retries,
            batch_max: None,
            portal_known: None,
            failure: Some(failure),
        },
        Outcome::Exists(failure) if sent.batch_size == 1 && !sent.is_updating => {
            flip(sent, PortalKnown::Yes, failure, now, policy)
        }
        Outcome::UnknownDossier(failure) if sent.batch_size == 1 && sent.is_updating => {
            flip(sent, PortalKnown::No, failure, now, policy)
        }
        // For a batch: somebody in it is the cause. For a single dossier: the portal contradicts
        // the flag that it asked for, and sending the same again cannot help.
        Outcome::Exists(failure) | Outcome::UnknownDossier(failure) => refused(sent, failure, now),
        Outcome::Failed(failure) => match failure.disposition {
            Disposition::Data => refused(sent, failure, now),
            Disposition::Throttled | Disposition::Environment => Settlement::Ready {
                due_at: now + std::time::Duration::from_millis(failure.retry_after_ms.unwrap_or(0)),
                retries: sent.retries,
                batch_max: None,
                portal_known: None,
                failure: Some(failure),
            },
            Disposition::Retryable => {
                let retries = sent.retries + u32::from(!sent.destination_down);
                if policy.allows(retries) {
                    Settlement::Ready {
                        due_at: now + policy.delay(retries, chance),
                        retries,
                        batch_max: None,
                        portal_known: None,
                        failure: Some(failure),
                    }
                } else {
                    Settlement::Dead { failure: out_of_attempts(&failure, policy) }
                }
            }
            // Looked at even when the budget is spent: the portal may have taken it.
            Disposition::Ambiguous => Settlement::Unconfirmed {
                due_at: now,
                retries: sent.retries + u32::from(!sent.destination_down),
                batch_max: (sent.batch_size > 1).then_some(sent.batch_size / 2),
                failure,
            },
        },
    }
}

/// What follows for an unconfirmed entry from a look at the portal.
pub fn settle_read_back(
    retries: u32,
    read_back: ReadBack,
    failure: &Failure,
    now: Timestamp,
    policy: &RetryPolicy,
    chance: f64,
) -> Settlement {
    let again = |portal_known| {
        if policy.allows(retries) {
            Settlement::Ready {
                due_at: now,
                retries,
                batch_max: None,
                portal_known: Some(portal_known),
                failure: Some(failure.clone()),
            }
        } else {
            Settlement::Dead { failure: out_of_attempts(failure, policy) }
        }
    };
    match read_back {
        ReadBack::Proven(receipt) => Settlement::Accepted { receipt },
        ReadBack::Found => again(PortalKnown::Yes),
        ReadBack::Missing => again(PortalKnown::No),
        // Looked at less and less often, but for ever: giving up would be a guess. The count stays
        // inside the budget, so that an answer at last still leaves one attempt.
        ReadBack::Failed { failure: look_failure, until } => Settlement::Unconfirmed {
            due_at: until.unwrap_or_else(|| now + policy.delay(retries + 1, chance)),
            retries: if until.is_some() {
                retries
            } else {
                (retries + 1).min(policy.attempts_max.max(retries))
            },
            batch_max: None,
            failure: look_failure,
        },
    }
}

fn flip(
    sent: Sent,
    portal_known: PortalKnown,
    failure: Failure,
    now: Timestamp,
    policy: &RetryPolicy,
) -> Settlement {
    // Spends budget, so that a portal that contradicts itself cannot make us flip for ever.
    let retries = sent.retries + 1;
    if policy.allows(retries) {
        Settlement::Ready {
            due_at: now,
            retries,
            batch_max: None,
            portal_known: Some(portal_known),
            failure: Some(failure),
        }
    } else {
        Settlement::Dead { failure: out_of_attempts(&failure, policy) }
    }
}

/// One code answers the whole call, so a refused batch says nothing about its members: halve it
/// until the bad one stands alone. Halving spends no budget; it ends after log2(batch) calls.
fn refused(sent: Sent, failure: Failure, now: Timestamp) -> Settlement {
    if sent.batch_size > 1 {
        Settlement::Ready {
            due_at: now,
            retries: sent.retries,
            batch_max: Some(sent.batch_size / 2),
            portal_known: None,
            failure: Some(failure),
        }
    } else {
        Settlement::Dead { failure: Failure { disposition: Disposition::Data, ..failure } }
    }
}

fn out_of_attempts(last: &Failure, policy: &RetryPolicy) -> Failure {
    policy.exhausted("push.out_of_attempts", last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn policy() -> RetryPolicy {
        RetryPolicy {
            initial_ms: 1000,
            multiplier: 2.0,
            max_ms: 60_000,
            attempts_max: 3,
            jitter: 0.0,
        }
    }

    fn failed(disposition: Disposition) -> Outcome {
        Outcome::Failed(Failure::new("test.failure", disposition, "a failure"))
    }

    fn single(retries: u32, is_updating: bool) -> Sent {
        Sent { retries, batch_size: 1, is_updating, destination_down: false }
    }

    #[test]
    fn while_the_portal_answers_nobody_nothing_is_spent() {
        for disposition in [Disposition::Ambiguous, Disposition::Retryable] {
            for retries in [0, 3] {
                let sent = Sent { destination_down: true, ..single(retries, false) };
                let next = settle(sent, failed(disposition), NOW, &policy(), 0.5);
                let (Settlement::Ready { retries: after, .. }
                | Settlement::Unconfirmed { retries: after, .. }) = next
                else {
                    panic!("{next:?}");
                };
                assert_eq!(after, retries);
            }
        }
    }

    #[test]
    fn a_create_of_a_known_dossier_is_sent_again_as_an_update() {
        let exists = Outcome::Exists(Failure::new("portal.exists", Disposition::Data, "exists"));
        let next = settle(single(0, false), exists, NOW, &policy(), 0.5);
        let Settlement::Ready { due_at, retries, portal_known, .. } = next else {
            panic!("{next:?}")
        };
        assert_eq!((due_at, retries, portal_known), (NOW, 1, Some(PortalKnown::Yes)));
    }

    #[test]
    fn a_contradicting_portal_ends_in_dead_not_in_a_loop() {
        let mut sent = single(0, false);
        for turn in 0..10 {
            let failure = Failure::new("portal.flip", Disposition::Data, "flip");
            let outcome = if sent.is_updating {
                Outcome::UnknownDossier(failure)
            } else {
                Outcome::Exists(failure)
            };
            match settle(sent, outcome, NOW, &policy(), 0.5) {
                Settlement::Ready { retries, portal_known: Some(known), .. } => {
                    sent = single(retries, known.is_updating());
                }
                Settlement::Dead { .. } => {
                    assert_eq!(turn, 3);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("never ended");
    }

    #[test]
    fn a_refused_batch_is_halved_until_one_stands_alone() {
        let mut size = 50;
        let mut calls = 0;
        loop {
            let sent = Sent { batch_size: size, ..single(0, false) };
            calls += 1;
            match settle(sent, failed(Disposition::Data), NOW, &policy(), 0.5) {
                Settlement::Ready { batch_max: Some(half), retries: 0, .. } => size = half,
                Settlement::Dead { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((size, calls), (1, 6));
    }

    #[test]
    fn a_lost_answer_is_looked_at_even_when_the_budget_is_spent() {
        let next = settle(single(3, false), failed(Disposition::Ambiguous), NOW, &policy(), 0.5);
        assert_eq!(next.state(), EntryState::Unconfirmed);
        let failure = Failure::new("portal.timeout", Disposition::Ambiguous, "no answer");
        let next = settle_read_back(4, ReadBack::Missing, &failure, NOW, &policy(), 0.5);
        assert_eq!(next.state(), EntryState::Dead);
    }

    #[test]
    fn waiting_for_quota_or_environment_spends_no_attempts() {
        for disposition in [Disposition::Throttled, Disposition::Environment] {
            let next = settle(single(3, true), failed(disposition), NOW, &policy(), 0.5);
            assert!(matches!(next, Settlement::Ready { retries: 3, .. }), "{next:?}");
        }
    }

    fn any_outcome() -> impl Strategy<Value = Outcome> {
        let failure = || Failure::new("test.failure", Disposition::Data, "a failure");
        prop_oneof![
            Just(Outcome::Accepted(Receipt { code: "0".into(), message: String::new() })),
            Just(Outcome::Exists(failure())),
            Just(Outcome::UnknownDossier(failure())),
            Just(Outcome::NotSent { failure: failure(), until: NOW }),
            Just(failed(Disposition::Retryable)),
            Just(failed(Disposition::Throttled)),
            Just(failed(Disposition::Environment)),
            Just(failed(Disposition::Data)),
            Just(failed(Disposition::Ambiguous)),
        ]
    }

    proptest! {
        #[test]
        fn every_settlement_is_an_allowed_transition_and_never_in_the_past(
            outcome in any_outcome(), retries in 0u32..6, batch_size in 1u32..60,
            is_updating: bool, chance in 0.0f64..1.0,
        ) {
            let accepted = matches!(outcome, Outcome::Accepted(_));
            let sent = Sent { batch_size, ..single(retries, is_updating) };
            let next = settle(sent, outcome, NOW, &policy(), chance);
            prop_assert!(EntryState::Leased.may_become(next.state()));
            prop_assert_eq!(accepted, next.state() == EntryState::Accepted);
            if let Settlement::Ready { due_at, retries: after, batch_max, .. } = next {
                prop_assert!(due_at >= NOW);
                prop_assert!(after >= retries && after <= retries + 1);
                prop_assert!(batch_max.is_none_or(|max| max >= 1 && max < batch_size));
            }
        }

        #[test]
        fn endless_failures_end_within_the_budget(outcomes in proptest::collection::vec(
            prop_oneof![Just(Disposition::Retryable), Just(Disposition::Ambiguous)], 20)) {
            let mut retries = 0;
            let mut calls = 0;
            for disposition in outcomes {
                calls += 1;
                let next = match settle(single(retries, false), failed(disposition), NOW, &policy(), 0.5) {
                    Settlement::Unconfirmed { retries, failure, .. } => settle_read_back(
                        retries, ReadBack::Missing, &failure, NOW, &policy(), 0.5),
                    other => other,
                };
                match next {
                    Settlement::Ready { retries: after, .. } => retries = after,
                    Settlement::Dead { .. } => break,
                    other => panic!("{other:?}"),
                }
            }
            prop_assert_eq!(calls, policy().attempts_max + 1);
        }
    }
}
