//! Commands for operators. One file a verb; [`build`] wires real parts together; `output` is the
//! only place that prints. Commands read the ledger directly and change it only through `pipeline`.

mod adopt;
mod audit;
pub mod build;
mod catalogue;
mod certificates;
mod check;
mod config;
mod criteria;
mod demo;
mod doctor;
mod dossier;
mod explain;
mod failure;
mod job;
mod lab;
mod ledger;
mod log;
mod manual;
mod mapping;
mod metrics;
mod migrate;
mod observed;
mod output;
mod person;
mod plan;
mod portal;
mod problems;
mod reconcile;
mod rehearsal;
mod resync;
mod run;
mod serve;
mod signals;
mod situation;
mod soak;
mod status;
mod way;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

pub use explain::CodeRow;
pub use failure::{Exit, Failure};
pub use output::Output;

use crate::config::{Config, SystemEnvironment};
use crate::messages::Language;

const AFTER_HELP: &str = "\
Where to begin:
  hoso demo                       watch it work, with a simulated province and portal
  hoso config default > hoso.toml a configuration to fill in; `hoso config check` reads it
  hoso serve --config hoso.toml   run it; `hoso status` says where everything stands

Exit codes:
  0  done
  1  failed; the message says what, and trying again may help
  2  the command line is wrong
  3  a configuration or mapping file is wrong
  4  the ledger cannot be used
  5  what was asked for is not there
  6  done, but what was found is not as it should be (open books, failed cases, problems)

Data goes to stdout, words about the work to stderr. With --json, stdout holds JSON only.";

/// Brings a province's dossiers to the National Public Service Portal, and can prove what it did.
#[derive(Debug, Parser)]
#[command(name = "hoso", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Arguments {
    /// Configuration file; /etc/hoso/hoso.toml if it exists, else the defaults
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Language of explanations; otherwise `language` in the configuration, or the locale
    #[arg(long, global = true, value_name = "LANGUAGE")]
    language: Option<Spoken>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Spoken {
    Vi,
    En,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Serve(serve::Arguments),
    Status(status::Arguments),
    Doctor(doctor::Arguments),
    #[command(subcommand)]
    Dossier(dossier::Which),
    Problems(problems::ProblemsArguments),
    #[command(subcommand)]
    Portal(portal::Which),
    // In a box, because it has more options than all the others.
    Resync(Box<resync::Arguments>),
    #[command(subcommand)]
    Job(job::Which),
    Adopt(adopt::Arguments),
    #[command(subcommand)]
    Reconcile(reconcile::Which),
    #[command(subcommand)]
    Audit(audit::Which),
    #[command(subcommand)]
    Run(run::Verb),
    #[command(subcommand)]
    Mapping(mapping::Which),
    #[command(subcommand)]
    Catalogue(catalogue::Which),
    #[command(subcommand)]
    Config(config::Which),
    Explain(explain::Arguments),
    Completions(manual::CompletionsArguments),
    Man(manual::ManArguments),
    #[command(subcommand)]
    Ledger(ledger::Which),
    Migrate(migrate::Arguments),
    #[command(subcommand)]
    Lab(lab::Which),
}

/// What a verb needs besides its own arguments.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub config_path: Option<PathBuf>,
    pub output: Output,
    /// The language that the command line asks for.
    pub asked_language: Option<Language>,
}

impl Invocation {
    /// The configuration, as far as it can be read.
    pub fn config(&self) -> Result<Config, Failure> {
        build::config(self.config_path.as_deref())
    }

    /// In which language operators read: as the command line says, the configuration, the locale. A
    /// configuration that cannot be read says nothing.
    pub fn language(&self) -> Language {
        use crate::config::Language as Configured;
        if let Some(asked) = self.asked_language {
            return asked;
        }
        match self.config().map(|config| config.language) {
            Ok(Configured::Vi) => Language::Vietnamese,
            Ok(Configured::En) => Language::English,
            Ok(Configured::Auto) | Err(_) => {
                Language::of_locale(&Configured::locale(&SystemEnvironment))
            }
        }
    }

    /// The configuration, with everything that running needs.
    pub fn config_to_run(&self) -> Result<Config, Failure> {
        let config = self.config()?;
        config.ready_to_run()?;
        Ok(config)
    }
}

/// Every stable code of the program, with its English words.
pub fn code_rows() -> impl Iterator<Item = CodeRow> {
    explain::all()
}

/// Every stable code of the program.
pub fn codes() -> impl Iterator<Item = &'static str> {
    code_rows().map(|row| row.code)
}

/// Reads a command line (the program's name first) and does nothing of it.
pub fn read(words: &[String]) -> Result<(), clap::Error> {
    Arguments::try_parse_from(words).map(drop)
}

/// Parses, runs, and tells failures; the process's `main`.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let invocation = Invocation {
        config_path: arguments.config,
        output: Output::new(arguments.json),
        asked_language: arguments.language.map(|spoken| match spoken {
            Spoken::Vi => Language::Vietnamese,
            Spoken::En => Language::English,
        }),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            invocation.output.talk(&format!("error: no runtime: {error}"));
            return ExitCode::from(Exit::Failed as u8);
        }
    };
    let result = runtime.block_on(async {
        match arguments.command {
            // Whole programs: on the heap, or every other command would carry room for them.
            Command::Demo(arguments) => Box::pin(demo::run(&invocation, arguments)).await,
            Command::Serve(arguments) => Box::pin(serve::run(&invocation, arguments)).await,
            Command::Doctor(arguments) => doctor::run(&invocation, arguments).await,
            Command::Status(arguments) => status::run(&invocation, arguments).await,
            Command::Dossier(which) => dossier::run(&invocation, which).await,
            Command::Problems(arguments) => problems::run(&invocation, arguments).await,
            Command::Portal(which) => portal::run(&invocation, which).await,
            Command::Resync(arguments) => resync::run(&invocation, *arguments).await,
            Command::Job(which) => job::run(&invocation, which).await,
            Command::Adopt(arguments) => adopt::run(&invocation, arguments).await,
            Command::Reconcile(which) => Box::pin(reconcile::run(&invocation, which)).await,
            Command::Audit(which) => audit::run(&invocation, which).await,
            Command::Run(verb) => run::run(&invocation, verb).await,
            Command::Mapping(which) => mapping::run(&invocation, which).await,
            Command::Catalogue(which) => catalogue::run(&invocation, which).await,
            Command::Config(which) => config::run(&invocation, &which),
            Command::Explain(arguments) => explain::run(&invocation, &arguments).await,
            Command::Completions(arguments) => {
                manual::completions(&invocation, &arguments);
                Ok(())
            }
            Command::Man(arguments) => manual::man(&invocation, &arguments),
            Command::Ledger(which) => ledger::run(&invocation, which).await,
            Command::Migrate(arguments) => migrate::run(&invocation, arguments).await,
            Command::Lab(which) => lab::run(&invocation, which).await,
        }
    });
    // Blocking work that was cut off must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.told {
                invocation.output.talk(&failure.to_string());
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}
