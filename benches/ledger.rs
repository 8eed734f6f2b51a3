//! What a dossier's life costs the ledger's one writer, and what people's reading costs.
//!
//! `cargo bench --bench ledger` runs every verb over pages of 500 dossiers (5 KB each, six steps) on
//! a file that a commit is really written to (`synchronous=FULL`), then reads a ledger of that size.
//! Figures are printed, not judged: they depend on the disk.

#![expect(clippy::print_stdout, reason = "figures are this program's product")]
#![expect(clippy::disallowed_methods, reason = "what is measured is the machine's time")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hoso_gateway::domain::entry::Settlement;
use hoso_gateway::domain::lease::Lease;
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::domain::receipt::Receipt;
use hoso_gateway::domain::share::{Shares, Turns};
use hoso_gateway::domain::step::{StepIdentity, StepState};
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::Ledger;
use hoso_gateway::ledger::record::{
    CallRecord, Claim, MapOutcome, MappedEntry, MappedStep, PullCommit, ReceivedItem, Retention,
    SettleBatch, SettledEntry, SettledSteps, UpkeepPolicy, ValidPacket,
};
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};
use hoso_gateway::ledger::view::ProblemFilter;

const PAGE: usize = 500;
const BATCH: u32 = 256;
const STEPS: usize = 6;

/// Time and rows by verb, in the order in which they happen.
#[derive(Default)]
struct Figures {
    verbs: BTreeMap<(u8, &'static str), (Duration, usize)>,
}

impl Figures {
    fn add(&mut self, order: u8, verb: &'static str, since: Instant, rows: usize) {
        let figure = self.verbs.entry((order, verb)).or_default();
        figure.0 += since.elapsed();
        figure.1 += rows;
    }

