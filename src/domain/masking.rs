//! Hides personal data in what people see by default.
//!
//! The forms follow the practice for unauthenticated views under TT 01/2018/TT-VPCP article 16:
//! identity numbers keep first and last three digits, names become initials, phones keep three
//! digits. Free text from outside is cut and its digit runs are hidden.

/// `012345678901` → `0********901`; short values are hidden whole.
pub fn identity_number(text: &str) -> String {
    keep_ends(text, 1, 3)
}

/// `0900000123` → `*******123`.
pub fn phone(text: &str) -> String {
    keep_ends(text, 0, 3)
}

/// `Nguyễn Văn Thử` → `N. V. T.`
pub fn name(text: &str) -> String {
    let initials: Vec<String> = text
        .split_whitespace()
        .filter_map(|word| word.chars().next())
        .map(|initial| format!("{initial}."))
        .collect();
    initials.join(" ")
}

/// `an@example.invalid` → `a***@example.invalid`.
pub fn email(text: &str) -> String {
    match text.split_once('@') {
        Some((local, host)) => {
            format!("{}***@{host}", local.chars().next().map(String::from).unwrap_or_default())
        }
        None => "*".repeat(text.chars().count().min(8)),
    }
}

/// Words of another system (an error message) that may quote a dossier: runs of seven or more
/// digits are hidden unless they belong to a dossier code, e-mail addresses are hidden, and the
/// text is cut to `length_max` characters.
pub fn foreign_text(text: &str, length_max: usize) -> String {
    let mut masked = String::with_capacity(text.len().min(length_max * 4));
    for (index, word) in words(text).enumerate() {
        if index > 0 {
            masked.push(' ');
        }
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        if crate::domain::codes::DossierCode::parse(bare).is_some() {
            masked.push_str(word);
        } else if word.contains('@') {
            masked.push_str("***");
        } else {
            push_without_digit_runs(&mut masked, word);
        }
    }
    cut(masked, length_max)
}

/// The text on one line: control characters and runs of white space are one space.
pub fn plain(text: &str) -> String {
    words(text).collect::<Vec<_>>().join(" ")
}

/// At most so many characters, the last one an ellipsis where there were more.
pub fn cut(text: String, length_max: usize) -> String {
    if text.chars().count() <= length_max {
        return text;
    }
    text.chars().take(length_max.saturating_sub(1)).chain(['…']).collect()
}

/// What stands between white space and control characters.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty())
}

fn push_without_digit_runs(out: &mut String, word: &str) {
    let chars: Vec<char> = word.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let run = chars[at..].iter().take_while(|c| c.is_ascii_digit()).count();
        if run >= 7 {
            out.extend(std::iter::repeat_n('*', run));
            at += run;
        } else {
            let end = at + run.max(1);
            out.extend(&chars[at..end]);
            at = end;
        }
    }
}

fn keep_ends(text: &str, first: usize, last: usize) -> String {
    let count = text.chars().count();
    if count <= first + last + 2 {
        return "*".repeat(count);
    }
    text.chars()
        .enumerate()
        .map(|(at, c)| if at < first || at >= count - last { c } else { '*' })
        .collect()
}

/// How a portal field is shown when masked; `None` when it may be shown as it is.
pub fn field(name: &str, value: &str) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    Some(match name {
        "ChuHoSo" | "NguoiXuLy" | "NguoiYeuCauBoSung" | "NguoiTiepNhanBoSung" => self::name(value),
        "SoDinhDanh" => identity_number(value),
        "SoDienThoai" | "Fax" => phone(value),
        "Email" => email(value),
        "MaDoiTuong" => keep_ends(value, 0, 4),
        "TrichYeuHoSo" | "ThongTinKhac" | "GhiChu" | "ThongTinTra" | "NoiDungXuLy"
        | "NoiDungBoSung" | "ThongTinTiepNhan" | "TenTepDinhKem" | "TenGiayTo" => {
            format!("({} characters)", value.chars().count())
        }
        "DuongDanTaiTepTin" | "DuongDanTepTinKetQua" => "(link)".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_values_are_hidden() {
        assert_eq!(identity_number("999000000123"), "9********123");
        assert_eq!(identity_number("12345"), "*****");
        assert_eq!(phone("0900000123"), "*******123");
        assert_eq!(name("Nguyễn Văn Thử"), "N. V. T.");
        assert_eq!(email("an@example.invalid"), "a***@example.invalid");
        assert_eq!(field("MaHoSo", "H55-260126-0001"), None);
    }

    #[test]
    fn foreign_text_keeps_dossier_codes_and_hides_numbers() {
        assert_eq!(
            foreign_text("Hồ sơ H55.242-260126-0001 đã tồn tại, CCCD 999000000123.", 200),
            "Hồ sơ H55.242-260126-0001 đã tồn tại, CCCD ************."
        );
        assert_eq!(foreign_text("gửi a@example.invalid", 200), "gửi ***");
        assert_eq!(foreign_text("abcdef", 4), "abc…");
    }
}
