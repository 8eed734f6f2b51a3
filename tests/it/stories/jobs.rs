//! Sending many again: plans, jobs, and what operators see of them.

use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::PortalOptions;
use hoso_gateway::lab::province::ProvinceOptions;
use serde_json::Value;

use crate::support::binary::Site;
use crate::support::mapping::{STRICT, variant};

const EVERYTHING: [&str; 2] = ["--changed-since", "2000-01-01"];
const WHY: [&str; 4] = ["--reason", "the portal restored an old copy", "--actor", "lan"];

async fn delivered(dossiers: u32, settings: &str) -> Site {
    let province = ProvinceOptions {
        population: PopulationOptions {
            dossiers,
            invalid_share: 0.0,
            ministry_share: 0.0,
            ..PopulationOptions::default()
        },
        ..ProvinceOptions::default()
    };
    let mut site = Site::open(province, PortalOptions::default(), settings).await;
    let mut process = site.serve();
    site.until_delivered().await;
    process.terminate();
    process.ended().await;
    site
}

/// Runs a command that succeeds, with `--json`.
async fn json(site: &Site, arguments: &[&[&str]]) -> Value {
    let arguments = [&arguments.concat()[..], &["--json"]].concat();
    let (success, out, err) = site.run(&arguments).await;
    assert!(success, "{arguments:?}\n{out}\n{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// Runs a command that is refused; what it says.
async fn refused(site: &Site, arguments: &[&[&str]]) -> String {
    let (success, out, err) = site.run(&arguments.concat()).await;
    assert!(!success, "{out}");
    err
}

fn updates(site: &Site) -> Vec<u64> {
    site.portal.records().iter().map(|record| u64::from(record.updates)).collect()
}

#[tokio::test]
async fn a_selection_becomes_a_plan_and_a_job_that_sends_each_dossier_once_more() {
    let mut site = delivered(30, "").await;
    let before: u64 = updates(&site).iter().sum();
    let planned = json(&site, &[&["resync", "--dry-run"], &EVERYTHING, &WHY]).await;
    assert_eq!(planned["plan"]["items"], 30);
    assert_eq!(planned["job"], Value::Null);
    let ran = json(&site, &[&["resync"], &EVERYTHING, &WHY]).await;
    assert_eq!((&ran["plan"]["items"], &ran["job"]), (&Value::from(30), &Value::from(1)));
    assert_eq!(updates(&site).iter().sum::<u64>(), before, "nobody sends yet");
    let mut process = site.serve();
    let shown = json(&site, &[&["job", "show", "1", "--follow"]]).await;
    assert_eq!(shown["state"], "done", "{shown:#}");
    assert_eq!(shown["counts"]["confirmed"], 30, "{shown:#}");
    assert_eq!(updates(&site).iter().sum::<u64>(), before + 30);
    site.until_delivered().await;
    process.terminate();
    process.ended().await;
    site.close().await;
}

#[tokio::test]
async fn a_reviewed_plan_runs_once_and_a_changed_file_does_not_run() {
    let site = delivered(8, "").await;
    let file = site.folder().join("plan.jsonl");
    let name = file.to_str().unwrap();
    json(&site, &[&["resync", "--plan", name], &EVERYTHING, &WHY]).await;
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written.lines().count(), 9);
    let said = refused(&site, &[&["resync", "--plan", name], &EVERYTHING, &WHY]).await;
    assert!(said.contains("exists"), "a file that is there is never replaced: {said}");
    let fewer: Vec<&str> = written.lines().take(8).collect();
    std::fs::write(&file, fewer.join("\n")).unwrap();
    let run = [&["resync", "--from-plan", name][..], &WHY[..]];
    let said = refused(&site, &run).await;
    assert!(said.contains("was changed after it was written"), "{said}");
    std::fs::write(&file, written).unwrap();
    assert_eq!(json(&site, &run).await["job"], 1);
    let said = refused(&site, &run).await;
    assert!(said.contains("was started by lan") && said.contains("already: job 1"), "{said}");
    // Each word about the plan stands in the audit, also those that came to nothing.
    let acts = json(&site, &[&["audit", "list"]]).await;
    let results: Vec<&str> = acts
        .as_array()
        .unwrap()
        .iter()
        .filter(|act| act["target"] == "plan 1")
        .map(|act| {
            assert!(act["plan_hash"].is_string(), "{act}");
            assert!(act["selection"].as_str().unwrap().starts_with("8 dossiers: "), "{act}");
            act["result"].as_str().unwrap()
        })
        .collect();
    assert_eq!(results.len(), 3, "{results:?}");
    assert_eq!(results[..2], ["job 1 works on it already", "started job 1"]);
    assert!(results[2].starts_with("refused: ") && results[2].contains("changed"), "{results:?}");
    // No service runs: the work is done by hand.
    json(&site, &[&["run", "jobs"]]).await;
    let shown = json(&site, &[&["job", "show", "1"]]).await;
    assert_eq!((&shown["state"], &shown["counts"]["confirmed"]), (&"done".into(), &8.into()));
    site.close().await;
}

#[tokio::test]
async fn many_need_their_number_and_none_are_told_so() {
    let site = delivered(6, "[resync]\nconfirm_above = 5\n").await;
    let said = refused(&site, &[&["resync"], &EVERYTHING, &WHY]).await;
    assert!(said.contains("--confirm 6"), "{said}");
    let acts = json(&site, &[&["audit", "list"]]).await;
    let result = acts[0]["result"].as_str().unwrap();
    assert!(result.starts_with("refused: 6 dossiers are meant"), "{acts:#}");
    let said = refused(&site, &[&["resync", "--confirm", "7"], &EVERYTHING, &WHY]).await;
    assert!(said.contains("--confirm 6"), "{said}");
    let said = refused(&site, &[&["resync", "--agency", "H55.999"], &WHY]).await;
    assert!(said.contains("no dossier is meant"), "{said}");
    let said = refused(&site, &[&["resync"], &WHY]).await;
    assert!(said.contains("the selection names nothing"), "{said}");
    let ran = json(&site, &[&["resync", "--confirm", "6"], &EVERYTHING, &WHY]).await;
    assert_eq!(ran["job"], 1);
    site.close().await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_says_what_still_arrives_and_sends_nothing_more() {
    let site = delivered(20, "[resync]\ncanary = 2\n").await;
    let before: u64 = updates(&site).iter().sum();
    json(&site, &[&["resync"], &EVERYTHING, &WHY]).await;
    let paused = json(&site, &[&["job", "pause", "1"], &WHY]).await;
    assert_eq!((&paused["from"], &paused["to"]), (&"canary".into(), &"paused".into()));
    json(&site, &[&["run", "jobs"]]).await;
    assert_eq!(updates(&site).iter().sum::<u64>(), before);
    let cancelled = json(&site, &[&["job", "cancel", "1"], &WHY]).await;
    assert_eq!((&cancelled["items"], &cancelled["on_their_way"]), (&20.into(), &0.into()));
    let said = refused(&site, &[&["job", "resume", "1"], &WHY]).await;
    assert!(said.contains("job 1 is cancelled"), "{said}");
    json(&site, &[&["run", "jobs"]]).await;
    assert_eq!(updates(&site).iter().sum::<u64>(), before);
    site.close().await;
}

#[tokio::test]
async fn a_first_few_that_the_portal_refuses_stop_the_job_before_the_rest_leaves() {
    let site = delivered(20, "[resync]\ncanary = 3\n").await;
    let before: u64 = updates(&site).iter().sum();
    for record in site.portal.records() {
        site.portal.refuse(&record.code, "thủ tục không còn hiệu lực");
    }
    json(&site, &[&["resync"], &EVERYTHING, &WHY]).await;
    json(&site, &[&["run", "jobs"]]).await;
    let shown = json(&site, &[&["job", "show", "1"]]).await;
    assert_eq!(shown["state"], "stopped", "{shown:#}");
    assert_eq!((&shown["counts"]["failed"], &shown["counts"]["waiting"]), (&3.into(), &17.into()));
    assert_eq!(updates(&site).iter().sum::<u64>(), before);
    site.close().await;
}

#[tokio::test]
async fn a_plan_says_what_would_change_and_a_job_by_hand_maps_with_the_mapping_in_force() {
    let mut site = delivered(4, "").await;
    let dry = [&["resync", "--dry-run"][..], &EVERYTHING, &WHY];
    let before = json(&site, &dry).await;
    for one in before["sample"].as_array().unwrap() {
        assert_eq!(one["change"], "same", "{one}");
    }
    let strict = variant(site.folder(), "strict", STRICT[0], STRICT[1]);
    let strict = strict.to_str().unwrap();
    json(&site, &[&["mapping", "apply", strict, "--reason", "decision 12"]]).await;
    let after = json(&site, &dry).await;
    for one in after["sample"].as_array().unwrap() {
        assert_eq!(one["change"], "not_sent", "{one}");
        assert!(one["why"].as_str().unwrap().contains("mapping.required"), "{one}");
    }
    let sent = updates(&site);
    json(&site, &[&["resync"], &EVERYTHING, &WHY]).await;
    site.run(&["run", "jobs"]).await;
    let shown = json(&site, &[&["job", "show", "1"]]).await;
    assert_eq!(shown["state"], "stopped", "{shown:#}");
    assert_eq!(updates(&site), sent, "what the mapping in force refuses is not sent");
    site.let_go_of_the_ledger().await;
    site.close().await;
}

/// What a job sent since the backup is not in it; going on by itself, it would send all that again.
#[tokio::test]
async fn a_job_in_a_restored_backup_waits_for_a_person() {
    let mut site = delivered(8, "").await;
    json(&site, &[&["resync"], &EVERYTHING, &WHY]).await;
    let backup = site.folder().join("backup.db").to_str().unwrap().to_owned();
    json(&site, &[&["ledger", "backup", &backup]]).await;
    json(&site, &[&["run", "jobs"]]).await;
    assert_eq!(json(&site, &[&["job", "show", "1"]]).await["state"], "done");
    let sent = updates(&site);

    let restore = ["ledger", "restore", &backup, "--replace", "--reason", "the disk is lost"];
    site.let_go_of_the_ledger().await;
    let restored = json(&site, &[&restore]).await;
    assert_eq!(restored["aftermath"]["jobs_paused"], 1, "{restored:#}");
    let shown = json(&site, &[&["job", "show", "1"]]).await;
    assert_eq!(shown["state"], "paused", "{shown:#}");
    let note = shown["note"].as_str().unwrap();
    assert!(note.contains("restored") && note.contains("hoso job resume 1"), "{note}");
    json(&site, &[&["run", "jobs"]]).await;
    assert_eq!(updates(&site), sent);
    // A person who knows what was sent decides.
    json(&site, &[&["job", "resume", "1", "--reason", "compared with the portal"]]).await;
    let mut process = site.serve();
    let shown = json(&site, &[&["job", "show", "1", "--follow"]]).await;
    assert_eq!(shown["state"], "done", "{shown:#}");
    process.terminate();
    process.ended().await;
    site.close().await;
}
