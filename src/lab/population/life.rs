//! How a dossier is registered and moves through its states.
//!
//! The states are those of the portal (1 registered … 10 returned). A plan of states is drawn at
//! registration; each event of the plan adds one step, moves the dates that belong to it, and never
//! touches an earlier step. A dossier at its end is still corrected now and then.

use std::borrow::Cow;
use std::time::Duration;

use fastrand::Rng;

use super::PopulationOptions;
use super::flaw::Flaw;
use super::model::{LabDossier, Owner, Style, TimeForm};
use super::pools::{self, Agency, Procedure, pick};
use crate::domain::time::Timestamp;
use crate::lab::packet::{
    DinhDanh, GiayToKetQua, HoSoBoSung, KetNoiCsdl, LePhi, Packet, Step, TaiLieuNop, TepDinhKemKhac,
};

type Text = Cow<'static, str>;

const DAY: Duration = Duration::from_hours(24);

/// What happens to a dossier after its birth.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The next event of its plan, or a correction after its end.
    Progress,
    /// What had ended is taken up again; of one that has not, this is [`Event::Progress`].
    Reopen,
    /// The citizen withdraws it; of one that has ended, this is [`Event::Progress`].
    Withdraw,
    /// Its source goes on with it under another code, with its whole history.
    Recode,
}

impl Event {
    pub const ALL: [Self; 4] = [Self::Progress, Self::Reopen, Self::Withdraw, Self::Recode];
}

/// An event and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub at: Timestamp,
    pub event: Event,
}

impl Change {
    pub fn progress(at: Timestamp) -> Self {
        Self { at, event: Event::Progress }
    }
}

/// Draws a dossier and lets it live until `now`.
pub(super) fn register(
    rng: &mut Rng,
    index: u32,
    now: Timestamp,
    options: &PopulationOptions,
    procedures: &[Procedure],
) -> LabDossier {
    let agency = pick(rng, &pools::AGENCIES);
    let procedure = pick(rng, procedures);
    let (field_code, field_name) = *pick(rng, &pools::FIELDS);
    let channel = match rng.u8(..100) {
        0..62 => "2",
        62..96 => "1",
        _ => "3",
    };
    let at_portal = channel == "2" || rng.u8(..100) < 3;
    let plan = draw_plan(rng, at_portal);
    let days_ago = rng.u32(1..=options.span_days.max(1));
    let filed_at = working_time(rng, now - DAY * days_ago);
    let code = dossier_code(rng, agency, filed_at, index);
    let mut dossier = LabDossier {
        packet: Packet::default(),
        steps: Vec::with_capacity(plan.len()),
        version: 0,
        changed_at: filed_at,
        owner: Owner::Province,
        deleted: false,
        flaw: None,
        recoded_from: None,
        style: draw_style(rng),
        agency_code: agency.code,
        tax_number: None,
        plan,
        lived: 0,
        working_days: *pick(rng, &[1, 2, 5, 7, 10, 15, 20]),
    };
    let packet = &mut dossier.packet;
    packet.ma_ho_so = code.into();
    packet.ma_tthc = match rng.u8(..100) {
        0..30 => procedure.code.clone(),
        30..75 => format!("{}.000.00.00.H55", procedure.code),
        _ => format!("{}.H55", procedure.code),
    }
    .into();
    packet.ten_tthc = procedure.name.clone().into();
    packet.ma_linh_vuc = field_code.into();
    packet.ten_linh_vuc = field_name.into();
    packet.kenh_thuc_hien = channel.into();
    packet.noi_nop_ho_so = if at_portal { "1" } else { "2" }.into();
    packet.don_vi_xu_ly = agency.name.into();
    packet.hinh_thuc = if rng.u8(..4) == 0 { "1" } else { "0" }.into();
    packet.ngay_nop_ho_so = filed_at.to_portal().into();
    packet.ngay_tiep_nhan = packet.ngay_nop_ho_so.clone();
    packet.trich_yeu_ho_so =
        format!("{}, hồ sơ số {} gồm {:02} trang", procedure.name, index + 1, rng.u8(1..60)).into();
    draw_owner(rng, &mut dossier);
    draw_papers(rng, &mut dossier);

    // The share of each kind is drawn for every dossier, so that changing one share leaves the
    // others where they were.
    let (flawed, ministry, deleted) = (rng.f64(), rng.f64(), rng.f64());
    let flaw = *pick(rng, &Flaw::ALL);
    dossier.flaw = (flawed < options.invalid_share).then_some(flaw);
    if ministry < options.ministry_share {
        dossier.owner = Owner::Ministry;
    }
    dossier.deleted = deleted < options.deleted_share;

    let mut at = filed_at;
    while dossier.lived < dossier.plan.len() && at <= now {
        live(&mut dossier, rng, at);
        let next = dossier.plan.get(dossier.lived).copied().unwrap_or_default();
        // Finished and handed over at the same desk: one time, two states.
        let together = next == 10 && rng.u8(..12) == 0;
        if !together {
            let pause = Duration::from_secs(rng.u64(20 * 60..30 * 3_600));
            at = working_time(rng, at + pause);
        }
    }
    dossier.changed_at = (dossier.changed_at + Duration::from_millis(rng.u64(..900))).min(now);
    dossier
}

