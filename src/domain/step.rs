//! Progress steps (bước tiến độ): the nine fields of `CapNhatTienDoHoSoMC` (QCVN 120:2019/BTTTT
//! table 3), what identifies a step, and the states of its delivery.

use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};

use super::record::record;

record! {
    /// One step as the portal takes it.
    pub struct Step {
        ma_ho_so: [String] => "MaHoSo" max 50,
        nguoi_xu_ly: [String] => "NguoiXuLy" max 50,
        chuc_danh: [String] => "ChucDanh",
        thoi_diem_xu_ly: [String] => "ThoiDiemXuLy",
        phong_ban_xu_ly: [String] => "PhongBanXuLy",
        noi_dung_xu_ly: [String] => "NoiDungXuLy" max 2000,
        trang_thai: [String] => "TrangThai" max 2,
        ngay_bat_dau: [String] => "NgayBatDau",
        ngay_ket_thuc_theo_quy_dinh: [String] => "NgayKetThucTheoQuyDinh",
    }
}

/// Which step of a dossier this is: time, status, and its number among equal ones (from 0).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepIdentity {
    pub thoi_diem_xu_ly: String,
    pub trang_thai: String,
    pub ordinal: u32,
}

impl Display for StepIdentity {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.thoi_diem_xu_ly, self.trang_thai)?;
        if self.ordinal > 0 { write!(f, "#{}", self.ordinal + 1) } else { Ok(()) }
    }
}

/// Identities of a dossier's steps, in time order (stable for equal times), beside the steps.
pub fn identify(mut steps: Vec<Step>) -> Vec<(StepIdentity, Step)> {
    steps.sort_by(|a, b| a.thoi_diem_xu_ly.cmp(&b.thoi_diem_xu_ly));
    let mut identified: Vec<(StepIdentity, Step)> = Vec::with_capacity(steps.len());
    for step in steps {
        let ordinal = identified
            .iter()
            .filter(|(known, _)| {
                known.thoi_diem_xu_ly == step.thoi_diem_xu_ly && known.trang_thai == step.trang_thai
            })
            .count();
        let identity = StepIdentity {
            thoi_diem_xu_ly: step.thoi_diem_xu_ly.clone(),
            trang_thai: step.trang_thai.clone(),
            ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
        };
        identified.push((identity, step));
    }
    identified
}

/// Where the delivery of a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// To be sent when its dossier is acknowledged.
    Pending,
    /// In a call that has not been answered yet.
    Leased,
    /// The portal acknowledged it.
    Acked,
    /// Waits for a person: its outcome is unknown and sending it twice could make the dossier late,
    /// or the portal refused it for good.
    Held,
    /// Believed to have been sent by an older system before the cut-over.
    PresumedSent,
    /// The source took it back before it was sent; never sent.
    Withdrawn,
}

impl StepState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased => "leased",
            Self::Acked => "acked",
            Self::Held => "held",
            Self::PresumedSent => "presumed_sent",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Leased, Self::Acked, Self::Held, Self::PresumedSent, Self::Withdrawn]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(time: &str, status: &str) -> Step {
        Step { thoi_diem_xu_ly: time.into(), trang_thai: status.into(), ..Step::default() }
    }

    #[test]
    fn equal_steps_are_told_apart_by_their_ordinal_and_come_in_time_order() {
        let steps = vec![
            step("20260126100000", "4"),
            step("20260126083000", "2"),
            step("20260126100000", "4"),
            step("20260126100000", "5"),
        ];
        let names: Vec<String> =
            identify(steps).into_iter().map(|(identity, _)| identity.to_string()).collect();
        assert_eq!(
            names,
            ["20260126083000/2", "20260126100000/4", "20260126100000/4#2", "20260126100000/5"]
        );
    }
}
