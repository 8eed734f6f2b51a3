//! What an answer, or no answer, means. The one place that decides "again?" for a source.
//!
//! Every question is a read and may be asked twice, so nothing here is ambiguous. A document that
//! cannot be read is asked for again and kept as evidence; what only a person can mend
//! (credentials, address, a feed that breaks its protocol) stops the source instead.

use crate::domain::diagnostic::Position;
use crate::domain::failure::{Disposition, Failure};
use crate::http::{HttpAnswer, HttpFailure};
use crate::xml::{self, XmlFault};

/// Longest wait taken from a `Retry-After`: a day. A slip of the source's clock or keyboard must
/// not put it to sleep for a year.
const RETRY_AFTER_MAX_MS: u64 = 86_400_000;

pub(super) const UNREACHABLE: &str = "source.unreachable";
pub(super) const CERTIFICATE: &str = "source.certificate";
pub(super) const CLIENT_CERTIFICATE: &str = "source.client_certificate";
pub(super) const TIMEOUT: &str = "source.timeout";
pub(super) const INTERRUPTED: &str = "source.interrupted";
pub(super) const SERVER_ERROR: &str = "source.server_error";
pub(super) const THROTTLED: &str = "source.throttled";
pub(super) const CREDENTIALS: &str = "source.credentials";
pub(super) const ENDPOINT: &str = "source.endpoint";
pub(super) const BROKEN_FEED: &str = "source.broken_feed";
pub(super) const TOO_LARGE: &str = "source.too_large";
pub(super) const ENCODING: &str = "source.encoding";
pub(super) const HTML_PAGE: &str = "source.html_page";
pub(super) const NOT_XML: &str = "source.not_xml";
pub(super) const DOCTYPE: &str = "source.doctype";
pub(super) const TRUNCATED: &str = "source.truncated";
pub(super) const WRONG_ROOT: &str = "source.wrong_root";
pub(super) const LIMITS: &str = "source.limits";
pub(super) const WRONG_DOSSIER: &str = "source.wrong_dossier";
pub(super) const ITEM_CODE: &str = "source.item_code";
pub(super) const ITEM_ATTRIBUTE: &str = "source.item_attribute";
pub(super) const ITEM_TOO_LARGE: &str = "source.item_too_large";
pub(super) const ITEM_UNKNOWN: &str = "source.item_unknown";
pub(super) const STRAY_TEXT: &str = "source.stray_text";
pub(super) const FOLDER: &str = "source.folder";
pub(super) const FOLDER_BUSY: &str = "source.folder_busy";
pub(super) const FOLDER_MOVE: &str = "source.folder_move";
pub(super) const NO_QUESTION: &str = "source.no_question";

