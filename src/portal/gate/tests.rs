//! The gate with a clock that is moved by hand: order, closing, restarts, cost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use async_trait::async_trait;

use super::*;
use crate::clock::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

fn epoch() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn window(limit: u32, window_ms: u64) -> Window {
    Window { limit, window_ms, burst: 1 }
}

fn fault() -> Failure {
    Failure::new("portal.timeout", Disposition::Ambiguous, "test")
}

/// A memory that outlives gates, counts writes and can be broken.
#[derive(Debug, Default)]
struct Disk {
    bounds: Mutex<Vec<(String, Timestamp)>>,
    learned: Mutex<Option<Learned>>,
    writes: Mutex<u32>,
    broken: AtomicBool,
}

#[async_trait]
impl QuotaMemory for Disk {
    async fn remember(&self, window: &str, until: Timestamp) -> Result<(), MemoryFailure> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(MemoryFailure("disk full".to_owned()));
        }
        *self.writes.lock().unwrap() += 1;
        let mut bounds = self.bounds.lock().unwrap();
        bounds.retain(|(name, _)| name != window);
        bounds.push((window.to_owned(), until));
        Ok(())
    }

    async fn recall(&self) -> Result<Vec<(String, Timestamp)>, MemoryFailure> {
        Ok(self.bounds.lock().unwrap().clone())
    }

    async fn keep(&self, learned: &Learned) -> Result<(), MemoryFailure> {
        *self.learned.lock().unwrap() = Some(learned.clone());
        Ok(())
    }

    async fn learned(&self) -> Result<Option<Learned>, MemoryFailure> {
        Ok(self.learned.lock().unwrap().clone())
    }
}

async fn gate_of(windows: Vec<Window>, clock: &ManualClock, disk: &Arc<Disk>) -> Arc<Gate> {
    let memory: Arc<dyn QuotaMemory> = Arc::clone(disk) as Arc<dyn QuotaMemory>;
    let settings = GateSettings { windows, headroom: 0.0, ..GateSettings::default() };
    let gate = Gate::open(settings, Arc::new(clock.clone()), Arc::new(Chance::seeded(42)), memory);
    Arc::new(gate.await.unwrap())
}

/// Lets every task that can run, run.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Tasks that want one permit each and note the class that got it.
fn line_up(gate: &Arc<Gate>, classes: &[Priority], log: &Arc<Mutex<Vec<String>>>) {
    for (at, class) in classes.iter().copied().enumerate() {
        let (gate, log) = (Arc::clone(gate), Arc::clone(log));
        tokio::spawn(async move {
            let entry = match gate.admit(class, "test").await {
                Ok(permit) => {
                    permit.done(Signal::Success);
                    format!("{class} {at}")
                }
                Err(closed) => format!("closed {}", closed.failure.code),
            };
            log.lock().unwrap().push(entry);
        });
    }
}

#[tokio::test]
async fn each_class_gets_its_turn_the_urgent_first_and_equals_in_order_of_arrival() {
    use Priority::{Audit, Backfill, DeadlineNear, Live, Urgent};
    let clock = ManualClock::at(epoch());
    let gate = gate_of(vec![window(1, 10_000)], &clock, &Arc::default()).await;
    gate.admit(Live, "test").await.unwrap().done(Signal::Success);
    let log = Arc::new(Mutex::new(Vec::new()));
    line_up(&gate, &[Audit, Backfill, Live, Live, DeadlineNear, Urgent], &log);
    settle().await;
    assert_eq!(gate.status().waiting.iter().map(|(_, n)| n).sum::<usize>(), 6);
    for _ in 0..6 {
        clock.advance(10 * SECOND);
        settle().await;
    }
    assert_eq!(
        *log.lock().unwrap(),
        ["urgent 5", "deadline-near 4", "backfill 1", "audit 0", "live 2", "live 3"]
    );
}

