//! A fresh ledger, and short words for what source, mapping and portal do to it.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hoso_gateway::domain::diagnostic::{Diagnostic, Severity};
use hoso_gateway::domain::entry::{EntryState, PortalKnown, Settlement};
use hoso_gateway::domain::failure::{Disposition, Failure};
use hoso_gateway::domain::lease::Lease;
use hoso_gateway::domain::priority::Priority;
use hoso_gateway::domain::receipt::Receipt;
use hoso_gateway::domain::share::{Shares, Turns};
use hoso_gateway::domain::step::{StepIdentity, StepState};
use hoso_gateway::domain::time::Timestamp;
use hoso_gateway::ledger::Ledger;
use hoso_gateway::ledger::record::{
    AuditRecord, Claim, ClaimedEntry, ClaimedSteps, MapCounts, MapOutcome, MappedEntry, MappedStep,
    PacketFacts, PacketFiles, PullCommit, PullCounts, ReceivedItem, Retention, SettleBatch,
    SettleCounts, SettledEntry, SettledSteps, ToMap, UpkeepCounts, UpkeepPolicy, ValidPacket,
};
use hoso_gateway::ledger::sqlite::{SqliteLedger, SqliteSettings};
use hoso_gateway::ledger::view::{DossierView, EntryView};

pub(crate) const SOURCE: &str = "province";
pub(crate) const LEASE_SECONDS: i64 = 60;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A fresh ledger of its own. A second backend is a second way to fill `ledger`; the stories know
/// only the trait.
pub(crate) struct TestLedger {
    ledger: Arc<dyn Ledger>,
    folder: tempfile::TempDir,
}

pub(crate) async fn open_ledger() -> TestLedger {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    // What a machine's sudden death does is not tested here, so the disk need not be waited for.
    let settings = SqliteSettings { durable: false, ..SqliteSettings::default() };
    let ledger = Arc::new(SqliteLedger::open(&path, &settings).await.unwrap());
    TestLedger { ledger, folder }
}

impl Deref for TestLedger {
    type Target = dyn Ledger;
    fn deref(&self) -> &Self::Target {
        &*self.ledger
    }
}

/// Seconds after the stories begin.
pub(crate) const fn t(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_769_400_000_000 + seconds * 1000)
}

/// A dossier as the source gives it. The text says what mapping finds: `packet`, or
/// `packet | 0800/2 0900/4:note`, or `!` for one that the checks refuse; a trailing `@portal` for
/// one that was filed at the national portal.
pub(crate) fn item(code: &str, version: i64, text: &str) -> ReceivedItem {
    ReceivedItem {
        ma_ho_so: code.to_owned(),
        version: Some(version),
        changed_at: Some(t(version)),
        deleted: false,
        ministry: false,
        recoded_from: None,
        fingerprint: *blake3::hash(text.as_bytes()).as_bytes(),
        document: text.into(),
    }
}

pub(crate) fn deleted(code: &str, version: i64) -> ReceivedItem {
    ReceivedItem { deleted: true, ..item(code, version, "deleted") }
}

pub(crate) fn page(at: Timestamp, items: Vec<ReceivedItem>) -> PullCommit {
    PullCommit {
        source: SOURCE.to_owned(),
        at,
        priority: Priority::Live,
        items,
        refused: Vec::new(),
        origin: None,
        cursor: None,
        etag: None,
        caught_up: false,
    }
}

pub(crate) fn failure(code: &str, disposition: Disposition) -> Failure {
    Failure::new(code, disposition, "what happened, in a sentence")
}

pub(crate) fn unknown() -> Failure {
    failure("portal.timeout", Disposition::Ambiguous)
}

pub(crate) fn accepted() -> Settlement {
    Settlement::Accepted { receipt: Receipt { code: "0".into(), message: "thanh cong".into() } }
}

pub(crate) fn again(due_at: Timestamp, retries: u32) -> Settlement {
    Settlement::Ready {
        due_at,
        retries,
        batch_max: None,
        portal_known: None,
        failure: Some(failure("portal.busy", Disposition::Retryable)),
    }
}

