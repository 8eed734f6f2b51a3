//! The loops: when each verb runs, how it is supervised, and how it all ends.
//!
//! Owns schedules, wake-ups and shutdown in two stages. Knows nothing of what the verbs do. Waking
//! early is a courtesy: every loop also looks by itself, so a lost wake-up costs a moment, never a
//! dossier.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::domain::failure::Disposition;
use crate::mapping::Mapping;
use crate::pipeline::map::map_once;
use crate::pipeline::orders::{heed_orders, report_gate};
use crate::pipeline::ownership::{GATE, Ownership};
use crate::pipeline::pull::pull_once;
use crate::pipeline::push::push_once;
use crate::pipeline::read_back::read_back_once;
use crate::pipeline::reconcile::reconcile_once;
use crate::pipeline::upkeep::{measure_once, upkeep_once};
use crate::pipeline::{Context, PortalLine, SourceLine, Stop, VerbError};

/// How often a loop looks by itself when nothing wakes it.
const LOOK: Duration = Duration::from_millis(500);
/// How long to wait before the gate is asked for again while another process owns it.
const OWNER_RETRY: Duration = Duration::from_secs(1);
/// The first books of a ledger are closed this long after the start: its first fill is under way.
const FIRST_BOOKS: Duration = Duration::from_hours(1);
/// How often the gate's owner looks for what operators want: it takes effect within a second.
const ORDERS_LOOK: Duration = Duration::from_millis(500);
/// How often the gate's owner writes down how the gate stands.
const REPORT: Duration = Duration::from_secs(5);
/// How often it is asked whether the day has its measurement of the ledger.
const MEASURE: Duration = Duration::from_hours(1);
/// After an error of the ledger, before the verb is repeated.
const LEDGER_RETRY: Duration = Duration::from_secs(2);

/// When the loops run.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Between polls of each source, in the order of the sources.
    pub poll: Vec<Duration>,
    pub read_back: Duration,
    /// `None`: the books are only closed on request.
    pub reconcile: Option<Duration>,
    pub upkeep: Duration,
}

/// Opens the portal once the gate is ours; it must continue the quota of the last owner.
pub type OpenPortal = Box<
    dyn Fn(Arc<Ownership>) -> futures_util::future::BoxFuture<'static, anyhow::Result<PortalLine>>
        + Send
        + Sync,
>;

/// Everything the daemon runs.
pub struct Daemon {
    pub context: Context,
    pub sources: Vec<SourceLine>,
    pub mapping: Arc<Mapping>,
    pub open_portal: OpenPortal,
    pub schedule: Schedule,
    /// Names this process in the ledger, e.g. `serve pid 4711`.
    pub holder: String,
}

/// Wakes the next loop of the line.
#[derive(Debug, Clone, Default)]
struct Wakers {
    map: Arc<Notify>,
    push: Arc<Notify>,
}

