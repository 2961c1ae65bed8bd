//! What is in the directories, and what is in the files.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, DirEntry, Metadata},
    io::{self, Read},
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{FileError, FileErrorKind};

/// Directories within each other.
const DEPTH_MAX: usize = 16;
/// Files in a set; more is a mistake in the path, such as `/`.
const FILES_MAX: usize = 20_000;

/// Which files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSet {
    /// Files, and directories that are read recursively.
    pub paths: Vec<PathBuf>,
    /// What the names of files in directories end in, without the dot, such as `yaml`.
    pub extensions: &'static [&'static str],
    /// Length of one file.
    pub bytes_max: usize,
}

/// A file: the number of the path that it was found through, and where it is.
pub(super) type FileId = (usize, FilePath);

/// An absolute path that is compared byte by byte. Paths compare themselves part by part, which is what most of a look at a large directory
/// would go into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FilePath(OsString);

impl Deref for FilePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        Self(path.into())
    }
}

impl FilePath {
    /// Whether it is this path, spelled as it is.
    pub(super) fn is(&self, path: &Path) -> bool {
        self.0 == path.as_os_str()
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: BTreeMap<FileId, Found>,
    /// What cannot be listed: absolute path, and why.
    pub(super) errors: Vec<(PathBuf, FileError)>,
    /// The directories that were asked for and could be listed, as they were asked for.
    pub(super) folders: BTreeMap<PathBuf, Arc<str>>,
    /// Where changes can happen that matter.
    pub(super) directories: BTreeSet<PathBuf>,
    /// Whether some path leads elsewhere: what happens at one place may then matter at another.
    pub(super) has_links: bool,
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its path as it was asked for.
    pub(super) name: Arc<str>,
    pub(super) stamp: Stamp,
}

/// What changes when a file changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Where it really is, behind links.
    pub(super) real: PathBuf,
    pub(super) length: u64,
    pub(super) modified: Option<SystemTime>,
    pub(super) inode: u64,
}

/// What was read.
pub(super) struct Loaded {
    pub(super) stamp: Stamp,
    pub(super) content: Result<Arc<[u8]>, FileError>,
}

/// Where the files of a set are, as long as no link leads elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// What was asked for, absolute.
    roots: Vec<PathBuf>,
    extensions: &'static [&'static str],
}

impl Scope {
    /// Whether a path could be one of the files.
    pub(super) fn is_file(&self, path: &Path) -> bool {
        let is_named_so = has_extension(path, self.extensions) && !is_hidden(path);
        let is_it = |root: &PathBuf| path == root || is_named_so && path.starts_with(root);
        self.roots.iter().any(is_it)
    }

    /// Whether what comes to a path, or goes from it, can change which files there are.
    pub(super) fn may_lead_to_files(&self, path: &Path) -> bool {
        let is_visible = !is_hidden(path);
        let leads = |root: &PathBuf| root.starts_with(path) || is_visible && path.starts_with(root);
        self.roots.iter().any(leads)
    }
}

impl FileSet {
    pub(super) fn scope(&self) -> Scope {
        Scope {
            roots: self.roots().map(|(_, _, absolute)| absolute).collect(),
            extensions: self.extensions,
        }
    }

    /// The paths that were asked for: number, as written, absolute.
    pub(super) fn roots(&self) -> impl Iterator<Item = (usize, &Path, PathBuf)> {
        self.paths.iter().enumerate().map(|(number, path)| {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            (number, path.as_path(), absolute)
        })
    }

    pub(super) fn list(&self) -> Listing {
        let mut listing = Listing::default();
        for (number, written, absolute) in self.roots() {
            listing.directories.extend(parent(&absolute));
            let mut walk = Walk {
                set: self,
                number,
                listing: &mut listing,
                above: Vec::new(),
            };
            match fs::metadata(&absolute) {
                Ok(metadata) if metadata.is_dir() => {
                    walk.directory(&absolute, written);
                    if listing.directories.contains(&absolute) {
                        let written = written.to_string_lossy().into();
                        listing.folders.insert(absolute, written);
                    }
                }
                Ok(metadata) => {
                    let real = fs::canonicalize(&absolute).unwrap_or_else(|_| absolute.clone());
                    walk.listing.has_links |= real != absolute;
                    walk.file(absolute, written, real, &metadata);
                }
                Err(error) => walk.error(absolute, written, &error),
            }
        }
        listing
    }
}

