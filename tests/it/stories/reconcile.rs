//! Runs of the reconciliation: causes, samples, books by day, agency and procedure, reports, repairs,
//! and the slow scan behind the cursor.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hoso_gateway::domain::cause::Cause;
use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{PortalOptions, ReadBack, Service};
use hoso_gateway::lab::province::{Misbehaviour, MisbehaviourRule, ProvinceOptions};
use hoso_gateway::ledger::reconcile::{
    BookRow, Chosen, LineFilter, ReconcileLine, ReconcileRun, RowKind, RunOrder,
};
use hoso_gateway::mapping::{Mapping, Settings as MappingSettings};
use hoso_gateway::pipeline::reconcile::rolling::scan_once;
use hoso_gateway::pipeline::reconcile::{Ends, open, reconcile_once, work_on_run};

use crate::support::binary::Site;
use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;
use crate::support::workbook::{Data, Opened};

fn code(serial: u32) -> String {
    format!("H55.242-260126-{serial:04}")
}

fn papers(count: u32) -> Vec<Paper> {
    (1..=count).map(|serial| Paper::of(&code(serial))).collect()
}

/// A portal that shows fields, and nothing that repairs by itself.
fn story() -> Story {
    let mut story = Story::of(0).set("reconcile", "repair", "[]");
    story.portal.read_back = ReadBack::Echo;
    story
}

/// A run that somebody asks for, worked on to its end.
async fn ran(gateway: &TestGateway, order: RunOrder) -> ReconcileRun {
    let source = &gateway.sources[0];
    let order = RunOrder { source: source.source.name().to_owned(), ..order };
    let run = open(&gateway.context, &order, None).await.expect("a run");
    assert_eq!(run.order, order);
    let ends = Ends { source, portal: Some(&gateway.line), mapping: Some(&gateway.mapping) };
    work_on_run(&gateway.context, ends, run.id, &gateway.stop, |_| {}).await.expect("an end");
    let run = gateway.context.ledger.reconcile_run(run.id).await.expect("a run");
    run.expect("the run that was just made")
}

async fn lines(gateway: &TestGateway, run: i64) -> Vec<ReconcileLine> {
    let filter = LineFilter::default();
    gateway.context.ledger.lines(run, &filter, "", 1000).await.expect("lines")
}

fn causes(lines: &[ReconcileLine]) -> Vec<(&str, Option<Cause>)> {
    lines.iter().map(|line| (&*line.ma_ho_so, line.cause)).collect()
}

#[tokio::test]
async fn each_difference_has_its_cause_and_the_books_close_by_day_agency_and_procedure() {
    let gateway = story()
        .start_with(&[papers(6), vec![Paper::of(&code(7)).with("TrangThaiHoSo", "77")]].concat())
        .await;
    gateway.settle().await;
    // Changed at the portal, lost there, written otherwise only; one never came, one is refused.
    assert!(gateway.portal.change(&code(1), &[("NgayHenTra", "20260131170000")]));
    assert!(gateway.portal.forget(&code(2)));
    assert!(gateway.portal.change(&code(3), &[("NgayHenTra", "2026-01-27T17:00:00+07:00")]));
    // The portal goes back to what it was told before: the last update is lost there.
    gateway.put(&Paper::of(&code(4)).version(2).with("TrangThaiHoSo", "2"));
    gateway.settle().await;
    assert!(gateway.portal.change(&code(4), &[("TrangThaiHoSo", "4")]));
    gateway.put(&Paper::of(&code(8)));
    let run = ran(&gateway, RunOrder::default()).await;
    let lines = lines(&gateway, run.id).await;
    let named: Vec<(String, Option<Cause>)> = vec![
        (code(1), Some(Cause::ChangedAtPortal)),
        (code(2), Some(Cause::Lost)),
        (code(3), Some(Cause::FormattingOnly)),
        (code(4), Some(Cause::Lost)),
        (code(7), Some(Cause::RefusedHere)),
        (code(8), Some(Cause::NotReceived)),
    ];
    let named: Vec<_> = named.iter().map(|(code, cause)| (&**code, *cause)).collect();
    assert_eq!(causes(&lines), named);
    let changed = &lines[0].differences[0];
    assert_eq!(changed.path, "NgayHenTra");
    assert_eq!(changed.told.as_deref(), Some("20260127170000"));
    assert_eq!(changed.shown.as_deref(), Some("20260131170000"));
    let books = run.books.expect("books");
    assert!(books.closed, "{books:#?}");
    // What is only written otherwise is matched.
    assert_eq!((books.at_source, books.matched, books.different), (8, 3, 2));
    assert_eq!((books.missing, books.quarantined, books.open), (1, 1, 1));
    assert_eq!((books.explained, books.unmatched()), (5, 5));
    let sample = books.sample.expect("a full look");
    assert_eq!((sample.population, sample.asked, sample.differing), (6, 6, 3));
    assert_eq!(sample.fewer_than, 4, "everything was asked: exactly three differ");
    for kind in RowKind::ALL {
        let rows = gateway.context.ledger.book_rows(run.id, kind).await.unwrap();
        assert!(rows.iter().all(BookRow::is_closed), "{rows:?}");
        assert_eq!(rows.iter().map(|row| row.at_source).sum::<u64>(), 8);
        assert_eq!(rows.iter().map(|row| row.matched).sum::<u64>(), 3);
    }
    gateway.end().await;
}

