//! How much of a known quota the gate uses with an endless backlog, and that it never uses more.
//!
//! Sixteen callers ask without pause, on the machine's real timers, with no headroom. Each notes the
//! time at which it holds its permit, which is when the call would be written to the socket. From
//! those times alone a brute-force count finds the busiest half-open window. One call above a limit
//! ends the program with a failure; the used share is printed, not judged: it depends on the timers.
//! (A caller that loses the processor between the gate's decision and its own note could be counted
//! late. That is what the headroom is for; here it is zero on purpose.)
//!
//! A quota of 600 calls a minute is measured as 60 in 6 s: calls are 100 ms apart in both, which is
//! all that the pace depends on, and three windows fit into the time.
//!
//! For comparison, the same counter looks at a plain `governor` limiter with its default burst.
//!
//! Then the same gate, in simulated time, before a portal that counts in four ways over a network
//! that delays calls by chance (`tests/it/gate/model.rs`). Beside each figure stands the best that
//! any fixed pace can reach there with at most 0.5 refusals in 1,000 calls: no sender that does not
//! know the future can do better by more than chance.
//!
//! `cargo bench --bench gate` (a minute).

#![expect(clippy::print_stdout, reason = "figures are this program's product")]

#[path = "../tests/it/gate/model.rs"]
mod model;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::{Quota, RateLimiter};
use hoso_gateway::clock::{Clock, SystemClock};
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::ids::Chance;
use hoso_gateway::portal::{BreakerSettings, Gate, GateSettings, NoMemory, Signal, Window};
use model::{Counts, Model};

const CALLERS: usize = 16;
const COST_CALLS: u32 = 1_000_000;

/// When calls left, and what they have to be held against.
struct Run {
    name: &'static str,
    windows: Vec<Window>,
    began: Duration,
    length: Duration,
    /// In order, on the same clock as `began`.
    calls: Vec<Duration>,
}

impl Run {
    /// The part of what this window allows that was used once the longest window had passed. Of
    /// several windows only the strictest can be used up.
    fn used_share(&self, window: &Window) -> f64 {
        let longest = self.windows.iter().map(length).max().unwrap_or_default();
        let steady = self.began + longest..self.began + self.length;
        let used = self.calls.iter().filter(|at| steady.contains(*at)).count();
        let windows_passed =
            self.length.saturating_sub(longest).as_secs_f64() / length(window).as_secs_f64();
        used as f64 / (f64::from(window.limit) * windows_passed)
    }

    /// The most calls in any half-open span of the window's length.
    fn busiest(&self, window: &Window) -> usize {
        let from = |(place, start): (usize, &Duration)| {
            let end = *start + length(window);
            self.calls[place..].iter().take_while(|at| **at < end).count()
        };
        self.calls.iter().enumerate().map(from).max().unwrap_or(0)
    }

    /// Calls that left when the window that ends with them was full already.
    fn overshoots(&self, window: &Window) -> usize {
        let limit = window.limit as usize;
        let over = |place: &usize| {
            let earliest = place.checked_sub(limit);
            earliest.is_some_and(|of| self.calls[*place] < self.calls[of] + length(window))
        };
        (0..self.calls.len()).filter(over).count()
    }

    fn print(&self) {
        for (place, window) in self.windows.iter().enumerate() {
            println!(
                "{:<24} {:>6} in {:>2} s {:>6} {:>7} {:>6.1} % {:>9} {:>11}",
                if place == 0 { self.name } else { "" },
                window.limit,
                window.window_ms / 1000,
                window.burst,
                self.calls.len(),
                self.used_share(window) * 100.0,
                self.busiest(window),
                self.overshoots(window),
            );
        }
    }

    fn keeps_its_limits(&self) -> bool {
        self.windows.iter().all(|window| self.busiest(window) <= window.limit as usize)
    }
}

fn length(window: &Window) -> Duration {
    Duration::from_millis(window.window_ms)
}

/// When all callers together got their permits, in order. `call` ends with the time of its
/// permit.
async fn backlog<C, F>(clock: &Arc<dyn Clock>, length: Duration, call: C) -> Vec<Duration>
where
    C: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Duration> + Send,
{
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (over, call) = (clock.sleep(length), call.clone());
        callers.spawn(async move {
            // Each keeps its own list, so that noting a time makes nobody wait.
            let mut times = Vec::new();
            tokio::select! {
                () = over => {}
                () = async { loop { times.push(call().await); } } => {}
            }
            times
        });
    }
    let mut times = callers.join_all().await.concat();
    times.sort_unstable();
    times
}

async fn gate_with(windows: Vec<Window>, clock: &Arc<dyn Clock>) -> Gate {
    let settings = GateSettings { windows, headroom: 0.0, ..GateSettings::default() };
    let chance = Arc::new(Chance::seeded(42));
    Gate::open(settings, Arc::clone(clock), chance, Arc::new(NoMemory))
        .await
        .expect("sensible windows, and nothing to recall")
}

