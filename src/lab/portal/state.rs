//! What the portal knows: records, sessions, quota, faults, and a journal of calls.
//!
//! All of it stands behind one lock; requests are read and checked before it is taken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::catalogue::Catalogue;
use super::faults::{Fault, Faults};
use super::quota::{Meter, OverQuota, Quota, WindowUse};
use super::session::Sessions;
use super::wire::{
    Answer, Ask, Batch, Call, CheckedDossier, CheckedStep, Login, TokenAsk, json_text,
};
use super::{OnRefusal, PortalOptions, Preregistered, ReadBack, StepMode};
use crate::domain::time::Timestamp;
use crate::lab::digest::{Digest, PortalRecord};
use crate::lab::packet::Packet;

/// The services this portal offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Service {
    #[serde(rename = "token")]
    Token,
    #[serde(rename = "login")]
    Login,
    #[serde(rename = "DongBoHoSoMC")]
    Dossiers,
    #[serde(rename = "CapNhatTienDoHoSoMC")]
    Steps,
    #[serde(rename = "TraCuuHoSo")]
    LookUp,
    #[serde(rename = "LayThuTuc")]
    Procedure,
    #[serde(rename = "LayDanhSachTTHC")]
    Procedures,
    #[serde(rename = "LayDanhMucLinhVuc")]
    Fields,
    #[serde(rename = "LayDanhMucCoQuan")]
    Agencies,
    #[serde(rename = "other")]
    Other,
}

impl Service {
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Login => "login",
            Self::Dossiers => "DongBoHoSoMC",
            Self::Steps => "CapNhatTienDoHoSoMC",
            Self::LookUp => "TraCuuHoSo",
            Self::Procedure => "LayThuTuc",
            Self::Procedures => "LayDanhSachTTHC",
            Self::Fields => "LayDanhMucLinhVuc",
            Self::Agencies => "LayDanhMucCoQuan",
            Self::Other => "other",
        }
    }

    /// Service names are compared with their case.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "DongBoHoSoMC" => Self::Dossiers,
            "CapNhatTienDoHoSoMC" => Self::Steps,
            "TraCuuHoSo" => Self::LookUp,
            "LayThuTuc" => Self::Procedure,
            "LayDanhSachTTHC" => Self::Procedures,
            "LayDanhMucLinhVuc" => Self::Fields,
            "LayDanhMucCoQuan" => Self::Agencies,
            _ => Self::Other,
        }
    }
}

/// What the portal did with a call, whatever the caller got to see of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Accepted,
    /// Create of a known dossier.
    Exists,
    /// Update or steps of an unknown dossier.
    UnknownDossier,
    /// A field breaks a rule, or the body cannot be read.
    Invalid,
    /// Refused on order of the laboratory.
    Refused,
    Hit,
    Miss,
    /// A list of the catalogue, whole or spoilt.
    Listed,
    LoggedIn,
    WrongPassword,
    NoSession,
    /// The platform or wrapper does not take what was shown; the portal hears nothing.
    NoToken,
    OverQuota,
    /// Without the right `dstcode`: the adapter answers, the portal hears nothing.
    Misaddressed,
    /// A fault kept the call from the portal.
    NotApplied,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallEntry {
    pub at_ms: i64,
    pub service: Service,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updating: Option<bool>,
    pub codes: Vec<String>,
    /// Of the packets or steps sent, in their order.
    pub digests: Vec<Digest>,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    /// Whether the whole answer went out, if perhaps slowly.
    pub answered: bool,
}

/// Numbers about the portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortalState {
    pub calls: u64,
    /// Accepted pushes of dossiers or steps.
    pub useful: u64,
    pub refused_by_quota: u64,
    /// Attempts that arrived at a full window, summed over the windows.
    pub overshoots: u64,
    pub windows: Vec<WindowUse>,
    pub records: usize,
    /// Dossier packets accepted, creates and updates.
    pub packets_accepted: u64,
    pub steps: u64,
    /// Steps whose nine values the dossier already had, kept or not.
    pub duplicated_steps: u64,
    pub sessions_issued: u64,
    pub tokens_issued: u64,
    pub outcomes: BTreeMap<Service, BTreeMap<Outcome, u64>>,
    /// Faults that struck, by name.
    pub faults: BTreeMap<&'static str, u64>,
}

