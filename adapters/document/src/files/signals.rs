//! What the file system announces, between its thread and ours.

use std::{
    collections::BTreeSet,
    mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};
use parking_lot::{Condvar, Mutex};

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
#[derive(Debug, Default)]
pub(super) struct Signals {
    news: Mutex<News>,
    changed: Condvar,
}

impl Signals {
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
        let paths = event.map(|event| event.paths).unwrap_or_default();
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
