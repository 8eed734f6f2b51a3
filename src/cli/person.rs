//! Who asks for a change, and why: every change by hand leaves both in the ledger.

use crate::machine;

/// Arguments of every verb that changes something by hand.
#[derive(Debug, clap::Args)]
pub(super) struct Person {
    /// Why; kept in the ledger for good
    #[arg(long, value_name = "TEXT", value_parser = said)]
    pub reason: String,
    /// Who asks; stands beside the system's user in the audit, not instead of it
    #[arg(long, value_name = "NAME", value_parser = said)]
    actor: Option<String>,
}

impl Person {
    pub(super) fn actor(&self) -> String {
        actor(self.actor.as_deref())
    }
}

/// Who acts: the system's user, and beside it the name that is claimed, if any.
pub(super) fn actor(claimed: Option<&str>) -> String {
    beside(claimed, &user())
}

fn beside(claimed: Option<&str>, user: &str) -> String {
    match claimed {
        Some(claimed) if claimed != user => format!("{claimed} (as {user})"),
        _ => user.to_owned(),
    }
}

/// The system's user that runs this command, and who became it: `root, sudo by anna`. What the
/// environment says is taken only beside what the system says.
#[expect(clippy::disallowed_methods, reason = "sudo tells who called it through the environment")]
pub(super) fn user() -> String {
    let system = machine::system_user();
    let sudo = std::env::var("SUDO_USER").ok().filter(|name| is_account(name));
    told(&system, sudo.as_deref())
}

fn told(system: &machine::SystemUser, sudo: Option<&str>) -> String {
    let mut who = system.name.clone();
    if let Some(login) = &system.logged_in {
        who.push_str(", logged in as ");
        who.push_str(login);
    }
    // Whoever is root may have said anything here; nobody else came through sudo at all.
    if let Some(sudo) = sudo.filter(|sudo| *sudo != system.name) {
        who.push_str(", sudo by ");
        who.push_str(sudo);
    }
    who
}

fn is_account(name: &str) -> bool {
    let known = |letter: char| letter.is_ascii_alphanumeric() || "._-@\\".contains(letter);
    (1..=64).contains(&name.len()) && name.chars().all(known)
}

pub(super) fn said(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it must say something".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_name_stands_beside_the_system_user_and_never_instead_of_it() {
        assert_eq!(beside(None, "hoso"), "hoso");
        assert_eq!(beside(Some("Nguyễn Văn A"), "hoso"), "Nguyễn Văn A (as hoso)");
        assert_eq!(beside(Some("hoso"), "hoso"), "hoso");
        let root = |login: Option<&str>| machine::SystemUser {
            uid: 0,
            name: "root".to_owned(),
            logged_in: login.map(str::to_owned),
        };
        assert_eq!(told(&root(None), None), "root");
        assert_eq!(told(&root(None), Some("anna")), "root, sudo by anna");
        assert_eq!(
            told(&root(Some("anna")), Some("anna")),
            "root, logged in as anna, sudo by anna"
        );
        assert_eq!(beside(Some("root"), "root, sudo by anna"), "root (as root, sudo by anna)");
        assert!(!is_account("anna (as root)") && !is_account("") && is_account("anna.b"));
    }
}
