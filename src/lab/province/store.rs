//! The province's dossiers: by code, and in the order of the feed.
//!
//! Each dossier is kept as the XML the feed shows, ready to be copied into a page; the structure
//! behind it is drawn again from the seed when it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use crate::domain::time::Timestamp;
use crate::lab::digest::ExpectedDossier;
use crate::lab::packet::{Packet, Step};
use crate::lab::population::{
    Change, Event, Flaw, LabDossier, Owner, Population, PopulationOptions,
};

/// One dossier as the feed shows it now.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) code: Arc<str>,
    pub(super) xml: Arc<str>,
    pub(super) version: u64,
    pub(super) changed_at: Timestamp,
    pub(super) status: Box<str>,
    /// As the feed writes it, for the index.
    pub(super) received_at: Box<str>,
    /// `yyyyMMdd`; empty for a raw document.
    pub(super) received_on: Box<str>,
    pub(super) procedure: Box<str>,
    pub(super) agency: &'static str,
    pub(super) ministry: bool,
    pub(super) deleted: bool,
    pub(super) filed_at_portal: bool,
    pub(super) flaw: Option<Flaw>,
    pub(super) expected: Option<ExpectedDossier>,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Origin {
    /// Drawn from the seed, then changed.
    Grown { index: u32, changes: Vec<Change> },
    /// Put in as text; only the text is known.
    Raw,
}

/// A dossier in the portal's form.
#[derive(Debug, Serialize)]
pub(super) struct PortalPapers {
    pub(super) packet: Packet<'static>,
    pub(super) steps: Vec<Step<'static>>,
}

/// Where a page begins: after this dossier at this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) changed_at: Timestamp,
    pub(super) code: String,
}

impl Cursor {
    pub(super) fn read(text: &str) -> Option<Self> {
        let (millis, code) = text.split_once('~')?;
        Some(Self {
            changed_at: Timestamp::from_millis(millis.parse().ok()?),
            code: code.to_owned(),
        })
    }

    pub(super) fn of(item: &Item) -> Self {
        Self { changed_at: item.changed_at, code: item.code.as_ref().to_owned() }
    }

    pub(super) fn text(&self) -> String {
        format!("{}~{}", self.changed_at.millis(), self.code)
    }
}

/// Numbers about the province.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProvinceCounts {
    pub dossiers: usize,
    /// Sound, ours, not deleted: what the portal must end up with.
    pub expected: usize,
    /// Spoiled on purpose, by kind.
    pub invalid: BTreeMap<Flaw, usize>,
    pub ministry: usize,
    pub deleted: usize,
    /// Went on under another code; these are the old codes.
    pub recoded: usize,
    /// Put in as text; nothing is expected of them.
    pub raw: usize,
    /// Steps of the expected dossiers.
    pub expected_steps: usize,
    pub filed_at_portal: usize,
}

#[derive(Debug)]
pub(super) struct Store {
    population: Population,
    rng: Rng,
    next_index: u32,
    /// Codes that are in use no more.
    left_codes: BTreeSet<Arc<str>>,
    by_code: BTreeMap<Arc<str>, Arc<Item>>,
    order: BTreeMap<(Timestamp, Arc<str>), Arc<Item>>,
}

impl Store {
    pub(super) fn new(options: PopulationOptions, born_at: Timestamp) -> Self {
        let dossiers = options.dossiers;
        let mut store = Self {
            rng: Rng::with_seed(options.seed ^ 0x5EED),
            population: Population::new(options, born_at),
            next_index: 0,
            left_codes: BTreeSet::new(),
            by_code: BTreeMap::new(),
            order: BTreeMap::new(),
        };
        for _ in 0..dossiers {
            store.add_next(None);
        }
        store
    }

    /// A new dossier at the end of the population; its first change comes at `at`.
    pub(super) fn add_next(&mut self, at: Option<Timestamp>) -> Arc<str> {
        let index = self.next_index;
        self.next_index += 1;
        let changes: Vec<Change> = at.map(Change::progress).into_iter().collect();
        let dossier = self.population.grow_through(index, &changes);
        self.keep(item(&dossier, Origin::Grown { index, changes }))
    }

