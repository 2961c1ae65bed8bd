//! Subjects for adapters that read files: one file with everything, and a directory with a file for each application.

use std::{
    fs::{self, File},
    future::Future,
    io::{self, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use bowline_mesh::{Object, RegistryEvent, RegistrySettings};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{App, Subject};

/// How an adapter's files are written, and what reads them.
pub trait FileFormat: Send + 'static {
    /// What no file says that is well-formed.
    const MALFORMED: &'static str;

    /// A file with some applications. What it says about the one with the name `broken` is wrong.
    fn text(apps: &[App], broken: &str) -> String;

    /// The adapter, watching a file or directory. What the system announces must be enough: it should not look by itself soon.
    fn run(
        path: PathBuf,
        settings: RegistrySettings,
        last_good: Vec<Object>,
        events: mpsc::Sender<RegistryEvent>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// One file with all applications.
#[derive(Debug)]
pub struct OneFile<F> {
    parent: TempDir,
    format: PhantomData<fn() -> F>,
}

impl<F> OneFile<F> {
    fn path(&self) -> PathBuf {
        self.parent.path().join("all.yaml")
    }

    fn write(&self, text: &str) {
        done(fs::write(self.path(), text));
    }
}

impl<F: FileFormat> Subject for OneFile<F> {
    async fn new() -> Self {
        let subject = Self {
            parent: done(tempfile::tempdir()),
            format: PhantomData,
        };
        subject.write(&F::text(&[], ""));
        subject
    }

    fn run(
        &self,
        settings: RegistrySettings,
        last_good: Vec<Object>,
        events: mpsc::Sender<RegistryEvent>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        F::run(self.path(), settings, last_good, events, shutdown)
    }

    async fn put(&mut self, apps: &[App]) {
        self.write(&F::text(apps, ""));
    }

    async fn put_in_pieces(&mut self, apps: &[App]) {
        write_in_pieces(&self.path(), &F::text(apps, "")).await;
    }

    async fn put_with_one_broken(&mut self, apps: &[App], broken: &str) {
        self.write(&F::text(apps, broken));
    }

    async fn break_all(&mut self) {
        self.write(F::MALFORMED);
    }

    async fn take_away(&mut self) {
        done(fs::remove_file(self.path()));
    }
}

/// A file for each application.
#[derive(Debug)]
pub struct Directory<F> {
    parent: TempDir,
    format: PhantomData<fn() -> F>,
}

impl<F: FileFormat> Directory<F> {
    fn path(&self) -> PathBuf {
        self.parent.path().join("files")
    }

    fn file(&self, app: &App) -> PathBuf {
        self.path().join(format!("{}.yaml", app.name))
    }

    fn paths(&self) -> Vec<PathBuf> {
        let entries = done(fs::read_dir(self.path()));
        entries.map(|entry| done(entry).path()).collect()
    }

    /// Files are renamed into place, and those that are not wanted any more are deleted.
    fn put_files(&self, apps: &[App], broken: &str) {
        done(fs::create_dir_all(self.path()));
        for app in apps {
            let fresh = self.parent.path().join("fresh");
            let text = F::text(std::slice::from_ref(app), broken);
            done(fs::write(&fresh, text));
            done(fs::rename(fresh, self.file(app)));
        }
        for path in self.paths() {
            if !apps.iter().any(|app| self.file(app) == path) {
                done(fs::remove_file(path));
            }
        }
    }
}

impl<F: FileFormat> Subject for Directory<F> {
    async fn new() -> Self {
        let subject = Self {
            parent: done(tempfile::tempdir()),
            format: PhantomData,
        };
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
        F::run(self.path(), settings, last_good, events, shutdown)
    }

    async fn put(&mut self, apps: &[App]) {
        self.put_files(apps, "");
    }

    async fn put_in_pieces(&mut self, apps: &[App]) {
        for app in apps {
            let text = F::text(std::slice::from_ref(app), "");
            write_in_pieces(&self.file(app), &text).await;
        }
    }

    async fn put_with_one_broken(&mut self, apps: &[App], broken: &str) {
        self.put_files(apps, broken);
    }

    async fn break_all(&mut self) {
        for path in self.paths() {
            done(fs::write(path, b"\xff\xff"));
        }
    }

    async fn take_away(&mut self) {
        done(fs::remove_dir_all(self.path()));
    }
}

/// Byte by byte, so that the adapter can look at each beginning.
async fn write_in_pieces(path: &Path, text: &str) {
    let mut file = done(File::create(path));
    for byte in text.as_bytes() {
        done(file.write_all(&[*byte]));
        tokio::task::yield_now().await;
    }
}

fn done<T>(result: io::Result<T>) -> T {
    result.expect("a test may do what it wants in its own temporary directory")
}