/// One more change.
pub(super) fn change(dossier: &mut LabDossier, rng: &mut Rng, change: Change) {
    let Change { at, event } = change;
    match event {
        Event::Reopen if dossier.is_ended() => {
            reopen(dossier);
            live_after_the_last_step(dossier, rng, at);
        }
        Event::Withdraw if !dossier.is_ended() => {
            dossier.plan.truncate(dossier.lived);
            dossier.plan.push(7);
            live_after_the_last_step(dossier, rng, at);
        }
        Event::Recode => recode(dossier),
        _ if dossier.lived < dossier.plan.len() => live_after_the_last_step(dossier, rng, at),
        _ => {
            dossier.version += 1;
            dossier.packet.ghi_chu = format!(
                "Đính chính lần {}: cập nhật thông tin lưu trữ số {}",
                dossier.version,
                rng.u32(1_000..10_000)
            )
            .into();
        }
    }
    dossier.changed_at = at;
}

/// Equal times are told apart by status only, so a change keeps to its own second.
fn live_after_the_last_step(dossier: &mut LabDossier, rng: &mut Rng, at: Timestamp) {
    let after = dossier
        .steps
        .last()
        .and_then(|step| Timestamp::from_portal(&step.thoi_diem_xu_ly))
        .map_or(at, |last| last + Duration::from_secs(1));
    live(dossier, rng, at.max(after));
}

/// What the end had left in the packet is taken back; the history stays.
fn reopen(dossier: &mut LabDossier) {
    let packet = &mut dossier.packet;
    for end in [&mut packet.ngay_tra, &mut packet.ngay_ket_thuc_xu_ly, &mut packet.thong_tin_tra] {
        *end = "".into();
    }
    packet.ngay_tu_choi = "".into();
    dossier.plan.truncate(dossier.lived);
    dossier.plan.extend([4, 9, 10]);
}

/// A serial of its own in the same office on the same day. Each step names the new code, too.
fn recode(dossier: &mut LabDossier) {
    let old = dossier.packet.ma_ho_so.clone().into_owned();
    let serial = old.rsplit('-').next().unwrap_or_default();
    let day = dossier.received_on()[2..].to_owned();
    let code: Text = format!("{}-{day}-7{serial:0>7}", dossier.agency_code).into();
    for step in &mut dossier.steps {
        step.ma_ho_so.clone_from(&code);
    }
    dossier.packet.ma_ho_so = code;
    dossier.recoded_from = Some(old);
    dossier.version += 1;
}

