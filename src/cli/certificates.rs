//! Certificate files of the configuration: read, judged before anything runs, and read anew by the
//! clients that use them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, ConfigErrors, Environment, SystemEnvironment, TlsFiles};
use crate::http::{Http, ReqwestHttp, Tls, TlsPart};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is wrong with one option: its full name, the problem, what to do.
type Wrong = (String, String, String);

/// Every problem of every file that an option names.
pub(super) fn check(config: &Config) -> Result<(), ConfigErrors> {
    let of_sources =
        config.sources.iter().enumerate().map(|(at, source)| source.tls(&format!("sources[{at}]")));
    let sides: Vec<TlsFiles> = [config.portal.tls()].into_iter().chain(of_sources).collect();
    config.with_problems(
        sides
            .iter()
            .filter_map(|files| tls(files, &SystemEnvironment).and_then(judged(files)).err()),
    )
}

/// A client that trusts and shows what these files say.
pub(super) fn client(config: &Config, files: &TlsFiles) -> Result<Arc<dyn Http>, ConfigErrors> {
    Ok(Arc::new(looking(config, files)?))
}

/// The same, for whoever wants to look at the other side's certificate.
pub(super) fn looking(config: &Config, files: &TlsFiles) -> Result<ReqwestHttp, ConfigErrors> {
    let connections_max = config.portal.connections_max;
    let made = tls(files, &SystemEnvironment).and_then(|tls| {
        let again = files.clone();
        let reread = Arc::new(move || self::tls(&again, &SystemEnvironment).ok());
        ReqwestHttp::with_tls(CONNECT_TIMEOUT, connections_max, tls, Some(reread))
            .map_err(|unusable| wrong(files, unusable.part, unusable.why))
    });
    match made {
        Ok(client) => Ok(client),
        Err(wrong) => match config.with_problems([wrong]) {
            Err(errors) => Err(errors),
            Ok(()) => unreachable!("a problem was given"),
        },
    }
}

fn judged(files: &TlsFiles) -> impl FnOnce(Tls) -> Result<(), Wrong> {
    move |tls| tls.check().map_err(|unusable| wrong(files, unusable.part, unusable.why))
}

fn tls(files: &TlsFiles, env: &dyn Environment) -> Result<Tls, Wrong> {
    let read = |path: &Path, part| {
        env.read(path)
            .map_err(|error| wrong(files, part, format!("the file cannot be read: {error}")))
    };
    let authorities = match &files.ca_file {
        Some(path) => Some(read(path, TlsPart::Authorities)?),
        None => None,
    };
    let identity = match &files.client_certificate_file {
        Some(path) => {
            let certificate = read(path, TlsPart::Certificate)?;
            let key = files.client_key(env);
            let key = key
                .get()
                .cloned()
                .ok_or_else(|| wrong(files, TlsPart::Key, format!("the key: {key}")))?;
            Some((certificate, key))
        }
        None => None,
    };
    Ok(Tls { authorities, identity })
}

fn wrong(files: &TlsFiles, part: TlsPart, why: String) -> Wrong {
    let (option, file) = match part {
        TlsPart::Authorities => ("ca_file", &files.ca_file),
        TlsPart::Certificate => ("client_certificate_file", &files.client_certificate_file),
        TlsPart::Key => ("client_key_file", &files.client_key_file),
        TlsPart::Client => ("ca_file", &None),
    };
    let message = match file {
        Some(path) => format!("{}: {why}", path.display()),
        None => why,
    };
    let hint = match part {
        TlsPart::Authorities | TlsPart::Certificate => {
            "a file in PEM form, with lines that begin with -----BEGIN CERTIFICATE-----"
        }
        TlsPart::Key => "a private key in PEM form that belongs to the client certificate",
        TlsPart::Client => "are the machine's own authorities installed (package ca-certificates)?",
    };
    (format!("{}.{option}", files.block), message, hint.to_owned())
}
