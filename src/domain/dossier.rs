//! The dossier packet `DongBoHoSoMC`: 36 fields and their item lists.
//!
//! Source: QCVN 120:2019/BTTTT table 2 (27 fields) and the later revision in production since 2024
//! (nine more). Longest lengths are what existing clients cut to or have as column widths.

use super::record::record;

record! {
    /// One dossier (hồ sơ) as the portal takes it. All values are final: times are fourteen digits
    /// of Vietnam time or `""`, codes are the portal's codes.
    pub struct Dossier {
        ma_ho_so: [String] => "MaHoSo" max 50,
        ma_tthc: [String] => "MaTTHC" max 50,
        ten_tthc: [String] => "TenTTHC",
        ma_linh_vuc: [String] => "MaLinhVuc" max 50,
        ten_linh_vuc: [String] => "TenLinhVuc" max 500,
        kenh_thuc_hien: [String] => "KenhThucHien" max 1,
        chu_ho_so: [String] => "ChuHoSo" max 500,
        loai_doi_tuong: [String] => "LoaiDoiTuong" max 1,
        ma_doi_tuong: [OptionalText] => "MaDoiTuong",
        thong_tin_khac: [String] => "ThongTinKhac",
        email: [String] => "Email" max 100,
        fax: [String] => "Fax",
        so_dien_thoai: [String] => "SoDienThoai" max 50,
        trich_yeu_ho_so: [String] => "TrichYeuHoSo" max 1000,
        ngay_tiep_nhan: [String] => "NgayTiepNhan",
        ngay_hen_tra: [String] => "NgayHenTra",
        trang_thai_ho_so: [String] => "TrangThaiHoSo" max 2,
        ngay_tra: [String] => "NgayTra",
        thong_tin_tra: [String] => "ThongTinTra",
        hinh_thuc: [String] => "HinhThuc" max 1,
        ngay_ket_thuc_xu_ly: [String] => "NgayKetThucXuLy",
        don_vi_xu_ly: [String] => "DonViXuLy",
        ghi_chu: [String] => "GhiChu" max 2000,
        tai_lieu_nop: [List TaiLieuNop] => "TaiLieuNop",
        danh_sach_le_phi: [List LePhi] => "DanhSachLePhi",
        danh_sach_tep_dinh_kem_khac: [List TepDinhKemKhac] => "DanhSachTepDinhKemKhac",
        danh_sach_ho_so_bo_sung: [List HoSoBoSung] => "DanhSachHoSoBoSung",
        danh_sach_giay_to_ket_qua: [List GiayToKetQua] => "DanhSachGiayToKetQua",
        noi_nop_ho_so: [String] => "NoiNopHoSo" max 1,
        ho_so_co_thanh_phan_so_hoa: [String] => "HoSoCoThanhPhanSoHoa" max 1,
        tai_khoan_duoc_xac_thuc_voi_vneid: [String] => "TaiKhoanDuocXacThucVoiVNeID" max 1,
        duoc_thanh_toan_truc_tuyen: [String] => "DuocThanhToanTrucTuyen" max 1,
        ngay_tu_choi: [String] => "NgayTuChoi",
        dinh_danh_chs: [List DinhDanhCHS] => "DinhDanhCHS",
        ngay_nop_ho_so: [String] => "NgayNopHoSo",
        ds_ket_noi_csdl: [List KetNoiCSDL] => "DSKetNoiCSDL",
    }
}

record! {
    /// A submitted document; files travel as links.
    pub struct TaiLieuNop {
        tep_dinh_kem_id: [String] => "TepDinhKemId",
        ten_tep_dinh_kem: [String] => "TenTepDinhKem" max 4000,
        is_deleted: [String] => "IsDeleted" max 5,
        ma_thanh_phan_ho_so: [String] => "MaThanhPhanHoSo",
        duong_dan_tai_tep_tin: [String] => "DuongDanTaiTepTin",
        duoc_so_hoa: [String] => "DuocSoHoa" max 1,
        duoc_tai_su_dung: [String] => "DuocTaiSuDung" max 1,
        duoc_lay_tu_kho_dmqg: [String] => "DuocLayTuKhoDMQG" max 1,
        ma_ket_qua_thay_the: [String] => "MaKetQuaThayThe",
    }
}

