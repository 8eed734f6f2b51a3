//! The only source of chance: jitter, tokens, sampling, and what nobody may guess.
//!
//! [`Chance`] is seeded, so a test that names its seed repeats exactly; keys and nonces never are.

use std::fmt::{Debug, Formatter};
use std::sync::{Mutex, PoisonError};

/// Random numbers for one context. Not for secrets.
pub struct Chance {
    rng: Mutex<fastrand::Rng>,
}

impl Chance {
    /// The same seed draws the same numbers.
    pub fn seeded(seed: u64) -> Self {
        Self { rng: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    /// Seeded by the operating system.
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the system's entropy")]
    pub fn from_system() -> Self {
        Self { rng: Mutex::new(fastrand::Rng::new()) }
    }

    /// A number that identifies a lease or a process; never zero.
    pub fn token(&self) -> i64 {
        self.with(|rng| rng.i64(1..i64::MAX))
    }

    /// A fraction in `0.0..1.0`, for jitter.
    pub fn fraction(&self) -> f64 {
        self.with(fastrand::Rng::f64)
    }

    fn with<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Bytes that nobody can guess, from the operating system: for keys and nonces.
pub fn unguessable<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

impl Debug for Chance {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance")
    }
}
