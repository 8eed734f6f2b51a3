//! `hoso doctor`: is everything there that the gateway needs, and is it well?
//!
//! Owns the order of the examination and what a finding is. `here` looks at this machine, `ledger` at
//! the ledger, `outside` at source and portal. Changes nothing but the record of a login that it tries
//! itself, and asks the portal only if no service owns its gate.

mod certificate;
mod here;
mod ledger;
mod outside;

use std::fmt::{Display, Write as _};

use serde::Serialize;

use super::failure::Failure;
use super::{Invocation, build};
use crate::clock::{Clock, SystemClock};
use crate::domain::time::Timestamp;
use crate::messages::{Language, say};

/// Examine the installation: configuration, secrets, certificates, clocks, ledger, source, portal
///
/// Each finding has a stable code (`hoso explain CODE`), how bad it is (ok, info, warn, error) and, where
/// something can be done, the command that helps. The portal is asked and a login tried only if no
/// service owns its gate; both are within the quota. Exit code 6 if there is an error.
///
/// Example: hoso doctor --offline
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Ask neither source nor portal
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Severity {
    Ok,
    Info,
    Warn,
    Error,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

#[derive(Debug, Serialize)]
struct Finding {
    code: &'static str,
    severity: Severity,
    /// In the operator's language.
    words: String,
    /// The command that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

#[derive(Debug, Serialize)]
struct Examined {
    at: Timestamp,
    /// The worst.
    severity: Severity,
    findings: Vec<Finding>,
}

/// What was found until now.
struct Findings {
    language: Language,
    found: Vec<Finding>,
}

/// The values of a text.
type Values<'a> = &'a [(&'a str, &'a dyn Display)];

impl Findings {
    fn add(&mut self, severity: Severity, code: &'static str, key: &str, values: Values<'_>) {
        let words = say(self.language, key, values);
        self.found.push(Finding { code, severity, words, help: None });
    }

    fn ok(&mut self, code: &'static str, key: &str, values: Values<'_>) {
        self.add(Severity::Ok, code, key, values);
    }

    fn info(&mut self, code: &'static str, key: &str, values: Values<'_>) {
        self.add(Severity::Info, code, key, values);
    }

    fn warn(&mut self, code: &'static str, key: &str, values: Values<'_>, help: &str) {
        self.add(Severity::Warn, code, key, values);
        self.helps(help);
    }

    fn error(&mut self, code: &'static str, key: &str, values: Values<'_>, help: &str) {
        self.add(Severity::Error, code, key, values);
        self.helps(help);
    }

    fn helps(&mut self, help: &str) {
        if let Some(last) = self.found.last_mut() {
            last.help = Some(help.to_owned());
        }
    }

    fn worst(&self) -> Severity {
        self.found.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }
}

pub(super) async fn run(invocation: &Invocation, arguments: Arguments) -> Result<(), Failure> {
    let mut findings = Findings { language: invocation.language(), found: Vec::new() };
    examine(invocation, &arguments, &mut findings).await?;
    let severity = findings.worst();
    let language = findings.language;
    let examined = Examined { at: SystemClock::new().now(), severity, findings: findings.found };
    invocation.output.result(&examined, |examined| text(examined, language));
    if severity == Severity::Error { Err(Failure::findings()) } else { Ok(()) }
}

async fn examine(
    invocation: &Invocation,
    arguments: &Arguments,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let config = match build::read_config(invocation.config_path.as_deref()) {
        Ok(config) => config,
        Err(errors) => {
            // Everything else stands in it.
            let why = errors.to_string();
            let help = "hoso config check";
            findings.error(
                codes::CONFIGURATION,
                "doctor.configuration_bad",
                &[("why", &why)],
                help,
            );
            return Ok(());
        }
    };
    let is_complete = here::configuration(&config, findings);
    here::secrets(&config, findings);
    here::certificates(&config, SystemClock::new().now(), findings);
    here::disk(&config, findings);
    here::ledger_file(&config, findings);
    let owner = ledger::examine(&config, findings).await?;
    if arguments.offline {
        findings.info(codes::OFFLINE, "doctor.offline", &[]);
    } else {
        outside::sources(&config, findings).await;
        if is_complete {
            outside::portal(&config, owner.as_deref(), findings).await?;
        }
    }
    Ok(())
}

fn text(examined: &Examined, language: Language) -> String {
    let mut text = String::new();
    for finding in &examined.findings {
        let Finding { code, severity, words, help } = finding;
        let code = code.strip_prefix("doctor.").unwrap_or(code);
        let words = words.replace('\n', "\n                          ");
        // Writing to a String cannot fail, here and below.
        let _infallible = writeln!(text, "{:<6} {code:<18} {words}", severity.as_str());
        if let Some(help) = help {
            let _infallible = writeln!(text, "{:26}{help}", "");
        }
    }
    let of = |severity| examined.findings.iter().filter(|one| one.severity == severity).count();
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warn));
    let verdict = match examined.severity {
        Severity::Error | Severity::Warn => {
            say(language, "doctor.verdict_bad", &[("errors", &errors), ("warnings", &warnings)])
        }
        Severity::Ok | Severity::Info => say(language, "doctor.verdict_good", &[]),
    };
    let _infallible = write!(text, "\n{verdict}");
    text
}

