//! One test binary: links once, shares its harness.

mod layering;
mod ledger;
mod stories;
mod support;