pub(crate) fn flipped(due_at: Timestamp, known: PortalKnown) -> Settlement {
    Settlement::Ready {
        due_at,
        retries: 1,
        batch_max: None,
        portal_known: Some(known),
        failure: None,
    }
}

pub(crate) fn in_doubt(due_at: Timestamp) -> Settlement {
    Settlement::Unconfirmed { due_at, retries: 1, batch_max: None, failure: unknown() }
}

pub(crate) fn dead() -> Settlement {
    Settlement::Dead { failure: failure("portal.refused", Disposition::Data) }
}

pub(crate) fn lease(token: i64, now: Timestamp) -> Lease {
    Lease { token, expires_at: now + Duration::from_secs(LEASE_SECONDS.unsigned_abs()) }
}

pub(crate) fn audit(target: &str) -> AuditRecord {
    AuditRecord::new("operator", "resync", target, "asked by phone")
}

/// A claim of the usual kind.
pub(crate) fn claiming(token: i64, now: Timestamp, limit: u32) -> Claim {
    let turns = Turns::new(Shares::default());
    Claim { lease: lease(token, now), limit, turns, urgent_only: false }
}

/// Bodies for so many days, everything else for years.
pub(crate) fn retention_of(days: u64) -> Retention {
    Retention {
        bodies_ms: days * DAY_MS,
        attempts_ms: 3650 * DAY_MS,
        revisions_ms: 3650 * DAY_MS,
        audit_ms: 3650 * DAY_MS,
        books_ms: 3650 * DAY_MS,
        rows_max: 1000,
    }
}

pub(crate) fn upkeep_policy() -> UpkeepPolicy {
    UpkeepPolicy {
        deadline_near_ms: 86_400_000,
        retention: retention_of(90),
        cursor_retention_ms: DAY_MS,
        watchdog_ms: 60_000,
        resend_unknown_supplement: false,
        wait_max_ms: 1_200_000,
        lease_max_ms: 125_000,
        owner_max_ms: 17_000,
    }
}

pub(crate) fn settled(
    claimed: &ClaimedEntry,
    lease_token: Option<i64>,
    settlement: Settlement,
) -> SettledEntry {
    SettledEntry {
        entry_id: claimed.entry_id,
        dossier_id: claimed.dossier_id,
        lease_token,
        attempt: claimed.attempt,
        settlement,
        call: None,
        outcome: "test",
    }
}

/// A settlement of a call of steps: each step of it becomes `state`.
pub(crate) fn settled_steps(
    claimed: &ClaimedSteps,
    lease_token: i64,
    due_at: Timestamp,
    state: StepState,
) -> SettledSteps {
    let acked = state == StepState::Acked;
    SettledSteps {
        dossier_id: claimed.dossier_id,
        lease_token,
        steps: claimed.steps.iter().map(|step| (step.identity.clone(), state)).collect(),
        due_at,
        retries: if acked { 0 } else { claimed.retries + 1 },
        alone: false,
        portal_lost_dossier: false,
        failure: (!acked).then(|| failure("portal.refused", Disposition::Data)),
        call: None,
        outcome: "test",
    }
}

