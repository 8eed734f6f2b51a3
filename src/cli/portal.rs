//! `hoso portal`: how sending to the portal stands, and stopping it by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::person::Person;
use super::{Invocation, build, observed, words};
use crate::clock::{Clock, SystemClock};
use crate::domain::codes::{AgencyCode, ProcedureCode};
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ledger::record::{AuditRecord, GateNote, PauseScope, Resumed, SendingPause};
use crate::ledger::view::{Refusal, WaitingWork};
use crate::pipeline::audit::refused;
use crate::pipeline::orders;
use crate::portal::GateStatus;

/// Refusals that are shown.
const REFUSALS_SHOWN: u32 = 5;

/// Look at the gate to the portal; stop and resume sending, all of it or by procedure or agency
///
/// Orders are rows in the ledger: whoever sends follows them within a second, and a restart does not
/// forget them. What waits keeps its place and spends no attempt.
///
/// Example: hoso portal pause --procedure 1.000105 --reason "its catalogue is being corrected" --for 2h
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    Status(StatusArguments),
    Observed(observed::Arguments),
    Pause(PauseArguments),
    Resume(ResumeArguments),
}

/// Show windows, learned pace, breaker, shares, what waits in each class, pauses, last refusals
///
/// Reads the ledger; the process that owns the gate writes its state there every five seconds, and
/// the age of what is shown is said.
///
/// Example: hoso portal status
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct StatusArguments {}

/// Stop sending: everything, or one procedure or agency
///
/// Without --until or --for it lasts until `hoso portal resume`. Pausing again what is paused
/// changes reason and end. With everything paused, logins and look-ups stop too. Dossiers that were
/// mapped by a version before pauses existed have no procedure or agency until they are mapped
/// again; a pause of one procedure or agency does not meet them.
///
/// Example: hoso portal pause --reason "the portal announced maintenance" --until "2026-01-27 06:00:00"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct PauseArguments {
    #[command(flatten)]
    scope: Scope,
    /// Resume by itself at this time (Vietnam time unless an offset is given)
    #[arg(long, value_name = "TIME", value_parser = point_in_time, conflicts_with = "duration")]
    until: Option<Timestamp>,
    /// Resume by itself after this long: 30s, 45m, 2h, 3d
    #[arg(long = "for", value_name = "DURATION", value_parser = length)]
    duration: Option<Duration>,
    #[command(flatten)]
    person: Person,
}

/// Let sending go on
///
/// Ends the pause of exactly this scope: without --procedure or --agency, that of everything.
/// Pauses that still hold are listed.
///
/// Example: hoso portal resume --reason "maintenance is over"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ResumeArguments {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    person: Person,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Scope {
    /// Only dossiers of this procedure (MaTTHC)
    #[arg(long, value_name = "CODE", value_parser = procedure)]
    procedure: Option<String>,
    /// Only dossiers of this agency, as their codes begin with it
    #[arg(long, value_name = "CODE", value_parser = agency)]
    agency: Option<String>,
}

impl Scope {
    fn scope(self) -> PauseScope {
        match (self.procedure, self.agency) {
            (Some(code), _) => PauseScope::Procedure(code),
            (None, Some(code)) => PauseScope::Agency(code),
            (None, None) => PauseScope::All,
        }
    }
}

fn procedure(text: &str) -> Result<String, String> {
    ProcedureCode::parse(text).map(|_| text.to_owned()).ok_or_else(|| {
        "this is no procedure code; one looks like 1.000105 or 2.000815.000.00.00.H55".to_owned()
    })
}

fn agency(text: &str) -> Result<String, String> {
    AgencyCode::parse(text)
        .map(|_| text.to_owned())
        .ok_or_else(|| "this is no agency code; one looks like 000.00.05.H55 or H55.242".to_owned())
}

pub(super) fn point_in_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::from_iso(text)
        .ok_or_else(|| "write date and time, as 2026-01-27 06:00:00".to_owned())
}

