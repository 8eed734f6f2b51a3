//! Everything that must hold in a ledger, looked at row by row: pages, references, lanes, bodies.

use sqlx::sqlite::SqliteConnection;

use super::super::LedgerError;
use super::super::body::{Bodies, Row};
use super::super::record::Finding;
use super::pull::refused_row;
use super::{SqliteLedger, catalogue, failed};

const DOING: &str = "check the ledger";

/// Examples that are told of one finding.
const EXAMPLES: usize = 5;

const INTEGRITY: &str = "PRAGMA integrity_check(20)";
const REFERENCES: &str = "SELECT \"table\", rowid FROM pragma_foreign_key_check LIMIT 100";

/// What must not be there, and a query that names it.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "dossiers whose newest entry is not there or is another dossier's",
        "SELECT d.ma_ho_so FROM dossier AS d LEFT JOIN entry AS e ON e.id = d.newest_entry_id
         WHERE d.newest_entry_id IS NOT NULL AND e.dossier_id IS NOT d.id",
    ),
    (
        "dossiers whose newest revision is not there or is another dossier's",
        "SELECT d.ma_ho_so FROM dossier AS d LEFT JOIN revision AS r ON r.id = d.newest_revision_id
         WHERE d.newest_revision_id IS NOT NULL AND r.dossier_id IS NOT d.id",
    ),
    (
        "entries in a state that does not exist",
        "SELECT d.ma_ho_so FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
         WHERE e.state NOT IN ('received', 'quarantined', 'not_ours', 'unchanged', 'ready', 'leased', 'unconfirmed',
                               'accepted', 'dead', 'superseded', 'awaiting', 'presumed')",
    ),
    (
        "entries with details that cannot be read back",
        "SELECT d.ma_ho_so FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
         WHERE NOT json_valid(e.failure) OR NOT json_valid(e.diagnostics) OR NOT json_valid(e.receipt)",
    ),
    (
        "unmapped entries without a document",
        "SELECT d.ma_ho_so FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
         WHERE e.state = 'received' AND NOT EXISTS (SELECT 1 FROM document AS o WHERE o.revision_id = e.revision_id)",
    ),
    (
        "entries on their way without a packet",
        "SELECT d.ma_ho_so FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
         WHERE e.state IN ('ready', 'awaiting', 'leased', 'unconfirmed')
           AND NOT EXISTS (SELECT 1 FROM packet AS p WHERE p.entry_id = e.id)",
    ),
    (
        "lanes that are taken though nothing is out",
        "SELECT d.ma_ho_so FROM dossier AS d WHERE d.lane_token IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM entry AS e WHERE e.dossier_id = d.id AND e.state IN ('leased', 'unconfirmed'))
           AND NOT EXISTS (SELECT 1 FROM step AS s WHERE s.dossier_id = d.id AND s.state = 'leased')",
    ),
    (
        "packets that are out though their lane is free",
        "SELECT d.ma_ho_so FROM entry AS e JOIN dossier AS d ON d.id = e.dossier_id
         WHERE e.state IN ('leased', 'unconfirmed') AND d.lane_token IS NULL",
    ),
    (
        "dossiers with another number of open steps than is counted",
        "SELECT d.ma_ho_so FROM dossier AS d WHERE d.steps_pending
           <> (SELECT count(*) FROM step AS s WHERE s.dossier_id = d.id AND s.state IN ('pending', 'leased'))",
    ),
    (
        "tallies that differ from what they count",
        "SELECT trim(what || ' ' || name) FROM (
             SELECT what, name, n FROM tally UNION ALL SELECT what, name, -n FROM counted_anew)
         GROUP BY what, name HAVING sum(n) <> 0",
    ),
    (
        "attempts that no dossier's history shows",
        "SELECT lost || ' of them' FROM (
             SELECT (SELECT count(*) FROM attempt WHERE previous_id IS NOT NULL)
                  - (SELECT coalesce(sum((
                         WITH RECURSIVE chain (id, previous_id) AS (
                             SELECT id, previous_id FROM attempt WHERE id = d.last_attempt_id AND dossier_id = d.id
                             UNION ALL
                             SELECT a.id, a.previous_id FROM chain AS c CROSS JOIN attempt AS a ON a.id = c.previous_id
                             WHERE a.dossier_id = d.id AND a.id < c.id)
                         SELECT count(*) FROM chain WHERE previous_id IS NOT NULL)), 0)
                     FROM dossier AS d) AS lost)
         WHERE lost <> 0",
    ),
    (
        "five minutes of calls that differ from their tally",
        "SELECT slice FROM (
             SELECT slice, calls FROM call_tally WHERE slice >= (SELECT at FROM call_tally_since)
             UNION ALL
             SELECT started_at / 300000 * 300000, -1 FROM call WHERE started_at >= (SELECT at FROM call_tally_since))
         WHERE slice >= (SELECT min(started_at) FROM call) GROUP BY slice HAVING sum(calls) <> 0",
    ),
    (
        "steps that are owed and have nothing to send",
        "SELECT d.ma_ho_so FROM step AS s JOIN dossier AS d ON d.id = s.dossier_id
         WHERE s.state IN ('pending', 'leased') AND NOT EXISTS (SELECT 1 FROM step_body AS b WHERE b.id = s.body_id)",
    ),
];

