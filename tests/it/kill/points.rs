//! Deaths at every named point (`sabotage::POINTS`): at each the program must really die, and what
//! is done afterwards must come to its end.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use hoso_gateway::clock::SystemClock;
use hoso_gateway::http::ReqwestHttp;
use hoso_gateway::lab::older_sync::{self, OlderSyncOptions};
use hoso_gateway::lab::portal::{Fault, Faults, PortalOptions, ScriptedFault};
use hoso_gateway::lab::province::{Misbehaviour, MisbehaviourRule, ProvinceOptions};
use hoso_gateway::sabotage::POINTS;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::witness::Witness;
use super::{HASTY, portal, province};
use crate::support::binary::{Process, Site};

/// Reached by a service that reads a feed, and in this order.
const SERVICE: [&str; 18] = [
    "migrate.begun",
    "migrate.done",
    "gate.taken",
    "pull.stored",
    "pull.put_away",
    "map.mapped",
    "map.stored",
    "push.promised",
    "push.claimed_packets",
    "push.answered_packets",
    "push.claimed_steps",
    "push.answered_steps",
    "push.settled:3",
    "read_back.claimed",
    "read_back.answered",
    "read_back.settled",
    "mended.asking",
    "gate.settled",
];
const UPKEEP: [&str; 2] = ["upkeep.leases", "upkeep.retention:2"];
/// Reached by a service whose source drops files.
const DROPS: [&str; 3] = ["pull.stored", "drop.noted", "pull.put_away"];
/// Reached while an older program's work is taken over.
const TAKE_OVER: [&str; 5] =
    ["pull.cut_over", "adopt.chosen", "adopt.answered", "adopt.settled", "adopt.asked_all"];
/// Reached by books of a source whose portal has lost a dossier.
const BOOKS: [&str; 5] = [
    "reconcile.answered",
    "reconcile.looked_up",
    "reconcile.found",
    "reconcile.resolved",
    "reconcile.repaired",
];
const CATALOGUE: [&str; 2] = ["catalogue.answered", "catalogue.stored"];
const COPIES: [&str; 6] = [
    "backup.copied",
    "backup.named",
    "restore.copied",
    "restore.marking",
    "restore.marked",
    "restore.kept",
];
const COMPACT: [&str; 2] = ["compact.part", "compact.part:2"];
const KEYS: [&str; 4] = ["keys.adopted", "keys.resealed_part", "keys.resealed", "keys.complete"];

#[test]
fn every_point_of_the_code_is_in_the_table_once_and_is_died_at() {
    let mut found: Vec<String> = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    let mut named: Vec<&str> = POINTS.iter().map(|(name, _)| *name).collect();
    named.sort_unstable();
    assert_eq!(found, named);
    let died: BTreeSet<&str> = [
        &SERVICE[..],
        &UPKEEP,
        &DROPS,
        &TAKE_OVER,
        &BOOKS,
        &CATALOGUE,
        &["resync.opened"],
        &COPIES,
        &COMPACT,
        &KEYS,
        // In the story of a mapping's switch.
        &["mapping.applying", "mapping.applied"],
    ]
    .concat()
    .into_iter()
    .map(|point| point.split(':').next().expect("a name"))
    .collect();
    assert_eq!(died.into_iter().collect::<Vec<_>>(), named);
}

/// Names in `sabotage::point("…")`.
fn collect(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            let text = std::fs::read_to_string(&path).expect("a source");
            let names = text.split("sabotage::point(\"").skip(1);
            found.extend(names.map(|rest| rest.split('"').next().expect("a name").to_owned()));
        }
    }
}

async fn died(mut process: Process, point: &str) {
    let status = process.ended_or(point).await;
    // SIGABRT; any other end means that the point was not reached.
    assert_eq!(status.signal(), Some(6), "{point}: {status}\n{}", process.log());
}

async fn open(seed: u64) -> (Site, Witness) {
    open_of(province(14, seed), seed).await
}

async fn open_of(province: ProvinceOptions, seed: u64) -> (Site, Witness) {
    let site = Site::open(province, portal(seed), HASTY).await;
    let mut witness = Witness::default();
    witness.note(&site);
    (site, witness)
}

/// Serves without faults until everything is delivered, and looks at the whole.
async fn bring_to_an_end(site: &mut Site, witness: &Witness) {
    site.portal.set_faults(Faults::default());
    let mut process = site.serve();
    site.until_delivered().await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    witness.assert_true(site).await;
}

