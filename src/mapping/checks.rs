//! Checks that look at several fields of a dossier at once. They judge, and never repair.

use std::borrow::Cow;

use crate::domain::codes::DossierCode;
use crate::domain::diagnostic::Severity;
use crate::domain::dossier::{DinhDanhCHS, Dossier};
use crate::domain::status::Status;
use crate::domain::step::Step;

use super::Settings;
use super::convert::describe;
use super::finding::Finding;
use super::plan::{Check, DOSSIER, Plan};
use super::read::Reading;
use super::succession::Succession;

/// Runs the checks that the mapping asks for.
pub(super) fn run(
    plan: &Plan,
    settings: &Settings,
    succession: &Succession,
    reading: &mut Reading,
) {
    let mut checks = Checks { plan, settings, succession, findings: Vec::new() };
    let (dossier, steps) = (&mut reading.dossier, &reading.steps);
    for check in &plan.checks {
        match check {
            Check::CodeOfProvince => checks.code_of_province(dossier),
            Check::TimesInOrder => checks.times_in_order(dossier),
            Check::StatusHasItsTime => checks.status_has_its_time(dossier),
            Check::IdentityFitsItsType => checks.identities(dossier),
            Check::ResultIsNotAnInput => checks.results(dossier),
            Check::StepsOfThisDossier => checks.steps_of(dossier, steps),
            Check::UsualTransitions => checks.transitions(steps),
            Check::EndHasItsStep => checks.end_step(dossier, steps),
        }
    }
    // A field that could not be read at all is empty here; that was said already.
    let known = |found: &Finding| {
        reading
            .findings
            .iter()
            .any(|earlier| earlier.severity == Severity::Error && earlier.path == found.path)
    };
    checks.findings.retain(|finding| !known(finding));
    reading.findings.append(&mut checks.findings);
}

struct Checks<'p> {
    plan: &'p Plan,
    settings: &'p Settings,
    succession: &'p Succession,
    findings: Vec<Finding>,
}

