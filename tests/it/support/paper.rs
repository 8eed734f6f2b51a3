//! One readable dossier of the feed, written by hand and changed field by field.

/// The sample of the feed's contract: filed at the province, finished, two steps.
const SAMPLE: &str = include_str!("../../../fixtures/province/dossier.xml");

#[derive(Debug, Clone)]
pub(crate) struct Paper {
    xml: String,
}

impl Paper {
    /// Version 1 of a dossier under this code, being worked on (status 4), with one step.
    pub(crate) fn of(code: &str) -> Self {
        let (_, xml) = SAMPLE.split_once('\n').expect("a declaration first");
        let mut paper = Self { xml: xml.trim().replace("H55.242-260126-0001", code) };
        paper = paper.version(1);
        paper = paper.with("TrangThaiHoSo", "4").with("NgayKetThucXuLy", "");
        paper.steps(&[("20260126083000", "4")])
    }

    /// `phienBan`, and a time of change that moves with it.
    pub(crate) fn version(mut self, version: u32) -> Self {
        let (_, rest) = self.xml.split_once('>').expect("a tag");
        self.xml = format!(
            "<HoSo phienBan=\"{version}\" capNhatLuc=\"2026-01-26T15:{version:02}:00.000+07:00\">{rest}"
        );
        self
    }

    /// Replaces the text of the first element of this name.
    pub(crate) fn with(mut self, name: &str, text: &str) -> Self {
        let open = format!("<{name}>");
        let at = self.xml.find(&open).expect("the sample has this element") + open.len();
        let end = at + self.xml[at..].find("</").expect("an end");
        self.xml.replace_range(at..end, text);
        self
    }

    /// The whole history: time and status of each step.
    pub(crate) fn steps(mut self, steps: &[(&str, &str)]) -> Self {
        let code = self.code();
        let list: Vec<String> = steps
            .iter()
            .enumerate()
            .map(|(at, (time, status))| {
                format!(
                    "<TienDo><MaHoSo>{code}</MaHoSo><NguoiXuLy>Trần Thị Mẫu</NguoiXuLy>\
                     <ChucDanh>Chuyên viên</ChucDanh><ThoiDiemXuLy>{time}</ThoiDiemXuLy>\
                     <PhongBanXuLy>Bộ phận Một cửa</PhongBanXuLy><NoiDungXuLy>Bước {at}</NoiDungXuLy>\
                     <TrangThai>{status}</TrangThai><NgayBatDau></NgayBatDau>\
                     <NgayKetThucTheoQuyDinh></NgayKetThucTheoQuyDinh></TienDo>"
                )
            })
            .collect();
        let from = self.xml.find("<DanhSachTienDo>").expect("a list of steps");
        let to = self.xml.find("</DanhSachTienDo>").expect("its end");
        self.xml.replace_range(from + "<DanhSachTienDo>".len()..to, &list.concat());
        self
    }

    pub(crate) fn replace(mut self, old: &str, new: &str) -> Self {
        assert!(self.xml.contains(old), "the paper has no {old:?}");
        self.xml = self.xml.replace(old, new);
        self
    }

    pub(crate) fn code(&self) -> String {
        let (_, rest) = self.xml.split_once("<MaHoSo>").expect("a code");
        rest.split_once('<').expect("its end").0.to_owned()
    }

    pub(crate) fn xml(&self) -> &str {
        &self.xml
    }
}
