//! The store in a file of its own (redb): the default, which needs nothing installed.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition,
};
use tokio::sync::watch;

use crate::recent::Recent;
use crate::store::check_expected;
use crate::{
    Changes, CommitError, Expected, Key, Listing, Prefix, Revision, Store, StoreError, Stored,
    Writes,
};

/// A store in one file, which one process has open at a time.
#[derive(Debug)]
pub struct Embedded {
    path: PathBuf,
    /// `None` after a failure: redb wants the file opened again after an I/O error, which the next call does.
    database: RwLock<Option<Arc<Database>>>,
    /// Commits tell the watchers in the order in which they happen.
    commits: Mutex<()>,
    recent: Recent,
}

impl Embedded {
    /// Opens the store in a directory; makes both, readable by their owner only, when they are not there.
    ///
    /// # Errors
    /// When the file cannot be opened, is in use, is damaged, or was written by a newer version. It is never deleted.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| OpenError::Directory {
                path: directory.to_owned(),
                source,
            })?;
        let path = Self::path_in(directory);
        let (database, revision) = open_database(&path)?;
        Ok(Self {
            path,
            database: RwLock::new(Some(Arc::new(database))),
            commits: Mutex::new(()),
            recent: Recent::after(revision),
        })
    }

    /// Where the store's file is in a directory, whether or not it is there.
    pub fn path_in(directory: &Path) -> PathBuf {
        directory.join(FILE_NAME)
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn database(&self) -> Result<Arc<Database>, OpenError> {
        if let Some(database) = &*self.database.read() {
            return Ok(Arc::clone(database));
        }
        let mut slot = self.database.write();
        if let Some(database) = &*slot {
            return Ok(Arc::clone(database));
        }
        let (database, revision) = open_database(&self.path)?;
        self.recent.restart_after(revision);
        Ok(Arc::clone(slot.insert(Arc::new(database))))
    }

    /// The error for the caller; the database is closed if only opening it again can help.
    fn failed(&self, source: redb::Error) -> StoreError {
        let closed = match &source {
            redb::Error::ValueTooLarge(_) => None,
            _ => self.database.write().take(),
        };
        drop(closed);
        StoreError::Failed {
            path: self.path.clone(),
            source: Box::new(source),
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        let result = database
            .begin_read()
            .map_err(redb::Error::from)
            .and_then(|transaction| read(&transaction));
        drop(database);
        result.map_err(|source| self.failed(source))
    }
}

impl Store for Embedded {
    fn get(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.read(|transaction| {
            let entries = transaction.open_table(ENTRIES)?;
            Ok(entries
                .get(key.as_bytes())?
                .map(|found| stored(found.value())))
        })
    }

    fn list(&self, prefix: &Prefix) -> Result<Listing, StoreError> {
        self.read(|transaction| {
            let range = prefix.range();
            let mut entries = Vec::new();
            for entry in transaction
                .open_table(ENTRIES)?
                .range(range.start.as_bytes()..range.end.as_bytes())?
            {
                let (key, value) = entry?;
                entries.push((Key::from_stored(key.value()), stored(value.value())));
            }
            let revision = read_number(&transaction.open_table(NUMBERS)?, REVISION)?;
            Ok(Listing {
                entries,
                revision: Revision(revision),
            })
        })
    }

    fn commit(
        &self,
        expected: &[(Key, Expected)],
        writes: &Writes,
    ) -> Result<Revision, CommitError> {
        let _in_order = self.commits.lock();
        let database = self.database().map_err(StoreError::from)?;
        let result = commit(&database, expected, writes);
        drop(database);
        match result {
            Ok((revision, changed)) => {
                if !changed.is_empty() {
                    self.recent.record(revision, changed);
                }
                Ok(revision)
            }
            Err(NotCommitted::Conflict(conflict)) => Err(conflict),
            Err(NotCommitted::Failed(source)) => Err(self.failed(*source).into()),
        }
    }

    fn changes(&self, prefix: &Prefix, after: Revision) -> Result<Changes, StoreError> {
        let Some((keys, revision)) = self.recent.changed(prefix, after) else {
            return Ok(Changes::Compacted);
        };
        self.read(|transaction| {
            let entries = transaction.open_table(ENTRIES)?;
            let mut changes = Vec::with_capacity(keys.len());
            for key in keys {
                let now = entries
                    .get(key.as_bytes())?
                    .map(|found| stored(found.value()));
                changes.push((key, now));
            }
            Ok(Changes::Since { changes, revision })
        })
    }

    fn revisions(&self) -> watch::Receiver<Revision> {
        self.recent.newest()
    }
}

/// Why the store's file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory could not be made.
    #[error("cannot make the state directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be opened, read or written.
    #[error("cannot open the state store {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process, or this one, has the store open.
    #[error(
        "the state store {} is in use by another process; stop that process, or give this one another `state.path`",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file's content is not that of a store.
    #[error(
        "the state store {} is damaged ({detail}); restore it from a backup, or move it away to start with an empty one: registries are \
         then read anew, but the certificate authority's root is lost and every proxy needs a new certificate",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file was written by a newer version.
    #[error(
        "the state store {} has format {found}, and this version reads up to {FORMAT_NEWEST}; start the version that wrote it",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format of the file.
        found: u64,
    },
}

