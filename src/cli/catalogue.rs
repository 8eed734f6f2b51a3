//! `hoso catalogue`: what the portal says that it knows, as it is kept here.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::{Invocation, build, person, run, words};
use crate::clock::{Clock, SystemClock};
use crate::config::{Catalogue, Config};
use crate::domain::catalogue::{CatalogueDiff, CatalogueItem, CatalogueKey, CatalogueKind};
use crate::domain::codes::ProcedureCode;
use crate::domain::priority::Priority;
use crate::domain::time::Timestamp;
use crate::ledger::Ledger;
use crate::ledger::record::{AuditRecord, CatalogueStanding, CatalogueVersion, CatalogueWish};
use crate::pipeline::audit::{on_record, refused};
use crate::pipeline::catalogue::{CatalogueReport, refresh_catalogue_once};
use crate::pipeline::{Context, PortalLine, Stop};

/// See which codes the portal knows, what changed, and fetch anew
///
/// Dossiers are compared with it before they are sent; `[catalogue]` in the configuration says what
/// becomes of unknown codes.
///
/// Example: hoso catalogue show procedures --code 2.000815
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    Refresh(RefreshArguments),
    Show(ShowArguments),
    Diff(DiffArguments),
}

/// Fetch catalogues now, whatever their age
///
/// Without KIND, the three lists. Details are of the procedures that dossiers use, and keep to the
/// budget. While a service runs, it is asked to fetch them: it does so within a minute.
///
/// Example: hoso catalogue refresh procedures
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct RefreshArguments {
    #[arg(value_enum, value_name = "KIND")]
    kinds: Vec<Kind>,
    /// Believe a list that has become far smaller
    #[arg(long)]
    accept_shrunken: bool,
    /// Why; kept in the ledger for good
    #[arg(long, value_name = "TEXT", required_if_eq("accept_shrunken", "true"))]
    reason: Option<String>,
    /// Who asks; the name of the logged-in user unless given
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

/// Show how each catalogue stands, or its items
///
/// Example: hoso catalogue show details --code 2.000815.H55
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ShowArguments {
    #[arg(value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    /// Only this code; for a procedure of a province, its national part counts
    #[arg(long)]
    code: Option<String>,
}

/// Show what changed between two versions of a list; the last change unless told otherwise
///
/// Example: hoso catalogue diff procedures
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct DiffArguments {
    #[arg(value_enum, value_name = "KIND", default_value = "procedures")]
    kind: Kind,
    /// The procedure, for details
    #[arg(long)]
    code: Option<String>,
    /// The older version; the one before --to unless given
    #[arg(long, value_name = "VERSION")]
    from: Option<i64>,
    /// The newer version; the one in use unless given
    #[arg(long, value_name = "VERSION")]
    to: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// All procedures
    Procedures,
    /// Fields of work
    Fields,
    /// Agencies
    Agencies,
    /// Fees, results and papers of single procedures
    Details,
}

impl From<Kind> for CatalogueKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Procedures => Self::Procedures,
            Kind::Fields => Self::Fields,
            Kind::Agencies => Self::Agencies,
            Kind::Details => Self::Details,
        }
    }
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    match which {
        Which::Refresh(arguments) => {
            run::by_hand(invocation, async |config, context, stop| {
                refresh(invocation, config, context, stop, arguments).await
            })
            .await
        }
        Which::Show(arguments) => show(invocation, arguments).await,
        Which::Diff(arguments) => diff(invocation, arguments).await,
    }
}

/// What `refresh` did, or who does it instead.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Refreshed {
    Done(CatalogueReport),
    HandedOver { handed_over_to: String, asked_for: u64 },
}

