//! What goes wrong on the way to the portal and back, by chance or by order.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::state::Service;

/// One thing that goes wrong with one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Applied at once; the answer waits.
    Delay { ms: u64 },
    /// The connection closes; nothing was applied.
    DropRequest,
    /// Applied; the connection closes without an answer.
    ApplyThenDrop,
    /// The connection closes at once; the call is applied this much later all the same.
    ApplyLater { ms: u64 },
    /// HTTP 429, not applied.
    TooManyRequests {
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// This HTTP status with a page for people.
    Status {
        status: u16,
        #[serde(default)]
        applied: bool,
    },
    /// A page for people with status 200.
    Html {
        #[serde(default)]
        applied: bool,
    },
    /// The adapter's own fault text with status 200.
    SoapFault {
        #[serde(default)]
        applied: bool,
    },
    /// Status 200 and no body.
    EmptyBody {
        #[serde(default)]
        applied: bool,
    },
    /// `error_code` as text, whatever its turn.
    CodeAsString,
    /// The answer as text inside `{"message": …}`, as wrappers give it.
    DoubleEncoded,
    /// All sessions end before this call.
    SessionExpired,
    /// All tokens end before this call.
    TokenExpired,
    /// A text instead of an answer, with status 200.
    PlainText {
        text: String,
        #[serde(default)]
        applied: bool,
    },
    /// The portal forgets the dossiers of this call before it looks at it.
    Forget,
    /// Applied; half of the answer, a wait, the other half.
    SlowBody { ms: u64 },
    /// Applied; half of the answer, then the connection breaks.
    ResetMidBody,
}

impl Fault {
    /// Its name in the journal and in counts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delay { .. } => "delay",
            Self::DropRequest => "drop-request",
            Self::ApplyThenDrop => "apply-then-drop",
            Self::ApplyLater { .. } => "apply-later",
            Self::TooManyRequests { .. } => "too-many-requests",
            Self::Status { .. } => "status",
            Self::Html { .. } => "html",
            Self::SoapFault { .. } => "soap-fault",
            Self::EmptyBody { .. } => "empty-body",
            Self::CodeAsString => "code-as-string",
            Self::DoubleEncoded => "double-encoded",
            Self::SessionExpired => "session-expired",
            Self::TokenExpired => "token-expired",
            Self::PlainText { .. } => "plain-text",
            Self::Forget => "forget",
            Self::SlowBody { .. } => "slow-body",
            Self::ResetMidBody => "reset-mid-body",
        }
    }

    /// Whether the call changes the portal although the answer is spoilt.
    pub(super) fn is_applied(&self) -> bool {
        match self {
            Self::DropRequest | Self::ApplyLater { .. } | Self::TooManyRequests { .. } => false,
            Self::Status { applied, .. }
            | Self::Html { applied }
            | Self::SoapFault { applied }
            | Self::EmptyBody { applied }
            | Self::PlainText { applied, .. } => *applied,
            Self::Delay { .. }
            | Self::ApplyThenDrop
            | Self::CodeAsString
            | Self::DoubleEncoded
            | Self::SessionExpired
            | Self::TokenExpired
            | Self::Forget
            | Self::SlowBody { .. }
            | Self::ResetMidBody => true,
        }
    }

    /// Whether the caller gets the whole answer that the portal decided on.
    pub(super) fn lets_the_answer_through(&self) -> bool {
        matches!(
            self,
            Self::Delay { .. }
                | Self::CodeAsString
                | Self::DoubleEncoded
                | Self::SessionExpired
                | Self::TokenExpired
                | Self::Forget
                | Self::SlowBody { .. }
        )
    }
}

/// A fault drawn for this share of all calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultRate {
    /// `0.0..=1.0`.
    pub share: f64,
    #[serde(flatten)]
    pub fault: Fault,
}

/// A fault ordered for the next call that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptedFault {
    #[serde(flatten)]
    pub fault: Fault,
    /// The name of a service, or `login`. Absent: any.
    #[serde(default)]
    pub service: Option<String>,
    /// Only calls about this dossier.
    #[serde(default)]
    pub code: Option<String>,
    /// Calls it spoils; null means until it is cleared.
    #[serde(default = "once")]
    pub times: Option<u32>,
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the default of an optional field, where null means for ever"
)]
fn once() -> Option<u32> {
    Some(1)
}

impl ScriptedFault {
    /// For the next call of any kind.
    pub fn next(fault: Fault) -> Self {
        Self { fault, service: None, code: None, times: Some(1) }
    }

    #[must_use]
    pub fn of_service(mut self, service: &str) -> Self {
        self.service = Some(service.to_owned());
        self
    }

    #[must_use]
    pub fn about(mut self, code: &str) -> Self {
        self.code = Some(code.to_owned());
        self
    }

    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    #[must_use]
    pub fn until_cleared(mut self) -> Self {
        self.times = None;
        self
    }