enum NotCommitted {
    Conflict(CommitError),
    Failed(Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for NotCommitted {
    fn from(source: E) -> Self {
        Self::Failed(Box::new(source.into()))
    }
}

/// Commits and returns the revision, with the keys that really changed.
fn commit(
    database: &Database,
    expected: &[(Key, Expected)],
    writes: &Writes,
) -> Result<(Revision, Vec<Key>), NotCommitted> {
    let transaction = database.begin_write()?;
    let mut changed = Vec::new();
    let revision;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        for (key, expected) in expected {
            let found = entries
                .get(key.as_bytes())?
                .map(|found| stored(found.value()).revision);
            check_expected(key, *expected, found).map_err(NotCommitted::Conflict)?;
        }
        let mut numbers = transaction.open_table(NUMBERS)?;
        let before = read_number(&numbers, REVISION)?;
        revision = before + 1;
        for prefix in writes.clears() {
            let range = prefix.range();
            entries.retain_in(range.start.as_bytes()..range.end.as_bytes(), |key, _| {
                let key = Key::from_stored(key);
                let keep = writes.keeps(&key);
                if !keep {
                    changed.push(key);
                }
                keep
            })?;
        }
        for (key, value) in writes.values() {
            let found = entries.get(key.as_bytes())?;
            let before = found.as_ref().map(|found| found.value().1);
            if before == value.as_deref() {
                continue;
            }
            drop(found);
            match value {
                Some(value) => entries.insert(key.as_bytes(), (revision, value.as_ref()))?,
                None => entries.remove(key.as_bytes())?,
            };
            changed.push(key.clone());
        }
        if changed.is_empty() {
            return Ok((Revision(before), changed));
        }
        numbers.insert(REVISION, revision)?;
    }
    transaction.commit()?;
    Ok((Revision(revision), changed))
}

fn open_database(path: &Path) -> Result<(Database, Revision), OpenError> {
    let file_error = |source| OpenError::File {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(file_error)?;
    keep_from_others(path, &file).map_err(file_error)?;

    let mut builder = Database::builder();
    // Without the check, a file that was altered since it was written is trusted and may panic later.
    builder
        .set_check_integrity_on_open(true)
        .set_cache_size(CACHE_BYTES);
    let database = FileBackend::new(file)
        .and_then(|backend| builder.create_with_backend(backend))
        .map_err(|error| open_error(path, error))?;
    let revision = prepare(&database).map_err(|error| match error {
        NotPrepared::Format(found) => OpenError::NewerFormat {
            path: path.to_owned(),
            found,
        },
        NotPrepared::Failed(error) => match *error {
            redb::Error::Io(source) => file_error(source),
            other => OpenError::Damaged {
                path: path.to_owned(),
                detail: other.to_string(),
            },
        },
    })?;
    Ok((database, revision))
}

/// The store has the root's private key in it. A file that others can read, say a restored backup, is closed to them.
fn keep_from_others(path: &Path, file: &File) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the state store was readable by others; its mode is now 0600");
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn open_error(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::InUse { path }
        }
        // A file that is no database at all is reported as invalid data.
        DatabaseError::Storage(StorageError::Io(source))
            if !matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::File { path, source }
        }
        other => OpenError::Damaged {
            path,
            detail: other.to_string(),
        },
    }
}

enum NotPrepared {
    Format(u64),
    Failed(Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for NotPrepared {
    fn from(source: E) -> Self {
        Self::Failed(Box::new(source.into()))
    }
}

/// Makes the tables in a new file, and checks the format of an old one.
fn prepare(database: &Database) -> Result<Revision, NotPrepared> {
    let transaction = database.begin_write()?;
    let format;
    let revision;
    {
        let mut numbers = transaction.open_table(NUMBERS)?;
        format = read_number(&numbers, FORMAT)?;
        revision = read_number(&numbers, REVISION)?;
        transaction.open_table(ENTRIES)?;
        if format == 0 {
            numbers.insert(FORMAT, FORMAT_NEWEST)?;
        }
    }
    match format {
        0 => transaction.commit()?,
        FORMAT_NEWEST => transaction.abort()?,
        newer => return Err(NotPrepared::Format(newer)),
    }
    Ok(Revision(revision))
}

fn read_number(
    numbers: &impl ReadableTable<&'static str, u64>,
    name: &str,
) -> Result<u64, StorageError> {
    Ok(numbers.get(name)?.map_or(0, |found| found.value()))
}

fn stored((revision, value): (u64, &[u8])) -> Stored {
    Stored {
        value: Bytes::copy_from_slice(value),
        revision: Revision(revision),
    }
}

const FILE_NAME: &str = "state.redb";
/// The value under each key, with the revision that wrote it.
const ENTRIES: TableDefinition<'static, &[u8], (u64, &[u8])> = TableDefinition::new("entries");
/// What the store knows about itself.
const NUMBERS: TableDefinition<'static, &str, u64> = TableDefinition::new("numbers");
const REVISION: &str = "revision";
const FORMAT: &str = "format";
const FORMAT_NEWEST: u64 = 1;
/// redb would take up to 1 GiB; the store is read once at start and then almost only written.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