async fn must(site: &Site, arguments: &[&str]) {
    let (success, out, err) = site.run(arguments).await;
    assert!(success, "{arguments:?}: {out}\n{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_may_die_between_any_two_effects() {
    let feed = tokio::spawn(service());
    let drops = tokio::spawn(drops());
    feed.await.expect("no finding");
    drops.await.expect("no finding");
}

async fn service() {
    let (mut site, mut witness) = open(7).await;
    for point in SERVICE.into_iter().chain(UPKEEP) {
        witness.stir(&site, 2);
        site.province.add(1);
        witness.note(&site);
        match point {
            "read_back.claimed" | "read_back.answered" | "read_back.settled" => {
                let lost = ScriptedFault::next(Fault::ApplyThenDrop).of_service("DongBoHoSoMC");
                site.portal.inject(lost);
            }
            "mended.asking" => {
                let code = site.province.evolve_any().expect("a dossier");
                witness.note(&site);
                let rule = MisbehaviourRule::until_cleared(Misbehaviour::MismatchedTag);
                site.province.misbehave(rule.of_dossier(&code));
                // Something behind it can be read.
                site.province.add(1);
                witness.note(&site);
                must(&site, &["run", "pull"]).await;
                ten_minutes_pass(&site).await;
            }
            _ => {}
        }
        let calls = site.portal.state().calls;
        let process = site.serve_dying(&["serve"], point);
        if point == "gate.settled" {
            site.until("it sends", |site| site.portal.state().calls > calls).await;
            process.terminate();
        }
        died(process, point).await;
        site.province.clear_misbehaviour();
        witness.assert_true(&site).await;
    }
    bring_to_an_end(&mut site, &witness).await;
    witness.assert_whole(&mut site).await;
    site.close().await;
}

/// Since the last question for what could not be read.
async fn ten_minutes_pass(site: &Site) {
    let file = SqliteConnectOptions::new().filename(site.folder().join("ledger.db"));
    let mut ledger = file.connect().await.expect("a ledger");
    let earlier = sqlx::raw_sql("UPDATE refused_document SET asked_at = asked_at - 600000");
    let rows = earlier.execute(&mut ledger).await.expect("a change").rows_affected();
    assert!(rows > 0, "nothing was unreadable");
    ledger.close().await.expect("closed");
}

async fn drops() {
    let source = "kind = \"directory\"\npath = \"drop\"\nsettle_ms = 100";
    let mut site = Site::open_with(province(10, 11), portal(11), Some(source), HASTY).await;
    let folder = site.folder().join("drop");
    let mut witness = Witness::default();
    witness.note(&site);
    for point in DROPS {
        witness.stir(&site, 2);
        site.province.drop_files(&folder).await.expect("files");
        if point == "drop.noted" {
            // Of a file that is taken in part, a note says what was not.
            let page = "<DanhSachHoSo><HoSo><MaHoSo></MaHoSo></HoSo></DanhSachHoSo>";
            std::fs::write(folder.join("zz.xml"), page).expect("a file");
        }
        let process = site.serve_dying(&["serve"], point);
        died(process, point).await;
        witness.assert_true(&site).await;
    }
    bring_to_an_end(&mut site, &witness).await;
    let left = std::fs::read_dir(&folder).expect("the folder").filter(|entry| {
        entry.as_ref().expect("an entry").path().extension().is_some_and(|kind| kind == "xml")
    });
    assert_eq!(left.count(), 0, "a file that was not put away");
    witness.assert_whole(&mut site).await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_died_between_any_two_effects_comes_to_its_end_when_it_is_typed_again() {
    let take_over = tokio::spawn(take_over());
    let books = tokio::spawn(books());
    let copies = tokio::spawn(copies());
    take_over.await.expect("no finding");
    books.await.expect("no finding");
    copies.await.expect("no finding");
}

async fn take_over() {
    // A dossier that cannot be mapped cannot be asked about either, and the command says so with its
    // exit code. Which dossiers are spoiled depends on the day, so none may be.
    let mut sound = province(14, 13);
    sound.population.invalid_share = 0.0;
    let (mut site, mut witness) = open_of(sound, 13).await;
    let account = PortalOptions::default();
    let options = OlderSyncOptions {
        province: site.province.url(),
        portal: site.portal.url(),
        username: account.username,
        password: account.password,
        dstcode: account.dstcode.expect("an address"),
        left_out: 0.2,
        stale: 0.0,
        seed: 13,
    };
    site.portal.set_faults(Faults::default());
    let http = ReqwestHttp::new(Duration::from_secs(5), 4).expect("a client");
    let older =
        older_sync::run(&options, &http, &SystemClock::new()).await.expect("an older program");
    site.set_source(&format!("start_from = \"{}\"", older.until));
    for point in TAKE_OVER {
        let command: &[&str] = match point {
            "pull.cut_over" => &["run", "pull"],
            "adopt.asked_all" => &["adopt", "--budget", "1000"],
            _ => &["adopt", "--budget", "3"],
        };
        died(site.serve_dying(command, point), point).await;
        if point == "pull.cut_over" {
            must(&site, &["run", "pull"]).await;
            must(&site, &["run", "map"]).await;
        }
    }
    must(&site, &["adopt", "--budget", "1000"]).await;
    witness.stir(&site, 3);
    bring_to_an_end(&mut site, &witness).await;
    let comparison = site.comparison();
    assert!(comparison.is_clean(), "{comparison:?}");
    assert_eq!(site.portal.state().duplicated_steps, 0, "no step of the older program's again");
    site.close().await;
}

async fn books() {
    let (mut site, mut witness) = open(17).await;
    bring_to_an_end(&mut site, &witness).await;
    let mut codes: Vec<String> =
        site.portal.records().into_iter().map(|record| record.code).collect();
    for point in BOOKS {
        assert!(site.portal.forget(&codes.pop().expect("a record")));
        // Missed once is not believed.
        site.run(&["run", "reconcile"]).await;
        died(site.serve_dying(&["run", "reconcile"], point), point).await;
        let (_, books, err) = site.run(&["run", "reconcile", "--json"]).await;
        let books: serde_json::Value =
            serde_json::from_str(&books).unwrap_or_else(|_| panic!("{point}: {err}"));
        assert_eq!(books["books"][0]["closed"], true, "{point}: {books}");
    }
    for point in CATALOGUE {
        let refresh = ["catalogue", "refresh", "fields"];
        died(site.serve_dying(&refresh, point), point).await;
        must(&site, &refresh).await;
    }
    let why = ["--reason", "asked for", "--actor", "a test"];
    let both = [&["resync", "--code", &codes[0], "--code", &codes[1]][..], &why].concat();
    died(site.serve_dying(&both, "resync.opened"), "resync.opened").await;
    must(&site, &both).await;
    witness.stir(&site, 2);
    bring_to_an_end(&mut site, &witness).await;
    witness.assert_whole(&mut site).await;
    site.close().await;
}

async fn copies() {
    let (mut site, mut witness) = open(19).await;
    bring_to_an_end(&mut site, &witness).await;
    site.let_go_of_the_ledger().await;
    let folder = site.folder().to_owned();
    let file = |name: &str| folder.join(name).to_str().expect("a plain path").to_owned();
    let (backup, again, newer) = (file("backup.db"), file("again.db"), file("newer.db"));
    let key = file("ledger.key");

    died(site.serve_dying(&["ledger", "backup", &backup], COPIES[0]), COPIES[0]).await;
    assert!(!Path::new(&backup).exists(), "half a copy has the name of a whole one");
    let (_, _, err) = site.run(&["ledger", "backup", &backup]).await;
    assert!(err.contains("left from a copy that was cut short") && err.contains("hint:"), "{err}");
    std::fs::remove_file(file("backup.db.part")).expect("what was left");
    died(site.serve_dying(&["ledger", "backup", &backup], COPIES[1]), COPIES[1]).await;
    must(&site, &["ledger", "verify", &backup]).await;
    must(&site, &["ledger", "backup", &again]).await;
    must(&site, &["ledger", "verify", &again]).await;

    // A day that the backup knows nothing of.
    witness.stir(&site, 4);
    site.province.add(1);
    witness.note(&site);
    bring_to_an_end(&mut site, &witness).await;
    site.let_go_of_the_ledger().await;
    let why = ["--replace", "--reason", "a disk failed"];
    let restore = |file| [&["ledger", "restore", file][..], &why].concat();
    must(&site, &["ledger", "backup", &newer]).await;
    for point in &COPIES[2..] {
        died(site.serve_dying(&restore(&newer), point), point).await;
        // Whichever of the two it is, there is a ledger, and it is sound; also when another backup is
        // taken than the one at which it died.
        must(&site, &["ledger", "check"]).await;
        must(&site, &restore(&again)).await;
        must(&site, &["ledger", "check"]).await;
    }

    for point in COMPACT {
        died(site.serve_dying(&["ledger", "compact"], point), point).await;
        must(&site, &["ledger", "check"]).await;
    }
    must(&site, &["ledger", "compact"]).await;

    must(&site, &["ledger", "new-key", &key]).await;
    site.rewrite("path = \"ledger.db\"", "path = \"ledger.db\"\nkey_file = \"ledger.key\"");
    let rotate = ["ledger", "rotate-key", "--reason", "a new key"];
    for point in KEYS {
        died(site.serve_dying(&rotate, point), point).await;
        must(&site, &["ledger", "check"]).await;
    }
    must(&site, &rotate).await;

    bring_to_an_end(&mut site, &witness).await;
    let comparison = site.comparison();
    assert!(comparison.missing.is_empty() && comparison.different.is_empty(), "{comparison:?}");
    site.close().await;
}
