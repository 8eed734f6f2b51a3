//! `hoso mapping compare`, `hoso mapping apply` and `hoso mapping list`: what another mapping would
//! change, and putting it in force.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::super::audit::moment;
use super::super::failure::{Exit, Failure};
use super::super::person::Person;
use super::super::{Invocation, build, words};
use super::{cases_of, load};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::domain::time::{Timestamp, span};
use crate::ledger::record::AuditRecord;
use crate::mapping::{CasesReport, Mapping};
use crate::pipeline::compare::{Change, Comparison, Sample, compare};
use crate::pipeline::{Context, audit, lifecycle};

/// Dossiers that a switch may concern without their number being repeated.
const CONFIRM_ABOVE: u64 = 100;

/// Say what another mapping would make of every stored revision; changes nothing
///
/// With one mapping it is compared with the one in force. A mapping is a folder with mapping.toml, or
/// the version of one that was applied before (`hoso mapping list`). Revisions whose documents are past
/// retention cannot be compared; their number is told. Exit code 6 if a dossier would be refused that
/// is not refused now.
///
/// Example: hoso mapping compare mappings/feed-2027 --since 2026-01-01
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct CompareArguments {
    /// The older, if not the one in force, and the newer: folders or versions
    #[arg(required = true, num_args = 1..=2, value_names = ["OLD", "NEW"])]
    mappings: Vec<String>,
    /// Only revisions that arrived since (Vietnam time unless an offset is given)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
}

/// Put another mapping in force, once it is known what that changes
///
/// Reads the mapping whole, runs its cases (DIR/cases), compares it over every stored revision, and
/// only then switches, at once for everybody: a running service takes it within seconds, a restart
/// comes up with it. The configuration's `mapping.dir` is not looked at any more. If more than 100
/// dossiers are concerned, their number must be repeated.
///
/// Dossiers that only the new mapping takes come back by themselves. What the portal has acknowledged
/// is not sent again, whatever changed in it: it goes with its next change, or with `hoso resync`.
///
/// Example: hoso mapping apply mappings/feed-2027 --confirm 1234 --reason "decision 12/2026"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct ApplyArguments {
    /// A folder with mapping.toml and cases, or the version of a mapping that was applied before
    #[arg(value_name = "NEW")]
    mapping: String,
    /// How many dossiers the switch concerns, as the comparison says
    #[arg(long, value_name = "N")]
    confirm: Option<u64>,
    #[command(flatten)]
    person: Person,
}

/// List the mappings that were put in force, the newest first
///
/// Example: hoso mapping list
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct ListArguments {}

pub(super) async fn compare_two(
    invocation: &Invocation,
    arguments: CompareArguments,
) -> Result<(), Failure> {
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let done = async {
        let (old, new) = match arguments.mappings.as_slice() {
            [old, new] => (find(&config, &context, old).await?.0, new),
            [new] => (in_force(&config, &context).await?.1, new),
            _ => return Err(Failure::new(Exit::Usage, "one or two mappings are compared")),
        };
        let new = find(&config, &context, new).await?.0;
        Ok(compare(&context, &old, &new, arguments.since).await?)
    };
    let done = done.await;
    context.ledger.close().await;
    let comparison = done?;
    invocation.output.result(&comparison, compared);
    if comparison.dossiers.newly_invalid == 0 { Ok(()) } else { Err(Failure::findings()) }
}

/// The number of the mapping in force (0: the configuration's), and itself.
async fn in_force(config: &Config, context: &Context) -> Result<(i64, Arc<Mapping>), Failure> {
    build::mapping_in_force(config, context.ledger.as_ref()).await
}

/// A folder's mapping with its folder, or one that was applied.
async fn find(
    config: &Config,
    context: &Context,
    name: &str,
) -> Result<(Arc<Mapping>, Option<PathBuf>), Failure> {
    let folder = Path::new(name);
    if folder.is_dir() {
        return Ok((load(config, folder)?, Some(folder.to_owned())));
    }
    let applied = context.ledger.applied_mappings().await?;
    let matching = applied.iter().find(|one| {
        name.len() >= 4 && (one.version.starts_with(name) || one.hash.starts_with(name))
    });
    match matching {
        Some(one) => {
            let mapping = lifecycle::read_back(one, &build::mapping_settings(config))
                .map_err(build::unusable_mapping)?;
            Ok((Arc::new(mapping), None))
        }
        None => Err(Failure::new(
            Exit::NotFound,
            format!("`{name}` is no folder, and no mapping of that version was ever applied"),
        )
        .hint("`hoso mapping list` names those that were applied")),
    }
}

