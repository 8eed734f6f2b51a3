//! The codes that the portal knows, at hand for mapping; and which procedures dossiers use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::catalogue::KnownCodes;
use crate::domain::time::Timestamp;
use crate::ledger::{Ledger, LedgerError};

/// Uses are written down when a new procedure appears, and else this often.
const NOTE_EVERY: Duration = Duration::from_hours(1);

/// What is kept in memory between two passes. Everything in it stands in the ledger, too, but for
/// the uses since the last note.
#[derive(Debug, Default)]
pub struct CatalogueMemory {
    read: Mutex<Read>,
    uses: Mutex<Uses>,
}

#[derive(Debug, Default)]
struct Read {
    /// The newest version of any catalogue when this was read.
    newest: i64,
    versions: BTreeSet<i64>,
    codes: KnownCodes,
}

#[derive(Debug, Default)]
struct Uses {
    waiting: BTreeMap<String, u64>,
    known: BTreeSet<String>,
    noted_at: Option<Timestamp>,
}

impl CatalogueMemory {
    /// The codes of the versions in use. Reads only what has come since the last time.
    pub async fn codes(&self, ledger: &dyn Ledger) -> Result<KnownCodes, LedgerError> {
        let newest = ledger.newest_catalogue_version().await?;
        {
            let read = locked(&self.read);
            if read.newest == newest {
                return Ok(read.codes.clone());
            }
        }
        let standings = ledger.catalogues().await?;
        let in_use: BTreeMap<i64, _> = standings
            .into_iter()
            .filter_map(|standing| Some((standing.version?, standing.key)))
            .collect();
        let missing: Vec<i64> = {
            let read = locked(&self.read);
            in_use.keys().copied().filter(|version| !read.versions.contains(version)).collect()
        };
        let items = ledger.catalogue_items(&missing).await?;
        let mut read = locked(&self.read);
        for (version, items) in items {
            if let Some(key) = in_use.get(&version) {
                read.codes.put(key, &items);
            }
        }
        read.versions = in_use.into_keys().collect();
        read.newest = newest;
        Ok(read.codes.clone())
    }

    /// Counts procedures, and writes the counts down when that is due.
    pub async fn used(
        &self,
        ledger: &dyn Ledger,
        now: Timestamp,
        procedures: &BTreeMap<String, u64>,
    ) -> Result<(), LedgerError> {
        let to_note = {
            let mut uses = locked(&self.uses);
            for (procedure, count) in procedures {
                *uses.waiting.entry(procedure.clone()).or_default() += count;
            }
            let is_new = uses.waiting.keys().any(|procedure| !uses.known.contains(procedure));
            let is_time = uses.noted_at.is_none_or(|at| at + NOTE_EVERY <= now);
            if uses.waiting.is_empty() || !(is_new || is_time) {
                return Ok(());
            }
            let waiting = std::mem::take(&mut uses.waiting);
            uses.known.extend(waiting.keys().cloned());
            uses.noted_at = Some(now);
            waiting
        };
        ledger.note_procedures(now, &to_note).await
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
