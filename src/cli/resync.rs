//! `hoso resync`: send dossiers again, with a reason.

use std::fmt::Write as _;

use serde::Serialize;

use super::failure::{Exit, Failure};
use super::person::Person;
use super::{Invocation, build};
use crate::ledger::record::ResyncOutcome;
use crate::pipeline::resync::{ResyncReport, resync};

/// Send dossiers again, before everything else
///
/// Opens one obligation for each dossier; asking twice opens nothing twice. The stored document is
/// mapped anew and sent by whoever owns the portal's gate, also if the portal has it already.
///
/// Example: hoso resync --code H55.242-260126-0001 --reason "the citizen cannot see it"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Dossier codes (MaHoSo)
    #[arg(long, value_name = "CODE", required = true, num_args = 1..)]
    code: Vec<String>,
    /// Only the dossier of this source, if several sources use the code
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    person: Person,
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
    let context = build::existing_context(&config).await?;
    let report = resync(
        &context,
        arguments.source.as_deref(),
        &arguments.code,
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
