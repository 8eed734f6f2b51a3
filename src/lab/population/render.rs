//! Writes a dossier as the feed's `<HoSo>` element.
//!
//! Element names are the portal's; lists are wrapped. The style of the dossier decides how times,
//! text and white space look, its flaw what is wrong.

use std::fmt::Write as _;

use unicode_normalization::UnicodeNormalization;

use super::model::{LabDossier, Owner, Style, TimeForm};
use crate::domain::time::Timestamp;
use crate::lab::packet::{LePhi, Packet, TaiLieuNop};

impl LabDossier {
    /// The whole element, as it stands in a page of the feed.
    pub fn feed_xml(&self) -> String {
        let Some(flaw) = self.flaw else {
            return Writer::new(self, None).dossier(self);
        };
        let mut spoiled = self.clone();
        flaw.spoil(&mut spoiled);
        Writer::new(self, flaw.absent_element()).dossier(&spoiled)
    }
}

/// `capNhatLuc`: Vietnam time with milliseconds and offset.
pub(in crate::lab) fn change_time(at: Timestamp) -> String {
    let text = at.to_portal();
    format!(
        "{}-{}-{}T{}:{}:{}.{:03}+07:00",
        &text[..4],
        &text[4..6],
        &text[6..8],
        &text[8..10],
        &text[10..12],
        &text[12..14],
        at.millis().rem_euclid(1_000)
    )
}

struct Writer {
    out: String,
    style: Style,
    absent: Option<&'static str>,
}

impl Writer {
    fn new(dossier: &LabDossier, absent: Option<&'static str>) -> Self {
        Self { out: String::with_capacity(6_000), style: dossier.style, absent }
    }

    fn dossier(mut self, dossier: &LabDossier) -> String {
        let packet = &dossier.packet;
        self.out.push_str("<HoSo");
        self.attribute("phienBan", &dossier.version.to_string());
        self.attribute("capNhatLuc", &change_time(dossier.changed_at));
        if let Some(old) = &dossier.recoded_from {
            self.attribute("maHoSoCu", old);
        }
        if dossier.owner == Owner::Ministry {
            self.attribute("chuQuan", "bo");
        }
        if dossier.deleted {
            self.attribute("daXoa", "true");
            self.out.push('>');
            self.value("MaHoSo", &packet.ma_ho_so);
            self.out.push_str("</HoSo>");
            return self.out;
        }
        self.out.push('>');
        self.head(packet, dossier.agency_code);
        self.lists(packet);
        self.tail(packet);
        self.steps(dossier);
        self.own_block(dossier);
        self.out.push_str("</HoSo>");
        self.out
    }

    fn head(&mut self, packet: &Packet<'_>, agency_code: &str) {
        self.value("MaHoSo", &packet.ma_ho_so);
        self.value("MaTTHC", &packet.ma_tthc);
        self.prose("TenTTHC", &packet.ten_tthc);
        self.value("MaLinhVuc", &packet.ma_linh_vuc);
        self.prose("TenLinhVuc", &packet.ten_linh_vuc);
        self.value("KenhThucHien", &packet.kenh_thuc_hien);
        self.prose("ChuHoSo", &packet.chu_ho_so);
        self.value("LoaiDoiTuong", &packet.loai_doi_tuong);
        self.value("MaDoiTuong", packet.ma_doi_tuong.as_deref().unwrap_or(""));
        self.prose("ThongTinKhac", &packet.thong_tin_khac);
        self.value("Email", &packet.email);
        self.value("Fax", &packet.fax);
        self.value("SoDienThoai", &packet.so_dien_thoai);
        self.prose("TrichYeuHoSo", &packet.trich_yeu_ho_so);
        self.time("NgayTiepNhan", &packet.ngay_tiep_nhan);
        self.time("NgayHenTra", &packet.ngay_hen_tra);
        self.value("TrangThaiHoSo", &packet.trang_thai_ho_so);
        self.time("NgayTra", &packet.ngay_tra);
        self.prose("ThongTinTra", &packet.thong_tin_tra);
        self.value("HinhThuc", &packet.hinh_thuc);
        self.time("NgayKetThucXuLy", &packet.ngay_ket_thuc_xu_ly);
        if self.absent != Some("DonViXuLy") {
            self.out.push_str("<DonViXuLy");
            self.attribute("maDonVi", agency_code);
            self.out.push('>');
            escape(&mut self.out, &packet.don_vi_xu_ly);
            self.out.push_str("</DonViXuLy>");
        }
        self.prose("GhiChu", &packet.ghi_chu);
    }