async fn through_the_gate(
    clock: &Arc<dyn Clock>,
    name: &'static str,
    limits: &[(u32, u64)],
    seconds: u64,
) -> Run {
    let windows: Vec<Window> =
        limits.iter().map(|(limit, window_ms)| Window::catching_up(*limit, *window_ms)).collect();
    let length = Duration::from_secs(seconds);
    let began = clock.monotonic();
    let gate = Arc::new(gate_with(windows.clone(), clock).await);
    let call = {
        let clock = Arc::clone(clock);
        move || {
            let (gate, clock) = (Arc::clone(&gate), Arc::clone(&clock));
            async move {
                let permit = gate.admit(Priority::Live, "bench").await;
                let at = clock.monotonic();
                permit.expect("only successes").done(Signal::Success);
                at
            }
        }
    };
    Run { name, windows, began, length, calls: backlog(clock, length, call).await }
}

/// The limiter as its documentation sets it up; the burst is the whole limit.
async fn through_plain_governor(clock: &Arc<dyn Clock>) -> Run {
    let limit = std::num::NonZeroU32::new(100).expect("not zero");
    let length = Duration::from_secs(10);
    let began = clock.monotonic();
    let limiter = Arc::new(RateLimiter::direct(Quota::per_second(limit)));
    let call = {
        let clock = Arc::clone(clock);
        move || {
            let (limiter, clock) = (Arc::clone(&limiter), Arc::clone(&clock));
            async move {
                while let Err(not_until) = limiter.check() {
                    let wait = not_until.wait_time_from(limiter.clock().now());
                    clock.sleep(wait).await;
                }
                clock.monotonic()
            }
        }
    };
    Run {
        name: "plain governor",
        windows: vec![Window { limit: limit.get(), window_ms: 1000, burst: limit.get() }],
        began,
        length,
        calls: backlog(clock, length, call).await,
    }
}

/// What one call costs that does not have to wait, in nanoseconds.
async fn cost_ns(gate: &Gate, clock: &Arc<dyn Clock>) -> f64 {
    let began = clock.monotonic();
    for _ in 0..COST_CALLS {
        let permit = gate.admit(Priority::Live, "bench").await;
        permit.expect("only successes").done(Signal::Success);
    }
    clock.monotonic().saturating_sub(began).as_secs_f64() * 1e9 / f64::from(COST_CALLS)
}

/// Whether no known window was exceeded and refusals stayed below 0.5 in 1,000 calls.
async fn before_a_portal_that_counts() -> bool {
    let mut kept = true;
    println!(
        "\n100 calls/s granted, endless backlog, 1,800 s simulated, the first 300 s not counted\n"
    );
    println!(
        "{:<24} {:>7} {:>9} {:>8} {:>12} {:>11} {:>11} {:>11}",
        "the portal counts",
        "jitter",
        "window",
        "used",
        "best fixed",
        "refused/1k",
        "overshoots",
        "pace at end"
    );
    for counts in Counts::ALL {
        for jitter_ms in [10, 50] {
            for known in [true, false] {
                let model = Model {
                    counts,
                    limit: 100,
                    jitter: Duration::from_millis(jitter_ms),
                    length: Duration::from_mins(30),
                    warm_up: Duration::from_mins(5),
                    windows: if known { vec![Window::catching_up(100, 1000)] } else { Vec::new() },
                    headroom: GateSettings::default().headroom,
                    seed: 42,
                };
                let outcome = model::run(&model).await;
                let (figures, pace) = (outcome.figures, outcome.gate.pace());
                let best = model::best_fixed_pace(&model);
                println!(
                    "{:<24} {:>4} ms {:>9} {:>6.1} % {:>10.1} % {:>11.2} {:>11} {:>9.1}/s",
                    counts.name(),
                    jitter_ms,
                    if known { "known" } else { "not known" },
                    figures.used * 100.0,
                    best.used * 100.0,
                    figures.refused_in_a_thousand,
                    figures.overshoots,
                    pace.unwrap_or_default(),
                );
                kept &= figures.overshoots == 0 && figures.refused_in_a_thousand < 0.5;
            }
        }
    }
    kept
}

#[tokio::main]
async fn main() -> ExitCode {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());

    let chance = Arc::new(Chance::seeded(42));
    let unlimited = Gate::unlimited(BreakerSettings::default(), Arc::clone(&clock), chance);
    println!("admit + done without windows: {:.0} ns", cost_ns(&unlimited, &clock).await);

    // Side by side: between calls all of them sleep.
    let (hundred, thousand, minute, two, plain) = tokio::join!(
        through_the_gate(&clock, "100 a second", &[(100, 1000)], 10),
        through_the_gate(&clock, "1,000 a second", &[(1000, 1000)], 10),
        through_the_gate(&clock, "600 a minute, as 60 in 6", &[(60, 6000)], 20),
        through_the_gate(&clock, "two windows at once", &[(50, 1000), (400, 10_000)], 22),
        through_plain_governor(&clock),
    );
    let ours = [hundred, thousand, minute, two];

    println!("{CALLERS} callers without pause, headroom 0; share used after the first window\n");
    println!(
        "{:<24} {:>14} {:>6} {:>7} {:>8} {:>9} {:>11}",
        "", "limit", "burst", "calls", "used", "busiest", "overshoots"
    );
    for run in &ours {
        run.print();
    }
    println!();
    plain.print();

    let kept = before_a_portal_that_counts().await;
    if kept && ours.iter().all(Run::keeps_its_limits) {
        ExitCode::SUCCESS
    } else {
        println!("\nFAILED: a window was exceeded, or too many calls were refused");
        ExitCode::FAILURE
    }
}
