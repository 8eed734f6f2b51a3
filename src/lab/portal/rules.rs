//! What the portal demands of a dossier and of a step, field by field.
//!
//! Required fields, lengths in UTF-16 units, code lists, time forms and grammars of the contract's
//! two tables. The first field that breaks a rule is named; nothing is repaired.

use crate::domain::time::Timestamp;
use crate::lab::packet::{HoSoBoSung, LePhi, Packet, Step, TaiLieuNop};

/// The field that was refused, with its place in a list: `TaiLieuNop[0].IsDeleted`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) struct Refusal(pub(in crate::lab) String);

type Checked = Result<(), Refusal>;

pub(in crate::lab) fn check_packet(packet: &Packet<'_>) -> Checked {
    ensure("MaHoSo", is_dossier_code(&packet.ma_ho_so))?;
    ensure("MaTTHC", is_procedure_code(&packet.ma_tthc))?;
    ensure("TenTTHC", is_filled(&packet.ten_tthc, usize::MAX))?;
    ensure("MaLinhVuc", is_filled(&packet.ma_linh_vuc, 50))?;
    ensure("TenLinhVuc", is_filled(&packet.ten_linh_vuc, 500))?;
    // The first field set knew no channel; an empty one still counts as "in person".
    ensure("KenhThucHien", one_of(&packet.kenh_thuc_hien, &["", "1", "2", "3"]))?;
    ensure("ChuHoSo", fits(&packet.chu_ho_so, 500))?;
    ensure("LoaiDoiTuong", one_of(&packet.loai_doi_tuong, &["1", "2", "3", "4"]))?;
    ensure("Email", fits(&packet.email, 100))?;
    ensure("SoDienThoai", fits(&packet.so_dien_thoai, 50))?;
    ensure("TrichYeuHoSo", is_filled(&packet.trich_yeu_ho_so, 1_000))?;
    ensure("NgayTiepNhan", is_time(&packet.ngay_tiep_nhan))?;
    ensure("NgayHenTra", is_time_or_empty(&packet.ngay_hen_tra))?;
    ensure("TrangThaiHoSo", is_status(&packet.trang_thai_ho_so))?;
    ensure("NgayTra", is_time_or_empty(&packet.ngay_tra))?;
    ensure("HinhThuc", is_flag(&packet.hinh_thuc))?;
    // Empty until the dossier is finished, and then no longer.
    ensure(
        "NgayKetThucXuLy",
        is_time(&packet.ngay_ket_thuc_xu_ly)
            || (packet.ngay_ket_thuc_xu_ly.is_empty() && packet.trang_thai_ho_so != "9"),
    )?;
    ensure("DonViXuLy", is_filled(&packet.don_vi_xu_ly, usize::MAX))?;
    ensure("GhiChu", fits(&packet.ghi_chu, 2_000))?;
    check_papers("TaiLieuNop", &packet.tai_lieu_nop)?;
    check_fees("DanhSachLePhi", &packet.danh_sach_le_phi)?;
    each("DanhSachTepDinhKemKhac", &packet.danh_sach_tep_dinh_kem_khac, |paper| {
        ensure("TenGiayTo", is_filled(&paper.ten_giay_to, usize::MAX))
    })?;
    each("DanhSachHoSoBoSung", &packet.danh_sach_ho_so_bo_sung, check_supplement)?;
    each("DanhSachGiayToKetQua", &packet.danh_sach_giay_to_ket_qua, |result| {
        ensure("TenGiayTo", is_filled(&result.ten_giay_to, 2_000))?;
        ensure("DuongDanTepTinKetQua", is_absolute_link(&result.duong_dan_tep_tin_ket_qua))?;
        ensure("MaGiayToKetQua", is_result_code(&result.ma_giay_to_ket_qua))
    })?;
    ensure("NoiNopHoSo", one_of(&packet.noi_nop_ho_so, &["1", "2"]))?;
    ensure("HoSoCoThanhPhanSoHoa", is_flag(&packet.ho_so_co_thanh_phan_so_hoa))?;
    ensure("TaiKhoanDuocXacThucVoiVNeID", is_flag(&packet.tai_khoan_duoc_xac_thuc_voi_vneid))?;
    ensure(
        "DuocThanhToanTrucTuyen",
        one_of(&packet.duoc_thanh_toan_truc_tuyen, &["0", "1", "2", "3"]),
    )?;
    ensure("NgayTuChoi", is_time_or_empty(&packet.ngay_tu_choi))?;
    // An empty list is taken: for firms no code of their tax number is published.
    each("DinhDanhCHS", &packet.dinh_danh_chs, |identity| {
        let kind = identity.loai_dinh_danh.as_ref();
        ensure("LoaiDinhDanh", is_filled(kind, 2))?;
        let number = identity.so_dinh_danh.as_ref();
        ensure(
            "SoDinhDanh",
            match kind {
                "1" => number.len() == 12 && is_digits(number),
                "2" => number.len() == 9 && is_digits(number),
                _ => is_filled(number, 40),
            },
        )
    })?;
    ensure("NgayNopHoSo", is_time(&packet.ngay_nop_ho_so))?;
    each("DSKetNoiCSDL", &packet.ds_ket_noi_csdl, |database| {
        ensure("MaCSDL", is_filled(&database.ma_csdl, 50))
    })
}

