//! Source and portal: can they be reached, do they take us, and what time is it there?

use std::time::Duration;

use super::certificate;
use super::here::valid;
use super::{Findings, Values, codes};
use crate::cli::failure::Failure;
use crate::cli::{build, certificates, run};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, SourceConfig, SourceKind, TlsFiles};
use crate::domain::time::{Timestamp, span};
use crate::http::HttpFailure;
use crate::pipeline::login::try_login;
use crate::pipeline::{PortalLine, SourceLine, Stop};

/// Clocks that are no further apart are called equal: `Date` has whole seconds, and answers travel.
const EQUAL: Duration = Duration::from_secs(5);
/// Further apart, overlaps and windows of the quota are in danger.
const FAR: Duration = Duration::from_mins(1);
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

pub(super) async fn sources(config: &Config, findings: &mut Findings) {
    let clock: std::sync::Arc<dyn Clock> = std::sync::Arc::new(SystemClock::new());
    // What is wrong with the files was said before.
    let lines = build::sources(config, &clock).unwrap_or_default();
    for (at, source) in config.sources.iter().enumerate() {
        if source.kind == SourceKind::Directory {
            folder(source, findings);
            continue;
        }
        let files = source.tls(&format!("sources[{at}]"));
        let timeout = Duration::from_millis(source.timeout_ms);
        let is_there =
            look(config, &files, &source.name, &source.base_url, timeout, findings).await;
        if let (true, Some(line)) = (is_there, lines.get(at)) {
            first_page(&source.name, line, findings).await;
        }
    }
}

/// One dossier is asked for and thrown away.
async fn first_page(name: &str, line: &SourceLine, findings: &mut Findings) {
    match line.source.changes(None, 1, None).await {
        Ok(_) => findings.ok(codes::SOURCE, "doctor.source_reads", &[("source", &name)]),
        Err(refusal) => {
            let failure = refusal.failure;
            let values: Values<'_> = &[("source", &name), ("why", &failure.message)];
            let help = format!("hoso explain {}", failure.code);
            findings.error(codes::SOURCE, "doctor.source_refuses", values, &help);
        }
    }
}

fn folder(source: &SourceConfig, findings: &mut Findings) {
    let path = source.path.clone().unwrap_or_default();
    let shown = path.display();
    let values: Values<'_> = &[("source", &source.name), ("folder", &shown)];
    if path.is_dir() {
        findings.ok(codes::SOURCE, "doctor.source_folder", values);
    } else {
        let help = format!("ls -ld {shown}");
        findings.error(codes::SOURCE, "doctor.source_no_folder", values, &help);
    }
}

pub(super) async fn portal(
    config: &Config,
    owner: Option<&str>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let not_asked = |owner: &str, findings: &mut Findings| {
        findings.info(codes::PORTAL, "doctor.portal_not_asked", &[("owner", &owner)]);
        findings.helps("hoso portal status");
    };
    if let Some(owner) = owner {
        not_asked(owner, findings);
        return Ok(());
    }
    let Some(url) = &config.portal.base_url else { return Ok(()) };
    let files = config.portal.tls();
    let timeout = Duration::from_millis(config.portal.timeout_ms);
    if !look(config, &files, "portal", url, timeout, findings).await {
        return Ok(());
    }
    if build::ledger_exists(config).is_err() {
        // The quota is counted there.
        findings.info(codes::LOGIN, "doctor.login_no_ledger", &[]);
        return Ok(());
    }
    let context = build::existing_context(config).await?;
    let verb = async |line: &PortalLine, _: &Stop| try_login(&context, line).await;
    let tried = run::with_gate(config, &context, &Stop::new(), "doctor", verb).await;
    context.ledger.close().await;
    match tried? {
        Err(owner) => not_asked(&owner, findings),
        Ok(Err(error)) => return Err(error.into()),
        Ok(Ok(None)) => findings.info(codes::LOGIN, "doctor.login_none", &[]),
        Ok(Ok(Some(Ok(())))) => findings.ok(codes::LOGIN, "doctor.login_good", &[]),
        Ok(Ok(Some(Err(failure)))) => {
            let help = format!("hoso explain {}", failure.code);
            findings.error(codes::LOGIN, "doctor.login_bad", &[("why", &failure.message)], &help);
        }
    }
    Ok(())
}

