//! What happens to the world, one after another. Every operation is possible in every state, so that
//! any part of a list is a list.

use fastrand::Rng;
use hoso_gateway::lab::portal::Fault;
use hoso_gateway::lab::province::Misbehaviour;

use super::ledger::LedgerFault;
use super::wire::WireFault;

/// Dossiers are named by a number, taken modulo those that there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    /// Time passes.
    Pass {
        secs: u32,
    },

    // The province.
    /// A dossier takes its next step.
    Evolve {
        which: u32,
    },
    Add {
        count: u32,
    },
    Delete {
        which: u32,
    },
    /// It is wrong in this way, for some answers.
    Misbehave {
        how: Misbehaviour,
        times: u32,
        which: u32,
    },
    ProvinceAway {
        secs: u32,
    },

    // The portal, and the way to it.
    /// The portal does this to a call, after some that it does not.
    Portal {
        fault: Fault,
        service: Option<&'static str>,
        times: u32,
    },
    /// This happens on the way to a call, after some to which it does not.
    Wire {
        fault: WireFault,
        after: u32,
    },
    /// Nothing gets through, in this way.
    Outage {
        how: WireFault,
        secs: u32,
    },
    /// The portal has never heard of the dossier.
    Forget {
        which: u32,
    },
    /// The portal refuses the dossier.
    Refuse {
        which: u32,
    },
    AcceptAgain,
    /// Look-ups do not find the dossier.
    Hide {
        which: u32,
    },
    Show,

    // The machine.
    Crash,
    Ledger {
        fault: LedgerFault,
        after: u32,
    },
    /// The process gets no turn.
    Freeze {
        secs: u32,
    },
    /// The service is stopped in order, and started again after a time.
    Stop {
        secs: u32,
    },
    /// The wall clock is wrong by so much from now on.
    WallClock {
        wrong_by_secs: i32,
    },
    /// A second machine stands by, or does not any more.
    StandBy {
        on: bool,
    },
    Backup,
    /// The last backup takes the ledger's place.
    Restore,

    // People.
    Resync {
        which: u32,
        twice: bool,
    },
    /// Everything that waits for a person goes again.
    RetryProblems,
    Hold,
    Resume,
    /// Another quota, from a lower one to the usual one.
    Reload {
        quota_share: u32,
    },
}

impl Op {
    /// Its name in the counts.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "pass",
            Self::Evolve { .. } => "evolve",
            Self::Add { .. } => "add",
            Self::Delete { .. } => "delete",
            Self::Misbehave { .. } => "misbehave",
            Self::ProvinceAway { .. } => "province away",
            Self::Portal { .. } => "portal fault",
            Self::Wire { .. } => "wire fault",
            Self::Outage { .. } => "outage",
            Self::Forget { .. } => "forget",
            Self::Refuse { .. } => "refuse",
            Self::AcceptAgain => "accept again",
            Self::Hide { .. } => "hide",
            Self::Show => "show",
            Self::Crash => "crash",
            Self::Ledger { .. } => "ledger fault",
            Self::Freeze { .. } => "freeze",
            Self::Stop { .. } => "stop",
            Self::WallClock { .. } => "wall clock",
            Self::StandBy { .. } => "stand by",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Resync { .. } => "resync",
            Self::RetryProblems => "retry problems",
            Self::Hold => "hold",
            Self::Resume => "resume",
            Self::Reload { .. } => "reload",
        }
    }
}

/// How a run is set up, before anything happens.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) dossiers: u32,
    pub(super) dossiers_per_call: u32,
    pub(super) invalid_share: f64,
    pub(super) page_limit: u32,
    pub(super) concurrency: u32,
    /// What look-ups show: existence, or fields too.
    pub(super) echoes: bool,
    /// The portal keeps the sound items before a refused one.
    pub(super) prefix_applied: bool,
    /// The portal counts with its own, harder quota.
    pub(super) portal_limit: Option<u32>,
}

/// Kinds of trouble; each run draws some of them, so that rare meetings of two become likely.
const KINDS: usize = 12;

/// The setup and the operations of a seed.
pub(super) fn draw(seed: u64) -> (Setup, Vec<Op>) {
    let mut rng = Rng::with_seed(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x5EED);
    let rng = &mut rng;
    let setup = Setup {
        seed,
        dossiers: rng.u32(4..14),
        dossiers_per_call: *pick(rng, &[1, 1, 1, 4, 10]),
        invalid_share: *pick(rng, &[0.0, 0.0, 0.2]),
        page_limit: *pick(rng, &[3, 7, 500]),
        concurrency: *pick(rng, &[1, 4, 16]),
        echoes: rng.u8(..3) == 0,
        prefix_applied: rng.u8(..4) == 0,
        portal_limit: (rng.u8(..4) == 0).then_some(8),
    };
    let enabled: Vec<bool> = (0..KINDS).map(|_| rng.u8(..5) < 3).collect();
    let mut ops = Vec::new();
    for _ in 0..rng.usize(14..40) {
        let troubles = rng.usize(0..4);
        for _ in 0..troubles {
            let kind = rng.usize(..KINDS);
            if enabled[kind] {
                ops.push(trouble(rng, kind));
            }
        }
        for _ in 0..rng.usize(0..3) {
            ops.push(match rng.u8(..10) {
                0..7 => Op::Evolve { which: rng.u32(..1000) },
                7..9 => Op::Add { count: rng.u32(1..4) },
                _ => Op::Delete { which: rng.u32(..1000) },
            });
        }
        ops.push(Op::Pass { secs: *pick(rng, &[1, 5, 20, 60, 90, 150]) });
    }
    (setup, ops)
}

