//! Ground floor: plain types of the work. No async, no I/O, no "now".
//!
//! Start with [`dossier`] (what the portal takes), [`entry`] (the obligation that one revision
//! creates, and its state machine) and [`failure`] (why something did not succeed).

pub mod adoption;
pub mod catalogue;
pub mod codes;
pub mod diagnostic;
pub mod difference;
pub mod discrepancy;
pub mod dossier;
pub mod entry;
pub mod failure;
pub mod lease;
pub mod masked;
pub mod masking;
pub mod priority;
pub mod receipt;
pub mod record;
pub mod retry;
pub mod share;
pub mod status;
pub mod step;
pub mod time;
pub mod working_time;
