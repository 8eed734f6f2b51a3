//! Submitted files that were sent and that the source does not list any more.
//!
//! The portal merges files by `TepDinhKemId` and removes one only when it is told so
//! (`IsDeleted` True). Nothing else in a packet is ever made up; so a file is taken back only if it
//! was sent before, the mapping says so, and the row that was sent is still kept to be repeated.

use std::collections::BTreeSet;

use crate::domain::dossier::{Dossier, TaiLieuNop};
use crate::ledger::record::PacketFiles;

/// As the portal writes it.
const DELETED: &str = "True";

/// Ids of files that were sent and that this dossier says nothing of.
pub(super) fn gone(dossier: &Dossier, sent: &[String]) -> Vec<String> {
    if sent.is_empty() {
        return Vec::new();
    }
    // A file that moved into a round of supplements is still there.
    let listed: BTreeSet<&str> = all(dossier).map(|file| file.tep_dinh_kem_id.as_str()).collect();
    sent.iter().filter(|id| !listed.contains(id.as_str())).cloned().collect()
}

/// Adds what is taken back, as it was sent but for `IsDeleted`, and says what the portal will hold.
/// `sent` are the packets to look for it in, newest first; empty when nothing is to be taken back.
pub(super) fn settle(dossier: &mut Dossier, gone: Vec<String>, sent: &[Dossier]) -> PacketFiles {
    let mut files = PacketFiles::default();
    let mut held: BTreeSet<String> = BTreeSet::new();
    for file in all(dossier).filter(|file| !file.tep_dinh_kem_id.is_empty()) {
        if file.is_deleted == DELETED {
            files.removed.push(file.tep_dinh_kem_id.clone());
        } else {
            held.insert(file.tep_dinh_kem_id.clone());
        }
    }
    for id in gone {
        let row = sent
            .iter()
            .flat_map(|packet| &packet.tai_lieu_nop)
            .find(|file| file.tep_dinh_kem_id == id);
        if let Some(row) = row {
            dossier.tai_lieu_nop.push(TaiLieuNop { is_deleted: DELETED.to_owned(), ..row.clone() });
            files.removed.push(id);
        } else {
            held.insert(id.clone());
            files.vanished.push(id);
        }
    }
    files.held = held.into_iter().collect();
    files
}

fn all(dossier: &Dossier) -> impl Iterator<Item = &TaiLieuNop> {
    let rounds = dossier.danh_sach_ho_so_bo_sung.iter();
    dossier.tai_lieu_nop.iter().chain(rounds.flat_map(|round| &round.danh_sach_giay_to_bo_sung))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dossier::HoSoBoSung;

    fn file(id: &str) -> TaiLieuNop {
        TaiLieuNop {
            tep_dinh_kem_id: id.into(),
            ten_tep_dinh_kem: format!("{id}.pdf"),
            is_deleted: "False".into(),
            ..TaiLieuNop::default()
        }
    }

    fn dossier(ids: &[&str]) -> Dossier {
        Dossier { tai_lieu_nop: ids.iter().map(|id| file(id)).collect(), ..Dossier::default() }
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_file_that_is_gone_goes_once_more_as_it_was_sent_and_marked() {
        let mut now = dossier(&["b"]);
        let gone = gone(&now, &ids(&["a", "b"]));
        assert_eq!(gone, ids(&["a"]));
        let files = settle(&mut now, gone, &[dossier(&["b"]), dossier(&["a", "b"])]);
        assert_eq!((files.held, files.removed), (ids(&["b"]), ids(&["a"])));
        assert_eq!(now.tai_lieu_nop[1], TaiLieuNop { is_deleted: "True".into(), ..file("a") });
    }

    #[test]
    fn what_cannot_be_repeated_stays_at_the_portal_and_is_named() {
        let mut now = dossier(&["b"]);
        let files = settle(&mut now, ids(&["a"]), &[]);
        assert_eq!((&files.held, &files.vanished), (&ids(&["a", "b"]), &ids(&["a"])));
        assert_eq!(now, dossier(&["b"]));
    }

    #[test]
    fn a_file_in_a_round_of_supplements_and_one_that_the_source_marks_are_not_gone() {
        let mut now = dossier(&["a", ""]);
        now.tai_lieu_nop[0].is_deleted = "True".into();
        let round =
            HoSoBoSung { danh_sach_giay_to_bo_sung: vec![file("b")], ..HoSoBoSung::default() };
        now.danh_sach_ho_so_bo_sung.push(round);
        assert_eq!(gone(&now, &ids(&["a", "b"])), ids(&[]));
        let files = settle(&mut now, Vec::new(), &[]);
        assert_eq!((files.held, files.removed), (ids(&["b"]), ids(&["a"])));
    }
}
