//! Clocks that jump, loops that hang, and a quota that changes: time as it really is.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hoso_gateway::clock::Clock;
use hoso_gateway::daemon::{Daemon, Herald, LOOK, Schedule};
use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::domain::share::{Shares, Turns};
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::lab::portal::{Fault, ScriptedFault};
use hoso_gateway::ledger::record::Claim;
use hoso_gateway::notify::Notifier;
use hoso_gateway::pipeline::ownership::Ownership;
use hoso_gateway::pipeline::pulse::Pulse;
use hoso_gateway::pipeline::{SourceLine, Stop};
use hoso_gateway::source::{Changes, IndexPage, Item, Source, SourceFailure};
use tokio::sync::Notify;

use crate::support::gateway::{Story, TestGateway, breathe};

const HOUR: Duration = Duration::from_hours(1);

/// Somebody sets the clock; the living owner of the gate renews it by the new time.
async fn set_back(gateway: &TestGateway, to: Timestamp) {
    gateway.clock.manual.step_wall(to);
    gateway.clock.manual.advance(Duration::from_secs(3));
    let renewed = || !gateway.line.ownership.is_live(gateway.clock.now() + Duration::from_mins(1));
    gateway.until("the gate is renewed by the new time", renewed).await;
}

#[tokio::test]
async fn a_clock_set_back_an_hour_keeps_no_retry_waiting_for_the_old_time() {
    let gateway = Story::of(3).start().await;
    gateway.pull_and_map().await;
    // Refused before anything was done: all are due again after their delay.
    gateway.portal.inject(ScriptedFault::next(Fault::DropRequest).until_cleared());
    gateway.push().await;
    gateway.portal.set_faults(hoso_gateway::lab::portal::Faults::default());
    let wall = gateway.clock.now();
    set_back(&gateway, wall - HOUR).await;
    let counts = gateway.upkeep().await;
    assert!(counts.clock_set_back > 0, "nobody said a word: {counts:?}");
    gateway.settle().await;
    gateway.assert_delivered();
    let waited = gateway.clock.now().since(wall - HOUR);
    assert!(waited < Duration::from_mins(10), "{waited:?}");
    assert_eq!(gateway.upkeep().await.clock_set_back, 0, "it is said once");
    gateway.end().await;
}

