//! A simulated provincial system: synthetic dossiers behind the XML change feed and its index.
//!
//! It keeps its promises exactly (order, cursors, `ETag`, tombstones) until it is told to break
//! them. It knows nothing of the gateway and nothing of the portal. Start reading at [`start`];
//! `store` holds the dossiers, `feed` answers, `drop` writes the same as files, `misbehave` lists what
//! can go wrong.
//!
//! # Control interface
//!
//! | Address | Effect |
//! |---|---|
//! | `GET /lab/state` | counts of dossiers, invalid ones by kind, changes left, requests served |
//! | `GET /lab/expected` | one JSON line a dossier that must end up at the portal: `code`, `digest`, `steps` |
//! | `GET /lab/packets` | the same dossiers as the portal takes them, a JSON line each: `packet`, `steps` |
//! | `POST /lab/misbehave` | `{"clear": true, "rules": [{"kind": "truncated-xml", "times": 1}]}`; without `times` until cleared; `"on": "index"` or `"dossier"` spoils those answers, `"code": "CODE"` that dossier |
//! | `POST /lab/answer?on=changes&times=1` | the body, under its `Content-Type`, is given in place of an answer |
//! | `POST /lab/dossiers` | one `<HoSo>` element as text, or `{"evolve": "CODE"}`, `{"evolve-any": 5}`, `{"reopen": "CODE"}`, `{"withdraw": "CODE"}`, `{"recode": "CODE"}`, `{"delete": "CODE"}`, `{"add": 10}` |
//!
//! A dossier put in as text is shown as it is; nothing is expected of it.

mod control;
mod drop;
mod feed;
mod misbehave;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};

pub use control::ProvinceState;
pub use misbehave::{Misbehaviour, MisbehaviourRule, Question, RawAnswer};
pub use store::ProvinceCounts;

use self::misbehave::Turn;
use self::store::{Cursor, Item, Store};
use super::certificates::ServerTls;
use super::digest::{Digest, ExpectedDossier};
use super::population::{Event, PopulationOptions};
use super::serving::{Lifetime, Serving};
use crate::clock::Clock;
use crate::domain::time::Timestamp;

/// What a reader of the feed must show. The control interface is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    #[default]
    Open,
    Bearer(String),
    Basic {
        user: String,
        password: String,
    },
}

/// How the province starts.
#[derive(Debug, Clone)]
pub struct ProvinceOptions {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// `None`: plain HTTP.
    pub tls: Option<ServerTls>,
    /// The attribute `maDonVi` of every page.
    pub agency: String,
    pub population: PopulationOptions,
    pub auth: Auth,
    /// Pack answers for readers that accept gzip.
    pub gzip: bool,
    /// Changes made in the background after the start.
    pub changes_total: u64,
    /// Pace of those changes; 0 makes none.
    pub changes_per_second: f64,
    pub misbehaviour: Vec<MisbehaviourRule>,
}

impl Default for ProvinceOptions {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: None,
            agency: "000.00.00.H55".to_owned(),
            population: PopulationOptions::default(),
            auth: Auth::Open,
            gzip: true,
            changes_total: 0,
            changes_per_second: 0.0,
            misbehaviour: Vec::new(),
        }
    }
}

/// A running province. Dropping it stops it.
#[derive(Debug)]
pub struct Province {
    shared: Arc<Shared>,
    serving: Serving,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    lifetime: Lifetime,
    agency: String,
    auth: Option<String>,
    gzip: bool,
    store: Mutex<Store>,
    dropped: Mutex<drop::Dropped>,
    misbehaviour: Mutex<Vec<MisbehaviourRule>>,
    raw_answers: Mutex<Vec<RawAnswer>>,
    changes_left: AtomicU64,
    changes_made: AtomicU64,
    requests_served: AtomicU64,
}

/// Why a raw document was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PutRefused(pub &'static str);

