//! A source that drops files into a folder.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::PortalOptions;
use hoso_gateway::lab::province::ProvinceOptions;
use hoso_gateway::ledger::view::ProblemFilter;

use crate::support::binary::Site;
use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;

const SETTLED: Duration = Duration::from_secs(4);

fn story(dossiers: u32) -> Story {
    Story::of(dossiers)
        .set("source", "kind", "\"directory\"")
        .set("source", "path", "\"drop\"")
        .set("source", "settle_ms", "3000")
        .set("source", "unfinished_ms", "60000")
}

async fn start() -> TestGateway {
    let gateway = story(0).start().await;
    std::fs::create_dir(gateway.folder().join("drop")).unwrap();
    gateway
}

fn code(serial: u32) -> String {
    format!("H55.242-260126-{serial:04}")
}

fn page(papers: &[Paper]) -> String {
    let items: Vec<&str> = papers.iter().map(Paper::xml).collect();
    format!("<DanhSachHoSo maDonVi=\"000.00.00.H55\">{}</DanhSachHoSo>", items.join("\n"))
}

fn drop_file(gateway: &TestGateway, name: impl AsRef<OsStr>, text: &str) -> PathBuf {
    let path = gateway.folder().join("drop").join(name.as_ref());
    std::fs::write(&path, text).unwrap();
    path
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

fn put_away(gateway: &TestGateway, folder: &str) -> Vec<OsString> {
    names(&gateway.folder().join("drop").join(folder))
}

fn note(gateway: &TestGateway, name: &str) -> serde_json::Value {
    let text = std::fs::read(gateway.folder().join("drop").join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Two looks with the settle time between them.
async fn pull_settled(gateway: &TestGateway) -> hoso_gateway::pipeline::pull::PullReport {
    gateway.pull().await.unwrap();
    gateway.advance(SETTLED).await;
    gateway.pull().await.unwrap()
}

#[tokio::test]
async fn a_province_that_drops_files_is_delivered_like_one_that_answers() {
    let gateway = story(230).start().await;
    let folder = gateway.folder().join("drop");
    assert_eq!(gateway.province.drop_files(&folder).await.unwrap(), 3);
    gateway.settle().await;
    gateway.assert_delivered();
    for _ in 0..5 {
        gateway.province.evolve_any().unwrap();
    }
    gateway.province.drop_files(&folder).await.unwrap();
    gateway.settle().await;
    gateway.assert_delivered();
    assert_eq!(put_away(&gateway, "done").len(), 4);
    assert_eq!(names(&folder), ["done", "rejected"]);
    gateway.end().await;
}

#[tokio::test]
async fn a_single_dossier_is_a_document_too_and_files_are_taken_by_name() {
    let gateway = start().await;
    // The later word has the later name, and came to the folder first.
    drop_file(&gateway, "2.xml", Paper::of(&code(1)).with("GhiChu", "sau").xml());
    drop_file(&gateway, "1.xml", Paper::of(&code(1)).with("GhiChu", "trước").xml());
    let report = pull_settled(&gateway).await;
    assert_eq!((report.pages, report.new, report.caught_up), (2, 2, true));
    gateway.settle().await;
    let dossier = gateway.dossier(&code(1)).await;
    let packets = gateway.context.ledger.acked_packets(&[dossier.dossier_id]).await.unwrap();
    assert!(packets[0].1.contains("\"GhiChu\":\"sau\""));
    gateway.end().await;
}

#[tokio::test]
async fn a_file_that_grows_is_left_alone_and_holds_up_nobody() {
    let gateway = start().await;
    let whole = page(&[Paper::of(&code(1)), Paper::of(&code(2))]);
    let path = drop_file(&gateway, "1.xml", &whole[..whole.len() / 3]);
    drop_file(&gateway, "2.xml", &page(&[Paper::of(&code(3))]));
    gateway.pull().await.unwrap();
    gateway.advance(SETTLED).await;
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.too_young, report.caught_up), (1, 1, false));

    // It rests half-written: perhaps it goes on, so it is not refused yet.
    gateway.advance(SETTLED).await;
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.refused, report.too_young), (0, 0, 1));
    std::fs::write(&path, &whole).unwrap();
    let report = pull_settled(&gateway).await;
    assert_eq!((report.new, report.caught_up), (2, true));
    assert_eq!(put_away(&gateway, "done"), ["1.xml", "2.xml"]);
    gateway.end().await;
}

