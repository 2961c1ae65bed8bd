//! The shell: watches the files and sends the events.

use std::{path::PathBuf, sync::Arc};

use bowline_document::{
    Limits,
    files::{FileSet, Pace, Watch},
};
use bowline_mesh::{Change, Object, RegistryEvent, RegistrySettings};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{State, read};

/// What the names of files in a directory end in.
pub(crate) const EXTENSIONS: &[&str] = &["yaml", "yml", "json", "csv"];

/// An inventory that is watched.
#[derive(Debug)]
pub struct Inventory {
    /// Its place in the mesh.
    pub settings: RegistrySettings,
    /// A file, or a directory of files.
    pub path: PathBuf,
    /// What the mesh last had from it before the start. What cannot be read now stays as it is there.
    pub last_good: Vec<Object>,
    /// How soon changes are seen where the system does not announce them.
    pub pace: Pace,
}

impl Inventory {
    /// Reads everything once, without watching.
    pub fn load(&self) -> RegistryEvent {
        let previous = State::restored(self.last_good.clone());
        let (_, event) = read(
            &file_set(self.path.clone()).read(),
            &previous,
            &self.settings,
        );
        event.unwrap_or_else(|| RegistryEvent {
            registry: self.settings.id.clone(),
            change: Change::Replace(Vec::new()),
            problems: Vec::new(),
        })
    }

    /// Sends what the inventory contains, and from then on what changes in it, until `shutdown`. Ends earlier only if nobody
    /// listens any more.
    pub async fn run(self, events: mpsc::Sender<RegistryEvent>, shutdown: CancellationToken) {
        let Self {
            settings,
            path,
            last_good,
            pace,
        } = self;
        let settings = Arc::new(settings);
        let mut watch = Watch::new(file_set(path), pace);
        let mut state = Arc::new(State::restored(last_good));
        loop {
            let reading = tokio::select! {
                () = shutdown.cancelled() => return,
                reading = watch.next() => reading,
            };
            let (previous, theirs) = (state.clone(), settings.clone());
            // A large file takes a second, which must not hold up others.
            let task = tokio::task::spawn_blocking(move || read(&reading, &previous, &theirs));
            let result = tokio::select! {
                () = shutdown.cancelled() => return,
                result = task => result,
            };
            let event = match result {
                Ok((next, event)) => {
                    state = Arc::new(next);
                    event
                }
                Err(error) => {
                    tracing::error!(registry = %settings.id, %error, "reading the inventory failed; what was read before stays");
                    None
                }
            };
            let Some(event) = event else { continue };
            let sent = tokio::select! {
                () = shutdown.cancelled() => return,
                sent = events.send(event) => sent,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

/// Which files an inventory at a path consists of.
pub fn file_set(path: PathBuf) -> FileSet {
    FileSet {
        paths: vec![path],
        extensions: EXTENSIONS,
        bytes_max: Limits::default().bytes_max,
    }
}