fn draw_plan(rng: &mut Rng, online: bool) -> Vec<u8> {
    let roll = rng.u8(..100);
    if roll < 4 {
        return vec![1, 3];
    }
    let mut plan = Vec::with_capacity(13);
    if online {
        plan.push(1);
    }
    plan.push(2);
    plan.extend(std::iter::repeat_n(4, rng.usize(1..=4)));
    let rounds = match roll {
        4..16 => 1,
        16..19 => 2,
        _ => 0,
    };
    for _ in 0..rounds {
        plan.extend([5, if rng.bool() { 2 } else { 4 }]);
    }
    if rounds < 2 && rng.u8(..100) < 10 {
        plan.extend([6, 4]);
    }
    match rng.u8(..100) {
        0..4 => plan.push(7),
        4..8 => plan.push(8),
        8..20 => plan.push(9),
        _ => plan.extend([9, 10]),
    }
    plan
}

/// The next event of the plan.
fn live(dossier: &mut LabDossier, rng: &mut Rng, at: Timestamp) {
    let status = dossier.plan[dossier.lived];
    dossier.lived += 1;
    dossier.version += 1;
    dossier.changed_at = at;
    let at_text: Text = at.to_portal().into();
    let officer = *pick(rng, &pools::OFFICERS);
    close_supplement(dossier, rng, at);
    let what: Text = match status {
        1 => "Công dân nộp hồ sơ trực tuyến".into(),
        2 => {
            receive(dossier, rng, at);
            "Tiếp nhận hồ sơ, kiểm tra thành phần & in giấy tiếp nhận".into()
        }
        3 => {
            dossier.packet.ngay_tu_choi.clone_from(&at_text);
            dossier.packet.thong_tin_tra = "Hồ sơ không thuộc thẩm quyền giải quyết".into();
            "Từ chối tiếp nhận hồ sơ".into()
        }
        5 => {
            open_supplement(dossier, rng, officer.0, at);
            "Yêu cầu bổ sung giấy tờ còn thiếu".into()
        }
        6 => {
            add_fee(dossier, rng);
            dossier.packet.duoc_thanh_toan_truc_tuyen = "3".into();
            "Thông báo nghĩa vụ tài chính".into()
        }
        7 => {
            dossier.packet.thong_tin_tra = "Công dân có văn bản xin rút hồ sơ".into();
            "Dừng giải quyết theo yêu cầu của công dân".into()
        }
        8 => {
            dossier.packet.thong_tin_tra = "Dừng xử lý do hết hạn bổ sung".into();
            "Dừng xử lý hồ sơ".into()
        }
        9 => {
            finish(dossier, rng, &at_text);
            "Kết thúc xử lý, có kết quả".into()
        }
        10 => {
            dossier.packet.ngay_tra.clone_from(&at_text);
            dossier.packet.thong_tin_tra = "Đã trả kết quả cho công dân".into();
            "Trả kết quả".into()
        }
        _ => {
            settle_fees(dossier, rng);
            format!("Thụ lý hồ sơ, bước {}: thẩm định nội dung theo quy định", dossier.lived).into()
        }
    };
    dossier.packet.trang_thai_ho_so = status.to_string().into();
    let planned = rng.bool();
    dossier.steps.push(Step {
        ma_ho_so: dossier.packet.ma_ho_so.clone(),
        nguoi_xu_ly: officer.0.into(),
        chuc_danh: officer.1.into(),
        thoi_diem_xu_ly: at_text.clone(),
        phong_ban_xu_ly: (*pick(rng, &pools::DEPARTMENTS)).into(),
        noi_dung_xu_ly: what,
        trang_thai: dossier.packet.trang_thai_ho_so.clone(),
        ngay_bat_dau: if planned { at_text } else { "".into() },
        ngay_ket_thuc_theo_quy_dinh: if planned {
            (at + DAY * 2).to_portal().into()
        } else {
            "".into()
        },
    });
}

