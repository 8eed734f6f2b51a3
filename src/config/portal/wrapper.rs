//! `[portal.wrapper]`: addresses and spelling of a province's wrapper.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::problems::Problems;
use super::super::secrets::{Environment, Secret};
use super::super::values::{optional, optional_path};
use super::{check_address, check_name, missing_secret};

const SECRET_VARIABLE: &str = "HOSO_PORTAL_WRAPPER_SECRET";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapper {
    pub create: String,
    pub update: String,
    pub steps: String,
    pub look_up: String,
    /// Empty: not sent. So are the next two, but for the look-up's, which is required.
    pub agency_key: String,
    pub updating_key: String,
    pub look_up_key: String,
    pub auth: WrapperAuth,
    /// For [`WrapperAuth::Header`].
    #[serde(with = "optional")]
    pub auth_header: Option<String>,
    #[serde(with = "optional_path")]
    pub secret_file: Option<PathBuf>,
    /// For every auth but [`WrapperAuth::None`].
    #[serde(skip)]
    pub secret: Secret,
}

/// What the wrapper wants to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrapperAuth {
    None,
    Bearer,
    Header,
}

impl Wrapper {
    pub(super) fn addresses(&self) -> [(&'static str, &String); 4] {
        [
            ("portal.wrapper.create", &self.create),
            ("portal.wrapper.update", &self.update),
            ("portal.wrapper.steps", &self.steps),
            ("portal.wrapper.look_up", &self.look_up),
        ]
    }

    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        for (key, address) in self.addresses() {
            check_address(key, address, problems);
        }
        for (key, name) in [
            ("portal.wrapper.agency_key", &self.agency_key),
            ("portal.wrapper.updating_key", &self.updating_key),
            ("portal.wrapper.look_up_key", &self.look_up_key),
        ] {
            check_name(key, name, problems);
        }
        if self.look_up_key.is_empty() {
            problems.at(
                "portal.wrapper.look_up_key",
                "a look-up has to name its dossier",
                "the query key of the dossier's code, e.g. \"mahoso\"",
            );
        }
        if self.create == self.update && self.updating_key.is_empty() {
            problems.at(
                "portal.wrapper.updating_key",
                "the wrapper could not tell creates from updates",
                "name the flag's query key, or give create and update addresses of their own",
            );
        }
        let header = self.auth_header.as_deref();
        match (self.auth, header) {
            (WrapperAuth::Header, None) => problems.at(
                "portal.wrapper.auth_header",
                "auth = \"header\" needs the header's name",
                "e.g. \"X-Api-Key\"",
            ),
            (WrapperAuth::Header, Some(name)) => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                if !name.chars().all(is_name) {
                    problems.at("portal.wrapper.auth_header", "this is no header's name", "");
                }
            }
            (_, Some(_)) => problems.at(
                "portal.wrapper.auth_header",
                "this auth does not use it",
                "set auth = \"header\", or remove it",
            ),
            (_, None) => {}
        }
        if self.auth == WrapperAuth::None && self.secret_file.is_some() {
            problems.at(
                "portal.wrapper.secret_file",
                "this auth does not use it",
                "set auth = \"bearer\" or \"header\", or remove it",
            );
        }
    }

    pub(super) fn find_secrets(&mut self, env: &dyn Environment) {
        if self.auth != WrapperAuth::None {
            let file = self.secret_file.as_deref();
            self.secret = Secret::find(SECRET_VARIABLE, file, "portal-wrapper-secret", env);
        }
    }

    pub(super) fn secret(&self) -> Option<(&'static str, &Secret)> {
        (self.auth != WrapperAuth::None).then_some(("portal.wrapper.secret", &self.secret))
    }

    pub(super) fn check_ready(&self, problems: &mut Problems<'_>) {
        if self.auth != WrapperAuth::None {
            let what = "the secret of the wrapper";
            missing_secret(
                "portal.wrapper.secret_file",
                what,
                &self.secret,
                SECRET_VARIABLE,
                problems,
            );
        }
    }
}
