//! What dossiers are made of: procedures, fields of work, agencies, invented people.

use fastrand::Rng;
use unicode_normalization::UnicodeNormalization;

/// A procedure under its national code.
#[derive(Debug)]
pub(super) struct Procedure {
    pub(super) code: String,
    pub(super) name: String,
}

/// An agency with its codes of today (QĐ 20/2020/QĐ-TTg) and of before.
#[derive(Debug)]
pub(super) struct Agency {
    pub(super) name: &'static str,
    pub(super) code: &'static str,
    pub(super) old_code: &'static str,
}

pub(super) const AGENCIES: [Agency; 12] = [
    agency("UBND phường Thử Nghiệm 1", "H55.242", "000.00.28.H55"),
    agency("UBND phường Thử Nghiệm 2", "H55.243", "000.00.28.H55"),
    agency("UBND xã Thử Nghiệm 3", "H55.251", "000.00.31.H55"),
    agency("UBND xã Thử Nghiệm 4", "H55.252", "000.00.31.H55"),
    agency("UBND xã Thử Nghiệm 5", "H55.263", "000.00.33.H55"),
    agency("Sở Tư pháp tỉnh Thử Nghiệm", "H55.14", "000.00.14.H55"),
    agency("Sở Xây dựng tỉnh Thử Nghiệm", "H55.16", "000.00.16.H55"),
    agency("Sở Nông nghiệp và Môi trường tỉnh Thử Nghiệm", "H55.17", "000.00.17.H55"),
    agency("Sở Công Thương tỉnh Thử Nghiệm", "H55.05", "000.00.05.H55"),
    agency("Sở Nội vụ tỉnh Thử Nghiệm", "H55.12", "000.00.12.H55"),
    agency("UBND xã Thử Nghiệm 6", "H03.27", "000.00.27.H03"),
    agency("UBND xã Thử Nghiệm 7", "H03.31", "000.00.31.H03"),
];

const fn agency(name: &'static str, code: &'static str, old_code: &'static str) -> Agency {
    Agency { name, code, old_code }
}

/// Code and name of fields of work.
pub(super) const FIELDS: [(&str, &str); 10] = [
    ("G15-CT01", "Chứng thực"),
    ("G15-HT01", "Hộ tịch"),
    ("G13-DD02", "Đất đai"),
    ("G17-XD03", "Hoạt động xây dựng"),
    ("G02-LT01", "Lưu thông hàng hóa trong nước"),
    ("G09-NC04", "Người có công"),
    ("G05-DN01", "Thành lập và hoạt động của doanh nghiệp"),
    ("G10-NN07", "Nông nghiệp"),
    ("G18-YT02", "Khám bệnh, chữa bệnh"),
    ("G03-GD10", "Giáo dục và đào tạo"),
];

/// Code and name of results.
pub(super) const RESULTS: [(&str, &str); 5] = [
    ("KQ.G15.000031", "Bản sao được chứng thực"),
    ("KQ.G13.000122", "Giấy chứng nhận quyền sử dụng đất"),
    ("KQ.G17.000204", "Giấy phép xây dựng"),
    ("KQ.G05.000018", "Giấy chứng nhận đăng ký"),
    ("KQ.G09.01.000077", "Quyết định hưởng chế độ"),
];

pub(super) const PAPERS: [&str; 8] = [
    "Đơn đề nghị theo mẫu.pdf",
    "Bản chính giấy khai sinh.pdf",
    "Giấy chứng nhận \"bản gốc\" & phụ lục.pdf",
    "Bản vẽ hiện trạng thửa đất.pdf",
    "Hợp đồng <đã công chứng>.pdf",
    "Giấy ủy quyền.pdf",
    "Biên bản kiểm tra thực địa.pdf",
    "Ảnh chân dung 3x4.jpg",
];

pub(super) const OFFICERS: [(&str, &str); 6] = [
    ("Trần Thị Mẫu", "Chuyên viên"),
    ("Lê Văn Thử", "Công chức tư pháp - hộ tịch"),
    ("Phạm Thị Ví Dụ", "Phó Chủ tịch UBND"),
    ("Hoàng Văn Mẫu", "Trưởng phòng"),
    ("Đỗ Thị Thử", "Cán bộ tiếp nhận"),
    ("Ngô Văn Ví Dụ", "Chuyên viên chính"),
];

pub(super) const DEPARTMENTS: [&str; 4] = [
    "Bộ phận Một cửa",
    "Phòng Kinh tế, Hạ tầng và Đô thị",
    "Phòng Văn hóa - Xã hội",
    "Trung tâm Phục vụ hành chính công",
];

const FAMILY_NAMES: [&str; 8] = ["Nguyễn", "Trần", "Lê", "Phạm", "Hoàng", "Vũ", "Đặng", "Bùi"];
const MIDDLE_NAMES: [&str; 6] = ["Văn", "Thị", "Đức", "Thị Ngọc", "Quốc", "Hữu"];
const GIVEN_NAMES: [&str; 4] = ["Thử", "Mẫu", "Ví Dụ", "Kiểm Thử"];

/// One of a list that is never empty.
pub(super) fn pick<'a, T>(rng: &mut Rng, list: &'a [T]) -> &'a T {
    &list[rng.usize(..list.len())]
}

/// A person who does not exist.
pub(super) fn person(rng: &mut Rng) -> String {
    format!("{} {} {}", pick(rng, &FAMILY_NAMES), pick(rng, &MIDDLE_NAMES), pick(rng, &GIVEN_NAMES))
}

/// A firm that does not exist. The ampersand is there to be escaped.
pub(super) fn firm(rng: &mut Rng) -> String {
    let joint = if rng.u8(..4) == 0 { " & Đối tác" } else { "" };
    format!("Công ty TNHH {} {}{joint}", pick(rng, &GIVEN_NAMES), rng.u16(100..1_000))
}

/// The public list of procedures that ships with the laboratory: code, name, and whether dossiers
/// are drawn from it.
fn published() -> Vec<(Procedure, bool)> {
    let mut rows = csv::Reader::from_reader(include_str!("../data/procedures.csv").as_bytes());
    rows.records()
        .filter_map(Result::ok)
        .filter_map(|row| {
            let procedure =
                Procedure { code: row.get(0)?.to_owned(), name: row.get(1)?.nfc().collect() };
            Some((procedure, row.get(2)? == "1"))
        })
        .collect()
}

/// Those that the province's dossiers are drawn from.
pub(super) fn procedures() -> Vec<Procedure> {
    published().into_iter().filter(|(_, drawn)| *drawn).map(|(procedure, _)| procedure).collect()
}

/// Code and name of every procedure of the public list.
pub(super) fn all_procedures() -> impl Iterator<Item = (String, String)> {
    published().into_iter().map(|(procedure, _)| (procedure.code, procedure.name))
}

/// Numbers of fees that dossiers may carry.
pub(super) const FEES: std::ops::Range<u8> = 1..40;

pub(super) fn fee_code(number: u8) -> String {
    format!("PHI{number:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_procedures_is_whole() {
        let list = procedures();
        assert_eq!((list.len(), all_procedures().count()), (320, 1_659));
        for procedure in list {
            assert_eq!(procedure.code.len(), 8, "{}", procedure.code);
            assert!(!procedure.name.trim().is_empty());
        }
    }
}