#[tokio::test]
async fn a_sample_says_what_it_proves_and_where_much_differs_all_is_asked() {
    let gateway = story().start_with(&papers(40)).await;
    gateway.settle().await;
    let sampled = |sample| RunOrder { sample: Some(sample), ..RunOrder::default() };
    let run = ran(&gateway, sampled(10)).await;
    let sample = run.books.expect("books").sample.expect("a sample");
    assert_eq!((sample.population, sample.asked, sample.differing), (40, 10, 0));
    // C(40-m, 10) / C(40, 10) is 0.0525 for nine differing and 0.0356 for ten.
    assert_eq!(sample.fewer_than, 10);
    let asked = gateway.calls(Service::LookUp).len();
    assert_eq!(asked, 10);
    // Half of the agency is changed at the portal: a sample would only say how much.
    for serial in 1..=20 {
        assert!(gateway.portal.change(&code(serial), &[("NgayHenTra", "20260131170000")]));
    }
    let run = ran(&gateway, sampled(20)).await;
    assert_eq!(run.widened, ["H55"]);
    let books = run.books.expect("books");
    assert_eq!((books.different, books.matched), (20, 20));
    assert_eq!(run.asked, 40);
    gateway.end().await;
}

#[tokio::test]
async fn a_budget_is_kept_and_a_part_is_compared_alone() {
    let gateway = story().start_with(&papers(9)).await;
    gateway.settle().await;
    assert!(gateway.portal.forget(&code(5)));
    let run = ran(&gateway, RunOrder { budget: Some(4), ..RunOrder::default() }).await;
    assert_eq!((run.spent, gateway.calls(Service::LookUp).len()), (4, 4));
    let books = run.books.expect("books");
    assert!(books.remark.contains("the budget of 4 look-ups was spent"), "{}", books.remark);
    let chosen = Chosen { codes: vec![code(5), code(6)], ..Chosen::default() };
    let run = ran(&gateway, RunOrder { chosen, ..RunOrder::default() }).await;
    let books = run.books.expect("books");
    assert_eq!((books.at_source, books.missing, books.matched, books.closed), (2, 1, 1, true));
    // The books of a part never stand for the source.
    assert!(gateway.standing().await.last_books.is_empty());
    let elsewhere = Chosen { agencies: vec!["H99".to_owned()], ..Chosen::default() };
    let run = ran(&gateway, RunOrder { chosen: elsewhere, ..RunOrder::default() }).await;
    assert_eq!(run.books.expect("books").at_source, 0);
    gateway.end().await;
}

#[tokio::test]
async fn a_mapping_that_makes_another_value_of_the_same_document_is_named_as_the_cause() {
    let gateway = story().start_with(&papers(2)).await;
    gateway.settle().await;
    let other = other_mapping();
    let source = &gateway.sources[0];
    let order = RunOrder { source: source.source.name().to_owned(), ..RunOrder::default() };
    let run = open(&gateway.context, &order, None).await.unwrap();
    let ends = Ends { source, portal: Some(&gateway.line), mapping: Some(&other) };
    let books = work_on_run(&gateway.context, ends, run.id, &gateway.stop, |_| {}).await.unwrap();
    let books = books.expect("books");
    assert_eq!((books.matched, books.causes.get("mapping_changed")), (2, Some(&2)), "{books:#?}");
    let found = lines(&gateway, run.id).await;
    assert!(found[0].differences.iter().all(|one| one.path == "TenTTHC"), "{found:#?}");
    gateway.end().await;
}

