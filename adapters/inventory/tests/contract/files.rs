//! Inventories that the tests control.

use std::{
    fs,
    future::Future,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_conformance::{App, Subject};
use bowline_document::files::Pace;
use bowline_inventory::Inventory;
use bowline_mesh::{Object, RegistryEvent, RegistrySettings};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Changes must be announced: looking by itself happens too rarely to help.
const PACE: Pace = Pace {
    poll: Duration::from_secs(600),
    settle: Duration::from_millis(50),
};

/// One file with all applications.
pub(crate) struct OneFile {
    directory: TempDir,
}

impl OneFile {
    fn path(&self) -> PathBuf {
        self.directory.path().join("inventory.yaml")
    }
}

impl Subject for OneFile {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let subject = Self { directory };
        fs::write(subject.path(), text(&[], "")).unwrap();
        subject
    }

    fn run(
        &self,
        settings: RegistrySettings,
        last_good: Vec<Object>,
        events: mpsc::Sender<RegistryEvent>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        run(self.path(), settings, last_good, events, shutdown)
    }

    async fn put(&mut self, apps: &[App]) {
        fs::write(self.path(), text(apps, "")).unwrap();
    }

    async fn put_in_pieces(&mut self, apps: &[App]) {
        write_in_pieces(&self.path(), &text(apps, ""));
    }

    async fn put_with_one_broken(&mut self, apps: &[App], broken: &str) {
        fs::write(self.path(), text(apps, broken)).unwrap();
    }

    async fn break_all(&mut self) {
        fs::write(self.path(), "services: [").unwrap();
    }

    async fn take_away(&mut self) {
        fs::remove_file(self.path()).unwrap();
    }
}

/// A file for each application.
pub(crate) struct Directory {
    parent: TempDir,
}

impl Directory {
    fn path(&self) -> PathBuf {
        self.parent.path().join("inventory")
    }

    /// Files are renamed into place, and those that are not wanted any more are deleted.
    fn put_files(&self, apps: &[App], broken: &str) {
        fs::create_dir_all(self.path()).unwrap();
        for app in apps {
            let new = self.parent.path().join("new");
            fs::write(&new, text(std::slice::from_ref(app), broken)).unwrap();
            fs::rename(new, self.file(app)).unwrap();
        }
        for entry in fs::read_dir(self.path()).unwrap() {
            let path = entry.unwrap().path();
            if !apps.iter().any(|app| self.file(app) == path) {
                fs::remove_file(path).unwrap();
            }
        }
    }

    fn file(&self, app: &App) -> PathBuf {
        self.path().join(format!("{}.yaml", app.name))
    }
}

impl Subject for Directory {
    async fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let subject = Self { parent };
        subject.put_files(&[], "");
        subject
    }

    fn run(
        &self,
        settings: RegistrySettings,
        last_good: Vec<Object>,
        events: mpsc::Sender<RegistryEvent>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        run(self.path(), settings, last_good, events, shutdown)
    }

    async fn put(&mut self, apps: &[App]) {
        self.put_files(apps, "");
    }

    async fn put_in_pieces(&mut self, apps: &[App]) {
        for app in apps {
            write_in_pieces(&self.file(app), &text(std::slice::from_ref(app), ""));
        }
    }

    async fn put_with_one_broken(&mut self, apps: &[App], broken: &str) {
        self.put_files(apps, broken);
    }

    async fn break_all(&mut self) {
        for entry in fs::read_dir(self.path()).unwrap() {
            fs::write(entry.unwrap().path(), b"\xff\xff").unwrap();
        }
    }

    async fn take_away(&mut self) {
        fs::remove_dir_all(self.path()).unwrap();
    }
}

fn run(
    path: PathBuf,
    settings: RegistrySettings,
    last_good: Vec<Object>,
    events: mpsc::Sender<RegistryEvent>,
    shutdown: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let inventory = Inventory {
        settings,
        path,
        last_good,
        pace: PACE,
    };
    inventory.run(events, shutdown)
}

/// Byte by byte, so that the adapter can look at each beginning.
fn write_in_pieces(path: &Path, text: &str) {
    let mut file = fs::File::create(path).unwrap();
    for byte in text.as_bytes() {
        file.write_all(&[*byte]).unwrap();
    }
}

fn text(apps: &[App], broken: &str) -> String {
    let mut text = "services: []\n".to_owned();
    let namespace = |app: &App| match &app.namespace {
        Some(namespace) => format!("\n    namespace: {namespace}"),
        None => String::new(),
    };
    if !apps.is_empty() {
        text = "services:\n".to_owned();
        for app in apps {
            let port = if app.name == broken { 0 } else { app.port };
            text += &format!(
                "  - name: {}{}\n    ports: [{{number: {port}, name: http}}]\n",
                app.name,
                namespace(app)
            );
        }
        text += "workloads:\n";
        for app in apps {
            let port = if app.name == broken { 0 } else { app.port };
            text += &format!(
                "  - name: {}-1{}\n    address: {}\n    services: [{}]\n    ports: {{http: {port}}}\n",
                app.name,
                namespace(app),
                app.address,
                app.name
            );
        }
    }
    text
}
