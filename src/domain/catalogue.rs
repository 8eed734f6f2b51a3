//! The portal's catalogues: which procedures, fields, agencies, fees and results it knows.
//!
//! Pure: lists in a canonical order, what changed between two of them, and whether a code is known.
//! A code is judged, never repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::codes::ProcedureCode;

/// What is fetched by itself and has versions of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatalogueKind {
    /// All procedures (`LayDanhSachTTHC`).
    Procedures,
    /// Fields of work (`LayDanhMucLinhVuc`).
    Fields,
    /// Agencies (`LayDanhMucCoQuan`).
    Agencies,
    /// One procedure with its fees, results and papers (`LayThuTuc`); one catalogue a procedure.
    Details,
}

impl CatalogueKind {
    pub const ALL: [Self; 4] = [Self::Procedures, Self::Fields, Self::Agencies, Self::Details];
    /// Those of which there is one each.
    pub const LISTS: [Self; 3] = [Self::Procedures, Self::Fields, Self::Agencies];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Procedures => "procedures",
            Self::Fields => "fields",
            Self::Agencies => "agencies",
            Self::Details => "details",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Display for CatalogueKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One catalogue: a kind, and for details the national code of the procedure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CatalogueKey {
    pub kind: CatalogueKind,
    /// Empty for the lists.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub procedure: String,
}

impl CatalogueKey {
    pub fn list(kind: CatalogueKind) -> Self {
        Self { kind, procedure: String::new() }
    }

    pub fn details(procedure: &str) -> Self {
        Self { kind: CatalogueKind::Details, procedure: procedure.to_owned() }
    }
}

impl Display for CatalogueKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.procedure.as_str() {
            "" => self.kind.fmt(f),
            procedure => write!(f, "{} of {procedure}", self.kind),
        }
    }
}

/// What an item of a catalogue names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    Procedure,
    Field,
    Agency,
    /// `MAPHILEPHI` of a procedure.
    Fee,
    /// `MAKETQUA` of a procedure.
    Result,
    /// `MAGIAYTO` of a procedure: a component (thành phần hồ sơ).
    Component,
}

impl ItemKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Procedure => "procedure",
            Self::Field => "field",
            Self::Agency => "agency",
            Self::Fee => "fee",
            Self::Result => "result",
            Self::Component => "component",
        }
    }
}

/// One code of a catalogue, with the name that the portal gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CatalogueItem {
    pub kind: ItemKind,
    pub code: String,
    pub name: String,
}

/// Items by kind and code, each once: the portal repeats a fee for every channel, and in another
/// order every day. Of two names the first in order stays.
pub fn in_order(mut items: Vec<CatalogueItem>) -> Vec<CatalogueItem> {
    items.sort();
    items.dedup_by(|next, kept| next.kind == kept.kind && next.code == kept.code);
    items
}

/// What one version has that the other has not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CatalogueDiff {
    pub added: Vec<CatalogueItem>,
    pub removed: Vec<CatalogueItem>,
    pub renamed: Vec<Renamed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Renamed {
    pub kind: ItemKind,
    pub code: String,
    pub from: String,
    pub to: String,
}

impl CatalogueDiff {
    pub fn between(old: &[CatalogueItem], new: &[CatalogueItem]) -> Self {
        fn by_code(items: &[CatalogueItem]) -> BTreeMap<(ItemKind, &str), &CatalogueItem> {
            items.iter().map(|item| ((item.kind, item.code.as_str()), item)).collect()
        }
        let (before, after) = (by_code(old), by_code(new));
        let mut diff = Self::default();
        for (key, item) in &after {
            match before.get(key) {
                None => diff.added.push((*item).clone()),
                Some(known) if known.name != item.name => diff.renamed.push(Renamed {
                    kind: item.kind,
                    code: item.code.clone(),
                    from: known.name.clone(),
                    to: item.name.clone(),
                }),
                Some(_) => {}
            }
        }
        let gone = before.iter().filter(|(key, _)| !after.contains_key(*key));
        diff.removed.extend(gone.map(|(_, item)| (*item).clone()));
        diff
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.renamed.is_empty()
    }
}

/// What is done with a dossier that carries a code the catalogue does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodePolicy {
    /// Nothing is looked at.
    Off,
    /// It is sent; a finding stays with it.
    #[default]
    Warn,
    /// It waits until the portal's catalogue has the code.
    Hold,
}

/// The codes that the portal knew when it was last asked. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct KnownCodes {
    lists: BTreeMap<CatalogueKind, Arc<BTreeSet<String>>>,
    details: BTreeMap<String, Arc<BTreeSet<(ItemKind, String)>>>,
}

