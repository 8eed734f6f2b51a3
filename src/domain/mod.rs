//! Ground floor: plain types of the work. No async, no I/O, no "now".

pub mod time;