/// Every code of this module: code, meaning, what to do.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        UNREACHABLE,
        "No connection to the province's system could be made; the question was not asked.",
        "Check that the system is up, and the route, name and certificate between it and here. The gateway keeps asking.",
    ),
    (
        CERTIFICATE,
        "No secure connection: the certificate that the province's system shows has expired, is for another name, or comes from an authority that is not trusted here. The question was not asked.",
        "Expired or wrong name: its operators must renew it. Unknown authority: name that authority's certificate in sources.ca_file. The gateway keeps asking; a replaced file is taken up without a restart.",
    ),
    (
        CLIENT_CERTIFICATE,
        "No secure connection: the province's system wants a client certificate and got none, or does not accept ours. The question was not asked.",
        "Set sources.client_certificate_file and sources.client_key_file to what its operators issued, and look whether it has expired (openssl x509 -noout -dates -in FILE). A replaced file is taken up without a restart; a changed configuration needs one.",
    ),
    (
        TIMEOUT,
        "The province's system did not answer in time.",
        "If it happens often, raise sources.timeout_ms or lower sources.page_limit. The gateway keeps asking.",
    ),
    (
        INTERRUPTED,
        "The connection broke before the answer was whole; what arrived was thrown away.",
        "Nothing, unless it repeats: then look for a proxy that cuts long answers, or lower sources.page_limit.",
    ),
    (
        SERVER_ERROR,
        "The province's system failed (HTTP 5xx).",
        "Look into that system's own log at this time. The gateway keeps asking.",
    ),
    (
        THROTTLED,
        "The province's system asks for fewer questions (HTTP 429 or 503).",
        "Nothing; the gateway waits as long as it was told. If it repeats, raise sources.poll_ms.",
    ),
    (
        CREDENTIALS,
        "The province's system does not accept the gateway's credentials (HTTP 401 or 403).",
        "Renew the token or password of this source and its rights to read dossiers; then resume the source.",
    ),
    (
        ENDPOINT,
        "The configured address is not a dossier feed (HTTP 404, a redirect, another refusal, or an address that cannot be called).",
        "Compare sources.base_url with the address the province published; the gateway asks below it for /dossiers/changes.",
    ),
    (
        BROKEN_FEED,
        "The feed breaks its protocol: items without a cursor, a cursor that cannot be one, or an answer that was not asked for. Reading on could skip dossiers.",
        "Report it to the maker of the feed with the kept document. Nothing is lost: reading continues at the last good cursor.",
    ),
    (
        TOO_LARGE,
        "The page, or the file, is larger than sources.page_bytes_max; a page also when it was asked for with one dossier only. What stands behind that dossier cannot be known, so reading waits before it.",
        "Look at the next dossier at the source (files belong behind links, not into it), write smaller files, or raise sources.page_bytes_max so that the dossier can be refused alone.",
    ),
    (
        ENCODING,
        "The document's bytes are not text in the encoding that it or its Content-Type declares.",
        "Ask the maker of the feed to declare the encoding that it writes, best UTF-8. If one dossier holds the stray bytes, correct it at the source: it is named, kept and passed over alone.",
    ),
    (
        HTML_PAGE,
        "The answer is a web page, as proxies, login forms and error pages send it, with status 200.",
        "Open the address with the gateway's credentials and read the page. The document is kept.",
    ),
    (
        NOT_XML,
        "The document is not well-formed XML, so nobody can say where its dossiers end.",
        "Report position and document to the maker of the feed; if one dossier is the cause, correct it at the source: it is named, kept, passed over alone and asked for again.",
    ),
    (
        DOCTYPE,
        "The document holds a document type declaration. None is ever processed, because entities can read files and exhaust memory.",
        "Ask the maker of the feed to leave <!DOCTYPE …> out. If nobody put it there, treat it as an attack.",
    ),
    (
        TRUNCATED,
        "The document ends before its root element does. No part of it was taken.",
        "Nothing, unless it repeats, also with smaller pages: then look for a proxy or a time limit that cuts answers, or for a comment or CDATA section in a dossier that never ends.",
    ),
    (
        WRONG_ROOT,
        "The document is XML, but not the one that was asked for.",
        "Compare sources.base_url with the address the province published. The document is kept.",
    ),
    (
        LIMITS,
        "The document is nested deeper, has more attributes or parts, or longer texts than the limits allow.",
        "If it is genuine, raise sources.depth_max. If one dossier is the cause, it is named, kept and passed over alone.",
    ),
    (
        WRONG_DOSSIER,
        "The source was asked for one dossier and gave another.",
        "Report it to the maker of the feed; nothing was taken.",
    ),
    (
        ITEM_CODE,
        "An item of the page has no MaHoSo, more than one, or one that cannot be a code (longer than 50, control characters, nested elements).",
        "Correct the dossier at the source. Its neighbours were taken; the item is kept as evidence.",
    ),
    (
        ITEM_ATTRIBUTE,
        "An attribute of an item cannot be read: phienBan is a whole number, capNhatLuc a time, daXoa true or false, chuQuan tinh or bo, maHoSoCu the code of another dossier, each at most once.",
        "Report it to the maker of the feed. A guess could delete or reorder a dossier, so the item waits as evidence.",
    ),
    (
        ITEM_TOO_LARGE,
        "One item is larger than sources.item_bytes_max.",
        "Look at the dossier at the source (files belong behind links, not into it), or raise sources.item_bytes_max.",
    ),
    (
        ITEM_UNKNOWN,
        "The page holds an element that is no dossier.",
        "Report it to the maker of the feed; it may be a dossier under a wrong name.",
    ),
    (
        FOLDER,
        "The folder of a source (`sources.path`), or `done/` or `rejected/` in it, is not there, cannot be read, or cannot be made. Nothing is read while it cannot be put away.",
        "Give the service's user the right to read and write the folder, and mount what is missing. Reading goes on by itself.",
    ),
    (
        FOLDER_BUSY,
        "Another process of this program reads the folder at this moment, so that no file is moved under the eyes of the other.",
        "Nothing: while the service runs, it reads the folder.",
    ),
    (
        FOLDER_MOVE,
        "A file was read and stored in the ledger, but it (or the note beside it) cannot be moved: no right to write, a full disk, or another file system. Nothing is lost; nothing more is read before it has moved.",
        "Free space, or give the service's user the right to write the folder. Reading goes on by itself, and no file is taken twice.",
    ),
    (
        NO_QUESTION,
        "A folder of files was asked for an index or for one dossier; it can only give what was dropped.",
        "This is a defect; please report it with the log.",
    ),
    (
        STRAY_TEXT,
        "There is text between the dossiers of a page, where none belongs.",
        "Report it to the maker of the feed; it may be the rest of a broken dossier.",
    ),
];