impl Daemon {
    /// Runs until `stop`; then nothing new is begun, and it returns when what is out is settled.
    /// A loop that ends by a defect ends the daemon, so that a supervisor restarts it whole.
    pub async fn run(self, stop: &Stop) -> anyhow::Result<()> {
        let wakers = Wakers::default();
        let mut loops: JoinSet<anyhow::Result<()>> = JoinSet::new();
        for (line, every) in self.sources.iter().cloned().zip(self.schedule.poll.iter().copied()) {
            let (context, wakers, stop) = (self.context.clone(), wakers.clone(), stop.clone());
            loops.spawn(async move { pull_loop(&context, &line, every, &wakers, &stop).await });
        }
        {
            let (context, wakers, stop) = (self.context.clone(), wakers.clone(), stop.clone());
            let mapping = Arc::clone(&self.mapping);
            loops.spawn(async move { map_loop(&context, &mapping, &wakers, &stop).await });
        }
        {
            let (context, stop) = (self.context.clone(), stop.clone());
            let every = self.schedule.upkeep;
            loops.spawn(async move { upkeep_loop(&context, every, &stop).await });
        }
        {
            let (context, stop) = (self.context.clone(), stop.clone());
            loops.spawn(async move {
                every_loop(&context, MEASURE, &stop, || async {
                    measure_once(&context).await.map(drop)
                })
                .await
            });
        }
        loops.spawn(portal_loops(
            self.context.clone(),
            self.sources,
            self.open_portal,
            self.schedule,
            self.holder,
            wakers,
            stop.clone(),
        ));
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

async fn pull_loop(
    context: &Context,
    line: &SourceLine,
    every: Duration,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut failures: u32 = 0;
    let mut passed_over = 0;
    let mut remarks = Vec::new();
    while !stop.is_cancelled() {
        let wait = match pull_once(context, line, stop).await {
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
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let wait = match map_once(context, mapping).await {
            Ok(report) if report.mapped > 0 => {
                wakers.push.notify_one();
                continue;
            }
            Ok(_) => LOOK,
            Err(error) => survive(error)?,
        };
        pause(context, wait, Some(&wakers.map), stop).await;
    }
    Ok(())
}

async fn upkeep_loop(context: &Context, every: Duration, stop: &Stop) -> anyhow::Result<()> {
    let mut was_stuck = false;
    while !stop.is_cancelled() {
        let wait = match upkeep_once(context).await {
            Ok(counts) => {
                if counts.leases_expired + counts.step_leases_expired > 0 {
                    tracing::warn!(
                        dossiers = counts.leases_expired,
                        step_calls = counts.step_leases_expired,
                        "leases ran out; their outcome is unknown and the portal is asked"
                    );
                }
                // Said when it begins; `hoso status` shows that it lasts.
                if counts.stuck > 0 && !was_stuck {
                    tracing::warn!(count = counts.stuck, "work is due and nobody takes it");
                }
                if counts.sources_resumed > 0 {
                    tracing::info!(
                        sources = counts.sources_resumed,
                        "read again after a restore; sending goes on"
                    );
                }
                was_stuck = counts.stuck > 0;
                every
            }
            Err(error) => survive(error)?,
        };
        pause(context, wait, None, stop).await;
    }
    Ok(())
}

/// Waits for the gate, then runs everything that sends, then gives the gate back.
async fn portal_loops(
    context: Context,
    sources: Vec<SourceLine>,
    open_portal: OpenPortal,
    schedule: Schedule,
    holder: String,
    wakers: Wakers,
    stop: Stop,
) -> anyhow::Result<()> {
    let Some(ownership) = take_gate(&context, &holder, &stop).await? else {
        return Ok(());
    };
    let ownership = Arc::new(ownership);
    let line = open_portal(Arc::clone(&ownership)).await?;
    // Renewing must outlive `stop`: what is out is still ours until it is settled.
    let settled = Stop::new();
    let keep = async {
        let lost = Stop::new();
        tokio::select! {
            () = ownership.keep(&context, &lost) => {
                stop.cancel();
                // A service manager must see this as a failure and start the service again.
                Err(anyhow::anyhow!("another process took the portal's gate"))
            }
            () = settled.cancelled() => Ok(()),
        }
    };
    let work = async {
        // One that ends by a defect asks the others to end; what they have out is settled first.
        let (pushed, read_back, reconciled, watched) = futures_util::future::join4(
            ending(&stop, push_loop(&context, &line, &wakers, &stop)),
            ending(
                &stop,
                every_loop(&context, schedule.read_back, &stop, || async {
                    let report = read_back_once(&context, &line, &stop).await?;
                    if report.again > 0 {
                        wakers.push.notify_one();
                    }
                    Ok(())
                }),
            ),
            ending(
                &stop,
                reconcile_loop(&context, &sources, &line, schedule.reconcile, &wakers, &stop),
            ),
            ending(&stop, watch_orders(&context, &line, &stop)),
        )
        .await;
        settled.cancel();
        pushed.and(read_back).and(reconciled).and(watched)
    };
    let (done, kept): (anyhow::Result<()>, anyhow::Result<()>) =
        futures_util::future::join(work, keep).await;
    ownership.release(&context).await?;
    done.and(kept)
}

/// Follows what operators want and tells others how the gate stands, until `stop`. For whoever owns
/// the gate.
pub async fn watch_orders(context: &Context, line: &PortalLine, stop: &Stop) -> anyhow::Result<()> {
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
            Ok(()) => ORDERS_LOOK,
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

async fn take_gate(
    context: &Context,
    holder: &str,
    stop: &Stop,
) -> anyhow::Result<Option<Ownership>> {
    let mut told = false;
    while !stop.is_cancelled() {
        match Ownership::take(context, GATE, holder).await {
            Ok(Ok(ownership)) => return Ok(Some(ownership)),
            Ok(Err(other)) => {
                if !told {
                    tracing::info!(owner = other.holder, "another process owns the gate; waiting");
                    told = true;
                }
                pause(context, OWNER_RETRY, None, stop).await;
            }
            Err(error) => {
                let wait = survive(error.into())?;
                pause(context, wait, None, stop).await;
            }
        }
    }
    Ok(None)
}

async fn push_loop(
    context: &Context,
    line: &PortalLine,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut closed_for = None;
    while !stop.is_cancelled() {
        let wait = match push_once(context, line, stop).await {
            Ok(report) => {
                if let Some(closed) = report.gate_closed {
                    if closed_for.as_ref() != Some(&closed.failure.code) {
                        tracing::warn!(
                            code = closed.failure.code,
                            until = %closed.until,
                            "sending pauses: {}",
                            closed.failure.message
                        );
                        closed_for = Some(closed.failure.code);
                    }
                    let wait = closed.until.since(context.clock.now());
                    wait.clamp(Duration::from_millis(50), LOOK)
                } else {
                    if closed_for.take().is_some() {
                        tracing::info!("sending goes on");
                    }
                    LOOK
                }
            }
            Err(error) => survive(error)?,
        };
        pause(context, wait, Some(&wakers.push), stop).await;
    }
    Ok(())
}

async fn reconcile_loop(
    context: &Context,
    sources: &[SourceLine],
    line: &PortalLine,
    every: Option<Duration>,
    wakers: &Wakers,
    stop: &Stop,
) -> anyhow::Result<()> {
    let Some(every) = every else {
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
    pause(context, first, None, stop).await;
    every_loop(context, every, stop, || async {
        for source in sources {
            match reconcile_once(context, source, Some(line), stop).await {
                Ok(books) => {
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
                    tracing::warn!(
                        source = source_name,
                        code = failure.code,
                        "no books: {failure}"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
    .await
}

async fn every_loop<F, W>(
    context: &Context,
    every: Duration,
    stop: &Stop,
    verb: F,
) -> anyhow::Result<()>
where
    F: Fn() -> W,
    W: Future<Output = Result<(), VerbError>>,
{
    while !stop.is_cancelled() {
        let wait = match verb().await {
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
        _ => Err(error.into()),
    }
}

async fn pause(context: &Context, wait: Duration, wake: Option<&Notify>, stop: &Stop) {
    let woken = async {
        match wake {
            Some(wake) => wake.notified().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = context.clock.sleep(wait) => {}
        () = woken => {}
        () = stop.cancelled() => {}
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
        done = &mut work => return Some(done),
        _ = requests.recv() => {}
    }
    tracing::info!(drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX), "stopping");
    stop.cancel();
    tokio::select! {
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
