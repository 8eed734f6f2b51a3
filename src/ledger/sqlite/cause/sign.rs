//! Signing what the triggers put down: which cause a row has.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::super::super::LedgerError;
use super::super::{UNREADABLE, column, envelope, failed, json, run, unreadable};
use crate::domain::codes::DossierCode;
use crate::domain::diagnostic::Diagnostic;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::signature::{Signature, Stage};
use crate::domain::time::Timestamp;

const DOING: &str = "group problems by cause";

/// What was written in the transaction under way.
const NEW: i64 = 1;
/// What is older than signatures.
const OLDER: i64 = 2;
/// Causes are counted by five minutes, for two days.
pub(super) const PART_MS: i64 = 5 * 60 * 1000;
const KEPT_MS: i64 = 48 * 3600 * 1000;
/// A code of which nothing more is known.
const OUT_OF_ATTEMPTS: &str = "push.out_of_attempts";

const UNSIGNED: &str = "
    SELECT p.what, p.of_row, p.part, p.kind, p.since, p.code, p.failure, p.diagnostics, p.ma_don_vi, s.name,
           (SELECT d.ma_ho_so FROM dossier AS d WHERE d.id = p.dossier_id) AS ma_ho_so,
           (SELECT e.state FROM entry AS e WHERE p.what = 'entry' AND e.id = p.of_row) AS state
    FROM problem AS p LEFT JOIN signature AS s ON s.id = p.signature_id
    WHERE p.unsigned = ?1 LIMIT ?2";

const KEEP_SIGNATURES: &str = "
    INSERT INTO signature (name, stage, code, message, field, refusal, first_seen, last_seen, total)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8
    FROM json_each(?1) WHERE true
    ON CONFLICT (name) DO UPDATE SET first_seen = min(first_seen, excluded.first_seen),
        last_seen = max(last_seen, excluded.last_seen), total = total + excluded.total, refusal = excluded.refusal";

/// A cause that changed counts from now on.
const SIGN: &str = "
    UPDATE problem SET signature_id = (SELECT s.id FROM signature AS s WHERE s.name = j.name),
           ma_don_vi = coalesce(problem.ma_don_vi, j.ma_don_vi),
           since = CASE WHEN j.changed = 1 THEN ?1 ELSE problem.since END,
           unsigned = NULL, code = NULL, failure = NULL, diagnostics = NULL
    FROM (SELECT value->>0 AS what, value->>1 AS of_row, value->>2 AS part, value->>3 AS name, value->>4 AS ma_don_vi,
                 value->>5 AS changed FROM json_each(?2)) AS j
    WHERE problem.what = j.what AND problem.of_row = j.of_row AND problem.part = j.part";

const COUNT: &str = "
    INSERT INTO signature_count (signature_id, began_at, n)
    SELECT (SELECT s.id FROM signature AS s WHERE s.name = j.value->>0), j.value->>1, j.value->>2
    FROM json_each(?1) AS j WHERE true
    ON CONFLICT (signature_id, began_at) DO UPDATE SET n = n + excluded.n";

const FORGET_COUNTS: &str = "DELETE FROM signature_count WHERE began_at < ?1";

/// Signs what this transaction has put down; whoever writes failures calls it before the commit.
pub(in super::super) async fn sign(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), LedgerError> {
    some(conn, now, NEW, -1).await.map(|_| ())
}

/// Signs some of what is older than signatures, and forgets counts of days ago.
pub(in super::super) async fn sign_older(
    conn: &mut SqliteConnection,
    now: Timestamp,
    limit: i64,
) -> Result<u64, LedgerError> {
    let query = sqlx::query(FORGET_COUNTS).bind(now.millis() - KEPT_MS);
    run(conn, DOING, query).await?;
    sign(conn, now).await?;
    some(conn, now, OLDER, limit).await
}

/// What a signature is kept with.
struct Seen {
    signature: Signature,
    refusal: bool,
    first: i64,
    last: i64,
    total: u64,
    /// By the beginning of their five minutes.
    counts: BTreeMap<i64, u64>,
}

