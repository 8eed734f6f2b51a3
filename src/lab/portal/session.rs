//! Sessions: opaque, and over after a fixed time whatever happens in them.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

#[derive(Debug)]
pub(super) struct Sessions {
    lifetime: Duration,
    issued: BTreeMap<String, Duration>,
    pub(super) issued_total: u64,
}

impl Sessions {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { lifetime, issued: BTreeMap::new(), issued_total: 0 }
    }

    pub(super) fn issue(&mut self, rng: &mut Rng, now: Duration) -> String {
        let lifetime = self.lifetime;
        self.issued.retain(|_, issued| now < *issued + lifetime);
        self.issued_total += 1;
        let token = format!("{:016x}-{:08x}", rng.u64(..), self.issued_total);
        self.issued.insert(token.clone(), now);
        token
    }

    pub(super) fn is_valid(&self, token: &str, now: Duration) -> bool {
        self.issued.get(token).is_some_and(|issued| now < *issued + self.lifetime)
    }

    pub(super) fn end_all(&mut self) {
        self.issued.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_exactly_at_its_lifetime() {
        let mut sessions = Sessions::new(Duration::from_mins(10));
        let mut rng = Rng::with_seed(1);
        let token = sessions.issue(&mut rng, Duration::from_secs(5));
        assert!(sessions.is_valid(&token, Duration::from_millis(604_999)));
        assert!(!sessions.is_valid(&token, Duration::from_secs(605)));
        assert!(!sessions.is_valid("another", Duration::from_secs(5)));
        sessions.end_all();
        assert!(!sessions.is_valid(&token, Duration::from_secs(6)));
    }
}