const DOCUMENTS: &str = "SELECT revision_id, body, x'' FROM document WHERE revision_id > ?1 ORDER BY revision_id LIMIT 200";
const PACKETS: &str =
    "SELECT entry_id, body, x'' FROM packet WHERE entry_id > ?1 ORDER BY entry_id LIMIT 200";
const STEP_BODIES: &str = "SELECT id, body, x'' FROM step_body WHERE id > ?1 ORDER BY id LIMIT 200";
const EVIDENCE: &str = "
    SELECT id, body, hash FROM refused_document WHERE body IS NOT NULL AND id > ?1 ORDER BY id LIMIT 200";

const CATALOGUE_BODIES: &str = "
    SELECT version_id, body FROM catalogue_body WHERE version_id > ?1 ORDER BY version_id LIMIT 20";

const BODIES: [(&str, &str); 4] = [
    ("document", DOCUMENTS),
    ("packet", PACKETS),
    ("step_body", STEP_BODIES),
    ("refused_document", EVIDENCE),
];

impl SqliteLedger {
    /// Reads every page and every body beside a running service; changes nothing.
    pub async fn check(&self) -> Result<Vec<Finding>, LedgerError> {
        let mut conn = self.readers.acquire().await.map_err(|error| failed(DOING, error))?;
        findings(&mut conn, Some(&self.bodies)).await
    }
}

/// What is wrong. Without `bodies` their content is not read.
pub(super) async fn findings(
    conn: &mut SqliteConnection,
    bodies: Option<&Bodies>,
) -> Result<Vec<Finding>, LedgerError> {
    let mut found = Vec::new();
    let pages: Vec<String> = sqlx::query_scalar(INTEGRITY)
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    if pages != ["ok"] {
        found.push(finding("damage in the file's pages", pages));
    }
    let references: Vec<(String, Option<i64>)> = sqlx::query_as(REFERENCES)
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    let shown: Vec<String> = references
        .into_iter()
        .map(|(table, row)| format!("{table} {}", row.unwrap_or_default()))
        .collect();
    found.push(finding("rows that point to a row that is not there", shown));
    for (what, query) in INVARIANTS {
        let codes: Vec<String> = sqlx::query_scalar(*query)
            .fetch_all(&mut *conn)
            .await
            .map_err(|error| failed(DOING, error))?;
        found.push(finding(what, codes));
    }
    if let Some(bodies) = bodies {
        for (table, query) in BODIES {
            found.push(unreadable_bodies(conn, bodies, table, query).await?);
        }
        found.push(unreadable_catalogues(conn).await?);
    }
    found.retain(|finding| finding.count > 0);
    Ok(found)
}

/// What the portal's catalogues hold is public, so never sealed; its lists are written as one.
async fn unreadable_catalogues(conn: &mut SqliteConnection) -> Result<Finding, LedgerError> {
    let mut after = 0;
    let mut wrong = Vec::new();
    loop {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(CATALOGUE_BODIES)
            .bind(after)
            .fetch_all(&mut *conn)
            .await
            .map_err(|error| failed(DOING, error))?;
        let Some((last, _)) = rows.last() else {
            return Ok(finding("catalogue lists that cannot be read back", wrong));
        };
        after = *last;
        let unreadable = rows.iter().filter(|(id, body)| catalogue::read(*id, body).is_err());
        wrong.extend(unreadable.map(|(id, _)| format!("catalogue version {id}")));
    }
}

async fn unreadable_bodies(
    conn: &mut SqliteConnection,
    bodies: &Bodies,
    table: &'static str,
    query: &'static str,
) -> Result<Finding, LedgerError> {
    let mut after = i64::MIN;
    let mut wrong = Vec::new();
    loop {
        let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(query)
            .bind(after)
            .fetch_all(&mut *conn)
            .await
            .map_err(|error| failed(DOING, error))?;
        let Some((last, ..)) = rows.last() else {
            return Ok(finding("bodies that cannot be read back", wrong));
        };
        after = *last;
        for (id, body, hash) in &rows {
            let row = if hash.is_empty() { Row::of(table, *id) } else { refused_row(hash) };
            match bodies.read_bytes(row, body) {
                Ok(_) => {}
                Err(LedgerError::Corrupt { .. }) => wrong.push(format!("{table} {id}")),
                Err(error) => return Err(error),
            }
        }
    }
}

fn finding(what: &str, mut examples: Vec<String>) -> Finding {
    let count = examples.len() as u64;
    examples.truncate(EXAMPLES);
    Finding { what: what.to_owned(), count, examples }
}

/// Every statement of this file; a test prepares them against the schema. They read whole tables.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let own = [INTEGRITY, REFERENCES, DOCUMENTS, PACKETS, STEP_BODIES, EVIDENCE, CATALOGUE_BODIES];
    own.into_iter().chain(INVARIANTS.iter().map(|(_, query)| *query)).collect()
}
