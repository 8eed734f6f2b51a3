//! The audit as a chain: whatever somebody with the file in hand does to it is found.

use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::audit::{AuditFilter, AuditHead};
use hoso_gateway::ledger::record::AuditRecord;
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings, put_back};
use hoso_gateway::ledger::{Ledger, LedgerError};
use hoso_gateway::pipeline::audit::{AnchorVerdict, AuditVerdict, Export, verify};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::support::{TestLedger, audit, open_ledger, t, upkeep_policy};

const DAY: i64 = 86_400;

/// As somebody who has the file and knows SQLite: the triggers are taken away and put back.
async fn by_hand(ledger: &TestLedger, statements: &str) {
    let mut conn = SqliteConnectOptions::new().filename(ledger.path()).connect().await.unwrap();
    let triggers: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'audit%'",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    assert_eq!(triggers.len(), 5);
    for (name, _) in &triggers {
        let drop = AssertSqlSafe(format!("DROP TRIGGER {name}"));
        sqlx::raw_sql(drop).execute(&mut conn).await.unwrap();
    }
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut conn).await.unwrap();
    for (_, text) in triggers {
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut conn).await.unwrap();
    }
    conn.close().await.unwrap();
}

/// A ledger with six acts, some with everything that a row may hold.
async fn with_acts() -> TestLedger {
    let ledger = open_ledger().await;
    for number in 1..=6 {
        let act = AuditRecord::new("anna (as hoso)", "resync", &format!("D{number}"), "asked");
        let act = match number % 2 {
            0 => act.selection("all of today").plan_hash("ab12"),
            _ => act,
        };
        ledger.note_act(t(number), &act, "opened").await.unwrap();
    }
    ledger
}

async fn looked_at(ledger: &dyn Ledger, anchors: &[AuditHead]) -> AuditVerdict {
    verify(ledger, anchors).await.unwrap()
}

async fn head(ledger: &dyn Ledger) -> AuditHead {
    ledger.audit_chain().await.unwrap().head.unwrap()
}

fn findings(verdict: &AuditVerdict) -> String {
    let told = verdict.chain.findings.iter();
    told.map(|one| format!("{} [{}]", one.what, one.examples.join(",")))
        .collect::<Vec<_>>()
        .join("; ")
}

#[tokio::test]
async fn acts_are_rows_behind_one_another_and_can_be_asked_for() {
    let ledger = with_acts().await;
    let end = head(&*ledger).await;
    assert_eq!(end.seq, 6);
    let verdict = looked_at(&*ledger, &[end]).await;
    assert!(verdict.is_sound(), "{verdict:?}");
    assert_eq!((verdict.chain.rows, verdict.chain.head), (6, end));
    let filter = AuditFilter {
        who: Some("ANNA".into()),
        what: Some("sync".into()),
        since: Some(t(4)),
        limit: 2,
        ..AuditFilter::default()
    };
    let found = ledger.acts(&filter).await.unwrap();
    let targets: Vec<&str> = found.iter().map(|row| row.target.as_str()).collect();
    assert_eq!(targets, ["D6", "D5"]);
    assert_eq!(found[0].selection.as_deref(), Some("all of today"));
}

#[tokio::test]
async fn a_change_of_any_column_of_any_row_is_found() {
    for (column, value) in [
        ("at", "at + 1"),
        ("actor", "'somebody else'"),
        ("action", "'hold'"),
        ("target", "'D9'"),
        ("reason", "reason || ' '"),
        ("result", "''"),
        ("selection", "iif(selection IS NULL, '', NULL)"),
        ("plan_hash", "iif(plan_hash IS NULL, 'ff', NULL)"),
        ("hash", "zeroblob(32)"),
        ("hash", "NULL"),
    ] {
        for row in 1..=6 {
            let ledger = with_acts().await;
            by_hand(&ledger, &format!("UPDATE audit SET {column} = {value} WHERE id = {row}"))
                .await;
            let found = findings(&looked_at(&*ledger, &[]).await);
            assert!(found.contains(&row.to_string()), "{column} of row {row}: {found:?}");
        }
    }
}