#[derive(Debug, Serialize)]
struct Applied {
    /// `None`: it was in force already.
    number: Option<i64>,
    version: String,
    hash: String,
    cases: Option<usize>,
    comparison: Comparison,
    gate_owner: Option<String>,
}

pub(super) async fn apply(
    invocation: &Invocation,
    arguments: ApplyArguments,
) -> Result<(), Failure> {
    let config = invocation.config()?;
    let context = build::existing_context(&config).await?;
    let act = AuditRecord::new(
        &arguments.person.actor(),
        "mapping apply",
        &arguments.mapping,
        &arguments.person.reason,
    );
    let done = switch(invocation, &config, &context, &arguments, act.clone()).await;
    let told = match done {
        Ok(applied) => {
            invocation.output.result(&applied, applied_text);
            Ok(())
        }
        // A switch that failed in the ledger has its row already.
        Err((act, failure)) => {
            if let Some(act) = act {
                let why = failure.message.lines().next().unwrap_or("see the command's output");
                audit::refused(&context, &act, why).await;
            }
            Err(failure)
        }
    };
    context.ledger.close().await;
    told
}

type Refusal = (Option<AuditRecord>, Failure);

async fn switch(
    invocation: &Invocation,
    config: &Config,
    context: &Context,
    arguments: &ApplyArguments,
    act: AuditRecord,
) -> Result<Applied, Refusal> {
    let refuse = |act: &AuditRecord| {
        let act = act.clone();
        move |failure: Failure| (Some(act), failure)
    };
    let (seen, old) = in_force(config, context).await.map_err(refuse(&act))?;
    let (new, folder) = find(config, context, &arguments.mapping).await.map_err(refuse(&act))?;
    let hashes = format!("from {} to {}", old.files().hash(), new.files().hash());
    let act = act.selection(hashes);
    let cases = match &folder {
        Some(folder) => Some(passed(&new, folder).map_err(refuse(&act))?),
        None => None,
    };
    let comparison =
        compare(context, &old, &new, None).await.map_err(Failure::from).map_err(refuse(&act))?;
    let concerned = comparison.dossiers_concerned();
    let confirmed = arguments.confirm == Some(concerned);
    if !confirmed && (concerned > CONFIRM_ABOVE || arguments.confirm.is_some()) {
        if !invocation.output.wants_json() {
            invocation.output.talk(&compared(&comparison));
        }
        let failure = Failure::new(
            Exit::Usage,
            format!("nothing was switched: {} concerned", words::count(concerned, "dossier")),
        )
        .code("mapping.not_confirmed")
        .hint(format!("if that is what you want, repeat the command with --confirm {concerned}"));
        return Err((Some(act), failure));
    }
    let number = if new.files() == old.files() && seen > 0 {
        audit::note(context, &act, "was in force already").await;
        None
    } else {
        let former = (seen == 0).then_some(old.as_ref());
        let applied = lifecycle::apply(context, seen, former, &new, &act).await;
        Some(applied.map_err(|error| (None, Failure::from(error)))?)
    };
    let now = context.clock.now();
    let sending = context.ledger.sending(now).await;
    Ok(Applied {
        number,
        version: new.version().to_owned(),
        hash: new.files().hash(),
        cases: cases.map(|report| report.cases.len()),
        comparison,
        gate_owner: sending.ok().and_then(|sending| sending.gate_owner),
    })
}

fn passed(mapping: &Mapping, folder: &Path) -> Result<CasesReport, Failure> {
    let report = cases_of(mapping, folder)?;
    if report.passed() {
        return Ok(report);
    }
    let failed = report.cases.iter().filter(|case| !case.differences.is_empty()).count();
    Err(Failure::new(
        Exit::Findings,
        format!("nothing was switched: {failed} of the mapping's own cases fail\n{report}"),
    )
    .code("mapping.cases_failed")
    .hint("`hoso mapping test DIR` shows them"))
}

