//! Which files to read when. Pure: time and what was seen are arguments.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    File, FileError, FileErrorKind, FileSet, Reading,
    list::{FileId, Found, Listing, Loaded, Stamp},
    signals::Hint,
};

/// What is known about all files.
pub(super) struct Tracker {
    settle: Duration,
    /// What was asked for by name.
    roots: Vec<PathBuf>,
    files: BTreeMap<FileId, Tracked>,
    /// Those that change, or are away.
    unsettled: BTreeMap<FileId, Unsettled>,
    missing: BTreeMap<PathBuf, Missing>,
    errors: Vec<FileError>,
    /// The directories that were asked for.
    folders: BTreeMap<PathBuf, Arc<str>>,
    /// The last one that was given out.
    last: Option<Reading>,
    /// Whether there may be something since that is not in it.
    may_differ: bool,
}

/// What of a listing may be other than it was.
#[derive(Debug, Clone, Copy)]
pub(super) enum Looked<'a> {
    AtAll,
    /// At these files only, all of which were there before.
    At(&'a [FileId]),
}

struct Tracked {
    name: Arc<str>,
    /// What was read.
    loaded: Option<Loaded>,
}

/// A file that changes, or is away.
struct Unsettled {
    /// How long it must stay as it is.
    wait: Duration,
    /// When it has stayed so long.
    until: Instant,
    /// As it was; `None` if it was away, or nobody has looked.
    stamp: Option<Stamp>,
}

impl Unsettled {
    fn new(now: Instant, wait: Duration, stamp: Option<Stamp>) -> Self {
        Self {
            wait,
            until: now + wait,
            stamp,
        }
    }
}

/// Something that was asked for and is not there.
struct Missing {
    until: Instant,
    reported: bool,
}

impl Tracker {
    pub(super) fn new(set: &FileSet, settle: Duration) -> Self {
        Self {
            settle,
            roots: set.roots().map(|(_, _, absolute)| absolute).collect(),
            files: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            missing: BTreeMap::new(),
            errors: Vec::new(),
            folders: BTreeMap::new(),
            last: None,
            may_differ: true,
        }
    }

    /// Takes in what was seen, and says which files to read now.
    pub(super) fn advance(
        &mut self,
        listing: &Listing,
        looked: Looked<'_>,
        hints: &[(PathBuf, Hint)],
        now: Instant,
    ) -> Vec<FileId> {
        if let Looked::At(ids) = looked {
            let found = ids.iter().filter_map(|id| listing.files.get_key_value(id));
            return self.look(found, hints, now);
        }
        for (id, found) in &listing.files {
            if !self.files.contains_key(id) {
                let tracked = Tracked {
                    name: found.name.clone(),
                    loaded: None,
                };
                self.files.insert(id.clone(), tracked);
            }
        }
        let to_read = self.look(listing.files.iter(), hints, now);
        self.forget_deleted(listing, now);
        self.take_errors(listing, now);
        self.folders.clone_from(&listing.folders);
        self.may_differ = true;
        to_read
    }

