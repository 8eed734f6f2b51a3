//! The whole gateway against the laboratories, told part by part.

mod gate;
mod lost_answers;
mod map;
mod operators;
mod pull;
mod push;
mod restart;
mod silence;
