//! The real program as a child process, between laboratories in this one.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hoso_gateway::clock::{Clock, SystemClock};
use hoso_gateway::lab::digest::{Comparison, compare};
use hoso_gateway::lab::portal::{LabPortal, PortalOptions};
use hoso_gateway::lab::province::{Province, ProvinceOptions};
use hoso_gateway::ledger::Ledger;
use hoso_gateway::ledger::view::{Problem, Standing};
use tempfile::TempDir;

/// Between two looks at a state.
const LOOK: Duration = Duration::from_millis(40);
/// Longer than any state takes on a machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(2);

/// Two laboratories, a configuration file, and a ledger that outlives the processes.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) province: Province,
    pub(crate) portal: LabPortal,
    clock: Arc<SystemClock>,
    folder: TempDir,
    ledger: Option<Arc<dyn Ledger>>,
    processes: u32,
}

impl Site {
    /// `settings` is TOML that follows the sections which every site has.
    pub(crate) async fn open(
        province: ProvinceOptions,
        portal: PortalOptions,
        settings: &str,
    ) -> Self {
        Self::open_with(province, portal, None, settings).await
    }

    /// With this instead of the address of the feed in the source's block.
    pub(crate) async fn open_with(
        province: ProvinceOptions,
        portal: PortalOptions,
        source: Option<&str>,
        settings: &str,
    ) -> Self {
        let clock = Arc::new(SystemClock::new());
        let time: Arc<dyn Clock> = clock.clone();
        let (username, password) = (portal.username.clone(), portal.password.clone());
        let province = hoso_gateway::lab::province::start(province, Arc::clone(&time))
            .await
            .expect("a province");
        let portal = hoso_gateway::lab::portal::start(portal, time).await.expect("a portal");
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            r#"
[ledger]
path = "ledger.db"

[[sources]]
name = "mot-cua"
{}
poll_ms = 100

[portal]
base_url = "{}"
username = "{username}"
password_file = "password"
timeout_ms = 5000

[[gate.windows]]
limit = 400
window_ms = 1000

[retry]
initial_ms = 100
max_ms = 1000

[reconcile]
unconfirmed_every_ms = 100

{settings}
"#,
            source.map_or_else(|| format!("base_url = \"{}\"", province.url()), str::to_owned),
            portal.url()
        );
        std::fs::write(folder.path().join("hoso.toml"), text).expect("a file");
        let secret = folder.path().join("password");
        std::fs::write(&secret, password).expect("a file");
        // As the gateway demands of a secret.
        let ours_alone = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(secret, ours_alone).expect("our own file");
        Self { province, portal, clock, folder, ledger: None, processes: 0 }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("hoso.toml")
    }

    /// Puts another text in the place of a part of the configuration file.
    pub(crate) fn rewrite(&self, part: &str, other: &str) {
        let text = std::fs::read_to_string(self.config()).expect("a file");
        assert!(text.contains(part), "{part} stands nowhere in:\n{text}");
        std::fs::write(self.config(), text.replace(part, other)).expect("a file");
    }

    /// `hoso serve`, with its log in a file of its own.
    pub(crate) fn serve(&mut self) -> Process {
        self.spawn(&["serve"])
    }

    /// `hoso serve` under a service manager that listens, and restarts it when it hears nothing for
    /// `watchdog`.
    pub(crate) fn serve_managed(&mut self, watchdog: Duration) -> (Process, Manager) {
        let path = self.folder.path().join(format!("notify-{}", self.processes));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        let us = watchdog.as_micros().to_string();
        let path = path.to_str().expect("a plain path");
        let process = self.spawn_in(&["serve"], &[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", &us)]);
        (process, Manager { socket, heard: RefCell::default() })
    }

    /// One more line for the source's section of the configuration.
    pub(crate) fn set_source(&self, line: &str) {
        self.rewrite("poll_ms = 100\n", &format!("poll_ms = 100\n{line}\n"));
    }

    /// Starts a command and leaves it running.
    pub(crate) fn spawn(&mut self, arguments: &[&str]) -> Process {
        self.spawn_in(arguments, &[])
    }

    fn spawn_in(&mut self, arguments: &[&str], variables: &[(&str, &str)]) -> Process {
        self.processes += 1;
        let log = self.folder.path().join(format!("{}-{}.log", arguments[0], self.processes));
        let child = hoso(&self.config())
            .args(arguments)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("the program starts");
        Process { child, log, clock: Arc::clone(&self.clock) }
    }

    /// Starts a command that dies at this point (`sabotage::POINTS`; `name:n` for the n-th time).
    pub(crate) fn serve_dying(&mut self, arguments: &[&str], point: &str) -> Process {
        self.spawn_in(arguments, &[("HOSO_DIE_AT", point)])
    }

    /// The ledger as it lies there, for a look beside whoever works with it; `None` before there is
    /// one that can be read.
    pub(crate) async fn open_ledger(&self) -> Option<Arc<dyn Ledger>> {
        let config = hoso_gateway::cli::build::config(Some(&self.config())).ok()?;
        hoso_gateway::cli::build::existing_ledger(&config).await.ok()
    }

    /// Closes what [`Site::standing`] keeps open: some commands want the file for themselves.
    pub(crate) async fn let_go_of_the_ledger(&mut self) {
        if let Some(ledger) = self.ledger.take() {
            ledger.close().await;
        }
    }

    /// Runs a command to its end: success, stdout, stderr.
    pub(crate) async fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut command = hoso(&self.config());
        command.args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .expect("a thread")
            .expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// The ledger's numbers, once there is a ledger.
    pub(crate) async fn standing(&mut self) -> Option<Standing> {
        if self.ledger.is_none() {
            self.ledger = Some(self.open_ledger().await?);
        }
        let ledger = Arc::clone(self.ledger.as_ref()?);
        ledger.standing(self.clock.now()).await.ok()
    }

    /// Codes of the dossiers that wait for a person.
    pub(crate) async fn problem_codes(&mut self) -> Vec<String> {
        self.problems().await.into_iter().map(|problem| problem.ma_ho_so).collect()
    }

    async fn problems(&mut self) -> Vec<Problem> {
        self.standing().await;
        let ledger = self.ledger.as_ref().expect("a ledger");
        let filter =
            hoso_gateway::ledger::view::ProblemFilter { limit: 1000, ..Default::default() };
        ledger.problems(&filter).await.expect("problems")
    }

    pub(crate) fn comparison(&self) -> Comparison {
        compare(&self.province.expected(), &self.portal.records())
    }

    /// Waits until every expected dossier stands at the portal as expected, with every step but
    /// those that wait for a person, and the ledger has nothing left to do.
    pub(crate) async fn until_delivered(&mut self) {
        let since = self.clock.monotonic();
        loop {
            let comparison = self.comparison();
            let standing = self.standing().await;
            let held = standing.as_ref().and_then(|standing| standing.steps.get("held").copied());
            let arrived = comparison.missing.is_empty()
                && comparison.different.is_empty()
                && comparison.steps_missing as u64 == held.unwrap_or(0);
            let quiet = standing.as_ref().is_some_and(super::gateway::is_quiet);
            if arrived && quiet {
                return;
            }
            assert!(
                self.clock.monotonic().saturating_sub(since) < PATIENCE,
                "never delivered: {comparison:?}\n{standing:?}"
            );
            self.clock.sleep(LOOK).await;
        }
    }

    /// Waits until this many problems stand, and gives their codes.
    pub(crate) async fn until_problems(&mut self, wanted: usize) -> Vec<String> {
        let since = self.clock.monotonic();
        loop {
            let problems = self.problems().await;
            if problems.len() == wanted {
                return problems.into_iter().map(|problem| problem.code).collect();
            }
            assert!(
                self.clock.monotonic().saturating_sub(since) < PATIENCE,
                "never {wanted} problems: {problems:?}"
            );
            self.clock.sleep(LOOK).await;
        }
    }

    /// Waits until the ledger knows so many dossiers.
    pub(crate) async fn until_known(&mut self, dossiers: u64) {
        let since = self.clock.monotonic();
        loop {
            let known = self.standing().await.map(|standing| standing.dossiers.values().sum());
            if known == Some(dossiers) {
                return;
            }
            assert!(self.clock.monotonic().saturating_sub(since) < PATIENCE, "never known");
            self.clock.sleep(LOOK).await;
        }
    }

    /// Waits until a service says that it works with this mapping.
    pub(crate) async fn until_in_force(&mut self, version: &str) {
        let since = self.clock.monotonic();
        loop {
            let in_force = self.standing().await.and_then(|standing| standing.in_force);
            if in_force.as_ref().is_some_and(|one| one.mapping_version == version) {
                return;
            }
            assert!(
                self.clock.monotonic().saturating_sub(since) < PATIENCE,
                "{version} is never in force: {in_force:?}"
            );
            self.clock.sleep(LOOK).await;
        }
    }

    /// Waits for a state of the laboratories.
    pub(crate) async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let since = self.clock.monotonic();
        while !reached(self) {
            assert!(
                self.clock.monotonic().saturating_sub(since) < PATIENCE,
                "never happened: {what}"
            );
            self.clock.sleep(LOOK / 8).await;
        }
    }

    /// The same, but for no longer than this.
    pub(crate) async fn until_or(&self, patience: Duration, reached: impl Fn(&Self) -> bool) {
        let since = self.clock.monotonic();
        while !reached(self) && self.clock.monotonic().saturating_sub(since) < patience {
            self.clock.sleep(LOOK / 8).await;
        }
    }

    pub(crate) async fn close(mut self) {
        self.let_go_of_the_ledger().await;
        self.province.shutdown().await.expect("a sound province");
        self.portal.shutdown().await.expect("a sound portal");
    }
}

