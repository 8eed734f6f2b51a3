//! This machine: configuration, secrets, certificates, disk, the ledger's file.

use std::path::{Path, PathBuf};

use super::certificate::{self, Validity};
use super::{Findings, codes};
use crate::cli::words;
use crate::cli::{build, certificates as files};
use crate::config::{Config, Environment as _, SystemEnvironment};
use crate::domain::time::Timestamp;
use crate::machine::{self, disk_room};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Whoever renews a certificate needs some days for it.
const RENEW_DAYS: i64 = 30;
/// Bits of a file's mode: anybody else may do anything with it; its group may write it.
const OTHERS: u32 = 0o007;
const GROUP_WRITES: u32 = 0o020;

/// Whether a service could run with it.
pub(super) fn configuration(config: &Config, findings: &mut Findings) -> bool {
    let mut wrong = Vec::new();
    if let Err(errors) = config.ready_to_run() {
        wrong.push(errors.to_string());
    }
    if let Err(errors) = files::check(config) {
        wrong.push(errors.to_string());
    } else if let Err(failures) = build::named(config) {
        wrong.extend(failures.into_iter().map(|failure| failure.message));
    }
    for why in &wrong {
        let help = "hoso config check";
        findings.error(codes::CONFIGURATION, "doctor.configuration_bad", &[("why", why)], help);
    }
    if wrong.is_empty() {
        let sources = config.sources.len();
        findings.ok(codes::CONFIGURATION, "doctor.configuration_good", &[("sources", &sources)]);
    }
    wrong.is_empty()
}

/// Files that hold passwords, tokens and keys.
fn secret_files(config: &Config) -> Vec<PathBuf> {
    let portal = &config.portal;
    let of_portal = [
        &config.ledger.key_file,
        &config.ledger.old_key_file,
        &portal.password_file,
        &portal.client_key_file,
        &portal.wrapper.secret_file,
        &portal.bearer.token_file,
        &portal.bearer.client_secret_file,
    ];
    let of_sources = config
        .sources
        .iter()
        .flat_map(|source| [&source.token_file, &source.password_file, &source.client_key_file]);
    of_portal.into_iter().chain(of_sources).flatten().cloned().collect()
}

pub(super) fn secrets(config: &Config, findings: &mut Findings) {
    let mut sound = 0_usize;
    for file in secret_files(config) {
        let shown = file.display();
        match machine::mode(&file) {
            Ok(mode) if is_open(&file, mode) => {
                let mode = format!("{mode:04o}");
                let values: super::Values<'_> = &[("file", &shown), ("mode", &mode)];
                let help = format!("chmod o-rwx {shown}");
                findings.error(codes::SECRETS, "doctor.secret_open", values, &help);
            }
            Ok(mode) if mode & GROUP_WRITES != 0 => {
                let help = format!("chmod g-w {shown}");
                findings.warn(codes::SECRETS, "doctor.secret_group", &[("file", &shown)], &help);
            }
            Ok(_) => sound += 1,
            Err(error) => {
                let values: super::Values<'_> = &[("file", &shown), ("why", &error)];
                let help = format!("ls -l {shown}");
                findings.error(codes::SECRETS, "doctor.secret_unreadable", values, &help);
            }
        }
    }
    if sound > 0 {
        findings.ok(codes::SECRETS, "doctor.secrets_good", &[("files", &sound)]);
    }
}

/// Ours; those of the others are seen when they are asked.
pub(super) fn certificates(config: &Config, now: Timestamp, findings: &mut Findings) {
    let of_sources = config.sources.iter().map(|source| &source.client_certificate_file);
    let mine = [&config.portal.client_certificate_file].into_iter().chain(of_sources).flatten();
    for file in mine {
        let found = SystemEnvironment.read(file).ok().and_then(|pem| certificate::of_pem(&pem));
        let name = file.display().to_string();
        match found {
            Some(validity) => valid(&name, validity, now, findings),
            // Whether it can be used at all is a matter of the configuration.
            None => {
                findings.info(codes::CERTIFICATE, "doctor.certificate_unknown", &[("name", &name)]);
            }
        }
    }
}

pub(super) fn valid(name: &str, validity: Validity, now: Timestamp, findings: &mut Findings) {
    let Validity { from, until } = validity;
    let days = (until.millis() - now.millis()).div_euclid(DAY_MS);
    let help = "hoso explain doctor.certificate";
    if from > now {
        let values: super::Values<'_> = &[("name", &name), ("from", &from)];
        findings.error(codes::CERTIFICATE, "doctor.certificate_early", values, help);
    } else if until <= now {
        let values: super::Values<'_> = &[("name", &name), ("until", &until)];
        findings.error(codes::CERTIFICATE, "doctor.certificate_over", values, help);
    } else {
        let values: super::Values<'_> = &[("name", &name), ("until", &until), ("days", &days)];
        if days < RENEW_DAYS {
            findings.warn(codes::CERTIFICATE, "doctor.certificate_soon", values, help);
        } else {
            findings.ok(codes::CERTIFICATE, "doctor.certificate_good", values);
        }
    }
}

pub(super) fn disk(config: &Config, findings: &mut Findings) {
    let folder = folder_of(&config.ledger.path);
    match disk_room(folder) {
        Ok(room) => {
            let free = words::bytes(room.free_bytes);
            let percent = room.free_percent();
            let values: super::Values<'_> = &[("free", &free), ("percent", &percent)];
            let alarms = &config.alarms;
            if percent < alarms.disk_free_min_percent
                || room.free_bytes < alarms.disk_free_min_bytes
            {
                findings.error(codes::DISK, "doctor.disk_full", values, "hoso ledger size");
            } else {
                findings.ok(codes::DISK, "doctor.disk_good", values);
            }
        }
        Err(error) => {
            let help = format!("ls -ld {}", folder.display());
            findings.error(codes::DISK, "doctor.disk_unknown", &[("why", &error)], &help);
        }
    }
}

/// Whether users who are neither its owner nor of its group can come to a file of this mode. A folder
/// that they may not enter protects what is in it.
fn is_open(file: &Path, mode: u32) -> bool {
    let is_entered = machine::mode(folder_of(file)).map_or(true, |mode| mode & OTHERS != 0);
    mode & OTHERS != 0 && is_entered
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn ledger_file(config: &Config, findings: &mut Findings) {
    let path = &config.ledger.path;
    let beside = ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", path.display())));
    let mut is_sound = true;
    for file in &beside {
        let Ok(mode) = machine::mode(file) else { continue };
        let shown = file.display();
        if is_open(file, mode) {
            let mode = format!("{mode:04o}");
            let values: super::Values<'_> = &[("file", &shown), ("mode", &mode)];
            let help = format!("chmod o-rwx {shown}");
            findings.error(codes::LEDGER_FILE, "doctor.ledger_file_open", values, &help);
            is_sound = false;
        } else if mode & GROUP_WRITES != 0 {
            let help = format!("chmod g-w {shown}");
            findings.warn(
                codes::LEDGER_FILE,
                "doctor.ledger_file_group",
                &[("file", &shown)],
                &help,
            );
            is_sound = false;
        }
    }
    if is_sound && path.exists() {
        findings.ok(codes::LEDGER_FILE, "doctor.ledger_file_good", &[("file", &path.display())]);
    }
}