#[tokio::test]
async fn a_file_that_stays_half_written_is_rejected_with_its_reason_until_a_whole_one_comes() {
    let gateway = start().await;
    let whole = page(&[Paper::of(&code(1))]);
    drop_file(&gateway, "a.xml", &whole[..whole.len() - 20]);
    pull_settled(&gateway).await;
    gateway.advance(Duration::from_mins(1)).await;
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.refused), (0, 1));
    assert_eq!(put_away(&gateway, "rejected"), ["a.xml", "a.xml.reason.json"]);
    let reason = note(&gateway, "rejected/a.xml.reason.json");
    assert_eq!(reason["verdict"], "rejected");
    assert_eq!(reason["refused"][0]["rule"], "source.truncated");
    let text = reason.to_string();
    assert!(!text.contains("Nguyễn") && !text.contains("999000000001"), "{text}");
    let problems = gateway.context.ledger.problems(&ProblemFilter::default()).await.unwrap();
    assert!(problems[0].summary.contains("a.xml"), "{problems:?}");

    drop_file(&gateway, "a.xml", &whole);
    assert_eq!(pull_settled(&gateway).await.new, 1);
    assert_eq!(gateway.standing().await.refused_documents, 0);
    gateway.end().await;
}

#[tokio::test]
async fn what_is_no_document_at_all_or_too_large_is_rejected() {
    let gateway = story(0)
        .set("source", "page_bytes_max", "20000")
        .set("source", "item_bytes_max", "20000")
        .start()
        .await;
    std::fs::create_dir(gateway.folder().join("drop")).unwrap();
    drop_file(&gateway, "empty.xml", "");
    drop_file(&gateway, "html.xml", "<html><body>502</body></html>");
    drop_file(&gateway, "bomb.xml", "<!DOCTYPE x [<!ENTITY a 'b'>]><HoSo>&a;</HoSo>");
    drop_file(&gateway, "large.xml", &" ".repeat(20_001));
    drop_file(&gateway, "other.xml", "<Khac/>");
    drop_file(&gateway, "nothing.xml", "<DanhSachHoSo/>");
    pull_settled(&gateway).await;
    gateway.advance(Duration::from_mins(1)).await;
    assert_eq!(gateway.pull().await.unwrap().refused, 5);
    assert_eq!(put_away(&gateway, "done"), ["nothing.xml"]);
    for (name, rule) in [
        ("empty", "source.truncated"),
        ("html", "source.html_page"),
        ("bomb", "source.doctype"),
        ("large", "source.too_large"),
        ("other", "source.wrong_root"),
    ] {
        let reason = note(&gateway, &format!("rejected/{name}.xml.reason.json"));
        assert_eq!(reason["refused"][0]["rule"], rule);
    }
    gateway.end().await;
}

#[tokio::test]
async fn a_bad_dossier_in_a_file_does_not_take_its_neighbours_with_it() {
    let gateway = start().await;
    let bad = Paper::of(&code(2)).replace("phienBan=\"1\"", "phienBan=\"một\"");
    drop_file(&gateway, "a.xml", &page(&[Paper::of(&code(1)), bad, Paper::of(&code(3))]));
    let report = pull_settled(&gateway).await;
    assert_eq!((report.new, report.refused), (2, 1));
    assert_eq!(put_away(&gateway, "done"), ["a.xml", "a.xml.reason.json"]);
    let reason = note(&gateway, "done/a.xml.reason.json");
    assert_eq!((&reason["verdict"], &reason["dossiers_taken"]), (&"done".into(), &2.into()));
    assert_eq!(reason["refused"][0]["ma_ho_so"], code(2));
    assert_eq!(gateway.standing().await.refused_documents, 1);
    // Corrected in any later file.
    drop_file(&gateway, "b.xml", Paper::of(&code(2)).version(2).xml());
    pull_settled(&gateway).await;
    assert_eq!(gateway.standing().await.refused_documents, 0);
    gateway.settle().await;
    assert_eq!(gateway.count(EntryState::Accepted).await, 3);
    gateway.end().await;
}