/// Whether somebody answers there, what time it is to him, and until when his certificate holds.
async fn look(
    config: &Config,
    files: &TlsFiles,
    name: &str,
    url: &str,
    timeout: Duration,
    findings: &mut Findings,
) -> bool {
    let code = if name == "portal" { codes::PORTAL } else { codes::SOURCE };
    // Said before.
    let Ok(client) = certificates::looking(config, files) else { return false };
    let clock = SystemClock::new();
    let before = clock.now();
    match client.look_at(url, timeout).await {
        Ok(sighting) => {
            let now = clock.now();
            let (took, status) = (span(now.since(before)), sighting.status);
            let values: Values<'_> = &[("name", &name), ("status", &status), ("took", &took)];
            findings.ok(code, "doctor.reached", values);
            match sighting.date.as_deref().and_then(http_date) {
                Some(theirs) => compare_clocks(name, theirs, before, now, findings),
                None => findings.info(codes::CLOCK, "doctor.clock_unknown", &[("name", &name)]),
            }
            if let Some(validity) = sighting.certificate.as_deref().and_then(certificate::of_der) {
                valid(name, validity, now, findings);
            }
            true
        }
        Err(failure) => {
            let why = match &failure {
                HttpFailure::Certificate { fault, .. } => fault.to_string(),
                other => other.to_string(),
            };
            let values: Values<'_> = &[("name", &name), ("why", &why)];
            let help = format!("hoso explain {code}");
            findings.error(code, "doctor.not_reached", values, &help);
            false
        }
    }
}

/// Theirs was told somewhere between `before` and `now`.
fn compare_clocks(
    name: &str,
    theirs: Timestamp,
    before: Timestamp,
    now: Timestamp,
    findings: &mut Findings,
) {
    let ahead = theirs.since(now);
    let behind = before.since(theirs);
    let apart = ahead.max(behind);
    let by = span(apart);
    let values: Values<'_> = &[("name", &name), ("by", &by)];
    let help = "timedatectl";
    if apart <= EQUAL {
        findings.ok(codes::CLOCK, "doctor.clock_good", &[("name", &name)]);
    } else if apart <= FAR {
        let key = if ahead > behind { "doctor.clock_ahead" } else { "doctor.clock_behind" };
        findings.warn(codes::CLOCK, key, values, help);
    } else {
        let key = if ahead > behind { "doctor.clock_ahead" } else { "doctor.clock_behind" };
        findings.error(codes::CLOCK, key, values, help);
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110).
fn http_date(text: &str) -> Option<Timestamp> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    (words.next() == Some("GMT")).then_some(())?;
    Timestamp::from_iso(&format!("{year}-{month:02}-{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Severity;
    use crate::messages::Language;

    #[test]
    fn the_date_of_an_answer_is_read() {
        let at = Timestamp::from_iso("1994-11-06T08:49:37Z");
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), at);
        for wrong in ["", "Sun", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nix 1994 08:49:37 GMT"] {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn clocks_are_apart_by_what_no_travel_explains() {
        let at = |seconds: i64| Timestamp::from_millis(1_000_000 + seconds * 1_000);
        for (theirs, severity) in [
            (0, Severity::Ok),
            (-4, Severity::Ok),
            (24, Severity::Ok),
            (26, Severity::Warn),
            (-10, Severity::Warn),
            (90, Severity::Error),
            (-90, Severity::Error),
        ] {
            let mut findings = Findings { language: Language::English, found: Vec::new() };
            // The answer took twenty seconds.
            compare_clocks("portal", at(theirs), at(0), at(20), &mut findings);
            assert_eq!(
                findings.found[0].severity,
                severity,
                "{theirs}: {findings:?}",
                findings = findings.found
            );
        }
    }
}