/// The fields a read-back in echo mode gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EchoedFields {
    #[serde(rename = "MaTTHC")]
    pub ma_tthc: String,
    pub trich_yeu_ho_so: String,
    pub ngay_tiep_nhan: String,
    pub ngay_hen_tra: String,
    pub trang_thai_ho_so: String,
    pub ngay_tra: String,
    pub ngay_ket_thuc_xu_ly: String,
}

impl EchoedFields {
    pub(super) fn of(packet: &Packet<'_>) -> Self {
        Self {
            ma_tthc: packet.ma_tthc.clone().into_owned(),
            trich_yeu_ho_so: packet.trich_yeu_ho_so.clone().into_owned(),
            ngay_tiep_nhan: packet.ngay_tiep_nhan.clone().into_owned(),
            ngay_hen_tra: packet.ngay_hen_tra.clone().into_owned(),
            trang_thai_ho_so: packet.trang_thai_ho_so.clone().into_owned(),
            ngay_tra: packet.ngay_tra.clone().into_owned(),
            ngay_ket_thuc_xu_ly: packet.ngay_ket_thuc_xu_ly.clone().into_owned(),
        }
    }
}

#[derive(Debug)]
struct Record {
    digest: Digest,
    steps: Vec<Digest>,
    updates: u32,
    fields: Option<Box<EchoedFields>>,
}

/// Everything behind the lock.
#[derive(Debug)]
pub(super) struct State {
    options: PortalOptions,
    rng: Rng,
    sessions: Sessions,
    tokens: Sessions,
    meter: Meter,
    pub(super) faults: Faults,
    /// Dossiers refused until cleared, with the reason the portal gives.
    pub(super) refused: BTreeMap<String, String>,
    pub(super) catalogue: Catalogue,
    /// Items that are left of the next list.
    list_cut: Option<usize>,
    /// Known, and not found by look-ups.
    pub(super) hidden: BTreeSet<String>,
    records: BTreeMap<String, Record>,
    journal: VecDeque<CallEntry>,
    calls: u64,
    useful: u64,
    refused_by_quota: u64,
    packets_accepted: u64,
    steps: u64,
    duplicated_steps: u64,
    duplicates_refused: usize,
    refusals: usize,
    outcomes: BTreeMap<Service, BTreeMap<Outcome, u64>>,
    fault_counts: BTreeMap<&'static str, u64>,
}

impl State {
    pub(super) fn new(options: PortalOptions) -> Self {
        Self {
            rng: Rng::with_seed(options.seed),
            sessions: Sessions::new(Duration::from_secs(60 * options.session_minutes)),
            tokens: Sessions::new(Duration::from_secs(options.token_seconds)),
            meter: Meter::new(options.quota.clone()),
            faults: options.faults.clone(),
            refused: BTreeMap::new(),
            catalogue: Catalogue::whole(),
            list_cut: None,
            hidden: BTreeSet::new(),
            records: BTreeMap::new(),
            journal: VecDeque::new(),
            calls: 0,
            useful: 0,
            refused_by_quota: 0,
            packets_accepted: 0,
            steps: 0,
            duplicated_steps: 0,
            duplicates_refused: 0,
            refusals: 0,
            outcomes: BTreeMap::new(),
            fault_counts: BTreeMap::new(),
            options,
        }
    }

    /// Counts the arrival against the quota.
    pub(super) fn admit(&mut self, monotonic: Duration, wall: Timestamp) -> Result<(), OverQuota> {
        self.calls += 1;
        let verdict = self.meter.admit(monotonic, wall);
        self.refused_by_quota += u64::from(verdict.is_err());
        verdict
    }

    pub(super) fn set_quota(&mut self, quota: Quota) {
        self.meter = Meter::new(quota);
    }

    /// The fault of this call. Those that change the portal beforehand have done so.
    pub(super) fn strike(&mut self, service: Service, codes: &[&str]) -> Option<Fault> {
        let fault = self.faults.choose(&mut self.rng, service, codes)?;
        *self.fault_counts.entry(fault.name()).or_default() += 1;
        match fault {
            Fault::SessionExpired => self.sessions.end_all(),
            Fault::CutList { keep }
                if matches!(service, Service::Procedures | Service::Fields | Service::Agencies) =>
            {
                self.list_cut = Some(keep);
            }
            Fault::TokenExpired => self.tokens.end_all(),
            Fault::Forget => {
                for code in codes {
                    self.records.remove(*code);
                }
            }
            _ => {}
        }
        Some(fault)
    }

