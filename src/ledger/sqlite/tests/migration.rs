//! A ledger that version 0.1.0 left behind, with something in every table and every state, goes
//! through all migrations: nothing of it is lost, and work goes on where it stopped.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::super::file::MIGRATOR;
use super::super::*;
use crate::domain::entry::EntryState as S;
use crate::domain::lease::Lease;
use crate::domain::priority::Priority;
use crate::domain::share::{Shares, Turns};
use crate::ledger::Ledger;
use crate::ledger::body::Row as BodyRow;
use crate::ledger::record::{
    Claim, MapOutcome, MappedEntry, PacketFiles, PullCommit, ReceivedItem, Retention, ToMap,
    UpkeepPolicy, ValidPacket,
};

/// The schema of version 0.1.0.
const RELEASED: i64 = 1;

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// A body as it was stored, as an SQL literal.
fn body(table: &'static str, id: i64, text: &str) -> String {
    let bytes = Bodies::plain().write(BodyRow::of(table, id), text.as_bytes()).unwrap();
    let mut literal = String::from("x'");
    for byte in bytes {
        write!(literal, "{byte:02x}").unwrap();
    }
    literal + "'"
}

/// A dossier for each state of an entry: its id is the entry's and the revision's.
const STATES: [&str; 10] = [
    "received",
    "quarantined",
    "not_ours",
    "unchanged",
    "ready",
    "leased",
    "unconfirmed",
    "accepted",
    "dead",
    "superseded",
];

/// What 0.1.0 may have written, as SQL.
fn rows() -> String {
    let mut sql = String::from(
        "INSERT INTO source VALUES ('province', 'tag', 'c', 5000, 6000, NULL, NULL);
         INSERT INTO cursor VALUES (1, 'province', 'c', 4000, 5000);
         INSERT INTO audit VALUES (1, 4000, 'a person', 'resync', 'D8', 'asked', 'opened');
         INSERT INTO singleton VALUES ('gate', 'serve pid 1', 7, 9000);
         INSERT INTO quota_promise VALUES ('20/1000', 9500);
         INSERT INTO call VALUES (1, 'DongBoHoSoMC', 1, 4000, 120, 1, 900, 60, 200, '0', 'thanh cong', 'useful', x'aa');
         INSERT INTO reconciliation VALUES (1, 'province', 1, 2, '20260101', '20260102', '{}', 1);
         INSERT INTO discrepancy VALUES (1, 8, 'province', 'D8', 'missing', '', 1, 2, NULL, NULL);
         INSERT INTO discrepancy VALUES (2, 8, 'province', 'D8', 'step_changed', 'x', 1, 2, 3, 'over');",
    );
    for (id, state) in (1..).zip(STATES) {
        let (packet_state, lane) = match state {
            "unchanged" | "accepted" => ("accepted", "NULL"),
            "ready" => ("open", "NULL"),
            "leased" | "unconfirmed" => ("open", "7"),
            "dead" => ("dead", "NULL"),
            _ => ("none", "NULL"),
        };
        let lease = if state == "leased" { "7, 8000" } else { "NULL, NULL" };
        let failure = match state {
            "dead" | "unconfirmed" => {
                r#"'{"code":"portal.refused","disposition":"data","message":"no"}', 'portal.refused'"#
            }
            "quarantined" => "NULL, 'mapping.required'",
            _ => "NULL, NULL",
        };
        // What was overtaken has a newer one, which is the newest.
        let newest = if state == "superseded" { 11 } else { id };
        write!(
            sql,
            "INSERT INTO dossier (id, source, ma_ho_so, first_seen_at, newest_revision_id, newest_entry_id,
                 newest_version, newest_changed_at, newest_fingerprint, portal_known, packet_state, acked_entry_id,
                 acked_at, lane_token)
             VALUES ({id}, 'province', 'D{id}', 1000, {newest}, {newest}, 1, 1000, x'0{id:x}', 'unknown',
                     '{packet_state}', iif('{packet_state}' = 'accepted', {id}, NULL), NULL, {lane});
             INSERT INTO revision VALUES ({id}, {id}, 1, 1000, x'0{id:x}', 1000, 0, 0);
             INSERT INTO document VALUES ({id}, 1000, {document});
             INSERT INTO entry VALUES ({id}, {id}, {id}, '{state}', 1, 0, 1000, 2000, 3000, 1, 0, NULL, {lease}, x'bb',
                 'm-1', '0.1.0', {failure}, NULL, NULL, NULL);
             INSERT INTO packet VALUES ({id}, 1000, {packet});
             INSERT INTO attempt VALUES ({id}, {id}, {id}, 1, 'packet', 1, 4000, 'accepted', NULL, NULL);",
            document = body("document", id, "one"),
            packet = body("packet", id, "packet"),
        )
        .unwrap();
    }
    write!(
        sql,
        "INSERT INTO revision VALUES (11, 10, 2, 1500, x'11', 1500, 0, 0);
         INSERT INTO document VALUES (11, 1500, {document});
         INSERT INTO entry VALUES (11, 10, 11, 'ready', 1, 0, 1500, 2000, 3000, 0, 0, NULL, NULL, NULL, x'cc', 'm-1',
             '0.1.0', NULL, NULL, NULL, NULL, NULL);
         INSERT INTO packet VALUES (11, 1500, {packet});
         UPDATE entry SET superseded_by = 11 WHERE id = 10;
         INSERT INTO refused_document VALUES (1, 'province', 3000, 'source.shape', 'no code', NULL, 0, x'dd', {evidence}, NULL);",
        document = body("document", 11, "two"),
        packet = body("packet", 11, "packet two"),
        evidence = body("refused_document", 1, "<HoSo/>"),
    )
    .unwrap();
    // The steps of the accepted dossier: one in each state; those of the unchanged one are out.
    let steps = ["pending", "acked", "held", "presumed_sent", "withdrawn"];
    for (n, state) in steps.iter().enumerate() {
        write!(
            sql,
            "INSERT INTO step VALUES (8, '2026012608{n:02}00', '4', 0, {n}, x'ee', '{state}', 4000, 1, NULL, 1, {n});"
        )
        .unwrap();
    }
    write!(
        sql,
        "INSERT INTO step VALUES (4, '20260126080000', '4', 0, 0, x'ee', 'leased', 4000, 1, NULL, 2, 0);
         INSERT INTO step_body VALUES (1, 8, 4000, {several}), (2, 4, 4000, {one});
         UPDATE dossier SET steps_pending = 1 WHERE id = 8;
         UPDATE dossier SET steps_pending = 1, lane_token = 7, steps_lease_until = 8000 WHERE id = 4;",
        several = body("step_body", 1, &["{}"; 5].join("\n")),
        one = body("step_body", 2, "{}"),
    )
    .unwrap();
    sql
}