#[tokio::test]
async fn a_waiter_that_goes_away_delays_nobody() {
    let clock = ManualClock::at(epoch());
    let gate = gate_of(vec![window(1, 10_000)], &clock, &Arc::default()).await;
    gate.admit(Priority::Live, "test").await.unwrap().done(Signal::Success);
    let log = Arc::new(Mutex::new(Vec::new()));
    // First in line, and given up in the middle of its wait.
    let mut first = Box::pin(gate.admit(Priority::Urgent, "test"));
    assert!(matches!(futures_util::poll!(&mut first), Poll::Pending));
    line_up(&gate, &[Priority::Live], &log);
    settle().await;
    drop(first);
    clock.advance(10 * SECOND);
    settle().await;
    assert_eq!(*log.lock().unwrap(), ["live 0"]);
    assert_eq!(gate.status().waiting, []);
}

#[tokio::test]
async fn those_who_wait_are_sent_away_when_the_gate_closes() {
    let clock = ManualClock::at(epoch());
    let gate = gate_of(vec![window(1, 10_000)], &clock, &Arc::default()).await;
    let permit = gate.admit(Priority::Live, "test").await.unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    line_up(&gate, &[Priority::Live, Priority::Audit], &log);
    settle().await;
    permit.done(Signal::Throttled(
        Failure::new(codes::THROTTLED, Disposition::Throttled, "test")
            .with_retry_after_ms(Some(3_000)),
    ));
    settle().await;
    assert_eq!(*log.lock().unwrap(), ["closed portal.throttled", "closed portal.throttled"]);
    let Readiness::Closed { until, .. } = gate.readiness() else {
        panic!("open");
    };
    assert_eq!(until, epoch() + 3 * SECOND);
    clock.advance(3 * SECOND);
    assert_eq!(gate.readiness(), Readiness::Open);
}

#[tokio::test]
async fn after_a_cool_down_one_single_call_tries() {
    let clock = ManualClock::at(epoch());
    let gate = Gate::unlimited(
        BreakerSettings::default(),
        Arc::new(clock.clone()),
        Arc::new(Chance::seeded(42)),
    );
    for _ in 0..5 {
        let permit = gate.admit(Priority::Live, "test").await.unwrap();
        permit.done(Signal::Pressure(fault()));
    }
    let closed = gate.admit(Priority::Live, "test").await.unwrap_err();
    assert_eq!(closed.failure.code, codes::BREAKER_OPEN);
    clock.advance(closed.until.since(clock.now()));
    assert_eq!(gate.readiness(), Readiness::Probe);
    let probe = gate.admit(Priority::Audit, "test").await.unwrap();
    assert!(gate.admit(Priority::Urgent, "test").await.is_err());
    assert!(matches!(gate.readiness(), Readiness::Closed { .. }));
    probe.done(Signal::Success);
    assert_eq!(gate.readiness(), Readiness::Open);
    let status = gate.status();
    assert_eq!(status.state, "open");
    let expected = Tally { admitted: 6, success: 1, pressure: 5, ..Tally::default() };
    assert_eq!(status.services["test"], expected);
}

#[tokio::test]
async fn a_probe_whose_caller_went_away_is_given_to_the_next() {
    let clock = ManualClock::at(epoch());
    let gate = Gate::unlimited(
        BreakerSettings::default(),
        Arc::new(clock.clone()),
        Arc::new(Chance::seeded(42)),
    );
    let permit = gate.admit(Priority::Live, "test").await.unwrap();
    permit.done(Signal::Environment(fault()));
    clock.advance(38 * SECOND);
    drop(gate.admit(Priority::Live, "test").await.unwrap());
    assert_eq!(gate.readiness(), Readiness::Probe);
}