pub(in crate::lab) fn check_step(step: &Step<'_>) -> Checked {
    ensure("MaHoSo", is_dossier_code(&step.ma_ho_so))?;
    ensure("NguoiXuLy", is_filled(&step.nguoi_xu_ly, 50))?;
    ensure("ThoiDiemXuLy", is_time(&step.thoi_diem_xu_ly))?;
    ensure("NoiDungXuLy", is_filled(&step.noi_dung_xu_ly, 2_000))?;
    ensure("TrangThai", is_status(&step.trang_thai))?;
    ensure("NgayBatDau", is_time_or_empty(&step.ngay_bat_dau))?;
    ensure("NgayKetThucTheoQuyDinh", is_time_or_empty(&step.ngay_ket_thuc_theo_quy_dinh))
}

fn check_papers(list: &str, papers: &[TaiLieuNop<'_>]) -> Checked {
    each(list, papers, |paper| {
        ensure("TenTepDinhKem", is_filled(&paper.ten_tep_dinh_kem, 4_000))?;
        ensure("IsDeleted", one_of(&paper.is_deleted, &["True", "False"]))?;
        ensure("DuongDanTaiTepTin", is_absolute_link(&paper.duong_dan_tai_tep_tin))?;
        ensure("DuocSoHoa", one_of(&paper.duoc_so_hoa, &["", "0", "1"]))?;
        ensure("DuocTaiSuDung", one_of(&paper.duoc_tai_su_dung, &["", "0", "1", "2"]))?;
        ensure("DuocLayTuKhoDMQG", one_of(&paper.duoc_lay_tu_kho_dmqg, &["", "0", "1"]))?;
        ensure(
            "MaKetQuaThayThe",
            paper.ma_ket_qua_thay_the.is_empty() || is_result_code(&paper.ma_ket_qua_thay_the),
        )
    })
}

fn check_fees(list: &str, fees: &[LePhi<'_>]) -> Checked {
    each(list, fees, |fee| {
        ensure("TenPhiLePhi", is_filled(&fee.ten_phi_le_phi, usize::MAX))?;
        ensure("MaPhiLePhi", is_filled(&fee.ma_phi_le_phi, usize::MAX))?;
        ensure("HinhThucThu", one_of(&fee.hinh_thuc_thu, &["1", "2", "4"]))?;
        ensure("Gia", is_digits(&fee.gia))?;
        ensure("LoaiPhiLePhi", one_of(&fee.loai_phi_le_phi, &["1", "2", "3"]))
    })
}

fn check_supplement(round: &HoSoBoSung<'_>) -> Checked {
    ensure("NguoiYeuCauBoSung", is_filled(&round.nguoi_yeu_cau_bo_sung, usize::MAX))?;
    ensure("NoiDungBoSung", is_filled(&round.noi_dung_bo_sung, usize::MAX))?;
    ensure("NgayBoSung", is_time(&round.ngay_bo_sung))?;
    ensure("NgayTiepNhanBoSung", is_time_or_empty(&round.ngay_tiep_nhan_bo_sung))?;
    check_papers("DanhSachGiayToBoSung", &round.danh_sach_giay_to_bo_sung)?;
    check_fees("DanhSachLePhiBoSung", &round.danh_sach_le_phi_bo_sung)?;
    ensure("NgayHenTraTruoc", is_time(&round.ngay_hen_tra_truoc))?;
    ensure("NgayHenTraMoi", is_time_or_empty(&round.ngay_hen_tra_moi))
}

fn ensure(field: &str, holds: bool) -> Checked {
    if holds { Ok(()) } else { Err(Refusal(field.to_owned())) }
}

fn each<T>(list: &str, items: &[T], check: impl Fn(&T) -> Checked) -> Checked {
    items.iter().enumerate().try_for_each(|(place, item)| {
        check(item).map_err(|Refusal(field)| Refusal(format!("{list}[{place}].{field}")))
    })
}

fn one_of(value: &str, codes: &[&str]) -> bool {
    codes.contains(&value)
}

fn is_flag(value: &str) -> bool {
    one_of(value, &["0", "1"])
}

fn is_status(value: &str) -> bool {
    one_of(value, &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"])
}

/// At most this many UTF-16 units. A unit takes at least one byte, so short text is not counted.
fn fits(text: &str, units_max: usize) -> bool {
    text.len() <= units_max || text.encode_utf16().count() <= units_max
}

fn is_filled(text: &str, units_max: usize) -> bool {
    !text.trim().is_empty() && fits(text, units_max)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_time(text: &str) -> bool {
    Timestamp::from_portal(text).is_some()
}

fn is_time_or_empty(text: &str) -> bool {
    text.is_empty() || is_time(text)
}

fn is_absolute_link(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)
    })
}

/// `A00`: the first group of an agency code.
fn is_level_one(group: &str) -> bool {
    matches!(group.as_bytes(), [b'A'..=b'Y', tens, units]
        if tens.is_ascii_digit() && units.is_ascii_digit())
}

fn is_digits_of(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && is_digits(text)
}

/// QĐ 20/2020/QĐ-TTg: `H55.242.00`, with up to three more groups.
fn is_agency_code(code: &str) -> bool {
    let mut groups = code.split('.');
    groups.next().is_some_and(is_level_one)
        && groups.clone().count() <= 3
        && groups.all(|group| is_digits_of(group, 1..=3))
}

/// QCVN 102:2016: `000.00.28.H55`.
fn is_old_agency_code(code: &str) -> bool {
    let groups: [&str; 4] = match code.split('.').collect::<Vec<_>>().try_into() {
        Ok(groups) => groups,
        Err(_) => return false,
    };
    is_digits_of(groups[0], 3..=3)
        && is_digits_of(groups[1], 2..=2)
        && is_digits_of(groups[2], 2..=2)
        && is_level_one(groups[3])
}

/// Agency, day (6 or 8 digits, a real one), serial of 4 to 12 digits.
fn is_dossier_code(code: &str) -> bool {
    let mut parts = code.split('-');
    let (Some(agency), Some(day), Some(serial), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let whole_day = match day.len() {
        6 => format!("20{day}000000"),
        8 => format!("{day}000000"),
        _ => return false,
    };
    code.len() <= 50
        && (is_agency_code(agency) || is_old_agency_code(agency))
        && is_time(&whole_day)
        && is_digits_of(serial, 4..=12)
}

/// `2.000815`, `2.000815.H55` or `2.000815.000.00.00.H55`.
fn is_procedure_code(code: &str) -> bool {
    let Some((national, local)) = code.split_at_checked(8) else {
        return false;
    };
    let national_fits = matches!(national.as_bytes(), [b'1'..=b'9', b'.', digits @ ..]
        if digits.iter().all(u8::is_ascii_digit));
    national_fits
        && (local.is_empty()
            || local
                .strip_prefix('.')
                .is_some_and(|local| is_level_one(local) || is_old_agency_code(local)))
}

/// `KQ.G15.000031`.
fn is_result_code(code: &str) -> bool {
    let Some((agency, serial)) = code.strip_prefix("KQ.").and_then(|rest| rest.rsplit_once('.'))
    else {
        return false;
    };
    is_agency_code(agency) && is_digits_of(serial, 6..=6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::population::{Population, PopulationOptions};

    fn sound() -> Packet<'static> {
        let options = PopulationOptions { invalid_share: 0.0, ..PopulationOptions::default() };
        let now = Timestamp::from_portal("20260126160000").unwrap();
        Population::new(options, now).grow(0).packet
    }

    fn refused(spoil: impl FnOnce(&mut Packet<'static>)) -> String {
        let mut packet = sound();
        spoil(&mut packet);
        check_packet(&packet).unwrap_err().0
    }

    #[test]
    fn lengths_count_utf16_units_up_to_the_limit_itself() {
        let mut packet = sound();
        packet.trich_yeu_ho_so = "ệ".repeat(1_000).into();
        assert_eq!(check_packet(&packet), Ok(()));
        assert_eq!(
            refused(|packet| packet.trich_yeu_ho_so = "ệ".repeat(1_001).into()),
            "TrichYeuHoSo"
        );
        // Outside the basic plane one character is two units.
        packet.trich_yeu_ho_so = "𠮷".repeat(500).into();
        assert_eq!(check_packet(&packet), Ok(()));
        assert_eq!(
            refused(|packet| packet.trich_yeu_ho_so = "𠮷".repeat(501).into()),
            "TrichYeuHoSo"
        );
    }

    #[test]
    fn the_refused_field_is_named_with_its_place() {
        assert_eq!(refused(|packet| packet.trang_thai_ho_so = "77".into()), "TrangThaiHoSo");
        assert_eq!(
            refused(|packet| packet.tai_lieu_nop[0].is_deleted = "false".into()),
            "TaiLieuNop[0].IsDeleted"
        );
        assert_eq!(
            refused(|packet| packet.tai_lieu_nop[0].duong_dan_tai_tep_tin = "/t/1".into()),
            "TaiLieuNop[0].DuongDanTaiTepTin"
        );
        assert_eq!(
            refused(|packet| {
                packet.trang_thai_ho_so = "9".into();
                packet.ngay_ket_thuc_xu_ly = "".into();
            }),
            "NgayKetThucXuLy"
        );
        assert_eq!(
            refused(|packet| packet.ngay_tiep_nhan = "20260230083000".into()),
            "NgayTiepNhan"
        );
    }

    #[test]
    fn codes_of_every_era_are_known_and_others_are_not() {
        for code in [
            "000.00.28.H55-240613-0001",
            "H55.28-240613-0001",
            "H55.242-260126-0001",
            "H55.242.00-260126-150001",
            "G09.20-20260609-0092637",
            "H55-260126-00001",
        ] {
            assert!(is_dossier_code(code), "{code}");
        }
        for code in [
            "",
            "H55.242-261332-0001",
            "H55.242-260126-001",
            "H55_242-260126-0001",
            "Z55.242-260126-0001",
            "H55.242-260126-0001-1",
            "00.00.28.H55-240613-0001",
        ] {
            assert!(!is_dossier_code(code), "{code}");
        }
        for code in ["2.000815", "2.000815.H55", "2.000815.000.00.00.H55"] {
            assert!(is_procedure_code(code), "{code}");
        }
        for code in ["2.00815", "0.000815", "2.000815.", "2.000815.55", "2.0008Đ5"] {
            assert!(!is_procedure_code(code), "{code}");
        }
        assert!(is_result_code("KQ.G15.000031") && is_result_code("KQ.G09.01.000077"));
        assert!(!is_result_code("KQ.000031") && !is_result_code("G15.000031"));
    }

    #[test]
    fn flaws_that_break_the_tables_are_refused_by_the_tables() {
        for status in ["0", "11", "4 ", ""] {
            assert_eq!(refused(|packet| packet.trang_thai_ho_so = status.into()), "TrangThaiHoSo");
        }
        assert_eq!(refused(|packet| packet.don_vi_xu_ly = "  ".into()), "DonViXuLy");
        assert_eq!(refused(|packet| packet.ma_tthc = "2.00815".into()), "MaTTHC");
    }
}
