//! Synthetic dossiers of a province, drawn from a seed.
//!
//! A dossier is a function of (seed, index, time of birth) and of its [`Change`]s since, so none needs
//! to be kept as a structure: [`Population::grow`] draws it again. Everything
//! in it is invented: people are called "Thử" or "Mẫu", identity numbers begin with 999, hosts end
//! in `example.invalid`. Procedures and their codes are public.
//!
//! Start reading at [`model::LabDossier`]; `life` moves it through its states, `flaw` spoils it on
//! purpose, `render` writes it as the feed's XML.

pub mod flaw;
mod life;
pub mod model;
mod pools;
mod render;

use fastrand::Rng;

pub use flaw::Flaw;
pub use life::{Change, Event};
pub use model::{LabDossier, Owner};
pub(in crate::lab) use render::{change_time, escape};

use crate::domain::time::Timestamp;

/// Code and name of every published procedure; dossiers are drawn from some of them.
pub(in crate::lab) fn published_procedures() -> impl Iterator<Item = (String, String)> {
    pools::all_procedures()
}

/// Code and name of the fields of work that dossiers belong to.
pub(in crate::lab) fn fields() -> impl Iterator<Item = (&'static str, &'static str)> {
    pools::FIELDS.into_iter()
}

/// Code and name of the agencies that handle dossiers.
pub(in crate::lab) fn agencies() -> impl Iterator<Item = (&'static str, &'static str)> {
    pools::AGENCIES.iter().map(|agency| (agency.code, agency.name))
}

/// Codes of the fees that dossiers may carry.
pub(in crate::lab) fn fee_codes() -> impl Iterator<Item = String> {
    pools::FEES.map(pools::fee_code)
}

/// Code and name of the results that dossiers may have.
pub(in crate::lab) fn results() -> impl Iterator<Item = (&'static str, &'static str)> {
    pools::RESULTS.into_iter()
}

/// How large and how bad the population is.
#[derive(Debug, Clone)]
pub struct PopulationOptions {
    pub seed: u64,
    pub dossiers: u32,
    /// Share spoiled on purpose, `0.0..=1.0`. These must never reach the portal.
    pub invalid_share: f64,
    /// Share owned by a ministry's system: mirrored, never pushed.
    pub ministry_share: f64,
    /// Share already deleted at the source.
    pub deleted_share: f64,
    /// Receptions are spread over this many days before the start.
    pub span_days: u32,
}

impl Default for PopulationOptions {
    fn default() -> Self {
        Self {
            seed: 42,
            dossiers: 1_000,
            invalid_share: 0.02,
            ministry_share: 0.01,
            deleted_share: 0.0,
            span_days: 30,
        }
    }
}

/// Draws dossiers. The same options and birth time draw the same dossiers.
#[derive(Debug)]
pub struct Population {
    options: PopulationOptions,
    born_at: Timestamp,
    procedures: Vec<pools::Procedure>,
}

impl Population {
    pub fn new(options: PopulationOptions, born_at: Timestamp) -> Self {
        Self { options, born_at, procedures: pools::procedures() }
    }

    pub fn options(&self) -> &PopulationOptions {
        &self.options
    }

    /// The dossier of this index as it stood at birth.
    pub fn grow(&self, index: u32) -> LabDossier {
        let mut rng = self.rng(index, 0);
        life::register(&mut rng, index, self.born_at, &self.options, &self.procedures)
    }

    /// The dossier of this index after these changes, in this order.
    pub fn grow_through(&self, index: u32, changes: &[Change]) -> LabDossier {
        let mut dossier = self.grow(index);
        for (turn, change) in (1u64..).zip(changes) {
            life::change(&mut dossier, &mut self.rng(index, turn), *change);
        }
        dossier
    }

