//! Finished, opened again, withdrawn, stopped, waiting for papers, deleted, filed elsewhere.

use hoso_gateway::domain::entry::{EntryState, PortalKnown};
use hoso_gateway::lab::portal::{Outcome, Preregistered, Service};

use super::{CODE, story};
use crate::support::paper::Paper;

fn finished() -> Paper {
    Paper::of(CODE)
        .with("TrangThaiHoSo", "9")
        .with("NgayKetThucXuLy", "20260126153000")
        .steps(&[("20260126083000", "4"), ("20260126153000", "9")])
}

#[tokio::test]
async fn a_finished_dossier_that_is_opened_again_is_updated_and_its_history_grows() {
    let gateway = story().start_with(&[finished()]).await;
    gateway.settle().await;
    let again = Paper::of(CODE).version(2).steps(&[
        ("20260126083000", "4"),
        ("20260126153000", "9"),
        ("20260127090000", "4"),
    ]);
    gateway.put(&again);
    gateway.settle().await;
    let record = gateway.portal.record(CODE).unwrap();
    assert_eq!((record.updates, record.steps.len()), (1, 3));
    assert_eq!(gateway.portal.fields(CODE).unwrap().trang_thai_ho_so, "4");
    assert_eq!(gateway.portal.fields(CODE).unwrap().ngay_ket_thuc_xu_ly, "");
    // Unusual is said, and sent all the same.
    let entry = gateway.entry(CODE, 2).await;
    assert!(entry.diagnostics.iter().any(|found| found.rule == "mapping.transition"));
    assert!(gateway.standing().await.open_discrepancies.is_empty());
    gateway.end().await;
}

#[tokio::test]
async fn only_the_newest_of_several_changes_that_wait_is_sent_with_every_step() {
    let gateway = story().start_with(&[Paper::of(CODE)]).await;
    gateway.pull_and_map().await;
    for (version, steps) in [(2, 2), (3, 3)] {
        let all = [("20260126083000", "4"), ("20260126093000", "4"), ("20260126103000", "4")];
        gateway.put(&Paper::of(CODE).version(version).with("GhiChu", "sửa").steps(&all[..steps]));
        gateway.pull_and_map().await;
    }
    gateway.settle().await;
    let states = gateway.states(CODE).await;
    assert_eq!(states, [EntryState::Superseded, EntryState::Superseded, EntryState::Accepted]);
    assert_eq!(gateway.calls(Service::Dossiers).len(), 1);
    assert_eq!(gateway.portal.record(CODE).unwrap().steps.len(), 3);
    gateway.end().await;
}

#[tokio::test]
async fn a_withdrawal_and_a_stop_are_sent_as_what_they_are_without_a_time_of_ending() {
    for status in ["7", "8"] {
        let gateway = story().start_with(&[Paper::of(CODE)]).await;
        gateway.settle().await;
        let ended = Paper::of(CODE)
            .version(2)
            .with("TrangThaiHoSo", status)
            .steps(&[("20260126083000", "4"), ("20260127090000", status)]);
        gateway.put(&ended);
        gateway.settle().await;
        let fields = gateway.portal.fields(CODE).unwrap();
        assert_eq!(
            (fields.trang_thai_ho_so.as_str(), fields.ngay_ket_thuc_xu_ly.as_str()),
            (status, "")
        );
        let entry = gateway.entry(CODE, 2).await;
        assert_eq!((entry.state, entry.diagnostics.len()), (EntryState::Accepted, 0), "{status}");
        assert_eq!(gateway.step_states(CODE).await, ["acked", "acked"]);
        gateway.end().await;
    }
}

/// A round that asks, and perhaps the citizen's answer with a new appointment.
fn round(answered: bool) -> String {
    let answer = if answered {
        "<NguoiTiepNhanBoSung>Trần Thị Mẫu</NguoiTiepNhanBoSung>\
         <NgayTiepNhanBoSung>20260128090000</NgayTiepNhanBoSung>\
         <TrangThaiBoSung>true</TrangThaiBoSung><NgayHenTraMoi>20260129170000</NgayHenTraMoi>"
    } else {
        "<TrangThaiBoSung>false</TrangThaiBoSung><NgayHenTraMoi></NgayHenTraMoi>"
    };
    format!(
        "<DanhSachHoSoBoSung><HoSoBoSung><HoSoBoSungId>1</HoSoBoSungId>\
         <NguoiYeuCauBoSung>Trần Thị Mẫu</NguoiYeuCauBoSung>\
         <NoiDungBoSung>Bổ sung bản chính</NoiDungBoSung><NgayBoSung>20260126100000</NgayBoSung>\
         <NgayHenTraTruoc>20260127170000</NgayHenTraTruoc>{answer}</HoSoBoSung></DanhSachHoSoBoSung>"
    )
}

