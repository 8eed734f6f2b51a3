//! One test binary: links once, shares its harness.

mod cli;
mod gate;
mod hostile;
mod layering;
mod ledger;
mod packaging;
mod simulation;
mod stories;
mod support;