fn trouble(rng: &mut Rng, kind: usize) -> Op {
    let which = rng.u32(..1000);
    match kind {
        0 | 1 => Op::Wire { fault: *pick(rng, &WireFault::ALL), after: rng.u32(..5) },
        2 => Op::Portal {
            fault: portal_fault(rng),
            service: *pick(
                rng,
                &[None, Some("DongBoHoSoMC"), Some("CapNhatTienDoHoSoMC"), Some("TraCuuHoSo")],
            ),
            times: rng.u32(1..4),
        },
        3 => Op::Ledger { fault: ledger_fault(rng), after: rng.u32(..25) },
        4 => Op::Crash,
        5 => match rng.u8(..3) {
            0 => Op::Stop { secs: *pick(rng, &[60, 3_600, 86_400]) },
            1 => Op::StandBy { on: rng.bool() },
            _ => Op::Freeze { secs: *pick(rng, &[5, 30, 90, 200]) },
        },
        6 => Op::Misbehave { how: misbehaviour(rng), times: rng.u32(1..3), which },
        7 => match rng.u8(..4) {
            0 => Op::ProvinceAway { secs: 120 },
            _ => Op::Outage {
                how: *pick(
                    rng,
                    &[WireFault::NoConnection, WireFault::RequestLost, WireFault::AnswerLost],
                ),
                secs: *pick(rng, &[40, 120, 600]),
            },
        },
        8 => match rng.u8(..5) {
            0 => Op::Forget { which },
            1 => Op::Hide { which },
            2 => Op::Show,
            3 => Op::Refuse { which },
            _ => Op::AcceptAgain,
        },
        9 => match rng.u8(..5) {
            0 => Op::RetryProblems,
            1 => Op::Hold,
            2 => Op::Resume,
            3 => Op::Reload { quota_share: *pick(rng, &[1, 2, 4]) },
            _ => Op::Resync { which, twice: rng.bool() },
        },
        10 => match rng.u8(..2) {
            0 => Op::Backup,
            _ => Op::Restore,
        },
        _ => Op::WallClock { wrong_by_secs: rng.i32(-300..300) },
    }
}

fn ledger_fault(rng: &mut Rng) -> LedgerFault {
    *pick(
        rng,
        &[
            LedgerFault::Busy,
            LedgerFault::Full,
            LedgerFault::LostAcknowledgement,
            LedgerFault::CrashBefore,
            LedgerFault::CrashAfter,
        ],
    )
}

fn portal_fault(rng: &mut Rng) -> Fault {
    let applied = rng.bool();
    match rng.u8(..15) {
        0 => Fault::Delay { ms: *pick(rng, &[500, 19_000, 25_000]) },
        1 => Fault::DropRequest,
        2 => Fault::ApplyThenDrop,
        3 => Fault::ApplyLater { ms: *pick(rng, &[3_000, 90_000, 240_000]) },
        4 => Fault::TooManyRequests { retry_after_s: *pick(rng, &[None, Some(2), Some(30)]) },
        5 => Fault::Status { status: *pick(rng, &[500, 502, 503, 404, 401]), applied },
        6 => Fault::Html { applied },
        7 => Fault::SoapFault { applied },
        8 => Fault::EmptyBody { applied },
        9 => Fault::CodeAsString,
        10 => Fault::DoubleEncoded,
        11 | 12 => Fault::SessionExpired,
        13 => Fault::SlowBody { ms: *pick(rng, &[800, 30_000]) },
        _ => Fault::ResetMidBody,
    }
}

fn misbehaviour(rng: &mut Rng) -> Misbehaviour {
    match rng.u8(..24) {
        0 => Misbehaviour::UnsortedItems,
        1 => Misbehaviour::EqualTimestamps { dossiers: 3 },
        2 | 3 => Misbehaviour::LateCommit { behind_ms: rng.u64(1..300_000) },
        4 => Misbehaviour::PageChangedWhilePaged,
        5 => Misbehaviour::StuckCursor,
        6 => Misbehaviour::EndlessMore,
        7 => Misbehaviour::EndlessPages,
        8 => Misbehaviour::MissingCursor,
        9 => Misbehaviour::TruncatedXml,
        10 => Misbehaviour::Utf16,
        11 => Misbehaviour::Windows1258,
        12 => Misbehaviour::Utf8Bom,
        13 => Misbehaviour::WrongDeclaration,
        14 => Misbehaviour::Nfd,
        15 => Misbehaviour::UnescapedAmpersand,
        16 => Misbehaviour::ControlCharacter,
        17 => Misbehaviour::MismatchedTag,
        18 => Misbehaviour::StrayByte,
        19 => Misbehaviour::HtmlPage,
        20 => Misbehaviour::EntityBomb,
        21 => Misbehaviour::DuplicateInPage,
        22 => Misbehaviour::Status { status: *pick(rng, &[500, 503, 404]) },
        _ => Misbehaviour::ClockJump,
    }
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(..from.len())]
}
