//! The gate before a portal that counts: how much of a quota it uses, known or not, and what that
//! costs in refusals. Simulated time, so these are counts.

mod model;

use std::time::Duration;

use hoso_gateway::portal::Window;
use model::{Counts, Model, Outcome};

fn model(counts: Counts, jitter_ms: u64, windows: Vec<Window>) -> Model {
    Model {
        counts,
        limit: 100,
        jitter: Duration::from_millis(jitter_ms),
        length: Duration::from_mins(10),
        warm_up: Duration::from_secs(200),
        windows,
        headroom: 0.01,
        seed: 7,
    }
}

/// No pace that is fixed beforehand can be better than the best one; ours has to find it.
const TO_FIND_IT: f64 = 0.025;

async fn judge(windows: &[Window], share: f64) {
    let mut failed = Vec::new();
    for counts in Counts::ALL {
        for jitter_ms in [10, 50] {
            let model = model(counts, jitter_ms, windows.to_vec());
            let Outcome { figures, .. } = model::run(&model).await;
            let best = model::best_fixed_pace(&model);
            let enough = share.min(best.used - TO_FIND_IT);
            if figures.used < enough
                || figures.refused_in_a_thousand >= 0.5
                || figures.overshoots > 0
            {
                failed
                    .push(format!("{} {jitter_ms} ms: {figures:?}, best {best:?}", counts.name()));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
async fn a_known_window_is_used_up_and_never_exceeded() {
    judge(&[Window::catching_up(100, 1000)], 0.97).await;
}

#[tokio::test]
async fn a_limit_that_nobody_told_is_found_and_used() {
    judge(&[], 0.92).await;
}

/// The portal grants 60 a second of the 100 that the configuration believes in.
#[tokio::test]
async fn a_portal_that_grants_less_than_the_configuration_believes_is_found_out() {
    for counts in Counts::ALL {
        let windows = vec![Window::catching_up(100, 1000)];
        let model = Model { limit: 60, ..model(counts, 10, windows) };
        let Outcome { figures, .. } = model::run(&model).await;
        assert!(figures.used > 0.9, "{counts:?} {figures:?}");
        assert!(figures.refused_in_a_thousand < 0.5, "{counts:?} {figures:?}");
    }
}

#[tokio::test]
async fn a_window_that_begins_with_the_clock_is_recognised() {
    let model = Model {
        length: Duration::from_mins(15),
        ..model(Counts::CalendarSecond, 50, vec![Window::catching_up(100, 1000)])
    };
    let Outcome { gate, .. } = model::run(&model).await;
    let counted = gate.status().pace.counted;
    assert!(
        counted.starts_with("in windows that begin with the clock, every 1000 ms"),
        "{counted}"
    );
}