    fn rng(&self, index: u32, turn: u64) -> Rng {
        // Odd multipliers keep neighbouring dossiers and turns apart; the generator mixes the rest.
        Rng::with_seed(
            self.options.seed
                ^ (u64::from(index) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                ^ turn.wrapping_mul(0xD1B5_4A32_D192_ED03),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::lab::portal::rules;

    fn now() -> Timestamp {
        Timestamp::from_portal("20260126160000").unwrap()
    }

    fn population(invalid_share: f64) -> Population {
        let options = PopulationOptions { invalid_share, ..PopulationOptions::default() };
        Population::new(options, now())
    }

    #[test]
    fn a_seed_repeats_and_another_seed_differs() {
        let first = population(0.02);
        let again = population(0.02);
        for index in 0..200 {
            assert_eq!(first.grow(index).feed_xml(), again.grow(index).feed_xml());
        }
        let options = PopulationOptions { seed: 43, ..PopulationOptions::default() };
        let other = Population::new(options, now());
        let differing = (0..200)
            .filter(|index| first.grow(*index).feed_xml() != other.grow(*index).feed_xml())
            .count();
        assert_eq!(differing, 200);
    }

    #[test]
    fn a_flawless_dossier_is_accepted_by_the_rules_of_the_portal_at_every_age() {
        let population = population(0.0);
        for index in 0..1_000 {
            let mut changes = Vec::new();
            for (turn, hours) in (1..5).enumerate() {
                let dossier = population.grow_through(index, &changes);
                rules::check_packet(&dossier.packet).unwrap_or_else(|refusal| {
                    panic!("{} {}: {refusal:?}", index, dossier.packet.ma_ho_so)
                });
                for step in &dossier.steps {
                    rules::check_step(step).unwrap();
                }
                let at = now() + std::time::Duration::from_hours(hours);
                let event = Event::ALL[(index as usize + turn) % Event::ALL.len()];
                changes.push(Change { at, event });
            }
        }
    }

    #[test]
    fn the_times_of_a_dossier_are_in_order_and_its_steps_can_be_told_apart() {
        let population = population(0.0);
        let mut equal_times = 0;
        for index in 0..1_000 {
            let dossier = population.grow(index);
            let packet = &dossier.packet;
            assert!(packet.ngay_nop_ho_so <= packet.ngay_tiep_nhan, "{packet:?}");
            for later in [&packet.ngay_ket_thuc_xu_ly, &packet.ngay_tra] {
                assert!(later.is_empty() || *later >= packet.ngay_tiep_nhan);
            }
            assert!(!dossier.steps.is_empty() && dossier.steps.len() <= 13);
            let times: Vec<&str> =
                dossier.steps.iter().map(|step| step.thoi_diem_xu_ly.as_ref()).collect();
            assert!(times.is_sorted());
            equal_times += times.windows(2).filter(|pair| pair[0] == pair[1]).count();
            let identities: BTreeSet<_> = dossier
                .steps
                .iter()
                .map(|step| (&step.thoi_diem_xu_ly, &step.trang_thai))
                .collect();
            assert_eq!(identities.len(), dossier.steps.len());
            assert_eq!(dossier.steps.last().unwrap().trang_thai, packet.trang_thai_ho_so);
            assert!(dossier.changed_at <= now());
        }
        assert!(equal_times > 0, "two steps sometimes share a second");
    }

    #[test]
    fn codes_are_unique_and_all_eras_and_states_occur() {
        let population = population(0.0);
        let mut codes = BTreeSet::new();
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        let mut eras = BTreeSet::new();
        let mut filed_at_portal = 0;
        let mut bytes = 0;
        for index in 0..2_000 {
            let dossier = population.grow(index);
            let code = dossier.packet.ma_ho_so.clone().into_owned();
            let prefix = code.split('-').next().unwrap();
            eras.insert(match prefix {
                "H55" => "province",
                old if old.starts_with("000.") => "old",
                merged if merged.starts_with("H03") => "merged",
                _ => "commune",
            });
            assert!(codes.insert(code));
            *states.entry(dossier.packet.trang_thai_ho_so.to_string()).or_default() += 1;
            filed_at_portal += usize::from(dossier.packet.noi_nop_ho_so == "1");
            bytes += dossier.feed_xml().len();
        }
        assert_eq!(states.len(), 10, "{states:?}");
        assert_eq!(eras.len(), 4);
        assert!((1_000..1_400).contains(&filed_at_portal), "{filed_at_portal}");
        let average = bytes / 2_000;
        assert!((4_000..7_500).contains(&average), "{average} bytes");
    }

    #[test]
    fn every_flaw_spoils_the_document_and_the_share_is_as_asked() {
        let population = population(0.25);
        let mut seen = BTreeSet::new();
        let mut flawed = 0;
        for index in 0..4_000 {
            let dossier = population.grow(index);
            let Some(flaw) = dossier.flaw else { continue };
            flawed += 1;
            seen.insert(flaw);
            assert!(dossier.expected().is_none());
            let mut healthy = dossier.clone();
            healthy.flaw = None;
            assert_ne!(healthy.feed_xml(), dossier.feed_xml(), "{flaw:?}");
        }
        assert_eq!(seen.len(), Flaw::ALL.len());
        assert!((900..1_100).contains(&flawed), "{flawed}");
    }

    #[test]
    fn a_change_adds_a_version_and_never_rewrites_a_step() {
        let population = population(0.0);
        let mut grown = 0;
        for index in 0..300 {
            let before = population.grow(index);
            let later = now() + std::time::Duration::from_mins(1);
            let after = population.grow_through(index, &[Change::progress(later)]);
            assert_eq!(after.version, before.version + 1);
            assert_eq!(after.changed_at, later);
            // Some events only add a step, as in real systems.
            assert_ne!((&after.packet, &after.steps), (&before.packet, &before.steps));
            assert!(after.steps.starts_with(&before.steps));
            grown += after.steps.len() - before.steps.len();
        }
        assert!(grown > 20, "{grown}");
    }
    #[test]
    fn a_dossier_can_be_taken_up_again_withdrawn_and_carried_on_under_another_code() {
        let population = population(0.0);
        let at = now() + std::time::Duration::from_mins(1);
        for index in 0..300 {
            let before = population.grow(index);
            let ended = before.is_ended();
            let after = |event| population.grow_through(index, &[Change { at, event }]);

            let reopened = after(Event::Reopen);
            if ended {
                assert_eq!(reopened.packet.trang_thai_ho_so, "4");
                assert!(reopened.packet.ngay_tra.is_empty() && !reopened.is_ended());
            }
            let withdrawn = after(Event::Withdraw);
            let expected = if ended { before.packet.trang_thai_ho_so.as_ref() } else { "7" };
            assert_eq!(withdrawn.packet.trang_thai_ho_so, expected);

            let recoded = after(Event::Recode);
            let old = before.packet.ma_ho_so.as_ref();
            assert_eq!(recoded.recoded_from.as_deref(), Some(old));
            assert_ne!(recoded.packet.ma_ho_so, old);
            assert!(recoded.feed_xml().contains(&format!("maHoSoCu=\"{old}\"")));
            assert!(recoded.steps.iter().all(|step| step.ma_ho_so == recoded.packet.ma_ho_so));
            for dossier in [reopened, withdrawn, recoded] {
                assert_eq!(dossier.version, before.version + 1);
                assert!(dossier.steps.len() >= before.steps.len());
            }
        }
    }
}
