//! Command lines, a word a line: read or refused, with words about it.

use std::path::Path;

use super::text;

pub(super) fn seeds(_: &Path) -> Vec<Vec<u8>> {
    [
        "status",
        "problems\nlist\n--code\nsource.not_xml\n--source\nmot-cua\n--limit\n5",
        "problems\nretry\nH55.242-260126-0001\n--reason\nagain",
        "dossier\nexplain\nH55.242-260126-0001",
        "resync\n--code\nH55.242-260126-0001\n--reason\nx\n--actor\ny",
        "adopt\n--budget\n100\n--dry-run",
        "portal\npause\n--procedure\n1.000105\n--reason\nx\n--for\n2h",
        "portal\npause\n--agency\nH55.242\n--until\n2026-01-27 06:00:00\n--reason\nx",
        "catalogue\nrefresh\nfields\n--json",
        "run\nreconcile",
        "ledger\nbackup\nfile.db",
        "lab\nportal\n--port\n0",
        "--config\nx.toml\nserve",
    ]
    .map(|line| line.as_bytes().to_vec())
    .into()
}

pub(super) fn check(bytes: &[u8]) {
    let text = text(bytes);
    let words: Vec<String> =
        std::iter::once("hoso").chain(text.split('\n')).map(str::to_owned).collect();
    if let Err(error) = hoso_gateway::cli::read(&words) {
        assert!(!error.to_string().trim().is_empty());
        assert!(matches!(error.exit_code(), 0 | 2), "{}", error.exit_code());
    }
}
