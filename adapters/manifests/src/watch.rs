//! The registry: watches the files and says what changed in them.

use std::{path::PathBuf, sync::Arc};

use bowline_document::{
    Limits,
    files::{FileSet, Pace, Watch},
};
use bowline_mesh::{Change, Object, RegistryEvent, RegistrySettings};
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::read::{State, read};

/// What the names of files in directories end in.
pub(crate) const EXTENSIONS: &[&str] = &["yaml", "yml", "json"];

/// Manifests in files and directories.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// The registry's place in the mesh.
    pub settings: RegistrySettings,
    /// Files, and directories that are read recursively.
    pub paths: Vec<PathBuf>,
    /// What the mesh last had from them before the start. What cannot be read now stays as it is there.
    pub last_good: Vec<Object>,
    /// How soon changes are seen where the system does not announce them.
    pub pace: Pace,
}

impl Manifests {
    /// Reads everything once, without watching.
    pub fn load(&self) -> RegistryEvent {
        let previous = State::restored(self.last_good.clone());
        let (_, event) = read(&self.files().read(), &previous, &self.settings);
        event.unwrap_or_else(|| RegistryEvent {
            registry: self.settings.id.clone(),
            change: Change::Replace(Vec::new()),
            problems: Vec::new(),
        })
    }

    /// Sends what the files say, and from then on what changes, until it is told to end or nobody listens any more.
    pub async fn run(self, events: mpsc::Sender<RegistryEvent>, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.watch(events)).await;
    }

    async fn watch(self, events: mpsc::Sender<RegistryEvent>) {
        let mut watch = Watch::new(self.files(), self.pace);
        let settings = Arc::new(self.settings);
        let mut state = Arc::new(State::restored(self.last_good));
        loop {
            let reading = watch.next().await;
            let (previous, theirs) = (state.clone(), settings.clone());
            // Large files take long to parse.
            let event = match spawn_blocking(move || read(&reading, &previous, &theirs)).await {
                Ok((next, event)) => {
                    state = Arc::new(next);
                    event
                }
                Err(error) => {
                    tracing::error!(%error, registry = %settings.id, "reading manifests has failed; the last state stays");
                    None
                }
            };
            if let Some(event) = event
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    }

    fn files(&self) -> FileSet {
        FileSet {
            paths: self.paths.clone(),
            extensions: EXTENSIONS,
            bytes_max: Limits::default().bytes_max,
        }
    }
}