    /// Lets something happen to a dossier. `None` when there is none of this code, or only its text,
    /// or when it cannot happen to it: only what has ended is reopened, only what has not is withdrawn,
    /// and only what is expected at the portal, under its first code, is re-coded.
    pub(super) fn change(&mut self, code: &str, event: Event, at: Timestamp) -> Option<Arc<str>> {
        let old = self.by_code.get(code)?;
        let Origin::Grown { index, changes } = &old.origin else {
            return None;
        };
        let is_ended = || self.population.grow_through(*index, changes).is_ended();
        let can_happen = match event {
            Event::Progress => true,
            Event::Reopen => is_ended(),
            Event::Withdraw => !is_ended(),
            Event::Recode => {
                old.expected.is_some()
                    && !changes.iter().any(|change| change.event == Event::Recode)
            }
        };
        if !can_happen {
            return None;
        }
        let (index, mut changes) = (*index, changes.clone());
        let (deleted, code) = (old.deleted, Arc::clone(&old.code));
        changes.push(Change { at, event });
        let mut dossier = self.population.grow_through(index, &changes);
        dossier.deleted = deleted;
        if event == Event::Recode {
            self.forget(&code);
            self.left_codes.insert(code);
        }
        Some(self.keep(item(&dossier, Origin::Grown { index, changes })))
    }

    /// Changes a dossier drawn by chance: an unfinished one where a few draws find one.
    pub(super) fn change_any(&mut self, at: Timestamp) -> Option<Arc<str>> {
        let code = self.draw(|item| !item.is_ended())?;
        self.change(&code, Event::Progress, at)
    }

    /// The code of a dossier that stands, drawn by chance: such a one where a few draws find one.
    pub(super) fn draw(&mut self, wanted: impl Fn(&Item) -> bool) -> Option<Arc<str>> {
        let mut chosen = None;
        for _ in 0..4 {
            let index = self.rng.u32(..self.next_index.max(1));
            let code = self.population.grow(index).feed_code();
            let Some(item) = self.by_code.get(code.as_str()) else {
                continue;
            };
            if item.deleted {
                continue;
            }
            chosen = Some(Arc::clone(&item.code));
            if wanted(item) {
                break;
            }
        }
        chosen
    }

    /// Deletes at the source: the feed shows a tombstone from now on.
    pub(super) fn delete(&mut self, code: &str, at: Timestamp) -> Option<Arc<str>> {
        let old = self.by_code.get(code)?;
        let Origin::Grown { index, changes } = &old.origin else {
            return None;
        };
        let (index, mut changes) = (*index, changes.clone());
        changes.push(Change::progress(at));
        let mut dossier = self.population.grow_through(index, &changes);
        dossier.deleted = true;
        Some(self.keep(item(&dossier, Origin::Grown { index, changes })))
    }

    /// Shows this text as it is, whatever it holds.
    pub(super) fn put_raw(&mut self, code: &str, xml: &str, version: u64, at: Timestamp) {
        let text = |name: &str| element(xml, name).unwrap_or_default();
        let received_at = text("NgayTiepNhan");
        let received_on =
            Timestamp::from_source(received_at).map(Timestamp::vietnam_day).unwrap_or_default();
        self.keep(Item {
            code: code.into(),
            version,
            changed_at: at,
            status: text("TrangThaiHoSo").into(),
            received_at: received_at.into(),
            received_on: received_on.into(),
            procedure: text("MaTTHC").into(),
            agency: "H55",
            ministry: false,
            deleted: false,
            filed_at_portal: text("NoiNopHoSo") == "1",
            flaw: None,
            expected: None,
            origin: Origin::Raw,
            xml: xml.into(),
        });
    }

    pub(super) fn get(&self, code: &str) -> Option<Arc<Item>> {
        self.by_code.get(code).cloned()
    }

    /// Up to `limit` items behind the cursor in the order of the feed, and whether more follow.
    pub(super) fn page(&self, after: Option<&Cursor>, limit: usize) -> (Vec<Arc<Item>>, bool) {
        let from = match after {
            Some(cursor) => {
                Bound::Excluded((cursor.changed_at, Arc::<str>::from(cursor.code.as_str())))
            }
            None => Bound::Unbounded,
        };
        let mut rest = self.order.range((from, Bound::Unbounded));
        let items: Vec<Arc<Item>> =
            rest.by_ref().take(limit).map(|(_, item)| Arc::clone(item)).collect();
        (items, rest.next().is_some())
    }

