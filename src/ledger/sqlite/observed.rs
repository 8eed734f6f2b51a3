//! Learning from calls how the portal behaves: read beside the writer, written in one short
//! transaction.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::super::LedgerError;
use super::super::observed::{
    ChangeKind, Learnt, Observed, ObservedAnswer, ObservedChange, ObservedField, ObservedHour,
    ObservedSession, Observing,
};
use super::{SqliteLedger, column, envelope, failed, finish, json, run};
use crate::domain::observed::{EchoChange, Echoing, same_words};
use crate::domain::time::Timestamp;

const DOING: &str = "learn how the portal behaves";

/// Of one service; more than that are counted together as [`OTHERS`].
const ANSWERS_MAX: usize = 200;
const OTHERS: &str = "…";
/// While a service is younger than this, everything that it does is new.
const LEARNING_MS: i64 = 24 * 3600 * 1000;
/// Changes that are remembered.
const CHANGES_MAX: i64 = 1_000;
const HOUR_MS: i64 = 3600 * 1000;
/// Vietnam's, which has no summer time.
const OFFSET_HOURS: i64 = 7;
/// Services that give what others are called with; a session's age does not concern them.
const GRANTING: [&str; 2] = ["login", "token"];

const STATE: &str = "
    SELECT position, calls, until, login_at, logins, longest_good_ms, refused, shortest_refused_ms
    FROM observed_state WHERE id = 1";

const LAST_CALL: &str = "SELECT coalesce(max(id), 0) FROM call";

const CALLS: &str = "
    SELECT id, service, started_at, duration_ms, http_status, error_code, message, outcome, echoed
    FROM call WHERE id > ?1 ORDER BY id LIMIT +?2";

const ANSWERS: &str = "
    SELECT service, outcome, code, message, first_at, last_at, n FROM observed_answer
    ORDER BY service, n DESC, outcome, code, message";

const HOURS: &str =
    "SELECT service, hour, n, total_ms, slowest_ms FROM observed_hour ORDER BY service, hour";

const FIELDS: &str = "
    SELECT service, name, first_at, last_at, shown, asked, absent, is_gone FROM observed_field
    ORDER BY service, name";

const CHANGES: &str = "
    SELECT at, kind, service, about FROM observed_change WHERE at >= ?1 ORDER BY at DESC, id DESC";

/// Only if nobody else has learnt from these calls meanwhile.
const KEEP_STATE: &str = "
    UPDATE observed_state SET position = ?2, calls = ?3, until = ?4, login_at = ?5, logins = ?6,
        longest_good_ms = ?7, refused = ?8, shortest_refused_ms = ?9
    WHERE id = 1 AND position = ?1";

const KEEP_ANSWERS: &str = "
    INSERT INTO observed_answer (service, outcome, code, message, first_at, last_at, n)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 FROM json_each(?1) WHERE true
    ON CONFLICT (service, outcome, code, message) DO UPDATE SET
        first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at), n = n + excluded.n";

const KEEP_HOURS: &str = "
    INSERT INTO observed_hour (service, hour, n, total_ms, slowest_ms)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each(?1) WHERE true
    ON CONFLICT (service, hour) DO UPDATE SET n = n + excluded.n, total_ms = total_ms + excluded.total_ms,
        slowest_ms = max(slowest_ms, excluded.slowest_ms)";

const KEEP_FIELDS: &str = "
    INSERT OR REPLACE INTO observed_field (service, name, first_at, last_at, shown, asked, absent, is_gone)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7 FROM json_each(?1)";

const KEEP_CHANGES: &str = "
    INSERT INTO observed_change (at, kind, service, about)
    SELECT value->>0, value->>1, value->>2, value->>3 FROM json_each(?1)";

const FORGET_CHANGES: &str =
    "DELETE FROM observed_change WHERE id <= (SELECT max(id) FROM observed_change) - ?1";

#[async_trait]
impl Observing for SqliteLedger {
    async fn observe(&self, rows_max: u32) -> Result<Learnt, LedgerError> {
        let before = state(&self.readers).await?;
        let calls = next_calls(&self.readers, &before, rows_max).await?;
        let Some(last) = calls.last() else { return Ok(Learnt::default()) };
        let mut learning = Learning::begin(&self.readers, before.clone()).await?;
        for call in &calls {
            learning.take(call);
        }
        learning.state.position = last.id;
        let learnt = Learnt { calls: calls.len() as u64, changes: learning.changes.clone() };
        let mut tx = self.begin(DOING).await?;
        let state = &learning.state;
        let query = sqlx::query(KEEP_STATE)
            .bind(before.position)
            .bind(state.position)
            .bind(state.calls)
            .bind(state.until)
            .bind(state.login_at)
            .bind(state.logins)
            .bind(state.longest_good_ms)
            .bind(state.refused)
            .bind(state.shortest_refused_ms);
        if run(&mut tx, DOING, query).await? == 0 {
            // Another process was faster; the next pass goes on behind it.
            return Ok(Learnt::default());
        }
        for (statement, rows) in learning.rows() {
            if rows != "[]" {
                run(&mut tx, DOING, sqlx::query(statement).bind(rows)).await?;
            }
        }
        run(&mut tx, DOING, sqlx::query(FORGET_CHANGES).bind(CHANGES_MAX)).await?;
        finish(tx, DOING).await?;
        Ok(learnt)
    }

