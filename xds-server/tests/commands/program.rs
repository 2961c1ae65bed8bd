//! Running the program.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// The program.
pub(crate) fn bowline() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bowline"))
}

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            status: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// What it printed, if all is well.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }
}

/// Runs a command line in a directory.
pub(crate) fn run(directory: &Path, line: &str) -> Ran {
    let output = bowline()
        .args(line.split_whitespace())
        .current_dir(directory)
        .output();
    Ran::of(output.unwrap())
}

/// A running server. It is killed when the test ends, however it ends.
pub(crate) struct Server {
    pub(crate) child: Child,
    log: BufReader<ChildStderr>,
    /// What it has logged until it listened.
    pub(crate) started: String,
}

impl Server {
    /// Starts one and waits until it listens.
    pub(crate) fn start(directory: &Path) -> Self {
        let mut child = bowline()
            .args([
                "serve",
                "--config",
                "bowline.yaml",
                "--addresses-file",
                "addresses.json",
            ])
            .current_dir(directory)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut server = Self {
            child,
            log,
            started: String::new(),
        };
        server.started = server.read_until("listening");
        server
    }

    /// Reads the log up to a line with a text. Ends when the server does.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            let length = self.log.read_line(&mut read).unwrap();
            assert!(
                length > 0,
                "the server ended without saying '{text}':\n{read}"
            );
        }
        read
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with a configuration that listens on free ports, and an inventory.
pub(crate) fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "bowline.yaml", CONFIGURATION);
    write(directory.path(), "inventory.yaml", INVENTORY);
    directory
}

pub(crate) fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

pub(crate) const CONFIGURATION: &str = "mesh: {trust_domain: mesh.example}
xds: {address: '127.0.0.1:0', tls: {address: '127.0.0.1:0'}}
admin: {address: '127.0.0.1:0'}
registries: [{name: vms, inventory: {path: ./inventory.yaml}}]
";

const INVENTORY: &str = "namespace: shop
services:
  - {name: cart, ports: [{number: 80, protocol: http}]}
workloads:
  - {name: cart-1, address: 10.0.0.1, services: [cart], ports: {http: 8080}, service_account: cart}
";
