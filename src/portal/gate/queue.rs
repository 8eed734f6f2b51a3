//! Who waits for the quota, in which order: the most pressing class first, then who came first.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::domain::priority::Priority;

/// Place in the queue; smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    class: Priority,
    arrival: u64,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Place, Arc<Notify>>,
    arrivals: u64,
}

impl Queue {
    /// Whether the holder of this place, or a newcomer of this class, is next.
    pub(super) fn is_next(&self, class: Priority, place: Option<Place>) -> bool {
        match (self.waiting.first_key_value(), place) {
            (None, _) => true,
            (Some((first, _)), Some(place)) => *first == place,
            (Some((first, _)), None) => class < first.class,
        }
    }

    pub(super) fn join(&mut self, class: Priority) -> (Place, Arc<Notify>) {
        let place = Place { class, arrival: self.arrivals };
        self.arrivals += 1;
        let wake = Arc::new(Notify::new());
        self.waiting.insert(place, Arc::clone(&wake));
        (place, wake)
    }

    /// Leaves, and wakes the one who is next now. A wake-up for somebody who is not waiting at the
    /// moment is kept for it, so none is lost.
    pub(super) fn leave(&mut self, place: Place) {
        self.waiting.remove(&place);
        self.wake_next();
    }

    pub(super) fn wake_next(&self) {
        if let Some((_, wake)) = self.waiting.first_key_value() {
            wake.notify_one();
        }
    }

    pub(super) fn wake_all(&self) {
        for wake in self.waiting.values() {
            wake.notify_one();
        }
    }

    pub(super) fn count(&self, class: Priority) -> usize {
        self.waiting.keys().filter(|place| place.class == class).count()
    }
}