/// Why a document is not taken, before it becomes a failure with evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) position: Option<Position>,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), position: None }
    }

    pub(super) fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    pub(super) fn into_failure(self) -> Failure {
        let disposition = match self.code {
            BROKEN_FEED => Disposition::Environment,
            _ => Disposition::Retryable,
        };
        let failure = Failure::new(self.code, disposition, self.message);
        match self.position {
            Some(position) => failure.with_details(format!("at line {position}")),
            None => failure,
        }
    }
}

/// Which question was asked; some statuses depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Changes { conditional: bool },
    Dossier,
    Index,
}

impl Question {
    /// For sentences: "the change feed did not answer".
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Changes { .. } => "change feed",
            Self::Dossier => "dossier look-up",
            Self::Index => "dossier index",
        }
    }
}

/// What an answer's status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Read the body.
    Document,
    NotModified,
    /// The source does not know this dossier.
    NoSuchDossier,
}

pub(super) fn answer(question: Question, answer: &HttpAnswer) -> Result<Verdict, Failure> {
    use Disposition::{Environment, Retryable, Throttled};
    let status = answer.status;
    let failure = |code, disposition, what: &str| {
        let message = format!("the {} {what} (HTTP {status})", question.name());
        Err(Failure::new(code, disposition, message))
    };
    match status {
        200 => Ok(Verdict::Document),
        304 if matches!(question, Question::Changes { conditional: true }) => {
            Ok(Verdict::NotModified)
        }
        404 if question == Question::Dossier => Ok(Verdict::NoSuchDossier),
        401 | 403 => failure(CREDENTIALS, Environment, "does not accept our credentials"),
        429 | 503 => failure(THROTTLED, Throttled, "asks us to wait")
            .map_err(|failure| failure.with_retry_after_ms(retry_after_ms(answer))),
        408 | 425 | 500..=599 => failure(SERVER_ERROR, Retryable, "failed"),
        200..=299 | 304 => failure(BROKEN_FEED, Environment, "answered what was not asked"),
        300..=399 => failure(ENDPOINT, Environment, "has moved; redirects are not followed"),
        404 | 410 => failure(ENDPOINT, Environment, "is not at the configured address"),
        _ => failure(ENDPOINT, Environment, "refuses the question"),
    }
}