    fn fits(&self, service: Service, codes: &[&str]) -> bool {
        self.service.as_deref().is_none_or(|name| name == service.name())
            && self.code.as_deref().is_none_or(|code| codes.contains(&code))
    }
}

/// Everything that is set to go wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Faults {
    /// At most one of these spoils a call.
    pub rates: Vec<FaultRate>,
    /// Looked at first, in this order.
    pub next: Vec<ScriptedFault>,
}

impl Faults {
    /// `none`, `some` (about 3 % of calls) or `many` (about 20 %). `None` for another name.
    ///
    /// No preset forgets records or applies a call later: those change what is true at the portal
    /// behind everybody's back, and are for tests that expect it.
    pub fn preset(name: &str) -> Option<Self> {
        let scale = match name {
            "none" => return Some(Self::default()),
            "some" => 1.0,
            "many" => 7.0,
            _ => return None,
        };
        let rates = [
            (0.004, Fault::Delay { ms: 300 }),
            (0.004, Fault::DropRequest),
            (0.004, Fault::ApplyThenDrop),
            (0.002, Fault::TooManyRequests { retry_after_s: None }),
            (0.002, Fault::TooManyRequests { retry_after_s: Some(1) }),
            (0.002, Fault::Status { status: 502, applied: false }),
            (0.002, Fault::Status { status: 500, applied: true }),
            (0.001, Fault::Status { status: 503, applied: false }),
            (0.001, Fault::Html { applied: false }),
            (0.001, Fault::SoapFault { applied: false }),
            (0.001, Fault::EmptyBody { applied: true }),
            (0.001, Fault::CodeAsString),
            (0.001, Fault::DoubleEncoded),
            (0.001, Fault::SlowBody { ms: 200 }),
            (0.002, Fault::ResetMidBody),
            (0.0002, Fault::SessionExpired),
            (0.0002, Fault::TokenExpired),
        ];
        Some(Self {
            rates: rates
                .into_iter()
                .map(|(share, fault)| FaultRate { share: share * scale, fault })
                .collect(),
            next: Vec::new(),
        })
    }

    /// The fault of this call, if any. Used-up orders disappear.
    pub(super) fn choose(
        &mut self,
        rng: &mut Rng,
        service: Service,
        codes: &[&str],
    ) -> Option<Fault> {
        if let Some(place) = self.next.iter().position(|order| order.fits(service, codes)) {
            let order = &mut self.next[place];
            let fault = order.fault.clone();
            if let Some(times) = &mut order.times {
                *times = times.saturating_sub(1);
                if *times == 0 {
                    self.next.remove(place);
                }
            }
            return Some(fault);
        }
        if self.rates.is_empty() {
            return None;
        }
        let mut drawn = rng.f64();
        self.rates
            .iter()
            .find(|rate| {
                drawn -= rate.share;
                drawn < 0.0
            })
            .map(|rate| rate.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_wait_for_the_call_they_are_meant_for() {
        let mut faults = Faults::default();
        faults
            .next
            .push(ScriptedFault::next(Fault::DropRequest).of_service("TraCuuHoSo").about("a"));
        faults.next.push(ScriptedFault::next(Fault::CodeAsString).times(2));
        let mut rng = Rng::with_seed(1);
        let mut choose = |service, code| faults.choose(&mut rng, service, &[code]);
        assert_eq!(choose(Service::Dossiers, "a"), Some(Fault::CodeAsString));
        assert_eq!(choose(Service::LookUp, "b"), Some(Fault::CodeAsString));
        assert_eq!(choose(Service::LookUp, "b"), None);
        assert_eq!(choose(Service::LookUp, "a"), Some(Fault::DropRequest));
        assert_eq!(choose(Service::LookUp, "a"), None);
    }

    #[test]
    fn presets_spoil_about_the_share_they_promise() {
        for (name, promised) in [("none", 0), ("some", 292), ("many", 2_044)] {
            let mut faults = Faults::preset(name).unwrap();
            let mut rng = Rng::with_seed(42);
            let spoilt = (0..10_000)
                .filter(|_| faults.choose(&mut rng, Service::Dossiers, &[]).is_some())
                .count();
            assert!(spoilt.abs_diff(promised) < 150, "{name}: {spoilt}");
        }
        assert_eq!(Faults::preset("most"), None);
    }

    #[test]
    fn an_order_is_read_from_json_and_lasts_one_call_unless_said() {
        let read = |text| serde_json::from_str::<ScriptedFault>(text).unwrap();
        let order = read(r#"{"kind":"status","status":503,"service":"login"}"#);
        assert_eq!(order.times, Some(1));
        assert_eq!(order.fault, Fault::Status { status: 503, applied: false });
        assert_eq!(read(r#"{"kind":"drop-request","times":null}"#).times, None);
    }
}