    fn print(&self, dossiers: usize) {
        let mut life = 0.0;
        for ((_, verb), (time, rows)) in &self.verbs {
            let each = time.as_secs_f64() * 1e6 / (*rows).max(1) as f64;
            let rate = *rows as f64 / time.as_secs_f64();
            println!("{verb:<22} {each:>8.1} µs a dossier {rate:>10.0}/s");
            life += time.as_secs_f64() * 1e6 / dossiers as f64;
        }
        println!("{:<22} {life:>8.1} µs a dossier", "the whole life");
    }
}

/// A document that compresses about as a real dossier does: names and tags repeat, values do not.
fn document(number: usize) -> String {
    let mut text = String::with_capacity(5400);
    text.push_str("<HoSo phienBan=\"1\" capNhatLuc=\"2026-01-26T15:30:00.123+07:00\">");
    for field in 0..52 {
        let value = blake3::hash(&[number, field].map(usize::to_le_bytes).concat()).to_hex();
        text.push_str("<TruongThongTin ten=\"NoiDungXuLy\">Cán bộ tiếp nhận hồ sơ ");
        text.push_str(&value[..16]);
        text.push_str("</TruongThongTin>");
    }
    text.push_str("</HoSo>");
    text
}

fn page(round: usize, at: Timestamp) -> PullCommit {
    let items = (round * PAGE..(round + 1) * PAGE).map(|number| {
        let document = document(number);
        ReceivedItem {
            ma_ho_so: format!("H55.242-260126-{number:06}"),
            version: Some(1),
            changed_at: Some(at),
            deleted: false,
            ministry: false,
            recoded_from: None,
            fingerprint: *blake3::hash(document.as_bytes()).as_bytes(),
            document: document.into(),
        }
    });
    PullCommit {
        source: "province".into(),
        at,
        priority: Priority::Live,
        items: items.collect(),
        refused: Vec::new(),
        origin: None,
        cursor: Some((format!("cursor-{round}"), Some(at))),
        etag: None,
        caught_up: false,
    }
}

fn steps(ma_ho_so: &str) -> Vec<MappedStep> {
    let step = |number: usize| {
        let body = format!(
            "{{\"MaHoSo\":\"{ma_ho_so}\",\"NguoiXuLy\":\"Can bo {number}\",\"ChucDanh\":\"Chuyen vien\",\
             \"ThoiDiemXuLy\":\"2026012608{number:02}00\",\"PhongBanXuLy\":\"Bo phan mot cua\",\
             \"NoiDungXuLy\":\"{}\",\"TrangThai\":\"4\",\"NgayBatDau\":\"20260126080000\",\
             \"NgayKetThucTheoQuyDinh\":\"20260129170000\"}}",
            "xem xet ".repeat(12)
        );
        MappedStep {
            identity: StepIdentity {
                thoi_diem_xu_ly: format!("2026012608{number:02}00"),
                trang_thai: "4".into(),
                ordinal: 0,
            },
            hash: *blake3::hash(body.as_bytes()).as_bytes(),
            body,
        }
    };
    (0..STEPS).map(step).collect()
}

fn claim(lease: Lease) -> Claim {
    Claim { lease, limit: BATCH, turns: Turns::new(Shares::default()), urgent_only: false }
}

fn call(at: Timestamp) -> CallRecord {
    CallRecord {
        service: "DongBoHoSoMC",
        priority: Priority::Live,
        started_at: at,
        duration_ms: 120,
        items: 50,
        sent_bytes: 240_000,
        answer_bytes: 60,
        http_status: Some(200),
        error_code: Some("0".into()),
        message: "thanh cong".into(),
        outcome: "useful",
        correlation_id: None,
        body_hash: [7; 32],
        echoed: None,
    }
}

async fn live(ledger: &dyn Ledger, round: usize, figures: &mut Figures) {
    let at = Timestamp::from_millis(1_769_400_000_000 + i64::try_from(round).unwrap() * 60_000);
    let lease = Lease { token: 7, expires_at: at + Duration::from_mins(1) };
    let commit = page(round, at);
    let since = Instant::now();
    ledger.commit_pull(&commit).await.unwrap();
    figures.add(1, "commit_pull", since, PAGE);

    let since = Instant::now();
    let unmapped = ledger.to_map(500).await.unwrap();
    figures.add(2, "to_map (reader)", since, unmapped.len());
    let mapped: Vec<MappedEntry> = unmapped
        .into_iter()
        .map(|entry| MappedEntry {
            entry_id: entry.entry_id,
            dossier_id: entry.dossier_id,
            mapping_version: "2026.1".into(),
            outcome: MapOutcome::Valid(Box::new(ValidPacket {
                packet_hash: *blake3::hash(entry.document.as_bytes()).as_bytes(),
                packet: entry.document,
                steps: steps(&entry.ma_ho_so),
                warnings: Vec::new(),
                filed_at_portal: false,
                priority: None,
                appointed_at: None,
                finished: false,
                ma_tthc: "1.000105".into(),
                ma_don_vi: Some("H55.242".into()),
                facts: hoso_gateway::ledger::record::PacketFacts::default(),
                recoded_from: None,
                files: hoso_gateway::ledger::record::PacketFiles::default(),
            })),
        })
        .collect();
    let since = Instant::now();
    ledger.record_mapped(at, &mapped).await.unwrap();
    figures.add(3, "record_mapped", since, mapped.len());

    loop {
        let since = Instant::now();
        let claimed = ledger.claim_entries(at, claim(lease)).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        figures.add(4, "claim_entries", since, claimed.len());
        let entries = claimed.iter().enumerate().map(|(n, entry)| SettledEntry {
            entry_id: entry.entry_id,
            dossier_id: entry.dossier_id,
            lease_token: Some(7),
            attempt: entry.attempt,
            settlement: Settlement::Accepted {
                receipt: Receipt { code: "0".into(), message: "thanh cong".into() },
            },
            call: Some(n / 50),
            outcome: "accepted",
        });
        let batch = SettleBatch {
            calls: (0..=claimed.len() / 50).map(|_| call(at)).collect(),
            entries: entries.collect(),
            ..SettleBatch::default()
        };
        let since = Instant::now();
        ledger.settle(at, &batch).await.unwrap();
        figures.add(5, "settle packets", since, claimed.len());
    }
    loop {
        let since = Instant::now();
        let claimed = ledger.claim_steps(at, claim(lease), 10).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        figures.add(6, "claim_steps", since, claimed.len());
        let lanes = claimed.iter().enumerate().map(|(n, lane)| SettledSteps {
            dossier_id: lane.dossier_id,
            lease_token: 7,
            steps: lane
                .steps
                .iter()
                .map(|step| (step.identity.clone(), StepState::Acked))
                .collect(),
            due_at: at,
            retries: 0,
            alone: false,
            portal_lost_dossier: false,
            failure: None,
            call: Some(n),
            outcome: "accepted",
        });
        let batch = SettleBatch {
            calls: claimed.iter().map(|_| call(at)).collect(),
            steps: lanes.collect(),
            ..SettleBatch::default()
        };
        let since = Instant::now();
        ledger.settle(at, &batch).await.unwrap();
        figures.add(7, "settle steps", since, claimed.len());
    }
}

async fn read(ledger: &dyn Ledger, at: Timestamp) {
    let timed = |name: &str, since: Instant| {
        println!("{name:<22} {:>8.1} ms", since.elapsed().as_secs_f64() * 1e3);
    };
    let since = Instant::now();
    ledger.standing(at).await.unwrap();
    timed("standing", since);
    let since = Instant::now();
    ledger.problems(&ProblemFilter::default()).await.unwrap();
    timed("problems", since);
    let since = Instant::now();
    ledger.dossier("H55.242-260126-000100").await.unwrap();
    timed("one dossier", since);
    let since = Instant::now();
    ledger.claim_entries(at, claim(Lease { token: 1, expires_at: at })).await.unwrap();
    timed("claim of nothing", since);
    let policy = UpkeepPolicy {
        deadline_near_ms: 86_400_000,
        retention: Retention {
            bodies_ms: 90 * 24 * 3_600_000,
            attempts_ms: u64::MAX,
            revisions_ms: u64::MAX,
            audit_ms: u64::MAX,
            books_ms: u64::MAX,
            rows_max: 2000,
        },
        cursor_retention_ms: 24 * 3_600_000,
        watchdog_ms: 600_000,
        resend_unknown_supplement: false,
        wait_max_ms: 1_200_000,
        lease_max_ms: 125_000,
        owner_max_ms: 17_000,
    };
    let since = Instant::now();
    ledger.upkeep(at, &policy).await.unwrap();
    timed("upkeep, nothing to do", since);
    let policy =
        UpkeepPolicy { retention: Retention { bodies_ms: 0, ..policy.retention }, ..policy };
    let since = Instant::now();
    let dropped = ledger.upkeep(at, &policy).await.unwrap().bodies_dropped;
    timed("upkeep, one pass", since);
    println!("{:<22} {dropped:>8} bodies", "  of which dropped");
}

#[tokio::main]
async fn main() {
    // `cargo bench` passes `--bench`; a number is how many pages to live through.
    let rounds = std::env::args().find_map(|argument| argument.parse().ok());
    let rounds: usize = rounds.unwrap_or(20);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("ledger.db");
    let settings = SqliteSettings::default();
    let ledger = SqliteLedger::open(&path, &settings).await.unwrap();
    let mut figures = Figures::default();
    for round in 0..rounds {
        live(&ledger, round, &mut figures).await;
    }
    let dossiers = rounds * PAGE;
    figures.print(dossiers);
    let at = Timestamp::from_millis(1_769_500_000_000);
    read(&ledger, at).await;
    ledger.close().await;
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!(
        "{:<22} {:>8.1} KB a dossier, {dossiers} dossiers",
        "file",
        bytes as f64 / 1024.0 / dossiers as f64
    );
    let since = Instant::now();
    let ledger = SqliteLedger::open(&path, &settings).await.unwrap();
    println!("{:<22} {:>8.1} ms", "open (with its check)", since.elapsed().as_secs_f64() * 1e3);
    ledger.close().await;
}