/// Draws the population and serves it until [`Province::shutdown`].
pub async fn start(options: ProvinceOptions, clock: Arc<dyn Clock>) -> io::Result<Province> {
    let (listen, tls) = (options.listen, options.tls.clone());
    let (changes_total, per_second) = (options.changes_total, options.changes_per_second);
    let (shared, routes) = open(options, clock);
    let serving = Serving::start(listen, shared.lifetime.clone(), routes, tls).await?;
    if changes_total > 0 && per_second > 0.0 {
        let background = Arc::clone(&shared);
        shared.lifetime.spawn(async move { background.keep_changing(per_second).await });
    }
    Ok(Province { shared, serving })
}

/// Without a socket: whoever calls the routes is answered. Nothing changes in the background.
pub fn in_process(options: ProvinceOptions, clock: Arc<dyn Clock>) -> (Province, Router) {
    let (shared, routes) = open(options, clock);
    let serving = Serving::in_process(shared.lifetime.clone());
    (Province { shared, serving }, routes)
}

fn open(options: ProvinceOptions, clock: Arc<dyn Clock>) -> (Arc<Shared>, Router) {
    let store = Store::new(options.population, clock.now());
    let shared = Arc::new(Shared {
        lifetime: Lifetime::default(),
        agency: options.agency,
        auth: options.auth.header(),
        gzip: options.gzip,
        store: Mutex::new(store),
        dropped: Mutex::default(),
        misbehaviour: Mutex::new(options.misbehaviour),
        raw_answers: Mutex::default(),
        changes_left: AtomicU64::new(options.changes_total),
        changes_made: AtomicU64::new(0),
        requests_served: AtomicU64::new(0),
        clock,
    });
    let routes = feed::routes().merge(control::routes()).with_state(Arc::clone(&shared));
    (shared, routes)
}

impl Province {
    /// Base address of the feed, without a slash at the end.
    pub fn url(&self) -> String {
        self.serving.url()
    }

    /// What the portal must hold once everything was delivered, by code.
    pub fn expected(&self) -> Vec<ExpectedDossier> {
        self.shared.store().expected_after(None, usize::MAX)
    }

    pub fn state(&self) -> ProvinceState {
        self.shared.state()
    }

    /// Codes of the dossiers that were filed at the national portal.
    pub fn filed_at_portal(&self) -> BTreeSet<String> {
        self.shared.store().filed_at_portal()
    }

    /// The element the feed shows for this code now.
    pub fn dossier_xml(&self, code: &str) -> Option<String> {
        let item = self.shared.store().get(code)?;
        Some(item.xml.as_ref().to_owned())
    }

    /// Moves a dossier one event further. `None` when there is no such dossier.
    pub fn evolve(&self, code: &str) -> Option<String> {
        self.shared.happen(code, Event::Progress)
    }

    /// Lets something happen to a dossier, and gives the code under which it stands then. `None` when
    /// there is no such dossier, or when this cannot happen to it.
    pub fn happen(&self, code: &str, event: Event) -> Option<String> {
        self.shared.happen(code, event)
    }

    /// The code of a dossier that is not deleted, drawn by chance, one that has ended (or has not)
    /// where a few draws find one.
    pub fn draw(&self, ended: bool) -> Option<String> {
        let code = self.shared.store().draw(|item| item.is_ended() == ended)?;
        Some(code.as_ref().to_owned())
    }

    /// Every code under which the province keeps a dossier.
    pub fn codes(&self) -> Vec<String> {
        self.shared.store().codes()
    }

    /// Codes that are in use no more, because their dossiers went on under others.
    pub fn left_codes(&self) -> Vec<String> {
        self.shared.store().left_codes().iter().map(|code| code.as_ref().to_owned()).collect()
    }

