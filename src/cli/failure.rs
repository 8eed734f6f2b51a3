//! How a command fails: an exit code, a stable code, a sentence, a hint.

use crate::config::ConfigErrors;
use crate::ledger::LedgerError;
use crate::pipeline::VerbError;

/// Exit codes, also listed in `hoso --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Something failed that may work later; the sentence says what.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A configuration or mapping file is wrong.
    Files = 3,
    /// The ledger cannot be used.
    Ledger = 4,
    /// What was asked for is not there.
    NotFound = 5,
    /// The command worked; what it found is not as it should be.
    Findings = 6,
}

/// A failed command, as it is told to a person.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// Stable code, if there is one for `hoso explain`.
    pub code: Option<String>,
    /// What happened; may have several lines.
    pub message: String,
    pub hint: Option<String>,
    /// Already told: only the exit code matters.
    pub told: bool,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, code: None, message: message.into(), hint: None, told: false }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The output already says what is wrong.
    pub fn findings() -> Self {
        Self { told: true, ..Self::new(Exit::Findings, "") }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.code {
            Some(code) => write!(f, "error[{code}]: {}", self.message)?,
            None => write!(f, "error: {}", self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\n\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(Exit::Files, errors.to_string())
            .hint("`hoso config default` prints every option with its meaning")
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let mut message = error.to_string();
        if let LedgerError::Unavailable { source, .. } = &error {
            message = format!("{message}: {source}");
        }
        Self::new(Exit::Ledger, message).code(error.code()).hint(error.hint())
    }
}

impl From<VerbError> for Failure {
    fn from(error: VerbError) -> Self {
        match error {
            VerbError::Ledger(error) => error.into(),
            VerbError::Source { source_name, failure } => {
                let details = if failure.details.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", failure.details)
                };
                let message = format!("source `{source_name}`: {}{details}", failure.message);
                Self::new(Exit::Failed, message)
                    .hint(format!("`hoso explain {}` says what to do", failure.code))
                    .code(failure.code)
            }
            VerbError::UnderWay { run, .. } => Self::new(Exit::Failed, error.to_string())
                .hint(format!("`hoso reconcile show {run}` says how far it is"))
                .code("reconcile.under_way"),
            VerbError::Task(error) => Self::new(Exit::Failed, format!("a task broke off: {error}"))
                .hint("this is a defect; please report it with the log"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<VerbError>() {
            Ok(error) => error.into(),
            Err(error) => match error.downcast::<LedgerError>() {
                Ok(error) => error.into(),
                Err(error) => Self::new(Exit::Failed, format!("{error:#}")),
            },
        }
    }
}