#[tokio::test]
async fn rows_that_go_come_or_change_places_are_found() {
    for (what, statements, told) in [
        ("delete", "DELETE FROM audit WHERE id = 3", "rows are missing before [4]"),
        (
            "delete and close the gap",
            "DELETE FROM audit WHERE id = 3;
             UPDATE audit SET id = id - 1 WHERE id > 3",
            "not what was written",
        ),
        (
            "insert",
            "UPDATE audit SET id = 100 + id WHERE id > 3; UPDATE audit SET id = id - 99 WHERE id > 100;
             INSERT INTO audit SELECT 4, at, actor, action, target, reason, result, selection, plan_hash, hash
             FROM audit WHERE id = 2",
            "not what was written",
        ),
        (
            "swap",
            "UPDATE audit SET id = 100 WHERE id = 2; UPDATE audit SET id = 2 WHERE id = 3;
             UPDATE audit SET id = 3 WHERE id = 100",
            "not what was written",
        ),
        ("a row without a place", "UPDATE audit SET hash = NULL WHERE id = 6", "no place in the chain [6]"),
        (
            "an archive that never was",
            "INSERT INTO audit_segment (kind, first_seq, last_seq, rows, first_at, last_at, start_hash, end_hash, made_at)
             SELECT 'archived', 1, 3, 3, 0, 0, zeroblob(32), hash, 0 FROM audit WHERE id = 3;
             DELETE FROM audit WHERE id <= 3",
            "no row of the audit tells of the archived segment",
        ),
    ] {
        let ledger = with_acts().await;
        by_hand(&ledger, statements).await;
        let found = findings(&looked_at(&*ledger, &[]).await);
        assert!(found.contains(told), "{what}: {found:?}");
    }
}

#[tokio::test]
async fn a_cut_end_and_an_end_written_anew_are_found_with_a_head_that_was_kept() {
    let kept = head(&*with_acts().await).await;
    let ledger = with_acts().await;
    by_hand(&ledger, "DELETE FROM audit WHERE id > 4").await;
    assert!(looked_at(&*ledger, &[]).await.is_sound(), "the chain alone cannot show it");
    let verdict = looked_at(&*ledger, &[kept]).await;
    assert_eq!(verdict.anchors, [(kept, AnchorVerdict::CutOff)]);
    assert!(!verdict.is_sound());
    // The program's own code forges a tail better than anybody by hand.
    for number in 5..=7 {
        ledger.note_act(t(number), &audit("D"), "harmless").await.unwrap();
    }
    assert!(looked_at(&*ledger, &[]).await.is_sound());
    let verdict = looked_at(&*ledger, &[kept]).await;
    assert_eq!(verdict.anchors, [(kept, AnchorVerdict::Another)]);
}

#[tokio::test]
async fn the_file_itself_refuses_changes_and_their_absence_is_found() {
    let ledger = with_acts().await;
    let mut conn = SqliteConnectOptions::new().filename(ledger.path()).connect().await.unwrap();
    for statement in [
        "UPDATE audit SET reason = 'another' WHERE id = 2",
        "DELETE FROM audit WHERE id = 2",
        "DELETE FROM audit",
        "INSERT INTO audit (at, actor, action, target, reason, result) VALUES (1, '', '', '', '', '')",
        "UPDATE audit_segment SET end_hash = x''",
        "DELETE FROM audit_segment",
    ] {
        let done = sqlx::query(statement).execute(&mut conn).await;
        match done {
            Err(refused) => assert!(refused.to_string().contains("audit"), "{refused}"),
            // Nothing is archived yet, so nothing of it is touched.
            Ok(done) => assert!(statement.contains("segment") && done.rows_affected() == 0),
        }
    }
    sqlx::query("DROP TRIGGER audit_is_not_changed").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    assert!(findings(&looked_at(&*ledger, &[]).await).contains("triggers"));
}

#[tokio::test]
async fn what_is_archived_keeps_its_ends_and_older_heads_are_not_called_forged() {
    let ledger = with_acts().await;
    let (middle, before) = {
        let rows = ledger.audit_rows(0, 10).await.unwrap();
        (rows[2].head().unwrap(), rows[5].head().unwrap())
    };
    let mut policy = upkeep_policy();
    policy.retention.audit_ms = 10 * 86_400_000;
    ledger.note_act(t(15 * DAY), &audit("D7"), "opened").await.unwrap();
    ledger.upkeep(t(20 * DAY), &policy).await.unwrap();
    let chain = ledger.audit_chain().await.unwrap();
    assert_eq!(chain.segments.len(), 1);
    assert_eq!((chain.segments[0].first_seq, chain.segments[0].end()), (1, before));
    let verdict = looked_at(&*ledger, &[before, middle]).await;
    assert_eq!((verdict.chain.rows, verdict.archived_rows), (2, 6));
    assert_eq!(verdict.chain.findings, []);
    assert_eq!(verdict.anchors[0].1, AnchorVerdict::Found);
    assert_eq!(verdict.anchors[1].1, AnchorVerdict::OlderThanKept);
    // A month is gathered before the next one.
    ledger.upkeep(t(27 * DAY), &policy).await.unwrap();
    assert_eq!(ledger.audit_chain().await.unwrap().segments.len(), 1);
    ledger.upkeep(t(60 * DAY), &policy).await.unwrap();
    let verdict = looked_at(&*ledger, &[]).await;
    assert_eq!((verdict.archived_segments, verdict.chain.rows), (2, 1), "{verdict:?}");
    assert!(verdict.is_sound(), "{verdict:?}");
    by_hand(&ledger, "UPDATE audit_segment SET end_hash = zeroblob(32) WHERE id = 1").await;
    assert!(findings(&looked_at(&*ledger, &[]).await).contains("do not follow each other"));
}

