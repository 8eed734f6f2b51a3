//! Keys under which bodies are sealed.
//!
//! A key is 32 bytes from the operating system's generator. The ledger never holds one: it holds
//! its id, which stands in front of every body, and a check value, which tells a wrong key before
//! anything is read or written with it.

use std::fmt::{Debug, Formatter};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use crate::ids;

pub(super) const ID_BYTES: usize = 8;
pub(super) const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;

/// One key. Shown, it tells its id only.
#[derive(Clone)]
pub struct BodyKey {
    id: [u8; ID_BYTES],
    check_value: [u8; 32],
    cipher: XChaCha20Poly1305,
}

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 64 hexadecimal digits")]
pub struct NoKey;

impl BodyKey {
    /// Reads what [`BodyKey::new_text`] made.
    pub fn from_text(text: &str) -> Result<Self, NoKey> {
        let digits = text.trim().as_bytes();
        if digits.len() != 2 * KEY_BYTES {
            return Err(NoKey);
        }
        let mut key = [0; KEY_BYTES];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16).ok_or(NoKey)?;
            let low = char::from(pair[1]).to_digit(16).ok_or(NoKey)?;
            *byte = u8::try_from(high * 16 + low).map_err(|_| NoKey)?;
        }
        let check_value = blake3::derive_key("hoso-gateway ledger body key, check value 1", &key);
        let name = blake3::derive_key("hoso-gateway ledger body key, id 1", &key);
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&name[..ID_BYTES]);
        Ok(Self { id, check_value, cipher: XChaCha20Poly1305::new(&key.into()) })
    }

    /// A new key as the text that a key file holds.
    pub fn new_text() -> std::io::Result<String> {
        let key: [u8; KEY_BYTES] = ids::unguessable()?;
        Ok(blake3::Hash::from_bytes(key).to_hex().to_string())
    }

    /// Names the key in the ledger and in messages; says nothing about it.
    pub fn id(&self) -> String {
        shown(&self.id)
    }

    pub(super) const fn id_bytes(&self) -> &[u8; ID_BYTES] {
        &self.id
    }

    pub(super) const fn check_value(&self) -> &[u8; 32] {
        &self.check_value
    }

    /// Nonce, then what only this key opens; `row` must be the same when it is opened.
    pub(super) fn seal(&self, row: &[u8], plain: &[u8]) -> std::io::Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = ids::unguessable()?;
        let payload = Payload { msg: plain, aad: row };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| std::io::Error::other("a body is too large to be sealed"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// `None` when a bit was changed, or the body is another row's, or another key's.
    pub(super) fn open(&self, row: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: row };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()
    }
}

pub(super) fn shown(id: &[u8]) -> String {
    use std::fmt::Write as _;
    id.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

impl Debug for BodyKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "BodyKey({})", self.id())
    }
}

/// Why a ledger and the configured keys do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyTrouble {
    #[error("the bodies in this ledger are sealed under key {id}, and no key is configured")]
    Missing { id: String },
    #[error("the bodies in this ledger are sealed under key {id}; the configured key is {given}")]
    Wrong { id: String, given: String },
    #[error("this ledger still has bodies under the older key {id}")]
    OlderMissing { id: String },
    #[error("the configured key {given} is not in use yet: this ledger still writes {in_use}")]
    NotAdopted { given: String, in_use: String },
    #[error("another process has put this ledger under key {id} since this one started")]
    Changed { id: String },
}

impl KeyTrouble {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "ledger.key_missing",
            Self::Wrong { .. } => "ledger.key_wrong",
            Self::OlderMissing { .. } => "ledger.key_older_missing",
            Self::NotAdopted { .. } => "ledger.key_not_adopted",
            Self::Changed { .. } => "ledger.key_changed",
        }
    }

    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "name the key's file in `ledger.key_file` (or set HOSO_LEDGER_KEY, or pass the \
                 systemd credential ledger-key); without that key the bodies cannot be read by anybody"
            }
            Self::Wrong { .. } => {
                "configure the key with the id that the ledger names; if a new key is meant to \
                 replace it, name the old one's file in `ledger.old_key_file`"
            }
            Self::OlderMissing { .. } => {
                "name its file in `ledger.old_key_file` until `hoso ledger rotate-key` says that \
                 nothing is left under it"
            }
            Self::NotAdopted { .. } => {
                "start the service with this configuration, or run `hoso ledger rotate-key`"
            }
            Self::Changed { .. } => {
                "start this process again with the configuration that names the new key"
            }
        }
    }
}