#[tokio::test]
async fn a_deletion_is_one_discrepancy_and_not_two() {
    let gateway = Story::of(2).set("reconcile", "repair", "[]").start().await;
    gateway.settle().await;
    let gone = gateway.province.expected()[0].code.clone();
    gateway.province.delete(&gone).expect("a dossier");
    // The index forgets it before the feed has told.
    assert_eq!(gateway.reconcile().await.extra, 1);
    let open = async || gateway.standing().await.open_discrepancies;
    assert_eq!(open().await.get("extra"), Some(&1));
    gateway.settle().await;
    assert_eq!(open().await.get("deleted_at_source"), Some(&1));
    assert_eq!(gateway.reconcile().await.extra, 0);
    assert_eq!(open().await.get("extra"), None);
    assert_eq!(open().await.get("deleted_at_source"), Some(&1));
    gateway.end().await;
}

#[tokio::test]
async fn steps_that_wait_or_came_out_of_order_are_named() {
    let gateway = story()
        .start_with(&[
            Paper::of(&code(1)),
            Paper::of(&code(2)).steps(&[("20260126083000", "2"), ("20260126090000", "4")]),
        ])
        .await;
    gateway.settle().await;
    gateway.advance(Duration::from_mins(1)).await;
    // The source adds an earlier step when the later one is with the portal already.
    let late = [("20260126080000", "2"), ("20260126083000", "4")];
    gateway.put(&Paper::of(&code(1)).version(2).steps(&late));
    gateway.settle().await;
    assert_eq!(gateway.step_states(&code(1)).await, ["acked", "acked"]);
    let run = ran(&gateway, RunOrder::default()).await;
    let found = lines(&gateway, run.id).await;
    assert_eq!(causes(&found), [(&*code(1), Some(Cause::StepOrder))]);
    assert_eq!(run.books.expect("books").matched, 2);
    gateway.end().await;
}

#[tokio::test]
async fn the_slow_scan_finds_what_the_cursor_missed_pulls_it_and_keeps_the_evidence() {
    let gateway = Story::of(30)
        .set("source", "overlap_ms", "0")
        .set("reconcile", "rolling_page", "7")
        .start()
        .await;
    let late = Misbehaviour::LateCommit { behind_ms: 60_000 };
    gateway.province.misbehave(MisbehaviourRule::once(late));
    gateway.settle().await;
    gateway.advance(Duration::from_mins(10)).await;
    gateway.pull().await.expect("a poll");
    assert_eq!(gateway.map().await.mapped, 0, "the feed never gives it");
    let (mut seen, mut missed, mut pulled) = (0, 0, 0);
    loop {
        let page = scan_once(&gateway.context, &gateway.sources[0]).await.expect("a page");
        seen += page.seen;
        missed += page.missed;
        pulled += page.pulled;
        if page.round_ended {
            break;
        }
    }
    assert_eq!((seen, missed, pulled), (30, 1, 1));
    gateway.settle().await;
    gateway.assert_delivered();
    let kept = gateway.context.ledger.rolling_scans().await.unwrap().remove(0);
    assert_eq!((kept.last_seen, kept.last_missed, kept.missed_in_all), (Some(30), Some(1), 1));
    assert_eq!(gateway.standing().await.open_discrepancies.get("behind"), Some(&1));
    // The next books see that it came, and no second discrepancy stands beside the first.
    assert_eq!(gateway.reconcile().await.matched, 30);
    assert!(gateway.standing().await.open_discrepancies.is_empty());
    gateway.end().await;
}

#[tokio::test]
async fn a_pass_without_the_portal_keeps_its_run_to_itself() {
    let gateway = story().start_with(&papers(3)).await;
    gateway.settle().await;
    let source = &gateway.sources[0];
    let ended = hoso_gateway::pipeline::Stop::new();
    ended.cancel();
    let stopped = reconcile_once(&gateway.context, source, None, &ended).await.unwrap();
    assert!(stopped.remark.starts_with("stopped"), "{}", stopped.remark);
    // Who owns the gate does not touch it, and says so.
    assert_eq!(gateway.try_reconcile().await.unwrap_err().code, "reconcile.under_way");
    gateway.advance(Duration::from_mins(11)).await;
    assert_eq!(gateway.reconcile().await.matched, 3, "nobody works on it any more");
    gateway.end().await;
}

