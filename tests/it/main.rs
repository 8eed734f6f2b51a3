//! The integration suites, in one binary.

mod ledger;