async fn some(
    conn: &mut SqliteConnection,
    now: Timestamp,
    which: i64,
    limit: i64,
) -> Result<u64, LedgerError> {
    let rows = sqlx::query(UNSIGNED)
        .bind(which)
        .bind(limit)
        .fetch_all(&mut *conn)
        .await
        .map_err(|error| failed(DOING, error))?;
    if rows.is_empty() {
        return Ok(0);
    }
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let mut signed = Vec::with_capacity(rows.len());
    for row in &rows {
        let of_row: i64 = column(row, "problem", "of_row", 0)?;
        let (signature, refusal) = cause_of(row, of_row)?;
        let name = signature.name();
        let before: Option<String> = column(row, "signature", "name", of_row)?;
        let since: i64 = column(row, "problem", "since", of_row)?;
        let at = if which == OLDER { since } else { now.millis() };
        let is_new = before.as_ref() != Some(&name);
        let sum = seen.entry(name.clone()).or_insert_with(|| Seen {
            signature,
            refusal,
            first: at,
            last: at,
            total: 0,
            counts: BTreeMap::new(),
        });
        sum.first = sum.first.min(at);
        sum.last = sum.last.max(at);
        if is_new {
            sum.total += 1;
            if at >= now.millis() - KEPT_MS {
                *sum.counts.entry(at - at.rem_euclid(PART_MS)).or_default() += 1;
            }
        }
        let ma_ho_so: Option<String> = column(row, "dossier", "ma_ho_so", of_row)?;
        let agency = ma_ho_so
            .as_deref()
            .and_then(|code| DossierCode::parse(code).map(|code| code.agency.as_str().to_owned()));
        signed.push((
            column::<String>(row, "problem", "what", of_row)?,
            of_row,
            column::<String>(row, "problem", "part", of_row)?,
            name,
            agency,
            u8::from(is_new && before.is_some()),
        ));
    }
    let kept: Vec<_> = seen
        .iter()
        .map(|(name, seen)| {
            let Signature { stage, code, message, field } = &seen.signature;
            (
                name,
                stage.as_str(),
                code,
                message,
                field,
                u8::from(seen.refusal),
                seen.first,
                seen.last,
                seen.total,
            )
        })
        .collect();
    run(conn, DOING, sqlx::query(KEEP_SIGNATURES).bind(json(&kept))).await?;
    let query = sqlx::query(SIGN).bind(now.millis()).bind(json(&signed));
    run(conn, DOING, query).await?;
    let counts: Vec<_> = seen
        .iter()
        .flat_map(|(name, seen)| seen.counts.iter().map(move |(at, n)| (name, at, n)))
        .collect();
    run(conn, DOING, sqlx::query(COUNT).bind(json(&counts))).await?;
    Ok(rows.len() as u64)
}

/// The cause, and whether the portal refuses the data itself. Words that cannot be read back leave the
/// code.
fn cause_of(row: &SqliteRow, id: i64) -> Result<(Signature, bool), LedgerError> {
    let kind: String = column(row, "problem", "kind", id)?;
    let what: String = column(row, "problem", "what", id)?;
    let code: String = column::<Option<String>>(row, "problem", "code", id)?.unwrap_or_default();
    let words: Option<String> = column(row, "problem", "failure", id)?;
    if kind == "unreadable" {
        let reason = words.unwrap_or_default();
        return Ok((Signature::new(Stage::Source, &code, &reason, ""), false));
    }
    let failure: Option<Failure> = envelope(words, "problem", "failure", id)
        .unwrap_or_else(|_| Some(unreadable("the stored failure cannot be read back")));
    let findings: Option<Vec<Diagnostic>> =
        envelope(column(row, "problem", "diagnostics", id)?, "problem", "diagnostics", id)
            .unwrap_or_default();
    let stage = match (what.as_str(), kind.as_str()) {
        ("step" | "steps", _) => Stage::Steps,
        ("catalogue", _) => Stage::Catalogue,
        (_, "quarantined") => Stage::Map,
        _ => {
            let state: Option<String> = column(row, "entry", "state", id)?;
            let look_failed = state.as_deref() == Some("unconfirmed")
                && failure
                    .as_ref()
                    .is_some_and(|failure| failure.disposition != Disposition::Ambiguous);
            if look_failed { Stage::ReadBack } else { Stage::Push }
        }
    };
    let signature = match (&failure, findings) {
        (Some(failure), _) => {
            let mut signature = Signature::of_failure(stage, failure);
            if stage == Stage::Catalogue {
                signature.field = column(row, "problem", "part", id)?;
            }
            signature
        }
        (None, findings) if stage == Stage::Map => {
            Signature::of_findings(&code, &findings.unwrap_or_default())
        }
        (None, _) => Signature::new(stage, &code, "", ""),
    };
    let refusal = kind == "dead"
        && stage == Stage::Push
        && failure.is_some_and(|failure| {
            failure.disposition == Disposition::Data
                && failure.code != OUT_OF_ATTEMPTS
                && failure.code != UNREADABLE
        });
    Ok((signature, refusal))
}

#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[UNSIGNED, KEEP_SIGNATURES, SIGN, COUNT, FORGET_COUNTS];
