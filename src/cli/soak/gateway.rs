//! The real gateway as a child process, killed and started again.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::cli::failure::{Exit, Failure};
use crate::clock::Clock;
use crate::machine;

/// Between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(50);

/// `hoso serve`, the same program as this one. Dies with its holder.
#[derive(Debug)]
pub(super) struct Gateway {
    config: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Gateway {
    /// Its log is appended to `gateway.log` in the folder.
    pub(super) fn start(config: &Path, folder: &Path) -> Result<Self, Failure> {
        let log = folder.join("gateway.log");
        let child = spawn(config, &log)?;
        Ok(Self { config: config.to_owned(), log, child })
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    pub(super) fn resident_bytes(&self) -> Option<u64> {
        machine::resident_bytes(self.child.id())
    }

    /// How it ended, if it did so by itself.
    pub(super) fn has_ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// As a power cut does it, and the next one begins.
    pub(super) fn kill_and_start(&mut self) -> Result<(), Failure> {
        self.kill();
        self.child = spawn(&self.config, &self.log)?;
        Ok(())
    }

    /// As a service manager does it; returns how it ended, and kills it if it does not within
    /// `patience`.
    pub(super) async fn end(&mut self, clock: &dyn Clock, patience: Duration) -> String {
        let began = clock.monotonic();
        // It may have ended by itself.
        let asked = machine::ask_to_end(self.child.id()).is_ok();
        while asked && clock.monotonic().saturating_sub(began) < patience {
            if let Some(how) = self.has_ended() {
                return how;
            }
            clock.sleep(LOOK).await;
        }
        self.kill();
        format!("it did not end within {} s and was killed", patience.as_secs())
    }

    fn kill(&mut self) {
        if self.child.kill().is_ok() {
            // A killed child is there to be waited for.
            self.child.wait().ok();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(config: &Path, log: &Path) -> Result<Child, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("the gateway cannot be started: {error}"))
    };
    let program = std::env::current_exe().map_err(failed)?;
    let log = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
    Command::new(program)
        .arg("--config")
        .arg(config)
        .arg("serve")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(failed)
}
