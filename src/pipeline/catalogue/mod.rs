//! `refresh_catalogue_once`: what the portal says that it knows, fetched rarely and kept.
//!
//! Working connectors ask for the procedure of every single dossier, and the answers are the same
//! thousands of times. Here the lists are fetched once a day, and the details of a procedure when
//! dossiers use it, inside a budget. An answer that cannot be believed changes nothing. [`judge`]
//! compares mapped dossiers with what was fetched; [`known`] keeps it at hand.

pub mod judge;
pub mod known;

use std::time::Duration;

use serde::Serialize;

use super::push::call_record;
use super::{Context, PortalLine, Stop, VerbError};
use crate::domain::catalogue::{CatalogueItem, CatalogueKey, CatalogueKind, CodePolicy, ItemKind};
use crate::domain::codes::ProcedureCode;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::priority::Priority;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Timestamp;
use crate::ledger::record::{
    CatalogueChange, CatalogueSpending, CatalogueStanding, FetchOutcome, FetchedCatalogue,
    HeldScope,
};
use crate::portal::gate::Readiness;
use crate::portal::{Catalogue, CatalogueVerdict, Portal, Service, Tenure};
use crate::sabotage;

const EMPTY: &str = "catalogue.empty";
const SHRUNKEN: &str = "catalogue.shrunken";
const UNREADABLE: &str = "catalogue.unreadable";
const OTHER_PROCEDURE: &str = "catalogue.other_procedure";
const NO_SUCH_PROCEDURE: &str = "catalogue.no_such_procedure";

/// A fetch that brought nothing is repeated after a minute, then two, four … an hour.
const AGAIN: RetryPolicy = RetryPolicy {
    initial_ms: 60_000,
    multiplier: 2.0,
    max_ms: 3_600_000,
    attempts_max: u32::MAX,
    jitter: 0.0,
};

/// How catalogues are kept, and what is made of an unknown code.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueSettings {
    /// Age at which a list is fetched again. `None`: nothing is fetched and nothing is checked.
    pub refresh_every_ms: Option<u64>,
    /// Age at which the details of a used procedure are fetched again; also the stretch of time over
    /// which the budget is kept.
    pub details_max_age_ms: u64,
    pub details_per_pass: u32,
    /// The budget: catalogue calls a dossier that the portal accepted.
    pub calls_per_dossier: f64,
    /// A list with less than this share of the items before is not believed.
    pub shrink_share_min: f64,
    pub versions_kept: u32,
    pub policies: CodePolicies,
}

/// What is made of a code that the catalogue does not have, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CodePolicies {
    pub procedures: CodePolicy,
    pub fields: CodePolicy,
    pub fees: CodePolicy,
    pub results: CodePolicy,
}

impl CodePolicies {
    /// Whether details of procedures are of any use.
    pub fn need_details(&self) -> bool {
        self.fees != CodePolicy::Off || self.results != CodePolicy::Off
    }
}

/// What one pass fetched.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CatalogueReport {
    pub fetched: Vec<Fetched>,
    /// Used procedures whose details are due, and wait for a later pass or for the budget.
    pub details_left: u64,
    /// Dossiers that waited for a code and are judged anew.
    pub released: u64,
    /// The gate was closed: the pass ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate_closed: Option<Failure>,
}

/// One catalogue that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fetched {
    #[serde(flatten)]
    pub key: CatalogueKey,
    #[serde(flatten)]
    pub change: CatalogueChange,
    /// Why the version before stays in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Fetches what is due: lists by age, details of used procedures by age and inside the budget, and
/// what a person asked for. Then puts dossiers that were held under an older version back on their
/// way. The caller owns the gate.
pub async fn refresh_catalogue_once(
    context: &Context,
    line: &PortalLine,
    class: Priority,
    stop: &Stop,
) -> Result<CatalogueReport, VerbError> {
    let mut report = CatalogueReport::default();
    let Some(every_ms) = context.settings.catalogue.refresh_every_ms else {
        return Ok(report);
    };
    if !stop.is_cancelled() && !matches!(line.gate.readiness(), Readiness::Closed { .. }) {
        let portal = line.portal.during(Tenure::until(stop));
        fetch_due(context, &portal, every_ms, class, &mut report).await?;
    }
    report.released = release(context).await?;
    Ok(report)
}

