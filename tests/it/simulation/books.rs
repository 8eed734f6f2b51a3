//! The ledger's file as somebody reads it who does not trust the ledger's code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::ledger::at_once;

/// What stands in the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    /// Dossier and fingerprint of every revision.
    pub(super) revisions: BTreeSet<(String, [u8; 32])>,
    pub(super) dossiers: BTreeMap<String, DossierRow>,
    pub(super) entries: Vec<EntryRow>,
    /// Steps by dossier and state.
    pub(super) steps: BTreeMap<(String, String), u64>,
    pub(super) audit_rows: u64,
    /// When books were closed last, and what they say.
    pub(super) closed_books_at: Option<i64>,
    pub(super) last_closed_text: String,
}

#[derive(Debug, Clone)]
pub(super) struct DossierRow {
    pub(super) packet_state: String,
    /// A call about it is out, or its outcome is unknown.
    pub(super) is_busy: bool,
}

#[derive(Debug, Clone)]
pub(super) struct EntryRow {
    pub(super) id: i64,
    pub(super) ma_ho_so: String,
    pub(super) state: String,
    pub(super) attempt: u64,
    pub(super) retries: u64,
    pub(super) superseded_by: Option<i64>,
    /// An attempt of it was answered with a success, or proven.
    pub(super) is_proven: bool,
    pub(super) failure_code: Option<String>,
}

/// A way into the file beside the ledger.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    conn: Mutex<Option<SqliteConnection>>,
}

impl Reader {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), conn: Mutex::new(None) }
    }

    /// Lets go of the file, so that another one can take its place.
    pub(super) fn close(&self) {
        let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(conn) = conn {
            at_once(conn.close()).expect("the end of reading");
        }
    }

    pub(super) fn read(&self) -> Books {
        let mut conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        at_once(async {
            if conn.is_none() {
                let options = SqliteConnectOptions::new().filename(&self.path).read_only(true);
                *conn = Some(options.connect().await.expect("the ledger's file"));
            }
            let conn = conn.as_mut().expect("a connection that was opened");
            read(conn).await.expect("the ledger's tables")
        })
    }
}

impl Books {
    /// Whether the newest word about a dossier stands before a person.
    pub(super) fn is_quarantined(&self, code: &str) -> bool {
        let newest = self.entries.iter().rfind(|entry| entry.ma_ho_so == code);
        newest.is_some_and(|entry| entry.state == "quarantined")
    }

    /// How the ledger stands to one dossier, in a line.
    pub(super) fn of(&self, code: &str) -> String {
        let entries: Vec<String> = self
            .entries
            .iter()
            .filter(|entry| entry.ma_ho_so == code)
            .map(|entry| {
                let why = entry.failure_code.as_deref().unwrap_or("-");
                format!("{} {} after {} attempts ({why})", entry.id, entry.state, entry.attempt)
            })
            .collect();
        let steps: Vec<String> = self
            .steps
            .iter()
            .filter(|((of, _), _)| of == code)
            .map(|((_, state), count)| format!("{count} {state}"))
            .collect();
        let packet = self.dossiers.get(code).map(|row| row.packet_state.as_str());
        format!(
            "packet {}; entries {}; steps {}",
            packet.unwrap_or("unknown"),
            entries.join(", "),
            steps.join(", ")
        )
    }

    /// Entries that are on their way without a person.
    pub(super) fn open(&self) -> impl Iterator<Item = &EntryRow> {
        self.entries.iter().filter(|entry| {
            matches!(entry.state.as_str(), "received" | "ready" | "leased" | "unconfirmed")
        })
    }
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

async fn read(conn: &mut SqliteConnection) -> sqlx::Result<Books> {
    let mut books = Books::default();
    let revisions =
        "SELECT d.ma_ho_so, r.fingerprint FROM revision r JOIN dossier d ON d.id = r.dossier_id";
    for row in sqlx::query(revisions).fetch_all(&mut *conn).await? {
        let fingerprint: Vec<u8> = row.get(1);
        books.revisions.insert((row.get(0), fingerprint.try_into().expect("32 bytes")));
    }
    let dossiers = "
        SELECT ma_ho_so, packet_state, lane_token IS NOT NULL, steps_lease_until IS NOT NULL FROM dossier";
    for row in sqlx::query(dossiers).fetch_all(&mut *conn).await? {
        books.dossiers.insert(
            row.get(0),
            DossierRow { packet_state: row.get(1), is_busy: row.get::<bool, _>(2) || row.get(3) },
        );
    }
    let entries = "
        SELECT e.id, d.ma_ho_so, e.state, e.attempt, e.retries, e.superseded_by,
               EXISTS (SELECT 1 FROM attempt a WHERE a.entry_id = e.id AND a.outcome IN ('accepted', 'proven')),
               e.failure_code
        FROM entry e JOIN dossier d ON d.id = e.dossier_id ORDER BY e.id";
    for row in sqlx::query(entries).fetch_all(&mut *conn).await? {
        books.entries.push(EntryRow {
            id: row.get(0),
            ma_ho_so: row.get(1),
            state: row.get(2),
            attempt: count(row.get(3)),
            retries: count(row.get(4)),
            superseded_by: row.get(5),
            is_proven: row.get(6),
            failure_code: row.get(7),
        });
    }
    let steps = "
        SELECT d.ma_ho_so, s.state, count(*) FROM step s JOIN dossier d ON d.id = s.dossier_id GROUP BY 1, 2";
    for row in sqlx::query(steps).fetch_all(&mut *conn).await? {
        books.steps.insert((row.get(0), row.get(1)), count(row.get(2)));
    }
    let audit = sqlx::query("SELECT count(*) FROM audit WHERE actor = 'operator'");
    books.audit_rows = count(audit.fetch_one(&mut *conn).await?.get(0));
    let closed = sqlx::query("SELECT max(ended_at) FROM reconciliation WHERE closed = 1");
    books.closed_books_at = closed.fetch_one(&mut *conn).await?.get(0);
    let last = sqlx::query("SELECT books FROM reconciliation ORDER BY id DESC LIMIT 1");
    if let Some(row) = last.fetch_optional(&mut *conn).await? {
        books.last_closed_text = row.get(0);
    }
    Ok(books)
}
