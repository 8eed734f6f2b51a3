//! The stable codes of everything that can go wrong with the portal, explained for operators.

pub const REFUSED: &str = "portal.refused";
pub const EXISTS: &str = "portal.exists";
pub const UNKNOWN_DOSSIER: &str = "portal.unknown_dossier";
pub const TRY_AGAIN: &str = "portal.try_again";
pub const LOOK_UP_REFUSED: &str = "portal.look_up_refused";
pub const UNRECOGNISED_ANSWER: &str = "portal.unrecognised_answer";
pub const NO_VERDICT: &str = "portal.no_verdict";
pub const EMPTY_ANSWER: &str = "portal.empty_answer";
pub const HTML_ANSWER: &str = "portal.html_answer";
pub const SOAP_FAULT: &str = "portal.soap_fault";
pub const NOT_JSON: &str = "portal.not_json";
pub const SERVER_ERROR: &str = "portal.server_error";
pub const TIMEOUT: &str = "portal.timeout";
pub const INTERRUPTED: &str = "portal.interrupted";
pub const ANSWER_TOO_LARGE: &str = "portal.answer_too_large";
pub const UNREACHABLE: &str = "portal.unreachable";
/// The process was asked to stop while a call waited for its permit.
pub const STOPPING: &str = "portal.stopping";
pub const THROTTLED: &str = "portal.throttled";
pub const BAD_REQUEST: &str = "portal.bad_request";
pub const BODY_TOO_LARGE: &str = "portal.body_too_large";
/// An answer that is a text without a code, and not a known one.
pub const UNKNOWN_TEXT: &str = "portal.unknown_text";
pub const TOKEN: &str = "portal.token";
pub const CERTIFICATE: &str = "portal.certificate";
pub const CLIENT_CERTIFICATE: &str = "portal.client_certificate";
pub const CREDENTIALS: &str = "portal.credentials";
pub const FORBIDDEN: &str = "portal.forbidden";
pub const ENDPOINT: &str = "portal.endpoint";
pub const REQUEST_INVALID: &str = "portal.request_invalid";
pub const SESSION: &str = "portal.session";
pub const BREAKER_OPEN: &str = "portal.breaker_open";
pub const QUOTA_MEMORY: &str = "portal.quota_memory";

