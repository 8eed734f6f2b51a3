//! Who waits for the quota, and who goes next: the class whose share it is, and in it who came first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::domain::priority::Priority;
use crate::domain::share::{Shares, Turns};

/// Place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    class: Priority,
    arrival: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    waiting: BTreeMap<Priority, VecDeque<(u64, Arc<Notify>)>>,
    turns: Turns,
    arrivals: u64,
}

impl Queue {
    pub(super) fn new(shares: Shares) -> Self {
        Self { waiting: BTreeMap::new(), turns: Turns::new(shares), arrivals: 0 }
    }

    pub(super) fn shares(&self) -> Shares {
        self.turns.shares()
    }

    /// Whether the holder of this place, or a newcomer of this class, is next.
    pub(super) fn is_next(&self, class: Priority, place: Option<Place>) -> bool {
        let next = self.turns.next(|other| other == class || self.count(other) > 0);
        let first = self.first(class).map(|(arrival, _)| *arrival);
        next == Some(class) && first == place.map(|place| place.arrival)
    }

    /// This class had its turn.
    pub(super) fn took(&mut self, class: Priority) {
        self.turns.took(class);
    }

    pub(super) fn join(&mut self, class: Priority) -> (Place, Arc<Notify>) {
        let place = Place { class, arrival: self.arrivals };
        self.arrivals += 1;
        let wake = Arc::new(Notify::new());
        let line = self.waiting.entry(class).or_default();
        line.push_back((place.arrival, Arc::clone(&wake)));
        (place, wake)
    }

    /// Leaves, and wakes the one who is next now. A wake-up for somebody who is not waiting at the
    /// moment is kept for it, so none is lost.
    pub(super) fn leave(&mut self, place: Place) {
        if let Some(line) = self.waiting.get_mut(&place.class) {
            // Mostly the first one.
            line.retain(|(arrival, _)| *arrival != place.arrival);
        }
        self.wake_next();
    }

    pub(super) fn wake_next(&self) {
        let next = self.turns.next(|class| self.count(class) > 0);
        if let Some((_, wake)) = next.and_then(|class| self.first(class)) {
            wake.notify_one();
        }
    }

    pub(super) fn wake_all(&self) {
        for (_, wake) in self.waiting.values().flatten() {
            wake.notify_one();
        }
    }

    pub(super) fn count(&self, class: Priority) -> usize {
        self.waiting.get(&class).map_or(0, VecDeque::len)
    }

    fn first(&self, class: Priority) -> Option<&(u64, Arc<Notify>)> {
        self.waiting.get(&class)?.front()
    }
}