async fn fetch_due(
    context: &Context,
    portal: &Portal,
    every_ms: u64,
    class: Priority,
    report: &mut CatalogueReport,
) -> Result<(), VerbError> {
    let settings = &context.settings.catalogue;
    let now = context.clock.now();
    let standings = context.ledger.catalogues().await?;
    for kind in CatalogueKind::LISTS {
        let key = CatalogueKey::list(kind);
        let standing = standings.iter().find(|standing| standing.key == key);
        if standing.is_none_or(|standing| is_due(standing, every_ms, now))
            && !fetch(context, portal, &key, standing, class, report).await?
        {
            return Ok(());
        }
    }
    if !settings.policies.need_details() {
        return Ok(());
    }
    let mut due: Vec<&CatalogueStanding> = standings
        .iter()
        .filter(|standing| {
            standing.key.kind == CatalogueKind::Details
                && is_due(standing, settings.details_max_age_ms, now)
        })
        .collect();
    if due.is_empty() {
        return Ok(());
    }
    // What was never seen checks nothing; then what most dossiers use.
    due.sort_by_key(|standing| {
        let seen = standing.version.is_some();
        (seen, standing.asked_at.is_none(), std::cmp::Reverse(standing.uses))
    });
    let since = now - Duration::from_millis(settings.details_max_age_ms);
    let services = Service::CATALOGUES.map(Service::as_str);
    let spent =
        context.ledger.catalogue_spending(since, &services, Service::Dossiers.as_str()).await?;
    let room = room_in(spent, settings.calls_per_dossier).min(u64::from(settings.details_per_pass));
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    report.details_left = due.len() as u64;
    for standing in due.into_iter().take(room) {
        if !fetch(context, portal, &standing.key, Some(standing), class, report).await? {
            return Ok(());
        }
        report.details_left -= 1;
        // A service that is not there, or not granted, fails for every procedure alike; an answer
        // that there is no such procedure is about that one alone.
        let failure = report.fetched.last().and_then(|last| last.failure.as_ref());
        if failure.is_some_and(|failure| failure.code != NO_SUCH_PROCEDURE) {
            return Ok(());
        }
    }
    Ok(())
}

/// Calls that the budget still allows.
fn room_in(spent: CatalogueSpending, calls_per_dossier: f64) -> u64 {
    // Counts of a week are far below the numbers that a float cannot hold.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count, rounded down"
    )]
    let allowed = (spent.dossiers as f64 * calls_per_dossier) as u64;
    allowed.saturating_sub(spent.calls)
}

/// Whether a catalogue is to be fetched now.
fn is_due(standing: &CatalogueStanding, max_age_ms: u64, now: Timestamp) -> bool {
    let is_past = |at: Option<Timestamp>, wait: Duration| at.is_none_or(|at| at + wait <= now);
    let age = Duration::from_millis(max_age_ms);
    if standing.asked_at.is_some() {
        return true;
    }
    match &standing.failure {
        // That is an answer; another one is as far off as that of a known procedure.
        Some(failure) if failure.code == NO_SUCH_PROCEDURE => is_past(standing.tried_at, age),
        Some(_) => is_past(standing.tried_at, AGAIN.delay(standing.failures, 0.5).min(age)),
        None => is_past(standing.confirmed_at, age),
    }
}

