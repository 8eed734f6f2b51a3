//! What must hold for any document.

use proptest::prelude::*;

use super::*;

fn shuffled(order: &[usize], parts: &[&str]) -> String {
    let mut parts: Vec<(usize, &str)> = order.iter().copied().zip(parts.iter().copied()).collect();
    parts.sort_unstable();
    parts.into_iter().map(|(_, part)| part).collect()
}

/// Every tag with a prefix that is bound at the root.
fn prefixed(xml: &str) -> String {
    let tags = xml.replace("</", "\u{0}").replace('<', "<p:").replace('\u{0}', "</p:");
    tags.replacen("<p:HoSo", "<p:HoSo xmlns:p=\"urn:example:hoso\"", 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn attribute_order_white_space_and_prefixes_change_nothing(
        order in proptest::collection::vec(any::<usize>(), 3),
        white in "[ \t\n\r]{0,3}",
        with_prefix in any::<bool>(),
        name in prop::sample::select(vec!["normal", "supplement_rounds", "firm_with_tax_number"]),
    ) {
        let plain = case(name);
        let attributes = shuffled(&order, &[" a='1'", " phienBan=\"7\"", " capNhatLuc='x'"]);
        let body = &plain[plain.find('>').unwrap() + 1..];
        let mut xml = format!("<HoSo{attributes}>{}", body.replace(">\n", &format!(">{white}")));
        if with_prefix {
            xml = prefixed(&xml);
        }
        let (expected, found) = (feed().map(&plain), feed().map(&xml));
        prop_assert_eq!(rules(&expected), rules(&found));
        prop_assert_eq!(expected.dossier, found.dossier);
        prop_assert_eq!(expected.steps, found.steps);
    }

    #[test]
    fn unknown_elements_never_change_known_fields(
        places in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
        inside in prop::sample::select(vec!["", "văn bản", "<MaHoSo>H55-260126-9999</MaHoSo>", "<Gia>1</Gia><X/>"]),
        name in prop::sample::select(vec!["normal", "supplement_rounds"]),
    ) {
        let plain = case(name);
        // Between lines of one record, but not directly inside a list.
        let mut lines: Vec<String> = Vec::new();
        let mut spots = Vec::new();
        for line in plain.lines() {
            if line.trim_start().starts_with("</") || line.trim_end().ends_with("</MaHoSo>") || line.contains("</Ngay") {
                spots.push(lines.len() + usize::from(line.contains("</Ngay") || line.contains("</MaHoSo>")));
            }
            lines.push(line.to_owned());
        }
        spots.retain(|at| !lines.get(at.wrapping_sub(1)).is_some_and(|before| {
            let before = before.trim();
            ["TaiLieuNop>", "LePhi>", "GiayToKetQua>", "TienDo>", "DinhDanh>", "KetNoiCSDL>", "HoSoBoSung>", "</HoSo>"]
                .iter()
                .any(|end| before.ends_with(end))
        }));
        for place in places {
            let at = *place.get(&spots);
            lines[at - 1].extend(["<KhongBiet khac='1'>", inside, "</KhongBiet>"]);
        }
        let (expected, found) = (feed().map(&plain), feed().map(&lines.join("\n")));
        prop_assert_eq!(rules(&expected), rules(&found));
        prop_assert_eq!(expected.dossier, found.dossier);
        prop_assert_eq!(expected.steps, found.steps);
    }

    #[test]
    fn a_dossier_comes_exactly_when_there_is_no_error(
        at in any::<prop::sample::Index>(),
        length in 0usize..40,
        insert in "[<>/&;a-zA-Z0-9 \"'=ạ\u{1}!\\[\\]?-]{0,12}",
    ) {
        let plain = case("supplement_rounds");
        let from = plain.floor_char_boundary(at.index(plain.len()));
        let to = plain.floor_char_boundary((from + length).min(plain.len()));
        let xml = format!("{}{insert}{}", &plain[..from], &plain[to..]);
        let mapped = feed().map(&xml);
        let refused = mapped.diagnostics.iter().any(|found| found.severity == Severity::Error);
        prop_assert_eq!(mapped.dossier.is_none(), refused);
        let _unused = (feed().explain(&xml, None), feed().check(&[&xml]));
    }

    #[test]
    fn no_text_makes_mapping_panic(text in "\\PC{0,80}", field in "\\PC{0,80}") {
        let _unused = feed().map(&text);
        let quoted = field.replace('&', "&amp;").replace('<', "&lt;");
        let mut xml = case("normal");
        for name in ["NgayHenTra", "SoDienThoai", "Email", "MaDoiTuong", "Gia", "DuongDanTaiTepTin", "SoDinhDanh"] {
            let at = xml.find(&format!("<{name}>")).unwrap() + name.len() + 2;
            let end = at + xml[at..].find('<').unwrap();
            xml.replace_range(at..end, &quoted);
        }
        let _unused = feed().map(&xml);
    }

    #[test]
    fn whatever_is_accepted_keeps_to_the_contract(text in "[0-9A-Za-zạđ𝒳 .:+-]{0,1300}") {
        let normal = case("normal");
        for name in ["TrichYeuHoSo", "NgayHenTra", "GhiChu", "NoiDungXuLy", "TenGiayTo"] {
            let at = normal.find(&format!("<{name}>")).unwrap() + name.len() + 2;
            let end = at + normal[at..].find('<').unwrap();
            let xml = format!("{}{text}{}", &normal[..at], &normal[end..]);
            let Some(dossier) = feed().map(&xml).dossier else { continue };
            prop_assert!(dossier.trich_yeu_ho_so.encode_utf16().count() <= 1000);
            prop_assert!(dossier.ghi_chu.encode_utf16().count() <= 2000);
            prop_assert!(dossier.ngay_hen_tra.is_empty() || crate::domain::time::Timestamp::from_portal(&dossier.ngay_hen_tra).is_some());
        }
    }
}