#[tokio::test]
async fn a_dead_owner_and_its_leases_end_in_time_also_when_the_clock_was_set_back() {
    let gateway = Story::of(2).start().await;
    gateway.pull_and_map().await;
    let now = gateway.clock.now();
    let lease =
        hoso_gateway::domain::lease::Lease { token: 7, expires_at: now + Duration::from_mins(2) };
    // A process that took everything, owned its own singleton, and died.
    let ledger = &gateway.context.ledger;
    let turns = Turns::new(Shares::default());
    let claim = Claim { lease, limit: 10, turns, urgent_only: false };
    assert_eq!(ledger.claim_entries(now, claim).await.unwrap().len(), 2);
    let dead = Ownership::take(&gateway.context, "another", "a dead process").await.unwrap();
    assert!(dead.is_ok());
    set_back(&gateway, now - HOUR).await;
    gateway.upkeep().await;
    let again = Ownership::take(&gateway.context, "another", "the next one").await.unwrap();
    assert!(again.is_err(), "its lease still runs for its honest length");
    gateway.advance(Duration::from_secs(18)).await;
    let again = Ownership::take(&gateway.context, "another", "the next one").await.unwrap();
    assert!(again.is_ok(), "{again:?}");
    gateway.advance(Duration::from_mins(3)).await;
    gateway.upkeep().await;
    assert_eq!(gateway.count(EntryState::Leased).await, 0);
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn a_clock_set_forward_a_day_asks_about_what_is_out_and_sends_nothing_twice() {
    let gateway = Story::of(4).start().await;
    gateway.pull_and_map().await;
    let lost = Fault::ApplyThenDrop;
    gateway.portal.inject(ScriptedFault::next(lost).of_service("DongBoHoSoMC"));
    gateway.push().await;
    let wall = gateway.clock.now();
    gateway.clock.manual.step_wall(wall + Duration::from_hours(24));
    // Until it has renewed the gate by the new time, this process sends nothing.
    assert!(!gateway.line.ownership.is_live(gateway.clock.now()));
    let report = gateway.push().await;
    assert_eq!(report.calls, 0, "{report:?}");
    gateway.advance(Duration::from_secs(4)).await;
    gateway.settle().await;
    gateway.assert_delivered();
    assert_eq!(gateway.portal.state().duplicated_steps, 0);
    gateway.end().await;
}

#[tokio::test]
async fn a_clock_set_back_moves_neither_the_cursor_nor_its_overlap_past_a_change() {
    let gateway = Story::of(10).start().await;
    gateway.pull_and_map().await;
    let wall = gateway.clock.now();
    set_back(&gateway, wall - HOUR).await;
    // The source's clock was not set back: its changes lie in our future now.
    gateway.province.evolve_any();
    gateway.province.add(2);
    gateway.settle().await;
    gateway.assert_delivered();
    gateway.end().await;
}

#[tokio::test]
async fn the_quota_is_counted_by_a_clock_that_nobody_sets() {
    let gateway = Story::of(12)
        .set("gate", "windows", "[{ limit = 10, window_ms = 60000, burst = 1 }]")
        .start()
        .await;
    gateway.pull_and_map().await;
    let began = gateway.clock.monotonic();
    gateway.while_time_passes(gateway.push()).await;
    // Back and forth while the window is in use.
    for hour in [-1_i64, 1] {
        let to = gateway.clock.now().millis() + hour * 3_600_000;
        gateway.clock.manual.step_wall(Timestamp::from_millis(to));
        gateway.clock.manual.advance(Duration::from_secs(3));
        let now = gateway.clock.now();
        let renewed = || {
            let ownership = &gateway.line.ownership;
            ownership.is_live(now + Duration::from_secs(6))
                && !ownership.is_live(now + Duration::from_mins(1))
        };
        gateway.until("the gate is renewed by the new time", renewed).await;
        gateway.while_time_passes(gateway.push()).await;
    }
    let minutes = gateway.clock.monotonic().saturating_sub(began).as_secs() / 60 + 1;
    let calls = gateway.portal.state().calls;
    assert!(calls <= 10 * minutes + 1, "{calls} calls in {minutes} minutes");
    assert!(calls > 12, "the story sent nothing");
    gateway.end_rough().await;
}

/// Times of calls, oldest first, in milliseconds.
fn call_times(gateway: &TestGateway) -> Vec<i64> {
    gateway.portal.calls(None).into_iter().map(|call| call.at_ms).collect()
}

#[tokio::test]
async fn a_lowered_quota_holds_in_every_window_also_in_those_that_began_before() {
    let mut gateway = Story::of(60)
        .set("gate", "windows", "[{ limit = 60, window_ms = 60000, burst = 1 }]")
        .set("push", "concurrency", "1")
        .start()
        .await;
    gateway.pull_and_map().await;
    gateway.while_time_passes(sent(&gateway, 40)).await;
    let before = call_times(&gateway).len();
    // Lower, and another length that no memory knows.
    let windows = "[{ limit = 30, window_ms = 60000, burst = 1 }, { limit = 8, window_ms = 20000, burst = 1 }]";
    gateway.reload(&[("gate", "windows", windows)]).await;
    gateway.while_time_passes(sent(&gateway, before as u64 + 40)).await;
    let times = call_times(&gateway);
    for (at, time) in times.iter().enumerate().skip(before) {
        let inside = |window: i64| times[..=at].iter().filter(|t| **t > time - window).count();
        assert!(inside(60_000) <= 30, "{} in a minute at call {at}", inside(60_000));
        assert!(inside(20_000) <= 8, "{} in 20 s at call {at}", inside(20_000));
    }
    gateway.end_rough().await;
}

#[tokio::test]
async fn a_raised_quota_takes_effect_within_a_second() {
    let mut gateway = Story::of(30)
        .set("gate", "windows", "[{ limit = 6, window_ms = 60000, burst = 1 }]")
        .set("push", "concurrency", "1")
        .start()
        .await;
    gateway.pull_and_map().await;
    gateway.while_time_passes(sent(&gateway, 5)).await;
    let (before, changed) = (call_times(&gateway).len(), gateway.clock.now().millis());
    gateway.reload(&[("gate", "windows", "[{ limit = 600, window_ms = 60000, burst = 1 }]")]).await;
    gateway.while_time_passes(sent(&gateway, before as u64 + 20)).await;
    let first = call_times(&gateway)[before];
    assert!(first - changed <= 1_000, "the first call left after {} ms", first - changed);
    gateway.end_rough().await;
}

/// Pushes until the portal has seen so many calls.
async fn sent(gateway: &TestGateway, calls: u64) {
    let stop = Stop::new();
    let watch = async {
        for turn in 0_u32.. {
            if gateway.portal.state().calls >= calls {
                stop.cancel();
                return;
            }
            breathe(turn).await;
        }
    };
    let push = hoso_gateway::pipeline::push::push_once(&gateway.context, &gateway.line, &stop);
    let (pushed, ()) = futures_util::future::join(push, watch).await;
    pushed.expect("a push pass");
}

/// A source whose answers do not come until it is let go.
#[derive(Debug)]
struct Hung {
    go: Arc<Notify>,
}

#[async_trait]
impl Source for Hung {
    fn name(&self) -> &'static str {
        "mot-cua"
    }

    async fn changes(
        &self,
        _: Option<&str>,
        _: u32,
        _: Option<&str>,
    ) -> Result<Changes, SourceFailure> {
        self.go.notified().await;
        Ok(Changes::NotModified)
    }

    async fn dossier(&self, _: &str) -> Result<Option<Item>, SourceFailure> {
        Ok(None)
    }

    async fn index(
        &self,
        _: &str,
        _: &str,
        _: Option<&str>,
        _: u32,
    ) -> Result<IndexPage, SourceFailure> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_loop_that_hangs_silences_the_watchdog_until_it_moves_again() {
    let gateway = Story::of(1).start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let hear = || {
        let mut bytes = [0; 512];
        let mut heard = Vec::new();
        while let Ok(length) = manager.recv(&mut bytes) {
            heard.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        heard
    };
    let pings =
        |heard: &[String]| heard.iter().filter(|words| words.as_str() == "WATCHDOG=1").count();

    let go = Arc::new(Notify::new());
    let pulse = Pulse::default();
    let stop = Stop::new();
    let daemon = Daemon {
        context: gateway.context.clone(),
        sources: vec![SourceLine {
            source: Arc::new(Hung { go: Arc::clone(&go) }),
            ..gateway.sources[0].clone()
        }],
        mapping: Arc::clone(&gateway.mapping),
        // The story owns the gate, so the daemon waits for it and never opens the portal.
        open_portal: Box::new(|_| Box::pin(std::future::pending())),
        schedule: Schedule {
            poll: vec![Duration::from_secs(5)],
            read_back: Duration::from_secs(2),
            reconcile: None,
            upkeep: Duration::from_secs(10),
            look: LOOK,
            ledger_patience: Duration::from_mins(10),
            source_patience: Duration::from_secs(30),
            portal_patience: Duration::from_mins(10),
        },
        holder: "a daemon".to_owned(),
        config_hash: String::new(),
        pulse: pulse.clone(),
    };
    let notifier = Notifier::open(path.to_str()).unwrap();
    let herald = Herald::new(notifier, Some(Duration::from_secs(30)));
    herald.ready();
    let running = {
        let stop = stop.clone();
        tokio::spawn(async move { daemon.run(&stop).await })
    };
    let (context, speaking) = (gateway.context.clone(), stop.clone());
    let speaker = {
        let pulse = pulse.clone();
        tokio::spawn(async move { herald.speak(&context, &pulse, &speaking).await })
    };

    // Time goes on in small steps, each with turns for everybody, until something is heard.
    let clock = gateway.clock.manual.clone();
    let listen = async |what: &str, heard: &mut Vec<String>, enough: &dyn Fn(&[String]) -> bool| {
        for turn in 0_u32.. {
            heard.extend(hear());
            if enough(heard) {
                return;
            }
            assert!(turn < 400_000, "{what}: {heard:?}");
            if turn % 64 == 0 {
                clock.advance(Duration::from_millis(100));
            }
            breathe(turn).await;
        }
    };
    let told = |heard: &[String]| {
        let words = "STATUS=no sign of life from pull mot-cua";
        heard.iter().filter(|said| said.starts_with(words)).count()
    };
    let mut heard = Vec::new();
    // As long as the poll may still be answered, all is well; past its limit the manager hears which
    // loop it is, and no ping any more.
    listen("a ping", &mut heard, &|heard| pings(heard) >= 2).await;
    listen("who is silent", &mut heard, &|heard| told(heard) > 0).await;
    heard.clear();
    listen("still silent", &mut heard, &|heard| told(heard) > 2).await;
    assert_eq!(pings(&heard), 0, "{heard:?}");
    // It moves again.
    go.notify_one();
    listen("a ping again", &mut heard, &|heard| pings(heard) > 0).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    speaker.abort();
    drop(speaker.await);
    gateway.end().await;
}