    /// Up to `limit` dossiers received in the range of days, by code, and whether more follow.
    pub(super) fn index(
        &self,
        from: &str,
        to: &str,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<Arc<Item>>, bool) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self
            .by_code
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, item)| item)
            .filter(|item| !item.deleted && (from..=to).contains(&&*item.received_on));
        let items: Vec<Arc<Item>> = rest.by_ref().take(limit).cloned().collect();
        (items, rest.next().is_some())
    }

    /// Up to `limit` of the dossiers that must end up at the portal, as it takes them, by code.
    pub(super) fn packets_after(&self, after: Option<&str>, limit: usize) -> Vec<PortalPapers> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_code
            .range::<str, _>((start, Bound::Unbounded))
            .filter(|(_, item)| item.expected.is_some())
            .filter_map(|(_, item)| match &item.origin {
                Origin::Grown { index, changes } => {
                    let dossier = self.population.grow_through(*index, changes);
                    Some(PortalPapers { packet: dossier.packet, steps: dossier.steps })
                }
                Origin::Raw => None,
            })
            .take(limit)
            .collect()
    }

    /// Up to `limit` expectations behind this code, by code.
    pub(super) fn expected_after(&self, after: Option<&str>, limit: usize) -> Vec<ExpectedDossier> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_code
            .range::<str, _>((start, Bound::Unbounded))
            .filter_map(|(_, item)| item.expected.clone())
            .take(limit)
            .collect()
    }

    pub(super) fn filed_at_portal(&self) -> BTreeSet<String> {
        self.by_code
            .values()
            .filter(|item| item.filed_at_portal)
            .map(|item| item.code.as_ref().to_owned())
            .collect()
    }

    pub(super) fn counts(&self) -> ProvinceCounts {
        let mut counts = ProvinceCounts {
            dossiers: self.by_code.len(),
            recoded: self.left_codes.len(),
            ..ProvinceCounts::default()
        };
        for item in self.by_code.values() {
            if let Some(expected) = &item.expected {
                counts.expected += 1;
                counts.expected_steps += expected.steps.len();
            }
            if let Some(flaw) = item.flaw {
                *counts.invalid.entry(flaw).or_default() += 1;
            }
            counts.ministry += usize::from(item.ministry);
            counts.deleted += usize::from(item.deleted);
            counts.raw += usize::from(matches!(item.origin, Origin::Raw));
            counts.filed_at_portal += usize::from(item.filed_at_portal);
        }
        counts
    }

    /// Time of the newest change.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.order.last_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        self.rng.shuffle(list);
    }

    /// Changes one dossier so that it appears behind a cursor that was already given out.
    pub(super) fn commit_late(&mut self, cursor_at: Timestamp, behind_ms: u64) -> Option<Arc<str>> {
        self.change_any(cursor_at - Duration::from_millis(behind_ms.max(1)))
    }

    /// Every code that stands, in their order.
    pub(super) fn codes(&self) -> Vec<String> {
        self.by_code.keys().map(|code| code.as_ref().to_owned()).collect()
    }

    /// The old codes of what went on under another one.
    pub(super) fn left_codes(&self) -> &BTreeSet<Arc<str>> {
        &self.left_codes
    }

    /// The dossier in the portal's form, if it is expected there.
    pub(super) fn papers(&self, code: &str) -> Option<PortalPapers> {
        let item = self.by_code.get(code).filter(|item| item.expected.is_some())?;
        let Origin::Grown { index, changes } = &item.origin else {
            return None;
        };
        let dossier = self.population.grow_through(*index, changes);
        Some(PortalPapers { packet: dossier.packet, steps: dossier.steps })
    }

    fn forget(&mut self, code: &str) {
        if let Some(old) = self.by_code.remove(code) {
            self.order.remove(&(old.changed_at, Arc::clone(&old.code)));
        }
    }

    fn keep(&mut self, item: Item) -> Arc<str> {
        let item = Arc::new(item);
        let code = Arc::clone(&item.code);
        self.forget(&code);
        self.by_code.insert(Arc::clone(&code), Arc::clone(&item));
        self.order.insert((item.changed_at, Arc::clone(&code)), item);
        code
    }
}

impl Item {
    /// By its status; a raw document may say anything.
    pub(super) fn is_ended(&self) -> bool {
        matches!(&*self.status, "3" | "7" | "8" | "10")
    }
}

fn item(dossier: &LabDossier, origin: Origin) -> Item {
    let code: Arc<str> = dossier.feed_code().into();
    Item {
        xml: dossier.feed_xml().into(),
        version: dossier.version,
        changed_at: dossier.changed_at,
        status: dossier.packet.trang_thai_ho_so.as_ref().into(),
        received_at: dossier.packet.ngay_tiep_nhan.as_ref().into(),
        received_on: dossier.received_on().into(),
        procedure: dossier.packet.ma_tthc.as_ref().into(),
        agency: dossier.agency_code(),
        ministry: dossier.owner == Owner::Ministry,
        deleted: dossier.deleted,
        filed_at_portal: dossier.packet.noi_nop_ho_so == "1",
        flaw: dossier.flaw,
        expected: dossier.expected(),
        origin,
        code,
    }
}

/// The text of the first element of this name. Enough for documents that people type in.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once("</")?;
    Some(text.trim())
}

/// The value of an attribute of the first tag.
pub(super) fn attribute<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (tag, _) = xml.split_once('>')?;
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}
