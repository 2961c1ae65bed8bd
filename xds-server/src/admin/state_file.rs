//! Whether the state store's file is still where it was opened.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file as it was when it was opened. The process goes on with an open file that is gone without any error, and loses it when it ends.
#[derive(Debug, Clone)]
pub struct StateFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl StateFile {
    /// A file that is open.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn opened(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file at the path is the one that was opened.
    pub(super) async fn is_in_place(&self) -> bool {
        tokio::fs::metadata(&self.path)
            .await
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
    }
}
