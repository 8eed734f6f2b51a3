//! How large the ledger is, and when its room ends.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::LedgerError;
use super::super::record::{ClassSize, Sizes};
use super::{failed, json, run};
use crate::domain::time::Timestamp;

const DOING: &str = "measure the ledger";

/// Days of samples that growth is computed from: short enough to follow a change of season.
const SPAN_DAYS: i64 = 30;
/// Samples are kept for two years.
const KEPT_DAYS: i64 = 730;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Everything that is not in a class of its own is `dossiers` (never deleted) or `other`.
const CLASSES: &[(&str, &[&str])] = &[
    ("bodies", &["document", "packet", "step_body", "refused_document"]),
    ("attempts", &["attempt", "call", "call_tally"]),
    ("revisions", &["revision", "entry", "entry_past"]),
    ("dossiers", &["dossier", "step", "trimmed", "acked_files"]),
    ("audit", &["audit", "audit_segment", "legal_hold"]),
    ("books", &["reconciliation", "discrepancy"]),
];

/// Reads every page of the file once; rows are counted on the way (the leaves of a table, all
/// pages of a table without row ids).
const PAGES: &str = "
    SELECT s.tbl_name, sum(p.pgsize),
           sum(iif(p.name = s.tbl_name AND (p.pagetype = 'leaf' OR s.tbl_name = 'step'), p.ncell, 0))
    FROM dbstat AS p LEFT JOIN sqlite_schema AS s ON s.name = p.name GROUP BY s.tbl_name";

const FILE: &str = "
    SELECT (SELECT page_count FROM pragma_page_count), (SELECT freelist_count FROM pragma_freelist_count),
           (SELECT page_size FROM pragma_page_size)";

const SAMPLES: &str = "
    SELECT class, at, bytes FROM size_sample WHERE day >= ?1 ORDER BY day";

pub(super) async fn sizes(
    readers: &SqlitePool,
    path: &Path,
    now: Timestamp,
    budget: Option<u64>,
) -> Result<Sizes, LedgerError> {
    let pages: Vec<(Option<String>, i64, i64)> =
        sqlx::query_as(PAGES).fetch_all(readers).await.map_err(|error| failed(DOING, error))?;
    let mut classes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (table, bytes, rows) in pages {
        let table = table.unwrap_or_default();
        let class = CLASSES.iter().find(|(_, tables)| tables.contains(&table.as_str()));
        let sum = classes.entry(class.map_or("other", |(name, _)| name)).or_default();
        sum.0 += u64::try_from(rows).unwrap_or(0);
        sum.1 += u64::try_from(bytes).unwrap_or(0);
    }
    let mut sizes = quick(readers, path, now, budget).await?;
    let samples = samples(readers, now).await?;
    sizes.classes = classes
        .into_iter()
        .map(|(class, (rows, bytes))| ClassSize {
            class: class.to_owned(),
            rows,
            bytes,
            growth: growth(samples.get(class), now, bytes),
        })
        .collect();
    sizes.growth = growth(samples.get(TOTAL), now, sizes.file_bytes - sizes.free_bytes);
    sizes.days_left = days_left(&sizes, budget);
    Ok(sizes)
}

/// The same without a walk over the pages: no classes.
pub(super) async fn quick(
    readers: &SqlitePool,
    path: &Path,
    now: Timestamp,
    budget: Option<u64>,
) -> Result<Sizes, LedgerError> {
    let (pages, free, size): (i64, i64, i64) =
        sqlx::query_as(FILE).fetch_one(readers).await.map_err(|error| failed(DOING, error))?;
    let bytes = |pages: i64| u64::try_from(pages * size).unwrap_or(0);
    let journal = path
        .with_file_name(format!("{}-wal", path.file_name().unwrap_or_default().to_string_lossy()));
    let mut sizes = Sizes {
        file_bytes: bytes(pages),
        free_bytes: bytes(free),
        journal_bytes: std::fs::metadata(journal).map_or(0, |file| file.len()),
        disk_free_bytes: disk_free(path),
        ..Sizes::default()
    };
    let samples = samples(readers, now).await?;
    sizes.growth = growth(samples.get(TOTAL), now, sizes.file_bytes - sizes.free_bytes);
    sizes.days_left = days_left(&sizes, budget);
    Ok(sizes)
}

/// The class of a sample that is the whole file without its holes.
const TOTAL: &str = "total";

type Samples = BTreeMap<String, Vec<(i64, i64)>>;

