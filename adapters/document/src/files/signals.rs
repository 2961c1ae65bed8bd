//! What the file system announces, between its thread and ours.

use std::{
    collections::BTreeSet,
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use parking_lot::{Condvar, Mutex};

use super::list::Scope;

/// Hints kept between two looks; beyond them a look at everything is as good.
const HINTS_MAX: usize = 256;

/// What is known about a file before looking at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// Somebody writes to it.
    Writing,
    /// Somebody has closed it after writing, or renamed it into place.
    Written,
}

/// What was announced since the last look. Kept merged, so that it stays small whatever happens.
#[derive(Debug, Default)]
pub(super) struct News {
    /// In order.
    pub(super) hints: Vec<(PathBuf, Hint)>,
    /// What may have come, gone or moved: files or directories.
    pub(super) touched: Vec<PathBuf>,
    /// The same, of what nobody knows.
    pub(super) structure: bool,
    pub(super) stop: bool,
}

impl News {
    /// Whether there is nothing else than that files are being written.
    pub(super) fn only_writing(&self) -> bool {
        let is_writing = |(_, hint): &(PathBuf, Hint)| *hint == Hint::Writing;
        !self.structure
            && self.touched.is_empty()
            && !self.hints.is_empty()
            && self.hints.iter().all(is_writing)
    }

    /// All that was announced, where it is known what.
    pub(super) fn paths(&self) -> Option<impl Iterator<Item = &Path>> {
        let hinted = self.hints.iter().map(|(path, _)| &**path);
        let touched = self.touched.iter().map(|path| &**path);
        (!self.structure).then(|| hinted.chain(touched))
    }
}

/// Where announcements wait for our thread.
#[derive(Debug)]
pub(super) struct Signals {
    scope: Scope,
    /// Whether files may be elsewhere than in the scope.
    has_links: AtomicBool,
    news: Mutex<News>,
    changed: Condvar,
}

impl Signals {
    pub(super) fn new(scope: Scope) -> Self {
        Self {
            scope,
            has_links: AtomicBool::new(false),
            news: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// From now on, what happens outside of the scope matters too. Returns whether it did not before.
    pub(super) fn heed_links(&self) -> bool {
        !self.has_links.swap(true, Ordering::AcqRel)
    }

    pub(super) fn take(&self) -> News {
        let mut news = self.news.lock();
        let stop = news.stop;
        News {
            stop,
            ..mem::take(&mut *news)
        }
    }

    /// Waits until something is announced that concerns us, or until a moment.
    pub(super) fn wait(&self, until: Instant, concerns: impl Fn(&Path) -> bool) {
        let mut news = self.news.lock();
        loop {
            news.hints.retain(|(path, _)| concerns(path));
            if news.stop || news.structure || !news.touched.is_empty() || !news.hints.is_empty() {
                return;
            }
            if self.changed.wait_until(&mut news, until).timed_out() {
                return;
            }
        }
    }

    pub(super) fn stop(&self) {
        self.news.lock().stop = true;
        self.changed.notify_all();
    }

    /// Whether a path matters at which files come or go, or only their content changes. Whoever writes beside our files must not keep us busy.
    fn matters(&self, path: &Path, structure: bool) -> bool {
        self.has_links.load(Ordering::Acquire)
            || match structure {
                true => self.scope.may_lead_to_files(path),
                false => self.scope.is_file(path),
            }
    }

    fn announce(&self, event: notify::Result<Event>) {
        let is_known = event
            .as_ref()
            .is_ok_and(|event| !event.need_rescan() && !event.paths.is_empty());
        let (hint, structure) = match &event {
            Ok(event) if event.need_rescan() => (None, true),
            Ok(event) => match event.kind {
                // Our own reading announces that a file was opened.
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                    (Some(Hint::Written), false)
                }
                EventKind::Access(_) => return,
                EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => {
                    (Some(Hint::Writing), false)
                }
                EventKind::Modify(ModifyKind::Name(RenameMode::From)) => (None, true),
                EventKind::Modify(ModifyKind::Name(_)) => (Some(Hint::Written), true),
                _ => (None, true),
            },
            Err(_) => (None, true),
        };
        let mut paths = event.map(|event| event.paths).unwrap_or_default();
        if is_known {
            paths.retain(|path| self.matters(path, structure));
            if paths.is_empty() {
                return;
            }
        }
        let mut news = self.news.lock();
        if structure && is_known {
            for path in &paths {
                if !news.touched.contains(path) {
                    news.touched.push(path.clone());
                }
            }
        } else {
            news.structure |= structure;
        }
        if let Some(hint) = hint {
            for path in paths {
                match news.hints.iter_mut().find(|(known, _)| *known == path) {
                    Some((_, known)) => *known = hint,
                    None => news.hints.push((path, hint)),
                }
            }
        }
        if news.hints.len() + news.touched.len() > HINTS_MAX {
            news.hints.clear();
            news.touched.clear();
            news.structure = true;
        }
        self.changed.notify_all();
    }
}

/// The system's announcements about directories.
pub(super) struct Watcher {
    system: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    refused: BTreeSet<PathBuf>,
}

impl Watcher {
    pub(super) fn new(signals: Arc<Signals>) -> Self {
        let system = RecommendedWatcher::new(
            move |event| signals.announce(event),
            notify::Config::default(),
        );
        if let Err(error) = &system {
            tracing::warn!(%error, "the system announces no changes of files; looking every few seconds instead");
        }
        Self {
            system: system.ok(),
            watched: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Watches exactly these directories; says whether any of them was not watched before. With `again`, those that are watched
    /// are watched anew: another directory may have taken the place of the one that was.
    pub(super) fn watch(&mut self, directories: &BTreeSet<PathBuf>, again: bool) -> bool {
        let Some(system) = &mut self.system else {
            return false;
        };
        for gone in self.watched.difference(directories) {
            // Fails where the directory itself is gone, which is as good.
            let _ = system.unwatch(gone);
        }
        self.watched
            .retain(|directory| directories.contains(directory));
        let mut any_new = false;
        for directory in directories {
            if !again && self.watched.contains(directory) {
                continue;
            }
            match system.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.refused.remove(directory);
                    any_new |= self.watched.insert(directory.clone());
                }
                Err(error) => {
                    self.watched.remove(directory);
                    if self.refused.insert(directory.clone()) {
                        tracing::warn!(?directory, %error, "changes in a directory are not announced; looking every few seconds instead");
                    }
                }
            }
        }
        self.refused
            .retain(|directory| directories.contains(directory));
        any_new
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RemoveKind};