pub(super) fn transport(question: Question, failure: &HttpFailure) -> Failure {
    use Disposition::{Environment, Retryable};
    let name = question.name();
    let (code, disposition, message) = match failure {
        HttpFailure::NotSent(_) => {
            (UNREACHABLE, Retryable, format!("the {name} cannot be reached"))
        }
        HttpFailure::TimedOut(_) => {
            (TIMEOUT, Retryable, format!("the {name} did not answer in time"))
        }
        HttpFailure::Interrupted(_) => {
            (INTERRUPTED, Retryable, format!("the answer of the {name} broke off"))
        }
        HttpFailure::TooLarge(_) => {
            (TOO_LARGE, Retryable, format!("the answer of the {name} is too large"))
        }
        HttpFailure::Certificate { fault, .. } => (
            if fault.is_ours() { CLIENT_CERTIFICATE } else { CERTIFICATE },
            Environment,
            format!("no secure connection to the {name}: {fault}"),
        ),
        HttpFailure::Invalid(_) => (ENDPOINT, Environment, format!("the {name} cannot be asked")),
    };
    Failure::new(code, disposition, message).with_details(failure.to_string())
}

/// The wait that the other side asked for, from seconds or from a date compared with the
/// answer's own `Date`, so that no clock of ours takes part.
fn retry_after_ms(answer: &HttpAnswer) -> Option<u64> {
    let text = answer.header("retry-after")?.trim();
    let wait_ms = if let Ok(seconds) = text.parse::<u64>() {
        seconds.saturating_mul(1000)
    } else {
        let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        let sent = jiff::fmt::rfc2822::parse(answer.header("date")?.trim()).ok()?.timestamp();
        u64::try_from(until.as_millisecond() - sent.as_millisecond()).unwrap_or(0)
    };
    Some(wait_ms.min(RETRY_AFTER_MAX_MS))
}

/// The charset parameter of a `Content-Type`.
pub(super) fn charset(answer: &HttpAnswer) -> Option<&str> {
    answer
        .header("content-type")?
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value.trim().trim_matches('"'))
        .filter(|value| !value.is_empty())
}

/// A document whose bytes are no text.
pub(super) fn undecodable(fault: &XmlFault) -> Refusal {
    let message =
        format!("the document is not text: expected {} at byte {}", fault.expected, fault.offset);
    Refusal::new(ENCODING, message)
}

/// A document that is not well formed, cut off, or more than the limits allow. `inside` is the
/// dossier in which the reading ended, for the one who must look there.
pub(super) fn unreadable(fault: &XmlFault, text: &str, inside: Option<&str>) -> Refusal {
    let (code, what) = match fault.rule {
        "xml.doctype" => (DOCTYPE, "holds a document type declaration"),
        "xml.empty" => (TRUNCATED, "is empty"),
        "xml.truncated" => (TRUNCATED, "breaks off"),
        "xml.depth" | "xml.attributes" | "xml.too_large" => (LIMITS, "exceeds the limits"),
        _ => (NOT_XML, "is not well-formed XML"),
    };
    let place = match inside {
        Some(code) => format!(" inside dossier {code}"),
        None => String::new(),
    };
    let message = format!("the document {what}{place}: expected {}", fault.expected);
    Refusal::new(code, message).at(xml::position(text, fault.offset))
}

/// Whether this begins as web pages begin.
pub(super) fn is_html(text: &str) -> bool {
    let start = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    // An element may have a prefix of that name.
    let is_longer =
        |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || ":-_.".contains(c));
    ["<!doctype html", "<html"].iter().any(|mark| {
        start.get(..mark.len()).is_some_and(|head| head.eq_ignore_ascii_case(mark))
            && !is_longer(&start[mark.len()..])
    })
}
