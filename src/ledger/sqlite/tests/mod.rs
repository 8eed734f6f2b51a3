//! What only the inside of the SQLite backend can show: its statements, their plans, a full disk.

mod migration;

use sqlx::{AssertSqlSafe, Executor};

use super::*;
use crate::domain::priority::Priority;
use crate::ledger::Ledger;
use crate::ledger::record::{PullCommit, ReceivedItem};

async fn fresh() -> (tempfile::TempDir, SqliteLedger) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = SqliteLedger::open(&path, &SqliteSettings::default()).await.unwrap();
    (folder, ledger)
}

fn page(at: i64, dossiers: std::ops::Range<usize>, bytes: usize) -> PullCommit {
    let items = dossiers.map(|number| ReceivedItem {
        ma_ho_so: format!("H55.242-260126-{number:04}"),
        version: Some(1),
        changed_at: Some(Timestamp::from_millis(at)),
        deleted: false,
        ministry: false,
        recoded_from: None,
        fingerprint: *blake3::hash(&number.to_le_bytes()).as_bytes(),
        // Digits of a hash, because bodies are compressed.
        document: (0..bytes / 64)
            .map(|at| blake3::hash(&[number, at].map(usize::to_le_bytes).concat()).to_string())
            .collect::<String>()
            .into(),
    });
    PullCommit {
        source: "province".into(),
        at: Timestamp::from_millis(at),
        priority: Priority::Live,
        items: items.collect(),
        refused: Vec::new(),
        origin: None,
        cursor: Some((format!("cursor-{at}"), Some(Timestamp::from_millis(at)))),
        etag: None,
        caught_up: true,
    }
}

#[tokio::test]
async fn every_statement_prepares_against_the_migrated_schema() {
    let (_folder, ledger) = fresh().await;
    let mut conn = ledger.writer.acquire().await.unwrap();
    let modules = [
        pull::STATEMENTS,
        map::STATEMENTS,
        adopt::STATEMENTS,
        audit::STATEMENTS,
        mappings::STATEMENTS,
        mappings::STATEMENTS_FOR_PEOPLE,
        claim::STATEMENTS,
        closed::STATEMENTS,
        settle::STATEMENTS,
        attempt::STATEMENTS,
        call::STATEMENTS,
        reconcile::STATEMENTS,
        books::STATEMENTS,
        operate::STATEMENTS,
        observed::STATEMENTS,
        upkeep::STATEMENTS,
        pause::STATEMENTS,
        line::STATEMENTS,
        singleton::STATEMENTS,
        view::STATEMENTS,
        kept::STATEMENTS,
        standing::STATEMENTS,
        catalogue::STATEMENTS,
        retention::STATEMENTS,
        hold::STATEMENTS,
        keys::STATEMENTS,
        restore::STATEMENTS,
        restore::STATEMENTS_OF_THE_RESTORE,
        size::STATEMENTS,
        backup::STATEMENTS,
        health::STATEMENTS,
        watch::STATEMENTS,
    ];
    let rare = [
        keys::statements_of_tables(),
        cause::statements(),
        probe::STATEMENTS.to_vec(),
        check::statements(),
        jobs::statements(),
        vec![size::WALK],
    ]
    .concat();
    let own = [file::IDENTITY, file::HAS_HISTORY, file::SCHEMA_VERSION, file::TRY_WRITING];
    for statement in modules.into_iter().flatten().chain(&own).chain(&rare) {
        let text = sqlx::SqlStr::from_static(statement);
        if let Err(error) = conn.prepare(text).await {
            panic!("{error}\n{statement}");
        }
    }
}

#[tokio::test]
async fn no_statement_of_the_hot_paths_reads_a_whole_table() {
    let (_folder, ledger) = fresh().await;
    let mut conn = ledger.writer.acquire().await.unwrap();
    let hot = [
        pull::STATEMENTS,
        map::STATEMENTS,
        adopt::STATEMENTS,
        claim::STATEMENTS,
        closed::STATEMENTS,
        settle::STATEMENTS,
        attempt::STATEMENTS,
        call::STATEMENTS,
        reconcile::STATEMENTS,
        books::STATEMENTS,
        upkeep::STATEMENTS,
        operate::STATEMENTS,
        catalogue::STATEMENTS,
        pause::STATEMENTS,
        retention::STATEMENTS,
        hold::STATEMENTS,
        restore::STATEMENTS,
        size::STATEMENTS,
        health::STATEMENTS,
        watch::STATEMENTS,
        standing::STATEMENTS,
        mappings::STATEMENTS,
    ];
    // A partial index over what is open holds only that; the named tables hold a few rows.
    let small: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql LIKE '%WHERE%'
         UNION ALL VALUES ('cursor'), ('sqlite_sequence'), ('sqlite_autoindex_quota_promise_1'), ('restored'),
             ('kept'), ('singleton'), ('tally'), ('sqlite_autoindex_source_1'), ('reconciliation_by_source'), ('reconcile_run'), ('AS r'), ('rolling_scan'), ('recent'), (' c'), (' slice'), ('watch'), ('call_tally_since'),
             ('chain'), ('doomed'), (' k')",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    let mut scans = Vec::new();
    for statement in hot.iter().chain(cause::HOT).chain([&probe::STATEMENTS]).copied().flatten() {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).fetch_all(&mut *conn).await.unwrap();
        for (at, (_, parent, _, step)) in plan.iter().enumerate() {
            // The parameter's rows drive the loop; inside one they would be read once a row.
            let inner = plan[..at].iter().any(|(_, other, _, outer)| {
                other == parent && (outer.starts_with("SEARCH") || outer.starts_with("SCAN"))
            });
            if step.contains("VIRTUAL TABLE") && inner {
                scans.push(format!("{step} inside another loop: {statement}"));
            }
            // A table-valued function reads the statement's own parameter.
            let harmless = step.contains("VIRTUAL TABLE")
                || step == "SCAN CONSTANT ROW"
                // Its own reading is a step of its own.
                || step.starts_with("SCAN (subquery-")
                || small.iter().any(|name| step.trim_end().ends_with(name.as_str()));
            // The foreign key's counterpart, run only while a violation is outstanding.
            let never = (step == "SCAN entry" && statement.contains("INSERT INTO revision"))
                || (step == "SCAN attempt" && statement.contains("INSERT INTO dossier"));
            if step.starts_with("SCAN") && !harmless && !never {
                scans.push(format!("{step}: {statement}"));
            }
        }
    }
    insta::assert_snapshot!(scans.join("\n\n"), @"");
}

