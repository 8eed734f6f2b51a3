//! Runs, books and trends as a terminal shows them.

use std::fmt::Write as _;

use super::super::run::books_text;
use super::super::words::{count, table, thousands};
use super::words;
use super::{Shown, Told, Trend};
use crate::domain::bound::SampleBound;
use crate::domain::cause::Cause;
use crate::ledger::reconcile::{BookRow, Phase, ReconcileRun, RollingScan, explained_percent};
use crate::ledger::record::Books;
use crate::pipeline::reconcile::repair::Repaired;

pub(super) fn list(runs: &[ReconcileRun]) -> String {
    if runs.is_empty() {
        return "no run yet; `hoso reconcile run` makes one".to_owned();
    }
    let rows = runs.iter().map(|run| {
        let found = match &run.books {
            Some(books) => format!(
                "{} of {} matched, {} missing, {} different",
                thousands(books.matched),
                thousands(books.at_source),
                thousands(books.missing),
                thousands(books.different),
            ),
            None => run.remark.clone(),
        };
        vec![
            run.id.to_string(),
            run.order.source.clone(),
            what(run),
            run.started_at.to_string(),
            state(run),
            thousands(run.asked),
            found,
        ]
    });
    table(&["run", "source", "compares", "began", "state", "asked", "found"], rows)
}

/// What a run compares, in few words.
fn what(run: &ReconcileRun) -> String {
    let order = &run.order;
    let mut text = match (order.plain, order.sample) {
        (true, _) => "daily".to_owned(),
        (false, None) => "full".to_owned(),
        (false, Some(sample)) => format!("sample of {}", thousands(u64::from(sample))),
    };
    if !order.chosen.is_everything() {
        text.push_str(", a part");
    }
    text
}

fn state(run: &ReconcileRun) -> String {
    match (run.phase, &run.books) {
        (Phase::Ended, Some(books)) if books.without_index => "ended".to_owned(),
        (Phase::Ended, Some(books)) if books.closed => "closed".to_owned(),
        (Phase::Ended, Some(_)) => "NOT closed".to_owned(),
        (Phase::Ended, None) => "given up".to_owned(),
        (phase, _) => phase.as_str().to_owned(),
    }
}

pub(super) fn shown(shown: &Shown) -> String {
    let mut text = run(&shown.run);
    if let Some(scan) = &shown.rolling {
        text.push('\n');
        text.push_str(&rolling(scan));
    }
    text
}

/// The slow scan in two lines at most.
pub(in crate::cli) fn rolling(scan: &RollingScan) -> String {
    let mut text = format!(
        "{}: rolling scan, round {}, {} seen, {} missed by the feed",
        scan.source,
        scan.round,
        thousands(scan.seen),
        thousands(scan.missed),
    );
    if let (Some(seen), Some(missed), Some(at)) =
        (scan.last_seen, scan.last_missed, scan.last_ended_at)
    {
        // Writing to a String cannot fail, here and below.
        let _infallible = write!(
            text,
            "; last whole round ended {at}: {} seen, {} missed",
            thousands(seen),
            thousands(missed)
        );
    }
    text
}

pub(super) fn run(run: &ReconcileRun) -> String {
    let mut text =
        format!("run {} of {} ({}), {}\n", run.id, run.order.source, what(run), state(run));
    if let Some(books) = &run.books {
        text.push_str(&books_text(books));
        text.push('\n');
    } else {
        let _infallible = writeln!(
            text,
            "  read {}, asked about {} of {}, {}",
            count(run.read, "dossier"),
            thousands(run.asked),
            thousands(run.wanted),
            count(run.spent, "look-up"),
        );
        if !run.remark.is_empty() {
            let _infallible = writeln!(text, "  {}", run.remark);
        }
    }
    if !run.widened.is_empty() {
        let _infallible = writeln!(
            text,
            "  much differed, so all was asked about of: {}",
            run.widened.join(" ").replace('*', "everything")
        );
    }
    text
}

