//! Keys in a file, which is read again when it changes.

use super::{KeyError, KeySet, MAX_DOCUMENT_BYTES};
use crate::stamp::Stamp;
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The file is looked at no more often than this.
pub const LOOK_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The keys in one file, PEM or JWKS.
#[derive(Debug)]
pub struct FileKeys {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    set: Arc<KeySet>,
    /// The file's state when it was read last, good or not; `None` if there was no file.
    stamp: Option<Stamp>,
    looked_at: Instant,
}

impl FileKeys {
    /// Reads the file; it must be good at first.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyError> {
        let path = path.into();
        // The state before the contents: what is written in between is seen as a change.
        let stamp = Stamp::of(&path);
        let set = read(&path)?;
        warn_of_skipped(&path, &set);
        let known = Known {
            set: Arc::new(set),
            stamp,
            looked_at: Instant::now(),
        };
        Ok(Self {
            path,
            known: Mutex::new(known),
        })
    }

    /// The keys. Once a second this looks at the file, and reads it if it changed: a short wait for the disk.
    /// A file that became unusable leaves the old keys in use, with one warning.
    pub fn keys(&self) -> Arc<KeySet> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now - known.looked_at >= LOOK_AT_MOST_EVERY {
            known.looked_at = now;
            let stamp = Stamp::of(&self.path);
            if stamp != known.stamp {
                known.stamp = stamp;
                self.renew(&mut known);
            }
        }
        known.set.clone()
    }

    fn renew(&self, known: &mut Known) {
        let path = self.path.display();
        match read(&self.path) {
            Ok(set) => {
                tracing::info!(%path, keys = set.keys().len(), "a file of keys was read again");
                warn_of_skipped(&self.path, &set);
                known.set = Arc::new(set);
            }
            Err(error) => {
                tracing::warn!(%path, %error, "a file of keys became unusable; the old keys stay in use")
            }
        }
    }
}

fn read(path: &Path) -> Result<KeySet, KeyError> {
    let unreadable = |error: io::Error| KeyError::UnreadableFile(error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    KeySet::read(&bytes)
}

fn warn_of_skipped(path: &Path, set: &KeySet) {
    if !set.skipped().is_empty() {
        tracing::warn!(path = %path.display(), skipped = ?set.skipped(), "some keys of a file are not used");
    }
}