/// SQLite plans a statement anew with every value of a plain `LIMIT ?1`, which costs more than the
/// statement does; so limits are written `LIMIT +?1`.
#[test]
fn what_runs_all_the_time_is_planned_once() {
    let often = [claim::STATEMENTS, map::STATEMENTS, line::STATEMENTS, watch::STATEMENTS];
    let planned_anew = often.into_iter().flatten().find(|statement| statement.contains("LIMIT ?"));
    assert_eq!(planned_anew, None);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_work_goes_on_when_there_is_space_again() {
    let (_folder, ledger) = fresh().await;
    sqlx::query("PRAGMA max_page_count = 120").execute(&ledger.writer).await.unwrap();
    let mut stored = 0;
    let refusal = loop {
        let commit = page(1_000 + stored, 0..100, 20_000);
        let commit = PullCommit { source: format!("province-{stored}"), ..commit };
        match ledger.commit_pull(&commit).await {
            Ok(_) => stored += 1,
            Err(refusal) => break refusal,
        }
        assert!(stored < 100, "the ceiling of pages did not hold");
    };
    assert!(matches!(refusal, LedgerError::Full), "{refusal:?}");
    let cursors: i64 =
        sqlx::query_scalar("SELECT count(*) FROM cursor").fetch_one(&ledger.readers).await.unwrap();
    assert_eq!(cursors, stored);

    sqlx::query("PRAGMA max_page_count = 4294967294").execute(&ledger.writer).await.unwrap();
    let counts = ledger.commit_pull(&page(9_000, 0..100, 20_000)).await.unwrap();
    assert_eq!(counts.new, 100);
}

#[tokio::test]
async fn the_writer_survives_a_rollback_that_sqlite_did_by_itself() {
    let (_folder, ledger) = fresh().await;
    {
        // What a full disk or a failing one can end in: the driver believes that it is still in a
        // transaction.
        let mut tx = ledger.begin("store a page").await.unwrap();
        sqlx::query("ROLLBACK").execute(&mut *tx).await.unwrap();
    }
    for at in 1..4 {
        let counts = ledger.commit_pull(&page(at, 0..3, 500)).await.unwrap();
        assert_eq!(counts.new + counts.unchanged, 3);
    }
}

#[tokio::test]
async fn a_verb_that_is_dropped_half_way_leaves_nothing_behind() {
    let (folder, ledger) = fresh().await;
    {
        let mut tx = ledger.begin("store a page").await.unwrap();
        pull::commit_pull(&mut tx, &Bodies::plain(), &page(1_000, 0..10, 500)).await.unwrap();
        // As a crash does: neither committed nor closed.
    }
    drop(ledger);
    let again = SqliteLedger::open(&folder.path().join("ledger.db"), &SqliteSettings::default())
        .await
        .unwrap();
    let rows: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM dossier) + (SELECT count(*) FROM revision)
              + (SELECT count(*) FROM entry) + (SELECT count(*) FROM cursor)",
    )
    .fetch_one(&again.readers)
    .await
    .unwrap();
    assert_eq!(rows, 0);
    assert_eq!(again.source_position("province", 0).await.unwrap().start, None);
}

#[tokio::test]
async fn a_damaged_catalogue_stops_nobody_and_the_next_fetch_replaces_it() {
    use crate::domain::catalogue::{CatalogueItem, CatalogueKey, CatalogueKind, ItemKind};
    use crate::ledger::record::{FetchOutcome, FetchedCatalogue};
    let (_folder, ledger) = fresh().await;
    let items = vec![CatalogueItem {
        kind: ItemKind::Procedure,
        code: "2.000815".into(),
        name: "a name".into(),
    }];
    let fetched = FetchedCatalogue {
        key: CatalogueKey::list(CatalogueKind::Procedures),
        calls: Vec::new(),
        outcome: FetchOutcome::Items(items),
        keep: 3,
    };
    let at = Timestamp::from_millis(1_000);
    let first = ledger.record_catalogue(at, &fetched).await.unwrap().version.unwrap();
    sqlx::query("UPDATE catalogue_body SET body = x'00'").execute(&ledger.writer).await.unwrap();
    assert!(ledger.catalogue_items(&[first]).await.unwrap().is_empty());
    let found = ledger.check().await.unwrap();
    let told: Vec<(&str, u64)> = found.iter().map(|one| (one.what.as_str(), one.count)).collect();
    assert_eq!(told, [("catalogue lists that cannot be read back", 1)]);
    let again = ledger.record_catalogue(at, &fetched).await.unwrap();
    assert!(again.is_new, "the same list, and still a version that can be read");
    assert_eq!(ledger.catalogue_items(&[again.version.unwrap()]).await.unwrap().len(), 1);
}