/// What books say beyond their buckets: causes, how much is explained, what the sample proves.
pub(in crate::cli) fn more_of_books(books: &Books) -> String {
    let mut text = String::new();
    for (name, number) in &books.causes {
        let cause = Cause::parse(name).map_or(name.as_str(), |cause| words::cause(cause).en);
        let _infallible = writeln!(text, "    {cause:<32}{number:>8}");
    }
    let unmatched = books.unmatched();
    if let Some(share) = explained_percent(unmatched, books.explained) {
        let _infallible = writeln!(
            text,
            "  explained: {share} % of the {} that are not matched have a named cause",
            thousands(unmatched)
        );
    }
    if let Some(sample) = &books.sample {
        let _infallible = writeln!(text, "  {}", sample_words(sample, books.compared > 0));
    }
    text
}

pub(super) fn sample_words(sample: &SampleBound, shows_fields: bool) -> String {
    let how = if shows_fields { "" } else { " (the portal shows only that it has them)" };
    if sample.asked == sample.population {
        return format!(
            "all {} without an open suspicion were looked up{how}: {} differ",
            thousands(sample.population),
            thousands(sample.differing)
        );
    }
    format!(
        "{} of {} looked up{how}, {} differ: with 95 % confidence fewer than {} of all differ",
        thousands(sample.asked),
        thousands(sample.population),
        thousands(sample.differing),
        thousands(sample.fewer_than),
    )
}

pub(super) fn rows(told: &Told) -> String {
    let mut all = told.rows.clone();
    all.push(BookRow { name: words::SUM.en.to_owned(), ..told.whole.clone() });
    let rows = all.iter().map(cells);
    let mut text = table(&header(words::kind(told.by).en), rows);
    let open: Vec<&str> =
        told.rows.iter().filter(|row| !row.is_closed()).map(|row| &*row.name).collect();
    if !open.is_empty() {
        let _infallible = writeln!(text, "\nDOES NOT CLOSE: {}", open.join(" "));
    }
    text
}

fn header(first: &str) -> [&str; 12] {
    [
        first,
        "at source",
        "matched",
        "different",
        "missing",
        "unverif.",
        "quarantined",
        "dead",
        "open",
        "not ours",
        "explained",
        "closes",
    ]
}

fn cells(row: &BookRow) -> Vec<String> {
    let name = if row.name.is_empty() { "(none)" } else { &row.name };
    let mut cells = vec![name.to_owned()];
    cells.extend(
        [
            row.at_source,
            row.matched,
            row.different,
            row.missing,
            row.unverifiable,
            row.quarantined,
            row.dead,
            row.open,
            row.not_ours,
        ]
        .map(thousands),
    );
    cells
        .push(row.explained_percent().map_or_else(|| "-".to_owned(), |share| format!("{share} %")));
    cells.push(if row.is_closed() { "yes" } else { "NO" }.to_owned());
    cells
}

pub(super) fn trend(trends: &[Trend]) -> String {
    let mut text = String::new();
    for trend in trends {
        let _infallible = writeln!(text, "{}", trend.source);
        if trend.rows.is_empty() && trend.books.is_empty() {
            text.push_str("  no books in these days\n");
        } else if trend.rows.is_empty() {
            let rows = trend.books.iter().map(|books| {
                let row = books.row();
                let mut line = cells(&BookRow { name: books.started_at.to_string(), ..row });
                if let Some(last) = line.last_mut() {
                    let closes = if books.without_index { "no index" } else { "NO" };
                    if books.closed { "yes" } else { closes }.clone_into(last);
                }
                line
            });
            text.push_str(&table(&header("books of"), rows));
        } else {
            let rows = trend
                .rows
                .iter()
                .map(|one| cells(&BookRow { name: one.at.to_string(), ..one.row.clone() }));
            text.push_str(&table(&header("books of"), rows));
        }
    }
    text
}

pub(super) fn repaired(told: &Repaired) -> String {
    if told.dry_run {
        return format!(
            "{} of run {} would be sent again",
            count(told.dossiers, "dossier"),
            told.run
        );
    }
    format!(
        "{} of run {}: {} will be sent again, {} were open already and go first now, {} cannot be sent",
        count(told.dossiers, "dossier"),
        told.run,
        thousands(told.opened),
        thousands(told.already_open),
        thousands(told.not_possible),
    )
}
