//! One synthetic dossier: its clean values, its story, and how its source writes it down.

use super::flaw::Flaw;
use crate::domain::time::Timestamp;
use crate::lab::digest::{Digest, ExpectedDossier};
use crate::lab::packet::{Packet, Step};

/// A dossier as the province's system holds it.
///
/// `packet` and `steps` are the clean values in the portal's form, which is what the portal must
/// end up with. The feed is written from them, through `style` and `flaw`.
#[derive(Debug, Clone)]
pub struct LabDossier {
    pub packet: Packet<'static>,
    pub steps: Vec<Step<'static>>,
    /// `phienBan`: grows by one with every change.
    pub version: u64,
    /// `capNhatLuc`: time of the newest change.
    pub changed_at: Timestamp,
    pub owner: Owner,
    /// `daXoa`: deleted at the source.
    pub deleted: bool,
    /// What is wrong with it on purpose.
    pub flaw: Option<Flaw>,
    /// `maHoSoCu`: the code under which its source kept it before.
    pub recoded_from: Option<String>,
    pub(super) style: Style,
    /// The attribute of `DonViXuLy`.
    pub(super) agency_code: &'static str,
    /// Of a firm. Stays in the source's own block: the portal's code for it is not known.
    pub(super) tax_number: Option<String>,
    /// Statuses this dossier passes through, in order; `lived` of them are behind it.
    pub(super) plan: Vec<u8>,
    pub(super) lived: usize,
    /// The procedure's working days.
    pub(super) working_days: u32,
}

/// Whose system decides the dossier's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Province,
    /// `chuQuan="bo"`: mirrored by the province, never pushed by it.
    Ministry,
}

/// How the source writes the same values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Vietnamese text with separate combining marks (NFD).
    pub(super) decomposed: bool,
    /// White space around text.
    pub(super) padded: bool,
    pub(super) times: TimeForm,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum TimeForm {
    FourteenDigits,
    IsoWithOffset,
    IsoWithoutOffset,
    IsoUtc,
}

impl LabDossier {
    /// The code under which the feed shows the dossier; a flaw can spoil it.
    pub fn feed_code(&self) -> String {
        match self.flaw {
            Some(flaw) => flaw.spoil_code(&self.packet.ma_ho_so),
            None => self.packet.ma_ho_so.clone().into_owned(),
        }
    }

    /// What the portal must hold in the end; `None` when it must never hear of this dossier.
    pub fn expected(&self) -> Option<ExpectedDossier> {
        let pushable = self.flaw.is_none() && self.owner == Owner::Province && !self.deleted;
        pushable.then(|| ExpectedDossier {
            code: self.packet.ma_ho_so.clone().into_owned(),
            digest: Digest::of_packet(&self.packet),
            steps: self.steps.iter().map(Digest::of_step).collect(),
        })
    }

    /// Nothing of its plan is ahead.
    pub fn is_ended(&self) -> bool {
        self.lived >= self.plan.len()
    }

    /// The day of reception, `yyyyMMdd`, by which the index is cut.
    pub fn received_on(&self) -> &str {
        &self.packet.ngay_tiep_nhan[..8]
    }

    pub fn agency_code(&self) -> &'static str {
        self.agency_code
    }
}