fn receive(dossier: &mut LabDossier, rng: &mut Rng, at: Timestamp) {
    let again = dossier.steps.iter().any(|step| step.trang_thai == "2");
    if again {
        return;
    }
    dossier.packet.ngay_tiep_nhan = at.to_portal().into();
    // Some are answered the same day and have no appointment.
    if rng.u8(..100) >= 5 {
        dossier.packet.ngay_hen_tra = appointment(at, dossier.working_days);
    }
}

fn open_supplement(dossier: &mut LabDossier, rng: &mut Rng, officer: &'static str, at: Timestamp) {
    let packet = &mut dossier.packet;
    let before = if packet.ngay_hen_tra.is_empty() {
        packet.ngay_tiep_nhan.clone()
    } else {
        packet.ngay_hen_tra.clone()
    };
    packet.danh_sach_ho_so_bo_sung.push(HoSoBoSung {
        ho_so_bo_sung_id: rng.i64(100_000..1_000_000),
        nguoi_yeu_cau_bo_sung: officer.into(),
        noi_dung_bo_sung: "Bổ sung bản sao có chứng thực".into(),
        ngay_bo_sung: at.to_portal().into(),
        nguoi_tiep_nhan_bo_sung: "".into(),
        thong_tin_tiep_nhan: "".into(),
        ngay_tiep_nhan_bo_sung: "".into(),
        trang_thai_bo_sung: false,
        danh_sach_giay_to_bo_sung: Vec::new(),
        danh_sach_le_phi_bo_sung: Vec::new(),
        ngay_hen_tra_truoc: before,
        ngay_hen_tra_moi: "".into(),
    });
}

/// The event after a request for more papers brings them.
fn close_supplement(dossier: &mut LabDossier, rng: &mut Rng, at: Timestamp) {
    let days = dossier.working_days;
    let packet = &mut dossier.packet;
    let Some(round) =
        packet.danh_sach_ho_so_bo_sung.last_mut().filter(|round| !round.trang_thai_bo_sung)
    else {
        return;
    };
    round.trang_thai_bo_sung = true;
    round.nguoi_tiep_nhan_bo_sung = pools::OFFICERS[4].0.into();
    round.thong_tin_tiep_nhan = "Đã nhận đủ giấy tờ bổ sung".into();
    round.ngay_tiep_nhan_bo_sung = at.to_portal().into();
    round.danh_sach_giay_to_bo_sung.push(paper(rng));
    if rng.u8(..3) == 0 {
        round.danh_sach_le_phi_bo_sung.push(fee(rng, "2"));
    }
    round.ngay_hen_tra_moi = appointment(at, days);
    packet.ngay_hen_tra = round.ngay_hen_tra_moi.clone();
}

fn add_fee(dossier: &mut LabDossier, rng: &mut Rng) {
    let fee = fee(rng, "1");
    dossier.packet.danh_sach_le_phi.push(fee);
}

fn settle_fees(dossier: &mut LabDossier, rng: &mut Rng) {
    if dossier.packet.duoc_thanh_toan_truc_tuyen == "3" {
        dossier.packet.duoc_thanh_toan_truc_tuyen = if rng.bool() { "1" } else { "2" }.into();
    }
}

fn finish(dossier: &mut LabDossier, rng: &mut Rng, at: &Text) {
    dossier.packet.ngay_ket_thuc_xu_ly.clone_from(at);
    let (code, name) = *pick(rng, &pools::RESULTS);
    dossier.packet.danh_sach_giay_to_ket_qua.push(GiayToKetQua {
        ten_giay_to: format!("{name}.pdf").into(),
        ma_thanh_phan_ho_so: "".into(),
        giay_to_id: rng.u32(50_000..1_000_000).to_string().into(),
        duong_dan_tep_tin_ket_qua: link(rng, "kq"),
        ma_giay_to_ket_qua: code.into(),
    });
}