/// Asks for one catalogue and writes down what came of it. `false`: the gate is closed.
async fn fetch(
    context: &Context,
    portal: &Portal,
    key: &CatalogueKey,
    standing: Option<&CatalogueStanding>,
    class: Priority,
    report: &mut CatalogueReport,
) -> Result<bool, VerbError> {
    let settings = &context.settings.catalogue;
    let question = match key.kind {
        CatalogueKind::Procedures => Catalogue::Procedures,
        CatalogueKind::Fields => Catalogue::Fields,
        CatalogueKind::Agencies => Catalogue::Agencies,
        CatalogueKind::Details => Catalogue::Procedure { ma_tthc: &key.procedure },
    };
    // Its turn comes after everything that is sent, however long that takes; nobody waits for it.
    context.resting(Duration::MAX);
    let exchange = portal.catalogue(class, question).await;
    context.alive();
    let mut closed = None;
    let outcome = match exchange.verdict {
        CatalogueVerdict::Items { items, unreadable } => {
            match believe(key, standing, &items, unreadable, settings.shrink_share_min) {
                Ok(()) => FetchOutcome::Items(items),
                Err(failure) => FetchOutcome::Failed(failure),
            }
        }
        CatalogueVerdict::Missing => FetchOutcome::Failed(Failure::new(
            NO_SUCH_PROCEDURE,
            Disposition::Data,
            format!("the portal has no details of procedure {}", key.procedure),
        )),
        CatalogueVerdict::Failed(failure) => FetchOutcome::Failed(failure),
        CatalogueVerdict::NotSent { failure, .. } => {
            closed = Some(failure);
            FetchOutcome::NotSent
        }
    };
    let failure = match &outcome {
        FetchOutcome::Failed(failure) => Some(failure.clone()),
        _ => None,
    };
    if let Some(failure) = &failure
        // Said when it begins; `hoso status` shows that it lasts.
        && standing.is_none_or(|standing| standing.failure.is_none())
    {
        tracing::warn!(
            catalogue = %key,
            code = failure.code,
            "not fetched, what was known stays in use: {}",
            failure.message
        );
    }
    let fetched = FetchedCatalogue {
        key: key.clone(),
        calls: exchange.calls.into_iter().map(call_record).collect(),
        outcome,
        keep: settings.versions_kept,
    };
    sabotage::point("catalogue.answered");
    let change = context.ledger.record_catalogue(context.clock.now(), &fetched).await?;
    sabotage::point("catalogue.stored");
    let goes_on = closed.is_none();
    match closed {
        Some(failure) => report.gate_closed = Some(failure),
        None => report.fetched.push(Fetched { key: key.clone(), change, failure }),
    }
    Ok(goes_on)
}

/// Whether an answer can be what the portal knows. One that is cut, empty or suspiciously small
/// would make thousands of sound dossiers look wrong.
fn believe(
    key: &CatalogueKey,
    standing: Option<&CatalogueStanding>,
    items: &[CatalogueItem],
    unreadable: usize,
    shrink_share_min: f64,
) -> Result<(), Failure> {
    let refused = |code: &str, message: String| Err(Failure::new(code, Disposition::Data, message));
    if items.is_empty() && unreadable == 0 {
        return refused(EMPTY, "the portal gave an empty catalogue".to_owned());
    }
    if unreadable > items.len() {
        let message = format!("{unreadable} of {} items have no code", items.len() + unreadable);
        return refused(UNREADABLE, message);
    }
    if key.kind == CatalogueKind::Details {
        let named = items.iter().find(|item| item.kind == ItemKind::Procedure);
        let is_other = named.is_some_and(|item| {
            ProcedureCode::parse(&item.code).is_none_or(|code| code.national != key.procedure)
        });
        return if is_other {
            refused(OTHER_PROCEDURE, "the portal gave the details of another procedure".to_owned())
        } else {
            Ok(())
        };
    }
    let Some(standing) = standing.filter(|standing| !standing.accept_shrunken) else {
        return Ok(());
    };
    if (items.len() as f64) < standing.items as f64 * shrink_share_min {
        return refused(
            SHRUNKEN,
            format!("{} items instead of {}: that is not believed", items.len(), standing.items),
        );
    }
    Ok(())
}

