//! Whether the portal knows the codes of a mapped dossier. Judges, and never rewrites a code.

use super::CodePolicies;
use crate::domain::catalogue::{CodePolicy, ItemKind, KnownCodes};
use crate::domain::codes::ProcedureCode;
use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::domain::dossier::Dossier;
use crate::mapping::Mapping;

pub const UNKNOWN_PROCEDURE: &str = "catalogue.unknown_procedure";
pub const UNKNOWN_FIELD: &str = "catalogue.unknown_field";
pub const UNKNOWN_FEE: &str = "catalogue.unknown_fee";
pub const UNKNOWN_RESULT: &str = "catalogue.unknown_result";

/// What dossiers are judged by.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    pub codes: KnownCodes,
    pub policies: CodePolicies,
}

/// A code that the portal does not know.
#[derive(Debug, PartialEq, Eq)]
struct Unknown<'d> {
    rule: &'static str,
    policy: CodePolicy,
    /// Lists and numbers (from 1) that lead to the item.
    lists: Vec<(&'static str, usize)>,
    target: &'static str,
    expected: String,
    code: &'d str,
}

impl Judge {
    /// What is to be said of the dossier; errors mean that it is to be held. `xml` is the document
    /// that it was mapped from, for the places.
    pub fn findings(&self, mapping: &Mapping, xml: &str, dossier: &Dossier) -> Vec<Diagnostic> {
        let unknown = self.unknown(dossier);
        unknown
            .into_iter()
            .map(|unknown| {
                let (source_path, position) = mapping.place_of(xml, &unknown.lists, unknown.target);
                let items = unknown.lists.iter().map(|(list, number)| format!("{list}[{number}]"));
                let target: Vec<String> = items.chain([unknown.target.to_owned()]).collect();
                Diagnostic {
                    rule: unknown.rule.to_owned(),
                    severity: match unknown.policy {
                        CodePolicy::Hold => Severity::Error,
                        CodePolicy::Warn | CodePolicy::Off => Severity::Warning,
                    },
                    source_path,
                    position,
                    target: target.join("."),
                    expected: unknown.expected,
                    found: described(unknown.code),
                }
            })
            .collect()
    }

    fn unknown<'d>(&self, dossier: &'d Dossier) -> Vec<Unknown<'d>> {
        let mut unknown = Vec::new();
        let policies = &self.policies;
        let mut say = |rule, policy, lists, target, expected: String, code: &'d str| {
            unknown.push(Unknown { rule, policy, lists, target, expected, code });
        };
        let is_on = |policy: CodePolicy| policy != CodePolicy::Off;
        let code = dossier.ma_tthc.as_str();
        let knows = self.codes.procedure(code);
        if is_on(policies.procedures) && knows == Some(false) {
            let expected = "a procedure of the portal's list".to_owned();
            say(UNKNOWN_PROCEDURE, policies.procedures, Vec::new(), "MaTTHC", expected, code);
        }
        let field = dossier.ma_linh_vuc.as_str();
        let knows_field = self.codes.field(field);
        if is_on(policies.fields) && !field.is_empty() && knows_field == Some(false) {
            let expected = "a field of the portal's list".to_owned();
            say(UNKNOWN_FIELD, policies.fields, Vec::new(), "MaLinhVuc", expected, field);
        }
        let Some(procedure) = ProcedureCode::parse(code).map(|code| code.national) else {
            return unknown;
        };
        let lacks = |kind: ItemKind, code: &str| {
            !code.is_empty() && self.codes.part(procedure, kind, code) == Some(false)
        };
        if is_on(policies.fees) {
            let expected = || format!("a fee that the portal has for procedure {procedure}");
            for (at, fee) in (1..).zip(&dossier.danh_sach_le_phi) {
                let code = fee.ma_phi_le_phi.as_str();
                if lacks(ItemKind::Fee, code) {
                    let lists = vec![("DanhSachLePhi", at)];
                    say(UNKNOWN_FEE, policies.fees, lists, "MaPhiLePhi", expected(), code);
                }
            }
            for (round, supplement) in (1..).zip(&dossier.danh_sach_ho_so_bo_sung) {
                for (at, fee) in (1..).zip(&supplement.danh_sach_le_phi_bo_sung) {
                    let code = fee.ma_phi_le_phi.as_str();
                    if lacks(ItemKind::Fee, code) {
                        let lists =
                            vec![("DanhSachHoSoBoSung", round), ("DanhSachLePhiBoSung", at)];
                        say(UNKNOWN_FEE, policies.fees, lists, "MaPhiLePhi", expected(), code);
                    }
                }
            }
        }
        if is_on(policies.results) {
            for (at, result) in (1..).zip(&dossier.danh_sach_giay_to_ket_qua) {
                let code = result.ma_giay_to_ket_qua.as_str();
                if lacks(ItemKind::Result, code) {
                    let lists = vec![("DanhSachGiayToKetQua", at)];
                    let expected =
                        format!("a result that the portal has for procedure {procedure}");
                    say(UNKNOWN_RESULT, policies.results, lists, "MaGiayToKetQua", expected, code);
                }
            }
        }
        unknown
    }
}