fn applied_text(applied: &Applied) -> String {
    let mut text = compared(&applied.comparison);
    if let Some(cases) = applied.cases {
        let _infallible = writeln!(text, "cases       {cases} passed");
    }
    let _infallible = match applied.number {
        None => writeln!(text, "\n{} was in force already", applied.version),
        Some(number) => writeln!(
            text,
            "\n{} is in force as number {number}; {}",
            applied.version,
            match &applied.gate_owner {
                Some(owner) => format!("{owner} takes it within seconds"),
                None => "the service comes up with it".to_owned(),
            }
        ),
    };
    let changed = applied.comparison.acknowledged_and_changed;
    if changed > 0 {
        let _infallible = writeln!(
            text,
            "{} acknowledged by the portal {} another packet now and not sent again: each goes with its next \
             change, or with `hoso resync`",
            words::count(changed, "dossier"),
            if changed == 1 { "has" } else { "have" },
        );
    }
    text
}

fn compared(comparison: &Comparison) -> String {
    let mut text = format!("mapping     {} -> {}\n", comparison.old, comparison.new);
    let stored = &comparison.stored;
    let _infallible = writeln!(
        text,
        "compared    {}{}",
        words::count(stored.kept, "stored revision"),
        match stored.gone {
            0 => String::new(),
            gone => format!(
                "; {} past retention cannot be compared until the source gives it again",
                words::count(gone, "revision")
            ),
        }
    );
    let (revisions, dossiers) = (&comparison.revisions, &comparison.dossiers);
    let rows = [
        ("unchanged", revisions.unchanged, dossiers.unchanged),
        ("other packet", revisions.changed, dossiers.changed),
        ("newly valid", revisions.newly_valid, dossiers.newly_valid),
        ("newly refused", revisions.newly_invalid, dossiers.newly_invalid),
        ("refused by both", revisions.invalid, dossiers.invalid),
        ("other steps", revisions.steps_changed, dossiers.steps_changed),
    ];
    let cells = rows.into_iter().map(|(name, revisions, dossiers)| {
        vec![name.to_owned(), words::thousands(revisions), words::thousands(dossiers)]
    });
    text.push('\n');
    text.push_str(&words::table(&["", "REVISIONS", "DOSSIERS NOW"], cells));
    text.push('\n');
    let mut list = |name: &str, counts: &std::collections::BTreeMap<String, u64>| {
        for (what, count) in counts {
            let _infallible = writeln!(text, "{name:<16}{:>9}  {what}", words::thousands(*count));
        }
    };
    list("changed field", &comparison.by_field);
    list("newly refused", &comparison.newly_invalid_by_rule);
    list("newly valid", &comparison.newly_valid_by_rule);
    for sample in &comparison.samples {
        sample_lines(&mut text, sample);
    }
    if comparison.not_sent + comparison.unreadable > 0 {
        let _infallible = writeln!(
            text,
            "left out    {} never sent, {} unreadable",
            words::thousands(comparison.not_sent),
            words::thousands(comparison.unreadable)
        );
    }
    if comparison.calls > 0 {
        let _infallible = writeln!(
            text,
            "to send all of it: {} at the portal's quota, {}",
            words::count(comparison.calls, "call"),
            span(std::time::Duration::from_millis(comparison.calls_ms))
        );
    }
    text
}

fn sample_lines(text: &mut String, sample: &Sample) {
    let what = match sample.change {
        Change::Unchanged => "unchanged",
        Change::Changed => "other packet",
        Change::NewlyValid => "newly valid",
        Change::NewlyInvalid => "newly refused",
        Change::Invalid => "refused by both",
    };
    let rules = sample.rules.join(", ");
    let _infallible = writeln!(text, "e.g. {}  {what}  {rules}", sample.ma_ho_so);
    for difference in &sample.differences {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        let _infallible = writeln!(
            text,
            "       {}: {} -> {}",
            difference.path,
            shown(&difference.before),
            shown(&difference.after)
        );
    }
}

pub(super) async fn list(invocation: &Invocation) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let applied = ledger.applied_mappings().await?;
    ledger.close().await;
    let now = SystemClock::new().now();
    invocation.output.result(&applied, |applied| {
        if applied.is_empty() {
            return "none was ever applied: the mapping of the configuration is in force"
                .to_owned();
        }
        words::table(
            &["NO", "VERSION", "HASH", "SINCE", "BY", "REASON"],
            applied.iter().map(|one| {
                vec![
                    one.id.to_string(),
                    one.version.clone(),
                    one.hash.get(..12).unwrap_or(&one.hash).to_owned(),
                    words::when(one.applied_at, now),
                    one.applied_by.clone(),
                    one.reason.clone(),
                ]
            }),
        )
    });
    Ok(())
}
