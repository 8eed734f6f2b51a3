//! `hoso completions`, `hoso man`: what packages install beside the program, made from the commands
//! themselves, so that neither can tell of an option that is not there.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory, ValueEnum};
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::{Arguments as CommandLine, Invocation};

/// Print the completions of a shell
///
/// Example: hoso completions bash > /usr/share/bash-completion/completions/hoso
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CompletionsArguments {
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Write the manual: a page for the program and one for each of its commands
///
/// Pages are named as git names its own: hoso.1, hoso-dossier-show.1. The folder is made if it is
/// not there; pages of an older version in it are overwritten.
///
/// Example: hoso man /usr/share/man/man1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ManArguments {
    /// Where the pages go
    dir: PathBuf,
}

pub(super) fn completions(invocation: &Invocation, arguments: &CompletionsArguments) {
    let shell = match arguments.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "hoso", &mut script);
    invocation.output.data(&String::from_utf8_lossy(&script));
}

#[derive(Debug, Serialize)]
struct Written {
    pages: Vec<String>,
}

pub(super) fn man(invocation: &Invocation, arguments: &ManArguments) -> Result<(), Failure> {
    let unwritable = |path: &Path, error: &std::io::Error| {
        Failure::new(Exit::Failed, format!("{} cannot be written: {error}", path.display()))
            .hint("name a folder that you may write, such as ./man")
    };
    std::fs::create_dir_all(&arguments.dir).map_err(|error| unwritable(&arguments.dir, &error))?;
    let mut written = Written { pages: Vec::new() };
    for (name, page) in pages() {
        let path = arguments.dir.join(&name);
        std::fs::write(&path, page).map_err(|error| unwritable(&path, &error))?;
        written.pages.push(name);
    }
    invocation.output.result(&written, |written| {
        format!("{} pages in {}", written.pages.len(), arguments.dir.display())
    });
    Ok(())
}

/// File name and text of every page.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut root = CommandLine::command().disable_help_subcommand(true);
    // Global options then stand on every page, as `--help` shows them, and a page knows its name.
    root.build();
    let mut pages = Vec::new();
    add(&root, "hoso", &mut pages);
    pages
}

fn add(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) {
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(command.clone());
    // Writing into memory cannot fail.
    let _infallible = manual.render(&mut page);
    pages.push((format!("{name}.1"), page));
    for inner in command.get_subcommands() {
        if inner.get_name() != "help" && !inner.is_hide_set() {
            add(inner, &format!("{name}-{}", inner.get_name()), pages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of all commands, as they are typed.
    fn commands(command: &Command, name: &str, found: &mut Vec<String>) {
        found.push(name.to_owned());
        for inner in command.get_subcommands() {
            commands(inner, &format!("{name} {}", inner.get_name()), found);
        }
    }

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let mut all = Vec::new();
        commands(&CommandLine::command(), "hoso", &mut all);
        assert!(all.len() > 40, "{all:?}");
        let pages = pages();
        assert_eq!(pages.len(), all.len());
        for name in all {
            let file = format!("{}.1", name.replace(' ', "-"));
            let (_, page) = pages.iter().find(|(page, _)| *page == file).expect(&file);
            let page = String::from_utf8(page.clone()).unwrap();
            for part in [".TH ", ".SH NAME", ".SH SYNOPSIS"] {
                assert!(page.contains(part), "{file} has no {part}");
            }
            if name != "hoso" {
                assert!(page.contains("Example: hoso ") || !page.contains("Example"), "{file}");
            }
        }
        let page = |name: &str| {
            let (_, page) = pages.iter().find(|(page, _)| page == name).unwrap();
            String::from_utf8(page.clone()).unwrap().replace("\\-", "-")
        };
        assert!(page("hoso-dossier-show.1").contains("--as-of"));
        assert!(page("hoso.1").contains("Exit codes:"));
    }

    #[test]
    fn each_shell_completes_every_command() {
        let mut all = Vec::new();
        commands(&CommandLine::command(), "hoso", &mut all);
        for shell in
            [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish]
        {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "hoso", &mut script);
            let script = String::from_utf8(script).unwrap();
            for name in &all {
                let last = name.rsplit(' ').next().unwrap();
                assert!(script.contains(last), "{shell} does not know {name}");
            }
            assert!(script.contains("as-of"), "{shell} does not know an option");
        }
    }
}
