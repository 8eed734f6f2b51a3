//! Transport profiles: how an operation becomes bytes on the way to the portal.
//!
//! Provinces reach the portal in different ways: straight through the NDXP/VXP adapter, through a
//! wrapper of the provincial integration platform (LGSP) that takes a bare array, or through an LGSP
//! with bearer tokens. The packets are the same; only the envelope and the address differ, and that
//! is all a profile knows. What an answer means is not its business.

mod adapter;

use std::fmt::Debug;

use bytes::Bytes;
use secrecy::SecretString;

pub use adapter::Adapter;

use super::call::Service;

/// What is asked of the portal. Packets are JSON objects, already serialised; they are sent as they
/// are.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    Login { username: &'a str, password: &'a SecretString },
    Dossiers { is_updating: bool, packets: &'a [&'a str] },
    Steps { packets: &'a [&'a str] },
    LookUp { ma_ho_so: &'a str },
    Catalogue(Catalogue<'a>),
}

/// Which catalogue is asked for. Only `Procedure` has a parameter; its service is called where
/// packets go, the lists where look-ups go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catalogue<'a> {
    Procedure { ma_tthc: &'a str },
    Procedures,
    Fields,
    Agencies,
}

impl Catalogue<'_> {
    pub const fn service(self) -> Service {
        match self {
            Self::Procedure { .. } => Service::Procedure,
            Self::Procedures => Service::Procedures,
            Self::Fields => Service::Fields,
            Self::Agencies => Service::Agencies,
        }
    }
}

impl<'a> Operation<'a> {
    pub fn service(&self) -> Service {
        match self {
            Self::Login { .. } => Service::Login,
            Self::Dossiers { .. } => Service::Dossiers,
            Self::Steps { .. } => Service::Steps,
            Self::LookUp { .. } => Service::LookUp,
            Self::Catalogue(catalogue) => catalogue.service(),
        }
    }

    /// What is sent about citizens; empty for logins, look-ups and catalogues.
    pub fn packets(&self) -> &'a [&'a str] {
        match self {
            Self::Dossiers { packets, .. } | Self::Steps { packets } => packets,
            Self::Login { .. } | Self::LookUp { .. } | Self::Catalogue(_) => &[],
        }
    }

    pub fn items(&self) -> u32 {
        match self {
            Self::Login { .. } | Self::Catalogue(_) => 0,
            Self::LookUp { .. } => 1,
            _ => u32::try_from(self.packets().len()).unwrap_or(u32::MAX),
        }
    }
}

/// A request ready for the socket. No `Debug`: the body holds personal data and secrets.
pub struct Formed {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// BLAKE3 of the body with its secrets emptied.
    pub body_hash: [u8; 32],
}

/// One way to the portal.
pub trait Profile: Debug + Send + Sync {
    /// Forms the request. `session` is empty for a login.
    fn form(&self, operation: &Operation<'_>, session: &str) -> Formed;
}