/// Today's mapping, but that a procedure is called by its field of work.
fn other_mapping() -> Arc<Mapping> {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = |from: &str, to: &str| {
        let to = folder.path().join(to);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::copy(Path::new("mappings").join(from), to).expect("a file");
    };
    for entry in std::fs::read_dir("mappings/codelists").expect("the lists") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        copy(&format!("codelists/{name}"), &format!("codelists/{name}"));
    }
    let text = std::fs::read_to_string("mappings/feed/mapping.toml").expect("the mapping");
    let changed = text.replace("{ from = \"TenTTHC\"", "{ from = \"TenLinhVuc\"");
    assert_ne!(changed, text);
    let feed = folder.path().join("feed");
    std::fs::create_dir_all(&feed).expect("a folder");
    std::fs::write(feed.join("mapping.toml"), changed).expect("a file");
    let settings = MappingSettings {
        province_codes: vec!["H55".to_owned(), "H03".to_owned()],
        ..MappingSettings::default()
    };
    Arc::new(Mapping::load(&feed, &settings).expect("a mapping"))
}

// --- through the program ---

fn province(dossiers: u32) -> ProvinceOptions {
    ProvinceOptions {
        population: PopulationOptions {
            dossiers,
            invalid_share: 0.0,
            ministry_share: 0.0,
            ..PopulationOptions::default()
        },
        ..ProvinceOptions::default()
    }
}

async fn site(dossiers: u32) -> Site {
    let portal = PortalOptions { read_back: ReadBack::Echo, ..PortalOptions::default() };
    let mut site = Site::open(province(dossiers), portal, "").await;
    site.rewrite(
        "unconfirmed_every_ms = 100",
        "unconfirmed_every_ms = 100\nrepair = []\nsettle_ms = 0",
    );
    let mut service = site.serve();
    site.until_delivered().await;
    service.terminate();
    service.ended().await;
    site
}

