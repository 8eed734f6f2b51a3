//! A province that lives on: new dossiers, progress, second thoughts, corrections of the worst kind,
//! and a feed that is not always well.
//!
//! Draws what happens next from a seed and lets it happen; it does not wait. Whoever has a clock asks
//! it to move on by so much time.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use super::population::Event;
use super::province::{Misbehaviour, MisbehaviourRule, Province};

/// What happened so far, by name.
pub type Happened = BTreeMap<&'static str, u64>;

/// One thing that happens in a province.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Happening {
    Registered,
    Moved,
    Reopened,
    Withdrawn,
    Recoded,
    Deleted,
}

impl Happening {
    fn name(self) -> &'static str {
        match self {
            Self::Registered => "new",
            Self::Moved => "moved on",
            Self::Reopened => "reopened",
            Self::Withdrawn => "withdrawn",
            Self::Recoded => "re-coded",
            Self::Deleted => "deleted",
        }
    }

    /// A province's day is mostly progress; the rest is rare there and frequent enough here to be seen.
    fn draw(rng: &mut Rng) -> Self {
        match rng.u8(..100) {
            0..18 => Self::Registered,
            18..86 => Self::Moved,
            86..91 => Self::Reopened,
            91..95 => Self::Withdrawn,
            95..98 => Self::Recoded,
            _ => Self::Deleted,
        }
    }
}

/// Ways in which a feed is unwell for one answer and well again. None of them makes a dossier wrong.
const AILMENTS: [Misbehaviour; 9] = [
    Misbehaviour::TruncatedXml,
    Misbehaviour::HtmlPage,
    Misbehaviour::Status { status: 503 },
    Misbehaviour::Slow { ms: 700 },
    Misbehaviour::LateCommit { behind_ms: 3_000 },
    Misbehaviour::PageChangedWhilePaged,
    Misbehaviour::UnsortedItems,
    Misbehaviour::EqualTimestamps { dossiers: 5 },
    Misbehaviour::Utf8Bom,
];

/// How busy the province is.
#[derive(Debug, Clone, Copy)]
pub struct TrafficOptions {
    pub seed: u64,
    /// What happens to dossiers.
    pub changes_per_second: f64,
    /// Between two answers of the feed that are spoilt; `None` for a feed that is always well.
    pub ailing_every: Option<Duration>,
}

/// The life of one province.
#[derive(Debug)]
pub struct Traffic {
    options: TrafficOptions,
    rng: Rng,
    owed: f64,
    since_ailing: Duration,
    happened: Happened,
}

impl Traffic {
    pub fn new(options: TrafficOptions) -> Self {
        Self {
            rng: Rng::with_seed(options.seed ^ 0x007A_FF1C),
            options,
            owed: 0.0,
            since_ailing: Duration::ZERO,
            happened: Happened::new(),
        }
    }

    /// Lets happen what happens in so much time. Something that cannot happen (nothing stands that
    /// could be reopened) is left out.
    pub fn go_on(&mut self, province: &Province, passed: Duration) {
        self.owed += self.options.changes_per_second * passed.as_secs_f64();
        while self.owed >= 1.0 {
            self.owed -= 1.0;
            let happening = Happening::draw(&mut self.rng);
            if happen(province, happening).is_some() {
                *self.happened.entry(happening.name()).or_default() += 1;
            }
        }
        let Some(every) = self.options.ailing_every else { return };
        self.since_ailing += passed;
        if self.since_ailing >= every {
            self.since_ailing = Duration::ZERO;
            let ailment = AILMENTS[self.rng.usize(..AILMENTS.len())].clone();
            province.misbehave(MisbehaviourRule::once(ailment));
            *self.happened.entry("feed unwell").or_default() += 1;
        }
    }

    pub fn happened(&self) -> &Happened {
        &self.happened
    }
}

fn happen(province: &Province, happening: Happening) -> Option<String> {
    match happening {
        Happening::Registered => province.add(1).pop(),
        Happening::Moved => province.evolve_any(),
        Happening::Reopened => province.happen(&province.draw(true)?, Event::Reopen),
        Happening::Withdrawn => province.happen(&province.draw(false)?, Event::Withdraw),
        Happening::Recoded => province.happen(&province.draw(false)?, Event::Recode),
        Happening::Deleted => province.delete(&province.draw(true)?),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::lab::population::PopulationOptions;
    use crate::lab::province::{ProvinceOptions, start};

    async fn lived(seed: u64) -> (Vec<String>, Happened) {
        let population = PopulationOptions { dossiers: 60, ..PopulationOptions::default() };
        let options = ProvinceOptions { population, ..ProvinceOptions::default() };
        let province = start(options, Arc::new(SystemClock::new())).await.unwrap();
        let mut traffic = Traffic::new(TrafficOptions {
            seed,
            changes_per_second: 50.0,
            ailing_every: Some(Duration::from_secs(1)),
        });
        for _ in 0..100 {
            traffic.go_on(&province, Duration::from_millis(100));
        }
        let left = province.left_codes();
        let happened = traffic.happened().clone();
        province.shutdown().await.unwrap();
        (left, happened)
    }

    #[tokio::test]
    async fn everything_that_can_happen_does_and_a_seed_repeats_it() {
        let (left, happened) = lived(7).await;
        let names: Vec<&str> = happened.keys().copied().collect();
        assert_eq!(
            names,
            ["deleted", "feed unwell", "moved on", "new", "re-coded", "reopened", "withdrawn"]
        );
        assert_eq!(left.len() as u64, happened["re-coded"]);
        assert!((400..=500).contains(&(happened.values().sum::<u64>() - happened["feed unwell"])));
        assert_eq!(happened["feed unwell"], 10);
        assert_eq!(lived(7).await.1["new"], happened["new"]);
    }
}
