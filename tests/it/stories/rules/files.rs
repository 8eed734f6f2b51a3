//! Submitted files that the source had and lacks now.

use std::path::Path;
use std::time::Duration;

use hoso_gateway::lab::portal::{Fault, ScriptedFault, Service};
use serde_json::Value;

use super::{CODE, story};
use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;

/// The story with the mapping that takes removed files back at the portal.
fn removing(folder: &Path) -> Story {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings");
    std::fs::create_dir_all(folder.join("feed")).unwrap();
    std::fs::create_dir_all(folder.join("codelists")).unwrap();
    for list in std::fs::read_dir(own.join("codelists")).unwrap() {
        let list = list.unwrap();
        std::fs::copy(list.path(), folder.join("codelists").join(list.file_name())).unwrap();
    }
    let mapping = std::fs::read_to_string(own.join("feed/mapping.toml")).unwrap();
    let changed = mapping.replace("removed = \"keep\"", "removed = \"mark_deleted\"");
    assert_ne!(changed, mapping);
    std::fs::write(folder.join("feed/mapping.toml"), changed).unwrap();
    story().set("mapping", "dir", &format!("{:?}", folder.join("feed").display().to_string()))
}

/// A dossier with these files.
fn paper(version: u32, files: &[&str]) -> Paper {
    let paper = Paper::of(CODE).version(version);
    let xml = paper.xml();
    let from = xml.find("<DanhSachTaiLieuNop>").unwrap() + "<DanhSachTaiLieuNop>".len();
    let to = xml.find("</DanhSachTaiLieuNop>").unwrap();
    let sample = xml[from..to].to_owned();
    let list: String = files.iter().map(|id| sample.replace("70012", id)).collect();
    paper.replace(&sample, &list)
}

/// Id and `IsDeleted` of the files in the packet that was acknowledged last.
async fn sent(gateway: &TestGateway) -> Vec<String> {
    let dossier = gateway.dossier(CODE).await.dossier_id;
    let packets = gateway.context.ledger.acked_packets(&[dossier]).await.unwrap();
    let packet: Value = serde_json::from_str(&packets[0].1).unwrap();
    let files = packet["TaiLieuNop"].as_array().unwrap();
    let text = |file: &Value, name: &str| file[name].as_str().unwrap().to_owned();
    files
        .iter()
        .map(|file| format!("{} {}", text(file, "TepDinhKemId"), text(file, "IsDeleted")))
        .collect()
}

async fn vanished(gateway: &TestGateway) -> Vec<String> {
    let found = gateway.dossier(CODE).await.discrepancies;
    let open = found.into_iter().filter(|found| found.resolved_at.is_none());
    open.map(|found| format!("{} {}", found.kind, found.detail)).collect()
}

#[tokio::test]
async fn a_file_that_is_gone_is_taken_back_once_as_it_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = removing(folder.path()).start_with(&[paper(1, &["1", "2"])]).await;
    gateway.settle().await;
    gateway.put(&paper(2, &["2"]));
    gateway.settle().await;
    assert_eq!(sent(&gateway).await, ["2 False", "1 True"]);
    assert_eq!(vanished(&gateway).await, [""; 0]);
    // Once is enough; and a file that comes back is a file again.
    gateway.put(&paper(3, &["2"]).with("GhiChu", "sửa"));
    gateway.settle().await;
    assert_eq!(sent(&gateway).await, ["2 False"]);
    gateway.put(&paper(4, &["1", "2"]));
    gateway.settle().await;
    assert_eq!(sent(&gateway).await, ["1 False", "2 False"]);
    gateway.end().await;
}

#[tokio::test]
async fn a_file_that_was_never_sent_is_not_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = removing(folder.path()).start_with(&[paper(1, &["1", "2"])]).await;
    gateway.pull_and_map().await;
    gateway.put(&paper(2, &["2"]));
    gateway.settle().await;
    assert_eq!(sent(&gateway).await, ["2 False"]);
    gateway.end().await;
}

#[tokio::test]
async fn a_file_of_a_call_without_an_answer_may_be_there_and_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = removing(folder.path()).start_with(&[paper(1, &["1", "2"])]).await;
    gateway.pull_and_map().await;
    gateway.portal.inject(ScriptedFault::next(Fault::ApplyThenDrop).of_service("DongBoHoSoMC"));
    gateway.push().await;
    gateway.put(&paper(2, &["2"]));
    gateway.settle().await;
    assert_eq!(sent(&gateway).await, ["2 False", "1 True"]);
    assert_eq!(gateway.calls(Service::Dossiers).len(), 2);
    gateway.end().await;
}

#[tokio::test]
async fn without_the_mapping_s_word_the_file_stays_and_a_discrepancy_says_so_until_it_is_back() {
    let gateway = story().start_with(&[paper(1, &["1", "2"])]).await;
    gateway.settle().await;
    gateway.put(&paper(2, &["2"]));
    gateway.settle().await;
    assert_eq!(sent(&gateway).await, ["2 False"]);
    assert_eq!(vanished(&gateway).await, ["file_vanished 1"]);
    // Still known in the revision after that.
    gateway.put(&paper(3, &["2"]).with("GhiChu", "sửa"));
    gateway.settle().await;
    assert_eq!(vanished(&gateway).await, ["file_vanished 1"]);
    gateway.put(&paper(4, &["1", "2"]));
    gateway.settle().await;
    assert_eq!(vanished(&gateway).await, [""; 0]);
    gateway.end().await;
}

#[tokio::test]
async fn past_retention_nothing_is_made_up_and_a_discrepancy_says_what_is_left_over() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = removing(folder.path())
        .set("retention", "bodies_days", "1")
        .start_with(&[paper(1, &["1", "2"])])
        .await;
    gateway.settle().await;
    gateway.clock.manual.advance(Duration::from_hours(49));
    gateway.upkeep().await;
    gateway.advance(Duration::from_secs(1)).await;
    gateway.put(&paper(2, &["2"]));
    gateway.settle().await;
    assert_eq!(sent(&gateway).await, ["2 False"]);
    assert_eq!(vanished(&gateway).await, ["file_vanished 1"]);
    gateway.end().await;
}
