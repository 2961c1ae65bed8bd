//! Files and directories that are watched: what they contain, and what they contain after each change.
//!
//! A reader of configuration must not act on a file that somebody is still writing: nearly every beginning of a YAML list is a
//! YAML list too, only shorter. So a changed file is read at the moment its writer closes it or renames it into place; where the
//! system does not say so (other systems than Linux, network file systems), when it has not changed for a while
//! ([`Pace::settle`]). A file that vanishes counts as deleted after the same while, because many editors replace a file by deleting
//! and writing it again. Directories are read recursively; names that begin with a dot are left out, so that the data directories
//! behind a mounted ConfigMap are read once, through its links.

mod list;
mod signals;
mod track;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use list::Listing;
use signals::{Signals, Watcher};
use track::{Looked, Tracker};

pub use list::FileSet;

/// What a set of files contains, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// Files in the order of the paths that were asked for, then by name. One that cannot be found because its directory cannot
    /// be read, or because it was asked for by name, is here with its last content.
    pub files: Vec<File>,
    /// Paths that are missing and directories that cannot be read: while there are any, the files are not known to be all.
    pub errors: Vec<FileError>,
    /// Directories that were asked for and have no file to read, as they were asked for: perhaps another was meant.
    pub empty: Vec<Arc<str>>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path as it was asked for, for messages.
    pub path: Arc<str>,
    /// Its content, shared with earlier readings while it is the same.
    pub content: Result<Arc<[u8]>, FileError>,
}

/// Why a file or directory cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FileError {
    /// Its path.
    pub path: Arc<str>,
    /// What kind of error.
    pub kind: FileErrorKind,
    /// What is wrong, in words.
    pub message: String,
}

/// What kind of error keeps a file or directory from being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileErrorKind {
    /// There is nothing at the path.
    Missing,
    /// It cannot be read, or is not a file.
    Unreadable,
    /// It is larger than the limit.
    TooLarge,
}

/// How soon changes are seen where the system does not announce them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time between two looks at everything.
    pub poll: Duration,
    /// How long a file must stay unchanged before it is read, or stay away before it counts as deleted, where the system does not
    /// say that its writer is done.
    pub settle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(5),
            settle: Duration::from_secs(1),
        }
    }
}

/// Watches a set of files from a thread of its own, because file systems can hang.
#[derive(Debug)]
pub struct Watch {
    set: FileSet,
    pace: Pace,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    signals: Arc<Signals>,
    readings: watch::Receiver<Option<Reading>>,
}

impl Watch {
    /// Watches from the first call of [`Watch::next`] on.
    pub fn new(set: FileSet, pace: Pace) -> Self {
        Self {
            set,
            pace,
            running: None,
        }
    }

    /// The first reading at once, and from then on the newest one as soon as anything in it has changed. Readings that nobody
    /// asked for in time are skipped. Cancel-safe.
    pub async fn next(&mut self) -> Reading {
        loop {
            if let Some(running) = &mut self.running
                && running.readings.changed().await.is_ok()
            {
                let newest = running.readings.borrow_and_update().clone();
                if let Some(reading) = newest {
                    return reading;
                }
                continue;
            }
            if self.running.take().is_some() {
                tracing::error!(paths = ?self.set.paths, "the thread that watches files has died; starting another");
                tokio::time::sleep(self.pace.poll).await;
            }
            match start(self.set.clone(), self.pace) {
                Ok(running) => self.running = Some(running),
                Err(error) => {
                    tracing::error!(%error, "no thread for watching files; trying again");
                    tokio::time::sleep(self.pace.poll).await;
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.signals.stop();
        }
    }
}

fn start(set: FileSet, pace: Pace) -> std::io::Result<Running> {
    let signals = Arc::new(Signals::new(set.scope()));
    let (sender, readings) = watch::channel(None);
    let theirs = signals.clone();
    thread::Builder::new()
        .name("files".to_owned())
        .spawn(move || watch_files(&set, pace, &theirs, &sender))?;
    Ok(Running { signals, readings })
}

fn watch_files(
    set: &FileSet,
    pace: Pace,
    signals: &Arc<Signals>,
    sender: &watch::Sender<Option<Reading>>,
) {
    let scope = set.scope();
    let mut watcher = Watcher::new(signals.clone());
    let mut tracker = Tracker::new(set, pace.settle);
    let mut poll_at = Instant::now();
    let mut listing = Listing::default();
    loop {
        let now = Instant::now();
        let mut news = signals.take();
        if news.stop || sender.is_closed() {
            return;
        }
        if now >= poll_at {
            poll_at = now + pace.poll;
            news.structure = true;
        }
        let is_due = tracker.deadline().is_some_and(|deadline| deadline <= now);
        if news.only_writing() && !is_due {
            tracker.writing(&news.hints, now);
        } else {
            let paths = news.paths().filter(|_| !is_due);
            let refreshed = paths.and_then(|paths| listing.refresh(&scope, paths));
            if refreshed.is_none() {
                listing = set.list();
                let is_anew = news.structure || !news.touched.is_empty();
                let was_deaf = listing.has_links && signals.heed_links();
                if watcher.watch(&listing.directories, is_anew) || was_deaf {
                    // What happened before a directory was watched, or before links were known of, was not heard.
                    listing = set.list();
                }
            }
            let looked = refreshed.as_deref().map_or(Looked::AtAll, Looked::At);
            for id in tracker.advance(&listing, looked, &news.hints, now) {
                let content = listing.load(&id, set.bytes_max);
                tracker.loaded(id, content, now);
            }
            match tracker.reading() {
                Some(reading) => drop(sender.send_replace(Some(reading))),
                // Somebody else is busy in the same directory: that must not keep us busy too.
                None => thread::sleep((now.elapsed() * 3).min(REST_MAX)),
            }
        }
        let until = tracker
            .deadline()
            .map_or(poll_at, |deadline| deadline.min(poll_at));
        signals.wait(until, |path| scope.is_file(path) || tracker.knows(path));
    }
}

impl FileSet {
    /// Reads everything once, without watching.
    pub fn read(&self) -> Reading {
        let now = Instant::now();
        let mut tracker = Tracker::new(self, Duration::ZERO);
        let listing = self.list();
        for id in tracker.advance(&listing, Looked::AtAll, &[], now) {
            // Nobody waits for the writer here: what is there is what is asked for.
            let content = listing.load_once(&id, self.bytes_max);
            tracker.loaded(id, Some(content), now);
        }
        tracker.reading().unwrap_or_default()
    }
}

/// Longest rest after a look at everything that has found nothing.
const REST_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::symlink, path::Path};

