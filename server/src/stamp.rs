//! Whether a file has changed since it was looked at last.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Changes whenever the file does: which file it is, when it was written (seconds, nanoseconds), how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64, i64, i64, u64);

impl Stamp {
    /// None if there is no file.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self(
            metadata.ino(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.len(),
        ))
    }
}