    fn lists(&mut self, packet: &Packet<'_>) {
        self.papers("DanhSachTaiLieuNop", &packet.tai_lieu_nop);
        self.fees("DanhSachLePhi", &packet.danh_sach_le_phi);
        self.list("DanhSachTepDinhKemKhac", &packet.danh_sach_tep_dinh_kem_khac, |to, paper| {
            to.out.push_str("<TepDinhKemKhac>");
            to.prose("TenGiayTo", &paper.ten_giay_to);
            to.value("SoLuong", &paper.so_luong.to_string());
            to.value("LoaiGiayTo", &paper.loai_giay_to.to_string());
            to.out.push_str("</TepDinhKemKhac>");
        });
        self.list("DanhSachHoSoBoSung", &packet.danh_sach_ho_so_bo_sung, |to, round| {
            to.out.push_str("<HoSoBoSung>");
            to.value("HoSoBoSungId", &round.ho_so_bo_sung_id.to_string());
            to.prose("NguoiYeuCauBoSung", &round.nguoi_yeu_cau_bo_sung);
            to.prose("NoiDungBoSung", &round.noi_dung_bo_sung);
            to.time("NgayBoSung", &round.ngay_bo_sung);
            to.prose("NguoiTiepNhanBoSung", &round.nguoi_tiep_nhan_bo_sung);
            to.prose("ThongTinTiepNhan", &round.thong_tin_tiep_nhan);
            to.time("NgayTiepNhanBoSung", &round.ngay_tiep_nhan_bo_sung);
            to.value("TrangThaiBoSung", &round.trang_thai_bo_sung.to_string());
            to.papers("DanhSachGiayToBoSung", &round.danh_sach_giay_to_bo_sung);
            to.fees("DanhSachLePhiBoSung", &round.danh_sach_le_phi_bo_sung);
            to.time("NgayHenTraTruoc", &round.ngay_hen_tra_truoc);
            to.time("NgayHenTraMoi", &round.ngay_hen_tra_moi);
            to.out.push_str("</HoSoBoSung>");
        });
        self.list("DanhSachGiayToKetQua", &packet.danh_sach_giay_to_ket_qua, |to, result| {
            to.out.push_str("<GiayToKetQua>");
            to.prose("TenGiayTo", &result.ten_giay_to);
            to.value("MaThanhPhanHoSo", &result.ma_thanh_phan_ho_so);
            to.value("GiayToId", &result.giay_to_id);
            to.value("DuongDanTepTinKetQua", &result.duong_dan_tep_tin_ket_qua);
            to.value("MaGiayToKetQua", &result.ma_giay_to_ket_qua);
            to.out.push_str("</GiayToKetQua>");
        });
    }

    fn tail(&mut self, packet: &Packet<'_>) {
        self.value("NoiNopHoSo", &packet.noi_nop_ho_so);
        self.value("HoSoCoThanhPhanSoHoa", &packet.ho_so_co_thanh_phan_so_hoa);
        self.value("TaiKhoanDuocXacThucVoiVNeID", &packet.tai_khoan_duoc_xac_thuc_voi_vneid);
        self.value("DuocThanhToanTrucTuyen", &packet.duoc_thanh_toan_truc_tuyen);
        self.time("NgayTuChoi", &packet.ngay_tu_choi);
        self.list("DinhDanhCHS", &packet.dinh_danh_chs, |to, identity| {
            to.out.push_str("<DinhDanh>");
            to.value("LoaiDinhDanh", &identity.loai_dinh_danh);
            to.value("SoDinhDanh", &identity.so_dinh_danh);
            to.out.push_str("</DinhDanh>");
        });
        self.time("NgayNopHoSo", &packet.ngay_nop_ho_so);
        self.list("DSKetNoiCSDL", &packet.ds_ket_noi_csdl, |to, database| {
            to.out.push_str("<KetNoiCSDL>");
            to.value("MaCSDL", &database.ma_csdl);
            to.out.push_str("</KetNoiCSDL>");
        });
    }

    fn steps(&mut self, dossier: &LabDossier) {
        self.list("DanhSachTienDo", &dossier.steps, |to, step| {
            to.out.push_str("<TienDo>");
            to.value("MaHoSo", &step.ma_ho_so);
            to.prose("NguoiXuLy", &step.nguoi_xu_ly);
            to.prose("ChucDanh", &step.chuc_danh);
            to.time("ThoiDiemXuLy", &step.thoi_diem_xu_ly);
            to.prose("PhongBanXuLy", &step.phong_ban_xu_ly);
            to.prose("NoiDungXuLy", &step.noi_dung_xu_ly);
            to.value("TrangThai", &step.trang_thai);
            to.time("NgayBatDau", &step.ngay_bat_dau);
            to.time("NgayKetThucTheoQuyDinh", &step.ngay_ket_thuc_theo_quy_dinh);
            to.out.push_str("</TienDo>");
        });
    }

