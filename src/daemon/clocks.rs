//! Notices when somebody moves the wall clock, and says so.

use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::pipeline::Context;

/// A time server that corrects drift moves the clock by less.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// Wall and monotonic time, read together.
pub(super) struct Clocks {
    wall: Timestamp,
    monotonic: Duration,
}

impl Clocks {
    pub(super) fn read(context: &Context) -> Self {
        Self { wall: context.clock.now(), monotonic: context.clock.monotonic() }
    }

    /// Says when somebody has moved the wall clock since the last reading. Nothing depends on it:
    /// upkeep shortens waits, the gate counts by the other clock.
    pub(super) fn tell_a_step(&mut self, context: &Context) {
        let now = Self::read(context);
        let expected = self.wall + now.monotonic.saturating_sub(self.monotonic);
        let (ahead, behind) = (now.wall.since(expected), expected.since(now.wall));
        if ahead >= CLOCK_STEP {
            tracing::warn!(seconds = ahead.as_secs(), "the wall clock went forward");
        } else if behind >= CLOCK_STEP {
            tracing::warn!(seconds = behind.as_secs(), "the wall clock went back");
        }
        *self = now;
    }
}
