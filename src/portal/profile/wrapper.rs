//! A province's own wrapper in front of the adapter: a bare array goes to an address of its own for
//! each operation, and the wrapper keeps the session with the portal.
//!
//! Two shapes are in service and both are only settings here. One takes creates and updates at one
//! address and wants the agency and the flag in the query
//! (`…/DongBoHoSoMC?MaDinhDanhDV=000.00.01.H22&isUpdating=True`); the other has an address for each
//! and no query. Lists and look-ups are asked with GET and query parameters.

use super::super::wire::{Body, join_url};
use super::adapter::json_headers;
use super::{AnswerForm, Formed, Operation, Profile, Shown};
use crate::http::Method;

/// Addresses and spelling of one wrapper. An address is a path below `base_url`, or whole.
#[derive(Debug, Clone)]
pub struct Wrapper {
    pub base_url: String,
    pub create: String,
    pub update: String,
    pub steps: String,
    pub look_up: String,
    /// Query key of the agency's code, sent with every call; empty: not sent.
    pub agency_key: String,
    /// Query key of the flag `True` or `False`, sent with dossiers; empty: not sent.
    pub updating_key: String,
    /// Query key of the dossier's code in a look-up.
    pub look_up_key: String,
    /// Code of the connected unit, e.g. `000.00.00.H55`.
    pub madonvi: String,
    pub secret_place: SecretPlace,
}

/// Where the wrapper's fixed secret is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    Nowhere,
    /// `Authorization: Bearer …`
    Bearer,
    /// A header of this name, with the secret as it is.
    Header(String),
}

impl Profile for Wrapper {
    fn form(&self, operation: &Operation<'_>, shown: Shown<'_>) -> Formed {
        let mut query = Vec::new();
        if !self.agency_key.is_empty() {
            query.push((self.agency_key.as_str(), self.madonvi.as_str()));
        }
        let (method, address) = match operation {
            Operation::Dossiers { is_updating, .. } => {
                if !self.updating_key.is_empty() {
                    let flag = if *is_updating { "True" } else { "False" };
                    query.push((self.updating_key.as_str(), flag));
                }
                (Method::Post, if *is_updating { &self.update } else { &self.create })
            }
            Operation::Steps { .. } => (Method::Post, &self.steps),
            Operation::LookUp { ma_ho_so } => {
                query.push((self.look_up_key.as_str(), ma_ho_so));
                (Method::Get, &self.look_up)
            }
            // Never asked for, see `has_sessions`; the wrapper has no such address.
            Operation::Login { .. } => (Method::Get, &self.base_url),
        };
        let mut body = Body::plain("");
        let mut headers = vec![("accept".to_owned(), "application/json".to_owned())];
        if method == Method::Post {
            body.push_array(operation.packets());
            headers = json_headers();
        }
        match &self.secret_place {
            SecretPlace::Nowhere => {}
            SecretPlace::Bearer => {
                headers.push(("authorization".to_owned(), format!("Bearer {}", shown.token)));
            }
            SecretPlace::Header(name) => headers.push((name.clone(), shown.token.to_owned())),
        }
        Formed {
            method,
            url: join_url(&self.base_url, address, &query),
            headers,
            body_hash: body.hash(),
            body: body.into_bytes(),
        }
    }

    fn answers(&self) -> AnswerForm {
        AnswerForm::PortalOrText
    }

    fn has_sessions(&self) -> bool {
        false
    }
}