async fn refresh(
    invocation: &Invocation,
    config: &Config,
    context: &Context,
    stop: &Stop,
    arguments: RefreshArguments,
) -> Result<(), Failure> {
    if config.catalogue.refresh_every_ms == 0 {
        let names: Vec<String> =
            arguments.kinds.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
        let audit = AuditRecord::new(
            &person::actor(arguments.actor.as_deref()),
            "catalogue refresh",
            &names.join(" "),
            arguments.reason.as_deref().unwrap_or("fetch now"),
        );
        refused(context, &audit, "catalogues are turned off").await;
        return Err(Failure::new(Exit::Usage, "catalogues are turned off")
            .hint("`catalogue.refresh_every_ms = 0` says so in the configuration"));
    }
    let kinds: Vec<CatalogueKind> = if arguments.kinds.is_empty() {
        CatalogueKind::LISTS.to_vec()
    } else {
        arguments.kinds.into_iter().map(CatalogueKind::from).collect()
    };
    let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    let audit = AuditRecord::new(
        &person::actor(arguments.actor.as_deref()),
        "catalogue refresh",
        &names.join(" "),
        arguments.reason.as_deref().unwrap_or("fetch now"),
    );
    let wish = CatalogueWish { kinds, accept_shrunken: arguments.accept_shrunken };
    let work = context.ledger.ask_for_catalogues(context.clock.now(), &wish, &audit);
    let asked_for = on_record(context, &audit, work).await?;
    let verb = async |line: &PortalLine, stop: &Stop| {
        refresh_catalogue_once(context, line, Priority::Urgent, stop).await
    };
    let refreshed = match run::with_gate(config, context, stop, "catalogue refresh", verb).await? {
        Ok(report) => Refreshed::Done(report?),
        Err(owner) => Refreshed::HandedOver { handed_over_to: owner, asked_for },
    };
    invocation.output.result(&refreshed, refreshed_text);
    let has_failed = match &refreshed {
        Refreshed::Done(report) => {
            report.gate_closed.is_some() || report.fetched.iter().any(|one| one.failure.is_some())
        }
        Refreshed::HandedOver { .. } => false,
    };
    if has_failed { Err(Failure::findings()) } else { Ok(()) }
}

fn refreshed_text(refreshed: &Refreshed) -> String {
    let report = match refreshed {
        Refreshed::Done(report) => report,
        Refreshed::HandedOver { handed_over_to, .. } => {
            return format!(
                "{handed_over_to} owns the portal's gate and fetches within a minute; `hoso status` shows it"
            );
        }
    };
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    for fetched in &report.fetched {
        let change = &fetched.change;
        let _infallible = match (&fetched.failure, change.is_new) {
            (Some(failure), _) => writeln!(text, "{}: not taken, {failure}", fetched.key),
            (None, false) => {
                let items = words::count(change.items, "item");
                writeln!(text, "{}: unchanged, {items}", fetched.key)
            }
            (None, true) => writeln!(
                text,
                "{}: version {}, {}: {} added, {} removed, {} renamed",
                fetched.key,
                change.version.unwrap_or_default(),
                words::count(change.items, "item"),
                change.added,
                change.removed,
                change.renamed
            ),
        };
    }
    if report.fetched.is_empty() && report.gate_closed.is_none() {
        text.push_str("nothing was due\n");
    }
    if report.details_left > 0 {
        let _infallible = writeln!(
            text,
            "details of {} wait for a later pass or for the budget (`catalogue.calls_per_dossier`)",
            words::count(report.details_left, "procedure")
        );
    }
    if report.released > 0 {
        let _infallible =
            writeln!(text, "{} judged anew", words::count(report.released, "held dossier"));
    }
    if let Some(failure) = &report.gate_closed {
        let _infallible = writeln!(text, "ended early: {failure}");
    }
    text
}

/// A catalogue as people ask about it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    standing: CatalogueStanding,
    /// The portal has not confirmed it for longer than `catalogue.stale_after_ms`.
    pub(super) stale: bool,
}

/// All catalogues at a glance.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    /// Whether catalogues are fetched at all.
    on: bool,
    pub(super) lists: Vec<Shown>,
    /// Procedures that dossiers use, and those of them whose details are here.
    details_used: u64,
    details_fetched: u64,
}

impl Overview {
    pub(super) fn of(
        standings: Vec<CatalogueStanding>,
        config: &Catalogue,
        now: Timestamp,
    ) -> Self {
        let (lists, details): (Vec<_>, Vec<_>) =
            standings.into_iter().partition(|standing| standing.key.kind != CatalogueKind::Details);
        let fetched = details.iter().filter(|standing| standing.version.is_some()).count();
        let limit = Duration::from_millis(config.stale_after_ms);
        Self {
            on: config.refresh_every_ms > 0,
            lists: lists
                .into_iter()
                .map(|standing| {
                    let stale = standing.confirmed_at.is_some_and(|at| now.since(at) > limit);
                    Shown { standing, stale }
                })
                .collect(),
            details_used: details.len() as u64,
            details_fetched: fetched as u64,
        }
    }

