//! Words to the service manager (sd_notify(3)): one datagram each, to the socket that it named.
//!
//! Owns the protocol. Knows nothing of when something is true; without a socket it says nothing, so
//! a service that a person started by hand behaves the same. Nothing is read from the environment
//! here: the address is an argument.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The longest STATUS= that is sent; it is one line of `systemctl status`.
const STATUS_CHARS_MAX: usize = 300;

/// Says how the service is. What cannot be delivered is dropped: nobody waits for it, and the
/// service works without.
#[derive(Debug)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// `address` is the value of `NOTIFY_SOCKET`: a path, or `@name` in the abstract name space.
    /// `None`: nobody listens.
    pub fn open(address: Option<&str>) -> io::Result<Self> {
        let Some(address) = address else {
            return Ok(Self { to: None });
        };
        let to = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold the service.
        socket.set_nonblocking(true)?;
        Ok(Self { to: Some((socket, to)) })
    }

    /// Start-up, or a reload, is over.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// A reload begins; `since_boot` tells this one from the reloads before.
    pub fn reloading(&self, since_boot: Duration, status: &str) {
        let us = since_boot.as_micros();
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={us}\nSTATUS={}", one_line(status)));
    }

    pub fn stopping(&self, status: &str) {
        self.say(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={}", one_line(status)));
    }

    /// Everything that must move has moved.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, words: &str) {
        if let Some((socket, to)) = &self.to
            && let Err(error) = socket.send_to_addr(words.as_bytes(), to)
        {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_one_datagram_and_a_status_cannot_forge_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::open(path.to_str()).unwrap();
        notifier.ready("sending");
        notifier.reloading(Duration::from_micros(1_234_567), "reading");
        notifier.alive();
        notifier.status("one\nWATCHDOG=trigger");
        notifier.stopping("draining");
        let heard: Vec<String> = (0..5)
            .map(|_| {
                let mut bytes = [0; 512];
                let length = manager.recv(&mut bytes).unwrap();
                String::from_utf8(bytes[..length].to_vec()).unwrap()
            })
            .collect();
        assert_eq!(
            heard,
            [
                "READY=1\nSTATUS=sending",
                "RELOADING=1\nMONOTONIC_USEC=1234567\nSTATUS=reading",
                "WATCHDOG=1",
                "STATUS=one WATCHDOG=trigger",
                "STOPPING=1\nSTATUS=draining",
            ]
        );
    }

    #[test]
    fn without_a_listener_nothing_is_said_and_nothing_fails() {
        Notifier::open(None).unwrap().ready("sending");
        // Named, but nobody listens there any more.
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        Notifier::open(gone.to_str()).unwrap().alive();
        Notifier::open(Some("@hoso-test-nobody")).unwrap().alive();
        assert!(Notifier::open(Some(&"x".repeat(300))).is_err());
    }
}
