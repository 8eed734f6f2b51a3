//! Who asks for a change, and why: every change by hand leaves both in the ledger.

/// Arguments of every verb that changes something by hand.
#[derive(Debug, clap::Args)]
pub(super) struct Person {
    /// Why; kept in the ledger for good
    #[arg(long, value_name = "TEXT", value_parser = said)]
    pub reason: String,
    /// Who asks; the name of the logged-in user unless given
    #[arg(long, value_name = "NAME", value_parser = said)]
    actor: Option<String>,
}

impl Person {
    pub(super) fn actor(&self) -> String {
        self.actor.clone().unwrap_or_else(user)
    }
}

/// The name of the logged-in user.
#[expect(
    clippy::disallowed_methods,
    reason = "the name of the logged-in user is known to the environment alone"
)]
pub(super) fn user() -> String {
    let name = std::env::var("USER").ok().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "unknown".to_owned())
}

pub(super) fn said(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it must say something".to_owned()),
        text => Ok(text.to_owned()),
    }
}