async fn samples(readers: &SqlitePool, now: Timestamp) -> Result<Samples, LedgerError> {
    let since = Timestamp::from_millis(now.millis() - SPAN_DAYS * DAY_MS).vietnam_day();
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(SAMPLES)
        .bind(since)
        .fetch_all(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    let mut samples = Samples::new();
    for (class, at, bytes) in rows {
        samples.entry(class).or_default().push((at, bytes));
    }
    Ok(samples)
}

/// Bytes a day between the oldest sample of the span and now; a day at least must lie between.
fn growth(samples: Option<&Vec<(i64, i64)>>, now: Timestamp, bytes: u64) -> Option<i64> {
    let (at, before) = *samples?.first()?;
    let passed = now.millis() - at;
    if passed < DAY_MS {
        return None;
    }
    let grown = i128::from(bytes) - i128::from(before);
    i64::try_from(grown * i128::from(DAY_MS) / i128::from(passed)).ok()
}

/// Holes are filled first, then the file grows to its budget or to the end of the disk.
fn days_left(sizes: &Sizes, budget: Option<u64>) -> Option<u64> {
    let growth = u64::try_from(sizes.growth?).ok().filter(|growth| *growth > 0)?;
    let by_disk = sizes.disk_free_bytes.map(|free| free + sizes.free_bytes);
    let used = sizes.file_bytes - sizes.free_bytes;
    let by_budget = budget.map(|budget| budget.saturating_sub(used));
    by_disk.into_iter().chain(by_budget).min().map(|room| room / growth)
}

fn disk_free(path: &Path) -> Option<u64> {
    crate::machine::disk_room(path).ok().map(|room| room.free_bytes)
}

const MEASURED: &str = "SELECT EXISTS (SELECT 1 FROM size_sample WHERE day = ?1)";

/// Whether the day of `now` has its sample.
pub(super) async fn is_measured(readers: &SqlitePool, now: Timestamp) -> Result<bool, LedgerError> {
    sqlx::query_scalar(MEASURED)
        .bind(now.vietnam_day())
        .fetch_one(readers)
        .await
        .map_err(|error| failed(DOING, error))
}

const INSERT_SAMPLES: &str = "
    INSERT INTO size_sample (day, class, at, rows, bytes)
    SELECT ?1, value->>0, ?2, value->>1, value->>2 FROM json_each(?3) WHERE true
    ON CONFLICT (day, class) DO NOTHING";

const DROP_SAMPLES: &str = "DELETE FROM size_sample WHERE day < ?1";

pub(super) async fn record(
    conn: &mut SqliteConnection,
    now: Timestamp,
    sizes: &Sizes,
) -> Result<(), LedgerError> {
    let used = sizes.file_bytes - sizes.free_bytes;
    let mut rows: Vec<(&str, u64, u64)> =
        sizes.classes.iter().map(|class| (class.class.as_str(), class.rows, class.bytes)).collect();
    rows.push((TOTAL, rows.iter().map(|(_, rows, _)| rows).sum(), used));
    let query =
        sqlx::query(INSERT_SAMPLES).bind(now.vietnam_day()).bind(now.millis()).bind(json(&rows));
    run(conn, DOING, query).await?;
    let before = Timestamp::from_millis(now.millis() - KEPT_DAYS * DAY_MS).vietnam_day();
    run(conn, DOING, sqlx::query(DROP_SAMPLES).bind(before)).await.map(|_| ())
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[FILE, SAMPLES, MEASURED, INSERT_SAMPLES, DROP_SAMPLES];

/// Reads every page of the file, once a day and beside the writer.
#[cfg(test)]
pub(super) const WALK: &str = PAGES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_ends_at_the_disk_or_at_the_budget_whichever_comes_first() {
        let sizes = Sizes {
            file_bytes: 1_000,
            free_bytes: 200,
            disk_free_bytes: Some(800),
            growth: Some(10),
            ..Sizes::default()
        };
        assert_eq!(days_left(&sizes, None), Some(100), "800 on the disk and 200 in holes");
        assert_eq!(days_left(&sizes, Some(900)), Some(10), "900 less the 800 in use");
        assert_eq!(days_left(&sizes, Some(700)), Some(0), "over it already");
        let shrinking = Sizes { growth: Some(-5), ..sizes.clone() };
        assert_eq!(days_left(&shrinking, Some(900)), None);
        assert_eq!(days_left(&Sizes { growth: None, ..sizes }, None), None);
    }

    #[test]
    fn growth_needs_a_day_between_two_looks() {
        let samples = vec![(0, 1_000), (DAY_MS, 5_000)];
        let at = |days: i64| Timestamp::from_millis(days * DAY_MS);
        assert_eq!(growth(Some(&samples), at(2), 3_000), Some(1_000));
        assert_eq!(growth(Some(&samples), Timestamp::from_millis(DAY_MS - 1), 3_000), None);
        assert_eq!(growth(None, at(2), 3_000), None);
    }
}