    /// Lists that cannot be fetched.
    pub(super) fn failing(&self) -> u64 {
        self.lists.iter().filter(|one| one.standing.failing_since.is_some()).count() as u64
    }

    /// One line a list, whether it was fetched or not, and one for all details.
    pub(super) fn text(&self, now: Timestamp) -> String {
        if !self.on {
            return "  turned off; no code is compared with the portal's lists\n".to_owned();
        }
        let mut text = String::new();
        for kind in CatalogueKind::LISTS {
            let found = self.lists.iter().find(|one| one.standing.key.kind == kind);
            let told = match found.map(|one| (one, one.standing.version, one.standing.confirmed_at))
            {
                Some((one, Some(version), Some(at))) => format!(
                    "{}, version {version}, confirmed {}{}",
                    words::count(one.standing.items, "item"),
                    words::when(at, now),
                    if one.stale { ", STALE" } else { "" }
                ),
                _ => "never fetched; nothing is compared with it".to_owned(),
            };
            // Writing to a String cannot fail, here and below.
            let _infallible = writeln!(text, "  {:<14}{told}", kind.as_str());
            if let Some(standing) = found.map(|one| &one.standing)
                && let (Some(since), Some(failure)) = (standing.failing_since, &standing.failure)
            {
                let _infallible =
                    writeln!(text, "    failing since {}, {failure}", words::when(since, now));
            }
        }
        let _infallible = writeln!(
            text,
            "  {:<14}{} of {} in use",
            "details",
            self.details_fetched,
            words::count(self.details_used, "procedure")
        );
        text
    }
}

impl Shown {
    pub(super) fn kind(&self) -> CatalogueKind {
        self.standing.key.kind
    }
}

#[derive(Debug, Serialize)]
struct Items {
    #[serde(flatten)]
    standing: CatalogueStanding,
    found: Vec<CatalogueItem>,
}

async fn show(invocation: &Invocation, arguments: ShowArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let now = SystemClock::new().now();
    let all = ledger.catalogues().await?;
    let kind = arguments.kind.map(CatalogueKind::from);
    let code = arguments.code.as_deref();
    match (kind, code) {
        (None, None) => {
            ledger.close().await;
            let overview = Overview::of(all, &config.catalogue, now);
            invocation.output.result(&overview, |overview| overview.text(now));
            return Ok(());
        }
        (Some(CatalogueKind::Details), None) => {
            ledger.close().await;
            let mut details = all;
            details.retain(|standing| standing.key.kind == CatalogueKind::Details);
            invocation.output.result(&details, |details| used(details, now));
            return Ok(());
        }
        _ => {}
    }
    let national = code.and_then(ProcedureCode::parse).map(|code| code.national);
    let is_asked = |wanted: &str| Some(wanted) == code || Some(wanted) == national;
    let mut shown = Vec::new();
    for standing in all {
        let is_list = standing.key.kind != CatalogueKind::Details;
        let is_wanted = kind.is_none_or(|kind| kind == standing.key.kind)
            && (is_list || is_asked(&standing.key.procedure));
        if let (true, Some(version)) = (is_wanted, standing.version) {
            let whole = !is_list || code.is_none();
            let mut found = items(ledger.as_ref(), version).await?;
            found.retain(|item| whole || is_asked(&item.code));
            shown.push(Items { standing, found });
        }
    }
    ledger.close().await;
    if shown.is_empty() {
        return Err(Failure::new(Exit::NotFound, "nothing of that was fetched yet")
            .hint("`hoso catalogue show` says what is there; `hoso catalogue refresh` fetches"));
    }
    if shown.iter().all(|one| one.found.is_empty()) {
        let code = code.unwrap_or_default();
        return Err(Failure::new(
            Exit::NotFound,
            format!("the portal did not know {code} when it was last asked"),
        )
        .hint("`hoso catalogue refresh` asks again"));
    }
    invocation.output.result(&shown, |shown| {
        let rows = shown.iter().flat_map(|one| {
            one.found.iter().map(|item| {
                vec![
                    one.standing.key.to_string(),
                    item.kind.as_str().to_owned(),
                    item.code.clone(),
                    item.name.clone(),
                ]
            })
        });
        words::table(&["CATALOGUE", "KIND", "CODE", "NAME"], rows)
    });
    Ok(())
}

