//! Other mappings than the one that ships, as folders.

use std::path::{Path, PathBuf};

/// The feed's mapping with one part of its text replaced, in `folder/name/feed`, with the cases that
/// fail in every mapping's reading and so pass in all of them.
pub(crate) fn variant(folder: &Path, name: &str, part: &str, other: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings");
    let to = folder.join(name);
    let feed = to.join("feed");
    for (folder, target) in [
        ("codelists", to.join("codelists")),
        ("feed/cases/cut_off", feed.join("cases/cut_off")),
        ("feed/cases/another_root", feed.join("cases/another_root")),
    ] {
        copy(&from.join(folder), &target);
    }
    std::fs::copy(from.join("succession.csv"), to.join("succession.csv")).expect("a copy");
    let text = std::fs::read_to_string(from.join("feed/mapping.toml")).expect("a mapping");
    assert_eq!(text.matches(part).count(), 1, "{part}");
    std::fs::write(feed.join("mapping.toml"), text.replace(part, other)).expect("a mapping");
    feed
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// Another source of a field that every dossier has.
pub(crate) const RELABELLED: [&str; 2] =
    [r#"TenLinhVuc   = { from = "TenLinhVuc""#, r#"TenLinhVuc   = { from = "TenTTHC""#];

/// A field that the province leaves empty, asked for.
pub(crate) const STRICT: [&str; 2] =
    [r#"{ from = "Fax", as = "line","#, r#"{ from = "Fax", as = "line", required = true,"#];
