//! `hoso mapping`: check, try and explain the table between source and portal.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use serde::Serialize;

mod docs;
mod switch;

use super::failure::{Exit, Failure};
use super::{Invocation, build, dossier};
use crate::config::Config;
use crate::mapping::{CasesError, CasesReport, Explanation, FileErrors, Mapping, run_cases};
use crate::xml::{self, Event, Limits, Scanner, XmlFault};

/// Check, compare, apply and explain the mapping from source elements to portal fields
///
/// In force is the mapping that was applied last; before the first one, that of the configuration, or
/// else the built-in one.
///
/// Example: hoso mapping test mappings/feed
#[derive(Debug, Subcommand)]
#[command(verbatim_doc_comment)]
pub(super) enum Which {
    Check(CheckArguments),
    Test(TestArguments),
    Explain(ExplainArguments),
    Compare(switch::CompareArguments),
    Apply(switch::ApplyArguments),
    List(switch::ListArguments),
    Docs(docs::Arguments),
}

/// Look for mistakes in a mapping, and for what it leaves out
///
/// Mistakes are told all at once, each with line and column (exit code 3). With samples, elements
/// that no row reads are named (exit code 6). A sample is a dossier or a whole page of the feed.
///
/// Example: hoso mapping check mappings/feed --sample page.xml
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CheckArguments {
    /// Folder with mapping.toml
    dir: Option<PathBuf>,
    /// Documents of the source to compare with
    #[arg(long, value_name = "FILE", num_args = 1..)]
    sample: Vec<PathBuf>,
}

/// Run a mapping's own cases (exit code 6 if one fails)
///
/// A case is a folder in DIR/cases with input.xml and expected.json or expected.diagnostics.txt.
///
/// Example: hoso mapping test mappings/feed
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct TestArguments {
    /// Folder with mapping.toml and cases
    dir: Option<PathBuf>,
}

/// Say where each portal field of a dossier comes from, and why; personal values are masked
///
/// Example: hoso mapping explain H55.242-260126-0001 TrangThaiHoSo
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ExplainArguments {
    /// A file with a dossier or a page of the feed, or the code of a dossier in the ledger
    #[arg(value_name = "CODE|FILE")]
    what: String,
    /// Only this portal field, e.g. TrangThaiHoSo or Gia
    field: Option<String>,
    /// The dossier of a page; the first one unless named
    #[arg(long, value_name = "CODE")]
    dossier: Option<String>,
    /// Folder with another mapping.toml; otherwise the one in force is meant for a dossier of the
    /// ledger, and the configuration's for a file
    #[arg(long, value_name = "DIR")]
    mapping: Option<PathBuf>,
}

pub(super) async fn run(invocation: &Invocation, which: Which) -> Result<(), Failure> {
    match which {
        Which::Check(arguments) => check(invocation, &arguments),
        Which::Test(arguments) => test(invocation, &arguments),
        Which::Explain(arguments) => explain(invocation, &arguments).await,
        Which::Compare(arguments) => switch::compare_two(invocation, arguments).await,
        Which::Apply(arguments) => switch::apply(invocation, arguments).await,
        Which::List(_) => switch::list(invocation).await,
        Which::Docs(arguments) => docs::run(invocation, &arguments),
    }
}

#[derive(Serialize)]
struct Mistakes<'e> {
    errors: &'e FileErrors,
}