fn draw_owner(rng: &mut Rng, dossier: &mut LabDossier) {
    let packet = &mut dossier.packet;
    let kind = rng.u8(..100);
    packet.so_dien_thoai = format!("0000{:06}", rng.u32(..1_000_000)).into();
    if kind < 82 {
        packet.loai_doi_tuong = "1".into();
        packet.chu_ho_so = pools::person(rng).into();
        // No identity number in use begins with 999.
        let (kind, number) = if rng.u8(..100) < 92 {
            ("1", format!("999{:09}", rng.u32(..1_000_000_000)))
        } else {
            ("2", format!("999{:06}", rng.u32(..1_000_000)))
        };
        packet
            .dinh_danh_chs
            .push(DinhDanh { loai_dinh_danh: kind.into(), so_dinh_danh: number.into() });
    } else {
        packet.loai_doi_tuong = match kind {
            82..97 => "2",
            97..99 => "3",
            _ => "4",
        }
        .into();
        packet.chu_ho_so = pools::firm(rng).into();
        dossier.tax_number = Some(format!("999{:07}", rng.u32(..10_000_000)));
        packet.fax = packet.so_dien_thoai.clone();
    }
    if rng.u8(..3) == 0 {
        packet.email = format!("nguoi.nop.{}@example.invalid", rng.u32(..1_000_000)).into();
    }
    if packet.kenh_thuc_hien == "2" {
        if rng.u8(..100) < 80 {
            packet.ma_doi_tuong = Some(
                format!("{:08x}-0000-4000-8000-{:012x}", rng.u32(..), rng.u64(..0xFFFF_FFFF_FFFF))
                    .into(),
            );
        }
        packet.tai_khoan_duoc_xac_thuc_voi_vneid = "1".into();
    } else {
        packet.tai_khoan_duoc_xac_thuc_voi_vneid = "0".into();
    }
}

fn draw_papers(rng: &mut Rng, dossier: &mut LabDossier) {
    let packet = &mut dossier.packet;
    for _ in 0..rng.usize(1..=3) {
        packet.tai_lieu_nop.push(paper(rng));
    }
    let digitised = packet.tai_lieu_nop.iter().any(|paper| paper.duoc_so_hoa == "1");
    packet.ho_so_co_thanh_phan_so_hoa = if digitised { "1" } else { "0" }.into();
    packet.duoc_thanh_toan_truc_tuyen = "0".into();
    if rng.bool() {
        let first = fee(rng, "1");
        packet.danh_sach_le_phi.push(first);
        packet.duoc_thanh_toan_truc_tuyen = (*pick(rng, &["1", "2", "3"])).into();
    }
    if rng.u8(..4) == 0 {
        packet.danh_sach_tep_dinh_kem_khac.push(TepDinhKemKhac {
            ten_giay_to: "Bản sao giấy tờ không số hóa".into(),
            so_luong: rng.u32(1..4),
            loai_giay_to: rng.u32(..3),
        });
    }
    if rng.u8(..5) == 0 {
        packet.thong_tin_khac = "Công dân đề nghị nhận thông báo qua tin nhắn".into();
    }
    packet.ds_ket_noi_csdl.push(KetNoiCsdl { ma_csdl: "1".into() });
    if rng.u8(..4) == 0 {
        packet.ds_ket_noi_csdl.push(KetNoiCsdl { ma_csdl: "7".into() });
    }
}

fn draw_style(rng: &mut Rng) -> Style {
    Style {
        decomposed: rng.u8(..100) < 6,
        padded: rng.u8(..100) < 6,
        times: match rng.u8(..100) {
            0..60 => TimeForm::FourteenDigits,
            60..85 => TimeForm::IsoWithOffset,
            85..95 => TimeForm::IsoWithoutOffset,
            _ => TimeForm::IsoUtc,
        },
    }
}