#[tokio::test]
async fn names_of_every_kind_are_taken_and_nothing_is_followed() {
    let gateway = start().await;
    let long = format!("{}.xml", "ồ".repeat(82));
    assert_eq!(long.len(), 250);
    let odd: Vec<OsString> = vec![
        OsString::from_vec(b"\xff\xfe.xml".to_vec()),
        "-rf.xml".into(),
        "a\nb.xml".into(),
        "hồ sơ.XML".into(),
        long.into(),
        "..xml".into(),
    ];
    for (serial, name) in (1..).zip(&odd) {
        drop_file(&gateway, name, Paper::of(&code(serial)).xml());
    }
    for name in ["x.xml.part", "x.tmp", ".hidden.xml", "x.xml~", "readme.txt", ".xml"] {
        drop_file(&gateway, name, "<DanhSachHoSo>");
    }
    let folder = gateway.folder().join("drop");
    let secret = gateway.folder().join("elsewhere.xml");
    std::fs::write(&secret, Paper::of(&code(99)).xml()).unwrap();
    std::os::unix::fs::symlink(&secret, folder.join("link.xml")).unwrap();
    std::fs::create_dir(folder.join("sub.xml")).unwrap();
    let pipe = folder.join("pipe.xml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    let report = pull_settled(&gateway).await;
    // A name that begins with a dot is hidden, whatever follows.
    assert_eq!((report.new, report.refused, report.caught_up), (5, 0, true));
    let said = report.remarks.join("\n");
    for line in [
        "link.xml is a symbolic link and is not followed",
        "sub.xml is a folder and is not entered",
        "pipe.xml is no plain file and is not opened",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let mut taken = odd[..5].to_vec();
    taken.sort();
    assert_eq!(put_away(&gateway, "done"), taken);
    assert!(folder.join("link.xml").is_symlink());
    gateway.end().await;
}

#[tokio::test]
async fn nothing_that_was_put_away_is_ever_overwritten() {
    let gateway = start().await;
    let long = format!("{}.xml", "d".repeat(251));
    for name in ["a.xml", long.as_str()] {
        for version in 1..=3 {
            // The third is the second once more.
            let version = version.min(2);
            let paper = Paper::of(&code(1)).version(version).with("GhiChu", &version.to_string());
            drop_file(&gateway, name, paper.xml());
            pull_settled(&gateway).await;
        }
    }
    let done = put_away(&gateway, "done");
    assert_eq!(done.len(), 6, "{done:?}");
    assert!(done.iter().all(|name| name.len() <= 255));
    assert_eq!(gateway.dossier(&code(1)).await.revisions.len(), 2);
    gateway.end().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_said_once_and_read_on_in_place() {
    let gateway = story(0).start().await;
    let failure = gateway.pull().await.unwrap_err();
    assert_eq!(failure.code, "source.folder");
    assert!(gateway.standing().await.sources[0].failing_since.is_some());
    let folder = gateway.folder().join("drop");
    std::fs::create_dir(&folder).unwrap();
    // Something stands where the finished files belong: nothing is read.
    std::fs::write(folder.join("done"), "").unwrap();
    drop_file(&gateway, "a.xml", Paper::of(&code(1)).xml());
    assert_eq!(gateway.pull().await.unwrap_err().code, "source.folder");
    std::fs::remove_file(folder.join("done")).unwrap();
    assert_eq!(pull_settled(&gateway).await.new, 1);
    assert!(gateway.standing().await.sources[0].failure.is_none());
    gateway.end().await;
}

#[tokio::test]
async fn a_file_that_was_stored_and_cannot_be_moved_stops_the_source_and_is_not_read_again() {
    let gateway = start().await;
    let folder = gateway.folder().join("drop");
    let bad = Paper::of(&code(2)).replace("phienBan=\"1\"", "phienBan=\"một\"");
    drop_file(&gateway, "a.xml", &page(&[Paper::of(&code(1)), bad]));
    drop_file(&gateway, "b.xml", Paper::of(&code(3)).xml());
    // As on a full disk, the note cannot be written.
    let blocked = folder.join("done/.a.xml.reason.json.tmp");
    gateway.pull().await.unwrap();
    std::fs::create_dir_all(blocked.join("in the way")).unwrap();
    gateway.advance(SETTLED).await;
    for _ in 0..3 {
        assert_eq!(gateway.pull().await.unwrap_err().code, "source.folder_move");
    }
    let dossiers: u64 = gateway.standing().await.dossiers.values().sum();
    assert_eq!(dossiers, 1, "what was read is stored, and nothing behind it is read");
    assert!(folder.join("a.xml").exists());

    std::fs::remove_dir_all(&blocked).unwrap();
    let report = gateway.pull().await.unwrap();
    assert_eq!((report.new, report.unchanged), (1, 0));
    assert_eq!(put_away(&gateway, "done"), ["a.xml", "a.xml.reason.json", "b.xml"]);
    gateway.end().await;
}

#[tokio::test]
async fn a_file_that_was_stored_by_a_process_that_ended_is_moved_and_not_stored_again() {
    let gateway = start().await;
    let bad = Paper::of(&code(2)).replace("phienBan=\"1\"", "phienBan=\"một\"");
    drop_file(&gateway, "a.xml", &page(&[Paper::of(&code(1)), bad]));
    gateway.pull().await.unwrap();
    let blocked = gateway.folder().join("drop/done/.a.xml.reason.json.tmp");
    std::fs::create_dir_all(&blocked).unwrap();
    gateway.advance(SETTLED).await;
    assert!(gateway.pull().await.is_err());
    std::fs::remove_dir(&blocked).unwrap();
    let gateway = gateway.restart(&PortalOptions::default().password, "", &[]).await;
    let report = pull_settled(&gateway).await;
    assert_eq!((report.new, report.unchanged, report.outdated), (0, 0, 0));
    assert_eq!(put_away(&gateway, "done"), ["a.xml", "a.xml.reason.json"]);
    assert_eq!(gateway.dossier(&code(1)).await.entries.len(), 1);
    assert_eq!(gateway.standing().await.refused_documents, 1);
    gateway.end().await;
}

#[tokio::test]
async fn books_without_an_index_say_what_became_of_the_files_and_are_never_called_closed() {
    let gateway = start().await;
    drop_file(
        &gateway,
        "a.xml",
        &page(&[
            Paper::of(&code(1)),
            Paper::of(&code(2)),
            Paper::of(&code(3)).with("TrangThaiHoSo", "77"),
        ]),
    );
    gateway.settle().await;
    gateway.advance(SETTLED).await;
    gateway.settle().await;
    assert!(gateway.portal.forget(&code(2)));
    let books = gateway.reconcile().await;
    assert!(books.without_index && !books.closed);
    assert_eq!((books.at_source, books.matched, books.missing, books.quarantined), (3, 1, 1, 1));
    assert_eq!(books.extra, 0);
    // What the portal lost is owed again when it is missed a second time, as with any source.
    assert_eq!((books.suspected, gateway.reconcile().await.suspected), (1, 0));
    gateway.settle().await;
    assert_eq!(gateway.reconcile().await.matched, 2);
    gateway.end().await;
}

#[tokio::test]
async fn a_gateway_killed_between_storing_a_file_and_moving_it_loses_nothing_and_doubles_nothing() {
    let province = ProvinceOptions {
        population: PopulationOptions { dossiers: 30, ..PopulationOptions::default() },
        ..ProvinceOptions::default()
    };
    let source = "kind = \"directory\"\npath = \"drop\"\nsettle_ms = 100";
    let hasty = "[push]\nlease_ms = 6000\n[upkeep]\nevery_ms = 200\n";
    let mut site = Site::open_with(province, PortalOptions::default(), Some(source), hasty).await;
    let folder = site.folder().join("drop");
    site.province.drop_files(&folder).await.unwrap();
    // A dossier that cannot be taken, so that a note is written before the file moves; a pipe in
    // its place makes the process stand still there.
    let name = names(&folder)[0].to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(folder.join(&name)).unwrap();
    let spoilt = text.replace("</DanhSachHoSo>", "<HoSo><MaHoSo></MaHoSo></HoSo></DanhSachHoSo>");
    std::fs::write(folder.join(&name), spoilt).unwrap();
    std::fs::create_dir(folder.join("done")).unwrap();
    let pipe = folder.join(format!("done/.{name}.reason.json.tmp"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    let process = site.serve();
    site.until_known(30).await;
    assert!(folder.join(&name).exists(), "it is stored and not moved");
    process.kill();
    std::fs::remove_file(&pipe).unwrap();

    let process = site.serve();
    site.until("the file is put away", |_| !folder.join(&name).exists()).await;
    site.until_delivered().await;
    assert!(site.comparison().is_clean(), "{:?}", site.comparison());
    process.kill();
    let note = format!("{name}.reason.json");
    assert_eq!(names(&folder.join("done")), [name.as_str(), note.as_str()]);
    let standing = site.standing().await.unwrap();
    assert_eq!(standing.superseded, 0, "{standing:?}");
    assert_eq!(standing.refused_documents, 1);
    site.close().await;
}

#[tokio::test]
async fn files_taken_after_a_backup_are_read_again_once_it_is_restored() {
    let province = ProvinceOptions {
        population: PopulationOptions { dossiers: 20, ..PopulationOptions::default() },
        ..ProvinceOptions::default()
    };
    let source = "kind = \"directory\"\npath = \"drop\"\nsettle_ms = 100";
    let mut site = Site::open_with(province, PortalOptions::default(), Some(source), "").await;
    let folder = site.folder().join("drop");
    site.province.drop_files(&folder).await.unwrap();
    let process = site.serve();
    site.until_delivered().await;
    let backup = site.folder().join("backup.db").to_str().unwrap().to_owned();
    let (made, _, error) = site.run(&["ledger", "backup", &backup]).await;
    assert!(made, "{error}");
    site.province.add(1);
    site.province.drop_files(&folder).await.unwrap();
    site.until_known(21).await;
    site.until_delivered().await;
    process.kill();
    site.let_go_of_the_ledger().await;

    let why = ["ledger", "restore", &backup, "--replace", "--reason", "the disk is lost"];
    let (restored, said, error) = site.run(&why).await;
    assert!(restored, "{error}");
    assert!(said.contains("2 files taken since then put back"), "{said}");
    let process = site.serve();
    // The one that the backup does not know; what is harmless twice is sent again.
    site.until_known(21).await;
    site.until_delivered().await;
    process.kill();
    site.close().await;
}
