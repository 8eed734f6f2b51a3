//! What must never be said: nobody's name, number or address stands in a log.

use std::collections::BTreeSet;

use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::{Faults, PortalOptions};
use hoso_gateway::lab::province::ProvinceOptions;
use unicode_normalization::UnicodeNormalization;

use crate::support::binary::Site;

/// What must be found: otherwise the search proves nothing.
fn dossier_codes(site: &Site) -> BTreeSet<String> {
    site.province.expected().into_iter().map(|dossier| dossier.code).collect()
}

/// Every value of a citizen or officer in a document: names, numbers, addresses of people.
fn personal(xml: &str) -> BTreeSet<String> {
    const ELEMENTS: [&str; 12] = [
        "DinhDanh",
        "GhiChu",
        "ThongTinKhac",
        "ChuHoSo",
        "SoDienThoai",
        "Email",
        "SoDinhDanh",
        "DiaChi",
        "NguoiNop",
        "NguoiXuLy",
        "TrichYeuHoSo",
        "NoiDungXuLy",
    ];
    let mut found = BTreeSet::new();
    for name in ELEMENTS {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        found.extend(xml.split(&open).skip(1).filter_map(|rest| {
            let (text, _) = rest.split_once(&close)?;
            let text: String = text.trim().nfc().collect();
            // A word of two letters stands in many lines by chance.
            (text.chars().count() > 4).then_some(text)
        }));
    }
    found
}

async fn nobody_is_named(format: &str) {
    let options =
        PopulationOptions { dossiers: 60, invalid_share: 0.3, ..PopulationOptions::default() };
    let mut site = Site::open(
        ProvinceOptions { population: options, ..ProvinceOptions::default() },
        PortalOptions { faults: Faults::preset("many").unwrap(), ..PortalOptions::default() },
        &format!(
            "[log]\nlevel = \"trace\"\nformat = \"{format}\"\n\
             [push]\ndossiers_per_call = 4\nsteps_on_unknown_status_5 = \"resend\"\n"
        ),
    )
    .await;
    let one = site.province.expected()[3].code.clone();
    site.portal.refuse(&one, "chủ hồ sơ Nguyễn Văn Thử, số 999000000001, không hợp lệ");
    let mut process = site.serve();
    site.until("most of it is delivered", |site| {
        site.portal.records().len() + 1 >= site.province.expected().len()
    })
    .await;
    // Also while the configuration changes, and in what commands print.
    process.reload();
    site.until("the reload is told", |_| process.log().contains("configuration is in force")).await;
    let mut said = String::new();
    for arguments in
        [&["status"][..], &["status", "--check"], &["problems", "list"], &["config", "show"]]
    {
        let (_, out, err) = site.run(arguments).await;
        said += &(out + &err);
    }
    process.terminate();
    process.ended().await;
    said += &process.log();
    assert!(said.lines().count() > 100, "the log is not loud:\n{said}");

    let mut codes = dossier_codes(&site);
    codes.extend(site.problem_codes().await);
    let mut secrets: BTreeSet<String> =
        ["Nguyễn Văn Thử", "999000000001", "mat-khau-thu-nghiem"].map(str::to_owned).into();
    for xml in codes.iter().filter_map(|code| site.province.dossier_xml(code)) {
        secrets.extend(personal(&xml));
    }
    assert!(secrets.len() > 120, "{} secrets", secrets.len());
    let said: String = said.nfc().collect();
    // JSON may write a letter as an escape.
    let unescaped = said.replace("\\/", "/");
    for secret in &secrets {
        assert!(!said.contains(secret) && !unescaped.contains(secret), "somebody said {secret:?}");
        let escaped = serde_json::to_string(secret).expect("a text");
        assert!(!said.contains(escaped.trim_matches('"')), "somebody said {escaped}");
    }
    // The control: the same search finds what may be said, each delivered dossier by its code, and
    // one dossier's way from the source to the portal.
    for code in dossier_codes(&site) {
        assert!(said.contains(&code), "no line tells of {code}");
    }
    let way: Vec<&str> = said.lines().filter(|line| line.contains(&one)).collect();
    for word in ["given by the source", "mapped: valid", "packet"] {
        assert!(way.iter().any(|line| line.contains(word)), "{word} of {one}:\n{}", way.join("\n"));
    }
    assert!(way.iter().any(|line| line.contains("call") && line.contains("attempt")), "{way:#?}");
    site.close().await;
}

#[tokio::test]
async fn the_log_at_its_loudest_names_no_citizen() {
    nobody_is_named("text").await;
}

#[tokio::test]
async fn nor_does_it_in_the_form_for_machines() {
    nobody_is_named("json").await;
}

#[tokio::test]
async fn nor_does_it_in_the_journal() {
    nobody_is_named("journald").await;
}