    async fn observed(&self) -> Result<Observed, LedgerError> {
        let state = state(&self.readers).await?;
        Ok(Observed {
            calls: unsigned(state.calls),
            until: state.until.map(Timestamp::from_millis),
            answers: answers(&self.readers).await?,
            hours: hours(&self.readers).await?,
            session: ObservedSession {
                logins: unsigned(state.logins),
                longest_good_ms: state.longest_good_ms.map(unsigned),
                refused: unsigned(state.refused),
                shortest_refused_ms: state.shortest_refused_ms.map(unsigned),
            },
            fields: fields(&self.readers).await?.into_iter().map(|(shown, _)| shown).collect(),
            changes: self.observed_changes(Timestamp::default()).await?,
        })
    }

    async fn observed_changes(&self, since: Timestamp) -> Result<Vec<ObservedChange>, LedgerError> {
        let rows = sqlx::query(CHANGES)
            .bind(since.millis())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| failed(DOING, error))?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in &rows {
            let kind: String = column(row, "observed_change", "kind", 0)?;
            // One of a newer version is shown by that version.
            if let Some(kind) = ChangeKind::parse(&kind) {
                changes.push(ObservedChange {
                    at: Timestamp::from_millis(column(row, "observed_change", "at", 0)?),
                    kind,
                    service: column(row, "observed_change", "service", 0)?,
                    about: column(row, "observed_change", "about", 0)?,
                });
            }
        }
        Ok(changes)
    }
}

/// How far learning has come, and what it knows of sessions.
#[derive(Debug, Clone)]
struct State {
    position: i64,
    calls: i64,
    until: Option<i64>,
    login_at: Option<i64>,
    logins: i64,
    longest_good_ms: Option<i64>,
    refused: i64,
    shortest_refused_ms: Option<i64>,
}

/// What is read of a call.
struct Seen {
    id: i64,
    service: String,
    started_at: i64,
    duration_ms: i64,
    is_answered: bool,
    code: String,
    message: String,
    outcome: String,
    echoed: Option<BTreeSet<String>>,
}

type AnswerKey = (String, String, String, String);

/// One pass, before anything of it is written.
struct Learning {
    state: State,
    /// Since when each service is known.
    since: BTreeMap<String, i64>,
    known: BTreeSet<AnswerKey>,
    /// First, last, how many.
    answers: BTreeMap<AnswerKey, (i64, i64, u64)>,
    /// How many, milliseconds in all, the most.
    hours: BTreeMap<(String, i64), (u64, i64, i64)>,
    /// First, last.
    fields: BTreeMap<(String, String), (i64, i64, Echoing)>,
    /// Whether any look-up told which fields it shows.
    is_echoed: bool,
    changes: Vec<ObservedChange>,
}

impl Learning {
    async fn begin(readers: &SqlitePool, state: State) -> Result<Self, LedgerError> {
        let mut since: BTreeMap<String, i64> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for one in answers(readers).await? {
            let first = since.entry(one.service.clone()).or_insert(one.first_at.millis());
            *first = one.first_at.millis().min(*first);
            known.insert((one.service, one.outcome, one.code, one.message));
        }
        let fields = fields(readers).await?.into_iter().map(|(field, echoing)| {
            let times = (field.first_at.millis(), field.last_at.millis(), echoing);
            ((field.service, field.name), times)
        });
        Ok(Self {
            state,
            since,
            known,
            answers: BTreeMap::new(),
            hours: BTreeMap::new(),
            fields: fields.collect(),
            is_echoed: false,
            changes: Vec::new(),
        })
    }

    fn take(&mut self, call: &Seen) {
        self.state.calls += 1;
        self.state.until = self.state.until.max(Some(call.started_at));
        let since = *self.since.entry(call.service.clone()).or_insert(call.started_at);
        let is_learnt = call.started_at.saturating_sub(since) >= LEARNING_MS;
        self.answer(call, is_learnt);
        let hour = call.started_at.div_euclid(HOUR_MS).saturating_add(OFFSET_HOURS).rem_euclid(24);
        let hour = self.hours.entry((call.service.clone(), hour)).or_default();
        *hour = (hour.0 + 1, hour.1 + call.duration_ms, hour.2.max(call.duration_ms));
        self.session(call);
        if let Some(echoed) = &call.echoed {
            self.echo(call, echoed, is_learnt);
        }
    }