    /// Takes in how files were found, in order, all of which are known, and says which to read now.
    fn look<'f>(
        &mut self,
        found: impl Iterator<Item = (&'f FileId, &'f Found)>,
        hints: &[(PathBuf, Hint)],
        now: Instant,
    ) -> Vec<FileId> {
        let mut to_read = Vec::new();
        for (id, found) in found {
            let Some(tracked) = self.files.get(id) else {
                continue;
            };
            let (_, path) = id;
            let hint = hints
                .iter()
                .rev()
                .find(|(hinted, _)| path.is(hinted) || found.stamp.real.as_os_str() == hinted)
                .map(|(_, hint)| *hint);
            let unsettled = self.unsettled.get(id);
            let is_first = self.last.is_none() && unsettled.is_none();
            match tracked.look(found, unsettled, hint, is_first, self.settle, now) {
                Look::Read => to_read.push(id.clone()),
                Look::Wait(unsettled) => {
                    self.unsettled.insert(id.clone(), unsettled);
                }
                Look::Leave => {}
            }
        }
        to_read
    }

    /// Takes in that somebody writes to files, which is no reason to look at anything yet.
    pub(super) fn writing(&mut self, hints: &[(PathBuf, Hint)], now: Instant) {
        for (id, tracked) in &self.files {
            let (_, path) = id;
            let real = tracked.loaded.as_ref().map(|loaded| &loaded.stamp.real);
            let is_hinted = |(hinted, _): &(PathBuf, Hint)| path.is(hinted) || Some(hinted) == real;
            if hints.iter().any(is_hinted) {
                let wait = self.settle * PATIENCE_WITH_WRITERS;
                let unsettled = Unsettled::new(now, wait, None);
                self.unsettled.insert(id.clone(), unsettled);
            }
        }
    }

    /// Takes in what was read; `None` if the file was written to while it was read.
    pub(super) fn loaded(&mut self, id: FileId, loaded: Option<Loaded>, now: Instant) {
        let Some(tracked) = self.files.get_mut(&id) else {
            return;
        };
        match loaded {
            Some(Loaded { stamp, content }) => {
                // What is the same stays the same in memory, so that readers see it at a glance.
                let content = match tracked.loaded.take() {
                    Some(before) if before.content == content => before.content,
                    _ => content,
                };
                tracked.loaded = Some(Loaded { stamp, content });
                self.unsettled.remove(&id);
                self.may_differ = true;
            }
            None => {
                let unsettled = Unsettled::new(now, self.settle, None);
                self.unsettled.insert(id, unsettled);
            }
        }
    }

    /// What there is now, if that is another than before.
    pub(super) fn reading(&mut self) -> Option<Reading> {
        if !self.may_differ {
            return None;
        }
        let unread = |id: &FileId, tracked: &Tracked| {
            tracked.loaded.is_none()
                && (self.last.is_none() || self.roots.iter().any(|root| id.1.is(root)))
        };
        // What is not yet known must not look like what is not there.
        if self.files.iter().any(|(id, tracked)| unread(id, tracked)) {
            return None;
        }
        let files = self.files.values().filter_map(|tracked| {
            let loaded = tracked.loaded.as_ref()?;
            Some(File {
                path: tracked.name.clone(),
                content: loaded.content.clone(),
            })
        });
        self.may_differ = false;
        let reading = Reading {
            files: files.collect(),
            errors: self.errors.clone(),
            empty: self.empty_folders(),
        };
        if self
            .last
            .as_ref()
            .is_some_and(|last| is_same(last, &reading))
        {
            return None;
        }
        self.last = Some(reading.clone());
        Some(reading)
    }

    fn empty_folders(&self) -> Vec<Arc<str>> {
        let is_empty =
            |folder: &PathBuf| !self.files.keys().any(|(_, path)| path.starts_with(folder));
        self.folders
            .iter()
            .filter(|(folder, _)| is_empty(folder))
            .map(|(_, written)| written.clone())
            .collect()
    }

    /// When to look again, if nothing is announced.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let unsettled = self.unsettled.values().map(|unsettled| unsettled.until);
        let missing = self
            .missing
            .values()
            .filter(|missing| !missing.reported)
            .map(|missing| missing.until);
        unsettled.chain(missing).min()
    }

    /// Whether a path leads to one of the files, behind links.
    pub(super) fn knows(&self, path: &Path) -> bool {
        self.files
            .values()
            .filter_map(|tracked| tracked.loaded.as_ref())
            .any(|loaded| loaded.stamp.real.as_os_str() == path.as_os_str())
    }

    fn forget_deleted(&mut self, listing: &Listing, now: Instant) {
        let (settle, unsettled) = (self.settle, &mut self.unsettled);
        self.files.retain(|id, _| {
            let (_, path) = id;
            if listing.files.contains_key(id) {
                return true;
            }
            let unknown = |(failed, _): &(PathBuf, FileError)| path.starts_with(failed);
            if listing.errors.iter().any(unknown) {
                unsettled.remove(id);
                return true;
            }
            match unsettled.get(id) {
                Some(Unsettled {
                    until, stamp: None, ..
                }) if now >= *until => {
                    unsettled.remove(id);
                    false
                }
                Some(Unsettled { stamp: None, .. }) => true,
                Some(Unsettled { stamp: Some(_), .. }) | None => {
                    unsettled.insert(id.clone(), Unsettled::new(now, settle, None));
                    true
                }
            }
        });
    }

    /// Something that is missing for a moment only is not missing.
    fn take_errors(&mut self, listing: &Listing, now: Instant) {
        let is_missing = |error: &FileError| error.kind == FileErrorKind::Missing;
        self.missing.retain(|path, _| {
            let errors = &listing.errors;
            errors
                .iter()
                .any(|(failed, error)| failed == path && is_missing(error))
        });
        self.errors.clear();
        for (path, error) in &listing.errors {
            if is_missing(error) {
                let settle = match self.last {
                    None => Duration::ZERO,
                    Some(_) => self.settle,
                };
                let missing = self.missing.entry(path.clone()).or_insert(Missing {
                    until: now + settle,
                    reported: false,
                });
                missing.reported = now >= missing.until;
                if !missing.reported {
                    continue;
                }
            }
            self.errors.push(error.clone());
        }
    }
}

