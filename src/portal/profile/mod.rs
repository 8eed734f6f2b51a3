//! Transport profiles: how an operation becomes bytes on the way to the portal.
//!
//! Provinces reach the portal in different ways: straight through the NDXP/VXP [`Adapter`], through a
//! [`Wrapper`] of the provincial integration platform (LGSP) that takes a bare array, or through an
//! LGSP with [`Bearer`] tokens. The packets are the same; address, envelope and what is shown to be
//! let in differ, and that is all a profile knows. It says in which form answers come
//! ([`AnswerForm`]); what an answer means is not its business, and neither is where tokens and
//! sessions come from.

mod adapter;
mod bearer;
#[cfg(test)]
mod tests;
mod wrapper;

use std::fmt::Debug;

use bytes::Bytes;
use secrecy::SecretString;

pub use adapter::Adapter;
pub use bearer::{Bearer, TokenBody, TokenRequest};
pub use wrapper::{SecretPlace, Wrapper};

use super::call::Service;
use crate::http::Method;

/// What is asked of the portal. Packets are JSON objects, already serialised; they are sent as they
/// are.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    Login { username: &'a str, password: &'a SecretString },
    Dossiers { is_updating: bool, packets: &'a [&'a str] },
    Steps { packets: &'a [&'a str] },
    LookUp { ma_ho_so: &'a str },
}

impl<'a> Operation<'a> {
    pub fn service(&self) -> Service {
        match self {
            Self::Login { .. } => Service::Login,
            Self::Dossiers { .. } => Service::Dossiers,
            Self::Steps { .. } => Service::Steps,
            Self::LookUp { .. } => Service::LookUp,
        }
    }

    /// What is sent about citizens; empty for logins and look-ups.
    pub fn packets(&self) -> &'a [&'a str] {
        match self {
            Self::Dossiers { packets, .. } | Self::Steps { packets } => packets,
            Self::Login { .. } | Self::LookUp { .. } => &[],
        }
    }

    pub fn items(&self) -> u32 {
        match self {
            Self::Login { .. } => 0,
            Self::LookUp { .. } => 1,
            _ => u32::try_from(self.packets().len()).unwrap_or(u32::MAX),
        }
    }
}

/// What a call shows to be let in. Empty: nothing.
#[derive(Clone, Copy, Default)]
pub struct Shown<'a> {
    /// The portal's session.
    pub session: &'a str,
    /// The integration platform's token or secret.
    pub token: &'a str,
}

/// A request ready for the socket. No `Debug`: headers and body hold personal data and secrets.
pub struct Formed {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// BLAKE3 of the body with its secrets emptied.
    pub body_hash: [u8; 32],
}

/// In which form answers come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerForm {
    /// The portal's own envelope, perhaps encoded twice.
    Portal,
    /// The same, but a text without any code may be a whole answer too.
    PortalOrText,
    /// The portal's envelope inside the platform's: `{code, status, correlationId, response}`.
    Platform,
}

/// One way to the portal.
pub trait Profile: Debug + Send + Sync {
    /// Forms the request.
    fn form(&self, operation: &Operation<'_>, shown: Shown<'_>) -> Formed;

    fn answers(&self) -> AnswerForm;

    /// Whether calls carry a session of the portal's, so that somebody has to log in first.
    fn has_sessions(&self) -> bool;
}