/// A backlog in several classes against two windows, with a clock that moves a millisecond at a
/// time: the quota is used, and never exceeded.
#[tokio::test]
async fn a_backlog_fills_the_quota_through_the_whole_gate() {
    let clock = ManualClock::at(epoch());
    let disk = Arc::new(Disk::default());
    let gate = gate_of(vec![window(50, 1_000), window(2_400, 60_000)], &clock, &disk).await;
    let sent = Arc::new(Mutex::new(Vec::new()));
    let workers: Vec<_> = (0..8)
        .map(|at| {
            let (gate, sent, clock) = (Arc::clone(&gate), Arc::clone(&sent), clock.clone());
            tokio::spawn(async move {
                loop {
                    let class = Priority::ALL[at % 5];
                    let permit = gate.admit(class, "test").await.unwrap();
                    sent.lock().unwrap().push(clock.monotonic());
                    permit.done(Signal::Success);
                }
            })
        })
        .collect();
    for _ in 0..20_000 {
        clock.advance(Duration::from_millis(1));
        for _ in 0..12 {
            tokio::task::yield_now().await;
        }
    }
    for worker in workers {
        worker.abort();
    }
    let sent = sent.lock().unwrap().clone();
    for (limit, length) in [(50, SECOND), (2_400, 60 * SECOND)] {
        for (at, start) in sent.iter().enumerate() {
            let inside = sent[at..].iter().take_while(|one| **one < *start + length);
            assert!(inside.count() <= limit);
        }
    }
    // 40 a second for 19 seconds: the longer window binds, and the short one starts a second late.
    assert!(sent.len() >= 737, "only {} of 760", sent.len());
    // The bound was written about once a second, not once a call.
    let writes = *disk.writes.lock().unwrap();
    assert!((15..=25).contains(&writes), "{writes} writes");
}

#[tokio::test]
async fn a_process_that_is_killed_and_started_again_does_not_exceed_a_long_window() {
    let clock = ManualClock::at(epoch());
    let disk = Arc::new(Disk::default());
    let windows = vec![Window { limit: 10, window_ms: 60_000, burst: 4 }];
    let mut sent: Vec<Duration> = Vec::new();
    for life in 0..12u32 {
        let gate = gate_of(windows.clone(), &clock, &disk).await;
        for _ in 0..60 {
            let mut call = Box::pin(gate.admit(Priority::Live, "test"));
            if let Poll::Ready(permit) = futures_util::poll!(&mut call) {
                permit.unwrap().done(Signal::Success);
                sent.push(clock.monotonic());
            }
            drop(call);
            clock.advance(Duration::from_millis(u64::from(life) * 50));
        }
    }
    assert!(sent.len() > 20);
    for (at, start) in sent.iter().enumerate() {
        let inside = sent[at..].iter().take_while(|one| **one < *start + 60 * SECOND);
        assert!(inside.count() <= 10);
    }
}

#[tokio::test]
async fn without_memory_nothing_leaves() {
    let clock = ManualClock::at(epoch());
    let disk = Arc::new(Disk::default());
    let gate = gate_of(vec![window(10, 60_000)], &clock, &disk).await;
    disk.broken.store(true, Ordering::Relaxed);
    let closed = gate.admit(Priority::Live, "test").await.unwrap_err();
    assert_eq!(closed.failure.code, codes::QUOTA_MEMORY);
    assert_eq!(closed.failure.details, "disk full");
    disk.broken.store(false, Ordering::Relaxed);
    assert!(gate.admit(Priority::Live, "test").await.is_ok());
}

#[tokio::test]
async fn the_status_tells_what_an_operator_needs() {
    let clock = ManualClock::at(epoch());
    let gate = gate_of(vec![window(100, 60_000)], &clock, &Arc::default()).await;
    for _ in 0..3 {
        gate.admit(Priority::Live, "test").await.unwrap().done(Signal::Success);
        clock.advance(SECOND);
    }
    let permit = gate.admit(Priority::Live, "test").await.unwrap();
    permit.done(Signal::Environment(Failure::new(
        codes::ENDPOINT,
        Disposition::Environment,
        "test",
    )));
    let status = gate.status();
    assert_eq!(status.state, "closed");
    assert_eq!(status.reason.unwrap().code, codes::ENDPOINT);
    let pause = status.until.unwrap().since(clock.now());
    assert!((30 * SECOND..38 * SECOND).contains(&pause), "{pause:?}");
    assert_eq!((status.windows[0].used, status.windows[0].allowed), (4, 100));
    assert_eq!(status.admitted, 4);
}

