//! hoso-gateway: pulls dossiers from a province, maps them, pushes them to the national portal.

pub mod clock;
pub mod config;
pub mod domain;
pub mod http;
pub mod ids;
pub mod ledger;
pub mod mapping;
pub mod xml;
pub mod portal;
pub mod source;
pub mod lab;
