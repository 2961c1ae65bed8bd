//! The interface of a store: small enough that a file, a map in memory and etcd can all be one.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::watch;

use crate::{Key, OpenError, Prefix, Writes};

/// How many commits a store has seen; each commit that changes something raises it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub(crate) u64);

/// A value, and the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The value.
    pub value: Bytes,
    /// The revision to expect in order to replace exactly this value.
    pub revision: Revision,
}

/// What a commit requires of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The key does not exist.
    Absent,
    /// The key exists and was last written by this revision.
    At(Revision),
}

/// Everything below a prefix at one moment, ordered by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Keys and values.
    pub entries: Vec<(Key, Stored)>,
    /// The store's revision at that moment: where a [`Watch`](crate::Watch) goes on without a gap.
    pub revision: Revision,
}

/// What happened below a prefix after a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// The keys that changed, with what they are now (`None`: deleted). Several changes of one key are one.
    Since {
        /// Ordered by key.
        changes: Vec<(Key, Option<Stored>)>,
        /// The revision up to which this tells everything.
        revision: Revision,
    },
    /// The store does not remember that far back: list again.
    Compacted,
}

/// A store of opaque values. Calls block for as long as the disk or network needs.
///
/// What holds of every store: a commit is all or nothing and durable when it returns; a listing is of one moment; a put of the value that
/// a key already has is no change. Values are meant to be small (etcd takes 1.5 MB), however many there are.
pub trait Store: Send + Sync + fmt::Debug {
    /// The value of one key.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, key: &Key) -> Result<Option<Stored>, StoreError>;

    /// Everything below a prefix.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self, prefix: &Prefix) -> Result<Listing, StoreError>;

    /// Writes, if every key is as expected.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when a key is not as expected: nothing was written. Any other error leaves open whether the commit happened.
    fn commit(
        &self,
        expected: &[(Key, Expected)],
        writes: &Writes,
    ) -> Result<Revision, CommitError>;

    /// What changed below a prefix after a revision.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn changes(&self, prefix: &Prefix, after: Revision) -> Result<Changes, StoreError>;

    /// The newest revision, as it rises.
    fn revisions(&self) -> watch::Receiver<Revision>;
}

/// Why a store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing the file failed.
    #[error("state store {}: {source}", path.display())]
    Failed {
        /// The store's file.
        path: PathBuf,
        /// What the database says.
        source: Box<redb::Error>,
    },
    /// The file had to be opened again after an earlier failure, and that failed too.
    #[error(transparent)]
    Reopen(#[from] OpenError),
}

/// Why a commit did not happen.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else was first.
    #[error("'{key}' has changed meanwhile")]
    Conflict {
        /// The key that is not as expected.
        key: Key,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a key is what a commit expects of it.
pub(crate) fn check_expected(
    key: &Key,
    expected: Expected,
    found: Option<Revision>,
) -> Result<(), CommitError> {
    let as_expected = match expected {
        Expected::Absent => found.is_none(),
        Expected::At(revision) => found == Some(revision),
    };
    if as_expected {
        Ok(())
    } else {
        Err(CommitError::Conflict { key: key.clone() })
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
