//! The portal's words and what they mean, as data: `mappings/portal/answers.csv`.
//!
//! The portal's list of codes and messages is not published, so what is known about its words is
//! kept in a file that an operator can extend. Patterns belong to one service; a row of another
//! service is never used.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::path::Path;

use unicode_normalization::UnicodeNormalization;

use super::call::Service;
use crate::domain::codes::DossierCode;

const BUILTIN: &str = include_str!("../../mappings/portal/answers.csv");
const HEADER: &str = "service,substring,class,origin";

/// What a text pattern says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerClass {
    Success,
    /// The whole of an answer that has no code, as some wrappers give it.
    PlainSuccess,
    /// Takes a success back: "không thành công" contains "thành công".
    Contradiction,
    Exists,
    Unknown,
    Session,
    Retry,
    /// Blanked out before anything else is looked for.
    Neutral,
}

/// The classes as the file spells them.
const CLASSES: [(&str, AnswerClass); 8] = [
    ("success", AnswerClass::Success),
    ("plain_success", AnswerClass::PlainSuccess),
    ("contradiction", AnswerClass::Contradiction),
    ("exists", AnswerClass::Exists),
    ("unknown", AnswerClass::Unknown),
    ("session", AnswerClass::Session),
    ("retry", AnswerClass::Retry),
    ("neutral", AnswerClass::Neutral),
];

impl AnswerClass {
    fn named(name: &str) -> Option<Self> {
        CLASSES.iter().find(|(known, _)| *known == name).map(|(_, class)| *class)
    }
}

/// Everything that is known about the portal's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerPatterns {
    by_service: BTreeMap<String, Rows>,
}

/// All problems of one pattern file, with their lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct AnswerPatternsError {
    pub file: String,
    /// Line (1 is the header; 0 when a problem concerns the whole file) and what is wrong there.
    pub problems: Vec<(u64, String)>,
}

impl Display for AnswerPatternsError {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "the answer patterns cannot be used")?;
        for (line, problem) in &self.problems {
            match line {
                0 => write!(f, "\n  {}: {problem}", self.file)?,
                _ => write!(f, "\n  {}:{line}: {problem}", self.file)?,
            }
        }
        Ok(())
    }
}

type Rows = Vec<(String, AnswerClass)>;

impl AnswerPatterns {
    /// The file that the program was built with.
    pub fn builtin() -> Self {
        // Cannot fail: a test parses the same text.
        Self::parse("mappings/portal/answers.csv", BUILTIN).unwrap_or_else(|error| {
            unreachable!(
                "the built-in answer patterns were checked when the program was built: {error}"
            )
        })
    }

    /// A file of the same form, which replaces the built-in one. All problems are reported at once.
    pub fn load(path: &Path) -> Result<Self, AnswerPatternsError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| AnswerPatternsError {
            file: file.clone(),
            problems: vec![(0, format!("cannot be read: {error}"))],
        })?;
        Self::parse(&file, text.trim_start_matches('\u{feff}'))
    }

    /// The text of such a file; `file` is its name in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, AnswerPatternsError> {
        let mut problems = Vec::new();
        let mut by_service = BTreeMap::new();
        let mut rows = (1u64..)
            .zip(text.lines())
            .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        match rows.next() {
            // With a wrong header every row would be wrong too; one problem says it all.
            Some((_, header)) if header.trim() == HEADER => {
                for (line, row) in rows {
                    if let Err(problem) = add(&mut by_service, row) {
                        problems.push((line, problem));
                    }
                }
                if problems.is_empty() {
                    problems = services_without_success(&by_service);
                }
            }
            Some((line, _)) => problems.push((line, format!("the header must be `{HEADER}`"))),
            None => problems.push((0, "the file is empty".to_owned())),
        }
        if problems.is_empty() {
            Ok(Self { by_service })
        } else {
            Err(AnswerPatternsError { file: file.to_owned(), problems })
        }
    }

    /// Whether this text, being all that was answered, is listed as a success. Dossier codes and
    /// marks around it do not count; any other word more or less does.
    pub(super) fn is_plain_success(&self, service: Service, text: &str) -> bool {
        let rows = self.by_service.get(service.as_str()).map_or(&[][..], Vec::as_slice);
        let text = bare(&fold(&without_dossier_codes(text))).to_owned();
        rows.iter()
            .any(|(listed, class)| *class == AnswerClass::PlainSuccess && bare(listed) == text)
    }

    /// Prepares the portal's words for [`Said::says`].
    pub(super) fn hear(&self, service: Service, message: &str) -> Said<'_> {
        let rows = self.by_service.get(service.as_str()).map_or(&[][..], Vec::as_slice);
        let mut text = fold(&without_dossier_codes(message));
        for (substring, class) in rows {
            if *class == AnswerClass::Neutral {
                text = text.replace(substring.as_str(), " ");
            }
        }
        Said { text, rows }
    }
}

