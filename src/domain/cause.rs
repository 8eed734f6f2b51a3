//! Why a dossier is not simply matched: every difference has a name.
//!
//! Three sides are compared: the source's newest packet as today's mapping makes it, what the portal
//! was last told, and what it echoes. Which pair differs, and what the portal was told before,
//! decides the cause. Nothing here guesses: what fits no name stays without one, and the books say
//! how much that is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::difference::{Difference, Shown, differences_shown, echo_differences};

/// Differences of one dossier that are kept; a code that was taken from another dossier differs in
/// everything.
pub const DIFFERENCES_MAX: usize = 20;

/// Why two sides disagree, or why nobody can say that they agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// On its way: received, waiting, being sent.
    NotYetSent,
    /// In the source's index, and the feed never gave it.
    NotReceived,
    /// The index names a newer version than the feed gave.
    Behind,
    /// The portal acknowledged it, or this value, and does not show it any more.
    Lost,
    /// The portal shows what it was never told by us.
    ChangedAtPortal,
    /// Today's mapping makes another value of what the source still says.
    MappingChanged,
    /// The same, in a field that a code list translates.
    CodeListChanged,
    /// Both say the same and write it differently.
    FormattingOnly,
    /// The source says again what it had said before, or shows an older version than it gave.
    SourceWentBack,
    /// The packet is acknowledged, and not all of its steps.
    StepMissing,
    /// Steps reached the portal in another order than they happened.
    StepOrder,
    /// The mapping or a catalogue refuses it.
    RefusedHere,
    /// The portal refused it for good.
    RefusedByPortal,
    /// Deleted, re-coded, a ministry's, or another province's.
    NotOurs,
    /// Sent by an older program; the portal never acknowledged it here.
    Presumed,
    /// The portal was asked and did not answer.
    NoAnswer,
}

impl Cause {
    pub const ALL: [Self; 16] = [
        Self::Lost,
        Self::ChangedAtPortal,
        Self::SourceWentBack,
        Self::NotReceived,
        Self::Behind,
        Self::NotYetSent,
        Self::CodeListChanged,
        Self::MappingChanged,
        Self::StepMissing,
        Self::StepOrder,
        Self::FormattingOnly,
        Self::RefusedHere,
        Self::RefusedByPortal,
        Self::NotOurs,
        Self::Presumed,
        Self::NoAnswer,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotYetSent => "not_yet_sent",
            Self::NotReceived => "not_received",
            Self::Behind => "behind",
            Self::Lost => "lost",
            Self::ChangedAtPortal => "changed_at_portal",
            Self::MappingChanged => "mapping_changed",
            Self::CodeListChanged => "code_list_changed",
            Self::FormattingOnly => "formatting_only",
            Self::SourceWentBack => "source_went_back",
            Self::StepMissing => "step_missing",
            Self::StepOrder => "step_order",
            Self::RefusedHere => "refused_here",
            Self::RefusedByPortal => "refused_by_portal",
            Self::NotOurs => "not_ours",
            Self::Presumed => "presumed",
            Self::NoAnswer => "no_answer",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }

    /// Whether sending its dossiers again can mend anything.
    pub const fn may_be_sent(self) -> bool {
        matches!(
            self,
            Self::Lost
                | Self::ChangedAtPortal
                | Self::MappingChanged
                | Self::CodeListChanged
                | Self::SourceWentBack
                | Self::RefusedHere
                | Self::RefusedByPortal
        )
    }

    /// Whether it says why. That nobody answered is a name, and explains nothing.
    pub const fn explains(self) -> bool {
        !matches!(self, Self::NoAnswer)
    }
}

impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One field of one dossier that differs, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CausedDifference {
    pub cause: Cause,
    pub path: String,
    /// What the source's newest packet says, if that is not what was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped: Option<String>,
    pub told: Option<String>,
    /// What the portal shows, if that is not what was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

/// The source's side.
#[derive(Debug, Clone)]
pub struct Newest<'a> {
    /// The newest revision as today's mapping makes it.
    pub packet: &'a Value,
    /// Nothing of this revision was found equal to what the portal was told.
    pub is_unsent: bool,
    /// What was told was made by another mapping.
    pub other_mapping: bool,
    /// Contract names of fields that a code list translates.
    pub translated: &'a BTreeSet<String>,
}

/// Names what differs between three sides. `before`: packets that were told before the last one.
pub fn three_way(
    told: &Value,
    echoed: Option<&BTreeMap<String, String>>,
    newest: Option<&Newest<'_>>,
    before: &[Value],
    shown: Shown,
) -> Vec<CausedDifference> {
    let mut found: Vec<CausedDifference> = Vec::new();
    let echo = echoed.and_then(|echoed| echo_differences(told, echoed, shown)).unwrap_or_default();
    for difference in echo {
        let echoed = echoed.and_then(|echoed| echoed.get(&difference.path));
        let was_told = |packet: &Value| {
            packet.get(&difference.path).and_then(Value::as_str) == echoed.map(|text| &**text)
        };
        let cause = if difference.formatting_only {
            Cause::FormattingOnly
        } else if before.iter().any(was_told) {
            Cause::Lost
        } else {
            Cause::ChangedAtPortal
        };
        let Difference { path, before: told, after, .. } = difference;
        found.push(CausedDifference { cause, path, mapped: None, told, shown: after });
    }
    for difference in newest.iter().flat_map(|side| differences_shown(told, side.packet, shown)) {
        let Some(newest) = newest else { continue };
        let Some(cause) = own_cause(newest, &difference, before) else { continue };
        let Difference { path, before: told, after, .. } = difference;
        match found.iter_mut().find(|known| known.path == path) {
            // Both sides differ from what was told: the portal's side is the graver one.
            Some(known) => known.mapped = after,
            None => found.push(CausedDifference { cause, path, mapped: after, told, shown: None }),
        }
    }
    found
}

