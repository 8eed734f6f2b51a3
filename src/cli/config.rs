//! `hoso config`: check it, show what is in force, print the defaults.

use clap::Subcommand;
use serde::Serialize;

use super::Invocation;
use super::failure::{Exit, Failure};
use crate::config::{Config, ConfigErrors, DEFAULT};
use crate::domain::diagnostic::Position;

/// Check the configuration, show what is in force, print every option with its default
///
/// Example: hoso config check --config /etc/hoso/hoso.toml
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    /// Tell every problem of the configuration at once, with line and column
    ///
    /// Also asks for what running needs (a source, the portal's account, every secret), and reads
    /// what the file names (mapping, answers, certificates) as the service does.
    ///
    /// Example: hoso config check --config hoso.toml
    #[command(verbatim_doc_comment)]
    Check,
    /// Print what is in force; secrets are named by where they come from
    ///
    /// Example: hoso config show --config hoso.toml
    #[command(verbatim_doc_comment)]
    Show,
    /// Print every option with its default and its reason; a file to start from
    ///
    /// Example: hoso config default > hoso.toml
    #[command(verbatim_doc_comment)]
    Default,
}

#[derive(Debug, Serialize)]
struct Checked {
    ready: bool,
    problems: Vec<Wrong>,
}

#[derive(Debug, Serialize)]
struct Wrong {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    key: String,
    message: String,
    hint: String,
}

pub(super) fn run(invocation: &Invocation, which: &Which) -> Result<(), Failure> {
    match which {
        Which::Check => check(invocation),
        Which::Show => {
            let config = invocation.config()?;
            invocation.output.result(&config, Config::effective_toml);
            Ok(())
        }
        Which::Default => {
            if invocation.output.wants_json() {
                let options: serde_json::Value = toml::from_str(DEFAULT).map_err(|error| {
                    Failure::new(Exit::Failed, format!("the defaults are not TOML: {error}"))
                })?;
                invocation.output.json(&options);
            } else {
                invocation.output.data(DEFAULT);
            }
            Ok(())
        }
    }
}

fn check(invocation: &Invocation) -> Result<(), Failure> {
    let found = super::build::read_config(invocation.config_path.as_deref())
        .and_then(|config| config.ready_to_run().map(|()| config))
        .and_then(|config| super::certificates::check(&config).map(|()| config));
    match found {
        Ok(config) => {
            if let Err(failures) = super::build::named(&config) {
                return unusable(invocation, failures);
            }
            let checked = Checked { ready: true, problems: Vec::new() };
            invocation.output.result(&checked, |_| {
                format!(
                    "the configuration is sound and complete: {} source(s), ledger {}",
                    config.sources.len(),
                    config.ledger.path.display()
                )
            });
            Ok(())
        }
        Err(errors) if invocation.output.wants_json() => {
            invocation.output.json(&Checked { ready: false, problems: wrong(errors) });
            Err(Failure { told: true, ..Failure::new(Exit::Files, "") })
        }
        Err(errors) => Err(errors.into()),
    }
}

/// The file is sound, and something that it names is not.
fn unusable(invocation: &Invocation, mut failures: Vec<Failure>) -> Result<(), Failure> {
    if invocation.output.wants_json() {
        let file = invocation.config_path.as_deref().map(|path| path.display().to_string());
        let problems = failures
            .into_iter()
            .map(|failure| Wrong {
                file: file.clone().unwrap_or_default(),
                position: None,
                key: String::new(),
                message: failure.message,
                hint: failure.hint.unwrap_or_default(),
            })
            .collect();
        invocation.output.json(&Checked { ready: false, problems });
        return Err(Failure { told: true, ..Failure::new(Exit::Files, "") });
    }
    let last = failures.pop();
    for failure in failures {
        invocation.output.talk(&failure.to_string());
    }
    last.map_or(Ok(()), Err)
}

fn wrong(errors: ConfigErrors) -> Vec<Wrong> {
    let file = errors.file_name;
    errors
        .problems
        .into_iter()
        .map(|problem| Wrong {
            file: file.clone(),
            position: problem.position,
            key: problem.key,
            message: problem.message,
            hint: problem.hint,
        })
        .collect()
}