    pub(super) fn forget(&mut self, code: &str) -> bool {
        self.records.remove(code).is_some()
    }

    /// Somebody changes fields of a record at the portal. `false` when it has no such record, or
    /// keeps no such fields.
    pub(super) fn change(&mut self, code: &str, fields: &BTreeMap<String, String>) -> bool {
        let Some(kept) = self.records.get_mut(code).and_then(|record| record.fields.as_mut())
        else {
            return false;
        };
        let Ok(serde_json::Value::Object(mut whole)) = serde_json::to_value(&**kept) else {
            return false;
        };
        for (name, value) in fields {
            match whole.get_mut(name) {
                Some(field) => *field = value.clone().into(),
                None => return false,
            }
        }
        serde_json::from_value(whole.into()).map(|changed| **kept = changed).is_ok()
    }

    pub(super) fn log_in(&mut self, login: Option<&Login>, now: Duration) -> (Answer, Outcome) {
        let known = login.is_some_and(|login| {
            login.username == self.options.username && login.password == self.options.password
        });
        if !known {
            let answer = Answer::new(1, "Tài khoản hoặc mật khẩu không đúng");
            return (answer, Outcome::WrongPassword);
        }
        let session = self.sessions.issue(&mut self.rng, now);
        let answer =
            Answer::new(0, "Thành công").with(format!(",\"session\":{}", json_text(&session)));
        (answer, Outcome::LoggedIn)
    }

    pub(super) fn has_wrapper_secret(&self, shown: &str) -> bool {
        self.options.wrapper_secret.as_deref().is_none_or(|secret| secret == shown)
    }

    pub(super) fn has_token(&self, shown: &str, now: Duration) -> bool {
        self.tokens.is_valid(shown, now)
    }

    pub(super) fn give_token(
        &mut self,
        ask: Option<&TokenAsk>,
        now: Duration,
    ) -> (Answer, Outcome) {
        let known = ask.is_some_and(|ask| {
            ask.grant_type == "client_credentials"
                && ask.client_id == self.options.client_id
                && ask.client_secret == self.options.client_secret
        });
        if !known {
            let answer = Answer::new(1, "").with(",\"error\":\"invalid_client\"".to_owned());
            return (answer, Outcome::WrongPassword);
        }
        let token = self.tokens.issue(&mut self.rng, now);
        let rest = format!(
            ",\"access_token\":{},\"token_type\":\"Bearer\",\"expires_in\":{}",
            json_text(&token),
            self.options.token_seconds
        );
        (Answer::new(0, "").with(rest), Outcome::LoggedIn)
    }

    /// Does what the call asks, or refuses.
    pub(super) fn decide(&mut self, call: &Call, now: Duration) -> (Answer, Outcome) {
        if let Ask::Unreadable(field) = &call.ask
            && call.service == Service::Other
        {
            return self.invalid(&field.0, None);
        }
        if let Some(session) = &call.session
            && !self.sessions.is_valid(session, now)
        {
            let answer = Answer::new(-1, "Phiên đăng nhập không hợp lệ hoặc đã hết hạn");
            return (answer, Outcome::NoSession);
        }
        let agency_fits = match &self.options.agency {
            Some(agency) => call.agency == *agency,
            None => !call.agency.is_empty(),
        };
        if !agency_fits {
            return self.invalid("madonvi", None);
        }
        match &call.ask {
            Ask::Dossiers(batch) => self.take_dossiers(batch, call.updating == Some(true)),
            Ask::Steps(batch) => self.take_steps(batch),
            Ask::LookUp(code) => self.look_up(code),
            Ask::Procedure(code) => {
                let procedure = self.catalogue.procedure(code);
                let outcome = if procedure.is_some() { Outcome::Hit } else { Outcome::Miss };
                (with_result(&procedure.into_iter().collect::<Vec<_>>()), outcome)
            }
            Ask::Catalogue(list) => {
                let mut items = self.catalogue.list(*list);
                items.truncate(self.list_cut.take().unwrap_or(usize::MAX));
                (with_result(&items), Outcome::Listed)
            }
            Ask::Unreadable(field) => self.invalid(&field.0, None),
        }
    }