/// Stable codes of findings.
mod codes {
    pub(super) const CONFIGURATION: &str = "doctor.configuration";
    pub(super) const SECRETS: &str = "doctor.secrets";
    pub(super) const CERTIFICATE: &str = "doctor.certificate";
    pub(super) const DISK: &str = "doctor.disk";
    pub(super) const LEDGER_FILE: &str = "doctor.ledger_file";
    pub(super) const LEDGER: &str = "doctor.ledger";
    pub(super) const VERSIONS: &str = "doctor.versions";
    pub(super) const WATCHDOGS: &str = "doctor.watchdogs";
    pub(super) const LEASES: &str = "doctor.leases";
    pub(super) const BOOKS: &str = "doctor.books";
    pub(super) const CATALOGUE: &str = "doctor.catalogue";
    pub(super) const PROBLEMS: &str = "doctor.problems";
    pub(super) const OFFLINE: &str = "doctor.offline";
    pub(super) const SOURCE: &str = "doctor.source";
    pub(super) const PORTAL: &str = "doctor.portal";
    pub(super) const LOGIN: &str = "doctor.login";
    pub(super) const CLOCK: &str = "doctor.clock";
}

/// Table of this module's codes for `hoso explain`: code, meaning, what to do.
pub(super) const CODES: &[(&str, &str, &str)] = &[
    (
        codes::CONFIGURATION,
        "Whether the configuration and every file that it names can be used as the service would use them.",
        "Mend what is named; `hoso config check` says it with line and column, `hoso config default` explains each option.",
    ),
    (
        codes::SECRETS,
        "Whether files with passwords and keys can be read by the gateway and by nobody else.",
        "`chmod 0640 FILE` and `chown root:hoso FILE`: the service's user reads it through its group, nobody else does.",
    ),
    (
        codes::CERTIFICATE,
        "Until when our own client certificates and those of source and portal hold.",
        "Renew it in time. New files at the same place are taken up without a restart; a server's certificate is its operator's to renew.",
    ),
    (
        codes::DISK,
        "Room on the ledger's disk, and the day on which it ends at the growth that was measured.",
        "`hoso ledger size` shows what needs it; shorten `[retention]` or enlarge the disk. A full disk stops the gateway and loses nothing.",
    ),
    (
        codes::LEDGER_FILE,
        "Whether the ledger's file can be read and written by the gateway alone. It holds personal data.",
        "`chmod 0640` the file and what stands beside it, or 0750 its folder, and let it belong to the service's user.",
    ),
    (
        codes::LEDGER,
        "Whether the ledger can be opened and its pages are sound (of a large one, those that steer the work).",
        "Stop the service, keep a copy of the file as it is, and restore the last backup: `hoso ledger restore`. `hoso ledger check` reads everything.",
    ),
    (
        codes::VERSIONS,
        "Whether the running service has this program, this configuration and this mapping.",
        "Restart it after an upgrade; reload it (`systemctl reload hoso`) after a change of configuration or mapping.",
    ),
    (
        codes::WATCHDOGS,
        "Whether the promises of the gateway hold, as its watchdogs saw them last.",
        "`hoso explain` with the watchdog's own code says what it means and what to do.",
    ),
    (
        codes::LEASES,
        "Whether work is held by a call that ended long ago. Upkeep ends such leases; one that stays means that nobody does upkeep.",
        "Start the service, or run `hoso run upkeep` once. What was out is looked up at the portal before it is sent again.",
    ),
    (
        codes::BOOKS,
        "Whether the books between source, ledger and portal were closed lately: each dossier of the source in exactly one place.",
        "`hoso run reconcile` closes them anew and says what does not add up.",
    ),
    (
        codes::CATALOGUE,
        "Whether the portal's lists (procedures, fields, agencies) are as fresh as they should be.",
        "`hoso catalogue refresh` fetches them; `hoso catalogue show` says why the last try failed.",
    ),
    (
        codes::PROBLEMS,
        "Dossiers, steps and documents that wait for a person.",
        "`hoso problems list` shows them with their reasons.",
    ),
    (codes::OFFLINE, "Neither source nor portal was asked.", "Leave out --offline."),
    (
        codes::SOURCE,
        "Whether each source answers with its dossiers to what the configuration says.",
        "Check address, account and network; for a folder, that it is there and the gateway may write in it.",
    ),
    (
        codes::PORTAL,
        "Whether the portal (or the adapter before it) can be reached. While a service owns the gate it is not asked: the quota is counted in that process.",
        "Check address, certificates and network. `hoso portal status` shows how the service sees it.",
    ),
    (
        codes::LOGIN,
        "Whether the portal takes our account.",
        "Check user name and password; `hoso explain` with the code that is named says more.",
    ),
    (
        codes::CLOCK,
        "How far the clocks of this machine, the source and the portal are apart, by the Date of their answers.",
        "Set this machine's clock by a time server (`timedatectl`). If only one of them is wrong, tell its operators.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_in_order_with_what_helps_and_the_worst_decides() {
        let mut findings = Findings { language: Language::English, found: Vec::new() };
        assert_eq!(findings.worst(), Severity::Ok);
        findings.ok(codes::LEASES, "doctor.leases_good", &[]);
        findings.warn(
            codes::BOOKS,
            "doctor.books_never",
            &[("source", &"mot-cua")],
            "hoso run reconcile",
        );
        assert_eq!(findings.worst(), Severity::Warn);
        findings.error(
            codes::LEDGER,
            "doctor.ledger_bad",
            &[("why", &"a\nb")],
            "hoso ledger restore",
        );
        let severity = findings.worst();
        let examined = Examined { at: Timestamp::default(), severity, findings: findings.found };
        let text = text(&examined, Language::English);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("ok     leases "), "{text}");
        assert!(lines[1].starts_with("WARN   books "), "{text}");
        assert_eq!(lines[2].trim(), "hoso run reconcile");
        assert!(lines[3].starts_with("ERROR  ledger "), "{text}");
        assert!(text.ends_with("1 error(s), 1 warning(s)"), "{text}");
    }

    #[test]
    fn every_code_begins_with_the_doctors_name() {
        assert!(CODES.iter().all(|(code, ..)| code.starts_with("doctor.")));
    }
}
