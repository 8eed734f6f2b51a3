//! Signs of life: every loop owes one within its limit, and gives it from inside its work.
//!
//! Owns who is overdue. Knows nothing of what the loops do, nor of what follows when one is silent.
//! Time is always the monotonic clock's, as an argument.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// All loops that owe signs of life. Cheap to clone; clones know the same loops.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    hearts: Arc<Mutex<Vec<Weak<Heart>>>>,
}

#[derive(Debug)]
struct Heart {
    name: String,
    limit: Duration,
    /// Monotonic milliseconds by which the next sign is owed.
    due_ms: AtomicU64,
}

/// What one loop gives its signs with. The default one gives them to nobody, for passes that a
/// person runs by hand.
#[derive(Debug, Clone, Default)]
pub struct Beat(Option<Arc<Heart>>);

/// A loop whose sign is overdue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    pub name: String,
    /// Since its sign was owed.
    pub overdue: Duration,
}

impl Pulse {
    /// Watches a loop from now on, until its last [`Beat`] is dropped. `limit` is the longest time
    /// that may honestly lie between two signs while it works.
    pub fn watch(&self, name: impl Into<String>, limit: Duration, now: Duration) -> Beat {
        let heart = Arc::new(Heart { name: name.into(), limit, due_ms: AtomicU64::new(0) });
        let mut hearts = self.hearts.lock().unwrap_or_else(PoisonError::into_inner);
        hearts.retain(|heart| heart.strong_count() > 0);
        hearts.push(Arc::downgrade(&heart));
        let beat = Beat(Some(heart));
        beat.strike(now);
        beat
    }

    /// The loops whose sign is overdue.
    pub fn silent(&self, now: Duration) -> Vec<Silent> {
        let hearts = self.hearts.lock().unwrap_or_else(PoisonError::into_inner);
        hearts
            .iter()
            .filter_map(Weak::upgrade)
            .filter_map(|heart| {
                let due = Duration::from_millis(heart.due_ms.load(Ordering::Acquire));
                let overdue = now.checked_sub(due).filter(|overdue| !overdue.is_zero())?;
                Some(Silent { name: heart.name.clone(), overdue })
            })
            .collect()
    }
}

impl Beat {
    /// Something has moved.
    pub fn strike(&self, now: Duration) {
        self.rest(now, Duration::ZERO);
    }

    /// Nothing will move for `wait`, on purpose.
    pub fn rest(&self, now: Duration, wait: Duration) {
        if let Some(heart) = &self.0 {
            let due = now.saturating_add(wait).saturating_add(heart.limit);
            let due_ms = u64::try_from(due.as_millis()).unwrap_or(u64::MAX);
            heart.due_ms.store(due_ms, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_loop_is_overdue_only_after_its_rest_and_its_limit_and_forgotten_when_it_ends() {
        let pulse = Pulse::default();
        let quick = pulse.watch("quick", s(10), s(0));
        let slow = pulse.watch("slow", s(100), s(0));
        assert!(pulse.silent(s(10)).is_empty());
        assert_eq!(pulse.silent(s(11)), [Silent { name: "quick".into(), overdue: s(1) }]);
        quick.rest(s(11), s(3600));
        assert!(pulse.silent(s(100)).is_empty(), "it rests, and the other is within its limit");
        slow.strike(s(100));
        assert_eq!(pulse.silent(s(11 + 3600 + 10 + 1)).len(), 2);
        drop(slow);
        quick.strike(s(5000));
        assert!(pulse.silent(s(5000)).is_empty(), "who has ended owes nothing");
    }

    #[test]
    fn a_pass_that_nobody_watches_gives_its_signs_to_nobody() {
        Beat::default().rest(s(1), s(2));
    }
}
