//! What the simulation found, each as short as it goes, with its story.
//!
//! Every one of these mistakes can be put back in ([`Defect`]). A reproduction runs twice: with the
//! mistake, where the rule must break, and without, where everything comes right.

use hoso_gateway::lab::province::Misbehaviour;
use hoso_gateway::sabotage::Defect;

use super::ops::{Op, Setup};
use super::run::run;

fn setup() -> Setup {
    Setup {
        seed: 7,
        dossiers: 8,
        dossiers_per_call: 1,
        invalid_share: 0.0,
        page_limit: 3,
        concurrency: 4,
        echoes: false,
        prefix_applied: false,
        portal_limit: None,
    }
}

fn pass(secs: u32) -> Op {
    Op::Pass { secs }
}

/// Each of the first dossiers takes its next step.
fn all_evolve() -> impl Iterator<Item = Op> {
    (0..8).map(|which| Op::Evolve { which })
}

fn breaks_only_with(defect: Defect, setup: &Setup, ops: &[Op], property: &str) {
    let mistaken = run(setup, ops, Some(defect));
    let broken = mistaken.violation.as_ref().map(|violation| violation.property);
    assert_eq!(broken, Some(property), "{defect:?}\n{}", mistaken.last_lines);
    let sound = run(setup, ops, None);
    assert_eq!(sound.violation, None, "{}", sound.last_lines);
}

/// A dossier dated an hour ahead ended a page. The time of that position was written down as ours, so
/// that a fast clock would not move the overlap; ten minutes later the position itself counted as
/// old enough to begin from, and everything that changed within the hour stood before it, unread.
#[test]
fn a_dossier_dated_ahead_hides_no_other() {
    let mut ops = vec![pass(20)];
    ops.push(Op::Misbehave { how: Misbehaviour::ClockJump, times: 1, which: 0 });
    ops.extend([pass(150), pass(150), pass(150), pass(150)]);
    for _ in 0..3 {
        ops.extend(all_evolve());
        ops.push(pass(150));
    }
    breaks_only_with(Defect::CursorFromTheFuture, &setup(), &ops, "liveness");
}

/// A page gave a dossier twice under one version, first with another text, then as it had been
/// before. The second one was known, so it was no news, and the first one stayed the newest.
#[test]
fn of_two_words_in_one_page_the_last_counts() {
    let mut ops = vec![pass(20)];
    ops.extend(all_evolve());
    ops.push(pass(90));
    ops.push(Op::Misbehave { how: Misbehaviour::DuplicateInPage, times: 1, which: 3 });
    ops.push(pass(90));
    let setup = Setup { page_limit: 500, ..setup() };
    breaks_only_with(Defect::FirstWordCounts, &setup, &ops, "liveness");
}

/// The portal forgot a dossier, refused its next update, and took it as a create. The packet was there
/// again, and the steps that had been acknowledged before were not; no look-up would have shown it.
#[test]
fn a_portal_that_forgot_a_dossier_gets_its_steps_again() {
    let mut ops = vec![pass(60)];
    ops.extend((0..8).map(|which| Op::Forget { which }));
    ops.extend(all_evolve());
    ops.push(pass(150));
    breaks_only_with(Defect::LostStepsStayAcknowledged, &setup(), &ops, "liveness");
}

/// A backup was made while creates were due. They were sent, and updates after them. In the restored
/// backup the creates were looked up; the fields that the portal shows were equal, and the older
/// packets were called accepted, while the portal held later ones.
#[test]
fn after_a_restore_an_echo_proves_nothing() {
    let setup = Setup { echoes: true, page_limit: 500, ..setup() };
    let mut ops = vec![pass(1), Op::Hold, pass(60), Op::Backup, Op::Resume, pass(90)];
    ops.extend(all_evolve());
    ops.push(pass(90));
    ops.extend([Op::Restore, pass(150), pass(150)]);
    breaks_only_with(Defect::EchoBelievedAfterARestore, &setup, &ops, "no false success");
}
