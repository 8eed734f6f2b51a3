//! A large ledger: what an operator and a citizen notice of a million dossiers, and of fifty million
//! attempts kept. Everything goes through the real program and two laboratories.
//!
//! `cargo bench --bench years -- [DOSSIERS [ATTEMPTS]] [--keep DIR]` (default 1,000,000 and 50,000,000;
//! about half an hour, 12 GB of disk and 10 GB of memory, most of it the laboratory's). Each figure is
//! printed beside its limit; the program ends with 1 if one is missed. With `--keep` the filled ledger
//! stays in that folder, and the next run begins with a copy of it.

#![expect(clippy::print_stdout, reason = "figures are this program's product")]
#![expect(clippy::disallowed_methods, reason = "what is measured is the machine's time")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hoso_gateway::http::ReqwestHttp;
use sqlx::Connection as _;
use support::{Lab, cpu_seconds, get, memory_mb, post};

static MISSED: AtomicBool = AtomicBool::new(false);

/// One line of the table; `at_most` is the limit.
fn figure(what: &str, got: f64, at_most: f64, unit: &str) {
    let missed = got > at_most;
    if missed {
        MISSED.store(true, Ordering::Relaxed);
    }
    let verdict = if missed { "MISSED" } else { "" };
    println!("{what:<58} {got:>9.2} {unit:<5} at most {at_most:>7.2} {verdict}");
}

