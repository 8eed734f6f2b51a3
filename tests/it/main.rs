//! One test binary: links once, shares its harness.

mod cli;
mod fuzz;
mod gate;
mod hostile;
mod kill;
mod layering;
mod ledger;
mod packaging;
mod simulation;
mod stories;
mod support;
