//! The log of a running verb: to stderr, in the configured form.
//!
//! There is no log file, so nothing has to be rotated or reopened: stderr belongs to whoever started
//! the program, and under systemd that is the journal.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::failure::{Exit, Failure};
use crate::config::{Environment, Log, LogFormat};

/// The running log, whose level can be changed.
#[derive(Debug)]
pub(super) struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Takes another level; the old one stays when this one is none.
    pub(super) fn set(&self, log: &Log) -> Result<(), Failure> {
        let filter = filter(log)?;
        self.0
            .reload(filter)
            .map_err(|error| Failure::new(Exit::Failed, format!("the log's level stays: {error}")))
    }
}

/// `RUST_LOG` is not read: one place decides.
pub(super) fn start(log: &Log, env: &dyn Environment) -> Result<LogLevel, Failure> {
    let (filter, handle) = reload::Layer::new(filter(log)?);
    // A log file is read with tools that do not know colours.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines: Box<dyn Layer<_> + Send + Sync> = match form(log.format, env) {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Journald => {
            lines.event_format(Journal(Format::default().without_time().with_target(false))).boxed()
        }
        LogFormat::Text | LogFormat::Auto => lines.with_target(false).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|error| Failure::new(Exit::Failed, format!("no log: {error}")))?;
    Ok(LogLevel(handle))
}

fn filter(log: &Log) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(&log.level).map_err(|error| {
        Failure::new(Exit::Files, format!("log.level: {error}"))
            .hint("use error, warn, info, debug or trace")
    })
}

fn form(format: LogFormat, env: &dyn Environment) -> LogFormat {
    let is_journal = || {
        env.variable("JOURNAL_STREAM")
            .is_some_and(|stream| crate::machine::stderr_is_stream(&stream))
    };
    match format {
        LogFormat::Auto if is_journal() => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Text,
        chosen => chosen,
    }
}

/// A line as the journal reads it from stderr: its priority in front (sd-daemon(3)), and no time,
/// which the journal keeps itself.
struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// syslog(3): 3 error, 4 warning, 6 information, 7 debugging.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{self, Write};
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Machine(BTreeMap<&'static str, &'static str>);

    impl Environment for Machine {
        fn variable(&self, name: &str) -> Option<String> {
            self.0.get(name).map(|value| (*value).to_owned())
        }

        fn read(&self, _: &Path) -> io::Result<String> {
            Err(io::Error::new(io::ErrorKind::NotFound, "no such file"))
        }
    }

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_journal_gets_each_line_with_its_priority_and_where_it_belongs() {
        let paper = Paper::default();
        let writer = paper.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .event_format(Journal(Format::default().without_time().with_target(false)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let _pass = tracing::info_span!("push", pass = 3).entered();
            tracing::error!(dossier = "H55.1-260126-0001", "refused");
            tracing::debug!("looked");
        });
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            "<3>ERROR push{pass=3}: refused dossier=\"H55.1-260126-0001\"\n<7>DEBUG push{pass=3}: looked\n"
        );
    }

    #[test]
    fn a_variable_alone_does_not_make_stderr_the_journal() {
        let told = Machine([("JOURNAL_STREAM", "1:1")].into());
        assert_eq!(form(LogFormat::Auto, &told), LogFormat::Text);
        assert_eq!(form(LogFormat::Auto, &Machine(BTreeMap::new())), LogFormat::Text);
        assert_eq!(form(LogFormat::Json, &told), LogFormat::Json);
    }
}