impl Checks<'_> {
    fn say(
        &mut self,
        severity: Severity,
        rule: &'static str,
        path: String,
        target: &'static str,
        expected: impl Into<Cow<'static, str>>,
        found: impl Into<String>,
    ) {
        self.findings.push(Finding {
            rule,
            severity,
            path,
            offset: None,
            target,
            expected: expected.into(),
            found: found.into(),
        });
    }

    fn code_of_province(&mut self, dossier: &Dossier) {
        let Some(code) = DossierCode::parse(&dossier.ma_ho_so) else {
            return;
        };
        let province = code.agency.level_one();
        let path = self.plan.dossier_path("MaHoSo");
        if !self.succession.is_of(&code.agency, &self.settings.province_codes) {
            let expected = format!("a code of {}", self.settings.province_codes.join(" or "));
            self.say(
                Severity::Error,
                "mapping.province",
                path,
                "MaHoSo",
                expected,
                format!("a code of {province}"),
            );
        } else if let Some(heir) = self.succession.heir_at_issue(&code) {
            let expected = format!("a code of {heir}, its successor on the day of the code");
            self.say(
                Severity::Warning,
                "mapping.ended_agency",
                path,
                "MaHoSo",
                expected,
                format!("a code of {province}"),
            );
        }
    }

    fn times_in_order(&mut self, dossier: &Dossier) {
        let times = [
            ("NgayNopHoSo", &dossier.ngay_nop_ho_so),
            ("NgayTiepNhan", &dossier.ngay_tiep_nhan),
            ("NgayKetThucXuLy", &dossier.ngay_ket_thuc_xu_ly),
            ("NgayTra", &dossier.ngay_tra),
        ];
        let given: Vec<_> = times.into_iter().filter(|(_, time)| !time.is_empty()).collect();
        for pair in given.windows(2) {
            self.ordered(pair[0], pair[1], Severity::Error, self.plan.root(), DOSSIER);
        }
        let filed = ("NgayNopHoSo", &dossier.ngay_nop_ho_so);
        self.ordered(
            filed,
            ("NgayTuChoi", &dossier.ngay_tu_choi),
            Severity::Error,
            self.plan.root(),
            DOSSIER,
        );
        // The appointment is a promise, not an event: it may lie on either side of the end, and one
        // before reception is doubtful but the source's word.
        let received = ("NgayTiepNhan", &dossier.ngay_tiep_nhan);
        self.ordered(
            received,
            ("NgayHenTra", &dossier.ngay_hen_tra),
            Severity::Warning,
            self.plan.root(),
            DOSSIER,
        );

        let Some(rounds) = self.plan.record("DanhSachHoSoBoSung") else {
            return;
        };
        for (at, round) in dossier.danh_sach_ho_so_bo_sung.iter().enumerate() {
            let path = self.plan.item_path(self.plan.root(), rounds, at + 1);
            let asked = ("NgayBoSung", &round.ngay_bo_sung);
            let answered = ("NgayTiepNhanBoSung", &round.ngay_tiep_nhan_bo_sung);
            self.ordered(asked, answered, Severity::Error, &path, rounds);
        }
    }

    fn ordered(
        &mut self,
        (earlier_name, earlier): (&'static str, &String),
        (later_name, later): (&'static str, &String),
        severity: Severity,
        record_path: &str,
        record: usize,
    ) {
        if !earlier.is_empty() && !later.is_empty() && later < earlier {
            let path = self.plan.path_in(record_path, record, later_name);
            let expected = format!("a time not before {earlier_name}");
            self.say(
                severity,
                "mapping.times_order",
                path,
                later_name,
                expected,
                "an earlier time",
            );
        }
    }

    fn status_has_its_time(&mut self, dossier: &Dossier) {
        let (target, time) = match Status::parse(&dossier.trang_thai_ho_so) {
            Some(Status::Finished) => ("NgayKetThucXuLy", &dossier.ngay_ket_thuc_xu_ly),
            Some(Status::Returned) => ("NgayTra", &dossier.ngay_tra),
            _ => return,
        };
        if time.is_empty() {
            let path = self.plan.dossier_path(target);
            let expected = format!("a time, as the status is {}", dossier.trang_thai_ho_so);
            self.say(Severity::Error, "mapping.status_time", path, target, expected, "empty");
        }
    }

    /// Leaves out what cannot be told truthfully, and refuses what contradicts itself.
    fn identities(&mut self, dossier: &mut Dossier) {
        let record = self.plan.record("DinhDanhCHS");
        let mut number = 0;
        dossier.dinh_danh_chs.retain_mut(|identity| {
            number += 1;
            let item = record.map_or_else(String::new, |record| {
                self.plan.item_path(self.plan.root(), record, number)
            });
            let path = |target| {
                record.map_or_else(String::new, |record| self.plan.path_in(&item, record, target))
            };
            match judge(identity, self.settings) {
                Judgement::Fits => true,
                Judgement::TypeFollows(kind) => {
                    identity.loai_dinh_danh = kind;
                    true
                }
                Judgement::Contradicts(expected) => {
                    let found = describe(&identity.so_dinh_danh);
                    self.say(
                        Severity::Error,
                        "mapping.identity",
                        path("SoDinhDanh"),
                        "SoDinhDanh",
                        expected,
                        found,
                    );
                    true
                }
                Judgement::LeftOut(rule, expected) => {
                    let found =
                        format!("{}; the identity is left out", describe(&identity.so_dinh_danh));
                    self.say(
                        Severity::Warning,
                        rule,
                        path("SoDinhDanh"),
                        "DinhDanhCHS",
                        expected,
                        found,
                    );
                    false
                }
            }
        });
    }

    fn results(&mut self, dossier: &Dossier) {
        let Some(record) = self.plan.record("DanhSachGiayToKetQua") else {
            return;
        };
        for (at, result) in dossier.danh_sach_giay_to_ket_qua.iter().enumerate() {
            let is_input = dossier.tai_lieu_nop.iter().any(|input| {
                let same = |a: &str, b: &str| !a.is_empty() && a == b;
                same(&input.duong_dan_tai_tep_tin, &result.duong_dan_tep_tin_ket_qua)
                    || same(&input.tep_dinh_kem_id, &result.giay_to_id)
            });
            if is_input {
                let item = self.plan.item_path(self.plan.root(), record, at + 1);
                let path = self.plan.path_in(&item, record, "DuongDanTepTinKetQua");
                let expected = "a paper of its own as the result";
                self.say(
                    Severity::Error,
                    "mapping.result_is_input",
                    path,
                    "DuongDanTepTinKetQua",
                    expected,
                    "a paper that was submitted",
                );
            }
        }
    }

    fn steps_of(&mut self, dossier: &Dossier, steps: &[Step]) {
        // Without a code of its own there is nothing to compare with.
        if dossier.ma_ho_so.is_empty() {
            return;
        }
        for (at, step) in steps.iter().enumerate() {
            if !step.ma_ho_so.is_empty() && step.ma_ho_so != dossier.ma_ho_so {
                let path = self.step_path(at, "MaHoSo");
                self.say(
                    Severity::Error,
                    "mapping.step_of_another",
                    path,
                    "MaHoSo",
                    "the code of this dossier",
                    "another code",
                );
            }
        }
    }

    fn transitions(&mut self, steps: &[Step]) {
        let mut order: Vec<usize> = (0..steps.len()).collect();
        order.sort_by(|a, b| steps[*a].thoi_diem_xu_ly.cmp(&steps[*b].thoi_diem_xu_ly));
        for pair in order.windows(2) {
            let status = |at: usize| Status::parse(&steps[at].trang_thai);
            let (Some(before), Some(after)) = (status(pair[0]), status(pair[1])) else {
                continue;
            };
            if !before.usually_becomes(after) {
                let path = self.step_path(pair[1], "TrangThai");
                let expected = format!("a status that usually follows {before}");
                self.say(
                    Severity::Warning,
                    "mapping.transition",
                    path,
                    "TrangThai",
                    expected,
                    after.to_string(),
                );
            }
        }
    }

    /// The portal takes the end of processing from the steps; without one the dossier counts as open.
    fn end_step(&mut self, dossier: &Dossier, steps: &[Step]) {
        let ended =
            |code: &str| matches!(Status::parse(code), Some(Status::Finished | Status::Returned));
        if ended(&dossier.trang_thai_ho_so) && !steps.iter().any(|step| ended(&step.trang_thai)) {
            let path = self.plan.dossier_path("TrangThaiHoSo");
            let expected = "a step with status 9 or 10 in the history of a finished dossier";
            self.say(
                Severity::Warning,
                "mapping.end_step",
                path,
                "TrangThaiHoSo",
                expected,
                "no such step",
            );
        }
    }

    fn step_path(&self, at: usize, target: &str) -> String {
        match self.plan.record("steps") {
            Some(record) => {
                let item = self.plan.item_path(self.plan.root(), record, at + 1);
                self.plan.path_in(&item, record, target)
            }
            None => self.plan.root().to_owned(),
        }
    }
}

enum Judgement {
    Fits,
    /// The source gave no type, and the number's form has exactly one.
    TypeFollows(String),
    Contradicts(&'static str),
    LeftOut(&'static str, &'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Citizen,
    OldCard,
    Tax,
    Passport,
    Other,
}

/// Types 1 (số định danh cá nhân, 12 digits) and 2 (chứng minh nhân dân, 9 digits) are known. The
/// codes of tax numbers and passports are not published, so they are configuration.
fn judge(identity: &DinhDanhCHS, settings: &Settings) -> Judgement {
    const UNTYPED: &str =
        "a number whose type has a code (1: 12 digits, 2: 9 digits, others by configuration)";
    let number = identity.so_dinh_danh.as_str();
    if number.is_empty() {
        return Judgement::LeftOut("mapping.identity_unknown", "an identity number");
    }
    if is_placeholder(number) {
        return Judgement::LeftOut(
            "mapping.identity_placeholder",
            "a number that belongs to somebody",
        );
    }
    let form = form(number);
    let code_of = |form: Form| match form {
        Form::Citizen => Some("1"),
        Form::OldCard => Some("2"),
        Form::Tax => settings.tax_identity_type.as_deref(),
        Form::Passport => settings.passport_identity_type.as_deref(),
        Form::Other => None,
    };
    let expected_form = |kind: &str| {
        [Form::Citizen, Form::OldCard, Form::Tax, Form::Passport]
            .into_iter()
            .find(|form| code_of(*form) == Some(kind))
    };
    let kind = identity.loai_dinh_danh.as_str();
    if kind.is_empty() {
        return match code_of(form) {
            Some(kind) => Judgement::TypeFollows(kind.to_owned()),
            None => Judgement::LeftOut("mapping.identity_type", UNTYPED),
        };
    }
    match expected_form(kind) {
        Some(expected) if expected == form => Judgement::Fits,
        Some(Form::Citizen) => Judgement::Contradicts("12 digits, as the type is 1"),
        Some(Form::OldCard) => Judgement::Contradicts("9 digits, as the type is 2"),
        Some(Form::Tax) => Judgement::Contradicts("a tax number: 10 digits, or 10 and 3"),
        Some(_) => Judgement::Contradicts("a passport number: a letter and 7 or 8 digits"),
        None => Judgement::LeftOut("mapping.identity_type", UNTYPED),
    }
}

fn form(number: &str) -> Form {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match number.len() {
        12 if digits(number) => Form::Citizen,
        9 if digits(number) => Form::OldCard,
        10 | 13 if digits(number) => Form::Tax,
        14 if number
            .split_once('-')
            .is_some_and(|(a, b)| a.len() == 10 && digits(a) && digits(b)) =>
        {
            Form::Tax
        }
        8 | 9 if number.as_bytes()[0].is_ascii_uppercase() && digits(&number[1..]) => {
            Form::Passport
        }
        _ => Form::Other,
    }
}

/// `000000001`, `111111111` and the like: what programs send when nobody was asked.
fn is_placeholder(number: &str) -> bool {
    let bytes = number.as_bytes();
    bytes.len() > 1
        && bytes[..bytes.len() - 1].iter().all(|byte| *byte == bytes[0])
        && bytes[0].is_ascii_digit()
        && (bytes[0] == b'0' || bytes[bytes.len() - 1] == bytes[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kind: &str, number: &str, settings: &Settings) -> String {
        let identity = DinhDanhCHS { loai_dinh_danh: kind.into(), so_dinh_danh: number.into() };
        match judge(&identity, settings) {
            Judgement::Fits => "fits".into(),
            Judgement::TypeFollows(kind) => format!("type {kind}"),
            Judgement::Contradicts(_) => "contradicts".into(),
            Judgement::LeftOut(rule, _) => rule.trim_start_matches("mapping.").into(),
        }
    }

    #[test]
    fn an_identity_fits_its_type_or_is_refused_or_is_left_out() {
        let unset = Settings::default();
        let set = Settings {
            tax_identity_type: Some("4".into()),
            passport_identity_type: Some("3".into()),
            ..Settings::default()
        };
        for (kind, number, without, with) in [
            ("1", "999000000123", "fits", "fits"),
            ("2", "999000123", "fits", "fits"),
            ("", "999000000123", "type 1", "type 1"),
            ("", "999000123", "type 2", "type 2"),
            ("1", "999000123", "contradicts", "contradicts"),
            ("2", "999000000123", "contradicts", "contradicts"),
            ("1", "99900000012a", "contradicts", "contradicts"),
            ("", "9990001234", "identity_type", "type 4"),
            ("", "9990001234-001", "identity_type", "type 4"),
            ("", "X9990001", "identity_type", "type 3"),
            ("4", "9990001234", "identity_type", "fits"),
            ("4", "999000123", "identity_type", "contradicts"),
            ("7", "999000000123", "identity_type", "identity_type"),
            ("", "somebody", "identity_type", "identity_type"),
            ("2", "", "identity_unknown", "identity_unknown"),
            ("2", "000000001", "identity_placeholder", "identity_placeholder"),
            ("1", "111111111111", "identity_placeholder", "identity_placeholder"),
        ] {
            assert_eq!(judged(kind, number, &unset), without, "{kind} {number}, unset");
            assert_eq!(judged(kind, number, &set), with, "{kind} {number}, set");
        }
    }
}
