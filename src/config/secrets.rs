//! Where secrets come from. The only reader of the environment.

use std::fmt::{Display, Formatter};
use std::io;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

/// What the machine says: variables and files. Tests bring their own.
pub trait Environment {
    /// A variable; absent and empty are the same.
    fn variable(&self, name: &str) -> Option<String>;

    /// A file's text.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The process's environment and the machine's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the environment")]
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// A secret and where it comes from. Shown, it tells only the latter.
#[derive(Debug, Clone, Default)]
pub enum Secret {
    /// No place that was looked at has it.
    #[default]
    Unset,
    Known {
        value: SecretString,
        origin: String,
    },
    /// Named, but not to be had. Commands that do not need it go on.
    Unreadable {
        why: String,
    },
}

impl Secret {
    pub fn get(&self) -> Option<&SecretString> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unset | Self::Unreadable { .. } => None,
        }
    }

    /// Looks at the variable, then at the file, then at systemd's credential of this name. The
    /// first that is named decides, even when it cannot be read: falling back to another secret
    /// would log in as somebody else.
    pub(super) fn find(
        variable: &str,
        file: Option<&Path>,
        credential: &str,
        env: &dyn Environment,
    ) -> Self {
        Self::search(variable, file, credential, env, Self::from_line)
    }

    /// As [`Secret::find`], for a private key, which has many lines.
    pub(super) fn find_key(
        variable: &str,
        file: Option<&Path>,
        credential: &str,
        env: &dyn Environment,
    ) -> Self {
        Self::search(variable, file, credential, env, Self::from_lines)
    }

    fn search(
        variable: &str,
        file: Option<&Path>,
        credential: &str,
        env: &dyn Environment,
        taken: fn(&str, String) -> Self,
    ) -> Self {
        if let Some(value) = env.variable(variable) {
            return taken(&value, format!("the environment variable {variable}"));
        }
        let from_file = |path: &Path| {
            let origin = format!("the file {}", path.display());
            match env.read(path) {
                Ok(text) => taken(&text, origin),
                Err(error) => Self::Unreadable { why: format!("{origin} cannot be read: {error}") },
            }
        };
        if let Some(path) = file {
            return from_file(path);
        }
        let Some(folder) = env.variable("CREDENTIALS_DIRECTORY") else {
            return Self::Unset;
        };
        let path = PathBuf::from(folder).join(credential);
        match env.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Unset,
            _ => from_file(&path),
        }
    }

    /// Editors end a file with a line break, which no secret has.
    fn from_line(text: &str, origin: String) -> Self {
        let value = text.trim_end_matches(['\r', '\n']);
        let wrong = if value.is_empty() {
            "is empty"
        } else if value.chars().any(char::is_control) {
            "holds more than one line, or control characters"
        } else {
            return Self::Known { value: SecretString::from(value), origin };
        };
        Self::Unreadable { why: format!("{origin} {wrong}") }
    }

    fn from_lines(text: &str, origin: String) -> Self {
        if text.trim().is_empty() {
            return Self::Unreadable { why: format!("{origin} is empty") };
        }
        Self::Known { value: SecretString::from(text), origin }
    }
}

impl Display for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unset => f.write_str("not set"),
            Self::Known { origin, .. } => write!(f, "set, from {origin}"),
            Self::Unreadable { why } => f.write_str(why),
        }
    }
}
