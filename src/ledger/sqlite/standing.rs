//! The whole ledger in numbers. What can be many is read from the tally that triggers keep (see
//! migration 12), the rest from partial indexes that hold few rows; so the answer takes no longer with
//! a million dossiers than with ten.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::super::LedgerError;
use super::super::record::Books;
use super::super::view::{Sending, SourceStanding, Standing};
use super::health::{OLDEST_OPEN, in_force, pause};
use super::view::time;
use super::{column, envelope, failed, unreadable};
use crate::domain::entry::EntryState;
use crate::domain::time::Timestamp;

const DOING: &str = "read for a person";

const TALLY: &str = "SELECT what, name, n FROM tally";

/// They stand among the ready ones in the tally; never more than leave in a moment.
const LEASED: &str = "
    SELECT count(*) FROM entry AS e INDEXED BY entry_leased CROSS JOIN dossier AS d ON d.newest_entry_id = e.id AND d.id = e.dossier_id
    WHERE e.state = 'leased' AND e.lease_expires_at IS NOT NULL";

const LEASED_STEPS: &str = "
    SELECT count(*) FROM dossier AS d INDEXED BY dossier_steps_leased CROSS JOIN step AS s ON s.dossier_id = d.id
    WHERE d.steps_lease_until IS NOT NULL AND s.state = 'leased'";

const HELD_STEPS: &str = "SELECT count(*) FROM step WHERE state = 'held'";

/// Dossiers that the tally calls through although one of their steps is held.
const HELD_THOUGH_THROUGH: &str = "
    SELECT count(DISTINCT d.id) FROM step AS s INDEXED BY step_held CROSS JOIN dossier AS d ON d.id = s.dossier_id
    CROSS JOIN entry AS e ON e.id = d.newest_entry_id
    WHERE s.state = 'held' AND d.packet_state = 'accepted' AND d.steps_pending = 0
      AND e.state IN ('accepted', 'unchanged')";

pub(super) const REFUSED_DOCUMENTS: &str =
    "SELECT count(*) FROM refused_document WHERE resolved_at IS NULL";

const DISCREPANCIES_BY_KIND: &str =
    "SELECT kind AS name, count(*) AS n FROM discrepancy WHERE resolved_at IS NULL GROUP BY kind";

/// Packets and lanes of steps, each outside the line and in it.
const DUE_NOW: &str = "
    SELECT (SELECT count(*) FROM (SELECT 1 FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
                WHERE e.state = 'ready' AND e.line = 0 AND e.priority IN (0, 1, 2, 3, 4) AND e.due_at <= ?1
                  AND d.lane_token IS NULL LIMIT +?2)),
           (SELECT count(*) FROM (SELECT 1 FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
                WHERE e.state = 'ready' AND e.line = 1 AND e.priority IN (0, 1, 2, 3, 4) AND e.due_at <= ?1
                  AND d.lane_token IS NULL LIMIT +?2)),
           (SELECT count(*) FROM (SELECT 1 FROM dossier
                WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL AND steps_line = 0
                  AND priority IN (0, 1, 2, 3, 4) AND steps_due_at <= ?1 LIMIT +?2)),
           (SELECT count(*) FROM (SELECT 1 FROM dossier
                WHERE steps_pending > 0 AND packet_state = 'accepted' AND lane_token IS NULL AND steps_line = 1
                  AND priority IN (0, 1, 2, 3, 4) AND steps_due_at <= ?1 LIMIT +?2))
    WHERE NOT EXISTS (SELECT 1 FROM sending_pause WHERE ended_at IS NULL AND scope = 'all'
                      AND (until IS NULL OR until > ?1))";

/// Nobody reads the number of what is due to the last digit.
const DUE_MAX: i64 = 1000;

const SOURCES: &str =
    "SELECT name, polled_at, caught_up_at, failing_since, failure FROM source ORDER BY name";

const LAST_BOOKS: &str = "
    SELECT id, books FROM reconciliation
    WHERE id IN (SELECT max(id) FROM reconciliation GROUP BY source) ORDER BY source";

pub(super) const GATE_OWNER: &str =
    "SELECT holder FROM singleton WHERE name = 'gate' AND expires_at > ?1";

const REREADING: &str = "SELECT source FROM restored WHERE over_at IS NULL ORDER BY source";