/// A code is named when it is built like one. What stands in its place may be anything, so it is
/// only described.
fn described(code: &str) -> String {
    let longest_run =
        code.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or_default();
    let is_code = code.len() <= 40
        && code.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && code.bytes().any(|b| b.is_ascii_digit())
        && code.bytes().any(|b| !b.is_ascii_digit())
        && longest_run <= 6;
    if is_code { code.to_owned() } else { format!("a text of {} characters", code.chars().count()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::{CatalogueItem, CatalogueKey, CatalogueKind};
    use crate::domain::dossier::{GiayToKetQua, HoSoBoSung, LePhi};

    fn item(kind: ItemKind, code: &str) -> CatalogueItem {
        CatalogueItem { kind, code: code.to_owned(), name: String::new() }
    }

    fn known() -> KnownCodes {
        let mut codes = KnownCodes::default();
        codes.put(
            &CatalogueKey::list(CatalogueKind::Procedures),
            &[item(ItemKind::Procedure, "2.000815")],
        );
        codes.put(&CatalogueKey::list(CatalogueKind::Fields), &[item(ItemKind::Field, "G15-CT01")]);
        codes.put(
            &CatalogueKey::details("2.000815"),
            &[item(ItemKind::Fee, "PHI01"), item(ItemKind::Result, "KQ.G15.000031")],
        );
        codes
    }

    fn fee(code: &str) -> LePhi {
        LePhi { ma_phi_le_phi: code.to_owned(), ..LePhi::default() }
    }

    fn dossier() -> Dossier {
        Dossier {
            ma_tthc: "2.000815.000.00.00.H55".to_owned(),
            ma_linh_vuc: "G15-CT01".to_owned(),
            danh_sach_le_phi: vec![fee("PHI01")],
            danh_sach_giay_to_ket_qua: vec![GiayToKetQua {
                ma_giay_to_ket_qua: "KQ.G15.000031".to_owned(),
                ..GiayToKetQua::default()
            }],
            ..Dossier::default()
        }
    }

    fn found(judge: &Judge, dossier: &Dossier) -> Vec<(&'static str, CodePolicy)> {
        judge.unknown(dossier).into_iter().map(|one| (one.rule, one.policy)).collect()
    }

    #[test]
    fn a_dossier_of_known_codes_has_no_findings_and_an_empty_catalogue_finds_nothing() {
        let judge = Judge { codes: known(), policies: CodePolicies::default() };
        assert_eq!(found(&judge, &dossier()), []);
        let mut strange = dossier();
        strange.ma_tthc = "9.999999".to_owned();
        strange.ma_linh_vuc = "X".to_owned();
        assert_eq!(found(&Judge::default(), &strange), []);
    }

    #[test]
    fn each_kind_follows_its_own_policy() {
        let policies = CodePolicies {
            procedures: CodePolicy::Hold,
            fields: CodePolicy::Warn,
            fees: CodePolicy::Off,
            results: CodePolicy::Hold,
        };
        let judge = Judge { codes: known(), policies };
        let mut strange = dossier();
        strange.ma_linh_vuc = "G15-CT02".to_owned();
        strange.danh_sach_le_phi.push(fee("PHI02"));
        strange.danh_sach_giay_to_ket_qua[0].ma_giay_to_ket_qua = "KQ.G15.000032".to_owned();
        assert_eq!(
            found(&judge, &strange),
            [(UNKNOWN_FIELD, CodePolicy::Warn), (UNKNOWN_RESULT, CodePolicy::Hold)]
        );
        strange.ma_tthc = "2.000816".to_owned();
        strange.ma_linh_vuc.clear();
        // Nothing is known of the parts of an unknown procedure.
        assert_eq!(found(&judge, &strange), [(UNKNOWN_PROCEDURE, CodePolicy::Hold)]);
    }

    #[test]
    fn fees_are_looked_at_wherever_they_stand() {
        let judge = Judge { codes: known(), policies: CodePolicies::default() };
        let mut strange = dossier();
        strange.danh_sach_le_phi.push(fee("PHI09"));
        strange.danh_sach_ho_so_bo_sung.push(HoSoBoSung {
            danh_sach_le_phi_bo_sung: vec![fee("PHI01"), fee("PHI08")],
            ..HoSoBoSung::default()
        });
        let places: Vec<_> = judge.unknown(&strange).into_iter().map(|one| one.lists).collect();
        assert_eq!(
            places,
            [
                vec![("DanhSachLePhi", 2)],
                vec![("DanhSachHoSoBoSung", 1), ("DanhSachLePhiBoSung", 2)]
            ]
        );
    }

    #[test]
    fn a_finding_names_a_code_and_only_describes_what_is_none() {
        for code in ["2.999999", "KQ.G15.000031", "G15-CT01", "PHI01", "000.00.00.G15-KQ000031"] {
            assert_eq!(described(code), code);
        }
        for text in
            ["999000000001", "Nguyễn Văn Thử", "an@example.invalid", "Thu", "SDT-0000123456"]
        {
            assert!(described(text).starts_with("a text of "), "{text}");
        }
    }
}