/// Whether two readings say the same. Content that is the same is the same in memory, and is not compared byte by byte.
fn is_same(one: &Reading, other: &Reading) -> bool {
    let same_file = |(one, other): (&File, &File)| {
        let same_content = match (&one.content, &other.content) {
            (Ok(one), Ok(other)) => Arc::ptr_eq(one, other),
            (Err(one), Err(other)) => one == other,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        same_content && one.path == other.path
    };
    one.errors == other.errors
        && one.empty == other.empty
        && one.files.len() == other.files.len()
        && one.files.iter().zip(&other.files).all(same_file)
}

/// What to do about a file.
enum Look {
    Read,
    Wait(Unsettled),
    Leave,
}

impl Tracked {
    /// What to do, given how it was found, and how long it was to rest if it was to.
    fn look(
        &self,
        found: &Found,
        unsettled: Option<&Unsettled>,
        hint: Option<Hint>,
        is_first: bool,
        settle: Duration,
        now: Instant,
    ) -> Look {
        let stamp = &found.stamp;
        let wait = |wait| Look::Wait(Unsettled::new(now, wait, Some(stamp.clone())));
        let read_if = |is_to_read| match is_to_read {
            true => Look::Read,
            false => Look::Leave,
        };
        match (hint, unsettled, &self.loaded) {
            (Some(Hint::Written), _, _) => Look::Read,
            (Some(Hint::Writing), _, _) if !is_first => wait(settle * PATIENCE_WITH_WRITERS),
            (_, Some(known), _) if known.stamp.as_ref() == Some(stamp) => {
                read_if(now >= known.until)
            }
            (_, Some(known), _) => wait(known.wait),
            (_, None, None) if is_first => Look::Read,
            // A link that leads elsewhere now: what it leads to is complete.
            (_, None, Some(loaded)) if loaded.stamp.real != stamp.real => Look::Read,
            // It may have become readable, which changes nothing else.
            (_, None, Some(loaded)) if loaded.stamp == *stamp => read_if(loaded.is_unreadable()),
            (_, None, _) => wait(settle),
        }
    }
}

/// How much longer a file may rest whose writer is known to have it open: an upload that stalls is not complete.
const PATIENCE_WITH_WRITERS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(1);

    /// A directory `/d` as it looks at one moment, and what has been announced before.
    struct Scene {
        tracker: Tracker,
        start: Instant,
    }

    impl Scene {
        fn new(path: &str) -> Self {
            let set = FileSet {
                paths: vec![path.into()],
                extensions: &["yaml"],
                bytes_max: 100,
            };
            Self {
                tracker: Tracker::new(&set, SETTLE),
                start: Instant::now(),
            }
        }

        /// What is given out at a moment, as `name=content` and errors; files are (name, content), their stamps follow content.
        fn at(
            &mut self,
            milliseconds: u64,
            files: &[(&str, &str)],
            hints: &[(&str, Hint)],
        ) -> Option<String> {
            self.look(milliseconds, files, hints, &[])
        }

        fn look(
            &mut self,
            milliseconds: u64,
            files: &[(&str, &str)],
            hints: &[(&str, Hint)],
            missing: &[&str],
        ) -> Option<String> {
            self.look_at(milliseconds, files, hints, missing, None)
        }

        /// The same, where only some files were looked at.
        fn look_at(
            &mut self,
            milliseconds: u64,
            files: &[(&str, &str)],
            hints: &[(&str, Hint)],
            missing: &[&str],
            looked: Option<&[&str]>,
        ) -> Option<String> {
            let now = self.start + Duration::from_millis(milliseconds);
            let mut listing = Listing::default();
            for (name, content) in files {
                let stamp = Stamp {
                    real: format!("/d/{name}").into(),
                    length: content.len() as u64,
                    modified: None,
                    inode: content.bytes().map(u64::from).sum(),
                };
                let name = (*name).into();
                listing.files.insert(
                    (0, PathBuf::from(format!("/d/{name}")).into()),
                    Found { name, stamp },
                );
            }
            for path in missing {
                let error = FileError {
                    path: (*path).into(),
                    kind: FileErrorKind::Missing,
                    message: "gone".to_owned(),
                };
                listing.errors.push(((*path).into(), error));
            }
            let hints: Vec<_> = hints
                .iter()
                .map(|(name, hint)| (PathBuf::from(format!("/d/{name}")), *hint))
                .collect();
            let id = |name: &&str| (0, PathBuf::from(format!("/d/{name}")).into());
            let looked: Option<Vec<FileId>> = looked.map(|names| names.iter().map(id).collect());
            let looked = looked.as_deref().map_or(Looked::AtAll, Looked::At);
            for id in self.tracker.advance(&listing, looked, &hints, now) {
                let found = &listing.files[&id];
                let (_, content) = files
                    .iter()
                    .find(|(name, _)| *name == &*found.name)
                    .unwrap();
                let loaded = Loaded {
                    stamp: found.stamp.clone(),
                    content: Ok(content.as_bytes().into()),
                };
                self.tracker.loaded(id, Some(loaded), now);
            }
            let reading = self.tracker.reading()?;
            let files = reading.files.iter().map(|file| {
                let content = String::from_utf8_lossy(file.content.as_ref().unwrap());
                format!("{}={content}", file.path)
            });
            let errors = reading.errors.iter().map(FileError::to_string);
            Some(files.chain(errors).collect::<Vec<_>>().join(" "))
        }
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_file_is_read_when_its_writer_closes_it() {
        let mut scene = Scene::new("/d");
        assert_eq!(scene.at(0, &[("a", "1")], &[]), some("a=1"));
        assert_eq!(scene.at(1, &[("a", "1")], &[]), None);
        assert_eq!(scene.at(2, &[("a", "")], &[("a", Hint::Writing)]), None);
        assert_eq!(scene.at(2000, &[("a", "2")], &[("a", Hint::Writing)]), None);
        let half = [("a", "2"), ("b", "x")];
        assert_eq!(
            scene.at(4000, &half, &[("b", Hint::Written)]),
            some("a=1 b=x"),
            "another file does not wait"
        );
        let whole = [("a", "23"), ("b", "x")];
        assert_eq!(
            scene.at(5000, &whole, &[("a", Hint::Written)]),
            some("a=23 b=x")
        );
        assert_eq!(scene.tracker.deadline(), None);
    }

    #[test]
    fn where_some_files_were_looked_at_the_others_stay_as_they_are() {
        let mut scene = Scene::new("/d");
        let before = [("a", "1"), ("b", "1"), ("c", "1")];
        assert_eq!(scene.at(0, &before, &[]), some("a=1 b=1 c=1"));
        let after = [("a", "2"), ("b", "2"), ("c", "")];
        let hints = [("a", Hint::Written), ("c", Hint::Writing)];
        assert_eq!(
            scene.look_at(10, &after, &hints, &[], Some(&["a", "c"])),
            some("a=2 b=1 c=1")
        );
        assert_eq!(
            scene.tracker.deadline(),
            Some(scene.start + Duration::from_millis(10) + SETTLE * PATIENCE_WITH_WRITERS)
        );
        // What nobody has announced is found when everything is looked at.
        assert_eq!(scene.at(20, &after, &[]), None);
        assert_eq!(scene.at(1020, &after, &[]), some("a=2 b=2 c=1"));
    }

    #[test]
    fn a_file_that_nothing_is_announced_about_is_read_when_it_rests() {
        let mut scene = Scene::new("/d");
        assert_eq!(scene.at(0, &[("a", "1")], &[]), some("a=1"));
        assert_eq!(scene.at(5000, &[("a", "")], &[]), None);
        assert_eq!(
            scene.tracker.deadline(),
            Some(scene.start + Duration::from_secs(6))
        );
        assert_eq!(scene.at(6000, &[("a", "2")], &[]), None);
        assert_eq!(scene.at(6900, &[("a", "2")], &[]), None);
        assert_eq!(scene.at(7000, &[("a", "2")], &[]), some("a=2"));
        assert_eq!(scene.tracker.deadline(), None);
    }

    #[test]
    fn a_writer_that_only_announces_itself_has_more_patience_too() {
        let mut scene = Scene::new("/d");
        assert_eq!(scene.at(0, &[("a", "1")], &[]), some("a=1"));
        let hint = [(PathBuf::from("/d/a"), Hint::Writing)];
        scene.tracker.writing(&hint, scene.start);
        assert_eq!(scene.at(2000, &[("a", "")], &[]), None);
        assert_eq!(scene.at(11_000, &[("a", "")], &[]), None);
        assert_eq!(scene.at(12_000, &[("a", "")], &[]), some("a="));
        scene.tracker.writing(&hint, scene.start);
        assert_eq!(
            scene.at(12_001, &[("a", "2")], &[("a", Hint::Written)]),
            some("a=2")
        );
    }

    #[test]
    fn a_stalled_writer_has_more_patience() {
        let mut scene = Scene::new("/d");
        assert_eq!(scene.at(0, &[("a", "1")], &[]), some("a=1"));
        assert_eq!(scene.at(1, &[("a", "")], &[("a", Hint::Writing)]), None);
        assert_eq!(scene.at(9000, &[("a", "")], &[]), None);
        assert_eq!(scene.at(10_001, &[("a", "")], &[]), some("a="));
    }

    #[test]
    fn a_file_that_is_away_for_a_moment_is_not_deleted() {
        let mut scene = Scene::new("/d");
        let both = [("a", "1"), ("b", "1")];
        assert_eq!(scene.at(0, &both, &[]), some("a=1 b=1"));
        assert_eq!(scene.at(10, &[("b", "1")], &[]), None);
        let back = [("a", "2"), ("b", "1")];
        assert_eq!(
            scene.at(20, &back, &[("a", Hint::Written)]),
            some("a=2 b=1")
        );
        assert_eq!(scene.at(30, &[("b", "1")], &[]), None);
        assert_eq!(scene.at(1030, &[("b", "1")], &[]), some("b=1"));
    }

    #[test]
    fn a_missing_file_that_was_asked_for_keeps_its_content() {
        let mut scene = Scene::new("/d/a");
        let gone = ["/d/a"];
        assert_eq!(scene.at(0, &[("a", "1")], &[]), some("a=1"));
        assert_eq!(scene.look(10, &[], &[], &gone), None);
        assert_eq!(scene.look(1010, &[], &[], &gone), some("a=1 /d/a: gone"));
        assert_eq!(scene.at(2000, &[("a", "1")], &[]), some("a=1"));
    }

    #[test]
    fn a_file_that_was_missing_from_the_beginning_is_never_seen_as_empty() {
        let mut scene = Scene::new("/d/a");
        assert_eq!(scene.look(0, &[], &[], &["/d/a"]), some("/d/a: gone"));
        assert_eq!(scene.at(10, &[("a", "")], &[("a", Hint::Writing)]), None);
        assert_eq!(
            scene.at(20, &[("a", "1")], &[("a", Hint::Written)]),
            some("a=1")
        );
    }

    #[test]
    fn files_below_a_directory_that_cannot_be_read_are_kept() {
        let mut scene = Scene::new("/d");
        assert_eq!(scene.at(0, &[("sub/a", "1")], &[]), some("sub/a=1"));
        assert_eq!(scene.look(10, &[], &[], &["/d/sub"]), None);
        assert_eq!(
            scene.look(5000, &[], &[], &["/d/sub"]),
            some("sub/a=1 /d/sub: gone")
        );
    }
}