pub(super) async fn standing(
    readers: &SqlitePool,
    now: Timestamp,
) -> Result<Standing, LedgerError> {
    // One snapshot, so that the numbers agree with one another.
    let mut snapshot = readers.begin().await.map_err(|error| failed(DOING, error))?;
    let conn = &mut *snapshot;
    let tally = Tally::read(conn).await?;
    let (due_now, due_now_is_more) = due_now(conn, now).await?;
    let sending = who_sends(conn, now).await?;
    Ok(Standing {
        dossiers: tally.dossiers(conn).await?,
        synchronised: tally
            .of("through", "")
            .saturating_sub(count(conn, HELD_THOUGH_THROUGH).await?),
        superseded: tally.of("superseded", ""),
        steps: tally.steps(conn).await?,
        refused_documents: count(conn, REFUSED_DOCUMENTS).await?,
        open_discrepancies: counted(conn, DISCREPANCIES_BY_KIND).await?.into_iter().collect(),
        oldest_open_at: sqlx::query_scalar::<_, Option<i64>>(OLDEST_OPEN)
            .fetch_one(&mut *conn)
            .await
            .map_err(|error| failed(DOING, error))?
            .map(Timestamp::from_millis),
        due_now,
        due_now_is_more,
        sources: sources(conn).await?,
        last_books: last_books(conn).await?,
        gate_owner: sending.gate_owner,
        sending_pauses: sending.pauses,
        set_aside: super::line::set_aside(&mut *conn).await?,
        rereading: sqlx::query_scalar(REREADING)
            .fetch_all(&mut *conn)
            .await
            .map_err(|error| failed(DOING, error))?,
        in_force: in_force(conn).await?,
        pause: pause(conn).await?,
    })
}

pub(super) async fn sending(readers: &SqlitePool, now: Timestamp) -> Result<Sending, LedgerError> {
    let mut snapshot = readers.begin().await.map_err(|error| failed(DOING, error))?;
    who_sends(&mut snapshot, now).await
}

async fn who_sends(conn: &mut SqliteConnection, now: Timestamp) -> Result<Sending, LedgerError> {
    let pauses = super::pause::open(&mut *conn).await?;
    Ok(Sending {
        gate_owner: sqlx::query_scalar(GATE_OWNER)
            .bind(now.millis())
            .fetch_optional(conn)
            .await
            .map_err(|error| failed(DOING, error))?,
        pauses: pauses
            .into_iter()
            .filter(|pause| pause.until.is_none_or(|until| until > now))
            .collect(),
    })
}

/// What the triggers counted: what, name, how many.
struct Tally(Vec<(String, String, u64)>);

impl Tally {
    async fn read(conn: &mut SqliteConnection) -> Result<Self, LedgerError> {
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as(TALLY).fetch_all(conn).await.map_err(|error| failed(DOING, error))?;
        let counts = rows.into_iter().map(|(what, name, n)| (what, name, unsigned(n)));
        Ok(Self(counts.collect()))
    }

    fn all_of<'a>(&'a self, what: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        let rows = self.0.iter().filter(move |(of, ..)| of == what);
        rows.map(|(_, name, n)| (name.as_str(), *n))
    }

    fn of(&self, what: &str, name: &str) -> u64 {
        self.all_of(what).filter(|(of, _)| *of == name).map(|(_, n)| n).sum()
    }

    async fn dossiers(
        &self,
        conn: &mut SqliteConnection,
    ) -> Result<BTreeMap<EntryState, u64>, LedgerError> {
        let mut dossiers: BTreeMap<EntryState, u64> = BTreeMap::new();
        for (name, n) in self.all_of("dossiers") {
            // Upkeep sets an entry with an unreadable state aside; until then it counts as what it will be.
            let state = EntryState::parse(name).unwrap_or(EntryState::Quarantined);
            *dossiers.entry(state).or_default() += n;
        }
        let leased = count(conn, LEASED).await?;
        let ready = dossiers.entry(EntryState::Ready).or_default();
        *ready = ready.saturating_sub(leased);
        dossiers.insert(EntryState::Leased, leased);
        dossiers.retain(|_, n| *n > 0);
        Ok(dossiers)
    }

    async fn steps(
        &self,
        conn: &mut SqliteConnection,
    ) -> Result<BTreeMap<String, u64>, LedgerError> {
        let leased = count(conn, LEASED_STEPS).await?;
        let held = count(conn, HELD_STEPS).await?;
        let of = |name| self.of("steps", name);
        let (withdrawn, presumed) = (of("withdrawn"), of("presumed_sent"));
        let owed: u64 = self.all_of("owed").map(|(_, n)| n).sum();
        let steps = [
            ("pending", self.of("owed", "pending").saturating_sub(leased)),
            ("waiting", self.of("owed", "waiting")),
            ("awaiting", self.of("owed", "awaiting")),
            ("leased", leased),
            ("held", held),
            ("withdrawn", withdrawn),
            ("presumed_sent", presumed),
            ("acked", of("all").saturating_sub(owed + held + withdrawn + presumed)),
        ];
        let steps = steps.into_iter().filter(|(_, n)| *n > 0);
        Ok(steps.map(|(name, n)| (name.to_owned(), n)).collect())
    }
}