/// One message, ready to be compared with the patterns of its service.
#[derive(Debug)]
pub(super) struct Said<'a> {
    text: String,
    rows: &'a [(String, AnswerClass)],
}

impl Said<'_> {
    pub(super) fn says(&self, class: AnswerClass) -> bool {
        self.rows
            .iter()
            .any(|(substring, of)| *of == class && self.text.contains(substring.as_str()))
    }

    /// A success text that nothing else in the message takes back.
    pub(super) fn says_success(&self) -> bool {
        self.says(AnswerClass::Success) && !self.says(AnswerClass::Contradiction)
    }
}

/// One row of the file. A row is a line: no pattern needs a line break.
fn add(by_service: &mut BTreeMap<String, Rows>, line: &str) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_reader(line.as_bytes());
    let mut record = csv::StringRecord::new();
    reader.read_record(&mut record).map_err(|error| error.to_string())?;
    let fields: Vec<&str> = record.iter().collect();
    let [service, substring, class, _origin] = fields[..] else {
        return Err(format!("{} columns instead of 4", fields.len()));
    };
    if service.is_empty() {
        return Err("the service is empty".to_owned());
    }
    let class = AnswerClass::named(class).ok_or_else(|| {
        let known: Vec<&str> = CLASSES.iter().map(|(name, _)| *name).collect();
        format!("the class `{class}` is not one of {}", known.join(", "))
    })?;
    let folded = fold(substring);
    if folded.is_empty() {
        // It would be found in every message.
        return Err("the substring is empty".to_owned());
    }
    let rows = by_service.entry(service.to_owned()).or_default();
    // A whole text may hold the same words as a part of one.
    let is_plain = |class: AnswerClass| class == AnswerClass::PlainSuccess;
    if rows.iter().any(|(known, of)| *known == folded && is_plain(*of) == is_plain(class)) {
        return Err(format!("`{folded}` is listed twice for {service}"));
    }
    rows.push((folded, class));
    Ok(())
}

fn services_without_success(by_service: &BTreeMap<String, Rows>) -> Vec<(u64, String)> {
    [Service::Dossiers, Service::Steps]
        .into_iter()
        .filter(|service| {
            !by_service
                .get(service.as_str())
                .is_some_and(|rows| rows.iter().any(|(_, class)| *class == AnswerClass::Success))
        })
        .map(|service| {
            (0, format!("no success text for {service}: nothing could ever be accepted"))
        })
        .collect()
}

/// Lower case, NFC, single spaces: how texts are compared.
fn fold(text: &str) -> String {
    let lower: String = text.to_lowercase().nfc().collect();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without what stands around a sentence.
fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| !c.is_alphanumeric())
}