    fn take_dossiers(
        &mut self,
        batch: &Batch<CheckedDossier>,
        updating: bool,
    ) -> (Answer, Outcome) {
        let mut in_batch = BTreeSet::new();
        let mut refused = None;
        let mut sound = 0;
        for item in &batch.items {
            let first = in_batch.insert(item.code.as_str());
            let at_portal = match &self.options.preregistered {
                Preregistered::Nobody => false,
                Preregistered::ByFilingPlace => item.filed_at_portal,
                Preregistered::Listed(codes) => codes.contains(&item.code),
            };
            let known = at_portal || !first || self.records.contains_key(&item.code);
            refused = match self.refused.get(&item.code) {
                Some(why) => Some((Outcome::Refused, why.clone())),
                None if known && !updating => Some((Outcome::Exists, String::new())),
                None if !known && updating => Some((Outcome::UnknownDossier, String::new())),
                None => None,
            };
            if refused.is_some() {
                break;
            }
            sound += 1;
        }
        let whole = refused.is_none() && batch.refusal.is_none();
        if whole || self.options.on_refused_dossiers == OnRefusal::PrefixApplied {
            for item in &batch.items[..sound] {
                self.store(item);
            }
        }
        let alone = batch.alone.as_deref();
        match (refused, &batch.refusal) {
            (Some((outcome, why)), _) => self.refusal(outcome, &why, alone),
            (None, Some(field)) => self.invalid(&field.0, alone),
            (None, None) => {
                self.useful += 1;
                let answer = Answer::new(0, "Đồng bộ hồ sơ thành công");
                (answer, Outcome::Accepted)
            }
        }
    }

    fn store(&mut self, item: &CheckedDossier) {
        let keep_fields = self.options.keep_fields || self.options.read_back == ReadBack::Echo;
        let fields = keep_fields.then(|| item.fields.clone());
        self.packets_accepted += 1;
        if let Some(record) = self.records.get_mut(&item.code) {
            record.digest = item.digest;
            record.fields = fields;
            record.updates += 1;
            return;
        }
        let record = Record { digest: item.digest, steps: Vec::new(), updates: 0, fields };
        self.records.insert(item.code.clone(), record);
    }

    fn take_steps(&mut self, batch: &Batch<CheckedStep>) -> (Answer, Outcome) {
        let mut refused = None;
        let mut sound = 0;
        for item in &batch.items {
            refused = match self.refused.get(&item.code) {
                Some(why) => Some((Outcome::Refused, why.clone())),
                None if self.records.contains_key(&item.code) => None,
                None => Some((Outcome::UnknownDossier, String::new())),
            };
            if refused.is_some() {
                break;
            }
            sound += 1;
        }
        let whole = refused.is_none() && batch.refusal.is_none();
        if whole || self.options.on_refused_steps == OnRefusal::PrefixApplied {
            for item in &batch.items[..sound] {
                let Some(record) = self.records.get_mut(&item.code) else {
                    continue;
                };
                let again = record.steps.contains(&item.digest);
                self.duplicated_steps += u64::from(again);
                if !again || self.options.step_mode == StepMode::Append {
                    record.steps.push(item.digest);
                    self.steps += 1;
                }
            }
        }
        let alone = batch.alone.as_deref();
        match (refused, &batch.refusal) {
            (Some((outcome, why)), _) => self.refusal(outcome, &why, alone),
            (None, Some(field)) => self.invalid(&field.0, alone),
            (None, None) => {
                self.useful += 1;
                let answer = Answer::new(0, "Cập nhật tiến độ hồ sơ thành công");
                (answer, Outcome::Accepted)
            }
        }
    }

