//! A claim on work that ends by itself.

use super::time::Timestamp;

/// Who works on something, and until when. The token fences late writers: a settlement with
/// another token changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub token: i64,
    pub expires_at: Timestamp,
}

impl Lease {
    /// Half-open: at `expires_at` itself the lease is over.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}
