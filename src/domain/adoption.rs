//! Taking a dossier over from an older sync: what a look at the portal means for it.
//!
//! The portal says little more than whether it has the dossier. So what an older program sent is
//! *presumed*, never acknowledged, and a dossier that was not asked about waits.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::retry::RetryPolicy;
use super::time::Timestamp;

/// What a look at the portal says of a dossier that an older program may have sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    Known(Shown),
    Missing,
    /// The look-up did not succeed; `until` is when the portal may be asked again, if it is known.
    Failed {
        failure: Failure,
        until: Option<Timestamp>,
    },
}

/// How much of its packet the portal shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shown {
    Existence,
    /// Every field that it shows equals our packet.
    Equal,
    /// Names of fields that differ.
    Different(Vec<String>),
}

/// A dossier that awaits adoption, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Its packet is newer than the cut-over, or an operator wants it sent: the portal cannot hold
    /// it by the older program's doing, or must get it all the same.
    pub owed: bool,
    /// Look-ups without an answer so far.
    pub retries: u32,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adoption {
    /// The portal has the dossier and nothing changed since the cut-over: believed, not sent.
    Presumed,
    /// The portal has the dossier, and our packet is newer or differs: sent as an update. Steps
    /// before the cut-over are presumed.
    Update,
    /// The portal does not have it: sent as a create with all its steps.
    Create,
    /// Asked again at `due_at`; nothing is sent before.
    Later { due_at: Timestamp, retries: u32, failure: Failure },
}

/// What follows for a dossier from a look at the portal. `chance` is a fraction in `0.0..1.0` for
/// jitter.
pub fn adopt(
    waiting: Waiting,
    look: Look,
    now: Timestamp,
    policy: &RetryPolicy,
    chance: f64,
) -> Adoption {
    match look {
        Look::Known(Shown::Different(_)) => Adoption::Update,
        Look::Known(Shown::Existence | Shown::Equal) if waiting.owed => Adoption::Update,
        Look::Known(Shown::Existence | Shown::Equal) => Adoption::Presumed,
        Look::Missing => Adoption::Create,
        // Asked less and less often, but for ever: giving up would be a guess.
        Look::Failed { failure, until } => {
            let retries = match until {
                Some(_) => waiting.retries,
                None => (waiting.retries + 1).min(policy.attempts_max.max(waiting.retries)),
            };
            let due_at = until.unwrap_or_else(|| now + policy.delay(retries.max(1), chance));
            Adoption::Later { due_at, retries, failure }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Disposition;

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

    fn decided(owed: bool, look: Look) -> Adoption {
        adopt(Waiting { owed, retries: 0 }, look, NOW, &policy(), 0.5)
    }

    #[test]
    fn only_an_unchanged_dossier_that_the_portal_has_is_believed_without_being_sent() {
        let different = || Shown::Different(vec!["TrangThaiHoSo".to_owned()]);
        let table = [
            (false, Look::Known(Shown::Existence), Adoption::Presumed),
            (false, Look::Known(Shown::Equal), Adoption::Presumed),
            (false, Look::Known(different()), Adoption::Update),
            (true, Look::Known(Shown::Existence), Adoption::Update),
            (true, Look::Known(Shown::Equal), Adoption::Update),
            (false, Look::Missing, Adoption::Create),
            (true, Look::Missing, Adoption::Create),
        ];
        for (owed, look, expected) in table {
            assert_eq!(decided(owed, look.clone()), expected, "{owed} {look:?}");
        }
    }

    #[test]
    fn without_an_answer_it_waits_for_ever_and_is_never_decided() {
        let failure = Failure::new("portal.timeout", Disposition::Ambiguous, "no answer");
        let mut retries = 0;
        for _ in 0..10 {
            let look = Look::Failed { failure: failure.clone(), until: None };
            let waiting = Waiting { owed: true, retries };
            let Adoption::Later { due_at, retries: next, .. } =
                adopt(waiting, look, NOW, &policy(), 0.5)
            else {
                panic!("decided without an answer");
            };
            assert!(due_at > NOW && next >= retries && next <= policy().attempts_max);
            retries = next;
        }
        let until = Some(NOW + std::time::Duration::from_secs(9));
        let closed = decided(false, Look::Failed { failure: failure.clone(), until });
        let due_at = NOW + std::time::Duration::from_secs(9);
        assert_eq!(closed, Adoption::Later { due_at, retries: 0, failure });
    }
}