    use super::*;

    fn set(path: &Path) -> FileSet {
        FileSet {
            paths: vec![path.to_owned()],
            extensions: &["yaml", "json"],
            bytes_max: 100,
        }
    }

    /// Looks by itself so rarely that only what is announced can be seen.
    fn announced_only(path: &Path) -> Watch {
        let pace = Pace {
            poll: Duration::from_secs(600),
            settle: Duration::from_millis(100),
        };
        Watch::new(set(path), pace)
    }

    fn shown(reading: &Reading, directory: &Path) -> String {
        let without = |path: &str| path.replace(&format!("{}/", directory.display()), "");
        let files = reading.files.iter().map(|file| {
            let content = match &file.content {
                Ok(content) => String::from_utf8_lossy(content).into_owned(),
                Err(error) => error.message.clone(),
            };
            format!("{}={content}", without(&file.path))
        });
        let errors = reading
            .errors
            .iter()
            .map(|error| without(&error.to_string()));
        files.chain(errors).collect::<Vec<_>>().join(" ")
    }

    async fn until(watch: &mut Watch, directory: &Path, expected: &str) {
        let mut last = String::new();
        let seen = async {
            while last != expected {
                last = shown(&watch.next().await, directory);
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), seen).await;
        assert!(in_time.is_ok(), "wanted {expected:?}, last was {last:?}");
    }