#[tokio::test]
async fn a_run_is_asked_for_read_reported_and_repaired_through_the_program() {
    let mut site = site(12).await;
    let codes: Vec<String> = site.portal.records().into_iter().map(|record| record.code).collect();
    let changed = [("NgayHenTra", "20991231170000")];
    assert!(site.portal.change(&codes[0], &changed));
    assert!(site.portal.forget(&codes[1]));
    let (ok, out, err) = site.run(&["reconcile", "run", "--full", "--reason", "a test"]).await;
    assert!(ok, "{err}");
    assert!(out.contains("books closed"), "{out}");
    assert!(out.contains("changed at the portal"), "{out}");
    assert!(out.contains("all 12 without an open suspicion were looked up: 2 differ"), "{out}");
    assert!(out.contains("explained: 100 % of the 2"), "{out}");
    let (ok, out, _) = site.run(&["reconcile", "list"]).await;
    assert!(ok && out.contains("closed") && out.contains("full"), "{out}");
    let (ok, out, _) = site.run(&["reconcile", "show", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(ok && shown["run"]["phase"] == "ended", "{out}");
    for by in ["day", "agency", "procedure"] {
        let (ok, out, _) = site.run(&["reconcile", "books", "--by", by]).await;
        assert!(ok && out.contains("all") && !out.contains("DOES NOT CLOSE"), "{out}");
    }
    // The trend is of daily books.
    let (ok, _, err) = site.run(&["run", "reconcile"]).await;
    assert!(ok, "{err}");
    let (ok, out, _) = site.run(&["reconcile", "trend", "--json"]).await;
    let trend: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(ok && trend[0]["books"][0]["at_source"] == 12, "{out}");

    reports(&site, &codes).await;

    let why = ["--reason", "the portal was restored"];
    let dry = [&["reconcile", "repair", "different", "lost", "--dry-run"][..], &why].concat();
    let (ok, out, err) = site.run(&dry).await;
    assert!(ok && out.contains("2 dossiers"), "{out}{err}");
    let (ok, _, err) = site.run(&[&["reconcile", "repair", "matched"][..], &why].concat()).await;
    assert!(!ok && err.contains("no bucket or cause that sending again can mend"), "{err}");
    let repair = [&["reconcile", "repair", "different", "lost"][..], &why].concat();
    let (ok, out, err) = site.run(&repair).await;
    assert!(ok && out.contains("2 dossiers"), "{out}{err}");
    let mut service = site.serve();
    site.until_delivered().await;
    service.terminate();
    service.ended().await;
    let (ok, out, err) = site.run(&["reconcile", "run", "--full"]).await;
    assert!(ok && out.contains("read back            12"), "{out}{err}");
    // The lost one was suspected, and so was asked about without being drawn.
    assert!(out.contains("all 11 without an open suspicion were looked up: 0 differ"), "{out}");
    site.close().await;
}

async fn reports(site: &Site, codes: &[String]) {
    let at = |name: &str| site.folder().join(name);
    let written = async |name: &str, more: &[&str]| {
        let path = at(name);
        let path = path.to_str().expect("a plain path");
        site.run(&[&["reconcile", "report", "1", "--out", path][..], more].concat()).await
    };
    for name in ["r.csv", "r.json", "r.html", "r.xlsx", "r.txt"] {
        let (ok, _, err) = written(name, &[]).await;
        assert!(ok, "{name}: {err}");
    }
    let csv = std::fs::read_to_string(at("r.csv")).expect("a file");
    assert!(csv.starts_with("\u{feff}Mã hồ sơ,Ngày tiếp nhận,Cơ quan,"), "{csv}");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(at("r.json")).expect("a file")).expect("JSON");
    assert_eq!(json["dossiers"].as_array().map(Vec::len), Some(2));
    let html = std::fs::read_to_string(at("r.html")).expect("a file");
    for wanted in ["@media print", "lang=\"vi\"", "Bị thay đổi trên Cổng", "Cổng làm mất"]
    {
        assert!(html.contains(wanted), "{wanted}");
    }
    assert!(!html.contains("http"), "nothing from elsewhere");

    let path = at("r.xlsx");
    let book = Opened::read(&path);
    assert_eq!(book.names(), ["Tổng hợp", "Theo ngày", "Theo cơ quan", "Theo thủ tục", "Hồ sơ"]);
    assert!(book.all_frozen());
    let dossiers = book.rows("Hồ sơ");
    assert_eq!(dossiers[0][0], Data::Text("Mã hồ sơ".to_owned()));
    let mut listed: Vec<String> = dossiers[1..].iter().map(|row| row[0].text()).collect();
    listed.sort();
    let mut wanted = codes[..2].to_vec();
    wanted.sort();
    assert_eq!(listed, wanted);
    assert!(matches!(dossiers[1][1], Data::Date(_)), "a real date: {:?}", dossiers[1]);
    let days = book.rows("Theo ngày");
    assert!(matches!(days[1][0], Data::Date(_)), "{:?}", days[1]);
    let sum: f64 = days[1..days.len() - 1]
        .iter()
        .map(|row| match row[1] {
            Data::Number(number) => number,
            ref other => panic!("a number: {other:?}"),
        })
        .sum();
    assert_eq!(days[days.len() - 1][1], Data::Number(sum), "the last row adds up");
    assert!((sum - 12.0).abs() < f64::EPSILON);

    // Names are initials unless somebody says why not, and that stays.
    let owner = dossiers[1][4].text();
    assert!(owner.split(' ').all(|word| word.ends_with('.')), "{owner}");
    let (ok, _, err) = written("names.csv", &["--unmask"]).await;
    assert!(!ok && err.contains("--reason"), "{err}");
    let (ok, _, err) = written("names.csv", &["--unmask", "--reason", "a complaint"]).await;
    assert!(ok, "{err}");
    let names = std::fs::read_to_string(at("names.csv")).expect("a file");
    assert!(!names.contains(&owner), "{names}");
    let (ok, out, _) = site.run(&["audit", "list", "--json"]).await;
    assert!(
        ok && out.contains("reconcile report --unmask") && out.contains("a complaint"),
        "{out}"
    );

    // What cannot be written leaves nothing behind, and the old report as it was.
    let (ok, _, err) = written("nowhere/r.csv", &[]).await;
    assert!(!ok && err.contains("cannot be written"), "{err}");
    std::fs::create_dir(at("taken.csv")).expect("a folder");
    let (ok, _, err) = written("taken.csv", &[]).await;
    assert!(!ok && err.contains("nothing was left half-written"), "{err}");
    let parts = std::fs::read_dir(site.folder()).expect("a folder").filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().contains(".part")
    });
    assert_eq!(parts.count(), 0);
}

#[tokio::test]
async fn a_run_that_was_killed_goes_on_where_it_was_and_asks_nobody_twice() {
    let mut site = site(10).await;
    let run = ["reconcile", "run", "--full"];
    let before = look_ups(&site);
    let mut process = site.serve_dying(&run, "reconcile.looked_up");
    process.ended().await;
    assert_eq!(look_ups(&site) - before, 10, "the answers were written before it died");
    // Another question must wait; the same one goes on.
    let (ok, _, err) = site.run(&["reconcile", "run", "--sample", "3"]).await;
    assert!(!ok && err.contains("reconcile.under_way"), "{err}");
    let (ok, out, err) = site.run(&run).await;
    assert!(
        ok && out.contains("all 10 without an open suspicion were looked up: 0 differ"),
        "{out}{err}"
    );
    assert_eq!(look_ups(&site) - before, 10);
    site.close().await;
}

fn look_ups(site: &Site) -> usize {
    site.portal.calls(None).iter().filter(|call| call.service == Service::LookUp).count()
}