/// Every value of these columns, row by row, as SQL would write it.
async fn values(pool: &SqlitePool, columns: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut all = Vec::new();
    for (table, columns) in columns {
        let quoted: Vec<String> =
            columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
        let query =
            format!("SELECT {} AS row FROM {table} ORDER BY row", quoted.join(" || ',' || "));
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(pool).await.unwrap();
        assert!(!rows.is_empty(), "nothing in {table}");
        all.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
    }
    all
}

/// The file as 0.1.0 left it, its tables with their columns, and what was in them.
async fn released(path: &Path) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    MIGRATOR.run_to(RELEASED, &pool).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(rows())).execute(&pool).await.unwrap();
    let found: Vec<(String, String)> = sqlx::query_as(
        "SELECT m.name, c.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c
         WHERE m.type = 'table' AND m.name NOT IN ('sqlite_sequence', '_sqlx_migrations')",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, column) in found {
        columns.entry(table).or_default().push(column);
    }
    let before = values(&pool, &columns).await;
    pool.close().await;
    (columns, before)
}

#[tokio::test]
async fn a_ledger_of_the_first_release_is_migrated_whole_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (columns, before) = released(&path).await;
    assert_eq!(columns.len(), 17, "every table of the first release");

    let ledger = SqliteLedger::open(&path, &SqliteSettings::default()).await.unwrap();
    assert_eq!(values(&ledger.readers, &columns).await, before);
    assert_eq!(ledger.check().await.unwrap(), []);
    let standing = ledger.standing(t(7)).await.unwrap();
    let expected = BTreeMap::from([
        (S::Received, 1),
        (S::Quarantined, 1),
        (S::NotOurs, 1),
        (S::Unchanged, 1),
        (S::Ready, 2),
        (S::Leased, 1),
        (S::Unconfirmed, 1),
        (S::Accepted, 1),
        (S::Dead, 1),
    ]);
    assert_eq!((standing.dossiers, standing.superseded), (expected, 1));
    let steps: Vec<(&str, u64)> =
        standing.steps.iter().map(|(state, n)| (state.as_str(), *n)).collect();
    let expected = ["acked", "held", "leased", "pending", "presumed_sent", "withdrawn"];
    assert_eq!(steps, expected.map(|state| (state, 1)));

    assert_eq!(ledger.call_totals(t(0)).await.unwrap().calls, 1);

    work_goes_on(&ledger).await;
    assert_eq!(ledger.check().await.unwrap(), []);
    // Attempts from before and after the migration are one history.
    let history = ledger.dossier("D6").await.unwrap().remove(0).attempts;
    let outcomes: Vec<&str> = history.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["accepted", "unknown"]);
    ledger.close().await;
    let again = SqliteLedger::open(&path, &SqliteSettings::default()).await.unwrap();
    assert_eq!(again.standing(t(20)).await.unwrap().gate_owner, None);
    again.close().await;
}

