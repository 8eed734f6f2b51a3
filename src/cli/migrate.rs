//! `hoso migrate`: bring the ledger to the schema of this program.

use serde::Serialize;

use super::failure::Failure;
use super::{Invocation, build};
use crate::config::Config;
use crate::ledger::sqlite::{SqliteLedger, SqliteSettings};
use crate::ledger::{Ledger, LedgerError};

/// Apply the ledger's pending migrations
///
/// `hoso serve` applies them itself unless told --no-migrate. Keep a copy of the ledger before an
/// upgrade: an older program refuses a newer ledger.
///
/// Example: hoso migrate --check
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Only tell; exit code 6 if migrations are pending
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Serialize)]
struct Migration {
    pending: bool,
    applied: bool,
    /// Schema numbers; absent when nothing is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<i64>,
}

pub(super) async fn run(invocation: &Invocation, arguments: Arguments) -> Result<(), Failure> {
    let config = invocation.config()?;
    build::ledger_exists(&config)?;
    let steps = match open(&config, false).await? {
        Ok(()) => None,
        Err(LedgerError::Older { found, known }) => Some((found, known)),
        Err(error) => return Err(error.into()),
    };
    let apply = steps.is_some() && !arguments.check;
    if apply {
        open(&config, true).await??;
    }
    let migration = Migration {
        pending: steps.is_some() && !apply,
        applied: apply,
        from: steps.map(|(from, _)| from),
        to: steps.map(|(_, to)| to),
    };
    invocation.output.result(&migration, |migration| match (migration.from, migration.to) {
        (Some(from), Some(to)) if migration.applied => {
            format!("migrated from schema {from} to {to}")
        }
        (Some(from), Some(to)) => {
            format!("schema {from}, this program needs {to}: run `hoso migrate`")
        }
        _ => "nothing to do: the ledger has this program's schema".to_owned(),
    });
    if migration.pending { Err(Failure::findings()) } else { Ok(()) }
}

async fn open(config: &Config, migrate: bool) -> Result<Result<(), LedgerError>, Failure> {
    let settings = SqliteSettings { migrate, ..build::ledger_settings(config, false)? };
    match SqliteLedger::open(&config.ledger.path, &settings).await {
        Ok(ledger) => ledger.close().await,
        Err(error) => return Ok(Err(error)),
    }
    Ok(Ok(()))
}
