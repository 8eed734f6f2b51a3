//! Figures for a monitoring system: by a command, and by the service itself.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use hoso_gateway::http::{Http, HttpAnswer, HttpRequest, Method, ReqwestHttp};
use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::PortalOptions;
use hoso_gateway::lab::province::ProvinceOptions;

use crate::support::binary::Site;

const SETTINGS: &str = "[serve]\nmetrics_address = \"127.0.0.1:0\"\n";

async fn ask(url: &str) -> HttpAnswer {
    let http = ReqwestHttp::new(Duration::from_secs(5), 1).unwrap();
    let request = HttpRequest {
        method: Method::Get,
        url: url.to_owned(),
        headers: Vec::new(),
        body: Bytes::new(),
        timeout: Duration::from_secs(30),
        answer_bytes_max: 1 << 20,
    };
    http.send(request).await.unwrap()
}

/// Every line is a comment of a family or one sample of the family that was announced last; the names
/// of the samples with their labels.
fn samples(text: &str) -> BTreeSet<String> {
    let mut family = "";
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# TYPE ") {
            family = comment.split(' ').next().unwrap();
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert_eq!(name.split('{').next(), Some(family), "{line}");
            assert!(names.insert(name.to_owned()), "twice: {line}");
        }
    }
    names
}

async fn lived(dossiers: u32) -> (String, String, Vec<String>) {
    let province = ProvinceOptions {
        population: PopulationOptions {
            dossiers,
            ministry_share: 0.0,
            ..PopulationOptions::default()
        },
        ..ProvinceOptions::default()
    };
    let mut site = Site::open(province, PortalOptions::default(), SETTINGS).await;
    let service = site.serve();
    site.until_known(dossiers.into()).await;
    site.until_delivered().await;
    // The watchdogs have looked.
    assert!(site.run(&["run", "upkeep"]).await.0);
    let log = service.log();
    let url = log.split_whitespace().find_map(|word| {
        let from = word.find("http://127.0.0.1:")?;
        word[from..].contains("/metrics").then(|| word[from..].trim_matches(['"', ',']).to_owned())
    });
    let answer = ask(&url.unwrap_or_else(|| panic!("no address in:\n{log}"))).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let served = String::from_utf8(answer.body.to_vec()).unwrap();
    let (is_done, printed, told) = site.run(&["status", "--metrics"]).await;
    assert!(is_done, "{told}");
    let codes = site.province.codes();
    drop(service);
    site.close().await;
    (served, printed, codes)
}

#[tokio::test]
async fn the_service_and_a_command_tell_the_same_figures_and_name_no_dossier() {
    let (served, printed, codes) = lived(40).await;
    for text in [&served, &printed] {
        for line in [
            "hoso_dossiers{state=\"ready\"} 0",
            "hoso_gate_owned 1",
            "hoso_gate_state{state=\"open\"} 1",
            "hoso_watchdog_found{code=\"watchdog.conservation\",part=\"\"} 0",
            "hoso_watchdog_found{code=\"watchdog.stranded\",part=\"\"} 0",
            "hoso_source_failing_seconds{source=\"mot-cua\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in:\n{text}");
        }
        for name in ["hoso_resident_memory_bytes ", "hoso_ledger_bytes ", "hoso_disk_free_bytes "] {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            assert!(line.parse::<f64>().unwrap() > 100_000.0, "{name}{line}");
        }
        let of = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} is not in:\n{text}")).trim().parse().unwrap()
        };
        let quarantined = of("hoso_dossiers{state=\"quarantined\"}");
        assert_eq!(of("hoso_dossiers{state=\"accepted\"}") + quarantined, 40);
        assert_eq!(of("hoso_dossiers_synchronised"), 40 - quarantined);
        assert_eq!(of("hoso_problems"), quarantined);
        assert!(of("hoso_portal_calls_24h{service=\"DongBoHoSoMC\",outcome=\"useful\"}") > 0);
        assert!(!codes.iter().any(|code| text.contains(code.as_str())), "{text}");
    }
    assert_eq!(samples(&served), samples(&printed));

    // How many figures there are does not depend on how many dossiers there are.
    let (fewer, ..) = lived(10).await;
    assert_eq!(samples(&served), samples(&fewer));
}

#[tokio::test]
async fn figures_are_told_to_this_machine_alone() {
    let settings = "[serve]\nmetrics_address = \"0.0.0.0:9464\"\n";
    let site = Site::open(ProvinceOptions::default(), PortalOptions::default(), settings).await;
    let (is_done, _, told) = site.run(&["config", "check"]).await;
    assert!(!is_done && told.contains("serve.metrics_address"), "{told}");
    assert!(told.contains("127.0.0.1:9464"), "it says what to write instead: {told}");
    site.close().await;
}
