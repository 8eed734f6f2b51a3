//! Forms that several sections share: `""` for "not set", and checks of plain values.

use std::fmt::Display;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serializer};

use super::problems::Problems;
use crate::domain::time::Timestamp;

/// `""` is "not set", for everything that is read from and shown as a text.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Display, FromStr, Serializer};

    #[expect(clippy::ref_option, reason = "the shape that serde calls")]
    pub(in crate::config) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_str(""),
        }
    }

    pub(in crate::config) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(serde::de::Error::custom)
    }
}

/// As [`optional`], for paths, which have no `Display`.
pub(super) mod optional_path {
    use std::path::PathBuf;

    use super::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the shape that serde calls")]
    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = value.as_ref().map(|path| path.display().to_string());
        serializer.serialize_str(&text.unwrap_or_default())
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }
}

/// `""` is "not set"; else a point in time with its zone, or in Vietnam time.
pub(super) fn optional_time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    Timestamp::from_source(&text).map(Some).ok_or_else(|| {
        serde::de::Error::custom(
            "no point in time: write date and time of day, as \"2026-02-01T00:00:00+07:00\"; \
             without a zone it is Vietnam time",
        )
    })
}

/// A number within its limits, both included.
pub(super) fn within<N: PartialOrd + Display + Copy>(
    key: &str,
    value: N,
    least: N,
    most: N,
    problems: &mut Problems<'_>,
) {
    // NaN is within nothing.
    let is_within = value >= least && value <= most;
    if !is_within {
        problems.at(key, format!("{value} is not within {least} and {most}"), "");
    }
}

/// An address that paths can be added to. It is not quoted: people put passwords into addresses.
pub(super) fn base_url(key: &str, url: &str, problems: &mut Problems<'_>) {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        let hint = "write it as https://host/path or http://host:port/path";
        problems.at(key, "the address begins with neither https:// nor http://", hint);
        return;
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        problems.at(
            key,
            "the address holds a user or a password",
            "leave them out; secrets have options of their own",
        );
    } else if host.is_empty() || host.starts_with(':') {
        problems.at(key, "the address has no host", "");
    } else if rest.contains(['?', '#']) {
        problems.at(key, "the address has a query or a fragment", "end it with the path");
    } else if !rest.chars().all(|c| c.is_ascii_graphic()) {
        problems.at(key, "the address holds white space or characters that need escaping", "");
    }
}
