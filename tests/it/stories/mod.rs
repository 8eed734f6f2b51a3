//! The whole gateway against the laboratories, told part by part.

mod adopt;
mod catalogue;
mod causes;
mod certificates;
mod clocks;
mod doctor;
mod drops;
mod gate;
mod lost_answers;
mod map;
mod metrics;
mod monitoring;
mod observed;
mod operators;
mod poison;
mod pull;
mod push;
mod reconcile;
mod restart;
mod rules;
mod service;
mod silence;
mod soak;
mod watch;
mod ways;
mod years;
