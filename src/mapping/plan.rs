//! A mapping ready for use: the rows of the file as a tree of source elements.

use std::collections::BTreeSet;

use crate::domain::record::FieldSpec;

use super::codelist::CodeList;

/// Positions in [`Plan::nodes`], [`Plan::fields`] and [`Plan::records`].
pub(super) type NodeId = usize;
pub(super) type FieldId = usize;
pub(super) type RecordId = usize;

/// The record that one document is.
pub(super) const DOSSIER: RecordId = 0;
/// The node of the document's root element.
pub(super) const ROOT: NodeId = 0;

#[derive(Debug)]
pub(super) struct Plan {
    pub nodes: Vec<Node>,
    pub fields: Vec<Field>,
    pub records: Vec<Record>,
    pub code_lists: Vec<CodeList>,
    pub checks: Vec<Check>,
    /// A submitted file that was sent and is gone at the source goes once more, as removed.
    pub removes_files: bool,
    /// Source paths below the root that the mapping leaves alone deliberately.
    pub unused_on_purpose: BTreeSet<String>,
    /// Contract fields that the source does not have, and why.
    pub unmapped: Vec<Unmapped>,
}

/// A contract field without a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unmapped {
    pub target: String,
    pub reason: String,
}

/// A source element that some row names.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub name: String,
    pub children: Vec<NodeId>,
    pub attributes: Vec<(String, FieldId)>,
    /// Fields that take this element's text.
    pub fields: Vec<FieldId>,
    /// Each such element is an item of this record.
    pub item_of: Option<RecordId>,
    /// Items of these records stand directly inside.
    pub wraps: Vec<RecordId>,
}

/// One row: from where to which field, and how.
#[derive(Debug)]
pub(super) struct Field {
    pub target: &'static str,
    /// Position in the contract table of the record.
    pub position: usize,
    pub record: RecordId,
    /// Place among the record's fields: its bit while reading.
    pub bit: usize,
    /// Path from the record's element.
    pub source: String,
    pub converter: Converter,
    pub required: bool,
    /// In UTF-16 units.
    pub length_max: Option<usize>,
    pub shorten: bool,
    pub pattern: Option<Pattern>,
    /// Position in [`Plan::code_lists`].
    pub codes: Option<usize>,
    /// The law, contract or office rule behind the row; may be empty.
    pub rule: String,
    /// Where the row stands in the mapping file.
    pub line: u32,
}

/// The dossier, the steps, or the items of a list.
#[derive(Debug)]
pub(super) struct Record {
    pub target: &'static str,
    pub slot: Slot,
    pub parent: RecordId,
    /// Path of one item from the parent's element; empty for the dossier.
    pub source: String,
    pub specs: &'static [FieldSpec],
    /// A run of [`Plan::fields`]; a field's bit is its place in it.
    pub fields: std::ops::Range<FieldId>,
    /// Bits of the fields that must not be empty.
    pub required: u64,
    pub lists: Vec<RecordId>,
    pub absent: Absent,
    pub rule: String,
}

/// Where a record is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Dossier,
    Steps,
    /// A list field of the parent record.
    List(usize),
}

/// What it means when the element around a list is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    Refuse,
    Empty,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$word_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum $name { $($(#[$word_meta])* $variant,)+ }

        impl $name {
            pub(super) const WORDS: &'static [&'static str] = &[$($word),+];

            pub(super) fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// How a text becomes a value. White space around it is never part of it, and characters are
    /// composed (NFC) before anything else is looked at.
    Converter {
        /// Text as it is.
        Text = "text",
        /// Text in which every run of white space becomes one space.
        Line = "line",
        /// Date and time, in fourteen digits or ISO 8601, to fourteen digits of Vietnam time.
        Time = "time",
        /// Digits, to a JSON integer.
        WholeNumber = "whole_number",
        /// Whole VND, as text.
        Amount = "amount",
        /// Yes or no, to `"1"` or `"0"`.
        Flag = "flag",
        /// Yes or no, to `"True"` or `"False"`.
        FlagWord = "flag_word",
        /// Yes or no, to a JSON boolean.
        Truth = "truth",
        /// An absolute http or https link without credentials.
        Link = "link",
        /// A telephone number; a doubtful one is sent with a warning.
        Phone = "phone",
        /// An e-mail address; a doubtful one is sent with a warning.
        Email = "email",
        /// A word of a code list, to its code.
        Code = "code",
        /// As `code`, and the list may only give the portal's ten statuses.
        Status = "status",
    }
}

words! {
    /// The grammar that a code must follow.
    Pattern {
        Dossier = "dossier_code",
        Procedure = "procedure_code",
        Result = "result_code",
        Agency = "agency_code",
    }
}

words! {
    /// Checks that look at several fields.
    Check {
        /// The dossier code belongs to one of the configured province codes, or to an agency that
        /// one of theirs followed.
        CodeOfProvince = "code_of_province",
        /// Filed, received, finished, returned, in this order.
        TimesInOrder = "times_in_order",
        /// Status 9 has `NgayKetThucXuLy`, status 10 has `NgayTra`.
        StatusHasItsTime = "status_has_its_time",
        /// An identity number has the form of its type; others are left out, with a warning.
        IdentityFitsItsType = "identity_fits_its_type",
        /// A result paper is not one of the papers that were submitted.
        ResultIsNotAnInput = "result_is_not_an_input",
        /// Every step carries the code of its dossier.
        StepsOfThisDossier = "steps_of_this_dossier",
        /// Statuses of the steps follow one another as usual; otherwise a warning.
        UsualTransitions = "usual_transitions",
        /// A finished dossier has the step that finished it; otherwise a warning.
        EndHasItsStep = "end_has_its_step",
    }
}

impl Converter {
    /// As the mapping file writes it.
    pub(super) const fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl Plan {
    pub(super) fn root(&self) -> &str {
        &self.nodes[ROOT].name
    }

    /// The row of a record that fills a target.
    pub(super) fn field(&self, record: RecordId, target: &str) -> Option<&Field> {
        self.fields[self.records[record].fields.clone()].iter().find(|field| field.target == target)
    }

    /// The record that fills a list of the dossier, or the steps.
    pub(super) fn record(&self, target: &str) -> Option<RecordId> {
        self.records.iter().position(|record| record.target == target && (record.parent == DOSSIER))
    }

    /// The source path of a dossier field; the root's when it has no row.
    pub(super) fn dossier_path(&self, target: &str) -> String {
        self.path_in(self.root(), DOSSIER, target)
    }

    /// The source path of a field below the element of its record.
    pub(super) fn path_in(&self, record_path: &str, record: RecordId, target: &str) -> String {
        match self.field(record, target) {
            Some(field) => format!("{record_path}/{}", field.source),
            None => record_path.to_owned(),
        }
    }

    /// The source path of an item (from 1) of a list below the element of its parent.
    pub(super) fn item_path(&self, parent_path: &str, record: RecordId, number: usize) -> String {
        format!("{parent_path}/{}[{number}]", self.records[record].source)
    }
}

impl Record {
    /// The contract's name of the list; steps are no field of the dossier.
    pub(super) fn target_name(&self) -> &'static str {
        if self.slot == Slot::Steps { "" } else { self.target }
    }
}