/// Agency, day and serial, in one of the grammars that are in use side by side.
fn dossier_code(rng: &mut Rng, agency: &Agency, at: Timestamp, index: u32) -> String {
    let long_day = at.vietnam_day();
    let day = &long_day[2..];
    let serial = index + 1;
    match rng.u8(..100) {
        0..62 => format!("{}-{day}-{serial:04}", agency.code),
        62..77 => format!("{}-{day}-{serial:04}", agency.old_code),
        77..92 => format!("{}-{day}-{serial:05}", &agency.code[..3]),
        // A procedure served by a ministry's central system: two digits of the owner first.
        92..97 => format!("{}.00-{day}-15{serial:04}", agency.code),
        _ => format!("{}-{long_day}-{serial:07}", agency.code),
    }
}

fn paper(rng: &mut Rng) -> TaiLieuNop<'static> {
    let reused = match rng.u8(..100) {
        0..80 => "0",
        80..92 => "1",
        _ => "2",
    };
    TaiLieuNop {
        tep_dinh_kem_id: rng.u32(10_000..10_000_000).to_string().into(),
        ten_tep_dinh_kem: (*pick(rng, &pools::PAPERS)).into(),
        is_deleted: "False".into(),
        ma_thanh_phan_ho_so: if rng.bool() {
            format!("000.00.00.G15-KQ{:06}", rng.u32(1..3_000)).into()
        } else {
            "".into()
        },
        duong_dan_tai_tep_tin: link(rng, "t"),
        duoc_so_hoa: if rng.u8(..3) == 0 { "1" } else { "0" }.into(),
        duoc_tai_su_dung: reused.into(),
        duoc_lay_tu_kho_dmqg: if rng.u8(..10) == 0 { "1" } else { "0" }.into(),
        ma_ket_qua_thay_the: if reused == "2" {
            pick(rng, &pools::RESULTS).0.into()
        } else {
            "".into()
        },
    }
}

fn fee(rng: &mut Rng, collected: &'static str) -> LePhi<'static> {
    LePhi {
        ten_phi_le_phi: "Phí, lệ phí theo Nghị quyết HĐND tỉnh".into(),
        ma_phi_le_phi: pools::fee_code(rng.u8(pools::FEES)).into(),
        hinh_thuc_thu: collected.into(),
        gia: (rng.u32(2..500) * 1_000).to_string().into(),
        loai_phi_le_phi: (*pick(rng, &["1", "1", "2"])).into(),
    }
}

fn link(rng: &mut Rng, folder: &str) -> Text {
    format!("https://tep.example.invalid/{folder}/{:016x}", rng.u64(..)).into()
}

/// The end of the last working day granted.
fn appointment(from: Timestamp, working_days: u32) -> Text {
    let mut day = from;
    let mut left = working_days;
    while left > 0 {
        day = day + DAY;
        // 1 January 1970 was a Thursday, the fourth day of a week that begins on Monday.
        let since_epoch = (day.millis() + 7 * 3_600_000).div_euclid(86_400_000);
        let weekday = (since_epoch + 3).rem_euclid(7);
        left -= u32::from(weekday < 5);
    }
    format!("{}170000", day.vietnam_day()).into()
}

/// This time when an office is open, else the next morning.
fn working_time(rng: &mut Rng, at: Timestamp) -> Timestamp {
    let second_of_day = (at.millis().div_euclid(1_000) + 7 * 3_600).rem_euclid(86_400);
    let open = 8 * 3_600..17 * 3_600;
    if open.contains(&second_of_day) {
        return Timestamp::from_millis(at.millis().div_euclid(1_000) * 1_000);
    }
    let midnight = at.millis().div_euclid(1_000) - second_of_day;
    let next = if second_of_day < open.start { midnight } else { midnight + 86_400 };
    Timestamp::from_millis((next + open.start + rng.i64(0..4 * 3_600)) * 1_000)
}
