//! The integration suites, in one binary.

mod cli;
mod ledger;
