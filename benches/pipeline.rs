//! The whole gateway against both laboratories on the same machine: dossiers per second, processor
//! time per thousand dossiers, and peak memory.
//!
//! The laboratories run as processes of their own (the real `hoso lab`), so that time and memory are
//! the gateway's alone; pages are not packed, as between two machines of one room. The quota is set
//! so high that it never holds anything back.
//!
//! `cargo bench --bench pipeline -- [DOSSIERS]` (default 20,000).

#![expect(clippy::print_stdout, reason = "figures are this program's product")]

mod support;

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use hoso_gateway::cli::build;
use hoso_gateway::config::{Config, Environment};
use hoso_gateway::daemon::{Daemon, Schedule};
use hoso_gateway::http::ReqwestHttp;
use hoso_gateway::pipeline::Stop;
use hoso_gateway::pipeline::pulse::Pulse;

use support::{Lab, cpu_seconds, get, memory_mb, post};

#[derive(Debug)]
struct Password;

impl Environment for Password {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "HOSO_PORTAL_PASSWORD").then(|| "mat-khau-thu-nghiem".to_owned())
    }
    fn read(&self, path: &std::path::Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// What the machine gives when nothing is kept, checked or mapped: pages are fetched and thrown
/// away, and one bare call a dossier is answered by the same portal. The bound for one dossier a call.
async fn bare(dossiers: u32) -> f64 {
    let count = dossiers.to_string();
    let province = Lab::start(&["province", "--no-gzip", "--dossiers", &count]);
    let portal = Lab::start(&["portal", "--no-journal"]);
    let http = ReqwestHttp::new(Duration::from_secs(5), 128).expect("a client");
    let session = post(&http, portal_url(&portal, "mapi/login"), LOGIN.to_owned()).await;
    let session: serde_json::Value = serde_json::from_slice(&session).expect("JSON");
    let session = session["session"].as_str().expect("a session").to_owned();
    province.state(&http).await;
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    let began = Instant::now();
    let read = async {
        let mut after = String::new();
        loop {
            let url = format!("{}/dossiers/changes?limit=500{after}", province.url);
            let page = get(&http, url).await;
            let head = String::from_utf8_lossy(&page[..page.len().min(400)]).into_owned();
            if head.contains("conNua=\"false\"") {
                return;
            }
            let cursor = head.split("conTro=\"").nth(1).and_then(|rest| rest.split('"').next());
            after = format!("&after={}", cursor.expect("a cursor").replace('~', "%7E"));
        }
    };
    let send = stream::iter(0..dossiers)
        .map(|at| {
            let body = format!(
                r#"{{"session":"{session}","madonvi":"000.00.00.H55","service":"TraCuuHoSo","mahoso":"H55-260126-{at:08}"}}"#
            );
            post(&http, portal_url(&portal, "mapi/g"), body)
        })
        .buffer_unordered(64)
        .for_each(|_| async {});
    futures_util::future::join(read, send).await;
    f64::from(dossiers) / began.elapsed().as_secs_f64()
}

const LOGIN: &str = r#"{"username":"tinh-thu-nghiem","password":"mat-khau-thu-nghiem"}"#;

fn portal_url(portal: &Lab, path: &str) -> String {
    format!("{}/{path}?dstcode=VN:GOV:000.00.00.G22:vpcpdvcprovider", portal.url)
}

struct Figures {
    seconds: f64,
    cpu_seconds: f64,
    calls: u64,
    steps: u64,
    dossiers: u64,
}

fn main() {
    let dossiers: u32 =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(20_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "{dossiers} dossiers, ledger with synchronous=FULL, both laboratories on this machine\n"
    );
    println!(
        "dossiers a call   dossiers/s   calls/s   steps/s   gateway CPU ms per 1,000 dossiers"
    );
    let bare = runtime.block_on(bare(dossiers));
    for per_call in [1, 50] {
        let figures = runtime.block_on(run(dossiers, per_call));
        println!(
            "{per_call:>15}   {:>10.0}   {:>7.0}   {:>7.0}   {:>34.0}",
            figures.dossiers as f64 / figures.seconds,
            figures.calls as f64 / figures.seconds,
            figures.steps as f64 / figures.seconds,
            figures.cpu_seconds * 1_000_000.0 / figures.dossiers as f64,
        );
    }
    println!("\nbare fetching and one bare call a dossier, in the same run: {bare:.0} dossiers/s");
    println!("peak memory of the gateway: {} MB", memory_mb("self", "VmHWM"));
}

async fn run(dossiers: u32, per_call: u32) -> Figures {
    let folder = tempfile::tempdir().expect("a folder");
    let count = dossiers.to_string();
    let province = Lab::start(&["province", "--no-gzip", "--dossiers", &count]);
    let portal = Lab::start(&["portal", "--no-journal"]);
    let text = format!(
        "[ledger]\npath = \"{}\"\n[[sources]]\nname = \"bench\"\nbase_url = \"{}\"\npoll_ms = 200\n\
         [portal]\nbase_url = \"{}\"\nusername = \"tinh-thu-nghiem\"\nconnections_max = 128\n\
         [[gate.windows]]\nlimit = 1000000\nwindow_ms = 1000\nburst = 500000\n\
         [push]\nconcurrency = {}\nclaim_limit = 1024\ndossiers_per_call = {per_call}\ndossiers_per_steps_call = {per_call}\n",
        folder.path().join("ledger.db").display(),
        province.url,
        portal.url,
        if per_call == 1 { 64 } else { 16 },
    );
    let config = Config::from_toml(&text, "bench.toml", &Password).expect("the configuration");
    let http = ReqwestHttp::new(Duration::from_secs(5), 4).expect("a client");
    let source = province.state(&http).await;
    let (expected, expected_steps) =
        (source["expected"].as_u64().expect("n"), source["expected_steps"].as_u64().expect("n"));

    let context = build::context(&config, true).await.map_err(|f| f.to_string()).expect("context");
    let sources =
        build::sources(&config, &context.clock).map_err(|f| f.to_string()).expect("sources");
    let daemon = Daemon {
        open_portal: build::open_portal(&config, &context)
            .map_err(|f| f.to_string())
            .expect("portal"),
        context: context.clone(),
        sources,
        mapping: build::mapping(&config).map_err(|f| f.to_string()).expect("mapping"),
        schedule: Schedule { reconcile: None, ..build::schedule(&config) },
        config_hash: config.hash(),
        pulse: Pulse::default(),
        holder: "bench".to_owned(),
    };
    let stop = Stop::new();
    let cpu_before = cpu_seconds("self");
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    let began = Instant::now();
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move { daemon.run(&stop).await }
    });
    let state = loop {
        context.clock.sleep(Duration::from_millis(20)).await;
        let state = portal.state(&http).await;
        if state["records"].as_u64() == Some(expected)
            && state["steps"].as_u64() >= Some(expected_steps)
        {
            break state;
        }
        assert!(!serving.is_finished(), "the daemon ended");
        assert!(began.elapsed() < Duration::from_mins(10), "not done: {state}");
    };
    let seconds = began.elapsed().as_secs_f64();
    stop.cancel();
    serving.await.expect("the daemon ends").expect("without an error");
    let cpu = cpu_seconds("self") - cpu_before;
    context.ledger.close().await;
    Figures {
        seconds,
        cpu_seconds: cpu,
        calls: state["calls"].as_u64().expect("n"),
        steps: expected_steps,
        dossiers: u64::from(dossiers),
    }
}
