//! `hoso resync`: send dossiers again, with a reason.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::criteria::Criteria;
use super::failure::{Exit, Failure};
use super::person::Person;
use super::plan::{Wish, plan_and_run, run_from_file};
use super::{Invocation, build};
use crate::domain::job::Mode;
use crate::domain::selection::Selection;
use crate::ledger::jobs::PlanOrder;
use crate::ledger::record::ResyncOutcome;
use crate::pipeline::resync::{ResyncReport, resync};

/// Send dossiers again: a few by hand at once, many as a plan and a job
///
/// A few codes open one obligation each, before everything else; asking twice opens nothing twice.
/// Every other selection is frozen as a plan, which says how many dossiers it means, what they cost and
/// how long they take, and then becomes a job: its first few are looked up at the portal before the
/// rest leaves at a pace of its own. `hoso job` watches and steers it.
///
/// Example: hoso resync --code H55.242-260126-0001 --reason "the citizen cannot see it"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    criteria: Criteria,
    /// What is sent: the stored revision mapped anew, the bytes that the portal acknowledged last, or
    /// what the source gives now
    #[arg(long, value_enum, default_value_t = How::ReMap)]
    mode: How,
    /// Send no packet, and the acknowledged progress steps again
    #[arg(long, conflicts_with = "mode")]
    steps_only: bool,
    /// With --steps-only: also requests for a supplement (status 5), which can make a dossier late
    #[arg(long, requires = "steps_only")]
    supplements: bool,
    /// Only make the plan and show it
    #[arg(long)]
    dry_run: bool,
    /// Only make the plan and write it into this file, for review; the file must not exist
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    plan: Option<PathBuf>,
    /// Run the plan of this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plan", "dry_run", "steps_only"])]
    from_plan: Option<PathBuf>,
    /// The number of dossiers, repeated; needed above `resync.confirm_above`
    #[arg(long, value_name = "NUMBER")]
    confirm: Option<u64>,
    /// Dossiers a minute at most; `resync.per_minute` unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    per_minute: Option<u32>,
    #[command(flatten)]
    person: Person,
}

/// The modes that send packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum How {
    ReMap,
    AsSent,
    RePull,
}

impl Arguments {
    fn mode(&self) -> Mode {
        match self.mode {
            _ if self.steps_only => Mode::StepsOnly,
            How::ReMap => Mode::ReMap,
            How::AsSent => Mode::AsSent,
            How::RePull => Mode::RePull,
        }
    }

    /// A few codes and nothing else: no plan is needed to see what is meant.
    fn is_by_hand(&self, selection: &Selection, by_hand_max: u32) -> bool {
        selection.is_codes_only()
            && self.criteria.codes_file.is_none()
            && selection.codes.len() <= by_hand_max as usize
            && self.mode() == Mode::ReMap
            && !self.dry_run
            && self.plan.is_none()
            && self.confirm.is_none()
            && self.per_minute.is_none()
    }
}

#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    report: ResyncReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate_owner: Option<String>,
}

pub(super) async fn run(invocation: &Invocation, arguments: Arguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let wish = Wish {
        confirm: arguments.confirm,
        per_minute: arguments.per_minute,
        actor: arguments.person.actor(),
        reason: arguments.person.reason.clone(),
        dry_run: arguments.dry_run || arguments.plan.is_some(),
        file: arguments.plan.as_deref(),
    };
    if let Some(file) = &arguments.from_plan {
        if !arguments.criteria.is_empty() {
            return Err(Failure::new(Exit::Usage, "a plan says itself which dossiers it means")
                .hint("give --from-plan alone, with --reason"));
        }
        return Box::pin(run_from_file(invocation, &config, file, &wish)).await;
    }
    let selection = arguments.criteria.read()?;
    if !arguments.is_by_hand(&selection, config.resync.by_hand_max) {
        let order = PlanOrder {
            selection,
            mode: arguments.mode(),
            supplements: arguments.supplements,
            actor: wish.actor.clone(),
            reason: wish.reason.clone(),
        };
        return Box::pin(plan_and_run(invocation, &config, order, &wish)).await;
    }
    let context = build::existing_context(&config).await?;
    let report = resync(
        &context,
        arguments.criteria.source.as_deref(),
        &arguments.criteria.code,
        &arguments.person.actor(),
        &arguments.person.reason,
    )
    .await?;
    let gate_owner = context.ledger.sending(context.clock.now()).await?.gate_owner;
    context.ledger.close().await;
    let told = Told { report, gate_owner };
    invocation.output.result(&told, text);
    let outcomes = || told.report.dossiers.iter().map(|dossier| &dossier.outcome);
    if outcomes().all(|outcome| *outcome == ResyncOutcome::UnknownDossier) {
        Err(Failure::new(Exit::NotFound, "the ledger has none of these dossiers").hint(
            "compare the codes letter by letter; what was not pulled yet is unknown too: \
             `hoso run pull`",
        ))
    } else if outcomes().all(will_be_sent) {
        Ok(())
    } else {
        Err(Failure::findings())
    }
}

const fn will_be_sent(outcome: &ResyncOutcome) -> bool {
    matches!(outcome, ResyncOutcome::Opened { .. } | ResyncOutcome::AlreadyOpen { .. })
}

fn text(told: &Told) -> String {
    let mut text = String::new();
    let mut opened = false;
    for dossier in &told.report.dossiers {
        let what = match &dossier.outcome {
            ResyncOutcome::Opened { .. } => "will be mapped anew and sent".to_owned(),
            ResyncOutcome::AlreadyOpen { state, .. } => {
                format!("already open ({state}); it goes first now")
            }
            ResyncOutcome::UnknownDossier => "not in the ledger".to_owned(),
            ResyncOutcome::NotOurs => {
                "never sent: deleted, re-coded, a ministry's, or not the province's".to_owned()
            }
            ResyncOutcome::DocumentGone => {
                "its document is past retention; it must change at the source to come again"
                    .to_owned()
            }
        };
        opened |= will_be_sent(&dossier.outcome);
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{}  {what}", dossier.ma_ho_so);
    }
    if opened {
        match &told.gate_owner {
            Some(owner) => {
                let _infallible = writeln!(text, "handed over: {owner} sends it next");
            }
            None => text.push_str(
                "no service is running; send it now with `hoso run map` and `hoso run push`\n",
            ),
        }
    }
    text
}
