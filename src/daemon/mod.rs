//! The loops: when each verb runs, how it is supervised, how one configuration follows another, and
//! how it all ends.
//!
//! Owns schedules, wake-ups, generations (see [`Change`]) and shutdown in two stages. Knows nothing of
//! what the verbs do, nor of files and signals. Waking early is a courtesy: every loop also looks by
//! itself, so a lost wake-up costs a moment, never a dossier. Every loop gives signs of life (see
//! [`Pulse`]); what follows when one is silent is decided by whoever holds the pulse.

mod clocks;
mod gate;
mod herald;

pub use herald::Herald;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use clocks::Clocks;

use crate::clock::Clock;
use crate::domain::failure::Disposition;
use crate::domain::priority::Priority;
use crate::ledger::observed::Learnt;
use crate::ledger::view::{InForce, Pause};
use crate::ledger::watch::Watchdog;
use crate::mapping::Mapping;
use crate::pipeline::adopt::{RunPace, RunStep, adopt_pressing_once};
use crate::pipeline::catalogue::refresh_catalogue_once;
use crate::pipeline::jobs::jobs_once;
use crate::pipeline::lifecycle::reconsider_once;
use crate::pipeline::map::map_once;
use crate::pipeline::observe::{CHANGED, observe_once, sentence as what_changed};
use crate::pipeline::orders::{PAUSED, heed_orders, report_gate};
use crate::pipeline::ownership::Ownership;
use crate::pipeline::pull::pull_once;
use crate::pipeline::pulse::Pulse;
use crate::pipeline::push::push_once;
use crate::pipeline::read_back::read_back_once;
use crate::pipeline::reconcile::{self, Ends};
use crate::pipeline::upkeep::{measure_once, upkeep_once};
use crate::pipeline::watch::{WatchReport, sentence, watch_once};
use crate::pipeline::{Context, PortalLine, SourceLine, Stop, VerbError};

/// Table of this module's codes for `hoso explain`: code, meaning, what to do.
pub const CODES: &[(&str, &str, &str)] = &[(
    "daemon.wedged",
    "A loop of the service has given no sign of life for longer than its work can take. The service manager is no longer told that all is well, and restarts the service when its watchdog runs out.",
    "Look at what the log says before it: a disk or a machine that stands still is the usual cause. Please report it if it comes back.",
)];

/// How often a loop looks by itself when nothing wakes it, and for what operators want: it takes
/// effect within a second.
pub const LOOK: Duration = Duration::from_millis(500);
/// The first books of a ledger are closed this long after the start: its first fill is under way.
const FIRST_BOOKS: Duration = Duration::from_hours(1);
/// How often the age of catalogues is looked at; most looks find nothing to fetch.
const CATALOGUE_LOOK: Duration = Duration::from_mins(1);
/// How often the gate's owner writes down how the gate stands.
const REPORT: Duration = Duration::from_secs(5);
/// Over the settle window, before a dossier that the portal did not show is looked at again.
const SUSPICION: Duration = Duration::from_secs(1);
/// How often it is asked whether the day has its measurement of the ledger.
const MEASURE: Duration = Duration::from_hours(1);
/// It reads the whole file, which must not compete with the start.
const FIRST_MEASURE: Duration = Duration::from_mins(1);
/// Longer than measuring the largest ledger takes.
const MEASURE_PATIENCE: Duration = Duration::from_hours(1);
/// After an error of the ledger, before the verb is repeated.
const LEDGER_RETRY: Duration = Duration::from_secs(2);
/// Before the books are closed after another reconciliation of the source.
const UNDER_WAY_RETRY: Duration = Duration::from_secs(10);

/// When the loops run.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Between polls of each source, in the order of the sources.
    pub poll: Vec<Duration>,
    pub read_back: Duration,
    /// `None`: the books are only closed on request.
    pub reconcile: Option<Duration>,
    pub upkeep: Duration,
    /// Between two looks of a loop that nothing wakes; [`LOOK`], but for simulated weeks.
    pub look: Duration,
    /// The longest honest silence of a loop that only asks the ledger, that asks a source, and that
    /// asks the portal; a loop that is silent for longer is wedged.
    pub ledger_patience: Duration,
    pub source_patience: Duration,
    pub portal_patience: Duration,
}

