//! One test binary: links once, shares its harness.

mod cli;
mod gate;
mod layering;
mod ledger;
mod stories;
mod support;