record! {
    /// A fee; `Gia` is whole VND written as text.
    pub struct LePhi {
        ten_phi_le_phi: [String] => "TenPhiLePhi",
        ma_phi_le_phi: [String] => "MaPhiLePhi",
        hinh_thuc_thu: [String] => "HinhThucThu",
        gia: [String] => "Gia",
        loai_phi_le_phi: [String] => "LoaiPhiLePhi",
    }
}

record! {
    /// Another paper, without a file.
    pub struct TepDinhKemKhac {
        ten_giay_to: [String] => "TenGiayTo",
        so_luong: [i64] => "SoLuong",
        loai_giay_to: [i64] => "LoaiGiayTo",
    }
}

record! {
    /// A round of supplements.
    pub struct HoSoBoSung {
        ho_so_bo_sung_id: [i64] => "HoSoBoSungId",
        nguoi_yeu_cau_bo_sung: [String] => "NguoiYeuCauBoSung",
        noi_dung_bo_sung: [String] => "NoiDungBoSung",
        ngay_bo_sung: [String] => "NgayBoSung",
        nguoi_tiep_nhan_bo_sung: [String] => "NguoiTiepNhanBoSung",
        thong_tin_tiep_nhan: [String] => "ThongTinTiepNhan",
        ngay_tiep_nhan_bo_sung: [String] => "NgayTiepNhanBoSung",
        trang_thai_bo_sung: [bool] => "TrangThaiBoSung",
        danh_sach_giay_to_bo_sung: [List TaiLieuNop] => "DanhSachGiayToBoSung",
        danh_sach_le_phi_bo_sung: [List LePhi] => "DanhSachLePhiBoSung",
        ngay_hen_tra_truoc: [String] => "NgayHenTraTruoc",
        ngay_hen_tra_moi: [String] => "NgayHenTraMoi",
    }
}

record! {
    /// A result paper. Without both code and link it does not count for the digitisation figures.
    pub struct GiayToKetQua {
        ten_giay_to: [String] => "TenGiayTo" max 2000,
        ma_thanh_phan_ho_so: [String] => "MaThanhPhanHoSo",
        giay_to_id: [String] => "GiayToId",
        duong_dan_tep_tin_ket_qua: [String] => "DuongDanTepTinKetQua",
        ma_giay_to_ket_qua: [String] => "MaGiayToKetQua",
    }
}

record! {
    /// An identity of the dossier's owner.
    pub struct DinhDanhCHS {
        loai_dinh_danh: [String] => "LoaiDinhDanh" max 2,
        so_dinh_danh: [String] => "SoDinhDanh" max 40,
    }
}

record! {
    /// A database that was consulted.
    pub struct KetNoiCSDL {
        ma_csdl: [String] => "MaCSDL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::{Record, Value, ValueRef, position};

    #[test]
    fn the_packet_has_36_fields_and_keeps_their_order_in_json() {
        assert_eq!(Dossier::FIELDS.len(), 36);
        let json = serde_json::to_string(&Dossier::default()).unwrap();
        let mut from = 0;
        for field in Dossier::FIELDS {
            let at = json[from..].find(&format!("\"{}\":", field.name)).unwrap();
            from += at;
        }
        assert!(json.contains("\"MaDoiTuong\":null"));
        assert!(json.contains("\"DanhSachLePhi\":[]"));
    }

    #[test]
    fn fields_are_reached_by_position_and_kinds_are_kept_apart() {
        let mut dossier = Dossier::default();
        let code = position(Dossier::FIELDS, "MaHoSo").unwrap();
        dossier.set(code, Value::Text("H55-260126-0001".into())).unwrap();
        assert_eq!(dossier.get(code), ValueRef::Text("H55-260126-0001"));
        assert!(dossier.set(code, Value::Integer(1)).is_err());
        assert!(dossier.append(code).is_err());

        let fees = position(Dossier::FIELDS, "DanhSachLePhi").unwrap();
        dossier.append(fees).unwrap().set(0, Value::Text("Phí".into())).unwrap();
        assert_eq!(dossier.get(fees), ValueRef::List(1));
        assert_eq!(dossier.item(fees, 0).unwrap().get(0), ValueRef::Text("Phí"));
    }
}
