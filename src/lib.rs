//! hoso-gateway: pulls dossiers from a province, maps them, pushes them to the national portal.

pub mod clock;
pub mod domain;
pub mod http;
pub mod ids;
pub mod lab;
