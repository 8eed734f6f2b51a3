//! Deaths at moments drawn by chance.

use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use hoso_gateway::lab::portal::Faults;
use hoso_gateway::lab::province::{Misbehaviour, MisbehaviourRule};

use super::witness::Witness;
use super::{HASTY, portal, province};
use crate::support::binary::Site;

/// Gateways that live and die beside one another.
const SITES: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "asked for by hand, to kill for an hour")]
async fn a_gateway_that_is_killed_again_and_again_loses_nothing_and_invents_nothing() {
    let kills = std::env::var("HOSO_KILLS").ok().and_then(|kills| kills.parse().ok());
    let kills: u64 = kills.unwrap_or(40);
    let lives = (0..SITES).map(|seed| tokio::spawn(life(seed, kills.div_ceil(SITES))));
    for ended in join_all(lives).await {
        ended.expect("a life without a finding");
    }
}

async fn life(seed: u64, kills: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut site = Site::open(province(30, seed), portal(seed), HASTY).await;
    let mut witness = Witness::default();
    witness.note(&site);
    for kill in 0..kills {
        witness.stir(&site, rng.u32(0..3));
        if kill % 4 == 0 {
            site.province.add(1);
            witness.note(&site);
        }
        if rng.u8(..4) == 0 {
            site.province.misbehave(MisbehaviourRule::once(Misbehaviour::TruncatedXml));
        }
        let process = site.serve();
        moment(&site, &mut rng).await;
        // While it runs, too.
        witness.stir(&site, rng.u32(0..2));
        process.kill();
        witness.assert_true(&site).await;
    }
    site.province.clear_misbehaviour();
    site.portal.set_faults(Faults::default());
    let mut process = site.serve();
    site.until_delivered().await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    witness.assert_whole(&mut site).await;
    site.close().await;
}

/// After some calls, after some questions, or after a while; not for ever where nothing is due.
async fn moment(site: &Site, rng: &mut Rng) {
    let patience = Duration::from_millis(2500);
    let (calls, asked) = (site.portal.state().calls, site.province.state().requests_served);
    match rng.u8(..3) {
        0 => {
            let wanted = calls + rng.u64(1..30);
            site.until_or(patience, |site| site.portal.state().calls >= wanted).await;
        }
        1 => {
            let wanted = asked + rng.u64(1..6);
            site.until_or(patience, |site| site.province.state().requests_served >= wanted).await;
        }
        _ => site.until_or(Duration::from_millis(rng.u64(0..1500)), |_| false).await,
    }
}