fn check(invocation: &Invocation, arguments: &CheckArguments) -> Result<(), Failure> {
    let mapping = match &arguments.dir {
        None => mapping(invocation, None)?,
        Some(dir) => {
            let config = invocation.config()?;
            let settings = build::mapping_settings(&config);
            let loaded = Mapping::load(dir, &settings)
                .and_then(|mapping| Ok(mapping.with_procedures(build::procedures(&config)?)));
            match loaded {
                Ok(mapping) => Arc::new(mapping),
                Err(errors) if invocation.output.wants_json() => {
                    invocation.output.json(&Mistakes { errors: &errors });
                    return Err(Failure { told: true, ..Failure::new(Exit::Files, "") });
                }
                Err(errors) => return Err(Failure::new(Exit::Files, errors.to_string())),
            }
        }
    };
    let mut samples = Vec::new();
    for file in &arguments.sample {
        let text = document(file)?;
        match items(&text) {
            Ok(items) if !items.is_empty() => {
                samples.extend(items.into_iter().map(str::to_owned));
            }
            // The report counts it as unreadable.
            _ => samples.push(text),
        }
    }
    let samples: Vec<&str> = samples.iter().map(String::as_str).collect();
    let report = mapping.check(&samples);
    invocation.output.result(&report, ToString::to_string);
    if report.unreadable_samples == 0 && report.unused.is_empty() {
        Ok(())
    } else {
        Err(Failure::findings())
    }
}

fn test(invocation: &Invocation, arguments: &TestArguments) -> Result<(), Failure> {
    let mapping = mapping(invocation, arguments.dir.as_deref())?;
    let dir = match &arguments.dir {
        Some(dir) => dir.clone(),
        None => invocation.config()?.mapping.dir.unwrap_or_else(|| PathBuf::from("mappings/feed")),
    };
    let report = cases_of(&mapping, &dir)?;
    invocation.output.result(&report, ToString::to_string);
    if report.passed() { Ok(()) } else { Err(Failure::findings()) }
}

/// Runs the cases in a mapping's folder.
fn cases_of(mapping: &Mapping, dir: &Path) -> Result<CasesReport, Failure> {
    let cases = dir.join("cases");
    if !cases.is_dir() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("there are no cases at {}", cases.display()),
        )
        .hint("cases live in DIR/cases, a folder each; those of the built-in mapping are in mappings/feed of the sources"));
    }
    run_cases(mapping, &cases).map_err(|error| match &error {
        CasesError::Unreadable { source, .. } => {
            Failure::new(Exit::Files, format!("{error}: {source}"))
        }
        CasesError::NotJson { source, .. } => {
            Failure::new(Exit::Files, format!("{error}: {source}"))
        }
        CasesError::NoCases { .. } => Failure::new(Exit::Files, error.to_string()),
    })
}

async fn explain(invocation: &Invocation, arguments: &ExplainArguments) -> Result<(), Failure> {
    let file = Path::new(&arguments.what);
    let (text, in_force) = if file.exists() {
        (of_file(file, arguments.dossier.as_deref())?, None)
    } else {
        let (text, in_force) = of_ledger(invocation, &arguments.what).await?;
        (text, Some(in_force))
    };
    let mapping = match (&arguments.mapping, in_force) {
        (None, Some(in_force)) => in_force,
        (named, _) => mapping(invocation, named.as_deref())?,
    };
    let explanation = mapping.explain(&text, arguments.field.as_deref());
    invocation.output.result(&explanation, Explanation::to_string);
    match (&arguments.field, explanation.fields.is_empty()) {
        (Some(field), true) => {
            Err(Failure::new(Exit::NotFound, format!("this dossier has no field `{field}`"))
                .hint("names are the portal's; without a field, all of them are explained"))
        }
        _ => Ok(()),
    }
}

/// One dossier's document out of a file.
fn of_file(file: &Path, wanted: Option<&str>) -> Result<String, Failure> {
    let text = document(file)?;
    let broken = |fault: XmlFault| {
        let place = xml::position(&text, fault.offset);
        Failure::new(
            Exit::Files,
            format!("{}:{place}: expected {}", file.display(), fault.expected),
        )
        .code(fault.rule)
    };
    let items = items(&text).map_err(broken)?;
    let found = match wanted {
        None => items.first(),
        Some(code) => items.iter().find(|item| dossier_code(item).as_deref() == Some(code)),
    };
    found.map(|item| (*item).to_owned()).ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            match wanted {
                Some(code) => format!("{} holds no dossier {code}", file.display()),
                None => format!("{} holds no dossier", file.display()),
            },
        )
    })
}