fn used(details: &[CatalogueStanding], now: Timestamp) -> String {
    words::table(
        &["PROCEDURE", "ITEMS", "USES", "CONFIRMED", ""],
        details.iter().map(|standing| {
            vec![
                standing.key.procedure.clone(),
                words::thousands(standing.items),
                words::thousands(standing.uses),
                standing.confirmed_at.map_or_else(|| "never".to_owned(), |at| words::when(at, now)),
                standing.failure.as_ref().map_or_else(String::new, ToString::to_string),
            ]
        }),
    )
}

#[derive(Debug, Serialize)]
struct Difference {
    #[serde(flatten)]
    key: CatalogueKey,
    from: i64,
    to: i64,
    #[serde(flatten)]
    diff: CatalogueDiff,
}

async fn diff(invocation: &Invocation, arguments: DiffArguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    let kind = CatalogueKind::from(arguments.kind);
    let key = match (kind, arguments.code.as_deref().map(ProcedureCode::parse)) {
        (CatalogueKind::Details, Some(Some(code))) => CatalogueKey::details(code.national),
        (CatalogueKind::Details, _) => {
            return Err(Failure::new(Exit::Usage, "details are of one procedure each")
                .hint("name it with --code, e.g. --code 2.000815"));
        }
        (list, _) => CatalogueKey::list(list),
    };
    let ledger = build::existing_ledger(&config).await?;
    let versions = ledger.catalogue_versions(&key).await?;
    let (from, to) = pair(&versions, &arguments)?;
    let (before, after) = (items(ledger.as_ref(), from).await?, items(ledger.as_ref(), to).await?);
    ledger.close().await;
    let difference = Difference { key, from, to, diff: CatalogueDiff::between(&before, &after) };
    invocation.output.result(&difference, difference_text);
    Ok(())
}

/// The versions to compare, the older first.
fn pair(versions: &[CatalogueVersion], arguments: &DiffArguments) -> Result<(i64, i64), Failure> {
    let kept =
        || versions.iter().map(|version| version.id.to_string()).collect::<Vec<_>>().join(", ");
    let known = |wanted: i64| {
        if versions.iter().any(|version| version.id == wanted) {
            return Ok(wanted);
        }
        Err(Failure::new(Exit::NotFound, format!("version {wanted} is not kept"))
            .hint(format!("kept are: {}", kept())))
    };
    let Some(newest) = versions.first() else {
        return Err(Failure::new(Exit::NotFound, "it was never fetched")
            .hint("`hoso catalogue show` says what is there"));
    };
    let to = arguments.to.map_or(Ok(newest.id), known)?;
    let from = match arguments.from {
        Some(from) => known(from)?,
        None => {
            versions.iter().find(|version| version.id < to).map(|version| version.id).ok_or_else(
                || {
                    Failure::new(Exit::NotFound, format!("version {to} is the first that is kept"))
                        .hint("there is nothing to compare it with until the portal changes it")
                },
            )?
        }
    };
    Ok((from, to))
}

fn difference_text(difference: &Difference) -> String {
    let diff = &difference.diff;
    let mut text = format!(
        "{}, version {} to {}: {} added, {} removed, {} renamed\n",
        difference.key,
        difference.from,
        difference.to,
        diff.added.len(),
        diff.removed.len(),
        diff.renamed.len()
    );
    for (sign, items) in [('+', &diff.added), ('-', &diff.removed)] {
        for item in items {
            // Writing to a String cannot fail, here and below.
            let _infallible = writeln!(text, "{sign} {} {}", item.code, item.name);
        }
    }
    for one in &diff.renamed {
        let _infallible = writeln!(text, "~ {} {} -> {}", one.code, one.from, one.to);
    }
    text
}

async fn items(ledger: &dyn Ledger, version: i64) -> Result<Vec<CatalogueItem>, Failure> {
    let items = ledger.catalogue_items(&[version]).await?;
    Ok(items.into_iter().next().map(|(_, items)| items).unwrap_or_default())
}