pub(super) fn length(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and a unit: 30s, 45m, 2h, 3d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err("between one second and a year".to_owned()),
    }
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    match which {
        Which::Status(_) => status(invocation).await,
        Which::Observed(arguments) => observed::run(invocation, arguments).await,
        Which::Pause(arguments) => pause(invocation, arguments).await,
        Which::Resume(arguments) => resume(invocation, arguments).await,
    }
}

#[derive(Debug, Serialize)]
struct Told {
    at: Timestamp,
    gate_owner: Option<String>,
    /// When the gate's owner wrote `gate`.
    noted_at: Option<Timestamp>,
    gate: Option<GateStatus>,
    pauses: Vec<SendingPause>,
    waiting: BTreeMap<String, WaitingWork>,
    /// The newest within a week.
    refusals: Vec<Refusal>,
}

async fn status(invocation: &Invocation) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    let sending = ledger.sending(now).await?;
    let noted = ledger.noted_gate(GateNote::Status).await?;
    let waiting = ledger.waiting_by_class(now).await?;
    let refusals = ledger.refusals(now - Duration::from_hours(7 * 24), REFUSALS_SHOWN).await?;
    ledger.close().await;
    let told = Told {
        at: now,
        gate_owner: sending.gate_owner,
        noted_at: noted.as_ref().map(|(at, _)| *at),
        // Of another version: not shown rather than misread.
        gate: noted.and_then(|(_, body)| serde_json::from_str(&body).ok()),
        pauses: sending.pauses,
        waiting: waiting.into_iter().map(|(class, work)| (class.to_string(), work)).collect(),
        refusals,
    };
    invocation.output.result(&told, text);
    Ok(())
}

async fn pause(invocation: &Invocation, arguments: PauseArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let now = context.clock.now();
    let until = arguments.until.or(arguments.duration.map(|duration| now + duration));
    if until.is_some_and(|until| until <= now) {
        let scope = arguments.scope.scope().to_string();
        let (actor, reason) = (arguments.person.actor(), &arguments.person.reason);
        let audit = AuditRecord::new(&actor, "portal pause", &scope, reason);
        refused(&context, &audit, "its end lies in the past").await;
        context.ledger.close().await;
        return Err(Failure::new(Exit::Usage, "--until lies in the past")
            .hint("without an offset it is Vietnam time; --for 2h counts from now"));
    }
    let scope = arguments.scope.scope();
    let (actor, reason) = (arguments.person.actor(), &arguments.person.reason);
    orders::pause(&context, &scope, until, &actor, reason).await?;
    let sending = context.ledger.sending(now).await?;
    context.ledger.close().await;
    let paused = sending.pauses.into_iter().find(|pause| pause.scope == scope);
    invocation.output.result(&paused, |paused| {
        let said = paused.as_ref().map_or_else(String::new, orders::sentence);
        let follows = match &sending.gate_owner {
            Some(owner) => format!("{owner} follows within a second"),
            None => "nobody sends at the moment; whoever does next follows".to_owned(),
        };
        format!("{said}\n{follows}")
    });
    Ok(())
}

async fn resume(invocation: &Invocation, arguments: ResumeArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let scope = arguments.scope.scope();
    let (actor, reason) = (arguments.person.actor(), &arguments.person.reason);
    let resumed: Resumed = orders::resume(&context, &scope, &actor, reason).await?;
    context.ledger.close().await;
    invocation.output.result(&resumed, |resumed| {
        let mut text = if resumed.ended {
            format!("sending of {scope} goes on")
        } else {
            format!("sending of {scope} was not paused")
        };
        for pause in &resumed.still {
            // Writing to a String cannot fail, here and below.
            let _infallible = write!(text, "\nstill: {}", orders::sentence(pause));
        }
        text
    });
    if resumed.ended {
        Ok(())
    } else {
        let hint = "`hoso portal status` lists what is paused";
        Err(Failure::new(Exit::NotFound, "there is no such pause").hint(hint))
    }
}

