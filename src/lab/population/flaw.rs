//! Mistakes that real sources make, each with a name, put into a dossier on purpose.
//!
//! A flaw spoils what the feed shows, not the clean values; it stays through every later change. A
//! gateway keeps such a dossier for a person and never sends it.

use serde::Serialize;

use super::model::LabDossier;

/// What is wrong with a dossier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    UnknownStatus,
    ForeignPrefix,
    MalformedDossierCode,
    ImpossibleDayInDossierCode,
    ImpossibleDate,
    DateWithoutTime,
    EmptyAbstract,
    AbsentAbstract,
    OwnerNameTooLong,
    IdentityOfElevenDigits,
    EndBeforeReception,
    FinishedWithoutEnd,
    ReturnedWithoutReturnDate,
    ResultWithoutCode,
    MalformedProcedureCode,
    RelativeLink,
    StepWithoutOfficer,
    StepWithUnknownStatus,
    UnknownChannel,
    UnknownReturnForm,
    AbsentAgency,
    FeeIsNotANumber,
}

impl Flaw {
    pub const ALL: [Self; 22] = [
        Self::UnknownStatus,
        Self::ForeignPrefix,
        Self::MalformedDossierCode,
        Self::ImpossibleDayInDossierCode,
        Self::ImpossibleDate,
        Self::DateWithoutTime,
        Self::EmptyAbstract,
        Self::AbsentAbstract,
        Self::OwnerNameTooLong,
        Self::IdentityOfElevenDigits,
        Self::EndBeforeReception,
        Self::FinishedWithoutEnd,
        Self::ReturnedWithoutReturnDate,
        Self::ResultWithoutCode,
        Self::MalformedProcedureCode,
        Self::RelativeLink,
        Self::StepWithoutOfficer,
        Self::StepWithUnknownStatus,
        Self::UnknownChannel,
        Self::UnknownReturnForm,
        Self::AbsentAgency,
        Self::FeeIsNotANumber,
    ];

    /// The element that is left out altogether.
    pub(super) fn absent_element(self) -> Option<&'static str> {
        match self {
            Self::AbsentAbstract => Some("TrichYeuHoSo"),
            Self::AbsentAgency => Some("DonViXuLy"),
            _ => None,
        }
    }

    pub(super) fn spoil_code(self, code: &str) -> String {
        let (prefix, rest) = code.split_once('-').unwrap_or((code, ""));
        match self {
            Self::ForeignPrefix => format!("H99.{}-{rest}", prefix.len()),
            Self::MalformedDossierCode => code.replace('-', "_"),
            Self::ImpossibleDayInDossierCode => {
                let serial = rest.split_once('-').map_or("0001", |(_, serial)| serial);
                format!("{prefix}-261332-{serial}")
            }
            _ => code.to_owned(),
        }
    }

    /// Spoils the values of a copy that is about to be written.
    pub(super) fn spoil(self, dossier: &mut LabDossier) {
        let code = self.spoil_code(&dossier.packet.ma_ho_so);
        if code != dossier.packet.ma_ho_so {
            for step in &mut dossier.steps {
                step.ma_ho_so = code.clone().into();
            }
            dossier.packet.ma_ho_so = code.into();
        }
        let first_step = dossier.steps.first_mut();
        let packet = &mut dossier.packet;
        match self {
            Self::UnknownStatus => packet.trang_thai_ho_so = "77".into(),
            Self::ImpossibleDate => {
                packet.ngay_tiep_nhan = format!("{}0230083000", &packet.ngay_tiep_nhan[..4]).into();
            }
            Self::DateWithoutTime => {
                let day = &packet.ngay_tiep_nhan;
                packet.ngay_tiep_nhan =
                    format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..8]).into();
            }
            Self::EmptyAbstract => packet.trich_yeu_ho_so = "".into(),
            Self::OwnerNameTooLong => {
                packet.chu_ho_so = format!("Công ty {}", "rất dài ".repeat(65)).into();
            }
            Self::IdentityOfElevenDigits => {
                packet.loai_doi_tuong = "1".into();
                packet.dinh_danh_chs = vec![crate::lab::packet::DinhDanh {
                    loai_dinh_danh: "1".into(),
                    so_dinh_danh: "99900000001".into(),
                }];
            }
            Self::EndBeforeReception => {
                packet.trang_thai_ho_so = "9".into();
                packet.ngay_ket_thuc_xu_ly = "20200101080000".into();
            }
            Self::FinishedWithoutEnd => {
                packet.trang_thai_ho_so = "9".into();
                packet.ngay_ket_thuc_xu_ly = "".into();
                packet.ngay_tra = "".into();
            }
            Self::ReturnedWithoutReturnDate => {
                packet.trang_thai_ho_so = "10".into();
                packet.ngay_ket_thuc_xu_ly = packet.ngay_tiep_nhan.clone();
                packet.ngay_tra = "".into();
            }
            Self::ResultWithoutCode => {
                packet.danh_sach_giay_to_ket_qua = vec![crate::lab::packet::GiayToKetQua {
                    ten_giay_to: "Kết quả chưa có mã.pdf".into(),
                    ma_thanh_phan_ho_so: "".into(),
                    giay_to_id: "1".into(),
                    duong_dan_tep_tin_ket_qua: "https://tep.example.invalid/kq/1".into(),
                    ma_giay_to_ket_qua: "".into(),
                }];
            }
            Self::MalformedProcedureCode => packet.ma_tthc = "2.00815".into(),
            Self::RelativeLink => {
                if let Some(paper) = packet.tai_lieu_nop.first_mut() {
                    paper.duong_dan_tai_tep_tin = "/files/t/1.pdf".into();
                }
            }
            Self::StepWithoutOfficer => {
                if let Some(step) = first_step {
                    step.nguoi_xu_ly = "".into();
                }
            }
            Self::StepWithUnknownStatus => {
                if let Some(step) = first_step {
                    step.trang_thai = "42".into();
                }
            }
            Self::UnknownChannel => packet.kenh_thuc_hien = "9".into(),
            Self::UnknownReturnForm => packet.hinh_thuc = "7".into(),
            Self::FeeIsNotANumber => {
                packet.danh_sach_le_phi = vec![crate::lab::packet::LePhi {
                    ten_phi_le_phi: "Phí chứng thực".into(),
                    ma_phi_le_phi: "PHI01".into(),
                    hinh_thuc_thu: "1".into(),
                    gia: "bốn nghìn đồng".into(),
                    loai_phi_le_phi: "1".into(),
                }];
            }
            Self::ForeignPrefix
            | Self::MalformedDossierCode
            | Self::ImpossibleDayInDossierCode
            | Self::AbsentAbstract
            | Self::AbsentAgency => {}
        }
    }
}
