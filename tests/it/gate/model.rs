//! A portal that counts calls, and the real gate before it, in simulated time.
//!
//! Discrete events: an endless backlog asks the gate for permits; a call takes 20 ms to the portal and
//! a drawn delay more (exponential: the jitter that bunches calls), is judged there by one kind of
//! window, is served for 60 ms if it was accepted, and its answer takes 20 ms back. Timers fire a
//! millisecond late at most. Nothing waits for real time, so figures are counts and repeat exactly.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hoso_gateway::clock::{Clock, ManualClock};
use hoso_gateway::domain::failure::{Disposition, Failure};
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ids::Chance;
use hoso_gateway::portal::{Gate, GateSettings, NoMemory, Permit, Signal, Window};

const TICK: Duration = Duration::from_millis(1);
const WIRE: Duration = Duration::from_millis(20);
const SERVICE: Duration = Duration::from_millis(60);

/// How the portal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    EveryAttempt,
    Accepted,
    CalendarSecond,
    BucketOfTen,
}

impl Counts {
    pub(crate) const ALL: [Self; 4] =
        [Self::EveryAttempt, Self::Accepted, Self::CalendarSecond, Self::BucketOfTen];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EveryAttempt => "sliding, every attempt",
            Self::Accepted => "sliding, accepted only",
            Self::CalendarSecond => "calendar second",
            Self::BucketOfTen => "token bucket, burst 10",
        }
    }
}

/// What is simulated.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) counts: Counts,
    /// The portal's limit a second.
    pub(crate) limit: u32,
    pub(crate) jitter: Duration,
    pub(crate) length: Duration,
    /// Figures begin then; before it the gate may learn.
    pub(crate) warm_up: Duration,
    /// What the gate knows; empty: nothing.
    pub(crate) windows: Vec<Window>,
    pub(crate) headroom: f64,
    pub(crate) seed: u64,
}

/// What came of it, after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    /// Accepted calls in shares of what the limit allows.
    pub(crate) used: f64,
    pub(crate) refused_in_a_thousand: f64,
    /// Calls that left when a known window that ends with them was full already.
    pub(crate) overshoots: usize,
}

/// The gate and what it knows at the end.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    pub(crate) gate: Gate,
}

/// The portal's side.
struct Server {
    counts: Counts,
    limit: usize,
    counted: VecDeque<Duration>,
    second: u64,
    in_second: usize,
    credit: f64,
    filled_at: Duration,
}

impl Server {
    fn judge(&mut self, at: Duration) -> bool {
        let window = Duration::from_secs(1);
        while self.counted.front().is_some_and(|first| *first + window <= at) {
            self.counted.pop_front();
        }
        match self.counts {
            Counts::EveryAttempt => {
                self.counted.push_back(at);
                self.counted.len() <= self.limit
            }
            Counts::Accepted => {
                let accepted = self.counted.len() < self.limit;
                if accepted {
                    self.counted.push_back(at);
                }
                accepted
            }
            Counts::CalendarSecond => {
                if at.as_secs() != self.second {
                    (self.second, self.in_second) = (at.as_secs(), 0);
                }
                self.in_second += usize::from(self.in_second < self.limit + 1);
                self.in_second <= self.limit
            }
            Counts::BucketOfTen => {
                let elapsed = at.saturating_sub(self.filled_at).as_secs_f64();
                self.credit = (self.credit + elapsed * self.limit as f64).min(10.0);
                self.filled_at = at;
                let accepted = self.credit >= 1.0;
                self.credit -= f64::from(u8::from(accepted));
                accepted
            }
        }
    }
}

enum Event {
    Arrives,
    Answered { accepted: bool },
}

/// Time, number (so that equals keep their order), call, event.
struct Due {
    at: Duration,
    call: usize,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.call) == (other.at, other.call)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.call).cmp(&(other.at, other.call))
    }
}

fn throttled() -> Signal {
    Signal::Throttled(Failure::new("portal.throttled", Disposition::Throttled, "too many calls"))
}

/// Runs the model against the real gate.
pub(crate) async fn run(model: &Model) -> Outcome {
    let clock = ManualClock::at(Timestamp::from_millis(1_800_000_000_000));
    let settings = GateSettings {
        windows: model.windows.clone(),
        headroom: model.headroom,
        ..GateSettings::default()
    };
    let chance = Arc::new(Chance::seeded(model.seed));
    let gate = Gate::open(settings, Arc::new(clock.clone()), chance, Arc::new(NoMemory))
        .await
        .expect("sensible windows, and nothing to recall");
    let figures = drive(model, &clock, &gate).await;
    Outcome { figures, gate }
}

