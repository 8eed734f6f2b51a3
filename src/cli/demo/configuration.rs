//! The configuration that a demo runs on, as somebody would write it.

use super::{Arguments, QUOTA_PER_SECOND};
use crate::cli::lab::Way;
use crate::lab::certificates;

/// What a province's own file would say of the way to the portal; `accounts`: at the portal and at
/// the platform.
fn way(arguments: &Arguments, portal: &str, accounts: &(String, String)) -> String {
    let (username, client_id) = accounts;
    match arguments.profile {
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
fn certificate_options(arguments: &Arguments, folder: &str) -> String {
    if !arguments.tls {
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

/// What a province's own file would say, with the demo's addresses and its hurry.
pub(super) fn text(
    arguments: &Arguments,
    province: &str,
    portal: &str,
    accounts: &(String, String),
) -> String {
    let look_ups = arguments.dossiers.saturating_mul(2).max(1000);
    let way = way(arguments, portal, accounts);
    let province_tls = certificate_options(arguments, "tls-province");
    let portal_tls = certificate_options(arguments, "tls-portal");
    format!(
        r#"# Written by `hoso demo`. The laboratories end with it; the ledger stays.
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

[[gate.windows]]
limit = {QUOTA_PER_SECOND}
window_ms = 1000

[push]
concurrency = 16
dossiers_per_call = 10
lease_ms = 30000

[retry]
initial_ms = 200
max_ms = 5000

[reconcile]
settle_ms = 0
look_ups_max = {look_ups}
unconfirmed_every_ms = 300

[upkeep]
every_ms = 1000

[log]
level = "error"
"#
    )
}
