//! `[portal.bearer]`: addresses and token of an integration platform.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::problems::Problems;
use super::super::secrets::{Environment, Secret};
use super::super::values::{optional, optional_path, within};
use super::{check_address, check_name, missing_secret};

const TOKEN_VARIABLE: &str = "HOSO_PORTAL_TOKEN";
const CLIENT_SECRET_VARIABLE: &str = "HOSO_PORTAL_CLIENT_SECRET";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    pub dossiers: String,
    pub steps: String,
    pub look_up: String,
    /// Absent: the platform keeps the session with the portal.
    #[serde(with = "optional")]
    pub login: Option<String>,
    pub grant: Grant,
    #[serde(with = "optional_path")]
    pub token_file: Option<PathBuf>,
    pub token_address: String,
    pub token_body: TokenBody,
    pub client_id_field: String,
    #[serde(with = "optional")]
    pub client_id: Option<String>,
    pub client_secret_field: String,
    #[serde(with = "optional_path")]
    pub client_secret_file: Option<PathBuf>,
    /// Each `name=value`.
    pub token_fields: Vec<String>,
    pub renew_before_ms: u64,
    /// For [`Grant::Fixed`].
    #[serde(skip)]
    pub token: Secret,
    /// For [`Grant::ClientCredentials`].
    #[serde(skip)]
    pub client_secret: Secret,
}

/// Where tokens come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    Fixed,
    ClientCredentials,
}

/// How a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenBody {
    Form,
    Json,
}

impl Bearer {
    pub(super) fn addresses(&self) -> Vec<(&'static str, &String)> {
        let mut addresses = vec![
            ("portal.bearer.dossiers", &self.dossiers),
            ("portal.bearer.steps", &self.steps),
            ("portal.bearer.look_up", &self.look_up),
        ];
        addresses.extend(self.login.iter().map(|login| ("portal.bearer.login", login)));
        if self.grant == Grant::ClientCredentials {
            addresses.push(("portal.bearer.token_address", &self.token_address));
        }
        addresses
    }

    /// The further fields of a request for a token, name and value.
    pub fn further_fields(&self) -> Vec<(String, String)> {
        self.token_fields
            .iter()
            .filter_map(|field| field.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    pub(super) fn check(&self, problems: &mut Problems<'_>) {
        for (key, address) in self.addresses() {
            check_address(key, address, problems);
        }
        for (key, name) in [
            ("portal.bearer.client_id_field", &self.client_id_field),
            ("portal.bearer.client_secret_field", &self.client_secret_field),
        ] {
            check_name(key, name, problems);
            if name.is_empty() {
                problems.at(key, "the field has no name", "");
            }
        }
        for (at, field) in self.token_fields.iter().enumerate() {
            let is_named = field.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty());
            if !is_named {
                problems.at(
                    &format!("portal.bearer.token_fields[{at}]"),
                    "this is no field",
                    "name=value, e.g. \"grant_type=client_credentials\"",
                );
            }
        }
        let unused = match self.grant {
            Grant::Fixed => [
                ("client_id", self.client_id.is_some()),
                ("client_secret_file", self.client_secret_file.is_some()),
            ],
            Grant::ClientCredentials => [("token_file", self.token_file.is_some()), ("", false)],
        };
        for (name, is_set) in unused {
            if is_set {
                let other = match self.grant {
                    Grant::Fixed => "client_credentials",
                    Grant::ClientCredentials => "fixed",
                };
                problems.at(
                    &format!("portal.bearer.{name}"),
                    "this grant does not use it",
                    format!("set grant = \"{other}\", or remove it"),
                );
            }
        }
        within("portal.bearer.renew_before_ms", self.renew_before_ms, 0, 86_400_000, problems);
    }

    pub(super) fn find_secrets(&mut self, env: &dyn Environment) {
        match self.grant {
            Grant::Fixed => {
                let file = self.token_file.as_deref();
                self.token = Secret::find(TOKEN_VARIABLE, file, "portal-token", env);
            }
            Grant::ClientCredentials => {
                let file = self.client_secret_file.as_deref();
                self.client_secret =
                    Secret::find(CLIENT_SECRET_VARIABLE, file, "portal-client-secret", env);
            }
        }
    }

    pub(super) fn secret(&self) -> (&'static str, &Secret) {
        match self.grant {
            Grant::Fixed => ("portal.bearer.token", &self.token),
            Grant::ClientCredentials => ("portal.bearer.client_secret", &self.client_secret),
        }
    }

    pub(super) fn check_ready(&self, problems: &mut Problems<'_>) {
        match self.grant {
            Grant::Fixed => missing_secret(
                "portal.bearer.token_file",
                "the token of the integration platform",
                &self.token,
                TOKEN_VARIABLE,
                problems,
            ),
            Grant::ClientCredentials => {
                if self.client_id.is_none() {
                    let key = "portal.bearer.client_id";
                    problems.at(key, "the integration platform needs an account", "");
                }
                missing_secret(
                    "portal.bearer.client_secret_file",
                    "the secret of the integration platform's account",
                    &self.client_secret,
                    CLIENT_SECRET_VARIABLE,
                    problems,
                );
            }
        }
    }
}