impl Listing {
    /// Brings what is known of files up to date that were written to or replaced, and says which, if that is all that happened: a look at
    /// everything costs the size of the directory, and nearly all changes are of this kind.
    pub(super) fn refresh<'p>(
        &mut self,
        scope: &Scope,
        mut paths: impl Iterator<Item = &'p Path>,
    ) -> Option<Vec<FileId>> {
        if self.has_links || !self.errors.is_empty() {
            return None;
        }
        let mut refreshed = Vec::new();
        let is_all = paths.all(|path| self.refresh_one(scope, path, &mut refreshed));
        is_all.then_some(refreshed)
    }

    fn refresh_one(&mut self, scope: &Scope, path: &Path, refreshed: &mut Vec<FileId>) -> bool {
        let metadata = fs::symlink_metadata(path);
        let is_concerned = scope.is_file(path) || self.directories.contains(path);
        match metadata {
            Ok(metadata) if metadata.is_file() => {
                let path = FilePath::from(path.to_owned());
                let mut ids = (0..scope.roots.len()).map(|number| (number, path.clone()));
                let Some(id) = ids.find(|id| self.files.contains_key(id)) else {
                    // One that is new, or none of ours: what is written before it is renamed into place.
                    return !is_concerned;
                };
                if let Some(found) = self.files.get_mut(&id) {
                    found.stamp = Stamp::of(path.to_path_buf(), &metadata);
                }
                refreshed.push(id);
                true
            }
            // A directory that nobody had seen took nothing away with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => !is_concerned,
            Ok(_) | Err(_) => false,
        }
    }

    /// The content of a file, or `None` if it was written to meanwhile.
    pub(super) fn load(&self, id: &FileId, bytes_max: usize) -> Option<Loaded> {
        let loaded = self.load_once(id, bytes_max);
        let (before, content) = (&loaded.stamp, &loaded.content);
        let after = fs::metadata(&*id.1);
        let same = after.is_ok_and(|after| {
            let length = content
                .as_ref()
                .map_or(after.len(), |bytes| bytes.len() as u64);
            after.len() == length
                && after.modified().ok() == before.modified
                && inode(&after) == before.inode
        });
        same.then_some(loaded)
    }

    /// The content of a file, whether or not somebody writes to it.
    pub(super) fn load_once(&self, id: &FileId, bytes_max: usize) -> Loaded {
        let (_, path) = id;
        let found = self.files.get(id).cloned().unwrap_or_else(|| Found {
            name: path.to_string_lossy().into(),
            stamp: Stamp {
                real: path.to_path_buf(),
                length: 0,
                modified: None,
                inode: 0,
            },
        });
        let error = |kind, message| FileError {
            path: found.name.clone(),
            kind,
            message,
        };
        let content = match read(path, bytes_max) {
            Ok(Some(content)) => Ok(content),
            Ok(None) => Err(error(
                FileErrorKind::TooLarge,
                format!(
                    "it has {} bytes and may have {bytes_max}",
                    found.stamp.length
                ),
            )),
            Err(unreadable) => Err(error(kind(&unreadable), unreadable.to_string())),
        };
        Loaded {
            stamp: found.stamp,
            content,
        }
    }
}

impl Stamp {
    fn of(real: PathBuf, metadata: &Metadata) -> Self {
        Self {
            real,
            length: metadata.len(),
            modified: metadata.modified().ok(),
            inode: inode(metadata),
        }
    }
}

struct Walk<'a> {
    set: &'a FileSet,
    number: usize,
    listing: &'a mut Listing,
    /// Where the directories really are that the walk is in.
    above: Vec<PathBuf>,
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path, written: &Path) {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.listing.has_links |= real != path;
        // A link to a directory that it is in would show every file again, once a round.
        if self.above.contains(&real) || self.above.len() > DEPTH_MAX {
            return;
        }
        self.above.push(real);
        self.entries(path, written);
        self.above.pop();
    }

    fn entries(&mut self, path: &Path, written: &Path) {
        let entries = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => return self.error(path.to_owned(), written, &error),
        };
        self.listing.directories.insert(path.to_owned());
        for entry in entries {
            let name = entry.file_name();
            let (path, written) = (path.join(&name), written.join(&name));
            self.listing.has_links |= entry.file_type().map_or(true, |kind| kind.is_symlink());
            if is_hidden(&path) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.directory(&path, &written),
                Ok(metadata) if has_extension(&path, self.set.extensions) => {
                    if self.listing.files.len() >= FILES_MAX {
                        return self.too_many(path, &written);
                    }
                    let real = self.real(&path, &entry);
                    self.file(path, &written, real, &metadata);
                }
                Ok(_) => {}
                // Gone since, or a link to nothing, which is as good as no file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.error(path, &written, &error),
            }
        }
    }

    /// Where an entry of the directory that the walk is in really is. Only links have to be followed for that, and to follow a path costs
    /// more than all else that is done about a file.
    fn real(&self, path: &Path, entry: &DirEntry) -> PathBuf {
        let is_link = entry.file_type().map_or(true, |kind| kind.is_symlink());
        match self.above.last() {
            Some(directory) if !is_link => directory.join(entry.file_name()),
            _ => fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        }
    }

    fn file(&mut self, path: PathBuf, written: &Path, real: PathBuf, metadata: &Metadata) {
        if real != path {
            self.listing.directories.extend(parent(&real));
        }
        let stamp = Stamp::of(real, metadata);
        let name = written.to_string_lossy().into();
        let mut id = (0, path.into());
        // A path within another that was asked for before.
        while id.0 < self.number {
            if self.listing.files.contains_key(&id) {
                return;
            }
            id.0 += 1;
        }
        self.listing.files.insert(id, Found { name, stamp });
    }

    fn error(&mut self, path: PathBuf, written: &Path, error: &io::Error) {
        let error = FileError {
            path: written.to_string_lossy().into(),
            kind: kind(error),
            message: error.to_string(),
        };
        self.listing.errors.push((path, error));
    }

    fn too_many(&mut self, path: PathBuf, written: &Path) {
        let error = FileError {
            path: written.to_string_lossy().into(),
            kind: FileErrorKind::TooLarge,
            message: format!("there are more than {FILES_MAX} files"),
        };
        self.listing.errors.push((path, error));
    }
}