    fn look_up(&self, code: &str) -> (Answer, Outcome) {
        let record = self.records.get(code);
        let listed = matches!(&self.options.preregistered,
            Preregistered::Listed(codes) if codes.contains(code));
        if record.is_none() && !listed || self.hidden.contains(code) {
            let answer = Answer::new(0, "").with(",\"result\":[]".to_owned());
            return (answer, Outcome::Miss);
        }
        let mut item = format!("{{\"MaHoSo\":{}", json_text(code));
        let echoed = record
            .filter(|_| self.options.read_back == ReadBack::Echo)
            .and_then(|record| record.fields.as_deref());
        if let Some(fields) = echoed {
            // A flat structure of text always has a JSON form, and it begins with a brace.
            let fields = serde_json::to_string(fields).unwrap_or_default();
            item.push(',');
            item.push_str(fields.trim_start_matches('{').trim_end_matches('}'));
        }
        item.push('}');
        let answer = Answer::new(0, "").with(format!(",\"result\":[{item}]"));
        (answer, Outcome::Hit)
    }

    fn invalid(&mut self, field: &str, alone: Option<&str>) -> (Answer, Outcome) {
        self.refusals += 1;
        let code = [-3, 3][self.refusals % 2];
        let message = match alone {
            Some(dossier) => format!("Dữ liệu không hợp lệ: {field} (MaHoSo {dossier})"),
            None => format!("Dữ liệu không hợp lệ: {field}"),
        };
        (Answer::new(code, message), Outcome::Invalid)
    }

    /// A whole batch is refused with one sentence, which names a dossier only when it is alone.
    fn refusal(&mut self, outcome: Outcome, why: &str, alone: Option<&str>) -> (Answer, Outcome) {
        self.refusals += 1;
        let who = alone.map_or_else(|| "Hồ sơ".to_owned(), |code| format!("Hồ sơ {code}"));
        let code = [3, -3][self.refusals % 2];
        let answer = match outcome {
            Outcome::Exists => {
                self.duplicates_refused += 1;
                let code = [0, 3, -3][self.duplicates_refused % 3];
                Answer::new(code, format!("{who} đã tồn tại"))
            }
            Outcome::UnknownDossier => {
                Answer::new(code, format!("{who} chưa tồn tại trên hệ thống"))
            }
            _ => Answer::new(code, format!("{who} bị từ chối: {why}")),
        };
        (answer, outcome)
    }

    pub(super) fn write_down(&mut self, entry: CallEntry) {
        *self.outcomes.entry(entry.service).or_default().entry(entry.outcome).or_default() += 1;
        if self.options.journal_limit == 0 {
            return;
        }
        if self.journal.len() >= self.options.journal_limit {
            self.journal.pop_front();
        }
        self.journal.push_back(entry);
    }

    pub(super) fn keeps_journal(&self) -> bool {
        self.options.journal_limit > 0
    }

    pub(super) fn calls_about(&self, code: Option<&str>) -> Vec<CallEntry> {
        self.journal
            .iter()
            .filter(|entry| code.is_none_or(|code| entry.codes.iter().any(|known| known == code)))
            .cloned()
            .collect()
    }

    pub(super) fn records_after(&self, after: Option<&str>, limit: usize) -> Vec<PortalRecord> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.records
            .range::<str, _>((start, Bound::Unbounded))
            .take(limit)
            .map(|(code, record)| record.view(code))
            .collect()
    }

    pub(super) fn record(&self, code: &str) -> Option<(PortalRecord, Option<EchoedFields>)> {
        let record = self.records.get(code)?;
        Some((record.view(code), record.fields.as_deref().cloned()))
    }

    pub(super) fn view(&self) -> PortalState {
        let windows = self.meter.usage();
        PortalState {
            calls: self.calls,
            useful: self.useful,
            refused_by_quota: self.refused_by_quota,
            overshoots: windows.iter().map(|window| window.overshoots).sum(),
            windows,
            records: self.records.len(),
            packets_accepted: self.packets_accepted,
            steps: self.steps,
            duplicated_steps: self.duplicated_steps,
            sessions_issued: self.sessions.issued_total,
            tokens_issued: self.tokens.issued_total,
            outcomes: self.outcomes.clone(),
            faults: self.fault_counts.clone(),
        }
    }
}

fn with_result(items: &[serde_json::Value]) -> Answer {
    // Lists of plain values always have a JSON form.
    let items = serde_json::to_string(items).unwrap_or_default();
    Answer::new(0, "").with(format!(",\"result\":{items}"))
}

impl Record {
    fn view(&self, code: &str) -> PortalRecord {
        PortalRecord {
            code: code.to_owned(),
            digest: self.digest,
            steps: self.steps.clone(),
            updates: self.updates,
        }
    }
}
