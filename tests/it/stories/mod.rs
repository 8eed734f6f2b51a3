//! The whole gateway against the laboratories, told part by part.

mod adopt;
mod catalogue;
mod certificates;
mod clocks;
mod drops;
mod gate;
mod lost_answers;
mod map;
mod mapping;
mod monitoring;
mod operators;
mod poison;
mod pull;
mod push;
mod restart;
mod rules;
mod service;
mod silence;
mod soak;
mod watch;
mod ways;
mod years;
