//! The registry contract, for manifests in one file and in a file for each application.

use std::{
    fs,
    future::Future,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use bowline_conformance::{App, Subject};
use bowline_document::files::Pace;
use bowline_manifests::Manifests;
use bowline_mesh::{Object, RegistryEvent, RegistrySettings};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod one_file {
    bowline_conformance::tests!(super::OneFile);
}

mod a_directory {
    bowline_conformance::tests!(super::Directory);
}

struct OneFile {
    parent: TempDir,
}

impl OneFile {
    fn path(&self) -> PathBuf {
        self.parent.path().join("all.yaml")
    }
}

impl Subject for OneFile {
    async fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let subject = Self { parent };
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
        manifests(self.path(), settings, last_good).run(events, shutdown)
    }

    async fn put(&mut self, apps: &[App]) {
        fs::write(self.path(), text(apps, "")).unwrap();
    }

    async fn put_in_pieces(&mut self, apps: &[App]) {
        write_in_pieces(&self.path(), &text(apps, "")).await;
    }

    async fn put_with_one_broken(&mut self, apps: &[App], broken: &str) {
        fs::write(self.path(), text(apps, broken)).unwrap();
    }

    async fn break_all(&mut self) {
        fs::write(self.path(), "kind: [").unwrap();
    }

    async fn take_away(&mut self) {
        fs::remove_file(self.path()).unwrap();
    }
}

struct Directory {
    parent: TempDir,
}

impl Directory {
    fn path(&self) -> PathBuf {
        self.parent.path().join("manifests")
    }

    fn file(&self, app: &App) -> PathBuf {
        self.path().join(format!("{}.yaml", app.name))
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
        manifests(self.path(), settings, last_good).run(events, shutdown)
    }

    async fn put(&mut self, apps: &[App]) {
        self.put_files(apps, "");
    }

    async fn put_in_pieces(&mut self, apps: &[App]) {
        for app in apps {
            write_in_pieces(&self.file(app), &text(std::slice::from_ref(app), "")).await;
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

/// Changes must be announced: looking by itself happens too rarely to help.
fn manifests(path: PathBuf, settings: RegistrySettings, last_good: Vec<Object>) -> Manifests {
    Manifests {
        settings,
        paths: vec![path],
        last_good,
        pace: Pace {
            poll: Duration::from_secs(600),
            settle: Duration::from_millis(50),
        },
    }
}

/// Leaves the adapter time to look at each piece.
async fn write_in_pieces(path: &Path, text: &str) {
    let mut file = fs::File::create(path).unwrap();
    for piece in text.as_bytes().chunks(text.len() / 3 + 1) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

fn text(apps: &[App], broken: &str) -> String {
    let mut text = "# manifests\n".to_owned();
    for app in apps {
        let App {
            name,
            namespace,
            address,
            port,
        } = app;
        let port = if name == broken { 0 } else { *port };
        let namespace = match namespace {
            Some(namespace) => format!(", namespace: {namespace}"),
            None => String::new(),
        };
        text += &format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: {name}{namespace}}}
spec: {{ports: [{{name: http, port: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1{namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [{address}]}}]
"
        );
    }
    text
}
