//! The whole gateway against the laboratories, told part by part.

mod certificates;
mod drops;
mod gate;
mod lost_answers;
mod map;
mod operators;
mod poison;
mod pull;
mod push;
mod restart;
mod rules;
mod silence;
mod ways;
mod years;