    /// The block the source keeps for itself; it says nothing to the portal.
    fn own_block(&mut self, dossier: &LabDossier) {
        let word = match &*dossier.packet.trang_thai_ho_so {
            "1" | "2" => "MOI_TIEP_NHAN",
            "5" => "BO_SUNG",
            "6" => "CHUYEN_THUE",
            "9" => "CHO_TRA_KET_QUA",
            "10" => "DA_TRA_KQ",
            _ => "THU_LY",
        };
        self.out.push_str("<DuLieuGoc he=\"efy-ecs\"");
        self.attribute("trangThai", word);
        self.out.push_str("><root><data_list>");
        self.value("registor_name", &dossier.packet.chu_ho_so);
        let identity = dossier.tax_number.as_deref().or(dossier
            .packet
            .dinh_danh_chs
            .first()
            .map(|identity| identity.so_dinh_danh.as_ref()));
        self.value("registor_identification", identity.unwrap_or(""));
        self.value("process_date", "");
        self.out.push_str("</data_list></root></DuLieuGoc>");
    }

    fn papers(&mut self, list: &str, papers: &[TaiLieuNop<'_>]) {
        self.list(list, papers, |to, paper| {
            to.out.push_str("<TaiLieuNop>");
            to.value("TepDinhKemId", &paper.tep_dinh_kem_id);
            to.prose("TenTepDinhKem", &paper.ten_tep_dinh_kem);
            to.value("IsDeleted", &paper.is_deleted);
            to.value("MaThanhPhanHoSo", &paper.ma_thanh_phan_ho_so);
            to.value("DuongDanTaiTepTin", &paper.duong_dan_tai_tep_tin);
            to.value("DuocSoHoa", &paper.duoc_so_hoa);
            to.value("DuocTaiSuDung", &paper.duoc_tai_su_dung);
            to.value("DuocLayTuKhoDMQG", &paper.duoc_lay_tu_kho_dmqg);
            to.value("MaKetQuaThayThe", &paper.ma_ket_qua_thay_the);
            to.out.push_str("</TaiLieuNop>");
        });
    }

    fn fees(&mut self, list: &str, fees: &[LePhi<'_>]) {
        self.list(list, fees, |to, fee| {
            to.out.push_str("<LePhi>");
            to.prose("TenPhiLePhi", &fee.ten_phi_le_phi);
            to.value("MaPhiLePhi", &fee.ma_phi_le_phi);
            to.value("HinhThucThu", &fee.hinh_thuc_thu);
            to.value("Gia", &fee.gia);
            to.value("LoaiPhiLePhi", &fee.loai_phi_le_phi);
            to.out.push_str("</LePhi>");
        });
    }

    fn list<T>(&mut self, name: &str, items: &[T], write: impl Fn(&mut Self, &T)) {
        if items.is_empty() {
            self.empty(name);
            return;
        }
        self.open(name);
        for item in items {
            write(self, item);
        }
        self.close(name);
    }

    /// Free text, in the style of the source.
    fn prose(&mut self, name: &str, text: &str) {
        let Style { decomposed, padded, .. } = self.style;
        if text.is_empty() || !(decomposed || padded) {
            self.value(name, text);
            return;
        }
        let mut written = String::with_capacity(text.len() * 2);
        if padded {
            written.push_str("\n  ");
        }
        if decomposed {
            written.extend(text.nfd());
        } else {
            written.push_str(text);
        }
        if padded {
            written.push_str(" \t");
        }
        self.value(name, &written);
    }

    /// A time of the clean form, in the style of the source. What is no time is written as it is.
    fn time(&mut self, name: &str, digits: &str) {
        let at = match self.style.times {
            TimeForm::FourteenDigits => None,
            _ => Timestamp::from_portal(digits),
        };
        let Some(at) = at else {
            self.value(name, digits);
            return;
        };
        let (at, zone) = match self.style.times {
            TimeForm::IsoUtc => (at - std::time::Duration::from_hours(7), "Z"),
            TimeForm::IsoWithOffset => (at, "+07:00"),
            TimeForm::IsoWithoutOffset | TimeForm::FourteenDigits => (at, ""),
        };
        let text = at.to_portal();
        let written = format!(
            "{}-{}-{}T{}:{}:{}{zone}",
            &text[..4],
            &text[4..6],
            &text[6..8],
            &text[8..10],
            &text[10..12],
            &text[12..14],
        );
        self.value(name, &written);
    }

    /// A code, a number or text that is written as it is.
    fn value(&mut self, name: &str, value: &str) {
        if self.absent == Some(name) {
            return;
        }
        if value.is_empty() {
            self.empty(name);
            return;
        }
        self.open(name);
        escape(&mut self.out, value);
        self.close(name);
    }

    fn attribute(&mut self, name: &str, value: &str) {
        // Writing to a String cannot fail.
        write!(self.out, " {name}=\"").unwrap_or_default();
        escape(&mut self.out, value);
        self.out.push('"');
    }

    fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    fn empty(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str("/>");
    }
}

pub(in crate::lab) fn escape(out: &mut String, text: &str) {
    for part in text.split_inclusive(['&', '<', '>', '"']) {
        let (plain, special) = match part.as_bytes().last() {
            Some(b'&') => (&part[..part.len() - 1], "&amp;"),
            Some(b'<') => (&part[..part.len() - 1], "&lt;"),
            Some(b'>') => (&part[..part.len() - 1], "&gt;"),
            Some(b'"') => (&part[..part.len() - 1], "&quot;"),
            _ => (part, ""),
        };
        out.push_str(plain);
        out.push_str(special);
    }
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::escape::resolve_predefined_entity;
    use quick_xml::events::Event;
    use serde_json::Value;

    use super::*;
    use crate::lab::population::{Population, PopulationOptions};

    /// Name and clean value of every element that holds a value, apart from the source's own block.
    fn values_of_xml(xml: &str) -> Vec<(String, String)> {
        let mut reader = Reader::from_str(xml);
        let mut values = Vec::new();
        let mut path: Vec<String> = Vec::new();
        let mut text = None;
        loop {
            let event = reader.read_event().unwrap();
            let outside = !path.iter().any(|name| name == "DuLieuGoc");
            match event {
                Event::Eof => return values,
                Event::Start(tag) => {
                    path.push(tag.name().0.to_owned());
                    text = Some(String::new());
                }
                Event::Text(piece) => {
                    if let Some(text) = &mut text {
                        text.push_str(&piece);
                    }
                }
                Event::GeneralRef(name) => {
                    if let Some(text) = &mut text {
                        text.push_str(resolve_predefined_entity(&name).unwrap());
                    }
                }
                Event::End(_) => {
                    let name = path.pop().unwrap();
                    if let Some(text) = text.take().filter(|_| outside) {
                        values.push((name.clone(), clean(&name, &text)));
                    }
                }
                Event::Empty(tag) => {
                    let name = tag.name().0.to_owned();
                    let is_list = name.starts_with("DanhSach")
                        || ["DinhDanhCHS", "DSKetNoiCSDL"].contains(&name.as_str());
                    if outside && !is_list {
                        values.push((name, String::new()));
                    }
                    text = None;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn clean(name: &str, text: &str) -> String {
        let text: String = text.trim().nfc().collect();
        let is_time = name.starts_with("Ngay") || name.starts_with("ThoiDiem");
        match Timestamp::from_source(&text) {
            Some(at) if is_time => at.to_portal(),
            _ => text,
        }
    }

    fn values_of_json(name: &str, value: &Value, values: &mut Vec<(String, String)>) {
        let text = match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    values_of_json(name, value, values);
                }
                return;
            }
            Value::Array(items) => {
                for item in items {
                    values_of_json(name, item, values);
                }
                return;
            }
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        values.push((name.to_owned(), text));
    }

    #[test]
    fn the_document_says_what_the_portal_is_expected_to_hold_in_every_style() {
        let options = PopulationOptions { invalid_share: 0.0, ..PopulationOptions::default() };
        let now = Timestamp::from_portal("20260126160000").unwrap();
        let population = Population::new(options, now);
        for index in 0..300 {
            let dossier = population.grow(index);
            let mut written = values_of_xml(&dossier.feed_xml());
            let mut expected = Vec::new();
            let packet = serde_json::to_value(&dossier.packet).unwrap();
            let steps = serde_json::to_value(&dossier.steps).unwrap();
            values_of_json("", &packet, &mut expected);
            values_of_json("", &steps, &mut expected);
            written.sort();
            expected.sort();
            assert_eq!(written, expected, "dossier {index}");
        }
    }

    #[test]
    fn a_flawed_document_is_still_a_document() {
        let options = PopulationOptions { invalid_share: 1.0, ..PopulationOptions::default() };
        let now = Timestamp::from_portal("20260126160000").unwrap();
        let population = Population::new(options, now);
        for index in 0..200 {
            assert!(!values_of_xml(&population.grow(index).feed_xml()).is_empty());
        }
    }
}