/// The same network and portal for a sender that paces itself at a fixed rate and learns nothing:
/// what the best such rate reaches is the limit that physics sets beside the gate's figures.
fn fixed_pace(model: &Model, calls_a_second: f64) -> Figures {
    let chance = Chance::seeded(model.seed);
    let mut server = Server::of(model);
    let mut arrivals: Vec<Duration> = Vec::new();
    let apart = Duration::from_secs_f64(1.0 / calls_a_second);
    let mut at = Duration::ZERO;
    while at < model.length {
        arrivals.push(at + delay(model, &chance));
        at += apart;
    }
    arrivals.sort_unstable();
    let (mut accepted, mut refused) = (0_usize, 0_usize);
    for at in arrivals {
        let taken = server.judge(at);
        if at >= model.warm_up && at < model.length {
            accepted += usize::from(taken);
            refused += usize::from(!taken);
        }
    }
    figures(model, accepted, refused, 0)
}

/// The most that a fixed pace can use of the quota while it stays below 0.5 refusals in 1,000
/// calls, found by trying. Nobody knows that pace beforehand.
pub(crate) fn best_fixed_pace(model: &Model) -> Figures {
    (0..60)
        .map(|down| fixed_pace(model, f64::from(model.limit) * (1.0 - f64::from(down) / 200.0)))
        .find(|figures| figures.refused_in_a_thousand <= 0.5)
        .unwrap_or(Figures { used: 0.0, refused_in_a_thousand: 0.0, overshoots: 0 })
}

async fn drive<'g>(model: &Model, clock: &ManualClock, gate: &'g Gate) -> Figures {
    let chance = Chance::seeded(model.seed ^ 0x5eed);
    let mut server = Server::of(model);
    let mut events: BinaryHeap<Reverse<Due>> = BinaryHeap::new();
    let mut permits: Vec<Option<Permit<'g>>> = Vec::new();
    let mut left: Vec<Duration> = Vec::new();
    let (mut accepted, mut refused) = (0_usize, 0_usize);
    let mut asking = Box::pin(gate.admit(Priority::Live, "model"));
    let mut closed_until = Duration::ZERO;
    while clock.monotonic() < model.length {
        let now = clock.monotonic();
        while let Some(Reverse(due)) = events.peek()
            && due.at <= now
        {
            let Some(Reverse(due)) = events.pop() else { break };
            match due.event {
                Event::Arrives => {
                    let taken = server.judge(due.at);
                    if due.at >= model.warm_up {
                        accepted += usize::from(taken);
                        refused += usize::from(!taken);
                    }
                    let service = if taken { SERVICE } else { Duration::ZERO };
                    let event = Event::Answered { accepted: taken };
                    events.push(Reverse(Due {
                        at: due.at + service + WIRE,
                        call: due.call,
                        event,
                    }));
                }
                Event::Answered { accepted } => {
                    let permit = permits[due.call].take().expect("answered once");
                    permit.done(if accepted { Signal::Success } else { throttled() });
                }
            }
        }
        while now >= closed_until {
            match futures_util::poll!(&mut asking) {
                Poll::Pending => break,
                Poll::Ready(admitted) => {
                    asking = Box::pin(gate.admit(Priority::Live, "model"));
                    match admitted {
                        Ok(permit) => {
                            let call = permits.len();
                            permits.push(Some(permit));
                            left.push(now);
                            let at = now + delay(model, &chance);
                            events.push(Reverse(Due { at, call, event: Event::Arrives }));
                        }
                        Err(closed) => closed_until = now + closed.until.since(clock.now()),
                    }
                }
            }
        }
        clock.advance(TICK);
    }
    drop(asking);
    let overshoots = model.windows.iter().map(|window| overshoots(&left, window)).sum();
    figures(model, accepted, refused, overshoots)
}

impl Server {
    fn of(model: &Model) -> Self {
        Self {
            counts: model.counts,
            limit: model.limit as usize,
            counted: VecDeque::new(),
            second: 0,
            in_second: 0,
            credit: 10.0,
            filled_at: Duration::ZERO,
        }
    }
}

fn delay(model: &Model, chance: &Chance) -> Duration {
    let drawn = -(1.0 - chance.fraction()).ln() * model.jitter.as_secs_f64();
    WIRE + Duration::from_secs_f64(drawn)
}

fn figures(model: &Model, accepted: usize, refused: usize, overshoots: usize) -> Figures {
    let seconds = model.length.saturating_sub(model.warm_up).as_secs_f64();
    Figures {
        used: accepted as f64 / (seconds * f64::from(model.limit)),
        refused_in_a_thousand: 1000.0 * refused as f64 / (accepted + refused).max(1) as f64,
        overshoots,
    }
}

/// Calls that left when the window that ends with them was full already.
fn overshoots(left: &[Duration], window: &Window) -> usize {
    let (limit, length) = (window.limit as usize, Duration::from_millis(window.window_ms));
    (limit..left.len()).filter(|place| left[*place] < left[*place - limit] + length).count()
}
