//! The national portal's side of the gateway: everything that is said to it and heard from it.
//!
//! Owns the wire (bodies, sessions, answers), what an answer means, and the gate through which every
//! single call passes. Refuses to know where dossiers come from, how they are stored and when they
//! are tried again: it is given packets that are already JSON and gives back a verdict and the list
//! of calls that were made for it.
//!
//! Start with [`client`] (the verbs) and [`profile`] (the ways there), then [`classify`] (the one function that decides what an
//! answer means) and [`gate`] (quota, priority, breaker).

pub mod answers;
pub mod call;
pub mod classify;
pub mod client;
pub mod codes;
pub mod gate;
mod grant;
pub mod profile;
mod redact;
mod wire;

pub use answers::{AnswerPatterns, AnswerPatternsError};
pub use call::{Call, CallOutcome, Exchange, LookUpVerdict, PushVerdict, Service};
pub use client::{Portal, PortalSettings, Tenure, Token};
pub use codes::CODES;
pub use gate::{
    BreakerSettings, Closed, Gate, GateError, GateSettings, GateStatus, MemoryFailure, NoMemory,
    Permit, QuotaMemory, Readiness, Signal, Window,
};
