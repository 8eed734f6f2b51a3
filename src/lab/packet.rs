//! The two packets of the portal's contract, `DongBoHoSoMC` and `CapNhatTienDoHoSoMC`.
//!
//! Field names and their order are those of the portal (QCVN 120:2019/BTTTT and its later fields);
//! all 36 keys of a dossier and all nine of a step are always present. Both laboratories build on
//! these types: the province draws them and writes XML from them, the portal reads JSON into them.
//! Text is borrowed from the request where it needs no unescaping.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

/// One dossier as the portal takes it. Serialising it gives the canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Packet<'a> {
    #[serde(borrow)]
    pub ma_ho_so: Cow<'a, str>,
    #[serde(borrow, rename = "MaTTHC")]
    pub ma_tthc: Cow<'a, str>,
    #[serde(borrow, rename = "TenTTHC")]
    pub ten_tthc: Cow<'a, str>,
    #[serde(borrow)]
    pub ma_linh_vuc: Cow<'a, str>,
    #[serde(borrow)]
    pub ten_linh_vuc: Cow<'a, str>,
    #[serde(borrow)]
    pub kenh_thuc_hien: Cow<'a, str>,
    #[serde(borrow)]
    pub chu_ho_so: Cow<'a, str>,
    #[serde(borrow)]
    pub loai_doi_tuong: Cow<'a, str>,
    /// The one field that may be null, and the key must still be there.
    #[serde(borrow, deserialize_with = "text_or_null")]
    pub ma_doi_tuong: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub thong_tin_khac: Cow<'a, str>,
    #[serde(borrow)]
    pub email: Cow<'a, str>,
    #[serde(borrow)]
    pub fax: Cow<'a, str>,
    #[serde(borrow)]
    pub so_dien_thoai: Cow<'a, str>,
    #[serde(borrow)]
    pub trich_yeu_ho_so: Cow<'a, str>,
    #[serde(borrow)]
    pub ngay_tiep_nhan: Cow<'a, str>,
    #[serde(borrow)]
    pub ngay_hen_tra: Cow<'a, str>,
    #[serde(borrow)]
    pub trang_thai_ho_so: Cow<'a, str>,
    #[serde(borrow)]
    pub ngay_tra: Cow<'a, str>,
    #[serde(borrow)]
    pub thong_tin_tra: Cow<'a, str>,
    #[serde(borrow)]
    pub hinh_thuc: Cow<'a, str>,
    #[serde(borrow)]
    pub ngay_ket_thuc_xu_ly: Cow<'a, str>,
    #[serde(borrow)]
    pub don_vi_xu_ly: Cow<'a, str>,
    #[serde(borrow)]
    pub ghi_chu: Cow<'a, str>,
    #[serde(borrow)]
    pub tai_lieu_nop: Vec<TaiLieuNop<'a>>,
    #[serde(borrow)]
    pub danh_sach_le_phi: Vec<LePhi<'a>>,
    #[serde(borrow)]
    pub danh_sach_tep_dinh_kem_khac: Vec<TepDinhKemKhac<'a>>,
    #[serde(borrow)]
    pub danh_sach_ho_so_bo_sung: Vec<HoSoBoSung<'a>>,
    #[serde(borrow)]
    pub danh_sach_giay_to_ket_qua: Vec<GiayToKetQua<'a>>,
    #[serde(borrow)]
    pub noi_nop_ho_so: Cow<'a, str>,
    #[serde(borrow)]
    pub ho_so_co_thanh_phan_so_hoa: Cow<'a, str>,
    #[serde(borrow, rename = "TaiKhoanDuocXacThucVoiVNeID")]
    pub tai_khoan_duoc_xac_thuc_voi_vneid: Cow<'a, str>,
    #[serde(borrow)]
    pub duoc_thanh_toan_truc_tuyen: Cow<'a, str>,
    #[serde(borrow)]
    pub ngay_tu_choi: Cow<'a, str>,
    #[serde(borrow, rename = "DinhDanhCHS")]
    pub dinh_danh_chs: Vec<DinhDanh<'a>>,
    #[serde(borrow)]
    pub ngay_nop_ho_so: Cow<'a, str>,
    #[serde(borrow, rename = "DSKetNoiCSDL")]
    pub ds_ket_noi_csdl: Vec<KetNoiCsdl<'a>>,
}

/// A submitted document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TaiLieuNop<'a> {
    #[serde(borrow)]
    pub tep_dinh_kem_id: Cow<'a, str>,
    #[serde(borrow)]
    pub ten_tep_dinh_kem: Cow<'a, str>,
    /// The text `"True"` or `"False"`.
    #[serde(borrow)]
    pub is_deleted: Cow<'a, str>,
    #[serde(borrow)]
    pub ma_thanh_phan_ho_so: Cow<'a, str>,
    #[serde(borrow)]
    pub duong_dan_tai_tep_tin: Cow<'a, str>,
    #[serde(borrow)]
    pub duoc_so_hoa: Cow<'a, str>,
    #[serde(borrow)]
    pub duoc_tai_su_dung: Cow<'a, str>,
    #[serde(borrow, rename = "DuocLayTuKhoDMQG")]
    pub duoc_lay_tu_kho_dmqg: Cow<'a, str>,
    #[serde(borrow)]
    pub ma_ket_qua_thay_the: Cow<'a, str>,
}