    #[test]
    fn a_directory_is_read_recursively_without_hidden_names() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("team")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        for (name, content) in [
            ("b.yaml", "1"),
            ("a.JSON", "2"),
            ("team/c.yaml", "3"),
            (".git/d.yaml", "4"),
            (".e.yaml", "5"),
            ("f.yaml~", "6"),
            ("README.md", "7"),
        ] {
            fs::write(root.join(name), content).unwrap();
        }
        symlink(root, root.join("circle")).unwrap();
        symlink("..", root.join("team/circle")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("h.yaml"), "8").unwrap();
        symlink(elsewhere.path(), root.join("link")).unwrap();
        symlink(root.join("nowhere"), root.join("g.yaml")).unwrap();
        // Links to directories are followed, but not around in circles.
        assert_eq!(
            shown(&set(root).read(), root),
            "a.JSON=2 b.yaml=1 link/h.yaml=8 team/c.yaml=3"
        );
    }

    #[tokio::test]
    async fn a_directory_without_files_is_said_while_it_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("team")).unwrap();
        fs::write(root.join("README.md"), "1").unwrap();
        let written: Arc<str> = root.to_string_lossy().into();
        assert_eq!(set(root).read().empty, std::slice::from_ref(&written));
        // One that is missing is not empty, and a path in another is not either.
        assert_eq!(set(&root.join("nowhere")).read().empty, []);
        let mut both = set(root);
        both.paths.push(root.join("team"));
        fs::write(root.join("team/a.yaml"), "2").unwrap();
        assert_eq!(both.read().empty, []);

        let mut watch = announced_only(root);
        assert_eq!(watch.next().await.empty, []);
        fs::remove_file(root.join("team/a.yaml")).unwrap();
        assert_eq!(watch.next().await.empty, [written]);
        fs::write(root.join("b.yaml"), "3").unwrap();
        assert_eq!(watch.next().await.empty, []);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let missing = set(&root.join("missing.yaml")).read();
        assert_eq!(missing.errors[0].kind, FileErrorKind::Missing);
        fs::write(root.join("large.yaml"), [b'x'; 101]).unwrap();
        let large = set(root).read();
        assert_eq!(
            shown(&large, root),
            "large.yaml=it has 101 bytes and may have 100"
        );
        let device = set(Path::new("/dev/null")).read();
        assert_eq!(shown(&device, Path::new("/dev")), "null=it is not a file");
    }

    #[tokio::test]
    async fn changes_of_a_file_are_seen_however_they_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let path = root.join("a.yaml");
        fs::write(&path, "1").unwrap();
        let mut watch = announced_only(&path);
        until(&mut watch, root, "a.yaml=1").await;
        fs::write(&path, "2").unwrap();
        until(&mut watch, root, "a.yaml=2").await;
        fs::write(root.join(".a.yaml.tmp"), "3").unwrap();
        fs::rename(root.join(".a.yaml.tmp"), &path).unwrap();
        until(&mut watch, root, "a.yaml=3").await;
        fs::rename(&path, root.join("a.yaml~")).unwrap();
        fs::write(&path, "4").unwrap();
        until(&mut watch, root, "a.yaml=4").await;
        fs::remove_file(&path).unwrap();
        let gone = "a.yaml=4 a.yaml: No such file or directory (os error 2)";
        until(&mut watch, root, gone).await;
        fs::write(&path, "5").unwrap();
        until(&mut watch, root, "a.yaml=5").await;
    }

    #[tokio::test]
    async fn a_file_that_is_open_is_not_read_while_others_are() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::write(root.join("a.yaml"), "whole").unwrap();
        let pace = Pace {
            poll: Duration::from_secs(600),
            settle: Duration::from_secs(600),
        };
        let mut watch = Watch::new(set(root), pace);
        until(&mut watch, root, "a.yaml=whole").await;
        let mut writer = fs::File::create(root.join("a.yaml")).unwrap();
        writer.write_all(b"ano").unwrap();
        fs::write(root.join("b.yaml"), "1").unwrap();
        until(&mut watch, root, "a.yaml=whole b.yaml=1").await;
        writer.write_all(b"ther").unwrap();
        fs::write(root.join("b.yaml"), "2").unwrap();
        until(&mut watch, root, "a.yaml=whole b.yaml=2").await;
        drop(writer);
        until(&mut watch, root, "a.yaml=another b.yaml=2").await;
    }

    #[tokio::test]
    async fn a_config_map_is_seen_when_its_link_is_swapped() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (version, content) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(root.join(version)).unwrap();
            fs::write(root.join(version).join("a.yaml"), content).unwrap();
        }
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
        let mut whole = announced_only(root);
        let mut single = announced_only(&root.join("a.yaml"));
        until(&mut whole, root, "a.yaml=one").await;
        until(&mut single, root, "a.yaml=one").await;
        symlink("..2", root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        until(&mut whole, root, "a.yaml=two").await;
        until(&mut single, root, "a.yaml=two").await;
    }

    #[tokio::test]
    async fn files_and_directories_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let parent = directory.path();
        let root = parent.join("d");
        let mut watch = announced_only(&root);
        let reading = watch.next().await;
        assert_eq!(reading.errors[0].kind, FileErrorKind::Missing);
        fs::create_dir(&root).unwrap();
        until(&mut watch, &root, "").await;
        fs::write(root.join("a.yaml"), "1").unwrap();
        until(&mut watch, &root, "a.yaml=1").await;
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/b.yaml"), "2").unwrap();
        until(&mut watch, &root, "a.yaml=1 sub/b.yaml=2").await;
        fs::write(root.join("sub/b.yaml"), "3").unwrap();
        until(&mut watch, &root, "a.yaml=1 sub/b.yaml=3").await;
        fs::remove_file(root.join("a.yaml")).unwrap();
        until(&mut watch, &root, "sub/b.yaml=3").await;
        fs::rename(&root, parent.join("elsewhere")).unwrap();
        let reading = watch.next().await;
        assert_eq!(reading.files.len(), 1, "{reading:?}");
        assert_eq!(reading.errors[0].kind, FileErrorKind::Missing);
    }

    #[tokio::test]
    async fn without_announcements_changes_are_seen_by_looking() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        // A link's target in a directory that appears later is not announced.
        symlink("later/a.yaml", root.join("a.yaml")).unwrap();
        let pace = Pace {
            poll: Duration::from_millis(20),
            settle: Duration::from_millis(20),
        };
        let mut watch = Watch::new(set(root), pace);
        until(&mut watch, root, "").await;
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("a.yaml"), "1").unwrap();
        symlink(outside.path(), root.join("later")).unwrap();
        until(&mut watch, root, "a.yaml=1 later/a.yaml=1").await;
    }
}