/// Code, what it means, what to do. Codes are never renamed or reused.
pub const CODES: &[(&str, &str, &str)] = &[
    (
        REFUSED,
        "The portal answered and refused the packet (error_code 3, -3 or another non-zero code). In a batch, at least one packet is bad; the gateway splits the batch until the bad one stands alone.",
        "Read the portal's words in the details, correct the dossier at its source or the mapping, then resend it.",
    ),
    (
        EXISTS,
        "A dossier was sent as new, and the portal already has it. Nothing was changed.",
        "Nothing: the gateway sends it again as an update.",
    ),
    (
        UNKNOWN_DOSSIER,
        "An update or a progress step was sent for a dossier that the portal says it does not have.",
        "Nothing: the gateway sends the dossier as new. If it repeats, the portal may have lost data: ask its operators.",
    ),
    (
        TRY_AGAIN,
        "The portal answered that it could not do it now; nothing was changed.",
        "Nothing: the gateway tries again later.",
    ),
    (
        LOOK_UP_REFUSED,
        "The portal refused to look a dossier up. This says nothing about whether it has the dossier.",
        "Nothing at first: the gateway asks again later. If it repeats, check the account's right to TraCuuHoSo.",
    ),
    (
        UNRECOGNISED_ANSWER,
        "The portal's code and its words do not add up to a known answer (for example code 0 without a known success text). The gateway does not count it as success.",
        "Read the details. If the words mean success, add them for this service to the answer patterns (mappings/portal/answers.csv); the gateway meanwhile looks before it sends again.",
    ),
    (
        NO_VERDICT,
        "The answer is JSON but has no error_code, so nobody knows whether the packet was processed.",
        "Usually the adapter or a wrapper in front of the portal answered. Check that the endpoint paths are right for this transport profile.",
    ),
    (
        EMPTY_ANSWER,
        "The answer has no body, so nobody knows whether the packet was processed.",
        "If it repeats, ask the operators of the adapter (security server).",
    ),
    (
        HTML_ANSWER,
        "A web page came back instead of an answer, so nobody knows whether the packet was processed.",
        "A proxy or the adapter answered in the portal's place. Check base URL and paths; ask the operators of the adapter.",
    ),
    (
        SOAP_FAULT,
        "The adapter (security server) answered with a SOAP fault, so nobody knows whether the packet was processed.",
        "If it repeats, give the fault text in the details to the operators of the adapter, and check dstcode.",
    ),
    (
        NOT_JSON,
        "The answer cannot be read (cut off, or not JSON), so nobody knows whether the packet was processed.",
        "If it repeats, ask the operators of the adapter.",
    ),
    (
        SERVER_ERROR,
        "The other side failed while it had the packet (HTTP 5xx or 408), so nobody knows whether it was processed.",
        "Nothing: the gateway looks before it sends again, and slows down by itself.",
    ),
    (
        TIMEOUT,
        "No answer came in time, so nobody knows whether the packet was processed.",
        "Nothing: the gateway looks before it sends again. If it repeats, compare the timeout with the portal's usual answer time.",
    ),
    (
        INTERRUPTED,
        "The connection broke before the answer was whole, so nobody knows whether the packet was processed.",
        "Nothing: the gateway looks before it sends again.",
    ),
    (
        ANSWER_TOO_LARGE,
        "The answer is larger than the gateway reads, so nobody knows what it says.",
        "Check that the endpoint is the portal's; raise the answer size limit only if the answer is genuine.",
    ),
    (
        STOPPING,
        "The process was asked to stop while this call waited for the quota. It did not leave.",
        "Nothing; it is made when the service runs again.",
    ),
    (
        UNREACHABLE,
        "There was no connection to the portal; the packet certainly did not leave.",
        "Check the network path to the adapter (security server), DNS and certificates. The gateway tries again by itself.",
    ),
    (
        THROTTLED,
        "The portal asked for fewer calls. The gate is closed for everybody until the time it named.",
        "Nothing. If it repeats, the configured quota windows are above what the portal grants: lower them or raise the headroom.",
    ),
    (
        BAD_REQUEST,
        "The other side refused the request itself (HTTP 400, 409, 414, 422 or 431).",
        "Read the details; correct the dossier or the mapping, then resend it.",
    ),
    (
        BODY_TOO_LARGE,
        "The request is larger than the other side takes (HTTP 413).",
        "Lower the batch size; if a single dossier is too large, look at its document list.",
    ),
    (
        CREDENTIALS,
        "The portal did not accept the account or its password. Nothing is sent until it does; no attempts are spent.",
        "Check username, password and unit code (madonvi) in the configuration. The gateway tries again by itself, at most every few minutes.",
    ),
    (
        FORBIDDEN,
        "The account may not use this service (HTTP 403). Nothing is sent meanwhile; no attempts are spent.",
        "Ask the portal's or the adapter's operators to grant the service to the account.",
    ),
    (
        ENDPOINT,
        "The address answers, but not as the portal does (redirect, HTTP 404, 405 or the like). Nothing is sent meanwhile; no attempts are spent.",
        "Check base URL, paths and dstcode with the operators of the adapter.",
    ),
    (
        UNKNOWN_TEXT,
        "A wrapper answered with a plain text instead of a code, and the text is not listed as a success, so nobody knows whether the packet was processed.",
        "Read the text in the details and ask the wrapper's operators what it means. If it is its success, add it whole for this service with the class plain_success to the answer patterns (portal.answers_file).",
    ),
    (
        TOKEN,
        "The integration platform gave no token, or refused the one it was shown, also right after a renewal. Nothing is sent meanwhile; no attempts are spent.",
        "Check portal.bearer (token address, names of the fields, client id, secret) or the fixed token, and ask the platform's operators whether the account is still valid; give them the correlationId in the details.",
    ),
    (
        CERTIFICATE,
        "No secure connection: the certificate that the portal (or the adapter, wrapper or platform before it) shows has expired, is for another name, or comes from an authority that is not trusted here. Nothing was sent; no attempts are spent.",
        "Expired or wrong name: its operators must renew it. Unknown authority: name that authority's certificate in portal.ca_file. Sending goes on by itself; a replaced file is taken up without a restart.",
    ),
    (
        CLIENT_CERTIFICATE,
        "No secure connection: the other side wants a client certificate and got none, or does not accept ours. Nothing was sent; no attempts are spent.",
        "Set portal.client_certificate_file and portal.client_key_file to what its operators issued, and look whether it has expired (openssl x509 -noout -dates -in FILE). A replaced file is taken up without a restart; a changed configuration needs one.",
    ),
    (
        REQUEST_INVALID,
        "The request cannot be formed from the configuration (bad URL or header value).",
        "Correct base URL, paths and dstcode in the configuration.",
    ),
    (
        SESSION,
        "The portal refused the session, and refused it again right after a fresh login. Nothing is sent meanwhile; no attempts are spent.",
        "Check whether another system logs in with the same account, and whether the account is still valid. Behind a wrapper or a platform that keeps the session itself, tell its operators.",
    ),
    (
        BREAKER_OPEN,
        "Several calls in a row failed on the way or at the server; the gate is closed for a while and then tries a single call.",
        "Nothing at first. Look at the last failure in the details; if it lasts, ask the operators of the adapter or the portal.",
    ),
    (
        QUOTA_MEMORY,
        "The use of the quota could not be written down, so no call was made: after a crash the quota could have been exceeded.",
        "Check that the ledger can be written (disk space, permissions, database).",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once() {
        for (at, (code, meaning, what_to_do)) in CODES.iter().enumerate() {
            assert!(code.starts_with("portal."), "{code}");
            assert!(meaning.ends_with('.') && what_to_do.ends_with('.'), "{code}");
            assert!(CODES[at + 1..].iter().all(|(other, ..)| other != code), "{code} twice");
        }
    }
}
