//! The configuration of a rehearsal, as somebody would write it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::Plan;
use crate::cli::lab::Way;
use crate::cli::words::new_private_file;
use crate::lab::certificates;
use crate::lab::portal::PortalOptions;

/// The accounts at the portal and at the platform before it.
pub(super) struct Account {
    username: String,
    password: String,
    client_id: String,
    client_secret: String,
}

impl Account {
    pub(super) fn of(portal: &PortalOptions) -> Self {
        Self {
            username: portal.username.clone(),
            password: portal.password.clone(),
            client_id: portal.client_id.clone(),
            client_secret: portal.client_secret.clone(),
        }
    }

    /// The secrets, where the configuration looks for them, in files that are nobody else's to read.
    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        for (name, secret) in
            [("portal-password", &self.password), ("portal-client-secret", &self.client_secret)]
        {
            new_private_file(&folder.join(name))?.write_all(secret.as_bytes())?;
        }
        Ok(())
    }
}

/// What a province's own file would say of the way to the portal.
fn way(plan: &Plan, portal: &str, account: &Account) -> String {
    let Account { username, client_id, .. } = account;
    match plan.profile {
        Way::Adapter => format!(
            "base_url = \"{portal}\"\nusername = \"{username}\"\npassword_file = \"portal-password\""
        ),
        Way::Wrapper => format!(
            "profile = \"wrapper\"\nbase_url = \"{portal}/KetNoiMotCuaQuocGia\"\n\
             wrapper.update = \"CapNhatHoSoMC\"\nwrapper.agency_key = \"\"\nwrapper.updating_key = \"\""
        ),
        Way::Bearer => format!(
            "profile = \"bearer\"\nbase_url = \"{portal}\"\nbearer.client_id = \"{client_id}\"\n\
             bearer.client_secret_file = \"portal-client-secret\""
        ),
    }
}

/// Certificate options of a side whose files lie in this folder.
fn certificate_options(plan: &Plan, folder: &str) -> String {
    if !plan.tls {
        return String::new();
    }
    format!(
        "\nca_file = \"{folder}/{}\"\nclient_certificate_file = \"{folder}/{}\"\n\
         client_key_file = \"{folder}/{}\"",
        certificates::CA_FILE,
        certificates::CLIENT_CERTIFICATE_FILE,
        certificates::CLIENT_KEY_FILE,
    )
}

/// What a province's own file would say, with the rehearsal's addresses and its hurry.
pub(super) fn text(plan: &Plan, province: &str, portal: &str, account: &Account) -> String {
    let way = way(plan, portal, account);
    let province_tls = certificate_options(plan, "tls-province");
    let portal_tls = certificate_options(plan, "tls-portal");
    let windows = plan.windows.iter().fold(String::new(), |mut text, (limit, window_ms)| {
        // Writing to a String cannot fail.
        let _infallible =
            write!(text, "\n[[gate.windows]]\nlimit = {limit}\nwindow_ms = {window_ms}\n");
        text
    });
    let Plan { headroom, look_ups_max, log_level, .. } = plan;
    format!(
        r#"# Written for a rehearsal. The laboratories end with it; the ledger stays.
[ledger]
path = "ledger.db"

[[sources]]
name = "mot-cua"
base_url = "{province}"
poll_ms = 500{province_tls}

[portal]
{way}
timeout_ms = 3000{portal_tls}

[gate]
breaker_cool_down_ms = 500
headroom = {headroom}
{windows}
[push]
concurrency = 16
dossiers_per_call = 10
lease_ms = 12000

[retry]
initial_ms = 200
max_ms = 5000

[reconcile]
settle_ms = 0
look_ups_max = {look_ups_max}
unconfirmed_every_ms = 300

[upkeep]
every_ms = 1000

[log]
level = "{log_level}"
"#
    )
}
