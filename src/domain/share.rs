//! How the quota is divided between the classes of work when it does not suffice for all of it.
//!
//! Start-time fair queueing: each class has an account of virtual time; a turn costs the inverse of
//! the class's weight, and the class with the smallest account goes next. A class that was idle
//! begins at the present virtual time: it neither saves up turns nor owes any. So while two classes
//! wait, they share in the ratio of their weights; what a class leaves flows to the others; and one
//! that was idle goes next, the more pressing first where accounts are equal.

use serde::{Deserialize, Serialize};

use super::priority::Priority;

/// Weights of the classes, against one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    pub urgent: u32,
    pub live: u32,
    pub deadline_near: u32,
    pub backfill: u32,
    pub audit: u32,
}

impl Default for Shares {
    /// What somebody waits for takes what it needs first; a first fill and looking back still move.
    fn default() -> Self {
        Self { urgent: 50, live: 24, deadline_near: 16, backfill: 6, audit: 4 }
    }
}

impl Shares {
    pub const fn weight(&self, class: Priority) -> u32 {
        match class {
            Priority::Urgent => self.urgent,
            Priority::Live => self.live,
            Priority::DeadlineNear => self.deadline_near,
            Priority::Backfill => self.backfill,
            Priority::Audit => self.audit,
        }
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    shares: Shares,
    /// Virtual time up to which each class was served.
    spent: [u64; Priority::ALL.len()],
    /// Virtual time at which the last turn began; idle classes begin here.
    now: u64,
}

/// The cost of a turn at weight 1; divisible enough that rounding does not favour anybody.
const TURN: u64 = 1 << 32;

impl Turns {
    pub const fn new(shares: Shares) -> Self {
        Self { shares, spent: [0; Priority::ALL.len()], now: 0 }
    }

    /// The accounts stay, later turns cost what the new weights say.
    pub const fn reweigh(&mut self, shares: Shares) {
        self.shares = shares;
    }

    pub const fn shares(&self) -> Shares {
        self.shares
    }

    /// The class that goes next of those that wait.
    pub fn next(&self, waits: impl Fn(Priority) -> bool) -> Option<Priority> {
        Priority::ALL
            .into_iter()
            .filter(|class| waits(*class))
            .min_by_key(|class| (self.begin(*class), class.rank()))
    }

    /// This class had a turn.
    pub fn took(&mut self, class: Priority) {
        let begin = self.begin(class);
        self.now = self.now.max(begin);
        self.spent[class as usize] = begin + TURN / u64::from(self.shares.weight(class).max(1));
    }

    /// How `limit` turns go to classes of which so many wait; counts them as taken.
    pub fn deal(
        &mut self,
        limit: usize,
        mut waiting: [usize; Priority::ALL.len()],
    ) -> [usize; Priority::ALL.len()] {
        let mut dealt = [0; Priority::ALL.len()];
        for _ in 0..limit {
            let Some(class) = self.next(|class| waiting[class as usize] > 0) else { break };
            self.took(class);
            waiting[class as usize] -= 1;
            dealt[class as usize] += 1;
        }
        dealt
    }

    fn begin(&self, class: Priority) -> u64 {
        self.spent[class as usize].max(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Audit, Backfill, DeadlineNear, Live, Urgent};
    use proptest::prelude::*;

    #[test]
    fn the_place_of_a_class_in_the_table_is_its_rank() {
        for (at, class) in Priority::ALL.into_iter().enumerate() {
            assert_eq!((class as usize, class.rank()), (at, i64::try_from(at).unwrap()));
        }
    }

    #[test]
    fn all_that_wait_share_by_weight_and_what_one_leaves_flows_to_the_others() {
        let mut turns = Turns::new(Shares::default());
        assert_eq!(turns.deal(100, [1000; 5]), [50, 24, 16, 6, 4]);
        let mut turns = Turns::new(Shares::default());
        assert_eq!(turns.deal(1000, [0, 10_000, 0, 10_000, 0]), [0, 800, 0, 200, 0]);
        let mut turns = Turns::new(Shares::default());
        assert_eq!(turns.deal(30, [0, 0, 0, 0, 100]), [0, 0, 0, 0, 30]);
        assert_eq!(turns.deal(10, [2, 0, 0, 1, 3]), [2, 0, 0, 1, 3]);
    }

    #[test]
    fn what_is_urgent_goes_next_however_long_the_others_were_served() {
        for served in 0..300 {
            let mut turns = Turns::new(Shares::default());
            turns.deal(served, [0, 10_000, 50, 10_000, 10_000]);
            assert_eq!(turns.next(|_| true), Some(Urgent), "after {served}");
        }
    }

    #[test]
    fn idleness_saves_nothing_up() {
        let mut turns = Turns::new(Shares::default());
        turns.deal(10_000, [0, 100_000, 0, 0, 0]);
        // Had backfill saved up, it would take the next thousands of turns alone.
        let dealt = turns.deal(100, [0, 1000, 0, 1000, 0]);
        assert_eq!(dealt, [0, 80, 0, 20, 0]);
    }

    proptest! {
        /// Brute force over every stretch of a drawn day: whoever waits all the time gets his
        /// share of the turns given to classes that waited all the time, to within two turns.
        #[test]
        fn nobody_who_waits_gets_less_than_his_share(
            weights in proptest::array::uniform5(1u32..100),
            arrivals in proptest::collection::vec(proptest::array::uniform5(0usize..4), 1..120),
        ) {
            let [urgent, live, deadline_near, backfill, audit] = weights;
            let shares = Shares { urgent, live, deadline_near, backfill, audit };
            let mut turns = Turns::new(shares);
            let mut waiting = [0usize; 5];
            let mut day: Vec<([bool; 5], Priority)> = Vec::new();
            for more in arrivals {
                for (waits, more) in waiting.iter_mut().zip(more) {
                    *waits += more;
                }
                let Some(class) = turns.next(|class| waiting[class as usize] > 0) else { continue };
                turns.took(class);
                day.push((waiting.map(|waits| waits > 0), class));
                waiting[class as usize] -= 1;
            }
            for from in 0..day.len() {
                let mut served = [0f64; 5];
                let mut always = [true; 5];
                for (waits, class) in &day[from..] {
                    for (always, waits) in always.iter_mut().zip(waits) {
                        *always &= *waits;
                    }
                    served[*class as usize] += 1.0;
                    for one in [Urgent, Live, DeadlineNear, Backfill, Audit] {
                        for other in Priority::ALL {
                            if !always[one as usize] { continue }
                            let (mine, yours) =
                                (f64::from(weights[one as usize]), f64::from(weights[other as usize]));
                            // In virtual time nobody is ahead of one who waits by more than a turn
                            // of each.
                            let ahead = served[other as usize] / yours - served[one as usize] / mine;
                            prop_assert!(ahead <= 1.0 / mine + 1.0 / yours + 1e-6);
                        }
                    }
                }
            }
        }
    }
}