impl KnownCodes {
    /// Takes a version in the place of the one before.
    pub fn put(&mut self, key: &CatalogueKey, items: &[CatalogueItem]) {
        match key.kind {
            CatalogueKind::Details => {
                let codes = items.iter().map(|item| (item.kind, item.code.clone())).collect();
                self.details.insert(key.procedure.clone(), Arc::new(codes));
            }
            list => {
                let codes = items.iter().map(|item| item.code.clone()).collect();
                self.lists.insert(list, Arc::new(codes));
            }
        }
    }

    /// Whether the portal has this procedure; `None` when its list was never fetched. A code that a
    /// province registered (`2.000815.000.00.00.H55`, `3.000527.H61`) is known when its national
    /// part is.
    pub fn procedure(&self, code: &str) -> Option<bool> {
        let known = self.lists.get(&CatalogueKind::Procedures)?;
        let national = ProcedureCode::parse(code).map(|code| code.national);
        Some(known.contains(code) || national.is_some_and(|code| known.contains(code)))
    }

    /// Whether the portal has this field of work; `None` when its list was never fetched.
    pub fn field(&self, code: &str) -> Option<bool> {
        self.lists.get(&CatalogueKind::Fields).map(|known| known.contains(code))
    }

    /// Whether a procedure (by its national code) has this fee, result or component. `None` when
    /// its details were never fetched, or name none of the kind: what the portal does not publish
    /// is no reason to doubt a dossier.
    pub fn part(&self, procedure: &str, kind: ItemKind, code: &str) -> Option<bool> {
        let parts = self.details.get(procedure)?;
        let publishes = parts.range((kind, String::new())..).next();
        publishes.filter(|(published, _)| *published == kind)?;
        Some(parts.contains(&(kind, code.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: ItemKind, code: &str, name: &str) -> CatalogueItem {
        CatalogueItem { kind, code: code.to_owned(), name: name.to_owned() }
    }

    fn procedure(code: &str, name: &str) -> CatalogueItem {
        item(ItemKind::Procedure, code, name)
    }

    #[test]
    fn a_difference_names_what_came_what_went_and_what_is_called_otherwise() {
        let old = [procedure("1.000001", "a"), procedure("1.000002", "b")];
        let new = [procedure("1.000002", "B"), procedure("1.000003", "c")];
        let diff = CatalogueDiff::between(&old, &new);
        assert_eq!(diff.added, [procedure("1.000003", "c")]);
        assert_eq!(diff.removed, [procedure("1.000001", "a")]);
        let renamed: Vec<_> = diff.renamed.iter().map(|one| (&*one.code, &*one.to)).collect();
        assert_eq!(renamed, [("1.000002", "B")]);
        assert!(CatalogueDiff::between(&new, &new).is_empty());
    }

    #[test]
    fn one_code_may_name_a_fee_and_a_result() {
        let fee = item(ItemKind::Fee, "X1", "fee");
        let result = item(ItemKind::Result, "X1", "result");
        let diff = CatalogueDiff::between(std::slice::from_ref(&fee), &[fee.clone(), result]);
        assert_eq!((diff.added.len(), diff.removed.len(), diff.renamed.len()), (1, 0, 0));
    }

    #[test]
    fn order_and_repetition_at_the_portal_make_no_difference() {
        let one = vec![procedure("2.000001", "b"), procedure("1.000001", "a")];
        let twice = vec![
            procedure("1.000001", "a"),
            procedure("2.000001", "b"),
            procedure("1.000001", "a again"),
        ];
        assert_eq!(in_order(one), in_order(twice));
    }

    #[test]
    fn a_local_code_is_known_by_its_national_part_and_nothing_is_known_of_no_list() {
        let mut known = KnownCodes::default();
        assert_eq!(known.procedure("2.000815"), None);
        known.put(
            &CatalogueKey::list(CatalogueKind::Procedures),
            &[procedure("2.000815", "a"), procedure("3.000527", "b")],
        );
        for (code, expected) in [
            ("2.000815", true),
            ("2.000815.000.00.00.H55", true),
            ("3.000527.H61", true),
            ("3.000528.H61", false),
            ("2.00081", false),
            ("", false),
        ] {
            assert_eq!(known.procedure(code), Some(expected), "{code}");
        }
        assert_eq!(known.field("G15-CT01"), None);
    }

    #[test]
    fn a_kind_of_part_that_the_portal_does_not_publish_is_not_judged() {
        let mut known = KnownCodes::default();
        assert_eq!(known.part("2.000815", ItemKind::Fee, "PHI01"), None);
        let details = CatalogueKey::details("2.000815");
        known.put(&details, &[item(ItemKind::Result, "KQ.G15.000031", "r")]);
        assert_eq!(known.part("2.000815", ItemKind::Fee, "PHI01"), None);
        assert_eq!(known.part("2.000815", ItemKind::Result, "KQ.G15.000031"), Some(true));
        assert_eq!(known.part("2.000815", ItemKind::Result, "KQ.G15.000032"), Some(false));
        assert_eq!(known.part("2.000816", ItemKind::Result, "KQ.G15.000031"), None);
    }
}
