//! The way to the portal as the configuration describes it: profile, account, token.

use std::sync::Arc;

use super::build::secret;
use crate::config::{self, Config, WrapperAuth};
use crate::portal::profile::{
    Adapter, Bearer, Profile, SecretPlace, TokenBody, TokenRequest, Wrapper,
};
use crate::portal::{PortalSettings, Token};

pub(super) fn portal_settings(config: &Config) -> PortalSettings {
    let portal = &config.portal;
    let (profile, token): (Arc<dyn Profile>, Token) = match portal.profile {
        config::Profile::Adapter => (Arc::new(adapter(config)), Token::None),
        config::Profile::Wrapper => {
            let token = match portal.wrapper.auth {
                WrapperAuth::None => Token::None,
                _ => Token::Fixed(secret(&portal.wrapper.secret)),
            };
            (Arc::new(wrapper(config)), token)
        }
        config::Profile::Bearer => (Arc::new(bearer(config)), bearer_token(config)),
    };
    PortalSettings {
        profile,
        username: portal.username.clone().unwrap_or_default(),
        password: secret(&portal.password),
        token,
        timeout_ms: portal.timeout_ms,
        session_max_age_ms: portal.session_max_age_ms,
        answer_bytes_max: portal.answer_bytes_max,
    }
}

fn adapter(config: &Config) -> Adapter {
    let portal = &config.portal;
    Adapter {
        base_url: portal.base_url.clone().unwrap_or_default(),
        auth_path: portal.auth_path.clone(),
        integration_path: portal.integration_path.clone(),
        share_path: portal.share_path.clone(),
        dstcode: portal.dstcode.clone(),
        madonvi: config.province.madonvi.clone(),
    }
}

fn wrapper(config: &Config) -> Wrapper {
    let wrapper = &config.portal.wrapper;
    Wrapper {
        base_url: config.portal.base_url.clone().unwrap_or_default(),
        create: wrapper.create.clone(),
        update: wrapper.update.clone(),
        steps: wrapper.steps.clone(),
        look_up: wrapper.look_up.clone(),
        agency_key: wrapper.agency_key.clone(),
        updating_key: wrapper.updating_key.clone(),
        look_up_key: wrapper.look_up_key.clone(),
        madonvi: config.province.madonvi.clone(),
        secret_place: match wrapper.auth {
            WrapperAuth::None => SecretPlace::Nowhere,
            WrapperAuth::Bearer => SecretPlace::Bearer,
            WrapperAuth::Header => {
                SecretPlace::Header(wrapper.auth_header.clone().unwrap_or_default())
            }
        },
    }
}

fn bearer(config: &Config) -> Bearer {
    let bearer = &config.portal.bearer;
    Bearer {
        base_url: config.portal.base_url.clone().unwrap_or_default(),
        dossiers: bearer.dossiers.clone(),
        steps: bearer.steps.clone(),
        look_up: bearer.look_up.clone(),
        login: bearer.login.clone().unwrap_or_default(),
        madonvi: config.province.madonvi.clone(),
    }
}

fn bearer_token(config: &Config) -> Token {
    let bearer = &config.portal.bearer;
    match bearer.grant {
        config::Grant::Fixed => Token::Fixed(secret(&bearer.token)),
        config::Grant::ClientCredentials => Token::Fetched {
            request: TokenRequest {
                base_url: config.portal.base_url.clone().unwrap_or_default(),
                address: bearer.token_address.clone(),
                body: match bearer.token_body {
                    config::TokenBody::Form => TokenBody::Form,
                    config::TokenBody::Json => TokenBody::Json,
                },
                client_id_field: bearer.client_id_field.clone(),
                client_id: bearer.client_id.clone().unwrap_or_default(),
                client_secret_field: bearer.client_secret_field.clone(),
                client_secret: secret(&bearer.client_secret),
                fields: bearer.further_fields(),
            },
            renew_before_ms: bearer.renew_before_ms,
        },
    }
}