/// Dossiers that were held by a version before the one in use are judged anew. Asked in every pass,
/// so that one that was judged while a version came is not forgotten.
async fn release(context: &Context) -> Result<u64, VerbError> {
    let standings = context.ledger.catalogues().await?;
    let newest = |kind: CatalogueKind| {
        standings
            .iter()
            .filter(|standing| standing.key.kind == kind)
            .filter_map(|standing| standing.accepted_at)
            .max()
    };
    let scopes: Vec<HeldScope> = [
        (CatalogueKind::Procedures, &[judge::UNKNOWN_PROCEDURE][..]),
        (CatalogueKind::Fields, &[judge::UNKNOWN_FIELD]),
        (CatalogueKind::Details, &[judge::UNKNOWN_FEE, judge::UNKNOWN_RESULT]),
    ]
    .into_iter()
    .filter_map(|(kind, codes)| Some(HeldScope { codes, judged_until: newest(kind)? }))
    .collect();
    if scopes.is_empty() {
        return Ok(0);
    }
    Ok(context.ledger.release_held(context.clock.now(), &scopes).await?)
}

/// Table of this module's codes for `hoso explain`: code, meaning, what to do.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        judge::UNKNOWN_PROCEDURE,
        "The portal's list of procedures has neither the dossier's MaTTHC nor its national part.",
        "Compare the code with `hoso catalogue show procedures --code CODE`. If the province has a code of its own for a national procedure, add a reviewed row to the table of procedures (`mapping.procedures_file`). A held dossier goes by itself when the portal's list has the code; after a change of table or policy: `hoso problems retry --code catalogue.unknown_procedure`.",
    ),
    (
        judge::UNKNOWN_FIELD,
        "The portal's list of fields of work does not have the dossier's MaLinhVuc.",
        "Correct the field at the source, or ask the portal's operators to add it. A held dossier goes by itself when the portal's list has the code.",
    ),
    (
        judge::UNKNOWN_FEE,
        "The portal publishes fees for this procedure, and the dossier's MaPhiLePhi is not among them.",
        "Compare with `hoso catalogue show details --code MaTTHC`; correct the fee at the source, or have the procedure's fees corrected at the portal. A held dossier goes by itself when the portal has the code.",
    ),
    (
        judge::UNKNOWN_RESULT,
        "The portal publishes results for this procedure, and the dossier's MaGiayToKetQua is not among them.",
        "Compare with `hoso catalogue show details --code MaTTHC`; correct the result at the source, or have the procedure's results corrected at the portal. A held dossier goes by itself when the portal has the code.",
    ),
    (
        EMPTY,
        "The portal gave a catalogue without any item. It is not believed, and the version before stays in use.",
        "Nothing at first: the gateway asks again. If it repeats, check the account's right to the catalogue services.",
    ),
    (
        SHRUNKEN,
        "The portal gave a list with far fewer items than before. It is not believed, because all dossiers with the missing codes would look wrong; the version before stays in use.",
        "Ask the portal's operators. If it is true: `hoso catalogue refresh KIND --accept-shrunken --reason …`. `catalogue.shrink_share_min` says what counts as far fewer.",
    ),
    (
        UNREADABLE,
        "Most items of a catalogue have no code. It is not believed, and the version before stays in use.",
        "Check the endpoint paths; if they are right, the portal changed its catalogue's form: report it.",
    ),
    (
        OTHER_PROCEDURE,
        "The portal was asked for the details of one procedure and gave those of another. The version before stays in use.",
        "Nothing at first: the gateway asks again. If it repeats, ask the operators of the adapter.",
    ),
    (
        NO_SUCH_PROCEDURE,
        "The portal has no details of a procedure that dossiers use, so their fees and results are not checked.",
        "Compare the code with `hoso catalogue show procedures --code CODE`.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn standing(key: CatalogueKey, items: u64) -> CatalogueStanding {
        CatalogueStanding {
            key,
            version: Some(1),
            items,
            accepted_at: None,
            confirmed_at: None,
            tried_at: None,
            failures: 0,
            failing_since: None,
            failure: None,
            asked_at: None,
            accept_shrunken: false,
            uses: 0,
            used_at: None,
        }
    }

    fn procedures(count: usize) -> Vec<CatalogueItem> {
        let item = |number| CatalogueItem {
            kind: ItemKind::Procedure,
            code: format!("1.{number:06}"),
            name: String::new(),
        };
        (0..count).map(item).collect()
    }

    #[test]
    fn a_list_is_believed_unless_it_is_empty_unreadable_or_far_smaller_than_before() {
        let key = CatalogueKey::list(CatalogueKind::Procedures);
        let mut before = standing(key.clone(), 100);
        let code = |before: Option<&CatalogueStanding>, items: usize, unreadable| {
            believe(&key, before, &procedures(items), unreadable, 0.5).err().map(|f| f.code)
        };
        assert_eq!(code(None, 1, 0), None);
        assert_eq!(code(None, 0, 0).as_deref(), Some(EMPTY));
        assert_eq!(code(None, 1, 2).as_deref(), Some(UNREADABLE));
        assert_eq!(code(Some(&before), 50, 0), None);
        assert_eq!(code(Some(&before), 49, 0).as_deref(), Some(SHRUNKEN));
        before.accept_shrunken = true;
        assert_eq!(code(Some(&before), 49, 0), None);
        // Nobody can know that an empty list is right.
        assert_eq!(code(Some(&before), 0, 0).as_deref(), Some(EMPTY));
    }

    #[test]
    fn details_must_be_of_the_procedure_that_was_asked_for() {
        let key = CatalogueKey::details("1.000000");
        assert!(believe(&key, None, &procedures(1), 0, 0.5).is_ok());
        let key = CatalogueKey::details("2.000815");
        let refusal = believe(&key, None, &procedures(1), 0, 0.5).unwrap_err();
        assert_eq!(refusal.code, OTHER_PROCEDURE);
    }

    #[test]
    fn the_budget_counts_every_catalogue_call_and_never_goes_below_nothing() {
        let room = |calls, dossiers| room_in(CatalogueSpending { calls, dossiers }, 0.05);
        assert_eq!(room(0, 0), 0);
        assert_eq!(room(3, 59), 0);
        assert_eq!(room(3, 100), 2);
        assert_eq!(room(5, 100), 0);
        assert_eq!(room(9, 100), 0);
    }

    #[test]
    fn a_fetch_is_due_by_age_by_wish_and_later_and_later_after_failures() {
        let start = Timestamp::from_millis(1_000_000_000);
        let day = 24 * 3_600_000;
        let mut one = standing(CatalogueKey::details("2.000815"), 1);
        let due = |one: &CatalogueStanding, minutes| is_due(one, day, start + MINUTE * minutes);
        assert!(due(&one, 0));
        one.confirmed_at = Some(start);
        assert!(!due(&one, 24 * 60 - 1) && due(&one, 24 * 60));
        one.tried_at = Some(start);
        one.failures = 3;
        one.failure = Some(Failure::new(EMPTY, Disposition::Data, "x"));
        assert!(!due(&one, 3) && due(&one, 4));
        one.failures = 30;
        assert!(!due(&one, 59) && due(&one, 60));
        one.failure = Some(Failure::new(NO_SUCH_PROCEDURE, Disposition::Data, "x"));
        assert!(!due(&one, 60) && due(&one, 24 * 60));
        one.asked_at = Some(start);
        assert!(due(&one, 0));
    }

    #[test]
    fn every_code_is_explained_once() {
        for (at, (code, meaning, what_to_do)) in CODES.iter().enumerate() {
            assert!(code.starts_with("catalogue."), "{code}");
            assert!(meaning.ends_with('.') && what_to_do.ends_with('.'), "{code}");
            assert!(CODES[at + 1..].iter().all(|(other, ..)| other != code), "{code} twice");
        }
    }
}
