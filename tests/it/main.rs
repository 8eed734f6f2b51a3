//! One test binary: links once, shares its harness.

mod layering;
mod stories;
mod support;