/// Opens the portal once the gate is ours; it must continue the quota of the last owner.
pub type OpenPortal = Box<
    dyn Fn(Arc<Ownership>) -> futures_util::future::BoxFuture<'static, anyhow::Result<PortalLine>>
        + Send
        + Sync,
>;

/// Everything that one generation of loops runs from.
pub struct Daemon {
    pub context: Context,
    pub sources: Vec<SourceLine>,
    pub mapping: Arc<Mapping>,
    pub open_portal: OpenPortal,
    pub schedule: Schedule,
    /// Names this process in the ledger, e.g. `serve pid 4711`.
    pub holder: String,
    /// Names the configuration in the ledger, once its loops own the gate.
    pub config_hash: String,
    /// Where the loops give their signs of life.
    pub pulse: Pulse,
}

/// Another configuration for a running daemon: the present loops settle what is out and end, then the
/// next ones begin. The gate stays ours in between.
pub struct Change {
    /// Built on the same ledger and clock.
    pub next: Daemon,
    /// Told when the next loops run.
    pub begun: oneshot::Sender<()>,
}

/// Wakes the next loop of the line.
#[derive(Debug, Clone, Default)]
struct Wakers {
    map: Arc<Notify>,
    push: Arc<Notify>,
}

/// The gate, as soon as it is ours.
type Owned = watch::Receiver<Option<Arc<Ownership>>>;

impl Daemon {
    /// Runs until `stop`; then nothing new is begun, and it returns when what is out is settled.
    /// A loop that ends by a defect ends the daemon, so that a supervisor restarts it whole.
    pub async fn run(self, stop: &Stop) -> anyhow::Result<()> {
        let (_none, changes) = mpsc::channel(1);
        self.run_and_change(stop, oneshot::channel().0, changes).await
    }

    /// [`Daemon::run`], which says when its loops run and takes other configurations.
    pub async fn run_and_change(
        self,
        stop: &Stop,
        begun: oneshot::Sender<()>,
        changes: mpsc::Receiver<Change>,
    ) -> anyhow::Result<()> {
        let keeper = self.context.watched(&self.pulse, "gate", self.schedule.ledger_patience);
        let holder = self.holder.clone();
        let (owner, owned) = watch::channel(None);
        // Renewing must outlive `stop`: what is out is still ours until it is settled.
        let settled = Stop::new();
        let working = async {
            let done = generations(Change { next: self, begun }, stop, changes, owned).await;
            settled.cancel();
            done
        };
        let keeping = gate::keep(&keeper, &holder, &owner, stop, &settled);
        let (done, kept) = futures_util::future::join(working, keeping).await;
        done.and(kept)
    }