async fn work_goes_on(ledger: &SqliteLedger) {
    // What was out when the old program ended is looked up, or sent again.
    let counts = ledger.upkeep(t(10), &policy()).await.unwrap();
    assert_eq!((counts.leases_expired, counts.step_leases_expired), (1, 1));
    assert_eq!(ledger.claim_unconfirmed(t(10), t(40), 10).await.unwrap().len(), 2);
    // What was received is mapped, and leaves with what was ready.
    let unmapped = ledger.to_map(10).await.unwrap();
    assert_eq!(unmapped.len(), 1);
    assert_eq!(unmapped[0].document, "one");
    ledger.record_mapped(t(10), &[valid(&unmapped[0])]).await.unwrap();
    let claim = Claim {
        lease: Lease { token: 9, expires_at: t(100) },
        limit: 10,
        turns: Turns::new(Shares::default()),
        urgent_only: false,
    };
    let claimed = ledger.claim_entries(t(11), claim).await.unwrap();
    let mut codes: Vec<&str> = claimed.iter().map(|entry| entry.ma_ho_so.as_str()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["D1", "D10", "D5"]);
    let lanes = ledger.claim_steps(t(11), claim, 10).await.unwrap();
    assert_eq!(lanes.len(), 2);
    // States that the first release did not have.
    ledger.set_start_from("province", Some(t(5000))).await.unwrap();
    let item = ReceivedItem {
        ma_ho_so: "D12".into(),
        version: Some(1),
        changed_at: Some(t(12)),
        deleted: false,
        ministry: false,
        recoded_from: None,
        fingerprint: [12; 32],
        document: "twelve".into(),
    };
    let commit = PullCommit {
        source: "province".into(),
        at: t(12),
        priority: Priority::Live,
        items: vec![item],
        refused: Vec::new(),
        origin: None,
        cursor: None,
        etag: None,
        caught_up: true,
    };
    ledger.commit_pull(&commit).await.unwrap();
    let unmapped = ledger.to_map(10).await.unwrap();
    ledger.record_mapped(t(12), &[valid(&unmapped[0])]).await.unwrap();
    assert_eq!(ledger.standing(t(12)).await.unwrap().dossiers[&S::Awaiting], 1);
}

fn valid(unmapped: &ToMap) -> MappedEntry {
    MappedEntry {
        entry_id: unmapped.entry_id,
        dossier_id: unmapped.dossier_id,
        mapping_version: "m-2".into(),
        outcome: MapOutcome::Valid(Box::new(ValidPacket {
            packet: unmapped.document.clone(),
            packet_hash: *blake3::hash(unmapped.document.as_bytes()).as_bytes(),
            steps: Vec::new(),
            warnings: Vec::new(),
            filed_at_portal: false,
            priority: None,
            appointed_at: None,
            finished: false,
            ma_tthc: "1.000105".into(),
            ma_don_vi: None,
            recoded_from: None,
            files: PacketFiles::default(),
        })),
    }
}

fn policy() -> UpkeepPolicy {
    UpkeepPolicy {
        deadline_near_ms: 0,
        retention: Retention {
            bodies_ms: u64::MAX,
            attempts_ms: u64::MAX,
            revisions_ms: u64::MAX,
            audit_ms: u64::MAX,
            books_ms: u64::MAX,
            rows_max: 100,
        },
        cursor_retention_ms: u64::MAX,
        watchdog_ms: 600_000,
        resend_unknown_supplement: false,
        wait_max_ms: 1_200_000,
        lease_max_ms: 125_000,
        owner_max_ms: 17_000,
    }
}