fn hoso(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoso"));
    command.arg("--config").arg(config).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// A service manager's ear.
#[derive(Debug)]
pub(crate) struct Manager {
    socket: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Manager {
    /// Everything that was said until now, in order.
    pub(crate) fn heard(&self) -> Vec<String> {
        let mut heard = self.heard.borrow_mut();
        let mut bytes = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            heard.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        heard.clone()
    }

    /// How often something that begins so was said.
    pub(crate) fn count(&self, beginning: &str) -> usize {
        self.heard().iter().filter(|words| words.starts_with(beginning)).count()
    }
}

/// A running `hoso`. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    clock: Arc<SystemClock>,
}

impl Process {
    /// As a power cut does it.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// As a service manager asks.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// As `systemctl reload` does.
    pub(crate) fn reload(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// The most memory that it ever had at once.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("a process that runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
        let kilobytes = line.split_whitespace().nth(1).expect("a number");
        kilobytes.parse::<u64>().expect("a number") * 1024
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.ended_or("it should have").await
    }

    /// The same; `why` is told when it does not.
    pub(crate) async fn ended_or(&mut self, why: &str) -> ExitStatus {
        let since = self.clock.monotonic();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(
                self.clock.monotonic().saturating_sub(since) < PATIENCE,
                "never ended: {why}; its log:\n{}",
                self.log()
            );
            self.clock.sleep(LOOK / 4).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).expect("a log");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