    /// One generation: until `stop`, or until a loop ends by a defect, which ends the others.
    async fn run_loops(
        self,
        stop: &Stop,
        owned: Owned,
        begun: oneshot::Sender<()>,
    ) -> anyhow::Result<()> {
        let wakers = Wakers::default();
        let (pulse, schedule) = (self.pulse.clone(), self.schedule.clone());
        let mut loops: JoinSet<anyhow::Result<()>> = JoinSet::new();
        for (line, every) in self.sources.iter().cloned().zip(schedule.poll.iter().copied()) {
            let name = format!("pull {}", line.source.name());
            let context = self.context.watched(&pulse, name, schedule.source_patience);
            let (wakers, stop) = (wakers.clone(), stop.clone());
            loops.spawn(async move { pull_loop(&context, &line, every, &wakers, &stop).await });
        }
        {
            let context = self.context.watched(&pulse, "map", schedule.ledger_patience);
            let (wakers, stop) = (wakers.clone(), stop.clone());
            let (mapping, look) = (Arc::clone(&self.mapping), schedule.look);
            loops.spawn(async move { map_loop(&context, &mapping, look, &wakers, &stop).await });
        }
        {
            let context = self.context.watched(&pulse, "upkeep", schedule.ledger_patience);
            let (stop, every) = (stop.clone(), schedule.upkeep);
            let (mapping, wakers) = (Arc::clone(&self.mapping), wakers.clone());
            loops
                .spawn(async move { upkeep_loop(&context, &mapping, every, &wakers, &stop).await });
        }
        {
            let context = self.context.watched(&pulse, "measure", MEASURE_PATIENCE);
            let stop = stop.clone();
            loops.spawn(async move {
                pause(&context, FIRST_MEASURE, None, &stop).await;
                every_loop(&context, "measure", MEASURE, &stop, || async {
                    measure_once(&context).await.map(drop)
                })
                .await
            });
        }
        let stopping = stop.clone();
        loops.spawn(Box::pin(portal_loops(self, owned, wakers, stopping)));
        // Nobody may be interested any more.
        begun.send(()).ok();
        let mut first_error = None;
        while let Some(ended) = loops.join_next().await {
            let ended = ended.map_err(anyhow::Error::from).and_then(|result| result);
            if let Err(error) = ended {
                tracing::error!(error = format!("{error:#}"), "a loop ended; stopping");
                first_error.get_or_insert(error);
            }
            // A loop ends only when asked to, or by a defect: then the others end too.
            stop.cancel();
        }
        first_error.map_or(Ok(()), Err)
    }
}

/// One generation after the other, until `stop` or a defect.
async fn generations(
    first: Change,
    stop: &Stop,
    mut changes: mpsc::Receiver<Change>,
    owned: Owned,
) -> anyhow::Result<()> {
    let mut next = Some(first);
    while let Some(Change { next: daemon, begun }) = next.take() {
        let ending = stop.child_token();
        let running = daemon.run_loops(&ending, owned.clone(), begun);
        tokio::pin!(running);
        let done = tokio::select! {
            biased;
            done = &mut running => done,
            Some(change) = changes.recv() => {
                ending.cancel();
                next = Some(change);
                running.await
            }
        };
        if done.is_err() || stop.is_cancelled() || next.is_none() {
            stop.cancel();
            return done;
        }
    }
    Ok(())
}

async fn pull_loop(
    context: &Context,
    line: &SourceLine,
    every: Duration,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut failures: u32 = 0;
    let mut pass: u64 = 0;
    let mut passed_over = 0;
    let mut remarks = Vec::new();
    while !stop.is_cancelled() {
        pass += 1;
        let span = tracing::info_span!("pull", source = line.source.name(), pass);
        let wait = match pull_once(context, line, stop).instrument(span).await {
            Ok(report) => {
                if report.passed_over > passed_over {
                    tracing::warn!(
                        source = report.source,
                        count = report.passed_over,
                        "dossiers that cannot be read were passed over; `hoso problems list` names them"
                    );
                }
                passed_over = report.passed_over;
                if report.narrowed > 0 && report.passed_over == 0 {
                    tracing::info!(
                        source = report.source,
                        count = report.narrowed,
                        "pages could not be read and were asked for again with fewer dossiers"
                    );
                }
                if failures > 0 {
                    tracing::info!(source = report.source, "the source answers again");
                }
                failures = 0;
                // Said when it begins or changes, not with every poll.
                if report.remarks != remarks {
                    for remark in &report.remarks {
                        tracing::warn!(source = report.source, "left lying: {remark}");
                    }
                    remarks = report.remarks;
                }
                if report.new > 0 {
                    wakers.map.notify_one();
                    tracing::debug!(source = report.source, new = report.new, "pulled");
                }
                every
            }
            Err(VerbError::Source { source_name, failure }) => {
                failures = failures.saturating_add(1);
                // Said once when it begins; `hoso status` shows that it lasts.
                if failures == 1 {
                    tracing::warn!(source = source_name, code = failure.code, "{failure}");
                }
                let retry = context.settings.retry.delay(failures, context.chance.fraction());
                let asked = Duration::from_millis(failure.retry_after_ms.unwrap_or(0));
                if failure.disposition == Disposition::Throttled && !asked.is_zero() {
                    asked
                } else {
                    retry.max(every)
                }
            }
            Err(error) => survive(error)?,
        };
        pause(context, wait, None, stop).await;
    }
    Ok(())
}

