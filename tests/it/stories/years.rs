//! What a ledger that runs for years must survive: a restored backup, a stolen disk.

use std::collections::BTreeSet;

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::portal::Service;
use hoso_gateway::ledger::Ledger;
use hoso_gateway::ledger::key::BodyKey;
use hoso_gateway::ledger::record::AuditRecord;
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings, put_back};
use hoso_gateway::ledger::view::ProblemFilter;
use unicode_normalization::UnicodeNormalization as _;

use crate::support::gateway::{Story, TestGateway};
use crate::support::paper::Paper;

const UPDATED: &str = "H55.242-260126-0001";
const ON_ITS_WAY: &str = "H55.242-260126-0002";
const UNMAPPED: &str = "H55.242-260126-0003";
const NEW: &str = "H55.242-260126-0004";
const REVERTED: &str = "H55.242-260126-0005";

/// A dossier whose only step asks for a supplement.
fn asked(code: &str) -> Paper {
    Paper::of(code).steps(&[("20260126090000", "5")])
}

#[tokio::test]
async fn yesterdays_backup_is_restored_and_nothing_is_sent_twice_that_may_not_be() {
    let gateway = Story::of(0).start_with(&[Paper::of(UPDATED), Paper::of(REVERTED)]).await;
    gateway.settle().await;
    let first = gateway.portal.record(REVERTED).unwrap();
    gateway.put(&Paper::of(ON_ITS_WAY));
    gateway.pull_and_map().await;
    gateway.put(&asked(UNMAPPED));
    gateway.pull().await.expect("a page");
    let backup = gateway.ledger_path().with_file_name("yesterday.db");
    let beside =
        SqliteLedger::open(&gateway.ledger_path(), &SqliteSettings::default()).await.unwrap();
    beside.backup(&backup, gateway.context.clock.now()).await.unwrap();
    beside.close().await;

    // A day of work that the backup knows nothing of.
    gateway.put(&asked(NEW));
    let both = [("20260126083000", "4"), ("20260126090000", "5")];
    gateway.put(&Paper::of(UPDATED).version(2).steps(&both));
    gateway.put(&Paper::of(REVERTED).version(2).with("TrichYeuHoSo", "Sửa"));
    gateway.settle().await;
    gateway.put(&Paper::of(ON_ITS_WAY).version(2).with("TrichYeuHoSo", "Sửa"));
    gateway.settle().await;
    assert_eq!(gateway.portal.state().duplicated_steps, 0);
    let codes = [UPDATED, ON_ITS_WAY, UNMAPPED, NEW, REVERTED];
    let record = |gateway: &TestGateway, code: &str| gateway.portal.record(code).unwrap();
    let before = codes.map(|code| record(&gateway, code));
    // The portal holds version 2; the source goes back to what version 1 said.
    gateway.put(&Paper::of(REVERTED).version(3));
    let calls_before = gateway.portal.calls(None).len();

    // The disk is lost; yesterday's copy is put in its place.
    let path = gateway.ledger_path();
    let now = gateway.context.clock.now();
    let who = AuditRecord::new("operator", "restore", "ledger", "the disk is lost");
    let gateway = gateway
        .restart_after("mat-khau-thu-nghiem", "", &[], async || {
            put_back(&backup, &path, &SqliteSettings::default(), true, now, &[], &who)
                .await
                .unwrap();
        })
        .await;
    // Before the source has been read nothing leaves, not even a question.
    gateway.push().await;
    gateway.read_back().await;
    assert_eq!(gateway.portal.calls(None).len(), calls_before);

    gateway.settle().await;
    // What the portal holds is what the source says now.
    for (code, before) in codes.iter().zip(&before) {
        let expected = if *code == REVERTED { &first } else { before };
        assert_eq!(record(&gateway, code).digest, expected.digest, "{code}");
    }
    assert_ne!(first.digest, before[4].digest);
    // Only the harmless step of the packet that was on its way went twice.
    assert_eq!(gateway.portal.state().duplicated_steps, 1);
    for code in [UPDATED, UNMAPPED, NEW] {
        let steps = gateway.dossier(code).await.steps;
        let held: Vec<_> = steps.iter().filter(|step| step.state == "held").collect();
        assert_eq!(held.len(), 1, "{code}");
        assert_eq!(held[0].trang_thai, "5");
    }
    // Nothing older than what the portal ends with was sent after the restore.
    for code in codes {
        let last = gateway.portal.record(code).unwrap();
        for call in &gateway.portal.calls(None)[calls_before..] {
            let place = call.codes.iter().position(|sent| sent == code);
            if let (Some(place), Service::Dossiers) = (place, call.service) {
                assert_eq!(call.digests[place], last.digest, "{code}");
            }
        }
        assert_eq!(gateway.states(code).await.last(), Some(&EntryState::Accepted), "{code}");
    }
    assert!(gateway.standing().await.rereading.is_empty());
    gateway.end().await;
}

