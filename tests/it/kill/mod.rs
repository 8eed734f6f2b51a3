//! The real program dies: at any moment, at every point between two durable effects, and with its
//! disk or its file. What the two laboratories recorded says whether anything was lost, repeated out
//! of order, or believed without being true.
//!
//! `HOSO_KILLS=1000 cargo test --test it kill::moments` kills a thousand times instead of forty.

mod disk;
mod moments;
mod points;
mod witness;

use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{Fault, FaultRate, Faults, PortalOptions};
use hoso_gateway::lab::province::ProvinceOptions;

/// Leases end soon after a death; a request for a supplement is sent again rather than held, so that
/// everything can be delivered without a person; and a window long enough to be remembered.
const HASTY: &str = r#"
settle_ms = 0

[push]
concurrency = 8
lease_ms = 6000
steps_on_unknown_status_5 = "resend"

[upkeep]
every_ms = 200

[[gate.windows]]
limit = 24000
window_ms = 60000
"#;

fn province(dossiers: u32, seed: u64) -> ProvinceOptions {
    ProvinceOptions {
        population: PopulationOptions {
            seed,
            dossiers,
            invalid_share: 0.1,
            ..PopulationOptions::default()
        },
        ..ProvinceOptions::default()
    }
}

/// Every call takes a moment, so that a death finds some on their way; some get lost by themselves.
fn portal(seed: u64) -> PortalOptions {
    let rate = |share, fault| FaultRate { share, fault };
    let rates = vec![
        rate(0.03, Fault::DropRequest),
        rate(0.03, Fault::ApplyThenDrop),
        rate(0.02, Fault::Status { status: 502, applied: false }),
        rate(0.02, Fault::ResetMidBody),
        rate(0.90, Fault::Delay { ms: 30 }),
    ];
    PortalOptions { seed, faults: Faults { rates, next: Vec::new() }, ..PortalOptions::default() }
}