async fn map_loop(
    context: &Context,
    mapping: &Arc<Mapping>,
    look: Duration,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut pass: u64 = 0;
    while !stop.is_cancelled() {
        pass += 1;
        let span = tracing::info_span!("map", pass);
        let wait = match map_once(context, mapping).instrument(span).await {
            Ok(report) if report.mapped > 0 => {
                wakers.push.notify_one();
                continue;
            }
            Ok(_) => look,
            Err(error) => survive(error)?,
        };
        pause(context, wait, Some(&wakers.map), stop).await;
    }
    Ok(())
}

async fn upkeep_loop(
    context: &Context,
    mapping: &Arc<Mapping>,
    every: Duration,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut pass: u64 = 0;
    let mut clocks = Clocks::read(context);
    while !stop.is_cancelled() {
        pass += 1;
        clocks.tell_a_step(context);
        let span = tracing::info_span!("upkeep", pass);
        let wait = match upkeep_once(context).instrument(span).await {
            Ok(counts) => {
                if counts.clock_set_back > 0 {
                    tracing::warn!(
                        shortened = counts.clock_set_back,
                        "the clock was set back: what would have waited for the old time is due now"
                    );
                }
                if counts.leases_expired + counts.step_leases_expired > 0 {
                    tracing::warn!(
                        dossiers = counts.leases_expired,
                        step_calls = counts.step_leases_expired,
                        "leases ran out; their outcome is unknown and the portal is asked"
                    );
                }
                if counts.sources_resumed > 0 {
                    tracing::info!(
                        sources = counts.sources_resumed,
                        "read again after a restore; sending goes on"
                    );
                }
                // A look that fails is repeated with the next pass.
                match watch_once(context).await {
                    Ok(report) => tell_broken_promises(&report),
                    Err(error) => survive(error).map(drop)?,
                }
                match observe_once(context).await {
                    Ok(learnt) => {
                        tell_changes(&learnt);
                        every
                    }
                    Err(error) => survive(error)?,
                }
            }
            Err(error) => survive(error)?,
        };
        // What another mapping refused, a slice a pass.
        match reconsider_once(context, mapping).await {
            Ok(found) if found.released > 0 => wakers.map.notify_one(),
            Ok(_) => {}
            Err(error) => {
                survive(error)?;
            }
        }
        pause(context, wait, None, stop).await;
    }
    Ok(())
}

/// `hoso portal observed` keeps them.
fn tell_changes(learnt: &Learnt) {
    for change in &learnt.changes {
        tracing::warn!(code = CHANGED, service = change.service, "{}", what_changed(change));
    }
}

/// Said when it begins and when it is over; `hoso status` shows that it lasts.
fn tell_broken_promises(report: &WatchReport) {
    for change in &report.changes {
        let Watchdog { code, part, found, example, .. } = &change.now;
        let example = example.as_deref().unwrap_or_default();
        if change.was_broken {
            tracing::info!(code, part, "a promise holds again");
        } else {
            tracing::error!(code, part, found, example, "{}", sentence(code));
        }
    }
}