fn text(told: &Told) -> String {
    let now = told.at;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _infallible = writeln!(text, "{}", format!("{name:<14}{value}").trim_end());
    };
    let owner = told.gate_owner.as_deref();
    line(
        "owner",
        owner.unwrap_or("nobody; nothing is sent until `hoso serve` or `hoso run push` runs"),
    );
    match (&told.gate, told.noted_at) {
        (Some(gate), Some(at)) => {
            line("as of", &words::when(at, now));
            gate_lines(gate, now, &mut line);
        }
        _ => line("gate", "no process has written its state yet"),
    }
    if told.pauses.is_empty() {
        line("pauses", "none");
    }
    for (place, pause) in told.pauses.iter().enumerate() {
        line(if place == 0 { "pauses" } else { "" }, &orders::sentence(pause));
    }
    let rows = Priority::ALL.into_iter().filter_map(|class| {
        let work = told.waiting.get(&class.to_string())?;
        let cells = [work.packets, work.steps, work.later, work.set_aside].map(words::thousands);
        Some(std::iter::once(class.to_string()).chain(cells).collect())
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        line("waiting", "nothing");
    } else {
        let header = ["waiting", "packets due", "steps due", "later", "paused"];
        let _infallible = write!(text, "\n{}", words::table(&header, rows));
    }
    if told.refusals.is_empty() {
        text.push_str("\nno call was refused for the quota within a week");
    } else {
        text.push_str("\nlast refusals for the quota\n");
        for refusal in &told.refusals {
            let said = &refusal.message;
            let _infallible =
                writeln!(text, "  {}  {} {said}", words::when(refusal.at, now), refusal.service);
        }
    }
    text
}

fn gate_lines(gate: &GateStatus, now: Timestamp, line: &mut impl FnMut(&str, &str)) {
    let until =
        gate.until.map_or_else(String::new, |at| format!(" until {}", words::when(at, now)));
    let why = gate.reason.as_ref().map_or_else(String::new, |failure| format!(": {failure}"));
    line("gate", &format!("{}{until}{why}", gate.state));
    for (place, window) in gate.windows.iter().enumerate() {
        let said = format!(
            "{} of {} calls in {} ms used (the limit is {})",
            words::thousands(window.used.into()),
            words::thousands(window.allowed.into()),
            words::thousands(window.window_ms),
            words::thousands(window.limit.into()),
        );
        line(if place == 0 { "windows" } else { "" }, &said);
    }
    if gate.windows.is_empty() {
        line("windows", "none known; the pace is learnt");
    }
    let pace = &gate.pace;
    let rate = |rate: Option<f64>| {
        rate.map_or_else(|| "no limit".to_owned(), |rate| format!("{rate:.2} calls/s"))
    };
    let learnt = match pace.refused_at {
        Some(at) => format!(
            "; last refused at {at:.2} calls/s, {} so far",
            words::count(pace.episodes, "episode")
        ),
        None => "; never refused".to_owned(),
    };
    let windows = match pace.windows_carry {
        Some(_) => format!(" (the windows carry {})", rate(pace.windows_carry)),
        None => String::new(),
    };
    line("pace", &format!("{}{windows}{learnt}", rate(pace.calls_a_second)));
    line("counted", &pace.counted);
    let shares: Vec<String> = Priority::ALL
        .into_iter()
        .map(|class| format!("{class} {}", gate.shares.weight(class)))
        .collect();
    line("shares", &shares.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_a_number_and_a_unit() {
        for (text, seconds) in [("30s", 30), ("45m", 2_700), ("2h", 7_200), ("3d", 259_200)] {
            assert_eq!(length(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "2", "-2h", "2 weeks", "0s", "9999999999999999999d", "2ờ", "400d"] {
            assert!(length(text).is_err(), "{text}");
        }
    }
}