#[tokio::test]
async fn a_round_of_supplements_is_asked_once_and_answered_with_its_new_appointment() {
    let empty = "<DanhSachHoSoBoSung></DanhSachHoSoBoSung>";
    let asked = Paper::of(CODE)
        .with("TrangThaiHoSo", "5")
        .replace(empty, &round(false))
        .steps(&[("20260126083000", "4"), ("20260126100000", "5")]);
    let gateway = story().start_with(&[asked]).await;
    gateway.settle().await;
    assert_eq!(gateway.portal.fields(CODE).unwrap().trang_thai_ho_so, "5");
    let answered = Paper::of(CODE)
        .version(2)
        .with("NgayHenTra", "20260129170000")
        .replace(empty, &round(true))
        .steps(&[("20260126083000", "4"), ("20260126100000", "5"), ("20260128090000", "4")]);
    gateway.put(&answered);
    gateway.settle().await;
    assert_eq!(gateway.portal.fields(CODE).unwrap().ngay_hen_tra, "20260129170000");
    // The request travelled alone, and once.
    let sizes: Vec<usize> =
        gateway.calls(Service::Steps).iter().map(|call| call.digests.len()).collect();
    assert_eq!(sizes, [1, 1, 1]);
    assert_eq!(gateway.portal.state().duplicated_steps, 0);
    assert_eq!(gateway.step_states(CODE).await, ["acked"; 3]);
    gateway.end().await;
}

#[tokio::test]
async fn a_deleted_dossier_that_comes_back_is_sent_again_and_the_difference_ends() {
    let gateway = story().start_with(&[Paper::of(CODE)]).await;
    gateway.settle().await;
    gateway.put(&Paper::of(CODE).version(2).replace("<HoSo ", "<HoSo daXoa=\"true\" "));
    gateway.settle().await;
    let open = async || gateway.standing().await.open_discrepancies;
    assert_eq!(open().await.get("deleted_at_source"), Some(&1));
    assert_eq!(gateway.calls(Service::Dossiers).len(), 1);
    gateway.put(&Paper::of(CODE).version(3).with("GhiChu", "khôi phục"));
    gateway.settle().await;
    assert_eq!(open().await.len(), 0);
    assert_eq!(gateway.portal.record(CODE).unwrap().updates, 1);
    gateway.end().await;
}

#[tokio::test]
async fn a_dossier_filed_at_the_national_portal_is_an_update_from_the_beginning() {
    let paper = Paper::of(CODE).with("NoiNopHoSo", "1");
    let mut story = story();
    story.portal.preregistered = Preregistered::Listed([CODE.to_owned()].into());
    let gateway = story.start_with(&[paper]).await;
    gateway.settle().await;
    let calls = gateway.calls(Service::Dossiers);
    assert_eq!((calls.len(), calls[0].updating), (1, Some(true)));
    assert_eq!(gateway.dossier(CODE).await.portal_known, PortalKnown::Yes);
    gateway.end().await;
}

#[tokio::test]
async fn an_update_that_the_portal_does_not_know_goes_as_a_new_dossier_at_once() {
    let paper = Paper::of(CODE).with("NoiNopHoSo", "1");
    let mut story = story();
    story.portal.preregistered = Preregistered::Nobody;
    let gateway = story.start_with(&[paper]).await;
    gateway.settle().await;
    let calls = gateway.calls(Service::Dossiers);
    let flags: Vec<Option<bool>> = calls.iter().map(|call| call.updating).collect();
    assert_eq!(flags, [Some(true), Some(false)]);
    assert_eq!(calls[1].outcome, Outcome::Accepted);
    assert_eq!(gateway.states(CODE).await, [EntryState::Accepted]);
    assert_eq!(gateway.step_states(CODE).await, ["acked"]);
    gateway.end().await;
}