/// A fee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LePhi<'a> {
    #[serde(borrow)]
    pub ten_phi_le_phi: Cow<'a, str>,
    #[serde(borrow)]
    pub ma_phi_le_phi: Cow<'a, str>,
    #[serde(borrow)]
    pub hinh_thuc_thu: Cow<'a, str>,
    /// Whole dong, as text.
    #[serde(borrow)]
    pub gia: Cow<'a, str>,
    #[serde(borrow)]
    pub loai_phi_le_phi: Cow<'a, str>,
}

/// A paper that was handed in without a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TepDinhKemKhac<'a> {
    #[serde(borrow)]
    pub ten_giay_to: Cow<'a, str>,
    pub so_luong: u32,
    pub loai_giay_to: u32,
}

/// One round of "please supply more".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct HoSoBoSung<'a> {
    pub ho_so_bo_sung_id: i64,
    #[serde(borrow)]
    pub nguoi_yeu_cau_bo_sung: Cow<'a, str>,
    #[serde(borrow)]
    pub noi_dung_bo_sung: Cow<'a, str>,
    #[serde(borrow)]
    pub ngay_bo_sung: Cow<'a, str>,
    #[serde(borrow)]
    pub nguoi_tiep_nhan_bo_sung: Cow<'a, str>,
    #[serde(borrow)]
    pub thong_tin_tiep_nhan: Cow<'a, str>,
    #[serde(borrow)]
    pub ngay_tiep_nhan_bo_sung: Cow<'a, str>,
    pub trang_thai_bo_sung: bool,
    #[serde(borrow)]
    pub danh_sach_giay_to_bo_sung: Vec<TaiLieuNop<'a>>,
    #[serde(borrow)]
    pub danh_sach_le_phi_bo_sung: Vec<LePhi<'a>>,
    #[serde(borrow)]
    pub ngay_hen_tra_truoc: Cow<'a, str>,
    #[serde(borrow)]
    pub ngay_hen_tra_moi: Cow<'a, str>,
}

/// A result document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GiayToKetQua<'a> {
    #[serde(borrow)]
    pub ten_giay_to: Cow<'a, str>,
    #[serde(borrow)]
    pub ma_thanh_phan_ho_so: Cow<'a, str>,
    #[serde(borrow)]
    pub giay_to_id: Cow<'a, str>,
    #[serde(borrow)]
    pub duong_dan_tep_tin_ket_qua: Cow<'a, str>,
    #[serde(borrow)]
    pub ma_giay_to_ket_qua: Cow<'a, str>,
}

/// An identity number of the dossier's owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DinhDanh<'a> {
    #[serde(borrow)]
    pub loai_dinh_danh: Cow<'a, str>,
    #[serde(borrow)]
    pub so_dinh_danh: Cow<'a, str>,
}

/// A database consulted while the dossier was handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KetNoiCsdl<'a> {
    #[serde(borrow, rename = "MaCSDL")]
    pub ma_csdl: Cow<'a, str>,
}

/// One progress step as the portal takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Step<'a> {
    #[serde(borrow)]
    pub ma_ho_so: Cow<'a, str>,
    #[serde(borrow)]
    pub nguoi_xu_ly: Cow<'a, str>,
    #[serde(borrow)]
    pub chuc_danh: Cow<'a, str>,
    #[serde(borrow)]
    pub thoi_diem_xu_ly: Cow<'a, str>,
    #[serde(borrow)]
    pub phong_ban_xu_ly: Cow<'a, str>,
    #[serde(borrow)]
    pub noi_dung_xu_ly: Cow<'a, str>,
    #[serde(borrow)]
    pub trang_thai: Cow<'a, str>,
    #[serde(borrow)]
    pub ngay_bat_dau: Cow<'a, str>,
    #[serde(borrow)]
    pub ngay_ket_thuc_theo_quy_dinh: Cow<'a, str>,
}

/// Without its own function serde would take a missing key for null.
fn text_or_null<'de: 'a, 'a, D>(deserializer: D) -> Result<Option<Cow<'a, str>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|text| text.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dossier_has_36_keys_in_the_order_of_the_contract() {
        let text = serde_json::to_string(&Packet::default()).unwrap();
        let keys: Vec<&str> = text
            .split('"')
            .filter(|part| part.starts_with(|first: char| first.is_ascii_uppercase()))
            .collect();
        assert_eq!(keys.len(), 36);
        assert_eq!(keys[..3], ["MaHoSo", "MaTTHC", "TenTTHC"]);
        assert_eq!(keys[23], "TaiLieuNop");
        assert_eq!(keys[30], "TaiKhoanDuocXacThucVoiVNeID");
        assert_eq!(keys[35], "DSKetNoiCSDL");
    }

    #[test]
    fn null_is_read_where_it_is_allowed_and_a_missing_key_is_not_null() {
        let whole = serde_json::to_string(&Packet::default()).unwrap();
        assert!(serde_json::from_str::<Packet<'_>>(&whole).is_ok());
        let without = whole.replace("\"MaDoiTuong\":null,", "");
        assert!(
            serde_json::from_str::<Packet<'_>>(&without)
                .unwrap_err()
                .to_string()
                .contains("MaDoiTuong")
        );
        let null_elsewhere = whole.replace("\"Fax\":\"\"", "\"Fax\":null");
        assert!(serde_json::from_str::<Packet<'_>>(&null_elsewhere).is_err());
    }
}