    use super::*;
    use crate::files::FileSet;

    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const CHANGED: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const FROM: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::From));
    const TO: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    const REMOVED: EventKind = EventKind::Remove(RemoveKind::Folder);

    fn signals() -> Signals {
        let set = FileSet {
            paths: vec!["/mesh/services".into(), "/mesh/one.yaml".into()],
            extensions: &["yaml"],
            bytes_max: 100,
        };
        Signals::new(set.scope())
    }

    /// What is left to look at after these events: hints and what was touched.
    fn heard(signals: &Signals, events: &[(EventKind, &str)]) -> (usize, usize) {
        for (kind, path) in events {
            signals.announce(Ok(Event::new(*kind).add_path(path.into())));
        }
        let News { hints, touched, .. } = signals.take();
        (hints.len(), touched.len())
    }

    #[test]
    fn whoever_writes_beside_the_files_keeps_nobody_busy() {
        let signals = signals();
        for path in ["/mesh/prepared.yaml", "/mesh/services/.a.yaml.tmp"] {
            let events = [CREATED, CHANGED, CLOSED, FROM].map(|kind| (kind, path));
            assert_eq!(heard(&signals, &events), (0, 0), "{path}");
        }
        let written = [CHANGED, CLOSED].map(|kind| (kind, "/mesh/services/README"));
        assert_eq!(heard(&signals, &written), (0, 0));
    }

    #[test]
    fn what_may_be_a_file_or_lead_to_one_is_heard() {
        let signals = signals();
        for (event, expected) in [
            ((TO, "/mesh/services/a.yaml"), (1, 1)),
            ((CLOSED, "/mesh/one.yaml"), (1, 0)),
            // Perhaps a directory, or a link to one.
            ((CREATED, "/mesh/services/team"), (0, 1)),
            ((CREATED, "/mesh/services"), (0, 1)),
            ((REMOVED, "/mesh"), (0, 1)),
        ] {
            assert_eq!(heard(&signals, &[event]), expected, "{event:?}");
        }
    }

    #[test]
    fn where_there_are_links_everything_is_heard() {
        let signals = signals();
        let elsewhere = [(TO, "/elsewhere/..data")];
        assert_eq!(heard(&signals, &elsewhere), (0, 0));
        assert!(signals.heed_links());
        assert!(!signals.heed_links());
        assert_eq!(heard(&signals, &elsewhere), (1, 1));
    }
}
