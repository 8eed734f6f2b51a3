//! What a call to the portal was and what came of it: the evidence and the verdicts.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use crate::domain::catalogue::CatalogueItem;
use crate::domain::failure::Failure;
use crate::domain::priority::Priority;
use crate::domain::receipt::Receipt;
use crate::domain::time::Timestamp;

/// The portal's services that this gateway calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// A token of the integration platform's, where calls carry one.
    Token,
    Login,
    /// `DongBoHoSoMC`, QCVN 120:2019/BTTTT table 2: a dossier, new or changed.
    Dossiers,
    /// `CapNhatTienDoHoSoMC`, QCVN 120:2019/BTTTT table 3: progress steps.
    Steps,
    /// `TraCuuHoSo`: does the portal know this dossier?
    LookUp,
    /// `LayThuTuc`: one procedure with its fees, results and papers.
    Procedure,
    /// `LayDanhSachTTHC`: all procedures.
    Procedures,
    /// `LayDanhMucLinhVuc`: fields of work.
    Fields,
    /// `LayDanhMucCoQuan`: agencies.
    Agencies,
}

impl Service {
    pub const ALL: [Self; 9] = [
        Self::Token,
        Self::Login,
        Self::Dossiers,
        Self::Steps,
        Self::LookUp,
        Self::Procedure,
        Self::Procedures,
        Self::Fields,
        Self::Agencies,
    ];
    /// The services that give catalogues.
    pub const CATALOGUES: [Self; 4] =
        [Self::Procedure, Self::Procedures, Self::Fields, Self::Agencies];

    /// Whether it gives a catalogue: no dossier is in the call, and none waits for its answer.
    pub const fn is_catalogue(self) -> bool {
        matches!(self, Self::Procedure | Self::Procedures | Self::Fields | Self::Agencies)
    }

    /// The name on the wire, which is also the key in the pattern file and in counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Login => "login",
            Self::Dossiers => "DongBoHoSoMC",
            Self::Steps => "CapNhatTienDoHoSoMC",
            Self::LookUp => "TraCuuHoSo",
            Self::Procedure => "LayThuTuc",
            Self::Procedures => "LayDanhSachTTHC",
            Self::Fields => "LayDanhMucLinhVuc",
            Self::Agencies => "LayDanhMucCoQuan",
        }
    }
}

impl Display for Service {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A verdict and every wire call that was made for it, in order, tokens, logins and replays
/// included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange<V> {
    pub verdict: V,
    pub calls: Vec<Call>,
}

/// One call as it left the socket. Carries no body, no session and no personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub service: &'static str,
    pub class: Priority,
    pub started_at: Timestamp,
    pub duration_ms: u64,
    /// Packets in the call; 0 for a login or a token.
    pub items: u32,
    pub sent_bytes: u64,
    pub answer_bytes: u64,
    /// `None` when there was no whole answer.
    pub http_status: Option<u16>,
    /// As the portal wrote it; `None` when it wrote none.
    pub error_code: Option<String>,
    /// The portal's words, or why there are none; masked, at most 300 characters.
    pub message: String,
    pub outcome: CallOutcome,
    /// The integration platform's name for this call, where one is in between and gave it.
    pub correlation_id: Option<String>,
    /// BLAKE3 of the body as sent, with its secrets emptied: the same packets in the same
    /// envelope always have the same hash, and the hash betrays no secret.
    pub body_hash: [u8; 32],
    /// Names of the fields that an answer to a look-up showed; no values.
    pub echoed: Option<Vec<String>>,
}

/// What a call was good for, in one word; for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// Accepted, found, missing, logged in, given a token.
    Useful,
    /// The portal answered and said no (also "already exists" and "unknown").
    Refused,
    /// The portal asked for less.
    Throttled,
    /// Credentials, endpoint or adapter.
    Environment,
    /// It may have been carried out; nobody knows.
    Unknown,
    /// It certainly never left.
    NotConnected,
    /// The session or the token was not, or no longer, good.
    SessionRefused,
}

impl CallOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Useful => "useful",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Environment => "environment",
            Self::Unknown => "unknown",
            Self::NotConnected => "not_connected",
            Self::SessionRefused => "session_refused",
        }
    }
}

/// What came of sending packets. One verdict for the whole call: the portal gives no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushVerdict {
    /// Built only from a parsed answer with code 0 and a success text of this service.
    Accepted(Receipt),
    /// A create was answered "already exists"; nothing was changed. Send as update.
    Exists(Failure),
    /// An update, or steps, for a dossier that the portal says it does not have.
    UnknownDossier(Failure),
    /// Anything else; the failure's disposition says what follows. A login that failed is here too,
    /// never as ambiguous: without a session the packets did not leave.
    Failed(Failure),
    /// The gate was closed; the packets did not leave. Worth asking again at `until`.
    NotSent { failure: Failure, until: Timestamp },
}

/// What came of looking a dossier up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookUpVerdict {
    /// The portal has it. `echoed`: the scalar fields it showed, `null` as empty text; often only
    /// `MaHoSo`.
    Found { echoed: BTreeMap<String, String> },
    /// The portal says that it does not have it.
    Missing,
    /// Never ambiguous and never the dossier's fault: a look-up changes nothing, so it may be asked
    /// again.
    Failed(Failure),
    /// The gate was closed; the question did not leave.
    NotSent { failure: Failure, until: Timestamp },
}

/// What came of asking for a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogueVerdict {
    /// The whole list, in the order of [`crate::domain::catalogue::in_order`]. `unreadable`: items
    /// without a code, which are not in it.
    Items { items: Vec<CatalogueItem>, unreadable: usize },
    /// The portal says that it has no such procedure.
    Missing,
    /// Never ambiguous and never a dossier's fault.
    Failed(Failure),
    /// The gate was closed; the question did not leave.
    NotSent { failure: Failure, until: Timestamp },
}