/// Why the source's side differs from what was told.
fn own_cause(newest: &Newest<'_>, difference: &Difference, before: &[Value]) -> Option<Cause> {
    if newest.is_unsent {
        let said_before = |packet: &Value| {
            let field = |side: &Value| side.get(&difference.path).cloned();
            field(packet).is_some() && field(packet) == field(newest.packet)
        };
        return Some(if before.iter().any(said_before) {
            Cause::SourceWentBack
        } else if difference.formatting_only {
            Cause::FormattingOnly
        } else {
            Cause::NotYetSent
        });
    }
    // Rows that are told as gone exist in no document.
    let is_gone = difference.after.is_none() && difference.path.contains('[');
    if !newest.other_mapping || is_gone {
        return None;
    }
    Some(if difference.formatting_only {
        Cause::FormattingOnly
    } else if newest.translated.contains(difference.field()) {
        Cause::CodeListChanged
    } else {
        Cause::MappingChanged
    })
}

/// The one cause that a dossier is counted under: the gravest of its differences.
pub fn gravest(found: &[CausedDifference]) -> Option<Cause> {
    Cause::ALL.into_iter().find(|cause| found.iter().any(|one| one.cause == *cause))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn packet(status: &str, due: &str) -> Value {
        json!({"MaHoSo": "H55-260126-0001", "TrangThaiHoSo": status, "NgayHenTra": due, "MaTTHC": "1.000"})
    }

    fn echo(status: &str, due: &str) -> BTreeMap<String, String> {
        [("MaHoSo", "H55-260126-0001"), ("TrangThaiHoSo", status), ("NgayHenTra", due)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    fn told(found: &[CausedDifference]) -> Vec<(&str, Cause)> {
        found.iter().map(|one| (&*one.path, one.cause)).collect()
    }

    #[test]
    fn three_sides_that_agree_leave_nothing_to_name() {
        let one = packet("4", "20260127170000");
        let translated = BTreeSet::new();
        let newest =
            Newest { packet: &one, is_unsent: false, other_mapping: true, translated: &translated };
        let shown = echo("4", "20260127170000");
        assert!(three_way(&one, Some(&shown), Some(&newest), &[], Shown::Masked).is_empty());
    }

    #[test]
    fn what_the_portal_shows_otherwise_was_changed_there_or_lost_or_only_written_otherwise() {
        let last = packet("4", "20260127170000");
        let before = [packet("2", "20260126170000")];
        let of = |status: &str, due: &str| {
            three_way(&last, Some(&echo(status, due)), None, &before, Shown::Masked)
        };
        assert_eq!(told(&of("4", "20260131170000")), [("NgayHenTra", Cause::ChangedAtPortal)]);
        let lost = of("2", "20260127170000");
        assert_eq!(told(&lost), [("TrangThaiHoSo", Cause::Lost)]);
        assert_eq!((lost[0].told.as_deref(), lost[0].shown.as_deref()), (Some("4"), Some("2")));
        let written = of("4", "2026-01-27T17:00:00+07:00");
        assert_eq!(told(&written), [("NgayHenTra", Cause::FormattingOnly)]);
        assert_eq!(gravest(&of("2", "20260131170000")), Some(Cause::Lost));
    }

    #[test]
    fn what_the_source_says_otherwise_is_a_change_a_return_or_the_mappings_work() {
        let last = packet("4", "20260127170000");
        let translated: BTreeSet<String> = ["TrangThaiHoSo".to_owned()].into();
        let of = |packet: &Value, is_unsent, other_mapping, before: &[Value]| {
            let newest = Newest { packet, is_unsent, other_mapping, translated: &translated };
            let found = three_way(&last, None, Some(&newest), before, Shown::Masked);
            found.into_iter().map(|one| (one.path, one.cause)).collect::<Vec<_>>()
        };
        let one = |path: &str, cause| vec![(path.to_owned(), cause)];
        let changed = packet("9", "20260127170000");
        assert_eq!(of(&changed, true, false, &[]), one("TrangThaiHoSo", Cause::NotYetSent));
        let before = [packet("9", "20260120170000")];
        assert_eq!(of(&changed, true, false, &before), one("TrangThaiHoSo", Cause::SourceWentBack));
        assert_eq!(of(&changed, false, true, &[]), one("TrangThaiHoSo", Cause::CodeListChanged));
        let other = packet("4", "20260128170000");
        assert_eq!(of(&other, false, true, &[]), one("NgayHenTra", Cause::MappingChanged));
        assert_eq!(of(&other, false, false, &[]), []);
    }

    #[test]
    fn where_both_sides_moved_the_portals_is_named_and_both_are_shown() {
        let last = packet("4", "20260127170000");
        let mapped = packet("9", "20260127170000");
        let translated = BTreeSet::new();
        let newest = Newest {
            packet: &mapped,
            is_unsent: true,
            other_mapping: false,
            translated: &translated,
        };
        let shown = echo("2", "20260127170000");
        let found = three_way(&last, Some(&shown), Some(&newest), &[], Shown::Masked);
        assert_eq!(told(&found), [("TrangThaiHoSo", Cause::ChangedAtPortal)]);
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        assert_eq!(
            [of(&found[0].mapped), of(&found[0].told), of(&found[0].shown)],
            ["9", "4", "2"]
        );
    }

    #[test]
    fn every_cause_is_read_back_from_its_name() {
        for cause in Cause::ALL {
            assert_eq!(Cause::parse(cause.as_str()), Some(cause));
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
    }
}
