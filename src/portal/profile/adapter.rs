//! The direct way: the NDXP/VXP adapter (security server) of the province.
//!
//! `POST <base><path>?dstcode=…` with the same `dstcode` as a header: public clients use one or the
//! other, and adapters that read only one exist. The envelope's key order follows the published
//! clients.

use super::super::wire::{Body, join_url, json_text};
use super::{AnswerForm, Formed, Operation, Profile, Shown};
use crate::http::Method;

/// Addresses and identity of one province at the adapter.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub base_url: String,
    pub auth_path: String,
    /// Pushes.
    pub integration_path: String,
    /// Look-ups and catalogues.
    pub share_path: String,
    /// Address of the portal in the exchange; empty when the base URL leads to it directly.
    pub dstcode: String,
    /// Code of the connected unit, e.g. `000.00.00.H55`.
    pub madonvi: String,
}

/// The body of a call in the portal's own envelope. `session`: `None` leaves the key out.
pub(super) fn envelope(operation: &Operation<'_>, madonvi: &str, session: Option<&str>) -> Body {
    if let Operation::Login { username, password } = operation {
        return Body::login(username, password);
    }
    let mut body = match session {
        Some(session) => {
            let mut body = Body::with_secret(r#"{"session":"#, session);
            body.push(r#","madonvi":"#);
            body
        }
        None => Body::plain(r#"{"madonvi":"#),
    };
    body.push(&json_text(madonvi));
    body.push(r#","service":"#);
    body.push(&json_text(operation.service().as_str()));
    match operation {
        Operation::Login { .. } => {}
        Operation::Dossiers { is_updating, packets } => {
            // Strings, not booleans: the portal's own spelling.
            body.push(if *is_updating {
                r#","isUpdating":"True""#
            } else {
                r#","isUpdating":"False""#
            });
            body.push(r#","data":"#);
            body.push_array(packets);
        }
        Operation::Steps { packets } => {
            body.push(r#","data":"#);
            body.push_array(packets);
        }
        Operation::LookUp { ma_ho_so } => {
            body.push(r#","mahoso":"#);
            body.push(&json_text(ma_ho_so));
        }
    }
    body.push("}");
    body
}

/// What every JSON request says about itself; `charset` as the published clients write it.
pub(super) fn json_headers() -> Vec<(String, String)> {
    [("accept", "application/json"), ("content-type", "application/json"), ("charset", "utf-8")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

impl Profile for Adapter {
    fn form(&self, operation: &Operation<'_>, shown: Shown<'_>) -> Formed {
        let path = match operation {
            Operation::Login { .. } => &self.auth_path,
            Operation::Dossiers { .. } | Operation::Steps { .. } => &self.integration_path,
            Operation::LookUp { .. } => &self.share_path,
        };
        let mut headers = json_headers();
        let mut query = Vec::new();
        if !self.dstcode.is_empty() {
            headers.push(("dstcode".to_owned(), self.dstcode.clone()));
            query.push(("dstcode", self.dstcode.as_str()));
        }
        let body = envelope(operation, &self.madonvi, Some(shown.session));
        Formed {
            method: Method::Post,
            url: join_url(&self.base_url, path, &query),
            headers,
            body_hash: body.hash(),
            body: body.into_bytes(),
        }
    }

    fn answers(&self) -> AnswerForm {
        AnswerForm::Portal
    }

    fn has_sessions(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    fn adapter() -> Adapter {
        Adapter {
            base_url: "http://adapter.example.invalid:8080/XrdAdapter/RestService/forward/".into(),
            auth_path: "mapi/login".into(),
            integration_path: "/mapi/g".into(),
            share_path: "mapi/p".into(),
            dstcode: "VN:GOV:000.00.00.G22:vpcpdvcprovider".into(),
            madonvi: "000.00.00.H55".into(),
        }
    }

    fn shown(session: &str) -> Shown<'_> {
        Shown { session, token: "" }
    }

    fn text(formed: &Formed) -> &str {
        std::str::from_utf8(&formed.body).unwrap()
    }

    #[test]
    fn a_dossier_call_carries_the_packets_byte_for_byte() {
        let packets = [r#"{"MaHoSo":"H55-1",  "b":1.0}"#, r#"{"MaHoSo":"H55-2"}"#];
        let formed = adapter()
            .form(&Operation::Dossiers { is_updating: false, packets: &packets }, shown("abc\"d"));
        assert_eq!(
            text(&formed),
            concat!(
                r#"{"session":"abc\"d","madonvi":"000.00.00.H55","service":"DongBoHoSoMC","#,
                r#""isUpdating":"False","data":[{"MaHoSo":"H55-1",  "b":1.0},{"MaHoSo":"H55-2"}]}"#
            )
        );
        assert_eq!(
            formed.url,
            "http://adapter.example.invalid:8080/XrdAdapter/RestService/forward/mapi/g?dstcode=VN:GOV:000.00.00.G22:vpcpdvcprovider"
        );
        assert!(
            formed.headers.contains(&(
                "dstcode".to_owned(),
                "VN:GOV:000.00.00.G22:vpcpdvcprovider".to_owned()
            ))
        );
    }

    #[test]
    fn updates_steps_and_look_ups_have_the_shape_of_their_service() {
        let adapter = adapter();
        let update =
            adapter.form(&Operation::Dossiers { is_updating: true, packets: &["{}"] }, shown("s"));
        assert!(text(&update).contains(r#""isUpdating":"True""#));
        let steps = adapter.form(&Operation::Steps { packets: &["{}"] }, shown("s"));
        assert_eq!(
            text(&steps),
            r#"{"session":"s","madonvi":"000.00.00.H55","service":"CapNhatTienDoHoSoMC","data":[{}]}"#
        );
        let look_up =
            adapter.form(&Operation::LookUp { ma_ho_so: "H55.242-260126-0001" }, shown("s"));
        assert_eq!(
            text(&look_up),
            r#"{"session":"s","madonvi":"000.00.00.H55","service":"TraCuuHoSo","mahoso":"H55.242-260126-0001"}"#
        );
        assert!(look_up.url.contains("/forward/mapi/p?"));
    }

    #[test]
    fn the_hash_does_not_depend_on_secrets() {
        let adapter = adapter();
        let operation = Operation::Steps { packets: &["{}"] };
        let one = adapter.form(&operation, shown("session-one"));
        let two = adapter.form(&operation, shown("session-two"));
        assert_ne!(one.body, two.body);
        assert_eq!(one.body_hash, two.body_hash);
        assert_eq!(
            one.body_hash,
            *blake3::hash(
                br#"{"session":"","madonvi":"000.00.00.H55","service":"CapNhatTienDoHoSoMC","data":[{}]}"#
            )
            .as_bytes()
        );
        let login = |password: &str| {
            adapter.form(
                &Operation::Login { username: "u", password: &SecretString::from(password) },
                Shown::default(),
            )
        };
        assert_eq!(text(&login("p\\q")), r#"{"username":"u","password":"p\\q"}"#);
        assert_eq!(login("a").body_hash, login("b").body_hash);
    }
}
