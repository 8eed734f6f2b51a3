//! The files of `fixtures/hostile`: what is given, and where it must end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hoso_gateway::lab::province::{MisbehaviourRule, Question};
use serde::Deserialize;

/// A well-formed dossier, which the cases of single dossiers change.
const SAMPLE: &str = include_str!("../../../fixtures/province/dossier.xml");
const SAMPLE_CODE: &str = "H55.242-260126-0001";

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hostile")
}

/// One case, as its file says it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    #[serde(skip)]
    pub(crate) name: String,
    /// One sentence for the table of the README.
    pub(crate) shows: String,
    pub(crate) given: Given,
    pub(crate) ends: Ends,
    /// Options of the source that make the case small enough.
    #[serde(default)]
    pub(crate) source: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Given {
    /// One dossier among sound ones, in the feed of a province that keeps its promises.
    Dossier(Change),
    /// A whole answer of the feed, whatever is asked, until the source is mended.
    Page(Page),
    /// A province that breaks its promises.
    Feed(Vec<MisbehaviourRule>),
}

/// What is changed in the sample dossier.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Change {
    /// In place of a code of the province.
    pub(crate) code: Option<String>,
    /// Old and new text; the old one must be there.
    pub(crate) replace: Vec<(String, String)>,
    pub(crate) generate: Option<Recipe>,
    pub(crate) count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Recipe {
    /// `count` elements inside one another.
    Depth,
    /// `count` attributes on one element.
    Attributes,
    /// One text of `count` bytes.
    Text,
    /// Texts of 64 KB, `count` bytes together.
    Texts,
    /// `count` empty elements.
    Elements,
    /// An abstract of `count` letters.
    Abstract,
    /// Every letter with its marks apart.
    Nfd,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// A file beside the case.
    pub(crate) file: String,
    #[serde(default = "xml")]
    pub(crate) content_type: String,
}

const fn yes() -> bool {
    true
}

fn xml() -> String {
    "application/xml".to_owned()
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "as", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Ends {
    /// The portal acknowledges it with these values.
    Accepted {
        #[serde(default)]
        values: BTreeMap<String, String>,
    },
    /// Waits for a person with exactly these errors: rule, and the portal's field or the path.
    Quarantined { diagnostics: Vec<String> },
    /// Refused alone, and kept as evidence; its page is taken.
    ItemRefused {
        rule: String,
        /// Whether its code can be told.
        #[serde(default = "yes")]
        named: bool,
    },
    /// Spoils its page; found, kept as evidence and passed over alone.
    PassedOver { rule: String },
    /// The document is refused and kept as evidence; the source is asked again until it is mended.
    PageRefused { rule: String },
    /// Everything that the province holds is at the portal, each step once.
    Delivered,
    /// Delivered, but for dossiers that were changed under way and wait for a person.
    DeliveredBut { quarantined: u64 },
    /// Reading stops with this failure, takes nothing false, and goes on when the source is mended.
    SourceWaits { rule: String },
    /// Reconciliation ends with this failure, and no books are kept.
    NoBooks { rule: String },
}

impl Ends {
    /// For the table of the README.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Accepted { values } if values.is_empty() => "accepted".to_owned(),
            Self::Accepted { values } => {
                let fields: Vec<String> = values.keys().map(|field| format!("`{field}`")).collect();
                format!("accepted, {} as expected", fields.join(", "))
            }
            Self::Quarantined { diagnostics } => {
                let rules: Vec<String> =
                    diagnostics.iter().map(|found| format!("`{found}`")).collect();
                format!("quarantined: {}", rules.join(", "))
            }
            Self::ItemRefused { rule, .. } => format!("refused alone: `{rule}`"),
            Self::PassedOver { rule } => format!("passed over alone: `{rule}`"),
            Self::PageRefused { rule } => format!("document refused: `{rule}`"),
            Self::Delivered => "everything delivered".to_owned(),
            Self::DeliveredBut { quarantined } => {
                format!("the others delivered, {quarantined} quarantined until the next export")
            }
            Self::SourceWaits { rule } => format!("the source waits: `{rule}`"),
            Self::NoBooks { rule } => format!("no books: `{rule}`"),
        }
    }
}

/// Every case, by name.
pub(crate) fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = std::fs::read_dir(folder())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a file");
            let case: Case =
                toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            Case { name, ..case }
        })
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

impl Change {
    /// The dossier, under its own code or this one.
    pub(crate) fn write(&self, code: &str) -> String {
        let (_, sample) = SAMPLE.split_once('\n').expect("a declaration first");
        let code = self.code.as_deref().unwrap_or(code);
        let mut xml = sample.trim().replace(SAMPLE_CODE, code);
        for (old, new) in &self.replace {
            assert!(xml.contains(old.as_str()), "the sample has no {old:?}");
            xml = xml.replace(old.as_str(), new);
        }
        match self.generate {
            Some(recipe) => recipe.apply(&xml, self.count),
            None => xml,
        }
    }
}

impl Recipe {
    fn apply(self, xml: &str, count: usize) -> String {
        const PIECE: usize = 64 * 1024;
        let end = "</HoSo>";
        let add = |text: String| xml.replacen(end, &format!("{text}{end}"), 1);
        match self {
            Self::Depth => add(format!("{}{}", "<a>".repeat(count), "</a>".repeat(count))),
            Self::Attributes => {
                let list = (0..count).fold(String::new(), |list, number| {
                    list + " a" + &number.to_string() + "=\"\""
                });
                add(format!("<Khac{list}/>"))
            }
            Self::Text => add(format!("<Khac>{}</Khac>", "A".repeat(count))),
            Self::Texts => {
                let piece = format!("<Khac>{}</Khac>", "A".repeat(PIECE));
                add(piece.repeat(count.div_ceil(PIECE)))
            }
            Self::Elements => add("<a/>".repeat(count)),
            Self::Abstract => {
                let (before, rest) = xml.split_once("<TrichYeuHoSo>").expect("an abstract");
                let (_, behind) = rest.split_once("</TrichYeuHoSo>").expect("its end");
                let text = "a".repeat(count);
                format!("{before}<TrichYeuHoSo>{text}</TrichYeuHoSo>{behind}")
            }
            Self::Nfd => unicode_normalization::UnicodeNormalization::nfd(xml.chars()).collect(),
        }
    }
}

impl Case {
    /// Whether its dossier has megabytes, so that it is given to the real program alone.
    pub(crate) fn is_large(&self) -> bool {
        matches!(&self.given, Given::Dossier(change) if change.count >= 500_000)
    }

    pub(crate) fn is_about_the_index(&self) -> bool {
        matches!(&self.given, Given::Feed(rules) if rules.iter().any(|rule| rule.on == Question::Index))
    }
}