/// Waits for the gate, then runs everything that sends.
async fn portal_loops(
    daemon: Daemon,
    mut owned: Owned,
    wakers: Wakers,
    stop: Stop,
) -> anyhow::Result<()> {
    let Daemon { context, sources, open_portal, schedule, holder, config_hash, pulse, mapping } =
        daemon;
    let ownership = tokio::select! {
        biased;
        found = owned.wait_for(Option::is_some) => found.ok().and_then(|found| found.clone()),
        () = stop.cancelled() => None,
    };
    let Some(ownership) = ownership else {
        return Ok(());
    };
    let line = open_portal(ownership).await?;
    let in_force = InForce {
        holder,
        hash: config_hash,
        since: context.clock.now(),
        mapping_version: mapping.version().to_owned(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    context.ledger.record_in_force(&in_force).await?;
    let watched = |name| context.watched(&pulse, name, schedule.portal_patience);
    let (pushing, reading) = (watched("push"), watched("read back"));
    let (adopting, closing) = (watched("adopt"), watched("reconcile"));
    let scanning = watched("rolling scan");
    let (refreshing, heeding) = (watched("catalogue"), watched("orders"));
    let resending = watched("jobs");
    // One that ends by a defect asks the others to end; what they have out is settled first.
    let (pushed, read_back, adopted, reconciled, scanned, refreshed, resent, heeded) = tokio::join!(
        ending(&stop, push_loop(&pushing, &line, schedule.look, &wakers, &stop)),
        ending(
            &stop,
            every_loop(&reading, "read back", schedule.read_back, &stop, || async {
                let report = read_back_once(&reading, &line, &stop).await?;
                if report.again > 0 {
                    wakers.push.notify_one();
                }
                Ok(())
            }),
        ),
        ending(&stop, adopt_loop(&adopting, &line, schedule.read_back, &wakers, &stop)),
        ending(
            &stop,
            Box::pin(reconcile_loop(
                &closing, &sources, &line, &mapping, &schedule, &wakers, &stop
            )),
        ),
        ending(&stop, Box::pin(rolling_loop(&scanning, &sources, &wakers, &stop))),
        // On the heap: loops side by side would be a large future.
        ending(&stop, Box::pin(catalogue_loop(&refreshing, &line, &wakers, &stop))),
        ending(
            &stop,
            Box::pin(jobs_loop(&resending, &sources, &line, schedule.look, &wakers, &stop)),
        ),
        ending(&stop, watch_orders(&heeding, &line, schedule.look, &stop)),
    );
    pushed
        .and(read_back)
        .and(adopted)
        .and(reconciled)
        .and(scanned)
        .and(refreshed)
        .and(resent)
        .and(heeded)
}

/// Follows what operators want and tells others how the gate stands, until `stop`. For whoever owns
/// the gate.
pub async fn watch_orders(
    context: &Context,
    line: &PortalLine,
    look: Duration,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut reported: Option<Duration> = None;
    loop {
        let ending = stop.is_cancelled();
        let now = context.clock.monotonic();
        let report_due = reported.is_none_or(|at| now >= at + REPORT) || ending;
        let work = async {
            heed_orders(context, line).await?;
            if report_due {
                report_gate(context, line).await?;
            }
            Ok(())
        };
        let wait = match work.await {
            Ok(()) => look,
            Err(error) => survive(error)?,
        };
        if report_due {
            reported = Some(now);
        }
        if ending {
            return Ok(());
        }
        pause(context, wait, None, stop).await;
    }
}

/// Asks everybody to stop when `work` ends with an error.
async fn ending(stop: &Stop, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let done = work.await;
    if done.is_err() {
        stop.cancel();
    }
    done
}

async fn push_loop(
    context: &Context,
    line: &PortalLine,
    look: Duration,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut closed_for: Option<String> = None;
    let mut told_ledger = false;
    let mut pass: u64 = 0;
    while !stop.is_cancelled() {
        pass += 1;
        let span = tracing::info_span!("push", pass);
        let wait = match push_once(context, line, stop).instrument(span).await {
            Ok(report) => {
                if let Some(closed) = report.gate_closed {
                    let is_order = closed.failure.code == PAUSED;
                    if closed_for.as_ref() != Some(&closed.failure.code) {
                        let failure = closed.failure.clone();
                        let pause = Pause { since: context.clock.now(), failure };
                        told_ledger = record_pause(context, Some(&pause)).await;
                        tracing::warn!(
                            code = closed.failure.code,
                            until = %closed.until,
                            "sending pauses: {}",
                            closed.failure.message
                        );
                        closed_for = Some(closed.failure.code);
                    }
                    let wait = closed.until.since(context.clock.now());
                    // A person's order is looked at every `look` as it is.
                    let least = if is_order { look } else { Duration::from_millis(50) };
                    wait.clamp(least, look)
                } else {
                    if closed_for.take().is_some() {
                        told_ledger = false;
                        tracing::info!("sending goes on");
                    }
                    if !told_ledger {
                        // Also what a process before this one left there.
                        told_ledger = record_pause(context, None).await;
                    }
                    look
                }
            }
            Err(error) => survive(error)?,
        };
        pause(context, wait, Some(&wakers.push), stop).await;
    }
    Ok(())
}

/// For `hoso status`; sending does not depend on it. `false`: not written.
async fn record_pause(context: &Context, pause: Option<&Pause>) -> bool {
    let recorded = context.ledger.record_pause(pause).await;
    if let Err(error) = &recorded {
        tracing::debug!(code = error.code(), "the pause of sending was not recorded");
    }
    recorded.is_ok()
}

/// Asks the portal about what an older program may have sent: dossiers for which something waits
/// by itself, the others while a run of `hoso adopt` is open.
async fn adopt_loop(
    context: &Context,
    line: &PortalLine,
    every: Duration,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut pace: Option<RunPace> = None;
    let mut pass: u64 = 0;
    while !stop.is_cancelled() {
        pass += 1;
        context.alive();
        let span = tracing::info_span!("pass", of = "adopt", pass);
        let some = adopt_some(context, line, &mut pace, wakers, stop).instrument(span);
        let wait = match some.await {
            Ok(Some(wait)) => wait.min(every),
            Ok(None) => continue,
            Err(error) => survive(error)?,
        };
        pause(context, wait, None, stop).await;
    }
    Ok(())
}

/// How long to wait before the next look; `None`: there is more to ask at once.
async fn adopt_some(
    context: &Context,
    line: &PortalLine,
    pace: &mut Option<RunPace>,
    wakers: &Wakers,
    stop: &Stop,
) -> Result<Option<Duration>, VerbError> {
    let pressing = adopt_pressing_once(context, line, stop).await?;
    let mut answered = pressing.answered() > 0;
    let mut wait = Duration::MAX;
    if let Some(run) = context.ledger.adoption_run(None).await? {
        let mut working = pace.filter(|pace| pace.run() == run.id).unwrap_or(RunPace::of(run.id));
        match working.step(context, line, stop).await? {
            RunStep::More => answered = true,
            RunStep::Wait(until) => wait = until,
            // Asked to stop: whoever owns the gate next goes on.
            RunStep::Over if stop.is_cancelled() => {}
            RunStep::Over => {
                context.ledger.end_adoption(context.clock.now(), run.id).await?;
                tracing::info!(run = run.id, "an adoption run ended");
            }
        }
        *pace = Some(working);
    }
    if answered {
        wakers.push.notify_one();
        return Ok(None);
    }
    Ok(Some(wait))
}

/// Closes the books when it is time, and works on runs that operators asked for in between.
async fn reconcile_loop(
    context: &Context,
    sources: &[SourceLine],
    line: &PortalLine,
    mapping: &Arc<Mapping>,
    schedule: &Schedule,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let Some(every) = schedule.reconcile else {
        context.resting(Duration::MAX);
        stop.cancelled().await;
        return Ok(());
    };
    // Counted from the last books, not from the start: a service that is restarted every night
    // must close its books all the same.
    let standing = context.ledger.standing(context.clock.now()).await?;
    let last = standing.last_books.iter().map(|books| books.ended_at).min();
    let first = match last {
        Some(last) => every.saturating_sub(context.clock.now().since(last)),
        None => every.min(FIRST_BOOKS),
    };
    let mut due_at = context.clock.monotonic() + first;
    let again = Duration::from_millis(context.settings.reconcile_settle_ms) + SUSPICION;
    let look = schedule.look.max(schedule.read_back);
    let mut pass: u64 = 0;
    while !stop.is_cancelled() {
        pass += 1;
        context.alive();
        let span = tracing::info_span!("pass", of = "reconcile", pass);
        let now = context.clock.monotonic();
        if now < due_at {
            let asked = asked_for(context, sources, line, mapping, stop).instrument(span).await;
            match asked {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    pause(context, survive(error)?, None, stop).await;
                    continue;
                }
            }
            pause(context, look.min(due_at.saturating_sub(now)), None, stop).await;
            continue;
        }
        let closed = close_books(context, sources, line, mapping, wakers, stop).instrument(span);
        let wait = match closed.await {
            // What the portal did not show is looked at again as soon as that can be believed.
            Ok(suspected) if suspected > 0 => every.min(again),
            Ok(_) => every,
            Err(error) => survive(error)?,
        };
        due_at = context.clock.monotonic() + wait;
    }
    Ok(())
}

/// Works on the oldest run that an operator asked for; `false` when there is none.
async fn asked_for(
    context: &Context,
    sources: &[SourceLine],
    line: &PortalLine,
    mapping: &Arc<Mapping>,
    stop: &Stop,
) -> Result<bool, VerbError> {
    let Some(run) = reconcile::asked_for(context).await? else {
        return Ok(false);
    };
    let Some(source) = sources.iter().find(|line| line.source.name() == run.order.source) else {
        let why = "given up: its source is not configured any more";
        context.ledger.give_up_run(context.clock.now(), run.id, why).await?;
        return Ok(true);
    };
    let ends = Ends { source, portal: Some(line), mapping: Some(mapping) };
    match reconcile::work_on_run(context, ends, run.id, stop, |_| {}).await {
        Ok(Some(books)) => {
            tracing::info!(run = run.id, matched = books.matched, "a reconciliation ended");
            Ok(true)
        }
        Ok(None) => Ok(false),
        // It was given up, and says why.
        Err(VerbError::Source { source_name, failure }) => {
            tracing::warn!(source = source_name, code = failure.code, run = run.id, "{failure}");
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Returns how many dossiers were missed at the portal and must be looked at again.
async fn close_books(
    context: &Context,
    sources: &[SourceLine],
    line: &PortalLine,
    mapping: &Arc<Mapping>,
    wakers: &Wakers,
    stop: &Stop,
) -> Result<u64, VerbError> {
    let mut suspected = 0;
    for source in sources {
        if stop.is_cancelled() {
            break;
        }
        let ends = Ends { source, portal: Some(line), mapping: Some(mapping) };
        match reconcile::close_books(context, ends, stop).await {
            // The next process, or the next configuration, goes on with it.
            Ok(_) if stop.is_cancelled() => {}
            Ok(books) => {
                suspected += books.suspected;
                tracing::info!(
                    source = books.source,
                    at_source = books.at_source,
                    matched = books.matched,
                    closed = books.closed,
                    without_index = books.without_index,
                    "books compared"
                );
                wakers.map.notify_one();
            }
            Err(VerbError::Source { source_name, failure }) => {
                tracing::warn!(source = source_name, code = failure.code, "no books: {failure}");
            }
            // By hand, without the portal: those books are as new as ours would be.
            Err(VerbError::UnderWay { source_name, run }) => {
                tracing::info!(source = source_name, run, "no books: others are being made");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(suspected)
}

/// The slow scan behind the cursors.
async fn rolling_loop(
    context: &Context,
    sources: &[SourceLine],
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let Some(every) = context.settings.rolling_every else {
        context.resting(Duration::MAX);
        stop.cancelled().await;
        return Ok(());
    };
    pause(context, every, None, stop).await;
    every_loop(context, "rolling scan", every, stop, || async {
        for source in sources {
            match reconcile::rolling::scan_once(context, source).await {
                Ok(scanned) if scanned.pulled > 0 => wakers.map.notify_one(),
                Ok(_) => {}
                Err(VerbError::Source { source_name, failure }) => {
                    tracing::debug!(source = source_name, code = failure.code, "not scanned");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
    .await
}

async fn catalogue_loop(
    context: &Context,
    line: &PortalLine,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    every_loop(context, "catalogue", CATALOGUE_LOOK, stop, || async {
        let report = refresh_catalogue_once(context, line, Priority::Audit, stop).await?;
        for fetched in report.fetched.iter().filter(|one| one.change.is_new) {
            tracing::info!(
                catalogue = %fetched.key,
                items = fetched.change.items,
                added = fetched.change.added,
                removed = fetched.change.removed,
                renamed = fetched.change.renamed,
                "a new version of the catalogue"
            );
        }
        if report.released > 0 {
            tracing::info!(count = report.released, "held dossiers are judged anew");
            wakers.map.notify_one();
        }
        Ok(())
    })
    .await
}

/// Works on jobs while there are some; whether there are, the orders say.
async fn jobs_loop(
    context: &Context,
    sources: &[SourceLine],
    line: &PortalLine,
    look: Duration,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut pass: u64 = 0;
    while !stop.is_cancelled() {
        context.alive();
        let mut wait = look;
        if line.orders.jobs_wait() {
            pass += 1;
            let span = tracing::info_span!("pass", of = "jobs", pass);
            match jobs_once(context, line, sources, stop).instrument(span).await {
                Ok(report) if report.opened > 0 => {
                    wakers.map.notify_one();
                    wakers.push.notify_one();
                }
                Ok(_) => {}
                Err(error) => wait = survive(error)?,
            }
        }
        pause(context, wait, None, stop).await;
    }
    Ok(())
}

async fn every_loop<F, W>(
    context: &Context,
    name: &'static str,
    every: Duration,
    stop: &Stop,
    verb: F,
) -> anyhow::Result<()>
where
    F: Fn() -> W,
    W: Future<Output = Result<(), VerbError>>,
{
    let mut pass: u64 = 0;
    while !stop.is_cancelled() {
        pass += 1;
        context.alive();
        let span = tracing::info_span!("pass", of = name, pass);
        let wait = match verb().instrument(span).await {
            Ok(()) => every,
            Err(error) => survive(error)?,
        };
        pause(context, wait, None, stop).await;
    }
    Ok(())
}

/// Trouble of the ledger that may pass is waited out; anything else ends the daemon.
fn survive(error: VerbError) -> anyhow::Result<Duration> {
    use crate::ledger::LedgerError as L;
    match &error {
        VerbError::Ledger(
            ledger @ (L::Unavailable { .. }
            | L::Full
            | L::Conflict(_)
            | L::ReadOnly { .. }
            // One row that cannot be read must not end what serves all the others.
            | L::Corrupt { .. }),
        ) => {
            tracing::error!(code = ledger.code(), hint = ledger.hint(), "{ledger}; trying again");
            Ok(LEDGER_RETRY)
        }
        VerbError::Source { .. } => Ok(LEDGER_RETRY),
        // A pass by hand that does without the portal ends soon.
        VerbError::UnderWay { .. } => Ok(UNDER_WAY_RETRY),
        _ => Err(error.into()),
    }
}

async fn pause(context: &Context, wait: Duration, wake: Option<&Notify>, stop: &Stop) {
    context.resting(wait);
    let woken = async {
        match wake {
            Some(wake) => wake.notified().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = woken => {}
        () = context.clock.sleep(wait) => {}
    }
}

/// Runs `work` until it ends by itself, or through the two stages of a shutdown: the first request
/// asks it to end within `drain`, the second ends it at once. Returns `None` when it was cut off.
pub async fn with_two_stage_shutdown<T>(
    clock: &dyn Clock,
    drain: Duration,
    stop: &Stop,
    mut requests: tokio::sync::mpsc::Receiver<()>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return Some(done),
        _ = requests.recv() => {}
    }
    tracing::info!(drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX), "stopping");
    stop.cancel();
    tokio::select! {
        biased;
        done = &mut work => Some(done),
        Some(()) = requests.recv() => {
            tracing::warn!("stopped at once; calls on their way will be looked up at the next start");
            None
        }
        () = clock.sleep(drain) => {
            tracing::warn!("the drain limit is over; calls on their way will be looked up at the next start");
            None
        }
    }
}
