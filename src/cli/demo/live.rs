//! The demo's view of itself while it runs.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Arguments, World};
use crate::cli::failure::Failure;
use crate::cli::rehearsal::owed_steps;
use crate::cli::{Invocation, Output};
use crate::domain::entry::EntryState;
use crate::ledger::view::{ProblemFilter, Standing};

/// The view on stderr: redrawn in place for a person, a line now and then otherwise.
pub(super) struct LiveView {
    output: Output,
    in_place: bool,
    drawn_lines: usize,
    frames: u64,
    accepted_before: Option<(Duration, u64)>,
}

impl LiveView {
    pub(super) fn new(invocation: &Invocation, arguments: &Arguments) -> Self {
        let in_place = invocation.output.is_watched() && !arguments.once;
        if !arguments.once {
            invocation
                .output
                .talk("A simulated province, the gateway, a simulated portal. Ctrl-C ends it.\n");
        }
        Self {
            output: invocation.output,
            in_place,
            drawn_lines: 0,
            frames: 0,
            accepted_before: None,
        }
    }

    pub(super) async fn draw(&mut self, world: &World, standing: &Standing) -> Result<(), Failure> {
        self.frames += 1;
        // Without a terminal, one line in a few seconds is enough.
        let every = if self.in_place { 1 } else { 10 };
        if !(self.frames - 1).is_multiple_of(every) {
            return Ok(());
        }
        let elapsed = world.context.clock.monotonic().saturating_sub(world.began);
        let of = |state| standing.dossiers.get(&state).copied().unwrap_or(0);
        let accepted = of(EntryState::Accepted) + of(EntryState::Unchanged);
        let rate = self.accepted_before.map_or(0.0, |(at, before)| {
            let seconds = elapsed.saturating_sub(at).as_secs_f64().max(0.001);
            accepted.saturating_sub(before) as f64 / seconds
        });
        self.accepted_before = Some((elapsed, accepted));
        let acked = standing.steps.get("acked").copied().unwrap_or(0);
        let open: u64 =
            standing.dossiers.iter().filter(|(s, _)| s.is_open()).map(|(_, count)| count).sum();
        if !self.in_place {
            self.output.talk(&format!(
                "{:>5.1} s  {accepted} accepted, {open} open, {} quarantined, {acked} steps, {rate:.0} dossiers/s",
                elapsed.as_secs_f64(),
                of(EntryState::Quarantined),
            ));
            return Ok(());
        }
        let lab = world.labs.portal.state();
        let gate = world.line.get().map(|line| line.gate.status());
        let quota = gate.as_ref().and_then(|gate| gate.windows.first()).map_or_else(
            || "waiting for the gate".to_owned(),
            |window| format!("{} of {} calls in the last second", window.used, window.limit),
        );
        let problems = world
            .context
            .ledger
            .problems(&ProblemFilter { limit: 5, ..ProblemFilter::default() })
            .await?;
        let mut lines = vec![
            format!("  time         {:>8.1} s", elapsed.as_secs_f64()),
            format!("  accepted     {accepted:>8}      {rate:.0} dossiers/s"),
            format!(
                "  synchronised {:>8}      {acked} steps acknowledged, {} owed",
                standing.synchronised,
                owed_steps(standing)
            ),
            format!("  received     {:>8}", of(EntryState::Received)),
            format!("  ready        {:>8}", of(EntryState::Ready)),
            format!("  leased       {:>8}", of(EntryState::Leased)),
            format!("  unconfirmed  {:>8}", of(EntryState::Unconfirmed)),
            format!("  quarantined  {:>8}", of(EntryState::Quarantined)),
            format!("  dead         {:>8}", of(EntryState::Dead)),
            format!("  not ours     {:>8}", of(EntryState::NotOurs)),
            format!("  superseded   {:>8}      revisions", standing.superseded),
            format!(
                "  gate         {:>8}      {quota}",
                gate.map_or_else(|| "-".to_owned(), |gate| gate.state)
            ),
            format!(
                "  portal       {:>8}      calls, {} refused by its quota",
                lab.calls, lab.refused_by_quota
            ),
            String::new(),
            "  waiting for a person:".to_owned(),
        ];
        lines.extend(problems.iter().map(|problem| {
            format!("    {:?} {} {}", problem.kind, problem.ma_ho_so, problem.code)
        }));
        let up = if self.drawn_lines > 0 {
            format!("\x1b[{}A", self.drawn_lines)
        } else {
            String::new()
        };
        self.drawn_lines = lines.len();
        let body = lines.iter().fold(String::new(), |mut body, line| {
            // Writing to a String cannot fail.
            let _infallible = writeln!(body, "\x1b[2K{line}");
            body
        });
        self.output.talk(&format!("{up}{body}\x1b[J"));
        // `talk` ends the erase sequence with a line of its own.
        self.drawn_lines += 1;
        Ok(())
    }
}
