//! The feed's documents as files in a folder, as an SFTP drop leaves them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::feed;
use super::store::Cursor;
use super::{Province, Shared};

/// Dossiers in one file.
const DOSSIERS_MAX: usize = 100;

/// What was dropped so far.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    after: Option<Cursor>,
    files: u64,
}

impl Province {
    /// Writes what is new or changed since the last drop: each file under a name that no reader
    /// takes, then renamed. Returns how many files it wrote.
    pub async fn drop_files(&self, folder: &Path) -> io::Result<usize> {
        let mut files = Vec::new();
        while let Some(file) = self.shared.next_file() {
            files.push(file);
        }
        let count = files.len();
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || write(&folder, &files)).await??;
        Ok(count)
    }
}

impl Shared {
    /// Name and text of the next file; `None` when everything was dropped.
    fn next_file(self: &Arc<Self>) -> Option<(String, String)> {
        let mut dropped = self.dropped();
        let (items, _) = self.store().page(dropped.after.as_ref(), DOSSIERS_MAX);
        dropped.after = Some(Cursor::of(items.last()?));
        dropped.files += 1;
        let name = format!("ho-so-{}-{:04}.xml", self.clock.now().to_portal(), dropped.files);
        Some((name, feed::file(self, &items)))
    }
}

fn write(folder: &Path, files: &[(String, String)]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, text) in files {
        let unfinished: PathBuf = folder.join(format!("{name}.part"));
        std::fs::write(&unfinished, text)?;
        std::fs::rename(&unfinished, folder.join(name))?;
    }
    Ok(())
}
