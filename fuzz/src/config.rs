//! Configuration files: every problem at its place and without secrets; what is taken reads back as
//! itself, and the parts of the gateway can be built from it.

use std::io;
use std::path::Path;

use arbitrary::Unstructured;
use hoso_gateway::cli::build;
use hoso_gateway::config::{Config, ConfigErrors, Environment};

use super::{edits, files, recipe, text};

const COMPLETE: &str = include_str!("../../fixtures/config/complete.toml");
const MINIMAL: &str = include_str!("../../fixtures/config/minimal.toml");
const SECRET: &str = "mat-khau-kin-9Zq";

pub(super) fn seeds(root: &Path) -> Vec<Vec<u8>> {
    let mut seeds = files(&root.join("fixtures/config"));
    seeds.push(hoso_gateway::config::DEFAULT.as_bytes().to_vec());
    seeds
}

pub(super) fn check(bytes: &[u8]) {
    let file = match recipe(bytes) {
        Some(recipe) => {
            let mut recipe = Unstructured::new(recipe);
            let samples = [MINIMAL, COMPLETE, hoso_gateway::config::DEFAULT];
            let sample = *recipe.choose(&samples).unwrap_or(&samples[0]);
            edits::edited(sample, &mut recipe)
        }
        None => text(bytes).into_owned(),
    };
    let config = match Config::from_toml(&file, "/etc/hoso/hoso.toml", &Machine) {
        Ok(config) => config,
        Err(errors) => return assert_problems(&errors, &file),
    };
    let shown = config.effective_toml();
    assert!(!shown.contains(SECRET), "a secret is shown");
    let again = Config::from_toml(&shown, "/etc/hoso/hoso.toml", &Machine)
        .unwrap_or_else(|errors| panic!("what is in force cannot be read: {errors}\n{shown}"));
    assert_eq!(again.hash(), config.hash());
    if let Err(errors) = config.ready_to_run() {
        assert_problems(&errors, &file);
    }
    let schedule = build::schedule(&config);
    assert_eq!(schedule.poll.len(), config.sources.len());
    assert!(!build::gate_settings(&config).windows.is_empty());
    assert_eq!(build::mapping_settings(&config).province_codes, config.province.codes);
}

fn assert_problems(errors: &ConfigErrors, file: &str) {
    assert!(!errors.problems.is_empty());
    assert!(!errors.to_string().contains(SECRET), "a secret is told");
    let lines = file.split('\n').count();
    for problem in &errors.problems {
        assert!(!problem.message.trim().is_empty(), "{problem:?}");
        assert!(problem.position.is_none_or(|place| place.line as usize <= lines), "{problem:?}");
    }
}

/// Every variable is unset but the password; every file holds the same secret.
struct Machine;

impl Environment for Machine {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "HOSO_PORTAL_PASSWORD").then(|| SECRET.to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        if path.to_string_lossy().len().is_multiple_of(5) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(format!("{SECRET}\n"))
    }
}