/// What may be sent at this moment, and whether there is more of it than was counted.
async fn due_now(conn: &mut SqliteConnection, now: Timestamp) -> Result<(u64, bool), LedgerError> {
    let row = sqlx::query(DUE_NOW)
        .bind(now.millis())
        .bind(DUE_MAX)
        .fetch_optional(conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    // No row: an operator has stopped all sending.
    let Some(row) = row else { return Ok((0, false)) };
    let (mut sum, mut is_more) = (0, false);
    for at in 0..row.len() {
        let n: i64 = row.try_get(at).map_err(|error| failed(DOING, error))?;
        sum += unsigned(n);
        is_more |= n == DUE_MAX;
    }
    Ok((sum, is_more))
}

async fn last_books(conn: &mut SqliteConnection) -> Result<Vec<Books>, LedgerError> {
    let mut last = Vec::new();
    for row in rows(conn, LAST_BOOKS).await? {
        let id: i64 = column(&row, "reconciliation", "id", 0)?;
        let text: String = column(&row, "reconciliation", "books", id)?;
        let books: Option<Books> =
            envelope(Some(text), "reconciliation", "books", id).unwrap_or_default();
        last.extend(books);
    }
    Ok(last)
}

pub(super) async fn sources(
    conn: &mut SqliteConnection,
) -> Result<Vec<SourceStanding>, LedgerError> {
    let mut sources = Vec::new();
    for row in rows(conn, SOURCES).await? {
        sources.push(SourceStanding {
            name: column(&row, "source", "name", 0)?,
            polled_at: time(&row, "source", "polled_at", 0)?,
            caught_up_at: time(&row, "source", "caught_up_at", 0)?,
            failing_since: time(&row, "source", "failing_since", 0)?,
            // One envelope that cannot be read must not hide all the numbers.
            failure: envelope(column(&row, "source", "failure", 0)?, "source", "failure", 0)
                .unwrap_or_else(|_| Some(unreadable("the stored failure cannot be read back"))),
        });
    }
    Ok(sources)
}

pub(super) async fn rows(
    conn: &mut SqliteConnection,
    statement: &'static str,
) -> Result<Vec<SqliteRow>, LedgerError> {
    sqlx::query(statement).fetch_all(conn).await.map_err(|error| failed(DOING, error))
}

async fn counted(
    conn: &mut SqliteConnection,
    statement: &'static str,
) -> Result<Vec<(String, u64)>, LedgerError> {
    rows(conn, statement)
        .await?
        .iter()
        .map(|row| Ok((column(row, "count", "name", 0)?, unsigned(column(row, "count", "n", 0)?))))
        .collect()
}

pub(super) async fn count(
    conn: &mut SqliteConnection,
    statement: &'static str,
) -> Result<u64, LedgerError> {
    let n: i64 = sqlx::query_scalar(statement)
        .fetch_one(conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    Ok(unsigned(n))
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// Every statement of this file; a test prepares them against the schema, and finds that none reads
/// a whole table.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    TALLY,
    LEASED,
    LEASED_STEPS,
    HELD_STEPS,
    HELD_THOUGH_THROUGH,
    REFUSED_DOCUMENTS,
    DISCREPANCIES_BY_KIND,
    DUE_NOW,
    SOURCES,
    LAST_BOOKS,
    GATE_OWNER,
    REREADING,
];