    fn answer(&mut self, call: &Seen, is_learnt: bool) {
        // What the network says instead is not the portal's word.
        let message = if call.is_answered { same_words(&call.message) } else { String::new() };
        let own = |message: String| -> AnswerKey {
            (call.service.clone(), call.outcome.clone(), call.code.clone(), message)
        };
        let mut key = own(message);
        if !self.known.contains(&key) {
            let of_service = self.known.iter().filter(|known| known.0 == call.service).count();
            if of_service >= ANSWERS_MAX {
                let (service, outcome, ..) = key;
                key = (service, outcome, String::new(), OTHERS.to_owned());
            } else if is_learnt && call.is_answered {
                let about = [key.2.as_str(), key.3.as_str()].join(" ").trim().to_owned();
                self.changed(call, ChangeKind::NewAnswer, about);
            }
            self.known.insert(key.clone());
        }
        let at = call.started_at;
        let seen = self.answers.entry(key).or_insert((at, at, 0));
        *seen = (seen.0.min(at), seen.1.max(at), seen.2 + 1);
    }

    fn session(&mut self, call: &Seen) {
        let state = &mut self.state;
        if GRANTING.contains(&call.service.as_str()) {
            if call.service == "login" && call.outcome == "useful" {
                state.login_at = Some(call.started_at.saturating_add(call.duration_ms));
                state.logins += 1;
            }
            return;
        }
        // A call that began before the last login was answered used the session before it.
        let age = state.login_at.map(|at| call.started_at - at).filter(|age| *age >= 0);
        match (call.outcome.as_str(), age) {
            ("useful" | "refused", Some(age)) => {
                state.longest_good_ms = state.longest_good_ms.max(Some(age));
            }
            ("session_refused", age) => {
                state.refused += 1;
                if let Some(age) = age {
                    let youngest = state.shortest_refused_ms.map_or(age, |known| known.min(age));
                    state.shortest_refused_ms = Some(youngest);
                }
            }
            _ => {}
        }
    }

    fn echo(&mut self, call: &Seen, echoed: &BTreeSet<String>, is_learnt: bool) {
        let at = call.started_at;
        self.is_echoed = true;
        for name in echoed {
            let key = (call.service.clone(), name.clone());
            if let Entry::Vacant(new) = self.fields.entry(key) {
                new.insert((at, at, Echoing::default()));
                if is_learnt {
                    self.changed(call, ChangeKind::NewField, name.clone());
                }
            }
        }
        let mut changes = Vec::new();
        for ((service, name), (_, last, echoing)) in &mut self.fields {
            if *service != call.service {
                continue;
            }
            let is_shown = echoed.contains(name);
            let (next, change) = echoing.after(is_shown);
            *echoing = next;
            if is_shown {
                *last = at.max(*last);
            }
            changes.extend(change.map(|change| (change, name.clone())));
        }
        for (change, name) in changes {
            let kind = match change {
                EchoChange::Gone => ChangeKind::FieldGone,
                EchoChange::Back => ChangeKind::FieldBack,
            };
            self.changed(call, kind, name);
        }
    }

    fn changed(&mut self, call: &Seen, kind: ChangeKind, about: String) {
        let at = Timestamp::from_millis(call.started_at);
        self.changes.push(ObservedChange { at, kind, service: call.service.clone(), about });
    }

    /// Statements and the rows that they take.
    fn rows(&self) -> [(&'static str, String); 4] {
        let answers: Vec<_> = self
            .answers
            .iter()
            .map(|((service, outcome, code, message), (first, last, n))| {
                (service, outcome, code, message, first, last, n)
            })
            .collect();
        let hours: Vec<_> = self
            .hours
            .iter()
            .map(|((service, hour), (n, total, slowest))| (service, hour, n, total, slowest))
            .collect();
        let fields: Vec<_> = self
            .fields
            .iter()
            .filter(|_| self.is_echoed)
            .map(|((service, name), (first, last, echoing))| {
                let Echoing { shown, asked, absent, is_gone } = echoing;
                (service, name, first, last, shown, asked, absent, u8::from(*is_gone))
            })
            .collect();
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|change| (change.at, change.kind.as_str(), &change.service, &change.about))
            .collect();
        [
            (KEEP_ANSWERS, json(&answers)),
            (KEEP_HOURS, json(&hours)),
            (KEEP_FIELDS, json(&fields)),
            (KEEP_CHANGES, json(&changes)),
        ]
    }
}

