//! `hoso mapping docs`: the mapping as a table that officers review and sign.

use std::io::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;

use super::super::failure::{Exit, Failure};
use super::super::{Invocation, words};
use super::mapping;
use crate::mapping::DocsFormat;

/// Write the mapping as a table for review: fields, sources, rules, code lists, origins
///
/// Vietnamese with English below. HTML is one page that needs nothing else and prints well. Without a
/// folder, the mapping of the configuration is meant, or else the built-in one.
///
/// Example: hoso mapping docs mappings/feed --output anh-xa.html
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Arguments {
    /// Folder with mapping.toml
    dir: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,
    /// Where to; must not exist. Without it the table goes to stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Html,
    Markdown,
}

pub(super) fn run(invocation: &Invocation, arguments: &Arguments) -> Result<(), Failure> {
    let docs = mapping(invocation, arguments.dir.as_deref())?.docs();
    let format = match arguments.format {
        Format::Html => DocsFormat::Html,
        Format::Markdown => DocsFormat::Markdown,
    };
    let Some(file) = &arguments.output else {
        invocation.output.result(&docs, |docs| docs.page(format));
        return Ok(());
    };
    let written = words::new_file(file).and_then(|mut out| {
        out.write_all(docs.page(format).as_bytes())?;
        out.sync_all()
    });
    written.map_err(|error| {
        Failure::new(Exit::Failed, format!("{}: {error}", file.display()))
            .hint("name a file that does not exist, on a disk with room")
    })?;
    invocation.output.talk(&format!("{}: version {}", file.display(), docs.version));
    Ok(())
}
