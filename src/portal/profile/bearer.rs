//! An integration platform (LGSP) that forwards calls with `Authorization: Bearer …`.
//!
//! Each operation has an address of its own, as in `<base>/ngsp/<System>/<Operation>`; the body is
//! the portal's envelope. Whether the platform keeps the session with the portal or passes a
//! `mapi/login` on is a setting. The token is either a fixed secret or fetched with client
//! credentials; [`TokenRequest`] forms that request.

use secrecy::{ExposeSecret, SecretString};

use super::super::wire::{Body, form_text, join_url, json_text};
use super::adapter::{envelope, json_headers};
use super::{AnswerForm, Formed, Operation, Profile, Shown};
use crate::http::Method;

/// Addresses of one platform. An address is a path below `base_url`, or whole.
#[derive(Debug, Clone)]
pub struct Bearer {
    pub base_url: String,
    pub dossiers: String,
    pub steps: String,
    pub look_up: String,
    /// Where the portal's own login is passed on; empty: the platform keeps the session, and
    /// envelopes go without one.
    pub login: String,
    /// Code of the connected unit, e.g. `000.00.00.H55`.
    pub madonvi: String,
}

impl Profile for Bearer {
    fn form(&self, operation: &Operation<'_>, shown: Shown<'_>) -> Formed {
        let address = match operation {
            Operation::Login { .. } => &self.login,
            Operation::Dossiers { .. } => &self.dossiers,
            Operation::Steps { .. } => &self.steps,
            Operation::LookUp { .. } => &self.look_up,
        };
        let mut headers = json_headers();
        headers.push(("authorization".to_owned(), format!("Bearer {}", shown.token)));
        let session = self.has_sessions().then_some(shown.session);
        let body = envelope(operation, &self.madonvi, session);
        Formed {
            method: Method::Post,
            url: join_url(&self.base_url, address, &[]),
            headers,
            body_hash: body.hash(),
            body: body.into_bytes(),
        }
    }

    fn answers(&self) -> AnswerForm {
        AnswerForm::Platform
    }

    fn has_sessions(&self) -> bool {
        !self.login.is_empty()
    }
}

/// How the platform wants to be asked for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenBody {
    Json,
    Form,
}

/// The client-credentials request. Field names are settings: RFC 6749 calls them `client_id` and
/// `client_secret`, other platforms `AccessKey` and `SecretKey`.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    pub base_url: String,
    pub address: String,
    pub body: TokenBody,
    pub client_id_field: String,
    pub client_id: String,
    pub client_secret_field: String,
    pub client_secret: SecretString,
    /// Further fields, name and value.
    pub fields: Vec<(String, String)>,
}

impl TokenRequest {
    pub fn form(&self) -> Formed {
        let id = (&self.client_id_field, &self.client_id);
        let plain = self.fields.iter().map(|(name, value)| (name, value)).chain([id]);
        let secret = self.client_secret.expose_secret();
        let (body, kind) = match self.body {
            TokenBody::Json => {
                let fields: Vec<String> = plain
                    .map(|(name, value)| format!("{}:{},", json_text(name), json_text(value)))
                    .collect();
                let secret_field = json_text(&self.client_secret_field);
                let before = format!("{{{}{secret_field}:", fields.concat());
                let mut body = Body::with_secret(&before, secret);
                body.push("}");
                (body, "application/json")
            }
            TokenBody::Form => {
                let fields: Vec<String> = plain
                    .map(|(name, value)| format!("{}={}&", form_text(name), form_text(value)))
                    .collect();
                let secret_field = form_text(&self.client_secret_field);
                let before = format!("{}{secret_field}=", fields.concat());
                (Body::with_form_secret(&before, secret), "application/x-www-form-urlencoded")
            }
        };
        Formed {
            method: Method::Post,
            url: join_url(&self.base_url, &self.address, &[]),
            headers: vec![
                ("accept".to_owned(), "application/json".to_owned()),
                ("content-type".to_owned(), kind.to_owned()),
            ],
            body_hash: body.hash(),
            body: body.into_bytes(),
        }
    }
}
