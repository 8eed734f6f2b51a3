//! Quota windows against a brute-force count.

use super::*;
use proptest::prelude::*;

fn window(limit: u32, window_ms: u64, burst: u32) -> Window {
    Window { limit, window_ms, burst }
}

fn wall(now: Duration) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000) + now
}

/// Takes with a memory that always works.
fn take(windows: &mut Windows, now: Duration) -> Take {
    loop {
        match windows.take(now, || wall(now)) {
            Take::Promise => {
                for (name, until) in windows.promises(now, wall(now)) {
                    windows.promised(&name, until);
                }
            }
            other => return other,
        }
    }
}

/// Brute force: the most instants in any half-open span of this length.
fn most_in_any_window(instants: &[Duration], window_ms: u64) -> usize {
    let length = Duration::from_millis(window_ms);
    instants
        .iter()
        .enumerate()
        .map(|(at, start)| {
            instants[at..].iter().take_while(|instant| **instant < *start + length).count()
        })
        .max()
        .unwrap_or(0)
}

#[test]
fn headroom_is_rounded_towards_caution_and_never_to_zero() {
    let allowed = |limit, headroom| {
        Windows::new(&[window(limit, 1000, 1)], headroom, Duration::ZERO).unwrap().pacers[0].allowed
    };
    assert_eq!(allowed(100, 0.03), 97);
    assert_eq!(allowed(10, 0.03), 9);
    assert_eq!(allowed(1, 0.03), 1);
    assert_eq!(allowed(100, 0.0), 100);
}

#[test]
fn windows_that_make_no_sense_are_refused() {
    for bad in [
        window(0, 1000, 1),
        window(1, 0, 1),
        window(1, 1000, 0),
        window(1, u64::MAX, 1),
        window(u32::MAX, WINDOW_MS_MAX, u32::MAX),
    ] {
        assert!(Windows::new(std::slice::from_ref(&bad), 0.0, Duration::ZERO).is_err(), "{bad:?}");
    }
    let twice = [window(5, 1000, 1), window(9, 1000, 1)];
    assert!(Windows::new(&twice, 0.0, Duration::ZERO).is_err());
    assert!(Windows::new(&[window(5, 1000, 1)], 1.0, Duration::ZERO).is_err());
}

#[test]
fn a_call_refused_by_one_window_is_not_taken_from_the_other() {
    let start = Duration::from_secs(100);
    let mut windows =
        Windows::new(&[window(10, 10_000, 1), window(2, 60_000, 2)], 0.0, start).unwrap();
    assert_eq!(take(&mut windows, start), Take::Admitted);
    let next = start + Duration::from_secs(1);
    assert_eq!(take(&mut windows, next), Take::Admitted);
    let before: Vec<u64> = windows.pacers.iter().map(|pacer| pacer.tat.get()).collect();
    let third = start + Duration::from_secs(2);
    assert!(matches!(take(&mut windows, third), Take::Wait(_)));
    let after: Vec<u64> = windows.pacers.iter().map(|pacer| pacer.tat.get()).collect();
    assert_eq!(before, after);
}

#[test]
fn a_short_window_is_taken_as_used_up_at_the_start() {
    let start = Duration::from_secs(5);
    let mut windows = Windows::new(&[window(10, 1000, 3)], 0.0, start).unwrap();
    assert_eq!(take(&mut windows, start), Take::Wait(Duration::from_secs(1)));
    assert_eq!(take(&mut windows, start + Duration::from_secs(1)), Take::Admitted);
}

#[test]
fn a_bound_beyond_any_honest_one_is_clamped_to_one_window() {
    let start = Duration::from_secs(5);
    let mut windows = Windows::new(&[window(10, 60_000, 1)], 0.0, start).unwrap();
    let far = wall(start) + Duration::from_hours(24);
    windows.restore(&[("60000ms".to_owned(), far)], start, wall(start));
    assert_eq!(take(&mut windows, start), Take::Wait(Duration::from_mins(1)));
}

#[test]
fn a_wall_clock_set_forward_while_running_asks_for_a_new_promise() {
    let start = Duration::from_secs(5);
    let mut windows = Windows::new(&[window(600, 60_000, 1)], 0.0, start).unwrap();
    assert_eq!(take(&mut windows, start), Take::Admitted);
    let now = start + Duration::from_millis(100);
    assert_eq!(windows.take(now, || wall(now)), Take::Admitted);
    let now = start + Duration::from_millis(200);
    let jumped = wall(now) + Duration::from_mins(5);
    assert_eq!(windows.take(now, || jumped), Take::Promise);
}

#[test]
fn the_shown_use_forgets_what_left_the_window() {
    let mut windows = Windows::new(&[window(60, 60_000, 60)], 0.0, Duration::ZERO).unwrap();
    for _ in 0..5 {
        assert_eq!(take(&mut windows, Duration::from_secs(3)), Take::Admitted);
    }
    assert_eq!(windows.usage(Duration::from_secs(30))[0].2, 5);
    assert_eq!(windows.usage(Duration::from_secs(62))[0].2, 5);
    assert_eq!(windows.usage(Duration::from_secs(63))[0].2, 0);
}