/// A folder with a configuration and a ledger, and the commands that use them.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(province: &Lab, portal: &Lab, calls_per_second: u32, poll_ms: u64) -> Self {
        // Beside the build, because /tmp is often small or in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let text = format!(
            "[ledger]\npath = \"ledger.db\"\n\
             [[sources]]\nname = \"bench\"\nbase_url = \"{}\"\npoll_ms = {poll_ms}\n\
             [portal]\nbase_url = \"{}\"\nusername = \"tinh-thu-nghiem\"\npassword_file = \"password\"\n\
             [[gate.windows]]\nlimit = {calls_per_second}\nwindow_ms = 1000\n",
            province.url, portal.url,
        );
        std::fs::write(folder.path().join("hoso.toml"), text).expect("a file");
        std::fs::write(folder.path().join("password"), "mat-khau-thu-nghiem").expect("a file");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hoso"));
        command.args(arguments).arg("--config").arg(self.path("hoso.toml"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Seconds until the command has ended, the median of a few runs, and its peak memory.
    fn timed(&self, arguments: &[&str]) -> f64 {
        let mut took: Vec<f64> = (0..5)
            .map(|_| {
                let began = Instant::now();
                self.command(arguments).status().expect("the command runs");
                began.elapsed().as_secs_f64()
            })
            .collect();
        took.sort_by(f64::total_cmp);
        took[took.len() / 2]
    }

    /// Runs to the end and says how long it took and how much memory it held at most.
    fn watched(&self, arguments: &[&str]) -> (f64, u64) {
        let began = Instant::now();
        let mut child = self.command(arguments).spawn().expect("the command starts");
        let process = child.id().to_string();
        let mut peak_mb = 0;
        loop {
            peak_mb = peak_mb.max(memory_mb(&process, "VmHWM"));
            if let Some(status) = child.try_wait().expect("a child") {
                assert!(status.success(), "{arguments:?} failed");
                return (began.elapsed().as_secs_f64(), peak_mb);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Pulls and maps everything, or takes over what an earlier run kept; the peak memory of it.
    fn fill(&self, dossiers: u64, keep: Option<&Path>) -> u64 {
        let kept = keep.map(|folder| folder.join(format!("filled-{dossiers}.db")));
        if let Some(kept) = kept.as_ref().filter(|kept| kept.exists()) {
            std::fs::copy(kept, self.path("ledger.db")).expect("a copy");
            println!("filled before: {}", kept.display());
            return 0;
        }
        let (pull, pull_mb) = self.watched(&["run", "pull"]);
        println!("pulled in {pull:.0} s ({:.0}/s), peak {pull_mb} MB", dossiers as f64 / pull);
        let (map, map_mb) = self.watched(&["run", "map"]);
        println!("mapped in {map:.0} s ({:.0}/s), peak {map_mb} MB", dossiers as f64 / map);
        if let Some(kept) = kept {
            // Whoever closes a ledger last leaves everything in the file itself.
            std::fs::copy(self.path("ledger.db"), kept).expect("a copy");
        }
        pull_mb.max(map_mb)
    }

    fn serve(&self) -> Serving {
        let log = std::fs::File::create(self.path("log")).expect("a file");
        let child = self.command(&["serve"]).stderr(log).spawn().expect("the service starts");
        Serving { process: child.id().to_string(), child }
    }
}

struct Serving {
    child: Child,
    process: String,
}

impl Serving {
    /// As a machine that loses its power would.
    fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292,000,000")
}

/// When the portal first accepted a packet of this dossier after `since`, if it has.
async fn accepted_at(http: &ReqwestHttp, portal: &Lab, code: &str, since: i64) -> Option<i64> {
    let lines = get(http, format!("{}/lab/calls?code={code}", portal.url)).await;
    String::from_utf8_lossy(&lines)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|call| call["service"] == "DongBoHoSoMC")
        .filter_map(|call| call["at_ms"].as_i64())
        .find(|at| *at >= since)
}

async fn wait_for_accepted(http: &ReqwestHttp, portal: &Lab, code: &str, since: i64) -> i64 {
    let began = Instant::now();
    loop {
        if let Some(at) = accepted_at(http, portal, code, since).await {
            return at;
        }
        assert!(began.elapsed() < Duration::from_mins(2), "{code} never arrived");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Seconds from a change at the source to its arrival at the portal, one change after another.
async fn fresh_changes(
    http: &ReqwestHttp,
    site: &Site,
    province: &Lab,
    portal: &Lab,
    changes: usize,
) -> Vec<f64> {
    let mut codes = Vec::new();
    for _ in 0..changes {
        let since = now_ms();
        let url = format!("{}/lab/dossiers", province.url);
        let answer = post(http, url, r#"{"add": 1}"#.to_owned()).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
        let code = answer["codes"][0].as_str().expect("a code").to_owned();
        codes.push((code, since));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let mut took = Vec::new();
    for (code, since) in codes {
        // Those that a ministry owns are mirrored and never sent.
        if site.is_not_ours(&code) {
            continue;
        }
        let at = wait_for_accepted(http, portal, &code, since).await;
        took.push((at - since) as f64 / 1000.0);
    }
    took.sort_by(f64::total_cmp);
    took
}

fn p99(sorted: &[f64]) -> f64 {
    sorted[(sorted.len() * 99).div_ceil(100) - 1]
}

const POLL_MS: u64 = 1000;
const CHANGES: usize = 200;

#[tokio::main]
async fn main() {
    let mut keep: Option<PathBuf> = None;
    let mut numbers = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--keep" {
            keep = arguments.next().map(PathBuf::from);
        } else {
            numbers.extend(argument.parse::<u64>());
        }
    }
    let mut numbers = numbers.into_iter();
    let dossiers = numbers.next().unwrap_or(1_000_000);
    let attempts = numbers.next().unwrap_or(50_000_000);
    let http = ReqwestHttp::new(Duration::from_secs(5), 4).expect("a client");

    println!("## Nothing to do, and a fresh change without backlog\n");
    quiet(&http).await;

    println!("\n## {dossiers} dossiers, all of them still to be sent, 50 calls a second\n");
    let count = dossiers.to_string();
    let province =
        Lab::start(&["province", "--no-gzip", "--invalid-share", "0", "--dossiers", &count]);
    let portal = Lab::start(&["portal"]);
    let site = Site::new(&province, &portal, 50, POLL_MS);
    let filling_mb = site.fill(dossiers, keep.as_deref());
    backlog(&http, &site, &province, &portal, filling_mb).await;

    println!("\n## {attempts} attempts kept, beside a fiftieth of them\n");
    kept_attempts(&site, attempts).await;

    if MISSED.load(Ordering::Relaxed) {
        std::process::exit(1);
    }
}

async fn quiet(http: &ReqwestHttp) {
    let province = Lab::start(&["province", "--invalid-share", "0", "--dossiers", "100"]);
    let portal = Lab::start(&["portal"]);
    let site = Site::new(&province, &portal, 50, POLL_MS);
    let serving = site.serve();
    while portal.state(http).await["records"].as_u64().unwrap_or(0) < 80 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let took = fresh_changes(http, &site, &province, &portal, CHANGES).await;
    let limit = POLL_MS as f64 / 1000.0 + 2.0;
    figure("a fresh change to accepted, p99", p99(&took), limit, "s");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (cpu, began) = (cpu_seconds(&serving.process), Instant::now());
    tokio::time::sleep(Duration::from_secs(30)).await;
    let share = (cpu_seconds(&serving.process) - cpu) / began.elapsed().as_secs_f64();
    figure("idle: part of one core", share * 100.0, 1.0, "%");
    figure("idle: memory", memory_mb(&serving.process, "VmRSS") as f64, 40.0, "MB");
}

async fn backlog(http: &ReqwestHttp, site: &Site, province: &Lab, portal: &Lab, filling_mb: u64) {
    let began = Instant::now();
    let serving = site.serve();
    while portal.state(http).await["records"].as_u64().unwrap_or(0) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    figure("start to first accepted", began.elapsed().as_secs_f64(), 5.0, "s");
    serving.kill();

    let before = portal.state(http).await["records"].as_u64().unwrap_or(0);
    let began = Instant::now();
    let serving = site.serve();
    while portal.state(http).await["records"].as_u64().unwrap_or(0) <= before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    figure("start after kill -9 to first accepted", began.elapsed().as_secs_f64(), 5.0, "s");

    // The first poll of a new start goes back by the overlap.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let took = fresh_changes(http, site, province, portal, CHANGES).await;
    let limit = POLL_MS as f64 / 1000.0 + 2.0;
    figure("a fresh change to accepted under backlog, p99", p99(&took), limit, "s");

    let code = site.owed();
    figure("hoso status", site.timed(&["status"]) * 1000.0, 100.0, "ms");
    let explain = site.timed(&["dossier", "explain", &code]);
    figure("hoso dossier explain", explain * 1000.0, 100.0, "ms");

    let mut worst: f64 = 0.0;
    for _ in 0..5 {
        let code = site.owed();
        let since = now_ms();
        let done = site
            .command(&["resync", "--code", &code, "--reason", "measured", "--actor", "bench"])
            .status()
            .expect("the command runs");
        assert!(done.success(), "resync failed");
        let at = wait_for_accepted(http, portal, &code, since).await;
        worst = worst.max((at - since) as f64 / 1000.0);
    }
    figure("an urgent resync to accepted under backlog, worst of 5", worst, 2.0, "s");
    let peak = memory_mb(&serving.process, "VmHWM").max(filling_mb);
    figure("peak memory: filling, restart, sending", peak as f64, 200.0, "MB");
    serving.kill();
    let bytes = std::fs::metadata(site.path("ledger.db")).expect("a file").len();
    println!("the ledger has {:.2} GB", bytes as f64 / 1e9);
}

/// Rows of the past, made by SQL because living through them would take weeks.
async fn kept_attempts(site: &Site, attempts: u64) {
    let path = site.path("ledger.db");
    let code = site.owed();
    let few = attempts / 50;
    let mut stood = Vec::new();
    for (kept, more) in [(few, few), (attempts, attempts - few)] {
        let url = format!("sqlite://{}", path.display());
        let mut conn = sqlx::SqliteConnection::connect(&url).await.expect("the ledger");
        sqlx::query("PRAGMA synchronous = OFF").execute(&mut conn).await.expect("a setting");
        sqlx::query(
            // Every dossier once a round, so the one before is a round back, or the last of earlier rows.
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1),
             m (base, round) AS (
                 SELECT (SELECT coalesce(max(id), 0) FROM attempt), (SELECT max(id) FROM dossier))
             INSERT INTO attempt (id, dossier_id, entry_id, call_id, kind, number, at, outcome, previous_id)
             SELECT base + i, 1 + (i * 7919) % round, NULL, NULL, 'packet', 1, 1700000000000 + i, 'accepted',
                    CASE WHEN i > round THEN base + i - round
                         ELSE (SELECT last_attempt_id FROM dossier WHERE id = 1 + (i * 7919) % round) END
             FROM n CROSS JOIN m",
        )
        .bind(i64::try_from(more).expect("a number"))
        .execute(&mut conn)
        .await
        .expect("rows");
        sqlx::query(
            "UPDATE dossier SET last_attempt_id = a.id
             FROM (SELECT id, dossier_id FROM attempt WHERE id > (SELECT max(id) FROM attempt)
                       - min(?1, (SELECT max(id) FROM dossier))) AS a
             WHERE dossier.id = a.dossier_id",
        )
        .bind(i64::try_from(more).expect("a number"))
        .execute(&mut conn)
        .await
        .expect("chains");
        conn.close().await.expect("closed");
        let status = site.timed(&["status"]);
        let explain = site.timed(&["dossier", "explain", &code]);
        let history = site.timed(&["dossier", "history", &code]);
        let push = site.pushed_per_second();
        println!(
            "{kept:>11} kept: status {:.0} ms, explain {:.0} ms, history {:.0} ms, {push:.0} settled/s",
            status * 1e3,
            explain * 1e3,
            history * 1e3
        );
        stood.push((status, explain, push));
    }
    let (before, after) = (stood[0], stood[1]);
    figure("status, slower by", (after.0 / before.0 - 1.0) * 100.0, 20.0, "%");
    figure("dossier explain, slower by", (after.1 / before.1 - 1.0) * 100.0, 20.0, "%");
    figure("sending, slower by", (before.2 / after.2 - 1.0) * 100.0, 20.0, "%");
}

impl Site {
    /// A dossier at the end of the backlog: it would wait for days.
    fn owed(&self) -> String {
        self.query(
            "SELECT ma_ho_so FROM dossier JOIN entry ON entry.id = dossier.newest_entry_id
             WHERE entry.state = 'ready' AND dossier.id > (SELECT max(id) FROM dossier) - 5000
             ORDER BY random() LIMIT 1",
            "",
        )
    }

    fn is_not_ours(&self, code: &str) -> bool {
        let state = self.query(
            "SELECT coalesce((SELECT entry.state FROM dossier
             JOIN entry ON entry.id = dossier.newest_entry_id WHERE ma_ho_so = ?1), '')",
            code,
        );
        state == "not_ours"
    }

    /// The ledger's file read from outside, as nobody but a benchmark should.
    fn query(&self, sql: &'static str, about: &str) -> String {
        let url = format!("sqlite://{}?mode=ro", self.path("ledger.db").display());
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut conn = sqlx::SqliteConnection::connect(&url).await.expect("the ledger");
                sqlx::query_scalar(sql).bind(about).fetch_one(&mut conn).await.expect("an answer")
            })
        })
    }

    /// How fast a backlog goes when no quota holds it back.
    fn pushed_per_second(&self) -> f64 {
        let config = std::fs::read_to_string(self.path("hoso.toml")).expect("a file");
        let fast = config.replace("limit = 50\n", "limit = 1000000\nburst = 500000\n");
        std::fs::write(self.path("fast.toml"), fast).expect("a file");
        let sent = || -> i64 {
            self.query("SELECT cast(coalesce(max(id), 0) AS TEXT) FROM call", "")
                .parse()
                .expect("a number")
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_hoso"))
            .args(["run", "push", "--config"])
            .arg(self.path("fast.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts");
        std::thread::sleep(Duration::from_secs(5));
        let (from, began) = (sent(), Instant::now());
        std::thread::sleep(Duration::from_secs(15));
        let rate = (sent() - from) as f64 / began.elapsed().as_secs_f64();
        child.kill().expect("a child");
        child.wait().expect("a child");
        rate
    }
}