impl Loaded {
    /// Whether another attempt may succeed although the file is the same.
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(
            self.content,
            Err(FileError {
                kind: FileErrorKind::Unreadable,
                ..
            })
        )
    }
}

/// The content of a file, or `None` if there is too much of it.
fn read(path: &Path, bytes_max: usize) -> io::Result<Option<Arc<[u8]>>> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let file = fs::File::open(path)?;
    if file.metadata()?.len() > limit {
        return Ok(None);
    }
    let mut content = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    Ok((content.len() <= bytes_max).then(|| content.into()))
}

fn kind(error: &io::Error) -> FileErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => FileErrorKind::Missing,
        _ => FileErrorKind::Unreadable,
    }
}

fn parent(path: &Path) -> Option<PathBuf> {
    path.parent().map(Path::to_owned)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        let is_it = |known: &&str| known.eq_ignore_ascii_case(extension);
        extensions.iter().any(is_it)
    })
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn set(path: &Path) -> FileSet {
        FileSet {
            paths: vec![path.to_owned()],
            extensions: &["yaml"],
            bytes_max: 100,
        }
    }

    #[test]
    fn a_file_that_is_replaced_is_all_that_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let set = set(&root);
        let at = |name: &str| root.join(name);
        fs::write(at("a.yaml"), "1").unwrap();
        fs::write(at("b.yaml"), "1").unwrap();
        let mut listing = set.list();
        let refresh = |listing: &mut Listing, names: &[&str]| {
            let paths: Vec<PathBuf> = names.iter().map(|name| at(name)).collect();
            let is_all = listing.refresh(&set.scope(), paths.iter().map(|path| &**path));
            is_all.map(|_| listing.files == set.list().files)
        };

        fs::write(at(".a.yaml.tmp"), "23").unwrap();
        assert_eq!(refresh(&mut listing, &[".a.yaml.tmp"]), Some(true));
        fs::rename(at(".a.yaml.tmp"), at("a.yaml")).unwrap();
        assert_eq!(
            refresh(&mut listing, &[".a.yaml.tmp", "a.yaml"]),
            Some(true)
        );
        fs::write(at("b.yaml"), "in place").unwrap();
        assert_eq!(refresh(&mut listing, &["b.yaml"]), Some(true));
        // As others write before they rename.
        assert_eq!(refresh(&mut listing, &["a.yaml~", "a.yaml"]), Some(true));

        // What comes, goes, or may be more than a file needs a look at everything.
        fs::write(at("c.yaml"), "1").unwrap();
        assert_eq!(refresh(&mut listing, &["c.yaml"]), None);
        fs::remove_file(at("b.yaml")).unwrap();
        assert_eq!(refresh(&mut listing, &["b.yaml"]), None);
        fs::create_dir(at("team")).unwrap();
        assert_eq!(refresh(&mut listing, &["team"]), None);
        listing = set.list();
        fs::remove_dir(at("team")).unwrap();
        assert_eq!(refresh(&mut listing, &["team"]), None);
    }

    #[test]
    fn where_there_are_links_everything_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let set = set(&root);
        fs::write(root.join("a.yaml"), "1").unwrap();
        assert!(
            set.list()
                .refresh(&set.scope(), [&*root.join("a.yaml")].into_iter())
                .is_some()
        );
        // Even one that leads nowhere yet.
        symlink(root.join(".b.yaml"), root.join("b.yaml")).unwrap();
        assert!(
            set.list()
                .refresh(&set.scope(), [&*root.join("a.yaml")].into_iter())
                .is_none()
        );
    }
}
