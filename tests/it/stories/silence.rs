//! What must never be said: nobody's name, number or address stands in a log.

use std::collections::BTreeSet;

use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{Faults, PortalOptions};
use hoso_gateway::lab::province::ProvinceOptions;
use unicode_normalization::UnicodeNormalization;

use crate::support::binary::Site;

#[tokio::test]
async fn the_log_at_its_loudest_names_no_citizen() {
    let options =
        PopulationOptions { dossiers: 60, invalid_share: 0.3, ..PopulationOptions::default() };
    let mut site = Site::open(
        ProvinceOptions {
            population: options,
            ..ProvinceOptions::default()
        },
        PortalOptions {
            faults: Faults::preset("many").unwrap(),
            ..PortalOptions::default()
        },
        "[log]\nlevel = \"trace\"\n[push]\ndossiers_per_call = 4\nsteps_on_unknown_status_5 = \"resend\"\n",
    )
    .await;
    let one = site.province.expected()[3].code.clone();
    site.portal.refuse(&one, "chủ hồ sơ Nguyễn Văn Thử, số 999000000001, không hợp lệ");
    let mut process = site.serve();
    site.until("most of it is delivered", |site| {
        site.portal.records().len() + 1 >= site.province.expected().len()
    })
    .await;
    process.terminate();
    process.ended().await;
    let log = process.log();
    assert!(log.lines().count() > 100, "the log is not loud:\n{log}");

    let mut codes: Vec<String> =
        site.province.expected().into_iter().map(|dossier| dossier.code).collect();
    codes.extend(site.problem_codes().await);
    let mut secrets: BTreeSet<String> =
        ["Nguyễn Văn Thử", "999000000001", "mat-khau-thu-nghiem"].map(str::to_owned).into();
    for xml in codes.iter().filter_map(|code| site.province.dossier_xml(code)) {
        for name in ["ChuHoSo", "SoDienThoai", "Email", "SoDinhDanh"] {
            let (open, close) = (format!("<{name}>"), format!("</{name}>"));
            secrets.extend(xml.split(&open).skip(1).filter_map(|rest| {
                let (text, _) = rest.split_once(&close)?;
                Some(text.trim().nfc().collect())
            }));
        }
    }
    assert!(secrets.len() > 120, "{} secrets", secrets.len());
    let log: String = log.nfc().collect();
    for secret in secrets {
        assert!(!log.contains(&secret), "the log holds {secret:?}");
    }
    site.close().await;
}