/// Elements that may not be read from a stolen disk.
const PERSONAL: &[&str] = &["ChuHoSo", "SoDienThoai", "Email", "SoDinhDanh", "NguoiXuLy"];

fn personal(xml: &str, elements: &[&str], found: &mut BTreeSet<String>) {
    for element in elements {
        let open = format!("<{element}>");
        for part in xml.split(&open).skip(1) {
            let text = part.split('<').next().unwrap_or_default();
            // Short ones occur in any megabyte of noise.
            if text.chars().count() >= 6 {
                found.insert(text.to_owned());
                // As it is sent, when the source writes letter and mark apart.
                found.insert(text.nfc().collect());
            }
        }
    }
}

/// Everything that lies in the ledger's folder.
fn bytes_on_disk(gateway: &TestGateway) -> Vec<u8> {
    let mut all = Vec::new();
    for ending in ["", "-wal"] {
        let name = format!("ledger.db{ending}");
        all.extend(std::fs::read(gateway.ledger_path().with_file_name(name)).unwrap_or_default());
    }
    all
}

fn occurs(needle: &str, bytes: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test]
async fn a_stolen_disk_tells_no_name_no_telephone_and_no_identity_number() {
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("ledger.key");
    std::fs::write(&key_file, BodyKey::new_text().unwrap()).unwrap();
    let mut story = Story::of(40).set("ledger", "key_file", &format!("\"{}\"", key_file.display()));
    story.province.population.invalid_share = 0.4;
    let gateway = story.start().await;
    // One is refused with words that quote what was sent.
    let refused = gateway.province.expected()[0].code.clone();
    let mut words = BTreeSet::new();
    personal(
        &gateway.province.dossier_xml(&refused).unwrap(),
        &["ChuHoSo", "SoDinhDanh"],
        &mut words,
    );
    let words: Vec<String> = words.iter().map(|word| word.replace("&amp;", "&")).collect();
    gateway.portal.refuse(&refused, &format!("Không hợp lệ: {}", words.join(", ")));
    gateway.settle().await;
    gateway.reconcile().await;
    assert!(gateway.count(EntryState::Quarantined).await > 3);
    assert_eq!(gateway.count(EntryState::Dead).await, 1);
    let problems = gateway.context.ledger.problems(&ProblemFilter::default()).await.unwrap();
    let codes: BTreeSet<String> = gateway
        .province
        .expected()
        .into_iter()
        .map(|dossier| dossier.code)
        .chain(problems.into_iter().map(|problem| problem.ma_ho_so))
        .filter(|code| gateway.province.dossier_xml(code).is_some())
        .collect();
    let mut needles = BTreeSet::new();
    for code in &codes {
        personal(&gateway.province.dossier_xml(code).unwrap(), PERSONAL, &mut needles);
    }
    assert!(needles.len() > 40, "{needles:?}");
    let bytes = bytes_on_disk(&gateway);
    // The search finds what is there: codes of dossiers are no secret.
    assert!(codes.iter().all(|code| occurs(code, &bytes)));
    let told: Vec<&String> = needles.iter().filter(|needle| occurs(needle, &bytes)).collect();
    assert!(told.is_empty(), "{told:?}");
    // And with the key everything is there.
    let mut read = BTreeSet::new();
    for code in &codes {
        let dossier = gateway.dossier(code).await.dossier_id;
        personal(
            &gateway.context.ledger.newest_document(dossier).await.unwrap().unwrap(),
            PERSONAL,
            &mut read,
        );
    }
    assert_eq!(read, needles);
    gateway.end().await;
}
