//! Practices seen in real synchronisation programs that falsify a province's figures. Each test
//! shows that this mapping cannot do it.

use super::*;

#[test]
fn a_pause_is_never_sent_as_finished() {
    let paused = case("paused_status_stays_a_pause");
    for status in ["5", "6", "8"] {
        let xml = paused.replace("<TrangThaiHoSo>6", &format!("<TrangThaiHoSo>{status}"));
        let mapped = feed().map(&xml);
        assert_eq!(mapped.dossier.unwrap().trang_thai_ho_so, status);
        // No step is added either, and none is changed.
        let statuses: Vec<_> = mapped.steps.iter().map(|step| step.trang_thai.as_str()).collect();
        assert_eq!(statuses, ["2", "6"]);
    }
}

#[test]
fn a_finished_status_without_its_event_is_refused() {
    assert_eq!(rules(&feed().map(&case("finished_without_its_time"))), ["mapping.status_time"]);
    assert_eq!(rules(&feed().map(&case("returned_without_its_time"))), ["mapping.status_time"]);
}

#[test]
fn a_dossier_without_an_appointment_gets_no_end() {
    let xml = with(&case("unusual_transition"), "<NgayHenTra>20260127170000", "<NgayHenTra>");
    let mapped = feed().map(&xml);
    let dossier = mapped.dossier.unwrap();
    assert_eq!((dossier.ngay_hen_tra.as_str(), dossier.ngay_ket_thuc_xu_ly.as_str()), ("", ""));
    assert_eq!(mapped.steps.len(), 3);
}

#[test]
fn a_code_without_the_province_is_refused_and_never_replaced() {
    let mapped = feed().map(&case("code_without_province"));
    assert_eq!(rules(&mapped), ["mapping.dossier_code"]);
    assert_eq!(mapped.dossier, None);
}

#[test]
fn an_unknown_identity_is_left_out_and_flagged_and_never_made_up() {
    for (number, rule) in
        [("", "mapping.identity_unknown"), ("000000001", "mapping.identity_placeholder")]
    {
        let xml =
            with(&case("normal"), "<SoDinhDanh>999000000001", &format!("<SoDinhDanh>{number}"));
        let mapped = feed().map(&xml);
        assert_eq!(rules(&mapped), [rule]);
        assert_eq!(mapped.dossier.unwrap().dinh_danh_chs, []);
    }
}

#[test]
fn a_submitted_file_is_never_sent_as_the_result() {
    assert_eq!(rules(&feed().map(&case("submitted_file_as_result"))), ["mapping.result_is_input"]);
    let without = feed().map(&case("several_files_are_all_sent")).dossier.unwrap();
    assert_eq!((without.tai_lieu_nop.len(), without.danh_sach_giay_to_ket_qua.len()), (3, 0));
}

#[test]
fn a_paid_fee_says_nothing_about_where_it_was_paid() {
    let normal = case("normal");
    let flag = "<DuocThanhToanTrucTuyen>1</DuocThanhToanTrucTuyen>";
    let unpaid = with(&normal, flag, &flag.replace('1', "3"));
    assert_eq!(feed().map(&unpaid).dossier.unwrap().duoc_thanh_toan_truc_tuyen, "3");
    assert_eq!(rules(&feed().map(&with(&normal, flag, ""))), ["mapping.required"]);
}

#[test]
fn the_vneid_flag_and_the_databases_come_from_the_source_or_not_at_all() {
    let normal = case("normal");
    for flag in ["0", "1"] {
        let from = "<TaiKhoanDuocXacThucVoiVNeID>1";
        let xml = with(&normal, from, &from.replace('1', flag));
        assert_eq!(feed().map(&xml).dossier.unwrap().tai_khoan_duoc_xac_thuc_voi_vneid, flag);
    }
    let none = case("several_files_are_all_sent");
    assert_eq!(feed().map(&none).dossier.unwrap().ds_ket_noi_csdl, []);
    for element in [
        "<TaiKhoanDuocXacThucVoiVNeID>1</TaiKhoanDuocXacThucVoiVNeID>",
        "<DSKetNoiCSDL></DSKetNoiCSDL>",
    ] {
        assert!(feed().map(&with(&none, element, "")).dossier.is_none(), "{element}");
    }
}

#[test]
fn every_file_is_sent_and_several_links_in_one_value_are_refused() {
    assert_eq!(
        feed().map(&case("several_files_are_all_sent")).dossier.unwrap().tai_lieu_nop.len(),
        3
    );
    let link = "https://tep.example.invalid/t/9f1c";
    let xml = with(&case("normal"), link, &format!("{link}##{link}"));
    assert_eq!(rules(&feed().map(&xml)), ["mapping.link"]);
}

#[test]
fn no_step_is_added_at_either_end() {
    let none = feed().map(
        &with(&case("several_files_are_all_sent"), "<DanhSachTienDo>", "<DanhSachTienDo/><Bo>")
            .replace("</DanhSachTienDo>", "</Bo>"),
    );
    assert_eq!((none.dossier.is_some(), none.steps.len()), (true, 0));
}