    /// Digests of the requests for a supplement (status 5) in the dossier's history.
    pub fn supplements(&self, code: &str) -> Vec<Digest> {
        let papers = self.shared.store().papers(code);
        let steps = papers.into_iter().flat_map(|papers| papers.steps);
        steps.filter(|step| step.trang_thai == "5").map(|step| Digest::of_step(&step)).collect()
    }

    /// Moves a dossier drawn by chance one event further, and says which.
    pub fn evolve_any(&self) -> Option<String> {
        self.shared.evolve_any()
    }

    /// Deletes at the source; the feed shows a tombstone.
    pub fn delete(&self, code: &str) -> Option<String> {
        self.shared.delete(code)
    }

    /// New dossiers, which appear at the end of the feed.
    pub fn add(&self, count: u32) -> Vec<String> {
        self.shared.add(count)
    }

    /// Shows one `<HoSo>` element as it is. Its `phienBan` counts; its time of change is now.
    pub fn put_raw(&self, xml: &str) -> Result<String, PutRefused> {
        self.shared.put_raw(xml)
    }

    pub fn misbehave(&self, rule: MisbehaviourRule) {
        self.shared.misbehave(rule);
    }

    /// Gives these bytes in place of an answer; several are given one after another.
    pub fn answer_with(&self, answer: RawAnswer) {
        self.shared.answer_with(answer);
    }

    /// Ends every misbehaviour, raw answers included.
    pub fn clear_misbehaviour(&self) {
        self.shared.clear_misbehaviour();
    }

    /// Answers handshakes this way from now on, if it has TLS at all.
    pub fn set_tls(&self, tls: ServerTls) {
        self.serving.set_tls(tls);
    }

    /// Stops and waits. Panics when something inside panicked.
    pub async fn shutdown(self) -> io::Result<()> {
        self.serving.shutdown().await
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dropped(&self) -> MutexGuard<'_, drop::Dropped> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> MutexGuard<'_, Vec<MisbehaviourRule>> {
        self.misbehaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the request and asks for its credentials.
    #[expect(
        clippy::result_large_err,
        reason = "the refusal is the answer itself, built at most once a request"
    )]
    fn admit(&self, headers: &HeaderMap) -> Result<(), Response<Body>> {
        self.requests_served.fetch_add(1, Ordering::Relaxed);
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match &self.auth {
            Some(wanted) if shown != Some(wanted) => Err(feed::plain(
                StatusCode::UNAUTHORIZED,
                "chưa xác thực hoặc sai thông tin xác thực",
            )),
            _ => Ok(()),
        }
    }

    fn take_turn(&self, question: Question) -> Turn {
        misbehave::take_turn(&mut self.rules(), question)
    }

    fn raw_answers(&self) -> MutexGuard<'_, Vec<RawAnswer>> {
        self.raw_answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raw_answer(&self, question: Question) -> Option<RawAnswer> {
        misbehave::take_raw(&mut self.raw_answers(), question)
    }

    fn answer_with(&self, answer: RawAnswer) {
        if answer.times != Some(0) {
            self.raw_answers().push(answer);
        }
    }

    fn misbehave(&self, rule: MisbehaviourRule) {
        if rule.times != Some(0) {
            self.rules().push(rule);
        }
    }

    fn clear_misbehaviour(&self) {
        self.rules().clear();
        self.raw_answers().clear();
    }

    /// Changes of dossiers that the page about to be read already shows.
    fn disturb_before(&self, rules: &Turn) {
        for rule in rules.kinds() {
            match rule {
                Misbehaviour::EqualTimestamps { dossiers } => {
                    let now = self.clock.now();
                    for _ in 0..*dossiers {
                        self.changed(self.store().change_any(now));
                    }
                }
                Misbehaviour::ClockJump => {
                    let ahead = self.clock.now() + std::time::Duration::from_hours(1);
                    self.changed(self.store().change_any(ahead));
                }
                _ => {}
            }
        }
    }