fn step(text: &str) -> MappedStep {
    let (key, note) = text.split_once(':').unwrap_or((text, ""));
    let (time, status) = key.split_once('/').unwrap();
    let (status, ordinal) = status.split_once('#').unwrap_or((status, "0"));
    MappedStep {
        identity: StepIdentity {
            thoi_diem_xu_ly: format!("20260126{time}00"),
            trang_thai: status.to_owned(),
            ordinal: ordinal.parse().unwrap(),
        },
        hash: *blake3::hash(text.as_bytes()).as_bytes(),
        body: format!(r#"{{"NoiDungXuLy":"{note}"}}"#),
    }
}

/// What the stories' mapping makes of an unmapped revision.
pub(crate) fn mapped(unmapped: &ToMap) -> MappedEntry {
    let text = unmapped.document.as_str();
    let (text, filed_at_portal) =
        text.strip_suffix("@portal").map_or((text, false), |text| (text, true));
    let (packet, steps) = text.split_once('|').unwrap_or((text, ""));
    let outcome = if unmapped.deleted {
        MapOutcome::NotOurs { rule: "source.deleted", recoded_to: None }
    } else if unmapped.ministry {
        MapOutcome::NotOurs { rule: "source.ministry", recoded_to: None }
    } else if text.starts_with('!') {
        let diagnostics = [
            ("mapping.length", Severity::Warning),
            ("mapping.required", Severity::Error),
            ("mapping.code", Severity::Error),
        ];
        MapOutcome::Quarantined {
            diagnostics: diagnostics
                .map(|(rule, severity)| Diagnostic {
                    rule: rule.into(),
                    severity,
                    source_path: "HoSo/MaHoSo".into(),
                    position: None,
                    target: "MaHoSo".into(),
                    expected: "a code".into(),
                    found: "empty".into(),
                })
                .into(),
        }
    } else {
        MapOutcome::Valid(Box::new(ValidPacket {
            packet: packet.trim().to_owned(),
            packet_hash: *blake3::hash(packet.trim().as_bytes()).as_bytes(),
            steps: steps.split_whitespace().map(step).collect(),
            warnings: Vec::new(),
            filed_at_portal,
            priority: None,
            appointed_at: None,
            finished: false,
            ma_tthc: "1.000105".into(),
            ma_don_vi: Some("H55.242".into()),
            facts: PacketFacts::default(),
            recoded_from: unmapped.recoded_from.clone(),
            files: PacketFiles::default(),
        }))
    };
    MappedEntry {
        entry_id: unmapped.entry_id,
        dossier_id: unmapped.dossier_id,
        mapping_version: "test-1".into(),
        outcome,
    }
}

impl TestLedger {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }

    pub(crate) async fn pull(&self, at: Timestamp, items: Vec<ReceivedItem>) -> PullCounts {
        self.commit_pull(&page(at, items)).await.unwrap()
    }

    /// Maps until nothing is left.
    pub(crate) async fn map(&self, now: Timestamp) -> MapCounts {
        let mut sum = MapCounts::default();
        loop {
            let unmapped = self.to_map(100).await.unwrap();
            if unmapped.is_empty() {
                return sum;
            }
            let mapped: Vec<MappedEntry> = unmapped.iter().map(mapped).collect();
            sum += self.record_mapped(now, &mapped).await.unwrap();
        }
    }

    /// Maps what waits, with this appointed time.
    pub(crate) async fn map_appointed(&self, now: Timestamp, appointed_at: Option<Timestamp>) {
        let mut mapped: Vec<MappedEntry> =
            self.to_map(100).await.unwrap().iter().map(mapped).collect();
        for entry in &mut mapped {
            if let MapOutcome::Valid(packet) = &mut entry.outcome {
                packet.appointed_at = appointed_at;
            }
        }
        self.record_mapped(now, &mapped).await.unwrap();
    }

    /// Maps what waits, each packet with the facts that `facts` gives its dossier.
    pub(crate) async fn map_with(&self, now: Timestamp, facts: impl Fn(&str, &mut ValidPacket)) {
        let unmapped = self.to_map(1000).await.unwrap();
        let mut mapped: Vec<MappedEntry> = unmapped.iter().map(mapped).collect();
        for (unmapped, entry) in unmapped.iter().zip(&mut mapped) {
            if let MapOutcome::Valid(packet) = &mut entry.outcome {
                facts(&unmapped.ma_ho_so, packet);
            }
        }
        self.record_mapped(now, &mapped).await.unwrap();
    }

    /// The source gives one revision and it is mapped at once.
    pub(crate) async fn receive(&self, now: Timestamp, item: ReceivedItem) -> MapCounts {
        self.pull(now, vec![item]).await;
        self.map(now).await
    }

    pub(crate) async fn claim(&self, now: Timestamp, token: i64) -> Vec<ClaimedEntry> {
        self.claim_entries(now, claiming(token, now, 100)).await.unwrap()
    }

    /// The one packet that is due.
    pub(crate) async fn claim_one(&self, now: Timestamp, token: i64) -> ClaimedEntry {
        let mut claimed = self.claim(now, token).await;
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        claimed.remove(0)
    }

    pub(crate) async fn settle_one(
        &self,
        now: Timestamp,
        claimed: &ClaimedEntry,
        token: i64,
        settlement: Settlement,
    ) -> SettleCounts {
        let batch = SettleBatch {
            entries: vec![settled(claimed, Some(token), settlement)],
            ..SettleBatch::default()
        };
        self.settle(now, &batch).await.unwrap()
    }

    /// What a look at the portal says about the one unconfirmed entry that is due.
    pub(crate) async fn read_back(&self, now: Timestamp, settlement: Settlement) -> SettleCounts {
        let found = self.claim_unconfirmed(now, now + Duration::from_secs(30), 10).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let batch = SettleBatch {
            entries: vec![SettledEntry {
                entry_id: found[0].entry_id,
                dossier_id: found[0].dossier_id,
                lease_token: None,
                attempt: found[0].attempt,
                settlement,
                call: None,
                outcome: "read back",
            }],
            ..SettleBatch::default()
        };
        self.settle(now, &batch).await.unwrap()
    }

    /// The portal accepts every packet that is due.
    pub(crate) async fn accept_all(&self, now: Timestamp) -> u64 {
        let claimed = self.claim(now, 1).await;
        let entries = claimed.iter().map(|entry| settled(entry, Some(1), accepted())).collect();
        let batch = SettleBatch { entries, ..SettleBatch::default() };
        self.settle(now, &batch).await.unwrap().accepted
    }

    /// Received, mapped, and accepted by the portal.
    pub(crate) async fn deliver(&self, now: Timestamp, item: ReceivedItem) {
        self.receive(now, item).await;
        assert_eq!(self.accept_all(now).await, 1);
    }

    pub(crate) async fn claim_steps_of(&self, now: Timestamp, token: i64) -> Vec<ClaimedSteps> {
        (**self).claim_steps(now, claiming(token, now, 100), 10).await.unwrap()
    }

    pub(crate) async fn settle_steps(
        &self,
        now: Timestamp,
        steps: Vec<SettledSteps>,
    ) -> SettleCounts {
        let batch = SettleBatch { steps, ..SettleBatch::default() };
        self.settle(now, &batch).await.unwrap()
    }

    /// The portal takes every step that may be sent.
    pub(crate) async fn ack_steps(&self, now: Timestamp) {
        loop {
            let claimed = self.claim_steps_of(now, 2).await;
            if claimed.is_empty() {
                return;
            }
            let settled =
                claimed.iter().map(|lane| settled_steps(lane, 2, now, StepState::Acked)).collect();
            self.settle_steps(now, settled).await;
        }
    }

    pub(crate) async fn keep_up(&self, now: Timestamp) -> UpkeepCounts {
        self.upkeep(now, &upkeep_policy()).await.unwrap()
    }

    pub(crate) async fn view(&self, code: &str) -> DossierView {
        let mut views = self.dossier(code).await.unwrap();
        assert_eq!(views.len(), 1, "{code}");
        views.remove(0)
    }

    /// States of the dossier's entries, oldest first.
    pub(crate) async fn states(&self, code: &str) -> Vec<EntryState> {
        let entries = self.view(code).await.entries;
        entries.iter().map(|entry| entry.state).collect()
    }

    pub(crate) async fn newest(&self, code: &str) -> EntryView {
        self.view(code).await.newest_entry().unwrap().clone()
    }

    /// `time/status=state`, in time order.
    pub(crate) async fn step_states(&self, code: &str) -> String {
        let steps = self.view(code).await.steps;
        let shown: Vec<String> = steps
            .iter()
            .map(|step| {
                let time = &step.thoi_diem_xu_ly[8..12];
                format!("{time}/{}={}", step.trang_thai, step.state)
            })
            .collect();
        shown.join(" ")
    }

    /// Open discrepancies, as `kind detail`.
    pub(crate) async fn open_discrepancies(&self, code: &str) -> Vec<String> {
        let found = self.view(code).await.discrepancies;
        found
            .iter()
            .filter(|found| found.resolved_at.is_none())
            .map(|found| format!("{} {}", found.kind, found.detail).trim().to_owned())
            .collect()
    }
}