/// With endless work and a clock that is exact, at least 97 % is used and never more than all.
#[test]
fn a_backlog_uses_nearly_all_of_every_quota() {
    let cases: &[(&[Window], usize, u64)] = &[
        (&[window(100, 1000, 1)], 0, 20),
        (&[window(97, 1000, 2)], 0, 20),
        (&[window(600, 60_000, 1)], 0, 180),
        (&[window(1000, 60_000, 10)], 0, 180),
        (&[window(50, 1000, 1), window(1200, 60_000, 1)], 1, 180),
        (&[window(20, 1000, 1), window(6000, 60_000, 1)], 0, 60),
    ];
    for (windows, binding, seconds) in cases {
        let mut pacing = Windows::new(windows, 0.0, Duration::ZERO).unwrap();
        let mut now = Duration::from_secs(2);
        let end = now + Duration::from_secs(*seconds);
        let mut admitted = Vec::new();
        while now < end {
            match take(&mut pacing, now) {
                Take::Admitted => admitted.push(now),
                Take::Wait(wait) => now += wait,
                Take::Promise => unreachable!(),
            }
        }
        for window in *windows {
            let most = most_in_any_window(&admitted, window.window_ms);
            assert!(most <= window.limit as usize, "{window:?}: {most}");
        }
        let binding = &windows[*binding];
        let full = f64::from(binding.limit) * (*seconds * 1000) as f64 / binding.window_ms as f64;
        let used = admitted.len() as f64 / full;
        assert!(used >= 0.97, "{windows:?}: only {:.1} %", used * 100.0);
    }
}

/// Real timers fire late; a small burst makes up for it.
#[test]
fn late_timers_do_not_cost_the_quota() {
    let late = Duration::from_micros(1_300);
    for limit in [10, 24, 30, 50, 100, 500, 1_000] {
        let window = Window::catching_up(limit, 1000);
        let mut pacing = Windows::new(std::slice::from_ref(&window), 0.0, Duration::ZERO).unwrap();
        let mut now = Duration::from_secs(2);
        let end = now + Duration::from_mins(1);
        let mut admitted = Vec::new();
        while now < end {
            match take(&mut pacing, now) {
                Take::Admitted => admitted.push(now),
                Take::Wait(wait) => now += wait + late,
                Take::Promise => unreachable!(),
            }
        }
        assert!(most_in_any_window(&admitted, 1000) <= limit as usize);
        let used = admitted.len() as f64 / (60.0 * f64::from(limit));
        assert!(used >= 0.96, "{window:?}: only {:.1} %", used * 100.0);
    }
}

fn any_window() -> impl Strategy<Value = Window> {
    (1u32..40, 50u64..20_000, 1u32..40)
        .prop_map(|(limit, window_ms, burst)| window(limit, window_ms, burst))
}

#[derive(Debug, Clone)]
enum Step {
    /// That many calls are asked for now.
    Arrive(u8),
    Pass {
        micros: u64,
    },
    /// Killed without warning and started again after a pause.
    Restart {
        pause_micros: u64,
    },
    /// As a time server or an administrator does, in milliseconds.
    SetWallBack {
        by_ms: u32,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1u8..20).prop_map(Step::Arrive),
        5 => (0u64..4_000_000).prop_map(|micros| Step::Pass { micros }),
        2 => (0u64..3_000_000).prop_map(|pause_micros| Step::Restart { pause_micros }),
        1 => (1u32..600_000).prop_map(|by_ms| Step::SetWallBack { by_ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However calls arrive, however often the process is killed and started, and even when the
    /// wall clock is set back: no window is ever exceeded.
    #[test]
    fn no_window_is_ever_exceeded(
        first in any_window(),
        second in any_window(),
        headroom in prop_oneof![Just(0.0), Just(0.03), 0.0..0.5],
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        let mut set = vec![first];
        if set[0].window_ms != second.window_ms {
            set.push(second);
        }
        // `now` runs through restarts: what the portal's counter sees.
        let mut now = Duration::from_secs(1000);
        let mut wall_ms = 1_800_000_000_000i64;
        let mut disk: Vec<(String, Timestamp)> = Vec::new();
        let mut windows = Windows::new(&set, headroom, now).unwrap();
        let mut admitted = Vec::new();
        let pass = |now: &mut Duration, wall_ms: &mut i64, micros: u64| {
            let before = now.as_millis();
            *now += Duration::from_micros(micros);
            *wall_ms += i64::try_from(now.as_millis() - before).unwrap();
        };
        for step in steps {
            match step {
                Step::Arrive(calls) => {
                    for _ in 0..calls {
                        let wall = Timestamp::from_millis(wall_ms);
                        let mut take = windows.take(now, || wall);
                        if take == Take::Promise {
                            for (name, until) in windows.promises(now, wall) {
                                disk.retain(|(known, _)| *known != name);
                                disk.push((name.clone(), until));
                                windows.promised(&name, until);
                            }
                            take = windows.take(now, || wall);
                        }
                        prop_assert_ne!(&take, &Take::Promise);
                        if take == Take::Admitted {
                            admitted.push(now);
                        }
                    }
                }
                Step::Pass { micros } => pass(&mut now, &mut wall_ms, micros),
                Step::Restart { pause_micros } => {
                    pass(&mut now, &mut wall_ms, pause_micros);
                    // A new process has a monotonic clock of its own; only differences matter,
                    // so keeping the same one is the same.
                    windows = Windows::new(&set, headroom, now).unwrap();
                    windows.restore(&disk, now, Timestamp::from_millis(wall_ms));
                }
                Step::SetWallBack { by_ms } => wall_ms -= i64::from(by_ms),
            }
        }
        for window in &set {
            let most = most_in_any_window(&admitted, window.window_ms);
            prop_assert!(most <= window.limit as usize, "{:?}: {}", window, most);
        }
    }
}