    /// Changes of dossiers that happen after the page was read and before its reader knows it.
    fn disturb_after(&self, rules: &Turn, items: &[Arc<Item>], last: Option<&Cursor>) {
        for rule in rules.kinds() {
            match rule {
                Misbehaviour::LateCommit { behind_ms } => {
                    let cursor_at = last.map(|cursor| cursor.changed_at).or(self.store().newest());
                    let cursor_at = cursor_at.unwrap_or_else(|| self.clock.now());
                    self.changed(self.store().commit_late(cursor_at, *behind_ms));
                }
                Misbehaviour::PageChangedWhilePaged => {
                    let now = self.clock.now();
                    if let Some(item) = items.first() {
                        self.changed(self.store().change(&item.code, Event::Progress, now));
                    }
                    self.changed(self.store().change_any(now));
                }
                _ => {}
            }
        }
    }

    fn state(&self) -> ProvinceState {
        ProvinceState {
            counts: self.store().counts(),
            changes_left: self.changes_left.load(Ordering::Relaxed),
            changes_made: self.changes_made.load(Ordering::Relaxed),
            requests_served: self.requests_served.load(Ordering::Relaxed),
            misbehaviour: self.rules().clone(),
        }
    }

    fn happen(&self, code: &str, event: Event) -> Option<String> {
        self.changed(self.store().change(code, event, self.clock.now()))
    }

    fn evolve_any(&self) -> Option<String> {
        self.changed(self.store().change_any(self.clock.now()))
    }

    fn delete(&self, code: &str) -> Option<String> {
        self.changed(self.store().delete(code, self.clock.now()))
    }

    fn add(&self, count: u32) -> Vec<String> {
        let now = self.clock.now();
        (0..count).filter_map(|_| self.changed(Some(self.store().add_next(Some(now))))).collect()
    }

    fn put_raw(&self, xml: &str) -> Result<String, PutRefused> {
        let code = store::element(xml, "MaHoSo")
            .filter(|code| !code.is_empty())
            .ok_or(PutRefused("the document has no <MaHoSo>"))?;
        let now = self.clock.now();
        let at =
            store::attribute(xml, "capNhatLuc").and_then(Timestamp::from_source).unwrap_or(now);
        let version = store::attribute(xml, "phienBan").and_then(|text| text.parse().ok());
        self.store().put_raw(code, xml, version.unwrap_or(1), at);
        Ok(code.to_owned())
    }

    fn changed(&self, code: Option<Arc<str>>) -> Option<String> {
        let code = code?;
        self.changes_made.fetch_add(1, Ordering::Relaxed);
        Some(code.as_ref().to_owned())
    }

    /// Spends the budget of changes at the asked pace, in ticks of a tenth of a second.
    async fn keep_changing(&self, per_second: f64) {
        const TICK_MS: u64 = 100;
        let mut owed = 0.0;
        while self.changes_left.load(Ordering::Relaxed) > 0 {
            if !self.lifetime.pause(self.clock.as_ref(), TICK_MS).await {
                return;
            }
            owed += per_second / 10.0;
            while owed >= 1.0 && self.changes_left.load(Ordering::Relaxed) > 0 {
                owed -= 1.0;
                self.changes_left.fetch_sub(1, Ordering::Relaxed);
                // A province without dossiers has nothing to change; the budget ends all the same.
                if self.evolve_any().is_none() && self.lifetime.is_over() {
                    return;
                }
            }
        }
    }
}

impl Auth {
    /// The value of the `Authorization` header.
    fn header(&self) -> Option<String> {
        match self {
            Self::Open => None,
            Self::Bearer(token) => Some(format!("Bearer {token}")),
            Self::Basic { user, password } => {
                Some(format!("Basic {}", base64(&format!("{user}:{password}"))))
            }
        }
    }
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let word = chunk
            .iter()
            .chain(std::iter::repeat(&0))
            .take(3)
            .fold(0usize, |word, byte| word << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place)) & 63];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