#[tokio::test]
async fn rows_from_before_the_chain_are_sealed_by_the_first_act_and_cannot_change_after() {
    let ledger = open_ledger().await;
    by_hand(
        &ledger,
        "INSERT INTO audit (id, at, actor, action, target, reason, result)
         VALUES (3, 10, 'a', 'resync', 'D1', 'r', 'x'), (9, 20, 'b', 'hold', 'D2', 'r', 'y')",
    )
    .await;
    assert!(findings(&looked_at(&*ledger, &[]).await).contains("no place in the chain"));
    ledger.note_act(t(5), &audit("D3"), "opened").await.unwrap();
    let verdict = looked_at(&*ledger, &[]).await;
    assert!(verdict.is_sound(), "{verdict:?}");
    assert_eq!((verdict.chain.rows, verdict.sealed), (4, Some((2, t(5)))));
    for statement in ["DELETE FROM audit WHERE id = 3", "UPDATE audit SET actor = 'c' WHERE id = 9"]
    {
        let ledger = open_ledger().await;
        by_hand(
            &ledger,
            "INSERT INTO audit (id, at, actor, action, target, reason, result)
             VALUES (3, 10, 'a', 'resync', 'D1', 'r', 'x'), (9, 20, 'b', 'hold', 'D2', 'r', 'y')",
        )
        .await;
        ledger.note_act(t(5), &audit("D3"), "opened").await.unwrap();
        by_hand(&ledger, statement).await;
        assert!(findings(&looked_at(&*ledger, &[]).await).contains("not what was written"));
    }
}

#[tokio::test]
async fn a_restore_forks_the_chain_and_says_so() {
    let ledger = with_acts().await;
    let backup = ledger.path().with_file_name("backup.db");
    let beside = SqliteLedger::open(&ledger.path(), &SqliteSettings::default()).await.unwrap();
    let manifest = beside.backup(&backup, t(7)).await.unwrap();
    assert_eq!(manifest.audit, Some(head(&*ledger).await));
    beside.close().await;
    ledger.note_act(t(8), &audit("D8"), "opened").await.unwrap();
    ledger.note_act(t(9), &audit("D9"), "opened").await.unwrap();
    let replaced = head(&*ledger).await;
    ledger.close().await;
    let who = AuditRecord::new("hoso", "restore", "ledger", "the disk is lost");
    put_back(&backup, &ledger.path(), &SqliteSettings::default(), true, t(100), &[], &who)
        .await
        .unwrap();
    let now = SqliteLedger::open(&ledger.path(), &SqliteSettings::default()).await.unwrap();
    now.note_act(t(101), &audit("D10"), "opened").await.unwrap();
    let verdict = looked_at(&now, &[manifest.audit.unwrap(), replaced]).await;
    assert_eq!(verdict.chain.findings, []);
    assert_eq!(verdict.restores, [t(100)]);
    assert_eq!(verdict.anchors[0].1, AnchorVerdict::Found);
    assert_eq!(verdict.anchors[1].1, AnchorVerdict::PutAside { restored_at: t(100) });
    let row = now.audit_rows(6, 1).await.unwrap().remove(0);
    let told = row.selection.unwrap();
    assert!(told.contains(&manifest.audit.unwrap().to_string()), "{told}");
    assert!(told.contains(&replaced.to_string()), "{told}");
}

#[tokio::test]
async fn an_export_holds_the_rows_of_its_time_and_what_stands_before_them() {
    let ledger = with_acts().await;
    let mut export = Export::begin(&*ledger, Some(t(4))).await.unwrap();
    ledger.note_act(t(9), &audit("later"), "opened").await.unwrap();
    let (behind, rows) = export.next().await.unwrap().unwrap();
    assert_eq!(behind, ledger.audit_rows(2, 1).await.unwrap()[0].head().unwrap());
    let numbers: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    assert_eq!(numbers, [4, 5, 6], "what came while it was written is not in it");
    assert!(export.next().await.unwrap().is_none());
    let mut none = Export::begin(&*ledger, Some(Timestamp::from_millis(i64::MAX))).await.unwrap();
    assert!(none.next().await.unwrap().is_none());
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_ledger_is_private_and_one_that_everybody_may_write_is_not_opened() {
    use std::os::unix::fs::PermissionsExt as _;
    let ledger = open_ledger().await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&ledger.path()) & 0o027, 0, "nothing for others, no writing for the group");
    ledger.close().await;
    let set = |bits| {
        std::fs::set_permissions(ledger.path(), std::fs::Permissions::from_mode(bits)).unwrap();
    };
    set(0o666);
    let refused = SqliteLedger::open(&ledger.path(), &SqliteSettings::default()).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Exposed { .. }), "{refused:?}");
    set(0o644);
    assert!(SqliteLedger::open(&ledger.path(), &SqliteSettings::default()).await.is_ok());
}