async fn state(readers: &SqlitePool) -> Result<State, LedgerError> {
    let row = sqlx::query(STATE).fetch_one(readers).await.map_err(|error| failed(DOING, error))?;
    let table = "observed_state";
    Ok(State {
        position: column(&row, table, "position", 1)?,
        calls: column(&row, table, "calls", 1)?,
        until: column(&row, table, "until", 1)?,
        login_at: column(&row, table, "login_at", 1)?,
        logins: column(&row, table, "logins", 1)?,
        longest_good_ms: column(&row, table, "longest_good_ms", 1)?,
        refused: column(&row, table, "refused", 1)?,
        shortest_refused_ms: column(&row, table, "shortest_refused_ms", 1)?,
    })
}

async fn next_calls(
    readers: &SqlitePool,
    state: &State,
    rows_max: u32,
) -> Result<Vec<Seen>, LedgerError> {
    // Retention may have taken every call; then their numbers begin anew.
    let last: i64 = sqlx::query_scalar(LAST_CALL)
        .fetch_one(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    let position = if last < state.position { 0 } else { state.position };
    let rows = sqlx::query(CALLS)
        .bind(position)
        .bind(i64::from(rows_max))
        .fetch_all(readers)
        .await
        .map_err(|error| failed(DOING, error))?;
    rows.iter().map(seen).collect()
}

fn seen(row: &SqliteRow) -> Result<Seen, LedgerError> {
    let id: i64 = column(row, "call", "id", 0)?;
    let code: Option<String> = column(row, "call", "error_code", id)?;
    Ok(Seen {
        id,
        service: column(row, "call", "service", id)?,
        started_at: column(row, "call", "started_at", id)?,
        duration_ms: column(row, "call", "duration_ms", id)?,
        is_answered: column::<Option<i64>>(row, "call", "http_status", id)?.is_some(),
        code: code.unwrap_or_default(),
        message: column(row, "call", "message", id)?,
        outcome: column(row, "call", "outcome", id)?,
        // One that cannot be read back says nothing.
        echoed: envelope(column(row, "call", "echoed", id)?, "call", "echoed", id)
            .unwrap_or_default(),
    })
}

async fn answers(readers: &SqlitePool) -> Result<Vec<ObservedAnswer>, LedgerError> {
    let table = "observed_answer";
    let one = |row: &SqliteRow| {
        Ok(ObservedAnswer {
            service: column(row, table, "service", 0)?,
            outcome: column(row, table, "outcome", 0)?,
            code: column(row, table, "code", 0)?,
            message: column(row, table, "message", 0)?,
            first_at: Timestamp::from_millis(column(row, table, "first_at", 0)?),
            last_at: Timestamp::from_millis(column(row, table, "last_at", 0)?),
            calls: unsigned(column(row, table, "n", 0)?),
        })
    };
    all(readers, ANSWERS).await?.iter().map(one).collect()
}

async fn hours(readers: &SqlitePool) -> Result<Vec<ObservedHour>, LedgerError> {
    let table = "observed_hour";
    let one = |row: &SqliteRow| {
        let calls = unsigned(column(row, table, "n", 0)?);
        Ok(ObservedHour {
            service: column(row, table, "service", 0)?,
            hour: column(row, table, "hour", 0)?,
            calls,
            mean_ms: unsigned(column(row, table, "total_ms", 0)?) / calls.max(1),
            slowest_ms: unsigned(column(row, table, "slowest_ms", 0)?),
        })
    };
    all(readers, HOURS).await?.iter().map(one).collect()
}

async fn fields(readers: &SqlitePool) -> Result<Vec<(ObservedField, Echoing)>, LedgerError> {
    let table = "observed_field";
    let one = |row: &SqliteRow| {
        let echoing = Echoing {
            shown: unsigned(column(row, table, "shown", 0)?),
            asked: unsigned(column(row, table, "asked", 0)?),
            absent: unsigned(column(row, table, "absent", 0)?),
            is_gone: column::<i64>(row, table, "is_gone", 0)? != 0,
        };
        let field = ObservedField {
            service: column(row, table, "service", 0)?,
            name: column(row, table, "name", 0)?,
            first_at: Timestamp::from_millis(column(row, table, "first_at", 0)?),
            last_at: Timestamp::from_millis(column(row, table, "last_at", 0)?),
            shown: echoing.shown,
            asked: echoing.asked,
            is_gone: echoing.is_gone,
        };
        Ok((field, echoing))
    };
    all(readers, FIELDS).await?.iter().map(one).collect()
}

async fn all(readers: &SqlitePool, statement: &'static str) -> Result<Vec<SqliteRow>, LedgerError> {
    sqlx::query(statement).fetch_all(readers).await.map_err(|error| failed(DOING, error))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    STATE,
    LAST_CALL,
    CALLS,
    ANSWERS,
    HOURS,
    FIELDS,
    CHANGES,
    KEEP_STATE,
    KEEP_ANSWERS,
    KEEP_HOURS,
    KEEP_FIELDS,
    KEEP_CHANGES,
    FORGET_CHANGES,
];
