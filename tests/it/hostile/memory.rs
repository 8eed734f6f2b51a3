//! The real program on the largest cases: how much memory it has taken at most.

use hoso_gateway::lab::population::PopulationOptions;
use hoso_gateway::lab::portal::PortalOptions;
use hoso_gateway::lab::province::ProvinceOptions;

use super::case::{self, Case, Ends, Given};
use crate::support::binary::Site;

/// `sources.page_bytes_max` as it is by default.
const PAGE_BYTES_MAX: u64 = 64 << 20;
/// What the program may take for the largest page that it accepts: the page as it came, its dossiers
/// cut out of it, and 64 MB for everything else (some 30 MB in a build for debugging). A page in
/// another encoding than UTF-8 is decoded first, which is one text more.
const PEAK_BYTES_MAX: u64 = 2 * PAGE_BYTES_MAX + (64 << 20);

const SOUND: u32 = 4;

fn province() -> ProvinceOptions {
    ProvinceOptions {
        population: PopulationOptions {
            dossiers: SOUND,
            invalid_share: 0.0,
            ministry_share: 0.0,
            ..PopulationOptions::default()
        },
        gzip: false,
        ..ProvinceOptions::default()
    }
}

/// The most that the daemon took for these dossiers, until all is delivered that can be, with the
/// rules that stand as problems then.
async fn peak_bytes(dossiers: &[String], problems: usize) -> (u64, Vec<String>) {
    let mut site = Site::open(province(), PortalOptions::default(), "").await;
    // One poll, which asks for the spoilt ones as seldom as can be: in a build for debugging, 50 MB
    // are a second each time.
    let config = std::fs::read_to_string(site.config()).expect("a file");
    let config = config.replace("poll_ms = 100", "poll_ms = 600000\npage_limit = 24");
    std::fs::write(site.config(), config).expect("a file");
    for xml in dossiers {
        site.province.put_raw(xml).expect("a dossier");
    }
    let process = site.serve();
    site.until_delivered().await;
    let rules = site.until_problems(problems).await;
    let peak = process.peak_bytes();
    process.kill();
    site.close().await;
    (peak, rules)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_largest_cases_end_where_they_belong_in_bounded_memory() {
    let large: Vec<Case> = case::all().into_iter().filter(Case::is_large).collect();
    assert!(large.len() >= 4, "the large cases are gone");
    for case in large {
        let (Given::Dossier(change), Ends::ItemRefused { rule, .. } | Ends::PassedOver { rule }) =
            (&case.given, &case.ends)
        else {
            panic!("{}: a large case is a dossier that cannot be read", case.name)
        };
        let dossier = change.write("H55.242-260126-1000");
        let (peak, problems) = peak_bytes(&[dossier], 1).await;
        assert_eq!(&problems, std::slice::from_ref(rule), "{}", case.name);
        assert!(peak < PEAK_BYTES_MAX, "{} took {} MB", case.name, peak >> 20);
    }
}

/// Not one dossier is at fault, and each may be stored: the page is simply as large as a page may be.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_largest_page_is_taken_in_bounded_memory() {
    let change = case::Change {
        generate: Some(case::Recipe::Texts),
        count: 3_500_000,
        ..case::Change::default()
    };
    let dossiers: Vec<String> =
        (0..18).map(|number| change.write(&format!("H55.242-260126-{}", 1000 + number))).collect();
    let bytes: usize = dossiers.iter().map(String::len).sum();
    assert!(bytes as u64 > PAGE_BYTES_MAX * 9 / 10 && (bytes as u64) < PAGE_BYTES_MAX);
    let (peak, _) = peak_bytes(&dossiers, 0).await;
    assert!(peak < PEAK_BYTES_MAX, "it took {} MB", peak >> 20);
}
