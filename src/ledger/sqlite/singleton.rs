//! Work that one process does at a time: a leased row, and beside it a lock that the system takes
//! away from a process that died.
//!
//! The lease alone decides about a process that is frozen, or on a file system without locks. The
//! lock only shortens the wait: if the row says that its holder has the lock, and the lock is free,
//! the holder is dead, and nobody has to wait for the lease.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::super::LedgerError;
use super::{column, failed, run};
use crate::domain::lease::Lease;
use crate::domain::time::Timestamp;

/// The locks of this process, by singleton; the number is the token of its lease.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: Mutex<BTreeMap<String, (i64, File)>>,
}

impl Locks {
    /// Whether the lock is ours now. A folder that cannot be written has no locks.
    fn take(&self, ledger: &Path, name: &str, token: i64) -> bool {
        if self.has(name, token) {
            return true;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Opened anew each time: a lock belongs to what was opened, so that two leases in one
        // process exclude each other too.
        let opened =
            File::options().create(true).truncate(false).write(true).open(file(ledger, name));
        match opened {
            Ok(file) if file.try_lock().is_ok() => {
                held.insert(name.to_owned(), (token, file));
                true
            }
            _ => false,
        }
    }

    /// Whether this lease has the lock.
    fn has(&self, name: &str, token: i64) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(name).is_some_and(|(owner, _)| *owner == token)
    }

    fn give_back(&self, name: &str, token: i64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(name).is_some_and(|(owner, _)| *owner == token) {
            held.remove(name);
        }
    }

    pub(super) fn give_back_all(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Whether nobody has the lock: who said that it has it is dead.
pub(super) fn lock_is_free(ledger: &Path, name: &str) -> bool {
    File::open(file(ledger, name)).is_ok_and(|file| file.try_lock().is_ok())
}

fn file(ledger: &Path, name: &str) -> PathBuf {
    let mut path = ledger.as_os_str().to_owned();
    path.push(format!("-{name}.lock"));
    path.into()
}

const HOLDER: &str = "SELECT holder, token, expires_at, locked FROM singleton WHERE name = ?1";

const TAKE: &str = "
    INSERT INTO singleton (name, holder, token, expires_at, locked) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, token = excluded.token,
        expires_at = excluded.expires_at, locked = excluded.locked";

const RENEW: &str =
    "UPDATE singleton SET expires_at = ?1 WHERE name = ?2 AND token = ?3 AND locked = 1";

/// Lengthens a lease whose lock is ours, which is every few seconds of a service's life: one statement
/// without a transaction. `false`: [`hold_singleton`] has to say how it stands.
pub(super) async fn renew(
    writer: &SqlitePool,
    locks: &Locks,
    name: &str,
    lease: Lease,
) -> Result<bool, LedgerError> {
    if !locks.has(name, lease.token) {
        return Ok(false);
    }
    let renewed = sqlx::query(RENEW)
        .bind(lease.expires_at.millis())
        .bind(name.to_owned())
        .bind(lease.token)
        .execute(writer)
        .await
        .map_err(|error| failed("hold a singleton", error))?;
    Ok(renewed.rows_affected() == 1)
}

pub(super) async fn hold_singleton(
    conn: &mut SqliteConnection,
    (locks, ledger): (&Locks, &Path),
    now: Timestamp,
    name: &str,
    holder: &str,
    lease: Lease,
) -> Result<Option<String>, LedgerError> {
    let doing = "hold a singleton";
    let row = sqlx::query(HOLDER)
        .bind(name.to_owned())
        .fetch_optional(&mut *conn)
        .await
        .map_err(|error| failed(doing, error))?;
    let has_lock = locks.take(ledger, name, lease.token);
    if let Some(row) = row {
        let current = Lease {
            token: column(&row, "singleton", "token", 0)?,
            expires_at: Timestamp::from_millis(column(&row, "singleton", "expires_at", 0)?),
        };
        let is_dead = has_lock && column::<bool>(&row, "singleton", "locked", 0)?;
        if current.token != lease.token && current.is_live(now) && !is_dead {
            locks.give_back(name, lease.token);
            return Ok(Some(column(&row, "singleton", "holder", 0)?));
        }
    }
    let query = sqlx::query(TAKE)
        .bind(name.to_owned())
        .bind(holder.to_owned())
        .bind(lease.token)
        .bind(lease.expires_at.millis())
        .bind(has_lock);
    run(conn, doing, query).await?;
    Ok(None)
}

const RELEASE: &str = "DELETE FROM singleton WHERE name = ?1 AND token = ?2";

pub(super) async fn release_singleton(
    conn: &mut SqliteConnection,
    locks: &Locks,
    name: &str,
    token: i64,
) -> Result<(), LedgerError> {
    let query = sqlx::query(RELEASE).bind(name.to_owned()).bind(token);
    run(conn, "release a singleton", query).await?;
    locks.give_back(name, token);
    Ok(())
}

/// Every statement of this file; a test prepares them against the schema.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[HOLDER, RENEW, TAKE, RELEASE];