/// The newest document of a dossier in the ledger, and the mapping in force there.
async fn of_ledger(invocation: &Invocation, code: &str) -> Result<(String, Arc<Mapping>), Failure> {
    let config = invocation.config()?;
    let ledger = build::existing_ledger(&config).await?;
    let views = ledger.dossier(code).await?;
    let [view, ..] = views.as_slice() else {
        return Err(dossier::unknown(code).hint("or name a file that exists"));
    };
    let document = ledger.newest_document(view.dossier_id).await?;
    let (_, mapping) = build::mapping_in_force(&config, ledger.as_ref()).await?;
    ledger.close().await;
    let document = document.ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("the document of {code} is past retention"))
            .hint("`retention.bodies_days` says how long documents are kept")
    })?;
    Ok((document, mapping))
}

fn mapping(invocation: &Invocation, dir: Option<&Path>) -> Result<Arc<Mapping>, Failure> {
    let config = invocation.config()?;
    match dir {
        None => build::mapping(&config),
        Some(dir) => load(&config, dir),
    }
}

/// A folder's mapping under the settings of the configuration.
fn load(config: &Config, dir: &Path) -> Result<Arc<Mapping>, Failure> {
    Mapping::load(dir, &build::mapping_settings(config))
        .and_then(|mapping| Ok(mapping.with_procedures(build::procedures(config)?)))
        .map(Arc::new)
        .map_err(|errors| Failure::new(Exit::Files, errors.to_string()))
}

fn document(file: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| {
        Failure::new(Exit::Files, format!("{} cannot be read: {why}", file.display()))
    };
    let bytes = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let text = xml::decode(&bytes, None).map_err(|fault| unreadable(fault.to_string()))?;
    Ok(text.into_owned())
}

/// The dossiers of a page, or the one dossier that the document is.
fn items(text: &str) -> Result<Vec<&str>, XmlFault> {
    let mut scanner = Scanner::new(text, &Limits::default());
    let mut items = Vec::new();
    let mut depth = 0_usize;
    let mut began = None;
    while let Some(event) = scanner.next()? {
        match event {
            Event::Open { name, offset, .. } => {
                if name == "HoSo" && began.is_none() {
                    began = Some((depth, offset));
                }
                depth += 1;
            }
            Event::Close { end, .. } => {
                depth = depth.saturating_sub(1);
                if let Some((at, offset)) = began
                    && at == depth
                {
                    items.extend(text.get(offset..end));
                    began = None;
                }
            }
            Event::Text { .. } | Event::Flaw(_) => {}
        }
    }
    Ok(items)
}

/// The first `MaHoSo` of a dossier's document.
fn dossier_code(item: &str) -> Option<String> {
    let mut scanner = Scanner::new(item, &Limits::default());
    let mut inside = false;
    let mut code = String::new();
    while let Ok(Some(event)) = scanner.next() {
        match event {
            Event::Open { name, .. } => inside = name == "MaHoSo",
            Event::Text { value, .. } if inside => {
                // Writing to a String cannot fail.
                let _infallible = write!(code, "{}", value.trim());
            }
            Event::Close { name: "MaHoSo", .. } => return Some(code),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_dossiers_and_a_dossier_is_itself() {
        let one = "<HoSo><MaHoSo>A</MaHoSo></HoSo>";
        assert_eq!(items(one).unwrap(), [one]);
        let page = "<DanhSachHoSo><HoSo><MaHoSo>A</MaHoSo></HoSo>\n<HoSo><MaHoSo> B </MaHoSo></HoSo></DanhSachHoSo>";
        let found = items(page).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(dossier_code(found[1]).as_deref(), Some("B"));
        assert!(items("<DanhSachHoSo/>").unwrap().is_empty());
        assert!(items("<HoSo>").is_err());
    }
}
