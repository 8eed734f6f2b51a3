//! What every statement of this backend shares: how rows go in, how they come out, and what a failure
//! of SQLite's means.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Row as _, Sqlite, Transaction};

use super::super::LedgerError;
use super::super::record::Hash;
use crate::domain::failure::{Disposition, Failure};
use crate::domain::step::StepIdentity;

pub(super) async fn finish(
    tx: Transaction<'_, Sqlite>,
    doing: &'static str,
) -> Result<(), LedgerError> {
    tx.commit().await.map_err(|error| failed(doing, error))
}

/// Runs a statement and returns how many rows it changed.
pub(super) async fn run(
    conn: &mut SqliteConnection,
    doing: &'static str,
    query: sqlx::query::Query<'_, Sqlite, sqlx::sqlite::SqliteArguments>,
) -> Result<u64, LedgerError> {
    let done = query.execute(conn).await.map_err(|error| failed(doing, error))?;
    Ok(done.rows_affected())
}

/// Rows as one JSON parameter.
pub(super) fn json<T: serde::Serialize>(rows: &[T]) -> String {
    // Unwrap safety: tuples of numbers and strings always serialise.
    serde_json::to_string(rows).expect("plain rows serialise")
}

pub(super) fn json_one<T: serde::Serialize>(value: &T) -> String {
    // Unwrap safety: envelopes hold only strings, numbers and lists of them.
    serde_json::to_string(value).expect("an envelope serialises")
}

pub(super) fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// dossier, time, status, ordinal
pub(super) type StepKey<'a> = (i64, &'a str, &'a str, u32);

/// A step's key as the statements take it.
pub(super) fn step_key(dossier_id: i64, identity: &StepIdentity) -> StepKey<'_> {
    (dossier_id, &identity.thoi_diem_xu_ly, &identity.trang_thai, identity.ordinal)
}

/// A column that the schema promises; anything else is corruption, reported with its row.
pub(super) fn column<'r, T>(
    row: &'r sqlx::sqlite::SqliteRow,
    table: &'static str,
    name: &'static str,
    id: i64,
) -> Result<T, LedgerError>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(name).map_err(|_| LedgerError::Corrupt { table, column: name, row: id })
}

pub(super) fn envelope<T: serde::de::DeserializeOwned>(
    text: Option<String>,
    table: &'static str,
    name: &'static str,
    id: i64,
) -> Result<Option<T>, LedgerError> {
    text.map(|text| {
        serde_json::from_str(&text).map_err(|_| LedgerError::Corrupt {
            table,
            column: name,
            row: id,
        })
    })
    .transpose()
}

/// The code of what is stored and cannot be read back.
pub(super) const UNREADABLE: &str = "ledger.corrupt";

/// The failure of work whose stored bytes cannot be read back.
pub(super) fn unreadable(message: &'static str) -> Failure {
    Failure::new(UNREADABLE, Disposition::Data, message)
}

pub(super) fn failed(doing: &'static str, error: sqlx::Error) -> LedgerError {
    match primary_code(&error) {
        Some(13) => LedgerError::Full,
        Some(8) => LedgerError::ReadOnly { path: "the ledger file".to_owned() },
        Some(11 | 26) => {
            LedgerError::Damaged { path: "the ledger file".to_owned(), finding: error.to_string() }
        }
        Some(19) => LedgerError::Conflict(format!("{doing}: {error}")),
        _ => LedgerError::Unavailable { doing, source: error.into() },
    }
}

/// SQLite's primary result code, from the extended one.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i64>().ok().map(|code| code & 0xff)
}
