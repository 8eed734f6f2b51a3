//! What is true, from the laboratories alone, and what the ledger claims beside it.

use std::collections::{BTreeMap, BTreeSet};

use hoso_gateway::domain::entry::EntryState;
use hoso_gateway::lab::digest::Digest;
use hoso_gateway::lab::portal::{Outcome, Service};

use crate::support::binary::Site;

/// Everything that the province ever wanted the portal to have, each dossier's versions in order.
#[derive(Debug, Default)]
pub(super) struct Witness {
    versions: BTreeMap<String, Vec<Digest>>,
    steps: BTreeMap<String, BTreeSet<Digest>>,
}

impl Witness {
    /// Writes down what the province wants now; after every change of it.
    pub(super) fn note(&mut self, site: &Site) {
        for dossier in site.province.expected() {
            let versions = self.versions.entry(dossier.code.clone()).or_default();
            if versions.last() != Some(&dossier.digest) {
                versions.push(dossier.digest);
            }
            self.steps.entry(dossier.code).or_default().extend(dossier.steps);
        }
    }

    /// Moves the province on by so many events and writes each down.
    pub(super) fn stir(&mut self, site: &Site, events: u32) {
        for _ in 0..events {
            site.province.evolve_any();
            self.note(site);
        }
    }

    /// At any moment: nothing arrived that the province never said, nothing older after something
    /// newer, and nothing stands as accepted that the portal does not have.
    pub(super) async fn assert_true(&self, site: &Site) {
        let taken = self.assert_order(site);
        let Some(ledger) = site.open_ledger().await else { return };
        for code in self.versions.keys() {
            let Some(view) = ledger.dossier(code).await.expect("a view").pop() else { continue };
            let accepted =
                view.entries.iter().filter(|entry| entry.state == EntryState::Accepted).count();
            let had = taken.get(code).copied().unwrap_or(0);
            assert!(accepted <= had, "{code}: {accepted} accepted, the portal took {had}");
            let acked = view.steps.iter().filter(|step| step.state == "acked").count();
            let record = site.portal.record(code).map(|record| record.steps).unwrap_or_default();
            let had = record.into_iter().collect::<BTreeSet<_>>().len();
            assert!(acked <= had, "{code}: {acked} steps acknowledged, the portal has {had}");
        }
        ledger.close().await;
    }

    /// When all is quiet: the portal has exactly what the province wants, the ledger knows every
    /// dossier of the province, and the quota was kept.
    pub(super) async fn assert_whole(&self, site: &mut Site) {
        self.assert_true(site).await;
        let comparison = site.comparison();
        let lacking = (&comparison.missing, &comparison.different, &comparison.unexpected);
        assert!(
            lacking.0.is_empty() && lacking.1.is_empty() && lacking.2.is_empty(),
            "{lacking:?}"
        );
        assert_eq!(comparison.steps_unexpected, 0);
        let standing = site.standing().await.expect("a ledger");
        let known: u64 = standing.dossiers.values().sum();
        assert_eq!(known, site.province.state().counts.dossiers as u64, "{standing:?}");
        let acknowledged = |state| standing.dossiers.get(&state).copied().unwrap_or(0);
        let settled = acknowledged(EntryState::Accepted) + acknowledged(EntryState::Unchanged);
        let counts = site.province.state().counts;
        assert_eq!(settled, counts.expected as u64, "{standing:?}");
        assert_eq!(site.portal.state().overshoots, 0);
    }

    /// How many packets of each dossier the portal took.
    fn assert_order(&self, site: &Site) -> BTreeMap<String, usize> {
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
        let calls = site.portal.calls(None);
        for call in &calls {
            for (code, digest) in call.codes.iter().zip(&call.digests) {
                match call.service {
                    Service::Dossiers => {
                        let versions = self.versions.get(code).unwrap_or_else(|| {
                            panic!("{code} was sent and never wanted: {call:?}")
                        });
                        let places =
                            || versions.iter().enumerate().filter(|(_, known)| *known == digest);
                        let last = places().next_back();
                        let (last, _) = last.unwrap_or_else(|| panic!("nobody said {call:?}"));
                        let floor = newest.entry(code).or_default();
                        assert!(last >= *floor, "{code}: an older version after a newer one");
                        *floor = places().map(|(at, _)| at).find(|at| at >= floor).unwrap_or(last);
                        if call.outcome == Outcome::Accepted {
                            *taken.entry(code.clone()).or_default() += 1;
                        }
                    }
                    Service::Steps => {
                        let known =
                            self.steps.get(code).is_some_and(|known| known.contains(digest));
                        assert!(known, "a step that nobody took: {call:?}");
                    }
                    _ => {}
                }
            }
        }
        taken
    }
}
