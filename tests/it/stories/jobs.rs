//! Sending many again: plans, jobs, and what operators see of them.

use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::PortalOptions;
use hoso_gateway::lab::province::ProvinceOptions;
use serde_json::Value;

use crate::support::binary::Site;

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
    let fewer: Vec<&str> = written.lines().take(8).collect();
    std::fs::write(&file, fewer.join("\n")).unwrap();
    let run = [&["resync", "--from-plan", name][..], &WHY[..]];
    let said = refused(&site, &run).await;
    assert!(said.contains("was changed after it was written"), "{said}");
    std::fs::write(&file, written).unwrap();
    assert_eq!(json(&site, &run).await["job"], 1);
    let said = refused(&site, &run).await;
    assert!(said.contains("was started by lan") && said.contains("already: job 1"), "{said}");
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