/// So that "hồ sơ H55-260126-0001 không tồn tại" reads "hồ sơ không tồn tại".
fn without_dossier_codes(message: &str) -> String {
    message
        .split_whitespace()
        .filter(|word| {
            DossierCode::parse(word.trim_matches(|c: char| !c.is_alphanumeric())).is_none()
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_file_is_sound() {
        let patterns = AnswerPatterns::builtin();
        assert!(patterns.hear(Service::Dossiers, "Đồng bộ hồ sơ THÀNH CÔNG").says_success());
    }

    #[test]
    fn decomposed_letters_are_the_same_letters() {
        let decomposed: String = "Đồng bộ thành công".nfd().collect();
        assert!(AnswerPatterns::builtin().hear(Service::Dossiers, &decomposed).says_success());
    }

    #[test]
    fn a_denied_success_is_not_a_success() {
        let patterns = AnswerPatterns::builtin();
        for text in [
            "Đồng bộ không thành công",
            "Cập nhật chưa thành công",
            "Thành công 1, thất bại 1",
            "thành công, 1 hồ sơ lỗi",
        ] {
            assert!(!patterns.hear(Service::Dossiers, text).says_success(), "{text}");
        }
    }

    #[test]
    fn a_version_is_not_a_session() {
        let patterns = AnswerPatterns::builtin();
        let version = patterns.hear(Service::Dossiers, "Phiên bản gói tin không hợp lệ");
        assert!(!version.says(AnswerClass::Session));
        let session = patterns.hear(Service::Dossiers, "Phiên bản 2: phiên đã hết hạn");
        assert!(session.says(AnswerClass::Session));
    }

    #[test]
    fn a_plain_text_is_known_whole_or_not_at_all() {
        let patterns = AnswerPatterns::parse(
            "own.csv",
            "service,substring,class,origin\n\
             DongBoHoSoMC,thành công,success,test\n\
             CapNhatTienDoHoSoMC,thành công,success,test\n\
             CapNhatTienDoHoSoMC,thành công,plain_success,test\n",
        )
        .unwrap();
        for text in ["Thành công", " \"Thành công.\"", "H55.242-260126-0001: thành công!"] {
            assert!(patterns.is_plain_success(Service::Steps, text), "{text}");
            assert!(!patterns.is_plain_success(Service::Dossiers, text), "{text}");
        }
        for text in ["Cập nhật thành công", "Không thành công", "thành công, 1 lỗi", "", "OK"]
        {
            assert!(!patterns.is_plain_success(Service::Steps, text), "{text}");
        }
    }

    #[test]
    fn a_row_of_another_service_is_never_used() {
        let patterns = AnswerPatterns::parse(
            "own.csv",
            "service,substring,class,origin\n\
             DongBoHoSoMC,xong,success,test\n\
             CapNhatTienDoHoSoMC,đã ghi,success,test\n\
             LLTP,yêu cầu bị gián đoạn,retry,test\n",
        )
        .unwrap();
        assert!(patterns.hear(Service::Dossiers, "Xong").says_success());
        assert!(!patterns.hear(Service::Steps, "Xong").says_success());
        for service in Service::ALL {
            assert!(!patterns.hear(service, "Yêu cầu bị gián đoạn.").says(AnswerClass::Retry));
        }
    }

    #[test]
    fn every_problem_of_a_file_is_told_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("answers.csv");
        std::fs::write(
            &path,
            "service,substring,class,origin\n\
             DongBoHoSoMC,thành công,success,x\n\
             DongBoHoSoMC,,exists,x\n\
             # a comment\n\
             DongBoHoSoMC,abc,wonderful,x\n\
             DongBoHoSoMC,THÀNH CÔNG,exists,x\n\
             DongBoHoSoMC,short\n\
             ,abc,exists,x\n",
        )
        .unwrap();
        let error = AnswerPatterns::load(&path).unwrap_err();
        let lines: Vec<u64> = error.problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 5, 6, 7, 8], "{error}");
        assert!(error.to_string().contains("answers.csv:5: "), "{error}");
    }

    #[test]
    fn a_file_that_could_never_accept_anything_is_refused() {
        let error =
            AnswerPatterns::parse("own.csv", "service,substring,class,origin\n").unwrap_err();
        assert_eq!(error.problems.len(), 2);
        let error = AnswerPatterns::parse("own.csv", "service,text\nx,y\n").unwrap_err();
        assert_eq!(error.problems.len(), 1);
        assert!(AnswerPatterns::parse("own.csv", "").is_err());
        let missing = AnswerPatterns::load(Path::new("/nonexistent/answers.csv")).unwrap_err();
        assert_eq!(missing.problems[0].0, 0);
    }
}