/// Callers of all classes come and give up at any moment; whoever stays is served, so no wake-up is
/// lost with those who left.
#[tokio::test]
async fn whoever_stays_is_served_however_many_give_up() {
    for seed in 0..40 {
        let chance = Chance::seeded(seed);
        let clock = ManualClock::at(epoch());
        let gate = gate_of(vec![window(100, 2_000)], &clock, &Arc::default()).await;
        let mut callers: Vec<tokio::task::JoinHandle<()>> = Vec::new();
        let mut gave_up = 0;
        for round in 0..200u32 {
            match chance.token() % 4 {
                0 | 1 => {
                    let gate = Arc::clone(&gate);
                    let class = Priority::ALL[round as usize % 5];
                    callers.push(tokio::spawn(async move {
                        let permit = gate.admit(class, "test").await.unwrap();
                        permit.done(Signal::Success);
                    }));
                }
                2 => {
                    if let Some(caller) = callers.pop() {
                        caller.abort();
                        gave_up += 1;
                    }
                }
                _ => clock.advance(Duration::from_millis(7)),
            }
            if chance.token() % 2 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for _ in 0..=callers.len() {
            clock.advance(Duration::from_millis(20));
            settle().await;
        }
        assert!(gave_up > 10);
        assert_eq!(gate.status().waiting, [], "seed {seed}");
        assert!(callers.iter().all(tokio::task::JoinHandle::is_finished));
    }
}

#[tokio::test]
async fn one_refusal_lowers_the_pace_and_only_the_next_in_a_row_closes_the_gate() {
    let clock = ManualClock::at(epoch());
    let disk = Arc::new(Disk::default());
    let gate = gate_of(vec![window(100, 10_000)], &clock, &disk).await;
    let refusal =
        || Signal::Throttled(Failure::new(codes::THROTTLED, Disposition::Throttled, "test"));
    gate.admit(Priority::Live, "test").await.unwrap().done(refusal());
    assert_eq!(gate.readiness(), Readiness::Open);
    let pace = gate.status().pace;
    assert!((pace.calls_a_second.unwrap() / 9.7 - 1.0).abs() < 1e-9, "{pace:?}");
    clock.advance(SECOND);
    gate.admit(Priority::Live, "test").await.unwrap().done(refusal());
    assert!(matches!(gate.readiness(), Readiness::Closed { .. }));
    // A restart knows what was learnt.
    gate.keep_learned().await.unwrap();
    let again = gate_of(vec![window(100, 10_000)], &clock, &disk).await;
    assert_eq!(again.status().pace, gate.status().pace);
}

#[tokio::test]
async fn an_operators_hold_sends_everybody_away_until_it_is_taken_back_or_over() {
    let clock = ManualClock::at(epoch());
    let gate = gate_of(vec![window(1, 10_000)], &clock, &Arc::default()).await;
    gate.admit(Priority::Live, "test").await.unwrap().done(Signal::Success);
    let log = Arc::new(Mutex::new(Vec::new()));
    line_up(&gate, &[Priority::Live], &log);
    settle().await;
    let paused = Failure::new("portal.paused", Disposition::Environment, "test");
    gate.hold(Some((None, paused.clone())));
    settle().await;
    assert_eq!(*log.lock().unwrap(), ["closed portal.paused"]);
    assert_eq!(gate.status().state, "paused");
    assert!(gate.admit(Priority::Urgent, "test").await.is_err());
    gate.hold(None);
    assert_eq!(gate.readiness(), Readiness::Open);
    gate.hold(Some((Some(clock.now() + 20 * SECOND), paused)));
    clock.advance(20 * SECOND);
    assert!(gate.admit(Priority::Live, "test").await.is_ok());
}
